/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How many of a tenant's bytes may be raw and how many fast: shares that follow what decoding a page costs and
 * what the pages are worth that a denser form makes room for.
 */
#ifndef ZC_SHARE_H
#define ZC_SHARE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <zcache/types.h>

#define ZC_SHARE_PERCENT 65536u            /* one of a hundred of a tenant's bytes */
#define ZC_SHARE_ONE     UINT32_C(6553600) /* all of them */

/* Where the shares begin, and what they stay within: something is left in every tier to be measured. */
#define ZC_SHARE_RAW     (ZC_SHARE_ONE / 20)
#define ZC_SHARE_FAST    (ZC_SHARE_ONE / 20)
#define ZC_SHARE_MIN     (ZC_SHARE_PERCENT / 2)
#define ZC_SHARE_MAX     (ZC_SHARE_ONE - ZC_SHARE_ONE / 10)

#define ZC_SHARE_MISS_NS UINT64_C(200000) /* a miss, where no store's reads have been timed */

/** struct zc_share_look - what is known at one moment; counts are of all there ever was. */
struct zc_share_look {
    uint64_t hits
        [ZCACHE_TIERS]; /* of pages in the form of each tier; raw: for which they stayed there */
    uint64_t pages[ZCACHE_TIERS]; /* in that form */
    uint64_t bytes[ZCACHE_TIERS]; /* that these take */
    uint64_t raw_bytes;           /* of all pages, as the caller sees them */
    uint64_t page_bytes;          /* that a page takes beside its payload */
    uint64_t evicted;
    uint64_t returned;         /* evicted not long before: as many evictions as there are pages */
    bool knows_returned;       /* plain LRU does not */
    bool exists[ZCACHE_TIERS]; /* raw always does */
    uint64_t get_ns[ZCACHE_TIERS]; /* of a hit; 0: not known */
    uint64_t miss_ns;
};

/** struct zc_share - one tenant's. */
struct zc_share {
    /* relaxed: they decide about speed only */
    _Atomic uint32_t part[ZCACHE_TIERS]; /* raw and fast: of ZC_SHARE_ONE */
    _Atomic uint32_t load_ns; /* a page's part of a read of the store, on average; 0: not known */
    _Atomic uint32_t busy;    /* acquire, release: who sets it has the rest */
    /* of whoever has set busy */
    uint64_t hits_before[ZCACHE_TIERS];
    uint64_t evicted_before;
    uint64_t returned_before;
    uint64_t hits[ZCACHE_TIERS]; /* of the last intervals, the latest counts most */
    uint64_t returned;
    bool begun;
};

void zc_share_init(struct zc_share *s);

/** zc_share_loaded() - the store read @pages pages in @ns. */
void zc_share_loaded(struct zc_share *s, uint64_t pages, uint64_t ns);

/**
 * zc_share_due() - whether enough has left since the shares were looked at last.
 * @evicted: pages so far.
 * @pages:   that there are.
 */
bool zc_share_due(struct zc_share *s, uint64_t evicted, uint64_t pages);

/** zc_share_judge() - end the interval: each share stays, or moves by a part of itself. */
void zc_share_judge(struct zc_share *s, const struct zc_share_look *look);

static inline uint32_t zc_share_part(const struct zc_share *s, enum zcache_tier tier)
{
    return atomic_load_explicit(&s->part[tier], memory_order_relaxed);
}

#endif /* ZC_SHARE_H */
