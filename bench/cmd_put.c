/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * put: what a put into the raw tier costs, beside memcpy() of the same pages in the same order
 * into a buffer as large as all of them.
 *
 *   put-raw     every page is cached already, each put replaces it  beside  a buffer used before
 *   put-insert  the cache is new and empty                          beside  a buffer just mapped
 */
#include "cached.h"
#include "commands.h"
#include "fail.h"
#include "measure.h"
#include "report.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct buffer {
    unsigned char *bytes;
    const struct corpus *corpus;
};

static size_t buffer_bytes(const struct buffer *b)
{
    return b->corpus->pages * b->corpus->page_bytes;
}

static void buffer_map(struct buffer *b)
{
    b->bytes =
        mmap(NULL, buffer_bytes(b), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (b->bytes == MAP_FAILED) {
        fail("no memory for %zu bytes", buffer_bytes(b));
    }
}

static void buffer_unmap(struct buffer *b)
{
    (void)munmap(b->bytes, buffer_bytes(b));
}

static void renew_buffer(void *ctx)
{
    buffer_unmap(ctx);
    buffer_map(ctx);
}

static int op_copy(void *ctx, uint32_t page, struct scratch *scratch)
{
    const struct buffer *b = ctx;
    const size_t page_bytes = b->corpus->page_bytes;

    (void)scratch;
    memcpy(b->bytes + page * page_bytes, corpus_page(b->corpus, page), page_bytes);
    return 0;
}

static void renew_cache(void *ctx)
{
    struct cached *c = ctx;
    const struct corpus *corpus = c->corpus;

    cached_close(c);
    cached_open(c, corpus, ZCACHE_TIER_RAW);
}

static int op_put(void *ctx, uint32_t page, struct scratch *scratch)
{
    const struct cached *c = ctx;

    (void)scratch;
    return zcache_put(c->tenant, cached_key(page), corpus_page(c->corpus, page),
                      c->corpus->page_bytes, 0);
}

static void run_case(struct report *report,
                     const char *name,
                     bool renew,
                     const struct corpus *corpus)
{
    struct buffer buffer = {.corpus = corpus};
    struct cached cached;
    struct subject subject[SUBJECTS] = {
        {.name = "zcache", .ctx = &cached, .op = op_put, .pass_begin = renew ? renew_cache : NULL},
        {.name = "bare", .ctx = &buffer, .op = op_copy, .pass_begin = renew ? renew_buffer : NULL},
    };
    struct result result[SUBJECTS];
    struct order order;
    uint32_t *pages = must_alloc(corpus->pages * sizeof *pages);

    buffer_map(&buffer);
    cached_open(&cached, corpus, ZCACHE_TIER_RAW);
    cached_fill(&cached, ZCACHE_TIER_RAW);
    if (cached_pages_in(&cached, ZCACHE_TIER_RAW, pages) != corpus->pages) {
        fail("%s: not all pages stayed raw", name);
    }
    order_make(&order, pages, corpus->pages, report->opts->skew);

    measure(name, report->opts, &order, subject, result);
    report_case(report, name, order.n, subject, result);

    order_free(&order);
    cached_close(&cached);
    buffer_unmap(&buffer);
    free(pages);
}

int cmd_put(int argc, const char **argv)
{
    struct bench_options opts;
    struct corpus corpus;
    struct report report;

    options_read("put", argc, argv, &opts);
    if (opts.skew > 0 && opts.threads > 1) {
        options_wrong("put", "--skew takes one thread: several must not memcpy() to one place");
    }
    corpus_read(&opts, &corpus);
    report_begin(&report, &opts, &corpus);
    run_case(&report, "put-raw", false, &corpus);
    run_case(&report, "put-insert", true, &corpus);
    report_end(&report);
    corpus_free(&corpus);
    options_free(&opts);
    return 0;
}
