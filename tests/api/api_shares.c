/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sizes of the tiers that adapt: on a live cache they go down where misses are dear and up where misses cost
 * nothing, each tenant's by itself; numbers stay; and what a miss costs is what the store's reads take.
 */
#include <time.h>

#include "mem_store.h"

#define CAPACITY (8 * MIB)
#define PAGES    12000u /* several times what fits raw */
#define STEPS    400000u
#define RAW0     50 /* where the shares begin, per thousand */
#define FAST0    50

/* One read of a page, of which a few are asked for much more often than the others; a miss is put. */
static void use(struct zcache_tenant *t, struct rng *rng)
{
    uint64_t a = rng_below(rng, PAGES);
    uint64_t b = rng_below(rng, PAGES);
    struct zcache_key key = key_of(1, a * b / PAGES);

    if (get_page(t, key, 0) == 0) {
        REQUIRE_EQUAL(put_page(t, key, 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    }
}

/* Works until the shares are on the other side of @raw per thousand; whether they got there. */
static bool raw_gets(struct zcache_tenant *t, uint64_t raw, bool up, unsigned steps)
{
    struct rng rng = {.state = 5};

    for (unsigned i = 0; i < steps; i++) {
        use(t, &rng);
        if (i % 512 == 0) {
            const uint64_t now = stats_of(t).gauge.raw_share_permille;

            if (up ? now >= raw : now <= raw) {
                return true;
            }
        }
    }
    return false;
}

static void dear_misses_make_it_denser(void **state)
{
    struct zcache *cache = open_cache(CAPACITY, NULL, "page_max=4K,miss_cost_us=50000");
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_stats s = stats_of(root);

    (void)state;
    assert_int_equal(s.gauge.raw_share_permille, RAW0);
    assert_int_equal(s.gauge.fast_share_permille, FAST0);
    assert_int_equal(s.gauge.miss_cost_ns, 50000000);
    assert_true(raw_gets(root, 25, false, STEPS));
    s = stats_of(root);
    assert_true(s.gauge.fast_share_permille < FAST0);
    WAIT_UNTIL(stats_of(root).tier[ZCACHE_TIER_RAW].allocated_bytes * 10 <
                   stats_of(root).gauge.charge_bytes * 3,
               10000);
    drop_cache(cache);
}

/*
 * A few pages that are hit all the time are no reason to keep others raw: 49 reads in 50 are of 16 pages, the
 * others of so many that hardly one comes back.
 */
static void what_is_always_hit_keeps_nothing_else_raw(void **state)
{
    struct zcache *cache = open_cache(CAPACITY, NULL, "page_max=4K,miss_cost_us=200");
    struct zcache_tenant *root = zcache_root(cache);
    struct rng rng = {.state = 7};
    unsigned char buf[PAGE];
    uint64_t raw = RAW0;
    size_t len;

    (void)state;
    for (unsigned i = 0; i < 8 * STEPS && raw > RAW0 / 2; i++) {
        struct zcache_key key = rng_below(&rng, 50) != 0
                                    ? key_of(2, rng_below(&rng, 16))
                                    : key_of(1, rng_below(&rng, UINT64_C(4) * PAGES));

        if (zcache_get(root, key, buf, sizeof(buf), &len, 0) != 0) {
            REQUIRE_EQUAL(put_page(root, key, 1, FILL_TEXT, ZCACHE_CLEAN), 0);
        }
        raw = i % 512 == 0 ? stats_of(root).gauge.raw_share_permille : raw;
        REQUIRE(raw <= RAW0);
    }
    assert_true(raw <= RAW0 / 2);
    drop_cache(cache);
}

static void misses_that_cost_nothing_make_it_rawer(void **state)
{
    struct zcache *cache = open_cache(CAPACITY, NULL, "page_max=4K,miss_cost_us=0");
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    assert_true(raw_gets(root, 600, true, STEPS));
    assert_true(stats_of(root).gauge.raw_share_permille + stats_of(root).gauge.fast_share_permille <
                1000); /* something stays dense */
    drop_cache(cache);
}

static void numbers_stay(void **state)
{
    struct zcache *cache =
        open_cache(CAPACITY, NULL, "page_max=4K,raw_percent=30,fast_percent=20,miss_cost_us=50000");
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    assert_false(raw_gets(root, 299, false, STEPS / 8));
    assert_int_equal(stats_of(root).gauge.raw_share_permille, 300);
    assert_int_equal(stats_of(root).gauge.fast_share_permille, 200);
    drop_cache(cache);
}

/* One number, and one share that adapts beside it. */
static void one_can_be_held(void **state)
{
    struct zcache *cache =
        open_cache(CAPACITY, NULL, "page_max=4K,fast_percent=20,miss_cost_us=50000");
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    assert_true(raw_gets(root, 30, false, STEPS));
    assert_int_equal(stats_of(root).gauge.fast_share_permille, 200);
    drop_cache(cache);
}

static void each_tenant_has_its_own(void **state)
{
    struct zcache *cache = open_cache(4 * CAPACITY, NULL, "page_max=4K,miss_cost_us=50000");
    struct zcache_tenant *busy = open_tenant(zcache_root(cache), "busy", CAPACITY);
    struct zcache_tenant *idle = open_tenant(zcache_root(cache), "idle", CAPACITY);

    (void)state;
    assert_true(raw_gets(busy, 30, false, STEPS));
    assert_int_equal(stats_of(idle).gauge.raw_share_permille, RAW0);
    assert_int_equal(stats_of(zcache_root(cache)).gauge.raw_share_permille, RAW0);
    drop_cache(cache);
}

/* ---- what a miss costs ----------------------------------------------------------------------- */

#define SLOW_NS 3000000

static int slow(struct mem_store *store, const struct zcache_io *io)
{
    (void)store;
    if (io->op == ZCACHE_IO_READ) {
        (void)nanosleep(&(struct timespec){.tv_nsec = SLOW_NS}, NULL);
    }
    return 0;
}

static void a_miss_costs_what_the_store_takes(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache;

    (void)state;
    store->hook = slow;
    for (uint64_t i = 0; i < 4; i++) {
        mem_store_put_page(store, 0, key_of(1, i), 1, FILL_TEXT);
    }
    cache = open_stored(CAPACITY, store, NULL);
    assert_int_equal(stats_of(zcache_root(cache)).gauge.miss_cost_ns, 200000);
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(get_page(zcache_root(cache), key_of(1, i), 0), 1);
    }
    assert_true(stats_of(zcache_root(cache)).gauge.miss_cost_ns >= SLOW_NS);
    close_cache(cache);
    mem_store_free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dear_misses_make_it_denser),
        cmocka_unit_test(what_is_always_hit_keeps_nothing_else_raw),
        cmocka_unit_test(misses_that_cost_nothing_make_it_rawer),
        cmocka_unit_test(numbers_stay),
        cmocka_unit_test(one_can_be_held),
        cmocka_unit_test(each_tenant_has_its_own),
        cmocka_unit_test(a_miss_costs_what_the_store_takes),
    };

    return cmocka_run_group_tests_name("shares", tests, NULL, NULL);
}
