/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A thread's first call: it registers the thread, which asks for some seventy pieces of memory and may be
 * refused each of them.
 */
#include <errno.h>
#include <string.h>

#include "mathx.h"
#include "scenario.h"

#define STORE MEM_STORE_ALL

static void one_page(struct fault *f)
{
    fault_fill(f, &f->t, 1, PAGE, FILL_TEXT, 0);
}

static void one_stored_page(struct fault *f)
{
    fault_store(f, &f->t, 0, PAGE, FILL_TEXT);
}

static void pages_of_all_forms(struct fault *f)
{
    fault_fill(f, &f->t, 3, PAGE, FILL_TEXT, 0);
    REQUIRE_EQUAL(fault_put(f, &f->t, 3, PAGE, FILL_SAME, 0), 0);
    fault_demote(&f->t, 1, ZCACHE_TIER_FAST);
    fault_demote(&f->t, 2, ZCACHE_TIER_DENSE);
}

static void as_before(struct fault *f, int rc)
{
    (void)f;
    REQUIRE(rc != 0 || stats_of(f->root.t).gauge.pages > 0);
}

/* ---- put --------------------------------------------------------------------------------------- */

static int put(struct fault *f)
{
    return fault_put(f, &f->t, 0, PAGE, FILL_TEXT, 0);
}

static int put_best_effort(struct fault *f)
{
    return fault_put(f, &f->t, 0, PAGE, FILL_TEXT, ZCACHE_BEST_EFFORT);
}

static int put_two(struct fault *f)
{
    static _Thread_local unsigned char bytes[2][PAGE];
    struct fault_page what[2];
    struct zcache_page pages[2];

    for (unsigned i = 0; i < 2; i++) {
        what[i] = (struct fault_page){++f->version, PAGE, FILL_HALF};
        fault_content(bytes[i], i, what[i]);
        pages[i] = (struct zcache_page){
            .key = fault_key(i), .data = bytes[i], .len = PAGE, .status = 12345};
    }
    f->t.puts += 2;
    const int rc = zcache_put_many(f->t.t, pages, 2, 0);
    for (unsigned i = 0; i < 2; i++) {
        REQUIRE(pages[i].status == 0 || (pages[i].status < 0 && rc < 0));
        fault_put_ended(f, &f->t, i, what[i], pages[i].status);
    }
    return rc;
}

/* ---- the rest ------------------------------------------------------------------------------------ */

static int get_all_forms(struct fault *f)
{
    int rc = 0;

    for (unsigned i = 0; i < 4 && rc == 0; i++) {
        rc = fault_get(f, &f->t, i, 0);
    }
    return rc;
}

static int get_one(struct fault *f)
{
    return fault_get(f, &f->t, 0, 0);
}

static int get_two(struct fault *f)
{
    static _Thread_local unsigned char bytes[2][PAGE];
    struct zcache_page pages[2] = {
        {.key = fault_key(0), .buf = bytes[0], .cap = PAGE, .status = 12345},
        {.key = fault_key(1), .buf = bytes[1], .cap = PAGE, .status = 12345},
    };

    f->t.gets += 2;
    const int rc = zcache_get_many(f->t.t, pages, 2, 0);
    for (unsigned i = 0; i < 2; i++) {
        REQUIRE(pages[i].status == 0 || (pages[i].status == -ENOMEM && rc == -ENOMEM));
    }
    return rc;
}

static int take(struct fault *f)
{
    const int rc = fault_get(f, &f->t, 0, ZCACHE_TAKE);

    REQUIRE_EQUAL(fault_cached(&f->t, 0), rc < 0);
    return rc;
}

static int pin(struct fault *f)
{
    const int rc = fault_pin(f, &f->t, 0, 0);

    if (rc == 0) {
        zcache_unpin(&f->pin);
    }
    return rc;
}

static int delete (struct fault *f)
{
    const int rc = fault_delete(f, &f->t, 0, 0);

    REQUIRE_EQUAL(fault_cached(&f->t, 0), rc < 0);
    return rc;
}

static int truncate(struct fault *f)
{
    const int rc = fault_truncate(f, &f->t, 0);

    REQUIRE_EQUAL(fault_cached(&f->t, 0), rc < 0);
    return rc;
}

static int flush(struct fault *f)
{
    return zcache_flush(f->t.t, 0);
}

static int shrink(struct fault *f)
{
    struct zcache_shrink_result result;

    return zcache_shrink(f->t.t, 1, 1000, &result);
}

static int set_limits(struct fault *f)
{
    const int rc = set_limit(f->t.t, MIB, 0);

    REQUIRE_EQUAL(zc_quota_limit(f->t.t->account), rc == 0 ? MIB : ZCACHE_UNLIMITED);
    return rc;
}

static int stats(struct fault *f)
{
    struct zcache_stats s = ZCACHE_STATS_INIT;

    return zcache_stats(f->t.t, &s);
}

static int verify(struct fault *f)
{
    return zcache_verify(f->cache);
}

/* ---- a cache that is full ------------------------------------------------------------------------ */

#define FULL                                                                                       \
    "page_max=16K,full=reject,low_percent=99,background_percent=100" /* the shrinker sleeps all the same */

/* Nothing is prepaid and no put fits: what the thread needs must be in the slack, or be made room for. */
static void a_full_cache(struct fault *f)
{
    struct zcache_stats s;

    pages_of_all_forms(f);
    zc_quota_refund(&f->cache->account, atomic_exchange(&f->cache->prepaid, 0));
    for (unsigned i = 4; i < 80; i++) {
        (void)fault_put(f, &f->t, i, FAULT_LEN, FILL_RANDOM, 0);
    }
    s = stats_of(f->t.t);
    REQUIRE(s.count.put_capacity_rejects > 0);
}

static const struct fault_case cases[] = {
    {.name = "thread.put", .store = STORE, .elsewhere = true, .act = put, .may = {-ENOMEM, -EBUSY}},
    {.name = "thread.replace",
     .store = STORE,
     .elsewhere = true,
     .prepare = one_page,
     .act = put,
     .may = {-ENOMEM, -EBUSY}},
    {.name = "thread.put_best_effort",
     .store = STORE,
     .elsewhere = true,
     .prepare = one_page,
     .act = put_best_effort,
     .may = {-EBUSY}},
    {.name = "thread.put_many",
     .store = STORE,
     .elsewhere = true,
     .prepare = one_page,
     .act = put_two,
     .may = {-ENOMEM, -EBUSY}},
    {.name = "thread.get",
     .store = STORE,
     .elsewhere = true,
     .prepare = pages_of_all_forms,
     .act = get_all_forms,
     .after = as_before,
     .may = {-ENOMEM}},
    {.name = "thread.get_load",
     .store = STORE,
     .elsewhere = true,
     .prepare = one_stored_page,
     .act = get_one,
     .may = {-ENOMEM}},
    {.name = "thread.get_many",
     .store = STORE,
     .elsewhere = true,
     .prepare = pages_of_all_forms,
     .act = get_two,
     .may = {-ENOMEM}},
    {.name = "thread.take",
     .store = STORE,
     .elsewhere = true,
     .prepare = one_page,
     .act = take,
     .may = {-ENOMEM}},
    {.name = "thread.pin",
     .store = STORE,
     .elsewhere = true,
     .prepare = one_page,
     .act = pin,
     .may = {-ENOMEM}},
    {.name = "thread.delete",
     .store = STORE,
     .elsewhere = true,
     .prepare = one_page,
     .act = delete,
     .may = {-ENOMEM}},
    {.name = "thread.truncate",
     .store = STORE,
     .elsewhere = true,
     .prepare = one_page,
     .act = truncate,
     .may = {-ENOMEM}},
    {.name = "thread.flush",
     .store = STORE,
     .elsewhere = true,
     .prepare = one_page,
     .act = flush,
     .may = {-ENOMEM, -ETIMEDOUT}},
    {.name = "thread.shrink",
     .store = STORE,
     .elsewhere = true,
     .prepare = one_page,
     .act = shrink,
     .may = {-ENOMEM, -EAGAIN}},
    {.name = "thread.set_limits",
     .store = STORE,
     .elsewhere = true,
     .act = set_limits,
     .may = {-ENOMEM}},
    {.name = "thread.stats", .store = STORE, .elsewhere = true, .act = stats, .may = {-ENOMEM}},
    {.name = "thread.verify",
     .store = STORE,
     .elsewhere = true,
     .prepare = one_page,
     .act = verify,
     .may = {-ENOMEM}},
    {.name = "thread.get_from_a_full_cache",
     .capacity = MIB,
     .options = FULL,
     .store = STORE,
     .elsewhere = true,
     .prepare = a_full_cache,
     .act = get_all_forms,
     .may = {-ENOMEM}},
    {.name = "thread.flush_of_a_full_cache",
     .capacity = MIB,
     .options = FULL,
     .store = STORE,
     .elsewhere = true,
     .prepare = a_full_cache,
     .act = flush,
     .may = {-ENOMEM, -ETIMEDOUT}},
};

int main(int argc, char **argv)
{
    return fault_main(argc, argv, cases, ZC_ARRAY_SIZE(cases));
}
