/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What write-back is compared with: loops that hand the same groups of pages to the same kinds of
 * stores, and do nothing else.
 */
#ifndef BENCH_BARE_WRITES_H
#define BENCH_BARE_WRITES_H

#include "corpus.h"

#include <stdbool.h>

#define GROUP_SHIFT 4 /* as the stores' */
#define GROUP_PAGES (1u << GROUP_SHIFT)

struct bare_way {
    bool slots;  /* as file_store's files: a head of 4096 bytes, and 16 bytes before each page */
    bool direct; /* past the system's page cache, from aligned copies */
    bool sync;   /* fdatasync() at the end of a pass */
};

/* pwritev() of a group after the other. */
struct bare_file {
    const struct corpus *corpus;
    struct bare_way way;
    int fd;
    void *aligned; /* where a group is copied first, if that is the way */
};

void bare_file_open(struct bare_file *f,
                    const struct corpus *corpus,
                    const char *path,
                    struct bare_way way);
void bare_file_close(struct bare_file *f);

/* A subject's pass. */
int bare_file_pass(void *ctx);

/* A pipeline that keeps a number of pages in the hands of a slow store. */
struct bare_pipeline;

struct bare_pipeline *bare_pipeline_open(const struct corpus *corpus,
                                         uint64_t delay_ns,
                                         unsigned inflight_pages);
void bare_pipeline_close(struct bare_pipeline *p);

/* A subject's pass. */
int bare_pipeline_pass(void *ctx);

#endif /* BENCH_BARE_WRITES_H */
