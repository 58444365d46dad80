/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A put at its tenant's limit whose shrink met a store that had failed just before: the pages it passed by
 * for that reason can be written again by the time it decides whether anything is left to free.
 */
#include <string.h>

#include "mem_store.h"
#include "sync_point.h"
#include "tenant.h"

#define PAGES 28u /* that fit */

static void the_back_off_ends(void *ctx, const char *point, struct zcache_key key)
{
    struct zcache_tenant *t = ctx;

    (void)key;
    if (strcmp(point, "reclaim.shrunk") == 0) {
        atomic_store(&t->retry_ns, 0);
    }
}

static void a_back_off_that_has_just_ended_is_no_refusal(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, "fast=none,dense=none,start_percent=100");
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", 128 * KIB);

    (void)state;
    for (unsigned i = 0; i < PAGES; i++) {
        assert_int_equal(put_page(t, key_of(1, i), 1, FILL_RANDOM, 0), 0);
    }
    assert_int_equal(stats_of(t).count.quota_hits, 0);
    zc_sync_point_listen(the_back_off_ends, t);
    for (unsigned i = PAGES; i < 2 * PAGES; i++) {
        atomic_store(&store->fail_batches[ZCACHE_IO_WRITE], 1);
        assert_int_equal(put_page(t, key_of(1, i), 1, FILL_RANDOM, 0), 0);
        atomic_store(&store->fail_batches[ZCACHE_IO_WRITE], 0);
    }
    zc_sync_point_listen(NULL, NULL);
    assert_true(stats_of(t).count.write_errors > 0);
    for (unsigned i = 0; i < 2 * PAGES; i++) {
        assert_int_equal(get_page(t, key_of(1, i), 0), 1);
    }
    close_cache(cache);
    mem_store_free(store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_back_off_that_has_just_ended_is_no_refusal),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
