/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * options: what the text form takes and refuses, what is legal, and that messages name the option.
 */
#include "assertion.h"
#include "options.h"

#include <zcache/store.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mathx.h"

#define MIB (UINT64_C(1) << 20)

/* ---- messages --------------------------------------------------------------------------------- */

static struct {
    unsigned n;
    char event[32];
    char text[256];
} last;

static void keep(void *ctx, enum zcache_log_level level, const char *event, const char *text)
{
    assert_ptr_equal(ctx, &last);
    assert_int_equal(level, ZCACHE_LOG_ERROR);
    assert_null(strchr(text, '\n'));
    last.n++;
    (void)snprintf(last.event, sizeof(last.event), "%s", event);
    (void)snprintf(last.text, sizeof(last.text), "%s", text);
}

static struct zcache_options good_options(void)
{
    struct zcache_options opts = ZCACHE_OPTIONS_INIT;

    opts.capacity_bytes = 64 * MIB;
    opts.log = keep;
    opts.log_ctx = &last;
    return opts;
}

static int check(const struct zcache_options *opts)
{
    struct zcache_options out;

    (void)memset(&last, 0, sizeof(last));
    return zc_options_check(opts, &out);
}

static int parse(struct zcache_options *opts, const char *text)
{
    (void)memset(&last, 0, sizeof(last));
    return zc_options_parse(opts, text, last.text, sizeof(last.text));
}

/* ---- text ------------------------------------------------------------------------------------- */

static void each_name_sets_its_member(void **state)
{
    struct zcache_options opts = good_options();

    (void)state;
    assert_int_equal(parse(&opts, "capacity=3G,page_max=16K,raw_percent=1,fast_percent=2,"
                                  "fast=zstd:-5,dense=none,start_percent=3,low_percent=30,"
                                  "background_percent=40,full=help,max_stall_ms=5,"
                                  "inflight_pages=6,batch_pages=7,latency_sample=8,feed_percent=9,"
                                  "pressure=psi,pressure_floor_percent=9,"
                                  "pressure_high_percent=90,pressure_low_percent=70,"
                                  "pressure_stall_percent=11,pressure_quiet_ms=1200,"
                                  "keep=9M,compact_percent=10,policy=lru,miss_cost_us=13,"
                                  "huge_pages=off"),
                     0);
    assert_true(opts.capacity_bytes == UINT64_C(3) << 30);
    assert_int_equal(opts.page_max_bytes, 16384);
    assert_int_equal(opts.raw_percent, 1);
    assert_int_equal(opts.fast_percent, 2);
    assert_string_equal(opts.fast_codec, "zstd:-5");
    assert_string_equal(opts.dense_codec, "none");
    assert_int_equal(opts.start_percent, 3);
    assert_int_equal(opts.low_percent, 30);
    assert_int_equal(opts.background_percent, 40);
    assert_int_equal(opts.full_policy, ZCACHE_FULL_HELP);
    assert_int_equal(opts.max_stall_ms, 5);
    assert_int_equal(opts.inflight_pages, 6);
    assert_int_equal(opts.batch_pages, 7);
    assert_int_equal(opts.latency_sample, 8);
    assert_int_equal(opts.feed_percent, 9);
    assert_int_equal(opts.pressure, ZCACHE_PRESSURE_PSI);
    assert_int_equal(opts.pressure_floor_percent, 9);
    assert_int_equal(opts.pressure_high_percent, 90);
    assert_int_equal(opts.pressure_low_percent, 70);
    assert_int_equal(opts.pressure_stall_percent, 11);
    assert_int_equal(opts.pressure_quiet_ms, 1200);
    assert_int_equal(opts.keep_bytes, 9 * MIB);
    assert_int_equal(opts.compact_percent, 10);
    assert_int_equal(opts.policy, ZCACHE_POLICY_LRU);
    assert_int_equal(opts.miss_cost_us, 13);
    assert_int_equal(opts.huge_pages, ZCACHE_HUGE_PAGES_OFF);
    assert_int_equal(check(&opts), 0);
}

static void what_is_found_out_has_a_name(void **state)
{
    struct zcache_options opts = good_options();

    (void)state;
    assert_int_equal(opts.raw_percent, ZCACHE_AUTO);
    assert_int_equal(opts.fast_percent, ZCACHE_AUTO);
    assert_int_equal(opts.miss_cost_us, ZCACHE_AUTO);
    assert_int_equal(parse(&opts, "raw_percent=1,fast_percent=2,miss_cost_us=3"), 0);
    assert_int_equal(parse(&opts, "raw_percent=auto,fast_percent=auto,miss_cost_us=auto"), 0);
    assert_int_equal(opts.raw_percent, ZCACHE_AUTO);
    assert_int_equal(opts.fast_percent, ZCACHE_AUTO);
    assert_int_equal(opts.miss_cost_us, ZCACHE_AUTO);
    assert_int_equal(check(&opts), 0);
    assert_int_equal(parse(&opts, "raw_percent=4294967295"), -EINVAL); /* its number has none */
    assert_int_equal(parse(&opts, "feed_percent=auto"), -EINVAL);
    assert_int_equal(parse(&opts, "miss_cost_us=3600000001"), -EINVAL);
    opts.feed_percent = ZCACHE_AUTO;
    assert_int_equal(check(&opts), -EINVAL);
}

/* A program that was compiled when the structure ended with log_ctx. */
static void an_older_structure_is_not_written_beyond(void **state)
{
    struct zcache_options opts = good_options();
    const size_t first = offsetof(struct zcache_options, log_ctx) + sizeof(opts.log_ctx);
    unsigned char *beyond = (unsigned char *)&opts + first;

    (void)state;
    opts.struct_size = first;
    (void)memset(beyond, 0xa5, sizeof(opts) - first);
    assert_int_equal(parse(&opts, "raw_percent=7"), 0);
    assert_int_equal(opts.raw_percent, 7);
    assert_int_equal(opts.struct_size, first);
    assert_int_equal(parse(&opts, "raw_percent=8,feed_percent=9"), -EINVAL);
    assert_non_null(strstr(last.text, "feed_percent"));
    assert_int_equal(opts.raw_percent, 7);
    for (size_t i = 0; i < sizeof(opts) - first; i++) {
        assert_int_equal(beyond[i], 0xa5);
    }
    opts.struct_size = first - 1;
    assert_int_equal(parse(&opts, "raw_percent=8"), -EINVAL);
}

static void sizes_take_units(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } rows[] = {
        {"capacity=1048576", MIB},
        {"capacity=1024K", MIB},
        {"capacity=1M", MIB},
        {"capacity=0000000000000000000000001M", MIB},
        {"capacity=2G", UINT64_C(2) << 30},
        {"capacity=16777215T", UINT64_C(16777215) << 40},
        {"capacity=18446744073709551615", UINT64_MAX},
    };
    struct zcache_options opts = good_options();

    (void)state;
    for (size_t i = 0; i < ZC_ARRAY_SIZE(rows); i++) {
        assert_int_equal(parse(&opts, rows[i].text), 0);
        assert_true(opts.capacity_bytes == rows[i].bytes);
    }
}

static void the_last_of_equal_names_counts(void **state)
{
    struct zcache_options opts = good_options();

    (void)state;
    assert_int_equal(parse(&opts, "full=wait,full=reject"), 0);
    assert_int_equal(opts.full_policy, ZCACHE_FULL_REJECT);
}

static void an_empty_codec_is_the_default(void **state)
{
    struct zcache_options opts = good_options();
    struct zcache_options out;

    (void)state;
    opts.fast_codec[0] = '\0';
    opts.dense_codec[0] = '\0';
    assert_int_equal(zc_options_check(&opts, &out), 0);
    assert_string_equal(out.fast_codec, "lz4");
    assert_string_equal(out.dense_codec, "zstd:3");
}

static void bad_text_is_refused_and_changes_nothing(void **state)
{
    static const char *const rows[] = {
        "capacity",
        "=",
        ",",
        "capacity=",
        "capacity=K",
        "capacity=8X",
        "capacity=8k",
        "capacity=8GG",
        "capacity=-1",
        "capacity=+8G",
        "capacity= 8G",
        "capacity=8G ",
        " capacity=8G",
        "capacity=0x800000",
        "capacity=1.5G",
        "capacity=1023K",
        "capacity=16777216T",
        "capacity=18446744073709551616",
        "capacity=8G,",
        ",capacity=8G",
        "capacity=8G,,full=wait",
        "Capacity=8G",
        "capacity_bytes=8G",
        "page_max=0",
        "page_max=1048577",
        "page_max=4294967297",
        "raw_percent=101",
        "raw_percent=50%",
        "raw_percent=1K",
        "background_percent=0",
        "low_percent=100",
        "full=",
        "full=Wait",
        "full=0",
        "policy=",
        "policy=LRU",
        "policy=0",
        "huge_pages=",
        "huge_pages=on",
        "max_stall_ms=0",
        "max_stall_ms=3600001",
        "latency_sample=3",
        "latency_sample=4294967296",
        "pressure=",
        "pressure=on",
        "pressure=3",
        "pressure_floor_percent=0",
        "pressure_high_percent=1",
        "pressure_low_percent=100",
        "pressure_stall_percent=0",
        "pressure_quiet_ms=99",
        "keep=-1",
        "compact_percent=101",
        "fast=",
        "fast=lz4:",
        "fast=:3",
        "fast=LZ4",
        "fast=lz4:1:2",
        "fast=lz4:1x",
        "fast=lz4:-",
        "fast=lz4:1234567890",
        "fast=sixteen_letters_",
        "dense=zstd 3",
        "full=reject,capacity=oops",
    };
    const struct zcache_options fresh = good_options();
    struct zcache_options opts = fresh;

    (void)state;
    for (size_t i = 0; i < ZC_ARRAY_SIZE(rows); i++) {
        if (parse(&opts, rows[i]) != -EINVAL) {
            fail_msg("\"%s\" was taken", rows[i]);
        }
        assert_int_not_equal(last.text[0], '\0');
        assert_memory_equal(&opts, &fresh, sizeof(opts));
    }
}

static void messages_name_option_value_and_rule(void **state)
{
    struct zcache_options opts = good_options();
    char small[8];

    (void)state;
    assert_int_equal(parse(&opts, "full=wait,raw_percent=200"), -EINVAL);
    assert_string_equal(
        last.text,
        "raw_percent cannot be \"200\": it must be auto or a whole number from 0 to 100");
    assert_int_equal(parse(&opts, "colour=red"), -EINVAL);
    assert_string_equal(last.text, "there is no option \"colour\"");
    assert_int_equal(parse(&opts, "full=a\nb\x7f\xff"), -EINVAL);
    assert_string_equal(last.text, "full cannot be \"a?b\?\?\": it must be wait, help or reject");
    assert_int_equal(parse(&opts, "a text that is much longer than any message would like to show"),
                     -EINVAL);
    assert_string_equal(
        last.text, "\"a text that is much longer than any mess...\" is not of the form name=value");

    assert_int_equal(zc_options_parse(&opts, "colour=red", NULL, 0), -EINVAL);
    assert_int_equal(zc_options_parse(&opts, "colour=red", small, 0), -EINVAL);
    (void)memset(small, '#', sizeof(small));
    assert_int_equal(zc_options_parse(&opts, "colour=red", small, 6), -EINVAL);
    assert_string_equal(small, "there");
    assert_int_equal(small[6], '#');
}

/* ---- structures ------------------------------------------------------------------------------- */

/* X(option, statement that breaks it) */
#define BROKEN(X)                                                                                  \
    X("capacity", opts.capacity_bytes = 0)                                                         \
    X("capacity", opts.capacity_bytes = MIB - 1)                                                   \
    X("capacity", opts.page_max_bytes = 131072; opts.capacity_bytes = 2 * MIB - 1)                 \
    X("page_max", opts.page_max_bytes = 0)                                                         \
    X("page_max", opts.page_max_bytes = ZCACHE_PAGE_MAX_LIMIT + 1)                                 \
    X("page_max", opts.page_max_bytes = UINT32_MAX)                                                \
    X("raw_percent", opts.raw_percent = 101)                                                       \
    X("fast_percent", opts.fast_percent = 101)                                                     \
    X("fast", (void)memset(opts.fast_codec, 'a', sizeof(opts.fast_codec)))                         \
    X("fast", (void)strcpy(opts.fast_codec, "lz4:"))                                               \
    X("dense", (void)strcpy(opts.dense_codec, "Zstd"))                                             \
    X("start_percent", opts.start_percent = 96)                                                    \
    X("start_percent", opts.start_percent = 101)                                                   \
    X("background_percent", opts.background_percent = 0)                                           \
    X("background_percent", opts.background_percent = 101)                                         \
    X("low_percent", opts.low_percent = 97)                                                        \
    X("low_percent", opts.low_percent = 100)                                                       \
    X("full", opts.full_policy = (enum zcache_full_policy)3)                                       \
    X("policy", opts.policy = (enum zcache_policy)2)                                               \
    X("huge_pages", opts.huge_pages = (enum zcache_huge_pages)2)                                   \
    X("policy", opts.policy = (enum zcache_policy) - 1)                                            \
    X("full", opts.full_policy = (enum zcache_full_policy) - 1)                                    \
    X("max_stall_ms", opts.max_stall_ms = 0)                                                       \
    X("max_stall_ms", opts.max_stall_ms = 3600001)                                                 \
    X("inflight_pages", opts.inflight_pages = 0)                                                   \
    X("inflight_pages", opts.inflight_pages = 65537)                                               \
    X("batch_pages", opts.batch_pages = 0)                                                         \
    X("batch_pages", opts.batch_pages = 1025)                                                      \
    X("latency_sample", opts.latency_sample = 3)                                                   \
    X("compact_percent", opts.compact_percent = 101)                                               \
    X("latency_sample", opts.latency_sample = UINT32_MAX)                                          \
    X("pressure", opts.pressure = (enum zcache_pressure)4)                                         \
    X("pressure_floor_percent", opts.pressure_floor_percent = 101)                                 \
    X("pressure_high_percent", opts.pressure_high_percent = 1)                                     \
    X("pressure_low_percent", opts.pressure_low_percent = 0)                                       \
    X("pressure_low_percent", opts.pressure_low_percent = 95)                                      \
    X("pressure_stall_percent", opts.pressure_stall_percent = 0)                                   \
    X("pressure_quiet_ms", opts.pressure_quiet_ms = 3600001)                                       \
    X("store", store.flags = 4)                                                                    \
    X("store", store.group_shift = 17)                                                             \
    X("store", store.struct_size = 0)                                                              \
    X("store", store.struct_size = sizeof(store) - 1)

static void each_broken_rule_is_one_message(void **state)
{
    (void)state;
#define TRY(name, ...)                                                                             \
    {                                                                                              \
        struct zcache_options opts = good_options();                                               \
        struct zcache_store store = ZCACHE_STORE_INIT;                                             \
                                                                                                   \
        opts.store = &store;                                                                       \
        assert_int_equal(check(&opts), 0);                                                         \
        __VA_ARGS__;                                                                               \
        if (check(&opts) != -EINVAL || last.n != 1 || strcmp(last.event, "option." name) != 0 ||   \
            strstr(last.text, name) == NULL) {                                                     \
            fail_msg("%s: %u, %s: %s", #__VA_ARGS__, last.n, last.event, last.text);               \
        }                                                                                          \
        opts.log = NULL;                                                                           \
        assert_int_equal(check(&opts), -EINVAL);                                                   \
    }
    BROKEN(TRY)
#undef TRY
}

static void all_broken_rules_are_told(void **state)
{
    struct zcache_options opts = good_options();
    struct zcache_store store = ZCACHE_STORE_INIT;

    (void)state;
    opts.capacity_bytes = 1;
    opts.raw_percent = 101;
    store.flags = UINT32_MAX;
    store.group_shift = UINT32_MAX;
    opts.store = &store;
    assert_int_equal(check(&opts), -EINVAL);
    assert_int_equal(last.n, 4);
}

static void edges_are_legal(void **state)
{
    static const char *const rows[] = {
        "capacity=1M",
        "capacity=16M,page_max=1M",
        "page_max=1",
        "raw_percent=0,fast_percent=0",
        "raw_percent=100,fast_percent=100",
        "start_percent=100",
        "start_percent=100,low_percent=0,background_percent=1",
        "start_percent=0",
        "start_percent=99,low_percent=99,background_percent=100",
        "max_stall_ms=1,inflight_pages=1,batch_pages=1,latency_sample=0",
        "max_stall_ms=3600000,inflight_pages=65536,batch_pages=1024,latency_sample=2147483648",
        "latency_sample=1",
        "keep=0,compact_percent=0",
        "keep=8G,compact_percent=100",
        "fast=fifteen-letters:-99999999,dense=a:999999999",
    };

    (void)state;
    for (size_t i = 0; i < ZC_ARRAY_SIZE(rows); i++) {
        struct zcache_options opts = good_options();

        if (parse(&opts, rows[i]) != 0 || check(&opts) != 0) {
            fail_msg("\"%s\": %s", rows[i], last.text);
        }
    }
}

static void failure_leaves_the_copy_alone(void **state)
{
    struct zcache_options opts = good_options();
    struct zcache_options out = {.capacity_bytes = 4711};

    (void)state;
    opts.raw_percent = 101;
    assert_int_equal(zc_options_check(&opts, &out), -EINVAL);
    assert_int_equal(out.capacity_bytes, 4711);
    assert_int_equal(out.struct_size, 0);
}

static void longer_structures_must_end_in_zeros(void **state)
{
    struct {
        struct zcache_options base;
        unsigned char more[24];
    } longer = {.base = good_options()};

    struct {
        struct zcache_store base;
        unsigned char more[24];
    } store = {.base = ZCACHE_STORE_INIT};
    struct zcache_options out;

    (void)state;
    longer.base.struct_size = sizeof(longer);
    store.base.struct_size = sizeof(store);
    longer.base.store = &store.base;
    assert_int_equal(zc_options_check(&longer.base, &out), 0);
    assert_int_equal(out.struct_size, sizeof(out));
    store.more[23] = 1;
    assert_int_equal(check(&longer.base), -E2BIG);
    assert_string_equal(last.event, "option.store");
    store.more[23] = 0;
    longer.more[0] = 1;
    assert_int_equal(check(&longer.base), -E2BIG);
}

static void struct_size_rule(void **state)
{
    unsigned char bytes[32] = {0};

    (void)state;
    assert_int_equal(zc_options_size(0, 24, 16, bytes), -EINVAL);
    assert_int_equal(zc_options_size(15, 24, 16, bytes), -EINVAL);
    assert_int_equal(zc_options_size(16, 24, 16, bytes), 0);
    assert_int_equal(zc_options_size(24, 24, 16, bytes), 0);
    bytes[24] = 1;
    assert_int_equal(zc_options_size(24, 24, 16, bytes), 0);
    assert_int_equal(zc_options_size(25, 24, 16, bytes), -E2BIG);
    assert_int_equal(zc_options_size(SIZE_MAX, 24, 16, bytes), -E2BIG); /* without reading so far */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_name_sets_its_member),
        cmocka_unit_test(what_is_found_out_has_a_name),
        cmocka_unit_test(an_older_structure_is_not_written_beyond),
        cmocka_unit_test(sizes_take_units),
        cmocka_unit_test(the_last_of_equal_names_counts),
        cmocka_unit_test(an_empty_codec_is_the_default),
        cmocka_unit_test(bad_text_is_refused_and_changes_nothing),
        cmocka_unit_test(messages_name_option_value_and_rule),
        cmocka_unit_test(each_broken_rule_is_one_message),
        cmocka_unit_test(all_broken_rules_are_told),
        cmocka_unit_test(edges_are_legal),
        cmocka_unit_test(failure_leaves_the_copy_alone),
        cmocka_unit_test(longer_structures_must_end_in_zeros),
        cmocka_unit_test(struct_size_rule),
    };

    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
