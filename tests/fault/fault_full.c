/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A cache in which no byte is left, not even of what is prepaid for metadata: what a call needs besides
 * pages, it makes room for.  And requests are refused while it does.
 */
#include <errno.h>

#include "mathx.h"
#include "scenario.h"

#define STORE MEM_STORE_ALL
#define FULL                                                                                       \
    "page_max=16K,full=reject,low_percent=99,background_percent=100" /* the shrinker sleeps */

static uint64_t taken;

static void no_byte_left(struct fault *f)
{
    fault_fill(f, &f->t, 20, FAULT_LEN, FILL_RANDOM, 0);
    zc_quota_refund(&f->cache->account, atomic_exchange(&f->cache->prepaid, 0));
    taken = use_up(&f->cache->account);
}

static void release(struct fault *f, int rc)
{
    (void)rc;
    give_back(&f->cache->account, taken);
    taken = 0;
}

/* This thread has no context to decode it. */
static void a_dense_page(struct fault *f)
{
    REQUIRE_EQUAL(fault_put(f, &f->t, 100, PAGE, FILL_TEXT, 0), 0);
    fault_demote(&f->t, 100, ZCACHE_TIER_DENSE);
    no_byte_left(f);
}

static void a_stored_page(struct fault *f)
{
    fault_store(f, &f->t, 100, PAGE, FILL_TEXT);
    no_byte_left(f);
}

static int get(struct fault *f)
{
    return fault_get(f, &f->t, 100, 0);
}

static int delete_it(struct fault *f)
{
    const int rc = fault_delete(f, &f->t, 0, 0);

    REQUIRE(rc < 0 || !fault_cached(&f->t, 0));
    return rc;
}

static int truncate(struct fault *f)
{
    return fault_truncate(f, &f->t, 15);
}

static int flush(struct fault *f)
{
    const int rc = zcache_flush(f->t.t, 5000);

    REQUIRE(rc != 0 || stats_of(f->t.t).gauge.dirty_pages == 0);
    return rc;
}

static int open_tenant_below(struct fault *f)
{
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_tenant *child = NULL;

    opts.name = "child";
    const int rc = zcache_tenant_open(f->t.t, &opts, &child);
    REQUIRE_EQUAL(stats_of(f->root.t).gauge.tenants, rc == 0 ? 3 : 2);
    return rc;
}

static const struct fault_case cases[] = {
    {.name = "full.get_dense",
     .capacity = MIB,
     .options = FULL,
     .store = STORE,
     .prepare = a_dense_page,
     .act = get,
     .after = release,
     .may = {-ENOMEM}},
    {.name = "full.get_load",
     .capacity = MIB,
     .options = FULL,
     .store = STORE,
     .prepare = a_stored_page,
     .act = get,
     .after = release,
     .may = {-ENOMEM}},
    {.name = "full.delete",
     .capacity = MIB,
     .options = FULL,
     .store = STORE,
     .prepare = no_byte_left,
     .act = delete_it,
     .after = release,
     .may = {-ENOMEM}},
    {.name = "full.truncate",
     .capacity = MIB,
     .options = FULL,
     .store = STORE,
     .prepare = no_byte_left,
     .act = truncate,
     .after = release,
     .may = {-ENOMEM}},
    {.name = "full.flush",
     .capacity = MIB,
     .options = FULL,
     .store = STORE,
     .prepare = a_dense_page,
     .act = flush,
     .after = release,
     .may = {-ENOMEM}},
    {.name = "full.open_tenant",
     .capacity = MIB,
     .options = FULL,
     .store = STORE,
     .prepare = no_byte_left,
     .act = open_tenant_below,
     .after = release,
     .may = {-ENOMEM, -ENOSPC}},
};

int main(int argc, char **argv)
{
    return fault_main(argc, argv, cases, ZC_ARRAY_SIZE(cases));
}
