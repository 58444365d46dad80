/* SPDX-License-Identifier: BSD-2-Clause */
/* Options that all commands share. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stddef.h>

struct bench_options {
    const char *command;
    char *corpus; /* file of pages, one after the other */
    char *json;   /* lines are added to this file; NULL for none */
    size_t page_bytes;
    size_t pages; /* 0: all of the corpus, up to PAGES_DEFAULT */
    unsigned threads;
    unsigned repeat; /* times that each subject is measured */
    double seconds;  /* of each measurement */
    double skew;     /* 0: each page once in random order; otherwise the exponent of Zipf's law */
};

#define PAGES_DEFAULT 16384u

/*
 * Fill @opts from the arguments after the command's name.  Ends the program after --help, and
 * with status 2 and a message after a wrong option.
 */
void options_read(const char *command, int argc, const char **argv, struct bench_options *opts);

/* End the program with status 2 and a message. */
__attribute__((noreturn, format(printf, 2, 3))) void options_wrong(const char *command,
                                                                   const char *format,
                                                                   ...);

void options_free(struct bench_options *opts);

#endif /* BENCH_OPTIONS_H */
