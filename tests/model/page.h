/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages of the model tests. A page names its key, its version, its WAL tag and what it looks like, and
 * all its bytes follow from these, so that one that is torn or mixed from two versions is recognised.
 */
#ifndef ZCACHE_TESTS_MODEL_PAGE_H
#define ZCACHE_TESTS_MODEL_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum model_look {
    MODEL_TEXT = 1, /* compresses well */
    MODEL_RANDOM,   /* does not */
    MODEL_SAME,     /* one word, repeated; carries no tag */
    MODEL_LOOKS     /* fits two bits */
};

enum {
    MODEL_KEYS_MAX = 1 << 12,
    MODEL_PAGE_MIN = 16,
    MODEL_PAGE_MAX = 1024
};

struct model_page {
    uint32_t key;     /* the test's number of it */
    uint32_t version; /* 0: no page */
    uint64_t tag;
    uint32_t len;
    enum model_look look;
};

void model_page_make(void *buf, const struct model_page *page);

/* Is this one whole page?  Then which. */
bool model_page_read(const void *buf, size_t len, struct model_page *out);

#endif /* ZCACHE_TESTS_MODEL_PAGE_H */
