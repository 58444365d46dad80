/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory of one NUMA node for objects of any size up to ZC_POOL_MAX: entries, payloads, records.
 *
 * Chunks of 2 MiB, aligned to their size, come from a source (pool_source.c): a private
 * jemalloc arena whose extents are mapped and bound to the node, or mappings.  A chunk's head
 * describes its pages; slabs are runs of pages cut into objects of one size class.  Classes are
 * 16 bytes apart up to 4,160 bytes, then 32 to an octave: rounding costs 8 bytes on average, above 4 KiB
 * 3.1 % at most.  Allocation takes the fullest slab that has room; an empty slab's pages go back to
 * the system.
 */
#ifndef ZC_POOL_H
#define ZC_POOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZC_POOL_CHUNK ((size_t)2 << 20)
#define ZC_POOL_MAX   (((size_t)1 << 20) + 65536)
#define ZC_POOL_KEEP  (UINT64_C(1) << 20) /* unless it is told otherwise */

struct zc_pool;

/**
 * struct zc_pool_usage - bytes of one pool.
 * @allocated: Σ of the sizes of live objects, rounded to their class.
 * @resident:  pages of slabs and chunk heads that are or may be committed.
 * @mapped:    address space of its chunks.
 */
struct zc_pool_usage {
    uint64_t allocated;
    uint64_t resident;
    uint64_t mapped;
};

/**
 * struct zc_pool_bound - what the pools of one cache may keep resident, all together.
 * @unusable: of that, what no object can have: heads of chunks, tails of slabs, free pages of huge ones.
 * @refusals: how often a pool did not grow for it.
 * @full:     a chunk has got full since somebody set it to 0, which may have a huge page.
 */
struct zc_pool_bound {
    _Atomic uint64_t resident;
    _Atomic uint64_t unusable;
    _Atomic uint64_t max;
    _Atomic uint64_t refusals;
    _Atomic uint32_t full;
};

/** zc_pool_create() - @node is our number, stored with each chunk; @sys_node the system's or -1. */
int zc_pool_create(unsigned node, int sys_node, struct zc_pool **out);

/** zc_pool_bind() - have a pool count in @bound, and refuse to pass it; before its first use. */
void zc_pool_bind(struct zc_pool *pool, struct zc_pool_bound *bound);

/** zc_pool_keep() - how many bytes of empty slabs may stay resident, for the next allocations. */
void zc_pool_keep(struct zc_pool *pool, uint64_t bytes);

/** zc_pool_trim() - what is kept for the next allocations goes back to the system now.  No lock held. */
void zc_pool_trim(struct zc_pool *pool);

/** zc_pool_destroy() - every object must have been freed; returns all memory. */
void zc_pool_destroy(struct zc_pool **pool);

/** zc_pool_round() - bytes that an object of @size takes; @size from 1 to ZC_POOL_MAX. */
size_t zc_pool_round(size_t size);

/**
 * zc_pool_alloc() - an object of @size bytes (1 to ZC_POOL_MAX), aligned to 16; not zeroed.
 *
 * Return: the object; NULL if the system refuses memory.
 */
void *zc_pool_alloc(struct zc_pool *pool, size_t size);

/** zc_pool_alloc_pages() - as above, in whole pages that hold nothing else. */
void *zc_pool_alloc_pages(struct zc_pool *pool, size_t size);

/** zc_pool_free() - give an object back to the pool it came from, whichever; @size as allocated. */
void zc_pool_free(void *ptr, size_t size);

/** zc_pool_expect_free() - have the CPU read what zc_pool_free() will: first with @step 0, then with 1. */
void zc_pool_expect_free(const void *ptr, unsigned step);

/** zc_pool_node() - our number of the node whose pool an object came from. */
unsigned zc_pool_node(const void *ptr);

/**
 * zc_pool_begin_leaving() - the emptiest slabs of each class stop serving allocations, as many as the
 * others have room for, so that their objects can be moved: allocate anew, copy, free.
 *
 * Return: what the pool gives back if all their objects are moved.
 */
uint64_t zc_pool_begin_leaving(struct zc_pool *pool);
/**
 * zc_pool_recall_leaving() - where others took the room for what is to be moved, some of them serve again.
 *
 * Return: their bytes.
 */
uint64_t zc_pool_recall_leaving(struct zc_pool *pool);
/** zc_pool_end_leaving() - those that have not got empty serve again.  Return: their bytes. */
uint64_t zc_pool_end_leaving(struct zc_pool *pool);
/** zc_pool_is_leaving() - whether a live object lies in such a slab; may be out of date. */
bool zc_pool_is_leaving(const void *ptr);

/** zc_pool_excess() - resident bytes that an object could have and none has, spares left out; a hint. */
uint64_t zc_pool_excess(struct zc_pool *pool);

/**
 * zc_pool_use_huge() - have full chunks in huge pages of the system, from @min_bytes resident on.
 * @min_bytes: UINT64_MAX, as at first: none.
 * @wait_ns:   how long a chunk has to be full before.
 */
void zc_pool_use_huge(struct zc_pool *pool, uint64_t min_bytes, uint64_t wait_ns);

/**
 * zc_pool_make_huge() - the chunks whose time has come, until @deadline_ns; by one thread.
 *
 * No lock held.  Return: when to come again; 0 if a chunk has to get full first.
 */
uint64_t zc_pool_make_huge(struct zc_pool *pool, uint64_t deadline_ns);

/** zc_pool_huge_bytes() - in huge pages now. */
uint64_t zc_pool_huge_bytes(const struct zc_pool *pool);

void zc_pool_usage(const struct zc_pool *pool, struct zc_pool_usage *out);

/** zc_pool_verify() - walk everything.  Return: NULL; or what is wrong, static text. */
const char *zc_pool_verify(struct zc_pool *pool);

/* pool_source.c: where chunks come from. */
struct zc_pool_source;
int zc_pool_source_create(int sys_node, struct zc_pool_source **out);
void zc_pool_source_destroy(struct zc_pool_source **source);
struct zc_pool_region;
/** zc_pool_source_get() - a chunk, aligned to its size, zero or stale.  @region_out: for its return. */
void *zc_pool_source_get(struct zc_pool_source *source, struct zc_pool_region **region_out);
void zc_pool_source_put(struct zc_pool_source *source, void *chunk, struct zc_pool_region *region);

#endif /* ZC_POOL_H */
