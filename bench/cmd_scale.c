/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scale: hits and puts by 1, 2 and 4 threads (--threads), each subject with the same threads.  Two
 * threads never put the same page.
 */
#include "cases.h"
#include "command.h"

static void check(const struct bench_options *opts)
{
    if (opts->skew > 0) {
        options_wrong("scale", "--skew is not for scale: several threads must not memcpy() to one "
                               "place; 'hit' takes it with --threads");
    }
}

static void run(struct report *report, const struct corpus *corpus)
{
    const struct number_list *threads = &report->opts->threads;

    report_time_columns(report);
    for (unsigned t = 0; t < threads->n; t++) {
        case_hit(report, corpus, &hit_get_raw, (unsigned)threads->at[t]);
    }
    for (unsigned t = 0; t < threads->n; t++) {
        case_hit(report, corpus, &hit_get_fast, (unsigned)threads->at[t]);
    }
    for (unsigned t = 0; t < threads->n; t++) {
        case_put_raw(report, corpus, (unsigned)threads->at[t]);
    }
}

const struct command command_scale = {
    .defaults = {.command = "scale",
                 .page_bytes = "4096",
                 .threads = "1,2,4",
                 .cases = "get-raw,get-fast,put-raw",
                 .repeats = 5},
    .summary = "get and put by several threads",
    .check = check,
    .run = run,
};
