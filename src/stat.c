/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Striped counters, and histograms of times.
 *
 *     stripe 0   | get_hits_raw | get_hits_fast | ... | demotions (raw) | ... | evictions (dense) |
 *     stripe 1   |      "       |       "       |
 *       ...           a row of cells per stripe; a counter is the sum of its column
 *
 * A histogram's bucket is found from the highest bit of the time and the three bits below it:
 *
 *     bucket     0 .. 7       8 .. 15      16 .. 23      ...    256 .. 262          263
 *     ns         0 .. 15     16 .. 31      32 .. 63      ...   2^35 .. 15/16 2^36   the rest
 *     width         2            2            4          ...       2^32
 *
 * No locks.  Every cell is atomic with relaxed order: a counter tells nothing about other memory.
 * So a reader sees each cell at some moment, not all of them at the same one.
 *
 * Tried, and not kept: a cell per thread.  Exited threads' cells have to be folded somewhere, and
 * the memory grows with tenants times threads instead of tenants times 16.
 */
#include "stat.h"

#include "mathx.h"

#define SUB_BITS  3u /* eight buckets to a power of two */
#define SUBS      (1u << SUB_BITS)
#define UNIT_BITS 1u /* the finest bucket is 2 ns wide: the clock is not better */

/* ---------------------------------------------------------------------------------------------- */
/* Counters. */

size_t zc_stat_bytes(unsigned n_cpus)
{
    return sizeof(struct zc_stat) + zc_plat_stripes(n_cpus) * sizeof(struct zc_stat_stripe);
}

void zc_stat_init(struct zc_stat *stat, unsigned n_cpus)
{
    stat->mask = zc_plat_stripes(n_cpus) - 1;
}

static uint64_t cell_read(const struct zc_stat *stat, unsigned cell)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i <= stat->mask; i++) {
        sum += atomic_load_explicit(&stat->stripe[i].cell[cell], memory_order_relaxed);
    }
    return sum;
}

uint64_t zc_stat_read(const struct zc_stat *stat, enum zc_counter c)
{
    return cell_read(stat, c);
}

uint64_t zc_stat_tier_read(const struct zc_stat *stat,
                           enum zcache_tier tier,
                           enum zc_tier_counter c)
{
    return cell_read(stat, ZC_COUNTERS + (unsigned)tier * ZC_TIER_COUNTERS + c);
}

uint64_t zc_stat_sum(const struct zc_stat *stat)
{
    uint64_t sum = 0;

    for (unsigned cell = 0; cell < ZC_CELLS; cell++) {
        sum += cell_read(stat, cell);
    }
    return sum;
}

void zc_stat_fold(struct zc_stat *into, const struct zc_stat *from)
{
    for (unsigned cell = 0; cell < ZC_CELLS; cell++) {
        uint64_t n = cell_read(from, cell);

        if (n != 0) {
            zc_stat_cell_add(into, cell, n);
        }
    }
}

void zc_stat_export(const struct zc_stat *stat, struct zcache_stats *out)
{
#define EXPORT(name, kind, unit, help) out->count.name += zc_stat_read(stat, ZC_C_##name);
    ZCACHE_COUNTERS(EXPORT)
#undef EXPORT
    for (unsigned tier = 0; tier < ZCACHE_TIERS; tier++) {
#define EXPORT(name, kind, unit, help)                                                             \
    out->tier[tier].name += zc_stat_tier_read(stat, (enum zcache_tier)tier, ZC_TC_##name);
        ZCACHE_TIER_COUNTERS(EXPORT)
#undef EXPORT
    }
}

/* ---------------------------------------------------------------------------------------------- */
/* Histograms. */

static unsigned bucket_of(uint64_t ns)
{
    uint64_t units = ns >> UNIT_BITS;
    unsigned shift;
    unsigned bucket;

    if (units < SUBS) {
        return (unsigned)units;
    }
    shift = zc_log2_floor(units) - SUB_BITS;
    bucket = (shift + 1) * SUBS + (unsigned)(units >> shift) % SUBS;
    return ZC_MIN(bucket, ZC_HIST_BUCKETS - 1);
}

uint64_t zc_hist_bound(unsigned i)
{
    unsigned shift = UNIT_BITS + ZC_MAX(i / SUBS, 1) - 1;
    uint64_t sub = i < SUBS ? i : SUBS + i % SUBS;

    if (i >= ZC_HIST_BUCKETS - 1) {
        return UINT64_MAX;
    }
    return ((sub + 1) << shift) - 1;
}

static void raise_max(_Atomic uint64_t *max, uint64_t ns)
{
    uint64_t seen = atomic_load_explicit(max, memory_order_relaxed);

    while (seen < ns && !atomic_compare_exchange_weak_explicit(max, &seen, ns, memory_order_relaxed,
                                                               memory_order_relaxed)) {
    }
}

void zc_hist_add(struct zc_hist *hist, uint64_t ns)
{
    atomic_fetch_add_explicit(&hist->bucket[bucket_of(ns)], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&hist->sum_ns, ns, memory_order_relaxed);
    raise_max(&hist->max_ns, ns);
}

void zc_hist_fold(struct zc_hist *into, const struct zc_hist *from)
{
    for (unsigned i = 0; i < ZC_HIST_BUCKETS; i++) {
        uint32_t n = atomic_load_explicit(&from->bucket[i], memory_order_relaxed);

        if (n != 0) {
            atomic_fetch_add_explicit(&into->bucket[i], n, memory_order_relaxed);
        }
    }
    atomic_fetch_add_explicit(&into->sum_ns,
                              atomic_load_explicit(&from->sum_ns, memory_order_relaxed),
                              memory_order_relaxed);
    raise_max(&into->max_ns, atomic_load_explicit(&from->max_ns, memory_order_relaxed));
}

/* One reading of the buckets, so that count and quantiles agree with each other. */
struct snapshot {
    uint64_t count;
    uint64_t max_ns;
    uint32_t bucket[ZC_HIST_BUCKETS];
};

static void snapshot_take(const struct zc_hist *hist, struct snapshot *out)
{
    out->count = 0;
    for (unsigned i = 0; i < ZC_HIST_BUCKETS; i++) {
        out->bucket[i] = atomic_load_explicit(&hist->bucket[i], memory_order_relaxed);
        out->count += out->bucket[i];
    }
    out->max_ns = atomic_load_explicit(&hist->max_ns, memory_order_relaxed);
}

/* The smallest bound that at least @permille of the times do not pass; the count is not 0. */
static uint64_t quantile(const struct snapshot *snap, unsigned permille)
{
    uint64_t rank = (snap->count * permille + 999) / 1000;
    uint64_t seen = 0;
    unsigned i = 0;

    while ((seen += snap->bucket[i]) < rank) {
        i++;
    }
    return ZC_MIN(zc_hist_bound(i), snap->max_ns);
}

void zc_hist_summary(const struct zc_hist *hist, struct zcache_latency *out)
{
    struct snapshot snap;

    snapshot_take(hist, &snap);
    *out = (struct zcache_latency){.count = snap.count};
    if (snap.count == 0) {
        return;
    }
    out->sum_ns = atomic_load_explicit(&hist->sum_ns, memory_order_relaxed);
    out->p50_ns = quantile(&snap, 500);
    out->p99_ns = quantile(&snap, 990);
    out->p999_ns = quantile(&snap, 999);
    out->max_ns = snap.max_ns;
}
