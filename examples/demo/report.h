/* SPDX-License-Identifier: BSD-2-Clause */
/* The table at the end. */
#ifndef DEMO_REPORT_H
#define DEMO_REPORT_H

#include "sampler.h"

#include <zcache/stats.h>

/* Statistics at the end of the run, in the order of the sampler's accounts. */
struct results {
    struct zcache_stats stats[ACCOUNTS];
};

/* Return: 0; 1 after a problem was noted. */
int results_collect(struct results *r, const struct sampler *s);

void report_print(const struct results *r, const struct sampler *s, const struct house *h);

#endif /* DEMO_REPORT_H */
