/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a pool's chunks come from: one jemalloc arena per source, of its own.
 *
 *      pool --> source --> arena --> hooks --> zc_plat_map(), bound to the source's node
 *                 |
 *                 +-- regions of 8 chunks: | used | free | used | used | ...
 *
 * For each extent jemalloc's map of addresses takes two pages, whatever its size.  For each chunk that
 * would be 0.4 % of its memory; so the source gets 8 at a time.  A free chunk of a region is address space
 * only; a region without a used one is given back.  Chunks come from the regions that are in use
 * already, those that have got room last first.
 *
 * jemalloc is inside the library under the names zcje_*, so the application's malloc is not
 * involved and another jemalloc in the process is not disturbed.  An arena is used by nobody but
 * its source, so sources share no state; its extents come from our hooks and are preferred on the
 * node.  Destroying the arena unmaps everything that is left, jemalloc's own records included.
 *
 * A chunk that is given back must leave the process, or the pool's gauges would be a lie.  Hence no
 * decay, no retained extents, no thread caches, and hooks that really unmap.  Measured: a source
 * costs 0.2 MiB of memory, 2 MiB of addresses and 35 us to create (the first 100 us); an extent 6 us
 * to get and 10 us to put back.
 *
 * With ZC_JEMALLOC=0 the source maps and unmaps by itself: for sanitizers, which see jemalloc's
 * mapping functions but not what they are for, and for builds without jemalloc.
 *
 * Locks: one (rank leaf) for the lists and marks of regions; jemalloc's own, inside calls, and not
 * while ours is held.
 */
#include "pool.h"

#include <errno.h>

#include "check.h"
#include "fault.h"
#include "list.h"
#include "lock.h"
#include "mathx.h"
#include "plat.h"

#if ZC_JEMALLOC

#include <jemalloc/jemalloc.h>
#include <stdio.h>

void *zcje_mallocx(size_t size, int flags);
void zcje_sdallocx(void *ptr, size_t size, int flags);
int zcje_mallctl(const char *name, void *old, size_t *old_len, void *new, size_t new_len);

/*
 * Read once, when jemalloc is first called, and last of all sources of options: MALLOC_CONF of the
 * application is meant for another jemalloc.  Some of what it may say would hurt here: junk fills,
 * and so commits, every chunk; stats_print prints.
 */
extern const char *zcje_malloc_conf_2_conf_harder;
const char *zcje_malloc_conf_2_conf_harder =
    "narenas:1,tcache:false,retain:false,dirty_decay_ms:0,muzzy_decay_ms:0,background_thread:false,"
    "junk:false,zero:false,stats_print:false";

#define REGION_CHUNKS 8u
#define REGION_UNUSED ((1u << REGION_CHUNKS) - 1)

struct zc_pool_region {
    char *base;          /* set once */
    uint32_t free;       /* under the source's lock: a bit for each free chunk */
    struct zc_list link; /* under the source's lock: on its list if any is free */
};

struct zc_pool_source {
    extent_hooks_t hooks;   /* first: jemalloc hands us this address back */
    size_t bytes;           /* set once: of this record's own mapping */
    int sys_node;           /* set once */
    unsigned arena;         /* set once */
    struct zc_lock lock;    /* for the regions */
    struct zc_list regions; /* under lock: those with a free chunk and a used one */
};

/* ---------------------------------------------------------------------------------------------- */
/* What jemalloc calls. */

static void *extent_alloc(extent_hooks_t *hooks,
                          void *new_addr,
                          size_t size,
                          size_t alignment,
                          bool *zero,
                          bool *commit,
                          unsigned arena)
{
    const struct zc_pool_source *source = (const struct zc_pool_source *)(const void *)hooks;
    void *ptr;

    (void)arena;
    if (new_addr != NULL) {
        return NULL; /* an extent grows at a place of its choice: not with us */
    }
    ptr = zc_plat_map(size, ZC_MAX(alignment, zc_plat_page_size()), source->sys_node);
    if (ptr != NULL) {
        *zero = true;
        *commit = true;
    }
    return ptr;
}

/* Return: false, which is success, as in all hooks. */
static bool extent_dalloc(extent_hooks_t *hooks,
                          void *addr,
                          size_t size,
                          bool committed,
                          unsigned arena)
{
    (void)hooks;
    (void)committed;
    (void)arena;
    zc_plat_unmap(addr, size);
    return false;
}

static void extent_destroy(extent_hooks_t *hooks,
                           void *addr,
                           size_t size,
                           bool committed,
                           unsigned arena)
{
    (void)extent_dalloc(hooks, addr, size, committed, arena);
}

static bool extent_purge(extent_hooks_t *hooks,
                         void *addr,
                         size_t size,
                         size_t offset,
                         size_t length,
                         unsigned arena)
{
    (void)hooks;
    (void)size;
    (void)arena;
    zc_plat_discard((char *)addr + offset, length);
    return false;
}

/* Any piece of a mapping can be unmapped, and neighbours together: nothing to do but to agree. */
static bool extent_split(extent_hooks_t *hooks,
                         void *addr,
                         size_t size,
                         size_t size_a,
                         size_t size_b,
                         bool committed,
                         unsigned arena)
{
    (void)hooks;
    (void)addr;
    (void)size;
    (void)size_a;
    (void)size_b;
    (void)committed;
    (void)arena;
    return false;
}

static bool extent_merge(extent_hooks_t *hooks,
                         void *addr_a,
                         size_t size_a,
                         void *addr_b,
                         size_t size_b,
                         bool committed,
                         unsigned arena)
{
    (void)hooks;
    (void)addr_a;
    (void)size_a;
    (void)addr_b;
    (void)size_b;
    (void)committed;
    (void)arena;
    return false;
}

/* No commit and decommit: memory is committed by touching it, and purged by discarding it. */
static const extent_hooks_t source_hooks = {
    .alloc = extent_alloc,
    .dalloc = extent_dalloc,
    .destroy = extent_destroy,
    .purge_forced = extent_purge,
    .split = extent_split,
    .merge = extent_merge,
};

/* ---------------------------------------------------------------------------------------------- */
/* The source. */

static int arena_create(struct zc_pool_source *source)
{
    void *hooks = &source->hooks;
    size_t size = sizeof(source->arena);

    return -zcje_mallctl("arenas.create", &source->arena, &size, &hooks, sizeof(hooks));
}

static void arena_destroy(unsigned arena)
{
    char name[64];
    int rc;

    (void)snprintf(name, sizeof(name), "arena.%u.destroy", arena);
    rc = zcje_mallctl(name, NULL, NULL, NULL, 0);
    ZC_ASSERT(rc == 0);
}

int zc_pool_source_create(int sys_node, struct zc_pool_source **out)
{
    const size_t bytes = zc_align_up(sizeof(struct zc_pool_source), zc_plat_page_size());
    struct zc_pool_source *source = zc_plat_map(bytes, zc_plat_page_size(), sys_node);

    if (source == NULL) {
        return -ENOMEM;
    }
    source->hooks = source_hooks;
    source->bytes = bytes;
    source->sys_node = sys_node;
    if (ZC_FAULT(arena) || arena_create(source) != 0) {
        zc_plat_unmap(source, bytes);
        return -ENOMEM;
    }
    zc_lock_init(&source->lock, ZC_RANK_leaf);
    zc_list_init(&source->regions);
    *out = source;
    return 0;
}

void zc_pool_source_destroy(struct zc_pool_source **source_ptr)
{
    struct zc_pool_source *source = *source_ptr;

    *source_ptr = NULL;
    if (source != NULL) {
        zc_lock_fini(&source->lock);
        arena_destroy(source->arena);
        zc_plat_unmap(source, source->bytes);
    }
}

static int flags_of(const struct zc_pool_source *source)
{
    return MALLOCX_ARENA(source->arena) | MALLOCX_TCACHE_NONE;
}

static int region_flags(const struct zc_pool_source *source)
{
    return flags_of(source) | MALLOCX_ALIGN(ZC_POOL_CHUNK);
}

/* All of it free, and on no list. */
static struct zc_pool_region *region_create(struct zc_pool_source *source)
{
    struct zc_pool_region *region = zcje_mallocx(sizeof(*region), flags_of(source));

    if (region == NULL) {
        return NULL;
    }
    region->base = zcje_mallocx(REGION_CHUNKS * ZC_POOL_CHUNK, region_flags(source));
    if (region->base == NULL) {
        zcje_sdallocx(region, sizeof(*region), flags_of(source));
        return NULL;
    }
    region->free = REGION_UNUSED;
    zc_list_init(&region->link);
    return region;
}

static void region_destroy(struct zc_pool_source *source, struct zc_pool_region *region)
{
    zcje_sdallocx(region->base, REGION_CHUNKS * ZC_POOL_CHUNK, region_flags(source));
    zcje_sdallocx(region, sizeof(*region), flags_of(source));
}

static void *take_locked(struct zc_pool_source *source, struct zc_pool_region *region)
    ZC_REQUIRES(source->lock)
{
    unsigned i = (unsigned)__builtin_ctz(region->free);

    zc_lock_assert_held(&source->lock);
    region->free &= ~(1u << i);
    zc_list_del(&region->link);
    if (region->free != 0) {
        zc_list_push_front(&source->regions, &region->link);
    }
    return region->base + i * ZC_POOL_CHUNK;
}

void *zc_pool_source_get(struct zc_pool_source *source, struct zc_pool_region **region_out)
{
    struct zc_pool_region *region = NULL;
    void *chunk;

    zc_lock_acquire(&source->lock);
    if (zc_list_empty(&source->regions)) {
        zc_lock_release(&source->lock);
        region = region_create(source);
        if (region == NULL) {
            return NULL;
        }
        zc_lock_acquire(&source->lock);
    } else {
        region = ZC_CONTAINER_OF(zc_list_next(&source->regions), struct zc_pool_region, link);
    }
    chunk = take_locked(source, region);
    zc_lock_release(&source->lock);
    *region_out = region;
    return chunk;
}

void zc_pool_source_put(struct zc_pool_source *source, void *chunk, struct zc_pool_region *region)
{
    unsigned i = (unsigned)((size_t)((char *)chunk - region->base) / ZC_POOL_CHUNK);
    bool unused;

    zc_plat_discard(chunk, ZC_POOL_CHUNK); /* while it is still ours */
    zc_lock_acquire(&source->lock);
    zc_list_del(&region->link);
    region->free |= 1u << i;
    unused = region->free == REGION_UNUSED;
    if (!unused) {
        zc_list_push_front(&source->regions, &region->link);
    }
    zc_lock_release(&source->lock);
    if (unused) {
        region_destroy(source, region);
    }
}

#else /* !ZC_JEMALLOC */

struct zc_pool_source {
    int sys_node; /* set once */
    size_t bytes; /* set once: of this record's own mapping */
};

int zc_pool_source_create(int sys_node, struct zc_pool_source **out)
{
    const size_t bytes = zc_plat_page_size();
    struct zc_pool_source *source = zc_plat_map(bytes, bytes, sys_node);

    if (source == NULL) {
        return -ENOMEM;
    }
    source->bytes = bytes;
    source->sys_node = sys_node;
    *out = source;
    return 0;
}

void zc_pool_source_destroy(struct zc_pool_source **source_ptr)
{
    struct zc_pool_source *source = *source_ptr;

    *source_ptr = NULL;
    if (source != NULL) {
        zc_plat_unmap(source, source->bytes);
    }
}

void *zc_pool_source_get(struct zc_pool_source *source, struct zc_pool_region **region_out)
{
    *region_out = NULL;
    return zc_plat_map(ZC_POOL_CHUNK, ZC_POOL_CHUNK, source->sys_node);
}

void zc_pool_source_put(struct zc_pool_source *source, void *chunk, struct zc_pool_region *region)
{
    (void)source;
    (void)region;
    zc_plat_unmap(chunk, ZC_POOL_CHUNK);
}

#endif
