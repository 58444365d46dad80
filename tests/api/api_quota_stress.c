/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Eight threads put into a tenant that holds an eighth of what they put: its charge is over the limit
 * at no instant, and no put is refused while the store works.
 *
 * usage: test_api_quota_stress [seed [seconds]]
 */
#include "mem_store.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    THREADS = 8,
    KEYS = 16384
};

#define LIMIT    (16 * MIB)
#define CAPACITY (64 * MIB)

static uint64_t seed;
static double seconds = 2;

struct stress {
    struct zcache_tenant *tenants[2]; /* where it puts; the second may be NULL */
    atomic_bool stop;
    atomic_uint_fast64_t puts;
};

struct putter {
    struct stress *stress;
    unsigned index;
    uint64_t versions[2][KEYS / THREADS];
};

static void *put_at_random(void *arg)
{
    struct putter *me = arg;
    struct rng rng = {seed + me->index};
    uint64_t n = 0;

    while (!atomic_load(&me->stress->stop)) {
        const unsigned t = me->stress->tenants[1] != NULL ? (unsigned)rng_below(&rng, 2) : 0;
        const uint64_t k = rng_below(&rng, KEYS / THREADS);
        const struct zcache_key key = key_of(me->index, k);
        const enum fill fill = (enum fill)rng_below(&rng, 3);

        REQUIRE_EQUAL(put_page(me->stress->tenants[t], key, ++me->versions[t][k], fill, 0), 0);
        n++;
        if (n % 8 == 0) {
            REQUIRE_EQUAL(get_page(me->stress->tenants[t], key, 0), me->versions[t][k]);
        }
    }
    atomic_fetch_add(&me->stress->puts, n);
    return NULL;
}

/* Put for a while, and until the limit is met; the main thread watches @tenant against @limit. */
static void run_stress(struct stress *stress, struct zcache_tenant *watched, uint64_t limit)
{
    static struct putter putters[THREADS];
    pthread_t threads[THREADS];
    uint64_t samples = 0;
    uint64_t highest = 0;

    memset(putters, 0, sizeof(putters));
    for (unsigned i = 0; i < THREADS; i++) {
        putters[i].stress = stress;
        putters[i].index = i;
        assert_int_equal(pthread_create(&threads[i], NULL, put_at_random, &putters[i]), 0);
    }
    const uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    const uint64_t patience = deadline_in(30000);
    bool met = false;
    while (now_ns() < end || (!met && now_ns() < patience)) {
        const struct zcache_stats now = stats_of(watched);
        const uint64_t charge = now.gauge.charge_bytes + now.gauge.stock_bytes; /* at one instant */

        highest = charge > highest ? charge : highest;
        met = now.count.quota_hits > 0;
        samples++;
    }
    atomic_store(&stress->stop, true);
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
    }

    const struct zcache_stats stats = stats_of(watched);
    print_message("%" PRIu64 " puts; charge at most %" PRIu64 " in %" PRIu64
                  " samples, peak %" PRIu64 ", limit %" PRIu64 "\n",
                  (uint64_t)atomic_load(&stress->puts), highest, samples,
                  stats.gauge.peak_charge_bytes, limit);
    assert_true(highest <= limit);
    assert_true(stats.gauge.peak_charge_bytes <= limit);
    assert_true(stats.gauge.peak_charge_bytes >= limit / 2); /* the limit was met at all */
    assert_true(stats.count.quota_hits > 0);
    assert_int_equal(stats.count.put_quota_rejects, 0);
    assert_int_equal(stats.count.put_capacity_rejects, 0);
    assert_int_equal(stats.count.foreign_evictions, 0);
    for (unsigned i = 0; i < THREADS; i++) {
        for (unsigned t = 0; t < 2; t++) {
            for (uint64_t k = 0; stress->tenants[t] != NULL && k < KEYS / THREADS; k++) {
                REQUIRE_EQUAL(get_page(stress->tenants[t], key_of(i, k), 0),
                              putters[i].versions[t][k]);
            }
        }
    }
}

static void one_tenant(enum mem_store_mode mode, const char *options)
{
    struct mem_store *store = mem_store_new(mode);
    struct zcache *cache = open_stored(CAPACITY, store, options);
    struct stress stress = {.tenants = {open_tenant(zcache_root(cache), "tenant", LIMIT), NULL}};

    run_stress(&stress, stress.tenants[0], LIMIT);
    assert_true(stats_of(zcache_root(cache)).gauge.peak_charge_bytes <= CAPACITY);
    close_cache(cache);
    mem_store_free(store);
}

static void a_tenants_limit_holds(void **state)
{
    (void)state;
    one_tenant(MEM_STORE_SYNC, NULL);
    one_tenant(MEM_STORE_THREAD, NULL);
}

static void a_tenants_limit_holds_without_compression(void **state)
{
    (void)state;
    one_tenant(MEM_STORE_SYNC, "fast=none,dense=none");
}

static void a_tenants_limit_holds_with_compression_in_the_call(void **state)
{
    (void)state;
    one_tenant(MEM_STORE_THREAD, "raw_percent=0");
}

/* The limit of two tenants' parent. */
static void an_ancestors_limit_holds(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(CAPACITY, store, NULL);
    struct zcache_tenant *parent = open_tenant(zcache_root(cache), "parent", LIMIT);
    struct stress stress = {.tenants = {open_tenant(parent, "a", ZCACHE_UNLIMITED),
                                        open_tenant(parent, "b", LIMIT * 3 / 4)}};

    (void)state;
    run_stress(&stress, parent, LIMIT);
    assert_true(stats_of(stress.tenants[1]).gauge.peak_charge_bytes <= LIMIT * 3 / 4);
    close_cache(cache);
    mem_store_free(store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tenants_limit_holds),
        cmocka_unit_test(a_tenants_limit_holds_without_compression),
        cmocka_unit_test(a_tenants_limit_holds_with_compression_in_the_call),
        cmocka_unit_test(an_ancestors_limit_holds),
    };

    seed = test_begin(argc, argv, 8128);
    if (argc > 2) {
        seconds = strtod(argv[2], NULL);
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
