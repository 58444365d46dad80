/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What happens to one page: publish a version, mark it dirty or clean, change its form, unlink it,
 * decode it, wait for it.  The steps that put, get, demote, write back, load and evict are made of.
 *
 * Functions ending in _locked need the page's shard lock and, where they retire something, stock
 * for two retires (zc_epoch_stock).  Nothing in them can fail.
 */
#ifndef ZC_PAGE_H
#define ZC_PAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "core.h"
#include "tenant.h"

/** struct zc_where - a page's place: what every step needs to know. */
struct zc_where {
    struct zcache *cache;
    struct zcache_tenant *tenant;
    struct zc_thread *thread;
    struct zc_shard *shard;
    uint64_t hash;
};

/** zc_page_where() - the place of a key of @t. */
static inline struct zc_where zc_page_where(struct zcache_tenant *t,
                                            struct zc_thread *th,
                                            struct zcache_key key)
{
    uint64_t hash = zc_index_hash(t->slot, key);

    zc_index_prefetch(t->cache->index, hash); /* it comes while a section begins */
    return (struct zc_where){.cache = t->cache,
                             .tenant = t,
                             .thread = th,
                             .shard = zc_index_shard(t->cache->index, hash),
                             .hash = hash};
}

/** zc_page_where_entry() - the place of an entry that the caller holds. */
struct zc_where zc_page_where_entry(struct zcache *cache,
                                    struct zc_thread *th,
                                    const struct zc_entry *e);

/** struct zc_version - a version that is ready to be published. */
struct zc_version {
    uint64_t word;
    uint64_t fill; /* of a same-filled page */
    uint64_t tag;
    unsigned flags; /* of enum zc_entry_flags: DIRTY, INCOMPRESSIBLE, KEEP_RAW */
    bool scan;
    enum zcache_tier tier; /* that it starts in */
    enum zc_queue queue;   /* that it had, where it is taken over */
};

/** zc_page_new_entry() - a record whose bytes are reserved already; NULL without memory. */
struct zc_entry *zc_page_new_entry(struct zcache *cache,
                                   struct zcache_tenant *t,
                                   unsigned node,
                                   struct zcache_key key);
/** zc_page_free_entry() - one that was never published; the reservation stays with the caller. */
void zc_page_free_entry(struct zcache *cache, struct zc_entry *e);

/** zc_page_new_payload() - reserved already; head filled but for the checksum.  NULL without
 * memory. */
struct zc_payload *zc_page_new_payload(struct zcache *cache,
                                       unsigned node,
                                       struct zc_account *account,
                                       uint32_t raw_len,
                                       uint32_t stored_len,
                                       uint8_t codec);
/** zc_page_free_payload() - one that was never published; the reservation stays. */
void zc_page_free_payload(struct zc_payload *p);
/** zc_page_seal() - compute the checksum once the bytes are in place. */
void zc_page_seal(struct zc_payload *p);
/** zc_page_fill() - put the stored bytes in place, and seal; the dictionary's number is set before. */
void zc_page_fill(struct zc_payload *p, const void *bytes);
/** zc_page_bytes() - what a payload of that form takes from the pool. */
size_t zc_page_bytes(uint32_t stored_len, uint8_t codec);

/** zc_page_insert_locked() - a new entry, LOADING, into the index. */
void zc_page_insert_locked(const struct zc_where *w, struct zc_entry *e);

/** zc_page_publish_locked() - @v becomes the entry's version; LOADING turns LIVE. */
void zc_page_publish_locked(const struct zc_where *w,
                            struct zc_entry *e,
                            const struct zc_version *v);

/** zc_page_clean_locked() - the store has the current version now. */
void zc_page_clean_locked(const struct zc_where *w, struct zc_entry *e);

/** zc_page_dirty_locked() - the store does not. */
void zc_page_dirty_locked(const struct zc_where *w, struct zc_entry *e);

/** zc_page_still_dirty_locked() - the store has a version claimed at @parity, not the newest. */
void zc_page_still_dirty_locked(const struct zc_where *w, struct zc_entry *e, uint32_t parity);

/** zc_page_reform_locked() - the same version in another form and tier; flags to add. */
void zc_page_reform_locked(const struct zc_where *w,
                           struct zc_entry *e,
                           uint64_t word,
                           uint64_t fill,
                           enum zcache_tier tier,
                           unsigned flags);

/** zc_page_evict_locked() - as unlink, of a LIVE page, counted and remembered as evicted. */
void zc_page_evict_locked(const struct zc_where *w, struct zc_entry *e);

/** zc_page_unlink_locked() - LIVE or LOADING leaves the cache; its index reference is dropped. */
void zc_page_unlink_locked(const struct zc_where *w, struct zc_entry *e);

/** zc_page_release_locked() - as unlink, of a LIVE page whose payload the caller takes over. */
void zc_page_release_locked(const struct zc_where *w, struct zc_entry *e);

/**
 * zc_page_adopt_locked() - a new record with a payload taken over from another tenant, as the
 * oldest of
 *                          its tier.  @v->flags: enum zc_entry_flags to keep.
 */
void zc_page_adopt_locked(const struct zc_where *w, struct zc_entry *e, const struct zc_version *v);

/**
 * zc_page_move_record_locked() - @fresh, made by zc_page_new_entry(), takes the place of a page's record,
 *                                which is retired.
 *
 * Return: false if somebody holds the record: nothing changed.
 */
bool zc_page_move_record_locked(const struct zc_where *w,
                                struct zc_entry *e,
                                struct zc_entry *fresh);

/** zc_page_wake_locked() - tell those who wait for this page's state. */
void zc_page_wake_locked(const struct zc_where *w, struct zc_entry *e);

/**
 * zc_page_wait_locked() - wait, with the shard lock dropped meanwhile, until a WRITING or LOADING
 * entry
 *                         has left that state.
 *
 * Return: 0, look the key up again; -EBUSY with @nowait; -EDEADLK it is in this thread's own
 * callback;
 * -ETIMEDOUT.
 */
int zc_page_wait_locked(const struct zc_where *w,
                        struct zc_entry *e,
                        bool nowait,
                        uint64_t deadline_ns) ZC_REQUIRES(w->shard->lock);

/**
 * zc_page_decode() - verify and decode what @word points to; inside an epoch section.
 * @cap: room at @buf; the page's length is in zc_word_sizes(@word).raw.
 *
 * Return: 0; -EBADMSG; -ENOMEM; -EAGAIN same-filled, and a newer version is just being published,
 * or the record is damaged: zc_page_same_intact() tells which.
 */
int zc_page_decode(struct zcache *cache,
                   struct zc_thread *th,
                   struct zc_entry *e,
                   uint64_t word,
                   void *buf);

/**
 * zc_page_head_possible() - whether a page of this cache can have a payload with such lengths.
 *
 * The checksum is of the bytes only.  A head that claims other lengths than the bytes have is left to
 * the decoder, which restores exactly what the head says or fails; but lengths that no page here has
 * would lead it, or a copy, beyond the buffers.
 */
static inline bool zc_page_head_possible(const struct zcache *cache, const struct zc_payload *p)
{
    const uint32_t raw = zc_payload_raw_len(p);
    const uint32_t stored = zc_payload_stored_len(p);

    return raw <= cache->opt.page_max_bytes &&
           (zc_payload_is_raw(p) ? stored == raw : stored <= raw);
}

/**
 * zc_page_intact() - whether a payload can be what was stored: a head that a page of this cache may
 *                    have, and the checksum of the bytes.  Inside a section, or where it cannot go.
 */
bool zc_page_intact(const struct zcache *cache, const struct zc_payload *p);

/** zc_page_verify_frame() - a frame's first pin: compares the bytes, and remembers that it did. */
bool zc_page_verify_frame(const struct zcache *cache, struct zc_payload *p);

/**
 * zc_page_may_pin() - whether a frame's bytes are what was stored, as far as pins look.
 *
 * The first pin of a frame reads all its bytes; the following ones trust it, or each would cost as much
 * as a copy.  What damages the frame later is found by the next get, demotion or write.
 */
static inline bool zc_page_may_pin(const struct zcache *cache, struct zc_payload *p)
{
    const uint32_t verified =
        atomic_load_explicit(&zc_payload_frame(p)->verified, memory_order_relaxed);

    /* The lengths are the pin's. */
    return ZC_LIKELY(verified != 0) ? zc_page_head_possible(cache, p)
                                    : zc_page_verify_frame(cache, p);
}

/** zc_page_same_intact() - takes the shard lock, and so waits for a publisher; inside a section. */
bool zc_page_same_intact(const struct zc_where *w, struct zc_entry *e);

/** zc_page_report_corrupt() - count and log a damaged payload; no lock, no section. */
void zc_page_report_corrupt(struct zcache_tenant *t, struct zcache_key key);

/** zc_page_putback() - give an isolated page back to its list and let go of it. */
void zc_page_putback(struct zcache *cache, struct zc_thread *th, struct zc_entry *e, bool newest);

#define ZC_PAGE_AHEAD 16u /* pages whose memory is read at the same time */

/**
 * zc_page_expect() - have the CPU read what calls for these pages will read, all at once and not one after the
 *                    other; at most ZC_PAGE_AHEAD.
 */
void zc_page_expect(struct zcache_tenant *t,
                    struct zc_thread *th,
                    const struct zcache_page *pages,
                    size_t n);

#endif /* ZC_PAGE_H */
