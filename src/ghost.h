/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Remembers pages that were evicted, by fingerprints of 4 bytes, so that one that comes back is known;
 * and learns from it how many pages should be on probation.
 */
#ifndef ZC_GHOST_H
#define ZC_GHOST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lock.h"
#include "plat.h"

struct zc_ghost_table;

#define ZC_GHOST_ONE       65536u /* a share of all */
#define ZC_GHOST_SHARE     6554u  /* to begin with: a tenth */
#define ZC_GHOST_SHARE_MIN 1311u  /* a fiftieth */
#define ZC_GHOST_SHARE_MAX 13107u /* a fifth */

struct zc_ghost {
    struct zc_lock lock; /* leaf */
    /* under lock */
    struct zc_ghost_table *table; /* NULL: nothing was evicted yet, or no memory */
    uint64_t n_used;              /* slots */
    uint64_t evicted[2];          /* pages so far, from probation and from the main lists */
    /* written under lock, read without */
    _Atomic uint32_t share; /* of the pages, to be on probation; of ZC_GHOST_ONE */
};

void zc_ghost_init(struct zc_ghost *g);
void zc_ghost_fini(struct zc_ghost *g, const struct zc_mem *mem);
/** zc_ghost_forget() - gives the memory back and begins anew. */
void zc_ghost_forget(struct zc_ghost *g, const struct zc_mem *mem);

/**
 * zc_ghost_fit() - take memory to remember about as many pages as there are.
 *
 * Does something only if their number has changed much since the last time; then all is forgotten.
 * Without memory it stays as it is.  No lock held.
 */
void zc_ghost_fit(struct zc_ghost *g, const struct zc_mem *mem, uint64_t pages);

/* The following may be called under a shard lock. */

/** zc_ghost_add() - a page is evicted; @main: from the main lists, else from probation. */
void zc_ghost_add(struct zc_ghost *g, uint64_t hash, bool main);

/**
 * zc_ghost_take() - a page comes: whether it was evicted from probation not long ago.  It is forgotten.
 *
 * A page that was evicted just now from probation says that probation was too short, and one from the
 * main lists that it took too much of them: the share follows.
 */
bool zc_ghost_take(struct zc_ghost *g, uint64_t hash);

static inline uint32_t zc_ghost_share(const struct zc_ghost *g)
{
    return atomic_load_explicit(&g->share, memory_order_relaxed);
}

/** zc_ghost_bytes() - memory taken. */
uint64_t zc_ghost_bytes(struct zc_ghost *g);

/** zc_ghost_verify() - a recount.  Return: NULL; or what is wrong. */
const char *zc_ghost_verify(struct zc_ghost *g);

#endif /* ZC_GHOST_H */
