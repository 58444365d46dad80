/* SPDX-License-Identifier: BSD-2-Clause */
/* Every page is cached already, each put replaces it; memcpy() goes to a buffer used before. */
#include "cached.h"
#include "cases.h"
#include "copies.h"
#include "fail.h"
#include "lineup.h"

#include <stdlib.h>

static void add_peers(struct lineup *l)
{
    static const enum peer_id ids[] = {PEER_ROCKSDB_CSC, PEER_ROCKSDB_LRU, PEER_ZRAM, PEER_NBDKIT};

    for (unsigned i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        const struct peer_config config = {
            .id = ids[i], .corpus = l->report->corpus, .codec = BARE_LZ4};

        lineup_add_peer(l, &config, peer_putter);
    }
}

void case_put_raw(struct report *report, const struct corpus *corpus, unsigned threads)
{
    struct copies copies;
    struct cached cached;
    struct lineup l;
    struct order order;
    uint32_t *pages;

    if (!options_want_case(report->opts, "put-raw")) {
        return;
    }
    pages = must_alloc(corpus->pages * sizeof *pages);
    lineup_begin(&l, report, "put-raw", threads);
    copies_make(&copies, corpus);
    cached_open(&cached, corpus, ZCACHE_TIER_RAW);
    cached_fill(&cached, ZCACHE_TIER_RAW);
    if (cached_pages_in(&cached, ZCACHE_TIER_RAW, pages) != corpus->pages) {
        fail("put-raw: not all pages stayed raw");
    }
    order_make(&order, pages, corpus->pages, report->opts->skew);
    (void)lineup_add(&l, (struct subject){.name = "zcache", .ctx = &cached, .op = cached_op_put});
    if (lineup_wants(&l, PEER_MEMCPY)) {
        (void)lineup_add_reference(
            &l, (struct subject){.name = "memcpy", .ctx = &copies, .op = copies_op});
    }
    add_peers(&l);
    lineup_run(&l, &order);

    lineup_end(&l);
    order_free(&order);
    cached_close(&cached);
    copies_free(&copies);
    free(pages);
}
