/* SPDX-License-Identifier: BSD-2-Clause */
/* What went wrong: the first ones are printed, all are counted. */
#ifndef DEMO_PROBLEM_H
#define DEMO_PROBLEM_H

#include <stdint.h>

#include <zcache/types.h>

__attribute__((format(printf, 1, 2))) void problem(const char *format, ...);

uint64_t problem_count(void);

/* For struct zcache_options: prints the library's errors and warnings. */
zcache_log_fn problem_log;

/* Text of a result of the library. */
const char *problem_text(int rc);

#endif /* DEMO_PROBLEM_H */
