/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * churn: what memory holds.  A cache whose limit is half of the corpus's size is filled with four
 * times its limit; or, with --keys, one whose limit has room for so many pages in lz4 with so many.  Then
 * every page is replaced three times by one of another compressed size, and then the limit is halved.  Each
 * subject in a process of its own; RocksDB's with jemalloc preloaded, as it is recommended to run.
 *
 *   fresh, churned, shrunk   the phases of churn.h
 *   efficiency               bytes stored by bytes resident; the latter are those by which the
 *                            process grew, for zram those the kernel uses
 *   data_efficiency          the same of what lz4 makes of the pages, without zcache's heads
 *   peak_over_limit_bytes    the highest resident bytes beyond the limit since the start; when
 *                            shrunk, those that are left beyond the new limit
 */
#include "churn.h"
#include "command.h"
#include "fail.h"
#include "figures.h"
#include "progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_BYTES_MIN (2u << 20)
#define FILL_TIMES      4
#define PAGE_COST       200 /* bytes, more than what a page takes beyond its own */

static const char *const phase_names[CHURN_PHASES] = {"fresh", "churned", "shrunk"};

static const struct column columns[] = {
    {"case", "case", -9, -1},
    {"subject", "subject", -12, -1},
    {"detail", "", -8, -1},
    {"page_bytes", "page", 7, 0},
    {"pages", "pages", 8, 0},
    {"limit_bytes", "limit", 11, 0},
    {"stored_bytes", "stored", 11, 0},
    {"resident_bytes", "resident", 11, 0},
    {"efficiency", "efficiency", 10, 3},
    {"data_efficiency", "data only", 9, 3},
    {"pool_efficiency", "in pools", 8, 3},
    {"peak_over_limit_bytes", "peak over", 10, 0},
    {"metadata_bytes_per_page", "meta/page", 9, 1},
    {"ns_per_op", "ns/op", 9, 0},
};

struct member {
    bool peer;
    struct peer_config config;
    const char *name;
    bool missing;
    struct churn_samples *samples; /* one of each repetition */
};

static const struct bare *sort_sizes; /* for the comparison below */

static int compare_stored(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    const size_t nx = bare_stored(sort_sizes, x), ny = bare_stored(sort_sizes, y);

    return nx != ny ? (nx > ny) - (nx < ny) : (x > y) - (x < y);
}

/* Bytes of @keys pages of the larger half of the corpus. */
static uint64_t room_for(const struct churn_plan *plan, uint64_t keys)
{
    const size_t half = plan->corpus->pages / 2;
    uint64_t bytes = 0;
    uint64_t n = 0;

    for (size_t i = half; i < plan->corpus->pages; i++) {
        const size_t stored = bare_stored(plan->sizes, plan->by_size[i]);

        n++;
        bytes +=
            (stored < plan->corpus->page_bytes ? stored : plan->corpus->page_bytes) + PAGE_COST;
    }
    return bytes / (n != 0 ? n : 1) * keys;
}

static void make_plan(struct churn_plan *plan,
                      struct bare *sizes,
                      const struct corpus *corpus,
                      uint64_t keys)
{
    const uint64_t least = LIMIT_BYTES_MIN + 16 * (uint64_t)corpus->page_bytes;
    const uint64_t half = corpus_bytes(corpus) / 2;

    (void)bare_make(sizes, BARE_LZ4, corpus);
    *plan = (struct churn_plan){.corpus = corpus,
                                .sizes = sizes,
                                .by_size = must_alloc(corpus->pages * sizeof *plan->by_size),
                                .limit_bytes = half > least ? half : least};
    plan->keys = FILL_TIMES * plan->limit_bytes / corpus->page_bytes;
    for (size_t i = 0; i < corpus->pages; i++) {
        plan->by_size[i] = (uint32_t)i;
    }
    sort_sizes = sizes;
    qsort(plan->by_size, corpus->pages, sizeof *plan->by_size, compare_stored);
    if (keys != 0) {
        plan->keys = keys;
        plan->fits = true;
        plan->limit_bytes = LIMIT_BYTES_MIN + room_for(plan, keys);
        plan->limit_bytes += plan->limit_bytes / 16;
    }
}

static unsigned make_members(struct member *member,
                             const struct churn_plan *plan,
                             const struct bench_options *opts)
{
    static const enum peer_id ids[] = {PEER_ROCKSDB_CSC, PEER_ROCKSDB_LRU, PEER_ZRAM};

    unsigned n = 0;

    member[n++] = (struct member){.name = "zcache"};
    for (unsigned i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        if ((opts->peers & 1u << ids[i]) != 0) {
            member[n++] = (struct member){.peer = true,
                                          .config = {.id = ids[i],
                                                     .corpus = plan->corpus,
                                                     .codec = BARE_LZ4,
                                                     .capacity_bytes = plan->limit_bytes,
                                                     .keys = plan->keys},
                                          .name = peer_names[ids[i]]};
        }
    }
    for (unsigned k = 0; k < n; k++) {
        member[k].samples = must_alloc(opts->repeats * sizeof *member[k].samples);
    }
    return n;
}

/* The median of a number at the same place in all samples. */
static double median_of(const struct member *m, unsigned repeats, unsigned phase, size_t offset)
{
    double *value = must_alloc(repeats * sizeof *value);
    double median;

    for (unsigned i = 0; i < repeats; i++) {
        memcpy(&value[i], (const char *)&m->samples[i].phase[phase] + offset, sizeof value[i]);
    }
    median = isnan(value[0]) ? NAN : figures_median(value, repeats);
    free(value);
    return median;
}

static void report_phase(struct report *report, const struct member *m, unsigned phase)
{
    static const struct {
        const char *key;
        size_t offset;
    } members[] = {
        {"limit_bytes", offsetof(struct churn_sample, limit_bytes)},
        {"stored_bytes", offsetof(struct churn_sample, stored_bytes)},
        {"data_bytes", offsetof(struct churn_sample, data_bytes)},
        {"resident_bytes", offsetof(struct churn_sample, resident_bytes)},
        {"allocated_bytes", offsetof(struct churn_sample, allocated_bytes)},
        {"charge_bytes", offsetof(struct churn_sample, charge_bytes)},
        {"pool_bytes", offsetof(struct churn_sample, pool_bytes)},
        {"peak_over_limit_bytes", offsetof(struct churn_sample, peak_over_limit_bytes)},
        {"peak_charge_over_limit_bytes",
         offsetof(struct churn_sample, peak_charge_over_limit_bytes)},
        {"metadata_bytes_per_page", offsetof(struct churn_sample, metadata_bytes_per_page)},
        {"ns_per_op", offsetof(struct churn_sample, ns_per_op)},
    };

    const unsigned repeats = report->opts->repeats;
    json_t *row = report_new_row(report, phase_names[phase], m->name,
                                 m->samples[0].jemalloc ? "jemalloc" : NULL, 1);
    const double resident =
        median_of(m, repeats, phase, offsetof(struct churn_sample, resident_bytes));
    const double stored = median_of(m, repeats, phase, offsetof(struct churn_sample, stored_bytes));

    report_set_count(row, "pages",
                     (uint64_t)median_of(m, repeats, phase, offsetof(struct churn_sample, pages)));
    for (unsigned i = 0; i < sizeof members / sizeof members[0]; i++) {
        report_set(row, members[i].key, median_of(m, repeats, phase, members[i].offset));
    }
    report_set(row, "efficiency", stored / resident);
    report_set(row, "data_efficiency",
               median_of(m, repeats, phase, offsetof(struct churn_sample, data_bytes)) / resident);
    report_set(row, "pool_efficiency",
               stored / median_of(m, repeats, phase, offsetof(struct churn_sample, pool_bytes)));
    report_row(report, row);
}

static bool is_rocksdb(const struct member *m)
{
    return m->peer && (m->config.id == PEER_ROCKSDB_CSC || m->config.id == PEER_ROCKSDB_LRU);
}

static void measure_all(struct report *report, struct member *member, unsigned n)
{
    const unsigned repeats = report->opts->repeats;

    for (unsigned i = 0; i < repeats; i++) {
        for (unsigned k = 0; k < n; k++) {
            struct member *m = &member[k];
            char reason[PEER_REASON_BYTES];

            progress_show("churn: %u of %u, %s", i + 1, repeats, m->name);
            if (!m->missing && !churn_run(m->name, k, report->corpus->page_bytes, is_rocksdb(m),
                                          &m->samples[i], reason)) {
                m->missing = true;
                report_missing(report, "churned", m->name, reason);
            }
        }
    }
    progress_clear();
}

static void check(const struct bench_options *opts)
{
    if (opts->threads.n > 1 || opts->threads.at[0] > 1) {
        options_wrong("churn", "--threads is not for churn: one thread puts");
    }
    if (opts->skew > 0) {
        options_wrong("churn", "--skew is not for churn: keys are drawn evenly");
    }
    if (opts->keys.n > 1) {
        options_wrong("churn", "--keys is one number");
    }
}

static void run(struct report *report, const struct corpus *corpus)
{
    struct member member[PEERS + 1];
    struct churn_plan plan;
    struct churn_order order;
    struct bare sizes;
    const bool ordered = churn_ordered(&order);
    unsigned n;

    if (ordered && order.page_bytes != corpus->page_bytes) {
        return;
    }
    make_plan(&plan, &sizes, corpus, report->opts->keys.n != 0 ? report->opts->keys.at[0] : 0);
    n = make_members(member, &plan, report->opts);
    if (ordered) {
        churn_obey(&order, &plan, member[order.member].peer ? &member[order.member].config : NULL);
    }
    report_columns(report, columns, sizeof columns / sizeof columns[0]);
    measure_all(report, member, n);
    for (unsigned phase = 0; phase < CHURN_PHASES; phase++) {
        for (unsigned k = 0; k < n; k++) {
            if (!member[k].missing && phase < member[k].samples[0].n) {
                report_phase(report, &member[k], phase);
            }
        }
    }
    for (unsigned k = 0; k < n; k++) {
        free(member[k].samples);
    }
    bare_free(&sizes);
    free(plan.by_size);
}

const struct command command_churn = {
    .defaults =
        {.command = "churn", .page_bytes = "4096", .threads = "1", .keys = "", .repeats = 1},
    .summary = "memory held after churn with changing sizes, and after shrinking",
    .check = check,
    .run = run,
};
