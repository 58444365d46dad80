/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which pages leave: a working set outlives a scan of ten times the cache, a tenant within its reserve
 * does not notice one that scans, and pages that are asked to stay raw do.
 */
#include "mem_store.h"

#include <pthread.h>

#define CAPACITY (4 * MIB)
#define PLAIN    "fast=none,dense=none"

/* Working set and scan, of pages that do not shrink unless said otherwise. */
#define SET  key_of(1, i)
#define SCAN key_of(2, i)

struct scene {
    struct zcache *cache;
    struct mem_store *store; /* may be NULL: then pages are put */
    struct zcache_tenant *t;
    enum fill fill;
};

/* What a page costs with its record, and what the cache has beside pages, is about an eighth. */
static uint64_t pages_that_fit(void)
{
    return CAPACITY / PAGE * 7 / 8;
}

static struct scene open_scene(const char *options, bool stored, enum fill fill)
{
    struct scene s = {.fill = fill};

    if (stored) {
        s.store = mem_store_new(MEM_STORE_SYNC);
        s.cache = open_stored(CAPACITY, s.store, options);
        for (uint64_t i = 0; i < 10 * CAPACITY / PAGE; i++) {
            mem_store_put_page(s.store, 0, SCAN, 1, fill);
            if (i < CAPACITY / PAGE) {
                mem_store_put_page(s.store, 0, SET, 1, fill);
            }
        }
    } else {
        s.cache = open_cache(CAPACITY, NULL, options);
    }
    s.t = zcache_root(s.cache);
    return s;
}

static void close_scene(struct scene *s)
{
    verify_cache(s->cache);
    close_cache(s->cache);
    if (s->store != NULL) {
        mem_store_free(s->store);
    }
}

/* Reads a page; one that is not there comes from the store, or is put.  Whether it was there. */
static bool access_page(struct scene *s, struct zcache_key key, unsigned flags)
{
    const bool there = is_cached(s->t, key);

    if (there || s->store != NULL) {
        REQUIRE_EQUAL(get_page(s->t, key, flags), 1);
    } else {
        REQUIRE_EQUAL(put_page(s->t, key, 1, s->fill, flags | ZCACHE_CLEAN), 0);
    }
    return there;
}

/* Per cent of the pages that were there. */
static unsigned pass_over_set(struct scene *s, uint64_t n)
{
    uint64_t hits = 0;

    for (uint64_t i = 0; i < n; i++) {
        hits += access_page(s, SET, 0) ? 1 : 0;
    }
    return (unsigned)(hits * 100 / n);
}

static void scan_ten_times(struct scene *s, unsigned flags)
{
    for (uint64_t i = 0; i < 10 * CAPACITY / PAGE; i++) {
        (void)access_page(s, SCAN, flags);
    }
}

/* ---- scans ------------------------------------------------------------------------------------- */

/* An empty cache is filled with the working set, each page once; then the scan; then the second pass. */
static unsigned second_pass(const char *options, bool stored, enum fill fill, unsigned flags)
{
    struct scene s = open_scene(options, stored, fill);
    const uint64_t n = pages_that_fit() * 4 / 5;
    unsigned percent;

    assert_int_equal(pass_over_set(&s, n), 0);
    scan_ten_times(&s, flags);
    percent = pass_over_set(&s, n);
    print_message("%s, %s, flags %u: %u %%\n", options, stored ? "loaded" : "put", flags, percent);
    close_scene(&s);
    return percent;
}

static void a_set_that_filled_the_cache_outlives_a_scan(void **state)
{
    (void)state;
    assert_true(second_pass(PLAIN, false, FILL_RANDOM, 0) >= 95);
    assert_true(second_pass(PLAIN, true, FILL_RANDOM, 0) >= 95);
    assert_true(second_pass("start_percent=60", false, FILL_HALF, 0) >= 95);
}

static void with_lru_it_does_not(void **state)
{
    (void)state;
    assert_true(second_pass(PLAIN ",policy=lru", false, FILL_RANDOM, 0) < 20);
}

/* A scan that says so spares it under either policy. */
static void nor_does_a_scan_that_says_so_hurt(void **state)
{
    (void)state;
    assert_true(second_pass(PLAIN, false, FILL_RANDOM, ZCACHE_SCAN) >= 95);
    assert_true(second_pass(PLAIN ",policy=lru", false, FILL_RANDOM, ZCACHE_SCAN) >= 95);
    assert_true(second_pass(PLAIN ",policy=lru", true, FILL_RANDOM, ZCACHE_SCAN) >= 95);
    assert_true(second_pass("start_percent=60", true, FILL_HALF, ZCACHE_SCAN) >= 95);
}

/*
 * The cache is full of other pages: a set that is read again and again replaces them, and outlives a scan.
 * Most pages are known at the second pass; those on probation then have their second use at the third.
 */
static void a_set_that_came_back_outlives_a_scan(void **state)
{
    struct scene s = open_scene(PLAIN, false, FILL_RANDOM);
    const uint64_t n = pages_that_fit() * 3 / 4;

    (void)state;
    for (uint64_t i = 0; i < 2 * CAPACITY / PAGE; i++) {
        (void)access_page(&s, key_of(3, i), 0);
    }
    assert_true(pass_over_set(&s, n) == 0);
    (void)pass_over_set(&s, n);
    assert_true(stats_of(s.t).count.ghost_hits >= n * 7 / 10);
    assert_true(pass_over_set(&s, n) >= 90);
    scan_ten_times(&s, 0);
    assert_true(pass_over_set(&s, n) >= 95);
    close_scene(&s);
}

/* What a scan writes leaves it where it is, also in the working set. */
static void a_scan_that_writes_the_set_does_not_drive_it_out(void **state)
{
    struct scene s = open_scene(PLAIN, false, FILL_RANDOM);
    const uint64_t n = pages_that_fit() * 4 / 5;

    (void)state;
    (void)pass_over_set(&s, n);
    for (uint64_t i = 0; i < n; i++) {
        assert_int_equal(put_page(s.t, SET, 1, FILL_RANDOM, ZCACHE_SCAN | ZCACHE_CLEAN), 0);
    }
    scan_ten_times(&s, ZCACHE_SCAN);
    assert_true(pass_over_set(&s, n) >= 95);
    close_scene(&s);
}

/* ---- tiers ------------------------------------------------------------------------------------- */

/* One hit in a compressed tier does not make a page raw, whatever happened before; the second does. */
static void a_page_is_promoted_at_its_second_hit_there(void **state)
{
    struct zcache *cache =
        open_cache(16 * MIB, NULL, "raw_percent=0,fast_percent=100,start_percent=100");
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(put_page(root, key_of(1, i), 1, FILL_TEXT, 0), 0);
        assert_int_equal(put_page(root, key_of(1, i), 2, FILL_TEXT, 0), 0); /* a use, as a put is */
    }
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(get_page(root, key_of(1, i), 0), 2);
    }
    assert_int_equal(stats_of(root).tier[ZCACHE_TIER_FAST].promotions, 0);
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(get_page(root, key_of(1, i), 0), 2);
    }
    assert_int_equal(stats_of(root).tier[ZCACHE_TIER_FAST].promotions, 100);
    close_cache(cache);
}

static uint64_t packed_pages(struct zcache_tenant *t)
{
    const struct zcache_stats stats = stats_of(t);

    return stats.tier[ZCACHE_TIER_FAST].pages + stats.tier[ZCACHE_TIER_DENSE].pages;
}

#define KEPT 40u

/* Raw hits of the pages of an object, of which all are there. */
static uint64_t raw_hits(struct scene *s, uint64_t object, uint64_t version)
{
    const uint64_t before = stats_of(s->t).count.get_hits_raw;

    for (uint64_t i = 0; i < KEPT; i++) {
        assert_int_equal(get_page(s->t, key_of(object, i), ZCACHE_NO_LOAD), version);
    }
    return stats_of(s->t).count.get_hits_raw - before;
}

/* Puts others, and lets them be compressed ahead of need: all but what is not worth a ring of the bell. */
static void put_others(struct scene *s, uint64_t from, uint64_t to, uint64_t packed)
{
    for (uint64_t i = from; i < to; i++) {
        assert_int_equal(put_page(s->t, SCAN, 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    }
    WAIT_UNTIL(packed_pages(s->t) >= packed, 20000);
}

/* Asked for at the put or at the load, a page stays raw while others are compressed. */
static void a_page_that_is_to_stay_raw_does(void **state)
{
    struct scene s = open_scene("start_percent=10,raw_percent=1", true, FILL_TEXT);

    (void)state;
    for (uint64_t i = 0; i < KEPT; i++) {
        assert_int_equal(put_page(s.t, key_of(3, i), 1, FILL_TEXT, ZCACHE_KEEP_RAW | ZCACHE_CLEAN),
                         0);
        assert_int_equal(get_page(s.t, SET, ZCACHE_KEEP_RAW), 1);
    }
    put_others(&s, 0, 200, 200 - 36);
    assert_int_equal(raw_hits(&s, 3, 1), KEPT);
    assert_int_equal(raw_hits(&s, 1, 1), KEPT);

    /* It is of the version: the next one is like any other. */
    for (uint64_t i = 0; i < KEPT; i++) {
        assert_int_equal(put_page(s.t, key_of(3, i), 2, FILL_TEXT, ZCACHE_CLEAN), 0);
    }
    put_others(&s, 200, 400, 400 + KEPT - 36);
    assert_true(raw_hits(&s, 3, 2) < KEPT);
    close_scene(&s);
}

/* ---- a noisy neighbour ------------------------------------------------------------------------- */

#define NOISE_THREADS 2
#define QUIET_PAGES   900u
#define QUIET_STEPS   (40000u / TEST_SLOWDOWN)

struct noise {
    struct zcache_tenant *t;
    atomic_uint_fast64_t objects; /* each thread scans one */
    atomic_uint_fast64_t pages;
    atomic_bool stop;
    pthread_t thread[NOISE_THREADS];
};

static void *make_noise(void *arg)
{
    struct noise *noise = arg;
    const uint64_t object = atomic_fetch_add(&noise->objects, 1);

    for (uint64_t i = 0; !atomic_load(&noise->stop); i++) {
        REQUIRE_EQUAL(put_page(noise->t, key_of(object, i), 1, FILL_RANDOM, ZCACHE_CLEAN), 0);
        atomic_fetch_add(&noise->pages, 1);
    }
    return NULL;
}

/* The first pages are wanted much more often than the last. */
static uint64_t skewed(struct rng *rng)
{
    const uint64_t a = rng_below(rng, QUIET_PAGES);

    return rng_below(rng, rng_below(rng, a + 1) + 1);
}

/* Hits, in hundredths of a per cent, of a tenant with half of the capacity for itself. */
static unsigned quiet_hits(const char *options, bool noisy)
{
    struct scene s = {.cache = open_cache(CAPACITY, NULL, options), .fill = FILL_RANDOM};
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;
    struct noise noise = {.t = open_tenant(zcache_root(s.cache), "noisy", ZCACHE_UNLIMITED)};
    struct rng rng = {1};
    uint64_t hits = 0;

    s.t = open_tenant(zcache_root(s.cache), "quiet", ZCACHE_UNLIMITED);
    limits.limit_bytes = limits.reserve_bytes = CAPACITY / 2;
    assert_int_equal(zcache_tenant_set_limits(s.t, &limits, 0, NULL), 0);
    for (unsigned i = 0; noisy && i < NOISE_THREADS; i++) {
        assert_int_equal(pthread_create(&noise.thread[i], NULL, make_noise, &noise), 0);
    }
    /* The noise has been all over the cache before it begins. */
    WAIT_UNTIL(!noisy || atomic_load(&noise.pages) > 2 * CAPACITY / PAGE, 60000);
    for (unsigned i = 0; i < QUIET_STEPS; i++) {
        hits += access_page(&s, key_of(1, skewed(&rng)), 0) ? 1 : 0;
    }
    atomic_store(&noise.stop, true);
    for (unsigned i = 0; noisy && i < NOISE_THREADS; i++) {
        assert_int_equal(pthread_join(noise.thread[i], NULL), 0);
    }
    close_cache(s.cache);
    return (unsigned)(hits * 10000 / QUIET_STEPS);
}

static void compare_quiet(const char *options)
{
    const unsigned alone = quiet_hits(options, false);
    const unsigned beside = quiet_hits(options, true);

    print_message("%s: %u.%02u %% alone, %u.%02u %% beside a scan\n", options, alone / 100,
                  alone % 100, beside / 100, beside % 100);
    assert_true(alone > 5000 && alone < 9900); /* it has something to lose */
    assert_in_range(beside, alone - 100, alone + 100);
}

static void a_tenant_within_its_reserve_does_not_notice_a_scan(void **state)
{
    (void)state;
    compare_quiet(PLAIN);
    compare_quiet("raw_percent=25");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_that_filled_the_cache_outlives_a_scan),
        cmocka_unit_test(with_lru_it_does_not),
        cmocka_unit_test(nor_does_a_scan_that_says_so_hurt),
        cmocka_unit_test(a_set_that_came_back_outlives_a_scan),
        cmocka_unit_test(a_scan_that_writes_the_set_does_not_drive_it_out),
        cmocka_unit_test(a_page_is_promoted_at_its_second_hit_there),
        cmocka_unit_test(a_page_that_is_to_stay_raw_does),
        cmocka_unit_test(a_tenant_within_its_reserve_does_not_notice_a_scan),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("eviction", tests, NULL, NULL);
}
