/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * replay: hit ratios of traces.
 *
 *   pages  caches that hold so many pages, whatever these are: zcache without compression, and the
 *          simulated LRU and S3-FIFO of as many pages
 *   bytes  caches of so many bytes, with pages of a corpus: zcache as it is, an LRU that holds them
 *          uncompressed (its pages, no metadata), RocksDB's LRUCache over its
 *          CompressedSecondaryCache
 */
#include "command.h"
#include "fail.h"
#include "progress.h"
#include "replay_options.h"
#include "replay_report.h"
#include "replay_rocksdb.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A trace at one size. */
struct match {
    struct report *report;
    const struct replay_options *opts;
    const struct trace *trace;
    const struct replay_pages *pages;
    struct replay_subject subject; /* what all subjects have in common */
};

static void run_sim(const struct match *m,
                    const char *name,
                    const char *policy,
                    const struct sim_ops *ops,
                    uint32_t capacity)
{
    struct replay_subject subject = m->subject;
    struct replay_result result;

    subject.name = name;
    subject.policy = policy;
    replay_sim(ops, m->trace, capacity, &result);
    replay_report_row(m->report, &subject, m->trace, &result);
}

static void run_zcache(const struct match *m)
{
    for (unsigned i = 0; i < m->opts->policies; i++) {
        const struct replay_zcache config = {
            .trace = m->trace,
            .pages = m->pages,
            .size = m->subject.cache,
            .policy = m->opts->policy[i],
            .text = m->opts->text,
            .writes = m->opts->writes,
            .tenants = m->opts->tenants,
            .tenant_limit = m->opts->tenant_limit,
        };
        struct replay_subject subject = m->subject;
        struct replay_result result;

        subject.name = "zcache";
        subject.policy = config.policy != NULL ? config.policy : "default";
        replay_zcache(&config, &result);
        replay_report_row(m->report, &subject, m->trace, &result);
    }
}

/* Each split is tried, and the one with fewest misses is the result. */
static void run_rocksdb(const struct match *m, const char *name, bool zstd)
{
    const struct number_list *raw_percent = &m->opts->splits;
    struct replay_subject subject = m->subject;
    struct replay_result result, best = {0};
    char detail[16], tried[16];

    subject.name = name;
    subject.policy = "lru";
    if (replay_rocksdb_missing() != NULL) {
        replay_report_missing(m->report, &subject, replay_rocksdb_missing());
        return;
    }
    subject.tried = json_object();
    for (unsigned i = 0; i < raw_percent->n; i++) {
        const struct replay_split split = {(unsigned)raw_percent->at[i], zstd};

        replay_rocksdb(m->trace, m->pages, subject.cache.bytes, &split, &result);
        (void)snprintf(tried, sizeof tried, "%u%% raw", split.raw_percent);
        report_set_count(subject.tried, tried, m->trace->n - result.hits);
        if (i == 0 || result.hits > best.hits) {
            best = result;
            memcpy(detail, tried, sizeof detail);
        }
    }
    subject.detail = detail;
    replay_report_row(m->report, &subject, m->trace, &best);
    json_decref(subject.tried);
}

static uint32_t to_pages(const struct match *m, const struct replay_wanted *w)
{
    const double pages =
        w->percent > 0 ? floor(w->percent / 100 * m->trace->pages) : (double)w->number;

    return pages < 1 ? 1 : pages > m->trace->pages ? m->trace->pages : (uint32_t)pages;
}

static void run_pages(struct match *m, const struct replay_wanted *w)
{
    m->subject.size = w->text;
    m->subject.cache = (struct replay_size){.pages = to_pages(m, w)};
    run_zcache(m);
    run_sim(m, sim_lru_ops.name, "lru", &sim_lru_ops, m->subject.cache.pages);
    run_sim(m, sim_s3fifo_ops.name, "s3fifo", &sim_s3fifo_ops, m->subject.cache.pages);
}

static void run_bytes(struct match *m, const struct replay_wanted *w)
{
    const uint64_t bytes =
        w->percent > 0 ? (uint64_t)to_pages(m, w) * m->pages->page_bytes : w->number;
    const uint64_t raw_pages = bytes / m->pages->page_bytes;

    m->subject.size = w->text;
    m->subject.cache = (struct replay_size){.bytes = bytes};
    run_zcache(m);
    run_sim(m, "raw-lru", "lru", &sim_lru_ops,
            raw_pages < 1                 ? 1
            : raw_pages > m->trace->pages ? m->trace->pages
                                          : (uint32_t)raw_pages);
    if (m->opts->peers) {
        run_rocksdb(m, "rocksdb-lz4", false);
        run_rocksdb(m, "rocksdb-zstd", true);
    }
}

/* The file's name, without the folder and what says its format. */
static const char *name_of(const char *path, char *buf, size_t room)
{
    const char *slash = strrchr(path, '/');
    char *dot;

    (void)snprintf(buf, room, "%s", slash != NULL ? slash + 1 : path);
    for (dot = strrchr(buf, '.'); dot != NULL && dot != buf; dot = strrchr(buf, '.')) {
        if (strcmp(dot, ".zst") != 0 && strcmp(dot, ".zt") != 0 && strcmp(dot, ".csv") != 0) {
            break;
        }
        *dot = '\0';
    }
    return buf;
}

static void run_trace(struct report *report,
                      const struct replay_options *opts,
                      const struct replay_input *in,
                      bool bytes)
{
    const struct replay_wanted_list *sizes = bytes ? &opts->bytes : &opts->pages;
    char name[64], error[TRACE_ERROR_BYTES];
    struct replay_pages pages;
    struct trace trace;
    struct match m = {.report = report, .opts = opts, .trace = &trace, .pages = &pages};

    progress_show("reading %s", in->trace);
    if (!trace_read(in->trace, &opts->trace, &trace, error)) {
        progress_clear();
        fail("%s: %s", in->trace, error);
    }
    progress_clear();
    replay_pages_open(&pages, bytes ? in->corpus : NULL, opts->page_bytes, &trace);
    m.subject.trace = name_of(in->trace, name, sizeof name);
    for (unsigned i = 0; i < sizes->n; i++) {
        if (bytes) {
            run_bytes(&m, &sizes->at[i]);
        } else {
            run_pages(&m, &sizes->at[i]);
        }
    }
    replay_pages_close(&pages);
    trace_free(&trace);
}

static int replay_main(int argc, const char **argv)
{
    struct replay_options opts;
    struct report report;

    replay_options_read(argc, argv, &opts);
    report_begin(&report, &opts.bench);
    for (unsigned bytes = 0; bytes < 2; bytes++) {
        if ((bytes != 0 ? &opts.bytes : &opts.pages)->n == 0) {
            continue;
        }
        replay_report_columns(&report, bytes != 0);
        for (unsigned i = 0; i < opts.inputs; i++) {
            run_trace(&report, &opts, &opts.input[i], bytes != 0);
        }
    }
    if (opts.inputs > 1) {
        replay_report_summary(&report);
    }
    report_section_end(&report);
    report_end(&report);
    replay_options_free(&opts);
    return 0;
}

const struct command command_replay = {
    .defaults = {.command = "replay"},
    .summary = "hit ratios of traces (TRACE... instead of --corpus)",
    .main = replay_main,
};
