/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A chunk: 2 MiB, aligned to its size, cut into runs of pages, one run a slab.  The data structure
 * only: pool.c holds the locks and decides.
 *
 *      page    0      1              5              16                           511
 *            +------+--------------+--------------+-------- ... ---------------+-----+
 *            | head | slab 0       | slab 1       | free                       | ... |
 *            +------+--------------+--------------+-------- ... ---------------+-----+
 *               |
 *               +-- free_pages: a bit for each page
 *               +-- page_slab:  a byte for each page, the number of the slab that has it
 *               +-- slab[]:     what is known about each slab, in 32 bytes
 *
 * The pages themselves carry no bookkeeping, so an object's alignment is its class's business and
 * an empty page can be dropped without being read.
 *
 * The head is one page, 0.2 % of the chunk, with 107 descriptions: slabs of large classes have from 8
 * pages, and 63 of them fill a chunk.  Where they are smaller the chunk's last pages stay unused:
 * address space, never memory.  Not taken: a cache line for each description, so that threads that work
 * on classes of one chunk do not share lines: a second page of head.
 */
#ifndef ZC_POOL_CHUNK_H
#define ZC_POOL_CHUNK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check.h"
#include "list.h"
#include "plat.h"
#include "pool.h"
#include "pool_class.h"

#define ZC_CHUNK_PAGES      512u
#define ZC_CHUNK_HEAD_PAGES 1u
#define ZC_CHUNK_HEAD_BYTES (ZC_CHUNK_HEAD_PAGES * ZC_POOL_PAGE)
#define ZC_CHUNK_RUN_MAX    (ZC_CHUNK_PAGES - ZC_CHUNK_HEAD_PAGES)
#define ZC_CHUNK_SLABS      107u
#define ZC_CHUNK_WORDS      (ZC_CHUNK_PAGES / 64)
#define ZC_CHUNK_NO_SLAB    UINT8_MAX

/** struct zc_slab - a run of pages; the first five are pool_slab.h's, under the class's lock. */
struct zc_slab {
    struct zc_free_object *free; /* objects given back */
    struct zc_list link;         /* its fullness group */
    uint16_t used;               /* live objects */
    uint16_t touched;            /* objects handed out at least once */
    _Atomic uint8_t group;       /* where link is; may be peeked at */
    uint8_t shape;               /* set once, before the first object, as class_id */
    uint16_t class_id;
    uint16_t first_page; /* set once */
    uint16_t n_pages;    /* set once; 0: description not in use */
};

/** enum zc_chunk_form - what the system has for a chunk: pool_huge.c. */
enum zc_chunk_form {
    ZC_FORM_SMALL = 0, /* pages as they were touched */
    ZC_FORM_WAITS = 1, /* as before, and it is full */
    ZC_FORM_BUSY = 2,  /* changing; in no bin */
    ZC_FORM_HUGE = 3   /* a huge page: its free pages are resident too */
};

#define ZC_HUGE_FREE_MAX 2u /* free pages of a chunk that is as good as full */
#define ZC_HUGE_WAITS    8u /* how many lengths a wait can have */

/** struct zc_chunk - the head; all under the pool's chunk lock unless said otherwise. */
struct zc_chunk {
    uint32_t tag;                  /* set once */
    unsigned node;                 /* set once */
    struct zc_pool *pool;          /* set once */
    struct zc_pool_region *region; /* set once: the source's */
    struct zc_list link;           /* struct zc_chunk_bins */
    unsigned longest; /* pages of the longest free run; 0 when all descriptions are used */
    unsigned n_free;  /* free pages */
    uint8_t form;     /* enum zc_chunk_form */
    uint8_t
        splits; /* how often it was split, or refused a huge page; below ZC_HUGE_WAITS it may have one */
    uint16_t n_leaving; /* slabs whose pages are being dropped */
    uint64_t free_pages[ZC_CHUNK_WORDS];
    uint64_t free_slots[2];
    uint64_t full_ns;                  /* when it began to wait */
    uint8_t page_slab[ZC_CHUNK_PAGES]; /* constant for a page while its slab has live objects */
    struct zc_slab slab[ZC_CHUNK_SLABS];
    struct zc_list full;   /* those that wait */
    struct zc_list doomed; /* empty slabs, while it is busy */
};

_Static_assert(sizeof(struct zc_chunk) <= ZC_CHUNK_HEAD_BYTES, "head too small");
_Static_assert(ZC_SLAB_PAGES_MAX *ZC_POOL_PAGE / ZC_CLASS_QUANTUM <= UINT16_MAX, "used counts");
_Static_assert(ZC_POOL_CHUNK == ZC_CHUNK_PAGES * ZC_POOL_PAGE, "pages make a chunk");
_Static_assert(ZC_POOL_MAX <= ZC_CHUNK_RUN_MAX * ZC_POOL_PAGE, "the largest object fits a chunk");

/** zc_chunk_around() - the chunk in which an address lies, unchecked. */
static inline struct zc_chunk *zc_chunk_around(const void *ptr)
{
    return (struct zc_chunk *)((uintptr_t)ptr & ~(uintptr_t)(ZC_POOL_CHUNK - 1));
}

/** zc_chunk_of() - the chunk of an object. */
static inline struct zc_chunk *zc_chunk_of(const void *ptr)
{
    struct zc_chunk *chunk = zc_chunk_around(ptr);

    ZC_ASSERT(chunk->tag == ZC_TAG_CHUNK);
    return chunk;
}

/** zc_chunk_slab() - the slab that has an object. */
static inline struct zc_slab *zc_chunk_slab(struct zc_chunk *chunk, const void *ptr)
{
    const uintptr_t inside = (uintptr_t)ptr & (ZC_POOL_CHUNK - 1);
    const unsigned slot = chunk->page_slab[inside / ZC_POOL_PAGE];

    ZC_ASSERT(slot < ZC_CHUNK_SLABS);
    return &chunk->slab[slot];
}

static inline char *zc_slab_start(const struct zc_slab *slab)
{
    return (char *)zc_chunk_around(slab) + slab->first_page * ZC_POOL_PAGE;
}

static inline size_t zc_slab_bytes(const struct zc_slab *slab)
{
    return slab->n_pages * ZC_POOL_PAGE;
}

/* Position of the first page at or after @from whose bit is @value; ZC_CHUNK_PAGES if none. */
static inline unsigned zc_chunk_next_page(const struct zc_chunk *chunk, unsigned from, bool value)
{
    while (from < ZC_CHUNK_PAGES) {
        uint64_t word = chunk->free_pages[from / 64];

        word = (value ? word : ~word) >> from % 64;
        if (word != 0) {
            return from + (unsigned)__builtin_ctzll(word);
        }
        from = (from / 64 + 1) * 64;
    }
    return ZC_CHUNK_PAGES;
}

/** zc_chunk_next_run() - the first free run at or after @from.  Return: its pages, 0 if none. */
static inline unsigned zc_chunk_next_run(const struct zc_chunk *chunk,
                                         unsigned from,
                                         unsigned *first_out)
{
    const unsigned first = zc_chunk_next_page(chunk, from, true);

    *first_out = first;
    return zc_chunk_next_page(chunk, first, false) - first;
}

/** zc_chunk_longest() - pages of the longest run that can be taken, counted anew. */
static inline unsigned zc_chunk_longest(const struct zc_chunk *chunk)
{
    unsigned longest = 0;
    unsigned first = 0;
    unsigned n;

    if ((chunk->free_slots[0] | chunk->free_slots[1]) == 0) {
        return 0;
    }
    while ((n = zc_chunk_next_run(chunk, first, &first)) > 0) {
        longest = n > longest ? n : longest;
        first += n;
    }
    return longest;
}

/** zc_chunk_is_empty() - whether no slab is in it. */
static inline bool zc_chunk_is_empty(const struct zc_chunk *chunk)
{
    return chunk->n_free == ZC_CHUNK_RUN_MAX;
}

/** zc_chunk_init() - a head in fresh zeroed memory; on no list. */
static inline void zc_chunk_init(struct zc_chunk *chunk, struct zc_pool *pool, unsigned node)
{
    chunk->tag = ZC_TAG_CHUNK;
    chunk->node = node;
    chunk->pool = pool;
    zc_list_init(&chunk->link);
    zc_list_init(&chunk->full);
    zc_list_init(&chunk->doomed);
    chunk->form = ZC_FORM_SMALL;
    chunk->splits = 0;
    chunk->n_leaving = 0;
    chunk->longest = ZC_CHUNK_RUN_MAX;
    chunk->n_free = ZC_CHUNK_RUN_MAX;
    for (unsigned i = 0; i < ZC_CHUNK_WORDS; i++) {
        chunk->free_pages[i] = UINT64_MAX;
    }
    chunk->free_pages[0] <<= ZC_CHUNK_HEAD_PAGES;
    chunk->free_slots[0] = UINT64_MAX;
    chunk->free_slots[1] = UINT64_MAX >> (128 - ZC_CHUNK_SLABS);
    for (unsigned i = 0; i < ZC_CHUNK_PAGES; i++) {
        chunk->page_slab[i] = ZC_CHUNK_NO_SLAB;
    }
    for (unsigned i = 0; i < ZC_CHUNK_SLABS; i++) {
        chunk->slab[i].n_pages = 0;
    }
}

/* Give @n_pages from @first_page to slab @slot, or take them back with ZC_CHUNK_NO_SLAB. */
static inline void zc_chunk_mark(struct zc_chunk *chunk,
                                 unsigned first_page,
                                 unsigned n_pages,
                                 uint8_t slot)
{
    for (unsigned p = first_page; p < first_page + n_pages; p++) {
        chunk->page_slab[p] = slot;
        chunk->free_pages[p / 64] ^= UINT64_C(1) << p % 64;
    }
}

/** zc_chunk_take() - make a slab of the first run of @n_pages, which longest says there is. */
static inline struct zc_slab *zc_chunk_take(struct zc_chunk *chunk,
                                            unsigned n_pages,
                                            unsigned class_id,
                                            unsigned shape)
{
    const unsigned word = chunk->free_slots[0] != 0 ? 0 : 1;
    unsigned slot;
    unsigned first = 0;
    unsigned n;

    ZC_ASSERT(n_pages > 0 && chunk->longest >= n_pages);
    while ((n = zc_chunk_next_run(chunk, first, &first)) < n_pages) {
        first += n;
    }
    slot = (unsigned)__builtin_ctzll(chunk->free_slots[word]);
    chunk->free_slots[word] &= ~(UINT64_C(1) << slot);
    slot += word * 64;
    zc_chunk_mark(chunk, first, n_pages, (uint8_t)slot);
    chunk->n_free -= n_pages;
    chunk->longest = zc_chunk_longest(chunk);
    chunk->slab[slot].free = NULL;
    chunk->slab[slot].used = chunk->slab[slot].touched = 0;
    atomic_store_explicit(&chunk->slab[slot].group, 0, memory_order_relaxed);
    chunk->slab[slot].class_id = (uint16_t)class_id;
    chunk->slab[slot].shape = (uint8_t)shape;
    chunk->slab[slot].first_page = (uint16_t)first;
    chunk->slab[slot].n_pages = (uint16_t)n_pages;
    zc_list_init(&chunk->slab[slot].link);
    return &chunk->slab[slot];
}

/** zc_chunk_give() - end a slab: its pages are free again. */
static inline void zc_chunk_give(struct zc_chunk *chunk, struct zc_slab *slab)
{
    const size_t slot = (size_t)(slab - chunk->slab);

    zc_chunk_mark(chunk, slab->first_page, slab->n_pages, ZC_CHUNK_NO_SLAB);
    chunk->free_slots[slot / 64] |= UINT64_C(1) << slot % 64;
    chunk->n_free += slab->n_pages;
    chunk->longest = zc_chunk_longest(chunk);
    slab->n_pages = 0;
}

/** zc_chunk_wrong() - pool_verify.c: what contradicts itself in a head, or NULL. */
const char *zc_chunk_wrong(const struct zc_chunk *chunk);

/** struct zc_chunk_bins - chunks by the length of their longest free run. */
struct zc_chunk_bins {
    struct zc_list bin[ZC_CHUNK_RUN_MAX + 1];
    uint64_t used[ZC_CHUNK_WORDS]; /* bit set where the bin has chunks */
};

static inline void zc_chunk_bins_init(struct zc_chunk_bins *bins)
{
    for (unsigned i = 0; i <= ZC_CHUNK_RUN_MAX; i++) {
        zc_list_init(&bins->bin[i]);
    }
    for (unsigned i = 0; i < ZC_CHUNK_WORDS; i++) {
        bins->used[i] = 0;
    }
}

static inline void zc_chunk_bins_add(struct zc_chunk_bins *bins, struct zc_chunk *chunk)
{
    zc_list_push_back(&bins->bin[chunk->longest], &chunk->link);
    bins->used[chunk->longest / 64] |= UINT64_C(1) << chunk->longest % 64;
}

/** zc_chunk_bins_remove() - before anything that may change its longest run. */
static inline void zc_chunk_bins_remove(struct zc_chunk_bins *bins, struct zc_chunk *chunk)
{
    zc_list_del(&chunk->link);
    if (zc_list_empty(&bins->bin[chunk->longest])) {
        bins->used[chunk->longest / 64] &= ~(UINT64_C(1) << chunk->longest % 64);
    }
}

/**
 * zc_chunk_bins_find() - the chunk whose longest run is the shortest that has @n_pages.
 *
 * That is the fullest as far as this run goes, and keeps long runs for those who need them.
 *
 * Return: the chunk, still in its bin; NULL if none has so many.
 */
static inline struct zc_chunk *zc_chunk_bins_find(const struct zc_chunk_bins *bins,
                                                  unsigned n_pages)
{
    unsigned word = n_pages / 64;
    uint64_t bits = bins->used[word] & (UINT64_MAX << n_pages % 64);

    while (bits == 0) {
        if (++word == ZC_CHUNK_WORDS) {
            return NULL;
        }
        bits = bins->used[word];
    }
    return ZC_CONTAINER_OF(zc_list_next(&bins->bin[word * 64 + (unsigned)__builtin_ctzll(bits)]),
                           struct zc_chunk, link);
}

#endif /* ZC_POOL_CHUNK_H */
