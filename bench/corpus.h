/* SPDX-License-Identifier: BSD-2-Clause */
/* The pages that are put and read back. */
#ifndef BENCH_CORPUS_H
#define BENCH_CORPUS_H

#include "options.h"

#include <stdint.h>

struct corpus {
    unsigned char *bytes; /* on a multiple of 4096 */
    size_t page_bytes;
    size_t pages;
    size_t same_filled; /* pages of the file left out, because caches treat them specially */
};

/*
 * Read pages of @page_bytes into memory, evenly spaced over the file if it has more than are
 * wanted.  Ends the program with a message if it has fewer.
 */
void corpus_read(const struct bench_options *opts, size_t page_bytes, struct corpus *out);
void corpus_free(struct corpus *corpus);

static inline const unsigned char *corpus_page(const struct corpus *corpus, size_t i)
{
    return corpus->bytes + i * corpus->page_bytes;
}

static inline size_t corpus_bytes(const struct corpus *corpus)
{
    return corpus->pages * corpus->page_bytes;
}

#endif /* BENCH_CORPUS_H */
