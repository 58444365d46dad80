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
    }
    return &codecs;
}

uint8_t codecs_pick(const struct codecs *codecs, uint8_t choice)
{
    return codecs->id[choice % codecs->n];
}
