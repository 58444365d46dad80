/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * batch: one call, one completion, whoever completes and whenever; slots, room and copies are bounded
 * and come back; a serial store has one caller; an announced discard is seen.
 */
#include <errno.h>

#include "batch.h"
#include "inside.h"

#define SLOTS      256 /* of the table */
#define WRITE_KEPT 2   /* of them for writes alone */

/* A store that does in its callbacks what the test says. */
static struct store {
    int (*act)(struct zcache_io *io);
    struct zc_batch *batch; /* in hand, for act */
    struct zcache *cache;
    struct zcache_tenant *t;
    _Atomic uint32_t calls;
    _Atomic uint32_t inside;
    _Atomic bool open; /* the gate of hold() */
    int result;
} the_store;

static int act(void *ctx, struct zcache_io *io)
{
    struct store *s = ctx;

    atomic_fetch_add(&s->calls, 1);
    return s->act != NULL ? s->act(io) : s->result;
}

/* As the flush does: the store's error is reported as such. */
static int call_barrier(struct zcache_tenant *t, struct zc_thread *th, uint64_t deadline_ns)
{
    int error = 0;
    int rc = zc_batch_barrier(t, th, deadline_ns, &error);

    REQUIRE(error == 0 || error == rc);
    return rc;
}

struct fixture {
    struct zcache *cache;
    struct zcache_tenant *t;
    struct zc_thread *th;
};

static void setup_flags(struct fixture *f, unsigned flags, const char *options)
{
    struct zcache_store cb = ZCACHE_STORE_INIT;

    the_store = (struct store){0};
    cb.flags = flags;
    cb.ctx = &the_store;
    cb.write = cb.read = cb.barrier = cb.discard = act;
    f->cache = open_cache(64 * MIB, &cb, options);
    f->t = open_tenant(zcache_root(f->cache), "t", ZCACHE_UNLIMITED);
    f->th = thread_of(f->cache);
    the_store.cache = f->cache;
    the_store.t = f->t;
}

static void setup(struct fixture *f)
{
    setup_flags(f, 0, PLAIN);
}

static void teardown(struct fixture *f)
{
    expect_idle(f->t);
    assert_int_equal(zc_io_bytes(f->cache), 0);
    close_cache(f->cache);
}

static unsigned n_finished;

static void count_finish(struct zc_batch *batch, struct zc_thread *th)
{
    (void)batch;
    zc_lock_assert_none();
    assert_non_null(th);
    n_finished++;
}

static struct zc_batch *make(struct fixture *f, enum zcache_io_op op)
{
    struct zc_batch *b = NULL;

    REQUIRE_EQUAL(zc_batch_make(f->t, op, count_finish, 0, &b), 0);
    n_finished = 0;
    the_store.batch = b;
    return b;
}

/* A page without a record: for batches whose finish function looks at none. */
static void add_page(struct zc_batch *b, uint64_t page)
{
    const size_t i = b->io.n_pages++;

    b->page[i] = (struct zc_batch_page){0};
    b->io_page[i] = (struct zcache_io_page){.key = key_of(1, page), .cap = 100, .len = 10};
}

/* ---------------------------------------------------------------------------------------------- */
/* Completion. */

static void a_batch_is_completed_once(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    the_store.result = ZCACHE_PENDING;
    struct zc_batch *b = make(&f, ZCACHE_IO_BARRIER);
    assert_int_equal(atomic_load(&f.t->ops), 1);
    zc_batch_call(b, f.th);
    assert_int_equal(zc_batch_wait(b, PAST), -ETIMEDOUT);
    const uint64_t token = b->io.token;
    assert_int_equal(zc_batch_complete(f.cache, f.th, token, -EIO), 0);
    assert_int_equal(zc_batch_complete(f.cache, f.th, token, 0), -ENOENT);
    assert_int_equal(zc_batch_wait(b, PAST), 0);
    assert_int_equal(n_finished, 1);
    assert_int_equal(b->error, -EIO);
    zc_batch_drop(b);
    assert_int_equal(zc_batch_complete(f.cache, f.th, token, 0), -ENOENT);
    assert_int_equal(atomic_load(&f.cache->bad_completions), 2);
    assert_int_equal(log_count("store.completion"), 2);
    teardown(&f);
}

static void only_the_token_in_flight_is_obeyed(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    the_store.result = ZCACHE_PENDING;
    struct zc_batch *b = make(&f, ZCACHE_IO_BARRIER);
    const uint32_t slot = b->slot;
    assert_int_equal(zc_batch_complete(f.cache, f.th, slot, 0), -ENOENT); /* not called yet */
    zc_batch_call(b, f.th);
    const uint64_t token = b->io.token;
    assert_int_equal(zc_batch_complete(f.cache, f.th, token + (1 << 16), 0), -ENOENT);
    assert_int_equal(zc_batch_complete(f.cache, f.th, token + 1, 0), -ENOENT);
    assert_int_equal(zc_batch_complete(f.cache, f.th, token | 0xffff, 0), -ENOENT);
    assert_int_equal(n_finished, 0);
    assert_int_equal(zc_batch_complete(f.cache, f.th, token, 0), 0);
    zc_batch_drop(b);
    b = make(&f, ZCACHE_IO_BARRIER);
    assert_int_equal(b->slot, slot);
    zc_batch_call(b, f.th);
    assert_int_equal(zc_batch_complete(f.cache, f.th, token, 0), -ENOENT); /* the one before */
    assert_int_equal(zc_batch_complete(f.cache, f.th, b->io.token, 0), 0);
    zc_batch_drop(b);
    teardown(&f);
}

static int done_and_return(struct zcache_io *io)
{
    REQUIRE_EQUAL(zcache_done(the_store.cache, io->token, -EBADF), 0);
    return the_store.result;
}

static void the_first_of_two_answers_holds(void **state)
{
    static const int answers[] = {ZCACHE_PENDING, 0, -EIO};
    struct fixture f;

    (void)state;
    setup(&f);
    the_store.act = done_and_return;
    for (size_t i = 0; i < ZC_ARRAY_SIZE(answers); i++) {
        the_store.result = answers[i];
        assert_int_equal(call_barrier(f.t, f.th, deadline_in(5000)), -EBADF);
    }
    assert_int_equal(atomic_load(&f.cache->bad_completions), 2);
    teardown(&f);
}

static void *complete_elsewhere(void *arg)
{
    struct zcache_io *io = arg;

    REQUIRE_EQUAL(zcache_done(the_store.cache, io->token, 0), 0);
    return NULL;
}

static uint64_t token_seen;

static int complete_by_another(struct zcache_io *io)
{
    pthread_t thread;

    token_seen = io->token;
    start(&thread, complete_elsewhere, io);
    join(thread);
    /* Completed, but we are still in here: neither the batch nor the tenant may go. */
    zc_batch_drop(the_store.batch); /* the maker's */
    REQUIRE(atomic_load(&the_store.batch->done));
    REQUIRE_EQUAL(atomic_load(&the_store.batch->refs), 1);
    REQUIRE_EQUAL(io->token, token_seen);
    REQUIRE_EQUAL(atomic_load(&the_store.t->ops), 1);
    return ZCACHE_PENDING;
}

static void a_batch_stays_while_its_callback_runs(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    the_store.act = complete_by_another;
    zc_batch_call(make(&f, ZCACHE_IO_BARRIER), f.th);
    assert_int_equal(n_finished, 1);
    expect_idle(f.t);
    teardown(&f);
}

static int set_statuses(struct zcache_io *io)
{
    static const int status[] = {0, -ENOSPC, ZCACHE_MISS, ZCACHE_EXISTS};

    for (size_t i = 0; i < io->n_pages; i++) {
        io->pages[i].status = status[i];
    }
    return the_store.result;
}

static void statuses_are_settled(void **state)
{
    static const int read[] = {0, -ENOSPC, ZCACHE_MISS, -EIO};
    static const int discard[] = {0, -ENOSPC, -EIO, -EIO};
    struct fixture f;

    (void)state;
    setup(&f);
    the_store.act = set_statuses;
    for (int op = 0; op < 2; op++) {
        for (int result = 0; result >= -1; result--) {
            struct zc_batch *b = make(&f, op == 0 ? ZCACHE_IO_READ : ZCACHE_IO_DISCARD);
            for (unsigned i = 0; i < 4; i++) {
                add_page(b, i);
            }
            the_store.result = result == 0 ? 0 : -EROFS;
            zc_batch_call(b, f.th);
            assert_int_equal(b->error, the_store.result);
            for (unsigned i = 0; i < 4; i++) {
                assert_int_equal(b->io_page[i].status, result != 0 ? -EROFS
                                                       : op == 0   ? read[i]
                                                                   : discard[i]);
            }
            zc_batch_drop(b);
        }
    }
    teardown(&f);
}

static void an_answer_that_means_nothing_is_an_error(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    the_store.result = ZCACHE_EXISTS;
    assert_int_equal(call_barrier(f.t, f.th, deadline_in(5000)), -EIO);
    assert_int_equal(log_count("store.result"), 1);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* What is bounded. */

struct dropper {
    struct zcache *cache;
    struct zc_batch *batch;
};

static void *drop_late(void *arg)
{
    struct dropper *dropper = arg;

    WAIT_UNTIL(atomic_load(&dropper->cache->progress.waiters) > 0, 10000);
    zc_batch_drop(dropper->batch);
    return NULL;
}

static void a_write_always_has_a_slot_that_others_cannot_take(void **state)
{
    struct zc_batch *b[SLOTS];
    struct zc_batch *one = NULL;
    struct dropper dropper;
    struct fixture f;
    pthread_t thread;
    unsigned n = 0;

    (void)state;
    setup(&f);
    while (n < SLOTS && zc_batch_make(f.t, ZCACHE_IO_READ, NULL, 0, &b[n]) == 0) {
        n++;
    }
    assert_int_equal(n, SLOTS - WRITE_KEPT);
    assert_int_equal(zc_batch_make(f.t, ZCACHE_IO_READ, NULL, 0, &one), -EBUSY);
    assert_int_equal(zc_batch_make(f.t, ZCACHE_IO_READ, NULL, PAST, &one), -ETIMEDOUT);
    for (int i = 0; i < WRITE_KEPT; i++) {
        assert_int_equal(zc_batch_make(f.t, ZCACHE_IO_WRITE, NULL, 0, &b[n++]), 0);
    }
    assert_int_equal(zc_batch_make(f.t, ZCACHE_IO_WRITE, NULL, 0, &one), -EBUSY);
    assert_int_equal(atomic_load(&f.t->ops), SLOTS);
    dropper = (struct dropper){f.cache, b[5]};
    start(&thread, drop_late, &dropper);
    assert_int_equal(zc_batch_make(f.t, ZCACHE_IO_READ, NULL, deadline_in(20000), &b[5]), 0);
    join(thread);
    for (unsigned i = 0; i < n; i++) {
        zc_batch_drop(b[i]);
    }
    teardown(&f);
}

static void without_memory_there_is_no_batch_but_for_writes(void **state)
{
    struct zc_batch *b = NULL;
    struct fixture f;

    (void)state;
    setup(&f);
    for (int i = 0; i < 2 * SLOTS; i++) { /* each gives its slot back */
        fail_after(1);
        assert_int_equal(zc_batch_make(f.t, ZCACHE_IO_READ, NULL, 0, &b), -ENOMEM);
    }
    assert_int_equal(zc_batch_make(f.t, ZCACHE_IO_WRITE, NULL, 0, &b), 0);
    fail_after(0);
    zc_batch_drop(b);
    teardown(&f);
}

static void pages_in_flight_are_bounded(void **state)
{
    struct zc_batch *b[2];
    struct fixture f;

    (void)state;
    setup_flags(&f, 0, PLAIN ",inflight_pages=5,batch_pages=4");
    the_store.result = ZCACHE_PENDING;
    assert_int_equal(zc_batch_room(f.cache), 4);
    b[0] = make(&f, ZCACHE_IO_READ); /* reads do not count */
    add_page(b[0], 0);
    zc_batch_call(b[0], f.th);
    assert_int_equal(zc_batch_room(f.cache), 4);
    assert_int_equal(zc_io_bytes(f.cache), 100); /* room to read to */
    assert_int_equal(zc_batch_complete(f.cache, f.th, b[0]->io.token, 0), 0);
    zc_batch_drop(b[0]);
    for (unsigned i = 0; i < 2; i++) {
        b[i] = make(&f, ZCACHE_IO_WRITE);
        for (unsigned k = 0; k < 3 - i; k++) {
            add_page(b[i], k);
        }
        zc_batch_call(b[i], f.th);
        assert_int_equal(zc_batch_room(f.cache), i == 0 ? 2 : 0);
    }
    assert_int_equal(zc_io_bytes(f.cache), 50);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(zc_batch_complete(f.cache, f.th, b[i]->io.token, 0), 0);
        zc_batch_drop(b[i]);
    }
    assert_int_equal(zc_batch_room(f.cache), 4);
    teardown(&f);
}

static void copies_have_a_budget(void **state)
{
    void *copy[64];
    struct fixture f;
    unsigned n[3];

    (void)state;
    setup_flags(&f, 0, PLAIN ",page_max=64K,inflight_pages=9");
    for (int round = 0; round < 3; round++) {
        n[round] = 0;
        while (n[round] < ZC_ARRAY_SIZE(copy) &&
               zc_batch_buffer(f.cache, 65536, &copy[n[round]]) == 0) {
            n[round]++;
        }
        for (unsigned i = 0; i < n[round]; i++) {
            zc_batch_buffer_free(f.cache, copy[i], 65536);
        }
        if (round == 1) {
            fail_after(1); /* a refused one costs nothing of it */
            assert_int_equal(zc_batch_buffer(f.cache, 65536, &copy[0]), -ENOMEM);
            fail_after(0);
        }
    }
    assert_int_equal(n[0], 9);
    assert_int_equal(n[1], 9);
    assert_int_equal(n[2], 9);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Serial stores. */

static int hold(struct zcache_io *io)
{
    (void)io;
    REQUIRE_EQUAL(atomic_fetch_add(&the_store.inside, 1), 0);
    WAIT_UNTIL(atomic_load(&the_store.open), 20000);
    atomic_fetch_sub(&the_store.inside, 1);
    return 0;
}

static void *barrier(void *arg)
{
    struct fixture *f = arg;

    REQUIRE_EQUAL(call_barrier(f->t, thread_of(f->cache), deadline_in(20000)), 0);
    return NULL;
}

static void a_serial_store_is_called_in_turn(void **state)
{
    pthread_t thread[4];
    struct fixture f;

    (void)state;
    setup_flags(&f, ZCACHE_STORE_SERIAL, PLAIN);
    the_store.act = hold;
    for (int i = 0; i < 4; i++) {
        start(&thread[i], barrier, &f);
    }
    WAIT_UNTIL(atomic_load(&f.t->ops) == 4, 10000);
    WAIT_UNTIL(atomic_load(&the_store.calls) == 1, 10000);
    atomic_store(&the_store.open, true);
    for (int i = 0; i < 4; i++) {
        join(thread[i]);
    }
    assert_int_equal(atomic_load(&the_store.calls), 4);
    teardown(&f);
}

static void whose_turn_does_not_come_times_out(void **state)
{
    struct fixture f;
    pthread_t thread;

    (void)state;
    setup_flags(&f, ZCACHE_STORE_SERIAL, PLAIN ",max_stall_ms=20");
    the_store.act = hold;
    start(&thread, barrier, &f);
    WAIT_UNTIL(atomic_load(&the_store.inside) == 1, 10000);
    struct zc_batch *b = make(&f, ZCACHE_IO_BARRIER);
    zc_batch_call(b, f.th);
    assert_true(atomic_load(&b->done));
    assert_int_equal(b->error, -ETIMEDOUT);
    zc_batch_drop(b);
    assert_int_equal(atomic_load(&the_store.calls), 1);
    atomic_store(&the_store.open, true);
    join(thread);
    assert_int_equal(call_barrier(f.t, f.th, deadline_in(5000)), 0); /* the turnstile is sound */
    teardown(&f);
}

static int look_at_myself(struct zcache_io *io)
{
    struct zc_thread *th = thread_of(the_store.cache);
    struct zc_batch *b = NULL;
    const bool serial = (the_store.t->store->cb.flags & ZCACHE_STORE_SERIAL) != 0;
    const struct zcache_key mine = io->pages[0].key;

    REQUIRE(zc_batch_in_callback(th));
    REQUIRE(zc_batch_own(th, the_store.t->slot, mine));
    REQUIRE(!zc_batch_own(th, the_store.t->slot, key_of(mine.object, mine.page + 1)));
    REQUIRE(!zc_batch_own(th, the_store.t->slot, key_of(mine.object + 1, mine.page)));
    REQUIRE(!zc_batch_own(th, the_store.t->slot + 1, mine));
    REQUIRE(zc_batch_serial_self(th, the_store.t->store) == serial);
    REQUIRE(!zc_batch_serial_self(th, NULL));
    if (serial) {
        REQUIRE_EQUAL(call_barrier(the_store.t, th, PAST), -EDEADLK);
        REQUIRE_EQUAL(zc_batch_discard_begin(the_store.t, th, mine, false, PAST, &b), -EDEADLK);
    } else {
        the_store.act = NULL;
        REQUIRE_EQUAL(call_barrier(the_store.t, th, PAST), 0); /* nested */
        REQUIRE(zc_batch_own(th, the_store.t->slot, mine));
    }
    REQUIRE_EQUAL(zcache_done(the_store.cache, io->token, 0), 0);
    REQUIRE(!zc_batch_own(th, the_store.t->slot, mine)); /* done: no longer in its way */
    return ZCACHE_PENDING;
}

static void a_thread_knows_the_callbacks_it_is_in(void **state)
{
    static const unsigned flags[] = {0, ZCACHE_STORE_SERIAL};
    struct fixture f;

    (void)state;
    for (size_t i = 0; i < ZC_ARRAY_SIZE(flags); i++) {
        setup_flags(&f, flags[i], PLAIN);
        the_store.act = look_at_myself;
        struct zc_batch *b = make(&f, ZCACHE_IO_READ);
        add_page(b, 3);
        zc_batch_call(b, f.th);
        zc_batch_drop(b);
        assert_false(zc_batch_in_callback(f.th));
        assert_false(zc_batch_serial_self(f.th, f.t->store));
        teardown(&f);
    }
}

/* ---------------------------------------------------------------------------------------------- */
/* Discards. */

static void an_announced_discard_is_seen(void **state)
{
    struct zc_batch *page = NULL;
    struct zc_batch *range = NULL;
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(zc_batch_discard_begin(f.t, f.th, key_of(1, 5), false, 0, &page), 0);
    assert_true(zc_batch_discarding(f.t, key_of(1, 5)));
    assert_false(zc_batch_discarding(f.t, key_of(1, 6)));
    assert_false(zc_batch_discarding(f.t, key_of(2, 5)));
    assert_false(zc_batch_discarding(f.cache->root, key_of(1, 5)));
    assert_int_equal(zc_batch_discard_begin(f.t, f.th, key_of(1, 7), true, 0, &range), 0);
    assert_true(zc_batch_discarding(f.t, key_of(1, 5)));
    assert_false(zc_batch_discarding(f.t, key_of(1, 6)));
    assert_true(zc_batch_discarding(f.t, key_of(1, 7)));
    assert_true(zc_batch_discarding(f.t, key_of(1, UINT64_MAX)));
    assert_false(zc_batch_discarding(f.t, key_of(0, 8)));
    assert_int_equal(zc_batch_discard_end(page, f.th, false, 0), 0);
    assert_int_equal(atomic_load(&the_store.calls), 0);
    assert_false(zc_batch_discarding(f.t, key_of(1, 5)));
    assert_true(zc_batch_discarding(f.t, key_of(1, 9)));
    assert_int_equal(zc_batch_discard_end(range, f.th, true, deadline_in(5000)), 0);
    assert_int_equal(atomic_load(&the_store.calls), 1);
    assert_false(zc_batch_discarding(f.t, key_of(1, 9)));
    assert_int_equal(zc_stat_read(f.t->stat, ZC_C_discarded_pages), 1);
    teardown(&f);
}

static int refuse_page(struct zcache_io *io)
{
    io->pages[0].status = -EROFS;
    return the_store.result;
}

static void a_discard_ends_with_the_stores_word(void **state)
{
    static const int answers[] = {0, -EIO};
    struct fixture f;

    (void)state;
    setup(&f);
    the_store.act = refuse_page;
    for (size_t i = 0; i < ZC_ARRAY_SIZE(answers); i++) {
        struct zc_batch *b = NULL;
        the_store.result = answers[i];
        assert_int_equal(zc_batch_discard_begin(f.t, f.th, key_of(1, 1), false, 0, &b), 0);
        assert_int_equal(zc_batch_discard_end(b, f.th, true, deadline_in(5000)),
                         i == 0 ? -EROFS : -EIO);
    }
    the_store.result = 0; /* of the barrier at the end */
    teardown(&f);
}

static void a_discard_may_end_after_its_maker_left(void **state)
{
    struct zc_batch *b = NULL;
    struct fixture f;

    (void)state;
    setup(&f);
    the_store.result = ZCACHE_PENDING;
    assert_int_equal(zc_batch_discard_begin(f.t, f.th, key_of(1, 1), false, 0, &b), 0);
    assert_int_equal(zc_batch_discard_end(b, f.th, true, PAST), -ETIMEDOUT);
    assert_int_equal(atomic_load(&f.t->ops), 1); /* the store still has it */
    assert_int_equal(zc_batch_complete(f.cache, f.th, b->io.token, 0), 0);
    assert_false(zc_batch_discarding(f.t, key_of(1, 1)));
    the_store.result = 0; /* of the barrier at the end */
    teardown(&f);
}

static void those_who_wait_for_discards_wait_for_earlier_ones_of_the_tenant(void **state)
{
    struct zc_batch *b[2] = {NULL};
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(zc_batch_wait_discards(f.t, PAST), 0);
    assert_int_equal(zc_batch_discard_begin(f.t, f.th, key_of(1, 1), false, 0, &b[0]), 0);
    assert_int_equal(zc_batch_discard_begin(f.t, f.th, key_of(2, 0), true, 0, &b[1]), 0);
    assert_true(b[0]->discard_number < b[1]->discard_number);
    assert_int_equal(zc_batch_discards(f.cache), 2);
    assert_int_equal(zc_batch_wait_discards(f.t, PAST), -ETIMEDOUT);
    assert_int_equal(zc_batch_wait_discards(f.cache->root, PAST), 0);
    assert_int_equal(zc_batch_discard_end(b[0], f.th, true, deadline_in(5000)), 0);
    assert_int_equal(atomic_load(&f.t->unbarriered), 1);
    assert_int_equal(zc_batch_wait_discards(f.t, PAST), -ETIMEDOUT);
    assert_int_equal(zc_batch_discard_end(b[1], f.th, false, deadline_in(5000)), 0);
    assert_int_equal(zc_batch_wait_discards(f.t, PAST), 0);
    teardown(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_batch_is_completed_once),
        cmocka_unit_test(only_the_token_in_flight_is_obeyed),
        cmocka_unit_test(the_first_of_two_answers_holds),
        cmocka_unit_test(a_batch_stays_while_its_callback_runs),
        cmocka_unit_test(statuses_are_settled),
        cmocka_unit_test(an_answer_that_means_nothing_is_an_error),
        cmocka_unit_test(a_write_always_has_a_slot_that_others_cannot_take),
        cmocka_unit_test(without_memory_there_is_no_batch_but_for_writes),
        cmocka_unit_test(pages_in_flight_are_bounded),
        cmocka_unit_test(copies_have_a_budget),
        cmocka_unit_test(a_serial_store_is_called_in_turn),
        cmocka_unit_test(whose_turn_does_not_come_times_out),
        cmocka_unit_test(a_thread_knows_the_callbacks_it_is_in),
        cmocka_unit_test(an_announced_discard_is_seen),
        cmocka_unit_test(a_discard_ends_with_the_stores_word),
        cmocka_unit_test(a_discard_may_end_after_its_maker_left),
        cmocka_unit_test(those_who_wait_for_discards_wait_for_earlier_ones_of_the_tenant),
    };

    (void)test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
