/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * thread: each thread has one state per cache, made at its first call and gone with the thread, or with
 * the cache if that goes first.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "api/support.h"
#include "assertion.h"
#include "mathx.h"
#include "thread.h"

#define SCRATCH_BYTES 20000
#define N_THREADS     32

/* ---------------------------------------------------------------------------------------------- */
/* A registry over memory that can refuse. */

struct fixture {
    struct zc_mem mem;
    struct zc_epoch *epoch;
    struct zc_codecs *codecs;
    struct zc_threads threads;
    uint8_t codec;
    _Atomic long mem_bytes;
    _Atomic long mem_left; /* allocations until it refuses */
    pthread_key_t other;   /* a key of the application */
    pthread_barrier_t barrier;
    _Atomic long n_calls;
    atomic_int hold; /* of another thread than the first: its next release of memory waits */
    atomic_int held;
    pthread_t first;
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
    REQUIRE(ptr != NULL);
    memset(ptr, 0, size);
    atomic_fetch_add(&f->mem_bytes, (long)size);
    return ptr;
}

static void mem_free(void *ctx, void *ptr, size_t size)
{
    struct fixture *f = ctx;

    while (atomic_load(&f->hold) != 0 && pthread_equal(pthread_self(), f->first) == 0) {
        atomic_store(&f->held, 1);
        (void)sched_yield();
    }
    atomic_fetch_sub(&f->mem_bytes, (long)size);
    free(ptr);
}

static void free_retired(void *ctx, void *ptr, size_t bytes, void *arg)
{
    (void)ctx;
    (void)bytes;
    (void)arg;
    free(ptr);
}

static void setup_modules(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->mem = (struct zc_mem){mem_alloc, mem_free, f};
    f->mem_left = 1 << 30;
    f->first = pthread_self();
    assert_int_equal(zc_epoch_create(&f->mem, free_retired, f, 4096, &f->epoch), 0);
    assert_int_equal(zc_codecs_create(&f->mem, &f->codecs), 0);
    assert_int_equal(zc_codecs_instance(f->codecs, "zstd:3", &f->codec), 0);
}

static void setup(struct fixture *f)
{
    setup_modules(f);
    assert_int_equal(zc_threads_init(&f->threads, &f->mem, f->epoch, f->codecs, SCRATCH_BYTES), 0);
}

static void teardown_modules(struct fixture *f)
{
    zc_codecs_destroy(&f->codecs);
    zc_epoch_destroy(&f->epoch);
    assert_int_equal(f->mem_bytes, 0);
}

static void teardown(struct fixture *f)
{
    zc_threads_fini(&f->threads);
    teardown_modules(f);
}

static unsigned registered(struct fixture *f)
{
    struct zc_list *it;
    unsigned n = 0;

    zc_lock_acquire(&f->threads.lock);
    ZC_LIST_FOR_EACH (it, &f->threads.all) {
        n++;
    }
    zc_lock_release(&f->threads.lock);
    return n;
}

/* All that a state may own: scratch memory, a codec's context, use of its epoch record. */
static void use(struct fixture *f)
{
    struct zc_thread *th = zc_thread_get(&f->threads);
    static const char page[512] =
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    char *scratch;
    void *object = malloc(8);

    REQUIRE(th != NULL && object != NULL);
    scratch = zc_thread_scratch(th);
    REQUIRE(scratch != NULL);
    memset(scratch, 0x5a, SCRATCH_BYTES);
    REQUIRE(zc_codec_encode(f->codecs, &th->codecs, f->codec, scratch, SCRATCH_BYTES, page,
                            sizeof(page)) > 0);
    zc_epoch_enter(th->epoch);
    zc_epoch_exit(th->epoch);
    zc_epoch_stock(th->epoch, 1);
    zc_epoch_retire(th->epoch, object, 8, NULL);
    zc_epoch_drain(th->epoch);
}

static void *use_main(void *arg)
{
    use(arg);
    return NULL;
}

static void run(void *(*fn)(void *), void *arg)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, fn, arg), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* ---------------------------------------------------------------------------------------------- */
/* One thread after the other. */

static void a_thread_has_one_state(void **state)
{
    struct zc_thread *th;
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(registered(&f), 0);
    th = zc_thread_get(&f.threads);
    assert_non_null(th);
    assert_int_equal(th->tag, ZC_TAG_THREAD);
    assert_ptr_equal(th->owner, &f.threads);
    assert_non_null(th->epoch);
    assert_null(th->scratch);
    assert_null(th->callbacks);
    assert_int_equal(th->puts, 0);
    assert_ptr_equal(zc_thread_get(&f.threads), th);
    assert_int_equal(registered(&f), 1);
    teardown(&f);
}

static void each_cache_has_its_own_states(void **state)
{
    struct fixture f[2];

    (void)state;
    setup(&f[0]);
    setup(&f[1]);
    assert_ptr_not_equal(zc_thread_get(&f[0].threads), zc_thread_get(&f[1].threads));
    assert_ptr_equal(zc_thread_get(&f[0].threads)->owner, &f[0].threads);
    assert_ptr_equal(zc_thread_get(&f[1].threads)->owner, &f[1].threads);
    run(use_main, &f[0]);
    run(use_main, &f[1]);
    teardown(&f[0]);
    assert_ptr_equal(zc_thread_get(&f[1].threads)->owner, &f[1].threads);
    teardown(&f[1]);
}

static void scratch_is_made_once_at_need(void **state)
{
    struct zc_thread *th;
    struct fixture f;
    long before;
    void *scratch;

    (void)state;
    setup(&f);
    th = zc_thread_get(&f.threads);
    before = f.mem_bytes;
    f.mem_left = 0;
    assert_null(zc_thread_scratch(th));
    assert_int_equal(f.mem_bytes, before);
    f.mem_left = 1;
    scratch = zc_thread_scratch(th);
    assert_non_null(scratch);
    assert_int_equal(f.mem_bytes, before + SCRATCH_BYTES);
    assert_ptr_equal(zc_thread_scratch(th), scratch);
    assert_int_equal(f.mem_bytes, before + SCRATCH_BYTES);
    teardown(&f);
}

/* The epoch keeps a record for the next thread, so the first one is not compared. */
static void the_exit_of_a_thread_releases_its_state(void **state)
{
    struct fixture f;
    long before;

    (void)state;
    setup(&f);
    run(use_main, &f);
    assert_int_equal(registered(&f), 0);
    before = f.mem_bytes;
    for (int i = 0; i < 10; i++) {
        run(use_main, &f);
        assert_int_equal(registered(&f), 0);
        assert_int_equal(f.mem_bytes, before);
    }
    teardown(&f);
}

static void *get_once(void *arg)
{
    struct fixture *f = arg;

    return zc_thread_get(&f->threads);
}

static void every_refused_allocation_is_survived(void **state)
{
    long allowed = 0;
    void *got;

    (void)state;
    do {
        pthread_t thread;
        struct fixture f;
        long before;

        setup(&f);
        before = f.mem_bytes;
        f.mem_left = allowed++;
        assert_int_equal(pthread_create(&thread, NULL, get_once, &f), 0);
        assert_int_equal(pthread_join(thread, &got), 0);
        assert_int_equal(registered(&f), 0);
        if (got == NULL && allowed == 1) {
            assert_int_equal(f.mem_bytes, before);
        }
        f.mem_left = 1 << 30;
        run(use_main, &f);
        teardown(&f);
    } while (got == NULL);
    assert_true(allowed > 2);
}

/* The thread itself goes on where it was refused. */
static void a_refused_thread_may_try_again(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    f.mem_left = 0;
    assert_null(zc_thread_get(&f.threads));
    assert_null(zc_thread_get(&f.threads));
    f.mem_left = 1;
    assert_null(zc_thread_get(&f.threads));
    assert_int_equal(registered(&f), 0);
    f.mem_left = 1 << 30;
    assert_non_null(zc_thread_get(&f.threads));
    assert_int_equal(registered(&f), 1);
    teardown(&f);
}

static void no_key_no_registry(void **state)
{
    static pthread_key_t keys[PTHREAD_KEYS_MAX];
    unsigned n = 0;
    struct fixture f;

    (void)state;
    setup_modules(&f);
    while (n < PTHREAD_KEYS_MAX && pthread_key_create(&keys[n], NULL) == 0) {
        n++;
    }
    assert_int_equal(zc_threads_init(&f.threads, &f.mem, f.epoch, f.codecs, SCRATCH_BYTES),
                     -EAGAIN);
    assert_true(n > 0);
    (void)pthread_key_delete(keys[--n]);
    assert_int_equal(zc_threads_init(&f.threads, &f.mem, f.epoch, f.codecs, SCRATCH_BYTES), 0);
    run(use_main, &f);
    while (n > 0) {
        (void)pthread_key_delete(keys[--n]);
    }
    teardown(&f);
}

static void one_of_so_many_calls_is_timed(void **state)
{
    static const uint32_t every[] = {1, 2, 64};

    (void)state;
    for (size_t i = 0; i < sizeof(every) / sizeof(every[0]); i++) {
        struct zc_thread th = {0};

        for (uint32_t call = 0; call < 640; call++) {
            const uint64_t before = zc_plat_now_ns();
            const uint64_t start = zc_thread_sample(&th, every[i]);

            assert_true((start != 0) == (call % every[i] == 0));
            assert_true(start == 0 || start >= before);
        }
    }
}

static void none_is_timed_where_sampling_is_off(void **state)
{
    struct zc_thread th = {0};

    (void)state;
    for (int call = 0; call < 1000; call++) {
        assert_int_equal(zc_thread_sample(&th, 0), 0);
    }
    th.sample = 0; /* after 2^32 calls */
    assert_int_equal(zc_thread_sample(&th, 0), 0);
}

/* ---------------------------------------------------------------------------------------------- */
/* Destructors of the application. */

static void use_at_exit(void *arg)
{
    struct fixture *f = arg;

    use(f);
    atomic_fetch_add(&f->n_calls, 1);
}

static void *use_and_leave_a_call(void *arg)
{
    struct fixture *f = arg;

    use(f);
    REQUIRE(pthread_setspecific(f->other, f) == 0);
    return NULL;
}

static void *leave_a_call(void *arg)
{
    struct fixture *f = arg;

    REQUIRE(pthread_setspecific(f->other, f) == 0);
    return NULL;
}

static void check_calls_at_exit(struct fixture *f)
{
    long before;

    run(use_and_leave_a_call, f);
    assert_int_equal(f->n_calls, 1);
    assert_int_equal(registered(f), 0);
    before = f->mem_bytes;
    run(use_and_leave_a_call, f);
    run(leave_a_call, f);
    assert_int_equal(f->n_calls, 3);
    assert_int_equal(registered(f), 0);
    assert_int_equal(f->mem_bytes, before);
}

/* The system runs destructors in no promised order; here it is that of the keys, so both are tried. */
static void a_destructor_may_use_the_cache(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(pthread_key_create(&f.other, use_at_exit), 0);
    check_calls_at_exit(&f);
    (void)pthread_key_delete(f.other);
    teardown(&f);

    setup_modules(&f);
    assert_int_equal(pthread_key_create(&f.other, use_at_exit), 0);
    assert_int_equal(zc_threads_init(&f.threads, &f.mem, f.epoch, f.codecs, SCRATCH_BYTES), 0);
    check_calls_at_exit(&f);
    (void)pthread_key_delete(f.other);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Many threads. */

static void *use_and_meet(void *arg)
{
    struct fixture *f = arg;
    struct zc_thread *th;

    (void)pthread_barrier_wait(&f->barrier); /* all register at one time */
    th = zc_thread_get(&f->threads);
    use(f);
    (void)pthread_barrier_wait(&f->barrier); /* all are registered */
    (void)pthread_barrier_wait(&f->barrier); /* the main thread has looked */
    return th;
}

static void start_many(struct fixture *f, pthread_t *threads)
{
    assert_int_equal(pthread_barrier_init(&f->barrier, NULL, N_THREADS + 1), 0);
    for (int i = 0; i < N_THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, use_and_meet, f), 0);
    }
    (void)pthread_barrier_wait(&f->barrier);
    (void)pthread_barrier_wait(&f->barrier);
}

static void join_many(struct fixture *f, pthread_t *threads, void **got)
{
    (void)pthread_barrier_wait(&f->barrier);
    for (int i = 0; i < N_THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], &got[i]), 0);
    }
    (void)pthread_barrier_destroy(&f->barrier);
}

static void many_threads_have_a_state_each(void **state)
{
    pthread_t threads[N_THREADS];
    void *got[N_THREADS];
    struct fixture f;

    (void)state;
    setup(&f);
    start_many(&f, threads);
    assert_int_equal(registered(&f), N_THREADS);
    join_many(&f, threads, got);
    assert_int_equal(registered(&f), 0);
    for (int i = 0; i < N_THREADS; i++) {
        for (int j = 0; j < i; j++) {
            assert_ptr_not_equal(got[i], got[j]);
        }
    }
    teardown(&f);
}

static void *come_and_go(void *arg)
{
    for (int i = 0; i < 20; i++) {
        pthread_t thread;

        REQUIRE(pthread_create(&thread, NULL, use_main, arg) == 0);
        REQUIRE(pthread_join(thread, NULL) == 0);
    }
    return NULL;
}

static void threads_come_and_go_in_parallel(void **state)
{
    pthread_t threads[4];
    struct fixture f;

    (void)state;
    setup(&f);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, &f), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(registered(&f), 0);
    teardown(&f);
}

/* Their states go with the registry; their exit comes later and must not touch them again. */
static void the_end_of_the_registry_releases_living_threads(void **state)
{
    pthread_t threads[N_THREADS];
    void *got[N_THREADS];
    struct fixture f;

    (void)state;
    setup(&f);
    use(&f);
    start_many(&f, threads);
    teardown(&f);
    join_many(&f, threads, got);
    assert_int_equal(f.mem_bytes, 0);
}

/* A thread on its way out is in no list any more, and still frees what belongs to the cache. */
static void *come_once(void *arg)
{
    struct fixture *f = arg;

    REQUIRE(zc_thread_register(&f->threads) != NULL);
    return NULL;
}

static void *let_it_go(void *arg)
{
    struct fixture *f = arg;
    const uint64_t end = now_ns() + 50 * MS_IN_NS;

    while (now_ns() < end && atomic_load(&f->n_calls) == 0) { /* the registry is still there */
        (void)sched_yield();
    }
    REQUIRE_EQUAL(atomic_load(&f->n_calls), 0);
    atomic_store(&f->hold, 0);
    return NULL;
}

static void the_end_of_the_registry_waits_for_exits(void **state)
{
    struct fixture f;
    pthread_t thread;
    pthread_t watch;

    (void)state;
    setup(&f);
    atomic_store(&f.hold, 1);
    assert_int_equal(pthread_create(&thread, NULL, come_once, &f), 0);
    WAIT_UNTIL(atomic_load(&f.held) != 0, 10000);
    assert_int_equal(pthread_create(&watch, NULL, let_it_go, &f), 0);
    zc_threads_fini(&f.threads);
    atomic_store(&f.n_calls, 1);
    assert_int_equal(atomic_load(&f.hold), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(pthread_join(watch, NULL), 0);
    teardown_modules(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_has_one_state),
        cmocka_unit_test(each_cache_has_its_own_states),
        cmocka_unit_test(scratch_is_made_once_at_need),
        cmocka_unit_test(the_exit_of_a_thread_releases_its_state),
        cmocka_unit_test(every_refused_allocation_is_survived),
        cmocka_unit_test(a_refused_thread_may_try_again),
        cmocka_unit_test(no_key_no_registry),
        cmocka_unit_test(one_of_so_many_calls_is_timed),
        cmocka_unit_test(none_is_timed_where_sampling_is_off),
        cmocka_unit_test(a_destructor_may_use_the_cache),
        cmocka_unit_test(many_threads_have_a_state_each),
        cmocka_unit_test(threads_come_and_go_in_parallel),
        cmocka_unit_test(the_end_of_the_registry_releases_living_threads),
        cmocka_unit_test(the_end_of_the_registry_waits_for_exits),
    };

    (void)test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("thread", tests, NULL, NULL);
}
