/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pressure: the bound of a cache follows what the system says, puts meet it as the capacity, the
 * shrinker works down to it, and the thread that looks is in nobody's way.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "inside.h"
#include "pressure.h"
#include "unit/fake_files.h"

#define CAPACITY (16 * MIB)
#define QUICK    PLAIN ",start_percent=100,pressure_quiet_ms=100"
#define CGROUP   QUICK ",pressure=cgroup,pressure_low_percent=90"
#define PSI      QUICK ",pressure=psi"

static void say(const char *name, uint64_t bytes)
{
    char path[100];
    char text[40];

    (void)snprintf(path, sizeof(path), CG "/a/%s", name);
    (void)snprintf(text, sizeof(text), "%" PRIu64 "\n", bytes);
    fake_file(path, text);
}

/* A process in /a, which has so much memory and uses so much. */
static void system_is(uint64_t limit, uint64_t usage)
{
    fake_file("/proc/self/cgroup", "0::/a\n");
    fake_file(CG "/cgroup.controllers", "memory\n");
    fake_file(CG "/a/cgroup.controllers", "memory\n");
    fake_file(CG "/a/memory.max", "max\n");
    fake_file(CG "/a/memory.stat", "inactive_file 0\n");
    say("memory.current", usage);
    say("memory.high", limit);
}

static void stalls_are(uint64_t total_us)
{
    char text[100];

    (void)snprintf(text, sizeof(text), "some avg10=0.00 total=%" PRIu64 "\n", total_us);
    fake_file(CG "/a/memory.pressure", text);
}

static uint64_t bound(struct zcache *cache)
{
    return stats_of(zcache_root(cache)).cache.effective_capacity_bytes;
}

/* Puts pages until more than the low mark's worth were put. */
static void fill(struct zcache *cache, uint64_t object)
{
    for (uint64_t i = 0; i < CAPACITY / PAGE; i++) {
        REQUIRE_EQUAL(put_page(zcache_root(cache), key_of(object, i), 1, FILL_RANDOM, ZCACHE_CLEAN),
                      0);
    }
}

/* Looks that were made so far which saw something wrong: it grows while files are nonsense. */
static uint64_t blind(struct zcache *cache)
{
    return stats_of(zcache_root(cache)).cache.pressure_blind;
}

static void off_is_off(void **state)
{
    struct zcache *cache;

    (void)state;
    fake_files_clear();
    system_is(MIB, 100 * MIB);
    cache = open_cache(CAPACITY, NULL, PLAIN);
    assert_null(cache->pressure);
    assert_int_equal(bound(cache), CAPACITY);
    close_cache(cache);
}

static void a_cgroup_gets_memory_back_and_the_cache_grows_again(void **state)
{
    struct zcache_stats stats;
    struct zcache *cache;

    (void)state;
    fake_files_clear();
    system_is(100 * MIB, 50 * MIB);
    cache = open_cache(CAPACITY, NULL, CGROUP);
    fill(cache, 1);
    assert_int_equal(bound(cache), CAPACITY);
    const uint64_t before = zc_quota_charge(&cache->account);

    say("memory.current", 96 * MIB); /* 6 MiB above the low mark */
    WAIT_UNTIL(bound(cache) < CAPACITY, 10000);
    say("memory.current", 92 * MIB); /* between the marks */
    WAIT_UNTIL(zc_quota_charge(&cache->account) <= bound(cache), 10000);
    stats = stats_of(zcache_root(cache));
    assert_true(stats.cache.effective_capacity_bytes >= CAPACITY / 4);
    assert_true(stats.cache.effective_capacity_bytes <= before - 6 * MIB);
    assert_int_equal(stats.cache.capacity_bytes, CAPACITY);
    assert_int_equal(stats.gauge.limit_bytes, CAPACITY);
    assert_true(stats.cache.pressure_bytes >=
                (before - stats.cache.effective_capacity_bytes) / 4 * 3);
    assert_true(stats.cache.pressure_lowered >= 1);
    assert_int_equal(stats.cache.pressure_raised, 0);
    WAIT_UNTIL(log_count("pressure.lowered") == stats_of(zcache_root(cache)).cache.pressure_lowered,
               10000); /* it tells after it has counted */

    /* It is the capacity that puts meet. */
    const uint64_t low = bound(cache);
    fill(cache, 2);
    assert_int_equal(bound(cache), low);
    assert_true(zc_quota_charge(&cache->account) <= low);

    say("memory.current", 40 * MIB);
    WAIT_UNTIL(bound(cache) == CAPACITY, 20000);
    fill(cache, 3);
    assert_true(zc_quota_charge(&cache->account) > low);
    stats = stats_of(zcache_root(cache));
    assert_in_range(stats.cache.pressure_raised, 10, 32);
    assert_int_equal(stats.cache.pressure_blind, 0);
    close_cache(cache);
}

static void stalls_lower_it_to_the_floor_and_no_further(void **state)
{
    struct zcache *cache;
    uint64_t total_us = 0;

    (void)state;
    fake_files_clear();
    system_is(0, 0);
    stalls_are(0);
    cache = open_cache(CAPACITY, NULL, PSI ",pressure_floor_percent=50");
    fill(cache, 1);
    assert_int_equal(bound(cache), CAPACITY); /* limits are not followed */
    WAIT_UNTIL((stalls_are(total_us += 10000), bound(cache) == CAPACITY / 2), 20000);
    WAIT_UNTIL((stalls_are(total_us += 10000), zc_quota_charge(&cache->account) <= CAPACITY / 2),
               10000);
    fill(cache, 2);
    assert_true(bound(cache) >= CAPACITY / 2);
    WAIT_UNTIL(bound(cache) == CAPACITY, 30000);
    close_cache(cache);
}

static void nonsense_leaves_it_as_it_is(void **state)
{
    struct zcache *cache;

    (void)state;
    fake_files_clear();
    cache = open_cache(CAPACITY, NULL, CGROUP); /* no files at all */
    fill(cache, 1);
    WAIT_UNTIL(blind(cache) >= 5, 10000);
    assert_int_equal(bound(cache), CAPACITY);
    assert_int_equal(log_count("pressure.blind"), 1);

    system_is(100 * MIB, 96 * MIB);
    WAIT_UNTIL(bound(cache) < CAPACITY, 10000);
    fake_file(CG "/a/memory.current", "many\n");
    uint64_t then = blind(cache);
    WAIT_UNTIL(blind(cache) >= then + 2, 10000);
    const uint64_t low = bound(cache);
    then = blind(cache);
    WAIT_UNTIL(blind(cache) >= then + 10, 10000); /* several quiet times */
    assert_int_equal(bound(cache), low);
    close_cache(cache);
}

#ifdef ZCACHE_TEST_HOOKS
static void a_cache_that_cannot_look_is_not_opened(void **state)
{
    static const struct {
        enum zc_fault_site site;
        int rc;
    } rows[] = {{ZC_FAULT_watch, -EMFILE}, {ZC_FAULT_thread, -EAGAIN}};
    struct zcache_options opts = ZCACHE_OPTIONS_INIT;
    struct zcache *cache = NULL;

    (void)state;
    fake_files_clear();
    opts.capacity_bytes = CAPACITY;
    opts.pressure = ZCACHE_PRESSURE_BOTH;
    for (size_t i = 0; i < ZC_ARRAY_SIZE(rows); i++) {
        const struct zc_fault_plan plan = {.nth = rows[i].site == ZC_FAULT_thread ? 2 : 1,
                                           .whose = ZC_FAULT_MINE,
                                           .sites = 1u << rows[i].site};

        zc_fault_arm(&plan);
        assert_int_equal(zcache_open(&opts, &cache), rows[i].rc);
        assert_int_equal(zc_fault_disarm(), 1);
        assert_null(cache);
    }
    assert_int_equal(zcache_open(&opts, &cache), 0);
    assert_int_equal(zcache_close(cache, 0), 0);
}
#endif

/* It is asleep for a second, or amid a look: it is woken. */
static void a_close_does_not_wait_for_the_next_look(void **state)
{
    (void)state;
    fake_files_clear();
    system_is(100 * MIB, 50 * MIB);
    stalls_are(0);
    for (int i = 0; i < 20; i++) {
        struct zcache *cache = open_cache(CAPACITY, NULL, PLAIN ",pressure=both");
        const uint64_t begun = now_ns();

        if (i % 2 == 0) {
            fill(cache, 1);
        }
        close_cache(cache);
        assert_true(now_ns() - begun < 900 * MS_IN_NS * TEST_SLOWDOWN);
    }
}

/* The application's own change of the capacity counts where it is the lower one. */
static void the_lower_of_two_bounds_holds(void **state)
{
    struct zcache_tenant *root;
    struct zcache *cache;

    (void)state;
    fake_files_clear();
    system_is(100 * MIB, 96 * MIB);
    cache = open_cache(CAPACITY, NULL, CGROUP ",pressure_floor_percent=50");
    root = zcache_root(cache);
    WAIT_UNTIL(bound(cache) == CAPACITY / 2, 10000);
    assert_int_equal(set_limit(root, CAPACITY * 3 / 4, 0), 0);
    assert_int_equal(stats_of(root).cache.capacity_bytes, CAPACITY * 3 / 4);
    assert_true(bound(cache) <= CAPACITY / 2);
    assert_int_equal(set_limit(root, 3 * MIB, 0), 0);
    assert_true(bound(cache) <= 3 * MIB);
    say("memory.current", 10 * MIB);
    WAIT_UNTIL(bound(cache) == 3 * MIB, 20000);
    assert_int_equal(set_limit(root, CAPACITY, 0), 0);
    WAIT_UNTIL(bound(cache) == CAPACITY, 20000);
    close_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(off_is_off),
        cmocka_unit_test(a_cgroup_gets_memory_back_and_the_cache_grows_again),
        cmocka_unit_test(stalls_lower_it_to_the_floor_and_no_further),
        cmocka_unit_test(nonsense_leaves_it_as_it_is),
#ifdef ZCACHE_TEST_HOOKS
        cmocka_unit_test(a_cache_that_cannot_look_is_not_opened),
#endif
        cmocka_unit_test(a_close_does_not_wait_for_the_next_look),
        cmocka_unit_test(the_lower_of_two_bounds_holds),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
