/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The example's store over io_uring, below a cache and without one: what was written is read back,
 * also by the next process's store, in both ways of writing; misses, holes and errors are what its
 * header says.
 */
#define _GNU_SOURCE 1 /* NOLINT(bugprone-reserved-identifier) */
#include "support.h"

#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "uring_store.h"

#define PLAIN "fast=none,dense=none"

static char dir[64];
static unsigned mode; /* of the store: uring_store_flags */

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static int make_dir(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "/tmp/zcache-uring-XXXXXX"); /* a template */
    return mkdtemp(dir) == NULL;
}

static int remove_dir(void **state)
{
    (void)state;
    return nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS); /* NOLINT(concurrency-mt-unsafe) */
}

struct world {
    struct uring_store *files;
    struct zcache *cache;
    struct zcache_tenant *root;
};

static struct world open_world(uint64_t capacity)
{
    struct world w;

    REQUIRE_EQUAL(uring_store_open(dir, PAGE, mode, &w.files), 0);
    w.cache = open_cache(capacity, uring_store_callbacks(w.files), PLAIN);
    uring_store_attach(w.files, w.cache);
    w.root = zcache_root(w.cache);
    return w;
}

static void close_world(struct world *w)
{
    close_cache(w->cache);
    REQUIRE_EQUAL(uring_store_close(w->files), 0);
}

/* Puts pages 0, @step, 2 * @step, ... of @object. */
static void put_pages(struct zcache_tenant *t,
                      uint64_t object,
                      uint64_t n,
                      uint64_t step,
                      uint64_t version)
{
    for (uint64_t i = 0; i < n; i++) {
        REQUIRE_EQUAL(put_page(t, key_of(object, i * step), version, FILL_RANDOM, 0), 0);
    }
}

static void check_pages(struct zcache_tenant *t,
                        uint64_t object,
                        uint64_t n,
                        uint64_t step,
                        uint64_t version)
{
    for (uint64_t i = 0; i < n; i++) {
        REQUIRE_EQUAL(get_page(t, key_of(object, i * step), 0), version);
    }
}

/* ---- with a cache ------------------------------------------------------------------------------- */

static void what_was_written_is_read_by_the_next(void **state)
{
    struct world w = open_world(64 * MIB);
    struct zcache_tenant *t = open_tenant(w.root, "orders", 32 * MIB);

    (void)state;
    put_pages(w.root, 1, 600, 1, 7);
    put_pages(t, 1, 300, 1, 8); /* the same keys of another tenant */
    put_pages(w.root, 2, 400, 3, 9);
    REQUIRE_EQUAL(zcache_flush(w.root, 60000), 0);
    put_pages(w.root, 1, 100, 1, 10);
    close_world(&w);

    w = open_world(64 * MIB);
    t = open_tenant(w.root, "orders", 32 * MIB);
    check_pages(w.root, 1, 100, 1, 10);
    for (uint64_t i = 100; i < 600; i++) {
        REQUIRE_EQUAL(get_page(w.root, key_of(1, i), 0), 7);
    }
    check_pages(t, 1, 300, 1, 8);
    check_pages(w.root, 2, 400, 3, 9);
    REQUIRE_EQUAL(get_page(w.root, key_of(1, 600), 0), 0);
    REQUIRE_EQUAL(get_page(w.root, key_of(3, 0), 0), 0);
    close_world(&w);
}

/* More single pages than the ring takes at one time, in a cache that is too small for them. */
static void a_cache_that_is_too_small_loses_nothing(void **state)
{
    struct world w = open_world(4 * MIB);
    const uint64_t n = 1200;

    (void)state;
    put_pages(w.root, 1, n, 33, 1);
    put_pages(w.root, 1, n, 33, 2);
    REQUIRE(stats_of(w.root).count.written_pages > 512);
    check_pages(w.root, 1, n, 33, 2);
    close_world(&w);
}

static void what_was_deleted_is_gone(void **state)
{
    struct world w = open_world(64 * MIB);
    unsigned char page[PAGE];
    size_t len;

    (void)state;
    put_pages(w.root, 1, 64, 1, 1);
    REQUIRE_EQUAL(zcache_flush(w.root, 60000), 0);
    REQUIRE_EQUAL(zcache_delete(w.root, key_of(1, 10), 0), 0);
    REQUIRE_EQUAL(zcache_truncate(w.root, 1, 40), 0);
    close_world(&w);

    w = open_world(64 * MIB);
    REQUIRE_EQUAL(zcache_get(w.root, key_of(1, 10), page, PAGE, &len, 0), 0);
    REQUIRE(page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0); /* a hole */
    REQUIRE_EQUAL(get_page(w.root, key_of(1, 39), 0), 1);
    REQUIRE_EQUAL(get_page(w.root, key_of(1, 40), 0), 0);
    close_world(&w);
}

static void a_write_that_fails_keeps_the_page(void **state)
{
    const struct rlimit small = {.rlim_cur = 32 * PAGE, .rlim_max = RLIM_INFINITY};
    const struct rlimit none = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    struct world w = open_world(64 * MIB);

    (void)state;
    put_pages(w.root, 1, 64, 1, 1);
    REQUIRE_EQUAL(setrlimit(RLIMIT_FSIZE, &small), 0);
    REQUIRE_EQUAL(zcache_flush(w.root, 60000), -EFBIG);
    REQUIRE_EQUAL(setrlimit(RLIMIT_FSIZE, &none), 0);
    check_pages(w.root, 1, 64, 1, 1);
    WAIT_UNTIL(zcache_flush(w.root, 60000) == 0, 20000);
    close_world(&w);

    w = open_world(64 * MIB);
    check_pages(w.root, 1, 64, 1, 1);
    close_world(&w);
}

static void pages_of_another_length_are_refused(void **state)
{
    struct world w = open_world(64 * MIB);
    unsigned char page[PAGE] = {1, 2, 3};

    (void)state;
    REQUIRE_EQUAL(zcache_put(w.root, key_of(1, 1), page, 100, 0), 0);
    REQUIRE_EQUAL(zcache_put(w.root, key_of(1, UINT64_MAX), page, PAGE, 0), 0);
    REQUIRE_EQUAL(get_page(w.root, key_of(1, UINT64_MAX - 1), 0), 0);
    REQUIRE(zcache_flush(w.root, 60000) < 0);
    REQUIRE_EQUAL(stats_of(w.root).gauge.dirty_pages, 2);
    drop_cache(w.cache);
    REQUIRE_EQUAL(uring_store_close(w.files), 0);
}

/* ---- without one ---------------------------------------------------------------------------------- */

static void bad_arguments(void **state)
{
    struct uring_store *files;

    (void)state;
    REQUIRE_EQUAL(uring_store_open(dir, 0, 0, &files), -EINVAL);
    REQUIRE_EQUAL(uring_store_open(dir, (1u << 20) + 1, 0, &files), -EINVAL);
    REQUIRE_EQUAL(uring_store_open(dir, PAGE, 2, &files), -EINVAL);
    REQUIRE_EQUAL(uring_store_open(dir, 512, URING_STORE_DIRECT, &files), -EINVAL);
    REQUIRE_EQUAL(uring_store_open("/proc/no/such/place", PAGE, 0, &files), -ENOENT);
    REQUIRE_EQUAL(uring_store_close(NULL), 0);
}

/* Whether the mode can be had here: the kernel may forbid io_uring, the file system O_DIRECT. */
static bool available(void)
{
    struct world w;
    int rc = uring_store_open(dir, PAGE, mode, &w.files);

    if (rc != 0) {
        printf("uring_store_open(%u): %s\n", mode, strerrordesc_np(-rc));
        return false;
    }
    w.cache = open_cache(8 * MIB, uring_store_callbacks(w.files), PLAIN);
    uring_store_attach(w.files, w.cache);
    rc = put_page(zcache_root(w.cache), key_of(9, 9), 1, FILL_RANDOM, 0);
    rc = rc == 0 ? zcache_flush(zcache_root(w.cache), 60000) : rc;
    REQUIRE_EQUAL(zcache_close(w.cache, ZCACHE_DISCARD), 0);
    REQUIRE_EQUAL(uring_store_close(w.files), 0);
    return rc == 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_written_is_read_by_the_next, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_cache_that_is_too_small_loses_nothing, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(what_was_deleted_is_gone, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_write_that_fails_keeps_the_page, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(pages_of_another_length_are_refused, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(bad_arguments, make_dir, remove_dir),
    };
    unsigned modes = 0;
    int failed = 0;

    (void)test_begin(argc, argv, 1);
    (void)signal(SIGXFSZ, SIG_IGN);
    for (mode = 0; mode <= URING_STORE_DIRECT; mode++) {
        bool can;

        REQUIRE_EQUAL(make_dir(NULL), 0);
        can = available();
        REQUIRE_EQUAL(remove_dir(NULL), 0);
        if (can) {
            printf("# %s\n", mode == 0 ? "buffered" : "direct");
            failed += cmocka_run_group_tests(tests, NULL, NULL);
            modes++;
        }
    }
    if (modes == 0) {
        test_skip("io_uring cannot be had");
    }
    return failed;
}
