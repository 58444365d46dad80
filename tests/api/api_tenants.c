/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tenants: the tree with its names, ids and limits; what each way of closing does with the pages;
 * and many tenants coming and going beside others that work.
 */
#include "mem_store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- tree, names, ids ----------------------------------------------------------------------------- */

static int try_open(struct zcache_tenant *parent, const char *name, struct zcache_tenant **out)
{
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;

    opts.name = name;
    return zcache_tenant_open(parent, &opts, out);
}

static void names_are_unique_among_siblings(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *a = open_tenant(root, "a", ZCACHE_UNLIMITED);
    struct zcache_tenant *b = open_tenant(root, "b", ZCACHE_UNLIMITED);
    struct zcache_tenant *none = NULL;
    char longest[ZCACHE_TENANT_NAME_MAX + 1];

    (void)state;
    open_tenant(a, "a", ZCACHE_UNLIMITED);
    open_tenant(b, "a", ZCACHE_UNLIMITED);
    assert_int_equal(try_open(root, "a", &none), -EEXIST);
    assert_int_equal(try_open(b, "a", &none), -EEXIST);
    assert_null(none);
    open_tenant(root, "A", ZCACHE_UNLIMITED);
    open_tenant(root, "Az09._-", ZCACHE_UNLIMITED);
    memset(longest, 'n', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    open_tenant(root, longest, ZCACHE_UNLIMITED);
    longest[sizeof(longest) - 2] = 'm';
    struct zcache_tenant *m = open_tenant(root, longest, ZCACHE_UNLIMITED);
    assert_int_equal(stats_of(root).gauge.tenants, 9);
    assert_int_equal(stats_of(a).gauge.tenants, 2);

    /* A name is free again once its owner is gone. */
    assert_int_equal(zcache_tenant_close(m, ZCACHE_CLOSE_FLUSH), 0);
    assert_int_equal(stats_of(root).gauge.tenants, 8);
    open_tenant(root, longest, ZCACHE_UNLIMITED);
    close_cache(cache);
}

/* The name is the caller's to change after the call. */
static void the_name_is_copied(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    char name[] = "first";
    struct zcache_tenant *none = NULL;

    (void)state;
    open_tenant(zcache_root(cache), name, ZCACHE_UNLIMITED);
    name[0] = 'w';
    assert_int_equal(try_open(zcache_root(cache), "first", &none), -EEXIST);
    close_cache(cache);
}

static void the_tree_has_sixteen_levels(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *chain[ZCACHE_TENANT_DEPTH_MAX + 1];
    struct zcache_tenant *none = NULL;

    (void)state;
    chain[0] = zcache_root(cache);
    for (unsigned i = 1; i <= ZCACHE_TENANT_DEPTH_MAX; i++) {
        chain[i] = open_tenant(chain[i - 1], "level", ZCACHE_UNLIMITED);
    }
    assert_int_equal(try_open(chain[ZCACHE_TENANT_DEPTH_MAX], "level", &none), -ENOSPC);
    assert_null(none);

    /* What the lowest has, all above it have. */
    for (uint64_t i = 0; i < 50; i++) {
        assert_int_equal(put_page(chain[ZCACHE_TENANT_DEPTH_MAX], key_of(1, i), 1, FILL_RANDOM, 0),
                         0);
    }
    for (unsigned i = 0; i <= ZCACHE_TENANT_DEPTH_MAX; i++) {
        const struct zcache_stats stats = stats_of(chain[i]);
        assert_int_equal(stats.gauge.pages, 50);
        assert_int_equal(stats.count.put_inserts, 50);
        assert_true(stats.gauge.charge_bytes >= 50 * PAGE);
        assert_int_equal(stats.gauge.tenants, ZCACHE_TENANT_DEPTH_MAX + 1 - i);
        check_identities(&stats);
    }
    for (unsigned i = ZCACHE_TENANT_DEPTH_MAX; i > 1; i--) {
        assert_int_equal(zcache_tenant_close(chain[i - 1], ZCACHE_CLOSE_DISCARD), -EBUSY);
        assert_int_equal(zcache_tenant_close(chain[i], ZCACHE_CLOSE_REPARENT), 0);
        assert_int_equal(stats_of(chain[i - 1]).gauge.pages, 50);
    }
    for (uint64_t i = 0; i < 50; i++) {
        assert_int_equal(get_page(chain[1], key_of(1, i), 0), 1);
    }
    close_cache(cache);
}

static void ids_are_never_used_again(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *found = NULL;
    uint64_t highest = 0;

    (void)state;
    assert_int_equal(zcache_tenant_id(root), 0);
    assert_int_equal(zcache_tenant_find(cache, 0, &found), 0);
    assert_ptr_equal(found, root);
    for (unsigned i = 0; i < 2000 / TEST_SLOWDOWN; i++) {
        struct zcache_tenant *tenant = open_tenant(root, "one", ZCACHE_UNLIMITED);
        const uint64_t id = zcache_tenant_id(tenant);
        assert_true(i == 0 || id > highest);
        highest = id;
        assert_int_equal(zcache_tenant_find(cache, id, &found), 0);
        assert_ptr_equal(found, tenant);
        assert_int_equal(zcache_tenant_close(tenant, ZCACHE_CLOSE_FLUSH), 0);
        assert_int_equal(zcache_tenant_find(cache, id, &found), 0);
        assert_ptr_equal(found, root);
    }
    assert_int_equal(zcache_tenant_find(cache, highest + 1, &found), -ENOENT);
    close_cache(cache);
}

static void a_late_id_leads_to_the_nearest_ancestor(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *a = open_tenant(root, "a", ZCACHE_UNLIMITED);
    struct zcache_tenant *b = open_tenant(a, "b", ZCACHE_UNLIMITED);
    struct zcache_tenant *c = open_tenant(b, "c", ZCACHE_UNLIMITED);
    struct zcache_tenant *found = NULL;
    const uint64_t a_id = zcache_tenant_id(a);
    const uint64_t c_id = zcache_tenant_id(c);
    uint64_t ids[1024];

    (void)state;
    assert_int_equal(zcache_tenant_close(c, ZCACHE_CLOSE_FLUSH), 0);
    assert_int_equal(zcache_tenant_find(cache, c_id, &found), 0);
    assert_ptr_equal(found, b);
    assert_int_equal(zcache_tenant_close(b, ZCACHE_CLOSE_FLUSH), 0);
    assert_int_equal(zcache_tenant_find(cache, c_id, &found), 0);
    assert_ptr_equal(found, a);
    assert_int_equal(zcache_tenant_close(a, ZCACHE_CLOSE_FLUSH), 0);
    assert_int_equal(zcache_tenant_find(cache, c_id, &found), 0);
    assert_ptr_equal(found, root);

    /* The last 256 closes are remembered. */
    struct zcache_tenant *home = open_tenant(root, "home", ZCACHE_UNLIMITED);
    for (unsigned i = 0; i < 256; i++) {
        struct zcache_tenant *tenant = open_tenant(home, "short", ZCACHE_UNLIMITED);
        ids[i] = zcache_tenant_id(tenant);
        assert_int_equal(zcache_tenant_close(tenant, ZCACHE_CLOSE_DISCARD), 0);
    }
    for (unsigned i = 0; i < 256; i++) {
        assert_int_equal(zcache_tenant_find(cache, ids[i], &found), 0);
        assert_ptr_equal(found, home);
    }
    const int rc = zcache_tenant_find(cache, a_id, &found);
    assert_true(rc == -ENOENT || (rc == 0 && found == root));
    close_cache(cache);
}

/* ---- limits ------------------------------------------------------------------------------------- */

/* Twice what fits, then the charge and its peak are within every limit of the chain. */
static void limits_hold_on_every_level(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *top = open_tenant(zcache_root(cache), "top", 8 * MIB);
    struct zcache_tenant *middle = open_tenant(top, "middle", 6 * MIB);
    struct zcache_tenant *leaf[3] = {open_tenant(middle, "leaf0", 2 * MIB),
                                     open_tenant(middle, "leaf1", 5 * MIB),
                                     open_tenant(top, "leaf2", ZCACHE_UNLIMITED)};
    struct zcache_tenant *const all[] = {top, middle, leaf[0], leaf[1], leaf[2]};
    const uint64_t limits[] = {8 * MIB, 6 * MIB, 2 * MIB, 5 * MIB, ZCACHE_UNLIMITED};

    struct rng rng = {.state = 1};

    (void)state;
    for (uint64_t i = 0; i < 4 * MIB / PAGE; i++) {
        assert_int_equal(put_page(leaf[0], key_of(2, i), 1, FILL_RANDOM, 0), 0);
    }
    assert_true(charge_of(leaf[0]) > 3 * MIB / 2); /* no more was evicted than was in the way */
    for (uint64_t i = 0; i < 4 * (8 * MIB) / PAGE; i++) {
        /* In no fixed order: who finds a limit used up gives first. */
        struct zcache_tenant *t = leaf[rng_below(&rng, 3)];
        assert_int_equal(put_page(t, key_of(1, i), 1, FILL_RANDOM, 0), 0);
    }
    for (unsigned i = 0; i < 5; i++) {
        const struct zcache_stats stats = stats_of(all[i]);
        assert_true(stats.gauge.limit_bytes == limits[i]);
        assert_true(stats.gauge.charge_bytes <= limits[i]);
        assert_true(stats.gauge.peak_charge_bytes <= limits[i]);
    }
    assert_true(charge_of(top) >= 6 * MIB);
    assert_int_equal(stats_of(zcache_root(cache)).count.foreign_evictions, 0);
    close_cache(cache);
}

static void limits_change_while_in_use(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "tenant", 2 * MIB);
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;
    struct zcache_shrink_result result = {0};

    (void)state;
    for (uint64_t i = 0; i < 4 * MIB / PAGE; i++) {
        assert_int_equal(put_page(tenant, key_of(1, i), 1, FILL_RANDOM, 0), 0);
    }
    assert_true(charge_of(tenant) <= 2 * MIB);
    assert_int_equal(set_limit(tenant, 6 * MIB, 0), 0);
    for (uint64_t i = 0; i < 8 * MIB / PAGE; i++) {
        assert_int_equal(put_page(tenant, key_of(2, i), 1, FILL_RANDOM, 0), 0);
    }
    assert_true(charge_of(tenant) > 4 * MIB && charge_of(tenant) <= 6 * MIB);

    limits.limit_bytes = 1 * MIB;
    assert_int_equal(zcache_tenant_set_limits(tenant, &limits, 10000, &result), 0);
    assert_int_equal(result.remaining_bytes, 0);
    assert_true(result.freed_bytes > 3 * MIB);
    assert_true(result.evicted_pages > 0);
    assert_true(charge_of(tenant) <= 1 * MIB);
    assert_int_equal(stats_of(tenant).gauge.limit_bytes, 1 * MIB);

    limits.limit_bytes = 2 * MIB;
    limits.reserve_bytes = 1 * MIB;
    for (unsigned weight = 1; weight <= 10000; weight *= 10) {
        limits.weight = weight;
        assert_int_equal(zcache_tenant_set_limits(tenant, &limits, 0, NULL), 0);
    }
    assert_int_equal(stats_of(tenant).gauge.reserve_bytes, 1 * MIB);
    close_cache(cache);
}

static void the_roots_limit_is_the_capacity(void **state)
{
    struct zcache *cache = open_cache(32 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_shrink_result result = {0};
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;

    (void)state;
    assert_int_equal(stats_of(root).gauge.limit_bytes, 32 * MIB);
    assert_int_equal(stats_of(root).cache.capacity_bytes, 32 * MIB);
    for (uint64_t i = 0; i < 24 * MIB / PAGE; i++) {
        assert_int_equal(put_page(root, key_of(1, i), 1, FILL_RANDOM, 0), 0);
    }
    limits.limit_bytes = 16 * MIB;
    assert_int_equal(zcache_tenant_set_limits(root, &limits, 10000, &result), 0);
    assert_int_equal(result.remaining_bytes, 0);
    assert_true(charge_of(root) <= 16 * MIB);
    for (uint64_t i = 0; i < 24 * MIB / PAGE; i++) {
        assert_int_equal(put_page(root, key_of(1, i), 2, FILL_RANDOM, 0), 0);
        if (i % 64 == 0) {
            assert_true(charge_of(root) <= 16 * MIB);
        }
    }
    assert_int_equal(stats_of(root).cache.capacity_bytes, 16 * MIB);
    limits.limit_bytes = 32 * MIB;
    assert_int_equal(zcache_tenant_set_limits(root, &limits, 0, NULL), 0);
    limits.limit_bytes = 32 * MIB + 1;
    assert_int_equal(zcache_tenant_set_limits(root, &limits, 0, NULL), -EINVAL);
    assert_int_equal(stats_of(root).gauge.limit_bytes, 32 * MIB);
    close_cache(cache);
}

/* ---- closing ------------------------------------------------------------------------------------- */

#define N_PAGES 200

/* Cache with a store, and a tenant below the root with dirty pages. */
struct family {
    struct mem_store *store;
    struct zcache *cache;
    struct zcache_tenant *root;
    struct zcache_tenant *child;
    uint64_t id;
};

static struct family family_open(unsigned store_flags, const char *options)
{
    struct family f;

    f.store = mem_store_new(MEM_STORE_SYNC);
    f.store->flags = store_flags;
    f.cache = open_stored(64 * MIB, f.store, options);
    f.root = zcache_root(f.cache);
    f.child = open_tenant(f.root, "child", ZCACHE_UNLIMITED);
    f.id = zcache_tenant_id(f.child);
    for (uint64_t i = 0; i < N_PAGES; i++) {
        assert_int_equal(put_page(f.child, key_of(1, i), 1, FILL_HALF, 0), 0);
    }
    assert_int_equal(stats_of(f.child).gauge.dirty_pages, N_PAGES);
    return f;
}

static void family_close(struct family *f)
{
    close_cache(f->cache);
    mem_store_free(f->store);
}

static void close_flush_writes_everything(void **state)
{
    struct family f = family_open(0, NULL);

    (void)state;
    assert_int_equal(zcache_tenant_close(f.child, ZCACHE_CLOSE_FLUSH), 0);
    for (uint64_t i = 0; i < N_PAGES; i++) {
        assert_int_equal(mem_store_version(f.store, f.id, key_of(1, i)), 1);
        assert_int_equal(mem_store_durable(f.store, f.id, key_of(1, i)), 1);
    }
    const struct zcache_stats stats = stats_of(f.root);
    assert_int_equal(stats.gauge.pages, 0);
    assert_int_equal(stats.gauge.dirty_pages, 0);
    /* Its counters live on in the parent's. */
    assert_int_equal(stats.count.put_inserts, N_PAGES);
    assert_int_equal(stats.count.written_pages, N_PAGES);
    assert_int_equal(stats.count.written_bytes, N_PAGES * PAGE);
    check_identities(&stats);
    family_close(&f);
}

static void close_discard_drops_everything(void **state)
{
    struct family f = family_open(0, NULL);

    (void)state;
    assert_int_equal(zcache_tenant_close(f.child, ZCACHE_CLOSE_DISCARD), 0);
    assert_int_equal(atomic_load(&f.store->batches[ZCACHE_IO_WRITE]), 0);
    const struct zcache_stats stats = stats_of(f.root);
    assert_int_equal(stats.gauge.pages, 0);
    assert_int_equal(stats.gauge.dirty_pages, 0);
    assert_int_equal(stats.count.dropped, N_PAGES);
    check_identities(&stats);
    family_close(&f);
}

static void close_reparent_hands_pages_over_as_the_oldest(void **state)
{
    struct family f = family_open(ZCACHE_STORE_SHARED_KEYS, "fast=none,dense=none");

    (void)state;
    const uint64_t charge = charge_of(f.child);
    const uint64_t before = charge_of(f.root);
    for (uint64_t i = 0; i < N_PAGES; i++) {
        assert_int_equal(put_page(f.root, key_of(2, i), 1, FILL_HALF, 0), 0);
    }
    /* The parent's pages are older by time; the child's become older by rank. */
    for (uint64_t i = 0; i < N_PAGES; i++) {
        assert_int_equal(put_page(f.child, key_of(1, i), 2, FILL_HALF, 0), 0);
    }
    assert_int_equal(zcache_tenant_close(f.child, ZCACHE_CLOSE_REPARENT), 0);
    struct zcache_stats stats = stats_of(f.root);
    assert_int_equal(stats.gauge.pages, 2 * N_PAGES);
    assert_int_equal(stats.gauge.dirty_pages, 2 * N_PAGES);
    assert_int_equal(stats.count.reparented, N_PAGES);
    assert_int_equal(atomic_load(&f.store->batches[ZCACHE_IO_WRITE]), 0);
    assert_true(stats.gauge.charge_bytes >= before);

    assert_int_equal(zcache_shrink(f.root, charge * 9 / 10, 5000, NULL), 0);
    unsigned taken_over = 0;
    unsigned own = 0;
    for (uint64_t i = 0; i < N_PAGES; i++) {
        taken_over += is_cached(f.root, key_of(1, i));
        own += is_cached(f.root, key_of(2, i));
    }
    assert_int_equal(own, N_PAGES);
    assert_true(taken_over < N_PAGES / 3);
    for (uint64_t i = 0; i < N_PAGES; i++) {
        assert_int_equal(get_page(f.root, key_of(1, i), 0), 2);
    }
    family_close(&f);
}

static void close_reparent_and_pages_that_the_parent_has_too(void **state)
{
    struct family f = family_open(0, NULL);

    (void)state;
    /* Half of the child's are clean; the parent has four keys itself. */
    assert_int_equal(zcache_flush(f.child, 1000), 0);
    for (uint64_t i = 0; i < N_PAGES; i += 2) {
        assert_int_equal(put_page(f.child, key_of(1, i), 2, FILL_HALF, 0), 0);
    }
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(put_page(f.root, key_of(1, i), 50, FILL_HALF, ZCACHE_CLEAN), 0);
    }
    assert_int_equal(zcache_tenant_close(f.child, ZCACHE_CLOSE_REPARENT), 0);

    /* The parent's own won; the child's dirty ones are in the child's place of the store. */
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(get_page(f.root, key_of(1, i), 0), 50);
        assert_int_equal(mem_store_version(f.store, f.id, key_of(1, i)), i % 2 == 0 ? 2 : 1);
    }
    /* The others are the parent's now, and dirty: its place in the store never had them. */
    struct zcache_stats stats = stats_of(f.root);
    assert_int_equal(stats.gauge.pages, N_PAGES);
    assert_int_equal(stats.gauge.dirty_pages, N_PAGES - 4);
    assert_int_equal(stats.count.reparented, N_PAGES - 4);
    check_identities(&stats);
    assert_int_equal(zcache_flush(f.root, 1000), 0);
    for (uint64_t i = 4; i < N_PAGES; i++) {
        assert_int_equal(get_page(f.root, key_of(1, i), 0), i % 2 == 0 ? 2 : 1);
        assert_int_equal(mem_store_version(f.store, 0, key_of(1, i)), i % 2 == 0 ? 2 : 1);
        if (i % 2 == 0) { /* never written to the child's place again */
            assert_int_equal(mem_store_version(f.store, f.id, key_of(1, i)), 1);
        }
    }
    family_close(&f);
}

static void close_reparent_keeps_clean_pages_clean_where_keys_are_shared(void **state)
{
    struct family f = family_open(ZCACHE_STORE_SHARED_KEYS, NULL);

    (void)state;
    assert_int_equal(zcache_flush(f.child, 1000), 0);
    assert_int_equal(zcache_tenant_close(f.child, ZCACHE_CLOSE_REPARENT), 0);
    assert_int_equal(stats_of(f.root).gauge.pages, N_PAGES);
    assert_int_equal(stats_of(f.root).gauge.dirty_pages, 0);
    family_close(&f);
}

static void close_that_cannot_write_keeps_the_tenant(void **state)
{
    struct family f = family_open(0, NULL);

    (void)state;
    atomic_store(&f.store->fail_batches[ZCACHE_IO_WRITE], 1 << 20);
    assert_int_equal(zcache_tenant_close(f.child, ZCACHE_CLOSE_FLUSH), -EIO);
    /* Open as before, with the pages that could not leave: here all. */
    for (uint64_t i = 0; i < N_PAGES; i++) {
        assert_int_equal(get_page(f.child, key_of(1, i), ZCACHE_NO_LOAD), 1);
    }
    assert_int_equal(put_page(f.child, key_of(1, 0), 2, FILL_HALF, 0), 0);
    assert_int_equal(zcache_tenant_id(f.child), f.id);
    atomic_store(&f.store->fail_batches[ZCACHE_IO_WRITE], 0);
    /* The failures are reported by the next flush, once; then all is well. */
    (void)!zcache_flush(f.child, 5000);
    assert_int_equal(zcache_tenant_close(f.child, ZCACHE_CLOSE_FLUSH), 0);
    assert_int_equal(mem_store_version(f.store, f.id, key_of(1, 0)), 2);
    assert_int_equal(mem_store_version(f.store, f.id, key_of(1, 1)), 1);
    family_close(&f);
}

static void close_without_a_writing_store(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *child = open_tenant(zcache_root(cache), "child", ZCACHE_UNLIMITED);

    (void)state;
    assert_int_equal(put_page(child, key_of(1, 1), 1, FILL_HALF, ZCACHE_DIRTY), 0);
    assert_true(zcache_tenant_close(child, ZCACHE_CLOSE_FLUSH) < 0);
    assert_int_equal(get_page(child, key_of(1, 1), 0), 1);
    assert_int_equal(zcache_tenant_close(child, ZCACHE_CLOSE_REPARENT), 0);
    assert_int_equal(get_page(zcache_root(cache), key_of(1, 1), 0), 1);
    assert_int_equal(stats_of(zcache_root(cache)).gauge.dirty_pages, 1);
    drop_cache(cache);
}

static void close_waits_for_pins_and_gives_up(void **state)
{
    struct family f = family_open(0, "max_stall_ms=50");

    static const enum zcache_close_mode modes[] = {ZCACHE_CLOSE_FLUSH, ZCACHE_CLOSE_REPARENT,
                                                   ZCACHE_CLOSE_DISCARD};
    struct zcache_pin pin;

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        /* DISCARD may have dropped what is not pinned. */
        for (uint64_t k = 0; k < N_PAGES; k++) {
            assert_int_equal(put_page(f.child, key_of(1, k), 2 + i, FILL_HALF, 0), 0);
        }
        assert_int_equal(zcache_pin(f.child, key_of(1, 7), 0, &pin), 0);
        const uint64_t start = now_ns();
        assert_int_equal(zcache_tenant_close(f.child, modes[i]), -ETIMEDOUT);
        assert_true(now_ns() - start >= 40 * MS_IN_NS);
        assert_true(now_ns() - start < 2000 * MS_IN_NS * TEST_SLOWDOWN);
        uint64_t version = 0;
        assert_true(page_whole(pin.data, pin.len, key_of(1, 7), &version) && version == 2 + i);
        zcache_unpin(&pin);
        /* Usable as before. */
        assert_int_equal(put_page(f.child, key_of(3, i), 1, FILL_HALF, 0), 0);
        assert_int_equal(get_page(f.child, key_of(3, i), 0), 1);
        assert_int_equal(zcache_tenant_id(f.child), f.id);
        verify_cache(f.cache);
    }
    assert_int_equal(zcache_tenant_close(f.child, ZCACHE_CLOSE_DISCARD), 0);
    family_close(&f);
}

/* The close ends when the pin does. */
static void *close_flush(void *arg)
{
    struct zcache_tenant *tenant = arg;
    REQUIRE_EQUAL(zcache_tenant_close(tenant, ZCACHE_CLOSE_FLUSH), 0);
    return NULL;
}

static void close_goes_on_once_the_pin_is_gone(void **state)
{
    struct family f = family_open(0, NULL);
    struct zcache_pin pin;
    unsigned char room[PAGE];
    pthread_t thread;

    (void)state;
    assert_int_equal(zcache_pin(f.child, key_of(1, 7), 0, &pin), 0);
    assert_int_equal(pthread_create(&thread, NULL, close_flush, f.child), 0);
    /* From the call on, others are refused. */
    WAIT_UNTIL(zcache_get(f.child, key_of(1, 7), room, PAGE, NULL, 0) == -ESHUTDOWN, 5000);
    struct zcache_tenant *none = NULL;
    assert_int_equal(try_open(f.child, "late", &none), -ESHUTDOWN);
    zcache_unpin(&pin);
    pthread_join(thread, NULL);
    assert_int_equal(mem_store_version(f.store, f.id, key_of(1, 7)), 1);
    family_close(&f);
}

static void closing_the_cache_closes_tenants(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct mem_store *own = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(64 * MIB, store, NULL);
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    const struct zcache_store callbacks = mem_store_callbacks(own, MEM_STORE_ALL);
    struct zcache_tenant *tenants[3] = {NULL, NULL, NULL};
    uint64_t ids[3];

    (void)state;
    tenants[0] = open_tenant(zcache_root(cache), "a", ZCACHE_UNLIMITED);
    tenants[1] = open_tenant(tenants[0], "b", ZCACHE_UNLIMITED);
    opts.name = "c";
    opts.store = &callbacks;
    assert_int_equal(zcache_tenant_open(tenants[1], &opts, &tenants[2]), 0);
    atomic_store(&own->cache, cache);
    for (unsigned t = 0; t < 3; t++) {
        ids[t] = zcache_tenant_id(tenants[t]);
        for (uint64_t i = 0; i < 50; i++) {
            assert_int_equal(put_page(tenants[t], key_of(t, i), 1 + t, FILL_HALF, 0), 0);
        }
    }
    close_cache(cache);
    for (unsigned t = 0; t < 3; t++) {
        for (uint64_t i = 0; i < 50; i++) {
            assert_int_equal(mem_store_version(t == 2 ? own : store, ids[t], key_of(t, i)), 1 + t);
        }
    }
    mem_store_free(store);
    mem_store_free(own);
}

/* ---- thousands, beside others that work ----------------------------------------------------------- */

struct churn {
    struct zcache *cache;
    struct zcache_tenant *stable[2];
    unsigned index;
    unsigned rounds;
    atomic_bool *stop;
    uint64_t calls;
};

static void *open_and_close(void *arg)
{
    struct churn *me = arg;
    struct rng rng = {me->index + 1};
    char name[32];

    for (unsigned i = 0; i < me->rounds; i++) {
        (void)snprintf(name, sizeof(name), "t%u.%u", me->index, i % 8);
        struct zcache_tenant *tenant = open_tenant(me->stable[me->index], name, ZCACHE_UNLIMITED);
        const unsigned pages = (unsigned)rng_below(&rng, 4);
        for (uint64_t k = 0; k < pages; k++) {
            REQUIRE_EQUAL(put_page(tenant, key_of(1000 + i, k), i + 1, FILL_HALF, 0), 0);
        }
        for (uint64_t k = 0; k < pages; k++) {
            REQUIRE_EQUAL(get_page(tenant, key_of(1000 + i, k), 0), i + 1);
        }
        const enum zcache_close_mode mode = (enum zcache_close_mode)rng_below(&rng, 3);
        REQUIRE_EQUAL(zcache_tenant_close(tenant, mode), 0);
        if (mode == ZCACHE_CLOSE_REPARENT) {
            for (uint64_t k = 0; k < pages; k++) {
                REQUIRE_EQUAL(get_page(me->stable[me->index], key_of(1000 + i, k), 0), i + 1);
                REQUIRE_EQUAL(zcache_delete(me->stable[me->index], key_of(1000 + i, k), 0), 0);
            }
        }
        me->calls += pages;
    }
    return NULL;
}

static void *put_and_get(void *arg)
{
    struct churn *me = arg;
    struct rng rng = {100 + me->index};
    uint64_t versions[512] = {0};

    while (!atomic_load(me->stop)) {
        const uint64_t k = rng_below(&rng, 512);
        struct zcache_tenant *tenant = me->stable[k % 2];
        const struct zcache_key key = key_of(me->index, k);
        if (rng_below(&rng, 2) == 0) {
            REQUIRE_EQUAL(put_page(tenant, key, ++versions[k], FILL_HALF, 0), 0);
            me->calls++;
        } else {
            REQUIRE_EQUAL(get_page(tenant, key, 0), versions[k]);
        }
    }
    return NULL;
}

static void thousands_of_tenants_come_and_go(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    struct churn work[4];
    pthread_t threads[4];
    atomic_bool stop = false;

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        work[i] = (struct churn){
            .cache = cache, .index = i % 2, .rounds = 10000 / TEST_SLOWDOWN, .stop = &stop};
        work[i].stable[0] = i == 0 ? open_tenant(root, "even", 24 * MIB) : work[0].stable[0];
        work[i].stable[1] = i == 0 ? open_tenant(root, "odd", 24 * MIB) : work[0].stable[1];
    }
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL, i < 2 ? open_and_close : put_and_get, &work[i]), 0);
    }
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    atomic_store(&stop, true);
    pthread_join(threads[2], NULL);
    pthread_join(threads[3], NULL);

    const struct zcache_stats stats = stats_of(root);
    assert_int_equal(stats.gauge.tenants, 3);
    assert_int_equal(puts_of(&stats),
                     work[0].calls + work[1].calls + work[2].calls + work[3].calls);
    check_identities(&stats);
    /* Records of tenants that are gone take no room: three are left. */
    assert_true(stats.cache.tenant_bytes < 1 * MIB);
    const unsigned long long beside = work[2].calls + work[3].calls;
    print_message("%u tenants; %llu pages put beside them\n", 20000 / TEST_SLOWDOWN, beside);
    close_cache(cache);
}

static void thousands_of_tenants_are_open_at_once(void **state)
{
    struct zcache *cache = open_cache(256 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);

    enum {
        TENANTS = 5000
    };
    static struct zcache_tenant *tenants[TENANTS];
    char name[32];

    (void)state;
    for (unsigned i = 0; i < TENANTS; i++) {
        (void)snprintf(name, sizeof(name), "tenant-%u", i);
        tenants[i] = open_tenant(root, name, 1 * MIB);
        assert_int_equal(put_page(tenants[i], key_of(1, 1), i + 1, FILL_HALF, 0), 0);
    }
    assert_int_equal(stats_of(root).gauge.tenants, TENANTS + 1);
    for (unsigned i = 0; i < TENANTS; i++) {
        assert_int_equal(get_page(tenants[i], key_of(1, 1), 0), i + 1);
    }
    for (unsigned i = 0; i < TENANTS; i += 2) {
        assert_int_equal(zcache_tenant_close(tenants[i], ZCACHE_CLOSE_DISCARD), 0);
    }
    for (unsigned i = 1; i < TENANTS; i += 2) {
        assert_int_equal(get_page(tenants[i], key_of(1, 1), 0), i + 1);
    }
    close_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_unique_among_siblings),
        cmocka_unit_test(the_name_is_copied),
        cmocka_unit_test(the_tree_has_sixteen_levels),
        cmocka_unit_test(ids_are_never_used_again),
        cmocka_unit_test(a_late_id_leads_to_the_nearest_ancestor),
        cmocka_unit_test(limits_hold_on_every_level),
        cmocka_unit_test(limits_change_while_in_use),
        cmocka_unit_test(the_roots_limit_is_the_capacity),
        cmocka_unit_test(close_flush_writes_everything),
        cmocka_unit_test(close_discard_drops_everything),
        cmocka_unit_test(close_reparent_hands_pages_over_as_the_oldest),
        cmocka_unit_test(close_reparent_and_pages_that_the_parent_has_too),
        cmocka_unit_test(close_reparent_keeps_clean_pages_clean_where_keys_are_shared),
        cmocka_unit_test(close_that_cannot_write_keeps_the_tenant),
        cmocka_unit_test(close_without_a_writing_store),
        cmocka_unit_test(close_waits_for_pins_and_gives_up),
        cmocka_unit_test(close_goes_on_once_the_pin_is_gone),
        cmocka_unit_test(closing_the_cache_closes_tenants),
        cmocka_unit_test(thousands_of_tenants_come_and_go),
        cmocka_unit_test(thousands_of_tenants_are_open_at_once),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
