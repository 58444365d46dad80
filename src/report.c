/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report.c - collects counters and gauges.
 *
 * Counters come from the tenants' striped cells, sizes from the sums of their lists, the rest from
 * atomics; gauges of the whole cache only with the root.  Nothing is stored twice: a gauge that can
 * be derived is derived here.
 *
 * Locks: one list lock at a time.  The sums of different tenants are of different instants.
 */
#include "report.h"

#include <string.h>

#include "batch.h"
#include "mathx.h"
#include "weigh.h"

static void add_sums(struct zcache_tier_stats *tier, const struct zc_tier_sum *sum)
{
    tier->pages += sum->pages;
    tier->raw_bytes += sum->raw_bytes;
    tier->stored_bytes += sum->stored_bytes;
    tier->allocated_bytes += sum->allocated_bytes;
}

static void add_node(struct zcache_node_stats *node, const struct zc_tier_sum *sum)
{
    node->pages += sum->pages;
    node->raw_bytes += sum->raw_bytes;
    node->stored_bytes += sum->stored_bytes;
    node->allocated_bytes += sum->allocated_bytes;
}

/* Where a node of ours stands in the statistics: under the system's number. */
static unsigned place_of(const struct zcache *cache, unsigned node)
{
    int sys_node = ZC_MAX(cache->topo.sys_node[node], 0);

    return (unsigned)ZC_MIN(sys_node, ZCACHE_NODES_MAX - 1);
}

static void add_lists(struct zcache_tenant *t, struct zcache_stats *out)
{
    for (unsigned n = 0; n < t->cache->topo.n_nodes; n++) {
        struct zc_tier_sum sums[ZCACHE_TIERS];
        struct zc_lru_view view;

        zc_lru_view(t->lru[n], &view);
        out->gauge.probation_pages += zc_lru_queue_pages(&view, ZC_QUEUE_NEW);
        zc_lru_forms(t->lru[n], sums);
        for (int i = 0; i < ZCACHE_TIERS; i++) {
            add_sums(&out->tier[i], &sums[i]);
            add_node(&out->node[place_of(t->cache, n)], &sums[i]);
            out->gauge.pages += sums[i].pages;
        }
    }
}

/* What sums up over a subtree. */
static void add_tenant(struct zcache_tenant *t, struct zcache_stats *out)
{
    zc_stat_export(t->stat, out);
    add_lists(t, out);
    out->gauge.dirty_pages += zc_tenant_dirty(t);
    out->gauge.writing_pages += atomic_load(&t->n_writing);
    out->gauge.same_pages += atomic_load(&t->n_same);
    out->gauge.incompressible_pages += atomic_load(&t->n_incompressible);
    out->gauge.tenants++;
}

static void set_account(const struct zcache_tenant *t, struct zcache_stats *out)
{
    uint64_t charge = zc_quota_charge(t->account);
    uint64_t stock = ZC_MIN(zc_quota_stock(t->account), charge);

    out->gauge.charge_bytes = charge - stock;
    out->gauge.stock_bytes = stock;
    out->gauge.peak_charge_bytes = atomic_load(&t->account->peak);
    out->gauge.limit_bytes =
        t->parent != NULL ? zc_quota_limit(t->account) : atomic_load(&t->cache->capacity);
    out->gauge.reserve_bytes = atomic_load(&t->reserve_bytes);
    out->gauge.raw_share_permille =
        zc_mul_div(zc_weigh_share(t, ZCACHE_TIER_RAW), 1000, ZC_SHARE_ONE);
    out->gauge.fast_share_permille =
        zc_mul_div(zc_weigh_share(t, ZCACHE_TIER_FAST), 1000, ZC_SHARE_ONE);
    out->gauge.miss_cost_ns = zc_weigh_miss_ns(t);
}

static void set_cache(struct zcache *cache, struct zcache_stats *out)
{
    struct zc_bell *bell = &cache->bell;

    for (unsigned i = 0; i < cache->topo.n_nodes; i++) {
        struct zc_pool_usage usage;

        zc_pool_usage(cache->pool[i], &usage);
        out->cache.resident_bytes += usage.resident;
        out->cache.huge_bytes += zc_pool_huge_bytes(cache->pool[i]);
    }
    out->cache.capacity_bytes = atomic_load(&cache->capacity);
    out->cache.effective_capacity_bytes = zc_quota_limit(&cache->account);
    out->cache.pressure_lowered = atomic_load(&cache->pressure_lowered);
    out->cache.pressure_raised = atomic_load(&cache->pressure_raised);
    out->cache.pressure_blind = atomic_load(&cache->pressure_blind);
    out->cache.pressure_bytes = atomic_load(&cache->pressure_bytes);
    out->cache.entry_bytes = atomic_load(&cache->entry_bytes);
    out->cache.index_bytes = atomic_load(&cache->mem[ZC_MEM_INDEX].bytes);
    out->cache.tenant_bytes = atomic_load(&cache->mem[ZC_MEM_TENANT].bytes);
    out->cache.thread_bytes =
        atomic_load(&cache->mem[ZC_MEM_THREAD].bytes) + atomic_load(&cache->mem[ZC_MEM_IO].bytes);
    out->cache.dict_bytes = atomic_load(&cache->mem[ZC_MEM_DICT].bytes);
    out->cache.dictionaries = zc_dicts_count(cache->dicts);
    out->cache.io_bytes = zc_io_bytes(cache);
    out->cache.retired_bytes = zc_epoch_retired_bytes(cache->epoch);
    /* Derived, so that pins of one frame share no line but the frame's own. */
    out->cache.pins = zc_sub_sat(out->count.pin_hits + out->count.pin_loads, out->count.unpins);
    out->cache.shrinker_wakes = atomic_load(&bell->wakes);
    out->cache.shrinker_rounds = atomic_load(&bell->rounds);
    out->cache.shrinker_sleeping = atomic_load(&bell->sleeping);
    out->cache.bad_completions = atomic_load(&cache->bad_completions);
}

void zc_report_hist(struct zcache_tenant *t, enum zcache_latency_kind kind, struct zc_hist *into)
{
    struct zc_hist *hist = atomic_load_explicit(&t->hist, memory_order_acquire);

    if (hist != NULL) {
        zc_hist_fold(into, &hist[kind]);
    }
}

static void clear(struct zcache_tenant *t, struct zcache_stats *out)
{
    size_t size = out->struct_size;

    (void)memset(out, 0, sizeof(*out));
    out->struct_size = size;
    out->n_nodes = ZC_MIN(t->cache->topo.n_sys, ZCACHE_NODES_MAX);
}

static void set_latency(struct zcache_tenant *top, bool below, struct zcache_stats *out)
{
    for (int k = 0; k < ZCACHE_LATENCIES; k++) {
        struct zc_hist sum = {0};
        uint32_t cursor = UINT32_MAX;
        struct zcache_tenant *t;

        if (!below) {
            zc_report_hist(top, (enum zcache_latency_kind)k, &sum);
        }
        while (below && (t = zc_tenant_next(top, &cursor)) != NULL) {
            zc_report_hist(t, (enum zcache_latency_kind)k, &sum);
            zc_tenant_leave(t);
        }
        zc_hist_summary(&sum, &out->latency[k]);
    }
}

void zc_report_tenant(struct zcache_tenant *t, struct zcache_stats *out)
{
    clear(t, out);
    add_tenant(t, out);
    set_account(t, out);
    set_latency(t, false, out);
}

void zc_report_subtree(struct zcache_tenant *top, struct zcache_stats *out)
{
    uint32_t cursor = UINT32_MAX;
    struct zcache_tenant *t;

    clear(top, out);
    while ((t = zc_tenant_next(top, &cursor)) != NULL) {
        add_tenant(t, out);
        zc_tenant_leave(t);
    }
    set_account(top, out);
    set_latency(top, true, out);
    if (top->parent == NULL) {
        set_cache(top->cache, out);
    }
}
