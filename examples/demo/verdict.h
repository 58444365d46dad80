/* SPDX-License-Identifier: BSD-2-Clause */
/* The checks at the end, and the last line. */
#ifndef DEMO_VERDICT_H
#define DEMO_VERDICT_H

#include "report.h"

/* Compare every page of every tenant.  Each returns how many pages are wrong. */
uint64_t verdict_compare_cache(struct house *h);
uint64_t verdict_compare_files(struct house *h);

/* What was found. */
struct verdict {
    uint64_t pages;
    uint64_t wrong_in_cache;
    uint64_t wrong_in_files;
    uint64_t samples;
    unsigned limits_passed; /* accounts whose limit was passed */
    uint64_t foreign_evictions;
};

void verdict_judge_accounts(struct verdict *v, const struct results *r, const struct sampler *s);

/* Print PASS or FAIL and why.  Return: the exit status. */
int verdict_print(const struct verdict *v);

#endif /* DEMO_VERDICT_H */
