/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One caller, one page at a time: what goes in comes out, whatever its length, content and tier, and
 * every flag and outcome of the page calls does what the headers say.
 */
#include "mem_store.h"

#include <zcache/codec.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t lengths[] = {1,    2,    3,    7,     8,     9,     15,    16,   17,
                                 39,   40,   41,   63,    64,    65,    100,   511,  512,
                                 1000, 1023, 1024, 1025,  2047,  4000,  4095,  4096, 4097,
                                 8191, 8192, 8193, 16384, 30000, 32768, 65535, 65536};
#define N_LENGTHS (sizeof(lengths) / sizeof(lengths[0]))

/* Put, get and compare one page of @len bytes at @data. */
static void round_trip(struct zcache_tenant *tenant,
                       struct zcache_key key,
                       const void *data,
                       size_t len,
                       unsigned flags)
{
    size_t got = 0;
    unsigned char *room = malloc(len + 1);

    assert_non_null(room);
    assert_int_equal(zcache_put(tenant, key, data, len, flags), 0);
    room[len] = 0xa5;
    assert_int_equal(zcache_get(tenant, key, room, len, &got, 0), 0);
    assert_int_equal(got, len);
    assert_memory_equal(room, data, len);
    assert_int_equal(room[len], 0xa5);
    free(room);
}

static void expect_page(struct zcache_tenant *tenant,
                        struct zcache_key key,
                        const void *data,
                        size_t len,
                        unsigned flags)
{
    size_t got = 0;
    unsigned char *room = malloc(len);

    assert_non_null(room);
    assert_int_equal(zcache_get(tenant, key, room, len, &got, flags), 0);
    assert_int_equal(got, len);
    assert_memory_equal(room, data, len);
    free(room);
}

/* ---- lengths and contents ----------------------------------------------------------------------- */

static void lengths_with(const char *options)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, options);
    struct zcache_tenant *root = zcache_root(cache);
    unsigned char *page = malloc(65536);

    assert_non_null(page);
    for (size_t i = 0; i < N_LENGTHS; i++) {
        for (enum fill fill = FILL_TEXT; fill <= FILL_RANDOM; fill++) {
            page_make(page, lengths[i], key_of(fill, i), 1, fill);
            round_trip(root, key_of(fill, i), page, lengths[i], ZCACHE_DIRTY);
        }
    }
    assert_int_equal(stats_of(root).gauge.pages, 3 * N_LENGTHS);

    /* Again, after everything that can be compressed was. */
    struct zcache_shrink_result result = {0};
    assert_int_equal(zcache_shrink(root, 64 * MIB, 1000, &result), -EAGAIN);
    verify_cache(cache);
    for (size_t i = 0; i < N_LENGTHS; i++) {
        for (enum fill fill = FILL_TEXT; fill <= FILL_RANDOM; fill++) {
            page_make(page, lengths[i], key_of(fill, i), 1, fill);
            expect_page(root, key_of(fill, i), page, lengths[i], 0);
            expect_page(root, key_of(fill, i), page, lengths[i], ZCACHE_PEEK);
        }
    }
    free(page);
    drop_cache(cache);
}

static void every_length_comes_back(void **state)
{
    (void)state;
    lengths_with(NULL);
    lengths_with("raw_percent=100,fast_percent=100");
    lengths_with("raw_percent=0,fast_percent=100");
    lengths_with("raw_percent=0,fast_percent=0");
    lengths_with("fast=none,dense=none");
    lengths_with("fast=zstd:1,dense=zstd:19");
    lengths_with("dense=none");
}

static void a_mebibyte_comes_back(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, "page_max=1M");
    struct zcache_tenant *root = zcache_root(cache);
    unsigned char *page = malloc(MIB);

    (void)state;
    assert_non_null(page);
    for (enum fill fill = FILL_TEXT; fill <= FILL_RANDOM; fill++) {
        page_make(page, MIB, key_of(1, fill), 1, fill);
        round_trip(root, key_of(1, fill), page, MIB, ZCACHE_DIRTY);
        page_make(page, MIB - 1, key_of(2, fill), 1, fill);
        round_trip(root, key_of(2, fill), page, MIB - 1, ZCACHE_DIRTY);
    }
    assert_int_equal(zcache_shrink(root, 64 * MIB, 1000, NULL), -EAGAIN);
    for (enum fill fill = FILL_TEXT; fill <= FILL_RANDOM; fill++) {
        page_make(page, MIB, key_of(1, fill), 1, fill);
        expect_page(root, key_of(1, fill), page, MIB, 0);
    }
    free(page);
    drop_cache(cache);
}

/* @len bytes that repeat the eight bytes of @word. */
static void repeat_word(unsigned char *page, size_t len, uint64_t word)
{
    for (size_t i = 0; i < len; i++) {
        page[i] = (unsigned char)(word >> 8 * (i % 8));
    }
}

static void same_filled_pages_take_no_room(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *tenant = open_tenant(zcache_root(cache), "same", ZCACHE_UNLIMITED);
    static const uint64_t words[] = {0, UINT64_MAX, 0x0101010101010101, 0x0123456789abcdef, 1};
    unsigned char page[PAGE];
    uint64_t n = 0;

    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        memset(page, (int)byte, PAGE);
        round_trip(tenant, key_of(1, byte), page, PAGE, 0);
        n++;
    }
    for (unsigned w = 0; w < sizeof(words) / sizeof(words[0]); w++) {
        repeat_word(page, PAGE, words[w]);
        round_trip(tenant, key_of(2, w), page, PAGE, 0);
        n++;
    }
    const struct zcache_stats stats = stats_of(tenant);
    assert_int_equal(stats.gauge.same_pages, n);
    assert_int_equal(stats.gauge.pages, n);
    assert_int_equal(stats.count.get_hits_same, n);
    /* Nothing but records: far less than a tenth of the pages' length. */
    assert_true(stats.gauge.charge_bytes < n * PAGE / 10);

    /* Pinning one gives its bytes all the same. */
    struct zcache_pin pin;
    assert_int_equal(zcache_pin(tenant, key_of(2, 3), 0, &pin), 0);
    repeat_word(page, PAGE, words[3]);
    assert_int_equal(pin.len, PAGE);
    assert_memory_equal(pin.data, page, PAGE);
    zcache_unpin(&pin);
    close_cache(cache);
}

static void odd_lengths_of_a_word_come_back(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    unsigned char page[PAGE + 7];

    (void)state;
    for (size_t i = 0; i < N_LENGTHS && lengths[i] <= sizeof(page); i++) {
        repeat_word(page, lengths[i], 0x1122334455667788);
        round_trip(root, key_of(1, i), page, lengths[i], 0);
        memset(page, 0, lengths[i]);
        round_trip(root, key_of(2, i), page, lengths[i], 0);
    }
    for (size_t len = PAGE; len < PAGE + 8; len++) {
        repeat_word(page, len, 0x1122334455667788);
        round_trip(root, key_of(3, len), page, len, 0);
    }
    close_cache(cache);
}

static void almost_same_filled_pages_come_back(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    static const size_t places[] = {0, 1, 7, 8, 9, 2047, 2048, 4087, 4088, 4094, 4095};
    unsigned char page[PAGE];
    size_t len = PAGE;

    (void)state;
    for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        repeat_word(page, PAGE, 0xabababababababab);
        page[places[i]] ^= 1;
        round_trip(root, key_of(1, i), page, PAGE, 0);
    }
    assert_int_equal(stats_of(root).gauge.same_pages, 0);
    /* The odd one out in the last, partial word. */
    for (len = PAGE - 7; len < PAGE; len++) {
        repeat_word(page, len, 0xabababababababab);
        page[len - 1] ^= 1;
        round_trip(root, key_of(2, len), page, len, 0);
    }
    assert_int_equal(stats_of(root).gauge.same_pages, 0);
    close_cache(cache);
}

/* A page that repeats a word is replaced by one that does not, and back. */
static void same_filled_and_other_versions_alternate(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    unsigned char page[PAGE];

    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        if (i % 2 == 0) {
            memset(page, (int)i, PAGE);
        } else {
            page_make(page, PAGE, key_of(1, 1), i, FILL_HALF);
        }
        round_trip(root, key_of(1, 1), page, PAGE, 0);
        assert_int_equal(stats_of(root).gauge.same_pages, i % 2 == 0);
    }
    assert_int_equal(stats_of(root).count.put_replaces, 199);
    close_cache(cache);
}

/* ---- outcomes and flags ------------------------------------------------------------------------ */

static void put_get_replace_delete(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    static const struct zcache_key keys[] = {
        {0, 0}, {UINT64_MAX, UINT64_MAX}, {0, UINT64_MAX}, {UINT64_MAX, 0}, {1, 0}, {0, 1}};
    const unsigned n = sizeof(keys) / sizeof(keys[0]);

    (void)state;
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(get_page(root, keys[i], 0), 0);
        assert_int_equal(zcache_delete(root, keys[i], 0), ZCACHE_MISS);
        assert_int_equal(put_page(root, keys[i], 1, FILL_TEXT, 0), 0);
    }
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(get_page(root, keys[i], 0), 1);
        assert_int_equal(put_page(root, keys[i], 2, FILL_HALF, 0), 0);
        assert_int_equal(get_page(root, keys[i], 0), 2);
    }
    assert_int_equal(stats_of(root).gauge.pages, n);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(zcache_delete(root, keys[i], 0), 0);
        assert_int_equal(get_page(root, keys[i], 0), 0);
        assert_int_equal(zcache_delete(root, keys[i], ZCACHE_NOWAIT | ZCACHE_NOIO), ZCACHE_MISS);
    }
    const struct zcache_stats stats = stats_of(root);
    assert_int_equal(stats.gauge.pages, 0);
    assert_int_equal(stats.count.put_inserts, n);
    assert_int_equal(stats.count.put_replaces, n);
    assert_int_equal(stats.count.get_misses, 2 * n);
    assert_int_equal(stats.count.delete_hits, n);
    assert_int_equal(stats.count.delete_misses, 2 * n);
    close_cache(cache);
}

static void a_version_may_have_another_length(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    unsigned char page[65536];
    struct rng rng = {4};

    (void)state;
    for (unsigned i = 1; i < 300; i++) {
        const size_t len = 1 + rng_below(&rng, sizeof(page));
        page_make(page, len, key_of(1, 1), i, (enum fill)rng_below(&rng, 3));
        round_trip(root, key_of(1, 1), page, len, 0);
    }
    assert_int_equal(stats_of(root).gauge.pages, 1);
    close_cache(cache);
}

static void length_is_told_without_a_buffer(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    unsigned char page[5000];
    unsigned char room[5000];
    size_t len = 0;

    (void)state;
    page_make(page, sizeof(page), key_of(1, 1), 1, FILL_TEXT);
    assert_int_equal(zcache_get(root, key_of(1, 1), NULL, 0, &len, 0), ZCACHE_MISS);
    assert_int_equal(zcache_put(root, key_of(1, 1), page, sizeof(page), ZCACHE_DIRTY), 0);
    assert_int_equal(zcache_get(root, key_of(1, 1), NULL, 0, &len, 0), 0);
    assert_int_equal(len, sizeof(page));
    assert_int_equal(zcache_get(root, key_of(1, 1), NULL, 0, NULL, 0), 0);
    assert_int_equal(zcache_shrink(root, 64 * MIB, 1000, NULL), -EAGAIN);
    len = 0;
    assert_int_equal(zcache_get(root, key_of(1, 1), NULL, 0, &len, ZCACHE_PEEK), 0);
    assert_int_equal(len, sizeof(page));
    /* Too little room, just enough, more than enough. */
    assert_int_equal(zcache_get(root, key_of(1, 1), room, 4999, &len, 0), -ENOBUFS);
    assert_int_equal(zcache_get(root, key_of(1, 1), room, 5000, &len, 0), 0);
    assert_memory_equal(room, page, sizeof(page));
    assert_int_equal(zcache_get(root, key_of(1, 1), room, 1 << 30, &len, 0), 0);
    assert_int_equal(len, 5000);
    drop_cache(cache);
}

static void if_absent_keeps_what_is_there(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    const struct zcache_key key = key_of(3, 4);

    (void)state;
    assert_int_equal(put_page(root, key, 1, FILL_TEXT, ZCACHE_IF_ABSENT), 0);
    assert_int_equal(put_page(root, key, 2, FILL_TEXT, ZCACHE_IF_ABSENT), ZCACHE_EXISTS);
    assert_int_equal(get_page(root, key, 0), 1);
    assert_int_equal(put_page(root, key, 3, FILL_TEXT, ZCACHE_IF_ABSENT | ZCACHE_BEST_EFFORT),
                     ZCACHE_EXISTS);
    assert_int_equal(zcache_delete(root, key, 0), 0);
    assert_int_equal(put_page(root, key, 4, FILL_TEXT, ZCACHE_IF_ABSENT | ZCACHE_NOWAIT), 0);
    assert_int_equal(get_page(root, key, 0), 4);
    const struct zcache_stats stats = stats_of(root);
    assert_int_equal(stats.count.put_exists, 2);
    assert_int_equal(puts_of(&stats), 4);
    close_cache(cache);
}

static void take_removes_and_tells_whose_it_is(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(64 * MIB, store, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    unsigned char room[PAGE];
    size_t len = 0;

    (void)state;
    /* Dirty is the default where the store writes. */
    assert_int_equal(put_page(root, key_of(1, 1), 1, FILL_HALF, 0), 0);
    assert_int_equal(put_page(root, key_of(1, 2), 1, FILL_HALF, ZCACHE_DIRTY), 0);
    assert_int_equal(put_page(root, key_of(1, 3), 1, FILL_HALF, ZCACHE_CLEAN), 0);
    assert_int_equal(stats_of(root).gauge.dirty_pages, 2);
    for (uint64_t i = 1; i <= 3; i++) {
        const int rc = zcache_get(root, key_of(1, i), room, PAGE, &len, ZCACHE_TAKE);
        assert_int_equal(rc, i < 3 ? ZCACHE_UNWRITTEN : 0);
        assert_int_equal(len, PAGE);
        uint64_t version = 0;
        assert_true(page_whole(room, len, key_of(1, i), &version));
        assert_false(is_cached(root, key_of(1, i)));
    }
    struct zcache_stats stats = stats_of(root);
    assert_int_equal(stats.count.takes, 3);
    assert_int_equal(stats.count.takes_unwritten, 2);
    assert_int_equal(stats.gauge.pages, 0);
    assert_int_equal(stats.gauge.dirty_pages, 0);

    /* Once the store has it, it is not the caller's any more. */
    assert_int_equal(put_page(root, key_of(1, 4), 1, FILL_HALF, 0), 0);
    assert_int_equal(zcache_flush(root, 1000), 0);
    assert_int_equal(zcache_get(root, key_of(1, 4), room, PAGE, NULL, ZCACHE_TAKE), 0);
    assert_int_equal(mem_store_version(store, 0, key_of(1, 4)), 1);

    /* A take that would not fit takes nothing. */
    assert_int_equal(put_page(root, key_of(1, 5), 1, FILL_HALF, 0), 0);
    assert_int_equal(zcache_get(root, key_of(1, 5), room, 10, NULL, ZCACHE_TAKE), -ENOBUFS);
    assert_true(is_cached(root, key_of(1, 5)));
    assert_int_equal(zcache_get(root, key_of(8, 8), room, PAGE, NULL, ZCACHE_TAKE), ZCACHE_MISS);
    close_cache(cache);
    mem_store_free(store);
}

static void without_a_store_pages_are_clean(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    assert_int_equal(put_page(root, key_of(1, 1), 1, FILL_TEXT, 0), 0);
    assert_int_equal(stats_of(root).gauge.dirty_pages, 0);
    assert_int_equal(zcache_flush(root, 1000), 0);
    assert_int_equal(put_page(root, key_of(1, 1), 2, FILL_TEXT, ZCACHE_DIRTY), 0);
    assert_int_equal(stats_of(root).gauge.dirty_pages, 1);
    assert_int_equal(zcache_flush(root, 1000), -ENOTSUP);
    /* It cannot be closed either: nobody else has the page. */
    assert_int_equal(zcache_close(cache, ZCACHE_FLUSH), -ENOTSUP);
    assert_int_equal(get_page(root, key_of(1, 1), 0), 2);
    /* A clean version in its place is clean. */
    assert_int_equal(put_page(root, key_of(1, 1), 3, FILL_TEXT, ZCACHE_CLEAN), 0);
    assert_int_equal(stats_of(root).gauge.dirty_pages, 0);
    close_cache(cache);
}

static void truncate_removes_an_objects_tail(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *other = open_tenant(root, "other", ZCACHE_UNLIMITED);

    (void)state;
    for (uint64_t object = 1; object <= 3; object++) {
        for (uint64_t page = 0; page < 100; page++) {
            assert_int_equal(put_page(root, key_of(object, page), 1, FILL_TEXT, 0), 0);
            assert_int_equal(put_page(other, key_of(object, page), 1, FILL_TEXT, 0), 0);
        }
    }
    assert_int_equal(put_page(root, key_of(2, UINT64_MAX), 1, FILL_TEXT, 0), 0);
    assert_int_equal(zcache_truncate(root, 2, 40), 0);
    for (uint64_t object = 1; object <= 3; object++) {
        for (uint64_t page = 0; page < 100; page++) {
            assert_int_equal(is_cached(root, key_of(object, page)), object != 2 || page < 40);
            assert_true(is_cached(other, key_of(object, page)));
        }
    }
    assert_false(is_cached(root, key_of(2, UINT64_MAX)));
    assert_int_equal(stats_of(root).count.truncated, 61);
    assert_int_equal(zcache_truncate(root, 2, 0), 0);
    assert_int_equal(zcache_truncate(root, 2, 0), 0);
    assert_int_equal(zcache_truncate(root, 77, 0), 0);
    assert_int_equal(stats_of(root).count.truncated, 101);
    assert_int_equal(stats_of(root).gauge.pages, 200 + 300);
    close_cache(cache);
}

static void a_key_belongs_to_a_tenant(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *a = open_tenant(root, "a", ZCACHE_UNLIMITED);
    struct zcache_tenant *b = open_tenant(a, "b", ZCACHE_UNLIMITED);
    struct zcache_tenant *const all[] = {root, a, b};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(put_page(all[i], key_of(1, 1), 10 + i, FILL_HALF, 0), 0);
    }
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(get_page(all[i], key_of(1, 1), 0), 10 + i);
    }
    assert_int_equal(zcache_delete(a, key_of(1, 1), 0), 0);
    assert_int_equal(get_page(root, key_of(1, 1), 0), 10);
    assert_int_equal(get_page(a, key_of(1, 1), 0), 0);
    assert_int_equal(get_page(b, key_of(1, 1), 0), 12);
    close_cache(cache);
}

/* ---- many at a time ------------------------------------------------------------------------------ */

#define MANY 100

static void many_pages_in_one_call(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_page pages[MANY];
    unsigned char *data = malloc(MANY * PAGE);
    unsigned char *room = malloc(MANY * PAGE);

    (void)state;
    assert_true(data != NULL && room != NULL);
    for (unsigned i = 0; i < MANY; i++) {
        pages[i] = (struct zcache_page){.key = key_of(i % 3, i),
                                        .data = data + i * PAGE,
                                        .buf = room + i * PAGE,
                                        .len = PAGE - i,
                                        .status = -1};
        page_make(data + i * PAGE, PAGE - i, pages[i].key, 1, FILL_HALF);
    }
    assert_int_equal(put_page(root, pages[7].key, 9, FILL_TEXT, 0), 0);
    assert_int_equal(zcache_put_many(root, pages, MANY, ZCACHE_IF_ABSENT), 0);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(pages[i].status, i == 7 ? ZCACHE_EXISTS : 0);
    }
    assert_int_equal(zcache_put_many(root, pages, MANY, 0), 0);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(pages[i].status, 0);
    }
    assert_int_equal(zcache_delete(root, pages[50].key, 0), 0);

    for (unsigned i = 0; i < MANY; i++) {
        pages[i].cap = PAGE;
        pages[i].len = 0;
        pages[i].status = -1;
    }
    pages[60].cap = 100;
    assert_int_equal(zcache_get_many(root, pages, MANY, 0), -ENOBUFS);
    for (unsigned i = 0; i < MANY; i++) {
        if (i == 50 || i == 60) {
            assert_int_equal(pages[i].status, i == 50 ? ZCACHE_MISS : -ENOBUFS);
            continue;
        }
        assert_int_equal(pages[i].status, 0);
        assert_int_equal(pages[i].len, PAGE - i);
        assert_memory_equal(pages[i].buf, pages[i].data, PAGE - i);
    }
    pages[60].cap = PAGE;
    assert_int_equal(zcache_get_many(root, pages, MANY, ZCACHE_TAKE), 0);
    for (unsigned i = 0; i < MANY; i++) {
        assert_int_equal(pages[i].status, i == 50 ? ZCACHE_MISS : 0);
    }
    assert_int_equal(stats_of(root).gauge.pages, 0);
    assert_int_equal(stats_of(root).count.takes, MANY - 1);
    free(data);
    free(room);
    close_cache(cache);
}

/* The same key twice in one call: each is a call of its own, in order. */
static void many_pages_may_be_one(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(64 * MIB, store, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    static unsigned char data[4][PAGE];
    static unsigned char room[4][PAGE];
    struct zcache_page pages[4];
    uint64_t version = 0;

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        page_make(data[i], PAGE, key_of(1, 1), 1 + i, FILL_HALF);
        pages[i] = (struct zcache_page){
            .key = key_of(1, 1), .data = data[i], .buf = room[i], .len = PAGE, .cap = PAGE};
    }
    assert_int_equal(zcache_put_many(root, pages, 4, 0), 0);
    assert_int_equal(zcache_get_many(root, pages, 4, 0), 0);
    for (unsigned i = 0; i < 4; i++) {
        assert_true(page_whole(room[i], pages[i].len, key_of(1, 1), &version) && version == 4);
    }
    assert_int_equal(zcache_get_many(root, pages, 4, ZCACHE_TAKE | ZCACHE_NO_LOAD), 0);
    assert_int_equal(pages[0].status, ZCACHE_UNWRITTEN);
    for (unsigned i = 1; i < 4; i++) {
        assert_int_equal(pages[i].status, ZCACHE_MISS);
    }
    /* A miss twice is one page to read. */
    mem_store_put_page(store, 0, key_of(1, 1), 9, FILL_TEXT);
    assert_int_equal(zcache_get_many(root, pages, 4, 0), 0);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(pages[i].status, 0);
        assert_true(page_whole(room[i], pages[i].len, key_of(1, 1), &version) && version == 9);
    }
    assert_int_equal(atomic_load(&store->pages[ZCACHE_IO_READ]), 1);
    close_cache(cache);
    mem_store_free(store);
}

struct inserter {
    struct zcache_tenant *tenant;
    pthread_barrier_t *start;
    uint64_t index;
    unsigned inserted[64];
};

static void *insert_all(void *arg)
{
    struct inserter *me = arg;

    for (uint64_t k = 0; k < 64; k++) {
        pthread_barrier_wait(me->start);
        const int rc =
            put_page(me->tenant, key_of(1, k), me->index + 1, FILL_HALF, ZCACHE_IF_ABSENT);
        REQUIRE(rc == 0 || rc == ZCACHE_EXISTS);
        me->inserted[k] = rc == 0;
    }
    return NULL;
}

static void only_one_of_many_inserts(void **state)
{
    enum {
        N = 4
    };
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct inserter inserters[N];
    pthread_t threads[N];
    pthread_barrier_t start;

    (void)state;
    assert_int_equal(pthread_barrier_init(&start, NULL, N), 0);
    for (unsigned i = 0; i < N; i++) {
        inserters[i] = (struct inserter){.tenant = zcache_root(cache), .start = &start, .index = i};
        assert_int_equal(pthread_create(&threads[i], NULL, insert_all, &inserters[i]), 0);
    }
    for (unsigned i = 0; i < N; i++) {
        pthread_join(threads[i], NULL);
    }
    for (uint64_t k = 0; k < 64; k++) {
        unsigned sum = 0;
        uint64_t winner = 0;
        for (unsigned i = 0; i < N; i++) {
            sum += inserters[i].inserted[k];
            winner += inserters[i].inserted[k] ? i + UINT64_C(1) : 0;
        }
        assert_int_equal(sum, 1);
        assert_int_equal(get_page(zcache_root(cache), key_of(1, k), 0), winner);
    }
    pthread_barrier_destroy(&start);
    close_cache(cache);
}

/* ---- tiers ------------------------------------------------------------------------------------- */

#define TIER_PAGES 64

/*
 * Pages that cannot leave, because they are dirty and there is no store, and that are then asked to
 * give up all they can.
 */
static struct zcache *open_demoted(const char *options, enum fill fill)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, options);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_shrink_result result = {0};

    for (uint64_t i = 0; i < TIER_PAGES; i++) {
        assert_int_equal(put_page(root, key_of(1, i), 1, fill, ZCACHE_DIRTY), 0);
    }
    assert_int_equal(zcache_shrink(root, 64 * MIB, 1000, &result), -EAGAIN);
    assert_int_equal(result.evicted_pages, 0);
    assert_int_equal(result.written_pages, 0);
    return cache;
}

/* Which tier's hit counters a get of each page raises. */
static void expect_all_in(struct zcache *cache, enum zcache_tier tier)
{
    struct zcache_tenant *root = zcache_root(cache);
    const struct zcache_stats before = stats_of(root);

    assert_int_equal(before.tier[tier].pages, TIER_PAGES);
    assert_int_equal(before.tier[tier].raw_bytes, TIER_PAGES * PAGE);
    for (uint64_t i = 0; i < TIER_PAGES; i++) {
        assert_int_equal(get_page(root, key_of(1, i), ZCACHE_PEEK), 1);
    }
    const struct zcache_stats after = stats_of(root);
    assert_int_equal(after.count.get_hits_raw - before.count.get_hits_raw,
                     tier == ZCACHE_TIER_RAW ? TIER_PAGES : 0);
    assert_int_equal(after.count.get_hits_fast - before.count.get_hits_fast,
                     tier == ZCACHE_TIER_FAST ? TIER_PAGES : 0);
    assert_int_equal(after.count.get_hits_dense - before.count.get_hits_dense,
                     tier == ZCACHE_TIER_DENSE ? TIER_PAGES : 0);
    /* Looking did not move anything. */
    assert_int_equal(after.tier[tier].pages, TIER_PAGES);
}

static void fresh_pages_are_raw(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, "raw_percent=100,start_percent=100");
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    for (uint64_t i = 0; i < TIER_PAGES; i++) {
        assert_int_equal(put_page(root, key_of(1, i), 1, FILL_TEXT, 0), 0);
    }
    expect_all_in(cache, ZCACHE_TIER_RAW);
    const struct zcache_stats stats = stats_of(root);
    assert_true(stats.tier[ZCACHE_TIER_RAW].stored_bytes >= TIER_PAGES * PAGE);
    close_cache(cache);
}

static void cold_pages_become_fast(void **state)
{
    struct zcache *cache = open_demoted("fast_percent=100", FILL_TEXT);

    (void)state;
    expect_all_in(cache, ZCACHE_TIER_FAST);
    const struct zcache_stats stats = stats_of(zcache_root(cache));
    assert_true(stats.tier[ZCACHE_TIER_FAST].allocated_bytes < TIER_PAGES * PAGE * 3 / 4);
    assert_int_equal(stats.tier[ZCACHE_TIER_FAST].demotions, TIER_PAGES);
    drop_cache(cache);
}

static void colder_pages_become_dense(void **state)
{
    struct zcache *fast = open_demoted("fast_percent=100", FILL_TEXT);
    struct zcache *cache = open_demoted(NULL, FILL_TEXT);

    (void)state;
    expect_all_in(cache, ZCACHE_TIER_DENSE);
    assert_true(stats_of(zcache_root(cache)).tier[ZCACHE_TIER_DENSE].allocated_bytes <
                stats_of(zcache_root(fast)).tier[ZCACHE_TIER_FAST].allocated_bytes);
    drop_cache(cache);
    drop_cache(fast);
}

static void without_raw_share_the_putting_thread_compresses(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, "raw_percent=0,fast_percent=100");
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    for (uint64_t i = 0; i < TIER_PAGES; i++) {
        assert_int_equal(put_page(root, key_of(1, i), 1, FILL_TEXT, 0), 0);
        assert_int_equal(stats_of(root).tier[ZCACHE_TIER_RAW].pages, 0);
    }
    expect_all_in(cache, ZCACHE_TIER_FAST);
    close_cache(cache);
}

static void codecs_can_be_turned_off(void **state)
{
    struct zcache *cache = open_demoted("fast=none,dense=none", FILL_TEXT);

    (void)state;
    expect_all_in(cache, ZCACHE_TIER_RAW);
    drop_cache(cache);
    cache = open_demoted("dense=none", FILL_TEXT);
    expect_all_in(cache, ZCACHE_TIER_FAST);
    drop_cache(cache);
}

static void incompressible_pages_stay_as_they_are(void **state)
{
    struct zcache *cache = open_demoted(NULL, FILL_RANDOM);
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    expect_all_in(cache, ZCACHE_TIER_RAW);
    struct zcache_stats stats = stats_of(root);
    assert_int_equal(stats.gauge.incompressible_pages, TIER_PAGES);
    const uint64_t tries =
        stats.tier[ZCACHE_TIER_FAST].demote_rejects + stats.tier[ZCACHE_TIER_DENSE].demote_rejects;
    assert_true(tries >= TIER_PAGES);

    /* They are not tried again... */
    assert_int_equal(zcache_shrink(root, 64 * MIB, 1000, NULL), -EAGAIN);
    stats = stats_of(root);
    assert_int_equal(stats.tier[ZCACHE_TIER_FAST].demote_rejects +
                         stats.tier[ZCACHE_TIER_DENSE].demote_rejects,
                     tries);

    /* ...but a version that can be compressed is. */
    for (uint64_t i = 0; i < TIER_PAGES; i++) {
        assert_int_equal(put_page(root, key_of(1, i), 2, FILL_TEXT, ZCACHE_DIRTY), 0);
    }
    assert_int_equal(stats_of(root).gauge.incompressible_pages, 0);
    assert_int_equal(zcache_shrink(root, 64 * MIB, 1000, NULL), -EAGAIN);
    assert_int_equal(stats_of(root).tier[ZCACHE_TIER_RAW].pages, 0);
    drop_cache(cache);
}

static void declared_incompressible_pages_are_not_tried(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);

    (void)state;
    for (uint64_t i = 0; i < TIER_PAGES; i++) {
        assert_int_equal(
            put_page(root, key_of(1, i), 1, FILL_TEXT, ZCACHE_DIRTY | ZCACHE_INCOMPRESSIBLE), 0);
    }
    assert_int_equal(stats_of(root).gauge.incompressible_pages, TIER_PAGES);
    assert_int_equal(zcache_shrink(root, 64 * MIB, 1000, NULL), -EAGAIN);
    expect_all_in(cache, ZCACHE_TIER_RAW);
    const struct zcache_stats stats = stats_of(root);
    assert_int_equal(stats.tier[ZCACHE_TIER_FAST].demote_rejects, 0);
    assert_int_equal(stats.tier[ZCACHE_TIER_DENSE].demote_rejects, 0);
    drop_cache(cache);
}

static void a_page_hit_again_is_promoted(const char *options, enum zcache_tier tier)
{
    struct zcache *cache = open_demoted(options, FILL_TEXT);
    struct zcache_tenant *root = zcache_root(cache);

    assert_int_equal(get_page(root, key_of(1, 5), 0), 1);
    assert_int_equal(get_page(root, key_of(1, 5), 0), 1);
    struct zcache_stats stats = stats_of(root);
    assert_int_equal(stats.tier[tier].promotions, 1);
    assert_int_equal(stats.tier[ZCACHE_TIER_RAW].pages, 1);
    assert_int_equal(stats.tier[tier].pages, TIER_PAGES - 1);
    assert_int_equal(stats.count.get_hits_raw, 0);
    assert_int_equal(get_page(root, key_of(1, 5), 0), 1);
    assert_int_equal(stats_of(root).count.get_hits_raw, 1);

    /* Looking, however often, promotes nothing; nor does a single hit. */
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(get_page(root, key_of(1, 6), ZCACHE_PEEK), 1);
    }
    assert_int_equal(get_page(root, key_of(1, 7), 0), 1);
    /* Nor do hits that leave the tier as it is, though they count as uses. */
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(get_page(root, key_of(1, 8), ZCACHE_KEEP_TIER), 1);
    }
    stats = stats_of(root);
    assert_int_equal(stats.tier[tier].promotions, 1);
    assert_int_equal(stats.tier[ZCACHE_TIER_RAW].pages, 1);
    assert_int_equal(get_page(root, key_of(1, 8), 0), 1);
    assert_int_equal(stats_of(root).tier[tier].promotions, 2);
    drop_cache(cache);
}

static void hits_promote(void **state)
{
    (void)state;
    a_page_hit_again_is_promoted("fast_percent=100", ZCACHE_TIER_FAST);
    a_page_hit_again_is_promoted(NULL, ZCACHE_TIER_DENSE);
}

static void codec_can_be_changed_while_in_use(void **state)
{
    struct zcache *cache = open_demoted("fast_percent=100", FILL_TEXT);
    struct zcache_tenant *root = zcache_root(cache);
    static const char *const codecs[] = {"zstd:1", "zstd:9", "none", "lz4", "zstd:1"};

    (void)state;
    for (uint64_t c = 0; c < sizeof(codecs) / sizeof(codecs[0]); c++) {
        assert_int_equal(zcache_codec_select(cache, ZCACHE_TIER_FAST, codecs[c]), 0);
        for (uint64_t i = 0; i < TIER_PAGES; i++) {
            assert_int_equal(put_page(root, key_of(2 + c, i), 1, FILL_TEXT, ZCACHE_DIRTY), 0);
        }
        assert_int_equal(zcache_shrink(root, 64 * MIB, 1000, NULL), -EAGAIN);
        for (uint64_t object = 1; object <= 2 + c; object++) {
            for (uint64_t i = 0; i < TIER_PAGES; i++) {
                assert_int_equal(get_page(root, key_of(object, i), ZCACHE_PEEK), 1);
            }
        }
        verify_cache(cache);
    }
    drop_cache(cache);
}

/* A codec of one's own: runs of one byte. Its decoder can be told to find fault. */
static atomic_int contexts;
static atomic_bool decoder_fails;

static void *runs_create(int level)
{
    REQUIRE(level >= 1 && level <= 5);
    atomic_fetch_add(&contexts, 1);
    return malloc(1);
}

static void runs_destroy(void *context)
{
    REQUIRE(context != NULL);
    atomic_fetch_sub(&contexts, 1);
    free(context);
}

static size_t runs_encode(void *context, void *dst, size_t cap, const void *src, size_t len)
{
    const unsigned char *in = src;
    unsigned char *out = dst;
    size_t n = 0;

    REQUIRE(context != NULL);
    for (size_t i = 0; i < len;) {
        size_t run = 1;
        while (run < 255 && i + run < len && in[i + run] == in[i]) {
            run++;
        }
        if (n + 2 > cap) {
            return 0;
        }
        out[n++] = (unsigned char)run;
        out[n++] = in[i];
        i += run;
    }
    return n;
}

static int runs_decode(void *context, void *dst, size_t len, const void *src, size_t stored)
{
    const unsigned char *in = src;
    unsigned char *out = dst;
    size_t n = 0;

    REQUIRE(context != NULL);
    if (atomic_load(&decoder_fails)) {
        return -EBADMSG;
    }
    for (size_t i = 0; i + 1 < stored; i += 2) {
        if (n + in[i] > len) {
            return -EBADMSG;
        }
        memset(out + n, in[i + 1], in[i]);
        n += in[i];
    }
    return n == len ? 0 : -EBADMSG;
}

static void make_runs(unsigned char *page, uint64_t seed)
{
    for (size_t i = 0; i < PAGE; i++) {
        page[i] = (unsigned char)(seed + i / 100);
    }
}

static void a_codec_of_ones_own(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, "fast_percent=100");
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_codec codec = ZCACHE_CODEC_INIT;
    unsigned char page[PAGE];
    unsigned char room[PAGE];

    (void)state;
    codec.name = "runs";
    codec.level_min = 1;
    codec.level_max = 5;
    codec.level_default = 2;
    codec.context_create = runs_create;
    codec.context_destroy = runs_destroy;
    codec.encode = runs_encode;
    codec.decode = runs_decode;
    assert_int_equal(zcache_codec_register(cache, &codec), 0);
    memset(&codec, 0, sizeof(codec)); /* it was copied */
    assert_int_equal(zcache_codec_select(cache, ZCACHE_TIER_FAST, "runs:6"), -EINVAL);
    assert_int_equal(zcache_codec_select(cache, ZCACHE_TIER_FAST, "runs:5"), 0);
    for (uint64_t i = 0; i < 100; i++) {
        make_runs(page, i);
        assert_int_equal(zcache_put(root, key_of(1, i), page, PAGE, ZCACHE_DIRTY), 0);
    }
    assert_int_equal(zcache_shrink(root, 64 * MIB, 1000, NULL), -EAGAIN);
    assert_int_equal(stats_of(root).tier[ZCACHE_TIER_FAST].pages, 100);
    assert_true(stats_of(root).tier[ZCACHE_TIER_FAST].stored_bytes < 100 * PAGE / 8);
    for (uint64_t i = 0; i < 100; i++) {
        make_runs(page, i);
        expect_page(root, key_of(1, i), page, PAGE, ZCACHE_PEEK);
    }
    verify_cache(cache);

    /* Damage is an error: neither data nor a miss, and nothing is lost by it. */
    atomic_store(&decoder_fails, true);
    assert_int_equal(zcache_get(root, key_of(1, 1), room, PAGE, NULL, 0), -EBADMSG);
    assert_int_equal(zcache_get(root, key_of(1, 1), room, PAGE, NULL, ZCACHE_TAKE), -EBADMSG);
    struct zcache_pin pin;
    assert_int_equal(zcache_pin(root, key_of(1, 1), 0, &pin), -EBADMSG);
    assert_true(stats_of(root).count.corrupt > 0);
    assert_int_equal(stats_of(root).gauge.pages, 100);
    assert_true(is_cached(root, key_of(1, 1)));
    atomic_store(&decoder_fails, false);
    /* A new version heals it. */
    make_runs(page, 77);
    assert_int_equal(zcache_put(root, key_of(1, 1), page, PAGE, ZCACHE_DIRTY), 0);
    expect_page(root, key_of(1, 1), page, PAGE, 0);
    drop_cache(cache);
    assert_int_equal(atomic_load(&contexts), 0);
}

/* ---- recency ----------------------------------------------------------------------------------- */

/*
 * A working set that was hit, then @n pages of something else put with @flags; how many of the working
 * set are left.
 */
static unsigned left_after(unsigned flags, uint64_t n)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, "fast=none,dense=none");
    struct zcache_tenant *root = zcache_root(cache);
    const uint64_t set = 8 * MIB / PAGE;
    unsigned left = 0;

    for (uint64_t i = 0; i < set; i++) {
        assert_int_equal(put_page(root, key_of(1, i), 1, FILL_RANDOM, 0), 0);
    }
    for (unsigned round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < set; i++) {
            assert_int_equal(get_page(root, key_of(1, i), 0), 1);
        }
    }
    for (uint64_t i = 0; i < n; i++) {
        assert_int_equal(put_page(root, key_of(2, i), 1, FILL_RANDOM, flags), 0);
    }
    for (uint64_t i = 0; i < set; i++) {
        left += is_cached(root, key_of(1, i));
    }
    close_cache(cache);
    return left * 100 / (unsigned)set;
}

static void a_scan_leaves_the_working_set(void **state)
{
    (void)state;
    const unsigned left = left_after(ZCACHE_SCAN, 4 * (16 * MIB) / PAGE / TEST_SLOWDOWN);
    print_message("%u %% of the working set left after a scan\n", left);
    assert_true(left >= 95);
}

static void looking_does_not_keep_a_page(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, "fast=none,dense=none");
    struct zcache_tenant *root = zcache_root(cache);
    const uint64_t n = 4 * MIB / PAGE;
    unsigned hit = 0;
    unsigned looked_at = 0;

    (void)state;
    for (uint64_t i = 0; i < n; i++) {
        assert_int_equal(put_page(root, key_of(1, i), 1, FILL_RANDOM, 0), 0);
        assert_int_equal(put_page(root, key_of(2, i), 1, FILL_RANDOM, 0), 0);
    }
    for (uint64_t i = 0; i < n; i++) {
        for (int twice = 0; twice < 2; twice++) { /* as often as a new page must be used to stay */
            assert_int_equal(get_page(root, key_of(1, i), 0), 1);
            assert_int_equal(get_page(root, key_of(2, i), ZCACHE_PEEK), 1);
        }
    }
    assert_int_equal(zcache_shrink(root, 3 * MIB, 5000, NULL), 0);
    for (uint64_t i = 0; i < n; i++) {
        hit += is_cached(root, key_of(1, i));
        looked_at += is_cached(root, key_of(2, i));
    }
    assert_int_equal(hit, n);
    assert_true(looked_at < n / 2);
    close_cache(cache);
}

/* ---- pins -------------------------------------------------------------------------------------- */

static void pinned_bytes_do_not_change(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    unsigned char first[PAGE];
    struct zcache_pin a = {0};
    struct zcache_pin b = {0};
    struct zcache_pin c = {0};

    (void)state;
    page_make(first, PAGE, key_of(1, 1), 1, FILL_HALF);
    assert_int_equal(zcache_pin(root, key_of(1, 1), 0, &a), ZCACHE_MISS);
    assert_int_equal(put_page(root, key_of(1, 1), 1, FILL_HALF, 0), 0);
    assert_int_equal(zcache_pin(root, key_of(1, 1), 0, &a), 0);
    assert_int_equal(zcache_pin(root, key_of(1, 1), ZCACHE_PEEK | ZCACHE_NOWAIT | ZCACHE_NOIO, &b),
                     0);
    assert_ptr_equal(a.data, b.data);
    assert_int_equal(a.len, PAGE);
    assert_int_equal(stats_of(root).cache.pins, 2);

    assert_int_equal(put_page(root, key_of(1, 1), 2, FILL_HALF, 0), 0);
    assert_memory_equal(a.data, first, PAGE);
    assert_int_equal(zcache_pin(root, key_of(1, 1), 0, &c), 0);
    assert_ptr_not_equal(a.data, c.data);
    assert_int_equal(zcache_delete(root, key_of(1, 1), 0), 0);
    assert_false(is_cached(root, key_of(1, 1)));
    assert_memory_equal(a.data, first, PAGE);
    uint64_t version = 0;
    assert_true(page_whole(c.data, c.len, key_of(1, 1), &version) && version == 2);

    /* Old bytes stay while room is made around them. */
    assert_int_equal(zcache_shrink(root, 64 * MIB, 100, NULL), -EAGAIN);
    assert_memory_equal(b.data, first, PAGE);
    assert_int_equal(zcache_close(cache, ZCACHE_DISCARD), -EBUSY);
    zcache_unpin(&a);
    assert_memory_equal(b.data, first, PAGE);
    zcache_unpin(&b);
    zcache_unpin(&b);
    zcache_unpin(&c);
    const struct zcache_stats stats = stats_of(root);
    assert_int_equal(stats.cache.pins, 0);
    assert_int_equal(stats.count.pin_hits, 3);
    assert_int_equal(stats.count.pin_misses, 1);
    assert_int_equal(stats.count.unpins, 3);
    close_cache(cache);
}

static void pinning_a_compressed_page_makes_it_raw(void **state)
{
    struct zcache *cache = open_demoted(NULL, FILL_TEXT);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_pin pin;
    uint64_t version = 0;

    (void)state;
    for (uint64_t i = 0; i < TIER_PAGES; i++) {
        assert_int_equal(zcache_pin(root, key_of(1, i), 0, &pin), 0);
        assert_int_equal(pin.len, PAGE);
        assert_true(page_whole(pin.data, pin.len, key_of(1, i), &version));
        zcache_unpin(&pin);
        assert_null(pin.data);
    }
    assert_int_equal(stats_of(root).tier[ZCACHE_TIER_RAW].pages, TIER_PAGES);
    drop_cache(cache);
}

static void pinned_pages_are_not_demoted(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_pin pins[TIER_PAGES];
    struct zcache_shrink_result result = {0};

    (void)state;
    for (uint64_t i = 0; i < (uint64_t)2 * TIER_PAGES; i++) {
        assert_int_equal(put_page(root, key_of(1, i), 1, FILL_TEXT, 0), 0);
    }
    for (uint64_t i = 0; i < TIER_PAGES; i++) {
        assert_int_equal(zcache_pin(root, key_of(1, i), ZCACHE_PEEK, &pins[i]), 0);
    }
    assert_int_equal(zcache_shrink(root, 64 * MIB, 100, &result), -EAGAIN);
    assert_true(result.pinned_pages >= TIER_PAGES);
    for (uint64_t i = 0; i < TIER_PAGES; i++) {
        assert_true(is_cached(root, key_of(1, i)));
        assert_false(is_cached(root, key_of(1, TIER_PAGES + i)));
        zcache_unpin(&pins[i]);
    }
    assert_int_equal(zcache_shrink(root, 64 * MIB, 100, NULL), -EAGAIN);
    assert_int_equal(stats_of(root).gauge.pages, 0);
    close_cache(cache);
}

/* ---- the library as a whole ---------------------------------------------------------------------- */

static void several_caches_live_side_by_side(void **state)
{
    struct zcache *caches[8];

    (void)state;
    for (uint64_t c = 0; c < 8; c++) {
        caches[c] = open_cache((1 + c) * 4 * MIB, NULL, c % 2 == 0 ? "raw_percent=0" : NULL);
        for (uint64_t i = 0; i < 200; i++) {
            assert_int_equal(put_page(zcache_root(caches[c]), key_of(1, i), 100 + c, FILL_HALF, 0),
                             0);
        }
    }
    for (uint64_t c = 0; c < 8; c += 2) {
        close_cache(caches[c]);
    }
    for (uint64_t c = 1; c < 8; c += 2) {
        for (uint64_t i = 0; i < 200; i++) {
            assert_int_equal(get_page(zcache_root(caches[c]), key_of(1, i), 0), 100 + c);
        }
    }
    for (uint64_t c = 1; c < 8; c += 2) {
        close_cache(caches[c]);
    }
}

static void opening_and_closing_leaves_nothing(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100 / TEST_SLOWDOWN; i++) {
        struct zcache *cache = open_cache(8 * MIB, NULL, NULL);
        assert_int_equal(put_page(zcache_root(cache), key_of(i, i), 1, FILL_TEXT, 0), 0);
        close_cache(cache);
    }
}

static void the_version_is_the_headers(void **state)
{
    char text[32];

    (void)state;
    (void)snprintf(text, sizeof(text), "%d.%d.%d", ZCACHE_VERSION_MAJOR, ZCACHE_VERSION_MINOR,
                   ZCACHE_VERSION_PATCH);
    assert_string_equal(zcache_version(), text);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_comes_back),
        cmocka_unit_test(a_mebibyte_comes_back),
        cmocka_unit_test(same_filled_pages_take_no_room),
        cmocka_unit_test(odd_lengths_of_a_word_come_back),
        cmocka_unit_test(almost_same_filled_pages_come_back),
        cmocka_unit_test(same_filled_and_other_versions_alternate),
        cmocka_unit_test(put_get_replace_delete),
        cmocka_unit_test(a_version_may_have_another_length),
        cmocka_unit_test(length_is_told_without_a_buffer),
        cmocka_unit_test(if_absent_keeps_what_is_there),
        cmocka_unit_test(take_removes_and_tells_whose_it_is),
        cmocka_unit_test(without_a_store_pages_are_clean),
        cmocka_unit_test(truncate_removes_an_objects_tail),
        cmocka_unit_test(a_key_belongs_to_a_tenant),
        cmocka_unit_test(many_pages_in_one_call),
        cmocka_unit_test(many_pages_may_be_one),
        cmocka_unit_test(only_one_of_many_inserts),
        cmocka_unit_test(fresh_pages_are_raw),
        cmocka_unit_test(cold_pages_become_fast),
        cmocka_unit_test(colder_pages_become_dense),
        cmocka_unit_test(without_raw_share_the_putting_thread_compresses),
        cmocka_unit_test(codecs_can_be_turned_off),
        cmocka_unit_test(incompressible_pages_stay_as_they_are),
        cmocka_unit_test(declared_incompressible_pages_are_not_tried),
        cmocka_unit_test(hits_promote),
        cmocka_unit_test(codec_can_be_changed_while_in_use),
        cmocka_unit_test(a_codec_of_ones_own),
        cmocka_unit_test(a_scan_leaves_the_working_set),
        cmocka_unit_test(looking_does_not_keep_a_page),
        cmocka_unit_test(pinned_bytes_do_not_change),
        cmocka_unit_test(pinning_a_compressed_page_makes_it_raw),
        cmocka_unit_test(pinned_pages_are_not_demoted),
        cmocka_unit_test(several_caches_live_side_by_side),
        cmocka_unit_test(opening_and_closing_leaves_nothing),
        cmocka_unit_test(the_version_is_the_headers),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
