/* SPDX-License-Identifier: BSD-2-Clause */
#include "report.h"
#include "fail.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include <zcache/zcache.h>

void report_begin(struct report *r, const struct bench_options *opts, const struct corpus *corpus)
{
    *r = (struct report){.opts = opts};
    if (opts->json != NULL) {
        r->json = fopen(opts->json, "a");
        if (r->json == NULL) {
            fail("%s: %s", opts->json, error_text(-errno));
        }
    }
    (void)printf("zcache %s, %s: %zu pages of %zu bytes of %s", zcache_version(), opts->command,
                 corpus->pages, corpus->page_bytes, opts->corpus);
    if (corpus->same_filled != 0) {
        (void)printf(" (%zu same-filled ones left out)", corpus->same_filled);
    }
    (void)printf("\n%u thread%s, %u measurements of %g s, ", opts->threads,
                 opts->threads == 1 ? "" : "s", opts->repeat, opts->seconds);
    if (opts->skew > 0) {
        (void)printf("skew %g", opts->skew);
    } else {
        (void)printf("each page once in random order");
    }
    (void)printf("; p50 to p99.9 include a clock call of %.0f ns\n\n", measure_clock_ns());
    (void)printf("%-14s %-8s %8s %10s %17s %9s %9s %9s %12s %10s\n", "case", "subject", "pages",
                 "ns/op", "lowest - highest", "p50 ns", "p99 ns", "p99.9 ns", "op/s", "x bare");
}

static void write_json(const struct report *r,
                       const char *name,
                       size_t pages,
                       const struct subject *subject,
                       const struct result *result)
{
    const struct bench_options *o = r->opts;
    json_t *line = json_pack(
        "{ss ss ss si sI sI sf si sf sf sf sf sf sf sf sf sf ss ss}", "bench", o->command, "case",
        name, "subject", subject->name, "threads", (int)o->threads, "page_bytes",
        (json_int_t)o->page_bytes, "pages", (json_int_t)pages, "skew", o->skew, "repeat",
        (int)o->repeat, "seconds", o->seconds, "ns_per_op", result->ns_per_op, "ns_per_op_min",
        result->ns_min, "ns_per_op_max", result->ns_max, "p50_ns", result->p50_ns, "p99_ns",
        result->p99_ns, "p999_ns", result->p999_ns, "ops_per_s", result->ops_per_s, "ratio",
        result->ratio, "corpus", o->corpus, "version", zcache_version());

    if (line == NULL || json_dumpf(line, r->json, JSON_COMPACT | JSON_REAL_PRECISION(8)) != 0 ||
        fputc('\n', r->json) == EOF) {
        fail("%s: cannot write", o->json);
    }
    json_decref(line);
}

void report_case(struct report *r,
                 const char *name,
                 size_t pages,
                 const struct subject subject[SUBJECTS],
                 const struct result result[SUBJECTS])
{
    for (unsigned k = 0; k < SUBJECTS; k++) {
        const struct result *x = &result[k];

        (void)printf("%-14s %-8s %8zu %10.1f %8.1f-%8.1f %9.0f %9.0f %9.0f %12.0f %10.3f\n",
                     k == 0 ? name : "", subject[k].name, pages, x->ns_per_op, x->ns_min, x->ns_max,
                     x->p50_ns, x->p99_ns, x->p999_ns, x->ops_per_s, x->ratio);
        if (r->json != NULL) {
            write_json(r, name, pages, &subject[k], x);
        }
    }
    (void)fflush(stdout);
}

void report_end(struct report *r)
{
    if (r->json != NULL && fclose(r->json) != 0) {
        fail("%s: %s", r->opts->json, error_text(-errno));
    }
    r->json = NULL;
}
