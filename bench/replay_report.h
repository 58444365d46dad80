/* SPDX-License-Identifier: BSD-2-Clause */
/* Rows of replay, and what they say taken together. */
#ifndef BENCH_REPLAY_REPORT_H
#define BENCH_REPLAY_REPORT_H

#include "replay.h"
#include "report.h"

/* What a result is of. */
struct replay_subject {
    const char *trace; /* its name */
    const char *size;  /* as it was asked for */
    const char *name;
    const char *policy;
    const char *detail; /* may be NULL */
    json_t *tried;      /* misses of each way that was tried; may be NULL */
    struct replay_size cache;
};

void replay_report_columns(struct report *r, bool bytes);
void replay_report_row(struct report *r,
                       const struct replay_subject *subject,
                       const struct trace *trace,
                       const struct replay_result *result);
void replay_report_missing(struct report *r,
                           const struct replay_subject *subject,
                           const char *reason);

/* Print averages over the traces, and how zcache compares. */
void replay_report_summary(struct report *r);

#endif /* BENCH_REPLAY_REPORT_H */
