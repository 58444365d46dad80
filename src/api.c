/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * api.c - the public functions: check the arguments, forward.
 *
 * Every function first makes sure that the handle is one, that its cache is alive and in this
 * process, then its other arguments; only then is anything touched.  Outputs are written on success
 * only.
 */
#include <errno.h>
#include <string.h>
#include <zcache/codec.h>
#include <zcache/stats.h>
#include <zcache/store.h>
#include <zcache/zcache.h>

#include "advise.h"
#include "batch.h"
#include "cache.h"
#include "close.h"
#include "compact.h"
#include "flush.h"
#include "get.h"
#include "mathx.h"
#include "metrics.h"
#include "options.h"
#include "put.h"
#include "reclaim.h"
#include "remove.h"
#include "report.h"
#include "tenant.h"
#include "verify.h"

#define PUT_FLAGS                                                                                  \
    (ZCACHE_CLEAN | ZCACHE_DIRTY | ZCACHE_SCAN | ZCACHE_INCOMPRESSIBLE | ZCACHE_NOWAIT |           \
     ZCACHE_NOIO | ZCACHE_BEST_EFFORT | ZCACHE_IF_ABSENT | ZCACHE_KEEP_OLD | ZCACHE_KEEP_RAW)
#define GET_FLAGS                                                                                  \
    (ZCACHE_TAKE | ZCACHE_PEEK | ZCACHE_NO_LOAD | ZCACHE_SCAN | ZCACHE_KEEP_RAW | ZCACHE_NOWAIT |  \
     ZCACHE_NOIO | ZCACHE_KEEP_TIER)
#define PIN_FLAGS       (GET_FLAGS & ~(unsigned)(ZCACHE_TAKE | ZCACHE_KEEP_TIER))
#define DELETE_FLAGS    (ZCACHE_NOWAIT | ZCACHE_NOIO)
#define STALL_NS_PER_MS UINT64_C(1000000)

#define STR_(x)         #x
#define STR(x)          STR_(x)

/* ---- handles ------------------------------------------------------------------------------- */

static int check_cache(const struct zcache *cache)
{
    if (ZC_UNLIKELY(cache == NULL || cache->tag != ZC_TAG_CACHE)) {
        return -EINVAL;
    }
    if (ZC_UNLIKELY(*cache->fork_guard == 0 ||
                    atomic_load_explicit(&cache->state, memory_order_relaxed) != ZC_CACHE_OPEN)) {
        return -ESHUTDOWN;
    }
    return 0;
}

static int check_tenant(const struct zcache_tenant *t)
{
    int rc;

    if (ZC_UNLIKELY(t == NULL || t->tag != ZC_TAG_TENANT)) {
        return -EINVAL;
    }
    rc = check_cache(t->cache);
    if (ZC_UNLIKELY(rc != 0)) {
        return rc;
    }
    switch (atomic_load_explicit(&t->state, memory_order_acquire)) {
    case ZC_TENANT_OPEN:
        return 0;
    case ZC_TENANT_CLOSING:
        return -ESHUTDOWN;
    default:
        return -EINVAL;
    }
}

/* The calling thread's state; 0 or -ENOMEM.  @flags: of the call: NOWAIT. */
static int get_thread(struct zcache *cache, unsigned flags, struct zc_thread **th)
{
    *th = zc_core_thread(cache);
    if (ZC_UNLIKELY(*th == NULL) && (flags & ZCACHE_NOWAIT) == 0) {
        *th = zc_core_thread_wait(cache);
    }
    return ZC_LIKELY(*th != NULL) ? 0 : -ENOMEM;
}

/* Enters the tenant and finds the thread.  0 or the error. */
static int begin(struct zcache_tenant *t, unsigned flags, struct zc_thread **th)
{
    int rc = get_thread(t->cache, flags, th);

    return rc != 0 ? rc : zc_tenant_enter(t);
}

/* A thread's first call found no memory: it ends in a counted outcome all the same. */
static void count_refused(struct zcache_tenant *t, enum zc_counter error, uint64_t n)
{
    if (zc_tenant_enter(t) == 0) {
        zc_stat_add(t->stat, error, n);
        zc_tenant_leave(t);
    }
}

static int begin_counted(struct zcache_tenant *t,
                         unsigned flags,
                         struct zc_thread **th,
                         enum zc_counter error,
                         uint64_t n)
{
    int rc = begin(t, flags, th);

    if (ZC_UNLIKELY(rc == -ENOMEM)) {
        count_refused(t, error, n);
    }
    return rc;
}

/*
 * As above for puts.  To remove the older version takes what there was no memory for, so it stays,
 * and the code says so.
 */
static int begin_put(struct zcache_tenant *t, unsigned flags, struct zc_thread **th, uint64_t n)
{
    int rc = begin_counted(t, flags, th, ZC_C_put_errors, n);

    return rc == -ENOMEM ? -EBUSY : rc;
}

static void set_status(struct zcache_page *pages, size_t n, int status)
{
    for (size_t i = 0; i < n; i++) {
        pages[i].status = status;
    }
}

/* ---- lifetime ------------------------------------------------------------------------------ */

int zcache_open(const struct zcache_options *opts, struct zcache **out)
{
    struct zcache_options checked;
    int rc;

    if (opts == NULL || out == NULL) {
        return -EINVAL;
    }
    rc = zc_options_check(opts, &checked);
    return rc != 0 ? rc : zc_cache_open(&checked, out);
}

int zcache_close(struct zcache *cache, unsigned flags)
{
    struct zc_thread *th;
    int rc;

    if (cache == NULL) {
        return 0;
    }
    rc = check_cache(cache);
    if (rc != 0) {
        return rc;
    }
    if ((flags & ~(unsigned)ZCACHE_DISCARD) != 0) {
        return -EINVAL;
    }
    rc = get_thread(cache, 0, &th);
    if (rc != 0) {
        return rc;
    }
    if (zc_batch_in_callback(th)) {
        return -EDEADLK;
    }
    return zc_cache_close(cache, th, (flags & ZCACHE_DISCARD) != 0);
}

int zcache_options_parse(struct zcache_options *opts,
                         const char *text,
                         char *error,
                         size_t error_cap)
{
    if (opts == NULL || text == NULL || (error == NULL && error_cap != 0)) {
        return -EINVAL;
    }
    return zc_options_parse(opts, text, error, error_cap);
}

const char *zcache_version(void)
{
    return STR(ZCACHE_VERSION_MAJOR) "." STR(ZCACHE_VERSION_MINOR) "." STR(ZCACHE_VERSION_PATCH);
}

/* ---- pages --------------------------------------------------------------------------------- */

static bool put_args_ok(const struct zcache *cache, const void *data, size_t len, unsigned flags)
{
    bool both = ((flags & ZCACHE_CLEAN) != 0 && (flags & ZCACHE_DIRTY) != 0) ||
                ((flags & ZCACHE_BEST_EFFORT) != 0 && (flags & ZCACHE_KEEP_OLD) != 0);

    return data != NULL && len > 0 && len <= cache->opt.page_max_bytes &&
           (flags & ~(unsigned)PUT_FLAGS) == 0 && !both;
}

int zcache_put(struct zcache_tenant *tenant,
               struct zcache_key key,
               const void *data,
               size_t len,
               unsigned flags)
{
    struct zc_thread *th;
    int rc = check_tenant(tenant);

    if (ZC_UNLIKELY(rc != 0)) {
        return rc;
    }
    if (ZC_UNLIKELY(!put_args_ok(tenant->cache, data, len, flags))) {
        return -EINVAL;
    }
    rc = begin_put(tenant, flags, &th, 1);
    if (ZC_LIKELY(rc == 0)) {
        struct zc_stall stall = zc_stall_of(tenant->cache);

        rc = zc_put(tenant, th, key, data, len, 0, flags, &stall);
        zc_tenant_leave(tenant);
    }
    return rc;
}

int zcache_put_many(struct zcache_tenant *tenant,
                    struct zcache_page *pages,
                    size_t n,
                    unsigned flags)
{
    struct zc_stall stall;
    struct zc_thread *th;
    int first = 0;
    int rc = check_tenant(tenant);

    if (rc != 0) {
        return rc;
    }
    if ((pages == NULL && n > 0) || !put_args_ok(tenant->cache, "", 1, flags)) {
        return -EINVAL;
    }
    for (size_t i = 0; i < n; i++) {
        if (!put_args_ok(tenant->cache, pages[i].data, pages[i].len, flags)) {
            return -EINVAL;
        }
    }
    rc = begin_put(tenant, flags, &th, n);
    if (rc != 0) {
        set_status(pages, n, rc);
        return rc;
    }
    stall = zc_stall_of(tenant->cache);
    for (size_t i = 0; i < n; i++) {
        if (i % ZC_PAGE_AHEAD == 0) {
            zc_page_expect(tenant, th, &pages[i], ZC_MIN(n - i, ZC_PAGE_AHEAD));
        }
        pages[i].status = zc_put(tenant, th, pages[i].key, pages[i].data, pages[i].len,
                                 pages[i].tag, flags, &stall);
        first = first == 0 && pages[i].status < 0 ? pages[i].status : first;
    }
    zc_tenant_leave(tenant);
    return first;
}

static bool get_args_ok(const void *buf, size_t cap, unsigned flags)
{
    bool take_nothing = buf == NULL && (flags & ZCACHE_TAKE) != 0;

    return (buf != NULL) == (cap != 0) && (flags & ~(unsigned)GET_FLAGS) == 0 && !take_nothing;
}

int zcache_get(struct zcache_tenant *tenant,
               struct zcache_key key,
               void *buf,
               size_t cap,
               size_t *len_out,
               unsigned flags)
{
    struct zc_stall stall;
    struct zc_thread *th;
    int rc = check_tenant(tenant);

    if (ZC_UNLIKELY(rc != 0)) {
        return rc;
    }
    stall = zc_stall_of(tenant->cache);
    if (ZC_UNLIKELY(!get_args_ok(buf, cap, flags))) {
        return -EINVAL;
    }
    if (ZC_UNLIKELY((flags & ZCACHE_TAKE) != 0)) {
        rc = begin_counted(tenant, flags, &th, ZC_C_get_errors, 1);
        if (rc == 0) {
            rc = zc_take(tenant, th, key, buf, cap, len_out, flags, &stall);
            zc_tenant_leave(tenant);
        }
        return rc;
    }
    rc = get_thread(tenant->cache, flags, &th);
    if (ZC_UNLIKELY(rc != 0)) {
        count_refused(tenant, ZC_C_get_errors, 1);
        return rc;
    }
    return zc_get(tenant, th, key, buf, cap, len_out, flags, &stall);
}

static int take_many(struct zcache_tenant *t,
                     struct zc_thread *th,
                     struct zcache_page *pages,
                     size_t n,
                     unsigned flags,
                     struct zc_stall *stall)
{
    int first = 0;
    int rc = zc_tenant_enter(t);

    if (rc != 0) {
        set_status(pages, n, rc);
        return rc;
    }
    for (size_t i = 0; i < n; i++) {
        pages[i].status =
            zc_take(t, th, pages[i].key, pages[i].buf, pages[i].cap, &pages[i].len, flags, stall);
        first = first == 0 && pages[i].status < 0 ? pages[i].status : first;
    }
    zc_tenant_leave(t);
    return first;
}

int zcache_get_many(struct zcache_tenant *tenant,
                    struct zcache_page *pages,
                    size_t n,
                    unsigned flags)
{
    struct zc_stall stall;
    struct zc_thread *th;
    int rc = check_tenant(tenant);

    if (rc != 0) {
        return rc;
    }
    stall = zc_stall_of(tenant->cache);
    if ((pages == NULL && n > 0) || (flags & ~(unsigned)GET_FLAGS) != 0) {
        return -EINVAL;
    }
    for (size_t i = 0; i < n; i++) {
        if (!get_args_ok(pages[i].buf, pages[i].cap, flags)) {
            return -EINVAL;
        }
    }
    rc = get_thread(tenant->cache, flags, &th);
    if (rc != 0) {
        count_refused(tenant, ZC_C_get_errors, n);
        set_status(pages, n, rc);
        return rc;
    }
    return (flags & ZCACHE_TAKE) != 0 ? take_many(tenant, th, pages, n, flags, &stall)
                                      : zc_get_many(tenant, th, pages, n, flags, &stall);
}

int zcache_pin(struct zcache_tenant *tenant,
               struct zcache_key key,
               unsigned flags,
               struct zcache_pin *pin_out)
{
    struct zc_thread *th;
    int rc = check_tenant(tenant);

    if (ZC_UNLIKELY(rc != 0)) {
        return rc;
    }
    if (ZC_UNLIKELY(pin_out == NULL || (flags & ~(unsigned)PIN_FLAGS) != 0)) {
        return -EINVAL;
    }
    rc = get_thread(tenant->cache, flags, &th);
    if (ZC_UNLIKELY(rc != 0)) {
        count_refused(tenant, ZC_C_pin_errors, 1);
        return rc;
    }
    return zc_pin(tenant, th, key, flags, pin_out);
}

void zcache_unpin(struct zcache_pin *pin)
{
    if (pin != NULL && pin->frame != NULL && check_cache(pin->cache) == 0) {
        zc_unpin(pin);
    }
}

int zcache_delete(struct zcache_tenant *tenant, struct zcache_key key, unsigned flags)
{
    struct zc_thread *th;
    int rc = check_tenant(tenant);

    if (rc != 0) {
        return rc;
    }
    if ((flags & ~(unsigned)DELETE_FLAGS) != 0) {
        return -EINVAL;
    }
    rc = begin_counted(tenant, flags, &th, ZC_C_delete_errors, 1);
    if (rc == 0) {
        rc = zc_delete(tenant, th, key, flags);
        zc_tenant_leave(tenant);
    }
    return rc;
}

int zcache_advise(struct zcache_tenant *tenant, struct zcache_key key, enum zcache_advice advice)
{
    struct zc_thread *th;
    int rc = check_tenant(tenant);

    if (rc != 0) {
        return rc;
    }
    if (advice != ZCACHE_WANTED && advice != ZCACHE_SPARE) {
        return -EINVAL;
    }
    rc = begin(tenant, 0, &th);
    if (rc == 0) {
        rc = zc_advise(tenant, th, key, advice);
        zc_tenant_leave(tenant);
    }
    return rc;
}

int zcache_truncate(struct zcache_tenant *tenant, uint64_t object, uint64_t first_page)
{
    struct zc_thread *th;
    int rc = check_tenant(tenant);

    if (rc != 0) {
        return rc;
    }
    rc = begin(tenant, 0, &th);
    if (rc == 0) {
        rc = zc_truncate(tenant, th, object, first_page);
        zc_tenant_leave(tenant);
    }
    return rc;
}

/* ---- tenants ------------------------------------------------------------------------------- */

struct zcache_tenant *zcache_root(struct zcache *cache)
{
    return check_cache(cache) == 0 ? cache->root : NULL;
}

static int check_limits(const struct zcache_limits *in, struct zcache_limits *out)
{
    static const struct zcache_limits init = ZCACHE_LIMITS_INIT;
    int rc = zc_options_size(in->struct_size, sizeof(*in), sizeof(*in), in);

    if (rc != 0) {
        return rc;
    }
    *out = init;
    (void)memcpy(out, in, ZC_MIN(in->struct_size, sizeof(*out)));
    if (out->weight < 1 || out->weight > 10000 || out->reserve_bytes > out->limit_bytes ||
        (out->writeback != ZCACHE_WRITEBACK_ON && out->writeback != ZCACHE_WRITEBACK_OFF)) {
        return -EINVAL;
    }
    return 0;
}

static bool name_ok(const char *name)
{
    static const char legal[] = "abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t len = name == NULL ? 0 : strnlen(name, ZCACHE_TENANT_NAME_MAX + 1);

    return len >= 1 && len <= ZCACHE_TENANT_NAME_MAX && strspn(name, legal) == len;
}

static int check_store(const struct zcache_store *store)
{
    unsigned known = ZCACHE_STORE_SERIAL | ZCACHE_STORE_SHARED_KEYS;
    int rc;

    if (store == NULL) {
        return 0;
    }
    rc = zc_options_size(store->struct_size, sizeof(*store), sizeof(*store), store);
    if (rc != 0) {
        return rc;
    }
    return (store->flags & ~known) == 0 && store->group_shift <= 16 ? 0 : -EINVAL;
}

/* With room for its record made, if need be. */
static int open_tenant(struct zcache_tenant *parent,
                       struct zc_thread *th,
                       const struct zcache_tenant_options *opts,
                       struct zcache_tenant **out)
{
    struct zcache *cache = parent->cache;
    uint64_t deadline = zc_plat_deadline_ns(cache->opt.max_stall_ms);
    bool no_room;
    int rc;

    do {
        rc = zc_tenant_open(cache, parent, opts, out);
        no_room = rc == -ENOMEM && th->meta_refused != 0;
    } while (rc == -ENOMEM && zc_reclaim_metadata(cache, th, deadline));
    return no_room ? -ENOSPC : rc;
}

int zcache_tenant_open(struct zcache_tenant *parent,
                       const struct zcache_tenant_options *opts,
                       struct zcache_tenant **out)
{
    struct zcache_tenant_options checked = ZCACHE_TENANT_OPTIONS_INIT;
    struct zc_thread *th;
    int rc = check_tenant(parent);

    if (rc != 0) {
        return rc;
    }
    if (opts == NULL || out == NULL) {
        return -EINVAL;
    }
    rc = zc_options_size(opts->struct_size, sizeof(*opts), sizeof(*opts), opts);
    if (rc != 0) {
        return rc;
    }
    (void)memcpy(&checked, opts, ZC_MIN(opts->struct_size, sizeof(checked)));
    if (!name_ok(checked.name) || checked.node < -1 ||
        checked.node >= (int)parent->cache->topo.n_sys) {
        return -EINVAL;
    }
    if (checked.node >= 0) {
        checked.node = parent->cache->topo.of_sys[checked.node];
    }
    rc = check_limits(&opts->limits, &checked.limits);
    rc = rc != 0 ? rc : check_store(checked.store);
    rc = rc != 0 ? rc : begin(parent, 0, &th);
    if (rc == 0) {
        rc = open_tenant(parent, th, &checked, out);
        zc_tenant_leave(parent);
    }
    return rc;
}

int zcache_tenant_close(struct zcache_tenant *tenant, enum zcache_close_mode mode)
{
    struct zc_thread *th;
    int rc;

    if (tenant == NULL) {
        return 0;
    }
    rc = check_tenant(tenant);
    if (rc != 0) {
        return rc;
    }
    if (tenant->parent == NULL || (unsigned)mode > ZCACHE_CLOSE_DISCARD) {
        return -EINVAL;
    }
    rc = get_thread(tenant->cache, 0, &th);
    if (rc != 0) {
        return rc;
    }
    return zc_batch_in_callback(th) ? -EDEADLK : zc_close_tenant(tenant, th, mode);
}

/* Under the admin lock, so that two changes at a time do not mix. */
static void apply_limits(struct zcache_tenant *t, const struct zcache_limits *l)
{
    zc_lock_acquire(&t->cache->admin);
    if (t->parent == NULL) {
        atomic_store(&t->cache->capacity, l->limit_bytes);
        zc_core_apply_capacity(t->cache);
    } else {
        atomic_store(&t->account->limit, l->limit_bytes);
    }
    atomic_store(&t->reserve_bytes, l->reserve_bytes);
    atomic_store(&t->weight, l->weight);
    atomic_store(&t->writeback, (uint32_t)l->writeback);
    zc_lock_release(&t->cache->admin);
}

static void drain(struct zcache_tenant *t,
                  struct zc_thread *th,
                  unsigned timeout_ms,
                  struct zcache_shrink_result *result)
{
    uint64_t limit = zc_quota_limit(t->account);
    uint64_t excess;

    zc_quota_call_in(t->account);
    excess = zc_sub_sat(zc_quota_charge(t->account), limit);
    if (excess > 0 && timeout_ms > 0) {
        zc_reclaim_shrink(t, th, excess, zc_plat_deadline_ns(timeout_ms), result);
    }
    result->remaining_bytes = zc_sub_sat(zc_quota_charge(t->account), limit);
    if (result->remaining_bytes > 0) {
        zc_bell_ring(t->cache, ZC_BELL_DRAIN);
    }
}

int zcache_tenant_set_limits(struct zcache_tenant *tenant,
                             const struct zcache_limits *limits,
                             unsigned timeout_ms,
                             struct zcache_shrink_result *result_out)
{
    struct zcache_shrink_result result = {0};
    struct zcache_limits checked;
    struct zc_thread *th;
    int rc = check_tenant(tenant);

    if (rc != 0) {
        return rc;
    }
    if (limits == NULL) {
        return -EINVAL;
    }
    rc = check_limits(limits, &checked);
    if (rc == 0 && tenant->parent == NULL &&
        (checked.limit_bytes < ZCACHE_CAPACITY_MIN ||
         checked.limit_bytes > tenant->cache->opt.capacity_bytes)) {
        rc = -EINVAL;
    }
    rc = rc != 0 ? rc : begin(tenant, 0, &th);
    if (rc != 0) {
        return rc;
    }
    apply_limits(tenant, &checked);
    drain(tenant, th, timeout_ms, &result);
    zc_tenant_leave(tenant);
    if (result_out != NULL) {
        *result_out = result;
    }
    return 0;
}

/* @node: of ours; -1 for all. */
static int shrink(struct zcache_tenant *tenant,
                  int node,
                  uint64_t bytes,
                  unsigned timeout_ms,
                  struct zcache_shrink_result *result_out)
{
    struct zcache_shrink_result result = {0};
    struct zc_thread *th;
    int rc = begin(tenant, 0, &th);

    if (rc != 0) {
        return rc;
    }
    if (bytes > 0) {
        zc_reclaim_shrink_node(tenant, th, node, bytes,
                               zc_plat_now_ns() + timeout_ms * STALL_NS_PER_MS, &result);
    }
    zc_tenant_leave(tenant);
    if (result_out != NULL) {
        *result_out = result;
    }
    return result.remaining_bytes == 0 ? 0 : -EAGAIN;
}

int zcache_shrink(struct zcache_tenant *tenant,
                  uint64_t bytes,
                  unsigned timeout_ms,
                  struct zcache_shrink_result *result_out)
{
    int rc = check_tenant(tenant);

    return rc != 0 ? rc : shrink(tenant, -1, bytes, timeout_ms, result_out);
}

/* Our node of one that has memory, by the system's number; -1: there is none. */
static int node_with_memory(const struct zc_topology *topo, int sys_node)
{
    int node = sys_node >= 0 && sys_node < (int)topo->n_sys ? topo->of_sys[sys_node] : -1;

    return node >= 0 && (topo->sys_node[node] == sys_node || topo->sys_node[node] < 0) ? node : -1;
}

int zcache_shrink_node(struct zcache_tenant *tenant,
                       int node,
                       uint64_t bytes,
                       unsigned timeout_ms,
                       struct zcache_shrink_result *result_out)
{
    int rc = check_tenant(tenant);
    int ours;

    if (rc != 0) {
        return rc;
    }
    ours = node_with_memory(&tenant->cache->topo, node);
    return ours < 0 ? -EINVAL : shrink(tenant, ours, bytes, timeout_ms, result_out);
}

int zcache_flush(struct zcache_tenant *tenant, unsigned timeout_ms)
{
    return zcache_flush_tag(tenant, UINT64_MAX, timeout_ms);
}

int zcache_flush_tag(struct zcache_tenant *tenant, uint64_t up_to_tag, unsigned timeout_ms)
{
    struct zc_thread *th;
    int rc = check_tenant(tenant);

    rc = rc != 0 ? rc : begin(tenant, 0, &th);
    if (rc != 0) {
        return rc;
    }
    if (zc_batch_in_callback(th)) {
        rc = -EDEADLK;
    } else {
        unsigned ms = timeout_ms != 0 ? timeout_ms : tenant->cache->opt.max_stall_ms;

        rc = zc_flush(tenant, th, up_to_tag, zc_plat_deadline_ns(ms));
    }
    zc_tenant_leave(tenant);
    return rc;
}

int zcache_set_wal_horizon(struct zcache_tenant *tenant, uint64_t durable_tag)
{
    uint64_t old;
    int rc = check_tenant(tenant);

    if (rc != 0) {
        return rc;
    }
    old = atomic_load(&tenant->wal_horizon);
    while (durable_tag > old &&
           !atomic_compare_exchange_weak(&tenant->wal_horizon, &old, durable_tag)) {
    }
    zc_progress_signal(tenant->cache);
    return 0;
}

uint64_t zcache_tenant_id(const struct zcache_tenant *tenant)
{
    return check_tenant(tenant) == 0 ? tenant->id : UINT64_MAX;
}

int zcache_tenant_find(struct zcache *cache, uint64_t id, struct zcache_tenant **out)
{
    int rc = check_cache(cache);

    if (rc != 0) {
        return rc;
    }
    return out == NULL ? -EINVAL : zc_tenant_find(cache, id, out);
}

/* ---- statistics ---------------------------------------------------------------------------- */

int zcache_stats(struct zcache_tenant *tenant, struct zcache_stats *out)
{
    struct zc_thread *th;
    int rc = check_tenant(tenant);

    if (rc != 0) {
        return rc;
    }
    if (out == NULL) {
        return -EINVAL;
    }
    rc = zc_options_size(out->struct_size, sizeof(*out), sizeof(*out), out);
    rc = rc != 0 ? rc : begin(tenant, 0, &th);
    if (rc == 0) {
        zc_report_subtree(tenant, out);
        zc_tenant_leave(tenant);
    }
    return rc;
}

int zcache_metrics_write(struct zcache *cache,
                         enum zcache_metrics_format format,
                         zcache_write_fn *write,
                         void *ctx)
{
    int rc = check_cache(cache);

    if (rc != 0) {
        return rc;
    }
    if (write == NULL || (unsigned)format > ZCACHE_METRICS_JSON) {
        return -EINVAL;
    }
    return zc_metrics_write(cache, format, write, ctx);
}

int zcache_compact(struct zcache *cache, unsigned timeout_ms, uint64_t *freed_out)
{
    struct zc_thread *th;
    uint64_t freed = 0;
    int rc = check_cache(cache);

    rc = rc != 0 ? rc : get_thread(cache, 0, &th);
    if (rc == 0) {
        unsigned ms = timeout_ms != 0 ? timeout_ms : cache->opt.max_stall_ms;

        rc = zc_compact(cache, th, zc_plat_deadline_ns(ms), &freed);
    }
    if (rc == 0 && freed_out != NULL) {
        *freed_out = freed;
    }
    return rc;
}

int zcache_verify(struct zcache *cache)
{
    struct zc_thread *th;
    int rc = check_cache(cache);

    rc = rc != 0 ? rc : get_thread(cache, 0, &th);
    if (rc != 0) {
        return rc;
    }
    return zc_batch_in_callback(th) ? -EDEADLK : zc_verify(cache, th);
}

/* ---- store and codecs ---------------------------------------------------------------------- */

/*
 * A thread of the store is in no call that the application could wait for, and by the end of the
 * batch a close may go on.  So it counts itself out with the last access it makes to the cache.
 */
int zcache_done(struct zcache *cache, uint64_t token, int status)
{
    struct zc_thread *th;
    bool spare = false;
    int rc = check_cache(cache);

    if (rc != 0) {
        return rc;
    }
    if (status > 0) {
        return -EINVAL;
    }
    atomic_fetch_add(&cache->completing, 1);
    th = zc_core_thread(cache);
    if (ZC_UNLIKELY(th == NULL)) {
        /* No memory for it; and what would free some may be the batch in hand. */
        th = zc_core_spare_take(cache);
        spare = th != NULL;
    }
    rc = th == NULL ? -ENOMEM : zc_batch_complete(cache, th, token, status);
    if (spare) {
        zc_core_spare_give(cache);
    }
    atomic_fetch_sub(&cache->completing, 1);
    return rc;
}

static bool codec_ok(const struct zcache_codec *c)
{
    static const char legal[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
    size_t len = c->name == NULL ? 0 : strnlen(c->name, 16);

    return len >= 1 && len <= 15 && strspn(c->name, legal) == len && c->level_min <= c->level_max &&
           c->level_default >= c->level_min && c->level_default <= c->level_max &&
           (c->context_create == NULL) == (c->context_destroy == NULL) && c->encode != NULL &&
           c->decode != NULL;
}

int zcache_codec_register(struct zcache *cache, const struct zcache_codec *codec)
{
    int rc = check_cache(cache);

    if (rc != 0) {
        return rc;
    }
    if (codec == NULL) {
        return -EINVAL;
    }
    rc = zc_options_size(codec->struct_size, sizeof(*codec), sizeof(*codec), codec);
    if (rc != 0) {
        return rc;
    }
    return codec_ok(codec) ? zc_codecs_register(cache->codecs, codec) : -EINVAL;
}

int zcache_codec_select(struct zcache *cache, enum zcache_tier tier, const char *text)
{
    uint8_t id;
    int rc = check_cache(cache);

    if (rc != 0) {
        return rc;
    }
    if ((tier != ZCACHE_TIER_FAST && tier != ZCACHE_TIER_DENSE) || text == NULL ||
        strnlen(text, ZCACHE_CODEC_NAME_MAX + 1) > ZCACHE_CODEC_NAME_MAX) {
        return -EINVAL;
    }
    rc = zc_codecs_instance(cache->codecs, text, &id);
    if (rc == 0) {
        atomic_store(&cache->codec[tier], id);
    }
    return rc;
}
