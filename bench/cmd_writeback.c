/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * writeback: what it takes to get dirty pages to a store: a flush of the whole corpus, whose pages
 * are raw and dirty, in groups of 16.
 *
 *   file      uring_store of the examples, barrier     beside  pwritev() of the same groups into the
 *             included                                         same kind of file, and fdatasync()
 *   buffered  the same without the barrier, that is      beside  the same without fdatasync()
 *             into the system's page cache
 *   direct    the same past the page cache, with the     beside  the same, with a copy of each group in
 *             barrier                                          aligned memory
 *   journal   file_store of the examples, which writes   beside  pwritev() of the same groups into the
 *             every page twice, with checksums                 same kind of file, once and without
 *   slow      a store that completes each batch after    beside  a loop that keeps as many pages in
 *             1 ms, from a thread of its own                   flight; `theory_ops_per_s` is the
 *                                                              pages in flight by 1 ms
 */
#include "bare_writes.h"
#include "cached.h"
#include "command.h"
#include "fail.h"
#include "file_store.h"
#include "lineup.h"
#include "slow_store.h"
#include "uring_store.h"
#include "work_dir.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>

#define DELAY_NS         1000000
#define FLUSH_TIMEOUT_MS 600000

static const struct column columns[] = {
    {"case", "case", -9, -1},
    {"subject", "subject", -9, -1},
    {"page_bytes", "page", 7, 0},
    {"pages", "pages", 8, 0},
    {"ns_per_op", "ns/page", 10, 1},
    {"ns_per_op_min", "lowest", 10, 1},
    {"ns_per_op_max", "highest", 10, 1},
    {"cpu_ns_per_op", "cpu ns", 10, 1},
    {"ops_per_s", "page/s", 11, 0},
    {"theory_ops_per_s", "theory", 11, 0},
    {"relative", "x bare", 8, 3},
};

static void make_dirty(void *ctx)
{
    const struct cached *c = ctx;

    for (size_t i = 0; i < c->corpus->pages; i++) {
        must(zcache_put(c->tenant, cached_key((uint32_t)i), corpus_page(c->corpus, i),
                        c->corpus->page_bytes, ZCACHE_DIRTY),
             "put a page");
    }
}

static int flush(void *ctx)
{
    const struct cached *c = ctx;

    return zcache_flush(c->tenant, FLUSH_TIMEOUT_MS);
}

static void open_over(struct cached *c,
                      const struct corpus *corpus,
                      const struct zcache_store *store,
                      unsigned *inflight_pages_out)
{
    struct zcache_options opts = cached_options(corpus, ZCACHE_TIER_RAW, 0);

    opts.store = store;
    *inflight_pages_out = opts.inflight_pages;
    cached_open_with(c, corpus, &opts);
}

static void check_written(const struct cached *c, const char *name)
{
    const struct zcache_stats s = cached_stats(c);

    if (s.gauge.dirty_pages != 0 || s.count.written_pages < c->corpus->pages) {
        fail("%s: %zu pages were put, %ju written, %ju are dirty", name, c->corpus->pages,
             (uintmax_t)s.count.written_pages, (uintmax_t)s.gauge.dirty_pages);
    }
}

static void run_lineup(struct report *report,
                       const char *name,
                       struct cached *cached,
                       struct subject bare,
                       double theory)
{
    const struct subject zcache = {
        .name = "zcache", .ctx = cached, .pass_begin = make_dirty, .pass = flush};
    struct lineup l;
    struct order order;

    order_make_all(&order, report->corpus->pages, 0);
    lineup_begin(&l, report, name, 1);
    report_set(lineup_add(&l, zcache), "theory_ops_per_s", theory);
    if (lineup_wants(&l, PEER_BARE)) {
        report_set(lineup_add_reference(&l, bare), "theory_ops_per_s", theory);
    }
    lineup_run(&l, &order);
    check_written(cached, name);
    lineup_end(&l);
    order_free(&order);
}

/* Two places in a directory that goes with them. */
struct places {
    struct work_dir dir;
    char store[300];
    char bare[300];
};

static void places_make(struct places *p, const struct report *report)
{
    work_dir_make(&p->dir, report->opts->work_dir != NULL ? report->opts->work_dir : "/tmp");
    (void)snprintf(p->store, sizeof p->store, "%s/pages.d", p->dir.path);
    (void)snprintf(p->bare, sizeof p->bare, "%s/bare", p->dir.path);
}

static void run_beside(struct report *report,
                       const char *name,
                       struct cached *cached,
                       struct bare_file *bare)
{
    run_lineup(report, name, cached,
               (struct subject){.name = "bare", .ctx = bare, .pass = bare_file_pass}, NAN);
}

/* How a case writes. */
enum mode {
    BUFFERED = 0,
    DIRECT = 1 << 0,
    DURABLE = 1 << 1 /* a barrier, or fdatasync(), at the end */
};

static void run_uring(struct report *report,
                      const struct corpus *corpus,
                      const char *name,
                      unsigned mode)
{
    struct places places;
    struct bare_file bare;
    struct uring_store *files;
    struct zcache_store store;
    struct cached cached;
    unsigned inflight_pages;
    const struct bare_way way = {.direct = (mode & DIRECT) != 0, .sync = (mode & DURABLE) != 0};

    places_make(&places, report);
    must(uring_store_open(places.store, corpus->page_bytes, way.direct ? URING_STORE_DIRECT : 0,
                          &files),
         places.store);
    store = *uring_store_callbacks(files);
    if (!way.sync) {
        store.barrier = NULL;
    }
    bare_file_open(&bare, corpus, places.bare, way);
    open_over(&cached, corpus, &store, &inflight_pages);
    uring_store_attach(files, cached.cache);

    run_beside(report, name, &cached, &bare);

    cached_close(&cached);
    bare_file_close(&bare);
    must(uring_store_close(files), "close the store");
    work_dir_remove(&places.dir);
}

static void run_journal(struct report *report, const struct corpus *corpus)
{
    struct places places;
    struct bare_file bare;
    struct file_store *files;
    struct zcache_store store;
    struct cached cached;
    unsigned inflight_pages;

    places_make(&places, report);
    must(file_store_open(places.store, corpus->page_bytes, &files), places.store);
    store = *file_store_callbacks(files);
    bare_file_open(&bare, corpus, places.bare, (struct bare_way){.slots = true, .sync = true});
    open_over(&cached, corpus, &store, &inflight_pages);

    run_beside(report, "journal", &cached, &bare);

    cached_close(&cached);
    bare_file_close(&bare);
    must(file_store_close(files), "close the file store");
    work_dir_remove(&places.dir);
}

static void batch_done(void *ctx, uint64_t token)
{
    const struct cached *c = ctx;

    must(zcache_done(c->cache, token, 0), "complete a batch");
}

static void run_slow(struct report *report, const struct corpus *corpus)
{
    const struct zcache_options defaults = ZCACHE_OPTIONS_INIT;
    struct cached cached;
    struct slow_store *store =
        slow_store_open(DELAY_NS, defaults.inflight_pages, batch_done, &cached);
    struct bare_pipeline *bare;
    unsigned inflight_pages;

    open_over(&cached, corpus, slow_store_callbacks(store), &inflight_pages);
    bare = bare_pipeline_open(corpus, DELAY_NS, inflight_pages);

    run_lineup(report, "slow", &cached,
               (struct subject){.name = "bare", .ctx = bare, .pass = bare_pipeline_pass},
               inflight_pages / (DELAY_NS / 1e9));

    cached_close(&cached);
    slow_store_close(store);
    bare_pipeline_close(bare);
}

static void check(const struct bench_options *opts)
{
    if (opts->threads.n > 1 || opts->threads.at[0] > 1) {
        options_wrong("writeback", "--threads is not for writeback: one thread flushes");
    }
    if (opts->skew > 0) {
        options_wrong("writeback", "--skew is not for writeback: every page is written once");
    }
}

static void run(struct report *report, const struct corpus *corpus)
{
    report_columns(report, columns, sizeof columns / sizeof columns[0]);
    run_uring(report, corpus, "file", DURABLE);
    run_uring(report, corpus, "buffered", BUFFERED);
    if (corpus->page_bytes % 4096 == 0) {
        run_uring(report, corpus, "direct", DIRECT | DURABLE);
    }
    run_journal(report, corpus);
    run_slow(report, corpus);
}

const struct command command_writeback = {
    .defaults = {.command = "writeback", .page_bytes = "4096", .threads = "1", .repeats = 5},
    .summary = "flush to a file store and to a slow store",
    .check = check,
    .run = run,
};
