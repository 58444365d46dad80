/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a caller says about its pages: those that it can spare leave first, whatever their past, and no
 * longer once they are wanted, used or put again; nothing else about them changes.
 */
#include "mem_store.h"

#include <errno.h>
#include <pthread.h>

#define PLAIN "fast=none,dense=none"
#define PAGES UINT64_C(400)

static const char *const policies[] = {PLAIN, PLAIN ",policy=lru"};

static struct zcache *filled_cache(const char *options)
{
    struct zcache *cache = open_cache(4 * MIB, NULL, options);

    /* The first ones are the oldest and, as the others, in use. */
    for (uint64_t i = 0; i < PAGES; i++) {
        assert_int_equal(put_page(zcache_root(cache), key_of(1, i), 1, FILL_RANDOM, ZCACHE_CLEAN),
                         0);
    }
    for (uint64_t i = 0; i < 3 * PAGES; i++) {
        assert_int_equal(get_page(zcache_root(cache), key_of(1, i % PAGES), 0), 1);
    }
    return cache;
}

static bool is_odd(uint64_t i)
{
    return i % 2 == 1;
}

static void advise_all(struct zcache *cache, enum zcache_advice advice)
{
    for (uint64_t i = 0; i < PAGES; i++) {
        assert_int_equal(zcache_advise(zcache_root(cache), key_of(1, i), advice), 0);
    }
}

/* A quarter of all goes: every odd page is there, of the others as many as that leaves. */
static void expect_even_ones_leave(struct zcache *cache)
{
    const uint64_t before = stats_of(zcache_root(cache)).gauge.pages;
    uint64_t even = 0;

    assert_int_equal(zcache_shrink(zcache_root(cache), PAGES / 4 * PAGE, 10000, NULL), 0);
    for (uint64_t i = 0; i < PAGES; i++) {
        const bool there = is_cached(zcache_root(cache), key_of(1, i));

        assert_true(there || !is_odd(i));
        even += there && !is_odd(i) ? 1 : 0;
    }
    assert_int_equal(before, PAGES);
    assert_in_range(even, PAGES / 8, PAGES / 4 + 8);
    verify_cache(cache);
    close_cache(cache);
}

static void spare_pages_leave_first(void **state)
{
    (void)state;
    for (size_t p = 0; p < sizeof(policies) / sizeof(*policies); p++) {
        struct zcache *cache = filled_cache(policies[p]);

        for (uint64_t i = 0; i < PAGES; i += 2) {
            assert_int_equal(zcache_advise(zcache_root(cache), key_of(1, i), ZCACHE_SPARE), 0);
        }
        expect_even_ones_leave(cache);
    }
}

static void a_spare_page_that_is_wanted_again_stays(void **state)
{
    (void)state;
    for (size_t p = 0; p < sizeof(policies) / sizeof(*policies); p++) {
        struct zcache *cache = filled_cache(policies[p]);

        advise_all(cache, ZCACHE_SPARE);
        for (uint64_t i = 1; i < PAGES; i += 2) {
            assert_int_equal(zcache_advise(zcache_root(cache), key_of(1, i), ZCACHE_WANTED), 0);
        }
        expect_even_ones_leave(cache);
    }
}

static void a_spare_page_that_is_used_or_put_stays(void **state)
{
    (void)state;
    for (size_t p = 0; p < sizeof(policies) / sizeof(*policies); p++) {
        struct zcache *cache = filled_cache(policies[p]);

        advise_all(cache, ZCACHE_SPARE);
        for (uint64_t i = 1; i < PAGES; i += 4) {
            assert_int_equal(get_page(zcache_root(cache), key_of(1, i), 0), 1);
            assert_int_equal(
                put_page(zcache_root(cache), key_of(1, i + 2), 2, FILL_RANDOM, ZCACHE_CLEAN), 0);
        }
        expect_even_ones_leave(cache);
    }
}

/* A page that is wanted is one that was used: an old one gets its second chance for that. */
static void to_be_wanted_is_a_use(void **state)
{
    struct zcache *cache = open_cache(4 * MIB, NULL, PLAIN ",policy=lru");

    (void)state;
    for (uint64_t i = 0; i < PAGES; i++) {
        assert_int_equal(put_page(zcache_root(cache), key_of(1, i), 1, FILL_RANDOM, ZCACHE_CLEAN),
                         0);
    }
    for (uint64_t i = 1; i < PAGES; i += 2) {
        assert_int_equal(zcache_advise(zcache_root(cache), key_of(1, i), ZCACHE_WANTED), 0);
    }
    expect_even_ones_leave(cache);
}

/* It is written before it leaves, and comes back as it was. */
static void a_spare_page_that_is_dirty_is_not_lost(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(4 * MIB, store, NULL);
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    for (uint64_t i = 0; i < PAGES; i++) {
        assert_int_equal(put_page(root, key_of(1, i), 3, FILL_TEXT, ZCACHE_DIRTY), 0);
    }
    advise_all(cache, ZCACHE_SPARE);
    assert_int_equal(stats_of(root).gauge.dirty_pages, PAGES);
    (void)!zcache_shrink(root, UINT64_MAX, 10000, NULL);
    assert_true(stats_of(root).gauge.pages < PAGES / 2);
    for (uint64_t i = 0; i < PAGES; i++) {
        assert_int_equal(get_page(root, key_of(1, i), 0), 3);
    }
    verify_cache(cache);
    close_cache(cache);
    mem_store_free(store);
}

static void what_is_no_advice(void **state)
{
    struct zcache *cache = filled_cache(PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *other = open_tenant(root, "other", ZCACHE_UNLIMITED);

    (void)state;
    assert_int_equal(zcache_advise(NULL, key_of(1, 1), ZCACHE_WANTED), -EINVAL);
    assert_int_equal(zcache_advise(root, key_of(1, 1), (enum zcache_advice)2), -EINVAL);
    assert_int_equal(zcache_advise(root, key_of(2, 1), ZCACHE_WANTED), ZCACHE_MISS);
    assert_int_equal(zcache_advise(root, key_of(2, 1), ZCACHE_SPARE), ZCACHE_MISS);
    assert_int_equal(zcache_advise(other, key_of(1, 1), ZCACHE_SPARE), ZCACHE_MISS);
    close_cache(cache);
}

/* ---- many at a time ---------------------------------------------------------------------------- */

#define THREADS 4
#define STEPS   (30000u / TEST_SLOWDOWN)

struct crowd {
    struct zcache_tenant *t;
    atomic_uint_fast64_t seed;
};

static void *advise_and_change(void *arg)
{
    struct crowd *crowd = arg;
    struct rng rng = {atomic_fetch_add(&crowd->seed, 1)};

    for (unsigned i = 0; i < STEPS; i++) {
        const struct zcache_key key = key_of(1, rng_below(&rng, 2 * PAGES));
        int rc = 0;

        switch (rng_below(&rng, 8)) {
        case 0:
            rc = put_page(crowd->t, key, 1, FILL_TEXT, ZCACHE_CLEAN);
            break;
        case 1:
            rc = zcache_delete(crowd->t, key, 0);
            break;
        case 2:
            rc = rng_below(&rng, 100) > 0 ? 0 : zcache_shrink(crowd->t, 16 * PAGE, 0, NULL);
            rc = rc == -EAGAIN ? 0 : rc;
            break;
        case 3:
            (void)get_page(crowd->t, key, 0);
            break;
        default:
            rc = zcache_advise(crowd->t, key, rng_below(&rng, 2) ? ZCACHE_SPARE : ZCACHE_WANTED);
            break;
        }
        REQUIRE(rc == 0 || rc == ZCACHE_MISS);
    }
    return NULL;
}

static void advice_meets_everything_else(void **state)
{
    struct zcache *cache = open_cache(2 * MIB, NULL, "raw_percent=10,fast_percent=30");
    struct crowd crowd = {.t = zcache_root(cache), .seed = 1};
    pthread_t thread[THREADS];

    (void)state;
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&thread[i], NULL, advise_and_change, &crowd), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    }
    verify_cache(cache);
    close_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spare_pages_leave_first),
        cmocka_unit_test(a_spare_page_that_is_wanted_again_stays),
        cmocka_unit_test(a_spare_page_that_is_used_or_put_stays),
        cmocka_unit_test(to_be_wanted_is_a_use),
        cmocka_unit_test(a_spare_page_that_is_dirty_is_not_lost),
        cmocka_unit_test(what_is_no_advice),
        cmocka_unit_test(advice_meets_everything_else),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("advice", tests, NULL, NULL);
}
