/* SPDX-License-Identifier: BSD-2-Clause */
#include "measure.h"
#include "fail.h"
#include "figures.h"
#include "progress.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Of the lock layer: this thread's. Only zcache-bench-locks is linked with a library that counts. */
uint64_t zc_lock_count(void) __attribute__((weak));

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
    uint64_t locks;
};

/* One pass, or several added up. */
struct pass_time {
    double busy_ns; /* of all threads */
    double wall_ns;
    double cpu_ns;
    double locks;
    double ops;
};

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

bool measure_counts_locks(void)
{
    return zc_lock_count != NULL;
}

double measure_clock_ns(void)
{
    const unsigned calls = 100000;
    const uint64_t begin = now_ns(CLOCK_MONOTONIC);

    for (unsigned i = 1; i < calls; i++) {
        (void)now_ns(CLOCK_MONOTONIC);
    }
    return (double)(now_ns(CLOCK_MONOTONIC) - begin) / calls;
}

/* ---------------------------------------------------------------------------------------------
 * Passes.
 */

static void check(const struct subject *subject, int rc)
{
    if (rc != 0) {
        fail("%s: an operation failed: %s", subject->name, error_text(rc));
    }
}

static uint64_t locks_taken(void)
{
    return zc_lock_count != NULL ? zc_lock_count() : 0;
}

static void run_part(struct part *p, struct scratch *scratch)
{
    const struct subject *s = p->subject;
    const uint64_t locks = locks_taken();

    p->begin_ns = now_ns(CLOCK_MONOTONIC);
    if (p->op_ns == NULL) {
        for (size_t i = 0; i < p->n; i++) {
            check(s, s->op(s->ctx, p->page[i], scratch));
        }
    } else {
        uint64_t last = p->begin_ns;

        for (size_t i = 0; i < p->n; i++) {
            uint64_t t;

            check(s, s->op(s->ctx, p->page[i], scratch));
            t = now_ns(CLOCK_MONOTONIC);
            p->op_ns[i] = t - last < UINT32_MAX ? (uint32_t)(t - last) : UINT32_MAX;
            last = t;
        }
    }
    p->end_ns = now_ns(CLOCK_MONOTONIC);
    p->locks = locks_taken() - locks;
}

/* Touched before the clock runs. */
static struct scratch scratch_make(size_t page_bytes)
{
    struct scratch scratch = {.out_bytes = 2 * page_bytes + 4096};

    scratch.page = must_alloc_aligned(page_bytes);
    scratch.out = must_alloc_aligned(scratch.out_bytes);
    memset(scratch.page, 0, page_bytes);
    memset(scratch.out, 0, scratch.out_bytes);
    return scratch;
}

static void *part_thread(void *arg)
{
    struct part *p = arg;
    struct scratch scratch = scratch_make(p->page_bytes);

    if (p->subject->thread_begin != NULL) {
        p->subject->thread_begin(p->subject->ctx, &scratch);
    }
    (void)pthread_barrier_wait(p->start);
    run_part(p, &scratch);
    if (p->subject->thread_end != NULL) {
        p->subject->thread_end(p->subject->ctx, &scratch);
    }
    free(scratch.page);
    free(scratch.out);
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
        sum.locks += (double)part[i].locks;
    }
    sum.wall_ns = (double)(end - begin);
    return sum;
}

static struct pass_time run_threads(const struct plan *plan,
                                    const struct subject *subject,
                                    uint32_t *op_ns)
{
    const struct order *order = plan->order;
    struct part *part = must_alloc(plan->threads * sizeof *part);
    pthread_barrier_t start;
    struct pass_time sum;

    (void)pthread_barrier_init(&start, NULL, plan->threads);
    for (unsigned i = 0; i < plan->threads; i++) {
        const size_t first = order->n * i / plan->threads;

        part[i] = (struct part){.start = &start,
                                .subject = subject,
                                .page = order->page + first,
                                .n = order->n * (i + 1) / plan->threads - first,
                                .page_bytes = plan->page_bytes,
                                .op_ns = op_ns != NULL ? op_ns + first : NULL};
        if (pthread_create(&part[i].thread, NULL, part_thread, &part[i]) != 0) {
            fail("cannot start %u threads", plan->threads);
        }
    }
    for (unsigned i = 0; i < plan->threads; i++) {
        (void)pthread_join(part[i].thread, NULL);
    }
    (void)pthread_barrier_destroy(&start);
    sum = add_up(part, plan->threads);
    free(part);
    return sum;
}

static struct pass_time run_whole(const struct plan *plan, const struct subject *subject)
{
    struct pass_time t = {.ops = (double)plan->order->n};
    const uint64_t begin = now_ns(CLOCK_MONOTONIC);

    check(subject, subject->pass(subject->ctx));
    t.wall_ns = (double)(now_ns(CLOCK_MONOTONIC) - begin);
    t.busy_ns = t.wall_ns;
    return t;
}

static struct pass_time run_pass(const struct plan *plan,
                                 const struct subject *subject,
                                 uint32_t *op_ns)
{
    struct pass_time t;
    uint64_t cpu_ns;

    if (subject->pass_begin != NULL) {
        subject->pass_begin(subject->ctx);
    }
    cpu_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    t = subject->pass != NULL ? run_whole(plan, subject) : run_threads(plan, subject, op_ns);
    t.cpu_ns = (double)(now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu_ns);
    return t;
}

static struct pass_time run_passes(const struct plan *plan, const struct subject *subject)
{
    struct pass_time sum = {0};

    do {
        struct pass_time t = run_pass(plan, subject, NULL);

        sum.busy_ns += t.busy_ns;
        sum.wall_ns += t.wall_ns;
        sum.cpu_ns += t.cpu_ns;
        sum.ops += t.ops;
        sum.locks += t.locks;
    } while (sum.wall_ns < plan->seconds * 1e9);
    return sum;
}

/* ---------------------------------------------------------------------------------------------
 * Repetitions.
 */

/* Measurements of one subject, an element for each repetition. */
struct series {
    double *ns_per_op;
    double *ops_per_s;
    double *cpu_ns_per_op;
    double *relative;
    double *locks_per_op;
    uint32_t *op_ns; /* of all repetitions; NULL if single operations are not timed */
};

static struct series series_make(const struct plan *plan, const struct subject *subject)
{
    const size_t bytes = plan->repeats * sizeof(double);
    struct series s = {.ns_per_op = must_alloc(bytes),
                       .ops_per_s = must_alloc(bytes),
                       .cpu_ns_per_op = must_alloc(bytes),
                       .relative = must_alloc(bytes),
                       .locks_per_op = must_alloc(bytes)};

    if (subject->pass == NULL) {
        s.op_ns = must_alloc(plan->repeats * plan->order->n * sizeof *s.op_ns);
    }
    return s;
}

static void series_free(struct series *s)
{
    free(s->ns_per_op);
    free(s->ops_per_s);
    free(s->cpu_ns_per_op);
    free(s->relative);
    free(s->locks_per_op);
    free(s->op_ns);
}

static struct result summarise(const struct plan *plan, struct series *s)
{
    const size_t n = plan->repeats * plan->order->n;
    const struct spread ns = figures_spread(s->ns_per_op, plan->repeats);
    struct result r = {.ns_per_op = ns.median,
                       .ns_lowest = ns.lowest,
                       .ns_highest = ns.highest,
                       .ops_per_s = figures_median(s->ops_per_s, plan->repeats),
                       .cpu_ns_per_op = figures_median(s->cpu_ns_per_op, plan->repeats),
                       .relative = figures_median(s->relative, plan->repeats),
                       .locks_per_op = zc_lock_count != NULL
                                           ? figures_median(s->locks_per_op, plan->repeats)
                                           : NAN,
                       .p50_ns = NAN,
                       .p99_ns = NAN,
                       .p999_ns = NAN};

    if (s->op_ns != NULL) {
        figures_sort_u32(s->op_ns, n);
        r.p50_ns = figures_quantile(s->op_ns, n, 500);
        r.p99_ns = figures_quantile(s->op_ns, n, 990);
        r.p999_ns = figures_quantile(s->op_ns, n, 999);
    }
    return r;
}

static void measure_once(const struct plan *plan,
                         const struct subject *subject,
                         struct series *s,
                         unsigned i)
{
    const struct pass_time t = run_passes(plan, subject);

    s->ns_per_op[i] = t.busy_ns / t.ops;
    s->ops_per_s[i] = t.ops / (t.wall_ns / 1e9);
    s->cpu_ns_per_op[i] = t.cpu_ns / t.ops;
    s->locks_per_op[i] = t.locks / t.ops;
    if (s->op_ns != NULL) {
        (void)run_pass(plan, subject, s->op_ns + i * plan->order->n);
    }
}

void measure(const struct plan *plan,
             const struct subject *subject,
             unsigned n_subjects,
             unsigned reference,
             struct result *result_out)
{
    struct series series[SUBJECTS_MAX];

    for (unsigned k = 0; k < n_subjects; k++) {
        series[k] = series_make(plan, &subject[k]);
        progress_show("%s: warming up %s", plan->what, subject[k].name);
        (void)run_pass(plan, &subject[k], NULL);
    }
    for (unsigned i = 0; i < plan->repeats; i++) {
        for (unsigned n = 0; n < n_subjects; n++) {
            const unsigned k = (i + n) % n_subjects; /* each comes first now and then */

            progress_show("%s: %u of %u, %s", plan->what, i + 1, plan->repeats, subject[k].name);
            measure_once(plan, &subject[k], &series[k], i);
        }
        for (unsigned k = 0; k < n_subjects; k++) {
            series[k].relative[i] = series[k].ns_per_op[i] / series[reference].ns_per_op[i];
        }
    }
    progress_clear();
    for (unsigned k = 0; k < n_subjects; k++) {
        result_out[k] = summarise(plan, &series[k]);
        series_free(&series[k]);
    }
}
