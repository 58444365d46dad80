/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The slabs of one size class and the objects in them.  The data structure only: pool.c holds the
 * locks and decides.
 *
 *      group 7  (fullest)   slab - slab               a slab:
 *      ...                                            | live | free | live | free | never touched |
 *      group 1              slab - slab - slab                  |             ^
 *      group 0  (emptiest)  slab                      free -----|-------------+
 *      group 8  (full)      slab - slab - slab                  +--> NULL
 *      group 9  (leaving)   slab - slab
 *
 * Groups are eighths of a slab's capacity, whatever its shape, so a slab changes its list at every eighth
 * of its objects only.
 * A slab that is leaving serves no allocation: its objects are to be moved to others (compact.c).
 * Objects that were given back are linked through themselves.  What was never handed out is not
 * touched, so that its pages stay uncommitted.
 *
 * In AddressSanitizer builds everything but the live bytes of live objects is poisoned.  In debug
 * builds a free object carries a guard that depends on its address: an object that is freed twice
 * has it already, and one that was written to after its release has it no more.
 */
#ifndef ZC_POOL_SLAB_H
#define ZC_POOL_SLAB_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "list.h"
#include "mathx.h"
#include "poison.h"
#include "pool_chunk.h"
#include "pool_class.h"

#define ZC_SLAB_GROUPS  8u
#define ZC_SLAB_FULL    ZC_SLAB_GROUPS
#define ZC_SLAB_LEAVING (ZC_SLAB_GROUPS + 1)
#define ZC_SLAB_SHIFT   20 /* fixed point of group_scale */

struct zc_free_object {
    struct zc_free_object *next;
    uint64_t guard;
};

/** struct zc_slab_shape - set once. */
struct zc_slab_shape {
    uint16_t pages;
    uint16_t capacity;    /* objects */
    uint32_t group_scale; /* groups / capacity, in fixed point */
};

/** struct zc_slabs - the slabs of a class that have live objects. */
struct zc_slabs {
    uint32_t object_bytes; /* set once */
    uint32_t groups;       /* bit set where a group has slabs, the full and the leaving left out */
    uint64_t n_pages;      /* in all groups */
    uint64_t room;         /* objects that all groups but the leaving have place for */
    struct zc_slab_shape shape[ZC_SLAB_SHAPES];
    struct zc_list group[ZC_SLAB_GROUPS + 2];
};

static inline void zc_slabs_init(struct zc_slabs *slabs, unsigned class_id)
{
    slabs->object_bytes = (uint32_t)zc_class_bytes(class_id);
    for (unsigned i = 0; i < ZC_SLAB_SHAPES; i++) {
        const unsigned pages = zc_class_slab_pages(slabs->object_bytes, i);
        const uint32_t capacity = (uint32_t)(pages * ZC_POOL_PAGE / slabs->object_bytes);

        slabs->shape[i] = (struct zc_slab_shape){
            .pages = (uint16_t)pages,
            .capacity = (uint16_t)capacity,
            .group_scale = ((ZC_SLAB_GROUPS << ZC_SLAB_SHIFT) + capacity - 1) / capacity};
    }
    slabs->groups = 0;
    slabs->n_pages = slabs->room = 0;
    for (unsigned g = 0; g <= ZC_SLAB_LEAVING; g++) {
        zc_list_init(&slabs->group[g]);
    }
}

/** zc_slabs_shape() - of the next slab: the largest that is a small part of the class. */
static inline unsigned zc_slabs_shape(const struct zc_slabs *slabs)
{
    unsigned shape = ZC_SLAB_SHAPES - 1;

    while (shape > 0 && slabs->n_pages < (uint64_t)ZC_SLAB_GROWTH * slabs->shape[shape].pages) {
        shape--;
    }
    return shape;
}

/** zc_slab_capacity() - how many objects it has place for. */
static inline uint32_t zc_slab_capacity(const struct zc_slabs *slabs, const struct zc_slab *slab)
{
    return slabs->shape[slab->shape].capacity;
}

/** zc_slabs_group() - the group that a slab belongs to by its live objects. */
static inline unsigned zc_slabs_group(const struct zc_slabs *slabs, const struct zc_slab *slab)
{
    const struct zc_slab_shape *shape = &slabs->shape[slab->shape];

    if (slab->used == shape->capacity) {
        return ZC_SLAB_FULL;
    }
    return (unsigned)((uint64_t)slab->used * shape->group_scale >> ZC_SLAB_SHIFT);
}

/* Where a slab belongs: readers look without a lock whether it is leaving. */
static inline void zc_slab_set_group(struct zc_slab *slab, unsigned group)
{
    atomic_store_explicit(&slab->group, (uint8_t)group, memory_order_relaxed);
}

static inline unsigned zc_slab_group(const struct zc_slab *slab)
{
    return atomic_load_explicit(&slab->group, memory_order_relaxed);
}

static inline void zc_slabs_link(struct zc_slabs *slabs, struct zc_slab *slab, unsigned group)
{
    zc_slab_set_group(slab, group);
    zc_list_push_front(&slabs->group[group], &slab->link);
    if (group < ZC_SLAB_FULL) {
        slabs->groups |= 1u << group;
    }
    slabs->n_pages += slab->n_pages;
    slabs->room += group != ZC_SLAB_LEAVING ? zc_slab_capacity(slabs, slab) : 0;
}

static inline void zc_slabs_add(struct zc_slabs *slabs, struct zc_slab *slab)
{
    zc_slabs_link(slabs, slab, zc_slabs_group(slabs, slab));
}

static inline void zc_slabs_remove(struct zc_slabs *slabs, struct zc_slab *slab)
{
    unsigned group = zc_slab_group(slab);

    zc_list_del(&slab->link);
    if (zc_list_empty(&slabs->group[group])) {
        slabs->groups &= ~(1u << group);
    }
    slabs->n_pages -= slab->n_pages;
    slabs->room -= group != ZC_SLAB_LEAVING ? zc_slab_capacity(slabs, slab) : 0;
}

/* Pages that are won if @slab's objects go to small slabs. */
static inline uint32_t zc_slabs_won(const struct zc_slabs *slabs, const struct zc_slab *slab)
{
    const struct zc_slab_shape *small = &slabs->shape[0];
    const uint32_t needed = (slab->used + small->capacity - 1u) / small->capacity * small->pages;

    return slab->n_pages > needed ? slab->n_pages - needed : 0;
}

/**
 * zc_slabs_begin_leaving() - the emptiest slabs stop serving allocations, as many as the others have
 * room for their objects; and those of which half is won if their objects get small slabs.
 *
 * Return: pages that are won.
 */
static inline uint64_t zc_slabs_begin_leaving(struct zc_slabs *slabs, uint64_t live)
{
    uint64_t won = 0;

    for (unsigned g = 0; g < ZC_SLAB_FULL; g++) {
        struct zc_list *next;

        for (struct zc_list *it = zc_list_next(&slabs->group[g]); it != &slabs->group[g];
             it = next) {
            struct zc_slab *slab = ZC_CONTAINER_OF(it, struct zc_slab, link);
            uint32_t n = slab->n_pages;

            next = zc_list_next(it);
            if (slabs->room < live + zc_slab_capacity(slabs, slab)) {
                n = zc_slabs_won(slabs, slab);
                if (n * 2 < slab->n_pages) {
                    continue;
                }
                live -= slab->used; /* it needs no room of the others */
            }
            zc_slabs_remove(slabs, slab);
            zc_slabs_link(slabs, slab, ZC_SLAB_LEAVING);
            won += n;
        }
    }
    return won;
}

/**
 * zc_slabs_recall() - where the others have no place left, half of the leaving slabs serve again, the fullest.
 *
 * Return: their pages.
 */
static inline uint64_t zc_slabs_recall(struct zc_slabs *slabs)
{
    struct zc_list *leaving = &slabs->group[ZC_SLAB_LEAVING];
    uint64_t pages = 0;
    uint64_t n = 0;
    struct zc_list *it;

    if (slabs->groups != 0) {
        return 0;
    }
    ZC_LIST_FOR_EACH (it, leaving) {
        n++;
    }
    /* The emptiest were put there first, each before the others. */
    for (n = (n + 1) / 2; n > 0; n--) {
        struct zc_slab *slab = ZC_CONTAINER_OF(zc_list_next(leaving), struct zc_slab, link);

        pages += slab->n_pages;
        zc_slabs_remove(slabs, slab);
        zc_slabs_add(slabs, slab);
    }
    return pages;
}

/** zc_slabs_end_leaving() - what has not got empty serves again.  Return: its pages. */
static inline uint64_t zc_slabs_end_leaving(struct zc_slabs *slabs)
{
    uint64_t stayed = 0;

    while (!zc_list_empty(&slabs->group[ZC_SLAB_LEAVING])) {
        struct zc_slab *slab =
            ZC_CONTAINER_OF(zc_list_next(&slabs->group[ZC_SLAB_LEAVING]), struct zc_slab, link);

        stayed += slab->n_pages;
        zc_slabs_remove(slabs, slab);
        zc_slabs_add(slabs, slab);
    }
    return stayed;
}

/** zc_slabs_fullest() - the fullest slab that has room, NULL if none has. */
static inline struct zc_slab *zc_slabs_fullest(const struct zc_slabs *slabs)
{
    if (slabs->groups == 0) {
        return NULL;
    }
    return ZC_CONTAINER_OF(zc_list_next(&slabs->group[zc_log2_floor(slabs->groups)]),
                           struct zc_slab, link);
}

/* After a change of the live objects: to the right group. */
static inline void zc_slabs_regroup(struct zc_slabs *slabs, struct zc_slab *slab)
{
    unsigned group = zc_slab_group(slab);

    if (group != ZC_SLAB_LEAVING && zc_slabs_group(slabs, slab) != group) {
        zc_slabs_remove(slabs, slab);
        zc_slabs_add(slabs, slab);
    }
}

static inline uint64_t zc_free_object_guard(const void *object)
{
    return (uint64_t)(uintptr_t)object * UINT64_C(0x9e3779b97f4a7c15);
}

/* Whether an object is free: the guard says it may be, the list says it is. */
static inline ZC_MAY_READ_POISON bool zc_slab_has_free(const struct zc_slab *slab, const void *ptr)
{
    const struct zc_free_object *object = ptr;
    const struct zc_free_object *f = slab->free;

    if (object->guard != zc_free_object_guard(object)) {
        return false;
    }
    while (f != NULL && f != object) {
        f = f->next;
    }
    return f != NULL;
}

/** zc_slabs_pop() - @size bytes from a slab that has room. */
static inline void *zc_slabs_pop(struct zc_slabs *slabs, struct zc_slab *slab, size_t size)
{
    struct zc_free_object *object = slab->free;

    if (object == NULL) {
        object = (void *)(zc_slab_start(slab) + (size_t)slab->touched * slabs->object_bytes);
        slab->touched++;
    } else {
        ZC_UNPOISON(object, sizeof(*object));
        ZC_DEBUG_ASSERT(object->guard == zc_free_object_guard(object)); /* not written to */
        slab->free = object->next;
        ZC_POISON(object, sizeof(*object));
    }
    ZC_UNPOISON(object, size);
    slab->used++;
    zc_slabs_regroup(slabs, slab);
    return object;
}

/** zc_slabs_push() - an object back to its slab. */
static inline void zc_slabs_push(struct zc_slabs *slabs, struct zc_slab *slab, void *ptr)
{
    struct zc_free_object *object = ptr;

    ZC_DEBUG_ASSERT((size_t)((char *)ptr - zc_slab_start(slab)) % slabs->object_bytes == 0);
    ZC_DEBUG_ASSERT(!zc_slab_has_free(slab, ptr)); /* freed once only */
    ZC_UNPOISON(ptr, sizeof(*object));
    object->next = slab->free;
#ifdef ZCACHE_DEBUG
    object->guard = zc_free_object_guard(object);
#endif
    slab->free = object;
    ZC_POISON(ptr, slabs->object_bytes);
    slab->used--;
    zc_slabs_regroup(slabs, slab);
}

#endif /* ZC_POOL_SLAB_H */
