/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The check of a key's history (history.h) can fail: bad histories, made by hand, are rejected, and the
 * good ones next to them accepted. A search that accepted everything would pass every other model test.
 */
#include "history.h"
#include "page.h"

#include "api/support.h"

#include <string.h>

/* A call from @call to @ret, and an event of the store. */
#define CALL(call, ret, op, version)                                                               \
    {                                                                                              \
        (call), (ret), (version), (op), 0                                                          \
    }
#define STORE(at, op, version) CALL(at, at, op, version)

#define ACCEPT(...)                                                                                \
    check(true, (const struct model_event[]){__VA_ARGS__},                                         \
          sizeof((const struct model_event[]){__VA_ARGS__}) / sizeof(struct model_event),          \
          __LINE__)
#define REJECT(...)                                                                                \
    check(false, (const struct model_event[]){__VA_ARGS__},                                        \
          sizeof((const struct model_event[]){__VA_ARGS__}) / sizeof(struct model_event),          \
          __LINE__)

/* In one part, backwards, and in as many parts as there are moments without a call under way. */
static void check(bool good, const struct model_event *events, size_t n, int line)
{
    struct model_event backwards[32];
    struct model_history whole;
    struct model_history turned;
    struct model_history parts;
    struct model_checker checker = {0};
    const struct model_event *bad = NULL;
    bool good_in_parts = true;
    size_t first = 0;

    REQUIRE(n <= sizeof(backwards) / sizeof(backwards[0]));
    model_history_init(&whole);
    model_history_init(&turned);
    model_history_init(&parts);
    for (size_t i = 0; i < n; i++) {
        backwards[i] = events[n - 1 - i];
    }
    const bool good_whole = model_history_run(&checker, &whole, events, n, &bad);
    const bool good_turned = model_history_run(&checker, &turned, backwards, n, &bad);
    for (size_t i = 0; i < n && good_in_parts; i++) {
        uint64_t latest = 0;
        uint64_t next = UINT64_MAX;
        for (size_t k = 0; k < n; k++) {
            latest = k <= i && events[k].ret > latest ? events[k].ret : latest;
            next = k > i && events[k].call < next ? events[k].call : next;
        }
        if (latest < next) {
            good_in_parts =
                model_history_run(&checker, &parts, events + first, i + 1 - first, &bad);
            first = i + 1;
        }
    }
    if (good_whole != good || good_turned != good || good_in_parts != good) {
        struct model_history empty;
        model_history_init(&empty);
        model_history_print(stderr, &empty, events, n, good ? bad : NULL);
        model_history_fini(&empty);
        fail_msg("line %d: the history is %s", line, good ? "good" : "bad");
    }
    model_history_fini(&whole);
    model_history_fini(&turned);
    model_history_fini(&parts);
    model_checker_fini(&checker);
}

/* A write of @version that the store takes, from @at on, four instants. */
#define WRITE(at, version)                                                                         \
    STORE(at, MODEL_ARRIVED, version), STORE((at) + 1, MODEL_STORED, version),                     \
        STORE((at) + 2, MODEL_WRITTEN, version)

static void a_read_sees_the_last_put(void **state)
{
    (void)state;
    ACCEPT(CALL(1, 2, MODEL_MISS, 0));
    REJECT(CALL(1, 2, MODEL_GET, 1));
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_GET, 1));
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_PUT, 2), CALL(5, 6, MODEL_GET, 2));
    /* stale */
    REJECT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_PUT, 2), CALL(5, 6, MODEL_GET, 1));
    /* from the future */
    REJECT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_GET, 2), CALL(5, 6, MODEL_PUT, 2));
    /* lost */
    REJECT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_MISS, 0));
    REJECT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_ABSENT, 0));
}

static void calls_that_overlap_may_come_in_either_order(void **state)
{
    (void)state;
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 6, MODEL_PUT, 2), CALL(4, 5, MODEL_GET, 1));
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 6, MODEL_PUT, 2), CALL(4, 5, MODEL_GET, 2));
    ACCEPT(CALL(1, 5, MODEL_PUT, 1), CALL(2, 6, MODEL_PUT, 2), CALL(7, 8, MODEL_GET, 1));
    ACCEPT(CALL(1, 5, MODEL_PUT, 1), CALL(2, 6, MODEL_PUT, 2), CALL(7, 8, MODEL_GET, 2));
    /* but for all in the same */
    REJECT(CALL(1, 5, MODEL_PUT, 1), CALL(2, 6, MODEL_PUT, 2), CALL(7, 8, MODEL_GET, 1),
           CALL(9, 10, MODEL_GET, 2));
    /* and once seen it stays */
    REJECT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 9, MODEL_PUT, 2), CALL(4, 5, MODEL_GET, 2),
           CALL(6, 7, MODEL_GET, 1));
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 9, MODEL_PUT, 2), CALL(4, 5, MODEL_GET, 1),
           CALL(6, 7, MODEL_GET, 2));
    /* three puts and readers who saw 2, 3, 1 in this order, and who saw 2 again */
    ACCEPT(CALL(1, 20, MODEL_PUT, 1), CALL(2, 21, MODEL_PUT, 2), CALL(3, 22, MODEL_PUT, 3),
           CALL(4, 5, MODEL_GET, 2), CALL(6, 7, MODEL_GET, 3), CALL(8, 9, MODEL_GET, 1));
    REJECT(CALL(1, 20, MODEL_PUT, 1), CALL(2, 21, MODEL_PUT, 2), CALL(3, 22, MODEL_PUT, 3),
           CALL(4, 5, MODEL_GET, 2), CALL(6, 7, MODEL_GET, 3), CALL(8, 9, MODEL_GET, 2));
}

static void what_is_dropped_is_gone(void **state)
{
    (void)state;
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_DROP, 0), CALL(5, 6, MODEL_MISS, 0));
    REJECT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_DROP, 0), CALL(5, 6, MODEL_GET, 1));
    /* a failed put leaves what the store has, and it must be that */
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), WRITE(3, 1), CALL(7, 8, MODEL_PUT, 2),
           CALL(9, 10, MODEL_DROP, 0), CALL(11, 12, MODEL_GET, 1));
    REJECT(CALL(1, 2, MODEL_PUT, 1), WRITE(3, 1), CALL(7, 8, MODEL_PUT, 2),
           CALL(9, 10, MODEL_DROP, 0), CALL(11, 12, MODEL_GET, 2));
    REJECT(CALL(1, 2, MODEL_PUT, 1), WRITE(3, 1), CALL(7, 8, MODEL_PUT, 2),
           CALL(9, 10, MODEL_DROP, 0), CALL(11, 12, MODEL_MISS, 0));
    /* a delete that finds nothing, although it was never written */
    REJECT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_DROP_ABSENT, 0));
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), WRITE(3, 1), CALL(7, 8, MODEL_DROP_ABSENT, 0));
    /* one that may have happened or not; but not both */
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_DROP_MAYBE, 0), CALL(5, 6, MODEL_GET, 1));
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_DROP_MAYBE, 0), CALL(5, 6, MODEL_MISS, 0));
    REJECT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_DROP_MAYBE, 0), CALL(5, 6, MODEL_MISS, 0),
           CALL(7, 8, MODEL_GET, 1));
}

static void nothing_dropped_reaches_the_store(void **state)
{
    (void)state;
    /* written after the delete, or the failed put, has returned */
    REJECT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_DROP, 0), STORE(5, MODEL_ARRIVED, 1));
    /* in flight when it returns: it must wait for that */
    REJECT(CALL(1, 2, MODEL_PUT, 1), STORE(3, MODEL_ARRIVED, 1), CALL(4, 5, MODEL_DROP, 0),
           STORE(6, MODEL_STORED, 1), STORE(7, MODEL_WRITTEN, 1));
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), STORE(3, MODEL_ARRIVED, 1), STORE(5, MODEL_STORED, 1),
           STORE(6, MODEL_WRITTEN, 1), CALL(4, 7, MODEL_DROP, 0), CALL(8, 9, MODEL_GET, 1));
    /* a newer put makes the older one no more welcome */
    REJECT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_DROP, 0), CALL(5, 6, MODEL_PUT, 2),
           STORE(7, MODEL_ARRIVED, 1));
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_DROP, 0), CALL(5, 6, MODEL_PUT, 2),
           STORE(7, MODEL_ARRIVED, 2));
}

static void the_store_sees_versions_in_order(void **state)
{
    (void)state;
    /* the older one after the newer */
    REJECT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_PUT, 2), WRITE(5, 2),
           STORE(9, MODEL_ARRIVED, 1));
    /* the older one late, but first: it was claimed before the newer came */
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_PUT, 2), WRITE(5, 1), WRITE(9, 2));
    /* two at a time */
    REJECT(CALL(1, 2, MODEL_PUT, 1), STORE(3, MODEL_ARRIVED, 1), CALL(4, 5, MODEL_PUT, 2),
           STORE(6, MODEL_ARRIVED, 2));
    /* what nobody put, and what is clean */
    REJECT(CALL(1, 2, MODEL_PUT, 1), STORE(3, MODEL_ARRIVED, 2));
    REJECT(CALL(1, 2, MODEL_PUT, 1), WRITE(3, 1), STORE(7, MODEL_ARRIVED, 1));
    REJECT(CALL(1, 2, MODEL_PUT_CLEAN, 1), STORE(3, MODEL_ARRIVED, 1));
    /* refused, and tried again */
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), STORE(3, MODEL_ARRIVED, 1), STORE(4, MODEL_REFUSED, 1),
           WRITE(5, 1), CALL(9, 10, MODEL_ABSENT, 0));
}

static void a_page_leaves_only_once_it_is_written(void **state)
{
    (void)state;
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), WRITE(3, 1), CALL(7, 8, MODEL_ABSENT, 0),
           CALL(9, 10, MODEL_GET, 1));
    /* after a write that failed, even if it took effect */
    REJECT(CALL(1, 2, MODEL_PUT, 1), STORE(3, MODEL_ARRIVED, 1), STORE(4, MODEL_REFUSED, 1),
           CALL(5, 6, MODEL_ABSENT, 0));
    REJECT(CALL(1, 2, MODEL_PUT, 1), STORE(3, MODEL_ARRIVED, 1), STORE(4, MODEL_STORED, 1),
           STORE(5, MODEL_REFUSED, 1), CALL(6, 7, MODEL_ABSENT, 0));
    /* after the write of an older version */
    REJECT(CALL(1, 2, MODEL_PUT, 1), STORE(3, MODEL_ARRIVED, 1), CALL(4, 5, MODEL_PUT, 2),
           STORE(6, MODEL_STORED, 1), STORE(7, MODEL_WRITTEN, 1), CALL(8, 9, MODEL_ABSENT, 0));
    REJECT(CALL(1, 2, MODEL_PUT, 1), STORE(3, MODEL_ARRIVED, 1), CALL(4, 5, MODEL_PUT, 2),
           STORE(6, MODEL_STORED, 1), STORE(7, MODEL_WRITTEN, 1), CALL(8, 9, MODEL_GET, 1));
    /* a flush that says it is done */
    REJECT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_FLUSHED, 0));
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), STORE(4, MODEL_ARRIVED, 1), STORE(5, MODEL_STORED, 1),
           STORE(6, MODEL_WRITTEN, 1), CALL(3, 7, MODEL_FLUSHED, 0));
    /* an insert over a page that was there */
    REJECT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_PUT_ABSENT, 2));
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), WRITE(3, 1), CALL(7, 8, MODEL_PUT_ABSENT, 2));
    REJECT(CALL(1, 2, MODEL_PRESENT, 0));
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_PRESENT, 0));
}

static void a_take_gives_a_page_once(void **state)
{
    (void)state;
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_TAKE_UNWRITTEN, 1),
           CALL(5, 6, MODEL_MISS, 0));
    REJECT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_TAKE_UNWRITTEN, 1), CALL(5, 6, MODEL_GET, 1));
    REJECT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 7, MODEL_TAKE_UNWRITTEN, 1),
           CALL(4, 8, MODEL_TAKE_UNWRITTEN, 1));
    /* as written, and it was not; the other way round */
    REJECT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_TAKE, 1));
    REJECT(CALL(1, 2, MODEL_PUT, 1), WRITE(3, 1), CALL(7, 8, MODEL_TAKE_UNWRITTEN, 1));
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), WRITE(3, 1), CALL(7, 8, MODEL_TAKE, 1),
           CALL(9, 10, MODEL_GET, 1));
    /* while it is in flight */
    REJECT(CALL(1, 2, MODEL_PUT, 1), STORE(3, MODEL_ARRIVED, 1),
           CALL(4, 5, MODEL_TAKE_UNWRITTEN, 1));
}

static void a_clean_page_may_go_but_does_not_come_back(void **state)
{
    (void)state;
    ACCEPT(CALL(1, 2, MODEL_PUT_CLEAN, 1), CALL(3, 4, MODEL_GET, 1), CALL(5, 6, MODEL_MISS, 0));
    REJECT(CALL(1, 2, MODEL_PUT_CLEAN, 1), CALL(3, 4, MODEL_MISS, 0), CALL(5, 6, MODEL_GET, 1));
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), WRITE(3, 1), CALL(7, 8, MODEL_PUT_CLEAN, 2),
           CALL(9, 10, MODEL_GET, 2), CALL(11, 12, MODEL_GET, 1));
    REJECT(CALL(1, 2, MODEL_PUT, 1), WRITE(3, 1), CALL(7, 8, MODEL_PUT_CLEAN, 2),
           CALL(9, 10, MODEL_GET, 1), CALL(11, 12, MODEL_GET, 2));
}

static void the_store_forgets_what_is_discarded(void **state)
{
    (void)state;
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), WRITE(3, 1), CALL(7, 10, MODEL_REMOVE, 0),
           STORE(8, MODEL_STORED, 0), CALL(11, 12, MODEL_MISS, 0));
    REJECT(CALL(1, 2, MODEL_PUT, 1), WRITE(3, 1), CALL(7, 10, MODEL_REMOVE, 0),
           STORE(8, MODEL_STORED, 0), CALL(11, 12, MODEL_GET, 1));
    REJECT(CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_REMOVE_ABSENT, 0));
    /* one that has returned, and nothing was discarded */
    REJECT(CALL(1, 2, MODEL_PUT, 1), WRITE(3, 1), CALL(7, 8, MODEL_REMOVE, 0),
           CALL(9, 10, MODEL_GET, 1));
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), WRITE(3, 1), CALL(7, 8, MODEL_DROP, 0),
           CALL(9, 10, MODEL_GET, 1));
    /* a put that comes in between stays */
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), WRITE(3, 1), CALL(7, 12, MODEL_REMOVE, 0),
           CALL(8, 9, MODEL_PUT, 2), STORE(10, MODEL_STORED, 0), CALL(13, 14, MODEL_GET, 2));
    /* a read that is under way may still see it, and another miss it, but not the other way round */
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), WRITE(3, 1), CALL(7, 13, MODEL_REMOVE, 0),
           CALL(8, 9, MODEL_GET, 1), CALL(10, 11, MODEL_MISS, 0), STORE(12, MODEL_STORED, 0));
    REJECT(CALL(1, 2, MODEL_PUT, 1), WRITE(3, 1), CALL(7, 13, MODEL_REMOVE, 0),
           CALL(8, 9, MODEL_MISS, 0), CALL(10, 11, MODEL_GET, 1), STORE(12, MODEL_STORED, 0));
    REJECT(CALL(1, 2, MODEL_PUT, 1), WRITE(3, 1), CALL(7, 11, MODEL_REMOVE, 0),
           STORE(9, MODEL_STORED, 0), CALL(10, 12, MODEL_GET, 1));
    /* a read that began before a put and ended after the discard may have seen the gap between them */
    ACCEPT(CALL(1, 2, MODEL_PUT, 1), WRITE(3, 1), CALL(7, 14, MODEL_REMOVE, 0),
           CALL(8, 13, MODEL_MISS, 0), CALL(9, 10, MODEL_PUT, 2), STORE(12, MODEL_STORED, 0),
           CALL(15, 16, MODEL_GET, 2));
    REJECT(CALL(1, 2, MODEL_PUT, 1), WRITE(3, 1), CALL(7, 14, MODEL_DROP, 0),
           CALL(8, 13, MODEL_MISS, 0), CALL(9, 10, MODEL_PUT, 2), STORE(12, MODEL_STORED, 0),
           CALL(15, 16, MODEL_GET, 2));
}

/* Many versions between two writes: the claims do not fit, and none is wrongly rejected. */
static void more_claims_than_fit_accept_any(void **state)
{
    struct model_event events[2 * MODEL_CLAIMS + 1];
    const struct model_event *bad = NULL;
    struct model_checker checker = {0};

    (void)state;
    for (uint32_t claimed = 1; claimed <= 2 * MODEL_CLAIMS; claimed++) {
        struct model_history history;
        size_t n = 0;
        model_history_init(&history);
        for (uint64_t i = 1; i <= UINT64_C(2) * MODEL_CLAIMS; i++) {
            events[n++] = (struct model_event)CALL(2 * i, 2 * i + 1, MODEL_PUT, (uint32_t)i);
        }
        events[n++] = (struct model_event)STORE(100, MODEL_ARRIVED, claimed);
        assert_true(model_history_run(&checker, &history, events, n, &bad));
        model_history_fini(&history);
    }
    model_checker_fini(&checker);
}

static void the_value_is_what_all_ways_agree_on(void **state)
{
    const struct model_event put[] = {CALL(1, 2, MODEL_PUT, 1)};
    const struct model_event two[] = {CALL(3, 6, MODEL_PUT, 2), CALL(4, 5, MODEL_PUT, 3)};
    const struct model_event get[] = {CALL(7, 8, MODEL_GET, 3)};
    const struct model_event clean[] = {CALL(9, 10, MODEL_PUT_CLEAN, 4)};
    const struct model_event *bad = NULL;
    struct model_checker checker = {0};
    struct model_history history;
    uint32_t value = 7;

    (void)state;
    model_history_init(&history);
    assert_true(model_history_value(&history, &value));
    assert_int_equal(value, 0);
    assert_true(model_history_run(&checker, &history, put, 1, &bad));
    assert_true(model_history_value(&history, &value));
    assert_int_equal(value, 1);
    assert_true(model_history_run(&checker, &history, two, 2, &bad));
    assert_false(model_history_value(&history, &value));
    assert_true(model_history_run(&checker, &history, get, 1, &bad));
    assert_true(model_history_value(&history, &value));
    assert_int_equal(value, 3);
    assert_true(model_history_run(&checker, &history, clean, 1, &bad));
    assert_false(model_history_value(&history, &value));
    model_history_fini(&history);
    model_checker_fini(&checker);
}

/* A rejected part leaves the state as it was, for the report. */
static void the_last_event_that_fits_nowhere_is_named(void **state)
{
    const struct model_event events[] = {CALL(1, 2, MODEL_PUT, 1), CALL(3, 4, MODEL_PUT, 2),
                                         CALL(5, 6, MODEL_GET, 1), CALL(7, 8, MODEL_GET, 2)};
    const struct model_event *bad = NULL;
    struct model_checker checker = {0};
    struct model_history history;
    uint32_t value = 7;

    (void)state;
    model_history_init(&history);
    assert_false(model_history_run(&checker, &history, events, 4, &bad));
    assert_ptr_equal(bad, &events[2]);
    assert_true(model_history_value(&history, &value));
    assert_int_equal(value, 0);
    model_history_fini(&history);
    model_checker_fini(&checker);
}

/* ---- pages ----------------------------------------------------------------------------------------- */

static void a_page_knows_itself(void **state)
{
    static const uint32_t lens[] = {MODEL_PAGE_MIN, 31, 64, 513, MODEL_PAGE_MAX};
    unsigned char room[MODEL_PAGE_MAX];

    (void)state;
    for (int look = MODEL_TEXT; look < MODEL_LOOKS; look++) {
        for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
            const struct model_page page = {.key = 0xabc,
                                            .version = 0xdeadbeef,
                                            .tag = look == MODEL_SAME ? 0 : 77,
                                            .len = lens[i],
                                            .look = (enum model_look)look};
            struct model_page read;
            model_page_make(room, &page);
            assert_true(model_page_read(room, page.len, &read));
            assert_int_equal(read.key, page.key);
            assert_int_equal(read.version, page.version);
            assert_int_equal(read.tag, page.tag);
            assert_int_equal(read.len, page.len);
            assert_int_equal(read.look, page.look);
        }
    }
}

/* Half of it is of another version, one byte is wrong, the end is missing. */
static void a_torn_page_is_none(void **state)
{
    unsigned char a[MODEL_PAGE_MAX];
    unsigned char b[MODEL_PAGE_MAX];
    struct model_page page = {.key = 5, .version = 8, .len = 1000};
    struct model_page read;

    (void)state;
    for (int look = MODEL_TEXT; look < MODEL_LOOKS; look++) {
        page.look = (enum model_look)look;
        page.version = 8;
        model_page_make(a, &page);
        page.version = 9;
        model_page_make(b, &page);
        for (size_t cut = 1; cut < page.len; cut += 37) {
            unsigned char torn[MODEL_PAGE_MAX];
            memcpy(torn, a, cut);
            memcpy(torn + cut, b + cut, page.len - cut);
            assert_false(cut >= 8 && model_page_read(torn, page.len, &read) && cut < 992);
            memcpy(torn, a, page.len);
            torn[cut] ^= 1;
            assert_false(model_page_read(torn, page.len, &read));
        }
        assert_false(model_page_read(a, page.len - 1, &read));
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_read_sees_the_last_put),
        cmocka_unit_test(calls_that_overlap_may_come_in_either_order),
        cmocka_unit_test(what_is_dropped_is_gone),
        cmocka_unit_test(nothing_dropped_reaches_the_store),
        cmocka_unit_test(the_store_sees_versions_in_order),
        cmocka_unit_test(a_page_leaves_only_once_it_is_written),
        cmocka_unit_test(a_take_gives_a_page_once),
        cmocka_unit_test(a_clean_page_may_go_but_does_not_come_back),
        cmocka_unit_test(the_store_forgets_what_is_discarded),
        cmocka_unit_test(more_claims_than_fit_accept_any),
        cmocka_unit_test(the_value_is_what_all_ways_agree_on),
        cmocka_unit_test(the_last_event_that_fits_nowhere_is_named),
        cmocka_unit_test(a_page_knows_itself),
        cmocka_unit_test(a_torn_page_is_none),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
