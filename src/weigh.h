/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What reclaim asks before it compresses a tenant's pages: how much of each tier is too much, and whether the
 * next tier is worth its CPU.  Gathers what share.h and worth.h decide by.
 */
#ifndef ZC_WEIGH_H
#define ZC_WEIGH_H

#include "tenant.h"

/** zc_weigh() - look at the tenant's measurements again if it is time; no lock held. */
void zc_weigh(struct zcache_tenant *t);

/** zc_weigh_share() - part of its bytes that a tier, raw or fast, may have; of ZC_SHARE_ONE. */
uint32_t zc_weigh_share(const struct zcache_tenant *t, enum zcache_tier tier);

/**
 * zc_weigh_next() - the tier that a page of @from is compressed for; ZCACHE_TIERS: none.
 *
 * As zc_tier_next(), but where hardly anything may be fast, raw pages become dense at once.
 */
enum zcache_tier zc_weigh_next(const struct zcache_tenant *t, enum zcache_tier from);

/** zc_weigh_miss_ns() - what a miss costs: as the options say, as it was measured, or as usual. */
uint64_t zc_weigh_miss_ns(const struct zcache_tenant *t);

#endif /* ZC_WEIGH_H */
