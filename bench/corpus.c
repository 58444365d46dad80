/* SPDX-License-Identifier: BSD-2-Clause */
#include "corpus.h"
#include "fail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGES_MIN 64

static size_t file_pages(int fd, const struct bench_options *opts, size_t page_bytes)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        fail("%s: %s", opts->corpus, error_text(-errno));
    }
    return (size_t)st.st_size / page_bytes;
}

static size_t wanted_pages(size_t have, const struct bench_options *opts, size_t page_bytes)
{
    const size_t enough = CORPUS_BYTES_DEFAULT / page_bytes;

    if (have < PAGES_MIN || have < opts->pages) {
        fail("%s has %zu pages of %zu bytes; %zu are needed", opts->corpus, have, page_bytes,
             opts->pages > PAGES_MIN ? opts->pages : PAGES_MIN);
    }
    if (opts->pages != 0) {
        return opts->pages;
    }
    return have < enough ? have : enough;
}

static void read_page(int fd,
                      const struct bench_options *opts,
                      size_t page_bytes,
                      size_t index,
                      unsigned char *buf)
{
    size_t done = 0;

    while (done < page_bytes) {
        ssize_t n = pread(fd, buf + done, page_bytes - done, (off_t)(index * page_bytes + done));

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            fail("%s: %s", opts->corpus, n < 0 ? error_text(-errno) : "it became shorter");
        }
        done += (size_t)n;
    }
}

/* One 8-byte word all over. */
static bool is_same_filled(const unsigned char *page, size_t len)
{
    return memcmp(page, page + 8, len - 8) == 0;
}

void corpus_read(const struct bench_options *opts, size_t page_bytes, struct corpus *out)
{
    int fd = open(opts->corpus, O_RDONLY | O_CLOEXEC);
    size_t have, wanted;

    if (fd < 0) {
        fail("%s: %s", opts->corpus, error_text(-errno));
    }
    have = file_pages(fd, opts, page_bytes);
    wanted = wanted_pages(have, opts, page_bytes);
    *out =
        (struct corpus){.bytes = must_alloc_aligned(wanted * page_bytes), .page_bytes = page_bytes};
    for (size_t i = 0; i < wanted; i++) {
        unsigned char *page = out->bytes + out->pages * out->page_bytes;

        read_page(fd, opts, page_bytes, i * have / wanted, page);
        if (is_same_filled(page, out->page_bytes)) {
            out->same_filled++;
        } else {
            out->pages++;
        }
    }
    (void)close(fd);
    if (out->pages < PAGES_MIN) {
        fail("%s: only %zu pages are not same-filled", opts->corpus, out->pages);
    }
}

void corpus_free(struct corpus *corpus)
{
    free(corpus->bytes);
    *corpus = (struct corpus){0};
}
