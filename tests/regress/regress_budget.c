/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What broke where reclaim counts what it may still look at, or still has to free: it looked at pages
 * again that it had just passed by, never ended when a list got empty or went on growing under it,
 * wrote much more than was asked for while the store was busy, and wrapped below zero.
 */
#include <errno.h>
#include <string.h>

#include "reclaim.h"
#include "script.h"
#include "sync_point.h"
#include "tier.h"
#include "unit/inside.h"

#define KEY(page)  key_of(1, page)
#define PAGE_BYTES (zc_page_bytes(PAGE, ZC_CODEC_NONE) + zc_pool_round(sizeof(struct zc_entry)))

struct fixture {
    struct mem_store *store; /* NULL: none */
    struct zcache *cache;
    struct zcache_tenant *root;
    struct zcache_tenant *t;
};

static struct fixture setup(struct mem_store *store, const char *options)
{
    struct fixture f = {.store = store};

    f.cache =
        store == NULL ? open_cache(16 * MIB, NULL, options) : open_stored(16 * MIB, store, options);
    f.root = zcache_root(f.cache);
    f.t = open_tenant(f.root, "t", ZCACHE_UNLIMITED);
    return f;
}

static void teardown(struct fixture *f)
{
    drop_cache(f->cache);
    if (f->store != NULL) {
        mem_store_free(f->store);
    }
}

static void put_pages(struct zcache_tenant *t, uint64_t first, uint64_t n, unsigned flags)
{
    for (uint64_t i = first; i < first + n; i++) {
        REQUIRE_EQUAL(put_page(t, KEY(i), 1, FILL_TEXT, flags), 0);
    }
}

static uint64_t cached_of(struct zcache_tenant *t, uint64_t first, uint64_t n)
{
    uint64_t found = 0;

    for (uint64_t i = first; i < first + n; i++) {
        found += is_cached(t, KEY(i)) ? 1 : 0;
    }
    return found;
}

/* One pass over a tenant, until @want bytes are freed. */
struct pass {
    struct fixture *f;
    unsigned mode;
    uint64_t want;
    uint64_t freed;
    uint64_t tried;
};

static void run_pass(void *arg)
{
    struct pass *p = arg;
    struct zc_reclaim r =
        zc_reclaim_begin(p->f->cache, thread_of(p->f->cache), NULL, p->mode, deadline_in(60000));

    p->freed = zc_reclaim_tenant(&r, p->f->t, p->want);
    p->freed += zc_reclaim_end(&r, deadline_in(60000));
    p->tried = r.tried;
}

/* ---------------------------------------------------------------------------------------------- */
/* A look for each page. */

/* More was asked for than there is; each page gave its mark for this look, and none is taken. */
static void a_pass_takes_no_page_whose_mark_it_took(void **state)
{
    struct fixture f = setup(NULL, PLAIN ",start_percent=100,policy=lru");
    struct pass p = {.f = &f, .want = MIB};

    (void)state;
    put_pages(f.t, 0, 5, ZCACHE_CLEAN);
    for (uint64_t i = 0; i < 5; i++) {
        reference(f.t, KEY(i));
    }
    run_pass(&p);
    assert_int_equal(p.freed, 0);
    assert_int_equal(p.tried, 0);
    assert_int_equal(cached_of(f.t, 0, 5), 5);
    for (uint64_t i = 0; i < 5; i++) {
        assert_int_equal(atomic_load(&entry_of(f.t, KEY(i))->referenced), 0);
    }
    run_pass(&p);
    assert_int_equal(p.tried, 5);
    assert_int_equal(cached_of(f.t, 0, 5), 0);
    teardown(&f);
}

/* Pages of other lists do not add to the looks of this one: what was used stays, what was not goes. */
static void nor_because_another_list_is_long(void **state)
{
    struct fixture f = setup(
        NULL, "start_percent=100,raw_percent=100,fast_percent=100,fast=lz4,dense=none,policy=lru");
    struct pass p = {.f = &f, .want = 1};

    (void)state;
    put_pages(f.t, 0, 40, ZCACHE_CLEAN);
    for (uint64_t i = 0; i < 8; i++) {
        struct zc_entry *e = isolate(f.t, KEY(i));
        uint64_t freed;

        assert_int_equal(zc_tier_demote(f.cache, thread_of(f.cache), e, ZCACHE_TIER_FAST, &freed),
                         ZC_TIER_MOVED);
        zc_page_putback(f.cache, thread_of(f.cache), e, true);
        reference(f.t, KEY(i));
    }
    run_pass(&p);
    assert_true(p.freed > 0);
    assert_int_equal(cached_of(f.t, 0, 8), 8);
    assert_true(cached_of(f.t, 8, 32) < 32);
    teardown(&f);
}

/* The list is emptied between the count of its pages and the first look. */
static void delete_all(struct zcache_tenant *t, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        REQUIRE_EQUAL(zcache_delete(t, KEY(i), 0), 0);
    }
}

static void a_pass_over_a_list_that_got_empty_ends(void **state)
{
    struct fixture f = setup(NULL, PLAIN ",start_percent=100");
    struct pass p = {.f = &f, .want = MIB};
    struct script_thread passing;

    (void)state;
    put_pages(f.t, 0, 64, ZCACHE_CLEAN);
    script_begin();
    script_hold_any("reclaim.budgeted");
    script_start(&passing, run_pass, &p);
    script_await("reclaim.budgeted");
    delete_all(f.t, 64);
    script_release("reclaim.budgeted");
    WAIT_UNTIL(!script_running(&passing), 10000);
    script_join(&passing);
    script_end();
    assert_int_equal(p.tried, 0);
    teardown(&f);
}

/* Others put pages all the time, and none of them can leave: the pass ends with what it began with. */
static struct {
    struct zcache_tenant *t;
    uint64_t next;
} flood;

static void put_more(void *ctx, const char *point, struct zcache_key key)
{
    (void)ctx;
    (void)key;
    if (strcmp(point, "reclaim.isolated") == 0 && flood.next < 2000) {
        put_pages(flood.t, flood.next, 8, ZCACHE_DIRTY);
        flood.next += 8;
    }
}

static void a_pass_over_a_list_that_grows_ends(void **state)
{
    struct fixture f = setup(NULL, PLAIN ",start_percent=100");
    struct pass p = {.f = &f, .want = MIB, .mode = ZC_RECLAIM_FORCE};

    (void)state;
    flood.t = f.t;
    flood.next = 64;
    put_pages(f.t, 0, flood.next, ZCACHE_DIRTY);
    zc_sync_point_listen(put_more, NULL);
    run_pass(&p);
    zc_sync_point_listen(NULL, NULL);
    assert_int_equal(p.freed, 0);
    assert_int_equal(p.tried, 64);
    assert_true(flood.next > 64);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Writes that are under way. */

/* What the store has been handed will be freed: it counts as if it were, while the store is busy. */
static void no_more_is_written_than_was_asked_for(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct fixture f;
    struct script_thread passing;

    (void)state;
    store->group_shift = 0;
    f = setup(store, PLAIN ",start_percent=100");
    struct pass p = {.f = &f, .want = 8 * PAGE_BYTES, .mode = ZC_RECLAIM_WRITE};
    put_pages(f.t, 0, 512, 0);
    mem_store_hold(store, ZCACHE_IO_WRITE);
    script_begin();
    script_start(&passing, run_pass, &p);
    WAIT_UNTIL(script_reached("reclaim.handed") > 0 ||
                   mem_store_held(store, ZCACHE_IO_WRITE) == ZC_WRITES_OUT,
               20000);
    const unsigned pages = atomic_load(&store->pages[ZCACHE_IO_WRITE]);
    mem_store_open(store, ZCACHE_IO_WRITE);
    script_join(&passing);
    script_end();
    assert_true(pages >= 8 && pages <= 8 + 4);
    assert_int_equal(atomic_load(&store->pages[ZCACHE_IO_WRITE]), pages);
    assert_true(p.freed >= p.want);
    teardown(&f);
}

/* One page at a time, each waited for, is as slow as the store: writes are of neighbours together, */
static void neighbours_are_written_together(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct fixture f = setup(store, PLAIN ",start_percent=100");
    struct pass p = {.f = &f, .want = 64 * PAGE, .mode = ZC_RECLAIM_WRITE};

    (void)state;
    for (uint64_t i = 0; i < 128;
         i++) { /* in an order in which no two neighbours follow each other */
        assert_int_equal(put_page(f.t, KEY(i * 37 % 128), 1, FILL_TEXT, 0), 0);
    }
    run_pass(&p);
    assert_true(p.freed >= p.want);
    assert_int_equal(atomic_load(&store->largest_write), 16);
    assert_true(atomic_load(&store->batches[ZCACHE_IO_WRITE]) <= 128 / 16);
    teardown(&f);
}

/* and the next one is handed over while the first is out. */
static void several_writes_are_out_at_a_time(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct fixture f;
    struct script_thread passing;

    (void)state;
    store->group_shift = 0;
    f = setup(store, PLAIN ",start_percent=100");
    struct pass p = {.f = &f, .want = 4 * PAGE_BYTES, .mode = ZC_RECLAIM_WRITE};
    put_pages(f.t, 0, 64, 0);
    mem_store_hold(store, ZCACHE_IO_WRITE);
    script_begin();
    script_start(&passing, run_pass, &p);
    WAIT_UNTIL(mem_store_held(store, ZCACHE_IO_WRITE) >= 4, 10000);
    assert_true(script_running(&passing));
    mem_store_open(store, ZCACHE_IO_WRITE);
    script_join(&passing);
    script_end();
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Sums at their ends. */

static void a_request_for_everything_is_not_one_for_nothing(void **state)
{
    static const uint64_t wants[] = {UINT64_MAX, UINT64_MAX - 1, UINT64_MAX / 2 + 1};

    (void)state;
    for (unsigned i = 0; i < ZC_ARRAY_SIZE(wants); i++) {
        struct fixture f = setup(NULL, PLAIN ",start_percent=100");
        struct zcache_shrink_result result;

        put_pages(f.t, 0, 16, ZCACHE_CLEAN);
        assert_int_equal(zcache_shrink(f.t, wants[i], 10000, &result), -EAGAIN);
        assert_int_equal(result.evicted_pages, 16);
        assert_int_equal(result.remaining_bytes, wants[i] - result.freed_bytes);
        assert_int_equal(settled_charge(f.t), 0);
        teardown(&f);
    }
}

/* A reserve above the charge leaves nothing to take. */
static void a_reserve_above_the_charge_is_left_alone(void **state)
{
    struct fixture f = setup(NULL, PLAIN ",start_percent=100");
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;
    struct pass p = {.f = &f, .want = MIB, .mode = ZC_RECLAIM_RESERVES | ZC_RECLAIM_FORCE};

    (void)state;
    limits.reserve_bytes = 4 * MIB;
    assert_int_equal(zcache_tenant_set_limits(f.t, &limits, 0, NULL), 0);
    put_pages(f.t, 0, 16, ZCACHE_CLEAN);
    assert_int_equal(zc_tenant_spare(f.t), 0);
    run_pass(&p);
    assert_int_equal(p.freed, 0);
    assert_int_equal(cached_of(f.t, 0, 16), 16);
    teardown(&f);
}

static void put_one(void *arg)
{
    struct pass *p = arg;

    REQUIRE_EQUAL(put_page(p->f->t, KEY(1000), 1, FILL_TEXT, ZCACHE_CLEAN), -EDQUOT);
}

/* A charge above a limit that was lowered leaves no room; it does not wrap round to plenty of it. */
static void a_charge_above_the_limit_is_no_room(void **state)
{
    struct fixture f = setup(NULL, PLAIN ",start_percent=100,max_stall_ms=60000");
    struct pass p = {.f = &f};
    struct script_thread putting;
    struct zcache_pin pin[64];

    (void)state;
    put_pages(f.t, 0, 64, ZCACHE_CLEAN);
    for (unsigned i = 0; i < 64; i++) {
        assert_int_equal(zcache_pin(f.t, KEY(i), 0, &pin[i]), 0);
    }
    drain(f.cache);
    assert_int_equal(set_limit(f.t, 128 * KIB, 0), 0);
    assert_true(charge_of(f.t) > 128 * KIB);
    script_start(&putting, put_one, &p);
    WAIT_UNTIL(!script_running(&putting), 20000);
    script_join(&putting);
    for (unsigned i = 0; i < 64; i++) {
        zcache_unpin(&pin[i]);
    }
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Where there is no room for a smaller form. */

/* Takes what is left below the root's limit.  To encode needs scratch memory, which is there before. */
static uint64_t take_rest(struct fixture *f)
{
    uint64_t rest;

    REQUIRE(zc_thread_scratch(thread_of(f->cache)) != NULL);
    zc_quota_call_in(f->root->account);
    rest = zc_quota_limit(f->root->account) - zc_quota_charge(f->root->account);
    REQUIRE(zc_quota_reserve(f->t->account, rest, ZC_QUOTA_RECLAIM) == NULL);
    return rest;
}

/* One page finds that out, the others are not encoded in vain: pages leave, which needs no room. */
static void without_room_for_new_forms_pages_leave(void **state)
{
    struct fixture f = setup(NULL, "start_percent=100,raw_percent=25,fast=lz4,dense=none");
    struct pass p = {.f = &f, .want = 8 * PAGE_BYTES};

    (void)state;
    put_pages(f.t, 0, 400, ZCACHE_CLEAN);
    const uint64_t rest = take_rest(&f);
    script_begin();
    run_pass(&p);
    assert_int_equal(script_reached("tier.encoded"), 1);
    script_end();
    assert_true(p.freed >= p.want);
    zc_quota_refund(f.t->account, rest);
    teardown(&f);
}

/* But where none may leave, each is tried: some may be much smaller than the first. */
static void without_room_each_is_tried_if_none_may_leave(void **state)
{
    struct fixture f = setup(NULL, "start_percent=100,raw_percent=25,fast=lz4,dense=none");
    struct pass p = {.f = &f, .mode = ZC_RECLAIM_FORCE, .want = 8 * PAGE_BYTES};

    (void)state;
    put_pages(f.t, 0, 40, ZCACHE_DIRTY);
    const uint64_t rest = take_rest(&f);
    script_begin();
    run_pass(&p);
    assert_int_equal(script_reached("tier.encoded"), 40);
    script_end();
    assert_int_equal(p.freed, 0);
    zc_quota_refund(f.t->account, rest);
    teardown(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pass_takes_no_page_whose_mark_it_took),
        cmocka_unit_test(nor_because_another_list_is_long),
        cmocka_unit_test(a_pass_over_a_list_that_got_empty_ends),
        cmocka_unit_test(a_pass_over_a_list_that_grows_ends),
        cmocka_unit_test(no_more_is_written_than_was_asked_for),
        cmocka_unit_test(neighbours_are_written_together),
        cmocka_unit_test(several_writes_are_out_at_a_time),
        cmocka_unit_test(a_request_for_everything_is_not_one_for_nothing),
        cmocka_unit_test(a_reserve_above_the_charge_is_left_alone),
        cmocka_unit_test(a_charge_above_the_limit_is_no_room),
        cmocka_unit_test(without_room_for_new_forms_pages_leave),
        cmocka_unit_test(without_room_each_is_tried_if_none_may_leave),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
