/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hit: what a hit costs in each tier, beside the bare work of the same tier's codec.
 *
 *   get-raw    zcache_get() of raw pages          beside  memcpy()
 *   get-fast   zcache_get() of lz4 pages          beside  LZ4_decompress_safe()
 *   get-dense  zcache_get() of zstd pages         beside  ZSTD_decompressDCtx(), no dictionary
 *   pin        zcache_pin(), zcache_unpin()       beside  memcpy(), which a pin saves
 *
 * The gets are told to PEEK, so that pages stay in the tier that is measured.
 */
#include "bare.h"
#include "cached.h"
#include "commands.h"
#include "fail.h"
#include "report.h"

#include <stdlib.h>

struct hit_case {
    const char *name;
    enum zcache_tier tier;
    enum bare_codec codec;
    int (*op)(void *ctx, uint32_t page, struct scratch *scratch);
};

static int op_get(void *ctx, uint32_t page, struct scratch *scratch)
{
    const struct cached *c = ctx;

    return zcache_get(c->tenant, cached_key(page), scratch->page, c->corpus->page_bytes, NULL,
                      ZCACHE_PEEK);
}

static int op_pin(void *ctx, uint32_t page, struct scratch *scratch)
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

static const struct hit_case cases[] = {
    {"get-raw", ZCACHE_TIER_RAW, BARE_COPY, op_get},
    {"get-fast", ZCACHE_TIER_FAST, BARE_LZ4, op_get},
    {"get-dense", ZCACHE_TIER_DENSE, BARE_ZSTD, op_get},
    {"pin", ZCACHE_TIER_RAW, BARE_COPY, op_pin},
};

/* The pages that are in the tier, in the order in which both subjects read them. */
static void make_order(struct order *order,
                       struct cached *c,
                       const struct hit_case *hit,
                       double skew)
{
    uint32_t *pages = must_alloc(c->corpus->pages * sizeof *pages);
    size_t n = cached_pages_in(c, hit->tier, pages);

    if (n < c->corpus->pages / 2 || n == 0) {
        fail("%s: only %zu of %zu pages are in that tier", hit->name, n, c->corpus->pages);
    }
    order_make(order, pages, n, skew);
    free(pages);
}

static void run_case(struct report *report, const struct hit_case *hit, const struct corpus *corpus)
{
    struct subject subject[SUBJECTS];
    struct result result[SUBJECTS];

    struct cached cached;
    struct order order;
    struct bare bare;
    uint64_t elsewhere;

    cached_open(&cached, corpus, hit->tier);
    cached_fill(&cached, hit->tier);
    make_order(&order, &cached, hit, report->opts->skew);
    bare_make(&bare, hit->codec, corpus);
    subject[0] = (struct subject){.name = "zcache", .ctx = &cached, .op = hit->op};
    subject[1] = bare_subject(&bare);

    elsewhere = cached_hits(&cached).all - cached_hits(&cached).tier[hit->tier];
    measure(hit->name, report->opts, &order, subject, result);
    if (cached_hits(&cached).all - cached_hits(&cached).tier[hit->tier] != elsewhere) {
        fail("%s: pages left the tier while they were measured", hit->name);
    }
    report_case(report, hit->name, order.n, subject, result);
    bare_free(&bare);
    order_free(&order);
    cached_close(&cached);
}

int cmd_hit(int argc, const char **argv)
{
    struct bench_options opts;
    struct corpus corpus;
    struct report report;

    options_read("hit", argc, argv, &opts);
    corpus_read(&opts, &corpus);
    report_begin(&report, &opts, &corpus);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        run_case(&report, &cases[i], &corpus);
    }
    report_end(&report);
    corpus_free(&corpus);
    options_free(&opts);
    return 0;
}
