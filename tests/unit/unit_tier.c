/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tier: every outcome of a demotion and a promotion; what is not moved stays as it was, and damaged
 * bytes never get a new checksum.
 */
#include <errno.h>
#include <string.h>
#include <zcache/codec.h>

#include "inside.h"
#include "tier.h"

#define KEY key_of(1, 0)

struct fixture {
    struct zcache *cache;
    struct zcache_tenant *t;
    struct zc_thread *th;
};

static void setup(struct fixture *f, const char *options)
{
    f->cache = open_cache(16 * MIB, NULL, options);
    f->t = open_tenant(zcache_root(f->cache), "t", 4 * MIB);
    f->th = thread_of(f->cache);
}

static void teardown(struct fixture *f)
{
    drop_cache(f->cache);
}

/* Demotes the page of KEY and puts it back. */
static enum zc_tier_outcome demote(struct fixture *f, enum zcache_tier to, uint64_t *freed)
{
    struct zc_entry *e = isolate(f->t, KEY);
    enum zc_tier_outcome outcome = zc_tier_demote(f->cache, f->th, e, to, freed);

    zc_page_putback(f->cache, f->th, e, true);
    return outcome;
}

/* A demotion that must leave the page as it is. */
static void demote_in_vain(struct fixture *f, enum zcache_tier to, enum zc_tier_outcome expected)
{
    const uint64_t charge = settled_charge(f->t);
    const uint64_t word = word_of(f->t, KEY);
    const enum zcache_tier tier = zc_entry_tier(entry_of(f->t, KEY));
    uint64_t freed = 1;

    assert_int_equal(demote(f, to, &freed), expected);
    assert_int_equal(freed, 0);
    assert_int_equal(settled_charge(f->t), charge);
    assert_true(word_of(f->t, KEY) == word);
    assert_int_equal(zc_entry_tier(entry_of(f->t, KEY)), tier);
}

static void put(struct fixture *f, enum fill fill, unsigned flags)
{
    REQUIRE_EQUAL(put_page(f->t, KEY, 1, fill, flags), 0);
}

/* ---------------------------------------------------------------------------------------------- */
/* Demotion. */

static void a_page_moves_and_says_what_it_freed(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, NULL);
    put(&f, FILL_TEXT, ZCACHE_DIRTY);
    const uint32_t version = entry_of(f.t, KEY)->version;
    for (int to = ZCACHE_TIER_FAST; to <= ZCACHE_TIER_DENSE; to++) {
        const uint64_t before = settled_charge(f.t);
        uint64_t freed;
        assert_int_equal(demote(&f, (enum zcache_tier)to, &freed), ZC_TIER_MOVED);
        assert_true(freed > 0);
        assert_int_equal(before - settled_charge(f.t), freed);
        assert_int_equal(zc_entry_tier(entry_of(f.t, KEY)), to);
        assert_int_equal(stats_of(f.t).tier[to].demotions, 1);
        assert_int_equal(stats_of(f.t).tier[to].pages, 1);
        assert_int_equal(get_page(f.t, KEY, ZCACHE_PEEK), 1);
        assert_true(zc_entry_has(entry_of(f.t, KEY), ZC_F_DIRTY));
        assert_int_equal(entry_of(f.t, KEY)->version, version);
        verify_cache(f.cache);
    }
    teardown(&f);
}

static void a_page_that_does_not_shrink_moves_along_and_remembers(void **state)
{
    struct fixture f;
    uint64_t freed;

    (void)state;
    setup(&f, NULL);
    put(&f, FILL_RANDOM, 0);
    const uint64_t word = word_of(f.t, KEY);
    const uint64_t charge = settled_charge(f.t);
    assert_int_equal(demote(&f, ZCACHE_TIER_FAST, &freed), ZC_TIER_KEPT);
    assert_int_equal(freed, 0);
    assert_true(word_of(f.t, KEY) == word);
    assert_int_equal(zc_entry_tier(entry_of(f.t, KEY)), ZCACHE_TIER_FAST);
    assert_true(zc_entry_has(entry_of(f.t, KEY), ZC_F_NO_FAST));
    assert_false(zc_entry_has(entry_of(f.t, KEY), ZC_F_NO_DENSE));
    assert_int_equal(stats_of(f.t).gauge.incompressible_pages, 1);
    assert_int_equal(stats_of(f.t).tier[ZCACHE_TIER_RAW].pages, 1); /* by form it is still raw */
    assert_int_equal(demote(&f, ZCACHE_TIER_FAST, &freed), ZC_TIER_KEPT);
    assert_int_equal(stats_of(f.t).tier[ZCACHE_TIER_FAST].demote_rejects, 1); /* not tried again */
    assert_int_equal(demote(&f, ZCACHE_TIER_DENSE, &freed), ZC_TIER_KEPT);
    assert_int_equal(demote(&f, ZCACHE_TIER_DENSE, &freed), ZC_TIER_KEPT);
    assert_int_equal(stats_of(f.t).tier[ZCACHE_TIER_DENSE].demote_rejects, 1);
    assert_int_equal(zc_entry_tier(entry_of(f.t, KEY)), ZCACHE_TIER_DENSE);
    assert_int_equal(settled_charge(f.t), charge);
    verify_cache(f.cache);
    put(&f, FILL_TEXT, 0); /* a new version is tried again */
    assert_int_equal(stats_of(f.t).gauge.incompressible_pages, 0);
    assert_int_equal(demote(&f, ZCACHE_TIER_FAST, &freed), ZC_TIER_MOVED);
    teardown(&f);
}

static void what_need_not_be_encoded_is_not(void **state)
{
    static const unsigned char zeros[PAGE];
    struct fixture f;
    uint64_t freed;

    (void)state;
    setup(&f, NULL);
    put(&f, FILL_TEXT, ZCACHE_INCOMPRESSIBLE);
    assert_int_equal(demote(&f, ZCACHE_TIER_FAST, &freed), ZC_TIER_KEPT);
    assert_int_equal(zcache_put(f.t, KEY, zeros, PAGE, 0), 0);
    assert_int_equal(demote(&f, ZCACHE_TIER_FAST, &freed), ZC_TIER_KEPT);
    assert_int_equal(demote(&f, ZCACHE_TIER_DENSE, &freed), ZC_TIER_KEPT);
    assert_int_equal(stats_of(f.t).tier[ZCACHE_TIER_FAST].demote_rejects, 0);
    assert_int_equal(zc_entry_tier(entry_of(f.t, KEY)), ZCACHE_TIER_DENSE);
    assert_int_equal(zcache_get(f.t, KEY, NULL, 0, NULL, 0), 0);
    teardown(&f);
}

static void a_frame_of_equal_bytes_becomes_a_word(void **state)
{
    static const unsigned char zeros[PAGE];
    struct zcache_pin pin;
    struct fixture f;
    uint64_t freed;

    (void)state;
    setup(&f, NULL);
    assert_int_equal(zcache_put(f.t, KEY, zeros, PAGE, 0), 0);
    const uint64_t without = settled_charge(f.t);
    assert_int_equal(zcache_pin(f.t, KEY, 0, &pin), 0); /* makes it raw */
    zcache_unpin(&pin);
    assert_false(zc_word_is_same(word_of(f.t, KEY)));
    const uint64_t with = settled_charge(f.t);
    assert_int_equal(demote(&f, ZCACHE_TIER_FAST, &freed), ZC_TIER_MOVED);
    assert_true(zc_word_is_same(word_of(f.t, KEY)));
    assert_int_equal(freed, with - without);
    assert_int_equal(settled_charge(f.t), without);
    assert_int_equal(stats_of(f.t).gauge.same_pages, 1);
    teardown(&f);
}

static void a_page_stays_if_its_tier_was_turned_off_meanwhile(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, NULL);
    put(&f, FILL_TEXT, 0);
    for (int to = ZCACHE_TIER_FAST; to <= ZCACHE_TIER_DENSE; to++) {
        assert_int_equal(zcache_codec_select(f.cache, (enum zcache_tier)to, "none"), 0);
        demote_in_vain(&f, (enum zcache_tier)to, ZC_TIER_KEPT);
    }
    teardown(&f);
}

static void a_pinned_page_stays(void **state)
{
    struct zcache_pin pin;
    struct fixture f;

    (void)state;
    setup(&f, NULL);
    put(&f, FILL_TEXT, 0);
    assert_int_equal(zcache_pin(f.t, KEY, 0, &pin), 0);
    demote_in_vain(&f, ZCACHE_TIER_FAST, ZC_TIER_PINNED);
    zcache_unpin(&pin);
    teardown(&f);
}

static void a_page_in_flight_stays(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, NULL);
    put(&f, FILL_TEXT, ZCACHE_DIRTY);
    zc_entry_become(entry_of(f.t, KEY), ZC_WRITING);
    demote_in_vain(&f, ZCACHE_TIER_FAST, ZC_TIER_BUSY);
    zc_entry_become(entry_of(f.t, KEY), ZC_LIVE);
    teardown(&f);
}

/* A codec in whose encoder things happen to the page that is being encoded. */
static struct {
    void (*happens)(struct zcache_tenant *t);
    struct zcache_tenant *t;
    struct zcache_pin pin;
} meddling;

static size_t meddling_encode(void *context, void *dst, size_t cap, const void *src, size_t len)
{
    (void)context;
    if (meddling.happens != NULL) {
        meddling.happens(meddling.t);
        meddling.happens = NULL;
    }
    memcpy(dst, src, len / 2 < cap ? len / 2 : cap);
    return len / 2;
}

static int meddling_decode(void *context, void *dst, size_t len, const void *src, size_t stored)
{
    (void)context;
    memset(dst, 0, len);
    memcpy(dst, src, stored);
    return 0;
}

static void put_newer(struct zcache_tenant *t)
{
    REQUIRE_EQUAL(put_page(t, KEY, 2, FILL_TEXT, 0), 0);
}

static void remove_it(struct zcache_tenant *t)
{
    REQUIRE_EQUAL(zcache_delete(t, KEY, 0), 0);
}

static void pin_it(struct zcache_tenant *t)
{
    REQUIRE_EQUAL(zcache_pin(t, KEY, 0, &meddling.pin), 0);
}

static void select_meddling(struct fixture *f, void (*happens)(struct zcache_tenant *t))
{
    static const struct zcache_codec codec = {.struct_size = sizeof(codec),
                                              .name = "meddling",
                                              .encode = meddling_encode,
                                              .decode = meddling_decode};

    REQUIRE_EQUAL(zcache_codec_register(f->cache, &codec), 0);
    REQUIRE_EQUAL(zcache_codec_select(f->cache, ZCACHE_TIER_FAST, "meddling"), 0);
    meddling.happens = happens;
    meddling.t = f->t;
}

static void a_newer_version_wins_between_the_steps(void **state)
{
    struct fixture f;
    uint64_t freed;

    (void)state;
    setup(&f, NULL);
    select_meddling(&f, put_newer);
    put(&f, FILL_TEXT, 0);
    assert_int_equal(demote(&f, ZCACHE_TIER_FAST, &freed), ZC_TIER_BUSY);
    assert_int_equal(freed, 0);
    assert_int_equal(get_page(f.t, KEY, 0), 2);
    assert_int_equal(zc_entry_tier(entry_of(f.t, KEY)), ZCACHE_TIER_RAW);
    assert_int_equal(stats_of(f.t).tier[ZCACHE_TIER_FAST].demotions, 0);
    teardown(&f);
}

static void a_page_may_leave_between_the_steps(void **state)
{
    struct fixture f;
    uint64_t freed;

    (void)state;
    setup(&f, NULL);
    const uint64_t empty = settled_charge(f.t);
    select_meddling(&f, remove_it);
    put(&f, FILL_TEXT, 0);
    struct zc_entry *e = isolate(f.t, KEY);
    assert_int_equal(zc_tier_demote(f.cache, f.th, e, ZCACHE_TIER_FAST, &freed), ZC_TIER_BUSY);
    zc_page_putback(f.cache, f.th, e, true);
    assert_null(entry_of(f.t, KEY));
    assert_int_equal(settled_charge(f.t), empty);
    teardown(&f);
}

static void a_page_may_be_pinned_between_the_steps(void **state)
{
    struct fixture f;
    uint64_t freed;

    (void)state;
    setup(&f, NULL);
    select_meddling(&f, pin_it);
    put(&f, FILL_TEXT, 0);
    const uint64_t word = word_of(f.t, KEY);
    assert_int_equal(demote(&f, ZCACHE_TIER_FAST, &freed), ZC_TIER_BUSY);
    assert_true(word_of(f.t, KEY) == word);
    zcache_unpin(&meddling.pin);
    teardown(&f);
}

static void without_room_or_memory_a_page_stays(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, NULL);
    put(&f, FILL_TEXT, 0);
    uint64_t freed;
    assert_int_equal(demote(&f, ZCACHE_TIER_FAST, &freed), ZC_TIER_MOVED); /* scratch is there */
    put(&f, FILL_TEXT, 0);
    drain(f.cache);
    const uint64_t taken = use_up(f.t->account);
    demote_in_vain(&f, ZCACHE_TIER_FAST, ZC_TIER_NO_ROOM);
    give_back(f.t->account, taken);
    fail_after(1);
    demote_in_vain(&f, ZCACHE_TIER_FAST, ZC_TIER_NO_ROOM);
    fail_after(0);
    teardown(&f);
}

/* A form that was replaced is charged until nobody can be reading it: that is waited for. */
static void forms_that_were_replaced_make_room(void **state)
{
    const struct zcache_key other = key_of(1, 1);
    struct fixture f;
    uint64_t freed;

    (void)state;
    setup(&f, NULL);
    put(&f, FILL_TEXT, 0);
    REQUIRE_EQUAL(put_page(f.t, other, 2, FILL_TEXT, 0), 0);
    drain(f.cache);
    struct zc_entry *e = isolate(f.t, other);
    assert_int_equal(zc_tier_demote(f.cache, f.th, e, ZCACHE_TIER_FAST, &freed), ZC_TIER_MOVED);
    zc_page_putback(f.cache, f.th, e, true);
    assert_true(stats_of(zcache_root(f.cache)).cache.retired_bytes >= PAGE);
    const uint64_t taken = use_up(f.t->account);
    assert_int_equal(demote(&f, ZCACHE_TIER_FAST, &freed), ZC_TIER_MOVED);
    assert_true(freed > 0);
    give_back(f.t->account, taken);
    assert_int_equal(get_page(f.t, KEY, ZCACHE_PEEK), 1);
    verify_cache(f.cache);
    teardown(&f);
}

static void without_scratch_memory_a_page_stays(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, NULL);
    put(&f, FILL_TEXT, 0);
    fail_after(1);
    demote_in_vain(&f, ZCACHE_TIER_FAST, ZC_TIER_NO_ROOM);
    fail_after(0);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Damage. */

static void damaged_bytes_get_no_new_checksum(void **state)
{
    unsigned char buf[PAGE];
    struct fixture f;
    uint64_t freed;

    (void)state;
    for (int from = ZCACHE_TIER_RAW; from < ZCACHE_TIER_DENSE; from++) {
        setup(&f, NULL);
        put(&f, FILL_TEXT, 0);
        if (from == ZCACHE_TIER_FAST) {
            assert_int_equal(demote(&f, ZCACHE_TIER_FAST, &freed), ZC_TIER_MOVED);
        }
        damage(f.t, KEY);
        demote_in_vain(&f, (enum zcache_tier)(from + 1), ZC_TIER_BUSY);
        assert_true(zc_entry_has(entry_of(f.t, KEY), ZC_F_CORRUPT));
        assert_int_equal(stats_of(f.t).count.corrupt, 1);
        assert_int_equal(log_count("page.corrupt"), 1);
        demote_in_vain(&f, (enum zcache_tier)(from + 1), ZC_TIER_BUSY);
        assert_int_equal(stats_of(f.t).count.corrupt, 1); /* told once */
        assert_int_equal(zcache_get(f.t, KEY, buf, PAGE, NULL, 0), -EBADMSG);
        assert_int_equal(zcache_verify(f.cache), -EBADMSG);
        put(&f, FILL_TEXT, 0); /* a new version is sound */
        assert_int_equal(demote(&f, ZCACHE_TIER_FAST, &freed), ZC_TIER_MOVED);
        teardown(&f);
    }
}

static void a_damaged_page_is_not_promoted(void **state)
{
    struct fixture f;
    uint64_t freed;

    (void)state;
    setup(&f, NULL);
    put(&f, FILL_TEXT, 0);
    assert_int_equal(demote(&f, ZCACHE_TIER_FAST, &freed), ZC_TIER_MOVED);
    const uint64_t charge = settled_charge(f.t);
    const uint64_t word = word_of(f.t, KEY);
    const struct zc_where w = where_of(f.t, KEY);
    damage(f.t, KEY);
    assert_int_equal(zc_tier_promote(&w, KEY, word, 0), -EBADMSG);
    assert_true(word_of(f.t, KEY) == word);
    assert_int_equal(settled_charge(f.t), charge);
    damage(f.t, KEY);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Promotion. */

static void a_promotion_makes_a_page_raw(void **state)
{
    const size_t bytes = zc_page_bytes(PAGE, ZC_CODEC_NONE);
    struct fixture f;
    uint64_t freed;

    (void)state;
    setup(&f, NULL);
    put(&f, FILL_TEXT, 0);
    const uint64_t raw = settled_charge(f.t);
    for (int reserved = 0; reserved <= 1; reserved++) {
        assert_int_equal(demote(&f, ZCACHE_TIER_DENSE, &freed), ZC_TIER_MOVED);
        const struct zc_where w = where_of(f.t, KEY);
        if (reserved) {
            assert_null(zc_quota_reserve(f.t->account, bytes, ZC_QUOTA_PUT));
        }
        assert_int_equal(zc_tier_promote(&w, KEY, word_of(f.t, KEY), reserved ? bytes : 0), 0);
        assert_int_equal(settled_charge(f.t), raw);
        assert_int_equal(zc_entry_tier(entry_of(f.t, KEY)), ZCACHE_TIER_RAW);
        assert_int_equal(stats_of(f.t).tier[ZCACHE_TIER_DENSE].promotions, reserved + 1);
        assert_int_equal(get_page(f.t, KEY, 0), 1);
        verify_cache(f.cache);
    }
    teardown(&f);
}

static void a_promotion_that_cannot_be_changes_nothing(void **state)
{
    const size_t bytes = zc_page_bytes(PAGE, ZC_CODEC_NONE);
    struct fixture f;
    uint64_t freed;

    (void)state;
    setup(&f, NULL);
    put(&f, FILL_TEXT, 0);
    assert_int_equal(demote(&f, ZCACHE_TIER_FAST, &freed), ZC_TIER_MOVED);
    const uint64_t word = word_of(f.t, KEY);
    const uint64_t charge = settled_charge(f.t);
    const struct zc_where w = where_of(f.t, KEY);
    const struct zc_where elsewhere = where_of(f.t, key_of(1, 1));

    assert_int_equal(zc_tier_promote(&w, KEY, word + 64, 0), -EAGAIN);
    assert_int_equal(zc_tier_promote(&elsewhere, key_of(1, 1), word, 0), -EAGAIN);
    fail_after(1);
    assert_int_equal(zc_tier_promote(&w, KEY, word, 0), -ENOMEM);
    fail_after(0);
    assert_int_equal(zc_quota_used(f.t->account), charge);
    /* What the caller reserved stays his. */
    assert_null(zc_quota_reserve(f.t->account, bytes, ZC_QUOTA_PUT));
    assert_int_equal(zc_tier_promote(&w, KEY, word + 64, bytes), -EAGAIN);
    assert_int_equal(zc_tier_promote(&w, KEY, word, bytes - 16), -EAGAIN);
    fail_after(1);
    assert_int_equal(zc_tier_promote(&w, KEY, word, bytes), -ENOMEM);
    fail_after(0);
    assert_int_equal(zc_quota_used(f.t->account), charge + bytes);
    zc_quota_refund(f.t->account, bytes);

    const uint64_t taken = use_up(f.t->account);
    assert_int_equal(zc_tier_promote(&w, KEY, word, 0), -EDQUOT);
    give_back(f.t->account, taken);
    assert_int_equal(settled_charge(f.t), charge);
    assert_true(word_of(f.t, KEY) == word);
    teardown(&f);
}

static void the_next_tier_is_one_that_has_a_codec(void **state)
{
    static const struct {
        const char *options;
        enum zcache_tier after_raw;
        enum zcache_tier after_fast;
    } cases[] = {
        {NULL, ZCACHE_TIER_FAST, ZCACHE_TIER_DENSE},
        {"fast=none", ZCACHE_TIER_DENSE, ZCACHE_TIER_DENSE},
        {"dense=none", ZCACHE_TIER_FAST, ZCACHE_TIERS},
        {"fast_percent=100", ZCACHE_TIER_FAST, ZCACHE_TIERS},
        {PLAIN, ZCACHE_TIERS, ZCACHE_TIERS},
    };
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < ZC_ARRAY_SIZE(cases); i++) {
        setup(&f, cases[i].options);
        assert_int_equal(zc_tier_next(f.cache, ZCACHE_TIER_RAW), cases[i].after_raw);
        assert_int_equal(zc_tier_next(f.cache, ZCACHE_TIER_FAST), cases[i].after_fast);
        assert_int_equal(zc_tier_next(f.cache, ZCACHE_TIER_DENSE), ZCACHE_TIERS);
        teardown(&f);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_moves_and_says_what_it_freed),
        cmocka_unit_test(a_page_that_does_not_shrink_moves_along_and_remembers),
        cmocka_unit_test(what_need_not_be_encoded_is_not),
        cmocka_unit_test(a_frame_of_equal_bytes_becomes_a_word),
        cmocka_unit_test(a_page_stays_if_its_tier_was_turned_off_meanwhile),
        cmocka_unit_test(a_pinned_page_stays),
        cmocka_unit_test(a_page_in_flight_stays),
        cmocka_unit_test(a_newer_version_wins_between_the_steps),
        cmocka_unit_test(a_page_may_leave_between_the_steps),
        cmocka_unit_test(a_page_may_be_pinned_between_the_steps),
        cmocka_unit_test(without_room_or_memory_a_page_stays),
        cmocka_unit_test(forms_that_were_replaced_make_room),
        cmocka_unit_test(without_scratch_memory_a_page_stays),
        cmocka_unit_test(damaged_bytes_get_no_new_checksum),
        cmocka_unit_test(a_damaged_page_is_not_promoted),
        cmocka_unit_test(a_promotion_makes_a_page_raw),
        cmocka_unit_test(a_promotion_that_cannot_be_changes_nothing),
        cmocka_unit_test(the_next_tier_is_one_that_has_a_codec),
    };

    (void)test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("tier", tests, NULL, NULL);
}
