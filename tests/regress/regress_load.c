/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What broke where a page changed while it was read from the backing store: the bytes that came back
 * were published over what had been put meanwhile, or for a page that had been deleted, or into
 * another read's place; and a read of several pages that failed for one of them failed for all, or
 * passed for whole.
 */
#include <errno.h>
#include <string.h>

#include "batch.h"
#include "script.h"
#include "unit/inside.h"

#define KEY key_of(1, 1)

struct fixture {
    struct mem_store *store;
    struct zcache *cache;
    struct zcache_tenant *root;
};

static struct fixture setup(enum mem_store_mode mode, const char *options)
{
    struct fixture f = {.store = mem_store_new(mode)};

    f.cache = open_stored(16 * MIB, f.store, options);
    f.root = zcache_root(f.cache);
    script_begin();
    return f;
}

static void teardown(struct fixture *f)
{
    script_end();
    close_cache(f->cache);
    mem_store_free(f->store);
}

/* A get on a thread of its own. */
struct getter {
    struct zcache_tenant *t;
    uint64_t version; /* 0: a miss */
    struct script_thread thread;
};

static void get(void *arg)
{
    struct getter *g = arg;

    g->version = get_page(g->t, KEY, 0);
}

static void getter_start(struct getter *g, struct fixture *f)
{
    *g = (struct getter){.t = f->root};
    script_start(&g->thread, get, g);
}

static uint64_t getter_end(struct getter *g)
{
    script_join(&g->thread);
    return g->version;
}

/* The store has answered with version 1 of the page, and the answer is not published yet. */
static void getter_start_until_returned(struct getter *g, struct fixture *f)
{
    mem_store_put_page(f->store, 0, KEY, 1, FILL_TEXT);
    script_hold("load.returned", KEY);
    getter_start(g, f);
    script_await("load.returned");
}

static void a_put_wins_over_what_a_read_brings(void **state)
{
    struct fixture f = setup(MEM_STORE_SYNC, PLAIN);
    struct getter g;

    (void)state;
    getter_start_until_returned(&g, &f);
    assert_int_equal(put_page(f.root, KEY, 2, FILL_TEXT, 0), 0);
    script_release("load.returned");
    assert_int_equal(getter_end(&g), 2);
    assert_int_equal(get_page(f.root, KEY, ZCACHE_NO_LOAD), 2);
    assert_int_equal(stats_of(f.root).count.load_cancelled, 1);
    assert_int_equal(zcache_flush(f.root, 0), 0);
    assert_int_equal(mem_store_version(f.store, 0, KEY), 2);
    teardown(&f);
}

static void a_read_does_not_bring_a_deleted_page_back(void **state)
{
    struct fixture f = setup(MEM_STORE_SYNC, PLAIN);
    struct getter g;

    (void)state;
    getter_start_until_returned(&g, &f);
    assert_int_equal(zcache_delete(f.root, KEY, 0), ZCACHE_MISS); /* the store forgets it too */
    script_release("load.returned");
    assert_int_equal(getter_end(&g), 0);
    assert_false(is_cached(f.root, KEY));
    assert_int_equal(get_page(f.root, KEY, 0), 0);
    teardown(&f);
}

static void truncate_object(void *arg)
{
    const struct getter *g = arg;

    REQUIRE_EQUAL(zcache_truncate(g->t, 1, 0), 0);
}

static void nor_a_truncated_one(void **state)
{
    struct fixture f = setup(MEM_STORE_SYNC, PLAIN);
    struct script_thread truncater;
    struct getter g;

    (void)state;
    getter_start_until_returned(&g, &f);
    script_start(&truncater, truncate_object, &g);
    script_join(&truncater);
    script_release("load.returned");
    assert_int_equal(getter_end(&g), 0);
    assert_false(is_cached(f.root, KEY));
    teardown(&f);
}

/*
 * The page is deleted, written to the store by its owner, and missed again: a second read has the
 * place in the cache now.  What the first one brings is older, and not its business.
 */
static void a_read_settles_its_own_place_only(void **state)
{
    struct fixture f = setup(MEM_STORE_SYNC, PLAIN);
    struct getter first;
    struct getter second;

    (void)state;
    getter_start_until_returned(&first, &f);
    assert_int_equal(zcache_delete(f.root, KEY, ZCACHE_NOIO), ZCACHE_MISS);
    mem_store_put_page(f.store, 0, KEY, 2, FILL_TEXT);
    mem_store_hold(f.store, ZCACHE_IO_READ);
    getter_start(&second, &f);
    WAIT_UNTIL(mem_store_held(f.store, ZCACHE_IO_READ) == 1, 20000);
    script_release("load.returned");
    WAIT_UNTIL(stats_of(f.root).count.load_waits == 1,
               20000); /* the first looks again, and waits */
    assert_false(is_cached(f.root, KEY));
    mem_store_open(f.store, ZCACHE_IO_READ);
    assert_int_equal(getter_end(&second), 2);
    assert_int_equal(getter_end(&first), 2);
    assert_int_equal(get_page(f.root, KEY, ZCACHE_NO_LOAD), 2);
    assert_int_equal(atomic_load(&f.store->batches[ZCACHE_IO_READ]), 2);
    teardown(&f);
}

/* A failed read fails those who waited for it, and those who come later read anew. */
static int fail_first_read(struct mem_store *store,
                           const struct zcache_io *io,
                           const struct zcache_io_page *page)
{
    (void)page;
    return io->op == ZCACHE_IO_READ && atomic_load(&store->batches[ZCACHE_IO_READ]) == 1 ? -EIO : 0;
}

static void get_in_vain(void *arg)
{
    struct getter *g = arg;
    unsigned char page[PAGE];

    REQUIRE_EQUAL(zcache_get(g->t, KEY, page, PAGE, NULL, 0), -EIO);
}

static void a_failed_read_is_the_result_of_those_who_waited(void **state)
{
    struct fixture f = setup(MEM_STORE_SYNC, PLAIN);
    struct getter g[2] = {{.t = f.root}, {.t = f.root}};

    (void)state;
    mem_store_put_page(f.store, 0, KEY, 1, FILL_TEXT);
    f.store->page_status = fail_first_read;
    script_hold("load.returned", KEY);
    script_start(&g[0].thread, get_in_vain, &g[0]);
    script_await("load.returned");
    script_start(&g[1].thread, get_in_vain, &g[1]);
    WAIT_UNTIL(stats_of(f.root).count.load_waits == 1, 20000);
    WAIT_UNTIL(zc_entry_has(entry_of(f.root, KEY), ZC_F_WAITED), 20000);
    script_release("load.returned");
    script_join(&g[0].thread);
    script_join(&g[1].thread);
    assert_int_equal(atomic_load(&f.store->batches[ZCACHE_IO_READ]), 1);
    assert_int_equal(get_page(f.root, KEY, 0), 1);
    teardown(&f);
}

/* Its caller has given up; the read ends nevertheless, with buffers that are still there. */
static void a_read_outlives_the_caller_who_gave_up(void **state)
{
    struct fixture f = setup(MEM_STORE_THREAD, PLAIN ",max_stall_ms=20");
    unsigned char page[PAGE];

    (void)state;
    mem_store_put_page(f.store, 0, KEY, 1, FILL_TEXT);
    mem_store_hold(f.store, ZCACHE_IO_READ);
    const uint64_t idle = zc_io_bytes(f.cache);
    assert_int_equal(zcache_get(f.root, KEY, page, PAGE, NULL, 0), -ETIMEDOUT);
    assert_true(zc_io_bytes(f.cache) > idle);
    assert_int_equal(zcache_get(f.root, KEY, page, PAGE, NULL, ZCACHE_NOWAIT), -EBUSY);
    mem_store_open(f.store, ZCACHE_IO_READ);
    WAIT_UNTIL(is_cached(f.root, KEY), 20000);
    assert_int_equal(get_page(f.root, KEY, ZCACHE_NO_LOAD), 1);
    WAIT_UNTIL(zc_io_bytes(f.cache) == idle, 20000);
    WAIT_UNTIL(atomic_load(&f.root->ops) == 0, 20000);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Several pages. */

enum {
    HIT,
    LOADED,
    ABSENT,
    FAILED,
    DAMAGED,
    SHORT, /* of room at the caller's */
    PUT_MEANWHILE,
    DELETED_MEANWHILE,
    ABSENT_TOO,
    PAGES,
};

static int fail_one(struct mem_store *store,
                    const struct zcache_io *io,
                    const struct zcache_io_page *page)
{
    (void)store;
    return io->op == ZCACHE_IO_READ && page->key.page == FAILED ? -EIO : 0;
}

struct reader {
    struct zcache_tenant *t;
    struct zcache_page page[PAGES];
    unsigned char buf[PAGES][PAGE];
    int rc;
    struct script_thread thread;
};

static void get_many(void *arg)
{
    struct reader *r = arg;

    r->rc = zcache_get_many(r->t, r->page, PAGES, 0);
}

static void require_read(const struct reader *r, unsigned i, uint64_t version)
{
    uint64_t got = 0;

    REQUIRE_EQUAL(r->page[i].status, 0);
    REQUIRE(page_whole(r->buf[i], r->page[i].len, key_of(1, i), &got));
    REQUIRE_EQUAL(got, version);
}

static void each_page_of_a_read_has_its_own_result(void **state)
{
    static struct reader r;
    struct fixture f = setup(MEM_STORE_SYNC, PLAIN);

    (void)state;
    f.store->page_status = fail_one;
    r.t = f.root;
    for (unsigned i = 0; i < PAGES; i++) {
        r.page[i] = (struct zcache_page){
            .key = key_of(1, i), .buf = r.buf[i], .cap = i == SHORT ? PAGE - 1 : PAGE};
        if (i != ABSENT && i != ABSENT_TOO) {
            mem_store_put_page(f.store, 0, key_of(1, i), 1, FILL_TEXT);
        }
    }
    assert_int_equal(put_page(f.root, key_of(1, HIT), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    assert_int_equal(put_page(f.root, key_of(1, DAMAGED), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    damage(f.root, key_of(1, DAMAGED));
    script_hold("load.returned", key_of(1, LOADED));
    script_start(&r.thread, get_many, &r);
    script_await("load.returned");
    assert_int_equal(put_page(f.root, key_of(1, PUT_MEANWHILE), 2, FILL_TEXT, 0), 0);
    assert_int_equal(zcache_delete(f.root, key_of(1, DELETED_MEANWHILE), 0), ZCACHE_MISS);
    script_release("load.returned");
    script_join(&r.thread);

    assert_int_equal(r.rc, -EIO); /* the first error in the order of the pages */
    require_read(&r, HIT, 1);
    require_read(&r, LOADED, 1);
    assert_int_equal(r.page[ABSENT].status, ZCACHE_MISS);
    assert_int_equal(r.page[FAILED].status, -EIO);
    assert_int_equal(r.page[DAMAGED].status, -EBADMSG);
    assert_int_equal(r.page[SHORT].status, -ENOBUFS);
    require_read(&r, PUT_MEANWHILE, 2);
    assert_int_equal(r.page[DELETED_MEANWHILE].status, ZCACHE_MISS);
    assert_int_equal(r.page[ABSENT_TOO].status, ZCACHE_MISS);
    const struct zcache_stats stats = stats_of(f.root);
    assert_int_equal(gets_of(&stats), PAGES);
    assert_int_equal(stats.count.get_loads, 1);
    assert_int_equal(stats.count.get_misses, 3);
    assert_int_equal(stats.count.get_errors, 3);
    assert_int_equal(zcache_delete(f.root, key_of(1, DAMAGED), 0), 0);
    teardown(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_put_wins_over_what_a_read_brings),
        cmocka_unit_test(a_read_does_not_bring_a_deleted_page_back),
        cmocka_unit_test(nor_a_truncated_one),
        cmocka_unit_test(a_read_settles_its_own_place_only),
        cmocka_unit_test(a_failed_read_is_the_result_of_those_who_waited),
        cmocka_unit_test(a_read_outlives_the_caller_who_gave_up),
        cmocka_unit_test(each_page_of_a_read_has_its_own_result),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
