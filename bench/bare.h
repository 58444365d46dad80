/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The subjects "bare" and "memcpy": the work that nobody can save, with the same codec library on
 * the same pages, and nothing else: no index, no locks, no checksums.  Contexts are made once for
 * each thread.
 */
#ifndef BENCH_BARE_H
#define BENCH_BARE_H

#include "corpus.h"
#include "measure.h"

#include <stdbool.h>

enum bare_codec {
    BARE_COPY,     /* memcpy() */
    BARE_LZ4,      /* LZ4_compress_fast_extState(), LZ4_decompress_safe() */
    BARE_ZSTD,     /* ZSTD_compressCCtx(), ZSTD_decompressDCtx() */
    BARE_ZSTD_DICT /* the same, with a trained dictionary */
};

struct bare_dictionary;

/* All pages of a corpus, encoded one after the other in memory. */
struct bare {
    enum bare_codec codec;
    const struct corpus *corpus;
    struct bare_dictionary *dictionary; /* NULL for none */
    unsigned char *bytes;
    size_t *offset; /* of page i; page i + 1 begins where it ends */
};

/* As subjects tell it: "lz4", "zstd:3", "zstd:3+dict"; NULL for BARE_COPY. */
const char *bare_codec_text(enum bare_codec codec);

/* Every how many pages one is taken to train the dictionary. */
#define BARE_SAMPLE_EVERY 16

/* False if a dictionary cannot be trained: too few pages. */
bool bare_make(struct bare *bare, enum bare_codec codec, const struct corpus *corpus);
void bare_free(struct bare *bare);

static inline size_t bare_stored(const struct bare *bare, size_t page)
{
    return bare->offset[page + 1] - bare->offset[page];
}

/* Each operation decodes a page into the scratch page. */
struct subject bare_decoder(struct bare *bare);

/* Each operation encodes a page into the scratch room. */
struct subject bare_encoder(struct bare *bare);

#endif /* BENCH_BARE_H */
