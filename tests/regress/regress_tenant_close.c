/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What broke where other systems take a part of the cache away: reclaim, or the completion of a write,
 * held a page of it, and went on with a record that had been freed with its owner.
 */
#include <errno.h>

#include "script.h"
#include "unit/inside.h"

#define KEY   key_of(1, 1)
#define PAGES 8u

struct closing {
    struct zcache_tenant *tenant;
    enum zcache_close_mode mode;
};

static void close_it(void *arg)
{
    const struct closing *closing = arg;

    REQUIRE_EQUAL(zcache_tenant_close(closing->tenant, closing->mode), 0);
}

static void shrink_it(void *arg)
{
    struct zcache_shrink_result result;
    const int rc = zcache_shrink(arg, 1 * MIB, 60000, &result);

    REQUIRE(rc == 0 || rc == -EAGAIN);
}

/* Until the close waits for somebody; it must not have come to @point instead. */
static void await_busy(const char *point)
{
    WAIT_UNTIL(script_reached("tenant.found_busy") > 0 || script_reached(point) > 0, 10000);
    assert_int_equal(script_reached(point), 0);
}

static void close_while_pages_are_isolated(enum zcache_close_mode mode)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct closing closing = {open_tenant(root, "t", 4 * MIB), mode};
    struct script_thread shrinker;
    struct script_thread closer;

    script_begin();
    for (uint64_t i = 0; i < PAGES; i++) {
        assert_int_equal(put_page(closing.tenant, key_of(1, i), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    }
    script_hold_any("reclaim.isolated");
    script_start(&shrinker, shrink_it, root);
    script_await("reclaim.isolated");
    script_start(&closer, close_it, &closing);
    await_busy("close.waited");
    assert_int_equal(put_page(closing.tenant, KEY, 2, FILL_TEXT, 0), -ESHUTDOWN);
    script_release("reclaim.isolated");
    script_join(&shrinker);
    script_join(&closer);
    assert_int_equal(put_page(closing.tenant, KEY, 2, FILL_TEXT, 0), -EINVAL);
    assert_int_equal(stats_of(root).gauge.pages, 0); /* the reclaimer took them */
    script_end();
    close_cache(cache);
    mem_store_free(store);
}

/* A sweep over all tenants has pages of one in its hands; the close of that tenant waits for it. */
static void a_close_waits_for_reclaim(void **state)
{
    (void)state;
    close_while_pages_are_isolated(ZCACHE_CLOSE_DISCARD);
    close_while_pages_are_isolated(ZCACHE_CLOSE_FLUSH);
    close_while_pages_are_isolated(ZCACHE_CLOSE_REPARENT);
}

/*
 * The close has written the last page; the store's thread that completed the write is not out of it yet.
 * The tenant's record stays as it is until it is.
 */
static void a_close_waits_for_the_end_of_completions(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    /* Without a barrier, which would need the same thread. */
    const struct zcache_store callbacks = mem_store_callbacks(store, MEM_STORE_WRITES);
    struct zcache *cache = open_cache(16 * MIB, &callbacks, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct closing closing = {open_tenant(root, "t", 4 * MIB), ZCACHE_CLOSE_FLUSH};
    const uint64_t id = zcache_tenant_id(closing.tenant);
    struct script_thread closer;

    (void)state;
    atomic_store(&store->cache, cache);
    script_begin();
    assert_int_equal(put_page(closing.tenant, KEY, 1, FILL_TEXT, 0), 0);
    script_hold("batch.finished", KEY);
    script_start(&closer, close_it, &closing);
    script_await("batch.finished");
    await_busy("close.emptied");
    assert_int_equal(mem_store_version(store, id, KEY), 1);
    script_release("batch.finished");
    script_join(&closer);
    assert_int_equal(put_page(closing.tenant, KEY, 2, FILL_TEXT, 0), -EINVAL);
    script_end();
    close_cache(cache);
    mem_store_free(store);
}

/* A take stands between the delivery and the removal, in the tenant. */
static void take_it(void *arg)
{
    unsigned char page[PAGE];

    REQUIRE_EQUAL(zcache_get(arg, KEY, page, sizeof(page), NULL, ZCACHE_TAKE), 0);
}

static void a_close_waits_for_calls_inside(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct closing closing = {open_tenant(root, "t", 4 * MIB), ZCACHE_CLOSE_DISCARD};
    struct script_thread taker;
    struct script_thread closer;

    (void)state;
    script_begin();
    assert_int_equal(put_page(closing.tenant, KEY, 1, FILL_TEXT, 0), 0);
    script_hold("get.delivered", KEY);
    script_start(&taker, take_it, closing.tenant);
    script_await("get.delivered");
    script_start(&closer, close_it, &closing);
    await_busy("close.waited");
    script_release("get.delivered");
    script_join(&taker);
    script_join(&closer);
    assert_int_equal(stats_of(root).count.takes, 1);
    assert_int_equal(stats_of(root).count.dropped, 0);
    script_end();
    close_cache(cache);
}

static void close_all(void *arg)
{
    const uint64_t begun = now_ns();

    REQUIRE_EQUAL(zcache_close(arg, ZCACHE_DISCARD), 0);
    REQUIRE(now_ns() - begun < 30000 * MS_IN_NS);
}

/* The last one to leave an open tenant is heard of by the close of the cache: it does not wait in vain. */
static void the_close_of_the_cache_hears_of_the_last_one_out(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN ",max_stall_ms=60000");
    struct script_thread closer;

    (void)state;
    REQUIRE_EQUAL(zc_tenant_enter(cache->root), 0);
    script_start(&closer, close_all, cache);
    WAIT_UNTIL(atomic_load(&cache->progress.waiters) != 0, 10000);
    zc_tenant_leave(cache->root);
    script_join(&closer);
}

/* What the pools keep for the next pages is as much as a small tenant had. */
static void a_close_keeps_none_of_the_memory(void **state)
{
    const uint64_t n = 200;
    struct zcache *cache = open_cache(64 * MIB, NULL, PLAIN ",keep=4M,start_percent=100");
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *t = open_tenant(root, "t", ZCACHE_UNLIMITED);

    (void)state;
    for (uint64_t i = 0; i < n; i++) {
        assert_int_equal(put_page(t, key_of(1, i), 1, FILL_RANDOM, ZCACHE_CLEAN), 0);
    }
    const uint64_t charge = stats_of(t).gauge.charge_bytes;
    const uint64_t resident = stats_of(root).cache.resident_bytes;
    assert_true(charge >= n * PAGE);
    assert_int_equal(zcache_tenant_close(t, ZCACHE_CLOSE_DISCARD), 0);
    assert_true(stats_of(root).cache.resident_bytes <= resident - charge * 9 / 10);
    close_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_close_keeps_none_of_the_memory),
        cmocka_unit_test(a_close_waits_for_reclaim),
        cmocka_unit_test(a_close_waits_for_the_end_of_completions),
        cmocka_unit_test(a_close_waits_for_calls_inside),
        cmocka_unit_test(the_close_of_the_cache_hears_of_the_last_one_out),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
