/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ends tenants: flush, reparent or discard their pages.
 */
#ifndef ZC_CLOSE_H
#define ZC_CLOSE_H

#include "page.h"

/** zc_close_tenant() - zcache_tenant_close() with checked arguments. */
int zc_close_tenant(struct zcache_tenant *t, struct zc_thread *th, enum zcache_close_mode mode);

#endif /* ZC_CLOSE_H */
