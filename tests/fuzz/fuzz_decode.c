/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arbitrary bytes for a decoder, with an arbitrary length to restore.
 *
 *     codec, 128 and more with a dictionary | raw length - 1, 3 bytes | stored bytes ...
 *
 * Either the decoder refuses, or it writes exactly the promised length and always the same.  It
 * decodes twice: with both buffers at the end and both at the start of memory that is guarded on
 * either side, so that a read or write one byte outside ends the run.  Afterwards the same context
 * must still decode a good page.
 */
#include <errno.h>
#include <string.h>

#include "codecs.h"
#include "mathx.h"

#define HEAD 4u

struct bytes {
    struct guarded stored;
    struct guarded page;
    struct guarded again;
};

static struct bytes *memory(void)
{
    static struct bytes bytes;

    if (bytes.page.start == NULL) {
        guarded_init(&bytes.stored, 2 * CODECS_PAGE_MAX);
        guarded_init(&bytes.page, CODECS_PAGE_MAX);
        guarded_init(&bytes.again, CODECS_PAGE_MAX);
    }
    return &bytes;
}

/* libFuzzer sees neither liblz4 nor libzstd: how far they came is what it is told instead. */
#ifdef ZCACHE_FUZZER
__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t progress[8][32][2];

static void tell_progress(uint8_t id, const unsigned char *page, size_t len, uint8_t fill, int rc)
{
    size_t n = len;

    while (n > 0 && page[n - 1] == fill) {
        n--;
    }
    progress[id % 8][n == 0 ? 0 : zc_log2_floor(n) + 1][rc == 0] = 1;
}
#else
static void tell_progress(uint8_t id, const unsigned char *page, size_t len, uint8_t fill, int rc)
{
    (void)id;
    (void)page;
    (void)len;
    (void)fill;
    (void)rc;
}
#endif

static int decode_at(struct codecs *c,
                     uint8_t id,
                     unsigned char *stored,
                     const struct input *in,
                     const struct guarded *g,
                     unsigned char *page,
                     size_t len,
                     uint8_t fill,
                     bool dict)
{
    int rc;

    memcpy(stored, in->at, in->left);
    memset(page, fill, len);
    guarded_paint(g, page, len);
    rc = dict ? zc_codec_decode_with(c->registry, &c->set, id, c->dict->decoder, page, len, stored,
                                     in->left)
              : zc_codec_decode(c->registry, &c->set, id, page, len, stored, in->left);
    CHECK(rc == 0 || rc == -EBADMSG);
    guarded_check(g, page, len);
    CHECK(in->left == 0 || memcmp(stored, in->at, in->left) == 0);
    return rc;
}

/* What was decoded is a page like any other. */
static void round_trip(struct codecs *c, uint8_t id, const unsigned char *page, size_t len)
{
    struct bytes *m = memory();
    const size_t room = len + len / 64 + 1024;
    unsigned char *stored = guarded_tail(&m->stored, room);
    unsigned char *back = guarded_tail(&m->again, len);
    const size_t n = zc_codec_encode(c->registry, &c->set, id, stored, room, page, len);

    CHECK(n > 0 && n <= room);
    CHECK_EQUAL(zc_codec_decode(c->registry, &c->set, id, back, len, stored, n), 0);
    CHECK(memcmp(page, back, len) == 0);
}

/* The same, with the dictionary and the page's checksum. */
static void round_trip_with_dict(struct codecs *c,
                                 uint8_t id,
                                 const unsigned char *page,
                                 size_t len)
{
    struct bytes *m = memory();
    unsigned char *stored = guarded_tail(&m->stored, len + 1024);
    unsigned char *back = guarded_tail(&m->again, len);
    size_t n;

    if (!zc_dict_usable(c->dict, id, len)) {
        return;
    }
    n = zc_dict_encode(c->dict, &c->set, id, stored, len + 1024, page, len);
    if (n == 0) { /* it does not get smaller */
        return;
    }
    CHECK(n <= len + 1024);
    memmove(guarded_tail(&m->stored, n), stored, n);
    stored = guarded_tail(&m->stored, n);
    CHECK_EQUAL(zc_dict_decode(c->dict, &c->set, id, back, len, stored, n), 0);
    CHECK(memcmp(page, back, len) == 0);
}

static void still_decodes(struct codecs *c, uint8_t id)
{
    static const unsigned char page[] = "a page a page a page a page of no harm";
    unsigned char stored[256];
    unsigned char back[sizeof(page)];
    const size_t n =
        zc_codec_encode(c->registry, &c->set, id, stored, sizeof(stored), page, sizeof(page));

    CHECK_EQUAL(zc_codec_decode(c->registry, &c->set, id, back, sizeof(back), stored, n), 0);
    CHECK(memcmp(page, back, sizeof(back)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct codecs *c = codecs_get();
    struct bytes *m = memory();
    struct input in = {data, size};
    const uint8_t choice = input_u8(&in);
    const uint8_t id = codecs_pick(c, choice);
    const bool dict = codecs_with_dict(c, choice);
    const size_t len = input_u24(&in) % CODECS_PAGE_MAX + 1;
    unsigned char *page = guarded_tail(&m->page, len);
    unsigned char *again = guarded_head(&m->again, len);
    int rc;

    if (in.left > m->stored.size) {
        return 0;
    }
    if (dict) {
        /* With a dictionary that it did not use last zstd takes another way, which finds other damage than
         * the one it takes then.  Both are safe, and the page's own checksum finds what is left. */
        (void)decode_at(c, id, guarded_tail(&m->stored, in.left), &in, &m->page, page, len, 0x5a,
                        dict);
    }
    rc = decode_at(c, id, guarded_tail(&m->stored, in.left), &in, &m->page, page, len, 0x5a, dict);
    tell_progress(id, page, len, 0x5a, rc);
    CHECK_EQUAL(
        decode_at(c, id, guarded_head(&m->stored, in.left), &in, &m->again, again, len, 0xa5, dict),
        rc);
    if (rc == 0) {
        CHECK(memcmp(page, again, len) == 0); /* all of it is written, whatever was there */
        round_trip(c, id, page, len);
        round_trip_with_dict(c, id, page, len);
    }
    still_decodes(c, id);
    return 0;
}

#ifdef ZCACHE_FUZZER
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

/* Now and then the body is taken for a page and replaced by its encoded form, to be damaged next. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    struct codecs *c = codecs_get();
    uint8_t page[4096];
    size_t len;
    size_t n;

    if (size <= HEAD || max_size <= HEAD || seed % 8 != 0) {
        return LLVMFuzzerMutate(data, size, max_size);
    }
    len = 0;
    while (len < sizeof(page)) { /* the body over and over, which makes matches */
        n = ZC_MIN(size - HEAD, sizeof(page) - len);
        memcpy(page + len, data + HEAD, n);
        len += n;
        if (seed % 64 < len * 64 / sizeof(page)) {
            break;
        }
    }
    n = codecs_with_dict(c, data[0])
            ? zc_codec_encode_with(c->registry, &c->set, codecs_pick(c, data[0]),
                                   atomic_load(&c->dict->encoder[c->id[2]]), data + HEAD,
                                   max_size - HEAD, page, len)
            : zc_codec_encode(c->registry, &c->set, codecs_pick(c, data[0]), data + HEAD,
                              max_size - HEAD, page, len);
    if (n == 0) {
        memcpy(data + HEAD, page, ZC_MIN(len, size - HEAD));
        return LLVMFuzzerMutate(data, size, max_size);
    }
    data[1] = (uint8_t)(len - 1);
    data[2] = (uint8_t)((len - 1) >> 8);
    data[3] = 0;
    return HEAD + n;
}
#endif
