/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The "zstd" codec: one zstd frame a page, in its shortest form.
 *
 *      +------+--------+--------------+---------+-- ... --+--------------+---------+
 *      | 0x00 | window | block header | content |         | block header | content |
 *      +------+--------+--------------+---------+-- ... --+--------------+---------+
 *       frame  1 byte   3 bytes                            3 bytes, "last" set
 *       header
 *
 * No magic number, no content size, no checksum, no dictionary id: the payload knows its length and
 * carries a checksum of its own.  That makes the first byte 0, always, which is worth more than its
 * space: in a magicless frame zstd 1.5.4 still looks for the magic numbers of skippable frames and
 * of formats before 1.0, and decoders for those allocate memory on their own.  The decoder here
 * therefore walks the frame's outline first and hands only a single frame of this form to zstd.
 *
 * A context is one zstd compression and one decompression context, each made at first use: a thread
 * that only reads never pays for compression tables.  zstd sizes them for the content it is told
 * of, so a context for small pages is small; it grows when a larger page comes, and stays.  Its
 * memory comes from struct zc_mem behind a head that remembers the size, nearly all in one piece,
 * which may be more than a pool's largest object; zc_mem must find it elsewhere.  Measured, KiB:
 *
 *      page           4 KiB   16 KiB   64 KiB   256 KiB     1 MiB
 *      level  1          72      213      297       569       569
 *      level  3          88      277      649      1017      1273
 *      level  9         104      277     1033      3577     12793
 *      level 19         269      565     1749      5376     17664
 *      decompression     93       93       93        93        93
 *
 * With a dictionary a page is one block and nothing else: no frame's and no block's header, which are the
 * same for all pages or follow from the length, 5 bytes of some hundred.  The longest block is 128 KiB; a
 * longer page gains little from a dictionary and gets none.  zstd attaches the prepared tables of the
 * dictionary (CDict, DDict) where they are: nothing is copied for a page, and all threads share them.
 *
 * Literals.  With a dictionary the matches decode quickly, by tables that are prepared, and half of the time
 * is Huffman decoding of the bytes between them, at 1.3 ns for each, and 1 us more if they have a table of
 * their own.  Up to level 5 a page whose block gets longer by at most a sixteenth has them as they are.  What that
 * makes of pages of 4 KiB at level 3:
 *
 *      pages of        SQLite   PostgreSQL   RocksDB   Python's memory   HTML
 *      have them so      10 %         35 %       0 %              40 %   20 %
 *      longer             0.4          1.4       0                 0.9    0.9 %
 *      decoded in        0.94         0.86      1                0.92   0.91 of the time
 *
 * Training is zstd's fastCover with k and d fixed.  Measured for 112 KiB of dictionary and 4 KiB pages of 13
 * kinds: a search for the best k and d takes 40 times as long and gains below 1 %, k from 256 to 1024 makes
 * no more difference than that, and neither do 16 or 48 times as many bytes of samples as of dictionary.
 * Fewer bits for hashes of what occurs (17 for 20) lose 1 to 3 %, and take an eighth of the memory.
 */
#define ZSTD_STATIC_LINKING_ONLY
#define ZDICT_STATIC_LINKING_ONLY
#define ZSTD_DISABLE_DEPRECATE_WARNINGS /* of blocks, in later versions */
#include <errno.h>
#include <string.h>
#include <zdict.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "check.h"
#include "codec.h"
#include "mathx.h"

#define FRAME_HEAD       2
#define BLOCK_HEAD       3
#define BLOCK_RLE        1u
#define BLOCK_COMPRESSED 2u
#define BLOCK_RESERVED   3u

struct context {
    const struct zc_mem *mem; /* set once; the registry's, which outlives contexts */
    int level;                /* set once */
    ZSTD_CCtx *compress;      /* NULL until the first encode */
    ZSTD_DCtx *decompress;    /* NULL until the first decode */
};

/* zstd's free does not tell the size, struct zc_mem wants it. */
struct piece {
    _Alignas(ZC_CACHE_LINE) size_t size; /* with this head */
};

static void *piece_alloc(void *opaque, size_t size)
{
    const struct zc_mem *mem = opaque;
    struct piece *piece;

    if (size > SIZE_MAX - sizeof(*piece)) {
        return NULL;
    }
    size += sizeof(*piece);
    piece = mem->alloc(mem->ctx, size);
    if (piece == NULL) {
        return NULL;
    }
    piece->size = size;
    return piece + 1;
}

static void piece_free(void *opaque, void *ptr)
{
    const struct zc_mem *mem = opaque;
    struct piece *piece = ptr;

    if (piece != NULL) {
        piece--;
        mem->free(mem->ctx, piece, piece->size);
    }
}

static ZSTD_customMem custom_mem(const struct zc_mem *mem)
{
    union {
        const struct zc_mem *in;
        void *out; /* zstd passes it back, nothing writes through it */
    } opaque = {.in = mem};

    return (ZSTD_customMem){piece_alloc, piece_free, opaque.out};
}

static void *create_context(const struct zc_mem *mem, int level, const struct zcache_codec *custom)
{
    struct context *context = mem->alloc(mem->ctx, sizeof(*context));

    (void)custom;
    if (context != NULL) {
        context->mem = mem;
        context->level = level;
    }
    return context;
}

static void destroy_context(const struct zc_mem *mem,
                            void *opaque,
                            const struct zcache_codec *custom)
{
    struct context *context = opaque;

    (void)custom;
    ZSTD_freeCCtx(context->compress);
    ZSTD_freeDCtx(context->decompress);
    mem->free(mem->ctx, context, sizeof(*context));
}

/* The compression context, made and set up at first use; its parameters stay for all pages. */
static ZSTD_CCtx *compress_context(struct context *context)
{
    ZSTD_CCtx *c = context->compress;

    if (c != NULL) {
        return c;
    }
    c = ZSTD_createCCtx_advanced(custom_mem(context->mem));
    if (c == NULL) {
        return NULL;
    }
    if (ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_compressionLevel, context->level)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_format, ZSTD_f_zstd1_magicless)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, 0)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 0)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_dictIDFlag, 0))) {
        ZSTD_freeCCtx(c);
        return NULL;
    }
    context->compress = c;
    return c;
}

static ZSTD_DCtx *decompress_context(struct context *context)
{
    ZSTD_DCtx *d = context->decompress;

    if (d != NULL) {
        return d;
    }
    d = ZSTD_createDCtx_advanced(custom_mem(context->mem));
    if (d == NULL) {
        return NULL;
    }
    if (ZSTD_isError(ZSTD_DCtx_setParameter(d, ZSTD_d_format, ZSTD_f_zstd1_magicless))) {
        ZSTD_freeDCtx(d);
        return NULL;
    }
    context->decompress = d;
    return d;
}

static size_t encode(void *context,
                     int level,
                     void *dst,
                     size_t cap,
                     const void *src,
                     size_t len,
                     const struct zcache_codec *custom)
{
    ZSTD_CCtx *c = compress_context(context);
    size_t n;

    (void)level;
    (void)custom;
    if (c == NULL) {
        return ZC_CODEC_NO_MEMORY;
    }
    n = ZSTD_compress2(c, dst, cap, src, len);
    if (ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation) {
        return ZC_CODEC_NO_MEMORY;
    }
    return ZSTD_isError(n) ? 0 : n;
}

/* Whether the bytes are exactly one frame of our form, as far as its outline goes. */
static bool is_one_frame(const unsigned char *src, size_t stored)
{
    size_t pos = FRAME_HEAD;
    bool last = false;

    if (stored < FRAME_HEAD + BLOCK_HEAD || src[0] != 0) {
        return false;
    }
    while (!last) {
        unsigned head;
        unsigned type;
        size_t size;

        if (stored - pos < BLOCK_HEAD) {
            return false;
        }
        head = src[pos] | (unsigned)src[pos + 1] << 8 | (unsigned)src[pos + 2] << 16;
        pos += BLOCK_HEAD;
        last = (head & 1) != 0;
        type = head >> 1 & 3;
        size = type == BLOCK_RLE ? 1 : head >> 3;
        if (type == BLOCK_RESERVED || stored - pos < size) {
            return false;
        }
        pos += size;
    }
    return pos == stored;
}

static int decode(void *context,
                  void *dst,
                  size_t len,
                  const void *src,
                  size_t stored,
                  const struct zcache_codec *custom)
{
    ZSTD_DCtx *d;

    (void)custom;
    if (!is_one_frame(src, stored)) {
        return -EBADMSG;
    }
    d = decompress_context(context);
    if (d == NULL) {
        return -ENOMEM;
    }
    return ZSTD_decompressDCtx(d, dst, len, src, stored) == len ? 0 : -EBADMSG;
}

/* ---- dictionaries --------------------------------------------------------------------------------- */

#define SEGMENT_BYTES  512u /* fastCover's k: what it takes from the samples at a time */
#define DMER_BYTES     8u   /* its d: what it counts */
#define PAGE_TYPICAL   4096u
#define TABLE_LOG2_MIN 10u
#define LEVEL_TRAINED                                                                              \
    3 /* higher ones take up to 70 MiB for training and gain next to nothing by it */

/* What training takes beside the samples: counts and marks for hashes, one of each sample, the dictionary
 * twice, and a compressor with which it learns how often symbols come. */
static size_t train_bytes(size_t cap, size_t n, unsigned accuracy)
{
    return ((size_t)6 << accuracy) + n * 16 + 2 * cap + ((size_t)3 << 19);
}

static size_t train(int level,
                    void *dict,
                    size_t cap,
                    const void *samples,
                    const size_t *sizes,
                    size_t n,
                    unsigned accuracy)
{
    ZDICT_fastCover_params_t params = {
        .k = SEGMENT_BYTES,
        .d = DMER_BYTES,
        .f = accuracy,
        .accel = 1,
        .zParams = {.compressionLevel = level < LEVEL_TRAINED ? 1 : LEVEL_TRAINED},
    };
    size_t len = ZDICT_trainFromBuffer_fastCover(dict, cap, samples, sizes, (unsigned)n, params);

    if (ZSTD_getErrorCode(len) == ZSTD_error_memory_allocation) {
        return ZC_CODEC_NO_MEMORY;
    }
    return ZDICT_isError(len) ? 0 : len;
}

/*
 * A prepared dictionary and its memory, in one piece: zstd 1.5.4 crashes if the memory that it asks for
 * itself is refused.
 */
struct prepared {
    const struct zc_mem *mem; /* the table's, which outlives dictionaries */
    size_t size;
    const ZSTD_CDict *encoder; /* either */
    const ZSTD_DDict *decoder;
    _Alignas(ZC_CACHE_LINE) unsigned char room[];
};

static struct prepared *prepared_alloc(const struct zc_mem *mem, size_t room)
{
    struct prepared *p = mem->alloc(mem->ctx, sizeof(*p) + room);

    if (p != NULL) {
        p->mem = mem;
        p->size = sizeof(*p) + room;
    }
    return p;
}

static void prepared_free(void *opaque)
{
    struct prepared *p = opaque;

    if (p != NULL) {
        p->mem->free(p->mem->ctx, p, p->size);
    }
}

/*
 * The library's tables are for much larger dictionaries, too: one place for each two bytes makes pages 0.3 %
 * larger at worst, and takes half of the memory or less.
 */
static ZSTD_compressionParameters encoder_params(int level, size_t len)
{
    ZSTD_compressionParameters params = ZSTD_getCParams(level, PAGE_TYPICAL, len);
    const unsigned log2 = ZC_MAX(zc_log2_floor(zc_pow2_ceil(len)), TABLE_LOG2_MIN + 2);

    params.hashLog = ZC_MIN(params.hashLog, log2 - 1);
    params.chainLog = ZC_MIN(params.chainLog, log2 - 2);
    return params;
}

static void *encoder_create(const struct zc_mem *mem, int level, const void *content, size_t len)
{
    const ZSTD_compressionParameters params = encoder_params(level, len);
    const size_t room = ZSTD_estimateCDictSize_advanced(len, params, ZSTD_dlm_byRef);
    struct prepared *p = prepared_alloc(mem, room);

    if (p == NULL) {
        return NULL;
    }
    p->encoder = ZSTD_initStaticCDict(p->room, room, content, len, ZSTD_dlm_byRef,
                                      ZSTD_dct_fullDict, params);
    if (p->encoder == NULL) {
        prepared_free(p);
        return NULL;
    }
    return p;
}

static void *decoder_create(const struct zc_mem *mem, const void *content, size_t len)
{
    const size_t room = ZSTD_estimateDDictSize(len, ZSTD_dlm_byRef);
    struct prepared *p = prepared_alloc(mem, room);

    if (p == NULL) {
        return NULL;
    }
    p->decoder =
        ZSTD_initStaticDDict(p->room, room, content, len, ZSTD_dlm_byRef, ZSTD_dct_fullDict);
    if (p->decoder == NULL) {
        prepared_free(p);
        return NULL;
    }
    return p;
}

/* A block; 0 if it would not be shorter than the page; zstd's errors. */
static size_t encode_block(ZSTD_CCtx *c,
                           const ZSTD_CDict *dict,
                           void *dst,
                           size_t cap,
                           const void *src,
                           size_t len)
{
    static const ZSTD_frameParameters no_frame = {.noDictIDFlag = 1};
    size_t n = ZSTD_compressBegin_usingCDict_advanced(c, dict, no_frame, len);

    return ZSTD_isError(n) ? n : ZSTD_compressBlock(c, dst, cap, src, len);
}

/* ---- literals as they are ------------------------------------------------------------------------- */

#define LITERALS_AUTO      0 /* of ZSTD_c_literalCompressionMode; zstd 1.5 renamed them */
#define LITERALS_RAW       2
#define LITERALS_PLAIN_MAX 1u /* kinds up to this are not Huffman codes */
#define LEVEL_QUICK        5  /* who asks for a higher one wants small pages */
#define LONGER_BY          16u

static size_t raw_literals_head(size_t literals)
{
    return literals < 32 ? 1 : literals < 4096 ? 2 : 3;
}

/* How long a block of @n bytes is with its literals as they are; 0: they are so already. */
static size_t with_raw_literals(const unsigned char *block, size_t n)
{
    const unsigned format = block[0] >> 2 & 3;
    const unsigned bits = format < 2 ? 10 : format == 2 ? 14 : 18;
    const size_t head = format < 2 ? 3 : format + 2;
    uint64_t sizes = 0;
    size_t raw;
    size_t packed;

    if ((block[0] & 3) <= LITERALS_PLAIN_MAX || n < head) {
        return 0;
    }
    for (size_t i = 0; i < head; i++) {
        sizes |= (uint64_t)block[i] << 8 * i;
    }
    raw = (size_t)(sizes >> 4 & ((UINT64_C(1) << bits) - 1));
    packed = (size_t)(sizes >> (4 + bits) & ((UINT64_C(1) << bits) - 1));
    return n - head - packed + raw_literals_head(raw) + raw;
}

/* The block of a frame that is nothing but one compressed block; 0 if it is anything else. */
static size_t strip_frame(unsigned char *frame, size_t n)
{
    const size_t heads = FRAME_HEAD + BLOCK_HEAD;

    if (n <= heads || frame[0] != 0 || (frame[FRAME_HEAD] & 7) != (BLOCK_COMPRESSED << 1 | 1)) {
        return 0;
    }
    (void)memmove(frame, frame + heads, n - heads);
    return n - heads;
}

/* As encode_block(), without Huffman codes; 0 as well if anything is in the way. */
static size_t encode_raw_literals(ZSTD_CCtx *c,
                                  const ZSTD_CDict *dict,
                                  void *dst,
                                  size_t cap,
                                  const void *src,
                                  size_t len)
{
    size_t n = 0;

    (void)ZSTD_CCtx_reset(c, ZSTD_reset_session_only);
    if (!ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_literalCompressionMode, LITERALS_RAW)) &&
        !ZSTD_isError(ZSTD_CCtx_refCDict(c, dict))) {
        n = ZSTD_compress2(c, dst, cap, src, len);
    }
    (void)ZSTD_CCtx_reset(c, ZSTD_reset_session_only); /* after an error it takes no parameters */
    (void)ZSTD_CCtx_refCDict(c, NULL);
    (void)ZSTD_CCtx_setParameter(c, ZSTD_c_literalCompressionMode, LITERALS_AUTO);
    return ZSTD_isError(n) ? 0 : strip_frame(dst, n);
}

static size_t encode_with(void *context,
                          const void *opaque,
                          void *dst,
                          size_t cap,
                          const void *src,
                          size_t len)
{
    const int level = ((const struct context *)context)->level;
    const struct prepared *p = opaque;
    ZSTD_CCtx *c = compress_context(context);
    size_t most;
    size_t raw;
    size_t n;

    if (c == NULL) {
        return ZC_CODEC_NO_MEMORY;
    }
    n = encode_block(c, p->encoder, dst, cap, src, len);
    raw = ZSTD_isError(n) || n == 0 || level > LEVEL_QUICK ? 0 : with_raw_literals(dst, n);
    most = n + n / LONGER_BY;
    if (raw != 0 && raw <= most && raw + FRAME_HEAD + BLOCK_HEAD <= cap) {
        n = encode_raw_literals(c, p->encoder, dst, cap, src, len);
        if (ZC_UNEXPECTED(n == 0 || n > most)) {
            n = encode_block(c, p->encoder, dst, cap, src, len);
        }
    }
    if (ZSTD_getErrorCode(n) == ZSTD_error_memory_allocation) {
        return ZC_CODEC_NO_MEMORY;
    }
    return ZSTD_isError(n) ? 0 : n;
}

static int decode_with(void *context,
                       const void *opaque,
                       void *dst,
                       size_t len,
                       const void *src,
                       size_t stored)
{
    const struct prepared *p = opaque;
    ZSTD_DCtx *d = decompress_context(context);

    if (d == NULL) {
        return -ENOMEM;
    }
    if (ZSTD_isError(ZSTD_decompressBegin_usingDDict(d, p->decoder))) {
        return -EBADMSG;
    }
    return ZSTD_decompressBlock(d, dst, len, src, stored) == len ? 0 : -EBADMSG;
}

static const struct zc_codec_dict_impl dictionaries = {
    .page_max = ZSTD_BLOCKSIZE_MAX,
    .train_bytes = train_bytes,
    .train = train,
    .encoder_create = encoder_create,
    .encoder_destroy = prepared_free,
    .decoder_create = decoder_create,
    .decoder_destroy = prepared_free,
    .encode = encode_with,
    .decode = decode_with,
};

const struct zc_codec_impl zc_codec_zstd = {
    .name = "zstd",
    .level_min = -7,
    .level_max = 19,
    .level_default = 3,
    .context_create = create_context,
    .context_destroy = destroy_context,
    .encode = encode,
    .decode = decode,
    .decode_needs_context = true,
    .dict = &dictionaries,
};
