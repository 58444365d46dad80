/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef ZCACHEVFS_BENCH_FAIL_H
#define ZCACHEVFS_BENCH_FAIL_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* End the program, and say what was wanted, unless @ok. */
static inline void must(bool ok, const char *what)
{
    if (!ok) {
        (void)fprintf(stderr, "zcachevfs-bench: %s\n", what);
        exit(1); /* NOLINT(concurrency-mt-unsafe): nobody else exits */
    }
}

#endif /* ZCACHEVFS_BENCH_FAIL_H */
