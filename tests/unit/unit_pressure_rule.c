/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pressure_rule: how far the bound goes down under pressure, when it comes up again, and that it comes
 * to rest. The clock is the test's.
 */
#include "assertion.h"
#include "mathx.h"
#include "pressure_rule.h"

#define MIB      (UINT64_C(1) << 20)
#define S        UINT64_C(1000000000)
#define CAPACITY (1024 * MIB)
#define FLOOR    (256 * MIB)
#define QUIET    (10 * S)
#define LOOK     S

struct fixture {
    struct zc_pressure_rules rules;
    struct zc_pressure_state state;
    struct zc_pressure_look look;
};

static void setup(struct fixture *f)
{
    *f = (struct fixture){.rules = {.capacity_bytes = CAPACITY,
                                    .floor_bytes = FLOOR,
                                    .high_percent = 95,
                                    .low_percent = 85,
                                    .stall_percent = 10,
                                    .quiet_ns = QUIET},
                          .state = ZC_PRESSURE_STATE_INIT,
                          .look = {.now_ns = 1000 * S, .charge_bytes = CAPACITY}};
}

static uint64_t bound(const struct fixture *f)
{
    return ZC_MIN(f->state.limit_bytes, f->rules.capacity_bytes);
}

/* The next look, a second later; the cache holds at most what it may. */
static enum zc_pressure_move look(struct fixture *f)
{
    enum zc_pressure_move move;

    f->look.now_ns += LOOK;
    move = zc_pressure_rule(&f->state, &f->rules, &f->look);
    f->look.charge_bytes = ZC_MIN(f->look.charge_bytes, bound(f));
    return move;
}

/* Looks for so many seconds; how often the bound went in that direction. */
static unsigned look_for(struct fixture *f, unsigned seconds, enum zc_pressure_move which)
{
    unsigned n = 0;

    while (seconds-- > 0) {
        n += look(f) == which ? 1 : 0;
    }
    return n;
}

static void press(struct fixture *f, unsigned seconds)
{
    f->look.stall_permille = 500;
    (void)look_for(f, seconds, ZC_PRESSURE_LOWERED);
    f->look.stall_permille = 0;
}

/* ---- down ----------------------------------------------------------------------------------------- */

static void without_pressure_nothing_happens(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    f.look.stall_permille = 99;
    f.look.limit_bytes = 2000 * MIB;
    f.look.usage_bytes = 1900 * MIB; /* 95 % is not above it */
    assert_int_equal(look_for(&f, 1000, ZC_PRESSURE_KEPT), 1000);
    assert_true(f.state.limit_bytes == UINT64_MAX);
}

static void a_cgroup_gets_what_it_has_above_low(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    f.look.limit_bytes = 2000 * MIB;
    f.look.usage_bytes = 1900 * MIB + 1;
    assert_int_equal(look(&f), ZC_PRESSURE_LOWERED);
    assert_true(bound(&f) == CAPACITY - (200 * MIB + 1));
    /* It has what it needs: between the marks the bound stays. */
    f.look.usage_bytes = 1700 * MIB;
    assert_int_equal(look_for(&f, 1000, ZC_PRESSURE_KEPT), 1000);
}

static void a_stall_takes_an_eighth_at_each_look(void **state)
{
    uint64_t expected = CAPACITY;
    struct fixture f;

    (void)state;
    setup(&f);
    f.look.stall_permille = 100;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(look(&f), ZC_PRESSURE_LOWERED);
        expected -= expected / 8 + 1;
        assert_true(bound(&f) == expected);
    }
}

static void both_together_take_what_is_more(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    f.look.stall_permille = 1000;
    f.look.limit_bytes = 2000 * MIB;
    f.look.usage_bytes = 2000 * MIB;
    assert_int_equal(look(&f), ZC_PRESSURE_LOWERED);
    assert_true(bound(&f) == CAPACITY - 300 * MIB);
}

/* A bound that nothing touches gives nothing back. */
static void what_counts_is_what_the_cache_holds(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    f.look.charge_bytes = 600 * MIB;
    f.look.limit_bytes = 1000 * MIB;
    f.look.usage_bytes = 1000 * MIB;
    assert_int_equal(look(&f), ZC_PRESSURE_LOWERED);
    assert_true(bound(&f) == 450 * MIB);
}

static void the_floor_holds_whatever_the_pressure(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    f.look.stall_permille = 1000;
    f.look.limit_bytes = MIB;
    f.look.usage_bytes = UINT64_MAX;
    assert_int_equal(look(&f), ZC_PRESSURE_LOWERED);
    assert_true(bound(&f) == FLOOR);
    assert_int_equal(look_for(&f, 100, ZC_PRESSURE_KEPT), 100);
    /* A cache that holds less than that is left alone. */
    setup(&f);
    f.look.charge_bytes = FLOOR / 2;
    f.look.stall_permille = 1000;
    assert_int_equal(look(&f), ZC_PRESSURE_LOWERED); /* it shall not grow into it */
    assert_true(bound(&f) == FLOOR);
}

/* What cannot leave, or has not left yet, is no reason to ask for more. */
static void while_the_shrinker_is_at_it_nothing_more_is_asked(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    f.look.stall_permille = 1000;
    assert_int_equal(look(&f), ZC_PRESSURE_LOWERED);
    const uint64_t first = bound(&f);
    for (int i = 0; i < 100; i++) {
        f.look.charge_bytes = CAPACITY;
        assert_int_equal(look(&f), ZC_PRESSURE_KEPT);
    }
    f.look.charge_bytes = first;
    assert_int_equal(look(&f), ZC_PRESSURE_LOWERED);
}

/* ---- up ------------------------------------------------------------------------------------------- */

static void after_a_quiet_time_it_comes_up_in_steps(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    press(&f, 3);
    const uint64_t low = bound(&f);
    assert_int_equal(look_for(&f, 9, ZC_PRESSURE_RAISED), 0);
    assert_int_equal(look(&f), ZC_PRESSURE_RAISED);
    assert_true(bound(&f) == low + CAPACITY / 32 + 1);
    /* A quarter of the quiet time between steps, until all is there; then it is as ever. */
    assert_int_equal(look_for(&f, 9, ZC_PRESSURE_RAISED), 3);
    (void)look_for(&f, 60, ZC_PRESSURE_RAISED);
    assert_true(f.state.limit_bytes == UINT64_MAX);
    assert_int_equal(look_for(&f, 1000, ZC_PRESSURE_KEPT), 1000);
}

static void pressure_begins_the_quiet_time_anew(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    press(&f, 20); /* at the floor */
    for (int i = 0; i < 50; i++) {
        assert_int_equal(look_for(&f, 9, ZC_PRESSURE_KEPT), 9);
        press(&f, 1);
    }
    assert_true(bound(&f) == FLOOR);
    assert_int_equal(look_for(&f, 10, ZC_PRESSURE_RAISED), 1);
}

/* No news is not good news, and not bad news either. */
static void what_cannot_be_seen_leaves_it_as_it_was(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    f.look.blind = true;
    assert_int_equal(look_for(&f, 1000, ZC_PRESSURE_KEPT), 1000);
    assert_true(f.state.limit_bytes == UINT64_MAX);
    f.look.blind = false;
    press(&f, 3);
    const uint64_t low = bound(&f);
    f.look.blind = true;
    assert_int_equal(look_for(&f, 1000, ZC_PRESSURE_KEPT), 1000);
    assert_true(bound(&f) == low);
    f.look.blind = false;
    assert_int_equal(look_for(&f, 9, ZC_PRESSURE_RAISED), 0); /* it has to be seen for a while */
    assert_int_equal(look_for(&f, 2, ZC_PRESSURE_RAISED), 1);
    /* What can be seen counts though something else cannot. */
    f.look.blind = true;
    f.look.stall_permille = 500;
    assert_int_equal(look(&f), ZC_PRESSURE_LOWERED);
}

static void a_changed_capacity_is_followed(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    press(&f, 2);
    f.rules.capacity_bytes = FLOOR / 2; /* the application wants less than pressure does */
    f.rules.floor_bytes = FLOOR / 8;
    f.look.charge_bytes = bound(&f);
    f.look.stall_permille = 500;
    assert_int_equal(look(&f), ZC_PRESSURE_LOWERED);
    assert_true(bound(&f) < FLOOR / 2 && bound(&f) > FLOOR / 4);
    f.look.stall_permille = 0;
    f.rules.capacity_bytes = CAPACITY;
    (void)look_for(&f, 300, ZC_PRESSURE_RAISED);
    assert_true(f.state.limit_bytes == UINT64_MAX);
}

/* ---- at rest -------------------------------------------------------------------------------------- */

/*
 * A cache that fills whatever it may, beside @other bytes in a cgroup: looks for so many seconds, and
 * how often the bound changed.
 */
static unsigned live_in_cgroup(struct fixture *f, uint64_t limit, uint64_t other, unsigned seconds)
{
    unsigned changes = 0;

    f->look.limit_bytes = limit;
    while (seconds-- > 0) {
        f->look.charge_bytes = bound(f);
        f->look.usage_bytes = other + f->look.charge_bytes;
        changes += look(f) != ZC_PRESSURE_KEPT ? 1 : 0;
    }
    return changes;
}

static void in_a_cgroup_it_comes_to_rest(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    (void)live_in_cgroup(&f, 1000 * MIB, 100 * MIB, 100);
    const uint64_t rest = bound(&f);
    assert_true(rest + 100 * MIB <= 850 * MIB && rest + 100 * MIB > 840 * MIB);
    assert_int_equal(live_in_cgroup(&f, 1000 * MIB, 100 * MIB, 100000), 0);
    /* More room: it grows to the new mark and rests there. */
    (void)live_in_cgroup(&f, 1100 * MIB, 100 * MIB, 200);
    assert_true(bound(&f) + 100 * MIB <= 935 * MIB && bound(&f) + 100 * MIB > 925 * MIB);
    assert_int_equal(live_in_cgroup(&f, 1100 * MIB, 100 * MIB, 100000), 0);
    /* Between the marks neither a little more nor a little less moves it. */
    assert_int_equal(live_in_cgroup(&f, 1100 * MIB, 190 * MIB, 1000), 0);
    assert_int_equal(live_in_cgroup(&f, 1100 * MIB, 99 * MIB, 1000), 0);
    /* No limit any more: all of it. */
    f.look.limit_bytes = 0;
    (void)look_for(&f, 300, ZC_PRESSURE_RAISED);
    assert_true(f.state.limit_bytes == UINT64_MAX);
}

/* An empty cache is not let grow to where it would be pressure. */
static void what_it_may_fill_counts_not_what_it_holds(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    (void)live_in_cgroup(&f, 1000 * MIB, 100 * MIB, 10);
    const uint64_t rest = bound(&f);
    f.look.charge_bytes = 0; /* emptied: the usage falls, the bound stays */
    f.look.usage_bytes = 100 * MIB;
    (void)look_for(&f, 1000, ZC_PRESSURE_KEPT);
    assert_true(bound(&f) <= 750 * MIB && bound(&f) >= rest);
}

/* Tasks stall whenever the cache may hold more than @much: how often they are made to. */
static unsigned live_with_stalls(struct fixture *f, uint64_t much, unsigned seconds)
{
    unsigned lowered = 0;

    while (seconds-- > 0) {
        f->look.charge_bytes = bound(f);
        f->look.stall_permille = bound(f) > much ? 300 : 0;
        lowered += look(f) == ZC_PRESSURE_LOWERED ? 1 : 0;
    }
    return lowered;
}

static void stalls_are_provoked_ever_more_rarely(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    const unsigned first = live_with_stalls(&f, 800 * MIB, 300);
    assert_int_equal(f.state.patience, 16);
    const unsigned hour = live_with_stalls(&f, 800 * MIB, 3600);
    assert_in_range(first, 3, 12);
    assert_in_range(hour, 5, 3600 / 160);
    assert_in_range(bound(&f), 700 * MIB, 800 * MIB + CAPACITY / 32 + 1);
    /* It is forgotten in time, once they do not come any more. */
    (void)live_with_stalls(&f, CAPACITY, 7200);
    assert_int_equal(f.state.patience, 1);
    assert_true(f.state.limit_bytes == UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_pressure_nothing_happens),
        cmocka_unit_test(a_cgroup_gets_what_it_has_above_low),
        cmocka_unit_test(a_stall_takes_an_eighth_at_each_look),
        cmocka_unit_test(both_together_take_what_is_more),
        cmocka_unit_test(what_counts_is_what_the_cache_holds),
        cmocka_unit_test(the_floor_holds_whatever_the_pressure),
        cmocka_unit_test(while_the_shrinker_is_at_it_nothing_more_is_asked),
        cmocka_unit_test(after_a_quiet_time_it_comes_up_in_steps),
        cmocka_unit_test(pressure_begins_the_quiet_time_anew),
        cmocka_unit_test(what_cannot_be_seen_leaves_it_as_it_was),
        cmocka_unit_test(a_changed_capacity_is_followed),
        cmocka_unit_test(in_a_cgroup_it_comes_to_rest),
        cmocka_unit_test(what_it_may_fill_counts_not_what_it_holds),
        cmocka_unit_test(stalls_are_provoked_ever_more_rarely),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
