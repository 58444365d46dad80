/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dirty pages to the store: grouping, claiming, completion, errors.
 */
#ifndef ZC_WRITEBACK_H
#define ZC_WRITEBACK_H

#include <stdbool.h>
#include <stdint.h>

#include "batch.h"
#include "page.h"

#define ZC_WRITES_OUT 16u

/** struct zc_writes - what one caller has handed to the store, and what came of it. */
struct zc_writes {
    struct zc_batch *out[ZC_WRITES_OUT]; /* not finished yet */
    unsigned n_out;
    uint64_t written;
    uint64_t failed;
    uint64_t evicted;
    uint64_t freed_bytes;
    uint64_t busy;      /* could not be claimed */
    uint64_t no_memory; /* of these, for lack of memory to decode them */
    int error;          /* the first */
};

/** zc_writeback_blocked() - whether a dirty page's tag is past the WAL horizon. */
bool zc_writeback_blocked(const struct zcache_tenant *t, const struct zc_entry *e);

/**
 * zc_writeback_pages() - write isolated dirty pages, and dirty neighbours of theirs.
 * @pages:       @n of them, all of @t; sorted by the call; each is given back or evicted when its
 *               write is done, or given back at once if it cannot be written now.
 * @evict:       evict what is clean after its write.
 * @deadline_ns: how long to wait for a place among those in flight; 0 not at all.
 * @result:      collects; batches that are still out are in it.
 */
void zc_writeback_pages(struct zcache_tenant *t,
                        struct zc_thread *th,
                        struct zc_entry **pages,
                        unsigned n,
                        bool evict,
                        uint64_t deadline_ns,
                        struct zc_writes *result);

/** zc_writeback_harvest() - wait for what is out, collect results.  Return: 0; -ETIMEDOUT. */
int zc_writeback_harvest(struct zc_writes *result, uint64_t deadline_ns);

#endif /* ZC_WRITEBACK_H */
