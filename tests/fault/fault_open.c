/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening and closing a cache, under options of every kind, when any request is refused: there is a cache
 * or there is none, and what was taken by then is given back.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>

#include "mathx.h"
#include "scenario.h"

static const struct {
    const char *name;
    const char *text;
    uint64_t capacity;
    bool stored;
} ways[] = {
    {"open.default", NULL, 16 * MIB, false},
    {"open.smallest", NULL, MIB, false},
    {"open.with_a_store", NULL, MIB, true},
    {"open.without_codecs", "fast=none,dense=none", MIB, false},
    {"open.zstd_twice", "fast=zstd:1,dense=zstd:9", MIB, false},
    {"open.large_pages_in_large_batches", "page_max=1M,batch_pages=1024", 64 * MIB, true},
    {"open.one_page_in_flight", "inflight_pages=1,batch_pages=1", MIB, true},
    {"open.compressing_puts", "raw_percent=0,fast_percent=0,full=help,latency_sample=1", MIB, true},
    {"open.large", NULL, 4096 * MIB, false},
    {"open.under_pressure", "pressure=both", MIB, false},
};

/* How many more thread keys the process can have. */
static unsigned keys_left(void)
{
    static pthread_key_t keys[PTHREAD_KEYS_MAX];
    unsigned n = 0;

    while (n < PTHREAD_KEYS_MAX && pthread_key_create(&keys[n], NULL) == 0) {
        n++;
    }
    for (unsigned i = 0; i < n; i++) {
        REQUIRE_EQUAL(pthread_key_delete(keys[i]), 0);
    }
    return n;
}

struct opening {
    unsigned way;
    struct mem_store *store;
    struct zcache_store callbacks;
    struct zcache_options opts;
};

static void begin_opening(struct opening *o, unsigned way)
{
    static const struct zcache_options init = ZCACHE_OPTIONS_INIT;
    char error[200];

    o->way = way;
    o->opts = init;
    o->opts.capacity_bytes = ways[way].capacity;
    if (ways[way].text != NULL) {
        REQUIRE_EQUAL(zcache_options_parse(&o->opts, ways[way].text, error, sizeof(error)), 0);
    }
    o->store = mem_store_new(MEM_STORE_SYNC);
    o->store->batch_pages = o->opts.batch_pages;
    o->callbacks = mem_store_callbacks(o->store, MEM_STORE_ALL);
    if (ways[way].stored) {
        o->opts.store = &o->callbacks;
    }
}

static void end_opening(struct opening *o)
{
    if (ways[o->way].stored) {
        REQUIRE_EQUAL(atomic_load(&o->store->detached), 1);
    } else {
        atomic_store(&o->store->detached, 1); /* it never was attached */
    }
    mem_store_free(o->store);
}

static void use(struct zcache *cache)
{
    for (unsigned i = 0; i < 8; i++) {
        REQUIRE_EQUAL(put_page(zcache_root(cache), key_of(1, i), i + 1, FILL_TEXT, 0), 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        REQUIRE_EQUAL(get_page(zcache_root(cache), key_of(1, i), 0), i + 1);
    }
}

static uint64_t open_once(void *ctx, const struct zc_fault_plan *plan)
{
    struct zcache *const untouched = (struct zcache *)(uintptr_t)64;
    struct zcache *cache = untouched;
    struct opening o;

    begin_opening(&o, (unsigned)(uintptr_t)ctx);
    zc_fault_arm(plan);
    int rc = zcache_open(&o.opts, &cache);
    const uint64_t n_refused = zc_fault_disarm();
    REQUIRE_EQUAL(atomic_load(&o.store->detached), 0);
    REQUIRE(rc == 0 || rc == -ENOMEM || rc == -EAGAIN ||
            (rc == -EMFILE && o.opts.pressure != ZCACHE_PRESSURE_OFF));
    REQUIRE(rc == 0 || n_refused > 0);
    if (rc != 0) {
        REQUIRE(cache == untouched);
        rc = zcache_open(&o.opts, &cache);
        REQUIRE_EQUAL(rc, 0);
    }
    use(cache);
    close_cache(cache);
    end_opening(&o);
    return n_refused;
}

static uint64_t close_once(void *ctx, const struct zc_fault_plan *plan)
{
    struct zcache *cache = NULL;
    struct opening o;

    begin_opening(&o, (unsigned)(uintptr_t)ctx);
    REQUIRE_EQUAL(zcache_open(&o.opts, &cache), 0);
    use(cache);
    zc_fault_arm(plan);
    const int rc = zcache_close(cache, ZCACHE_FLUSH);
    const uint64_t n_refused = zc_fault_disarm();
    REQUIRE(rc == 0 || (rc == -ENOMEM && n_refused > 0));
    REQUIRE_EQUAL(atomic_load(&o.store->detached), rc == 0 && ways[o.way].stored ? 1 : 0);
    if (rc != 0) { /* open as it was */
        use(cache);
        close_cache(cache);
    }
    for (unsigned i = 0; ways[o.way].stored && i < 8; i++) {
        REQUIRE_EQUAL(mem_store_version(o.store, 0, key_of(1, i)), i + 1);
    }
    end_opening(&o);
    return n_refused;
}

/* A thread that never called the cache closes it. */
struct strange {
    struct zcache *cache;
    const struct zc_fault_plan *plan;
    int rc;
    uint64_t n_refused;
};

static void close_by_a_stranger(void *arg)
{
    struct strange *s = arg;

    zc_fault_arm(s->plan);
    s->rc = zcache_close(s->cache, ZCACHE_DISCARD);
    s->n_refused = zc_fault_disarm();
}

static uint64_t close_elsewhere_once(void *ctx, const struct zc_fault_plan *plan)
{
    struct strange s = {.plan = plan};
    struct opening o;

    begin_opening(&o, (unsigned)(uintptr_t)ctx);
    REQUIRE_EQUAL(zcache_open(&o.opts, &s.cache), 0);
    use(s.cache);
    fault_elsewhere(close_by_a_stranger, &s);
    REQUIRE(s.rc == 0 || (s.rc == -ENOMEM && s.n_refused > 0));
    if (s.rc != 0) {
        use(s.cache);
        drop_cache(s.cache);
    }
    end_opening(&o);
    return s.n_refused;
}

static void opening_takes_all_or_nothing(void **state)
{
    const unsigned before = keys_left();

    (void)state;
    for (uintptr_t way = 0; way < ZC_ARRAY_SIZE(ways); way++) {
        fault_each(ways[way].name, false, open_once, (void *)way);
    }
    REQUIRE_EQUAL(keys_left(), before);
}

static void a_close_that_fails_leaves_the_cache_open(void **state)
{
    (void)state;
    fault_each("close.flush", false, close_once, (void *)(uintptr_t)2);
    fault_each("close.flush_of_compressed_pages", false, close_once, (void *)(uintptr_t)7);
    fault_each("close.by_a_stranger", false, close_elsewhere_once, (void *)(uintptr_t)0);
}

/* Every site but the application's codec was asked, and refused; slow builds do not try all requests. */
static void every_site_of_an_opening_was_refused(void **state)
{
    (void)state;
    for (int site = 0; site < ZC_FAULT_codec; site++) {
        const bool absent = (site == ZC_FAULT_arena && !ZC_JEMALLOC) || TEST_SLOWDOWN > 1;

        if (zc_fault_refused((enum zc_fault_site)site) == 0 && !absent) {
            fail_msg("no request for \"%s\" was refused", zc_fault_name((enum zc_fault_site)site));
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opening_takes_all_or_nothing),
        cmocka_unit_test(a_close_that_fails_leaves_the_cache_open),
        cmocka_unit_test(every_site_of_an_opening_was_refused),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
