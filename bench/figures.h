/* SPDX-License-Identifier: BSD-2-Clause */
/* What comes out of many numbers.  The functions sort what they are given. */
#ifndef BENCH_FIGURES_H
#define BENCH_FIGURES_H

#include <stddef.h>
#include <stdint.h>

double figures_median(double *value, unsigned n);

/* The median and the extremes of @n > 0 values. */
struct spread {
    double median;
    double lowest;
    double highest;
};

struct spread figures_spread(double *value, unsigned n);

void figures_sort_u32(uint32_t *value, size_t n);

/* The value below which @per_mille of the @n > 0 sorted ones are. */
double figures_quantile(const uint32_t *sorted, size_t n, size_t per_mille);

#endif /* BENCH_FIGURES_H */
