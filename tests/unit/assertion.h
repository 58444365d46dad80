/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For tests that provoke an assertion on purpose; takes care of cmocka's includes as well.
 */
#ifndef ZC_TESTS_ASSERTION_H
#define ZC_TESTS_ASSERTION_H

/* cmocka wants these before it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "check.h"

/**
 * assertion_of() - call @fn, and say which assertion it failed.
 *
 * Return: the assertion's text; NULL if there was none.  Builds without test hooks cannot catch it:
 * there the test is skipped.
 */
static inline const char *assertion_of(void (*fn)(void *arg), void *arg);

#ifdef ZCACHE_TEST_HOOKS
static _Thread_local jmp_buf assertion_return;
static _Thread_local const char *assertion_text;

static inline void assertion_catch(const char *file, int line, const char *text)
{
    (void)file;
    (void)line;
    assertion_text = text;
    longjmp(assertion_return, 1);
}

static inline const char *assertion_of(void (*fn)(void *arg), void *arg)
{
    assertion_text = NULL;
    zc_check_hook = assertion_catch;
    if (setjmp(assertion_return) == 0) {
        fn(arg);
    }
    zc_check_hook = NULL;
    return assertion_text;
}
#else
static inline const char *assertion_of(void (*fn)(void *arg), void *arg)
{
    (void)fn;
    (void)arg;
    skip();
    return NULL;
}
#endif

#endif /* ZC_TESTS_ASSERTION_H */
