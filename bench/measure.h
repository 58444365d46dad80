/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Measuring subjects side by side.
 *
 * A subject does one operation for each page of an order; a run over the whole order is a pass,
 * divided evenly among the threads.  One measurement of a subject is as many passes as fill the
 * time, without clock calls in between, and then one pass with a clock call after each operation,
 * for the quantiles, which thus include that call.  A subject that does all pages at once is timed
 * by the pass and has no quantiles.
 *
 * Measurements of the subjects take turns (A B C, B C A, ...), so that whatever else the machine
 * does falls on all of them; medians are reported, with the lowest and the highest.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include "options.h"
#include "order.h"

#define SUBJECTS_MAX 12

/* What an operation may use; one for each thread. */
struct scratch {
    unsigned char *page; /* page_bytes, on a multiple of 4096 */
    unsigned char *out;  /* room for an encoded page */
    size_t out_bytes;
    void *state; /* made by the subject's thread_begin, if it has one */
};

struct subject {
    const char *name;
    const char *detail; /* what tells it from another of the same name; may be NULL */
    void *ctx;
    void (*pass_begin)(void *ctx); /* before each pass, not timed; may be NULL */
    void (*thread_begin)(void *ctx, struct scratch *scratch);     /* may be NULL */
    void (*thread_end)(void *ctx, struct scratch *scratch);       /* may be NULL */
    int (*op)(void *ctx, uint32_t page, struct scratch *scratch); /* 0 or the program ends */
    int (*pass)(void *ctx); /* instead of @op: all pages of the order at once */
};

/* How subjects are measured. */
struct plan {
    const char *what; /* shown while it runs */
    const struct order *order;
    unsigned threads;
    size_t page_bytes;
    unsigned repeats;
    double seconds;
};

struct result {
    double ns_per_op; /* of one thread; median of the measurements */
    double ns_lowest;
    double ns_highest;
    double ops_per_s;     /* of all threads; median */
    double cpu_ns_per_op; /* CPU time of the process, background threads included; median */
    double p50_ns;        /* NaN where single operations were not timed */
    double p99_ns;
    double p999_ns;
    double
        locks_per_op; /* that the operating threads took in zcache; NaN if it does not count them */
    double relative;  /* ns_per_op against the reference's; median of the repetitions */
};

/* Whether this program counts the locks that are taken in zcache. */
bool measure_counts_locks(void);

/* What a clock call takes. */
double measure_clock_ns(void);

/* @reference is the index of the subject that the others are compared with. */
void measure(const struct plan *plan,
             const struct subject *subject,
             unsigned n_subjects,
             unsigned reference,
             struct result *result_out);

#endif /* BENCH_MEASURE_H */
