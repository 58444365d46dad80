/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ends tenants: flush, reparent or discard their pages.
 */
#ifndef ZC_CLOSE_H
#define ZC_CLOSE_H

#include "page.h"

/** zc_close_tenant() - zcache_tenant_close() with checked arguments. */
int zc_close_tenant(struct zcache_tenant *t, struct zc_thread *th, enum zcache_close_mode mode);

/** zc_flush_subtree() - write what is dirty in @top and below, and barriers.  Return: the first
 * error. */
int zc_flush_subtree(struct zcache_tenant *top, struct zc_thread *th, uint64_t deadline_ns);

/** zc_flush() - zcache_flush(): as above, and the error of writes since the last one, once. */
int zc_flush(struct zcache_tenant *top, struct zc_thread *th, uint64_t deadline_ns);

#endif /* ZC_CLOSE_H */
