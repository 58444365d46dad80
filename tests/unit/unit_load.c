/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * load: the placeholder while the store is asked, what overtakes it, what is delivered without being
 * kept, and that every end leaves charge and index as they were.
 */
#include <errno.h>
#include <string.h>

#include "inside.h"
#include "load.h"

#define KEY(page) key_of(1, page)

/* A store that has version 1 of every page, and does something first. */
static struct {
    int (*act)(struct zcache_io *io);
    struct zcache_tenant *t;
    unsigned calls;
    unsigned pages;
    size_t len;
} store;

static int read_pages(void *ctx, struct zcache_io *io)
{
    (void)ctx;
    store.calls++;
    store.pages += (unsigned)io->n_pages;
    for (size_t i = 0; i < io->n_pages; i++) {
        page_make(io->pages[i].buf, PAGE, io->pages[i].key, 1, FILL_TEXT);
        io->pages[i].len = store.len;
    }
    return store.act != NULL ? store.act(io) : 0;
}

struct fixture {
    struct zcache *cache;
    struct zcache_tenant *t;
    struct zc_thread *th;
    uint64_t empty;
};

static void setup_with(struct fixture *f, uint64_t limit, const char *options)
{
    struct zcache_store cb = ZCACHE_STORE_INIT;

    cb.read = read_pages;
    f->cache = open_cache(16 * MIB, &cb, options);
    f->t = open_tenant(zcache_root(f->cache), "t", limit);
    f->th = thread_of(f->cache);
    f->empty = settled_charge(f->t);
    memset(&store, 0, sizeof(store));
    store.len = PAGE;
    store.t = f->t;
}

static void setup_limit(struct fixture *f, uint64_t limit)
{
    setup_with(f, limit, PLAIN ",max_stall_ms=5000");
}

static void setup(struct fixture *f)
{
    setup_limit(f, 4 * MIB);
}

static void teardown(struct fixture *f)
{
    assert_int_equal(zc_io_bytes(f->cache), 0);
    expect_idle(f->t);
    verify_cache(f->cache);
    assert_int_equal(zcache_close(f->cache, ZCACHE_DISCARD), 0);
}

/* Loads pages from number @first on; the call has entered the tenant. */
static void load(struct fixture *f,
                 struct zcache_page *page,
                 size_t n,
                 uint64_t first,
                 unsigned flags)
{
    struct zcache_page *pages[64];

    for (size_t i = 0; i < n; i++) {
        page[i].key = KEY(first + i);
        pages[i] = &page[i];
    }
    assert_int_equal(zc_tenant_enter(f->t), 0);
    zc_load_pages(f->t, f->th, pages, n, flags, deadline_in(5000));
    zc_tenant_leave(f->t);
}

static int load_one(struct fixture *f, uint64_t number, unsigned flags)
{
    unsigned char buf[PAGE];
    struct zcache_page page = {.buf = buf, .cap = PAGE};
    uint64_t version;

    load(f, &page, 1, number, flags);
    if (page.status == 0) {
        REQUIRE_EQUAL(page.len, PAGE);
        REQUIRE(page_whole(buf, PAGE, KEY(number), &version) && version == 1);
    }
    return page.status;
}

static uint64_t count(struct fixture *f, enum zc_counter c)
{
    return zc_stat_read(f->t->stat, c);
}

static uint64_t page_bytes(void)
{
    return zc_page_bytes(PAGE, ZC_CODEC_NONE) + zc_pool_round(sizeof(struct zc_entry));
}

/* ---------------------------------------------------------------------------------------------- */
/* The placeholder. */

static int look_at_placeholder(struct zcache_io *io)
{
    struct zc_entry *e = entry_of(store.t, io->pages[0].key);
    unsigned char buf[PAGE];

    REQUIRE(e != NULL && zc_entry_state(e) == ZC_LOADING);
    REQUIRE_EQUAL(atomic_load(&e->payload), 0);
    REQUIRE_EQUAL(atomic_load(&store.t->n_pages), 1);
    REQUIRE_EQUAL(zcache_get(store.t, io->pages[0].key, buf, PAGE, NULL, 0), -EDEADLK);
    REQUIRE_EQUAL(zcache_get(store.t, io->pages[0].key, buf, PAGE, NULL, ZCACHE_NO_LOAD),
                  ZCACHE_MISS);
    REQUIRE_EQUAL(zc_io_bytes(store.t->cache), store.t->cache->opt.page_max_bytes);
    return 0;
}

static void a_placeholder_becomes_the_page(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    store.act = look_at_placeholder;
    assert_int_equal(load_one(&f, 0, 0), 0);
    struct zc_entry *e = entry_of(f.t, KEY(0));
    assert_int_equal(zc_entry_state(e), ZC_LIVE);
    assert_false(zc_entry_has(e, ZC_F_DIRTY));
    assert_int_equal(atomic_load(&e->refs), 1);
    assert_int_equal(settled_charge(f.t), f.empty + page_bytes()); /* the rest was refunded */
    assert_int_equal(load_one(&f, 0, 0), ZC_LOAD_AGAIN);           /* it is there */
    assert_int_equal(store.calls, 1);
    teardown(&f);
}

static int answer;

static int give_answer(struct zcache_io *io)
{
    if (answer > 0) {
        io->pages[0].status = answer;
        return 0;
    }
    return answer;
}

static void a_load_that_finds_nothing_leaves_nothing(void **state)
{
    static const int answers[] = {ZCACHE_MISS, -EIO};
    struct fixture f;

    (void)state;
    setup(&f);
    store.act = give_answer;
    for (size_t i = 0; i < ZC_ARRAY_SIZE(answers); i++) {
        answer = answers[i];
        assert_int_equal(load_one(&f, i, 0), answer);
        assert_null(entry_of(f.t, KEY(i)));
        assert_int_equal(settled_charge(f.t), f.empty);
    }
    assert_int_equal(count(&f, ZC_C_load_errors), 1);
    teardown(&f);
}

static void impossible_lengths_are_errors(void **state)
{
    static const size_t lens[] = {0, 65537, SIZE_MAX};
    struct fixture f;

    (void)state;
    setup(&f);
    for (size_t i = 0; i < ZC_ARRAY_SIZE(lens); i++) {
        store.len = lens[i];
        assert_int_equal(load_one(&f, i, 0), -EIO);
        assert_int_equal(settled_charge(f.t), f.empty);
    }
    assert_int_equal(log_count("store.read"), ZC_ARRAY_SIZE(lens));
    teardown(&f);
}

static int make_equal(struct zcache_io *io)
{
    memset(io->pages[0].buf, 7, PAGE);
    return 0;
}

static void equal_bytes_take_no_frame(void **state)
{
    struct zcache_page page = {.cap = 0};
    struct fixture f;

    (void)state;
    setup(&f);
    store.act = make_equal;
    load(&f, &page, 1, 0, 0);
    assert_int_equal(page.status, 0);
    assert_int_equal(atomic_load(&f.t->n_same), 1);
    assert_int_equal(settled_charge(f.t), f.empty + zc_pool_round(sizeof(struct zc_entry)));
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* What overtakes it. */

static int put_newer(struct zcache_io *io)
{
    return put_page(store.t, io->pages[0].key, 2, FILL_TEXT, 0);
}

static int remove_it(struct zcache_io *io)
{
    REQUIRE_EQUAL(zcache_delete(store.t, io->pages[0].key, 0), ZCACHE_MISS);
    return 0;
}

static int put_and_fail(struct zcache_io *io)
{
    REQUIRE_EQUAL(put_newer(io), 0);
    return -EIO;
}

static int remove_and_put(struct zcache_io *io)
{
    return remove_it(io) != 0 ? -EIO : put_newer(io);
}

static void a_put_or_a_delete_wins(void **state)
{
    static const struct {
        int (*act)(struct zcache_io *io);
        uint64_t version; /* that is cached then */
    } cases[] = {{put_newer, 2}, {remove_it, 0}, {put_and_fail, 2}, {remove_and_put, 2}};
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < ZC_ARRAY_SIZE(cases); i++) {
        setup(&f);
        store.act = cases[i].act;
        assert_int_equal(load_one(&f, 0, 0), ZC_LOAD_AGAIN);
        assert_int_equal(count(&f, ZC_C_load_cancelled), 1);
        assert_int_equal(get_page(f.t, KEY(0), ZCACHE_NO_LOAD), cases[i].version);
        assert_int_equal(settled_charge(f.t), f.empty + (cases[i].version != 0 ? page_bytes() : 0));
        teardown(&f);
    }
}

static struct fixture *waiting;

static void *wait_for_the_load(void *arg)
{
    unsigned char buf[PAGE];
    struct zcache_page page = {.key = KEY(0), .buf = buf, .cap = PAGE};
    struct zcache_page *pages = &page;
    int *status = arg;

    REQUIRE_EQUAL(zc_tenant_enter(waiting->t), 0);
    zc_load_pages(waiting->t, thread_of(waiting->cache), &pages, 1, 0, deadline_in(5000));
    zc_tenant_leave(waiting->t);
    *status = page.status;
    return NULL;
}

static pthread_t waiter;
static int waiter_status;

/* Under one hold of the lock, so that the waiter sees both or neither. */
static int put_and_remove_while_one_waits(struct zcache_io *io)
{
    static const uint64_t fills[] = {ZCACHE_MISS, (uint32_t)-EIO, 12345};
    const uint64_t fill = fills[store.calls - 1];
    struct zc_where w = where_of(store.t, io->pages[0].key);
    const struct zc_version v = {.word = zc_word_same(PAGE, fill), .fill = fill};

    start(&waiter, wait_for_the_load, &waiter_status);
    WAIT_UNTIL(zc_stat_read(store.t->stat, ZC_C_load_waits) == store.calls, 5000);
    zc_epoch_stock(w.thread->epoch, 4);
    zc_lock_acquire(&w.shard->lock);
    struct zc_entry *e = zc_shard_find_locked(w.shard, w.hash, store.t->slot, io->pages[0].key);
    REQUIRE(e != NULL && zc_entry_state(e) == ZC_LOADING);
    zc_page_publish_locked(&w, e, &v);
    zc_page_unlink_locked(&w, e);
    zc_stat_add(store.t->stat, ZC_C_put_inserts, 1);
    zc_stat_add(store.t->stat, ZC_C_delete_hits, 1);
    zc_lock_release(&w.shard->lock);
    return 0;
}

/* What the page was filled with is not the result of a load. */
static void who_waits_for_a_page_that_came_and_went_looks_again(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    waiting = &f;
    store.act = put_and_remove_while_one_waits;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(load_one(&f, 0, 0), ZC_LOAD_AGAIN);
        join(waiter);
        assert_int_equal(waiter_status, ZC_LOAD_AGAIN);
        assert_int_equal(settled_charge(f.t), f.empty);
    }
    teardown(&f);
}

static int fail_while_one_waits(struct zcache_io *io)
{
    (void)io;
    start(&waiter, wait_for_the_load, &waiter_status);
    WAIT_UNTIL(zc_stat_read(store.t->stat, ZC_C_load_waits) == 1, 5000);
    return -EIO;
}

static void who_waits_for_a_load_that_fails_fails_too(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    waiting = &f;
    store.act = fail_while_one_waits;
    assert_int_equal(load_one(&f, 0, 0), -EIO);
    join(waiter);
    assert_int_equal(waiter_status, -EIO);
    assert_int_equal(store.calls, 1);
    teardown(&f);
}

static void what_is_being_discarded_is_not_loaded(void **state)
{
    struct zc_batch *discard;
    struct fixture f;
    uint64_t used = 0;

    (void)state;
    for (int kept = 1; kept >= 0; kept--) {
        setup_with(&f, 4 * MIB, PLAIN ",full=reject");
        if (!kept) { /* nor read past the cache, where there is no room */
            used = use_up(&f.cache->account);
        }
        assert_int_equal(zc_batch_discard_begin(f.t, f.th, KEY(0), false, 0, &discard), 0);
        assert_int_equal(load_one(&f, 0, ZCACHE_NOWAIT), -EBUSY);
        assert_int_equal(store.calls, 0);
        assert_int_equal(zc_batch_discard_end(discard, f.th, false, 0), 0);
        assert_int_equal(load_one(&f, 0, ZCACHE_NOWAIT), 0);
        assert_int_equal(count(&f, ZC_C_load_through), kept ? 0 : 1);
        give_back(&f.cache->account, used);
        teardown(&f);
    }
}

/* ---------------------------------------------------------------------------------------------- */
/* Without room. */

static int look_for_twins(struct zcache_io *io)
{
    for (size_t i = 1; i < io->n_pages; i++) {
        REQUIRE(io->pages[i - 1].key.page < io->pages[i].key.page);
    }
    return 0;
}

static void a_page_without_room_is_delivered_and_not_kept(void **state)
{
    struct fixture f;

    (void)state;
    setup_limit(&f, 4096);
    assert_int_equal(load_one(&f, 0, 0), 0);
    assert_int_equal(count(&f, ZC_C_load_through), 1);
    assert_null(entry_of(f.t, KEY(0)));
    assert_int_equal(settled_charge(f.t), f.empty);
    assert_int_equal(load_one(&f, 0, ZC_LOAD_KEEP), -EDQUOT);
    assert_int_equal(store.calls, 1);
    teardown(&f);
}

static void a_key_that_comes_twice_is_in_a_batch_once_though_it_is_not_kept(void **state)
{
    unsigned char buf[3][PAGE];
    struct zcache_page page[3];
    uint64_t version;
    struct fixture f;

    (void)state;
    setup_with(&f, 4 * MIB, PLAIN ",full=reject");
    const uint64_t used = use_up(&f.cache->account);
    for (int i = 0; i < 3; i++) {
        page[i] = (struct zcache_page){.key = KEY(i / 2), .buf = buf[i], .cap = PAGE};
    }
    store.act = look_for_twins;
    assert_int_equal(zcache_get_many(f.t, page, 3, 0), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(page[i].status, 0);
        assert_true(page_whole(buf[i], page[i].len, page[i].key, &version) && version == 1);
    }
    assert_int_equal(store.pages, 3);
    assert_int_equal(count(&f, ZC_C_load_through), 3);
    give_back(&f.cache->account, used);
    teardown(&f);
}

static void refused_memory_leaves_nothing(void **state)
{
    struct fixture f;
    int rc = 1;

    (void)state;
    setup(&f);
    for (uint64_t n = 1; rc != 0; n++) {
        fail_after(n);
        rc = load_one(&f, 0, ZCACHE_NOWAIT);
        fail_after(0);
        if (rc != 0) {
            assert_int_equal(rc, -ENOMEM);
            assert_null(entry_of(f.t, KEY(0)));
            assert_int_equal(settled_charge(f.t), f.empty);
        }
        assert_true(n > 1 || rc != 0);
        verify_cache(f.cache);
    }
    teardown(&f);
}

static void without_a_buffer_nobody_waits_who_must_not(void **state)
{
    void *copy[512];
    unsigned n = 0;
    struct fixture f;

    (void)state;
    setup(&f);
    while (n < ZC_ARRAY_SIZE(copy) && zc_batch_buffer(f.cache, PAGE, &copy[n]) == 0) {
        n++;
    }
    assert_in_range(n, 1, ZC_ARRAY_SIZE(copy) - 1);
    assert_int_equal(load_one(&f, 0, ZCACHE_NOWAIT), -EBUSY);
    assert_int_equal(settled_charge(f.t), f.empty);
    while (n > 0) {
        zc_batch_buffer_free(f.cache, copy[--n], PAGE);
    }
    assert_int_equal(load_one(&f, 0, ZCACHE_NOWAIT), 0);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Many. */

static void one_batch_carries_many(void **state)
{
    struct zcache_page page[8] = {{.cap = 0}};
    struct zcache_page *pages[8];
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(put_page(f.t, KEY(3), 9, FILL_TEXT, 0), 0);
    load(&f, page, 6, 0, 0);
    for (int i = 0; i < 6; i++) {
        assert_int_equal(page[i].status, i == 3 ? ZC_LOAD_AGAIN : 0);
        assert_int_equal(page[i].len, i == 3 ? 0 : PAGE);
    }
    assert_int_equal(store.pages, 5);
    assert_true(store.calls <= 2);
    /* A key that comes twice is read once. */
    store.pages = 0;
    page[6].key = page[7].key = KEY(20);
    pages[0] = &page[6];
    pages[1] = &page[7];
    assert_int_equal(zc_tenant_enter(f.t), 0);
    zc_load_pages(f.t, f.th, pages, 2, 0, deadline_in(5000));
    zc_tenant_leave(f.t);
    assert_int_equal(page[6].status, 0);
    assert_int_equal(page[7].status, ZC_LOAD_AGAIN);
    assert_int_equal(store.pages, 1);
    teardown(&f);
}

static void a_short_buffer_gets_nothing_but_the_page_is_kept(void **state)
{
    unsigned char buf[PAGE];
    struct zcache_page page = {.buf = buf, .cap = PAGE - 1};
    struct fixture f;

    (void)state;
    setup(&f);
    memset(buf, 0x5a, sizeof(buf));
    load(&f, &page, 1, 0, 0);
    assert_int_equal(page.status, -ENOBUFS);
    assert_int_equal(buf[0], 0x5a);
    assert_int_equal(get_page(f.t, KEY(0), ZCACHE_NO_LOAD), 1);
    teardown(&f);
}

static void not_every_miss_may_ask(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    assert_true(zc_load_possible(f.t, ZCACHE_NOWAIT | ZCACHE_SCAN));
    assert_false(zc_load_possible(f.t, ZCACHE_NO_LOAD));
    assert_false(zc_load_possible(f.t, ZCACHE_NOIO));
    struct zc_store *attached = f.t->store;
    f.t->store = NULL;
    assert_false(zc_load_possible(f.t, 0));
    f.t->store = attached;
    teardown(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_placeholder_becomes_the_page),
        cmocka_unit_test(a_load_that_finds_nothing_leaves_nothing),
        cmocka_unit_test(impossible_lengths_are_errors),
        cmocka_unit_test(equal_bytes_take_no_frame),
        cmocka_unit_test(a_put_or_a_delete_wins),
        cmocka_unit_test(who_waits_for_a_page_that_came_and_went_looks_again),
        cmocka_unit_test(who_waits_for_a_load_that_fails_fails_too),
        cmocka_unit_test(what_is_being_discarded_is_not_loaded),
        cmocka_unit_test(a_page_without_room_is_delivered_and_not_kept),
        cmocka_unit_test(a_key_that_comes_twice_is_in_a_batch_once_though_it_is_not_kept),
        cmocka_unit_test(refused_memory_leaves_nothing),
        cmocka_unit_test(without_a_buffer_nobody_waits_who_must_not),
        cmocka_unit_test(one_batch_carries_many),
        cmocka_unit_test(a_short_buffer_gets_nothing_but_the_page_is_kept),
        cmocka_unit_test(not_every_miss_may_ask),
    };

    (void)test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("load", tests, NULL, NULL);
}
