/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What broke in whose pages go, and at what price: a full tenant cost others their pages, one that may
 * have nothing made room all the time, a burst of puts took what was in use, and a shrinker with
 * nothing to do was expensive or never ended.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "reclaim.h"
#include "script.h"
#include "unit/inside.h"

#define KEY(page) key_of(1, page)

static void put_pages(struct zcache_tenant *t, uint64_t first, uint64_t n, unsigned flags)
{
    for (uint64_t i = first; i < first + n; i++) {
        REQUIRE_EQUAL(put_page(t, KEY(i), 1, FILL_TEXT, flags), 0);
    }
}

static uint64_t cached_of(struct zcache_tenant *t, uint64_t first, uint64_t n)
{
    uint64_t found = 0;

    for (uint64_t i = first; i < first + n; i++) {
        found += is_cached(t, KEY(i)) ? 1 : 0;
    }
    return found;
}

/* ---------------------------------------------------------------------------------------------- */
/* Whose pages. */

/*
 * A child finds its parent's limit used up by its sibling.  Room is made there, however much easier it
 * would be elsewhere: the stranger's pages are the oldest, and come first in every order.
 */
static void a_limit_is_made_room_under_and_nowhere_else(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN ",start_percent=100,policy=lru");
    struct zcache_tenant *stranger = open_tenant(zcache_root(cache), "stranger", ZCACHE_UNLIMITED);
    struct zcache_tenant *parent = open_tenant(zcache_root(cache), "parent", 512 * KIB);
    struct zcache_tenant *sibling = open_tenant(parent, "sibling", ZCACHE_UNLIMITED);
    struct zcache_tenant *child = open_tenant(parent, "child", ZCACHE_UNLIMITED);
    uint64_t n = 1000;

    (void)state;
    put_pages(stranger, 0, 64, ZCACHE_CLEAN);
    put_pages(sibling, 0, n, ZCACHE_CLEAN); /* as many as there is room for are left */
    while (charge_of(parent) < 512 * KIB - 4 * KIB - PAGE) { /* the slack, and no whole page */
        put_pages(sibling, n++, 1, ZCACHE_CLEAN);
    }
    const uint64_t left = stats_of(sibling).gauge.pages;
    assert_true(left > 64 && left < 200);
    assert_true(is_cached(sibling, KEY(n - left))); /* its oldest */
    put_pages(child, 0, 1, ZCACHE_CLEAN);
    assert_false(is_cached(sibling, KEY(n - left)));
    assert_true(is_cached(sibling, KEY(n - 1)));
    assert_true(is_cached(child, KEY(0)));
    for (uint64_t i = 1; i < 32; i++) {
        put_pages(child, i, 1, ZCACHE_CLEAN);
        assert_true(charge_of(parent) <= 512 * KIB);
    }
    assert_int_equal(cached_of(stranger, 0, 64), 64);
    assert_int_equal(stats_of(zcache_root(cache)).count.foreign_evictions, 0);
    drop_cache(cache);
}

static struct zcache_tenant *zero(struct zcache *cache, uint64_t limit)
{
    return open_tenant(zcache_root(cache), "zero", limit);
}

/* Nothing makes room for a page where there may be none. */
static void a_limit_of_nothing_costs_nobody_anything(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN ",start_percent=100");
    struct zcache_tenant *other = open_tenant(zcache_root(cache), "other", ZCACHE_UNLIMITED);
    struct zcache_tenant *t = zero(cache, 0);

    (void)state;
    put_pages(other, 0, 64, 0);
    for (uint64_t i = 0; i < 32; i++) {
        assert_int_equal(put_page(t, KEY(i), 1, FILL_TEXT, 0), -EDQUOT);
    }
    const struct zcache_stats stats = stats_of(zcache_root(cache));
    assert_int_equal(stats.count.put_quota_rejects, 32);
    assert_int_equal(stats.count.sync_shrinks, 0);
    assert_int_equal(stats.count.quota_hits, 0);
    assert_int_equal(evictions_of(&stats), 0);
    assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_WRITE]), 0);
    assert_int_equal(cached_of(other, 0, 64), 64);
    drop_cache(cache);
    mem_store_free(store);
}

static void put_in_vain(void *arg)
{
    REQUIRE_EQUAL(put_page(arg, KEY(1000), 1, FILL_TEXT, 0), -EDQUOT);
}

/* Nor where that is decided while room is about to be made. */
static void nor_does_one_that_becomes_nothing(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN ",start_percent=100");
    struct zcache_tenant *t = zero(cache, 64 * KIB);
    struct script_thread putting;

    (void)state;
    put_pages(t, 0, 8, 0);
    script_begin();
    script_hold_any("reclaim.refused");
    const uint64_t taken = use_up(t->account);
    script_start(&putting, put_in_vain, t);
    script_await("reclaim.refused");
    assert_int_equal(set_limit(t, 0, 0), 0);
    script_release("reclaim.refused");
    script_join(&putting);
    script_end();
    assert_int_equal(stats_of(t).count.sync_shrinks, 0);
    give_back(t->account, taken);
    WAIT_UNTIL(zc_quota_charge(t->account) == 0, 20000); /* the shrinker drains it */
    drop_cache(cache);
    mem_store_free(store);
}

/* ---------------------------------------------------------------------------------------------- */
/* Which pages. */

/*
 * A burst of puts goes through a full tenant whose hot pages are in use all the time: what is written
 * and evicted is the burst.  Putting takes no protection from pages that are hit.
 */
static void a_burst_of_puts_leaves_what_is_in_use(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN ",start_percent=100,policy=lru");
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", 300 * KIB);

    (void)state;
    for (uint64_t i = 0; i < 16; i++) {
        assert_int_equal(put_page(t, key_of(2, i), 1, FILL_TEXT, 0), 0);
    }
    for (uint64_t i = 0; i < 400; i++) {
        put_pages(t, i, 1, 0);
        assert_int_equal(get_page(t, key_of(2, i % 16), ZCACHE_NO_LOAD), 1);
    }
    for (uint64_t i = 0; i < 16; i++) {
        assert_true(is_cached(t, key_of(2, i)));
        assert_int_equal(mem_store_version(store, zcache_tenant_id(t), key_of(2, i)), 0);
    }
    const struct zcache_stats stats = stats_of(t);
    assert_true(stats.count.written_pages <= 400 && evictions_of(&stats) <= 400);
    assert_int_equal(stats.count.sync_forced, 0);
    drop_cache(cache);
    mem_store_free(store);
}

/* ---------------------------------------------------------------------------------------------- */
/* The price. */

/*
 * Far from any mark a put does not even look whether there is work for the shrinker: no list is locked
 * for that, and nobody is woken.  Same-filled pages, so that nothing is allocated nor retired.
 */
static void a_shrinker_without_work_costs_puts_nothing(void **state)
{
    static const unsigned char zeros[PAGE];
    struct zcache *cache = open_cache(16 * MIB, NULL, NULL);
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", ZCACHE_UNLIMITED);

    (void)state;
    for (unsigned i = 0; i < 128; i++) { /* the thread's own structures, and a timed call */
        assert_int_equal(zcache_put(t, KEY(0), zeros, PAGE, ZCACHE_CLEAN), 0);
    }
    const uint64_t wakes = stats_of(zcache_root(cache)).cache.shrinker_wakes;
    uint64_t least = UINT64_MAX;
    uint64_t most = 0;
    for (unsigned i = 0; i < 128; i++) {
        const uint64_t before = zc_lock_count();

        assert_int_equal(zcache_put(t, KEY(0), zeros, PAGE, ZCACHE_CLEAN), 0);
        const uint64_t locks = zc_lock_count() - before;
        least = locks < least ? locks : least;
        most = locks > most ? locks : most;
    }
    assert_int_equal(least, 1); /* the shard's */
    assert_int_equal(most, 1);
    assert_int_equal(stats_of(zcache_root(cache)).cache.shrinker_wakes, wakes);
    assert_int_equal(zcache_shrink(t, 0, 1000, NULL), 0);
    assert_int_equal(stats_of(zcache_root(cache)).cache.shrinker_rounds, 0);
    drop_cache(cache);
}

#define TENANTS                                                                                    \
    120u /* more than three passes may try: the one that follows a vain one asks again */

/* A store that fails, and more tenants than a pass tries in vain. */
static void a_pass_gives_up_after_so_many_failures(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(
        16 * MIB, store, PLAIN ",start_percent=100,low_percent=9,background_percent=10");
    struct zcache_stats stats;
    unsigned writes;

    (void)state;
    atomic_store(&store->fail_batches[ZCACHE_IO_WRITE], INT_MAX);
    for (unsigned i = 0; i < TENANTS; i++) {
        char name[16];

        (void)snprintf(name, sizeof(name), "t%u", i);
        put_pages(open_tenant(zcache_root(cache), name, ZCACHE_UNLIMITED), 0, 10, ZCACHE_DIRTY);
    }
    do {
        writes = atomic_load(&store->batches[ZCACHE_IO_WRITE]);
        stats = stats_of(zcache_root(cache));
        assert_true(writes <= 16 * stats.cache.shrinker_rounds);
        assert_int_equal(evictions_of(&stats), 0);
        WAIT_UNTIL(stats_of(zcache_root(cache)).cache.shrinker_rounds > stats.cache.shrinker_rounds,
                   20000);
    } while (stats.cache.shrinker_rounds < 12);
    assert_true(writes >= 16);
    drop_cache(cache);
    mem_store_free(store);
}

/* Above the mark, and not one page to look at: a pass goes once around and ends. */
static void a_pass_without_a_candidate_ends(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN ",start_percent=100");
    struct zcache_stats stats;

    (void)state;
    (void)open_tenant(zcache_root(cache), "a", ZCACHE_UNLIMITED);
    (void)open_tenant(zcache_root(cache), "b", ZCACHE_UNLIMITED);
    const uint64_t taken = use_up(&cache->account);
    zc_bell_ring(cache, ZC_BELL_PRESSURE);
    WAIT_UNTIL(atomic_load(&cache->bell.rounds) >= 4, 10000);
    WAIT_UNTIL(atomic_load(&cache->bell.sleeping) == 1, 10000);
    give_back(&cache->account, taken);
    stats = stats_of(zcache_root(cache));
    assert_int_equal(stats.count.shrinker_failures, 0);
    assert_true(stats.count.shrinker_skips >= 4);
    drop_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_limit_is_made_room_under_and_nowhere_else),
        cmocka_unit_test(a_limit_of_nothing_costs_nobody_anything),
        cmocka_unit_test(nor_does_one_that_becomes_nothing),
        cmocka_unit_test(a_burst_of_puts_leaves_what_is_in_use),
        cmocka_unit_test(a_shrinker_without_work_costs_puts_nothing),
        cmocka_unit_test(a_pass_gives_up_after_so_many_failures),
        cmocka_unit_test(a_pass_without_a_candidate_ends),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
