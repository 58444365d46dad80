/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lock: exclusion, conditions, and what debug builds say about a wrong order.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "assertion.h"
#include "lock.h"
#include "mathx.h"
#include "plat.h"

#define THREADS 4
#define ROUNDS  20000
#define CHANCES 300 /* for something that must not happen */

static void start(pthread_t *thread, void *(*fn)(void *), void *arg)
{
    assert_int_equal(pthread_create(thread, NULL, fn, arg), 0);
}

static void join(pthread_t thread)
{
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* ---------------------------------------------------------------------------------------------- */
/* Every build. */

struct pair {
    struct zc_lock a;
    struct zc_lock b;
    long n; /* under both */
};

static void pair_init(struct pair *pair)
{
    zc_lock_init(&pair->a, ZC_RANK_list);
    zc_lock_init(&pair->b, ZC_RANK_list);
    pair->n = 0;
}

static void pair_fini(struct pair *pair)
{
    zc_lock_fini(&pair->a);
    zc_lock_fini(&pair->b);
}

static void *count_under_one(void *arg)
{
    struct pair *pair = arg;

    for (int i = 0; i < ROUNDS; i++) {
        zc_lock_acquire(&pair->a);
        pair->n++;
        zc_lock_release(&pair->a);
    }
    return NULL;
}

static void *count_under_try(void *arg) ZC_NO_ANALYSIS
{
    struct pair *pair = arg;

    for (int i = 0; i < ROUNDS;) {
        if (zc_lock_try(&pair->a)) {
            pair->n++;
            i++;
            zc_lock_release(&pair->a);
        }
    }
    return NULL;
}

static void one_thread_at_a_time(void **state)
{
    pthread_t threads[THREADS];
    struct pair pair;

    (void)state;
    pair_init(&pair);
    for (int i = 0; i < THREADS; i++) {
        start(&threads[i], i % 2 == 0 ? count_under_one : count_under_try, &pair);
    }
    for (int i = 0; i < THREADS; i++) {
        join(threads[i]);
    }
    assert_int_equal(pair.n, (long)THREADS * ROUNDS);
    pair_fini(&pair);
}

static void *try_both(void *arg) ZC_NO_ANALYSIS
{
    struct pair *pair = arg;

    pair->n = 0;
    if (zc_lock_try(&pair->a)) {
        pair->n += 1;
        zc_lock_release(&pair->a);
    }
    if (zc_lock_try(&pair->b)) {
        pair->n += 2;
        zc_lock_release(&pair->b);
    }
    return NULL;
}

/* Which locks of the pair another thread finds free: 1 for a, 2 for b. */
static long free_locks(struct pair *pair)
{
    pthread_t other;

    start(&other, try_both, pair);
    join(other);
    return pair->n;
}

static void *count_under_pair(void *arg)
{
    struct pair *pair = arg;

    for (int i = 0; i < ROUNDS; i++) {
        zc_lock_acquire_pair(&pair->a, &pair->b);
        pair->n++;
        zc_lock_release_pair(&pair->a, &pair->b);
    }
    return NULL;
}

static void *count_under_reverse_pair(void *arg)
{
    struct pair *pair = arg;

    for (int i = 0; i < ROUNDS; i++) {
        zc_lock_acquire_pair(&pair->b, &pair->a);
        pair->n++;
        zc_lock_release_pair(&pair->b, &pair->a);
    }
    return NULL;
}

static void pairs_do_not_deadlock(void **state)
{
    pthread_t threads[2];
    struct pair pair;

    (void)state;
    pair_init(&pair);
    start(&threads[0], count_under_pair, &pair);
    start(&threads[1], count_under_reverse_pair, &pair);
    join(threads[0]);
    join(threads[1]);
    assert_int_equal(pair.n, 2L * ROUNDS);
    pair_fini(&pair);
}

/*
 * While the lower address is taken, a thread that wants both waits for it and has not taken the
 * higher one, whichever way round it named them.
 */
static void expect_lower_first(void *(*count)(void *)) ZC_NO_ANALYSIS
{
    struct pair pair;
    pthread_t other;

    pair_init(&pair);
    assert_true(&pair.a < &pair.b);
    zc_lock_acquire(&pair.a);
    start(&other, count, &pair);
    for (int i = 0; i < CHANCES; i++) {
        assert_true(zc_lock_try(&pair.b));
        zc_lock_release(&pair.b);
        (void)sched_yield();
    }
    zc_lock_release(&pair.a);
    join(other);
    pair_fini(&pair);
}

static void pairs_are_taken_by_address(void **state)
{
    (void)state;
    expect_lower_first(count_under_pair);
    expect_lower_first(count_under_reverse_pair);
}

static void try_says_whether_it_is_free(void **state)
{
    struct pair pair;

    (void)state;
    pair_init(&pair);
    zc_lock_acquire(&pair.a);
    assert_int_equal(free_locks(&pair), 2);
    zc_lock_release(&pair.a);
    assert_int_equal(free_locks(&pair), 3);
    pair_fini(&pair);
}

static void a_pair_is_both_and_may_be_one(void **state)
{
    struct pair pair;

    (void)state;
    pair_init(&pair);
    zc_lock_acquire_pair(&pair.a, &pair.b);
    assert_int_equal(free_locks(&pair), 0);
    zc_lock_release_pair(&pair.a, &pair.b);
    zc_lock_acquire_pair(&pair.b, &pair.b);
    assert_int_equal(free_locks(&pair), 1);
    zc_lock_release_pair(&pair.b, &pair.b);
    assert_int_equal(free_locks(&pair), 3);
    pair_fini(&pair);
}

static void taken_locks_are_counted(void **state) ZC_NO_ANALYSIS
{
#if defined(ZCACHE_TEST_HOOKS) || defined(ZCACHE_DEBUG)
    uint64_t before = zc_lock_count();
    struct pair pair;

    (void)state;
    pair_init(&pair);
    zc_lock_acquire(&pair.a);
    assert_false(zc_lock_try(&pair.a));
    zc_lock_release(&pair.a);
    assert_int_equal(zc_lock_count() - before, 1);
    assert_true(zc_lock_try(&pair.a));
    zc_lock_release(&pair.a);
    assert_int_equal(zc_lock_count() - before, 2);
    assert_int_equal(free_locks(&pair), 3); /* the other thread's are not ours */
    assert_int_equal(zc_lock_count() - before, 2);
    zc_lock_acquire_pair(&pair.a, &pair.b);
    zc_lock_release_pair(&pair.a, &pair.b);
    assert_int_equal(zc_lock_count() - before, 4);
    pair_fini(&pair);
#else
    (void)state;
    assert_int_equal(zc_lock_count(), 0);
#endif
}

/* ---------------------------------------------------------------------------------------------- */
/* Conditions. */

/* A ball that two threads hand to and fro. */
struct game {
    struct zc_lock lock;
    struct zc_cond turned;
    int turn;
    int exchanges;
};

static void game_init(struct game *game)
{
    zc_lock_init(&game->lock, ZC_RANK_leaf);
    zc_cond_init(&game->turned);
    game->turn = 0;
    game->exchanges = 0;
}

static void game_fini(struct game *game)
{
    zc_cond_fini(&game->turned);
    zc_lock_fini(&game->lock);
}

static void play(struct game *game, int me)
{
    for (int i = 0; i < 1000; i++) {
        zc_lock_acquire(&game->lock);
        while (game->turn != me) {
            assert_true(zc_cond_wait(&game->turned, &game->lock, UINT64_MAX));
        }
        game->turn = !me;
        game->exchanges++;
        zc_cond_broadcast(&game->turned);
        zc_lock_release(&game->lock);
    }
}

static void *play_second(void *arg)
{
    play(arg, 1);
    return NULL;
}

static void a_broadcast_ends_a_wait(void **state)
{
    struct game game;
    pthread_t other;

    (void)state;
    game_init(&game);
    start(&other, play_second, &game);
    play(&game, 0);
    join(other);
    assert_int_equal(game.exchanges, 2000);
    game_fini(&game);
}

static void a_deadline_ends_a_wait(void **state)
{
    uint64_t deadline = zc_plat_deadline_ns(20);
    struct game game;

    (void)state;
    game_init(&game);
    zc_lock_acquire(&game.lock);
    while (zc_cond_wait(&game.turned, &game.lock, deadline)) {
        assert_true(zc_plat_now_ns() < deadline); /* a wake-up without a reason is allowed */
    }
    assert_true(zc_plat_now_ns() >= deadline);
    assert_false(zc_cond_wait(&game.turned, &game.lock, 0));
    assert_false(zc_cond_wait(&game.turned, &game.lock, deadline));
    zc_lock_release(&game.lock);
    game_fini(&game);
}

/* ---------------------------------------------------------------------------------------------- */
/* Debug builds. */

#ifdef ZCACHE_DEBUG
static const char *const names[ZC_RANKS] = {
#define ZC_LOCK_RANK(name, guards, example) #name,
#include "lock_order.def"
#undef ZC_LOCK_RANK
};

static void acquire(void *lock) ZC_NO_ANALYSIS
{
    zc_lock_acquire(lock);
}

static void release(void *lock) ZC_NO_ANALYSIS
{
    zc_lock_release(lock);
}

static void assert_none(void *arg)
{
    (void)arg;
    zc_lock_assert_none();
}

static void assert_held(void *lock)
{
    zc_lock_assert_held(lock);
}

/* Both names must be in the text, in the words of the rule. */
static void expect_refused(const char *text, enum zc_rank wanted, enum zc_rank holding)
{
    char expected[128];

    (void)snprintf(expected, sizeof(expected), "lock order: %s wanted while holding %s",
                   names[wanted], names[holding]);
    assert_non_null(text);
    assert_string_equal(text, expected);
}

static void only_the_order_of_ranks_is_allowed(void **state) ZC_NO_ANALYSIS
{
    (void)state;
    for (unsigned held = 0; held < ZC_RANKS; held++) {
        for (unsigned wanted = 0; wanted < ZC_RANKS; wanted++) {
            struct zc_lock outer;
            struct zc_lock inner;
            const char *text;

            zc_lock_init(&outer, (enum zc_rank)held);
            zc_lock_init(&inner, (enum zc_rank)wanted);
            zc_lock_acquire(&outer);
            text = assertion_of(acquire, &inner);
            if (wanted > held) {
                assert_null(text);
                zc_lock_release(&inner);
            } else {
                expect_refused(text, (enum zc_rank)wanted, (enum zc_rank)held);
            }
            zc_lock_release(&outer);
            zc_lock_assert_none();
            zc_lock_fini(&outer);
            zc_lock_fini(&inner);
        }
    }
}

static void locks_may_be_released_in_any_order(void **state) ZC_NO_ANALYSIS
{
    struct zc_lock shard;
    struct zc_lock list;
    struct zc_lock tenant;

    (void)state;
    zc_lock_init(&tenant, ZC_RANK_tenant);
    zc_lock_init(&shard, ZC_RANK_shard);
    zc_lock_init(&list, ZC_RANK_list);
    zc_lock_acquire(&shard);
    zc_lock_acquire(&list);
    zc_lock_release(&shard);
    expect_refused(assertion_of(acquire, &tenant), ZC_RANK_tenant, ZC_RANK_list);
    zc_lock_release(&list);
    assert_null(assertion_of(acquire, &tenant));
    zc_lock_release(&tenant);
    zc_lock_fini(&tenant);
    zc_lock_fini(&shard);
    zc_lock_fini(&list);
}

static void a_pair_counts_twice(void **state) ZC_NO_ANALYSIS
{
    struct pair pair;

    (void)state;
    pair_init(&pair);
    zc_lock_acquire_pair(&pair.a, &pair.b);
    zc_lock_release(&pair.a);
    assert_null(assertion_of(assert_held, &pair.b));
    expect_refused(assertion_of(acquire, &pair.a), ZC_RANK_list, ZC_RANK_list);
    zc_lock_release(&pair.b);
    assert_null(assertion_of(assert_none, NULL));
    pair_fini(&pair);
}

static void acquire_mixed_pair(void *arg)
{
    struct pair *pair = arg;
    struct zc_lock leaf;

    zc_lock_init(&leaf, ZC_RANK_leaf);
    zc_lock_acquire_pair(&pair->a, &leaf);
}

static void a_pair_is_of_one_rank(void **state)
{
    struct pair pair;

    (void)state;
    pair_init(&pair);
    assert_non_null(assertion_of(acquire_mixed_pair, &pair));
    pair_fini(&pair);
}

static void a_try_is_free_but_recorded(void **state) ZC_NO_ANALYSIS
{
    struct zc_lock shard;
    struct zc_lock leaf;

    (void)state;
    zc_lock_init(&shard, ZC_RANK_shard);
    zc_lock_init(&leaf, ZC_RANK_leaf);
    zc_lock_acquire(&leaf);
    assert_true(zc_lock_try(&shard));
    zc_lock_release(&leaf);
    expect_refused(assertion_of(acquire, &shard), ZC_RANK_shard, ZC_RANK_shard);
    zc_lock_release(&shard);
    zc_lock_fini(&shard);
    zc_lock_fini(&leaf);
}

static void held_and_none_are_asserted(void **state) ZC_NO_ANALYSIS
{
    struct pair pair;

    (void)state;
    pair_init(&pair);
    assert_null(assertion_of(assert_none, NULL));
    assert_string_equal(assertion_of(assert_held, &pair.a), "lock order: list is not held");
    assert_string_equal(assertion_of(release, &pair.a), "lock order: list is not held");
    zc_lock_acquire(&pair.a);
    assert_null(assertion_of(assert_held, &pair.a));
    assert_string_equal(assertion_of(assert_none, NULL),
                        "lock order: a callback while holding list");
    zc_lock_release(&pair.a);
    assert_null(assertion_of(assert_none, NULL));
    pair_fini(&pair);
}

static void *acquire_shard(void *arg)
{
    zc_lock_acquire(arg);
    zc_lock_release(arg);
    return NULL;
}

static void other_threads_locks_do_not_count(void **state)
{
    struct zc_lock shard;
    struct zc_lock leaf;
    pthread_t other;

    (void)state;
    zc_lock_init(&shard, ZC_RANK_shard);
    zc_lock_init(&leaf, ZC_RANK_leaf);
    zc_lock_acquire(&leaf);
    start(&other, acquire_shard, &shard);
    join(other);
    zc_lock_release(&leaf);
    zc_lock_fini(&shard);
    zc_lock_fini(&leaf);
}

static void wait_once(void *arg) ZC_NO_ANALYSIS
{
    struct game *game = arg;

    (void)zc_cond_wait(&game->turned, &game->lock, 0);
}

static void a_wait_holds_nothing_else(void **state) ZC_NO_ANALYSIS
{
    struct zc_lock shard;
    struct game game;

    (void)state;
    game_init(&game);
    zc_lock_init(&shard, ZC_RANK_shard);
    zc_lock_acquire(&shard);
    zc_lock_acquire(&game.lock);
    assert_string_equal(assertion_of(wait_once, &game), "lock order: a wait while holding shard");
    zc_lock_release(&game.lock);
    zc_lock_release(&shard);
    game_fini(&game);
    zc_lock_fini(&shard);
}
#endif

static void a_lock_is_held_again_after_a_wait(void **state) ZC_NO_ANALYSIS
{
    struct game game;

    (void)state;
    game_init(&game);
    zc_lock_acquire(&game.lock);
    assert_false(zc_cond_wait(&game.turned, &game.lock, 0));
    zc_lock_assert_held(&game.lock);
    zc_lock_release(&game.lock);
    zc_lock_assert_none();
    game_fini(&game);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_thread_at_a_time),
        cmocka_unit_test(pairs_do_not_deadlock),
        cmocka_unit_test(pairs_are_taken_by_address),
        cmocka_unit_test(try_says_whether_it_is_free),
        cmocka_unit_test(a_pair_is_both_and_may_be_one),
        cmocka_unit_test(taken_locks_are_counted),
        cmocka_unit_test(a_broadcast_ends_a_wait),
        cmocka_unit_test(a_deadline_ends_a_wait),
        cmocka_unit_test(a_lock_is_held_again_after_a_wait),
#ifdef ZCACHE_DEBUG
        cmocka_unit_test(only_the_order_of_ranks_is_allowed),
        cmocka_unit_test(locks_may_be_released_in_any_order),
        cmocka_unit_test(a_pair_counts_twice),
        cmocka_unit_test(a_pair_is_of_one_rank),
        cmocka_unit_test(a_try_is_free_but_recorded),
        cmocka_unit_test(held_and_none_are_asserted),
        cmocka_unit_test(other_threads_locks_do_not_count),
        cmocka_unit_test(a_wait_holds_nothing_else),
#endif
    };

    return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
