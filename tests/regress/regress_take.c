/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What broke in takes of other systems.  A load that removes the page drops the only copy before the
 * consumer has it, or after the consumer has refused it; and a page that was put after the bytes were
 * delivered is removed in place of the one that was delivered.
 */
#include <errno.h>

#include "script.h"
#include "unit/inside.h"

#define KEY key_of(1, 1)

struct take {
    struct zcache_tenant *tenant;
    int rc;
    uint64_t version;
};

static void take_it(void *arg)
{
    unsigned char page[PAGE];
    struct take *take = arg;
    size_t len = 0;

    take->rc = zcache_get(take->tenant, KEY, page, sizeof(page), &len, ZCACHE_TAKE);
    if (take->rc >= 0 && take->rc != ZCACHE_MISS) {
        REQUIRE(page_whole(page, len, KEY, &take->version));
    }
}

static void flush_it(void *arg)
{
    REQUIRE_EQUAL(zcache_flush(arg, 0), -EIO);
}

static void a_version_put_after_the_delivery_is_not_removed_for_it(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct take take = {.tenant = root};
    struct script_thread taker;

    (void)state;
    script_begin();
    assert_int_equal(put_page(root, KEY, 1, FILL_TEXT, ZCACHE_DIRTY), 0);
    script_hold("get.delivered", KEY);
    script_start(&taker, take_it, &take);
    script_await("get.delivered");
    assert_int_equal(put_page(root, KEY, 2, FILL_TEXT, ZCACHE_DIRTY), 0);
    script_release("get.delivered");
    script_join(&taker);
    assert_int_equal(take.rc, ZCACHE_UNWRITTEN);
    assert_int_equal(take.version, 2); /* the one that left */
    assert_false(is_cached(root, KEY));
    script_end();
    close_cache(cache);
}

/*
 * The page is deleted after its bytes were delivered, and put again: a new record that counts its
 * versions from the start, with its payload at the address of the old one, which was free.
 */
static void a_page_put_anew_at_the_same_address_is_another_page(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct take take = {.tenant = root};
    struct script_thread taker;
    uint64_t version = 1;

    (void)state;
    script_begin();
    assert_int_equal(put_page(root, KEY, version, FILL_TEXT, ZCACHE_DIRTY), 0);
    const uint64_t word = word_of(root, KEY);
    script_hold("get.delivered", KEY);
    script_start(&taker, take_it, &take);
    script_await("get.delivered");
    do {
        REQUIRE(version < 100);
        assert_int_equal(zcache_delete(root, KEY, 0), 0);
        drain(cache);
        assert_int_equal(put_page(root, KEY, ++version, FILL_TEXT, ZCACHE_DIRTY), 0);
    } while (word_of(root, KEY) != word);
    script_release("get.delivered");
    script_join(&taker);
    assert_int_equal(take.rc, ZCACHE_UNWRITTEN);
    assert_int_equal(take.version, version);
    assert_false(is_cached(root, KEY));
    script_end();
    close_cache(cache);
}

static bool is_waited_for(struct zcache_tenant *t)
{
    return zc_entry_has(entry_of(t, KEY), ZC_F_WAITED);
}

/* The page is being written: whether the taker owns unwritten data is known when the write is over. */
static void a_take_during_a_write_learns_how_it_ended(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct take take = {.tenant = root};
    struct script_thread flusher;
    struct script_thread taker;

    (void)state;
    assert_int_equal(put_page(root, KEY, 1, FILL_TEXT, 0), 0);
    mem_store_hold(store, ZCACHE_IO_WRITE);
    atomic_store(&store->fail_batches[ZCACHE_IO_WRITE], 1);
    script_start(&flusher, flush_it, root);
    WAIT_UNTIL(mem_store_held(store, ZCACHE_IO_WRITE) == 1, 10000);
    script_start(&taker, take_it, &take);
    WAIT_UNTIL(!script_running(&taker) || is_waited_for(root), 10000);
    assert_true(script_running(&taker));
    mem_store_open(store, ZCACHE_IO_WRITE);
    script_join(&taker);
    script_join(&flusher);
    assert_int_equal(take.rc, ZCACHE_UNWRITTEN);
    assert_int_equal(take.version, 1);
    assert_false(is_cached(root, KEY));
    close_cache(cache);
    mem_store_free(store);
}

/* What the caller cannot take he has not taken. */
static void a_page_that_could_not_be_delivered_stays(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    unsigned char page[PAGE];

    (void)state;
    assert_int_equal(put_page(root, KEY, 1, FILL_TEXT, ZCACHE_DIRTY), 0);
    assert_int_equal(zcache_get(root, KEY, page, PAGE - 1, NULL, ZCACHE_TAKE), -ENOBUFS);
    assert_int_equal(get_page(root, KEY, 0), 1);
    damage(root, KEY);
    assert_int_equal(zcache_get(root, KEY, page, PAGE, NULL, ZCACHE_TAKE), -EBADMSG);
    damage(root, KEY);
    assert_int_equal(stats_of(root).gauge.dirty_pages, 1);
    assert_int_equal(get_page(root, KEY, ZCACHE_TAKE), 1);
    assert_false(is_cached(root, KEY));
    close_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_version_put_after_the_delivery_is_not_removed_for_it),
        cmocka_unit_test(a_page_put_anew_at_the_same_address_is_another_page),
        cmocka_unit_test(a_take_during_a_write_learns_how_it_ended),
        cmocka_unit_test(a_page_that_could_not_be_delivered_stays),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
