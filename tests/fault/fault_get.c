/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Gets, takes and pins without memory: the right bytes, or an error and everything as it was.
 */
#include <errno.h>
#include <string.h>

#include "mathx.h"
#include "scenario.h"

#define STORE MEM_STORE_ALL

/* ---- hits -------------------------------------------------------------------------------------- */

static void raw_pages(struct fault *f)
{
    fault_fill(f, &f->t, 4, PAGE, FILL_TEXT, 0);
}

static void same_pages(struct fault *f)
{
    fault_fill(f, &f->t, 4, PAGE, FILL_SAME, 0);
}

static void demoted_pages(struct fault *f, enum zcache_tier tier)
{
    raw_pages(f);
    for (unsigned i = 0; i < 4; i++) {
        fault_demote(&f->t, i, tier);
    }
}

static void fast_pages(struct fault *f)
{
    demoted_pages(f, ZCACHE_TIER_FAST);
}

static void dense_pages(struct fault *f)
{
    demoted_pages(f, ZCACHE_TIER_DENSE);
}

static int get(struct fault *f)
{
    return fault_get(f, &f->t, 0, 0);
}

/* The second hit in a row promotes. */
static int get_twice(struct fault *f)
{
    const int rc = fault_get(f, &f->t, 0, 0);

    return rc != 0 ? rc : fault_get(f, &f->t, 0, 0);
}

/* ---- misses ------------------------------------------------------------------------------------ */

static void stored_pages(struct fault *f)
{
    for (unsigned i = 0; i < 8; i++) {
        fault_store(f, &f->t, i, i % 4 == 3 ? 4 * PAGE : PAGE, i % 4 == 2 ? FILL_SAME : FILL_HALF);
    }
}

static void a_full_tenant_and_stored_pages(struct fault *f)
{
    stored_pages(f);
    for (unsigned i = 10; i < 100; i++) {
        REQUIRE_EQUAL(fault_put(f, &f->t, i, PAGE, FILL_HALF, 0), 0);
    }
}

static int get_two(struct fault *f)
{
    const int rc = fault_get(f, &f->t, 0, 0);

    return rc != 0 ? rc : fault_get(f, &f->t, 2, 0);
}

static int get_many(struct fault *f)
{
    static _Thread_local unsigned char bytes[9][4 * PAGE];
    unsigned char expected[4 * PAGE];
    struct zcache_page pages[9];
    int first = 0;

    for (unsigned i = 0; i < 9; i++) { /* the last is nowhere */
        pages[i] = (struct zcache_page){
            .key = fault_key(i), .buf = bytes[i], .cap = sizeof(bytes[i]), .status = 12345};
    }
    f->t.gets += 9;
    const int rc = zcache_get_many(f->t.t, pages, 9, 0);
    for (unsigned i = 0; i < 9; i++) {
        REQUIRE(pages[i].status == 0 || pages[i].status == -ENOMEM ||
                (i == 8 && pages[i].status == ZCACHE_MISS));
        first = first == 0 && pages[i].status < 0 ? pages[i].status : first;
        if (pages[i].status == 0) {
            REQUIRE_EQUAL(pages[i].len, f->t.page[i].len);
            fault_content(expected, i, f->t.page[i]);
            REQUIRE(memcmp(bytes[i], expected, pages[i].len) == 0);
        }
    }
    REQUIRE_EQUAL(rc, first);
    return rc;
}

static void some_cached_and_stored_pages(struct fault *f)
{
    stored_pages(f);
    REQUIRE_EQUAL(fault_get(f, &f->t, 1, 0), 0);
    fault_demote(&f->t, 1, ZCACHE_TIER_DENSE);
    REQUIRE_EQUAL(fault_get(f, &f->t, 5, 0), 0);
}

/* ---- takes ------------------------------------------------------------------------------------- */

static int take(struct fault *f)
{
    return fault_get(f, &f->t, 0, ZCACHE_TAKE);
}

/* Whoever takes a page has it, and the cache has not; until then it is the other way round. */
static void taken_or_not(struct fault *f, int rc)
{
    REQUIRE(rc < 0 || !fault_cached(&f->t, 0));
}

static void taken_or_as_before(struct fault *f, int rc)
{
    REQUIRE_EQUAL(fault_cached(&f->t, 0), rc < 0);
}

/* ---- pins -------------------------------------------------------------------------------------- */

static int pin(struct fault *f)
{
    return fault_pin(f, &f->t, 0, 0);
}

static void unpin(struct fault *f, int rc)
{
    REQUIRE_EQUAL(stats_of(f->root.t).cache.pins, rc == 0 ? 1 : 0);
    if (rc == 0) {
        zcache_unpin(&f->pin);
    }
}

/* The frame outlives its page, and is freed by the unpin. */
static int replace_a_pinned_page(struct fault *f)
{
    if (f->pin.frame == NULL) {
        REQUIRE_EQUAL(fault_pin(f, &f->t, 0, 0), 0);
    }
    return fault_put(f, &f->t, 0, 4 * PAGE, FILL_TEXT, 0);
}

static void unpin_always(struct fault *f, int rc)
{
    (void)rc;
    zcache_unpin(&f->pin);
}

static void a_pinned_page(struct fault *f)
{
    raw_pages(f);
    REQUIRE_EQUAL(fault_pin(f, &f->t, 0, 0), 0);
}

static const struct fault_case cases[] = {
    {.name = "get.dense", .store = STORE, .prepare = dense_pages, .act = get, .may = {-ENOMEM}},
    {.name = "get.promotes",
     .store = STORE,
     .prepare = dense_pages,
     .act = get_twice,
     .may = {-ENOMEM}},
    {.name = "get.load", .store = STORE, .prepare = stored_pages, .act = get_two, .may = {-ENOMEM}},
    {.name = "get.load_into_a_full_tenant",
     .limit = 256 * KIB,
     .store = STORE,
     .prepare = a_full_tenant_and_stored_pages,
     .act = get_two,
     .may = {-ENOMEM}},
    {.name = "get.load_where_nothing_fits",
     .limit = 4096,
     .store = STORE,
     .prepare = stored_pages,
     .act = get_two,
     .may = {-ENOMEM}},
    {.name = "get.many",
     .store = STORE,
     .prepare = some_cached_and_stored_pages,
     .act = get_many,
     .may = {-ENOMEM}},
    {.name = "get.take_dense",
     .store = STORE,
     .prepare = dense_pages,
     .act = take,
     .after = taken_or_as_before,
     .may = {-ENOMEM}},
    {.name = "get.take_load",
     .store = STORE,
     .prepare = stored_pages,
     .act = take,
     .after = taken_or_not,
     .may = {-ENOMEM}},
    {.name = "pin.fast",
     .store = STORE,
     .prepare = fast_pages,
     .act = pin,
     .after = unpin,
     .may = {-ENOMEM}},
    {.name = "pin.dense",
     .store = STORE,
     .prepare = dense_pages,
     .act = pin,
     .after = unpin,
     .may = {-ENOMEM}},
    {.name = "pin.same_filled",
     .store = STORE,
     .prepare = same_pages,
     .act = pin,
     .after = unpin,
     .may = {-ENOMEM}},
    {.name = "pin.load",
     .store = STORE,
     .prepare = stored_pages,
     .act = pin,
     .after = unpin,
     .may = {-ENOMEM}},
    {.name = "pin.and_replace",
     .store = STORE,
     .prepare = a_pinned_page,
     .act = replace_a_pinned_page,
     .after = unpin_always,
     .may = {-ENOMEM}},
};

int main(int argc, char **argv)
{
    return fault_main(argc, argv, cases, ZC_ARRAY_SIZE(cases));
}
