/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * codec: what compression gains and costs, for each page size: raw calls of the codec, with its
 * contexts kept, and zcache's own path with the same codec.
 *
 *   lz4-encode, zstd-encode   a put that compresses in the caller (raw_percent 0), over a cached
 *                             page; the bare call
 *   lz4-decode, zstd-decode   a get; the bare call
 *
 *   dense-decode              a get from the dense tier, with the dictionary that zcache trained for itself; a
 *                             look-up in RocksDB's CompressedSecondaryCache with zstd; the bare calls
 *
 * `ratio` is raw bytes by stored bytes of the pages measured; zcache's stored bytes have a head for
 * each page, and pages that do not get smaller by an eighth stay as they are.  A dictionary is
 * trained from one page of BARE_SAMPLE_EVERY; these pages are not measured.  RocksDB does not tell what it
 * stores: its ratio is that of the call it makes (level 3, no dictionary, the content's size in the frame and
 * before it).
 */
#include "bare.h"
#include "cached.h"
#include "command.h"
#include "fail.h"
#include "lineup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct column columns[] = {
    {"case", "case", -13, -1},
    {"subject", "subject", -11, -1},
    {"detail", "", -12, -1},
    {"threads", "thr", 3, 0},
    {"page_bytes", "page", 7, 0},
    {"ns_per_op", "ns/op", 10, 1},
    {"ns_per_op_min", "lowest", 10, 1},
    {"ns_per_op_max", "highest", 10, 1},
    {"p50_ns", "p50 ns", 9, 0},
    {"p99_ns", "p99 ns", 9, 0},
    {"ops_per_s", "op/s", 11, 0},
    {"relative", "x ref", 7, 3},
    {"ratio", "ratio", 7, 3},
    {"ratio_relative", "x ref", 7, 3},
};

/* One codec in all its forms. */
struct forms {
    struct bare copy;
    struct bare plain;
    struct bare with_dictionary;
    struct cached cached;
    double cached_ratio;
    const char *cached_codec;
};

/* Pages that are in no dictionary. */
static void make_order(struct order *order, const struct corpus *corpus, double skew)
{
    uint32_t *pages = must_alloc(corpus->pages * sizeof *pages);
    size_t n = 0;

    for (size_t i = 0; i < corpus->pages; i++) {
        if (i % BARE_SAMPLE_EVERY != 0) {
            pages[n++] = (uint32_t)i;
        }
    }
    order_make(order, pages, n, skew);
    free(pages);
}

static double bare_ratio(const struct bare *bare, const struct order *order)
{
    size_t stored = 0;

    for (size_t i = 0; i < order->n; i++) {
        stored += bare_stored(bare, order->page[i]);
    }
    return (double)(order->n * bare->corpus->page_bytes) / (double)stored;
}

static void open_cached(struct forms *f, const struct corpus *corpus, const struct order *order)
{
    struct zcache_options opts = cached_options(corpus, ZCACHE_TIER_FAST, 0);
    struct zcache_stats stats;
    uint64_t stored = 0, raw = 0;

    (void)snprintf(opts.fast_codec, sizeof opts.fast_codec, "%s", f->cached_codec);
    opts.raw_percent = 0;
    cached_open_with(&f->cached, corpus, &opts);
    for (size_t i = 0; i < order->n; i++) {
        must(zcache_put(f->cached.tenant, cached_key(order->page[i]),
                        corpus_page(corpus, order->page[i]), corpus->page_bytes, 0),
             "put a page");
    }
    stats = cached_stats(&f->cached);
    for (unsigned t = 0; t < ZCACHE_TIERS; t++) {
        raw += stats.tier[t].raw_bytes;
        stored += stats.tier[t].stored_bytes;
    }
    f->cached_ratio = (double)raw / (double)stored;
}

static void add(struct lineup *l,
                struct forms *f,
                struct subject (*subject_of)(struct bare *bare),
                int (*op)(void *ctx, uint32_t page, struct scratch *scratch),
                const struct order *order)
{
    report_set(lineup_add(l, (struct subject){.name = "zcache",
                                              .detail = f->cached_codec,
                                              .ctx = &f->cached,
                                              .op = op}),
               "ratio", f->cached_ratio);
    if (f->plain.bytes != NULL) {
        report_set(lineup_add_reference(l, subject_of(&f->plain)), "ratio",
                   bare_ratio(&f->plain, order));
    }
    if (f->with_dictionary.bytes != NULL) {
        report_set(lineup_add(l, subject_of(&f->with_dictionary)), "ratio",
                   bare_ratio(&f->with_dictionary, order));
    }
    if (f->copy.bytes != NULL) {
        report_set(lineup_add(l, subject_of(&f->copy)), "ratio", 1);
    }
}

static void run_codec(struct report *report,
                      const struct corpus *corpus,
                      enum bare_codec codec,
                      const char *const names[2],
                      unsigned threads)
{
    struct forms f = {.cached_codec = bare_codec_text(codec)};
    struct order order;

    make_order(&order, corpus, report->opts->skew);
    open_cached(&f, corpus, &order);
    for (unsigned decode = 0; decode < 2; decode++) {
        struct lineup l;

        lineup_begin(&l, report, names[decode], threads);
        if (decode == 0 && lineup_wants(&l, PEER_MEMCPY)) {
            (void)bare_make(&f.copy, BARE_COPY, corpus);
        }
        if (decode == 0 && lineup_wants(&l, PEER_BARE)) {
            (void)bare_make(&f.plain, codec, corpus);
        }
        if (decode == 0 && codec == BARE_ZSTD && lineup_wants(&l, PEER_BARE) &&
            !bare_make(&f.with_dictionary, BARE_ZSTD_DICT, corpus)) {
            lineup_miss(&l, PEER_BARE, "too few pages to train a dictionary");
        }
        add(&l, &f, decode != 0 ? bare_decoder : bare_encoder,
            decode != 0 ? cached_op_get : cached_op_put, &order);
        lineup_run(&l, &order);
        lineup_end(&l);
    }
    bare_free(&f.copy);
    bare_free(&f.plain);
    bare_free(&f.with_dictionary);
    cached_close(&f.cached);
    order_free(&order);
}

/* ---- the dense tier -------------------------------------------------------------------------- */

/* What RocksDB puts before a block: its length, 7 bits in a byte. */
static size_t varint_bytes(size_t value)
{
    size_t n = 1;

    while (value >= 128) {
        value /= 128;
        n++;
    }
    return n;
}

static double rocksdb_ratio(const struct bare *plain, const struct order *order)
{
    const double page = (double)plain->corpus->page_bytes;

    return page /
           (page / bare_ratio(plain, order) + (double)varint_bytes(plain->corpus->page_bytes));
}

static double dense_ratio(const struct cached *c)
{
    const struct zcache_stats s = cached_stats(c);
    uint64_t stored = 0, raw = 0;

    for (unsigned t = 0; t < ZCACHE_TIERS; t++) {
        raw += s.tier[t].raw_bytes;
        stored += s.tier[t].stored_bytes;
    }
    return (double)raw / (double)stored;
}

static void set_ratio(json_t *row, double ratio, double reference)
{
    report_set(row, "ratio", ratio);
    report_set(row, "ratio_relative", ratio / reference);
}

static void add_dense(struct lineup *l, struct forms *f, const struct order *order)
{
    const struct peer_config config = {
        .id = PEER_ROCKSDB_CSC, .corpus = f->plain.corpus, .codec = BARE_ZSTD};
    const double reference = rocksdb_ratio(&f->plain, order);
    unsigned n;

    set_ratio(lineup_add(l, (struct subject){.name = "zcache",
                                             .detail = f->cached_codec,
                                             .ctx = &f->cached,
                                             .op = cached_op_get}),
              dense_ratio(&f->cached), reference);
    n = l->n;
    lineup_add_peer(l, &config, peer_getter);
    if (l->n > n) {
        set_ratio(l->more[n], reference, reference);
        l->reference = n;
    }
    if (lineup_wants(l, PEER_BARE)) {
        json_t *row = l->n > n ? lineup_add(l, bare_decoder(&f->plain))
                               : lineup_add_reference(l, bare_decoder(&f->plain));

        set_ratio(row, bare_ratio(&f->plain, order), reference);
    }
    if (f->with_dictionary.bytes != NULL) {
        set_ratio(lineup_add(l, bare_decoder(&f->with_dictionary)),
                  bare_ratio(&f->with_dictionary, order), reference);
    }
}

static void run_dense(struct report *report, const struct corpus *corpus, unsigned threads)
{
    struct forms f = {0};
    struct order order;
    struct lineup l;

    make_order(&order, corpus, report->opts->skew);
    lineup_begin(&l, report, "dense-decode", threads);
    cached_open(&f.cached, corpus, ZCACHE_TIER_DENSE);
    cached_fill(&f.cached, ZCACHE_TIER_DENSE);
    f.cached_codec = cached_stats(&f.cached).cache.dictionaries != 0 ? "zstd:3+dict" : "zstd:3";
    (void)bare_make(&f.plain, BARE_ZSTD, corpus);
    if (lineup_wants(&l, PEER_BARE) && !bare_make(&f.with_dictionary, BARE_ZSTD_DICT, corpus)) {
        lineup_miss(&l, PEER_BARE, "too few pages to train a dictionary");
    }
    add_dense(&l, &f, &order);
    lineup_run(&l, &order);
    lineup_end(&l);
    bare_free(&f.plain);
    bare_free(&f.with_dictionary);
    cached_close(&f.cached);
    order_free(&order);
}

static void run(struct report *report, const struct corpus *corpus)
{
    static const char *const lz4[] = {"lz4-encode", "lz4-decode"};
    static const char *const zstd[] = {"zstd-encode", "zstd-decode"};
    const struct number_list *threads = &report->opts->threads;

    report_columns(report, columns, sizeof columns / sizeof columns[0]);
    for (unsigned t = 0; t < threads->n; t++) {
        run_codec(report, corpus, BARE_LZ4, lz4, (unsigned)threads->at[t]);
        run_codec(report, corpus, BARE_ZSTD, zstd, (unsigned)threads->at[t]);
        run_dense(report, corpus, (unsigned)threads->at[t]);
    }
}

const struct command command_codec = {
    .defaults = {.command = "codec",
                 .page_bytes = "4096,16384,65536",
                 .threads = "1",
                 .repeats = 5},
    .summary = "ratio and time of the codecs, by themselves and inside zcache",
    .run = run,
};
