/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A reader stays in its section while others replace and evict pages at the limit. What it might still
 * look at cannot be freed, so the room it takes is missing: reclaim waits for it no longer than a call may,
 * and puts are refused. Neither the limit nor the bound of resident memory gives way.
 */
#include <errno.h>

#include "core.h"
#include "mem_store.h"
#include "script.h"
#include "tenant.h"

#define CAPACITY  (16 * MIB)
#define STALL     "max_stall_ms=50"
#define PUTTERS   2
#define PUTS      3000u
#define PAGES     8192u /* more than there is room for */
#define ENOUGH_MS 60000

struct reader {
    struct zcache *cache;
    atomic_bool inside;
    atomic_bool leave;
};

struct putter {
    struct zcache_tenant *t;
    unsigned index;
    unsigned refused;
};

static void stay_inside(void *arg)
{
    struct reader *r = arg;
    struct zc_thread *th = zc_core_thread(r->cache);

    REQUIRE(th != NULL);
    zc_epoch_enter(th->epoch);
    atomic_store(&r->inside, true);
    WAIT_UNTIL(atomic_load(&r->leave), 10 * ENOUGH_MS);
    zc_epoch_exit(th->epoch);
}

static bool is_refusal(int rc)
{
    return rc == -ENOSPC || rc == -EDQUOT || rc == -ENOMEM || rc == -ETIMEDOUT;
}

/* On a busy machine the short wait may be over before there is room: again, then. */
static void put_at_last(struct zcache_tenant *t, struct zcache_key key)
{
    int rc;

    do {
        rc = put_page(t, key, 1, FILL_RANDOM, ZCACHE_CLEAN);
    } while (is_refusal(rc));
    REQUIRE_EQUAL(rc, 0);
}

static void check_bounds(struct zcache *cache)
{
    struct zcache_stats s = stats_of(zcache_root(cache));

    REQUIRE(s.gauge.charge_bytes <= CAPACITY && s.gauge.peak_charge_bytes <= CAPACITY);
    REQUIRE(s.cache.resident_bytes <= atomic_load(&cache->bound.max));
}

/* Puts until some were refused; what is put has another size each time. */
static void put_until_refused(void *arg)
{
    struct putter *p = arg;
    unsigned char buf[PAGE];
    struct rng rng = {p->index + 1};

    for (unsigned i = 0; i < PUTS && p->refused < 5; i++) {
        const struct zcache_key key = key_of(p->index, rng_below(&rng, PAGES));
        const size_t len = 512 + rng_below(&rng, PAGE - 512);
        int rc;

        page_make(buf, len, key, i + 1, FILL_RANDOM);
        rc = zcache_put(p->t, key, buf, len, ZCACHE_CLEAN);
        REQUIRE(rc == 0 || is_refusal(rc));
        p->refused += rc != 0 ? 1 : 0;
        check_bounds(p->t->cache);
    }
}

static void the_limit_holds_while_a_reader_stays(void **state)
{
    struct zcache *cache = open_cache(CAPACITY, NULL, STALL ",fast=lz4,dense=none");
    struct zcache_tenant *root = zcache_root(cache);
    struct script_thread readers, putting[PUTTERS];
    struct putter putter[PUTTERS];
    struct reader reader = {.cache = cache};

    (void)state;
    script_begin();
    for (uint64_t i = 0; i < PAGES / 2; i++) { /* full, and all of it can be evicted */
        put_at_last(root, key_of(9, i));
    }
    script_start(&readers, stay_inside, &reader);
    WAIT_UNTIL(atomic_load(&reader.inside), ENOUGH_MS);
    for (unsigned i = 0; i < PUTTERS; i++) {
        putter[i] = (struct putter){root, i, 0};
        script_start(&putting[i], put_until_refused, &putter[i]);
    }
    for (unsigned i = 0; i < PUTTERS; i++) {
        script_join(&putting[i]);
        assert_true(putter[i].refused >= 5); /* and each within its time, or we would still wait */
    }
    assert_true(stats_of(root).cache.retired_bytes > 0);
    check_bounds(cache);

    atomic_store(&reader.leave, true);
    script_join(&readers);
    for (uint64_t i = 0; i < 64; i++) {
        put_at_last(root, key_of(10, i));
    }
    check_bounds(cache);
    script_end();
    close_cache(cache);
}

/* Of a tenant's limit nothing comes free either: who shrinks is refused in its time, and evicts no more. */
static void a_shrink_does_not_wait_longer_than_it_may(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, STALL ",fast=none,dense=none");
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", 4 * MIB);
    struct reader reader = {.cache = cache};
    struct zcache_shrink_result result;
    struct script_thread readers;
    int rc = 0;

    (void)state;
    script_begin();
    script_start(&readers, stay_inside, &reader);
    WAIT_UNTIL(atomic_load(&reader.inside), ENOUGH_MS);
    for (uint64_t i = 0; rc == 0; i++) {
        rc = put_page(t, key_of(1, i), 1, FILL_RANDOM, ZCACHE_CLEAN);
    }
    assert_int_equal(rc, -EDQUOT);
    assert_int_equal(put_page(t, key_of(2, 0), 1, FILL_RANDOM, ZCACHE_CLEAN | ZCACHE_NOWAIT),
                     -EBUSY);
    assert_int_equal(put_page(t, key_of(2, 0), 1, FILL_RANDOM, ZCACHE_CLEAN), -EDQUOT);
    assert_true(stats_of(t).gauge.pages > 512); /* each attempt gave up some, not all */
    assert_true(stats_of(t).gauge.peak_charge_bytes <= 4 * MIB);
    const uint64_t deadline = deadline_in(5000);
    assert_int_equal(zcache_shrink(t, MIB, 20, &result), 0);
    assert_true(pause_before(deadline));
    assert_true(result.evicted_pages > 0);

    atomic_store(&reader.leave, true);
    script_join(&readers);
    put_at_last(t, key_of(2, 0));
    script_end();
    close_cache(cache);
}

/* What was moved cannot be freed yet; compaction says so in its time, and goes on afterwards. */
static void compaction_does_not_wait_longer_than_it_may(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, "fast=none,dense=none,start_percent=100");
    struct zcache_tenant *root = zcache_root(cache);
    struct reader reader = {.cache = cache};
    struct script_thread readers;
    uint64_t freed = 1;

    (void)state;
    script_begin();
    for (uint64_t i = 0; i < 4096; i++) {
        REQUIRE_EQUAL(put_page(root, key_of(1, i), 1, FILL_RANDOM, ZCACHE_CLEAN), 0);
    }
    atomic_store(&cache->compact_planned, 1); /* the shrinker leaves it to us */
    atomic_store(&cache->compact_ns, UINT64_MAX);
    for (uint64_t i = 0; i < 4096; i++) {
        REQUIRE_EQUAL(i % 8 == 3 ? 0 : zcache_delete(root, key_of(1, i), 0), 0);
    }
    script_start(&readers, stay_inside, &reader);
    WAIT_UNTIL(atomic_load(&reader.inside), ENOUGH_MS);
    assert_int_equal(zcache_compact(cache, 20, &freed), 0);
    assert_true(freed < MIB);
    atomic_store(&reader.leave, true);
    script_join(&readers);
    assert_int_equal(zcache_compact(cache, ENOUGH_MS, NULL), 0);
    assert_true(stats_of(root).cache.resident_bytes < 512 * PAGE * 2 + 2 * MIB);
    for (uint64_t i = 3; i < 4096; i += 8) {
        REQUIRE_EQUAL(get_page(root, key_of(1, i), ZCACHE_PEEK), 1);
    }
    script_end();
    close_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_limit_holds_while_a_reader_stays),
        cmocka_unit_test(a_shrink_does_not_wait_longer_than_it_may),
        cmocka_unit_test(compaction_does_not_wait_longer_than_it_may),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("long_section", tests, NULL, NULL);
}
