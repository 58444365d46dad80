/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The phases.  Which key gets which page follows from the round and a generator with a fixed seed,
 * so that all caches get the same.  Each page carries its key and round, so that no two are the same.
 *
 * A round of churn replaces every page once, in random order: in the first by a page of the larger half
 * of the corpus, ordered by compressed size, in the second by one of the smaller half, in the third by any.
 * So what size classes have freed is not what the next round asks for.  Every 16th is deleted before.
 */
#include "cached.h"
#include "churn.h"
#include "fail.h"
#include "progress.h"
#include "random.h"
#include "resident.h"

#include <lz4.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS       3
#define DELETE_EVERY 16
#define SHOW_EVERY   4096
#define DRAIN_MS     60000
#define NO_PAGE      UINT32_MAX

/* A cache in the making: zcache, or a peer. */
struct churner {
    const struct churn_plan *plan;
    struct cached cached;
    struct peer *peer; /* NULL: zcache */
    const char *name;
    uint32_t *page_of; /* key to page, as put last; NO_PAGE: deleted */
    uint32_t *order;   /* of keys in a round */
    unsigned char *page;
    struct scratch scratch;
    void *lz4;
    char *lz4_out;
    uint64_t base_bytes;
    uint64_t limit_bytes;
    uint64_t random;
    uint64_t ops;
    uint64_t begin_ns;
};

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---------------------------------------------------------------------------------------------
 * Operations.
 */

/* A page of the corpus with words in its middle that tell whose it is. */
static const unsigned char *stamped(struct churner *c, uint64_t key, uint32_t page)
{
    const size_t page_bytes = c->plan->corpus->page_bytes;
    uint64_t state = key << 32 | page;
    const uint64_t word = random_next(&state);

    memcpy(c->page, corpus_page(c->plan->corpus, page), page_bytes);
    memcpy(c->page + page_bytes / 2, &word, sizeof word);
    return c->page;
}

static void put(struct churner *c, uint64_t key, uint32_t page)
{
    const unsigned char *data = stamped(c, key, page);
    int rc;

    if (c->peer != NULL) {
        rc = c->peer->ops->put(c->peer->ctx, key, data, true, &c->scratch);
    } else {
        rc = zcache_put(c->cached.tenant, cached_key((uint32_t)key), data,
                        c->plan->corpus->page_bytes, 0);
    }
    must(rc, "put a page");
    c->page_of[key] = page;
    c->ops++;
}

static void drop(struct churner *c, uint64_t key)
{
    int rc = 0;

    if (c->peer == NULL) {
        rc = zcache_delete(c->cached.tenant, cached_key((uint32_t)key), 0);
    } else if (c->peer->ops->remove == NULL) {
        return; /* it stays */
    } else {
        rc = c->peer->ops->remove(c->peer->ctx, key);
    }
    if (rc < 0) {
        fail("delete a page: %s", error_text(rc));
    }
    c->page_of[key] = NO_PAGE;
    c->ops++;
}

static void begin_phase(struct churner *c)
{
    c->ops = 0;
    c->begin_ns = now_ns();
}

static void show(const struct churner *c, const char *what, unsigned round, uint64_t done)
{
    if (done % SHOW_EVERY == 0) {
        progress_show("churn: %s, %s %u of %u: %.0f %% of %llu pages", c->name, what, round, ROUNDS,
                      100.0 * (double)done / (double)c->plan->keys,
                      (unsigned long long)c->plan->keys);
    }
}

static void fill(struct churner *c)
{
    begin_phase(c);
    for (uint64_t key = 0; key < c->plan->keys; key++) {
        show(c, "filling, round", 0, key);
        put(c, key, (uint32_t)(random_next(&c->random) % c->plan->corpus->pages));
    }
}

static void shuffle(struct churner *c)
{
    for (uint64_t i = c->plan->keys; i > 1; i--) {
        const uint64_t k = random_next(&c->random) % i;
        const uint32_t key = c->order[k];

        c->order[k] = c->order[i - 1];
        c->order[i - 1] = key;
    }
}

static void churn(struct churner *c)
{
    const size_t pages = c->plan->corpus->pages;

    const struct {
        size_t first, n;
    } window[ROUNDS] = {{pages / 2, pages - pages / 2}, {0, pages / 2}, {0, pages}};

    begin_phase(c);
    for (unsigned round = 0; round < ROUNDS; round++) {
        shuffle(c);
        for (uint64_t i = 0; i < c->plan->keys; i++) {
            const size_t at = window[round].first + random_next(&c->random) % window[round].n;

            show(c, "replacing, round", round + 1, i);
            if (i % DELETE_EVERY == 0) {
                drop(c, c->order[i]);
            }
            put(c, c->order[i], c->plan->by_size[at]);
        }
    }
}

/* False if it cannot. */
static bool halve(struct churner *c)
{
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;

    c->limit_bytes /= 2;
    if (c->peer != NULL) {
        return c->peer->ops->resize != NULL &&
               c->peer->ops->resize(c->peer->ctx, c->limit_bytes) == 0;
    }
    limits.limit_bytes = c->limit_bytes;
    must(zcache_tenant_set_limits(c->cached.tenant, &limits, DRAIN_MS, NULL), "halve the limit");
    return true;
}

/* ---------------------------------------------------------------------------------------------
 * Samples.
 */

static double over(double bytes, double limit)
{
    return bytes > limit ? bytes - limit : 0;
}

static void sample_cached(const struct churner *c, struct churn_sample *s)
{
    struct zcache_stats stats;

    cached_rest(&c->cached);
    stats = cached_stats(&c->cached);
    for (unsigned t = 0; t < ZCACHE_TIERS; t++) {
        s->stored_bytes += (double)stats.tier[t].stored_bytes;
        s->allocated_bytes += (double)stats.tier[t].allocated_bytes;
    }
    s->charge_bytes = (double)stats.gauge.charge_bytes;
    s->pool_bytes = (double)stats.cache.resident_bytes;
    s->metadata_bytes_per_page =
        (double)(stats.cache.entry_bytes + stats.cache.index_bytes) / (double)stats.gauge.pages;
    s->peak_charge_over_limit_bytes =
        over((double)stats.gauge.peak_charge_bytes, (double)c->plan->limit_bytes);
}

static bool is_raw(const struct churner *c)
{
    return c->peer != NULL && (c->peer->id == PEER_ROCKSDB_LRU || c->peer->id == PEER_ROCKSDB_HCC);
}

/* What lz4 makes of the page in c->page, or the page if that is not shorter. */
static size_t data_bytes(const struct churner *c)
{
    const size_t page_bytes = c->plan->corpus->page_bytes;
    int n;

    if (is_raw(c)) {
        return page_bytes;
    }
    n = LZ4_compress_fast_extState(c->lz4, (const char *)c->page, c->lz4_out, (int)page_bytes,
                                   (int)page_bytes, 1);
    return n > 0 ? (size_t)n : page_bytes;
}

/* False if it is not there. */
static bool fetch(struct churner *c, uint64_t key)
{
    int rc;

    if (c->peer != NULL) {
        return c->peer->ops->get(c->peer->ctx, key, c->scratch.page, &c->scratch) == 0;
    }
    rc = zcache_get(c->cached.tenant, cached_key((uint32_t)key), c->scratch.page,
                    c->plan->corpus->page_bytes, NULL, ZCACHE_PEEK);
    if (rc < 0) {
        fail("get a page: %s", error_text(rc));
    }
    return rc == 0;
}

/* Reads back what is held, and compares it. */
static void sample_pages(struct churner *c, struct churn_sample *s)
{
    for (uint64_t key = 0; key < c->plan->keys; key++) {
        show(c, "reading back after", ROUNDS, key);
        if (c->page_of[key] == NO_PAGE || !fetch(c, key)) {
            continue;
        }
        if (memcmp(stamped(c, key, c->page_of[key]), c->scratch.page,
                   c->plan->corpus->page_bytes) != 0) {
            fail("%s: a page came back with other bytes", c->name);
        }
        s->pages++;
        s->data_bytes += (double)data_bytes(c);
    }
}

static void sample_peer(const struct churner *c, struct churn_sample *s)
{
    s->stored_bytes = s->data_bytes;
    s->allocated_bytes = NAN;
    s->charge_bytes = NAN;
    s->pool_bytes = NAN;
    s->metadata_bytes_per_page = NAN;
    s->peak_charge_over_limit_bytes = NAN;
    if (is_raw(c)) {
        s->metadata_bytes_per_page =
            ((double)c->peer->ops->usage(c->peer->ctx) - s->stored_bytes) / s->pages;
    }
}

static struct churn_sample sample(struct churner *c, enum churn_phase phase)
{
    struct churn_sample s = {.limit_bytes = (double)c->limit_bytes,
                             .ns_per_op = phase == CHURN_SHRUNK
                                              ? NAN
                                              : (double)(now_ns() - c->begin_ns) / (double)c->ops};

    sample_pages(c, &s);
    if (c->peer == NULL) {
        sample_cached(c, &s);
    } else {
        sample_peer(c, &s);
    }
    s.resident_bytes = (double)resident_bytes() - (double)c->base_bytes;
    s.peak_over_limit_bytes =
        phase == CHURN_SHRUNK
            ? over(s.resident_bytes, s.limit_bytes)
            : over((double)resident_peak_bytes() - (double)c->base_bytes, s.limit_bytes);
    if (c->peer != NULL && c->peer->id == PEER_ZRAM) { /* the kernel's memory, and no limit */
        s.resident_bytes = (double)c->peer->ops->usage(c->peer->ctx);
        s.peak_over_limit_bytes = NAN;
        s.limit_bytes = NAN;
    }
    return s;
}

/* ---------------------------------------------------------------------------------------------
 * The child.
 */

static bool open_churner(struct churner *c,
                         const struct churn_plan *plan,
                         const struct peer_config *peer,
                         char *reason)
{
    struct zcache_options opts = ZCACHE_OPTIONS_INIT;
    const size_t page_bytes = plan->corpus->page_bytes;

    *c = (struct churner){.plan = plan,
                          .name = peer != NULL ? peer_names[peer->id] : "zcache",
                          .page_of = must_alloc(plan->keys * sizeof *c->page_of),
                          .order = must_alloc(plan->keys * sizeof *c->order),
                          .page = must_alloc_aligned(page_bytes),
                          .scratch = {.page = must_alloc_aligned(page_bytes)},
                          .lz4 = must_alloc((size_t)LZ4_sizeofState()),
                          .lz4_out = must_alloc(page_bytes),
                          .limit_bytes = plan->limit_bytes,
                          .random = 1};
    /* All of it touched, so that it is in the base. */
    memset(c->page_of, 0xff, plan->keys * sizeof *c->page_of);
    for (uint64_t i = 0; i < plan->keys; i++) {
        c->order[i] = (uint32_t)i;
    }
    memset(c->page, 0, page_bytes);
    memset(c->scratch.page, 0, page_bytes);
    memset(c->lz4, 0, (size_t)LZ4_sizeofState());
    memset(c->lz4_out, 0, page_bytes);
    resident_watch();
    c->base_bytes = resident_bytes();
    if (peer != NULL) {
        c->peer = peer_open(peer, reason);
        return c->peer != NULL;
    }
    opts.page_max_bytes = (uint32_t)page_bytes;
    opts.capacity_bytes = plan->limit_bytes;
    if (plan->fits) {
        opts.raw_percent = 0;
        opts.fast_percent = 100;
        opts.start_percent = 100;
        opts.background_percent = 100;
    }
    cached_open_with(&c->cached, plan->corpus, &opts);
    return true;
}

static void close_churner(struct churner *c)
{
    if (c->peer != NULL) {
        peer_close(c->peer);
    } else {
        cached_close(&c->cached);
    }
    free(c->lz4_out);
    free(c->lz4);
    free(c->scratch.page);
    free(c->page);
    free(c->order);
    free(c->page_of);
}

bool churn_child(const struct churn_plan *plan,
                 const struct peer_config *peer,
                 struct churn_samples *out,
                 char *reason)
{
    struct churner c;

    if (!open_churner(&c, plan, peer, reason)) {
        return false;
    }
    fill(&c);
    out->phase[out->n++] = sample(&c, CHURN_FRESH);
    churn(&c);
    out->phase[out->n++] = sample(&c, CHURN_CHURNED);
    if (halve(&c)) {
        out->phase[out->n++] = sample(&c, CHURN_SHRUNK);
    }
    close_churner(&c);
    return true;
}
