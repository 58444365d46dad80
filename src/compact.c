/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compact.c - moves payloads and records out of sparse slabs.
 *
 *   1. the pools choose the emptiest slabs, as many as the others have room for: they are leaving
 *      until the walk is through, which may take several calls, each with its deadline
 *   2. walk the index; of each page whose record or payload lies in one of them:
 *        payload  reserve, allocate anew, copy in a section, swap the word if it is the same
 *        record   reserve, allocate anew, take its place in index and list if nobody holds it
 *   3. after a grace period the slabs are empty, and gone
 *   4. what is left of them serves again
 *
 * A move is a payload swap as a demotion is (tier.c), with the same bytes and the same checksum: damage
 * stays what it was.  Readers are on the old copy or on the new one.  What is pinned, isolated or in
 * flight stays; so does metadata, which lies in slabs of its own sizes or in pages of its own.
 *
 * The walk looks at every page, about 0.1 us for each, so it is made when it pays: when more than
 * compact_percent of the allocated bytes is empty room, and then at most a twentieth of the time; a fifth if it
 * is a twentieth, half if it is a tenth, and without a rest while the pools hold more than their bound, as
 * they may after it was lowered.  Nor is there a rest where demotions find no memory, unless the last walk won
 * little: pages would leave that only had to get smaller, which is 10 times the work of a walk.
 *
 * Bound.  The pools refuse to grow beyond the capacity and a little (zc_core_bound()), whatever sizes
 * come and go.  Who is refused compacts, and tries again.
 *
 * Locks: the shard lock to look and to swap, the list lock below it; none while copying.
 *
 * Not taken: a pointer from each payload to its page (8 bytes each, and a second thing to keep right);
 * moving from the list's end only (cold pages are not where the holes are).
 */
#include "compact.h"

#include <errno.h>
#include <string.h>

#include "mathx.h"
#include "page.h"
#include "sync_point.h"
#include "tenant.h"

#define KEYS        128u
#define REST_MIN_NS UINT64_C(50000000) /* between two runs; doubles while they win little */
#define REST_MAX_NS UINT64_C(60000000000)
#define WON_SHARE   128u /* of what the pools hold, and it is worth going through all pages */
#define WALK_NS     UINT64_C(20000000) /* at a time, for who is refused; the next one goes on with it */
#define ROOM_BYTES  (UINT64_C(256) << 10) /* with which demotions go on */

/* ---- one page ------------------------------------------------------------------------------ */

/* A page that has something in a leaving slab. */
struct candidate {
    uint32_t slot;
    struct zcache_key key;
};

static bool payload_leaves(uint64_t word)
{
    return word != 0 && !zc_word_is_same(word) && zc_pool_is_leaving(zc_word_payload(word));
}

/* The page of @w if its payload can be moved; in a section, under the shard lock. */
static struct zc_entry *movable_locked(const struct zc_where *w, struct zcache_key key)
{
    struct zc_entry *e = zc_shard_find_locked(w->shard, w->hash, w->tenant->slot, key);
    uint64_t word = e == NULL ? 0 : atomic_load_explicit(&e->payload, memory_order_relaxed);

    return e != NULL && zc_entry_state(e) == ZC_LIVE && payload_leaves(word) &&
                   !zc_word_pinned(word) &&
                   zc_page_head_possible(w->cache,
                                         zc_word_payload(word)) /* or its copy is not as long */
               ? e
               : NULL;
}

static bool swap_in(const struct zc_where *w,
                    struct zcache_key key,
                    uint64_t word,
                    struct zc_payload *copy)
{
    struct zc_entry *e;
    bool moved = false;

    zc_lock_acquire(&w->shard->lock);
    e = movable_locked(w, key);
    if (e != NULL && atomic_load_explicit(&e->payload, memory_order_relaxed) == word) {
        zc_page_reform_locked(w, e, zc_word_of(copy), 0, zc_entry_tier(e), 0);
        moved = true;
    }
    zc_lock_release(&w->shard->lock);
    return moved;
}

/* In a section, which keeps the old copy's memory from becoming another payload meanwhile. */
static int copy_and_swap(const struct zc_where *w,
                         struct zcache_key key,
                         unsigned node,
                         uint64_t word)
{
    const struct zc_payload *old = zc_word_payload(word);
    uint32_t stored = zc_payload_stored_len(old);
    uint8_t codec = zc_payload_codec(old);
    struct zc_account *account = w->tenant->account;
    size_t bytes = zc_page_bytes(stored, codec);
    struct zc_payload *copy;

    if (zc_quota_reserve(account, bytes, ZC_QUOTA_RECLAIM) != NULL) {
        return -ENOSPC;
    }
    copy = zc_page_new_payload(w->cache, node, account, zc_payload_raw_len(old), stored, codec);
    if (copy != NULL) {
        copy->checksum = old->checksum;
        zc_payload_set_dict(copy, zc_payload_dict(old));
        zc_dicts_ref(w->cache->dicts, zc_payload_dict(old));
        (void)memcpy(zc_payload_data(copy), zc_payload_data(old), stored);
        ZC_SYNC_POINT("compact.copied", key);
        if (swap_in(w, key, word, copy)) {
            return 1;
        }
        zc_core_drop_dict(w->cache, zc_payload_dict(copy));
        zc_page_free_payload(copy);
    }
    zc_quota_refund(account, bytes);
    return copy == NULL ? -ENOMEM : 0;
}

/* 1: moved; 0: not, it changed meanwhile; -ENOSPC, -ENOMEM: no room to move anything. */
static int move_payload(const struct zc_where *w, struct zcache_key key)
{
    struct zc_entry *e;
    unsigned node = 0;
    uint64_t word = 0;
    int rc = 0;

    zc_epoch_stock(w->thread->epoch, 2);
    zc_epoch_enter(w->thread->epoch);
    zc_lock_acquire(&w->shard->lock);
    e = movable_locked(w, key);
    if (e != NULL) {
        word = atomic_load_explicit(&e->payload, memory_order_relaxed);
        node = zc_entry_node(e);
    }
    zc_lock_release(&w->shard->lock);
    if (e != NULL) {
        rc = copy_and_swap(w, key, node, word);
    }
    zc_epoch_exit(w->thread->epoch);
    return rc;
}

static int move_record(const struct zc_where *w, struct zcache_key key, unsigned node)
{
    struct zc_account *account = w->tenant->account;
    size_t bytes = zc_pool_round(sizeof(struct zc_entry));
    struct zc_entry *fresh;
    struct zc_entry *e;
    bool moved = false;

    if (zc_quota_reserve(account, bytes, ZC_QUOTA_RECLAIM) != NULL) {
        return -ENOSPC;
    }
    fresh = zc_page_new_entry(w->cache, w->tenant, node, key);
    if (fresh == NULL) {
        zc_quota_refund(account, bytes);
        return -ENOMEM;
    }
    zc_epoch_stock(w->thread->epoch, 2);
    zc_lock_acquire(&w->shard->lock);
    e = zc_shard_find_locked(w->shard, w->hash, w->tenant->slot, key);
    if (e != NULL && zc_entry_state(e) == ZC_LIVE && zc_entry_node(e) == node &&
        zc_pool_is_leaving(e)) {
        moved = zc_page_move_record_locked(w, e, fresh);
    }
    zc_lock_release(&w->shard->lock);
    if (!moved) {
        zc_page_free_entry(w->cache, fresh);
        zc_quota_refund(account, bytes);
    }
    return moved ? 1 : 0;
}

/* Whether the record lies in a leaving slab, and on which node. */
static bool record_leaves(const struct zc_where *w, struct zcache_key key, unsigned *node_out)
{
    struct zc_entry *e;
    bool leaves;

    zc_lock_acquire(&w->shard->lock);
    e = zc_shard_find_locked(w->shard, w->hash, w->tenant->slot, key);
    leaves = e != NULL && zc_pool_is_leaving(e);
    *node_out = leaves ? zc_entry_node(e) : 0;
    zc_lock_release(&w->shard->lock);
    return leaves;
}

static int move_page(struct zcache *cache, struct zc_thread *th, const struct candidate *c)
{
    struct zcache_tenant *t = zc_tenant_at(cache, c->slot);
    struct zc_where w;
    unsigned node;
    int moved = 0;
    int rc;

    if (zc_tenant_enter(t) != 0) {
        return 0; /* it is being closed: its pages leave anyway */
    }
    w = zc_page_where(t, th, c->key);
    rc = move_payload(&w, c->key);
    moved += rc > 0 ? 1 : 0;
    if (rc >= 0 && record_leaves(&w, c->key, &node)) {
        rc = move_record(&w, c->key, node);
        moved += rc > 0 ? 1 : 0;
    }
    if (moved > 0) {
        zc_stat_add(t->stat, ZC_C_compact_moves, (uint64_t)moved);
    }
    zc_tenant_leave(t);
    return rc < 0 ? rc : 0;
}

/* ---- all pages ----------------------------------------------------------------------------- */

struct batch {
    struct candidate page[KEYS];
    unsigned n;
};

/* Under the shard lock. */
static int collect(void *ctx, struct zc_entry *e)
{
    struct batch *b = ctx;

    if (zc_entry_state(e) != ZC_LIVE ||
        (!zc_pool_is_leaving(e) &&
         !payload_leaves(atomic_load_explicit(&e->payload, memory_order_relaxed)))) {
        return 0;
    }
    if (b->n == KEYS) {
        return 1;
    }
    b->page[b->n++] = (struct candidate){zc_entry_slot(e), e->key};
    return 0;
}

/* For a page's second copy: charged are first copies, too, until their grace period is over. */
static void make_room(struct zcache *cache, struct zc_thread *th, int rc, uint64_t deadline_ns)
{
    if (rc == -ENOSPC) {
        (void)zc_epoch_drain_until(th->epoch, deadline_ns);
        return;
    }
    /* New pages took the place of those to be moved. */
    for (unsigned i = 0; i < cache->topo.n_nodes; i++) {
        cache->compact_stayed += zc_pool_recall_leaving(cache->pool[i]);
    }
}

/* Whether it is the capacity that leaves no room for a second copy, and not just a tenant's limit. */
static bool is_full(struct zcache *cache)
{
    return !zc_quota_has_room(&cache->account, cache->opt.page_max_bytes, ZC_QUOTA_RECLAIM);
}

/*
 * Goes on with the walk, at least a little, until there is no room for a second copy.  Return: whether it is
 * through.
 */
static bool move_all(struct zcache *cache, struct zc_thread *th, uint64_t deadline_ns)
{
    struct batch b;
    bool full = false;
    bool more;

    do {
        b.n = 0;
        more = zc_index_walk(cache->index, &cache->compact_at, collect, &b) != 0;
        for (unsigned i = 0; i < b.n && !full; i++) {
            int rc = move_page(cache, th, &b.page[i]);

            if (rc != 0) {
                make_room(cache, th, rc, deadline_ns);
                full = move_page(cache, th, &b.page[i]) == -ENOSPC && is_full(cache);
            }
        }
        zc_core_maintain(cache, th);
    } while (more && !full && zc_plat_now_ns() < deadline_ns);
    return !more;
}

static uint64_t resident(struct zcache *cache)
{
    return atomic_load_explicit(&cache->bound.resident, memory_order_relaxed);
}

static uint64_t excess(struct zcache *cache)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < cache->topo.n_nodes; i++) {
        bytes += zc_pool_excess(cache->pool[i]);
    }
    return bytes;
}

/* How many times as long as it worked it rests. */
static uint64_t rest_times(struct zcache *cache)
{
    uint64_t held = resident(cache);
    uint64_t room = excess(cache);

    if (held > atomic_load(&cache->bound.max)) {
        return 0;
    }
    return room > held / 10 ? 1 : room > held / 20 ? 4 : 19;
}

/* The walk is through: how long to leave it at that.  What wins little is tried later and later. */
static void rest(struct zcache *cache, uint64_t won)
{
    uint64_t least = ZC_MAX(cache->compact_promised / 4, resident(cache) / WON_SHARE);
    uint64_t now = zc_plat_now_ns();
    uint64_t ns = 0;

    if (won <= least) {
        ns = ZC_MIN(ZC_MAX(cache->compact_rest_ns, REST_MIN_NS) * 2, REST_MAX_NS);
    }
    cache->compact_rest_ns = ns;
    atomic_store(&cache->compact_vain_ns, now + ns);
    atomic_store(&cache->compact_ns, now + ZC_MAX(cache->compact_cpu_ns * rest_times(cache), ns));
}

static void begin(struct zcache *cache)
{
    cache->compact_at = (struct zc_index_cursor){0, 0};
    cache->compact_walked = false;
    cache->compact_stayed = cache->compact_cpu_ns = 0;
    for (unsigned i = 0; i < cache->topo.n_nodes; i++) {
        cache->compact_promised += zc_pool_begin_leaving(cache->pool[i]);
    }
}

static void end(struct zcache *cache)
{
    uint64_t stayed = cache->compact_stayed;

    for (unsigned i = 0; i < cache->topo.n_nodes; i++) {
        stayed += zc_pool_end_leaving(cache->pool[i]);
    }
    rest(cache, zc_sub_sat(cache->compact_promised, stayed));
    cache->compact_promised = 0;
}

/*
 * All pages, then the grace period of what moved: slabs are empty only then, and a walk whose time was over just
 * before has not won little.  It is waited for once more, not for ever: a reader may stay long.
 */
static bool walk_and_drain(struct zcache *cache, struct zc_thread *th, uint64_t deadline_ns)
{
    bool waited = cache->compact_walked;
    bool drained;

    cache->compact_walked = waited || move_all(cache, th, deadline_ns);
    drained = zc_epoch_drain_until(th->epoch, deadline_ns);
    return cache->compact_walked && (drained || waited);
}

/* Begins a walk, or goes on with it.  Return: whether it was begun before, and is through. */
static bool walk_on(struct zcache *cache, struct zc_thread *th, uint64_t deadline_ns)
{
    uint64_t cpu_ns = zc_plat_thread_cpu_ns();
    bool resumed = cache->compact_promised > 0;
    bool through = true;

    if (!resumed) {
        begin(cache);
    }
    if (cache->compact_promised > 0) {
        through = walk_and_drain(cache, th, deadline_ns);
    }
    cache->compact_cpu_ns += zc_plat_thread_cpu_ns() - cpu_ns;
    if (through) {
        end(cache);
    }
    return resumed && through;
}

int zc_compact(struct zcache *cache,
               struct zc_thread *th,
               uint64_t deadline_ns,
               uint64_t *freed_out)
{
    uint64_t before = resident(cache);

    if (atomic_exchange(&cache->compacting, 1) != 0) {
        return -EBUSY;
    }
    if (walk_on(cache, th, deadline_ns) && zc_plat_now_ns() < deadline_ns) {
        (void)walk_on(cache, th, deadline_ns); /* what has got sparse since the other began */
    }
    *freed_out = zc_sub_sat(before, resident(cache));
    atomic_store(&cache->compacting, 0);
    zc_progress_signal(cache);
    return 0;
}

/* ---- when ---------------------------------------------------------------------------------- */

static bool is_sparse(struct zcache *cache)
{
    uint64_t room = excess(cache);

    return zc_core_is_sparse(cache, room, zc_sub_sat(resident(cache), room));
}

uint64_t zc_compact_when(struct zcache *cache)
{
    return is_sparse(cache) ? ZC_MAX(atomic_load(&cache->compact_ns), 1) : 0;
}

bool zc_compact_for_demotions(struct zcache *cache, struct zc_thread *th)
{
    uint64_t now = zc_plat_now_ns();
    uint64_t freed;

    if (!th->pool_refused || atomic_load(&cache->compact_vain_ns) > now || !is_sparse(cache)) {
        return false;
    }
    th->pool_refused = false;
    return zc_compact(cache, th, now + WALK_NS, &freed) == 0 &&
           resident(cache) + ROOM_BYTES <= atomic_load(&cache->bound.max);
}

bool zc_compact_make_room(struct zcache *cache,
                          struct zc_thread *th,
                          unsigned flags,
                          struct zc_stall *stall)
{
    uint64_t freed = 0;

    if (!th->pool_refused) {
        return false; /* the system refused, not we */
    }
    th->pool_refused = false;
    if (zc_compact(cache, th, zc_stall_deadline(stall), &freed) == 0 && freed > 0) {
        return true;
    }
    if ((flags & ZCACHE_NOWAIT) != 0 || zc_plat_now_ns() >= zc_stall_deadline(stall)) {
        return false;
    }
    zc_progress_pause(cache, zc_stall_deadline(stall));
    return true;
}
