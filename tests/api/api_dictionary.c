/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dictionaries as an application sees them: pages that are alike get smaller by themselves, stay readable
 * whatever becomes of their tenant, and everything is counted.
 */
#include "records.h"

#define OPTIONS "raw_percent=0,fast_percent=0,start_percent=0,page_max=4K"
#define FIRST   1200u /* pages, more than a sample is taken of */
#define MORE    400u
#define LEFT    64u /* 16 KiB of them, which it does not get up for */

/* The shrinker leaves some KiB to others: what it would be woken for too often. */
static bool all_dense(struct zcache_tenant *t)
{
    const struct zcache_stats s = stats_of(t);

    return s.tier[ZCACHE_TIER_DENSE].pages + LEFT >= s.gauge.pages;
}

static void put_records(struct zcache_tenant *t, unsigned kind, unsigned first, unsigned n)
{
    for (unsigned i = first; i < first + n; i++) {
        REQUIRE_EQUAL(records_put(t, i, kind), 0);
    }
    WAIT_UNTIL(all_dense(t), 30000);
}

static void check_records(struct zcache_tenant *t, unsigned kind, unsigned first, unsigned n)
{
    for (unsigned i = first; i < first + n; i++) {
        records_check(t, i, kind);
    }
}

static void pages_that_are_alike_get_smaller(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, OPTIONS);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *t = open_tenant(root, "t", ZCACHE_UNLIMITED);

    (void)state;
    put_records(t, 1, 0, FIRST);
    WAIT_UNTIL(stats_of(root).count.dict_trainings > 0, 30000);
    struct zcache_stats before = stats_of(root);
    assert_int_equal(before.count.dict_kept, 1);
    assert_int_equal(before.count.dict_refused, 0);
    assert_int_equal(before.count.dict_retired, 0);
    assert_int_equal(before.cache.dictionaries, 1);
    assert_in_range(before.cache.dict_bytes, 16 * KIB, 1 * MIB);
    assert_true(before.gauge.charge_bytes >= before.cache.dict_bytes);
    put_records(t, 1, FIRST, MORE);
    const struct zcache_stats after = stats_of(root);
    const uint64_t raw = after.count.dense_dict_raw_bytes - before.count.dense_dict_raw_bytes;
    const uint64_t stored = after.count.dense_dict_bytes - before.count.dense_dict_bytes;
    assert_in_range(raw, (MORE - LEFT) * PAGE, (MORE + LEFT) * PAGE); /* every page has it now */
    assert_true(stored * after.count.dense_plain_raw_bytes * 100 <
                after.count.dense_plain_bytes * raw * 95);
    check_records(t, 1, 0, FIRST + MORE);
    verify_cache(cache);
    /* They are the parent's now, and still theirs is the dictionary. */
    assert_int_equal(zcache_tenant_close(t, ZCACHE_CLOSE_REPARENT), 0);
    check_records(root, 1, 0, FIRST + MORE);
    assert_int_equal(stats_of(root).cache.dictionaries, 1);
    close_cache(cache);
}

static void none_if_they_are_turned_off(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, OPTIONS ",dictionary=0");
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    put_records(root, 1, 0, FIRST);
    const struct zcache_stats s = stats_of(root);
    assert_int_equal(s.count.dict_trainings + s.count.dict_failures, 0);
    assert_int_equal(s.cache.dictionaries, 0);
    assert_int_equal(s.count.dense_dict_raw_bytes, 0);
    assert_in_range(s.count.dense_plain_raw_bytes, (FIRST - LEFT) * PAGE, FIRST * PAGE);
    check_records(root, 1, 0, FIRST);
    close_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_that_are_alike_get_smaller),
        cmocka_unit_test(none_if_they_are_turned_off),
    };

    (void)test_begin(argc, argv, 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
