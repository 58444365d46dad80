/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zcache: one compressed page cache for a database or a cache.
 *
 * Pages live in memory in three tiers (raw, fast-compressed, dense-compressed).  Every page belongs
 * to a tenant (tenant.h) and to a NUMA node; tenants have hard limits; what no longer fits is
 * written back to a store that the application supplies (store.h).
 *
 * Caveats, all in one place:
 *  - zcache_close() frees the cache: no thread may be inside a call, or in the act of exiting after
 *    having used the cache, when it succeeds; the handle is invalid afterwards.
 *  - After fork() the child must not use the cache: calls return -ESHUTDOWN.
 *  - The buffer given to zcache_get() is written before the page is verified; on an error its
 *    content is undefined.
 */
#ifndef ZCACHE_ZCACHE_H
#define ZCACHE_ZCACHE_H

#include <zcache/tenant.h>
#include <zcache/types.h>
#include <zcache/version.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ZCACHE_PAGE_MAX_LIMIT (1u << 20)          /* largest page_max_bytes: 1 MiB */
#define ZCACHE_CAPACITY_MIN   (UINT64_C(1) << 20) /* smallest capacity_bytes: 1 MiB */
#define ZCACHE_CODEC_NAME_MAX 31

/** enum zcache_full_policy - what a put does when the cache's capacity is used up. */
enum zcache_full_policy {
    ZCACHE_FULL_WAIT = 0,  /* wait for the shrinker's progress, up to max_stall_ms */
    ZCACHE_FULL_HELP = 1,  /* shrink a bounded amount itself, then as WAIT */
    ZCACHE_FULL_REJECT = 2 /* -ENOSPC at once */
};

/** enum zcache_pressure - which signs of memory pressure the cache follows. */
enum zcache_pressure {
    ZCACHE_PRESSURE_OFF = 0,    /* none */
    ZCACHE_PRESSURE_CGROUP = 1, /* memory.high and memory.max of the process's cgroup (version 2) */
    ZCACHE_PRESSURE_PSI =
        2, /* time that tasks stall for memory (PSI), of the cgroup or the system */
    ZCACHE_PRESSURE_BOTH = 3
};

/** enum zcache_policy - which pages leave first. */
enum zcache_policy {
    ZCACHE_POLICY_S3FIFO = 0, /* new pages are on probation, returning ones are known: a scan passes
                                 through without pushing the working set out */
    ZCACHE_POLICY_LRU = 1     /* the oldest, with a second chance */
};

/** enum zcache_huge_pages - whether the cache asks for the system's huge pages. */
enum zcache_huge_pages {
    ZCACHE_HUGE_PAGES_AUTO = 0, /* for memory that is full, of a cache that is large */
    ZCACHE_HUGE_PAGES_OFF = 1
};

/* Of an option: what it should be is found out while the cache runs. */
#define ZCACHE_AUTO UINT32_MAX

/**
 * struct zcache_options - how a cache is opened; fill with ZCACHE_OPTIONS_INIT.
 * @struct_size:        sizeof(struct zcache_options).
 * @capacity_bytes:     hard bound of all memory charged, metadata included; required; at least
 *                      1 MiB and 16 pages of page_max_bytes.
 * @page_max_bytes:     longest page, 1 byte to 1 MiB; default 64 KiB.
 * @raw_percent:        share of a tenant's memory that may be raw before the shrinker compresses
 *                      its oldest raw pages: 0 to 100, where 0 compresses in the putting thread; or
 *                      ZCACHE_AUTO, the default: it follows what was measured, between 0.5 and 90,
 *                      from 10 on.  It falls while the pages that its bytes would hold if they were
 *                      compressed save more time, as misses, than decoding would take.
 * @fast_percent:       share that may be in the fast tier before it is made dense: 0 to 100, where
 *                      100 turns the dense tier off; or ZCACHE_AUTO, the default, as above, from 10
 *                      on.  With 0 raw pages become dense at once.  Raw and fast together may exceed 100.
 * @fast_codec:         codec of the fast tier, "name" or "name:level"; "" is "lz4"; "none"
 *                      keeps pages raw.
 * @dense_codec:        codec of the dense tier; "" is "zstd:3"; "none" turns it off.
 * @start_percent:      charge from which the shrinker compresses ahead of need, of capacity,
 *                      default 60; 100 turns that off.
 * @background_percent: charge that wakes the shrinker, of capacity, default 97.
 * @low_percent:        charge down to which it works then, default 95; start <= low < background,
 *                      where start is not 100.
 * @full_policy:        at the capacity itself, default ZCACHE_FULL_WAIT.
 * @max_stall_ms:       longest wait of any call for room, a write or another thread, 1 to 3600000,
 *                      default 10000.
 * @inflight_pages:     pages that may be in the store's hands at one time, 1 to 65536, default 256.
 * @batch_pages:        pages in one batch to the store at most, 1 to 1024, default 32.
 * @latency_sample:     time one of this many calls for the latency histograms; 0 never; default
 *                      64; a power of two.
 * @store:              the root's store, copied; NULL for none.
 * @log:                receives messages; NULL for none.
 * @log_ctx:            its context.
 * @feed_percent:       share of a CPU, 0 to 100, default 5, beyond which compressing the pages of
 *                      one tenant for one tier must be of use: if hardly any of them is hit there,
 *                      the oldest ones leave the cache as they are.  100 compresses all, always.
 * @pressure:           which memory pressure the cache follows, default ZCACHE_PRESSURE_OFF.  Under
 *                      pressure the bound that holds is lowered in steps, and it is raised again
 *                      when there was none for a time.
 * @pressure_floor_percent: of capacity, below which pressure never gets the bound; 1 to 100,
 *                      default 25.
 * @pressure_high_percent: usage of a cgroup's limit that is pressure, 2 to 100, default 95.
 * @pressure_low_percent: usage down to which the cache gives back then, and up to which it grows
 *                      again; 1 to 99, below high, default 85.
 * @pressure_stall_percent: share of time in which a task stalls that is pressure, 1 to 100,
 *                      default 10.
 * @pressure_quiet_ms:  time without pressure before the bound is raised, 100 to 3600000, default
 *                      10000; the system is looked at 16 times as often, at most once a second and
 *                      at least 20 times.
 * @dictionary_bytes:   largest dictionary for the dense tier's codec, if that can use one, as "zstd" can;
 *                      0 to 1 MiB, default 112 KiB, and never more than 1/512 of the capacity; below 16 KiB,
 *                      or in a cache below 8 MiB, there is none.  They are trained in the background from
 *                      what is demoted, and kept where they gain.
 * @keep_bytes:         emptied memory that stays resident for what comes next, default 1 MiB; the rest goes
 *                      back to the system at once.
 * @compact_percent:    empty room in memory that is partly used, in percent of what is used, from which the
 *                      shrinker moves pages together, 0 to 100, default 3, and 2 MiB at least; 100
 *                      leaves it to zcache_compact() and to puts that find no memory.
 * @policy:             which pages leave first, default ZCACHE_POLICY_S3FIFO.
 * @miss_cost_us:       what a miss costs, for shares that follow it: microseconds, up to 3600000000; or
 *                      ZCACHE_AUTO, the default: as long as the store's reads took on average, 200
 *                      where there were none.
 * @huge_pages:         default ZCACHE_HUGE_PAGES_AUTO: from 64 MiB resident memory on, pieces of 2 MiB that
 *                      have been full for a second become huge pages of the system, and small ones again when
 *                      a part of them is given back.
 */
struct zcache_options {
    size_t struct_size;
    uint64_t capacity_bytes;
    uint32_t page_max_bytes;
    uint32_t raw_percent;
    uint32_t fast_percent;
    uint32_t start_percent;
    uint32_t background_percent;
    uint32_t low_percent;
    enum zcache_full_policy full_policy;
    uint32_t max_stall_ms;
    uint32_t inflight_pages;
    uint32_t batch_pages;
    uint32_t latency_sample;
    char fast_codec[ZCACHE_CODEC_NAME_MAX + 1];
    char dense_codec[ZCACHE_CODEC_NAME_MAX + 1];
    const struct zcache_store *store;
    zcache_log_fn *log;
    void *log_ctx;
    uint32_t feed_percent;
    enum zcache_pressure pressure;
    uint32_t pressure_floor_percent;
    uint32_t pressure_high_percent;
    uint32_t pressure_low_percent;
    uint32_t pressure_stall_percent;
    uint32_t pressure_quiet_ms;
    uint32_t dictionary_bytes;
    uint64_t keep_bytes;
    uint32_t compact_percent;
    enum zcache_policy policy;
    uint32_t miss_cost_us;
    enum zcache_huge_pages huge_pages;
};

#define ZCACHE_OPTIONS_INIT                                                                        \
    {                                                                                              \
        sizeof(struct zcache_options), 0, 65536, ZCACHE_AUTO, ZCACHE_AUTO, 60, 97, 95,             \
            ZCACHE_FULL_WAIT, 10000, 256, 32, 64, "lz4", "zstd:3", NULL, NULL, NULL, 5,            \
            ZCACHE_PRESSURE_OFF, 25, 95, 85, 10, 10000, 114688, 1048576, 3, ZCACHE_POLICY_S3FIFO,  \
            ZCACHE_AUTO, ZCACHE_HUGE_PAGES_AUTO                                                    \
    }

/** enum zcache_close_flags - how zcache_close() treats dirty pages. */
enum zcache_close_flags {
    ZCACHE_FLUSH = 0,   /* write them first; the cache stays open if that fails */
    ZCACHE_DISCARD = 1u /* drop them */
};

/**
 * zcache_open() - create a cache.
 * @opts: borrowed for the call.
 * @out:  receives the cache on success, untouched otherwise.
 *
 * Options out of range are named, with the reason, through the log callback.
 *
 * Return: 0; -EINVAL, -E2BIG bad @opts; -ENOTSUP a codec that is not known, or a system whose pages
 * are not of 4 KiB; -ENOMEM; -EAGAIN no thread; -EMFILE, -ENFILE no descriptor, with @pressure only.
 * Threads: any.   May block: no.   Calls back: the log.
 * Release with: zcache_close().   Since: 0.1
 */
ZCACHE_API int zcache_open(const struct zcache_options *opts, struct zcache **out)
    ZCACHE_MUST_CHECK;

/**
 * zcache_close() - end a cache.
 * @cache: the cache; NULL does nothing.
 * @flags: ZCACHE_FLUSH or ZCACHE_DISCARD.
 *
 * Closes all tenants.  With ZCACHE_FLUSH every dirty page is written and a barrier made first; if
 * that fails, or pages are pinned, the cache stays open as it was and the code says why.
 *
 * Return: 0, the handle is gone; -EBUSY pages are pinned or another close is under way; -ETIMEDOUT
 * writes did not end within max_stall; -ENOTSUP dirty pages and no store that writes; -EAGAIN
 * dirty pages past the WAL horizon; the store's error; -EDEADLK inside a callback of this cache;
 * -EINVAL bad @flags; -ESHUTDOWN in a fork()ed child.
 * Threads: see the caveats above.   May block: on the store.   Calls back: the store, the log.
 * Since: 0.1
 */
ZCACHE_API int zcache_close(struct zcache *cache, unsigned flags) ZCACHE_MUST_CHECK;

/**
 * zcache_options_parse() - set options from text.
 * @opts:      initialised options; changed only on success.
 * @text:      comma-separated name=value, for example "capacity=8G,fast=lz4,dense=zstd:3".  Sizes
 *             take K, M, G, T (powers of 1024).  Names: capacity, page_max, raw_percent,
 *             fast_percent, fast, dense, start_percent, background_percent, low_percent, full
 *             (wait, help, reject), max_stall_ms, inflight_pages, batch_pages, latency_sample,
 *             feed_percent, pressure (off, cgroup, psi, both), pressure_floor_percent,
 *             pressure_high_percent, pressure_low_percent, pressure_stall_percent,
 *             pressure_quiet_ms, dictionary, keep, compact_percent, policy (s3fifo, lru),
 *             miss_cost_us, huge_pages (auto, off).  raw_percent, fast_percent and miss_cost_us
 *             take "auto", too.
 * @error:     receives one sentence about what is wrong, may be NULL.
 * @error_cap: room there in bytes.
 *
 * Return: 0; -EINVAL with @error set.
 * Threads: any.   May block: no.   Calls back: never.   Since: 0.1
 */
ZCACHE_API int zcache_options_parse(struct zcache_options *opts,
                                    const char *text,
                                    char *error,
                                    size_t error_cap) ZCACHE_MUST_CHECK;

/**
 * zcache_put() - store a page's bytes, in place of any older version.
 * @tenant: owner.
 * @key:    which page.
 * @data:   @len bytes, borrowed for the call.
 * @len:    1 to page_max_bytes.
 * @flags:  CLEAN or DIRTY, SCAN, INCOMPRESSIBLE, KEEP_RAW, NOWAIT, NOIO, BEST_EFFORT or KEEP_OLD,
 *          IF_ABSENT.
 *
 * Room is reserved on every account from the tenant to the root before it is used; a limit that is
 * hit is shrunk under first, inside its own subtree.  If the put fails (any negative code but
 * -EINVAL and -ESHUTDOWN) or is bypassed, no older version is left, neither in the cache nor on its
 * way to the store, so that the caller can write the page itself (and should keep readers of it
 * away until then: the store has an older copy); -EBUSY and -EDEADLK are the exceptions:
 * the older version is as it was.  With KEEP_OLD it always is: for who has no other place for the
 * page, and reports the failure.
 *
 * Return: 0; ZCACHE_EXISTS; ZCACHE_BYPASSED; -EDQUOT a tenant's limit; -ENOSPC the cache's
 * capacity;
 * -ENOMEM; -EBUSY NOWAIT and it would wait, or a write of the older version did not end
 * within max_stall, or there was no memory to register a thread at its first call: call again;
 * -EDEADLK; -EINVAL; -ESHUTDOWN.
 * Threads: any.   May block: unless NOWAIT, up to max_stall.   Calls back: the store unless NOIO.
 * Since: 0.1
 */
ZCACHE_API int zcache_put(struct zcache_tenant *tenant,
                          struct zcache_key key,
                          const void *data,
                          size_t len,
                          unsigned flags) ZCACHE_MUST_CHECK;

/**
 * zcache_get() - copy a page's bytes to the caller.
 * @tenant:  owner.
 * @key:     which page.
 * @buf:     room for @cap bytes; NULL with @cap 0 asks for presence and length only.
 * @cap:     room in bytes.
 * @len_out: receives the page's length on success; may be NULL.
 * @flags:   TAKE, PEEK, NO_LOAD, SCAN, KEEP_RAW, NOWAIT, NOIO, KEEP_TIER.
 *
 * Decodes straight into @buf.  A hit takes no lock and allocates nothing, but for a
 * thread's first decode, which makes the codec's context, and a tenant's first timed call.  A miss
 * asks the store's read callback, once per key however many threads miss, unless NO_LOAD or NOIO.
 * Where there is no room to keep what was read, it is delivered nevertheless.
 *
 * Return: 0; ZCACHE_UNWRITTEN; ZCACHE_MISS; -ENOBUFS @cap is less than the page's length, and
 * nothing changed; -EBADMSG the stored bytes are damaged: neither data nor a miss; -EBUSY NOWAIT and
 * it would wait: a load that the store completes later was begun, and fills the cache;
 * -ETIMEDOUT a load or a write did not end within max_stall; -ENOMEM; with TAKE -EDQUOT, -ENOSPC no
 * room for what is loaded; the store's error; -EDEADLK; -EINVAL; -ESHUTDOWN.
 * Threads: any.   May block: on a load, or for TAKE a write in flight.   Calls back: the store.
 * Since: 0.1
 */
ZCACHE_API int zcache_get(struct zcache_tenant *tenant,
                          struct zcache_key key,
                          void *buf,
                          size_t cap,
                          size_t *len_out,
                          unsigned flags) ZCACHE_MUST_CHECK;

/**
 * zcache_pin() - hold a page's raw bytes in place, without a copy.
 * @tenant:  owner.
 * @key:     which page.
 * @flags:   PEEK, NO_LOAD, SCAN, KEEP_RAW, NOWAIT, NOIO.
 * @pin_out: on the caller's stack; filled on success.
 *
 * A compressed page is made raw first.  The bytes are those of one version and never change; a
 * later put or delete does not touch them, only unpin releases them.  The first pin of a page verifies
 * its checksum; damage that comes later is found by the next get, demotion or write of the page.  Pinned bytes cannot be
 * reclaimed and count against the limits.
 *
 * Return: 0; ZCACHE_MISS; -EBADMSG; -EBUSY; -ETIMEDOUT; -EDQUOT, -ENOSPC, -ENOMEM no room for the
 * raw form; the store's error; -EDEADLK; -EINVAL; -ESHUTDOWN.
 * Threads: any.   May block: as zcache_get().   Calls back: the store.
 * Release with: zcache_unpin().   Since: 0.1
 */
ZCACHE_API int zcache_pin(struct zcache_tenant *tenant,
                          struct zcache_key key,
                          unsigned flags,
                          struct zcache_pin *pin_out) ZCACHE_MUST_CHECK;

/**
 * zcache_unpin() - release what zcache_pin() holds.
 * @pin: a filled pin; emptied by the call.  NULL and an empty one do nothing.
 *
 * Threads: any thread, one at a time for one pin.   May block: no.   Calls back: never.   Since:
 * 0.1
 */
ZCACHE_API void zcache_unpin(struct zcache_pin *pin);

/**
 * zcache_delete() - remove a page.
 * @tenant: owner.
 * @key:    which page.
 * @flags:  NOWAIT, NOIO.
 *
 * Waits for a write of the page that is in flight.  After it returns 0 or ZCACHE_MISS the store
 * gets no more writes of the versions put before, so the caller may remove the page there; if the
 * store has a discard callback, it was called (not with NOIO) and has ended, which is waited for also with
 * NOWAIT: the page is gone by then, and its caller must know whether the store has it still.
 *
 * Return: 0; ZCACHE_MISS the cache did not have it (discard is called nevertheless); -EBUSY NOWAIT
 * and a write is in flight, nothing changed; -ETIMEDOUT it did not end within max_stall; the discard's
 * error, the page is gone from the cache then; -EDEADLK; -EINVAL; -ESHUTDOWN.
 * Threads: any.   May block: on a write in flight.   Calls back: the store's discard.   Since: 0.1
 */
ZCACHE_API int zcache_delete(struct zcache_tenant *tenant, struct zcache_key key, unsigned flags)
    ZCACHE_MUST_CHECK;

/** enum zcache_advice - what the caller knows about a page that is cached. */
enum zcache_advice {
    ZCACHE_WANTED = 0, /* it will be used again: it stays as long as those do that are known */
    ZCACHE_SPARE = 1   /* the caller has its bytes elsewhere: it leaves before all others */
};

/**
 * zcache_advise() - say how much a page is wanted, without reading it.
 * @tenant: owner.
 * @key:    which page.
 * @advice: ZCACHE_WANTED or ZCACHE_SPARE.
 *
 * For a cache below another one: a page that moves up is spare, and need not be put, and
 * compressed, again if it is still there when it comes back.  A page that is spare counts as one of
 * a scan until it is wanted, used or put again.  The bytes, the tier and whether it is dirty stay as they
 * are.
 *
 * Return: 0; ZCACHE_MISS; -EINVAL; -ENOMEM, -EBUSY no room to register a thread at its first call;
 * -ESHUTDOWN.
 * Threads: any.   May block: no.   Calls back: never.   Since: 0.1
 */
ZCACHE_API int zcache_advise(struct zcache_tenant *tenant,
                             struct zcache_key key,
                             enum zcache_advice advice) ZCACHE_MUST_CHECK;

/**
 * zcache_truncate() - remove the pages of an object from one number on.
 * @tenant:     owner.
 * @object:     key.object of the pages.
 * @first_page: the first page to go; 0 removes the whole object.
 *
 * Each page goes as with zcache_delete(); pages put while it runs may stay.  It looks at every page
 * of the tenant: its cost grows with the tenant, not with the object.
 *
 * Return: 0; -ETIMEDOUT a write did not end within max_stall, some pages may be left; the
 * discard's error; -EDEADLK; -EINVAL; -ESHUTDOWN.
 * Threads: any.   May block: on writes in flight.   Calls back: the store's discard, once for the
 * range.   Since: 0.1
 */
ZCACHE_API int zcache_truncate(struct zcache_tenant *tenant, uint64_t object, uint64_t first_page)
    ZCACHE_MUST_CHECK;

/**
 * zcache_put_many() - store several pages.
 * @tenant: owner.
 * @pages:  @n pages; key, data, len and tag are read, status is set.
 * @n:      how many; 0 does nothing.
 * @flags:  as zcache_put(), for all.
 *
 * Each page is put on its own; nothing is rolled back.
 *
 * Return: 0 every status is 0 or positive; the first negative status otherwise; -EINVAL and
 * -ESHUTDOWN may come before any page was touched, the statuses are then untouched too.
 * Threads, blocking, callbacks: as zcache_put().   Since: 0.1
 */
ZCACHE_API int zcache_put_many(struct zcache_tenant *tenant,
                               struct zcache_page *pages,
                               size_t n,
                               unsigned flags) ZCACHE_MUST_CHECK;

/**
 * zcache_get_many() - copy several pages to the caller; misses share read batches.
 * @tenant: owner.
 * @pages:  @n pages; key, buf and cap are read, len and status are set.
 * @n:      how many; 0 does nothing.
 * @flags:  as zcache_get(), for all.
 *
 * Return: 0 every status is 0 or positive; the first negative status otherwise; -EINVAL before any
 * page was touched.
 * Threads, blocking, callbacks: as zcache_get().   Since: 0.1
 */
ZCACHE_API int zcache_get_many(struct zcache_tenant *tenant,
                               struct zcache_page *pages,
                               size_t n,
                               unsigned flags) ZCACHE_MUST_CHECK;

/**
 * zcache_compact() - give memory back that lies between the pages.
 * @cache:      live cache.
 * @timeout_ms: stop after this time; 0 means max_stall.
 * @freed_out:  receives the bytes that went back to the system meanwhile; may be NULL.
 *
 * Pages that were deleted or became smaller leave holes. This moves the pages around them together,
 * while others read and write them, so that resident memory follows the charge. The background
 * thread does it by itself when it pays; a call is for moments when memory is wanted elsewhere.
 * Each page that moves is charged twice for a moment: where the capacity has no room for that, a call
 * ends early, and the next one goes on from there.
 * Pinned pages, and pages being written, stay where they are.
 *
 * Return: 0; -EBUSY a compaction is under way; -EINVAL; -ESHUTDOWN; -ENOMEM.
 * Threads: any.   May block: up to @timeout_ms.   Calls back: never.   Since: 0.1
 */
ZCACHE_API int zcache_compact(struct zcache *cache, unsigned timeout_ms, uint64_t *freed_out)
    ZCACHE_MUST_CHECK;

/** enum zcache_metrics_format - forms of zcache_metrics_write(). */
enum zcache_metrics_format {
    ZCACHE_METRICS_PROMETHEUS = 0,  /* text exposition format 0.0.4 */
    ZCACHE_METRICS_OPENMETRICS = 1, /* OpenMetrics 1.0 */
    ZCACHE_METRICS_JSON = 2         /* one object */
};

/**
 * zcache_metrics_write() - all statistics as text: per tenant, tier and node.
 * @cache:  live cache.
 * @format: which form.
 * @write:  receives the text in pieces.
 * @ctx:    its context.
 *
 * Return: 0; -EINVAL; -ENOMEM; -ESHUTDOWN; what @write returned.
 * Threads: any.   May block: no.   Calls back: @write, no lock is held.   Since: 0.1
 */
ZCACHE_API int zcache_metrics_write(struct zcache *cache,
                                    enum zcache_metrics_format format,
                                    zcache_write_fn *write,
                                    void *ctx) ZCACHE_MUST_CHECK;

/**
 * zcache_verify() - recount everything and compare it with the gauges and invariants.
 * @cache: live cache.
 *
 * Looks at every page: seconds for a large cache.  Checks every payload's checksum.  Differences
 * are described through the log.  Where a full cache has no memory to count in, pages make room for it.
 *
 * Return: 0 all agrees; -EBADMSG a payload's checksum; -EUCLEAN a count or an invariant; -EAGAIN
 * other calls went on all the time, so that nothing could be compared; -ENOMEM; -EINVAL;
 * -ESHUTDOWN.
 * Threads: any, meant for times without other calls.   May block: on the shrinker's round, and on what
 * makes room.   Calls back: the log; where room is made, the store.   Since: 0.1
 */
ZCACHE_API int zcache_verify(struct zcache *cache) ZCACHE_MUST_CHECK;

/**
 * zcache_version() - version of the library that is linked.
 *
 * Return: for example "0.1.0", static.
 * Threads: any.   May block: no.   Calls back: never.   Since: 0.1
 */
ZCACHE_API const char *zcache_version(void);

#ifdef __cplusplus
}
#endif

#endif /* ZCACHE_ZCACHE_H */
