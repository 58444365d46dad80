/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages of records, as a database has them: the same names of fields and a vocabulary that all pages of one
 * kind draw from, so that a dictionary knows much of a page that it has never seen.
 */
#ifndef ZCACHE_TESTS_RECORDS_H
#define ZCACHE_TESTS_RECORDS_H

#include <stdio.h>
#include <string.h>

#include "support.h"

#define RECORDS_WORDS 400u /* in the vocabulary of a kind */
#define RECORDS_WORD  10u  /* bytes of each */

/* The @i th word of a kind. */
static inline void records_word(unsigned kind, unsigned i, char *out)
{
    struct rng rng = {UINT64_C(0x9e3779b97f4a7c15) * (kind * 1000u + i + 1)};

    (void)rng_next(&rng);
    for (unsigned k = 0; k < RECORDS_WORD; k++) {
        out[k] = (char)(33 + rng_below(&rng, 90));
    }
}

/* @len bytes, determined by @kind and @page. */
static inline void records_make(void *buf, size_t len, unsigned kind, uint64_t page)
{
    struct rng rng = {page * 2654435761u + kind + 1};
    char *at = buf;
    size_t used = 0;

    (void)rng_next(&rng);
    while (used < len) {
        char record[96];
        char word[RECORDS_WORD + 1] = "";
        char other[RECORDS_WORD + 1] = "";
        int n;

        records_word(kind, (unsigned)rng_below(&rng, RECORDS_WORDS), word);
        records_word(kind, (unsigned)rng_below(&rng, RECORDS_WORDS), other);
        n = snprintf(record, sizeof(record), "%08x|%s|%s|%06u\n", (unsigned)rng_next(&rng), word,
                     other, (unsigned)rng_below(&rng, 1000000));
        n = (size_t)n < len - used ? n : (int)(len - used);
        memcpy(at + used, record, (size_t)n);
        used += (size_t)n;
    }
}

static inline int records_put(struct zcache_tenant *t, uint64_t page, unsigned kind)
{
    char buf[PAGE];

    records_make(buf, sizeof(buf), kind, page);
    return zcache_put(t, key_of(1, page), buf, sizeof(buf), ZCACHE_CLEAN);
}

/* Gets the page, which must be there with that content. */
static inline void records_check(struct zcache_tenant *t, uint64_t page, unsigned kind)
{
    char want[PAGE];
    char got[PAGE];
    size_t len = 0;

    records_make(want, sizeof(want), kind, page);
    REQUIRE_EQUAL(
        zcache_get(t, key_of(1, page), got, sizeof(got), &len, ZCACHE_PEEK | ZCACHE_NO_LOAD), 0);
    REQUIRE_EQUAL(len, sizeof(want));
    REQUIRE(memcmp(got, want, sizeof(want)) == 0);
}

#endif /* ZCACHE_TESTS_RECORDS_H */
