/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tier.c - demotion and promotion.
 *
 * demote, of a page that the caller isolated:
 *   1. under the shard lock, note its form and version
 *   2. in a section, verify and decode it into this thread's scratch memory
 *   3. without lock or section, encode; at most 7/8 of the old size or not at all
 *   4. reserve and fill the new payload, if need be once what was replaced before is freed
 *   5. under the shard lock, swap it in if form and version are still the same
 *
 * promote is the same the other way round, with the frame as the target of the decode.
 *
 * Verifying in step 2 matters also for raw bytes: a new checksum over damaged bytes would make them
 * look sound.
 *
 * Locks: the shard lock in steps 1 and 5; the list lock below it.
 */
#include "tier.h"

#include <errno.h>

#include "sync_point.h"
#include "train.h"

#define GRACE_NS UINT64_C(5000000) /* for one demotion; a reader without a CPU may take longer */

/* ---- demote -------------------------------------------------------------------------------- */

/* What a page looks like at first; the word's memory may go as soon as the section ends. */
struct form {
    uint64_t word;
    uint32_t version;
    unsigned flags;
    uint64_t tag;
    struct zc_sizes sizes;
    uint32_t stored_len; /* of its bytes, without the payload's head */
};

/* Step 1.  Which of the reasons to leave it alone, or MOVED to go on. */
static enum zc_tier_outcome note_form(const struct zc_where *w,
                                      struct zc_entry *e,
                                      struct form *out)
{
    enum zc_tier_outcome outcome = ZC_TIER_MOVED;

    zc_lock_acquire(&w->shard->lock);
    out->word = atomic_load_explicit(&e->payload, memory_order_relaxed);
    out->version = e->version;
    out->flags = zc_entry_flags(e);
    out->tag = zc_entry_tag(e);
    if (zc_entry_state(e) != ZC_LIVE || zc_entry_has(e, ZC_F_CORRUPT)) {
        outcome = ZC_TIER_BUSY;
    } else if (zc_word_pinned(out->word)) {
        outcome = ZC_TIER_PINNED;
    } else {
        out->sizes = zc_word_sizes(out->word);
        out->stored_len =
            zc_word_is_same(out->word) ? 0 : zc_payload_stored_len(zc_word_payload(out->word));
    }
    zc_lock_release(&w->shard->lock);
    return outcome;
}

static bool same_form(const struct zc_entry *e, const struct form *f)
{
    return zc_entry_state(e) == ZC_LIVE && e->version == f->version &&
           atomic_load_explicit(&e->payload, memory_order_relaxed) == f->word &&
           !zc_word_pinned(f->word);
}

/* Step 5.  @word may be the old one: then only the tier and the flags change. */
static enum zc_tier_outcome swap_form(const struct zc_where *w,
                                      struct zc_entry *e,
                                      const struct form *f,
                                      uint64_t word,
                                      uint64_t fill,
                                      enum zcache_tier to,
                                      unsigned flags)
{
    bool ok;

    zc_epoch_stock(w->thread->epoch, 2);
    zc_lock_acquire(&w->shard->lock);
    ok = same_form(e, f);
    if (ok) {
        zc_page_reform_locked(w, e, word, fill, to, flags);
    }
    zc_lock_release(&w->shard->lock);
    return ok ? ZC_TIER_MOVED : ZC_TIER_BUSY;
}

/* To the next list, as it is. */
static enum zc_tier_outcome move_along(const struct zc_where *w,
                                       struct zc_entry *e,
                                       const struct form *f,
                                       enum zcache_tier to,
                                       unsigned flags)
{
    enum zc_tier_outcome outcome = swap_form(w, e, f, f->word, 0, to, flags);

    return outcome == ZC_TIER_MOVED ? ZC_TIER_KEPT : outcome;
}

static void mark_corrupt(const struct zc_where *w, struct zc_entry *e, const struct form *f)
{
    bool marked = false;

    zc_lock_acquire(&w->shard->lock);
    if (same_form(e, f)) {
        zc_entry_set(e, ZC_F_CORRUPT);
        marked = true;
    }
    zc_lock_release(&w->shard->lock);
    if (marked) {
        zc_page_report_corrupt(w->tenant, e->key);
    }
}

static bool worth_encoding(const struct form *f, enum zcache_tier to)
{
    unsigned never = ZC_F_INCOMPRESSIBLE | ZC_F_KEEP_RAW |
                     (to == ZCACHE_TIER_FAST ? (unsigned)ZC_F_NO_FAST : (unsigned)ZC_F_NO_DENSE);

    return !zc_word_is_same(f->word) && (f->flags & never) == 0;
}

/* Encoded bytes, and what they were encoded with. */
struct packed {
    const char *bytes;
    size_t len; /* 0: too many; ZC_CODEC_NO_MEMORY */
    uint8_t codec;
    struct zc_dict *dict; /* referenced, until a payload takes that over; NULL for none */
};

/* Step 3. */
static struct packed encode(const struct zc_where *w,
                            enum zcache_tier to,
                            uint8_t codec,
                            char *raw,
                            uint32_t raw_len,
                            size_t cap)
{
    struct zc_codec_set *set = &w->thread->codecs;
    char *room = raw + w->cache->opt.page_max_bytes;
    struct packed p = {.bytes = room, .codec = codec};

    if (to == ZCACHE_TIER_DENSE) {
        p.dict = zc_train_dictionary(w->tenant, w->thread, codec, raw_len);
    }
    p.len = p.dict != NULL ? zc_dict_encode(p.dict, set, codec, room, cap, raw, raw_len)
                           : zc_codec_encode(w->cache->codecs, set, codec, room, cap, raw, raw_len);
    if (to == ZCACHE_TIER_DENSE && p.len != ZC_CODEC_NO_MEMORY) {
        zc_train_note(w->tenant, raw, raw_len, p.len == 0 ? cap : p.len);
    }
    return p;
}

/*
 * Room for the new form.  Old forms stay charged until their grace period is over; a pass over many
 * pages would fill the slack with them and encode the rest of the pages in vain.
 */
static bool reserve(const struct zc_where *w, size_t bytes)
{
    struct zc_account *account = w->tenant->account;

    if (zc_quota_reserve(account, bytes, ZC_QUOTA_RECLAIM) == NULL) {
        return true;
    }
    (void)zc_epoch_drain_until(w->thread->epoch, zc_plat_now_ns() + GRACE_NS);
    return zc_quota_reserve(account, bytes, ZC_QUOTA_RECLAIM) == NULL;
}

/* Step 4.  The new payload, its bytes reserved; NULL if there is no room. */
static struct zc_payload *build(const struct zc_where *w,
                                const struct zc_entry *e,
                                uint32_t raw_len,
                                const struct packed *packed)
{
    uint32_t stored = (uint32_t)packed->len;
    uint8_t codec = packed->codec;
    struct zc_account *account = w->tenant->account;
    size_t need = zc_page_bytes(stored, codec);
    struct zc_payload *p;

    if (!reserve(w, need)) {
        return NULL;
    }
    p = zc_page_new_payload(w->cache, zc_entry_node(e), account, raw_len, stored, codec);
    if (p == NULL) {
        zc_quota_refund(account, need);
        return NULL;
    }
    if (packed->dict != NULL) {
        zc_payload_set_dict(p, packed->dict->id);
    }
    zc_page_fill(p, packed->bytes);
    return p;
}

static void unbuild(const struct zc_where *w, struct zc_payload *p)
{
    size_t size = zc_payload_size(p);

    zc_core_release(w->cache, p, size, w->tenant->account);
}

static void count_demotion(const struct zc_where *w,
                           enum zcache_tier to,
                           uint32_t raw_len,
                           const struct packed *packed)
{
    struct zc_stat *stat = w->tenant->stat;
    bool dict = packed->dict != NULL;

    zc_stat_tier_add(stat, to, ZC_TC_demotions, 1);
    if (to == ZCACHE_TIER_DENSE) {
        zc_stat_add(stat, dict ? ZC_C_dense_dict_raw_bytes : ZC_C_dense_plain_raw_bytes, raw_len);
        zc_stat_add(stat, dict ? ZC_C_dense_dict_bytes : ZC_C_dense_plain_bytes, packed->len);
    }
}

/* Steps 4 and 5; a payload that is swapped in takes over the dictionary's reference. */
static enum zc_tier_outcome build_and_swap(const struct zc_where *w,
                                           struct zc_entry *e,
                                           const struct form *f,
                                           enum zcache_tier to,
                                           struct packed *packed,
                                           uint64_t *freed_out)
{
    struct zc_payload *p = build(w, e, f->sizes.raw, packed);
    enum zc_tier_outcome outcome;

    if (p == NULL) {
        return ZC_TIER_NO_ROOM;
    }
    outcome = swap_form(w, e, f, zc_word_of(p), 0, to, 0);
    if (outcome == ZC_TIER_MOVED) {
        *freed_out = f->sizes.allocated - zc_page_bytes((uint32_t)packed->len, packed->codec);
        count_demotion(w, to, f->sizes.raw, packed);
        packed->dict = NULL;
    } else {
        unbuild(w, p);
    }
    return outcome;
}

static enum zc_tier_outcome encode_and_swap(const struct zc_where *w,
                                            struct zc_entry *e,
                                            const struct form *f,
                                            enum zcache_tier to,
                                            char *raw,
                                            uint64_t *freed_out)
{
    uint8_t codec = atomic_load_explicit(&w->cache->codec[to], memory_order_relaxed);
    enum zc_tier_outcome outcome;
    struct packed packed;

    if (codec == ZC_CODEC_NONE) {
        return ZC_TIER_KEPT; /* the tier was turned off since the page was chosen for it */
    }
    packed = encode(w, to, codec, raw, f->sizes.raw, f->stored_len - f->stored_len / 8);
    ZC_SYNC_POINT("tier.encoded", e->key);
    if (packed.len == ZC_CODEC_NO_MEMORY) {
        outcome = ZC_TIER_NO_ROOM;
    } else if (packed.len == 0) {
        zc_stat_tier_add(w->tenant->stat, to, ZC_TC_demote_rejects, 1);
        outcome = move_along(
            w, e, f, to, to == ZCACHE_TIER_FAST ? (unsigned)ZC_F_NO_FAST : (unsigned)ZC_F_NO_DENSE);
    } else {
        outcome = build_and_swap(w, e, f, to, &packed, freed_out);
    }
    zc_train_unref(w->cache, packed.dict);
    return outcome;
}

/* A frame may hold a same-filled page that was pinned or promoted. */
static enum zc_tier_outcome become_same(const struct zc_where *w,
                                        struct zc_entry *e,
                                        const struct form *f,
                                        enum zcache_tier to,
                                        uint64_t fill,
                                        uint64_t *freed_out)
{
    struct zc_sizes old = f->sizes;
    enum zc_tier_outcome outcome = swap_form(w, e, f, zc_word_same(old.raw, fill), fill, to, 0);

    if (outcome == ZC_TIER_MOVED) {
        *freed_out = old.allocated;
        zc_stat_tier_add(w->tenant->stat, to, ZC_TC_demotions, 1);
    }
    return outcome;
}

enum zc_tier_outcome zc_tier_demote(struct zcache *cache,
                                    struct zc_thread *th,
                                    struct zc_entry *e,
                                    enum zcache_tier to,
                                    uint64_t *freed_out)
{
    struct zc_where w = zc_page_where_entry(cache, th, e);
    char *raw = zc_thread_scratch(th);
    enum zc_tier_outcome outcome;
    struct form f;
    uint64_t fill;
    int rc;

    *freed_out = 0;
    if (raw == NULL) {
        return ZC_TIER_NO_ROOM;
    }
    zc_epoch_enter(th->epoch);
    outcome = note_form(&w, e, &f);
    if (outcome != ZC_TIER_MOVED) {
        zc_epoch_exit(th->epoch);
        return outcome;
    }
    if (!worth_encoding(&f, to)) {
        zc_epoch_exit(th->epoch);
        return move_along(&w, e, &f, to, 0);
    }
    rc = zc_page_decode(cache, th, e, f.word, raw);
    zc_epoch_exit(th->epoch);
    ZC_SYNC_POINT("tier.decoded", e->key);
    if (rc != 0) {
        if (rc == -EBADMSG) {
            mark_corrupt(&w, e, &f);
        }
        return ZC_TIER_BUSY;
    }
    if (f.sizes.raw_form && zc_same_detect(raw, f.sizes.raw, &fill) &&
        zc_same_possible(fill, f.tag)) {
        return become_same(&w, e, &f, to, fill, freed_out);
    }
    return encode_and_swap(&w, e, &f, to, raw, freed_out);
}

enum zcache_tier zc_tier_next(const struct zcache *cache, enum zcache_tier from)
{
    const uint32_t fast = cache->opt.fast_percent;

    for (int t = (int)from + 1; t < ZCACHE_TIERS; t++) {
        bool off = t == ZCACHE_TIER_DENSE && fast >= 100 && fast != ZCACHE_AUTO;

        if (!off && atomic_load_explicit(&cache->codec[t], memory_order_relaxed) != 0) {
            return (enum zcache_tier)t;
        }
    }
    return ZCACHE_TIERS;
}

/* ---- promote ------------------------------------------------------------------------------- */

/* In a section: the page if it still has that form; its node and version. */
static struct zc_entry *find_form(const struct zc_where *w, struct zcache_key key, uint64_t word)
{
    struct zc_entry *e = zc_index_find(w->cache->index, w->hash, w->tenant->slot, key);

    return e != NULL && atomic_load_explicit(&e->payload, memory_order_acquire) == word ? e : NULL;
}

static int swap_in_frame(const struct zc_where *w,
                         struct zcache_key key,
                         uint64_t word,
                         struct zc_payload *p)
{
    struct zc_entry *e;
    int rc = -EAGAIN;

    zc_lock_acquire(&w->shard->lock);
    e = zc_shard_find_locked(w->shard, w->hash, w->tenant->slot, key);
    if (e != NULL && zc_entry_resident(e) &&
        atomic_load_explicit(&e->payload, memory_order_relaxed) == word) {
        zc_stat_tier_add(w->tenant->stat, zc_entry_tier(e), ZC_TC_promotions, 1);
        zc_page_reform_locked(w, e, zc_word_of(p), 0, ZCACHE_TIER_RAW, 0);
        rc = 0;
    }
    zc_lock_release(&w->shard->lock);
    return rc;
}

/* In a section, which keeps the old form's memory from becoming a new form at the same address. */
static int decode_and_swap(const struct zc_where *w, struct zcache_key key, uint64_t word)
{
    struct zc_entry *e = find_form(w, key, word);
    struct zc_payload *p;
    uint32_t len;
    int rc;

    if (e == NULL) {
        return -EAGAIN;
    }
    len = zc_word_sizes(word).raw;
    p = zc_page_new_payload(w->cache, zc_entry_node(e), w->tenant->account, len, len,
                            ZC_CODEC_NONE);
    if (p == NULL) {
        return -ENOMEM;
    }
    rc = zc_page_decode(w->cache, w->thread, e, word, zc_payload_data(p));
    if (rc == -EAGAIN && !zc_page_same_intact(w, e)) {
        rc = -EBADMSG;
    }
    if (rc == 0) {
        zc_page_seal(p);
        rc = swap_in_frame(w, key, word, p);
    }
    if (rc != 0) {
        zc_page_free_payload(p);
    }
    return rc;
}

int zc_tier_promote(const struct zc_where *w, struct zcache_key key, uint64_t word, size_t reserved)
{
    struct zc_account *account = w->tenant->account;
    size_t need = 0;
    int rc = -EAGAIN;

    zc_epoch_stock(w->thread->epoch, 2);
    zc_epoch_enter(w->thread->epoch);
    if (find_form(w, key, word) != NULL) { /* now the word's memory is safe to look at */
        need = zc_page_bytes(zc_word_sizes(word).raw, ZC_CODEC_NONE);
        if (reserved == 0 && zc_quota_reserve(account, need, ZC_QUOTA_PUT) != NULL) {
            rc = -EDQUOT;
        } else if (reserved == 0 || reserved == need) { /* else a newer page got the address */
            rc = decode_and_swap(w, key, word);
            if (rc != 0 && reserved == 0) {
                zc_quota_refund(account, need);
            }
        }
    }
    zc_epoch_exit(w->thread->epoch);
    return rc;
}
