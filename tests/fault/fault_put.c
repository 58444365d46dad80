/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Puts without memory: the page is in, or no version of it is.
 */
#include <errno.h>
#include <string.h>

#include "mathx.h"
#include "scenario.h"

#define STORE MEM_STORE_ALL

/* ---- new pages --------------------------------------------------------------------------------- */

static int put_new(struct fault *f)
{
    return fault_put(f, &f->t, 0, PAGE, FILL_TEXT, 0);
}

static int put_same(struct fault *f)
{
    return fault_put(f, &f->t, 0, PAGE, FILL_SAME, 0);
}

static int put_incompressible(struct fault *f)
{
    return fault_put(f, &f->t, 0, PAGE, FILL_RANDOM, ZCACHE_INCOMPRESSIBLE);
}

static int put_best_effort(struct fault *f)
{
    return fault_put(f, &f->t, 0, PAGE, FILL_TEXT, ZCACHE_BEST_EFFORT);
}

static void bypassed_only_if_refused(struct fault *f, int rc)
{
    REQUIRE(rc == 0 || (f->refused && (rc == ZCACHE_BYPASSED || rc == -EBUSY)));
}

/* Entries of a shard for which it is enough. */
#define FIRST_SEGMENT ((uint64_t)ZC_SEGMENT_BUCKETS * ZC_BUCKET_LOAD)

static struct zc_shard *shard_of(struct fault *f, uint64_t page)
{
    return zc_index_shard(f->cache->index, zc_index_hash(f->root.t->slot, key_of(2, page)));
}

static int put_small(struct fault *f, uint64_t page)
{
    unsigned char bytes[64];

    memset(bytes, (int)(page % 251), sizeof(bytes));
    f->root.puts++;
    return zcache_put(f->root.t, key_of(2, page), bytes, sizeof(bytes), 0);
}

/* Fills the shard of page 0. */
static void a_full_segment(struct fault *f)
{
    for (uint64_t page = 0; shard_of(f, 0)->n_entries < FIRST_SEGMENT; page++) {
        if (shard_of(f, page) == shard_of(f, 0)) {
            REQUIRE_EQUAL(put_small(f, page), 0);
        }
    }
}

static int put_one_beyond_the_segment(struct fault *f)
{
    uint64_t page = 1000000;

    while (shard_of(f, page) != shard_of(f, 0)) {
        page++;
    }
    return put_small(f, page);
}

/* Without a segment the chains get longer; the next put of a new page tries again. */
static void two_segments_or_not(struct fault *f, int rc)
{
    const struct zc_shard *shard = shard_of(f, 0);
    const bool grown = atomic_load(&shard->segment[1]) != NULL;

    REQUIRE(rc == 0 || !grown);
    REQUIRE(f->refused || grown);
    REQUIRE_EQUAL(shard->n_entries, FIRST_SEGMENT + (rc == 0 ? 1 : 0));
}

/* ---- other versions ---------------------------------------------------------------------------- */

static void one_page(struct fault *f)
{
    fault_fill(f, &f->t, 1, PAGE, FILL_TEXT, 0);
}

static void one_written_page(struct fault *f)
{
    one_page(f);
    REQUIRE_EQUAL(zcache_flush(f->t.t, 0), 0);
}

static void one_same_page(struct fault *f)
{
    fault_fill(f, &f->t, 1, PAGE, FILL_SAME, 0);
}

static int put_larger(struct fault *f)
{
    return fault_put(f, &f->t, 0, 4 * PAGE, FILL_TEXT, 0);
}

static int put_smaller(struct fault *f)
{
    return fault_put(f, &f->t, 0, PAGE / 4, FILL_TEXT, 0);
}

/* ---- many -------------------------------------------------------------------------------------- */

#define MANY 8u

static int put_many(struct fault *f)
{
    static _Thread_local unsigned char bytes[MANY][PAGE];
    struct fault_page what[MANY];
    struct zcache_page pages[MANY];
    int first = 0;

    for (unsigned i = 0; i < MANY; i++) {
        what[i] = (struct fault_page){++f->version, PAGE, i == 3 ? FILL_SAME : FILL_HALF};
        fault_content(bytes[i], i, what[i]);
        pages[i] = (struct zcache_page){
            .key = fault_key(i), .data = bytes[i], .len = PAGE, .status = 12345};
    }
    f->t.puts += MANY;
    const int rc = zcache_put_many(f->t.t, pages, MANY, 0);
    for (unsigned i = 0; i < MANY; i++) {
        REQUIRE(pages[i].status == 0 || pages[i].status == -ENOMEM || pages[i].status == -EBUSY);
        first = first == 0 ? pages[i].status : first;
        fault_put_ended(f, &f->t, i, what[i], pages[i].status);
    }
    REQUIRE_EQUAL(rc, first);
    return rc;
}

static void four_of_many(struct fault *f)
{
    fault_fill(f, &f->t, MANY / 2, PAGE, FILL_TEXT, 0);
}

/* ---- a full tenant ------------------------------------------------------------------------------- */

static void a_full_tenant(struct fault *f)
{
    fault_fill(f, &f->t, 100, PAGE, FILL_HALF, 0);
    REQUIRE(stats_of(f->t.t).count.sync_shrinks > 0);
}

static int put_into_a_full_tenant(struct fault *f)
{
    int rc = 0;

    for (unsigned i = 100; i < 110 && rc == 0; i++) {
        rc = fault_put(f, &f->t, i, PAGE, FILL_HALF, 0);
    }
    return rc;
}

static const struct fault_case cases[] = {
    {.name = "put.new", .store = STORE, .act = put_new, .may = {-ENOMEM}},
    {.name = "put.new_without_a_store", .act = put_new, .may = {-ENOMEM}},
    {.name = "put.same_filled", .store = STORE, .act = put_same, .may = {-ENOMEM}},
    {.name = "put.incompressible", .store = STORE, .act = put_incompressible, .may = {-ENOMEM}},
    {.name = "put.best_effort",
     .store = STORE,
     .act = put_best_effort,
     .after = bypassed_only_if_refused,
     .may = {0}},
    {.name = "put.replace", .store = STORE, .prepare = one_page, .act = put_new, .may = {-ENOMEM}},
    {.name = "put.replace_without_a_store", .prepare = one_page, .act = put_new, .may = {-ENOMEM}},
    {.name = "put.replace_written",
     .store = STORE,
     .prepare = one_written_page,
     .act = put_new,
     .may = {-ENOMEM}},
    {.name = "put.replace_same_filled",
     .store = STORE,
     .prepare = one_same_page,
     .act = put_new,
     .may = {-ENOMEM}},
    {.name = "put.larger",
     .store = STORE,
     .prepare = one_page,
     .act = put_larger,
     .may = {-ENOMEM}},
    {.name = "put.smaller",
     .store = STORE,
     .prepare = one_page,
     .act = put_smaller,
     .may = {-ENOMEM}},
    {.name = "put.compressing_itself",
     .options = "raw_percent=0",
     .store = STORE,
     .act = put_larger,
     .may = {-ENOMEM}},
    {.name = "put.index_grows",
     .prepare = a_full_segment,
     .act = put_one_beyond_the_segment,
     .after = two_segments_or_not,
     .may = {-ENOMEM}},
    {.name = "put.many",
     .store = STORE,
     .prepare = four_of_many,
     .act = put_many,
     .may = {-ENOMEM}},
    {.name = "put.into_a_full_tenant",
     .limit = 256 * KIB,
     .store = STORE,
     .prepare = a_full_tenant,
     .act = put_into_a_full_tenant,
     .may = {-ENOMEM, -EDQUOT}},
};

int main(int argc, char **argv)
{
    return fault_main(argc, argv, cases, ZC_ARRAY_SIZE(cases));
}
