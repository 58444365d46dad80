/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reclaim: what is over its share, which pages go first, what is told about the others, and what a
 * reservation gets that meets a limit.
 */
#include <errno.h>
#include <stdio.h>

#include "batch.h"
#include "inside.h"
#include "mathx.h"
#include "reclaim.h"
#include "shrinker.h"
#include "tier.h"

#define KEY(page) key_of(1, page)

static struct {
    int result;
    uint64_t token[64];
    unsigned n;
} store;

static int take(void *ctx, struct zcache_io *io)
{
    (void)ctx;
    REQUIRE(store.n < ZC_ARRAY_SIZE(store.token));
    store.token[store.n++] = io->token;
    return store.result;
}

struct fixture {
    struct zcache *cache;
    struct zcache_tenant *t;
    struct zcache_tenant *other;
    struct zc_thread *th;
};

static void setup(struct fixture *f, const char *options)
{
    struct zcache_store cb = ZCACHE_STORE_INIT;

    store.n = 0;
    store.result = 0;
    cb.write = take;
    cb.group_shift = 0;
    f->cache = open_cache(16 * MIB, &cb, options);
    f->t = open_tenant(zcache_root(f->cache), "t", MIB);
    f->other = open_tenant(zcache_root(f->cache), "other", MIB);
    f->th = thread_of(f->cache);
}

static void teardown(struct fixture *f)
{
    drop_cache(f->cache);
}

static void put_n(struct zcache_tenant *t, uint64_t n, unsigned flags)
{
    for (uint64_t i = 0; i < n; i++) {
        REQUIRE_EQUAL(put_page(t, KEY(i), 1, FILL_TEXT, flags), 0);
    }
    drain(t->cache);
}

static uint64_t page_bytes(void)
{
    return zc_page_bytes(PAGE, ZC_CODEC_NONE) + zc_pool_round(sizeof(struct zc_entry));
}

static struct zc_reclaim begin(struct fixture *f, unsigned mode)
{
    return zc_reclaim_begin(f->cache, f->th, f->t, mode, deadline_in(5000));
}

static uint64_t count(const struct zcache_tenant *t, enum zc_counter c)
{
    return zc_stat_read(t->stat, c);
}

/* ---------------------------------------------------------------------------------------------- */
/* Shares. */

static void the_surplus_is_what_is_above_the_share(void **state)
{
    const uint64_t raw = zc_page_bytes(PAGE, ZC_CODEC_NONE);
    struct fixture f;
    uint64_t freed;

    (void)state;
    setup(&f, "raw_percent=25,fast_percent=50,start_percent=100");
    assert_int_equal(zc_reclaim_surplus(f.t), 0);
    put_n(f.t, 8, ZCACHE_CLEAN);
    assert_int_equal(zc_reclaim_surplus(f.t), 6 * raw);
    struct zc_entry *e = isolate(f.t, KEY(0));
    assert_int_equal(zc_reclaim_surplus(f.t), 6 * raw); /* isolated pages count */
    assert_int_equal(zc_tier_demote(f.cache, f.th, e, ZCACHE_TIER_FAST, &freed), ZC_TIER_MOVED);
    zc_page_putback(f.cache, f.th, e, true);
    assert_int_equal(zc_reclaim_surplus(f.t), 7 * raw - (8 * raw - freed) / 4);
    assert_int_equal(zc_reclaim_surplus(f.other), 0);
    teardown(&f);
    setup(&f, PLAIN ",raw_percent=0");
    put_n(f.t, 8, ZCACHE_CLEAN);
    assert_int_equal(zc_reclaim_surplus(f.t), 0); /* there is nowhere to go */
    teardown(&f);
}

static void work_ahead_of_need_demotes_the_surplus_only(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, "start_percent=100,raw_percent=10,fast_percent=10");
    put_n(f.t, 80, ZCACHE_CLEAN);
    const uint64_t before = zc_quota_used(f.t->account);
    struct zc_reclaim r = begin(&f, ZC_RECLAIM_DEMOTE_ONLY);
    uint64_t freed = 0;
    for (uint64_t one = 1; one > 0; freed += one) { /* small helpings */
        one = zc_reclaim_tenant(&r, f.t, 1000);
    }
    assert_int_equal(zc_reclaim_end(&r, PAST), 0);
    assert_int_equal(before - settled_charge(f.t), freed);
    assert_int_equal(atomic_load(&f.t->n_pages), 80);
    assert_true(r.got.demoted_pages > 0);
    assert_int_equal(zc_reclaim_surplus(f.t), 0);
    const struct zcache_stats s = stats_of(f.t);
    assert_true(s.tier[ZCACHE_TIER_RAW].pages > 0 && s.tier[ZCACHE_TIER_DENSE].pages > 0);
    assert_int_equal(r.got.evicted_pages, 0);
    assert_true(r.tried >= r.got.demoted_pages);
    teardown(&f);
}

/* Probation has far more than its share, and raw too: nothing leaves while something can get smaller. */
static void what_is_over_its_share_gets_smaller_before_anything_leaves(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, "raw_percent=25,fast_percent=50,start_percent=100");
    put_n(f.t, 80, ZCACHE_CLEAN);
    atomic_store(&f.t->ghost.share, ZC_GHOST_SHARE_MIN);
    struct zc_lru_view view;
    zc_tenant_view(f.t, &view);
    REQUIRE(zc_lru_queue_pages(&view, ZC_QUEUE_NEW) > 80 / 16);
    struct zc_reclaim r = begin(&f, 0);
    while (zc_reclaim_surplus(f.t) > 0) {
        REQUIRE(zc_reclaim_tenant(&r, f.t, 1) > 0);
        assert_int_equal(r.got.evicted_pages, 0);
    }
    assert_true(r.got.demoted_pages > 0);
    assert_true(zc_reclaim_tenant(&r, f.t, 1) > 0);
    (void)zc_reclaim_end(&r, PAST);
    assert_true(r.got.evicted_pages > 0);
    teardown(&f);
}

/* Where nothing may be fast, a raw page is not compressed twice. */
static void what_cannot_stay_fast_becomes_dense_at_once(void **state)
{
    struct fixture f;

    (void)state;
    for (unsigned fast = 0; fast <= 20; fast += 20) {
        char options[64];

        (void)snprintf(options, sizeof(options), "raw_percent=10,fast_percent=%u,start_percent=100",
                       fast);
        setup(&f, options);
        put_n(f.t, 80, ZCACHE_CLEAN);
        struct zc_reclaim r = begin(&f, ZC_RECLAIM_DEMOTE_ONLY);
        (void)zc_reclaim_tenant(&r, f.t, MIB);
        (void)zc_reclaim_end(&r, PAST);
        const struct zcache_stats s = stats_of(f.t);
        assert_true(s.tier[ZCACHE_TIER_DENSE].pages > 40);
        assert_true((s.tier[ZCACHE_TIER_FAST].demotions > 0) == (fast > 0));
        assert_true((s.tier[ZCACHE_TIER_FAST].pages > 0) == (fast > 0));
        teardown(&f);
    }
}

/*
 * Half of the pages are gone, evenly from all slabs, and the pools may not grow: what gets smaller finds room
 * once the rest is moved together.
 */
static void room_is_made_for_smaller_forms(void **state)
{
    const uint64_t n = 3000;
    struct zc_pool_bound *bound;
    struct fixture f;

    (void)state;
    setup(&f, "raw_percent=0,fast_percent=100,start_percent=100,background_percent=100,keep=0");
    bound = &f.cache->bound;
    f.cache->opt.raw_percent = 100; /* the first puts stay raw */
    atomic_store(&f.t->own.limit, 15 * MIB);
    zc_shrinker_pause(f.cache); /* it would do it by itself */
    put_n(f.t, n, ZCACHE_CLEAN);
    for (uint64_t i = 0; i < n; i += 2) {
        assert_int_equal(zcache_delete(f.t, KEY(i), 0), 0);
    }
    drain(f.cache);
    f.cache->opt.raw_percent = 0;
    atomic_store(&bound->max, atomic_load(&bound->resident));
    atomic_store(&f.cache->compact_ns, UINT64_MAX); /* that it is not time yet is for idle hours */
    struct zc_reclaim r = begin(&f, ZC_RECLAIM_DEMOTE_ONLY);
    uint64_t refused = 8;
    /* For a while it moves pages, a slice at a time, then it is our turn. */
    while (zc_reclaim_tenant(&r, f.t, 15 * MIB) == 0) {
        REQUIRE(f.cache->compact_promised > 0);
        refused++;
    }
    (void)zc_reclaim_end(&r, PAST);
    /* All but those that were refused. */
    assert_in_range(r.got.demoted_pages, n / 2 - refused, n / 2);
    assert_true(atomic_load(&bound->resident) <= atomic_load(&bound->max));
    zc_core_bound(f.cache);
    zc_shrinker_resume(f.cache);
    teardown(&f);
}

static void a_reserve_is_left_to_its_tenant(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    put_n(f.t, 20, ZCACHE_CLEAN);
    atomic_store(&f.t->reserve_bytes, zc_quota_used(f.t->account));
    struct zc_reclaim r = begin(&f, ZC_RECLAIM_FORCE | ZC_RECLAIM_RESERVES);
    assert_int_equal(zc_reclaim_tenant(&r, f.t, MIB), 0);
    /* It is kept from others, not from its owner. */
    assert_true(zc_reclaim_subtree(&r, f.cache->root, f.t, page_bytes()) >= page_bytes());
    atomic_store(&f.t->reserve_bytes, 0);
    assert_true(zc_reclaim_tenant(&r, f.t, MIB) > 0);
    (void)zc_reclaim_end(&r, PAST);
    assert_int_equal(atomic_load(&f.t->n_pages), 0);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Eviction. */

static void the_oldest_go_first_and_no_more_than_asked(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    put_n(f.t, 40, ZCACHE_CLEAN);
    const uint64_t before = zc_quota_used(f.t->account);
    struct zc_reclaim r = begin(&f, 0);
    const uint64_t freed = zc_reclaim_tenant(&r, f.t, 10 * page_bytes());
    (void)zc_reclaim_end(&r, PAST);
    assert_int_equal(before - settled_charge(f.t), freed);
    assert_int_equal(freed, r.got.evicted_pages * page_bytes());
    assert_in_range(r.got.evicted_pages, 10, 15);
    if (f.cache->topo.n_nodes == 1) {
        for (uint64_t i = 0; i < 40; i++) {
            assert_true(is_cached(f.t, KEY(i)) == (i >= r.got.evicted_pages));
        }
    }
    assert_int_equal(r.seen_bytes, zc_quota_used(f.t->account));
    assert_int_equal(r.elsewhere, 0);
    teardown(&f);
}

static void a_forced_pass_takes_referenced_pages_too(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PLAIN ",policy=lru");
    put_n(f.t, 10, ZCACHE_CLEAN);
    for (uint64_t i = 0; i < 10; i++) {
        reference(f.t, KEY(i));
    }
    struct zc_reclaim r = begin(&f, 0);
    assert_int_equal(zc_reclaim_tenant(&r, f.t, page_bytes()), 0); /* their second chance */
    (void)zc_reclaim_end(&r, PAST);
    for (uint64_t i = 0; i < 10; i++) {
        reference(f.t, KEY(i));
    }
    r = begin(&f, ZC_RECLAIM_FORCE);
    assert_true(zc_reclaim_tenant(&r, f.t, page_bytes()) >= page_bytes());
    (void)zc_reclaim_end(&r, PAST);
    assert_true(r.got.evicted_pages > 0);
    teardown(&f);
}

static void evictions_outside_the_subtree_are_counted(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    put_n(f.t, 4, ZCACHE_CLEAN);
    put_n(f.other, 4, ZCACHE_CLEAN);
    struct zc_reclaim r = begin(&f, ZC_RECLAIM_FORCE);
    assert_true(zc_reclaim_tenant(&r, f.t, page_bytes()) > 0);
    assert_int_equal(count(f.t, ZC_C_foreign_evictions), 0);
    assert_true(zc_reclaim_tenant(&r, f.other, MIB) > 0);
    (void)zc_reclaim_end(&r, PAST);
    assert_int_equal(count(f.t, ZC_C_foreign_evictions), 4);
    teardown(&f);
}

static void what_is_in_flight_is_not_asked_for_twice(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    put_n(f.t, 40, ZCACHE_DIRTY);
    store.result = ZCACHE_PENDING;
    struct zc_reclaim r = begin(&f, ZC_RECLAIM_FORCE | ZC_RECLAIM_WRITE);
    assert_int_equal(zc_reclaim_tenant(&r, f.t, 4 * page_bytes()), 0);
    assert_in_range(store.n, 4, 9);
    assert_true(r.promised_bytes >= 4 * page_bytes());
    assert_int_equal(r.elsewhere, store.n);
    const unsigned n = store.n;
    assert_int_equal(zc_reclaim_tenant(&r, f.t, 4 * page_bytes()), 0); /* it is on its way */
    assert_int_equal(store.n, n);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(zcache_done(f.cache, store.token[i], 0), 0);
    }
    assert_int_equal(zc_reclaim_end(&r, PAST), n * page_bytes());
    assert_int_equal(r.got.written_pages, n);
    assert_int_equal(r.got.evicted_pages, n);
    assert_int_equal(atomic_load(&f.t->n_pages), 40 - n);
    teardown(&f);
}

static void inside_a_callback_nothing_is_written(void **state)
{
    struct zc_batch callback = {0};
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    put_n(f.t, 4, ZCACHE_DIRTY);
    f.th->callbacks = &callback;
    struct zc_reclaim r = begin(&f, ZC_RECLAIM_FORCE | ZC_RECLAIM_WRITE);
    f.th->callbacks = NULL;
    assert_int_equal(r.deadline_ns, 0);
    assert_int_equal(zc_reclaim_tenant(&r, f.t, MIB), 0);
    (void)zc_reclaim_end(&r, PAST);
    assert_int_equal(r.got.dirty_pages, 4);
    assert_int_equal(store.n, 0);
    teardown(&f);
}

static void a_subtree_is_visited_in_turns(void **state)
{
    struct zcache_tenant *child[3];
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    child[0] = open_tenant(f.t, "a", MIB);
    child[1] = open_tenant(f.t, "b", MIB);
    child[2] = open_tenant(f.t, "c", MIB);
    for (int i = 0; i < 3; i++) {
        put_n(child[i], 20, ZCACHE_CLEAN);
    }
    put_n(f.other, 20, ZCACHE_CLEAN);
    for (int i = 0; i < 3; i++) {
        struct zc_reclaim r = begin(&f, ZC_RECLAIM_FORCE);
        assert_true(zc_reclaim_subtree(&r, f.t, NULL, page_bytes()) >= page_bytes());
        (void)zc_reclaim_end(&r, PAST);
        for (int k = 0; k < 3; k++) {
            assert_true((atomic_load(&child[k]->n_pages) < 20) == (k <= i));
        }
        assert_int_equal(atomic_load(&f.t->cursor), child[i]->slot);
    }
    const uint64_t last = atomic_load(&child[2]->n_pages);
    const uint64_t first = atomic_load(&child[0]->n_pages);
    struct zc_reclaim r = begin(&f, ZC_RECLAIM_FORCE);
    assert_true(zc_reclaim_subtree(&r, f.t, child[2], page_bytes()) >= page_bytes());
    assert_true(atomic_load(&child[2]->n_pages) < last); /* the requester's own come first */
    assert_int_equal(atomic_load(&child[0]->n_pages), first);
    assert_true(zc_reclaim_subtree(&r, f.t, NULL, MIB) > 0); /* all around */
    (void)zc_reclaim_end(&r, PAST);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(atomic_load(&child[i]->n_pages), 0);
        assert_int_equal(atomic_load(&child[i]->ops), 0);
    }
    assert_int_equal(atomic_load(&f.other->n_pages), 20);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* On request. */

static void a_shrink_tells_what_was_in_its_way(void **state)
{
    struct zcache_shrink_result got;
    struct zcache_pin pin;
    struct zc_entry *e;
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    REQUIRE_EQUAL(put_page(f.t, KEY(0), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    REQUIRE_EQUAL(put_page(f.t, KEY(1), 1, FILL_TEXT, ZCACHE_DIRTY), 0);
    REQUIRE_EQUAL(put_page(f.t, KEY(2), 1, FILL_TEXT, ZCACHE_DIRTY), 0);
    REQUIRE_EQUAL(put_page(f.t, KEY(3), 1, FILL_TEXT, ZCACHE_DIRTY), 0);
    REQUIRE_EQUAL(put_page(f.t, KEY(4), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    assert_int_equal(zcache_pin(f.t, KEY(0), 0, &pin), 0);
    zc_entry_set_tag(entry_of(f.t, KEY(1)), 1);
    set_flags(f.t, KEY(2), ZC_F_CORRUPT);
    e = isolate(f.t, KEY(4));
    const uint64_t before = zc_quota_used(f.t->account);
    zc_reclaim_shrink(f.t, f.th, MIB, deadline_in(5000), &got);
    assert_int_equal(got.freed_bytes, page_bytes());
    assert_int_equal(before - zc_quota_used(f.t->account), page_bytes());
    assert_int_equal(got.remaining_bytes, MIB - page_bytes());
    assert_int_equal(got.written_pages, 1);
    assert_int_equal(got.evicted_pages, 1);
    assert_int_equal(got.pinned_pages, 1);
    assert_int_equal(got.wal_pages, 1);
    assert_int_equal(got.dirty_pages, 1);
    assert_int_equal(got.busy_pages, 1);
    assert_int_equal(got.failed_pages, 0);
    zcache_unpin(&pin);
    zc_page_putback(f.cache, f.th, e, true);
    clear_flags(f.t, KEY(2), ZC_F_CORRUPT);
    store.result = -EIO;
    zc_reclaim_shrink(f.t, f.th, MIB, deadline_in(5000), &got);
    assert_true(got.failed_pages >= 1);
    assert_int_equal(got.evicted_pages, 2);
    zc_reclaim_shrink(f.t, f.th, 0, deadline_in(5000), &got);
    assert_int_equal(got.freed_bytes | got.remaining_bytes | got.wal_pages, 0);
    teardown(&f);
}

/* Where one is added to the request on the way, the largest of all must not become the smallest. */
static void everything_can_be_asked_for(void **state)
{
    struct zcache_shrink_result got;
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    put_n(f.t, 20, ZCACHE_DIRTY);
    assert_int_equal(zcache_shrink(f.t, UINT64_MAX, 5000, &got), -EAGAIN);
    assert_int_equal(got.evicted_pages, 20);
    assert_int_equal(got.freed_bytes, 20 * page_bytes());
    assert_int_equal(got.remaining_bytes, UINT64_MAX - got.freed_bytes);
    put_n(f.t, 20, ZCACHE_CLEAN);
    assert_int_equal(zcache_shrink(zcache_root(f.cache), UINT64_MAX - 1, 5000, &got), -EAGAIN);
    assert_int_equal(got.evicted_pages, 20);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Reservations. */

static int reserve(struct fixture *f, uint64_t bytes, unsigned flags)
{
    const uint64_t before = zc_quota_used(f->t->account);
    struct zc_stall stall = {.max_ms = 5000};
    const int rc = zc_reclaim_reserve(f->t, f->th, bytes, flags, &stall);

    if (rc == 0) {
        zc_quota_refund(f->t->account, bytes);
    } else {
        assert_true(zc_quota_used(f->t->account) <= before);
    }
    return rc;
}

static void what_can_never_fit_shrinks_nobody(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    put_n(f.t, 4, ZCACHE_CLEAN);
    assert_int_equal(reserve(&f, MIB, 0), -EDQUOT);
    assert_int_equal(reserve(&f, MIB - zc_quota_slack(MIB), 0), 0); /* the most there can be */
    assert_int_equal(atomic_load(&f.t->n_pages), 0);
    put_n(f.t, 4, ZCACHE_CLEAN);
    const uint64_t shrinks = count(f.t, ZC_C_sync_shrinks);
    assert_int_equal(reserve(&f, MIB - zc_quota_slack(MIB) + 1, 0), -EDQUOT);
    atomic_store(&f.t->own.limit, 0);
    assert_int_equal(reserve(&f, 1, 0), -EDQUOT);
    atomic_store(&f.t->own.limit, MIB);
    assert_int_equal(atomic_load(&f.t->n_pages), 4);
    assert_int_equal(count(f.t, ZC_C_sync_shrinks), shrinks);
    teardown(&f);
}

static void a_reservation_shrinks_its_own_subtree(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    put_n(f.t, 200, ZCACHE_DIRTY);
    put_n(f.other, 20, ZCACHE_CLEAN);
    store.n = 0;
    const uint64_t before = atomic_load(&f.t->n_pages);
    assert_int_equal(reserve(&f, MIB - zc_quota_used(f.t->account), ZCACHE_NOIO | ZCACHE_NOWAIT),
                     -EBUSY);
    assert_int_equal(store.n, 0);
    assert_int_equal(reserve(&f, MIB - zc_quota_used(f.t->account), ZCACHE_NOIO), -EDQUOT);
    assert_int_equal(atomic_load(&f.t->n_pages), before);
    assert_int_equal(reserve(&f, MIB - zc_quota_used(f.t->account), 0), 0);
    assert_true(store.n > 0);
    assert_true(atomic_load(&f.t->n_pages) < before);
    assert_int_equal(atomic_load(&f.other->n_pages), 20);
    assert_int_equal(count(f.t, ZC_C_foreign_evictions), 0);
    assert_true(count(f.t, ZC_C_quota_hits) >= 3);
    assert_true(count(f.t, ZC_C_sync_forced) >= 2);
    teardown(&f);
}

static void a_reservation_whose_time_is_over_is_refused(void **state)
{
    struct zc_stall over = {.deadline_ns = PAST};
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    put_n(f.t, 200, ZCACHE_CLEAN);
    assert_int_equal(zc_reclaim_reserve(f.t, f.th, MIB / 2, 0, &over), -EDQUOT);
    assert_int_equal(atomic_load(&f.t->n_pages), 200);
    teardown(&f);
}

static void the_capacity_is_refused_by_policy(void **state)
{
    struct zc_batch callback = {0};
    struct fixture f;

    (void)state;
    setup(&f, PLAIN ",full=reject");
    uint64_t taken = use_up(&f.cache->account);
    assert_int_equal(reserve(&f, PAGE, 0), -ENOSPC);
    give_back(&f.cache->account, taken);
    assert_int_equal(reserve(&f, PAGE, 0), 0);
    teardown(&f);
    setup(&f, PLAIN ",full=wait");
    taken = use_up(&f.cache->account);
    assert_int_equal(reserve(&f, PAGE, ZCACHE_NOWAIT), -EBUSY);
    f.th->callbacks = &callback;
    assert_int_equal(reserve(&f, PAGE, 0), -ENOSPC);
    f.th->callbacks = NULL;
    assert_int_equal(reserve(&f, PAGE, 0), -ENOSPC); /* the shrinker says there is nothing */
    assert_int_equal(atomic_load(&f.cache->bell.urgent), 0);
    assert_int_equal(atomic_load(&f.cache->progress.waiters), 0);
    give_back(&f.cache->account, taken);
    teardown(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_surplus_is_what_is_above_the_share),
        cmocka_unit_test(work_ahead_of_need_demotes_the_surplus_only),
        cmocka_unit_test(what_is_over_its_share_gets_smaller_before_anything_leaves),
        cmocka_unit_test(what_cannot_stay_fast_becomes_dense_at_once),
        cmocka_unit_test(room_is_made_for_smaller_forms),
        cmocka_unit_test(a_reserve_is_left_to_its_tenant),
        cmocka_unit_test(the_oldest_go_first_and_no_more_than_asked),
        cmocka_unit_test(a_forced_pass_takes_referenced_pages_too),
        cmocka_unit_test(evictions_outside_the_subtree_are_counted),
        cmocka_unit_test(what_is_in_flight_is_not_asked_for_twice),
        cmocka_unit_test(inside_a_callback_nothing_is_written),
        cmocka_unit_test(a_subtree_is_visited_in_turns),
        cmocka_unit_test(a_shrink_tells_what_was_in_its_way),
        cmocka_unit_test(what_can_never_fit_shrinks_nobody),
        cmocka_unit_test(everything_can_be_asked_for),
        cmocka_unit_test(a_reservation_shrinks_its_own_subtree),
        cmocka_unit_test(a_reservation_whose_time_is_over_is_refused),
        cmocka_unit_test(the_capacity_is_refused_by_policy),
    };

    (void)test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("reclaim", tests, NULL, NULL);
}
