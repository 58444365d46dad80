/* SPDX-License-Identifier: BSD-2-Clause */
/* "Did you mean ...?" */
#ifndef BENCH_SUGGEST_H
#define BENCH_SUGGEST_H

#include <stddef.h>

/*
 * The one of @n names that @wrong was probably meant to be: a part of it, or some letters away.
 * NULL if none is near.
 */
const char *suggest(const char *wrong, const char *const *names, size_t n);

#endif /* BENCH_SUGGEST_H */
