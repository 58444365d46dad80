/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * weigh.c - gathers what the shares and the worth of a tenant's tiers are judged by.
 *
 *     counters of hits, by form    -.      (of raw pages: uses found at the list's oldest end)
 *     sampled times of gets, p50    |
 *     lists' gauges, by form        +-->  share: which part of the bytes raw and fast may be
 *     returns known to the ghost    |
 *     times of the store's reads   -'
 *     hits of compressed pages     ---->  worth: whether a tier is fed at all
 *
 * All of it is counted anyway: a hit does nothing for this.  It is asked for before a batch of reclaim, and
 * read when an interval is over.
 *
 * Locks: the list lock, for the gauges.
 */
#include "weigh.h"

#include "mathx.h"
#include "tier.h"

#define NS_PER_US   UINT64_C(1000)
#define SAMPLES_MIN 32u /* fewer times tell more about the first calls than about a hit */

static uint32_t fixed_percent(const struct zcache *cache, enum zcache_tier tier)
{
    return tier == ZCACHE_TIER_RAW ? cache->opt.raw_percent : cache->opt.fast_percent;
}

uint32_t zc_weigh_share(const struct zcache_tenant *t, enum zcache_tier tier)
{
    uint32_t percent = fixed_percent(t->cache, tier);

    return percent == ZCACHE_AUTO ? zc_share_part(&t->share, tier) : percent * ZC_SHARE_PERCENT;
}

enum zcache_tier zc_weigh_next(const struct zcache_tenant *t, enum zcache_tier from)
{
    enum zcache_tier next = zc_tier_next(t->cache, from);

    if (next == ZCACHE_TIER_FAST && zc_weigh_share(t, ZCACHE_TIER_FAST) <= ZC_SHARE_MIN &&
        zc_tier_next(t->cache, next) < ZCACHE_TIERS) {
        next = zc_tier_next(t->cache, next);
    }
    return next;
}

uint64_t zc_weigh_miss_ns(const struct zcache_tenant *t)
{
    uint32_t us = t->cache->opt.miss_cost_us;
    uint64_t measured = atomic_load_explicit(&t->share.load_ns, memory_order_relaxed);

    if (us != ZCACHE_AUTO) {
        return us * NS_PER_US;
    }
    return measured != 0 ? measured : ZC_SHARE_MISS_NS;
}

/* ---- shares -------------------------------------------------------------------------------- */

static uint64_t evicted(const struct zcache_tenant *t)
{
    uint64_t n = 0;

    for (int tier = 0; tier < ZCACHE_TIERS; tier++) {
        n += zc_stat_tier_read(t->stat, (enum zcache_tier)tier, ZC_TC_evictions);
    }
    return n;
}

static uint64_t median_ns(struct zcache_tenant *t, enum zcache_latency_kind kind)
{
    const struct zc_hist *hist = atomic_load_explicit(&t->hist, memory_order_acquire);
    struct zcache_latency l = {0};

    if (hist != NULL) {
        zc_hist_summary(&hist[kind], &l);
    }
    return l.count < SAMPLES_MIN ? 0 : l.p50_ns;
}

static void add_forms(struct zcache_tenant *t, struct zc_share_look *look)
{
    for (unsigned node = 0; node < t->cache->topo.n_nodes; node++) {
        struct zc_tier_sum sums[ZCACHE_TIERS];

        zc_lru_forms(t->lru[node], sums);
        look->hits[ZCACHE_TIER_RAW] += zc_lru_raw_spared(t->lru[node]);
        for (int tier = 0; tier < ZCACHE_TIERS; tier++) {
            look->pages[tier] += sums[tier].pages;
            look->bytes[tier] += sums[tier].allocated_bytes;
            look->raw_bytes += sums[tier].raw_bytes;
        }
    }
}

static void judge_shares(struct zcache_tenant *t, uint64_t n_evicted)
{
    struct zc_share_look look = {
        .hits = {0, zc_stat_read(t->stat, ZC_C_get_hits_fast),
                 zc_stat_read(t->stat, ZC_C_get_hits_dense)},
        .page_bytes = zc_pool_round(sizeof(struct zc_entry)),
        .evicted = n_evicted,
        .returned = zc_stat_read(t->stat, ZC_C_ghost_hits),
        .knows_returned = t->cache->opt.policy != ZCACHE_POLICY_LRU,
        .exists = {true},
        .get_ns = {median_ns(t, ZCACHE_LATENCY_GET_RAW), median_ns(t, ZCACHE_LATENCY_GET_FAST),
                   median_ns(t, ZCACHE_LATENCY_GET_DENSE)},
        .miss_ns = zc_weigh_miss_ns(t),
    };
    int tier = ZCACHE_TIER_RAW;

    while ((tier = (int)zc_tier_next(t->cache, (enum zcache_tier)tier)) < ZCACHE_TIERS) {
        look.exists[tier] = true;
    }
    add_forms(t, &look);
    zc_share_judge(&t->share, &look);
}

static bool is_auto(const struct zcache *cache)
{
    return cache->opt.raw_percent == ZCACHE_AUTO || cache->opt.fast_percent == ZCACHE_AUTO;
}

/* ---- worth --------------------------------------------------------------------------------- */

/* Hits of pages in the form of a tier or a denser one, to which it leads; promotions by pins included. */
static uint64_t hits_from(const struct zcache_tenant *t, enum zcache_tier tier)
{
    uint64_t hits = zc_stat_read(t->stat, ZC_C_get_hits_dense) +
                    zc_stat_tier_read(t->stat, ZCACHE_TIER_DENSE, ZC_TC_promotions);

    if (tier == ZCACHE_TIER_FAST) {
        hits += zc_stat_read(t->stat, ZC_C_get_hits_fast) +
                zc_stat_tier_read(t->stat, ZCACHE_TIER_FAST, ZC_TC_promotions);
    }
    return hits;
}

void zc_weigh(struct zcache_tenant *t)
{
    uint64_t now = zc_plat_now_ns();
    uint64_t pages = atomic_load_explicit(&t->n_pages, memory_order_relaxed);
    uint64_t n_evicted = evicted(t);

    /* Before as much has left as there is, what was compressed had no time yet to be hit. */
    for (int tier = ZCACHE_TIER_FAST; tier < ZCACHE_TIERS && n_evicted >= pages; tier++) {
        if (zc_worth_due(&t->worth[tier], now)) {
            zc_worth_judge(&t->worth[tier], now, hits_from(t, (enum zcache_tier)tier),
                           t->cache->opt.feed_percent);
        }
    }
    if (is_auto(t->cache) && zc_share_due(&t->share, n_evicted, pages)) {
        judge_shares(t, n_evicted);
    }
}
