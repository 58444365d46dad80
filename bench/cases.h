/* SPDX-License-Identifier: BSD-2-Clause */
/* Cases that more than one command measures. */
#ifndef BENCH_CASES_H
#define BENCH_CASES_H

#include "bare.h"
#include "report.h"

#include <zcache/types.h>

/* A hit of the pages that are in one tier. */
struct hit_case {
    const char *name;
    enum zcache_tier tier;
    enum bare_codec codec;
    bool pin; /* hold it, without a copy */
};

extern const struct hit_case hit_get_raw;
extern const struct hit_case hit_get_fast;
extern const struct hit_case hit_get_dense;
extern const struct hit_case hit_pin;

void case_hit(struct report *report,
              const struct corpus *corpus,
              const struct hit_case *hit,
              unsigned threads);

/* Puts of pages that are cached, into the raw tier. */
void case_put_raw(struct report *report, const struct corpus *corpus, unsigned threads);

#endif /* BENCH_CASES_H */
