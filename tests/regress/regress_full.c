/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A thread's first decode needs memory for its context. In a full cache of clean pages there is room to be
 * made: whoever asks for a page, and in whatever way, gets it.
 */
#include <errno.h>

#include "core.h"
#include "mem_store.h"
#include "script.h"

#define CAPACITY (4 * MIB)
#define PAGES    1024u

static struct zcache *cache;
static struct zcache_tenant *root;
static atomic_bool known;
static atomic_bool full;

/* A page of the dense tier; there is no such page if that is 0. */
static struct zcache_key dense_page(void)
{
    for (uint64_t i = PAGES; i-- > 0;) {
        const struct zcache_stats before = stats_of(root);
        if (get_page(root, key_of(1, i), ZCACHE_PEEK) != 0 &&
            stats_of(root).count.get_hits_dense > before.count.get_hits_dense) {
            return key_of(1, i);
        }
    }
    fail_msg("no page is dense");
    return key_of(0, 0);
}

/* The thread is known to the cache, and goes on when the cache is full. */
static void wait_until_full(void)
{
    REQUIRE(!is_cached(root, key_of(2, 0)));
    atomic_store(&known, true);
    WAIT_UNTIL(atomic_load(&full), 10000);
}

static void get_it(void *arg)
{
    wait_until_full();
    REQUIRE_EQUAL(get_page(root, *(struct zcache_key *)arg, ZCACHE_PEEK), 1);
}

static void take_it(void *arg)
{
    wait_until_full();
    REQUIRE_EQUAL(get_page(root, *(struct zcache_key *)arg, ZCACHE_TAKE), 1);
}

static void pin_it(void *arg)
{
    struct zcache_pin pin;

    wait_until_full();
    REQUIRE_EQUAL(zcache_pin(root, *(struct zcache_key *)arg, 0, &pin), 0);
    REQUIRE_EQUAL(pin.len, PAGE);
    zcache_unpin(&pin);
}

/* A cache of which half is dense; one of these pages. */
static struct zcache_key open_dense(void)
{
    struct zcache_shrink_result result;

    cache =
        open_cache(CAPACITY, NULL, "raw_percent=0,fast_percent=0,start_percent=100,page_max=4096");
    root = zcache_root(cache);
    for (uint64_t i = 0; i < PAGES; i++) {
        REQUIRE_EQUAL(put_page(root, key_of(1, i), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    }
    while (stats_of(root).tier[ZCACHE_TIER_DENSE].pages < PAGES / 2) {
        assert_int_equal(zcache_shrink(root, 16 * KIB, 1000, &result), 0);
    }
    atomic_store(&known, false);
    atomic_store(&full, false);
    return dense_page();
}

/* The thread finds neither prepaid memory nor room below the limit. */
static void in_a_full_cache(void (*read)(void *arg))
{
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;
    struct zcache_key key = open_dense();
    struct script_thread reader;

    script_start(&reader, read, &key);
    WAIT_UNTIL(atomic_load(&known), 10000);
    const uint64_t prepaid = atomic_exchange(&cache->prepaid, 0);
    limits.limit_bytes = charge_of(root) + 64 * KIB; /* less than a context takes */
    assert_int_equal(zcache_tenant_set_limits(root, &limits, 0, NULL), 0);
    atomic_store(&full, true);
    script_join(&reader);
    limits.limit_bytes = CAPACITY;
    assert_int_equal(zcache_tenant_set_limits(root, &limits, 0, NULL), 0);
    atomic_fetch_add(&cache->prepaid, prepaid);
    drop_cache(cache);
}

static void a_get_makes_room(void **state)
{
    (void)state;
    in_a_full_cache(get_it);
}

static void a_take_makes_room(void **state)
{
    (void)state;
    in_a_full_cache(take_it);
}

static void a_pin_makes_room(void **state)
{
    (void)state;
    in_a_full_cache(pin_it);
}

/*
 * There is room, but the pools are as large as they may be, and nothing in them can be moved together.  A
 * thread that is known already waits for what others free.
 */
static void while_the_pools_may_not_grow(void (*read)(void *arg), struct zcache_key key)
{
    struct script_thread reader;
    uint64_t max;

    atomic_store(&known, false);
    atomic_store(&full, false);
    script_start(&reader, read, &key);
    WAIT_UNTIL(atomic_load(&known), 10000);
    max = atomic_exchange(&cache->bound.max, 0);
    atomic_store(&full, true);
    WAIT_UNTIL(atomic_load(&cache->progress.waiters) != 0, 10000);
    REQUIRE(script_running(&reader));
    atomic_store(&cache->bound.max, max);
    script_join(&reader);
    drop_cache(cache);
}

static void a_get_waits_for_resident_memory(void **state)
{
    struct zcache_key key = open_dense();

    (void)state;
    while_the_pools_may_not_grow(get_it, key);
}

static void load_it(void *arg)
{
    wait_until_full();
    REQUIRE_EQUAL(get_page(root, *(struct zcache_key *)arg, 0), 1);
}

/* The same for the buffer that a page is read into. */
static void a_load_waits_for_resident_memory(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache_key key = key_of(1, 1);

    (void)state;
    cache = open_stored(CAPACITY, store, "fast=none,dense=none");
    root = zcache_root(cache);
    REQUIRE_EQUAL(put_page(root, key, 1, FILL_TEXT, 0), 0);
    REQUIRE_EQUAL(zcache_flush(root, 10000), 0);
    REQUIRE_EQUAL(zcache_shrink(root, PAGE, 1000, NULL), 0);
    REQUIRE(!is_cached(root, key));
    while_the_pools_may_not_grow(load_it, key);
    mem_store_free(store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_get_makes_room),
        cmocka_unit_test(a_take_makes_room),
        cmocka_unit_test(a_pin_makes_room),
        cmocka_unit_test(a_get_waits_for_resident_memory),
        cmocka_unit_test(a_load_waits_for_resident_memory),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("full", tests, NULL, NULL);
}
