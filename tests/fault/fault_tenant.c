/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tenants without memory: opened or not, closed or open as before, and every page in one place.
 */
#include <errno.h>
#include <string.h>

#include "mathx.h"
#include "scenario.h"

#define STORE MEM_STORE_ALL

/* ---- open -------------------------------------------------------------------------------------- */

static atomic_uint detached;

static void detach(void *ctx)
{
    REQUIRE(ctx == &detached);
    atomic_fetch_add(&detached, 1);
}

static void fresh(struct fault *f)
{
    (void)f;
    atomic_store(&detached, 0);
}

static int open_child(struct fault *f,
                      struct zcache_tenant *parent,
                      const struct zcache_store *store)
{
    struct zcache_tenant *const untouched = (struct zcache_tenant *)(uintptr_t)64;
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_tenant *child = untouched;

    opts.name = "child";
    opts.store = store;
    const int rc = zcache_tenant_open(parent, &opts, &child);
    REQUIRE_EQUAL(child == untouched, rc != 0);
    REQUIRE_EQUAL(zc_list_empty(&parent->children), rc != 0);
    (void)f;
    return rc;
}

static int open_plain(struct fault *f)
{
    return open_child(f, f->t.t, NULL);
}

static int open_with_a_store(struct fault *f)
{
    struct zcache_store store = ZCACHE_STORE_INIT;

    store.ctx = &detached;
    store.detach = detach;
    return open_child(f, f->t.t, &store);
}

static struct zcache_tenant *child_of(struct fault *f)
{
    return ZC_CONTAINER_OF(zc_list_next(&f->t.t->children), struct zcache_tenant, sibling);
}

/* What was opened is used and closed; its record is kept and used again. */
static void use_and_close_it(struct fault *f, int rc)
{
    REQUIRE_EQUAL(stats_of(f->root.t).gauge.tenants, rc == 0 ? 3 : 2);
    REQUIRE_EQUAL(atomic_load(&detached), 0);
    if (rc == 0) {
        const bool owns = child_of(f)->owns_store;

        f->t.puts++;
        REQUIRE_EQUAL(put_page(child_of(f), key_of(2, 0), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
        REQUIRE_EQUAL(zcache_tenant_close(child_of(f), ZCACHE_CLOSE_DISCARD), 0);
        REQUIRE_EQUAL(atomic_load(&detached), owns ? 1 : 0);
    }
}

/* So many closed ones that the next one to open gets a record that was used before. */
static void many_closed(struct fault *f)
{
    fresh(f);
    for (unsigned i = 0; i < 260; i++) {
        REQUIRE_EQUAL(zcache_tenant_close(open_tenant(f->t.t, "child", MIB), ZCACHE_CLOSE_DISCARD),
                      0);
    }
}

/* ---- close ------------------------------------------------------------------------------------- */

#define OWN     12u /* pages of t */
#define COMMON  4u  /* of them, the first so many are cached by the root as well */
#define WRITTEN 2u  /* of these, so many are clean */

static void pages_of_all_forms(struct fault *f)
{
    for (unsigned i = 0; i < OWN; i++) {
        const int fill = i % 4 == 3 ? FILL_SAME : FILL_TEXT;

        REQUIRE_EQUAL(fault_put(f, &f->t, i, i % 4 == 2 ? 4 * PAGE : PAGE, fill, 0), 0);
        if (i + 1 == WRITTEN) {
            REQUIRE_EQUAL(zcache_flush(f->t.t, 0), 0);
        }
    }
    for (unsigned i = 4; i < OWN; i += 4) {
        fault_demote(&f->t, i, ZCACHE_TIER_FAST);
        fault_demote(&f->t, i + 1, ZCACHE_TIER_DENSE);
    }
}

static void pages_that_the_parent_has_too(struct fault *f)
{
    pages_of_all_forms(f);
    fault_fill(f, &f->root, COMMON, PAGE, FILL_HALF, 0);
}

static int close_flush(struct fault *f)
{
    return zcache_tenant_close(f->t.t, ZCACHE_CLOSE_FLUSH);
}

static int close_reparent(struct fault *f)
{
    return zcache_tenant_close(f->t.t, ZCACHE_CLOSE_REPARENT);
}

static int close_discard(struct fault *f)
{
    return zcache_tenant_close(f->t.t, ZCACHE_CLOSE_DISCARD);
}

/* What was timed is the parent's now, although it may have had no memory for histograms. */
static void expect_times(struct fault *f)
{
    REQUIRE_EQUAL(stats_of(f->root.t).latency[ZCACHE_LATENCY_PUT].count, f->root.puts + f->t.puts);
}

static void flushed(struct fault *f, int rc)
{
    expect_times(f);
    if (rc == 0) {
        fault_closed(f);
        fault_check_stored(f, &f->t);
    }
}

static void discarded(struct fault *f, int rc)
{
    expect_times(f);
    if (rc == 0) {
        fault_closed(f);
        memset(f->t.page, 0, sizeof(f->t.page));
    }
}

/* Each page is the parent's or still the child's; where the parent had its own, that one stays. */
static void moved(struct fault *f, int rc)
{
    for (unsigned i = 0; i < OWN; i++) {
        const bool own = f->t.page[i].version != 0;
        const bool common = f->root.page[i].version != 0 && own;

        if (own && !common && !fault_cached(&f->t, i)) {
            REQUIRE(fault_cached(&f->root, i));
            f->root.page[i] = f->t.page[i];
            f->t.page[i].version = 0;
            f->t.page[i].len =
                0; /* its copy in the store under the child's id is no page of anybody */
        }
        REQUIRE(rc != 0 || !own || common || f->t.page[i].version == 0);
    }
    if (rc == 0) {
        fault_closed(f);
        fault_check_stored(f, &f->t); /* those that the parent had too */
    }
}

/* ---- limits ------------------------------------------------------------------------------------ */

static void many_pages(struct fault *f)
{
    fault_fill(f, &f->t, 100, PAGE, FILL_HALF, 0);
}

static int lower_the_limit(struct fault *f)
{
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;
    struct zcache_shrink_result result;

    limits.limit_bytes = 128 * KIB;
    const int rc = zcache_tenant_set_limits(f->t.t, &limits, 1000, &result);
    REQUIRE_EQUAL(rc, 0);
    REQUIRE(f->refused || result.remaining_bytes == 0);
    drain(f->cache);
    REQUIRE_EQUAL(zc_sub_sat(zc_quota_used(f->t.t->account), 128 * KIB), result.remaining_bytes);
    return rc;
}

static const struct fault_case cases[] = {
    {.name = "tenant.open",
     .store = STORE,
     .prepare = fresh,
     .act = open_plain,
     .after = use_and_close_it,
     .may = {-ENOMEM, -ENOSPC}},
    {.name = "tenant.open_with_a_store",
     .store = STORE,
     .prepare = fresh,
     .act = open_with_a_store,
     .after = use_and_close_it,
     .may = {-ENOMEM, -ENOSPC}},
    {.name = "tenant.open_in_a_used_record",
     .store = STORE,
     .prepare = many_closed,
     .act = open_with_a_store,
     .after = use_and_close_it,
     .may = {-ENOMEM, -ENOSPC}},
    {.name = "tenant.close_flush",
     .store = STORE,
     .prepare = pages_of_all_forms,
     .act = close_flush,
     .after = flushed,
     .may = {-ENOMEM}},
    {.name = "tenant.close_reparent",
     .store = STORE,
     .prepare = pages_of_all_forms,
     .act = close_reparent,
     .after = moved,
     .may = {-ENOMEM}},
    {.name = "tenant.close_reparent_with_collisions",
     .store = STORE,
     .prepare = pages_that_the_parent_has_too,
     .act = close_reparent,
     .after = moved,
     .may = {-ENOMEM}},
    {.name = "tenant.close_flush_by_a_new_thread",
     .store = STORE,
     .elsewhere = true,
     .prepare = pages_of_all_forms,
     .act = close_flush,
     .after = flushed,
     .may = {-ENOMEM}},
    {.name = "tenant.close_reparent_by_a_new_thread",
     .store = STORE,
     .elsewhere = true,
     .prepare = pages_that_the_parent_has_too,
     .act = close_reparent,
     .after = moved,
     .may = {-ENOMEM}},
    {.name = "tenant.close_discard_by_a_new_thread",
     .store = STORE,
     .elsewhere = true,
     .prepare = pages_of_all_forms,
     .act = close_discard,
     .after = discarded,
     .may = {-ENOMEM}},
    {.name = "tenant.lower_the_limit",
     .store = STORE,
     .prepare = many_pages,
     .act = lower_the_limit,
     .may = {-ENOMEM}},
};

int main(int argc, char **argv)
{
    return fault_main(argc, argv, cases, ZC_ARRAY_SIZE(cases));
}
