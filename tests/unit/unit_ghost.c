/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ghost: what was evicted from probation is known for as many evictions as there are pages and no longer,
 * once; what was not is not; and the share of pages on probation follows what comes back soon.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "api/support.h"
#include "ghost.h"

#define N UINT64_C(2048) /* pages that most tests' tables are made for */

static uint64_t seed;

/* Memory that is counted and can be refused. */
struct memory {
    uint64_t bytes;
    unsigned n_allocs;
    bool refuse;
};

static void *memory_alloc(void *ctx, size_t size)
{
    struct memory *m = ctx;
    void *ptr;

    if (m->refuse) {
        return NULL;
    }
    ptr = aligned_alloc(64, (size + 63) & ~(size_t)63);
    REQUIRE(ptr != NULL);
    m->bytes += size;
    m->n_allocs++;
    return memset(ptr, 0, size);
}

static void memory_free(void *ctx, void *ptr, size_t size)
{
    struct memory *m = ctx;

    m->bytes -= size;
    free(ptr);
}

struct fixture {
    struct memory memory;
    struct zc_mem mem;
    struct zc_ghost g;
};

static struct fixture *setup(uint64_t pages)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->mem = (struct zc_mem){memory_alloc, memory_free, &f->memory};
    zc_ghost_init(&f->g);
    if (pages > 0) {
        zc_ghost_fit(&f->g, &f->mem, pages);
    }
    return f;
}

static void teardown(struct fixture *f)
{
    assert_null(zc_ghost_verify(&f->g));
    zc_ghost_fini(&f->g, &f->mem);
    assert_int_equal(f->memory.bytes, 0);
    free(f);
}

/* A hash of the number, as good as the index's. */
static uint64_t hash_of(uint64_t n)
{
    n = (n + 1) * UINT64_C(0x9e3779b97f4a7c15);
    n = (n ^ n >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    n = (n ^ n >> 27) * UINT64_C(0x94d049bb133111eb);
    return n ^ n >> 31;
}

static void add_range(struct fixture *f, uint64_t from, uint64_t to, bool main)
{
    for (uint64_t i = from; i < to; i++) {
        zc_ghost_add(&f->g, hash_of(i), main);
    }
}

/* How many of the numbers are known. */
static unsigned take_range(struct fixture *f, uint64_t from, uint64_t to)
{
    unsigned n = 0;

    for (uint64_t i = from; i < to; i++) {
        n += zc_ghost_take(&f->g, hash_of(i)) ? 1 : 0;
    }
    return n;
}

static void what_was_evicted_is_known_once(void **state)
{
    struct fixture *f = setup(N);

    (void)state;
    add_range(f, 0, N / 2, false);
    assert_null(zc_ghost_verify(&f->g));
    assert_int_equal(f->g.n_used, N / 2);
    assert_int_equal(take_range(f, N, 3 * N), 0); /* never there */
    assert_int_equal(take_range(f, 0, N / 2), N / 2);
    assert_int_equal(f->g.n_used, 0);
    assert_int_equal(take_range(f, 0, N / 2), 0);
    teardown(f);
}

/* All but what full buckets had to give up. */
static void it_is_known_for_as_many_evictions_as_there_are_pages(void **state)
{
    struct fixture *f = setup(N);

    (void)state;
    add_range(f, 0, 4 * N, false);
    assert_in_range(take_range(f, 3 * N + N / 4, 4 * N), N * 3 / 4 * 95 / 100, N * 3 / 4);
    assert_int_equal(take_range(f, 0, 3 * N - N / UINT64_C(256)), 0);
    teardown(f);
}

/* Time goes round: what is left from long ago is not taken for fresh within a round. */
static void what_was_forgotten_stays_forgotten(void **state)
{
    struct fixture *f = setup(N);

    (void)state;
    add_range(f, 0, 8, false);
    for (unsigned i = 0; i < 3 * N - 8; i++) {
        f->g.evicted[0]++; /* without the slots being used again */
    }
    assert_int_equal(take_range(f, 0, 8), 0);
    assert_int_equal(f->g.n_used, 0);
    teardown(f);
}

static void a_page_from_the_main_lists_is_not_known_but_counts(void **state)
{
    struct fixture *f = setup(N);
    const uint32_t share = zc_ghost_share(&f->g);

    (void)state;
    add_range(f, 0, 8, true);
    assert_int_equal(take_range(f, 0, 8), 0);
    assert_int_equal(zc_ghost_share(&f->g), share - 8 * 32);
    add_range(f, 100, 108, false);
    assert_int_equal(take_range(f, 100, 108), 8);
    assert_int_equal(zc_ghost_share(&f->g), share);
    teardown(f);
}

static void only_what_comes_back_soon_moves_the_share(void **state)
{
    struct fixture *f = setup(N);

    (void)state;
    add_range(f, 0, N / 4, false);
    assert_int_equal(take_range(f, 0, 8), 8);
    assert_int_equal(zc_ghost_share(&f->g), ZC_GHOST_SHARE);
    add_range(f, N, N + N / 4, true);
    assert_int_equal(take_range(f, N, N + 8), 0);
    assert_int_equal(zc_ghost_share(&f->g), ZC_GHOST_SHARE);
    teardown(f);
}

static void the_share_stays_within_bounds(void **state)
{
    struct fixture *f = setup(N);

    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        zc_ghost_add(&f->g, hash_of(i), true);
        assert_false(zc_ghost_take(&f->g, hash_of(i)));
    }
    assert_int_equal(zc_ghost_share(&f->g), ZC_GHOST_SHARE_MIN);
    for (uint64_t i = 0; i < 1000; i++) {
        zc_ghost_add(&f->g, hash_of(i), false);
        assert_true(zc_ghost_take(&f->g, hash_of(i)));
    }
    assert_int_equal(zc_ghost_share(&f->g), ZC_GHOST_SHARE_MAX);
    zc_ghost_forget(&f->g, &f->mem);
    assert_int_equal(zc_ghost_share(&f->g), ZC_GHOST_SHARE);
    assert_int_equal(zc_ghost_bytes(&f->g), 0);
    teardown(f);
}

/* At most 9 bytes for a page while they get fewer, 5 while they get more, and at once as many as needed. */
static void memory_follows_the_number_of_pages(void **state)
{
    struct fixture *f = setup(0);

    (void)state;
    assert_int_equal(zc_ghost_bytes(&f->g), 0);
    for (uint64_t pages = 1000; pages < 1000000; pages += pages / 10) {
        zc_ghost_fit(&f->g, &f->mem, pages);
        assert_int_equal(zc_ghost_bytes(&f->g), f->memory.bytes);
        assert_in_range(f->memory.bytes, pages * 3, pages * 5);
    }
    assert_in_range(f->memory.n_allocs, 2, 18);
    for (uint64_t pages = 1000000; pages > 1000; pages -= pages / 10) {
        zc_ghost_fit(&f->g, &f->mem, pages);
        assert_in_range(f->memory.bytes, pages * 3, pages * 10);
    }
    f->memory.n_allocs = 0;
    zc_ghost_fit(&f->g, &f->mem, 1);
    zc_ghost_fit(&f->g, &f->mem, 0);
    zc_ghost_fit(&f->g, &f->mem, 90);
    assert_int_equal(f->memory.n_allocs, 1);
    teardown(f);
}

static void without_memory_nothing_is_remembered_and_nothing_breaks(void **state)
{
    struct fixture *f = setup(0);

    (void)state;
    f->memory.refuse = true;
    zc_ghost_fit(&f->g, &f->mem, N);
    add_range(f, 0, N, false);
    assert_int_equal(take_range(f, 0, N), 0);
    f->memory.refuse = false;
    zc_ghost_fit(&f->g, &f->mem, N);
    add_range(f, 0, N / 2, false);
    f->memory.refuse = true;
    zc_ghost_fit(&f->g, &f->mem, 100 * N); /* goes on with what it has */
    assert_int_equal(take_range(f, 0, N / 2), N / 2);
    teardown(f);
}

static void verify_sees_a_wrong_count_and_a_wrong_share(void **state)
{
    struct fixture *f = setup(N);

    (void)state;
    add_range(f, 0, 10, false);
    f->g.n_used++;
    assert_non_null(zc_ghost_verify(&f->g));
    f->g.n_used--;
    atomic_store(&f->g.share, ZC_GHOST_SHARE_MAX + 1);
    assert_non_null(zc_ghost_verify(&f->g));
    atomic_store(&f->g.share, ZC_GHOST_SHARE_MAX);
    teardown(f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Threads evict and bring back while others change the size. */

#define THREADS 3
#define ROUNDS  (20000u / TEST_SLOWDOWN)

static void *worker(void *arg)
{
    struct fixture *f = arg;
    struct rng rng = {seed + (uintptr_t)pthread_self()};

    for (unsigned i = 0; i < ROUNDS; i++) {
        zc_ghost_add(&f->g, hash_of(rng_below(&rng, 2 * N)), rng_below(&rng, 2) == 0);
        (void)zc_ghost_take(&f->g, hash_of(rng_below(&rng, 2 * N)));
        REQUIRE(zc_ghost_share(&f->g) >= ZC_GHOST_SHARE_MIN);
    }
    return NULL;
}

static void the_size_changes_under_the_threads(void **state)
{
    struct fixture *f = setup(N);
    pthread_t thread[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&thread[i], NULL, worker, f), 0);
    }
    for (unsigned i = 0; i < 200 / TEST_SLOWDOWN; i++) {
        zc_ghost_fit(&f->g, &f->mem, i % 2 == 0 ? 4 * N : N);
        assert_null(zc_ghost_verify(&f->g));
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    }
    teardown(f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_evicted_is_known_once),
        cmocka_unit_test(it_is_known_for_as_many_evictions_as_there_are_pages),
        cmocka_unit_test(what_was_forgotten_stays_forgotten),
        cmocka_unit_test(a_page_from_the_main_lists_is_not_known_but_counts),
        cmocka_unit_test(only_what_comes_back_soon_moves_the_share),
        cmocka_unit_test(the_share_stays_within_bounds),
        cmocka_unit_test(memory_follows_the_number_of_pages),
        cmocka_unit_test(without_memory_nothing_is_remembered_and_nothing_breaks),
        cmocka_unit_test(verify_sees_a_wrong_count_and_a_wrong_share),
        cmocka_unit_test(the_size_changes_under_the_threads),
    };

    seed = test_begin(argc, argv, 5);
    return cmocka_run_group_tests_name("ghost", tests, NULL, NULL);
}
