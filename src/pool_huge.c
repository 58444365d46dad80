/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool_huge.c - chunks as huge pages of the system, so that a look-up among millions of pages does not miss
 * the CPU's table of translations at each step.
 *
 *     small --- full ---> waits --- its time has come ---> busy ---> huge
 *       ^                   |                               |          |
 *       +-- a slab leaves --+          the system refused --+          |
 *       +------------- busy: split, and what is free given back <------+  a slab leaves
 *
 * What is resident is what is counted, also here, so only a chunk that is full gets a huge page: all of it
 * is counted as resident by then, but for two free pages, which are added to the count.  A small cache
 * pays nothing, since it has no full chunk; and one below a size has none of this at all, since the
 * table reaches as far.
 *
 * The chunk's pages are copied to a huge one (MADV_COLLAPSE, Linux 6.1), with others reading and writing
 * it.  For this moment only the mapping may have huge pages: otherwise the kernel would make some of its
 * own, of chunks that are half empty, and what was given back would come back.
 *
 * When a slab leaves the chunk is split again, all of it.  To drop a part of a huge page's mapping is not
 * enough: the memory stays with the process's group until the system is short of it, although it is not
 * in the resident size any more.  MADV_COLD of one small page has the kernel split it.
 *
 * A copy takes a millisecond, a split a tenth of that.  So a chunk waits a second after it has got full, and
 * twice as long after each split: where slabs come and go there are few, where pages are replaced by
 * others of their size all are.
 *
 * Locks: the chunk lock (leaf), not during system calls: a chunk that is busy is in no bin, so that nobody
 * makes a slab in it, and slabs that leave it meanwhile wait in its list for whoever made it busy.
 *
 * Not taken: MADV_HUGEPAGE before the first touch, which spares the copy: the run of pages behind the last
 * slab of a chunk, up to a hundredth, would be resident.
 */
#include "check.h"
#include "list.h"
#include "lock.h"
#include "mathx.h"
#include "plat.h"
#include "pool.h"
#include "pool_chunk.h"
#include "pool_impl.h"

#define WAIT_NS UINT64_C(1000000000)

static uint64_t free_bytes(const struct zc_chunk *chunk)
{
    return chunk->n_free * ZC_POOL_PAGE;
}

/* ---- chunks that wait ---------------------------------------------------------------------- */

static uint64_t due_ns(const struct zc_pool *pool, const struct zc_chunk *chunk)
{
    return chunk->full_ns + (pool->huge.wait_ns << chunk->splits);
}

void zc_huge_note_locked(struct zc_pool *pool, struct zc_chunk *chunk)
{
    zc_lock_assert_held(&pool->chunk_lock);
    if (chunk->form != ZC_FORM_SMALL || chunk->n_free > ZC_HUGE_FREE_MAX || chunk->n_leaving > 0 ||
        chunk->splits >= ZC_HUGE_WAITS || zc_pool_gauge(&pool->huge.min_bytes) == UINT64_MAX) {
        return;
    }
    chunk->form = ZC_FORM_WAITS;
    chunk->full_ns = zc_plat_now_ns();
    zc_list_push_back(&pool->huge.full[chunk->splits], &chunk->full);
    if (pool->bound != NULL &&
        zc_pool_gauge(&pool->resident) >= zc_pool_gauge(&pool->huge.min_bytes)) {
        atomic_store_explicit(&pool->bound->full, 1, memory_order_relaxed);
    }
}

/* The first whose time has come.  @next_out: when the next one's will have. */
static struct zc_chunk *due_locked(struct zc_pool *pool, uint64_t now_ns, uint64_t *next_out)
    ZC_REQUIRES(pool->chunk_lock)
{
    zc_lock_assert_held(&pool->chunk_lock);
    *next_out = 0;
    for (unsigned i = 0; i < ZC_HUGE_WAITS; i++) {
        struct zc_chunk *chunk;
        uint64_t when;

        if (zc_list_empty(&pool->huge.full[i])) {
            continue;
        }
        chunk = ZC_CONTAINER_OF(zc_list_next(&pool->huge.full[i]), struct zc_chunk, full);
        when = due_ns(pool, chunk);
        if (when <= now_ns) {
            return chunk;
        }
        *next_out = *next_out == 0 ? when : ZC_MIN(*next_out, when);
    }
    return NULL;
}

/* ---- from one form to another -------------------------------------------------------------- */

void zc_huge_begin_locked(struct zc_pool *pool, struct zc_chunk *chunk)
{
    zc_lock_assert_held(&pool->chunk_lock);
    zc_pool_move_begin(pool);
    zc_chunk_bins_remove(&pool->bins, chunk);
    chunk->form = ZC_FORM_BUSY;
}

/* Slabs that got empty meanwhile go to @doomed; their moves and this one are to be ended. */
static void end_locked(struct zc_pool *pool,
                       struct zc_chunk *chunk,
                       enum zc_chunk_form form,
                       struct zc_list *doomed) ZC_REQUIRES(pool->chunk_lock)
{
    zc_lock_assert_held(&pool->chunk_lock);
    chunk->form = (uint8_t)form;
    zc_chunk_bins_add(&pool->bins, chunk);
    while (!zc_list_empty(&chunk->doomed)) {
        struct zc_list *it = zc_list_next(&chunk->doomed);

        zc_list_del(it);
        zc_list_push_back(doomed, it);
    }
}

void zc_huge_split(struct zc_pool *pool, struct zc_chunk *chunk)
{
    unsigned first = 0;
    struct zc_list doomed;
    unsigned n;

    zc_list_init(&doomed);
    zc_plat_split(chunk);
    while ((n = zc_chunk_next_run(chunk, first, &first)) > 0) {
        zc_plat_discard((char *)chunk + first * ZC_POOL_PAGE, n * ZC_POOL_PAGE);
        first += n;
    }
    zc_lock_acquire(&pool->chunk_lock);
    atomic_fetch_sub_explicit(&pool->huge.bytes, ZC_POOL_CHUNK, memory_order_relaxed);
    zc_pool_unusable_add(pool, -free_bytes(chunk));
    zc_pool_resident_sub(pool, free_bytes(chunk));
    chunk->splits += chunk->splits < ZC_HUGE_WAITS - 1 ? 1 : 0;
    end_locked(pool, chunk, ZC_FORM_SMALL, &doomed);
    zc_lock_release(&pool->chunk_lock);
    zc_pool_move_end(pool);
    zc_pool_destroy_slabs(pool, &doomed);
}

/* Of a chunk that is busy.  Whether the system can do it at all. */
static bool collapse(struct zc_pool *pool, struct zc_chunk *chunk)
{
    enum zc_plat_huge got = ZC_PLAT_HUGE_REFUSED;
    struct zc_list doomed;

    zc_list_init(&doomed);
    if (zc_pool_resident_add(pool, free_bytes(chunk))) {
        got = zc_plat_make_huge(chunk, ZC_POOL_CHUNK);
        if (got != ZC_PLAT_HUGE_MADE) {
            zc_pool_resident_sub(pool, free_bytes(chunk));
        }
    }
    zc_lock_acquire(&pool->chunk_lock);
    if (got == ZC_PLAT_HUGE_MADE) {
        atomic_fetch_add_explicit(&pool->huge.bytes, ZC_POOL_CHUNK, memory_order_relaxed);
        zc_pool_unusable_add(pool, free_bytes(chunk));
        end_locked(pool, chunk, ZC_FORM_HUGE, &doomed);
    } else {
        chunk->splits++; /* at last it is left alone */
        end_locked(pool, chunk, ZC_FORM_SMALL, &doomed);
        zc_huge_note_locked(pool, chunk);
    }
    zc_lock_release(&pool->chunk_lock);
    zc_pool_move_end(pool);
    zc_pool_destroy_slabs(pool, &doomed);
    return got != ZC_PLAT_HUGE_NEVER;
}

/* ---- the interface ------------------------------------------------------------------------- */

void zc_pool_use_huge(struct zc_pool *pool, uint64_t min_bytes, uint64_t wait_ns)
{
    pool->huge.wait_ns = wait_ns;
    atomic_store_explicit(&pool->huge.min_bytes, min_bytes, memory_order_relaxed);
}

void zc_huge_init(struct zc_pool *pool)
{
    for (unsigned i = 0; i < ZC_HUGE_WAITS; i++) {
        zc_list_init(&pool->huge.full[i]);
    }
    zc_pool_use_huge(pool, UINT64_MAX, WAIT_NS);
}

uint64_t zc_pool_huge_bytes(const struct zc_pool *pool)
{
    return zc_pool_gauge(&pool->huge.bytes);
}

uint64_t zc_pool_make_huge(struct zc_pool *pool, uint64_t deadline_ns)
{
    while (zc_pool_gauge(&pool->resident) >= zc_pool_gauge(&pool->huge.min_bytes)) {
        const uint64_t now = zc_plat_now_ns();
        struct zc_chunk *chunk;
        uint64_t next;

        zc_lock_acquire(&pool->chunk_lock);
        chunk = due_locked(pool, now, &next);
        if (chunk != NULL && now < deadline_ns) {
            zc_list_del(&chunk->full);
            zc_huge_begin_locked(pool, chunk);
        }
        zc_lock_release(&pool->chunk_lock);
        if (chunk == NULL) {
            return next;
        }
        if (now >= deadline_ns) {
            return now;
        }
        if (!collapse(pool, chunk)) {
            atomic_store_explicit(&pool->huge.min_bytes, UINT64_MAX, memory_order_relaxed);
        }
    }
    return 0;
}
