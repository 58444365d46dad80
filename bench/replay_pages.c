/* SPDX-License-Identifier: BSD-2-Clause */
#include "replay_pages.h"
#include "fail.h"
#include "random.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOISE_PAGES 256u

static void map_corpus(struct replay_pages *p, const char *corpus)
{
    const int fd = open(corpus, O_RDONLY | O_CLOEXEC);
    struct stat st;
    void *at;

    if (fd < 0 || fstat(fd, &st) != 0) {
        fail("%s: %s", corpus, error_text(-errno));
    }
    p->pages = (uint64_t)st.st_size / p->page_bytes;
    if (p->pages == 0 || p->pages > UINT32_MAX) {
        fail("%s has %llu pages of %zu bytes", corpus, (unsigned long long)p->pages, p->page_bytes);
    }
    p->mapped_bytes = (size_t)p->pages * p->page_bytes;
    at = mmap(NULL, p->mapped_bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (at == MAP_FAILED) {
        fail("%s: %s", corpus, error_text(-errno));
    }
    p->bytes = at;
    (void)close(fd);
}

static void make_noise(struct replay_pages *p)
{
    uint64_t state = 1;

    p->pages = NOISE_PAGES;
    p->bytes = must_alloc_aligned(NOISE_PAGES * p->page_bytes);
    for (size_t i = 0; i < NOISE_PAGES * p->page_bytes / 8; i++) {
        const uint64_t x = random_next(&state);

        memcpy(p->bytes + 8 * i, &x, 8);
    }
}

void replay_pages_open(struct replay_pages *p,
                       const char *corpus,
                       size_t page_bytes,
                       const struct trace *trace)
{
    *p = (struct replay_pages){.page_bytes = page_bytes};
    if (corpus != NULL) {
        map_corpus(p, corpus);
    } else {
        make_noise(p);
    }
    p->by_number = corpus != NULL && trace->id_max < p->pages;
    p->content = must_alloc(trace->pages * sizeof *p->content);
    for (uint32_t i = 0; i < trace->pages; i++) {
        uint64_t state = trace->id[i];

        p->content[i] = (uint32_t)(p->by_number ? trace->id[i] : random_next(&state) % p->pages);
    }
}

void replay_pages_close(struct replay_pages *p)
{
    if (p->mapped_bytes != 0) {
        (void)munmap(p->bytes, p->mapped_bytes);
    } else {
        free(p->bytes);
    }
    free(p->content);
}
