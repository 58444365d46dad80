/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pool: classes, chunks, which slab serves, what goes back to the system, threads, failure, and
 * that zc_pool_verify() sees what it is there to see.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "assertion.h"
#include "fault.h"
#include "lock.h"
#include "mathx.h"
#include "plat.h"
#include "poison.h"
#include "pool.h"
#include "pool_chunk.h"
#include "pool_class.h"
#include "pool_impl.h"
#include "pool_slab.h"

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN true
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN true
#endif
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN false
#endif
#ifdef ZC_ASAN
#define UNDER_ASAN true
#else
#define UNDER_ASAN false
#endif

#define MIB       ((size_t)1 << 20)
#define SPARE_MAX ZC_POOL_KEEP

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state >> 16;
}

/* Bytes of this process that are in memory; a sanitizer's shadow of them would count as well. */
static size_t process_resident(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long pages = 0;

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*u %lu", &pages), 1);
    assert_int_equal(fclose(file), 0);
    return pages * zc_plat_page_size();
}

static void assert_process_grew(size_t before, size_t at_least, size_t at_most)
{
    const size_t now = process_resident();

    if (!UNDER_ASAN && !UNDER_TSAN && (now < before + at_least || now > before + at_most)) {
        fail_msg("resident: %zu KiB more, not %zu to %zu KiB", (now - before) / 1024,
                 at_least / 1024, at_most / 1024);
    }
}

static struct zc_pool_usage usage_of(const struct zc_pool *pool)
{
    struct zc_pool_usage usage;

    zc_pool_usage(pool, &usage);
    return usage;
}

static int setup(void **state)
{
    struct zc_pool *pool = NULL;

    assert_int_equal(zc_pool_create(3, -1, &pool), 0);
    *state = pool;
    return 0;
}

/* Every test ends with an empty pool whose books are right. */
static int teardown(void **state)
{
    struct zc_pool *pool = *state;

    assert_null(zc_pool_verify(pool));
    assert_int_equal(usage_of(pool).allocated, 0);
    zc_pool_destroy(&pool);
    assert_null(pool);
    return 0;
}

static void *alloc(struct zc_pool *pool, size_t size)
{
    void *ptr = zc_pool_alloc(pool, size);

    assert_non_null(ptr);
    assert_int_equal((uintptr_t)ptr % 16, 0);
    return ptr;
}

/* ---------------------------------------------------------------------------------------------- */
/* Arithmetic of classes. */

static void classes_round_little(void **state)
{
    double waste = 0;
    size_t last = 0;

    (void)state;
    for (size_t size = 1; size <= ZC_POOL_MAX; size++) {
        const size_t rounded = zc_pool_round(size);

        assert_true(rounded >= size && rounded >= last);
        assert_true(rounded - size < 16 || (rounded - size) * 32 <= size);
        assert_int_equal(zc_pool_round(rounded), rounded);
        last = rounded;
        if (size >= 64 && size <= 4096) {
            waste += (double)(rounded - size) / (double)size;
        }
    }
    assert_true(waste / (4096 - 63) < 0.010);
}

static void classes_fill_their_slabs(void **state)
{
    (void)state;
    for (unsigned id = 0; id < ZC_CLASS_COUNT; id++) {
        const size_t bytes = zc_class_bytes(id);
        static const size_t part[ZC_SLAB_SHAPES] = {8, 60, 250};

        assert_int_equal(zc_class_of(bytes), id);
        assert_int_equal(zc_class_of(bytes + 1), id + 1);
        for (unsigned shape = 0; shape < ZC_SLAB_SHAPES; shape++) {
            const size_t slab = zc_class_slab_pages(bytes, shape) * ZC_POOL_PAGE;

            assert_true(slab >= bytes && slab <= 128 * ZC_POOL_PAGE);
            assert_true(slab % bytes * part[shape] <= slab || bytes > 16384);
            assert_true(slab % bytes * 50 <= slab || shape == 0); /* of the largest, 2 % */
            assert_true(shape == 0 || slab >= zc_class_slab_pages(bytes, shape - 1) * ZC_POOL_PAGE);
        }
    }
    /* Pages that do not compress, with their head of a cache line. */
    for (size_t page = 4096; page <= 65536; page *= 2) {
        assert_int_equal(zc_pool_round(page + 64), page + 64);
    }
    assert_int_equal(zc_class_bytes(ZC_CLASS_COUNT - 1), ZC_CLASS_MAX);
}

/* ---------------------------------------------------------------------------------------------- */
/* Chunks. */

/* A random walk over one chunk beside a plain array of who has which page. */
static void chunks_keep_their_maps(void **state)
{
    struct zc_chunk *chunk = zc_plat_map(ZC_POOL_CHUNK, ZC_POOL_CHUNK, -1);
    struct zc_slab *slabs[ZC_CHUNK_SLABS] = {NULL};
    uint64_t seed = 42;
    unsigned full = 0;

    (void)state;
    assert_non_null(chunk);
    zc_chunk_init(chunk, NULL, 0);
    for (unsigned round = 0; round < 20000; round++) {
        const unsigned slot = (unsigned)(random_next(&seed) % ZC_CHUNK_SLABS);
        const unsigned n = round % 1000 < 500 ? 1 + (unsigned)(random_next(&seed) % 5)
                                              : 1 + (unsigned)(random_next(&seed) % 60);
        const unsigned longest = chunk->longest;
        unsigned expected = ZC_CHUNK_RUN_MAX;

        if (slabs[slot] != NULL) {
            zc_chunk_give(chunk, slabs[slot]);
            slabs[slot] = NULL;
        } else if (longest >= n) {
            unsigned first;

            slabs[slot] = zc_chunk_take(chunk, n, 7, 0);
            first = slabs[slot]->first_page;
            assert_int_equal(slabs[slot]->n_pages, n);
            for (unsigned i = 0; i < ZC_CHUNK_SLABS; i++) {
                assert_true(i == slot || slabs[i] == NULL || slabs[i]->first_page >= first + n ||
                            slabs[i]->first_page + slabs[i]->n_pages <= first);
            }
        } else {
            full++;
        }
        for (unsigned i = 0; i < ZC_CHUNK_SLABS; i++) {
            expected -= slabs[i] != NULL ? slabs[i]->n_pages : 0;
        }
        assert_null(zc_chunk_wrong(chunk));
        assert_int_equal(chunk->n_free, expected);
    }
    assert_true(full > 100);
    zc_plat_unmap(chunk, ZC_POOL_CHUNK);
}

static void a_chunk_runs_out_of_descriptions(void **state)
{
    struct zc_pool *pool = *state;
    void *objects[ZC_CHUNK_SLABS + 1];

    for (unsigned i = 0; i < ZC_CHUNK_SLABS; i++) {
        objects[i] = alloc(pool, zc_class_bytes(i)); /* a slab of few pages each */
    }
    assert_int_equal(usage_of(pool).mapped, ZC_POOL_CHUNK);
    objects[ZC_CHUNK_SLABS] = alloc(pool, zc_class_bytes(ZC_CHUNK_SLABS));
    assert_int_equal(usage_of(pool).mapped, 2 * ZC_POOL_CHUNK);
    assert_null(zc_pool_verify(pool));
    for (unsigned i = 0; i <= ZC_CHUNK_SLABS; i++) {
        zc_pool_free(objects[i], zc_class_bytes(i));
    }
}

/* ---------------------------------------------------------------------------------------------- */
/* Objects. */

struct object {
    unsigned char *ptr;
    size_t size;
    unsigned char mark;
};

static struct object object_make(struct zc_pool *pool, size_t size, unsigned char mark)
{
    struct object o = {zc_pool_alloc(pool, size), size, mark};

    assert_non_null(o.ptr);
    memset(o.ptr, mark, size);
    return o;
}

static void object_end(struct object *o)
{
    assert_int_equal(o->ptr[0], o->mark);
    assert_int_equal(memcmp(o->ptr, o->ptr + 1, o->size - 1), 0); /* all bytes are the mark */
    zc_pool_free(o->ptr, o->size);
    o->ptr = NULL;
}

static void every_border_is_usable(void **state)
{
    struct zc_pool *pool = *state;
    static struct object objects[4 * ZC_CLASS_COUNT + 8];
    uint64_t allocated = 0;
    size_t n = 0;

    for (unsigned id = 0; id < ZC_CLASS_COUNT; id++) {
        const size_t bytes = zc_class_bytes(id);
        const size_t sizes[] = {bytes, bytes, bytes - 1, bytes + 1};

        for (size_t i = 0; i < ZC_ARRAY_SIZE(sizes); i++) {
            objects[n] = object_make(pool, sizes[i], (unsigned char)(n * 7));
            assert_int_equal((uintptr_t)objects[n].ptr % 16, 0);
            assert_int_equal(zc_pool_node(objects[n].ptr + sizes[i] - 1), 3);
            allocated += zc_pool_round(sizes[i]);
            n++;
        }
    }
    for (size_t size = ZC_CLASS_MAX + 4096; size <= ZC_POOL_MAX; size += 200000) {
        objects[n] = object_make(pool, size, (unsigned char)(n * 7));
        allocated += zc_pool_round(size);
        n++;
    }
    objects[n++] = object_make(pool, ZC_POOL_MAX, 1);
    allocated += ZC_POOL_MAX;
    assert_int_equal(usage_of(pool).allocated, allocated);
    assert_true(usage_of(pool).resident >= allocated);
    assert_null(zc_pool_verify(pool));
    for (size_t i = 0; i < n; i++) {
        object_end(&objects[i]);
    }
}

static void the_fullest_slab_serves(void **state)
{
    enum {
        SLABS = 4,
        EACH = 16
    };

    static const unsigned kept[SLABS] = {5, 15, 9, 12}; /* live objects: four different groups */
    static const unsigned order[SLABS] = {1, 3, 2, 0};
    struct zc_pool *pool = *state;
    const size_t size = 256; /* as many in a page, which is a small slab */
    char *objects[SLABS][EACH];

    for (unsigned s = 0; s < SLABS; s++) {
        for (unsigned i = 0; i < EACH; i++) {
            objects[s][i] = alloc(pool, size);
            assert_ptr_equal(zc_chunk_slab(zc_chunk_of(objects[s][i]), objects[s][i]),
                             zc_chunk_slab(zc_chunk_of(objects[s][0]), objects[s][0]));
        }
    }
    for (unsigned s = 0; s < SLABS; s++) {
        for (unsigned i = kept[s]; i < EACH; i++) {
            zc_pool_free(objects[s][i], size);
        }
    }
    assert_null(zc_pool_verify(pool));
    for (unsigned k = 0; k < SLABS; k++) {
        const unsigned s = order[k];

        for (unsigned i = kept[s]; i < EACH; i++) {
            objects[s][i] = alloc(pool, size);
            assert_ptr_equal(zc_chunk_slab(zc_chunk_of(objects[s][i]), objects[s][i]),
                             zc_chunk_slab(zc_chunk_of(objects[s][0]), objects[s][0]));
        }
    }
    for (unsigned i = 0; i < SLABS * EACH; i++) {
        zc_pool_free(objects[i / EACH][i % EACH], size);
    }
}

static unsigned shape_of(const void *object)
{
    return zc_chunk_slab(zc_chunk_of(object), object)->shape;
}

/* Small slabs until a larger one is an eighth of what the class has. */
static void slabs_grow_with_their_class(void **state)
{
    enum {
        N = 4000
    };
    struct zc_pool *pool = *state;
    const size_t size = 1900;
    uint64_t pages = 0;
    unsigned last = 0;
    char *objects[N];

    for (unsigned i = 0; i < N; i++) {
        objects[i] = alloc(pool, size);
        if (i > 0 && zc_chunk_slab(zc_chunk_of(objects[i]), objects[i]) !=
                         zc_chunk_slab(zc_chunk_of(objects[i - 1]), objects[i - 1])) {
            const unsigned n = zc_class_slab_pages(zc_pool_round(size), shape_of(objects[i]));

            pages += zc_chunk_slab(zc_chunk_of(objects[i - 1]), objects[i - 1])->n_pages;
            assert_true(shape_of(objects[i]) >= last);
            assert_true(shape_of(objects[i]) == 0 || (uint64_t)n * ZC_SLAB_GROWTH <= pages);
            last = shape_of(objects[i]);
        }
    }
    assert_int_equal(shape_of(objects[0]), 0);
    assert_int_equal(last, ZC_SLAB_SHAPES - 1);
    /* So in the end next to nothing is lost behind objects, or in the last slab. */
    assert_true(usage_of(pool).resident * 100 < usage_of(pool).allocated * 102);
    assert_null(zc_pool_verify(pool));
    for (unsigned i = 0; i < N; i++) {
        zc_pool_free(objects[i], size);
    }
}

/* Few objects of what was a large class do not keep large slabs: they can leave them for small ones. */
static void few_objects_leave_a_large_slab(void **state)
{
    enum {
        N = 4000
    };
    struct zc_pool *pool = *state;
    const size_t size = 1900;
    char *objects[N];
    uint64_t before;

    zc_pool_keep(pool, 0);
    for (unsigned i = 0; i < N; i++) {
        objects[i] = alloc(pool, size);
    }
    for (unsigned i = 0; i < N - 2; i++) {
        zc_pool_free(objects[i], size);
    }
    assert_int_equal(shape_of(objects[N - 1]), ZC_SLAB_SHAPES - 1);
    before = usage_of(pool).resident;
    const uint64_t promised = zc_pool_begin_leaving(pool);
    assert_null(zc_pool_verify(pool));
    for (unsigned i = N - 2; i < N; i++) {
        char *moved = alloc(pool, size);

        assert_true(zc_pool_is_leaving(objects[i]));
        assert_false(zc_pool_is_leaving(moved));
        assert_int_equal(shape_of(moved), 0);
        zc_pool_free(objects[i], size);
        objects[i] = moved;
    }
    zc_pool_end_leaving(pool);
    assert_null(zc_pool_verify(pool));
    assert_int_equal(before - usage_of(pool).resident, promised);
    assert_int_equal(zc_pool_begin_leaving(pool), 0);
    for (unsigned i = N - 2; i < N; i++) {
        zc_pool_free(objects[i], size);
    }
}

/* Others took the room outside of the slabs that are leaving: half of these serve again, the fullest. */
static void leaving_slabs_are_called_back(void **state)
{
    enum {
        N = 4000
    };
    struct zc_pool *pool = *state;
    const size_t size = 2000;
    char *objects[N];
    char *more[N];
    unsigned n_more = 0;
    uint64_t leaving = 0;
    uint64_t left = 0;
    uint64_t before;

    for (unsigned i = 0; i < N; i++) {
        objects[i] = alloc(pool, size);
    }
    for (unsigned i = 0; i < N; i++) {
        if (i % 4 != 0) {
            zc_pool_free(objects[i], size);
        }
    }
    assert_true(zc_pool_begin_leaving(pool) > 0);
    assert_int_equal(zc_pool_recall_leaving(pool), 0); /* the others have room */
    for (unsigned i = 0; i < N; i += 4) {
        leaving += zc_pool_is_leaving(objects[i]) ? 1 : 0;
    }
    before = usage_of(pool).resident;
    while (usage_of(pool).resident == before) { /* the last one needs a slab of its own */
        more[n_more++] = alloc(pool, size);
    }
    zc_pool_free(more[--n_more], size);
    const uint64_t recalled = zc_pool_recall_leaving(pool);
    assert_true(recalled > 0);
    assert_null(zc_pool_verify(pool));
    for (unsigned i = 0; i < N; i += 4) {
        left += zc_pool_is_leaving(objects[i]) ? 1 : 0;
    }
    assert_in_range(left, leaving / 4, leaving * 3 / 4);
    before = usage_of(pool).resident;
    for (unsigned i = 0; i < N; i += 4) { /* what is still leaving finds room there */
        if (zc_pool_is_leaving(objects[i])) {
            char *moved = alloc(pool, size);

            zc_pool_free(objects[i], size);
            objects[i] = moved;
        }
    }
    assert_true(usage_of(pool).resident < before);
    assert_int_equal(zc_pool_end_leaving(pool), 0); /* none stayed */
    assert_null(zc_pool_verify(pool));
    for (unsigned i = 0; i < N; i += 4) {
        zc_pool_free(objects[i], size);
    }
    while (n_more > 0) {
        zc_pool_free(more[--n_more], size);
    }
}

static void the_tightest_chunk_serves(void **state)
{
    struct zc_pool *pool = *state;
    const size_t sizes[] = {40 * ZC_POOL_PAGE, 100 * ZC_POOL_PAGE, 200 * ZC_POOL_PAGE};
    char *large[3];
    char *runs[3];

    for (unsigned i = 0; i < 3; i++) {
        large[i] = alloc(pool, MIB); /* half of a chunk, which leaves 255 pages */
    }
    assert_int_equal(usage_of(pool).mapped, 3 * ZC_POOL_CHUNK);
    for (unsigned i = 0; i < 3; i++) {
        runs[i] = alloc(pool, sizes[i]);
    }
    assert_ptr_equal(zc_chunk_of(runs[1]), zc_chunk_of(runs[0])); /* 215 of 215, 255 and 255 */
    assert_ptr_not_equal(zc_chunk_of(runs[2]), zc_chunk_of(runs[0]));
    assert_int_equal(usage_of(pool).mapped, 3 * ZC_POOL_CHUNK);
    for (unsigned i = 0; i < 3; i++) {
        zc_pool_free(large[i], MIB);
        zc_pool_free(runs[i], sizes[i]);
    }
    assert_int_equal(usage_of(pool).mapped, ZC_POOL_CHUNK); /* one without slabs is kept */
    assert_int_equal(usage_of(pool).resident, ZC_CHUNK_HEAD_BYTES);
}

/* ---------------------------------------------------------------------------------------------- */
/* Memory goes back. */

static void freed_memory_leaves_the_process(void **state)
{
    enum {
        N = 15000
    };
    struct zc_pool *pool = *state;
    struct object *objects = calloc(N, sizeof(*objects));
    const size_t before = process_resident();
    struct zc_pool_usage usage;
    uint64_t seed = 7;

    assert_non_null(objects);
    for (unsigned i = 0; i < N; i++) {
        const size_t size =
            i % 400 == 0 ? 100000 + random_next(&seed) % 900000 : 64 + random_next(&seed) % 4033;

        objects[i] = object_make(pool, size, (unsigned char)i);
    }
    usage = usage_of(pool);
    assert_true(usage.resident > 40 * MIB);
    assert_true(usage.resident >= usage.allocated && usage.resident <= usage.mapped);
    /* The gauge may say too much, by pages of slabs not yet touched, but never too little. */
    assert_process_grew(before, usage.resident - 8 * MIB, usage.resident + 2 * MIB);

    for (unsigned i = 0; i < N; i++) {
        object_end(&objects[i]);
    }
    assert_null(zc_pool_verify(pool));
    usage = usage_of(pool);
    assert_int_equal(usage.allocated, 0);
    assert_true(usage.resident <= SPARE_MAX + usage.mapped / ZC_POOL_CHUNK * ZC_CHUNK_HEAD_BYTES);
    assert_true(usage.mapped <= 8 * ZC_POOL_CHUNK);
    assert_process_grew(before, 0, usage.resident + 2 * MIB);
    free(objects);
}

static void a_lone_object_keeps_only_its_slab(void **state)
{
    enum {
        N = 4096
    };
    struct zc_pool *pool = *state;
    const size_t size = 2048;
    void *objects[N];

    zc_pool_keep(pool, 0);
    for (unsigned i = 0; i < N; i++) {
        objects[i] = alloc(pool, size);
    }
    assert_true(usage_of(pool).resident >= N * size);
    for (unsigned i = 0; i < N; i++) {
        if (i != N / 2) {
            zc_pool_free(objects[i], size);
        }
    }
    /* The chunk, and one without slabs, have heads. */
    assert_int_equal(usage_of(pool).resident,
                     zc_slab_bytes(zc_chunk_slab(zc_chunk_of(objects[N / 2]), objects[N / 2])) +
                         2 * ZC_CHUNK_HEAD_BYTES);
    assert_int_equal(usage_of(pool).mapped, 2 * ZC_POOL_CHUNK);
    zc_pool_free(objects[N / 2], size);
}

static void an_object_that_comes_and_goes_keeps_its_slab(void **state)
{
    struct zc_pool *pool = *state;
    struct object o = object_make(pool, 66000, 1);
    const struct zc_pool_usage usage = usage_of(pool);
    unsigned char *ptr = o.ptr;

    for (unsigned i = 0; i < 100; i++) {
        object_end(&o);
        assert_int_equal(usage_of(pool).resident, usage.resident);
        o.ptr = alloc(pool, 66000);
        assert_ptr_equal(o.ptr, ptr);
        assert_int_equal(usage_of(pool).resident, usage.resident);
        assert_int_equal(ptr[65999], 1); /* it was not dropped */
        ptr[0] = 1;
        memset(ptr, 1, 66000);
    }
    object_end(&o);
}

static void spares_are_bounded(void **state)
{
    struct zc_pool *pool = *state;

    for (unsigned id = 0; id < ZC_CLASS_COUNT; id++) {
        zc_pool_free(alloc(pool, zc_class_bytes(id)), zc_class_bytes(id));
    }
    assert_true(usage_of(pool).resident > SPARE_MAX / 2);
    assert_true(usage_of(pool).resident <=
                SPARE_MAX + usage_of(pool).mapped / ZC_POOL_CHUNK * ZC_CHUNK_HEAD_BYTES);
}

/* Slabs that come and go: as many stay as are to be kept. */
static void spares_are_as_many_as_are_to_be_kept(void **state)
{
    enum {
        N = 2000
    };

    static const uint64_t keep[] = {0, MIB, 4 * MIB, 64 * MIB};
    struct zc_pool *pool = *state;
    const size_t size = 2000;
    char *objects[N];

    for (size_t k = 0; k < ZC_ARRAY_SIZE(keep); k++) {
        uint64_t full;
        uint64_t heads;

        zc_pool_keep(pool, keep[k]);
        for (unsigned i = 0; i < N; i++) {
            objects[i] = alloc(pool, size);
        }
        full = usage_of(pool).resident;
        for (unsigned i = 0; i < N;
             i++) { /* with an allocation now and then: the class is in use */
            zc_pool_free(objects[i], size);
            zc_pool_free(alloc(pool, size), size);
        }
        heads = usage_of(pool).mapped / ZC_POOL_CHUNK * ZC_CHUNK_HEAD_BYTES;
        assert_true(usage_of(pool).resident - heads <= keep[k]);
        assert_true(usage_of(pool).resident - heads >= ZC_MIN(keep[k], full - heads) * 9 / 10);
        assert_null(zc_pool_verify(pool));
        assert_int_equal(zc_pool_begin_leaving(pool), 0); /* a compaction leaves none */
        zc_pool_end_leaving(pool);
        assert_true(usage_of(pool).resident <= 2 * ZC_CHUNK_HEAD_BYTES);
    }
}

/* A spare serves whatever class wants as many pages, as if it were new. */
static void a_spare_serves_every_class(void **state)
{
    struct zc_pool *pool = *state;
    struct object o = object_make(pool, 1000, 1);
    const struct zc_pool_usage usage = usage_of(pool);
    const unsigned pages = zc_class_slab_pages(zc_pool_round(1000), 0);
    unsigned n = 0;

    for (size_t size = 64; size <= 4096; size += 64) {
        if (zc_class_slab_pages(zc_pool_round(size), 0) != pages) {
            continue;
        }
        object_end(&o);
        assert_int_equal(usage_of(pool).resident, usage.resident);
        assert_null(zc_pool_verify(pool));
        o = object_make(pool, size, (unsigned char)n++);
        assert_int_equal(usage_of(pool).resident, usage.resident);
        assert_int_equal(usage_of(pool).allocated, zc_pool_round(size));
        assert_null(zc_pool_verify(pool));
    }
    assert_true(n > 16);
    object_end(&o);
}

/* At the bound it is not in the way of a class that wants other slabs. */
static void at_the_bound_spares_make_room(void **state)
{
    static struct zc_pool_bound bound; /* the pool is destroyed after this */
    struct zc_pool *pool = *state;
    char *small;
    char *large;

    bound = (struct zc_pool_bound){.max = UINT64_MAX};
    zc_pool_bind(pool, &bound);
    small = alloc(pool, 100);
    for (unsigned i = 0; i < 64; i++) { /* spares of many sizes */
        const size_t size = (size_t)(i + 1) * 3 * ZC_POOL_PAGE / 2;

        zc_pool_free(alloc(pool, size), size);
    }
    assert_true(zc_pool_gauge(&pool->spare_bytes) > MIB / 2);
    atomic_store(&bound.max, zc_pool_gauge(&bound.resident));
    large = zc_pool_alloc(pool, 110000);
    assert_non_null(large);
    assert_true(zc_pool_gauge(&bound.resident) <= zc_pool_gauge(&bound.max));
    assert_null(zc_pool_verify(pool));
    zc_pool_free(large, 110000);
    zc_pool_free(small, 100);
}

static void sources_give_aligned_chunks_back(void **state)
{
    enum {
        N = 40 /* more than two regions */
    };

    const size_t bytes = N * ZC_POOL_CHUNK;
    const size_t before = process_resident();
    struct zc_pool_source *sources[2] = {NULL, NULL};
    struct zc_pool_region *regions[2][N];
    char *chunks[2][N];

    (void)state;
    for (unsigned s = 0; s < 2; s++) {
        assert_int_equal(zc_pool_source_create(-1, &sources[s]), 0);
        for (unsigned i = 0; i < N; i++) {
            chunks[s][i] = zc_pool_source_get(sources[s], &regions[s][i]);
            assert_non_null(chunks[s][i]);
            assert_int_equal((uintptr_t)chunks[s][i] % ZC_POOL_CHUNK, 0);
            memset(chunks[s][i], 0x42 + (int)s, ZC_POOL_CHUNK);
        }
    }
    assert_process_grew(before, 2 * bytes, 2 * bytes + 2 * MIB);
    for (unsigned i = 0; i < N; i++) {
        zc_pool_source_put(sources[0], chunks[0][i], regions[0][i]);
    }
    assert_process_grew(before, bytes, bytes + 2 * MIB);
    zc_pool_source_destroy(&sources[0]);
    assert_null(sources[0]);
    for (unsigned i = 0; i < N; i++) { /* the other did not notice */
        assert_int_equal(chunks[1][i][0], 0x43);
        assert_int_equal(chunks[1][i][ZC_POOL_CHUNK - 1], 0x43);
        zc_pool_source_put(sources[1], chunks[1][i], regions[1][i]);
        if (i % 4 ==
            3) { /* it serves again what it got back; a chunk's memory has left meanwhile */
            char *again = zc_pool_source_get(sources[1], &regions[1][i]);

            assert_non_null(again);
            assert_int_equal((uintptr_t)again % ZC_POOL_CHUNK, 0);
            assert_int_equal(again[0], 0);
            zc_pool_source_put(sources[1], again, regions[1][i]);
        }
        assert_process_grew(before, (N - 1 - i) * ZC_POOL_CHUNK,
                            (N - 1 - i) * ZC_POOL_CHUNK + 2 * MIB);
    }
    assert_process_grew(before, 0, 2 * MIB);
    zc_pool_source_destroy(&sources[1]);
}

/* ---------------------------------------------------------------------------------------------- */
/* Failure. */

#ifdef ZCACHE_TEST_HOOKS
static void without_a_chunk_there_is_no_object(void **state)
{
    static const size_t sizes[] = {100, 4000, 300000};
    struct zc_pool *pool = *state;

    for (size_t i = 0; i < ZC_ARRAY_SIZE(sizes); i++) {
        const size_t size = sizes[i];
        struct zc_pool_usage before;
        struct zc_pool_usage after;

        zc_pool_usage(pool, &before);
        zc_fault_arm(&(struct zc_fault_plan){.nth = 1, .sites = 1u << ZC_FAULT_chunk});
        void *ptr = zc_pool_alloc(pool, size);
        const uint64_t n_refused = zc_fault_disarm();
        assert_int_equal(ptr == NULL, n_refused == 1);
        zc_pool_usage(pool, &after);
        if (ptr == NULL) {
            assert_memory_equal(&before, &after, sizeof(before));
            ptr = alloc(pool, size);
        }
        assert_true(i > 0 || n_refused == 1); /* the pool was empty */
        zc_pool_free(ptr, size);
        assert_null(zc_pool_verify(pool));
    }
}
#endif

static void refused_memory_is_reported(void **state)
{
    static const size_t sizes[] = {100, 4000, 60000, MIB};
    struct zc_pool *pool = *state;
    struct rlimit old;
    struct rlimit tight;
    static void *objects[4096];

    if (UNDER_ASAN || UNDER_TSAN) {
        skip(); /* a sanitizer needs its address space */
    }
    zc_pool_keep(pool, 0); /* spares hold on to their chunks' address space */
    assert_int_equal(getrlimit(RLIMIT_AS, &old), 0);
    for (size_t k = 0; k < ZC_ARRAY_SIZE(sizes); k++) {
        unsigned n = 0;

        tight = old;
        tight.rlim_cur = 64 * MIB;
        assert_int_equal(setrlimit(RLIMIT_AS, &tight), 0);
        while (n < ZC_ARRAY_SIZE(objects) &&
               (objects[n] = zc_pool_alloc(pool, ZC_MAX(sizes[k], 20000))) != NULL) {
            n++;
        }
        assert_int_equal(setrlimit(RLIMIT_AS, &old), 0);
        assert_true(n > 0 && n < ZC_ARRAY_SIZE(objects));
        assert_null(zc_pool_verify(pool));
        while (n > 0) {
            zc_pool_free(objects[--n], ZC_MAX(sizes[k], 20000));
        }
    }
}

/* ---------------------------------------------------------------------------------------------- */
/* Threads. */

#define THREADS 4
#define SLOTS   64
#define ROUNDS  (UNDER_TSAN ? 5000 : 30000)

/* An object's first bytes, so that whoever gets it knows what it is. */
struct note {
    uint64_t size;
    uint64_t check;
};

struct shared {
    struct zc_pool *pool;
    _Atomic(struct note *) slot[SLOTS];
    atomic_uint running;
    atomic_uint broken;
};

static void note_end(struct shared *shared, struct note *note)
{
    const uint64_t size = note->size;

    if (note->check != ~size || ((unsigned char *)note)[size - 1] != (unsigned char)size) {
        atomic_fetch_add(&shared->broken, 1);
        return;
    }
    zc_pool_free(note, size);
}

/* Puts objects into random slots and frees what was there: mostly what another thread made. */
static void *exchange(void *arg)
{
    struct shared *shared = arg;
    uint64_t seed = (uint64_t)(uintptr_t)&seed | 1;

    for (unsigned i = 0; i < (unsigned)ROUNDS; i++) {
        const uint64_t r = random_next(&seed);
        const size_t size = r % 50 == 0 ? 4096 + r % 300000 : sizeof(struct note) + 1 + r % 3000;
        struct note *note = zc_pool_alloc(shared->pool, size);

        if (note == NULL) {
            atomic_fetch_add(&shared->broken, 1);
            break;
        }
        ((unsigned char *)note)[size - 1] = (unsigned char)size;
        note->size = size;
        note->check = ~(uint64_t)size;
        note = atomic_exchange(&shared->slot[random_next(&seed) % SLOTS], note);
        if (note != NULL) {
            note_end(shared, note);
        }
    }
    atomic_fetch_sub(&shared->running, 1);
    return NULL;
}

static void threads_share_a_pool(void **state)
{
    struct shared shared = {.pool = *state};
    pthread_t threads[THREADS];
    const char *first_wrong = NULL;
    unsigned verified = 0;

    atomic_init(&shared.running, THREADS);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, exchange, &shared), 0);
    }
    while (atomic_load(&shared.running) > 0) {
        const char *wrong = zc_pool_verify(shared.pool);

        if (wrong != NULL && first_wrong == NULL) {
            first_wrong = wrong; /* a false alarm, while they work */
        }
        verified++;
        (void)sched_yield();
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_int_equal(atomic_load(&shared.broken), 0);
    assert_true(verified > 0);
    if (first_wrong != NULL) {
        fail_msg("while threads worked: %s", first_wrong);
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        if (atomic_load(&shared.slot[i]) != NULL) {
            note_end(&shared, atomic_load(&shared.slot[i]));
        }
    }
}

#define GROWTH_BYTES 4096 /* four to a slab: one object makes it the fuller one */

static void *grow(void *arg)
{
    return zc_pool_alloc(arg, GROWTH_BYTES);
}

/* All find their class without room at once: each makes a slab, and none must be left over. */
static void slabs_made_together_are_used(void **state)
{
    struct zc_pool *pool = *state;
    pthread_t threads[THREADS];
    void *objects[THREADS];

    zc_lock_acquire(&pool->chunk_lock);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, grow, pool), 0);
    }
    while (atomic_load(&pool->moves_begun) < THREADS) {
        (void)sched_yield(); /* until all wait for the chunks */
    }
    zc_lock_release(&pool->chunk_lock);
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], &objects[i]), 0);
        assert_non_null(objects[i]);
    }
    assert_null(zc_pool_verify(pool));
    for (unsigned i = 0; i < THREADS; i++) {
        zc_pool_free(objects[i], GROWTH_BYTES);
    }
}

/* ---------------------------------------------------------------------------------------------- */
/* Verification sees damage: each case is done, seen, and undone. */

static void assert_seen(struct zc_pool *pool, const char *expected)
{
    const char *wrong = zc_pool_verify(pool);

    if (wrong == NULL || strcmp(wrong, expected) != 0) {
        fail_msg("found \"%s\", expected \"%s\"", wrong != NULL ? wrong : "nothing", expected);
    }
}

#define ASSERT_SEEN(pool, lvalue, bad, expected)                                                   \
    do {                                                                                           \
        const __typeof__(lvalue) good_ = (lvalue);                                                 \
        (lvalue) = (bad);                                                                          \
        assert_seen(pool, expected);                                                               \
        (lvalue) = good_;                                                                          \
        assert_null(zc_pool_verify(pool));                                                         \
    } while (0)

static void damage_is_seen(void **state)
{
    struct zc_pool *pool = *state;
    char *a = alloc(pool, 1000);
    char *b = alloc(pool, 1000);
    char *c = alloc(pool, 1000);
    char *direct = alloc(pool, MIB);
    struct zc_chunk *chunk = zc_chunk_of(a);
    struct zc_slab *slab = zc_chunk_slab(chunk, a);
    struct zc_free_object *object;

    zc_pool_free(b, 1000);
    object = slab->free;
    assert_ptr_equal(object, b);
    ZC_UNPOISON(object, sizeof(*object));
    assert_null(zc_pool_verify(pool));

    ASSERT_SEEN(pool, slab->used, 1, "a free list is too short");
    ASSERT_SEEN(pool, slab->used, 4, "a slab counts objects that it cannot have");
    ASSERT_SEEN(pool, slab->touched, 10000, "a slab counts objects that it cannot have");
    ASSERT_SEEN(pool, slab->free, NULL, "a free list is too short");
    ASSERT_SEEN(pool, slab->free, (void *)(b + 8), "a free list leaves its slab");
    ASSERT_SEEN(pool, object->next, (void *)direct, "a free list leaves its slab");
    ASSERT_SEEN(pool, object->next, object, "a free list is too long");
    ASSERT_SEEN(pool, slab->class_id, slab->class_id + 1, "a slab is in the wrong group");
    ASSERT_SEEN(pool, slab->group, 5, "a slab is in the wrong group");
    ASSERT_SEEN(pool, slab->n_pages, slab->n_pages - 1, "a slab has the wrong size");
    ASSERT_SEEN(pool, slab->shape, ZC_SLAB_SHAPES, "a slab has the wrong size");
    ASSERT_SEEN(pool, slab->shape, slab->shape + 1, "a slab has the wrong size");

    ASSERT_SEEN(pool, chunk->page_slab[slab->first_page], ZC_CHUNK_NO_SLAB,
                "a chunk's two maps of pages differ");
    ASSERT_SEEN(pool, chunk->page_slab[slab->first_page], 50, "a slab and the map of pages differ");
    ASSERT_SEEN(pool, chunk->free_pages[3], chunk->free_pages[3] ^ 1,
                "a chunk's two maps of pages differ");
    ASSERT_SEEN(pool, chunk->free_slots[0], chunk->free_slots[0] | 1,
                "a slab and the map of pages differ");
    ASSERT_SEEN(pool, chunk->free_slots[1], chunk->free_slots[1] ^ 1,
                "a slab and the map of pages differ");
    ASSERT_SEEN(pool, chunk->n_free, chunk->n_free - 1, "a chunk's count of free pages is wrong");
    ASSERT_SEEN(pool, chunk->longest, chunk->longest - 1, "a chunk's longest run is wrong");
    ASSERT_SEEN(pool, chunk->tag, 0, "a chunk lost its tag");
    ASSERT_SEEN(pool, chunk->node, 4, "a chunk is in the wrong bin");

    /* A slab that its class has forgotten. */
    zc_list_del(&slab->link);
    assert_seen(pool, "a class's map of groups is wrong");
    zc_list_init(&slab->link);

    /* Not put back in order: the pool is given up, and so are its chunks. */
    (void)c;
    assert_int_equal(zc_pool_create(3, -1, &pool), 0);
    *state = pool;
}

/* ---------------------------------------------------------------------------------------------- */
/* Misuse, in debug builds.  The assertion leaves a lock behind: a pool of its own each time. */

#ifdef ZCACHE_DEBUG
struct misuse {
    struct zc_pool *pool;
    char *ptr;
    size_t size;
    const char *text;
};

static void free_it(void *arg)
{
    struct misuse *m = arg;

    zc_pool_free(m->ptr, m->size);
}

static void alloc_it(void *arg)
{
    struct misuse *m = arg;

    m->ptr = zc_pool_alloc(m->pool, m->size);
}

static void *catch_free(void *arg)
{
    struct misuse *m = arg;

    m->text = assertion_of(free_it, m);
    return NULL;
}

static void *catch_alloc(void *arg)
{
    struct misuse *m = arg;

    m->text = assertion_of(alloc_it, m);
    return NULL;
}

static const char *text_of(void *(*thread_fn)(void *), struct misuse *m)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, thread_fn, m), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    return m->text;
}

static void misuse_is_caught(void **state)
{
    struct misuse m = {.size = 100};
    char *ptr;

    (void)state;
    assert_int_equal(zc_pool_create(0, -1, &m.pool), 0);
    ptr = alloc(m.pool, 100);
    (void)alloc(m.pool, 100);

    m.ptr = ptr;
    m.size = 200; /* another class */
    assert_non_null(text_of(catch_free, &m));
    m.size = 100;
    m.ptr = ptr + 16; /* not where an object starts */
    assert_non_null(text_of(catch_free, &m));

    assert_int_equal(zc_pool_create(0, -1, &m.pool), 0);
    ptr = alloc(m.pool, 100);
    (void)alloc(m.pool, 100);
    m.ptr = ptr;
    assert_null(text_of(catch_free, &m));
    assert_non_null(text_of(catch_free, &m)); /* twice */

    assert_int_equal(zc_pool_create(0, -1, &m.pool), 0);
    ptr = alloc(m.pool, 100);
    (void)alloc(m.pool, 100);
    zc_pool_free(ptr, 100);
    ZC_UNPOISON(ptr, 100);
    memset(ptr, 0, 100); /* written to after its release */
    assert_non_null(text_of(catch_alloc, &m));
}

static void destroy_it(void *arg)
{
    struct misuse *m = arg;

    zc_pool_destroy(&m->pool);
}

static void leaks_are_caught(void **state)
{
    struct misuse m = {0};

    (void)state;
    assert_int_equal(zc_pool_create(0, -1, &m.pool), 0);
    (void)alloc(m.pool, 100);
    assert_non_null(assertion_of(destroy_it, &m));
}
#endif

#ifdef ZC_ASAN
static void the_sanitizer_knows_free_memory(void **state)
{
    struct zc_pool *pool = *state;
    char *ptr = alloc(pool, 100);
    char *direct = alloc(pool, 200001);
    char *neighbour;

    assert_false(__asan_address_is_poisoned(ptr));
    assert_false(__asan_address_is_poisoned(ptr + 99));
    assert_true(__asan_address_is_poisoned(ptr + 100)); /* rounding */
    assert_true(__asan_address_is_poisoned(ptr + 112)); /* never handed out */
    assert_false(__asan_address_is_poisoned(direct + 200000));
    assert_true(__asan_address_is_poisoned(direct + 200001));
    neighbour = alloc(pool, 100);
    zc_pool_free(ptr, 100);
    for (unsigned i = 0; i < 112; i++) {
        assert_true(__asan_address_is_poisoned(ptr + i));
    }
    assert_false(__asan_address_is_poisoned(neighbour));
    ptr = alloc(pool, 110);
    assert_false(__asan_address_is_poisoned(ptr + 109));
    zc_pool_free(ptr, 110);
    zc_pool_free(neighbour, 100);
    zc_pool_free(direct, 200001);
}
#endif

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_round_little),
        cmocka_unit_test(classes_fill_their_slabs),
        cmocka_unit_test(chunks_keep_their_maps),
        TEST(a_chunk_runs_out_of_descriptions),
        TEST(every_border_is_usable),
        TEST(the_fullest_slab_serves),
        TEST(slabs_grow_with_their_class),
        TEST(few_objects_leave_a_large_slab),
        TEST(leaving_slabs_are_called_back),
        TEST(the_tightest_chunk_serves),
        TEST(freed_memory_leaves_the_process),
        TEST(a_lone_object_keeps_only_its_slab),
        TEST(an_object_that_comes_and_goes_keeps_its_slab),
        TEST(spares_are_bounded),
        TEST(spares_are_as_many_as_are_to_be_kept),
        TEST(a_spare_serves_every_class),
        TEST(at_the_bound_spares_make_room),
        cmocka_unit_test(sources_give_aligned_chunks_back),
#ifdef ZCACHE_TEST_HOOKS
        TEST(without_a_chunk_there_is_no_object),
#endif
        TEST(refused_memory_is_reported),
        TEST(threads_share_a_pool),
        TEST(slabs_made_together_are_used),
        TEST(damage_is_seen),
#ifdef ZCACHE_DEBUG
        cmocka_unit_test(misuse_is_caught),
        cmocka_unit_test(leaks_are_caught),
#endif
#ifdef ZC_ASAN
        TEST(the_sanitizer_knows_free_memory),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
