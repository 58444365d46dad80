/* SPDX-License-Identifier: BSD-2-Clause */
#include "report.h"
#include "problem.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define COLUMNS (MEMBERS + 1) /* the tenants, and the one above them */

static void label(const char *text)
{
    (void)printf("  %-28s", text);
}

__attribute__((format(printf, 1, 2))) static void cell(const char *format, ...)
{
    char text[32];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)printf(" %15s", text);
}

static void bytes_cell(uint64_t bytes)
{
    cell("%.2f MiB", (double)bytes / 0x1p20);
}

/* With a comma between thousands. */
static void count_cell(uint64_t n)
{
    char digits[24], text[32];
    size_t len = (size_t)snprintf(digits, sizeof digits, "%" PRIu64, n), at = 0;

    for (size_t i = 0; i < len; i++) {
        if (i != 0 && (len - i) % 3 == 0) {
            text[at++] = ',';
        }
        text[at++] = digits[i];
    }
    text[at] = '\0';
    cell("%s", text);
}

static void percent_cell(uint64_t part, uint64_t whole)
{
    if (whole == 0) {
        cell("-");
    } else {
        cell("%.1f %%", 100.0 * (double)part / (double)whole);
    }
}

static void latency_cell(const struct zcache_latency *l)
{
    if (l->count == 0) {
        cell("-");
    } else {
        cell("%.1f / %.1f us", (double)l->p50_ns / 1e3, (double)l->p99_ns / 1e3);
    }
}

static uint64_t hits(const struct zcache_stats *s)
{
    return s->count.get_hits_raw + s->count.get_hits_fast + s->count.get_hits_dense +
           s->count.get_hits_same;
}

enum tier_size {
    TIER_RAW_BYTES,
    TIER_STORED_BYTES,
    TIER_ALLOCATED_BYTES
};

static uint64_t sum_tiers(const struct zcache_stats *s, enum tier_size what)
{
    uint64_t sum = 0;

    for (unsigned t = 0; t < ZCACHE_TIERS; t++) {
        sum += what == TIER_RAW_BYTES      ? s->tier[t].raw_bytes
               : what == TIER_STORED_BYTES ? s->tier[t].stored_bytes
                                           : s->tier[t].allocated_bytes;
    }
    return sum;
}

static uint64_t evictions(const struct zcache_stats *s)
{
    return s->tier[ZCACHE_TIER_RAW].evictions + s->tier[ZCACHE_TIER_FAST].evictions +
           s->tier[ZCACHE_TIER_DENSE].evictions;
}

/* A line: @PRINT for the statistics s of each column i. */
#define ROW(text, PRINT)                                                                           \
    do {                                                                                           \
        label(text);                                                                               \
        for (unsigned i = 0; i < COLUMNS; i++) {                                                   \
            const struct zcache_stats *s = &r->stats[i];                                           \
            PRINT;                                                                                 \
            (void)s;                                                                               \
        }                                                                                          \
        (void)putchar('\n');                                                                       \
    } while (0)

static void print_header(const struct results *r, const struct sampler *sampler)
{
    (void)putchar('\n');
    ROW("", cell("%s", sampler->account[i].name));
}

static uint64_t data_pages(const struct house *h, unsigned column)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < MEMBERS; i++) {
        sum += column == i || column == MEMBERS ? h->member[i].n_pages : 0;
    }
    return sum;
}

static void print_memory(const struct results *r,
                         const struct sampler *sampler,
                         const struct house *h)
{
    ROW("pages of data", count_cell(data_pages(h, i)));
    ROW("  in bytes", bytes_cell(data_pages(h, i) * PAGE_BYTES));
    ROW("limit", bytes_cell(s->gauge.limit_bytes));
    ROW("highest charge", bytes_cell(s->gauge.peak_charge_bytes));
    ROW("  of the limit", percent_cell(s->gauge.peak_charge_bytes, s->gauge.limit_bytes));
    ROW("  highest sampled", bytes_cell(sampler->account[i].peak_bytes));
    ROW("pages cached", count_cell(s->gauge.pages));
    ROW("  raw / fast / dense", cell("%" PRIu64 "/%" PRIu64 "/%" PRIu64, s->tier[0].pages,
                                     s->tier[1].pages, s->tier[2].pages));
    ROW("  raw bytes", bytes_cell(sum_tiers(s, TIER_RAW_BYTES)));
    ROW("  stored bytes", bytes_cell(sum_tiers(s, TIER_STORED_BYTES)));
    ROW("  allocated bytes", bytes_cell(sum_tiers(s, TIER_ALLOCATED_BYTES)));
}

static void print_gets(const struct results *r)
{
    ROW("gets that hit", percent_cell(hits(s), hits(s) + s->count.get_loads + s->count.get_misses));
    ROW("  in the raw tier", count_cell(s->count.get_hits_raw));
    ROW("  in the fast tier", count_cell(s->count.get_hits_fast));
    ROW("  in the dense tier", count_cell(s->count.get_hits_dense));
    ROW("  of same-filled pages", count_cell(s->count.get_hits_same));
    ROW("gets that loaded", count_cell(s->count.get_loads));
    ROW("get from raw, p50 / p99", latency_cell(&s->latency[ZCACHE_LATENCY_GET_RAW]));
    ROW("get from fast, p50 / p99", latency_cell(&s->latency[ZCACHE_LATENCY_GET_FAST]));
    ROW("get from dense, p50 / p99", latency_cell(&s->latency[ZCACHE_LATENCY_GET_DENSE]));
}

static void print_reclaim(const struct results *r)
{
    ROW("puts", count_cell(s->count.put_inserts + s->count.put_replaces));
    ROW("put, p50 / p99", latency_cell(&s->latency[ZCACHE_LATENCY_PUT]));
    ROW("synchronous shrinks", count_cell(s->count.sync_shrinks));
    ROW("pages written back", count_cell(s->count.written_pages));
    ROW("pages evicted", count_cell(evictions(s)));
    ROW("evicted in other tenants", count_cell(s->count.foreign_evictions));
}

int results_collect(struct results *r, const struct sampler *s)
{
    memset(r, 0, sizeof *r);
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        int rc;

        r->stats[i].struct_size = sizeof r->stats[i];
        rc = zcache_stats(s->account[i].tenant, &r->stats[i]);
        if (rc != 0) {
            problem("%s: statistics: %s", s->account[i].name, problem_text(rc));
            return 1;
        }
    }
    return 0;
}

void report_print(const struct results *r, const struct sampler *s, const struct house *h)
{
    print_header(r, s);
    print_memory(r, s, h);
    print_gets(r);
    print_reclaim(r);
    (void)putchar('\n');
}
