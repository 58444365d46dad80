/* SPDX-License-Identifier: BSD-2-Clause */
#include "report.h"
#include "fail.h"
#include "page.h"
#include "progress.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include <zcache/zcache.h>

static const struct column time_columns[] = {
    {"case", "case", -13, -1},
    {"subject", "subject", -12, -1},
    {"detail", "", -12, -1},
    {"threads", "thr", 3, 0},
    {"ns_per_op", "ns/op", 9, 1},
    {"ns_per_op_min", "lowest", 9, 1},
    {"ns_per_op_max", "highest", 9, 1},
    {"p50_ns", "p50 ns", 9, 0},
    {"p99_ns", "p99 ns", 9, 0},
    {"p999_ns", "p99.9 ns", 9, 0},
    {"cpu_ns_per_op", "cpu ns", 9, 0},
    {"ops_per_s", "op/s", 11, 0},
    {"relative", "x ref", 7, 3},
    {"locks_per_op", "locks/op", 8, 3}, /* last: only where they are counted */
};

static void must_json(int rc)
{
    if (rc != 0) {
        fail("no memory for a result");
    }
}

void report_begin(struct report *r, const struct bench_options *opts)
{
    *r = (struct report){.opts = opts, .rows = json_array(), .missing = json_object()};
    if (r->rows == NULL || r->missing == NULL) {
        fail("no memory for results");
    }
    if (opts->json != NULL) {
        r->json = fopen(opts->json, "a");
        if (r->json == NULL) {
            fail("%s: %s", opts->json, error_text(-errno));
        }
    }
}

void report_section(struct report *r, const struct corpus *corpus)
{
    const struct bench_options *o = r->opts;

    r->corpus = corpus;
    (void)printf("zcache %s, %s: %zu pages of %zu bytes of %s", zcache_version(), o->command,
                 corpus->pages, corpus->page_bytes, o->corpus);
    if (corpus->same_filled != 0) {
        (void)printf(" (%zu same-filled ones left out)", corpus->same_filled);
    }
    (void)printf("\n%u measurement%s of %g s, ", o->repeats, o->repeats == 1 ? "" : "s",
                 o->seconds);
    if (o->order != NULL) {
        (void)printf("%s", o->order);
    } else if (o->skew > 0) {
        (void)printf("skew %g", o->skew);
    } else {
        (void)printf("each page once in random order");
    }
    (void)printf("; p50 to p99.9 include a clock call of %.0f ns\n", measure_clock_ns());
}

void report_columns(struct report *r, const struct column *column, unsigned n)
{
    r->column = column;
    r->n_columns = n;
    r->last_case[0] = '\0';
    (void)putchar('\n');
    for (unsigned i = 0; i < n; i++) {
        (void)printf("%s%*s", i == 0 ? "" : " ", column[i].width, column[i].title);
    }
    (void)putchar('\n');
}

void report_time_columns(struct report *r)
{
    report_columns(r, time_columns,
                   sizeof time_columns / sizeof time_columns[0] - !measure_counts_locks());
}

/* ---------------------------------------------------------------------------------------------
 * Rows.
 */

json_t *report_new_row(const struct report *r,
                       const char *name,
                       const char *subject,
                       const char *detail,
                       unsigned threads)
{
    const struct bench_options *o = r->opts;
    json_t *row =
        json_pack("{ss ss ss si sI ss ss sf si sf}", "bench", o->command, "case", name, "subject",
                  subject, "threads", (int)threads, "page_bytes", (json_int_t)r->corpus->page_bytes,
                  "corpus", o->corpus, "version", zcache_version(), "skew", o->skew, "repeats",
                  (int)o->repeats, "seconds", o->seconds);

    if (row == NULL) {
        fail("no memory for a result, or %s is not in UTF-8", o->corpus);
    }
    if (detail != NULL) {
        must_json(json_object_set_new(row, "detail", json_string(detail)));
    }
    return row;
}

void report_set(json_t *row, const char *key, double value)
{
    if (isfinite(value)) {
        must_json(json_object_set_new(row, key, json_real(value)));
    }
}

void report_set_count(json_t *row, const char *key, uint64_t value)
{
    must_json(json_object_set_new(row, key, json_integer((json_int_t)value)));
}

void report_set_times(json_t *row,
                      const struct result *result,
                      size_t pages,
                      const char *relative_to)
{
    report_set_count(row, "pages", pages);
    report_set(row, "ns_per_op", result->ns_per_op);
    report_set(row, "ns_per_op_min", result->ns_lowest);
    report_set(row, "ns_per_op_max", result->ns_highest);
    report_set(row, "cpu_ns_per_op", result->cpu_ns_per_op);
    report_set(row, "p50_ns", result->p50_ns);
    report_set(row, "p99_ns", result->p99_ns);
    report_set(row, "p999_ns", result->p999_ns);
    report_set(row, "ops_per_s", result->ops_per_s);
    report_set(row, "locks_per_op", result->locks_per_op);
    report_set(row, "relative", result->relative);
    must_json(json_object_set_new(row, "relative_to", json_string(relative_to)));
}

static void print_cell(const struct column *c, const json_t *value, bool repeated)
{
    if (json_is_string(value) && !repeated) {
        (void)printf("%*s", c->width, json_string_value(value));
    } else if (json_is_number(value)) {
        (void)printf("%*.*f", c->width, c->digits, json_number_value(value));
    } else {
        (void)printf("%*s", c->width, repeated || c->digits < 0 ? "" : "-");
    }
}

static void print_row(struct report *r, const json_t *row)
{
    const char *name = json_string_value(json_object_get(row, "case"));
    const bool same = strcmp(name, r->last_case) == 0;

    progress_clear();
    for (unsigned i = 0; i < r->n_columns; i++) {
        const struct column *c = &r->column[i];

        (void)fputs(i == 0 ? "" : " ", stdout);
        print_cell(c, json_object_get(row, c->key), same && strcmp(c->key, "case") == 0);
    }
    (void)putchar('\n');
    (void)fflush(stdout);
    (void)snprintf(r->last_case, sizeof r->last_case, "%s", name);
}

static void keep_row(struct report *r, json_t *row)
{
    if (r->json != NULL && (json_dumpf(row, r->json, JSON_COMPACT | JSON_REAL_PRECISION(8)) != 0 ||
                            fputc('\n', r->json) == EOF || fflush(r->json) != 0)) {
        fail("%s: cannot write", r->opts->json);
    }
    must_json(json_array_append_new(r->rows, row));
}

void report_row(struct report *r, json_t *row)
{
    print_row(r, row);
    keep_row(r, row);
}

void report_missing(struct report *r, const char *name, const char *subject, const char *reason)
{
    report_missing_row(r, report_new_row(r, name, subject, NULL, 0), subject, reason);
}

void report_missing_row(struct report *r, json_t *row, const char *subject, const char *reason)
{
    char note[256];

    must_json(json_object_set_new(row, "missing", json_string(reason)));
    keep_row(r, row);
    (void)snprintf(note, sizeof note, "%s: %s", subject, reason);
    must_json(json_object_set_new(r->missing, note, json_true()));
}

void report_section_end(struct report *r)
{
    const char *note;
    json_t *value;

    if (json_object_size(r->missing) != 0) {
        (void)puts("\nnot measured:");
    }
    json_object_foreach(r->missing, note, value)
    {
        (void)printf("  %s\n", note);
    }
    (void)putchar('\n');
    (void)json_object_clear(r->missing);
    r->corpus = NULL;
}

/* ---------------------------------------------------------------------------------------------
 * Means over the corpora.
 */

struct mean {
    double log_sum;
    double low;
    double high;
    unsigned n;
};

static void mean_add(struct mean *m, const json_t *value)
{
    const double x = json_number_value(value);

    if (!json_is_number(value) || !(x > 0)) {
        return;
    }
    m->low = m->n == 0 || x < m->low ? x : m->low;
    m->high = m->n == 0 || x > m->high ? x : m->high;
    m->log_sum += log(x);
    m->n++;
}

static void mean_print(const struct mean *m, double worst)
{
    if (m->n == 0) {
        (void)printf(" %8s %8s", "-", "-");
    } else {
        (void)printf(" %8.3f %8.3f", exp(m->log_sum / m->n), worst);
    }
}

static bool same_text(const json_t *a, const json_t *b, const char *key)
{
    const char *x = json_string_value(json_object_get(a, key));
    const char *y = json_string_value(json_object_get(b, key));

    return strcmp(x != NULL ? x : "", y != NULL ? y : "") == 0;
}

static bool same_place(const json_t *a, const json_t *b)
{
    return same_text(a, b, "case") && same_text(a, b, "subject") && same_text(a, b, "detail") &&
           json_equal(json_object_get(a, "page_bytes"), json_object_get(b, "page_bytes")) &&
           json_equal(json_object_get(a, "threads"), json_object_get(b, "threads")) &&
           json_object_get(a, "missing") == NULL && json_object_get(b, "missing") == NULL;
}

static bool is_first(const struct report *r, size_t index)
{
    const json_t *row = json_array_get(r->rows, index);

    if (json_object_get(row, "missing") != NULL) {
        return false;
    }
    for (size_t i = 0; i < index; i++) {
        if (same_place(json_array_get(r->rows, i), row)) {
            return false;
        }
    }
    return true;
}

static const char *text_or_none(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));

    return text != NULL ? text : "";
}

static void print_means(const struct report *r, const json_t *first)
{
    struct mean ratio = {0};
    struct mean ratio_relative = {0};
    struct mean relative = {0};
    const json_t *row;
    size_t i;

    json_array_foreach(r->rows, i, row)
    {
        if (same_place(row, first)) {
            mean_add(&ratio, json_object_get(row, "ratio"));
            mean_add(&ratio_relative, json_object_get(row, "ratio_relative"));
            mean_add(&relative, json_object_get(row, "relative"));
        }
    }
    (void)printf("%-13s %-12s %-12s %3d %7d %4u", text_or_none(first, "case"),
                 text_or_none(first, "subject"), text_or_none(first, "detail"),
                 (int)json_integer_value(json_object_get(first, "threads")),
                 (int)json_integer_value(json_object_get(first, "page_bytes")), relative.n);
    mean_print(&ratio, ratio.low);
    mean_print(&ratio_relative, ratio_relative.low);
    mean_print(&relative, relative.high);
    (void)putchar('\n');
}

void report_means(struct report *r)
{
    if (r->opts->corpora[0] == NULL || r->opts->corpora[1] == NULL) {
        return;
    }
    (void)printf("geometric means over the corpora, and the worst\n\n%-13s %-12s %-12s %3s %7s %4s "
                 "%8s %8s %8s %8s %8s %8s\n",
                 "case", "subject", "", "thr", "page", "of", "ratio", "lowest", "x ref", "lowest",
                 "x ref ns", "highest");
    for (size_t i = 0; i < json_array_size(r->rows); i++) {
        if (is_first(r, i)) {
            print_means(r, json_array_get(r->rows, i));
        }
    }
    (void)putchar('\n');
}

void report_end(struct report *r)
{
    if (r->json != NULL && fclose(r->json) != 0) {
        fail("%s: %s", r->opts->json, error_text(-errno));
    }
    r->json = NULL;
    if (r->opts->report_dir != NULL) {
        page_write(r->opts->report_dir, r->opts->json, r->rows);
    }
    json_decref(r->rows);
    json_decref(r->missing);
}
