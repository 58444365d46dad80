/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What breaks where a page is recognised by the address of its bytes: while somebody makes room for the
 * raw form of a compressed page, the page goes, and another of the same key gets its address.
 */
#include <string.h>

#include "script.h"
#include "unit/inside.h"

#define KEY    key_of(1, 1)
#define PACKED "raw_percent=0,start_percent=100" /* a put compresses: a pin makes the page raw */
#define NOISE  2000u
#define LONG   8000u

static unsigned char content[LONG]; /* as long as its noise when compressed, however long it is */

static void put_len(struct zcache_tenant *t, size_t len)
{
    REQUIRE_EQUAL(zcache_put(t, KEY, content, len, ZCACHE_CLEAN), 0);
}

static void pin_it(void *arg)
{
    struct zcache_pin pin;

    REQUIRE_EQUAL(zcache_pin(arg, KEY, 0, &pin), 0);
    REQUIRE(memcmp(pin.data, content, pin.len) == 0);
    zcache_unpin(&pin);
}

/* The room was made for a page of 4000 bytes; the page that lies there now is longer. */
static void room_made_for_a_page_is_not_used_for_a_longer_one(void **state)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, PACKED);
    struct zcache_tenant *t = open_tenant(zcache_root(cache), "t", 4 * MIB);
    struct rng rng = {1};
    struct script_thread pinner;
    size_t len = LONG / 2;

    (void)state;
    for (size_t i = 0; i < NOISE; i++) {
        content[i] = (unsigned char)rng_next(&rng);
    }
    script_begin();
    put_len(t, len);
    const uint64_t word = word_of(t, KEY);
    const uint64_t before = zc_page_bytes((uint32_t)len, ZC_CODEC_NONE);
    script_hold("get.reserved", KEY);
    script_start(&pinner, pin_it, t);
    script_await("get.reserved");
    do { /* until one is so long compressed that it gets that address */
        len += 100;
        REQUIRE(len <= LONG);
        assert_int_equal(zcache_delete(t, KEY, 0), 0);
        drain(cache);
        put_len(t, len);
    } while (word_of(t, KEY) != word || zc_page_bytes((uint32_t)len, ZC_CODEC_NONE) == before);
    script_release("get.reserved");
    script_join(&pinner);
    verify_cache(cache);
    assert_int_equal(zcache_delete(t, KEY, 0), 0);
    assert_int_equal(settled_charge(t), 0);
    script_end();
    close_cache(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(room_made_for_a_page_is_not_used_for_a_longer_one),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
