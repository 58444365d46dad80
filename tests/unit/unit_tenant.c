/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tenant: slots and ids, the queue of closed records, calls against closes, the order of sweeps, and
 * what a failed open leaves behind: nothing.
 */
#include <errno.h>
#include <stdio.h>

#include "inside.h"
#include "lock.h"

#define KEPT 256 /* closed records that are remembered: the header's promise */

static void close_tenant(struct zcache_tenant *t)
{
    REQUIRE_EQUAL(zcache_tenant_close(t, ZCACHE_CLOSE_DISCARD), 0);
}

static uint64_t ops(struct zcache_tenant *t)
{
    return atomic_load(&t->ops);
}

/* ---------------------------------------------------------------------------------------------- */
/* Records. */

static void a_slot_names_a_record(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *t[3];

    (void)state;
    assert_int_equal(zc_tenants_slots(cache), 1);
    assert_ptr_equal(zc_tenant_at(cache, 0), cache->root);
    for (uint32_t i = 0; i < 3; i++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "t%u", i);
        t[i] = open_tenant(cache->root, name, MIB);
        assert_int_equal(t[i]->slot, i + 1);
        assert_ptr_equal(zc_tenant_at(cache, i + 1), t[i]);
        assert_int_equal(t[i]->id & ZC_OWNER_SLOT, t[i]->slot);
        assert_ptr_equal(zc_tenant_of_account(cache, t[i]->account), t[i]);
    }
    assert_int_equal(zc_tenants_slots(cache), 4);
    assert_ptr_equal(zc_tenant_of_account(cache, &cache->account), cache->root);
    close_cache(cache);
}

static void the_oldest_closed_record_is_used_again_late(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, PLAIN);
    struct zcache_tenant *t[KEPT + 1];
    struct zcache_tenant *found;
    uint64_t id[KEPT + 1];

    (void)state;
    for (int i = 0; i <= KEPT; i++) {
        char name[8];
        (void)snprintf(name, sizeof(name), "t%d", i);
        t[i] = open_tenant(cache->root, name, MIB);
        id[i] = t[i]->id;
    }
    for (int i = 0; i < KEPT; i++) {
        close_tenant(t[i]);
    }
    const uint32_t slots = zc_tenants_slots(cache);
    struct zcache_tenant *fresh = open_tenant(cache->root, "fresh", MIB);
    assert_int_equal(zc_tenants_slots(cache), slots + 1);
    close_tenant(t[KEPT]);
    for (int i = 0; i <= KEPT; i++) {
        assert_int_equal(zc_tenant_find(cache, id[i], &found), 0);
        assert_ptr_equal(found, cache->root);
    }
    struct zcache_tenant *again = open_tenant(cache->root, "again", MIB);
    assert_int_equal(zc_tenants_slots(cache), slots + 1);
    assert_ptr_equal(again, t[0]);
    assert_int_not_equal(again->id, id[0]);
    assert_int_equal(again->id & ZC_OWNER_SLOT, id[0] & ZC_OWNER_SLOT);
    assert_int_equal(zc_tenant_find(cache, id[0], &found), -ENOENT); /* forgotten */
    assert_int_equal(zc_tenant_find(cache, again->id, &found), 0);
    assert_ptr_equal(found, again);
    assert_int_equal(zc_tenant_find(cache, fresh->id, &found), 0);
    assert_int_equal(zc_tenant_find(cache, ZC_OWNER_SLOT, &found), -ENOENT);
    close_cache(cache);
}

static void a_record_used_again_is_as_new(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, PLAIN);
    struct zcache_tenant *first = open_tenant(cache->root, "first", MIB);

    (void)state;
    assert_int_equal(put_page(first, key_of(1, 1), 1, FILL_TEXT, 0), 0);
    assert_non_null(zc_tenant_hist(first, ZCACHE_LATENCY_PUT));
    atomic_store(&first->wal_horizon, 77);
    atomic_store(&first->failures, 3);
    atomic_store(&first->retry_ns, UINT64_MAX);
    atomic_store(&first->error, -EIO);
    atomic_store(&first->parity, 1);
    atomic_store(&first->unbarriered, 1);
    close_tenant(first);
    for (int i = 0; i < KEPT; i++) {
        close_tenant(open_tenant(cache->root, "x", MIB));
    }
    struct zcache_tenant *t = open_tenant(cache->root, "second", 2 * MIB);
    assert_ptr_equal(t, first);
    assert_string_equal(t->name, "second");
    assert_int_equal(atomic_load(&t->wal_horizon) | atomic_load(&t->failures), 0);
    assert_int_equal(atomic_load(&t->retry_ns) | atomic_load(&t->parity), 0);
    assert_int_equal(atomic_load(&t->error) | (int)atomic_load(&t->unbarriered), 0);
    assert_null(atomic_load(&t->hist));
    assert_int_equal(zc_stat_sum(t->stat), 0);
    assert_int_equal(zc_quota_limit(t->account), 2 * MIB);
    close_cache(cache);
}

/* Opens with the n-th allocation refused, for n = 1, 2, ... until one passes. */
static void a_refused_open_leaves_nothing(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache_store callbacks = mem_store_callbacks(store, MEM_STORE_ALL);
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_tenant *t = NULL;
    int rc = -ENOMEM;

    (void)state;
    (void)thread_of(cache);
    opts.name = "t";
    opts.store = &callbacks;
    for (uint64_t n = 1; rc == -ENOMEM; n++) {
        fail_after(n);
        rc = zc_tenant_open(cache, cache->root, &opts, &t);
        fail_after(0);
        assert_true(rc == 0 || (rc == -ENOMEM && t == NULL));
        assert_true(n > 1 || rc == -ENOMEM);
        assert_int_equal(atomic_load(&store->detached), 0);
        assert_int_equal(stats_of(cache->root).gauge.tenants, rc == 0 ? 2 : 1);
        assert_true(rc == 0 || zc_list_empty(&cache->root->children));
        verify_cache(cache);
    }
    struct zcache_tenant *twin = NULL;
    assert_int_equal(zc_tenant_open(cache, cache->root, &opts, &twin), -EEXIST);
    assert_null(twin);
    assert_int_equal(atomic_load(&store->detached), 0);
    close_tenant(t);
    assert_int_equal(atomic_load(&store->detached), 1);
    close_cache(cache);
    mem_store_free(store);
}

/* ---------------------------------------------------------------------------------------------- */
/* Calls against closes. */

static void a_close_refuses_calls_and_counts_those_inside(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *t = open_tenant(cache->root, "t", MIB);

    (void)state;
    assert_true(zc_tenants_idle(cache));
    assert_int_equal(zc_tenant_enter(t), 0);
    assert_false(zc_tenants_idle(cache));
    assert_int_equal(zc_tenant_begin_close(t), 0);
    assert_int_equal(zc_tenant_begin_close(t), -ESHUTDOWN);
    assert_false(zc_tenant_usable(t));
    assert_int_equal(zc_tenant_enter(t), -ESHUTDOWN);
    assert_int_equal(ops(t), 1);
    zc_tenant_hold(t);
    zc_tenant_leave(t);
    assert_int_equal(zc_tenant_wait_idle(t, PAST), -ETIMEDOUT);
    zc_tenant_leave(t);
    assert_int_equal(zc_tenant_wait_idle(t, PAST), 0);
    zc_tenant_cancel_close(t);
    assert_int_equal(zc_tenant_enter(t), 0);
    zc_tenant_leave(t);
    close_cache(cache);
}

static void a_parent_is_closed_after_its_children(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_tenant *parent = open_tenant(cache->root, "parent", MIB);
    struct zcache_tenant *child = open_tenant(parent, "child", MIB);
    struct zcache_tenant *late = NULL;

    (void)state;
    assert_int_equal(zc_tenant_begin_close(parent), -EBUSY);
    assert_true(zc_tenant_usable(parent));
    close_tenant(child);
    assert_int_equal(zc_tenant_begin_close(parent), 0);
    opts.name = "late";
    assert_int_equal(zc_tenant_open(cache, parent, &opts, &late), -ESHUTDOWN);
    zc_tenant_cancel_close(parent);
    close_cache(cache);
}

static void *leave_late(void *arg)
{
    struct zcache_tenant *t = arg;

    WAIT_UNTIL(atomic_load(&t->cache->progress.waiters) > 0, 10000);
    zc_tenant_leave(t);
    return NULL;
}

static void the_last_to_leave_wakes_the_close(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *t = open_tenant(cache->root, "t", MIB);
    pthread_t thread;

    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(zc_tenant_enter(t), 0);
        assert_int_equal(zc_tenant_begin_close(t), 0);
        start(&thread, leave_late, t);
        assert_int_equal(zc_tenant_wait_idle(t, deadline_in(20000)), 0);
        join(thread);
        zc_tenant_cancel_close(t);
    }
    close_cache(cache);
}

static void leave_tenant(void *t)
{
    zc_tenant_leave(t);
}

static void a_leave_too_many_is_stopped(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *t = open_tenant(cache->root, "t", MIB);

    (void)state;
    assert_non_null(assertion_of(leave_tenant, t));
    atomic_store(&t->ops, 0);
    close_cache(cache);
}

static struct {
    struct zcache_tenant *t;
    int entered;
    unsigned calls;
} detaching;

static void detach(void *ctx)
{
    (void)ctx;
    detaching.calls++;
    detaching.entered = zc_tenant_enter(detaching.t);
}

static void a_store_is_detached_by_its_own_tenant_only(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_store store = ZCACHE_STORE_INIT;
    struct zcache_tenant *owner = NULL;

    (void)state;
    store.detach = detach;
    opts.name = "owner";
    opts.store = &store;
    assert_int_equal(zc_tenant_open(cache, cache->root, &opts, &owner), 0);
    struct zcache_tenant *heir = open_tenant(owner, "heir", MIB);
    assert_ptr_equal(heir->store, owner->store);
    close_tenant(heir);
    assert_int_equal(detaching.calls, 0);
    detaching.t = owner;
    close_tenant(owner);
    assert_int_equal(detaching.calls, 1);
    assert_int_equal(detaching.entered, -ESHUTDOWN);
    close_cache(cache);
}

static void counters_and_histograms_outlive_the_tenant(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *t = open_tenant(cache->root, "t", MIB);
    struct zcache_latency latency;

    (void)state;
    zc_stat_add(t->stat, ZC_C_takes, 5);
    zc_hist_add(zc_tenant_hist(t, ZCACHE_LATENCY_WRITE), 1000);
    zc_stat_add(cache->root->stat, ZC_C_takes, 1);
    close_tenant(t);
    assert_int_equal(zc_stat_read(cache->root->stat, ZC_C_takes), 6);
    zc_hist_summary(zc_tenant_hist(cache->root, ZCACHE_LATENCY_WRITE), &latency);
    assert_int_equal(latency.count, 1);
    zc_stat_add(cache->root->stat, ZC_C_takes, 0 - UINT64_C(6)); /* there were none */
    close_cache(cache);
}

/* ---------------------------------------------------------------------------------------------- */
/* Sweeps. */

static void a_sweep_visits_the_open_tenants_of_a_subtree(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *a = open_tenant(cache->root, "a", MIB);
    struct zcache_tenant *b = open_tenant(cache->root, "b", MIB);
    struct zcache_tenant *ax = open_tenant(a, "x", MIB);
    struct zcache_tenant *ay = open_tenant(a, "y", MIB);
    struct zcache_tenant *axz = open_tenant(ax, "z", MIB);
    struct zcache_tenant *const expected[] = {a, ax, axz};
    uint32_t cursor = UINT32_MAX;

    (void)state;
    assert_int_equal(zc_tenant_begin_close(ay), 0);
    for (size_t i = 0; i < ZC_ARRAY_SIZE(expected); i++) {
        struct zcache_tenant *t = zc_tenant_next(a, &cursor);
        assert_ptr_equal(t, expected[i]);
        assert_int_equal(cursor, t->slot);
        assert_int_equal(ops(t), 1);
        zc_tenant_leave(t);
    }
    assert_null(zc_tenant_next(a, &cursor));
    assert_int_equal(cursor, axz->slot); /* it stays where it stopped */
    assert_int_equal(ops(b) + ops(ay) + ops(cache->root), 0);
    assert_true(zc_tenant_within(axz, a) && zc_tenant_within(a, a));
    assert_false(zc_tenant_within(a, ax) || zc_tenant_within(b, a));
    zc_tenant_cancel_close(ay);
    close_cache(cache);
}

static void reclaim_writes_only_where_it_may(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN);
    struct zcache_tenant *parent = open_tenant(cache->root, "parent", MIB);
    struct zcache_tenant *t = open_tenant(parent, "t", MIB);

    (void)state;
    assert_true(zc_tenant_writes(t, false));
    atomic_store(&parent->writeback, ZCACHE_WRITEBACK_OFF);
    assert_false(zc_tenant_writes(t, true));
    atomic_store(&parent->writeback, ZCACHE_WRITEBACK_ON);
    atomic_store(&t->retry_ns, UINT64_MAX);
    assert_false(zc_tenant_writes(t, false));
    assert_true(zc_tenant_writes(t, true));
    atomic_store(&t->retry_ns, 0);
    int (*const write)(void *, struct zcache_io *) = t->store->cb.write;
    t->store->cb.write = NULL;
    assert_false(zc_tenant_writes(t, true));
    t->store->cb.write = write;
    close_cache(cache);
    mem_store_free(store);
}

/* ---------------------------------------------------------------------------------------------- */
/* Statistics. */

static void histograms_are_made_when_needed(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *t = open_tenant(cache->root, "t", MIB);

    (void)state;
    fail_after(1);
    assert_null(zc_tenant_hist(t, ZCACHE_LATENCY_PUT));
    fail_after(0);
    struct zc_hist *put = zc_tenant_hist(t, ZCACHE_LATENCY_PUT);
    assert_non_null(put);
    assert_ptr_equal(zc_tenant_hist(t, ZCACHE_LATENCY_PUT), put);
    assert_ptr_equal(zc_tenant_hist(t, ZCACHE_LATENCY_GET_RAW), put - ZCACHE_LATENCY_PUT);
    close_cache(cache);
}

static void an_error_is_noted_up_to_the_root(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct zcache_tenant *a = open_tenant(cache->root, "a", MIB);
    struct zcache_tenant *b = open_tenant(cache->root, "b", MIB);
    struct zcache_tenant *x = open_tenant(a, "x", MIB);
    struct zcache_tenant *y = open_tenant(a, "y", MIB);

    (void)state;
    zc_tenant_note_error(x, -EIO);
    assert_int_equal(atomic_load(&x->error), -EIO);
    assert_int_equal(atomic_load(&a->error), -EIO);
    assert_int_equal(atomic_load(&cache->root->error), -EIO);
    assert_int_equal(atomic_load(&b->error) | atomic_load(&y->error), 0);
    close_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slot_names_a_record),
        cmocka_unit_test(the_oldest_closed_record_is_used_again_late),
        cmocka_unit_test(a_record_used_again_is_as_new),
        cmocka_unit_test(a_refused_open_leaves_nothing),
        cmocka_unit_test(a_close_refuses_calls_and_counts_those_inside),
        cmocka_unit_test(a_parent_is_closed_after_its_children),
        cmocka_unit_test(the_last_to_leave_wakes_the_close),
        cmocka_unit_test(a_leave_too_many_is_stopped),
        cmocka_unit_test(a_store_is_detached_by_its_own_tenant_only),
        cmocka_unit_test(counters_and_histograms_outlive_the_tenant),
        cmocka_unit_test(a_sweep_visits_the_open_tenants_of_a_subtree),
        cmocka_unit_test(reclaim_writes_only_where_it_may),
        cmocka_unit_test(histograms_are_made_when_needed),
        cmocka_unit_test(an_error_is_noted_up_to_the_root),
    };

    (void)test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("tenant", tests, NULL, NULL);
}
