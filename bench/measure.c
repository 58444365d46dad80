/* SPDX-License-Identifier: BSD-2-Clause */
#include "measure.h"
#include "fail.h"
#include "progress.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A thread's part of a pass. */
struct part {
    pthread_t thread;
    pthread_barrier_t *start;
    const struct subject *subject;
    const uint32_t *page;
    size_t n;
    size_t page_bytes;
    uint32_t *op_ns; /* time of each operation; NULL: do not look at the clock */
    uint64_t begin_ns;
    uint64_t end_ns;
};

/* One pass, or several added up. */
struct pass_time {
    double busy_ns; /* of all threads */
    double wall_ns;
    double ops;
};

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

double measure_clock_ns(void)
{
    const unsigned calls = 100000;
    const uint64_t begin = now_ns();

    for (unsigned i = 1; i < calls; i++) {
        (void)now_ns();
    }
    return (double)(now_ns() - begin) / calls;
}

static void one_op(const struct part *p, size_t i, struct scratch *scratch)
{
    int rc = p->subject->op(p->subject->ctx, p->page[i], scratch);

    if (rc != 0) {
        fail("%s: an operation failed: %s", p->subject->name, error_text(rc));
    }
}

static void run_part(struct part *p, struct scratch *scratch)
{
    p->begin_ns = now_ns();
    if (p->op_ns == NULL) {
        for (size_t i = 0; i < p->n; i++) {
            one_op(p, i, scratch);
        }
    } else {
        uint64_t last = p->begin_ns;

        for (size_t i = 0; i < p->n; i++) {
            uint64_t t;

            one_op(p, i, scratch);
            t = now_ns();
            p->op_ns[i] = t - last < UINT32_MAX ? (uint32_t)(t - last) : UINT32_MAX;
            last = t;
        }
    }
    p->end_ns = now_ns();
}

static void *part_thread(void *arg)
{
    struct part *p = arg;
    struct scratch scratch = {0};
    void *page;

    if (posix_memalign(&page, 4096, p->page_bytes) != 0) {
        fail("no memory for a page");
    }
    scratch.page = memset(page, 0, p->page_bytes);
    if (p->subject->thread_begin != NULL) {
        p->subject->thread_begin(p->subject->ctx, &scratch);
    }
    (void)pthread_barrier_wait(p->start);
    run_part(p, &scratch);
    if (p->subject->thread_end != NULL) {
        p->subject->thread_end(p->subject->ctx, &scratch);
    }
    free(page);
    return NULL;
}

static struct pass_time add_up(const struct part *part, unsigned n)
{
    uint64_t begin = part[0].begin_ns, end = part[0].end_ns;
    struct pass_time sum = {0};

    for (unsigned i = 0; i < n; i++) {
        begin = part[i].begin_ns < begin ? part[i].begin_ns : begin;
        end = part[i].end_ns > end ? part[i].end_ns : end;
        sum.busy_ns += (double)(part[i].end_ns - part[i].begin_ns);
        sum.ops += (double)part[i].n;
    }
    sum.wall_ns = (double)(end - begin);
    return sum;
}

static struct pass_time run_pass(const struct bench_options *opts,
                                 const struct order *order,
                                 const struct subject *subject,
                                 uint32_t *op_ns)
{
    struct part *part = must_alloc(opts->threads * sizeof *part);
    pthread_barrier_t start;
    struct pass_time sum;

    if (subject->pass_begin != NULL) {
        subject->pass_begin(subject->ctx);
    }
    (void)pthread_barrier_init(&start, NULL, opts->threads);
    for (unsigned i = 0; i < opts->threads; i++) {
        const size_t first = order->n * i / opts->threads;

        part[i] = (struct part){.start = &start,
                                .subject = subject,
                                .page = order->page + first,
                                .n = order->n * (i + 1) / opts->threads - first,
                                .page_bytes = opts->page_bytes,
                                .op_ns = op_ns != NULL ? op_ns + first : NULL};
        if (pthread_create(&part[i].thread, NULL, part_thread, &part[i]) != 0) {
            fail("cannot start %u threads", opts->threads);
        }
    }
    for (unsigned i = 0; i < opts->threads; i++) {
        (void)pthread_join(part[i].thread, NULL);
    }
    (void)pthread_barrier_destroy(&start);
    sum = add_up(part, opts->threads);
    free(part);
    return sum;
}

static struct pass_time run_passes(const struct bench_options *opts,
                                   const struct order *order,
                                   const struct subject *subject)
{
    struct pass_time sum = {0};

    do {
        struct pass_time pass = run_pass(opts, order, subject, NULL);

        sum.busy_ns += pass.busy_ns;
        sum.wall_ns += pass.wall_ns;
        sum.ops += pass.ops;
    } while (sum.wall_ns < opts->seconds * 1e9);
    return sum;
}

/* ---------------------------------------------------------------------------------------------
 * What comes out of the numbers.
 */

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

/* Sorts @value. */
static double median(double *value, unsigned n)
{
    qsort(value, n, sizeof *value, compare_doubles);
    return n % 2 != 0 ? value[n / 2] : (value[n / 2 - 1] + value[n / 2]) / 2;
}

static double quantile(const uint32_t *sorted, size_t n, size_t per_mille)
{
    const size_t at = n * per_mille / 1000;

    return sorted[at];
}

/* Measurements of one subject, an element for each repetition. */
struct series {
    double *ns_per_op;
    double *ops_per_s;
    double *ratio;
    uint32_t *op_ns; /* of all repetitions */
};

static struct series series_make(unsigned repeat, size_t ops)
{
    return (struct series){.ns_per_op = must_alloc(repeat * sizeof(double)),
                           .ops_per_s = must_alloc(repeat * sizeof(double)),
                           .ratio = must_alloc(repeat * sizeof(double)),
                           .op_ns = must_alloc(repeat * ops * sizeof(uint32_t))};
}

static void series_free(struct series *s)
{
    free(s->ns_per_op);
    free(s->ops_per_s);
    free(s->ratio);
    free(s->op_ns);
}

static struct result summarise(struct series *s, unsigned repeat, size_t ops)
{
    const size_t n = repeat * ops;
    struct result r;

    qsort(s->op_ns, n, sizeof *s->op_ns, compare_u32);
    r.ns_per_op = median(s->ns_per_op, repeat);
    r.ns_min = s->ns_per_op[0];
    r.ns_max = s->ns_per_op[repeat - 1];
    r.ops_per_s = median(s->ops_per_s, repeat);
    r.ratio = median(s->ratio, repeat);
    r.p50_ns = quantile(s->op_ns, n, 500);
    r.p99_ns = quantile(s->op_ns, n, 990);
    r.p999_ns = quantile(s->op_ns, n, 999);
    return r;
}

static void measure_once(const struct bench_options *opts,
                         const struct order *order,
                         const struct subject *subject,
                         struct series *s,
                         unsigned i)
{
    struct pass_time t = run_passes(opts, order, subject);

    s->ns_per_op[i] = t.busy_ns / t.ops;
    s->ops_per_s[i] = t.ops / (t.wall_ns / 1e9);
    (void)run_pass(opts, order, subject, s->op_ns + i * order->n);
}

void measure(const char *what,
             const struct bench_options *opts,
             const struct order *order,
             const struct subject subject[SUBJECTS],
             struct result result_out[SUBJECTS])
{
    struct series series[SUBJECTS];

    for (unsigned k = 0; k < SUBJECTS; k++) {
        series[k] = series_make(opts->repeat, order->n);
        (void)run_pass(opts, order, &subject[k], NULL); /* warms up */
    }
    for (unsigned i = 0; i < opts->repeat; i++) {
        for (unsigned n = 0; n < SUBJECTS; n++) {
            const unsigned k = (i + n) % SUBJECTS; /* each comes first in every other repetition */

            progress_show("%s: %u of %u, %s", what, i + 1, opts->repeat, subject[k].name);
            measure_once(opts, order, &subject[k], &series[k], i);
        }
        for (unsigned k = 0; k < SUBJECTS; k++) {
            series[k].ratio[i] = series[k].ns_per_op[i] / series[SUBJECTS - 1].ns_per_op[i];
        }
    }
    progress_clear();
    for (unsigned k = 0; k < SUBJECTS; k++) {
        result_out[k] = summarise(&series[k], opts->repeat, order->n);
        series_free(&series[k]);
    }
}
