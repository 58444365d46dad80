/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Codecs of your own.  "lz4", "zstd" and "none" are built in.
 */
#ifndef ZCACHE_CODEC_H
#define ZCACHE_CODEC_H

#include <zcache/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * struct zcache_codec - a compressor; fill with ZCACHE_CODEC_INIT.
 * @struct_size: sizeof(struct zcache_codec).
 * @name:        1 to 15 bytes of [a-z0-9_-], not a built-in one; valid as long as the cache.
 * @level_min:   smallest level it takes.
 * @level_max:   largest.
 * @level_default: level of a codec text without one.
 *
 * Called by the library on any thread, several at once, each with a context of its own; no zcache
 * lock is held, but a codec must not call zcache: a decoder runs inside a reader's section.
 */
struct zcache_codec {
    size_t struct_size;
    const char *name;
    int level_min;
    int level_max;
    int level_default;

    /**
     * @context_create: make one thread's context for @level.  NULL if the codec needs none.
     *
     * Return: the context; NULL without memory.
     */
    void *(*context_create)(int level);

    /** @context_destroy: release it.  NULL exactly if @context_create is. */
    void (*context_destroy)(void *context);

    /**
     * @encode: compress @len bytes at @src into at most @cap bytes at @dst; never write beyond.
     *
     * Return: bytes written; 0 if they would not fit.
     */
    size_t (*encode)(void *context, void *dst, size_t cap, const void *src, size_t len);

    /**
     * @decode: restore exactly @len bytes to @dst from @stored bytes at @src.  The input may be
     *          damaged: it
     * must neither read nor write outside.
     *
     * Return: 0; -EBADMSG if that is impossible.
     */
    int (*decode)(void *context, void *dst, size_t len, const void *src, size_t stored);
};

#define ZCACHE_CODEC_INIT                                                                          \
    {                                                                                              \
        sizeof(struct zcache_codec), NULL, 0, 0, 0, NULL, NULL, NULL, NULL                         \
    }

/**
 * zcache_codec_register() - make a codec known to a cache.
 * @cache: live cache.
 * @codec: copied; its functions must stay as long as the cache.
 *
 * Return: 0; -EEXIST the name is taken; -ENOSPC more than 8 codecs; -EINVAL, -E2BIG bad @codec;
 * -ESHUTDOWN.
 * Threads: any.   May block: no.   Calls back: never.   Since: 0.1
 */
ZCACHE_API int zcache_codec_register(struct zcache *cache, const struct zcache_codec *codec)
    ZCACHE_MUST_CHECK;

/**
 * zcache_codec_select() - choose the codec with which a tier encodes from now on.
 * @cache: live cache.
 * @tier:  ZCACHE_TIER_FAST or ZCACHE_TIER_DENSE.
 * @text:  "name" or "name:level".
 *
 * Pages stored before are decoded by what they record about themselves.
 *
 * Return: 0; -ENOTSUP no such codec; -EINVAL bad @tier, @text or level; -ENOSPC more than 16
 * different codec and level pairs were used; -ESHUTDOWN.
 * Threads: any.   May block: no.   Calls back: never.   Since: 0.1
 */
ZCACHE_API int zcache_codec_select(struct zcache *cache, enum zcache_tier tier, const char *text)
    ZCACHE_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif /* ZCACHE_CODEC_H */
