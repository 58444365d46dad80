/* SPDX-License-Identifier: BSD-2-Clause */
#include "fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)fputs("zcache-bench: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    exit(1); /* NOLINT(concurrency-mt-unsafe): threads may be cut off */
}

const char *error_text(int rc)
{
    const char *text = rc < 0 ? strerrordesc_np(-rc) : NULL;

    return text != NULL ? text : "unexpected result";
}

void must(int rc, const char *what)
{
    if (rc != 0) {
        fail("%s: %s", what, error_text(rc));
    }
}

void *must_alloc(size_t bytes)
{
    void *p = malloc(bytes);

    if (p == NULL) {
        fail("no memory for %zu bytes", bytes);
    }
    return p;
}

void *must_alloc_aligned(size_t bytes)
{
    void *p;

    if (posix_memalign(&p, 4096, bytes) != 0) {
        fail("no memory for %zu bytes", bytes);
    }
    return p;
}
