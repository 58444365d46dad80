/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A tenant that is closed while a call with it is between two steps: the call ends with what it found,
 * or is refused. It touches nothing that went with the tenant.
 */
#include <errno.h>

#include "mem_store.h"
#include "script.h"

#define PLAIN "fast=none,dense=none,latency_sample=1"

static const struct zcache_key key = {1, 1};

/* A call, and how it ended. */
struct call {
    struct zcache_tenant *tenant;
    unsigned flags;
    size_t cap;
    int rc;
    int status[2];
};

static void get(void *arg)
{
    struct call *call = arg;
    unsigned char room[PAGE];

    call->rc = zcache_get(call->tenant, key, room, call->cap, NULL, call->flags);
}

static void get_two(void *arg)
{
    struct call *call = arg;
    unsigned char room[2][PAGE];
    struct zcache_page pages[2] = {{.key = key, .buf = room[0], .cap = call->cap},
                                   {.key = {1, 2}, .buf = room[1], .cap = call->cap}};

    call->rc = zcache_get_many(call->tenant, pages, 2, call->flags);
    call->status[0] = pages[0].status;
    call->status[1] = pages[1].status;
}

static void pin(void *arg)
{
    struct call *call = arg;
    struct zcache_pin held = {0};

    call->rc = zcache_pin(call->tenant, key, call->flags, &held);
    if (call->rc == 0) {
        zcache_unpin(&held);
    }
}

/* @fn stops at @point; its tenant, which has a store of its own and both pages or none, is closed. */
static void close_during(void (*fn)(void *arg),
                         const char *point,
                         bool cached,
                         unsigned flags,
                         size_t cap,
                         struct call *out)
{
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    const struct zcache_store callbacks = mem_store_callbacks(store, MEM_STORE_ALL);
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct script_thread other;

    opts.name = "t";
    opts.store = &callbacks;
    *out = (struct call){.flags = flags, .cap = cap};
    assert_int_equal(zcache_tenant_open(zcache_root(cache), &opts, &out->tenant), 0);
    const uint64_t id = zcache_tenant_id(out->tenant);
    for (uint64_t page = 1; page <= 2; page++) {
        mem_store_put_page(store, id, key_of(1, page), 1, FILL_TEXT);
        if (cached) {
            assert_int_equal(put_page(out->tenant, key_of(1, page), 2, FILL_TEXT, 0), 0);
        }
    }
    script_begin();
    script_hold(point, key);
    script_start(&other, fn, out);
    script_await(point);
    assert_int_equal(zcache_tenant_close(out->tenant, ZCACHE_CLOSE_FLUSH), 0);
    assert_int_equal(atomic_load(&store->detached), 1);
    script_release(point);
    script_join(&other);
    script_end();
    close_cache(cache);
    mem_store_free(store);
}

static void a_get_that_has_hit_is_done(void **state)
{
    struct call call;

    (void)state;
    close_during(get, "get.looked", true, 0, PAGE, &call);
    assert_int_equal(call.rc, 0);
}

static void a_get_that_has_missed_for_good_is_done(void **state)
{
    struct call call;

    (void)state;
    close_during(get, "get.looked", false, ZCACHE_NO_LOAD, PAGE, &call);
    assert_int_equal(call.rc, ZCACHE_MISS);
}

static void a_get_that_would_load_is_refused(void **state)
{
    struct call call;

    (void)state;
    close_during(get, "get.looked", false, 0, PAGE, &call);
    assert_int_equal(call.rc, -ESHUTDOWN);
}

static void a_get_without_room_is_refused(void **state)
{
    struct call call;

    (void)state;
    close_during(get, "get.looked", true, 0, PAGE - 1, &call);
    assert_int_equal(call.rc, -ESHUTDOWN);
}

/* The store has both pages: that nobody could ask it does not make them missing. */
static void what_many_would_load_is_refused_and_not_missing(void **state)
{
    struct call call;

    (void)state;
    close_during(get_two, "get.looked", false, 0, PAGE, &call);
    assert_int_equal(call.rc, -ESHUTDOWN);
    assert_int_equal(call.status[0], -ESHUTDOWN);
    assert_int_equal(call.status[1], -ESHUTDOWN);
}

static void a_pin_that_would_load_is_refused(void **state)
{
    struct call call;

    (void)state;
    close_during(pin, "pin.looked", false, 0, PAGE, &call);
    assert_int_equal(call.rc, -ESHUTDOWN);
}

static void a_pin_that_has_missed_for_good_is_done(void **state)
{
    struct call call;

    (void)state;
    close_during(pin, "pin.looked", false, ZCACHE_NO_LOAD, PAGE, &call);
    assert_int_equal(call.rc, ZCACHE_MISS);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_get_that_has_hit_is_done),
        cmocka_unit_test(a_get_that_has_missed_for_good_is_done),
        cmocka_unit_test(a_get_that_would_load_is_refused),
        cmocka_unit_test(a_get_without_room_is_refused),
        cmocka_unit_test(what_many_would_load_is_refused_and_not_missing),
        cmocka_unit_test(a_pin_that_would_load_is_refused),
        cmocka_unit_test(a_pin_that_has_missed_for_good_is_done),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
