/* SPDX-License-Identifier: BSD-2-Clause */
#include "scenario.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shrinker.h"
#include "tier.h"

#define REQUESTS_MAX 4000u
#define QUIET        "start_percent=100,latency_sample=1"

/* Where a test that fails has come to. */
static struct {
    const char *name;
    uint64_t nth;
    bool lasting;
    bool done;
    char where[100]; /* of a test with a loop of its own */
} now;

/* ---- content --------------------------------------------------------------------------------- */

struct zcache_key fault_key(unsigned page)
{
    return key_of(1, page);
}

void fault_content(void *buf, unsigned page, struct fault_page what)
{
    if (what.fill == FILL_SAME) {
        memset(buf, (int)(what.version % 251), what.len);
    } else {
        page_make(buf, what.len, fault_key(page), what.version, (enum fill)what.fill);
    }
}

static void expect_content(const void *data, size_t len, unsigned page, struct fault_page what)
{
    static _Thread_local unsigned char expected[FAULT_LEN];

    REQUIRE(what.version != 0);
    REQUIRE_EQUAL(len, what.len);
    fault_content(expected, page, what);
    REQUIRE(memcmp(data, expected, len) == 0);
}

/* ---- calls ----------------------------------------------------------------------------------- */

bool fault_cached(const struct fault_owner *o, unsigned page)
{
    const struct zcache_key key = fault_key(page);
    const uint64_t hash = zc_index_hash(o->t->slot, key);
    struct zc_shard *shard = zc_index_shard(o->t->cache->index, hash);
    struct zc_entry *e;

    zc_lock_acquire(&shard->lock);
    e = zc_shard_find_locked(shard, hash, o->t->slot, key);
    const bool found = e != NULL && zc_entry_resident(e);
    zc_lock_release(&shard->lock);
    return found;
}

void fault_put_ended(struct fault *f,
                     struct fault_owner *o,
                     unsigned page,
                     struct fault_page what,
                     int rc)
{
    static _Thread_local unsigned char buf[FAULT_LEN];

    if (rc == -EBUSY || rc == -EDEADLK || rc == ZCACHE_EXISTS) {
        return;
    }
    if (rc != 0) {
        REQUIRE(!fault_cached(o, page));
        if (f->store == NULL) {
            what.version = 0;
        } else { /* the caller writes the page himself; no older version may follow */
            fault_content(buf, page, what);
            mem_store_put(f->store, o->id, fault_key(page), buf, what.len);
            mem_store_forbid(f->store, o->id, fault_key(page), what.version);
        }
    }
    o->page[page] = what;
}

int fault_put(struct fault *f,
              struct fault_owner *o,
              unsigned page,
              size_t len,
              int fill,
              unsigned flags)
{
    static _Thread_local unsigned char buf[FAULT_LEN];
    const struct fault_page what = {++f->version, len, fill};

    fault_content(buf, page, what);
    o->puts++;
    const int rc = zcache_put(o->t, fault_key(page), buf, len, flags);
    fault_put_ended(f, o, page, what, rc);
    return rc;
}

int fault_get(struct fault *f, struct fault_owner *o, unsigned page, unsigned flags)
{
    static _Thread_local unsigned char buf[FAULT_LEN];
    size_t len = 0;

    (void)f;
    o->gets++;
    const int rc = zcache_get(o->t, fault_key(page), buf, sizeof(buf), &len, flags);
    if (rc == 0 || rc == ZCACHE_UNWRITTEN) {
        expect_content(buf, len, page, o->page[page]);
    } else if (rc == ZCACHE_MISS && f->store != NULL && (flags & ZCACHE_NO_LOAD) == 0) {
        REQUIRE_EQUAL(o->page[page].version, 0);
    }
    if (rc == ZCACHE_UNWRITTEN || (rc == 0 && (flags & ZCACHE_TAKE) != 0)) {
        REQUIRE(!fault_cached(o, page));
        if (f->store == NULL) {
            o->page[page].version = 0;
        } else if (rc == ZCACHE_UNWRITTEN) { /* it is the caller's to keep */
            mem_store_put(f->store, o->id, fault_key(page), buf, len);
        }
    }
    return rc;
}

int fault_delete(struct fault *f, struct fault_owner *o, unsigned page, unsigned flags)
{
    o->deletes++;
    const int rc = zcache_delete(o->t, fault_key(page), flags);
    if (rc == 0 || rc == ZCACHE_MISS) {
        REQUIRE(!fault_cached(o, page));
        if (f->store != NULL) {
            mem_store_forbid(f->store, o->id, fault_key(page), o->page[page].version);
        }
        o->page[page].version = 0;
    }
    return rc;
}

int fault_truncate(struct fault *f, struct fault_owner *o, unsigned first_page)
{
    const int rc = zcache_truncate(o->t, 1, first_page);

    (void)f;
    if (rc == 0) {
        for (unsigned i = first_page; i < FAULT_PAGES; i++) {
            REQUIRE(!fault_cached(o, i));
            o->page[i].version = 0;
        }
    }
    return rc;
}

int fault_pin(struct fault *f, struct fault_owner *o, unsigned page, unsigned flags)
{
    o->pins++;
    const int rc = zcache_pin(o->t, fault_key(page), flags, &f->pin);
    if (rc == 0) {
        expect_content(f->pin.data, f->pin.len, page, o->page[page]);
    }
    return rc;
}

void fault_fill(struct fault *f,
                struct fault_owner *o,
                unsigned n,
                size_t len,
                int fill,
                unsigned flags)
{
    REQUIRE(n <= FAULT_PAGES);
    for (unsigned i = 0; i < n; i++) {
        REQUIRE_EQUAL(fault_put(f, o, i, len, fill, flags), 0);
    }
}

void fault_store(struct fault *f, struct fault_owner *o, unsigned page, size_t len, int fill)
{
    static _Thread_local unsigned char buf[FAULT_LEN];
    const struct fault_page what = {++f->version, len, fill};

    REQUIRE(!fault_cached(o, page));
    fault_content(buf, page, what);
    mem_store_put(f->store, o->id, fault_key(page), buf, len);
    o->page[page] = what;
}

void fault_demote(struct fault_owner *o, unsigned page, enum zcache_tier tier)
{
    struct zc_thread *th = thread_of(o->t->cache);
    struct zc_entry *e = isolate(o->t, fault_key(page));
    uint64_t freed;

    REQUIRE_EQUAL(zc_tier_demote(o->t->cache, th, e, tier, &freed), ZC_TIER_MOVED);
    zc_page_putback(o->t->cache, th, e, true);
}

void fault_closed(struct fault *f)
{
    f->root.puts += f->t.puts;
    f->root.gets += f->t.gets;
    f->root.pins += f->t.pins;
    f->root.deletes += f->t.deletes;
    f->t.t = NULL;
}

/* ---- checks ---------------------------------------------------------------------------------- */

/* The copies' budget; anything else is a reservation that was forgotten. */
static uint64_t unexplained(struct zcache *cache)
{
    drain(cache);
    const struct zcache_stats s = stats_of(cache->root);
    uint64_t known = s.cache.entry_bytes + atomic_load(&cache->prepaid);

    for (int i = 0; i < ZCACHE_TIERS; i++) {
        known += s.tier[i].allocated_bytes;
    }
    for (int k = 0; k < ZC_MEM_KINDS; k++) {
        known += atomic_load(&cache->mem[k].bytes);
    }
    return s.gauge.charge_bytes - known;
}

static void check_counts(const struct fault_owner *o)
{
    const struct zcache_stats s = stats_of(o->t);

    REQUIRE_EQUAL(puts_of(&s), o->puts);
    REQUIRE_EQUAL(gets_of(&s), o->gets);
    REQUIRE_EQUAL(pins_of(&s), o->pins);
    REQUIRE_EQUAL(deletes_of(&s), o->deletes);
    REQUIRE_EQUAL(s.count.unpins, s.count.pin_hits + s.count.pin_loads);
    check_identities(&s);
}

/* Counters, gauges and charges, while the shrinker does nothing. */
static void check_sums(struct fault *f)
{
    struct fault_owner all = f->root; /* the root's counters are sums over its subtree */

    zc_shrinker_pause(f->cache);
    verify_cache(f->cache);
    REQUIRE_EQUAL(unexplained(f->cache), f->unexplained);
    const struct zcache_stats s = stats_of(f->cache->root);
    REQUIRE_EQUAL(s.cache.io_bytes, 0);
    REQUIRE_EQUAL(s.cache.pins, 0);
    REQUIRE_EQUAL(s.cache.bad_completions, 0);
    REQUIRE_EQUAL(s.gauge.writing_pages, 0);
    if (f->t.t != NULL) {
        check_counts(&f->t);
        all.puts += f->t.puts;
        all.gets += f->t.gets;
        all.pins += f->t.pins;
        all.deletes += f->t.deletes;
    }
    check_counts(&all);
    zc_shrinker_resume(f->cache);
}

static void check_content(struct fault *f, struct fault_owner *o)
{
    for (unsigned i = 0; i < FAULT_PAGES && o->t != NULL; i++) {
        if (o->page[i].version != 0) {
            REQUIRE_EQUAL(fault_get(f, o, i, ZCACHE_PEEK), 0);
        } else if (o->page[i].len != 0) {
            REQUIRE_EQUAL(fault_get(f, o, i, ZCACHE_PEEK), ZCACHE_MISS);
        }
    }
}

void fault_check(struct fault *f)
{
    REQUIRE(f->pin.frame == NULL);
    check_sums(f);
    check_content(f, &f->root);
    check_content(f, &f->t);
    check_sums(f);
}

void fault_check_stored(struct fault *f, const struct fault_owner *o)
{
    static unsigned char buf[FAULT_LEN];

    for (unsigned i = 0; i < FAULT_PAGES; i++) {
        const size_t len = mem_store_get(f->store, o->id, fault_key(i), buf, sizeof(buf));

        if (o->page[i].version != 0) {
            expect_content(buf, len, i, o->page[i]);
        }
    }
}

/* ---- one scenario ------------------------------------------------------------------------------ */

struct fault *fault_begin(const struct fault_case *c)
{
    const uint64_t capacity = c->capacity != 0 ? c->capacity : 4 * MIB;
    struct fault *f = malloc(sizeof(*f));
    char text[256];

    REQUIRE(f != NULL);
    *f = (struct fault){.c = c};
    (void)snprintf(text, sizeof(text), "%s%s%s", c->restless ? "latency_sample=1" : QUIET,
                   c->options != NULL ? "," : "", c->options != NULL ? c->options : "");
    if (c->store != 0) {
        f->store = mem_store_new(MEM_STORE_SYNC);
        struct zcache_store callbacks = mem_store_callbacks(f->store, c->store);
        if (c->attach != NULL) {
            c->attach(f, &callbacks);
        }
        f->cache = open_cache(capacity, &callbacks, text);
        atomic_store(&f->store->cache, f->cache);
    } else {
        f->cache = open_cache(capacity, NULL, text);
    }
    f->unexplained = unexplained(f->cache);
    f->root.t = zcache_root(f->cache);
    f->t.t = open_tenant(f->root.t, "t", c->limit != 0 ? c->limit : ZCACHE_UNLIMITED);
    f->t.id = zcache_tenant_id(f->t.t);
    if (c->prepare != NULL) {
        c->prepare(f);
    }
    return f;
}

struct armed_act {
    struct fault *f;
    const struct zc_fault_plan *plan; /* NULL: as it is */
    uint64_t n_refused;
    int rc;
};

static void act(void *arg)
{
    struct armed_act *a = arg;

    if (a->plan != NULL) {
        zc_fault_arm(a->plan);
    }
    a->rc = a->f->c->act(a->f);
    a->n_refused = zc_fault_disarm();
}

static struct armed_act act_where_it_belongs(struct fault *f, const struct zc_fault_plan *plan)
{
    struct armed_act a = {.f = f, .plan = plan};

    if (f->c->elsewhere) {
        fault_elsewhere(act, &a);
    } else {
        act(&a);
    }
    return a;
}

static bool may_return(const struct fault_case *c, int rc)
{
    bool found = false;

    for (unsigned i = 0; c->may[i] != 0; i++) {
        found = found || c->may[i] == rc;
    }
    return found;
}

void fault_end(struct fault *f)
{
    if (f->cache != NULL) {
        const unsigned flags = f->store != NULL ? ZCACHE_FLUSH : ZCACHE_DISCARD;

        REQUIRE_EQUAL(zcache_close(f->cache, flags), 0);
    }
    if (f->store != NULL) {
        fault_check_stored(f, &f->root);
        fault_check_stored(f, &f->t);
        mem_store_free(f->store);
    }
    free(f);
}

static uint64_t run_once(void *ctx, const struct zc_fault_plan *plan)
{
    const struct fault_case *c = ctx;
    struct zc_fault_plan own = *plan;
    struct fault *f = fault_begin(c);

    own.whose = c->restless ? ZC_FAULT_ALL : ZC_FAULT_MINE;
    struct armed_act a = act_where_it_belongs(f, &own);
    const uint64_t n_refused = a.n_refused;

    f->refused = n_refused > 0;
    if (a.rc < 0 && !(n_refused > 0 && may_return(c, a.rc))) {
        print_error("%s: act() returned %d\n", c->name, a.rc);
        REQUIRE(!"a code that is not documented, or without a reason");
    }
    if (c->after != NULL) {
        c->after(f, a.rc);
    }
    if (a.rc < 0) {
        fault_check(f);
        f->refused = false;
        a = act_where_it_belongs(f, NULL);
        if (a.rc < 0) {
            print_error("%s: act() returned %d without a refusal\n", c->name, a.rc);
        }
        REQUIRE(a.rc >= 0);
        if (c->after != NULL) {
            c->after(f, a.rc);
        }
    }
    fault_check(f);
    fault_end(f);
    return n_refused;
}

/* ---- all N ------------------------------------------------------------------------------------- */

/* Slow builds leave out most of the middle, which is nodes for a thread's stock, one like the other. */
static uint64_t next(uint64_t n, uint64_t total)
{
    const uint64_t step = TEST_SLOWDOWN == 1 ? 1 : UINT64_C(2) * TEST_SLOWDOWN + 1;

    return n > 8 && n + 20 < total ? n + step : n + 1;
}

void fault_each(const char *name,
                bool alone,
                uint64_t (*once)(void *ctx, const struct zc_fault_plan *plan),
                void *ctx)
{
    const int64_t held = zc_fault_held();
    uint64_t n_refused = 1;
    uint64_t n = 0;
    uint64_t total;

    now.name = name;
    now.done = false;
    now.nth = UINT64_MAX;
    REQUIRE_EQUAL(once(ctx, &(struct zc_fault_plan){.nth = UINT64_MAX}), 0);
    total = zc_fault_requests();
    while (n_refused > 0) {
        n = next(n, total);
        REQUIRE(n < REQUESTS_MAX);
        now.nth = n;
        for (int lasting = alone ? 0 : 1; lasting >= 0; lasting--) {
            now.lasting = lasting != 0;
            n_refused = once(ctx, &(struct zc_fault_plan){.nth = n, .lasting = lasting != 0});
            REQUIRE_EQUAL(zc_fault_held(), held);
        }
    }
    REQUIRE(n > 1); /* else nothing was asked of the system: no test */
    print_message("%s: %" PRIu64 " requests refused, each alone%s\n", name, n - 1,
                  alone ? "" : " and with all that follow");
    now.done = true;
}

static void run_case(void **state)
{
    const struct fault_case *c = *state;

    now.done = false;
    now.where[0] = '\0';
    if (c->test != NULL) {
        c->test();
        now.done = true;
    } else {
        fault_each(c->name, c->alone, run_once, *state);
    }
}

void fault_at(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(now.where, sizeof(now.where), format, args);
    va_end(args);
}

static int report(void **state)
{
    (void)state;
    (void)zc_fault_disarm();
    if (!now.done && now.where[0] != '\0') {
        print_error("%s\n", now.where);
    } else if (!now.done) {
        print_error("%s: request %" PRIu64 " refused%s\n", now.name, now.nth,
                    now.lasting ? ", and all that follow" : "");
    }
    return 0;
}

int fault_main(int argc, char **argv, const struct fault_case *cases, size_t n)
{
    struct CMUnitTest *tests = calloc(n, sizeof(*tests));
    int rc;

    test_begin(argc, argv, 0);
    REQUIRE(tests != NULL);
    for (size_t i = 0; i < n; i++) {
        tests[i] = (struct CMUnitTest){.name = cases[i].name,
                                       .test_func = run_case,
                                       .teardown_func = report,
                                       .initial_state = (void *)(uintptr_t)&cases[i]};
    }
    rc = _cmocka_run_group_tests("fault", tests, n, NULL, NULL);
    free(tests);
    return rc;
}

/* ---- threads ----------------------------------------------------------------------------------- */

struct elsewhere {
    void (*fn)(void *arg);
    void *arg;
};

static void *call(void *arg)
{
    struct elsewhere *e = arg;

    e->fn(e->arg);
    return NULL;
}

void fault_elsewhere(void (*fn)(void *arg), void *arg)
{
    struct elsewhere e = {fn, arg};
    pthread_t thread;

    REQUIRE_EQUAL(pthread_create(&thread, NULL, call, &e), 0);
    REQUIRE_EQUAL(pthread_join(thread, NULL), 0);
}
