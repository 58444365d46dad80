/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What broke in write-back of other systems: an older version that reaches the store after a newer one,
 * or a newer one that is taken for written.
 */
#include <errno.h>

#include "mem_store.h"
#include "script.h"

#define PLAIN "fast=none,dense=none"

static void flush_root(void *arg)
{
    REQUIRE_EQUAL(zcache_flush(arg, 0), 0);
}

/*
 * The page is put again between the claim for a write and the write: the write is of the older version,
 * so the page is dirty afterwards, and the flush goes on until the newer one is written too.
 */
static void a_version_put_during_a_write_is_written_later(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    const struct zcache_key key = key_of(1, 1);
    struct script_thread flusher;

    (void)state;
    script_begin();
    assert_int_equal(put_page(root, key, 1, FILL_TEXT, 0), 0);
    mem_store_hold(store, ZCACHE_IO_WRITE);
    script_hold("writeback.claimed", key);
    script_start(&flusher, flush_root, root);
    script_await("writeback.claimed");
    assert_int_equal(put_page(root, key, 2, FILL_TEXT, 0), 0);
    script_release("writeback.claimed");
    WAIT_UNTIL(mem_store_held(store, ZCACHE_IO_WRITE) == 1, 10000);
    mem_store_step(store, ZCACHE_IO_WRITE, 1);
    WAIT_UNTIL(mem_store_version(store, 0, key) == 1, 10000);
    mem_store_open(store, ZCACHE_IO_WRITE);
    script_join(&flusher);
    assert_int_equal(zcache_flush(root, 0),
                     0); /* the first may have turned before the second put */
    assert_int_equal(mem_store_version(store, 0, key), 2);
    assert_int_equal(stats_of(root).gauge.dirty_pages, 0);
    assert_int_equal(stats_of(root).count.write_superseded, 1);
    script_end();
    close_cache(cache);
    mem_store_free(store);
}

static void flush_patiently(void *arg)
{
    REQUIRE_EQUAL(zcache_flush(arg, 60000), 0);
}

/*
 * A store that takes one call at a time is in a long one.  Whoever waits for his turn and gives up has not
 * been refused by the store: nothing was handed to it, so that no write has failed.
 */
static void a_turn_that_does_not_come_is_no_failed_write(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache_shrink_result result;
    struct script_thread flusher;

    (void)state;
    store->flags = ZCACHE_STORE_SERIAL;
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN ",max_stall_ms=50");
    struct zcache_tenant *root = zcache_root(cache);
    for (uint64_t i = 0; i < 200; i++) { /* more than the flush takes in hand at once */
        assert_int_equal(put_page(root, key_of(i, 1), 1, FILL_TEXT, 0), 0);
    }
    mem_store_hold(store, ZCACHE_IO_WRITE);
    script_start(&flusher, flush_patiently, root);
    WAIT_UNTIL(mem_store_held(store, ZCACHE_IO_WRITE) == 1, 10000);
    assert_int_equal(zcache_shrink(root, MIB, 100, &result), -EAGAIN);
    assert_int_equal(result.failed_pages, 0);
    assert_true(result.busy_pages > 0);
    assert_int_equal(stats_of(root).count.write_errors, 0);
    mem_store_open(store, ZCACHE_IO_WRITE);
    script_join(&flusher);
    assert_int_equal(zcache_flush(root, 10000), 0);
    assert_int_equal(stats_of(root).count.write_errors, 0);
    close_cache(cache);
    mem_store_free(store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_version_put_during_a_write_is_written_later),
        cmocka_unit_test(a_turn_that_does_not_come_is_no_failed_write),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
