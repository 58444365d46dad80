/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sync points: named places in the code where a test can stop a thread, so that an interleaving
 * happens because the test says so and not by luck.  They exist in the library that tests link
 * (ZCACHE_TEST_HOOKS); elsewhere nothing is left of them.
 *
 * A point stands where no lock is held, since the thread may be stopped there; in an epoch section
 * it may.  Its name is "<module>.<what has just happened>".
 *
 * After RocksDB's TEST_SYNC_POINT.
 */
#ifndef ZC_SYNC_POINT_H
#define ZC_SYNC_POINT_H

#ifdef ZCACHE_TEST_HOOKS
#include <zcache/types.h>

/** zc_sync_point_fn - called by every thread that reaches a point, with the page it is about. */
typedef void zc_sync_point_fn(void *ctx, const char *point, struct zcache_key key);

/** zc_sync_point_listen() - have @fn called; NULL for none.  No thread is at a point meanwhile. */
void zc_sync_point_listen(zc_sync_point_fn *fn, void *ctx);

/** zc_sync_point_reach() - what ZC_SYNC_POINT() does; no lock is held. */
void zc_sync_point_reach(const char *point, struct zcache_key key);

#define ZC_SYNC_POINT(point, key) zc_sync_point_reach(point, key)
#else
#define ZC_SYNC_POINT(point, key) ((void)0)
#endif

#endif /* ZC_SYNC_POINT_H */
