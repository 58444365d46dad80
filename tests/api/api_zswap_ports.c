/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The scenarios with which Linux tests zswap's limits, write-back and isolation, told again for this
 * library: a control group is a tenant, swap is the store, an allocation is a put.
 */
#include "mem_store.h"

#include <errno.h>
#include <string.h>

/* "allocate" @bytes in @tenant. */
static void allocate(struct zcache_tenant *tenant, uint64_t object, uint64_t bytes, enum fill fill)
{
    for (uint64_t i = 0; i < bytes / PAGE; i++) {
        REQUIRE_EQUAL(put_page(tenant, key_of(object, i), 1, fill, 0), 0);
    }
}

static void read_back(struct zcache_tenant *tenant, uint64_t object, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes / PAGE; i++) {
        REQUIRE_EQUAL(get_page(tenant, key_of(object, i), 0), 1);
    }
}

static uint64_t compressed_pages(struct zcache_tenant *tenant)
{
    const struct zcache_stats stats = stats_of(tenant);

    return stats.tier[ZCACHE_TIER_FAST].pages + stats.tier[ZCACHE_TIER_DENSE].pages;
}

static int set_tenant(struct zcache_tenant *tenant, uint64_t limit, enum zcache_writeback mode)
{
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;

    limits.limit_bytes = limit;
    limits.writeback = mode;
    return zcache_tenant_set_limits(tenant, &limits, 0, NULL);
}

/* Usage: pages are compressed once more is put than the limit can hold as it is. */
static void usage(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(64 * MIB, store, NULL);
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "usage", 4 * MIB);

    (void)state;
    assert_int_equal(compressed_pages(tenant), 0);
    allocate(tenant, 1, 8 * MIB, FILL_TEXT);
    assert_true(compressed_pages(tenant) > 0);
    assert_true(stats_of(tenant).tier[ZCACHE_TIER_FAST].demotions > 0);
    assert_true(charge_of(tenant) <= 4 * MIB);
    read_back(tenant, 1, 8 * MIB);
    close_cache(cache);
    mem_store_free(store);
}

/* A limit of zero: nothing is stored, nobody else notices, the caller writes for itself. */
static void nozswap(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(64 * MIB, store, NULL);
    struct zcache_tenant *other = open_tenant(zcache_root(cache), "other", ZCACHE_UNLIMITED);
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "none", 0);

    (void)state;
    allocate(other, 1, 8 * MIB, FILL_TEXT);
    const struct zcache_stats before = stats_of(other);
    for (uint64_t i = 0; i < 2000; i++) {
        assert_int_equal(put_page(tenant, key_of(1, i), 1, FILL_TEXT, 0), -EDQUOT);
        mem_store_put_page(store, zcache_tenant_id(tenant), key_of(1, i), 1, FILL_TEXT);
    }
    const struct zcache_stats stats = stats_of(tenant);
    assert_int_equal(stats.count.put_inserts, 0);
    assert_int_equal(stats.gauge.charge_bytes, 0);
    const struct zcache_stats after = stats_of(other);
    assert_int_equal(after.count.written_pages, before.count.written_pages);
    assert_int_equal(evictions_of(&after), evictions_of(&before));
    assert_int_equal(after.gauge.pages, 8 * MIB / PAGE);
    close_cache(cache);
    mem_store_free(store);
}

/* At least 24 MiB come back from the compressed tiers, unharmed. */
static void zswapin(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, "raw_percent=10");
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "in", 24 * MIB);
    const uint64_t bytes = 32 * MIB;

    (void)state;
    for (uint64_t i = 0; i < bytes / PAGE; i++) {
        assert_int_equal(put_page(tenant, key_of(1, i), 1, FILL_TEXT, ZCACHE_DIRTY), 0);
    }
    assert_int_equal(zcache_shrink(tenant, 64 * MIB, 10000, NULL), -EAGAIN);
    const struct zcache_stats before = stats_of(tenant);
    assert_int_equal(before.gauge.pages, bytes / PAGE);
    read_back(tenant, 1, bytes);
    const struct zcache_stats after = stats_of(tenant);
    const uint64_t loaded = after.count.get_hits_fast - before.count.get_hits_fast +
                            after.count.get_hits_dense - before.count.get_hits_dense;
    assert_true(loaded * PAGE >= 24 * MIB);
    drop_cache(cache);
}

/* Measure what a workload takes, halve that as the limit, and see who writes. */
static void try_writeback(bool enabled, bool by_parent)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(64 * MIB, store, NULL);
    struct zcache_tenant *parent = open_tenant(zcache_root(cache), "parent", ZCACHE_UNLIMITED);
    struct zcache_tenant *child = open_tenant(parent, "child", ZCACHE_UNLIMITED);
    const uint64_t bytes = 8 * MIB;
    uint64_t refused = 0;

    allocate(child, 1, bytes, FILL_HALF);
    (void)!zcache_shrink(child, 0, 0, NULL);
    const uint64_t used = charge_of(child);
    assert_int_equal(zcache_truncate(child, 1, 0), 0);
    assert_int_equal(stats_of(child).count.written_pages, 0);

    const enum zcache_writeback mode = enabled ? ZCACHE_WRITEBACK_ON : ZCACHE_WRITEBACK_OFF;
    if (by_parent) {
        assert_int_equal(set_tenant(parent, ZCACHE_UNLIMITED, mode), 0);
        assert_int_equal(set_tenant(child, used / 4, ZCACHE_WRITEBACK_ON), 0);
    } else {
        assert_int_equal(set_tenant(child, used / 4, mode), 0);
    }
    for (uint64_t i = 0; i < bytes / PAGE; i++) {
        const int rc = put_page(child, key_of(1, i), 2, FILL_HALF, 0);
        assert_true(rc == 0 || rc == -EDQUOT);
        refused += rc != 0;
    }
    const struct zcache_stats stats = stats_of(child);
    if (enabled) {
        assert_int_equal(refused, 0);
        assert_true(stats.count.written_pages > 0);
    } else {
        assert_true(refused > 0);
        assert_int_equal(stats.count.written_pages, 0);
        assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_WRITE]), 0);
        assert_int_equal(zcache_shrink(child, 1 * MIB, 100, NULL), -EAGAIN);
        assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_WRITE]), 0);
        assert_int_equal(evictions_of(&stats), 0);
    }
    close_cache(cache);
    mem_store_free(store);
}

static void writeback_enabled(void **state)
{
    (void)state;
    try_writeback(true, false);
}

static void writeback_disabled(void **state)
{
    (void)state;
    try_writeback(false, false);
}

static void writeback_disabled_by_the_parent(void **state)
{
    (void)state;
    try_writeback(true, true);
    try_writeback(false, true);
}

/* A tenant that meets its limit makes nobody else's pages be written. */
static void no_invasive_shrink(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(64 * MIB, store, NULL);
    struct zcache_tenant *limited = open_tenant(zcache_root(cache), "limited", 2 * MIB);
    struct zcache_tenant *control = open_tenant(zcache_root(cache), "control", ZCACHE_UNLIMITED);

    (void)state;
    allocate(control, 1, 8 * MIB, FILL_RANDOM);
    allocate(limited, 1, 8 * MIB, FILL_RANDOM);
    const struct zcache_stats control_stats = stats_of(control);
    assert_int_equal(control_stats.count.written_pages, 0);
    assert_int_equal(evictions_of(&control_stats), 0);
    assert_int_equal(control_stats.gauge.pages, 8 * MIB / PAGE);
    assert_true(stats_of(limited).count.written_pages > 0);
    assert_int_equal(stats_of(zcache_root(cache)).count.foreign_evictions, 0);
    read_back(limited, 1, 8 * MIB);
    close_cache(cache);
    mem_store_free(store);
}

/* What the background compresses stays on its owner's account. */
static void no_kmem_bypass(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, "raw_percent=5,start_percent=0,dictionary=0");
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *owner = open_tenant(root, "owner", ZCACHE_UNLIMITED);
    struct zcache_tenant *idle = open_tenant(root, "idle", ZCACHE_UNLIMITED);

    (void)state;
    const uint64_t before = charge_of(root);
    allocate(owner, 1, 16 * MIB, FILL_TEXT);
    WAIT_UNTIL(compressed_pages(owner) > 16 * MIB / PAGE / 2, 20000);
    WAIT_UNTIL(stats_of(root).cache.shrinker_sleeping == 1, 20000);
    const struct zcache_stats stats = stats_of(owner);
    uint64_t allocated = 0;
    for (unsigned i = 0; i < ZCACHE_TIERS; i++) {
        allocated += stats.tier[i].allocated_bytes;
    }
    /* Within a quarter of what it has allocated, and of what the cache as a whole grew by. */
    const uint64_t grown = charge_of(root) - before;
    assert_true(stats.gauge.charge_bytes >= allocated);
    assert_true(stats.gauge.charge_bytes <= allocated * 5 / 4);
    assert_true(grown <= stats.gauge.charge_bytes * 5 / 4);
    assert_true(charge_of(idle) <= 64 * KIB);
    close_cache(cache);
}

/* Pages that do not shrink are counted while they live, and no longer. */
static void incompressible(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "noise", ZCACHE_UNLIMITED);

    (void)state;
    for (uint64_t i = 0; i < 500; i++) {
        assert_int_equal(put_page(tenant, key_of(1, i), 1, FILL_RANDOM, ZCACHE_DIRTY), 0);
    }
    assert_int_equal(zcache_shrink(tenant, 64 * MIB, 10000, NULL), -EAGAIN);
    assert_int_equal(stats_of(tenant).gauge.incompressible_pages, 500);
    read_back(tenant, 1, 500 * PAGE);
    for (uint64_t i = 0; i < 250; i++) {
        assert_int_equal(zcache_delete(tenant, key_of(1, i), 0), 0);
    }
    assert_int_equal(stats_of(tenant).gauge.incompressible_pages, 250);
    assert_int_equal(zcache_truncate(tenant, 1, 0), 0);
    assert_int_equal(stats_of(tenant).gauge.incompressible_pages, 0);
    close_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(usage),
        cmocka_unit_test(nozswap),
        cmocka_unit_test(zswapin),
        cmocka_unit_test(writeback_enabled),
        cmocka_unit_test(writeback_disabled),
        cmocka_unit_test(writeback_disabled_by_the_parent),
        cmocka_unit_test(no_invasive_shrink),
        cmocka_unit_test(no_kmem_bypass),
        cmocka_unit_test(incompressible),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
