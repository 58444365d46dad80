/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a delete and a flush owe each other: after a flush that returned 0 a crash brings no deleted page
 * back, and no older version of one that was put.
 */
#include "mem_store.h"
#include "script.h"

#define PLAIN "fast=none,dense=none"

static struct mem_store *store;
static struct zcache *cache;
static struct zcache_tenant *root;
static const struct zcache_key key = {1, 1};

static void setup(void)
{
    store = mem_store_new(MEM_STORE_SYNC);
    cache = open_stored(16 * MIB, store, PLAIN);
    root = zcache_root(cache);
    script_begin();
}

static void teardown(void)
{
    script_end();
    close_cache(cache);
    mem_store_free(store);
}

static unsigned barriers(void)
{
    return atomic_load(&store->batches[ZCACHE_IO_BARRIER]);
}

static void delete_page(void *arg)
{
    (void)arg;
    REQUIRE_EQUAL(zcache_delete(root, key, 0), 0);
}

static void flush_and_miss(void *arg)
{
    (void)arg;
    REQUIRE_EQUAL(zcache_flush(root, 0), 0);
    REQUIRE_EQUAL(mem_store_version(store, 0, key), 0);
}

/*
 * The store has version 1. Version 2 has left the cache for a delete that the store does not know of yet:
 * a crash right after the flush must not bring version 1 back.
 */
static void a_flush_waits_for_a_delete_under_way(void **state)
{
    struct script_thread deleter, flusher;

    (void)state;
    setup();
    assert_int_equal(put_page(root, key, 1, FILL_TEXT, 0), 0);
    assert_int_equal(zcache_flush(root, 0), 0);
    assert_int_equal(mem_store_durable(store, 0, key), 1);
    assert_int_equal(put_page(root, key, 2, FILL_TEXT, 0), 0);
    mem_store_hold(store, ZCACHE_IO_DISCARD);
    script_start(&deleter, delete_page, NULL);
    WAIT_UNTIL(mem_store_held(store, ZCACHE_IO_DISCARD) == 1, 10000);
    script_start(&flusher, flush_and_miss, NULL);
    WAIT_UNTIL(script_reached("batch.discards_left") > 0 || !script_running(&flusher), 10000);
    mem_store_open(store, ZCACHE_IO_DISCARD);
    script_join(&deleter);
    script_join(&flusher);
    teardown();
}

static void a_delete_is_durable_after_a_flush(void **state)
{
    (void)state;
    setup();
    assert_int_equal(put_page(root, key, 1, FILL_TEXT, 0), 0);
    assert_int_equal(zcache_flush(root, 0), 0);
    assert_int_equal(barriers(), 1);
    delete_page(NULL);
    assert_int_equal(zcache_flush(root, 0), 0);
    assert_int_equal(barriers(), 2);
    assert_int_equal(zcache_flush(root, 0), 0); /* nothing since */
    assert_int_equal(barriers(), 2);
    teardown();
}

/* What reclaim wrote for a tenant that is gone is made durable by the flush of its heir. */
static void the_heir_of_a_tenant_inherits_the_barrier_it_owes(void **state)
{
    struct zcache_shrink_result result;

    (void)state;
    setup();
    struct zcache_tenant *child = open_tenant(root, "child", ZCACHE_UNLIMITED);
    const uint64_t id = zcache_tenant_id(child);
    assert_int_equal(put_page(child, key, 1, FILL_TEXT, 0), 0);
    (void)!zcache_shrink(child, 1 * MIB, 10000, &result);
    assert_int_equal(mem_store_version(store, id, key), 1);
    assert_int_equal(mem_store_durable(store, id, key), 0);
    assert_int_equal(zcache_tenant_close(child, ZCACHE_CLOSE_REPARENT), 0);
    assert_int_equal(barriers(), 0);
    assert_int_equal(zcache_flush(root, 0), 0);
    assert_int_equal(mem_store_durable(store, id, key), 1);
    teardown();
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flush_waits_for_a_delete_under_way),
        cmocka_unit_test(a_delete_is_durable_after_a_flush),
        cmocka_unit_test(the_heir_of_a_tenant_inherits_the_barrier_it_owes),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("discard", tests, NULL, NULL);
}
