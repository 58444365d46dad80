/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worth: a tier is passed by when feeding it takes more CPU than it may and it is not hit; some pages are
 * fed all the same; it is fed again when it is hit, or when fewer pages come.  And what reclaim makes
 * of it.
 */
#include "inside.h"
#include "reclaim.h"
#include "tier.h"
#include "worth.h"

#define MS UINT64_C(1000000)

/* Of the next 160 batches: how many are fed. */
static unsigned asks(struct zc_worth *w, uint64_t now)
{
    unsigned n = 0;

    for (unsigned i = 0; i < 160; i++) {
        n += zc_worth_ask(w, now) ? 1 : 0;
    }
    return n;
}

/* 100 ms in which 1000 pages left, each worth 20 us of a CPU: a fifth of one. */
static void interval(struct zc_worth *w, uint64_t *now, uint64_t *hits, uint64_t more_hits)
{
    zc_worth_fed(w, 500, UINT64_C(500) * 20000);
    zc_worth_left(w, 1000);
    *now += 100 * MS;
    *hits += more_hits;
    assert_true(zc_worth_due(w, *now));
    zc_worth_judge(w, *now, *hits, 10);
}

static void a_tier_that_is_not_hit_is_passed_by(void **state)
{
    uint64_t now = 5000 * MS;
    uint64_t hits = 77;
    struct zc_worth w;

    (void)state;
    zc_worth_init(&w);
    assert_int_equal(asks(&w, now), 160);
    assert_true(zc_worth_due(&w, now));
    zc_worth_judge(&w, now, hits, 10); /* the first only begins */
    interval(&w, &now, &hits, 31);     /* below a sixteenth of 500 */
    assert_int_equal(asks(&w, now), 10);
    interval(&w, &now, &hits, 32);
    assert_int_equal(asks(&w, now), 160);
    interval(&w, &now, &hits, 0);
    assert_int_equal(asks(&w, now), 10);
}

static void it_is_fed_again_when_few_pages_leave(void **state)
{
    static const struct {
        uint64_t ms; /* in which 1000 pages leave, that is 20 ms of a CPU */
        bool passing;
    } rows[] = {{250, false}, {150, true}, {250, true}, {300, true}, {450, false}, {250, false}};

    uint64_t now = 5000 * MS;
    struct zc_worth w;

    (void)state;
    zc_worth_init(&w);
    zc_worth_judge(&w, now, 0, 10);
    for (unsigned i = 0; i < ZC_ARRAY_SIZE(rows); i++) {
        zc_worth_fed(&w, 1000, UINT64_C(1000) * 20000);
        zc_worth_left(&w, 1000);
        now += rows[i].ms * MS;
        zc_worth_judge(&w, now, 0, 10);
        assert_int_equal(asks(&w, now), rows[i].passing ? 10 : 160);
    }
    zc_worth_left(&w, 1000);
    now += 60 * MS;
    zc_worth_judge(&w, now, 0, 100); /* the application wants all of them fed */
    assert_int_equal(asks(&w, now), 160);
}

/* Of a tier that would take 20 times what it may, one batch in 20 is fed; never more than one in 16. */
static void what_is_fed_all_the_same_takes_no_more_than_it_may(void **state)
{
    static const struct {
        uint64_t times; /* of a tenth of a CPU */
        unsigned fed;   /* of 160 */
    } rows[] = {{2, 10}, {20, 8}, {80, 2}, {100000, 1}};

    (void)state;
    for (unsigned i = 0; i < ZC_ARRAY_SIZE(rows); i++) {
        uint64_t now = 5000 * MS;
        struct zc_worth w;

        zc_worth_init(&w);
        zc_worth_judge(&w, now, 0, 10);
        zc_worth_fed(&w, 1000, UINT64_C(1000) * 10000);
        zc_worth_left(&w, 1000 * rows[i].times);
        now += 100 * MS;
        zc_worth_judge(&w, now, 0, 10);
        assert_int_equal(asks(&w, now), rows[i].fed);
    }
}

static void an_interval_is_long_and_has_pages(void **state)
{
    struct zc_worth w;

    (void)state;
    zc_worth_init(&w);
    zc_worth_judge(&w, 1000 * MS, 0, 10);
    zc_worth_left(&w, 1000);
    assert_false(zc_worth_due(&w, 1000 * MS));
    assert_false(zc_worth_due(&w, 1050 * MS));
    assert_true(zc_worth_due(&w, 1051 * MS));
    zc_worth_judge(&w, 1051 * MS, 0, 10);
    zc_worth_left(&w, 63);
    assert_false(zc_worth_due(&w, 9999 * MS));
    zc_worth_left(&w, 1);
    assert_true(zc_worth_due(&w, 9999 * MS));
}

static void a_verdict_holds_for_a_second(void **state)
{
    uint64_t now = 5000 * MS;
    uint64_t hits = 0;
    struct zc_worth w;

    (void)state;
    zc_worth_init(&w);
    zc_worth_judge(&w, now, hits, 10);
    interval(&w, &now, &hits, 0);
    now += 1000 * MS;
    assert_int_equal(asks(&w, now), 10);
    now += 1;
    assert_int_equal(asks(&w, now), 160);
}

/* ---------------------------------------------------------------------------------------------- */
/* Reclaim, in an interval that began in the future, so that it does not end. */

#define PAGES 40u

static struct zcache_tenant *fill(struct zcache **cache)
{
    struct zcache_tenant *t;

    *cache = open_cache(16 * MIB, NULL, "raw_percent=25,start_percent=100");
    t = zcache_root(*cache);
    for (uint64_t i = 0; i < PAGES; i++) {
        assert_int_equal(put_page(t, key_of(1, i), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    }
    atomic_store(&t->worth[ZCACHE_TIER_FAST].since_ns, zc_plat_deadline_ns(3600000));
    atomic_store(&t->worth[ZCACHE_TIER_FAST].passing, 1);
    atomic_store(&t->worth[ZCACHE_TIER_FAST].asked, 1);
    return t;
}

static struct zcache_stats reclaimed(struct zcache *cache, struct zcache_tenant *t, unsigned mode)
{
    struct zc_reclaim r = zc_reclaim_begin(cache, thread_of(cache), t, mode, PAST);

    (void)zc_reclaim_tenant(&r, t, 16 * KIB);
    (void)zc_reclaim_end(&r, PAST);
    drain(cache);
    return stats_of(t);
}

static void puts_pass_the_tier_by(void **state)
{
    struct zcache *cache;
    struct zcache_tenant *t = fill(&cache);
    struct zcache_stats s = reclaimed(cache, t, ZC_RECLAIM_STREAM);

    (void)state;
    assert_int_equal(s.tier[ZCACHE_TIER_FAST].pages, 0);
    assert_true(s.tier[ZCACHE_TIER_RAW].evictions >= 4);
    assert_int_equal(s.tier[ZCACHE_TIER_RAW].pages + s.tier[ZCACHE_TIER_RAW].evictions, PAGES);
    assert_false(is_cached(t, key_of(1, 0))); /* the oldest */
    assert_true(is_cached(t, key_of(1, PAGES - 1)));
    drop_cache(cache);
}

static void others_do_not(void **state)
{
    static const unsigned modes[] = {0, ZC_RECLAIM_DEMOTE_ONLY};

    (void)state;
    for (unsigned i = 0; i < ZC_ARRAY_SIZE(modes); i++) {
        struct zcache *cache;
        struct zcache_tenant *t = fill(&cache);
        struct zcache_stats s = reclaimed(cache, t, modes[i]);

        assert_true(s.tier[ZCACHE_TIER_FAST].pages > 0);
        assert_int_equal(s.tier[ZCACHE_TIER_RAW].evictions, 0);
        drop_cache(cache);
    }
}

static void work_ahead_leaves_them_where_they_are(void **state)
{
    struct zcache *cache;
    struct zcache_tenant *t = fill(&cache);
    struct zcache_stats s = reclaimed(cache, t, ZC_RECLAIM_STREAM | ZC_RECLAIM_DEMOTE_ONLY);

    (void)state;
    assert_int_equal(s.tier[ZCACHE_TIER_RAW].pages, PAGES);
    drop_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tier_that_is_not_hit_is_passed_by),
        cmocka_unit_test(it_is_fed_again_when_few_pages_leave),
        cmocka_unit_test(what_is_fed_all_the_same_takes_no_more_than_it_may),
        cmocka_unit_test(an_interval_is_long_and_has_pages),
        cmocka_unit_test(a_verdict_holds_for_a_second),
        cmocka_unit_test(puts_pass_the_tier_by),
        cmocka_unit_test(others_do_not),
        cmocka_unit_test(work_ahead_leaves_them_where_they_are),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("worth", tests, NULL, NULL);
}
