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

static size_t file_pages(int fd, const struct bench_options *opts)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        fail("%s: %s", opts->corpus, error_text(-errno));
    }
    return (size_t)st.st_size / opts->page_bytes;
}

static size_t wanted_pages(size_t have, const struct bench_options *opts)
{
    if (have < PAGES_MIN || have < opts->pages) {
        fail("%s has %zu pages of %zu bytes; %zu are needed", opts->corpus, have, opts->page_bytes,
             opts->pages > PAGES_MIN ? opts->pages : PAGES_MIN);
    }
    if (opts->pages != 0) {
        return opts->pages;
    }
    return have < PAGES_DEFAULT ? have : PAGES_DEFAULT;
}

static void read_page(int fd, const struct bench_options *opts, size_t index, unsigned char *buf)
{
    size_t done = 0;

    while (done < opts->page_bytes) {
        ssize_t n = pread(fd, buf + done, opts->page_bytes - done,
                          (off_t)(index * opts->page_bytes + done));

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

void corpus_read(const struct bench_options *opts, struct corpus *out)
{
    int fd = open(opts->corpus, O_RDONLY | O_CLOEXEC);
    size_t have, wanted;
    void *bytes;

    if (fd < 0) {
        fail("%s: %s", opts->corpus, error_text(-errno));
    }
    have = file_pages(fd, opts);
    wanted = wanted_pages(have, opts);
    if (posix_memalign(&bytes, 4096, wanted * opts->page_bytes) != 0) {
        fail("no memory for %zu pages", wanted);
    }
    *out = (struct corpus){.bytes = bytes, .page_bytes = opts->page_bytes};
    for (size_t i = 0; i < wanted; i++) {
        unsigned char *page = out->bytes + out->pages * out->page_bytes;

        read_page(fd, opts, i * have / wanted, page);
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
