/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a flush that returned 0 may not have missed: a page that was put again before its write, and a
 * barrier that somebody else was about to make.
 */
#include "core.h"
#include "mem_store.h"
#include "script.h"

#define PLAIN "fast=none,dense=none"

static void flush_root(void *arg)
{
    REQUIRE_EQUAL(zcache_flush(arg, 0), 0);
}

/*
 * A page is put, a flush begins, and the page is put again before the flush gets to it.  The flush must
 * write the newer version: of the older one nothing is left.
 */
static void a_page_that_is_put_again_is_still_flushed(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    const struct zcache_key key = key_of(1, 1);
    struct script_thread flusher;

    (void)state;
    script_begin();
    assert_int_equal(put_page(root, key, 1, FILL_TEXT, 0), 0);
    script_hold_any("flush.turned");
    script_start(&flusher, flush_root, root);
    script_await("flush.turned");
    assert_int_equal(put_page(root, key, 2, FILL_TEXT, 0), 0);
    script_release("flush.turned");
    script_join(&flusher);
    assert_true(mem_store_durable(store, 0, key) >= 1);
    script_end();
    close_cache(cache);
    mem_store_free(store);
}

/*
 * Two flushes of a tenant.  The first has written everything and waits for its barrier; the second finds
 * nothing to write.  It may not return before a barrier is over.
 */
static void a_flush_does_not_overtake_the_barrier_of_another(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    const struct zcache_key key = key_of(1, 1);
    struct script_thread first;
    struct script_thread second;

    (void)state;
    script_begin();
    assert_int_equal(put_page(root, key, 1, FILL_TEXT, 0), 0);
    mem_store_hold(store, ZCACHE_IO_BARRIER);
    script_start(&first, flush_root, root);
    WAIT_UNTIL(mem_store_held(store, ZCACHE_IO_BARRIER) == 1, 10000);
    script_start(&second, flush_root, root);
    WAIT_UNTIL(atomic_load(&cache->progress.waiters) > 0 || !script_running(&second), 10000);
    assert_true(script_running(&second));
    assert_int_equal(mem_store_durable(store, 0, key), 0);
    mem_store_open(store, ZCACHE_IO_BARRIER);
    script_join(&first);
    script_join(&second);
    assert_int_equal(mem_store_durable(store, 0, key), 1);
    script_end();
    close_cache(cache);
    mem_store_free(store);
}

static void shrink_root(void *arg)
{
    struct zcache_shrink_result result;

    (void)!zcache_shrink(arg, 1, 10000, &result);
}

/*
 * Reclaim has written a page and made it clean, and gets no further.  A flush finds nothing to write, and
 * must make the barrier for that write all the same.
 */
static void a_flush_makes_the_barrier_for_a_write_just_completed(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    const struct zcache_key key = key_of(1, 1);
    struct script_thread shrinker;

    (void)state;
    script_begin();
    assert_int_equal(put_page(root, key, 1, FILL_TEXT, 0), 0);
    script_hold_any("writeback.cleaned");
    script_start(&shrinker, shrink_root, root);
    script_await("writeback.cleaned");
    assert_int_equal(zcache_flush(root, 0), 0);
    assert_int_equal(mem_store_durable(store, 0, key), 1);
    script_release("writeback.cleaned");
    script_join(&shrinker);
    script_end();
    close_cache(cache);
    mem_store_free(store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_that_is_put_again_is_still_flushed),
        cmocka_unit_test(a_flush_does_not_overtake_the_barrier_of_another),
        cmocka_unit_test(a_flush_makes_the_barrier_for_a_write_just_completed),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("flush", tests, NULL, NULL);
}
