/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flush.c - makes the store have what was put before.
 *
 *   1. begin    one flush of a tenant at a time
 *   2. turn     pages that become dirty from now on have the other parity: they are the next flush's
 *   3. write    list by list, until no page of the parity left behind is dirty
 *   4. wait     for deletes that have taken dirty pages away and have not told the store yet
 *   5. barrier  for what was written by this flush, and by reclaim, and discarded, since the last one
 *   6. end
 *
 * A dirty page has the parity of its tenant at the time when the store began to lack something of it
 * (page.c).  A page that is put again while it is dirty keeps its parity, so that the flush writes the
 * newer version in place of the older one; a page that is put again while its write is under way is
 * dirty only since the claim for that write.  So what a flush returns 0 for is in the store, in that
 * version or a newer one, and pages that are put again and again do not keep it from ending.
 *
 * Pages that cannot be written now (past the WAL horizon, damaged) or need not be (a tag above
 * @up_to_tag) stay behind with their parity; the next flush writes those first, before it turns.
 * Whether only such pages are left is found by a walk over the index, since pages are not always on a
 * list: a reclaimer may have them, or the store.
 *
 * Locks: the shard lock to look at a page; none while writing or waiting.
 */
#include "flush.h"

#include <errno.h>

#include "mathx.h"
#include "reclaim.h"
#include "sync_point.h"
#include "writeback.h"

#define FLUSH_BATCH 64u
#define RETRY_MS    10u /* look again after this time even if nobody signalled progress */
#define MORE        1   /* between results: there is more to write */

/* A flush of one tenant under way. */
struct flush {
    struct zcache_tenant *t;
    struct zc_thread *th;
    uint64_t up_to_tag;
    uint64_t deadline_ns;
};

/* ---- one pass over the lists --------------------------------------------------------------- */

static bool wanted_locked(const struct flush *f, const struct zc_entry *e)
{
    return zc_entry_tag(e) <= f->up_to_tag && !zc_writeback_blocked(f->t, e) &&
           !zc_entry_has(e, ZC_F_CORRUPT);
}

/* Puts back what cannot be written or is not wanted; the rest is moved to the front. */
static unsigned pick_wanted(const struct flush *f, struct zc_entry **pages, unsigned n)
{
    unsigned keep = 0;

    for (unsigned i = 0; i < n; i++) {
        struct zc_where w = zc_page_where_entry(f->t->cache, f->th, pages[i]);
        bool wanted;

        zc_lock_acquire(&w.shard->lock);
        wanted = wanted_locked(f, pages[i]);
        zc_lock_release(&w.shard->lock);
        if (wanted) {
            pages[keep++] = pages[i];
        } else {
            zc_page_putback(f->t->cache, f->th, pages[i], true);
        }
    }
    return keep;
}

static void write_list(const struct flush *f,
                       struct zc_lru *lru,
                       unsigned list,
                       struct zc_writes *writes)
{
    uint64_t budget = zc_lru_length(lru, list);
    struct zc_entry *pages[FLUSH_BATCH];

    while (budget > 0) {
        unsigned n = zc_lru_isolate(lru, list, ZC_ISOLATE_DIRTY, &budget, pages, FLUSH_BATCH);

        n = pick_wanted(f, pages, n);
        zc_writeback_pages(f->t, f->th, pages, n, false, f->deadline_ns, writes);
    }
}

static struct zc_writes write_lists(const struct flush *f)
{
    struct zc_writes writes = {0};

    for (unsigned node = 0; node < f->t->cache->topo.n_nodes; node++) {
        for (unsigned list = 0; list < ZC_LISTS; list++) {
            write_list(f, f->t->lru[node], list, &writes);
        }
    }
    (void)zc_writeback_harvest(&writes, f->deadline_ns);
    return writes;
}

/* ---- what is left -------------------------------------------------------------------------- */

struct left {
    const struct flush *flush;
    uint32_t parity;
    uint64_t wanted;
    uint64_t blocked; /* past the WAL horizon */
    uint64_t corrupt;
};

static int count_left(void *ctx, struct zc_entry *e)
{
    struct left *left = ctx;
    const struct flush *f = left->flush;

    if (zc_entry_slot(e) != f->t->slot || !zc_entry_has(e, ZC_F_DIRTY) ||
        zc_entry_has(e, ZC_F_PARITY) != (left->parity != 0) || zc_entry_tag(e) > f->up_to_tag) {
        return 0;
    }
    if (zc_entry_has(e, ZC_F_CORRUPT)) {
        left->corrupt++;
    } else if (zc_writeback_blocked(f->t, e)) {
        left->blocked++;
    } else {
        left->wanted++;
    }
    return 0;
}

/* After a pass: a result, or MORE. */
static int judge(const struct flush *f, uint32_t parity, const struct zc_writes *writes)
{
    if (writes->error != 0) {
        return writes->error;
    }
    if (atomic_load(&f->t->n_dirty[parity]) == 0) {
        return 0;
    }
    if (writes->written == 0 && writes->no_memory > 0) {
        return -ENOMEM;
    }
    if (writes->written == 0 && writes->busy == 0) {
        struct left left = {.flush = f, .parity = parity};
        struct zc_index_cursor cursor = {0, 0};

        (void)zc_index_walk(f->t->cache->index, &cursor, count_left, &left);
        if (left.wanted == 0) {
            return left.corrupt > 0 ? -EBADMSG : left.blocked > 0 ? -EAGAIN : 0;
        }
    }
    return zc_plat_now_ns() >= f->deadline_ns ? -ETIMEDOUT : MORE;
}

static int write_parity(const struct flush *f, uint32_t parity)
{
    struct zcache *cache = f->t->cache;
    uint64_t seq = zc_progress_begin(cache, ZC_FOR_ANY);
    int rc = atomic_load(&f->t->n_dirty[parity]) == 0 ? 0 : MORE;

    while (rc == MORE) {
        struct zc_writes writes = write_lists(f);

        rc = judge(f, parity, &writes);
        if (rc == MORE && writes.written == 0) {
            /* They are in other hands: with a reclaimer, in flight, or between two lists. */
            (void)zc_progress_wait(cache, ZC_FOR_ANY, &seq,
                                   ZC_MIN(f->deadline_ns, zc_plat_deadline_ns(RETRY_MS)));
        }
    }
    zc_progress_end(cache, ZC_FOR_ANY);
    return rc;
}

/* ---- one tenant ---------------------------------------------------------------------------- */

static int begin(const struct flush *f)
{
    uint64_t seq = zc_progress_begin(f->t->cache, ZC_FOR_ANY);
    uint32_t free = 0;
    int rc = 0;

    while (!atomic_compare_exchange_strong(&f->t->flushing, &free, 1)) {
        free = 0;
        if (!zc_progress_wait(f->t->cache, ZC_FOR_ANY, &seq, f->deadline_ns)) {
            rc = -ETIMEDOUT;
            break;
        }
    }
    zc_progress_end(f->t->cache, ZC_FOR_ANY);
    return rc;
}

static void end(const struct flush *f)
{
    atomic_store(&f->t->flushing, 0);
    zc_progress_signal(f->t->cache);
}

/* Whether pages were left behind on purpose, so that the flush goes on to those of the other parity. */
static bool may_turn(int left)
{
    return left == 0 || left == -EAGAIN || left == -EBADMSG;
}

static int write_pages(const struct flush *f)
{
    uint32_t old = atomic_load(&f->t->parity) & 1;
    int left;
    int rc;

    if (zc_tenant_dirty(f->t) == 0) {
        return 0;
    }
    if (f->t->store == NULL || f->t->store->cb.write == NULL) {
        return -ENOTSUP;
    }
    /* What an earlier flush left behind has the parity that we turn to. */
    left = write_parity(f, old ^ 1);
    if (!may_turn(left)) {
        return left;
    }
    atomic_store(&f->t->parity, old ^ 1);
    ZC_SYNC_POINT("flush.turned", ((struct zcache_key){0, 0}));
    rc = write_parity(f, old);
    return rc != 0 ? rc : left;
}

/*
 * A barrier that failed may have lost any write before it, for whoever flushes next as well: each of
 * them is told once, and makes a barrier of its own.
 */
static int barrier(const struct flush *f)
{
    struct zcache_tenant *t = f->t;
    int error = 0;
    int rc;

    if (atomic_exchange(&t->unbarriered, 0) == 0 || t->store == NULL ||
        t->store->cb.barrier == NULL) {
        return 0;
    }
    do {
        rc = zc_batch_barrier(t, f->th, f->deadline_ns, &error);
    } while (rc == -ENOMEM && error == 0 && zc_reclaim_metadata(t->cache, f->th, f->deadline_ns));
    if (error != 0) {
        zc_tenant_note_error(t, error);
    }
    if (rc != 0) {
        atomic_store(&t->unbarriered, 1);
    }
    return rc;
}

int zc_flush_pages(struct zcache_tenant *t, struct zc_thread *th, uint64_t deadline_ns)
{
    const struct flush f = {t, th, UINT64_MAX, deadline_ns};
    int rc = begin(&f);

    if (rc == 0) {
        rc = write_pages(&f);
        end(&f);
    }
    return rc;
}

int zc_flush_tenant(struct zcache_tenant *t,
                    struct zc_thread *th,
                    uint64_t up_to_tag,
                    uint64_t deadline_ns)
{
    const struct flush f = {t, th, up_to_tag, deadline_ns};
    int discarded;
    int barred;
    int rc;

    /* In the order in which a page goes from one to the next. */
    if (zc_tenant_dirty(t) == 0 && zc_batch_discards(t->cache) == 0 &&
        atomic_load(&t->unbarriered) == 0 && atomic_load(&t->flushing) == 0) {
        return 0;
    }
    if (zc_batch_serial_self(th, t->store)) {
        return -EDEADLK;
    }
    rc = begin(&f);
    if (rc != 0) {
        return rc;
    }
    do {
        rc = write_pages(&f);
    } while (rc == -ENOMEM && zc_reclaim_metadata(t->cache, th, deadline_ns));
    discarded = zc_batch_wait_discards(t, deadline_ns);
    barred = barrier(&f);
    end(&f);
    if (rc == 0) {
        rc = discarded;
    }
    return rc != 0 ? rc : barred;
}

/* ---- a subtree ----------------------------------------------------------------------------- */

int zc_flush_subtree(struct zcache_tenant *top,
                     struct zc_thread *th,
                     uint64_t up_to_tag,
                     uint64_t deadline_ns)
{
    uint32_t cursor = UINT32_MAX;
    struct zcache_tenant *t;
    int rc = 0;

    while ((t = zc_tenant_next(top, &cursor)) != NULL) {
        int one = zc_flush_tenant(t, th, up_to_tag, deadline_ns);

        rc = rc != 0 ? rc : one;
        zc_tenant_leave(t);
    }
    zc_core_maintain(top->cache, th);
    return rc;
}

int zc_flush(struct zcache_tenant *top,
             struct zc_thread *th,
             uint64_t up_to_tag,
             uint64_t deadline_ns)
{
    int rc = zc_flush_subtree(top, th, up_to_tag, deadline_ns);
    int earlier = atomic_exchange(&top->error, 0);

    return earlier != 0 ? earlier : rc; /* what else is in the way is there next time too */
}
