/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end of a failed assertion.
 *
 *   ZC_ASSERT fails --> zc_check_fail() --> hook of the thread (test builds) --> abort()
 *                                               |
 *                                               +--> longjmp back into the test
 *
 * A broken library cannot promise anything any more, least of all that dirty pages are what the
 * caller put, so it stops the process before a store sees them.  It prints nothing, because the
 * process's output is not the library's: where and what failed is left on the stack for whoever
 * reads the core.  Test builds do print.
 *
 * The hook is per thread, so that a test that provokes a failure does not catch those of others.  A
 * hook in the options of a cache was considered: at the point of failure no cache may be in reach.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef ZCACHE_TEST_HOOKS
_Thread_local void (*zc_check_hook)(const char *file, int line, const char *text);

static void report(const char *file, int line, const char *text)
{
    if (zc_check_hook != NULL) {
        zc_check_hook(file, line, text);
    }
    (void)fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, text);
}
#else
static void report(const char *file, int line, const char *text)
{
    (void)file;
    (void)line;
    (void)text;
}
#endif

void zc_check_fail(const char *file, int line, const char *text)
{
    /* Volatile, or an optimised build has dropped them by the time abort() writes the core. */
    const char *volatile failed_file = file;
    volatile int failed_line = line;
    const char *volatile failed_text = text;

    report(failed_file, failed_line, failed_text);
    abort();
}
