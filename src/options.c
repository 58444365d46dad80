/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * options.c - one table of options: what the text form calls them, where they are kept, what is
 * legal.
 *
 *     row      name, kind, place in struct zcache_options, smallest, largest, the rule in words
 *     parse    text -> value by kind -> the row's own rule -> stored
 *     check    the row's own rule for every row, then what options demand of each other
 *
 * The parser asks for the row's own rule only: "low_percent=50,start_percent=40" must not depend on
 * the order of its items.  What options demand of each other is checked when a cache is opened.
 *
 * Locks: none.
 */
#include "options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <zcache/store.h>

#include "mathx.h"

#define CAPACITY_PAGES  16u /* of page_max_bytes that must fit */
#define CODEC_NAME_LEN  15u
#define LEVEL_DIGITS    9u
#define GROUP_SHIFT_MAX 16u
#define STRUCT_SIZE_MAX 65536u /* no structure of this library gets that long: a stray value */

#define STORE_FLAGS     (unsigned)(ZCACHE_STORE_SERIAL | ZCACHE_STORE_SHARED_KEYS)

/* Sizes in the first release: up to the member that was its last. */
#define SIZE_THROUGH(type, member) (offsetof(type, member) + sizeof(((type *)NULL)->member))
#define OPTIONS_FIRST              SIZE_THROUGH(struct zcache_options, log_ctx)
#define STORE_FIRST                SIZE_THROUGH(struct zcache_store, detach)

enum kind {
    SIZE,
    NUMBER,
    AUTO_NUMBER, /* or ZCACHE_AUTO */
    POWER,
    FULL,
    PRESSURE,
    POLICY,
    HUGE_PAGES,
    CODEC
};

struct option {
    const char *name;
    enum kind kind;
    size_t offset;
    size_t bytes; /* of the member */
    uint64_t min;
    uint64_t max;
    const char *rule; /* "it must be ..." */
};

#define ROW(name, kind, member, min, max, rule)                                                    \
    {                                                                                              \
        name, kind, offsetof(struct zcache_options, member),                                       \
            sizeof(((struct zcache_options *)NULL)->member), min, max, rule                        \
    }

#define PERCENT    "a whole number from 0 to 100"
#define CODEC_RULE "\"name\" or \"name:level\", the name 1 to 15 of a-z, 0-9, _ and -"

static const struct option options[] = {
    ROW("capacity",
        SIZE,
        capacity_bytes,
        ZCACHE_CAPACITY_MIN,
        UINT64_MAX,
        "a size of at least 1M and of 16 times page_max"),
    ROW("page_max", SIZE, page_max_bytes, 1, ZCACHE_PAGE_MAX_LIMIT, "a size from 1 to 1M"),
    ROW("raw_percent", AUTO_NUMBER, raw_percent, 0, 100, "auto or " PERCENT),
    ROW("fast_percent", AUTO_NUMBER, fast_percent, 0, 100, "auto or " PERCENT),
    ROW("fast", CODEC, fast_codec, 0, 0, CODEC_RULE),
    ROW("dense", CODEC, dense_codec, 0, 0, CODEC_RULE),
    ROW("start_percent",
        NUMBER,
        start_percent,
        0,
        100,
        "a whole number from 0 to low_percent, or 100 for never"),
    ROW("background_percent",
        NUMBER,
        background_percent,
        1,
        100,
        "a whole number from 1 to 100, above low_percent"),
    ROW("low_percent",
        NUMBER,
        low_percent,
        0,
        99,
        "a whole number from 0 to 99, below background_percent"),
    ROW("full", FULL, full_policy, ZCACHE_FULL_WAIT, ZCACHE_FULL_REJECT, "wait, help or reject"),
    ROW("max_stall_ms", NUMBER, max_stall_ms, 1, 3600000, "a whole number from 1 to 3600000"),
    ROW("inflight_pages", NUMBER, inflight_pages, 1, 65536, "a whole number from 1 to 65536"),
    ROW("batch_pages", NUMBER, batch_pages, 1, 1024, "a whole number from 1 to 1024"),
    ROW("latency_sample",
        POWER,
        latency_sample,
        0,
        UINT32_MAX,
        "0 or a power of two up to 2147483648"),
    ROW("feed_percent", NUMBER, feed_percent, 0, 100, PERCENT),
    ROW("pressure",
        PRESSURE,
        pressure,
        ZCACHE_PRESSURE_OFF,
        ZCACHE_PRESSURE_BOTH,
        "off, cgroup, psi or both"),
    ROW("pressure_floor_percent",
        NUMBER,
        pressure_floor_percent,
        1,
        100,
        "a whole number from 1 to 100"),
    ROW("pressure_high_percent",
        NUMBER,
        pressure_high_percent,
        2,
        100,
        "a whole number from 2 to 100, above pressure_low_percent"),
    ROW("pressure_low_percent",
        NUMBER,
        pressure_low_percent,
        1,
        99,
        "a whole number from 1 to 99, below pressure_high_percent"),
    ROW("pressure_stall_percent",
        NUMBER,
        pressure_stall_percent,
        1,
        100,
        "a whole number from 1 to 100"),
    ROW("pressure_quiet_ms",
        NUMBER,
        pressure_quiet_ms,
        100,
        3600000,
        "a whole number from 100 to 3600000"),
    ROW("dictionary", SIZE, dictionary_bytes, 0, 1u << 20, "a size from 0 to 1M"),
    ROW("keep", SIZE, keep_bytes, 0, UINT64_MAX, "a size"),
    ROW("compact_percent", NUMBER, compact_percent, 0, 100, PERCENT),
    ROW("policy", POLICY, policy, ZCACHE_POLICY_S3FIFO, ZCACHE_POLICY_LRU, "s3fifo or lru"),
    ROW("miss_cost_us",
        AUTO_NUMBER,
        miss_cost_us,
        0,
        3600000000,
        "auto or a whole number from 0 to 3600000000"),
    ROW("huge_pages",
        HUGE_PAGES,
        huge_pages,
        ZCACHE_HUGE_PAGES_AUTO,
        ZCACHE_HUGE_PAGES_OFF,
        "auto or off"),
};

static const char *const full_names[] = {
    [ZCACHE_FULL_WAIT] = "wait",
    [ZCACHE_FULL_HELP] = "help",
    [ZCACHE_FULL_REJECT] = "reject",
};

static const char *const pressure_names[] = {
    [ZCACHE_PRESSURE_OFF] = "off",
    [ZCACHE_PRESSURE_CGROUP] = "cgroup",
    [ZCACHE_PRESSURE_PSI] = "psi",
    [ZCACHE_PRESSURE_BOTH] = "both",
};

static const char *const policy_names[] = {
    [ZCACHE_POLICY_S3FIFO] = "s3fifo",
    [ZCACHE_POLICY_LRU] = "lru",
};

static const char *const huge_pages_names[] = {
    [ZCACHE_HUGE_PAGES_AUTO] = "auto",
    [ZCACHE_HUGE_PAGES_OFF] = "off",
};

/* ---- the members ------------------------------------------------------------------------------
 * */

static uint64_t load_number(const struct zcache_options *opts, const struct option *o)
{
    const char *at = (const char *)opts + o->offset;
    uint64_t wide = 0;
    uint32_t narrow = 0;

    if (o->bytes == sizeof(wide)) {
        (void)memcpy(&wide, at, sizeof(wide));
        return wide;
    }
    (void)memcpy(&narrow, at, sizeof(narrow));
    return narrow;
}

static void store_number(struct zcache_options *opts, const struct option *o, uint64_t value)
{
    char *at = (char *)opts + o->offset;
    uint32_t narrow = (uint32_t)value;

    if (o->bytes == sizeof(value)) {
        (void)memcpy(at, &value, sizeof(value));
    } else {
        (void)memcpy(at, &narrow, sizeof(narrow));
    }
}

/* Whether a number obeys the row's own rule. */
static bool number_is_legal(const struct option *o, uint64_t value)
{
    if (o->kind == AUTO_NUMBER && value == ZCACHE_AUTO) {
        return true;
    }
    return value >= o->min && value <= o->max &&
           (o->kind != POWER || value == 0 || zc_is_pow2(value));
}

/* Whether @len bytes are "", "name" or "name:level"; which codecs there are is the registry's
 * matter. */
static bool codec_is_legal(const char *text, size_t len)
{
    size_t name = 0;
    size_t digits;
    size_t i;

    while (name < len && text[name] != '\0' &&
           strchr("abcdefghijklmnopqrstuvwxyz0123456789_-", text[name]) != NULL) {
        name++;
    }
    if (name == len) {
        return name <= CODEC_NAME_LEN;
    }
    if (name == 0 || name > CODEC_NAME_LEN || text[name] != ':') {
        return false;
    }
    i = name + 1;
    i += i < len && text[i] == '-';
    digits = len - i;
    while (i < len && text[i] >= '0' && text[i] <= '9') {
        i++;
    }
    return i == len && digits >= 1 && digits <= LEVEL_DIGITS;
}

/* ---- text to options ---------------------------------------------------------------------------
 * */

/* A piece of the caller's text. */
struct span {
    const char *at;
    size_t len;
};

/* A piece as it is shown in a message: of bounded length, without control characters. */
struct shown {
    char text[44];
};

static struct shown show(const char *at, size_t len)
{
    struct shown out = {""};
    const size_t most = sizeof(out.text) - 4;
    size_t n = ZC_MIN(len, most);

    for (size_t i = 0; i < n; i++) {
        char c = at[i];

        if (c < ' ' || c > '~') {
            c = '?';
        }
        out.text[i] = c;
    }
    if (len > most) {
        (void)memcpy(out.text + n, "...", 3);
    }
    return out;
}

static bool span_is(struct span s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.at, text, s.len) == 0;
}

static int complain(char *error, size_t cap, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int complain(char *error, size_t cap, const char *format, ...)
{
    va_list args;

    if (error != NULL && cap > 0) {
        va_start(args, format);
        (void)vsnprintf(error, cap, format, args);
        va_end(args);
    }
    return -EINVAL;
}

/* Digits up to 2^64-1. */
static bool parse_number(struct span s, uint64_t *value_out)
{
    uint64_t value = 0;

    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] < '0' || s.at[i] > '9' || !zc_mul_ok(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(s.at[i] - '0'), &value)) {
            return false;
        }
    }
    *value_out = value;
    return s.len > 0;
}

/* What a last letter multiplies by; 1 for none. */
static uint64_t unit_of(struct span s)
{
    switch (s.len > 1 ? s.at[s.len - 1] : '0') {
    case 'K':
        return UINT64_C(1) << 10;
    case 'M':
        return UINT64_C(1) << 20;
    case 'G':
        return UINT64_C(1) << 30;
    case 'T':
        return UINT64_C(1) << 40;
    default:
        return 1;
    }
}

/* Digits with K, M, G or T after them. */
static bool parse_size(struct span s, uint64_t *value_out)
{
    uint64_t unit = unit_of(s);

    s.len -= unit != 1;
    return parse_number(s, value_out) && zc_mul_ok(*value_out, unit, value_out);
}

/* One of @n names, to its number. */
static bool parse_name(struct span s, const char *const *names, size_t n, uint64_t *value_out)
{
    for (size_t i = 0; i < n; i++) {
        if (span_is(s, names[i])) {
            *value_out = i;
            return true;
        }
    }
    return false;
}

static bool parse_codec(struct zcache_options *opts, const struct option *o, struct span s)
{
    char *at = (char *)opts + o->offset;

    if (s.len == 0 || s.len >= o->bytes || !codec_is_legal(s.at, s.len)) {
        return false;
    }
    (void)memset(at, 0, o->bytes);
    (void)memcpy(at, s.at, s.len);
    return true;
}

static bool parse_value(struct zcache_options *opts, const struct option *o, struct span s)
{
    uint64_t value = 0;
    bool ok = false;

    switch (o->kind) {
    case CODEC:
        return parse_codec(opts, o, s);
    case SIZE:
        ok = parse_size(s, &value);
        break;
    case FULL:
        ok = parse_name(s, full_names, ZC_ARRAY_SIZE(full_names), &value);
        break;
    case PRESSURE:
        ok = parse_name(s, pressure_names, ZC_ARRAY_SIZE(pressure_names), &value);
        break;
    case POLICY:
        ok = parse_name(s, policy_names, ZC_ARRAY_SIZE(policy_names), &value);
        break;
    case AUTO_NUMBER:
        if (span_is(s, "auto")) {
            store_number(opts, o, ZCACHE_AUTO);
            return true;
        }
        ok = parse_number(s, &value) && value != ZCACHE_AUTO;
        break;
    case HUGE_PAGES:
        ok = parse_name(s, huge_pages_names, ZC_ARRAY_SIZE(huge_pages_names), &value);
        break;
    case NUMBER:
    case POWER:
        ok = parse_number(s, &value);
        break;
    }
    if (ok && number_is_legal(o, value)) {
        store_number(opts, o, value);
        return true;
    }
    return false;
}

static const struct option *find_option(struct span name)
{
    for (size_t i = 0; i < ZC_ARRAY_SIZE(options); i++) {
        if (span_is(name, options[i].name)) {
            return &options[i];
        }
    }
    return NULL;
}

static int parse_item(struct zcache_options *opts, struct span item, char *error, size_t error_cap)
{
    const char *equals = memchr(item.at, '=', item.len);
    const struct option *o;
    struct span name;
    struct span value;

    if (equals == NULL) {
        return complain(error, error_cap, "\"%s\" is not of the form name=value",
                        show(item.at, item.len).text);
    }
    name = (struct span){item.at, (size_t)(equals - item.at)};
    value = (struct span){equals + 1, item.len - name.len - 1};
    o = find_option(name);
    if (o == NULL) {
        return complain(error, error_cap, "there is no option \"%s\"",
                        show(name.at, name.len).text);
    }
    if (o->offset + o->bytes > opts->struct_size) {
        return complain(error, error_cap,
                        "%s is newer than the header that this program was compiled with", o->name);
    }
    if (!parse_value(opts, o, value)) {
        return complain(error, error_cap, "%s cannot be \"%s\": it must be %s", o->name,
                        show(value.at, value.len).text, o->rule);
    }
    return 0;
}

int zc_options_parse(struct zcache_options *opts, const char *text, char *error, size_t error_cap)
{
    size_t size = ZC_MIN(opts->struct_size, sizeof(*opts)); /* the caller's may be an older one */
    struct zcache_options next = ZCACHE_OPTIONS_INIT;
    struct span item = {text, 0};
    int rc = 0;

    if (size < OPTIONS_FIRST) {
        return complain(error, error_cap, "the options are not initialised");
    }
    if (text[0] == '\0') {
        return 0;
    }
    (void)memcpy(&next, opts, size);
    do {
        item.len = strcspn(item.at, ",");
        rc = parse_item(&next, item, error, error_cap);
        item.at += item.len;
    } while (rc == 0 && *item.at++ == ',');
    if (rc == 0) {
        (void)memcpy(opts, &next, size);
    }
    return rc;
}

/* ---- what is legal -----------------------------------------------------------------------------
 * */

/* A message about the option @name; counts it in @bad. */
static void report(const struct zcache_options *opts,
                   unsigned *bad,
                   const char *name,
                   const char *format,
                   ...) __attribute__((format(printf, 4, 5)));

static void report(const struct zcache_options *opts,
                   unsigned *bad,
                   const char *name,
                   const char *format,
                   ...)
{
    char event[32];
    char text[192];
    va_list args;

    (*bad)++;
    if (opts->log == NULL) {
        return;
    }
    (void)snprintf(event, sizeof(event), "option.%s", name);
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    opts->log(opts->log_ctx, ZCACHE_LOG_ERROR, event, text);
}

static void check_codec(const struct zcache_options *opts, const struct option *o, unsigned *bad)
{
    const char *text = (const char *)opts + o->offset;
    size_t len = strnlen(text, o->bytes);

    if (len == o->bytes) {
        report(opts, bad, o->name, "%s has no terminating zero: it must be %s", o->name, o->rule);
    } else if (!codec_is_legal(text, len)) {
        report(opts, bad, o->name, "%s cannot be \"%s\": it must be %s", o->name,
               show(text, len).text, o->rule);
    }
}

static void check_row(const struct zcache_options *opts, const struct option *o, unsigned *bad)
{
    if (o->kind == CODEC) {
        check_codec(opts, o, bad);
    } else if (!number_is_legal(o, load_number(opts, o))) {
        report(opts, bad, o->name, "%s cannot be %" PRIu64 ": it must be %s", o->name,
               load_number(opts, o), o->rule);
    }
}

/* Only where the row's own rule is obeyed: one message for one mistake. */
static void check_capacity(const struct zcache_options *opts, unsigned *bad)
{
    if (opts->page_max_bytes <= ZCACHE_PAGE_MAX_LIMIT &&
        opts->capacity_bytes >= ZCACHE_CAPACITY_MIN &&
        opts->capacity_bytes / CAPACITY_PAGES < opts->page_max_bytes) {
        report(opts, bad, "capacity",
               "capacity cannot be %" PRIu64
               ": it must be at least %u times page_max, which is %" PRIu32,
               opts->capacity_bytes, CAPACITY_PAGES, opts->page_max_bytes);
    }
}

static void check_marks(const struct zcache_options *opts, unsigned *bad)
{
    if (opts->background_percent <= 100 && opts->background_percent > 0 &&
        opts->low_percent < 100 && opts->low_percent >= opts->background_percent) {
        report(opts, bad, "low_percent",
               "low_percent cannot be %" PRIu32
               ": it must be below background_percent, which is %" PRIu32,
               opts->low_percent, opts->background_percent);
    }
    if (opts->start_percent < 100 && opts->low_percent < 100 &&
        opts->start_percent > opts->low_percent) {
        report(opts, bad, "start_percent",
               "start_percent cannot be %" PRIu32
               ": it must be at most low_percent, which is %" PRIu32 ", or 100 for never",
               opts->start_percent, opts->low_percent);
    }
}

static void check_pressure(const struct zcache_options *opts, unsigned *bad)
{
    if (opts->pressure_high_percent <= 100 && opts->pressure_low_percent < 100 &&
        opts->pressure_high_percent > 1 &&
        opts->pressure_low_percent >= opts->pressure_high_percent) {
        report(opts, bad, "pressure_low_percent",
               "pressure_low_percent cannot be %" PRIu32
               ": it must be below pressure_high_percent, which is %" PRIu32,
               opts->pressure_low_percent, opts->pressure_high_percent);
    }
}

/* Return: 0; -EINVAL, -E2BIG the store's struct_size. */
static int check_store(const struct zcache_options *opts, unsigned *bad)
{
    const struct zcache_store *s = opts->store;
    unsigned wrong_size = 0;
    int rc;

    if (s == NULL) {
        return 0;
    }
    rc = zc_options_size(s->struct_size, sizeof(*s), STORE_FIRST, s);
    if (rc != 0) {
        report(opts, &wrong_size, "store",
               "the store's struct_size cannot be %zu: it must be %zu, or the rest zero",
               s->struct_size, sizeof(*s));
        return rc;
    }
    if ((s->flags & ~STORE_FLAGS) != 0) {
        report(opts, bad, "store", "the store's flags cannot be 0x%x: they must be of 0x%x",
               s->flags, STORE_FLAGS);
    }
    if (s->group_shift > GROUP_SHIFT_MAX) {
        report(opts, bad, "store",
               "the store's group_shift cannot be %u: it must be a whole number from 0 to %u",
               s->group_shift, GROUP_SHIFT_MAX);
    }
    return 0;
}

static void default_codec(char *codec, const char *text)
{
    if (codec[0] == '\0') {
        (void)snprintf(codec, ZCACHE_CODEC_NAME_MAX + 1, "%s", text);
    }
}

int zc_options_check(const struct zcache_options *opts, struct zcache_options *out)
{
    struct zcache_options copy = ZCACHE_OPTIONS_INIT;
    unsigned bad = 0;
    int rc = zc_options_size(opts->struct_size, sizeof(copy), OPTIONS_FIRST, opts);

    if (rc != 0) {
        return rc;
    }
    (void)memcpy(&copy, opts, ZC_MIN(opts->struct_size, sizeof(copy)));
    copy.struct_size = sizeof(copy);
    for (size_t i = 0; i < ZC_ARRAY_SIZE(options); i++) {
        check_row(&copy, &options[i], &bad);
    }
    check_capacity(&copy, &bad);
    check_marks(&copy, &bad);
    check_pressure(&copy, &bad);
    rc = check_store(&copy, &bad);
    if (bad > 0) {
        return -EINVAL;
    }
    if (rc != 0) {
        return rc;
    }
    default_codec(copy.fast_codec, "lz4");
    default_codec(copy.dense_codec, "zstd:3");
    *out = copy;
    return 0;
}

int zc_options_size(size_t given, size_t ours, size_t first, const void *base)
{
    const unsigned char *bytes = base;

    if (given < first) {
        return -EINVAL;
    }
    if (given > STRUCT_SIZE_MAX) {
        return -E2BIG;
    }
    for (size_t i = ours; i < given; i++) {
        if (bytes[i] != 0) {
            return -E2BIG;
        }
    }
    return 0;
}
