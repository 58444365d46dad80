/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Size classes of a pool: arithmetic only.
 *
 *      size        1..512        513..1024    1025..2048   ...  65537..131072     above
 *      apart       16            16           32                2048              -
 *      classes     0..31         32..63       64..95            256..287          direct
 *
 * Above 512 bytes 32 classes share a power of two, so an object is rounded up by at most 1/32 of
 * its size; below, by at most 15 bytes.  A direct object has whole pages to itself, which is
 * as exact: 4 KiB of more than 128 KiB.
 *
 * A class's slabs have the least number of pages, from 4, that wastes at most 1/66 (1.5 %) behind
 * the last object: 17 on average, 63 at most.  The least, because half a slab for each class in use
 * is what a pool holds in excess: 2 MiB if all up to 4 KiB are, 10 MiB if all are at all.
 *
 * Not 64 classes to a power of two: rounding would halve, but so would the objects per class, and
 * the excess double.  That pays only in pools of many hundred MiB.
 */
#ifndef ZC_POOL_CLASS_H
#define ZC_POOL_CLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mathx.h"

#define ZC_CLASS_QUANTUM     16u /* step of small classes, and alignment of every object */
#define ZC_CLASS_SMALL_LOG2  9u
#define ZC_CLASS_SMALL_MAX   (1u << ZC_CLASS_SMALL_LOG2)
#define ZC_CLASS_SMALL_COUNT (ZC_CLASS_SMALL_MAX / ZC_CLASS_QUANTUM)
#define ZC_CLASS_STEPS_LOG2  5u
#define ZC_CLASS_STEPS       (1u << ZC_CLASS_STEPS_LOG2)
#define ZC_CLASS_MAX_LOG2    17u
#define ZC_CLASS_MAX         ((size_t)1 << ZC_CLASS_MAX_LOG2)
#define ZC_CLASS_COUNT                                                                             \
    (ZC_CLASS_SMALL_COUNT + (ZC_CLASS_MAX_LOG2 - ZC_CLASS_SMALL_LOG2) * ZC_CLASS_STEPS)
#define ZC_CLASS_DIRECT   ZC_CLASS_COUNT /* one object in a run of pages of its own */

#define ZC_POOL_PAGE      ((size_t)4096)
#define ZC_SLAB_PAGES_MIN 4u
#define ZC_SLAB_PAGES_MAX 128u
#define ZC_SLAB_TAIL_PART 66u

/** zc_class_of() - the class of @size bytes, at least 1; ZC_CLASS_DIRECT if it is too large. */
static inline unsigned zc_class_of(size_t size)
{
    unsigned k;
    unsigned step;

    if (size <= ZC_CLASS_SMALL_MAX) {
        return (unsigned)((size - 1) / ZC_CLASS_QUANTUM);
    }
    if (size > ZC_CLASS_MAX) {
        return ZC_CLASS_DIRECT;
    }
    k = zc_log2_floor(size - 1);
    step = (unsigned)((size - 1) >> (k - ZC_CLASS_STEPS_LOG2)) - ZC_CLASS_STEPS;
    return ZC_CLASS_SMALL_COUNT + (k - ZC_CLASS_SMALL_LOG2) * ZC_CLASS_STEPS + step;
}

/** zc_class_bytes() - the largest size of a class that is not direct. */
static inline size_t zc_class_bytes(unsigned id)
{
    unsigned k;
    unsigned step;

    if (id < ZC_CLASS_SMALL_COUNT) {
        return (size_t)(id + 1) * ZC_CLASS_QUANTUM;
    }
    k = ZC_CLASS_SMALL_LOG2 + (id - ZC_CLASS_SMALL_COUNT) / ZC_CLASS_STEPS;
    step = (id - ZC_CLASS_SMALL_COUNT) % ZC_CLASS_STEPS;
    return (size_t)(ZC_CLASS_STEPS + step + 1) << (k - ZC_CLASS_STEPS_LOG2);
}

/** zc_class_pages() - pages of a direct object. */
static inline unsigned zc_class_pages(size_t size)
{
    return (unsigned)((size + ZC_POOL_PAGE - 1) / ZC_POOL_PAGE);
}

/** zc_class_slab_pages() - pages of the slabs for objects of @bytes. */
static inline unsigned zc_class_slab_pages(size_t bytes)
{
    unsigned n = ZC_SLAB_PAGES_MIN;

    while (n < ZC_SLAB_PAGES_MAX &&
           (n * ZC_POOL_PAGE < bytes ||
            n * ZC_POOL_PAGE % bytes * ZC_SLAB_TAIL_PART > n * ZC_POOL_PAGE)) {
        n++;
    }
    return n;
}

#endif /* ZC_POOL_CLASS_H */
