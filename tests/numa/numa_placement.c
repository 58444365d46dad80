/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A page lies on the node of the thread that put it, or on the node its tenant is bound to: its bytes,
 * its record and the lists it is on; and the statistics say so.
 */
#include "numa/machine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define RAW "raw_percent=100,start_percent=100"

static void pages_lie_where_they_were_put(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, RAW);
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    for (unsigned n = 0; n < machine.n_nodes; n++) {
        run_on(&machine.node[n]);
        put_n(root, n, 1, FILL_RANDOM);
    }
    /* It does not matter who looks. */
    run_on(&machine.node[0]);
    for (unsigned n = 0; n < machine.n_nodes; n++) {
        assert_int_equal(pages_at(root, n, machine.node[n].id), N);
    }
    const struct zcache_stats stats = stats_of(root);
    check_identities(&stats);
    for (unsigned n = 0; n < machine.n_nodes; n++) {
        const struct zcache_node_stats *node = &stats.node[machine.node[n].id];
        assert_int_equal(node->pages, N);
        assert_int_equal(node->raw_bytes, N * PAGE);
        assert_true(node->allocated_bytes >= N * PAGE);
    }
    run_anywhere();
    close_cache(cache);
}

static void a_bound_tenant_stays_on_its_node(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, RAW);

    (void)state;
    for (unsigned n = 0; n < machine.n_nodes; n++) {
        const int id = machine.node[n].id;
        char name[16];
        (void)snprintf(name, sizeof(name), "node%d", id);
        struct zcache_tenant *tenant = open_bound(cache, name, id);
        for (unsigned from = 0; from < machine.n_nodes; from++) {
            run_on(&machine.node[from]);
            put_n(tenant, from, 1, FILL_RANDOM);
            assert_int_equal(pages_at(tenant, from, id), N);
            put_n(tenant, from, 2, FILL_RANDOM);
            assert_int_equal(pages_at(tenant, from, id), N);
        }
        const struct zcache_stats stats = stats_of(tenant);
        assert_int_equal(stats.node[id].pages, N * machine.n_nodes);
        assert_int_equal(stats.gauge.pages, N * machine.n_nodes);
    }
    run_anywhere();
    close_cache(cache);
}

enum {
    HUGE_SLABS = 2 * 102 /* of 5 pages, and each 102nd of 6: they fill two chunks */
};

static size_t huge_slab_bytes(unsigned i)
{
    return i % 102 == 0 ? 6 * PAGE : 5 * PAGE;
}

static bool has_huge_pages(void)
{
    void *ptr = zc_plat_map(ZC_POOL_CHUNK, ZC_POOL_CHUNK, -1);
    enum zc_plat_huge got;

    assert_non_null(ptr);
    *(volatile char *)ptr = 1;
    got = zc_plat_make_huge(ptr, ZC_POOL_CHUNK);
    zc_plat_unmap(ptr, ZC_POOL_CHUNK);
    return got == ZC_PLAT_HUGE_MADE;
}

/* Full chunks become huge pages of their node, whoever asks for it, and are split there. */
static void huge_pages_are_of_their_node(void **state)
{
    static char *slab[HUGE_SLABS];

    (void)state;
    if (!has_huge_pages()) {
        skip();
    }
    for (unsigned n = 0; n < machine.n_nodes; n++) {
        const int id = machine.node[n].id;
        struct zc_pool *pool;

        assert_int_equal(zc_pool_create(n, id, &pool), 0);
        zc_pool_use_huge(pool, 0, 0);
        run_on(&machine.node[(n + 1) % machine.n_nodes]);
        for (unsigned i = 0; i < HUGE_SLABS; i++) {
            slab[i] = zc_pool_alloc_pages(pool, huge_slab_bytes(i));
            assert_non_null(slab[i]);
            memset(slab[i], 1, huge_slab_bytes(i));
        }
        assert_int_equal(zc_pool_make_huge(pool, zc_plat_deadline_ns(60000)), 0);
        assert_int_equal(zc_pool_huge_bytes(pool), 2 * ZC_POOL_CHUNK);
        for (unsigned i = 0; i < HUGE_SLABS; i++) {
            assert_int_equal(node_of(slab[i]), id);
        }
        zc_pool_free(slab[0], huge_slab_bytes(0));
        zc_pool_free(slab[102], huge_slab_bytes(102));
        assert_int_equal(zc_pool_huge_bytes(pool), 0);
        for (unsigned i = 0; i < HUGE_SLABS; i++) {
            if (i % 102 != 0) {
                assert_int_equal(node_of(slab[i]), id);
                zc_pool_free(slab[i], huge_slab_bytes(i));
            }
        }
        zc_pool_destroy(&pool);
    }
    run_anywhere();
}

/* Compressed and made raw again, by a thread elsewhere, a page is still at home. */
static void pages_stay_at_home_through_the_tiers(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_pin pin;

    (void)state;
    for (unsigned n = 0; n < machine.n_nodes; n++) {
        run_on(&machine.node[n]);
        for (uint64_t i = 0; i < N; i++) {
            assert_int_equal(put_page(root, key_of(n, i), 1, FILL_TEXT, ZCACHE_DIRTY), 0);
        }
    }
    run_on(&machine.node[0]);
    assert_int_equal(zcache_shrink(root, 64 * MIB, 10000, NULL), -EAGAIN);
    assert_int_equal(stats_of(root).tier[ZCACHE_TIER_RAW].pages, 0);
    for (unsigned n = 0; n < machine.n_nodes; n++) {
        assert_int_equal(stats_of(root).node[machine.node[n].id].pages, N);
        assert_int_equal(pages_at(root, n, machine.node[n].id), N);
    }
    run_on(&machine.node[machine.n_nodes - 1]);
    for (unsigned n = 0; n < machine.n_nodes; n++) {
        for (uint64_t i = 0; i < N; i++) {
            assert_int_equal(zcache_pin(root, key_of(n, i), ZCACHE_PEEK, &pin), 0);
            assert_int_equal(node_of(pin.data), machine.node[n].id);
            assert_int_equal(node_of((const char *)pin.data + pin.len - 1), machine.node[n].id);
            zcache_unpin(&pin);
        }
    }
    run_anywhere();
    drop_cache(cache);
}

static void a_replaced_page_moves_to_the_new_putter(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, RAW);
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    for (unsigned n = 0; n < machine.n_nodes; n++) {
        run_on(&machine.node[n]);
        put_n(root, 1, n + 1, FILL_RANDOM);
        assert_int_equal(pages_at(root, 1, machine.node[n].id), N);
        const struct zcache_stats stats = stats_of(root);
        assert_int_equal(stats.node[machine.node[n].id].pages, N);
        assert_int_equal(stats.gauge.pages, N);
    }
    run_anywhere();
    close_cache(cache);
}

/* More than one node's share of puts still succeeds: other nodes and the quota make room. */
static void one_node_may_use_the_whole_capacity(void **state)
{
    struct zcache *cache = open_cache(8 * MIB, NULL, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    run_on(&machine.node[1]);
    for (uint64_t i = 0; i < 3 * (8 * MIB) / PAGE; i++) {
        assert_int_equal(put_page(root, key_of(1, i), 1, FILL_RANDOM, 0), 0);
    }
    const struct zcache_stats stats = stats_of(root);
    assert_true(stats.gauge.charge_bytes > 8 * MIB * 80 / 100);
    assert_true(stats.gauge.peak_charge_bytes <= 8 * MIB);
    assert_int_equal(stats.node[machine.node[1].id].pages, stats.gauge.pages);
    run_anywhere();
    close_cache(cache);
}

/* ---- nodes without memory ------------------------------------------------------------------------- */

static void the_nearest_stands_in_for_a_node_without_memory(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, RAW);
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    if (machine.n_barren == 0) {
        run_anywhere();
        close_cache(cache);
        skip();
    }
    const int id = machine.barren[0].id;
    const int nearest = nearest_to(id);
    run_on(&machine.barren[0]);
    put_n(root, 1, 1, FILL_RANDOM);
    assert_int_equal(pages_at(root, 1, nearest), N);

    run_on(&machine.node[0]);
    struct zcache_tenant *bound = open_bound(cache, "bound", id);
    put_n(bound, 1, 1, FILL_RANDOM);
    assert_int_equal(pages_at(bound, 1, nearest), N);

    const struct zcache_stats stats = stats_of(root);
    assert_int_equal(stats.node[id].pages, 0);
    assert_int_equal(stats.node[nearest].pages, 2 * N);
    assert_int_equal(zcache_shrink_node(root, id, PAGE, 0, NULL), -EINVAL);
    run_anywhere();
    close_cache(cache);
}

static void a_node_that_is_not_there_is_refused(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_tenant *none = NULL;

    (void)state;
    opts.name = "nowhere";
    opts.node = 1000;
    assert_int_equal(zcache_tenant_open(zcache_root(cache), &opts, &none), -EINVAL);
    assert_null(none);
    close_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_lie_where_they_were_put),
        cmocka_unit_test(a_bound_tenant_stays_on_its_node),
        cmocka_unit_test(huge_pages_are_of_their_node),
        cmocka_unit_test(pages_stay_at_home_through_the_tiers),
        cmocka_unit_test(a_replaced_page_moves_to_the_new_putter),
        cmocka_unit_test(one_node_may_use_the_whole_capacity),
        cmocka_unit_test(the_nearest_stands_in_for_a_node_without_memory),
        cmocka_unit_test(a_node_that_is_not_there_is_refused),
    };

    test_begin(argc, argv, 0);
    machine_find();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
