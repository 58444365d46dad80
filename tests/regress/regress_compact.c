/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A page that changes while compaction copies it: the copy is of a version that is no more.  Pages that come
 * meanwhile: the room they take was for those that move.
 */
#include "core.h"
#include "mem_store.h"
#include "script.h"

#define PLAIN "fast=none,dense=none"

enum {
    N = 1000
};

static void run_compact(void *arg)
{
    REQUIRE_EQUAL(zcache_compact(arg, 20000, NULL), 0);
}

/* Sparse slabs: every 16th page is left. */
static struct zcache *open_sparse(void)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, PLAIN ",start_percent=100");
    struct zcache_tenant *root = zcache_root(cache);

    atomic_store(&cache->compact_planned, 1); /* the shrinker leaves it to us */
    atomic_store(&cache->compact_ns, UINT64_MAX);
    for (uint64_t i = 0; i < N; i++) {
        assert_int_equal(put_page(root, key_of(1, i), 1, FILL_RANDOM, ZCACHE_CLEAN), 0);
    }
    for (uint64_t i = 0; i < N; i++) {
        if (i % 16 != 5) {
            assert_int_equal(zcache_delete(root, key_of(1, i), 0), 0);
        }
    }
    return cache;
}

static void while_it_is_copied(void (*change)(struct zcache_tenant *, struct zcache_key),
                               uint64_t expected)
{
    struct zcache *cache = open_sparse();
    struct zcache_tenant *root = zcache_root(cache);
    struct script_thread compactor;
    struct zcache_key key = key_of(1, 5);

    script_begin();
    script_hold_any("compact.copied");
    script_start(&compactor, run_compact, cache);
    script_await("compact.copied");
    for (uint64_t i = 5; i < N; i += 16) { /* whichever it is */
        key.page = i;
        change(root, key);
    }
    script_release("compact.copied");
    script_join(&compactor);
    for (uint64_t i = 5; i < N; i += 16) {
        assert_int_equal(get_page(root, key_of(1, i), ZCACHE_PEEK), expected);
    }
    script_end();
    close_cache(cache);
}

static void put_anew(struct zcache_tenant *root, struct zcache_key key)
{
    assert_int_equal(put_page(root, key, 2, FILL_RANDOM, ZCACHE_CLEAN), 0);
}

static void remove_it(struct zcache_tenant *root, struct zcache_key key)
{
    assert_int_equal(zcache_delete(root, key, 0), 0);
}

static void put_during_the_copy_stays(void **state)
{
    (void)state;
    while_it_is_copied(put_anew, 2);
}

static void delete_during_the_copy_stays(void **state)
{
    (void)state;
    while_it_is_copied(remove_it, 0);
}

/*
 * New pages take most of the room that was for the pages to be moved, and the pools may not grow: of these
 * some cannot move, and if they lie all over the place no slab gets empty.
 */
static void what_new_pages_take_does_not_make_it_vain(void **state)
{
    const uint64_t n_new = N / 8;
    struct zcache *cache = open_cache(64 * MIB, NULL, PLAIN ",start_percent=100,keep=0");
    struct zcache_tenant *root = zcache_root(cache);
    struct script_thread compactor;
    uint64_t full;

    (void)state;
    atomic_store(&cache->compact_planned, 1);
    for (uint64_t i = 0; i < N; i++) {
        assert_int_equal(put_page(root, key_of(1, i), 1, FILL_RANDOM, ZCACHE_CLEAN), 0);
    }
    for (uint64_t i = 0; i < N; i++) {
        if (i % 4 != 1) {
            assert_int_equal(zcache_delete(root, key_of(1, i), 0), 0);
        }
    }
    full = atomic_load(&cache->bound.resident);
    script_begin();
    script_hold_any("compact.copied");
    script_start(&compactor, run_compact, cache);
    script_await("compact.copied");
    atomic_store(&cache->bound.max, atomic_load(&cache->bound.resident));
    for (uint64_t i = 0; i < n_new; i++) {
        assert_int_equal(put_page(root, key_of(2, i), 1, FILL_RANDOM, ZCACHE_CLEAN), 0);
    }
    script_release("compact.copied");
    script_join(&compactor);
    script_end();

    assert_true(atomic_load(&cache->bound.resident) < full * 7 / 8);
    zc_core_bound(cache);
    for (uint64_t i = 1; i < N; i += 4) {
        assert_int_equal(get_page(root, key_of(1, i), ZCACHE_PEEK), 1);
    }
    for (uint64_t i = 0; i < n_new; i++) {
        assert_int_equal(get_page(root, key_of(2, i), ZCACHE_PEEK), 1);
    }
    close_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_during_the_copy_stays),
        cmocka_unit_test(delete_during_the_copy_stays),
        cmocka_unit_test(what_new_pages_take_does_not_make_it_vain),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("compact", tests, NULL, NULL);
}
