/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The "lz4" codec: raw LZ4 blocks, no frame.  The level is LZ4's acceleration.
 *
 * A context is LZ4's hash table (16 KiB), so that encoding puts nothing of that size on the
 * caller's stack; decoding needs none.  A block says neither how long it is nor how long its
 * content is: the payload that holds it knows both, and the decoder is bounded by them on either
 * side.
 *
 * Not used: LZ4_compress_fast_extState_fastReset(), which saves clearing the table, because it is
 * not part of the library's stable interface.
 */
#include <errno.h>
#include <limits.h>
#include <lz4.h>

#include "codec.h"

static void *create_context(const struct zc_mem *mem, int level, const struct zcache_codec *custom)
{
    (void)level;
    (void)custom;
    return mem->alloc(mem->ctx, (size_t)LZ4_sizeofState());
}

static void destroy_context(const struct zc_mem *mem,
                            void *context,
                            const struct zcache_codec *custom)
{
    (void)custom;
    mem->free(mem->ctx, context, (size_t)LZ4_sizeofState());
}

static size_t encode(void *context,
                     int level,
                     void *dst,
                     size_t cap,
                     const void *src,
                     size_t len,
                     const struct zcache_codec *custom)
{
    int n;

    (void)custom;
    if (len > LZ4_MAX_INPUT_SIZE) {
        return 0;
    }
    if (cap > INT_MAX) {
        cap = INT_MAX;
    }
    n = LZ4_compress_fast_extState(context, src, dst, (int)len, (int)cap, level);
    return n > 0 ? (size_t)n : 0;
}

static int decode(void *context,
                  void *dst,
                  size_t len,
                  const void *src,
                  size_t stored,
                  const struct zcache_codec *custom)
{
    (void)context;
    (void)custom;
    if (len > INT_MAX || stored > INT_MAX ||
        LZ4_decompress_safe(src, dst, (int)stored, (int)len) != (int)len) {
        return -EBADMSG;
    }
    return 0;
}

const struct zc_codec_impl zc_codec_lz4 = {
    .name = "lz4",
    .level_min = 1,
    .level_max = 65537,
    .level_default = 1,
    .context_create = create_context,
    .context_destroy = destroy_context,
    .encode = encode,
    .decode = decode,
    .decode_needs_context = false,
};
