/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reclaim.c - picks candidates and gets bytes back.
 *
 * One step on one (tenant, node):
 *
 *     there are pages of scans                      evict them
 *     raw   > raw_percent of the tenant's bytes     demote its oldest raw pages
 *     fast  > fast_percent                          demote its oldest fast pages
 *     more pages on probation than their share      evict the oldest of them
 *     else                                          evict from the oldest end of dense, fast, raw of
 *                                                   the main queue, then of probation
 *
 * where a tier that is not worth its CPU (worth.h) is passed by: what would be demoted to it is evicted,
 * and evicting a dirty page means writing it first.  A step isolates a batch, works on it without
 * locks, and gives back what stays.  Shares come first: where leaving went before getting smaller, pages
 * that come faster than they are compressed would leave raw and fast, and dense would stay empty.  Pages
 * of scans are not compressed, and those on probation after those of the main queue where they have less
 * than half of what may be raw.
 *
 * Two passes.  The first spares pages that were used (lru.c); if it frees nothing, the second takes
 * them too, so that memory that can be reclaimed is never refused.  Each pass looks at each page once
 * per list: the budgets are the lists' lengths at its start, and a page that it moves down brings a
 * look along to its new list.  More looks would find a page again whose mark was just taken from it.
 *
 * A demotion needs room for the new form first, an eviction needs none.  At the limit itself the old
 * forms come back only after a grace period, and then the first demotion that finds no room is the
 * pass's last one on that list's node: to encode all the others in vain would take all the time.  Where
 * it is the pools that have none, holes in their slabs are closed first, and demotion goes on.
 *
 * Locks: none held while a page is worked on; see tier.c, writeback.c and page.c.
 */
#include "reclaim.h"

#include "compact.h"
#include "mathx.h"
#include "sync_point.h"
#include "tier.h"
#include "weigh.h"

#define BATCH     32u
#define BATCH_MIN 4u

struct zc_reclaim zc_reclaim_begin(struct zcache *cache,
                                   struct zc_thread *th,
                                   struct zcache_tenant *owner,
                                   unsigned mode,
                                   uint64_t deadline_ns)
{
    if (zc_batch_in_callback(th)) {
        mode &= ~(unsigned)ZC_RECLAIM_WRITE; /* no write-back from within a callback */
        deadline_ns = 0;
    }
    return (struct zc_reclaim){.cache = cache,
                               .thread = th,
                               .owner = owner,
                               .mode = mode,
                               .node = -1,
                               .deadline_ns = deadline_ns};
}

/* Pages that a pass on one (tenant, node) may still look at, by list. */
struct budgets {
    uint64_t demote[ZC_LISTS];
    uint64_t evict[ZC_LISTS];
    bool no_room; /* a demotion found none: pages are demoted only where nothing can leave */
};

/* ---- demote -------------------------------------------------------------------------------- */

static uint64_t demote_one(struct zc_reclaim *r,
                           struct zc_entry *e,
                           enum zcache_tier to,
                           bool *no_room)
{
    uint64_t freed = 0;

    switch (zc_tier_demote(r->cache, r->thread, e, to, &freed)) {
    case ZC_TIER_MOVED:
        r->got.demoted_pages++;
        break;
    case ZC_TIER_KEPT:
        break;
    case ZC_TIER_PINNED:
        r->got.pinned_pages++;
        break;
    case ZC_TIER_BUSY:
        r->got.busy_pages++;
        break;
    case ZC_TIER_NO_ROOM: /* waiting would not help */
        *no_room = true;
        break;
    }
    zc_page_putback(r->cache, r->thread, e, true);
    return freed;
}

static uint64_t demote_batch(struct zc_reclaim *r,
                             struct zcache_tenant *t,
                             struct zc_lru *lru,
                             unsigned from,
                             enum zcache_tier to,
                             struct budgets *left,
                             unsigned max)
{
    unsigned below = zc_lru_list(zc_lru_queue_of(from), to);
    unsigned mode = (r->mode & ZC_RECLAIM_FORCE) != 0 ? 0 : ZC_ISOLATE_CHANCE;
    const bool last_resort = left->no_room;
    struct zc_entry *pages[BATCH];
    unsigned n = zc_lru_isolate(lru, from, mode, &left->demote[from], pages, ZC_MIN(max, BATCH));
    uint64_t freed = 0;
    uint64_t cpu_ns;

    if (n > 0) {
        ZC_SYNC_POINT("reclaim.isolated", pages[0]->key);
    }
    cpu_ns = zc_plat_thread_cpu_ns();
    for (unsigned i = 0; i < n; i++) {
        if (left->no_room && !last_resort) {
            zc_page_putback(r->cache, r->thread, pages[i], false);
            left->demote[from]++;
        } else {
            freed += demote_one(r, pages[i], to, &left->no_room);
        }
    }
    if (n > 0) {
        zc_worth_fed(&t->worth[to], n, zc_plat_thread_cpu_ns() - cpu_ns);
    }
    left->demote[below] += n;
    left->evict[below] += n;
    r->tried += n;
    zc_core_maintain(r->cache, r->thread);
    if (left->no_room && !last_resort && zc_compact_for_demotions(r->cache, r->thread)) {
        left->no_room = false;
    }
    return freed;
}

/* ---- evict --------------------------------------------------------------------------------- */

enum evict_outcome {
    EVICTED,
    KEPT,
    NEEDS_WRITE
};

/* Evicts a clean page, or says what else must happen.  Under the shard lock. */
static enum evict_outcome evict_locked(struct zc_reclaim *r,
                                       const struct zc_where *w,
                                       struct zc_entry *e,
                                       uint64_t *freed)
{
    uint64_t word = atomic_load_explicit(&e->payload, memory_order_relaxed);
    bool hit = atomic_load_explicit(&e->referenced, memory_order_relaxed) != 0;

    if (zc_entry_state(e) != ZC_LIVE || zc_entry_has(e, ZC_F_WAITED) ||
        (hit && (r->mode & ZC_RECLAIM_FORCE) == 0)) {
        r->got.busy_pages++; /* in flight: the frame may be pinned, but not by a caller */
        return KEPT;
    }
    if (zc_word_pinned(word)) {
        r->got.pinned_pages++;
        return KEPT;
    }
    if (zc_entry_has(e, ZC_F_DIRTY)) {
        if (zc_writeback_blocked(w->tenant, e)) {
            r->got.wal_pages++;
            return KEPT;
        }
        if ((r->mode & ZC_RECLAIM_WRITE) == 0 || zc_entry_has(e, ZC_F_CORRUPT)) {
            r->got.dirty_pages++;
            return KEPT;
        }
        if (!zc_tenant_writes(w->tenant, (r->mode & ZC_RECLAIM_INSIST) != 0)) {
            r->got.dirty_pages++;
            r->held_back += zc_tenant_writes(w->tenant, true) ? 1 : 0;
            return KEPT;
        }
        r->promised_bytes += zc_word_sizes(word).allocated + zc_pool_round(sizeof(*e));
        return NEEDS_WRITE;
    }
    *freed += zc_word_sizes(word).allocated + zc_pool_round(sizeof(*e));
    zc_page_evict_locked(w, e);
    return EVICTED;
}

static enum evict_outcome evict_one(struct zc_reclaim *r, struct zc_entry *e, uint64_t *freed)
{
    struct zc_where w = zc_page_where_entry(r->cache, r->thread, e);
    enum evict_outcome outcome;

    zc_epoch_stock(r->thread->epoch, 4);
    zc_lock_acquire(&w.shard->lock);
    outcome = evict_locked(r, &w, e, freed);
    zc_lock_release(&w.shard->lock);
    return outcome;
}

static void count_foreign(struct zc_reclaim *r, const struct zcache_tenant *t, uint64_t evicted)
{
    if (evicted > 0 && r->owner != NULL && !zc_tenant_within(t, r->owner)) {
        zc_stat_add(r->owner->stat, ZC_C_foreign_evictions, evicted);
    }
}

/* Bytes that writes still out will free. */
static uint64_t promised(struct zc_reclaim *r)
{
    if (r->writes.n_out == 0) {
        r->promised_bytes = 0;
    }
    return r->promised_bytes;
}

static uint64_t evict_batch(struct zc_reclaim *r,
                            struct zcache_tenant *t,
                            struct zc_lru *lru,
                            unsigned list,
                            uint64_t *budget,
                            unsigned max)
{
    unsigned mode =
        ZC_ISOLATE_EVICT | ((r->mode & ZC_RECLAIM_FORCE) != 0 ? 0 : (unsigned)ZC_ISOLATE_CHANCE);
    uint64_t written_before = r->writes.freed_bytes;
    uint64_t evicted_before = r->writes.evicted;
    struct zc_entry *pages[BATCH];
    unsigned n = zc_lru_isolate(lru, list, mode, budget, pages, ZC_MIN(max, BATCH));
    unsigned n_write = 0;
    uint64_t n_evicted = 0;
    uint64_t freed = 0;

    if (n > 0) {
        ZC_SYNC_POINT("reclaim.isolated", pages[0]->key);
    }
    for (unsigned i = 0; i < n; i++) {
        enum evict_outcome outcome = evict_one(r, pages[i], &freed);

        if (outcome == NEEDS_WRITE) {
            pages[n_write++] = pages[i];
            continue;
        }
        n_evicted += outcome == EVICTED ? 1 : 0;
        zc_page_putback(r->cache, r->thread, pages[i], true);
    }
    if (n_write > 0) {
        zc_writeback_pages(t, r->thread, pages, n_write, true, r->deadline_ns, &r->writes);
    }
    r->tried += n;
    r->got.evicted_pages += n_evicted;
    if ((r->mode & ZC_RECLAIM_STREAM) != 0) {
        zc_worth_left(&t->worth[ZCACHE_TIER_FAST], n_evicted + n_write);
        zc_worth_left(&t->worth[ZCACHE_TIER_DENSE], n_evicted + n_write);
    }
    count_foreign(r, t, n_evicted + (r->writes.evicted - evicted_before));
    zc_core_maintain(r->cache, r->thread);
    return freed + (r->writes.freed_bytes - written_before);
}

/* ---- one tenant ---------------------------------------------------------------------------- */

static uint64_t part(uint64_t bytes, uint64_t pages, uint64_t of_pages)
{
    return of_pages == 0 ? 0 : zc_mul_div(bytes, pages, of_pages);
}

/* About what of a tier's bytes belongs to a queue. */
static uint64_t queue_bytes(const struct zc_lru_view *v, enum zc_queue queue, enum zcache_tier tier)
{
    return part(v->tier[tier].allocated_bytes, v->pages[zc_lru_list(queue, tier)],
                v->tier[tier].pages);
}

/* Bytes that a tier may have, of all but those of scans, which come and go as they are. */
static uint64_t tier_share(const struct zcache_tenant *tenant,
                           const struct zc_lru_view *v,
                           enum zcache_tier tier)
{
    uint64_t total = 0;

    for (int t = 0; t < ZCACHE_TIERS; t++) {
        total += v->tier[t].allocated_bytes - queue_bytes(v, ZC_QUEUE_SCAN, (enum zcache_tier)t);
    }
    return zc_mul_div(total, zc_weigh_share(tenant, tier), ZC_SHARE_ONE);
}

/* Bytes of a tier above its share of all the tenant has on this node. */
static uint64_t tier_surplus(const struct zcache_tenant *tenant,
                             const struct zc_lru_view *v,
                             enum zcache_tier tier)
{
    return zc_sub_sat(v->tier[tier].allocated_bytes - queue_bytes(v, ZC_QUEUE_SCAN, tier),
                      tier_share(tenant, v, tier));
}

/* About how many pages of a tier make up @bytes, at least one, at most a batch. */
static unsigned pages_in(const struct zc_tier_sum *sum, uint64_t bytes)
{
    uint64_t average = sum->pages == 0 ? 1 : sum->allocated_bytes / sum->pages + 1;

    return (unsigned)ZC_MIN(zc_add_sat(bytes / average, 1), BATCH);
}

static unsigned batch_for(const struct zc_tier_sum *sum, uint64_t want)
{
    return ZC_MAX(pages_in(sum, want), BATCH_MIN);
}

/* A run of steps on one (tenant, node). */
struct work {
    struct zc_reclaim *r;
    struct zcache_tenant *t;
    struct zc_lru *lru;
    struct budgets left;
    struct zc_lru_view view; /* at the beginning of the step */
    uint64_t want;           /* by this step */
    uint64_t freed;          /* by all */
};

/* Of at most @max pages from the densest list of a queue that has looks left.  False: none has. */
static bool evict_from(struct work *w, enum zc_queue queue, uint64_t max)
{
    for (int tier = ZCACHE_TIER_DENSE; tier >= ZCACHE_TIER_RAW; tier--) {
        unsigned list = zc_lru_list(queue, (enum zcache_tier)tier);

        if (w->left.evict[list] > 0) {
            uint64_t n = ZC_MIN(max, batch_for(&w->view.tier[tier], w->want));

            w->freed += evict_batch(w->r, w->t, w->lru, list, &w->left.evict[list], (unsigned)n);
            return true;
        }
    }
    return false;
}

/* Demotes @n pages of a list to a denser tier, if there is one and the list has looks left. */
static bool demote_from(struct work *w,
                        enum zc_queue queue,
                        enum zcache_tier from,
                        enum zcache_tier to,
                        unsigned n)
{
    unsigned list = zc_lru_list(queue, from);

    if (to == ZCACHE_TIERS || w->left.demote[list] == 0) {
        return false;
    }
    w->freed += demote_batch(w->r, w->t, w->lru, list, to, &w->left, n);
    return true;
}

static bool is_worth_it(struct zc_reclaim *r, struct zcache_tenant *t, enum zcache_tier tier)
{
    if ((r->mode & ZC_RECLAIM_STREAM) == 0 || zc_worth_ask(&t->worth[tier], zc_plat_now_ns())) {
        return true;
    }
    r->passed_by = true;
    return false;
}

/* Evicts what would be demoted to a tier that is not worth it.  False: it may not, or has no looks left. */
static bool pass_by(struct work *w, unsigned list, unsigned n)
{
    uint64_t looks = w->left.evict[list];

    if ((w->r->mode & ZC_RECLAIM_DEMOTE_ONLY) != 0 || looks == 0) {
        return false;
    }
    w->freed += evict_batch(w->r, w->t, w->lru, list, &w->left.evict[list], n);
    looks -= w->left.evict[list];
    w->left.demote[list] = zc_sub_sat(w->left.demote[list], looks); /* they have been looked at */
    return true;
}

/* Whether pages on probation have more of the raw share than half, so that they are to be demoted. */
static bool probation_first(const struct work *w)
{
    return queue_bytes(&w->view, ZC_QUEUE_NEW, ZCACHE_TIER_RAW) >
           tier_share(w->t, &w->view, ZCACHE_TIER_RAW) / 2;
}

/* The queue whose pages of a tier move down first.  False: neither has looks left. */
static bool pick_queue(const struct work *w, enum zcache_tier from, enum zc_queue *queue_out)
{
    enum zc_queue first =
        from == ZCACHE_TIER_RAW && probation_first(w) ? ZC_QUEUE_NEW : ZC_QUEUE_MAIN;
    enum zc_queue then = first == ZC_QUEUE_NEW ? ZC_QUEUE_MAIN : ZC_QUEUE_NEW;

    *queue_out = w->left.demote[zc_lru_list(first, from)] > 0 ? first : then;
    return w->left.demote[zc_lru_list(*queue_out, from)] > 0;
}

/* What is beyond its tier's share moves down, or leaves.  False: nothing is, or there are no looks left. */
static bool demote_surplus(struct work *w)
{
    for (int i = ZCACHE_TIER_RAW; i < ZCACHE_TIER_DENSE && !w->left.no_room; i++) {
        enum zcache_tier from = (enum zcache_tier)i;
        enum zcache_tier to = zc_weigh_next(w->t, from);
        const struct zc_tier_sum *sum = &w->view.tier[from];
        uint64_t surplus = tier_surplus(w->t, &w->view, from);
        unsigned n = ZC_MIN(batch_for(sum, w->want), pages_in(sum, surplus));
        enum zc_queue queue;

        if (surplus > 0 && to < ZCACHE_TIERS && pick_queue(w, from, &queue) &&
            (is_worth_it(w->r, w->t, to) ? demote_from(w, queue, from, to, n)
                                         : pass_by(w, zc_lru_list(queue, from), n))) {
            return true;
        }
    }
    return false;
}

/* Whatever can still get smaller, whatever the shares.  False: nothing is left to try. */
static bool demote_any(struct work *w)
{
    for (int from = ZCACHE_TIER_RAW; from < ZCACHE_TIER_DENSE; from++) {
        unsigned n = batch_for(&w->view.tier[from], w->want);
        enum zcache_tier to = zc_tier_next(w->r->cache, (enum zcache_tier)from);

        for (int queue = 0; queue < ZC_QUEUES; queue++) {
            if (demote_from(w, (enum zc_queue)queue, (enum zcache_tier)from, to, n)) {
                return true;
            }
        }
    }
    return false;
}

/* One step.  False: nothing is left to try. */
static bool step(struct work *w)
{
    bool evicts = (w->r->mode & ZC_RECLAIM_DEMOTE_ONLY) == 0;
    uint64_t excess;

    zc_lru_view(w->lru, &w->view);
    excess = zc_lru_probation_excess(w->lru, &w->view);
    if (evicts && evict_from(w, ZC_QUEUE_SCAN, BATCH)) {
        return true;
    }
    if (demote_surplus(w)) {
        return true;
    }
    if (evicts && excess > 0 && evict_from(w, ZC_QUEUE_NEW, excess)) {
        return true;
    }
    if (evicts && (evict_from(w, ZC_QUEUE_MAIN, BATCH) || evict_from(w, ZC_QUEUE_NEW, BATCH))) {
        return true;
    }
    /* Nothing can leave: what can still get smaller does. */
    return evicts && (w->r->mode & ZC_RECLAIM_FORCE) != 0 && demote_any(w);
}

static uint64_t reclaim_node(struct zc_reclaim *r,
                             struct zcache_tenant *t,
                             unsigned node,
                             uint64_t want)
{
    struct work w = {.r = r, .t = t, .lru = t->lru[node]};

    zc_lru_lengths(w.lru, w.left.evict);
    for (unsigned list = 0; list < ZC_LISTS; list++) {
        w.left.demote[list] = w.left.evict[list];
    }
    ZC_SYNC_POINT("reclaim.budgeted", ((struct zcache_key){t->slot, node}));
    do {
        w.want = zc_sub_sat(want, zc_add_sat(w.freed, promised(r)));
    } while (w.want > 0 && step(&w));
    return w.freed;
}

/* What leaves is to be remembered.  Without memory for that it is not. */
static void fit_ghost(struct zc_reclaim *r, struct zcache_tenant *t)
{
    uint64_t refused = r->thread->meta_refused;

    if (r->cache->opt.policy == ZCACHE_POLICY_LRU || (r->mode & ZC_RECLAIM_DEMOTE_ONLY) != 0) {
        return;
    }
    zc_ghost_fit(&t->ghost, zc_core_mem(r->cache, ZC_MEM_TENANT),
                 atomic_load_explicit(&t->n_pages, memory_order_relaxed));
    r->thread->meta_refused = refused; /* nobody failed for it */
}

/* The nodes that a run is about: from the first to before the end. */
static unsigned first_node(const struct zc_reclaim *r)
{
    return r->node < 0 ? 0 : (unsigned)r->node;
}

static unsigned end_node(const struct zc_reclaim *r)
{
    return r->node < 0 ? r->cache->topo.n_nodes : (unsigned)r->node + 1;
}

static void look_around(struct zc_reclaim *r, struct zcache_tenant *t)
{
    for (unsigned node = first_node(r); node < end_node(r); node++) {
        struct zc_tier_sum sums[ZCACHE_TIERS];
        uint64_t isolated;

        zc_lru_sums(t->lru[node], sums, &isolated);
        r->elsewhere += isolated;
        for (int tier = 0; tier < ZCACHE_TIERS; tier++) {
            r->seen_bytes += sums[tier].allocated_bytes +
                             sums[tier].pages * zc_pool_round(sizeof(struct zc_entry));
        }
    }
}

uint64_t zc_reclaim_tenant(struct zc_reclaim *r, struct zcache_tenant *t, uint64_t want_bytes)
{
    unsigned end = end_node(r);
    uint64_t freed = 0;

    if ((r->mode & ZC_RECLAIM_RESERVES) != 0) {
        want_bytes = ZC_MIN(want_bytes, zc_tenant_spare(t));
    }
    if ((r->mode & ZC_RECLAIM_STREAM) != 0) {
        zc_weigh(t);
    }
    fit_ghost(r, t);
    for (unsigned node = first_node(r); node < end && freed + promised(r) < want_bytes; node++) {
        freed += reclaim_node(r, t, node, zc_add_sat((want_bytes - freed) / (end - node), 1));
    }
    look_around(r, t);
    return freed;
}

/* ---- subtree ------------------------------------------------------------------------------- */

uint64_t zc_reclaim_subtree(struct zc_reclaim *r,
                            struct zcache_tenant *top,
                            struct zcache_tenant *first,
                            uint64_t want_bytes)
{
    uint32_t start = atomic_load(&top->cursor);
    uint32_t cursor = start;
    bool wrapped = false;
    uint64_t freed = 0;

    if (first != NULL && zc_tenant_within(first, top)) {
        unsigned mode = r->mode;

        r->mode &=
            ~(unsigned)ZC_RECLAIM_RESERVES; /* its reserve is kept from others, not from it */
        freed += zc_reclaim_tenant(r, first, want_bytes);
        r->mode = mode;
    }
    while (freed + promised(r) < want_bytes) {
        struct zcache_tenant *t = zc_tenant_next(top, &cursor);

        if (t == NULL) {
            if (wrapped || start == UINT32_MAX) {
                break;
            }
            wrapped = true;
            cursor = UINT32_MAX;
            continue;
        }
        if (t != first) {
            freed += zc_reclaim_tenant(r, t, want_bytes - freed - promised(r));
        }
        zc_tenant_leave(t);
        if (wrapped && cursor >= start) {
            break;
        }
    }
    atomic_store(&top->cursor, cursor);
    return freed;
}

uint64_t zc_reclaim_end(struct zc_reclaim *r, uint64_t deadline_ns)
{
    uint64_t before = r->writes.freed_bytes;
    uint64_t late;

    ZC_SYNC_POINT("reclaim.handed", ((struct zcache_key){0, 0})); /* all there is to write */
    (void)zc_writeback_harvest(&r->writes, deadline_ns);
    r->got.written_pages += r->writes.written;
    r->got.failed_pages += r->writes.failed;
    r->got.evicted_pages += r->writes.evicted;
    r->got.busy_pages += r->writes.busy;
    late = r->writes.freed_bytes - before;
    r->writes = (struct zc_writes){0};
    return late;
}

uint64_t zc_reclaim_surplus(struct zcache_tenant *t)
{
    struct zc_lru_view view;
    uint64_t surplus = 0;

    zc_tenant_view(t, &view);
    for (int from = ZCACHE_TIER_RAW; from < ZCACHE_TIER_DENSE; from++) {
        if (zc_tier_next(t->cache, (enum zcache_tier)from) < ZCACHE_TIERS) {
            surplus += tier_surplus(t, &view, (enum zcache_tier)from);
        }
    }
    return surplus;
}
