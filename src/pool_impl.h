/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of a pool, for pool.c, which runs it, and pool_verify.c, which checks it.
 */
#ifndef ZC_POOL_IMPL_H
#define ZC_POOL_IMPL_H

#include <stdatomic.h>
#include <stdint.h>

#include "lock.h"
#include "plat.h"
#include "pool.h"
#include "pool_chunk.h"
#include "pool_class.h"
#include "pool_slab.h"

/** struct zc_pool_class - one size class. */
struct zc_pool_class {
    _Alignas(ZC_CACHE_LINE) struct zc_lock lock;
    uint32_t frees;        /* under lock: since the last allocation */
    struct zc_list spares; /* under lock: empty slabs */
    _Atomic uint64_t live; /* objects; relaxed, written under lock */
    struct zc_slabs slabs; /* under lock, but what is set once */
};

struct zc_pool {
    uint32_t tag;
    unsigned node;                 /* set once */
    struct zc_pool_source *source; /* set once */
    struct zc_pool_bound *bound;   /* set once; NULL */
    _Atomic uint64_t resident;     /* this and the next four are gauges: relaxed */
    _Atomic uint64_t mapped;
    _Atomic uint64_t unusable;     /* heads of chunks, tails of slabs */
    _Atomic uint64_t direct_bytes; /* direct objects */
    _Atomic uint64_t spare_bytes;  /* spares of all classes */
    _Atomic uint64_t keep_bytes;   /* of them at most; no gauge */
    _Atomic uint64_t moves_begun;  /* slabs between class and chunk: zc_pool_verify() reads */
    _Atomic uint64_t moves_done;   /* them to know whether it can compare totals */
    struct zc_lock chunk_lock;
    unsigned n_empty;          /* under chunk_lock: chunks without slabs, at most one */
    struct zc_chunk_bins bins; /* under chunk_lock, as every head of a chunk in it */
    struct zc_pool_class size_class[ZC_CLASS_COUNT];
};

static inline uint64_t zc_pool_gauge(const _Atomic uint64_t *gauge)
{
    return atomic_load_explicit(gauge, memory_order_relaxed);
}

#endif /* ZC_POOL_IMPL_H */
