/* SPDX-License-Identifier: BSD-2-Clause */
#include "verdict.h"
#include "pages.h"
#include "problem.h"

#include <inttypes.h>
#include <stdio.h>

uint64_t verdict_compare_cache(struct house *h)
{
    const uint64_t before = problem_count();

    for (unsigned i = 0; i < MEMBERS; i++) {
        for (uint64_t page = 0; page < h->member[i].n_pages; page++) {
            page_read(h, &h->member[i], page, ZCACHE_SCAN);
        }
    }
    return problem_count() - before;
}

uint64_t verdict_compare_files(struct house *h)
{
    const uint64_t before = problem_count();

    for (unsigned i = 0; i < MEMBERS; i++) {
        for (uint64_t page = 0; page < h->member[i].n_pages; page++) {
            page_read_file(h, &h->member[i], page);
        }
    }
    return problem_count() - before;
}

void verdict_judge_accounts(struct verdict *v, const struct results *r, const struct sampler *s)
{
    v->samples = s->samples;
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        const struct zcache_stats *stats = &r->stats[i];

        v->limits_passed +=
            s->account[i].passed != 0 || stats->gauge.peak_charge_bytes > stats->gauge.limit_bytes;
    }
    /* The root's include everybody's. */
    v->foreign_evictions = r->stats[ACCOUNTS - 1].count.foreign_evictions;
}

static void reason(uint64_t n, const char *text)
{
    if (n != 0) {
        (void)printf(" %" PRIu64 " %s;", n, text);
    }
}

int verdict_print(const struct verdict *v)
{
    if (problem_count() == 0 && v->limits_passed == 0 && v->foreign_evictions == 0) {
        (void)printf("PASS: all %" PRIu64 " pages are as they must be, in the cache and in the "
                     "files after the close; no limit was passed in %" PRIu64
                     " samples, nor at a peak; no quota evicted another tenant's page\n",
                     v->pages, v->samples);
        return 0;
    }
    (void)printf("FAIL:");
    reason(v->wrong_in_cache, "pages wrong in the cache");
    reason(v->wrong_in_files, "pages wrong in the files after the close");
    reason(v->limits_passed, "limits were passed");
    reason(v->foreign_evictions, "pages evicted by another tenant's quota");
    (void)printf(" %" PRIu64 " problems in all\n", problem_count());
    return 1;
}
