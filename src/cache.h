/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lifetime of a cache.
 */
#ifndef ZC_CACHE_H
#define ZC_CACHE_H

#include "core.h"

/** zc_cache_open() - build everything; @opts were checked. */
int zc_cache_open(const struct zcache_options *opts, struct zcache **out);

/** zc_cache_close() - zcache_close() with checked arguments. */
int zc_cache_close(struct zcache *cache, struct zc_thread *th, bool discard);

#endif /* ZC_CACHE_H */
