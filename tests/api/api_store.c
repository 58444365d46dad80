/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The backing store: when it is called and with what, in each way it may answer; what errors do to a
 * page; loads; and callbacks that call back.
 *
 * Much of what is promised to a store is checked by the store itself, on every call: mem_store.c.
 */
#include "mem_store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PLAIN "fast=none,dense=none"

static const enum mem_store_mode all_modes[] = {MEM_STORE_SYNC, MEM_STORE_THREAD, MEM_STORE_EARLY};

#define EACH_MODE(mode)                                                                            \
    for (unsigned m_ = 0, once_ = 1; m_ < 3; m_++, once_ = 1)                                      \
        for (enum mem_store_mode mode = all_modes[m_]; once_; once_ = 0)

static void put_n(struct zcache_tenant *tenant, uint64_t object, uint64_t n, uint64_t version)
{
    for (uint64_t i = 0; i < n; i++) {
        REQUIRE_EQUAL(put_page(tenant, key_of(object, i), version, FILL_RANDOM, 0), 0);
    }
}

static int put_tagged(struct zcache_tenant *tenant,
                      struct zcache_key key,
                      uint64_t version,
                      uint64_t tag)
{
    unsigned char data[PAGE];
    struct zcache_page page = {.key = key, .data = data, .len = PAGE, .tag = tag};

    page_make(data, PAGE, key, version, FILL_RANDOM);
    return zcache_put_many(tenant, &page, 1, 0);
}

/* Writes stand at the gate; the first of them is page 0 of object 1, put by this call. */
static void begin_write(struct mem_store *store, struct zcache_tenant *tenant)
{
    REQUIRE_EQUAL(put_page(tenant, key_of(1, 0), 1, FILL_RANDOM, 0), 0);
    mem_store_hold(store, ZCACHE_IO_WRITE);
    REQUIRE_EQUAL(zcache_shrink(tenant, PAGE, 0, NULL), -EAGAIN);
    WAIT_UNTIL(mem_store_held(store, ZCACHE_IO_WRITE) == 1, 5000);
    REQUIRE(mem_store_in_flight(store, zcache_tenant_id(tenant), key_of(1, 0)));
}

static void end_writes(struct mem_store *store, struct zcache_tenant *tenant)
{
    mem_store_open(store, ZCACHE_IO_WRITE);
    WAIT_UNTIL(stats_of(tenant).gauge.writing_pages == 0, 5000);
}

/* ---- writes ------------------------------------------------------------------------------------- */

static void nothing_is_lost_in_any_mode(void **state)
{
    (void)state;
    EACH_MODE(mode)
    {
        struct mem_store *store = mem_store_new(mode);
        struct zcache *cache = open_stored(8 * MIB, store, NULL);
        struct zcache_tenant *root = zcache_root(cache);
        const uint64_t n = 3 * (8 * MIB) / PAGE;

        for (uint64_t version = 1; version <= 2; version++) {
            put_n(root, 1, n, version);
        }
        for (uint64_t i = 0; i < n; i++) {
            assert_int_equal(get_page(root, key_of(1, i), 0), 2);
        }
        assert_int_equal(zcache_flush(root, 10000), 0);
        for (uint64_t i = 0; i < n; i++) {
            assert_int_equal(mem_store_version(store, 0, key_of(1, i)), 2);
        }
        const struct zcache_stats stats = stats_of(root);
        assert_true(stats.count.written_pages >= n);
        assert_int_equal(stats.count.written_pages, atomic_load(&store->pages[ZCACHE_IO_WRITE]));
        assert_int_equal(stats.count.written_bytes, stats.count.written_pages * PAGE);
        assert_int_equal(stats.count.write_batches, atomic_load(&store->batches[ZCACHE_IO_WRITE]));
        assert_int_equal(stats.count.load_batches, atomic_load(&store->batches[ZCACHE_IO_READ]));
        assert_int_equal(stats.count.write_errors, 0);
        assert_true(stats.latency[ZCACHE_LATENCY_WRITE].count > 0);
        close_cache(cache);
        mem_store_free(store);
    }
}

/* @n neighbouring pages put in random order and then written; how many batches that took. */
static unsigned batches_for(unsigned shift, unsigned batch_pages, unsigned n, unsigned *largest)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    char options[64];
    struct rng rng = {shift + batch_pages};

    store->group_shift = shift;
    store->batch_pages = batch_pages;
    (void)snprintf(options, sizeof(options), PLAIN ",batch_pages=%u", batch_pages);
    struct zcache *cache = open_stored(64 * MIB, store, options);
    struct zcache_tenant *root = zcache_root(cache);
    for (unsigned left = n; left > 0;) {
        const struct zcache_key key = key_of(7, rng_below(&rng, n));
        if (is_cached(root, key)) {
            continue;
        }
        REQUIRE_EQUAL(put_page(root, key, 1, FILL_RANDOM, 0), 0);
        left--;
    }
    REQUIRE_EQUAL(zcache_flush(root, 10000), 0);
    const unsigned batches = atomic_load(&store->batches[ZCACHE_IO_WRITE]);
    *largest = atomic_load(&store->largest_write);
    REQUIRE_EQUAL(atomic_load(&store->pages[ZCACHE_IO_WRITE]), n);
    close_cache(cache);
    mem_store_free(store);
    return batches;
}

static void neighbours_are_written_together(void **state)
{
    unsigned largest = 0;

    (void)state;
    assert_int_equal(batches_for(0, 32, 256, &largest), 256);
    assert_int_equal(largest, 1);
    assert_in_range(batches_for(4, 32, 320, &largest), 20, 40);
    assert_int_equal(largest, 16);
    assert_in_range(batches_for(4, 4, 320, &largest), 80, 120);
    assert_int_equal(largest, 4);
    assert_in_range(batches_for(16, 32, 320, &largest), 10, 40);
    assert_int_equal(largest, 32);
}

static void a_put_during_a_write_stays_dirty(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    begin_write(store, root);
    assert_int_equal(put_page(root, key_of(1, 0), 2, FILL_RANDOM, 0), 0);
    assert_int_equal(put_page(root, key_of(1, 0), 3, FILL_RANDOM, 0), 0);
    assert_int_equal(get_page(root, key_of(1, 0), 0), 3);
    assert_int_equal(stats_of(root).gauge.writing_pages, 1);
    end_writes(store, root);
    assert_int_equal(stats_of(root).count.write_superseded, 1);
    assert_int_equal(stats_of(root).gauge.dirty_pages, 1);
    assert_int_equal(mem_store_version(store, 0, key_of(1, 0)), 1);
    assert_int_equal(zcache_flush(root, 5000), 0);
    assert_int_equal(mem_store_version(store, 0, key_of(1, 0)), 3);
    close_cache(cache);
    mem_store_free(store);
}

static void shrinking_steps_over_what_is_being_written(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_shrink_result result = {0};

    (void)state;
    begin_write(store, root);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(zcache_shrink(root, PAGE, 0, &result), -EAGAIN);
        assert_true(result.busy_pages >= 1);
        assert_int_equal(result.evicted_pages, 0);
    }
    assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_WRITE]), 1);
    assert_int_equal(get_page(root, key_of(1, 0), 0), 1);
    assert_true(stats_of(root).cache.io_bytes >= PAGE);
    end_writes(store, root);
    assert_int_equal(stats_of(root).cache.io_bytes, 0);
    assert_int_equal(stats_of(root).gauge.dirty_pages, 0);
    close_cache(cache);
    mem_store_free(store);
}

static void in_flight_pages_are_bounded(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    store->batch_pages = 4;
    struct zcache *cache =
        open_stored(64 * MIB, store, PLAIN ",batch_pages=4,inflight_pages=8,max_stall_ms=50");
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    put_n(root, 1, 200, 1);
    mem_store_hold(store, ZCACHE_IO_WRITE);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(zcache_shrink(root, 100 * PAGE, 5, NULL), -EAGAIN);
        assert_true(atomic_load(&store->pages[ZCACHE_IO_WRITE]) <= 8);
        assert_true(stats_of(root).gauge.writing_pages <= 8);
    }
    assert_int_equal(zcache_flush(root, 30), -ETIMEDOUT);
    assert_int_equal(atomic_load(&store->pages[ZCACHE_IO_WRITE]), 8);
    end_writes(store, root);
    assert_int_equal(zcache_flush(root, 10000), 0);
    assert_int_equal(stats_of(root).gauge.dirty_pages, 0);
    close_cache(cache);
    mem_store_free(store);
}

/* ---- deletes ------------------------------------------------------------------------------------ */

struct deleter {
    struct zcache_tenant *tenant;
    atomic_bool done;
};

static void *delete_page(void *arg)
{
    struct deleter *me = arg;
    REQUIRE_EQUAL(zcache_delete(me->tenant, key_of(1, 0), 0), 0);
    atomic_store(&me->done, true);
    return NULL;
}

static void delete_waits_for_the_write(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct deleter deleter = {.tenant = root};
    pthread_t thread;

    (void)state;
    begin_write(store, root);
    assert_int_equal(zcache_delete(root, key_of(1, 0), ZCACHE_NOWAIT), -EBUSY);
    assert_int_equal(get_page(root, key_of(1, 0), 0), 1);
    assert_int_equal(pthread_create(&thread, NULL, delete_page, &deleter), 0);
    const uint64_t deadline = deadline_in(50);
    while (!atomic_load(&deleter.done) && pause_before(deadline)) {
        ;
    }
    assert_false(atomic_load(&deleter.done));
    mem_store_open(store, ZCACHE_IO_WRITE);
    pthread_join(thread, NULL);
    mem_store_forbid(store, 0, key_of(1, 0), 1);
    assert_int_equal(mem_store_version(store, 0, key_of(1, 0)), 0); /* discarded */
    assert_int_equal(get_page(root, key_of(1, 0), 0), 0);
    assert_int_equal(zcache_flush(root, 1000), 0);
    assert_int_equal(mem_store_version(store, 0, key_of(1, 0)), 0);
    const struct zcache_stats stats = stats_of(root);
    assert_true(stats.count.stalls >= 1);
    close_cache(cache);
    mem_store_free(store);
}

static void delete_and_truncate_discard(void **state)
{
    (void)state;
    EACH_MODE(mode)
    {
        struct mem_store *store = mem_store_new(mode);
        struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
        struct zcache_tenant *root = zcache_root(cache);

        put_n(root, 1, 100, 1);
        put_n(root, 2, 100, 1);
        assert_int_equal(zcache_flush(root, 10000), 0);
        assert_int_equal(zcache_delete(root, key_of(1, 5), 0), 0);
        assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_DISCARD]), 1);
        assert_int_equal(mem_store_version(store, 0, key_of(1, 5)), 0);
        /* Also where the cache does not have the page: the store may. */
        mem_store_put_page(store, 0, key_of(3, 3), 1, FILL_TEXT);
        assert_int_equal(zcache_delete(root, key_of(3, 3), 0), ZCACHE_MISS);
        assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_DISCARD]), 2);
        assert_int_equal(mem_store_version(store, 0, key_of(3, 3)), 0);
        assert_int_equal(get_page(root, key_of(3, 3), 0), 0);
        /* Unless told not to. */
        assert_int_equal(zcache_delete(root, key_of(1, 6), ZCACHE_NOIO), 0);
        assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_DISCARD]), 2);
        assert_int_equal(mem_store_version(store, 0, key_of(1, 6)), 1);

        /* A range is one call, whatever the cache has of it. */
        mem_store_put_page(store, 0, key_of(2, 5000), 1, FILL_TEXT);
        assert_int_equal(zcache_truncate(root, 2, 40), 0);
        assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_DISCARD]), 3);
        for (uint64_t i = 0; i < 100; i++) {
            assert_int_equal(mem_store_version(store, 0, key_of(2, i)), i < 40);
            assert_int_equal(get_page(root, key_of(2, i), 0), i < 40);
        }
        assert_int_equal(get_page(root, key_of(2, 5000), 0), 0);
        assert_int_equal(stats_of(root).count.discarded_pages, 3);

        /* Its error is the call's; the page is gone from the cache. */
        atomic_store(&store->fail_batches[ZCACHE_IO_DISCARD], 1);
        assert_int_equal(zcache_delete(root, key_of(1, 7), 0), -EIO);
        assert_false(is_cached(root, key_of(1, 7)));
        atomic_store(&store->fail_batches[ZCACHE_IO_DISCARD], 1);
        assert_int_equal(zcache_truncate(root, 1, 0), -EIO);
        assert_false(is_cached(root, key_of(1, 8)));
        close_cache(cache);
        mem_store_free(store);
    }
}

/* ---- flush, barrier, errors ---------------------------------------------------------------------- */

static void flush_makes_the_subtree_durable(void **state)
{
    (void)state;
    EACH_MODE(mode)
    {
        struct mem_store *store = mem_store_new(mode);
        struct zcache *cache = open_stored(64 * MIB, store, NULL);
        struct zcache_tenant *root = zcache_root(cache);
        struct zcache_tenant *a = open_tenant(root, "a", ZCACHE_UNLIMITED);
        struct zcache_tenant *b = open_tenant(a, "b", ZCACHE_UNLIMITED);

        put_n(root, 1, 100, 1);
        put_n(a, 1, 100, 1);
        put_n(b, 1, 100, 1);
        assert_int_equal(zcache_flush(a, 10000), 0);
        assert_true(atomic_load(&store->batches[ZCACHE_IO_BARRIER]) >= 1);
        for (uint64_t i = 0; i < 100; i++) {
            assert_int_equal(mem_store_durable(store, zcache_tenant_id(a), key_of(1, i)), 1);
            assert_int_equal(mem_store_durable(store, zcache_tenant_id(b), key_of(1, i)), 1);
            assert_int_equal(mem_store_version(store, 0, key_of(1, i)), 0);
        }
        assert_int_equal(stats_of(a).gauge.dirty_pages, 0);
        assert_int_equal(stats_of(root).gauge.dirty_pages, 100);

        /* Nothing is dirty any more: nothing is written again. */
        const unsigned batches = atomic_load(&store->batches[ZCACHE_IO_WRITE]);
        assert_int_equal(zcache_flush(a, 10000), 0);
        assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_WRITE]), batches);

        /* The barrier's error is the flush's. */
        atomic_store(&store->fail_batches[ZCACHE_IO_BARRIER], 1);
        assert_int_equal(zcache_flush(root, 10000), -EIO);
        assert_int_equal(zcache_flush(root, 10000), 0);
        close_cache(cache);
        mem_store_free(store);
    }
}

/* Pages that reclaim wrote before the flush must be behind its barrier too. */
static void flush_covers_earlier_writes(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    put_n(root, 1, 100, 1);
    assert_int_equal(zcache_shrink(root, 50 * PAGE, 10000, NULL), 0);
    const int rc = zcache_shrink(root, 50 * PAGE, 0, NULL);
    assert_true(rc == 0 || rc == -EAGAIN);
    assert_int_equal(zcache_flush(root, 10000), 0);
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(mem_store_durable(store, 0, key_of(1, i)), 1);
    }
    close_cache(cache);
    mem_store_free(store);
}

static int fail_odd_pages(struct mem_store *store,
                          const struct zcache_io *io,
                          const struct zcache_io_page *page)
{
    const atomic_bool *failing = store->script_ctx;
    return io->op == ZCACHE_IO_WRITE && page->key.page % 2 == 1 && atomic_load(failing) ? -EROFS
                                                                                        : 0;
}

static void a_failed_write_keeps_the_page(void **state)
{
    (void)state;
    EACH_MODE(mode)
    {
        struct mem_store *store = mem_store_new(mode);
        atomic_bool failing = true;
        store->page_status = fail_odd_pages;
        store->script_ctx = &failing;
        struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
        struct zcache_tenant *root = zcache_root(cache);

        put_n(root, 1, 100, 1);
        assert_int_equal(zcache_flush(root, 10000), -EROFS);
        struct zcache_stats stats = stats_of(root);
        assert_int_equal(stats.gauge.dirty_pages, 50);
        assert_true(stats.count.write_errors >= 50);
        assert_int_equal(stats.count.written_pages, 50);
        /* Whatever is asked of it, a failed page does not leave. */
        assert_int_equal(zcache_shrink(root, 64 * MIB, 50, NULL), -EAGAIN);
        for (uint64_t i = 0; i < 100; i++) {
            assert_int_equal(get_page(root, key_of(1, i), i % 2 == 1 ? ZCACHE_NO_LOAD : 0), 1);
        }
        assert_int_equal(stats_of(root).gauge.dirty_pages, 50);

        /* What failed since is told by the next flush, though it succeeds now, and only once. */
        atomic_store(&failing, false);
        assert_int_equal(zcache_flush(root, 10000), -EROFS);
        assert_int_equal(stats_of(root).gauge.dirty_pages, 0);
        assert_int_equal(zcache_flush(root, 10000), 0);
        for (uint64_t i = 0; i < 100; i++) {
            assert_int_equal(mem_store_version(store, 0, key_of(1, i)), 1);
        }
        close_cache(cache);
        mem_store_free(store);
    }
}

static void a_failed_flush_is_told_once(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    put_n(root, 1, 10, 1);
    atomic_store(&store->fail_status, -ENOSPC);
    atomic_store(&store->fail_batches[ZCACHE_IO_WRITE], 1 << 20);
    assert_int_equal(zcache_flush(root, 10000), -ENOSPC);
    atomic_store(&store->fail_batches[ZCACHE_IO_WRITE], 0);
    assert_int_equal(zcache_flush(root, 10000), 0);
    /* The cache stays open if its pages cannot be written. */
    put_n(root, 1, 10, 2);
    atomic_store(&store->fail_batches[ZCACHE_IO_WRITE], 1 << 20);
    assert_int_equal(zcache_close(cache, ZCACHE_FLUSH), -ENOSPC);
    for (uint64_t i = 0; i < 10; i++) {
        assert_int_equal(get_page(root, key_of(1, i), 0), 2);
    }
    assert_int_equal(put_page(root, key_of(2, 2), 1, FILL_TEXT, 0), 0);
    atomic_store(&store->fail_batches[ZCACHE_IO_WRITE], 0);
    (void)!zcache_flush(root, 10000);
    close_cache(cache);
    for (uint64_t i = 0; i < 10; i++) {
        assert_int_equal(mem_store_version(store, 0, key_of(1, i)), 2);
    }
    mem_store_free(store);
}

static void a_failed_barrier_keeps_the_cache_open(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *child = open_tenant(root, "child", ZCACHE_UNLIMITED);

    (void)state;
    put_n(root, 1, 10, 1);
    put_n(child, 1, 10, 1);
    atomic_store(&store->fail_batches[ZCACHE_IO_BARRIER], 1);
    assert_int_equal(zcache_tenant_close(child, ZCACHE_CLOSE_FLUSH), -EIO);
    assert_int_equal(put_page(child, key_of(1, 3), 2, FILL_TEXT, 0), 0);
    atomic_store(&store->fail_batches[ZCACHE_IO_BARRIER], 1 << 20);
    assert_int_equal(zcache_close(cache, ZCACHE_FLUSH), -EIO);
    assert_int_equal(get_page(child, key_of(1, 3), 0), 2);
    assert_int_equal(put_page(root, key_of(1, 3), 2, FILL_TEXT, 0), 0);
    atomic_store(&store->fail_batches[ZCACHE_IO_BARRIER], 0);
    close_cache(cache);
    assert_int_equal(mem_store_durable(store, 0, key_of(1, 3)), 2);
    mem_store_free(store);
}

static void flush_and_close_give_up_in_time(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN ",max_stall_ms=50");
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    begin_write(store, root);
    const uint64_t start = now_ns();
    assert_int_equal(zcache_flush(root, 50), -ETIMEDOUT);
    assert_int_equal(zcache_flush(root, 0), -ETIMEDOUT);
    assert_int_equal(zcache_close(cache, ZCACHE_FLUSH), -ETIMEDOUT);
    assert_true(now_ns() - start >= 130 * MS_IN_NS);
    assert_true(now_ns() - start < 5000 * MS_IN_NS * TEST_SLOWDOWN);
    assert_int_equal(get_page(root, key_of(1, 0), 0), 1);
    end_writes(store, root);
    close_cache(cache);
    assert_int_equal(mem_store_version(store, 0, key_of(1, 0)), 1);
    mem_store_free(store);
}

/* ---- the write-ahead log's horizon ---------------------------------------------------------------- */

static int watch_horizon(struct mem_store *store, const struct zcache_io *io)
{
    const atomic_ullong *horizon = store->script_ctx;

    for (size_t i = 0; i < io->n_pages; i++) {
        if (io->op == ZCACHE_IO_WRITE) {
            REQUIRE(io->pages[i].tag <= atomic_load(horizon));
        }
    }
    return 0;
}

static void pages_past_the_horizon_are_not_written(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    atomic_ullong horizon = 0;
    store->hook = watch_horizon;
    store->script_ctx = &horizon;
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *child = open_tenant(root, "child", ZCACHE_UNLIMITED);

    (void)state;
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(put_tagged(root, key_of(1, i), 1, i), 0); /* the first is untagged */
    }
    assert_int_equal(zcache_flush(root, 5000), -EAGAIN);
    assert_int_equal(stats_of(root).gauge.dirty_pages, 99);
    assert_int_equal(zcache_shrink(root, 64 * MIB, 20, NULL), -EAGAIN);
    assert_int_equal(zcache_close(cache, ZCACHE_FLUSH), -EAGAIN);
    assert_int_equal(zcache_tenant_id(root), 0);

    atomic_store(&horizon, 49);
    assert_int_equal(zcache_set_wal_horizon(root, 49), 0);
    assert_int_equal(zcache_flush(root, 5000), -EAGAIN);
    assert_int_equal(stats_of(root).gauge.dirty_pages, 50);
    for (uint64_t i = 1; i < 100; i++) {
        assert_int_equal(mem_store_version(store, 0, key_of(1, i)), i <= 49);
    }

    /* It never falls. */
    assert_int_equal(zcache_set_wal_horizon(root, 10), 0);
    assert_int_equal(put_tagged(root, key_of(1, 20), 2, 45), 0);
    /* A newer version is bound by its own tag. */
    assert_int_equal(put_tagged(root, key_of(1, 21), 2, 200), 0);
    assert_int_equal(zcache_flush(root, 5000), -EAGAIN);
    assert_int_equal(mem_store_version(store, 0, key_of(1, 20)), 2);
    assert_int_equal(mem_store_version(store, 0, key_of(1, 21)), 1);

    /* An untagged version is not bound to it. */
    assert_int_equal(put_tagged(root, key_of(2, 1), 1, 150), 0);
    assert_int_equal(put_page(root, key_of(2, 1), 2, FILL_RANDOM, 0), 0);
    assert_int_equal(zcache_flush(root, 5000), -EAGAIN);
    assert_int_equal(mem_store_version(store, 0, key_of(2, 1)), 2);

    /* A child's is its own. */
    assert_int_equal(put_tagged(child, key_of(1, 1), 1, 5), 0);
    assert_int_equal(zcache_flush(child, 5000), -EAGAIN);
    assert_int_equal(zcache_set_wal_horizon(child, 5), 0);
    assert_int_equal(zcache_flush(child, 5000), 0);

    atomic_store(&horizon, 200);
    assert_int_equal(zcache_set_wal_horizon(root, 200), 0);
    assert_int_equal(zcache_flush(root, 5000), 0);
    assert_int_equal(mem_store_version(store, 0, key_of(1, 21)), 2);
    assert_int_equal(stats_of(root).gauge.dirty_pages, 0);
    close_cache(cache);
    mem_store_free(store);
}

/* ---- loads -------------------------------------------------------------------------------------- */

static void a_miss_is_loaded(void **state)
{
    (void)state;
    EACH_MODE(mode)
    {
        struct mem_store *store = mem_store_new(mode);
        struct zcache *cache = open_stored(64 * MIB, store, NULL);
        struct zcache_tenant *root = zcache_root(cache);
        struct zcache_pin pin;
        unsigned char odd[777];
        unsigned char room[777];
        size_t len = 0;
        uint64_t version = 0;

        mem_store_put_page(store, 0, key_of(1, 1), 5, FILL_TEXT);
        mem_store_put_page(store, 0, key_of(1, 2), 6, FILL_RANDOM);
        page_make(odd, sizeof(odd), key_of(1, 3), 7, FILL_HALF);
        mem_store_put(store, 0, key_of(1, 3), odd, sizeof(odd));
        assert_int_equal(get_page(root, key_of(1, 1), 0), 5);
        assert_int_equal(get_page(root, key_of(1, 1), ZCACHE_NO_LOAD), 5);
        assert_int_equal(zcache_pin(root, key_of(1, 2), 0, &pin), 0);
        assert_true(page_whole(pin.data, pin.len, key_of(1, 2), &version) && version == 6);
        zcache_unpin(&pin);
        assert_int_equal(zcache_get(root, key_of(1, 3), NULL, 0, &len, 0), 0);
        assert_int_equal(len, sizeof(odd));
        assert_int_equal(zcache_get(root, key_of(1, 3), room, sizeof(room), &len, 0), 0);
        assert_memory_equal(room, odd, sizeof(odd));
        assert_int_equal(get_page(root, key_of(1, 4), 0), 0);

        const struct zcache_stats stats = stats_of(root);
        assert_int_equal(stats.count.get_loads, 2);
        assert_int_equal(stats.count.pin_loads, 1);
        assert_int_equal(stats.count.get_misses, 1);
        assert_int_equal(stats.count.loaded_pages, 3);
        assert_int_equal(stats.count.loaded_bytes, 2 * PAGE + sizeof(odd));
        assert_int_equal(stats.gauge.pages, 3);
        assert_int_equal(stats.gauge.dirty_pages, 0);
        close_cache(cache);
        mem_store_free(store);
    }
}

static void misses_of_one_call_share_reads(void **state)
{
    (void)state;
    EACH_MODE(mode)
    {
        struct mem_store *store = mem_store_new(mode);
        struct zcache *cache = open_stored(64 * MIB, store, NULL);
        struct zcache_tenant *root = zcache_root(cache);

        enum {
            N = 64
        };
        struct zcache_page pages[N];
        static unsigned char room[N][PAGE];

        for (unsigned i = 0; i < N; i++) {
            /* In no order; every eighth is nowhere; every fourth is cached. */
            const struct zcache_key key = key_of(1, (i * 37) % N);
            if (i % 8 != 7) {
                mem_store_put_page(store, 0, key, 5, FILL_HALF);
            }
            if (i % 4 == 0) {
                assert_int_equal(get_page(root, key, 0), 5);
            }
            pages[i] = (struct zcache_page){.key = key, .buf = room[i], .cap = PAGE, .status = -1};
        }
        const unsigned before = atomic_load(&store->batches[ZCACHE_IO_READ]);
        assert_int_equal(zcache_get_many(root, pages, N, 0), 0);
        assert_in_range(atomic_load(&store->batches[ZCACHE_IO_READ]) - before, 1, 8);
        for (unsigned i = 0; i < N; i++) {
            uint64_t version = 0;
            assert_int_equal(pages[i].status, i % 8 == 7 ? ZCACHE_MISS : 0);
            if (i % 8 != 7) {
                assert_true(page_whole(room[i], pages[i].len, pages[i].key, &version));
            }
        }
        close_cache(cache);
        mem_store_free(store);
    }
}

struct getter {
    struct zcache_tenant *tenant;
    unsigned flags;
    int rc;
    uint64_t version;
    atomic_bool done;
};

static void *get_one(void *arg)
{
    struct getter *me = arg;
    unsigned char room[PAGE];
    size_t len = 0;

    me->rc = zcache_get(me->tenant, key_of(1, 1), room, PAGE, &len, me->flags);
    if (me->rc == 0) {
        REQUIRE(page_whole(room, len, key_of(1, 1), &me->version));
    }
    atomic_store(&me->done, true);
    return NULL;
}

enum {
    CROWD = 8
};

/* A crowd misses one key; how each of them ended. */
static void crowd_misses(struct mem_store *store, struct zcache_tenant *root, struct getter *crowd)
{
    pthread_t threads[CROWD];

    mem_store_hold(store, ZCACHE_IO_READ);
    for (unsigned i = 0; i < CROWD; i++) {
        crowd[i] = (struct getter){.tenant = root};
        REQUIRE_EQUAL(pthread_create(&threads[i], NULL, get_one, &crowd[i]), 0);
    }
    WAIT_UNTIL(mem_store_held(store, ZCACHE_IO_READ) == 1, 5000);
    WAIT_UNTIL(stats_of(root).count.load_waits == CROWD - 1, 5000);
    mem_store_open(store, ZCACHE_IO_READ);
    for (unsigned i = 0; i < CROWD; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void a_crowd_that_misses_reads_once(void **state)
{
    (void)state;
    EACH_MODE(mode)
    {
        struct mem_store *store = mem_store_new(mode);
        struct zcache *cache = open_stored(64 * MIB, store, NULL);
        struct zcache_tenant *root = zcache_root(cache);
        struct getter crowd[CROWD];

        mem_store_put_page(store, 0, key_of(1, 1), 5, FILL_HALF);
        crowd_misses(store, root, crowd);
        for (unsigned i = 0; i < CROWD; i++) {
            assert_int_equal(crowd[i].rc, 0);
            assert_int_equal(crowd[i].version, 5);
        }
        assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_READ]), 1);
        const struct zcache_stats stats = stats_of(root);
        assert_int_equal(stats.count.loaded_pages, 1);
        assert_int_equal(gets_of(&stats), CROWD);
        assert_int_equal(stats.count.get_misses + stats.count.get_errors, 0);
        close_cache(cache);
        mem_store_free(store);
    }
}

static void a_failed_load_is_an_error_for_all_and_is_forgotten(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(64 * MIB, store, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    struct getter crowd[CROWD];

    (void)state;
    mem_store_put_page(store, 0, key_of(1, 1), 5, FILL_HALF);
    atomic_store(&store->fail_batches[ZCACHE_IO_READ], 1);
    crowd_misses(store, root, crowd);
    for (unsigned i = 0; i < CROWD; i++) {
        assert_int_equal(crowd[i].rc, -EIO);
    }
    assert_int_equal(stats_of(root).count.load_errors, 1);
    assert_int_equal(stats_of(root).count.get_errors, CROWD);
    assert_int_equal(stats_of(root).gauge.pages, 0);
    assert_int_equal(get_page(root, key_of(1, 1), 0), 5);
    close_cache(cache);
    mem_store_free(store);
}

static void a_crowd_that_misses_nothing_gets_misses(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(64 * MIB, store, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    struct getter crowd[CROWD];

    (void)state;
    crowd_misses(store, root, crowd);
    for (unsigned i = 0; i < CROWD; i++) {
        assert_int_equal(crowd[i].rc, ZCACHE_MISS);
    }
    assert_int_equal(stats_of(root).count.get_misses, CROWD);
    assert_int_equal(stats_of(root).gauge.pages, 0);
    close_cache(cache);
    mem_store_free(store);
}

static void a_load_has_its_time(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(64 * MIB, store, "max_stall_ms=50");
    struct zcache_tenant *root = zcache_root(cache);
    unsigned char room[PAGE];

    (void)state;
    mem_store_put_page(store, 0, key_of(1, 1), 5, FILL_HALF);
    mem_store_hold(store, ZCACHE_IO_READ);
    assert_int_equal(zcache_get(root, key_of(1, 1), room, PAGE, NULL, 0), -ETIMEDOUT);
    /* Its read is still on the way: who must not wait is told so. */
    assert_int_equal(zcache_get(root, key_of(1, 1), room, PAGE, NULL, ZCACHE_NOWAIT), -EBUSY);
    assert_int_equal(zcache_get(root, key_of(1, 1), room, PAGE, NULL, 0), -ETIMEDOUT);
    assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_READ]), 1);
    mem_store_open(store, ZCACHE_IO_READ);
    WAIT_UNTIL(is_cached(root, key_of(1, 1)) || mem_store_held(store, ZCACHE_IO_READ) == 0, 5000);
    assert_int_equal(get_page(root, key_of(1, 1), 0), 5);
    close_cache(cache);
    mem_store_free(store);
}

/* Hold a read after it has fetched what the store had. */
struct late_read {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool fetched;
    bool go_on;
};

static void stand_after_read(struct mem_store *store, const struct zcache_io *io)
{
    struct late_read *late = store->script_ctx;

    if (io->op != ZCACHE_IO_READ) {
        return;
    }
    pthread_mutex_lock(&late->lock);
    late->fetched = true;
    pthread_cond_broadcast(&late->changed);
    while (!late->go_on) {
        pthread_cond_wait(&late->changed, &late->lock);
    }
    pthread_mutex_unlock(&late->lock);
}

enum overtake {
    BY_PUT,
    BY_DELETE,
    BY_TRUNCATE,
    BY_PUT_THEN_DELETE,
    N_OVERTAKES
};

static void overtake_a_load(enum overtake how)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct late_read late = {.lock = PTHREAD_MUTEX_INITIALIZER,
                             .changed = PTHREAD_COND_INITIALIZER};
    store->script_ctx = &late;
    store->after = stand_after_read;
    struct zcache *cache = open_stored(64 * MIB, store, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    struct getter getter = {.tenant = root};
    pthread_t thread;
    uint64_t expected = 0;

    mem_store_put_page(store, 0, key_of(1, 1), 5, FILL_HALF);
    assert_int_equal(pthread_create(&thread, NULL, get_one, &getter), 0);
    pthread_mutex_lock(&late.lock);
    while (!late.fetched) {
        pthread_cond_wait(&late.changed, &late.lock);
    }
    pthread_mutex_unlock(&late.lock);

    /* None of these waits for the load. */
    if (how == BY_PUT || how == BY_PUT_THEN_DELETE) {
        assert_int_equal(put_page(root, key_of(1, 1), 9, FILL_TEXT, ZCACHE_NOWAIT), 0);
        assert_int_equal(get_page(root, key_of(1, 1), ZCACHE_NOWAIT), 9);
        expected = 9;
    }
    if (how == BY_DELETE || how == BY_PUT_THEN_DELETE) {
        const int rc = zcache_delete(root, key_of(1, 1), 0);
        assert_int_equal(rc, how == BY_DELETE ? ZCACHE_MISS : 0);
        expected = 0;
    }
    if (how == BY_TRUNCATE) {
        assert_int_equal(zcache_truncate(root, 1, 0), 0);
    }

    pthread_mutex_lock(&late.lock);
    late.go_on = true;
    pthread_cond_broadcast(&late.changed);
    pthread_mutex_unlock(&late.lock);
    pthread_join(thread, NULL);
    /* The getter itself may have seen what was there before, or after. */
    assert_true(getter.rc == 0 || getter.rc == ZCACHE_MISS);
    assert_true(getter.rc != 0 || getter.version == 5 || getter.version == expected);
    assert_int_equal(get_page(root, key_of(1, 1), 0), expected);
    assert_true(stats_of(root).count.load_cancelled >= 1);
    close_cache(cache);
    mem_store_free(store);
}

/* The store is asked, and its answer is there for a later call. */
static void a_load_that_must_not_be_waited_for_goes_on(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    struct zcache_tenant *root = zcache_root(cache);
    unsigned char room[2][PAGE];
    struct zcache_page pages[] = {{.key = key_of(1, 1), .buf = room[0], .cap = PAGE},
                                  {.key = key_of(1, 2), .buf = room[1], .cap = PAGE}};

    (void)state;
    mem_store_put_page(store, 0, key_of(1, 1), 5, FILL_HALF);
    mem_store_put_page(store, 0, key_of(1, 2), 6, FILL_HALF);
    mem_store_hold(store, ZCACHE_IO_READ);
    assert_int_equal(zcache_get(root, key_of(1, 1), room[0], PAGE, NULL, ZCACHE_NOWAIT), -EBUSY);
    assert_int_equal(zcache_get_many(root, pages, 2, ZCACHE_NOWAIT), -EBUSY);
    assert_int_equal(pages[0].status, -EBUSY);
    assert_int_equal(pages[1].status, -EBUSY);
    WAIT_UNTIL(mem_store_held(store, ZCACHE_IO_READ) == 2, 5000);
    mem_store_open(store, ZCACHE_IO_READ);
    WAIT_UNTIL(is_cached(root, key_of(1, 1)) && is_cached(root, key_of(1, 2)), 5000);
    assert_int_equal(get_page(root, key_of(1, 1), ZCACHE_NOWAIT), 5);
    assert_int_equal(get_page(root, key_of(1, 2), ZCACHE_NOWAIT), 6);
    close_cache(cache);
    mem_store_free(store);
}

static void whatever_comes_during_a_load_wins(void **state)
{
    (void)state;
    for (enum overtake how = BY_PUT; how < N_OVERTAKES; how++) {
        overtake_a_load(how);
    }
}

/* A store that says it read more than there was room for, or nothing, is not believed. */
static size_t claimed_len;

static int read_claiming(void *ctx, struct zcache_io *io)
{
    (void)ctx;
    for (size_t i = 0; i < io->n_pages; i++) {
        io->pages[i].len = claimed_len;
    }
    return 0;
}

static void a_lying_store_is_not_believed(void **state)
{
    struct zcache_store callbacks = ZCACHE_STORE_INIT;
    static const size_t lies[] = {0, 65537, SIZE_MAX};
    unsigned char room[PAGE];

    (void)state;
    callbacks.read = read_claiming;
    struct zcache *cache = open_cache(64 * MIB, &callbacks, NULL);
    for (unsigned i = 0; i < 3; i++) {
        claimed_len = lies[i];
        assert_true(zcache_get(zcache_root(cache), key_of(1, 1), room, PAGE, NULL, 0) < 0);
        assert_false(is_cached(zcache_root(cache), key_of(1, 1)));
    }
    close_cache(cache);
}

/* ---- completion ---------------------------------------------------------------------------------- */

static atomic_ullong last_token;

static int keep_token(struct mem_store *store, const struct zcache_io *io)
{
    (void)store;
    if (io->op == ZCACHE_IO_WRITE) {
        atomic_store(&last_token, io->token);
    }
    return 0;
}

static void a_batch_completes_once(void **state)
{
    (void)state;
    EACH_MODE(mode)
    {
        struct mem_store *store = mem_store_new(mode);
        store->hook = keep_token;
        struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
        struct zcache_tenant *root = zcache_root(cache);

        put_n(root, 1, 1, 1);
        assert_int_equal(zcache_flush(root, 5000), 0);
        const uint64_t token = atomic_load(&last_token);
        assert_int_equal(zcache_done(cache, token, 0), -ENOENT);
        assert_int_equal(zcache_done(cache, token, -EIO), -ENOENT);
        put_n(root, 1, 1, 2);
        mem_store_hold(store, ZCACHE_IO_WRITE);
        if (mode == MEM_STORE_THREAD) {
            assert_int_equal(zcache_shrink(root, PAGE, 0, NULL), -EAGAIN);
            WAIT_UNTIL(mem_store_held(store, ZCACHE_IO_WRITE) == 1, 5000);
            /* The old token does not complete the new batch. */
            assert_int_equal(zcache_done(cache, token, 0), -ENOENT);
            assert_int_equal(stats_of(root).gauge.writing_pages, 1);
            assert_int_equal(zcache_done(cache, token + 1000003, 0), -ENOENT);
        }
        end_writes(store, root);
        assert_int_equal(stats_of(root).cache.bad_completions, mode == MEM_STORE_THREAD ? 4 : 2);
        assert_true(log_count_prefix("") >= 1);
        close_cache(cache);
        mem_store_free(store);
    }
}

/* A store that answers each write only when the next one comes, from inside that callback. */
static struct {
    pthread_mutex_t lock;
    struct zcache *cache;
    uint64_t waiting; /* token, 0 if none */
    bool lazy;
    unsigned completed;
} lazy = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int write_lazily(void *ctx, struct zcache_io *io)
{
    (void)ctx;
    pthread_mutex_lock(&lazy.lock);
    const uint64_t before = lazy.waiting;
    const bool wait = lazy.lazy;
    lazy.waiting = wait ? io->token : 0;
    lazy.completed += before != 0;
    pthread_mutex_unlock(&lazy.lock);
    if (before != 0) {
        REQUIRE_EQUAL(zcache_done(lazy.cache, before, 0), 0);
    }
    return wait ? ZCACHE_PENDING : 0;
}

static void a_batch_may_be_completed_inside_another(void **state)
{
    struct zcache_store callbacks = ZCACHE_STORE_INIT;

    (void)state;
    callbacks.write = write_lazily;
    lazy.cache = open_cache(64 * MIB, &callbacks, PLAIN);
    lazy.lazy = true;
    struct zcache_tenant *root = zcache_root(lazy.cache);
    for (uint64_t i = 0; i < 20; i++) {
        /* Far apart, so that each is a batch of its own. */
        assert_int_equal(put_page(root, key_of(i, 1000 * i), 1, FILL_RANDOM, 0), 0);
        (void)!zcache_shrink(root, PAGE, 0, NULL);
    }
    assert_true(lazy.completed >= 10);
    lazy.lazy = false;
    assert_int_equal(put_page(root, key_of(99, 0), 1, FILL_RANDOM, 0), 0);
    assert_int_equal(zcache_flush(root, 10000), 0);
    assert_int_equal(stats_of(root).gauge.writing_pages, 0);
    assert_int_equal(stats_of(root).gauge.dirty_pages, 0);
    assert_int_equal(stats_of(root).cache.bad_completions, 0);
    close_cache(lazy.cache);
}

/* ---- callbacks that call back --------------------------------------------------------------------- */

struct reentry {
    struct zcache_tenant *root;
    struct zcache_tenant *other;
    atomic_uint calls;
    atomic_uint depth;
};

static int call_back_from_write(struct mem_store *store, const struct zcache_io *io)
{
    struct reentry *re = store->script_ctx;
    unsigned char room[PAGE];
    const struct zcache_key same = io->n_pages > 0 ? io->pages[0].key : key_of(0, 0);

    if (io->op != ZCACHE_IO_WRITE || atomic_fetch_add(&re->calls, 1) > 0) {
        return 0;
    }
    /* Other keys: everything. */
    REQUIRE_EQUAL(put_page(re->other, key_of(5, 1), 1, FILL_HALF, 0), 0);
    REQUIRE_EQUAL(get_page(re->other, key_of(5, 1), 0), 1);
    REQUIRE_EQUAL(zcache_delete(re->other, key_of(5, 1), 0), 0);
    REQUIRE_EQUAL(get_page(re->root, key_of(6, 6), 0), 0);
    (void)stats_of(re->root);
    /* The same key: what need not wait works, what would wait for this callback says so. */
    REQUIRE_EQUAL(get_page(re->root, same, 0), 1);
    REQUIRE_EQUAL(zcache_delete(re->root, same, 0), -EDEADLK);
    REQUIRE_EQUAL(zcache_get(re->root, same, room, PAGE, NULL, ZCACHE_TAKE), -EDEADLK);
    REQUIRE_EQUAL(zcache_truncate(re->root, same.object, 0), -EDEADLK);
    REQUIRE_EQUAL(zcache_flush(re->root, 1000), -EDEADLK);
    REQUIRE_EQUAL(zcache_tenant_close(re->other, ZCACHE_CLOSE_FLUSH), -EDEADLK);
    REQUIRE_EQUAL(zcache_close(atomic_load(&store->cache), ZCACHE_FLUSH), -EDEADLK);
    REQUIRE_EQUAL(get_page(re->root, same, 0), 1);
    REQUIRE_EQUAL(put_page(re->root, same, 2, FILL_HALF, 0), 0);
    REQUIRE_EQUAL(get_page(re->root, same, 0), 2);
    return 0;
}

static void write_callbacks_may_call_back(void **state)
{
    (void)state;
    EACH_MODE(mode)
    {
        struct mem_store *store = mem_store_new(mode);
        struct reentry re = {0};
        store->hook = call_back_from_write;
        store->script_ctx = &re;
        struct zcache *cache = open_stored(64 * MIB, store, NULL);
        re.root = zcache_root(cache);
        re.other = open_tenant(re.root, "other", ZCACHE_UNLIMITED);

        assert_int_equal(put_page(re.root, key_of(1, 1), 1, FILL_HALF, 0), 0);
        assert_int_equal(zcache_flush(re.root, 10000), 0);
        assert_true(atomic_load(&re.calls) >= 1);
        assert_int_equal(get_page(re.root, key_of(1, 1), 0), 2);
        assert_int_equal(zcache_flush(re.root, 10000), 0);
        assert_int_equal(mem_store_version(store, 0, key_of(1, 1)), 2);
        close_cache(cache);
        mem_store_free(store);
    }
}

static int call_back_from_read(struct mem_store *store, const struct zcache_io *io)
{
    struct reentry *re = store->script_ctx;
    unsigned char room[PAGE];
    struct zcache_pin pin;

    if (io->op != ZCACHE_IO_READ || io->pages[0].key.object != 1) {
        return 0;
    }
    atomic_fetch_add(&re->calls, 1);
    REQUIRE_EQUAL(put_page(re->other, key_of(5, 1), 1, FILL_HALF, 0), 0);
    REQUIRE_EQUAL(get_page(re->other, key_of(5, 1), 0), 1);
    REQUIRE_EQUAL(get_page(re->root, key_of(2, 2), 0), 7); /* a load inside a load */
    REQUIRE_EQUAL(zcache_get(re->root, io->pages[0].key, room, PAGE, NULL, 0), -EDEADLK);
    REQUIRE_EQUAL(zcache_pin(re->root, io->pages[0].key, 0, &pin), -EDEADLK);
    return 0;
}

static void read_callbacks_may_call_back(void **state)
{
    (void)state;
    EACH_MODE(mode)
    {
        struct mem_store *store = mem_store_new(mode);
        struct reentry re = {0};
        store->hook = call_back_from_read;
        store->script_ctx = &re;
        struct zcache *cache = open_stored(64 * MIB, store, NULL);
        re.root = zcache_root(cache);
        re.other = open_tenant(re.root, "other", ZCACHE_UNLIMITED);

        mem_store_put_page(store, 0, key_of(1, 1), 6, FILL_HALF);
        mem_store_put_page(store, 0, key_of(2, 2), 7, FILL_HALF);
        assert_int_equal(get_page(re.root, key_of(1, 1), 0), 6);
        assert_int_equal(atomic_load(&re.calls), 1);
        assert_int_equal(get_page(re.root, key_of(1, 1), ZCACHE_NO_LOAD), 6);
        close_cache(cache);
        mem_store_free(store);
    }
}

/* A put inside a callback does not start write-back, however full its tenant is. */
static _Thread_local unsigned write_depth;

static int fill_up_from_write(struct mem_store *store, const struct zcache_io *io)
{
    struct reentry *re = store->script_ctx;

    if (io->op != ZCACHE_IO_WRITE) {
        return 0;
    }
    REQUIRE_EQUAL(write_depth, 0);
    write_depth++;
    if (atomic_fetch_add(&re->calls, 1) == 0) {
        int rc = 0;
        for (uint64_t i = 0; rc == 0; i++) {
            rc = put_page(re->other, key_of(3, i), 1, FILL_RANDOM, 0);
        }
        REQUIRE_EQUAL(rc, -EDQUOT);
    }
    write_depth--;
    return 0;
}

static void callbacks_do_not_nest_writes(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct reentry re = {0};
    store->hook = fill_up_from_write;
    store->script_ctx = &re;
    struct zcache *cache = open_stored(64 * MIB, store, PLAIN);
    re.root = zcache_root(cache);
    re.other = open_tenant(re.root, "other", 1 * MIB);

    (void)state;
    put_n(re.root, 1, 10, 1);
    assert_int_equal(zcache_flush(re.root, 10000), 0);
    assert_true(atomic_load(&re.calls) >= 1);
    put_n(re.other, 4, 100, 1); /* outside, it works */
    close_cache(cache);
    mem_store_free(store);
}

/* ---- attaching, detaching, concurrency -------------------------------------------------------------- */

static void a_store_that_was_never_attached_is_not_detached(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    const struct zcache_store callbacks = mem_store_callbacks(store, MEM_STORE_ALL);
    struct zcache_options opts = ZCACHE_OPTIONS_INIT;
    struct zcache_tenant_options tenant_opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache *none = NULL;
    struct zcache_tenant *tenant = NULL;

    (void)state;
    opts.store = &callbacks;
    assert_int_equal(zcache_open(&opts, &none), -EINVAL);
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    open_tenant(zcache_root(cache), "taken", ZCACHE_UNLIMITED);
    tenant_opts.store = &callbacks;
    tenant_opts.name = "taken";
    assert_int_equal(zcache_tenant_open(zcache_root(cache), &tenant_opts, &tenant), -EEXIST);
    assert_int_equal(atomic_load(&store->detached), 0);

    /* This one is: with the tenant. */
    tenant_opts.name = "free";
    assert_int_equal(zcache_tenant_open(zcache_root(cache), &tenant_opts, &tenant), 0);
    atomic_store(&store->cache, cache);
    put_n(tenant, 1, 10, 1);
    assert_int_equal(zcache_tenant_close(tenant, ZCACHE_CLOSE_FLUSH), 0);
    assert_int_equal(atomic_load(&store->detached), 1);
    close_cache(cache);
    mem_store_free(store);
}

/* The structure of callbacks is the caller's again once it is attached. */
static void the_callbacks_are_copied(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache_store callbacks = mem_store_callbacks(store, MEM_STORE_ALL);
    struct zcache *cache = open_cache(64 * MIB, &callbacks, NULL);

    (void)state;
    memset(&callbacks, 0, sizeof(callbacks));
    put_n(zcache_root(cache), 1, 10, 1);
    close_cache(cache);
    assert_int_equal(mem_store_version(store, 0, key_of(1, 9)), 1);
    mem_store_free(store);
}

static int watch_tenant(struct mem_store *store, const struct zcache_io *io)
{
    const char *const *expected = store->script_ctx;

    if (strcmp(io->tenant_name, "named") == 0) {
        REQUIRE(io->tenant_ctx == expected && io->tenant_id > 0);
    } else {
        REQUIRE_EQUAL(io->tenant_id, 0);
    }
    return 0;
}

static void a_child_without_a_store_uses_its_parents(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    const char *marker = "context";
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_tenant *named = NULL;

    (void)state;
    store->script_ctx = &marker;
    store->hook = watch_tenant;
    struct zcache *cache = open_stored(64 * MIB, store, NULL);
    opts.name = "named";
    opts.ctx = &marker;
    assert_int_equal(zcache_tenant_open(zcache_root(cache), &opts, &named), 0);
    put_n(named, 1, 10, 1);
    put_n(zcache_root(cache), 1, 10, 2);
    assert_int_equal(zcache_flush(zcache_root(cache), 5000), 0);
    for (uint64_t i = 0; i < 10; i++) {
        assert_int_equal(mem_store_version(store, zcache_tenant_id(named), key_of(1, i)), 1);
        assert_int_equal(mem_store_version(store, 0, key_of(1, i)), 2);
    }
    close_cache(cache);
    mem_store_free(store);
}

struct worker {
    struct zcache_tenant *tenant;
    uint64_t object;
    unsigned rounds;
};

/* Rewrites its few keys again and again, and now and then makes them be written. */
static void *rewrite(void *arg)
{
    struct worker *me = arg;
    struct rng rng = {me->object};
    uint64_t versions[64] = {0};

    for (unsigned i = 0; i < me->rounds; i++) {
        const uint64_t k = rng_below(&rng, 64);
        REQUIRE_EQUAL(put_page(me->tenant, key_of(me->object, k), ++versions[k], FILL_HALF, 0), 0);
        if (i % 16 == 0) {
            (void)!zcache_shrink(me->tenant, 8 * PAGE, 0, NULL);
        }
        if (i % 256 == 0) {
            REQUIRE_EQUAL(zcache_flush(me->tenant, 20000), 0);
        }
        const uint64_t l = rng_below(&rng, 64);
        REQUIRE_EQUAL(get_page(me->tenant, key_of(me->object, l), 0), versions[l]);
    }
    REQUIRE_EQUAL(zcache_flush(me->tenant, 20000), 0);
    return NULL;
}

static void rewriting_threads(enum mem_store_mode mode, unsigned flags)
{
    struct mem_store *store = mem_store_new(mode);
    store->flags = flags;
    struct zcache *cache = open_stored(64 * MIB, store, NULL);
    struct worker workers[4];
    pthread_t threads[4];

    for (unsigned i = 0; i < 4; i++) {
        workers[i] = (struct worker){zcache_root(cache), i, 4000 / TEST_SLOWDOWN};
        assert_int_equal(pthread_create(&threads[i], NULL, rewrite, &workers[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    if ((flags & ZCACHE_STORE_SERIAL) != 0) {
        assert_int_equal(atomic_load(&store->running_peak), 1);
    }
    close_cache(cache);
    mem_store_free(store);
}

/* What the store checks on each write: one in flight per key, versions in put order. */
static void versions_arrive_in_order(void **state)
{
    (void)state;
    EACH_MODE(mode)
    rewriting_threads(mode, 0);
}

static void a_serial_store_has_one_caller(void **state)
{
    (void)state;
    EACH_MODE(mode)
    rewriting_threads(mode, ZCACHE_STORE_SERIAL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_lost_in_any_mode),
        cmocka_unit_test(neighbours_are_written_together),
        cmocka_unit_test(a_put_during_a_write_stays_dirty),
        cmocka_unit_test(shrinking_steps_over_what_is_being_written),
        cmocka_unit_test(in_flight_pages_are_bounded),
        cmocka_unit_test(delete_waits_for_the_write),
        cmocka_unit_test(delete_and_truncate_discard),
        cmocka_unit_test(flush_makes_the_subtree_durable),
        cmocka_unit_test(flush_covers_earlier_writes),
        cmocka_unit_test(a_failed_write_keeps_the_page),
        cmocka_unit_test(a_failed_flush_is_told_once),
        cmocka_unit_test(a_failed_barrier_keeps_the_cache_open),
        cmocka_unit_test(flush_and_close_give_up_in_time),
        cmocka_unit_test(pages_past_the_horizon_are_not_written),
        cmocka_unit_test(a_miss_is_loaded),
        cmocka_unit_test(misses_of_one_call_share_reads),
        cmocka_unit_test(a_crowd_that_misses_reads_once),
        cmocka_unit_test(a_failed_load_is_an_error_for_all_and_is_forgotten),
        cmocka_unit_test(a_crowd_that_misses_nothing_gets_misses),
        cmocka_unit_test(a_load_has_its_time),
        cmocka_unit_test(a_load_that_must_not_be_waited_for_goes_on),
        cmocka_unit_test(whatever_comes_during_a_load_wins),
        cmocka_unit_test(a_lying_store_is_not_believed),
        cmocka_unit_test(a_batch_completes_once),
        cmocka_unit_test(a_batch_may_be_completed_inside_another),
        cmocka_unit_test(write_callbacks_may_call_back),
        cmocka_unit_test(read_callbacks_may_call_back),
        cmocka_unit_test(callbacks_do_not_nest_writes),
        cmocka_unit_test(a_store_that_was_never_attached_is_not_detached),
        cmocka_unit_test(the_callbacks_are_copied),
        cmocka_unit_test(a_child_without_a_store_uses_its_parents),
        cmocka_unit_test(versions_arrive_in_order),
        cmocka_unit_test(a_serial_store_has_one_caller),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
