/* SPDX-License-Identifier: BSD-2-Clause */
#include "cached.h"
#include "fail.h"
#include "order.h"
#include "progress.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ENTRY_BYTES     1024 /* more than a page's record takes */
#define SETTLE_POLL_MS  20
#define QUIET_POLLS     5
#define SETTLE_IDLE_MS  3000
#define SETTLE_LIMIT_MS 120000
#define LEARN_BYTES     (12u << 20) /* more than a sample is taken of */
#define LEARN_LIMIT_MS  10000

struct zcache_options cached_options(const struct corpus *corpus,
                                     enum zcache_tier tier,
                                     uint64_t more)
{
    struct zcache_options opts = ZCACHE_OPTIONS_INIT;

    opts.capacity_bytes =
        (64u << 20) + 3 * corpus->pages * (corpus->page_bytes + ENTRY_BYTES) + more;
    opts.page_max_bytes = (uint32_t)corpus->page_bytes;
    opts.raw_percent = tier == ZCACHE_TIER_RAW ? 100 : 0;
    opts.fast_percent = tier == ZCACHE_TIER_DENSE ? 0 : 100;
    if (tier == ZCACHE_TIER_DENSE) {
        opts.start_percent = 0;
    }
    return opts;
}

void cached_open_with(struct cached *c,
                      const struct corpus *corpus,
                      const struct zcache_options *opts)
{
    *c = (struct cached){.corpus = corpus};
    must(zcache_open(opts, &c->cache), "open a cache");
    c->tenant = zcache_root(c->cache);
}

void cached_open(struct cached *c, const struct corpus *corpus, enum zcache_tier tier)
{
    const struct zcache_options opts = cached_options(corpus, tier, 0);

    cached_open_with(c, corpus, &opts);
}

void cached_close(struct cached *c)
{
    must(zcache_close(c->cache, ZCACHE_DISCARD), "close the cache");
    c->cache = NULL;
}

struct zcache_stats cached_stats(const struct cached *c)
{
    struct zcache_stats s = {.struct_size = sizeof s};

    must(zcache_stats(c->tenant, &s), "read the statistics");
    return s;
}

static void sleep_ms(long ms)
{
    const struct timespec t = {.tv_nsec = ms * 1000000};

    (void)nanosleep(&t, NULL);
}

/* Until all pages are in the tier, or nothing has moved for a while. */
static void settle(struct cached *c, enum zcache_tier tier)
{
    uint64_t before = 0;
    long idle_ms = 0;

    for (long ms = 0; ms < SETTLE_LIMIT_MS && idle_ms < SETTLE_IDLE_MS; ms += SETTLE_POLL_MS) {
        const uint64_t there = cached_stats(c).tier[tier].pages;

        if (there == c->corpus->pages) {
            break;
        }
        progress_show("%" PRIu64 " of %zu pages in their tier", there, c->corpus->pages);
        idle_ms = there == before ? idle_ms + SETTLE_POLL_MS : 0;
        before = there;
        sleep_ms(SETTLE_POLL_MS);
    }
    progress_clear();
}

void cached_rest(const struct cached *c)
{
    unsigned quiet = 0;

    for (long ms = 0; ms < SETTLE_LIMIT_MS && quiet < QUIET_POLLS; ms += SETTLE_POLL_MS) {
        const struct zcache_stats s = cached_stats(c);

        quiet = s.cache.shrinker_sleeping != 0 && s.cache.retired_bytes == 0 ? quiet + 1 : 0;
        sleep_ms(SETTLE_POLL_MS);
    }
}

/* Whether a dictionary was trained, of enough pages, in time. */
static bool learnt(const struct cached *c)
{
    struct zcache_stats s = cached_stats(c);

    if (corpus_bytes(c->corpus) < LEARN_BYTES) {
        return false;
    }
    for (long ms = 0; ms < LEARN_LIMIT_MS && s.count.dict_trainings == 0; ms += SETTLE_POLL_MS) {
        sleep_ms(SETTLE_POLL_MS);
        s = cached_stats(c);
    }
    return s.cache.dictionaries != 0;
}

/* Pages in random order, as they come to be the oldest in a cache: samples are taken of what goes dense. */
static void put_shuffled(const struct cached *c)
{
    struct order order;

    order_make_all(&order, c->corpus->pages, 0);
    for (size_t i = 0; i < order.n; i++) {
        must(zcache_put(c->tenant, cached_key(order.page[i]), corpus_page(c->corpus, order.page[i]),
                        c->corpus->page_bytes, 0),
             "put a page");
    }
    order_free(&order);
}

static void put_all(const struct cached *c)
{
    for (size_t i = 0; i < c->corpus->pages; i++) {
        must(zcache_put(c->tenant, cached_key((uint32_t)i), corpus_page(c->corpus, i),
                        c->corpus->page_bytes, 0),
             "put a page");
    }
}

void cached_fill(struct cached *c, enum zcache_tier tier)
{
    if (tier != ZCACHE_TIER_DENSE) {
        put_all(c);
        settle(c, tier);
        return;
    }
    put_shuffled(c);
    settle(c, tier);
    if (learnt(c)) {
        put_shuffled(c);
        settle(c, tier);
        cached_rest(c);
    }
}

struct cached_hits cached_hits(const struct cached *c)
{
    const struct zcache_stats s = cached_stats(c);
    const uint64_t other = s.count.get_hits_same + s.count.get_loads + s.count.get_misses +
                           s.count.get_errors + s.count.pin_misses + s.count.pin_errors;
    struct cached_hits hits = {.tier = {[ZCACHE_TIER_RAW] = s.count.get_hits_raw + s.count.pin_hits,
                                        [ZCACHE_TIER_FAST] = s.count.get_hits_fast,
                                        [ZCACHE_TIER_DENSE] = s.count.get_hits_dense}};

    hits.all = hits.tier[0] + hits.tier[1] + hits.tier[2] + other;
    return hits;
}

size_t cached_pages_in(struct cached *c, enum zcache_tier tier, uint32_t *pages_out)
{
    const size_t page_bytes = c->corpus->page_bytes;
    unsigned char *buf = must_alloc(page_bytes);
    uint64_t hits = cached_hits(c).tier[tier];
    size_t n = 0;

    for (size_t i = 0; i < c->corpus->pages; i++) {
        uint64_t hits_now;
        size_t len;

        must(zcache_get(c->tenant, cached_key((uint32_t)i), buf, page_bytes, &len, ZCACHE_PEEK),
             "get a page");
        if (len != page_bytes || memcmp(buf, corpus_page(c->corpus, i), page_bytes) != 0) {
            fail("page %zu came back with other bytes", i);
        }
        hits_now = cached_hits(c).tier[tier];
        if (hits_now != hits) {
            pages_out[n++] = (uint32_t)i;
        }
        hits = hits_now;
    }
    free(buf);
    return n;
}

int cached_op_get(void *ctx, uint32_t page, struct scratch *scratch)
{
    const struct cached *c = ctx;

    return zcache_get(c->tenant, cached_key(page), scratch->page, c->corpus->page_bytes, NULL,
                      ZCACHE_PEEK);
}

int cached_op_pin(void *ctx, uint32_t page, struct scratch *scratch)
{
    const struct cached *c = ctx;
    struct zcache_pin pin;
    int rc = zcache_pin(c->tenant, cached_key(page), ZCACHE_PEEK, &pin);

    if (rc == 0) {
        scratch->page[0] = *(const unsigned char *)pin.data;
        zcache_unpin(&pin);
    }
    return rc;
}

int cached_op_put(void *ctx, uint32_t page, struct scratch *scratch)
{
    const struct cached *c = ctx;

    (void)scratch;
    return zcache_put(c->tenant, cached_key(page), corpus_page(c->corpus, page),
                      c->corpus->page_bytes, 0);
}
