/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stocks of a cache's accounts: how often puts write the lines of accounts, which other threads need as
 * well, and what is taken for a page and is none.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "unit/inside.h"

#define CAPACITY (64 * MIB)
#define LEVELS   4u /* accounts from the tenant to the root */
#define THREADS  2u
#define PAGES    256u
#define ROUNDS   16u

struct fixture {
    struct zcache *cache;
    struct zcache_tenant *t;
};

static void setup(struct fixture *f)
{
    f->cache = open_cache(CAPACITY, NULL, PLAIN ",start_percent=100");
    f->t = zcache_root(f->cache);
    for (unsigned i = 1; i < LEVELS; i++) {
        f->t = open_tenant(f->t, "t", ZCACHE_UNLIMITED);
    }
}

static void teardown(struct fixture *f)
{
    close_cache(f->cache);
}

/* ---------------------------------------------------------------------------------------------- */

struct putter {
    struct zcache_tenant *t;
    uint64_t object;
    pthread_barrier_t *together;
    uint64_t n_written;
    pthread_t id;
};

/* New pages at first; then each is replaced, again and again. */
static void *put_over_and_over(void *arg)
{
    struct putter *me = arg;
    uint64_t before;

    for (uint64_t i = 0; i < PAGES; i++) {
        REQUIRE_EQUAL(put_page(me->t, key_of(me->object, i), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    }
    (void)pthread_barrier_wait(me->together);
    before = zc_quota_ops();
    for (uint64_t i = 0; i < (uint64_t)ROUNDS * PAGES; i++) {
        REQUIRE_EQUAL(put_page(me->t, key_of(me->object, i % PAGES), 2, FILL_TEXT, ZCACHE_CLEAN),
                      0);
    }
    me->n_written = zc_quota_ops() - before;
    return NULL;
}

/* A put reserves on each level, and what it replaced is refunded on each: 8 without a stock. */
static void puts_write_the_accounts_rarely(void **state)
{
    struct putter putter[THREADS];
    pthread_barrier_t together;
    struct fixture f;
    uint64_t n = 0;

    (void)state;
#ifndef ZCACHE_TEST_HOOKS
    skip();
#endif
    setup(&f);
    assert_int_equal(pthread_barrier_init(&together, NULL, THREADS), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        putter[i] = (struct putter){.t = f.t, .object = i, .together = &together};
        start(&putter[i].id, put_over_and_over, &putter[i]);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        join(putter[i].id);
        n += putter[i].n_written;
    }
    print_message("%.3f writes to accounts for a put\n",
                  (double)n / ((double)THREADS * ROUNDS * PAGES));
    assert_true(n <= (uint64_t)THREADS * ROUNDS * PAGES / 4);
    pthread_barrier_destroy(&together);
    teardown(&f);
}

/* Of new pages the room for page and record comes from the stock as well. */
static void new_pages_write_the_accounts_rarely(void **state)
{
    const uint64_t n = 4096;
    struct fixture f;
    uint64_t before;

    (void)state;
#ifndef ZCACHE_TEST_HOOKS
    skip();
#endif
    setup(&f);
    before = zc_quota_ops();
    for (uint64_t i = 0; i < n; i++) {
        assert_int_equal(put_page(f.t, key_of(1, i), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    }
    print_message("%.3f writes to accounts for a new page\n",
                  (double)(zc_quota_ops() - before) / (double)n);
    assert_true(zc_quota_ops() - before <= n / 2);
    teardown(&f);
}

static void stock_up(struct zcache_tenant *t)
{
    for (uint64_t i = 0; i < 10000 && zc_quota_stock(t->account) == 0; i++) {
        assert_int_equal(put_page(t, key_of(9, 0), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    }
    drain(t->cache);
    assert_true(zc_quota_stock(t->account) > 0);
}

/* A reserve is of what is used; on the charge there is more. */
static void what_is_in_stock_cannot_be_spared(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    stock_up(f.t);
    atomic_store(&f.t->reserve_bytes, zc_quota_used(f.t->account));
    assert_true(zc_quota_charge(f.t->account) > atomic_load(&f.t->reserve_bytes));
    assert_int_equal(zc_tenant_spare(f.t), 0);
    teardown(&f);
}

/* A record is used again with its stock, which is closed then, under another parent. */
static void a_stock_goes_on_with_its_record(void **state)
{
    struct fixture f;
    struct zcache_tenant *first;

    (void)state;
    setup(&f);
    first = open_tenant(f.t, "first", ZCACHE_UNLIMITED);
    stock_up(first);
    assert_int_equal(zcache_tenant_close(first, ZCACHE_CLOSE_DISCARD), 0);
    for (unsigned i = 0; i < 1000; i++) {
        struct zcache_tenant *next = open_tenant(zcache_root(f.cache), "next", ZCACHE_UNLIMITED);
        const bool again = next == first;

        assert_int_equal(zc_quota_stock(next->account), 0);
        if (again) {
            stock_up(next);
            assert_int_equal(zc_quota_stock(f.t->account), 0);
            assert_int_equal(zc_quota_stock(&f.cache->account),
                             zc_quota_charge(next->account) - zc_quota_used(next->account));
        }
        assert_int_equal(zcache_tenant_close(next, ZCACHE_CLOSE_DISCARD), 0);
        if (again) {
            teardown(&f);
            return;
        }
    }
    fail_msg("the record was not used again");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(puts_write_the_accounts_rarely),
        cmocka_unit_test(new_pages_write_the_accounts_rarely),
        cmocka_unit_test(what_is_in_stock_cannot_be_spared),
        cmocka_unit_test(a_stock_goes_on_with_its_record),
    };

    (void)test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("stock", tests, NULL, NULL);
}
