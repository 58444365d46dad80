/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pressure.c - a thread that looks at the system, now and then or when the kernel says so.
 *
 *     pressure_read.c    what the files say          a look
 *     pressure_rule.c    what follows from it        the limit that pressure leaves
 *     here               cache.pressure_limit -> the root's limit -> puts, marks, bound of the pools
 *                        the shrinker is rung, and works down to its low mark of the new limit
 *
 * It is a limit as any other from the moment it is set: puts that would pass it wait for the shrinker
 * or are refused, by the full policy.  The pools are bound as well, so that what is freed goes back to
 * the system.  The shrinker itself does not know about pressure, but for a count.
 *
 * A look is a dozen small files.  Between looks the thread sleeps on an event of its own, which ends the
 * wait when the cache is closed, and on a trigger of the kernel where it may have one.  Without it, as
 * in most containers, stalls are noticed at the next look.
 *
 * Locks: admin, to set the limit.
 */
#include "pressure.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fault.h"
#include "mathx.h"
#include "pressure_read.h"

#define LOOKS_QUIET 16u /* looks in a quiet time */
#define LOOK_MIN_MS 50u
#define LOOK_MAX_MS 1000u
#define WINDOW_US   2000000u /* of the trigger: what the kernel allows to everybody */
#define PAGES_FLOOR 16u      /* of page_max_bytes, as of a capacity */

struct zc_pressure {
    pthread_t id;
    struct zcache *cache;
    struct zc_plat_watch watch;
    /* thread only */
    struct zc_pressure_state state;
    struct zc_pressure_eyes eyes;
    char watched[ZC_PRESSURE_FILE]; /* file with a trigger, or refused one */
    bool was_blind;
    _Atomic int stop;
};

static struct zc_pressure_rules rules_of(const struct zcache *cache)
{
    const struct zcache_options *opt = &cache->opt;
    uint64_t capacity = atomic_load(&cache->capacity);
    uint64_t least = ZC_MAX(ZCACHE_CAPACITY_MIN, (uint64_t)opt->page_max_bytes * PAGES_FLOOR);

    return (struct zc_pressure_rules){
        .capacity_bytes = capacity,
        .floor_bytes = ZC_MAX(zc_mul_div(capacity, opt->pressure_floor_percent, 100), least),
        .high_percent = opt->pressure_high_percent,
        .low_percent = opt->pressure_low_percent,
        .stall_percent = opt->pressure_stall_percent,
        .quiet_ns = opt->pressure_quiet_ms * UINT64_C(1000000)};
}

static void apply(struct zcache *cache, uint64_t limit)
{
    zc_lock_acquire(&cache->admin);
    atomic_store(&cache->pressure_limit, limit);
    zc_core_apply_capacity(cache);
    zc_lock_release(&cache->admin);
}

static void tell(struct zcache *cache, const char *event, const struct zc_pressure_look *look)
{
    zc_core_log(cache, ZCACHE_LOG_INFO, event,
                "the bound is %llu bytes now; charged are %llu, the cgroup uses %llu of %llu, "
                "tasks stalled %u of 1000",
                (unsigned long long)zc_quota_limit(&cache->account),
                (unsigned long long)look->charge_bytes, (unsigned long long)look->usage_bytes,
                (unsigned long long)look->limit_bytes, look->stall_permille);
}

static void count_blind(struct zc_pressure *p, bool blind)
{
    if (blind) {
        atomic_fetch_add(&p->cache->pressure_blind, 1);
    }
    if (blind && !p->was_blind) {
        zc_core_log(p->cache, ZCACHE_LOG_WARN, "pressure.blind",
                    "the system does not tell about the memory pressure that is to be followed");
    }
    p->was_blind = blind;
}

/* A trigger on the file that stalls are read from, if the kernel lets us have one. */
static void watch_stalls(struct zc_pressure *p)
{
    uint32_t stall_us = WINDOW_US / 100 * p->cache->opt.pressure_stall_percent;

    if (p->eyes.stall_file[0] != '\0' && strcmp(p->eyes.stall_file, p->watched) != 0) {
        (void)snprintf(p->watched, sizeof(p->watched), "%s", p->eyes.stall_file);
        (void)zc_plat_watch_stalls(&p->watch, p->watched, stall_us, WINDOW_US);
    }
}

static void look(struct zc_pressure *p, bool stalled)
{
    struct zcache *cache = p->cache;
    struct zc_pressure_rules rules = rules_of(cache);
    struct zc_pressure_look seen;

    zc_pressure_read(&p->eyes, (unsigned)cache->opt.pressure, zc_plat_now_ns(), &seen);
    seen.charge_bytes = zc_quota_used(&cache->account); /* a stock is no memory */
    if (stalled) { /* within the window, of which this look may have seen a part */
        seen.stall_permille = ZC_MAX(seen.stall_permille, rules.stall_percent * 10);
    }
    count_blind(p, seen.blind);
    switch (zc_pressure_rule(&p->state, &rules, &seen)) {
    case ZC_PRESSURE_LOWERED:
        apply(cache, p->state.limit_bytes);
        atomic_fetch_add(&cache->pressure_lowered, 1);
        zc_bell_ring(cache, ZC_BELL_DRAIN);
        tell(cache, "pressure.lowered", &seen);
        break;
    case ZC_PRESSURE_RAISED:
        apply(cache, p->state.limit_bytes);
        atomic_fetch_add(&cache->pressure_raised, 1);
        zc_progress_signal(cache);
        tell(cache, "pressure.raised", &seen);
        break;
    case ZC_PRESSURE_KEPT:
        break;
    }
    if (((unsigned)cache->opt.pressure & ZC_PRESSURE_STALLS) != 0) {
        watch_stalls(p);
    }
}

static void *pressure_main(void *arg)
{
    struct zc_pressure *p = arg;
    uint32_t quiet_ms = p->cache->opt.pressure_quiet_ms;
    uint32_t every_ms = ZC_MIN(ZC_MAX(quiet_ms / LOOKS_QUIET, LOOK_MIN_MS), LOOK_MAX_MS);
    bool stalled = false;

    zc_plat_thread_setup("zcache-pressure");
    while (atomic_load(&p->stop) == 0) {
        uint64_t next_ns;
        unsigned happened;

        look(p, stalled);
        next_ns = zc_plat_deadline_ns(every_ms);
        do {
            happened = zc_plat_watch_wait(&p->watch, next_ns);
        } while (happened == 0 && zc_plat_now_ns() < next_ns);
        stalled = (happened & ZC_WATCH_STALLED) != 0;
    }
    return NULL;
}

static void release(struct zc_pressure *p)
{
    const struct zc_mem *mem = zc_core_mem(p->cache, ZC_MEM_THREAD);

    zc_plat_watch_fini(&p->watch);
    p->cache->pressure = NULL;
    mem->free(mem->ctx, p, sizeof(*p));
}

int zc_pressure_start(struct zcache *cache)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_THREAD);
    struct zc_pressure *p;
    int rc;

    if (cache->opt.pressure == ZCACHE_PRESSURE_OFF) {
        return 0;
    }
    p = mem->alloc(mem->ctx, sizeof(*p));
    if (p == NULL) {
        return -ENOMEM;
    }
    *p = (struct zc_pressure){.cache = cache, .state = ZC_PRESSURE_STATE_INIT};
    rc = zc_plat_watch_init(&p->watch);
    if (rc == 0 && (ZC_FAULT(thread) || pthread_create(&p->id, NULL, pressure_main, p) != 0)) {
        rc = -EAGAIN;
    }
    if (rc != 0) {
        release(p);
        return rc;
    }
    cache->pressure = p;
    return 0;
}

void zc_pressure_stop(struct zcache *cache)
{
    struct zc_pressure *p = cache->pressure;

    if (p == NULL) {
        return;
    }
    atomic_store(&p->stop, 1);
    zc_plat_watch_wake(&p->watch);
    (void)pthread_join(p->id, NULL);
    release(p);
}
