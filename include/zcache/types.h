/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Types, results and flags that every part of the interface shares.
 *
 * Results.  A function returns int: 0 or a positive outcome of enum zcache_outcome, otherwise a
 * negative errno.  A miss is an outcome, not an error.  A store's own error, say -EIO, travels
 * unchanged.  The codes that any call with a handle may return, and what they mean everywhere:
 *
 *   -EINVAL      an argument is wrong; nothing changed
 *   -ESHUTDOWN   the cache or the tenant is closing, or this process is a fork()ed child
 *   -EDEADLK     called from a store callback, it would wait for that very callback
 *   -ENOMEM      the system refused memory; nothing changed unless the call says otherwise
 *
 * Structures that the caller fills begin with struct_size and have an initialiser.  They grow at
 * the end only; a caller's structure that is longer than the library's and not zero beyond it is
 * refused with -E2BIG, one that is shorter than its first release is refused with -EINVAL.
 */
#ifndef ZCACHE_TYPES_H
#define ZCACHE_TYPES_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define ZCACHE_API        __attribute__((visibility("default")))
#define ZCACHE_MUST_CHECK __attribute__((warn_unused_result))
#else
#define ZCACHE_API
#define ZCACHE_MUST_CHECK
#endif

#ifdef __cplusplus
extern "C" {
#endif

struct zcache;        /* one cache: memory, nodes, background threads */
struct zcache_tenant; /* a named owner of pages, with limits; the root is one too */
struct zcache_io;     /* one batch handed to a store: store.h */
struct zcache_store;  /* callbacks of a backing store: store.h */
struct zcache_stats;  /* counters and gauges: stats.h */

/** struct zcache_key - names one page of a tenant, for example relation and block number. */
struct zcache_key {
    uint64_t object;
    uint64_t page;
};

/** enum zcache_outcome - results that are not errors; 0 is plain success. */
enum zcache_outcome {
    ZCACHE_OK = 0,
    ZCACHE_MISS = 1,      /* no such page in the cache, nor in the store if it was asked */
    ZCACHE_PENDING = 2,   /* a store callback took the batch and will call zcache_done() */
    ZCACHE_BYPASSED = 3,  /* ZCACHE_BEST_EFFORT: there was no room, the page was passed by */
    ZCACHE_UNWRITTEN = 4, /* ZCACHE_TAKE: the page left the cache and the store lacks it: it is the
                             caller's to keep */
    ZCACHE_EXISTS = 5     /* ZCACHE_IF_ABSENT: the cache has the page; nothing changed */
};

/** enum zcache_flags - how one call is to be carried out. */
enum zcache_flags {
    ZCACHE_CLEAN = 1u << 0,   /* put: the store has this version already */
    ZCACHE_DIRTY = 1u << 1,   /* put: the store must get this version before it may leave;
                                        the default where the tenant has a store that writes */
    ZCACHE_TAKE = 1u << 2,    /* get: remove the page, return ZCACHE_UNWRITTEN if it is dirty */
    ZCACHE_PEEK = 1u << 3,    /* get, pin: leave recency and tier as they are */
    ZCACHE_NO_LOAD = 1u << 4, /* get, pin: a miss does not ask the store */
    ZCACHE_SCAN = 1u << 5,    /* one-time access: it must not push the working set out */
    ZCACHE_INCOMPRESSIBLE = 1u << 6, /* put: do not try to compress this page */
    ZCACHE_NOWAIT = 1u << 7,         /* -EBUSY instead of waiting for another thread or the store */
    ZCACHE_NOIO = 1u << 8,           /* never call the store from this call */
    ZCACHE_BEST_EFFORT = 1u << 9,    /* put: ZCACHE_BYPASSED instead of -EDQUOT, -ENOSPC, -ENOMEM */
    ZCACHE_IF_ABSENT = 1u << 10,     /* put: do nothing if the cache has the page */
    ZCACHE_KEEP_OLD = 1u << 11,      /* put: if it fails, the older version stays as it was */
    ZCACHE_KEEP_TIER = 1u << 12,     /* get: the page is used, but not for that made raw */
    ZCACHE_KEEP_RAW =
        1u << 13 /* put, and get and pin for what they load: this version stays raw until
                                  it leaves, for example metadata that must be quick to read */
};

/** enum zcache_tier - the forms in which a page is kept, from fastest to densest. */
enum zcache_tier {
    ZCACHE_TIER_RAW = 0,
    ZCACHE_TIER_FAST = 1,
    ZCACHE_TIER_DENSE = 2,
    ZCACHE_TIERS = 3
};

/** enum zcache_log_level - how much a log message matters. */
enum zcache_log_level {
    ZCACHE_LOG_ERROR = 0,
    ZCACHE_LOG_WARN = 1,
    ZCACHE_LOG_INFO = 2
};

/**
 * zcache_log_fn - receives the library's messages; the library itself never prints.
 * @ctx:   log_ctx of the options.
 * @level: severity.
 * @event: short stable name of what happened, for example "option.capacity".
 * @text:  one English sentence without a newline; valid during the call only.
 *
 * Called on any thread, several at a time, at most some ten times a second for one event.  No
 * zcache lock is held, so it may call zcache.
 */
typedef void zcache_log_fn(void *ctx,
                           enum zcache_log_level level,
                           const char *event,
                           const char *text);

/**
 * zcache_write_fn - receives a piece of text output.
 * @ctx:  the context given with it.
 * @data: @len bytes, not terminated, valid during the call only.
 *
 * Return: 0 to go on; a negative errno stops the output and becomes its result.
 */
typedef int zcache_write_fn(void *ctx, const char *data, size_t len);

/**
 * struct zcache_page - one page of zcache_put_many() or zcache_get_many().
 * @key:    which page.
 * @data:   put: the bytes to store, @len of them; ignored by get.
 * @buf:    get: where to put the bytes, room for @cap; ignored by put.
 * @len:    put: length in bytes; get: set to the page's length where @status is 0 or
 *          ZCACHE_UNWRITTEN.
 * @cap:    get: room at @buf in bytes.
 * @tag:    put: the page's position in the write-ahead log; 0 means not bound to it.
 * @status: result of this page, as the single-page call would return it.
 */
struct zcache_page {
    struct zcache_key key;
    const void *data;
    void *buf;
    size_t len;
    size_t cap;
    uint64_t tag;
    int status;
};

/**
 * struct zcache_pin - a page's raw bytes, held in place for the caller.
 * @data: the bytes, immutable, valid until zcache_unpin().
 * @len:  how many.
 *
 * Lives on the caller's stack; the other members are the library's.
 */
struct zcache_pin {
    const void *data;
    size_t len;
    void *frame;
    struct zcache *cache;
};

/**
 * struct zcache_shrink_result - what a shrink achieved, and what was in its way.
 * @freed_bytes:     charge that came off the tenant's subtree through this call.
 * @demoted_pages:   pages moved to a denser tier.
 * @written_pages:   pages the store took.
 * @evicted_pages:   pages that left memory.
 * @pinned_pages:    pages stepped over because a caller holds their bytes.
 * @busy_pages:      pages stepped over because another thread or a write had them.
 * @dirty_pages:     dirty pages stepped over because write-back is off or impossible there.
 * @wal_pages:       dirty pages stepped over because their tag is past the WAL horizon.
 * @failed_pages:    pages whose write the store refused; they stay, dirty.
 * @remaining_bytes: zcache_shrink(): what is missing to the request;
 *                   zcache_tenant_set_limits(): charge that is still above the new limit.
 */
struct zcache_shrink_result {
    uint64_t freed_bytes;
    uint64_t demoted_pages;
    uint64_t written_pages;
    uint64_t evicted_pages;
    uint64_t pinned_pages;
    uint64_t busy_pages;
    uint64_t dirty_pages;
    uint64_t wal_pages;
    uint64_t failed_pages;
    uint64_t remaining_bytes;
};

#ifdef __cplusplus
}
#endif

#endif /* ZCACHE_TYPES_H */
