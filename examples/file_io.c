/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE 1 /* NOLINT(bugprone-reserved-identifier) */
#include "file_io.h"

#include <errno.h>

#define IOV_AT_ONCE 1024 /* the system's limit */

struct iovec file_io_bytes(const void *data, size_t len)
{
    union {
        const void *in;
        void *out;
    } base = {.in = data};

    return (struct iovec){.iov_base = base.out, .iov_len = len};
}

static void skip_done(struct iovec **iov, size_t *n, size_t done)
{
    while (*n > 0 && done >= (*iov)->iov_len) {
        done -= (*iov)->iov_len;
        ++*iov;
        --*n;
    }
    if (*n > 0) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + done;
        (*iov)->iov_len -= done;
    }
}

static int at_once(size_t n)
{
    return (int)(n < IOV_AT_ONCE ? n : IOV_AT_ONCE);
}

int file_io_write(int fd, struct iovec *iov, size_t n, off_t offset)
{
    while (n > 0) {
        ssize_t done = pwritev(fd, iov, at_once(n), offset);

        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return done < 0 ? -errno : -EIO;
        }
        offset += done;
        skip_done(&iov, &n, (size_t)done);
    }
    return 0;
}

int file_io_read(int fd, struct iovec *iov, size_t n, off_t offset, size_t *got_out)
{
    size_t got = 0;

    while (n > 0) {
        ssize_t done = preadv(fd, iov, at_once(n), offset);

        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return -errno;
        }
        if (done == 0) {
            break;
        }
        got += (size_t)done;
        offset += done;
        skip_done(&iov, &n, (size_t)done);
    }
    *got_out = got;
    return 0;
}
