/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Spares: empty slabs whose pages stay resident, by how many they are, so that the next class that wants as
 * many has them.  The data structure only: pool.c holds the lock and decides.
 *
 *      pages    1      2      3      4     ...
 *             slab           slab   slab
 *             slab                  slab
 *
 * A spare belongs to its chunk as every slab does, and to no class: its description is made anew when a class
 * takes it, and what the last one left in its pages is nobody's.
 *
 * Not taken: runs of free pages in the chunks that are still resident (a second map of pages for each chunk, and
 * a search for a run in two maps); to cut a larger spare (what is left of it fits nothing).
 */
#ifndef ZC_POOL_SPARE_H
#define ZC_POOL_SPARE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "list.h"
#include "mathx.h"
#include "pool_chunk.h"
#include "pool_class.h"

#define ZC_CLASS_SPARE  (ZC_CLASS_DIRECT + 1) /* class_id of a slab that has none */
#define ZC_SPARES_WORDS (ZC_SLAB_PAGES_MAX / 64 + 1)

struct zc_spares {
    struct zc_list run[ZC_SLAB_PAGES_MAX + 1]; /* by pages */
    uint64_t used[ZC_SPARES_WORDS];            /* bit set where the list is not empty */
};

static inline void zc_spares_init(struct zc_spares *spares)
{
    for (unsigned i = 0; i <= ZC_SLAB_PAGES_MAX; i++) {
        zc_list_init(&spares->run[i]);
    }
    for (unsigned i = 0; i < ZC_SPARES_WORDS; i++) {
        spares->used[i] = 0;
    }
}

static inline void zc_spares_add(struct zc_spares *spares, struct zc_slab *slab)
{
    slab->class_id = ZC_CLASS_SPARE;
    zc_list_push_front(&spares->run[slab->n_pages],
                       &slab->link); /* what was used just now comes first */
    spares->used[slab->n_pages / 64] |= UINT64_C(1) << slab->n_pages % 64;
}

static inline struct zc_slab *zc_spares_pop(struct zc_spares *spares, unsigned n_pages)
{
    struct zc_list *run = &spares->run[n_pages];
    struct zc_slab *slab = ZC_CONTAINER_OF(zc_list_next(run), struct zc_slab, link);

    zc_list_del(&slab->link);
    if (zc_list_empty(run)) {
        spares->used[n_pages / 64] &= ~(UINT64_C(1) << n_pages % 64);
    }
    return slab;
}

/** zc_spares_take() - a slab of @n_pages for a class, as if it were new.  Return: NULL: there is none. */
static inline struct zc_slab *zc_spares_take(struct zc_spares *spares,
                                             unsigned n_pages,
                                             unsigned class_id,
                                             unsigned shape)
{
    struct zc_slab *slab;

    if (zc_list_empty(&spares->run[n_pages])) {
        return NULL;
    }
    slab = zc_spares_pop(spares, n_pages);
    slab->free = NULL;
    slab->touched = 0;
    slab->class_id = (uint16_t)class_id;
    slab->shape = (uint8_t)shape;
    return slab;
}

/** zc_spares_any() - one of them, to be given back.  Return: NULL: there are none. */
static inline struct zc_slab *zc_spares_any(struct zc_spares *spares)
{
    for (unsigned i = 0; i < ZC_SPARES_WORDS; i++) {
        if (spares->used[i] != 0) {
            return zc_spares_pop(spares, i * 64 + (unsigned)__builtin_ctzll(spares->used[i]));
        }
    }
    return NULL;
}

#endif /* ZC_POOL_SPARE_H */
