/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pool: which slab serves an allocation, and what becomes of empty ones.
 *
 *      size --> class (pool_class.h)         its slabs by fullness (pool_slab.h)
 *                 | lock                       +------+------+
 *                 |                            | slab | slab | ...      lie in
 *               spares: empty slabs,           +------+------+
 *               by their pages (pool_spare.h)
 *                 |
 *               chunks (pool_chunk.h)        | head | run | run | free | run |   2 MiB each
 *                 | chunk lock
 *               source (pool_source.c)
 *
 * Allocation
 *   1. Class of the size; above 128 KiB a run of pages of its own ("direct").
 *   2. The fullest slab that has room.
 *   3. None: a slab of a shape by how much the class has (pool_class.h): a spare of as many pages; else a new
 *      one, in the chunk whose longest free run is the shortest that will do.
 *   4. No such chunk: a new one from the source.
 * Release
 *   5. Chunk by address, slab by page, class by slab.
 *   6. A slab that got empty becomes a spare, as long as all spares together are no more than what the pool is
 *      told to keep, 1 MiB: whatever class comes next with as many pages has it without a system call, page
 *      faults, or the interrupts by which other CPUs are told that pages are gone.  Else it goes back to its
 *      chunk, and its pages to the system.  A compaction leaves no spares, nor does the close of a tenant.
 *   7. A chunk without slabs goes back to the source; one stays.
 *   8. A full chunk may get a huge page, until a slab leaves it (pool_huge.c).
 *
 * Locks: one per class (rank pool) for its slabs, one (rank leaf) for the heads of all chunks and the spares.
 * They are never held together, and neither is held during a system call.  Between class and chunk
 * a slab belongs to the thread that moves it.
 *
 * Invariants, checked by zc_pool_verify(): a slab is in the group of its fill; a page is marked
 * free exactly if no slab has it; a chunk is in the bin of its longest free run, but while it is busy; resident
 * bytes are the heads and the pages of all slabs, from a slab's creation until its pages are dropped, and
 * the free pages of chunks that are huge pages.
 *
 * Measured (gcc 12 -O2, Xeon at 2.6 GHz, 200,000 objects of 64 to 4,096 bytes, evenly spread)
 *      alloc and free of one object    15 ns; 32 ns once the process has a second thread
 *      rounding to classes             0.36 % of the bytes asked for
 *      resident / allocated            1.031 filled; 1.072 each object replaced ten times; 4.06
 *                                      after freeing 75 % at random; 1.044 filled again
 *
 * Of the 1.031, 1.6 % are the last slabs of 260 classes, of which no more is committed than was touched;
 * in a pool of 2 GiB they are a fifth of that.  The 4.06 is what a pool cannot mend, since it must not move objects: of slabs with n objects
 * 0.75^n get empty.  Whoever can move them (compact.c) is told which: a slab that is leaving serves no
 * allocation, so that what is moved out of it goes to the fullest of the others.
 *
 * Not done
 *   - Caches of free objects per thread: there is little time to win, and they hold memory that no
 *     count shows.
 *   - Chunks ordered by free pages, first fit: finding a run means to look into chunk after chunk
 *     that has the pages, but not in one piece.
 *   - Spares without a bound: up to a slab of each class.
 *   - Spares by class: while sizes change some classes have what others go to the system for.
 */
#include "pool.h"

#include <errno.h>
#include <stdatomic.h>

#include "check.h"
#include "fault.h"
#include "lock.h"
#include "mathx.h"
#include "plat.h"
#include "poison.h"
#include "pool_chunk.h"
#include "pool_class.h"
#include "pool_impl.h"
#include "pool_slab.h"
#include "pool_spare.h"

static void gauge_add(_Atomic uint64_t *gauge, uint64_t n)
{
    atomic_fetch_add_explicit(gauge, n, memory_order_relaxed);
}

static void gauge_sub(_Atomic uint64_t *gauge, uint64_t n)
{
    atomic_fetch_sub_explicit(gauge, n, memory_order_relaxed);
}

/* ---------------------------------------------------------------------------------------------- */
/* What is resident. */

bool zc_pool_resident_add(struct zc_pool *pool, uint64_t bytes)
{
    struct zc_pool_bound *bound = pool->bound;

    if (bound != NULL) {
        uint64_t now = zc_pool_gauge(&bound->resident);

        do {
            if (now + bytes > zc_pool_gauge(&bound->max)) {
                gauge_add(&bound->refusals, 1);
                return false;
            }
        } while (!atomic_compare_exchange_weak(&bound->resident, &now, now + bytes));
    }
    gauge_add(&pool->resident, bytes);
    return true;
}

void zc_pool_resident_sub(struct zc_pool *pool, uint64_t bytes)
{
    gauge_sub(&pool->resident, bytes);
    if (pool->bound != NULL) {
        gauge_sub(&pool->bound->resident, bytes);
    }
}

void zc_pool_unusable_add(struct zc_pool *pool, uint64_t bytes)
{
    gauge_add(&pool->unusable, bytes);
    if (pool->bound != NULL) {
        gauge_add(&pool->bound->unusable, bytes);
    }
}

/* Bytes behind the last object; a direct object has all of its pages, a spare has no objects. */
static uint64_t slab_tail(const struct zc_pool *pool, const struct zc_slab *slab)
{
    return slab->class_id >= ZC_CLASS_COUNT
               ? 0
               : zc_slab_bytes(slab) % pool->size_class[slab->class_id].slabs.object_bytes;
}

/* ---------------------------------------------------------------------------------------------- */
/* Spares. */

/* 6. A slab without live objects, on no list and in no class's books.  False: there are enough. */
static bool spare_keep(struct zc_pool *pool, struct zc_slab *slab)
{
    const uint64_t tail = slab_tail(pool, slab);
    bool kept;

    zc_lock_acquire(&pool->chunk_lock);
    kept =
        zc_pool_gauge(&pool->spare_bytes) + zc_slab_bytes(slab) <= zc_pool_gauge(&pool->keep_bytes);
    if (kept) {
        zc_spares_add(&pool->spares, slab);
        gauge_add(&pool->spare_bytes, zc_slab_bytes(slab));
    }
    zc_lock_release(&pool->chunk_lock);
    if (kept) {
        zc_pool_unusable_add(pool, -tail);
    }
    return kept;
}

static struct zc_slab *spare_take(struct zc_pool *pool,
                                  unsigned n_pages,
                                  unsigned class_id,
                                  unsigned shape)
{
    struct zc_slab *slab;

    zc_lock_acquire(&pool->chunk_lock);
    slab = zc_spares_take(&pool->spares, n_pages, class_id, shape);
    if (slab != NULL) {
        gauge_sub(&pool->spare_bytes, zc_slab_bytes(slab));
    }
    zc_lock_release(&pool->chunk_lock);
    if (slab != NULL) {
        zc_pool_unusable_add(pool, slab_tail(pool, slab));
    }
    return slab;
}

/* All of them go to @doomed, where their moves end. */
static void spares_drop(struct zc_pool *pool, struct zc_list *doomed)
{
    struct zc_slab *slab;

    zc_lock_acquire(&pool->chunk_lock);
    while ((slab = zc_spares_any(&pool->spares)) != NULL) {
        zc_pool_move_begin(pool);
        gauge_sub(&pool->spare_bytes, zc_slab_bytes(slab));
        zc_list_push_back(doomed, &slab->link);
    }
    zc_lock_release(&pool->chunk_lock);
}

/* ---------------------------------------------------------------------------------------------- */
/* Chunks and slabs. */

static struct zc_chunk *chunk_create(struct zc_pool *pool)
{
    struct zc_pool_region *region;
    struct zc_chunk *chunk;

    if (!zc_pool_resident_add(pool, ZC_CHUNK_HEAD_BYTES)) {
        return NULL;
    }
    chunk = ZC_FAULT(chunk) ? NULL : zc_pool_source_get(pool->source, &region);
    if (chunk == NULL) {
        zc_pool_resident_sub(pool, ZC_CHUNK_HEAD_BYTES);
        return NULL;
    }
    gauge_add(&pool->mapped, ZC_POOL_CHUNK);
    zc_pool_unusable_add(pool, ZC_CHUNK_HEAD_BYTES);
    zc_chunk_init(chunk, pool, pool->node);
    chunk->region = region;
    ZC_POISON((char *)chunk + ZC_CHUNK_HEAD_BYTES, ZC_POOL_CHUNK - ZC_CHUNK_HEAD_BYTES);
    return chunk;
}

static void chunk_destroy(struct zc_pool *pool, struct zc_chunk *chunk)
{
    chunk->tag = 0;
    ZC_UNPOISON(chunk, ZC_POOL_CHUNK);
    zc_pool_source_put(pool->source, chunk, chunk->region);
    gauge_sub(&pool->mapped, ZC_POOL_CHUNK);
    zc_pool_unusable_add(pool, -(uint64_t)ZC_CHUNK_HEAD_BYTES);
    zc_pool_resident_sub(pool, ZC_CHUNK_HEAD_BYTES);
}

/* Bytes about to become resident: at the bound, those of spares that nobody wants become free for it. */
static bool resident_add(struct zc_pool *pool, uint64_t bytes)
{
    struct zc_list doomed;

    if (ZC_LIKELY(zc_pool_resident_add(pool, bytes))) {
        return true;
    }
    zc_list_init(&doomed);
    spares_drop(pool, &doomed);
    if (zc_list_empty(&doomed)) {
        return false;
    }
    zc_pool_destroy_slabs(pool, &doomed);
    return zc_pool_resident_add(pool, bytes);
}

static struct zc_slab *slab_create(struct zc_pool *pool,
                                   unsigned n_pages,
                                   unsigned class_id,
                                   unsigned shape)
{
    const uint64_t bytes = n_pages * ZC_POOL_PAGE;
    struct zc_chunk *chunk;
    struct zc_slab *slab;

    if (!resident_add(pool, bytes)) {
        return NULL;
    }
    zc_lock_acquire(&pool->chunk_lock);
    chunk = zc_chunk_bins_find(&pool->bins, n_pages); /* 3. */
    if (chunk != NULL) {
        zc_chunk_bins_remove(&pool->bins, chunk);
        pool->n_empty -= zc_chunk_is_empty(chunk) ? 1 : 0;
    } else {
        zc_lock_release(&pool->chunk_lock);
        chunk = chunk_create(pool); /* 4. ours alone until it is in a bin */
        if (chunk == NULL) {
            zc_pool_resident_sub(pool, bytes);
            return NULL;
        }
        zc_lock_acquire(&pool->chunk_lock);
    }
    slab = zc_chunk_take(chunk, n_pages, class_id, shape);
    zc_chunk_bins_add(&pool->bins, chunk);
    if (chunk->form == ZC_FORM_HUGE) { /* counted already */
        zc_pool_resident_sub(pool, bytes);
        zc_pool_unusable_add(pool, -bytes);
    }
    zc_huge_note_locked(pool, chunk);
    zc_lock_release(&pool->chunk_lock);
    zc_pool_unusable_add(pool, slab_tail(pool, slab));
    return slab;
}

/*
 * A slab is about to leave its chunk, which is no full one any more, and no huge one.  False: it is busy,
 * and the slab left to whoever made it so.
 */
static bool begin_leaving_chunk(struct zc_pool *pool, struct zc_chunk *chunk, struct zc_slab *slab)
{
    bool huge;

    zc_lock_acquire(&pool->chunk_lock);
    if (chunk->form == ZC_FORM_BUSY) {
        zc_pool_move_begin(pool);
        zc_list_push_back(&chunk->doomed, &slab->link);
        zc_lock_release(&pool->chunk_lock);
        return false;
    }
    if (chunk->form == ZC_FORM_WAITS) {
        zc_list_del(&chunk->full);
        chunk->form = ZC_FORM_SMALL;
    }
    chunk->splits = ZC_MIN(chunk->splits, (uint8_t)(ZC_HUGE_WAITS - 1));
    chunk->n_leaving++;
    huge = chunk->form == ZC_FORM_HUGE;
    if (huge) {
        zc_huge_begin_locked(pool, chunk);
    }
    zc_lock_release(&pool->chunk_lock);
    if (huge) {
        zc_huge_split(pool, chunk);
    }
    return true;
}

/* End a slab without live objects; it is on no list. */
static void slab_destroy(struct zc_pool *pool, struct zc_slab *slab)
{
    struct zc_chunk *chunk = zc_chunk_around(slab);
    bool surplus = false;

    if (!begin_leaving_chunk(pool, chunk, slab)) {
        return;
    }
    zc_plat_discard(zc_slab_start(slab), zc_slab_bytes(slab)); /* while the pages are still ours */

    zc_pool_unusable_add(pool, -slab_tail(pool, slab));
    zc_lock_acquire(&pool->chunk_lock);
    zc_pool_resident_sub(pool, zc_slab_bytes(slab));
    zc_chunk_bins_remove(&pool->bins, chunk);
    zc_chunk_give(chunk, slab);
    chunk->n_leaving--;
    if (zc_chunk_is_empty(chunk) && pool->n_empty > 0) {
        surplus = true; /* 7. */
    } else {
        pool->n_empty += zc_chunk_is_empty(chunk) ? 1 : 0;
        zc_chunk_bins_add(&pool->bins, chunk);
        zc_huge_note_locked(pool, chunk); /* where a slab of a page left */
    }
    zc_lock_release(&pool->chunk_lock);

    if (surplus) {
        chunk_destroy(pool, chunk);
    }
}

/* ---------------------------------------------------------------------------------------------- */
/* Objects of a class. */

/* The lock makes this a plain addition; only readers of the gauge need it atomic. */
static void class_count_locked(struct zc_pool_class *c, uint64_t change) ZC_REQUIRES(c->lock)
{
    atomic_store_explicit(&c->live, zc_pool_gauge(&c->live) + change, memory_order_relaxed);
}

void zc_pool_destroy_slabs(struct zc_pool *pool, struct zc_list *doomed)
{
    while (!zc_list_empty(doomed)) {
        struct zc_slab *slab = ZC_CONTAINER_OF(zc_list_next(doomed), struct zc_slab, link);

        zc_list_del(&slab->link);
        slab_destroy(pool, slab);
        zc_pool_move_end(pool);
    }
}

/*
 * A slab for a class without room: a spare, or a new one, for which the lock is dropped.  Others
 * may do the same meanwhile.  The caller takes an object from its own all the same, because a slab
 * that is never used would never get empty.
 */
static struct zc_slab *class_grow_locked(struct zc_pool *pool, struct zc_pool_class *c)
    ZC_REQUIRES(c->lock)
{
    const unsigned class_id = (unsigned)(c - pool->size_class);
    const unsigned shape = zc_slabs_shape(&c->slabs);
    const unsigned n_pages = c->slabs.shape[shape].pages;
    struct zc_slab *slab;

    zc_lock_assert_held(&c->lock);
    zc_lock_release(&c->lock);
    zc_pool_move_begin(pool);
    slab = spare_take(pool, n_pages, class_id, shape);
    if (slab == NULL) {
        slab = slab_create(pool, n_pages, class_id, shape);
    }
    zc_lock_acquire(&c->lock);
    if (slab != NULL) {
        zc_slabs_add(&c->slabs, slab);
    } else {
        slab = zc_slabs_fullest(&c->slabs); /* others may have freed something */
    }
    zc_pool_move_end(pool);
    return slab;
}

static void *class_alloc(struct zc_pool *pool, struct zc_pool_class *c, size_t size)
{
    struct zc_slab *slab;
    void *object = NULL;

    zc_lock_acquire(&c->lock);
    slab = zc_slabs_fullest(&c->slabs); /* 2. */
    if (slab == NULL) {
        slab = class_grow_locked(pool, c);
    }
    if (slab != NULL) {
        object = zc_slabs_pop(&c->slabs, slab, size);
        class_count_locked(c, 1);
    }
    zc_lock_release(&c->lock);
    return object;
}

static void class_free(struct zc_pool *pool,
                       struct zc_pool_class *c,
                       struct zc_slab *slab,
                       void *ptr)
{
    bool empty;
    bool leaves;

    zc_lock_acquire(&c->lock);
    zc_slabs_push(&c->slabs, slab, ptr);
    class_count_locked(c, UINT64_MAX);
    empty = slab->used == 0;
    leaves = zc_slab_group(slab) == ZC_SLAB_LEAVING;
    if (empty) {
        zc_pool_move_begin(pool);
        zc_slabs_remove(&c->slabs, slab); /* now it is ours */
    }
    zc_lock_release(&c->lock);

    if (empty) {
        if (leaves || !spare_keep(pool, slab)) {
            slab_destroy(pool, slab);
        }
        zc_pool_move_end(pool);
    }
}

/* ---------------------------------------------------------------------------------------------- */
/* Direct objects. */

static void *direct_alloc(struct zc_pool *pool, size_t size)
{
    struct zc_slab *slab;
    void *object = NULL;

    zc_pool_move_begin(pool);
    slab = slab_create(pool, zc_class_pages(size), ZC_CLASS_DIRECT, 0);
    if (slab != NULL) {
        gauge_add(&pool->direct_bytes, zc_slab_bytes(slab));
        object = zc_slab_start(slab);
        ZC_UNPOISON(object, size);
    }
    zc_pool_move_end(pool);
    return object;
}

static void direct_free(struct zc_pool *pool, struct zc_slab *slab)
{
    zc_pool_move_begin(pool);
    gauge_sub(&pool->direct_bytes, zc_slab_bytes(slab));
    ZC_POISON(zc_slab_start(slab), zc_slab_bytes(slab));
    slab_destroy(pool, slab);
    zc_pool_move_end(pool);
}

/* ---------------------------------------------------------------------------------------------- */
/* The interface. */

size_t zc_pool_round(size_t size)
{
    unsigned id;

    ZC_ASSERT(size > 0 && size <= ZC_POOL_MAX);
    id = zc_class_of(size);
    return id == ZC_CLASS_DIRECT ? zc_class_pages(size) * ZC_POOL_PAGE : zc_class_bytes(id);
}

void *zc_pool_alloc(struct zc_pool *pool, size_t size)
{
    unsigned id;

    ZC_ASSERT(size > 0 && size <= ZC_POOL_MAX);
    id = zc_class_of(size); /* 1. */
    return id == ZC_CLASS_DIRECT ? direct_alloc(pool, size)
                                 : class_alloc(pool, &pool->size_class[id], size);
}

void *zc_pool_alloc_pages(struct zc_pool *pool, size_t size)
{
    ZC_ASSERT(size > 0 && size <= ZC_POOL_MAX);
    return ZC_FAULT(object) ? NULL : direct_alloc(pool, size);
}

void zc_pool_free(void *ptr, size_t size)
{
    struct zc_chunk *chunk = zc_chunk_of(ptr); /* 5. */
    struct zc_slab *slab = zc_chunk_slab(chunk, ptr);
    struct zc_pool *pool = chunk->pool;

    (void)size;
    ZC_DEBUG_ASSERT(slab->class_id == ZC_CLASS_DIRECT || slab->class_id == zc_class_of(size));
    if (slab->class_id == ZC_CLASS_DIRECT) {
        ZC_DEBUG_ASSERT(ptr == zc_slab_start(slab) && slab->n_pages == zc_class_pages(size));
        direct_free(pool, slab);
    } else {
        class_free(pool, &pool->size_class[slab->class_id], slab, ptr);
    }
}

void zc_pool_expect_free(const void *ptr, unsigned step)
{
    const struct zc_chunk *chunk = zc_chunk_around(ptr);
    const size_t page = ((uintptr_t)ptr & (ZC_POOL_CHUNK - 1)) / ZC_POOL_PAGE;

    if (step == 0) {
        __builtin_prefetch(chunk);
        __builtin_prefetch(&chunk->page_slab[page]);
        __builtin_prefetch(ptr, 1);
    } else {
        __builtin_prefetch(&chunk->slab[chunk->page_slab[page]], 1);
    }
}

unsigned zc_pool_node(const void *ptr)
{
    return zc_chunk_of(ptr)->node;
}

/* ---------------------------------------------------------------------------------------------- */
/* Compaction, as far as it is the pool's: which slabs are to get empty. */

uint64_t zc_pool_begin_leaving(struct zc_pool *pool)
{
    uint64_t bytes = 0;

    zc_pool_trim(pool);
    for (unsigned i = 0; i < ZC_CLASS_COUNT; i++) {
        struct zc_pool_class *c = &pool->size_class[i];

        zc_lock_acquire(&c->lock);
        bytes += zc_slabs_begin_leaving(&c->slabs, zc_pool_gauge(&c->live)) * ZC_POOL_PAGE;
        zc_lock_release(&c->lock);
    }
    return bytes;
}

static uint64_t for_each_class(struct zc_pool *pool, uint64_t (*act)(struct zc_slabs *slabs))
{
    uint64_t pages = 0;

    for (unsigned i = 0; i < ZC_CLASS_COUNT; i++) {
        struct zc_pool_class *c = &pool->size_class[i];

        zc_lock_acquire(&c->lock);
        pages += act(&c->slabs);
        zc_lock_release(&c->lock);
    }
    return pages * ZC_POOL_PAGE;
}

uint64_t zc_pool_recall_leaving(struct zc_pool *pool)
{
    return for_each_class(pool, zc_slabs_recall);
}

uint64_t zc_pool_end_leaving(struct zc_pool *pool)
{
    return for_each_class(pool, zc_slabs_end_leaving);
}

bool zc_pool_is_leaving(const void *ptr)
{
    return zc_slab_group(zc_chunk_slab(zc_chunk_of(ptr), ptr)) == ZC_SLAB_LEAVING;
}

uint64_t zc_pool_excess(struct zc_pool *pool)
{
    struct zc_pool_usage usage;
    uint64_t taken;

    zc_pool_usage(pool, &usage);
    taken = usage.allocated + zc_pool_gauge(&pool->unusable) + zc_pool_gauge(&pool->spare_bytes);
    return zc_sub_sat(usage.resident, taken);
}

void zc_pool_usage(const struct zc_pool *pool, struct zc_pool_usage *out)
{
    out->allocated = zc_pool_gauge(&pool->direct_bytes);
    for (unsigned i = 0; i < ZC_CLASS_COUNT; i++) {
        const struct zc_pool_class *c = &pool->size_class[i];

        out->allocated += zc_pool_gauge(&c->live) * c->slabs.object_bytes;
    }
    out->resident = zc_pool_gauge(&pool->resident);
    out->mapped = zc_pool_gauge(&pool->mapped);
}

/* ---------------------------------------------------------------------------------------------- */
/* Creation and destruction. */

static size_t pool_bytes(void)
{
    return zc_align_up(sizeof(struct zc_pool), ZC_POOL_PAGE);
}

int zc_pool_create(unsigned node, int sys_node, struct zc_pool **out)
{
    struct zc_pool *pool;
    int rc;

    if (zc_plat_page_size() != ZC_POOL_PAGE) {
        return -ENOTSUP; /* larger ones could not be given back */
    }
    pool = zc_plat_map(pool_bytes(), ZC_POOL_PAGE, sys_node);
    if (pool == NULL) {
        return -ENOMEM;
    }
    rc = zc_pool_source_create(sys_node, &pool->source);
    if (rc != 0) {
        zc_plat_unmap(pool, pool_bytes());
        return rc;
    }
    pool->node = node;
    zc_pool_keep(pool, ZC_POOL_KEEP);
    zc_lock_init(&pool->chunk_lock, ZC_RANK_leaf);
    zc_chunk_bins_init(&pool->bins);
    zc_spares_init(&pool->spares);
    zc_huge_init(pool);
    for (unsigned i = 0; i < ZC_CLASS_COUNT; i++) {
        zc_lock_init(&pool->size_class[i].lock, ZC_RANK_pool);
        zc_slabs_init(&pool->size_class[i].slabs, i);
    }
    pool->tag = ZC_TAG_POOL;
    *out = pool;
    return 0;
}

void zc_pool_keep(struct zc_pool *pool, uint64_t bytes)
{
    atomic_store_explicit(&pool->keep_bytes, bytes, memory_order_relaxed);
}

void zc_pool_trim(struct zc_pool *pool)
{
    struct zc_list doomed;

    zc_list_init(&doomed);
    spares_drop(pool, &doomed);
    zc_pool_destroy_slabs(pool, &doomed);
}

void zc_pool_bind(struct zc_pool *pool, struct zc_pool_bound *bound)
{
    pool->bound = bound;
}

void zc_pool_destroy(struct zc_pool **pool_ptr)
{
    struct zc_pool *pool = *pool_ptr;
    struct zc_chunk *empty;

    *pool_ptr = NULL;
    if (pool == NULL) {
        return;
    }
    ZC_ASSERT(pool->tag == ZC_TAG_POOL);
    pool->tag = 0;
    zc_pool_trim(pool);
    for (unsigned i = 0; i < ZC_CLASS_COUNT; i++) {
        zc_lock_fini(&pool->size_class[i].lock);
    }
    empty = zc_chunk_bins_find(&pool->bins, ZC_CHUNK_RUN_MAX);
    if (empty != NULL) {
        chunk_destroy(pool, empty);
    }
    ZC_ASSERT(zc_pool_gauge(&pool->mapped) == 0); /* else an object was not freed */
    zc_lock_fini(&pool->chunk_lock);
    zc_pool_source_destroy(&pool->source);
    zc_plat_unmap(pool, pool_bytes());
}
