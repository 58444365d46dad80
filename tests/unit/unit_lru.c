/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lru: the lists hold what they should in the order they should, the gauges are the sums of it, and an
 * isolated page is with one reclaimer only.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "api/support.h"
#include "assertion.h"
#include "lru.h"

#define HOLD_PAGES 512 /* looked at in one call, at most */

static uint64_t seed;

static const struct zc_sizes sizes_raw = {4096, 4128, 4224, true};
static const struct zc_sizes sizes_small = {4096, 1000, 1024, false};
static const struct zc_sizes sizes_same = {4096, 0, 0, false};

/* ---------------------------------------------------------------------------------------------- */
/* Lists of numbered entries. */

#define ENTRIES 1100
static const unsigned lists = ZC_LISTS;

struct fixture {
    struct zc_lru lru;
    struct zc_entry entry[ENTRIES];
    struct zc_entry *out[ENTRIES];
};

static struct fixture *setup(void)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    zc_lru_init(&f->lru);
    for (unsigned i = 0; i < ENTRIES; i++) {
        zc_entry_init(&f->entry[i], 0, 0, key_of(1, i));
    }
    return f;
}

static void teardown(struct fixture *f)
{
    assert_null(zc_lru_verify(&f->lru));
    zc_lru_fini(&f->lru);
    free(f);
}

/* Entries @from to @to - 1, in this order, each newer than the one before. */
static void insert_range(struct fixture *f, enum zcache_tier tier, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        zc_lru_insert(&f->lru, &f->entry[i], tier, sizes_raw, ZC_QUEUE_MAIN, true);
    }
}

static void mark_all(struct fixture *f)
{
    for (unsigned i = 0; i < ENTRIES; i++) {
        atomic_store(&f->entry[i].referenced, 1);
    }
}

static unsigned isolate(struct fixture *f, unsigned list, unsigned mode, unsigned max)
{
    uint64_t budget = UINT64_MAX;

    return zc_lru_isolate(&f->lru, list, mode, &budget, f->out, max);
}

static void putback(struct fixture *f, struct zc_entry *e, bool newest)
{
    zc_lru_putback(&f->lru, e, newest);
    assert_false(zc_entry_unref(e));
}

/* The list, oldest first, is @n entries with these numbers. */
static void expect_list(struct fixture *f, unsigned list, const unsigned *numbers, unsigned n)
{
    struct zc_list *it = zc_list_next(&f->lru.list[list]);

    assert_int_equal(zc_lru_length(&f->lru, list), n);
    for (unsigned i = 0; i < n; i++, it = zc_list_next(it)) {
        assert_ptr_equal(ZC_CONTAINER_OF(it, struct zc_entry, lru), &f->entry[numbers[i]]);
    }
    assert_ptr_equal(it, &f->lru.list[list]);
}

#define EXPECT_LIST(f, list, ...)                                                                  \
    expect_list(f, list, (const unsigned[]){__VA_ARGS__},                                          \
                sizeof((const unsigned[]){__VA_ARGS__}) / sizeof(unsigned))

static struct zc_tier_sum sum_of(struct fixture *f, enum zcache_tier tier)
{
    struct zc_tier_sum sums[ZCACHE_TIERS];

    zc_lru_sums(&f->lru, sums, NULL);
    return sums[tier];
}

/* ---------------------------------------------------------------------------------------------- */
/* Order. */

#define SCAN_RAW zc_lru_list(ZC_QUEUE_SCAN, ZCACHE_TIER_RAW)
#define NEW_RAW  zc_lru_list(ZC_QUEUE_NEW, ZCACHE_TIER_RAW)
#define NEW_FAST zc_lru_list(ZC_QUEUE_NEW, ZCACHE_TIER_FAST)

static void a_new_page_is_the_newest_of_its_queue(void **state)
{
    struct fixture *f = setup();

    (void)state;
    insert_range(f, ZCACHE_TIER_RAW, 0, 3);
    zc_lru_insert(&f->lru, &f->entry[3], ZCACHE_TIER_RAW, sizes_raw, ZC_QUEUE_SCAN, true);
    zc_lru_insert(&f->lru, &f->entry[5], ZCACHE_TIER_RAW, sizes_raw, ZC_QUEUE_SCAN, true);
    zc_lru_insert_oldest(&f->lru, &f->entry[4], ZCACHE_TIER_RAW, sizes_raw, ZC_QUEUE_MAIN);
    zc_lru_insert_oldest(&f->lru, &f->entry[6], ZCACHE_TIER_RAW, sizes_raw, ZC_QUEUE_SCAN);
    EXPECT_LIST(f, ZCACHE_TIER_RAW, 4, 0, 1, 2);
    EXPECT_LIST(f, SCAN_RAW, 6, 3, 5);
    assert_true(zc_lru_is_scan(&f->entry[3]));
    assert_false(zc_lru_is_scan(&f->entry[0]));
    teardown(f);
}

static void a_new_version_is_the_newest_of_its_queue(void **state)
{
    struct fixture *f = setup();

    (void)state;
    insert_range(f, ZCACHE_TIER_FAST, 0, 3);
    zc_lru_replace(&f->lru, &f->entry[0], ZCACHE_TIER_FAST, sizes_raw, sizes_small, false);
    EXPECT_LIST(f, ZCACHE_TIER_FAST, 1, 2, 0);
    assert_int_equal(zc_entry_uses(&f->entry[0]), 1);
    zc_lru_replace(&f->lru, &f->entry[2], ZCACHE_TIER_RAW, sizes_raw, sizes_small, false);
    EXPECT_LIST(f, ZCACHE_TIER_FAST, 1, 0);
    EXPECT_LIST(f, ZCACHE_TIER_RAW, 2);
    teardown(f);
}

/* A scan that writes a page of the working set makes it neither younger nor the first to leave. */
static void a_scans_version_leaves_the_page_in_its_queue(void **state)
{
    struct fixture *f = setup();

    (void)state;
    insert_range(f, ZCACHE_TIER_RAW, 0, 3);
    zc_lru_replace(&f->lru, &f->entry[2], ZCACHE_TIER_RAW, sizes_raw, sizes_raw, true);
    EXPECT_LIST(f, ZCACHE_TIER_RAW, 0, 1, 2);
    zc_lru_replace(&f->lru, &f->entry[2], ZCACHE_TIER_RAW, sizes_raw, sizes_small, true);
    EXPECT_LIST(f, ZCACHE_TIER_RAW, 2, 0, 1);
    assert_false(zc_lru_is_scan(&f->entry[2]));
    assert_int_equal(zc_entry_uses(&f->entry[2]), 0);
    teardown(f);
}

static void a_scanned_page_that_is_written_is_one_no_longer(void **state)
{
    struct fixture *f = setup();

    (void)state;
    zc_lru_insert(&f->lru, &f->entry[0], ZCACHE_TIER_RAW, sizes_raw, ZC_QUEUE_SCAN, true);
    zc_lru_insert(&f->lru, &f->entry[1], ZCACHE_TIER_RAW, sizes_raw, ZC_QUEUE_SCAN, true);
    zc_lru_replace(&f->lru, &f->entry[0], ZCACHE_TIER_RAW, sizes_raw, sizes_raw, true);
    EXPECT_LIST(f, SCAN_RAW, 0, 1);
    zc_lru_replace(&f->lru, &f->entry[0], ZCACHE_TIER_RAW, sizes_raw, sizes_raw, false);
    EXPECT_LIST(f, SCAN_RAW, 1);
    EXPECT_LIST(f, ZCACHE_TIER_RAW, 0);
    teardown(f);
}

static void advice_moves_a_page_between_the_queues(void **state)
{
    struct fixture *f = setup();
    uint64_t n_locks;

    (void)state;
    insert_range(f, ZCACHE_TIER_RAW, 0, 4);
    mark_all(f);
    zc_lru_advise(&f->lru, &f->entry[2], false);
    zc_lru_advise(&f->lru, &f->entry[1], false);
    EXPECT_LIST(f, SCAN_RAW, 2, 1);
    EXPECT_LIST(f, ZCACHE_TIER_RAW, 0, 3);
    assert_int_equal(zc_entry_uses(&f->entry[2]), 0);

    zc_lru_advise(&f->lru, &f->entry[2], true);
    EXPECT_LIST(f, SCAN_RAW, 1);
    EXPECT_LIST(f, ZCACHE_TIER_RAW, 0, 3, 2);
    assert_int_equal(zc_entry_uses(&f->entry[2]), 1);

    /* A page that is not spare is used where it is, without a lock. */
    n_locks = zc_lock_count();
    zc_lru_advise(&f->lru, &f->entry[0], true);
    assert_int_equal(zc_lock_count(), n_locks);
    EXPECT_LIST(f, ZCACHE_TIER_RAW, 0, 3, 2);
    assert_int_equal(zc_entry_uses(&f->entry[0]), 2);
    teardown(f);
}

static void an_isolated_page_follows_advice_at_putback(void **state)
{
    struct fixture *f = setup();

    (void)state;
    insert_range(f, ZCACHE_TIER_RAW, 0, 3);
    assert_int_equal(isolate(f, ZCACHE_TIER_RAW, 0, 1), 1);
    zc_lru_advise(&f->lru, &f->entry[0], false);
    zc_lru_advise(&f->lru, &f->entry[0], false);
    EXPECT_LIST(f, ZCACHE_TIER_RAW, 1, 2);
    assert_null(zc_lru_verify(&f->lru));
    putback(f, &f->entry[0], true);
    EXPECT_LIST(f, SCAN_RAW, 0);

    assert_int_equal(isolate(f, SCAN_RAW, 0, 1), 1);
    zc_lru_advise(&f->lru, &f->entry[0], true);
    assert_null(zc_lru_verify(&f->lru));
    putback(f, &f->entry[0], true);
    EXPECT_LIST(f, ZCACHE_TIER_RAW, 1, 2, 0);
    teardown(f);
}

/* Then it keeps its place and is marked as used, which is as good and needs no lock. */
static void a_new_version_of_the_same_size_stays(void **state)
{
    struct fixture *f = setup();
    uint64_t n_locks;

    (void)state;
    insert_range(f, ZCACHE_TIER_RAW, 0, 3);
    n_locks = zc_lock_count();
    zc_lru_replace(&f->lru, &f->entry[0], ZCACHE_TIER_RAW, sizes_raw, sizes_raw, false);
    assert_int_equal(zc_lock_count(), n_locks);
    EXPECT_LIST(f, ZCACHE_TIER_RAW, 0, 1, 2);
    assert_int_equal(atomic_load(&f->entry[0].referenced), 1);
    assert_int_equal(isolate(f, ZCACHE_TIER_RAW, ZC_ISOLATE_CHANCE, 1), 1);
    assert_ptr_equal(f->out[0], &f->entry[1]);
    EXPECT_LIST(f, ZCACHE_TIER_RAW, 2, 0);
    teardown(f);
}

/* Once for each look that finds a use, however many there were; only of raw pages. */
static void uses_for_which_pages_stay_raw_are_counted(void **state)
{
    struct fixture *f = setup();

    (void)state;
    insert_range(f, ZCACHE_TIER_RAW, 0, 3);
    insert_range(f, ZCACHE_TIER_FAST, 3, 6);
    for (unsigned i = 0; i < 100; i++) {
        (void)zc_entry_use(&f->entry[0], false);
        (void)zc_entry_use(&f->entry[3], false);
    }
    assert_int_equal(isolate(f, ZCACHE_TIER_RAW, ZC_ISOLATE_CHANCE, 1), 1);
    assert_ptr_equal(f->out[0], &f->entry[1]);
    assert_int_equal(zc_lru_raw_spared(&f->lru), 1);
    assert_int_equal(isolate(f, ZCACHE_TIER_FAST, ZC_ISOLATE_CHANCE, 1), 1);
    assert_ptr_equal(f->out[0], &f->entry[4]);
    assert_int_equal(zc_lru_raw_spared(&f->lru), 1);
    putback(f, &f->entry[1], true);
    putback(f, &f->entry[4], true);
    teardown(f);
}

static void an_isolated_page_follows_its_tier_at_putback(void **state)
{
    struct fixture *f = setup();

    (void)state;
    insert_range(f, ZCACHE_TIER_RAW, 0, 3);
    insert_range(f, ZCACHE_TIER_FAST, 3, 5);
    assert_int_equal(isolate(f, ZCACHE_TIER_RAW, 0, 1), 1);
    assert_ptr_equal(f->out[0], &f->entry[0]);
    zc_lru_retier(&f->lru, &f->entry[0], ZCACHE_TIER_FAST, sizes_raw, sizes_small);
    EXPECT_LIST(f, ZCACHE_TIER_RAW, 1, 2);
    EXPECT_LIST(f, ZCACHE_TIER_FAST, 3, 4);
    assert_int_equal(sum_of(f, ZCACHE_TIER_FAST).pages, 3);
    putback(f, &f->entry[0], true);
    EXPECT_LIST(f, ZCACHE_TIER_FAST, 3, 4, 0);

    assert_int_equal(isolate(f, ZCACHE_TIER_RAW, 0, 1), 1);
    putback(f, &f->entry[1], false);
    EXPECT_LIST(f, ZCACHE_TIER_RAW, 1, 2);
    teardown(f);
}

static void isolating_takes_the_oldest_or_the_newest(void **state)
{
    struct fixture *f = setup();

    (void)state;
    insert_range(f, ZCACHE_TIER_DENSE, 0, 6);
    assert_int_equal(isolate(f, ZCACHE_TIER_DENSE, 0, 2), 2);
    assert_ptr_equal(f->out[0], &f->entry[0]);
    assert_ptr_equal(f->out[1], &f->entry[1]);
    assert_int_equal(atomic_load(&f->entry[0].refs), 2);
    assert_int_equal(isolate(f, ZCACHE_TIER_DENSE, ZC_ISOLATE_NEWEST, 2), 2);
    assert_ptr_equal(f->out[0], &f->entry[5]);
    assert_ptr_equal(f->out[1], &f->entry[4]);
    EXPECT_LIST(f, ZCACHE_TIER_DENSE, 2, 3);
    assert_int_equal(sum_of(f, ZCACHE_TIER_DENSE).pages, 6);
    teardown(f);
}

static void a_referenced_page_has_a_second_chance(void **state)
{
    struct fixture *f = setup();

    (void)state;
    insert_range(f, ZCACHE_TIER_RAW, 0, 4);
    atomic_store(&f->entry[0].referenced, 1);
    atomic_store(&f->entry[2].referenced, 1);
    assert_int_equal(isolate(f, ZCACHE_TIER_RAW, ZC_ISOLATE_CHANCE, 2), 2);
    assert_ptr_equal(f->out[0], &f->entry[1]);
    assert_ptr_equal(f->out[1], &f->entry[3]);
    EXPECT_LIST(f, ZCACHE_TIER_RAW, 0, 2);
    assert_int_equal(atomic_load(&f->entry[0].referenced), 0);
    assert_int_equal(atomic_load(&f->entry[2].referenced), 0);

    /* No third one; and without the mode, not even a second. */
    atomic_store(&f->entry[2].referenced, 1);
    assert_int_equal(isolate(f, ZCACHE_TIER_RAW, 0, 4), 2);
    assert_ptr_equal(f->out[0], &f->entry[0]);
    assert_int_equal(atomic_load(&f->entry[2].referenced), 1);
    teardown(f);
}

static void a_flush_takes_dirty_pages_only(void **state)
{
    struct fixture *f = setup();
    uint64_t budget = 6;

    (void)state;
    insert_range(f, ZCACHE_TIER_FAST, 0, 6);
    mark_all(f);
    zc_entry_set(&f->entry[1], ZC_F_DIRTY);
    zc_entry_set(&f->entry[4], ZC_F_DIRTY);
    assert_int_equal(
        zc_lru_isolate(&f->lru, ZCACHE_TIER_FAST, ZC_ISOLATE_DIRTY, &budget, f->out, 6), 2);
    assert_ptr_equal(f->out[0], &f->entry[1]);
    assert_ptr_equal(f->out[1], &f->entry[4]);
    assert_int_equal(budget, 0);
    EXPECT_LIST(f, ZCACHE_TIER_FAST, 0, 2, 3, 5);
    assert_int_equal(atomic_load(&f->entry[0].referenced), 1); /* the mark is reclaim's */
    teardown(f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Budgets. */

static void an_empty_list_ends_the_budget(void **state)
{
    struct fixture *f = setup();
    uint64_t budget = 100;

    (void)state;
    assert_int_equal(zc_lru_isolate(&f->lru, ZCACHE_TIER_RAW, 0, &budget, f->out, 10), 0);
    assert_int_equal(budget, 0);
    insert_range(f, ZCACHE_TIER_RAW, 0, 3);
    budget = 100;
    assert_int_equal(zc_lru_isolate(&f->lru, ZCACHE_TIER_RAW, 0, &budget, f->out, 10), 3);
    assert_int_equal(budget, 0);
    teardown(f);
}

static void no_more_is_looked_at_than_the_budget(void **state)
{
    struct fixture *f = setup();
    uint64_t budget = 3;

    (void)state;
    insert_range(f, ZCACHE_TIER_RAW, 0, 10);
    atomic_store(&f->entry[1].referenced, 1);
    assert_int_equal(
        zc_lru_isolate(&f->lru, ZCACHE_TIER_RAW, ZC_ISOLATE_CHANCE, &budget, f->out, 10), 2);
    assert_int_equal(budget, 0);
    EXPECT_LIST(f, ZCACHE_TIER_RAW, 3, 4, 5, 6, 7, 8, 9, 1);
    assert_int_equal(
        zc_lru_isolate(&f->lru, ZCACHE_TIER_RAW, ZC_ISOLATE_CHANCE, &budget, f->out, 10), 0);
    assert_int_equal(zc_lru_length(&f->lru, ZCACHE_TIER_RAW), 8);
    budget = 5;
    assert_int_equal(zc_lru_isolate(&f->lru, ZCACHE_TIER_RAW, 0, &budget, f->out, 2), 2);
    assert_int_equal(budget, 3);
    assert_int_equal(zc_lru_isolate(&f->lru, ZCACHE_TIER_RAW, 0, &budget, f->out, 0), 0);
    assert_int_equal(budget, 3);
    teardown(f);
}

/* Started with the list's length, the calls see each page once: the first takes all marks away. */
static void one_call_looks_at_a_bounded_number(void **state)
{
    struct fixture *f = setup();
    uint64_t budget = ENTRIES;
    unsigned n_calls = 0;

    (void)state;
    insert_range(f, ZCACHE_TIER_RAW, 0, ENTRIES);
    mark_all(f);
    while (budget > 0) {
        const uint64_t before = budget;

        assert_int_equal(
            zc_lru_isolate(&f->lru, ZCACHE_TIER_RAW, ZC_ISOLATE_CHANCE, &budget, f->out, 10), 0);
        assert_in_range(before - budget, 1, HOLD_PAGES);
        n_calls++;
    }
    assert_int_equal(n_calls, 3);
    assert_int_equal(zc_lru_length(&f->lru, ZCACHE_TIER_RAW), ENTRIES);
    for (unsigned i = 0; i < ENTRIES; i++) {
        assert_int_equal(atomic_load(&f->entry[i].referenced), 0);
    }
    assert_int_equal(isolate(f, ZCACHE_TIER_RAW, ZC_ISOLATE_CHANCE, ENTRIES), HOLD_PAGES);
    assert_ptr_equal(f->out[0], &f->entry[0]); /* and the order is what it was */
    teardown(f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Leaving. */

static void a_page_that_left_is_not_listed_again(void **state)
{
    struct fixture *f = setup();
    uint64_t n_isolated;
    struct zc_tier_sum sums[ZCACHE_TIERS];

    (void)state;
    insert_range(f, ZCACHE_TIER_RAW, 0, 2);
    assert_int_equal(isolate(f, ZCACHE_TIER_RAW, 0, 2), 2);
    zc_lru_remove(&f->lru, &f->entry[0], sizes_raw);
    assert_int_equal(sum_of(f, ZCACHE_TIER_RAW).pages, 1);
    zc_lru_sums(&f->lru, sums, &n_isolated);
    assert_int_equal(n_isolated, 2);
    putback(f, &f->entry[0], true);
    putback(f, &f->entry[1], true);
    EXPECT_LIST(f, ZCACHE_TIER_RAW, 1);
    zc_lru_sums(&f->lru, sums, &n_isolated);
    assert_int_equal(n_isolated, 0);

    zc_lru_remove(&f->lru, &f->entry[1], sizes_raw);
    assert_int_equal(zc_lru_length(&f->lru, ZCACHE_TIER_RAW), 0);
    assert_int_equal(sum_of(f, ZCACHE_TIER_RAW).pages, 0);
    assert_int_equal(sum_of(f, ZCACHE_TIER_RAW).allocated_bytes, 0);
    assert_true((atomic_load(&f->entry[1].where) & ZC_W_GONE) != 0);
    teardown(f);
}

#ifdef ZCACHE_DEBUG
static void insert_first(void *arg)
{
    struct fixture *f = arg;

    zc_lru_insert(&f->lru, &f->entry[0], ZCACHE_TIER_RAW, sizes_raw, ZC_QUEUE_MAIN, true);
}

static void putback_first(void *arg)
{
    struct fixture *f = arg;

    zc_lru_putback(&f->lru, &f->entry[0], false);
}

static void remove_first(void *arg)
{
    struct fixture *f = arg;

    zc_lru_remove(&f->lru, &f->entry[0], sizes_raw);
}

/* The call stopped with the lock held. */
ZC_NO_ANALYSIS static void expect_stop(struct fixture *f, void (*fn)(void *))
{
    assert_non_null(assertion_of(fn, f));
    zc_lock_release(&f->lru.lock);
}
#endif

static void misuse_is_stopped(void **state)
{
    (void)state;
#ifdef ZCACHE_DEBUG
    struct fixture *f = setup();

    expect_stop(f, putback_first);
    expect_stop(f, remove_first);
    insert_first(f);
    expect_stop(f, insert_first);
    expect_stop(f, putback_first);
    assert_int_equal(isolate(f, ZCACHE_TIER_RAW, 0, 1), 1);
    expect_stop(f, insert_first);
    remove_first(f);
    putback_first(f);
    expect_stop(f, insert_first);
    expect_stop(f, putback_first);
    teardown(f);
#else
    skip();
#endif
}

/* ---------------------------------------------------------------------------------------------- */
/* Gauges. */

static void raw_forms_count_as_raw_on_any_list(void **state)
{
    struct fixture *f = setup();
    struct zc_tier_sum forms[ZCACHE_TIERS];

    (void)state;
    insert_range(f, ZCACHE_TIER_RAW, 0, 2);
    zc_lru_insert(&f->lru, &f->entry[2], ZCACHE_TIER_FAST, sizes_small, ZC_QUEUE_MAIN, true);
    zc_lru_insert(&f->lru, &f->entry[3], ZCACHE_TIER_DENSE, sizes_same, ZC_QUEUE_MAIN, true);
    zc_lru_retier(&f->lru, &f->entry[1], ZCACHE_TIER_DENSE, sizes_raw, sizes_raw);
    assert_int_equal(sum_of(f, ZCACHE_TIER_RAW).pages, 1);
    assert_int_equal(sum_of(f, ZCACHE_TIER_DENSE).pages, 2);
    assert_int_equal(sum_of(f, ZCACHE_TIER_DENSE).stored_bytes, 4128);

    zc_lru_forms(&f->lru, forms);
    assert_int_equal(forms[ZCACHE_TIER_RAW].pages, 2);
    assert_int_equal(forms[ZCACHE_TIER_RAW].raw_bytes, 2 * 4096);
    assert_int_equal(forms[ZCACHE_TIER_RAW].stored_bytes, 2 * 4128);
    assert_int_equal(forms[ZCACHE_TIER_RAW].allocated_bytes, 2 * 4224);
    assert_int_equal(forms[ZCACHE_TIER_FAST].pages, 1);
    assert_int_equal(forms[ZCACHE_TIER_FAST].allocated_bytes, 1024);
    assert_int_equal(forms[ZCACHE_TIER_DENSE].pages, 1);
    assert_int_equal(forms[ZCACHE_TIER_DENSE].allocated_bytes, 0);
    teardown(f);
}

static void verify_sees_a_wrong_count_and_a_wrong_place(void **state)
{
    struct fixture *f = setup();

    (void)state;
    insert_range(f, ZCACHE_TIER_RAW, 0, 3);
    assert_null(zc_lru_verify(&f->lru));
    f->lru.n_listed[ZCACHE_TIER_RAW]++;
    assert_non_null(zc_lru_verify(&f->lru));
    f->lru.n_listed[ZCACHE_TIER_RAW]--;
    atomic_store(&f->entry[1].where, ZC_W_LISTED | ZCACHE_TIER_FAST);
    assert_non_null(zc_lru_verify(&f->lru));
    atomic_store(&f->entry[1].where, ZC_W_LISTED | ZC_W_GONE);
    assert_non_null(zc_lru_verify(&f->lru));
    atomic_store(&f->entry[1].where, ZC_W_LISTED | ZC_W_NEW);
    assert_non_null(zc_lru_verify(&f->lru));
    atomic_store(&f->entry[1].where, ZC_W_LISTED);
    f->lru.pages[ZCACHE_TIER_RAW]++;
    assert_non_null(zc_lru_verify(&f->lru));
    f->lru.pages[ZCACHE_TIER_RAW]--;
    f->lru.pages[ZCACHE_TIER_RAW]--;
    f->lru.pages[ZCACHE_TIER_FAST]++;
    assert_non_null(zc_lru_verify(&f->lru));
    f->lru.pages[ZCACHE_TIER_RAW]++;
    f->lru.pages[ZCACHE_TIER_FAST]--;
    teardown(f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Random operations against a model: arrays of numbers, oldest first. */

#define PAGES       48
#define MODEL_STEPS 40000

struct model_page {
    bool listed;
    bool isolated;
    bool gone;
    enum zc_queue queue;
    enum zcache_tier tier;
    struct zc_sizes sizes;
};

struct model {
    struct fixture *f;
    bool probation; /* not plain LRU */
    struct model_page page[PAGES];
    unsigned list[ZC_LISTS][PAGES];
    unsigned n[ZC_LISTS];
};

static unsigned model_list(const struct model *m, unsigned i)
{
    return zc_lru_list(m->page[i].queue, m->page[i].tier);
}

static void model_add(struct model *m, unsigned i, bool newest)
{
    const unsigned list = model_list(m, i);

    if (!newest) {
        memmove(&m->list[list][1], &m->list[list][0], m->n[list] * sizeof(unsigned));
    }
    m->list[list][newest ? m->n[list] : 0] = i;
    m->n[list]++;
    m->page[i].listed = true;
}

static void model_del(struct model *m, unsigned i)
{
    const unsigned list = model_list(m, i);
    unsigned at = 0;

    while (m->list[list][at] != i) {
        at++;
    }
    m->n[list]--;
    memmove(&m->list[list][at], &m->list[list][at + 1], (m->n[list] - at) * sizeof(unsigned));
    m->page[i].listed = false;
}

static void model_place(struct model *m,
                        unsigned i,
                        enum zc_queue queue,
                        enum zcache_tier tier,
                        bool newest)
{
    const bool listed = m->page[i].listed;

    if (listed) {
        model_del(m, i);
    }
    m->page[i].queue = queue;
    m->page[i].tier = tier;
    if (listed) {
        model_add(m, i, newest);
    }
}

/* What a page is in that was scanned and is used now. */
static enum zc_queue model_used(const struct model *m)
{
    return m->probation ? ZC_QUEUE_NEW : ZC_QUEUE_MAIN;
}

static struct zc_sizes random_sizes(struct rng *rng)
{
    const uint32_t raw = 1 + (uint32_t)rng_below(rng, 65536);
    const uint32_t stored = (uint32_t)rng_below(rng, raw);

    switch (rng_below(rng, 3)) {
    case 0:
        return (struct zc_sizes){raw, raw + 32, raw + 100, true};
    case 1:
        return (struct zc_sizes){raw, stored + 16, stored + 40, false};
    default:
        return (struct zc_sizes){raw, 0, 0, false};
    }
}

static void model_insert(struct model *m, unsigned i, struct rng *rng)
{
    struct zc_entry *e = &m->f->entry[i];
    const enum zcache_tier tier = (enum zcache_tier)rng_below(rng, ZCACHE_TIERS);
    const struct zc_sizes sizes = random_sizes(rng);
    const bool oldest = rng_below(rng, 4) == 0;
    const enum zc_queue queue = (enum zc_queue)rng_below(rng, ZC_QUEUES);

    zc_entry_init(e, 0, 0, key_of(1, i));
    m->page[i] = (struct model_page){.tier = tier, .sizes = sizes, .queue = queue};
    model_add(m, i, !oldest);
    if (oldest) {
        zc_lru_insert_oldest(&m->f->lru, e, tier, sizes, queue);
    } else {
        zc_lru_insert(&m->f->lru, e, tier, sizes, queue, true);
    }
}

static bool same_sizes(const struct zc_sizes *a, const struct zc_sizes *b)
{
    return a->raw == b->raw && a->stored == b->stored && a->allocated == b->allocated &&
           a->raw_form == b->raw_form;
}

/* A new version: one that looks like the old one stays in place, unless it ends the page's being scanned. */
static void model_replace(struct model *m,
                          unsigned i,
                          enum zcache_tier tier,
                          struct zc_sizes sizes,
                          bool scan)
{
    struct zc_entry *e = &m->f->entry[i];
    struct model_page *p = &m->page[i];
    const struct zc_sizes old = p->sizes;
    const bool same = tier == p->tier && same_sizes(&old, &sizes);
    const unsigned uses = zc_entry_uses(e);
    enum zc_queue queue = p->queue;

    if (!scan && queue == ZC_QUEUE_SCAN) {
        queue = model_used(m);
    }
    if (!same || queue != p->queue) {
        model_place(m, i, queue, tier, !scan);
    }
    p->sizes = sizes;
    zc_lru_replace(&m->f->lru, e, tier, old, sizes, scan);
    assert_int_equal(zc_entry_uses(e), scan || uses == 3 ? uses : uses + 1);
    assert_int_equal(zc_lru_queue(e), queue);
}

/* Another form; raw is a promotion. */
static void model_retier(struct model *m, unsigned i, enum zcache_tier tier, struct zc_sizes sizes)
{
    struct zc_entry *e = &m->f->entry[i];
    struct model_page *p = &m->page[i];
    const struct zc_sizes old = p->sizes;
    const bool same = tier == p->tier && same_sizes(&old, &sizes);
    enum zc_queue queue = p->queue;

    if (tier == ZCACHE_TIER_RAW && queue == ZC_QUEUE_SCAN) {
        queue = model_used(m);
    } else if (tier == ZCACHE_TIER_RAW && queue == ZC_QUEUE_NEW && zc_entry_uses(e) >= 2) {
        queue = ZC_QUEUE_MAIN;
    }
    if (!same) {
        model_place(m, i, queue, tier, true);
    }
    p->sizes = sizes;
    zc_lru_retier(&m->f->lru, e, tier, old, sizes);
    assert_true(same || tier != ZCACHE_TIER_RAW || zc_entry_uses(e) == 0);
}

static void model_change(struct model *m, unsigned i, struct rng *rng)
{
    const struct model_page *p = &m->page[i];
    const bool like_before = rng_below(rng, 4) == 0;
    const enum zcache_tier tier =
        like_before ? p->tier : (enum zcache_tier)rng_below(rng, ZCACHE_TIERS);
    const struct zc_sizes sizes = like_before ? p->sizes : random_sizes(rng);

    if (rng_below(rng, 2) == 0) {
        model_replace(m, i, tier, sizes, rng_below(rng, 2) == 0);
    } else {
        model_retier(m, i, tier, sizes);
    }
}

static void model_remove(struct model *m, unsigned i)
{
    zc_lru_remove(&m->f->lru, &m->f->entry[i], m->page[i].sizes);
    if (m->page[i].listed) {
        model_del(m, i);
    }
    m->page[i].gone = true;
}

/* Whether the page stays, where, and with how many uses left: @uses is what it has. */
static bool model_passes_by(struct model *m, unsigned i, unsigned mode, unsigned *uses)
{
    struct model_page *p = &m->page[i];

    if ((mode & ZC_ISOLATE_DIRTY) != 0) {
        return !zc_entry_has(&m->f->entry[i], ZC_F_DIRTY);
    }
    if ((mode & ZC_ISOLATE_CHANCE) == 0 || *uses < (p->queue == ZC_QUEUE_NEW ? 2u : 1u)) {
        return false;
    }
    if (p->queue == ZC_QUEUE_MAIN) {
        *uses = m->probation ? *uses - 1 : 0;
        return true;
    }
    p->queue = p->queue == ZC_QUEUE_NEW ? ZC_QUEUE_MAIN : model_used(m);
    *uses = 0;
    return true;
}

static void model_isolate(struct model *m, struct rng *rng)
{
    static const unsigned modes[] = {0, ZC_ISOLATE_CHANCE, ZC_ISOLATE_DIRTY, ZC_ISOLATE_NEWEST,
                                     ZC_ISOLATE_DIRTY | ZC_ISOLATE_CHANCE};
    const unsigned mode = modes[rng_below(rng, sizeof(modes) / sizeof(modes[0]))];
    const unsigned list = (unsigned)rng_below(rng, lists);
    const unsigned max = (unsigned)rng_below(rng, 6);
    uint64_t budget = rng_below(rng, UINT64_C(2) * PAGES);
    uint64_t left = budget;
    unsigned expected[8];
    unsigned uses[PAGES];
    unsigned n = 0;

    for (unsigned i = 0; i < PAGES; i++) {
        uses[i] = zc_entry_uses(&m->f->entry[i]);
    }
    while (n < max && left > 0) {
        unsigned i;

        if (m->n[list] == 0) {
            left = 0;
            break;
        }
        i = m->list[list][mode == ZC_ISOLATE_NEWEST ? m->n[list] - 1 : 0];
        left--;
        model_del(m, i);
        if (model_passes_by(m, i, mode, &uses[i])) {
            model_add(m, i, true);
        } else {
            m->page[i].isolated = true;
            expected[n++] = i;
        }
    }
    assert_int_equal(zc_lru_isolate(&m->f->lru, list, mode, &budget, m->f->out, max), n);
    assert_int_equal(budget, left);
    for (unsigned i = 0; i < n; i++) {
        assert_ptr_equal(m->f->out[i], &m->f->entry[expected[i]]);
    }
    for (unsigned i = 0; i < PAGES; i++) {
        assert_int_equal(zc_entry_uses(&m->f->entry[i]), uses[i]);
    }
}

static void model_putback(struct model *m, unsigned i, bool newest)
{
    putback(m->f, &m->f->entry[i], newest);
    m->page[i].isolated = false;
    if (!m->page[i].gone) {
        model_add(m, i, newest);
    }
}

static void model_step(struct model *m, struct rng *rng)
{
    const unsigned i = (unsigned)rng_below(rng, PAGES);
    const struct model_page *p = &m->page[i];
    const uint64_t what = rng_below(rng, 100);

    if (p->gone) {
        if (p->isolated) {
            model_putback(m, i, what < 50);
        } else {
            model_insert(m, i, rng);
        }
    } else if (what < 10) {
        model_isolate(m, rng);
    } else if (what < 40) {
        model_change(m, i, rng);
    } else if (what < 55) {
        model_remove(m, i);
    } else if (what < 75) {
        (void)zc_entry_use(&m->f->entry[i], what % 2 == 0);
    } else if (what < 85) {
        (what % 2 == 0 ? zc_entry_set : zc_entry_clear)(&m->f->entry[i], ZC_F_DIRTY);
    } else if (p->isolated) {
        model_putback(m, i, what % 2 == 0);
    }
}

static void count(struct zc_tier_sum *sum, struct zc_sizes s)
{
    sum->pages++;
    sum->raw_bytes += s.raw;
    sum->stored_bytes += s.stored;
    sum->allocated_bytes += s.allocated;
}

static void expect_sums(struct model *m)
{
    struct zc_tier_sum expected[ZCACHE_TIERS] = {{0}};
    struct zc_tier_sum forms[ZCACHE_TIERS] = {{0}};
    struct zc_tier_sum got[ZCACHE_TIERS];
    uint64_t by_list[ZC_LISTS] = {0};
    struct zc_lru_view view;
    uint64_t n_isolated = 0;
    uint64_t got_isolated;

    for (unsigned i = 0; i < PAGES; i++) {
        const struct model_page *p = &m->page[i];

        n_isolated += p->isolated;
        if (!p->gone) {
            by_list[model_list(m, i)]++;
            count(&expected[p->tier], p->sizes);
            count(&forms[p->sizes.raw_form ? ZCACHE_TIER_RAW : p->tier], p->sizes);
        }
    }
    zc_lru_sums(&m->f->lru, got, &got_isolated);
    assert_memory_equal(got, expected, sizeof(got));
    assert_int_equal(got_isolated, n_isolated);
    zc_lru_forms(&m->f->lru, got);
    assert_memory_equal(got, forms, sizeof(got));
    zc_lru_view(&m->f->lru, &view);
    assert_memory_equal(view.tier, expected, sizeof(expected));
    assert_memory_equal(view.pages, by_list, sizeof(by_list));
    assert_int_equal(view.isolated, n_isolated);
}

static void compare_with_model(bool probation)
{
    struct model m = {.f = setup(), .probation = probation};
    struct zc_ghost ghost;
    struct rng rng = {seed};

    zc_ghost_init(&ghost);
    if (probation) {
        zc_lru_use_probation(&m.f->lru, &ghost);
        m.f->lru.full_eighths = 8000; /* as if it were full, so that nothing overflows */
    }
    for (unsigned i = 0; i < PAGES; i++) {
        m.page[i].gone = true;
    }
    for (unsigned step = 0; step < MODEL_STEPS / TEST_SLOWDOWN; step++) {
        model_step(&m, &rng);
        for (unsigned list = 0; list < ZC_LISTS; list++) {
            expect_list(m.f, list, m.list[list], m.n[list]);
        }
        expect_sums(&m);
        assert_null(zc_lru_verify(&m.f->lru));
    }
    teardown(m.f);
    zc_ghost_fini(&ghost, NULL);
}

static void random_operations_do_what_a_model_does(void **state)
{
    (void)state;
    compare_with_model(false);
    compare_with_model(true);
}

/* ---------------------------------------------------------------------------------------------- */
/* Owners that change pages, each its own as under a shard lock, and reclaimers that isolate any. */

#define OWNERS     2
#define RECLAIMERS 2
#define EACH       64u
#define CHANGES    20000u

struct crowd {
    struct fixture *f;
    struct model_page page[OWNERS * EACH]; /* by its owner */
    _Atomic int holders[OWNERS * EACH];    /* reclaimers that have it now */
    _Atomic bool stop;
    _Atomic long n_isolated;
    _Atomic long n_shared;
};

struct member {
    struct crowd *c;
    unsigned number;
};

static void own_step(struct crowd *c, unsigned i, struct rng *rng)
{
    struct zc_entry *e = &c->f->entry[i];
    struct model_page *p = &c->page[i];
    const enum zcache_tier tier = (enum zcache_tier)rng_below(rng, ZCACHE_TIERS);
    const struct zc_sizes old = p->sizes;
    const bool scan = rng_below(rng, 4) == 0;

    if (p->gone) {
        if (atomic_load(&e->refs) != 1) {
            return; /* still with a reclaimer */
        }
        zc_entry_init(e, 0, 0, key_of(1, i));
        *p = (struct model_page){.tier = tier, .sizes = random_sizes(rng)};
        zc_lru_insert(&c->f->lru, e, tier, p->sizes, (enum zc_queue)rng_below(rng, ZC_QUEUES),
                      true);
        return;
    }
    switch (rng_below(rng, 4)) {
    case 0:
        zc_lru_remove(&c->f->lru, e, p->sizes);
        p->gone = true;
        return;
    case 1:
        p->sizes = scan ? old : random_sizes(rng);
        p->tier = tier;
        zc_lru_replace(&c->f->lru, e, tier, old, p->sizes, rng_below(rng, 4) == 0);
        return;
    case 2:
        p->sizes = random_sizes(rng);
        p->tier = tier;
        zc_lru_retier(&c->f->lru, e, tier, old, p->sizes);
        return;
    default:
        (void)zc_entry_use(e, false);
        (scan ? zc_entry_set : zc_entry_clear)(e, ZC_F_DIRTY);
        return;
    }
}

static void *owner_main(void *arg)
{
    const struct member *m = arg;
    struct rng rng = {seed + m->number};

    for (unsigned i = 0; i < CHANGES / TEST_SLOWDOWN; i++) {
        own_step(m->c, m->number * EACH + (unsigned)rng_below(&rng, EACH), &rng);
    }
    return NULL;
}

static void reclaim_once(struct crowd *c, struct rng *rng)
{
    static const unsigned modes[] = {0, ZC_ISOLATE_CHANCE | ZC_ISOLATE_EVICT, ZC_ISOLATE_DIRTY,
                                     ZC_ISOLATE_NEWEST};
    struct zc_entry *out[8];
    uint64_t budget = 1 + rng_below(rng, 100);
    const unsigned n =
        zc_lru_isolate(&c->f->lru, (unsigned)rng_below(rng, lists), modes[rng_below(rng, 4)],
                       &budget, out, 1 + (unsigned)rng_below(rng, 8));

    for (unsigned i = 0; i < n; i++) {
        if (atomic_fetch_add(&c->holders[out[i] - c->f->entry], 1) != 0) {
            atomic_fetch_add(&c->n_shared, 1);
        }
    }
    atomic_fetch_add(&c->n_isolated, n);
    for (unsigned i = 0; i < n; i++) {
        atomic_fetch_sub(&c->holders[out[i] - c->f->entry], 1);
        zc_lru_putback(&c->f->lru, out[i], rng_below(rng, 2) == 0);
        REQUIRE(!zc_entry_unref(out[i]));
    }
}

static void *reclaimer_main(void *arg)
{
    const struct member *m = arg;
    struct rng rng = {seed + m->number};

    while (!atomic_load(&m->c->stop)) {
        reclaim_once(m->c, &rng);
        REQUIRE(zc_lru_verify(&m->c->f->lru) == NULL);
    }
    return NULL;
}

static void check_rest(struct crowd *c)
{
    struct zc_tier_sum expected[ZCACHE_TIERS] = {{0}};
    struct zc_tier_sum got[ZCACHE_TIERS];
    uint64_t n_isolated;

    for (unsigned i = 0; i < OWNERS * EACH; i++) {
        assert_int_equal(atomic_load(&c->f->entry[i].refs), 1);
        if (!c->page[i].gone) {
            count(&expected[c->page[i].tier], c->page[i].sizes);
        }
    }
    zc_lru_sums(&c->f->lru, got, &n_isolated);
    assert_memory_equal(got, expected, sizeof(got));
    assert_int_equal(n_isolated, 0);
    for (int t = 0; t < ZCACHE_TIERS; t++) {
        uint64_t n = 0;

        for (int q = 0; q < ZC_QUEUES; q++) {
            n += zc_lru_length(&c->f->lru, zc_lru_list((enum zc_queue)q, (enum zcache_tier)t));
        }
        assert_int_equal(n, expected[t].pages);
    }
}

static void an_isolated_page_has_one_holder(void **state)
{
    struct member members[OWNERS + RECLAIMERS];
    pthread_t threads[OWNERS + RECLAIMERS];
    static struct crowd c;
    struct zc_ghost ghost;

    (void)state;
    memset(&c, 0, sizeof(c));
    c.f = setup();
    zc_ghost_init(&ghost);
    zc_lru_use_probation(&c.f->lru, &ghost);
    for (unsigned i = 0; i < OWNERS * EACH; i++) {
        c.page[i].gone = true;
    }
    for (unsigned i = 0; i < OWNERS + RECLAIMERS; i++) {
        members[i] = (struct member){&c, i};
        assert_int_equal(pthread_create(&threads[i], NULL, i < OWNERS ? owner_main : reclaimer_main,
                                        &members[i]),
                         0);
    }
    for (int i = 0; i < OWNERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    WAIT_UNTIL(atomic_load(&c.n_isolated) > 0, 5000);
    atomic_store(&c.stop, true);
    for (int i = OWNERS; i < OWNERS + RECLAIMERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(c.n_shared, 0);
    check_rest(&c);
    teardown(c.f);
    zc_ghost_fini(&ghost, NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_page_is_the_newest_of_its_queue),
        cmocka_unit_test(a_new_version_is_the_newest_of_its_queue),
        cmocka_unit_test(a_scans_version_leaves_the_page_in_its_queue),
        cmocka_unit_test(a_scanned_page_that_is_written_is_one_no_longer),
        cmocka_unit_test(advice_moves_a_page_between_the_queues),
        cmocka_unit_test(an_isolated_page_follows_advice_at_putback),
        cmocka_unit_test(a_new_version_of_the_same_size_stays),
        cmocka_unit_test(uses_for_which_pages_stay_raw_are_counted),
        cmocka_unit_test(an_isolated_page_follows_its_tier_at_putback),
        cmocka_unit_test(isolating_takes_the_oldest_or_the_newest),
        cmocka_unit_test(a_referenced_page_has_a_second_chance),
        cmocka_unit_test(a_flush_takes_dirty_pages_only),
        cmocka_unit_test(an_empty_list_ends_the_budget),
        cmocka_unit_test(no_more_is_looked_at_than_the_budget),
        cmocka_unit_test(one_call_looks_at_a_bounded_number),
        cmocka_unit_test(a_page_that_left_is_not_listed_again),
        cmocka_unit_test(misuse_is_stopped),
        cmocka_unit_test(raw_forms_count_as_raw_on_any_list),
        cmocka_unit_test(verify_sees_a_wrong_count_and_a_wrong_place),
        cmocka_unit_test(random_operations_do_what_a_model_does),
        cmocka_unit_test(an_isolated_page_has_one_holder),
    };

    seed = test_begin(argc, argv, 7);
    return cmocka_run_group_tests_name("lru", tests, NULL, NULL);
}
