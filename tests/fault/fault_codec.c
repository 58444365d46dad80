/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Codecs without memory for their contexts, the application's own included: pages stay in the form they
 * have, and one that cannot be decoded is an error, never a miss.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zcache/codec.h>

#include "mathx.h"
#include "scenario.h"

#define STORE MEM_STORE_ALL

/* ---- seven bits of each byte, for text ----------------------------------------------------------- */

static atomic_int n_contexts;

static void *context_create(int level)
{
    void *context = ZC_FAULT(codec) ? NULL : malloc(1);

    REQUIRE_EQUAL(level, 1);
    atomic_fetch_add(&n_contexts, context != NULL ? 1 : 0);
    return context;
}

static void context_destroy(void *context)
{
    REQUIRE(context != NULL);
    free(context);
    atomic_fetch_sub(&n_contexts, 1);
}

static size_t encode(void *context, void *dst, size_t cap, const void *src, size_t len)
{
    const unsigned char *from = src;
    unsigned char *to = dst;

    REQUIRE(context != NULL);
    if (len % 8 != 0 || len / 8 * 7 > cap) {
        return 0;
    }
    for (; from < (const unsigned char *)src + len; from += 8, to += 7) {
        uint64_t bits = 0;

        for (unsigned i = 0; i < 8; i++) {
            if (from[i] > 127) {
                return 0;
            }
            bits |= (uint64_t)from[i] << (7 * i);
        }
        memcpy(to, &bits, 7);
    }
    return len / 8 * 7;
}

static int decode(void *context, void *dst, size_t len, const void *src, size_t stored)
{
    const unsigned char *from = src;
    unsigned char *to = dst;

    REQUIRE(context != NULL);
    if (len % 8 != 0 || stored != len / 8 * 7) {
        return -EBADMSG;
    }
    for (; to < (unsigned char *)dst + len; from += 7, to += 8) {
        uint64_t bits = 0;

        memcpy(&bits, from, 7);
        for (unsigned i = 0; i < 8; i++) {
            to[i] = bits >> (7 * i) & 127;
        }
    }
    return 0;
}

static void register_seven(struct fault *f)
{
    struct zcache_codec codec = ZCACHE_CODEC_INIT;

    REQUIRE_EQUAL(atomic_load(&n_contexts), 0); /* those of the cache before went with it */
    codec.name = "seven";
    codec.level_min = codec.level_max = codec.level_default = 1;
    codec.context_create = context_create;
    codec.context_destroy = context_destroy;
    codec.encode = encode;
    codec.decode = decode;
    REQUIRE_EQUAL(zcache_codec_register(f->cache, &codec), 0);
    REQUIRE_EQUAL(zcache_codec_select(f->cache, ZCACHE_TIER_FAST, "seven"), 0);
}

/* ---- scenarios ----------------------------------------------------------------------------------- */

static int put(struct fault *f)
{
    const int rc = fault_put(f, &f->t, 0, PAGE, FILL_TEXT, 0);

    REQUIRE(rc != 0 || f->refused || atomic_load(&n_contexts) <= 2);
    return rc;
}

static void one_page(struct fault *f)
{
    register_seven(f);
    REQUIRE_EQUAL(put(f), 0);
    REQUIRE(!zc_payload_is_raw(zc_word_payload(word_of(f->t.t, fault_key(0)))));
}

static int get(struct fault *f)
{
    return fault_get(f, &f->t, 0, 0);
}

static int pin(struct fault *f)
{
    const int rc = fault_pin(f, &f->t, 0, 0);

    if (rc == 0) {
        zcache_unpin(&f->pin);
    }
    return rc;
}

static int flush(struct fault *f)
{
    return zcache_flush(f->t.t, 5000);
}

static void raw_pages(struct fault *f)
{
    fault_fill(f, &f->t, 20, PAGE, FILL_TEXT, 0);
}

static void raw_pages_and_seven(struct fault *f)
{
    register_seven(f);
    raw_pages(f);
}

static void raw_pages_and_zstd(struct fault *f)
{
    raw_pages(f);
    REQUIRE_EQUAL(zcache_codec_select(f->cache, ZCACHE_TIER_FAST, "zstd:9"), 0);
}

static int shrink(struct fault *f)
{
    struct zcache_shrink_result result;

    return zcache_shrink(f->t.t, settled_charge(f->t.t) / 20, 1000, &result);
}

/* Other codecs for what comes, while what was stored before is decoded by what it says of itself. */
static int put_and_get_after_a_change(struct fault *f)
{
    int rc = zcache_codec_select(f->cache, ZCACHE_TIER_FAST, "zstd:1");

    REQUIRE_EQUAL(rc, 0);
    rc = fault_put(f, &f->t, 1, PAGE, FILL_TEXT, 0);
    rc = rc != 0 ? rc : fault_get(f, &f->t, 1, 0);
    return rc != 0 ? rc : fault_get(f, &f->t, 0, 0);
}

static const struct fault_case cases[] = {
    {.name = "codec.put_through_an_own_one",
     .options = "raw_percent=0",
     .store = STORE,
     .prepare = register_seven,
     .act = put,
     .may = {-ENOMEM}},
    {.name = "codec.get_by_a_new_thread",
     .options = "raw_percent=0",
     .store = STORE,
     .elsewhere = true,
     .prepare = one_page,
     .act = get,
     .may = {-ENOMEM}},
    {.name = "codec.pin_by_a_new_thread",
     .options = "raw_percent=0",
     .store = STORE,
     .elsewhere = true,
     .prepare = one_page,
     .act = pin,
     .may = {-ENOMEM}},
    {.name = "codec.flush_by_a_new_thread",
     .options = "raw_percent=0",
     .store = STORE,
     .elsewhere = true,
     .prepare = one_page,
     .act = flush,
     .may = {-ENOMEM}},
    {.name = "codec.demotion_by_an_own_one",
     .store = STORE,
     .prepare = raw_pages_and_seven,
     .act = shrink,
     .may = {-EAGAIN, -ENOMEM}},
    {.name = "codec.demotion_by_zstd",
     .store = STORE,
     .prepare = raw_pages_and_zstd,
     .act = shrink,
     .may = {-EAGAIN, -ENOMEM}},
    {.name = "codec.change",
     .options = "raw_percent=0",
     .store = STORE,
     .prepare = one_page,
     .act = put_and_get_after_a_change,
     .may = {-ENOMEM}},
};

int main(int argc, char **argv)
{
    const int rc = fault_main(argc, argv, cases, ZC_ARRAY_SIZE(cases));

    REQUIRE(zc_fault_refused(ZC_FAULT_codec) > 0);
    REQUIRE_EQUAL(atomic_load(&n_contexts), 0);
    return rc;
}
