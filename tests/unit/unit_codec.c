/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * codec: instances, round trips, hostile input, custom codecs, memory of contexts; same-filled
 * pages.
 *
 * Every buffer given to a codec ends where a page begins that nobody may touch, and its first bytes
 * are checked for writes below it: reading or writing one byte too far stops the test.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "assertion.h"
#include "codec.h"
#include "lock.h"
#include "mathx.h"

#define PAGE_MAX ((size_t)1 << 20)

/* ---------------------------------------------------------------------------------------------- */
/* Random numbers, content, guarded buffers. */

static uint64_t random_state = 20240817;

static uint32_t random_u32(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 16);
}

enum content {
    ZEROS,
    TEXT,
    RECORDS,
    NOISE,
    CONTENTS
};

static void fill(unsigned char *buf, size_t len, enum content content)
{
    static const char *const words[] = {"page ", "cache ", "of ", "compressed ", "a ", "tenant "};
    size_t i = 0;

    memset(buf, 0, len);
    while (content == TEXT && i < len) {
        for (const char *c = words[random_u32() % ZC_ARRAY_SIZE(words)]; *c != 0 && i < len; c++) {
            buf[i++] = (unsigned char)*c;
        }
    }
    for (; content == RECORDS && i < len; i++) {
        buf[i] = i % 32 < 4 ? (unsigned char)random_u32() : (unsigned char)(i % 32);
    }
    for (; content == NOISE && i < len; i++) {
        buf[i] = (unsigned char)random_u32();
    }
}

/* Memory whose end lies against a page without access. */
struct guarded {
    unsigned char *start;
    size_t size; /* without the guard */
};

static void guarded_init(struct guarded *g, size_t room)
{
    const size_t page = zc_plat_page_size();

    g->size = zc_align_up(room, page);
    g->start = zc_plat_map(g->size + page, page, -1);
    assert_non_null(g->start);
    assert_int_equal(mprotect(g->start + g->size, page, PROT_NONE), 0);
}

static void guarded_fini(struct guarded *g)
{
    zc_plat_unmap(g->start, g->size + zc_plat_page_size());
}

/* The last @len bytes. */
static unsigned char *guarded_tail(const struct guarded *g, size_t len)
{
    assert_true(len <= g->size);
    return g->start + g->size - len;
}

/* ---------------------------------------------------------------------------------------------- */
/* Memory that is counted, checks sizes, and can run out. */

struct memory {
    atomic_llong bytes;
    atomic_llong pieces;
    atomic_llong fail_in; /* allocations until all fail; negative: never */
};

static void *memory_alloc(void *ctx, size_t size)
{
    struct memory *memory = ctx;
    size_t *head;

    if (atomic_load(&memory->fail_in) >= 0 && atomic_fetch_sub(&memory->fail_in, 1) <= 0) {
        atomic_store(&memory->fail_in, 0);
        return NULL;
    }
    head = aligned_alloc(64, zc_align_up(size, 64) + 64);
    assert_non_null(head);
    memset(head, 0, zc_align_up(size, 64) + 64);
    *head = size;
    atomic_fetch_add(&memory->bytes, (long long)size);
    atomic_fetch_add(&memory->pieces, 1);
    return (char *)head + 64;
}

static void memory_free(void *ctx, void *ptr, size_t size)
{
    struct memory *memory = ctx;
    size_t *head = (size_t *)(void *)((char *)ptr - 64);

    assert_int_equal(*head, size);
    atomic_fetch_sub(&memory->bytes, (long long)size);
    atomic_fetch_sub(&memory->pieces, 1);
    free(head);
}

struct fixture {
    struct memory memory;
    struct zc_mem mem;
    struct zc_codecs *codecs;
    struct zc_codec_set set;
    struct guarded src;
    struct guarded mid;
    struct guarded dst;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    atomic_init(&f->memory.fail_in, -1);
    f->mem = (struct zc_mem){memory_alloc, memory_free, &f->memory};
    assert_int_equal(zc_codecs_create(&f->mem, &f->codecs), 0);
    guarded_init(&f->src, PAGE_MAX);
    guarded_init(&f->mid, PAGE_MAX + 65536);
    guarded_init(&f->dst, PAGE_MAX);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    zc_codec_set_fini(f->codecs, &f->set);
    zc_codecs_destroy(&f->codecs);
    assert_null(f->codecs);
    assert_int_equal(atomic_load(&f->memory.pieces), 0);
    assert_int_equal(atomic_load(&f->memory.bytes), 0);
    guarded_fini(&f->src);
    guarded_fini(&f->mid);
    guarded_fini(&f->dst);
    free(f);
    return 0;
}

static uint8_t instance(struct fixture *f, const char *text)
{
    uint8_t id = 0;

    assert_int_equal(zc_codecs_instance(f->codecs, text, &id), 0);
    return id;
}

/* ---------------------------------------------------------------------------------------------- */
/* Instances. */

static void texts_are_parsed(void **state)
{
    static const struct {
        const char *text;
        int result;
        const char *described;
    } cases[] = {
        {"none", 0, "none"},          {"lz4", 0, "lz4:1"},
        {"lz4:1", 0, "lz4:1"},        {"lz4:65537", 0, "lz4:65537"},
        {"zstd", 0, "zstd:3"},        {"zstd:-7", 0, "zstd:-7"},
        {"zstd:19", 0, "zstd:19"},    {"zstd:007", 0, "zstd:7"},
        {"", -EINVAL, NULL},          {":3", -EINVAL, NULL},
        {"none:1", -EINVAL, NULL},    {"none:", -EINVAL, NULL},
        {"lz4:", -EINVAL, NULL},      {"lz4:0", -EINVAL, NULL},
        {"lz4:65538", -EINVAL, NULL}, {"lz4:-1", -EINVAL, NULL},
        {"lz4: 1", -EINVAL, NULL},    {"lz4:+1", -EINVAL, NULL},
        {"lz4:1 ", -EINVAL, NULL},    {"lz4:1:1", -EINVAL, NULL},
        {"lz4:-", -EINVAL, NULL},     {"lz4:4294967297", -EINVAL, NULL},
        {"zstd:20", -EINVAL, NULL},   {"zstd:-8", -EINVAL, NULL},
        {"zst", -ENOTSUP, NULL},      {"zstdd", -ENOTSUP, NULL},
        {"LZ4", -ENOTSUP, NULL},      {"nonee", -ENOTSUP, NULL},
        {"brotli:3", -ENOTSUP, NULL},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < ZC_ARRAY_SIZE(cases); i++) {
        char text[32];
        uint8_t id = 99;

        if (zc_codecs_instance(f->codecs, cases[i].text, &id) != cases[i].result) {
            fail_msg("\"%s\" should give %d", cases[i].text, cases[i].result);
        }
        if (cases[i].result == 0) {
            zc_codecs_describe(f->codecs, id, text, sizeof(text));
            assert_string_equal(text, cases[i].described);
        } else {
            assert_int_equal(id, 99);
        }
    }
}

static void instances_are_numbered_once(void **state)
{
    struct fixture *f = *state;
    uint8_t id = 99;
    char text[8];

    assert_int_equal(instance(f, "none"), ZC_CODEC_NONE);
    assert_int_equal(instance(f, "lz4"), 1);
    assert_int_equal(instance(f, "zstd:1"), 2);
    assert_int_equal(instance(f, "lz4:1"), 1);
    for (unsigned i = 3; i < ZC_CODEC_INSTANCES_MAX; i++) {
        (void)snprintf(text, sizeof(text), "lz4:%u", i);
        assert_int_equal(instance(f, text), i);
    }
    assert_int_equal(zc_codecs_instance(f->codecs, "zstd:2", &id), -ENOSPC);
    assert_int_equal(id, 99);
    assert_int_equal(instance(f, "zstd:1"), 2);
    assert_int_equal(instance(f, "lz4:16"), 16);
    zc_codecs_describe(f->codecs, 200, text, sizeof(text));
    assert_string_equal(text, "unknown");
}

/* ---------------------------------------------------------------------------------------------- */
/* Round trips. */

#define SLOW_CODECS 5 /* from this one */

static const char *const codec_texts[] = {"lz4",    "lz4:65537", "zstd:-7", "zstd:1",
                                          "zstd:3", "zstd:9",    "zstd:19"};

/* Encode @len bytes of @src with room @cap, decode, compare.  Return: stored bytes. */
static size_t round_trip(struct fixture *f,
                         uint8_t id,
                         const unsigned char *src,
                         size_t len,
                         size_t cap)
{
    unsigned char *mid = guarded_tail(&f->mid, cap);
    unsigned char *dst = guarded_tail(&f->dst, len);
    unsigned char *exact;
    size_t stored;

    memset(mid, 0xa5, cap);
    stored = zc_codec_encode(f->codecs, &f->set, id, mid, cap, src, len);
    assert_true(stored <= cap);
    if (stored == 0) {
        return 0;
    }
    exact = guarded_tail(&f->mid, stored);
    memmove(exact, mid, stored);
    memset(dst, 0x5a, len);
    assert_int_equal(zc_codec_decode(f->codecs, &f->set, id, dst, len, exact, stored), 0);
    assert_memory_equal(dst, src, len);
    return stored;
}

static void pages_come_back(void **state)
{
    static const size_t sizes[] = {
        1,    2,     3,     4,     5,     7,      8,      9,      12,      13,      15,   16,
        17,   31,    64,    100,   127,   255,    256,    511,    1000,    4095,    4096, 4097,
        8192, 16384, 65535, 65536, 65537, 131072, 131073, 262144, 1000000, PAGE_MAX};
    struct fixture *f = *state;

    for (size_t i = 0; i < ZC_ARRAY_SIZE(sizes); i++) {
        unsigned char *src = guarded_tail(&f->src, sizes[i]);

        for (enum content content = ZEROS; content < CONTENTS; content++) {
            fill(src, sizes[i], content);
            for (size_t c = 0; c < ZC_ARRAY_SIZE(codec_texts); c++) {
                const uint8_t id = instance(f, codec_texts[c]);
                size_t stored;

                if (sizes[i] > 65537 && c >= SLOW_CODECS && (content != TEXT || i % 2 == 0)) {
                    continue;
                }
                stored = round_trip(f, id, src, sizes[i], sizes[i] + sizes[i] / 64 + 1024);
                assert_int_not_equal(stored, 0);
                if (content == ZEROS && sizes[i] >= 256) {
                    assert_true(stored < sizes[i] / 8);
                }
            }
        }
    }
}

static void small_room_is_respected(void **state)
{
    struct fixture *f = *state;
    const size_t len = 4096;
    unsigned char *src = guarded_tail(&f->src, len);

    for (enum content content = ZEROS; content < CONTENTS; content++) {
        fill(src, len, content);
        for (size_t c = 0; c < ZC_ARRAY_SIZE(codec_texts); c++) {
            const uint8_t id = instance(f, codec_texts[c]);
            const size_t whole = round_trip(f, id, src, len, 2 * len);

            /* At the least it must come out the same where all of it fits easily. */
            assert_int_equal(round_trip(f, id, src, len, whole + 1024), whole);
            for (size_t cap = 1; cap < whole; cap += 1 + cap / 16) {
                assert_int_equal(round_trip(f, id, src, len, cap), 0);
            }
            (void)round_trip(f, id, src, len, whole - 1);
            (void)round_trip(f, id, src, len, whole);
        }
    }
}

static void noise_does_not_fit(void **state)
{
    struct fixture *f = *state;
    unsigned char *src = guarded_tail(&f->src, 4096);

    fill(src, 4096, NOISE);
    assert_int_equal(round_trip(f, instance(f, "lz4"), src, 4096, 4096 - 512), 0);
    assert_int_equal(round_trip(f, instance(f, "zstd"), src, 4096, 4096 - 512), 0);
}

static void zstd_frames_are_short(void **state)
{
    struct fixture *f = *state;
    unsigned char *src = guarded_tail(&f->src, 4096);
    unsigned char *mid = guarded_tail(&f->mid, 4096);

    memset(src, 'x', 4096);
    /* Two bytes of frame head, three of block head, one byte to repeat. */
    assert_true(zc_codec_encode(f->codecs, &f->set, instance(f, "zstd"), mid, 4096, src, 4096) <
                20);
    assert_int_equal(mid[0], 0);
}

/* ---------------------------------------------------------------------------------------------- */
/* Hostile input. */

static int decode_tail(struct fixture *f,
                       uint8_t id,
                       const unsigned char *bytes,
                       size_t stored,
                       size_t len)
{
    unsigned char *mid = guarded_tail(&f->mid, stored);
    unsigned char *dst = guarded_tail(&f->dst, len);
    int rc;

    memmove(mid, bytes, stored);
    dst[-64] = 0x77;
    dst[-1] = 0x77;
    rc = zc_codec_decode(f->codecs, &f->set, id, dst, len, mid, stored);
    assert_true(rc == 0 || rc == -EBADMSG);
    assert_true(dst[-1] == 0x77 && dst[-64] == 0x77);
    return rc;
}

static void lengths_must_be_exact(void **state)
{
    struct fixture *f = *state;
    static unsigned char stored_bytes[8192];
    unsigned char *src = guarded_tail(&f->src, 4096);

    fill(src, 4096, RECORDS);
    for (size_t c = 0; c < ZC_ARRAY_SIZE(codec_texts); c++) {
        const uint8_t id = instance(f, codec_texts[c]);
        const size_t stored =
            zc_codec_encode(f->codecs, &f->set, id, stored_bytes, sizeof(stored_bytes), src, 4096);

        assert_int_equal(decode_tail(f, id, stored_bytes, stored, 4096), 0);
        assert_int_equal(decode_tail(f, id, stored_bytes, stored, 4095), -EBADMSG);
        assert_int_equal(decode_tail(f, id, stored_bytes, stored, 4097), -EBADMSG);
        assert_int_equal(decode_tail(f, id, stored_bytes, stored, 1), -EBADMSG);
        assert_int_equal(decode_tail(f, id, stored_bytes, 0, 4096), -EBADMSG);
        for (size_t cut = 1; cut < stored; cut++) {
            assert_int_equal(decode_tail(f, id, stored_bytes, cut, 4096), -EBADMSG);
        }
        stored_bytes[stored] = 0;
        assert_int_equal(decode_tail(f, id, stored_bytes, stored + 1, 4096), -EBADMSG);
    }
}

/* Flip up to eight bits of a good payload, often near its start, sometimes cut it, and decode. */
static unsigned damaged(struct fixture *f, uint8_t id, const unsigned char *good, size_t stored)
{
    static unsigned char bad[8192];
    const size_t reach = random_u32() % 3 == 0 ? ZC_MIN(stored, 32) : stored;

    memcpy(bad, good, stored);
    for (unsigned n = random_u32() % 8 + 1; n > 0; n--) {
        bad[random_u32() % reach] ^= (unsigned char)(1u << random_u32() % 8);
    }
    if (random_u32() % 5 == 0) {
        stored = random_u32() % stored + 1;
    }
    return decode_tail(f, id, bad, stored, random_u32() % 2 == 0 ? 4096 : 4000) != 0 ? 1 : 0;
}

static void damage_stays_inside(void **state)
{
    struct fixture *f = *state;
    static unsigned char good[8192];
    unsigned char *src = guarded_tail(&f->src, 4096);
    unsigned refused = 0;

    for (size_t c = 0; c < ZC_ARRAY_SIZE(codec_texts); c++) {
        const uint8_t id = instance(f, codec_texts[c]);

        for (enum content content = ZEROS; content < CONTENTS; content++) {
            size_t stored;

            fill(src, 4096, content);
            stored = zc_codec_encode(f->codecs, &f->set, id, good, sizeof(good), src, 4096);
            for (unsigned round = 0; round < 1000; round++) {
                refused += damaged(f, id, good, stored);
            }
        }
    }
    assert_true(refused > ZC_ARRAY_SIZE(codec_texts) * CONTENTS * 500);
}

static void noise_stays_inside(void **state)
{
    struct fixture *f = *state;
    const uint8_t lz4 = instance(f, "lz4");
    const uint8_t zstd = instance(f, "zstd");
    unsigned char bytes[300];

    for (unsigned round = 0; round < 20000; round++) {
        const size_t stored = random_u32() % sizeof(bytes) + 1;

        fill(bytes, stored, NOISE);
        (void)decode_tail(f, lz4, bytes, stored, random_u32() % 5000 + 1);
        bytes[0] = 0;
        (void)decode_tail(f, zstd, bytes, stored, random_u32() % 5000 + 1);
    }
}

static void only_one_plain_zstd_frame_is_taken(void **state)
{
    struct fixture *f = *state;
    const uint8_t id = instance(f, "zstd");
    /* A frame of one raw block with "ab". */
    static const unsigned char frame[] = {0x00, 0x00, 0x11, 0x00, 0x00, 'a', 'b'};
    static const unsigned char heads[][4] = {
        {0x28, 0xb5, 0x2f, 0xfd}, /* zstd's own magic number */
        {0x50, 0x2a, 0x4d, 0x18}, /* a skippable frame's */
        {0x27, 0xb5, 0x2f, 0xfd}, /* of format 0.7 */
        {0x25, 0xb5, 0x2f, 0xfd}, /* of format 0.5 */
    };
    unsigned char bytes[64];

    assert_int_equal(decode_tail(f, id, frame, sizeof(frame), 2), 0);
    memcpy(bytes, frame, sizeof(frame));
    bytes[0] = 0x20; /* the same with a content size, */
    bytes[1] = 2;    /* where the window was */
    assert_int_equal(decode_tail(f, id, bytes, sizeof(frame), 2), -EBADMSG);
    memcpy(bytes, frame, sizeof(frame));
    memcpy(bytes + sizeof(frame), frame, sizeof(frame));
    assert_int_equal(decode_tail(f, id, bytes, 2 * sizeof(frame), 4), -EBADMSG);
    for (size_t i = 0; i < ZC_ARRAY_SIZE(heads); i++) {
        const size_t n = sizeof(heads[i]);

        memset(bytes, 0, sizeof(bytes));
        memcpy(bytes, heads[i], n);
        assert_int_equal(decode_tail(f, id, bytes, 32, 2), -EBADMSG);
        memcpy(bytes + n, frame, sizeof(frame));
        assert_int_equal(decode_tail(f, id, bytes, n + sizeof(frame), 2), -EBADMSG);
        memcpy(bytes, frame, sizeof(frame));
        memcpy(bytes + sizeof(frame), heads[i], n);
        assert_int_equal(decode_tail(f, id, bytes, 32, 2), -EBADMSG);
    }
}

static void unknown_instances_are_damage(void **state)
{
    struct fixture *f = *state;
    unsigned char byte = 0;

    (void)instance(f, "lz4");
    assert_int_equal(zc_codec_decode(f->codecs, &f->set, 2, &byte, 1, &byte, 1), -EBADMSG);
    assert_int_equal(zc_codec_decode(f->codecs, &f->set, 0, &byte, 1, &byte, 1), -EBADMSG);
    assert_int_equal(zc_codec_decode(f->codecs, &f->set, 255, &byte, 1, &byte, 1), -EBADMSG);
}

/* ---------------------------------------------------------------------------------------------- */
/* Memory of contexts. */

static void contexts_are_made_when_needed(void **state)
{
    struct fixture *f = *state;
    const uint8_t lz4 = instance(f, "lz4");
    const uint8_t zstd = instance(f, "zstd");
    static const unsigned char raw[] = {0x20, 'a', 'b'};
    unsigned char page[4096] = {0};
    unsigned char out[4096];
    long long before = atomic_load(&f->memory.pieces);
    long long pieces;

    assert_int_equal(zc_codec_decode(f->codecs, &f->set, lz4, out, 2, raw, sizeof(raw)), 0);
    assert_int_equal(atomic_load(&f->memory.pieces), before); /* no context to decode lz4 */
    assert_true(zc_codec_encode(f->codecs, &f->set, lz4, out, sizeof(out), page, 4096) > 0);
    assert_int_equal(atomic_load(&f->memory.pieces), before + 1);

    assert_true(zc_codec_encode(f->codecs, &f->set, zstd, out, sizeof(out), page, 4096) > 0);
    pieces = atomic_load(&f->memory.pieces);
    assert_true(pieces > before + 1);
    assert_true(atomic_load(&f->memory.bytes) < 1 << 20);
    for (int i = 0; i < 1000; i++) {
        assert_true(zc_codec_encode(f->codecs, &f->set, zstd, out, sizeof(out), page, 4096) > 0);
    }
    assert_int_equal(atomic_load(&f->memory.pieces), pieces); /* reused */
    zc_codec_set_fini(f->codecs, &f->set);
    assert_int_equal(atomic_load(&f->memory.pieces), before);
}

static void lack_of_memory_is_survived(void **state)
{
    struct fixture *f = *state;
    unsigned char *src = guarded_tail(&f->src, 4096);
    struct zc_codecs *codecs = NULL;
    unsigned char bytes[8192];
    size_t stored = 0;
    long long n;

    fill(src, 4096, TEXT);
    for (size_t c = 0; c < ZC_ARRAY_SIZE(codec_texts); c++) {
        const uint8_t id = instance(f, codec_texts[c]);

        for (n = 0, stored = ZC_CODEC_NO_MEMORY; stored == ZC_CODEC_NO_MEMORY; n++) {
            assert_true(n < 20);
            atomic_store(&f->memory.fail_in, n);
            stored = zc_codec_encode(f->codecs, &f->set, id, bytes, sizeof(bytes), src, 4096);
            atomic_store(&f->memory.fail_in, -1);
        }
        assert_true(stored > 0 && n > 1);
        zc_codec_set_fini(f->codecs, &f->set);
        for (n = 0;; n++) {
            int rc;

            assert_true(n < 20);
            atomic_store(&f->memory.fail_in, n);
            rc = zc_codec_decode(f->codecs, &f->set, id, guarded_tail(&f->dst, 4096), 4096, bytes,
                                 stored);
            atomic_store(&f->memory.fail_in, -1);
            if (rc == 0) {
                break;
            }
            assert_int_equal(rc, -ENOMEM);
        }
        assert_memory_equal(guarded_tail(&f->dst, 4096), src, 4096);
    }
    atomic_store(&f->memory.fail_in, 0);
    assert_int_equal(zc_codecs_create(&f->mem, &codecs), -ENOMEM);
    assert_null(codecs);
    atomic_store(&f->memory.fail_in, -1);
}

/* ---------------------------------------------------------------------------------------------- */
/* Custom codecs. */

static atomic_int contexts_live;
static bool contexts_fail;

static void *xor_create(int level)
{
    int *context = contexts_fail ? NULL : malloc(sizeof(*context));

    if (context != NULL) {
        *context = level;
        atomic_fetch_add(&contexts_live, 1);
    }
    return context;
}

static void xor_destroy(void *context)
{
    atomic_fetch_sub(&contexts_live, 1);
    free(context);
}

static size_t xor_encode(void *context, void *dst, size_t cap, const void *src, size_t len)
{
    const int key = context != NULL ? *(int *)context : 0x55;

    if (len > cap) {
        return len; /* more than there is room for: to be refused */
    }
    for (size_t i = 0; i < len; i++) {
        ((unsigned char *)dst)[i] = ((const unsigned char *)src)[i] ^ (unsigned char)key;
    }
    return len;
}

static int xor_decode(void *context, void *dst, size_t len, const void *src, size_t stored)
{
    return stored == len && xor_encode(context, dst, len, src, len) == len ? 0 : 1;
}

static struct zcache_codec xor_codec(const char *name)
{
    struct zcache_codec codec = ZCACHE_CODEC_INIT;

    codec.name = name;
    codec.level_min = -5;
    codec.level_max = 100;
    codec.level_default = 7;
    codec.context_create = xor_create;
    codec.context_destroy = xor_destroy;
    codec.encode = xor_encode;
    codec.decode = xor_decode;
    return codec;
}

static void custom_codecs_work(void **state)
{
    struct fixture *f = *state;
    struct zcache_codec codec = xor_codec("xor");
    unsigned char *src = guarded_tail(&f->src, 1000);
    unsigned char bytes[1000];
    char text[16];
    uint8_t id;

    assert_int_equal(zc_codecs_register(f->codecs, &codec), 0);
    memset(&codec, 0, sizeof(codec)); /* it was copied */
    id = instance(f, "xor");
    zc_codecs_describe(f->codecs, id, text, sizeof(text));
    assert_string_equal(text, "xor:7");
    assert_int_equal(instance(f, "xor:7"), id);
    assert_int_not_equal(instance(f, "xor:-5"), id);
    assert_int_equal(zc_codecs_instance(f->codecs, "xor:101", &id), -EINVAL);

    fill(src, 1000, NOISE);
    assert_int_equal(round_trip(f, id, src, 1000, 1000), 1000);
    assert_int_equal(atomic_load(&contexts_live), 1);
    assert_int_equal(zc_codec_encode(f->codecs, &f->set, id, bytes, 1000, src, 1000), 1000);
    assert_int_equal(bytes[0], src[0] ^ 7); /* the level reached it */
    assert_int_equal(round_trip(f, instance(f, "xor:-5"), src, 1000, 1000), 1000);
    assert_int_equal(atomic_load(&contexts_live), 2);
    assert_int_equal(round_trip(f, id, src, 1000, 999), 0);
    assert_int_equal(decode_tail(f, id, src, 999, 1000), -EBADMSG);

    zc_codec_set_fini(f->codecs, &f->set);
    assert_int_equal(atomic_load(&contexts_live), 0);
    contexts_fail = true;
    assert_true(zc_codec_encode(f->codecs, &f->set, id, bytes, 1000, src, 1000) ==
                ZC_CODEC_NO_MEMORY);
    assert_int_equal(zc_codec_decode(f->codecs, &f->set, id, bytes, 1000, src, 1000), -ENOMEM);
    contexts_fail = false;
}

static void custom_codecs_may_do_without_context(void **state)
{
    struct fixture *f = *state;
    struct zcache_codec codec = xor_codec("plain");
    unsigned char *src = guarded_tail(&f->src, 100);

    codec.context_create = NULL;
    codec.context_destroy = NULL;
    assert_int_equal(zc_codecs_register(f->codecs, &codec), 0);
    fill(src, 100, NOISE);
    assert_int_equal(round_trip(f, instance(f, "plain"), src, 100, 100), 100);
    assert_int_equal(guarded_tail(&f->mid, 100)[0], src[0] ^ 0x55);
}

static int registered(struct fixture *f, struct zcache_codec codec)
{
    return zc_codecs_register(f->codecs, &codec);
}

static void bad_codecs_are_refused(void **state)
{
    static const char *const names[] = {NULL, "", "Upper", "sp ace", "co:lon", "sixteen-letters-"};
    struct fixture *f = *state;
    struct zcache_codec codec;
    char many[ZC_CODEC_CUSTOM_MAX][8];

    for (size_t i = 0; i < ZC_ARRAY_SIZE(names); i++) {
        assert_int_equal(registered(f, xor_codec(names[i])), -EINVAL);
    }
    codec = xor_codec("a");
    codec.encode = NULL;
    assert_int_equal(registered(f, codec), -EINVAL);
    codec = xor_codec("a");
    codec.decode = NULL;
    assert_int_equal(registered(f, codec), -EINVAL);
    codec = xor_codec("a");
    codec.context_create = NULL;
    assert_int_equal(registered(f, codec), -EINVAL);
    codec = xor_codec("a");
    codec.context_destroy = NULL;
    assert_int_equal(registered(f, codec), -EINVAL);
    codec = xor_codec("a");
    codec.level_default = 101;
    assert_int_equal(registered(f, codec), -EINVAL);
    codec = xor_codec("a");
    codec.level_default = -6;
    assert_int_equal(registered(f, codec), -EINVAL);

    assert_int_equal(registered(f, xor_codec("lz4")), -EEXIST);
    assert_int_equal(registered(f, xor_codec("zstd")), -EEXIST);
    assert_int_equal(registered(f, xor_codec("none")), -EEXIST);
    for (unsigned i = 0; i < ZC_CODEC_CUSTOM_MAX; i++) {
        (void)snprintf(many[i], sizeof(many[i]), "my_%u", i);
        assert_int_equal(registered(f, xor_codec(many[i])), 0);
    }
    assert_int_equal(registered(f, xor_codec("my_3")), -EEXIST);
    assert_int_equal(registered(f, xor_codec("fifteen-letters")), -ENOSPC);
}

/* ---------------------------------------------------------------------------------------------- */
/* Threads. */

struct worker {
    pthread_t thread;
    struct fixture *f;
    _Atomic uint8_t *newest; /* instances up to this one exist */
    uint64_t seed;
    unsigned done;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    struct zc_codec_set set = {{NULL}};
    unsigned char page[2000];
    unsigned char mid[4000];
    unsigned char out[2000];

    for (unsigned i = 0; i < 400; i++) {
        const uint8_t id = (uint8_t)(1 + (i + w->seed) % atomic_load(w->newest));
        size_t stored;

        memset(page, (int)(i + w->seed), sizeof(page));
        memcpy(page + i, &i, sizeof(i));
        stored = zc_codec_encode(w->f->codecs, &set, id, mid, sizeof(mid), page, sizeof(page));
        if (stored > 0 &&
            zc_codec_decode(w->f->codecs, &set, id, out, sizeof(out), mid, stored) == 0 &&
            memcmp(out, page, sizeof(page)) == 0) {
            w->done++;
        }
    }
    zc_codec_set_fini(w->f->codecs, &set);
    return NULL;
}

static void threads_share_instances(void **state)
{
    struct fixture *f = *state;
    _Atomic uint8_t newest = instance(f, "lz4");
    struct worker workers[4];
    char text[16];

    for (unsigned i = 0; i < ZC_ARRAY_SIZE(workers); i++) {
        workers[i] = (struct worker){.f = f, .newest = &newest, .seed = i};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 2; i < ZC_CODEC_INSTANCES_MAX; i++) {
        (void)snprintf(text, sizeof(text), i % 2 == 0 ? "zstd:%u" : "lz4:%u", i / 2 + 1);
        atomic_store(&newest, instance(f, text));
    }
    for (unsigned i = 0; i < ZC_ARRAY_SIZE(workers); i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        assert_int_equal(workers[i].done, 400);
    }
}

#ifdef ZCACHE_DEBUG
static void encode_nothing(void *arg)
{
    struct fixture *f = arg;
    unsigned char byte = 0;

    (void)zc_codec_encode(f->codecs, &f->set, 1, &byte, 1, &byte, 1);
}

static void no_lock_is_held_while_a_codec_runs(void **state)
{
    struct fixture *f = *state;
    struct zc_lock lock;

    (void)instance(f, "lz4");
    zc_lock_init(&lock, ZC_RANK_list);
    assert_null(assertion_of(encode_nothing, f));
    zc_lock_acquire(&lock);
    assert_non_null(assertion_of(encode_nothing, f));
    zc_lock_release(&lock);
    zc_lock_fini(&lock);
}
#endif

/* ---------------------------------------------------------------------------------------------- */
/* Same-filled pages and checksums. */

static void repeated_words_are_seen(void **state)
{
    struct fixture *f = *state;

    for (size_t len = 1; len <= 300; len++) {
        unsigned char *page = guarded_tail(&f->src, len);
        unsigned char *back = guarded_tail(&f->dst, len);
        uint64_t pattern = (uint64_t)random_u32() << 32 | random_u32();
        uint64_t word = UINT64_MAX;

        for (size_t i = 0; i < len; i++) {
            page[i] = ((unsigned char *)&pattern)[i % 8];
        }
        assert_true(zc_same_detect(page, len, &word));
        memset((unsigned char *)&pattern + ZC_MIN(len, 8), 0, 8 - ZC_MIN(len, 8));
        assert_true(word == pattern);
        memset(back, 0x11, len);
        back[-1] = 0x77;
        zc_same_fill(back, len, word);
        assert_memory_equal(back, page, len);
        assert_int_equal(back[-1], 0x77);

        /* One bit anywhere breaks it, unless that byte is there once only. */
        for (size_t i = 0; i < len; i++) {
            const bool once = i < 8 && i + 8 >= len;

            page[i] ^= (unsigned char)(1u << i % 8);
            word = 1234;
            assert_int_equal(zc_same_detect(page, len, &word), once);
            assert_true(once || word == 1234);
            page[i] ^= (unsigned char)(1u << i % 8);
        }
    }
}

static void every_byte_value_can_repeat(void **state)
{
    struct fixture *f = *state;
    unsigned char *page = guarded_tail(&f->src, 4096);
    uint64_t word = 0;

    for (unsigned value = 0; value < 256; value++) {
        memset(page, (int)value, 4096);
        assert_true(zc_same_detect(page, 4096, &word));
        assert_true(word == value * UINT64_C(0x0101010101010101));
        page[4095] ^= 1;
        assert_false(zc_same_detect(page, 4096, &word));
        page[4095] ^= 1;
        page[2048] ^= 0x80;
        assert_false(zc_same_detect(page, 4096, &word));
    }
    /* A page of 4-byte words of two values in turn, then shifted by one. */
    for (size_t i = 0; i < 4096; i++) {
        page[i] = i / 4 % 2 == 0 ? 'a' : 'b';
    }
    assert_true(zc_same_detect(page, 4096, &word));
    memmove(page + 1, page, 4095);
    page[0] = 'c';
    assert_false(zc_same_detect(page, 4096, &word));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(texts_are_parsed),
        TEST(instances_are_numbered_once),
        TEST(pages_come_back),
        TEST(small_room_is_respected),
        TEST(noise_does_not_fit),
        TEST(zstd_frames_are_short),
        TEST(lengths_must_be_exact),
        TEST(damage_stays_inside),
        TEST(noise_stays_inside),
        TEST(only_one_plain_zstd_frame_is_taken),
        TEST(unknown_instances_are_damage),
        TEST(contexts_are_made_when_needed),
        TEST(lack_of_memory_is_survived),
        TEST(custom_codecs_work),
        TEST(custom_codecs_may_do_without_context),
        TEST(bad_codecs_are_refused),
        TEST(threads_share_instances),
#ifdef ZCACHE_DEBUG
        TEST(no_lock_is_held_while_a_codec_runs),
#endif
        TEST(repeated_words_are_seen),
        TEST(every_byte_value_can_repeat),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
