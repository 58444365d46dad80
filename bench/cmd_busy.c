/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * busy: what a hit takes while the cache works for others, beside what it takes at rest.
 *
 *   shrinker   gets of raw pages of a tenant that keeps them, while a thread puts dirty pages of
 *              another tenant as fast as there is room: the shrinker demotes and writes back all the time
 *   neighbour  a tenant with less room than its pages need, all of it its reserve, gets them by Zipf's law
 *              and puts those that it misses; another tenant reads ever new pages with two threads
 *
 * Background threads want the CPU as well as the one that is measured, so each is beside memcpy() of as
 * many pages as take the time of a hit, at rest and under the same load: what the system does to any thread then, and the share of
 * the caches and of memory that is left, is in both.  The four take turns.  Times are of hits.
 */
#include "bare.h"
#include "busy_load.h"
#include "cached.h"
#include "command.h"
#include "fail.h"
#include "figures.h"
#include "order.h"
#include "peer.h"
#include "progress.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <zcache/store.h>

#define READER_SHARE    8 /* of the corpus are the pages that are got; at least */
#define READER_MIN      256
#define CAPACITY_MIN    (24u << 20)
#define NEIGHBOUR_SKEW  0.9
#define NEIGHBOUR_SHARE 16 /* of its pages' bytes is what it has for them */
#define REST_POLLS      5
#define COPIES_MAX      64
#define STRIDE          7919u /* pages between those that are copied together, about */
#define REST_POLLS_MAX  1000
#define PAGE_MORE       256 /* bytes that a page takes beyond its own, at most */

static const struct column columns[] = {
    {"case", "case", -10, -1},
    {"subject", "subject", -8, -1},
    {"detail", "", -5, -1},
    {"hit_percent", "hit %", 7, 2},
    {"ns_per_op", "ns/op", 9, 1},
    {"p50_ns", "p50 ns", 9, 0},
    {"p99_ns", "p99 ns", 9, 0},
    {"p999_ns", "p99.9 ns", 10, 0},
    {"p99_relative", "x rest", 7, 3},
    {"p999_relative", "99.9 x", 8, 3},
    {"load_per_s", "load/s", 9, 0},
    {"demoted_per_s", "demoted", 8, 0},
    {"written_per_s", "written", 8, 0},
    {"evicted_per_s", "evicted", 8, 0},
};

enum {
    REST,
    BUSY,
    STATES
};

static const char *const state_names[STATES] = {"rest", "busy"};

/* Who gets pages. */
struct reader {
    struct cached cached; /* its tenant is the reader's */
    struct zcache_tenant *root;
    struct busy_load load;
    struct order order; /* of the reader's pages */
    size_t next;        /* where the order goes on */
    size_t held;        /* pages that the load's cache holds */
    unsigned copies;    /* memcpy() of so many pages instead of a get; 0: a get */
    bool decodes;       /* @bare instead of a get */
    struct subject bare;
    struct scratch scratch;
    unsigned put_flags; /* of pages that were missed */
};

/* One subject in one state. */
struct sample {
    uint32_t *ns; /* of each get that hit */
    size_t n;
    size_t cap;
    uint64_t gets;
    uint64_t busy_ns;
    uint64_t wall_ns;
    uint64_t load;
    uint64_t demoted;
    uint64_t written;
    uint64_t evicted;
    struct cached_hits hits; /* of the reader, by tier */
};

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static size_t reader_pages(const struct corpus *corpus)
{
    const size_t n = corpus->pages / READER_SHARE;

    return n > READER_MIN ? n : (corpus->pages < READER_MIN ? corpus->pages : READER_MIN);
}

/* ---------------------------------------------------------------------------------------------
 * A store that takes everything at once.
 */

static int take_all(void *ctx, struct zcache_io *io)
{
    (void)ctx;
    (void)io;
    return 0;
}

/* ---------------------------------------------------------------------------------------------
 * One measurement.
 */

/* Until the shrinker sleeps, and goes on sleeping. */
static void wait_rest(const struct reader *r)
{
    const struct timespec pause = {.tv_nsec = 10000000};
    unsigned asleep = 0;

    for (unsigned i = 0; i < REST_POLLS_MAX && asleep < REST_POLLS; i++) {
        struct zcache_stats s = {.struct_size = sizeof s};

        must(zcache_stats(r->root, &s), "read the statistics");
        asleep = s.cache.shrinker_sleeping != 0 ? asleep + 1 : 0;
        (void)nanosleep(&pause, NULL);
    }
}

static void set_state(struct reader *r, int state)
{
    if (state == BUSY) {
        busy_load_begin(&r->load, 2 * r->held);
    } else {
        busy_load_end(&r->load);
        wait_rest(r);
    }
}

/* A hit's time; 0 for a miss, after which the page is there. */
static uint64_t get_next(struct reader *r)
{
    unsigned char *const buf = r->scratch.page;
    const struct corpus *corpus = r->cached.corpus;
    const uint32_t page = r->order.page[r->next];
    const uint64_t begin = now_ns();
    int rc = 0;

    r->next = r->next + 1 < r->order.n ? r->next + 1 : 0;
    for (unsigned i = 0; i < r->copies; i++) {
        (void)memcpy(buf, corpus_page(corpus, (page + i * STRIDE) % reader_pages(corpus)),
                     corpus->page_bytes);
    }
    if (r->decodes) {
        must(r->bare.op(r->bare.ctx, page, &r->scratch), "decode a page");
    } else if (r->copies == 0) {
        rc = zcache_get(r->cached.tenant, cached_key(page), buf, corpus->page_bytes, NULL, 0);
    }
    if (rc == 0) {
        return now_ns() - begin;
    }
    if (rc != ZCACHE_MISS) {
        fail("a get failed: %s", error_text(rc));
    }
    must(zcache_put(r->cached.tenant, cached_key(page), corpus_page(corpus, page),
                    corpus->page_bytes, r->put_flags),
         "put a page");
    return 0;
}

static void add_hit(struct sample *s, uint64_t ns)
{
    if (s->n == s->cap) {
        uint32_t *more;

        s->cap = s->cap == 0 ? 1u << 16 : 2 * s->cap;
        more = must_alloc(s->cap * sizeof *more);
        if (s->n > 0) {
            (void)memcpy(more, s->ns, s->n * sizeof *more);
        }
        free(s->ns);
        s->ns = more;
    }
    s->ns[s->n++] = ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX;
    s->busy_ns += ns;
}

static struct sample work_of(struct reader *r)
{
    struct zcache_stats s = {.struct_size = sizeof s};
    struct sample now;

    must(zcache_stats(r->root, &s), "read the statistics");
    now = (struct sample){.load = busy_load_pages(&r->load),
                          .written = s.count.written_pages,
                          .hits = cached_hits(&r->cached)};
    for (int i = 0; i < ZCACHE_TIERS; i++) {
        now.demoted += s.tier[i].demotions;
        now.evicted += s.tier[i].evictions;
    }
    return now;
}

/* All pages of the order at least once, and for so long. */
static void take_sample(struct reader *r, double seconds, struct sample *s)
{
    const struct sample before = work_of(r);
    const uint64_t begin = now_ns();
    struct sample after;
    uint64_t wall_ns;

    do {
        for (size_t i = 0; i < r->order.n; i++) {
            const uint64_t ns = get_next(r);

            s->gets++;
            if (ns != 0) {
                add_hit(s, ns);
            }
        }
        wall_ns = now_ns() - begin;
    } while ((double)wall_ns < seconds * 1e9);
    after = work_of(r);
    s->wall_ns += wall_ns;
    s->load += after.load - before.load;
    s->demoted += after.demoted - before.demoted;
    s->written += after.written - before.written;
    s->evicted += after.evicted - before.evicted;
    for (int i = 0; i < ZCACHE_TIERS; i++) {
        s->hits.tier[i] += after.hits.tier[i] - before.hits.tier[i];
    }
}

/* ---------------------------------------------------------------------------------------------
 * A case.
 */

static double per_second(const struct sample *s, uint64_t n)
{
    return (double)n / ((double)s->wall_ns / 1e9);
}

static void report_sample(struct report *report,
                          const char *name,
                          const char *subject,
                          const struct sample *sample,
                          int state)
{
    const struct sample *s = &sample[state];
    const struct sample *rest = &sample[REST];
    const double p99 = figures_quantile(s->ns, s->n, 990);
    const double p999 = figures_quantile(s->ns, s->n, 999);
    json_t *row = report_new_row(report, name, subject, state_names[state], 1);

    report_set(row, "hit_percent", 100.0 * (double)s->n / (double)s->gets);
    report_set_count(row, "hits", s->n);
    if (strcmp(subject, "zcache") == 0) {
        report_set_count(row, "hits_raw", s->hits.tier[ZCACHE_TIER_RAW]);
        report_set_count(row, "hits_fast", s->hits.tier[ZCACHE_TIER_FAST]);
        report_set_count(row, "hits_dense", s->hits.tier[ZCACHE_TIER_DENSE]);
    }
    report_set(row, "ns_per_op", (double)s->busy_ns / (double)s->n);
    report_set(row, "ops_per_s", per_second(s, s->gets));
    report_set(row, "p50_ns", figures_quantile(s->ns, s->n, 500));
    report_set(row, "p99_ns", p99);
    report_set(row, "p999_ns", p999);
    report_set(row, "p99_relative", p99 / figures_quantile(rest->ns, rest->n, 990));
    report_set(row, "p999_relative", p999 / figures_quantile(rest->ns, rest->n, 999));
    report_set(row, "load_per_s", per_second(s, s->load));
    report_set(row, "demoted_per_s", per_second(s, s->demoted));
    report_set(row, "written_per_s", per_second(s, s->written));
    report_set(row, "evicted_per_s", per_second(s, s->evicted));
    report_row(report, row);
}

static double median_of(struct reader *r, unsigned copies, double seconds)
{
    struct sample s = {0};
    double median;

    r->copies = copies;
    take_sample(r, seconds, &s);
    figures_sort_u32(s.ns, s.n);
    median = figures_quantile(s.ns, s.n, 500);
    free(s.ns);
    return median;
}

/* How many pages are copied in the time of a hit: what interrupts one is as likely to meet the other. */
static unsigned warm_up(struct reader *r, double seconds)
{
    double get;
    double copy;

    (void)median_of(r, 0, seconds);
    get = median_of(r, 0, seconds);
    copy = (median_of(r, 1 + COPIES_MAX, seconds) - median_of(r, 1, seconds)) / COPIES_MAX;
    return (unsigned)fmin(fmax(get / fmax(copy, 1), 1), COPIES_MAX);
}

static void measure_case(struct report *report, const char *name, struct reader *r)
{
    const char *const subject[2] = {"zcache", r->bare.op != NULL ? "bare" : "memcpy"};
    const unsigned peer = r->bare.op != NULL ? PEER_BARE : PEER_MEMCPY;
    const unsigned subjects = (report->opts->peers & 1u << peer) != 0 ? 2 : 1;
    const unsigned copies = warm_up(r, report->opts->seconds);
    struct sample sample[2][STATES] = {0};

    for (unsigned i = 0; i < report->opts->repeats; i++) {
        for (int k = 0; k < STATES; k++) {
            const int state = (int)((i + (unsigned)k) % STATES); /* each comes first now and then */

            progress_show("%s: %u of %u, %s", name, i + 1, report->opts->repeats,
                          state_names[state]);
            set_state(r, state);
            for (unsigned n = 0; n < subjects; n++) {
                const unsigned which = (i + n) % subjects;

                r->decodes = which == 1 && r->bare.op != NULL;
                r->copies = which == 1 && !r->decodes ? copies : 0;
                take_sample(r, report->opts->seconds, &sample[which][state]);
            }
        }
    }
    set_state(r, REST);
    progress_clear();
    for (unsigned n = 0; n < subjects; n++) {
        for (int state = 0; state < STATES; state++) {
            if (sample[n][state].n == 0) {
                fail("%s: no page was found", name);
            }
            figures_sort_u32(sample[n][state].ns, sample[n][state].n);
        }
        for (int state = 0; state < STATES; state++) {
            report_sample(report, name, subject[n], sample[n], state);
        }
        for (int state = 0; state < STATES; state++) {
            free(sample[n][state].ns);
        }
    }
}

static struct zcache_tenant *open_tenant(struct zcache_tenant *root,
                                         const char *name,
                                         uint64_t limit_bytes,
                                         uint64_t reserve_bytes)
{
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_tenant *tenant;

    opts.name = name;
    opts.limits.limit_bytes = limit_bytes;
    opts.limits.reserve_bytes = reserve_bytes;
    must(zcache_tenant_open(root, &opts, &tenant), "open a tenant");
    return tenant;
}

/* A cache of half the corpus, but large enough for the reader and as much again. */
static void reader_open(struct reader *r, const struct corpus *corpus, double skew, bool demotes)
{
    static const struct zcache_store store = {.struct_size = sizeof store, .write = take_all};
    const uint64_t need = reader_pages(corpus) * (corpus->page_bytes + PAGE_MORE);
    struct zcache_options opts = ZCACHE_OPTIONS_INIT;

    *r = (struct reader){.put_flags = ZCACHE_CLEAN};
    opts.page_max_bytes = (uint32_t)corpus->page_bytes;
    opts.capacity_bytes = corpus_bytes(corpus) / 2;
    if (opts.capacity_bytes < CAPACITY_MIN + 2 * need) {
        opts.capacity_bytes = CAPACITY_MIN + 2 * need;
    }
    opts.store = &store;
    if (demotes) { /* whatever leaves, through all tiers */
        opts.feed_percent = 100;
        opts.policy = ZCACHE_POLICY_LRU;
    }
    cached_open_with(&r->cached, corpus, &opts);
    r->root = r->cached.tenant;
    r->held = (size_t)(opts.capacity_bytes / corpus->page_bytes);
    order_make_all(&r->order, reader_pages(corpus), skew);
    r->scratch.out_bytes = 2 * corpus->page_bytes + 4096;
    r->scratch.page = must_alloc_aligned(corpus->page_bytes);
    r->scratch.out = must_alloc_aligned(r->scratch.out_bytes);
    r->load = (struct busy_load){.corpus = corpus,
                                 .tenant = open_tenant(r->root, "load", ZCACHE_UNLIMITED, 0)};
}

static void reader_close(struct reader *r)
{
    r->cached.tenant = r->root;
    cached_close(&r->cached);
    order_free(&r->order);
    free(r->scratch.page);
    free(r->scratch.out);
}

static void run_shrinker(struct report *report, const struct corpus *corpus)
{
    struct reader r;

    reader_open(&r, corpus, report->opts->skew, true);
    r.load.n_threads = 1;
    r.load.flags = ZCACHE_DIRTY;
    r.put_flags = ZCACHE_CLEAN | ZCACHE_KEEP_RAW;
    r.cached.tenant = open_tenant(r.root, "reader", ZCACHE_UNLIMITED,
                                  reader_pages(corpus) * (corpus->page_bytes + PAGE_MORE));
    for (size_t i = 0; i < reader_pages(corpus); i++) {
        must(zcache_put(r.cached.tenant, cached_key((uint32_t)i), corpus_page(corpus, i),
                        corpus->page_bytes, r.put_flags),
             "put a page");
    }
    measure_case(report, "shrinker", &r);
    reader_close(&r);
}

static void run_neighbour(struct report *report, const struct corpus *corpus)
{
    const double skew = report->opts->skew > 0 ? report->opts->skew : NEIGHBOUR_SKEW;
    const uint64_t room = reader_pages(corpus) * corpus->page_bytes / NEIGHBOUR_SHARE;
    struct bare bare = {0};
    struct reader r;

    reader_open(&r, corpus, skew, false);
    r.load.n_threads = 2;
    r.load.flags = ZCACHE_CLEAN;
    r.load.looks = true;
    r.cached.tenant = open_tenant(r.root, "reader", room, room);
    (void)bare_make(&bare, BARE_ZSTD, corpus);
    r.bare = bare_decoder(&bare);
    if (r.bare.thread_begin != NULL) {
        r.bare.thread_begin(r.bare.ctx, &r.scratch);
    }
    measure_case(report, "neighbour", &r);
    if (r.bare.thread_end != NULL) {
        r.bare.thread_end(r.bare.ctx, &r.scratch);
    }
    bare_free(&bare);
    reader_close(&r);
}

/* ---------------------------------------------------------------------------------------------
 * The command.
 */

static void check(const struct bench_options *opts)
{
    if (opts->threads.n > 1 || opts->threads.at[0] > 1) {
        options_wrong("busy", "--threads is not for busy: one thread gets");
    }
}

static void run(struct report *report, const struct corpus *corpus)
{
    report_columns(report, columns, sizeof columns / sizeof columns[0]);
    if (options_want_case(report->opts, "shrinker")) {
        run_shrinker(report, corpus);
    }
    if (options_want_case(report->opts, "neighbour")) {
        run_neighbour(report, corpus);
    }
}

const struct command command_busy = {
    .defaults = {.command = "busy",
                 .page_bytes = "4096",
                 .threads = "1",
                 .cases = "shrinker,neighbour",
                 .repeats = 5},
    .summary = "get while the shrinker works, and beside a tenant that scans",
    .check = check,
    .run = run,
};
