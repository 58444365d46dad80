/* SPDX-License-Identifier: BSD-2-Clause */
/* A cache without a store, so large that nothing leaves it, whose pages are all in one tier. */
#ifndef BENCH_CACHED_H
#define BENCH_CACHED_H

#include "corpus.h"
#include "measure.h"

#include <stdint.h>

#include <zcache/stats.h>
#include <zcache/zcache.h>

struct cached {
    struct zcache *cache;
    struct zcache_tenant *tenant;
    const struct corpus *corpus;
};

static inline struct zcache_key cached_key(uint32_t page)
{
    return (struct zcache_key){.object = 1, .page = page};
}

/* Options for a cache with room for the whole corpus, and @more bytes, that keeps pages in @tier. */
struct zcache_options cached_options(const struct corpus *corpus,
                                     enum zcache_tier tier,
                                     uint64_t more);

void cached_open_with(struct cached *c,
                      const struct corpus *corpus,
                      const struct zcache_options *opts);

/* Open a cache that keeps its pages in @tier. */
void cached_open(struct cached *c, const struct corpus *corpus, enum zcache_tier tier);
void cached_close(struct cached *c);

/*
 * Put all pages, and wait until they are where they belong.  In the dense tier, and if there are enough to
 * train a dictionary, they are put once more when it is there, so that all are encoded with it.
 */
void cached_fill(struct cached *c, enum zcache_tier tier);

/* Wait until the shrinker has nothing to do and what was replaced is freed. */
void cached_rest(const struct cached *c);

/*
 * Find out which pages are in @tier: those that do not compress well enough stay elsewhere.  Their
 * numbers go to @pages_out, with room for all; the content of all of them is checked.
 *
 * Return: how many.
 */
size_t cached_pages_in(struct cached *c, enum zcache_tier tier, uint32_t *pages_out);

/* Gets and pins so far, and how many of them found their page in which tier. */
struct cached_hits {
    uint64_t all;
    uint64_t tier[ZCACHE_TIERS];
};

struct cached_hits cached_hits(const struct cached *c);

struct zcache_stats cached_stats(const struct cached *c);

/* Operations of subjects, with the cached as context: as pages are, and told to PEEK. */
int cached_op_get(void *ctx, uint32_t page, struct scratch *scratch);
int cached_op_pin(void *ctx, uint32_t page, struct scratch *scratch);
int cached_op_put(void *ctx, uint32_t page, struct scratch *scratch);

#endif /* BENCH_CACHED_H */
