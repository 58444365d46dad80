/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bad call cannot hurt: every public function with each argument wrong in turn gives the
 * documented code, and nothing has changed afterwards.
 */
#include "mem_store.h"

#include <zcache/codec.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the calls, one wrong thing at a time ------------------------------------------------------- */

struct fixture {
    struct zcache *cache;
    struct zcache_tenant *root;
    struct zcache_tenant *tenant;
    struct zcache_tenant *parent; /* of child */
    struct zcache_tenant *child;
    struct mem_store *store;
    /* arguments that are right unless a case changes them; made anew for each case */
    unsigned char page[PAGE];
    unsigned char room[PAGE];
    struct zcache_pin pin;
    struct zcache_page pages[3];
    struct zcache_tenant_options tenant_opts;
    struct zcache_limits limits;
    struct zcache_stats stats;
    struct zcache_codec codec;
    struct zcache_store callbacks;
    struct zcache_tenant *out;
    struct zcache *cache_out;
};

#define KEY          key_of(1, 1) /* cached, 4096 bytes, dirty */
#define ABSENT       key_of(9, 9) /* neither cached nor in the store */
#define UNKNOWN_FLAG (1u << 20)
#define TOO_LONG     ((size_t)65537)

static void *any_context(int level)
{
    (void)level;
    return NULL;
}

static void any_context_end(void *context)
{
    (void)context;
}

static size_t any_encode(void *context, void *dst, size_t cap, const void *src, size_t len)
{
    (void)context, (void)dst, (void)cap, (void)src, (void)len;
    return 0;
}

static int any_decode(void *context, void *dst, size_t len, const void *src, size_t stored)
{
    (void)context, (void)dst, (void)len, (void)src, (void)stored;
    return -EBADMSG;
}

static int any_write(void *ctx, const char *data, size_t len)
{
    (void)ctx, (void)data, (void)len;
    return 0;
}

static int refusing_write(void *ctx, const char *data, size_t len)
{
    (void)ctx, (void)data, (void)len;
    return -EPIPE;
}

static void reset(struct fixture *f)
{
    page_make(f->page, sizeof(f->page), KEY, 1, FILL_HALF);
    memset(&f->pin, 0, sizeof(f->pin));
    for (unsigned i = 0; i < 3; i++) {
        f->pages[i] = (struct zcache_page){.key = key_of(2, i),
                                           .data = f->page,
                                           .buf = f->room,
                                           .len = PAGE,
                                           .cap = PAGE,
                                           .status = 77};
    }
    f->tenant_opts = (struct zcache_tenant_options)ZCACHE_TENANT_OPTIONS_INIT;
    f->tenant_opts.name = "fresh";
    f->limits = (struct zcache_limits)ZCACHE_LIMITS_INIT;
    f->stats = (struct zcache_stats){.struct_size = sizeof(f->stats)};
    f->codec = (struct zcache_codec)ZCACHE_CODEC_INIT;
    f->codec.name = "mine";
    f->codec.level_min = 1;
    f->codec.level_max = 3;
    f->codec.level_default = 2;
    f->codec.encode = any_encode;
    f->codec.decode = any_decode;
    f->callbacks = (struct zcache_store)ZCACHE_STORE_INIT;
    f->out = NULL;
    f->cache_out = NULL;
}

/* A structure of the caller that is longer than the library's, by @extra bytes of value @fill. */
#define LONGER(type, value, fill)                                                                  \
    struct {                                                                                       \
        type base;                                                                                 \
        unsigned char extra[16];                                                                   \
    } longer = {.base = (value)};                                                                  \
    longer.base.struct_size = sizeof(longer);                                                      \
    longer.extra[sizeof(longer.extra) - 1] = (fill)

/* X(name of the case, expected, statements that set rc) */
#define PUT_CASES(X)                                                                               \
    X(put_no_tenant, -EINVAL, rc = zcache_put(NULL, KEY, f->page, PAGE, 0))                        \
    X(put_no_data, -EINVAL, rc = zcache_put(f->tenant, KEY, NULL, PAGE, 0))                        \
    X(put_empty, -EINVAL, rc = zcache_put(f->tenant, KEY, f->page, 0, 0))                          \
    X(put_too_long, -EINVAL, rc = zcache_put(f->tenant, KEY, f->page, TOO_LONG, 0))                \
    X(put_endless, -EINVAL, rc = zcache_put(f->tenant, KEY, f->page, SIZE_MAX, 0))                 \
    X(put_unknown_flag, -EINVAL, rc = zcache_put(f->tenant, KEY, f->page, PAGE, UNKNOWN_FLAG))     \
    X(put_all_flags, -EINVAL, rc = zcache_put(f->tenant, KEY, f->page, PAGE, UINT32_MAX))          \
    X(put_clean_dirty, -EINVAL,                                                                    \
      rc = zcache_put(f->tenant, KEY, f->page, PAGE, ZCACHE_CLEAN | ZCACHE_DIRTY))                 \
    X(put_take, -EINVAL, rc = zcache_put(f->tenant, KEY, f->page, PAGE, ZCACHE_TAKE))              \
    X(put_peek, -EINVAL, rc = zcache_put(f->tenant, KEY, f->page, PAGE, ZCACHE_PEEK))              \
    X(put_keep_tier, -EINVAL, rc = zcache_put(f->tenant, KEY, f->page, PAGE, ZCACHE_KEEP_TIER))    \
    X(put_keep_best_effort, -EINVAL,                                                               \
      rc = zcache_put(f->tenant, KEY, f->page, PAGE, ZCACHE_KEEP_OLD | ZCACHE_BEST_EFFORT))        \
    X(put_no_load, -EINVAL, rc = zcache_put(f->tenant, KEY, f->page, PAGE, ZCACHE_NO_LOAD))        \
    X(put_many_no_tenant, -EINVAL, rc = zcache_put_many(NULL, f->pages, 3, 0))                     \
    X(put_many_no_pages, -EINVAL, rc = zcache_put_many(f->tenant, NULL, 3, 0))                     \
    X(put_many_none, 0, rc = zcache_put_many(f->tenant, NULL, 0, 0))                               \
    X(put_many_flag, -EINVAL, rc = zcache_put_many(f->tenant, f->pages, 3, ZCACHE_TAKE))           \
    X(put_many_clean_dirty, -EINVAL,                                                               \
      rc = zcache_put_many(f->tenant, f->pages, 3, ZCACHE_CLEAN | ZCACHE_DIRTY))                   \
    X(put_many_no_data, -EINVAL, f->pages[2].data = NULL;                                          \
      rc = zcache_put_many(f->tenant, f->pages, 3, 0); untouched(f))                               \
    X(put_many_empty, -EINVAL, f->pages[2].len = 0;                                                \
      rc = zcache_put_many(f->tenant, f->pages, 3, 0); untouched(f))                               \
    X(put_many_too_long, -EINVAL, f->pages[1].len = TOO_LONG;                                      \
      rc = zcache_put_many(f->tenant, f->pages, 3, 0); untouched(f))

#define GET_CASES(X)                                                                               \
    X(get_no_tenant, -EINVAL, rc = zcache_get(NULL, KEY, f->room, PAGE, NULL, 0))                  \
    X(get_no_room, -EINVAL, rc = zcache_get(f->tenant, KEY, NULL, PAGE, NULL, 0))                  \
    X(get_unknown_flag, -EINVAL,                                                                   \
      rc = zcache_get(f->tenant, KEY, f->room, PAGE, NULL, UNKNOWN_FLAG))                          \
    X(get_clean, -EINVAL, rc = zcache_get(f->tenant, KEY, f->room, PAGE, NULL, ZCACHE_CLEAN))      \
    X(get_dirty, -EINVAL, rc = zcache_get(f->tenant, KEY, f->room, PAGE, NULL, ZCACHE_DIRTY))      \
    X(get_incompressible, -EINVAL,                                                                 \
      rc = zcache_get(f->tenant, KEY, f->room, PAGE, NULL, ZCACHE_INCOMPRESSIBLE))                 \
    X(get_best_effort, -EINVAL,                                                                    \
      rc = zcache_get(f->tenant, KEY, f->room, PAGE, NULL, ZCACHE_BEST_EFFORT))                    \
    X(get_if_absent, -EINVAL,                                                                      \
      rc = zcache_get(f->tenant, KEY, f->room, PAGE, NULL, ZCACHE_IF_ABSENT))                      \
    X(get_keep_old, -EINVAL,                                                                       \
      rc = zcache_get(f->tenant, KEY, f->room, PAGE, NULL, ZCACHE_KEEP_OLD))                       \
    X(get_small_room, -ENOBUFS, rc = zcache_get(f->tenant, KEY, f->room, PAGE - 1, NULL, 0))       \
    X(get_take_small_room, -ENOBUFS,                                                               \
      rc = zcache_get(f->tenant, KEY, f->room, PAGE - 1, NULL, ZCACHE_TAKE))                       \
    X(get_many_no_tenant, -EINVAL, rc = zcache_get_many(NULL, f->pages, 3, 0))                     \
    X(get_many_no_pages, -EINVAL, rc = zcache_get_many(f->tenant, NULL, 3, 0))                     \
    X(get_many_none, 0, rc = zcache_get_many(f->tenant, NULL, 0, 0))                               \
    X(get_many_flag, -EINVAL, rc = zcache_get_many(f->tenant, f->pages, 3, ZCACHE_DIRTY);          \
      untouched(f))                                                                                \
    X(get_many_no_room, -EINVAL, f->pages[2].buf = NULL;                                           \
      rc = zcache_get_many(f->tenant, f->pages, 3, 0); untouched(f))                               \
    X(get_many_small_room, -ENOBUFS, f->pages[0].key = KEY; f->pages[0].cap = 100;                 \
      rc = zcache_get_many(f->tenant, f->pages, 1, 0);                                             \
      assert_int_equal(f->pages[0].status, -ENOBUFS))                                              \
    X(pin_no_tenant, -EINVAL, rc = zcache_pin(NULL, KEY, 0, &f->pin))                              \
    X(pin_no_pin, -EINVAL, rc = zcache_pin(f->tenant, KEY, 0, NULL))                               \
    X(pin_unknown_flag, -EINVAL, rc = zcache_pin(f->tenant, KEY, UNKNOWN_FLAG, &f->pin))           \
    X(pin_take, -EINVAL, rc = zcache_pin(f->tenant, KEY, ZCACHE_TAKE, &f->pin))                    \
    X(pin_dirty, -EINVAL, rc = zcache_pin(f->tenant, KEY, ZCACHE_DIRTY, &f->pin))                  \
    X(pin_if_absent, -EINVAL, rc = zcache_pin(f->tenant, KEY, ZCACHE_IF_ABSENT, &f->pin))          \
    X(pin_keep_tier, -EINVAL, rc = zcache_pin(f->tenant, KEY, ZCACHE_KEEP_TIER, &f->pin))          \
    X(unpin_nothing, 0, zcache_unpin(NULL); rc = 0)                                                \
    X(unpin_empty, 0, zcache_unpin(&f->pin); rc = 0)

#define DELETE_CASES(X)                                                                            \
    X(delete_no_tenant, -EINVAL, rc = zcache_delete(NULL, KEY, 0))                                 \
    X(delete_unknown_flag, -EINVAL, rc = zcache_delete(f->tenant, KEY, UNKNOWN_FLAG))              \
    X(delete_take, -EINVAL, rc = zcache_delete(f->tenant, KEY, ZCACHE_TAKE))                       \
    X(delete_best_effort, -EINVAL, rc = zcache_delete(f->tenant, KEY, ZCACHE_BEST_EFFORT))         \
    X(delete_scan, -EINVAL, rc = zcache_delete(f->tenant, KEY, ZCACHE_SCAN))                       \
    X(truncate_no_tenant, -EINVAL, rc = zcache_truncate(NULL, 1, 0))

#define TENANT_CASES(X)                                                                            \
    X(open_no_parent, -EINVAL, rc = zcache_tenant_open(NULL, &f->tenant_opts, &f->out))            \
    X(open_no_opts, -EINVAL, rc = zcache_tenant_open(f->root, NULL, &f->out))                      \
    X(open_no_out, -EINVAL, rc = zcache_tenant_open(f->root, &f->tenant_opts, NULL))               \
    X(open_no_name, -EINVAL, f->tenant_opts.name = NULL;                                           \
      rc = zcache_tenant_open(f->root, &f->tenant_opts, &f->out))                                  \
    X(open_empty_name, -EINVAL, f->tenant_opts.name = "";                                          \
      rc = zcache_tenant_open(f->root, &f->tenant_opts, &f->out))                                  \
    X(open_long_name, -EINVAL,                                                                     \
      f->tenant_opts.name = "0123456789012345678901234567890123456789012345678901234567890123";    \
      rc = zcache_tenant_open(f->root, &f->tenant_opts, &f->out))                                  \
    X(open_slash_name, -EINVAL, f->tenant_opts.name = "a/b";                                       \
      rc = zcache_tenant_open(f->root, &f->tenant_opts, &f->out))                                  \
    X(open_space_name, -EINVAL, f->tenant_opts.name = "a b";                                       \
      rc = zcache_tenant_open(f->root, &f->tenant_opts, &f->out))                                  \
    X(open_byte_name, -EINVAL, f->tenant_opts.name = "\xc3\xa4";                                   \
      rc = zcache_tenant_open(f->root, &f->tenant_opts, &f->out))                                  \
    X(open_same_name, -EEXIST, f->tenant_opts.name = "tenant";                                     \
      rc = zcache_tenant_open(f->root, &f->tenant_opts, &f->out))                                  \
    X(open_no_size, -EINVAL, f->tenant_opts.struct_size = 0;                                       \
      rc = zcache_tenant_open(f->root, &f->tenant_opts, &f->out))                                  \
    X(open_short_opts, -EINVAL, f->tenant_opts.struct_size = sizeof(f->tenant_opts) - 8;           \
      rc = zcache_tenant_open(f->root, &f->tenant_opts, &f->out))                                  \
    X(open_longer_opts, -E2BIG, LONGER(struct zcache_tenant_options, f->tenant_opts, 1);           \
      rc = zcache_tenant_open(f->root, &longer.base, &f->out))                                     \
    X(open_short_limits, -EINVAL, f->tenant_opts.limits.struct_size = 4;                           \
      rc = zcache_tenant_open(f->root, &f->tenant_opts, &f->out))                                  \
    X(open_no_weight, -EINVAL, f->tenant_opts.limits.weight = 0;                                   \
      rc = zcache_tenant_open(f->root, &f->tenant_opts, &f->out))                                  \
    X(open_big_weight, -EINVAL, f->tenant_opts.limits.weight = 10001;                              \
      rc = zcache_tenant_open(f->root, &f->tenant_opts, &f->out))                                  \
    X(open_reserve, -EINVAL, f->tenant_opts.limits.limit_bytes = 1000;                             \
      f->tenant_opts.limits.reserve_bytes = 1001;                                                  \
      rc = zcache_tenant_open(f->root, &f->tenant_opts, &f->out))                                  \
    X(open_writeback, -EINVAL, f->tenant_opts.limits.writeback = (enum zcache_writeback)2;         \
      rc = zcache_tenant_open(f->root, &f->tenant_opts, &f->out))                                  \
    X(open_node_low, -EINVAL, f->tenant_opts.node = -2;                                            \
      rc = zcache_tenant_open(f->root, &f->tenant_opts, &f->out))                                  \
    X(open_node_high, -EINVAL, f->tenant_opts.node = 100000;                                       \
      rc = zcache_tenant_open(f->root, &f->tenant_opts, &f->out))                                  \
    X(open_store_short, -EINVAL, f->callbacks.struct_size = 8;                                     \
      f->tenant_opts.store = &f->callbacks;                                                        \
      rc = zcache_tenant_open(f->root, &f->tenant_opts, &f->out))                                  \
    X(open_store_longer, -E2BIG, LONGER(struct zcache_store, f->callbacks, 1);                     \
      f->tenant_opts.store = &longer.base;                                                         \
      rc = zcache_tenant_open(f->root, &f->tenant_opts, &f->out))                                  \
    X(open_store_flag, -EINVAL, f->callbacks.flags = UNKNOWN_FLAG;                                 \
      f->tenant_opts.store = &f->callbacks;                                                        \
      rc = zcache_tenant_open(f->root, &f->tenant_opts, &f->out))                                  \
    X(open_store_shift, -EINVAL, f->callbacks.group_shift = 17;                                    \
      f->tenant_opts.store = &f->callbacks;                                                        \
      rc = zcache_tenant_open(f->root, &f->tenant_opts, &f->out))                                  \
    X(close_nothing, 0, rc = zcache_tenant_close(NULL, ZCACHE_CLOSE_FLUSH))                        \
    X(close_root, -EINVAL, rc = zcache_tenant_close(f->root, ZCACHE_CLOSE_FLUSH))                  \
    X(close_mode, -EINVAL, rc = zcache_tenant_close(f->tenant, (enum zcache_close_mode)3))         \
    X(close_children, -EBUSY, rc = zcache_tenant_close(f->parent, ZCACHE_CLOSE_DISCARD))

#define CONTROL_CASES(X)                                                                           \
    X(limits_no_tenant, -EINVAL, rc = zcache_tenant_set_limits(NULL, &f->limits, 0, NULL))         \
    X(limits_none, -EINVAL, rc = zcache_tenant_set_limits(f->tenant, NULL, 0, NULL))               \
    X(limits_no_size, -EINVAL, f->limits.struct_size = 0;                                          \
      rc = zcache_tenant_set_limits(f->tenant, &f->limits, 0, NULL))                               \
    X(limits_short, -EINVAL, f->limits.struct_size = sizeof(f->limits) - 8;                        \
      rc = zcache_tenant_set_limits(f->tenant, &f->limits, 0, NULL))                               \
    X(limits_longer, -E2BIG, LONGER(struct zcache_limits, f->limits, 1);                           \
      rc = zcache_tenant_set_limits(f->tenant, &longer.base, 0, NULL))                             \
    X(limits_longer_zero, 0, LONGER(struct zcache_limits, f->limits, 0);                           \
      rc = zcache_tenant_set_limits(f->tenant, &longer.base, 0, NULL))                             \
    X(limits_no_weight, -EINVAL, f->limits.weight = 0;                                             \
      rc = zcache_tenant_set_limits(f->tenant, &f->limits, 0, NULL))                               \
    X(limits_big_weight, -EINVAL, f->limits.weight = 10001;                                        \
      rc = zcache_tenant_set_limits(f->tenant, &f->limits, 0, NULL))                               \
    X(limits_reserve, -EINVAL, f->limits.limit_bytes = MIB; f->limits.reserve_bytes = MIB + 1;     \
      rc = zcache_tenant_set_limits(f->tenant, &f->limits, 0, NULL))                               \
    X(limits_writeback, -EINVAL, f->limits.writeback = (enum zcache_writeback)2;                   \
      rc = zcache_tenant_set_limits(f->tenant, &f->limits, 0, NULL))                               \
    X(limits_root_small, -EINVAL, f->limits.limit_bytes = MIB - 1;                                 \
      rc = zcache_tenant_set_limits(f->root, &f->limits, 0, NULL))                                 \
    X(limits_root_large, -EINVAL, f->limits.limit_bytes = 64 * MIB + 1;                            \
      rc = zcache_tenant_set_limits(f->root, &f->limits, 0, NULL))                                 \
    X(shrink_no_tenant, -EINVAL, rc = zcache_shrink(NULL, 1, 0, NULL))                             \
    X(shrink_nothing, 0, rc = zcache_shrink(f->tenant, 0, 0, NULL))                                \
    X(shrink_node_no_tenant, -EINVAL, rc = zcache_shrink_node(NULL, 0, 1, 0, NULL))                \
    X(shrink_node_low, -EINVAL, rc = zcache_shrink_node(f->tenant, -1, 1, 0, NULL))                \
    X(shrink_node_high, -EINVAL, rc = zcache_shrink_node(f->tenant, 100000, 1, 0, NULL))           \
    X(shrink_node_nothing, 0, rc = zcache_shrink_node(f->tenant, 0, 0, 0, NULL))                   \
    X(flush_no_tenant, -EINVAL, rc = zcache_flush(NULL, 0))                                        \
    X(flush_tag_no_tenant, -EINVAL, rc = zcache_flush_tag(NULL, 1, 0))                             \
    X(horizon_no_tenant, -EINVAL, rc = zcache_set_wal_horizon(NULL, 1))                            \
    X(stats_no_tenant, -EINVAL, rc = zcache_stats(NULL, &f->stats))                                \
    X(stats_no_out, -EINVAL, rc = zcache_stats(f->tenant, NULL))                                   \
    X(stats_no_size, -EINVAL, f->stats.struct_size = 0; rc = zcache_stats(f->tenant, &f->stats))   \
    X(stats_short, -EINVAL, f->stats.struct_size = 8; rc = zcache_stats(f->tenant, &f->stats))     \
    X(stats_longer, -E2BIG, LONGER(struct zcache_stats, f->stats, 1);                              \
      rc = zcache_stats(f->tenant, &longer.base))                                                  \
    X(stats_longer_zero, 0, LONGER(struct zcache_stats, f->stats, 0);                              \
      rc = zcache_stats(f->tenant, &longer.base))                                                  \
    X(find_no_cache, -EINVAL, rc = zcache_tenant_find(NULL, 0, &f->out))                           \
    X(find_no_out, -EINVAL, rc = zcache_tenant_find(f->cache, 0, NULL))                            \
    X(find_unknown, -ENOENT, rc = zcache_tenant_find(f->cache, 123456789, &f->out))                \
    X(id_no_tenant, 0, rc = zcache_tenant_id(NULL) == UINT64_MAX ? 0 : -1)                         \
    X(root_no_cache, 0, rc = zcache_root(NULL) == NULL ? 0 : -1)

#define CACHE_CASES(X)                                                                             \
    X(metrics_no_cache, -EINVAL,                                                                   \
      rc = zcache_metrics_write(NULL, ZCACHE_METRICS_JSON, any_write, NULL))                       \
    X(metrics_format, -EINVAL,                                                                     \
      rc = zcache_metrics_write(f->cache, (enum zcache_metrics_format)3, any_write, NULL))         \
    X(metrics_no_write, -EINVAL,                                                                   \
      rc = zcache_metrics_write(f->cache, ZCACHE_METRICS_JSON, NULL, NULL))                        \
    X(metrics_refused, -EPIPE,                                                                     \
      rc = zcache_metrics_write(f->cache, ZCACHE_METRICS_JSON, refusing_write, NULL))              \
    X(verify_no_cache, -EINVAL, rc = zcache_verify(NULL))                                          \
    X(compact_no_cache, -EINVAL, rc = zcache_compact(NULL, 1, NULL))                               \
    X(done_no_cache, -EINVAL, rc = zcache_done(NULL, 1, 0))                                        \
    X(done_positive, -EINVAL, rc = zcache_done(f->cache, 1, 1))                                    \
    X(cache_close_nothing, 0, rc = zcache_close(NULL, 0))                                          \
    X(cache_close_flags, -EINVAL, rc = zcache_close(f->cache, 2))                                  \
    X(register_no_cache, -EINVAL, rc = zcache_codec_register(NULL, &f->codec))                     \
    X(register_nothing, -EINVAL, rc = zcache_codec_register(f->cache, NULL))                       \
    X(register_no_name, -EINVAL, f->codec.name = NULL;                                             \
      rc = zcache_codec_register(f->cache, &f->codec))                                             \
    X(register_empty_name, -EINVAL, f->codec.name = "";                                            \
      rc = zcache_codec_register(f->cache, &f->codec))                                             \
    X(register_long_name, -EINVAL, f->codec.name = "0123456789abcdef";                             \
      rc = zcache_codec_register(f->cache, &f->codec))                                             \
    X(register_name, -EINVAL, f->codec.name = "Mine";                                              \
      rc = zcache_codec_register(f->cache, &f->codec))                                             \
    X(register_colon, -EINVAL, f->codec.name = "a:1";                                              \
      rc = zcache_codec_register(f->cache, &f->codec))                                             \
    X(register_built_in, -EEXIST, f->codec.name = "lz4";                                           \
      rc = zcache_codec_register(f->cache, &f->codec))                                             \
    X(register_none, -EEXIST, f->codec.name = "none";                                              \
      rc = zcache_codec_register(f->cache, &f->codec))                                             \
    X(register_levels, -EINVAL, f->codec.level_min = 4;                                            \
      rc = zcache_codec_register(f->cache, &f->codec))                                             \
    X(register_default_level, -EINVAL, f->codec.level_default = 4;                                 \
      rc = zcache_codec_register(f->cache, &f->codec))                                             \
    X(register_no_encode, -EINVAL, f->codec.encode = NULL;                                         \
      rc = zcache_codec_register(f->cache, &f->codec))                                             \
    X(register_no_decode, -EINVAL, f->codec.decode = NULL;                                         \
      rc = zcache_codec_register(f->cache, &f->codec))                                             \
    X(register_create_only, -EINVAL, f->codec.context_create = any_context;                        \
      rc = zcache_codec_register(f->cache, &f->codec))                                             \
    X(register_destroy_only, -EINVAL, f->codec.context_destroy = any_context_end;                  \
      rc = zcache_codec_register(f->cache, &f->codec))                                             \
    X(register_no_size, -EINVAL, f->codec.struct_size = 0;                                         \
      rc = zcache_codec_register(f->cache, &f->codec))                                             \
    X(register_short, -EINVAL, f->codec.struct_size = sizeof(f->codec) - 8;                        \
      rc = zcache_codec_register(f->cache, &f->codec))                                             \
    X(register_longer, -E2BIG, LONGER(struct zcache_codec, f->codec, 1);                           \
      rc = zcache_codec_register(f->cache, &longer.base))                                          \
    X(select_no_cache, -EINVAL, rc = zcache_codec_select(NULL, ZCACHE_TIER_FAST, "lz4"))           \
    X(select_raw, -EINVAL, rc = zcache_codec_select(f->cache, ZCACHE_TIER_RAW, "lz4"))             \
    X(select_tier, -EINVAL, rc = zcache_codec_select(f->cache, ZCACHE_TIERS, "lz4"))               \
    X(select_nothing, -EINVAL, rc = zcache_codec_select(f->cache, ZCACHE_TIER_FAST, NULL))         \
    X(select_empty_level, -EINVAL, rc = zcache_codec_select(f->cache, ZCACHE_TIER_FAST, "lz4:"))   \
    X(select_level, -EINVAL, rc = zcache_codec_select(f->cache, ZCACHE_TIER_DENSE, "zstd:1000"))   \
    X(select_junk, -EINVAL, rc = zcache_codec_select(f->cache, ZCACHE_TIER_DENSE, "zstd:3x"))      \
    X(select_unknown, -ENOTSUP, rc = zcache_codec_select(f->cache, ZCACHE_TIER_DENSE, "brotli"))

#define ALL_CASES(X)                                                                               \
    PUT_CASES(X)                                                                                   \
    GET_CASES(X)                                                                                   \
    DELETE_CASES(X)                                                                                \
    TENANT_CASES(X)                                                                                \
    CONTROL_CASES(X)                                                                               \
    CACHE_CASES(X)

/* The statuses of a batch that was refused as a whole. */
static void untouched(const struct fixture *f)
{
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(f->pages[i].status, 77);
    }
}

#define CASE_FUNCTION(name, expected, ...)                                                         \
    static int call_##name(struct fixture *f)                                                      \
    {                                                                                              \
        int rc;                                                                                    \
        (void)f;                                                                                   \
        __VA_ARGS__;                                                                               \
        return rc;                                                                                 \
    }
ALL_CASES(CASE_FUNCTION)

#define CASE_ROW(name, expected, ...) {#name, expected, call_##name},

static const struct {
    const char *name;
    int expected;
    int (*call)(struct fixture *f);
} cases[] = {ALL_CASES(CASE_ROW)};

/* ---- nothing changed ---------------------------------------------------------------------------- */

/* All counters but the *_errors, which may count a call that was refused. */
static void compare(const char *name, const struct zcache_stats *a, const struct zcache_stats *b)
{
#define COMPARE(field, kind, unit, help)                                                           \
    if (a->count.field != b->count.field && strstr(#field, "_errors") == NULL)                     \
        fail_msg("%s changed count.%s", name, #field);
    ZCACHE_COUNTERS(COMPARE)
#undef COMPARE
#define COMPARE(field, kind, unit, help)                                                           \
    if (a->gauge.field != b->gauge.field)                                                          \
        fail_msg("%s changed gauge.%s: %llu, %llu", name, #field,                                  \
                 (unsigned long long)a->gauge.field, (unsigned long long)b->gauge.field);
    ZCACHE_GAUGES(COMPARE)
#undef COMPARE
    for (unsigned i = 0; i < ZCACHE_TIERS; i++) {
        if (memcmp(&a->tier[i], &b->tier[i], sizeof(a->tier[i])) != 0) {
            fail_msg("%s changed tier %u", name, i);
        }
    }
    if (a->cache.pins != b->cache.pins || a->cache.io_bytes != b->cache.io_bytes) {
        fail_msg("%s changed the cache's gauges", name);
    }
}

static void fixture_open(struct fixture *f)
{
    f->store = mem_store_new(MEM_STORE_SYNC);
    f->cache = open_stored(64 * MIB, f->store, NULL);
    f->root = zcache_root(f->cache);
    f->tenant = open_tenant(f->root, "tenant", ZCACHE_UNLIMITED);
    f->parent = open_tenant(f->root, "parent", ZCACHE_UNLIMITED);
    f->child = open_tenant(f->parent, "child", ZCACHE_UNLIMITED);
    reset(f);

    /* Let this thread and the tenants have what they need once. */
    assert_int_equal(zcache_put(f->tenant, KEY, f->page, PAGE, 0), 0);
    assert_int_equal(zcache_get(f->tenant, KEY, f->room, PAGE, NULL, 0), 0);
    assert_int_equal(zcache_pin(f->tenant, KEY, 0, &f->pin), 0);
    zcache_unpin(&f->pin);
    assert_int_equal(zcache_get(f->tenant, ABSENT, f->room, PAGE, NULL, 0), ZCACHE_MISS);
    reset(f);
}

static void fixture_close(struct fixture *f)
{
    drop_cache(f->cache);
    mem_store_free(f->store);
}

static void each_wrong_argument_has_its_code(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        reset(&f);
        const struct zcache_stats before = stats_of(f.root);
        const int rc = cases[i].call(&f);
        if (rc != cases[i].expected) {
            fail_msg("%s: %d, not %d", cases[i].name, rc, cases[i].expected);
        }
        assert_null(f.out);
        const struct zcache_stats after = stats_of(f.root);
        compare(cases[i].name, &before, &after);
        assert_true(is_cached(f.tenant, KEY));
        assert_int_equal(zcache_get(f.tenant, KEY, f.room, PAGE, NULL, ZCACHE_PEEK), 0);
        assert_memory_equal(f.room, f.page, PAGE);
    }
    fixture_close(&f);
}

static void unknown_completions_are_counted(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f);
    const uint64_t before = stats_of(f.root).cache.bad_completions;
    assert_int_equal(zcache_done(f.cache, UINT64_C(0x123456789abcdef0), 0), -ENOENT);
    assert_int_equal(zcache_done(f.cache, 0, -EIO), -ENOENT);
    assert_int_equal(zcache_done(f.cache, UINT64_MAX, 0), -ENOENT);
    assert_int_equal(stats_of(f.root).cache.bad_completions, before + 3);
    fixture_close(&f);
}

static void output_stays_untouched_on_failure(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f);
    size_t len = 4711;
    assert_int_equal(zcache_get(f.tenant, ABSENT, f.room, PAGE, &len, 0), ZCACHE_MISS);
    assert_int_equal(len, 4711);
    assert_int_equal(zcache_get(f.tenant, KEY, f.room, PAGE, &len, UNKNOWN_FLAG), -EINVAL);
    assert_int_equal(len, 4711);
    struct zcache_pin pin;
    memset(&pin, 0x5a, sizeof(pin));
    const struct zcache_pin pattern = pin;
    assert_int_equal(zcache_pin(f.tenant, ABSENT, 0, &pin), ZCACHE_MISS);
    assert_memory_equal(&pin, &pattern, sizeof(pin));
    assert_int_equal(zcache_pin(f.tenant, KEY, UNKNOWN_FLAG, &pin), -EINVAL);
    assert_memory_equal(&pin, &pattern, sizeof(pin));
    fixture_close(&f);
}

/* ---- handles whose time is over ------------------------------------------------------------------ */

/* Every call with a tenant's handle, its other arguments in order. */
#define HANDLE_CALLS(X)                                                                            \
    X(zcache_put(f->tenant, KEY, f->page, PAGE, 0))                                                \
    X(zcache_get(f->tenant, KEY, f->room, PAGE, NULL, 0))                                          \
    X(zcache_pin(f->tenant, KEY, 0, &f->pin))                                                      \
    X(zcache_delete(f->tenant, KEY, 0))                                                            \
    X(zcache_truncate(f->tenant, 1, 0))                                                            \
    X(zcache_put_many(f->tenant, f->pages, 3, 0))                                                  \
    X(zcache_get_many(f->tenant, f->pages, 3, 0))                                                  \
    X(zcache_tenant_open(f->tenant, &f->tenant_opts, &f->out))                                     \
    X(zcache_tenant_set_limits(f->tenant, &f->limits, 0, NULL))                                    \
    X(zcache_shrink_node(f->tenant, 0, 1, 0, NULL))                                                \
    X(zcache_shrink(f->tenant, 1, 0, NULL))                                                        \
    X(zcache_flush(f->tenant, 100))                                                                \
    X(zcache_flush_tag(f->tenant, 1, 100))                                                         \
    X(zcache_set_wal_horizon(f->tenant, 1))                                                        \
    X(zcache_stats(f->tenant, &f->stats))

#define CACHE_CALLS(X)                                                                             \
    X(zcache_tenant_find(f->cache, 0, &f->out))                                                    \
    X(zcache_metrics_write(f->cache, ZCACHE_METRICS_JSON, any_write, NULL))                        \
    X(zcache_verify(f->cache))                                                                     \
    X(zcache_compact(f->cache, 1, NULL))                                                           \
    X(zcache_codec_register(f->cache, &f->codec))                                                  \
    X(zcache_codec_select(f->cache, ZCACHE_TIER_FAST, "lz4"))

/* What calls with a handle gave that were expected to give one and the same code. */
static struct {
    struct fixture *f;
    unsigned wrong;
    char first[160];
    bool root_hidden;
} seen;

static void expect_of_handle(struct fixture *f, int expected)
{
#define EXPECT(call)                                                                               \
    {                                                                                              \
        const int rc = call;                                                                       \
        if (rc != expected && seen.wrong++ == 0)                                                   \
            (void)snprintf(seen.first, sizeof(seen.first), "%d from %s", rc, #call);               \
    }
    HANDLE_CALLS(EXPECT)
}

static void expect_of_cache(struct fixture *f, int expected)
{
    CACHE_CALLS(EXPECT)
}

static void closed_tenant_is_refused(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f);
    assert_int_equal(zcache_tenant_close(f.tenant, ZCACHE_CLOSE_DISCARD), 0);
    memset(&seen, 0, sizeof(seen));
    expect_of_handle(&f, -EINVAL);
    if (seen.wrong > 0) {
        fail_msg("%u calls with a closed tenant, first: %s", seen.wrong, seen.first);
    }
    assert_int_equal(zcache_tenant_close(f.tenant, ZCACHE_CLOSE_FLUSH), -EINVAL);
    assert_true(zcache_tenant_id(f.tenant) == UINT64_MAX);
    fixture_close(&f);
}

static void try_while_closing(void *ctx)
{
    (void)ctx;
    expect_of_handle(seen.f, -ESHUTDOWN);
    seen.root_hidden = zcache_root(seen.f->cache) == NULL;
    if (seen.root_hidden) {
        expect_of_cache(seen.f, -ESHUTDOWN);
    }
}

static void closing_cache_is_refused(void **state)
{
    struct fixture f = {0};
    struct zcache_store callbacks = ZCACHE_STORE_INIT;

    (void)state;
    callbacks.detach = try_while_closing;
    f.cache = open_cache(64 * MIB, &callbacks, NULL);
    f.tenant = zcache_root(f.cache);
    reset(&f);
    assert_int_equal(zcache_put(f.tenant, KEY, f.page, PAGE, 0), 0);
    memset(&seen, 0, sizeof(seen));
    seen.f = &f;
    assert_int_equal(zcache_close(f.cache, ZCACHE_FLUSH), 0);
    if (seen.wrong > 0) {
        fail_msg("%u calls during the close, first: %s", seen.wrong, seen.first);
    }
    assert_true(seen.root_hidden);
}

static void closing_tenant_is_refused(void **state)
{
    struct fixture f = {0};
    struct zcache_store callbacks = ZCACHE_STORE_INIT;
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;

    (void)state;
    f.cache = open_cache(64 * MIB, NULL, NULL);
    callbacks.detach = try_while_closing;
    opts.name = "closing";
    opts.store = &callbacks;
    assert_int_equal(zcache_tenant_open(zcache_root(f.cache), &opts, &f.tenant), 0);
    reset(&f);
    memset(&seen, 0, sizeof(seen));
    seen.f = &f;
    assert_int_equal(zcache_tenant_close(f.tenant, ZCACHE_CLOSE_FLUSH), 0);
    if (seen.wrong > 0) {
        fail_msg("%u calls during the close, first: %s", seen.wrong, seen.first);
    }
    assert_false(seen.root_hidden); /* the cache itself stays open */
    close_cache(f.cache);
}

/* The number of the first call that was not refused, from 1; 0 if all were. */
static int calls_in_child(struct fixture *f)
{
    int n = 0;

#define EXPECT_CHILD(call)                                                                         \
    n++;                                                                                           \
    if ((call) != -ESHUTDOWN)                                                                      \
        return n;
    HANDLE_CALLS(EXPECT_CHILD)
    CACHE_CALLS(EXPECT_CHILD)
    EXPECT_CHILD(zcache_tenant_close(f->tenant, ZCACHE_CLOSE_DISCARD))
    EXPECT_CHILD(zcache_close(f->cache, ZCACHE_DISCARD))
    return 0;
}

static void forked_child_is_refused(void **state)
{
    struct fixture f;
    struct zcache_pin pin;
    int status = 0;

    (void)state;
    fixture_open(&f);
    assert_int_equal(zcache_pin(f.tenant, KEY, 0, &pin), 0);
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        zcache_unpin(&f.pin); /* an empty one */
        zcache_unpin(&pin);   /* does not hang either */
        _exit(calls_in_child(&f));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    /* The parent has not noticed anything. */
    assert_memory_equal(pin.data, f.page, PAGE);
    zcache_unpin(&pin);
    assert_int_equal(zcache_put(f.tenant, KEY, f.page, PAGE, 0), 0);
    assert_int_equal(zcache_flush(f.tenant, 1000), 0);
    fixture_close(&f);
}

/* ---- options ---------------------------------------------------------------------------------- */

/* X(expected, event that names it, statement) */
#define OPTION_CASES(X)                                                                            \
    X(-EINVAL, "option.capacity", opts.capacity_bytes = 0)                                         \
    X(-EINVAL, "option.capacity", opts.capacity_bytes = MIB - 1)                                   \
    X(-EINVAL, "option.capacity", opts.page_max_bytes = 1 << 20;                                   \
      opts.capacity_bytes = 16 * MIB - 1)                                                          \
    X(-EINVAL, "option.page_max", opts.page_max_bytes = 0)                                         \
    X(-EINVAL, "option.page_max", opts.page_max_bytes = (1 << 20) + 1)                             \
    X(-EINVAL, "option.raw_percent", opts.raw_percent = 101)                                       \
    X(-EINVAL, "option.fast_percent", opts.fast_percent = 101)                                     \
    X(-EINVAL, "option.start_percent", opts.start_percent = 101)                                   \
    X(-EINVAL, "option.start_percent", opts.start_percent = 96)                                    \
    X(-EINVAL, "option.low_percent", opts.low_percent = 97)                                        \
    X(-EINVAL, "option.background_percent", opts.background_percent = 101)                         \
    X(-EINVAL, "option.full", opts.full_policy = (enum zcache_full_policy)3)                       \
    X(-EINVAL, "option.huge_pages", opts.huge_pages = (enum zcache_huge_pages)2)                   \
    X(-EINVAL, "option.policy", opts.policy = (enum zcache_policy)2)                               \
    X(-EINVAL, "option.max_stall_ms", opts.max_stall_ms = 0)                                       \
    X(-EINVAL, "option.max_stall_ms", opts.max_stall_ms = 3600001)                                 \
    X(-EINVAL, "option.inflight_pages", opts.inflight_pages = 0)                                   \
    X(-EINVAL, "option.inflight_pages", opts.inflight_pages = 65537)                               \
    X(-EINVAL, "option.batch_pages", opts.batch_pages = 0)                                         \
    X(-EINVAL, "option.batch_pages", opts.batch_pages = 1025)                                      \
    X(-EINVAL, "option.compact_percent", opts.compact_percent = 101)                               \
    X(-EINVAL, "option.latency_sample", opts.latency_sample = 3)                                   \
    X(-EINVAL, "option.feed_percent", opts.feed_percent = 101)                                     \
    X(-EINVAL, "option.pressure", opts.pressure = (enum zcache_pressure)4)                         \
    X(-EINVAL, "option.pressure_floor_percent", opts.pressure_floor_percent = 0)                   \
    X(-EINVAL, "option.pressure_high_percent", opts.pressure_high_percent = 101)                   \
    X(-EINVAL, "option.pressure_low_percent", opts.pressure_low_percent = 95)                      \
    X(-EINVAL, "option.pressure_stall_percent", opts.pressure_stall_percent = 101)                 \
    X(-EINVAL, "option.pressure_quiet_ms", opts.pressure_quiet_ms = 99)                            \
    X(-EINVAL, "option.fast", (void)snprintf(opts.fast_codec, sizeof(opts.fast_codec), "lz4:"))    \
    X(-EINVAL, "option.fast", (void)memset(opts.fast_codec, 'a', sizeof(opts.fast_codec)))         \
    X(-EINVAL, "option.dense",                                                                     \
      (void)snprintf(opts.dense_codec, sizeof(opts.dense_codec), "zstd:1000"))                     \
    X(-ENOTSUP, "option.fast", (void)snprintf(opts.fast_codec, sizeof(opts.fast_codec), "brotli")) \
    X(-ENOTSUP, "option.dense",                                                                    \
      (void)snprintf(opts.dense_codec, sizeof(opts.dense_codec), "brotli"))                        \
    X(-EINVAL, "", opts.struct_size = 0)                                                           \
    X(-EINVAL, "", opts.struct_size = offsetof(struct zcache_options, log_ctx))                    \
    X(-EINVAL, "", store.group_shift = 17; opts.store = &store)                                    \
    X(-EINVAL, "", store.flags = UNKNOWN_FLAG; opts.store = &store)                                \
    X(-EINVAL, "", store.struct_size = 8; opts.store = &store)

static void each_bad_option_is_named(void **state)
{
    (void)state;
#define TRY_OPTION(expected, event, ...)                                                           \
    {                                                                                              \
        struct zcache_options opts = ZCACHE_OPTIONS_INIT;                                          \
        struct zcache_store store = ZCACHE_STORE_INIT;                                             \
        struct zcache *cache = NULL;                                                               \
        (void)store;                                                                               \
        opts.capacity_bytes = 64 * MIB;                                                            \
        opts.log = log_keep;                                                                       \
        __VA_ARGS__;                                                                               \
        log_clear();                                                                               \
        const int rc = zcache_open(&opts, &cache);                                                 \
        if (rc != (expected) || cache != NULL)                                                     \
            fail_msg("%s: %d, not %d", #__VA_ARGS__, rc, (expected));                              \
        if ((event)[0] != '\0' && log_count(event) != 1) {                                         \
            log_print();                                                                           \
            fail_msg("%s: no message %s", #__VA_ARGS__, (event));                                  \
        }                                                                                          \
    }
    OPTION_CASES(TRY_OPTION)
}

static void opening_checks_its_pointers(void **state)
{
    struct zcache_options opts = ZCACHE_OPTIONS_INIT;
    struct zcache *cache = NULL;

    (void)state;
    opts.capacity_bytes = 64 * MIB;
    assert_int_equal(zcache_open(NULL, &cache), -EINVAL);
    assert_null(cache);
    assert_int_equal(zcache_open(&opts, NULL), -EINVAL);
    {
        LONGER(struct zcache_options, opts, 1);
        assert_int_equal(zcache_open(&longer.base, &cache), -E2BIG);
        assert_null(cache);
    }
    /* A caller of a later release, who uses none of what it added. */
    {
        LONGER(struct zcache_options, opts, 0);
        assert_int_equal(zcache_open(&longer.base, &cache), 0);
    }
    struct zcache_tenant_options tenant_opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_tenant *tenant = NULL;
    tenant_opts.name = "later";
    {
        LONGER(struct zcache_tenant_options, tenant_opts, 0);
        assert_int_equal(zcache_tenant_open(zcache_root(cache), &longer.base, &tenant), 0);
    }
    struct zcache_codec codec = ZCACHE_CODEC_INIT;
    codec.name = "later";
    codec.encode = any_encode;
    codec.decode = any_decode;
    {
        LONGER(struct zcache_codec, codec, 0);
        assert_int_equal(zcache_codec_register(cache, &longer.base), 0);
        assert_int_equal(zcache_codec_register(cache, &longer.base), -EEXIST);
    }
    close_cache(cache);
}

static void limits_of_options_are_legal(void **state)
{
    static const char *const texts[] = {
        "raw_percent=0,fast_percent=0",
        "raw_percent=100,fast_percent=100",
        "start_percent=100",
        "start_percent=0",
        "start_percent=90,low_percent=90,background_percent=91",
        "max_stall_ms=1",
        "max_stall_ms=3600000",
        "inflight_pages=1,batch_pages=1",
        "inflight_pages=65536,batch_pages=1024",
        "latency_sample=0",
        "latency_sample=1",
        "keep=0,compact_percent=0",
        "keep=1T,compact_percent=100",
        "fast=none,dense=none",
        "fast=zstd:1,dense=lz4",
        "full=reject",
        "full=help",
        "page_max=1",
        "page_max=1M",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        close_cache(open_cache(64 * MIB, NULL, texts[i]));
    }
    close_cache(open_cache(1 * MIB, NULL, NULL));
}

static void options_text_is_parsed_or_explained(void **state)
{
    static const char *const bad[] = {
        "capacity",        "capacity=",           "capacity=8X",
        "capacity=-1",     "capacity=8G,",        ",capacity=8G",
        "nothing=1",       "Capacity=8G",         "raw_percent=1x",
        "raw_percent=",    "full=sometimes",      "capacity=99999999999999T",
        "max_stall_ms=1K", "raw_percent=5 0",     "capacity=8G capacity=9G",
        "fast=",           "page_max=4294967296", "inflight_pages=-1",
    };
    char error[100];

    (void)state;
    struct zcache_options opts = ZCACHE_OPTIONS_INIT;
    const struct zcache_options fresh = opts;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        opts = fresh;
        memset(error, 0, sizeof(error));
        const int rc = zcache_options_parse(&opts, bad[i], error, sizeof(error));
        if (strcmp(bad[i], "fast=") == 0 || strcmp(bad[i], "max_stall_ms=1K") == 0) {
            continue; /* either way is fine: "" is a codec text, 1K is 1024 */
        }
        if (rc != -EINVAL) {
            fail_msg("\"%s\": %d", bad[i], rc);
        }
        assert_true(error[0] != '\0' && strlen(error) < sizeof(error));
        assert_memory_equal(&opts, &fresh, sizeof(opts));
    }
    assert_int_equal(zcache_options_parse(NULL, "capacity=8G", error, sizeof(error)), -EINVAL);
    assert_int_equal(zcache_options_parse(&opts, NULL, error, sizeof(error)), -EINVAL);
    assert_int_equal(zcache_options_parse(&opts, "nothing=1", NULL, 0), -EINVAL);
    assert_int_equal(zcache_options_parse(&opts, "nothing=1", error, 0), -EINVAL);
    memset(error, '#', sizeof(error));
    assert_int_equal(zcache_options_parse(&opts, "nothing=1", error, 5), -EINVAL);
    assert_true(strnlen(error, 5) < 5 && error[5] == '#');

    opts = fresh;
    assert_int_equal(zcache_options_parse(&opts,
                                          "capacity=8G,page_max=16K,raw_percent=1,fast_percent=2,"
                                          "fast=zstd:1,dense=none,start_percent=3,"
                                          "background_percent=40,low_percent=30,full=help,"
                                          "max_stall_ms=5,inflight_pages=6,batch_pages=7,"
                                          "latency_sample=8,keep=9M,compact_percent=10",
                                          NULL, 0),
                     0);
    assert_true(opts.capacity_bytes == 8192 * MIB);
    assert_int_equal(opts.page_max_bytes, 16384);
    assert_int_equal(opts.raw_percent, 1);
    assert_int_equal(opts.fast_percent, 2);
    assert_string_equal(opts.fast_codec, "zstd:1");
    assert_string_equal(opts.dense_codec, "none");
    assert_int_equal(opts.start_percent, 3);
    assert_int_equal(opts.background_percent, 40);
    assert_int_equal(opts.low_percent, 30);
    assert_int_equal(opts.full_policy, ZCACHE_FULL_HELP);
    assert_int_equal(opts.max_stall_ms, 5);
    assert_int_equal(opts.inflight_pages, 6);
    assert_int_equal(opts.batch_pages, 7);
    assert_int_equal(opts.latency_sample, 8);
    assert_true(opts.keep_bytes == 9 * MIB);
    assert_int_equal(opts.compact_percent, 10);
    assert_int_equal(zcache_options_parse(&opts, "", NULL, 0), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_wrong_argument_has_its_code),
        cmocka_unit_test(unknown_completions_are_counted),
        cmocka_unit_test(output_stays_untouched_on_failure),
        cmocka_unit_test(closed_tenant_is_refused),
        cmocka_unit_test(closing_cache_is_refused),
        cmocka_unit_test(closing_tenant_is_refused),
        cmocka_unit_test(forked_child_is_refused),
        cmocka_unit_test(each_bad_option_is_named),
        cmocka_unit_test(opening_checks_its_pointers),
        cmocka_unit_test(limits_of_options_are_legal),
        cmocka_unit_test(options_text_is_parsed_or_explained),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
