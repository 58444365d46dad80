/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * advise.c - a page becomes spare, or wanted again.
 *
 * A spare page is on the list of scans, which leave before all others, without marks of uses.  It
 * comes off it by being wanted, which leads to the main queue, since its owner says that it is known;
 * or by being used, which reclaim notices when the page's turn has come.
 *
 * To take the page out and put it again later does the same, and costs a compression each time.
 *
 * Locks: the shard lock, which keeps the record; the list lock below it.
 */
#include "advise.h"

#include "sync_point.h"

int zc_advise(struct zcache_tenant *t,
              struct zc_thread *th,
              struct zcache_key key,
              enum zcache_advice advice)
{
    struct zc_where w = zc_page_where(t, th, key);
    struct zc_entry *e;
    int rc = ZCACHE_MISS;

    ZC_SYNC_POINT("advise.looking", key);
    zc_lock_acquire(&w.shard->lock);
    e = zc_shard_find_locked(w.shard, w.hash, t->slot, key);
    if (e != NULL && zc_entry_resident(e)) {
        zc_lru_advise(t->lru[zc_entry_node(e)], e, advice == ZCACHE_WANTED);
        rc = 0;
    }
    zc_lock_release(&w.shard->lock);
    return rc;
}
