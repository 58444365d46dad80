/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory of one NUMA node for objects of any size up to ZC_POOL_MAX: entries, payloads, records.
 *
 * Chunks of 2 MiB, aligned to their size, come from a source (pool_source.c): a private
 * jemalloc arena whose extents are mapped and bound to the node, or mappings.  A chunk's head
 * describes its pages; slabs are runs of pages cut into objects of one size class.  Classes are
 * 16 bytes apart up to 512 bytes, then 32 to a power of two: rounding costs 1.5 % on average, 3.1 %
 * at most.  Allocation takes the fullest slab that has room; an empty slab's pages go back to the
 * system.
 */
#ifndef ZC_POOL_H
#define ZC_POOL_H

#include <stddef.h>
#include <stdint.h>

#define ZC_POOL_CHUNK ((size_t)2 << 20)
#define ZC_POOL_MAX   (((size_t)1 << 20) + 65536)

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

/** zc_pool_create() - @node is our number, stored with each chunk; @sys_node the system's or -1. */
int zc_pool_create(unsigned node, int sys_node, struct zc_pool **out);

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

/** zc_pool_free() - give an object back to the pool it came from, whichever; @size as allocated. */
void zc_pool_free(void *ptr, size_t size);

/** zc_pool_node() - our number of the node whose pool an object came from. */
unsigned zc_pool_node(const void *ptr);

void zc_pool_usage(const struct zc_pool *pool, struct zc_pool_usage *out);

/** zc_pool_verify() - walk everything.  Return: NULL; or what is wrong, static text. */
const char *zc_pool_verify(struct zc_pool *pool);

/* pool_source.c: where chunks come from. */
struct zc_pool_source;
int zc_pool_source_create(int sys_node, struct zc_pool_source **out);
void zc_pool_source_destroy(struct zc_pool_source **source);
/** zc_pool_source_get() - @size bytes, a multiple of ZC_POOL_CHUNK, aligned to it, zero or stale.
 * */
void *zc_pool_source_get(struct zc_pool_source *source, size_t size);
void zc_pool_source_put(struct zc_pool_source *source, void *ptr, size_t size);

#endif /* ZC_POOL_H */
