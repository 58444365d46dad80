/* SPDX-License-Identifier: BSD-2-Clause */
#include "progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define ERASE_LINE "\r\033[K"

void progress_show(const char *format, ...)
{
    va_list args;

    if (!isatty(STDERR_FILENO)) {
        return;
    }
    va_start(args, format);
    (void)fputs(ERASE_LINE, stderr);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fflush(stderr);
}

void progress_clear(void)
{
    if (isatty(STDERR_FILENO)) {
        (void)fputs(ERASE_LINE, stderr);
    }
}
