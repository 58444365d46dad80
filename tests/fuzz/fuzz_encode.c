/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arbitrary bytes as a page: what is encoded comes back, in whatever room, and nothing is written
 * beyond that room.
 *
 *     codec | how often the bytes are repeated | bytes ...
 *
 * Rooms: every one below what the page needs if that is little, else a choice from the smallest to
 * just too little.  Same-filled pages are recognised exactly if a plain loop recognises them.
 */
#include <string.h>

#include "codecs.h"
#include "entry.h"
#include "mathx.h"

#define PAGE_MAX  ((size_t)65536)
#define EVERY     512u /* up to this many stored bytes each room is tried */
#define STEPS     48u
#define MORE_ROOM ((size_t)1024)

struct bytes {
    struct guarded page;
    struct guarded stored;
    struct guarded exact;
    struct guarded back;
};

static struct bytes *memory(void)
{
    static struct bytes bytes;

    if (bytes.page.start == NULL) {
        guarded_init(&bytes.page, PAGE_MAX);
        guarded_init(&bytes.stored, 2 * PAGE_MAX);
        guarded_init(&bytes.exact, 2 * PAGE_MAX);
        guarded_init(&bytes.back, PAGE_MAX);
    }
    return &bytes;
}

/* ---- codecs ------------------------------------------------------------------------------------ */

/* Stored bytes, 0 if they do not fit into @room; whatever was written comes back. */
static size_t encode(struct codecs *c,
                     uint8_t id,
                     const unsigned char *page,
                     size_t len,
                     size_t room)
{
    struct bytes *m = memory();
    unsigned char *stored = guarded_tail(&m->stored, room);
    unsigned char *back = guarded_tail(&m->back, len);
    unsigned char *exact;
    size_t n;

    guarded_paint(&m->stored, stored, room);
    n = zc_codec_encode(c->registry, &c->set, id, stored, room, page, len);
    guarded_check(&m->stored, stored, room);
    CHECK(n <= room);
    if (n > 0) {
        exact = guarded_tail(&m->exact, n);
        memcpy(exact, stored, n);
        memset(back, 0x5a, len);
        CHECK_EQUAL(zc_codec_decode(c->registry, &c->set, id, back, len, exact, n), 0);
        CHECK(memcmp(page, back, len) == 0);
    }
    return n;
}

static void encode_into_less(struct codecs *c,
                             uint8_t id,
                             const unsigned char *page,
                             size_t len,
                             size_t whole)
{
    const size_t step = whole <= EVERY ? 1 : whole / STEPS;

    for (size_t room = 0; room < whole; room += step) {
        (void)encode(c, id, page, len, room);
    }
    (void)encode(c, id, page, len, whole - 1);
    (void)encode(c, id, page, len, whole);
    CHECK_EQUAL(encode(c, id, page, len, whole + MORE_ROOM), whole);
}

/* ---- same-filled pages ------------------------------------------------------------------------- */

static bool repeats(const unsigned char *page, size_t len)
{
    for (size_t i = 8; i < len; i++) {
        if (page[i] != page[i - 8]) {
            return false;
        }
    }
    return true;
}

static void same_filled(const unsigned char *page, size_t len)
{
    struct bytes *m = memory();
    unsigned char *back = guarded_tail(&m->back, len);
    uint64_t word = 0;
    uint64_t form;

    CHECK_EQUAL(zc_same_detect(page, len, &word), repeats(page, len));
    if (!repeats(page, len)) {
        return;
    }
    guarded_paint(&m->back, back, len);
    memset(back, 0x5a, len);
    zc_same_fill(back, len, word);
    guarded_check(&m->back, back, len);
    CHECK(memcmp(page, back, len) == 0);
    form = zc_word_same((uint32_t)len, word);
    CHECK(zc_word_is_same(form));
    CHECK_EQUAL(zc_word_same_len(form), len);
}

/* Wherever the bytes lie. */
static void same_checksum(const unsigned char *page, size_t len)
{
    unsigned char *other = guarded_head(&memory()->back, len);

    memcpy(other, page, len);
    CHECK_EQUAL(zc_checksum(other, len), zc_checksum(page, len));
}

/* ---- input ------------------------------------------------------------------------------------- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct codecs *c = codecs_get();
    struct bytes *m = memory();
    struct input in = {data, size};
    const uint8_t id = codecs_pick(c, input_u8(&in));
    size_t times = (size_t)input_u8(&in) + 1;
    unsigned char *page;
    size_t whole;
    size_t len;

    if (in.left == 0 || in.left > PAGE_MAX) {
        return 0;
    }
    times = ZC_MIN(times, PAGE_MAX / in.left);
    len = in.left * times;
    page = guarded_tail(&m->page, len);
    for (size_t i = 0; i < times; i++) {
        memcpy(page + i * in.left, in.at, in.left);
    }
    same_filled(page, len);
    same_checksum(page, len);
    whole = encode(c, id, page, len, len + len / 64 + MORE_ROOM);
    CHECK(whole > 0);
    encode_into_less(c, id, page, len, whole);
    return 0;
}
