/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zcache-demo: three tenants share one cache of a quarter of their database; every byte is checked.
 *
 * 1. Open one cache over a file store, with the tenants that house.h describes.
 * 2. Put all their pages: several times what fits.
 * 3. Let threads read and rewrite pages, the popular ones more often, and check each page read,
 *    while a sampler compares charges with limits.
 * 4. Flush, and compare every page, through the cache.
 * 5. Close, and compare every page with what the store's files hold.
 */
#include "problem.h"
#include "progress.h"
#include "verdict.h"

#include <inttypes.h>
#include <stdio.h>

static void introduce(const struct house *h, const struct demo_options *opts)
{
    (void)printf("zcache %s: %s, %" PRIu64 " pages of 4 KiB, %.1f MiB; a cache of %.1f MiB; "
                 "files in %s\n",
                 zcache_version(), opts->db, h->source.n_pages,
                 (double)(h->source.n_pages * PAGE_BYTES) / 0x1p20,
                 (double)h->capacity_bytes / 0x1p20, h->dir);
}

static void describe(const char *did, const struct workload *w, double seconds)
{
    const struct workload_totals t = workload_totals(w);

    (void)printf("%s in %.1f s: %" PRIu64 " pages read, %" PRIu64 " written", did, seconds, t.reads,
                 t.writes);
    if (t.refused != 0) {
        (void)printf(", %" PRIu64 " of them past the cache", t.refused);
    }
    (void)printf("\n");
}

/* Steps 2 and 3. */
static int run(struct workload *w, const struct demo_options *opts)
{
    double seconds;

    if (workload_start_fill(w) != 0) {
        problem("cannot start threads");
        return 1;
    }
    seconds = progress_watch("filling", w, 0);
    if (progress_interrupted()) {
        workload_stop(w);
    }
    workload_join(w);
    describe("Filled", w, seconds);
    if (progress_interrupted() || workload_start_traffic(w) != 0) {
        problem("the run did not begin");
        return 1;
    }
    seconds = progress_watch("running", w, opts->seconds);
    workload_stop(w);
    workload_join(w);
    describe("Ran", w, seconds);
    return 0;
}

static int run_sampled(struct house *h, const struct demo_options *opts, struct sampler *sampler)
{
    struct workload w;
    int rc;

    if (workload_init(&w, h, opts->threads) != 0 || sampler_start(sampler, h) != 0) {
        problem("cannot start threads");
        workload_fini(&w);
        return 1;
    }
    rc = run(&w, opts);
    sampler_stop(sampler);
    workload_fini(&w);
    return rc;
}

/* Steps 4 and 5. */
static void compare(struct house *h, struct verdict *v)
{
    int rc;

    v->wrong_in_cache = verdict_compare_cache(h);
    rc = zcache_verify(h->cache);
    if (rc != 0) {
        problem("zcache_verify: %s", problem_text(rc));
    }
    if (house_close(h) == 0 && house_reopen_files(h) == 0) {
        v->wrong_in_files = verdict_compare_files(h);
    }
}

static int demonstrate(struct house *h, const struct demo_options *opts)
{
    struct verdict v = {0};
    struct sampler sampler;
    struct results results;
    int rc;

    if (run_sampled(h, opts, &sampler) != 0) {
        return verdict_print(&v);
    }
    rc = zcache_flush(zcache_root(h->cache), 0);
    if (rc != 0) {
        problem("zcache_flush: %s", problem_text(rc));
    }
    if (results_collect(&results, &sampler) == 0) {
        report_print(&results, &sampler, h);
        verdict_judge_accounts(&v, &results, &sampler);
    }
    for (unsigned i = 0; i < MEMBERS; i++) {
        v.pages += h->member[i].n_pages;
    }
    compare(h, &v);
    return verdict_print(&v);
}

int main(int argc, const char **argv)
{
    struct demo_options opts;
    struct house house;
    int status;

    options_read(argc, argv, &opts);
    progress_catch_interrupts();
    status = house_open(&house, &opts);
    if (status == 0) {
        introduce(&house, &opts);
        status = demonstrate(&house, &opts);
    }
    house_fini(&house);
    options_free(&opts);
    return status;
}
