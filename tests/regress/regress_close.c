/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A get that is a hit, or a miss that asks nobody, does not enter its tenant: a close does not wait for
 * more than its section, and the tenant's memory may be gone when the call goes on.
 */
#include "mem_store.h"
#include "script.h"

#define PLAIN "fast=none,dense=none"

static struct zcache *cache;
static struct zcache_tenant *child;

static void get_hit(void *arg)
{
    (void)arg;
    REQUIRE_EQUAL(get_page(child, key_of(1, 1), 0), 1);
}

static void get_miss(void *arg)
{
    (void)arg;
    REQUIRE_EQUAL(get_page(child, key_of(1, 1), 0), 0);
}

/* The call found what it returns; the tenant is closed before it goes on. */
static void close_during(void (*get)(void *arg), bool cached)
{
    struct script_thread getter;

    script_begin();
    cache = open_cache(16 * MIB, NULL, PLAIN);
    child = open_tenant(zcache_root(cache), "child", ZCACHE_UNLIMITED);
    if (cached) {
        assert_int_equal(put_page(child, key_of(1, 1), 1, FILL_TEXT, 0), 0);
    }
    script_hold("get.found", key_of(1, 1));
    script_start(&getter, get, NULL);
    script_await("get.found");
    assert_int_equal(zcache_tenant_close(child, ZCACHE_CLOSE_DISCARD), 0);
    script_release("get.found");
    script_join(&getter);
    script_end();
    const struct zcache_stats stats = stats_of(zcache_root(cache));
    assert_int_equal(gets_of(&stats), 1);
    drop_cache(cache);
}

static void a_hit_is_counted_before_its_tenant_can_go(void **state)
{
    (void)state;
    close_during(get_hit, true);
}

static void a_miss_is_counted_before_its_tenant_can_go(void **state)
{
    (void)state;
    close_during(get_miss, false);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hit_is_counted_before_its_tenant_can_go),
        cmocka_unit_test(a_miss_is_counted_before_its_tenant_can_go),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
