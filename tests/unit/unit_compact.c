/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compact: sparse slabs get empty, whatever lies in them, and pages are afterwards what and where they
 * were; what is held by somebody stays.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "compact.h"
#include "inside.h"
#include "shrinker.h"

enum {
    N = 4000,
    KEEP = 4 /* every fourth page stays */
};

struct fixture {
    struct zcache *cache;
    struct zcache_tenant *t;
    struct zc_thread *th;
};

static void setup(struct fixture *f, const char *options)
{
    f->cache = open_cache(64 * MIB, NULL, options);
    f->t = open_tenant(zcache_root(f->cache), "t", ZCACHE_UNLIMITED);
    f->th = thread_of(f->cache);
    zc_shrinker_pause(f->cache); /* or it is done before we look */
}

static void teardown(struct fixture *f)
{
    zc_shrinker_resume(f->cache);
    close_cache(f->cache);
}

static size_t length_of(uint64_t page)
{
    return 100 + page * 7919 % 3900;
}

static void put_all(struct fixture *f, uint64_t n)
{
    unsigned char buf[PAGE];

    for (uint64_t i = 0; i < n; i++) {
        page_make(buf, length_of(i), key_of(1, i), 1, FILL_RANDOM);
        REQUIRE_EQUAL(zcache_put(f->t, key_of(1, i), buf, length_of(i), 0), 0);
    }
}

/* Deletes in no order, so that no slab gets empty by itself. */
static void delete_most(struct fixture *f, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        if ((i * 2654435761u >> 8) % KEEP != 0) {
            REQUIRE_EQUAL(zcache_delete(f->t, key_of(1, i), 0), 0);
        }
    }
    zc_epoch_drain(f->th->epoch);
}

static void expect_all(struct fixture *f, uint64_t n)
{
    unsigned char buf[PAGE];
    uint64_t version;
    size_t len;

    for (uint64_t i = 0; i < n; i++) {
        int rc = zcache_get(f->t, key_of(1, i), buf, sizeof(buf), &len, ZCACHE_PEEK);

        if ((i * 2654435761u >> 8) % KEEP != 0) {
            REQUIRE_EQUAL(rc, ZCACHE_MISS);
            continue;
        }
        REQUIRE_EQUAL(rc, 0);
        REQUIRE_EQUAL(len, length_of(i));
        REQUIRE(page_whole(buf, len, key_of(1, i), &version) && version == 1);
    }
}

static uint64_t excess(struct fixture *f)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < f->cache->topo.n_nodes; i++) {
        bytes += zc_pool_excess(f->cache->pool[i]);
    }
    return bytes;
}

static uint64_t allocated(struct fixture *f)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < f->cache->topo.n_nodes; i++) {
        struct zc_pool_usage usage;

        zc_pool_usage(f->cache->pool[i], &usage);
        bytes += usage.allocated;
    }
    return bytes;
}

static uint64_t compact(struct fixture *f)
{
    uint64_t freed = 0;

    REQUIRE_EQUAL(zc_compact(f->cache, f->th, deadline_in(20000), &freed), 0);
    return freed;
}

/* The keys of a list, oldest first. */
static uint64_t *order_of(struct fixture *f, uint64_t *n_out)
{
    struct zc_lru *lru = f->t->lru[0];
    uint64_t *pages = malloc(N * sizeof(*pages));
    struct zc_list *it;
    uint64_t n = 0;

    REQUIRE(pages != NULL);
    zc_lock_acquire(&lru->lock);
    ZC_LIST_FOR_EACH (it, &lru->list[ZCACHE_TIER_RAW]) {
        pages[n++] = ZC_CONTAINER_OF(it, struct zc_entry, lru)->key.page;
    }
    zc_lock_release(&lru->lock);
    *n_out = n;
    return pages;
}

static void sparse_slabs_get_empty(void **state)
{
    struct fixture f;
    uint64_t n_before;
    uint64_t n_after;

    (void)state;
    setup(&f, PLAIN);
    put_all(&f, N);
    delete_most(&f, N);
    const uint64_t sparse = excess(&f);
    const uint64_t charge = settled_charge(f.t);
    uint64_t *before = order_of(&f, &n_before);
    assert_true(sparse > allocated(&f) / 2);
    const uint64_t freed = compact(&f);
    assert_true(freed > sparse / 2);
    assert_true(excess(&f) < allocated(&f) / 4 + 3 * MIB); /* half a slab for each of 100 classes */
    assert_int_equal(settled_charge(f.t), charge);
    assert_true(zc_stat_read(f.t->stat, ZC_C_compact_moves) > 0);
    uint64_t *after = order_of(&f, &n_after); /* and nobody got older or younger */
    assert_int_equal(n_after, n_before);
    assert_memory_equal(after, before, n_after * sizeof(*after));
    free(before);
    free(after);
    expect_all(&f, N);
    assert_int_equal(compact(&f) / MIB, 0); /* nothing is left to win */
    teardown(&f);
}

/* Each call does a little when its time is over at once, and the next goes on from there. */
static void it_goes_on_where_its_time_was_over(void **state)
{
    struct fixture f;
    uint64_t sparse;
    uint64_t freed;
    uint64_t all = 0;
    unsigned calls = 0;

    (void)state;
    setup(&f, PLAIN);
    put_all(&f, N);
    delete_most(&f, N);
    sparse = excess(&f);
    do {
        assert_int_equal(zc_compact(f.cache, f.th, PAST, &freed), 0);
        all += freed;
        calls++;
        expect_all(&f, N);
        verify_cache(f.cache);
    } while (f.cache->compact_promised != 0);
    assert_true(calls > 2 && calls < N);
    assert_true(all > sparse / 2);
    assert_true(excess(&f) < allocated(&f) / 4 + 3 * MIB);
    assert_int_equal(compact(&f) / MIB, 0); /* nothing is left to win */
    teardown(&f);
}

/* All pages move while a reader is in a section, which keeps their first copies from being freed. */
static struct zc_epoch_record *walk_beside_a_reader(struct fixture *f)
{
    struct zc_epoch_record *reader = NULL;
    uint64_t freed;

    setup(f, PLAIN ",keep=0");
    put_all(f, N);
    delete_most(f, N);
    REQUIRE_EQUAL(zc_epoch_register(f->cache->epoch, &reader), 0);
    zc_epoch_enter(reader);
    do {
        REQUIRE_EQUAL(zc_compact(f->cache, f->th, PAST, &freed), 0);
        REQUIRE(f->cache->compact_promised > 0); /* nobody says yet that it was in vain */
    } while (!f->cache->compact_walked);
    return reader;
}

static void leave(struct zc_epoch_record *reader)
{
    zc_epoch_exit(reader);
    zc_epoch_unregister(&reader);
}

static void what_a_reader_holds_is_waited_for(void **state)
{
    struct fixture f;
    struct zc_epoch_record *reader = walk_beside_a_reader(&f);
    const uint64_t promised = f.cache->compact_promised;
    uint64_t freed = 0;

    (void)state;
    leave(reader);
    assert_int_equal(zc_compact(f.cache, f.th, PAST, &freed), 0);
    assert_true(freed > promised / 2);
    assert_int_equal(f.cache->compact_rest_ns, 0);
    expect_all(&f, N);
    teardown(&f);
}

static void who_stays_long_is_not_waited_for_again(void **state)
{
    struct fixture f;
    struct zc_epoch_record *reader = walk_beside_a_reader(&f);
    uint64_t freed = 0;

    (void)state;
    assert_int_equal(zc_compact(f.cache, f.th, PAST, &freed), 0);
    assert_true(f.cache->compact_promised == 0 && f.cache->compact_rest_ns > 0);
    leave(reader);
    expect_all(&f, N);
    teardown(&f);
}

/* Nearly all that may be charged is: a few pages move, then their first copies have to be gone. */
static void a_second_copy_has_room_when_others_first_is_gone(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    put_all(&f, N);
    delete_most(&f, N);
    const uint64_t sparse = excess(&f);
    const uint64_t taken = use_up(&f.cache->account);
    give_back(&f.cache->account, 32 << 10);
    assert_true(compact(&f) > sparse / 2);
    give_back(&f.cache->account, taken - (32 << 10));
    expect_all(&f, N);
    teardown(&f);
}

/* Where nothing at all may be charged it ends at once, and goes on when it can. */
static void without_room_for_one_it_waits(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, PLAIN ",keep=0");
    put_all(&f, N);
    delete_most(&f, N);
    const uint64_t sparse = excess(&f);
    const uint64_t taken = use_up(&f.cache->account);
    assert_int_equal(compact(&f), 0);
    assert_int_equal(zc_stat_read(f.t->stat, ZC_C_compact_moves), 0);
    assert_true(f.cache->compact_promised != 0); /* the walk is still under way */
    give_back(&f.cache->account, taken);
    assert_true(compact(&f) > sparse / 2);
    expect_all(&f, N);
    teardown(&f);
}

static void compressed_pages_move_as_they_are(void **state)
{
    unsigned char buf[PAGE];
    struct fixture f;

    (void)state;
    setup(&f, "raw_percent=0");
    for (uint64_t i = 0; i < N; i++) {
        page_make(buf, PAGE, key_of(1, i), 1, i % 2 == 0 ? FILL_TEXT : FILL_HALF);
        REQUIRE_EQUAL(zcache_put(f.t, key_of(1, i), buf, PAGE, 0), 0);
    }
    delete_most(&f, N);
    const struct zcache_stats before = stats_of(f.t);
    assert_true(compact(&f) > MIB);
    const struct zcache_stats after = stats_of(f.t);
    assert_int_equal(after.tier[ZCACHE_TIER_FAST].stored_bytes,
                     before.tier[ZCACHE_TIER_FAST].stored_bytes);
    assert_int_equal(after.gauge.dirty_pages, before.gauge.dirty_pages);
    for (uint64_t i = 0; i < N; i++) {
        if ((i * 2654435761u >> 8) % KEEP == 0) {
            REQUIRE_EQUAL(get_page(f.t, key_of(1, i), ZCACHE_PEEK), 1);
        }
    }
    teardown(&f);
}

/* Same-filled pages have no payload: only their records can lie in sparse slabs. */
static void records_move_too(void **state)
{
    enum {
        MANY = 40000
    };

    unsigned char buf[64];
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    for (uint64_t i = 0; i < MANY; i++) {
        memset(buf, (int)i, sizeof(buf));
        REQUIRE_EQUAL(zcache_put(f.t, key_of(1, i), buf, sizeof(buf), ZCACHE_CLEAN), 0);
    }
    delete_most(&f, MANY);
    const uint64_t entry_bytes = atomic_load(&f.cache->entry_bytes);
    const uint64_t freed = compact(&f);
    assert_true(freed > (uint64_t)MANY * sizeof(struct zc_entry) / 2);
    zc_epoch_drain(f.th->epoch);
    assert_int_equal(atomic_load(&f.cache->entry_bytes), entry_bytes);
    for (uint64_t i = 0; i < MANY; i++) {
        size_t len;
        int rc = zcache_get(f.t, key_of(1, i), buf, sizeof(buf), &len, 0);

        REQUIRE_EQUAL(rc, (i * 2654435761u >> 8) % KEEP == 0 ? 0 : ZCACHE_MISS);
        REQUIRE(rc != 0 || buf[0] == (unsigned char)i);
    }
    teardown(&f);
}

static void what_is_held_stays(void **state)
{
    struct zcache_pin pin;
    struct fixture f;
    uint64_t kept = 0;
    uint64_t version;

    (void)state;
    setup(&f, PLAIN);
    put_all(&f, N);
    delete_most(&f, N);
    while ((kept * 2654435761u >> 8) % KEEP != 0 || length_of(kept) < 2000) {
        kept++;
    }
    assert_int_equal(zcache_pin(f.t, key_of(1, kept), 0, &pin), 0);
    struct zc_entry *held = isolate(f.t, key_of(1, kept));
    const uint64_t word = word_of(f.t, key_of(1, kept));
    (void)compact(&f);
    assert_ptr_equal(entry_of(f.t, key_of(1, kept)), held);
    assert_int_equal(word_of(f.t, key_of(1, kept)), word);
    assert_true(page_whole(pin.data, pin.len, key_of(1, kept), &version));
    zc_page_putback(f.cache, f.th, held, true);
    zcache_unpin(&pin);
    expect_all(&f, N);
    teardown(&f);
}

static void one_at_a_time(void **state)
{
    struct fixture f;
    uint64_t freed;

    (void)state;
    setup(&f, PLAIN);
    atomic_store(&f.cache->compacting, 1);
    assert_int_equal(zc_compact(f.cache, f.th, deadline_in(1000), &freed), -EBUSY);
    assert_int_equal(zcache_compact(f.cache, 1, NULL), -EBUSY);
    atomic_store(&f.cache->compacting, 0);
    assert_int_equal(zcache_compact(f.cache, 1, NULL), 0);
    teardown(&f);
}

/* Nor does the shrinker ask all the time whether the other is through. */
static void the_shrinker_waits_for_its_turn(void **state)
{
    struct fixture f;
    uint64_t before;
    uint64_t end;

    (void)state;
    setup(&f, PLAIN);
    put_all(&f, (uint64_t)4 * N);
    delete_most(&f, (uint64_t)4 * N);
    assert_true(zc_compact_when(f.cache) != 0);
    atomic_store(&f.cache->compacting, 1);
    zc_shrinker_resume(f.cache);
    before = atomic_load(&f.cache->bell.wakes);
    zc_bell_ring(f.cache, ZC_BELL_COMPACT);
    WAIT_UNTIL(atomic_load(&f.cache->bell.wakes) > before + 2, 10000); /* it comes back for it */
    before = atomic_load(&f.cache->bell.wakes);
    end = now_ns() + 100 * MS_IN_NS;
    WAIT_UNTIL(now_ns() >= end, 10000);
    assert_in_range(atomic_load(&f.cache->bell.wakes) - before, 0, 50);
    atomic_store(&f.cache->compacting, 0);
    WAIT_UNTIL(zc_compact_when(f.cache) == 0, 10000);
    zc_shrinker_pause(f.cache);
    expect_all(&f, (uint64_t)4 * N);
    teardown(&f);
}

/* It is rung for by whoever frees, and done by the shrinker. */
static void it_happens_by_itself(void **state)
{
    enum {
        MANY = 4 * N
    };
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    put_all(&f, MANY);
    const uint64_t full = atomic_load(&f.cache->bound.resident);
    zc_shrinker_resume(f.cache);
    delete_most(&f, MANY);
    WAIT_UNTIL(atomic_load(&f.cache->bound.resident) < full / 2, 20000);
    expect_all(&f, MANY);
    close_cache(f.cache);
}

static void the_bound_is_not_passed(void **state)
{
    struct zc_stall over = {.deadline_ns = PAST};
    struct fixture f;

    (void)state;
    setup(&f, PLAIN);
    put_all(&f, N);
    const uint64_t max = atomic_load(&f.cache->bound.max);
    atomic_store(&f.cache->bound.max, atomic_load(&f.cache->bound.resident));
    /* No slab may be added, and there is no hole to win: the put is refused, not the bound passed. */
    for (uint64_t i = 0; i < 10; i++) {
        unsigned char buf[PAGE];

        page_make(buf, PAGE, key_of(2, i), 1, FILL_RANDOM);
        int rc = zcache_put(f.t, key_of(2, i), buf, PAGE, ZCACHE_NOWAIT);
        assert_true(rc == 0 || rc == -ENOMEM || rc == -EBUSY);
        assert_true(atomic_load(&f.cache->bound.resident) <= atomic_load(&f.cache->bound.max));
    }
    assert_false(zc_compact_make_room(f.cache, f.th, 0, &over));
    /* With holes it makes room for itself. */
    delete_most(&f, N);
    for (uint64_t i = 0; i < 500; i++) {
        REQUIRE_EQUAL(put_page(f.t, key_of(3, i), 1, FILL_RANDOM, 0), 0);
    }
    assert_true(atomic_load(&f.cache->bound.resident) <= atomic_load(&f.cache->bound.max));
    atomic_store(&f.cache->bound.max, max);
    expect_all(&f, N);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* While others work. */

struct user {
    struct fixture *f;
    unsigned index;
    atomic_bool *stop;
};

enum {
    USERS = 3,
    KEYS_EACH = 3000
};

/* Puts and deletes pages of its own, and knows which version each has. */
static void *use_pages(void *arg)
{
    const struct user *me = arg;
    uint64_t *version = calloc(KEYS_EACH, sizeof(*version));
    struct rng rng = {me->index + 1};
    unsigned char buf[PAGE];

    REQUIRE(version != NULL);
    while (!atomic_load(me->stop)) {
        const uint64_t k = rng_below(&rng, KEYS_EACH);
        const struct zcache_key key = key_of(10 + me->index, k);
        const size_t len = 64 + rng_below(&rng, PAGE - 64);
        uint64_t seen;
        size_t got;

        switch (rng_below(&rng, 8)) {
        case 0:
        case 1:
        case 2:
            page_make(buf, len, key, ++version[k], FILL_TEXT);
            REQUIRE_EQUAL(zcache_put(me->f->t, key, buf, len, 0), 0);
            break;
        case 3:
            REQUIRE(zcache_delete(me->f->t, key, 0) >= 0);
            version[k] = 0;
            break;
        default:
            if (zcache_get(me->f->t, key, buf, PAGE, &got, 0) == 0) {
                REQUIRE(page_whole(buf, got, key, &seen) && seen == version[k]);
            } else {
                REQUIRE_EQUAL(version[k], 0);
            }
        }
        if (version[k] == 0 && rng_below(&rng, 2) == 0) {
            version[k] = 0;
        }
    }
    free(version);
    return NULL;
}

static void others_go_on_meanwhile(void **state)
{
    pthread_t threads[USERS];
    struct user users[USERS];
    atomic_bool stop = false;
    struct fixture f;
    unsigned runs = 0;

    (void)state;
    setup(&f, "fast_percent=30");
    for (unsigned i = 0; i < USERS; i++) {
        users[i] = (struct user){.f = &f, .index = i, .stop = &stop};
        REQUIRE_EQUAL(pthread_create(&threads[i], NULL, use_pages, &users[i]), 0);
    }
    const uint64_t end = now_ns() + 1500 * MS_IN_NS;
    while (now_ns() < end || zc_stat_read(f.t->stat, ZC_C_compact_moves) < 1000) {
        (void)compact(&f);
        runs++;
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < USERS; i++) {
        pthread_join(threads[i], NULL);
    }
    print_message("%u runs, %llu moves\n", runs,
                  (unsigned long long)zc_stat_read(f.t->stat, ZC_C_compact_moves));
    teardown(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sparse_slabs_get_empty),
        cmocka_unit_test(it_goes_on_where_its_time_was_over),
        cmocka_unit_test(what_a_reader_holds_is_waited_for),
        cmocka_unit_test(who_stays_long_is_not_waited_for_again),
        cmocka_unit_test(a_second_copy_has_room_when_others_first_is_gone),
        cmocka_unit_test(without_room_for_one_it_waits),
        cmocka_unit_test(compressed_pages_move_as_they_are),
        cmocka_unit_test(records_move_too),
        cmocka_unit_test(what_is_held_stays),
        cmocka_unit_test(one_at_a_time),
        cmocka_unit_test(the_shrinker_waits_for_its_turn),
        cmocka_unit_test(it_happens_by_itself),
        cmocka_unit_test(the_bound_is_not_passed),
        cmocka_unit_test(others_go_on_meanwhile),
    };

    (void)test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("compact", tests, NULL, NULL);
}
