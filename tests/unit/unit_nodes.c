/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a cache does on several nodes, on a machine that is not here: of its three nodes the one in the
 * middle has no memory.  Where memory really lies is for the tests of the kind numa.
 *
 * The functions of libnuma that the topology is read with are defined here, so the linker takes these.
 */
#include <errno.h>
#include <numa.h>

#include "inside.h"
#include "reclaim.h"

enum {
    SYS_NODES = 3,
    BARREN = 1, /* the system's number of the node without memory */
    FAR = 1,    /* our number of the system's node 2 */
    N = 50
};

int numa_available(void)
{
    return 0;
}

int numa_max_node(void)
{
    return SYS_NODES - 1;
}

int numa_num_possible_cpus(void)
{
    return SYS_NODES;
}

long long numa_node_size64(int node, long long *freep)
{
    (void)freep;
    return node == BARREN ? 0 : 1LL << 30;
}

int numa_node_of_cpu(int cpu)
{
    return cpu;
}

int numa_distance(int node1, int node2)
{
    return node1 == node2 ? 10 : node1 + node2 == 1 ? 15 : 30; /* 0 is the nearer to 1 */
}

int numa_bitmask_isbitset(const struct bitmask *mask, unsigned node)
{
    (void)mask;
    return node < SYS_NODES;
}

/* ---- helpers -------------------------------------------------------------------------------------- */

struct fixture {
    struct zcache *cache;
    struct zcache_tenant *root;
};

static void setup(struct fixture *f, const struct zcache_store *store)
{
    f->cache = open_cache(16 * MIB, store, PLAIN ",start_percent=100");
    f->root = zcache_root(f->cache);
    assert_int_equal(f->cache->topo.n_nodes, 2);
}

/* From now on every thread is on that node of ours. */
static void go_to(struct fixture *f, unsigned node)
{
    (void)memset(f->cache->topo.cpu_node, (int)node, sizeof(f->cache->topo.cpu_node));
}

static void put_n(struct fixture *f, unsigned node, uint64_t object, uint64_t version)
{
    go_to(f, node);
    for (uint64_t i = 0; i < N; i++) {
        REQUIRE_EQUAL(put_page(f->root, key_of(object, i), version, FILL_TEXT, 0), 0);
    }
}

/* Whether the page's record, list and payload are all of that node. */
static bool all_on(struct fixture *f, struct zcache_key key, unsigned node)
{
    struct zc_entry *e = entry_of(f->root, key);

    return zc_entry_node(e) == node && zc_pool_node(e) == node &&
           zc_pool_node(zc_word_payload(word_of(f->root, key))) == node;
}

static uint64_t listed(struct fixture *f, unsigned node)
{
    uint64_t n = 0;

    for (unsigned list = 0; list < ZC_LISTS; list++) {
        n += zc_lru_length(f->root->lru[node], list);
    }
    return n;
}

static int open_bound(struct fixture *f, const char *name, int node, struct zcache_tenant **out)
{
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;

    opts.name = name;
    opts.node = node;
    return zcache_tenant_open(f->root, &opts, out);
}

/* ---- names of nodes ------------------------------------------------------------------------------- */

static void nodes_are_named_by_the_system_s_numbers(void **state)
{
    struct zcache_tenant *t[SYS_NODES] = {NULL};
    struct zcache_tenant *none = NULL;
    struct fixture f;

    (void)state;
    setup(&f, NULL);
    assert_int_equal(open_bound(&f, "a", 0, &t[0]), 0);
    assert_int_equal(open_bound(&f, "b", BARREN, &t[1]), 0);
    assert_int_equal(open_bound(&f, "c", 2, &t[2]), 0);
    assert_int_equal(open_bound(&f, "d", SYS_NODES, &none), -EINVAL);
    for (unsigned i = 0; i < SYS_NODES; i++) {
        for (uint64_t page = 0; page <= i; page++) {
            assert_int_equal(put_page(t[i], key_of(1, page), 1, FILL_TEXT, 0), 0);
        }
    }
    const struct zcache_stats stats = stats_of(f.root);
    assert_int_equal(stats.n_nodes, SYS_NODES);
    assert_int_equal(stats.node[0].pages, 1 + 2); /* its own and those of the barren node */
    assert_int_equal(stats.node[BARREN].pages, 0);
    assert_int_equal(stats.node[2].pages, 3);
    check_identities(&stats);
    close_cache(f.cache);
}

static void the_lists_of_a_tenant_lie_on_their_nodes(void **state)
{
    struct zcache_tenant *t;
    struct fixture f;

    (void)state;
    setup(&f, NULL);
    for (unsigned from = 0; from < 2; from++) {
        go_to(&f, from); /* whoever opens it */
        t = open_tenant(f.root, from == 0 ? "a" : "b", MIB);
        assert_int_equal(zc_pool_node(t), from);
        for (unsigned node = 0; node < 2; node++) {
            assert_int_equal(zc_pool_node(t->lru[node]), node);
        }
    }
    close_cache(f.cache);
}

/* ---- a page that is put again elsewhere ----------------------------------------------------------- */

static void a_replaced_page_moves_with_all_it_has(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, NULL);
    put_n(&f, 0, 1, 1);
    assert_true(all_on(&f, key_of(1, 0), 0));
    put_n(&f, FAR, 1, 2);
    for (uint64_t i = 0; i < N; i++) {
        assert_true(all_on(&f, key_of(1, i), FAR));
        assert_int_equal(get_page(f.root, key_of(1, i), 0), 2);
    }
    assert_int_equal(listed(&f, 0), 0);
    assert_int_equal(listed(&f, FAR), N);
    assert_int_equal(stats_of(f.root).count.put_replaces, N);
    close_cache(f.cache);
}

static void a_dirty_page_moves_and_is_written_once(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    const struct zcache_store callbacks = mem_store_callbacks(store, MEM_STORE_WRITES);
    struct fixture f;

    (void)state;
    setup(&f, &callbacks);
    put_n(&f, 0, 1, 1);
    put_n(&f, FAR, 1, 2);
    assert_int_equal(stats_of(f.root).gauge.dirty_pages, N);
    assert_int_equal(zcache_flush(f.root, 0), 0);
    assert_int_equal(stats_of(f.root).count.written_pages, N);
    close_cache(f.cache);
    mem_store_free(store);
}

/* Whoever holds the record has seen it where it is. */
static void a_page_that_somebody_holds_stays(void **state)
{
    const struct zcache_key key = key_of(1, 7);
    struct zc_entry *e;
    struct fixture f;

    (void)state;
    setup(&f, NULL);
    put_n(&f, 0, 1, 1);
    e = isolate(f.root, key);
    go_to(&f, FAR);
    assert_int_equal(put_page(f.root, key, 2, FILL_TEXT, 0), 0);
    assert_ptr_equal(entry_of(f.root, key), e);
    assert_int_equal(zc_entry_node(e), 0);
    assert_int_equal(get_page(f.root, key, 0), 2);
    zc_page_putback(f.cache, thread_of(f.cache), e, true);
    assert_int_equal(listed(&f, 0), N);
    verify_cache(f.cache);
    assert_int_equal(put_page(f.root, key, 3, FILL_TEXT, 0), 0);
    assert_true(all_on(&f, key, FAR));
    assert_int_equal(listed(&f, 0), N - 1);
    close_cache(f.cache);
}

static void a_page_without_room_for_a_record_there_stays(void **state)
{
    const struct zc_fault_plan second = {
        .nth = 2, .whose = ZC_FAULT_MINE, .sites = 1u << ZC_FAULT_object};
    const struct zcache_key key = key_of(1, 7);
    struct fixture f;

    (void)state;
    setup(&f, NULL);
    put_n(&f, 0, 1, 1);
    const struct zc_entry *e = entry_of(f.root, key);
    go_to(&f, FAR);
    zc_fault_arm(&second); /* the first is the payload */
    assert_int_equal(put_page(f.root, key, 2, FILL_TEXT, 0), 0);
    assert_int_equal(zc_fault_disarm(), 1);
    assert_ptr_equal(entry_of(f.root, key), e);
    assert_int_equal(get_page(f.root, key, 0), 2);
    close_cache(f.cache);
}

static void a_put_that_changes_nothing_moves_nothing(void **state)
{
    const struct zcache_key key = key_of(1, 7);
    struct fixture f;

    (void)state;
    setup(&f, NULL);
    put_n(&f, 0, 1, 1);
    go_to(&f, FAR);
    assert_int_equal(put_page(f.root, key, 2, FILL_TEXT, ZCACHE_IF_ABSENT), ZCACHE_EXISTS);
    assert_true(all_on(&f, key, 0));
    assert_int_equal(get_page(f.root, key, 0), 1);
    close_cache(f.cache);
}

static void pinned_bytes_stay_and_the_page_moves(void **state)
{
    const struct zcache_key key = key_of(1, 7);
    struct zcache_pin pin;
    uint64_t version = 0;
    struct fixture f;

    (void)state;
    setup(&f, NULL);
    put_n(&f, 0, 1, 1);
    assert_int_equal(zcache_pin(f.root, key, 0, &pin), 0);
    go_to(&f, FAR);
    assert_int_equal(put_page(f.root, key, 2, FILL_TEXT, 0), 0);
    assert_true(all_on(&f, key, FAR));
    assert_true(page_whole(pin.data, pin.len, key, &version));
    assert_int_equal(version, 1);
    assert_int_equal(zc_pool_node(pin.data), 0);
    zcache_unpin(&pin);
    close_cache(f.cache);
}

/* ---- reclaim of one node -------------------------------------------------------------------------- */

static void a_node_is_shrunk_and_the_others_are_not(void **state)
{
    struct zcache_shrink_result result;
    struct fixture f;

    (void)state;
    setup(&f, NULL);
    put_n(&f, 0, 1, 1);
    put_n(&f, FAR, 2, 1);
    assert_int_equal(zcache_shrink_node(f.root, 2, N / 2 * PAGE, 1000, &result), 0);
    assert_in_range(result.evicted_pages, 1, N - 1);
    assert_true(result.freed_bytes >= N / 2 * PAGE);
    assert_int_equal(listed(&f, 0), N);
    assert_int_equal(listed(&f, FAR), N - result.evicted_pages);
    assert_int_equal(zcache_shrink_node(f.root, 0, 16 * MIB, 1000, &result), -EAGAIN);
    assert_int_equal(result.evicted_pages, N);
    assert_int_equal(listed(&f, 0), 0);
    assert_true(listed(&f, FAR) > 0);
    close_cache(f.cache);
}

/* What is in the way elsewhere is not told: it is not in the way. */
static void what_is_on_other_nodes_is_not_in_the_way(void **state)
{
    struct zcache_shrink_result result;
    struct zcache_pin pin;
    struct fixture f;

    (void)state;
    setup(&f, NULL);
    put_n(&f, 0, 1, 1);
    put_n(&f, FAR, 2, 1);
    struct zc_entry *e = isolate(f.root, key_of(1, 0));
    assert_int_equal(zcache_pin(f.root, key_of(1, 1), 0, &pin), 0);
    assert_int_equal(zcache_shrink_node(f.root, 2, 16 * MIB, 1000, &result), -EAGAIN);
    assert_int_equal(result.pinned_pages, 0);
    assert_int_equal(result.busy_pages, 0);
    assert_int_equal(zcache_shrink_node(f.root, 0, 16 * MIB, 1000, &result), -EAGAIN);
    assert_int_equal(result.pinned_pages, 1);
    assert_int_equal(result.busy_pages, 1);
    zc_page_putback(f.cache, thread_of(f.cache), e, true);
    zcache_unpin(&pin);
    close_cache(f.cache);
}

static void a_node_without_memory_cannot_be_shrunk(void **state)
{
    struct zcache_shrink_result result = {.freed_bytes = 7};
    struct fixture f;

    (void)state;
    setup(&f, NULL);
    put_n(&f, 0, 1, 1);
    assert_int_equal(zcache_shrink_node(f.root, BARREN, PAGE, 0, &result), -EINVAL);
    assert_int_equal(zcache_shrink_node(f.root, SYS_NODES, PAGE, 0, &result), -EINVAL);
    assert_int_equal(result.freed_bytes, 7);
    assert_int_equal(listed(&f, 0), N);
    close_cache(f.cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_are_named_by_the_system_s_numbers),
        cmocka_unit_test(the_lists_of_a_tenant_lie_on_their_nodes),
        cmocka_unit_test(a_replaced_page_moves_with_all_it_has),
        cmocka_unit_test(a_dirty_page_moves_and_is_written_once),
        cmocka_unit_test(a_page_that_somebody_holds_stays),
        cmocka_unit_test(a_page_without_room_for_a_record_there_stays),
        cmocka_unit_test(a_put_that_changes_nothing_moves_nothing),
        cmocka_unit_test(pinned_bytes_stay_and_the_page_moves),
        cmocka_unit_test(a_node_is_shrunk_and_the_others_are_not),
        cmocka_unit_test(what_is_on_other_nodes_is_not_in_the_way),
        cmocka_unit_test(a_node_without_memory_cannot_be_shrunk),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
