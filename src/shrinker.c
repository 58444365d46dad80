/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shrinker.c - the background thread.
 *
 *     0 ......... start ......... low ... background ... capacity
 *                 |               |       `- a put that passes it rings; the shrinker works down to
 *                 low
 *                 |               `- where it stops; below it where what threads wait for needs more room
 *                 `- above it raw and fast pages beyond their share are compressed ahead of need
 *
 * A pass under pressure visits the tenants in the order of their slots, from after the one where
 * the last pass stopped.  What a visit asks for is the tenant's part of what is missing, by how far
 * the tenant is above its share (weight) and its reserve, and at most a batch; so equal tenants
 * differ by one batch at most.  The charge is read again before every visit.
 *
 * A visit ends in one of four ways:
 *     no candidate       nothing above share or reserve, or nothing to look at: skipped, costs nothing
 *     nothing may leave  all it looked at is pinned, past the WAL horizon, or dirty and not to be
 *                        written now
 *     tried and failed   writes failed, or pages were in other hands: after 16 in a row the pass ends
 *     freed n bytes
 * However many tenants have nothing to give, the pass goes on to those that have.
 *
 * A pass that frees nothing is followed by one that ignores shares, and that by a forced one (no
 * second chance).  If that frees nothing either, and somebody waits or was refused, what is kept for
 * trainings of dictionaries is given back (train.c).  Then the shrinker is quiet for a while, and puts do not
 * wake it; only waiting threads do.  Then it looks again, also when others have freed so much
 * meanwhile that the charge is below the background mark: once begun, it goes on to the low mark.
 * The while is 1 to 100 ms, or nine times what the vain look took of the CPU, up to a second: a
 * large cache of pages that cannot leave must not keep a CPU busy.
 *
 * Locks: none while visiting; the bell's and the pause's leaf locks.
 */
#include "shrinker.h"

#include <errno.h>

#include "compact.h"
#include "fault.h"
#include "mathx.h"
#include "reclaim.h"
#include "train.h"

#define FAILURES_MAX  16u
#define VISIT_MIN     (UINT64_C(4) << 10)
#define VISIT_MAX     (UINT64_C(256) << 10)
#define QUIET_MIN_MS  1u
#define QUIET_MAX_MS  100u
#define QUIET_TIMES   9u                   /* the CPU time of a look that freed nothing */
#define QUIET_MAX_NS  UINT64_C(1000000000) /* so that what becomes free is found soon */
#define OWN_WEIGHT    UINT64_C(100)        /* of an inner tenant's own pages, beside its children */
#define AHEAD_MIN     (UINT64_C(16) << 10)
#define COMPACT_MS    1000u
#define COMPACT_BUSY  5u /* ms; while another thread is at it */
#define HUGE_MS       50u
#define HUGE_PAUSE_MS 50u
#define LATER_MS      250u /* when a stream may be over, whose pages were not worth compressing */

struct zc_shrinker {
    pthread_t id;
    struct zcache *cache;
    uint32_t cursor;   /* slot of the tenant visited last; thread only */
    uint32_t quiet_ms; /* thread only */
    uint64_t retry_ns; /* look again then, although nobody rang; thread only */
    bool pressed;      /* passed the background mark, not yet down at the low one; thread only */
    bool held_back;    /* pages were left because a store failed just now; thread only */
    struct zc_lock lock;
    struct zc_cond cond;
    unsigned pauses; /* under lock */
    bool running;    /* under lock */
    bool ready;      /* under lock: it has asked for its own memory */
};

/* What a pass divides. */
struct division {
    uint64_t target;     /* charge to get down to */
    uint64_t for_pages;  /* of the target: without the metadata */
    uint64_t total_over; /* Σ over of all tenants */
    bool ignore_share;   /* divide all that is above the reserves */
    unsigned mode;
};

static bool stopping(struct zcache *cache)
{
    return (atomic_load(&cache->bell.rung) & ZC_BELL_STOP) != 0;
}

static uint64_t percent_of(const struct zcache *cache, uint32_t percent)
{
    return zc_mul_div(zc_quota_limit(&cache->account), percent, 100);
}

/* The charge to work down to: the low mark, or less where what threads wait for would not fit above it. */
static uint64_t target(struct zcache *cache)
{
    uint64_t limit = zc_quota_limit(&cache->account);
    uint64_t room = zc_add_sat(zc_quota_slack(limit), atomic_load(&cache->bell.wanted));

    return ZC_MIN(percent_of(cache, cache->opt.low_percent), zc_sub_sat(limit, room));
}

/* Whether it is time to make room; before it is, stocks are called in. */
static bool past_background(struct zcache *cache)
{
    uint64_t mark = percent_of(cache, cache->opt.background_percent);

    if (zc_quota_charge(&cache->account) <= mark) {
        return false;
    }
    zc_quota_call_in(&cache->account);
    return zc_quota_charge(&cache->account) > mark;
}

/* ---- shares -------------------------------------------------------------------------------- */

static uint64_t own_bytes(struct zcache_tenant *t)
{
    struct zc_tier_sum sums[ZCACHE_TIERS];
    uint64_t bytes = 0;

    zc_tenant_sums(t, sums);
    for (int i = 0; i < ZCACHE_TIERS; i++) {
        bytes += sums[i].allocated_bytes + sums[i].pages * zc_pool_round(sizeof(struct zc_entry));
    }
    return bytes;
}

/*
 * The share of a tenant's own pages.  What the target leaves for pages is divided among the root's active children and its own
 * pages by weight, a child's part among its children and its own pages, and so on.
 */
static uint64_t share(const struct zcache_tenant *t, const struct division *d)
{
    uint64_t part = d->for_pages;
    const struct zcache_tenant *path[ZCACHE_TENANT_DEPTH_MAX + 1];
    unsigned n = 0;

    for (const struct zcache_tenant *a = t; a->parent != NULL; a = a->parent) {
        path[n++] = a;
    }
    while (n-- > 0) {
        uint64_t rivals = path[n]->parent->rivals;

        part = zc_mul_div(part, atomic_load(&path[n]->weight), ZC_MAX(rivals, 1));
    }
    return zc_mul_div(part, OWN_WEIGHT, ZC_MAX(t->rivals, OWN_WEIGHT));
}

/* Bytes of a tenant's own pages that the shrinker may take. */
static uint64_t over(struct zcache_tenant *t, const struct division *d)
{
    uint64_t own = own_bytes(t);

    if (!d->ignore_share) {
        own = zc_sub_sat(own, share(t, d));
    }
    return ZC_MIN(own, zc_tenant_spare(t));
}

static void sum_over(struct zcache *cache, struct division *d)
{
    uint32_t cursor = UINT32_MAX;
    struct zcache_tenant *t;

    d->total_over = 0;
    while ((t = zc_tenant_next(cache->root, &cursor)) != NULL) {
        d->total_over = zc_add_sat(d->total_over, over(t, d));
        zc_tenant_leave(t);
    }
}

/* Who shares with whom now: tenants with pages, in themselves or below. */
static void find_rivals(struct zcache *cache, struct division *d)
{
    uint32_t cursor = UINT32_MAX;
    struct zcache_tenant *t;
    uint64_t pages = 0;

    while ((t = zc_tenant_next(cache->root, &cursor)) != NULL) {
        t->rivals = atomic_load(&t->n_pages) > 0 ? OWN_WEIGHT : 0;
        pages += own_bytes(t);
        zc_tenant_leave(t);
    }
    cursor = UINT32_MAX;
    while ((t = zc_tenant_next(cache->root, &cursor)) != NULL) {
        if (t->parent != NULL && zc_quota_charge(t->account) > 0) {
            t->parent->rivals += atomic_load(&t->weight);
        }
        zc_tenant_leave(t);
    }
    d->for_pages = zc_sub_sat(d->target, zc_sub_sat(zc_quota_charge(&cache->account), pages));
}

static void divide(struct zcache *cache, struct division *d)
{
    find_rivals(cache, d);
    sum_over(cache, d);
}

/* ---- pressure ------------------------------------------------------------------------------ */

/* Whether the charge is above a bound that memory pressure lowered: no put gets it there. */
static bool is_lowered(const struct zcache *cache)
{
    return atomic_load_explicit(&cache->pressure_limit, memory_order_relaxed) <
               atomic_load_explicit(&cache->capacity, memory_order_relaxed) &&
           zc_quota_charge(&cache->account) > zc_quota_limit(&cache->account);
}

enum visit {
    NO_CANDIDATE,
    NOTHING_MAY_LEAVE,
    TRIED_AND_FAILED,
    FREED
};

static enum visit visit(struct zc_shrinker *s,
                        struct zc_thread *th,
                        struct zcache_tenant *t,
                        const struct division *d,
                        uint64_t missing)
{
    uint64_t mine = over(t, d);
    uint64_t want = zc_mul_div(missing, mine, ZC_MAX(d->total_over, 1));
    bool gives_back = is_lowered(s->cache);
    struct zc_reclaim r;
    uint64_t freed;

    if (mine == 0) {
        zc_stat_add(t->stat, ZC_C_shrinker_skips, 1);
        return NO_CANDIDATE;
    }
    want = ZC_MIN(ZC_MAX(want, VISIT_MIN), VISIT_MAX);
    r = zc_reclaim_begin(s->cache, th, NULL, d->mode,
                         zc_plat_deadline_ns(s->cache->opt.max_stall_ms));
    freed = zc_reclaim_tenant(&r, t, ZC_MIN(want, mine));
    freed += zc_reclaim_end(&r, r.deadline_ns);
    s->held_back = s->held_back || r.held_back > 0 || r.got.failed_pages > 0;
    if (freed > 0) {
        zc_stat_add(t->stat, ZC_C_shrinker_freed, 1);
        zc_stat_add(t->stat, ZC_C_shrinker_bytes, freed);
        if (gives_back) {
            atomic_fetch_add_explicit(&s->cache->pressure_bytes, freed, memory_order_relaxed);
        }
        return FREED;
    }
    if (r.tried == 0) {
        zc_stat_add(t->stat, ZC_C_shrinker_skips, 1);
        return NO_CANDIDATE;
    }
    zc_stat_add(t->stat, ZC_C_shrinker_failures, 1);
    return r.got.failed_pages + r.got.busy_pages == 0 ? NOTHING_MAY_LEAVE : TRIED_AND_FAILED;
}

/* Once around.  Whether anything was freed. */
static bool pass(struct zc_shrinker *s, struct zc_thread *th, struct division *d)
{
    struct zcache *cache = s->cache;
    uint32_t start = s->cursor;
    unsigned failures = 0;
    bool wrapped = false;
    bool freed = false;
    uint64_t missing;

    zc_quota_call_in(&cache->account);
    missing = zc_sub_sat(zc_quota_charge(&cache->account), d->target);
    atomic_fetch_add(&cache->bell.rounds, 1);
    divide(cache, d);
    while (failures < FAILURES_MAX && !stopping(cache) &&
           zc_quota_charge(&cache->account) > d->target) {
        struct zcache_tenant *t = zc_tenant_next(cache->root, &s->cursor);
        enum visit outcome;

        if (t == NULL) {
            s->cursor = UINT32_MAX;
            if (wrapped || start == UINT32_MAX) {
                break;
            }
            wrapped = true;
            continue;
        }
        outcome = visit(s, th, t, d, missing);
        zc_tenant_leave(t);
        freed = freed || outcome == FREED;
        failures = outcome == TRIED_AND_FAILED ? failures + 1 : outcome == FREED ? 0 : failures;
        zc_core_maintain(cache, th);
        if (wrapped && s->cursor >= start) {
            break;
        }
    }
    zc_epoch_drain(th->epoch);
    zc_progress_announce(cache);
    return freed;
}

/* No page can go: whether other memory did, or will, for who is about to be refused, or was. */
static bool yielded(struct zcache *cache)
{
    struct zc_bell *bell = &cache->bell;
    uint32_t refused = atomic_exchange(&bell->refused, 0);

    return (refused != 0 || atomic_load(&bell->urgent) > 0) &&
           (zc_train_yield(cache) > 0 || zc_train_holds(cache));
}

static void be_quiet(struct zc_shrinker *s, uint64_t cpu_ns)
{
    struct zc_bell *bell = &s->cache->bell;

    s->quiet_ms = ZC_MIN(ZC_MAX(s->quiet_ms * 2, QUIET_MIN_MS), QUIET_MAX_MS);
    s->retry_ns = ZC_MAX(zc_plat_deadline_ns(s->quiet_ms),
                         zc_plat_now_ns() + ZC_MIN(cpu_ns * QUIET_TIMES, QUIET_MAX_NS));
    atomic_store(&bell->quiet_ns, s->retry_ns);
    if (!yielded(s->cache) && atomic_load(&bell->urgent) > 0 && !s->held_back &&
        !zc_tenant_backs_off(s->cache->root)) {
        atomic_fetch_add(&bell->fruitless, 1);
    }
    zc_progress_announce(s->cache);
}

/* Each pass that frees nothing is followed by one that asks less politely. */
static void relieve(struct zc_shrinker *s, struct zc_thread *th)
{
    static const struct {
        bool ignore_share;
        unsigned mode;
    } manners[] = {
        {false, ZC_RECLAIM_WRITE | ZC_RECLAIM_RESERVES},
        {true, ZC_RECLAIM_WRITE | ZC_RECLAIM_RESERVES},
        {true, ZC_RECLAIM_WRITE | ZC_RECLAIM_RESERVES | ZC_RECLAIM_FORCE},
    };
    struct zcache *cache = s->cache;
    struct division d = {.target = target(cache)};
    uint64_t cpu_ns = zc_plat_thread_cpu_ns();
    unsigned i = 0;

    s->held_back = false;
    while (zc_quota_charge(&cache->account) > d.target && !stopping(cache)) {
        if (i == ZC_ARRAY_SIZE(manners)) {
            be_quiet(s, zc_plat_thread_cpu_ns() - cpu_ns);
            return;
        }
        d.ignore_share = manners[i].ignore_share;
        d.mode = manners[i].mode | ZC_RECLAIM_STREAM;
        if (pass(s, th, &d)) {
            s->quiet_ms = 0;
        } else {
            i++;
        }
        zc_train_work(cache, th); /* it may take long to get down there */
        d.target = target(cache); /* others wait by now, or they do no more */
    }
    atomic_store(&cache->bell.refused, 0);
    s->retry_ns = 0;
    s->pressed = false;
}

/* ---- limits that were lowered -------------------------------------------------------------- */

static void drain_limits(struct zc_shrinker *s, struct zc_thread *th)
{
    uint32_t cursor = UINT32_MAX;
    struct zcache_tenant *t;

    while ((t = zc_tenant_next(s->cache->root, &cursor)) != NULL) {
        uint64_t excess = zc_sub_sat(zc_quota_used(t->account), zc_quota_limit(t->account));
        struct zcache_shrink_result result;

        if (excess > 0 && t->parent != NULL) {
            zc_reclaim_shrink(t, th, excess, zc_plat_deadline_ns(s->cache->opt.max_stall_ms),
                              &result);
            if (result.remaining_bytes > 0) {
                s->retry_ns = zc_plat_deadline_ns(QUIET_MAX_MS);
            }
        }
        zc_tenant_leave(t);
    }
}

static void look_again_at(struct zc_shrinker *s, uint64_t when_ns)
{
    s->retry_ns = s->retry_ns == 0 ? when_ns : ZC_MIN(s->retry_ns, when_ns);
}

/* ---- ahead of need ------------------------------------------------------------------------- */

/* One bounded helping per tenant.  Whether anything was compressed. */
static bool compress_once(struct zc_shrinker *s, struct zc_thread *th)
{
    uint32_t cursor = UINT32_MAX;
    struct zcache_tenant *t;
    bool any = false;

    while (!stopping(s->cache) && (t = zc_tenant_next(s->cache->root, &cursor)) != NULL) {
        if (zc_tenant_past_start(t) && zc_reclaim_surplus(t) > AHEAD_MIN) {
            struct zc_reclaim r =
                zc_reclaim_begin(s->cache, th, NULL, ZC_RECLAIM_DEMOTE_ONLY | ZC_RECLAIM_STREAM, 0);

            any = zc_reclaim_tenant(&r, t, VISIT_MAX / 4) > 0 || any;
            (void)zc_reclaim_end(&r, 0);
            if (r.passed_by) {
                look_again_at(s, zc_plat_deadline_ns(LATER_MS));
            }
        }
        zc_tenant_leave(t);
    }
    zc_train_work(s->cache, th);
    zc_epoch_poll(th->epoch);
    return any;
}

static void compress_ahead(struct zc_shrinker *s, struct zc_thread *th)
{
    struct zcache *cache = s->cache;

    while (!stopping(cache) && compress_once(s, th)) {
        if (past_background(cache)) {
            return; /* pressure goes first */
        }
    }
}

/* ---- sparse slabs -------------------------------------------------------------------------- */

/* Now, if it is time; else it comes back for it. */
static void compact(struct zc_shrinker *s, struct zc_thread *th)
{
    struct zcache *cache = s->cache;
    uint64_t when = zc_compact_when(cache);
    uint64_t freed;

    if (when != 0 && when <= zc_plat_now_ns()) {
        bool busy = zc_compact(cache, th, zc_plat_deadline_ns(COMPACT_MS), &freed) != 0;

        when = zc_compact_when(cache);
        when = when != 0 && busy ? ZC_MAX(when, zc_plat_deadline_ns(COMPACT_BUSY)) : when;
    }
    atomic_store(&cache->compact_planned, when != 0);
    if (when != 0) {
        look_again_at(s, when);
    }
}

/* ---- huge pages ---------------------------------------------------------------------------- */

/* For chunks that have been full for a while; it comes back for others, now and then. */
static void make_huge(struct zc_shrinker *s)
{
    struct zcache *cache = s->cache;
    uint64_t when = 0;

    atomic_store(&cache->bound.full, 0);
    for (unsigned i = 0; i < cache->topo.n_nodes; i++) {
        uint64_t next = zc_pool_make_huge(cache->pool[i], zc_plat_deadline_ns(HUGE_MS));

        when = next == 0 || (when != 0 && when < next) ? when : next;
    }
    atomic_store(&cache->huge_planned, when != 0);
    if (when != 0) {
        look_again_at(s, ZC_MAX(when, zc_plat_deadline_ns(HUGE_PAUSE_MS)));
    }
}

/* ---- thread -------------------------------------------------------------------------------- */

static void round_of_work(struct zc_shrinker *s, struct zc_thread *th, uint32_t reasons)
{
    struct zcache *cache = s->cache;

    s->retry_ns = 0;
    if ((reasons & ZC_BELL_DRAIN) != 0 || reasons == 0) {
        drain_limits(s, th);
    }
    if (atomic_load(&cache->bell.urgent) > 0 || past_background(cache)) {
        s->pressed = true;
    }
    if (s->pressed) {
        atomic_store(&cache->bell.working, 1);
        relieve(s, th);
        atomic_store(&cache->bell.working, 0);
        zc_progress_announce(cache);
    }
    compress_ahead(s, th);
    compact(s, th);
    make_huge(s);
    if (past_background(cache) && s->retry_ns == 0) {
        s->retry_ns = zc_plat_now_ns(); /* more came while we compressed: go on at once */
    }
    zc_epoch_drain(th->epoch); /* nothing waits in limbo while we sleep */
}

/* Sleeps until rung, or until it is time to look again.  The reasons; 0 for the latter. */
static uint32_t wait_for_bell(struct zc_shrinker *s)
{
    struct zc_bell *bell = &s->cache->bell;
    uint64_t deadline = s->retry_ns != 0 ? s->retry_ns : UINT64_MAX;
    bool in_time = true;
    uint32_t reasons;

    zc_lock_acquire(&bell->lock);
    atomic_store(&bell->sleeping, 1);
    while (atomic_load(&bell->rung) == 0 && in_time) {
        in_time = zc_cond_wait(&bell->cond, &bell->lock, deadline);
    }
    atomic_store(&bell->sleeping, 0);
    reasons = atomic_fetch_and(&bell->rung, (uint32_t)ZC_BELL_STOP);
    zc_lock_release(&bell->lock);
    atomic_fetch_add(&bell->wakes, 1);
    return reasons;
}

static void begin_running(struct zc_shrinker *s)
{
    zc_lock_acquire(&s->lock);
    while (s->pauses > 0) {
        (void)zc_cond_wait(&s->cond, &s->lock, UINT64_MAX);
    }
    s->running = true;
    zc_lock_release(&s->lock);
}

static void end_running(struct zc_shrinker *s)
{
    zc_lock_acquire(&s->lock);
    s->running = false;
    zc_cond_broadcast(&s->cond);
    zc_lock_release(&s->lock);
}

/*
 * Its own memory, while there is plenty: other threads, which come when the cache is nearly full, may leave
 * none, and nobody else makes room for it.  NULL: the system has none.
 */
static struct zc_thread *get_ready(struct zc_shrinker *s)
{
    struct zc_thread *th = zc_core_thread(s->cache);

    if (th != NULL) {
        (void)zc_thread_scratch(th);
    }
    zc_lock_acquire(&s->lock);
    s->ready = true;
    zc_cond_broadcast(&s->cond);
    zc_lock_release(&s->lock);
    return th;
}

static void wait_ready(struct zc_shrinker *s)
{
    zc_lock_acquire(&s->lock);
    while (!s->ready) {
        (void)zc_cond_wait(&s->cond, &s->lock, UINT64_MAX);
    }
    zc_lock_release(&s->lock);
}

static void *shrinker_main(void *arg)
{
    struct zc_shrinker *s = arg;
    struct zcache *cache = s->cache;
    struct zc_thread *th;
    uint32_t reasons = 0;

    zc_plat_thread_setup("zcache-shrink");
    th = get_ready(s);
    while ((reasons & ZC_BELL_STOP) == 0) {
        reasons = wait_for_bell(s);
        begin_running(s);
        if (th == NULL) {
            th = zc_core_thread(cache);
        }
        if (th != NULL) {
            round_of_work(s, th, reasons);
        } else { /* no memory for it yet; those who rang wait, and do not ring again */
            s->retry_ns = zc_plat_deadline_ns(QUIET_MAX_MS);
        }
        end_running(s);
    }
    return NULL;
}

int zc_shrinker_start(struct zcache *cache)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_THREAD);
    struct zc_shrinker *s = mem->alloc(mem->ctx, sizeof(*s));

    if (s == NULL) {
        return -ENOMEM;
    }
    s->cache = cache;
    s->cursor = UINT32_MAX;
    zc_lock_init(&s->lock, ZC_RANK_leaf);
    zc_cond_init(&s->cond);
    cache->shrinker = s;
    atomic_store(&cache->bell.rung, 0);
    if (ZC_FAULT(thread) || pthread_create(&s->id, NULL, shrinker_main, s) != 0) {
        zc_cond_fini(&s->cond);
        zc_lock_fini(&s->lock);
        mem->free(mem->ctx, s, sizeof(*s));
        cache->shrinker = NULL;
        return -EAGAIN;
    }
    wait_ready(s);
    return 0;
}

void zc_shrinker_stop(struct zcache *cache)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_THREAD);
    struct zc_shrinker *s = cache->shrinker;

    if (s == NULL) {
        return;
    }
    zc_bell_ring(cache, ZC_BELL_STOP);
    (void)pthread_join(s->id, NULL);
    zc_cond_fini(&s->cond);
    zc_lock_fini(&s->lock);
    mem->free(mem->ctx, s, sizeof(*s));
    cache->shrinker = NULL;
}

void zc_shrinker_pause(struct zcache *cache)
{
    struct zc_shrinker *s = cache->shrinker;

    zc_lock_acquire(&s->lock);
    s->pauses++;
    while (s->running) {
        (void)zc_cond_wait(&s->cond, &s->lock, UINT64_MAX);
    }
    zc_lock_release(&s->lock);
}

void zc_shrinker_resume(struct zcache *cache)
{
    struct zc_shrinker *s = cache->shrinker;

    zc_lock_acquire(&s->lock);
    s->pauses--;
    zc_cond_broadcast(&s->cond);
    zc_lock_release(&s->lock);
}
