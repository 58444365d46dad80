/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Statistics as text: the Prometheus and OpenMetrics forms line by line, JSON with a parser of its
 * own, all of them against zcache_stats(); and the sums that must agree.
 */
#include "mem_store.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a cache with something of everything -------------------------------------------------------- */

struct fixture {
    struct mem_store *store;
    struct zcache *cache;
    struct zcache_tenant *root;
    struct zcache_tenant *a;
    struct zcache_tenant *b; /* below a */
};

#define ODD_NAME "odd.name-with_all"

static void fixture_open(struct fixture *f)
{
    unsigned char same[PAGE];

    f->store = mem_store_new(MEM_STORE_SYNC);
    f->cache = open_stored(32 * MIB, f->store, "latency_sample=1");
    f->root = zcache_root(f->cache);
    f->a = open_tenant(f->root, "a", 4 * MIB);
    f->b = open_tenant(f->a, ODD_NAME, 2 * MIB);
    memset(same, 7, sizeof(same));
    for (uint64_t i = 0; i < 1000; i++) {
        REQUIRE_EQUAL(put_page(f->b, key_of(1, i), 1, (enum fill)(i % 3), 0), 0);
        REQUIRE_EQUAL(get_page(f->b, key_of(1, i / 2), 0), 1);
    }
    for (uint64_t i = 0; i < 100; i++) {
        REQUIRE_EQUAL(put_page(f->a, key_of(1, i), 1, FILL_TEXT, ZCACHE_CLEAN), 0);
        REQUIRE_EQUAL(zcache_put(f->root, key_of(1, i), same, PAGE, 0), 0);
        REQUIRE_EQUAL(get_page(f->a, key_of(2, i), ZCACHE_NO_LOAD), 0);
        REQUIRE(zcache_delete(f->a, key_of(1, 2 * i), 0) >= 0);
    }
    REQUIRE_EQUAL(zcache_truncate(f->root, 1, 50), 0);
    REQUIRE_EQUAL(zcache_flush(f->b, 10000), 0);
    REQUIRE_EQUAL(zcache_shrink(f->a, 200 * KIB, 1000, NULL), 0);
    WAIT_UNTIL(stats_of(f->root).cache.shrinker_sleeping == 1, 10000);
}

static void fixture_close(struct fixture *f)
{
    close_cache(f->cache);
    mem_store_free(f->store);
}

/* ---- output --------------------------------------------------------------------------------------- */

struct text {
    char *bytes;
    size_t len;
    size_t cap;
    unsigned pieces;
};

static int append(void *ctx, const char *data, size_t len)
{
    struct text *text = ctx;

    REQUIRE(data != NULL && len > 0);
    if (text->len + len + 1 > text->cap) {
        text->cap = (text->len + len + 1) * 2;
        text->bytes = realloc(text->bytes, text->cap);
        REQUIRE(text->bytes != NULL);
    }
    memcpy(text->bytes + text->len, data, len);
    text->len += len;
    text->bytes[text->len] = '\0';
    text->pieces++;
    return 0;
}

static struct text write_all(struct zcache *cache, enum zcache_metrics_format format)
{
    struct text text = {0};

    REQUIRE_EQUAL(zcache_metrics_write(cache, format, append, &text), 0);
    REQUIRE(text.len > 0 && strlen(text.bytes) == text.len);
    return text;
}

/* The text, and what the statistics were from before it was begun until after its end. */
struct picture {
    struct text text;
    struct zcache_stats root;
    struct zcache_stats a;
    struct zcache_stats b;
};

/* Whether nothing changed in between that the whole cache's statistics would tell. */
static bool is_same(const struct zcache_stats *x, const struct zcache_stats *y)
{
    return memcmp(&x->count, &y->count, sizeof(x->count)) == 0 &&
           memcmp(&x->gauge, &y->gauge, sizeof(x->gauge)) == 0 &&
           memcmp(&x->cache, &y->cache, sizeof(x->cache)) == 0 &&
           memcmp(x->tier, y->tier, sizeof(x->tier)) == 0;
}

/*
 * The cache is left alone, but its own threads may be at work: a training takes memory, and gives it back.
 * So it is looked at until nothing has moved meanwhile.
 */
static struct picture picture_of(const struct fixture *f, enum zcache_metrics_format format)
{
    const uint64_t deadline = deadline_in(20000);

    for (;;) {
        const struct zcache_stats before = stats_of(f->root);
        struct picture p = {.text = write_all(f->cache, format)};

        p.a = stats_of(f->a);
        p.b = stats_of(f->b);
        p.root = stats_of(f->root);
        if (is_same(&before, &p.root)) {
            return p;
        }
        free(p.text.bytes);
        REQUIRE(pause_before(deadline));
    }
}

/* ---- the two text forms, line by line --------------------------------------------------------------- */

enum {
    SERIES_MAX = 8192,
    LINE_MAX_BYTES = 1024
};

struct series {
    char name[LINE_MAX_BYTES]; /* with labels, as written */
    double value;
};

struct exposition {
    struct series *series;
    unsigned n;
    bool openmetrics;
    /* of the family that is being read */
    char family[256];
    char type[32];
    bool has_help;
    bool ended;
    /* families that were there before */
    char (*families)[256];
    unsigned n_families;
};

static size_t name_length(const char *at)
{
    return strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:");
}

/* {name="value",...} or nothing; where it ends. */
static const char *skip_labels(const char *at)
{
    if (*at != '{') {
        return at;
    }
    at++;
    while (*at != '}') {
        const size_t n = name_length(at);
        assert_true(n > 0);
        at += n;
        assert_true(at[0] == '=' && at[1] == '"');
        for (at += 2; *at != '"'; at++) {
            assert_true(*at != '\0' && *at != '\n');
            at += *at == '\\';
        }
        at++;
        assert_true(*at == ',' || *at == '}');
        at += *at == ',';
    }
    return at + 1;
}

static void begin_family(struct exposition *e, const char *name, size_t len)
{
    if (strlen(e->family) == len && strncmp(e->family, name, len) == 0) {
        return;
    }
    assert_true(len < sizeof(e->family));
    (void)snprintf(e->family, sizeof(e->family), "%.*s", (int)len, name);
    e->type[0] = '\0';
    e->has_help = false;
    for (unsigned i = 0; i < e->n_families; i++) {
        if (strcmp(e->families[i], e->family) == 0) {
            fail_msg("family %s in two places", e->family);
        }
    }
    assert_true(e->n_families < SERIES_MAX);
    memcpy(e->families[e->n_families++], e->family, sizeof(e->family));
}

static void read_comment(struct exposition *e, const char *line)
{
    if (strcmp(line, "# EOF") == 0) {
        assert_true(e->openmetrics);
        e->ended = true;
        return;
    }
    const char *name = strchr(line + 2, ' ');
    assert_non_null(name);
    name++;
    const size_t len = name_length(name);
    assert_true(len > 0 && name[len] == ' ' && name[len + 1] != '\0');
    begin_family(e, name, len);
    if (strncmp(line, "# HELP ", 7) == 0) {
        assert_false(e->has_help);
        e->has_help = true;
    } else if (strncmp(line, "# TYPE ", 7) == 0) {
        assert_int_equal(strlen(e->type), 0);
        (void)snprintf(e->type, sizeof(e->type), "%s", name + len + 1);
        assert_true(strcmp(e->type, "counter") == 0 || strcmp(e->type, "gauge") == 0 ||
                    strcmp(e->type, "summary") == 0 || strcmp(e->type, "histogram") == 0 ||
                    strcmp(e->type, "info") == 0);
    } else {
        assert_true(e->openmetrics && strncmp(line, "# UNIT ", 7) == 0);
        /* The unit is the end of the family's name. */
        const char *unit = name + len + 1;
        assert_true(strlen(unit) < len);
        assert_int_equal(strncmp(name + len - strlen(unit), unit, strlen(unit)), 0);
        assert_int_equal(name[len - strlen(unit) - 1], '_');
    }
}

/* What may follow the family's name in a sample's. */
static bool suffix_fits(const struct exposition *e, const char *suffix, size_t len)
{
    static const struct {
        const char *type;
        const char *suffix;
    } legal[] = {{"gauge", ""},         {"summary", ""},          {"summary", "_count"},
                 {"summary", "_sum"},   {"histogram", "_bucket"}, {"histogram", "_count"},
                 {"histogram", "_sum"}, {"info", "_info"}};

    if (strcmp(e->type, "counter") == 0) {
        /* OpenMetrics names the family without the suffix, Prometheus with it. */
        const char *expected = e->openmetrics ? "_total" : "";
        return strlen(expected) == len && strncmp(suffix, expected, len) == 0;
    }
    for (unsigned i = 0; i < sizeof(legal) / sizeof(legal[0]); i++) {
        if (strcmp(e->type, legal[i].type) == 0 && strlen(legal[i].suffix) == len &&
            strncmp(suffix, legal[i].suffix, len) == 0) {
            return true;
        }
    }
    return false;
}

static void read_sample(struct exposition *e, const char *line)
{
    const size_t len = name_length(line);
    const size_t family = strlen(e->family);
    char *end = NULL;

    if (len < family || strncmp(line, e->family, family) != 0 ||
        !suffix_fits(e, line + family, len - family)) {
        fail_msg("sample outside its family %s (%s): %s", e->family, e->type, line);
    }
    assert_true(e->has_help && e->type[0] != '\0');
    assert_int_equal(strncmp(line, "zcache_", 7), 0);
    if (!e->openmetrics && strcmp(e->type, "counter") == 0) {
        assert_true(len > 6 && strncmp(line + len - 6, "_total", 6) == 0);
    }
    const char *value = skip_labels(line + len);
    assert_int_equal(*value, ' ');
    assert_true(e->n < SERIES_MAX);
    struct series *series = &e->series[e->n++];
    (void)snprintf(series->name, sizeof(series->name), "%.*s", (int)(value - line), line);
    series->value = strtod(value + 1, &end);
    if (end == value + 1 || *end != '\0' || !isfinite(series->value) || series->value < 0) {
        fail_msg("no value: %s", line);
    }
}

static int by_name(const void *a, const void *b)
{
    const struct series *x = a;
    const struct series *y = b;

    return strcmp(x->name, y->name);
}

static void exposition_free(struct exposition *e)
{
    free(e->series);
    free(e->families);
}

static struct exposition parse(const struct text *text, bool openmetrics)
{
    struct exposition e = {.openmetrics = openmetrics};
    char line[LINE_MAX_BYTES];

    e.series = calloc(SERIES_MAX, sizeof(*e.series));
    e.families = calloc(SERIES_MAX, sizeof(*e.families));
    assert_true(e.series != NULL && e.families != NULL);
    assert_int_equal(text->bytes[text->len - 1], '\n');
    for (const char *at = text->bytes; *at != '\0';) {
        const char *end = strchr(at, '\n');
        const size_t len = (size_t)(end - at);
        assert_true(len > 0 && len < sizeof(line));
        assert_false(e.ended);
        memcpy(line, at, len);
        line[len] = '\0';
        if (line[0] == '#') {
            read_comment(&e, line);
        } else {
            read_sample(&e, line);
        }
        at = end + 1;
    }
    assert_int_equal(e.ended, openmetrics);
    assert_true(e.n > 100);
    qsort(e.series, e.n, sizeof(e.series[0]), by_name);
    for (unsigned i = 1; i < e.n; i++) {
        if (strcmp(e.series[i - 1].name, e.series[i].name) == 0) {
            fail_msg("series twice: %s", e.series[i].name);
        }
    }
    return e;
}

/* ---- values ---------------------------------------------------------------------------------------- */

/* The one series of @name whose labels include those of @a and @b (may be ""). */
static double value_of(const struct exposition *e, const char *name, const char *a, const char *b)
{
    const size_t len = strlen(name);
    const struct series *found = NULL;

    for (unsigned i = 0; i < e->n; i++) {
        const struct series *s = &e->series[i];
        if (strncmp(s->name, name, len) == 0 && (s->name[len] == '{' || s->name[len] == '\0') &&
            strstr(s->name, a) != NULL && strstr(s->name, b) != NULL) {
            if (found != NULL) {
                fail_msg("%s with %s %s is not one series", name, a, b);
            }
            found = s;
        }
    }
    if (found == NULL) {
        fail_msg("no series %s with %s %s", name, a, b);
        return -1;
    }
    return found->value;
}

/* @row of the tables as a series: with its unit, and _total where it counts. */
static void series_name(char out[128], const char *prefix, const char *row, const char *kind)
{
    const size_t len = strlen(row);
    const bool is_time = len > 3 && strcmp(row + len - 3, "_ns") == 0;

    (void)snprintf(out, 128, "zcache_%s%.*s%s%s", prefix, (int)(is_time ? len - 3 : len), row,
                   is_time ? "_seconds" : "", strcmp(kind, "counter") == 0 ? "_total" : "");
}

static void compare(const struct exposition *e,
                    const char *prefix,
                    const char *row,
                    const char *kind,
                    const char *a,
                    const char *b,
                    uint64_t expected)
{
    char name[128];

    series_name(name, prefix, row, kind);
    double value = value_of(e, name, a, b);
    if (strstr(name, "_seconds") != NULL) {
        value *= 1e9;
    }
    if (fabs(value - (double)expected) > 0.5) {
        fail_msg("%s with %s %s: %.0f, not %" PRIu64, name, a, b, value, expected);
    }
}

static const char *const tier_labels[ZCACHE_TIERS] = {"tier=\"raw\"", "tier=\"fast\"",
                                                      "tier=\"dense\""};

/* @stats are those of the tenant alone. */
static void compare_tenant(const struct exposition *e,
                           uint64_t id,
                           const struct zcache_stats *stats)
{
    char tenant[40];
    char node[40];

    (void)snprintf(tenant, sizeof(tenant), "tenant_id=\"%" PRIu64 "\"", id);
#define COUNT(name, kind, unit, help) compare(e, "", #name, #kind, tenant, "", stats->count.name);
    ZCACHE_COUNTERS(COUNT)
#undef COUNT
#define GAUGE(name, kind, unit, help) compare(e, "", #name, #kind, tenant, "", stats->gauge.name);
    ZCACHE_GAUGES(GAUGE)
#undef GAUGE
    for (unsigned i = 0; i < ZCACHE_TIERS; i++) {
#define TIER(name, kind, unit, help)                                                               \
    compare(e, "tier_", #name, #kind, tenant, tier_labels[i], stats->tier[i].name);
        ZCACHE_TIER_GAUGES(TIER)
        ZCACHE_TIER_COUNTERS(TIER)
#undef TIER
    }
    for (unsigned i = 0; i < stats->n_nodes; i++) {
        (void)snprintf(node, sizeof(node), "node=\"%u\"", i);
#define NODE(name, kind, unit, help)                                                               \
    compare(e, "node_", #name, #kind, tenant, node, stats->node[i].name);
        ZCACHE_TIER_GAUGES(NODE)
#undef NODE
    }
}

/* @stats of a subtree without what its one child's subtree has. */
static struct zcache_stats without(struct zcache_stats stats, const struct zcache_stats *child)
{
#define COUNT(name, kind, unit, help) stats.count.name -= child->count.name;
    ZCACHE_COUNTERS(COUNT)
#undef COUNT
    for (unsigned i = 0; i < ZCACHE_TIERS; i++) {
#define TIER(name, kind, unit, help) stats.tier[i].name -= child->tier[i].name;
        ZCACHE_TIER_GAUGES(TIER)
        ZCACHE_TIER_COUNTERS(TIER)
#undef TIER
    }
    for (unsigned i = 0; i < stats.n_nodes; i++) {
#define NODE(name, kind, unit, help) stats.node[i].name -= child->node[i].name;
        ZCACHE_TIER_GAUGES(NODE)
#undef NODE
    }
    /* Charge, peak, limit and reserve are those of the account. */
    stats.gauge.pages -= child->gauge.pages;
    stats.gauge.dirty_pages -= child->gauge.dirty_pages;
    stats.gauge.writing_pages -= child->gauge.writing_pages;
    stats.gauge.same_pages -= child->gauge.same_pages;
    stats.gauge.incompressible_pages -= child->gauge.incompressible_pages;
    stats.gauge.probation_pages -= child->gauge.probation_pages;
    stats.gauge.tenants -= child->gauge.tenants;
    return stats;
}

static void text_agrees_with_the_statistics(enum zcache_metrics_format format)
{
    struct fixture f;

    fixture_open(&f);
    struct picture p = picture_of(&f, format);
    struct exposition e = parse(&p.text, format == ZCACHE_METRICS_OPENMETRICS);
    const struct zcache_stats root_alone = without(p.root, &p.a);
    const struct zcache_stats a_alone = without(p.a, &p.b);

    compare_tenant(&e, 0, &root_alone);
    compare_tenant(&e, zcache_tenant_id(f.a), &a_alone);
    compare_tenant(&e, zcache_tenant_id(f.b), &p.b);
    (void)value_of(&e, "zcache_pages", "tenant=\"a/" ODD_NAME "\"", "");
    compare(&e, "cache_", "capacity_bytes", "gauge", "", "", 32 * MIB);
    compare(&e, "cache_", "entry_bytes", "gauge", "", "", p.root.cache.entry_bytes);
    compare(&e, "cache_", "pins", "gauge", "", "", 0);
    compare(&e, "cache_", "shrinker_wakes", "counter", "", "", p.root.cache.shrinker_wakes);
    exposition_free(&e);
    free(p.text.bytes);
    fixture_close(&f);
}

static void prometheus(void **state)
{
    (void)state;
    text_agrees_with_the_statistics(ZCACHE_METRICS_PROMETHEUS);
}

static void openmetrics(void **state)
{
    (void)state;
    text_agrees_with_the_statistics(ZCACHE_METRICS_OPENMETRICS);
}

/* Buckets are cumulative, and their last is the count. */
static void histograms_are_cumulative(void **state)
{
    struct fixture f;
    char prefix[128] = "";
    double last = 0;

    (void)state;
    fixture_open(&f);
    struct text text = write_all(f.cache, ZCACHE_METRICS_PROMETHEUS);
    unsigned buckets = 0;
    for (const char *at = text.bytes;
         (at = strstr(at, "\nzcache_latency_seconds_bucket{")) != NULL;) {
        at++;
        const char *le = strstr(at, "le=\"");
        const char *value = strchr(at, ' ');
        assert_true(le != NULL && value != NULL && le < value);
        const size_t len = (size_t)(le - at);
        assert_true(len < sizeof(prefix));
        if (strncmp(prefix, at, len) != 0 || prefix[len] != '\0') {
            (void)snprintf(prefix, sizeof(prefix), "%.*s", (int)len, at);
            last = 0;
        }
        const double now = strtod(value + 1, NULL);
        assert_true(now >= last);
        last = now;
        buckets++;
    }
    assert_true(buckets > 10);
    free(text.bytes);
    fixture_close(&f);
}

/* ---- JSON ------------------------------------------------------------------------------------------ */

static void json_value(const json_t *object, const char *name, uint64_t expected)
{
    const json_t *value = json_object_get(object, name);

    if (!json_is_integer(value) || (uint64_t)json_integer_value(value) != expected) {
        fail_msg("%s: %lld, not %" PRIu64, name, json_integer_value(value), expected);
    }
}

static void json_tier(const json_t *object, const struct zcache_tier_stats *tier)
{
#define VALUE(name, kind, unit, help) json_value(object, #name, tier->name);
    ZCACHE_TIER_GAUGES(VALUE)
    ZCACHE_TIER_COUNTERS(VALUE)
#undef VALUE
}

static const json_t *json_tenant(const json_t *document, uint64_t id)
{
    const json_t *tenants = json_object_get(document, "tenants");

    for (size_t i = 0; i < json_array_size(tenants); i++) {
        const json_t *tenant = json_array_get(tenants, i);
        if (json_integer_value(json_object_get(tenant, "tenant_id")) == (json_int_t)id) {
            return tenant;
        }
    }
    fail_msg("no tenant %" PRIu64, id);
    return NULL;
}

static void json(void **state)
{
    struct fixture f;
    json_error_t error;

    (void)state;
    fixture_open(&f);
    struct picture p = picture_of(&f, ZCACHE_METRICS_JSON);
    json_t *document = json_loads(p.text.bytes, JSON_REJECT_DUPLICATES, &error);
    if (document == NULL) {
        fail_msg("line %d: %s", error.line, error.text);
    }
    assert_int_equal(json_array_size(json_object_get(document, "tenants")), 3);
    const struct zcache_stats b = p.b;
    const json_t *tenant = json_tenant(document, zcache_tenant_id(f.b));
    assert_string_equal(json_string_value(json_object_get(tenant, "tenant")), "a/" ODD_NAME);
    const json_t *part = json_object_get(tenant, "count");
#define VALUE(name, kind, unit, help) json_value(part, #name, b.count.name);
    ZCACHE_COUNTERS(VALUE)
#undef VALUE
    part = json_object_get(tenant, "gauge");
#define VALUE(name, kind, unit, help) json_value(part, #name, b.gauge.name);
    ZCACHE_GAUGES(VALUE)
#undef VALUE
    part = json_object_get(tenant, "tiers");
    json_tier(json_object_get(part, "raw"), &b.tier[ZCACHE_TIER_RAW]);
    json_tier(json_object_get(part, "fast"), &b.tier[ZCACHE_TIER_FAST]);
    json_tier(json_object_get(part, "dense"), &b.tier[ZCACHE_TIER_DENSE]);
    part = json_object_get(tenant, "nodes");
    assert_int_equal(json_array_size(part), b.n_nodes);
    json_value(json_array_get(part, 0), "pages", b.node[0].pages);
    part = json_object_get(json_object_get(tenant, "latency"), "put");
    json_value(part, "count", b.latency[ZCACHE_LATENCY_PUT].count);
    json_value(part, "p99_ns", b.latency[ZCACHE_LATENCY_PUT].p99_ns);
    part = json_object_get(document, "cache");
    json_value(part, "capacity_bytes", 32 * MIB);
    json_value(part, "pins", 0);
    json_decref(document);
    free(p.text.bytes);
    fixture_close(&f);
}

/* ---- the callback ------------------------------------------------------------------------------------ */

static int refuse_third(void *ctx, const char *data, size_t len)
{
    unsigned *calls = ctx;

    (void)data, (void)len;
    REQUIRE(*calls < 3);
    return ++*calls == 3 ? -ENOSPC : 0;
}

static void an_error_ends_the_output(void **state)
{
    struct fixture f;
    unsigned calls = 0;

    (void)state;
    fixture_open(&f);
    assert_int_equal(zcache_metrics_write(f.cache, ZCACHE_METRICS_PROMETHEUS, refuse_third, &calls),
                     -ENOSPC);
    assert_int_equal(calls, 3);
    fixture_close(&f);
}

struct closing {
    struct fixture *f;
    struct text text;
};

/* In the midst of the output, tenants come and go. */
static int close_tenants(void *ctx, const char *data, size_t len)
{
    struct closing *me = ctx;

    if (me->text.pieces == 0) {
        REQUIRE_EQUAL(zcache_tenant_close(me->f->b, ZCACHE_CLOSE_REPARENT), 0);
        REQUIRE_EQUAL(put_page(me->f->a, key_of(9, 9), 1, FILL_TEXT, 0), 0);
        open_tenant(me->f->root, "new", ZCACHE_UNLIMITED);
    }
    return append(&me->text, data, len);
}

static void the_callback_may_call_the_cache(void **state)
{
    (void)state;
    for (unsigned format = 0; format < 3; format++) {
        struct fixture f;
        struct closing closing = {.f = &f};
        fixture_open(&f);
        assert_int_equal(zcache_metrics_write(f.cache, (enum zcache_metrics_format)format,
                                              close_tenants, &closing),
                         0);
        if (format == ZCACHE_METRICS_JSON) {
            json_t *document = json_loads(closing.text.bytes, JSON_REJECT_DUPLICATES, NULL);
            assert_non_null(document);
            json_decref(document);
        } else {
            struct exposition e = parse(&closing.text, format == ZCACHE_METRICS_OPENMETRICS);
            exposition_free(&e);
        }
        free(closing.text.bytes);
        fixture_close(&f);
    }
}

/* ---- the statistics themselves ------------------------------------------------------------------------ */

static void latencies_are_sampled_as_told(void **state)
{
    static const struct {
        const char *options;
        uint64_t expected;
    } cases[] = {{"latency_sample=1", 640}, {"latency_sample=64", 10}, {"latency_sample=0", 0}};

    (void)state;
    for (unsigned c = 0; c < 3; c++) {
        struct zcache *cache = open_cache(64 * MIB, NULL, cases[c].options);
        struct zcache_tenant *root = zcache_root(cache);
        for (uint64_t i = 0; i < 640; i++) {
            assert_int_equal(put_page(root, key_of(1, i), 1, FILL_TEXT, 0), 0);
        }
        for (uint64_t i = 0; i < 640; i++) {
            assert_int_equal(get_page(root, key_of(1, i), 0), 1);
        }
        const struct zcache_stats stats = stats_of(root);
        const struct zcache_latency *put = &stats.latency[ZCACHE_LATENCY_PUT];
        const struct zcache_latency *get = &stats.latency[ZCACHE_LATENCY_GET_RAW];
        assert_in_range(put->count, cases[c].expected / 2, cases[c].expected * 2);
        assert_in_range(get->count, cases[c].expected / 2, cases[c].expected * 2);
        if (put->count > 0) {
            assert_true(put->sum_ns > 0 && put->p50_ns > 0);
            assert_true(put->p50_ns <= put->p99_ns && put->p99_ns <= put->p999_ns);
            assert_true(put->max_ns <= put->sum_ns);
            assert_true(put->p999_ns <= put->max_ns * 9 / 8 + 16);
        }
        close_cache(cache);
    }
}

/* Every call of a page ends in one outcome: random calls, counted here and there. */
static void outcomes_add_up(void **state)
{
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(16 * MIB, store, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    struct zcache_tenant *some[3] = {root, open_tenant(root, "a", 2 * MIB),
                                     open_tenant(root, "zero", 0)};
    static const unsigned put_flags[] = {0, ZCACHE_CLEAN, ZCACHE_IF_ABSENT, ZCACHE_BEST_EFFORT,
                                         ZCACHE_NOIO | ZCACHE_SCAN};
    static const unsigned get_flags[] = {0, ZCACHE_PEEK, ZCACHE_TAKE, ZCACHE_NO_LOAD};
    struct rng rng = {99};
    uint64_t puts = 0;
    uint64_t gets = 0;
    uint64_t pins = 0;
    uint64_t deletes = 0;
    unsigned char room[PAGE];

    (void)state;
    for (unsigned i = 0; i < 30000 / TEST_SLOWDOWN; i++) {
        struct zcache_tenant *tenant = some[rng_below(&rng, 3)];
        const struct zcache_key key = key_of(1, rng_below(&rng, 2000));
        const uint64_t draw = rng_below(&rng, 10);
        struct zcache_pin pin = {0};
        if (draw < 5) {
            (void)!put_page(tenant, key, i + 1, (enum fill)rng_below(&rng, 3),
                            put_flags[rng_below(&rng, 5)]);
            puts++;
        } else if (draw < 8) {
            (void)!zcache_get(tenant, key, room, rng_below(&rng, 20) == 0 ? 10 : PAGE, NULL,
                              get_flags[rng_below(&rng, 4)]);
            gets++;
        } else if (draw < 9) {
            (void)!zcache_pin(tenant, key, 0, &pin);
            zcache_unpin(&pin);
            pins++;
        } else {
            (void)!zcache_delete(tenant, key, 0);
            deletes++;
        }
    }
    const struct zcache_stats stats = stats_of(root);
    assert_int_equal(puts_of(&stats), puts);
    assert_int_equal(gets_of(&stats), gets);
    assert_int_equal(pins_of(&stats), pins);
    assert_int_equal(deletes_of(&stats), deletes);
    assert_int_equal(stats.count.takes_unwritten <= stats.count.takes, 1);
    assert_true(stats.count.sync_forced <= stats.count.sync_shrinks);
    assert_int_equal(stats.count.written_pages, atomic_load(&store->pages[ZCACHE_IO_WRITE]));
    assert_int_equal(stats.count.corrupt, 0);
    check_identities(&stats);

    /* What is there is on some account: payloads, records and the rest. */
    uint64_t allocated = 0;
    for (unsigned i = 0; i < ZCACHE_TIERS; i++) {
        allocated += stats.tier[i].allocated_bytes;
    }
    assert_true(stats.gauge.charge_bytes >= allocated + stats.cache.entry_bytes +
                                                stats.cache.index_bytes + stats.cache.tenant_bytes +
                                                stats.cache.thread_bytes);
    verify_cache(cache);
    close_cache(cache);
    mem_store_free(store);
}

/* The whole is the sum of what is below it, and of itself. */
static void a_subtree_is_the_sum_of_its_parts(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f);
    const struct zcache_stats root = stats_of(f.root);
    const struct zcache_stats a = stats_of(f.a);
    const struct zcache_stats b = stats_of(f.b);
    check_identities(&root);
    check_identities(&a);
    check_identities(&b);
    assert_int_equal(root.gauge.pages, a.gauge.pages + 50);
    assert_int_equal(root.gauge.tenants, 3);
    assert_int_equal(a.gauge.tenants, 2);
    assert_true(a.gauge.charge_bytes >= b.gauge.charge_bytes);
    assert_true(root.gauge.charge_bytes >= a.gauge.charge_bytes);
    assert_true(a.count.put_inserts >= b.count.put_inserts + 100);
    fixture_close(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prometheus),
        cmocka_unit_test(openmetrics),
        cmocka_unit_test(histograms_are_cumulative),
        cmocka_unit_test(json),
        cmocka_unit_test(an_error_ends_the_output),
        cmocka_unit_test(the_callback_may_call_the_cache),
        cmocka_unit_test(latencies_are_sampled_as_told),
        cmocka_unit_test(outcomes_add_up),
        cmocka_unit_test(a_subtree_is_the_sum_of_its_parts),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
