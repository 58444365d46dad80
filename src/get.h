/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Get, with and without taking the page out, and pin.
 */
#ifndef ZC_GET_H
#define ZC_GET_H

#include <stddef.h>
#include <stdint.h>

#include "page.h"

/** zc_get() - zcache_get() with checked arguments, without TAKE; looks at the tenant's state
 * itself. */
int zc_get(struct zcache_tenant *t,
           struct zc_thread *th,
           struct zcache_key key,
           void *buf,
           size_t cap,
           size_t *len_out,
           unsigned flags,
           struct zc_stall *stall);

/** zc_take() - zcache_get() with TAKE; the tenant is entered. */
int zc_take(struct zcache_tenant *t,
            struct zc_thread *th,
            struct zcache_key key,
            void *buf,
            size_t cap,
            size_t *len_out,
            unsigned flags,
            struct zc_stall *stall);

/** zc_get_many() - zcache_get_many() with checked arguments, without TAKE. */
int zc_get_many(struct zcache_tenant *t,
                struct zc_thread *th,
                struct zcache_page *pages,
                size_t n,
                unsigned flags,
                struct zc_stall *stall);

/** zc_pin() - zcache_pin() with checked arguments; looks at the tenant's state itself. */
int zc_pin(struct zcache_tenant *t,
           struct zc_thread *th,
           struct zcache_key key,
           unsigned flags,
           struct zcache_pin *pin_out);
void zc_unpin(struct zcache_pin *pin);

#endif /* ZC_GET_H */
