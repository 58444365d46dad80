/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fills struct zcache_stats for a tenant's subtree.
 */
#ifndef ZC_REPORT_H
#define ZC_REPORT_H

#include <zcache/stats.h>

#include "tenant.h"

/** zc_report_subtree() - everything zcache_stats() reports: @top and all below it, summed. */
void zc_report_subtree(struct zcache_tenant *top, struct zcache_stats *out);

/** zc_report_tenant() - the same for @t alone, without gauges of the cache; charge, peak, limit and
 * reserve
 *  are its account's. */
void zc_report_tenant(struct zcache_tenant *t, struct zcache_stats *out);

/** zc_report_hist() - add the histogram of @t alone to @into. */
void zc_report_hist(struct zcache_tenant *t, enum zcache_latency_kind kind, struct zc_hist *into);

#endif /* ZC_REPORT_H */
