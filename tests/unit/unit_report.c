/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * report: a subtree's statistics are the sums of its tenants', the charge is the account's, and gauges of
 * the cache come with the root only.
 */
#include <string.h>

#include "inside.h"
#include "report.h"
#include "tier.h"

struct fixture {
    struct zcache *cache;
    struct zcache_tenant *a;
    struct zcache_tenant *ax;
    struct zcache_tenant *b;
};

/* Pages of every kind, different numbers of them in each tenant. */
static void fill(struct zcache_tenant *t, unsigned n)
{
    static const unsigned char zeros[PAGE];
    uint64_t freed;

    for (unsigned i = 0; i < n; i++) {
        REQUIRE_EQUAL(put_page(t, key_of(1, i), 1, FILL_TEXT, i % 2 ? ZCACHE_DIRTY : 0), 0);
        REQUIRE_EQUAL(put_page(t, key_of(2, i), 1, FILL_RANDOM, ZCACHE_INCOMPRESSIBLE), 0);
        REQUIRE_EQUAL(zcache_put(t, key_of(3, i), zeros, PAGE, 0), 0);
        REQUIRE_EQUAL(get_page(t, key_of(1, i), 0), 1);
        REQUIRE_EQUAL(get_page(t, key_of(4, i), 0), 0);
    }
    struct zc_entry *e = isolate(t, key_of(1, 0));
    REQUIRE(zc_tier_demote(t->cache, thread_of(t->cache), e, ZCACHE_TIER_FAST, &freed) ==
            ZC_TIER_MOVED);
    zc_page_putback(t->cache, thread_of(t->cache), e, true);
}

static void setup(struct fixture *f)
{
    f->cache = open_cache(32 * MIB, NULL, "latency_sample=1");
    f->a = open_tenant(f->cache->root, "a", 8 * MIB);
    f->ax = open_tenant(f->a, "x", 4 * MIB);
    f->b = open_tenant(f->cache->root, "b", 2 * MIB);
    fill(f->cache->root, 1);
    fill(f->a, 2);
    fill(f->ax, 4);
    fill(f->b, 8);
    drain(f->cache);
}

static struct zcache_stats alone(struct zcache_tenant *t)
{
    struct zcache_stats stats = ZCACHE_STATS_INIT;

    zc_report_tenant(t, &stats);
    return stats;
}

static struct zcache_stats subtree(struct zcache_tenant *t)
{
    struct zcache_stats stats = ZCACHE_STATS_INIT;

    memset(&stats.count, 0xff, sizeof(stats.count)); /* it is cleared first */
    zc_report_subtree(t, &stats);
    return stats;
}

/* Adds the members that add up; both structures consist of uint64_t alone there. */
static void add(uint64_t *into, const uint64_t *from, size_t bytes)
{
    for (size_t i = 0; i < bytes / sizeof(*into); i++) {
        into[i] += from[i];
    }
}

static void add_stats(struct zcache_stats *into, const struct zcache_stats *from)
{
    add((uint64_t *)&into->count, (const uint64_t *)&from->count, sizeof(into->count));
    add((uint64_t *)into->tier, (const uint64_t *)from->tier, sizeof(into->tier));
    add((uint64_t *)into->node, (const uint64_t *)from->node, sizeof(into->node));
    into->gauge.pages += from->gauge.pages;
    into->gauge.dirty_pages += from->gauge.dirty_pages;
    into->gauge.writing_pages += from->gauge.writing_pages;
    into->gauge.same_pages += from->gauge.same_pages;
    into->gauge.incompressible_pages += from->gauge.incompressible_pages;
    into->gauge.tenants += from->gauge.tenants;
    for (int k = 0; k < ZCACHE_LATENCIES; k++) {
        into->latency[k].count += from->latency[k].count;
        into->latency[k].sum_ns += from->latency[k].sum_ns;
    }
}

static void expect_sum(struct zcache_tenant *top, struct zcache_tenant *const *t, size_t n)
{
    struct zcache_stats sum = ZCACHE_STATS_INIT;
    const struct zcache_stats got = subtree(top);

    for (size_t i = 0; i < n; i++) {
        const struct zcache_stats one = alone(t[i]);
        add_stats(&sum, &one);
    }
    assert_memory_equal(&got.count, &sum.count, sizeof(sum.count));
    assert_memory_equal(got.tier, sum.tier, sizeof(sum.tier));
    assert_memory_equal(got.node, sum.node, sizeof(sum.node));
    assert_int_equal(got.gauge.pages, sum.gauge.pages);
    assert_int_equal(got.gauge.dirty_pages, sum.gauge.dirty_pages);
    assert_int_equal(got.gauge.writing_pages, sum.gauge.writing_pages);
    assert_int_equal(got.gauge.same_pages, sum.gauge.same_pages);
    assert_int_equal(got.gauge.incompressible_pages, sum.gauge.incompressible_pages);
    assert_int_equal(got.gauge.tenants, n);
    for (int k = 0; k < ZCACHE_LATENCIES; k++) {
        assert_int_equal(got.latency[k].count, sum.latency[k].count);
        assert_int_equal(got.latency[k].sum_ns, sum.latency[k].sum_ns);
    }
    assert_int_equal(got.n_nodes, ZC_MIN(top->cache->topo.n_sys, ZCACHE_NODES_MAX));
}

static void a_subtree_is_the_sum_of_its_tenants(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    struct zcache_tenant *const all[] = {f.cache->root, f.a, f.ax, f.b};
    expect_sum(f.cache->root, all, 4);
    expect_sum(f.a, all + 1, 2);
    expect_sum(f.ax, all + 2, 1);
    expect_sum(f.b, all + 3, 1);
    drop_cache(f.cache);
}

static void one_tenant_is_reported_as_it_is(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    const struct zcache_stats s = alone(f.ax);
    assert_int_equal(s.gauge.pages, 12);
    assert_int_equal(s.gauge.dirty_pages, 2);
    assert_int_equal(s.gauge.same_pages, 4);
    assert_int_equal(s.gauge.incompressible_pages, 4);
    assert_int_equal(s.tier[ZCACHE_TIER_RAW].pages, 11);
    assert_int_equal(s.tier[ZCACHE_TIER_FAST].pages, 1);
    assert_int_equal(s.tier[ZCACHE_TIER_RAW].raw_bytes, 11 * PAGE);
    assert_int_equal(s.count.put_inserts, 12);
    assert_int_equal(s.count.get_hits_raw, 4);
    assert_int_equal(s.count.get_misses, 4);
    assert_int_equal(s.latency[ZCACHE_LATENCY_PUT].count, 12);
    assert_int_equal(s.gauge.tenants, 1);
    drop_cache(f.cache);
}

static void the_charge_is_the_accounts(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    atomic_store(&f.a->reserve_bytes, 12345);
    const struct zcache_stats a = subtree(f.a);
    const struct zcache_stats a_alone = alone(f.a);
    assert_int_equal(a.gauge.charge_bytes, zc_quota_used(f.a->account));
    assert_int_equal(a_alone.gauge.charge_bytes, a.gauge.charge_bytes);
    assert_true(a.gauge.charge_bytes > subtree(f.ax).gauge.charge_bytes);
    assert_true(a.gauge.peak_charge_bytes >= a.gauge.charge_bytes);
    assert_int_equal(a.gauge.limit_bytes, 8 * MIB);
    assert_int_equal(a.gauge.reserve_bytes, 12345);
    atomic_store(&f.a->reserve_bytes, 0);
    drop_cache(f.cache);
}

static void gauges_of_the_cache_come_with_the_root(void **state)
{
    struct zcache_pin pin[2];
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(zcache_pin(f.b, key_of(2, 0), 0, &pin[0]), 0);
    assert_int_equal(zcache_pin(f.a, key_of(2, 0), 0, &pin[1]), 0);
    const struct zcache_stats root = subtree(f.cache->root);
    const struct zcache_stats a = subtree(f.a);
    const struct zcache_stats root_alone = alone(f.cache->root);
    assert_int_equal(a.cache.capacity_bytes | a.cache.entry_bytes | a.cache.pins, 0);
    assert_int_equal(root_alone.cache.capacity_bytes, 0);
    assert_int_equal(root.cache.capacity_bytes, 32 * MIB);
    assert_int_equal(root.cache.pins, 2);
    assert_int_equal(root.cache.entry_bytes, 45 * zc_pool_round(sizeof(struct zc_entry)));
    assert_true(root.cache.index_bytes > 0 && root.cache.tenant_bytes > 0);
    assert_true(root.cache.thread_bytes > 0);
    assert_true(root.cache.resident_bytes >= a.gauge.charge_bytes);
    zcache_unpin(&pin[0]);
    zcache_unpin(&pin[1]);
    assert_int_equal(subtree(f.cache->root).cache.pins, 0);
    drop_cache(f.cache);
}

static void counters_of_the_closed_are_kept(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    const struct zcache_stats before = subtree(f.a);
    assert_int_equal(zcache_tenant_close(f.ax, ZCACHE_CLOSE_DISCARD), 0);
    const struct zcache_stats after = subtree(f.a);
    assert_int_equal(after.count.put_inserts, before.count.put_inserts);
    assert_int_equal(after.count.get_misses, before.count.get_misses);
    assert_int_equal(after.latency[ZCACHE_LATENCY_PUT].count,
                     before.latency[ZCACHE_LATENCY_PUT].count);
    assert_int_equal(after.latency[ZCACHE_LATENCY_PUT].max_ns,
                     before.latency[ZCACHE_LATENCY_PUT].max_ns);
    assert_int_equal(after.count.dropped, 12);
    assert_int_equal(after.gauge.pages, 6);
    assert_int_equal(after.gauge.tenants, 1);
    drop_cache(f.cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_subtree_is_the_sum_of_its_tenants),
        cmocka_unit_test(one_tenant_is_reported_as_it_is),
        cmocka_unit_test(the_charge_is_the_accounts),
        cmocka_unit_test(gauges_of_the_cache_come_with_the_root),
        cmocka_unit_test(counters_of_the_closed_are_kept),
    };

    (void)test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
