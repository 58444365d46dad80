/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stat: nothing is lost between stripes, and every counter ends in its own member.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "assertion.h"
#include "mathx.h"
#include "stat.h"

#define THREADS 4
#define ROUNDS  50000

static struct zc_stat *stat_new(unsigned n_cpus)
{
    size_t size = zc_stat_bytes(n_cpus);
    struct zc_stat *stat = aligned_alloc(ZC_CACHE_LINE, size);

    assert_non_null(stat);
    memset(stat, 0, size);
    zc_stat_init(stat, n_cpus);
    return stat;
}

/* ---------------------------------------------------------------------------------------------- */
/* Counters. */

static void stripes_follow_the_cpus(void **state)
{
    static const unsigned stripes[][2] = {{0, 1},  {1, 1},   {2, 2},   {3, 4},    {8, 8},
                                          {9, 16}, {16, 16}, {17, 16}, {1024, 16}};

    (void)state;
    for (size_t i = 0; i < ZC_ARRAY_SIZE(stripes); i++) {
        struct zc_stat *stat = stat_new(stripes[i][0]);

        assert_int_equal(stat->mask + 1, stripes[i][1]);
        assert_int_equal(zc_stat_bytes(stripes[i][0]),
                         sizeof(struct zc_stat) + stripes[i][1] * sizeof(struct zc_stat_stripe));
        free(stat);
    }
}

static void *count_hits(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        zc_stat_add(arg, ZC_C_get_hits_raw, 1);
        zc_stat_add(arg, ZC_C_stall_ns, 3);
        zc_stat_tier_add(arg, ZCACHE_TIER_DENSE, ZC_TC_evictions, 1);
    }
    return NULL;
}

static void no_count_is_lost_between_threads(void **state)
{
    struct zc_stat *stat = stat_new(64);
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, count_hits, stat), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(zc_stat_read(stat, ZC_C_get_hits_raw), THREADS * ROUNDS);
    assert_int_equal(zc_stat_read(stat, ZC_C_stall_ns), 3 * THREADS * ROUNDS);
    assert_int_equal(zc_stat_read(stat, ZC_C_get_misses), 0);
    assert_int_equal(zc_stat_sum(stat), 5 * THREADS * ROUNDS);
    free(stat);
}

/* Cell i gets i + 1, spread over the stripes. */
static struct zc_stat *stat_new_distinct(unsigned n_cpus)
{
    struct zc_stat *stat = stat_new(n_cpus);

    for (unsigned cell = 0; cell < ZC_CELLS; cell++) {
        for (unsigned i = 0; i <= cell; i++) {
            stat->stripe[i & stat->mask].cell[cell] += 1;
        }
    }
    return stat;
}

static void fold_adds_every_cell(void **state)
{
    struct zc_stat *into = stat_new(1);
    struct zc_stat *from = stat_new_distinct(16);

    (void)state;
    zc_stat_fold(into, from);
    zc_stat_fold(into, from);
    for (unsigned c = 0; c < ZC_COUNTERS; c++) {
        assert_int_equal(zc_stat_read(from, (enum zc_counter)c), c + 1);
        assert_int_equal(zc_stat_read(into, (enum zc_counter)c), 2 * (c + 1));
    }
    assert_int_equal(zc_stat_sum(from), ZC_CELLS * (ZC_CELLS + 1) / 2);
    assert_int_equal(zc_stat_sum(into), ZC_CELLS * (ZC_CELLS + 1));
    free(from);
    free(into);
}

static void export_adds_each_counter_to_its_member(void **state)
{
    struct zc_stat *stat = stat_new_distinct(4);
    struct zcache_stats out;
    struct zcache_stats expected;
    uint64_t next = 1;

    (void)state;
    memset(&out, 0, sizeof(out));
    memset(&expected, 0, sizeof(expected));
#define EXPECT(name, kind, unit, help) expected.count.name = 2 * next++;
    ZCACHE_COUNTERS(EXPECT)
#undef EXPECT
    for (int tier = 0; tier < ZCACHE_TIERS; tier++) {
#define EXPECT(name, kind, unit, help) expected.tier[tier].name = 2 * next++;
        ZCACHE_TIER_COUNTERS(EXPECT)
#undef EXPECT
    }
    zc_stat_export(stat, &out);
    zc_stat_export(stat, &out);
    assert_memory_equal(&out, &expected, sizeof(out));
    free(stat);
}

/* ---------------------------------------------------------------------------------------------- */
/* Histograms. */

static uint64_t random_state = 1;

static uint64_t random_ns(void)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (random_state >> 28) >> (random_state >> 20 & 31); /* up to 68 s, of any magnitude */
}

static struct zcache_latency summary_of(const struct zc_hist *hist)
{
    struct zcache_latency out;

    memset(&out, 0xee, sizeof(out));
    zc_hist_summary(hist, &out);
    return out;
}

static void bounds_grow_by_an_eighth(void **state)
{
    (void)state;
    assert_int_equal(zc_hist_bound(0), 1);
    assert_int_equal(zc_hist_bound(7), 15);
    assert_int_equal(zc_hist_bound(8), 17);
    assert_int_equal(zc_hist_bound(15), 31);
    assert_int_equal(zc_hist_bound(16), 35);
    assert_true(zc_hist_bound(ZC_HIST_BUCKETS - 1) == UINT64_MAX);
    for (unsigned i = 9; i < ZC_HIST_BUCKETS - 1; i++) {
        uint64_t below = zc_hist_bound(i - 1);
        uint64_t width = zc_hist_bound(i) - below;

        assert_true(zc_hist_bound(i) > below);
        assert_true(width <= (below + 1) / 8);
    }
}

/* Which bucket a time falls into; exactly one may have it. */
static unsigned bucket_of(uint64_t ns)
{
    struct zc_hist hist;
    unsigned found = ZC_HIST_BUCKETS;

    memset(&hist, 0, sizeof(hist));
    zc_hist_add(&hist, ns);
    for (unsigned i = 0; i < ZC_HIST_BUCKETS; i++) {
        if (hist.bucket[i] != 0) {
            assert_int_equal(hist.bucket[i], 1);
            assert_int_equal(found, ZC_HIST_BUCKETS);
            found = i;
        }
    }
    assert_in_range(found, 0, ZC_HIST_BUCKETS - 1);
    return found;
}

static void a_time_falls_between_its_bounds(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ZC_HIST_BUCKETS - 1; i++) {
        assert_int_equal(bucket_of(zc_hist_bound(i)), i);
        assert_int_equal(bucket_of(zc_hist_bound(i) + 1), i + 1);
    }
    assert_int_equal(bucket_of(0), 0);
    assert_int_equal(bucket_of(UINT64_MAX), ZC_HIST_BUCKETS - 1);
}

static int compare_ns(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* A bound for the time that is @rank-th from below: not under it, at most an eighth over. */
static void expect_quantile(uint64_t reported, const uint64_t *sorted, size_t rank)
{
    uint64_t exact = sorted[rank - 1];

    assert_true(reported >= exact);
    assert_true(reported <= exact + ZC_MAX(exact / 8, 1));
}

static void quantiles_bound_the_sorted_times(void **state)
{
    enum {
        N = 10007
    };

    static uint64_t times[N];
    static struct zc_hist hist;
    uint64_t sum = 0;
    struct zcache_latency summary;

    (void)state;
    for (int i = 0; i < N; i++) {
        times[i] = random_ns();
        sum += times[i];
        zc_hist_add(&hist, times[i]);
    }
    qsort(times, N, sizeof(times[0]), compare_ns);
    summary = summary_of(&hist);
    assert_int_equal(summary.count, N);
    assert_int_equal(summary.sum_ns, sum);
    assert_int_equal(summary.max_ns, times[N - 1]);
    expect_quantile(summary.p50_ns, times, (N + 1) / 2);
    expect_quantile(summary.p99_ns, times, (N * 99 + 99) / 100);
    expect_quantile(summary.p999_ns, times, (N * 999 + 999) / 1000);
}

static void one_time_is_every_quantile(void **state)
{
    static struct zc_hist hist;
    struct zcache_latency summary;

    (void)state;
    zc_hist_add(&hist, 1001);
    summary = summary_of(&hist);
    assert_int_equal(summary.count, 1);
    assert_int_equal(summary.p50_ns, 1001);
    assert_int_equal(summary.p99_ns, 1001);
    assert_int_equal(summary.p999_ns, 1001);
}

static void the_999th_of_1000_is_p999(void **state)
{
    static struct zc_hist hist;

    (void)state;
    for (int i = 0; i < 999; i++) {
        zc_hist_add(&hist, 16);
    }
    zc_hist_add(&hist, 1 << 20);
    assert_int_equal(summary_of(&hist).p999_ns, 17);
    zc_hist_add(&hist, 1 << 20);
    assert_int_equal(summary_of(&hist).p999_ns, 1 << 20);
}

static void times_beyond_the_last_bound_are_their_maximum(void **state)
{
    static struct zc_hist hist;

    (void)state;
    zc_hist_add(&hist, UINT64_C(1) << 50);
    assert_int_equal(summary_of(&hist).p50_ns, UINT64_C(1) << 50);
}

static void an_empty_histogram_is_all_zero(void **state)
{
    static const struct zcache_latency zero;
    static struct zc_hist hist;
    struct zcache_latency summary = summary_of(&hist);

    (void)state;
    assert_memory_equal(&summary, &zero, sizeof(zero));
}

static void fold_makes_one_of_two(void **state)
{
    static struct zc_hist parts[2];
    static struct zc_hist whole;
    static struct zc_hist folded;
    struct zcache_latency a;
    struct zcache_latency b;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        uint64_t ns = random_ns();

        zc_hist_add(&parts[i % 2], ns);
        zc_hist_add(&whole, ns);
    }
    zc_hist_fold(&folded, &parts[0]);
    zc_hist_fold(&folded, &parts[1]);
    a = summary_of(&folded);
    b = summary_of(&whole);
    assert_memory_equal(&a, &b, sizeof(a));
}

struct timer {
    struct zc_hist hist;
    _Atomic uint64_t next;
};

static void *time_things(void *arg)
{
    struct timer *timer = arg;

    for (int i = 0; i < ROUNDS; i++) {
        zc_hist_add(&timer->hist, atomic_fetch_add(&timer->next, 1));
    }
    return NULL;
}

static void no_time_is_lost_between_threads(void **state)
{
    static struct timer timer;
    const uint64_t n = (uint64_t)THREADS * ROUNDS;
    struct zcache_latency summary;
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, time_things, &timer), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    summary = summary_of(&timer.hist);
    assert_int_equal(summary.count, n);
    assert_int_equal(summary.sum_ns, n * (n - 1) / 2);
    assert_int_equal(summary.max_ns, n - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stripes_follow_the_cpus),
        cmocka_unit_test(no_count_is_lost_between_threads),
        cmocka_unit_test(fold_adds_every_cell),
        cmocka_unit_test(export_adds_each_counter_to_its_member),
        cmocka_unit_test(bounds_grow_by_an_eighth),
        cmocka_unit_test(a_time_falls_between_its_bounds),
        cmocka_unit_test(quantiles_bound_the_sorted_times),
        cmocka_unit_test(one_time_is_every_quantile),
        cmocka_unit_test(the_999th_of_1000_is_p999),
        cmocka_unit_test(times_beyond_the_last_bound_are_their_maximum),
        cmocka_unit_test(an_empty_histogram_is_all_zero),
        cmocka_unit_test(fold_makes_one_of_two),
        cmocka_unit_test(no_time_is_lost_between_threads),
    };

    return cmocka_run_group_tests_name("stat", tests, NULL, NULL);
}
