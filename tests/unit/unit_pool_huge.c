/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool_huge: which chunks become huge pages and when, that nothing is resident which is not counted, that
 * what leaves is given back, and threads.
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/support.h"
#include "assertion.h"
#include "mathx.h"
#include "plat.h"
#include "pool.h"
#include "pool_chunk.h"
#include "pool_impl.h"

#define PAGE       ((size_t)4096)
#define HOUR_NS    UINT64_C(3600000000000)
#define CHUNKS     12u
#define FULL       (CHUNKS * ZC_CHUNK_RUN_MAX)
#define FOR_A_TIME (zc_plat_deadline_ns(60000))

/* ---------------------------------------------------------------------------------------------- */
/* What the system says. */

/* KiB of the mapping around @ptr that are in huge pages. */
static uint64_t huge_kib_at(const void *ptr)
{
    FILE *file = fopen("/proc/self/smaps", "r");
    bool inside = false;
    uint64_t kib = 0;
    char line[512];

    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        uintptr_t from, to;

        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &from, &to) == 2) {
            inside = (uintptr_t)ptr >= from && (uintptr_t)ptr < to;
        } else if (inside && sscanf(line, "AnonHugePages: %" SCNu64, &kib) == 1) {
            break;
        }
    }
    assert_int_equal(fclose(file), 0);
    return kib;
}

/* How many huge pages the kernel has split so far; UINT64_MAX: it does not say. */
static uint64_t splits_so_far(void)
{
    FILE *file = fopen("/proc/vmstat", "r");
    uint64_t n = UINT64_MAX;
    char line[128];

    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL &&
           sscanf(line, "thp_split_page %" SCNu64, &n) != 1) {
    }
    assert_int_equal(fclose(file), 0);
    return n;
}

/* ---------------------------------------------------------------------------------------------- */
/* A pool of pages that know their number. */

struct pages {
    struct zc_pool *pool;
    uint64_t *at[FULL];
    unsigned n;
};

static void stamp(uint64_t *page, uint64_t number)
{
    for (size_t i = 0; i < PAGE / sizeof(*page); i++) {
        page[i] = number * 1000 + i;
    }
}

static void assert_stamped(const uint64_t *page, uint64_t number)
{
    for (size_t i = 0; i < PAGE / sizeof(*page); i++) {
        assert_true(page[i] == number * 1000 + i);
    }
}

static void pages_init(struct pages *p)
{
    *p = (struct pages){.n = 0};
    assert_int_equal(zc_pool_create(0, -1, &p->pool), 0);
    zc_pool_use_huge(p->pool, 0, 0);
}

/* Chunks have room for ZC_CHUNK_SLABS slabs: runs of pages of different length, to fill them. */
static size_t bytes_of(unsigned i)
{
    return i % 102 == 0 ? 6 * PAGE : 5 * PAGE;
}

static void add(struct pages *p)
{
    assert_true(p->n < FULL);
    p->at[p->n] = zc_pool_alloc_pages(p->pool, bytes_of(p->n));
    assert_non_null(p->at[p->n]);
    stamp(p->at[p->n], p->n);
    p->n++;
}

/* So many chunks, each of them full: 101 slabs of 5 pages and one of 6. */
static void fill(struct pages *p, unsigned chunks)
{
    while (p->n < chunks * 102) {
        add(p);
    }
}

static void drop(struct pages *p, unsigned i)
{
    zc_pool_free(p->at[i], bytes_of(i));
    p->at[i] = NULL;
}

static void assert_sound(const struct pages *p)
{
    const char *wrong = zc_pool_verify(p->pool);

    if (wrong != NULL) {
        fail_msg("%s", wrong);
    }
    for (unsigned i = 0; i < p->n; i++) {
        if (p->at[i] != NULL) {
            assert_stamped(p->at[i], i);
        }
    }
}

static void pages_fini(struct pages *p)
{
    assert_sound(p);
    for (unsigned i = 0; i < p->n; i++) {
        if (p->at[i] != NULL) {
            drop(p, i);
        }
    }
    assert_int_equal(zc_pool_huge_bytes(p->pool), 0);
    assert_null(zc_pool_verify(p->pool));
    zc_pool_destroy(&p->pool);
}

static uint64_t resident(const struct pages *p)
{
    struct zc_pool_usage usage;

    zc_pool_usage(p->pool, &usage);
    return usage.resident;
}

/* Whether this system has huge pages for anybody; a test is skipped otherwise. */
static void need_huge_pages(void)
{
    void *ptr = zc_plat_map(ZC_POOL_CHUNK, ZC_POOL_CHUNK, -1);
    enum zc_plat_huge got;

    assert_non_null(ptr);
    *(volatile char *)ptr = 1;
    got = zc_plat_make_huge(ptr, ZC_POOL_CHUNK);
    zc_plat_unmap(ptr, ZC_POOL_CHUNK);
    if (got != ZC_PLAT_HUGE_MADE) {
        skip();
    }
}

/* ---------------------------------------------------------------------------------------------- */

static void full_chunks_become_huge(void **state)
{
    struct pages p;
    uint64_t before;

    (void)state;
    need_huge_pages();
    pages_init(&p);
    fill(&p, CHUNKS);
    before = resident(&p);
    assert_int_equal(before, CHUNKS * ZC_POOL_CHUNK);
    assert_int_equal(huge_kib_at(p.at[0]), 0);

    assert_int_equal(zc_pool_make_huge(p.pool, FOR_A_TIME), 0);
    assert_int_equal(zc_pool_huge_bytes(p.pool), CHUNKS * ZC_POOL_CHUNK);
    assert_true(huge_kib_at(p.at[0]) >= ZC_POOL_CHUNK / 1024);
    assert_int_equal(resident(&p), before); /* it was all counted before */
    pages_fini(&p);
}

static void a_chunk_that_is_not_full_stays_small(void **state)
{
    struct pages p;

    (void)state;
    need_huge_pages();
    pages_init(&p);
    fill(&p, 1);
    drop(&p, 17);
    assert_int_equal(zc_pool_make_huge(p.pool, FOR_A_TIME), 0);
    assert_int_equal(zc_pool_huge_bytes(p.pool), 0);
    assert_int_equal(huge_kib_at(p.at[0]), 0);
    pages_fini(&p);
}

static void a_small_pool_has_none(void **state)
{
    struct pages p;

    (void)state;
    need_huge_pages();
    pages_init(&p);
    zc_pool_use_huge(p.pool, 3 * ZC_POOL_CHUNK, 0);
    fill(&p, 2);
    assert_int_equal(zc_pool_make_huge(p.pool, FOR_A_TIME), 0);
    assert_int_equal(zc_pool_huge_bytes(p.pool), 0);

    fill(&p, 3); /* the two are not forgotten */
    assert_int_equal(zc_pool_make_huge(p.pool, FOR_A_TIME), 0);
    assert_int_equal(zc_pool_huge_bytes(p.pool), 3 * ZC_POOL_CHUNK);
    pages_fini(&p);
}

/* The rest of it is given back to the system with it, not only to the process's account. */
static void a_slab_that_leaves_splits_its_chunk(void **state)
{
    uint64_t before = splits_so_far();
    struct pages p;

    (void)state;
    need_huge_pages();
    pages_init(&p);
    fill(&p, CHUNKS);
    (void)zc_pool_make_huge(p.pool, FOR_A_TIME);
    for (unsigned i = 0; i < CHUNKS; i++) {
        drop(&p, i * 102 + 50);
        assert_int_equal(zc_pool_huge_bytes(p.pool), (CHUNKS - 1 - i) * ZC_POOL_CHUNK);
    }
    assert_int_equal(resident(&p), CHUNKS * (ZC_POOL_CHUNK - 5 * PAGE));
    assert_int_equal(huge_kib_at(p.at[0]), 0);
    if (before != UINT64_MAX && splits_so_far() < before + CHUNKS) {
        fail_msg("%" PRIu64 " pages were split, not %u", splits_so_far() - before, CHUNKS);
    }
    pages_fini(&p);
}

/* Where it is full again it waits twice as long. */
static void waits_get_longer(void **state)
{
    uint64_t now = zc_plat_now_ns();
    struct pages p;

    (void)state;
    need_huge_pages();
    pages_init(&p);
    zc_pool_use_huge(p.pool, 0, HOUR_NS);
    fill(&p, 1);
    assert_in_range(zc_pool_make_huge(p.pool, FOR_A_TIME), now + HOUR_NS, now + HOUR_NS * 5 / 4);
    assert_int_equal(zc_pool_huge_bytes(p.pool), 0);

    zc_pool_use_huge(p.pool, 0, 0);
    for (unsigned n = 1; n < ZC_HUGE_WAITS + 3; n++) {
        uint64_t times = UINT64_C(1) << ZC_MIN(n, ZC_HUGE_WAITS - 1);

        assert_int_equal(zc_pool_make_huge(p.pool, FOR_A_TIME), 0);
        assert_int_equal(zc_pool_huge_bytes(p.pool), ZC_POOL_CHUNK);
        drop(&p, 7);
        p.at[7] = zc_pool_alloc_pages(p.pool, bytes_of(7));
        stamp(p.at[7], 7);
        zc_pool_use_huge(p.pool, 0, HOUR_NS);
        assert_in_range(zc_pool_make_huge(p.pool, FOR_A_TIME), now + HOUR_NS * times,
                        now + HOUR_NS * times + HOUR_NS / 4);
        assert_int_equal(zc_pool_huge_bytes(p.pool), 0);
        zc_pool_use_huge(p.pool, 0, 0);
    }
    pages_fini(&p);
}

static void nothing_is_done_beyond_the_deadline(void **state)
{
    uint64_t again;
    struct pages p;

    (void)state;
    need_huge_pages();
    pages_init(&p);
    fill(&p, 2);
    again = zc_pool_make_huge(p.pool, 1);
    assert_in_range(again, 1, zc_plat_now_ns());
    assert_int_equal(zc_pool_huge_bytes(p.pool), 0);
    pages_fini(&p);
}

/* Free pages of a huge chunk are resident: they are counted, and given back with the first slab that leaves. */
static void free_pages_are_counted(void **state)
{
    struct zc_pool_bound bound = {0};
    struct pages p;
    uint64_t full;
    void *two;

    (void)state;
    need_huge_pages();
    pages_init(&p);
    atomic_store(&bound.max, UINT64_MAX);
    zc_pool_bind(p.pool, &bound);
    fill(&p, 1);
    drop(&p, 3);
    two = zc_pool_alloc_pages(p.pool, 3 * PAGE);
    full = resident(&p);
    assert_int_equal(full, ZC_POOL_CHUNK - 2 * PAGE);
    assert_int_equal(atomic_load(&bound.full), 1);

    atomic_store(&bound.max, full + PAGE); /* no room for them: it waits on, longer */
    (void)zc_pool_make_huge(p.pool, FOR_A_TIME);
    assert_int_equal(zc_pool_huge_bytes(p.pool), 0);
    assert_int_equal(atomic_load(&bound.resident), full);
    assert_sound(&p);

    atomic_store(&bound.max, UINT64_MAX);
    drop(&p, 4);
    p.at[4] = zc_pool_alloc_pages(p.pool, bytes_of(4));
    stamp(p.at[4], 4);
    assert_int_equal(zc_pool_make_huge(p.pool, FOR_A_TIME), 0);
    assert_int_equal(zc_pool_huge_bytes(p.pool), ZC_POOL_CHUNK);
    assert_int_equal(resident(&p), ZC_POOL_CHUNK);
    assert_int_equal(atomic_load(&bound.resident), ZC_POOL_CHUNK);
    assert_int_equal(zc_pool_excess(p.pool), 0);
    assert_sound(&p);

    p.at[3] = zc_pool_alloc_pages(p.pool, PAGE); /* one of them, which was counted before */
    assert_ptr_equal(zc_chunk_around(p.at[3]), zc_chunk_around(p.at[4]));
    assert_int_equal(resident(&p), ZC_POOL_CHUNK);
    assert_null(zc_pool_verify(p.pool));
    zc_pool_free(p.at[3], PAGE);
    p.at[3] = NULL;
    assert_int_equal(zc_pool_huge_bytes(p.pool), 0);
    assert_int_equal(resident(&p), full);
    assert_int_equal(atomic_load(&bound.resident), full);
    zc_pool_free(two, 3 * PAGE);
    pages_fini(&p);
}

static void its_end_leaves_nothing_behind(void **state)
{
    struct pages p;

    (void)state;
    need_huge_pages();
    pages_init(&p);
    fill(&p, 2);
    (void)zc_pool_make_huge(p.pool, FOR_A_TIME);
    assert_int_equal(zc_pool_huge_bytes(p.pool), 2 * ZC_POOL_CHUNK);
    pages_fini(&p); /* asserts that all chunks went back to where they came from */

    pages_init(&p); /* and what comes from there is small */
    add(&p);
    assert_int_equal(huge_kib_at(p.at[0]), 0);
    pages_fini(&p);
}

/* ---------------------------------------------------------------------------------------------- */
/* Threads take and give slabs, of which each wrote its own number all over, and others make huge pages. */

#define SLAB (7 * PAGE) /* 73 of them fill a chunk */
#define HELD 150u
#define SEEN (20u / TEST_SLOWDOWN)

struct mover {
    struct zc_pool *pool;
    uint64_t id;
    _Atomic uint32_t *enough;
};

static void *move(void *arg)
{
    struct mover *m = arg;
    uint64_t *at[HELD] = {NULL};
    uint64_t state = m->id * 977 + 1;

    while (atomic_load(m->enough) == 0) {
        unsigned i;

        state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
        i = (unsigned)(state >> 33) % HELD;
        if (at[i] != NULL) {
            assert_stamped(at[i], m->id * 1000 + i);
            zc_pool_free(at[i], SLAB);
        }
        at[i] = zc_pool_alloc_pages(m->pool, SLAB);
        assert_non_null(at[i]);
        stamp(at[i], m->id * 1000 + i);
    }
    for (unsigned i = 0; i < HELD; i++) {
        if (at[i] != NULL) {
            assert_stamped(at[i], m->id * 1000 + i);
            zc_pool_free(at[i], SLAB);
        }
    }
    return NULL;
}

static void chunks_change_under_those_who_use_them(void **state)
{
    _Atomic uint32_t enough = 0;
    const uint64_t deadline = FOR_A_TIME;
    struct mover mover[3];
    pthread_t thread[3];
    unsigned seen = 0;
    struct pages p;

    (void)state;
    need_huge_pages();
    pages_init(&p);
    for (unsigned i = 0; i < 3; i++) {
        mover[i] = (struct mover){.pool = p.pool, .id = i + 1, .enough = &enough};
        assert_int_equal(pthread_create(&thread[i], NULL, move, &mover[i]), 0);
    }
    while (seen < SEEN && zc_plat_now_ns() < deadline) {
        (void)zc_pool_make_huge(p.pool, zc_plat_deadline_ns(10)); /* there is always another */
        seen += zc_pool_huge_bytes(p.pool) > 0 ? 1 : 0;
        assert_null(zc_pool_verify(p.pool));
    }
    atomic_store(&enough, 1);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    }
    assert_int_equal(seen, SEEN);
    assert_true(resident(&p) <= ZC_POOL_KEEP + ZC_POOL_CHUNK);
    pages_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_chunks_become_huge),
        cmocka_unit_test(a_chunk_that_is_not_full_stays_small),
        cmocka_unit_test(a_small_pool_has_none),
        cmocka_unit_test(a_slab_that_leaves_splits_its_chunk),
        cmocka_unit_test(waits_get_longer),
        cmocka_unit_test(nothing_is_done_beyond_the_deadline),
        cmocka_unit_test(free_pages_are_counted),
        cmocka_unit_test(its_end_leaves_nothing_behind),
        cmocka_unit_test(chunks_change_under_those_who_use_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
