/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sharded table from (tenant slot, key) to entry; lookups take no lock.
 */
#ifndef ZC_INDEX_H
#define ZC_INDEX_H

#include <stdatomic.h>
#include <stdint.h>
#include <zcache/types.h>

#include "entry.h"
#include "lock.h"
#include "plat.h"

#define ZC_SEGMENT_BUCKETS 64u
#define ZC_BUCKET_CELLS    8u
#define ZC_BUCKET_LOAD     6u /* entries to a bucket from which the table grows */

/** struct zc_bucket - a cache line; see index.c. */
struct zc_bucket {
    _Alignas(ZC_CACHE_LINE) _Atomic uint64_t cell[ZC_BUCKET_CELLS];
};

struct zc_segment {
    struct zc_bucket bucket[ZC_SEGMENT_BUCKETS];
};

struct zc_shard {
    _Alignas(ZC_CACHE_LINE) struct zc_lock lock;
    struct zc_cond cond; /* a state that somebody waits for has changed */
    /* under lock */
    uint64_t n_entries;
    /* atomic: written under lock, read in sections */
    _Atomic uint32_t moves;     /* odd while a bucket is being split */
    _Atomic uint32_t n_buckets; /* release: its segment is there */
    /* set once each, in order */
    _Atomic(struct zc_segment *) *segment;
    uint32_t max_segments;
};

struct zc_index;

/** zc_index_create() - @max_entries bounds the number of buckets; beyond it chains get longer. */
int zc_index_create(const struct zc_mem *mem, uint64_t max_entries, struct zc_index **out);

/** zc_index_destroy() - it must be empty. */
void zc_index_destroy(struct zc_index **index);

uint64_t zc_index_hash(uint32_t slot, struct zcache_key key);

struct zc_shard *zc_index_shard(struct zc_index *index, uint64_t hash);

/**
 * zc_index_find() - without a lock, unless a bucket is being split for long; inside an epoch section, which
 *                   keeps the entry's memory.
 */
struct zc_entry *zc_index_find(struct zc_index *index,
                               uint64_t hash,
                               uint32_t slot,
                               struct zcache_key key);

/**
 * zc_index_prefetch() - have the CPU read what a look-up reads first; zc_index_likely() - the entry that it is
 * likely to find, NULL for none, not touched itself: in a section.
 */
void zc_index_prefetch(struct zc_index *index, uint64_t hash);
struct zc_entry *zc_index_likely(struct zc_index *index, uint64_t hash);

/* Under the shard's lock. */
struct zc_entry *zc_shard_find_locked(struct zc_shard *shard,
                                      uint64_t hash,
                                      uint32_t slot,
                                      struct zcache_key key);
void zc_shard_insert_locked(struct zc_index *index,
                            struct zc_shard *shard,
                            uint64_t hash,
                            struct zc_entry *e);
/** zc_shard_replace_locked() - @fresh, a copy of @e, takes its place; @e still leads readers on. */
void zc_shard_replace_locked(struct zc_shard *shard,
                             uint64_t hash,
                             struct zc_entry *e,
                             struct zc_entry *fresh);
void zc_shard_remove_locked(struct zc_shard *shard, uint64_t hash, struct zc_entry *e);

/** struct zc_index_cursor - where a walk goes on; starts zeroed. */
struct zc_index_cursor {
    uint32_t shard;
    uint32_t bucket;
};

/**
 * zc_index_walk() - call @fn for every entry from @cursor on, bucket by bucket, under the shard's
 * lock.
 * @fn: must not change the index; returns 0 to go on.  Otherwise the walk stops, with @cursor at
 *      the same bucket, which a later walk sees again as a whole.
 *
 * An entry that is there all the time is seen once, or more often if buckets are split meanwhile.
 *
 * Return: 0 at the end; what @fn returned.
 */
int zc_index_walk(struct zc_index *index,
                  struct zc_index_cursor *cursor,
                  int (*fn)(void *ctx, struct zc_entry *e),
                  void *ctx);

/** zc_index_clear() - empty it: @fn frees each entry; nobody else uses it any more. */
void zc_index_clear(struct zc_index *index, int (*fn)(void *ctx, struct zc_entry *e), void *ctx);

/** zc_index_entries(), zc_index_bytes() - how many, and what the table itself takes. */
uint64_t zc_index_entries(struct zc_index *index);
uint64_t zc_index_bytes(const struct zc_index *index);

#endif /* ZC_INDEX_H */
