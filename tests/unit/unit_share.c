/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * share: the shares of raw and fast over a made-up series of measurements, in which a page is the less often
 * hit the older it is.  They go down where misses are dear, up where decoding is, stay where it makes no
 * difference, and do not swing.
 */
#include <string.h>

#include "assertion.h"
#include "mathx.h"
#include "share.h"

#define US     UINT64_C(1000)
#define BYTES  (UINT64_C(64) << 20)
#define RECORD 64u

/* A cache of BYTES bytes, full, and what is asked of it. */
struct world {
    struct zc_share share;
    struct zc_share_look look;
    uint64_t size[ZCACHE_TIERS]; /* of a page, with its record */
    uint64_t flat;               /* pages that are hit as often as the newest ones */
    uint64_t scale;              /* hits of a page of these, by interval, times 1,000 */
    uint64_t noise;              /* per cent, up and down */
    uint64_t random;
};

static struct world new_world(uint64_t miss_ns)
{
    struct world w = {
        .look = {.page_bytes = RECORD,
                 .knows_returned = true,
                 .exists = {true, true, true},
                 .get_ns = {700, 2500, 9000},
                 .miss_ns = miss_ns},
        .size = {4096 + RECORD, 1900 + RECORD, 1300 + RECORD},
        .flat = 500,
        .scale = 2000,
        .random = 88172645463325252u,
    };

    zc_share_init(&w.share);
    return w;
}

/* The densest tier there is has what the others leave. */
static bool is_last(const struct world *w, int tier)
{
    bool last = true;

    for (int t = tier + 1; t < ZCACHE_TIERS; t++) {
        last = last && !w->look.exists[t];
    }
    return last;
}

static uint64_t part(const struct world *w, enum zcache_tier tier)
{
    return zc_share_part(&w->share, tier);
}

static uint64_t noisy(struct world *w, uint64_t n)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->noise == 0 ? n : n * (100 - w->noise + w->random % (2 * w->noise + 1)) / 100;
}

/* Hits in an interval of the pages of age @from to @to: they fall with the age. */
static uint64_t hits_between(struct world *w, uint64_t from, uint64_t to)
{
    uint64_t sum = 0;

    for (uint64_t age = from; age < to; age += 16) {
        sum += 16 * w->scale * w->flat / (w->flat + age);
    }
    return noisy(w, sum / 1000);
}

/* The tiers as the shares say, what is hit there, and a verdict. */
static void interval(struct world *w)
{
    uint64_t room = BYTES;
    uint64_t age = 0;
    uint64_t pages = 0;

    w->look.raw_bytes = 0;
    for (int t = 0; t < ZCACHE_TIERS; t++) {
        uint64_t bytes =
            is_last(w, t)
                ? room
                : ZC_MIN(room, zc_mul_div(BYTES, part(w, (enum zcache_tier)t), ZC_SHARE_ONE));

        if (!w->look.exists[t]) {
            continue;
        }
        w->look.pages[t] = bytes / w->size[t];
        w->look.bytes[t] = w->look.pages[t] * (w->size[t] - RECORD);
        w->look.raw_bytes += w->look.pages[t] * 4096;
        w->look.hits[t] += hits_between(w, age, age + w->look.pages[t]);
        age += w->look.pages[t];
        pages += w->look.pages[t];
        room -= bytes;
    }
    w->look.returned += hits_between(w, age, 2 * age);
    w->look.evicted += pages / 16 + 1;
    assert_true(zc_share_due(&w->share, w->look.evicted, pages));
    zc_share_judge(&w->share, &w->look);
    assert_false(zc_share_due(&w->share, w->look.evicted, pages));
    for (int t = ZCACHE_TIER_RAW; t < ZCACHE_TIER_DENSE; t++) {
        assert_in_range(part(w, (enum zcache_tier)t), ZC_SHARE_MIN, ZC_SHARE_MAX);
    }
}

static void run(struct world *w, unsigned intervals)
{
    for (unsigned i = 0; i < intervals; i++) {
        interval(w);
    }
}

/* ---- where they go --------------------------------------------------------------------------- */

static void dear_misses_make_it_dense(void **state)
{
    struct world w = new_world(1000 * US);

    (void)state;
    run(&w, 30);
    assert_int_equal(part(&w, ZCACHE_TIER_RAW), ZC_SHARE_MIN);
    assert_int_equal(part(&w, ZCACHE_TIER_FAST), ZC_SHARE_MIN);
}

static void cheap_misses_make_it_raw(void **state)
{
    struct world w = new_world(10 * US); /* hardly more than to decode what is dense */

    (void)state;
    run(&w, 30);
    assert_int_equal(part(&w, ZCACHE_TIER_RAW), ZC_SHARE_MAX);
    /* Something stays in each tier. */
    assert_true(part(&w, ZCACHE_TIER_RAW) + part(&w, ZCACHE_TIER_FAST) < ZC_SHARE_ONE);
    w.look.miss_ns = 1000 * US; /* and it finds back */
    run(&w, 40);
    assert_int_equal(part(&w, ZCACHE_TIER_RAW), ZC_SHARE_MIN);
}

static void dear_decoding_does_so_too(void **state)
{
    struct world w = new_world(100 * US);

    (void)state;
    w.look.get_ns[ZCACHE_TIER_DENSE] = 50 * US;
    run(&w, 60);
    const uint64_t dear = part(&w, ZCACHE_TIER_FAST);
    w.look.get_ns[ZCACHE_TIER_DENSE] = 4 * US;
    run(&w, 60);
    assert_true(dear >= 8 * part(&w, ZCACHE_TIER_FAST));
}

/* Where hits are all in the newest pages nothing is gained by having more. */
static void what_is_never_hit_needs_no_room(void **state)
{
    struct world w = new_world(1000 * US);

    (void)state;
    w.flat = 1;
    w.scale = 1; /* nothing is hit at all */
    run(&w, 50);
    assert_int_equal(part(&w, ZCACHE_TIER_RAW), ZC_SHARE_RAW);
    assert_int_equal(part(&w, ZCACHE_TIER_FAST), ZC_SHARE_FAST);
}

static void a_form_that_saves_nothing_is_not_made(void **state)
{
    struct world w = new_world(1000 * US);

    (void)state;
    w.size[ZCACHE_TIER_FAST] = w.size[ZCACHE_TIER_DENSE] = w.size[ZCACHE_TIER_RAW];
    run(&w, 40);
    assert_int_equal(part(&w, ZCACHE_TIER_RAW), ZC_SHARE_MAX);
}

static void a_tier_that_is_not_there_is_left_out(void **state)
{
    static const struct {
        bool fast;
        bool dense;
    } rows[] = {{true, false}, {false, true}, {false, false}};

    (void)state;
    for (unsigned i = 0; i < ZC_ARRAY_SIZE(rows); i++) {
        struct world w = new_world(1000 * US);

        w.look.exists[ZCACHE_TIER_FAST] = rows[i].fast;
        w.look.exists[ZCACHE_TIER_DENSE] = rows[i].dense;
        run(&w, 30);
        assert_int_equal(part(&w, ZCACHE_TIER_RAW),
                         rows[i].fast || rows[i].dense ? ZC_SHARE_MIN : ZC_SHARE_RAW);
        assert_int_equal(part(&w, ZCACHE_TIER_FAST), ZC_SHARE_FAST);
    }
}

/* ---- how they get there ---------------------------------------------------------------------- */

/* Between the two extremes there is a place to stay, whatever it comes from. */
static void they_settle(void **state)
{
    uint64_t from_above = 0;

    (void)state;
    for (unsigned high = 0; high < 2; high++) {
        struct world w = new_world(100 * US);
        uint64_t least = UINT64_MAX;
        uint64_t most = 0;

        w.look.get_ns[ZCACHE_TIER_FAST] = 12 * US;
        w.look.get_ns[ZCACHE_TIER_DENSE] = 14 * US;
        w.flat = 100;
        w.noise = 5;
        atomic_store(&w.share.part[ZCACHE_TIER_RAW], high != 0 ? ZC_SHARE_MAX : ZC_SHARE_MIN);
        run(&w, 60);
        for (unsigned i = 0; i < 200; i++) {
            interval(&w);
            least = ZC_MIN(least, part(&w, ZCACHE_TIER_RAW));
            most = ZC_MAX(most, part(&w, ZCACHE_TIER_RAW));
        }
        print_message("raw from %u: %llu to %llu of %u\n", high, (unsigned long long)least,
                      (unsigned long long)most, ZC_SHARE_ONE);
        assert_true(least > ZC_SHARE_MIN && most < ZC_SHARE_MAX);
        assert_true(most - least <= most * 2 / 5); /* two steps at most */
        if (high == 0) {
            from_above = most;
        } else {
            assert_in_range(least, from_above / 2, from_above * 2);
        }
    }
}

static void an_interval_needs_evictions(void **state)
{
    struct zc_share_look look = {.exists = {true, true, true}};
    struct zc_share s;

    (void)state;
    zc_share_init(&s);
    assert_true(zc_share_due(&s, 1000, 100)); /* to begin */
    look.evicted = 1000;
    zc_share_judge(&s, &look);
    assert_false(zc_share_due(&s, 1063, 100)); /* a few pages tell nothing */
    assert_true(zc_share_due(&s, 1064, 100));
    assert_false(zc_share_due(&s, 1999, 16000));
    assert_true(zc_share_due(&s, 2000, 16000));
    atomic_store(&s.busy, 1); /* another thread is at it */
    assert_false(zc_share_due(&s, 2000, 16000));
    zc_share_judge(&s, &look);
    assert_int_equal(atomic_load(&s.busy), 1);
}

static void what_was_before_the_first_interval_does_not_count(void **state)
{
    struct world w = new_world(1000 * US);

    (void)state;
    w.look.hits[ZCACHE_TIER_DENSE] = w.look.returned = UINT64_C(1) << 40;
    interval(&w);
    assert_int_equal(part(&w, ZCACHE_TIER_RAW), ZC_SHARE_RAW);
    assert_int_equal(w.share.hits[ZCACHE_TIER_DENSE], 0);
    interval(&w);
    assert_true(w.share.hits[ZCACHE_TIER_DENSE] < UINT64_C(1) << 30);
}

static void times_that_cannot_be_do_not_empty_a_tier(void **state)
{
    struct world w = new_world(100 * US);

    (void)state;
    w.look.get_ns[ZCACHE_TIER_DENSE] = 100000 * US; /* the CPU was another's */
    run(&w, 60);
    assert_true(part(&w, ZCACHE_TIER_RAW) < ZC_SHARE_MAX);
    assert_true(w.look.pages[ZCACHE_TIER_DENSE] > 0);
}

static void reads_of_the_store_are_averaged(void **state)
{
    struct zc_share s;

    (void)state;
    zc_share_init(&s);
    assert_int_equal(atomic_load(&s.load_ns), 0);
    zc_share_loaded(&s, 4, 400 * US);
    assert_int_equal(atomic_load(&s.load_ns), 100 * US);
    zc_share_loaded(&s, 1, 1700 * US);
    assert_int_equal(atomic_load(&s.load_ns), 200 * US);
    for (unsigned i = 0; i < 400; i++) {
        zc_share_loaded(&s, 2, 20 * US);
    }
    assert_in_range(atomic_load(&s.load_ns), 10 * US, 10 * US + 16);
    zc_share_loaded(&s, 0, 0);
    assert_true(atomic_load(&s.load_ns) > 0); /* 0 says that nothing was read */
    zc_share_loaded(&s, 1, UINT64_MAX);
    assert_true(atomic_load(&s.load_ns) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dear_misses_make_it_dense),
        cmocka_unit_test(cheap_misses_make_it_raw),
        cmocka_unit_test(dear_decoding_does_so_too),
        cmocka_unit_test(what_is_never_hit_needs_no_room),
        cmocka_unit_test(a_form_that_saves_nothing_is_not_made),
        cmocka_unit_test(a_tier_that_is_not_there_is_left_out),
        cmocka_unit_test(they_settle),
        cmocka_unit_test(an_interval_needs_evictions),
        cmocka_unit_test(what_was_before_the_first_interval_does_not_count),
        cmocka_unit_test(times_that_cannot_be_do_not_empty_a_tier),
        cmocka_unit_test(reads_of_the_store_are_averaged),
    };

    return cmocka_run_group_tests_name("share", tests, NULL, NULL);
}
