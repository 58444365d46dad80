/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An insert that is refused removes nothing: the page that somebody else has put meanwhile is no older
 * version of its own.
 */
#include <errno.h>

#include "mem_store.h"
#include "script.h"

#define PLAIN "fast=none,dense=none"

struct insert {
    struct zcache_tenant *tenant;
    struct zcache_key key;
    int rc;
};

static void insert(void *arg)
{
    struct insert *me = arg;

    me->rc = put_page(me->tenant, me->key, 1, FILL_RANDOM, ZCACHE_IF_ABSENT);
}

/* A tenant that nothing can leave, full; and an insert that was refused, and has not returned yet. */
static void a_refused_insert_leaves_the_page_of_another(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, PLAIN);
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "tenant", 2 * MIB);
    struct insert refused = {.tenant = tenant, .key = key_of(2, 1)};
    struct script_thread thread;
    uint64_t n = 0;

    (void)state;
    script_begin();
    while (put_page(tenant, key_of(1, n), 1, FILL_RANDOM, ZCACHE_DIRTY) == 0) {
        n++;
    }
    script_hold("put.refused", refused.key);
    script_start(&thread, insert, &refused);
    script_await("put.refused");
    assert_int_equal(zcache_delete(tenant, key_of(1, 0), 0), 0);
    assert_int_equal(zcache_delete(tenant, key_of(1, 1), 0), 0);
    assert_int_equal(put_page(tenant, refused.key, 7, FILL_TEXT, ZCACHE_DIRTY), 0);
    script_release("put.refused");
    script_join(&thread);
    assert_int_equal(refused.rc, ZCACHE_EXISTS);
    assert_int_equal(get_page(tenant, refused.key, 0), 7);
    assert_int_equal(stats_of(tenant).count.dropped, 0);
    script_end();
    drop_cache(cache);
}

static void get_it(void *arg)
{
    struct insert *me = arg;

    me->rc = (int)get_page(me->tenant, me->key, 0);
}

/* What a refused insert does undo: a load of the page, whose caller may now write it himself. */
static void a_refused_insert_cancels_a_load(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN ",page_max=4096");
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "tenant", 2 * MIB);
    struct insert load = {.tenant = tenant, .key = key_of(2, 1)};
    const uint64_t id = zcache_tenant_id(tenant);
    struct script_thread thread;

    (void)state;
    script_begin();
    mem_store_put_page(store, id, load.key, 1, FILL_RANDOM);
    mem_store_hold(store, ZCACHE_IO_READ);
    script_start(&thread, get_it, &load);
    WAIT_UNTIL(mem_store_held(store, ZCACHE_IO_READ) == 1, 10000);
    assert_int_equal(set_limit(tenant, 0, 0), 0);
    assert_int_equal(put_page(tenant, load.key, 2, FILL_RANDOM, ZCACHE_IF_ABSENT), -EDQUOT);
    mem_store_put_page(store, id, load.key, 2, FILL_RANDOM); /* by the caller himself */
    assert_int_equal(set_limit(tenant, 2 * MIB, 0), 0);
    mem_store_open(store, ZCACHE_IO_READ);
    script_join(&thread);
    assert_in_range(load.rc, 1, 2); /* it began before */
    assert_int_equal(get_page(tenant, load.key, 0), 2);
    script_end();
    close_cache(cache);
    mem_store_free(store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refused_insert_leaves_the_page_of_another),
        cmocka_unit_test(a_refused_insert_cancels_a_load),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("insert", tests, NULL, NULL);
}
