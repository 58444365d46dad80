/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * load.c - read-through.
 *
 *     miss -> reserve entry and largest frame -> insert LOADING entry -> read -> publish, LIVE
 *                                                     |                    `-> miss, error: DEAD
 *                                                     `- others that miss the key wait here
 *
 * A put that meets the LOADING entry publishes into it, a delete or truncate unlinks it; the load
 * sees either by the entry's state and drops what it read.  Waiters learn the result from the entry
 * (tag_or_fill, where ZC_F_LOAD_ENDED says so), so that a failed read fails those who waited for it and
 * nobody else.  An entry that is DEAD for another reason says nothing: its page came and went.
 *
 * The bytes are read into the batch's buffer, which outlives a caller that stops waiting; they
 * become a frame at completion.
 *
 * Locks: the shard lock around each step on an entry; none while reading.
 */
#include "load.h"

#include <errno.h>
#include <string.h>

#include "compact.h"
#include "mathx.h"
#include "reclaim.h"
#include "sync_point.h"

bool zc_load_possible(const struct zcache_tenant *t, unsigned flags)
{
    return (flags & (ZCACHE_NO_LOAD | ZCACHE_NOIO)) == 0 && t->store != NULL &&
           t->store->cb.read != NULL;
}

static size_t reserve_bytes(const struct zcache *cache)
{
    return zc_page_bytes(cache->opt.page_max_bytes, ZC_CODEC_NONE) +
           zc_pool_round(sizeof(struct zc_entry));
}

/* ---- placeholder --------------------------------------------------------------------------- */

/* Waits for another thread's load of the key; the result is the entry's. */
static int wait_for_other(const struct zc_where *w,
                          struct zc_entry *e,
                          unsigned flags,
                          uint64_t deadline_ns) ZC_REQUIRES(w->shard->lock);

static int wait_for_other(const struct zc_where *w,
                          struct zc_entry *e,
                          unsigned flags,
                          uint64_t deadline_ns)
{
    int rc;

    zc_stat_add(w->tenant->stat, ZC_C_load_waits, 1);
    zc_entry_ref(e);
    rc = zc_page_wait_locked(w, e, (flags & ZCACHE_NOWAIT) != 0, deadline_ns);
    if (rc == 0) {
        rc = zc_entry_has(e, ZC_F_LOAD_ENDED) ? (int)(int64_t)atomic_load(&e->tag_or_fill) : 0;
        rc = rc == 0 ? ZC_LOAD_AGAIN : rc;
    }
    zc_core_unref_entry(w->cache, w->thread, e, w->tenant->account);
    return rc;
}

/* 0; -EAGAIN it is being discarded: not now; -EDEADLK by this very thread. */
static int check_discard(const struct zc_batch *b,
                         const struct zc_thread *th,
                         struct zcache_key key)
{
    if (!zc_batch_discarding(b->tenant, key)) {
        return 0;
    }
    return zc_batch_own(th, b->tenant->slot, key) ? -EDEADLK : -EAGAIN;
}

/* 0: the placeholder is in and in the batch; else the page's status. */
static int add_placeholder(struct zc_batch *b,
                           struct zc_thread *th,
                           struct zcache_key key,
                           struct zc_entry *fresh,
                           unsigned flags,
                           uint64_t deadline_ns)
{
    struct zc_where w = zc_page_where(b->tenant, th, key);
    struct zc_entry *e;
    int rc = 0;

    zc_epoch_stock(th->epoch, 4);
    zc_lock_acquire(&w.shard->lock);
    e = zc_shard_find_locked(w.shard, w.hash, b->tenant->slot, key);
    if (e == NULL) {
        rc = check_discard(b, th, key);
        if (rc == 0) {
            zc_entry_ref(fresh);
            zc_page_insert_locked(&w, fresh);
        }
    } else if (zc_entry_state(e) == ZC_LOADING && b->io.n_pages == 0) {
        rc = wait_for_other(&w, e, flags, deadline_ns);
    } else {
        /* There is a page; or a load that we must not wait for while others wait for ours. */
        rc = ZC_LOAD_AGAIN;
    }
    zc_lock_release(&w.shard->lock);
    return rc;
}

static bool same_key(struct zcache_key a, struct zcache_key b)
{
    return a.object == b.object && a.page == b.page;
}

/* Adds a page to the batch.  0; -EAGAIN not now, go with what there is; else its status. */
static int add_page(struct zc_batch *b,
                    struct zc_thread *th,
                    struct zcache_page *page,
                    unsigned flags,
                    uint64_t deadline_ns)
{
    struct zcache *cache = b->cache;
    struct zcache_tenant *t = b->tenant;
    struct zc_batch_page *bp = &b->page[b->io.n_pages];
    unsigned node = t->node >= 0 ? (unsigned)t->node : cache->topo.cpu_node[zc_plat_cpu()];
    struct zc_stall stall = {.deadline_ns = deadline_ns};
    size_t need = reserve_bytes(cache);
    struct zc_entry *fresh = NULL;
    int rc;

    if (b->io.n_pages > 0 && same_key(b->io_page[b->io.n_pages - 1].key, page->key)) {
        return ZC_LOAD_AGAIN; /* also where nothing is kept, so that no placeholder says so */
    }
    *bp = (struct zc_batch_page){0};
    do {
        rc = zc_batch_buffer(cache, cache->opt.page_max_bytes, &bp->copy);
    } while (rc == -ENOMEM && zc_compact_make_room(cache, th, flags, &stall));
    if (rc != 0) {
        return rc;
    }
    bp->copy_bytes = cache->opt.page_max_bytes;
    rc = zc_reclaim_reserve(t, th, need, flags & ~ZC_LOAD_KEEP, &stall);
    if ((rc == -EDQUOT || rc == -ENOSPC) && (flags & ZC_LOAD_KEEP) == 0) {
        /* Read through: no placeholder, nothing is kept.  A delete that has begun has taken the last
         * version away; what the store has until it discards is older. */
        rc = check_discard(b, th, page->key);
    } else if (rc == 0) {
        do {
            fresh = zc_page_new_entry(cache, t, node, page->key);
        } while (fresh == NULL && zc_compact_make_room(cache, th, flags, &stall));
        rc = fresh == NULL ? -ENOMEM : add_placeholder(b, th, page->key, fresh, flags, deadline_ns);
        if (rc != 0) {
            zc_page_free_entry(cache, fresh);
            zc_quota_refund(t->account, need);
            zc_progress_signal(cache);
        }
    }
    if (rc != 0) {
        zc_batch_buffer_free(cache, bp->copy, bp->copy_bytes);
        bp->copy = NULL;
        return rc;
    }
    bp->entry = fresh;
    bp->scan = (flags & ZCACHE_SCAN) != 0;
    bp->keep_raw = (flags & ZCACHE_KEEP_RAW) != 0;
    bp->keep = (flags & ZC_LOAD_KEEP) != 0;
    b->io_page[b->io.n_pages] = (struct zcache_io_page){
        .key = page->key, .buf = bp->copy, .cap = cache->opt.page_max_bytes};
    b->io.n_pages++;
    return 0;
}

/* ---- completion ---------------------------------------------------------------------------- */

/* The version that was read; room for it is part of what was reserved.  False without memory. */
static bool build_version(struct zc_batch *b, size_t i, struct zc_version *v, size_t *used)
{
    const struct zcache_io_page *ip = &b->io_page[i];
    struct zc_payload *p;
    uint64_t fill;

    *v = (struct zc_version){.tier = ZCACHE_TIER_RAW,
                             .scan = b->page[i].scan,
                             .flags = b->page[i].keep_raw ? ZC_F_KEEP_RAW : 0};
    *used = 0;
    if (zc_same_detect(ip->buf, ip->len, &fill)) {
        v->word = zc_word_same((uint32_t)ip->len, fill);
        v->fill = fill;
        return true;
    }
    p = zc_page_new_payload(b->cache, zc_entry_node(b->page[i].entry), b->tenant->account,
                            (uint32_t)ip->len, (uint32_t)ip->len, ZC_CODEC_NONE);
    if (p == NULL) {
        return false;
    }
    zc_page_fill(p, ip->buf);
    v->word = zc_word_of(p);
    *used = zc_page_bytes((uint32_t)ip->len, ZC_CODEC_NONE);
    return true;
}

/*
 * Publishes what was read, or gives up the placeholder, with @result for those who wait for it.
 * What of the reservation was used.
 */
static size_t settle_locked(const struct zc_where *w,
                            struct zc_batch *b,
                            size_t i,
                            const struct zc_version *v,
                            size_t used,
                            int result)
{
    struct zc_entry *e = b->page[i].entry;
    struct zcache_io_page *ip = &b->io_page[i];

    if (zc_entry_state(e) != ZC_LOADING) {
        zc_stat_add(w->tenant->stat, ZC_C_load_cancelled, 1);
        ip->status = ZC_LOAD_AGAIN;
    } else if (v->word != 0) {
        zc_page_publish_locked(w, e, v);
        return used;
    } else {
        atomic_store(&e->tag_or_fill, (uint64_t)(int64_t)result);
        zc_entry_set(e, ZC_F_LOAD_ENDED);
        zc_page_unlink_locked(w, e);
    }
    if (v->word != 0 && !zc_word_is_same(v->word)) {
        zc_page_free_payload(zc_word_payload(v->word));
    }
    return 0;
}

static void count_load(struct zcache_tenant *t, const struct zcache_io_page *ip, bool kept)
{
    if (ip->status == 0) {
        zc_stat_add(t->stat, ZC_C_loaded_pages, 1);
        zc_stat_add(t->stat, ZC_C_load_through, kept ? 0 : 1);
        zc_stat_add(t->stat, ZC_C_loaded_bytes, ip->len);
    } else if (ip->status < 0) {
        zc_stat_add(t->stat, ZC_C_load_errors, 1);
    }
}

static void finish_page(struct zc_batch *b, struct zc_thread *th, size_t i)
{
    struct zcache_io_page *ip = &b->io_page[i];
    struct zc_entry *e = b->page[i].entry; /* NULL: not kept */
    struct zc_where w = zc_page_where(b->tenant, th, ip->key);
    size_t entry_bytes = zc_pool_round(sizeof(*e));
    struct zc_version v = {0};
    size_t used = 0;
    int result;

    if (ip->status == 0 && (ip->len == 0 || ip->len > ip->cap)) {
        ip->status = -EIO;
        zc_core_log(b->cache, ZCACHE_LOG_ERROR, "store.read",
                    "the store says it read %zu bytes of a page; 1 to %zu are possible", ip->len,
                    ip->cap);
    }
    result = ip->status;
    if (ip->status == 0 && e != NULL && !build_version(b, i, &v, &used)) {
        result = ZC_LOAD_AGAIN; /* delivered to the caller only, if that is enough for him */
        ip->status = b->page[i].keep ? -ENOMEM : 0;
    }
    count_load(b->tenant, ip, v.word != 0);
    if (e == NULL) {
        return;
    }
    ZC_SYNC_POINT("load.returned", ip->key);
    zc_epoch_stock(th->epoch, 4);
    zc_lock_acquire(&w.shard->lock);
    used = settle_locked(&w, b, i, &v, used, result);
    zc_lock_release(&w.shard->lock);
    zc_core_unref_entry(b->cache, th, e, w.tenant->account);
    /* The entry's part is refunded with the entry; the frame's, as far as it was not used, now. */
    zc_quota_refund(w.tenant->account, reserve_bytes(b->cache) - entry_bytes - used);
}

static void finish_read(struct zc_batch *b, struct zc_thread *th)
{
    for (size_t i = 0; i < b->io.n_pages; i++) {
        finish_page(b, th, i);
    }
    zc_stat_add(b->tenant->stat, ZC_C_load_batches, 1);
    zc_share_loaded(&b->tenant->share, b->io.n_pages, zc_plat_now_ns() - b->start_ns);
    zc_core_maintain(b->cache, th);
}

/* ---- the caller's side --------------------------------------------------------------------- */

static void deliver(struct zcache_page *page, const struct zcache_io_page *ip)
{
    page->status = ip->status;
    if (ip->status != 0) {
        return;
    }
    if (page->cap != 0 && ip->len > page->cap) {
        page->status = -ENOBUFS;
        return;
    }
    if (page->cap != 0) {
        (void)memcpy(page->buf, ip->buf, ip->len);
    }
    page->len = ip->len;
}

/* Fills one batch from the pages that still need it.  How many were looked at. */
static size_t fill_batch(struct zc_batch *b,
                         struct zc_thread *th,
                         struct zcache_page **pages,
                         size_t n,
                         unsigned flags,
                         uint64_t deadline_ns)
{
    size_t i = 0;

    for (; i < n && b->io.n_pages < b->cache->opt.batch_pages; i++) {
        /* Once we hold a placeholder, others may wait for it: make no wait of our own. */
        unsigned f = b->io.n_pages == 0 ? flags : flags | ZCACHE_NOWAIT | ZCACHE_NOIO;
        int rc = add_page(b, th, pages[i], f, deadline_ns);

        if (rc == -EAGAIN || (b->io.n_pages > 0 && rc != 0 && rc != ZC_LOAD_AGAIN)) {
            break;
        }
        if (rc == 0) {
            b->page[b->io.n_pages - 1].owner = pages[i];
        }
        pages[i]->status = rc;
    }
    return i;
}

static size_t load_some(struct zcache_tenant *t,
                        struct zc_thread *th,
                        struct zcache_page **pages,
                        size_t n,
                        unsigned flags,
                        uint64_t deadline_ns)
{
    bool nowait = (flags & ZCACHE_NOWAIT) != 0;
    struct zc_batch *b;
    size_t looked;
    int rc;

    do {
        rc = zc_batch_make(t, ZCACHE_IO_READ, finish_read, nowait ? 0 : deadline_ns, &b);
    } while (rc == -ENOMEM && !nowait && zc_reclaim_metadata(t->cache, th, deadline_ns));
    if (rc != 0) {
        pages[0]->status = rc;
        return 1;
    }
    looked = fill_batch(b, th, pages, n, flags, deadline_ns);
    if (b->io.n_pages > 0) {
        zc_batch_call(b, th);
        rc = zc_batch_wait(b, nowait ? 0 : deadline_ns); /* what is not awaited fills the cache */
        for (size_t i = 0; i < b->io.n_pages; i++) {
            if (rc == 0) {
                deliver(b->page[i].owner, &b->io_page[i]);
            } else {
                b->page[i].owner->status = rc;
            }
        }
    }
    zc_batch_drop(b);
    return looked;
}

void zc_load_pages(struct zcache_tenant *t,
                   struct zc_thread *th,
                   struct zcache_page **pages,
                   size_t n,
                   unsigned flags,
                   uint64_t deadline_ns)
{
    bool self = zc_batch_serial_self(th, t->store);
    size_t done = 0;

    while (done < n) {
        size_t looked = 1;

        if (self) {
            pages[done]->status = -EDEADLK;
        } else {
            looked = load_some(t, th, pages + done, n - done, flags, deadline_ns);
        }
        if (looked == 0) { /* no buffer for a read: others' must end first */
            uint64_t seq = zc_progress_begin(t->cache, ZC_FOR_ANY);

            if ((flags & ZCACHE_NOWAIT) != 0 || zc_plat_now_ns() >= deadline_ns ||
                zc_batch_in_callback(th)) {
                pages[done]->status = (flags & ZCACHE_NOWAIT) != 0 ? -EBUSY : -ETIMEDOUT;
                looked = 1;
            } else {
                (void)zc_progress_wait(t->cache, ZC_FOR_ANY, &seq,
                                       ZC_MIN(deadline_ns, zc_plat_deadline_ns(10)));
            }
            zc_progress_end(t->cache, ZC_FOR_ANY);
        }
        done += looked;
    }
}
