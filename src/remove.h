/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages leave the cache on the caller's word: delete, truncate, and the removal of an older version
 * when a put fails.
 */
#ifndef ZC_REMOVE_H
#define ZC_REMOVE_H

#include <stdint.h>

#include "page.h"

/**
 * zc_remove_key() - unlink a page; waits for a write in flight, cancels a load.
 *
 * Return: 0; ZCACHE_MISS; -EBUSY with @nowait; -EDEADLK; -ETIMEDOUT.
 */
int zc_remove_key(struct zcache_tenant *t,
                  struct zc_thread *th,
                  struct zcache_key key,
                  bool nowait,
                  uint64_t deadline_ns);

/** zc_remove_load() - cancel a load of @key.  Return: ZCACHE_MISS; ZCACHE_EXISTS there is a page. */
int zc_remove_load(struct zcache_tenant *t, struct zc_thread *th, struct zcache_key key);

/** zc_delete(), zc_truncate() - the calls; the tenant is entered. */
int zc_delete(struct zcache_tenant *t, struct zc_thread *th, struct zcache_key key, unsigned flags);
int zc_truncate(struct zcache_tenant *t,
                struct zc_thread *th,
                uint64_t object,
                uint64_t first_page);

#endif /* ZC_REMOVE_H */
