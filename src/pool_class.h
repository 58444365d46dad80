/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Size classes of a pool: arithmetic only.
 *
 *      size        1..4160       4161..8256   8257..16448   ...  65601..131136   above
 *      apart       16            128          256                2048            -
 *      classes     0..259        260..291     292..323           388..419        direct
 *
 * Up to 4160 bytes an object is rounded up by 8 bytes on average: compressed pages of 4 KiB have any size
 * up to that, and 4160 is one of them that does not compress, with its head.  Above, 32 classes share an
 * octave, and are all 64 bytes larger than round numbers, because pages of 8, 16, 32 KiB that do not
 * compress are.  A direct object has whole pages to itself: 4 KiB of more than 128 KiB.
 *
 * A class has slabs of three shapes, each with the least number of pages that wastes at most so much
 * behind the last object:
 *
 *      shape     pages from    wasted at most    for 1,900 bytes    serves a class that has
 *      small     1             1/8               4 KiB              less than 8 medium ones
 *      medium    4             1/64              28 KiB             8 times its bytes
 *      large     8             1/256             52 KiB             8 times its bytes
 *
 * A slab that is not full is what a pool holds in excess, for each class in use: a class has small ones
 * until it is so large that a larger one is at most an eighth of it.  So many classes cost a small pool
 * little, and a large one wastes next to nothing.
 *
 * Not taken: 32 classes to a power of two throughout, which rounds sizes of 1,000 to 4,000 bytes by 30;
 * one shape for all, which is either 2 % of tails or 15 MiB of slabs that are not full.
 */
#ifndef ZC_POOL_CLASS_H
#define ZC_POOL_CLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mathx.h"

#define ZC_CLASS_QUANTUM     16u /* step of small classes, and alignment of every object */
#define ZC_CLASS_MORE        64u /* by which large classes are more than round */
#define ZC_CLASS_SMALL_LOG2  12u
#define ZC_CLASS_SMALL_MAX   ((1u << ZC_CLASS_SMALL_LOG2) + ZC_CLASS_MORE)
#define ZC_CLASS_SMALL_COUNT (ZC_CLASS_SMALL_MAX / ZC_CLASS_QUANTUM)
#define ZC_CLASS_STEPS_LOG2  5u
#define ZC_CLASS_STEPS       (1u << ZC_CLASS_STEPS_LOG2)
#define ZC_CLASS_MAX_LOG2    17u
#define ZC_CLASS_MAX         (((size_t)1 << ZC_CLASS_MAX_LOG2) + ZC_CLASS_MORE)
#define ZC_CLASS_COUNT                                                                             \
    (ZC_CLASS_SMALL_COUNT + (ZC_CLASS_MAX_LOG2 - ZC_CLASS_SMALL_LOG2) * ZC_CLASS_STEPS)
#define ZC_CLASS_DIRECT   ZC_CLASS_COUNT /* one object in a run of pages of its own */

#define ZC_POOL_PAGE      ((size_t)4096)
#define ZC_SLAB_PAGES_MAX 128u
#define ZC_SLAB_SHAPES    3u
#define ZC_SLAB_GROWTH    8u /* a shape is for classes with so many times its bytes */

/** zc_class_of() - the class of @size bytes, at least 1; ZC_CLASS_DIRECT if it is too large. */
static inline unsigned zc_class_of(size_t size)
{
    size_t last;
    unsigned k;
    unsigned step;

    if (size <= ZC_CLASS_SMALL_MAX) {
        return (unsigned)((size - 1) / ZC_CLASS_QUANTUM);
    }
    if (size > ZC_CLASS_MAX) {
        return ZC_CLASS_DIRECT;
    }
    last = size - ZC_CLASS_MORE - 1;
    k = zc_log2_floor(last);
    step = (unsigned)(last >> (k - ZC_CLASS_STEPS_LOG2)) - ZC_CLASS_STEPS;
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
    return ((size_t)(ZC_CLASS_STEPS + step + 1) << (k - ZC_CLASS_STEPS_LOG2)) + ZC_CLASS_MORE;
}

/** zc_class_pages() - pages of a direct object. */
static inline unsigned zc_class_pages(size_t size)
{
    return (unsigned)((size + ZC_POOL_PAGE - 1) / ZC_POOL_PAGE);
}

/** zc_class_slab_pages() - pages of the slabs of a shape for objects of @bytes. */
static inline unsigned zc_class_slab_pages(size_t bytes, unsigned shape)
{
    static const unsigned char from[ZC_SLAB_SHAPES] = {1, 4, 8};
    static const unsigned short part[ZC_SLAB_SHAPES] = {8, 64, 256};
    const unsigned page = (unsigned)ZC_POOL_PAGE;
    const unsigned object = (unsigned)bytes;
    unsigned best_tail = page * ZC_SLAB_PAGES_MAX;
    unsigned best = 1;

    for (unsigned n = ZC_MAX(from[shape], zc_class_pages(bytes)); n <= ZC_SLAB_PAGES_MAX; n++) {
        const unsigned tail = n * page % object;

        if (tail * part[shape] <= n * page) {
            return n;
        }
        if ((uint64_t)tail * best < (uint64_t)best_tail * n) { /* as parts of their slabs */
            best_tail = tail;
            best = n;
        }
    }
    return best;
}

#endif /* ZC_POOL_CLASS_H */
