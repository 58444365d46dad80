/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * epoch: nothing is freed under a reader, everything is freed in the end, and retiring never fails.
 *
 * Order between threads comes from what they see of each other (counters, gates), never from time.
 * Where something must not happen, the test gives it a few hundred chances instead.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "assertion.h"
#include "epoch.h"
#include "lock.h"
#include "mathx.h"

#define LIMBO_BYTES       4096
#define STOCK_MAX         64 /* of a thread: the header's promise */
#define NODE_BYTES_MAX    64L
#define AT_REST_BYTES_MAX 30000 /* held with one thread: some 300 nodes and the epoch */
#define CHANCES           300   /* for something that must not happen */

/* ---------------------------------------------------------------------------------------------- */
/* Memory that can refuse, and an epoch that counts what it frees. */

struct fixture {
    struct zc_mem mem;
    struct zc_epoch *epoch;
    _Atomic long mem_bytes;
    _Atomic long mem_left; /* allocations until it refuses */
    _Atomic long n_freed;
    _Atomic long freed_bytes;
    _Atomic long n_gated;    /* frees that have come to the gate */
    _Atomic bool gate_open;  /* whether they may go on */
    _Atomic(void *) at_gate; /* the argument whose frees go through the gate */
};

static void *mem_alloc(void *ctx, size_t size)
{
    struct fixture *f = ctx;
    void *ptr;

    if (atomic_fetch_sub(&f->mem_left, 1) <= 0) {
        atomic_store(&f->mem_left, 0);
        return NULL;
    }
    ptr = aligned_alloc(ZC_CACHE_LINE, zc_align_up(size, ZC_CACHE_LINE));
    assert_non_null(ptr);
    memset(ptr, 0, size);
    atomic_fetch_add(&f->mem_bytes, (long)size);
    return ptr;
}

static void mem_free(void *ctx, void *ptr, size_t size)
{
    struct fixture *f = ctx;

    atomic_fetch_sub(&f->mem_bytes, (long)size);
    free(ptr);
}

static void free_retired(void *ctx, void *ptr, size_t bytes, void *arg)
{
    struct fixture *f = ctx;

    zc_lock_assert_none();
    if (arg != NULL && arg == atomic_load(&f->at_gate)) {
        atomic_fetch_add(&f->n_gated, 1);
        while (!atomic_load(&f->gate_open)) {
            (void)sched_yield();
        }
    }
    free(ptr);
    atomic_fetch_add(&f->freed_bytes, (long)bytes);
    atomic_fetch_add(&f->n_freed, 1);
}

static void setup(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->mem = (struct zc_mem){mem_alloc, mem_free, f};
    f->mem_left = 1 << 30;
    assert_int_equal(zc_epoch_create(&f->mem, free_retired, f, LIMBO_BYTES, &f->epoch), 0);
}

static void teardown(struct fixture *f)
{
    zc_epoch_destroy(&f->epoch);
    assert_null(f->epoch);
    assert_int_equal(f->mem_bytes, 0);
}

static struct zc_epoch_record *join_epoch(struct fixture *f)
{
    struct zc_epoch_record *record = NULL;

    assert_int_equal(zc_epoch_register(f->epoch, &record), 0);
    return record;
}

/* A record that retires to the same shard as others do; records before it stay idle. */
static struct zc_epoch_record *join_in_limbo(struct fixture *f, unsigned limbo)
{
    struct zc_epoch_record *record;

    do {
        record = join_epoch(f);
    } while (record->limbo != limbo);
    return record;
}

/* Retires an object of its own; the caller has stocked for it. */
static void retire_new(struct zc_epoch_record *record, size_t bytes, void *arg)
{
    zc_epoch_retire(record, malloc(bytes), bytes, arg);
}

static void retire_many(struct zc_epoch_record *record, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        zc_epoch_stock(record, 1);
        retire_new(record, 8, NULL);
    }
}

static void start(pthread_t *thread, void *(*fn)(void *), void *arg)
{
    assert_int_equal(pthread_create(thread, NULL, fn, arg), 0);
}

static void join(pthread_t thread)
{
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void give_chances(void)
{
    for (int i = 0; i < CHANCES; i++) {
        (void)sched_yield();
    }
}

static void wait_for(_Atomic long *n, long at_least)
{
    while (atomic_load(n) < at_least) {
        (void)sched_yield();
    }
}

/* ---------------------------------------------------------------------------------------------- */
/* One thread. */

static void what_is_retired_is_freed_as_given(void **state)
{
    struct zc_epoch_record *record;
    struct fixture f;

    (void)state;
    setup(&f);
    record = join_epoch(&f);
    retire_new(record, 100, NULL);
    retire_new(record, 23, NULL);
    assert_int_equal(f.n_freed, 0);
    assert_int_equal(zc_epoch_retired_bytes(f.epoch), 123);
    zc_epoch_poll(record);
    assert_int_equal(f.n_freed, 2);
    assert_int_equal(f.freed_bytes, 123);
    assert_int_equal(zc_epoch_retired_bytes(f.epoch), 0);
    zc_epoch_unregister(&record);
    assert_null(record);
    teardown(&f);
}

/* ---- looking ahead ------------------------------------------------------------------------- */

struct announced {
    unsigned looks;
    bool freed;
};

static void look_at(const void *ptr, unsigned step)
{
    struct announced *a = (struct announced *)(uintptr_t)ptr;

    assert_false(a->freed);
    assert_int_equal(a->looks, step);
    a->looks++;
}

static void free_announced(void *ctx, void *ptr, size_t bytes, void *arg)
{
    struct announced *a = ptr;
    unsigned *n_freed = ctx;

    (void)bytes;
    (void)arg;
    assert_int_equal(a->looks, 2);
    assert_false(a->freed);
    a->freed = true;
    ++*n_freed;
}

/* Twice, before it is freed, and never after; also of those at both ends of what is freed at once. */
static void what_is_freed_is_looked_at_before(void **state)
{
    static const unsigned rows[] = {1, 2, 5, 6, 7, 12, 13, 300};

    struct zc_epoch_record *record = NULL;
    struct announced all[300];
    struct zc_epoch *epoch;
    struct fixture f;
    unsigned n_freed;

    (void)state;
    setup(&f);
    assert_int_equal(zc_epoch_create(&f.mem, free_announced, &n_freed, LIMBO_BYTES, &epoch), 0);
    zc_epoch_expect_with(epoch, look_at);
    assert_int_equal(zc_epoch_register(epoch, &record), 0);
    for (size_t r = 0; r < sizeof(rows) / sizeof(rows[0]); r++) {
        memset(all, 0, sizeof(all));
        n_freed = 0;
        for (unsigned i = 0; i < rows[r]; i++) {
            zc_epoch_stock(record, 1);
            zc_epoch_retire(record, &all[i], sizeof(all[i]), NULL);
        }
        zc_epoch_wait(record); /* its mark is nobody's memory */
        assert_int_equal(n_freed, rows[r]);
    }
    zc_epoch_unregister(&record);
    zc_epoch_destroy(&epoch);
    teardown(&f);
}

static void retiring_frees_nothing_itself(void **state)
{
    struct zc_epoch_record *record;
    struct fixture f;

    (void)state;
    setup(&f);
    record = join_epoch(&f);
    retire_many(record, 1000);
    assert_int_equal(f.n_freed, 0);
    zc_epoch_unregister(&record);
    assert_int_equal(f.n_freed, 0);
    teardown(&f);
    assert_int_equal(f.n_freed, 1000);
}

static void retiring_is_legal_in_a_section_and_under_locks(void **state)
{
    struct zc_epoch_record *record;
    struct zc_lock shard;
    struct zc_lock list;
    struct fixture f;

    (void)state;
    setup(&f);
    zc_lock_init(&shard, ZC_RANK_shard);
    zc_lock_init(&list, ZC_RANK_list);
    record = join_epoch(&f);
    zc_epoch_enter(record);
    zc_lock_acquire(&shard);
    zc_lock_acquire(&list);
    retire_new(record, 8, NULL);
    zc_lock_release(&list);
    zc_lock_release(&shard);
    zc_epoch_exit(record);
    zc_epoch_drain(record);
    assert_int_equal(f.n_freed, 1);
    zc_lock_fini(&shard);
    zc_lock_fini(&list);
    teardown(&f);
}

static void sections_nest(void **state)
{
    struct zc_epoch_record *record;
    struct fixture f;

    (void)state;
    setup(&f);
    record = join_epoch(&f);
    assert_false(zc_epoch_inside(record));
    zc_epoch_enter(record);
    zc_epoch_enter(record);
    zc_epoch_exit(record);
    assert_true(zc_epoch_inside(record));
    zc_epoch_exit(record);
    assert_false(zc_epoch_inside(record));
    teardown(&f);
}

/* While a reader holds the grace period up, a poll is due now and then, not at each retire. */
static void a_vain_poll_is_not_due_at_once(void **state)
{
    struct zc_epoch_record *reader;
    struct zc_epoch_record *record;
    struct fixture f;

    (void)state;
    setup(&f);
    reader = join_epoch(&f);
    record = join_epoch(&f);
    zc_epoch_enter(reader);
    for (unsigned i = 0; i < 5; i++) { /* some may be free before the reader holds all up */
        zc_epoch_stock(record, 64);
        retire_many(record, 30);
        zc_epoch_poll(record);
    }
    const long freed = atomic_load(&f.n_freed);
    zc_epoch_poll(record);
    assert_int_equal(atomic_load(&f.n_freed), freed);
    assert_false(zc_epoch_due(record));
    zc_epoch_stock(record, 64);
    retire_many(record, 3);
    assert_false(zc_epoch_due(record));
    retire_many(record, 1);
    assert_true(zc_epoch_due(record));
    zc_epoch_poll(record);
    assert_false(zc_epoch_due(record));
    retire_new(record, LIMBO_BYTES / 4, NULL);
    assert_true(zc_epoch_due(record));
    zc_epoch_exit(reader);
    zc_epoch_drain(record);
    assert_false(zc_epoch_due(record));
    teardown(&f);
}

static void a_poll_is_due_by_number_or_bytes(void **state)
{
    struct zc_epoch_record *record;
    struct fixture f;

    (void)state;
    setup(&f);
    record = join_epoch(&f);
    assert_false(zc_epoch_due(record));
    retire_many(record, 64);
    assert_false(zc_epoch_due(record));
    retire_many(record, 1);
    assert_true(zc_epoch_due(record));
    zc_epoch_poll(record);
    assert_false(zc_epoch_due(record));
    zc_epoch_stock(record, 2);
    retire_new(record, LIMBO_BYTES, NULL);
    assert_false(zc_epoch_due(record));
    retire_new(record, 1, NULL);
    assert_true(zc_epoch_due(record));
    zc_epoch_drain(record);
    assert_false(zc_epoch_due(record));
    teardown(&f);
}

static void retire_without_stock(void *record)
{
    zc_epoch_retire(record, NULL, 0, NULL);
}

static void poll_in_section(void *record)
{
    zc_epoch_poll(record);
}

static void drain_in_section(void *record)
{
    zc_epoch_drain(record);
}

static void misuse_is_stopped(void **state)
{
    struct zc_epoch_record *record;
    struct fixture f;

    (void)state;
    setup(&f);
    record = join_epoch(&f);
    for (int i = 0; i < STOCK_MAX; i++) {
        retire_new(record, 8, NULL);
    }
    assert_non_null(assertion_of(retire_without_stock, record));
    zc_epoch_enter(record);
    assert_non_null(assertion_of(poll_in_section, record));
    assert_non_null(assertion_of(drain_in_section, record));
    zc_epoch_exit(record);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Memory. */

static void every_refused_allocation_is_survived(void **state)
{
    long allowed = 0;
    int rc;

    (void)state;
    do {
        struct zc_epoch_record *record = NULL;
        struct fixture f;

        setup(&f);
        f.mem_left = allowed;
        rc = zc_epoch_register(f.epoch, &record);
        if (rc != 0) {
            assert_int_equal(rc, -ENOMEM);
            assert_null(record);
            f.mem_left = STOCK_MAX + 1;
            assert_int_equal(zc_epoch_register(f.epoch, &record), 0);
        }
        retire_new(record, 8, NULL);
        teardown(&f);
        allowed++;
    } while (rc != 0);
    assert_int_equal(allowed, STOCK_MAX + 2); /* a record and its stock, then one that passed */
}

static void refused_threads_leave_nothing_behind(void **state)
{
    struct zc_epoch_record *record;
    struct fixture f;
    long before;

    (void)state;
    setup(&f);
    before = f.mem_bytes;
    for (int i = 0; i < STOCK_MAX; i++) {
        record = NULL;
        f.mem_left = 1; /* for the record at first, then for one node more each time */
        assert_int_equal(zc_epoch_register(f.epoch, &record), -ENOMEM);
    }
    assert_in_range(f.mem_bytes, before, before + NODE_BYTES_MAX * (STOCK_MAX + 4));
    f.mem_left = 1 << 30;
    record = join_epoch(&f);
    retire_many(record, 10000);
    zc_epoch_drain(record);
    assert_in_range(f.mem_bytes, 1, AT_REST_BYTES_MAX);
    teardown(&f);
}

static void no_memory_no_epoch(void **state)
{
    struct fixture f = {.mem = {mem_alloc, mem_free, &f}};

    (void)state;
    assert_int_equal(zc_epoch_create(&f.mem, free_retired, &f, LIMBO_BYTES, &f.epoch), -ENOMEM);
    assert_null(f.epoch);
    assert_int_equal(f.mem_bytes, 0);
}

static void a_thread_has_stock_from_the_start(void **state)
{
    struct zc_epoch_record *record;
    struct fixture f;

    (void)state;
    setup(&f);
    record = join_epoch(&f);
    f.mem_left = 0;
    for (int i = 0; i < STOCK_MAX; i++) {
        retire_new(record, 8, NULL);
    }
    assert_int_equal(f.n_freed, 0);
    teardown(&f);
}

static void stock_comes_back_where_mem_refuses(void **state)
{
    struct zc_epoch_record *record;
    struct fixture f;

    (void)state;
    setup(&f);
    record = join_epoch(&f);
    f.mem_left = 0;
    for (int round = 0; round < 10; round++) {
        zc_epoch_stock(record, STOCK_MAX);
        for (int i = 0; i < STOCK_MAX; i++) {
            retire_new(record, 8, NULL);
        }
    }
    assert_in_range(f.n_freed, 9 * STOCK_MAX, 10 * STOCK_MAX);
    teardown(&f);
}

/*
 * Uses up @n nodes of @record, while a @reader lets none of them come back and mem has none.  It hangs
 * if there are not that many in the stock and free.
 */
static void use_free_nodes(struct fixture *f,
                           struct zc_epoch_record *reader,
                           struct zc_epoch_record *record,
                           unsigned n)
{
    long freed_before = f->n_freed;

    f->mem_left = 0;
    zc_epoch_enter(reader);
    retire_many(record, n);
    assert_int_equal(f->n_freed, freed_before);
    zc_epoch_exit(reader);
    f->mem_left = 1 << 30;
}

static void nodes_that_another_used_are_free_for_all(void **state)
{
    struct zc_epoch_record *here;
    struct zc_epoch_record *there;
    struct zc_epoch_record *reader;
    struct fixture f;

    (void)state;
    setup(&f);
    here = join_epoch(&f);
    there = join_epoch(&f);
    reader = join_epoch(&f);
    assert_int_not_equal(here->limbo, there->limbo);
    retire_many(there, STOCK_MAX);
    zc_epoch_poll(there);
    use_free_nodes(&f, reader, here, 2 * STOCK_MAX);
    teardown(&f);
}

static void the_stock_of_an_exited_thread_is_free_for_all(void **state)
{
    struct zc_epoch_record *stays;
    struct zc_epoch_record *exits;
    struct zc_epoch_record *reader;
    struct fixture f;

    (void)state;
    setup(&f);
    stays = join_epoch(&f);
    exits = join_epoch(&f);
    reader = join_epoch(&f);
    zc_epoch_unregister(&exits);
    use_free_nodes(&f, reader, stays, 2 * STOCK_MAX);
    teardown(&f);
}

static void the_stock_of_a_refused_thread_is_free_for_all(void **state)
{
    struct zc_epoch_record *stays;
    struct zc_epoch_record *reader;
    struct zc_epoch_record *refused;
    struct fixture f;

    (void)state;
    setup(&f);
    stays = join_epoch(&f);
    reader = join_epoch(&f);
    f.mem_left = STOCK_MAX; /* a record, and all of its stock but one */
    assert_int_equal(zc_epoch_register(f.epoch, &refused), -ENOMEM);
    use_free_nodes(&f, reader, stays, 2 * STOCK_MAX - 1);
    teardown(&f);
}

static void a_burst_leaves_nodes_for_the_next(void **state)
{
    struct zc_epoch_record *record;
    struct zc_epoch_record *reader;
    struct fixture f;

    (void)state;
    setup(&f);
    record = join_epoch(&f);
    reader = join_epoch(&f);
    retire_many(record, 3 * STOCK_MAX);
    zc_epoch_drain(record);
    use_free_nodes(&f, reader, record, 2 * STOCK_MAX);
    teardown(&f);
}

static void surplus_nodes_are_given_back(void **state)
{
    struct zc_epoch_record *record;
    struct fixture f;
    long usual;

    (void)state;
    setup(&f);
    record = join_epoch(&f);
    retire_many(record, 300);
    zc_epoch_drain(record);
    usual = f.mem_bytes;
    retire_many(record, 20000);
    assert_true(f.mem_bytes > usual + 19000L * 48);
    zc_epoch_drain(record);
    assert_int_equal(f.n_freed, 20300);
    assert_true(f.mem_bytes <= usual);
    teardown(&f);
}

static void records_are_used_again(void **state)
{
    struct zc_epoch_record *record;
    struct fixture f;
    long bytes;

    (void)state;
    setup(&f);
    record = join_epoch(&f);
    bytes = f.mem_bytes;
    for (int i = 0; i < 1000; i++) {
        retire_many(record, 3);
        zc_epoch_unregister(&record);
        record = join_epoch(&f);
        zc_epoch_poll(record);
    }
    assert_true(f.mem_bytes <= bytes + 3L * 64);
    zc_epoch_drain(record);
    assert_int_equal(f.n_freed, 3000);
    teardown(&f);
}

/* More threads than free lists have room for, all with a promise of 64. */
static void surplus_keeps_every_promise(void **state)
{
    enum {
        RECORDS = 40
    };
    struct zc_epoch_record *records[RECORDS];
    struct fixture f;

    (void)state;
    setup(&f);
    for (int i = 0; i < RECORDS; i++) {
        records[i] = join_epoch(&f);
    }
    for (int i = 0; i < RECORDS; i++) {
        retire_many(records[i], STOCK_MAX);
    }
    zc_epoch_drain(records[0]);
    f.mem_left = 0;
    for (int i = 0; i < RECORDS; i++) {
        zc_epoch_stock(records[i], STOCK_MAX);
    }
    for (int i = 0; i < RECORDS; i++) {
        zc_epoch_unregister(&records[i]);
    }
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Readers. */

struct drainer {
    struct fixture *f;
    struct zc_epoch_record *record;
    _Atomic long n_drains;
};

static void *drain_once(void *arg)
{
    struct drainer *drainer = arg;

    zc_epoch_drain(drainer->record);
    atomic_fetch_add(&drainer->n_drains, 1);
    return NULL;
}

static void nothing_is_freed_under_a_reader(void **state)
{
    struct zc_epoch_record *reader;
    struct zc_epoch_record *writer;
    struct fixture f;
    struct drainer drainer = {.f = &f};
    pthread_t thread;

    (void)state;
    setup(&f);
    reader = join_epoch(&f);
    writer = join_epoch(&f);
    drainer.record = join_epoch(&f);

    zc_epoch_enter(reader);
    zc_epoch_enter(reader);
    retire_many(writer, 100);
    start(&thread, drain_once, &drainer);
    for (int i = 0; i < CHANCES; i++) {
        zc_epoch_poll(writer);
        (void)sched_yield();
        if (i == CHANCES / 2) {
            zc_epoch_exit(reader); /* the inner section */
        }
    }
    assert_int_equal(f.n_freed, 0);
    assert_int_equal(drainer.n_drains, 0);
    zc_epoch_exit(reader);
    join(thread);
    assert_int_equal(f.n_freed, 100);
    teardown(&f);
}

/* A section that begins after the unlink cannot see the object, and need not be waited for. */
static void a_later_reader_does_not_stop_a_poll_for_ever(void **state)
{
    struct zc_epoch_record *reader;
    struct zc_epoch_record *writer;
    struct fixture f;

    (void)state;
    setup(&f);
    reader = join_epoch(&f);
    writer = join_epoch(&f);
    retire_many(writer, 1);
    for (int i = 0; i < 4; i++) {
        zc_epoch_enter(reader);
        zc_epoch_poll(writer);
        zc_epoch_exit(reader);
    }
    assert_int_equal(f.n_freed, 1);
    teardown(&f);
}

static void any_thread_frees_what_another_retired(void **state)
{
    struct zc_epoch_record *idle;
    struct zc_epoch_record *gone;
    struct zc_epoch_record *busy;
    struct fixture f;

    (void)state;
    setup(&f);
    idle = join_epoch(&f);
    gone = join_epoch(&f);
    busy = join_epoch(&f);
    retire_many(idle, 10);
    retire_many(gone, 10);
    zc_epoch_unregister(&gone);
    zc_epoch_drain(busy);
    assert_int_equal(f.n_freed, 20);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Draining. */

static void *poll_once(void *arg)
{
    struct drainer *poller = arg;

    zc_epoch_poll(poller->record);
    return NULL;
}

/*
 * Another thread is in the middle of freeing the first object when the drain begins, and more are
 * retired and freed meanwhile, so that the number of frees alone would satisfy a drain that counts.
 */
static void a_drain_waits_for_frees_that_are_running(void **state)
{
    struct zc_epoch_record *writer;
    struct fixture f;
    struct drainer poller = {.f = &f};
    struct drainer drainer = {.f = &f};
    pthread_t threads[2];

    (void)state;
    setup(&f);
    writer = join_epoch(&f);
    poller.record = join_in_limbo(&f, writer->limbo);
    drainer.record = join_epoch(&f);
    atomic_store(&f.at_gate, &f);
    retire_new(writer, 8, &f);
    start(&threads[0], poll_once, &poller);
    wait_for(&f.n_gated, 1);

    start(&threads[1], drain_once, &drainer);
    for (int i = 0; i < CHANCES; i++) {
        retire_many(writer, 1);
        zc_epoch_poll(writer);
        (void)sched_yield();
    }
    assert_true(f.n_freed > 1);
    assert_int_equal(drainer.n_drains, 0);
    atomic_store(&f.gate_open, true);
    join(threads[0]);
    join(threads[1]);
    assert_int_equal(drainer.n_drains, 1);
    teardown(&f);
}

/*
 * The first drain waits for an object whose free is running.  The second one has a later object to
 * wait for; it must not end the first one's wait by advancing the era.
 */
static void a_second_drain_does_not_end_the_first(void **state)
{
    struct zc_epoch_record *writer;
    struct fixture f;
    struct drainer poller = {.f = &f};
    struct drainer drainers[2] = {{.f = &f}, {.f = &f}};
    pthread_t threads[3];

    (void)state;
    setup(&f);
    writer = join_epoch(&f);
    poller.record = join_in_limbo(&f, writer->limbo);
    atomic_store(&f.at_gate, &f);
    retire_new(writer, 8, &f);
    start(&threads[0], poll_once, &poller);
    wait_for(&f.n_gated, 1);

    for (int i = 0; i < 2; i++) {
        drainers[i].record = join_epoch(&f);
        start(&threads[1 + i], drain_once, &drainers[i]);
        give_chances();
        retire_new(writer, 8, &f);
    }
    give_chances();
    assert_int_equal(drainers[0].n_drains, 0);
    assert_int_equal(drainers[1].n_drains, 0);
    atomic_store(&f.gate_open, true);
    for (int i = 0; i < 3; i++) {
        join(threads[i]);
    }
    assert_in_range(f.n_freed, 2, 3);
    teardown(&f);
}

struct retirer {
    struct zc_epoch_record *record;
    _Atomic long n_retired;
    _Atomic bool stop;
};

static void *retire_for_ever(void *arg)
{
    struct retirer *retirer = arg;

    while (!atomic_load(&retirer->stop)) {
        retire_many(retirer->record, 1);
        atomic_fetch_add(&retirer->n_retired, 1);
        if (zc_epoch_due(retirer->record)) {
            zc_epoch_poll(retirer->record);
        }
    }
    return NULL;
}

static void a_drain_ends_while_others_retire(void **state)
{
    struct zc_epoch_record *record;
    struct retirer retirer = {NULL, 0, false};
    struct fixture f;
    pthread_t thread;

    (void)state;
    setup(&f);
    record = join_epoch(&f);
    retirer.record = join_epoch(&f);
    start(&thread, retire_for_ever, &retirer);
    for (int i = 0; i < 50; i++) {
        long retired_before;

        wait_for(&retirer.n_retired, 10L * i);
        retired_before = atomic_load(&retirer.n_retired);
        zc_epoch_drain(record);
        assert_true(atomic_load(&f.n_freed) >= retired_before);
    }
    atomic_store(&retirer.stop, true);
    join(thread);
    teardown(&f);
    assert_int_equal(f.n_freed, retirer.n_retired);
}

/* ---------------------------------------------------------------------------------------------- */
/* Many threads. */

#define SLOTS     4
#define READERS   2
#define WRITERS   2
#define STRESS_MS 300

#define ALIVE     UINT64_C(0x6c6976696e676f6e)
#define DEAD      UINT64_C(0xdeaddeaddeaddead)

struct object {
    _Atomic uint64_t state;
};

struct stress {
    struct zc_mem mem;
    struct zc_epoch *epoch;
    struct fixture f; /* its memory only */
    _Atomic(struct object *) slot[WRITERS][SLOTS];
    bool drains; /* writers drain now and then, instead of polling */
    bool refuses;
    uint64_t end_ns;
    _Atomic long n_sections;
    _Atomic long n_violations;
    _Atomic bool stop;
};

static struct object *object_new(void)
{
    struct object *object = malloc(sizeof(*object));

    assert_non_null(object);
    atomic_init(&object->state, ALIVE);
    return object;
}

static void free_object(void *ctx, void *ptr, size_t bytes, void *arg)
{
    struct object *object = ptr;

    (void)ctx;
    (void)bytes;
    (void)arg;
    atomic_store_explicit(&object->state, DEAD, memory_order_relaxed);
    free(object);
}

/* Looks at every object for as long as a decode takes. */
static void read_slots(struct stress *s)
{
    for (int i = 0; i < WRITERS * SLOTS; i++) {
        struct object *object =
            atomic_load_explicit(&s->slot[i / SLOTS][i % SLOTS], memory_order_acquire);

        for (int look = 0; look < 50; look++) {
            if (atomic_load_explicit(&object->state, memory_order_relaxed) != ALIVE) {
                atomic_fetch_add(&s->n_violations, 1);
                return;
            }
        }
    }
}

/* Threads come and go: a reader registers anew from time to time. */
static void *reader_main(void *arg)
{
    struct stress *s = arg;

    while (!atomic_load(&s->stop)) {
        struct zc_epoch_record *record = NULL;

        if (zc_epoch_register(s->epoch, &record) != 0) {
            (void)sched_yield();
            continue;
        }
        for (int i = 0; i < 500; i++) {
            zc_epoch_enter(record);
            read_slots(s);
            zc_epoch_exit(record);
            atomic_fetch_add_explicit(&s->n_sections, 1, memory_order_relaxed);
        }
        zc_epoch_unregister(&record);
        (void)sched_yield(); /* with real-time priority the writers had no turn otherwise */
    }
    return NULL;
}

struct writer {
    struct stress *s;
    struct zc_epoch_record *record;
    unsigned number;
};

static void writer_tidy(const struct writer *w, int i)
{
    if (w->s->drains && i % 256 == 0) {
        zc_epoch_drain(w->record);
    } else if (!w->s->drains && zc_epoch_due(w->record)) {
        zc_epoch_poll(w->record);
    }
}

/* The slots are this writer's: a plain store unlinks, as under a lock. */
static void *writer_main(void *arg)
{
    const struct writer *w = arg;

    for (int i = 0; zc_plat_now_ns() < w->s->end_ns; i++) {
        _Atomic(struct object *) *slot = &w->s->slot[w->number][i % SLOTS];
        struct object *old = atomic_load_explicit(slot, memory_order_relaxed);

        zc_epoch_stock(w->record, 1);
        atomic_store_explicit(slot, object_new(), memory_order_release);
        zc_epoch_retire(w->record, old, sizeof(*old), NULL);
        writer_tidy(w, i);
    }
    return NULL;
}

static void stress_setup(struct stress *s, struct writer *writers)
{
    s->f.mem_left = 1 << 30;
    s->mem = (struct zc_mem){mem_alloc, mem_free, &s->f};
    assert_int_equal(zc_epoch_create(&s->mem, free_object, NULL, LIMBO_BYTES, &s->epoch), 0);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){.s = s, .number = i};
        assert_int_equal(zc_epoch_register(s->epoch, &writers[i].record), 0);
        for (int slot = 0; slot < SLOTS; slot++) {
            atomic_store(&s->slot[i][slot], object_new());
        }
    }
    if (s->refuses) {
        s->f.mem_left = 0;
    }
}

static void stress_teardown(struct stress *s)
{
    zc_epoch_destroy(&s->epoch);
    for (int i = 0; i < WRITERS * SLOTS; i++) {
        free(s->slot[i / SLOTS][i % SLOTS]);
    }
    assert_int_equal(s->f.mem_bytes, 0);
}

static void run_stress(struct stress *s)
{
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS + READERS];

    stress_setup(s, writers);
    s->end_ns = zc_plat_deadline_ns(STRESS_MS);
    for (int i = 0; i < READERS; i++) {
        start(&threads[WRITERS + i], reader_main, s);
    }
    for (int i = 0; i < WRITERS; i++) {
        start(&threads[i], writer_main, &writers[i]);
    }
    for (int i = 0; i < WRITERS; i++) {
        join(threads[i]);
    }
    if (!s->refuses) {
        wait_for(&s->n_sections, 1);
    }
    atomic_store(&s->stop, true);
    for (int i = 0; i < READERS; i++) {
        join(threads[WRITERS + i]);
    }
    assert_int_equal(s->n_violations, 0);
    stress_teardown(s);
}

static void readers_see_only_living_objects_while_writers_poll(void **state)
{
    struct stress s = {.drains = false};

    (void)state;
    run_stress(&s);
}

static void readers_see_only_living_objects_while_writers_drain(void **state)
{
    struct stress s = {.drains = true};

    (void)state;
    run_stress(&s);
}

/* Readers may fail to register here; the writers' stock must do. */
static void writers_go_on_where_mem_refuses(void **state)
{
    struct stress s = {.refuses = true};

    (void)state;
    run_stress(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_retired_is_freed_as_given),
        cmocka_unit_test(retiring_frees_nothing_itself),
        cmocka_unit_test(what_is_freed_is_looked_at_before),
        cmocka_unit_test(retiring_is_legal_in_a_section_and_under_locks),
        cmocka_unit_test(sections_nest),
        cmocka_unit_test(a_poll_is_due_by_number_or_bytes),
        cmocka_unit_test(a_vain_poll_is_not_due_at_once),
        cmocka_unit_test(misuse_is_stopped),
        cmocka_unit_test(every_refused_allocation_is_survived),
        cmocka_unit_test(refused_threads_leave_nothing_behind),
        cmocka_unit_test(no_memory_no_epoch),
        cmocka_unit_test(a_thread_has_stock_from_the_start),
        cmocka_unit_test(stock_comes_back_where_mem_refuses),
        cmocka_unit_test(nodes_that_another_used_are_free_for_all),
        cmocka_unit_test(the_stock_of_an_exited_thread_is_free_for_all),
        cmocka_unit_test(the_stock_of_a_refused_thread_is_free_for_all),
        cmocka_unit_test(a_burst_leaves_nodes_for_the_next),
        cmocka_unit_test(surplus_nodes_are_given_back),
        cmocka_unit_test(records_are_used_again),
        cmocka_unit_test(surplus_keeps_every_promise),
        cmocka_unit_test(nothing_is_freed_under_a_reader),
        cmocka_unit_test(a_later_reader_does_not_stop_a_poll_for_ever),
        cmocka_unit_test(any_thread_frees_what_another_retired),
        cmocka_unit_test(a_drain_waits_for_frees_that_are_running),
        cmocka_unit_test(a_second_drain_does_not_end_the_first),
        cmocka_unit_test(a_drain_ends_while_others_retire),
        cmocka_unit_test(readers_see_only_living_objects_while_writers_poll),
        cmocka_unit_test(readers_see_only_living_objects_while_writers_drain),
        cmocka_unit_test(writers_go_on_where_mem_refuses),
    };

    return cmocka_run_group_tests_name("epoch", tests, NULL, NULL);
}
