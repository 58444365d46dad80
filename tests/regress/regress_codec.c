/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What broke around codecs in other systems: stored bytes were decoded by what was configured now and
 * not by what had made them, compressors returned more than there was room for, and what could not be
 * decoded ended the process or was taken for a miss.
 */
#include <errno.h>
#include <string.h>
#include <zcache/codec.h>

#include "script.h"
#include "tier.h"
#include "unit/inside.h"

#define KEY(page) key_of(1, page)

struct fixture {
    struct zcache *cache;
    struct zcache_tenant *root;
};

static struct fixture setup(const char *options)
{
    struct fixture f = {.cache = open_cache(16 * MIB, NULL, options)};

    f.root = zcache_root(f.cache);
    return f;
}

struct demotion {
    struct zcache_tenant *t;
    struct zcache_key key;
    enum zcache_tier to;
    enum zc_tier_outcome outcome;
    struct script_thread thread;
};

static void demote(void *arg)
{
    struct demotion *d = arg;
    struct zc_entry *e = isolate(d->t, d->key);
    uint64_t freed;

    d->outcome = zc_tier_demote(d->t->cache, thread_of(d->t->cache), e, d->to, &freed);
    zc_page_putback(d->t->cache, thread_of(d->t->cache), e, true);
}

static enum zc_tier_outcome demote_now(struct zcache_tenant *t,
                                       struct zcache_key key,
                                       enum zcache_tier to)
{
    struct demotion d = {.t = t, .key = key, .to = to};

    demote(&d);
    return d.outcome;
}

/* The instance that made a page's stored bytes; 0: none. */
static uint8_t codec_of(struct zcache_tenant *t, struct zcache_key key)
{
    return zc_payload_codec(zc_word_payload(word_of(t, key)));
}

static void put_pages(struct zcache_tenant *t, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        REQUIRE_EQUAL(put_page(t, KEY(i), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
    }
}

static void require_pages(struct zcache_tenant *t, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        REQUIRE_EQUAL(get_page(t, KEY(i), ZCACHE_PEEK), 1);
    }
}

/* ---------------------------------------------------------------------------------------------- */
/* Switching. */

/* A page has been encoded and is not stored yet when the tier gets another codec. */
static void a_page_is_decoded_by_what_encoded_it(void **state)
{
    struct fixture f = setup("start_percent=100,fast=lz4,dense=zstd:3");
    struct demotion d = {.t = f.root, .key = KEY(1), .to = ZCACHE_TIER_FAST};

    (void)state;
    put_pages(f.root, 4);
    const uint8_t lz4 = atomic_load(&f.cache->codec[ZCACHE_TIER_FAST]);
    const uint8_t zstd = atomic_load(&f.cache->codec[ZCACHE_TIER_DENSE]);
    assert_int_equal(demote_now(f.root, KEY(0), ZCACHE_TIER_FAST), ZC_TIER_MOVED);
    script_begin();
    script_hold("tier.encoded", KEY(1));
    script_start(&d.thread, demote, &d);
    script_await("tier.encoded");
    assert_int_equal(zcache_codec_select(f.cache, ZCACHE_TIER_FAST, "zstd:3"), 0);
    assert_int_equal(zcache_codec_select(f.cache, ZCACHE_TIER_DENSE, "lz4"), 0);
    require_pages(f.root, 4);
    script_release("tier.encoded");
    script_join(&d.thread);
    script_end();
    assert_int_equal(d.outcome, ZC_TIER_MOVED);
    assert_int_equal(demote_now(f.root, KEY(2), ZCACHE_TIER_FAST), ZC_TIER_MOVED);
    assert_int_equal(codec_of(f.root, KEY(0)), lz4);
    assert_int_equal(codec_of(f.root, KEY(1)), lz4);
    assert_int_equal(codec_of(f.root, KEY(2)), zstd);
    assert_int_equal(codec_of(f.root, KEY(3)), ZC_CODEC_NONE);
    require_pages(f.root, 4);
    assert_int_equal(zcache_codec_select(f.cache, ZCACHE_TIER_FAST, "lz4"), 0); /* and back */
    require_pages(f.root, 4);
    close_cache(f.cache);
}

/* A page was chosen for a tier and decoded for that; the tier has no codec any more. */
static void a_tier_that_is_turned_off_takes_no_page(void **state)
{
    struct fixture f = setup("start_percent=100,fast=lz4,dense=none");
    struct demotion d = {.t = f.root, .key = KEY(1), .to = ZCACHE_TIER_FAST};

    (void)state;
    put_pages(f.root, 3);
    assert_int_equal(demote_now(f.root, KEY(0), ZCACHE_TIER_FAST), ZC_TIER_MOVED);
    script_begin();
    script_hold("tier.decoded", KEY(1));
    script_start(&d.thread, demote, &d);
    script_await("tier.decoded");
    assert_int_equal(zcache_codec_select(f.cache, ZCACHE_TIER_FAST, "none"), 0);
    script_release("tier.decoded");
    script_join(&d.thread);
    script_end();
    assert_int_equal(d.outcome, ZC_TIER_KEPT);
    assert_int_equal(codec_of(f.root, KEY(1)), ZC_CODEC_NONE);
    assert_int_equal(stats_of(f.root).gauge.incompressible_pages, 0);
    require_pages(f.root, 3);
    assert_int_equal(zcache_codec_select(f.cache, ZCACHE_TIER_FAST, "lz4"), 0);
    assert_int_equal(demote_now(f.root, KEY(1), ZCACHE_TIER_FAST), ZC_TIER_MOVED);
    require_pages(f.root, 3);
    close_cache(f.cache);
}

/* ---------------------------------------------------------------------------------------------- */
/* Codecs that lie. */

#define HONEST (SIZE_MAX - 100) /* a size that stands for the true one */

static struct {
    size_t encoded; /* what the encoder returns; HONEST; or more than cap, by so much: past_cap */
    size_t past_cap;
    int decoded; /* what the decoder returns */
} lies;

/* Keeps every other byte, which is enough to be decoded to something. */
static size_t lying_encode(void *context, void *dst, size_t cap, const void *src, size_t len)
{
    const unsigned char *from = src;
    unsigned char *to = dst;
    const size_t n = len / 2;

    (void)context;
    REQUIRE(n <= cap);
    for (size_t i = 0; i < n; i++) {
        to[i] = from[2 * i];
    }
    if (lies.past_cap > 0) {
        return cap + lies.past_cap;
    }
    return lies.encoded == HONEST ? n : lies.encoded;
}

static int lying_decode(void *context, void *dst, size_t len, const void *src, size_t stored)
{
    (void)context;
    (void)src;
    (void)stored;
    memset(dst, 'x', len);
    return lies.decoded;
}

static void register_liar(struct zcache *cache)
{
    struct zcache_codec codec = ZCACHE_CODEC_INIT;

    codec.name = "liar";
    codec.encode = lying_encode;
    codec.decode = lying_decode;
    REQUIRE_EQUAL(zcache_codec_register(cache, &codec), 0);
    REQUIRE_EQUAL(zcache_codec_select(cache, ZCACHE_TIER_FAST, "liar"), 0);
}

/* More than there was room for is not a length, whether a demotion asked or a put. */
static void an_encoder_cannot_return_more_than_it_was_given(void **state)
{
    static const size_t past[] = {1, 2, 4096, SIZE_MAX / 2};
    static const size_t absolute[] = {0, SIZE_MAX, SIZE_MAX - 1, (size_t)UINT32_MAX + 2};

    (void)state;
    for (unsigned mode = 0; mode < 2; mode++) {
        struct fixture f = setup(mode == 0 ? "start_percent=100,dense=none"
                                           : "start_percent=100,dense=none,raw_percent=0");
        uint64_t page = 0;

        register_liar(f.cache);
        for (unsigned i = 0; i < ZC_ARRAY_SIZE(past) + ZC_ARRAY_SIZE(absolute); i++, page++) {
            lies.past_cap = i < ZC_ARRAY_SIZE(past) ? past[i] : 0;
            lies.encoded = i < ZC_ARRAY_SIZE(past) ? 0 : absolute[i - ZC_ARRAY_SIZE(past)];
            assert_int_equal(put_page(f.root, KEY(page), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
            if (mode == 0) {
                assert_int_equal(demote_now(f.root, KEY(page), ZCACHE_TIER_FAST), ZC_TIER_KEPT);
                assert_int_equal(stats_of(f.root).tier[ZCACHE_TIER_FAST].demote_rejects, page + 1);
            }
            assert_int_equal(codec_of(f.root, KEY(page)), ZC_CODEC_NONE);
        }
        require_pages(f.root, page);
        close_cache(f.cache);
    }
}

/* Whatever a decoder returns that is not success is damage, and in no case a miss. */
static void a_decoder_cannot_turn_damage_into_a_miss(void **state)
{
    static const int returned[] = {
        ZCACHE_MISS, ZCACHE_PENDING, ZCACHE_UNWRITTEN,
        4711,        -EIO,           -EAGAIN /* which means look again elsewhere */,
        -ENOMEM,     INT32_MIN};
    struct fixture f = setup("start_percent=100,dense=none");
    unsigned char page[PAGE];
    struct zcache_pin pin;
    size_t len;

    (void)state;
    register_liar(f.cache);
    put_pages(f.root, 2);
    lies.past_cap = 0;
    lies.encoded = HONEST;
    assert_int_equal(demote_now(f.root, KEY(0), ZCACHE_TIER_FAST), ZC_TIER_MOVED);
    for (unsigned i = 0; i < ZC_ARRAY_SIZE(returned); i++) {
        struct zcache_page many = {.key = KEY(0), .buf = page, .cap = PAGE};

        lies.decoded = returned[i];
        assert_int_equal(zcache_get(f.root, KEY(0), page, PAGE, &len, 0), -EBADMSG);
        assert_int_equal(zcache_get(f.root, KEY(0), page, PAGE, &len, ZCACHE_TAKE), -EBADMSG);
        assert_int_equal(zcache_get_many(f.root, &many, 1, 0), -EBADMSG);
        assert_int_equal(zcache_pin(f.root, KEY(0), 0, &pin), -EBADMSG);
        assert_int_equal(get_page(f.root, KEY(1), 0), 1);
    }
    assert_int_equal(stats_of(f.root).count.get_misses, 0);
    assert_int_equal(put_page(f.root, KEY(0), 2, FILL_TEXT, ZCACHE_CLEAN), 0);
    assert_int_equal(get_page(f.root, KEY(0), 0), 2);
    close_cache(f.cache);
}

/* ---------------------------------------------------------------------------------------------- */
/* Damage. */

/* One flipped bit, in every form, is an error in every way to read the page, and nowhere else. */
static void damage_is_an_error_in_every_form(void **state)
{
    (void)state;
    for (unsigned form = ZCACHE_TIER_RAW; form <= ZCACHE_TIER_DENSE; form++) {
        struct fixture f = setup("start_percent=100,fast=lz4,dense=zstd:3");
        unsigned char page[PAGE];
        struct zcache_pin pin;
        size_t len;

        put_pages(f.root, 2);
        for (unsigned to = ZCACHE_TIER_FAST; to <= form; to++) {
            assert_int_equal(demote_now(f.root, KEY(0), (enum zcache_tier)to), ZC_TIER_MOVED);
        }
        damage(f.root, KEY(0));
        assert_int_equal(zcache_get(f.root, KEY(0), page, PAGE, &len, 0), -EBADMSG);
        assert_int_equal(zcache_get(f.root, KEY(0), page, PAGE, &len, ZCACHE_TAKE), -EBADMSG);
        if (form > 0) {
            assert_int_equal(zcache_pin(f.root, KEY(0), 0, &pin), -EBADMSG);
        }
        assert_int_equal(zcache_verify(f.cache), -EBADMSG);
        if (form < ZCACHE_TIER_DENSE) {
            assert_int_equal(demote_now(f.root, KEY(0), ZCACHE_TIER_DENSE), ZC_TIER_BUSY);
        }
        assert_int_equal(stats_of(f.root).count.get_misses, 0);
        assert_int_equal(stats_of(f.root).count.get_errors, 2);
        assert_true(is_cached(f.root, KEY(0)));
        assert_int_equal(get_page(f.root, KEY(1), 0), 1);
        assert_int_equal(zcache_delete(f.root, KEY(0), 0), 0);
        close_cache(f.cache);
    }
}

/* The number of a codec that never was, in a head that is damaged but whose bytes are not. */
static void a_codec_that_never_was_is_damage(void **state)
{
    struct fixture f = setup("start_percent=100,fast=lz4,dense=none");
    unsigned char page[PAGE];
    size_t len;

    (void)state;
    put_pages(f.root, 1);
    assert_int_equal(demote_now(f.root, KEY(0), ZCACHE_TIER_FAST), ZC_TIER_MOVED);
    struct zc_payload *p = zc_word_payload(word_of(f.root, KEY(0)));
    const uint64_t meta = p->meta;
    for (uint64_t codec = 2; codec <= UINT8_MAX; codec++) {
        p->meta = (meta & ~(UINT64_C(0xff) << 40)) | codec << 40;
        assert_int_equal(zcache_get(f.root, KEY(0), page, PAGE, &len, 0), -EBADMSG);
    }
    p->meta = meta;
    require_pages(f.root, 1);
    close_cache(f.cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_is_decoded_by_what_encoded_it),
        cmocka_unit_test(a_tier_that_is_turned_off_takes_no_page),
        cmocka_unit_test(an_encoder_cannot_return_more_than_it_was_given),
        cmocka_unit_test(a_decoder_cannot_turn_damage_into_a_miss),
        cmocka_unit_test(damage_is_an_error_in_every_form),
        cmocka_unit_test(a_codec_that_never_was_is_damage),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
