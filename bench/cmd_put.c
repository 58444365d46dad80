/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * put: what a put costs.
 *
 *   put-raw     into the raw tier, every page is cached already    memcpy() into used memory; caches
 *   put-insert  into the raw tier, the cache is new and empty      memcpy() into new memory
 *   put-stream  ever new pages into a full cache of a quarter of   bare lz4; RocksDB's caches of
 *               the corpus's size: each put makes room, the        the same size
 *               shrinker compresses and evicts meanwhile
 */
#include "bare.h"
#include "cached.h"
#include "cases.h"
#include "command.h"
#include "copies.h"
#include "fail.h"
#include "lineup.h"

#include <stdatomic.h>
#include <stdlib.h>

#define STREAM_BYTES_MIN (2u << 20)

/* ---------------------------------------------------------------------------------------------
 * put-insert
 */

static void renew_cache(void *ctx)
{
    struct cached *c = ctx;
    const struct corpus *corpus = c->corpus;

    cached_close(c);
    cached_open(c, corpus, ZCACHE_TIER_RAW);
}

static void run_insert(struct report *report, const struct corpus *corpus, unsigned threads)
{
    struct copies copies;
    struct cached cached;
    struct lineup l;
    struct order order;

    lineup_begin(&l, report, "put-insert", threads);
    copies_make(&copies, corpus);
    cached_open(&cached, corpus, ZCACHE_TIER_RAW);
    order_make_all(&order, corpus->pages, report->opts->skew);
    (void)lineup_add(
        &l, (struct subject){
                .name = "zcache", .ctx = &cached, .op = cached_op_put, .pass_begin = renew_cache});
    if (lineup_wants(&l, PEER_MEMCPY)) {
        (void)lineup_add_reference(
            &l, (struct subject){
                    .name = "memcpy", .ctx = &copies, .op = copies_op, .pass_begin = copies_renew});
    }
    lineup_run(&l, &order);

    lineup_end(&l);
    order_free(&order);
    cached_close(&cached);
    copies_free(&copies);
}

/* ---------------------------------------------------------------------------------------------
 * put-stream
 */

/* Where pages go, one key after the other. */
struct stream {
    atomic_uint_fast64_t next;
    struct cached *cached; /* either */
    struct peer *peer;     /* or */
    const struct corpus *corpus;
};

static uint64_t next_key(struct stream *s)
{
    return atomic_fetch_add_explicit(&s->next, 1, memory_order_relaxed);
}

static int op_stream(void *ctx, uint32_t page, struct scratch *scratch)
{
    struct stream *s = ctx;
    const unsigned char *data = corpus_page(s->corpus, page);

    if (s->peer != NULL) {
        return s->peer->ops->put(s->peer->ctx, next_key(s), data, true, scratch);
    }
    return zcache_put(s->cached->tenant, (struct zcache_key){.object = 2, .page = next_key(s)},
                      data, s->corpus->page_bytes, 0);
}

static void add_stream_peers(struct lineup *l, struct stream stream[2], uint64_t capacity)
{
    static const enum peer_id ids[2] = {PEER_ROCKSDB_CSC, PEER_ROCKSDB_LRU};

    for (unsigned i = 0; i < 2; i++) {
        const struct peer_config config = {.id = ids[i],
                                           .corpus = l->report->corpus,
                                           .codec = BARE_LZ4,
                                           .capacity_bytes = capacity};
        struct peer *peer = lineup_open_peer(l, &config);

        if (peer != NULL) {
            stream[i] = (struct stream){.peer = peer, .corpus = config.corpus};
            l->peer[l->n] = peer;
            (void)lineup_add(l, (struct subject){.name = peer_names[ids[i]],
                                                 .detail = peer->detail,
                                                 .ctx = &stream[i],
                                                 .op = op_stream});
        }
    }
}

static void run_stream(struct report *report, const struct corpus *corpus, unsigned threads)
{
    struct zcache_options opts = ZCACHE_OPTIONS_INIT;
    struct bare bare = {0};
    struct cached cached;
    struct stream stream = {.cached = &cached, .corpus = corpus};
    struct stream peer_stream[2];
    struct lineup l;
    struct order order;

    opts.page_max_bytes = (uint32_t)corpus->page_bytes;
    opts.capacity_bytes = corpus_bytes(corpus) / 4;
    if (opts.capacity_bytes < STREAM_BYTES_MIN + 16 * corpus->page_bytes) {
        opts.capacity_bytes = STREAM_BYTES_MIN + 16 * corpus->page_bytes;
    }
    lineup_begin(&l, report, "put-stream", threads);
    cached_open_with(&cached, corpus, &opts);
    order_make_all(&order, corpus->pages, report->opts->skew);
    (void)lineup_add(&l, (struct subject){.name = "zcache", .ctx = &stream, .op = op_stream});
    if (lineup_wants(&l, PEER_BARE)) {
        (void)bare_make(&bare, BARE_LZ4, corpus);
        (void)lineup_add_reference(&l, bare_encoder(&bare));
    }
    add_stream_peers(&l, peer_stream, opts.capacity_bytes);
    lineup_run(&l, &order);

    lineup_end(&l);
    order_free(&order);
    cached_close(&cached);
    bare_free(&bare);
}

/* ---------------------------------------------------------------------------------------------
 * The command.
 */

static void check(const struct bench_options *opts)
{
    for (unsigned i = 0; i < opts->threads.n; i++) {
        if (opts->skew > 0 && opts->threads.at[i] > 1) {
            options_wrong("put", "--skew takes one thread: several must not memcpy() to one place");
        }
    }
}

static void run(struct report *report, const struct corpus *corpus)
{
    const struct number_list *threads = &report->opts->threads;

    report_time_columns(report);
    for (unsigned t = 0; t < threads->n; t++) {
        case_put_raw(report, corpus, (unsigned)threads->at[t]);
        if (options_want_case(report->opts, "put-insert")) {
            run_insert(report, corpus, (unsigned)threads->at[t]);
        }
        if (options_want_case(report->opts, "put-stream")) {
            run_stream(report, corpus, (unsigned)threads->at[t]);
        }
    }
}

const struct command command_put = {
    .defaults = {.command = "put",
                 .page_bytes = "4096",
                 .threads = "1",
                 .cases = "put-raw,put-insert,put-stream",
                 .repeats = 5},
    .summary = "put over cached pages, into an empty and into a full cache",
    .check = check,
    .run = run,
};
