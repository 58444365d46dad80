/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reclaim for one node frees that node's memory: of the cache's account, of its pools, and of the
 * process.
 */
#include "numa/machine.h"

#include <errno.h>

static uint64_t resident(struct zcache *cache, int id)
{
    struct zc_pool_usage usage;

    zc_pool_usage(cache->pool[cache->topo.of_sys[id]], &usage);
    return usage.resident;
}

static void expect_freed(struct zcache *cache,
                         const uint64_t before[NODES_MAX],
                         const uint64_t process_before[NODES_MAX],
                         unsigned shrunk,
                         uint64_t bytes)
{
    for (unsigned n = 0; n < machine.n_nodes; n++) {
        const int id = machine.node[n].id;
        const uint64_t now = resident(cache, id);
        const uint64_t process_now = process_bytes_on(id);

        if (n == shrunk) {
            /* A spare slab of each class, and a chunk's head, stay. */
            assert_true(before[n] - now >= bytes * 3 / 4);
            assert_true(process_before[n] - process_now >= bytes * 3 / 4);
        } else {
            assert_int_equal(now, before[n]);
            assert_true(process_now + bytes / 4 >= process_before[n]);
        }
    }
}

static void fill_all(struct zcache_tenant *t)
{
    for (unsigned n = 0; n < machine.n_nodes; n++) {
        run_on(&machine.node[n]);
        put_n(t, n, 1, FILL_RANDOM);
        put_n(t, NODES_MAX + n, 1, FILL_RANDOM);
    }
    run_on(&machine.node[0]);
}

static void look_at_all(struct zcache *cache,
                        uint64_t before[NODES_MAX],
                        uint64_t process_before[NODES_MAX])
{
    for (unsigned n = 0; n < machine.n_nodes; n++) {
        before[n] = resident(cache, machine.node[n].id);
        process_before[n] = process_bytes_on(machine.node[n].id);
    }
}

static void each_node_is_emptied_by_itself(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, PLAIN ",start_percent=100,policy=lru");
    struct zcache_tenant *root = zcache_root(cache);
    uint64_t before[NODES_MAX] = {0};
    uint64_t process_before[NODES_MAX] = {0};

    (void)state;
    fill_all(root);
    for (unsigned n = 0; n < machine.n_nodes; n++) {
        struct zcache_shrink_result result;

        look_at_all(cache, before, process_before);
        assert_int_equal(zcache_shrink_node(root, machine.node[n].id, 64 * MIB, 10000, &result),
                         -EAGAIN);
        assert_int_equal(result.evicted_pages, 2 * N);
        expect_freed(cache, before, process_before, n, UINT64_C(2) * N * PAGE);
        const struct zcache_stats stats = stats_of(root);
        check_identities(&stats);
        for (unsigned i = 0; i < machine.n_nodes; i++) {
            assert_int_equal(stats.node[machine.node[i].id].pages, i <= n ? 0 : 2 * N);
        }
    }
    run_anywhere();
    close_cache(cache);
}

static void a_part_is_taken_from_the_oldest_there(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, PLAIN ",start_percent=100,policy=lru");
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_shrink_result result;

    (void)state;
    fill_all(root);
    assert_int_equal(zcache_shrink_node(root, machine.node[1].id, N * PAGE, 10000, &result), 0);
    assert_true(result.freed_bytes >= N * PAGE);
    for (unsigned n = 0; n < machine.n_nodes; n++) {
        for (uint64_t i = 0; i < N; i++) {
            const bool cached = is_cached(root, key_of(n, i));

            /* Those that were put first on the node that was shrunk are gone, a few more perhaps. */
            assert_true(cached == (n != 1) || (n == 1 && cached && i + 32 > N));
        }
    }
    assert_in_range(result.evicted_pages, N - 32, N + 32);
    run_anywhere();
    close_cache(cache);
}

/* What another node's threads put there anew is theirs: nothing of it is left behind. */
static void pages_that_moved_are_not_found_any_more(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, PLAIN ",start_percent=100,policy=lru");
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_shrink_result result;

    (void)state;
    run_on(&machine.node[0]);
    put_n(root, 1, 1, FILL_RANDOM);
    run_on(&machine.node[1]);
    put_n(root, 1, 2, FILL_RANDOM);
    assert_int_equal(zcache_shrink_node(root, machine.node[0].id, PAGE, 10000, &result), -EAGAIN);
    assert_int_equal(result.evicted_pages, 0);
    assert_int_equal(zcache_shrink_node(root, machine.node[1].id, 64 * MIB, 10000, &result),
                     -EAGAIN);
    assert_int_equal(result.evicted_pages, N);
    run_anywhere();
    close_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_node_is_emptied_by_itself),
        cmocka_unit_test(a_part_is_taken_from_the_oldest_there),
        cmocka_unit_test(pages_that_moved_are_not_found_any_more),
    };

    test_begin(argc, argv, 0);
    machine_find();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
