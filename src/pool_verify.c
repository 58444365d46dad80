/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Checks a pool against itself: every count is counted again, and everything that is written down
 * twice is compared.
 *
 *      what                                  written down in                 and in
 *      objects given back                    a slab's free list              touched - used
 *      where a slab belongs                  its fill                        its group
 *      live objects of a class               its slabs                       its gauge
 *      who has a page                        the map of bits, of bytes       the slab's description
 *      how much room a chunk has             its maps                        n_free, longest, bin
 *      resident, mapped, spare, huge bytes   slabs and chunks                the pool's gauges
 *
 * Free lists are followed only inside their slab and no further than it has objects, so that damage
 * is reported, not run into.
 *
 * Locks: each class's in turn, then the chunks'.  What one lock covers is exact at any time.  The
 * totals are compared only if no slab moved between the start and the end of the walk.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "list.h"
#include "lock.h"
#include "poison.h"
#include "pool.h"
#include "pool_chunk.h"
#include "pool_impl.h"
#include "pool_slab.h"

/* What the walk found. */
struct census {
    uint64_t class_bytes; /* slabs of classes */
    uint64_t spare_bytes;
    uint64_t tail_bytes; /* behind the last objects of slabs */
    uint64_t used_bytes; /* pages that chunks gave to slabs */
    uint64_t free_bytes; /* pages of huge chunks that no slab has: resident all the same */
    uint64_t huge;
    uint64_t chunks;
    uint64_t empty;
};

/* ---------------------------------------------------------------------------------------------- */
/* Classes. */

static ZC_MAY_READ_POISON const char *slab_wrong(const struct zc_slabs *slabs,
                                                 const struct zc_slab *slab)
{
    const struct zc_free_object *object = slab->free;
    uint32_t n = slab->used;

    if (slab->shape >= ZC_SLAB_SHAPES || slab->n_pages != slabs->shape[slab->shape].pages) {
        return "a slab has the wrong size";
    }
    if (slab->used > slab->touched || slab->touched > zc_slab_capacity(slabs, slab)) {
        return "a slab counts objects that it cannot have";
    }
    for (; object != NULL; object = object->next) {
        const uintptr_t offset = (uintptr_t)object - (uintptr_t)zc_slab_start(slab);

        if (offset % slabs->object_bytes != 0 || offset / slabs->object_bytes >= slab->touched) {
            return "a free list leaves its slab";
        }
        if (n++ == slab->touched) {
            return "a free list is too long";
        }
    }
    return n == slab->touched ? NULL : "a free list is too short";
}

/* One fullness group; adds its live objects to @live, what it has place for to @found. */
static const char *group_wrong(const struct zc_slabs *slabs,
                               unsigned class_id,
                               unsigned group,
                               uint64_t *live,
                               struct zc_slabs *found,
                               struct census *census)
{
    const bool marked = (slabs->groups >> group & 1) != 0;
    struct zc_list *it;

    if (marked != (group < ZC_SLAB_FULL && !zc_list_empty(&slabs->group[group]))) {
        return "a class's map of groups is wrong";
    }
    ZC_LIST_FOR_EACH (it, &slabs->group[group]) {
        const struct zc_slab *slab = ZC_CONTAINER_OF(it, struct zc_slab, link);
        const char *wrong = slab_wrong(slabs, slab);

        if (wrong != NULL) {
            return wrong;
        }
        if (slab->class_id != class_id || zc_slab_group(slab) != group || slab->used == 0 ||
            (group != ZC_SLAB_LEAVING && zc_slabs_group(slabs, slab) != group)) {
            return "a slab is in the wrong group";
        }
        *live += slab->used;
        found->n_pages += slab->n_pages;
        found->room += group != ZC_SLAB_LEAVING ? zc_slab_capacity(slabs, slab) : 0;
        census->tail_bytes += zc_slab_bytes(slab) % slabs->object_bytes;
        census->class_bytes += zc_slab_bytes(slab);
    }
    return NULL;
}

static const char *class_wrong(struct zc_pool *pool, unsigned id, struct census *census)
{
    struct zc_pool_class *c = &pool->size_class[id];
    const char *wrong = NULL;
    struct zc_slabs found = {.n_pages = 0, .room = 0};
    uint64_t live = 0;

    zc_lock_acquire(&c->lock);
    for (unsigned g = 0; g <= ZC_SLAB_LEAVING && wrong == NULL; g++) {
        wrong = group_wrong(&c->slabs, id, g, &live, &found, census);
    }
    if (wrong == NULL && (found.n_pages != c->slabs.n_pages || found.room != c->slabs.room)) {
        wrong = "a class's count of slabs is wrong";
    }
    if (wrong == NULL && live != zc_pool_gauge(&c->live)) {
        wrong = "a class's count of objects is wrong";
    }
    zc_lock_release(&c->lock);
    return wrong;
}

/* ---------------------------------------------------------------------------------------------- */
/* Chunks. */

/* Whether the description in @slot agrees with the map of who has which page. */
static bool slot_agrees(const struct zc_chunk *chunk, unsigned slot)
{
    const struct zc_slab *slab = &chunk->slab[slot];
    unsigned n = 0;

    if ((chunk->free_slots[slot / 64] >> slot % 64 & 1) != 0) {
        return slab->n_pages == 0;
    }
    while (n < slab->n_pages && slab->first_page + n < ZC_CHUNK_PAGES &&
           chunk->page_slab[slab->first_page + n] == slot) {
        n++;
    }
    return n > 0 && n == slab->n_pages;
}

const char *zc_chunk_wrong(const struct zc_chunk *chunk)
{
    unsigned n_free = 0;
    unsigned n_used = 0;

    if (chunk->tag != ZC_TAG_CHUNK) {
        return "a chunk lost its tag";
    }
    for (unsigned p = ZC_CHUNK_HEAD_PAGES; p < ZC_CHUNK_PAGES; p++) {
        const bool is_free = (chunk->free_pages[p / 64] >> p % 64 & 1) != 0;

        if (is_free != (chunk->page_slab[p] == ZC_CHUNK_NO_SLAB)) {
            return "a chunk's two maps of pages differ";
        }
        n_free += is_free ? 1 : 0;
    }
    for (unsigned slot = 0; slot < ZC_CHUNK_SLABS; slot++) {
        if (!slot_agrees(chunk, slot)) {
            return "a slab and the map of pages differ";
        }
        n_used += chunk->slab[slot].n_pages;
    }
    if (n_free != chunk->n_free || n_free + n_used != ZC_CHUNK_RUN_MAX) {
        return "a chunk's count of free pages is wrong";
    }
    return chunk->longest == zc_chunk_longest(chunk) ? NULL : "a chunk's longest run is wrong";
}

static const char *bin_wrong(const struct zc_pool *pool, unsigned bin, struct census *census)
{
    const bool marked = (pool->bins.used[bin / 64] >> bin % 64 & 1) != 0;
    struct zc_list *it;

    if (marked == zc_list_empty(&pool->bins.bin[bin])) {
        return "the map of bins is wrong";
    }
    ZC_LIST_FOR_EACH (it, &pool->bins.bin[bin]) {
        const struct zc_chunk *chunk = ZC_CONTAINER_OF(it, struct zc_chunk, link);
        const char *wrong = zc_chunk_wrong(chunk);

        if (wrong != NULL) {
            return wrong;
        }
        if (chunk->pool != pool || chunk->node != pool->node || chunk->longest != bin) {
            return "a chunk is in the wrong bin";
        }
        census->used_bytes += (ZC_CHUNK_RUN_MAX - chunk->n_free) * ZC_POOL_PAGE;
        if (chunk->form == ZC_FORM_BUSY ||
            (chunk->form == ZC_FORM_WAITS) != !zc_list_empty(&chunk->full)) {
            return "a chunk waits for a huge page, or does not, against its mark";
        }
        if (chunk->form == ZC_FORM_HUGE) {
            census->free_bytes += chunk->n_free * ZC_POOL_PAGE;
            census->huge++;
        }
        census->chunks++;
        census->empty += zc_chunk_is_empty(chunk) ? 1 : 0;
    }
    return NULL;
}

/* Spares of @n_pages. */
static const char *spares_wrong(const struct zc_spares *spares,
                                unsigned n_pages,
                                struct census *census)
{
    const struct zc_list *run = &spares->run[n_pages];
    const bool marked = (spares->used[n_pages / 64] >> n_pages % 64 & 1) != 0;
    struct zc_list *it;

    if (marked == zc_list_empty(run)) {
        return "the map of spares is wrong";
    }
    ZC_LIST_FOR_EACH (it, run) {
        const struct zc_slab *spare = ZC_CONTAINER_OF(it, struct zc_slab, link);

        if (spare->used != 0 || spare->class_id != ZC_CLASS_SPARE || spare->n_pages != n_pages) {
            return "a spare is in use, or in the wrong list";
        }
        census->spare_bytes += zc_slab_bytes(spare);
    }
    return NULL;
}

static const char *chunks_wrong(struct zc_pool *pool, struct census *census)
{
    const char *wrong = NULL;

    zc_lock_acquire(&pool->chunk_lock);
    for (unsigned i = 0; i <= ZC_CHUNK_RUN_MAX && wrong == NULL; i++) {
        wrong = bin_wrong(pool, i, census);
    }
    for (unsigned n = 0; n <= ZC_SLAB_PAGES_MAX && wrong == NULL; n++) {
        wrong = spares_wrong(&pool->spares, n, census);
    }
    if (wrong == NULL && (census->empty != pool->n_empty || pool->n_empty > 1)) {
        wrong = "the count of chunks without slabs is wrong";
    }
    zc_lock_release(&pool->chunk_lock);
    return wrong;
}

/* ---------------------------------------------------------------------------------------------- */

static const char *totals_wrong(const struct zc_pool *pool, const struct census *census)
{
    if (census->class_bytes + census->spare_bytes + zc_pool_gauge(&pool->direct_bytes) !=
        census->used_bytes) {
        return "a slab is in no class and no spare";
    }
    if (census->spare_bytes != zc_pool_gauge(&pool->spare_bytes)) {
        return "the count of spare bytes is wrong";
    }
    if (census->used_bytes + census->free_bytes + census->chunks * ZC_CHUNK_HEAD_BYTES !=
        zc_pool_gauge(&pool->resident)) {
        return "the count of resident bytes is wrong";
    }
    if (census->tail_bytes + census->free_bytes + census->chunks * ZC_CHUNK_HEAD_BYTES !=
        zc_pool_gauge(&pool->unusable)) {
        return "the count of unusable bytes is wrong";
    }
    if (census->huge * ZC_POOL_CHUNK != zc_pool_huge_bytes(pool)) {
        return "the count of bytes in huge pages is wrong";
    }
    if (census->chunks * ZC_POOL_CHUNK != zc_pool_gauge(&pool->mapped)) {
        return "the count of mapped bytes is wrong";
    }
    return NULL;
}

const char *zc_pool_verify(struct zc_pool *pool)
{
    const uint64_t moves_done = atomic_load(&pool->moves_done);
    struct census census = {0};
    const char *wrong = NULL;

    for (unsigned i = 0; i < ZC_CLASS_COUNT && wrong == NULL; i++) {
        wrong = class_wrong(pool, i, &census);
    }
    if (wrong == NULL) {
        wrong = chunks_wrong(pool, &census);
    }
    if (wrong == NULL) {
        wrong = totals_wrong(pool, &census);
        if (atomic_load(&pool->moves_begun) != moves_done) {
            wrong = NULL; /* the parts were not of one moment */
        }
    }
    return wrong;
}
