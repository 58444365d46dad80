/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tenants: named owners of pages, in a tree, each with a hard limit, a reserve and a weight.
 *
 * A key belongs to a tenant: the same key under two tenants is two pages.  Limits count allocated
 * bytes of the tenant and of everything below it, and hold at every instant.
 */
#ifndef ZCACHE_TENANT_H
#define ZCACHE_TENANT_H

#include <zcache/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ZCACHE_UNLIMITED        UINT64_MAX
#define ZCACHE_TENANT_NAME_MAX  63      /* bytes, without the terminating zero */
#define ZCACHE_TENANT_DEPTH_MAX 16      /* levels below the root */
#define ZCACHE_TENANTS_MAX      1048575 /* open at one time in one cache */

/** enum zcache_writeback - whether reclaim may write a tenant's dirty pages to the store. */
enum zcache_writeback {
    ZCACHE_WRITEBACK_ON = 0,
    ZCACHE_WRITEBACK_OFF = 1 /* reclaim never writes them; any ancestor that is off wins */
};

/** enum zcache_close_mode - what happens to the pages of a tenant that is closed. */
enum zcache_close_mode {
    ZCACHE_CLOSE_FLUSH = 0,    /* write dirty pages to the store, then free all */
    ZCACHE_CLOSE_REPARENT = 1, /* hand all pages to the parent, as its oldest */
    ZCACHE_CLOSE_DISCARD = 2   /* drop all, dirty ones too */
};

/**
 * struct zcache_limits - what a tenant may use; fill with ZCACHE_LIMITS_INIT.
 * @struct_size:   sizeof(struct zcache_limits).
 * @limit_bytes:   hard limit of the subtree's charge; 0 refuses every page at once;
 *                 ZCACHE_UNLIMITED leaves it to the ancestors.  For the root: the cache's capacity,
 *                 at least 1 MiB and never more than the capacity_bytes it was opened with.
 * @reserve_bytes: the round-robin shrinker leaves this much to the tenant; at most @limit_bytes.
 * @weight:        share of the capacity against its siblings' when the shrinker divides work,
 *                 1 to 10000.
 * @writeback:     ZCACHE_WRITEBACK_ON or _OFF.
 */
struct zcache_limits {
    size_t struct_size;
    uint64_t limit_bytes;
    uint64_t reserve_bytes;
    unsigned weight;
    enum zcache_writeback writeback;
};

#define ZCACHE_LIMITS_INIT                                                                         \
    {                                                                                              \
        sizeof(struct zcache_limits), ZCACHE_UNLIMITED, 0, 100, ZCACHE_WRITEBACK_ON                \
    }

/**
 * struct zcache_tenant_options - a tenant to open; fill with ZCACHE_TENANT_OPTIONS_INIT.
 * @struct_size: sizeof(struct zcache_tenant_options).
 * @name:        1 to 63 bytes of [A-Za-z0-9._-], unique among its open siblings; copied.
 * @limits:      its limits.
 * @store:       its own store, copied; NULL to use the parent's.
 * @ctx:         given to the store's callbacks as tenant_ctx.
 * @node:        NUMA node its pages are bound to, by the system's number; for one without memory the
 *               nearest that has some; -1 for the node of the thread that puts.
 */
struct zcache_tenant_options {
    size_t struct_size;
    const char *name;
    struct zcache_limits limits;
    const struct zcache_store *store;
    void *ctx;
    int node;
};

#define ZCACHE_TENANT_OPTIONS_INIT                                                                 \
    {                                                                                              \
        sizeof(struct zcache_tenant_options), NULL, ZCACHE_LIMITS_INIT, NULL, NULL, -1             \
    }

/**
 * zcache_root() - the tenant that always exists, above all others.
 * @cache: live cache.
 *
 * Its limit is the cache's capacity.  It needs no set-up and is closed with the cache.
 *
 * Return: the root; NULL if @cache is NULL or closing.
 * Threads: any.   May block: no.   Calls back: never.   Since: 0.1
 */
ZCACHE_API struct zcache_tenant *zcache_root(struct zcache *cache);

/**
 * zcache_tenant_open() - create a tenant below another.
 * @parent:  live tenant.
 * @opts:    borrowed for the call.
 * @out:     receives the tenant on success, untouched otherwise.
 *
 * Opening costs some kilobytes, charged to the cache, and is meant to be done tens of thousands of
 * times.
 *
 * Return: 0; -EEXIST a sibling has the name; -ENOMEM; -ENOSPC no room for its record, or too many
 * tenants, or too deep; -EINVAL, -E2BIG bad @opts; -ESHUTDOWN.
 * Threads: any thread, in parallel with every call.
 * May block: on reclaim, up to max_stall.   Calls back: the store, to make room.
 * Release with: zcache_tenant_close().   Since: 0.1
 */
ZCACHE_API int zcache_tenant_open(struct zcache_tenant *parent,
                                  const struct zcache_tenant_options *opts,
                                  struct zcache_tenant **out) ZCACHE_MUST_CHECK;

/**
 * zcache_tenant_close() - end a tenant.
 * @tenant: a tenant that has no children; NULL does nothing.
 * @mode:   what becomes of its pages.
 *
 * From the call on other calls with the tenant return -ESHUTDOWN; those under way are waited for.
 * FLUSH writes what is dirty and frees everything.  REPARENT makes every page the parent's, older
 * than the parent's own; a page whose key the parent has cached too is dropped if it is clean, or
 * written to the tenant's own store first; pages that stay dirty are written to the parent's
 * store, and clean ones become dirty where the parent's store writes and does not share keys
 * (ZCACHE_STORE_SHARED_KEYS).  DISCARD drops everything.  On failure the tenant is open as before,
 * with the pages that could not leave.  A pinned page is waited for.  After success the handle is
 * invalid; calls that use it nevertheless get -EINVAL until its record is used for a new tenant.
 *
 * Return: 0; -EBUSY it has children; -ETIMEDOUT pins, calls or writes did not end within
 * max_stall; the store's error; -EDQUOT, -ENOSPC REPARENT found no room for the move; -EINVAL the
 * root, or a bad @mode; -EDEADLK inside a callback of this cache; -ESHUTDOWN.
 * Threads: any thread, in parallel with every call, also with @tenant.
 * May block: up to max_stall beyond the store's progress.   Calls back: the store.   Since: 0.1
 */
ZCACHE_API int zcache_tenant_close(struct zcache_tenant *tenant, enum zcache_close_mode mode)
    ZCACHE_MUST_CHECK;

/**
 * zcache_tenant_set_limits() - change limits while in use.
 * @tenant:     live tenant, or the root to change the cache's capacity.
 * @limits:     the new limits, borrowed for the call.
 * @timeout_ms: how long to drain a charge that is above the new limit; 0 leaves it to the
 *              background thread.
 * @result_out: what was done and what is left; may be NULL.
 *
 * The new limit holds for every later put at once.  A charge above it is shrunk by this call until
 * the timeout, then by the background thread.
 *
 * Return: 0, also if charge is left above the limit (see @result_out); -EINVAL, -E2BIG bad @limits;
 * -ESHUTDOWN.
 * Threads: any.   May block: up to @timeout_ms.   Calls back: the store.   Since: 0.1
 */
ZCACHE_API int zcache_tenant_set_limits(struct zcache_tenant *tenant,
                                        const struct zcache_limits *limits,
                                        unsigned timeout_ms,
                                        struct zcache_shrink_result *result_out) ZCACHE_MUST_CHECK;

/**
 * zcache_shrink() - get bytes back from a tenant and everything below it.
 * @tenant:     live tenant.
 * @bytes:      charge to get off the subtree; 0 does nothing.
 * @timeout_ms: give up after this time; 0 waits for nothing.
 * @result_out: what was freed and what was in the way; may be NULL.
 *
 * Oldest pages first; a referenced page gets a second chance until nothing else is left.  Reserves
 * do not count: the caller asked for this tenant.
 *
 * Return: 0 at least @bytes were freed; -EAGAIN less, see @result_out; -EINVAL; -ESHUTDOWN.
 * Threads: any.   May block: up to @timeout_ms.   Calls back: the store.   Since: 0.1
 */
ZCACHE_API int zcache_shrink(struct zcache_tenant *tenant,
                             uint64_t bytes,
                             unsigned timeout_ms,
                             struct zcache_shrink_result *result_out) ZCACHE_MUST_CHECK;

/**
 * zcache_shrink_node() - get bytes back from a tenant's pages on one NUMA node.
 * @tenant:     live tenant; everything below it is included.
 * @node:       the system's number of a node that has memory.
 * @bytes:      charge to get off the subtree; 0 does nothing.
 * @timeout_ms: give up after this time; 0 waits for nothing.
 * @result_out: what was freed and what was in the way; may be NULL.
 *
 * As zcache_shrink(), but only pages that lie on @node are looked at: what is freed is that node's
 * memory.  It goes back to the system in whole slabs; see zcache_compact() for what is left between
 * pages that stay.
 *
 * Return: 0 at least @bytes were freed; -EAGAIN less, see @result_out; -EINVAL there is no such node,
 * or it has no memory; -ESHUTDOWN.
 * Threads: any.   May block: up to @timeout_ms.   Calls back: the store.   Since: 0.1
 */
ZCACHE_API int zcache_shrink_node(struct zcache_tenant *tenant,
                                  int node,
                                  uint64_t bytes,
                                  unsigned timeout_ms,
                                  struct zcache_shrink_result *result_out) ZCACHE_MUST_CHECK;

/**
 * zcache_flush() - write every dirty page of a tenant and of everything below it, then barrier.
 * @tenant:     live tenant.
 * @timeout_ms: give up after this time; 0 means max_stall.
 *
 * When it returns 0 the store has every page put before the call, in that version or a newer one,
 * and none that was deleted before it.  Deletes that are under way are waited for.  Pages put while it runs may or may not be included.  Pages past the WAL horizon are left.
 * A write that failed since the last flush of the tenant is reported once, even if it succeeded
 * later.
 *
 * Return: 0; -ETIMEDOUT; -EAGAIN dirty pages are left because of the WAL horizon; -ENOTSUP the
 * tenant has dirty pages and no store that writes; the store's error; -ENOMEM compressed pages could
 * not be decoded; -EDEADLK inside a callback of this cache; -EINVAL; -ESHUTDOWN.
 * Threads: any.   May block: up to @timeout_ms.   Calls back: the store.   Since: 0.1
 */
ZCACHE_API int zcache_flush(struct zcache_tenant *tenant, unsigned timeout_ms) ZCACHE_MUST_CHECK;

/**
 * zcache_flush_tag() - as zcache_flush(), of pages with a tag up to a given one.
 * @tenant:     live tenant.
 * @up_to_tag:  highest tag to write; pages without a tag (0) are included.
 * @timeout_ms: give up after this time; 0 means max_stall.
 *
 * For a checkpoint: when it returns 0 no page with a tag up to @up_to_tag is newer in memory than
 * in the store, so the log up to there is not needed any more.  Pages with a later tag are not
 * waited for, though some may be written as neighbours of others.
 *
 * Return: as zcache_flush(); -EAGAIN only if pages with a tag up to @up_to_tag are past the WAL
 * horizon.
 * Threads: any.   May block: up to @timeout_ms.   Calls back: the store.   Since: 0.1
 */
ZCACHE_API int zcache_flush_tag(struct zcache_tenant *tenant,
                                uint64_t up_to_tag,
                                unsigned timeout_ms) ZCACHE_MUST_CHECK;

/**
 * zcache_set_wal_horizon() - say how far the tenant's write-ahead log is durable.
 * @tenant:      live tenant; descendants have horizons of their own.
 * @durable_tag: pages with a tag above it are not written; it never falls: a lower one is ignored.
 *
 * A tenant whose horizon was never set writes untagged pages (tag 0) only, and tagged ones never.
 *
 * Return: 0; -EINVAL; -ESHUTDOWN.
 * Threads: any.   May block: no.   Calls back: never.   Since: 0.1
 */
ZCACHE_API int zcache_set_wal_horizon(struct zcache_tenant *tenant, uint64_t durable_tag)
    ZCACHE_MUST_CHECK;

/**
 * zcache_stats() - counters and gauges of a tenant and everything below it.
 * @tenant: live tenant; the root gives the whole cache.
 * @out:    with struct_size set, see ZCACHE_STATS_INIT in stats.h.
 *
 * Counters of closed tenants are kept in their parent's.  Without activity the gauges are exact;
 * with it each is a value of its own instant.
 *
 * Return: 0; -EINVAL, -E2BIG; -ESHUTDOWN.
 * Threads: any.   May block: no.   Calls back: never.   Since: 0.1
 */
ZCACHE_API int zcache_stats(struct zcache_tenant *tenant, struct zcache_stats *out)
    ZCACHE_MUST_CHECK;

/**
 * zcache_tenant_id() - a number that names the tenant in store callbacks and statistics.
 * @tenant: live tenant.
 *
 * Return: the id, never used again within this cache; the root's is 0.  UINT64_MAX if @tenant is
 * NULL or closed.
 * Threads: any.   May block: no.   Calls back: never.   Since: 0.1
 */
ZCACHE_API uint64_t zcache_tenant_id(const struct zcache_tenant *tenant);

/**
 * zcache_tenant_find() - the tenant of an id.
 * @cache: live cache.
 * @id:    zcache_tenant_id() of a tenant that is or was open.
 * @out:   receives the tenant; for one that was closed, its nearest live ancestor.
 *
 * Return: 0; -ENOENT no such id, or it was closed so long ago that the cache forgot it (at least
 * the last 256 closes are remembered); -EINVAL; -ESHUTDOWN.
 * Threads: any.   May block: no.   Calls back: never.   Since: 0.1
 */
ZCACHE_API int zcache_tenant_find(struct zcache *cache, uint64_t id, struct zcache_tenant **out)
    ZCACHE_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif /* ZCACHE_TENANT_H */
