/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Makes the store have what was put before, of one tenant or a subtree.
 */
#ifndef ZC_FLUSH_H
#define ZC_FLUSH_H

#include "tenant.h"

/** zc_flush_pages() - write what is dirty in one tenant now.  Return: codes of zcache_flush(). */
int zc_flush_pages(struct zcache_tenant *t, struct zc_thread *th, uint64_t deadline_ns);

/**
 * zc_flush_tenant() - write what is dirty in one tenant now, then make the store's barrier.
 * @up_to_tag: leave pages with a tag above it; UINT64_MAX for all.
 *
 * Makes room where metadata is refused memory, so other pages may leave meanwhile.
 *
 * Not inside a section, no lock held.
 *
 * Return: codes of zcache_flush().
 */
int zc_flush_tenant(struct zcache_tenant *t,
                    struct zc_thread *th,
                    uint64_t up_to_tag,
                    uint64_t deadline_ns);

/** zc_flush_subtree() - as above, of @top and all below.  Return: the first error. */
int zc_flush_subtree(struct zcache_tenant *top,
                     struct zc_thread *th,
                     uint64_t up_to_tag,
                     uint64_t deadline_ns);

/** zc_flush() - zcache_flush(): as above, and the error of writes since the last one, once. */
int zc_flush(struct zcache_tenant *top,
             struct zc_thread *th,
             uint64_t up_to_tag,
             uint64_t deadline_ns);

#endif /* ZC_FLUSH_H */
