/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The background thread without memory: it does what it can, and tries again.
 */
#include <errno.h>

#include "mathx.h"
#include "scenario.h"

#define STORE MEM_STORE_ALL
#define SMALL "page_max=16K,max_stall_ms=10000"

static int put_some(struct fault *f, unsigned first, unsigned last)
{
    int rc = 0;

    for (unsigned i = first; i < last && rc == 0; i++) {
        rc = fault_put(f, &f->t, i, PAGE, i % 3 == 0 ? FILL_HALF : FILL_RANDOM, 0);
    }
    return rc;
}

static void nearly_full(struct fault *f)
{
    REQUIRE_EQUAL(put_some(f, 0, 160), 0);
}

/* Through the background mark: the shrinker demotes, writes and evicts, while any thread may be refused. */
static int put_more(struct fault *f)
{
    return put_some(f, 160, 190);
}

static void the_shrinker_worked(struct fault *f, int rc)
{
    if (rc == 0 && !f->refused) {
        WAIT_UNTIL(atomic_load(&f->cache->bell.wakes) > 0, 10000);
    }
}

/* ---- a waiting put ----------------------------------------------------------------------------- */

static void *give_memory_again(void *arg)
{
    struct zcache *cache = arg;

    WAIT_UNTIL(atomic_load(&cache->bell.urgent) > 0, 10000);
    const uint64_t refused = zc_fault_refused(ZC_FAULT_room);
    WAIT_UNTIL(zc_fault_refused(ZC_FAULT_room) > refused, 10000);
    (void)zc_fault_disarm();
    return NULL;
}

/* Who waits for the shrinker has rung already: it must come back by itself once there is memory. */
static void it_comes_back_for_those_who_wait(void)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    const uint64_t refused = zc_fault_refused(ZC_FAULT_room);
    struct zcache *cache;
    pthread_t thread;

    /* The shrinker cannot register, then or later.  What pages need is not metadata. */
    zc_fault_arm(&(struct zc_fault_plan){
        .nth = 1, .lasting = true, .whose = ZC_FAULT_OTHERS, .sites = 1u << ZC_FAULT_room});
    cache = open_stored(MIB, store, SMALL);
    REQUIRE_EQUAL(zc_fault_refused(ZC_FAULT_room), refused + 1);
    REQUIRE_EQUAL(put_page(zcache_root(cache), key_of(1, 0), 1, FILL_TEXT, 0), 0);
    start(&thread, give_memory_again, cache);
    for (unsigned i = 0; i < 300; i++) {
        REQUIRE_EQUAL(put_page(zcache_root(cache), key_of(2, i), 1, FILL_RANDOM, 0), 0);
    }
    join(thread);
    REQUIRE(zc_fault_disarm() > 0);
    for (unsigned i = 0; i < 300; i++) {
        REQUIRE_EQUAL(get_page(zcache_root(cache), key_of(2, i), 0), 1);
    }
    close_cache(cache);
    mem_store_free(store);
}

static const struct fault_case cases[] = {
    {.name = "shrinker.and_puts_that_wait",
     .options = SMALL,
     .capacity = MIB,
     .store = STORE,
     .restless = true,
     .alone = true,
     .prepare = nearly_full,
     .act = put_more,
     .after = the_shrinker_worked,
     .may = {-ENOMEM, -ENOSPC, -EDQUOT, -EBUSY}},
    {.name = "shrinker.and_puts_that_help",
     .options = SMALL ",full=help",
     .capacity = MIB,
     .store = STORE,
     .restless = true,
     .prepare = nearly_full,
     .act = put_more,
     .after = the_shrinker_worked,
     .may = {-ENOMEM, -ENOSPC, -EDQUOT, -EBUSY}},
    {.name = "shrinker.comes_back", .test = it_comes_back_for_those_who_wait},
};

int main(int argc, char **argv)
{
    return fault_main(argc, argv, cases, ZC_ARRAY_SIZE(cases));
}
