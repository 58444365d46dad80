/* SPDX-License-Identifier: BSD-2-Clause */
/* Options of replay. */
#ifndef BENCH_REPLAY_OPTIONS_H
#define BENCH_REPLAY_OPTIONS_H

#include "options.h"
#include "replay.h"

#define REPLAY_SIZES_MAX    LIST_MAX
#define REPLAY_POLICIES_MAX 8
#define REPLAY_TRACES_MAX   64

/* "1%" of a trace's distinct pages, or a number of pages or bytes. */
struct replay_wanted {
    char text[24];
    double percent; /* 0: @number */
    uint64_t number;
};

struct replay_wanted_list {
    struct replay_wanted at[REPLAY_SIZES_MAX];
    unsigned n;
};

/* A trace and the corpus for its pages: "TRACE", or "TRACE@CORPUS". */
struct replay_input {
    char *trace;
    char *corpus; /* NULL for noise */
};

struct replay_options {
    struct bench_options bench; /* as far as reports want them */
    struct replay_input input[REPLAY_TRACES_MAX];
    unsigned inputs;
    struct trace_options trace;
    struct replay_wanted_list pages;   /* caches of so many pages */
    struct replay_wanted_list bytes;   /* caches of so many bytes */
    char *policy[REPLAY_POLICIES_MAX]; /* NULL: what zcache does without the option */
    unsigned policies;
    char *columns;
    char *text; /* options for zcache; NULL for none */
    char *plot;
    enum replay_writes writes;
    bool tenants;
    bool tenant_limit;
    bool peers;
    struct number_list splits; /* of RocksDB's caches: per cent that are raw */
    size_t page_bytes;
};

/* Ends the program with status 2 and a message after a wrong option. */
void replay_options_read(int argc, const char **argv, struct replay_options *opts);
void replay_options_free(struct replay_options *opts);

#endif /* BENCH_REPLAY_OPTIONS_H */
