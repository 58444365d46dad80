/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * get.c - hits and misses.
 *
 * A hit, in one epoch section: look up, load the payload word, decode into the caller's buffer, count
 * the use unless it is known to be in use often.  It takes no lock, counts no reference, allocates
 * nothing, and on a page that was used some times already it writes nothing that others read: the
 * counters are the CPU's own.
 *
 * A page that is hit in its compressed form for the second time is promoted after its bytes were
 * delivered.
 *
 * Its tenant may be closed at any moment: what belongs to the tenant (counters, histograms, the
 * store) is looked at inside the section, which a close waits for, or after the tenant was entered.
 * That is what all but hits and plain misses do: loads, pins of what is not raw, errors.
 */
#include "get.h"

#include <errno.h>
#include <stdlib.h>

#include "compact.h"
#include "load.h"
#include "mathx.h"
#include "reclaim.h"
#include "sync_point.h"
#include "tier.h"

/* What a look-up found. */
struct hit {
    uint64_t word; /* 0: nothing */
    size_t len;
    enum zcache_latency_kind kind;
    bool promote;
    bool loadable; /* a miss, and the store may be asked */
};

/* ---- the hit ------------------------------------------------------------------------------- */

static enum zcache_latency_kind form_of(const struct zcache *cache, uint64_t word)
{
    uint8_t codec;

    if (zc_word_is_same(word)) {
        return ZCACHE_LATENCY_GET_RAW;
    }
    codec = zc_payload_codec(zc_word_payload(word));
    if (codec == ZC_CODEC_NONE) {
        return ZCACHE_LATENCY_GET_RAW;
    }
    return codec == atomic_load_explicit(&cache->codec[ZCACHE_TIER_DENSE], memory_order_relaxed)
               ? ZCACHE_LATENCY_GET_DENSE
               : ZCACHE_LATENCY_GET_FAST;
}

static void count_hit(struct zcache_tenant *t, const struct hit *h)
{
    static const enum zc_counter counter[] = {
        [ZCACHE_LATENCY_GET_RAW] = ZC_C_get_hits_raw,
        [ZCACHE_LATENCY_GET_FAST] = ZC_C_get_hits_fast,
        [ZCACHE_LATENCY_GET_DENSE] = ZC_C_get_hits_dense,
    };

    zc_stat_add(t->stat, zc_word_is_same(h->word) ? ZC_C_get_hits_same : counter[h->kind], 1);
}

/* Marks a page as used.  Whether it is to be promoted. */
static bool touch(struct zc_entry *e, enum zcache_latency_kind kind, unsigned flags)
{
    if ((flags & (ZCACHE_PEEK | ZCACHE_SCAN)) != 0) {
        return false;
    }
    return zc_entry_use(e, kind != ZCACHE_LATENCY_GET_RAW) && kind != ZCACHE_LATENCY_GET_RAW &&
           (flags & ZCACHE_KEEP_TIER) == 0;
}

#define PREFETCH_MIN  1024u /* bytes of a page from which it is worth it */
#define PREFETCH_PAGE 4096u /* where the CPU's own prefetching ends */

/*
 * The payload's head says how long the bytes are, and so how to copy them: that is one access to memory
 * before the others begin.  So the line after it is asked for together with it; of pages that are listed as
 * raw, which are read from their first lines on, some more, and the first ones of the next 4 KiB, where the
 * CPU begins anew.
 */
static ZC_HOT void prefetch_page(const struct zc_entry *e, uint64_t word, size_t cap)
{
    const char *begin = (const char *)zc_word_payload(word);
    const char *next = (const char *)(((uintptr_t)begin | (PREFETCH_PAGE - 1)) + 1);

    if (zc_word_is_same(word)) {
        return;
    }
    __builtin_prefetch(begin + ZC_CACHE_LINE);
    if (cap < PREFETCH_MIN || zc_entry_tier(e) != ZCACHE_TIER_RAW) {
        return;
    }
    for (unsigned i = 2 * ZC_CACHE_LINE; i < PREFETCH_MIN; i += ZC_CACHE_LINE) {
        __builtin_prefetch(begin + i);
    }
    for (unsigned i = 0; i < PREFETCH_MIN / 4; i += ZC_CACHE_LINE) {
        __builtin_prefetch(next + i);
    }
}

/* A same-filled page of which word and fill did not agree: whether a newer version is on its way. */
static ZC_COLD bool same_intact(struct zcache_tenant *t, struct zc_thread *th, struct zc_entry *e)
{
    const struct zc_where w = zc_page_where(t, th, e->key);

    return zc_page_same_intact(&w, e);
}

/* In a section.  0; ZCACHE_MISS; -ENOBUFS; -EBADMSG; -ENOMEM; -EAGAIN (same-filled pages). */
static ZC_HOT int hit(const struct zc_where *w,
                      struct zcache_key key,
                      void *buf,
                      size_t cap,
                      unsigned flags,
                      struct hit *h)
{
    struct zc_entry *e = zc_index_find(w->cache->index, w->hash, w->tenant->slot, key);
    int rc = 0;

    h->word = e == NULL ? 0 : atomic_load_explicit(&e->payload, memory_order_acquire);
    if (h->word == 0) {
        return ZCACHE_MISS;
    }
    prefetch_page(e, h->word, cap);
    h->len = zc_word_is_same(h->word) ? zc_word_same_len(h->word)
                                      : zc_payload_raw_len(zc_word_payload(h->word));
    h->kind = form_of(w->cache, h->word);
    h->promote = false;
    if (buf == NULL) {
        return 0;
    }
    if (h->len > cap) {
        return -ENOBUFS;
    }
    rc = zc_page_decode(w->cache, w->thread, e, h->word, buf);
    if (ZC_LIKELY(rc == 0)) {
        h->promote = touch(e, h->kind, flags);
    } else if (rc == -EAGAIN && !same_intact(w->tenant, w->thread, e)) {
        rc = -EBADMSG;
    }
    return rc;
}

/* There was no memory for this thread's context: whether room could be made for it. */
static ZC_COLD bool may_retry(struct zcache *cache,
                              struct zc_thread *th,
                              unsigned flags,
                              struct zc_stall *stall)
{
    return (flags & (ZCACHE_NOWAIT | ZCACHE_NOIO)) == 0 &&
           zc_reclaim_metadata(cache, th, zc_stall_deadline(stall));
}

/* In a section, of an open tenant: the outcome of hit(), counted if nothing more can come of it. */
static ZC_HOT int hit_or_miss(const struct zc_where *w,
                              struct zcache_key key,
                              void *buf,
                              size_t cap,
                              unsigned flags,
                              struct hit *h)
{
    int rc = hit(w, key, buf, cap, flags, h);

    h->loadable = rc == ZCACHE_MISS && zc_load_possible(w->tenant, flags);
    if (ZC_LIKELY(rc == 0)) {
        count_hit(w->tenant, h);
    } else if (rc == ZCACHE_MISS && !h->loadable) {
        zc_stat_add(w->tenant->stat, ZC_C_get_misses, 1);
    }
    ZC_SYNC_POINT("get.looked", key);
    return rc;
}

/* No room, or it changed meanwhile: it stays as it is. */
static ZC_COLD void promote(struct zcache_tenant *t,
                            struct zc_thread *th,
                            struct zcache_key key,
                            uint64_t word)
{
    const struct zc_where w = zc_page_where(t, th, key);

    (void)zc_tier_promote(&w, key, word, 0);
}

/*
 * One look at the cache, promotion included.
 * 0, or ZCACHE_MISS that the store is not asked for: counted.  ZCACHE_MISS, loadable; errors of hit;
 * -ESHUTDOWN: not yet.
 */
static ZC_HOT int look_once(const struct zc_where *w,
                            struct zcache_key key,
                            void *buf,
                            size_t cap,
                            size_t *len_out,
                            unsigned flags,
                            struct zc_stall *stall,
                            struct hit *h)
{
    struct zc_epoch_record *epoch = w->thread->epoch;
    int rc;

    do {
        zc_epoch_enter(epoch);
        rc = zc_tenant_usable(w->tenant) ? hit_or_miss(w, key, buf, cap, flags, h) : -ESHUTDOWN;
        zc_epoch_exit(epoch);
    } while (ZC_UNLIKELY(rc == -EAGAIN ||
                         (rc == -ENOMEM && may_retry(w->cache, w->thread, flags, stall))));
    ZC_SYNC_POINT("get.left", key);
    if (rc != 0) {
        return rc;
    }
    if (len_out != NULL) {
        *len_out = h->len;
    }
    if (ZC_UNLIKELY(h->promote)) {
        promote(w->tenant, w->thread, key, h->word);
    }
    return 0;
}

/* The same, where it is not the whole of a call. */
static int look(const struct zc_where *w,
                struct zcache_key key,
                void *buf,
                size_t cap,
                size_t *len_out,
                unsigned flags,
                struct zc_stall *stall,
                struct hit *h)
{
    return look_once(w, key, buf, cap, len_out, flags, stall, h);
}

/* ---- the miss ------------------------------------------------------------------------------ */

static int load_and_look(const struct zc_where *w,
                         struct zcache_page *page,
                         unsigned flags,
                         struct zc_stall *stall)
{
    uint64_t deadline = zc_stall_deadline(stall);

    do {
        struct hit h;
        int rc;

        zc_load_pages(w->tenant, w->thread, &page, 1, flags, deadline);
        if (page->status != ZC_LOAD_AGAIN) {
            if (page->status == 0) {
                zc_stat_add(w->tenant->stat, ZC_C_get_loads, 1);
            }
            return page->status;
        }
        rc = look(w, page->key, page->buf, page->cap, &page->len, flags, stall, &h);
        if (rc != ZCACHE_MISS) {
            return rc;
        }
    } while (zc_plat_now_ns() < deadline);
    return -ETIMEDOUT;
}

static void count_failure(struct zcache_tenant *t,
                          int rc,
                          enum zc_counter miss,
                          enum zc_counter error)
{
    if (rc == ZCACHE_MISS) {
        zc_stat_add(t->stat, miss, 1);
    } else if (rc < 0 && rc != -ESHUTDOWN) {
        zc_stat_add(t->stat, error, 1);
    }
}

/* What is left to do for a get that look() neither served nor counted: load, or report the error. */
static int get_slowly(const struct zc_where *w,
                      struct zcache_page *page,
                      unsigned flags,
                      struct zc_stall *stall,
                      int rc)
{
    struct zcache_tenant *t = w->tenant;

    if (rc == -ESHUTDOWN || zc_tenant_enter(t) != 0) {
        return -ESHUTDOWN;
    }
    if (rc == ZCACHE_MISS) {
        rc = load_and_look(w, page, flags, stall);
    }
    if (rc == -EBADMSG) {
        zc_page_report_corrupt(t, page->key);
    }
    count_failure(t, rc, ZC_C_get_misses, ZC_C_get_errors);
    zc_tenant_leave(t);
    return rc;
}

static ZC_COLD int get_otherwise(struct zcache_tenant *t,
                                 struct zc_thread *th,
                                 struct zcache_key key,
                                 void *buf,
                                 size_t cap,
                                 size_t *len_out,
                                 unsigned flags,
                                 struct zc_stall *stall,
                                 int rc)
{
    const struct zc_where w = zc_page_where(t, th, key);
    struct zcache_page page = {.key = key, .buf = buf, .cap = cap};

    rc = get_slowly(&w, &page, flags, stall, rc);
    if (rc == 0 && len_out != NULL) {
        *len_out = page.len;
    }
    return rc;
}

static ZC_COLD void sample_get(struct zcache_tenant *t,
                               struct zc_thread *th,
                               enum zcache_latency_kind kind,
                               uint64_t start)
{
    struct zc_hist *hist;

    zc_epoch_enter(th->epoch);
    hist = zc_tenant_usable(t) ? zc_tenant_hist(t, kind) : NULL;
    if (hist != NULL) {
        zc_hist_add(hist, zc_plat_now_ns() - start);
    }
    zc_epoch_exit(th->epoch);
}

int zc_get(struct zcache_tenant *t,
           struct zc_thread *th,
           struct zcache_key key,
           void *buf,
           size_t cap,
           size_t *len_out,
           unsigned flags,
           struct zc_stall *stall)
{
    /* Nothing that is not inlined gets its address: it lies in registers. */
    const struct zc_where w = zc_page_where(t, th, key);
    uint64_t start = zc_thread_sample(th, t->cache->opt.latency_sample);
    struct hit h;
    int rc = look_once(&w, key, buf, cap, len_out, flags, stall, &h);

    if (ZC_LIKELY(rc == 0)) {
        if (ZC_UNLIKELY(start != 0)) {
            sample_get(t, th, h.kind, start);
        }
        return 0;
    }
    if (rc == ZCACHE_MISS && !h.loadable) {
        return rc;
    }
    return get_otherwise(t, th, key, buf, cap, len_out, flags, stall, rc);
}

/* ---- many ---------------------------------------------------------------------------------- */

#define MANY 256u

static int compare_keys(const void *a, const void *b)
{
    const struct zcache_page *x = *(struct zcache_page *const *)a;
    const struct zcache_page *y = *(struct zcache_page *const *)b;

    if (x->key.object != y->key.object) {
        return x->key.object < y->key.object ? -1 : 1;
    }
    return x->key.page < y->key.page ? -1 : x->key.page > y->key.page;
}

/* In the order of the keys, as the store is promised; a key that comes twice is loaded once. */
static void load_misses(struct zcache_tenant *t,
                        struct zc_thread *th,
                        struct zcache_page **missing,
                        size_t n,
                        unsigned flags,
                        struct zc_stall *stall)
{
    if (n == 0) {
        return;
    }
    if (zc_tenant_enter(t) != 0) {
        for (size_t i = 0; i < n; i++) {
            missing[i]->status = -ESHUTDOWN;
        }
        return;
    }
    qsort(missing, n, sizeof(missing[0]), compare_keys);
    zc_load_pages(t, th, missing, n, flags, zc_stall_deadline(stall));
    for (size_t i = 0; i < n; i++) {
        if (missing[i]->status == ZC_LOAD_AGAIN) {
            missing[i]->status = zc_get(t, th, missing[i]->key, missing[i]->buf, missing[i]->cap,
                                        &missing[i]->len, flags, stall);
            continue;
        }
        if (missing[i]->status == 0) {
            zc_stat_add(t->stat, ZC_C_get_loads, 1);
        }
        count_failure(t, missing[i]->status, ZC_C_get_misses, ZC_C_get_errors);
    }
    zc_tenant_leave(t);
}

int zc_get_many(struct zcache_tenant *t,
                struct zc_thread *th,
                struct zcache_page *pages,
                size_t n,
                unsigned flags,
                struct zc_stall *stall)
{
    struct zcache_page *missing[MANY];
    int first_error = 0;
    size_t n_missing = 0;

    for (size_t i = 0; i < n; i++) {
        struct zc_where w = zc_page_where(t, th, pages[i].key);
        struct hit h;

        if (i % ZC_PAGE_AHEAD == 0) {
            zc_page_expect(t, th, &pages[i], ZC_MIN(n - i, ZC_PAGE_AHEAD));
        }

        pages[i].status =
            look(&w, pages[i].key, pages[i].buf, pages[i].cap, &pages[i].len, flags, stall, &h);
        if (pages[i].status == ZCACHE_MISS && h.loadable) {
            missing[n_missing++] = &pages[i];
        } else if (pages[i].status < 0) {
            pages[i].status = get_slowly(&w, &pages[i], flags, stall, pages[i].status);
        }
        if (n_missing == MANY || i + 1 == n) {
            load_misses(t, th, missing, n_missing, flags, stall);
            n_missing = 0;
        }
    }
    for (size_t i = 0; i < n && first_error == 0; i++) {
        first_error = pages[i].status < 0 ? pages[i].status : 0;
    }
    return first_error;
}

/* ---- take ---------------------------------------------------------------------------------- */

/* What is taken: a version of a record, which the reference keeps from being another page's. */
struct taken {
    struct zc_entry *entry;
    uint32_t version;
};

/* Unlinks the page if it is still what was delivered.  0, ZCACHE_UNWRITTEN; -EAGAIN; waits: errors.
 * */
static int unlink_taken(const struct zc_where *w,
                        struct zcache_key key,
                        const struct taken *taken,
                        unsigned flags,
                        uint64_t deadline_ns)
{
    struct zc_entry *e;
    int rc = -EAGAIN;

    zc_epoch_stock(w->thread->epoch, 4);
    zc_lock_acquire(&w->shard->lock);
    e = zc_shard_find_locked(w->shard, w->hash, w->tenant->slot, key);
    if (e != NULL && zc_entry_state(e) == ZC_WRITING) {
        rc = zc_page_wait_locked(w, e, (flags & ZCACHE_NOWAIT) != 0, deadline_ns);
        rc = rc == 0 ? -EAGAIN : rc;
    } else if (e != NULL && zc_entry_state(e) == ZC_LIVE && e == taken->entry &&
               e->version == taken->version) {
        bool dirty = zc_entry_has(e, ZC_F_DIRTY);

        zc_page_unlink_locked(w, e);
        zc_stat_add(w->tenant->stat, ZC_C_takes, 1);
        zc_stat_add(w->tenant->stat, ZC_C_takes_unwritten, dirty ? 1 : 0);
        rc = dirty ? ZCACHE_UNWRITTEN : 0;
    }
    zc_lock_release(&w->shard->lock);
    return rc;
}

/*
 * The version that is there, before its bytes are read.  Neither its number nor the address of its
 * payload would do: a record that is made anew counts from the start, and free memory is used again.
 */
static int note_version(const struct zc_where *w, struct zcache_key key, struct taken *out)
{
    struct zc_entry *e;
    int rc = ZCACHE_MISS;

    zc_lock_acquire(&w->shard->lock);
    e = zc_shard_find_locked(w->shard, w->hash, w->tenant->slot, key);
    if (e != NULL && zc_entry_resident(e)) {
        zc_entry_ref(e);
        *out = (struct taken){.entry = e, .version = e->version};
        rc = 0;
    }
    zc_lock_release(&w->shard->lock);
    return rc;
}

static int take_once(const struct zc_where *w,
                     struct zcache_key key,
                     void *buf,
                     size_t cap,
                     size_t *len_out,
                     unsigned flags,
                     uint64_t deadline_ns)
{
    struct taken taken;
    struct hit h;
    int rc = note_version(w, key, &taken);

    if (rc != 0) {
        return rc;
    }
    zc_epoch_enter(w->thread->epoch);
    rc = hit(w, key, buf, cap, flags | ZCACHE_PEEK, &h);
    zc_epoch_exit(w->thread->epoch);
    if (rc == 0) {
        ZC_SYNC_POINT("get.delivered", key);
        rc = unlink_taken(w, key, &taken, flags, deadline_ns);
    }
    zc_epoch_stock(w->thread->epoch, 1);
    zc_core_unref_entry(w->cache, w->thread, taken.entry, w->tenant->account);
    if (rc >= 0 && rc != ZCACHE_MISS) {
        count_hit(w->tenant, &h);
        if (len_out != NULL) {
            *len_out = h.len;
        }
    }
    return rc;
}

int zc_take(struct zcache_tenant *t,
            struct zc_thread *th,
            struct zcache_key key,
            void *buf,
            size_t cap,
            size_t *len_out,
            unsigned flags,
            struct zc_stall *stall)
{
    struct zc_where w = zc_page_where(t, th, key);
    uint64_t deadline = zc_stall_deadline(stall);
    int rc;

    do {
        rc = take_once(&w, key, buf, cap, len_out, flags, deadline);
        if (rc == -ENOMEM && may_retry(t->cache, th, flags, stall)) {
            rc = -EAGAIN;
        }
        if (rc == ZCACHE_MISS && zc_load_possible(t, flags)) {
            struct zcache_page page = {.key = key};
            struct zcache_page *pages = &page;

            zc_load_pages(t, th, &pages, 1, flags | ZC_LOAD_KEEP, deadline);
            rc = page.status == ZC_LOAD_AGAIN || page.status == 0 ? -EAGAIN : page.status;
        }
    } while (rc == -EAGAIN && zc_plat_now_ns() < deadline);
    rc = rc == -EAGAIN ? -ETIMEDOUT : rc;
    if (rc == -EBADMSG) {
        zc_page_report_corrupt(t, key);
    }
    count_failure(t, rc, ZC_C_get_misses, ZC_C_get_errors);
    zc_core_maintain(t->cache, th);
    return rc;
}

/* ---- pin ----------------------------------------------------------------------------------- */

/*
 * In a section.  0 and a filled pin; ZCACHE_MISS; -EBADMSG; -EAGAIN: @word_out is not raw and must
 * become so.
 */
static ZC_HOT int try_pin(const struct zc_where *w,
                          struct zcache_key key,
                          unsigned flags,
                          struct zcache_pin *pin_out,
                          uint64_t *word_out,
                          size_t *bytes_out)
{
    struct zc_entry *e = zc_index_find(w->cache->index, w->hash, w->tenant->slot, key);
    uint64_t word = e == NULL ? 0 : atomic_load_explicit(&e->payload, memory_order_acquire);
    struct zc_frame *frame;

    if (word == 0) {
        return ZCACHE_MISS;
    }
    /* The frame's head is in this line, what the caller will read begins in the next: both at a time. */
    __builtin_prefetch((const char *)zc_word_payload(word) + ZC_CACHE_LINE);
    if (zc_word_is_same(word) || !zc_payload_is_raw(zc_word_payload(word))) {
        if (!zc_word_is_same(word) && !zc_page_head_possible(w->cache, zc_word_payload(word))) {
            return -EBADMSG; /* it says how much to reserve */
        }
        *word_out = word;
        *bytes_out = zc_page_bytes(zc_word_sizes(word).raw, ZC_CODEC_NONE);
        return -EAGAIN;
    }
    ZC_SYNC_POINT("get.pinning", key);
    if (ZC_UNLIKELY(!zc_page_may_pin(w->cache, zc_word_payload(word)))) {
        return -EBADMSG;
    }
    /* Unlinked meanwhile or not: the section keeps it until our pin is counted. */
    frame = zc_payload_frame(zc_word_payload(word));
    atomic_fetch_add_explicit(&frame->pins, 1, memory_order_relaxed);
    *pin_out = (struct zcache_pin){.data = zc_payload_data(&frame->head),
                                   .len = zc_payload_raw_len(&frame->head),
                                   .frame = frame,
                                   .cache = w->cache};
    (void)touch(e, ZCACHE_LATENCY_GET_RAW, flags);
    return 0;
}

/* As try_pin(), counted as @hit if it succeeds. */
static ZC_HOT int look_pin(const struct zc_where *w,
                           struct zcache_key key,
                           unsigned flags,
                           enum zc_counter hit,
                           struct zcache_pin *pin_out,
                           uint64_t *word_out,
                           size_t *bytes_out)
{
    int rc = -ESHUTDOWN;

    zc_epoch_enter(w->thread->epoch);
    if (zc_tenant_usable(w->tenant)) {
        rc = try_pin(w, key, flags, pin_out, word_out, bytes_out);
        if (rc == 0) {
            zc_stat_add(w->tenant->stat, hit, 1);
        }
    }
    zc_epoch_exit(w->thread->epoch);
    ZC_SYNC_POINT("get.pinned", key);
    return rc;
}

static int make_raw(const struct zc_where *w,
                    struct zcache_key key,
                    uint64_t word,
                    size_t bytes,
                    unsigned flags,
                    struct zc_stall *stall)
{
    struct zc_account *account = w->tenant->account;
    int rc = zc_reclaim_reserve(w->tenant, w->thread, bytes, flags, stall);

    if (rc != 0) {
        return rc;
    }
    ZC_SYNC_POINT("get.reserved", key);
    rc = zc_tier_promote(w, key, word, bytes);
    if (rc != 0) {
        zc_quota_refund(account, bytes);
        zc_progress_signal(w->cache);
    }
    if (rc == -ENOMEM && zc_compact_make_room(w->cache, w->thread, flags, stall)) {
        rc = -EAGAIN;
    }
    return rc;
}

/* Until the page is raw and pinned; the tenant is entered. */
static ZC_COLD int pin_slow(const struct zc_where *w,
                            struct zcache_key key,
                            unsigned flags,
                            struct zcache_pin *pin_out,
                            struct zc_stall *stall)
{
    uint64_t deadline = zc_stall_deadline(stall);
    enum zc_counter outcome = ZC_C_pin_hits;
    uint64_t word;
    size_t bytes;
    int rc;

    do {
        rc = look_pin(w, key, flags, outcome, pin_out, &word, &bytes);
        if (rc == -EAGAIN) {
            rc = make_raw(w, key, word, bytes, flags, stall);
            if (rc == 0 || (rc == -ENOMEM && may_retry(w->cache, w->thread, flags, stall))) {
                rc = -EAGAIN;
            }
        } else if (rc == ZCACHE_MISS && zc_load_possible(w->tenant, flags)) {
            struct zcache_page page = {.key = key};
            struct zcache_page *pages = &page;

            zc_load_pages(w->tenant, w->thread, &pages, 1, flags | ZC_LOAD_KEEP, deadline);
            rc = page.status == ZC_LOAD_AGAIN || page.status == 0 ? -EAGAIN : page.status;
            outcome = ZC_C_pin_loads;
        }
    } while (rc == -EAGAIN && zc_plat_now_ns() < deadline);
    return rc == -EAGAIN ? -ETIMEDOUT : rc;
}

/* What is left to do for a pin that look_pin() did not serve. */
static ZC_COLD int pin_otherwise(struct zcache_tenant *t,
                                 struct zc_thread *th,
                                 struct zcache_key key,
                                 unsigned flags,
                                 struct zcache_pin *pin_out,
                                 int rc)
{
    const struct zc_where w = zc_page_where(t, th, key);
    struct zc_stall stall = zc_stall_of(t->cache);

    if (rc == -ESHUTDOWN || zc_tenant_enter(t) != 0) {
        return -ESHUTDOWN;
    }
    rc = pin_slow(&w, key, flags, pin_out, &stall);
    if (rc == -EBADMSG) {
        zc_page_report_corrupt(t, key);
    }
    count_failure(t, rc, ZC_C_pin_misses, ZC_C_pin_errors);
    zc_tenant_leave(t);
    return rc;
}

int zc_pin(struct zcache_tenant *t,
           struct zc_thread *th,
           struct zcache_key key,
           unsigned flags,
           struct zcache_pin *pin_out)
{
    const struct zc_where w = zc_page_where(t, th, key);
    uint64_t word;
    size_t bytes;
    int rc = look_pin(&w, key, flags, ZC_C_pin_hits, pin_out, &word, &bytes);

    return ZC_LIKELY(rc == 0) ? 0 : pin_otherwise(t, th, key, flags, pin_out, rc);
}

void zc_unpin(struct zcache_pin *pin)
{
    struct zc_frame *frame = pin->frame;
    struct zcache *cache = pin->cache;

    zc_stat_add(zc_tenant_of_account(cache, frame->account)->stat, ZC_C_unpins, 1);
    *pin = (struct zcache_pin){0};
    zc_core_unpin(cache, frame);
}
