/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * metrics.c - the statistics as text.
 *
 * The tables of zcache/stats.h become sections: rows of one member of struct zcache_stats, which is
 * there once, or once per tier or node.
 *
 *     section    name in text      place in struct zcache_stats    samples
 *     count      zcache_<row>      count                           per tenant
 *     gauge      zcache_<row>      gauge                           per tenant
 *     tiers      zcache_tier_..    tier[]                          per tenant and tier
 *     nodes      zcache_node_..    node[]                          per tenant and node
 *     cache      zcache_cache_..   cache                           one
 *
 * Prometheus and OpenMetrics want all samples of a family together: those forms walk the tenants
 * once per row.  JSON is one object per tenant: one walk.  Values are each tenant's own, not its
 * subtree's, so that a sum over tenants is right; charge, peak, limit and reserve are those of the
 * account.
 *
 * Whatever needs a tenant is copied to struct sample first, and the tenant left: the callback,
 * which any piece of output may call, may close it.  Numbers are written from integers: printf's
 * floating point depends on the locale.
 *
 * Locks: none held while anything is written.
 */
#include "metrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "mathx.h"
#include "report.h"
#include "tenant.h"

#define PATH_MAX_BYTES ((ZCACHE_TENANT_NAME_MAX + (size_t)1) * ZCACHE_TENANT_DEPTH_MAX)
#define FAMILY_MAX     64u
#define NS_PER_S       UINT64_C(1000000000)

/* Limits of histogram buckets: 2^n - 1 ns for every second n, where the cells of struct zc_hist
 * end. */
#define LE_FIRST 8u  /* 255 ns */
#define LE_LAST  34u /* 17 s: the last power of two whose cells are complete */
#define LE_STEP  2u

/* ---- tables -----------------------------------------------------------------------------------
 * */

struct row {
    const char *name;
    const char *kind;
    const char *unit;
    const char *help;
};

#define ROW(name, kind, unit, help) {#name, #kind, #unit, help},

static const struct row count_rows[] = {ZCACHE_COUNTERS(ROW)};
static const struct row gauge_rows[] = {ZCACHE_GAUGES(ROW)};
static const struct row tier_rows[] = {ZCACHE_TIER_GAUGES(ROW) ZCACHE_TIER_COUNTERS(ROW)};
static const struct row node_rows[] = {ZCACHE_TIER_GAUGES(ROW)};
static const struct row cache_rows[] = {ZCACHE_CACHE_GAUGES(ROW)};

struct section {
    const char *name;   /* in JSON */
    const char *prefix; /* in text */
    const char *label;  /* what tells the samples of a tenant apart; NULL if there is one */
    const struct row *rows;
    unsigned n_rows;
    size_t offset; /* in struct zcache_stats, of the first */
    size_t stride; /* to the next */
};

#define SECTION(name, prefix, label, rows, member, type)                                           \
    {                                                                                              \
        name, prefix, label, rows, ZC_ARRAY_SIZE(rows), offsetof(struct zcache_stats, member),     \
            sizeof(type)                                                                           \
    }

static const struct section count_section =
    SECTION("count", "", NULL, count_rows, count, ((struct zcache_stats *)NULL)->count);
static const struct section gauge_section =
    SECTION("gauge", "", NULL, gauge_rows, gauge, ((struct zcache_stats *)NULL)->gauge);
static const struct section tier_section =
    SECTION("tiers", "tier_", "tier", tier_rows, tier, struct zcache_tier_stats);
static const struct section node_section =
    SECTION("nodes", "node_", "node", node_rows, node, struct zcache_node_stats);
static const struct section cache_section =
    SECTION("cache", "cache_", NULL, cache_rows, cache, ((struct zcache_stats *)NULL)->cache);

/* Every member is a uint64_t, in the order of the rows. */
_Static_assert(sizeof(((struct zcache_stats *)NULL)->count) ==
                       ZC_ARRAY_SIZE(count_rows) * sizeof(uint64_t) &&
                   sizeof(((struct zcache_stats *)NULL)->gauge) ==
                       ZC_ARRAY_SIZE(gauge_rows) * sizeof(uint64_t) &&
                   sizeof(((struct zcache_stats *)NULL)->cache) ==
                       ZC_ARRAY_SIZE(cache_rows) * sizeof(uint64_t) &&
                   sizeof(struct zcache_tier_stats) ==
                       ZC_ARRAY_SIZE(tier_rows) * sizeof(uint64_t) &&
                   sizeof(struct zcache_node_stats) == ZC_ARRAY_SIZE(node_rows) * sizeof(uint64_t),
               "rows and members");

static const char *const tier_names[ZCACHE_TIERS] = {"raw", "fast", "dense"};

static const char *const latency_names[ZCACHE_LATENCIES] = {
    [ZCACHE_LATENCY_GET_RAW] = "get_raw",     [ZCACHE_LATENCY_GET_FAST] = "get_fast",
    [ZCACHE_LATENCY_GET_DENSE] = "get_dense", [ZCACHE_LATENCY_PUT] = "put",
    [ZCACHE_LATENCY_STALL] = "stall",         [ZCACHE_LATENCY_WRITE] = "write",
};

static bool is_counter(const struct row *row)
{
    return strcmp(row->kind, "counter") == 0;
}

static bool is_time(const struct row *row)
{
    return strcmp(row->unit, "nanoseconds") == 0;
}

/* The base unit that ends a family's name; NULL for plain numbers of things. */
static const char *base_unit(const struct row *row)
{
    return is_time(row) ? "seconds" : strcmp(row->unit, "bytes") == 0 ? "bytes" : NULL;
}

/* zcache_<prefix><row> with the row's unit made a base unit: stall_ns becomes stall_seconds. */
static void family_name(const struct section *s, const struct row *row, char out[FAMILY_MAX])
{
    size_t len = strlen(row->name);

    if (is_time(row)) {
        len -= strlen("_ns");
    }
    (void)snprintf(out, FAMILY_MAX, "zcache_%s%.*s%s", s->prefix, (int)len, row->name,
                   is_time(row) ? "_seconds" : "");
}

/* ---- output -----------------------------------------------------------------------------------
 * */

struct out {
    zcache_write_fn *write;
    void *ctx;
    bool openmetrics;
    int rc; /* the callback's error; nothing is written after it */
    size_t len;
    char buf[4096];
};

static void flush(struct out *o)
{
    int rc;

    if (o->rc == 0 && o->len > 0) {
        zc_lock_assert_none();
        rc = o->write(o->ctx, o->buf, o->len);
        o->rc = ZC_MIN(rc, 0);
    }
    o->len = 0;
}

/* One formatted piece, shorter than the buffer. */
static void put(struct out *o, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct out *o, const char *format, ...)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        size_t room = sizeof(o->buf) - o->len;
        va_list args;
        int n;

        va_start(args, format);
        n = vsnprintf(o->buf + o->len, room, format, args);
        va_end(args);
        if (n >= 0 && (size_t)n < room) {
            o->len += (size_t)n;
            return;
        }
        flush(o);
    }
}

static void put_char(struct out *o, char c)
{
    if (o->len == sizeof(o->buf)) {
        flush(o);
    }
    o->buf[o->len++] = c;
}

/* A string in quotes, escaped as label values and JSON strings both are. */
static void put_string(struct out *o, const char *text)
{
    put_char(o, '"');
    for (; *text != '\0'; text++) {
        char c = *text;

        if (c == '\n' || c == '"' || c == '\\') {
            put_char(o, '\\');
        }
        if (c == '\n') {
            c = 'n';
        }
        put_char(o, c);
    }
    put_char(o, '"');
}

static void put_seconds(struct out *o, uint64_t ns)
{
    put(o, "%" PRIu64 ".%09" PRIu64, ns / NS_PER_S, ns % NS_PER_S);
}

/* ---- samples ----------------------------------------------------------------------------------
 * */

/* What was read of one tenant. */
struct sample {
    uint64_t id;
    char path[PATH_MAX_BYTES];
    struct zcache_stats stats;
    struct zc_hist hist;
};

/* "/" for the root, "a/b" for the tenant b of the tenant a. */
static void copy_path(const struct zcache_tenant *t, char path[PATH_MAX_BYTES])
{
    char *at = path + PATH_MAX_BYTES - 1;

    *at = '\0';
    for (; t->parent != NULL; t = t->parent) {
        size_t len = strlen(t->name);

        if (*at != '\0') {
            *--at = '/';
        }
        at -= len;
        (void)memcpy(at, t->name, len);
    }
    if (*at == '\0') {
        *--at = '/';
    }
    (void)memmove(path, at, strlen(at) + 1);
}

static void copy_name(const struct zcache_tenant *t, struct sample *sample)
{
    sample->id = t->id;
    copy_path(t, sample->path);
}

static uint64_t value_of(const struct sample *sample,
                         const struct section *s,
                         unsigned i,
                         unsigned row)
{
    uint64_t value;

    (void)memcpy(&value,
                 (const char *)&sample->stats + s->offset + i * s->stride + row * sizeof(value),
                 sizeof(value));
    return value;
}

/* How many of a section a tenant has. */
static unsigned instances(const struct sample *sample, const struct section *s)
{
    if (s->label == NULL) {
        return 1;
    }
    return s == &tier_section ? ZCACHE_TIERS : (unsigned)sample->stats.n_nodes;
}

/* One row of the next tenant.  A counter is read alone: there are many, and tenants. */
static bool next_row(struct zcache *cache,
                     uint32_t *cursor,
                     const struct section *s,
                     unsigned row,
                     struct sample *sample)
{
    struct zcache_tenant *t = zc_tenant_next(cache->root, cursor);
    uint64_t count;

    if (t == NULL) {
        return false;
    }
    copy_name(t, sample);
    if (s == &count_section) {
        count = zc_stat_read(t->stat, (enum zc_counter)row);
        (void)memcpy((char *)&sample->stats.count + row * sizeof(count), &count, sizeof(count));
    } else {
        zc_report_tenant(t, &sample->stats);
    }
    zc_tenant_leave(t);
    return true;
}

static bool next_hist(struct zcache *cache,
                      uint32_t *cursor,
                      enum zcache_latency_kind kind,
                      struct sample *sample)
{
    struct zcache_tenant *t = zc_tenant_next(cache->root, cursor);

    if (t == NULL) {
        return false;
    }
    copy_name(t, sample);
    (void)memset(&sample->hist, 0, sizeof(sample->hist));
    zc_report_hist(t, kind, &sample->hist);
    zc_tenant_leave(t);
    return true;
}

static bool next_all(struct zcache *cache, uint32_t *cursor, struct sample *sample)
{
    struct zcache_tenant *t = zc_tenant_next(cache->root, cursor);

    if (t == NULL) {
        return false;
    }
    copy_name(t, sample);
    zc_report_tenant(t, &sample->stats);
    zc_tenant_leave(t);
    return true;
}

/* ---- Prometheus and OpenMetrics ---------------------------------------------------------------
 * */

/* Prometheus names a counter's family with _total, OpenMetrics its samples only. */
static void put_family(struct out *o,
                       const char *family,
                       const char *type,
                       const char *unit,
                       const char *help)
{
    const char *total = !o->openmetrics && strcmp(type, "counter") == 0 ? "_total" : "";

    put(o, "# HELP %s%s %s\n", family, total, help);
    put(o, "# TYPE %s%s %s\n", family, total, type);
    if (o->openmetrics && unit != NULL) {
        put(o, "# UNIT %s %s\n", family, unit);
    }
}

/* The tenant's labels, without the brace that ends them. */
static void put_labels(struct out *o, const struct sample *sample)
{
    put(o, "{tenant=");
    put_string(o, sample->path);
    put(o, ",tenant_id=\"%" PRIu64 "\"", sample->id);
}

static void put_sample(struct out *o,
                       const struct section *s,
                       unsigned row,
                       unsigned i,
                       const struct sample *sample)
{
    const struct row *r = &s->rows[row];
    uint64_t value = value_of(sample, s, i, row);
    char family[FAMILY_MAX];

    family_name(s, r, family);
    put(o, "%s%s", family, is_counter(r) ? "_total" : "");
    if (s != &cache_section) {
        put_labels(o, sample);
        if (s == &tier_section) {
            put(o, ",%s=\"%s\"", s->label, tier_names[i]);
        } else if (s->label != NULL) {
            put(o, ",%s=\"%u\"", s->label, i);
        }
        put(o, "}");
    }
    put(o, " ");
    if (is_time(r)) {
        put_seconds(o, value);
    } else {
        put(o, "%" PRIu64, value);
    }
    put(o, "\n");
}

static void put_row_family(struct out *o, const struct section *s, const struct row *row)
{
    char family[FAMILY_MAX];

    family_name(s, row, family);
    put_family(o, family, row->kind, base_unit(row), row->help);
}

static void text_row(struct zcache *cache,
                     struct out *o,
                     const struct section *s,
                     unsigned row,
                     struct sample *sample)
{
    uint32_t cursor = UINT32_MAX;

    put_row_family(o, s, &s->rows[row]);
    while (o->rc == 0 && next_row(cache, &cursor, s, row, sample)) {
        for (unsigned i = 0; i < instances(sample, s); i++) {
            put_sample(o, s, row, i, sample);
        }
    }
}

static void text_section(struct zcache *cache,
                         struct out *o,
                         const struct section *s,
                         struct sample *sample)
{
    for (unsigned row = 0; row < s->n_rows && o->rc == 0; row++) {
        text_row(cache, o, s, row, sample);
    }
}

/* Read once, with all tenants: some of these are sums over them. */
static void text_cache(struct zcache *cache, struct out *o, struct sample *sample)
{
    zc_report_subtree(cache->root, &sample->stats);
    for (unsigned row = 0; row < cache_section.n_rows; row++) {
        put_row_family(o, &cache_section, &cache_section.rows[row]);
        put_sample(o, &cache_section, row, 0, sample);
    }
}

static void put_hist_line(struct out *o,
                          const char *suffix,
                          enum zcache_latency_kind kind,
                          const struct sample *sample)
{
    put(o, "zcache_latency_seconds_%s", suffix);
    put_labels(o, sample);
    put(o, ",op=\"%s\"", latency_names[kind]);
}

static void put_hist(struct out *o, enum zcache_latency_kind kind, const struct sample *sample)
{
    uint64_t below = 0;
    unsigned cell = 0;

    for (unsigned n = LE_FIRST; n <= LE_LAST; n += LE_STEP) {
        uint64_t bound = (UINT64_C(1) << n) - 1;

        while (zc_hist_bound(cell) <= bound) {
            below += atomic_load(&sample->hist.bucket[cell++]);
        }
        put_hist_line(o, "bucket", kind, sample);
        put(o, ",le=\"");
        put_seconds(o, bound);
        put(o, "\"} %" PRIu64 "\n", below);
    }
    while (cell < ZC_HIST_BUCKETS) {
        below += atomic_load(&sample->hist.bucket[cell++]);
    }
    put_hist_line(o, "bucket", kind, sample);
    put(o, ",le=\"+Inf\"} %" PRIu64 "\n", below);
    put_hist_line(o, "count", kind, sample);
    put(o, "} %" PRIu64 "\n", below);
    put_hist_line(o, "sum", kind, sample);
    put(o, "} ");
    put_seconds(o, atomic_load(&sample->hist.sum_ns));
    put(o, "\n");
}

static bool is_empty(const struct zc_hist *hist)
{
    struct zcache_latency summary;

    zc_hist_summary(hist, &summary);
    return summary.count == 0;
}

/* A histogram is many lines: a tenant has none before its first sample. */
static void text_latency(struct zcache *cache, struct out *o, struct sample *sample)
{
    put_family(o, "zcache_latency_seconds", "histogram", "seconds",
               "time of gets by tier, puts, stalls and write batches, of those that were timed");
    for (int k = 0; k < ZCACHE_LATENCIES; k++) {
        enum zcache_latency_kind kind = (enum zcache_latency_kind)k;
        uint32_t cursor = UINT32_MAX;

        while (o->rc == 0 && next_hist(cache, &cursor, kind, sample)) {
            if (!is_empty(&sample->hist)) {
                put_hist(o, kind, sample);
            }
        }
    }
}

static void write_text(struct zcache *cache, struct out *o, struct sample *sample)
{
    text_cache(cache, o, sample);
    text_section(cache, o, &gauge_section, sample);
    text_section(cache, o, &tier_section, sample);
    text_section(cache, o, &node_section, sample);
    text_section(cache, o, &count_section, sample);
    text_latency(cache, o, sample);
    if (o->openmetrics) {
        put(o, "# EOF\n");
    }
}

/* ---- JSON -------------------------------------------------------------------------------------
 * */

static const char *comma(unsigned i)
{
    return i == 0 ? "" : ",";
}

/* A limit that is not set is null: parsers differ about integers beyond 63 bits. */
static void json_value(struct out *o, uint64_t value)
{
    if (value == ZCACHE_UNLIMITED) {
        put(o, "null");
    } else {
        put(o, "%" PRIu64, value);
    }
}

static void json_rows(struct out *o,
                      const struct section *s,
                      unsigned i,
                      const struct sample *sample)
{
    put(o, "{");
    for (unsigned row = 0; row < s->n_rows; row++) {
        put(o, "%s\"%s\":", comma(row), s->rows[row].name);
        json_value(o, value_of(sample, s, i, row));
    }
    put(o, "}");
}

static void json_member(struct out *o, const struct section *s, const struct sample *sample)
{
    put(o, ",\"%s\":", s->name);
    json_rows(o, s, 0, sample);
}

static void json_tiers(struct out *o, const struct sample *sample)
{
    put(o, ",\"tiers\":{");
    for (unsigned i = 0; i < ZCACHE_TIERS; i++) {
        put(o, "%s\"%s\":", comma(i), tier_names[i]);
        json_rows(o, &tier_section, i, sample);
    }
    put(o, "}");
}

static void json_nodes(struct out *o, const struct sample *sample)
{
    put(o, ",\"nodes\":[");
    for (unsigned i = 0; i < sample->stats.n_nodes; i++) {
        put(o, "%s", comma(i));
        json_rows(o, &node_section, i, sample);
    }
    put(o, "]");
}

static void json_latency(struct out *o, const struct sample *sample)
{
    put(o, ",\"latency\":{");
    for (unsigned i = 0; i < ZCACHE_LATENCIES; i++) {
        const struct zcache_latency *l = &sample->stats.latency[i];

        put(o,
            "%s\"%s\":{\"count\":%" PRIu64 ",\"sum_ns\":%" PRIu64 ",\"p50_ns\":%" PRIu64
            ",\"p99_ns\":%" PRIu64 ",\"p999_ns\":%" PRIu64 ",\"max_ns\":%" PRIu64 "}",
            comma(i), latency_names[i], l->count, l->sum_ns, l->p50_ns, l->p99_ns, l->p999_ns,
            l->max_ns);
    }
    put(o, "}");
}

static void json_tenant(struct out *o, const struct sample *sample)
{
    put(o, "{\"tenant\":");
    put_string(o, sample->path);
    put(o, ",\"tenant_id\":%" PRIu64, sample->id);
    json_member(o, &gauge_section, sample);
    json_tiers(o, sample);
    json_nodes(o, sample);
    json_member(o, &count_section, sample);
    json_latency(o, sample);
    put(o, "}");
}

static void write_json(struct zcache *cache, struct out *o, struct sample *sample)
{
    uint32_t cursor = UINT32_MAX;
    unsigned n = 0;

    zc_report_subtree(cache->root, &sample->stats);
    put(o, "{\"cache\":");
    json_rows(o, &cache_section, 0, sample);
    put(o, ",\"tenants\":[");
    while (o->rc == 0 && next_all(cache, &cursor, sample)) {
        put(o, "%s\n", comma(n++));
        json_tenant(o, sample);
    }
    put(o, "]}\n");
}

/* -----------------------------------------------------------------------------------------------
 * */

int zc_metrics_write(struct zcache *cache,
                     enum zcache_metrics_format format,
                     zcache_write_fn *write,
                     void *ctx)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_THREAD);
    struct sample *sample = mem->alloc(mem->ctx, sizeof(*sample));
    struct out o;

    if (sample == NULL) {
        return -ENOMEM;
    }
    sample->stats.struct_size = sizeof(sample->stats);
    o.write = write;
    o.ctx = ctx;
    o.openmetrics = format == ZCACHE_METRICS_OPENMETRICS;
    o.rc = 0;
    o.len = 0;
    if (format == ZCACHE_METRICS_JSON) {
        write_json(cache, &o, sample);
    } else {
        write_text(cache, &o, sample);
    }
    flush(&o);
    mem->free(mem->ctx, sample, sizeof(*sample));
    return o.rc;
}
