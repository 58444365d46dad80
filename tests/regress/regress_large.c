/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages that are large beside the cache: what was made for many of them comes to an end with one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "script.h"
#include "support.h"

static struct zcache *cache;
static struct zcache_tenant *root;

/* Text, so that it gets smaller. */
static int put_large(uint64_t page, size_t len)
{
    char *bytes = malloc(len + 32);
    int rc;

    REQUIRE(bytes != NULL);
    for (size_t i = 0; i < len; i += 16) {
        (void)snprintf(bytes + i, 32, "%07u.%07u,", (unsigned)(page * 7919), (unsigned)i);
    }
    rc = zcache_put(root, key_of(1, page), bytes, len, ZCACHE_CLEAN);
    free(bytes);
    return rc;
}

/* Noise, so that it does not. */
static int put_noise(uint64_t page, size_t len)
{
    struct rng rng = {page + 1};
    char *bytes = malloc(len);
    int rc;

    REQUIRE(bytes != NULL);
    for (size_t i = 0; i < len; i += sizeof(uint64_t)) {
        const uint64_t x = rng_next(&rng);

        (void)memcpy(bytes + i, &x, sizeof(x));
    }
    rc = zcache_put(root, key_of(1, page), bytes, len, ZCACHE_CLEAN);
    free(bytes);
    return rc;
}

static void make_smaller(void *arg)
{
    struct zcache_shrink_result result;

    REQUIRE_EQUAL(zcache_shrink(root, *(uint64_t *)arg, 1000, &result), 0);
    REQUIRE(result.demoted_pages > 0);
}

/* Puts @n pages and makes them smaller, so that a sample is taken of them; until it was looked at. */
static void learn_from(uint64_t n, size_t len)
{
    uint64_t bytes = n * len / 2;
    struct script_thread t;

    cache = open_cache(16 * MIB, NULL, "raw_percent=0,fast=none,start_percent=100,page_max=524288");
    root = zcache_root(cache);
    for (uint64_t i = 0; i < n; i++) {
        REQUIRE_EQUAL(put_large(i, len), 0);
    }
    script_start(&t, make_smaller, &bytes);
    script_join(&t);
    WAIT_UNTIL(stats_of(root).count.dict_refused > 0, 10000);
    drop_cache(cache);
}

/* So few pages that none is held out to compare with. */
static void a_few_make_no_dictionary(void **state)
{
    (void)state;
    learn_from(40, 100 * KIB);
}

/* The sample has room for one of these: the next one takes its place. */
static void one_fills_a_sample(void **state)
{
    (void)state;
    learn_from(16, 400 * KIB);
}

/* Between the low mark and the limit there is less room than such a page takes. */
static void one_is_larger_than_what_is_between_the_marks(void **state)
{
    (void)state;
    cache = open_cache(4 * MIB, NULL,
                       "low_percent=97,background_percent=99,page_max=262144,max_stall_ms=3000");
    root = zcache_root(cache);
    for (uint64_t i = 0; i < 2000; i++) {
        REQUIRE_EQUAL(put_page(root, key_of(2, i), 1, FILL_RANDOM, ZCACHE_CLEAN), 0);
        if (i % 100 == 99) {
            REQUIRE_EQUAL(put_noise(i, 200 * KIB), 0);
        }
    }
    drop_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_few_make_no_dictionary),
        cmocka_unit_test(one_fills_a_sample),
        cmocka_unit_test(one_is_larger_than_what_is_between_the_marks),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("large", tests, NULL, NULL);
}
