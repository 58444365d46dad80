/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * On a machine with several NUMA nodes: a page lies on the node of the thread that put it, or on the
 * node its tenant is bound to, and the statistics say so.
 */
#include "api/support.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    NODES_MAX = 8,
    N = 400
};

/* Nodes that have both memory and processors. */
static struct {
    int id;
    cpu_set_t cpus;
} nodes[NODES_MAX];

static unsigned n_nodes;

/* ---- the machine ---------------------------------------------------------------------------------- */

/* "0-3,8" to a set; false if there is no such file or it is empty. */
static bool read_set(const char *path, cpu_set_t *set)
{
    char text[512];
    FILE *file = fopen(path, "re");

    CPU_ZERO(set);
    if (file == NULL) {
        return false;
    }
    const bool got = fgets(text, sizeof(text), file) != NULL;
    (void)fclose(file);
    for (char *at = text; got && *at >= '0' && *at <= '9';) {
        unsigned long first = strtoul(at, &at, 10);
        unsigned long last = first;
        if (*at == '-') {
            last = strtoul(at + 1, &at, 10);
        }
        for (; first <= last && first < CPU_SETSIZE; first++) {
            CPU_SET((int)first, set);
        }
        at += *at == ',';
    }
    return CPU_COUNT(set) > 0;
}

static void find_nodes(void)
{
    cpu_set_t with_memory;
    char path[64];

    if (!read_set("/sys/devices/system/node/has_memory", &with_memory)) {
        return;
    }
    for (int id = 0; id < CPU_SETSIZE && n_nodes < NODES_MAX; id++) {
        (void)snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpulist", id);
        if (CPU_ISSET(id, &with_memory) && read_set(path, &nodes[n_nodes].cpus)) {
            nodes[n_nodes++].id = id;
        }
    }
}

static void run_on(unsigned node)
{
    REQUIRE_EQUAL(sched_setaffinity(0, sizeof(nodes[node].cpus), &nodes[node].cpus), 0);
}

/* The node on which @at lies. */
static int node_of(const void *at)
{
    const uintptr_t mask = ~(uintptr_t)(sysconf(_SC_PAGESIZE) - 1);
    void *page = (void *)((uintptr_t)at & mask);
    int status = -1;

    REQUIRE_EQUAL(syscall(SYS_move_pages, 0, 1UL, &page, NULL, &status, 0), 0);
    return status;
}

/* ---- helpers -------------------------------------------------------------------------------------- */

/* How many of the pages [0, N) of @object lie on @node: their first and their last byte. */
static unsigned pages_on(struct zcache_tenant *tenant, uint64_t object, int node)
{
    struct zcache_pin pin;
    unsigned found = 0;

    for (uint64_t i = 0; i < N; i++) {
        REQUIRE_EQUAL(zcache_pin(tenant, key_of(object, i), ZCACHE_PEEK, &pin), 0);
        const char *bytes = pin.data;
        found += node_of(bytes) == node && node_of(bytes + pin.len - 1) == node;
        zcache_unpin(&pin);
    }
    return found;
}

static void put_n(struct zcache_tenant *tenant, uint64_t object)
{
    for (uint64_t i = 0; i < N; i++) {
        REQUIRE_EQUAL(put_page(tenant, key_of(object, i), 1, FILL_RANDOM, 0), 0);
    }
}

static struct zcache_tenant *open_bound(struct zcache *cache, const char *name, int node)
{
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_tenant *tenant = NULL;

    opts.name = name;
    opts.node = node;
    REQUIRE_EQUAL(zcache_tenant_open(zcache_root(cache), &opts, &tenant), 0);
    return tenant;
}

static void forget_affinity(void)
{
    cpu_set_t all;

    CPU_ZERO(&all);
    for (unsigned n = 0; n < n_nodes; n++) {
        CPU_OR(&all, &all, &nodes[n].cpus);
    }
    REQUIRE_EQUAL(sched_setaffinity(0, sizeof(all), &all), 0);
}

/* ---- tests ---------------------------------------------------------------------------------------- */

static void pages_lie_where_they_were_put(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, "raw_percent=100,start_percent=100");
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    for (unsigned n = 0; n < n_nodes; n++) {
        run_on(n);
        put_n(root, n);
    }
    /* It does not matter who looks. */
    run_on(0);
    for (unsigned n = 0; n < n_nodes; n++) {
        assert_int_equal(pages_on(root, n, nodes[n].id), N);
    }
    const struct zcache_stats stats = stats_of(root);
    check_identities(&stats);
    assert_true(stats.n_nodes >= n_nodes);
    for (unsigned n = 0; n < n_nodes; n++) {
        assert_int_equal(stats.node[nodes[n].id].pages, N);
        assert_int_equal(stats.node[nodes[n].id].raw_bytes, N * PAGE);
        assert_true(stats.node[nodes[n].id].allocated_bytes >= N * PAGE);
    }
    forget_affinity();
    close_cache(cache);
}

static void a_bound_tenant_stays_on_its_node(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, "raw_percent=100,start_percent=100");

    (void)state;
    for (unsigned n = 0; n < n_nodes; n++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "node%d", nodes[n].id);
        struct zcache_tenant *tenant = open_bound(cache, name, nodes[n].id);
        for (unsigned from = 0; from < n_nodes; from++) {
            run_on(from);
            put_n(tenant, from);
            assert_int_equal(pages_on(tenant, from, nodes[n].id), N);
        }
        const struct zcache_stats stats = stats_of(tenant);
        assert_int_equal(stats.node[nodes[n].id].pages, N * n_nodes);
        assert_int_equal(stats.gauge.pages, N * n_nodes);
    }
    forget_affinity();
    close_cache(cache);
}

/* Compressed and made raw again, by a thread elsewhere, a page is still at home. */
static void pages_stay_at_home_through_the_tiers(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    for (unsigned n = 0; n < n_nodes; n++) {
        run_on(n);
        for (uint64_t i = 0; i < N; i++) {
            assert_int_equal(put_page(root, key_of(n, i), 1, FILL_TEXT, ZCACHE_DIRTY), 0);
        }
    }
    run_on(0);
    assert_int_equal(zcache_shrink(root, 64 * MIB, 10000, NULL), -EAGAIN);
    assert_int_equal(stats_of(root).tier[ZCACHE_TIER_RAW].pages, 0);
    for (unsigned n = 0; n < n_nodes; n++) {
        assert_int_equal(stats_of(root).node[nodes[n].id].pages, N);
    }
    run_on(n_nodes - 1);
    for (unsigned n = 0; n < n_nodes; n++) {
        assert_int_equal(pages_on(root, n, nodes[n].id), N);
    }
    forget_affinity();
    drop_cache(cache);
}

/* What one node gives up does not come from another. */
static void a_replaced_page_moves_to_the_new_putter(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, "raw_percent=100,start_percent=100");
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    run_on(0);
    put_n(root, 1);
    run_on(1);
    put_n(root, 1);
    const struct zcache_stats stats = stats_of(root);
    assert_int_equal(stats.node[nodes[0].id].pages + stats.node[nodes[1].id].pages, N);
    /* Wherever the record is counted, the bytes are all in one place. */
    assert_int_equal(stats.gauge.pages, N);
    const unsigned on_first = pages_on(root, 1, nodes[0].id);
    const unsigned on_second = pages_on(root, 1, nodes[1].id);
    assert_int_equal(on_first + on_second, N);
    assert_true(on_first == N || on_second == N);
    forget_affinity();
    close_cache(cache);
}

/* More than one node's share of puts still succeeds: other nodes and the quota make room. */
static void one_node_may_use_the_whole_capacity(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, "fast=none,dense=none");
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    run_on(1);
    for (uint64_t i = 0; i < 3 * (16 * MIB) / PAGE; i++) {
        assert_int_equal(put_page(root, key_of(1, i), 1, FILL_RANDOM, 0), 0);
    }
    const struct zcache_stats stats = stats_of(root);
    assert_true(stats.gauge.charge_bytes > 16 * MIB * 80 / 100);
    assert_true(stats.gauge.peak_charge_bytes <= 16 * MIB);
    assert_int_equal(stats.node[nodes[1].id].pages, stats.gauge.pages);
    forget_affinity();
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
        cmocka_unit_test(pages_stay_at_home_through_the_tiers),
        cmocka_unit_test(a_replaced_page_moves_to_the_new_putter),
        cmocka_unit_test(one_node_may_use_the_whole_capacity),
        cmocka_unit_test(a_node_that_is_not_there_is_refused),
    };

    test_begin(argc, argv, 0);
    find_nodes();
    if (n_nodes < 2) {
        test_skip("this machine has fewer than two NUMA nodes with memory and processors");
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
