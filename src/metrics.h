/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Text exposition of the statistics: Prometheus, OpenMetrics, JSON.
 */
#ifndef ZC_METRICS_H
#define ZC_METRICS_H

#include <zcache/zcache.h>

#include "core.h"

/** zc_metrics_write() - zcache_metrics_write() with checked arguments. */
int zc_metrics_write(struct zcache *cache,
                     enum zcache_metrics_format format,
                     zcache_write_fn *write,
                     void *ctx);

#endif /* ZC_METRICS_H */
