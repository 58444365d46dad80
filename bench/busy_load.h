/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that keep a cache busy while something else is measured: they put pages of the corpus under
 * ever new keys.
 */
#ifndef BENCH_BUSY_LOAD_H
#define BENCH_BUSY_LOAD_H

#include "corpus.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <zcache/zcache.h>

#define BUSY_THREADS_MAX 16

struct busy_load {
    struct zcache_tenant *tenant;
    const struct corpus *corpus;
    unsigned n_threads;
    unsigned flags; /* of the puts */
    bool looks;     /* gets a page before it puts it, as who reads a large table does */
    atomic_bool stop;
    atomic_uint_fast64_t next; /* key */
    pthread_t thread[BUSY_THREADS_MAX];
    bool runs;
};

/* Begin, and return when so many pages were put that the cache is full of them. */
void busy_load_begin(struct busy_load *load, uint64_t pages);

/* End it. */
void busy_load_end(struct busy_load *load);

static inline uint64_t busy_load_pages(const struct busy_load *load)
{
    return atomic_load_explicit(&load->next, memory_order_relaxed);
}

#endif /* BENCH_BUSY_LOAD_H */
