/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Measuring two subjects side by side.
 *
 * A subject does one operation for each page of an order; a run over the whole order is a pass,
 * divided evenly among the threads.  One measurement of a subject is as many passes as fill the
 * time, without clock calls in between, and then one pass with a clock call after each operation,
 * for the quantiles, which thus include that call.  Measurements of the two subjects alternate, so
 * that whatever else the machine does falls on both; medians of all of them are reported.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include "options.h"
#include "order.h"

#define SUBJECTS 2

/* What an operation may use; one for each thread. */
struct scratch {
    unsigned char *page; /* page_bytes long */
    void *codec;         /* made by the subject's thread_begin, if it has one */
};

struct subject {
    const char *name;
    void *ctx;
    void (*pass_begin)(void *ctx); /* before each pass, not timed; may be NULL */
    void (*thread_begin)(void *ctx, struct scratch *scratch);     /* may be NULL */
    void (*thread_end)(void *ctx, struct scratch *scratch);       /* may be NULL */
    int (*op)(void *ctx, uint32_t page, struct scratch *scratch); /* 0 or the program ends */
};

struct result {
    double ns_per_op; /* of one thread; median of the measurements */
    double ns_min;
    double ns_max;
    double ops_per_s; /* of all threads; median */
    double p50_ns;
    double p99_ns;
    double p999_ns;
    double ratio; /* ns_per_op against the last subject's; median of the pairs */
};

/* What a clock call takes. */
double measure_clock_ns(void);

/* @what is shown while it runs. */
void measure(const char *what,
             const struct bench_options *opts,
             const struct order *order,
             const struct subject subject[SUBJECTS],
             struct result result_out[SUBJECTS]);

#endif /* BENCH_MEASURE_H */
