/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A trace through zcache.
 *
 * By bytes, the cache has that capacity and its default tiers; or, below the smallest capacity
 * there is, or if asked for, a tenant of a larger cache has that limit.
 *
 * By pages, compression is off and a tenant of a larger cache has the limit at which just so many
 * pages fit, whatever metadata takes: that is found by filling a cache beforehand and counting.
 * Reclaim works ahead of need, so that on average there are some fewer; the result says how many.
 */
#include "clock.h"
#include "fail.h"
#include "progress.h"
#include "replay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zcache/stats.h>
#include <zcache/store.h>
#include <zcache/tenant.h>
#include <zcache/zcache.h>

#define ROOM_BYTES    (UINT64_C(64) << 20) /* of a larger cache, beyond what its pages take */
#define PAGE_MORE     1024u                /* more than a page's record takes */
#define TENANT_BYTES  16384u
#define SAMPLES       512u
#define COMPARE_EVERY 64u
#define FITTINGS      16u
#define PROBE_PAGES   16u

const char *const replay_writes_names[REPLAY_WRITES] = {"clean", "dirty", "get"};

struct run {
    const struct replay_zcache *config;
    struct zcache *cache;
    struct zcache_tenant *top; /* the root, or the tenant with the limit */
    struct zcache_tenant **tenant;
    unsigned char *page;
    uint64_t rejects;
};

/* ---------------------------------------------------------------------------------------------
 * Opening.
 */

bool replay_zcache_check(const char *policy, const char *text, char *error, size_t error_cap)
{
    struct zcache_options opts = ZCACHE_OPTIONS_INIT;
    char item[64];

    if (policy != NULL) {
        (void)snprintf(item, sizeof item, "policy=%s", policy);
        if (zcache_options_parse(&opts, item, error, error_cap) != 0) {
            return false;
        }
    }
    return text == NULL || zcache_options_parse(&opts, text, error, error_cap) == 0;
}

static void parse(struct zcache_options *opts, const char *text)
{
    char error[256];

    if (zcache_options_parse(opts, text, error, sizeof error) != 0) {
        fail("options '%s': %s", text, error);
    }
}

static void print_log(void *ctx, enum zcache_log_level level, const char *event, const char *text)
{
    (void)ctx;
    (void)event;
    if (level != ZCACHE_LOG_INFO) {
        (void)fprintf(stderr, "zcache: %s\n", text);
    }
}

static int forget(void *ctx, struct zcache_io *io)
{
    (void)ctx;
    for (size_t i = 0; i < io->n_pages; i++) {
        io->pages[i].status = 0;
    }
    return 0;
}

static void open_cache(struct run *r, uint64_t capacity)
{
    const struct replay_zcache *config = r->config;
    struct zcache_options opts = ZCACHE_OPTIONS_INIT;
    struct zcache_store store = ZCACHE_STORE_INIT;
    char item[64];

    store.write = forget;
    opts.capacity_bytes = capacity;
    opts.page_max_bytes = (uint32_t)config->pages->page_bytes;
    opts.log = print_log;
    opts.store = config->writes == REPLAY_WRITES_DIRTY ? &store : NULL;
    if (config->size.pages != 0) {
        parse(&opts, "raw_percent=100,fast=none,dense=none,start_percent=100");
    }
    if (config->policy != NULL) {
        (void)snprintf(item, sizeof item, "policy=%s", config->policy);
        parse(&opts, item);
    }
    if (config->text != NULL) {
        parse(&opts, config->text);
    }
    must(zcache_open(&opts, &r->cache), "open a cache");
    r->top = zcache_root(r->cache);
}

static struct zcache_tenant *open_tenant(struct zcache_tenant *parent,
                                         const char *name,
                                         uint64_t limit)
{
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_tenant *tenant;

    opts.name = name;
    opts.limits.limit_bytes = limit;
    must(zcache_tenant_open(parent, &opts, &tenant), "open a tenant");
    return tenant;
}

static void open_limited(struct run *r, uint64_t limit, uint64_t capacity)
{
    open_cache(r, capacity);
    r->top = open_tenant(r->top, "trace", limit);
}

static void open_volumes(struct run *r)
{
    const uint32_t n = r->config->trace->tenants;

    r->tenant = must_alloc(n * sizeof(struct zcache_tenant *));
    for (uint32_t i = 0; i < n; i++) {
        char name[32];

        (void)snprintf(name, sizeof name, "volume%u", i);
        r->tenant[i] = r->config->tenants ? open_tenant(r->top, name, ZCACHE_UNLIMITED) : r->top;
    }
}

static void close_run(struct run *r)
{
    must(zcache_close(r->cache, ZCACHE_DISCARD), "close the cache");
    free(r->tenant);
    free(r->page);
}

static void read_stats(const struct run *r, struct zcache_stats *s)
{
    *s = (struct zcache_stats){.struct_size = sizeof *s};
    must(zcache_stats(r->top, s), "read the statistics");
}

/* ---------------------------------------------------------------------------------------------
 * The limit at which so many pages fit.
 */

static uint64_t room_for(const struct replay_zcache *config, uint64_t pages)
{
    return ROOM_BYTES + 2 * pages * (config->pages->page_bytes + PAGE_MORE) +
           (uint64_t)config->trace->tenants * TENANT_BYTES;
}

static int put_probe(struct run *r, uint64_t number)
{
    return zcache_put(r->top, (struct zcache_key){.object = 1, .page = number},
                      r->config->pages->bytes, r->config->pages->page_bytes, ZCACHE_CLEAN);
}

/* What a page is charged. */
static uint64_t page_charge(const struct replay_zcache *config)
{
    struct run r = {.config = config};
    struct zcache_stats s;

    open_limited(&r, ZCACHE_UNLIMITED, room_for(config, PROBE_PAGES));
    for (uint64_t i = 0; i < PROBE_PAGES; i++) {
        must(put_probe(&r, i), "put a page");
    }
    read_stats(&r, &s);
    close_run(&r);
    return s.gauge.charge_bytes / PROBE_PAGES;
}

/* Most pages that were there at one time while it was filled beyond what fits. */
static uint64_t most_pages(const struct replay_zcache *config, uint64_t limit)
{
    const uint64_t wanted = config->size.pages;
    const uint64_t margin = wanted / 32 + 64;
    struct run r = {.config = config};
    uint64_t most = 0;

    open_limited(&r, limit, room_for(config, wanted + margin));
    for (uint64_t i = 0; i < wanted + 3 * margin; i++) {
        struct zcache_stats s;

        if (put_probe(&r, i) != 0) {
            break; /* it does not fit at all */
        }
        if (i + margin >= wanted) {
            read_stats(&r, &s);
            most = s.gauge.pages > most ? s.gauge.pages : most;
        }
    }
    close_run(&r);
    return most;
}

static uint64_t fit_limit(const struct replay_zcache *config)
{
    const uint64_t wanted = config->size.pages;
    const uint64_t charge = page_charge(config);
    uint64_t limit = wanted * charge + charge / 2;

    for (unsigned i = 0; i < FITTINGS; i++) {
        const uint64_t most = most_pages(config, limit);

        if (most == wanted) {
            return limit;
        }
        progress_show("zcache: fitting its limit: %llu pages instead of %llu",
                      (unsigned long long)most, (unsigned long long)wanted);
        limit += (wanted - most) * charge; /* wraps around if there were too many */
    }
    fail("no limit was found at which %llu pages fit", (unsigned long long)wanted);
}

/* ---------------------------------------------------------------------------------------------
 * Requests.
 */

static void put_page(struct run *r, const struct trace_request *q, unsigned flags)
{
    const struct replay_zcache *config = r->config;
    const int rc =
        zcache_put(r->tenant[q->tenant],
                   (struct zcache_key){.object = q->tenant, .page = config->trace->id[q->page]},
                   replay_page(config->pages, q->page), config->pages->page_bytes, flags);

    if (rc == -EDQUOT || rc == -ENOSPC || rc == -ENOMEM || rc == -EBUSY) {
        r->rejects++;
    } else {
        must(rc, "put a page");
    }
}

static void get_page(struct run *r, const struct trace_request *q, size_t number)
{
    const struct replay_zcache *config = r->config;
    const size_t bytes = config->pages->page_bytes;
    const int rc =
        zcache_get(r->tenant[q->tenant],
                   (struct zcache_key){.object = q->tenant, .page = config->trace->id[q->page]},
                   r->page, bytes, NULL, 0);

    if (rc == ZCACHE_MISS) {
        put_page(r, q, ZCACHE_CLEAN);
    } else if (rc != 0) {
        must(rc, "get a page");
    } else if (number % COMPARE_EVERY == 0 &&
               memcmp(r->page, replay_page(config->pages, q->page), bytes) != 0) {
        fail("page %llu came back with other bytes",
             (unsigned long long)config->trace->id[q->page]);
    }
}

/* Gauges of the second half, when the cache is full if it ever is. */
static void sample(const struct run *r, size_t at, struct replay_result *out, unsigned *n)
{
    struct zcache_stats s;

    read_stats(r, &s);
    out->peak_pages = s.gauge.pages > out->peak_pages ? s.gauge.pages : out->peak_pages;
    if (2 * at < r->config->trace->n) {
        return;
    }
    out->mean_pages += (double)s.gauge.pages;
    out->mean_bytes += (double)s.gauge.charge_bytes;
    ++*n;
}

static void replay_requests(struct run *r, struct replay_result *out)
{
    const struct replay_zcache *config = r->config;
    const size_t n = config->trace->n, step = n / SAMPLES + 1;
    unsigned samples = 0;

    for (size_t i = 0; i < n; i++) {
        const struct trace_request *q = &config->trace->request[i];

        if (!q->write || config->writes == REPLAY_WRITES_GET) {
            get_page(r, q, i);
        } else {
            put_page(r, q, config->writes == REPLAY_WRITES_DIRTY ? ZCACHE_DIRTY : ZCACHE_CLEAN);
        }
        if (i % step == step - 1 || i == n - 1) {
            sample(r, i, out, &samples);
        }
        if (i % (16 * step) == 0) {
            progress_show("zcache: %zu of %zu requests", i, n);
        }
    }
    out->mean_pages /= samples;
    out->mean_bytes /= samples;
}

static double mean_ns(const struct zcache_stats *s, enum zcache_latency_kind kind)
{
    const struct zcache_latency *l = &s->latency[kind];

    return l->count != 0 ? (double)l->sum_ns / (double)l->count : 0;
}

static void read_result(const struct run *r, struct replay_result *out)
{
    struct zcache_stats s;

    read_stats(r, &s);
    out->tier_hits[ZCACHE_TIER_RAW] = s.count.get_hits_raw;
    out->tier_hits[ZCACHE_TIER_FAST] = s.count.get_hits_fast;
    out->tier_hits[ZCACHE_TIER_DENSE] = s.count.get_hits_dense;
    out->same_hits = s.count.get_hits_same;
    out->put_hits = s.count.put_replaces;
    out->hits = out->same_hits + out->put_hits;
    for (int t = 0; t < ZCACHE_TIERS; t++) {
        out->hits += out->tier_hits[t];
        out->evictions += s.tier[t].evictions;
    }
    out->tier_ns[ZCACHE_TIER_RAW] = mean_ns(&s, ZCACHE_LATENCY_GET_RAW);
    out->tier_ns[ZCACHE_TIER_FAST] = mean_ns(&s, ZCACHE_LATENCY_GET_FAST);
    out->tier_ns[ZCACHE_TIER_DENSE] = mean_ns(&s, ZCACHE_LATENCY_GET_DENSE);
    out->put_ns = mean_ns(&s, ZCACHE_LATENCY_PUT);
    out->stall_ns = (double)s.count.stall_ns;
    out->rejects = r->rejects;
    out->limit_bytes = s.gauge.limit_bytes;
    s = (struct zcache_stats){.struct_size = sizeof s};
    must(zcache_stats(zcache_root(r->cache), &s), "read the statistics");
    out->resident_bytes = s.cache.resident_bytes;
}

void replay_zcache(const struct replay_zcache *config, struct replay_result *out)
{
    struct run r = {.config = config};
    double begin, cpu_begin;

    *out = (struct replay_result){0};
    if (config->size.pages != 0) {
        open_limited(&r, fit_limit(config), room_for(config, config->size.pages));
    } else if (config->tenant_limit || config->size.bytes < ZCACHE_CAPACITY_MIN) {
        open_limited(&r, config->size.bytes,
                     room_for(config, config->size.bytes / config->pages->page_bytes));
    } else {
        open_cache(&r, config->size.bytes);
    }
    open_volumes(&r);
    r.page = must_alloc_aligned(config->pages->page_bytes);
    begin = clock_seconds();
    cpu_begin = clock_cpu_seconds();
    replay_requests(&r, out);
    out->seconds = clock_seconds() - begin;
    out->cpu_seconds = clock_cpu_seconds() - cpu_begin;
    read_result(&r, out);
    close_run(&r);
}
