/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ghost.c - fingerprints of evicted pages, in a table of fixed size.
 *
 *     bucket   16 slots, a cache line; chosen by the upper half of the key's hash
 *     slot     0: free;  main (1 bit) | time (10) | fingerprint (21), the last never 0
 *
 * Time is counted in evictions, of pages from probation and of pages from the main lists apart, in
 * units of 1/256 of the pages that the table is made for.  A page from probation is remembered for as
 * many evictions as there are pages, one from the main lists for a 32nd of that: it is there only to
 * tell that probation takes too much.  A full bucket gives up what has the least of its time left.
 *
 * The share of pages on probation moves by a step with each page that comes back within a 32nd: up if
 * a slightly longer probation would have kept it, down if slightly longer main lists would have.
 *
 * The fingerprint is 21 bits: of 100,000 new pages about 1 is taken for one that came back, which costs
 * nothing but its probation.
 *
 * Locks: the ghost's own, a leaf.  It is taken once for each new page and each eviction, never by a hit.
 *
 * Not taken: a list with a table of its links (24 bytes a page, and more lines touched); a table of all
 * tenants together (one that scans would make the others' pages be forgotten); copying to a table of
 * another size (the bucket's bits of the hash are not in the slots).
 */
#include "ghost.h"

#include "check.h"
#include "mathx.h"

#define SLOTS      16u
#define PAGES_MIN  64u
#define UNITS      256u /* that a page from probation is remembered for */
#define NEAR       32u  /* part of that in which a return moves the share */
#define TIME_BITS  10u
#define TIME_MASK  ((1u << TIME_BITS) - 1)
#define PRINT_BITS 21u
#define PRINT_MASK ((1u << PRINT_BITS) - 1)
#define SHARE_STEP 32u /* of ZC_GHOST_ONE */
#define FORGOTTEN  UINT32_MAX

_Static_assert(1 + TIME_BITS + PRINT_BITS == 32, "a slot is 32 bits");

struct bucket {
    uint32_t slot[SLOTS];
};

struct zc_ghost_table {
    uint64_t pages; /* that it is made for */
    uint64_t unit;  /* evictions */
    uint64_t n_buckets;
    uint64_t bytes;
    _Alignas(ZC_CACHE_LINE) struct bucket bucket[];
};

void zc_ghost_init(struct zc_ghost *g)
{
    zc_lock_init(&g->lock, ZC_RANK_leaf);
    g->table = NULL;
    g->n_used = 0;
    g->evicted[0] = g->evicted[1] = 0;
    atomic_store_explicit(&g->share, ZC_GHOST_SHARE, memory_order_relaxed);
}

static void swap_table(struct zc_ghost *g, const struct zc_mem *mem, struct zc_ghost_table *fresh)
{
    struct zc_ghost_table *old;

    zc_lock_acquire(&g->lock);
    old = g->table;
    g->table = fresh;
    g->n_used = 0;
    zc_lock_release(&g->lock);
    if (old != NULL) {
        mem->free(mem->ctx, old, old->bytes);
    }
}

void zc_ghost_forget(struct zc_ghost *g, const struct zc_mem *mem)
{
    swap_table(g, mem, NULL);
    atomic_store_explicit(&g->share, ZC_GHOST_SHARE, memory_order_relaxed);
}

void zc_ghost_fini(struct zc_ghost *g, const struct zc_mem *mem)
{
    zc_ghost_forget(g, mem);
    zc_lock_fini(&g->lock);
}

/* Made for so many pages, it serves half as many to twice as many. */
static bool fits(const struct zc_ghost *g, uint64_t pages)
{
    uint64_t made_for = g->table == NULL ? 0 : g->table->pages;

    return pages <= made_for + made_for / 2 && (pages >= made_for / 2 || made_for == PAGES_MIN);
}

void zc_ghost_fit(struct zc_ghost *g, const struct zc_mem *mem, uint64_t pages)
{
    struct zc_ghost_table *fresh;
    uint64_t n_buckets;
    uint64_t bytes;
    bool enough;

    pages = ZC_MAX(pages, PAGES_MIN);
    zc_lock_acquire(&g->lock);
    enough = fits(g, pages);
    zc_lock_release(&g->lock);
    if (enough) {
        return;
    }
    n_buckets = (pages + pages / 8) / SLOTS + 1; /* room for what buckets are filled unequally */
    bytes = sizeof(*fresh) + n_buckets * sizeof(struct bucket);
    fresh = mem->alloc(mem->ctx, bytes);
    if (fresh == NULL) {
        return;
    }
    fresh->pages = pages;
    fresh->unit = ZC_MAX(pages / UNITS, 1);
    fresh->n_buckets = n_buckets;
    fresh->bytes = bytes;
    swap_table(g, mem, fresh);
}

/* ---- slots --------------------------------------------------------------------------------- */

static struct bucket *bucket_of(struct zc_ghost_table *t, uint64_t hash)
{
    return &t->bucket[(hash >> 32) * t->n_buckets >> 32];
}

static uint32_t print_of(uint64_t hash)
{
    uint32_t print = (uint32_t)(hash >> 8) & PRINT_MASK;

    return print == 0 ? 1 : print;
}

static bool is_main(uint32_t slot)
{
    return slot >> 31 != 0;
}

static uint32_t time_of(const struct zc_ghost *g, bool main)
{
    return (uint32_t)(g->evicted[main ? 1 : 0] / g->table->unit) & TIME_MASK;
}

/* How much of its time a slot has used: 0 to @most; FORGOTTEN beyond it. */
static uint32_t age_of(const struct zc_ghost *g, uint32_t slot)
{
    uint32_t age = (time_of(g, is_main(slot)) - (slot >> PRINT_BITS)) & TIME_MASK;
    uint32_t most = (uint32_t)ZC_MIN(g->table->pages, UNITS);

    age = is_main(slot) ? age * NEAR : age;
    return age <= most ? age : FORGOTTEN;
}

static bool is_near(const struct zc_ghost *g, uint32_t slot)
{
    uint32_t age = age_of(g, slot);

    return age != FORGOTTEN && (is_main(slot) || age <= ZC_MIN(g->table->pages, UNITS) / NEAR);
}

/* A free one, or the one with the least of its time left. */
static uint32_t *slot_to_use(const struct zc_ghost *g, struct bucket *b)
{
    uint32_t *best = &b->slot[0];
    uint64_t best_age = 0;

    for (unsigned i = 0; i < SLOTS; i++) {
        uint64_t age = b->slot[i] == 0 ? UINT64_MAX : age_of(g, b->slot[i]);

        if (age >= best_age) {
            best = &b->slot[i];
            best_age = age;
        }
    }
    return best;
}

void zc_ghost_add(struct zc_ghost *g, uint64_t hash, bool main)
{
    zc_lock_acquire(&g->lock);
    g->evicted[main ? 1 : 0]++;
    if (g->table != NULL) {
        uint32_t *slot = slot_to_use(g, bucket_of(g->table, hash));

        g->n_used += *slot == 0 ? 1 : 0;
        *slot = (main ? 1u << 31 : 0u) | time_of(g, main) << PRINT_BITS | print_of(hash);
    }
    zc_lock_release(&g->lock);
}

/* ---- a page comes -------------------------------------------------------------------------- */

static void move_share(struct zc_ghost *g, bool main)
{
    uint32_t share = zc_ghost_share(g);

    share = main ? ZC_MAX(share - SHARE_STEP, ZC_GHOST_SHARE_MIN)
                 : ZC_MIN(share + SHARE_STEP, ZC_GHOST_SHARE_MAX);
    atomic_store_explicit(&g->share, share, memory_order_relaxed);
}

static uint32_t *find(struct zc_ghost *g, uint64_t hash)
{
    struct bucket *b = bucket_of(g->table, hash);
    uint32_t print = print_of(hash);

    for (unsigned i = 0; i < SLOTS; i++) {
        if ((b->slot[i] & PRINT_MASK) == print) {
            return &b->slot[i];
        }
    }
    return NULL;
}

bool zc_ghost_take(struct zc_ghost *g, uint64_t hash)
{
    uint32_t *slot = NULL;
    bool known = false;

    zc_lock_acquire(&g->lock);
    if (g->table != NULL) {
        slot = find(g, hash);
    }
    if (slot != NULL) {
        known = !is_main(*slot) && age_of(g, *slot) != FORGOTTEN;
        if (is_near(g, *slot)) {
            move_share(g, is_main(*slot));
        }
        *slot = 0;
        g->n_used--;
    }
    zc_lock_release(&g->lock);
    return known;
}

/* ---- examination --------------------------------------------------------------------------- */

uint64_t zc_ghost_bytes(struct zc_ghost *g)
{
    uint64_t bytes;

    zc_lock_acquire(&g->lock);
    bytes = g->table == NULL ? 0 : g->table->bytes;
    zc_lock_release(&g->lock);
    return bytes;
}

const char *zc_ghost_verify(struct zc_ghost *g)
{
    const char *wrong = NULL;
    uint64_t n = 0;

    zc_lock_acquire(&g->lock);
    for (uint64_t i = 0; g->table != NULL && i < g->table->n_buckets; i++) {
        for (unsigned k = 0; k < SLOTS; k++) {
            uint32_t slot = g->table->bucket[i].slot[k];

            n += slot != 0 ? 1 : 0;
            if (slot != 0 && (slot & PRINT_MASK) == 0) {
                wrong = "a remembered page has no fingerprint";
            }
        }
    }
    if (n != g->n_used) {
        wrong = "the number of remembered pages is not their count";
    }
    if (zc_ghost_share(g) < ZC_GHOST_SHARE_MIN || zc_ghost_share(g) > ZC_GHOST_SHARE_MAX) {
        wrong = "the share of pages on probation is out of bounds";
    }
    zc_lock_release(&g->lock);
    return wrong;
}
