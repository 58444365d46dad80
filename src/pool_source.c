/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a pool's chunks come from: one jemalloc arena per source, of its own.
 *
 *      pool --> source --> arena --> hooks --> zc_plat_map(), bound to the source's node
 *
 * jemalloc is inside the library under the names zcje_*, so the application's malloc is not
 * involved and another jemalloc in the process is not disturbed.  An arena is used by nobody but
 * its source, so sources share no state; its extents come from our hooks and are preferred on the
 * node.  Destroying the arena unmaps everything that is left, jemalloc's own records included.
 *
 * A chunk that is given back must leave the process, or the pool's gauges would be a lie.  Hence no
 * decay, no retained extents, no thread caches, and hooks that really unmap.  Measured: a source
 * costs 0.2 MiB of memory, 2 MiB of addresses and 35 us to create (the first 100 us); a chunk 6 us
 * to get and 10 us to put back touched, against 1.5 us and 9 us for mapping it directly.  For each
 * chunk jemalloc's map of addresses takes two pages, 0.4 %, which it keeps for the next chunk
 * there.
 *
 * With ZC_JEMALLOC=0 the source maps and unmaps by itself: for sanitizers, which see jemalloc's
 * mapping functions but not what they are for, and for builds without jemalloc.
 *
 * Locks: none here; jemalloc's own, inside calls.
 */
#include "pool.h"

#include <errno.h>

#include "check.h"
#include "fault.h"
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

struct zc_pool_source {
    extent_hooks_t hooks; /* first: jemalloc hands us this address back */
    size_t bytes;         /* set once: of this record's own mapping */
    int sys_node;         /* set once */
    unsigned arena;       /* set once */
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
    *out = source;
    return 0;
}

void zc_pool_source_destroy(struct zc_pool_source **source_ptr)
{
    struct zc_pool_source *source = *source_ptr;

    *source_ptr = NULL;
    if (source != NULL) {
        arena_destroy(source->arena);
        zc_plat_unmap(source, source->bytes);
    }
}

static int flags_of(const struct zc_pool_source *source)
{
    return MALLOCX_ALIGN(ZC_POOL_CHUNK) | MALLOCX_ARENA(source->arena) | MALLOCX_TCACHE_NONE;
}

void *zc_pool_source_get(struct zc_pool_source *source, size_t size)
{
    return zcje_mallocx(size, flags_of(source));
}

void zc_pool_source_put(struct zc_pool_source *source, void *ptr, size_t size)
{
    zcje_sdallocx(ptr, size, flags_of(source));
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

void *zc_pool_source_get(struct zc_pool_source *source, size_t size)
{
    return zc_plat_map(size, ZC_POOL_CHUNK, source->sys_node);
}

void zc_pool_source_put(struct zc_pool_source *source, void *ptr, size_t size)
{
    (void)source;
    zc_plat_unmap(ptr, size);
}

#endif
