/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What broke where an object was half built when its memory ran out: what was there already was freed
 * twice or not at all, and the next attempt found what was left of it.
 *
 * The linker leads what a cache is built from through here: requests are counted, one is refused, and
 * what was got is held against what was given back.
 */
#include <errno.h>

#include "pool.h"
#include "script.h"
#include "unit/inside.h"

#define KEY key_of(1, 1)

/* The names are the linker's: NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming) */
void *__real_zc_pool_alloc(struct zc_pool *pool, size_t size);
void *__real_zc_plat_map(size_t size, size_t align, int sys_node);
void __real_zc_plat_unmap(void *ptr, size_t size);
int __real_pthread_key_create(pthread_key_t *key, void (*fn)(void *));
int __real_pthread_create(pthread_t *id,
                          const pthread_attr_t *attr,
                          void *(*fn)(void *),
                          void *arg);
void *__wrap_zc_pool_alloc(struct zc_pool *pool, size_t size);
void *__wrap_zc_plat_map(size_t size, size_t align, int sys_node);
void __wrap_zc_plat_unmap(void *ptr, size_t size);
int __wrap_pthread_key_create(pthread_key_t *key, void (*fn)(void *));
int __wrap_pthread_create(pthread_t *id,
                          const pthread_attr_t *attr,
                          void *(*fn)(void *),
                          void *arg);

static _Atomic int64_t mapped;
static _Thread_local uint64_t left; /* requests of this thread until one is refused; 0: none is */
static _Thread_local bool refused;

static bool refuse(void)
{
    if (left == 0 || --left > 0) {
        return false;
    }
    refused = true;
    return true;
}

void *__wrap_zc_pool_alloc(struct zc_pool *pool, size_t size)
{
    return refuse() ? NULL : __real_zc_pool_alloc(pool, size);
}

void *__wrap_zc_plat_map(size_t size, size_t align, int sys_node)
{
    void *ptr = refuse() ? NULL : __real_zc_plat_map(size, align, sys_node);

    atomic_fetch_add(&mapped, ptr == NULL ? 0 : (int64_t)size);
    return ptr;
}

void __wrap_zc_plat_unmap(void *ptr, size_t size)
{
    atomic_fetch_sub(&mapped, (int64_t)size);
    __real_zc_plat_unmap(ptr, size);
}

int __wrap_pthread_key_create(pthread_key_t *key, void (*fn)(void *))
{
    return refuse() ? EAGAIN : __real_pthread_key_create(key, fn);
}

int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
    return refuse() ? EAGAIN : __real_pthread_create(id, attr, fn, arg);
}

/* NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming) */

/* A cache that works, to show that nothing is left of those that did not come to be. */
static void open_use_and_close(struct mem_store *store)
{
    struct zcache *cache = open_stored(MIB, store, NULL);

    REQUIRE_EQUAL(put_page(zcache_root(cache), KEY, 1, FILL_TEXT, 0), 0);
    REQUIRE_EQUAL(get_page(zcache_root(cache), KEY, 0), 1);
    close_cache(cache);
    REQUIRE_EQUAL(mem_store_version(store, 0, KEY), 1);
}

static void a_cache_that_cannot_be_built_leaves_nothing(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    const struct zcache_store callbacks = mem_store_callbacks(store, MEM_STORE_ALL);
    struct zcache_options opts = ZCACHE_OPTIONS_INIT;
    struct zcache *cache = NULL;
    uint64_t n = 0;
    int rc;

    (void)state;
    opts.capacity_bytes = MIB;
    opts.store = &callbacks;
    const int64_t before = atomic_load(&mapped);
    do {
        left = ++n;
        refused = false;
        rc = zcache_open(&opts, &cache);
        left = 0;
        if (refused) {
            assert_true(rc == -ENOMEM || rc == -EAGAIN);
            assert_null(cache);
            assert_int_equal(atomic_load(&mapped), before);
            assert_int_equal(atomic_load(&store->detached), 0);
        }
    } while (refused);
    assert_int_equal(rc, 0);
    assert_true(n > 20); /* steps there are */
    assert_int_equal(zcache_close(cache, 0), 0);
    assert_int_equal(atomic_load(&store->detached), 1);
    atomic_store(&store->detached, 0);
    open_use_and_close(store);
    assert_int_equal(atomic_load(&mapped), before);
    mem_store_free(store);
}

/* The same of a tenant: its name is free, its store is not attached, its counters are not charged. */
static void nor_does_a_tenant(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    const struct zcache_store callbacks = mem_store_callbacks(store, MEM_STORE_ALL);
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *t = NULL;
    uint64_t n = 0;
    int rc;

    (void)state;
    opts.name = "t";
    opts.store = &callbacks;
    thread_of(cache);
    do {
        left = ++n;
        refused = false;
        rc = zcache_tenant_open(zcache_root(cache), &opts, &t);
        left = 0;
        if (refused) {
            assert_int_equal(rc, -ENOMEM);
            assert_null(t);
            assert_int_equal(stats_of(zcache_root(cache)).gauge.tenants, 1);
            assert_int_equal(atomic_load(&store->detached), 0);
        }
    } while (refused);
    assert_int_equal(rc, 0);
    assert_true(n >= 3);
    for (uint32_t slot = 1; slot < zc_tenants_slots(cache);
         slot++) { /* records, to be used again */
        const struct zcache_tenant *record = zc_tenant_at(cache, slot);

        assert_true(record == t || (record->stat == NULL && record->store == NULL));
    }
    assert_int_equal(put_page(t, KEY, 1, FILL_TEXT, 0), 0);
    assert_int_equal(zcache_tenant_close(t, ZCACHE_CLOSE_FLUSH), 0);
    assert_int_equal(atomic_load(&store->detached), 1);
    close_cache(cache);
    mem_store_free(store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cache_that_cannot_be_built_leaves_nothing),
        cmocka_unit_test(nor_does_a_tenant),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
