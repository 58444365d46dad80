/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The background thread: it reaches its mark whatever stands in between, takes from tenants by their
 * weights and not below their reserves, sleeps when there is nothing to do; and zcache_shrink() says
 * what was in its way.
 */
#include "mem_store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define PLAIN "fast=none,dense=none,background_percent=95,low_percent=90"
#define BATCH 16 /* pages, where the test says so */

static struct zcache_tenant *open_with(struct zcache_tenant *parent,
                                       const char *name,
                                       uint64_t reserve,
                                       unsigned weight,
                                       enum zcache_writeback writeback)
{
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_tenant *tenant = NULL;

    opts.name = name;
    opts.limits.reserve_bytes = reserve;
    opts.limits.weight = weight;
    opts.limits.writeback = writeback;
    REQUIRE_EQUAL(zcache_tenant_open(parent, &opts, &tenant), 0);
    return tenant;
}

static void put_n(struct zcache_tenant *tenant,
                  uint64_t object,
                  uint64_t from,
                  uint64_t n,
                  enum fill fill,
                  unsigned flags)
{
    for (uint64_t i = from; i < from + n; i++) {
        REQUIRE_EQUAL(put_page(tenant, key_of(object, i), 1, fill, flags), 0);
    }
}

static uint64_t cpu_ns(void)
{
    struct timespec used;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

/*
 * The charge without what was retired after the shrinker's last look: a little that the next call of
 * anybody frees, and that nobody frees while the cache is idle.
 */
static uint64_t settled_of(struct zcache_tenant *root)
{
    const struct zcache_stats stats = stats_of(root);

    return stats.gauge.charge_bytes - stats.cache.retired_bytes;
}

static bool sleeps(struct zcache_tenant *root)
{
    return stats_of(root).cache.shrinker_sleeping == 1;
}

/* ---- reaching the mark -------------------------------------------------------------------------- */

enum {
    CROWD = 31,
    EMPTY = 11,
    OFF = 5
};

/*
 * What stopped another system after forty pages: of 31 tenants 11 are empty, and here 5 more may not be
 * written.
 */
static void a_crowd_of_tenants(enum mem_store_mode mode)
{
    struct mem_store *store = mem_store_new(mode);
    struct zcache *cache = open_stored(32 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *tenants[CROWD];
    uint64_t kept[CROWD] = {0};
    char name[16];

    mem_store_hold(store, ZCACHE_IO_WRITE);
    for (unsigned i = 0; i < CROWD; i++) {
        /* Mixed, so that no kind comes in one run. */
        const bool off = i % 6 == 5;
        (void)snprintf(name, sizeof(name), "t%u", i);
        tenants[i] =
            open_with(root, name, 0, 100, off ? ZCACHE_WRITEBACK_OFF : ZCACHE_WRITEBACK_ON);
    }
    for (uint64_t page = 0; charge_of(root) < 32 * MIB * 97 / 100; page++) {
        for (unsigned i = 0; i < CROWD; i++) {
            const bool off = i % 6 == 5;
            const bool empty = !off && i % 5 < 2;
            if (empty || charge_of(root) >= 32 * MIB * 97 / 100) {
                continue;
            }
            put_n(tenants[i], 1, page, 1, FILL_RANDOM, ZCACHE_DIRTY);
            kept[i]++;
        }
    }
    unsigned n_empty = 0;
    unsigned n_off = 0;
    for (unsigned i = 0; i < CROWD; i++) {
        n_empty += kept[i] == 0;
        n_off += i % 6 == 5;
    }
    assert_true(n_empty >= EMPTY && n_off == OFF);
    WAIT_UNTIL(mem_store_held(store, ZCACHE_IO_WRITE) > 0, 10000);

    mem_store_open(store, ZCACHE_IO_WRITE);
    WAIT_UNTIL(charge_of(root) <= 32 * MIB * 90 / 100, 20000);
    WAIT_UNTIL(sleeps(root), 10000);
    for (unsigned i = 0; i < CROWD; i++) {
        const struct zcache_stats stats = stats_of(tenants[i]);
        if (i % 6 == 5) {
            assert_int_equal(stats.gauge.pages, kept[i]);
            assert_int_equal(stats.count.written_pages, 0);
        } else if (kept[i] > 0) {
            assert_true(stats.count.shrinker_freed > 0);
            assert_true(stats.count.shrinker_bytes > 0);
        } else {
            assert_int_equal(stats.count.shrinker_freed, 0);
            assert_int_equal(stats.count.shrinker_failures, 0);
        }
    }
    /* It stopped at the mark: it did not empty the cache. */
    assert_true(charge_of(root) >= 32 * MIB * 80 / 100);
    drop_cache(cache);
    mem_store_free(store);
}

static void empty_and_disabled_tenants_do_not_stop_it(void **state)
{
    (void)state;
    a_crowd_of_tenants(MEM_STORE_SYNC);
    a_crowd_of_tenants(MEM_STORE_THREAD);
}

/* Whoever just puts, much more than fits, is never refused while the store works. */
static void putting_is_never_refused(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(16 * MIB, store, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    const uint64_t n = 6 * (16 * MIB) / PAGE / (TEST_SLOWDOWN > 4 ? 2 : 1);

    (void)state;
    put_n(root, 1, 0, n, FILL_RANDOM, 0);
    const struct zcache_stats stats = stats_of(root);
    assert_true(stats.gauge.peak_charge_bytes <= 16 * MIB);
    assert_true(stats.cache.shrinker_wakes > 0);
    for (uint64_t i = 0; i < n; i++) {
        assert_int_equal(get_page(root, key_of(1, i), 0), 1);
    }
    close_cache(cache);
    mem_store_free(store);
}

/* Ahead of need: compressing starts at the start mark, nothing is evicted. */
static void it_compresses_ahead_of_need(void **state)
{
    struct zcache *cache = open_cache(32 * MIB, NULL, "start_percent=50,raw_percent=25");
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    put_n(root, 1, 0, 32 * MIB / PAGE * 30 / 100, FILL_TEXT, ZCACHE_DIRTY);
    WAIT_UNTIL(sleeps(root), 10000);
    const struct zcache_stats before = stats_of(root);
    assert_int_equal(before.tier[ZCACHE_TIER_RAW].pages, before.gauge.pages);

    put_n(root, 2, 0, 32 * MIB / PAGE * 40 / 100, FILL_TEXT, ZCACHE_DIRTY);
    WAIT_UNTIL(charge_of(root) < 32 * MIB * 55 / 100, 10000);
    WAIT_UNTIL(sleeps(root), 10000);
    const struct zcache_stats after = stats_of(root);
    assert_true(after.tier[ZCACHE_TIER_FAST].pages + after.tier[ZCACHE_TIER_DENSE].pages > 0);
    assert_int_equal(evictions_of(&after), 0);
    assert_int_equal(after.count.helper_demotions, 0);
    /* The youngest stayed raw. */
    assert_true(after.tier[ZCACHE_TIER_RAW].pages > 0);
    drop_cache(cache);
}

static void starting_ahead_can_be_turned_off(void **state)
{
    struct zcache *cache = open_cache(32 * MIB, NULL, "start_percent=100");
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    put_n(root, 1, 0, 32 * MIB / PAGE * 80 / 100, FILL_TEXT, ZCACHE_DIRTY);
    WAIT_UNTIL(sleeps(root), 10000);
    const struct zcache_stats stats = stats_of(root);
    assert_int_equal(stats.tier[ZCACHE_TIER_RAW].pages, stats.gauge.pages);
    assert_int_equal(stats.cache.shrinker_wakes, 0);
    drop_cache(cache);
}

/* ---- fairness ----------------------------------------------------------------------------------- */

static void equal_tenants_give_equally(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);

    enum {
        N = 4
    };
    struct zcache_tenant *tenants[N];
    uint64_t before[N];
    uint64_t least = UINT64_MAX;
    uint64_t most = 0;
    char name[16];

    (void)state;
    store->batch_pages = BATCH;
    struct zcache *cache = open_stored(32 * MIB, store, PLAIN ",batch_pages=16,low_percent=70");
    struct zcache_tenant *root = zcache_root(cache);
    mem_store_hold(store, ZCACHE_IO_WRITE);
    for (unsigned i = 0; i < N; i++) {
        (void)snprintf(name, sizeof(name), "t%u", i);
        tenants[i] = open_with(root, name, 0, 100, ZCACHE_WRITEBACK_ON);
    }
    for (uint64_t page = 0; charge_of(root) < 32 * MIB * 97 / 100; page++) {
        for (unsigned i = 0; i < N; i++) {
            put_n(tenants[i], 1, page, 1, FILL_RANDOM, 0);
        }
    }
    for (unsigned i = 0; i < N; i++) {
        before[i] = charge_of(tenants[i]);
    }
    mem_store_open(store, ZCACHE_IO_WRITE);
    WAIT_UNTIL(charge_of(root) <= 32 * MIB * 70 / 100, 20000);
    WAIT_UNTIL(sleeps(root), 10000);
    for (unsigned i = 0; i < N; i++) {
        const uint64_t freed = before[i] - charge_of(tenants[i]);
        print_message("tenant %u gave %llu KiB\n", i, (unsigned long long)(freed / KIB));
        least = freed < least ? freed : least;
        most = freed > most ? freed : most;
        const struct zcache_stats stats = stats_of(tenants[i]);
        assert_int_equal(stats.count.shrinker_bytes, freed);
    }
    assert_true(least > 1 * MIB);
    assert_true(most - least <= BATCH * (PAGE + 512));
    close_cache(cache);
    mem_store_free(store);
}

static void a_reserve_is_kept(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *safe = open_with(root, "safe", 4 * MIB, 1, ZCACHE_WRITEBACK_ON);
    struct zcache_tenant *part = open_with(root, "part", 2 * MIB, 1, ZCACHE_WRITEBACK_ON);
    struct zcache_tenant *loud = open_with(root, "loud", 0, 10000, ZCACHE_WRITEBACK_ON);
    const uint64_t n = 3 * MIB / PAGE;

    (void)state;
    put_n(safe, 1, 0, n, FILL_RANDOM, 0); /* below its reserve */
    put_n(part, 1, 0, n, FILL_RANDOM, 0); /* above */
    for (uint64_t i = 0; i < 10; i++) {
        put_n(loud, i, 0, 16 * MIB / PAGE / 2, FILL_RANDOM, 0);
    }
    for (uint64_t i = 0; i < n; i++) {
        assert_true(is_cached(safe, key_of(1, i)));
    }
    const struct zcache_stats stats = stats_of(safe);
    assert_int_equal(evictions_of(&stats), 0);
    assert_int_equal(stats.count.shrinker_bytes, 0);
    assert_int_equal(stats.gauge.reserve_bytes, 4 * MIB);
    assert_true(charge_of(part) >= 2 * MIB - BATCH * (PAGE + 512));
    close_cache(cache);
}

/* Both put the same without end; what they hold then is as their weights. */
static void weights_divide_the_capacity(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *one = open_with(root, "one", 0, 100, ZCACHE_WRITEBACK_ON);
    struct zcache_tenant *three = open_with(root, "three", 0, 300, ZCACHE_WRITEBACK_ON);
    const uint64_t n = 5 * (16 * MIB) / PAGE;

    (void)state;
    for (uint64_t i = 0; i < n; i++) {
        put_n(one, 1, i, 1, FILL_RANDOM, 0);
        put_n(three, 1, i, 1, FILL_RANDOM, 0);
    }
    const uint64_t a = charge_of(one);
    const uint64_t b = charge_of(three);
    print_message("%llu KiB and %llu KiB\n", (unsigned long long)(a / KIB),
                  (unsigned long long)(b / KIB));
    assert_true(b > 2 * a && b < 4 * a);
    close_cache(cache);
}

/* A weight counts among siblings: three children do not make their parent's share larger. */
static void weights_count_among_siblings(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *family = open_with(root, "family", 0, 100, ZCACHE_WRITEBACK_ON);
    struct zcache_tenant *single = open_with(root, "single", 0, 100, ZCACHE_WRITEBACK_ON);
    struct zcache_tenant *children[3] = {
        open_with(family, "a", 0, 100, ZCACHE_WRITEBACK_ON),
        open_with(family, "b", 0, 100, ZCACHE_WRITEBACK_ON),
        open_with(family, "c", 0, 100, ZCACHE_WRITEBACK_ON),
    };
    const uint64_t n = 2 * (16 * MIB) / PAGE;

    (void)state;
    for (uint64_t i = 0; i < n; i++) {
        for (unsigned c = 0; c < 3; c++) {
            put_n(children[c], 1, i, 1, FILL_RANDOM, 0);
        }
        put_n(single, 1, 3 * i, 3, FILL_RANDOM, 0);
    }
    const uint64_t a = charge_of(family);
    const uint64_t b = charge_of(single);
    print_message("%llu KiB and %llu KiB\n", (unsigned long long)(a / KIB),
                  (unsigned long long)(b / KIB));
    assert_true(a < b * 3 / 2 && b < a * 3 / 2);
    close_cache(cache);
}

/* A tenant's reserve is its subtree's, as its charge is. */
static void a_reserve_covers_the_subtree(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *safe = open_with(root, "safe", 4 * MIB, 1, ZCACHE_WRITEBACK_ON);
    struct zcache_tenant *child = open_with(safe, "child", 0, 1, ZCACHE_WRITEBACK_ON);
    struct zcache_tenant *loud = open_with(root, "loud", 0, 10000, ZCACHE_WRITEBACK_ON);
    const uint64_t n = 3 * MIB / PAGE;
    uint64_t left = 0;

    (void)state;
    put_n(child, 1, 0, n, FILL_RANDOM, 0);
    for (uint64_t i = 0; i < 10; i++) {
        put_n(loud, i, 0, 8 * MIB / PAGE, FILL_RANDOM, 0);
    }
    for (uint64_t i = 0; i < n; i++) {
        left += is_cached(child, key_of(1, i));
    }
    assert_int_equal(left, n);
    close_cache(cache);
}

/* A small tenant within its share is not drained as fast as a large one beyond it. */
static void the_large_give_before_the_small(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *small = open_with(root, "small", 0, 100, ZCACHE_WRITEBACK_ON);
    struct zcache_tenant *large = open_with(root, "large", 0, 100, ZCACHE_WRITEBACK_ON);
    const uint64_t n = 1 * MIB / PAGE;

    (void)state;
    put_n(small, 1, 0, n, FILL_RANDOM, 0);
    put_n(large, 1, 0, 3 * (16 * MIB) / PAGE, FILL_RANDOM, 0);
    uint64_t left = 0;
    for (uint64_t i = 0; i < n; i++) {
        left += is_cached(small, key_of(1, i));
    }
    print_message("%llu of %llu pages of the small tenant left\n", (unsigned long long)left,
                  (unsigned long long)n);
    assert_true(left >= n * 9 / 10);
    close_cache(cache);
}

/* ---- nothing to do ------------------------------------------------------------------------------- */

static void without_candidates_it_sleeps(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN ",full=reject");
    struct zcache_tenant *root = zcache_root(cache);
    uint64_t n = 0;

    (void)state;
    /* Dirty pages that nobody writes, up to the brim: far above the mark, and no candidate. */
    while (put_page(root, key_of(1, n), 1, FILL_RANDOM, ZCACHE_DIRTY) == 0) {
        n++;
    }
    assert_true(charge_of(root) > 16 * MIB * 95 / 100);
    WAIT_UNTIL(sleeps(root), 20000);

    const struct zcache_stats before = stats_of(root);
    const uint64_t cpu = cpu_ns();
    const uint64_t end = now_ns() + 1000000000u;
    uint64_t looks = 0;
    while (now_ns() < end && pause_before(UINT64_MAX)) {
        looks++;
    }
    const uint64_t used = cpu_ns() - cpu;
    const struct zcache_stats after = stats_of(root);
    print_message("one second: %llu wakes, %llu rounds, %llu us of processor for %llu looks\n",
                  (unsigned long long)(after.cache.shrinker_wakes - before.cache.shrinker_wakes),
                  (unsigned long long)(after.cache.shrinker_rounds - before.cache.shrinker_rounds),
                  (unsigned long long)(used / 1000), (unsigned long long)looks);
    assert_true(after.cache.shrinker_wakes - before.cache.shrinker_wakes <= 20);
    assert_true(after.cache.shrinker_rounds - before.cache.shrinker_rounds <= 400);
    assert_true(used < UINT64_C(200000000) * TEST_SLOWDOWN);

    /* Refused puts may wake it, but cannot make it spin either. */
    for (unsigned i = 0; i < 1000; i++) {
        assert_int_equal(put_page(root, key_of(2, i), 1, FILL_RANDOM, ZCACHE_DIRTY), -ENOSPC);
    }
    WAIT_UNTIL(sleeps(root), 20000);
    const struct zcache_stats last = stats_of(root);
    assert_true(last.cache.shrinker_wakes - after.cache.shrinker_wakes <= 1000);

    /* It is still there for work that comes up. */
    for (uint64_t i = 0; i < n; i++) {
        assert_int_equal(put_page(root, key_of(1, i), 2, FILL_RANDOM, ZCACHE_CLEAN), 0);
    }
    WAIT_UNTIL(settled_of(root) <= 16 * MIB * 90 / 100, 10000);
    close_cache(cache);
}

/*
 * A round that found nothing more to free ends between the marks. What becomes free later, without a put
 * that passes the background mark, is still taken down to the low one.
 */
static void once_begun_it_reaches_the_low_mark(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN ",full=reject");
    struct zcache_tenant *root = zcache_root(cache);
    uint64_t clean = 0;
    uint64_t n = 0;

    (void)state;
    while (put_page(root, key_of(1, n), 1, FILL_RANDOM, ZCACHE_DIRTY) == 0) {
        n++;
    }
    /*
     * Just enough pages that can leave to get well below the background mark, so that what is replaced
     * meanwhile does not pass it again, and not to the low one.
     */
    while (charge_of(root) > 16 * MIB * 93 / 100) {
        for (uint64_t end = clean + 16; clean < end; clean++) {
            assert_int_equal(put_page(root, key_of(1, clean), 2, FILL_RANDOM, ZCACHE_CLEAN), 0);
        }
        WAIT_UNTIL(!is_cached(root, key_of(1, clean - 1)), 10000);
    }
    assert_true(charge_of(root) > 16 * MIB * 90 / 100);
    WAIT_UNTIL(sleeps(root), 20000);
    for (; clean < n; clean++) {
        assert_int_equal(put_page(root, key_of(1, clean), 2, FILL_RANDOM, ZCACHE_CLEAN), 0);
    }
    WAIT_UNTIL(settled_of(root) <= 16 * MIB * 90 / 100, 10000);
    close_cache(cache);
}

static void an_idle_cache_does_nothing(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    put_n(root, 1, 0, 100, FILL_TEXT, 0);
    WAIT_UNTIL(sleeps(root), 10000);
    assert_int_equal(stats_of(root).cache.shrinker_wakes, 0);
    close_cache(cache);
}

/* Failing writes: it backs off, and comes back when the store does. */
static void a_failing_store_is_not_hammered(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN ",full=reject");
    struct zcache_tenant *root = zcache_root(cache);
    uint64_t n = 0;

    (void)state;
    atomic_store(&store->fail_batches[ZCACHE_IO_WRITE], 1 << 30);
    while (put_page(root, key_of(1, n), 1, FILL_RANDOM, 0) == 0) {
        n++;
    }
    const unsigned before = atomic_load(&store->batches[ZCACHE_IO_WRITE]);
    const uint64_t cpu = cpu_ns();
    const uint64_t end = now_ns() + 1000000000u;
    while (now_ns() < end && pause_before(UINT64_MAX)) {
        ;
    }
    const unsigned tried = atomic_load(&store->batches[ZCACHE_IO_WRITE]) - before;
    print_message("one second of failing writes: %u batches, %llu us of processor\n", tried,
                  (unsigned long long)((cpu_ns() - cpu) / 1000));
    assert_true(tried < 2000);
    assert_true(cpu_ns() - cpu < 500 * MS_IN_NS * TEST_SLOWDOWN);
    atomic_store(&store->fail_batches[ZCACHE_IO_WRITE], 0);
    WAIT_UNTIL(settled_of(root) <= 16 * MIB * 90 / 100, 20000);
    assert_int_equal(zcache_flush(root, 10000), -EIO); /* told once */
    assert_int_equal(zcache_flush(root, 10000), 0);
    for (uint64_t i = 0; i < n; i++) {
        assert_int_equal(get_page(root, key_of(1, i), 0), 1);
    }
    close_cache(cache);
    mem_store_free(store);
}

/* ---- zcache_shrink() ------------------------------------------------------------------------------ */

static void shrink_frees_what_was_asked(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *tenant = open_tenant(root, "tenant", ZCACHE_UNLIMITED);
    struct zcache_tenant *child = open_tenant(tenant, "child", ZCACHE_UNLIMITED);
    struct zcache_tenant *other = open_tenant(root, "other", ZCACHE_UNLIMITED);
    struct zcache_shrink_result result = {0};

    (void)state;
    put_n(tenant, 1, 0, 1000, FILL_RANDOM, 0);
    put_n(child, 1, 0, 1000, FILL_RANDOM, 0);
    put_n(other, 1, 0, 1000, FILL_RANDOM, 0);
    for (uint64_t wanted = PAGE; wanted <= 2 * MIB; wanted *= 4) {
        const uint64_t before = charge_of(tenant);
        memset(&result, 0xff, sizeof(result));
        assert_int_equal(zcache_shrink(tenant, wanted, 10000, &result), 0);
        const uint64_t after = charge_of(tenant);
        assert_true(before - after >= wanted);
        assert_int_equal(result.freed_bytes, before - after);
        assert_int_equal(result.remaining_bytes, 0);
        assert_true(result.evicted_pages >= wanted / (PAGE + 512));
        if (wanted == PAGE) { /* later calls profit from what this one had written beyond it */
            assert_true(result.written_pages >= result.evicted_pages);
        }
        assert_int_equal(result.demoted_pages, 0);
        assert_int_equal(
            result.pinned_pages + result.dirty_pages + result.wal_pages + result.failed_pages, 0);
        /* Not much more than that either: a batch. */
        assert_true(before - after <= wanted + 64 * (PAGE + 512));
    }
    /* All there is, and a little more. */
    memset(&result, 0xff, sizeof(result));
    const uint64_t all = charge_of(tenant);
    assert_int_equal(zcache_shrink(tenant, all + MIB, 10000, &result), -EAGAIN);
    assert_int_equal(stats_of(tenant).gauge.pages, 0);
    assert_int_equal(result.remaining_bytes, all + MIB - result.freed_bytes);
    assert_int_equal(stats_of(other).gauge.pages, 1000);
    close_cache(cache);
    mem_store_free(store);
}

static void shrink_demotes_before_it_evicts(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_shrink_result result = {0};

    (void)state;
    put_n(root, 1, 0, 1000, FILL_TEXT, ZCACHE_DIRTY);
    assert_int_equal(zcache_shrink(root, 1 * MIB, 10000, &result), 0);
    assert_true(result.demoted_pages > 0);
    assert_int_equal(result.evicted_pages, 0);
    assert_int_equal(stats_of(root).gauge.pages, 1000);
    drop_cache(cache);
}

/* What is older, and can neither be compressed nor leave, does not hide what can. */
static void shrink_finds_what_can_be_demoted(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_shrink_result result = {0};

    (void)state;
    put_n(root, 1, 0, 2000, FILL_RANDOM, ZCACHE_DIRTY);
    put_n(root, 2, 0, 1000, FILL_TEXT, ZCACHE_DIRTY);
    put_n(root, 3, 0, 2000, FILL_RANDOM, ZCACHE_DIRTY);
    assert_int_equal(zcache_shrink(root, 2 * MIB, 10000, &result), 0);
    const struct zcache_stats stats = stats_of(root);
    assert_int_equal(result.demoted_pages, stats.tier[ZCACHE_TIER_FAST].demotions +
                                               stats.tier[ZCACHE_TIER_DENSE].demotions);
    assert_int_equal(stats.gauge.pages, 5000);
    assert_int_equal(zcache_shrink(root, 64 * MIB, 10000, NULL), -EAGAIN);
    assert_int_equal(stats_of(root).tier[ZCACHE_TIER_RAW].pages, 4000);
    assert_int_equal(stats_of(root).gauge.incompressible_pages, 4000);
    drop_cache(cache);
}

static void shrink_takes_the_oldest(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, PLAIN ",policy=lru");
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    put_n(root, 1, 0, 1000, FILL_RANDOM, 0);
    assert_int_equal(zcache_shrink(root, 1 * MIB, 10000, NULL), 0);
    uint64_t first_left = 0;
    while (!is_cached(root, key_of(1, first_left))) {
        first_left++;
    }
    assert_true(first_left >= 200 && first_left < 400);
    for (uint64_t i = first_left; i < 1000; i++) {
        assert_true(is_cached(root, key_of(1, i)));
    }
    close_cache(cache);
}

static void shrink_ignores_reserves(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *safe = open_with(root, "safe", 32 * MIB, 100, ZCACHE_WRITEBACK_ON);

    (void)state;
    put_n(safe, 1, 0, 1000, FILL_RANDOM, 0);
    assert_int_equal(zcache_shrink(safe, 1 * MIB, 10000, NULL), 0);
    assert_true(stats_of(safe).gauge.pages < 800);
    close_cache(cache);
}

static void shrink_says_what_was_in_its_way(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *pinned = open_tenant(root, "pinned", ZCACHE_UNLIMITED);
    struct zcache_tenant *dirty = open_with(root, "dirty", 0, 100, ZCACHE_WRITEBACK_OFF);
    struct zcache_tenant *wal = open_tenant(root, "wal", ZCACHE_UNLIMITED);
    struct zcache_tenant *failed = open_tenant(root, "failed", ZCACHE_UNLIMITED);
    struct zcache_shrink_result result = {0};
    struct zcache_pin pins[20];
    unsigned char data[PAGE];

    (void)state;
    put_n(pinned, 1, 0, 20, FILL_RANDOM, 0);
    for (uint64_t i = 0; i < 20; i++) {
        assert_int_equal(zcache_pin(pinned, key_of(1, i), 0, &pins[i]), 0);
    }
    assert_int_equal(zcache_shrink(pinned, MIB, 100, &result), -EAGAIN);
    assert_int_equal(result.freed_bytes, 0);
    assert_true(result.pinned_pages >= 20);
    assert_int_equal(result.remaining_bytes, MIB);
    for (uint64_t i = 0; i < 20; i++) {
        zcache_unpin(&pins[i]);
    }

    put_n(dirty, 1, 0, 20, FILL_RANDOM, 0);
    assert_int_equal(zcache_shrink(dirty, MIB, 100, &result), -EAGAIN);
    assert_int_equal(result.freed_bytes, 0);
    assert_true(result.dirty_pages >= 20);
    assert_int_equal(result.pinned_pages, 0);

    for (uint64_t i = 0; i < 20; i++) {
        page_make(data, PAGE, key_of(1, i), 1, FILL_RANDOM);
        struct zcache_page page = {.key = key_of(1, i), .data = data, .len = PAGE, .tag = 100 + i};
        assert_int_equal(zcache_put_many(wal, &page, 1, 0), 0);
    }
    assert_int_equal(zcache_shrink(wal, MIB, 100, &result), -EAGAIN);
    assert_int_equal(result.freed_bytes, 0);
    assert_true(result.wal_pages >= 20);
    assert_int_equal(zcache_set_wal_horizon(wal, 109), 0);
    assert_int_equal(zcache_shrink(wal, MIB, 100, &result), -EAGAIN);
    assert_int_equal(result.evicted_pages, 10);
    assert_true(result.wal_pages >= 10);
    assert_int_equal(zcache_set_wal_horizon(wal, UINT64_MAX), 0);

    put_n(failed, 1, 0, 20, FILL_RANDOM, 0);
    atomic_store(&store->fail_batches[ZCACHE_IO_WRITE], 1 << 20);
    assert_int_equal(zcache_shrink(failed, MIB, 100, &result), -EAGAIN);
    assert_int_equal(result.freed_bytes, 0);
    assert_true(result.failed_pages > 0);
    assert_int_equal(stats_of(failed).gauge.dirty_pages, 20);
    atomic_store(&store->fail_batches[ZCACHE_IO_WRITE], 0);
    (void)!zcache_flush(failed, 10000);
    close_cache(cache);
    mem_store_free(store);
}

/* Without a timeout the store is asked, but not waited for. */
static void shrink_without_timeout_does_not_wait(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    put_n(root, 1, 0, 100, FILL_RANDOM, 0);
    mem_store_hold(store, ZCACHE_IO_WRITE);
    assert_int_equal(zcache_shrink(root, 100 * PAGE, 0, NULL), -EAGAIN);
    assert_int_equal(zcache_shrink(root, 100 * PAGE, 20, NULL), -EAGAIN);
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(get_page(root, key_of(1, i), 0), 1);
    }
    mem_store_open(store, ZCACHE_IO_WRITE);
    WAIT_UNTIL(stats_of(root).gauge.writing_pages == 0, 10000);
    close_cache(cache);
    mem_store_free(store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_and_disabled_tenants_do_not_stop_it),
        cmocka_unit_test(putting_is_never_refused),
        cmocka_unit_test(it_compresses_ahead_of_need),
        cmocka_unit_test(starting_ahead_can_be_turned_off),
        cmocka_unit_test(equal_tenants_give_equally),
        cmocka_unit_test(a_reserve_is_kept),
        cmocka_unit_test(weights_divide_the_capacity),
        cmocka_unit_test(weights_count_among_siblings),
        cmocka_unit_test(a_reserve_covers_the_subtree),
        cmocka_unit_test(the_large_give_before_the_small),
        cmocka_unit_test(without_candidates_it_sleeps),
        cmocka_unit_test(once_begun_it_reaches_the_low_mark),
        cmocka_unit_test(an_idle_cache_does_nothing),
        cmocka_unit_test(a_failing_store_is_not_hammered),
        cmocka_unit_test(shrink_frees_what_was_asked),
        cmocka_unit_test(shrink_demotes_before_it_evicts),
        cmocka_unit_test(shrink_finds_what_can_be_demoted),
        cmocka_unit_test(shrink_takes_the_oldest),
        cmocka_unit_test(shrink_ignores_reserves),
        cmocka_unit_test(shrink_says_what_was_in_its_way),
        cmocka_unit_test(shrink_without_timeout_does_not_wait),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
