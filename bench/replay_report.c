/* SPDX-License-Identifier: BSD-2-Clause */
#include "replay_report.h"
#include "fail.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include <zcache/zcache.h>

static const struct column pages_columns[] = {
    {"trace", "trace", -20, -1},    {"size", "size", 6, -1},
    {"cache_pages", "pages", 8, 0}, {"subject", "subject", -11, -1},
    {"policy", "policy", -8, -1},   {"hit_percent", "hit %", 7, 2},
    {"misses", "misses", 9, 0},     {"mean_pages", "resident", 9, 1},
    {"peak_pages", "most", 7, 0},   {"ns_per_request", "ns/req", 8, 0},
};

static const struct column bytes_columns[] = {
    {"trace", "trace", -20, -1},         {"size", "size", 6, -1},
    {"cache_bytes", "bytes", 10, 0},     {"subject", "subject", -12, -1},
    {"policy", "policy", -8, -1},        {"detail", "", -8, -1},
    {"hit_percent", "hit %", 7, 2},      {"misses", "misses", 9, 0},
    {"mean_pages", "resident", 9, 0},    {"mean_bytes", "charge", 10, 0},
    {"hits_raw", "raw hits", 9, 0},      {"hits_fast", "fast hits", 9, 0},
    {"hits_dense", "dense hits", 10, 0}, {"ns_per_request", "ns/req", 8, 0},
};

static void must_json(int rc)
{
    if (rc != 0) {
        fail("no memory for a result");
    }
}

void replay_report_columns(struct report *r, bool bytes)
{
    report_columns(r, bytes ? bytes_columns : pages_columns,
                   bytes ? sizeof bytes_columns / sizeof bytes_columns[0]
                         : sizeof pages_columns / sizeof pages_columns[0]);
}

static json_t *new_row(const struct replay_subject *s)
{
    json_t *row =
        json_pack("{ss ss ss ss ss ss ss}", "bench", "replay", "case",
                  s->cache.pages != 0 ? "pages" : "bytes", "trace", s->trace, "size", s->size,
                  "subject", s->name, "policy", s->policy, "version", zcache_version());

    if (row == NULL) {
        fail("no memory for a result, or %s is not in UTF-8", s->trace);
    }
    if (s->detail != NULL) {
        must_json(json_object_set_new(row, "detail", json_string(s->detail)));
    }
    if (s->cache.pages != 0) {
        report_set_count(row, "cache_pages", s->cache.pages);
    } else {
        report_set_count(row, "cache_bytes", s->cache.bytes);
    }
    return row;
}

static void set_tiers(json_t *row, const struct replay_result *x)
{
    static const char *const hits[] = {"hits_raw", "hits_fast", "hits_dense"};
    static const char *const ns[] = {"ns_raw", "ns_fast", "ns_dense"};

    for (int t = 0; t < ZCACHE_TIERS; t++) {
        report_set_count(row, hits[t], x->tier_hits[t]);
        report_set(row, ns[t], x->tier_ns[t]);
    }
    report_set_count(row, "hits_same", x->same_hits);
    report_set_count(row, "hits_put", x->put_hits);
    report_set(row, "ns_put", x->put_ns);
    report_set(row, "stall_ns", x->stall_ns);
    report_set_count(row, "evictions", x->evictions);
    report_set_count(row, "rejects", x->rejects);
    report_set_count(row, "limit_bytes", x->limit_bytes);
    report_set_count(row, "resident_bytes", x->resident_bytes);
}

/* Where the time went: sampled times of gets by tier and of puts, and waits, which are in these. */
static void print_times(const struct trace *trace, const struct replay_result *x)
{
    const uint64_t tier = x->tier_hits[0] + x->tier_hits[1] + x->tier_hits[2];
    const double puts = (double)(trace->n - tier - x->same_hits);

    (void)printf("  %.1f s, %.1f s of CPU:", x->seconds, x->cpu_seconds);
    for (int t = 0; t < ZCACHE_TIERS; t++) {
        static const char *const names[] = {"raw", "fast", "dense"};

        (void)printf(" %s hits %.2f s (%.0f ns),", names[t],
                     (double)x->tier_hits[t] * x->tier_ns[t] / 1e9, x->tier_ns[t]);
    }
    (void)printf(" puts %.2f s (%.0f ns), of which waits for room %.2f s\n", puts * x->put_ns / 1e9,
                 x->put_ns, x->stall_ns / 1e9);
}

void replay_report_row(struct report *r,
                       const struct replay_subject *subject,
                       const struct trace *trace,
                       const struct replay_result *result)
{
    json_t *row = new_row(subject);
    const double n = (double)trace->n;

    report_set_count(row, "requests", trace->n);
    report_set_count(row, "distinct_pages", trace->pages);
    report_set_count(row, "hits", result->hits);
    report_set_count(row, "misses", trace->n - result->hits);
    report_set(row, "hit_ratio", (double)result->hits / n);
    report_set(row, "hit_percent", 100 * (double)result->hits / n);
    report_set(row, "seconds", result->seconds);
    report_set(row, "ns_per_request", result->seconds * 1e9 / n);
    report_set(row, "cpu_ns_per_request", result->cpu_seconds * 1e9 / n);
    if (result->mean_pages > 0) {
        report_set(row, "mean_pages", result->mean_pages);
        report_set_count(row, "peak_pages", result->peak_pages);
    }
    if (result->mean_bytes > 0) {
        report_set(row, "mean_bytes", result->mean_bytes);
    }
    if (subject->tried != NULL) {
        must_json(json_object_set(row, "misses_tried", subject->tried));
    }
    if (strcmp(subject->name, "zcache") == 0) {
        set_tiers(row, result);
    }
    report_row(r, row);
    if (strcmp(subject->name, "zcache") == 0 && subject->cache.bytes != 0) {
        print_times(trace, result);
    }
}

void replay_report_missing(struct report *r,
                           const struct replay_subject *subject,
                           const char *reason)
{
    report_missing_row(r, new_row(subject), subject->name, reason);
}

/* ---------------------------------------------------------------------------------------------
 * Taken together.
 */

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));

    return text != NULL ? text : "";
}

static double number_of(const json_t *row, const char *key)
{
    return json_number_value(json_object_get(row, key));
}

static bool same(const json_t *a, const json_t *b, const char *key)
{
    return strcmp(text_of(a, key), text_of(b, key)) == 0;
}

/* The result of the trace, case and size of @row whose subject begins so; the best of several. */
static const json_t *beside(const json_t *rows, const json_t *row, const char *subject)
{
    const json_t *best = NULL, *other;
    size_t i;

    json_array_foreach(rows, i, other)
    {
        if (same(row, other, "trace") && same(row, other, "case") && same(row, other, "size") &&
            strncmp(text_of(other, "subject"), subject, strlen(subject)) == 0 &&
            json_object_get(other, "missing") == NULL &&
            (best == NULL || number_of(other, "misses") < number_of(best, "misses"))) {
            best = other;
        }
    }
    return best;
}

/* Means over the traces of one group of rows: a subject with its policy, at one size. */
struct group {
    unsigned traces;
    double hits;    /* per cent */
    double against; /* the same of the subject it is held against */
    double lowest;  /* difference in points */
    char lowest_trace[64];
    double misses; /* ratio to those of the subject it is held against */
    unsigned against_n;
};

static struct group group_of(const json_t *rows, const json_t *first, const char *against)
{
    struct group g = {.lowest = INFINITY};
    const json_t *row, *other;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        double difference;

        if (!same(row, first, "case") || !same(row, first, "size") ||
            !same(row, first, "subject") || !same(row, first, "policy") ||
            !same(row, first, "detail") || json_object_get(row, "missing") != NULL) {
            continue;
        }
        g.traces++;
        g.hits += number_of(row, "hit_percent");
        other = beside(rows, row, against);
        if (other == NULL) {
            continue;
        }
        g.against_n++;
        g.against += number_of(other, "hit_percent");
        g.misses += number_of(row, "misses") / number_of(other, "misses");
        difference = number_of(row, "hit_percent") - number_of(other, "hit_percent");
        if (difference < g.lowest) {
            g.lowest = difference;
            (void)snprintf(g.lowest_trace, sizeof g.lowest_trace, "%s", text_of(row, "trace"));
        }
    }
    g.hits /= g.traces;
    g.against /= g.against_n;
    g.misses /= g.against_n;
    return g;
}

static void print_against(const json_t *rows, const json_t *first, const char *against)
{
    const struct group g = group_of(rows, first, against);

    if (g.against_n == 0) {
        return;
    }
    (void)printf("  %-5s %6s  zcache %-8s %6.2f %%   %-12s %6.2f %%   misses x %.3f   lowest "
                 "%+.2f points (%s)\n",
                 text_of(first, "case"), text_of(first, "size"), text_of(first, "policy"), g.hits,
                 against, g.against, g.misses, g.lowest, g.lowest_trace);
}

/* Whether no row before is of the same group. */
static bool is_first(const json_t *rows, size_t at, const json_t *row)
{
    for (size_t i = 0; i < at; i++) {
        const json_t *other = json_array_get(rows, i);

        if (same(row, other, "case") && same(row, other, "size") && same(row, other, "subject") &&
            same(row, other, "policy")) {
            return false;
        }
    }
    return true;
}

void replay_report_summary(struct report *r)
{
    static const char *const against[] = {"sim-lru", "sim-s3fifo",  "raw-lru",
                                          "rocksdb", "rocksdb-lz4", "rocksdb-zstd"};
    const json_t *row;
    size_t i;

    (void)puts("\nmeans over the traces, and zcache beside others:");
    json_array_foreach(r->rows, i, row)
    {
        if (strcmp(text_of(row, "subject"), "zcache") != 0 || !is_first(r->rows, i, row)) {
            continue;
        }
        for (unsigned k = 0; k < sizeof against / sizeof against[0]; k++) {
            print_against(r->rows, row, against[k]);
        }
    }
}
