/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * writeback: what may be claimed and what comes along, and what a completion makes of a page.
 */
#include <errno.h>
#include <string.h>

#include "inside.h"
#include "writeback.h"

#define KEY(page) key_of(1, page)

/* A store that notes what it is given. */
static struct {
    void (*act)(struct zcache_io *io);
    struct zcache *cache;
    struct zcache_tenant *t;
    unsigned batches;
    unsigned n;
    uint64_t page[256];
    int result;
    uint64_t token;
} seen;

static int take(void *ctx, struct zcache_io *io)
{
    (void)ctx;
    seen.batches++;
    seen.token = io->token;
    for (size_t i = 0; i < io->n_pages; i++) {
        uint64_t version;
        REQUIRE(seen.n < ZC_ARRAY_SIZE(seen.page));
        REQUIRE(page_whole(io->pages[i].data, io->pages[i].len, io->pages[i].key, &version));
        seen.page[seen.n++] = io->pages[i].key.page;
    }
    if (seen.act != NULL) {
        seen.act(io);
    }
    return seen.result;
}

struct fixture {
    struct zcache *cache;
    struct zcache_tenant *t;
    struct zc_thread *th;
};

static void setup(struct fixture *f, const char *options)
{
    struct zcache_store cb = ZCACHE_STORE_INIT;

    cb.write = take;
    f->cache = open_cache(16 * MIB, &cb, options);
    f->t = open_tenant(zcache_root(f->cache), "t", 4 * MIB);
    f->th = thread_of(f->cache);
    memset(&seen, 0, sizeof(seen));
    seen.cache = f->cache;
    seen.t = f->t;
}

static void teardown(struct fixture *f)
{
    assert_int_equal(atomic_load(&f->t->n_writing), 0);
    assert_int_equal(zc_batch_room(f->cache), f->cache->opt.batch_pages);
    drop_cache(f->cache);
}

static void put(struct fixture *f, uint64_t page, uint64_t version, unsigned flags)
{
    REQUIRE_EQUAL(put_page(f->t, KEY(page), version, FILL_TEXT, flags), 0);
}

static struct zc_writes write_one(struct fixture *f, uint64_t page, bool evict)
{
    struct zc_entry *e = isolate(f->t, KEY(page));
    struct zc_writes w = {0};

    zc_writeback_pages(f->t, f->th, &e, 1, evict, 0, &w);
    return w;
}

static bool is_dirty(struct fixture *f, uint64_t page)
{
    return zc_entry_has(entry_of(f->t, KEY(page)), ZC_F_DIRTY);
}

static uint64_t count(struct fixture *f, enum zc_counter c)
{
    return zc_stat_read(f->t->stat, c);
}

/* ---------------------------------------------------------------------------------------------- */
/* Claim. */

/* The write of page 0 must come back at once with nothing done. */
static void expect_refused(struct fixture *f)
{
    struct zc_writes w = write_one(f, 0, true);
    struct zc_entry *e = entry_of(f->t, KEY(0));

    assert_int_equal(w.busy, 1);
    assert_int_equal(w.written + w.failed + w.evicted + w.n_out, 0);
    assert_int_equal(seen.batches, 0);
    assert_int_equal(atomic_load(&e->refs), 1);
    assert_true((atomic_load(&e->where) & ZC_W_LISTED) != 0);
    assert_int_equal(zc_entry_state(e), ZC_LIVE);
}

static void what_may_not_be_written_is_not_claimed(void **state)
{
    static const unsigned flags[] = {ZC_F_WAITED, ZC_F_CORRUPT};
    struct zc_batch *discard;
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    put(&f, 0, 1, 0);
    for (size_t i = 0; i < ZC_ARRAY_SIZE(flags); i++) {
        set_flags(f.t, KEY(0), flags[i]);
        expect_refused(&f);
        clear_flags(f.t, KEY(0), flags[i]);
    }
    zc_entry_set_tag(entry_of(f.t, KEY(0)), 5);
    atomic_store(&f.t->wal_horizon, 4);
    assert_true(zc_writeback_blocked(f.t, entry_of(f.t, KEY(0))));
    expect_refused(&f);
    atomic_store(&f.t->wal_horizon, 5);
    assert_false(zc_writeback_blocked(f.t, entry_of(f.t, KEY(0))));
    assert_int_equal(zc_batch_discard_begin(f.t, f.th, KEY(0), false, 0, &discard), 0);
    expect_refused(&f);
    assert_int_equal(zc_batch_discard_end(discard, f.th, false, 0), 0);
    struct zc_writes w = write_one(&f, 0, false);
    assert_int_equal(w.written, 1);
    assert_false(is_dirty(&f, 0));
    seen.batches = 0; /* clean by now: nothing to claim */
    expect_refused(&f);
    teardown(&f);
}

static void damaged_bytes_do_not_reach_the_store(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, NULL);
    put(&f, 0, 1, 0);
    damage(f.t, KEY(0));
    expect_refused(&f);
    assert_true(zc_entry_has(entry_of(f.t, KEY(0)), ZC_F_CORRUPT));
    assert_int_equal(count(&f, ZC_C_corrupt), 1);
    assert_int_equal(zcache_flush(f.t, 5000), -EBADMSG);
    damage(f.t, KEY(0));
    teardown(&f);
}

/* A raw page is given to the store where it lies: as long as its head says. */
static void a_damaged_head_does_not_reach_the_store(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, NULL);
    put(&f, 0, 1, 0);
    zc_word_payload(word_of(f.t, KEY(0)))->meta++; /* one byte more than there is */
    expect_refused(&f);
    assert_true(zc_entry_has(entry_of(f.t, KEY(0)), ZC_F_CORRUPT));
    zc_word_payload(word_of(f.t, KEY(0)))->meta--;
    teardown(&f);
    /* Of another form a copy is made, and there may never be room for one as long as this. */
    setup(&f, "raw_percent=0");
    put(&f, 0, 1, 0);
    const uint64_t meta = zc_word_payload(word_of(f.t, KEY(0)))->meta;
    zc_word_payload(word_of(f.t, KEY(0)))->meta |= 0xfffff;
    expect_refused(&f);
    assert_true(zc_entry_has(entry_of(f.t, KEY(0)), ZC_F_CORRUPT));
    assert_int_equal(zcache_flush(f.t, 5000), -EBADMSG);
    zc_word_payload(word_of(f.t, KEY(0)))->meta = meta;
    teardown(&f);
}

static void without_a_place_nothing_is_written(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PLAIN ",inflight_pages=1,batch_pages=1");
    put(&f, 0, 1, 0);
    put(&f, 1, 1, 0);
    seen.result = ZCACHE_PENDING;
    struct zc_writes first = write_one(&f, 1, false);
    assert_int_equal(first.n_out, 1);
    seen.batches = 0;
    expect_refused(&f);
    assert_int_equal(zc_writeback_harvest(&first, PAST), -ETIMEDOUT);
    assert_int_equal(zcache_done(f.cache, seen.token, 0), 0);
    seen.result = 0;
    assert_int_equal(write_one(&f, 0, false).written, 1);
    teardown(&f);
}

static void without_memory_for_a_copy_nothing_is_written(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, "raw_percent=0");
    put(&f, 0, 1, 0);
    assert_false(zc_payload_is_raw(zc_word_payload(word_of(f.t, KEY(0)))));
    fail_after(1);
    expect_refused(&f);
    fail_after(0);
    assert_int_equal(write_one(&f, 0, false).written, 1);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* What comes along. */

static void dirty_neighbours_come_along_in_order(void **state)
{
    static const uint64_t dirty[] = {9, 3, 17, 14, 5};
    static const uint64_t expected[] = {3, 5, 9, 14};
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    for (size_t i = 0; i < ZC_ARRAY_SIZE(dirty); i++) {
        put(&f, dirty[i], 1, 0);
    }
    put(&f, 4, 1, ZCACHE_CLEAN);
    REQUIRE_EQUAL(put_page(f.t, key_of(2, 6), 1, FILL_TEXT, 0), 0);
    struct zc_writes w = write_one(&f, 9, false);
    assert_int_equal(seen.batches, 1);
    assert_int_equal(w.written, ZC_ARRAY_SIZE(expected));
    assert_int_equal(seen.n, ZC_ARRAY_SIZE(expected));
    for (size_t i = 0; i < ZC_ARRAY_SIZE(expected); i++) {
        assert_int_equal(seen.page[i], expected[i]);
    }
    assert_true(is_dirty(&f, 17)); /* another group */
    verify_cache(f.cache);
    teardown(&f);
}

static void neighbours_are_not_evicted(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    put(&f, 0, 1, 0);
    put(&f, 1, 1, 0);
    struct zc_writes w = write_one(&f, 0, true);
    assert_int_equal(w.written, 2);
    assert_int_equal(w.evicted, 1);
    assert_null(entry_of(f.t, KEY(0)));
    assert_false(is_dirty(&f, 1));
    teardown(&f);
}

static void pages_are_grouped_whatever_their_order(void **state)
{
    static const uint64_t pages[] = {20, 1, 40, 2, 21, 0};
    struct zc_entry *e[ZC_ARRAY_SIZE(pages)];
    struct zc_writes w = {0};
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    for (size_t i = 0; i < ZC_ARRAY_SIZE(pages); i++) {
        put(&f, pages[i], 1, 0);
    }
    for (size_t i = 0; i < ZC_ARRAY_SIZE(pages); i++) {
        e[i] = isolate(f.t, KEY(pages[i]));
    }
    zc_writeback_pages(f.t, f.th, e, ZC_ARRAY_SIZE(pages), true, 0, &w);
    assert_int_equal(seen.batches, 3);
    assert_int_equal(w.written, ZC_ARRAY_SIZE(pages));
    assert_int_equal(w.evicted, ZC_ARRAY_SIZE(pages));
    assert_int_equal(atomic_load(&f.t->n_pages), 0);
    teardown(&f);
}

static void a_page_that_was_put_anew_is_written_in_its_place(void **state)
{
    struct zc_writes w = {0};
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    put(&f, 0, 1, 0);
    struct zc_entry *old = isolate(f.t, KEY(0));
    assert_int_equal(zcache_delete(f.t, KEY(0), 0), 0);
    put(&f, 0, 2, 0);
    assert_ptr_not_equal(entry_of(f.t, KEY(0)), old);
    zc_writeback_pages(f.t, f.th, &old, 1, true, 0, &w);
    assert_int_equal(seen.batches, 1);
    assert_int_equal(w.written, 1);
    assert_int_equal(w.evicted, 0); /* the new one is nobody's victim */
    assert_false(is_dirty(&f, 0));
    assert_int_equal(get_page(f.t, KEY(0), 0), 2);
    verify_cache(f.cache);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Completion. */

static void put_newer(struct zcache_io *io)
{
    REQUIRE_EQUAL(put_page(seen.t, io->pages[0].key, 2, FILL_TEXT, 0), 0);
}

static void a_newer_version_stays_dirty_and_cached(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    seen.act = put_newer;
    put(&f, 0, 1, 0);
    struct zc_writes w = write_one(&f, 0, true);
    assert_int_equal(w.written, 1);
    assert_int_equal(w.evicted, 0);
    assert_int_equal(count(&f, ZC_C_write_superseded), 1);
    assert_true(is_dirty(&f, 0));
    assert_int_equal(get_page(f.t, KEY(0), 0), 2);
    teardown(&f);
}

static void hit_it(struct zcache_io *io)
{
    REQUIRE(get_page(seen.t, io->pages[0].key, 0) == 1);
}

static void a_page_hit_meanwhile_is_not_evicted(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    seen.act = hit_it;
    put(&f, 0, 1, 0);
    struct zc_writes w = write_one(&f, 0, true);
    assert_int_equal(w.written, 1);
    assert_int_equal(w.evicted + w.freed_bytes, 0);
    assert_false(is_dirty(&f, 0));
    teardown(&f);
}

static void an_eviction_says_what_it_freed(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    const uint64_t empty = settled_charge(f.t);
    put(&f, 0, 1, 0);
    const uint64_t with = settled_charge(f.t);
    struct zc_writes w = write_one(&f, 0, true);
    assert_int_equal(w.evicted, 1);
    assert_int_equal(w.freed_bytes, with - empty);
    assert_int_equal(settled_charge(f.t), empty);
    assert_int_equal(atomic_load(&f.t->unbarriered), 1);
    teardown(&f);
}

static void late_results_are_harvested(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    seen.result = ZCACHE_PENDING;
    put(&f, 0, 1, 0);
    struct zc_writes w = write_one(&f, 0, true);
    assert_int_equal(w.n_out, 1);
    assert_int_equal(w.written, 0);
    assert_int_equal(zc_entry_state(entry_of(f.t, KEY(0))), ZC_WRITING);
    verify_cache(f.cache);
    assert_int_equal(zcache_done(f.cache, seen.token, 0), 0);
    assert_int_equal(zc_writeback_harvest(&w, PAST), 0);
    assert_int_equal(w.n_out, 0);
    assert_int_equal(w.evicted, 1);
    teardown(&f);
}

static void a_failing_store_is_given_longer_and_longer_rests(void **state)
{
    uint64_t expected = 10 * MS_IN_NS;
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    seen.result = -ENOSPC;
    put(&f, 0, 1, 0);
    for (uint32_t n = 1; n <= 12; n++) {
        const uint64_t before = now_ns();
        struct zc_writes w = write_one(&f, 0, true);
        const uint64_t rest = atomic_load(&f.t->retry_ns) - before;
        assert_int_equal(w.failed, 1);
        assert_int_equal(w.error, -ENOSPC);
        assert_true(is_dirty(&f, 0));
        assert_int_equal(atomic_load(&f.t->failures), n);
        assert_true(rest >= expected);
        expected = ZC_MIN(2 * expected, 1000 * MS_IN_NS);
    }
    assert_int_equal(atomic_load(&f.t->error), -ENOSPC);
    assert_int_equal(atomic_load(&f.cache->root->error), -ENOSPC);
    assert_int_equal(count(&f, ZC_C_write_errors), 12);
    seen.result = 0;
    assert_int_equal(write_one(&f, 0, false).written, 1);
    assert_int_equal(atomic_load(&f.t->failures) | atomic_load(&f.t->retry_ns), 0);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Flush. */

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_may_not_be_written_is_not_claimed),
        cmocka_unit_test(damaged_bytes_do_not_reach_the_store),
        cmocka_unit_test(a_damaged_head_does_not_reach_the_store),
        cmocka_unit_test(without_a_place_nothing_is_written),
        cmocka_unit_test(without_memory_for_a_copy_nothing_is_written),
        cmocka_unit_test(dirty_neighbours_come_along_in_order),
        cmocka_unit_test(neighbours_are_not_evicted),
        cmocka_unit_test(pages_are_grouped_whatever_their_order),
        cmocka_unit_test(a_page_that_was_put_anew_is_written_in_its_place),
        cmocka_unit_test(a_newer_version_stays_dirty_and_cached),
        cmocka_unit_test(a_page_hit_meanwhile_is_not_evicted),
        cmocka_unit_test(an_eviction_says_what_it_freed),
        cmocka_unit_test(late_results_are_harvested),
        cmocka_unit_test(a_failing_store_is_given_longer_and_longer_rests),
    };

    (void)test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("writeback", tests, NULL, NULL);
}
