/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * entry.c - the state machine of a cached page.
 *
 * state    who may see it                legal calls             transitions
 * -------  ----------------------------  ----------------------  -------------------------------
 * LOADING  index, its load, waiters      wait; put, delete,      -> LIVE: the load or a put
 *          (on no list, no payload)      truncate cancel it         publishes bytes
 *                                                                -> DEAD: the load failed, found
 *                                                                   nothing, or was cancelled
 * LIVE     index, list or reclaimer      all                     -> WRITING: write-back claims it
 *                                                                -> DEAD: delete, take, evict,
 *                                                                   failed put
 * WRITING  as LIVE, and the batch that   get, pin, put (stays    -> LIVE: completion; clean if the
 *          writes it                     WRITING); delete, take,    version is the one written
 *                                        failed put wait
 * DEAD     whoever still holds a         none: let go            freed by the last unref, through
 *          reference                                                the epoch
 *
 * A put to a LIVE or WRITING entry swaps the payload and raises the version; it does not change the
 * state.  So "one write in flight per key" is the state WRITING, and "did a newer version
 * come meanwhile" is a comparison of versions.
 *
 * Locks: state, version, tag and payload change under the entry's shard lock; where and lru under
 * its list lock; referenced is only ever set by hits and cleared by reclaim, without a lock.
 *
 * References: one for being in the index, one for each reclaimer that isolated it, batch that
 * carries it, and waiter.  The last to let go retires the record.
 *
 * Not taken: a reference count taken by hits (a shared write on each); a separate object for the
 * version in flight (the version number in the batch is enough).
 */
#include "entry.h"

#include "pool.h"

static const uint8_t legal[4] = {
    [ZC_LOADING] = 1u << ZC_LIVE | 1u << ZC_DEAD,
    [ZC_LIVE] = 1u << ZC_WRITING | 1u << ZC_DEAD,
    [ZC_WRITING] = 1u << ZC_LIVE,
    [ZC_DEAD] = 0,
};

void zc_entry_init(struct zc_entry *e, uint32_t slot, unsigned node, struct zcache_key key)
{
    ZC_ASSERT(slot <= ZC_OWNER_SLOT && node < ZC_NODES_MAX);
    *e = (struct zc_entry){.key = key, .owner = slot | (uint32_t)node << ZC_OWNER_NODE_SHIFT};
    atomic_store_explicit(&e->refs, 1, memory_order_relaxed);
    zc_list_init(&e->lru);
}

/* Release, because a lookup that goes on from here needs what whoever linked the next one wrote. */
void zc_entry_set_flags(struct zc_entry *e, unsigned flags)
{
    const struct zc_entry *next = zc_link_load(&e->link, memory_order_relaxed);

    atomic_store_explicit(&e->link, (uint64_t)flags << ZC_LINK_BITS | (uint64_t)(uintptr_t)next,
                          memory_order_release);
}

void zc_entry_become(struct zc_entry *e, enum zc_state to)
{
    unsigned flags = zc_entry_flags(e);

    ZC_ASSERT((legal[flags & ZC_F_STATE] & (1u << to)) != 0);
    zc_entry_set_flags(e, (flags & ~(unsigned)ZC_F_STATE) | (unsigned)to);
}

void zc_entry_set(struct zc_entry *e, unsigned flags)
{
    ZC_DEBUG_ASSERT((flags & ZC_F_STATE) == 0);
    zc_entry_set_flags(e, zc_entry_flags(e) | flags);
}

void zc_entry_clear(struct zc_entry *e, unsigned flags)
{
    ZC_DEBUG_ASSERT((flags & ZC_F_STATE) == 0);
    zc_entry_set_flags(e, zc_entry_flags(e) & ~flags);
}

uint64_t zc_entry_tag(const struct zc_entry *e)
{
    return zc_word_has_fill(atomic_load_explicit(&e->payload, memory_order_relaxed))
               ? 0
               : atomic_load_explicit(&e->tag_or_fill, memory_order_relaxed);
}

void zc_entry_set_tag(struct zc_entry *e, uint64_t tag)
{
    if (!zc_word_has_fill(atomic_load_explicit(&e->payload, memory_order_relaxed))) {
        atomic_store_explicit(&e->tag_or_fill, tag, memory_order_relaxed);
    }
    ZC_DEBUG_ASSERT(zc_entry_tag(e) == tag);
}

struct zc_sizes zc_word_sizes(uint64_t word)
{
    struct zc_sizes s = {0, 0, 0, false};

    if (word == 0) {
        return s;
    }
    if (zc_word_is_same(word)) {
        s.raw = zc_word_same_len(word);
        return s;
    }
    s.raw = zc_payload_raw_len(zc_word_payload(word));
    s.stored = (uint32_t)zc_payload_size(zc_word_payload(word));
    s.allocated = (uint32_t)zc_pool_round(s.stored);
    s.raw_form = zc_payload_is_raw(zc_word_payload(word));
    return s;
}

bool zc_word_pinned(uint64_t word)
{
    if (word == 0 || zc_word_is_same(word) || !zc_payload_is_raw(zc_word_payload(word))) {
        return false;
    }
    return (atomic_load_explicit(&zc_payload_frame(zc_word_payload(word))->pins,
                                 memory_order_relaxed) &
            ~ZC_FRAME_RETIRED) != 0;
}
