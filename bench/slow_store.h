/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A store that keeps nothing and takes a given time for each batch: write returns ZCACHE_PENDING,
 * and a thread with a timer completes the batch.  Batches do not wait for each other.
 */
#ifndef BENCH_SLOW_STORE_H
#define BENCH_SLOW_STORE_H

#include <stdint.h>

#include <zcache/store.h>

struct slow_store;

/* Called by the store's thread when a batch is done. */
typedef void slow_store_done_fn(void *ctx, uint64_t token);

/* @batches is the highest number of batches at one time. */
struct slow_store *slow_store_open(uint64_t delay_ns,
                                   unsigned batches,
                                   slow_store_done_fn *done,
                                   void *ctx);

/* Nothing may be in flight. */
void slow_store_close(struct slow_store *s);

const struct zcache_store *slow_store_callbacks(const struct slow_store *s);

/* As the write callback; the token comes back in done(). */
void slow_store_submit(struct slow_store *s, uint64_t token);

#endif /* BENCH_SLOW_STORE_H */
