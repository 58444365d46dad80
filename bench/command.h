/* SPDX-License-Identifier: BSD-2-Clause */
/* What all commands do around what they measure. */
#ifndef BENCH_COMMAND_H
#define BENCH_COMMAND_H

#include "report.h"

struct command {
    struct option_defaults defaults; /* with its name */
    const char *summary;
    /* May refuse options, with options_wrong(); may be NULL. */
    void (*check)(const struct bench_options *opts);
    /* Measure the corpus, which is in one page size. */
    void (*run)(struct report *report, const struct corpus *corpus);
    /* Instead of all that: options of its own.  Return: the exit status. */
    int (*main)(int argc, const char **argv);
};

extern const struct command command_codec;
extern const struct command command_hit;
extern const struct command command_put;
extern const struct command command_scale;
extern const struct command command_tenants;
extern const struct command command_writeback;
extern const struct command command_churn;
extern const struct command command_busy;
extern const struct command command_grow;
extern const struct command command_replay;

/* Run it for each page size; @argv begins with its name. */
int command_run(const struct command *command, int argc, const char **argv);

#endif /* BENCH_COMMAND_H */
