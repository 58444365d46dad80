/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of the public interface share: checks that work on any thread, waiting with a
 * deadline, pages whose content names its key and version, caches that record their log, and
 * statistics.
 */
#ifndef ZCACHE_TESTS_SUPPORT_H
#define ZCACHE_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <zcache/stats.h>
#include <zcache/store.h>
#include <zcache/zcache.h>

#define KIB      ((uint64_t)1024)
#define MIB      (1024 * KIB)
#define PAGE     ((size_t)4096)
#define MS_IN_NS ((uint64_t)1000000)

/* How much slower than usual this build runs; deadlines are multiplied, amounts of work divided. */
#if defined(__SANITIZE_THREAD__)
#define TEST_SLOWDOWN 10u
#elif defined(__SANITIZE_ADDRESS__)
#define TEST_SLOWDOWN 4u
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TEST_SLOWDOWN 10u
#elif __has_feature(address_sanitizer)
#define TEST_SLOWDOWN 4u
#endif
#endif
#ifndef TEST_SLOWDOWN
#define TEST_SLOWDOWN 1u
#endif

/* ---- checks ---------------------------------------------------------------------------------- */

/* As assert_true(), but legal on every thread: elsewhere than on the main one it ends the process. */
#define REQUIRE(cond) ((cond) ? (void)0 : require_failed(#cond, __FILE__, __LINE__))

_Noreturn void require_failed(const char *cond, const char *file, int line);

/* require_equal(a, b) prints both numbers. */
#define REQUIRE_EQUAL(a, b)                                                                        \
    require_equal((int64_t)(a), (int64_t)(b), #a " == " #b, __FILE__, __LINE__)

void require_equal(int64_t a, int64_t b, const char *text, const char *file, int line);

/*
 * Poll until @cond holds, for what background threads do; fails after @ms milliseconds (more where
 * the build is slow).
 */
#define WAIT_UNTIL(cond, ms)                                                                       \
    do {                                                                                           \
        const uint64_t deadline_ = deadline_in(ms);                                                \
        while (!(cond))                                                                            \
            if (!pause_before(deadline_))                                                          \
                require_failed("WAIT_UNTIL(" #cond ", " #ms ")", __FILE__, __LINE__);              \
    } while (0)

uint64_t now_ns(void);
uint64_t deadline_in(unsigned ms);
bool pause_before(uint64_t deadline_ns); /* half a millisecond; false once the deadline is over */

/*
 * To be called first in main(): names the main thread and prints the seed. Of the arguments, the first
 * number becomes the seed, and what is not a number a pattern of the names of tests to run.
 */
uint64_t test_begin(int argc, char **argv, uint64_t seed);

/* Print why and exit with 77. */
_Noreturn void test_skip(const char *why);

/* ---- random numbers ----------------------------------------------------------------------------- */

struct rng {
    uint64_t state;
};

uint64_t rng_next(struct rng *rng);
uint64_t rng_below(struct rng *rng, uint64_t n);

/* ---- pages ---------------------------------------------------------------------------------- */

enum fill {
    FILL_TEXT,   /* shrinks to about a third */
    FILL_HALF,   /* to about a half */
    FILL_RANDOM, /* not at all */
};

#define PAGE_HEADER 40u /* pages from this length on name themselves */

struct zcache_key key_of(uint64_t object, uint64_t page);

/* Content of @len bytes that @key, @version and @fill determine. */
void page_make(void *buf, size_t len, struct zcache_key key, uint64_t version, enum fill fill);

/* Is this one whole page of @key as page_make() writes it?  Then its version. */
bool page_whole(const void *buf, size_t len, struct zcache_key key, uint64_t *version_out);

/* Does the page begin as page_make() would begin it?  Cheaper, and for any key. */
bool page_named(const void *buf, size_t len, struct zcache_key *key_out, uint64_t *version_out);

/* ---- caches --------------------------------------------------------------------------------- */

/*
 * A cache with the options of @text (may be NULL), that keeps its log for log_count(). The log starts
 * empty with each cache.
 */
struct zcache *open_cache(uint64_t capacity, const struct zcache_store *store, const char *text);

/* Verify, then close with FLUSH, or with DISCARD; all must succeed. */
void close_cache(struct zcache *cache);
void drop_cache(struct zcache *cache);

/* zcache_verify() must succeed; the log is printed if not. */
void verify_cache(struct zcache *cache);

struct zcache_tenant *open_tenant(struct zcache_tenant *parent, const char *name, uint64_t limit);
int set_limit(struct zcache_tenant *tenant, uint64_t limit_bytes, unsigned timeout_ms);

zcache_log_fn log_keep; /* the log function of open_cache() */
unsigned log_count(const char *event);
unsigned log_count_prefix(const char *prefix);
void log_clear(void);
void log_print(void);

/* ---- short calls ------------------------------------------------------------------------------- */

/* Put page_make(PAGE bytes) with @flags. */
int put_page(struct zcache_tenant *tenant,
             struct zcache_key key,
             uint64_t version,
             enum fill fill,
             unsigned flags);

/*
 * Get with @flags: version of the page that was found, which must be whole, or 0 for a miss; every
 * other result fails the test.
 */
uint64_t get_page(struct zcache_tenant *tenant, struct zcache_key key, unsigned flags);

bool is_cached(struct zcache_tenant *tenant, struct zcache_key key); /* PEEK, NO_LOAD, no copy */

struct zcache_stats stats_of(struct zcache_tenant *tenant);
uint64_t charge_of(struct zcache_tenant *tenant);

uint64_t evictions_of(const struct zcache_stats *stats); /* sum over the tiers */
uint64_t gets_of(const struct zcache_stats *stats);      /* sum over the outcomes */
uint64_t pins_of(const struct zcache_stats *stats);
uint64_t puts_of(const struct zcache_stats *stats);
uint64_t deletes_of(const struct zcache_stats *stats);

/*
 * What must hold of any tenant's statistics at rest: pages in == pages out + pages there, sums over
 * tiers and nodes agree, raw tier stores what it says.
 */
void check_identities(const struct zcache_stats *stats);

#endif /* ZCACHE_TESTS_SUPPORT_H */
