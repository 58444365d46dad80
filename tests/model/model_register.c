/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random operations by several threads, over a store that fails, delays, reorders and calls back; every
 * key's history is checked to be that of a register (history.h).
 *
 * The threads work in rounds. After each, what was done to each key since the last check is checked, and
 * forgotten; the ways in which it can have happened are kept. Now and then everything is settled: limits
 * are lifted, the store works, everything is flushed, and cache and store are compared with the
 * histories. Some rounds have little room, others a store that fails, is slow, or completes late. The
 * cache is opened anew several times, each time with other options.
 *
 * usage: test_model_register [operations [seed [threads]]]
 *
 * The seed determines each thread's operations, the scripts and the choices of the store on each
 * thread; how the threads are scheduled it does not.
 */
#include "ops.h"
#include "world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ROUND = 8000, /* operations of all threads */
    VERIFY_EVERY = 8,
    SETTLE_EVERY = 32,
    WORLDS = 8
};

static uint64_t operations = 10000000 / TEST_SLOWDOWN;
static uint64_t seed = 20261;
static unsigned n_threads = 4;

static struct {
    pthread_barrier_t barrier;
    uint64_t round; /* of the whole run */
    uint64_t per_thread;
    bool over;
    unsigned ways_peak;
} run;

/* ---- what a round is like -------------------------------------------------------------------------- */

static const struct model_script scripts[] = {
    {.call = 24},
    {.queued = 300, .early = 300, .call = 24},
    {.queued = 800, .slow = 256, .call = 64},
    {.fail_batch = 2, .fail_page = 2, .queued = 200, .early = 100, .call = 24},
    {.early = 512, .slow = 64, .call = 200},
    {.fail_batch = 12, .fail_page = 12, .queued = 512, .slow = 64, .call = 64},
};

static uint64_t mixed(uint64_t a, uint64_t b, uint64_t c)
{
    struct rng rng = {a * UINT64_C(0x9e3779b97f4a7c15) + b};
    rng.state = rng_next(&rng) + c;
    return rng_next(&rng);
}

static void begin_round(void)
{
    struct rng rng = {mixed(seed, run.round, 1)};
    static const unsigned picks[] = {0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2,
                                     2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5};

    atomic_store(&world.store.script,
                 &scripts[picks[rng_below(&rng, sizeof(picks) / sizeof(picks[0]))]]);
    model_set_capacity(rng_below(&rng, 8) == 0 ? 64 * KIB + rng_below(&rng, 128 * KIB) : 0);
    model_round_begin();
}

/* ---- threads --------------------------------------------------------------------------------------- */

static void *work(void *arg)
{
    struct model_log *log = arg;
    struct model_checker checker = {0};

    model_log_use(log);
    for (;;) {
        pthread_barrier_wait(&run.barrier); /* the round begins */
        if (run.over) {
            break;
        }
        model_store_seed(mixed(seed, run.round, 100 + log->thread));
        const uint64_t end = log->calls + run.per_thread;
        for (uint64_t i = 0; log->calls < end; i++) {
            model_operation(log, mixed(seed, run.round << 8 | log->thread, i));
        }
        pthread_barrier_wait(&run.barrier); /* all calls have returned */
        pthread_barrier_wait(&run.barrier); /* those of strangers, too */
        model_check(&checker, log->thread, n_threads);
        log->ways_peak = checker.ways_peak;
        pthread_barrier_wait(&run.barrier); /* everything is checked */
    }
    model_checker_fini(&checker);
    return NULL;
}

static void one_round(void)
{
    begin_round();
    pthread_barrier_wait(&run.barrier);
    pthread_barrier_wait(&run.barrier);
    model_round_end();
    pthread_barrier_wait(&run.barrier);
    pthread_barrier_wait(&run.barrier);
    model_logs_clear();
}

/* ---- the end of a world ---------------------------------------------------------------------------- */

struct sums {
    uint64_t calls, puts, gets, pins, unpins, deletes, failures, timeouts, by_hand, closes;
};

static struct sums sum_logs(void)
{
    struct sums s = {0};

    for (unsigned i = 0; i < world.n_threads + MODEL_STRANGERS; i++) {
        const struct model_log *log = &world.logs[i];
        s.calls += log->calls;
        s.puts += log->puts;
        s.gets += log->gets;
        s.pins += log->pins;
        s.unpins += log->unpins;
        s.deletes += log->deletes;
        s.failures += log->failures;
        s.timeouts += log->timeouts;
        s.by_hand += log->by_hand;
        s.closes += log->closes;
        run.ways_peak = log->ways_peak > run.ways_peak ? log->ways_peak : run.ways_peak;
    }
    return s;
}

/* Every call ended in exactly one of the counted outcomes. */
static void check_counts(const struct sums *s)
{
    const struct zcache_stats stats = stats_of(world.root);

    assert_int_equal(puts_of(&stats), s->puts);
    assert_int_equal(gets_of(&stats), s->gets);
    assert_int_equal(pins_of(&stats), s->pins);
    assert_int_equal(deletes_of(&stats), s->deletes);
    assert_int_equal(stats.count.unpins, s->unpins);
    assert_int_equal(stats.count.pin_hits + stats.count.pin_loads, s->unpins);
    assert_int_equal(stats.cache.pins, 0);
    assert_int_equal(stats.cache.bad_completions, 0);
    assert_true(stats.gauge.peak_charge_bytes <= MODEL_CAPACITY);
}

static void report(unsigned variant, const struct sums *s, uint64_t ns)
{
    (void)printf(
        "world %u: %" PRIu64 " operations in %.1f s; %" PRIu64 " refused, %" PRIu64
        " timed out, %" PRIu64 " pages written by hand, %" PRIu64 " tenants closed, %llu of %llu "
        "batches failed, %llu completed elsewhere, %llu calls from callbacks\n",
        variant, s->calls, (double)ns / 1e9, s->failures, s->timeouts, s->by_hand, s->closes,
        atomic_load(&world.store.failed_batches), atomic_load(&world.store.batches),
        atomic_load(&world.store.queued_batches), atomic_load(&world.store.calls));
    (void)fflush(stdout);
}

static uint64_t one_world(unsigned variant, uint64_t amount)
{
    pthread_t threads[MODEL_THREADS_MAX] = {0};
    const uint64_t start = now_ns();
    const uint64_t rounds = (amount + ROUND - 1) / ROUND;

    model_world_open(n_threads, seed + variant, variant);
    world.store.nested = model_nested;
    run.over = false;
    for (unsigned i = 0; i < n_threads; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, work, &world.logs[i]), 0);
    }
    for (uint64_t i = 1; i <= rounds; i++) {
        one_round();
        run.round++;
        if (i % SETTLE_EVERY == 0) {
            model_settle();
        } else if (i % VERIFY_EVERY == 0) {
            model_set_capacity(0); /* where no page can leave there may be no room to count in */
            verify_cache(world.cache);
        }
    }
    run.over = true;
    pthread_barrier_wait(&run.barrier);
    for (unsigned i = 0; i < n_threads; i++) {
        pthread_join(threads[i], NULL);
    }
    model_settle();
    const struct sums sums = sum_logs();
    check_counts(&sums);
    report(variant, &sums, now_ns() - start);
    model_world_close();
    return sums.calls;
}

static void every_key_is_a_register(void **state)
{
    const uint64_t start = now_ns();
    const uint64_t each = (operations + WORLDS - 1) / WORLDS;
    uint64_t done = 0;

    (void)state;
    run.per_thread = ROUND / n_threads;
    assert_int_equal(pthread_barrier_init(&run.barrier, NULL, n_threads + 1), 0);
    for (unsigned variant = 0; done < operations; variant++) {
        const uint64_t left = operations - done;
        done += one_world(variant, left < each ? left : each);
    }
    pthread_barrier_destroy(&run.barrier);
    const double seconds = (double)(now_ns() - start) / 1e9;
    (void)printf("%" PRIu64 " operations in %.1f s, %.0f a second; at most %u ways at one time\n",
                 done, seconds, (double)done / seconds, run.ways_peak);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_is_a_register),
    };

    if (argc > 1) {
        operations = strtoull(argv[1], NULL, 0);
    }
    if (argc > 2) {
        seed = strtoull(argv[2], NULL, 0);
    }
    if (argc > 3) {
        n_threads = (unsigned)strtoul(argv[3], NULL, 0);
    }
    if (operations < 1 || n_threads < 1 || n_threads > MODEL_THREADS_MAX) {
        test_skip("1 to 16 threads");
    }
    test_begin(0, NULL, seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
