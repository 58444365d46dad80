/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Moves a page between raw, fast and dense.
 */
#ifndef ZC_TIER_H
#define ZC_TIER_H

#include <stdint.h>

#include "page.h"

enum zc_tier_outcome {
    ZC_TIER_MOVED,  /* it is in the denser tier now, and smaller */
    ZC_TIER_KEPT,   /* it has its old form still, and moved along if there is such a tier */
    ZC_TIER_BUSY,   /* another thread, a write or a newer version was in the way */
    ZC_TIER_PINNED, /* a caller holds its bytes */
    ZC_TIER_NO_ROOM /* not even reclaim's slack had room for the new form */
};

/**
 * zc_tier_demote() - give an isolated page the form of a denser tier.
 * @e:         isolated by the caller, who puts it back.
 * @to:        ZCACHE_TIER_FAST or _DENSE.
 * @freed_out: allocated bytes that this frees once the old form is gone.
 *
 * A page that does not get smaller by 1/8 keeps its form, remembers that, and moves on
 * nevertheless.
 */
enum zc_tier_outcome zc_tier_demote(struct zcache *cache,
                                    struct zc_thread *th,
                                    struct zc_entry *e,
                                    enum zcache_tier to,
                                    uint64_t *freed_out);

/** zc_tier_next() - the next denser tier that has a codec; ZCACHE_TIERS if there is none. */
enum zcache_tier zc_tier_next(const struct zcache *cache, enum zcache_tier from);

/**
 * zc_tier_promote() - make a compressed or same-filled page raw; no lock, no section.
 * @word:     the form that was seen; if the page has another one now, nothing is done.
 * @reserved: zc_page_bytes() of the frame, if that is reserved already; it stays the caller's on
 *            failure.  0: nothing is.
 *
 * Return: 0; -EAGAIN the page is not what it was; -EDQUOT no room without reclaim; -ENOMEM;
 * -EBADMSG.
 */
int zc_tier_promote(const struct zc_where *w,
                    struct zcache_key key,
                    uint64_t word,
                    size_t reserved);

#endif /* ZC_TIER_H */
