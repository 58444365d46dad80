/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The inside of a pool, for pool.c, which runs it, pool_huge.c, which gives it huge pages, and pool_verify.c,
 * which checks it.
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
#include "pool_spare.h"

/** struct zc_pool_class - one size class. */
struct zc_pool_class {
    _Alignas(ZC_CACHE_LINE) struct zc_lock lock;
    _Atomic uint64_t live; /* objects; relaxed, written under lock */
    struct zc_slabs slabs; /* under lock, but what is set once */
};

/** struct zc_pool_huge - chunks as huge pages: pool_huge.c. */
struct zc_pool_huge {
    _Atomic uint64_t min_bytes; /* resident bytes from which there are some; relaxed */
    uint64_t wait_ns;           /* set once */
    _Atomic uint64_t bytes;     /* a gauge: relaxed */
    struct zc_list
        full[ZC_HUGE_WAITS]; /* under chunk_lock: chunks that wait, by their splits, oldest first */
};

struct zc_pool {
    uint32_t tag;
    unsigned node;                 /* set once */
    struct zc_pool_source *source; /* set once */
    struct zc_pool_bound *bound;   /* set once; NULL */
    _Atomic uint64_t resident;     /* this and the next four are gauges: relaxed */
    _Atomic uint64_t mapped;
    _Atomic uint64_t unusable;     /* heads of chunks, tails of slabs, free pages of huge chunks */
    _Atomic uint64_t direct_bytes; /* direct objects */
    _Atomic uint64_t spare_bytes;  /* spares; written under chunk_lock */
    _Atomic uint64_t keep_bytes;   /* of them at most; no gauge */
    _Atomic uint64_t moves_begun;  /* slabs between class and chunk: zc_pool_verify() reads */
    _Atomic uint64_t moves_done;   /* them to know whether it can compare totals */
    struct zc_lock chunk_lock;
    unsigned n_empty;          /* under chunk_lock: chunks without slabs, at most one */
    struct zc_chunk_bins bins; /* under chunk_lock, as every head of a chunk in it */
    struct zc_spares spares;   /* under chunk_lock */
    struct zc_pool_huge huge;
    struct zc_pool_class size_class[ZC_CLASS_COUNT];
};

static inline uint64_t zc_pool_gauge(const _Atomic uint64_t *gauge)
{
    return atomic_load_explicit(gauge, memory_order_relaxed);
}

/* pool.c */

/** zc_pool_resident_add() - bytes about to become resident.  Return: false: the bound is in the way. */
bool zc_pool_resident_add(struct zc_pool *pool, uint64_t bytes);
void zc_pool_resident_sub(struct zc_pool *pool, uint64_t bytes);
void zc_pool_unusable_add(struct zc_pool *pool, uint64_t bytes);

/** zc_pool_destroy_slabs() - end slabs without live objects, and their moves. */
void zc_pool_destroy_slabs(struct zc_pool *pool, struct zc_list *doomed);

/* Until zc_pool_move_end() a slab is in no class's books, a chunk in no bin, or gauges are behind. */
static inline void zc_pool_move_begin(struct zc_pool *pool)
{
    atomic_fetch_add(&pool->moves_begun, 1);
}

static inline void zc_pool_move_end(struct zc_pool *pool)
{
    atomic_fetch_add(&pool->moves_done, 1);
}

/* pool_huge.c */

void zc_huge_init(struct zc_pool *pool);

/** zc_huge_note_locked() - have a chunk wait for a huge page if it is full; under the chunk lock. */
void zc_huge_note_locked(struct zc_pool *pool, struct zc_chunk *chunk)
    ZC_REQUIRES(pool->chunk_lock);

/** zc_huge_begin_locked() - @chunk is busy, and the caller's, until it was collapsed or split. */
void zc_huge_begin_locked(struct zc_pool *pool, struct zc_chunk *chunk)
    ZC_REQUIRES(pool->chunk_lock);

/** zc_huge_split() - small pages for a huge chunk that is busy; no lock held. */
void zc_huge_split(struct zc_pool *pool, struct zc_chunk *chunk);

#endif /* ZC_POOL_IMPL_H */
