/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What broke where memory has two owners: bytes that somebody still held were freed by somebody else,
 * or by both, or by nobody; and where memory is used again: what was in it before was handed out.
 */
#include <errno.h>
#include <string.h>

#include "script.h"
#include "tier.h"
#include "unit/inside.h"

#define KEY         key_of(1, 1)
#define OTHER(page) key_of(2, page)

struct fixture {
    struct mem_store *store; /* NULL: none */
    struct zcache *cache;
    struct zcache_tenant *root;
};

static struct fixture setup(struct mem_store *store, const char *options)
{
    struct fixture f = {.store = store};

    f.cache =
        store == NULL ? open_cache(16 * MIB, NULL, options) : open_stored(16 * MIB, store, options);
    f.root = zcache_root(f.cache);
    script_begin();
    return f;
}

static void teardown(struct fixture *f)
{
    script_end();
    close_cache(f->cache);
    if (f->store != NULL) {
        mem_store_free(f->store);
    }
}

/* Frees what is retired, and uses memory of the size of a page again, wherever some was freed. */
static void use_memory_again(struct zcache_tenant *t)
{
    for (uint64_t round = 0; round < 2; round++) {
        drain(t->cache);
        for (uint64_t i = 0; i < 64; i++) {
            REQUIRE_EQUAL(put_page(t, OTHER(i), round + 1, FILL_RANDOM, ZCACHE_CLEAN), 0);
        }
    }
    drain(t->cache);
}

static void require_pinned(const struct zcache_pin *pin, uint64_t version)
{
    uint64_t got = 0;

    REQUIRE(page_whole(pin->data, pin->len, KEY, &got));
    REQUIRE_EQUAL(got, version);
}

/* ---------------------------------------------------------------------------------------------- */
/* Two owners. */

/* The page is gone, and its bytes are nobody's but the caller's who pinned them: he frees them. */
static void pinned_bytes_go_with_the_last_pin(void **state)
{
    struct fixture f = setup(NULL, PLAIN ",start_percent=100");
    struct zcache_pin pin[2];

    (void)state;
    assert_int_equal(put_page(f.root, KEY, 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    assert_int_equal(zcache_pin(f.root, KEY, 0, &pin[0]), 0);
    assert_int_equal(zcache_pin(f.root, KEY, 0, &pin[1]), 0);
    assert_int_equal(zcache_delete(f.root, KEY, 0), 0);
    use_memory_again(f.root);
    require_pinned(&pin[0], 1);
    const uint64_t charge = settled_charge(f.root);
    zcache_unpin(&pin[0]);
    use_memory_again(f.root);
    require_pinned(&pin[1], 1);
    assert_int_equal(settled_charge(f.root), charge);
    zcache_unpin(&pin[1]);
    assert_int_equal(charge - settled_charge(f.root), zc_page_bytes(PAGE, ZC_CODEC_NONE));
    teardown(&f);
}

static void get_it(void *arg)
{
    REQUIRE_EQUAL(get_page(arg, KEY, 0), 1);
}

/* The other order: the last pin goes while readers may still look at the bytes, so the epoch frees. */
static void unpinned_bytes_go_with_the_last_reader(void **state)
{
    struct fixture f = setup(NULL, PLAIN ",start_percent=100");
    struct script_thread reader;
    struct zcache_pin pin;

    (void)state;
    assert_int_equal(put_page(f.root, KEY, 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    const uint64_t charge = settled_charge(f.root);
    assert_int_equal(zcache_pin(f.root, KEY, 0, &pin), 0);
    script_hold("get.looked", KEY);
    script_start(&reader, get_it, f.root);
    script_await("get.looked");
    assert_int_equal(put_page(f.root, KEY, 2, FILL_TEXT, ZCACHE_CLEAN), 0);
    zcache_unpin(&pin);
    assert_int_equal(zc_quota_used(f.root->account), charge + zc_page_bytes(PAGE, ZC_CODEC_NONE));
    script_release("get.looked");
    script_join(&reader);
    assert_int_equal(settled_charge(f.root), charge);
    assert_int_equal(get_page(f.root, KEY, 0), 2);
    teardown(&f);
}

struct pinner {
    struct zcache_tenant *t;
    struct zcache_pin pin;
};

static void pin_it(void *arg)
{
    struct pinner *p = arg;

    REQUIRE_EQUAL(zcache_pin(p->t, KEY, 0, &p->pin), 0);
}

static void replace_it(void *arg)
{
    struct zcache_tenant *t = arg;

    REQUIRE_EQUAL(put_page(t, KEY, 2, FILL_TEXT, ZCACHE_CLEAN), 0);
    use_memory_again(t);
}

/* A pin has found its bytes and is not counted yet when the page is replaced. */
static void a_pin_under_way_keeps_its_bytes(void **state)
{
    struct fixture f = setup(NULL, PLAIN ",start_percent=100");
    struct pinner p = {.t = f.root};
    struct script_thread pinning;
    struct script_thread replacing;

    (void)state;
    assert_int_equal(put_page(f.root, KEY, 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    drain(f.cache);
    script_hold("get.pinning", KEY);
    script_start(&pinning, pin_it, &p);
    script_await("get.pinning");
    const unsigned waits = script_reached("epoch.waits");
    script_start(&replacing, replace_it, f.root);
    WAIT_UNTIL(script_reached("epoch.waits") > waits || !script_running(&replacing), 20000);
    assert_true(script_running(&replacing)); /* it cannot free them yet */
    script_release("get.pinning");
    script_join(&pinning);
    script_join(&replacing);
    require_pinned(&p.pin, 1);
    zcache_unpin(&p.pin);
    teardown(&f);
}

static void shrink_in_vain(void *arg)
{
    struct zcache_shrink_result result;

    REQUIRE_EQUAL(zcache_shrink(arg, 1, 0, &result), -EAGAIN);
    REQUIRE_EQUAL(result.evicted_pages, 0);
}

/* The page is deleted, and put again, while a reclaimer has its record in hand. */
static void a_record_in_hand_is_not_freed(void **state)
{
    struct fixture f = setup(NULL, PLAIN ",start_percent=100");
    struct zcache_tenant *t = open_tenant(f.root, "t", ZCACHE_UNLIMITED);
    struct script_thread shrinker;

    (void)state;
    assert_int_equal(put_page(t, KEY, 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    struct zc_entry *e = entry_of(t, KEY);
    script_hold("reclaim.isolated", KEY);
    script_start(&shrinker, shrink_in_vain, t);
    script_await("reclaim.isolated");
    assert_int_equal(zcache_delete(t, KEY, 0), 0);
    use_memory_again(f.root);
    assert_int_equal(put_page(f.root, KEY, 2, FILL_TEXT, ZCACHE_CLEAN), 0);
    assert_int_equal(zc_entry_state(e), ZC_DEAD);
    assert_ptr_not_equal(entry_of(f.root, KEY), e);
    script_release("reclaim.isolated");
    script_join(&shrinker);
    assert_int_equal(settled_charge(t), 0);
    assert_int_equal(listed_pages(t), 0);
    teardown(&f);
}

/* The store is given the page's own bytes: they stay as they are until it is through with them. */
static void bytes_in_the_stores_hands_are_not_freed(void **state)
{
    struct fixture f = setup(mem_store_new(MEM_STORE_THREAD), PLAIN ",start_percent=100");

    (void)state;
    assert_int_equal(put_page(f.root, KEY, 1, FILL_TEXT, 0), 0);
    mem_store_hold(f.store, ZCACHE_IO_WRITE);
    assert_int_equal(zcache_flush(f.root, 1), -ETIMEDOUT);
    assert_int_equal(put_page(f.root, KEY, 2, FILL_TEXT, 0), 0);
    use_memory_again(f.root);
    mem_store_step(f.store, ZCACHE_IO_WRITE, 1); /* it compares them with what it was given */
    WAIT_UNTIL(mem_store_version(f.store, 0, KEY) == 1, 20000);
    mem_store_open(f.store, ZCACHE_IO_WRITE);
    assert_int_equal(zcache_flush(f.root, 0), 0);
    assert_int_equal(mem_store_version(f.store, 0, KEY), 2);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Used again. */

static int fail_writes(struct mem_store *store,
                       const struct zcache_io *io,
                       const struct zcache_io_page *page)
{
    (void)page;
    return io->op == ZCACHE_IO_WRITE && atomic_load(&store->batches[ZCACHE_IO_WRITE]) <= 2 ? -ENXIO
                                                                                           : 0;
}

/* What the store is handed says nothing of an earlier batch in the same memory. */
static void a_batch_begins_with_a_clean_sheet(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct fixture f = setup(store, PLAIN ",start_percent=100");
    struct zcache_page tagged = {.key = KEY, .len = PAGE, .tag = 7};
    unsigned char page[PAGE];

    (void)state;
    store->page_status =
        fail_writes; /* the store checks each batch for status, buffers and order */
    page_make(page, PAGE, KEY, 1, FILL_TEXT);
    tagged.data = page;
    assert_int_equal(zcache_put_many(f.root, &tagged, 1, 0), 0);
    assert_int_equal(zcache_set_wal_horizon(f.root, 7), 0);
    for (uint64_t i = 0; i < 8; i++) {
        assert_int_equal(put_page(f.root, key_of(1, 2 + i), 1, FILL_TEXT, 0), 0);
    }
    assert_int_equal(zcache_flush(f.root, 0), -ENXIO);
    assert_int_equal(zcache_flush(f.root, 0), -ENXIO);
    assert_int_equal(zcache_flush(f.root, 0), 0);
    assert_int_equal(stats_of(f.root).gauge.dirty_pages, 0);
    assert_true(atomic_load(&store->batches[ZCACHE_IO_WRITE]) >= 3);
    teardown(&f);
}

/* A short page in a long page's memory: the bytes of the page are delivered, and no other. */
static void a_get_writes_the_page_and_nothing_beyond(void **state)
{
    static const size_t lens[] = {1, 7, 8, 9, 63, 64, 65, 100, 511, 1000, 2047, 2048, 2049, 4095};
    struct fixture f = setup(NULL, "start_percent=100,fast=lz4,dense=zstd:3");
    unsigned char page[PAGE];
    unsigned char got[PAGE];

    (void)state;
    use_memory_again(f.root);
    for (uint64_t i = 0; i < 64; i++) {
        assert_int_equal(zcache_delete(f.root, OTHER(i), 0), 0);
    }
    for (unsigned same = 0; same < 2; same++) {
        for (unsigned i = 0; i < ZC_ARRAY_SIZE(lens); i++) {
            const size_t len = lens[i];

            page_make(page, len, KEY, 1, FILL_TEXT);
            if (same == 1) {
                memset(page, 'x', len);
            }
            assert_int_equal(zcache_put(f.root, KEY, page, len, ZCACHE_CLEAN), 0);
            for (int to = ZCACHE_TIER_RAW; to <= ZCACHE_TIER_DENSE; to++) {
                size_t len_out = 0;

                if (to > ZCACHE_TIER_RAW) {
                    struct zc_entry *e = isolate(f.root, KEY);
                    uint64_t freed;

                    (void)zc_tier_demote(f.cache, thread_of(f.cache), e, (enum zcache_tier)to,
                                         &freed);
                    zc_page_putback(f.cache, thread_of(f.cache), e, true);
                }
                memset(got, 0xee, PAGE);
                assert_int_equal(zcache_get(f.root, KEY, got, PAGE, &len_out, ZCACHE_PEEK), 0);
                assert_int_equal(len_out, len);
                assert_memory_equal(got, page, len);
                for (size_t k = len; k < PAGE; k++) {
                    assert_int_equal(got[k], 0xee);
                }
            }
        }
    }
    teardown(&f);
}

/* What comes out does not depend on what was in the memory it is written to. */
static void results_do_not_depend_on_what_was_there(void **state)
{
    struct fixture f = setup(NULL, PLAIN ",start_percent=100,latency_sample=0");
    struct zcache_stats stats[2];
    struct zcache_shrink_result result[2];
    struct zcache_pin pin;

    (void)state;
    assert_int_equal(put_page(f.root, KEY, 1, FILL_TEXT, ZCACHE_DIRTY), 0);
    drain(f.cache);
    for (unsigned i = 0; i < 2; i++) {
        memset(&stats[i], i == 0 ? 0x55 : 0xaa, sizeof(stats[i]));
        memset(&result[i], i == 0 ? 0x55 : 0xaa, sizeof(result[i]));
        memset(&pin, i == 0 ? 0x55 : 0xaa, sizeof(pin));
        assert_int_equal(zcache_shrink(f.root, 1, 0, &result[i]), -EAGAIN);
        stats[i].struct_size = sizeof(stats[i]);
        assert_int_equal(zcache_stats(f.root, &stats[i]), 0);
        assert_int_equal(zcache_pin(f.root, KEY, 0, &pin), 0);
        zcache_unpin(&pin);
        assert_null(pin.data);
        assert_null(pin.frame);
        assert_int_equal(pin.len, 0);
        if (i == 0) { /* what the first round changed */
            stats[i].count.pin_hits++;
            stats[i].count.unpins++;
        }
    }
    assert_memory_equal(&stats[0], &stats[1], sizeof(stats[0]));
    assert_memory_equal(&result[0], &result[1], sizeof(result[0]));
    assert_int_equal(zcache_delete(f.root, KEY, 0), 0);
    teardown(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pinned_bytes_go_with_the_last_pin),
        cmocka_unit_test(unpinned_bytes_go_with_the_last_reader),
        cmocka_unit_test(a_pin_under_way_keeps_its_bytes),
        cmocka_unit_test(a_record_in_hand_is_not_freed),
        cmocka_unit_test(bytes_in_the_stores_hands_are_not_freed),
        cmocka_unit_test(a_batch_begins_with_a_clean_sheet),
        cmocka_unit_test(a_get_writes_the_page_and_nothing_beyond),
        cmocka_unit_test(results_do_not_depend_on_what_was_there),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
