/* SPDX-License-Identifier: BSD-2-Clause */
/* The ends of a benchmark that cannot go on: a message and exit status 1. */
#ifndef BENCH_FAIL_H
#define BENCH_FAIL_H

#include <stddef.h>

__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...);

/* Text of a negative errno. */
const char *error_text(int rc);

/* Fail if @rc, a result of zcache, is not 0. */
void must(int rc, const char *what);

/* As malloc(), but it fails instead of returning NULL. */
void *must_alloc(size_t bytes);

/* The same, on a multiple of 4096. */
void *must_alloc_aligned(size_t bytes);

#endif /* BENCH_FAIL_H */
