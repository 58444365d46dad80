/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who listens at the sync points.  One listener for the process: a test drives one scenario at a
 * time, and its threads come from everywhere.
 */
#include "sync_point.h"

#ifdef ZCACHE_TEST_HOOKS
#include <stdatomic.h>
#include <stddef.h>

#include "lock.h"

static _Atomic(zc_sync_point_fn *) listener;
static void *_Atomic listener_ctx;

void zc_sync_point_listen(zc_sync_point_fn *fn, void *ctx)
{
    atomic_store(&listener, NULL);
    atomic_store(&listener_ctx, ctx);
    atomic_store(&listener, fn);
}

void zc_sync_point_reach(const char *point, struct zcache_key key)
{
    zc_sync_point_fn *fn = atomic_load(&listener);

    zc_lock_assert_none();
    if (fn != NULL) {
        fn(atomic_load(&listener_ctx), point, key);
    }
}
#else
typedef int zc_sync_point_none; /* a translation unit is not empty */
#endif
