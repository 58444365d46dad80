/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * core.c - the parts that all of a cache's modules share.
 *
 * Memory.  Page memory (entries, payloads) is reserved on a tenant's account by whoever allocates
 * it and refunded here when it is freed.  Metadata (index, tenants, threads, batches) is charged to
 * the root; at the end of open a part of the capacity is prepaid for more of it, so that a full cache can
 * still register a thread or write a page back.  Beyond that, metadata reserves like everything else.
 *
 *     capacity   |  pages ... | slack | prepaid for metadata |
 *
 * Freeing.  Whatever readers may see goes through the epoch; its charge is refunded when it is
 * really freed, so that retired memory never hides.  A frame that is pinned when its grace period
 * ends is freed by the last unpin.
 *
 * Progress.  Every wait for room, a batch or another thread is a wait for "something was freed,
 * completed or given back"; who does such a thing signals, which costs one load if nobody waits.
 *
 * Locks: progress.lock and bell.lock (leaf).
 */
#include "core.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "fault.h"
#include "mathx.h"

/* Prepaid, beside what is there at open: the zstd contexts of a thread or some, at common sizes. */
#define PREPAID_SHARE  128u
#define PREPAID_MIN    (UINT64_C(256) << 10) /* in a small cache an eighth of it at most */
#define PREPAID_MAX    (UINT64_C(8) << 20)
#define SAVE_BYTES     (UINT64_C(64) << 10)
#define SAVE_REST_NS   UINT64_C(1000000000)
#define LIMBO_SHARE    512u /* of the capacity, that may be retired before somebody looks after it */
#define LIMBO_MAX      (UINT64_C(64) << 10)
#define LOG_WINDOW_NS  UINT64_C(1000000000)
#define LOG_PER_WINDOW 10u

/* ---- charged metadata ---------------------------------------------------------------------- */

static bool meta_pooled(size_t size)
{
    return size + ZC_CACHE_LINE <= ZC_POOL_MAX;
}

/*
 * Whether to have pages of its own: metadata cannot be moved, so where it is large and many, as segments
 * of the index are, it must not lie between payloads that can.
 */
static bool meta_paged(size_t size)
{
    size_t bytes = zc_align_up(size, zc_plat_page_size());

    return size >= zc_plat_page_size() && bytes <= ZC_POOL_MAX && bytes - size <= size / 8;
}

static size_t meta_round(size_t size)
{
    return meta_pooled(size) && !meta_paged(size) ? zc_pool_round(size + ZC_CACHE_LINE)
                                                  : zc_align_up(size, zc_plat_page_size());
}

static bool prepaid_take(struct zcache *cache, uint64_t bytes)
{
    uint64_t left = atomic_load_explicit(&cache->prepaid, memory_order_relaxed);

    while (left >= bytes) {
        if (atomic_compare_exchange_weak(&cache->prepaid, &left, left - bytes)) {
            return true;
        }
    }
    return false;
}

bool zc_core_save_up(struct zcache *cache, uint64_t bytes)
{
    uint64_t slack = zc_quota_slack(zc_quota_limit(&cache->account));
    uint64_t want = bytes + cache->prepaid_max / 2; /* what it was made for goes on */
    uint64_t have = atomic_load_explicit(&cache->prepaid, memory_order_relaxed);
    uint64_t piece = ZC_MIN(zc_sub_sat(want, have), SAVE_BYTES);

    if (piece > 0 && zc_core_may_save(cache) &&
        zc_quota_fits(&cache->account, piece + slack / 2, ZC_QUOTA_RECLAIM) &&
        zc_quota_reserve(&cache->account, piece, ZC_QUOTA_RECLAIM) == NULL) {
        have = atomic_fetch_add(&cache->prepaid, piece) + piece;
    }
    return have >= want;
}

bool zc_core_may_save(const struct zcache *cache)
{
    return zc_plat_now_ns() >= atomic_load_explicit(&cache->save_ns, memory_order_relaxed);
}

uint64_t zc_core_give_saved(struct zcache *cache)
{
    uint64_t have = atomic_load(&cache->prepaid);
    uint64_t saved;

    atomic_store(&cache->save_ns, zc_plat_now_ns() + SAVE_REST_NS);
    do {
        saved = zc_sub_sat(have, cache->prepaid_max);
    } while (saved > 0 && !atomic_compare_exchange_weak(&cache->prepaid, &have, have - saved));
    if (saved > 0) {
        zc_quota_refund(&cache->account, saved);
        zc_progress_signal(cache);
    }
    return saved;
}

bool zc_core_take_saved(struct zcache *cache, uint64_t bytes)
{
    return prepaid_take(cache, bytes);
}

static void note_refusal(struct zcache *cache, uint64_t bytes, bool by_pool)
{
    struct zc_thread *th = cache->threads_up ? zc_thread_known(&cache->threads) : NULL;

    if (th != NULL) {
        th->meta_refused = by_pool ? 0 : bytes;
        th->pool_refused = by_pool;
    }
}

/* An allocation failed: whether the pools' bound was in the way, since they had refused so often. */
static void note_pools(struct zcache *cache, uint64_t refusals)
{
    if (atomic_load(&cache->bound.refusals) != refusals) {
        note_refusal(cache, 0, true);
    }
}

static bool meta_charge(struct zcache *cache, uint64_t bytes)
{
    if (!ZC_FAULT(room) && (prepaid_take(cache, bytes) ||
                            zc_quota_reserve(&cache->account, bytes, ZC_QUOTA_RECLAIM) == NULL)) {
        return true;
    }
    note_refusal(cache, bytes, false);
    return false;
}

static void meta_refund(struct zcache *cache, uint64_t bytes)
{
    uint64_t left = atomic_load_explicit(&cache->prepaid, memory_order_relaxed);

    while (left + bytes <= cache->prepaid_max) {
        if (atomic_compare_exchange_weak(&cache->prepaid, &left, left + bytes)) {
            return;
        }
    }
    zc_quota_refund(&cache->account, bytes);
}

/* From the pool, aligned to a cache line: the pool's own pointer stands right before. */
static void *aligned_alloc_meta(struct zcache *cache, unsigned node, size_t padded)
{
    char *base = zc_core_alloc(cache, node, padded);
    char *ptr;

    if (base == NULL) {
        return NULL;
    }
    ptr = (char *)zc_align_up((uintptr_t)base + sizeof(void *), ZC_CACHE_LINE);
    (void)memcpy(ptr - sizeof(void *), &base, sizeof(base));
    return ptr;
}

static void aligned_free_meta(void *ptr, size_t padded)
{
    char *base;

    (void)memcpy(&base, (char *)ptr - sizeof(void *), sizeof(base));
    zc_pool_free(base, padded);
}

static void *meta_take(struct zcache *cache, unsigned node, size_t size)
{
    size_t bytes = meta_round(size);

    if (meta_paged(size)) {
        return zc_pool_alloc_pages(cache->pool[node], bytes);
    }
    return meta_pooled(size) ? aligned_alloc_meta(cache, node, size + ZC_CACHE_LINE)
                             : zc_plat_map(bytes, zc_plat_page_size(), -1);
}

static void meta_give(void *ptr, size_t size)
{
    if (meta_paged(size)) {
        zc_pool_free(ptr, meta_round(size));
    } else if (meta_pooled(size)) {
        aligned_free_meta(ptr, size + ZC_CACHE_LINE);
    } else {
        zc_plat_unmap(ptr, meta_round(size));
    }
}

void *zc_core_alloc_meta(struct zcache *cache, enum zc_mem_kind kind, unsigned node, size_t size)
{
    struct zc_core_mem *m = &cache->mem[kind];
    size_t bytes = meta_round(size);
    uint64_t refusals;
    void *ptr;

    if (!meta_charge(cache, bytes)) {
        return NULL;
    }
    refusals = atomic_load(&cache->bound.refusals);
    ptr = meta_take(cache, node, size);
    if (ptr == NULL) {
        meta_refund(cache, bytes);
        note_pools(cache, refusals);
        return NULL;
    }
    atomic_fetch_add_explicit(&m->bytes, bytes, memory_order_relaxed);
    return memset(ptr, 0, size);
}

static void *meta_alloc(void *ctx, size_t size)
{
    const struct zc_core_mem *m = ctx;
    struct zcache *cache = m->cache;

    return zc_core_alloc_meta(cache, (enum zc_mem_kind)(m - cache->mem),
                              cache->topo.cpu_node[zc_plat_cpu()], size);
}

static void meta_free(void *ctx, void *ptr, size_t size)
{
    struct zc_core_mem *m = ctx;
    size_t bytes = meta_round(size);

    if (ptr == NULL) {
        return;
    }
    meta_give(ptr, size);
    atomic_fetch_sub_explicit(&m->bytes, bytes, memory_order_relaxed);
    meta_refund(m->cache, bytes);
}

/* ---- threads ------------------------------------------------------------------------------- */

#define THREAD_ROOM (UINT64_C(32) << 10) /* with room for so much, a refusal is the system's */
#define SPARE_TRIES 10000u
#define LOOK_MS     5u

struct zc_thread *zc_core_thread_wait(struct zcache *cache)
{
    uint64_t deadline = zc_plat_deadline_ns(cache->opt.max_stall_ms);
    struct zc_thread *th;
    uint64_t seq;

    zc_bell_want(cache, THREAD_ROOM);
    seq = zc_progress_begin(cache, ZC_FOR_ANY);
    while ((th = zc_core_thread(cache)) == NULL && zc_plat_now_ns() < deadline &&
           !zc_quota_has_room(&cache->account, THREAD_ROOM, ZC_QUOTA_RECLAIM)) {
        zc_bell_ring(cache, ZC_BELL_URGENT);
        (void)zc_progress_wait(cache, ZC_FOR_ANY, &seq,
                               ZC_MIN(deadline, zc_plat_deadline_ns(LOOK_MS)));
    }
    zc_progress_end(cache, ZC_FOR_ANY);
    zc_bell_want_no_more(cache, THREAD_ROOM);
    return th;
}

struct zc_thread *zc_core_spare_take(struct zcache *cache)
{
    for (unsigned i = 0; i < SPARE_TRIES; i++) {
        int free = 0;

        if (atomic_compare_exchange_strong(&cache->spare_busy, &free, 1)) {
            return cache->spare;
        }
        (void)sched_yield();
    }
    return NULL;
}

void zc_core_spare_give(struct zcache *cache)
{
    atomic_store(&cache->spare_busy, 0);
}

/* ---- page memory --------------------------------------------------------------------------- */

#define HUGE_BYTES                                                                                 \
    (UINT64_C(64) << 20) /* less is known to the CPU's table of translations as it is */
#define HUGE_WAIT_NS UINT64_C(1000000000)

static ZC_COLD void ring_for_huge(struct zcache *cache)
{
    if (atomic_load_explicit(&cache->huge_planned, memory_order_relaxed) == 0) {
        zc_bell_ring(cache, ZC_BELL_HUGE);
    }
}

void *zc_core_alloc(struct zcache *cache, unsigned node, size_t size)
{
    uint64_t refusals = atomic_load_explicit(&cache->bound.refusals, memory_order_relaxed);

    if (ZC_FAULT(object)) {
        return NULL;
    }
    for (unsigned i = 0; i < cache->topo.n_nodes; i++) {
        void *ptr = zc_pool_alloc(cache->pool[cache->topo.order[node][i]], size);

        if (ptr != NULL) {
            if (ZC_UNLIKELY(atomic_load_explicit(&cache->bound.full, memory_order_relaxed) != 0)) {
                ring_for_huge(cache);
            }
            return ptr;
        }
    }
    note_pools(cache, refusals);
    return NULL;
}

void zc_core_release(struct zcache *cache, void *ptr, size_t size, struct zc_account *account)
{
    zc_pool_free(ptr, size);
    zc_quota_refund(account, zc_pool_round(size));
    zc_progress_signal(cache);
}

#define ARG_FRAME     1u
#define ARG_WITH_DICT 2u

_Static_assert(_Alignof(struct zc_account) > (ARG_FRAME | ARG_WITH_DICT), "its address has room");

void zc_core_dict_over(struct zcache *cache)
{
    atomic_store(&cache->dicts_over, 1);
    zc_bell_ring(cache, ZC_BELL_DICT);
}

void zc_core_drop_dict(struct zcache *cache, uint16_t id)
{
    if (id != ZC_DICT_NO_ID && zc_dicts_unref(cache->dicts, id)) {
        zc_core_dict_over(cache);
    }
}

/* The epoch's function: @arg is the account, its lowest bits what the memory is. */
static void free_retired(void *ctx, void *ptr, size_t bytes, void *arg)
{
    struct zcache *cache = ctx;
    uintptr_t a = (uintptr_t)arg;
    struct zc_account *account = (struct zc_account *)(a & ~(uintptr_t)(ARG_FRAME | ARG_WITH_DICT));

    if ((a & ARG_FRAME) != 0) {
        struct zc_frame *frame = ptr;

        /* No reader can take a new pin now; if there are any, the last unpin frees. */
        if (atomic_fetch_or(&frame->pins, ZC_FRAME_RETIRED) != 0) {
            return;
        }
    }
    if ((a & ARG_WITH_DICT) != 0) {
        zc_core_drop_dict(cache, zc_payload_dict(ptr));
    }
    zc_core_release(cache, ptr, bytes, account);
}

void zc_core_retire_payload(struct zc_thread *th, struct zc_payload *p, struct zc_account *account)
{
    uintptr_t arg = (uintptr_t)account | (zc_payload_is_raw(p) ? ARG_FRAME : 0u) |
                    (zc_payload_dict(p) != ZC_DICT_NO_ID ? ARG_WITH_DICT : 0u);

    zc_epoch_retire(th->epoch, p, zc_payload_size(p), (void *)arg);
}

void zc_core_retire_word(struct zc_thread *th, uint64_t word, struct zc_account *account)
{
    if (word != 0 && !zc_word_is_same(word)) {
        zc_core_retire_payload(th, zc_word_payload(word), account);
    }
}

void zc_core_unref_entry(struct zcache *cache,
                         struct zc_thread *th,
                         struct zc_entry *e,
                         struct zc_account *account)
{
    if (zc_entry_unref(e)) {
        ZC_ASSERT(zc_entry_state(e) == ZC_DEAD);
        atomic_fetch_sub_explicit(&cache->entry_bytes, zc_pool_round(sizeof(*e)),
                                  memory_order_relaxed);
        zc_epoch_retire(th->epoch, e, sizeof(*e), account);
    }
}

/* ---- progress ------------------------------------------------------------------------------ */

/*
 * A waiter for room is woken when there is room for a hundred pages: a wake-up costs as much as the
 * compression of a page, takes the CPU away from whoever is just using it, and a put that gets room for one
 * page is back at once.
 */
#define ROOM_SHARE 64u
#define ROOM_MAX   (UINT64_C(512) << 10)

static bool room_is_worth_it(const struct zcache *cache)
{
    uint64_t limit = zc_quota_limit(&cache->account);
    uint64_t room = ZC_MIN(limit / ROOM_SHARE, ROOM_MAX);

    return atomic_load(&cache->bell.working) == 0 ||
           zc_quota_fits(&cache->account, room, ZC_QUOTA_PUT);
}

static uint64_t one_waiter(enum zc_wait_for what)
{
    return UINT64_C(1) << 32 * (unsigned)what;
}

static bool somebody_waits(uint64_t waiters, enum zc_wait_for what)
{
    return (uint32_t)(waiters / one_waiter(what)) != 0;
}

static void wake(struct zc_progress *p, enum zc_wait_for what)
{
    zc_lock_acquire(&p->lock);
    p->seq[what]++;
    zc_cond_broadcast(&p->cond[what]);
    zc_lock_release(&p->lock);
}

void zc_progress_wake(struct zcache *cache, uint64_t waiters)
{
    if (somebody_waits(waiters, ZC_FOR_ANY)) {
        wake(&cache->progress, ZC_FOR_ANY);
    }
    if (somebody_waits(waiters, ZC_FOR_ROOM) && room_is_worth_it(cache)) {
        wake(&cache->progress, ZC_FOR_ROOM);
    }
}

void zc_progress_announce(struct zcache *cache)
{
    uint64_t waiters = atomic_load(&cache->progress.waiters);

    for (int what = 0; what < ZC_WAITS; what++) {
        if (somebody_waits(waiters, (enum zc_wait_for)what)) {
            wake(&cache->progress, (enum zc_wait_for)what);
        }
    }
}

uint64_t zc_progress_begin(struct zcache *cache, enum zc_wait_for what)
{
    struct zc_progress *p = &cache->progress;
    uint64_t seq;

    atomic_fetch_add(&p->waiters, one_waiter(what));
    zc_lock_acquire(&p->lock);
    seq = p->seq[what];
    zc_lock_release(&p->lock);
    return seq;
}

bool zc_progress_wait(struct zcache *cache,
                      enum zc_wait_for what,
                      uint64_t *seq,
                      uint64_t deadline_ns)
{
    struct zc_progress *p = &cache->progress;
    bool in_time = true;

    zc_lock_assert_none();
    zc_lock_acquire(&p->lock);
    while (p->seq[what] == *seq && in_time) {
        in_time = zc_cond_wait(&p->cond[what], &p->lock, deadline_ns);
    }
    *seq = p->seq[what];
    zc_lock_release(&p->lock);
    return in_time;
}

void zc_progress_end(struct zcache *cache, enum zc_wait_for what)
{
    atomic_fetch_sub(&cache->progress.waiters, one_waiter(what));
}

void zc_progress_pause(struct zcache *cache, uint64_t deadline_ns)
{
    uint64_t seq = zc_progress_begin(cache, ZC_FOR_ANY);

    (void)zc_progress_wait(cache, ZC_FOR_ANY, &seq,
                           ZC_MIN(deadline_ns, zc_plat_deadline_ns(LOOK_MS)));
    zc_progress_end(cache, ZC_FOR_ANY);
}

/* ---- slabs ----------------------------------------------------------------------------------- */

/* A hint only: the charge has a part that is not in the pools. */
void zc_core_look_at_slabs(struct zcache *cache)
{
    uint64_t resident =
        zc_sub_sat(atomic_load_explicit(&cache->bound.resident, memory_order_relaxed),
                   atomic_load_explicit(&cache->bound.unusable, memory_order_relaxed));
    uint64_t charge = zc_sub_sat(zc_quota_used_hint(&cache->account),
                                 atomic_load_explicit(&cache->prepaid, memory_order_relaxed));

    if (zc_core_is_sparse(cache, zc_sub_sat(zc_sub_sat(resident, charge), cache->opt.keep_bytes),
                          charge) &&
        atomic_load_explicit(&cache->compact_planned, memory_order_relaxed) == 0) {
        zc_bell_ring(cache, ZC_BELL_COMPACT);
    }
}

/* ---- bell ---------------------------------------------------------------------------------- */

void zc_bell_ring(struct zcache *cache, enum zc_bell_reason reason)
{
    struct zc_bell *bell = &cache->bell;

    if ((atomic_load_explicit(&bell->rung, memory_order_relaxed) & reason) != 0) {
        return;
    }
    if ((reason & (ZC_BELL_PRESSURE | ZC_BELL_AHEAD)) != 0 &&
        zc_plat_now_ns() < atomic_load_explicit(&bell->quiet_ns, memory_order_relaxed)) {
        return;
    }
    zc_lock_acquire(&bell->lock);
    atomic_fetch_or(&bell->rung, reason);
    atomic_store(&bell->sleeping, 0); /* woken, from the moment it is rung */
    zc_cond_broadcast(&bell->cond);
    zc_lock_release(&bell->lock);
}

/* ---- log ----------------------------------------------------------------------------------- */

static bool log_admits(struct zcache *cache, const char *event)
{
    uint32_t h = zc_checksum(event, strlen(event));
    struct zc_log_window *w = &cache->log_window[h % ZC_LOG_EVENTS];
    uint64_t now = zc_plat_now_ns();
    uint64_t start = atomic_load(&w->start_ns);

    if (now - start >= LOG_WINDOW_NS && atomic_compare_exchange_strong(&w->start_ns, &start, now)) {
        atomic_store(&w->n, 0);
    }
    return atomic_fetch_add(&w->n, 1) < LOG_PER_WINDOW;
}

void zc_core_log(struct zcache *cache,
                 enum zcache_log_level level,
                 const char *event,
                 const char *format,
                 ...)
{
    char text[256];
    va_list args;

    if (cache->opt.log == NULL || !log_admits(cache, event)) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    zc_lock_assert_none();
    cache->opt.log(cache->opt.log_ctx, level, event, text);
}

/* ---- lifetime ------------------------------------------------------------------------------ */

/* Resident memory is within 5 % and 8 MiB of the capacity; part of that is not the pools'. */
#define BOUND_SHARE 25u
#define BOUND_BYTES (UINT64_C(6) << 20)

void zc_core_bound(struct zcache *cache)
{
    uint64_t capacity = zc_quota_limit(&cache->account);

    atomic_store(&cache->bound.max, capacity + capacity / BOUND_SHARE + BOUND_BYTES);
}

void zc_core_apply_capacity(struct zcache *cache)
{
    uint64_t capacity = atomic_load(&cache->capacity);

    atomic_store(&cache->account.limit, ZC_MIN(capacity, atomic_load(&cache->pressure_limit)));
    zc_core_bound(cache);
}

static int make_pools(struct zcache *cache)
{
    const bool huge = cache->opt.huge_pages == ZCACHE_HUGE_PAGES_AUTO && zc_plat_allows_huge();

    atomic_store(&cache->capacity, cache->opt.capacity_bytes);
    atomic_store(&cache->pressure_limit, UINT64_MAX);
    zc_quota_init(&cache->account, NULL, cache->opt.capacity_bytes);
    zc_core_bound(cache);
    for (unsigned i = 0; i < cache->topo.n_nodes; i++) {
        int rc = zc_pool_create(i, cache->topo.sys_node[i], &cache->pool[i]);

        if (rc != 0) {
            return rc;
        }
        zc_pool_bind(cache->pool[i], &cache->bound);
        zc_pool_keep(cache->pool[i], cache->opt.keep_bytes / cache->topo.n_nodes);
        if (huge) {
            zc_pool_use_huge(cache->pool[i], HUGE_BYTES / cache->topo.n_nodes, HUGE_WAIT_NS);
        }
    }
    return 0;
}

static void make_mem(struct zcache *cache)
{
    for (int k = 0; k < ZC_MEM_KINDS; k++) {
        cache->mem[k] =
            (struct zc_core_mem){.mem = {meta_alloc, meta_free, &cache->mem[k]}, .cache = cache};
    }
}

/* What is there at open has paid for itself: this is for what comes when the cache is full. */
static void prepay(struct zcache *cache)
{
    uint64_t capacity = cache->opt.capacity_bytes;
    uint64_t bytes = ZC_MIN(ZC_MAX(capacity / PREPAID_SHARE, PREPAID_MIN), PREPAID_MAX);

    bytes = ZC_MIN(bytes, capacity / 8);
    if (zc_quota_reserve(&cache->account, bytes, ZC_QUOTA_RECLAIM) == NULL) {
        cache->prepaid_max = bytes;
        atomic_store(&cache->prepaid, bytes);
    }
}

static int make_codecs(struct zcache *cache)
{
    static const char *const event[ZCACHE_TIERS] = {"option.raw", "option.fast", "option.dense"};
    const char *text[ZCACHE_TIERS] = {"none", cache->opt.fast_codec, cache->opt.dense_codec};
    int rc = zc_codecs_create(zc_core_mem(cache, ZC_MEM_THREAD), &cache->codecs);

    for (int t = 0; t < ZCACHE_TIERS && rc == 0; t++) {
        uint8_t id;

        rc = zc_codecs_instance(cache->codecs, text[t], &id);
        if (rc == 0) {
            atomic_store(&cache->codec[t], id);
        } else {
            zc_core_log(cache, ZCACHE_LOG_ERROR, event[t], "\"%s\" is %s", text[t],
                        rc == -ENOTSUP ? "not a codec this library knows"
                                       : "not \"name\" or \"name:level\" with a level it has");
        }
    }
    return rc;
}

int zc_core_init(struct zcache *cache)
{
    int rc = make_pools(cache);

    zc_lock_init(&cache->admin, ZC_RANK_admin);
    zc_stocks_init(&cache->stocks);
    zc_lock_init(&cache->progress.lock, ZC_RANK_leaf);
    for (int i = 0; i < ZC_WAITS; i++) {
        zc_cond_init(&cache->progress.cond[i]);
    }
    zc_lock_init(&cache->bell.lock, ZC_RANK_leaf);
    zc_cond_init(&cache->bell.cond);
    make_mem(cache);
    if (rc == 0) {
        rc = zc_epoch_create(zc_core_mem(cache, ZC_MEM_THREAD), free_retired, cache,
                             ZC_MIN(cache->opt.capacity_bytes / LIMBO_SHARE, LIMBO_MAX),
                             &cache->epoch);
    }
    if (rc == 0) {
        rc = make_codecs(cache);
    }
    if (rc == 0) {
        rc = zc_dicts_create(zc_core_mem(cache, ZC_MEM_DICT), cache->codecs, &cache->dicts);
    }
    if (rc == 0) {
        zc_epoch_expect_with(cache->epoch, zc_pool_expect_free);
        rc = zc_index_create(zc_core_mem(cache, ZC_MEM_INDEX),
                             cache->opt.capacity_bytes / zc_pool_round(sizeof(struct zc_entry)),
                             &cache->index);
    }
    if (rc == 0) {
        rc = zc_threads_init(&cache->threads, zc_core_mem(cache, ZC_MEM_THREAD), cache->epoch,
                             cache->codecs, 2 * (size_t)cache->opt.page_max_bytes);
        cache->threads_up = rc == 0;
    }
    if (rc == 0) {
        cache->spare = zc_thread_make(&cache->threads);
        rc = cache->spare == NULL ? -ENOMEM : 0;
    }
    if (rc == 0) {
        prepay(cache);
    }
    return rc;
}

void zc_core_fini(struct zcache *cache)
{
    if (cache->threads_up) {
        zc_threads_fini(&cache->threads);
    }
    zc_index_destroy(&cache->index);
    if (cache->epoch != NULL) {
        zc_epoch_destroy(&cache->epoch);
    }
    if (cache->dicts != NULL) {
        zc_dicts_destroy(&cache->dicts);
    }
    if (cache->codecs != NULL) {
        zc_codecs_destroy(&cache->codecs);
    }
    zc_quota_refund(&cache->account, atomic_exchange(&cache->prepaid, 0));
    ZC_DEBUG_ASSERT(zc_quota_charge(&cache->account) == 0);
    for (unsigned i = 0; i < cache->topo.n_nodes; i++) {
        if (cache->pool[i] != NULL) {
            zc_pool_destroy(&cache->pool[i]);
        }
    }
    zc_cond_fini(&cache->bell.cond);
    zc_lock_fini(&cache->bell.lock);
    for (int i = 0; i < ZC_WAITS; i++) {
        zc_cond_fini(&cache->progress.cond[i]);
    }
    zc_lock_fini(&cache->progress.lock);
    zc_stocks_fini(&cache->stocks);
    zc_lock_fini(&cache->admin);
}
