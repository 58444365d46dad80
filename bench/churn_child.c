/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The phases.  Which key gets which page follows from the round and a generator with a fixed seed,
 * so that all caches get the same.  In the rounds of churn the pages come from a fifth of the
 * corpus ordered by compressed size, which moves on with each round: what a size class has freed is
 * not what the next round asks for.
 */
#include "cached.h"
#include "churn.h"
#include "fail.h"
#include "random.h"
#include "resident.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS       10
#define WINDOWS      5
#define DELETE_EVERY 16
#define DRAIN_MS     60000
#define NO_PAGE      UINT32_MAX

/* A cache in the making: zcache, or a peer. */
struct churner {
    const struct churn_plan *plan;
    struct cached cached;
    struct peer *peer; /* NULL: zcache */
    uint32_t *page_of; /* key to page, as put last; NO_PAGE: deleted */
    struct scratch scratch;
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

static void put(struct churner *c, uint64_t key, uint32_t page)
{
    const unsigned char *data = corpus_page(c->plan->corpus, page);
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

static void fill(struct churner *c)
{
    begin_phase(c);
    for (uint64_t key = 0; key < c->plan->keys; key++) {
        put(c, key, (uint32_t)(random_next(&c->random) % c->plan->corpus->pages));
    }
}

static void churn(struct churner *c)
{
    const size_t pages = c->plan->corpus->pages;
    const size_t window = pages / WINDOWS;

    begin_phase(c);
    for (unsigned round = 0; round < ROUNDS; round++) {
        const size_t first = round % WINDOWS * window;

        for (uint64_t i = 0; i < c->plan->keys; i++) {
            const uint64_t key = random_next(&c->random) % c->plan->keys;
            const size_t page = first + random_next(&c->random) % window;

            if (i % DELETE_EVERY == 0) {
                drop(c, key);
            } else {
                put(c, key, c->plan->by_size[page]);
            }
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
    s->pages = (double)stats.gauge.pages;
    for (unsigned t = 0; t < ZCACHE_TIERS; t++) {
        s->stored_bytes += (double)stats.tier[t].stored_bytes;
        s->allocated_bytes += (double)stats.tier[t].allocated_bytes;
    }
    s->charge_bytes = (double)stats.gauge.charge_bytes;
    s->pool_bytes = (double)stats.cache.resident_bytes;
    s->metadata_bytes_per_page =
        (double)(stats.cache.entry_bytes + stats.cache.index_bytes) / s->pages;
    s->peak_charge_over_limit_bytes =
        over((double)stats.gauge.peak_charge_bytes, (double)c->plan->limit_bytes);
}

static size_t stored_by(const struct churner *c, uint32_t page)
{
    switch (c->peer->id) {
    case PEER_ROCKSDB_LRU:
    case PEER_ROCKSDB_HCC:
        return c->plan->corpus->page_bytes;
    default:
        return bare_stored(c->plan->sizes, page);
    }
}

static void sample_peer(struct churner *c, struct churn_sample *s)
{
    const struct peer_ops *ops = c->peer->ops;

    for (uint64_t key = 0; key < c->plan->keys; key++) {
        if (c->page_of[key] != NO_PAGE &&
            ops->get(c->peer->ctx, key, c->scratch.page, &c->scratch) == 0) {
            s->pages++;
            s->stored_bytes += (double)stored_by(c, c->page_of[key]);
        }
    }
    s->allocated_bytes = NAN;
    s->charge_bytes = NAN;
    s->pool_bytes = NAN;
    s->metadata_bytes_per_page = NAN;
    s->peak_charge_over_limit_bytes = NAN;
    if (c->peer->id == PEER_ROCKSDB_LRU || c->peer->id == PEER_ROCKSDB_HCC) {
        s->metadata_bytes_per_page =
            ((double)ops->usage(c->peer->ctx) - s->stored_bytes) / s->pages;
    }
}

static struct churn_sample sample(struct churner *c, enum churn_phase phase)
{
    struct churn_sample s = {.limit_bytes = (double)c->limit_bytes,
                             .ns_per_op = phase == CHURN_SHRUNK
                                              ? NAN
                                              : (double)(now_ns() - c->begin_ns) / (double)c->ops};

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

    *c = (struct churner){.plan = plan,
                          .page_of = must_alloc(plan->keys * sizeof *c->page_of),
                          .scratch = {.page = must_alloc_aligned(plan->corpus->page_bytes)},
                          .limit_bytes = plan->limit_bytes,
                          .random = 1};
    memset(c->page_of, 0xff, plan->keys * sizeof *c->page_of);
    memset(c->scratch.page, 0, plan->corpus->page_bytes);
    resident_watch();
    c->base_bytes = resident_bytes();
    if (peer != NULL) {
        c->peer = peer_open(peer, reason);
        return c->peer != NULL;
    }
    opts.page_max_bytes = (uint32_t)plan->corpus->page_bytes;
    opts.capacity_bytes = plan->limit_bytes;
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
    free(c->scratch.page);
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
