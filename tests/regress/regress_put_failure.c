/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What broke in failed stores of other systems.  The older version of the page stays, and its write
 * reaches the backing store after the caller has written the newer one there himself.  Charges are
 * given back that were never made, or twice.  A clean-up that is shared frees what was published.
 */
#include <errno.h>

#include "script.h"
#include "unit/inside.h"

#define KEY key_of(1, 1)

struct put {
    struct zcache_tenant *tenant;
    uint64_t version;
    unsigned flags;
    int rc;
};

static void put_it(void *arg)
{
    struct put *put = arg;

    put->rc = put_page(put->tenant, KEY, put->version, FILL_TEXT, put->flags);
}

static void flush_it(void *arg)
{
    REQUIRE_EQUAL(zcache_flush(arg, 0), 0);
}

static bool is_waited_for(struct zcache_tenant *t)
{
    const struct zc_entry *e = entry_of(t, KEY);

    return e != NULL && zc_entry_has(e, ZC_F_WAITED);
}

/* ---- the older version ------------------------------------------------------------------------- */

/*
 * A put fails while the older version is on its way to the store.  It must not return before that
 * write is over, because its caller writes the page himself then.
 */
static void a_failed_put_waits_for_the_write_of_the_older_version(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN);
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", 4 * MIB);
    const uint64_t id = zcache_tenant_id(t);
    struct put put = {.tenant = t, .version = 2};
    struct script_thread flusher;
    struct script_thread putter;

    (void)state;
    script_begin();
    assert_int_equal(put_page(t, KEY, 1, FILL_TEXT, 0), 0);
    script_hold("writeback.claimed", KEY);
    script_start(&flusher, flush_it, t);
    script_await("writeback.claimed");
    assert_int_equal(set_limit(t, 0, 0), 0);
    script_start(&putter, put_it, &put);
    WAIT_UNTIL(!script_running(&putter) || is_waited_for(t), 10000);
    assert_true(script_running(&putter));
    mem_store_hold(store, ZCACHE_IO_WRITE);
    script_release("writeback.claimed");
    WAIT_UNTIL(mem_store_held(store, ZCACHE_IO_WRITE) == 1, 10000);
    assert_true(script_running(&putter));
    mem_store_open(store, ZCACHE_IO_WRITE);
    script_join(&putter);
    script_join(&flusher);
    assert_int_equal(put.rc, -EDQUOT);
    assert_false(is_cached(t, KEY));
    mem_store_put_page(store, id, KEY, 2, FILL_TEXT); /* nothing of it may be in flight now */
    mem_store_forbid(store, id, KEY, 1);
    assert_int_equal(zcache_flush(t, 0), 0);
    assert_int_equal(mem_store_version(store, id, KEY), 2);
    script_end();
    close_cache(cache);
    mem_store_free(store);
}

static void delete_it(void *arg)
{
    struct put *del = arg;

    del->rc = zcache_delete(del->tenant, KEY, ZCACHE_NOIO);
}

static void flush_in_vain(void *arg)
{
    REQUIRE_EQUAL(zcache_flush(arg, 0), -EIO);
}

/*
 * A delete waits for a write that then fails.  It goes on before the page can be claimed for the next
 * write: with a store that fails every time it would otherwise wait for one write after the other.
 */
static void who_waited_for_a_write_goes_on_before_the_next(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN);
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", 4 * MIB);
    struct put del = {.tenant = t};
    struct script_thread flusher;
    struct script_thread deleter;

    (void)state;
    script_begin();
    assert_int_equal(put_page(t, KEY, 1, FILL_TEXT, 0), 0);
    atomic_store(&store->fail_batches[ZCACHE_IO_WRITE], 1);
    mem_store_hold(store, ZCACHE_IO_WRITE);
    script_start(&flusher, flush_in_vain, t);
    WAIT_UNTIL(mem_store_held(store, ZCACHE_IO_WRITE) == 1, 10000);
    script_start(&deleter, delete_it, &del);
    WAIT_UNTIL(is_waited_for(t), 10000);
    script_hold("remove.looks", KEY); /* a second look would be one without the lock between */
    mem_store_open(store, ZCACHE_IO_WRITE);
    WAIT_UNTIL(!script_running(&deleter), 10000);
    script_release("remove.looks");
    script_join(&deleter);
    script_join(&flusher);
    assert_int_equal(del.rc, 0);
    assert_false(is_cached(t, KEY));
    assert_int_equal(mem_store_version(store, zcache_tenant_id(t), KEY), 0);
    script_end();
    close_cache(cache);
    mem_store_free(store);
}

/* However a put fails, or is passed by: no older version is left to be read or written. */
static void a_failed_put_leaves_no_older_version(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN);
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", 4 * MIB);
    const uint64_t id = zcache_tenant_id(t);

    (void)state;
    assert_int_equal(put_page(t, KEY, 1, FILL_TEXT, 0), 0);
    fail_after(1);
    assert_int_equal(put_page(t, KEY, 2, FILL_TEXT, 0), -ENOMEM);
    assert_int_equal(get_page(t, KEY, ZCACHE_NO_LOAD), 0);
    mem_store_put_page(store, id, KEY, 2, FILL_TEXT);

    assert_int_equal(put_page(t, KEY, 3, FILL_TEXT, 0), 0);
    fail_after(1);
    assert_int_equal(put_page(t, KEY, 4, FILL_TEXT, ZCACHE_BEST_EFFORT), ZCACHE_BYPASSED);
    assert_int_equal(get_page(t, KEY, ZCACHE_NO_LOAD), 0);
    mem_store_put_page(store, id, KEY, 4, FILL_TEXT);

    assert_int_equal(put_page(t, KEY, 5, FILL_TEXT, 0), 0);
    assert_int_equal(set_limit(t, 0, 0), 0); /* no more puts: what is there may still be read */
    assert_int_equal(put_page(t, KEY, 6, FILL_TEXT, 0), -EDQUOT);
    assert_int_equal(get_page(t, KEY, ZCACHE_NO_LOAD), 0);
    mem_store_put_page(store, id, KEY, 6, FILL_TEXT);

    mem_store_forbid(store, id, KEY, 6);
    assert_int_equal(zcache_flush(t, 0), 0);
    assert_int_equal(mem_store_version(store, id, KEY), 6);
    close_cache(cache);
    mem_store_free(store);
}

/* ---- charges ------------------------------------------------------------------------------------ */

#define PAGES UINT64_C(4)

/*
 * Four new pages in one call; the memory for the payload or the record of one of them is refused.  What
 * was published before stays, what comes after is put, and the charge is that of the pages there.
 */
static void a_put_of_many_gives_back_what_it_charged(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", 4 * MIB);
    unsigned char data[PAGES][PAGE];
    struct zcache_page pages[PAGES];

    (void)state;
    assert_int_equal(put_page(t, key_of(2, 0), 1, FILL_TEXT, 0), 0); /* the thread is known now */
    const uint64_t before = settled_charge(t);
    for (uint64_t i = 0; i < PAGES; i++) {
        page_make(data[i], PAGE, key_of(1, i), 1, FILL_TEXT);
        pages[i] = (struct zcache_page){.key = key_of(1, i), .data = data[i], .len = PAGE};
    }
    assert_int_equal(zcache_put_many(t, pages, 1, 0), 0);
    const uint64_t one = settled_charge(t) - before;
    assert_int_equal(zcache_delete(t, pages[0].key, 0), 0);
    assert_int_equal(settled_charge(t), before);
    for (uint64_t n = 1; n <= 2 * PAGES; n++) { /* a payload and a record each */
        fail_after(n);
        assert_int_equal(zcache_put_many(t, pages, PAGES, 0), -ENOMEM);
        for (uint64_t i = 0; i < PAGES; i++) {
            const bool failed = i == (n - 1) / 2;

            assert_int_equal(pages[i].status, failed ? -ENOMEM : 0);
            assert_int_equal(get_page(t, pages[i].key, 0), failed ? 0 : 1);
        }
        assert_int_equal(settled_charge(t), before + (PAGES - 1) * one);
        verify_cache(cache);
        assert_int_equal(zcache_truncate(t, 1, 0), 0);
        assert_int_equal(settled_charge(t), before);
    }
    close_cache(cache);
}

/*
 * The same of a load.  It allocates a buffer, its placeholder, and the page, without which it is
 * delivered and not kept.
 */
static void a_load_gives_back_what_it_charged(void **state)
{
    static const int expected[] = {-ENOMEM, -ENOMEM, 0, 0};
    static const bool kept[] = {false, false, false, true};
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN);
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", 4 * MIB);
    unsigned char page[PAGE];

    (void)state;
    mem_store_put_page(store, zcache_tenant_id(t), KEY, 1, FILL_TEXT);
    assert_int_equal(get_page(t, KEY, 0), 1);
    assert_int_equal(zcache_delete(t, KEY, ZCACHE_NOIO), 0);
    const uint64_t before = settled_charge(t);
    for (unsigned n = 0; n < ZC_ARRAY_SIZE(expected); n++) {
        fail_after(n + 1);
        assert_int_equal(zcache_get(t, KEY, page, sizeof(page), NULL, 0), expected[n]);
        fail_after(0);
        assert_int_equal(is_cached(t, KEY), kept[n]);
        assert_int_equal(zcache_delete(t, KEY, ZCACHE_NOIO), kept[n] ? 0 : ZCACHE_MISS);
        assert_int_equal(settled_charge(t), before);
        verify_cache(cache);
    }
    close_cache(cache);
    mem_store_free(store);
}

/* ---- published and not -------------------------------------------------------------------------- */

/*
 * Two threads put a new key; both have made a record for it, and one is first.  The other publishes into
 * that record and frees its own, once, and nothing of the first one's.
 */
static void a_record_that_came_too_late_is_freed_alone(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", 4 * MIB);
    struct put late = {.tenant = t, .version = 2};
    struct script_thread putter;

    (void)state;
    script_begin();
    assert_int_equal(put_page(t, KEY, 1, FILL_TEXT, 0), 0);
    const uint64_t charge = settled_charge(t);
    const uint64_t records = stats_of(zcache_root(cache)).cache.entry_bytes;
    assert_int_equal(zcache_delete(t, KEY, 0), 0);
    script_hold("put.prepared", KEY);
    script_start(&putter, put_it, &late);
    script_await("put.prepared");
    assert_int_equal(put_page(t, KEY, 1, FILL_TEXT, 0), 0);
    script_release("put.prepared");
    script_join(&putter);
    assert_int_equal(late.rc, 0);
    assert_int_equal(get_page(t, KEY, 0), 2);
    assert_int_equal(settled_charge(t), charge);
    assert_int_equal(stats_of(zcache_root(cache)).cache.entry_bytes, records);
    assert_int_equal(stats_of(t).count.put_replaces, 1);
    script_end();
    close_cache(cache);
}

/* The reverse: the page that was to be replaced is gone, so a record must be made after all. */
static void a_page_that_left_before_it_was_replaced_gets_a_record(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", 4 * MIB);
    struct put late = {.tenant = t, .version = 2};
    struct script_thread putter;

    (void)state;
    script_begin();
    assert_int_equal(put_page(t, KEY, 1, FILL_TEXT, 0), 0);
    const uint64_t charge = settled_charge(t);
    script_hold("put.prepared", KEY);
    script_start(&putter, put_it, &late);
    script_await("put.prepared");
    assert_int_equal(zcache_delete(t, KEY, 0), 0);
    script_release("put.prepared");
    script_join(&putter);
    assert_int_equal(late.rc, 0);
    assert_int_equal(get_page(t, KEY, 0), 2);
    assert_int_equal(settled_charge(t), charge);
    script_end();
    close_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_put_waits_for_the_write_of_the_older_version),
        cmocka_unit_test(who_waited_for_a_write_goes_on_before_the_next),
        cmocka_unit_test(a_failed_put_leaves_no_older_version),
        cmocka_unit_test(a_put_of_many_gives_back_what_it_charged),
        cmocka_unit_test(a_load_gives_back_what_it_charged),
        cmocka_unit_test(a_record_that_came_too_late_is_freed_alone),
        cmocka_unit_test(a_page_that_left_before_it_was_replaced_gets_a_record),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
