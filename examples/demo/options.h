/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line. */
#ifndef DEMO_OPTIONS_H
#define DEMO_OPTIONS_H

#include <stdint.h>

struct demo_options {
    char *db;                /* the file whose pages are cached */
    char *dir;               /* where the store's files go; NULL: a temporary directory */
    uint64_t capacity_bytes; /* 0: a quarter of the file */
    unsigned seconds;
    unsigned threads;
};

/* Fill @opts.  Ends the program after --help, or with a message and status 2. */
void options_read(int argc, const char **argv, struct demo_options *opts);

void options_free(struct demo_options *opts);

#endif /* DEMO_OPTIONS_H */
