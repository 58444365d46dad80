/* SPDX-License-Identifier: BSD-2-Clause */
#include "bare.h"
#include "fail.h"

#include <errno.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>
#define ZDICT_STATIC_LINKING_ONLY
#include <zdict.h>
#include <zstd.h>

#define ZSTD_LEVEL       3            /* as the dense tier's default */
#define DICTIONARY_BYTES (112u << 10) /* as zcache's default, and trained as its are */

struct bare_dictionary {
    ZSTD_CDict *encode;
    ZSTD_DDict *decode;
};

/* One thread's contexts. */
struct contexts {
    void *lz4;
    ZSTD_CCtx *encode;
    ZSTD_DCtx *decode;
};

const char *bare_codec_text(enum bare_codec codec)
{
    static const char *const text[] = {[BARE_COPY] = NULL,
                                       [BARE_LZ4] = "lz4",
                                       [BARE_ZSTD] = "zstd:3",
                                       [BARE_ZSTD_DICT] = "zstd:3+dict"};

    return text[codec];
}

/* ---------------------------------------------------------------------------------------------
 * Contexts and dictionaries.
 */

static void begin(void *ctx, struct scratch *scratch)
{
    struct contexts *c = must_alloc(sizeof *c);

    (void)ctx;
    *c = (struct contexts){.lz4 = must_alloc((size_t)LZ4_sizeofState()),
                           .encode = ZSTD_createCCtx(),
                           .decode = ZSTD_createDCtx()};
    if (c->encode == NULL || c->decode == NULL) {
        fail("no memory for zstd's contexts");
    }
    scratch->state = c;
}

static void end(void *ctx, struct scratch *scratch)
{
    struct contexts *c = scratch->state;

    (void)ctx;
    (void)ZSTD_freeCCtx(c->encode);
    (void)ZSTD_freeDCtx(c->decode);
    free(c->lz4);
    free(c);
}

/* NULL if there is too little to learn from. */
static struct bare_dictionary *train(const struct corpus *corpus)
{
    const size_t n = (corpus->pages + BARE_SAMPLE_EVERY - 1) / BARE_SAMPLE_EVERY;
    unsigned char *samples = must_alloc(n * corpus->page_bytes);
    size_t *sizes = must_alloc(n * sizeof *sizes);
    void *bytes = must_alloc(DICTIONARY_BYTES);
    struct bare_dictionary *d = NULL;
    size_t trained;

    for (size_t i = 0; i < n; i++) {
        memcpy(samples + i * corpus->page_bytes, corpus_page(corpus, i * BARE_SAMPLE_EVERY),
               corpus->page_bytes);
        sizes[i] = corpus->page_bytes;
    }
    trained = ZDICT_trainFromBuffer_fastCover(
        bytes, DICTIONARY_BYTES, samples, sizes, (unsigned)n,
        (ZDICT_fastCover_params_t){
            .k = 512, .d = 8, .f = 20, .accel = 1, .zParams = {.compressionLevel = ZSTD_LEVEL}});
    if (!ZDICT_isError(trained)) {
        d = must_alloc(sizeof *d);
        *d = (struct bare_dictionary){.encode = ZSTD_createCDict(bytes, trained, ZSTD_LEVEL),
                                      .decode = ZSTD_createDDict(bytes, trained)};
        if (d->encode == NULL || d->decode == NULL) {
            fail("no memory for a dictionary");
        }
    }
    free(bytes);
    free(sizes);
    free(samples);
    return d;
}

static void free_dictionary(struct bare_dictionary *d)
{
    if (d != NULL) {
        (void)ZSTD_freeCDict(d->encode);
        (void)ZSTD_freeDDict(d->decode);
        free(d);
    }
}

/* ---------------------------------------------------------------------------------------------
 * One page.
 */

/* Bytes written; 0 if they do not fit. */
static size_t encode(const struct bare *b,
                     struct contexts *c,
                     const unsigned char *page,
                     unsigned char *out,
                     size_t cap)
{
    const size_t len = b->corpus->page_bytes;
    size_t n;

    switch (b->codec) {
    case BARE_LZ4:
        return (size_t)LZ4_compress_fast_extState(c->lz4, (const char *)page, (char *)out, (int)len,
                                                  (int)cap, 1);
    case BARE_ZSTD:
        n = ZSTD_compressCCtx(c->encode, out, cap, page, len, ZSTD_LEVEL);
        break;
    case BARE_ZSTD_DICT:
        n = ZSTD_compress_usingCDict(c->encode, out, cap, page, len, b->dictionary->encode);
        break;
    default:
        memcpy(out, page, len);
        return len;
    }
    return ZSTD_isError(n) ? 0 : n;
}

static int op_encode(void *ctx, uint32_t page, struct scratch *scratch)
{
    const struct bare *b = ctx;

    return encode(b, scratch->state, corpus_page(b->corpus, page), scratch->out,
                  scratch->out_bytes) != 0
               ? 0
               : -ENOBUFS;
}

static int op_copy(void *ctx, uint32_t page, struct scratch *scratch)
{
    const struct bare *b = ctx;

    memcpy(scratch->page, b->bytes + b->offset[page], b->corpus->page_bytes);
    return 0;
}

static int op_lz4(void *ctx, uint32_t page, struct scratch *scratch)
{
    const struct bare *b = ctx;
    int n = LZ4_decompress_safe((const char *)b->bytes + b->offset[page], (char *)scratch->page,
                                (int)bare_stored(b, page), (int)b->corpus->page_bytes);

    return n == (int)b->corpus->page_bytes ? 0 : -EBADMSG;
}

static int op_zstd(void *ctx, uint32_t page, struct scratch *scratch)
{
    const struct bare *b = ctx;
    const struct contexts *c = scratch->state;
    size_t n = ZSTD_decompressDCtx(c->decode, scratch->page, b->corpus->page_bytes,
                                   b->bytes + b->offset[page], bare_stored(b, page));

    return n == b->corpus->page_bytes ? 0 : -EBADMSG;
}

static int op_zstd_dict(void *ctx, uint32_t page, struct scratch *scratch)
{
    const struct bare *b = ctx;
    const struct contexts *c = scratch->state;
    size_t n = ZSTD_decompress_usingDDict(c->decode, scratch->page, b->corpus->page_bytes,
                                          b->bytes + b->offset[page], bare_stored(b, page),
                                          b->dictionary->decode);

    return n == b->corpus->page_bytes ? 0 : -EBADMSG;
}

/* ---------------------------------------------------------------------------------------------
 * All pages.
 */

bool bare_make(struct bare *bare, enum bare_codec codec, const struct corpus *corpus)
{
    const size_t cap = ZSTD_compressBound(corpus->page_bytes) + 1024; /* lz4's is smaller */
    struct scratch scratch = {0};
    unsigned char *out;

    *bare = (struct bare){.codec = codec, .corpus = corpus};
    if (codec == BARE_ZSTD_DICT && (bare->dictionary = train(corpus)) == NULL) {
        return false;
    }
    bare->offset = must_alloc((corpus->pages + 1) * sizeof *bare->offset);
    bare->bytes = must_alloc(corpus->pages * cap); /* touched as far as it is used */
    bare->offset[0] = 0;
    begin(bare, &scratch);
    out = bare->bytes;
    for (size_t i = 0; i < corpus->pages; i++) {
        const size_t n = encode(bare, scratch.state, corpus_page(corpus, i), out, cap);

        if (n == 0) {
            fail("bare: cannot encode page %zu", i);
        }
        out += n;
        bare->offset[i + 1] = bare->offset[i] + n;
    }
    end(bare, &scratch);
    return true;
}

void bare_free(struct bare *bare)
{
    free_dictionary(bare->dictionary);
    free(bare->bytes);
    free(bare->offset);
    *bare = (struct bare){0};
}

static struct subject subject_of(struct bare *bare)
{
    return (struct subject){.name = bare->codec == BARE_COPY ? "memcpy" : "bare",
                            .detail = bare_codec_text(bare->codec),
                            .ctx = bare,
                            .thread_begin = begin,
                            .thread_end = end};
}

struct subject bare_decoder(struct bare *bare)
{
    struct subject s = subject_of(bare);

    switch (bare->codec) {
    case BARE_LZ4:
        s.op = op_lz4;
        break;
    case BARE_ZSTD:
        s.op = op_zstd;
        break;
    case BARE_ZSTD_DICT:
        s.op = op_zstd_dict;
        break;
    default:
        s.op = op_copy;
    }
    return s;
}

struct subject bare_encoder(struct bare *bare)
{
    struct subject s = subject_of(bare);

    s.op = op_encode;
    return s;
}
