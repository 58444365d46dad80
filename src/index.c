/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * index.c - sharded hash table with lock-free lookup and growth by one bucket at a time.
 *
 *   hash  high bits  shard         shard: n_buckets = 5 (linear hashing)
 *         low bits   bucket            segment[0] -> | 0 | 1 | 2 | 3 | 4 | ...   512 buckets each
 *                                                    |
 *                                                    `-> entry -> entry -> NULL   through
 *                                                    entry.link
 *
 * Chains go through the entries, so the table costs one pointer per bucket.  Growth is linear
 * hashing (Litwin 1980): when there are more entries than buckets, the next bucket in order is split in
 * two.  Nothing is ever copied as a whole, and memory grows by 4 KiB segments.
 *
 * Locks: a shard's lock for all changes.  A lookup follows atomic pointers inside an epoch section.
 * While a bucket is split an entry may be moved out from under a lookup, which then ends in the
 * wrong chain and finds nothing; it sees by "moves" that this may have happened and looks again.  A
 * lookup that finds its key is right in any case.
 *
 * Invariants: an entry is in the chain of its hash for the current n_buckets, except inside a
 * split; n_entries is the number of entries in all chains.
 *
 * Not taken: ck_hs (a table twice the size while it grows, and 8 bytes per slot at half load); an
 * array of entries (they must stay in place for readers); shrinking the table, which would give
 * back at most 1/8 of what the entries gave back.
 */
#include "index.h"

#define XXH_INLINE_ALL
#include <errno.h>
#include <string.h>
#include <xxhash.h>

#include "check.h"
#include "mathx.h"

#define SHARDS_MIN    4u
#define SHARDS_MAX    64u
#define SHARD_ENTRIES 4096u /* a shard is worth its 4 KiB from about here */
#define FIRST_BUCKETS 64u
#define LOAD_NUM                                                                                   \
    1u /* entries per bucket; 3/2 would save 2.7 bytes a page, and hits took 5 to 8 % longer */
#define LOAD_DEN 1u

struct zc_index {
    uint32_t tag;
    struct zc_mem mem; /* set once */
    uint32_t n_shards;
    unsigned shard_shift;
    size_t directory_bytes;
    _Atomic uint64_t segment_bytes;
    struct zc_shard shard[];
};

static size_t index_bytes(uint32_t n_shards)
{
    return sizeof(struct zc_index) + n_shards * sizeof(struct zc_shard);
}

uint64_t zc_index_hash(uint32_t slot, struct zcache_key key)
{
    uint64_t words[2] = {key.object, key.page};

    return XXH3_64bits_withSeed(words, sizeof(words), slot);
}

struct zc_shard *zc_index_shard(struct zc_index *index, uint64_t hash)
{
    return &index->shard[hash >> index->shard_shift];
}

/* ---- buckets ------------------------------------------------------------------------------- */

static uint32_t bucket_number(uint64_t hash, uint32_t n_buckets)
{
    uint32_t mask = (uint32_t)zc_pow2_ceil(n_buckets) - 1;
    uint32_t b = (uint32_t)hash & mask;

    return b < n_buckets ? b : b & (mask >> 1);
}

static _Atomic uint64_t *bucket_at(struct zc_shard *shard, uint32_t b)
{
    struct zc_segment *s =
        atomic_load_explicit(&shard->segment[b / ZC_SEGMENT_BUCKETS], memory_order_acquire);

    return &s->bucket[b % ZC_SEGMENT_BUCKETS];
}

static struct zc_entry *chain_find(const _Atomic uint64_t *head,
                                   uint32_t slot,
                                   struct zcache_key key)
{
    struct zc_entry *e = zc_link_load(head, memory_order_acquire);

    while (e != NULL &&
           !(e->key.page == key.page && e->key.object == key.object && zc_entry_slot(e) == slot)) {
        e = zc_link_load(&e->link, memory_order_acquire);
    }
    return e;
}

struct zc_entry *zc_index_find(struct zc_index *index,
                               uint64_t hash,
                               uint32_t slot,
                               struct zcache_key key)
{
    struct zc_shard *shard = zc_index_shard(index, hash);

    for (;;) {
        uint32_t moves = atomic_load_explicit(&shard->moves, memory_order_acquire);
        uint32_t n = atomic_load_explicit(&shard->n_buckets, memory_order_acquire);
        struct zc_entry *e = chain_find(bucket_at(shard, bucket_number(hash, n)), slot, key);

        if (e != NULL) {
            return e;
        }
        if (ZC_LIKELY((moves & 1) == 0 &&
                      moves == atomic_load_explicit(&shard->moves, memory_order_acquire))) {
            return NULL;
        }
    }
}

struct zc_entry *zc_shard_find_locked(struct zc_shard *shard,
                                      uint64_t hash,
                                      uint32_t slot,
                                      struct zcache_key key)
{
    uint32_t n = atomic_load_explicit(&shard->n_buckets, memory_order_relaxed);

    zc_lock_assert_held(&shard->lock);
    return chain_find(bucket_at(shard, bucket_number(hash, n)), slot, key);
}

/* ---- growth -------------------------------------------------------------------------------- */

/* Makes room for bucket @b.  False: at the bound, or no memory; the chains just get longer. */
static bool segment_for(struct zc_index *index, struct zc_shard *shard, uint32_t b)
{
    uint32_t i = b / ZC_SEGMENT_BUCKETS;
    struct zc_segment *s;

    if (i >= shard->max_segments) {
        return false;
    }
    if (atomic_load_explicit(&shard->segment[i], memory_order_relaxed) != NULL) {
        return true;
    }
    s = index->mem.alloc(index->mem.ctx, sizeof(*s));
    if (s == NULL) {
        return false;
    }
    atomic_fetch_add_explicit(&index->segment_bytes, sizeof(*s), memory_order_relaxed);
    atomic_store_explicit(&shard->segment[i], s, memory_order_release);
    return true;
}

/* Moves what belongs there from bucket @from to the new bucket @to. */
static void split(struct zc_shard *shard, uint32_t from, uint32_t to)
{
    _Atomic uint64_t *link = bucket_at(shard, from);
    _Atomic uint64_t *target = bucket_at(shard, to);
    struct zc_entry *e;

    while ((e = zc_link_load(link, memory_order_relaxed)) != NULL) {
        uint64_t hash = zc_index_hash(zc_entry_slot(e), e->key);

        if (bucket_number(hash, to + 1) != to) {
            link = &e->link;
            continue;
        }
        zc_link_store(link, zc_link_load(&e->link, memory_order_relaxed), memory_order_release);
        zc_link_store(&e->link, zc_link_load(target, memory_order_relaxed), memory_order_release);
        zc_link_store(target, e, memory_order_release);
    }
}

static void grow_locked(struct zc_index *index, struct zc_shard *shard)
{
    uint32_t n = atomic_load_explicit(&shard->n_buckets, memory_order_relaxed);
    uint32_t moves = atomic_load_explicit(&shard->moves, memory_order_relaxed);

    if (!segment_for(index, shard, n)) {
        return;
    }
    atomic_store_explicit(&shard->moves, moves + 1, memory_order_relaxed);
    /* The links change by release stores: who sees one of them sees "moves" odd. */
    split(shard, n & ((uint32_t)(zc_pow2_ceil(n + 1) >> 1) - 1), n);
    atomic_store_explicit(&shard->n_buckets, n + 1, memory_order_release);
    atomic_store_explicit(&shard->moves, moves + 2, memory_order_release);
}

/* ---- changes ------------------------------------------------------------------------------- */

void zc_shard_insert_locked(struct zc_index *index,
                            struct zc_shard *shard,
                            uint64_t hash,
                            struct zc_entry *e)
{
    uint32_t n = atomic_load_explicit(&shard->n_buckets, memory_order_relaxed);
    _Atomic uint64_t *head = bucket_at(shard, bucket_number(hash, n));

    zc_lock_assert_held(&shard->lock);
    zc_link_store(&e->link, zc_link_load(head, memory_order_relaxed), memory_order_relaxed);
    zc_link_store(head, e, memory_order_release);
    shard->n_entries++;
    if (shard->n_entries * LOAD_DEN > (uint64_t)n * LOAD_NUM) {
        grow_locked(index, shard);
    }
}

/* The link that leads to @e. */
static _Atomic uint64_t *link_to(struct zc_shard *shard, uint64_t hash, const struct zc_entry *e)
{
    uint32_t n = atomic_load_explicit(&shard->n_buckets, memory_order_relaxed);
    _Atomic uint64_t *link = bucket_at(shard, bucket_number(hash, n));
    struct zc_entry *it;

    zc_lock_assert_held(&shard->lock);
    while ((it = zc_link_load(link, memory_order_relaxed)) != e) {
        ZC_ASSERT(it != NULL);
        link = &it->link;
    }
    return link;
}

void zc_shard_remove_locked(struct zc_shard *shard, uint64_t hash, struct zc_entry *e)
{
    /* e's own link stays, for readers that stand on e. */
    zc_link_store(link_to(shard, hash, e), zc_link_load(&e->link, memory_order_relaxed),
                  memory_order_release);
    shard->n_entries--;
}

void zc_shard_replace_locked(struct zc_shard *shard,
                             uint64_t hash,
                             struct zc_entry *e,
                             struct zc_entry *fresh)
{
    zc_link_store(&fresh->link, zc_link_load(&e->link, memory_order_relaxed), memory_order_relaxed);
    zc_link_store(link_to(shard, hash, e), fresh, memory_order_release);
}

static int walk_bucket(struct zc_shard *shard,
                       uint32_t b,
                       int (*fn)(void *, struct zc_entry *),
                       void *ctx)
{
    struct zc_entry *e;
    int rc = 0;

    zc_lock_acquire(&shard->lock);
    e = zc_link_load(bucket_at(shard, b), memory_order_relaxed);
    while (e != NULL && rc == 0) {
        struct zc_entry *next = zc_link_load(&e->link, memory_order_relaxed);

        rc = fn(ctx, e);
        e = next;
    }
    zc_lock_release(&shard->lock);
    return rc;
}

int zc_index_walk(struct zc_index *index,
                  struct zc_index_cursor *cursor,
                  int (*fn)(void *ctx, struct zc_entry *e),
                  void *ctx)
{
    for (; cursor->shard < index->n_shards; cursor->shard++, cursor->bucket = 0) {
        struct zc_shard *shard = &index->shard[cursor->shard];

        /* A split moves entries upwards only, so going up, to the bound of the moment, misses none.
         * */
        for (; cursor->bucket < atomic_load(&shard->n_buckets); cursor->bucket++) {
            int rc = walk_bucket(shard, cursor->bucket, fn, ctx);

            if (rc != 0) {
                return rc;
            }
        }
    }
    return 0;
}

void zc_index_clear(struct zc_index *index, int (*fn)(void *ctx, struct zc_entry *e), void *ctx)
{
    for (uint32_t i = 0; i < index->n_shards; i++) {
        struct zc_shard *shard = &index->shard[i];

        for (uint32_t b = 0; b < atomic_load(&shard->n_buckets); b++) {
            (void)walk_bucket(shard, b, fn, ctx);
            zc_link_store(bucket_at(shard, b), NULL, memory_order_relaxed);
        }
        shard->n_entries = 0;
    }
}

/* ---- lifetime ------------------------------------------------------------------------------ */

static void shard_fini(struct zc_index *index, struct zc_shard *shard)
{
    ZC_ASSERT(shard->n_entries == 0);
    for (uint32_t i = 0; i < shard->max_segments && shard->segment != NULL; i++) {
        struct zc_segment *s = atomic_load_explicit(&shard->segment[i], memory_order_relaxed);

        if (s != NULL) {
            index->mem.free(index->mem.ctx, s, sizeof(*s));
        }
    }
    if (shard->segment != NULL) {
        index->mem.free(index->mem.ctx, shard->segment, index->directory_bytes);
    }
    zc_cond_fini(&shard->cond);
    zc_lock_fini(&shard->lock);
}

static int shard_init(struct zc_index *index, struct zc_shard *shard, uint32_t max_segments)
{
    zc_lock_init(&shard->lock, ZC_RANK_shard);
    zc_cond_init(&shard->cond);
    shard->max_segments = max_segments;
    shard->segment = index->mem.alloc(index->mem.ctx, index->directory_bytes);
    if (shard->segment == NULL || !segment_for(index, shard, 0)) {
        return -ENOMEM;
    }
    atomic_store_explicit(&shard->n_buckets, FIRST_BUCKETS, memory_order_release);
    return 0;
}

static void index_free(struct zc_index *index, uint32_t n_shards)
{
    struct zc_mem mem = index->mem;

    for (uint32_t i = 0; i < n_shards; i++) {
        shard_fini(index, &index->shard[i]);
    }
    index->tag = 0;
    mem.free(mem.ctx, index, index_bytes(index->n_shards));
}

int zc_index_create(const struct zc_mem *mem, uint64_t max_entries, struct zc_index **out)
{
    uint32_t n_shards =
        (uint32_t)zc_pow2_ceil(ZC_MAX(ZC_MIN(max_entries / SHARD_ENTRIES, SHARDS_MAX), SHARDS_MIN));
    uint64_t buckets = max_entries * LOAD_DEN / LOAD_NUM / n_shards + 1;
    uint32_t max_segments =
        (uint32_t)ZC_MIN(buckets / ZC_SEGMENT_BUCKETS + 1, UINT32_MAX / ZC_SEGMENT_BUCKETS / 2);
    struct zc_index *index = mem->alloc(mem->ctx, index_bytes(n_shards));

    if (index == NULL) {
        return -ENOMEM;
    }
    index->tag = ZC_TAG_INDEX;
    index->mem = *mem;
    index->n_shards = n_shards;
    index->shard_shift = 64 - zc_log2_floor(n_shards);
    index->directory_bytes = max_segments * sizeof(index->shard[0].segment[0]);
    for (uint32_t i = 0; i < n_shards; i++) {
        if (shard_init(index, &index->shard[i], max_segments) != 0) {
            index_free(index, i + 1);
            return -ENOMEM;
        }
    }
    *out = index;
    return 0;
}

void zc_index_destroy(struct zc_index **index)
{
    if (*index != NULL) {
        ZC_ASSERT((*index)->tag == ZC_TAG_INDEX);
        index_free(*index, (*index)->n_shards);
        *index = NULL;
    }
}

uint64_t zc_index_entries(struct zc_index *index)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < index->n_shards; i++) {
        zc_lock_acquire(&index->shard[i].lock);
        n += index->shard[i].n_entries;
        zc_lock_release(&index->shard[i].lock);
    }
    return n;
}

uint64_t zc_index_bytes(const struct zc_index *index)
{
    return index_bytes(index->n_shards) + index->n_shards * index->directory_bytes +
           atomic_load_explicit(&index->segment_bytes, memory_order_relaxed);
}
