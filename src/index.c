/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * index.c - sharded hash table with lock-free lookup and growth by one bucket at a time.
 *
 *   hash  high bits  shard         shard: n_buckets = 5 (linear hashing)
 *         bits 40-55 tag               segment[0] -> | 0 | 1 | 2 | 3 | 4 | ...   64 buckets each
 *         low bits   bucket                            |
 *                                                      `-> | cell | cell | ... | cell 7 |   a cache line
 *                                                             |                    |
 *                                                           entry                entry -> entry -> NULL
 *
 * A cell has the address of an entry and a tag of its hash, so that a look-up reads one line and, but for one
 * in thousands, the right entry, and no entry at all of a key that is not there.  Where a bucket has
 * more entries than cells the last cell leads to a chain through them, which is searched as a whole.
 *
 * Growth is linear hashing (Litwin 1980): when there are more than 6 entries to a bucket, the next
 * bucket in order is split in two.  Nothing is ever copied as a whole, and memory grows by 4 KiB
 * segments.  Buckets that were not split yet have twice as many entries as the others, 9 half-way: a tenth of
 * all entries is in chains.
 *
 * Locks: a shard's lock for all changes.  A lookup follows atomic cells and links inside an epoch section.
 * While a bucket is split an entry may be moved out from under a lookup, which then ends in the
 * wrong bucket and finds nothing; it sees by "moves" that this may have happened and looks again, at last
 * with the lock.  A lookup that finds its key is right in any case.
 *
 * Invariants: an entry is in the bucket of its hash for the current n_buckets, in a cell or in the chain
 * of the last, except inside a split; n_entries is the number of entries in all buckets.
 *
 * Measured, at 10 million pages: with a chain of 1.75 entries on average to a bucket of one address
 * (5.3 bytes a page instead of 10.7) a get took 100 ns more.
 *
 * Not taken: ck_hs (a table twice the size while it grows, and 8 bytes per slot at half load); an
 * array of entries (they must stay in place for readers); shrinking the table, which would give
 * back at most 1/6 of what the entries gave back; the address of the payload beside that of the entry, so that
 * both are read at once: 8 bytes more a page.
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
#define SHARD_ENTRIES 16384u /* at most; so 4 KiB of a shard are 1/256 of a capacity or less */
#define FIRST_BUCKETS ZC_SEGMENT_BUCKETS
#define LOOKS_MAX     64u /* of a lookup without the lock; a split takes about as long */
#define LAST_CELL     (ZC_BUCKET_CELLS - 1)
#define TAG_SHIFT     40u /* of the hash: bits that neither shard nor bucket are chosen by */
#define CHAINED       UINT64_C(1) /* in the last cell: others may follow, so its tag says nothing */

_Static_assert(sizeof(struct zc_segment) == 4096, "a page");

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

static struct zc_bucket *bucket_at(struct zc_shard *shard, uint32_t b)
{
    struct zc_segment *s =
        atomic_load_explicit(&shard->segment[b / ZC_SEGMENT_BUCKETS], memory_order_acquire);

    return &s->bucket[b % ZC_SEGMENT_BUCKETS];
}

/* A cell: the tag above, where links have flags; the address; CHAINED. */
static uint64_t cell_of(uint64_t hash, const struct zc_entry *e)
{
    return (hash >> TAG_SHIFT) << ZC_LINK_BITS | (uint64_t)(uintptr_t)e;
}

static struct zc_entry *cell_entry(uint64_t cell)
{
    return zc_link_entry(cell & ~CHAINED);
}

static bool cell_may_be(uint64_t cell, uint64_t hash)
{
    return (cell ^ (hash >> TAG_SHIFT) << ZC_LINK_BITS) >> ZC_LINK_BITS == 0 && cell != 0;
}

static bool is_it(const struct zc_entry *e, uint32_t slot, struct zcache_key key)
{
    return e->key.page == key.page && e->key.object == key.object && zc_entry_slot(e) == slot;
}

static struct zc_entry *bucket_find(const struct zc_bucket *bucket,
                                    uint64_t hash,
                                    uint32_t slot,
                                    struct zcache_key key)
{
    uint64_t cell = 0;
    struct zc_entry *e;

    for (unsigned i = 0; i < ZC_BUCKET_CELLS; i++) {
        cell = atomic_load_explicit(&bucket->cell[i], memory_order_acquire);
        if (cell_may_be(cell, hash) && is_it(cell_entry(cell), slot, key)) {
            return cell_entry(cell);
        }
    }
    if (ZC_LIKELY((cell & CHAINED) == 0)) { /* the last one's */
        return NULL;
    }
    e = cell_entry(cell);
    while (e != NULL && !is_it(e, slot, key)) {
        e = zc_link_load(&e->link, memory_order_acquire);
    }
    return e;
}

/* The thread that splits may have lost its CPU, perhaps to this one, which then has to wait for it. */
static ZC_COLD struct zc_entry *find_when_split(struct zc_shard *shard,
                                                uint64_t hash,
                                                uint32_t slot,
                                                struct zcache_key key)
{
    struct zc_entry *e;

    zc_lock_acquire(&shard->lock);
    e = zc_shard_find_locked(shard, hash, slot, key);
    zc_lock_release(&shard->lock);
    return e;
}

struct zc_entry *zc_index_find(struct zc_index *index,
                               uint64_t hash,
                               uint32_t slot,
                               struct zcache_key key)
{
    struct zc_shard *shard = zc_index_shard(index, hash);

    for (unsigned i = 0; i < LOOKS_MAX; i++) {
        uint32_t moves = atomic_load_explicit(&shard->moves, memory_order_acquire);
        uint32_t n = atomic_load_explicit(&shard->n_buckets, memory_order_acquire);
        struct zc_entry *e = bucket_find(bucket_at(shard, bucket_number(hash, n)), hash, slot, key);

        if (e != NULL) {
            return e;
        }
        if (ZC_LIKELY((moves & 1) == 0 &&
                      moves == atomic_load_explicit(&shard->moves, memory_order_acquire))) {
            return NULL;
        }
    }
    return find_when_split(shard, hash, slot, key);
}

struct zc_entry *zc_shard_find_locked(struct zc_shard *shard,
                                      uint64_t hash,
                                      uint32_t slot,
                                      struct zcache_key key)
{
    uint32_t n = atomic_load_explicit(&shard->n_buckets, memory_order_relaxed);

    zc_lock_assert_held(&shard->lock);
    return bucket_find(bucket_at(shard, bucket_number(hash, n)), hash, slot, key);
}

static struct zc_bucket *bucket_of(struct zc_shard *shard, uint64_t hash)
{
    return bucket_at(
        shard, bucket_number(hash, atomic_load_explicit(&shard->n_buckets, memory_order_acquire)));
}

void zc_index_prefetch(struct zc_index *index, uint64_t hash)
{
    __builtin_prefetch(bucket_of(zc_index_shard(index, hash), hash));
}

struct zc_entry *zc_index_likely(struct zc_index *index, uint64_t hash)
{
    const struct zc_bucket *bucket = bucket_of(zc_index_shard(index, hash), hash);
    uint64_t cell = 0;

    for (unsigned i = 0; i < ZC_BUCKET_CELLS; i++) {
        cell = atomic_load_explicit(&bucket->cell[i], memory_order_acquire);
        if (cell_may_be(cell, hash)) {
            return cell_entry(cell);
        }
    }
    return (cell & CHAINED) != 0 ? cell_entry(cell) : NULL;
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

/* Adds @e to a bucket: to a free cell, or to the chain of the last. */
static void bucket_add(struct zc_bucket *bucket, uint64_t hash, struct zc_entry *e)
{
    uint64_t last = 0;

    for (unsigned i = 0; i < ZC_BUCKET_CELLS; i++) {
        last = atomic_load_explicit(&bucket->cell[i], memory_order_relaxed);
        if (last == 0) {
            zc_link_store(&e->link, NULL, memory_order_release);
            atomic_store_explicit(&bucket->cell[i], cell_of(hash, e), memory_order_release);
            return;
        }
    }
    zc_link_store(&e->link, cell_entry(last), memory_order_release);
    atomic_store_explicit(&bucket->cell[LAST_CELL], cell_of(hash, e) | CHAINED,
                          memory_order_release);
}

/* Divides what is in bucket @from between it and the new bucket @to. */
static void split(struct zc_shard *shard, uint32_t from, uint32_t to)
{
    struct zc_bucket *bucket[2] = {bucket_at(shard, from), bucket_at(shard, to)};
    uint64_t cell[ZC_BUCKET_CELLS];

    for (unsigned i = 0; i < ZC_BUCKET_CELLS; i++) {
        cell[i] = atomic_load_explicit(&bucket[0]->cell[i], memory_order_relaxed);
        atomic_store_explicit(&bucket[0]->cell[i], 0, memory_order_release);
    }
    for (unsigned i = 0; i < ZC_BUCKET_CELLS; i++) {
        struct zc_entry *e = cell_entry(cell[i]);

        while (e != NULL) {
            uint64_t hash = zc_index_hash(zc_entry_slot(e), e->key);
            struct zc_entry *next =
                (cell[i] & CHAINED) != 0 ? zc_link_load(&e->link, memory_order_relaxed) : NULL;

            bucket_add(bucket[bucket_number(hash, to + 1) == to ? 1 : 0], hash, e);
            e = next;
        }
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
    /* Cells and links change by release stores: who sees one of them sees "moves" odd. */
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

    zc_lock_assert_held(&shard->lock);
    bucket_add(bucket_at(shard, bucket_number(hash, n)), hash, e);
    shard->n_entries++;
    if (shard->n_entries > (uint64_t)n * ZC_BUCKET_LOAD) {
        grow_locked(index, shard);
    }
}

/*
 * Has what leads to @e lead to @next instead.  In a cell: with the same tag, which is right where @next is of
 * the same key, and not looked at where it is the rest of a chain.
 */
static void lead_to(struct zc_shard *shard,
                    uint64_t hash,
                    const struct zc_entry *e,
                    const struct zc_entry *next)
{
    struct zc_bucket *bucket = bucket_of(shard, hash);
    _Atomic uint64_t *link;
    struct zc_entry *it;
    uint64_t cell = 0;

    zc_lock_assert_held(&shard->lock);
    for (unsigned i = 0; i < ZC_BUCKET_CELLS; i++) {
        cell = atomic_load_explicit(&bucket->cell[i], memory_order_relaxed);
        if (cell_entry(cell) == e) {
            cell = next == NULL ? 0 : (cell ^ (uint64_t)(uintptr_t)e) | (uint64_t)(uintptr_t)next;
            atomic_store_explicit(&bucket->cell[i], cell, memory_order_release);
            return;
        }
    }
    ZC_ASSERT((cell & CHAINED) != 0); /* the last one's */
    link = &cell_entry(cell)->link;
    while ((it = zc_link_load(link, memory_order_relaxed)) != e) {
        ZC_ASSERT(it != NULL);
        link = &it->link;
    }
    zc_link_store(link, next, memory_order_release);
}

/* Of an entry that is in a cell and heads no chain the link is NULL.  It stays, for readers that stand on it. */
void zc_shard_remove_locked(struct zc_shard *shard, uint64_t hash, struct zc_entry *e)
{
    lead_to(shard, hash, e, zc_link_load(&e->link, memory_order_relaxed));
    shard->n_entries--;
}

void zc_shard_replace_locked(struct zc_shard *shard,
                             uint64_t hash,
                             struct zc_entry *e,
                             struct zc_entry *fresh)
{
    zc_link_store(&fresh->link, zc_link_load(&e->link, memory_order_relaxed), memory_order_relaxed);
    lead_to(shard, hash, e, fresh);
}

/* Calls @fn for each entry of a bucket while it returns 0; it may free the entry. */
static int visit_bucket(const struct zc_bucket *bucket,
                        int (*fn)(void *, struct zc_entry *),
                        void *ctx)
{
    int rc = 0;

    for (unsigned i = 0; i < ZC_BUCKET_CELLS; i++) {
        uint64_t cell = atomic_load_explicit(&bucket->cell[i], memory_order_relaxed);
        struct zc_entry *e = cell_entry(cell);

        while (e != NULL && rc == 0) {
            struct zc_entry *next =
                (cell & CHAINED) != 0 ? zc_link_load(&e->link, memory_order_relaxed) : NULL;

            rc = fn(ctx, e);
            e = next;
        }
    }
    return rc;
}

static int walk_bucket(struct zc_shard *shard,
                       uint32_t b,
                       int (*fn)(void *, struct zc_entry *),
                       void *ctx)
{
    int rc;

    zc_lock_acquire(&shard->lock);
    rc = visit_bucket(bucket_at(shard, b), fn, ctx);
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
            struct zc_bucket *bucket = bucket_at(shard, b);

            (void)walk_bucket(shard, b, fn, ctx);
            for (unsigned k = 0; k < ZC_BUCKET_CELLS; k++) {
                atomic_store_explicit(&bucket->cell[k], 0, memory_order_relaxed);
            }
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
    uint64_t buckets = max_entries / ZC_BUCKET_LOAD / n_shards + 1;
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
