/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What broke in background shrinkers of other systems.  Without tenants, "the root" and "the end of a
 * round" were the same value, so that nothing was ever shrunk, or the statistics of a tenant that is not
 * there were looked at.  A dead tenant under the cursor, a run of empty ones, or of ones whose pages may
 * not be written, counted as failures and ended the work early, and puts were refused although other
 * tenants had plenty to give.
 */
#include <errno.h>
#include <stdio.h>

#include "script.h"
#include "shrinker.h"
#include "unit/inside.h"

#define MANY 200u /* more than a few rounds' worth of failures */

static uint64_t percent(struct zcache *cache, uint64_t percent)
{
    return zc_quota_limit(&cache->account) / 100 * percent;
}

static uint64_t charge(struct zcache *cache)
{
    return zc_quota_used(&cache->account);
}

/* Puts until the background mark is passed; how many pages. */
static uint64_t put_past_the_mark(struct zcache_tenant *t)
{
    uint64_t n = 0;

    while (charge(t->cache) <= percent(t->cache, t->cache->opt.background_percent)) {
        REQUIRE_EQUAL(put_page(t, key_of(1, n++), 1, FILL_RANDOM, ZCACHE_CLEAN), 0);
    }
    return n;
}

static void await_low_mark(struct zcache *cache)
{
    WAIT_UNTIL(charge(cache) <= percent(cache, cache->opt.low_percent) + 64 * KIB, 20000);
    WAIT_UNTIL(atomic_load(&cache->bell.sleeping) == 1, 20000);
}

/* ---- without tenants ---------------------------------------------------------------------------- */

static void a_cache_without_tenants_is_shrunk(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    put_past_the_mark(root);
    await_low_mark(cache);
    const struct zcache_stats stats = stats_of(root);
    assert_true(evictions_of(&stats) > 0);
    close_cache(cache);
    mem_store_free(store);
}

/* Each round looks at the one tenant there is, wherever the last one stopped. */
static void every_round_looks_at_the_only_tenant(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    for (int i = 0; i < 3; i++) {
        put_past_the_mark(root);
        await_low_mark(cache);
    }
    const struct zcache_stats stats = stats_of(root);
    assert_true(stats.cache.shrinker_rounds > 3);
    assert_int_equal(stats.count.shrinker_freed + stats.count.shrinker_skips +
                         stats.count.shrinker_failures,
                     stats.cache.shrinker_rounds);
    close_cache(cache);
}

static struct zcache_key oldest_of(struct zcache_tenant *t)
{
    struct zc_list *first =
        zc_list_next(&t->lru[zc_entry_node(entry_of(t, key_of(1, 99)))]->list[0]);

    return ZC_CONTAINER_OF(first, struct zc_entry, lru)->key;
}

/*
 * The last sweep stopped at the only tenant: there is none after it, so the next begins with it again.
 * If it ended there, the forced pass would follow, and take what has its second chance.
 */
static void a_sweep_goes_on_at_the_beginning(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_shrink_result result;

    (void)state;
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(put_page(root, key_of(1, i), 1, FILL_RANDOM, ZCACHE_CLEAN), 0);
    }
    for (int i = 0; i < 5; i++) {
        const struct zcache_key oldest = oldest_of(root);

        reference(root, oldest);
        assert_int_equal(zcache_shrink(root, 1, 10000, &result), 0);
        assert_true(result.evicted_pages > 0);
        assert_true(is_cached(root, oldest));
    }
    close_cache(cache);
}

/* ---- tenants that are going --------------------------------------------------------------------- */

static void close_it(void *arg)
{
    REQUIRE_EQUAL(zcache_tenant_close(arg, ZCACHE_CLOSE_DISCARD), 0);
}

/* A closed tenant, one whose close is under way, and an empty one stand before the one with pages. */
static void tenants_that_are_going_are_passed_by(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *closed = open_tenant(root, "closed", 4 * MIB);
    struct zcache_tenant *closing = open_tenant(root, "closing", 4 * MIB);
    struct zcache_tenant *empty = open_tenant(root, "empty", 4 * MIB);
    struct zcache_tenant *full = open_tenant(root, "full", 16 * MIB);
    struct zcache_shrink_result result;
    struct script_thread closer;

    (void)state;
    script_begin();
    assert_int_equal(put_page(closing, key_of(1, 1), 1, FILL_TEXT, 0), 0);
    assert_int_equal(zcache_tenant_close(closed, ZCACHE_CLOSE_FLUSH), 0);
    script_hold_any("close.waited");
    script_start(&closer, close_it, closing);
    script_await("close.waited");
    put_past_the_mark(full);
    await_low_mark(cache);
    assert_int_equal(zcache_shrink(root, 1 * MIB, 10000, &result), 0);
    assert_int_equal(atomic_load(&closing->n_pages), 1);
    assert_int_equal(stats_of(empty).gauge.pages, 0);
    script_release("close.waited");
    script_join(&closer);
    script_end();
    close_cache(cache);
}

/*
 * The shrinker is in the middle of a tenant that somebody closes.  The close waits for this visit, and for
 * no other: where the shrinker goes on is a place in the order, not a tenant that it keeps.
 */
static void the_shrinker_keeps_no_tenant(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN ",max_stall_ms=3000");
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *first = open_tenant(root, "first", 16 * MIB);
    struct zcache_tenant *second = open_tenant(root, "second", 16 * MIB);
    struct script_thread closer;

    (void)state;
    script_begin();
    script_hold_any("reclaim.isolated");
    put_past_the_mark(first);
    script_await("reclaim.isolated"); /* the shrinker, in the only tenant with pages */
    script_start(&closer, close_it, first);
    script_await_reached("tenant.found_busy", 1);
    script_release("reclaim.isolated");
    script_join(&closer);
    put_past_the_mark(second);
    await_low_mark(cache);
    script_end();
    close_cache(cache);
}

/* ---- tenants that have nothing to give ---------------------------------------------------------- */

static void open_many(struct zcache_tenant *root, bool with_pages)
{
    struct zcache_tenant_options options = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_tenant *t;
    char name[16];

    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(name, sizeof(name), "t%u", i);
        options.name = name;
        options.limits.writeback = with_pages ? ZCACHE_WRITEBACK_OFF : ZCACHE_WRITEBACK_ON;
        options.limits.weight = 1;
        REQUIRE_EQUAL(zcache_tenant_open(root, &options, &t), 0);
        for (uint64_t k = 0; with_pages && k < 4; k++) {
            REQUIRE_EQUAL(put_page(t, key_of(1, k), 1, FILL_RANDOM, ZCACHE_DIRTY), 0);
        }
    }
}

/* Puts three times what fits, none of which may be refused. */
static void overfill(struct zcache_tenant *t)
{
    const uint64_t n = 3 * zc_quota_limit(&t->cache->account) / PAGE;

    for (uint64_t i = 0; i < n; i++) {
        REQUIRE_EQUAL(put_page(t, key_of(1, i), 1, FILL_RANDOM, ZCACHE_CLEAN), 0);
    }
}

static void empty_tenants_are_no_failures(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    open_many(root, false);
    overfill(open_tenant(root, "full", 16 * MIB));
    close_cache(cache);
}

static void tenants_whose_pages_may_not_be_written_are_no_failures(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(32 * MIB, store, PLAIN);
    struct zcache_tenant_options options = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *full;

    (void)state;
    open_many(root, true);
    options.name = "full";
    options.limits.weight = 10000; /* so that the others are above their share, and asked first */
    assert_int_equal(zcache_tenant_open(root, &options, &full), 0);
    overfill(full);
    close_cache(cache);
    mem_store_free(store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cache_without_tenants_is_shrunk),
        cmocka_unit_test(every_round_looks_at_the_only_tenant),
        cmocka_unit_test(a_sweep_goes_on_at_the_beginning),
        cmocka_unit_test(tenants_that_are_going_are_passed_by),
        cmocka_unit_test(the_shrinker_keeps_no_tenant),
        cmocka_unit_test(empty_tenants_are_no_failures),
        cmocka_unit_test(tenants_whose_pages_may_not_be_written_are_no_failures),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
