/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What broke in write-back of other systems: an older version that reaches the store after a newer one,
 * or a newer one that is taken for written; and a page picked for a write that was removed, whose place
 * and memory then belonged to another page, which was written under its name.
 */
#include <errno.h>

#include "script.h"
#include "unit/inside.h"

#define KEY key_of(1, 1)

static void flush_root(void *arg)
{
    REQUIRE_EQUAL(zcache_flush(arg, 0), 0);
}

static void shrink_root(void *arg)
{
    struct zcache_shrink_result result;
    const int rc = zcache_shrink(arg, 1 * MIB, 60000, &result);

    REQUIRE(rc == 0 || rc == -EAGAIN);
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
    struct script_thread flusher;

    (void)state;
    script_begin();
    assert_int_equal(put_page(root, KEY, 1, FILL_TEXT, 0), 0);
    mem_store_hold(store, ZCACHE_IO_WRITE);
    script_hold("writeback.claimed", KEY);
    script_start(&flusher, flush_root, root);
    script_await("writeback.claimed");
    assert_int_equal(put_page(root, KEY, 2, FILL_TEXT, 0), 0);
    script_release("writeback.claimed");
    WAIT_UNTIL(mem_store_held(store, ZCACHE_IO_WRITE) == 1, 10000);
    mem_store_step(store, ZCACHE_IO_WRITE, 1);
    WAIT_UNTIL(mem_store_version(store, 0, KEY) == 1, 10000);
    mem_store_open(store, ZCACHE_IO_WRITE);
    script_join(&flusher);
    /* The flush's turn may have come before the second put. */
    assert_int_equal(zcache_flush(root, 0), 0);
    assert_int_equal(mem_store_version(store, 0, KEY), 2);
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

/*
 * The page is deleted and put again after a reclaimer picked it, and before it was claimed.  What is
 * written is the page that is there, and the reclaimer's record of the old one changes nothing.
 */
static void a_page_put_anew_after_it_was_picked_is_written_as_it_is(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct script_thread shrinker;

    (void)state;
    script_begin();
    assert_int_equal(put_page(root, KEY, 1, FILL_TEXT, 0), 0);
    script_hold("writeback.picked", KEY);
    script_start(&shrinker, shrink_root, root);
    script_await("writeback.picked");
    assert_int_equal(zcache_delete(root, KEY, 0), 0);
    mem_store_forbid(store, 0, KEY, 1);
    assert_int_equal(put_page(root, KEY, 2, FILL_TEXT, 0), 0);
    script_release("writeback.picked");
    script_join(&shrinker);
    assert_int_equal(mem_store_version(store, 0, KEY), 2);
    assert_int_equal(stats_of(root).gauge.dirty_pages, 0);
    script_end();
    close_cache(cache); /* lists and counts agree */
    mem_store_free(store);
}

/* Replaces @n pages once each, all of them as long as KEY's, with content of their own. */
static void churn(struct zcache_tenant *t, uint64_t n)
{
    for (uint64_t version = 1; version <= 2; version++) {
        for (uint64_t i = 0; i < n; i++) {
            REQUIRE_EQUAL(put_page(t, key_of(2, i), version, FILL_RANDOM, ZCACHE_CLEAN), 0);
        }
    }
}

/*
 * The page is replaced after it was claimed, and so many others are replaced and put that its old bytes'
 * memory would be free and in use again, if the writer's section did not keep it.  The store gets the
 * bytes that were claimed.
 */
static void the_bytes_claimed_are_the_bytes_written(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct script_thread flusher;

    (void)state;
    script_begin();
    assert_int_equal(put_page(root, KEY, 1, FILL_RANDOM, 0), 0);
    mem_store_hold(store, ZCACHE_IO_WRITE);
    script_hold("writeback.claimed", KEY);
    script_start(&flusher, flush_root, root);
    script_await("writeback.claimed");
    assert_int_equal(put_page(root, KEY, 2, FILL_RANDOM, 0), 0);
    churn(root, 200);
    script_release("writeback.claimed");
    WAIT_UNTIL(mem_store_held(store, ZCACHE_IO_WRITE) == 1, 10000);
    mem_store_step(store, ZCACHE_IO_WRITE, 1);
    WAIT_UNTIL(mem_store_version(store, 0, KEY) == 1, 10000); /* whole, and of that key */
    mem_store_open(store, ZCACHE_IO_WRITE);
    script_join(&flusher);
    assert_int_equal(zcache_flush(root, 0), 0);
    assert_int_equal(mem_store_version(store, 0, KEY), 2);
    assert_int_equal(stats_of(root).count.corrupt, 0);
    script_end();
    close_cache(cache);
    mem_store_free(store);
}

/*
 * The same while the bytes are with the store, which reads them in place: a pin keeps them, since the
 * writer's section is over by then.
 */
static void bytes_in_the_stores_hands_do_not_change(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct script_thread flusher;

    (void)state;
    assert_int_equal(put_page(root, KEY, 1, FILL_RANDOM, 0), 0);
    mem_store_hold(store, ZCACHE_IO_WRITE);
    script_start(&flusher, flush_root, root);
    WAIT_UNTIL(mem_store_held(store, ZCACHE_IO_WRITE) == 1, 10000);
    assert_int_equal(put_page(root, KEY, 2, FILL_RANDOM, 0), 0);
    drain(cache);
    churn(root, 200);
    mem_store_step(store, ZCACHE_IO_WRITE, 1); /* it compares with what it was given */
    WAIT_UNTIL(mem_store_version(store, 0, KEY) == 1, 10000);
    mem_store_open(store, ZCACHE_IO_WRITE);
    script_join(&flusher);
    assert_int_equal(zcache_flush(root, 0), 0);
    assert_int_equal(mem_store_version(store, 0, KEY), 2);
    close_cache(cache);
    mem_store_free(store);
}

/*
 * The first page of a group is deleted before it is claimed. Nobody looks at its record again, which is
 * freed while the rest of the group is claimed: a sanitizer would tell.
 */
static void a_page_deleted_before_its_claim_is_forgotten(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    const struct zcache_key first = key_of(1, 0);
    struct zcache_shrink_result result;
    struct script_thread flusher;

    (void)state;
    script_begin();
    for (uint64_t page = 0; page < 3; page++) {
        assert_int_equal(put_page(root, key_of(1, page), 1, FILL_TEXT, 0), 0);
    }
    script_hold("writeback.picked", first);
    script_hold("writeback.next", first);
    script_start(&flusher, flush_root, root);
    script_await("writeback.picked");
    assert_int_equal(zcache_delete(root, first, 0), 0);
    script_release("writeback.picked");
    script_await("writeback.next");
    (void)!zcache_shrink(root, 1, 0, &result); /* frees what nobody can see any more */
    script_release("writeback.next");
    script_join(&flusher);
    script_end();
    assert_int_equal(mem_store_version(store, 0, first), 0);
    assert_int_equal(mem_store_durable(store, 0, key_of(1, 1)), 1);
    assert_int_equal(mem_store_durable(store, 0, key_of(1, 2)), 1);
    close_cache(cache);
    mem_store_free(store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_version_put_during_a_write_is_written_later),
        cmocka_unit_test(a_turn_that_does_not_come_is_no_failed_write),
        cmocka_unit_test(a_page_put_anew_after_it_was_picked_is_written_as_it_is),
        cmocka_unit_test(the_bytes_claimed_are_the_bytes_written),
        cmocka_unit_test(bytes_in_the_stores_hands_do_not_change),
        cmocka_unit_test(a_page_deleted_before_its_claim_is_forgotten),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
