/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A cache in memory only, whose pages can leave nowhere: what is kept for the training of dictionaries is had
 * before anything is refused at the capacity, also by who may not wait for it.
 */
#include <errno.h>

#include "core.h"
#include "reclaim.h"
#include "script.h"
#include "train.h"

#define CAPACITY (16 * MIB)
#define OPTIONS  "page_max=4096,start_percent=100"

static struct zcache *cache;
static struct zcache_tenant *root;

static void open_full(const char *options)
{
    cache = open_cache(CAPACITY, NULL, options);
    root = zcache_root(cache);
}

/* As much as a training saves up in a cache of this size, without being trained with. */
static void save_up(void)
{
    while (!zc_core_save_up(cache, 2 * MIB)) {
    }
    assert_true(atomic_load(&cache->prepaid) > cache->prepaid_max);
}

/* Random pages, which get no smaller, until one is refused.  Its number. */
static uint64_t fill(unsigned flags, int refusal)
{
    uint64_t n = 0;
    int rc;

    while ((rc = put_page(root, key_of(1, n), 1, FILL_RANDOM, ZCACHE_DIRTY | flags)) == 0) {
        n++;
    }
    assert_int_equal(rc, refusal);
    return n;
}

static void what_was_saved_up_is_had_by_who_waits(void **state)
{
    (void)state;
    open_full(OPTIONS);
    save_up();
    const uint64_t n = fill(0, -ENOSPC);
    assert_true(atomic_load(&cache->prepaid) <= cache->prepaid_max);
    assert_true(n * PAGE > CAPACITY * 3 / 4);
    assert_false(zc_core_save_up(cache, 2 * MIB)); /* not at once again */
    assert_true(atomic_load(&cache->prepaid) <= cache->prepaid_max);
    drop_cache(cache);
}

/* They are refused, and soon not any more. */
static void what_was_saved_up_is_had_by_who_comes_again(const char *options,
                                                        unsigned flags,
                                                        int refusal)
{
    open_full(options);
    save_up();
    const uint64_t n = fill(flags, refusal);
    WAIT_UNTIL(put_page(root, key_of(1, n), 1, FILL_RANDOM, ZCACHE_DIRTY | flags) == 0, 10000);
    (void)fill(flags, refusal);
    WAIT_UNTIL(atomic_load(&cache->prepaid) <= cache->prepaid_max, 10000);
    drop_cache(cache);
}

static void by_who_is_rejected(void **state)
{
    (void)state;
    what_was_saved_up_is_had_by_who_comes_again(OPTIONS ",full=reject", 0, -ENOSPC);
}

static void by_who_does_not_wait(void **state)
{
    (void)state;
    what_was_saved_up_is_had_by_who_comes_again(OPTIONS, ZCACHE_NOWAIT, -EBUSY);
}

/* Puts pages that can be learnt from, and has them demoted. */
static void demote_text(uint64_t first, uint64_t n)
{
    for (uint64_t i = first; i < first + n; i++) {
        assert_int_equal(put_page(root, key_of(2, i), 1, FILL_TEXT, ZCACHE_DIRTY), 0);
    }
    assert_int_equal(zcache_shrink(root, 64 * KIB, 1000, NULL), 0);
}

/* One that has begun, and does not grow any more. */
static void a_sample_gives_way(void **state)
{
    (void)state;
    open_full(OPTIONS ",raw_percent=5,fast=none");
    const uint64_t before = stats_of(root).cache.dict_bytes;
    demote_text(0, 100);
    assert_true(stats_of(root).cache.dict_bytes > before + CAPACITY / 32);
    (void)fill(ZCACHE_INCOMPRESSIBLE, -ENOSPC);
    assert_int_equal(stats_of(root).cache.dict_bytes, before);
    assert_int_equal(stats_of(root).count.dict_failures, 1);
    assert_int_equal(stats_of(root).count.dict_trainings, 0);
    drop_cache(cache);
}

/* Samples are taken, and trained with or not, as it comes: when a put is refused none of it is left. */
static void trainings_give_way(void **state)
{
    (void)state;
    open_full("page_max=4096,raw_percent=5,fast=none,latency_sample=1");
    for (uint64_t i = 0; i < 900; i++) {
        assert_int_equal(
            put_page(root, key_of(2, i), 1, i % 2 ? FILL_TEXT : FILL_RANDOM, ZCACHE_DIRTY), 0);
    }
    /* This thread has all it needs to read dense pages, before there is no room for that. */
    assert_int_equal(zcache_shrink(root, 64 * KIB, 1000, NULL), 0);
    for (uint64_t i = 0; i < 900; i++) {
        assert_int_equal(get_page(root, key_of(2, i), ZCACHE_PEEK), 1);
    }
    assert_true(stats_of(root).count.get_hits_dense > 0);
    (void)fill(0, -ENOSPC);
    const struct zcache_stats stats = stats_of(root);
    assert_false(zc_train_holds(cache));
    assert_true(atomic_load(&cache->prepaid) <= cache->prepaid_max);
    /* What dictionaries that are in use may have. */
    assert_true(stats.cache.dict_bytes <= CAPACITY / 16);
    uint64_t seen = 0;
    for (unsigned i = 0; i < ZCACHE_TIERS; i++) {
        seen += stats.tier[i].allocated_bytes;
    }
    assert_true(seen + stats.cache.entry_bytes > CAPACITY * 3 / 4);
    for (uint64_t i = 0; i < 900; i++) {
        assert_int_equal(get_page(root, key_of(2, i), 0), 1);
    }
    drop_cache(cache);
}

/* Whoever was refused metadata has it before he gives up, in a cache of pages that cannot leave. */
static void a_context_gets_what_was_saved_up(void **state)
{
    struct zc_thread *th;

    (void)state;
    open_full(OPTIONS);
    (void)fill(0, -ENOSPC);
    th = zc_core_thread(cache);
    assert_non_null(th);
    WAIT_UNTIL(zc_core_may_save(cache), 5000);
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(zcache_delete(root, key_of(1, i), 0), 0);
    }
    while (!zc_core_save_up(cache, 300 * KIB) && charge_of(root) < CAPACITY - 128 * KIB) {
    }
    assert_true(atomic_load(&cache->prepaid) > cache->prepaid_max);
    do { /* as long as it is worth while to try again */
        th->meta_refused = PAGE;
    } while (zc_reclaim_metadata(cache, th, deadline_in(1000)));
    assert_true(atomic_load(&cache->prepaid) <= cache->prepaid_max);
    drop_cache(cache);
}

/* Or each page that is freed would wake the training's thread, which needs megabytes. */
static void a_training_is_not_told_of_each_page(void **state)
{
    uint64_t rest;

    (void)state;
    open_full(OPTIONS ",raw_percent=5,fast=none");
    demote_text(0, 100); /* the sample is begun, and has its room */
    rest = CAPACITY - 1200 * KIB - charge_of(root);
    assert_null(zc_quota_reserve(&cache->account, rest, ZC_QUOTA_PUT));
    script_begin();
    script_hold_any("train.waits");
    for (uint64_t n = 100; !script_stands("train.waits") && n < 1000; n += 50) {
        demote_text(n, 50);
    }
    script_await("train.waits");
    assert_int_equal(atomic_load(&cache->progress.waiters) & UINT32_MAX, 0);
    assert_int_not_equal(atomic_load(&cache->progress.waiters), 0);
    script_release("train.waits");
    zc_quota_refund(&cache->account, rest);
    WAIT_UNTIL(stats_of(root).count.dict_trainings + stats_of(root).count.dict_failures > 0, 20000);
    script_end();
    drop_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_saved_up_is_had_by_who_waits),
        cmocka_unit_test(by_who_is_rejected),
        cmocka_unit_test(by_who_does_not_wait),
        cmocka_unit_test(a_sample_gives_way),
        cmocka_unit_test(trainings_give_way),
        cmocka_unit_test(a_context_gets_what_was_saved_up),
        cmocka_unit_test(a_training_is_not_told_of_each_page),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
