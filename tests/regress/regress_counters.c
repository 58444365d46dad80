/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What broke in counters: they were added to by several threads at once and lost what two added
 * together, or a short cut served a call and counted nothing, so that no sum could be trusted.
 */
#include <errno.h>
#include <string.h>

#include "script.h"
#include "unit/inside.h"

#define KEY(page) key_of(1, page)
#define THREADS   3u
#define MEETINGS  20000u /* of one thread with others */

/* ---------------------------------------------------------------------------------------------- */
/* Added to at once. */

/* Gets the page until somebody has often enough seen that others did during a get of his. */
struct getter {
    struct zcache_tenant *t;
    atomic_bool *met;
    uint64_t gets;
    struct script_thread thread;
};

static void get_until_met(void *arg)
{
    struct getter *g = arg;
    const uint64_t deadline = deadline_in(3000); /* where there is one CPU they hardly meet */
    uint64_t met = 0;

    while (!atomic_load(g->met) && (g->gets % 1024 != 0 || now_ns() < deadline)) {
        const uint64_t before = zc_stat_read(g->t->stat, ZC_C_get_hits_raw);

        REQUIRE_EQUAL(zcache_get(g->t, KEY(0), NULL, 0, NULL, ZCACHE_PEEK), 0);
        met += zc_stat_read(g->t->stat, ZC_C_get_hits_raw) - before > 1 ? 1 : 0;
        g->gets++;
        if (met == MEETINGS) {
            atomic_store(g->met, true);
        }
    }
}

/*
 * All threads add to the same cell: a tenant's counters are striped by CPU, and this one is told that
 * there is but one.
 */
static void no_count_is_lost(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN ",start_percent=100,latency_sample=0");
    const unsigned n_cpus = cache->topo.n_cpus;
    struct getter getter[THREADS];
    atomic_bool met = false;
    uint64_t gets = 0;

    (void)state;
    cache->topo.n_cpus = 1;
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", ZCACHE_UNLIMITED);
    assert_int_equal(t->stat->mask, 0);
    assert_int_equal(put_page(t, KEY(0), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        getter[i] = (struct getter){.t = t, .met = &met};
        script_start(&getter[i].thread, get_until_met, &getter[i]);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        script_join(&getter[i].thread);
        gets += getter[i].gets;
    }
    assert_int_equal(stats_of(t).count.get_hits_raw, gets);
    assert_int_equal(zcache_tenant_close(t, ZCACHE_CLOSE_DISCARD), 0);
    assert_int_equal(stats_of(zcache_root(cache)).count.get_hits_raw, gets);
    cache->topo.n_cpus = n_cpus;
    close_cache(cache);
}

/* ---------------------------------------------------------------------------------------------- */
/* Short cuts. */

static unsigned char zeros[PAGE];

static uint64_t takes_of(const struct zcache_stats *stats)
{
    return stats->count.takes;
}

/* Each call raises exactly one counter of its kind by one, and it is the one that says what happened. */
#define EXPECT_ONE(t, sum, field, call, result)                                                    \
    do {                                                                                           \
        const struct zcache_stats before_ = stats_of(t);                                           \
        assert_int_equal(call, result);                                                            \
        const struct zcache_stats after_ = stats_of(t);                                            \
        assert_int_equal(sum(&after_) - sum(&before_), 1);                                         \
        assert_int_equal(after_.count.field - before_.count.field, 1);                             \
    } while (0)

static void every_way_to_be_served_is_counted(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN ",start_percent=100");
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", 64 * KIB);
    struct zcache_tenant *none = open_tenant(zcache_root(cache), "none", 0);
    unsigned char page[PAGE];
    unsigned char got[PAGE];
    struct zcache_pin pin;

    (void)state;
    page_make(page, PAGE, KEY(0), 1, FILL_TEXT);
    EXPECT_ONE(t, puts_of, put_inserts, zcache_put(t, KEY(0), page, PAGE, ZCACHE_CLEAN), 0);
    EXPECT_ONE(t, puts_of, put_replaces, zcache_put(t, KEY(0), page, PAGE, ZCACHE_CLEAN), 0);
    EXPECT_ONE(t, puts_of, put_inserts, zcache_put(t, KEY(1), zeros, PAGE, ZCACHE_CLEAN), 0);
    EXPECT_ONE(t, puts_of, put_replaces, zcache_put(t, KEY(1), zeros, PAGE, ZCACHE_CLEAN), 0);
    EXPECT_ONE(t, puts_of, put_exists, zcache_put(t, KEY(0), page, PAGE, ZCACHE_IF_ABSENT),
               ZCACHE_EXISTS);
    EXPECT_ONE(none, puts_of, put_quota_rejects, zcache_put(none, KEY(0), page, PAGE, 0), -EDQUOT);
    EXPECT_ONE(none, puts_of, put_bypassed,
               zcache_put(none, KEY(0), page, PAGE, ZCACHE_BEST_EFFORT), ZCACHE_BYPASSED);

    EXPECT_ONE(t, gets_of, get_hits_raw, zcache_get(t, KEY(0), got, PAGE, NULL, 0), 0);
    EXPECT_ONE(t, gets_of, get_hits_raw, zcache_get(t, KEY(0), NULL, 0, NULL, 0), 0);
    EXPECT_ONE(t, gets_of, get_hits_raw, zcache_get(t, KEY(0), got, PAGE, NULL, ZCACHE_PEEK), 0);
    EXPECT_ONE(t, gets_of, get_hits_same, zcache_get(t, KEY(1), got, PAGE, NULL, 0), 0);
    EXPECT_ONE(t, gets_of, get_hits_same, zcache_get(t, KEY(1), NULL, 0, NULL, 0), 0);
    EXPECT_ONE(t, gets_of, get_misses, zcache_get(t, KEY(2), got, PAGE, NULL, 0), ZCACHE_MISS);
    EXPECT_ONE(t, gets_of, get_misses, zcache_get(t, KEY(2), got, PAGE, NULL, ZCACHE_TAKE),
               ZCACHE_MISS);
    EXPECT_ONE(t, gets_of, get_errors, zcache_get(t, KEY(0), got, 1, NULL, 0), -ENOBUFS);
    EXPECT_ONE(t, gets_of, get_errors, zcache_get(t, KEY(0), got, 1, NULL, ZCACHE_TAKE), -ENOBUFS);
    damage(t, KEY(0));
    EXPECT_ONE(t, gets_of, get_errors, zcache_get(t, KEY(0), got, PAGE, NULL, 0), -EBADMSG);
    damage(t, KEY(0));

    EXPECT_ONE(t, pins_of, pin_hits, zcache_pin(t, KEY(0), 0, &pin), 0);
    zcache_unpin(&pin);
    EXPECT_ONE(t, pins_of, pin_hits, zcache_pin(t, KEY(1), 0, &pin), 0); /* made raw for that */
    zcache_unpin(&pin);
    EXPECT_ONE(t, pins_of, pin_misses, zcache_pin(t, KEY(2), 0, &pin), ZCACHE_MISS);

    EXPECT_ONE(t, takes_of, get_hits_raw, zcache_get(t, KEY(0), got, PAGE, NULL, ZCACHE_TAKE), 0);
    EXPECT_ONE(t, deletes_of, delete_hits, zcache_delete(t, KEY(1), 0), 0);
    EXPECT_ONE(t, deletes_of, delete_misses, zcache_delete(t, KEY(1), 0), ZCACHE_MISS);
    close_cache(cache);
}

/* The same of calls for several pages: each page is one. */
static void every_page_of_many_is_counted(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PLAIN ",start_percent=100");
    struct zcache_tenant *t = zcache_root(cache);
    struct zcache_page pages[8];
    unsigned char data[8][PAGE];

    (void)state;
    for (uint64_t i = 0; i < 8; i++) {
        page_make(data[i], PAGE, KEY(i), 1, FILL_TEXT);
        pages[i] = (struct zcache_page){
            .key = KEY(i / 2 * 2), .data = i < 4 ? data[i] : zeros, .len = PAGE};
    }
    assert_int_equal(zcache_put_many(t, pages, 8, ZCACHE_CLEAN), 0);
    struct zcache_stats stats = stats_of(t);
    assert_int_equal(puts_of(&stats), 8);
    assert_int_equal(stats.count.put_replaces, 4);
    for (uint64_t i = 0; i < 8; i++) {
        pages[i] = (struct zcache_page){.key = KEY(i), .buf = data[i], .cap = PAGE};
    }
    assert_int_equal(zcache_get_many(t, pages, 8, 0), 0);
    stats = stats_of(t);
    assert_int_equal(gets_of(&stats), 8);
    assert_int_equal(stats.count.get_hits_raw, 2);
    assert_int_equal(stats.count.get_hits_same, 2);
    assert_int_equal(stats.count.get_misses, 4);
    close_cache(cache);
}

/* ---------------------------------------------------------------------------------------------- */
/* Back and forth. */

/* Pages go to the store and come back, again and again: the sums are those of pages that never went. */
static void failed_writes_leave_the_sums_as_they_were(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, PLAIN ",start_percent=100");
    struct zcache_tenant *root = zcache_root(cache);
    const unsigned flushes = 200 / TEST_SLOWDOWN;

    (void)state;
    for (uint64_t i = 0; i < 64; i++) {
        assert_int_equal(put_page(root, KEY(i), 1, FILL_TEXT, 0), 0);
    }
    drain(cache);
    const struct zcache_stats before = stats_of(root);
    atomic_store(&store->fail_batches[ZCACHE_IO_WRITE], INT32_MAX);
    for (unsigned i = 0; i < flushes; i++) {
        struct zcache_shrink_result result;

        assert_int_equal(zcache_flush(root, 0), -EIO);
        assert_int_equal(zcache_shrink(root, 1, 0, &result), -EAGAIN);
    }
    const struct zcache_stats after = stats_of(root);
    assert_int_equal(after.gauge.pages, 64);
    assert_int_equal(after.gauge.dirty_pages, 64);
    assert_int_equal(after.gauge.writing_pages, 0);
    assert_int_equal(after.gauge.charge_bytes, before.gauge.charge_bytes);
    assert_int_equal(listed_pages(root), 64);
    assert_true(after.count.write_errors >= UINT64_C(64) * flushes);
    assert_int_equal(after.count.written_pages, 0);
    verify_cache(cache);
    atomic_store(&store->fail_batches[ZCACHE_IO_WRITE], 0);
    assert_int_equal(zcache_flush(root, 0), -EIO); /* of the shrinks since the last flush */
    close_cache(cache);
    mem_store_free(store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_count_is_lost),
        cmocka_unit_test(every_way_to_be_served_is_counted),
        cmocka_unit_test(every_page_of_many_is_counted),
        cmocka_unit_test(failed_writes_leave_the_sums_as_they_were),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
