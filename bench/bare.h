/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The subject "bare": what zcache is compared with.  It does the work that nobody can save, with
 * the same codec library on the same pages, and nothing else: no index, no locks, no checksums.
 */
#ifndef BENCH_BARE_H
#define BENCH_BARE_H

#include "corpus.h"
#include "measure.h"

enum bare_codec {
    BARE_COPY, /* memcpy() */
    BARE_LZ4,  /* LZ4_decompress_safe() */
    BARE_ZSTD  /* ZSTD_decompressDCtx() */
};

/* All pages of a corpus, encoded one after the other in memory. */
struct bare {
    enum bare_codec codec;
    size_t page_bytes;
    unsigned char *bytes;
    size_t *offset; /* of page i; page i + 1 begins where it ends */
};

void bare_make(struct bare *bare, enum bare_codec codec, const struct corpus *corpus);
void bare_free(struct bare *bare);

/* Each operation decodes a page into the scratch page. */
struct subject bare_subject(struct bare *bare);

#endif /* BENCH_BARE_H */
