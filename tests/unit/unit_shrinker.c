/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * shrinker: it can be held off and ended at any time, and each reason to wake it has its effect.
 */
#include <errno.h>
#include <sched.h>

#include "inside.h"
#include "reclaim.h"
#include "shrinker.h"

#define CHANCES 300 /* for something that must not happen */

struct fixture {
    struct zcache *cache;
    struct zcache_tenant *t;
};

/* A cache whose marks stand so that only the test rings. */
static void setup(struct fixture *f, const char *options)
{
    f->cache = open_cache(16 * MIB, NULL, options);
    f->t = open_tenant(zcache_root(f->cache), "t", 12 * MIB);
    WAIT_UNTIL(atomic_load(&f->cache->bell.sleeping) == 1, 10000);
}

static void teardown(struct fixture *f)
{
    drop_cache(f->cache);
}

static void put_n(struct fixture *f, uint64_t n, unsigned flags)
{
    for (uint64_t i = 0; i < n; i++) {
        REQUIRE_EQUAL(put_page(f->t, key_of(1, i), 1, FILL_TEXT, flags), 0);
    }
}

static uint64_t wakes(struct fixture *f)
{
    return atomic_load(&f->cache->bell.wakes);
}

static uint64_t pages(struct fixture *f)
{
    return atomic_load(&f->t->n_pages);
}

/* Lowers the limit behind the limit's back, and asks for it to be drained. */
static void ask_for_drain(struct fixture *f, uint64_t limit)
{
    atomic_store(&f->t->own.limit, limit);
    zc_bell_ring(f->cache, ZC_BELL_DRAIN);
}

static bool drained(struct fixture *f)
{
    return zc_quota_charge(f->t->account) <= zc_quota_limit(f->t->account);
}

static void while_it_is_paused_nothing_happens(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    put_n(&f, 50, ZCACHE_CLEAN);
    const uint64_t before = wakes(&f);
    zc_shrinker_pause(f.cache);
    zc_shrinker_pause(f.cache); /* nests */
    ask_for_drain(&f, 100 * KIB);
    WAIT_UNTIL(wakes(&f) > before, 10000); /* it is awake, and stands at the gate */
    for (int i = 0; i < CHANCES; i++) {
        (void)sched_yield();
        assert_int_equal(pages(&f), 50);
    }
    zc_shrinker_resume(f.cache);
    for (int i = 0; i < CHANCES; i++) {
        (void)sched_yield();
        assert_int_equal(pages(&f), 50);
    }
    zc_shrinker_resume(f.cache);
    WAIT_UNTIL(drained(&f), 10000);
    assert_true(pages(&f) < 50);
    teardown(&f);
}

/* A store that stops the shrinker in the middle of a round. */
static struct {
    _Atomic bool inside;
    _Atomic bool go_on;
} gate;

static int stop_at_gate(void *ctx, struct zcache_io *io)
{
    (void)ctx;
    (void)io;
    atomic_store(&gate.inside, true);
    WAIT_UNTIL(atomic_load(&gate.go_on), 20000);
    return 0;
}

static void *open_gate(void *arg)
{
    const struct zcache *cache = arg;

    for (int i = 0; i < CHANCES; i++) { /* time enough for a pause that would not wait */
        (void)sched_yield();
    }
    REQUIRE(atomic_load(&cache->bell.sleeping) == 0);
    atomic_store(&gate.go_on, true);
    return NULL;
}

static void a_pause_waits_for_the_round_under_way(void **state)
{
    struct zcache_store cb = ZCACHE_STORE_INIT;
    struct fixture f;
    pthread_t thread;

    (void)state;
    cb.write = stop_at_gate;
    f.cache = open_cache(16 * MIB, &cb, PLAIN);
    f.t = open_tenant(zcache_root(f.cache), "t", 12 * MIB);
    put_n(&f, 10, ZCACHE_DIRTY);
    ask_for_drain(&f, 20 * KIB);
    WAIT_UNTIL(atomic_load(&gate.inside), 10000);
    start(&thread, open_gate, f.cache);
    zc_shrinker_pause(f.cache);
    assert_true(atomic_load(&gate.go_on)); /* the round could not have ended before */
    join(thread);
    assert_int_equal(atomic_load(&f.t->n_writing), 0);
    zc_shrinker_resume(f.cache);
    teardown(&f);
}

static void it_can_be_stopped_and_started(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    for (int i = 0; i < 50; i++) {
        if (i % 2 != 0) {
            zc_bell_ring(f.cache, ZC_BELL_DRAIN); /* a stop comes in the middle of things */
        }
        zc_shrinker_stop(f.cache);
        assert_null(f.cache->shrinker);
        zc_shrinker_stop(f.cache); /* there is none */
        atomic_store(&f.cache->bell.rung, 0);
        assert_int_equal(zc_shrinker_start(f.cache), 0);
    }
    put_n(&f, 50, ZCACHE_CLEAN);
    ask_for_drain(&f, 100 * KIB);
    WAIT_UNTIL(drained(&f), 10000);
    teardown(&f);
}

static void without_memory_it_is_not_started(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    zc_shrinker_stop(f.cache);
    atomic_store(&f.cache->bell.rung, 0);
    fail_after(1);
    assert_int_equal(zc_shrinker_start(f.cache), -ENOMEM);
    fail_after(0);
    assert_null(f.cache->shrinker);
    assert_int_equal(zc_shrinker_start(f.cache), 0);
    teardown(&f);
}

static void raw_pages_are_compressed_ahead(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, "start_percent=0,raw_percent=25,background_percent=100");
    zc_shrinker_pause(f.cache);
    put_n(&f, 200, ZCACHE_CLEAN);
    const uint64_t before = zc_reclaim_surplus(f.t);
    zc_shrinker_resume(f.cache);
    zc_bell_ring(f.cache, ZC_BELL_AHEAD);
    WAIT_UNTIL(zc_reclaim_surplus(f.t) <= 16 * KIB, 10000);
    assert_true(before > 100 * KIB);
    assert_int_equal(pages(&f), 200); /* nothing is evicted for that */
    teardown(&f);
}

static void pressure_ends_at_the_low_mark(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PLAIN ",start_percent=40,low_percent=40,background_percent=50");
    put_n(&f, 2400, ZCACHE_CLEAN); /* some 9.6 MiB */
    WAIT_UNTIL(zc_quota_charge(&f.cache->account) <= 8 * MIB, 10000);
    WAIT_UNTIL(zc_stat_read(f.t->stat, ZC_C_shrinker_bytes) > 0, 10000);
    WAIT_UNTIL(zc_quota_charge(&f.cache->account) <= 16 * MIB * 40 / 100 ||
                   atomic_load(&f.cache->bell.sleeping) == 1,
               10000);
    assert_true(zc_quota_charge(&f.cache->account) > 16 * MIB * 30 / 100); /* and no further */
    assert_true(zc_stat_read(f.t->stat, ZC_C_shrinker_freed) > 0);
    teardown(&f);
}

static void whoever_waits_is_told_that_nothing_can_go(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PLAIN ",start_percent=0,low_percent=0,background_percent=1");
    put_n(&f, 50, ZCACHE_DIRTY); /* and there is no store */
    atomic_fetch_add(&f.cache->bell.urgent, 1);
    const uint64_t before = atomic_load(&f.cache->bell.fruitless);
    uint64_t seq = zc_progress_begin(f.cache, ZC_FOR_ANY);
    const uint64_t deadline = deadline_in(10000);
    while (atomic_load(&f.cache->bell.fruitless) < before + 2) {
        zc_bell_ring(f.cache, ZC_BELL_URGENT);
        assert_true(zc_progress_wait(f.cache, ZC_FOR_ANY, &seq, deadline));
    }
    zc_progress_end(f.cache, ZC_FOR_ANY);
    atomic_fetch_sub(&f.cache->bell.urgent, 1);
    assert_int_equal(pages(&f), 50);
    assert_true(zc_stat_read(f.t->stat, ZC_C_shrinker_failures) > 0);
    assert_true(zc_stat_read(f.cache->root->stat, ZC_C_shrinker_skips) > 0);
    assert_true(atomic_load(&f.cache->bell.quiet_ns) > 0);
    teardown(&f);
}

static void the_closing_are_left_alone(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    put_n(&f, 50, ZCACHE_CLEAN);
    assert_int_equal(zc_tenant_begin_close(f.t), 0);
    const uint64_t before = wakes(&f);
    ask_for_drain(&f, 100 * KIB);
    WAIT_UNTIL(wakes(&f) > before, 10000);
    zc_shrinker_pause(f.cache); /* its round is over, or did not begin */
    assert_int_equal(pages(&f), 50);
    assert_int_equal(atomic_load(&f.t->ops), 0);
    zc_tenant_cancel_close(f.t);
    zc_shrinker_resume(f.cache);
    zc_bell_ring(f.cache, ZC_BELL_DRAIN);
    WAIT_UNTIL(drained(&f), 10000);
    teardown(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(while_it_is_paused_nothing_happens),
        cmocka_unit_test(a_pause_waits_for_the_round_under_way),
        cmocka_unit_test(it_can_be_stopped_and_started),
        cmocka_unit_test(without_memory_it_is_not_started),
        cmocka_unit_test(raw_pages_are_compressed_ahead),
        cmocka_unit_test(pressure_ends_at_the_low_mark),
        cmocka_unit_test(whoever_waits_is_told_that_nothing_can_go),
        cmocka_unit_test(the_closing_are_left_alone),
    };

    (void)test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("shrinker", tests, NULL, NULL);
}
