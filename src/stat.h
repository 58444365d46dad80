/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Striped counters and latency histograms, generated from the table in zcache/stats.h.
 *
 * A counter has one cell per stripe; a thread adds to the stripe of the CPU it runs on, so that two
 * CPUs do not share a line.  A sum over the stripes is exact when nothing is added meanwhile.
 */
#ifndef ZC_STAT_H
#define ZC_STAT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <zcache/stats.h>

#include "plat.h"

enum zc_counter {
#define ZC_STAT_ENUM(name, kind, unit, help) ZC_C_##name,
    ZCACHE_COUNTERS(ZC_STAT_ENUM)
#undef ZC_STAT_ENUM
    ZC_COUNTERS
};

enum zc_tier_counter {
#define ZC_STAT_ENUM(name, kind, unit, help) ZC_TC_##name,
    ZCACHE_TIER_COUNTERS(ZC_STAT_ENUM)
#undef ZC_STAT_ENUM
    ZC_TIER_COUNTERS
};

#define ZC_CELLS (ZC_COUNTERS + ZCACHE_TIERS * ZC_TIER_COUNTERS)

struct zc_stat_stripe {
    _Alignas(ZC_CACHE_LINE) _Atomic uint64_t cell[ZC_CELLS];
};

/** struct zc_stat - the counters of one tenant; allocated with zc_stat_bytes(), zeroed. */
struct zc_stat {
    unsigned mask; /* stripes - 1; set once */
    struct zc_stat_stripe stripe[];
};

/** zc_stat_bytes() - memory for counters on a machine with @n_cpus (at most 16 stripes). */
size_t zc_stat_bytes(unsigned n_cpus);
void zc_stat_init(struct zc_stat *stat, unsigned n_cpus);

static inline void zc_stat_cell_add(struct zc_stat *stat, unsigned cell, uint64_t n)
{
    atomic_fetch_add_explicit(&stat->stripe[zc_plat_cpu() & stat->mask].cell[cell], n,
                              memory_order_relaxed);
}

static inline void zc_stat_add(struct zc_stat *stat, enum zc_counter c, uint64_t n)
{
    zc_stat_cell_add(stat, c, n);
}

static inline void zc_stat_tier_add(struct zc_stat *stat,
                                    enum zcache_tier tier,
                                    enum zc_tier_counter c,
                                    uint64_t n)
{
    zc_stat_cell_add(stat, ZC_COUNTERS + (unsigned)tier * ZC_TIER_COUNTERS + c, n);
}

uint64_t zc_stat_read(const struct zc_stat *stat, enum zc_counter c);
uint64_t zc_stat_tier_read(const struct zc_stat *stat,
                           enum zcache_tier tier,
                           enum zc_tier_counter c);

/** zc_stat_sum() - Σ of all cells: changes whenever anything was counted. */
uint64_t zc_stat_sum(const struct zc_stat *stat);

/** zc_stat_fold() - add every cell of @from to @into. */
void zc_stat_fold(struct zc_stat *into, const struct zc_stat *from);

/** zc_stat_export() - add the counters to the public structure's count and tier[] members. */
void zc_stat_export(const struct zc_stat *stat, struct zcache_stats *out);

/* Histograms: 8 buckets per power of two from 16 ns to about 68 s, so a quantile is within 1/8. */
#define ZC_HIST_BUCKETS 264

struct zc_hist {
    _Atomic uint32_t bucket[ZC_HIST_BUCKETS];
    _Atomic uint64_t sum_ns;
    _Atomic uint64_t max_ns;
};

void zc_hist_add(struct zc_hist *hist, uint64_t ns);
void zc_hist_fold(struct zc_hist *into, const struct zc_hist *from);

/** zc_hist_bound() - upper bound in ns, inclusive, of bucket @i; the last has none: UINT64_MAX. */
uint64_t zc_hist_bound(unsigned i);

/** zc_hist_summary() - count, sum, quantiles (bucket upper bounds, at most max) and maximum. */
void zc_hist_summary(const struct zc_hist *hist, struct zcache_latency *out);

#endif /* ZC_STAT_H */
