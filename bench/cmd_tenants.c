/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tenants: what an operation costs when the pages are divided among 1, 100 and 10,000 tenants
 * (--tenants), and how the shrinker divides a cache that is too small.
 *
 *   get-raw, put-raw  as in hit and put; page i is of tenant i % N
 *   fairness          24 tenants, of weights 50, 100 and 200, put ever new pages, one of them ten
 *                     times as many as the others.  A tenant's share is its part of the charge of
 *                     all by weight; `lowest_share` and `highest_share` are the tenants' charges by
 *                     their shares, `jain` is Jain's index of them: 1 if all are equal.
 */
#include "cached.h"
#include "command.h"
#include "fail.h"
#include "figures.h"
#include "lineup.h"

#include <stdio.h>
#include <stdlib.h>

#define TENANT_BYTES   16384 /* more than a tenant's record takes */
#define FAIR_TENANTS   24
#define FAIR_BYTES_MIN (8u << 20)
#define FAIR_TIMES     8 /* raw bytes put, by capacity */
#define GREEDY_TIMES   10

static const struct column fairness_columns[] = {
    {"case", "case", -13, -1},
    {"subject", "subject", -12, -1},
    {"tenants", "tenants", 8, 0},
    {"page_bytes", "page", 7, 0},
    {"jain", "jain", 8, 4},
    {"lowest_share", "lowest share", 13, 3},
    {"highest_share", "highest share", 14, 3},
};

/* ---------------------------------------------------------------------------------------------
 * Pages divided among many.
 */

struct crowd {
    struct cached cached;
    struct zcache_tenant **tenant;
    size_t n;
    char detail[32];
};

static struct zcache_tenant *open_tenant(const struct cached *c, size_t number, unsigned weight)
{
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_tenant *tenant;
    char name[32];

    (void)snprintf(name, sizeof name, "tenant%zu", number);
    opts.name = name;
    opts.limits.weight = weight;
    must(zcache_tenant_open(c->tenant, &opts, &tenant), "open a tenant");
    return tenant;
}

static int put_page(const struct crowd *c, uint32_t page)
{
    return zcache_put(c->tenant[page % c->n], cached_key(page), corpus_page(c->cached.corpus, page),
                      c->cached.corpus->page_bytes, 0);
}

static int op_put(void *ctx, uint32_t page, struct scratch *scratch)
{
    (void)scratch;
    return put_page(ctx, page);
}

static int op_get(void *ctx, uint32_t page, struct scratch *scratch)
{
    const struct crowd *c = ctx;

    return zcache_get(c->tenant[page % c->n], cached_key(page), scratch->page,
                      c->cached.corpus->page_bytes, NULL, ZCACHE_PEEK);
}

static void crowd_open(struct crowd *c, const struct corpus *corpus, size_t tenants)
{
    const struct zcache_options opts =
        cached_options(corpus, ZCACHE_TIER_RAW, tenants * TENANT_BYTES);

    *c = (struct crowd){.n = tenants,
                        .tenant = must_alloc(tenants * sizeof(struct zcache_tenant *))};
    (void)snprintf(c->detail, sizeof c->detail, "%zu tenant%s", tenants, tenants == 1 ? "" : "s");
    cached_open_with(&c->cached, corpus, &opts);
    for (size_t i = 0; i < tenants; i++) {
        c->tenant[i] = open_tenant(&c->cached, i, 100);
    }
    for (size_t i = 0; i < corpus->pages; i++) {
        must(put_page(c, (uint32_t)i), "put a page");
    }
}

static void crowd_close(struct crowd *c)
{
    cached_close(&c->cached);
    free(c->tenant);
}

static void run_case(struct report *report,
                     const char *name,
                     unsigned threads,
                     int (*op)(void *ctx, uint32_t page, struct scratch *scratch),
                     struct crowd *crowd)
{
    const struct number_list *tenants = &report->opts->tenants;
    struct lineup l;
    struct order order;

    order_make_all(&order, report->corpus->pages, report->opts->skew);
    lineup_begin(&l, report, name, threads);
    for (unsigned i = 0; i < tenants->n; i++) {
        report_set_count(lineup_add(&l, (struct subject){.name = "zcache",
                                                         .detail = crowd[i].detail,
                                                         .ctx = &crowd[i],
                                                         .op = op}),
                         "tenants", tenants->at[i]);
    }
    lineup_run(&l, &order);
    lineup_end(&l);
    order_free(&order);
}

/* ---------------------------------------------------------------------------------------------
 * Fairness.
 */

static const unsigned weights[3] = {50, 100, 200};

struct shares {
    double jain;
    double lowest;
    double highest;
};

static struct shares shares_of(const uint64_t charge[FAIR_TENANTS])
{
    double all = 0, weight = 0, sum = 0, squares = 0;
    struct shares s = {0};

    for (unsigned i = 0; i < FAIR_TENANTS; i++) {
        all += (double)charge[i];
        weight += weights[i % 3];
    }
    for (unsigned i = 0; i < FAIR_TENANTS; i++) {
        const double x = (double)charge[i] / (all * weights[i % 3] / weight);

        sum += x;
        squares += x * x;
        s.lowest = i == 0 || x < s.lowest ? x : s.lowest;
        s.highest = x > s.highest ? x : s.highest;
    }
    s.jain = sum * sum / (FAIR_TENANTS * squares);
    return s;
}

/* One tenant after the other puts its next page; the first puts more in each turn. */
static void put_turns(struct zcache_tenant *const *tenant, const struct corpus *corpus, size_t puts)
{
    uint64_t next[FAIR_TENANTS] = {0};
    size_t done = 0;

    while (done < puts) {
        for (unsigned i = 0; i < FAIR_TENANTS; i++) {
            for (unsigned k = 0; k < (i == 0 ? GREEDY_TIMES : 1); k++, done++) {
                must(zcache_put(tenant[i], (struct zcache_key){.object = 1, .page = next[i]++},
                                corpus_page(corpus, done % corpus->pages), corpus->page_bytes, 0),
                     "put a page");
            }
        }
    }
}

static struct shares run_fairness(const struct corpus *corpus)
{
    struct zcache_tenant *tenant[FAIR_TENANTS];
    struct zcache_options opts = ZCACHE_OPTIONS_INIT;
    uint64_t charge[FAIR_TENANTS];
    struct cached cached;

    opts.page_max_bytes = (uint32_t)corpus->page_bytes;
    opts.capacity_bytes = corpus_bytes(corpus) / 4;
    if (opts.capacity_bytes < FAIR_BYTES_MIN + 16 * corpus->page_bytes) {
        opts.capacity_bytes = FAIR_BYTES_MIN + 16 * corpus->page_bytes;
    }
    cached_open_with(&cached, corpus, &opts);
    for (unsigned i = 0; i < FAIR_TENANTS; i++) {
        tenant[i] = open_tenant(&cached, i, weights[i % 3]);
    }
    put_turns(tenant, corpus, FAIR_TIMES * opts.capacity_bytes / corpus->page_bytes);
    cached_rest(&cached);
    for (unsigned i = 0; i < FAIR_TENANTS; i++) {
        struct zcache_stats stats = {.struct_size = sizeof stats};

        must(zcache_stats(tenant[i], &stats), "read the statistics");
        charge[i] = stats.gauge.charge_bytes;
    }
    cached_close(&cached);
    return shares_of(charge);
}

static void report_fairness(struct report *report, const struct corpus *corpus)
{
    const unsigned repeats = report->opts->repeats;
    double *value = must_alloc(3u * (size_t)repeats * sizeof *value);
    json_t *row = report_new_row(report, "fairness", "zcache", NULL, 1);

    for (unsigned i = 0; i < repeats; i++) {
        const struct shares s = run_fairness(corpus);

        value[i] = s.jain;
        value[repeats + i] = s.lowest;
        value[2 * repeats + i] = s.highest;
    }
    report_set_count(row, "tenants", FAIR_TENANTS);
    report_set(row, "jain", figures_median(value, repeats));
    report_set(row, "lowest_share", figures_median(value + repeats, repeats));
    report_set(row, "highest_share", figures_median(value + 2 * (size_t)repeats, repeats));
    report_columns(report, fairness_columns, sizeof fairness_columns / sizeof fairness_columns[0]);
    report_row(report, row);
    free(value);
}

/* ---------------------------------------------------------------------------------------------
 * The command.
 */

static void run(struct report *report, const struct corpus *corpus)
{
    const struct bench_options *opts = report->opts;
    struct crowd crowd[LIST_MAX];

    for (unsigned i = 0; i < opts->tenants.n; i++) {
        crowd_open(&crowd[i], corpus, opts->tenants.at[i]);
    }
    report_time_columns(report);
    for (unsigned t = 0; t < opts->threads.n; t++) {
        run_case(report, "get-raw", (unsigned)opts->threads.at[t], op_get, crowd);
        run_case(report, "put-raw", (unsigned)opts->threads.at[t], op_put, crowd);
    }
    for (unsigned i = 0; i < opts->tenants.n; i++) {
        crowd_close(&crowd[i]);
    }
    report_fairness(report, corpus);
}

const struct command command_tenants = {
    .defaults = {.command = "tenants",
                 .page_bytes = "4096",
                 .threads = "1",
                 .tenants = "1,100,10000",
                 .repeats = 3},
    .summary = "cost of many tenants, fairness of the shrinker",
    .run = run,
};
