/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What breaks where something is kept for later: it is counted twice or forgotten when it is taken away
 * at the moment at which it is filled up.
 */
#include <string.h>

#include "script.h"
#include "unit/inside.h"

#define KEY(page) key_of(1, page)
#define POINT     "stock.reserved"

struct putter {
    struct zcache_tenant *t;
    struct script_thread thread;
    uint64_t n;
};

/* New pages until the stock has been filled up once more. */
static void put_until_it_is_filled(void *arg)
{
    struct putter *p = arg;
    const unsigned before = script_reached(POINT);

    while (script_reached(POINT) == before) {
        REQUIRE_EQUAL(put_page(p->t, KEY(p->n), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
        p->n++;
    }
}

struct fixture {
    struct zcache *cache;
    struct zcache_tenant *t;
    struct putter putter;
};

static void setup(struct fixture *f)
{
    f->cache = open_cache(64 * MIB, NULL, PLAIN ",start_percent=100");
    f->t = open_tenant(zcache_root(f->cache), "t", 32 * MIB);
    f->putter = (struct putter){.t = f->t};
    script_begin();
}

/* A put that is to fill the stock up has reserved what it takes for that. */
static void stop_a_put(struct fixture *f)
{
    script_hold_any(POINT);
    script_start(&f->putter.thread, put_until_it_is_filled, &f->putter);
    script_await(POINT);
}

static void go_on(struct fixture *f)
{
    script_release(POINT);
    script_join(&f->putter.thread);
    script_end();
}

static void expect_exact(struct fixture *f)
{
    const struct zcache_stats stats = stats_of(f->t);

    zc_quota_call_in(f->t->account);
    drain(f->cache);
    assert_int_equal(stats.gauge.pages, f->putter.n);
    assert_int_equal(zc_quota_charge(f->t->account),
                     f->putter.n * (zc_page_bytes(PAGE, ZC_CODEC_NONE) +
                                    zc_pool_round(sizeof(struct zc_entry))));
    verify_cache(f->cache);
    close_cache(f->cache);
}

static void called_in_while_it_is_filled(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    stop_a_put(&f);
    zc_quota_call_in(&f.cache->account);
    assert_int_equal(zc_quota_stock(f.t->account), 0);
    go_on(&f);
    expect_exact(&f);
}

/* Enough came back meanwhile to fill it. */
static void filled_twice(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    stop_a_put(&f);
    for (unsigned i = 0; i < 64; i++) { /* for each of as many CPUs as there are parts at most */
        assert_null(zc_quota_reserve(f.t->account, ZC_STOCK_TAKE, ZC_QUOTA_PUT));
        zc_quota_refund(f.t->account, ZC_STOCK_TAKE);
    }
    assert_true(zc_quota_stock(f.t->account) <= atomic_load(&f.t->account->stock_max));
    go_on(&f);
    assert_true(zc_quota_stock(f.t->account) <= atomic_load(&f.t->account->stock_max));
    expect_exact(&f);
}

/* The limit is met by what is being reserved: who lowers it below waits for nobody. */
static void a_limit_lowered_while_it_is_filled(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    stop_a_put(&f);
    const uint64_t used = zc_quota_charge(f.t->account) - ZC_STOCK_TAKE;
    assert_int_equal(set_limit(f.t, used, 0), 0);
    go_on(&f); /* which gives back what it took */
    zc_quota_call_in(f.t->account);
    WAIT_UNTIL(zc_quota_charge(f.t->account) <= used, 20000);
    verify_cache(f.cache);
    close_cache(f.cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(called_in_while_it_is_filled),
        cmocka_unit_test(filled_twice),
        cmocka_unit_test(a_limit_lowered_while_it_is_filled),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
