/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lru with probation: what a use is worth, who goes from one queue to another, and when probation hands
 * pages on because there is room.
 */
#include <stdlib.h>

#include "api/support.h"
#include "lru.h"

#define ENTRIES  400
#define MAIN_RAW ((unsigned)ZCACHE_TIER_RAW)
#define NEW_RAW  zc_lru_list(ZC_QUEUE_NEW, ZCACHE_TIER_RAW)
#define NEW_FAST zc_lru_list(ZC_QUEUE_NEW, ZCACHE_TIER_FAST)
#define SCAN_RAW zc_lru_list(ZC_QUEUE_SCAN, ZCACHE_TIER_RAW)
#define CHANCE   (unsigned)(ZC_ISOLATE_CHANCE | ZC_ISOLATE_EVICT)

static const struct zc_sizes sizes_raw = {4096, 4128, 4224, true};
static const struct zc_sizes sizes_small = {4096, 1000, 1024, false};

struct fixture {
    struct zc_ghost ghost;
    struct zc_lru lru;
    struct zc_entry entry[ENTRIES];
    struct zc_entry *out[ENTRIES];
};

static struct fixture *setup(void)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    zc_ghost_init(&f->ghost);
    zc_lru_init(&f->lru);
    zc_lru_use_probation(&f->lru, &f->ghost);
    for (unsigned i = 0; i < ENTRIES; i++) {
        zc_entry_init(&f->entry[i], 0, 0, key_of(1, i));
    }
    return f;
}

static void teardown(struct fixture *f)
{
    assert_null(zc_lru_verify(&f->lru));
    zc_lru_fini(&f->lru);
    zc_ghost_fini(&f->ghost, NULL);
    free(f);
}

static void insert_range(struct fixture *f, enum zc_queue queue, unsigned from, unsigned to)
{
    for (unsigned i = from; i < to; i++) {
        zc_lru_insert(&f->lru, &f->entry[i], ZCACHE_TIER_RAW, sizes_raw, queue, true);
    }
}

static void use(struct fixture *f, unsigned i, unsigned times)
{
    while (times-- > 0) {
        (void)zc_entry_use(&f->entry[i], false);
    }
}

/* How many were isolated of as many as the list has now. */
static unsigned isolate(struct fixture *f, unsigned list, unsigned mode)
{
    uint64_t budget = zc_lru_length(&f->lru, list);
    unsigned n = 0;

    while (budget > 0) {
        n += zc_lru_isolate(&f->lru, list, mode, &budget, f->out + n, ENTRIES - n);
    }
    return n;
}

static bool is_in(const struct fixture *f, unsigned i, enum zc_queue queue)
{
    return zc_lru_queue(&f->entry[i]) == queue;
}

/* As if pages had to leave at the number that there is now. */
static void let_it_be_full(struct fixture *f)
{
    uint64_t budget = 0;

    (void)zc_lru_isolate(&f->lru, MAIN_RAW, ZC_ISOLATE_EVICT, &budget, f->out, 0);
}

static void uses_are_counted_to_three(void **state)
{
    struct fixture *f = setup();

    (void)state;
    for (unsigned i = 1; i <= 5; i++) {
        assert_false(zc_entry_use(&f->entry[0], false));
        assert_int_equal(zc_entry_uses(&f->entry[0]), i < 3 ? i : 3);
    }
    teardown(f);
}

/* One use of the compressed form is not the second, however often the page was used before. */
static void uses_of_the_compressed_form_are_known_apart(void **state)
{
    struct fixture *f = setup();

    (void)state;
    use(f, 0, 3);
    assert_false(zc_entry_use(&f->entry[0], true));
    assert_true(zc_entry_use(&f->entry[0], true));
    assert_int_equal(zc_entry_uses(&f->entry[0]), 3);
    zc_entry_set_uses(&f->entry[0], 2);
    assert_false(zc_entry_use(&f->entry[0], true));
    teardown(f);
}

static void two_uses_end_probation(void **state)
{
    struct fixture *f = setup();

    (void)state;
    f->lru.full_eighths = UINT64_C(8) * ENTRIES;
    insert_range(f, ZC_QUEUE_NEW, 0, 4);
    use(f, 1, 1);
    use(f, 2, 2);
    use(f, 3, 3);
    assert_int_equal(isolate(f, NEW_RAW, CHANCE), 2);
    assert_ptr_equal(f->out[0], &f->entry[0]);
    assert_ptr_equal(f->out[1], &f->entry[1]);
    assert_int_equal(zc_entry_uses(&f->entry[1]), 0); /* a use from now on will be seen */
    assert_int_equal(zc_lru_length(&f->lru, MAIN_RAW), 2);
    assert_true(is_in(f, 2, ZC_QUEUE_MAIN) && is_in(f, 3, ZC_QUEUE_MAIN));
    assert_int_equal(zc_entry_uses(&f->entry[3]), 0); /* it begins anew there */
    teardown(f);
}

/* For a demotion the uses are kept: they count in the next form as well. */
static void a_demotion_takes_no_use_away(void **state)
{
    struct fixture *f = setup();

    (void)state;
    f->lru.full_eighths = UINT64_C(8) * ENTRIES;
    insert_range(f, ZC_QUEUE_NEW, 0, 1);
    use(f, 0, 1);
    assert_int_equal(isolate(f, NEW_RAW, ZC_ISOLATE_CHANCE), 1);
    zc_lru_retier(&f->lru, &f->entry[0], ZCACHE_TIER_FAST, sizes_raw, sizes_small);
    zc_lru_putback(&f->lru, &f->entry[0], true);
    assert_int_equal(zc_lru_length(&f->lru, NEW_FAST), 1);
    assert_int_equal(zc_entry_uses(&f->entry[0]), 1);
    assert_false(zc_entry_use(&f->entry[0], true));
    zc_lru_retier(&f->lru, &f->entry[0], ZCACHE_TIER_RAW, sizes_small, sizes_raw);
    assert_true(is_in(f, 0, ZC_QUEUE_MAIN));
    teardown(f);
}

/* A pin makes a page raw at its first use: that alone does not end probation. */
static void a_promotion_with_one_use_stays_on_probation(void **state)
{
    struct fixture *f = setup();

    (void)state;
    f->lru.full_eighths = UINT64_C(8) * ENTRIES;
    zc_lru_insert(&f->lru, &f->entry[0], ZCACHE_TIER_FAST, sizes_small, ZC_QUEUE_NEW, true);
    use(f, 0, 1);
    zc_lru_retier(&f->lru, &f->entry[0], ZCACHE_TIER_RAW, sizes_small, sizes_raw);
    assert_true(is_in(f, 0, ZC_QUEUE_NEW));
    assert_int_equal(zc_lru_length(&f->lru, NEW_RAW), 1);
    teardown(f);
}

static void each_round_of_a_main_list_costs_one_use(void **state)
{
    struct fixture *f = setup();

    (void)state;
    insert_range(f, ZC_QUEUE_MAIN, 0, 4);
    for (unsigned i = 0; i < 4; i++) {
        use(f, i, i);
    }
    for (unsigned round = 0; round < 4; round++) {
        assert_int_equal(isolate(f, MAIN_RAW, CHANCE), 1);
        assert_ptr_equal(f->out[0], &f->entry[round]);
    }
    teardown(f);
}

static void a_forced_look_spares_nobody(void **state)
{
    struct fixture *f = setup();

    (void)state;
    f->lru.full_eighths = UINT64_C(8) * ENTRIES;
    insert_range(f, ZC_QUEUE_MAIN, 0, 3);
    insert_range(f, ZC_QUEUE_NEW, 3, 6);
    for (unsigned i = 0; i < 6; i++) {
        use(f, i, 3);
    }
    assert_int_equal(isolate(f, NEW_RAW, ZC_ISOLATE_EVICT), 3);
    assert_int_equal(isolate(f, MAIN_RAW, ZC_ISOLATE_EVICT), 3);
    teardown(f);
}

static void a_scanned_page_that_is_used_begins_probation(void **state)
{
    struct fixture *f = setup();

    (void)state;
    insert_range(f, ZC_QUEUE_SCAN, 0, 2);
    use(f, 1, 1);
    assert_int_equal(isolate(f, SCAN_RAW, CHANCE), 1);
    assert_ptr_equal(f->out[0], &f->entry[0]);
    assert_true(is_in(f, 1, ZC_QUEUE_NEW));
    assert_int_equal(zc_entry_uses(&f->entry[1]), 0);
    teardown(f);
}

/* As long as nothing had to leave, probation has its share and the rest is main, in the order it came. */
static void where_there_is_room_probation_hands_pages_on(void **state)
{
    struct fixture *f = setup();

    (void)state;
    insert_range(f, ZC_QUEUE_NEW, 0, 200);
    assert_in_range(zc_lru_length(&f->lru, NEW_RAW), 20, 21);
    for (unsigned i = 0; i < 200; i++) {
        assert_true(
            is_in(f, i, i < zc_lru_length(&f->lru, MAIN_RAW) ? ZC_QUEUE_MAIN : ZC_QUEUE_NEW));
    }
    teardown(f);
}

static void where_it_is_full_it_does_not(void **state)
{
    struct fixture *f = setup();
    struct zc_lru_view view;

    (void)state;
    for (unsigned i = 300; i < 310; i++) {
        zc_lru_insert(&f->lru, &f->entry[i], ZCACHE_TIER_RAW, sizes_raw, ZC_QUEUE_NEW, false);
    }
    assert_int_equal(zc_lru_length(&f->lru, NEW_RAW), 10);
    for (unsigned i = 300; i < 310; i++) {
        zc_lru_remove(&f->lru, &f->entry[i], sizes_raw);
    }
    insert_range(f, ZC_QUEUE_NEW, 0, 200);
    let_it_be_full(f);
    insert_range(f, ZC_QUEUE_NEW, 200, 210);
    zc_lru_view(&f->lru, &view);
    assert_int_equal(zc_lru_queue_pages(&view, ZC_QUEUE_NEW),
                     200 - zc_lru_length(&f->lru, MAIN_RAW) + 10);
    assert_in_range(zc_lru_probation_excess(&f->lru, &view), 9, 10);

    /* Until there are a sixteenth more than when it was full. */
    insert_range(f, ZC_QUEUE_NEW, 210, 212);
    zc_lru_view(&f->lru, &view);
    assert_in_range(zc_lru_probation_excess(&f->lru, &view), 10, 12);
    insert_range(f, ZC_QUEUE_NEW, 212, 300);
    zc_lru_view(&f->lru, &view);
    assert_in_range(zc_lru_probation_excess(&f->lru, &view), 2, 12);
    teardown(f);
}

/* Many leave at a time: while as many come again there is no more room than before. */
static void refilling_is_not_room(void **state)
{
    struct fixture *f = setup();
    struct zc_lru_view view;
    uint64_t budget = 80;

    (void)state;
    insert_range(f, ZC_QUEUE_NEW, 0, 200);
    for (unsigned n = 0; n < 80; n += 8) {
        assert_int_equal(zc_lru_isolate(&f->lru, MAIN_RAW, ZC_ISOLATE_EVICT, &budget, f->out, 8),
                         8);
        for (unsigned i = 0; i < 8; i++) {
            zc_lru_remove(&f->lru, f->out[i], sizes_raw);
            zc_lru_putback(&f->lru, f->out[i], true);
        }
    }
    insert_range(f, ZC_QUEUE_NEW, 200, 280);
    zc_lru_view(&f->lru, &view);
    assert_int_equal(zc_lru_length(&f->lru, MAIN_RAW), 200 - 20 - 80);
    assert_int_equal(zc_lru_queue_pages(&view, ZC_QUEUE_NEW), 20 + 80);

    /* When it goes on at fewer, the others are forgotten in time. */
    assert_true(f->lru.full_eighths < UINT64_C(8) * 200 && f->lru.full_eighths > UINT64_C(8) * 180);
    teardown(f);
}

/* It is the share of all pages, whatever the size of those. */
static void the_ghost_says_how_many(void **state)
{
    struct fixture *f = setup();
    struct zc_lru_view view;

    (void)state;
    f->lru.full_eighths = UINT64_C(8) * ENTRIES;
    insert_range(f, ZC_QUEUE_MAIN, 0, 100);
    insert_range(f, ZC_QUEUE_SCAN, 100, 200);
    insert_range(f, ZC_QUEUE_NEW, 200, 300);
    zc_lru_view(&f->lru, &view);
    assert_int_equal(zc_lru_probation_excess(&f->lru, &view), 100 - 30);
    atomic_store(&f->ghost.share, ZC_GHOST_SHARE_MAX);
    assert_int_equal(zc_lru_probation_excess(&f->lru, &view), 100 - 59);
    zc_lru_use_probation(&f->lru, NULL); /* no page belongs there */
    assert_int_equal(zc_lru_probation_excess(&f->lru, &view), 100);
    teardown(f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uses_are_counted_to_three),
        cmocka_unit_test(uses_of_the_compressed_form_are_known_apart),
        cmocka_unit_test(two_uses_end_probation),
        cmocka_unit_test(a_demotion_takes_no_use_away),
        cmocka_unit_test(a_promotion_with_one_use_stays_on_probation),
        cmocka_unit_test(each_round_of_a_main_list_costs_one_use),
        cmocka_unit_test(a_forced_look_spares_nobody),
        cmocka_unit_test(a_scanned_page_that_is_used_begins_probation),
        cmocka_unit_test(where_there_is_room_probation_hands_pages_on),
        cmocka_unit_test(where_it_is_full_it_does_not),
        cmocka_unit_test(refilling_is_not_room),
        cmocka_unit_test(the_ghost_says_how_many),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("probation", tests, NULL, NULL);
}
