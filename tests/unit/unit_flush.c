/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * flush: it ends although pages are put again, leaves what it must and says why, and takes up what an
 * earlier one left.
 */
#include <errno.h>

#include "flush.h"
#include "inside.h"
#include "writeback.h"

#define KEY(page) key_of(1, page)
#define ALL       UINT64_MAX

struct fixture {
    struct mem_store *store;
    struct zcache *cache;
    struct zcache_tenant *t;
    struct zc_thread *th;
};

static void setup(struct fixture *f, struct mem_store *store)
{
    f->store = store;
    f->cache = open_stored(16 * MIB, store, PLAIN);
    f->t = open_tenant(zcache_root(f->cache), "t", 4 * MIB);
    f->th = thread_of(f->cache);
}

static void teardown(struct fixture *f)
{
    assert_int_equal(atomic_load(&f->t->n_writing), 0);
    assert_int_equal(atomic_load(&f->t->flushing), 0);
    drop_cache(f->cache);
    mem_store_free(f->store);
}

static void put(struct fixture *f, uint64_t page, uint64_t version, uint64_t tag)
{
    REQUIRE_EQUAL(put_page(f->t, KEY(page), version, FILL_TEXT, ZCACHE_DIRTY), 0);
    zc_entry_set_tag(entry_of(f->t, KEY(page)), tag);
}

static int flush(struct fixture *f, uint64_t up_to_tag)
{
    return zc_flush_tenant(f->t, f->th, up_to_tag, deadline_in(10000));
}

static uint64_t stored(struct fixture *f, uint64_t page)
{
    return mem_store_version(f->store, f->t->id, KEY(page));
}

/* ---------------------------------------------------------------------------------------------- */

/* Each page of each write, again, while it is written. */
static int put_again(struct mem_store *store, const struct zcache_io *io)
{
    struct fixture *f = store->script_ctx;

    for (size_t i = 0; i < (io->op == ZCACHE_IO_WRITE ? io->n_pages : 0); i++) {
        uint64_t version;

        REQUIRE(page_whole(io->pages[i].data, io->pages[i].len, io->pages[i].key, &version));
        REQUIRE_EQUAL(put_page(f->t, io->pages[i].key, version + 1, FILL_TEXT, ZCACHE_DIRTY), 0);
    }
    return 0;
}

static void it_ends_although_every_page_is_put_again(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct fixture f;

    (void)state;
    store->hook = put_again;
    store->script_ctx = &f;
    setup(&f, store);
    for (uint64_t i = 0; i < 40; i++) {
        put(&f, i, 1, 0);
    }
    const uint32_t parity = atomic_load(&f.t->parity);
    assert_int_equal(flush(&f, ALL), 0);
    assert_int_equal(atomic_load(&f.t->parity), parity ^ 1);
    assert_int_equal(dirty_of(f.t, parity), 0);
    assert_int_equal(dirty_of(f.t, parity ^ 1), 40);
    for (uint64_t i = 0; i < 40; i++) {
        assert_in_range(stored(&f, i), 1, 2);
    }
    teardown(&f);
}

static void it_says_why_pages_are_left(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct fixture f;

    (void)state;
    setup(&f, store);
    assert_int_equal(zc_flush_tenant(f.t, f.th, ALL, PAST), 0); /* nothing is dirty */
    put(&f, 0, 1, 0);
    put(&f, 1, 1, 9);
    assert_int_equal(flush(&f, ALL), -EAGAIN);
    assert_int_equal(stored(&f, 0), 1);
    assert_int_equal(stored(&f, 1), 0);
    atomic_store(&f.t->wal_horizon, 9);
    atomic_store(&store->fail_status, -EROFS);
    atomic_store(&store->fail_batches[ZCACHE_IO_WRITE], 1);
    assert_int_equal(flush(&f, ALL), -EROFS);
    atomic_store(&f.t->flushing, 1);
    assert_int_equal(zc_flush_tenant(f.t, f.th, ALL, PAST), -ETIMEDOUT); /* another has its turn */
    atomic_store(&f.t->flushing, 0);
    struct zc_store *attached = f.t->store;
    f.t->store = NULL;
    assert_int_equal(flush(&f, ALL), -ENOTSUP);
    f.t->store = attached;
    /* The flushes failed at different parities; a later one writes what either left. */
    assert_int_equal(flush(&f, ALL), 0);
    assert_int_equal(zc_tenant_dirty(f.t), 0);
    assert_int_equal(stored(&f, 1), 1);
    teardown(&f);
}

static void a_damaged_page_does_not_keep_the_others(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct fixture f;

    (void)state;
    setup(&f, store);
    for (uint64_t i = 0; i < 3; i++) {
        put(&f, i, 1, 0);
    }
    set_flags(f.t, KEY(1), ZC_F_CORRUPT);
    assert_int_equal(flush(&f, ALL), -EBADMSG);
    assert_int_equal(stored(&f, 0) + stored(&f, 2), 2);
    assert_int_equal(stored(&f, 1), 0);
    clear_flags(f.t, KEY(1), ZC_F_CORRUPT);
    assert_int_equal(flush(&f, ALL), 0);
    assert_int_equal(stored(&f, 1), 1);
    teardown(&f);
}

static void only_tags_up_to_the_given_one_are_written(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct fixture f;

    (void)state;
    store->group_shift = 0; /* no neighbours that come along */
    setup(&f, store);
    atomic_store(&f.t->wal_horizon, 20);
    for (uint64_t i = 0; i < 10; i++) {
        put(&f, i, 1, i);
    }
    assert_int_equal(flush(&f, 4), 0);
    for (uint64_t i = 0; i < 10; i++) {
        assert_int_equal(stored(&f, i), i <= 4 ? 1 : 0);
    }
    assert_int_equal(zc_tenant_dirty(f.t), 5);
    assert_int_equal(flush(&f, 4), 0); /* again, and at the other parity */
    put(&f, 0, 2, 3);
    put(&f, 9, 2, 30);
    assert_int_equal(flush(&f, 8), 0);
    assert_int_equal(stored(&f, 0), 2);
    assert_int_equal(stored(&f, 8), 1);
    assert_int_equal(stored(&f, 9), 0);
    assert_int_equal(flush(&f, 29), 0);
    assert_int_equal(flush(&f, 30), -EAGAIN); /* past the horizon */
    atomic_store(&f.t->wal_horizon, 30);
    assert_int_equal(flush(&f, 30), 0);
    assert_int_equal(stored(&f, 9), 2);
    assert_int_equal(zc_tenant_dirty(f.t), 0);
    teardown(&f);
}

/* Writes of other pages that are always under way do not keep a flush from saying what it knows. */
static void what_is_in_flight_beyond_the_tag_is_not_waited_for(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zc_writes writes = {0};
    struct fixture f;

    (void)state;
    store->group_shift = 0;
    setup(&f, store);
    atomic_store(&f.t->wal_horizon, 20);
    put(&f, 0, 1, 5);
    put(&f, 1, 1, 15);
    mem_store_hold(store, ZCACHE_IO_WRITE);
    struct zc_entry *e = isolate(f.t, KEY(1));
    zc_writeback_pages(f.t, f.th, &e, 1, false, deadline_in(10000), &writes);
    assert_int_equal(writes.n_out, 1);
    assert_int_equal(flush(&f, 4), 0);
    assert_int_equal(zc_flush_tenant(f.t, f.th, 15, PAST), -ETIMEDOUT); /* this one is waited for */
    mem_store_open(store, ZCACHE_IO_WRITE);
    assert_int_equal(zc_writeback_harvest(&writes, deadline_in(10000)), 0);
    assert_int_equal(flush(&f, 15), 0);
    assert_int_equal(stored(&f, 1), 1);
    teardown(&f);
}

static void without_a_barrier_there_is_nothing_to_wait_for(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache_store cb = mem_store_callbacks(store, MEM_STORE_WRITES);
    struct fixture f = {.store = store};

    (void)state;
    f.cache = open_cache(16 * MIB, &cb, PLAIN);
    f.t = open_tenant(zcache_root(f.cache), "t", 4 * MIB);
    f.th = thread_of(f.cache);
    put(&f, 0, 1, 0);
    assert_int_equal(flush(&f, ALL), 0);
    assert_int_equal(zc_flush_tenant(f.t, f.th, ALL, PAST), 0);
    teardown(&f);
}

/* The error of a barrier is told to the next flush of each tenant above as well, once. */
static void a_barrier_that_fails_is_reported_to_everybody_once(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct fixture f;

    (void)state;
    setup(&f, store);
    put(&f, 0, 1, 0);
    atomic_store(&store->fail_batches[ZCACHE_IO_BARRIER], 1);
    assert_int_equal(zcache_flush(f.t, 0), -EIO);
    assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_BARRIER]), 1);
    assert_int_equal(zcache_flush(zcache_root(f.cache), 0), -EIO);
    assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_BARRIER]), 2); /* and made anew */
    assert_int_equal(mem_store_durable(store, f.t->id, KEY(0)), 1);
    assert_int_equal(zcache_flush(zcache_root(f.cache), 0), 0);
    assert_int_equal(zcache_flush(f.t, 0), 0);
    teardown(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_ends_although_every_page_is_put_again),
        cmocka_unit_test(it_says_why_pages_are_left),
        cmocka_unit_test(a_damaged_page_does_not_keep_the_others),
        cmocka_unit_test(only_tags_up_to_the_given_one_are_written),
        cmocka_unit_test(what_is_in_flight_beyond_the_tag_is_not_waited_for),
        cmocka_unit_test(without_a_barrier_there_is_nothing_to_wait_for),
        cmocka_unit_test(a_barrier_that_fails_is_reported_to_everybody_once),
    };

    (void)test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("flush", tests, NULL, NULL);
}
