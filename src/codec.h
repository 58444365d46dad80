/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Codec registry, instances and per-thread contexts.
 *
 * A codec is an implementation (struct zcache_codec), an instance is a codec at a level.  A payload
 * records the instance that made it; instances live as long as the cache, so a payload can be
 * decoded whatever is selected now.  Instance 0 is "none": raw bytes.  Contexts are per thread and
 * instance, created at first use through struct zc_mem, so they are accounted for.
 */
#ifndef ZC_CODEC_H
#define ZC_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zcache/codec.h>

#include "plat.h"

#define ZC_CODEC_NONE          0u
#define ZC_CODEC_INSTANCES_MAX 17 /* with instance 0 */
#define ZC_CODEC_CUSTOM_MAX    8
#define ZC_CODEC_NO_MEMORY     SIZE_MAX

/**
 * struct zc_codec_impl - what the registry works with; the built-in ones are zc_codec_lz4 and
 *                        zc_codec_zstd, custom ones are wrapped.
 * Members as in struct zcache_codec, plus memory for contexts.
 */
struct zc_codec_impl {
    const char *name;
    int level_min;
    int level_max;
    int level_default;
    void *(*context_create)(const struct zc_mem *mem, int level, const struct zcache_codec *custom);
    void (*context_destroy)(const struct zc_mem *mem,
                            void *context,
                            const struct zcache_codec *custom);
    size_t (*encode)(void *context,
                     int level,
                     void *dst,
                     size_t cap,
                     const void *src,
                     size_t len,
                     const struct zcache_codec *custom);
    int (*decode)(void *context,
                  void *dst,
                  size_t len,
                  const void *src,
                  size_t stored,
                  const struct zcache_codec *custom);
    bool decode_needs_context;
    /* Dictionaries; NULL, all of them, for a codec that has none. */
    const struct zc_codec_dict_impl *dict;
};

/**
 * struct zc_codec_dict_impl - a codec's dictionaries.  A dictionary's content is prepared once for each
 * level to encode with (an encoder) and once to decode with (a decoder); both refer to the content, which
 * must outlive them, and are only read by those who use them, any number of threads.
 */
struct zc_codec_dict_impl {
    size_t page_max; /* longest page that it can encode with one */
    /* Bytes of system memory that train() takes for itself, of all sizes beyond the samples. */
    size_t (*train_bytes)(size_t cap, size_t n, unsigned accuracy);
    /* Return: length of the content written to @dict; 0 nothing can be learnt; ZC_CODEC_NO_MEMORY. */
    size_t (*train)(int level,
                    void *dict,
                    size_t cap,
                    const void *samples,
                    const size_t *sizes,
                    size_t n,
                    unsigned accuracy);
    void *(*encoder_create)(const struct zc_mem *mem, int level, const void *content, size_t len);
    void (*encoder_destroy)(void *encoder);
    void *(*decoder_create)(const struct zc_mem *mem, const void *content, size_t len);
    void (*decoder_destroy)(void *decoder);
    size_t (*encode)(void *context,
                     const void *encoder,
                     void *dst,
                     size_t cap,
                     const void *src,
                     size_t len);
    int (*decode)(void *context,
                  const void *decoder,
                  void *dst,
                  size_t len,
                  const void *src,
                  size_t stored);
};

extern const struct zc_codec_impl zc_codec_lz4;
extern const struct zc_codec_impl zc_codec_zstd;

struct zc_codecs; /* one per cache */

/** struct zc_codec_set - one thread's contexts; zero-initialised, owner thread only. */
struct zc_codec_set {
    void *context[ZC_CODEC_INSTANCES_MAX];
};

int zc_codecs_create(const struct zc_mem *mem, struct zc_codecs **out);
void zc_codecs_destroy(struct zc_codecs **codecs);

/** zc_codecs_register() - add a custom codec.  Return: 0; -EEXIST; -ENOSPC; -EINVAL. */
int zc_codecs_register(struct zc_codecs *codecs, const struct zcache_codec *custom);

/**
 * zc_codecs_instance() - the instance of a text "name" or "name:level"; made if new.
 *
 * Return: 0 and its number in @id_out ("none" is 0); -ENOTSUP unknown name; -EINVAL bad text or
 * level;
 * -ENOSPC.
 */
int zc_codecs_instance(struct zc_codecs *codecs, const char *text, uint8_t *id_out);

/** zc_codecs_describe() - "name:level" of an instance, for messages; "none" for 0. */
void zc_codecs_describe(const struct zc_codecs *codecs, uint8_t id, char *buf, size_t cap);

/**
 * zc_codec_encode() - compress with instance @id (not 0).
 *
 * Return: stored bytes; 0 if they do not fit into @cap; ZC_CODEC_NO_MEMORY for a context, which
 * says nothing about the page.
 */
size_t zc_codec_encode(struct zc_codecs *codecs,
                       struct zc_codec_set *set,
                       uint8_t id,
                       void *dst,
                       size_t cap,
                       const void *src,
                       size_t len);

/**
 * zc_codec_decode() - restore exactly @len bytes with instance @id (not 0) from possibly damaged
 * input.
 *
 * Return: 0; -EBADMSG; -ENOMEM no memory for a context.
 */
int zc_codec_decode(struct zc_codecs *codecs,
                    struct zc_codec_set *set,
                    uint8_t id,
                    void *dst,
                    size_t len,
                    const void *src,
                    size_t stored);

/** zc_codec_dicts() - the dictionaries of instance @id's codec; NULL if it has none, or there is no @id. */
const struct zc_codec_dict_impl *zc_codec_dicts(const struct zc_codecs *codecs, uint8_t id);

/** zc_codec_level() - of instance @id (not 0). */
int zc_codec_level(const struct zc_codecs *codecs, uint8_t id);

/**
 * zc_codec_encode_with() - as zc_codec_encode(), with an encoder made of a dictionary for @id's level.
 *
 * The bytes are another format than that without a dictionary.
 */
size_t zc_codec_encode_with(struct zc_codecs *codecs,
                            struct zc_codec_set *set,
                            uint8_t id,
                            const void *encoder,
                            void *dst,
                            size_t cap,
                            const void *src,
                            size_t len);

/** zc_codec_decode_with() - as zc_codec_decode(), with a decoder made of the dictionary. */
int zc_codec_decode_with(struct zc_codecs *codecs,
                         struct zc_codec_set *set,
                         uint8_t id,
                         const void *decoder,
                         void *dst,
                         size_t len,
                         const void *src,
                         size_t stored);

/** zc_codec_set_fini() - destroy a thread's contexts. */
void zc_codec_set_fini(struct zc_codecs *codecs, struct zc_codec_set *set);

/* codec_same.c: pages that repeat one 8-byte word. */

/**
 * zc_same_detect() - whether @len bytes repeat their first 8 bytes (the tail may be cut short;
 * pages shorter than 8 bytes always do).
 *
 * Return: true and the word (bytes beyond @len zero) in @word_out.
 */
bool zc_same_detect(const void *data, size_t len, uint64_t *word_out);

/** zc_same_fill() - write @len bytes of the repeated word. */
void zc_same_fill(void *buf, size_t len, uint64_t word);

/* codec_sum.c: checksums.  They are the machine's own, and not to be kept beyond the process. */

/** zc_checksum() - 32 bits over the bytes. */
uint32_t zc_checksum(const void *data, size_t len);

/** zc_checksum_copy() - zc_checksum() of @len bytes, which it copies; @dst and @src do not overlap. */
uint32_t zc_checksum_copy(void *dst, const void *src, size_t len);

/* The two it may be, for tests; zc_sum_aes() only where zc_sum_has_aes(). */
bool zc_sum_has_aes(void);
uint32_t zc_sum_aes(const void *data, size_t len);
uint32_t zc_sum_aes_copy(void *dst, const void *src, size_t len);
uint32_t zc_sum_xxh3(const void *data, size_t len);
uint32_t zc_sum_xxh3_copy(void *dst, const void *src, size_t len);

#endif /* ZC_CODEC_H */
