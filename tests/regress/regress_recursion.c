/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What broke where other systems reclaim from within I/O: writing a page back needs memory, getting memory
 * starts to write pages back, and so on until the stack or a lock that is held ends it.  The store's
 * callbacks here call the cache, for the page they write and for others.
 */
#include <errno.h>

#include "script.h"
#include "unit/inside.h"

#define KEY      key_of(1, 1)
#define LIMIT    (1 * MIB)
#define STALL_MS 6000u /* nobody may wait a part of it that matters */

/* What the store's callback does, once, and what came of it. */
static struct {
    struct zcache_tenant *tenant;
    void (*act)(struct zcache_tenant *t);
    int put;
    int delete_own;
    int take_own;
    int flush;
    unsigned nested; /* callbacks on the same thread meanwhile */
    uint64_t ns;
} inside;

static int act_inside(struct mem_store *store, const struct zcache_io *io)
{
    void (*act)(struct zcache_tenant * t) = inside.act;

    (void)store;
    if (io->op != ZCACHE_IO_WRITE || act == NULL) {
        return 0;
    }
    inside.act = NULL;
    const unsigned before = mem_store_calls_here;
    const uint64_t begun = now_ns();
    act(inside.tenant);
    inside.ns = now_ns() - begun;
    inside.nested = mem_store_calls_here - before;
    return 0;
}

static struct zcache *open_acting(struct mem_store *store, void (*act)(struct zcache_tenant *t))
{
    store->hook = act_inside;
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN ",max_stall_ms=6000");

    inside.tenant = open_tenant(zcache_root(cache), "t", LIMIT);
    inside.act = act;
    return cache;
}

static bool it_waited(void)
{
    return inside.ns > STALL_MS / 2 * MS_IN_NS;
}

/* Dirty pages up to the limit; what does not fit any more would have to write some back. */
static void fill_up(struct zcache_tenant *t)
{
    const uint64_t room = zc_pool_round(sizeof(struct zc_entry)) + zc_page_bytes(PAGE, 0);

    for (uint64_t i = 0; zc_quota_fits(t->account, room, ZC_QUOTA_PUT); i++) {
        REQUIRE_EQUAL(put_page(t, key_of(1, i), 1, FILL_RANDOM, ZCACHE_DIRTY), 0);
    }
}

static void put_another(struct zcache_tenant *t)
{
    inside.put = put_page(t, key_of(2, 1), 1, FILL_RANDOM, ZCACHE_DIRTY);
}

/*
 * The tenant is full of dirty pages.  A put into it, from within the write of one, neither writes others
 * nor waits for the write it is in.
 */
static void a_put_from_within_a_write_neither_writes_nor_waits(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_acting(store, put_another);

    (void)state;
    fill_up(inside.tenant);
    assert_int_equal(zcache_flush(inside.tenant, 0), 0);
    assert_int_equal(inside.put, -EDQUOT);
    assert_int_equal(inside.nested, 0);
    assert_false(it_waited());
    assert_int_equal(put_page(inside.tenant, key_of(2, 1), 1, FILL_RANDOM, ZCACHE_DIRTY), 0);
    close_cache(cache);
    mem_store_free(store);
}

static void shrink_another(struct zcache_tenant *t)
{
    struct zcache_shrink_result result;

    inside.put = zcache_shrink(t, LIMIT, 10000, &result);
    REQUIRE_EQUAL(result.written_pages, 0);
}

static void a_shrink_from_within_a_write_writes_nothing(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_acting(store, shrink_another);

    (void)state;
    fill_up(inside.tenant);
    assert_int_equal(zcache_flush(inside.tenant, 0), 0);
    assert_int_equal(inside.put, -EAGAIN);
    assert_int_equal(inside.nested, 0);
    assert_false(it_waited());
    close_cache(cache);
    mem_store_free(store);
}

static void use_own_page(struct zcache_tenant *t)
{
    unsigned char page[PAGE];

    REQUIRE_EQUAL(get_page(t, KEY, 0), 1);
    inside.delete_own = zcache_delete(t, KEY, 0);
    inside.take_own = zcache_get(t, KEY, page, sizeof(page), NULL, ZCACHE_TAKE);
    inside.flush = zcache_flush(t, 0);
    inside.put = put_page(t, KEY, 2, FILL_TEXT, ZCACHE_DIRTY);
}

/* What would have to wait for the end of the write that it is called from says so, at once. */
static void a_call_that_would_wait_for_itself_is_refused(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_acting(store, use_own_page);

    (void)state;
    assert_int_equal(put_page(inside.tenant, KEY, 1, FILL_TEXT, 0), 0);
    assert_int_equal(zcache_flush(inside.tenant, 0), 0);
    assert_int_equal(inside.delete_own, -EDEADLK);
    assert_int_equal(inside.take_own, -EDEADLK);
    assert_int_equal(inside.flush, -EDEADLK);
    assert_int_equal(inside.put, 0);
    assert_false(it_waited());
    assert_int_equal(zcache_flush(inside.tenant, 0), 0);
    assert_int_equal(mem_store_version(store, zcache_tenant_id(inside.tenant), KEY), 2);
    close_cache(cache);
    mem_store_free(store);
}

/* Who says that he may not do I/O now gets none done for him. */
static void a_put_without_io_writes_nothing(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_acting(store, NULL);

    (void)state;
    fill_up(inside.tenant);
    assert_int_equal(
        put_page(inside.tenant, key_of(2, 1), 1, FILL_RANDOM, ZCACHE_DIRTY | ZCACHE_NOIO), -EDQUOT);
    assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_WRITE]), 0);
    assert_int_equal(put_page(inside.tenant, key_of(2, 1), 1, FILL_RANDOM, ZCACHE_DIRTY), 0);
    assert_true(atomic_load(&store->batches[ZCACHE_IO_WRITE]) > 0);
    close_cache(cache);
    mem_store_free(store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_put_from_within_a_write_neither_writes_nor_waits),
        cmocka_unit_test(a_shrink_from_within_a_write_writes_nothing),
        cmocka_unit_test(a_call_that_would_wait_for_itself_is_refused),
        cmocka_unit_test(a_put_without_io_writes_nothing),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
