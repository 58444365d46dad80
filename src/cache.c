/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cache.c - builds the parts of a cache, in the order in which they need each other, and takes them
 * apart in the reverse order.
 *
 *     fork guard -> core (pools, epoch, codecs, index, threads) -> io -> tenants, root -> shrinker
 *     -> pressure
 *
 * Close has a point of no return: the flush has succeeded, nothing is pinned, no call is inside, and
 * the store's threads are through with their completions.
 * Before it the cache stays open; after it calls return -ESHUTDOWN, stores are detached, everything
 * is freed.
 */
#include "cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "batch.h"
#include "close.h"
#include "fault.h"
#include "flush.h"
#include "mathx.h"
#include "pressure.h"
#include "report.h"
#include "shrinker.h"
#include "sync_point.h"
#include "train.h"

#define PAUSE_NS 50000

/* ---- open ---------------------------------------------------------------------------------- */

static int open_root(struct zcache *cache)
{
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;

    opts.name = "root";
    opts.store = cache->opt.store;
    return zc_tenant_open(cache, NULL, &opts, &cache->root);
}

static void release(struct zcache *cache)
{
    cache->tag = 0;
    free(cache);
    ZC_FAULT_HOLD(-(int64_t)sizeof(*cache));
}

static void dismantle(struct zcache *cache)
{
    zc_pressure_stop(cache);
    zc_shrinker_stop(cache);
    zc_train_stop(cache);
    zc_train_destroy(cache);
    if (cache->tenants != NULL) {
        zc_tenants_destroy(cache);
    }
    zc_io_destroy(cache);
    zc_core_fini(cache);
    zc_plat_fork_guard_destroy(&cache->fork_guard);
    release(cache);
}

static int assemble(struct zcache *cache)
{
    int rc = zc_core_init(cache);

    rc = rc != 0 ? rc : zc_io_create(cache);
    rc = rc != 0 ? rc : zc_tenants_create(cache);
    rc = rc != 0 ? rc : open_root(cache);
    rc = rc != 0 ? rc : zc_train_create(cache);
    rc = rc != 0 ? rc : zc_shrinker_start(cache);
    rc = rc != 0 ? rc : zc_pressure_start(cache);
    return rc;
}

int zc_cache_open(const struct zcache_options *opts, struct zcache **out)
{
    struct zcache *cache = NULL;
    int rc;

    if (ZC_FAULT(record) || posix_memalign((void **)&cache, ZC_CACHE_LINE, sizeof(*cache)) != 0) {
        return -ENOMEM;
    }
    ZC_FAULT_HOLD(sizeof(*cache));
    (void)memset(cache, 0, sizeof(*cache));
    cache->tag = ZC_TAG_CACHE;
    cache->opt = *opts;
    zc_plat_topology(&cache->topo);
    rc = zc_plat_fork_guard_create(&cache->fork_guard);
    if (rc != 0) {
        release(cache);
        return rc;
    }
    rc = assemble(cache);
    cache->opt.store = NULL; /* copied by the root */
    if (rc != 0) {
        if (cache->root != NULL && cache->root->store != NULL) {
            cache->root->store->cb.detach = NULL; /* a cache that never was gives nothing back */
        }
        dismantle(cache);
        return rc;
    }
    *out = cache;
    return 0;
}

/* ---- close --------------------------------------------------------------------------------- */

/* Frees a page of a cache that nobody uses any more. */
static int free_page(void *ctx, struct zc_entry *e)
{
    struct zcache *cache = ctx;
    struct zc_account *account = zc_tenant_of(cache, e)->account;
    uint64_t word = atomic_load_explicit(&e->payload, memory_order_relaxed);

    if (word != 0 && !zc_word_is_same(word)) {
        struct zc_payload *p = zc_word_payload(word);

        zc_core_drop_dict(cache, zc_payload_dict(p));
        zc_core_release(cache, p, zc_payload_size(p), account);
    }
    zc_core_release(cache, e, sizeof(*e), account);
    return 0;
}

static uint64_t pins_held(struct zcache *cache)
{
    struct zcache_stats stats = ZCACHE_STATS_INIT;

    zc_report_subtree(cache->root, &stats);
    return stats.cache.pins;
}

/* Waits until no call, batch or shrinker is inside any tenant. */
static int wait_idle(struct zcache *cache, uint64_t deadline_ns)
{
    uint64_t seq = zc_progress_begin(cache, ZC_FOR_ANY);
    bool idle = false;
    bool in_time = true;

    while (!idle && in_time) {
        idle = zc_tenants_idle(cache);
        if (!idle) {
            in_time = zc_progress_wait(cache, ZC_FOR_ANY, &seq, deadline_ns);
        }
    }
    zc_progress_end(cache, ZC_FOR_ANY);
    return idle || zc_tenants_idle(cache) ? 0 : -ETIMEDOUT;
}

/* They cannot signal: the count is the last they touch.  Nothing is in flight, so it is a matter of
 * instructions. */
static void wait_completions(struct zcache *cache)
{
    static const struct timespec pause = {.tv_nsec = PAUSE_NS};

    while (atomic_load(&cache->completing) != 0) {
        ZC_SYNC_POINT("cache.waits", ((struct zcache_key){0, 0}));
        (void)nanosleep(&pause, NULL);
    }
}

static int before_no_return(struct zcache *cache, struct zc_thread *th, bool discard)
{
    uint64_t deadline = zc_plat_deadline_ns(cache->opt.max_stall_ms);
    int rc = 0;

    if (!discard) {
        rc = zc_flush_subtree(cache->root, th, UINT64_MAX, deadline);
    }
    ZC_SYNC_POINT("cache.flushed", ((struct zcache_key){0, 0}));
    if (rc == 0 && pins_held(cache) > 0) {
        rc = -EBUSY;
    }
    return rc != 0 ? rc : wait_idle(cache, deadline);
}

int zc_cache_close(struct zcache *cache, struct zc_thread *th, bool discard)
{
    int expected = 0;
    int rc;

    if (!atomic_compare_exchange_strong(&cache->closing, &expected, 1)) {
        return -EBUSY;
    }
    rc = before_no_return(cache, th, discard);
    if (rc != 0) {
        atomic_store(&cache->closing, 0);
        return rc;
    }
    zc_pressure_stop(cache);
    zc_shrinker_stop(cache);
    zc_train_stop(cache);
    wait_completions(cache);
    atomic_store(&cache->state, ZC_CACHE_CLOSED);
    zc_epoch_drain(th->epoch);
    zc_tenants_detach(cache);
    zc_index_clear(cache->index, free_page, cache);
    dismantle(cache);
    return 0;
}
