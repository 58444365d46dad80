/* SPDX-License-Identifier: BSD-2-Clause */
/* Results as a table for people, and as JSON lines for programs. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "corpus.h"
#include "measure.h"

#include <stdio.h>

struct report {
    const struct bench_options *opts;
    FILE *json; /* NULL for none */
};

/* Print what is measured, and the head of the table.  Ends the program if the JSON file fails. */
void report_begin(struct report *r, const struct bench_options *opts, const struct corpus *corpus);

/* Add the results of one case, over @pages pages. */
void report_case(struct report *r,
                 const char *name,
                 size_t pages,
                 const struct subject subject[SUBJECTS],
                 const struct result result[SUBJECTS]);

void report_end(struct report *r);

#endif /* BENCH_REPORT_H */
