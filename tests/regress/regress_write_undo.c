/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What broke where other systems give up a write that they had begun: the way back forgot to unlock and
 * to let go of the page, which could never be written, removed or waited for again.
 */
#include <errno.h>

#include "script.h"
#include "unit/inside.h"
#include "writeback.h"

#define KEY    key_of(1, 1)

#define PACKED "raw_percent=0,start_percent=100" /* a put compresses: a write needs a copy */

struct remover {
    struct zcache_tenant *tenant;
    int rc;
};

static void delete_it(void *arg)
{
    struct remover *remover = arg;

    remover->rc = zcache_delete(remover->tenant, KEY, 0);
}

/* It may find the page gone already, or still there without memory for its copy. */
static void flush_it(void *arg)
{
    int rc = zcache_flush(arg, 0);

    REQUIRE(rc == 0 || rc == -ENOMEM);
}

static bool is_waited_for(struct zcache_tenant *t)
{
    return zc_entry_has(entry_of(t, KEY), ZC_F_WAITED);
}

/*
 * A page is claimed, a delete waits for the write, and then there is no memory for the copy: the claim is
 * taken back, the delete goes on at once, and nothing of the page is left.
 */
static void a_claim_that_is_taken_back_wakes_those_who_wait(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PACKED ",max_stall_ms=60000");
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", 4 * MIB);
    struct remover remover = {.tenant = t};
    struct script_thread flusher;
    struct script_thread deleter;

    (void)state;
    script_begin();
    assert_int_equal(put_page(t, KEY, 1, FILL_TEXT, 0), 0);
    script_hold("writeback.claimed", KEY);
    script_start(&flusher, flush_it, t);
    script_await("writeback.claimed");
    script_start(&deleter, delete_it, &remover);
    WAIT_UNTIL(is_waited_for(t), 10000);
    fail_after(1);
    script_release("writeback.claimed");
    WAIT_UNTIL(!script_running(&deleter), 10000); /* not only when its time is up */
    script_join(&deleter);
    script_join(&flusher);
    assert_int_equal(remover.rc, 0);
    assert_int_equal(atomic_load(&store->pages[ZCACHE_IO_WRITE]), 0);
    assert_int_equal(stats_of(t).gauge.writing_pages, 0);
    assert_int_equal(settled_charge(t), 0);
    script_end();
    close_cache(cache);
    mem_store_free(store);
}

/* The same with nobody waiting: the page is on its list again, and is written when there is memory. */
static void a_claim_that_is_taken_back_can_be_made_again(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PACKED);
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", 4 * MIB);
    struct zcache_shrink_result result;

    (void)state;
    assert_int_equal(put_page(t, KEY, 1, FILL_TEXT, 0), 0);
    assert_int_equal(put_page(t, key_of(2, 0), 1, FILL_TEXT, 0), 0);
    assert_int_equal(zcache_flush(t, 0), 0); /* the thread has its contexts now */
    assert_int_equal(put_page(t, KEY, 2, FILL_TEXT, 0), 0);
    drain(cache);
    for (int i = 0; i < 3; i++) {
        struct zc_writes writes = {0};
        struct zc_entry *e = isolate(t, KEY);

        fail_after(1);
        zc_writeback_pages(t, thread_of(cache), &e, 1, false, 0, &writes);
        fail_after(0);
        assert_int_equal(writes.busy, 1);
        assert_int_equal(atomic_load(&entry_of(t, KEY)->refs), 1); /* the index's */
        assert_int_equal(stats_of(t).gauge.writing_pages, 0);
        verify_cache(cache);
    }
    assert_int_equal(zcache_shrink(t, 1 * MIB, 10000, &result), -EAGAIN);
    assert_int_equal(mem_store_version(store, zcache_tenant_id(t), KEY), 2);
    assert_int_equal(settled_charge(t), 0);
    close_cache(cache);
    mem_store_free(store);
}

/* Bytes that turn out to be damaged are not written; the copy's memory comes back, every time. */
static void a_claim_of_damaged_bytes_gives_its_copy_back(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PACKED);
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", 4 * MIB);

    (void)state;
    assert_int_equal(put_page(t, KEY, 1, FILL_TEXT, 0), 0);
    damage(t, KEY);
    for (int i = 0; i < 3; i++) {
        clear_flags(t, KEY, ZC_F_CORRUPT);
        assert_int_equal(zcache_flush(t, 0), -EBADMSG);
        assert_int_equal(atomic_load(&store->pages[ZCACHE_IO_WRITE]), 0);
        assert_int_equal(stats_of(t).gauge.writing_pages, 0);
        assert_int_equal(atomic_load(&entry_of(t, KEY)->refs), 1);
    }
    damage(t, KEY);
    clear_flags(t, KEY, ZC_F_CORRUPT);
    assert_int_equal(zcache_flush(t, 0), 0);
    assert_int_equal(mem_store_version(store, zcache_tenant_id(t), KEY), 1);
    close_cache(cache); /* stops if a part of the budget for copies is missing */
    mem_store_free(store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_claim_that_is_taken_back_wakes_those_who_wait),
        cmocka_unit_test(a_claim_that_is_taken_back_can_be_made_again),
        cmocka_unit_test(a_claim_of_damaged_bytes_gives_its_copy_back),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
