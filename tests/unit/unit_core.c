/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core: metadata is charged to the root, first to what was prepaid for it; retired memory is refunded
 * when it is really freed; nobody who waits for progress misses it; the log is bounded.
 */
#include <string.h>

#include "inside.h"
#include "shrinker.h"

#define OBJECT     UINT64_C(1000)
#define PINGS      20000
#define LOG_WINDOW UINT64_C(1000000000)

/* ---------------------------------------------------------------------------------------------- */
/* Metadata. */

static uint64_t prepaid(struct zcache *cache)
{
    return atomic_load(&cache->prepaid);
}

static uint64_t charge(struct zcache *cache)
{
    return zc_quota_used(&cache->account);
}

static uint64_t io_bytes(struct zcache *cache)
{
    return atomic_load(&cache->mem[ZC_MEM_IO].bytes);
}

static void *meta(struct zcache *cache, size_t size)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_IO);

    return mem->alloc(mem->ctx, size);
}

static void meta_free(struct zcache *cache, void *ptr, size_t size)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_IO);

    mem->free(mem->ctx, ptr, size);
}

static void metadata_uses_what_was_prepaid_first(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, PLAIN);
    static const unsigned char zeros[OBJECT];

    (void)state;
    (void)thread_of(cache);
    const uint64_t charge_before = charge(cache);
    const uint64_t prepaid_before = prepaid(cache);
    const uint64_t bytes_before = io_bytes(cache);
    void *ptr = meta(cache, OBJECT);
    assert_non_null(ptr);
    assert_int_equal((uintptr_t)ptr % ZC_CACHE_LINE, 0);
    assert_memory_equal(ptr, zeros, OBJECT);
    assert_int_equal(charge(cache), charge_before);
    assert_true(io_bytes(cache) >= bytes_before + OBJECT);
    assert_int_equal(prepaid_before - prepaid(cache), io_bytes(cache) - bytes_before);
    memset(ptr, 0xff, OBJECT);
    meta_free(cache, ptr, OBJECT);
    assert_int_equal(charge(cache), charge_before);
    assert_int_equal(prepaid(cache), prepaid_before);
    assert_int_equal(io_bytes(cache), bytes_before);
    meta_free(cache, NULL, OBJECT);
    close_cache(cache);
}

static void what_exceeds_it_is_charged_and_refunded(void **state)
{
    enum {
        BIG = 100000,
        PAGED = 102400, /* in pages of its own: it is long, and wastes little there */
        MANY = 64
    };
    struct zcache *cache = open_cache(64 * MIB, NULL, PLAIN);
    void *ptr[MANY];

    (void)state;
    (void)thread_of(cache);
    const uint64_t charge_before = charge(cache);
    const uint64_t used_before = charge_before - prepaid(cache);
    for (int i = 0; i < MANY; i++) {
        ptr[i] = meta(cache, BIG);
        assert_non_null(ptr[i]);
        assert_int_equal(charge(cache) - prepaid(cache) - used_before, (uint64_t)(i + 1) * PAGED);
    }
    assert_true(charge(cache) > charge_before);
    assert_true(prepaid(cache) < PAGED);
    for (int i = 0; i < MANY; i++) {
        meta_free(cache, ptr[i], BIG);
        assert_true(prepaid(cache) <= cache->prepaid_max);
    }
    assert_int_equal(charge(cache) - prepaid(cache), used_before);
    close_cache(cache);
}

static void long_metadata_is_mapped_and_charged_by_pages(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, PLAIN);
    const size_t size = ZC_POOL_MAX + 1;

    (void)state;
    const uint64_t used_before = charge(cache) - prepaid(cache);
    unsigned char *ptr = meta(cache, size);
    assert_non_null(ptr);
    assert_int_equal(ptr[0] | ptr[size - 1], 0);
    assert_int_equal(charge(cache) - prepaid(cache) - used_before,
                     zc_align_up(size, zc_plat_page_size()));
    meta_free(cache, ptr, size);
    assert_int_equal(charge(cache) - prepaid(cache), used_before);
    close_cache(cache);
}

static void without_room_metadata_is_refused(void **state)
{
    struct zcache *cache = open_cache(4 * MIB, NULL, PLAIN);

    (void)state;
    (void)thread_of(cache);
    const uint64_t taken = use_up(&cache->account);
    const uint64_t left = atomic_exchange(&cache->prepaid, OBJECT);
    const uint64_t bytes = io_bytes(cache);
    assert_null(meta(cache, OBJECT));
    assert_int_equal(prepaid(cache), OBJECT);
    assert_int_equal(io_bytes(cache), bytes);
    atomic_store(&cache->prepaid, left);
    void *ptr = meta(cache, OBJECT); /* a full cache can still do this */
    assert_non_null(ptr);
    meta_free(cache, ptr, OBJECT);
    give_back(&cache->account, taken);
    close_cache(cache);
}

static void without_memory_nothing_is_charged(void **state)
{
    struct zcache *cache = open_cache(4 * MIB, NULL, PLAIN);

    (void)state;
    (void)thread_of(cache);
    const uint64_t used_before = charge(cache) - prepaid(cache);
    const uint64_t bytes = io_bytes(cache);
    fail_after(1);
    assert_null(meta(cache, OBJECT));
    fail_after(0);
    assert_int_equal(charge(cache) - prepaid(cache), used_before);
    assert_int_equal(io_bytes(cache), bytes);
    close_cache(cache);
}

/* ---------------------------------------------------------------------------------------------- */
/* Retired memory. */

static struct zc_payload *reserved_payload(struct zcache *cache, uint8_t codec)
{
    struct zc_payload *p;

    REQUIRE(zc_quota_reserve(&cache->account, zc_page_bytes(PAGE, codec), ZC_QUOTA_PUT) == NULL);
    p = zc_page_new_payload(cache, 0, &cache->account, PAGE, PAGE, codec);
    REQUIRE(p != NULL);
    zc_epoch_stock(thread_of(cache)->epoch, 2);
    return p;
}

static void retired_memory_is_charged_until_it_is_freed(void **state)
{
    struct zcache *cache = open_cache(4 * MIB, NULL, PLAIN);
    struct zc_thread *th = thread_of(cache);

    (void)state;
    for (uint8_t codec = 0; codec <= 1; codec++) {
        const uint64_t before = charge(cache);
        struct zc_payload *p = reserved_payload(cache, codec);
        zc_epoch_enter(th->epoch);
        zc_core_retire_word(th, zc_word_of(p), &cache->account);
        zc_epoch_exit(th->epoch);
        assert_int_equal(charge(cache), before + zc_page_bytes(PAGE, codec));
        zc_core_retire_word(th, 0, &cache->account);
        zc_core_retire_word(th, zc_word_same(PAGE, 7), &cache->account);
        drain(cache);
        assert_int_equal(charge(cache), before);
    }
    close_cache(cache);
}

static void a_pinned_frame_is_freed_by_its_last_unpin(void **state)
{
    struct zcache *cache = open_cache(4 * MIB, NULL, PLAIN);
    struct zc_thread *th = thread_of(cache);
    const uint64_t before = charge(cache);
    struct zc_payload *p = reserved_payload(cache, ZC_CODEC_NONE);
    struct zc_frame *frame = zc_payload_frame(p);
    const uint64_t with = charge(cache);

    (void)state;
    atomic_store(&frame->pins, 2);
    assert_true(zc_word_pinned(zc_word_of(p)));
    zc_core_retire_payload(th, p, &cache->account);
    drain(cache);
    assert_int_equal(charge(cache), with);
    zc_core_unpin(cache, frame);
    assert_int_equal(charge(cache), with);
    assert_true(zc_word_pinned(zc_word_of(p)));
    zc_core_unpin(cache, frame);
    assert_int_equal(charge(cache), before);
    close_cache(cache);
}

static void a_frame_unpinned_in_time_is_freed_by_the_epoch(void **state)
{
    struct zcache *cache = open_cache(4 * MIB, NULL, PLAIN);
    struct zc_thread *th = thread_of(cache);
    const uint64_t before = charge(cache);
    struct zc_payload *p = reserved_payload(cache, ZC_CODEC_NONE);

    (void)state;
    atomic_store(&zc_payload_frame(p)->pins, 1);
    zc_core_retire_payload(th, p, &cache->account);
    zc_core_unpin(cache, zc_payload_frame(p));
    assert_true(charge(cache) > before);
    drain(cache);
    assert_int_equal(charge(cache), before);
    close_cache(cache);
}

struct unpin {
    struct zcache *cache;
    struct zc_frame *frame;
};

static void unpin_frame(void *arg)
{
    struct unpin *unpin = arg;

    zc_core_unpin(unpin->cache, unpin->frame);
}

static void an_unpin_too_many_is_stopped(void **state)
{
    struct zcache *cache = open_cache(4 * MIB, NULL, PLAIN);
    struct zc_payload *p = reserved_payload(cache, ZC_CODEC_NONE);
    struct unpin unpin = {cache, zc_payload_frame(p)};

    (void)state;
    assert_non_null(assertion_of(unpin_frame, &unpin));
    zc_core_release(cache, p, zc_payload_size(p), &cache->account);
    close_cache(cache);
}

static void the_last_reference_retires_the_record(void **state)
{
    struct zcache *cache = open_cache(4 * MIB, NULL, PLAIN);
    struct zc_thread *th = thread_of(cache);
    const uint64_t before = charge(cache);
    const size_t bytes = zc_pool_round(sizeof(struct zc_entry));

    (void)state;
    REQUIRE(zc_quota_reserve(&cache->account, bytes, ZC_QUOTA_PUT) == NULL);
    struct zc_entry *e = zc_page_new_entry(cache, cache->root, 0, key_of(1, 1));
    assert_non_null(e);
    assert_int_equal(atomic_load(&cache->entry_bytes), bytes);
    zc_entry_become(e, ZC_DEAD);
    zc_entry_ref(e);
    zc_core_unref_entry(cache, th, e, &cache->account);
    drain(cache);
    assert_int_equal(charge(cache), before + bytes);
    zc_core_unref_entry(cache, th, e, &cache->account);
    assert_int_equal(atomic_load(&cache->entry_bytes), 0);
    assert_int_equal(charge(cache), before + bytes);
    drain(cache);
    assert_int_equal(charge(cache), before);
    close_cache(cache);
}

/* ---------------------------------------------------------------------------------------------- */
/* Progress. */

static void a_signal_after_begin_is_not_missed(void **state)
{
    struct zcache *cache = open_cache(4 * MIB, NULL, PLAIN);
    uint64_t seq = zc_progress_begin(cache, ZC_FOR_ANY);

    (void)state;
    zc_progress_signal(cache);
    assert_true(zc_progress_wait(cache, ZC_FOR_ANY, &seq, PAST));
    assert_false(zc_progress_wait(cache, ZC_FOR_ANY, &seq, PAST));
    zc_progress_signal(cache);
    zc_progress_signal(cache);
    assert_true(zc_progress_wait(cache, ZC_FOR_ANY, &seq, PAST));
    assert_false(zc_progress_wait(cache, ZC_FOR_ANY, &seq, PAST));
    zc_progress_end(cache, ZC_FOR_ANY);
    close_cache(cache);
}

static void a_signal_nobody_waits_for_costs_no_lock(void **state)
{
    struct zcache *cache = open_cache(4 * MIB, NULL, PLAIN);

    (void)state;
    const uint64_t locks = zc_lock_count();
    zc_progress_signal(cache);
    assert_int_equal(zc_lock_count(), locks);
    uint64_t seq = zc_progress_begin(cache, ZC_FOR_ANY);
    /* That one was before the begin. */
    assert_false(zc_progress_wait(cache, ZC_FOR_ANY, &seq, PAST));
    zc_progress_end(cache, ZC_FOR_ANY);
    close_cache(cache);
}

/* Fills the account up to @room bytes below what puts may have.  What was reserved for it. */
static uint64_t leave_room(struct zcache *cache, uint64_t room)
{
    const uint64_t limit = zc_quota_limit(&cache->account);
    const uint64_t bytes = limit - zc_quota_slack(limit) - room - charge(cache);

    assert_null(zc_quota_reserve(&cache->account, bytes, ZC_QUOTA_PUT));
    return bytes;
}

/* Whether a signal wakes somebody who waits for room. */
static bool wakes_for_room(struct zcache *cache)
{
    uint64_t seq = zc_progress_begin(cache, ZC_FOR_ROOM);
    bool woken;

    zc_progress_signal(cache);
    woken = zc_progress_wait(cache, ZC_FOR_ROOM, &seq, PAST);
    zc_progress_end(cache, ZC_FOR_ROOM);
    return woken;
}

static void room_is_told_when_there_is_some(void **state)
{
    struct zcache *cache = open_cache(4 * MIB, NULL, PLAIN);
    uint64_t bytes;
    uint64_t seq;

    (void)state;
    bytes = leave_room(cache, 1000);
    assert_true(wakes_for_room(cache)); /* nobody is making more */
    atomic_store(&cache->bell.working, 1);
    assert_false(wakes_for_room(cache));

    /* One who waits for something else is always told, and alone. */
    seq = zc_progress_begin(cache, ZC_FOR_ANY);
    assert_false(wakes_for_room(cache));
    assert_true(zc_progress_wait(cache, ZC_FOR_ANY, &seq, PAST));
    zc_progress_end(cache, ZC_FOR_ANY);

    for (int what = 0; what < ZC_WAITS; what++) {
        seq = zc_progress_begin(cache, (enum zc_wait_for)what);
        zc_progress_announce(cache);
        assert_true(zc_progress_wait(cache, (enum zc_wait_for)what, &seq, PAST));
        zc_progress_end(cache, (enum zc_wait_for)what);
    }

    zc_quota_refund(&cache->account, 4 * MIB / 64);
    assert_true(wakes_for_room(cache));
    zc_quota_refund(&cache->account, bytes - 4 * MIB / 64);
    assert_int_equal(atomic_load(&cache->progress.waiters), 0);
    atomic_store(&cache->bell.working, 0);
    close_cache(cache);
}

struct ping {
    struct zcache *cache;
    _Atomic int turn;
};

/* Passes the turn on until it was here PINGS times; a lost wake-up ends in the deadline. */
static void play(struct ping *ping, int me)
{
    for (int i = 0; i < PINGS / (int)TEST_SLOWDOWN; i++) {
        const uint64_t deadline = deadline_in(20000);
        uint64_t seq = zc_progress_begin(ping->cache, ZC_FOR_ANY);

        while (atomic_load(&ping->turn) != me) {
            REQUIRE(zc_progress_wait(ping->cache, ZC_FOR_ANY, &seq, deadline));
        }
        zc_progress_end(ping->cache, ZC_FOR_ANY);
        atomic_store(&ping->turn, 1 - me);
        zc_progress_signal(ping->cache);
    }
}

static void *play_second(void *arg)
{
    play(arg, 1);
    return NULL;
}

static void no_wake_up_is_lost(void **state)
{
    struct ping ping = {open_cache(4 * MIB, NULL, PLAIN), 0};
    pthread_t second;

    (void)state;
    start(&second, play_second, &ping);
    play(&ping, 0);
    join(second);
    assert_int_equal(atomic_load(&ping.cache->progress.waiters), 0);
    close_cache(ping.cache);
}

/* ---------------------------------------------------------------------------------------------- */
/* Bell and log. */

static void restart_shrinker(struct zcache *cache)
{
    atomic_store(&cache->bell.rung, 0);
    atomic_store(&cache->bell.quiet_ns, 0);
    REQUIRE_EQUAL(zc_shrinker_start(cache), 0);
}

static void rings_are_coalesced_and_can_be_muted(void **state)
{
    struct zcache *cache = open_cache(4 * MIB, NULL, PLAIN);
    struct zc_bell *bell = &cache->bell;

    (void)state;
    zc_shrinker_stop(cache);
    atomic_store(&bell->rung, 0);
    zc_bell_ring(cache, ZC_BELL_PRESSURE);
    assert_int_equal(atomic_load(&bell->rung), ZC_BELL_PRESSURE);
    const uint64_t locks = zc_lock_count();
    zc_bell_ring(cache, ZC_BELL_PRESSURE);
    assert_int_equal(zc_lock_count(), locks);
    zc_bell_ring(cache, ZC_BELL_AHEAD);
    assert_int_equal(atomic_load(&bell->rung), ZC_BELL_PRESSURE | ZC_BELL_AHEAD);

    atomic_store(&bell->rung, 0);
    atomic_store(&bell->quiet_ns, UINT64_MAX);
    zc_bell_ring(cache, ZC_BELL_PRESSURE);
    zc_bell_ring(cache, ZC_BELL_AHEAD);
    assert_int_equal(atomic_load(&bell->rung), 0);
    zc_bell_ring(cache, ZC_BELL_URGENT);
    zc_bell_ring(cache, ZC_BELL_DRAIN);
    assert_int_equal(atomic_load(&bell->rung), ZC_BELL_URGENT | ZC_BELL_DRAIN);
    restart_shrinker(cache);
    close_cache(cache);
}

static void the_log_is_bounded_per_event(void **state)
{
    struct zcache *cache = open_cache(4 * MIB, NULL, PLAIN);

    (void)state;
    log_clear();
    for (int i = 0; i < 200; i++) {
        zc_core_log(cache, ZCACHE_LOG_INFO, "test.one", "number %d", i);
    }
    const unsigned n = log_count("test.one");
    assert_in_range(n, 10, 20); /* 20 if a second began meanwhile */
    zc_core_log(cache, ZCACHE_LOG_INFO, "test.other", "%s", "another event");
    assert_int_equal(log_count("test.other"), 1);
    for (unsigned i = 0; i < ZC_LOG_EVENTS; i++) {
        atomic_fetch_sub(&cache->log_window[i].start_ns, LOG_WINDOW);
    }
    zc_core_log(cache, ZCACHE_LOG_INFO, "test.one", "a second later");
    assert_int_equal(log_count("test.one"), n + 1);
    close_cache(cache);
}

static void long_messages_are_cut_and_no_log_is_none(void **state)
{
    struct zcache *cache = open_cache(4 * MIB, NULL, PLAIN);

    (void)state;
    zc_core_log(cache, ZCACHE_LOG_INFO, "test.long", "%01000d", 1);
    assert_int_equal(log_count("test.long"), 1);
    cache->opt.log = NULL;
    zc_core_log(cache, ZCACHE_LOG_INFO, "test.long", "nobody listens");
    assert_int_equal(log_count("test.long"), 1);
    close_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metadata_uses_what_was_prepaid_first),
        cmocka_unit_test(what_exceeds_it_is_charged_and_refunded),
        cmocka_unit_test(long_metadata_is_mapped_and_charged_by_pages),
        cmocka_unit_test(without_room_metadata_is_refused),
        cmocka_unit_test(without_memory_nothing_is_charged),
        cmocka_unit_test(retired_memory_is_charged_until_it_is_freed),
        cmocka_unit_test(a_pinned_frame_is_freed_by_its_last_unpin),
        cmocka_unit_test(a_frame_unpinned_in_time_is_freed_by_the_epoch),
        cmocka_unit_test(an_unpin_too_many_is_stopped),
        cmocka_unit_test(the_last_reference_retires_the_record),
        cmocka_unit_test(a_signal_after_begin_is_not_missed),
        cmocka_unit_test(a_signal_nobody_waits_for_costs_no_lock),
        cmocka_unit_test(room_is_told_when_there_is_some),
        cmocka_unit_test(no_wake_up_is_lost),
        cmocka_unit_test(rings_are_coalesced_and_can_be_muted),
        cmocka_unit_test(the_log_is_bounded_per_event),
        cmocka_unit_test(long_messages_are_cut_and_no_log_is_none),
    };

    (void)test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("core", tests, NULL, NULL);
}
