/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE 1 /* NOLINT(bugprone-reserved-identifier) */
#include "problem.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define PRINTED_MAX 10

static _Atomic uint64_t n_problems;

void problem(const char *format, ...)
{
    char text[512];
    va_list args;

    if (atomic_fetch_add(&n_problems, 1) >= PRINTED_MAX) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)fprintf(stderr, "\nproblem: %s\n", text);
}

uint64_t problem_count(void)
{
    return atomic_load(&n_problems);
}

void problem_log(void *ctx, enum zcache_log_level level, const char *event, const char *text)
{
    (void)ctx;
    if (level <= ZCACHE_LOG_WARN) {
        (void)fprintf(stderr, "\nzcache [%s]: %s\n", event, text);
    }
}

const char *problem_text(int rc)
{
    const char *text = rc == ZCACHE_MISS ? "not there" : rc < 0 ? strerrordesc_np(-rc) : NULL;

    return text != NULL ? text : "unexpected result";
}
