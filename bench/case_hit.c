/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hit.  The gets are told to PEEK, so that pages stay in the tier that is measured; only pages
 * that are in it take part, the same for all subjects.
 */
#include "cached.h"
#include "cases.h"
#include "fail.h"
#include "lineup.h"

#include <stdlib.h>

const struct hit_case hit_get_raw = {"get-raw", ZCACHE_TIER_RAW, BARE_COPY, false};
const struct hit_case hit_get_fast = {"get-fast", ZCACHE_TIER_FAST, BARE_LZ4, false};
const struct hit_case hit_get_dense = {"get-dense", ZCACHE_TIER_DENSE, BARE_ZSTD, false};
const struct hit_case hit_pin = {"pin", ZCACHE_TIER_RAW, BARE_COPY, true};

/* False if too few are in the tier for a case. */
static bool make_order(struct order *order,
                       struct cached *c,
                       const struct hit_case *hit,
                       double skew)
{
    uint32_t *pages = must_alloc(c->corpus->pages * sizeof *pages);
    const size_t n = cached_pages_in(c, hit->tier, pages);
    const bool enough = n != 0 && n >= c->corpus->pages / 2;

    if (enough) {
        order_make(order, pages, n, skew);
    }
    free(pages);
    return enough;
}

static void add_peers(struct lineup *l, const struct hit_case *hit)
{
    struct peer_config config = {.corpus = l->report->corpus, .codec = hit->codec};

    static const enum peer_id raw[] = {PEER_ROCKSDB_LRU, PEER_ROCKSDB_HCC};

    static const enum peer_id compressed[] = {PEER_ROCKSDB_CSC, PEER_ZRAM};

    for (unsigned i = 0; i < 2; i++) {
        config.id = hit->tier == ZCACHE_TIER_RAW ? raw[i] : compressed[i];
        lineup_add_peer(l, &config, hit->pin ? peer_toucher : peer_getter);
    }
    if (hit->tier == ZCACHE_TIER_DENSE) {
        config.id = PEER_NBDKIT;
        lineup_add_peer(l, &config, peer_getter);
    }
}

static uint64_t hits_elsewhere(const struct cached *c, enum zcache_tier tier)
{
    const struct cached_hits hits = cached_hits(c);

    return hits.all - hits.tier[tier];
}

static void run(struct lineup *l, struct cached *cached, const struct hit_case *hit)
{
    const struct corpus *corpus = cached->corpus;
    struct bare bare = {0}, with_dictionary = {0};
    struct order order;
    uint64_t elsewhere;

    if (!make_order(&order, cached, hit, l->report->opts->skew)) {
        report_missing(l->report, hit->name, "zcache",
                       "less than half of the pages are small enough for the tier");
        return;
    }
    (void)lineup_add(l, (struct subject){.name = "zcache",
                                         .ctx = cached,
                                         .op = hit->pin ? cached_op_pin : cached_op_get});
    if (lineup_wants(l, hit->codec == BARE_COPY ? PEER_MEMCPY : PEER_BARE)) {
        (void)bare_make(&bare, hit->codec, corpus);
        (void)lineup_add_reference(l, bare_decoder(&bare));
    }
    if (hit->codec == BARE_ZSTD && lineup_wants(l, PEER_BARE)) {
        if (bare_make(&with_dictionary, BARE_ZSTD_DICT, corpus)) {
            (void)lineup_add(l, bare_decoder(&with_dictionary));
        } else {
            lineup_miss(l, PEER_BARE, "too few pages to train a dictionary");
        }
    }
    add_peers(l, hit);
    elsewhere = hits_elsewhere(cached, hit->tier);
    lineup_run(l, &order);
    if (hits_elsewhere(cached, hit->tier) != elsewhere) {
        fail("%s: pages left the tier while they were measured", hit->name);
    }
    bare_free(&bare);
    bare_free(&with_dictionary);
    order_free(&order);
}

void case_hit(struct report *report,
              const struct corpus *corpus,
              const struct hit_case *hit,
              unsigned threads)
{
    struct lineup l;
    struct cached cached;

    if (!options_want_case(report->opts, hit->name)) {
        return;
    }
    lineup_begin(&l, report, hit->name, threads);
    cached_open(&cached, corpus, hit->tier);
    cached_fill(&cached, hit->tier);
    run(&l, &cached, hit);
    lineup_end(&l);
    cached_close(&cached);
}
