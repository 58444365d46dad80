/* SPDX-License-Identifier: BSD-2-Clause */
#include "codecs.h"

#include <stdlib.h>
#include <string.h>

#include "mathx.h"

static const char *const texts[] = {"lz4",    "lz4:65537", "zstd",   "zstd:1",
                                    "zstd:9", "zstd:19",   "zstd:-7"};

static void *take(void *ctx, size_t size)
{
    void *piece = aligned_alloc(ZC_CACHE_LINE, zc_align_up(size, ZC_CACHE_LINE));

    (void)ctx;
    CHECK(piece != NULL);
    memset(piece, 0, size);
    return piece;
}

static void give(void *ctx, void *piece, size_t size)
{
    (void)ctx;
    (void)size;
    free(piece);
}

#define SAMPLES 64u
#define SAMPLE  4096u
#define CAP     16384u

/* Words of one vocabulary, in another order each time. */
static void make_sample(char *out, unsigned seed)
{
    uint64_t state = seed + 1;

    for (unsigned i = 0; i < SAMPLE; i += 16) {
        state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        for (unsigned k = 0; k < 16; k++) {
            out[i + k] = (char)('a' + (state >> 33) % 97 * (k + 3) % 26);
        }
    }
}

static struct zc_dict *make_dict(const struct zc_mem *mem, const struct codecs *c)
{
    static char samples[SAMPLES * SAMPLE];
    static char content[CAP];
    const uint8_t zstd = c->id[2];
    size_t sizes[SAMPLES];
    struct zc_dicts *dicts;
    struct zc_dict *dict;
    size_t n;

    for (unsigned i = 0; i < SAMPLES; i++) {
        make_sample(samples + (size_t)i * SAMPLE, i);
        sizes[i] = SAMPLE;
    }
    n = zc_codec_dicts(c->registry, zstd)->train(3, content, CAP, samples, sizes, SAMPLES, 16);
    CHECK(n > 0 && n <= CAP);
    CHECK_EQUAL(zc_dicts_create(mem, c->registry, &dicts), 0);
    dict = zc_dict_make(dicts, zstd, content, n);
    CHECK(dict != NULL);
    CHECK_EQUAL(zc_dict_publish(dict), 0);
    return dict;
}

struct codecs *codecs_get(void)
{
    static const struct zc_mem mem = {take, give, NULL};
    static struct codecs codecs;

    if (codecs.registry == NULL) {
        CHECK_EQUAL(zc_codecs_create(&mem, &codecs.registry), 0);
        for (; codecs.n < ZC_ARRAY_SIZE(texts); codecs.n++) {
            CHECK_EQUAL(zc_codecs_instance(codecs.registry, texts[codecs.n], &codecs.id[codecs.n]),
                        0);
        }
        codecs.dict = make_dict(&mem, &codecs);
    }
    return &codecs;
}

bool codecs_with_dict(const struct codecs *codecs, uint8_t choice)
{
    return choice >= 128 &&
           zc_codec_dicts(codecs->registry, codecs_pick(codecs, choice)) == codecs->dict->impl;
}

uint8_t codecs_pick(const struct codecs *codecs, uint8_t choice)
{
    return codecs->id[choice % codecs->n];
}
