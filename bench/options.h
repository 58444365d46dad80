/* SPDX-License-Identifier: BSD-2-Clause */
/* Options that all commands share, and what each command says about their defaults. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <popt.h>
#include <stdbool.h>
#include <stddef.h>

#define LIST_MAX 8

/* Numbers of a list such as "1,2,4". */
struct number_list {
    size_t at[LIST_MAX];
    unsigned n;
};

/* Where a command differs from the others. */
struct option_defaults {
    const char *command;
    const char *page_bytes; /* lists, as they would be given */
    const char *threads;
    const char *tenants; /* NULL: the command has no --tenants */
    const char *cases;   /* NULL: the command has no --case; else those there are: "a,b" */
    const char *keys;    /* NULL: the command has no --keys; "": it has no default; else a list */
    size_t page_min;     /* the smallest page; 0: 512 bytes */
    const char *order;   /* which pages are used, in words; NULL: as --skew says */
    int repeats;
};

struct bench_options {
    const char *command;
    char **corpora;     /* files of pages, one after the other; ends with NULL */
    const char *corpus; /* of the section */
    const char *order;  /* which pages are used, in words; NULL: as skew says */
    char *json;         /* lines are added to this file; NULL for none */
    char *report_dir;   /* a page of plots is written there; NULL for none */
    char *work_dir;     /* for files that the benchmark writes and removes; NULL for /tmp */
    struct number_list page_bytes;
    struct number_list threads;
    struct number_list tenants;
    size_t pages;            /* 0: all of the corpus, up to CORPUS_BYTES_DEFAULT */
    struct number_list keys; /* pages held; none: as many as churn chooses */
    unsigned repeats;
    double seconds; /* of each measurement */
    double skew;    /* 0: each page once in random order; otherwise the exponent of Zipf's law */
    unsigned peers; /* 1 << enum peer_id */
    char *cases;    /* NULL: all */
};

#define CORPUS_BYTES_DEFAULT (64u << 20)

/*
 * Fill @opts from the arguments after the command's name.  Ends the program after --help, and
 * with status 2 and a message after a wrong option.
 */
void options_read(const struct option_defaults *defaults,
                  int argc,
                  const char **argv,
                  struct bench_options *opts);

/* Whether a case is to be run. */
bool options_want_case(const struct bench_options *opts, const char *name);

/* End the program with status 2 and a message. */
__attribute__((noreturn, format(printf, 2, 3))) void options_wrong(const char *command,
                                                                   const char *format,
                                                                   ...);

/* The numbers of @text, from @min to @max each; of the option --@name. */
struct number_list options_list(const char *command,
                                const char *name,
                                const char *text,
                                size_t min,
                                size_t max);

/* As options_wrong(), about what poptGetNextOpt() returned as @rc. */
__attribute__((noreturn)) void options_refuse(const char *command,
                                              const struct poptOption *table,
                                              poptContext con,
                                              const char **argv,
                                              int rc);

void options_free(struct bench_options *opts);

#endif /* BENCH_OPTIONS_H */
