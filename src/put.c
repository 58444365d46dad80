/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * put.c - a new version of a page, step by step:
 *
 *   1. prepare   same-filled?  else reserve a frame (shrinking what is in the way), copy, checksum
 *   2. publish   under the shard lock: into the entry that is there, or a new one
 *   3. settle    refund what was not used; wake the shrinker if marks were passed
 *
 * Nothing can fail in 2 and after it.  A put that fails in 1 removes the older version, and waits
 * for a write of it that is in flight, because its caller will now write the page himself.
 *
 * With raw_percent 0 step 1 compresses, in the caller.
 *
 * Locks: the shard lock in step 2, the list lock below it.
 */
#include "put.h"

#include <errno.h>

#include "batch.h"
#include "compact.h"
#include "mathx.h"
#include "reclaim.h"
#include "remove.h"
#include "sync_point.h"
#include "tier.h"

#define LOOK_EVERY                                                                                 \
    16u /* puts of a thread between two looks at the raw surplus, which takes a lock */
#define SURPLUS_MIN (UINT64_C(64) << 10)
#define HELP_BYTES  (UINT64_C(8) << 10)

/* A put under way. */
struct put {
    struct zc_where w;
    struct zcache_key key;
    const void *data;
    uint32_t len;
    unsigned flags;
    unsigned node;
    struct zc_stall *stall;
    size_t reserved; /* on the tenant's account, not used yet */
    struct zc_version v;
    bool replaces;          /* there was an older version when we looked */
    bool moves;             /* and it lay on another node */
    struct zc_entry *fresh; /* a record, in case the key is new */
};

/* ---- 1. prepare ---------------------------------------------------------------------------- */

/*
 * Whether there is an older version.  Asked before the copy, so that the lines which the
 * publication will touch are on their way from memory meanwhile.
 */
static bool cached(struct put *p)
{
    struct zc_epoch_record *epoch = p->w.thread->epoch;
    struct zc_entry *e;
    bool found;

    zc_epoch_enter(epoch);
    e = zc_index_find(p->w.cache->index, p->w.hash, p->w.tenant->slot, p->key);
    found = e != NULL && zc_entry_resident(e);
    p->moves = found && zc_entry_node(e) != p->node;
    if (found) {
        uint64_t word = atomic_load_explicit(&e->payload, memory_order_relaxed);

        if (!zc_word_is_same(word)) {
            __builtin_prefetch(zc_word_payload(word), 1);
        }
    }
    zc_epoch_exit(epoch);
    return found;
}

static int reserve(struct put *p, size_t bytes)
{
    struct zc_account *account = p->w.tenant->account;
    int rc = zc_reclaim_reserve(p->w.tenant, p->w.thread, bytes, p->flags, p->stall);

    /* What is replaced is freed right after: that is what the slack is for. */
    if ((rc == -EDQUOT || rc == -ENOSPC) && cached(p) &&
        zc_quota_reserve(account, bytes, ZC_QUOTA_RECLAIM) == NULL) {
        rc = 0;
    }
    if (rc == 0) {
        p->reserved += bytes;
    }
    return rc;
}

static void refund(struct put *p, size_t bytes)
{
    if (bytes > 0) {
        zc_quota_refund(p->w.tenant->account, bytes);
        p->reserved -= bytes;
        zc_progress_signal(p->w.cache);
    }
}

/* Compresses into scratch.  Stored bytes; 0 to keep the page raw. */
static size_t encode(struct put *p, uint8_t codec)
{
    char *scratch = zc_thread_scratch(p->w.thread);

    size_t n;

    if (scratch == NULL || codec == ZC_CODEC_NONE ||
        (p->flags & (ZCACHE_INCOMPRESSIBLE | ZCACHE_KEEP_RAW)) != 0) {
        return 0;
    }
    n = zc_codec_encode(p->w.cache->codecs, &p->w.thread->codecs, codec, scratch,
                        p->len - p->len / 8, p->data, p->len);
    return n == ZC_CODEC_NO_MEMORY ? 0 : n;
}

/* The room is reserved: the raw form's, which is the worst case. */
static int build(struct put *p, uint32_t stored, uint8_t codec, const void *bytes)
{
    struct zc_payload *payload;

    do {
        payload =
            zc_page_new_payload(p->w.cache, p->node, p->w.tenant->account, p->len, stored, codec);
    } while (payload == NULL && zc_compact_make_room(p->w.cache, p->w.thread, p->flags, p->stall));
    if (payload == NULL) {
        return -ENOMEM;
    }
    zc_page_fill(payload, bytes);
    p->v.word = zc_word_of(payload);
    return 0;
}

static int prepare_payload(struct put *p)
{
    struct zcache *cache = p->w.cache;
    int rc = reserve(p, zc_page_bytes(p->len, ZC_CODEC_NONE));

    if (rc != 0) {
        return rc;
    }
    if (ZC_UNLIKELY(cache->opt.raw_percent == 0)) {
        uint8_t codec = atomic_load_explicit(&cache->codec[ZCACHE_TIER_FAST], memory_order_relaxed);
        size_t stored = encode(p, codec);

        p->v.tier = ZCACHE_TIER_FAST;
        if (stored > 0) {
            return build(p, (uint32_t)stored, codec, zc_thread_scratch(p->w.thread));
        }
    }
    return build(p, p->len, ZC_CODEC_NONE, p->data);
}

static int prepare(struct put *p)
{
    p->v.scan = (p->flags & ZCACHE_SCAN) != 0;
    p->v.tier = ZCACHE_TIER_RAW;
    if ((p->flags & ZCACHE_INCOMPRESSIBLE) != 0) {
        p->v.flags |= ZC_F_INCOMPRESSIBLE;
    }
    if ((p->flags & ZCACHE_KEEP_RAW) != 0) {
        p->v.flags |= ZC_F_KEEP_RAW;
    }
    if (zc_same_detect(p->data, p->len, &p->v.fill) && zc_same_possible(p->v.fill, p->v.tag)) {
        p->v.word = zc_word_same(p->len, p->v.fill);
        return 0;
    }
    return prepare_payload(p);
}

static int prepare_entry(struct put *p)
{
    size_t bytes = zc_pool_round(sizeof(*p->fresh));
    int rc = reserve(p, bytes);

    if (rc != 0) {
        return rc;
    }
    do {
        p->fresh = zc_page_new_entry(p->w.cache, p->w.tenant, p->node, p->key);
    } while (p->fresh == NULL && zc_compact_make_room(p->w.cache, p->w.thread, p->flags, p->stall));
    if (p->fresh == NULL) {
        refund(p, bytes);
        return -ENOMEM;
    }
    return 0;
}

/* A record on the node that the page moves to, if there is room: it can as well stay where it is. */
static void prepare_move(struct put *p)
{
    size_t bytes = zc_pool_round(sizeof(*p->fresh));

    if (zc_quota_reserve(p->w.tenant->account, bytes, ZC_QUOTA_PUT) != NULL) {
        return;
    }
    p->reserved += bytes;
    p->fresh = zc_page_new_entry(p->w.cache, p->w.tenant, p->node, p->key);
    if (p->fresh == NULL) {
        refund(p, bytes);
    }
}

/* ---- 2. publish ---------------------------------------------------------------------------- */

/* The page's record on our node; the old one if somebody holds it. */
static struct zc_entry *move_locked(struct put *p, struct zc_entry *e)
{
    struct zc_entry *fresh = p->fresh;

    if (fresh == NULL || zc_entry_node(e) == p->node || zc_entry_state(e) != ZC_LIVE ||
        !zc_page_move_record_locked(&p->w, e, fresh)) {
        return e;
    }
    p->fresh = NULL;
    p->reserved -= zc_pool_round(sizeof(*fresh));
    return fresh;
}

/* 0: a new key; 1: replaced; ZCACHE_EXISTS; -EAGAIN: the key is not there and there is no record.
 * */
static int try_publish(struct put *p)
{
    struct zc_shard *shard = p->w.shard;
    struct zc_entry *e;
    int rc = 0;

    zc_epoch_stock(p->w.thread->epoch, 4);
    zc_lock_acquire(&shard->lock);
    e = zc_shard_find_locked(shard, p->w.hash, p->w.tenant->slot, p->key);
    if (e != NULL && zc_entry_resident(e)) {
        rc = (p->flags & ZCACHE_IF_ABSENT) != 0 ? ZCACHE_EXISTS : 1;
        e = rc == 1 ? move_locked(p, e) : e;
    } else if (e == NULL && p->fresh == NULL) {
        rc = -EAGAIN;
    } else if (e == NULL) {
        e = p->fresh;
        p->fresh = NULL;
        p->reserved -= zc_pool_round(sizeof(*e));
        zc_page_insert_locked(&p->w, e);
    }
    if (rc == 0 || rc == 1) {
        zc_page_publish_locked(&p->w, e, &p->v);
        p->reserved -= zc_word_sizes(p->v.word).allocated;
        p->v.word = 0;
    }
    zc_lock_release(&shard->lock);
    return rc;
}

static int publish(struct put *p)
{
    int rc = 0;

    if (!p->replaces) {
        rc = prepare_entry(p);
    } else if (ZC_UNLIKELY(p->moves)) {
        prepare_move(p);
    }
    while (rc == 0 || rc == -EAGAIN) {
        ZC_SYNC_POINT("put.prepared", p->key);
        rc = try_publish(p);
        if (rc != -EAGAIN) {
            break;
        }
        rc = prepare_entry(p);
    }
    return rc;
}

/* ---- 3. settle ----------------------------------------------------------------------------- */

static void drop_unused(struct put *p)
{
    if (p->v.word != 0 && !zc_word_is_same(p->v.word)) {
        zc_page_free_payload(zc_word_payload(p->v.word));
    }
    zc_page_free_entry(p->w.cache, p->fresh);
    refund(p, p->reserved);
}

static void look_ahead(struct zcache_tenant *t, struct zc_thread *th)
{
    struct zcache *cache = t->cache;
    uint64_t charge = zc_quota_charge(&cache->account);
    uint64_t limit = zc_quota_limit(&cache->account);
    uint64_t surplus;
    bool pressed = charge > limit / 100 * cache->opt.background_percent;

    if (pressed) {
        zc_bell_ring(cache, ZC_BELL_PRESSURE);
    }
    if (++th->puts % LOOK_EVERY != 0 || !zc_tenant_past_start(t)) {
        return;
    }
    surplus = zc_reclaim_surplus(t);
    if (surplus > SURPLUS_MIN) {
        zc_bell_ring(cache, ZC_BELL_AHEAD);
    }
    if (pressed && surplus > zc_quota_charge(t->account) / 2 && !zc_batch_in_callback(th)) {
        /* The shrinker falls behind: a little help, bounded, from who makes the work. */
        struct zc_reclaim r =
            zc_reclaim_begin(cache, th, t, ZC_RECLAIM_DEMOTE_ONLY | ZC_RECLAIM_STREAM, 0);

        (void)zc_reclaim_tenant(&r, t, HELP_BYTES);
        (void)zc_reclaim_end(&r, 0);
        zc_stat_add(t->stat, ZC_C_helper_demotions, r.got.demoted_pages);
    }
}

/*
 * A failed put leaves no older version, neither here nor on its way to the store, unless its caller
 * has no other place for the page.  One that was to insert only found none; what has come meanwhile
 * is not its to remove.
 */
static int fail(struct put *p, int rc)
{
    int gone;

    if (rc == -EBUSY || (p->flags & ZCACHE_KEEP_OLD) != 0) {
        return rc;
    }
    ZC_SYNC_POINT("put.refused", p->key);
    if ((p->flags & ZCACHE_IF_ABSENT) != 0) {
        gone = zc_remove_load(p->w.tenant, p->w.thread, p->key);
    } else {
        gone = zc_remove_key(p->w.tenant, p->w.thread, p->key, (p->flags & ZCACHE_NOWAIT) != 0,
                             zc_stall_deadline(p->stall));
    }
    if (gone == ZCACHE_EXISTS) {
        return gone;
    }
    if (gone == 0) {
        zc_stat_add(p->w.tenant->stat, ZC_C_dropped, 1);
    }
    if (gone < 0) {
        return gone == -EDEADLK ? gone : -EBUSY;
    }
    return (p->flags & ZCACHE_BEST_EFFORT) != 0 ? ZCACHE_BYPASSED : rc;
}

static void count_put(struct zcache_tenant *t, int rc)
{
    enum zc_counter c = ZC_C_put_errors;

    switch (rc) {
    case 0:
        c = ZC_C_put_inserts;
        break;
    case 1:
        c = ZC_C_put_replaces;
        break;
    case ZCACHE_EXISTS:
        c = ZC_C_put_exists;
        break;
    case ZCACHE_BYPASSED:
        c = ZC_C_put_bypassed;
        break;
    case -EDQUOT:
        c = ZC_C_put_quota_rejects;
        break;
    case -ENOSPC:
        c = ZC_C_put_capacity_rejects;
        break;
    default:
        break;
    }
    zc_stat_add(t->stat, c, 1);
}

static bool defaults_to_dirty(const struct zcache_tenant *t, unsigned flags)
{
    if ((flags & (ZCACHE_CLEAN | ZCACHE_DIRTY)) != 0) {
        return (flags & ZCACHE_DIRTY) != 0;
    }
    return t->store != NULL && t->store->cb.write != NULL;
}

int zc_put(struct zcache_tenant *t,
           struct zc_thread *th,
           struct zcache_key key,
           const void *data,
           size_t len,
           uint64_t tag,
           unsigned flags,
           struct zc_stall *stall)
{
    struct put p = {.w = zc_page_where(t, th, key),
                    .key = key,
                    .data = data,
                    .len = (uint32_t)len,
                    .flags = flags,
                    .node =
                        t->node >= 0 ? (unsigned)t->node : t->cache->topo.cpu_node[zc_plat_cpu()],
                    .stall = stall};
    uint64_t start = zc_thread_sample(th, t->cache->opt.latency_sample);
    int rc = ZCACHE_EXISTS;

    p.v.tag = tag;
    p.v.flags = defaults_to_dirty(t, flags) ? ZC_F_DIRTY : 0;
    p.replaces = cached(&p);
    if ((flags & ZCACHE_IF_ABSENT) == 0 || !p.replaces) {
        rc = prepare(&p);
        rc = rc == 0 ? publish(&p) : rc;
    }
    drop_unused(&p);
    rc = rc < 0 ? fail(&p, rc) : rc;
    count_put(t, rc);
    if (rc == 0 || rc == 1) {
        look_ahead(t, th);
        zc_core_maintain(t->cache, th);
        rc = 0;
    }
    if (start != 0) {
        struct zc_hist *hist = zc_tenant_hist(t, ZCACHE_LATENCY_PUT);

        if (hist != NULL) {
            zc_hist_add(hist, zc_plat_now_ns() - start);
        }
    }
    return rc;
}
