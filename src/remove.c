/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * remove.c - delete and truncate.
 *
 *   1. announce the discard, if the store has one: no write and no load of the key starts any more
 *   2. under the shard lock: wait for a write in flight, cancel a load, unlink
 *   3. call the store's discard, withdraw the announcement
 *
 * A put that comes between 2 and 3 is a later version.  It stays, and cannot reach the store before
 * the discard is over, so the discard cannot take it away there.
 *
 * Locks: the shard lock in step 2; truncate walks the index, one bucket at a time.
 */
#include "remove.h"

#include <errno.h>

#include "batch.h"
#include "reclaim.h"
#include "sync_point.h"

#define KEYS 256u

/*
 * Unlinks the page.  0; ZCACHE_MISS; errors of the wait; -EAGAIN: it has a write of a new record now.
 * After a wait the lock is kept: the mark that holds write-back off is gone, and a store that fails
 * every write would be given the page again and again before we look.
 */
static int remove_locked(const struct zc_where *w,
                         struct zcache_key key,
                         bool nowait,
                         uint64_t deadline_ns) ZC_REQUIRES(w->shard->lock);

static int remove_locked(const struct zc_where *w,
                         struct zcache_key key,
                         bool nowait,
                         uint64_t deadline_ns)
{
    struct zc_entry *e = zc_shard_find_locked(w->shard, w->hash, w->tenant->slot, key);
    int rc;

    if (e != NULL && zc_entry_state(e) == ZC_WRITING) {
        rc = zc_page_wait_locked(w, e, nowait, deadline_ns);
        if (rc != 0) {
            return rc;
        }
        e = zc_shard_find_locked(w->shard, w->hash, w->tenant->slot, key);
    }
    if (e == NULL) {
        return ZCACHE_MISS;
    }
    if (zc_entry_state(e) == ZC_WRITING) {
        return -EAGAIN;
    }
    rc = zc_entry_state(e) == ZC_LOADING ? ZCACHE_MISS : 0;
    zc_page_unlink_locked(w, e);
    return rc;
}

int zc_remove_key(struct zcache_tenant *t,
                  struct zc_thread *th,
                  struct zcache_key key,
                  bool nowait,
                  uint64_t deadline_ns)
{
    struct zc_where w = zc_page_where(t, th, key);
    int rc;

    do {
        ZC_SYNC_POINT("remove.looks", key);
        zc_epoch_stock(th->epoch, 4);
        zc_lock_acquire(&w.shard->lock);
        rc = remove_locked(&w, key, nowait, deadline_ns);
        zc_lock_release(&w.shard->lock);
    } while (rc == -EAGAIN);
    return rc;
}

int zc_remove_load(struct zcache_tenant *t, struct zc_thread *th, struct zcache_key key)
{
    struct zc_where w = zc_page_where(t, th, key);
    int rc = ZCACHE_MISS;
    struct zc_entry *e;

    zc_epoch_stock(th->epoch, 4);
    zc_lock_acquire(&w.shard->lock);
    e = zc_shard_find_locked(w.shard, w.hash, t->slot, key);
    if (e != NULL && zc_entry_state(e) == ZC_LOADING) {
        zc_page_unlink_locked(&w, e);
    } else if (e != NULL) {
        rc = ZCACHE_EXISTS;
    }
    zc_lock_release(&w.shard->lock);
    return rc;
}

/* ---- discard ------------------------------------------------------------------------------- */

static bool has_discard(const struct zcache_tenant *t, unsigned flags)
{
    return (flags & ZCACHE_NOIO) == 0 && t->store != NULL && t->store->cb.discard != NULL;
}

/* Announces it; a full cache makes room for the batch. */
static int announce(struct zcache_tenant *t,
                    struct zc_thread *th,
                    struct zcache_key key,
                    bool range,
                    bool nowait,
                    uint64_t deadline_ns,
                    struct zc_batch **out)
{
    int rc;

    do {
        rc = zc_batch_discard_begin(t, th, key, range, nowait ? 0 : deadline_ns, out);
    } while (rc == -ENOMEM && !nowait && zc_reclaim_metadata(t->cache, th, deadline_ns));
    return rc;
}

/* ---- delete -------------------------------------------------------------------------------- */

static void count_delete(struct zcache_tenant *t, int rc)
{
    zc_stat_add(t->stat,
                rc == 0  ? ZC_C_delete_hits
                : rc > 0 ? ZC_C_delete_misses
                         : ZC_C_delete_errors,
                1);
}

int zc_delete(struct zcache_tenant *t, struct zc_thread *th, struct zcache_key key, unsigned flags)
{
    bool nowait = (flags & ZCACHE_NOWAIT) != 0;
    uint64_t deadline = zc_plat_deadline_ns(t->cache->opt.max_stall_ms);
    struct zc_batch *b = NULL;
    int rc = 0;

    if (has_discard(t, flags)) {
        rc = announce(t, th, key, false, nowait, deadline, &b);
    }
    if (rc == 0) {
        rc = zc_remove_key(t, th, key, nowait, deadline);
    }
    count_delete(t, rc); /* by what became of the page here */
    if (b != NULL) {
        int discard = zc_batch_discard_end(b, th, rc >= 0, deadline);

        rc = discard < 0 ? discard : rc;
    }
    zc_core_maintain(t->cache, th);
    return rc;
}

/* ---- truncate ------------------------------------------------------------------------------ */

struct match {
    uint32_t slot;
    uint64_t object;
    uint64_t first_page;
    struct zcache_key key[KEYS];
    unsigned n;
};

static int match_entry(void *ctx, struct zc_entry *e)
{
    struct match *m = ctx;

    if (zc_entry_slot(e) == m->slot && e->key.object == m->object && e->key.page >= m->first_page) {
        if (m->n == KEYS) {
            return 1;
        }
        m->key[m->n++] = e->key;
    }
    return 0;
}

static int remove_range(struct zcache_tenant *t,
                        struct zc_thread *th,
                        uint64_t object,
                        uint64_t first_page,
                        uint64_t deadline_ns)
{
    struct match m = {.slot = t->slot, .object = object, .first_page = first_page};
    struct zc_index_cursor cursor = {0, 0};
    bool more = true;

    while (more) {
        m.n = 0;
        more = zc_index_walk(t->cache->index, &cursor, match_entry, &m) != 0;
        for (unsigned i = 0; i < m.n; i++) {
            int rc = zc_remove_key(t, th, m.key[i], false, deadline_ns);

            if (rc < 0) {
                return rc;
            }
            zc_stat_add(t->stat, ZC_C_truncated, rc == 0 ? 1 : 0);
        }
        zc_core_maintain(t->cache, th);
    }
    return 0;
}

int zc_truncate(struct zcache_tenant *t, struct zc_thread *th, uint64_t object, uint64_t first_page)
{
    uint64_t deadline = zc_plat_deadline_ns(t->cache->opt.max_stall_ms);
    struct zcache_key first = {object, first_page};
    struct zc_batch *b = NULL;
    int rc = 0;

    if (has_discard(t, 0)) {
        rc = announce(t, th, first, true, false, deadline, &b);
    }
    if (rc == 0) {
        rc = remove_range(t, th, object, first_page, deadline);
    }
    if (b != NULL) {
        int discard = zc_batch_discard_end(b, th, rc == 0, deadline);

        rc = rc != 0 ? rc : discard;
    }
    return rc;
}
