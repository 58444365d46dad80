/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One cached page: its record (entry), its bytes (payload), and the words used for both.
 *
 * clean      the store has this version         dirty     it does not
 * resident   LIVE or WRITING                    in flight WRITING: handed to the store
 * isolated   taken off its list by a reclaimer  pinned    a caller holds its raw bytes
 * demoted    moved to a denser tier
 */
#ifndef ZC_ENTRY_H
#define ZC_ENTRY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <zcache/types.h>

#include "check.h"
#include "list.h"
#include "plat.h"
#include "quota.h"

/* ---- payload: one immutable stored version ------------------------------------------------- */

/**
 * struct zc_payload - head of the stored bytes, which follow it.
 * @meta:     raw length - 1 (20 bits), stored length - 1 (20), codec instance (8), dictionary (16).
 * @checksum: of the stored bytes, and of the dictionary.
 * @version:  low bits of the entry's version at the time, for verification.
 */
struct zc_payload {
    uint64_t meta;
    uint32_t checksum;
    uint32_t version;
};

/**
 * struct zc_frame - a payload of codec instance 0: raw bytes, which can be pinned.
 * @pins:     number of pins, and ZC_FRAME_RETIRED once no reader can pin it any more.
 * @verified: 1 once a pin has compared the bytes with the checksum.
 */
struct zc_frame {
    struct zc_payload head;
    _Atomic uint32_t pins;
    _Atomic uint32_t verified;
    struct zc_account *account; /* whose charge it is */
};

#define ZC_FRAME_RETIRED 0x80000000u

static inline uint32_t zc_payload_raw_len(const struct zc_payload *p)
{
    return (uint32_t)(p->meta & 0xfffffu) + 1;
}

static inline uint32_t zc_payload_stored_len(const struct zc_payload *p)
{
    return (uint32_t)((p->meta >> 20) & 0xfffffu) + 1;
}

static inline uint8_t zc_payload_codec(const struct zc_payload *p)
{
    return (uint8_t)(p->meta >> 40);
}

/** zc_payload_dict() - number of the dictionary that decodes it; 0 for none. */
static inline uint16_t zc_payload_dict(const struct zc_payload *p)
{
    return (uint16_t)(p->meta >> 48);
}

static inline void zc_payload_set_dict(struct zc_payload *p, uint16_t dict)
{
    p->meta |= (uint64_t)dict << 48;
}

static inline bool zc_payload_is_raw(const struct zc_payload *p)
{
    return zc_payload_codec(p) == 0;
}

static inline uint64_t zc_payload_meta(uint32_t raw_len, uint32_t stored_len, uint8_t codec)
{
    return (uint64_t)(raw_len - 1) | (uint64_t)(stored_len - 1) << 20 | (uint64_t)codec << 40;
}

/*
 * Frames of 2 KiB and more begin their bytes on a cache line: copies are a fifth faster, and it
 * costs nothing, since the pool's classes of that size are multiples of 64 anyway.
 */
#define ZC_FRAME_ALIGNED 2048u

/** zc_payload_head() - bytes before the stored ones. */
static inline size_t zc_payload_head(uint32_t stored_len, uint8_t codec)
{
    if (codec != 0) {
        return sizeof(struct zc_payload);
    }
    return stored_len >= ZC_FRAME_ALIGNED ? ZC_CACHE_LINE : sizeof(struct zc_frame);
}

static inline void *zc_payload_data(const struct zc_payload *p)
{
    return (char *)(uintptr_t)p + zc_payload_head(zc_payload_stored_len(p), zc_payload_codec(p));
}

static inline struct zc_frame *zc_payload_frame(struct zc_payload *p)
{
    ZC_DEBUG_ASSERT(zc_payload_is_raw(p));
    return (struct zc_frame *)(void *)p;
}

/** zc_payload_size() - bytes asked from the pool. */
static inline size_t zc_payload_size(const struct zc_payload *p)
{
    return zc_payload_head(zc_payload_stored_len(p), zc_payload_codec(p)) +
           zc_payload_stored_len(p);
}

/* ---- payload word: what an entry points to ------------------------------------------------- */

/*
 * 0: nothing yet.  Bit 0 clear: a payload.  Bit 0 set: a same-filled page: length - 1 in bits 1 to
 * 20, 43 bits of a hash of the repeated word and the length above.  The hash is the page's checksum,
 * and tells a reader that the word and the fill it read belong together.  The fill itself is in
 * entry.tag_or_fill, unless it is 0, which the hash alone tells.
 */
static inline bool zc_word_is_same(uint64_t word)
{
    return (word & 1) != 0;
}

/** zc_word_same() - the word of @len bytes that repeat @fill. */
static inline uint64_t zc_word_same(uint32_t len, uint64_t fill)
{
    uint64_t h = (fill ^ (uint64_t)len << 40) * UINT64_C(0x9e3779b97f4a7c15);

    h = (h ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9); /* Stafford's mixer, variant 13 */
    h = (h ^ h >> 32) * UINT64_C(0x94d049bb133111eb);
    return 1 | (uint64_t)(len - 1) << 1 | (h & ~UINT64_C(0x1fffff));
}

static inline uint32_t zc_word_same_len(uint64_t word)
{
    return (uint32_t)((word >> 1) & 0xfffffu) + 1;
}

/** zc_word_has_fill() - whether it is of a page that repeats a word other than 0. */
static inline bool zc_word_has_fill(uint64_t word)
{
    return zc_word_is_same(word) && word != zc_word_same(zc_word_same_len(word), 0);
}

/**
 * zc_same_possible() - whether a page that repeats @fill can do without a payload: there is room for
 * a tag or for a fill.
 */
static inline bool zc_same_possible(uint64_t fill, uint64_t tag)
{
    return fill == 0 || tag == 0;
}

static inline struct zc_payload *zc_word_payload(uint64_t word)
{
    return (struct zc_payload *)(uintptr_t)word;
}

static inline uint64_t zc_word_of(const struct zc_payload *p)
{
    return (uint64_t)(uintptr_t)p;
}

/** struct zc_sizes - the three sizes of a page, always kept apart. */
struct zc_sizes {
    uint32_t raw;
    uint32_t stored;
    uint32_t allocated;
    bool raw_form; /* bytes as the caller gave them, whatever the tier's list */
};

struct zc_sizes zc_word_sizes(uint64_t word);

/* ---- entry --------------------------------------------------------------------------------- */

enum zc_state {
    ZC_LOADING = 0,
    ZC_LIVE = 1,
    ZC_WRITING = 2,
    ZC_DEAD = 3
};

/* An entry's flags, 16 bits, written under the shard lock; bits 0 and 1 are the state. */
enum zc_entry_flags {
    ZC_F_STATE = 0x3,
    ZC_F_DIRTY = 1 << 2,
    ZC_F_PARITY = 1 << 3,         /* which flush a dirty page belongs to: tenant.h */
    ZC_F_INCOMPRESSIBLE = 1 << 4, /* the caller said so */
    ZC_F_NO_FAST = 1 << 5,        /* did not shrink by 1/8 */
    ZC_F_NO_DENSE = 1 << 6,
    ZC_F_WAITED = 1 << 7,  /* someone waits for it: do not start another write */
    ZC_F_CORRUPT = 1 << 8, /* its payload is damaged: left alone */
    ZC_F_REPARENTED = 1 << 9,
    ZC_F_LOAD_ENDED = 1 << 10, /* its load brought no bytes: tag_or_fill is the load's result */
    ZC_F_KEEP_RAW = 1 << 11    /* the caller wants it quick: never compressed */
};

/* entry.where, written under the list lock. */
enum zc_entry_where {
    ZC_W_TIER = 0x3,
    ZC_W_LISTED = 1 << 2,   /* on the list of its tier */
    ZC_W_ISOLATED = 1 << 3, /* with a reclaimer */
    ZC_W_GONE = 1 << 4,     /* left the cache: never list it again */
    ZC_W_SCAN = 1 << 5,     /* came by a scan */
    ZC_W_NEW = 1 << 6       /* on probation */
};

/*
 * entry.referenced, written without a lock: how often the page was used, as far as it matters, and
 * whether it was since it has its compressed form.
 */
enum zc_entry_uses {
    ZC_R_USES = 0x3,
    ZC_R_PACKED_USE = 1 << 2
};

#define ZC_OWNER_SLOT       0xfffffu
#define ZC_OWNER_NODE_SHIFT 20

/*
 * A cache line, so that a lookup touches one for each page it passes.  What it costs: addresses take 48
 * bits, and one word serves for two things that a page hardly ever has together.
 */
struct zc_entry {
    /* written under the shard lock, read in sections */
    _Atomic uint64_t link; /* next of the bucket, below; the flags, which may be peeked at, above */
    _Atomic uint64_t payload; /* word; release: its bytes are complete */
    /* set once */
    struct zcache_key key;
    uint32_t owner; /* tenant's slot, node */
    /* under the shard lock */
    uint32_t version;
    _Atomic uint64_t
        tag_or_fill; /* a page that repeats a word but 0 has no tag, and this is the word */
    /* under the list lock */
    struct zc_list lru;
    /* atomic */
    _Atomic uint16_t refs; /* index, reclaimer, batch, waiters */
    /* written by hits, without a lock */
    _Atomic uint8_t referenced;
    /* under the list lock too */
    _Atomic uint8_t where; /* may be peeked at */
};

_Static_assert(sizeof(struct zc_entry) == ZC_CACHE_LINE, "an entry's size counts a million times");

#define ZC_REFS_MAX 60000u /* waiters beyond it do not wait */

/* ---- links of a bucket: an entry's and the bucket's own, which has no flags ------------------ */

#define ZC_LINK_BITS 48u

static inline struct zc_entry *zc_link_entry(uint64_t link)
{
    return (struct zc_entry *)(uintptr_t)(link & ((UINT64_C(1) << ZC_LINK_BITS) - 1));
}

static inline struct zc_entry *zc_link_load(const _Atomic uint64_t *link, memory_order order)
{
    return zc_link_entry(atomic_load_explicit(link, order));
}

/** zc_link_store() - lead to @e; under the shard lock, as the flags beside it. */
static inline void zc_link_store(_Atomic uint64_t *link,
                                 const struct zc_entry *e,
                                 memory_order order)
{
    const uint64_t flags = atomic_load_explicit(link, memory_order_relaxed) >> ZC_LINK_BITS;

    atomic_store_explicit(link, flags << ZC_LINK_BITS | (uint64_t)(uintptr_t)e, order);
}

static inline unsigned zc_entry_flags(const struct zc_entry *e)
{
    return (unsigned)(atomic_load_explicit(&e->link, memory_order_relaxed) >> ZC_LINK_BITS);
}

static inline uint32_t zc_entry_slot(const struct zc_entry *e)
{
    return e->owner & ZC_OWNER_SLOT;
}

static inline unsigned zc_entry_node(const struct zc_entry *e)
{
    return e->owner >> ZC_OWNER_NODE_SHIFT;
}

static inline enum zc_state zc_entry_state(const struct zc_entry *e)
{
    return (enum zc_state)(zc_entry_flags(e) & ZC_F_STATE);
}

static inline bool zc_entry_has(const struct zc_entry *e, unsigned flag)
{
    return (zc_entry_flags(e) & flag) != 0;
}

static inline enum zcache_tier zc_entry_tier(const struct zc_entry *e)
{
    return (enum zcache_tier)(atomic_load_explicit(&e->where, memory_order_relaxed) & ZC_W_TIER);
}

static inline bool zc_entry_resident(const struct zc_entry *e)
{
    enum zc_state s = zc_entry_state(e);

    return s == ZC_LIVE || s == ZC_WRITING;
}

/** zc_entry_init() - fill a fresh record: LOADING, one reference (the index's), no payload. */
void zc_entry_init(struct zc_entry *e, uint32_t slot, unsigned node, struct zcache_key key);

/** zc_entry_become() - change the state; under the shard lock; stops on an illegal transition. */
void zc_entry_become(struct zc_entry *e, enum zc_state to);

/* Under the shard lock. */
void zc_entry_set(struct zc_entry *e, unsigned flags);
void zc_entry_clear(struct zc_entry *e, unsigned flags);
void zc_entry_set_flags(struct zc_entry *e, unsigned flags); /* all of them, the state too */
uint64_t zc_entry_tag(const struct zc_entry *e);
/** zc_entry_set_tag() - for the payload word of the moment, so that is set first. */
void zc_entry_set_tag(struct zc_entry *e, uint64_t tag);

/** zc_entry_fill() - what the page of @word repeats, if nothing was published since. */
static inline uint64_t zc_entry_fill(const struct zc_entry *e, uint64_t word)
{
    return zc_word_has_fill(word) ? atomic_load_explicit(&e->tag_or_fill, memory_order_relaxed) : 0;
}

/** zc_entry_uses() - how often it was used since somebody last looked; 3 is often. */
static inline unsigned zc_entry_uses(const struct zc_entry *e)
{
    return atomic_load_explicit(&e->referenced, memory_order_relaxed) & ZC_R_USES;
}

static inline void zc_entry_set_uses(struct zc_entry *e, unsigned uses)
{
    atomic_store_explicit(&e->referenced, (uint8_t)uses, memory_order_relaxed);
}

/**
 * zc_entry_use() - count a use, @packed: of a compressed form.  What others read is written only while
 * that changes something; a use that is lost to another at the same time does not matter.
 *
 * Return: whether it was used in its compressed form before.
 */
static inline bool zc_entry_use(struct zc_entry *e, bool packed)
{
    unsigned before = atomic_load_explicit(&e->referenced, memory_order_relaxed);
    unsigned after = (before & ZC_R_USES) == ZC_R_USES ? before : before + 1;

    after |= packed ? (unsigned)ZC_R_PACKED_USE : 0u;
    if (after != before) {
        atomic_store_explicit(&e->referenced, (uint8_t)after, memory_order_relaxed);
    }
    return (before & ZC_R_PACKED_USE) != 0;
}

static inline void zc_entry_ref(struct zc_entry *e)
{
    uint16_t before = atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);

    ZC_ASSERT(before != UINT16_MAX);
}

/** zc_entry_crowded() - so many hold it that another waiter must not. */
static inline bool zc_entry_crowded(const struct zc_entry *e)
{
    return atomic_load_explicit(&e->refs, memory_order_relaxed) >= ZC_REFS_MAX;
}

/** zc_entry_unref() - let go.  Return: true if that was the last one: retire the record. */
static inline bool zc_entry_unref(struct zc_entry *e)
{
    uint16_t before = atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel);

    ZC_ASSERT(before != 0);
    return before == 1;
}

/** zc_word_pinned() - whether a caller holds the bytes that @word points to. */
bool zc_word_pinned(uint64_t word);

#endif /* ZC_ENTRY_H */
