/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What broke in what a thread has of its own: contexts of codecs were freed under their user when
 * another thread left, or were shared, or were missing when memory was short; and getting memory for
 * one waited for the very thing that the waiter held.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zcache/codec.h>

#include "script.h"
#include "shrinker.h"
#include "sync_point.h"
#include "tier.h"
#include "unit/inside.h"

#define KEY(page) key_of(1, page)

static void demote(struct zcache_tenant *t, struct zcache_key key, enum zc_tier_outcome expected)
{
    struct zc_entry *e = isolate(t, key);
    uint64_t freed;

    REQUIRE_EQUAL(zc_tier_demote(t->cache, thread_of(t->cache), e, ZCACHE_TIER_FAST, &freed),
                  expected);
    zc_page_putback(t->cache, thread_of(t->cache), e, true);
}

/* ---------------------------------------------------------------------------------------------- */
/* A codec whose contexts know their thread, and that they are alive. */

#define ALIVE UINT64_C(0x616c697665)

struct context {
    uint64_t alive;
    pthread_t user;
    atomic_uint inside;
};

static struct {
    atomic_uint created;
    atomic_uint destroyed;
    atomic_bool refuse;
} contexts;

static void *create_context(int level)
{
    struct context *c;

    (void)level;
    if (atomic_load(&contexts.refuse)) {
        return NULL;
    }
    c = calloc(1, sizeof(*c));
    REQUIRE(c != NULL);
    c->alive = ALIVE;
    c->user = pthread_self();
    atomic_fetch_add(&contexts.created, 1);
    return c;
}

static void destroy_context(void *context)
{
    struct context *c = context;

    REQUIRE(c->alive == ALIVE && atomic_load(&c->inside) == 0);
    c->alive = 0;
    atomic_fetch_add(&contexts.destroyed, 1);
    free(c);
}

static void require_mine(struct context *c)
{
    REQUIRE(c->alive == ALIVE && pthread_equal(c->user, pthread_self()));
}

/* A page of text is known by its head, which is all that is kept of it. */
static size_t encode(void *context, void *dst, size_t cap, const void *src, size_t len)
{
    struct context *c = context;

    require_mine(c);
    REQUIRE_EQUAL(atomic_fetch_add(&c->inside, 1), 0);
    REQUIRE(len >= PAGE_HEADER && cap >= PAGE_HEADER);
    memcpy(dst, src, PAGE_HEADER);
    atomic_fetch_sub(&c->inside, 1);
    return PAGE_HEADER;
}

static int decode(void *context, void *dst, size_t len, const void *src, size_t stored)
{
    struct context *c = context;
    struct zcache_key key;
    uint64_t version;

    require_mine(c);
    REQUIRE_EQUAL(atomic_fetch_add(&c->inside, 1), 0);
    REQUIRE(page_named(src, stored, &key, &version));
    zc_sync_point_reach("test.decoding", key);
    require_mine(c);
    page_make(dst, len, key, version, FILL_TEXT);
    atomic_fetch_sub(&c->inside, 1);
    return 0;
}

static struct zcache *setup(void)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, "start_percent=100,dense=none");
    struct zcache_codec codec = ZCACHE_CODEC_INIT;

    codec.name = "knowing";
    codec.context_create = create_context;
    codec.context_destroy = destroy_context;
    codec.encode = encode;
    codec.decode = decode;
    REQUIRE_EQUAL(zcache_codec_register(cache, &codec), 0);
    REQUIRE_EQUAL(zcache_codec_select(cache, ZCACHE_TIER_FAST, "knowing"), 0);
    atomic_store(&contexts.created, 0);
    atomic_store(&contexts.destroyed, 0);
    atomic_store(&contexts.refuse, false);
    return cache;
}

static void get_first(void *arg)
{
    REQUIRE_EQUAL(get_page(arg, KEY(0), ZCACHE_PEEK), 1);
}

static void get_second(void *arg)
{
    REQUIRE_EQUAL(get_page(arg, KEY(1), ZCACHE_PEEK), 1);
}

/* One thread stands in a decoder while others come, decode with theirs, and leave. */
static void a_thread_that_leaves_takes_its_contexts_only(void **state)
{
    struct zcache *cache = setup();
    struct zcache_tenant *root = zcache_root(cache);
    struct script_thread standing;

    (void)state;
    for (uint64_t i = 0; i < 2; i++) {
        assert_int_equal(put_page(root, KEY(i), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
        demote(root, KEY(i), ZC_TIER_MOVED);
    }
    script_begin();
    script_hold("test.decoding", KEY(0));
    script_start(&standing, get_first, root);
    script_await("test.decoding");
    for (unsigned i = 1; i <= 8; i++) {
        struct script_thread passing;

        script_start(&passing, get_second, root);
        script_join(&passing);
        assert_int_equal(atomic_load(&contexts.created), 2 + i); /* ours, the standing one's */
        assert_int_equal(atomic_load(&contexts.destroyed), i);
    }
    get_second(root);
    script_release("test.decoding");
    script_join(&standing);
    script_end();
    assert_int_equal(atomic_load(&contexts.destroyed), 9);
    close_cache(cache);
    assert_int_equal(atomic_load(&contexts.created), 10);
    assert_int_equal(atomic_load(&contexts.destroyed), 10);
}

/* No memory for a context says nothing about the page: it is tried again, and then compressed. */
static void a_refused_context_is_not_the_pages_fault(void **state)
{
    struct zcache *cache = setup();
    struct zcache_tenant *root = zcache_root(cache);
    unsigned char page[PAGE];
    struct script_thread reader;

    (void)state;
    assert_int_equal(put_page(root, KEY(0), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    assert_int_equal(put_page(root, KEY(1), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    atomic_store(&contexts.refuse, true);
    demote(root, KEY(0), ZC_TIER_NO_ROOM);
    assert_int_equal(stats_of(root).gauge.incompressible_pages, 0);
    assert_int_equal(get_page(root, KEY(0), 0), 1);
    atomic_store(&contexts.refuse, false);
    demote(root, KEY(0), ZC_TIER_MOVED);
    demote(root, KEY(1), ZC_TIER_MOVED);

    atomic_store(&contexts.refuse, true);
    assert_int_equal(get_page(root, KEY(0), ZCACHE_PEEK), 1); /* this thread has its own */
    atomic_store(&contexts.refuse, false);
    script_start(&reader, get_first, root);
    script_join(&reader);
    assert_int_equal(zcache_get(root, KEY(1), page, PAGE, NULL, 0), 0);
    close_cache(cache);
    assert_int_equal(atomic_load(&contexts.created), atomic_load(&contexts.destroyed));
}

/* ---------------------------------------------------------------------------------------------- */
/* Memory for a context, of a cache that is full to the last byte. */

#define PIECES 4096u

static struct {
    void *piece[PIECES];
    size_t size[PIECES];
    unsigned n;
    uint64_t reserved;
} hoard;

/* Uses up the account, and what is prepaid for metadata. */
static void use_up_everything(struct zcache *cache)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_THREAD);

    hoard.n = 0;
    drain(cache);
    hoard.reserved = use_up(&cache->account);
    for (size_t size = 64 * KIB; size >= 64; size /= 4) {
        void *piece;

        while (hoard.n < PIECES && (piece = mem->alloc(mem->ctx, size)) != NULL) {
            hoard.piece[hoard.n] = piece;
            hoard.size[hoard.n++] = size;
        }
    }
    REQUIRE(hoard.n < PIECES);
    zc_core_thread(cache)->meta_refused = 0;
}

static void give_everything_back(struct zcache *cache)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_THREAD);

    while (hoard.n-- > 0) {
        mem->free(mem->ctx, hoard.piece[hoard.n], hoard.size[hoard.n]);
    }
    give_back(&cache->account, hoard.reserved);
}

/* Registers this thread while there is memory, and then decodes. */
static void get_dense_late(void *arg)
{
    struct zcache_tenant *t = arg;

    REQUIRE(!is_cached(t, key_of(9, 9)));
    zc_sync_point_reach("test.registered", KEY(0));
    REQUIRE_EQUAL(get_page(t, KEY(0), 0), 1);
}

/*
 * A thread's first decode needs a context, and there is no byte left: pages have to go for it.  That
 * waits for readers, so it must not be done by one, inside his section.
 */
static void a_full_cache_makes_room_for_a_context(void **state)
{
    struct zcache *cache =
        open_cache(16 * MIB, NULL, "start_percent=100,fast=zstd:3,dense=none,page_max=4096");
    struct zcache_tenant *root = zcache_root(cache);
    struct script_thread reader;

    (void)state;
    for (uint64_t i = 0; i < 200; i++) { /* the one to be read must not be what makes room */
        const unsigned flags = i == 0 ? ZCACHE_DIRTY : ZCACHE_CLEAN;

        assert_int_equal(put_page(root, KEY(i), 1, FILL_TEXT, flags), 0);
    }
    demote(root, KEY(0), ZC_TIER_MOVED);
    script_begin();
    script_hold("test.registered", KEY(0));
    script_start(&reader, get_dense_late, root);
    script_await("test.registered");
    zc_shrinker_pause(cache);
    use_up_everything(cache);
    script_release("test.registered");
    script_join(&reader);
    script_end();
    const struct zcache_stats stats = stats_of(root);
    give_everything_back(cache);
    zc_shrinker_resume(cache);
    assert_true(evictions_of(&stats) > 0);
    assert_int_equal(stats.count.get_hits_fast + stats.count.get_hits_dense, 1);
    assert_int_equal(stats.count.get_errors, 0);
    drop_cache(cache);
}

/* Who makes room needs some of its own, and gets it before others can take it all. */
static void the_shrinker_does_not_come_too_late(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(2 * MIB, store, "start_percent=100,page_max=4096");
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    for (uint64_t i = 0; i < 100; i++) {
        assert_int_equal(put_page(root, KEY(i), 1, FILL_RANDOM, 0), 0);
    }
    assert_int_equal(stats_of(root).cache.shrinker_wakes, 0);
    use_up_everything(cache);
    assert_int_equal(put_page(root, KEY(100), 1, FILL_RANDOM, 0), 0);
    const struct zcache_stats stats = stats_of(root);
    assert_true(evictions_of(&stats) > 0);
    give_everything_back(cache);
    close_cache(cache);
    mem_store_free(store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_that_leaves_takes_its_contexts_only),
        cmocka_unit_test(a_refused_context_is_not_the_pages_fault),
        cmocka_unit_test(a_full_cache_makes_room_for_a_context),
        cmocka_unit_test(the_shrinker_does_not_come_too_late),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
