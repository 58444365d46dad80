/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What accounts keep for puts to come is nobody's loss: limits are used to the end, nothing leaves for
 * its sake, and it is explained wherever a charge is.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "mem_store.h"

#define CAPACITY (64 * MIB)
#define PLAIN    "fast=none,dense=none,start_percent=100"
#define TENANTS  UINT64_C(4)
#define THREADS  6u
#define WARM     UINT64_C(40) /* puts by which a tenant gets a stock on each of some CPUs */

static uint64_t seed;

static uint64_t stock_of(struct zcache_tenant *t)
{
    return stats_of(t).gauge.stock_bytes;
}

/* A stock is opened for a CPU by its 16th put there; what is put is taken away again. */
static void stock_up(struct zcache_tenant *t)
{
    for (uint64_t i = 0; i < 10000 && (i < WARM || stock_of(t) == 0); i++) {
        REQUIRE_EQUAL(put_page(t, key_of(99, i % WARM), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    }
    REQUIRE_EQUAL(zcache_truncate(t, 99, 0), 0);
    REQUIRE(stock_of(t) > 0);
}

/* ---------------------------------------------------------------------------------------------- */
/* Threads that put, and then hold still or are gone. */

struct idler {
    struct zcache_tenant *t;
    atomic_bool *go;
    atomic_uint *ready;
    pthread_t id;
};

static void *stock_up_and_wait(void *arg)
{
    struct idler *me = arg;

    stock_up(me->t);
    atomic_fetch_add(me->ready, 1);
    while (!atomic_load(me->go)) {
        (void)pause_before(deadline_in(1000));
    }
    return NULL;
}

/* Half of the threads are gone, half hold still; their stocks are there all the same. */
static void limits_are_used_to_the_end(void **state)
{
    struct zcache *cache = open_cache(CAPACITY, NULL, PLAIN ",full=reject");
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *parent = open_tenant(root, "parent", ZCACHE_UNLIMITED);
    struct idler idler[TENANTS];
    atomic_uint ready = 0;
    atomic_bool go = false;
    uint64_t n = 0;

    (void)state;
    for (unsigned i = 0; i < TENANTS; i++) {
        char name[2] = {(char)('a' + i), '\0'};

        idler[i] = (struct idler){.t = open_tenant(parent, name, ZCACHE_UNLIMITED), &go, &ready, 0};
        assert_int_equal(pthread_create(&idler[i].id, NULL, stock_up_and_wait, &idler[i]), 0);
    }
    WAIT_UNTIL(atomic_load(&ready) == TENANTS, 20000);
    assert_true(stock_of(parent) > 0);
    assert_int_equal(stock_of(parent), stock_of(root));

    /* Pages that cannot leave, until one is refused. */
    while (put_page(root, key_of(1, n), 1, FILL_TEXT, ZCACHE_DIRTY) == 0) {
        n++;
    }
    const struct zcache_stats full = stats_of(root);
    const uint64_t page = full.tier[ZCACHE_TIER_RAW].allocated_bytes / n + 64;
    assert_int_equal(full.gauge.pages, n);
    assert_int_equal(full.gauge.stock_bytes, 0);
    assert_true(full.gauge.charge_bytes + 2 * page > CAPACITY - 256 * KIB);
    assert_int_equal(evictions_of(&full), 0);

    atomic_store(&go, true);
    for (unsigned i = 0; i < TENANTS; i++) {
        assert_int_equal(pthread_join(idler[i].id, NULL), 0);
    }
    drop_cache(cache);
}

/* The same of a tenant's limit, filled from its child, with stocks beside it. */
static void a_tenants_limit_is_used_to_the_end(void **state)
{
    struct zcache *cache = open_cache(CAPACITY, NULL, PLAIN);
    struct zcache_tenant *parent = open_tenant(zcache_root(cache), "parent", 16 * MIB);
    struct zcache_tenant *a = open_tenant(parent, "a", ZCACHE_UNLIMITED);
    struct zcache_tenant *b = open_tenant(parent, "b", ZCACHE_UNLIMITED);
    struct zcache_tenant *beside = open_tenant(zcache_root(cache), "beside", ZCACHE_UNLIMITED);
    uint64_t n = 0;

    (void)state;
    stock_up(b);
    stock_up(beside);
    while (put_page(a, key_of(1, n), 1, FILL_TEXT, ZCACHE_DIRTY) == 0) {
        n++;
    }
    const struct zcache_stats full = stats_of(parent);
    assert_int_equal(full.gauge.pages, n);
    assert_int_equal(full.gauge.stock_bytes, 0);
    assert_true(full.gauge.charge_bytes + 8 * KIB > 16 * MIB - 128 * KIB); /* but for the slack */
    assert_int_equal(evictions_of(&full), 0);
    assert_true(stock_of(beside) > 0); /* whose limit it is not */
    drop_cache(cache);
}

/* ---------------------------------------------------------------------------------------------- */
/* Nothing leaves for a stock. */

/* With them the charge is above the background mark, without them it is not. */
static void the_shrinker_asks_for_stocks_first(void **state)
{
    struct zcache *cache =
        open_cache(CAPACITY, NULL, PLAIN ",background_percent=80,low_percent=40");
    struct zcache_tenant *root = zcache_root(cache);
    const uint64_t mark = CAPACITY / 100 * 80;
    struct zcache_stats stats;
    uint64_t stock = 0;
    uint64_t n = 0;

    (void)state;
    for (unsigned i = 0; i < TENANTS; i++) {
        char name[2] = {(char)('a' + i), '\0'};

        stock_up(open_tenant(root, name, ZCACHE_UNLIMITED));
    }
    stock = stock_of(root);
    assert_true(stock >= TENANTS * 64 * KIB);
    do {
        assert_int_equal(put_page(root, key_of(1, n++), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
        stats = stats_of(root);
    } while (stats.gauge.charge_bytes + stock / 4 < mark);
    WAIT_UNTIL(stock_of(root) == 0, 20000); /* it was woken */
    WAIT_UNTIL(stats_of(root).cache.shrinker_sleeping == 1, 20000);
    stats = stats_of(root);
    assert_int_equal(stats.gauge.pages, n);
    assert_int_equal(evictions_of(&stats), 0);
    assert_int_equal(stats.count.shrinker_bytes, 0);
    close_cache(cache);
}

static void a_limit_may_be_lowered_to_what_is_used(void **state)
{
    struct zcache *cache = open_cache(CAPACITY, NULL, PLAIN);
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", 32 * MIB);
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;
    struct zcache_shrink_result result;

    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(put_page(t, key_of(1, i), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    }
    stock_up(t);
    verify_cache(cache); /* what was freed is off the charge */
    stock_up(t);
    limits.limit_bytes = charge_of(t) + WARM * 8 * KIB; /* what stock_up() put may be in limbo */
    assert_true(charge_of(t) + stock_of(t) > charge_of(t));
    assert_int_equal(zcache_tenant_set_limits(t, &limits, 1000, &result), 0);
    assert_int_equal(result.freed_bytes, 0);
    assert_int_equal(result.remaining_bytes, 0);
    assert_int_equal(stock_of(t), 0);
    assert_int_equal(stats_of(t).gauge.pages, 1000);
    close_cache(cache);
}

/* ---------------------------------------------------------------------------------------------- */
/* Tenants that go. */

static void a_tenant_closes_with_its_stock(void **state)
{
    static const enum zcache_close_mode modes[] = {ZCACHE_CLOSE_FLUSH, ZCACHE_CLOSE_REPARENT,
                                                   ZCACHE_CLOSE_DISCARD};
    struct zcache *cache = open_cache(CAPACITY, NULL, PLAIN);
    struct zcache_tenant *parent = open_tenant(zcache_root(cache), "parent", 32 * MIB);

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct zcache_tenant *t = open_tenant(parent, "t", ZCACHE_UNLIMITED);

        for (uint64_t k = 0; k < 100; k++) {
            assert_int_equal(put_page(t, key_of(1, k), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
        }
        stock_up(t);
        assert_int_equal(zcache_tenant_close(t, modes[i]), 0);
        assert_int_equal(stock_of(parent), 0);
        verify_cache(cache);
    }
    assert_int_equal(stats_of(parent).gauge.pages, 100);
    assert_int_equal(zcache_truncate(parent, 1, 0), 0);
    verify_cache(cache);
    assert_int_equal(charge_of(parent), 0);
    close_cache(cache);
}

/* ---------------------------------------------------------------------------------------------- */
/* All at once: threads, tenants that come and go, limits that change. */

struct crowd {
    struct zcache *cache;
    struct zcache_tenant *parent;
    struct zcache_tenant *tenant[TENANTS];
    atomic_bool stop;
};

struct putter {
    struct crowd *crowd;
    unsigned index;
    pthread_t id;
};

static void *put_and_delete(void *arg)
{
    struct putter *me = arg;
    struct rng rng = {seed + me->index};

    while (!atomic_load(&me->crowd->stop)) {
        struct zcache_tenant *t = me->crowd->tenant[rng_below(&rng, TENANTS)];

        for (unsigned i = 0; i < 64; i++) {
            const struct zcache_key key = key_of(me->index, rng_below(&rng, 512));

            if (rng_below(&rng, 8) == 0) {
                REQUIRE(zcache_delete(t, key, 0) >= 0);
            } else {
                REQUIRE_EQUAL(put_page(t, key, 1, FILL_TEXT, ZCACHE_CLEAN), 0);
            }
        }
    }
    return NULL;
}

static void watch(struct zcache_tenant *t, uint64_t limit)
{
    const struct zcache_stats stats = stats_of(t);

    assert_true(stats.gauge.charge_bytes + stats.gauge.stock_bytes <= limit);
    assert_true(stats.gauge.peak_charge_bytes <= limit);
}

static void sums_are_right_whoever_puts(void **state)
{
    struct crowd crowd = {.cache = open_cache(CAPACITY, NULL, PLAIN)};
    struct putter putter[THREADS];
    const uint64_t end = now_ns() + 1500 * MS_IN_NS;

    (void)state;
    crowd.parent = open_tenant(zcache_root(crowd.cache), "parent", 24 * MIB);
    for (unsigned i = 0; i < TENANTS; i++) {
        char name[2] = {(char)('a' + i), '\0'};

        crowd.tenant[i] = open_tenant(crowd.parent, name, i == 0 ? 8 * MIB : ZCACHE_UNLIMITED);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        putter[i] = (struct putter){.crowd = &crowd, .index = i};
        assert_int_equal(pthread_create(&putter[i].id, NULL, put_and_delete, &putter[i]), 0);
    }
    for (unsigned i = 0; now_ns() < end; i++) {
        struct zcache_tenant *guest = open_tenant(crowd.parent, "guest", ZCACHE_UNLIMITED);

        for (uint64_t k = 0; k < 64; k++) {
            REQUIRE_EQUAL(put_page(guest, key_of(1, k), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
        }
        watch(crowd.tenant[0], 8 * MIB);
        watch(crowd.parent, 24 * MIB);
        watch(zcache_root(crowd.cache), CAPACITY);
        assert_int_equal(zcache_tenant_close(guest, (enum zcache_close_mode)(i % 3)), 0);
        assert_int_equal(set_limit(crowd.tenant[1], i % 2 == 0 ? 2 * MIB : ZCACHE_UNLIMITED, 1000),
                         0);
    }
    atomic_store(&crowd.stop, true);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(putter[i].id, NULL), 0);
    }
    const uint64_t charge = charge_of(crowd.parent);
    verify_cache(crowd.cache);
    assert_int_equal(stock_of(zcache_root(crowd.cache)), 0);
    assert_true(charge_of(crowd.parent) <= charge); /* what was in limbo went meanwhile */
    close_cache(crowd.cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_are_used_to_the_end),
        cmocka_unit_test(a_tenants_limit_is_used_to_the_end),
        cmocka_unit_test(the_shrinker_asks_for_stocks_first),
        cmocka_unit_test(a_limit_may_be_lowered_to_what_is_used),
        cmocka_unit_test(a_tenant_closes_with_its_stock),
        cmocka_unit_test(sums_are_right_whoever_puts),
    };

    seed = test_begin(argc, argv, 1);
    return cmocka_run_group_tests_name("stock", tests, NULL, NULL);
}
