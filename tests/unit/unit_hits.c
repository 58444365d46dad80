/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hits: a repeated hit takes no lock, allocates nothing, and a raw one leaves the page's record as it
 * was, so that readers of one page share no line that anyone writes.
 *
 * Only this thread's locks and allocations are counted.  Those of the pools are compared as a whole,
 * which works because the shrinker has nothing to do here.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "api/support.h"
#include "assertion.h"
#include "core.h"
#include "tenant.h"
#include "tier.h"

#define REPEATS 1000
#define WARM_UP 200 /* a timed call makes the histograms, a decode its context: once for a thread */

/* ---------------------------------------------------------------------------------------------- */
/* What this thread asks of malloc; the linker leads the library's calls here, by these names. */
/* NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming) */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *ptr, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *ptr, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);

static _Thread_local uint64_t n_mallocs;

void *__wrap_malloc(size_t size)
{
    n_mallocs++;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    n_mallocs++;
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *ptr, size_t size)
{
    n_mallocs++;
    return __real_realloc(ptr, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
    n_mallocs++;
    return __real_aligned_alloc(align, size);
}

/* NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming) */

/* ---------------------------------------------------------------------------------------------- */
/* A cache with one page, in the form that the options give it. */

struct fixture {
    struct zcache *cache;
    struct zcache_tenant *root;
    struct zcache_key key;
    struct zc_entry *entry;
    unsigned char page[PAGE];
    unsigned char got[PAGE];
};

static struct zc_entry *entry_of(struct fixture *f)
{
    const uint32_t slot = f->root->slot;
    struct zc_thread *th = zc_core_thread(f->cache);
    struct zc_entry *e;

    assert_non_null(th);
    zc_epoch_enter(th->epoch);
    e = zc_index_find(f->cache->index, zc_index_hash(slot, f->key), slot, f->key);
    zc_epoch_exit(th->epoch);
    return e;
}

/* The codec instance of the page's payload; 0 is raw. */
static uint8_t form_of(struct fixture *f)
{
    return zc_payload_codec(zc_word_payload(atomic_load(&f->entry->payload)));
}

static void make_dense(struct fixture *f)
{
    struct zc_lru *lru = zc_tenant_lru(f->cache, f->entry);
    struct zc_thread *th = zc_core_thread(f->cache);
    const unsigned from = zc_lru_list(zc_lru_queue(f->entry), zc_entry_tier(f->entry));
    uint64_t budget = 1;
    uint64_t freed = 0;
    struct zc_entry *e;

    assert_int_equal(zc_lru_isolate(lru, from, 0, &budget, &e, 1), 1);
    assert_ptr_equal(e, f->entry);
    assert_int_equal(zc_tier_demote(f->cache, th, e, ZCACHE_TIER_DENSE, &freed), ZC_TIER_MOVED);
    zc_lru_putback(lru, e, true);
    assert_false(zc_entry_unref(e));
    zc_epoch_drain(th->epoch);
}

static void setup(struct fixture *f, enum zcache_tier tier)
{
    static const char *const options[ZCACHE_TIERS] = {
        "raw_percent=100,fast_percent=100,start_percent=100",
        "raw_percent=0,fast_percent=100,start_percent=100",
        "raw_percent=0,fast_percent=100,start_percent=100",
    };

    memset(f, 0, sizeof(*f));
    f->cache = open_cache(64 * MIB, NULL, options[tier]);
    f->root = zcache_root(f->cache);
    f->key = key_of(1, 1);
    page_make(f->page, PAGE, f->key, 1, FILL_TEXT);
    assert_int_equal(zcache_put(f->root, f->key, f->page, PAGE, ZCACHE_CLEAN), 0);
    f->entry = entry_of(f);
    assert_non_null(f->entry);
    if (tier == ZCACHE_TIER_DENSE) {
        make_dense(f);
    }
    assert_int_equal(form_of(f),
                     tier == ZCACHE_TIER_RAW ? ZC_CODEC_NONE : atomic_load(&f->cache->codec[tier]));
}

static void teardown(struct fixture *f)
{
    assert_ptr_equal(entry_of(f), f->entry);
    drop_cache(f->cache);
}

/* ---------------------------------------------------------------------------------------------- */
/* What must not change. */

struct costs {
    uint64_t n_locks;
    uint64_t n_mallocs;
    uint64_t allocated;
    uint64_t mapped;
    uint64_t charge;
    uint64_t metadata;
};

static struct costs costs_of(struct fixture *f)
{
    struct costs costs = {zc_lock_count(), n_mallocs, 0, 0, 0, 0};

    for (unsigned i = 0; i < f->cache->topo.n_nodes; i++) {
        struct zc_pool_usage usage;

        zc_pool_usage(f->cache->pool[i], &usage);
        costs.allocated += usage.allocated;
        costs.mapped += usage.mapped;
    }
    for (int kind = 0; kind < ZC_MEM_KINDS; kind++) {
        costs.metadata += atomic_load(&f->cache->mem[kind].bytes);
    }
    costs.charge = zc_quota_used(f->root->account);
    costs.n_locks = zc_lock_count();
    return costs;
}

static void expect_no_costs(struct fixture *f, const struct costs *before)
{
    const uint64_t n_locks = zc_lock_count(); /* before anything here takes one */
    const uint64_t mallocs = n_mallocs;
    const struct costs after = costs_of(f);

    assert_int_equal(n_locks, before->n_locks);
    assert_int_equal(mallocs, before->n_mallocs);
    assert_int_equal(after.allocated, before->allocated);
    assert_int_equal(after.mapped, before->mapped);
    assert_int_equal(after.charge, before->charge);
    assert_int_equal(after.metadata, before->metadata);
}

static void get_often(struct fixture *f, unsigned n, unsigned flags)
{
    for (unsigned i = 0; i < n; i++) {
        size_t len = 0;

        if (zcache_get(f->root, f->key, f->got, PAGE, &len, flags) != 0 || len != PAGE) {
            fail_msg("get %u", i);
        }
    }
    assert_memory_equal(f->got, f->page, PAGE);
}

static void pin_often(struct fixture *f, unsigned n, unsigned flags)
{
    for (unsigned i = 0; i < n; i++) {
        struct zcache_pin pin;

        if (zcache_pin(f->root, f->key, flags, &pin) != 0 || pin.len != PAGE) {
            fail_msg("pin %u", i);
        }
        zcache_unpin(&pin);
    }
}

static void hits_cost_nothing(enum zcache_tier tier, unsigned flags)
{
    struct costs before;
    struct fixture f;
    uint8_t form;

    setup(&f, tier);
    form = form_of(&f);
    get_often(&f, WARM_UP, flags);
    before = costs_of(&f);
    get_often(&f, REPEATS, flags);
    expect_no_costs(&f, &before);
    assert_int_equal(form_of(&f), form);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */

/* The other tests prove nothing unless this is so. */
static void what_is_counted_is_seen(void **state)
{
    struct costs before;
    struct costs after;
    struct fixture f;
    void *volatile ptr;

    (void)state;
#ifndef ZCACHE_TEST_HOOKS
    skip();
#endif
    setup(&f, ZCACHE_TIER_RAW);
    before = costs_of(&f);
    assert_int_equal(zcache_put(f.root, key_of(1, 2), f.page, PAGE, ZCACHE_CLEAN), 0);
    ptr = malloc(100);
    after = costs_of(&f);
    assert_true(after.n_locks > before.n_locks);
    assert_int_equal(after.n_mallocs, before.n_mallocs + 1);
    assert_true(after.allocated >= before.allocated + PAGE);
    assert_true(after.charge > before.charge);
    free(ptr);
    teardown(&f);
}

static void a_raw_hit_takes_no_lock_and_no_memory(void **state)
{
    (void)state;
    hits_cost_nothing(ZCACHE_TIER_RAW, 0);
    hits_cost_nothing(ZCACHE_TIER_RAW, ZCACHE_PEEK);
    hits_cost_nothing(ZCACHE_TIER_RAW, ZCACHE_SCAN);
}

static void a_fast_hit_takes_no_lock_and_no_memory(void **state)
{
    (void)state;
    hits_cost_nothing(ZCACHE_TIER_FAST, ZCACHE_PEEK);
}

static void a_dense_hit_takes_no_lock_and_no_memory(void **state)
{
    (void)state;
    hits_cost_nothing(ZCACHE_TIER_DENSE, ZCACHE_PEEK);
}

static void a_look_without_a_copy_takes_none_either(void **state)
{
    struct costs before;
    struct fixture f;
    size_t len;

    (void)state;
    setup(&f, ZCACHE_TIER_FAST);
    get_often(&f, WARM_UP, ZCACHE_PEEK);
    before = costs_of(&f);
    for (int i = 0; i < REPEATS; i++) {
        assert_int_equal(zcache_get(f.root, f.key, NULL, 0, &len, 0), 0);
    }
    expect_no_costs(&f, &before);
    teardown(&f);
}

static void a_pin_takes_no_lock_and_no_memory(void **state)
{
    struct costs before;
    struct fixture f;

    (void)state;
    setup(&f, ZCACHE_TIER_RAW);
    pin_often(&f, WARM_UP, 0);
    before = costs_of(&f);
    pin_often(&f, REPEATS, 0);
    pin_often(&f, REPEATS, ZCACHE_PEEK);
    expect_no_costs(&f, &before);
    teardown(&f);
}

/* Of the record, and of the payload's head, which lie where other threads read. */
static void a_repeated_raw_hit_changes_no_byte_of_the_page(void **state)
{
    struct zc_payload *payload;
    unsigned char entry[sizeof(struct zc_entry)];
    unsigned char frame[sizeof(struct zc_frame)];
    struct fixture f;

    (void)state;
    setup(&f, ZCACHE_TIER_RAW);
    get_often(&f, 3, 0);
    pin_often(&f, 1, 0); /* notes that it has verified the bytes */
    assert_int_equal(atomic_load(&f.entry->referenced), 3); /* as often as it is counted */
    payload = zc_word_payload(atomic_load(&f.entry->payload));
    memcpy(entry, f.entry, sizeof(entry));
    memcpy(frame, payload, sizeof(frame));
    for (int i = 0; i < REPEATS; i++) {
        get_often(&f, 1, i % 2 == 0 ? 0 : ZCACHE_PEEK);
        assert_memory_equal(f.entry, entry, sizeof(entry));
        assert_memory_equal(payload, frame, sizeof(frame));
    }
    pin_often(&f, 10, 0); /* writes the pins, and puts them back */
    assert_memory_equal(f.entry, entry, sizeof(entry));
    assert_memory_equal(payload, frame, sizeof(frame));
    teardown(&f);
}

static void a_peek_leaves_no_mark(void **state)
{
    unsigned char entry[sizeof(struct zc_entry)];

    (void)state;
    for (int tier = 0; tier < ZCACHE_TIERS; tier++) {
        struct fixture f;

        setup(&f, (enum zcache_tier)tier);
        memcpy(entry, f.entry, sizeof(entry));
        get_often(&f, REPEATS, ZCACHE_PEEK);
        assert_memory_equal(f.entry, entry, sizeof(entry));
        assert_int_equal(atomic_load(&f.entry->referenced), 0);
        teardown(&f);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_counted_is_seen),
        cmocka_unit_test(a_raw_hit_takes_no_lock_and_no_memory),
        cmocka_unit_test(a_fast_hit_takes_no_lock_and_no_memory),
        cmocka_unit_test(a_dense_hit_takes_no_lock_and_no_memory),
        cmocka_unit_test(a_look_without_a_copy_takes_none_either),
        cmocka_unit_test(a_pin_takes_no_lock_and_no_memory),
        cmocka_unit_test(a_repeated_raw_hit_changes_no_byte_of_the_page),
        cmocka_unit_test(a_peek_leaves_no_mark),
    };

    (void)test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("hits", tests, NULL, NULL);
}
