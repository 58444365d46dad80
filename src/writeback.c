/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * writeback.c - one write of dirty pages, from claim to completion.
 *
 *     isolated pages --sort--> groups by object and page >> group_shift
 *     group: claim each page and its dirty neighbours     LIVE -> WRITING, version noted
 *            raw bytes: pin the frame;  others: decode into a copy
 *            call the store                               batch.c
 *     completion, on any thread:                          WRITING -> LIVE
 *            version unchanged: clean, then evicted if its reclaimer wanted that
 *            a newer one came:  stays dirty, since the claim
 *            failed:            stays dirty; the tenant backs off; the next flush reports it
 *
 * Order.  WRITING is the only state from which a write completes and claims need LIVE, so a key has
 * one write in flight, and a later version can only be claimed after the earlier write is over.
 *
 * Locks: the shard lock, for claim and completion; none while decoding, calling or waiting.
 */
#include "writeback.h"

#include <errno.h>
#include <stdlib.h>

#include "mathx.h"
#include "sync_point.h"

#define BACKOFF_FIRST_NS UINT64_C(10000000)   /* 10 ms */
#define BACKOFF_MAX_NS   UINT64_C(1000000000) /* 1 s */

bool zc_writeback_blocked(const struct zcache_tenant *t, const struct zc_entry *e)
{
    return zc_entry_tag(e) > atomic_load_explicit(&t->wal_horizon, memory_order_acquire);
}

/* ---- claim --------------------------------------------------------------------------------- */

static bool claimable_locked(struct zcache_tenant *t, const struct zc_entry *e)
{
    return zc_entry_state(e) == ZC_LIVE && zc_entry_has(e, ZC_F_DIRTY) &&
           !zc_entry_has(e, ZC_F_WAITED | ZC_F_CORRUPT) && !zc_writeback_blocked(t, e) &&
           !zc_batch_discarding(t, e->key);
}

/* @version was claimed; a newer one that came since is not what was found damaged. */
static void unclaim(const struct zc_where *w, struct zc_entry *e, uint32_t version, bool corrupt)
{
    zc_lock_acquire(&w->shard->lock);
    zc_entry_become(e, ZC_LIVE);
    atomic_fetch_sub(&w->tenant->n_writing, 1);
    corrupt = corrupt && e->version == version;
    if (corrupt) {
        zc_entry_set(e, ZC_F_CORRUPT);
    }
    zc_page_wake_locked(w, e);
    zc_lock_release(&w->shard->lock);
    if (corrupt) {
        zc_page_report_corrupt(w->tenant, e->key);
    }
    zc_core_unref_entry(w->cache, w->thread, e, w->tenant->account);
}

/* The bytes of a claimed page, into the batch.  In a section.  0; -EBADMSG; -EAGAIN; -ENOMEM. */
static int fetch_bytes(const struct zc_where *w,
                       struct zc_entry *e,
                       uint64_t word,
                       struct zc_batch_page *bp,
                       struct zcache_io_page *ip)
{
    uint32_t len = zc_word_sizes(word).raw;
    int rc;

    if (!zc_word_is_same(word) && !zc_page_head_possible(w->cache, zc_word_payload(word))) {
        return -EBADMSG; /* before a buffer is asked for that there may never be */
    }
    if (!zc_word_is_same(word) && zc_payload_is_raw(zc_word_payload(word))) {
        struct zc_payload *p = zc_word_payload(word);

        if (!zc_page_intact(w->cache, p)) {
            return -EBADMSG;
        }
        bp->pin = zc_payload_frame(p);
        atomic_fetch_add(&bp->pin->pins, 1);
        ip->data = zc_payload_data(p);
        ip->len = len;
        return 0;
    }
    rc = zc_batch_buffer(w->cache, len, &bp->copy);
    if (rc != 0) {
        return rc;
    }
    bp->copy_bytes = len;
    do { /* the version cannot change under a same-filled page's reader for ever */
        rc = zc_page_decode(w->cache, w->thread, e, word, bp->copy);
        if (rc == -EAGAIN && !zc_page_same_intact(w, e)) {
            rc = -EBADMSG;
        }
        if (rc == -EAGAIN && atomic_load(&e->payload) != word) {
            rc = -ESTALE;
        }
    } while (rc == -EAGAIN);
    if (rc != 0) {
        zc_batch_buffer_free(w->cache, bp->copy, len);
        bp->copy = NULL;
        return rc;
    }
    ip->data = bp->copy;
    ip->len = len;
    return 0;
}

/*
 * Claims the page of @key and adds it to the batch.  @isolated is a record of it that the caller holds,
 * or NULL: while it is LIVE it is the one, and need not be looked up.
 * 0; -ENOENT there is none to write; -EAGAIN all buffers are out, -ENOMEM: the batch must go as it
 * is; -EBADMSG.
 */
static int claim(struct zc_batch *b,
                 struct zc_thread *th,
                 struct zcache_key key,
                 struct zc_entry *isolated)
{
    struct zc_where w = zc_page_where(b->tenant, th, key);
    struct zc_batch_page *bp = &b->page[b->io.n_pages];
    struct zcache_io_page *ip = &b->io_page[b->io.n_pages];
    struct zc_entry *e;
    uint64_t word = 0;
    int rc;

    ZC_SYNC_POINT("writeback.picked", key);
    *bp = (struct zc_batch_page){0};
    *ip = (struct zcache_io_page){.key = key};
    zc_epoch_stock(th->epoch, 2);
    zc_epoch_enter(th->epoch);
    zc_lock_acquire(&w.shard->lock);
    e = isolated != NULL && zc_entry_state(isolated) == ZC_LIVE
            ? isolated
            : zc_shard_find_locked(w.shard, w.hash, b->tenant->slot, key);
    if (e == NULL || !claimable_locked(b->tenant, e)) {
        zc_lock_release(&w.shard->lock);
        zc_epoch_exit(th->epoch);
        return -ENOENT;
    }
    zc_entry_become(e, ZC_WRITING);
    atomic_fetch_add(&b->tenant->n_writing, 1);
    zc_entry_ref(e);
    bp->entry = e;
    bp->version = e->version;
    bp->parity = atomic_load(&b->tenant->parity) & 1;
    ip->tag = zc_entry_tag(e);
    word = atomic_load_explicit(&e->payload, memory_order_relaxed);
    zc_lock_release(&w.shard->lock);
    ZC_SYNC_POINT("writeback.claimed", key);
    rc = fetch_bytes(&w, e, word, bp, ip);
    zc_epoch_exit(th->epoch);
    if (rc != 0) {
        unclaim(&w, e, bp->version, rc == -EBADMSG);
        return rc == -ESTALE ? -ENOENT : rc;
    }
    b->io.n_pages++;
    return 0;
}

/* ---- completion ---------------------------------------------------------------------------- */

static void note_result(struct zcache_tenant *t, struct zc_batch *b)
{
    uint64_t ns = zc_plat_now_ns() - b->start_ns;
    struct zc_hist *hist = zc_tenant_hist(t, ZCACHE_LATENCY_WRITE);

    if (hist != NULL) {
        zc_hist_add(hist, ns);
    }
    zc_stat_add(t->stat, ZC_C_write_batches, 1);
    zc_stat_add(t->stat, ZC_C_written_pages, b->n_ok);
    if (b->n_failed == 0) {
        atomic_store(&t->failures, 0);
        atomic_store(&t->retry_ns, 0);
        return;
    }
    zc_stat_add(t->stat, ZC_C_write_errors, b->n_failed);
    {
        uint32_t n = atomic_fetch_add(&t->failures, 1);
        uint64_t wait = ZC_MIN(BACKOFF_FIRST_NS << ZC_MIN(n, 10u), BACKOFF_MAX_NS);

        atomic_store(&t->retry_ns, zc_plat_now_ns() + wait);
    }
    zc_tenant_note_error(t, b->error);
    zc_core_log(t->cache, ZCACHE_LOG_ERROR, "store.write",
                "tenant %s: %u of %zu pages could not be written, error %d; they stay in memory",
                t->name, b->n_failed, b->io.n_pages, b->error);
}

/* Evicts a page that was written for that purpose and that nobody has used since. */
static void evict_written_locked(const struct zc_where *w, struct zc_batch *b, struct zc_entry *e)
{
    uint64_t word = atomic_load_explicit(&e->payload, memory_order_relaxed);

    if (zc_entry_has(e, ZC_F_DIRTY | ZC_F_WAITED) || zc_word_pinned(word) ||
        atomic_load_explicit(&e->referenced, memory_order_relaxed) != 0) {
        return;
    }
    b->freed_bytes += zc_word_sizes(word).allocated + zc_pool_round(sizeof(*e));
    b->n_evicted++;
    zc_page_evict_locked(w, e);
}

static void finish_page(struct zc_batch *b, struct zc_thread *th, size_t i)
{
    struct zc_batch_page *bp = &b->page[i];
    struct zc_entry *e = bp->entry;
    struct zc_where w = zc_page_where_entry(b->cache, th, e);
    int status = b->io_page[i].status;

    if (bp->pin != NULL) {
        zc_core_unpin(b->cache, bp->pin);
    }
    if (bp->copy != NULL) {
        zc_batch_buffer_free(b->cache, bp->copy, bp->copy_bytes);
        bp->copy = NULL;
    }
    zc_epoch_stock(th->epoch, 4);
    zc_lock_acquire(&w.shard->lock);
    zc_entry_become(e, ZC_LIVE);
    atomic_fetch_sub(&w.tenant->n_writing, 1);
    if (status != 0) {
        b->n_failed++;
        b->error = b->error != 0 ? b->error : status;
    } else if (e->version == bp->version) {
        b->n_ok++;
        zc_page_clean_locked(&w, e);
    } else {
        b->n_ok++;
        zc_page_still_dirty_locked(&w, e, bp->parity);
        zc_stat_add(w.tenant->stat, ZC_C_write_superseded, 1);
    }
    if (status == 0) {
        zc_stat_add(w.tenant->stat, ZC_C_written_bytes, b->io_page[i].len);
    }
    zc_page_wake_locked(&w, e);
    if (bp->evict && status == 0) {
        evict_written_locked(&w, b, e);
    }
    zc_lock_release(&w.shard->lock);
    if (bp->isolated) {
        zc_lru_putback(w.tenant->lru[zc_entry_node(e)], e, true); /* not if it is gone */
        zc_core_unref_entry(b->cache, th, e, w.tenant->account);  /* the reclaimer's */
    }
    zc_core_unref_entry(b->cache, th, e, w.tenant->account);
}

static void finish_write(struct zc_batch *b, struct zc_thread *th)
{
    atomic_store(&b->tenant->unbarriered, 1); /* before a flush can see them clean */
    for (size_t i = 0; i < b->io.n_pages; i++) {
        finish_page(b, th, i);
    }
    ZC_SYNC_POINT("writeback.cleaned", b->io_page[0].key);
    note_result(b->tenant, b);
    zc_core_maintain(b->cache, th);
}

/* ---- handing over -------------------------------------------------------------------------- */

static int compare_entries(const void *a, const void *b)
{
    const struct zc_entry *x = *(struct zc_entry *const *)a;
    const struct zc_entry *y = *(struct zc_entry *const *)b;

    if (x->key.object != y->key.object) {
        return x->key.object < y->key.object ? -1 : 1;
    }
    return x->key.page < y->key.page ? -1 : x->key.page > y->key.page;
}

static int compare_io(const void *a, const void *b)
{
    const struct zcache_io_page *x = a;
    const struct zcache_io_page *y = b;

    return x->key.page < y->key.page ? -1 : x->key.page > y->key.page;
}

static bool same_group(const struct zcache_tenant *t, struct zcache_key a, struct zcache_key b)
{
    unsigned shift = t->store->cb.group_shift;

    return a.object == b.object && a.page >> shift == b.page >> shift;
}

static bool in_batch(const struct zc_batch *b, uint64_t page)
{
    for (size_t i = 0; i < b->io.n_pages; i++) {
        if (b->io_page[i].key.page == page) {
            return true;
        }
    }
    return false;
}

/* Dirty pages of the same group come along: one larger write instead of several small ones. */
static void add_neighbours(struct zc_batch *b, struct zc_thread *th, unsigned room)
{
    struct zcache_key key = b->io_page[0].key;
    unsigned span = 1u << b->store->cb.group_shift;
    uint64_t first = key.page & ~(uint64_t)(span - 1);

    if (span > 4 * b->cache->opt.batch_pages) {
        return; /* looking up so many keys would cost more than it brings */
    }
    for (unsigned i = 0; i < span && b->io.n_pages < room; i++) {
        int rc;

        key.page = first + i;
        rc = in_batch(b, key.page) ? 0 : claim(b, th, key, NULL);
        if (rc == -EAGAIN || rc == -ENOMEM) {
            return;
        }
    }
}

/* io_page and page are parallel; nearly sorted already, as two sorted runs at most. */
static void sort_batch(struct zc_batch *b)
{
    for (size_t i = 1; i < b->io.n_pages; i++) {
        struct zcache_io_page ip = b->io_page[i];
        struct zc_batch_page bp = b->page[i];
        size_t k = i;

        for (; k > 0 && compare_io(&b->io_page[k - 1], &ip) > 0; k--) {
            b->io_page[k] = b->io_page[k - 1];
            b->page[k] = b->page[k - 1];
        }
        b->io_page[k] = ip;
        b->page[k] = bp;
    }
}

/* One that is not finished goes on without us, and its results are nobody's. */
static void collect(struct zc_writes *result, struct zc_batch *b)
{
    if (!atomic_load(&b->done)) {
        zc_batch_drop(b);
        return;
    }
    result->written += b->n_ok;
    result->failed += b->n_failed;
    result->evicted += b->n_evicted;
    result->freed_bytes += b->freed_bytes;
    result->error = result->error != 0 ? result->error : b->error;
    zc_batch_drop(b);
}

static void collect_first(struct zc_writes *result)
{
    collect(result, result->out[0]);
    for (unsigned i = 1; i < result->n_out; i++) {
        result->out[i - 1] = result->out[i];
    }
    result->n_out--;
}

int zc_writeback_harvest(struct zc_writes *result, uint64_t deadline_ns)
{
    int rc = 0;

    while (result->n_out > 0) {
        if (zc_batch_wait(result->out[0], deadline_ns) != 0) {
            rc = -ETIMEDOUT;
        }
        collect_first(result);
    }
    return rc;
}

/* Waits until a write may be handed over.  The room in pages; 0 if there is none in time. */
static unsigned wait_room(struct zcache *cache, struct zc_writes *result, uint64_t deadline_ns)
{
    unsigned room = zc_batch_room(cache);
    bool in_time = deadline_ns != 0;
    uint64_t seq;

    if (room > 0 && result->n_out < ZC_WRITES_OUT) {
        return room;
    }
    if (deadline_ns != 0 && result->n_out > 0) {
        (void)zc_batch_wait(result->out[0], deadline_ns);
        collect_first(result);
    }
    if (result->n_out == ZC_WRITES_OUT) {
        return 0;
    }
    seq = zc_progress_begin(cache, ZC_FOR_ANY);
    while ((room = zc_batch_room(cache)) == 0 && in_time) {
        in_time = zc_progress_wait(cache, ZC_FOR_ANY, &seq, deadline_ns);
    }
    zc_progress_end(cache, ZC_FOR_ANY);
    return room;
}

/* One group: from pages[0], as many as belong to it.  How many were used up. */
static unsigned write_group(struct zcache_tenant *t,
                            struct zc_thread *th,
                            struct zc_entry **pages,
                            unsigned n,
                            bool evict,
                            uint64_t deadline_ns,
                            struct zc_writes *result)
{
    const struct zcache_key first = pages[0]->key; /* a page may be gone once it was put back */
    unsigned room = wait_room(t->cache, result, deadline_ns);
    struct zc_batch *b;
    unsigned used = 0;

    if (room == 0 || zc_batch_make(t, ZCACHE_IO_WRITE, finish_write, deadline_ns, &b) != 0) {
        return 0;
    }
    if (!zc_batch_turn(b, deadline_ns)) {
        zc_batch_drop(b);
        return 0;
    }
    while (used < n && b->io.n_pages < room && same_group(t, first, pages[used]->key)) {
        struct zc_entry *e = pages[used];
        int rc = claim(b, th, e->key, e);

        if ((rc == -EAGAIN || rc == -ENOMEM) && b->io.n_pages > 0) {
            break;
        }
        used++;
        if (rc != 0) {
            result->busy++;
            result->no_memory += rc == -ENOMEM ? 1 : 0;
            zc_page_putback(t->cache, th, e, true);
        } else if (b->page[b->io.n_pages - 1].entry != e) {
            /* The key has a new record: write that one; ours is dead. */
            zc_page_putback(t->cache, th, e, true);
        } else {
            b->page[b->io.n_pages - 1].isolated = true;
            b->page[b->io.n_pages - 1].evict = evict;
        }
        ZC_SYNC_POINT("writeback.next", first);
    }
    if (b->io.n_pages == 0) {
        zc_batch_drop(b);
        return used;
    }
    add_neighbours(b, th, room);
    sort_batch(b);
    result->out[result->n_out++] = b;
    zc_batch_call(b, th);
    if (atomic_load(&b->done)) {
        result->n_out--;
        collect(result, b);
    }
    return used;
}

void zc_writeback_pages(struct zcache_tenant *t,
                        struct zc_thread *th,
                        struct zc_entry **pages,
                        unsigned n,
                        bool evict,
                        uint64_t deadline_ns,
                        struct zc_writes *result)
{
    unsigned done = 0;

    qsort(pages, n, sizeof(pages[0]), compare_entries);
    while (done < n) {
        unsigned used = write_group(t, th, pages + done, n - done, evict, deadline_ns, result);

        if (used == 0) {
            break;
        }
        done += used;
    }
    for (; done < n; done++) {
        result->busy++;
        zc_page_putback(t->cache, th, pages[done], true);
    }
}
