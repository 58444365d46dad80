/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Samples, training and dictionaries without memory: pages go dense without a dictionary, nothing is kept of
 * what was begun, it is counted, and tried again.
 *
 * A cache of 16 MiB with pages of 4 KiB has dictionaries of 32 KiB, trained from the 1.5 MiB (384 pages) that
 * are demoted first.
 */
#include <inttypes.h>

#include "api/records.h"
#include "scenario.h"
#include "tier.h"
#include "train.h"

#define LEARN   384u
#define FIRST   5u                             /* requests that are refused, */
#define LAST    (TEST_SLOWDOWN > 1 ? 8u : 20u) /* and these at the end */
#define OPTIONS "page_max=4K,raw_percent=100,start_percent=100,fast=none"

static void demote(struct zcache *cache, unsigned first, unsigned n)
{
    struct zc_thread *th = thread_of(cache);
    struct zcache_tenant *t = zcache_root(cache);

    for (unsigned i = first; i < first + n; i++) {
        struct zc_entry *e = isolate(t, key_of(1, i));
        uint64_t freed;

        (void)zc_tier_demote(cache, th, e, ZCACHE_TIER_DENSE, &freed);
        zc_page_putback(cache, th, e, true);
        zc_epoch_drain(th->epoch);
    }
}

static void put(struct zcache *cache, unsigned first, unsigned n)
{
    for (unsigned i = first; i < first + n; i++) {
        REQUIRE_EQUAL(records_put(zcache_root(cache), i, 1), 0);
    }
}

static struct zcache *begin(void)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, OPTIONS);

    REQUIRE(cache->train != NULL);
    zc_train_hurry(cache);
    /* The shrinker is there: it starts the thread, or is refused that. */
    zc_bell_ring(cache, ZC_BELL_DICT);
    WAIT_UNTIL(stats_of(zcache_root(cache)).cache.shrinker_wakes > 0 &&
                   stats_of(zcache_root(cache)).cache.shrinker_sleeping != 0,
               20000);
    return cache;
}

static uint64_t ends(struct zcache *cache)
{
    const struct zcache_stats s = stats_of(zcache_root(cache));

    return s.count.dict_kept + s.count.dict_refused + s.count.dict_failures;
}

/* Everything that is charged, beside pages, is metadata of some kind; verify looks at the rest. */
static void check(struct zcache *cache, unsigned n)
{
    verify_cache(cache);
    for (unsigned i = 0; i < n; i++) {
        records_check(zcache_root(cache), i, 1);
    }
}

/* After the refusals: the pages that come are enough for another sample, and for what it takes. */
static void it_works_after_all(struct zcache *cache)
{
    unsigned next = 1000;

    zc_bell_ring(cache, ZC_BELL_DICT); /* a round, for what the last one could not start */
    WAIT_UNTIL(!zc_train_busy(cache), 20000);
    while (stats_of(zcache_root(cache)).cache.dictionaries == 0) {
        REQUIRE(next < 1000 + 4 * LEARN);
        put(cache, next, 1);
        demote(cache, next, 1);
        next++;
        WAIT_UNTIL(!zc_train_busy(cache), 20000);
    }
    put(cache, 5000, 1);
    demote(cache, 5000, 1);
    REQUIRE(zc_payload_dict(zc_word_payload(word_of(zcache_root(cache), key_of(1, 5000)))) != 0);
    records_check(zcache_root(cache), 5000, 1);
    for (unsigned i = 1000; i < next; i++) {
        records_check(zcache_root(cache), i, 1);
    }
}

static void arm(const struct zc_fault_plan *plan)
{
    struct zc_fault_plan all = *plan;

    all.whose = ZC_FAULT_ALL;
    zc_fault_arm(&all);
}

/* From the page that makes the sample complete to the dictionary. */
static uint64_t train_once(void *ctx, const struct zc_fault_plan *plan)
{
    struct zcache *cache = begin();
    const uint64_t threads = zc_fault_refused(ZC_FAULT_thread);

    (void)ctx;
    put(cache, 0, LEARN);
    demote(cache, 0, LEARN - 1);
    REQUIRE_EQUAL(ends(cache), 0);
    arm(plan);
    demote(cache, LEARN - 1, 1);
    WAIT_UNTIL(!zc_train_busy(cache) || zc_fault_refused(ZC_FAULT_thread) > threads, 20000);
    const uint64_t n_refused = zc_fault_disarm();
    check(cache, LEARN);
    if (n_refused == 0) {
        REQUIRE_EQUAL(stats_of(zcache_root(cache)).count.dict_kept, 1);
    }
    it_works_after_all(cache);
    close_cache(cache);
    return n_refused;
}

/* The first page of a sample. */
static uint64_t sample_once(void *ctx, const struct zc_fault_plan *plan)
{
    struct zcache *cache = begin();

    (void)ctx;
    put(cache, 0, 2);
    arm(plan);
    demote(cache, 0, 2);
    const uint64_t n_refused = zc_fault_disarm();
    check(cache, 2);
    it_works_after_all(cache);
    close_cache(cache);
    return n_refused;
}

/* A page encoded with a dictionary, at a level that it was not prepared for. */
static uint64_t level_once(void *ctx, const struct zc_fault_plan *plan)
{
    struct zcache *cache = begin();
    struct zcache_tenant *root = zcache_root(cache);

    (void)ctx;
    put(cache, 0, LEARN + 1);
    demote(cache, 0, LEARN);
    WAIT_UNTIL(ends(cache) > 0, 20000);
    REQUIRE_EQUAL(zcache_codec_select(cache, ZCACHE_TIER_DENSE, "zstd:6"), 0);
    arm(plan);
    demote(cache, LEARN, 1);
    const uint64_t n_refused = zc_fault_disarm();
    check(cache, LEARN + 1);
    if (n_refused > 0 && zc_payload_is_raw(zc_word_payload(word_of(root, key_of(1, LEARN))))) {
        demote(cache, LEARN, 1);
    }
    REQUIRE(zc_payload_dict(zc_word_payload(word_of(root, key_of(1, LEARN)))) != 0);
    records_check(root, LEARN, 1);
    close_cache(cache);
    return n_refused;
}

/* As fault_each(), without most of the requests that a new thread's stock of nodes is. */
static void each_but_the_stock(const char *name,
                               uint64_t (*once)(void *ctx, const struct zc_fault_plan *plan))
{
    const int64_t held = zc_fault_held();
    uint64_t total;
    unsigned n_tried = 0;

    REQUIRE_EQUAL(once(NULL, &(struct zc_fault_plan){.nth = UINT64_MAX}), 0);
    total = zc_fault_requests();
    REQUIRE(total > FIRST + LAST);
    for (uint64_t n = 1; n <= total; n += n == FIRST ? total - LAST - n : 1) {
        fault_at("%s: request %" PRIu64 " of %" PRIu64, name, n, total);
        for (unsigned lasting = 0; lasting < 2; lasting++) {
            (void)once(NULL, &(struct zc_fault_plan){.nth = n, .lasting = lasting != 0});
            REQUIRE_EQUAL(zc_fault_held(), held);
        }
        n_tried++;
    }
    print_message("%s: %u of %" PRIu64 " requests refused\n", name, n_tried, total);
}

static void a_training_is_given_up_without_a_trace(void **state)
{
    (void)state;
    each_but_the_stock("train.training", train_once);
    /* What the library takes, however much was asked for before it. */
    for (unsigned lasting = 0; lasting < 2; lasting++) {
        const struct zc_fault_plan plan = {
            .nth = 1, .lasting = lasting != 0, .sites = 1u << ZC_FAULT_train};

        REQUIRE(train_once(NULL, &plan) > 0);
    }
}

static void a_sample_is_taken_later(void **state)
{
    (void)state;
    fault_each("train.sample", false, sample_once, NULL);
}

static void a_level_is_prepared_later(void **state)
{
    (void)state;
    fault_each("train.level", false, level_once, NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sample_is_taken_later),
        cmocka_unit_test(a_level_is_prepared_later),
        cmocka_unit_test(a_training_is_given_up_without_a_trace),
    };

    (void)test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
