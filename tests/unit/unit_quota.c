/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * quota: no charge passes its limit at any instant, a reserve charges every level or none, and what
 * the accounts say is the sum of what was reserved under them.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "api/support.h"
#include "assertion.h"
#include "mathx.h"
#include "quota.h"

static uint64_t seed;

/* ---------------------------------------------------------------------------------------------- */
/* One account, and a chain of three. */

struct chain {
    struct zc_account root;
    struct zc_account mid;
    struct zc_account leaf;
};

static void chain_init(struct chain *c, uint64_t root, uint64_t mid, uint64_t leaf)
{
    zc_quota_init(&c->root, NULL, root);
    zc_quota_init(&c->mid, &c->root, mid);
    zc_quota_init(&c->leaf, &c->mid, leaf);
}

static void expect_charges(const struct chain *c, uint64_t root, uint64_t mid, uint64_t leaf)
{
    assert_int_equal(zc_quota_charge(&c->root), root);
    assert_int_equal(zc_quota_charge(&c->mid), mid);
    assert_int_equal(zc_quota_charge(&c->leaf), leaf);
}

static void expect_peaks(const struct chain *c, uint64_t root, uint64_t mid, uint64_t leaf)
{
    assert_int_equal(atomic_load(&c->root.peak), root);
    assert_int_equal(atomic_load(&c->mid.peak), mid);
    assert_int_equal(atomic_load(&c->leaf.peak), leaf);
}

static void an_account_starts_empty(void **state)
{
    struct chain c;

    (void)state;
    memset(&c, 0x5a, sizeof(c));
    chain_init(&c, 300, 200, 100);
    expect_charges(&c, 0, 0, 0);
    expect_peaks(&c, 0, 0, 0);
    assert_int_equal(zc_quota_limit(&c.root), 300);
    assert_int_equal(zc_quota_limit(&c.leaf), 100);
    assert_null(c.root.parent);
    assert_ptr_equal(c.leaf.parent, &c.mid);
}

static void the_slack_is_a_128th_up_to_256_kib(void **state)
{
    (void)state;
    assert_int_equal(zc_quota_slack(0), 0);
    assert_int_equal(zc_quota_slack(127), 0);
    assert_int_equal(zc_quota_slack(128), 1);
    assert_int_equal(zc_quota_slack(MIB), 8 * KIB);
    assert_int_equal(zc_quota_slack(32 * MIB - 1), 256 * KIB - 1);
    assert_int_equal(zc_quota_slack(32 * MIB), 256 * KIB);
    assert_int_equal(zc_quota_slack(UINT64_MAX), 256 * KIB);
}

/* On every level: a put stops below the slack, reclaim at the limit. */
static void only_reclaim_gets_at_the_slack(void **state)
{
    static const uint64_t limits[][3] = {
        {MIB, 64 * MIB, 64 * MIB}, {64 * MIB, MIB, 64 * MIB}, {64 * MIB, 64 * MIB, MIB}};

    (void)state;
    for (int i = 0; i < 3; i++) {
        const uint64_t slack = zc_quota_slack(MIB);
        struct zc_account *tight;
        struct chain c;

        chain_init(&c, limits[i][0], limits[i][1], limits[i][2]);
        tight = i == 0 ? &c.root : i == 1 ? &c.mid : &c.leaf;
        assert_true(zc_quota_fits(&c.leaf, MIB - slack, ZC_QUOTA_PUT));
        assert_false(zc_quota_fits(&c.leaf, MIB - slack + 1, ZC_QUOTA_PUT));
        assert_ptr_equal(zc_quota_reserve(&c.leaf, MIB - slack + 1, ZC_QUOTA_PUT), tight);
        assert_null(zc_quota_reserve(&c.leaf, MIB - slack, ZC_QUOTA_PUT));
        assert_ptr_equal(zc_quota_reserve(&c.leaf, 1, ZC_QUOTA_PUT), tight);
        assert_false(zc_quota_fits(&c.leaf, 1, ZC_QUOTA_PUT));

        assert_true(zc_quota_fits(&c.leaf, slack, ZC_QUOTA_RECLAIM));
        assert_false(zc_quota_fits(&c.leaf, slack + 1, ZC_QUOTA_RECLAIM));
        assert_ptr_equal(zc_quota_reserve(&c.leaf, slack + 1, ZC_QUOTA_RECLAIM), tight);
        assert_null(zc_quota_reserve(&c.leaf, slack, ZC_QUOTA_RECLAIM));
        assert_ptr_equal(zc_quota_reserve(&c.leaf, 1, ZC_QUOTA_RECLAIM), tight);
        expect_charges(&c, MIB, MIB, MIB);
        zc_quota_refund(&c.leaf, MIB);
        expect_charges(&c, 0, 0, 0);
    }
}

static void a_refused_reserve_leaves_no_trace(void **state)
{
    struct chain c;

    (void)state;
    chain_init(&c, 100, 80, 60);
    assert_null(zc_quota_reserve(&c.root, 50, ZC_QUOTA_PUT));
    assert_null(zc_quota_reserve(&c.mid, 30, ZC_QUOTA_PUT));
    assert_null(zc_quota_reserve(&c.leaf, 5, ZC_QUOTA_PUT));
    expect_charges(&c, 85, 35, 5);

    assert_ptr_equal(zc_quota_reserve(&c.leaf, 16, ZC_QUOTA_PUT), &c.root);
    expect_charges(&c, 85, 35, 5);
    assert_ptr_equal(zc_quota_reserve(&c.leaf, 46, ZC_QUOTA_PUT), &c.mid);
    expect_charges(&c, 85, 35, 5);
    assert_ptr_equal(zc_quota_reserve(&c.leaf, 56, ZC_QUOTA_PUT), &c.leaf);
    expect_charges(&c, 85, 35, 5);
    assert_int_equal(atomic_load(&c.root.peak), 85);
}

static void no_sum_wraps(void **state)
{
    struct chain c;

    (void)state;
    chain_init(&c, UINT64_MAX, UINT64_MAX, UINT64_MAX);
    assert_ptr_equal(zc_quota_reserve(&c.leaf, UINT64_MAX, ZC_QUOTA_PUT), &c.leaf);
    assert_null(zc_quota_reserve(&c.leaf, UINT64_MAX, ZC_QUOTA_RECLAIM));
    assert_ptr_equal(zc_quota_reserve(&c.leaf, 1, ZC_QUOTA_RECLAIM), &c.leaf);
    assert_ptr_equal(zc_quota_reserve(&c.leaf, UINT64_MAX, ZC_QUOTA_RECLAIM), &c.leaf);
    assert_false(zc_quota_fits(&c.leaf, 1, ZC_QUOTA_RECLAIM));
    assert_false(zc_quota_fits(&c.leaf, UINT64_MAX, ZC_QUOTA_RECLAIM));
    zc_quota_refund(&c.leaf, UINT64_MAX);
    expect_charges(&c, 0, 0, 0);
}

static void a_move_leaves_the_parents_alone(void **state)
{
    struct chain c;

    (void)state;
    chain_init(&c, 100, 100, 100);
    assert_null(zc_quota_reserve(&c.leaf, 70, ZC_QUOTA_PUT));
    zc_quota_move(&c.leaf, 30);
    expect_charges(&c, 70, 70, 40);
    zc_quota_move(&c.mid, 30);
    expect_charges(&c, 70, 40, 40);
    zc_quota_refund(&c.root, 30);
    zc_quota_refund(&c.leaf, 40);
    expect_charges(&c, 0, 0, 0);
}

static void the_peak_is_the_highest_charge(void **state)
{
    struct chain c;

    (void)state;
    chain_init(&c, 1000, 1000, 1000);
    assert_null(zc_quota_reserve(&c.leaf, 300, ZC_QUOTA_PUT));
    assert_null(zc_quota_reserve(&c.mid, 200, ZC_QUOTA_PUT));
    zc_quota_refund(&c.leaf, 300);
    assert_null(zc_quota_reserve(&c.leaf, 100, ZC_QUOTA_PUT));
    expect_peaks(&c, 500, 500, 300);
    assert_null(zc_quota_reserve(&c.leaf, 201, ZC_QUOTA_PUT));
    expect_peaks(&c, 501, 501, 301);
}

/* Above a lowered limit nothing more gets in, and what is there can still leave. */
static void a_lowered_limit_only_stops_what_is_new(void **state)
{
    struct chain c;

    (void)state;
    chain_init(&c, 1000, 1000, 1000);
    assert_null(zc_quota_reserve(&c.leaf, 500, ZC_QUOTA_PUT));
    atomic_store(&c.mid.limit, 100);
    assert_ptr_equal(zc_quota_reserve(&c.leaf, 1, ZC_QUOTA_RECLAIM), &c.mid);
    assert_false(zc_quota_fits(&c.leaf, 1, ZC_QUOTA_RECLAIM));
    expect_charges(&c, 500, 500, 500);
    zc_quota_refund(&c.leaf, 401);
    assert_null(zc_quota_reserve(&c.leaf, 1, ZC_QUOTA_RECLAIM));
    assert_ptr_equal(zc_quota_reserve(&c.leaf, 1, ZC_QUOTA_RECLAIM), &c.mid);
}

static void refund_two(void *account)
{
    zc_quota_refund(account, 2);
}

static void move_two(void *account)
{
    zc_quota_move(account, 2);
}

static void what_was_not_charged_cannot_be_given_back(void **state)
{
    struct chain c;

    (void)state;
    chain_init(&c, 100, 100, 100);
    zc_quota_refund(&c.leaf, 0);
    assert_null(zc_quota_reserve(&c.leaf, 1, ZC_QUOTA_PUT));
    assert_non_null(assertion_of(refund_two, &c.leaf));
    chain_init(&c, 100, 100, 100);
    assert_null(zc_quota_reserve(&c.leaf, 1, ZC_QUOTA_PUT));
    assert_non_null(assertion_of(move_two, &c.leaf));
    assert_non_null(assertion_of(move_two, &c.root));
}

/* ---------------------------------------------------------------------------------------------- */
/* A random tree against a model: what each account holds itself; charges are sums over the subtree. */

#define ACCOUNTS    12
#define MODEL_STEPS 100000

struct model {
    struct zc_account account[ACCOUNTS];
    int parent[ACCOUNTS];
    uint64_t limit[ACCOUNTS];
    uint64_t own[ACCOUNTS];
    uint64_t peak[ACCOUNTS];
};

static uint64_t model_charge(const struct model *m, int i)
{
    uint64_t sum = m->own[i];

    for (int child = i + 1; child < ACCOUNTS; child++) {
        if (m->parent[child] == i) {
            sum += model_charge(m, child);
        }
    }
    return sum;
}

static uint64_t model_limit(struct rng *rng)
{
    return rng_below(rng, 4) == 0 ? rng_below(rng, 200) : rng_below(rng, 100000);
}

static void model_init(struct model *m, struct rng *rng)
{
    memset(m, 0, sizeof(*m));
    for (int i = 0; i < ACCOUNTS; i++) {
        m->parent[i] = i == 0 ? -1 : (int)rng_below(rng, (uint64_t)i);
        m->limit[i] = model_limit(rng);
        zc_quota_init(&m->account[i], i == 0 ? NULL : &m->account[m->parent[i]], m->limit[i]);
    }
}

static void model_reserve(struct model *m, struct rng *rng)
{
    const int i = (int)rng_below(rng, ACCOUNTS);
    const enum zc_quota_who who = rng_below(rng, 2) == 0 ? ZC_QUOTA_PUT : ZC_QUOTA_RECLAIM;
    const uint64_t bytes = rng_below(rng, rng_below(rng, 8) == 0 ? 50000 : 600);
    struct zc_account *full = NULL;

    for (int up = i; up >= 0 && full == NULL; up = m->parent[up]) {
        const uint64_t kept = who == ZC_QUOTA_PUT ? zc_quota_slack(m->limit[up]) : 0;

        if (model_charge(m, up) + bytes > m->limit[up] - kept) {
            full = &m->account[up];
        }
    }
    /* The levels below the full one held the bytes for a moment, and their peak tells so. */
    for (int up = i; up >= 0 && &m->account[up] != full; up = m->parent[up]) {
        m->peak[up] = ZC_MAX(m->peak[up], model_charge(m, up) + bytes);
    }
    m->own[i] += full == NULL ? bytes : 0;
    assert_true(zc_quota_fits(&m->account[i], bytes, who) == (full == NULL));
    assert_ptr_equal(zc_quota_reserve(&m->account[i], bytes, who), full);
}

static void model_step(struct model *m, struct rng *rng)
{
    const uint64_t what = rng_below(rng, 100);
    const int i = (int)rng_below(rng, ACCOUNTS);
    const uint64_t bytes = rng_below(rng, m->own[i] + 1);

    if (what < 50) {
        model_reserve(m, rng);
    } else if (what < 85) {
        zc_quota_refund(&m->account[i], bytes);
        m->own[i] -= bytes;
    } else if (what < 95 && i != 0) {
        zc_quota_move(&m->account[i], bytes);
        m->own[i] -= bytes;
        m->own[m->parent[i]] += bytes;
    } else if (what == 99) {
        m->limit[i] = model_limit(rng);
        atomic_store(&m->account[i].limit, m->limit[i]);
    }
}

static void a_tree_does_what_a_model_does(void **state)
{
    struct rng rng = {seed};
    struct model m;

    (void)state;
    model_init(&m, &rng);
    for (unsigned step = 0; step < MODEL_STEPS / TEST_SLOWDOWN; step++) {
        if (step % 5000 == 4999) {
            model_init(&m, &rng);
        }
        model_step(&m, &rng);
        for (int i = 0; i < ACCOUNTS; i++) {
            if (zc_quota_charge(&m.account[i]) != model_charge(&m, i) ||
                atomic_load(&m.account[i].peak) != m.peak[i]) {
                fail_msg("account %d differs after step %u", i, step);
            }
        }
    }
}

/* ---------------------------------------------------------------------------------------------- */
/* Many threads, and one that looks all the time. */

#define LEAVES  4
#define MIDS    2
#define NODES   (1 + MIDS + LEAVES)
#define WORKERS 4
#define OPS     60000u

struct crowd {
    struct zc_account account[NODES]; /* root, mids, leaves */
    enum zc_quota_who who;
    _Atomic bool stop;
    _Atomic long n_samples;
    _Atomic long n_above;
    _Atomic long n_refused;
};

struct worker {
    struct crowd *crowd;
    uint64_t seed;
    uint64_t own[NODES];
};

static uint64_t crowd_bound(const struct crowd *c, int i)
{
    const uint64_t limit = zc_quota_limit(&c->account[i]);

    return c->who == ZC_QUOTA_PUT ? limit - zc_quota_slack(limit) : limit;
}

static void *sample_main(void *arg)
{
    struct crowd *c = arg;

    do {
        for (int i = 0; i < NODES; i++) {
            if (zc_quota_charge(&c->account[i]) > crowd_bound(c, i)) {
                atomic_fetch_add(&c->n_above, 1);
            }
        }
        atomic_fetch_add(&c->n_samples, 1);
    } while (!atomic_load(&c->stop));
    return NULL;
}

static void work_once(struct worker *w, struct rng *rng)
{
    struct crowd *c = w->crowd;
    const int i = (int)rng_below(rng, NODES);
    const uint64_t what = rng_below(rng, 16);

    if (what < 9) {
        const uint64_t bytes = 1 + rng_below(rng, 5000);

        if (zc_quota_reserve(&c->account[i], bytes, c->who) == NULL) {
            w->own[i] += bytes;
        } else {
            atomic_fetch_add_explicit(&c->n_refused, 1, memory_order_relaxed);
        }
    } else if (what < 15 || i == 0) {
        const uint64_t bytes = rng_below(rng, w->own[i] + 1);

        w->own[i] -= bytes;
        zc_quota_refund(&c->account[i], bytes);
    } else {
        const uint64_t bytes = rng_below(rng, w->own[i] + 1);

        w->own[i] -= bytes;
        zc_quota_move(&c->account[i], bytes);
        w->own[c->account[i].parent - c->account] += bytes;
    }
}

static void *work_main(void *arg)
{
    struct worker *w = arg;
    struct rng rng = {w->seed};

    for (unsigned op = 0; op < OPS / TEST_SLOWDOWN; op++) {
        work_once(w, &rng);
    }
    return NULL;
}

static void crowd_init(struct crowd *c, enum zc_quota_who who)
{
    memset(c, 0, sizeof(*c));
    c->who = who;
    zc_quota_init(&c->account[0], NULL, 70000);
    for (int i = 0; i < MIDS; i++) {
        zc_quota_init(&c->account[1 + i], &c->account[0], 40000);
    }
    for (int i = 0; i < LEAVES; i++) {
        zc_quota_init(&c->account[1 + MIDS + i], &c->account[1 + i % MIDS], 25000);
    }
}

static uint64_t held_under(const struct crowd *c, const struct worker *workers, int i)
{
    uint64_t sum = 0;

    for (int w = 0; w < WORKERS; w++) {
        sum += workers[w].own[i];
    }
    for (int child = 1; child < NODES; child++) {
        if (c->account[child].parent == &c->account[i]) {
            sum += held_under(c, workers, child);
        }
    }
    return sum;
}

static void check_rest(struct crowd *c, struct worker *workers)
{
    for (int i = 0; i < NODES; i++) {
        const uint64_t peak = atomic_load(&c->account[i].peak);

        assert_int_equal(zc_quota_charge(&c->account[i]), held_under(c, workers, i));
        assert_true(peak <= crowd_bound(c, i) && peak >= zc_quota_charge(&c->account[i]));
    }
    for (int i = 0; i < NODES; i++) {
        for (int w = 0; w < WORKERS; w++) {
            zc_quota_refund(&c->account[i], workers[w].own[i]);
        }
    }
    for (int i = 0; i < NODES; i++) {
        assert_int_equal(zc_quota_charge(&c->account[i]), 0);
    }
}

static void run_crowd(enum zc_quota_who who)
{
    struct worker workers[WORKERS] = {{0}};
    pthread_t threads[WORKERS];
    pthread_t sampler;
    struct crowd c;

    crowd_init(&c, who);
    assert_int_equal(pthread_create(&sampler, NULL, sample_main, &c), 0);
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i].crowd = &c;
        workers[i].seed = seed + i;
        assert_int_equal(pthread_create(&threads[i], NULL, work_main, &workers[i]), 0);
    }
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    atomic_store(&c.stop, true);
    assert_int_equal(pthread_join(sampler, NULL), 0);
    assert_int_equal(c.n_above, 0);
    assert_true(c.n_samples > 0);
    assert_true(c.n_refused > 0);
    check_rest(&c, workers);
}

static void threads_never_pass_a_limit(void **state)
{
    (void)state;
    run_crowd(ZC_QUOTA_RECLAIM);
}

static void putting_threads_never_touch_the_slack(void **state)
{
    (void)state;
    run_crowd(ZC_QUOTA_PUT);
}

/* ---------------------------------------------------------------------------------------------- */
/* An account with room for one lets in one at a time: the narrowest place for a race. */

#define ENTRIES 100000u

struct room {
    struct zc_account account;
    _Atomic int n_inside;
    _Atomic long n_entered;
    _Atomic long n_crowded;
};

static void *enter_main(void *arg)
{
    struct room *room = arg;

    for (unsigned i = 0; i < ENTRIES / TEST_SLOWDOWN; i++) {
        if (zc_quota_reserve(&room->account, 50, ZC_QUOTA_PUT) != NULL) {
            continue;
        }
        if (atomic_fetch_add(&room->n_inside, 1) != 0) {
            atomic_fetch_add(&room->n_crowded, 1);
        }
        atomic_fetch_add(&room->n_entered, 1);
        atomic_fetch_sub(&room->n_inside, 1);
        zc_quota_refund(&room->account, 50);
    }
    return NULL;
}

static void one_that_fits_keeps_the_others_out(void **state)
{
    pthread_t threads[WORKERS];
    struct room room = {.n_inside = 0};

    (void)state;
    zc_quota_init(&room.account, NULL, 50);
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, enter_main, &room), 0);
    }
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(room.n_crowded, 0);
    assert_true(room.n_entered > 0);
    assert_int_equal(zc_quota_charge(&room.account), 0);
    assert_int_equal(atomic_load(&room.account.peak), 50);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_account_starts_empty),
        cmocka_unit_test(the_slack_is_a_128th_up_to_256_kib),
        cmocka_unit_test(only_reclaim_gets_at_the_slack),
        cmocka_unit_test(a_refused_reserve_leaves_no_trace),
        cmocka_unit_test(no_sum_wraps),
        cmocka_unit_test(a_move_leaves_the_parents_alone),
        cmocka_unit_test(the_peak_is_the_highest_charge),
        cmocka_unit_test(a_lowered_limit_only_stops_what_is_new),
        cmocka_unit_test(what_was_not_charged_cannot_be_given_back),
        cmocka_unit_test(a_tree_does_what_a_model_does),
        cmocka_unit_test(threads_never_pass_a_limit),
        cmocka_unit_test(putting_threads_never_touch_the_slack),
        cmocka_unit_test(one_that_fits_keeps_the_others_out),
    };

    seed = test_begin(argc, argv, 7);
    return cmocka_run_group_tests_name("quota", tests, NULL, NULL);
}
