/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rows that measure the same thing, of one run or of several, are told apart by KEYS; the last one
 * counts.  Rows that agree in all but the subject make one plot.
 */
#include "page.h"
#include "fail.h"
#include "svg.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SUBJECT_PLOTS_MAX 32
#define LINE_BYTES_MAX    65536

/* What a command's plots show. */
struct plot_kind {
    const char *bench;
    const char *key;
    const char *title;
};

static const struct plot_kind kinds[] = {
    {"codec", "ns_per_op", "ns per page"},
    {"codec", "ratio", "raw bytes by stored bytes"},
    {"hit", "ns_per_op", "ns per operation"},
    {"put", "ns_per_op", "ns per operation"},
    {"tenants", "ns_per_op", "ns per operation"},
    {"grow", "ns_per_op", "ns per operation"},
    {"tenants", "jain", "Jain's index of the shares"},
    {"writeback", "ns_per_op", "ns per page"},
    {"busy", "p999_ns", "ns that 99.9 % of the hits take at most"},
    {"churn", "efficiency", "bytes stored by bytes resident"},
    {"churn", "resident_bytes", "bytes resident"},
};

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));

    return text != NULL ? text : "";
}

static double number_of(const json_t *row, const char *key)
{
    const json_t *value = json_object_get(row, key);

    return json_is_number(value) ? json_number_value(value) : NAN;
}

static bool same(const json_t *a, const json_t *b, const char *const *keys)
{
    for (; *keys != NULL; keys++) {
        const json_t *x = json_object_get(a, *keys), *y = json_object_get(b, *keys);

        if (x != y && (x == NULL || y == NULL || !json_equal(x, y))) {
            return false;
        }
    }
    return true;
}

/* ---------------------------------------------------------------------------------------------
 * Reading.
 */

/* @rows with the row added, in place of one that measures the same. */
static void add_row(json_t *rows, json_t *row)
{
    static const char *const keys[] = {"bench",   "case",    "subject", "detail", "page_bytes",
                                       "threads", "tenants", "corpus",  NULL};

    for (size_t i = 0; i < json_array_size(rows); i++) {
        if (same(json_array_get(rows, i), row, keys)) {
            (void)json_array_set(rows, i, row);
            return;
        }
    }
    if (json_array_append(rows, row) != 0) {
        fail("no memory for results");
    }
}

static json_t *read_lines(const char *path)
{
    static char line[LINE_BYTES_MAX];
    json_t *rows = json_array();
    FILE *from = fopen(path, "r");

    if (from == NULL) {
        fail("%s: %s", path, error_text(-errno));
    }
    while (fgets(line, sizeof line, from) != NULL) {
        json_t *row = json_loads(line, 0, NULL);

        if (!json_is_object(row)) {
            fail("%s: not a line of results: %.60s", path, line);
        }
        add_row(rows, row);
        json_decref(row);
    }
    (void)fclose(from);
    return rows;
}

/* ---------------------------------------------------------------------------------------------
 * Plots.
 */

static void label_of(const json_t *row, char label[64])
{
    const char *detail = text_of(row, "detail");

    (void)snprintf(label, 64, "%s%s%s", text_of(row, "subject"), *detail != '\0' ? " " : "",
                   detail);
}

static bool is_ours(const json_t *row)
{
    return strcmp(text_of(row, "subject"), "zcache") == 0;
}

static void title_of(const json_t *row, const char *what, bool threads, char *out, size_t cap)
{
    const double n = number_of(row, "threads");
    int used = snprintf(out, cap, "%s, pages of %.0f bytes", text_of(row, "case"),
                        number_of(row, "page_bytes"));

    if (threads && n > 0) {
        used += snprintf(out + used, cap - (size_t)used, ", %.0f thread%s", n, n > 1 ? "s" : "");
    }
    (void)snprintf(out + used, cap - (size_t)used, ": %s", what);
}

/* Whether an earlier row has the plot of this one. */
static bool drawn_before(const json_t *rows, size_t index, const char *key, const char *const *keys)
{
    for (size_t i = 0; i < index; i++) {
        const json_t *row = json_array_get(rows, i);

        if (!isnan(number_of(row, key)) && same(row, json_array_get(rows, index), keys)) {
            return true;
        }
    }
    return false;
}

static void draw_bars(FILE *to, const json_t *rows, size_t index, const struct plot_kind *kind)
{
    static const char *const keys[] = {"bench", "case", "page_bytes", "threads", "corpus", NULL};
    const json_t *first = json_array_get(rows, index);
    struct bar bar[SUBJECT_PLOTS_MAX];
    char title[128];
    unsigned n = 0;

    if (drawn_before(rows, index, kind->key, keys)) {
        return;
    }
    for (size_t i = index; i < json_array_size(rows) && n < SUBJECT_PLOTS_MAX; i++) {
        const json_t *row = json_array_get(rows, i);
        const double value = number_of(row, kind->key);
        const bool timed = strcmp(kind->key, "ns_per_op") == 0;

        if (!isnan(value) && same(row, first, keys)) {
            bar[n] = (struct bar){.value = value,
                                  .low = timed ? number_of(row, "ns_per_op_min") : NAN,
                                  .high = timed ? number_of(row, "ns_per_op_max") : NAN,
                                  .ours = is_ours(row)};
            label_of(row, bar[n++].label);
        }
    }
    title_of(first, kind->title, true, title, sizeof title);
    svg_bars(to, title, bar, n);
}

static struct line *line_of(struct line *line, unsigned *n, const json_t *row)
{
    char label[64];

    label_of(row, label);
    for (unsigned i = 0; i < *n; i++) {
        if (strcmp(line[i].label, label) == 0) {
            return &line[i];
        }
    }
    line[*n] = (struct line){.ours = is_ours(row)};
    memcpy(line[*n].label, label, sizeof label);
    return &line[(*n)++];
}

static void draw_lines(FILE *to, const json_t *rows, size_t index)
{
    static const char *const keys[] = {"bench", "case", "page_bytes", "corpus", NULL};
    const json_t *first = json_array_get(rows, index);
    struct line line[SUBJECT_PLOTS_MAX];
    char title[128];
    unsigned n = 0;

    if (drawn_before(rows, index, "ops_per_s", keys)) {
        return;
    }
    for (size_t i = index; i < json_array_size(rows) && n < SUBJECT_PLOTS_MAX; i++) {
        const json_t *row = json_array_get(rows, i);
        struct line *l;

        if (isnan(number_of(row, "ops_per_s")) || !same(row, first, keys)) {
            continue;
        }
        l = line_of(line, &n, row);
        if (l->n < LINE_POINTS_MAX) {
            l->x[l->n] = number_of(row, "threads");
            l->y[l->n++] = number_of(row, "ops_per_s");
        }
    }
    title_of(first, "operations per second", false, title, sizeof title);
    svg_lines(to, title, "threads", line, n);
}

static void draw_row(FILE *to, const json_t *rows, size_t index)
{
    const json_t *row = json_array_get(rows, index);
    const char *bench = text_of(row, "bench");

    if (strcmp(bench, "scale") == 0 && !isnan(number_of(row, "ops_per_s"))) {
        draw_lines(to, rows, index);
    }
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        if (strcmp(bench, kinds[k].bench) == 0 && !isnan(number_of(row, kinds[k].key))) {
            draw_bars(to, rows, index, &kinds[k]);
        }
    }
}

/* ---------------------------------------------------------------------------------------------
 * The page.
 */

static void write_missing(FILE *to, const json_t *row)
{
    if (*text_of(row, "missing") != '\0') {
        (void)fputs("<p>", to);
        svg_text(to, text_of(row, "case"));
        (void)fputs(", not measured: ", to);
        svg_text(to, text_of(row, "subject"));
        (void)fputs(": ", to);
        svg_text(to, text_of(row, "missing"));
        (void)fputs("</p>\n", to);
    }
}

/* All members, so that the page is complete without the file that it was drawn from. */
static void write_source(FILE *to, const json_t *rows, const char *bench)
{
    (void)fputs("<details><summary>rows</summary><pre>", to);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);

        if (strcmp(text_of(row, "bench"), bench) == 0) {
            char *text = json_dumps(row, JSON_COMPACT | JSON_REAL_PRECISION(8));

            if (text == NULL) {
                fail("no memory for results");
            }
            svg_text(to, text);
            (void)fputc('\n', to);
            free(text);
        }
    }
    (void)fputs("</pre></details>\n", to);
}

static void write_bench(FILE *to, const json_t *rows, size_t index)
{
    static const char *const keys[] = {"bench", NULL};
    const json_t *first = json_array_get(rows, index);

    for (size_t i = 0; i < index; i++) {
        if (same(json_array_get(rows, i), first, keys)) {
            return;
        }
    }
    (void)fputs("<h2>", to);
    svg_text(to, text_of(first, "bench"));
    (void)fputs("</h2>\n", to);
    if (json_object_get(first, "repeats") != NULL) { /* a replay is no measurement of time */
        (void)fputs("<p>", to);
        svg_text(to, text_of(first, "corpus"));
        (void)fprintf(to, ", %.0f measurements of %.4g s</p>\n", number_of(first, "repeats"),
                      number_of(first, "seconds"));
    }
    for (size_t i = index; i < json_array_size(rows); i++) {
        if (same(json_array_get(rows, i), first, keys)) {
            draw_row(to, rows, i);
            write_missing(to, json_array_get(rows, i));
        }
    }
    write_source(to, rows, text_of(first, "bench"));
}

static void write_page(FILE *to, const json_t *rows)
{
    (void)fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                "<title>zcache-bench</title><style>"
                "body{font:14px sans-serif;max-width:680px;margin:2em auto;color:#1e293b}"
                "svg{display:block;margin:1.5em 0}svg text{font:12px sans-serif;fill:#1e293b}"
                "svg .title{font-weight:bold}.spread{stroke:#0f172a;fill:none}"
                ".axis{stroke:#94a3b8;fill:none}pre{overflow-x:auto}"
                "</style></head><body>\n<h1>zcache-bench ",
                to);
    svg_text(to, text_of(json_array_get(rows, 0), "version"));
    (void)fputs("</h1>\n<p>Medians; a thin line goes from the lowest to the highest "
                "measurement.</p>\n",
                to);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        write_bench(to, rows, i);
    }
    (void)fputs("</body></html>\n", to);
}

void page_write(const char *dir, const char *json, json_t *rows)
{
    json_t *shown = json != NULL ? read_lines(json) : json_incref(rows);
    char path[4096];
    FILE *to;

    if (mkdir(dir, 0777) != 0 && errno != EEXIST) {
        fail("%s: %s", dir, error_text(-errno));
    }
    (void)snprintf(path, sizeof path, "%s/index.html", dir);
    to = fopen(path, "w");
    if (to == NULL) {
        fail("%s: %s", path, error_text(-errno));
    }
    write_page(to, shown);
    if (fclose(to) != 0) {
        fail("%s: %s", path, error_text(-errno));
    }
    json_decref(shown);
}
