/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What happens at each limit: who is shrunk, who is not, which code a put gets, and what is left of
 * an older version when it fails.
 */
#include "mem_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Tiers play no part where nothing can be compressed. */
#define PLAIN "fast=none,dense=none"

/* Put pages [from, from + n) of @object, each once, all of which must succeed. */
static void put_pages(struct zcache_tenant *tenant,
                      uint64_t object,
                      uint64_t from,
                      uint64_t n,
                      unsigned flags)
{
    for (uint64_t i = from; i < from + n; i++) {
        REQUIRE_EQUAL(put_page(tenant, key_of(object, i), 1, FILL_RANDOM, flags), 0);
    }
}

/* Put pages of @object until one is refused; its number. */
static uint64_t put_until(struct zcache_tenant *tenant,
                          uint64_t object,
                          unsigned flags,
                          int expected)
{
    for (uint64_t i = 0;; i++) {
        REQUIRE(i < 1000000);
        const int rc = put_page(tenant, key_of(object, i), 1, FILL_RANDOM, flags);
        if (rc == 0) {
            continue;
        }
        REQUIRE_EQUAL(rc, expected);
        return i;
    }
}

static uint64_t count_cached(struct zcache_tenant *tenant, uint64_t object, uint64_t n)
{
    uint64_t cached = 0;
    for (uint64_t i = 0; i < n; i++) {
        cached += is_cached(tenant, key_of(object, i));
    }
    return cached;
}

static int set_writeback(struct zcache_tenant *tenant, uint64_t limit, enum zcache_writeback mode)
{
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;

    limits.limit_bytes = limit;
    limits.writeback = mode;
    return zcache_tenant_set_limits(tenant, &limits, 0, NULL);
}

/* ---- quotas -------------------------------------------------------------------------------------- */

static void a_limit_of_zero_refuses_and_shrinks_nobody(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *other = open_tenant(root, "other", ZCACHE_UNLIMITED);
    struct zcache_tenant *zero = open_tenant(root, "zero", 0);
    struct zcache_tenant *below = open_tenant(zero, "below", 4 * MIB);
    struct zcache_page pages[2];
    unsigned char data[PAGE];

    (void)state;
    put_pages(other, 1, 0, 8 * MIB / PAGE, 0);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(put_page(zero, key_of(2, i), 1, FILL_RANDOM, 0), -EDQUOT);
        assert_int_equal(put_page(below, key_of(2, i), 1, FILL_RANDOM, 0), -EDQUOT);
    }
    assert_int_equal(put_page(zero, key_of(2, 0), 1, FILL_RANDOM, ZCACHE_BEST_EFFORT),
                     ZCACHE_BYPASSED);
    page_make(data, PAGE, key_of(3, 0), 1, FILL_RANDOM);
    for (unsigned i = 0; i < 2; i++) {
        pages[i] = (struct zcache_page){.key = key_of(3, i), .data = data, .len = PAGE};
    }
    assert_int_equal(zcache_put_many(zero, pages, 2, 0), -EDQUOT);
    assert_int_equal(pages[0].status, -EDQUOT);
    assert_int_equal(pages[1].status, -EDQUOT);

    const struct zcache_stats zero_stats = stats_of(zero);
    const struct zcache_stats root_stats = stats_of(root);
    assert_int_equal(zero_stats.count.put_quota_rejects, 2002);
    assert_int_equal(zero_stats.count.put_bypassed, 1);
    assert_int_equal(zero_stats.gauge.pages, 0);
    assert_int_equal(root_stats.count.sync_shrinks, 0);
    assert_int_equal(evictions_of(&root_stats), 0);
    assert_int_equal(count_cached(other, 1, 8 * MIB / PAGE), 8 * MIB / PAGE);
    assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_WRITE]), 0);
    close_cache(cache);
    mem_store_free(store);
}

/* A tenant full of pages that were all just stored and just hit is still reclaimable. */
static void second_chance_then_forced_pass(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, PLAIN ",policy=lru");
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *other = open_tenant(root, "other", ZCACHE_UNLIMITED);
    struct zcache_tenant *tenant = open_tenant(root, "tenant", 4 * MIB);
    uint64_t n = 0;

    (void)state;
    put_pages(other, 1, 0, 100, 0);
    while (stats_of(tenant).count.sync_shrinks == 0) {
        for (unsigned round = 0; n > 0 && round < 3; round++) {
            assert_int_equal(get_page(tenant, key_of(1, n - 1), 0), 1);
        }
        assert_true(n < 4 * MIB / PAGE);
        put_pages(tenant, 1, n++, 1, 0);
    }
    assert_true(n > 4 * MIB / PAGE * 9 / 10);
    assert_true(is_cached(tenant, key_of(1, n - 1)));
    const struct zcache_stats stats = stats_of(tenant);
    assert_int_equal(stats.count.sync_forced, 1);
    assert_int_equal(stats.count.put_quota_rejects, 0);
    /* The victims are the oldest: no page is gone that is younger than one that is there. */
    assert_false(is_cached(tenant, key_of(1, 0)));
    uint64_t first_left = 0;
    while (!is_cached(tenant, key_of(1, first_left))) {
        first_left++;
    }
    for (uint64_t i = first_left; i < n; i++) {
        assert_true(is_cached(tenant, key_of(1, i)));
    }
    assert_true(first_left <= 64);
    assert_int_equal(count_cached(other, 1, 100), 100);
    close_cache(cache);
}

/* The first pass honours what was hit. */
static void pages_that_were_hit_outlive_others(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, PLAIN ",policy=lru");
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "tenant", 4 * MIB);
    const uint64_t n = 800;

    (void)state;
    put_pages(tenant, 1, 0, n, 0);
    assert_int_equal(stats_of(tenant).count.quota_hits, 0);
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(get_page(tenant, key_of(1, i), 0), 1);
    }
    put_pages(tenant, 2, 0, 400, 0);
    assert_int_equal(count_cached(tenant, 1, 100), 100);
    assert_true(count_cached(tenant, 1, n) < n);
    close_cache(cache);
}

static void an_ancestors_limit_shrinks_its_subtree(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *outside = open_tenant(root, "outside", ZCACHE_UNLIMITED);
    struct zcache_tenant *parent = open_tenant(root, "parent", 4 * MIB);
    struct zcache_tenant *holder = open_tenant(parent, "holder", ZCACHE_UNLIMITED);
    struct zcache_tenant *poor = open_tenant(parent, "poor", ZCACHE_UNLIMITED);

    (void)state;
    put_pages(outside, 1, 0, 500, 0);
    put_pages(holder, 1, 0, 800, 0);
    assert_int_equal(set_limit(parent, charge_of(parent), 0), 0); /* it is full now */
    const struct zcache_stats before = stats_of(holder);
    assert_true(before.gauge.charge_bytes > 3 * MIB);

    /* The sibling holds everything; it gives up its oldest. */
    put_pages(poor, 1, 0, 1, 0);
    assert_true(is_cached(poor, key_of(1, 0)));
    const struct zcache_stats after = stats_of(holder);
    assert_true(after.gauge.pages < before.gauge.pages);
    assert_true(after.gauge.pages >= before.gauge.pages - 64);
    uint64_t first_left = 0;
    while (!is_cached(holder, key_of(1, first_left))) {
        first_left++;
    }
    assert_true(first_left > 0);
    for (uint64_t i = first_left; i < 800; i++) {
        assert_true(is_cached(holder, key_of(1, i)));
    }
    put_pages(poor, 1, 1, 1000, 0);
    assert_true(is_cached(poor, key_of(1, 1000)));
    assert_true(stats_of(parent).count.quota_hits >= 1);
    assert_true(stats_of(parent).gauge.peak_charge_bytes <= 4 * MIB);

    /* Nobody else had to give anything. */
    assert_int_equal(count_cached(outside, 1, 500), 500);
    const struct zcache_stats stats = stats_of(outside);
    assert_int_equal(evictions_of(&stats), 0);
    assert_int_equal(stats_of(root).count.foreign_evictions, 0);
    close_cache(cache);
}

/* The requester's own pages go first. */
static void the_requester_gives_first(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, PLAIN);
    struct zcache_tenant *parent = open_tenant(zcache_root(cache), "parent", 4 * MIB);
    struct zcache_tenant *a = open_tenant(parent, "a", ZCACHE_UNLIMITED);
    struct zcache_tenant *b = open_tenant(parent, "b", ZCACHE_UNLIMITED);

    (void)state;
    put_pages(a, 1, 0, 400, 0);
    put_pages(b, 1, 0, 400, 0);
    put_pages(b, 2, 0, 800, 0);
    assert_int_equal(count_cached(a, 1, 400), 400);
    close_cache(cache);
}

/* ---- limits that are lowered --------------------------------------------------------------------- */

static void a_lowered_limit_drains_in_the_call(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "tenant", 16 * MIB);
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;
    struct zcache_shrink_result result = {0};

    (void)state;
    put_pages(tenant, 1, 0, 2000, 0);
    const uint64_t charge = charge_of(tenant);
    limits.limit_bytes = 2 * MIB;
    assert_int_equal(zcache_tenant_set_limits(tenant, &limits, 20000, &result), 0);
    assert_int_equal(result.remaining_bytes, 0);
    assert_true(result.freed_bytes >= charge - 2 * MIB);
    assert_true(result.written_pages > 1000);
    assert_true(result.evicted_pages > 1000);
    assert_true(charge_of(tenant) <= 2 * MIB);
    for (uint64_t i = 0; i < 2000; i++) {
        assert_int_equal(get_page(tenant, key_of(1, i), 0), 1); /* nothing was lost */
    }
    close_cache(cache);
    mem_store_free(store);
}

static void a_lowered_limit_drains_in_the_background(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "tenant", 16 * MIB);

    (void)state;
    put_pages(tenant, 1, 0, 2000, 0);
    assert_int_equal(set_limit(tenant, 2 * MIB, 0), 0);
    /* Without any put. */
    WAIT_UNTIL(charge_of(tenant) <= 2 * MIB, 10000);
    close_cache(cache);
    mem_store_free(store);
}

static void what_cannot_drain_is_told(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "tenant", 16 * MIB);
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;
    struct zcache_shrink_result result = {0};
    struct zcache_pin pins[100];

    (void)state;
    put_pages(tenant, 1, 0, 1000, 0);
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(zcache_pin(tenant, key_of(1, i), 0, &pins[i]), 0);
    }
    limits.limit_bytes = 0;
    assert_int_equal(zcache_tenant_set_limits(tenant, &limits, 300, &result), 0);
    assert_true(result.pinned_pages >= 100);
    assert_true(result.remaining_bytes >= 100 * PAGE);
    assert_true(result.remaining_bytes <= 110 * (PAGE + 512));
    assert_int_equal(result.remaining_bytes, charge_of(tenant));
    /* The limit holds for puts at once. */
    assert_int_equal(put_page(tenant, key_of(2, 0), 1, FILL_RANDOM, 0), -EDQUOT);
    for (uint64_t i = 0; i < 100; i++) {
        zcache_unpin(&pins[i]);
    }
    WAIT_UNTIL(stats_of(tenant).gauge.pages == 0, 10000);
    close_cache(cache);
    mem_store_free(store);
}

static void failing_writes_are_told(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "tenant", 16 * MIB);
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;
    struct zcache_shrink_result result = {0};

    (void)state;
    put_pages(tenant, 1, 0, 500, 0);
    atomic_store(&store->fail_batches[ZCACHE_IO_WRITE], 1 << 20);
    limits.limit_bytes = 1 * MIB;
    assert_int_equal(zcache_tenant_set_limits(tenant, &limits, 200, &result), 0);
    assert_true(result.failed_pages > 0);
    assert_true(result.remaining_bytes > 0);
    assert_int_equal(count_cached(tenant, 1, 500), 500);
    assert_true(stats_of(tenant).count.write_errors > 0);
    assert_int_equal(stats_of(tenant).gauge.dirty_pages, 500);
    atomic_store(&store->fail_batches[ZCACHE_IO_WRITE], 0);
    /* It is tried again, and then works. */
    WAIT_UNTIL(charge_of(tenant) <= 1 * MIB, 20000);
    (void)!zcache_flush(tenant, 5000);
    close_cache(cache);
    mem_store_free(store);
}

/* ---- write-back off ------------------------------------------------------------------------------ */

static void writeback_off_refuses(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "tenant", 4 * MIB);

    (void)state;
    assert_int_equal(set_writeback(tenant, 4 * MIB, ZCACHE_WRITEBACK_OFF), 0);
    const uint64_t n = put_until(tenant, 1, 0, -EDQUOT);
    assert_true(n > 4 * MIB / PAGE * 9 / 10);
    assert_int_equal(put_page(tenant, key_of(2, 0), 1, FILL_RANDOM, ZCACHE_BEST_EFFORT),
                     ZCACHE_BYPASSED);
    assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_WRITE]), 0);
    assert_int_equal(count_cached(tenant, 1, n), n);

    struct zcache_shrink_result result = {0};
    assert_int_equal(zcache_shrink(tenant, 1 * MIB, 100, &result), -EAGAIN);
    assert_true(result.dirty_pages >= n);
    assert_int_equal(result.freed_bytes, 0);
    assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_WRITE]), 0);

    /* Flushing is not reclaim: it writes, and then clean pages may go. */
    assert_int_equal(zcache_flush(tenant, 10000), 0);
    assert_int_equal(stats_of(tenant).gauge.dirty_pages, 0);
    put_pages(tenant, 3, 0, 10, 0);
    /* On again, dirty ones may go too. */
    assert_int_equal(set_writeback(tenant, 4 * MIB, ZCACHE_WRITEBACK_ON), 0);
    put_pages(tenant, 4, 0, 2 * (4 * MIB) / PAGE, 0);
    close_cache(cache);
    mem_store_free(store);
}

struct refused {
    struct zcache_tenant *tenant;
    uint64_t object;
    uint64_t longest_ns;
};

/* Puts and loads where nothing can be freed: each is answered, and soon. */
static void *be_refused(void *arg)
{
    struct refused *me = arg;

    for (uint64_t i = 0; i < 100; i++) {
        const uint64_t start = now_ns();
        REQUIRE_EQUAL(put_page(me->tenant, key_of(me->object, i), 1, FILL_RANDOM, 0), -EDQUOT);
        REQUIRE_EQUAL(get_page(me->tenant, key_of(99, i), 0), 7);
        const uint64_t took = now_ns() - start;
        me->longest_ns = took > me->longest_ns ? took : me->longest_ns;
    }
    return NULL;
}

/*
 * Several threads meet a limit below which nothing can be freed. What one of them has in hand while it
 * looks must not keep the others, who look as well, waiting for it.
 */
static void refusals_of_many_threads_are_prompt(void **state)
{
    enum {
        N = 6
    };
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN ",max_stall_ms=60000");
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "tenant", 1 * MIB);
    struct refused threads[N];
    pthread_t ids[N];
    uint64_t longest = 0;

    (void)state;
    assert_int_equal(set_writeback(tenant, 1 * MIB, ZCACHE_WRITEBACK_OFF), 0);
    for (uint64_t i = 0; i < 100; i++) {
        mem_store_put_page(store, zcache_tenant_id(tenant), key_of(99, i), 7, FILL_RANDOM);
    }
    put_until(tenant, 1, 0, -EDQUOT);
    for (unsigned i = 0; i < N; i++) {
        threads[i] = (struct refused){.tenant = tenant, .object = 10 + i};
        assert_int_equal(pthread_create(&ids[i], NULL, be_refused, &threads[i]), 0);
    }
    for (unsigned i = 0; i < N; i++) {
        pthread_join(ids[i], NULL);
        longest = threads[i].longest_ns > longest ? threads[i].longest_ns : longest;
    }
    print_message("the longest took %llu ms\n", (unsigned long long)(longest / MS_IN_NS));
    assert_true(longest < 2000 * MS_IN_NS * TEST_SLOWDOWN);
    close_cache(cache);
    mem_store_free(store);
}

static void any_ancestor_that_is_off_wins(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *top = open_tenant(zcache_root(cache), "top", ZCACHE_UNLIMITED);
    struct zcache_tenant *middle = open_tenant(top, "middle", ZCACHE_UNLIMITED);
    struct zcache_tenant *leaf = open_tenant(middle, "leaf", 2 * MIB);

    (void)state;
    assert_int_equal(set_writeback(top, ZCACHE_UNLIMITED, ZCACHE_WRITEBACK_OFF), 0);
    assert_int_equal(set_writeback(leaf, 2 * MIB, ZCACHE_WRITEBACK_ON), 0);
    const uint64_t n = put_until(leaf, 1, 0, -EDQUOT);
    assert_int_equal(count_cached(leaf, 1, n), n);
    assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_WRITE]), 0);
    /* A tenant opened later below it is off as well. */
    struct zcache_tenant *late = open_tenant(middle, "late", 2 * MIB);
    put_until(late, 1, 0, -EDQUOT);
    assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_WRITE]), 0);
    assert_int_equal(set_writeback(top, ZCACHE_UNLIMITED, ZCACHE_WRITEBACK_ON), 0);
    put_pages(leaf, 2, 0, 100, 0);
    put_pages(late, 2, 0, 100, 0);
    assert_true(atomic_load(&store->batches[ZCACHE_IO_WRITE]) > 0);
    close_cache(cache);
    mem_store_free(store);
}

/* Clean pages of such a tenant are no different from others. */
static void writeback_off_lets_clean_pages_go(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "tenant", 4 * MIB);

    (void)state;
    assert_int_equal(set_writeback(tenant, 4 * MIB, ZCACHE_WRITEBACK_OFF), 0);
    put_pages(tenant, 1, 0, 3 * (4 * MIB) / PAGE, ZCACHE_CLEAN);
    assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_WRITE]), 0);
    close_cache(cache);
    mem_store_free(store);
}

/* ---- the cache's capacity ------------------------------------------------------------------------- */

/* A full cache of dirty pages whose store stands still. */
static struct zcache *open_full(struct mem_store *store, const char *policy, int expected)
{
    struct zcache *cache = open_stored(8 * MIB, store, policy);

    mem_store_hold(store, ZCACHE_IO_WRITE);
    const uint64_t n = put_until(zcache_root(cache), 1, 0, expected);
    REQUIRE(n >= 8 * MIB / PAGE / 2);
    return cache;
}

static void policy_reject_refuses_at_once(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_full(store, PLAIN ",full=reject,max_stall_ms=60000", -ENOSPC);
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    const uint64_t start = now_ns();
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(put_page(root, key_of(2, i), 1, FILL_RANDOM, 0), -ENOSPC);
    }
    assert_true(now_ns() - start < UINT64_C(10000000000));
    assert_int_equal(put_page(root, key_of(2, 0), 1, FILL_RANDOM, ZCACHE_BEST_EFFORT),
                     ZCACHE_BYPASSED);
    const struct zcache_stats stats = stats_of(root);
    assert_true(stats.count.put_capacity_rejects >= 100);
    assert_int_equal(stats.count.put_bypassed, 1);
    assert_true(stats.gauge.peak_charge_bytes <= 8 * MIB);
    mem_store_open(store, ZCACHE_IO_WRITE);
    WAIT_UNTIL(charge_of(root) <= 8 * MIB * 95 / 100, 10000);
    put_pages(root, 3, 0, 10, 0);
    close_cache(cache);
    mem_store_free(store);
}

static void policy_wait_gives_up_after_max_stall(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_full(store, PLAIN ",full=wait,max_stall_ms=100", -ENOSPC);
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    const uint64_t stalls = stats_of(root).count.stalls;
    const uint64_t start = now_ns();
    assert_int_equal(put_page(root, key_of(2, 0), 1, FILL_RANDOM, 0), -ENOSPC);
    const uint64_t waited = now_ns() - start;
    assert_true(waited >= 90 * MS_IN_NS);
    assert_true(waited < 5000 * MS_IN_NS * TEST_SLOWDOWN);
    const struct zcache_stats stats = stats_of(root);
    assert_true(stats.count.stalls > stalls);
    assert_true(stats.count.stall_ns >= 90 * MS_IN_NS);
    assert_true(stats.latency[ZCACHE_LATENCY_STALL].count > 0);

    /* Who must not wait does not. */
    const uint64_t again = now_ns();
    assert_int_equal(put_page(root, key_of(2, 0), 1, FILL_RANDOM, ZCACHE_NOWAIT), -EBUSY);
    assert_true(now_ns() - again < 90 * MS_IN_NS * TEST_SLOWDOWN);
    mem_store_open(store, ZCACHE_IO_WRITE);
    assert_int_equal(zcache_flush(root, 60000), 0);
    close_cache(cache);
    mem_store_free(store);
}

struct putter {
    struct zcache_tenant *tenant;
    uint64_t object;
    unsigned n;
    atomic_uint done;
};

static void *put_some(void *arg)
{
    struct putter *me = arg;
    for (unsigned i = 0; i < me->n; i++) {
        put_pages(me->tenant, me->object, i, 1, 0);
        atomic_fetch_add(&me->done, 1);
    }
    return NULL;
}

/* A put that waits goes on as soon as there is room. */
static void waits_until_there_is_room(const char *policy)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(8 * MIB, store, policy);
    struct zcache_tenant *root = zcache_root(cache);
    struct putter putter = {.tenant = root, .object = 5, .n = 4 * (8 * MIB) / PAGE};
    pthread_t thread;

    mem_store_hold(store, ZCACHE_IO_WRITE);
    assert_int_equal(pthread_create(&thread, NULL, put_some, &putter), 0);
    WAIT_UNTIL(charge_of(root) > 8 * MIB * 97 / 100, 10000);
    WAIT_UNTIL(mem_store_held(store, ZCACHE_IO_WRITE) > 0, 10000);
    assert_true(atomic_load(&putter.done) < putter.n);
    mem_store_open(store, ZCACHE_IO_WRITE);
    pthread_join(thread, NULL);
    assert_true(stats_of(root).gauge.peak_charge_bytes <= 8 * MIB);
    for (uint64_t i = 0; i < putter.n; i++) {
        assert_int_equal(get_page(root, key_of(5, i), 0), 1);
    }
    close_cache(cache);
    mem_store_free(store);
}

static void policies_wait_and_help_go_on(void **state)
{
    (void)state;
    waits_until_there_is_room(PLAIN ",full=wait,max_stall_ms=60000");
    waits_until_there_is_room(PLAIN ",full=help,max_stall_ms=60000");
    waits_until_there_is_room("full=wait,max_stall_ms=60000");
    waits_until_there_is_room("raw_percent=0,full=help,max_stall_ms=60000");
}

/* However many pages a call is about, it waits max_stall once, not for each of them. */
static void a_call_for_many_pages_stalls_once(void **state)
{
    enum {
        N = 512
    };
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN ",max_stall_ms=400,page_max=4096");
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "tenant", 4 * MIB);
    struct zcache_page *pages = calloc(N, sizeof(*pages));
    unsigned char *room = calloc(N, PAGE);

    (void)state;
    mem_store_hold(store, ZCACHE_IO_READ);
    mem_store_hold(store, ZCACHE_IO_WRITE);
    for (unsigned i = 0; i < N; i++) {
        pages[i] = (struct zcache_page){.key = key_of(1, i), .buf = room + i * PAGE, .cap = PAGE};
    }
    uint64_t start = now_ns();
    assert_int_equal(zcache_get_many(tenant, pages, N, 0), -ETIMEDOUT);
    assert_true(now_ns() - start < 4000 * MS_IN_NS); /* 16 batches */
    mem_store_open(store, ZCACHE_IO_READ);

    /* Dirty pages up to the limit, whose writes do not end. */
    for (unsigned i = 0; i < N; i++) {
        page_make(room + i * PAGE, PAGE, key_of(2, i), 1, FILL_RANDOM);
        pages[i] = (struct zcache_page){.key = key_of(2, i), .data = room + i * PAGE, .len = PAGE};
    }
    while (put_page(tenant, key_of(3, stats_of(tenant).gauge.pages), 1, FILL_RANDOM, 0) == 0) {
    }
    start = now_ns();
    assert_int_equal(zcache_put_many(tenant, pages, N, 0), -EDQUOT);
    assert_true(now_ns() - start < 20000 * MS_IN_NS); /* not 200 s */
    mem_store_open(store, ZCACHE_IO_WRITE);
    free(room);
    free(pages);
    close_cache(cache);
    mem_store_free(store);
}

/* ---- what a failed put leaves --------------------------------------------------------------------- */

static void a_failed_put_leaves_no_older_version(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "tenant", 4 * MIB);
    const uint64_t id = zcache_tenant_id(tenant);

    (void)state;
    assert_int_equal(set_writeback(tenant, 4 * MIB, ZCACHE_WRITEBACK_OFF), 0);
    put_pages(tenant, 1, 0, 100, 0);
    assert_int_equal(set_writeback(tenant, 0, ZCACHE_WRITEBACK_OFF), 0);
    for (uint64_t i = 0; i < 50; i++) {
        assert_int_equal(put_page(tenant, key_of(1, i), 2, FILL_RANDOM, 0), -EDQUOT);
        assert_false(is_cached(tenant, key_of(1, i)));
        mem_store_put_page(store, id, key_of(1, i), 2, FILL_RANDOM); /* by the caller itself */
    }
    for (uint64_t i = 50; i < 100; i++) {
        assert_int_equal(put_page(tenant, key_of(1, i), 2, FILL_RANDOM, ZCACHE_BEST_EFFORT),
                         ZCACHE_BYPASSED);
        assert_false(is_cached(tenant, key_of(1, i)));
        mem_store_put_page(store, id, key_of(1, i), 2, FILL_RANDOM);
    }
    assert_int_equal(stats_of(tenant).count.dropped, 100);
    assert_int_equal(stats_of(tenant).gauge.dirty_pages, 0);
    /* Nothing older comes after it; the store would notice. */
    assert_int_equal(set_limit(tenant, 4 * MIB, 0), 0);
    assert_int_equal(zcache_flush(tenant, 1000), 0);
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(get_page(tenant, key_of(1, i), 0), 2);
    }
    close_cache(cache);
    mem_store_free(store);
}

/* Unless its caller has no other place for the page. */
static void a_put_with_keep_old_leaves_it(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "tenant", 4 * MIB);

    (void)state;
    assert_int_equal(set_writeback(tenant, 4 * MIB, ZCACHE_WRITEBACK_OFF), 0);
    put_pages(tenant, 1, 0, 50, 0);
    assert_int_equal(set_writeback(tenant, 0, ZCACHE_WRITEBACK_OFF), 0);
    for (uint64_t i = 0; i < 100; i++) { /* half of them new */
        assert_int_equal(put_page(tenant, key_of(1, i), 2, FILL_RANDOM, ZCACHE_KEEP_OLD), -EDQUOT);
        assert_int_equal(is_cached(tenant, key_of(1, i)), i < 50);
    }
    for (uint64_t i = 0; i < 50; i++) {
        assert_int_equal(get_page(tenant, key_of(1, i), 0), 1);
    }
    assert_int_equal(stats_of(tenant).count.dropped, 0);
    assert_int_equal(stats_of(tenant).gauge.dirty_pages, 50);
    /* They are as good as before: replaced where there is room, and written. */
    assert_int_equal(set_limit(tenant, 4 * MIB, 0), 0);
    assert_int_equal(put_page(tenant, key_of(1, 0), 2, FILL_RANDOM, ZCACHE_KEEP_OLD), 0);
    assert_int_equal(get_page(tenant, key_of(1, 0), 0), 2);
    assert_int_equal(zcache_flush(tenant, 1000), 0);
    close_cache(cache);
    mem_store_free(store);
}

/* IF_ABSENT finds the page before any limit is looked at. */
static void an_existing_page_is_no_failure(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, PLAIN);
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "tenant", 4 * MIB);
    struct zcache_pin pin;

    (void)state;
    put_pages(tenant, 1, 0, 1, 0);
    assert_int_equal(zcache_pin(tenant, key_of(1, 0), 0, &pin), 0);
    assert_int_equal(set_limit(tenant, 0, 0), 0);
    assert_int_equal(put_page(tenant, key_of(1, 0), 2, FILL_RANDOM, ZCACHE_IF_ABSENT),
                     ZCACHE_EXISTS);
    assert_int_equal(get_page(tenant, key_of(1, 0), 0), 1);
    zcache_unpin(&pin);
    close_cache(cache);
}

struct replacer {
    struct zcache_tenant *tenant;
    struct zcache_key key;
    atomic_int rc;
    atomic_bool done;
};

static void *replace_page(void *arg)
{
    struct replacer *me = arg;
    atomic_store(&me->rc, put_page(me->tenant, me->key, 2, FILL_RANDOM, 0));
    atomic_store(&me->done, true);
    return NULL;
}

/* Nor may an older version be on its way to the store when the failed put returns. */
static void a_failed_put_waits_for_the_older_write(enum mem_store_mode mode)
{
    struct mem_store *store = mem_store_new(mode);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "tenant", 4 * MIB);
    const uint64_t id = zcache_tenant_id(tenant);
    struct replacer replacer = {.tenant = tenant, .key = key_of(1, 0), .rc = 1};
    pthread_t thread;

    put_pages(tenant, 1, 0, 1, 0);
    mem_store_hold(store, ZCACHE_IO_WRITE);
    assert_int_equal(set_limit(tenant, 0, 0), 0); /* the background begins to write it */
    WAIT_UNTIL(mem_store_held(store, ZCACHE_IO_WRITE) == 1, 10000);
    assert_true(mem_store_in_flight(store, id, key_of(1, 0)));
    assert_int_equal(put_page(tenant, key_of(1, 0), 2, FILL_RANDOM, ZCACHE_NOWAIT), -EBUSY);
    assert_int_equal(pthread_create(&thread, NULL, replace_page, &replacer), 0);
    /* It has every chance to return too early. */
    const uint64_t deadline = deadline_in(50);
    while (!atomic_load(&replacer.done) && pause_before(deadline)) {
        ;
    }
    assert_false(atomic_load(&replacer.done));
    mem_store_open(store, ZCACHE_IO_WRITE);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&replacer.rc), -EDQUOT);
    assert_false(mem_store_in_flight(store, id, key_of(1, 0)));
    mem_store_put_page(store, id, key_of(1, 0), 2, FILL_RANDOM);
    assert_false(is_cached(tenant, key_of(1, 0)));
    assert_int_equal(set_limit(tenant, 4 * MIB, 0), 0);
    assert_int_equal(get_page(tenant, key_of(1, 0), 0), 2);
    close_cache(cache);
    mem_store_free(store);
}

/* If that write never ends, the put fails and the older version is as it was. */
static void an_endless_write_makes_a_put_busy(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN ",max_stall_ms=100");
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "tenant", 4 * MIB);
    unsigned char room[PAGE];

    (void)state;
    put_pages(tenant, 1, 0, 1, 0);
    mem_store_hold(store, ZCACHE_IO_WRITE);
    assert_int_equal(set_limit(tenant, 0, 0), 0);
    WAIT_UNTIL(mem_store_held(store, ZCACHE_IO_WRITE) == 1, 10000);
    assert_int_equal(put_page(tenant, key_of(1, 0), 2, FILL_RANDOM, 0), -EBUSY);
    assert_int_equal(get_page(tenant, key_of(1, 0), ZCACHE_NO_LOAD), 1);
    assert_int_equal(zcache_get(tenant, key_of(1, 0), room, PAGE, NULL, ZCACHE_TAKE), -ETIMEDOUT);
    assert_int_equal(
        zcache_get(tenant, key_of(1, 0), room, PAGE, NULL, ZCACHE_TAKE | ZCACHE_NOWAIT), -EBUSY);
    assert_int_equal(zcache_delete(tenant, key_of(1, 0), ZCACHE_NOWAIT), -EBUSY);
    assert_int_equal(zcache_delete(tenant, key_of(1, 0), 0), -ETIMEDOUT);
    assert_int_equal(get_page(tenant, key_of(1, 0), ZCACHE_NO_LOAD), 1);
    mem_store_open(store, ZCACHE_IO_WRITE);
    WAIT_UNTIL(stats_of(tenant).gauge.writing_pages == 0, 10000);
    close_cache(cache);
    mem_store_free(store);
}

static void a_failed_put_has_no_older_write_in_flight(void **state)
{
    (void)state;
    a_failed_put_waits_for_the_older_write(MEM_STORE_THREAD);
    a_failed_put_waits_for_the_older_write(MEM_STORE_SYNC);
}

/* ---- flags --------------------------------------------------------------------------------------- */

static void noio_never_calls_the_store(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "tenant", 4 * MIB);
    unsigned char room[PAGE];

    (void)state;
    const unsigned before = mem_store_calls_here;
    const uint64_t n = put_until(tenant, 1, ZCACHE_NOIO, -EDQUOT);
    assert_int_equal(zcache_get(tenant, key_of(9, 9), room, PAGE, NULL, ZCACHE_NOIO), ZCACHE_MISS);
    struct zcache_pin pin;
    assert_int_equal(zcache_pin(tenant, key_of(9, 9), ZCACHE_NOIO, &pin), ZCACHE_MISS);
    assert_int_equal(zcache_delete(tenant, key_of(1, 0), ZCACHE_NOIO), 0);
    assert_int_equal(zcache_delete(tenant, key_of(9, 9), ZCACHE_NOIO), ZCACHE_MISS);
    assert_int_equal(mem_store_calls_here, before);
    assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_READ]), 0);
    assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_DISCARD]), 0);
    assert_true(n > 100);

    /* With it, the same put succeeds. */
    put_pages(tenant, 1, n, 100, 0);
    assert_true(mem_store_calls_here > before);

    /* Clean pages may be evicted without the store. */
    assert_int_equal(zcache_flush(tenant, 10000), 0);
    const unsigned flushed = mem_store_calls_here;
    put_pages(tenant, 2, 0, 100, ZCACHE_NOIO);
    assert_int_equal(mem_store_calls_here, flushed);
    close_cache(cache);
    mem_store_free(store);
}

static void no_load_does_not_ask_the_store(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    mem_store_put_page(store, 0, key_of(1, 1), 7, FILL_HALF);
    assert_int_equal(get_page(root, key_of(1, 1), ZCACHE_NO_LOAD), 0);
    assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_READ]), 0);
    assert_int_equal(get_page(root, key_of(1, 1), 0), 7);
    assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_READ]), 1);
    assert_int_equal(get_page(root, key_of(1, 1), ZCACHE_NO_LOAD), 7);
    close_cache(cache);
    mem_store_free(store);
}

/* Best effort that finds room is a put like any other; that finds none leaves the caller the page. */
static void best_effort_passes_pages_by(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, PLAIN);
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "tenant", 1 * MIB);
    uint64_t stored = 0;

    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        const int rc =
            put_page(tenant, key_of(1, i), 1, FILL_RANDOM, ZCACHE_DIRTY | ZCACHE_BEST_EFFORT);
        assert_true(rc == 0 || rc == ZCACHE_BYPASSED);
        assert_int_equal(is_cached(tenant, key_of(1, i)), rc == 0);
        stored += rc == 0;
    }
    const struct zcache_stats stats = stats_of(tenant);
    assert_int_equal(stats.count.put_inserts, stored);
    assert_int_equal(stats.count.put_bypassed, 1000 - stored);
    assert_int_equal(stats.count.put_quota_rejects, 0);
    assert_true(stored > 200 && stored < 256);
    drop_cache(cache);
}

/* A load that finds no room is delivered, but not kept; what must be kept fails. */
static void a_load_without_room_passes_through(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *zero = open_tenant(zcache_root(cache), "zero", 0);
    unsigned char room[PAGE];
    struct zcache_pin pin;

    (void)state;
    mem_store_put_page(store, zcache_tenant_id(zero), key_of(1, 1), 7, FILL_RANDOM);
    for (unsigned i = 1; i <= 3; i++) {
        assert_int_equal(get_page(zero, key_of(1, 1), 0), 7);
        assert_false(is_cached(zero, key_of(1, 1)));
        assert_int_equal(stats_of(zero).count.get_loads, i);
        assert_int_equal(stats_of(zero).count.load_through, i);
        assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_READ]), i);
    }
    assert_int_equal(zcache_pin(zero, key_of(1, 1), 0, &pin), -EDQUOT);
    assert_int_equal(zcache_get(zero, key_of(1, 1), room, PAGE, NULL, ZCACHE_TAKE), -EDQUOT);
    assert_false(is_cached(zero, key_of(1, 1)));
    assert_int_equal(stats_of(zero).count.get_errors, 1);
    assert_int_equal(stats_of(zero).count.pin_errors, 1);
    assert_int_equal(stats_of(zero).gauge.pages, 0);
    close_cache(cache);
    mem_store_free(store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_limit_of_zero_refuses_and_shrinks_nobody),
        cmocka_unit_test(second_chance_then_forced_pass),
        cmocka_unit_test(pages_that_were_hit_outlive_others),
        cmocka_unit_test(an_ancestors_limit_shrinks_its_subtree),
        cmocka_unit_test(the_requester_gives_first),
        cmocka_unit_test(a_lowered_limit_drains_in_the_call),
        cmocka_unit_test(a_lowered_limit_drains_in_the_background),
        cmocka_unit_test(what_cannot_drain_is_told),
        cmocka_unit_test(failing_writes_are_told),
        cmocka_unit_test(writeback_off_refuses),
        cmocka_unit_test(refusals_of_many_threads_are_prompt),
        cmocka_unit_test(any_ancestor_that_is_off_wins),
        cmocka_unit_test(writeback_off_lets_clean_pages_go),
        cmocka_unit_test(policy_reject_refuses_at_once),
        cmocka_unit_test(policy_wait_gives_up_after_max_stall),
        cmocka_unit_test(policies_wait_and_help_go_on),
        cmocka_unit_test(a_call_for_many_pages_stalls_once),
        cmocka_unit_test(a_failed_put_leaves_no_older_version),
        cmocka_unit_test(a_put_with_keep_old_leaves_it),
        cmocka_unit_test(an_existing_page_is_no_failure),
        cmocka_unit_test(a_failed_put_has_no_older_write_in_flight),
        cmocka_unit_test(an_endless_write_makes_a_put_busy),
        cmocka_unit_test(noio_never_calls_the_store),
        cmocka_unit_test(no_load_does_not_ask_the_store),
        cmocka_unit_test(best_effort_passes_pages_by),
        cmocka_unit_test(a_load_without_room_passes_through),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
