/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Misses from the store: one load per key at a time, overtaken by a put, delete or truncate.
 */
#ifndef ZC_LOAD_H
#define ZC_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "batch.h"
#include "page.h"

/* Results of a load besides 0, ZCACHE_MISS and errors. */
#define ZC_LOAD_AGAIN 1000 /* the page came or went meanwhile: look it up again */

/** ZC_LOAD_KEEP - with the flags of zc_load_pages(): fail rather than deliver without caching. */
#define ZC_LOAD_KEEP (1u << 31)

/** zc_load_possible() - whether a miss of @t may ask the store with these flags of the call. */
bool zc_load_possible(const struct zcache_tenant *t, unsigned flags);

/**
 * zc_load_pages() - load pages that are not cached, in one batch where possible.
 * @pages: @n pages; status and len are set, and buf is filled where there is one (cap 0: nothing is
 *         copied).  A status of ZC_LOAD_AGAIN means: look it up again.
 * @flags: of the call: NOWAIT, SCAN.
 *
 * The charge is reserved before the store is asked.  A page for which there is no room is read and
 * delivered without being cached.  A page that another thread loads is waited for.
 */
void zc_load_pages(struct zcache_tenant *t,
                   struct zc_thread *th,
                   struct zcache_page **pages,
                   size_t n,
                   unsigned flags,
                   uint64_t deadline_ns);

#endif /* ZC_LOAD_H */
