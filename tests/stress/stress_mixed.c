/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Everything at once: threads put, get, pin, take, delete, truncate, shrink, flush, change limits, and
 * open and close tenants, over a store that works. Each key has one thread that writes it; every thread
 * reads all of them and knows from what it saw before which versions it may see now.
 *
 * usage: test_stress_mixed [threads [seconds [seed]]]
 */
#include "api/mem_store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    THREADS_MAX = 64,
    KEYS = 256,
    TENANTS = 4,
    OFF = 3,
    TEMPORARY = 24
};

static unsigned n_threads = 4;
static double seconds = 3;
static uint64_t seed = 20261;

static struct zcache *cache;
static struct mem_store *store;
static struct zcache_tenant *root;
static struct zcache_tenant *tenants[TENANTS];
static atomic_bool stop;

/* ---- what is known of a key ----------------------------------------------------------------------- */

/*
 * Every put and delete of a key takes the next number. A reader that looks at @settled before its get
 * and at the others after it knows what it may have found. While @window is odd the owner moves the
 * page between cache and store by hand, and only the content's wholeness can be judged.
 */
struct key_state {
    atomic_uint_fast64_t started; /* highest number handed out */
    atomic_uint_fast64_t
        settled; /* number of the last completed one, times two, plus 1 for a delete */
    atomic_uint_fast64_t deleting; /* highest number of a delete that was begun */
    atomic_uint_fast64_t window;
};

static struct key_state states[TENANTS][THREADS_MAX][KEYS];

struct worker {
    unsigned index;
    struct rng rng;
    uint64_t puts;
    uint64_t gets;
    uint64_t pins;
    uint64_t deletes;
    uint64_t refused;
    uint64_t opened;
    uint64_t loose; /* reads that could not be judged by version */
};

static void begin_window(struct key_state *state)
{
    REQUIRE(atomic_fetch_add(&state->window, 1) % 2 == 0);
}

static void end_window(struct key_state *state)
{
    REQUIRE(atomic_fetch_add(&state->window, 1) % 2 == 1);
}

static uint64_t begin_put(struct key_state *state)
{
    return atomic_fetch_add(&state->started, 1) + 1;
}

static uint64_t begin_delete(struct key_state *state)
{
    const uint64_t number = begin_put(state);
    atomic_store(&state->deleting, number);
    return number;
}

static void settle(struct key_state *state, uint64_t number, bool deleted)
{
    atomic_store(&state->settled, number * 2 + deleted);
}

/* The version that is there, as its owner knows; 0 if it was deleted. */
static uint64_t version_now(struct key_state *state)
{
    const uint64_t settled = atomic_load(&state->settled);
    return settled % 2 == 1 ? 0 : settled / 2;
}

/* ---- readers -------------------------------------------------------------------------------------- */

struct seen {
    struct key_state *state;
    uint64_t settled;
    uint64_t window;
};

static struct seen look_before(struct key_state *state)
{
    struct seen seen = {.state = state};
    seen.window = atomic_load(&state->window);
    seen.settled = atomic_load(&state->settled);
    return seen;
}

/* A read that began after @seen found @version, or a miss if that is 0. */
static void judge(struct worker *me, const struct seen *seen, uint64_t version)
{
    const uint64_t started = atomic_load(&seen->state->started);
    const uint64_t deleting = atomic_load(&seen->state->deleting);
    const uint64_t floor = seen->settled / 2;
    const bool was_deleted = seen->settled % 2 == 1;

    REQUIRE(version <= started);
    if (seen->window % 2 == 1 || atomic_load(&seen->state->window) != seen->window) {
        me->loose++;
        return;
    }
    if (version == 0) {
        REQUIRE(was_deleted || deleting > floor);
    } else {
        REQUIRE(was_deleted ? version > floor : version >= floor);
    }
}

static void read_page(struct worker *me)
{
    const unsigned t = (unsigned)rng_below(&me->rng, TENANTS);
    const unsigned owner = (unsigned)rng_below(&me->rng, n_threads);
    const uint64_t k = rng_below(&me->rng, KEYS);
    static const unsigned flags[] = {0, 0, 0, ZCACHE_PEEK, ZCACHE_SCAN};
    unsigned char room[PAGE];
    uint64_t version = 0;
    size_t len = 0;

    const struct seen seen = look_before(&states[t][owner][k]);
    const int rc =
        zcache_get(tenants[t], key_of(owner, k), room, PAGE, &len, flags[rng_below(&me->rng, 5)]);
    me->gets++;
    if (rc != ZCACHE_MISS) {
        REQUIRE_EQUAL(rc, 0);
        REQUIRE(page_whole(room, len, key_of(owner, k), &version) && version > 0);
    }
    judge(me, &seen, version);
}

static void read_pages(struct worker *me)
{
    enum {
        N = 8
    };

    const unsigned t = (unsigned)rng_below(&me->rng, OFF);
    unsigned char room[N][PAGE];
    struct zcache_page pages[N];
    struct seen seen[N];

    for (unsigned i = 0; i < N; i++) {
        const unsigned owner = (unsigned)rng_below(&me->rng, n_threads);
        const uint64_t k = rng_below(&me->rng, KEYS);
        pages[i] = (struct zcache_page){.key = key_of(owner, k), .buf = room[i], .cap = PAGE};
        seen[i] = look_before(&states[t][owner][k]);
    }
    REQUIRE_EQUAL(zcache_get_many(tenants[t], pages, N, 0), 0);
    me->gets += N;
    for (unsigned i = 0; i < N; i++) {
        uint64_t version = 0;
        if (pages[i].status == 0) {
            REQUIRE(page_whole(room[i], pages[i].len, pages[i].key, &version) && version > 0);
        } else {
            REQUIRE_EQUAL(pages[i].status, ZCACHE_MISS);
        }
        judge(me, &seen[i], version);
    }
}

static void pin_page(struct worker *me)
{
    const unsigned t = (unsigned)rng_below(&me->rng, OFF);
    const unsigned owner = (unsigned)rng_below(&me->rng, n_threads);
    const uint64_t k = rng_below(&me->rng, KEYS);
    uint64_t first = 0;
    uint64_t again = 0;
    struct zcache_pin pin;

    const struct seen seen = look_before(&states[t][owner][k]);
    const int rc = zcache_pin(tenants[t], key_of(owner, k), 0, &pin);
    me->pins++;
    if (rc != ZCACHE_MISS) {
        REQUIRE_EQUAL(rc, 0);
        REQUIRE(page_whole(pin.data, pin.len, key_of(owner, k), &first) && first > 0);
        read_page(me);
        REQUIRE(page_whole(pin.data, pin.len, key_of(owner, k), &again) && again == first);
        zcache_unpin(&pin);
    }
    judge(me, &seen, first);
}

/* ---- owners --------------------------------------------------------------------------------------- */

/* A put that the cache did not take: the caller writes the page, and lets go of stale loads of it. */
static void write_by_hand(struct worker *me, unsigned t, struct zcache_key key, uint64_t version)
{
    mem_store_put_page(store, zcache_tenant_id(tenants[t]), key, version, FILL_HALF);
    const int rc = zcache_delete(tenants[t], key, ZCACHE_NOIO);
    me->deletes++;
    REQUIRE(rc == 0 || rc == ZCACHE_MISS);
}

static void put_one(struct worker *me)
{
    const unsigned t = (unsigned)rng_below(&me->rng, TENANTS);
    const uint64_t k = rng_below(&me->rng, KEYS);
    const struct zcache_key key = key_of(me->index, k);
    static const unsigned kinds[] = {0,
                                     0,
                                     0,
                                     0,
                                     ZCACHE_DIRTY,
                                     ZCACHE_SCAN,
                                     ZCACHE_INCOMPRESSIBLE,
                                     ZCACHE_BEST_EFFORT,
                                     ZCACHE_NOIO,
                                     ZCACHE_NOWAIT,
                                     ZCACHE_IF_ABSENT};
    const unsigned flags = kinds[rng_below(&me->rng, sizeof(kinds) / sizeof(kinds[0]))];
    const bool may_fail =
        t == OFF || (flags & (ZCACHE_BEST_EFFORT | ZCACHE_NOIO | ZCACHE_NOWAIT)) != 0;
    struct key_state *state = &states[t][me->index][k];

    if (may_fail) {
        begin_window(state);
    }
    const uint64_t version = begin_put(state);
    const int rc = put_page(tenants[t], key, version, (enum fill)rng_below(&me->rng, 3), flags);
    me->puts++;
    if (rc == 0) {
        settle(state, version, false);
    } else if (rc == ZCACHE_EXISTS) {
        REQUIRE((flags & ZCACHE_IF_ABSENT) != 0);
    } else {
        REQUIRE(may_fail);
        me->refused++;
        if (rc == -EBUSY) {
            REQUIRE((flags & ZCACHE_NOWAIT) != 0); /* the older version is as it was */
        } else {
            REQUIRE(rc == -EDQUOT || rc == -ENOSPC || rc == ZCACHE_BYPASSED);
            write_by_hand(me, t, key, version);
            settle(state, version, false);
        }
    }
    if (may_fail) {
        end_window(state);
    }
}

static void put_several(struct worker *me)
{
    enum {
        N = 8
    };

    const unsigned t = (unsigned)rng_below(&me->rng, OFF);
    const uint64_t first = rng_below(&me->rng, KEYS - N);
    unsigned char data[N][PAGE];
    struct zcache_page pages[N];
    uint64_t versions[N];

    for (unsigned i = 0; i < N; i++) {
        const struct zcache_key key = key_of(me->index, first + i);
        versions[i] = begin_put(&states[t][me->index][first + i]);
        page_make(data[i], PAGE, key, versions[i], FILL_TEXT);
        pages[i] = (struct zcache_page){.key = key, .data = data[i], .len = PAGE};
    }
    REQUIRE_EQUAL(zcache_put_many(tenants[t], pages, N, 0), 0);
    me->puts += N;
    for (unsigned i = 0; i < N; i++) {
        REQUIRE_EQUAL(pages[i].status, 0);
        settle(&states[t][me->index][first + i], versions[i], false);
    }
}

static void delete_one(struct worker *me)
{
    const unsigned t = (unsigned)rng_below(&me->rng, TENANTS);
    const uint64_t k = rng_below(&me->rng, KEYS);
    const struct zcache_key key = key_of(me->index, k);
    const unsigned flags = rng_below(&me->rng, 4) == 0 ? ZCACHE_NOWAIT : 0;
    struct key_state *state = &states[t][me->index][k];

    const uint64_t number = begin_delete(state);
    const int rc = zcache_delete(tenants[t], key, flags);
    me->deletes++;
    if (rc == -EBUSY) {
        REQUIRE(flags != 0);
        return;
    }
    REQUIRE(rc == 0 || rc == ZCACHE_MISS);
    mem_store_forbid(store, zcache_tenant_id(tenants[t]), key, number);
    settle(state, number, true);
}

static void take_one(struct worker *me)
{
    const unsigned t = (unsigned)rng_below(&me->rng, OFF);
    const uint64_t k = rng_below(&me->rng, KEYS);
    const struct zcache_key key = key_of(me->index, k);
    struct key_state *state = &states[t][me->index][k];
    unsigned char room[PAGE];
    uint64_t version = 0;
    size_t len = 0;

    begin_window(state);
    const uint64_t expected = version_now(state);
    const int rc = zcache_get(tenants[t], key, room, PAGE, &len, ZCACHE_TAKE);
    me->gets++;
    if (rc == ZCACHE_MISS) {
        REQUIRE_EQUAL(expected, 0);
    } else {
        REQUIRE(rc == 0 || rc == ZCACHE_UNWRITTEN);
        REQUIRE(page_whole(room, len, key, &version));
        REQUIRE_EQUAL(version, expected);
        if (rc == ZCACHE_UNWRITTEN) {
            write_by_hand(me, t, key, version);
        } else {
            REQUIRE_EQUAL(mem_store_version(store, zcache_tenant_id(tenants[t]), key), version);
        }
    }
    end_window(state);
}

static void truncate_tail(struct worker *me)
{
    const unsigned t = (unsigned)rng_below(&me->rng, TENANTS);
    const uint64_t first = KEYS - rng_below(&me->rng, KEYS / 8);
    uint64_t numbers[KEYS];

    for (uint64_t k = first; k < KEYS; k++) {
        numbers[k] = begin_delete(&states[t][me->index][k]);
    }
    REQUIRE_EQUAL(zcache_truncate(tenants[t], me->index, first), 0);
    for (uint64_t k = first; k < KEYS; k++) {
        settle(&states[t][me->index][k], numbers[k], true);
    }
}

/* ---- the rest ------------------------------------------------------------------------------------- */

static void shrink_some(struct worker *me)
{
    struct zcache_shrink_result result;
    struct zcache_tenant *tenant =
        rng_below(&me->rng, 4) == 0 ? root : tenants[rng_below(&me->rng, TENANTS)];
    const int rc = zcache_shrink(tenant, rng_below(&me->rng, 512 * KIB),
                                 (unsigned)rng_below(&me->rng, 3), &result);
    REQUIRE(rc == 0 || rc == -EAGAIN);
}

static void change_limits(struct worker *me)
{
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;

    limits.limit_bytes = 1 * MIB + rng_below(&me->rng, 4 * MIB);
    limits.weight = 1 + (unsigned)rng_below(&me->rng, 1000);
    limits.reserve_bytes = rng_below(&me->rng, 1 * MIB);
    REQUIRE_EQUAL(
        zcache_tenant_set_limits(tenants[0], &limits, (unsigned)rng_below(&me->rng, 2), NULL), 0);
}

static void flush_some(struct worker *me)
{
    const unsigned t = (unsigned)rng_below(&me->rng, TENANTS + 1);
    REQUIRE_EQUAL(zcache_flush(t == TENANTS ? root : tenants[t], 0), 0);
}

/* A tenant of one's own below tenant 1, from open to close. */
static void come_and_go(struct worker *me)
{
    struct zcache_tenant *parent = tenants[1];
    const uint64_t object = 1000 + me->index + (uint64_t)THREADS_MAX * me->opened;
    const enum zcache_close_mode mode = (enum zcache_close_mode)rng_below(&me->rng, 3);
    char name[24];

    (void)snprintf(name, sizeof(name), "temporary-%u", me->index);
    struct zcache_tenant *tenant = open_tenant(parent, name, ZCACHE_UNLIMITED);
    const uint64_t id = zcache_tenant_id(tenant);
    for (uint64_t k = 0; k < TEMPORARY; k++) {
        REQUIRE_EQUAL(put_page(tenant, key_of(object, k), k + 1, FILL_HALF, 0), 0);
    }
    for (uint64_t k = 0; k < TEMPORARY; k++) {
        REQUIRE_EQUAL(get_page(tenant, key_of(object, k), 0), k + 1);
    }
    REQUIRE_EQUAL(zcache_tenant_close(tenant, mode), 0);
    for (uint64_t k = 0; k < TEMPORARY; k++) {
        if (mode == ZCACHE_CLOSE_FLUSH) {
            REQUIRE_EQUAL(mem_store_version(store, id, key_of(object, k)), k + 1);
        }
        if (mode == ZCACHE_CLOSE_REPARENT) {
            /* The parent's now, or written and evicted before, to the tenant's own place. */
            uint64_t version = get_page(parent, key_of(object, k), 0);
            if (version == 0) {
                version = mem_store_version(store, id, key_of(object, k));
            }
            REQUIRE_EQUAL(version, k + 1);
        }
        mem_store_remove(store, id, key_of(object, k));
    }
    if (mode == ZCACHE_CLOSE_REPARENT) {
        REQUIRE_EQUAL(zcache_truncate(parent, object, 0), 0);
    }
    me->puts += TEMPORARY;
    me->gets += (uint64_t)TEMPORARY * (mode == ZCACHE_CLOSE_REPARENT ? 2 : 1);
    me->opened++;
}

static const struct {
    unsigned share;
    void (*run)(struct worker *me);
} operations[] = {
    {400, read_page},  {40, read_pages},   {40, pin_page},  {300, put_one},
    {20, put_several}, {60, delete_one},   {30, take_one},  {2, truncate_tail},
    {4, shrink_some},  {2, change_limits}, {1, flush_some}, {2, come_and_go},
};

static void *work(void *arg)
{
    struct worker *me = arg;
    unsigned shares = 0;

    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++) {
        shares += operations[i].share;
    }
    while (!atomic_load(&stop)) {
        uint64_t draw = rng_below(&me->rng, shares);
        size_t i = 0;
        while (draw >= operations[i].share) {
            draw -= operations[i++].share;
        }
        operations[i].run(me);
    }
    return NULL;
}

/* ---- the test ------------------------------------------------------------------------------------- */

static void open_all(enum mem_store_mode mode, const char *options)
{
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;

    store = mem_store_new(mode);
    cache = open_stored(12 * MIB, store, options);
    root = zcache_root(cache);
    tenants[0] = open_tenant(root, "limited", 4 * MIB);
    tenants[1] = open_tenant(root, "free", ZCACHE_UNLIMITED);
    tenants[2] = open_tenant(tenants[1], "below", 3 * MIB);
    tenants[OFF] = open_tenant(root, "off", ZCACHE_UNLIMITED);
    limits.limit_bytes = 1 * MIB;
    limits.writeback = ZCACHE_WRITEBACK_OFF;
    assert_int_equal(zcache_tenant_set_limits(tenants[OFF], &limits, 0, NULL), 0);
    for (unsigned t = 0; t < TENANTS; t++) {
        for (unsigned i = 0; i < n_threads; i++) {
            for (unsigned k = 0; k < KEYS; k++) {
                atomic_store(&states[t][i][k].started, 0);
                atomic_store(&states[t][i][k].settled, 1);
                atomic_store(&states[t][i][k].deleting, 0);
                atomic_store(&states[t][i][k].window, 0);
            }
        }
    }
    atomic_store(&stop, false);
}

static void check_counts(const struct worker *workers)
{
    const struct zcache_stats stats = stats_of(root);
    struct worker sum = {0};

    for (unsigned i = 0; i < n_threads; i++) {
        sum.puts += workers[i].puts;
        sum.gets += workers[i].gets;
        sum.pins += workers[i].pins;
        sum.deletes += workers[i].deletes;
        sum.refused += workers[i].refused;
        sum.opened += workers[i].opened;
        sum.loose += workers[i].loose;
    }
    print_message("%" PRIu64 " puts (%" PRIu64 " refused), %" PRIu64 " gets (%" PRIu64
                  " loose), %" PRIu64 " pins, %" PRIu64 " deletes, %" PRIu64 " tenants; %" PRIu64
                  " written, %" PRIu64 " loaded\n",
                  sum.puts, sum.refused, sum.gets, sum.loose, sum.pins, sum.deletes, sum.opened,
                  stats.count.written_pages, stats.count.loaded_pages);
    assert_int_equal(puts_of(&stats), sum.puts);
    assert_int_equal(gets_of(&stats), sum.gets);
    assert_int_equal(pins_of(&stats), sum.pins);
    assert_int_equal(deletes_of(&stats), sum.deletes);
    assert_int_equal(stats.count.corrupt, 0);
    assert_int_equal(stats.cache.pins, 0);
    assert_int_equal(stats.gauge.tenants, TENANTS + 1);
    assert_true(stats.gauge.peak_charge_bytes <= 12 * MIB);
}

/* Every key through the cache, then in the store alone. */
static void check_content(void)
{
    for (unsigned t = 0; t < TENANTS; t++) {
        for (unsigned i = 0; i < n_threads; i++) {
            for (unsigned k = 0; k < KEYS; k++) {
                const uint64_t expected = version_now(&states[t][i][k]);
                unsigned char room[PAGE];
                uint64_t version = 0;
                size_t len = 0;
                const int rc = zcache_get(tenants[t], key_of(i, k), room, PAGE, &len, 0);
                assert_int_equal(rc, expected == 0 ? ZCACHE_MISS : 0);
                if (rc == 0) {
                    assert_true(page_whole(room, len, key_of(i, k), &version));
                }
                assert_int_equal(version, expected);
            }
        }
    }
    assert_int_equal(zcache_flush(root, 0), 0);
    for (unsigned t = 0; t < TENANTS; t++) {
        for (unsigned i = 0; i < n_threads; i++) {
            for (unsigned k = 0; k < KEYS; k++) {
                assert_int_equal(
                    mem_store_version(store, zcache_tenant_id(tenants[t]), key_of(i, k)),
                    version_now(&states[t][i][k]));
            }
        }
    }
}

static void run(enum mem_store_mode mode, const char *options)
{
    static struct worker workers[THREADS_MAX];
    pthread_t threads[THREADS_MAX] = {0};

    open_all(mode, options);
    memset(workers, 0, sizeof(workers));
    for (unsigned i = 0; i < n_threads; i++) {
        workers[i].index = i;
        workers[i].rng.state = seed * 1000 + i;
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    const uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    while (now_ns() < end && pause_before(UINT64_MAX)) {
        ;
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < n_threads; i++) {
        pthread_join(threads[i], NULL);
    }
    verify_cache(cache);
    check_counts(workers);
    check_content();
    close_cache(cache);
    mem_store_free(store);
}

static void with_a_synchronous_store(void **state)
{
    (void)state;
    run(MEM_STORE_SYNC, NULL);
}

static void with_an_asynchronous_store(void **state)
{
    (void)state;
    run(MEM_STORE_THREAD, NULL);
}

static void with_compression_in_the_call(void **state)
{
    (void)state;
    run(MEM_STORE_EARLY, "raw_percent=0,full=help");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_a_synchronous_store),
        cmocka_unit_test(with_an_asynchronous_store),
        cmocka_unit_test(with_compression_in_the_call),
    };

    if (argc > 1) {
        n_threads = (unsigned)strtoul(argv[1], NULL, 0);
    }
    if (argc > 2) {
        seconds = strtod(argv[2], NULL);
    } else if (TEST_SLOWDOWN > 4) {
        seconds = 1;
    }
    if (argc > 3) {
        seed = strtoull(argv[3], NULL, 0);
    }
    if (n_threads < 1 || n_threads > THREADS_MAX) {
        test_skip("1 to 64 threads");
    }
    test_begin(0, NULL, seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
