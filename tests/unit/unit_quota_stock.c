/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * quota_stock: puts that follow each other write the accounts rarely, what stocks keep is on the charge
 * and bounded, and whoever is refused has been given all that lay idle.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "api/support.h"
#include "mathx.h"
#include "quota.h"

#define PAGE_BYTES UINT64_C(4176)
#define LIMIT      (64 * MIB)

/* ---------------------------------------------------------------------------------------------- */
/* A tree of accounts with stocks of one part, so that it does not matter which CPU a test runs on. */

enum {
    ROOT,
    MID, /* below it A and B */
    A,
    B,
    OTHER, /* below the root */
    ACCOUNTS
};

static const int parent_of[ACCOUNTS] = {-1, ROOT, MID, MID, ROOT};

struct tree {
    struct zc_stocks stocks;
    struct zc_account account[ACCOUNTS];
    struct zc_stock *stock[ACCOUNTS];
};

static void plant_on(struct tree *t, const uint64_t limits[ACCOUNTS], unsigned n_cpus)
{
    zc_stocks_init(&t->stocks);
    for (int i = 0; i < ACCOUNTS; i++) {
        struct zc_account *parent = parent_of[i] < 0 ? NULL : &t->account[parent_of[i]];

        /* aligned_alloc() wants a multiple of the alignment, which parts of a line each give */
        t->stock[i] = aligned_alloc(ZC_CACHE_LINE, zc_stock_bytes(n_cpus));
        assert_non_null(t->stock[i]);
        memset(t->stock[i], 0, zc_stock_bytes(n_cpus));
        zc_stock_init(t->stock[i], n_cpus);
        assert_int_equal(zc_stock_size(t->stock[i]), zc_stock_bytes(n_cpus));
        zc_quota_init(&t->account[i], parent, limits[i]);
        zc_quota_use_stock(&t->account[i], &t->stocks, t->stock[i], 96);
    }
}

static void plant(struct tree *t)
{
    static const uint64_t limits[ACCOUNTS] = {LIMIT, LIMIT, LIMIT, LIMIT, LIMIT};

    plant_on(t, limits, 1);
}

static void fell(struct tree *t)
{
    zc_quota_call_in(&t->account[ROOT]);
    for (int i = 0; i < ACCOUNTS; i++) {
        assert_int_equal(zc_quota_charge(&t->account[i]), 0);
        assert_int_equal(atomic_load(&t->account[i].stock_max), 0);
        free(t->stock[i]);
    }
    zc_stocks_fini(&t->stocks);
}

static void take(struct tree *t, int i, unsigned n)
{
    while (n-- > 0) {
        assert_null(zc_quota_take(&t->account[i], PAGE_BYTES));
    }
}

static void give(struct tree *t, int i, unsigned n)
{
    while (n-- > 0) {
        zc_quota_refund(&t->account[i], PAGE_BYTES);
    }
}

/* Takes and gives until the account has a stock; it holds nothing then. */
static void stock_up(struct tree *t, int i)
{
    take(t, i, ZC_STOCK_WAIT + 1);
    give(t, i, ZC_STOCK_WAIT + 1);
    assert_true(zc_quota_stock(&t->account[i]) > 0);
    assert_int_equal(zc_quota_charge(&t->account[i]), zc_quota_stock(&t->account[i]));
}

static void expect_used(struct tree *t, int i, uint64_t bytes)
{
    assert_int_equal(zc_quota_used(&t->account[i]), bytes);
    assert_int_equal(zc_quota_charge(&t->account[i]) - zc_quota_stock(&t->account[i]), bytes);
}

/* ---------------------------------------------------------------------------------------------- */
/* What it is for. */

/* Three levels; without a stock each put writes them all, and each refund. */
static void a_stream_of_puts_writes_the_accounts_rarely(void **state)
{
    struct tree t;
    uint64_t before;

    (void)state;
#ifndef ZCACHE_TEST_HOOKS
    skip();
#endif
    plant(&t);
    before = zc_quota_ops();
    take(&t, A, 4);
    give(&t, A, 4);
    assert_int_equal(zc_quota_ops() - before, 8 * 3);
    take(&t, A, 1000);
    before = zc_quota_ops();
    take(&t, A, 3000);
    assert_true(zc_quota_ops() - before <= UINT64_C(3000) / 20 * 3);
    expect_used(&t, ROOT, 4000 * PAGE_BYTES);
    before = zc_quota_ops();
    give(&t, A, 3000);
    assert_true(zc_quota_ops() - before <= UINT64_C(3000) / 20 * 3);
    before = zc_quota_ops();
    for (unsigned i = 0; i < 1000;
         i++) { /* pages that are replaced, their bytes come back in batches */
        take(&t, A, 16);
        give(&t, A, 16);
    }
    assert_true(zc_quota_ops() - before <= 3);
    give(&t, A, 1000);
    expect_used(&t, MID, 0);
    fell(&t);
}

static void a_few_puts_take_no_stock(void **state)
{
    struct tree t;

    (void)state;
    plant(&t);
    take(&t, A, ZC_STOCK_WAIT - 1);
    assert_int_equal(zc_quota_charge(&t.account[ROOT]), (ZC_STOCK_WAIT - 1) * PAGE_BYTES);
    take(&t, B, 1);
    assert_int_equal(zc_quota_stock(&t.account[ROOT]), 0);
    take(&t, A, 2);
    assert_true(zc_quota_stock(&t.account[A]) > 0);
    assert_int_equal(zc_quota_stock(&t.account[ROOT]), zc_quota_stock(&t.account[A]));
    assert_int_equal(zc_quota_stock(&t.account[B]), 0);
    give(&t, A, ZC_STOCK_WAIT + 1);
    give(&t, B, 1);
    fell(&t);
}

/* However much comes back, and in whatever pieces. */
static void it_keeps_no_more_than_its_part(void **state)
{
    struct tree t;

    (void)state;
    plant(&t);
    take(&t, A, 1000);
    for (unsigned i = 0; i < 1000; i++) {
        give(&t, A, 1);
        assert_true(zc_quota_stock(&t.account[A]) <= ZC_STOCK_MAX);
        assert_true(zc_quota_stock(&t.account[A]) <= atomic_load(&t.account[ROOT].stock_max));
        expect_used(&t, A, (1000 - i - 1) * PAGE_BYTES);
    }
    assert_null(zc_quota_take(&t.account[A], MIB)); /* more than it ever has: from the accounts */
    expect_used(&t, ROOT, MIB);
    zc_quota_refund(&t.account[A], MIB);
    assert_true(zc_quota_stock(&t.account[A]) <= ZC_STOCK_MAX);
    fell(&t);
}

/* ---------------------------------------------------------------------------------------------- */
/* Where it must not be in the way. */

/* Near the limit of any level nothing is taken for it, and what is there is given back. */
static void near_a_limit_there_is_none(void **state)
{
    static const int tight[] = {ROOT, MID, A};

    (void)state;
    for (unsigned i = 0; i < ZC_ARRAY_SIZE(tight); i++) {
        uint64_t limits[ACCOUNTS] = {256 * MIB, 256 * MIB, 256 * MIB, LIMIT, LIMIT};
        struct tree t;
        uint64_t filled;

        limits[tight[i]] = LIMIT;
        plant_on(&t, limits, 1);
        stock_up(&t, A);
        filled = LIMIT / 100 * 96 - zc_quota_charge(&t.account[tight[i]]);
        assert_null(zc_quota_reserve(&t.account[tight[i]], filled, ZC_QUOTA_PUT));
        take(&t, A, 100); /* what it has, and no more */
        assert_int_equal(zc_quota_stock(&t.account[ROOT]), 0);
        take(&t, A, 100);
        assert_int_equal(zc_quota_stock(&t.account[ROOT]), 0);
        zc_quota_refund(&t.account[tight[i]], LIMIT / 40); /* it is not taken up again at once */
        take(&t, A, 100);
        assert_int_equal(zc_quota_stock(&t.account[ROOT]), 0);
        zc_quota_refund(&t.account[tight[i]], LIMIT / 20);
        take(&t, A, 100);
        assert_true(zc_quota_stock(&t.account[A]) > 0);
        give(&t, A, 400);
        zc_quota_refund(&t.account[tight[i]], filled - LIMIT / 40 - LIMIT / 20);
        fell(&t);
    }
}

static void a_small_limit_has_none(void **state)
{
    static const int small[] = {ROOT, MID, A};

    (void)state;
    for (unsigned i = 0; i < ZC_ARRAY_SIZE(small); i++) {
        uint64_t limits[ACCOUNTS] = {LIMIT, LIMIT, LIMIT, LIMIT, LIMIT};
        struct tree t;

        limits[small[i]] = 8 * MIB - 1;
        plant_on(&t, limits, 1);
        take(&t, A, 200);
        assert_int_equal(zc_quota_charge(&t.account[ROOT]), 200 * PAGE_BYTES);
        assert_int_equal(zc_quota_stock(&t.account[ROOT]), 0);
        give(&t, A, 200);
        fell(&t);
    }
}

/* Fills up @i with small bytes; how much it took. */
static uint64_t fill_up(struct tree *t, int i, uint64_t step)
{
    uint64_t n = 0;

    while (zc_quota_take(&t->account[i], step) == NULL) {
        n += step;
    }
    return n;
}

/* The stocks of others lie idle; every byte below the slack is to be had, on whatever level it is short. */
static void a_limit_is_used_to_the_last_byte(void **state)
{
    static const int tight[] = {ROOT, MID, A};

    (void)state;
    for (unsigned i = 0; i < ZC_ARRAY_SIZE(tight); i++) {
        uint64_t limits[ACCOUNTS] = {256 * MIB, 256 * MIB, 256 * MIB, 256 * MIB, 256 * MIB};
        struct tree t;
        uint64_t n;

        limits[tight[i]] = LIMIT;
        plant_on(&t, limits, 1);
        for (int k = 0; k < ACCOUNTS; k++) {
            stock_up(&t, k);
        }
        n = fill_up(&t, A, PAGE_BYTES);
        assert_true(n > LIMIT - zc_quota_slack(LIMIT) - PAGE_BYTES);
        n += fill_up(&t, A, 1);
        assert_int_equal(n, LIMIT - zc_quota_slack(LIMIT));
        assert_int_equal(zc_quota_stock(&t.account[tight[i]]), 0);
        assert_int_equal(zc_quota_charge(&t.account[tight[i]]), n);
        zc_quota_refund(&t.account[A], n);
        fell(&t);
    }
}

/* By reclaim too, and by one reserve of all that is left. */
static void one_reserve_gets_all_there_is(void **state)
{
    struct tree t;

    (void)state;
    plant(&t);
    for (int i = 0; i < ACCOUNTS; i++) {
        stock_up(&t, i);
    }
    assert_false(zc_quota_fits(&t.account[OTHER], LIMIT, ZC_QUOTA_RECLAIM));
    assert_true(zc_quota_has_room(&t.account[OTHER], LIMIT, ZC_QUOTA_RECLAIM));
    for (int i = 0; i < ACCOUNTS; i++) {
        stock_up(&t, i);
    }
    assert_null(zc_quota_reserve(&t.account[OTHER], LIMIT, ZC_QUOTA_RECLAIM));
    assert_false(zc_quota_has_room(&t.account[A], 1, ZC_QUOTA_RECLAIM));
    zc_quota_refund(&t.account[OTHER], LIMIT);
    fell(&t);
}

/* Whose limit is not met keeps what he has. */
static void only_those_below_the_limit_are_asked(void **state)
{
    const uint64_t limits[ACCOUNTS] = {256 * MIB, LIMIT, LIMIT, LIMIT, LIMIT};
    struct tree t;
    uint64_t n;

    (void)state;
    plant_on(&t, limits, 1);
    for (int i = 0; i < ACCOUNTS; i++) {
        stock_up(&t, i);
    }
    const uint64_t others = zc_quota_stock(&t.account[ROOT]) - zc_quota_stock(&t.account[MID]);
    assert_true(others > 0);
    n = fill_up(&t, A, PAGE_BYTES); /* A and B lie below MID */
    assert_int_equal(zc_quota_stock(&t.account[MID]), 0);
    assert_int_equal(zc_quota_stock(&t.account[ROOT]), others);
    zc_quota_refund(&t.account[A], n);
    fell(&t);
}

/* Where all may not have one, those have it who put; the oldest loses his. */
static void the_oldest_gives_way(void **state)
{
    const uint64_t limits[ACCOUNTS] = {24 * MIB, 16 * MIB, LIMIT, LIMIT, LIMIT};
    struct tree t;

    (void)state;
    plant_on(&t, limits, 1);
    stock_up(&t, A);
    stock_up(&t, B);
    stock_up(&t, OTHER); /* three of the root's three, two of MID's two */
    stock_up(&t, MID);
    assert_int_equal(zc_quota_charge(&t.account[A]), 0);
    assert_true(zc_quota_stock(&t.account[B]) > 0);
    assert_true(zc_quota_stock(&t.account[OTHER]) > 0);
    stock_up(&t, ROOT);
    assert_int_equal(zc_quota_charge(&t.account[B]), 0);
    assert_true(atomic_load(&t.account[ROOT].stock_max) <= limits[ROOT] / 32);
    assert_true(atomic_load(&t.account[MID].stock_max) <= limits[MID] / 32);
    fell(&t);
}

/* ---------------------------------------------------------------------------------------------- */
/* Many threads, and one that looks all the time. */

#define WORKERS 4
#define OPS     60000u

struct crowd {
    struct tree tree;
    _Atomic bool stop;
    _Atomic long n_samples;
    _Atomic long n_above;
};

struct worker {
    struct crowd *crowd;
    uint64_t seed;
    uint64_t own[ACCOUNTS];
    uint64_t refused;
};

static uint64_t seed;

static void *sample_main(void *arg)
{
    struct crowd *c = arg;

    do {
        for (int i = 0; i < ACCOUNTS; i++) {
            struct zc_account *a = &c->tree.account[i];

            if (zc_quota_charge(a) > zc_quota_limit(a) - zc_quota_slack(zc_quota_limit(a)) ||
                atomic_load(&a->stock_max) > zc_quota_limit(a) / 32) {
                atomic_fetch_add(&c->n_above, 1);
            }
        }
        atomic_fetch_add(&c->n_samples, 1);
    } while (!atomic_load(&c->stop));
    return NULL;
}

static void *work_main(void *arg)
{
    struct worker *w = arg;
    struct rng rng = {w->seed};

    for (unsigned op = 0; op < OPS / TEST_SLOWDOWN; op++) {
        const int i = (int)rng_below(&rng, ACCOUNTS);
        struct zc_account *a = &w->crowd->tree.account[i];
        const uint64_t what = rng_below(&rng, 1000);
        const uint64_t bytes = 1 + rng_below(&rng, rng_below(&rng, 50) == 0 ? MIB : 8192);

        if (what < 550) {
            bool taken = zc_quota_take(a, bytes) == NULL;

            w->own[i] += taken ? bytes : 0;
            w->refused += taken ? 0 : 1;
        } else if (what < 998) {
            const uint64_t some = ZC_MIN(bytes, w->own[i]);

            zc_quota_refund(a, some);
            w->own[i] -= some;
        } else {
            zc_quota_call_in(a);
        }
    }
    return NULL;
}

static uint64_t held_under(const struct worker *workers, int i)
{
    uint64_t sum = 0;

    for (int w = 0; w < WORKERS; w++) {
        sum += workers[w].own[i];
    }
    for (int child = 1; child < ACCOUNTS; child++) {
        sum += parent_of[child] == i ? held_under(workers, child) : 0;
    }
    return sum;
}

/* Limits that are met all the time, and stocks of as many parts as this machine has CPUs. */
static void no_charge_passes_its_limit(void **state)
{
    static const uint64_t limits[ACCOUNTS] = {40 * MIB, 24 * MIB, 16 * MIB, 16 * MIB, 20 * MIB};
    struct worker workers[WORKERS] = {{0}};
    pthread_t threads[WORKERS];
    uint64_t refused = 0;
    pthread_t sampler;
    struct crowd c;

    (void)state;
    memset(&c, 0, sizeof(c));
    plant_on(&c.tree, limits, 64);
    assert_int_equal(pthread_create(&sampler, NULL, sample_main, &c), 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i].crowd = &c;
        workers[i].seed = seed + i;
        assert_int_equal(pthread_create(&threads[i], NULL, work_main, &workers[i]), 0);
    }
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        refused += workers[i].refused;
    }
    atomic_store(&c.stop, true);
    assert_int_equal(pthread_join(sampler, NULL), 0);
    assert_true(atomic_load(&c.n_samples) > 0);
    assert_int_equal(atomic_load(&c.n_above), 0);
    assert_true(refused > 0 || TEST_SLOWDOWN > 1);
    for (int i = 0; i < ACCOUNTS; i++) {
        expect_used(&c.tree, i, held_under(workers, i));
    }
    for (int i = 0; i < ACCOUNTS; i++) {
        for (int w = 0; w < WORKERS; w++) {
            zc_quota_refund(&c.tree.account[i], workers[w].own[i]);
        }
    }
    fell(&c.tree);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stream_of_puts_writes_the_accounts_rarely),
        cmocka_unit_test(a_few_puts_take_no_stock),
        cmocka_unit_test(it_keeps_no_more_than_its_part),
        cmocka_unit_test(near_a_limit_there_is_none),
        cmocka_unit_test(a_small_limit_has_none),
        cmocka_unit_test(a_limit_is_used_to_the_last_byte),
        cmocka_unit_test(one_reserve_gets_all_there_is),
        cmocka_unit_test(only_those_below_the_limit_are_asked),
        cmocka_unit_test(the_oldest_gives_way),
        cmocka_unit_test(no_charge_passes_its_limit),
    };

    seed = test_begin(argc, argv, 1);
    return cmocka_run_group_tests_name("quota_stock", tests, NULL, NULL);
}
