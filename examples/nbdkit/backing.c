/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zcache keeps one write of a block in flight at a time and knows what was flushed; so this is
 * positioned I/O, with the blocks of a batch that lie side by side in one call.
 *
 * A page is a whole block, also the last one of a disk that ends within it; the file is as long as the
 * disk, so the rest of that block is cut off and read as zero.
 */
#include "backing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define RUN_MAX 64u /* blocks in one call */

struct backing {
    int fd;
    uint64_t size_bytes;
    size_t block_bytes;
};

static uint64_t offset_of(const struct backing *b, struct zcache_key key)
{
    return key.page * b->block_bytes;
}

/* How much of the block is within the disk. */
static size_t length_at(const struct backing *b, uint64_t offset)
{
    const uint64_t left = offset < b->size_bytes ? b->size_bytes - offset : 0;

    return left < b->block_bytes ? (size_t)left : b->block_bytes;
}

/* ---- runs of blocks -------------------------------------------------------------------------- */

typedef ssize_t vector_fn(int fd, const struct iovec *iov, int n, off_t offset);

/* The whole vector; 0, or a negative errno.  At the file's end: what is left is zero. */
static int transfer(int fd, vector_fn *call, struct iovec *iov, int n, off_t offset)
{
    while (n > 0) {
        ssize_t done = call(fd, iov, n, offset);

        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return -errno;
        }
        if (done == 0) {
            for (; n > 0; iov++, n--) {
                memset(iov->iov_base, 0, iov->iov_len);
            }
            break;
        }
        offset += done;
        for (; n > 0 && (size_t)done >= iov->iov_len; iov++, n--) {
            done -= (ssize_t)iov->iov_len;
        }
        if (n > 0) {
            iov->iov_base = (char *)iov->iov_base + done;
            iov->iov_len -= (size_t)done;
        }
    }
    return 0;
}

static struct iovec vector_of(const struct backing *b, const struct zcache_io_page *p)
{
    union {
        const void *in;
        void *out;
    } bytes = {.out = p->buf};

    if (p->data != NULL) {
        bytes.in = p->data;
    }
    return (struct iovec){bytes.out, length_at(b, offset_of(b, p->key))};
}

/* Pages that follow each other, from @pages on; at most @n. */
static size_t run_length(const struct zcache_io_page *pages, size_t n)
{
    size_t len = 1;

    while (len < n && len < RUN_MAX && pages[len].key.page == pages[0].key.page + len) {
        len++;
    }
    return len;
}

static void transfer_pages(const struct backing *b, vector_fn *call, struct zcache_io *io)
{
    struct iovec iov[RUN_MAX];

    for (size_t i = 0, len; i < io->n_pages; i += len) {
        struct zcache_io_page *run = &io->pages[i];
        int rc;

        len = run_length(run, io->n_pages - i);
        for (size_t k = 0; k < len; k++) {
            iov[k] = vector_of(b, &run[k]);
        }
        rc = transfer(b->fd, call, iov, (int)len, (off_t)offset_of(b, run->key));
        for (size_t k = 0; k < len; k++) {
            run[k].status = rc;
        }
    }
}

/* ---- the store ------------------------------------------------------------------------------- */

static int write_blocks(void *ctx, struct zcache_io *io)
{
    transfer_pages(ctx, pwritev, io);
    return 0;
}

static int read_blocks(void *ctx, struct zcache_io *io)
{
    const struct backing *b = ctx;

    transfer_pages(b, preadv, io);
    for (size_t i = 0; i < io->n_pages; i++) {
        struct zcache_io_page *p = &io->pages[i];
        const size_t len = length_at(b, offset_of(b, p->key));

        memset((char *)p->buf + len, 0, b->block_bytes - len);
        p->len = b->block_bytes;
    }
    return 0;
}

static int sync_file(void *ctx, struct zcache_io *io)
{
    const struct backing *b = ctx;

    (void)io;
    return fdatasync(b->fd) == 0 ? 0 : -errno;
}

/* Where holes cannot be made, zeros do. */
static int write_zeros(const struct backing *b, uint64_t offset, size_t len)
{
    char *zeros = calloc(1, b->block_bytes);
    struct iovec iov = {zeros, len};
    int rc = -ENOMEM;

    if (zeros != NULL) {
        rc = transfer(b->fd, pwritev, &iov, 1, (off_t)offset);
        free(zeros);
    }
    return rc;
}

static int discard_blocks(void *ctx, struct zcache_io *io)
{
    const struct backing *b = ctx;

    for (size_t i = 0; i < io->n_pages; i++) {
        const uint64_t offset = offset_of(b, io->pages[i].key);
        const size_t len = length_at(b, offset);
        int rc =
            fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len);

        rc = rc == 0 ? 0 : -errno;
        io->pages[i].status = rc == -EOPNOTSUPP ? write_zeros(b, offset, len) : rc;
    }
    return 0;
}

struct zcache_store backing_store(struct backing *b)
{
    struct zcache_store store = ZCACHE_STORE_INIT;

    store.ctx = b;
    store.write = write_blocks;
    store.read = read_blocks;
    store.barrier = sync_file;
    store.discard = discard_blocks;
    return store;
}

/* ---- the file -------------------------------------------------------------------------------- */

bool backing_extent(const struct backing *b, uint64_t offset, uint64_t end, uint64_t *end_out)
{
    const off_t data = lseek(b->fd, (off_t)offset, SEEK_DATA);
    off_t hole;

    if (data != (off_t)offset && (data >= 0 || errno == ENXIO)) {
        *end_out = data >= 0 && (uint64_t)data < end ? (uint64_t)data : end;
        return true;
    }
    hole = lseek(b->fd, (off_t)offset, SEEK_HOLE);
    *end_out = hole > (off_t)offset && (uint64_t)hole < end ? (uint64_t)hole : end;
    return false;
}

/* Locked, and as long as the disk. */
static int prepare_file(int fd, uint64_t size_bytes)
{
    struct stat st;

    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        return errno == EWOULDBLOCK ? -EBUSY : -errno;
    }
    if (fstat(fd, &st) != 0 ||
        ((uint64_t)st.st_size < size_bytes && ftruncate(fd, (off_t)size_bytes) != 0)) {
        return -errno;
    }
    return 0;
}

int backing_open(const char *path, uint64_t size_bytes, size_t block_bytes, struct backing **out)
{
    struct backing *b = malloc(sizeof *b);
    int rc = 0;

    if (b == NULL) {
        return -ENOMEM;
    }
    *b = (struct backing){.size_bytes = size_bytes, .block_bytes = block_bytes};
    b->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    rc = b->fd < 0 ? -errno : prepare_file(b->fd, size_bytes);
    if (rc != 0) {
        backing_close(b);
        return rc;
    }
    *out = b;
    return 0;
}

void backing_close(struct backing *b)
{
    if (b != NULL) {
        if (b->fd >= 0) {
            (void)close(b->fd);
        }
        free(b);
    }
}
