/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reclaim_room.c - who asks reclaim for room, and how long they go on.
 *
 *     a reservation does not fit
 *         a tenant's limit     synchronous shrink of the subtree whose limit it is, by the caller
 *         the capacity         the shrinker's work: wait for it, help it, or refuse
 *     zcache_shrink(), a limit set below the charge
 *     metadata was refused     by the account, or by the pools' bound
 *
 * A synchronous shrink goes on until the reservation fits, nothing is left that could be freed, or the
 * caller's patience ends.  "Nothing is left" is decided by accounting: when the charge is explained by
 * the pages that were seen, nothing is on its way back.  What a reader might still look at is on its
 * way back for as long as the reader stays: nobody waits for that longer than the call may.
 *
 * Locks: none held.
 */
#include <errno.h>

#include "compact.h"
#include "mathx.h"
#include "reclaim.h"
#include "sync_point.h"
#include "train.h"

#define AHEAD_BYTES (UINT64_C(128) << 10) /* a synchronous shrink frees this much more than asked */
#define RETRY_MS    5u
#define PATIENCE_NS UINT64_C(250000000) /* many times what a preempted thread holds pages for */
#define SECTION_NS  UINT64_C(1000000) /* many times what a section takes that is not interrupted */

/* ---- synchronous shrink -------------------------------------------------------------------- */

/* One pass for a reservation that did not fit. */
struct shrink_pass {
    uint64_t freed;
    uint64_t unexplained; /* charge that is no page: retired, reserved, in flight */
    uint64_t elsewhere;
    uint64_t waiting; /* pages that a write or a back-off holds back */
    bool held;        /* what was freed is still on the account: a reader stays in its section */
};

/* For who must not wait: sections last microseconds, so that one that is met is over by then. */
static uint64_t soon(void)
{
    return zc_plat_now_ns() + SECTION_NS;
}

static struct shrink_pass shrink_pass(struct zcache_tenant *top,
                                      struct zcache_tenant *first,
                                      struct zc_thread *th,
                                      uint64_t want,
                                      unsigned mode,
                                      uint64_t deadline_ns)
{
    struct zc_reclaim r =
        zc_reclaim_begin(top->cache, th, top, mode | ZC_RECLAIM_STREAM, deadline_ns);
    struct shrink_pass p = {.held = false};

    p.freed = zc_reclaim_subtree(&r, top, first, want);
    p.unexplained = zc_sub_sat(zc_quota_charge(top->account), r.seen_bytes);
    p.elsewhere = r.elsewhere;
    p.freed += zc_reclaim_end(&r, deadline_ns);
    p.waiting = r.got.busy_pages + r.got.failed_pages + r.held_back;
    if (p.freed > 0) {
        atomic_fetch_add(&top->relieved, 1);
        p.held = !zc_epoch_drain_until(th->epoch, deadline_ns != 0 ? deadline_ns : soon());
    }
    return p;
}

/* How long one reservation has been waiting for others, who may be in the same position. */
struct patience {
    uint64_t since_ns; /* 0: it has not begun to */
    uint64_t relieved; /* top's count then */
};

/* Whether nobody has freed anything for so long that nobody will. */
static bool out_of_patience(struct zcache_tenant *top, struct patience *p)
{
    uint64_t relieved = atomic_load(&top->relieved);
    uint64_t now = zc_plat_now_ns();

    if (p->since_ns == 0 || p->relieved != relieved || zc_io_bytes(top->cache) > 0 ||
        zc_tenant_backs_off(top)) {
        *p = (struct patience){.since_ns = now, .relieved = relieved};
        return false;
    }
    return now - p->since_ns > PATIENCE_NS;
}

/*
 * Shrinks the subtree of a limit once, in both passes if need be.
 * 0: something was freed, or will be: try again.  -EDQUOT: nothing can be.
 */
static int shrink_once(struct zcache_tenant *top,
                       struct zcache_tenant *first,
                       struct zc_thread *th,
                       uint64_t bytes,
                       unsigned flags,
                       uint64_t deadline_ns,
                       struct patience *patience)
{
    uint64_t limit = zc_quota_limit(top->account);
    uint64_t want = zc_add_sat(bytes, ZC_MIN(limit / 64, AHEAD_BYTES));
    unsigned mode = (flags & ZCACHE_NOIO) != 0 ? 0 : ZC_RECLAIM_WRITE;
    bool may_wait = (flags & ZCACHE_NOWAIT) == 0 && !zc_batch_in_callback(th);
    struct shrink_pass p;

    zc_stat_add(top->stat, ZC_C_sync_shrinks, 1);
    p = shrink_pass(top, first, th, want, mode | ZC_RECLAIM_RESERVES, may_wait ? deadline_ns : 0);
    if (p.freed == 0) {
        zc_stat_add(top->stat, ZC_C_sync_forced, 1);
        p = shrink_pass(top, first, th, want, mode | ZC_RECLAIM_FORCE, may_wait ? deadline_ns : 0);
    }
    ZC_SYNC_POINT("reclaim.shrunk", ((struct zcache_key){0, 0}));
    if (p.held) {
        return -EDQUOT; /* to free more would not help either */
    }
    if (p.freed > 0 ||
        zc_sub_sat(limit, zc_quota_charge(top->account)) > bytes + zc_quota_slack(limit)) {
        return 0;
    }
    if (!may_wait) {
        return -EDQUOT;
    }
    if (p.elsewhere == 0 && p.unexplained == 0 && p.waiting == 0 && !zc_tenant_backs_off(top)) {
        return -EDQUOT;
    }
    /* It is with another thread, in flight, or about to be tried again. */
    if (out_of_patience(top, patience)) {
        return -EDQUOT;
    }
    zc_progress_pause(top->cache, deadline_ns);
    (void)zc_epoch_drain_until(th->epoch, deadline_ns);
    return 0;
}

/* ---- the capacity -------------------------------------------------------------------------- */

/* Not now; but the shrinker makes room for the next one. */
static int refuse(struct zcache *cache, int rc)
{
    atomic_store_explicit(&cache->bell.refused, 1, memory_order_relaxed);
    zc_bell_ring(cache, ZC_BELL_PRESSURE);
    return rc;
}

static int wait_capacity(struct zcache_tenant *t,
                         struct zc_thread *th,
                         uint64_t bytes,
                         unsigned flags,
                         uint64_t deadline_ns)
{
    struct zcache *cache = t->cache;
    struct zc_bell *bell = &cache->bell;
    uint64_t fruitless = atomic_load(&bell->fruitless);
    uint64_t seq;
    int rc = 0;

    if (cache->opt.full_policy == ZCACHE_FULL_REJECT || zc_batch_in_callback(th)) {
        return refuse(cache, -ENOSPC);
    }
    if ((flags & ZCACHE_NOWAIT) != 0) {
        return refuse(cache, -EBUSY);
    }
    if (cache->opt.full_policy == ZCACHE_FULL_HELP) {
        unsigned mode = ZC_RECLAIM_RESERVES | ZC_RECLAIM_STREAM;
        struct zc_reclaim r;

        mode |= (flags & ZCACHE_NOIO) != 0 ? 0u : (unsigned)ZC_RECLAIM_WRITE;
        r = zc_reclaim_begin(cache, th, NULL, mode, deadline_ns);
        (void)zc_reclaim_subtree(&r, cache->root, NULL, zc_add_sat(bytes, AHEAD_BYTES));
        (void)zc_reclaim_end(&r, deadline_ns);
        (void)zc_epoch_drain_until(th->epoch, deadline_ns);
    }
    /* Only the capacity is waited for: a limit below it is the caller's to shrink under. */
    zc_bell_want(cache, bytes);
    seq = zc_progress_begin(cache, ZC_FOR_ROOM);
    while (!zc_quota_has_room(&cache->account, bytes, ZC_QUOTA_PUT) && rc == 0) {
        zc_bell_ring(cache, ZC_BELL_URGENT);
        /* It may fit before there is so much room that somebody wakes us for it. */
        (void)zc_progress_wait(cache, ZC_FOR_ROOM, &seq,
                               ZC_MIN(deadline_ns, zc_plat_deadline_ns(RETRY_MS)));
        if (zc_plat_now_ns() >= deadline_ns || atomic_load(&bell->fruitless) > fruitless + 1) {
            rc = zc_quota_has_room(&cache->account, bytes, ZC_QUOTA_PUT) ? 0 : -ENOSPC;
        }
    }
    zc_progress_end(cache, ZC_FOR_ROOM);
    zc_bell_want_no_more(cache, bytes);
    return rc;
}

/* ---- reserve ------------------------------------------------------------------------------- */

static bool never_fits(const struct zc_account *level, uint64_t bytes)
{
    uint64_t limit = zc_quota_limit(level);

    return bytes > limit - zc_quota_slack(limit);
}

/* Makes room at @level, or says why not. */
static int make_room(struct zcache_tenant *t,
                     struct zc_thread *th,
                     struct zc_account *level,
                     uint64_t bytes,
                     unsigned flags,
                     uint64_t deadline_ns,
                     struct patience *patience)
{
    struct zcache *cache = t->cache;
    int refusal = level == &cache->account ? -ENOSPC : -EDQUOT;

    ZC_SYNC_POINT("reclaim.refused", ((struct zcache_key){t->slot, 0}));
    if (never_fits(level, bytes)) {
        return refusal; /* also a limit of 0: nobody is shrunk for what cannot be */
    }
    if (zc_plat_now_ns() >= deadline_ns) {
        return refusal;
    }
    if (level == &cache->account) {
        return wait_capacity(t, th, bytes, flags, deadline_ns);
    }
    zc_stat_add(zc_tenant_of_account(cache, level)->stat, ZC_C_quota_hits, 1);
    return shrink_once(zc_tenant_of_account(cache, level), t, th, bytes, flags, deadline_ns,
                       patience);
}

int zc_reclaim_reserve(struct zcache_tenant *t,
                       struct zc_thread *th,
                       uint64_t bytes,
                       unsigned flags,
                       struct zc_stall *stall)
{
    struct zc_account *level = zc_quota_take(t->account, bytes);
    struct patience patience = {0, 0};
    uint64_t start;
    int rc = 0;

    if (ZC_LIKELY(level == NULL)) {
        return 0;
    }
    start = zc_plat_now_ns();
    while (level != NULL && rc == 0) {
        rc = make_room(t, th, level, bytes, flags, zc_stall_deadline(stall), &patience);
        level = zc_quota_reserve(t->account, bytes, ZC_QUOTA_PUT);
    }
    {
        uint64_t ns = zc_plat_now_ns() - start;
        struct zc_hist *hist = zc_tenant_hist(t, ZCACHE_LATENCY_STALL);

        zc_stat_add(t->stat, ZC_C_stalls, 1);
        zc_stat_add(t->stat, ZC_C_stall_ns, ns);
        if (hist != NULL) {
            zc_hist_add(hist, ns);
        }
    }
    if (level == NULL) {
        return 0; /* room came up even though the last attempt had failed */
    }
    return rc == -EDQUOT && (flags & ZCACHE_NOWAIT) != 0 ? -EBUSY : rc;
}

/* ---- on request ---------------------------------------------------------------------------- */

static void add_result(struct zcache_shrink_result *sum, const struct zcache_shrink_result *x)
{
    sum->demoted_pages += x->demoted_pages;
    sum->written_pages += x->written_pages;
    sum->evicted_pages += x->evicted_pages;
    /* What was in the way: as the last pass found it; failures as the pass with most of them. */
    sum->failed_pages = ZC_MAX(sum->failed_pages, x->failed_pages);
    sum->pinned_pages = x->pinned_pages;
    sum->busy_pages = x->busy_pages;
    sum->dirty_pages = x->dirty_pages;
    sum->wal_pages = x->wal_pages;
}

void zc_reclaim_shrink(struct zcache_tenant *top,
                       struct zc_thread *th,
                       uint64_t want_bytes,
                       uint64_t deadline_ns,
                       struct zcache_shrink_result *out)
{
    zc_reclaim_shrink_node(top, th, -1, want_bytes, deadline_ns, out);
}

void zc_reclaim_shrink_node(struct zcache_tenant *top,
                            struct zc_thread *th,
                            int node,
                            uint64_t want_bytes,
                            uint64_t deadline_ns,
                            struct zcache_shrink_result *out)
{
    static const unsigned passes[] = {ZC_RECLAIM_WRITE | ZC_RECLAIM_INSIST,
                                      ZC_RECLAIM_WRITE | ZC_RECLAIM_FORCE};
    bool failing = false;
    unsigned pass = 0;

    *out = (struct zcache_shrink_result){0};
    /* What others freed before is not ours to report. */
    (void)zc_epoch_drain_until(th->epoch, deadline_ns);
    zc_quota_call_in(top->account);
    while (out->freed_bytes < want_bytes && pass < ZC_ARRAY_SIZE(passes)) {
        unsigned mode = passes[pass] & ~(failing ? (unsigned)ZC_RECLAIM_INSIST : 0u);
        struct zc_reclaim r = zc_reclaim_begin(top->cache, th, top, mode, deadline_ns);
        uint64_t freed;

        r.node = node;
        freed = zc_reclaim_subtree(&r, top, NULL, want_bytes - out->freed_bytes);
        freed += zc_reclaim_end(&r, deadline_ns);
        r.got.busy_pages += r.elsewhere;
        failing = failing || r.got.failed_pages > 0; /* once is asking; twice would be hammering */
        add_result(out, &r.got);
        (void)zc_epoch_drain_until(th->epoch, deadline_ns);
        out->freed_bytes += freed;
        if (freed == 0) {
            pass++;
        } else if (zc_plat_now_ns() >= deadline_ns) {
            break;
        }
    }
    out->remaining_bytes = zc_sub_sat(want_bytes, out->freed_bytes);
}

/* No page can go.  Whether there is other memory that comes back: now, or before it is looked for again. */
static bool trainings_yield(struct zcache *cache, uint64_t deadline_ns)
{
    if (zc_train_yield(cache) > 0) {
        return true;
    }
    if (!zc_train_holds(cache)) {
        return false;
    }
    zc_progress_pause(cache, deadline_ns);
    return true;
}

bool zc_reclaim_metadata(struct zcache *cache, struct zc_thread *th, uint64_t deadline_ns)
{
    uint64_t want = th->meta_refused;
    bool by_pool = th->pool_refused;
    struct zcache_shrink_result result;
    uint64_t above; /* a limit that was lowered, and is not yet reached */

    th->meta_refused = 0;
    if ((want == 0 && !by_pool) || zc_batch_in_callback(th) || zc_plat_now_ns() >= deadline_ns) {
        return false;
    }
    if (by_pool) {
        struct zc_stall stall = {.deadline_ns = deadline_ns};

        return zc_compact_make_room(cache, th, 0, &stall);
    }
    above = zc_sub_sat(zc_quota_charge(&cache->account), zc_quota_limit(&cache->account));
    zc_reclaim_shrink(cache->root, th, above + want + want / 4, deadline_ns, &result);
    return result.freed_bytes > 0 || trainings_yield(cache, deadline_ns);
}
