/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What broke where a page was replaced or used while somebody was deciding about its old version: the
 * new one was marked as incompressible or damaged, got the old one's bytes, or was evicted because it
 * had been idle before.
 */
#include <errno.h>
#include <string.h>

#include "script.h"
#include "tier.h"
#include "unit/inside.h"

#define KEY key_of(1, 1)

struct fixture {
    struct mem_store *store;
    struct zcache *cache;
    struct zcache_tenant *root;
};

/* Nothing happens by itself in these caches. */
static struct fixture setup(const char *options)
{
    struct fixture f = {.store = mem_store_new(MEM_STORE_SYNC)};

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

/* A demotion on a thread of its own. */
struct demotion {
    struct zcache_tenant *t;
    enum zcache_tier to;
    enum zc_tier_outcome outcome;
    struct script_thread thread;
};

static void demote(void *arg)
{
    struct demotion *d = arg;
    struct zc_entry *e = isolate(d->t, KEY);
    uint64_t freed;

    d->outcome = zc_tier_demote(d->t->cache, thread_of(d->t->cache), e, d->to, &freed);
    zc_page_putback(d->t->cache, thread_of(d->t->cache), e, true);
}

/* A demotion of the page to the fast tier has come to @point. */
static void demotion_begin(struct demotion *d, struct fixture *f, const char *point)
{
    *d = (struct demotion){.t = f->root, .to = ZCACHE_TIER_FAST};
    script_hold(point, KEY);
    script_start(&d->thread, demote, d);
    script_await(point);
}

static enum zc_tier_outcome demotion_end(struct demotion *d, const char *point)
{
    script_release(point);
    script_join(&d->thread);
    return d->outcome;
}

/* "Does not compress" was found out about bytes that are not the page's any more. */
static void a_new_version_is_not_incompressible_because_the_old_one_was(void **state)
{
    struct fixture f = setup("start_percent=100");
    struct demotion d;

    (void)state;
    assert_int_equal(put_page(f.root, KEY, 1, FILL_RANDOM, ZCACHE_CLEAN), 0);
    demotion_begin(&d, &f, "tier.encoded");
    assert_int_equal(put_page(f.root, KEY, 2, FILL_TEXT, ZCACHE_CLEAN), 0);
    assert_int_equal(demotion_end(&d, "tier.encoded"), ZC_TIER_BUSY);
    assert_int_equal(stats_of(f.root).gauge.incompressible_pages, 0);
    demote(&d);
    assert_int_equal(d.outcome, ZC_TIER_MOVED);
    assert_int_equal(get_page(f.root, KEY, 0), 2);
    teardown(&f);
}

/* Nor is it damaged because the old one was. */
static void a_new_version_is_not_damaged_because_the_old_one_was(void **state)
{
    struct fixture f = setup("start_percent=100");
    struct demotion d;

    (void)state;
    assert_int_equal(put_page(f.root, KEY, 1, FILL_TEXT, 0), 0);
    damage(f.root, KEY);
    demotion_begin(&d, &f, "tier.decoded");
    assert_int_equal(put_page(f.root, KEY, 2, FILL_TEXT, 0), 0);
    assert_int_equal(demotion_end(&d, "tier.decoded"), ZC_TIER_BUSY);
    assert_false(zc_entry_has(entry_of(f.root, KEY), ZC_F_CORRUPT));
    assert_int_equal(zcache_flush(f.root, 0), 0);
    assert_int_equal(mem_store_version(f.store, 0, KEY), 2);
    teardown(&f);
}

static void flush_root(void *arg)
{
    REQUIRE_EQUAL(zcache_flush(arg, 0), 0);
}

/* The same for damage that write-back finds: a page with that mark is never written again. */
static void damage_found_by_a_write_is_that_of_the_version_it_claimed(void **state)
{
    struct fixture f = setup("start_percent=100");
    struct script_thread flusher;

    (void)state;
    assert_int_equal(put_page(f.root, KEY, 1, FILL_TEXT, 0), 0);
    damage(f.root, KEY);
    script_hold("writeback.claimed", KEY);
    script_start(&flusher, flush_root, f.root);
    script_await("writeback.claimed");
    assert_int_equal(put_page(f.root, KEY, 2, FILL_TEXT, 0), 0);
    script_release("writeback.claimed");
    script_join(&flusher);
    assert_false(zc_entry_has(entry_of(f.root, KEY), ZC_F_CORRUPT));
    assert_int_equal(stats_of(f.root).count.corrupt, 0);
    assert_int_equal(zcache_flush(f.root, 0), 0);
    assert_int_equal(mem_store_version(f.store, 0, KEY), 2);
    teardown(&f);
}

/*
 * The version that is being demoted is replaced until a newer one has the very memory that it had:
 * then everything about the page looks as before but its version.
 */
static void a_new_version_at_the_old_address_is_not_the_old_one(void **state)
{
    struct fixture f = setup("start_percent=100");
    struct demotion d;
    uint64_t version = 1;

    (void)state;
    assert_int_equal(put_page(f.root, KEY, version, FILL_TEXT, ZCACHE_CLEAN), 0);
    const uint64_t word = word_of(f.root, KEY);
    demotion_begin(&d, &f, "tier.encoded");
    do {
        assert_int_equal(put_page(f.root, KEY, ++version, FILL_TEXT, ZCACHE_CLEAN), 0);
        drain(f.cache);
        assert_true(version < 1000);
    } while (word_of(f.root, KEY) != word);
    assert_int_equal(demotion_end(&d, "tier.encoded"), ZC_TIER_BUSY);
    assert_int_equal(get_page(f.root, KEY, 0), version);
    teardown(&f);
}

static void shrink_by_one_page(void *arg)
{
    struct zcache_shrink_result result;

    REQUIRE_EQUAL(zcache_shrink(arg, 1, 60000, &result), 0);
    REQUIRE_EQUAL(result.written_pages, 1);
}

/* Reclaim found it idle and writes it, to evict it then; by the end of the write it has been used. */
static void a_page_that_is_hit_during_its_write_stays(void **state)
{
    struct fixture f = setup(PLAIN ",start_percent=100");
    struct script_thread shrinker;

    (void)state;
    assert_int_equal(put_page(f.root, KEY, 1, FILL_TEXT, 0), 0);
    mem_store_hold(f.store, ZCACHE_IO_WRITE);
    script_start(&shrinker, shrink_by_one_page, f.root);
    WAIT_UNTIL(mem_store_held(f.store, ZCACHE_IO_WRITE) == 1, 20000);
    assert_int_equal(get_page(f.root, KEY, 0), 1);
    script_hold("reclaim.isolated",
                KEY); /* where the forced pass comes next, if the page is there */
    mem_store_open(f.store, ZCACHE_IO_WRITE);
    WAIT_UNTIL(script_stands("reclaim.isolated") || !script_running(&shrinker), 20000);
    const bool kept = is_cached(f.root, KEY);
    script_release("reclaim.isolated");
    script_join(&shrinker);
    assert_true(kept);
    teardown(&f);
}

/* Whatever was known of a version ends with it: no mark outlives it, whoever set it. */
static void a_version_inherits_no_mark(void **state)
{
    const unsigned marks = ZC_F_INCOMPRESSIBLE | ZC_F_NO_FAST | ZC_F_NO_DENSE | ZC_F_CORRUPT;
    struct fixture f = setup("start_percent=100");
    struct zcache_page tagged = {.key = KEY, .len = PAGE, .tag = 7};
    unsigned char page[PAGE];
    struct demotion d = {.t = f.root, .to = ZCACHE_TIER_FAST};

    (void)state;
    page_make(page, PAGE, KEY, 1, FILL_RANDOM);
    tagged.data = page;
    assert_int_equal(zcache_put_many(f.root, &tagged, 1, ZCACHE_INCOMPRESSIBLE | ZCACHE_SCAN), 0);
    assert_int_equal(zcache_flush(f.root, 0), -EAGAIN); /* past the horizon */
    set_flags(f.root, KEY, ZC_F_NO_FAST | ZC_F_NO_DENSE | ZC_F_CORRUPT);
    assert_int_equal(put_page(f.root, KEY, 2, FILL_TEXT, 0), 0);
    assert_false(zc_entry_has(entry_of(f.root, KEY), marks));
    assert_false(zc_lru_is_scan(entry_of(f.root, KEY)));
    assert_int_equal(zc_entry_tag(entry_of(f.root, KEY)), 0);
    assert_int_equal(stats_of(f.root).gauge.incompressible_pages, 0);
    demote(&d);
    assert_int_equal(d.outcome, ZC_TIER_MOVED);
    assert_int_equal(zcache_flush(f.root, 0), 0);
    assert_int_equal(mem_store_version(f.store, 0, KEY), 2);
    teardown(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_version_is_not_incompressible_because_the_old_one_was),
        cmocka_unit_test(a_new_version_is_not_damaged_because_the_old_one_was),
        cmocka_unit_test(damage_found_by_a_write_is_that_of_the_version_it_claimed),
        cmocka_unit_test(a_new_version_at_the_old_address_is_not_the_old_one),
        cmocka_unit_test(a_page_that_is_hit_during_its_write_stays),
        cmocka_unit_test(a_version_inherits_no_mark),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
