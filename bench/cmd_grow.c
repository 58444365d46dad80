/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * grow: what an operation costs when there are more and more pages (--keys), divided among tenants
 * (--tenants), each of --page-size bytes.
 *
 *   get-raw, put-raw  as in hit and put
 *   get-many          zcache_get_many() of 64 pages at once, for each page
 *
 * All caches get the same operations in turns: as many, of as many bytes, by the same code.  What differs
 * is the number of pages they are drawn from, each with the same probability, so that with more pages than
 * the CPU's caches and its table of translations hold nearly every step of a look-up is read from memory.
 * That is the hard case: keys that are skewed are found in the CPU's caches.  What is put comes from a few
 * pages of the corpus, which stay in the CPU's cache for all alike.  Before the measurement each cache gets
 * the same number of operations to warm up.
 *
 * Beside it is a table that does nothing but find a page ("bare", for one thread), and RocksDB's raw caches
 * with room for half as much again: how they grow tells what of the growth is the machine's.
 */
#include "bare_table.h"
#include "cached.h"
#include "command.h"
#include "fail.h"
#include "lineup.h"
#include "progress.h"
#include "random.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGE_COST    160 /* bytes, more than what a raw page takes beyond its own */
#define TENANT_BYTES 16384
#define SOURCES      64u /* pages of the corpus that are put */
#define DRAWS        (1u << 20)
#define DRAWS_FEW    (1u << 13) /* with --pages: to see that it runs */
#define MANY         64u
#define STILL_POLLS  20u
#define RIVALS       3u

struct crowd {
    struct cached cached;
    struct zcache_tenant **tenant;
    size_t tenants;
    size_t keys;
    char detail[32];
};

struct many {
    struct zcache_page page[MANY];
    struct zcache_tenant *tenant;
    unsigned n;
};

static uint32_t key_of(size_t keys, uint32_t draw)
{
    return (uint32_t)((uint64_t)draw * keys >> 32);
}

static const unsigned char *source_of(const struct crowd *c, uint32_t key)
{
    return corpus_page(c->cached.corpus, key % SOURCES);
}

static int put_page(const struct crowd *c, uint32_t key)
{
    return zcache_put(c->tenant[key % c->tenants], cached_key(key), source_of(c, key),
                      c->cached.corpus->page_bytes, 0);
}

static int op_put(void *ctx, uint32_t draw, struct scratch *scratch)
{
    const struct crowd *c = ctx;

    (void)scratch;
    return put_page(c, key_of(c->keys, draw));
}

static int op_get(void *ctx, uint32_t draw, struct scratch *scratch)
{
    const struct crowd *c = ctx;
    const uint32_t key = key_of(c->keys, draw);

    return zcache_get(c->tenant[key % c->tenants], cached_key(key), scratch->page,
                      c->cached.corpus->page_bytes, NULL, ZCACHE_PEEK);
}

static void many_begin(void *ctx, struct scratch *scratch)
{
    const struct crowd *c = ctx;
    const size_t page_bytes = c->cached.corpus->page_bytes;
    unsigned char *buf = must_alloc_aligned(MANY * page_bytes);
    struct many *m = must_alloc(sizeof *m);

    memset(buf, 0, MANY * page_bytes);
    *m = (struct many){.n = 0};
    for (unsigned i = 0; i < MANY; i++) {
        m->page[i] = (struct zcache_page){.buf = buf + i * page_bytes, .cap = page_bytes};
    }
    scratch->state = m;
}

static void many_end(void *ctx, struct scratch *scratch)
{
    struct many *m = scratch->state;

    (void)ctx;
    free(m->page[0].buf);
    free(m);
}

/* A batch is of one tenant: that of its first page, whose neighbours take the place of other pages. */
static int op_many(void *ctx, uint32_t draw, struct scratch *scratch)
{
    const struct crowd *c = ctx;
    struct many *m = scratch->state;
    size_t key = key_of(c->keys, draw);

    if (m->n == 0) {
        m->tenant = c->tenant[key % c->tenants];
        m->page[0].key = cached_key((uint32_t)key);
    } else {
        const size_t own = m->page[0].key.page % c->tenants;

        key = key - key % c->tenants + own;
        key = key < c->keys ? key : own;
        m->page[m->n].key = cached_key((uint32_t)key);
    }
    if (++m->n < MANY) {
        return 0;
    }
    m->n = 0;
    return zcache_get_many(m->tenant, m->page, MANY, ZCACHE_PEEK);
}

/* ---- beside it ----------------------------------------------------------------------------------- */

struct rival {
    struct peer *peer; /* NULL: it is the bare table */
    struct bare_table *table;
    const struct corpus *corpus;
    size_t keys;
};

static int rival_put(const struct rival *r, size_t key, bool fresh, struct scratch *scratch)
{
    const unsigned char *page = corpus_page(r->corpus, key % SOURCES);

    return r->peer != NULL ? r->peer->ops->put(r->peer->ctx, key, page, fresh, scratch)
                           : bare_table_put(r->table, key, page);
}

static int op_rival_put(void *ctx, uint32_t draw, struct scratch *scratch)
{
    const struct rival *r = ctx;

    return rival_put(r, key_of(r->keys, draw), false, scratch);
}

static int rival_get(const struct rival *r, size_t key, struct scratch *scratch)
{
    return r->peer != NULL ? r->peer->ops->get(r->peer->ctx, key, scratch->page, scratch)
                           : bare_table_get(r->table, key, scratch->page);
}

static int op_rival_get(void *ctx, uint32_t draw, struct scratch *scratch)
{
    const struct rival *r = ctx;

    return rival_get(r, key_of(r->keys, draw), scratch);
}

/* False: it does not keep so many. */
static bool rival_fill(const struct rival *r, const char *name)
{
    for (size_t i = 0; i < r->keys; i++) {
        if (i % (1u << 17) == 0) {
            progress_show("%s: %zu of %zu pages put", name, i, r->keys);
        }
        if (rival_put(r, i, true, NULL) != 0) {
            return false;
        }
    }
    return true;
}

/* Whether all pages are there, and right. */
static bool rival_keeps(const struct rival *r)
{
    const size_t bytes = r->corpus->page_bytes;
    struct scratch scratch = {.page = must_alloc_aligned(bytes)};
    bool kept = true;

    for (size_t i = 0; i < r->keys && kept; i++) {
        kept = rival_get(r, i, &scratch) == 0 &&
               memcmp(scratch.page, corpus_page(r->corpus, i % SOURCES), bytes) == 0;
    }
    free(scratch.page);
    return kept;
}

/* ---- zcache -------------------------------------------------------------------------------------- */

/* Until no more of its memory gets to be in huge pages. */
static void settle(const struct crowd *c)
{
    const struct timespec pause = {.tv_nsec = 100000000};
    uint64_t before = 0;

    for (unsigned still = 0; still < STILL_POLLS; still++) {
        const uint64_t huge = cached_stats(&c->cached).cache.huge_bytes;

        progress_show("%zu pages: %llu MiB in huge pages", c->keys, (unsigned long long)huge >> 20);
        still = huge == before ? still : 0;
        before = huge;
        (void)nanosleep(&pause, NULL);
    }
    progress_clear();
}

static void crowd_open(struct crowd *c, const struct corpus *corpus, size_t tenants, size_t keys)
{
    struct zcache_options opts = cached_options(corpus, ZCACHE_TIER_RAW, 0);

    opts.capacity_bytes =
        (64u << 20) + tenants * TENANT_BYTES + keys * (corpus->page_bytes + PAGE_COST) / 2 * 3;
    *c = (struct crowd){.tenants = tenants,
                        .keys = keys,
                        .tenant = must_alloc(tenants * sizeof(struct zcache_tenant *))};
    (void)snprintf(c->detail, sizeof c->detail, "%zu pages", keys);
    cached_open_with(&c->cached, corpus, &opts);
    for (size_t i = 0; i < tenants; i++) {
        struct zcache_tenant_options to = ZCACHE_TENANT_OPTIONS_INIT;
        char name[32];

        (void)snprintf(name, sizeof name, "tenant%zu", i);
        to.name = name;
        must(zcache_tenant_open(c->cached.tenant, &to, &c->tenant[i]), "open a tenant");
    }
    for (size_t i = 0; i < keys; i++) {
        if (i % (1u << 17) == 0) {
            progress_show("%zu of %zu pages put", i, keys);
        }
        must(put_page(c, (uint32_t)i), "put a page");
    }
    cached_rest(&c->cached);
    settle(c);
}

static void crowd_close(struct crowd *c)
{
    cached_close(&c->cached);
    free(c->tenant);
}

/* What a case does, to zcache and to others; no @rival: they cannot. */
struct operation {
    const char *name;
    struct subject zcache;
    int (*rival)(void *ctx, uint32_t draw, struct scratch *scratch);
};

static void add_crowds(struct lineup *l, const struct operation *o, struct crowd *crowd, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const struct zcache_stats stats = cached_stats(&crowd[i].cached);
        struct subject subject = o->zcache;
        json_t *more;

        subject.name = "zcache";
        subject.detail = crowd[i].detail;
        subject.ctx = &crowd[i];
        more = lineup_add(l, subject);
        report_set_count(more, "pages", crowd[i].keys);
        report_set_count(more, "tenants", crowd[i].tenants);
        report_set_count(more, "pool_bytes", stats.cache.resident_bytes);
        report_set_count(more, "huge_bytes", stats.cache.huge_bytes);
    }
}

static void add_rival(struct lineup *l,
                      const struct operation *o,
                      enum peer_id id,
                      const struct crowd *crowd,
                      struct rival *r)
{
    const struct corpus *corpus = crowd->cached.corpus;
    const struct peer_config config = {
        .id = id,
        .corpus = corpus,
        .keys = crowd->keys,
        .capacity_bytes = crowd->keys * (corpus->page_bytes + PAGE_COST) / 2 * 3 + (16u << 20)};

    *r = (struct rival){.corpus = corpus, .keys = crowd->keys};
    if (id == PEER_BARE) {
        r->table = bare_table_open(crowd->keys, corpus->page_bytes);
    } else if ((r->peer = lineup_open_peer(l, &config)) == NULL) {
        return;
    }
    if (rival_fill(r, peer_names[id]) && rival_keeps(r)) {
        l->peer[l->n] = r->peer; /* from now on the lineup's to close */
        report_set_count(lineup_add(l, (struct subject){.name = peer_names[id],
                                                        .detail = crowd->detail,
                                                        .ctx = r,
                                                        .op = o->rival}),
                         "pages", crowd->keys);
    } else {
        lineup_miss(l, id, "it does not keep all pages");
        peer_close(r->peer);
    }
}

static void run_case(struct report *report,
                     const struct operation *o,
                     unsigned threads,
                     struct crowd *crowd,
                     unsigned n,
                     const struct order *order)
{
    static const enum peer_id ids[] = {PEER_BARE, PEER_ROCKSDB_LRU, PEER_ROCKSDB_HCC};
    struct rival rival[RIVALS][LIST_MAX];
    struct lineup l;

    if (!options_want_case(report->opts, o->name)) {
        return;
    }
    lineup_begin(&l, report, o->name, threads);
    add_crowds(&l, o, crowd, n);
    for (unsigned p = 0; p < RIVALS; p++) {
        for (unsigned i = 0; i < n; i++) {
            rival[p][i] = (struct rival){.keys = 0};
            if (o->rival == NULL || !lineup_wants(&l, ids[p]) ||
                (ids[p] == PEER_BARE && threads > 1)) {
                continue;
            }
            if (l.n == SUBJECTS_MAX) {
                lineup_miss(&l, ids[p], "there is no row left for it; fewer --keys");
            } else {
                add_rival(&l, o, ids[p], &crowd[i], &rival[p][i]);
            }
        }
    }
    lineup_run(&l, order);
    lineup_end(&l);
    for (unsigned i = 0; i < n; i++) {
        if (rival[0][i].table != NULL) {
            bare_table_close(rival[0][i].table);
        }
    }
}

/* Random numbers of 32 bits, which each cache maps to its pages. */
static void draw(struct order *out, size_t n)
{
    uint64_t state = 1;

    *out = (struct order){.page = must_alloc(n * sizeof *out->page), .n = n};
    for (size_t i = 0; i < n; i++) {
        out->page[i] = (uint32_t)(random_next(&state) >> 32);
    }
}

static void check(const struct bench_options *opts)
{
    if (opts->skew > 0) {
        options_wrong("grow", "--skew is not for grow: pages are drawn with equal probability");
    }
    for (unsigned i = 0; i < opts->keys.n; i++) {
        for (unsigned k = 0; k < opts->tenants.n; k++) {
            if (opts->keys.at[i] < opts->tenants.at[k]) {
                options_wrong("grow", "--keys %zu is less than --tenants", opts->keys.at[i]);
            }
        }
    }
}

static const struct operation operations[] = {
    {"get-raw", {.op = op_get}, op_rival_get},
    {"put-raw", {.op = op_put}, op_rival_put},
    {"get-many", {.op = op_many, .thread_begin = many_begin, .thread_end = many_end}, NULL},
};

static void run(struct report *report, const struct corpus *corpus)
{
    const struct bench_options *opts = report->opts;
    struct crowd crowd[LIST_MAX];
    struct order order;

    draw(&order, opts->pages != 0 ? DRAWS_FEW : DRAWS);
    for (unsigned k = 0; k < opts->tenants.n; k++) {
        for (unsigned i = 0; i < opts->keys.n; i++) {
            crowd_open(&crowd[i], corpus, opts->tenants.at[k], opts->keys.at[i]);
        }
        report_time_columns(report);
        for (unsigned t = 0; t < opts->threads.n; t++) {
            for (unsigned o = 0; o < sizeof operations / sizeof operations[0]; o++) {
                run_case(report, &operations[o], (unsigned)opts->threads.at[t], crowd, opts->keys.n,
                         &order);
            }
        }
        for (unsigned i = 0; i < opts->keys.n; i++) {
            crowd_close(&crowd[i]);
        }
    }
    order_free(&order);
}

const struct command command_grow = {
    .defaults = {.command = "grow",
                 .page_bytes = "64",
                 .page_min = 64,
                 .order = "as many pages drawn evenly from each",
                 .threads = "1",
                 .tenants = "100",
                 .keys = "100000,10000000",
                 .cases = "get-raw,put-raw,get-many",
                 .repeats = 5},
    .summary = "get and put among few and among many pages",
    .check = check,
    .run = run,
};
