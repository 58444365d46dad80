/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verify: whatever is wrong is found, and only what is wrong.
 *
 * Each test changes one thing behind the cache's back, wants to be told, changes it back and wants
 * peace again.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "inside.h"
#include "verify.h"

#define TEXT_PAGE   key_of(1, 0)
#define RANDOM_PAGE key_of(1, 1)
#define SAME_PAGE   key_of(1, 2)
#define DIRTY_PAGE  key_of(1, 3)

struct fixture {
    struct zcache *cache;
    struct zcache_tenant *t;
};

static void setup(struct fixture *f)
{
    unsigned char same[PAGE];

    memset(same, 0x5a, sizeof(same));
    f->cache = open_cache(16 * MIB, NULL, NULL);
    f->t = open_tenant(zcache_root(f->cache), "t", 8 * MIB);
    assert_int_equal(put_page(f->t, TEXT_PAGE, 1, FILL_TEXT, 0), 0);
    assert_int_equal(put_page(f->t, RANDOM_PAGE, 1, FILL_RANDOM, ZCACHE_INCOMPRESSIBLE), 0);
    assert_int_equal(zcache_put(f->t, SAME_PAGE, same, PAGE, 0), 0);
    assert_int_equal(put_page(f->t, DIRTY_PAGE, 1, FILL_TEXT, ZCACHE_DIRTY), 0);
    verify_cache(f->cache);
}

static void teardown(struct fixture *f)
{
    drop_cache(f->cache);
}

static int verify(struct fixture *f)
{
    log_clear();
    return zcache_verify(f->cache);
}

/* It must be found and told. */
static void expect(struct fixture *f, int rc)
{
    assert_int_equal(verify(f), rc);
    assert_int_equal(log_count("verify"), 1);
}

static void expect_peace(struct fixture *f)
{
    assert_int_equal(verify(f), 0);
    assert_int_equal(log_count("verify"), 0);
}

static void changed_bytes(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    damage(f.t, TEXT_PAGE);
    expect(&f, -EBADMSG);
    damage(f.t, TEXT_PAGE);
    expect_peace(&f);
    assert_int_equal(set_limit(f.t, 4 * MIB, 0), 0);
    zc_word_payload(word_of(f.t, RANDOM_PAGE))->checksum ^= 1;
    expect(&f, -EBADMSG);
    zc_word_payload(word_of(f.t, RANDOM_PAGE))->checksum ^= 1;
    expect_peace(&f);
    zc_word_payload(word_of(f.t, RANDOM_PAGE))->meta ^= 1;
    expect(&f, -EBADMSG);
    zc_word_payload(word_of(f.t, RANDOM_PAGE))->meta ^= 1;
    expect_peace(&f);
    atomic_fetch_xor(&entry_of(f.t, SAME_PAGE)->tag_or_fill, 1);
    expect(&f, -EBADMSG);
    atomic_fetch_xor(&entry_of(f.t, SAME_PAGE)->tag_or_fill, 1);
    expect_peace(&f);
    atomic_fetch_xor(&entry_of(f.t, SAME_PAGE)->payload, UINT64_C(1) << 40);
    expect(&f, -EBADMSG);
    atomic_fetch_xor(&entry_of(f.t, SAME_PAGE)->payload, UINT64_C(1) << 40);
    expect_peace(&f);
    teardown(&f);
}

static void a_wrong_count_of_the_tenant(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    _Atomic uint64_t *const counts[] = {
        &f.t->n_pages, &f.t->n_dirty[0],       &f.t->n_dirty[1],       &f.t->n_writing,
        &f.t->n_same,  &f.t->n_incompressible, &f.cache->root->n_pages};
    for (size_t i = 0; i < ZC_ARRAY_SIZE(counts); i++) {
        atomic_fetch_add(counts[i], 1);
        expect(&f, -EUCLEAN);
        atomic_fetch_sub(counts[i], 1);
        expect_peace(&f);
    }
    teardown(&f);
}

static void a_wrong_sum_of_a_list(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    struct zc_lru *lru = lru_of(f.t, entry_of(f.t, TEXT_PAGE));
    struct zc_tier_sum *sum = &lru->sum[ZCACHE_TIER_RAW];
    uint64_t *const sums[] = {&sum->pages, &sum->raw_bytes, &sum->stored_bytes,
                              &sum->allocated_bytes, &lru->sum[ZCACHE_TIER_DENSE].allocated_bytes};
    for (size_t i = 0; i < ZC_ARRAY_SIZE(sums); i++) {
        *sums[i] += 16;
        expect(&f, -EUCLEAN);
        *sums[i] -= 16;
        expect_peace(&f);
    }
    lru->n_listed[ZCACHE_TIER_RAW]--;
    expect(&f, -EUCLEAN);
    lru->n_listed[ZCACHE_TIER_RAW]++;
    expect_peace(&f);
    teardown(&f);
}

static void a_wrong_charge(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    atomic_fetch_sub(&f.t->own.charge, 16);
    expect(&f, -EUCLEAN);
    atomic_fetch_add(&f.t->own.charge, 32);
    expect(&f, -EUCLEAN);
    atomic_fetch_sub(&f.t->own.charge, 16);
    expect_peace(&f);
    teardown(&f);
}

static void a_replaced_frame_that_is_pinned_may_be_charged(void **state)
{
    struct zcache_pin pin;
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(zcache_pin(f.t, TEXT_PAGE, 0, &pin), 0);
    assert_int_equal(put_page(f.t, TEXT_PAGE, 2, FILL_TEXT, 0), 0);
    drain(f.cache);
    expect_peace(&f);
    zcache_unpin(&pin);
    expect_peace(&f);
    teardown(&f);
}

static uint64_t pending_token;

static int take_for_later(void *ctx, struct zcache_io *io)
{
    (void)ctx;
    pending_token = io->token;
    return ZCACHE_PENDING;
}

/* A load has reserved its frame; a write holds the frame that was replaced meanwhile. */
static void what_the_store_has_in_hand_may_be_charged(void **state)
{
    struct zcache_store cb = ZCACHE_STORE_INIT;
    unsigned char buf[PAGE];
    struct fixture f;

    (void)state;
    cb.read = cb.write = take_for_later;
    f.cache = open_cache(16 * MIB, &cb, "max_stall_ms=1");
    f.t = open_tenant(zcache_root(f.cache), "t", 8 * MIB);
    assert_int_equal(zcache_get(f.t, TEXT_PAGE, buf, PAGE, NULL, 0), -ETIMEDOUT);
    expect_peace(&f);
    assert_int_equal(zcache_delete(f.t, TEXT_PAGE, 0), ZCACHE_MISS); /* cancels the load */
    drain(f.cache);
    expect_peace(&f);
    assert_int_equal(zcache_done(f.cache, pending_token, -EIO), 0);
    expect_peace(&f);
    assert_int_equal(settled_charge(f.t), 0);

    assert_int_equal(put_page(f.t, TEXT_PAGE, 1, FILL_TEXT, 0), 0);
    assert_int_equal(zcache_flush(f.t, 1), -ETIMEDOUT);
    assert_int_equal(put_page(f.t, TEXT_PAGE, 2, FILL_TEXT, 0), 0);
    drain(f.cache);
    expect_peace(&f);
    assert_int_equal(zcache_done(f.cache, pending_token, 0), 0);
    drain(f.cache);
    expect_peace(&f);
    atomic_fetch_add(&f.t->own.charge, 16); /* nothing explains it any more */
    expect(&f, -EUCLEAN);
    atomic_fetch_sub(&f.t->own.charge, 16);
    teardown(&f);
}

static void a_page_that_is_on_no_list(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    struct zc_entry *e = isolate(f.t, TEXT_PAGE);
    expect_peace(&f); /* with a reclaimer: fine */
    const uint8_t where = atomic_load(&e->where);
    atomic_store(&e->where, (uint8_t)(where & ~(unsigned)ZC_W_ISOLATED));
    expect(&f, -EUCLEAN);
    atomic_store(&e->where, (uint8_t)(where | ZC_W_GONE));
    expect(&f, -EUCLEAN);
    atomic_store(&e->where, where);
    zc_page_putback(f.cache, thread_of(f.cache), e, false);
    expect_peace(&f);
    teardown(&f);
}

static void a_page_on_the_wrong_list(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    struct zc_entry *e = entry_of(f.t, TEXT_PAGE);
    atomic_fetch_xor(&e->where, ZCACHE_TIER_FAST);
    expect(&f, -EUCLEAN);
    atomic_fetch_xor(&e->where, ZCACHE_TIER_FAST);
    expect_peace(&f);
    teardown(&f);
}

static void states_that_cannot_be(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    struct zc_entry *e = entry_of(f.t, TEXT_PAGE);
    const unsigned flags = zc_entry_flags(e);
    const uint64_t word = atomic_load(&e->payload);
    zc_entry_set_flags(e, (flags & ~(unsigned)ZC_F_STATE) | ZC_LOADING);
    expect(&f, -EUCLEAN);
    zc_entry_set_flags(e, (flags & ~(unsigned)ZC_F_STATE) | ZC_DEAD);
    expect(&f, -EUCLEAN);
    zc_entry_set_flags(e, flags);
    atomic_store(&e->payload, 0);
    expect(&f, -EUCLEAN);
    atomic_store(&e->payload, word);
    expect_peace(&f);
    teardown(&f);
}

static void an_entry_of_nobody(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    struct zcache_tenant *gone = open_tenant(zcache_root(f.cache), "gone", MIB);
    assert_int_equal(put_page(gone, TEXT_PAGE, 1, FILL_TEXT, 0), 0);
    atomic_store(&gone->state, ZC_TENANT_CLOSED);
    expect(&f, -EUCLEAN);
    atomic_store(&gone->state, ZC_TENANT_OPEN);
    expect_peace(&f);
    teardown(&f);
}

static void a_wrong_count_of_the_index(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    struct zc_where w = where_of(f.t, TEXT_PAGE);
    w.shard->n_entries++;
    expect(&f, -EUCLEAN);
    w.shard->n_entries--;
    expect_peace(&f);
    teardown(&f);
}

static void without_memory_it_says_so_and_leaves_nothing(void **state)
{
    struct fixture f;
    int rc = -ENOMEM;

    (void)state;
    setup(&f);
    const uint64_t bytes = atomic_load(&f.cache->mem[ZC_MEM_THREAD].bytes);
    for (uint64_t n = 1; rc == -ENOMEM; n++) {
        fail_after(n);
        rc = zc_verify(f.cache, thread_of(f.cache));
        assert_true(rc == 0 || rc == -ENOMEM);
        assert_int_equal(atomic_load(&f.cache->mem[ZC_MEM_THREAD].bytes), bytes);
        assert_true(n > 1 || rc == -ENOMEM);
    }
    fail_after(0);
    expect_peace(&f);
    teardown(&f);
}

/* Nothing is free, and what its counts take is a hundred times a page: one page at a time would not do. */
static void in_a_full_cache_room_is_made_for_all_tenants(void **state)
{
    enum {
        TENANTS = 300
    };
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN ",start_percent=100");
    struct zcache_tenant *root = zcache_root(cache);
    char name[16];

    (void)state;
    for (unsigned i = 0; i < TENANTS; i++) {
        (void)snprintf(name, sizeof(name), "t%u", i);
        assert_int_equal(put_page(open_tenant(root, name, ZCACHE_UNLIMITED), RANDOM_PAGE, 1,
                                  FILL_RANDOM, ZCACHE_DIRTY),
                         0);
    }
    for (uint64_t i = 0; i < 1024; i++) {
        assert_int_equal(put_page(root, key_of(1, i), 1, FILL_RANDOM, ZCACHE_CLEAN), 0);
    }
    const uint64_t prepaid = atomic_exchange(&cache->prepaid, 0);
    const uint64_t rest = use_up(&cache->account);
    assert_int_equal(zcache_verify(cache), 0);
    give_back(&cache->account, rest);
    atomic_fetch_add(&cache->prepaid, prepaid);
    verify_cache(cache);
    drop_cache(cache);
}

/* A capacity that was just lowered is not yet reached, and what verifying needs is the least of what is to be freed. */
static void above_a_lowered_capacity_it_gets_below_it_first(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN ",start_percent=100");
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;

    (void)state;
    for (uint64_t i = 0; i < 2048; i++) {
        assert_int_equal(put_page(root, key_of(1, i), 1, FILL_RANDOM, ZCACHE_CLEAN), 0);
    }
    const uint64_t prepaid = atomic_exchange(&cache->prepaid, 0);
    zc_shrinker_pause(cache);
    limits.limit_bytes = charge_of(root) - 4 * MIB;
    assert_int_equal(zcache_tenant_set_limits(root, &limits, 0, NULL), 0);
    assert_true(charge_of(root) > limits.limit_bytes);
    assert_int_equal(zcache_verify(cache), 0);
    assert_true(charge_of(root) <= limits.limit_bytes);
    zc_shrinker_resume(cache);
    atomic_fetch_add(&cache->prepaid, prepaid);
    drop_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changed_bytes),
        cmocka_unit_test(a_wrong_count_of_the_tenant),
        cmocka_unit_test(a_wrong_sum_of_a_list),
        cmocka_unit_test(a_wrong_charge),
        cmocka_unit_test(a_replaced_frame_that_is_pinned_may_be_charged),
        cmocka_unit_test(what_the_store_has_in_hand_may_be_charged),
        cmocka_unit_test(a_page_that_is_on_no_list),
        cmocka_unit_test(a_page_on_the_wrong_list),
        cmocka_unit_test(states_that_cannot_be),
        cmocka_unit_test(an_entry_of_nobody),
        cmocka_unit_test(a_wrong_count_of_the_index),
        cmocka_unit_test(without_memory_it_says_so_and_leaves_nothing),
        cmocka_unit_test(in_a_full_cache_room_is_made_for_all_tenants),
        cmocka_unit_test(above_a_lowered_capacity_it_gets_below_it_first),
    };

    (void)test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("verify", tests, NULL, NULL);
}
