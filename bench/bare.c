/* SPDX-License-Identifier: BSD-2-Clause */
#include "bare.h"
#include "fail.h"

#include <errno.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define ZSTD_LEVEL 3 /* as the dense tier's default */

static size_t bound(enum bare_codec codec, size_t page_bytes)
{
    switch (codec) {
    case BARE_LZ4:
        return (size_t)LZ4_compressBound((int)page_bytes);
    case BARE_ZSTD:
        return ZSTD_compressBound(page_bytes);
    default:
        return page_bytes;
    }
}

static size_t encode(enum bare_codec codec,
                     const unsigned char *page,
                     size_t len,
                     unsigned char *out,
                     size_t cap)
{
    size_t n;

    switch (codec) {
    case BARE_LZ4:
        n = (size_t)LZ4_compress_default((const char *)page, (char *)out, (int)len, (int)cap);
        break;
    case BARE_ZSTD:
        n = ZSTD_compress(out, cap, page, len, ZSTD_LEVEL);
        break;
    default:
        memcpy(out, page, len);
        n = len;
    }
    if (n == 0 || n > cap) {
        fail("bare: cannot encode a page");
    }
    return n;
}

void bare_make(struct bare *bare, enum bare_codec codec, const struct corpus *corpus)
{
    const size_t cap = bound(codec, corpus->page_bytes);

    *bare = (struct bare){.codec = codec, .page_bytes = corpus->page_bytes};
    bare->bytes = must_alloc(cap * corpus->pages);
    bare->offset = must_alloc((corpus->pages + 1) * sizeof *bare->offset);
    bare->offset[0] = 0;
    for (size_t i = 0; i < corpus->pages; i++) {
        bare->offset[i + 1] =
            bare->offset[i] + encode(codec, corpus_page(corpus, i), corpus->page_bytes,
                                     bare->bytes + bare->offset[i], cap);
    }
}

void bare_free(struct bare *bare)
{
    free(bare->bytes);
    free(bare->offset);
    *bare = (struct bare){0};
}

static int op_copy(void *ctx, uint32_t page, struct scratch *scratch)
{
    const struct bare *b = ctx;

    memcpy(scratch->page, b->bytes + b->offset[page], b->page_bytes);
    return 0;
}

static int op_lz4(void *ctx, uint32_t page, struct scratch *scratch)
{
    const struct bare *b = ctx;
    const size_t at = b->offset[page];
    int n = LZ4_decompress_safe((const char *)b->bytes + at, (char *)scratch->page,
                                (int)(b->offset[page + 1] - at), (int)b->page_bytes);

    return n == (int)b->page_bytes ? 0 : -EBADMSG;
}

static int op_zstd(void *ctx, uint32_t page, struct scratch *scratch)
{
    const struct bare *b = ctx;
    const size_t at = b->offset[page];
    size_t n = ZSTD_decompressDCtx(scratch->codec, scratch->page, b->page_bytes, b->bytes + at,
                                   b->offset[page + 1] - at);

    return n == b->page_bytes ? 0 : -EBADMSG;
}

static void begin_zstd(void *ctx, struct scratch *scratch)
{
    (void)ctx;
    scratch->codec = ZSTD_createDCtx();
    if (scratch->codec == NULL) {
        fail("no memory for a zstd context");
    }
}

static void end_zstd(void *ctx, struct scratch *scratch)
{
    (void)ctx;
    (void)ZSTD_freeDCtx(scratch->codec);
}

struct subject bare_subject(struct bare *bare)
{
    struct subject s = {.name = "bare", .ctx = bare};

    switch (bare->codec) {
    case BARE_LZ4:
        s.op = op_lz4;
        break;
    case BARE_ZSTD:
        s.op = op_zstd;
        s.thread_begin = begin_zstd;
        s.thread_end = end_zstd;
        break;
    default:
        s.op = op_copy;
    }
    return s;
}
