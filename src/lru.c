/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lru.c - recency lists with second chance.
 *
 *     oldest                              newest
 *     raw    [ e ] [ e ] [ e ] ........ [ e ]  <- put, promoted
 *     fast   [ e ] [ e ] ...... [ e ]          <- demoted from raw
 *     dense  [ e ] [ e ] [ e ]                 <- demoted from fast; evicted from its oldest end
 *
 * A hit only sets entry.referenced.  Reclaim takes a batch off the oldest end under one lock hold
 * (isolates it), works on it without the lock, and puts back what stays.
 *
 * Locks: the list lock, below a shard lock.  One counter per list, changed only with the list.
 *
 * Invariants: an entry is LISTED on the list of its tier, or ISOLATED with a reference of its own,
 * or
 * LOADING (neither), or GONE; sum[] counts an entry in the tier of its where, listed or isolated.
 *
 * Not taken: moving a page at each hit (a lock and three shared lines); rotating a batch in place
 * instead of isolating it (two reclaimers would hand the same page to the store).
 */
#include "lru.h"

#include "check.h"

#define HOLD_PAGES 512u /* pages looked at under one lock hold */

void zc_lru_init(struct zc_lru *lru)
{
    zc_lock_init(&lru->lock, ZC_RANK_list);
    for (int t = 0; t < ZCACHE_TIERS; t++) {
        zc_list_init(&lru->list[t]);
        lru->n_listed[t] = 0;
        lru->sum[t] = (struct zc_tier_sum){0};
        lru->unshrunk[t] = (struct zc_tier_sum){0};
    }
    lru->n_isolated = 0;
}

void zc_lru_fini(struct zc_lru *lru)
{
    zc_lock_fini(&lru->lock);
}

static void where_set(struct zc_entry *e, unsigned clear, unsigned set)
{
    unsigned w = atomic_load_explicit(&e->where, memory_order_relaxed);

    atomic_store_explicit(&e->where, (uint8_t)((w & ~clear) | set), memory_order_relaxed);
}

static bool where_is(const struct zc_entry *e, unsigned bit)
{
    return (atomic_load_explicit(&e->where, memory_order_relaxed) & bit) != 0;
}

static void add(struct zc_tier_sum *sum, struct zc_sizes s)
{
    sum->pages++;
    sum->raw_bytes += s.raw;
    sum->stored_bytes += s.stored;
    sum->allocated_bytes += s.allocated;
}

static void sub(struct zc_tier_sum *sum, struct zc_sizes s)
{
    ZC_DEBUG_ASSERT(sum->pages > 0 && sum->allocated_bytes >= s.allocated);
    sum->pages--;
    sum->raw_bytes -= s.raw;
    sum->stored_bytes -= s.stored;
    sum->allocated_bytes -= s.allocated;
}

static void count_in(struct zc_lru *lru, enum zcache_tier tier, struct zc_sizes s)
{
    add(&lru->sum[tier], s);
    if (s.raw_form) {
        add(&lru->unshrunk[tier], s);
    }
}

static void count_out(struct zc_lru *lru, enum zcache_tier tier, struct zc_sizes s)
{
    sub(&lru->sum[tier], s);
    if (s.raw_form) {
        sub(&lru->unshrunk[tier], s);
    }
}

static void link_locked(struct zc_lru *lru, struct zc_entry *e, bool newest)
{
    enum zcache_tier tier = zc_entry_tier(e);

    if (newest) {
        zc_list_push_back(&lru->list[tier], &e->lru);
    } else {
        zc_list_push_front(&lru->list[tier], &e->lru);
    }
    where_set(e, 0, ZC_W_LISTED);
    lru->n_listed[tier]++;
}

static void unlink_locked(struct zc_lru *lru, struct zc_entry *e)
{
    zc_list_del(&e->lru);
    where_set(e, ZC_W_LISTED, 0);
    lru->n_listed[zc_entry_tier(e)]--;
}

/* Changes the tier; a listed page is relinked, an isolated one is linked when it is put back. */
static void move_locked(struct zc_lru *lru, struct zc_entry *e, enum zcache_tier tier, bool newest)
{
    bool listed = where_is(e, ZC_W_LISTED);

    if (listed) {
        unlink_locked(lru, e);
    }
    where_set(e, ZC_W_TIER, (unsigned)tier);
    if (listed) {
        link_locked(lru, e, newest);
    }
}

void zc_lru_insert(struct zc_lru *lru,
                   struct zc_entry *e,
                   enum zcache_tier tier,
                   struct zc_sizes sizes,
                   bool scan)
{
    zc_lock_acquire(&lru->lock);
    ZC_DEBUG_ASSERT(!where_is(e, ZC_W_LISTED | ZC_W_ISOLATED | ZC_W_GONE));
    where_set(e, ZC_W_TIER | ZC_W_SCAN, (unsigned)tier | (scan ? ZC_W_SCAN : 0u));
    count_in(lru, tier, sizes);
    link_locked(lru, e, !scan);
    zc_lock_release(&lru->lock);
}

void zc_lru_insert_oldest(struct zc_lru *lru,
                          struct zc_entry *e,
                          enum zcache_tier tier,
                          struct zc_sizes sizes)
{
    zc_lock_acquire(&lru->lock);
    where_set(e, ZC_W_TIER, (unsigned)tier);
    count_in(lru, tier, sizes);
    link_locked(lru, e, false);
    zc_lock_release(&lru->lock);
}

static bool same_sizes(struct zc_sizes a, struct zc_sizes b)
{
    return a.raw == b.raw && a.stored == b.stored && a.allocated == b.allocated &&
           a.raw_form == b.raw_form;
}

void zc_lru_replace(struct zc_lru *lru,
                    struct zc_entry *e,
                    enum zcache_tier tier,
                    struct zc_sizes old,
                    struct zc_sizes sizes,
                    bool scan)
{
    /* The tier and the scan mark change under the shard lock too, so they can be looked at here.
     * In place, and marked as used, is as good as newest, and touches neither lock nor neighbours.
     * */
    if (!scan && !where_is(e, ZC_W_SCAN) && zc_entry_tier(e) == tier && same_sizes(old, sizes)) {
        atomic_store_explicit(&e->referenced, 1, memory_order_relaxed);
        return;
    }
    zc_lock_acquire(&lru->lock);
    count_out(lru, zc_entry_tier(e), old);
    where_set(e, ZC_W_SCAN, scan ? ZC_W_SCAN : 0u);
    move_locked(lru, e, tier, !scan);
    count_in(lru, tier, sizes);
    zc_lock_release(&lru->lock);
}

void zc_lru_retier(struct zc_lru *lru,
                   struct zc_entry *e,
                   enum zcache_tier tier,
                   struct zc_sizes old,
                   struct zc_sizes sizes)
{
    if (zc_entry_tier(e) == tier && same_sizes(old, sizes)) {
        return; /* it was only moved in memory */
    }
    zc_lock_acquire(&lru->lock);
    count_out(lru, zc_entry_tier(e), old);
    move_locked(lru, e, tier, !where_is(e, ZC_W_SCAN));
    count_in(lru, tier, sizes);
    zc_lock_release(&lru->lock);
}

/* References are taken under the list lock, or under the shard lock, which the caller has. */
static bool is_ours_locked(const struct zc_entry *e)
{
    return where_is(e, ZC_W_LISTED) && atomic_load_explicit(&e->refs, memory_order_acquire) == 1;
}

bool zc_lru_leave(struct zc_lru *lru, struct zc_entry *e, struct zc_sizes sizes)
{
    bool ours;

    zc_lock_acquire(&lru->lock);
    ours = is_ours_locked(e);
    if (ours) {
        count_out(lru, zc_entry_tier(e), sizes);
        unlink_locked(lru, e);
        where_set(e, 0, ZC_W_GONE);
    }
    zc_lock_release(&lru->lock);
    return ours;
}

bool zc_lru_move_record(struct zc_lru *lru, struct zc_entry *e, struct zc_entry *fresh)
{
    bool ours;

    zc_lock_acquire(&lru->lock);
    ours = is_ours_locked(e);
    if (ours) {
        atomic_store_explicit(&fresh->where, atomic_load_explicit(&e->where, memory_order_relaxed),
                              memory_order_relaxed);
        zc_list_push_front(&e->lru, &fresh->lru); /* right behind it */
        zc_list_del(&e->lru);
        where_set(e, ZC_W_LISTED, ZC_W_GONE);
    }
    zc_lock_release(&lru->lock);
    return ours;
}

void zc_lru_remove(struct zc_lru *lru, struct zc_entry *e, struct zc_sizes sizes)
{
    zc_lock_acquire(&lru->lock);
    count_out(lru, zc_entry_tier(e), sizes);
    if (where_is(e, ZC_W_LISTED)) {
        unlink_locked(lru, e);
    }
    where_set(e, 0, ZC_W_GONE);
    zc_lock_release(&lru->lock);
}

/* Whether the oldest page goes to the newest end instead of to the caller. */
static bool passes_by(struct zc_entry *e, unsigned mode)
{
    if ((mode & ZC_ISOLATE_DIRTY) != 0) {
        return !zc_entry_has(e, ZC_F_DIRTY);
    }
    if ((mode & ZC_ISOLATE_CHANCE) == 0 ||
        atomic_load_explicit(&e->referenced, memory_order_relaxed) == 0) {
        return false;
    }
    atomic_store_explicit(&e->referenced, 0, memory_order_relaxed);
    return true;
}

unsigned zc_lru_isolate(struct zc_lru *lru,
                        enum zcache_tier tier,
                        unsigned mode,
                        uint64_t *budget,
                        struct zc_entry **out,
                        unsigned max)
{
    struct zc_list *head = &lru->list[tier];
    unsigned looked = 0;
    unsigned n = 0;

    zc_lock_acquire(&lru->lock);
    while (n < max && looked < HOLD_PAGES && (*budget) > 0) {
        struct zc_list *end =
            (mode & ZC_ISOLATE_NEWEST) != 0 ? zc_list_prev(head) : zc_list_next(head);
        struct zc_entry *e = ZC_CONTAINER_OF(end, struct zc_entry, lru);

        if (zc_list_empty(head)) {
            *budget = 0;
            break;
        }
        looked++;
        --*budget;
        if (passes_by(e, mode)) {
            zc_list_del(&e->lru);
            zc_list_push_back(head, &e->lru);
            continue;
        }
        /* On the list, so not yet removed: the index's reference is still there. */
        unlink_locked(lru, e);
        where_set(e, 0, ZC_W_ISOLATED);
        zc_entry_ref(e);
        lru->n_isolated++;
        out[n++] = e;
    }
    zc_lock_release(&lru->lock);
    return n;
}

void zc_lru_putback(struct zc_lru *lru, struct zc_entry *e, bool newest)
{
    zc_lock_acquire(&lru->lock);
    ZC_DEBUG_ASSERT(where_is(e, ZC_W_ISOLATED));
    where_set(e, ZC_W_ISOLATED, 0);
    lru->n_isolated--;
    if (!where_is(e, ZC_W_GONE)) {
        link_locked(lru, e, newest);
    }
    zc_lock_release(&lru->lock);
}

uint64_t zc_lru_length(struct zc_lru *lru, enum zcache_tier tier)
{
    uint64_t n;

    zc_lock_acquire(&lru->lock);
    n = lru->n_listed[tier];
    zc_lock_release(&lru->lock);
    return n;
}

void zc_lru_sums(struct zc_lru *lru, struct zc_tier_sum out[ZCACHE_TIERS], uint64_t *isolated_out)
{
    zc_lock_acquire(&lru->lock);
    for (int t = 0; t < ZCACHE_TIERS; t++) {
        out[t] = lru->sum[t];
    }
    if (isolated_out != NULL) {
        *isolated_out = lru->n_isolated;
    }
    zc_lock_release(&lru->lock);
}

static void move_sum(struct zc_tier_sum *to, struct zc_tier_sum *from, const struct zc_tier_sum *x)
{
    to->pages += x->pages;
    to->raw_bytes += x->raw_bytes;
    to->stored_bytes += x->stored_bytes;
    to->allocated_bytes += x->allocated_bytes;
    from->pages -= x->pages;
    from->raw_bytes -= x->raw_bytes;
    from->stored_bytes -= x->stored_bytes;
    from->allocated_bytes -= x->allocated_bytes;
}

void zc_lru_forms(struct zc_lru *lru, struct zc_tier_sum out[ZCACHE_TIERS])
{
    zc_lock_acquire(&lru->lock);
    for (int t = 0; t < ZCACHE_TIERS; t++) {
        out[t] = lru->sum[t];
    }
    for (int t = ZCACHE_TIER_FAST; t < ZCACHE_TIERS; t++) {
        move_sum(&out[ZCACHE_TIER_RAW], &out[t], &lru->unshrunk[t]);
    }
    zc_lock_release(&lru->lock);
}

const char *zc_lru_verify(struct zc_lru *lru)
{
    const char *wrong = NULL;

    zc_lock_acquire(&lru->lock);
    for (int t = 0; t < ZCACHE_TIERS; t++) {
        struct zc_list *it;
        uint64_t n = 0;

        ZC_LIST_FOR_EACH (it, &lru->list[t]) {
            struct zc_entry *e = ZC_CONTAINER_OF(it, struct zc_entry, lru);

            n++;
            if ((int)zc_entry_tier(e) != t || !where_is(e, ZC_W_LISTED) ||
                where_is(e, ZC_W_ISOLATED | ZC_W_GONE)) {
                wrong = "an entry is on the wrong list";
            }
        }
        if (n != lru->n_listed[t]) {
            wrong = "a list's length is not its count";
        }
    }
    zc_lock_release(&lru->lock);
    return wrong;
}
