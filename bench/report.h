/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Results.  Each is a row, a JSON object; a table for people shows some of its members, a file of
 * JSON lines has all of them, and the page of plots is drawn from the same.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "corpus.h"
#include "measure.h"

#include <jansson.h>
#include <stdio.h>

/* A member of rows as the table shows it: "-" where a row has none. */
struct column {
    const char *key;
    const char *title;
    int width;
    int digits; /* after the point; -1: text */
};

struct report {
    const struct bench_options *opts;
    const struct corpus *corpus; /* of the section */
    FILE *json;                  /* NULL for none */
    json_t *rows;                /* all of this run */
    json_t *missing;             /* notes for the end of the section */
    const struct column *column;
    unsigned n_columns;
    char last_case[32];
};

/* Ends the program if the JSON file cannot be written. */
void report_begin(struct report *r, const struct bench_options *opts);

/* Say which pages are measured from here on.  @corpus stays as long as the section. */
void report_section(struct report *r, const struct corpus *corpus);

/* Begin a table. */
void report_columns(struct report *r, const struct column *column, unsigned n);

/* Begin the table of timed rows. */
void report_time_columns(struct report *r);

/* A row with the members that all have.  @detail may be NULL. */
json_t *report_new_row(const struct report *r,
                       const char *name,
                       const char *subject,
                       const char *detail,
                       unsigned threads);

/* Members of a row; numbers that are not finite are left out. */
void report_set(json_t *row, const char *key, double value);
void report_set_count(json_t *row, const char *key, uint64_t value);

void report_set_times(json_t *row,
                      const struct result *result,
                      size_t pages,
                      const char *relative_to);

/* Show and keep a row, which is the report's from then on. */
void report_row(struct report *r, json_t *row);

/* A subject that could not be measured, and why. */
void report_missing(struct report *r, const char *name, const char *subject, const char *reason);

/* The same, for a row that says of what else it is; it is the report's from then on. */
void report_missing_row(struct report *r, json_t *row, const char *subject, const char *reason);

/* Print the notes. */
void report_section_end(struct report *r);

/* Close the file and draw the page, if there are any. */
void report_end(struct report *r);

#endif /* BENCH_REPORT_H */
