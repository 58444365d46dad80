/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * page.c - the steps in the life of one page.
 *
 * Every change of an entry goes through here, so that its state, its list, the gauges and the
 * charge change together:
 *
 *     charge     entry and payload are reserved before, refunded when freed (core.c)
 *     gauges     sizes in lru.sum, counts in the tenant's n_* members
 *     list       an entry is listed or isolated from its first publish to its unlink
 *
 * Locks: the shard lock is the caller's; the list lock is taken below it by lru.c.
 *
 * Order of publication: bytes, then fill, then the payload word (release).  A reader acquires the
 * word.
 */
#include "page.h"

#include <errno.h>

#include "batch.h"

struct zc_where zc_page_where_entry(struct zcache *cache,
                                    struct zc_thread *th,
                                    const struct zc_entry *e)
{
    return zc_page_where(zc_tenant_of(cache, e), th, e->key);
}

/* ---- records and payloads ------------------------------------------------------------------ */

struct zc_entry *zc_page_new_entry(struct zcache *cache,
                                   struct zcache_tenant *t,
                                   unsigned node,
                                   struct zcache_key key)
{
    struct zc_entry *e = zc_core_alloc(cache, node, sizeof(*e));

    if (e != NULL) {
        zc_entry_init(e, t->slot, node, key);
        atomic_fetch_add_explicit(&cache->entry_bytes, zc_pool_round(sizeof(*e)),
                                  memory_order_relaxed);
    }
    return e;
}

void zc_page_free_entry(struct zcache *cache, struct zc_entry *e)
{
    if (e != NULL) {
        atomic_fetch_sub_explicit(&cache->entry_bytes, zc_pool_round(sizeof(*e)),
                                  memory_order_relaxed);
        zc_pool_free(e, sizeof(*e));
    }
}

size_t zc_page_bytes(uint32_t stored_len, uint8_t codec)
{
    return zc_pool_round(zc_payload_head(stored_len, codec) + stored_len);
}

struct zc_payload *zc_page_new_payload(struct zcache *cache,
                                       unsigned node,
                                       struct zc_account *account,
                                       uint32_t raw_len,
                                       uint32_t stored_len,
                                       uint8_t codec)
{
    struct zc_payload *p =
        zc_core_alloc(cache, node, zc_payload_head(stored_len, codec) + stored_len);

    if (p == NULL) {
        return NULL;
    }
    p->meta = zc_payload_meta(raw_len, stored_len, codec);
    p->version = 0;
    if (codec == ZC_CODEC_NONE) {
        struct zc_frame *frame = zc_payload_frame(p);

        atomic_store_explicit(&frame->pins, 0, memory_order_relaxed);
        atomic_store_explicit(&frame->verified, 0, memory_order_relaxed);
        frame->account = account;
    }
    return p;
}

void zc_page_free_payload(struct zc_payload *p)
{
    if (p != NULL) {
        zc_pool_free(p, zc_payload_size(p));
    }
}

/* Bytes that need a dictionary are not to be taken for others. */
static uint32_t sum_with_dict(const struct zc_payload *p, uint32_t sum)
{
    return sum ^ zc_payload_dict(p) * UINT32_C(0x9e3779b1);
}

static uint32_t checksum_of(const struct zc_payload *p)
{
    return sum_with_dict(p, zc_checksum(zc_payload_data(p), zc_payload_stored_len(p)));
}

void zc_page_seal(struct zc_payload *p)
{
    p->checksum = checksum_of(p);
}

void zc_page_fill(struct zc_payload *p, const void *bytes)
{
    p->checksum =
        sum_with_dict(p, zc_checksum_copy(zc_payload_data(p), bytes, zc_payload_stored_len(p)));
}

/* ---- dirty and clean ----------------------------------------------------------------------- */

static _Atomic uint64_t *dirty_count(struct zcache_tenant *t, const struct zc_entry *e)
{
    return &t->n_dirty[zc_entry_has(e, ZC_F_PARITY) ? 1 : 0];
}

void zc_page_clean_locked(const struct zc_where *w, struct zc_entry *e)
{
    if (zc_entry_has(e, ZC_F_DIRTY)) {
        atomic_fetch_sub(dirty_count(w->tenant, e), 1);
        zc_entry_clear(e, ZC_F_DIRTY | ZC_F_PARITY);
    }
    zc_entry_set_tag(e, 0);
}

static void set_dirty(const struct zc_where *w, struct zc_entry *e, uint32_t parity)
{
    zc_entry_set(e, parity != 0 ? ZC_F_DIRTY | ZC_F_PARITY : ZC_F_DIRTY);
    atomic_fetch_add(&w->tenant->n_dirty[parity], 1);
}

/*
 * The parity tells since when the store lacks something of the page, so a page that is dirty already
 * keeps it: a flush that waits for the older version waits for the newer one in its place.
 */
void zc_page_dirty_locked(const struct zc_where *w, struct zc_entry *e)
{
    if (!zc_entry_has(e, ZC_F_DIRTY)) {
        set_dirty(w, e, atomic_load(&w->tenant->parity) & 1);
    }
}

/* What was put since the claim was not there when the claim was made: dirty since then, no longer. */
void zc_page_still_dirty_locked(const struct zc_where *w, struct zc_entry *e, uint32_t parity)
{
    if (zc_entry_has(e, ZC_F_DIRTY)) {
        atomic_fetch_sub(dirty_count(w->tenant, e), 1);
        zc_entry_clear(e, ZC_F_PARITY);
        set_dirty(w, e, parity);
    }
}

/* ---- gauges that depend on the form -------------------------------------------------------- */

static bool counts_incompressible(const struct zc_entry *e)
{
    return zc_entry_has(e, ZC_F_INCOMPRESSIBLE | ZC_F_NO_FAST | ZC_F_NO_DENSE);
}

static void kind_add(struct zcache_tenant *t, const struct zc_entry *e, uint64_t word)
{
    if (zc_word_is_same(word)) {
        atomic_fetch_add_explicit(&t->n_same, 1, memory_order_relaxed);
    }
    if (counts_incompressible(e)) {
        atomic_fetch_add_explicit(&t->n_incompressible, 1, memory_order_relaxed);
    }
}

static void kind_sub(struct zcache_tenant *t, const struct zc_entry *e, uint64_t word)
{
    if (zc_word_is_same(word)) {
        atomic_fetch_sub_explicit(&t->n_same, 1, memory_order_relaxed);
    }
    if (counts_incompressible(e)) {
        atomic_fetch_sub_explicit(&t->n_incompressible, 1, memory_order_relaxed);
    }
}

static void set_word(struct zc_entry *e, uint64_t word, uint64_t fill)
{
    bool had_fill = zc_word_has_fill(atomic_load_explicit(&e->payload, memory_order_relaxed));

    if (zc_word_has_fill(word)) {
        atomic_store_explicit(&e->tag_or_fill, fill, memory_order_relaxed);
    } else if (!zc_word_is_same(word)) {
        zc_word_payload(word)->version = e->version;
    }
    atomic_store_explicit(&e->payload, word, memory_order_release);
    if (had_fill) { /* what is there now is no tag */
        zc_entry_set_tag(e, 0);
    }
}

/* ---- steps --------------------------------------------------------------------------------- */

void zc_page_insert_locked(const struct zc_where *w, struct zc_entry *e)
{
    zc_shard_insert_locked(w->cache->index, w->shard, w->hash, e);
    atomic_fetch_add_explicit(&w->tenant->n_pages, 1, memory_order_relaxed);
}

/* Where a page that is new to the cache begins. */
static enum zc_queue queue_of_new(const struct zc_where *w, bool scan)
{
    if (scan) {
        return ZC_QUEUE_SCAN;
    }
    if (w->cache->opt.policy == ZCACHE_POLICY_LRU) {
        return ZC_QUEUE_MAIN;
    }
    if (zc_ghost_take(&w->tenant->ghost, w->hash)) {
        zc_stat_add(w->tenant->stat, ZC_C_ghost_hits, 1);
        return ZC_QUEUE_MAIN;
    }
    return ZC_QUEUE_NEW;
}

void zc_page_publish_locked(const struct zc_where *w,
                            struct zc_entry *e,
                            const struct zc_version *v)
{
    uint64_t old = atomic_load_explicit(&e->payload, memory_order_relaxed);
    struct zc_lru *lru = w->tenant->lru[zc_entry_node(e)];
    bool first = zc_entry_state(e) == ZC_LOADING;

    if (!first) {
        kind_sub(w->tenant, e, old);
    }
    e->version++;
    zc_entry_clear(e, ZC_F_INCOMPRESSIBLE | ZC_F_KEEP_RAW | ZC_F_NO_FAST | ZC_F_NO_DENSE |
                          ZC_F_CORRUPT);
    zc_entry_set(e, v->flags & (ZC_F_INCOMPRESSIBLE | ZC_F_KEEP_RAW));
    set_word(e, v->word, v->fill);
    if ((v->flags & ZC_F_DIRTY) != 0) {
        zc_page_dirty_locked(w, e);
    } else {
        zc_page_clean_locked(w, e);
    }
    zc_entry_set_tag(e, v->tag);
    kind_add(w->tenant, e, v->word);
    if (first) {
        zc_entry_become(e, ZC_LIVE);
        zc_lru_insert(lru, e, v->tier, zc_word_sizes(v->word), queue_of_new(w, v->scan),
                      !zc_tenant_past(w->tenant, w->cache->opt.low_percent));
        zc_page_wake_locked(w, e);
    } else {
        zc_lru_replace(lru, e, v->tier, zc_word_sizes(old), zc_word_sizes(v->word), v->scan);
        zc_core_retire_word(w->thread, old, w->tenant->account);
    }
}

void zc_page_reform_locked(const struct zc_where *w,
                           struct zc_entry *e,
                           uint64_t word,
                           uint64_t fill,
                           enum zcache_tier tier,
                           unsigned flags)
{
    uint64_t old = atomic_load_explicit(&e->payload, memory_order_relaxed);
    struct zc_lru *lru = w->tenant->lru[zc_entry_node(e)];

    ZC_ASSERT(zc_entry_resident(e));
    kind_sub(w->tenant, e, old);
    zc_entry_set(e, flags);
    if (word != old) {
        set_word(e, word, fill);
    }
    kind_add(w->tenant, e, word);
    zc_lru_retier(lru, e, tier, zc_word_sizes(old), zc_word_sizes(word));
    if (word != old) {
        zc_core_retire_word(w->thread, old, w->tenant->account);
    }
}

/* Everything but the payload. */
static void leave_locked(const struct zc_where *w, struct zc_entry *e)
{
    uint64_t word = atomic_load_explicit(&e->payload, memory_order_relaxed);

    zc_shard_remove_locked(w->shard, w->hash, e);
    atomic_fetch_sub_explicit(&w->tenant->n_pages, 1, memory_order_relaxed);
    if (zc_entry_resident(e)) {
        zc_page_clean_locked(w, e);
        kind_sub(w->tenant, e, word);
        zc_lru_remove(w->tenant->lru[zc_entry_node(e)], e, zc_word_sizes(word));
    }
    zc_entry_become(e, ZC_DEAD);
    atomic_store_explicit(&e->payload, 0,
                          memory_order_relaxed); /* whoever holds it finds nothing */
    zc_page_wake_locked(w, e);
    zc_core_unref_entry(w->cache, w->thread, e, w->tenant->account);
}

void zc_page_unlink_locked(const struct zc_where *w, struct zc_entry *e)
{
    uint64_t word = atomic_load_explicit(&e->payload, memory_order_relaxed);

    leave_locked(w, e); /* first: what is retired must not be findable any more */
    zc_core_retire_word(w->thread, word, w->tenant->account);
}

void zc_page_evict_locked(const struct zc_where *w, struct zc_entry *e)
{
    enum zc_queue queue = zc_lru_queue(e);

    zc_stat_tier_add(w->tenant->stat, zc_entry_tier(e), ZC_TC_evictions, 1);
    if (w->cache->opt.policy != ZCACHE_POLICY_LRU && queue != ZC_QUEUE_SCAN) {
        zc_ghost_add(&w->tenant->ghost, w->hash, queue == ZC_QUEUE_MAIN);
    }
    zc_page_unlink_locked(w, e);
}

void zc_page_release_locked(const struct zc_where *w, struct zc_entry *e)
{
    leave_locked(w, e);
}

void zc_page_adopt_locked(const struct zc_where *w, struct zc_entry *e, const struct zc_version *v)
{
    struct zc_lru *lru = w->tenant->lru[zc_entry_node(e)];

    zc_page_insert_locked(w, e);
    e->version++;
    zc_entry_set(e, v->flags & ~(unsigned)ZC_F_DIRTY);
    set_word(e, v->word, v->fill);
    if ((v->flags & ZC_F_DIRTY) != 0) {
        zc_page_dirty_locked(w, e);
    }
    zc_entry_set_tag(e, v->tag);
    kind_add(w->tenant, e, v->word);
    zc_entry_become(e, ZC_LIVE);
    zc_lru_insert_oldest(lru, e, v->tier, zc_word_sizes(v->word), v->queue);
}

/* To the same place in the same list; or, of a page that moves to another node, to the newest there. */
static bool relist(const struct zc_where *w,
                   struct zc_entry *e,
                   struct zc_entry *fresh,
                   uint64_t word)
{
    struct zc_lru *lru = w->tenant->lru[zc_entry_node(e)];
    enum zc_queue queue = zc_lru_queue(e);

    if (zc_entry_node(e) == zc_entry_node(fresh)) {
        return zc_lru_move_record(lru, e, fresh);
    }
    if (!zc_lru_leave(lru, e, zc_word_sizes(word))) {
        return false;
    }
    zc_lru_insert(w->tenant->lru[zc_entry_node(fresh)], fresh, zc_entry_tier(e),
                  zc_word_sizes(word), queue, false);
    return true;
}

/*
 * Readers may stand on the old record until their sections end.  They find in it the version that was
 * there when it was moved, which is no older than the beginning of their call.
 */
bool zc_page_move_record_locked(const struct zc_where *w,
                                struct zc_entry *e,
                                struct zc_entry *fresh)
{
    uint64_t word = atomic_load_explicit(&e->payload, memory_order_relaxed);

    ZC_ASSERT(zc_entry_state(e) == ZC_LIVE);
    fresh->version = e->version;
    zc_entry_set_flags(fresh, zc_entry_flags(e));
    atomic_store_explicit(&fresh->tag_or_fill,
                          atomic_load_explicit(&e->tag_or_fill, memory_order_relaxed),
                          memory_order_relaxed);
    atomic_store_explicit(&fresh->referenced,
                          atomic_load_explicit(&e->referenced, memory_order_relaxed),
                          memory_order_relaxed);
    atomic_store_explicit(&fresh->payload, word, memory_order_release);
    if (!relist(w, e, fresh, word)) {
        return false;
    }
    zc_shard_replace_locked(w->shard, w->hash, e, fresh);
    atomic_store_explicit(&e->refs, 0, memory_order_relaxed);
    atomic_fetch_sub_explicit(&w->cache->entry_bytes, zc_pool_round(sizeof(*e)),
                              memory_order_relaxed);
    zc_epoch_retire(w->thread->epoch, e, sizeof(*e), w->tenant->account);
    return true;
}

/* ---- waiting ------------------------------------------------------------------------------- */

void zc_page_wake_locked(const struct zc_where *w, struct zc_entry *e)
{
    if (zc_entry_has(e, ZC_F_WAITED)) {
        zc_cond_broadcast(&w->shard->cond);
    }
}

int zc_page_wait_locked(const struct zc_where *w,
                        struct zc_entry *e,
                        bool nowait,
                        uint64_t deadline_ns)
{
    enum zc_state state = zc_entry_state(e);
    uint64_t start = zc_plat_now_ns();
    bool in_time = true;

    ZC_ASSERT(state == ZC_WRITING || state == ZC_LOADING);
    if (zc_batch_own(w->thread, zc_entry_slot(e), e->key)) {
        return -EDEADLK;
    }
    if (nowait) {
        return -EBUSY;
    }
    if (ZC_UNLIKELY(zc_entry_crowded(e))) {
        return -ETIMEDOUT; /* one of tens of thousands would be the last in any case */
    }
    zc_entry_ref(e);
    while (zc_entry_state(e) == state && in_time) {
        zc_entry_set(e, ZC_F_WAITED); /* keeps write-back from starting the next one before us */
        in_time = zc_cond_wait(&w->shard->cond, &w->shard->lock, deadline_ns);
    }
    in_time = zc_entry_state(e) != state;
    zc_entry_clear(e, ZC_F_WAITED);
    zc_cond_broadcast(&w->shard->cond); /* whoever still waits sets it again, or is not told */
    zc_stat_add(w->tenant->stat, ZC_C_stalls, 1);
    zc_stat_add(w->tenant->stat, ZC_C_stall_ns, zc_plat_now_ns() - start);
    zc_core_unref_entry(w->cache, w->thread, e, w->tenant->account);
    return in_time ? 0 : -ETIMEDOUT;
}

/* ---- decoding ------------------------------------------------------------------------------ */

static int decode_same(struct zc_entry *e, uint64_t word, void *buf)
{
    uint64_t fill = zc_entry_fill(e, word);
    uint32_t len = zc_word_same_len(word);

    if (ZC_UNLIKELY(zc_word_same(len, fill) != word)) {
        return -EAGAIN; /* a newer version is just being published, or the record is damaged */
    }
    zc_same_fill(buf, len, fill);
    return 0;
}

bool zc_page_intact(const struct zcache *cache, const struct zc_payload *p)
{
    return zc_page_head_possible(cache, p) && checksum_of(p) == p->checksum;
}

bool zc_page_verify_frame(const struct zcache *cache, struct zc_payload *p)
{
    if (!zc_page_intact(cache, p)) {
        return false;
    }
    atomic_store_explicit(&zc_payload_frame(p)->verified, 1, memory_order_relaxed);
    return true;
}

/* The page's own checksum covers what the stored bytes', which would be looked at twice, do. */
static int decode_with_dictionary(struct zcache *cache,
                                  struct zc_thread *th,
                                  const struct zc_payload *p,
                                  void *buf)
{
    const struct zc_dict *dict = zc_dicts_find(cache->dicts, zc_payload_dict(p));

    if (ZC_UNLIKELY(dict == NULL)) {
        return -EBADMSG;
    }
    return zc_dict_decode(dict, &th->codecs, zc_payload_codec(p), buf, zc_payload_raw_len(p),
                          zc_payload_data(p), zc_payload_stored_len(p));
}

int zc_page_decode(struct zcache *cache,
                   struct zc_thread *th,
                   struct zc_entry *e,
                   uint64_t word,
                   void *buf)
{
    const struct zc_payload *p;
    const void *data;
    uint32_t stored;

    if (zc_word_is_same(word)) {
        return decode_same(e, word, buf);
    }
    p = zc_word_payload(word);
    data = zc_payload_data(p);
    stored = zc_payload_stored_len(p);
    if (ZC_UNLIKELY(!zc_page_head_possible(cache, p))) {
        return -EBADMSG;
    }
    if (zc_payload_is_raw(p)) {
        return ZC_LIKELY(zc_checksum_copy(buf, data, stored) == p->checksum) ? 0 : -EBADMSG;
    }
    if (zc_payload_dict(p) != ZC_DICT_NO_ID) {
        return decode_with_dictionary(cache, th, p, buf);
    }
    if (ZC_UNLIKELY(zc_checksum(data, stored) != p->checksum)) {
        return -EBADMSG;
    }
    return zc_codec_decode(cache->codecs, &th->codecs, zc_payload_codec(p), buf,
                           zc_payload_raw_len(p), data, stored);
}

bool zc_page_same_intact(const struct zc_where *w, struct zc_entry *e)
{
    uint64_t word;
    bool intact;

    zc_lock_acquire(&w->shard->lock);
    word = atomic_load_explicit(&e->payload, memory_order_relaxed);
    intact = !zc_word_is_same(word) ||
             zc_word_same(zc_word_same_len(word), zc_entry_fill(e, word)) == word;
    zc_lock_release(&w->shard->lock);
    return intact;
}

void zc_page_report_corrupt(struct zcache_tenant *t, struct zcache_key key)
{
    zc_stat_add(t->stat, ZC_C_corrupt, 1);
    zc_core_log(t->cache, ZCACHE_LOG_ERROR, "page.corrupt",
                "tenant %s, object %llu, page %llu: the stored bytes are damaged", t->name,
                (unsigned long long)key.object, (unsigned long long)key.page);
}

/* ---- many ---------------------------------------------------------------------------------- */

/* Of records: less than that is in the CPU's cache as it is. */
#define EXPECT_BYTES (UINT64_C(1) << 20)

/* Bucket, record, payload's head and first bytes: each step for all pages before the next one. */
void zc_page_expect(struct zcache_tenant *t,
                    struct zc_thread *th,
                    const struct zcache_page *pages,
                    size_t n)
{
    struct zc_entry *e[ZC_PAGE_AHEAD];
    uint64_t hash[ZC_PAGE_AHEAD];

    ZC_ASSERT(n <= ZC_PAGE_AHEAD);
    if (atomic_load_explicit(&t->cache->entry_bytes, memory_order_relaxed) < EXPECT_BYTES) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        hash[i] = zc_index_hash(t->slot, pages[i].key);
        zc_index_prefetch(t->cache->index, hash[i]);
    }
    zc_epoch_enter(th->epoch);
    for (size_t i = 0; i < n; i++) {
        e[i] = zc_index_likely(t->cache->index, hash[i]);
        __builtin_prefetch(e[i]);
    }
    for (size_t i = 0; i < n; i++) {
        uint64_t word =
            e[i] == NULL ? 0 : atomic_load_explicit(&e[i]->payload, memory_order_acquire);

        if (!zc_word_is_same(word)) {
            __builtin_prefetch(zc_word_payload(word));
            __builtin_prefetch((const char *)zc_word_payload(word) + ZC_CACHE_LINE);
        }
    }
    zc_epoch_exit(th->epoch);
}

/* ---- isolated pages ------------------------------------------------------------------------ */

void zc_page_putback(struct zcache *cache, struct zc_thread *th, struct zc_entry *e, bool newest)
{
    struct zcache_tenant *t = zc_tenant_of(cache, e);

    zc_epoch_stock(th->epoch, 2);
    zc_lru_putback(t->lru[zc_entry_node(e)], e, newest);
    zc_core_unref_entry(cache, th, e, t->account);
    zc_progress_signal(cache);
}
