/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Put.
 */
#ifndef ZC_PUT_H
#define ZC_PUT_H

#include <stddef.h>
#include <stdint.h>

#include "page.h"

/** zc_put() - zcache_put() with checked arguments; the tenant is entered.  @tag: WAL position. */
int zc_put(struct zcache_tenant *t,
           struct zc_thread *th,
           struct zcache_key key,
           const void *data,
           size_t len,
           uint64_t tag,
           unsigned flags,
           struct zc_stall *stall);

#endif /* ZC_PUT_H */
