/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What broke where other systems take pages off their list to work on them.  The reclaimer cannot know
 * whether a page is still alive when it wants to put it back; a walk goes on from a neighbour that was
 * freed while the lock was dropped; two reclaimers have the same page.
 */
#include <errno.h>

#include "script.h"
#include "unit/inside.h"

#define PAGES UINT64_C(8)

static struct zcache_key key_at(uint64_t i)
{
    return key_of(1, i);
}

static void put_pages(struct zcache_tenant *t, uint64_t version, unsigned flags)
{
    for (uint64_t i = 0; i < PAGES; i++) {
        REQUIRE_EQUAL(put_page(t, key_at(i), version, FILL_TEXT, flags), 0);
    }
}

/* All of @t, while the script decides when. */
static void shrink_it(void *arg)
{
    struct zcache_tenant *t = arg;
    struct zcache_shrink_result result;
    const int rc = zcache_shrink(t, 1 * MIB, 60000, &result);

    REQUIRE(rc == 0 || rc == -EAGAIN);
}

/* The memory of the dead pages is used for others, so that a look at it would be a mistake. */
static void use_free_memory(struct zcache_tenant *t)
{
    drain(t->cache);
    for (uint64_t i = 0; i < 4 * PAGES; i++) {
        REQUIRE_EQUAL(put_page(t, key_of(2, i), 1, FILL_RANDOM, ZCACHE_CLEAN), 0);
    }
}

/*
 * All pages are with a reclaimer, and are deleted meanwhile.  It looks at what is left of them, and
 * puts none of them back.
 */
static void a_page_deleted_while_it_is_isolated_does_not_come_back(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", 8 * MIB);
    struct zcache_tenant *other = open_tenant(zcache_root(cache), "other", 8 * MIB);
    struct script_thread shrinker;

    (void)state;
    script_begin();
    put_pages(t, 1, ZCACHE_CLEAN);
    script_hold_any("reclaim.isolated");
    script_start(&shrinker, shrink_it, t);
    script_await("reclaim.isolated");
    assert_int_equal(listed_pages(t), 0); /* it has them all */
    for (uint64_t i = 0; i < PAGES; i++) {
        assert_int_equal(zcache_delete(t, key_at(i), 0), 0);
    }
    use_free_memory(other);
    script_release("reclaim.isolated");
    script_join(&shrinker);
    assert_int_equal(listed_pages(t), 0);
    assert_int_equal(settled_charge(t), 0);
    for (uint64_t i = 0; i < 4 * PAGES; i++) {
        assert_int_equal(get_page(other, key_of(2, i), 0), 1);
    }
    script_end();
    close_cache(cache);
}

/* A put replaces the page where it is: it is on no list until the reclaimer puts it back. */
static void a_page_replaced_while_it_is_isolated_is_listed_once(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", 8 * MIB);
    unsigned char page[PAGE / 2];
    struct script_thread shrinker;

    (void)state;
    script_begin();
    put_pages(t, 1, ZCACHE_CLEAN);
    script_hold_any("reclaim.isolated");
    script_start(&shrinker, shrink_it, t);
    script_await("reclaim.isolated");
    for (uint64_t i = 0; i < PAGES; i++) { /* other sizes: they would move to the newest end */
        page_make(page, sizeof(page), key_at(i), 2, FILL_TEXT);
        assert_int_equal(zcache_put(t, key_at(i), page, sizeof(page), ZCACHE_DIRTY), 0);
    }
    assert_int_equal(listed_pages(t), 0);
    script_release("reclaim.isolated");
    script_join(&shrinker);
    assert_int_equal(listed_pages(t), PAGES);
    assert_int_equal(stats_of(t).gauge.dirty_pages, PAGES); /* nothing was taken for what it was */
    script_end();
    drop_cache(cache);
}

/* A second reclaimer finds nothing where the first has everything, and says so. */
static void two_reclaimers_never_have_the_same_page(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN);
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", 8 * MIB);
    struct zcache_shrink_result result;
    struct script_thread shrinker;

    (void)state;
    script_begin();
    put_pages(t, 1, ZCACHE_DIRTY);
    script_hold_any("reclaim.isolated");
    script_start(&shrinker, shrink_it, t);
    script_await("reclaim.isolated");
    assert_int_equal(zcache_shrink(t, 1 * MIB, 60000, &result), -EAGAIN);
    assert_int_equal(result.evicted_pages, 0);
    assert_int_equal(result.busy_pages, PAGES);
    assert_int_equal(atomic_load(&store->pages[ZCACHE_IO_WRITE]), 0);
    script_release("reclaim.isolated");
    script_join(&shrinker);
    assert_int_equal(atomic_load(&store->pages[ZCACHE_IO_WRITE]), PAGES);
    assert_int_equal(settled_charge(t), 0);
    script_end();
    close_cache(cache);
    mem_store_free(store);
}

/* A page that a reader pinned, or that was put again, after it was isolated stays. */
static void a_page_that_came_to_life_while_it_is_isolated_stays(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", 8 * MIB);
    struct script_thread shrinker;
    struct zcache_pin pin;

    (void)state;
    script_begin();
    put_pages(t, 1, ZCACHE_CLEAN);
    script_hold_any("reclaim.isolated");
    script_start(&shrinker, shrink_it, t);
    script_await("reclaim.isolated");
    assert_int_equal(zcache_pin(t, key_at(0), ZCACHE_PEEK, &pin), 0);
    assert_int_equal(put_page(t, key_at(1), 2, FILL_TEXT, ZCACHE_DIRTY), 0);
    script_release("reclaim.isolated");
    script_join(&shrinker);
    assert_int_equal(get_page(t, key_at(0), 0), 1);
    zcache_unpin(&pin);
    assert_int_equal(get_page(t, key_at(1), 0), 2);
    assert_int_equal(stats_of(t).gauge.pages, 2);
    script_end();
    drop_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_deleted_while_it_is_isolated_does_not_come_back),
        cmocka_unit_test(a_page_replaced_while_it_is_isolated_is_listed_once),
        cmocka_unit_test(two_reclaimers_never_have_the_same_page),
        cmocka_unit_test(a_page_that_came_to_life_while_it_is_isolated_stays),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
