/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * close.c - the end of a tenant.
 *
 * A close in steps:
 *   1. state CLOSING: new calls are refused; wait for those inside, batches and reclaimers included
 *   2. wait for the sections that are running: now no hit is under way either, the pages are ours
 *      alone
 *   3. FLUSH writes and drops, DISCARD drops, REPARENT moves each page to the parent
 *   4. wait until the charge is 0: pins, and memory that readers might still see
 *   5. unlink the tenant; its record waits to be used again
 * If a step fails the tenant is open again, with the pages that are left.
 *
 * Reparenting gives a page a new record under the parent, since a record's owner never changes
 * while readers may look at it; the payload moves as it is.
 *
 * Locks: shard locks, of both keys' shards in step 3 of REPARENT, by address; list locks below.
 */
#include "close.h"

#include <errno.h>

#include "flush.h"
#include "mathx.h"
#include "sync_point.h"

#define BATCH             64u
#define COLLISION_FLUSHES 3

/* ---- drop ---------------------------------------------------------------------------------- */

/* Frees a page: an eviction after a flush, a loss that was asked for otherwise. */
static void drop_page(struct zcache *cache, struct zc_thread *th, struct zc_entry *e, bool flushed)
{
    struct zc_where w = zc_page_where_entry(cache, th, e);

    zc_epoch_stock(th->epoch, 4);
    zc_lock_acquire(&w.shard->lock);
    ZC_ASSERT(zc_entry_state(e) == ZC_LIVE); /* nobody else is inside */
    if (flushed) {
        zc_stat_tier_add(w.tenant->stat, zc_entry_tier(e), ZC_TC_evictions, 1);
    } else {
        zc_stat_add(w.tenant->stat, ZC_C_dropped, 1);
    }
    zc_page_unlink_locked(&w, e);
    zc_lock_release(&w.shard->lock);
    zc_page_putback(cache, th, e, true);
}

static void drop_all(struct zcache_tenant *t, struct zc_thread *th, bool flushed)
{
    for (unsigned node = 0; node < t->cache->topo.n_nodes; node++) {
        for (unsigned list = 0; list < ZC_LISTS; list++) {
            struct zc_lru *lru = t->lru[node];
            uint64_t budget = zc_lru_length(lru, list);

            while (budget > 0) {
                struct zc_entry *pages[BATCH];
                unsigned n = zc_lru_isolate(lru, list, 0, &budget, pages, BATCH);

                for (unsigned i = 0; i < n; i++) {
                    drop_page(t->cache, th, pages[i], flushed);
                }
                zc_core_maintain(t->cache, th);
            }
        }
    }
}

/* ---- move ---------------------------------------------------------------------------------- */

static bool becomes_dirty(const struct zcache_tenant *parent)
{
    return parent->store != NULL && parent->store->cb.write != NULL &&
           (parent->store->cb.flags & ZCACHE_STORE_SHARED_KEYS) == 0;
}

/* Takes the entry out of the child, without its payload; both shards are locked. */
static void detach_locked(const struct zc_where *from, struct zc_entry *e, struct zc_version *v)
{
    v->word = atomic_load_explicit(&e->payload, memory_order_relaxed);
    v->fill = zc_entry_fill(e, v->word);
    v->tag = zc_entry_tag(e);
    v->tier = zc_entry_tier(e);
    v->queue = zc_lru_queue(e);
    v->flags = zc_entry_flags(e) & (ZC_F_DIRTY | ZC_F_INCOMPRESSIBLE | ZC_F_KEEP_RAW |
                                    ZC_F_NO_FAST | ZC_F_NO_DENSE | ZC_F_CORRUPT);
    zc_page_release_locked(from, e);
    if (!zc_word_is_same(v->word) && zc_payload_is_raw(zc_word_payload(v->word))) {
        zc_payload_frame(zc_word_payload(v->word))->account = from->tenant->parent->account;
    }
    zc_quota_move(from->tenant->account, zc_word_sizes(v->word).allocated);
}

/* 0: moved, or dropped for the parent's own page; -EEXIST: dirty, and the parent has the key. */
static int move_locked(const struct zc_where *from,
                       const struct zc_where *to,
                       struct zc_entry *e,
                       struct zc_entry **fresh)
{
    struct zc_entry *other = zc_shard_find_locked(to->shard, to->hash, to->tenant->slot, e->key);
    struct zc_version v = {0};

    if (other != NULL) {
        if (zc_entry_has(e, ZC_F_DIRTY)) {
            return -EEXIST;
        }
        zc_stat_tier_add(from->tenant->stat, zc_entry_tier(e), ZC_TC_evictions, 1);
        zc_page_unlink_locked(from, e);
        return 0;
    }
    detach_locked(from, e, &v);
    if (becomes_dirty(to->tenant)) {
        v.flags |= ZC_F_DIRTY;
    }
    zc_page_adopt_locked(to, *fresh, &v);
    *fresh = NULL;
    zc_stat_add(from->tenant->stat, ZC_C_handed_over, 1);
    zc_stat_add(to->tenant->stat, ZC_C_reparented, 1);
    return 0;
}

static bool is_pinned(const struct zc_entry *e)
{
    return zc_word_pinned(atomic_load_explicit(&e->payload, memory_order_acquire));
}

/* 0; -EEXIST; -EDQUOT, -ENOMEM no new record; -EBUSY pinned.  The page is put back if it stays. */
static int move_page(struct zcache_tenant *t, struct zc_thread *th, struct zc_entry *e)
{
    struct zc_where from = zc_page_where(t, th, e->key);
    struct zc_where to = zc_page_where(t->parent, th, e->key);
    struct zc_entry *fresh = NULL;
    size_t bytes = zc_pool_round(sizeof(*fresh));
    int rc = -EDQUOT;

    if (is_pinned(e)) {
        zc_page_putback(t->cache, th, e, true);
        return -EBUSY;
    }
    if (zc_quota_reserve(t->parent->account, bytes, ZC_QUOTA_RECLAIM) == NULL) {
        fresh = zc_page_new_entry(t->cache, t->parent, zc_entry_node(e), e->key);
        rc = fresh == NULL ? -ENOMEM : 0;
        if (fresh == NULL) {
            zc_quota_refund(t->parent->account, bytes);
        }
    }
    if (rc == 0) {
        zc_epoch_stock(th->epoch, 4);
        zc_lock_acquire_pair(&from.shard->lock, &to.shard->lock);
        rc = move_locked(&from, &to, e, &fresh);
        zc_lock_release_pair(&from.shard->lock, &to.shard->lock);
        if (fresh != NULL) {
            zc_page_free_entry(t->cache, fresh);
            zc_quota_refund(t->parent->account, bytes);
        }
    }
    zc_page_putback(t->cache, th, e, true);
    return rc;
}

static int move_list(struct zcache_tenant *t,
                     struct zc_thread *th,
                     struct zc_lru *lru,
                     unsigned list)
{
    uint64_t budget = zc_lru_length(lru, list);
    int rc = 0;

    while (budget > 0 && rc == 0) {
        struct zc_entry *pages[BATCH];
        unsigned n = zc_lru_isolate(lru, list, ZC_ISOLATE_NEWEST, &budget, pages, BATCH);

        for (unsigned i = 0; i < n; i++) {
            if (rc != 0) {
                zc_page_putback(t->cache, th, pages[i], true);
            } else {
                rc = move_page(t, th, pages[i]);
            }
        }
        zc_core_maintain(t->cache, th);
        if (rc == -EDQUOT) { /* the old records' room, once readers are through */
            zc_epoch_drain(th->epoch);
            rc = 0;
            budget = zc_lru_length(lru, list);
            if (!zc_quota_has_room(t->parent->account, zc_pool_round(sizeof(struct zc_entry)),
                                   ZC_QUOTA_RECLAIM)) {
                rc = -EDQUOT;
            }
        }
    }
    return rc;
}

/* A key that the parent has too ends the move of one list only: a flush for it is for few pages then. */
static int move_lists(struct zcache_tenant *t, struct zc_thread *th)
{
    bool collided = false;
    int rc = 0;

    for (unsigned i = 0; i < t->cache->topo.n_nodes * ZC_LISTS && rc == 0; i++) {
        rc = move_list(t, th, t->lru[i / ZC_LISTS], i % ZC_LISTS);
        if (rc == -EEXIST) {
            collided = true;
            rc = 0;
        }
    }
    return rc == 0 && collided ? -EEXIST : rc;
}

/* A dirty page whose key the parent has too goes to the tenant's own store; then it is clean. */
static int move_all(struct zcache_tenant *t, struct zc_thread *th, uint64_t deadline_ns)
{
    uint64_t seq = zc_progress_begin(t->cache, ZC_FOR_ANY);
    int flushes = 0;
    int rc;

    do {
        rc = move_lists(t, th);
        if (rc == -EEXIST && flushes++ < COLLISION_FLUSHES) {
            rc = zc_flush_pages(t, th, deadline_ns);
            rc = rc == 0 ? -EAGAIN : rc;
        } else if (rc == -EBUSY) { /* pinned: wait for the unpin */
            (void)zc_progress_wait(t->cache, ZC_FOR_ANY, &seq, deadline_ns);
            rc = zc_plat_now_ns() < deadline_ns ? -EAGAIN : -ETIMEDOUT;
        }
    } while (rc == -EAGAIN);
    zc_progress_end(t->cache, ZC_FOR_ANY);
    return rc == -EEXIST ? -EBUSY : rc;
}

/* What the tenant's store was given is durable after the next flush of the parent, or now. */
static int move_barrier(struct zcache_tenant *t, struct zc_thread *th, uint64_t deadline_ns)
{
    if (t->store == t->parent->store && atomic_exchange(&t->unbarriered, 0) != 0) {
        atomic_store(&t->parent->unbarriered, 1);
    }
    return zc_flush_tenant(t, th, UINT64_MAX, deadline_ns);
}

/* ---- close --------------------------------------------------------------------------------- */

static int wait_uncharged(struct zcache_tenant *t, struct zc_thread *th, uint64_t deadline_ns)
{
    uint64_t seq = zc_progress_begin(t->cache, ZC_FOR_ANY);
    bool in_time = true;

    zc_quota_call_in(t->account); /* nobody is inside who could take a stock again */
    zc_epoch_drain(th->epoch);
    while (zc_quota_charge(t->account) != 0 && in_time) {
        in_time = zc_progress_wait(t->cache, ZC_FOR_ANY, &seq, deadline_ns);
    }
    zc_progress_end(t->cache, ZC_FOR_ANY);
    return zc_quota_charge(t->account) == 0 ? 0 : -ETIMEDOUT;
}

static int empty(struct zcache_tenant *t,
                 struct zc_thread *th,
                 enum zcache_close_mode mode,
                 uint64_t deadline_ns)
{
    int rc = 0;

    switch (mode) {
    case ZCACHE_CLOSE_FLUSH:
        rc = zc_flush_tenant(t, th, UINT64_MAX, deadline_ns);
        if (rc == 0) {
            drop_all(t, th, true);
        }
        return rc;
    case ZCACHE_CLOSE_REPARENT:
        rc = move_all(t, th, deadline_ns);
        return rc == 0 ? move_barrier(t, th, deadline_ns) : rc;
    case ZCACHE_CLOSE_DISCARD:
        drop_all(t, th, false);
        return 0;
    }
    return -EINVAL;
}

int zc_close_tenant(struct zcache_tenant *t, struct zc_thread *th, enum zcache_close_mode mode)
{
    uint64_t deadline = zc_plat_deadline_ns(t->cache->opt.max_stall_ms);
    int rc = zc_tenant_begin_close(t);

    if (rc != 0) {
        return rc;
    }
    rc = zc_tenant_wait_idle(t, deadline);
    ZC_SYNC_POINT("close.waited", ((struct zcache_key){t->slot, 0}));
    if (rc == 0) {
        zc_epoch_wait(th->epoch);
        rc = empty(t, th, mode, deadline);
    }
    if (rc == 0) { /* batches of the flush hold the tenant until their completion is over */
        rc = zc_tenant_wait_idle(t, deadline);
    }
    ZC_SYNC_POINT("close.emptied", ((struct zcache_key){t->slot, 0}));
    if (rc == 0) {
        rc = wait_uncharged(t, th, deadline);
    }
    if (rc != 0) {
        zc_tenant_cancel_close(t);
        return rc;
    }
    for (unsigned i = 0; i < t->cache->topo.n_nodes; i++) {
        zc_pool_trim(t->cache->pool[i]); /* who closes a tenant wants its memory elsewhere */
    }
    zc_tenant_finish_close(t);
    return 0;
}
