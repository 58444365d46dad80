/* SPDX-License-Identifier: BSD-2-Clause */
#include "figures.h"

#include <stdlib.h>

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static int compare_u32(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

double figures_median(double *value, unsigned n)
{
    qsort(value, n, sizeof *value, compare_doubles);
    return n % 2 != 0 ? value[n / 2] : (value[n / 2 - 1] + value[n / 2]) / 2;
}

struct spread figures_spread(double *value, unsigned n)
{
    const double median = figures_median(value, n);

    return (struct spread){.median = median, .lowest = value[0], .highest = value[n - 1]};
}

void figures_sort_u32(uint32_t *value, size_t n)
{
    qsort(value, n, sizeof *value, compare_u32);
}

double figures_quantile(const uint32_t *sorted, size_t n, size_t per_mille)
{
    const size_t at = n * per_mille / 1000;

    return sorted[at];
}
