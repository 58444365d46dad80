/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether compressing a tenant's pages for a tier is worth the CPU it takes.
 *
 * A stream of pages that nobody asks for again takes every page through every codec on its way out.
 * So who makes room for puts asks here first.  The answer is no when both are true: at the rate at which
 * pages leave the cache, which in the long run is the rate at which they come, compressing them all would
 * take more of a CPU than the cache's feed_percent; and those that were compressed are hardly ever hit
 * in that form.
 */
#ifndef ZC_WORTH_H
#define ZC_WORTH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/** struct zc_worth - one tenant's and tier's; all atomic and relaxed: it decides about speed only. */
struct zc_worth {
    _Atomic uint64_t since_ns;    /* when the interval began that is being counted; 0: not yet */
    _Atomic uint64_t left;        /* pages that left the cache since, from whichever tier */
    _Atomic uint64_t fed;         /* pages compressed since */
    _Atomic uint64_t hits_before; /* the tier's hits when the interval began */
    _Atomic uint32_t cost_ns;     /* of compressing one, on average; 0: not known */
    _Atomic uint32_t passing;     /* the verdict on the last interval: they pass the tier by */
    _Atomic uint32_t asked;       /* since they pass it by */
    _Atomic uint32_t every;       /* of so many batches one is fed then */
};

void zc_worth_init(struct zc_worth *w);

/** zc_worth_ask() - whether to compress the next batch; now and then yes, whatever the verdict. */
bool zc_worth_ask(struct zc_worth *w, uint64_t now_ns);

/** zc_worth_fed() - @pages were compressed, or tried, in @cpu_ns of a thread's time. */
void zc_worth_fed(struct zc_worth *w, unsigned pages, uint64_t cpu_ns);

/** zc_worth_left() - @pages were evicted to make room for puts. */
void zc_worth_left(struct zc_worth *w, uint64_t pages);

/** zc_worth_due() - whether the interval has been long enough for a verdict. */
bool zc_worth_due(const struct zc_worth *w, uint64_t now_ns);

/**
 * zc_worth_judge() - end the interval with a verdict, which holds for a second, and begin the next.
 * @hits:    of pages in the tier, so far.
 * @percent: of a CPU that compressing may take without being asked; 100: any time.
 */
void zc_worth_judge(struct zc_worth *w, uint64_t now_ns, uint64_t hits, uint32_t percent);

#endif /* ZC_WORTH_H */
