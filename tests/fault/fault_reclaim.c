/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reclaim, write-back, delete and truncate without memory: less is freed, nothing is lost.
 */
#include <errno.h>

#include "mathx.h"
#include "scenario.h"

#define STORE MEM_STORE_ALL

static void dirty_pages(struct fault *f)
{
    fault_fill(f, &f->t, 40, PAGE, FILL_TEXT, 0);
}

static void dirty_pages_without_a_store(struct fault *f)
{
    fault_fill(f, &f->t, 40, PAGE, FILL_TEXT, ZCACHE_DIRTY);
}

static void clean_pages(struct fault *f)
{
    dirty_pages(f);
    REQUIRE_EQUAL(zcache_flush(f->t.t, 0), 0);
}

static void incompressible_pages(struct fault *f)
{
    fault_fill(f, &f->t, 40, PAGE, FILL_RANDOM, 0);
}

static void pages_of_all_forms(struct fault *f)
{
    fault_fill(f, &f->t, 40, PAGE, FILL_TEXT, 0);
    for (unsigned i = 0; i < 40; i += 4) {
        fault_demote(&f->t, i, ZCACHE_TIER_FAST);
        fault_demote(&f->t, i + 1, ZCACHE_TIER_DENSE);
        REQUIRE_EQUAL(fault_put(f, &f->t, i + 2, PAGE, FILL_SAME, 0), 0);
    }
}

/* ---- shrink ------------------------------------------------------------------------------------ */

/* Down to what @percent of the charge is; with a refusal perhaps less, but then nothing is left half done. */
static int shrink(struct fault *f, unsigned percent)
{
    const uint64_t before = settled_charge(f->t.t);
    const uint64_t want = before - before * percent / 100;
    struct zcache_shrink_result result;

    const int rc = zcache_shrink(f->t.t, want, 1000, &result);
    REQUIRE(rc == 0 || rc == -EAGAIN || rc == -ENOMEM);
    if (rc != -ENOMEM) {
        drain(f->cache);
        REQUIRE_EQUAL(zc_quota_used(f->t.t->account), before - result.freed_bytes);
        REQUIRE_EQUAL(rc == 0, result.freed_bytes >= want);
        REQUIRE_EQUAL(result.remaining_bytes, zc_sub_sat(want, result.freed_bytes));
    }
    return rc;
}

static int shrink_a_bit(struct fault *f)
{
    return shrink(f, 90);
}

static int shrink_to_half(struct fault *f)
{
    return shrink(f, 50);
}

static int shrink_to_nothing(struct fault *f)
{
    const int rc = shrink(f, 0);

    REQUIRE(rc != 0 || stats_of(f->t.t).gauge.pages == 0);
    return rc;
}

/* ---- flush ------------------------------------------------------------------------------------- */

static int flush(struct fault *f)
{
    const int rc = zcache_flush(f->t.t, 5000);

    if (rc == 0) {
        REQUIRE_EQUAL(stats_of(f->t.t).gauge.dirty_pages, 0);
        fault_check_stored(f, &f->t);
    }
    return rc;
}

static int flush_all(struct fault *f)
{
    const int rc = zcache_flush(f->root.t, 5000);

    if (rc == 0) {
        REQUIRE_EQUAL(stats_of(f->root.t).gauge.dirty_pages, 0);
    }
    return rc;
}

static void pages_of_two_tenants(struct fault *f)
{
    pages_of_all_forms(f);
    fault_fill(f, &f->root, 20, PAGE, FILL_TEXT, 0);
}

/* ---- delete ------------------------------------------------------------------------------------ */

static int delete_it(struct fault *f)
{
    return fault_delete(f, &f->t, 0, 0);
}

static int delete_what_is_not_cached(struct fault *f)
{
    return fault_delete(f, &f->t, 50, 0);
}

static void one_stored_page(struct fault *f)
{
    fault_store(f, &f->t, 50, PAGE, FILL_TEXT);
}

static int truncate(struct fault *f)
{
    return fault_truncate(f, &f->t, 10);
}

static const struct fault_case cases[] = {
    {.name = "shrink.a_bit",
     .store = STORE,
     .prepare = dirty_pages,
     .act = shrink_a_bit,
     .may = {-EAGAIN}},
    {.name = "shrink.to_half",
     .store = STORE,
     .prepare = dirty_pages,
     .act = shrink_to_half,
     .may = {-EAGAIN}},
    {.name = "shrink.to_nothing",
     .store = STORE,
     .prepare = pages_of_all_forms,
     .act = shrink_to_nothing,
     .may = {-EAGAIN}},
    {.name = "shrink.clean_pages",
     .store = STORE,
     .prepare = clean_pages,
     .act = shrink_to_half,
     .may = {-EAGAIN}},
    {.name = "shrink.incompressible_pages",
     .store = STORE,
     .prepare = incompressible_pages,
     .act = shrink_to_half,
     .may = {-EAGAIN}},
    {.name = "shrink.of_what_must_stay",
     .prepare = dirty_pages_without_a_store,
     .act = shrink_a_bit,
     .may = {-EAGAIN}},
    {.name = "flush.raw", .store = STORE, .prepare = dirty_pages, .act = flush, .may = {-ENOMEM}},
    {.name = "flush.all_forms",
     .store = STORE,
     .prepare = pages_of_all_forms,
     .act = flush,
     .may = {-ENOMEM}},
    {.name = "flush.by_a_new_thread",
     .store = STORE,
     .elsewhere = true,
     .prepare = pages_of_all_forms,
     .act = flush,
     .may = {-ENOMEM}},
    {.name = "flush.of_a_subtree",
     .store = STORE,
     .prepare = pages_of_two_tenants,
     .act = flush_all,
     .may = {-ENOMEM}},
    {.name = "delete.cached",
     .store = STORE,
     .prepare = dirty_pages,
     .act = delete_it,
     .may = {-ENOMEM}},
    {.name = "delete.stored",
     .store = STORE,
     .prepare = one_stored_page,
     .act = delete_what_is_not_cached,
     .may = {-ENOMEM}},
    {.name = "truncate", .store = STORE, .prepare = dirty_pages, .act = truncate, .may = {-ENOMEM}},
};

int main(int argc, char **argv)
{
    return fault_main(argc, argv, cases, ZC_ARRAY_SIZE(cases));
}
