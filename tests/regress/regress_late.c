/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What broke where an owner went away while somebody was still busy with one of its pages: its
 * counters, its list or its store were used after they had been freed, by a hit, a reclaimer, a
 * completion or an unpin that came late.
 */
#include <errno.h>
#include <string.h>

#include "script.h"
#include "unit/inside.h"

#define KEY key_of(1, 1)

struct call {
    struct zcache *cache;
    struct zcache_tenant *t;
    enum zcache_close_mode mode;
    struct zcache_pin pin;
    uint64_t version;
    int rc;
    unsigned char page[PAGE];
};

static void get_it(void *arg)
{
    struct call *c = arg;
    size_t len = 0;

    c->rc = zcache_get(c->t, KEY, c->page, sizeof(c->page), &len, 0);
    if (c->rc == 0) {
        REQUIRE(page_whole(c->page, len, KEY, &c->version));
    }
}

static void get_with_many(void *arg)
{
    struct call *c = arg;
    struct zcache_page page = {.key = KEY, .buf = c->page, .cap = sizeof(c->page)};

    c->rc = zcache_get_many(c->t, &page, 1, 0);
    REQUIRE_EQUAL(c->rc < 0 ? c->rc : page.status, page.status);
    c->rc = page.status;
}

static void pin_it(void *arg)
{
    struct call *c = arg;

    c->rc = zcache_pin(c->t, KEY, 0, &c->pin);
}

static void close_it(void *arg)
{
    struct call *c = arg;

    c->rc = zcache_tenant_close(c->t, c->mode);
}

static void close_everything(void *arg)
{
    struct call *c = arg;

    c->rc = zcache_close(c->cache, ZCACHE_FLUSH);
}

/* The close must stand in its wait for sections, where this one would have to overtake it. */
static void require_close_waits(const struct script_thread *closer, unsigned waits_before)
{
    WAIT_UNTIL(script_reached("epoch.waits") > waits_before || !script_running(closer), 20000);
    REQUIRE(script_running(closer));
}

/* ---------------------------------------------------------------------------------------------- */
/* Hits and misses: they hold no reference to the tenant. */

/* A get has found its page, or that there is none, and has not counted it yet. */
static void close_during_a_look(void (*get)(void *arg), bool has_page, bool has_store)
{
    struct mem_store *store = has_store ? mem_store_new(MEM_STORE_SYNC) : NULL;
    struct zcache_store callbacks = ZCACHE_STORE_INIT;
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN ",latency_sample=1");
    struct script_thread getting;
    struct script_thread closing;
    struct call getter = {0};
    struct call closer = {.mode = ZCACHE_CLOSE_DISCARD};

    script_begin();
    opts.name = "t";
    if (has_store) {
        callbacks = mem_store_callbacks(store, MEM_STORE_ALL);
        opts.store = &callbacks;
    }
    assert_int_equal(zcache_tenant_open(zcache_root(cache), &opts, &getter.t), 0);
    closer.t = getter.t;
    if (has_page) {
        assert_int_equal(put_page(getter.t, KEY, 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    }
    drain(cache);
    script_hold("get.looked", KEY);
    script_start(&getting, get, &getter);
    script_await("get.looked");
    const unsigned waits = script_reached("epoch.waits");
    script_start(&closing, close_it, &closer);
    require_close_waits(&closing, waits);
    script_release("get.looked");
    script_join(&getting);
    script_join(&closing);
    script_end();

    assert_int_equal(closer.rc, 0);
    const struct zcache_stats stats = stats_of(zcache_root(cache));
    if (has_page) {
        assert_int_equal(getter.rc, 0);
        assert_int_equal(stats.count.get_hits_raw, 1);
    } else if (has_store) { /* the store is not asked any more */
        assert_int_equal(getter.rc, -ESHUTDOWN);
        assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_READ]), 0);
    } else {
        assert_int_equal(getter.rc, ZCACHE_MISS);
        assert_int_equal(stats.count.get_misses, 1);
    }
    close_cache(cache);
    if (has_store) {
        mem_store_free(store);
    }
}

static void a_close_waits_for_a_hit(void **state)
{
    (void)state;
    close_during_a_look(get_it, true, false);
    close_during_a_look(get_with_many, true, false);
}

static void a_close_of_an_empty_tenant_waits_for_a_miss(void **state)
{
    (void)state;
    close_during_a_look(get_it, false, false);
    close_during_a_look(get_with_many, false, false);
    close_during_a_look(get_it, false, true);
    close_during_a_look(get_with_many, false, true);
}

/*
 * The get is through with its section when the tenant is closed, its counters and its store freed: it
 * must not come back to them, neither to count nor to load.
 */
static void close_after_a_look(void (*get)(void *arg), bool has_page)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    const struct zcache_store callbacks = mem_store_callbacks(store, MEM_STORE_ALL);
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN ",latency_sample=1");
    struct script_thread getting;
    struct call getter = {0};

    script_begin();
    opts.name = "t";
    opts.store = &callbacks;
    assert_int_equal(zcache_tenant_open(zcache_root(cache), &opts, &getter.t), 0);
    if (has_page) {
        assert_int_equal(put_page(getter.t, KEY, 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    }
    script_hold("get.left", KEY);
    script_start(&getting, get, &getter);
    script_await("get.left");
    assert_int_equal(zcache_tenant_close(getter.t, ZCACHE_CLOSE_FLUSH), 0);
    script_release("get.left");
    script_join(&getting);
    script_end();

    assert_int_equal(getter.rc, has_page ? 0 : -ESHUTDOWN);
    assert_int_equal(stats_of(zcache_root(cache)).count.get_hits_raw, has_page ? 1 : 0);
    assert_int_equal(atomic_load(&store->batches[ZCACHE_IO_READ]), 0);
    assert_null(getter.t->stat);
    assert_true(atomic_load(&getter.t->hist) == NULL);
    close_cache(cache);
    mem_store_free(store);
}

static void a_hit_does_not_come_back_to_a_closed_tenant(void **state)
{
    (void)state;
    close_after_a_look(get_it, true);
    close_after_a_look(get_with_many, true);
}

static void a_miss_does_not_come_back_to_a_closed_tenant(void **state)
{
    (void)state;
    close_after_a_look(get_it, false);
    close_after_a_look(get_with_many, false);
}

/* A pin holds its page's bytes, and by them the tenant; what fails to pin holds nothing. */
static void a_pin_does_not_come_back_to_a_closed_tenant(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN);
    struct script_thread pinning;
    struct call pinner = {.t = open_tenant(zcache_root(cache), "t", ZCACHE_UNLIMITED)};

    (void)state;
    script_begin();
    script_hold("get.pinned", KEY);
    script_start(&pinning, pin_it, &pinner);
    script_await("get.pinned");
    assert_int_equal(zcache_tenant_close(pinner.t, ZCACHE_CLOSE_FLUSH), 0);
    script_release("get.pinned");
    script_join(&pinning);
    script_end();
    assert_int_equal(pinner.rc, -ESHUTDOWN);
    assert_int_equal(stats_of(zcache_root(cache)).count.pin_misses, 0);
    close_cache(cache);
}

/* ---------------------------------------------------------------------------------------------- */
/* Reclaimers and batches, which have pages of the tenant in hand. */

static void shrink_root(void *arg)
{
    const struct call *c = arg;

    REQUIRE_EQUAL(zcache_shrink(zcache_root(c->cache), 1, 0, NULL), -EAGAIN);
}

static void await_close_waits(const struct call *closer)
{
    WAIT_UNTIL(atomic_load(&closer->t->state) == ZC_TENANT_CLOSING &&
                   atomic_load(&closer->cache->progress.waiters) > 0,
               20000);
}

/* A page that a reclaimer has isolated is on no list, so a close that does not wait misses it. */
static void a_close_waits_for_a_reclaimer(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN ",max_stall_ms=3000");
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", ZCACHE_UNLIMITED);
    struct call shrinker = {.cache = cache};
    struct call closer = {.cache = cache, .t = t, .mode = ZCACHE_CLOSE_DISCARD};
    struct script_thread shrinking;
    struct script_thread closing;

    (void)state;
    script_begin();
    assert_int_equal(put_page(t, KEY, 1, FILL_TEXT, ZCACHE_DIRTY), 0);
    script_hold("reclaim.isolated", KEY);
    script_start(&shrinking, shrink_root, &shrinker);
    script_await("reclaim.isolated");
    script_start(&closing, close_it, &closer);
    await_close_waits(&closer);
    script_release("reclaim.isolated");
    script_join(&shrinking);
    script_join(&closing);
    script_end();
    assert_int_equal(closer.rc, 0);
    assert_int_equal(stats_of(zcache_root(cache)).count.dropped, 1);
    close_cache(cache);
}

/* A write outlives the flush that gave up waiting for it, and is completed when the tenant closes. */
static void a_close_waits_for_a_write_that_nobody_waits_for(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN ",max_stall_ms=3000");
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", ZCACHE_UNLIMITED);
    struct call closer = {.cache = cache, .t = t, .mode = ZCACHE_CLOSE_DISCARD};
    const uint64_t id = zcache_tenant_id(t);
    struct script_thread closing;

    (void)state;
    assert_int_equal(put_page(t, KEY, 1, FILL_TEXT, 0), 0);
    mem_store_hold(store, ZCACHE_IO_WRITE);
    assert_int_equal(zcache_flush(t, 1), -ETIMEDOUT);
    assert_int_equal(mem_store_held(store, ZCACHE_IO_WRITE), 1);
    script_start(&closing, close_it, &closer);
    await_close_waits(&closer);
    mem_store_open(store, ZCACHE_IO_WRITE);
    script_join(&closing);
    assert_int_equal(closer.rc, 0);
    assert_int_equal(mem_store_version(store, id, KEY), 1);
    assert_int_equal(stats_of(zcache_root(cache)).count.dropped, 1);
    close_cache(cache);
    mem_store_free(store);
}

/*
 * A thread of the store has ended a batch, so that the close of the cache goes on, but it is not yet
 * out of zcache_done().  The application cannot know that; the close must.
 */
static void a_close_waits_for_the_end_of_a_completion(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    const struct zcache_store callbacks = mem_store_callbacks(store, MEM_STORE_WRITES);
    struct call closer = {.cache = open_cache(16 * MIB, &callbacks, PLAIN)};
    struct script_thread closing;

    (void)state;
    atomic_store(&store->cache, closer.cache);
    script_begin();
    assert_int_equal(put_page(zcache_root(closer.cache), KEY, 1, FILL_TEXT, 0), 0);
    verify_cache(closer.cache);
    script_hold_any("batch.finished");
    script_hold_any("cache.flushed");
    script_start(&closing, close_everything, &closer);
    script_await("batch.finished");
    script_await("cache.flushed"); /* the flush has let go of the batch */
    script_hold_any("batch.left");
    script_release("batch.finished");
    script_await("batch.left");
    script_release("cache.flushed");
    WAIT_UNTIL(script_reached("cache.waits") > 0 || !script_running(&closing), 20000);
    assert_true(script_running(&closing));
    assert_int_equal(atomic_load(&store->detached), 0);
    script_release("batch.left");
    script_join(&closing);
    script_end();
    assert_int_equal(closer.rc, 0);
    assert_int_equal(mem_store_version(store, 0, KEY), 1);
    mem_store_free(store);
}

/* The bytes of a pin are charged until it goes, and its going is what the close waits for. */
static void a_late_unpin_lets_the_close_go_on(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN ",max_stall_ms=60000");
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", ZCACHE_UNLIMITED);
    struct call closer = {.cache = cache, .t = t, .mode = ZCACHE_CLOSE_DISCARD};
    struct script_thread closing;
    struct zcache_pin pin;
    uint64_t version;

    (void)state;
    assert_int_equal(put_page(t, KEY, 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    assert_int_equal(zcache_pin(t, KEY, 0, &pin), 0);
    script_start(&closing, close_it, &closer);
    await_close_waits(&closer);
    WAIT_UNTIL(atomic_load(&t->n_pages) == 0, 20000);
    drain(cache); /* the page is gone but for the pin */
    assert_true(page_whole(pin.data, pin.len, KEY, &version) && version == 1);
    assert_true(script_running(&closing));
    zcache_unpin(&pin);
    WAIT_UNTIL(!script_running(&closing), 20000);
    script_join(&closing);
    assert_int_equal(closer.rc, 0);
    assert_int_equal(stats_of(zcache_root(cache)).count.unpins, 1);
    close_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_close_waits_for_a_hit),
        cmocka_unit_test(a_close_of_an_empty_tenant_waits_for_a_miss),
        cmocka_unit_test(a_hit_does_not_come_back_to_a_closed_tenant),
        cmocka_unit_test(a_miss_does_not_come_back_to_a_closed_tenant),
        cmocka_unit_test(a_pin_does_not_come_back_to_a_closed_tenant),
        cmocka_unit_test(a_close_waits_for_a_reclaimer),
        cmocka_unit_test(a_close_waits_for_a_write_that_nobody_waits_for),
        cmocka_unit_test(a_close_waits_for_the_end_of_a_completion),
        cmocka_unit_test(a_late_unpin_lets_the_close_go_on),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
