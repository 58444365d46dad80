/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * tenant.c - records of tenants, their tree, and the table of slots.
 *
 *     table     slot 0      1      2      3 ...        entry.owner holds a slot
 *               root      "a"    "a/x"   (closed)
 *     tree      root - a - x                            children lists, under the tenant lock
 *
 * A record is never given back while the cache lives: closed ones wait in a queue, oldest first,
 * and are used again only when there are more than KEEP_CLOSED of them.  So a stale handle leads to
 * a record that says "closed", and an id leads to the nearest live ancestor for a long time.
 *
 * Locks: the tenant lock for the tree, the names and the queue.  A call enters a tenant by counting
 * itself in ops and then looking at the state; a close changes the state and then waits for ops to
 * fall to 0.  Both are sequentially consistent, so one of the two sees the other.
 *
 * Not taken: reference counts taken by hits (a get looks at the state inside its epoch section, and
 * a close drains the epoch); freeing records (handles could not be checked).
 */
#include "tenant.h"

#include <errno.h>
#include <string.h>

#include "mathx.h"
#include "sync_point.h"

#define TABLE_CHUNK  1024u
#define TABLE_CHUNKS 1024u
#define KEEP_CLOSED  256u
#define NAME_BUCKETS 512u
#define STOCK_MARK   96u /* percent of a limit above which stocks take nothing */

struct zc_tenants {
    struct zc_lock lock; /* tenant */
    /* under lock */
    struct zc_list closed; /* oldest first */
    uint32_t n_closed;
    uint32_t n_open;
    uint32_t next_generation;
    struct zc_list names[NAME_BUCKETS]; /* open tenants by parent and name */
    /* atomic: set once each, read without the lock */
    _Atomic uint32_t n_slots;
    _Atomic(struct zcache_tenant **) chunk[TABLE_CHUNKS];
};

/* ---- table --------------------------------------------------------------------------------- */

struct zcache_tenant *zc_tenant_at(struct zcache *cache, uint32_t slot)
{
    struct zcache_tenant **chunk =
        atomic_load_explicit(&cache->tenants->chunk[slot / TABLE_CHUNK], memory_order_acquire);

    return chunk[slot % TABLE_CHUNK];
}

static size_t record_bytes(const struct zcache *cache)
{
    return sizeof(struct zcache_tenant) + cache->topo.n_nodes * sizeof(struct zc_lru *);
}

/* Counters and histograms, which only an open tenant has. */
static void stat_free(struct zcache *cache, struct zcache_tenant *t)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_TENANT);
    struct zc_hist *hist = atomic_exchange(&t->hist, NULL);

    if (hist != NULL) {
        mem->free(mem->ctx, hist, ZCACHE_LATENCIES * sizeof(*hist));
    }
    mem->free(mem->ctx, t->stat, zc_stat_bytes(cache->topo.n_cpus));
    t->stat = NULL;
}

/* Each on its node: a thread that puts and the reclaim of a node touch that node's memory only. */
static bool lists_alloc(struct zcache *cache, struct zcache_tenant *t)
{
    for (unsigned i = 0; i < cache->topo.n_nodes; i++) {
        t->lru[i] = zc_core_alloc_meta(cache, ZC_MEM_TENANT, i, sizeof(struct zc_lru));
        if (t->lru[i] == NULL) {
            return false;
        }
        zc_lru_init(t->lru[i]);
    }
    return true;
}

/* Those there are. */
static void lists_free(struct zcache *cache, struct zcache_tenant *t)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_TENANT);

    for (unsigned i = 0; i < cache->topo.n_nodes && t->lru[i] != NULL; i++) {
        zc_lru_fini(t->lru[i]);
        mem->free(mem->ctx, t->lru[i], sizeof(struct zc_lru));
    }
}

static bool stock_alloc(struct zcache *cache, struct zcache_tenant *t)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_TENANT);

    t->stock = mem->alloc(mem->ctx, zc_stock_bytes(cache->topo.n_cpus));
    if (t->stock != NULL) {
        zc_stock_init(t->stock, cache->topo.n_cpus);
    }
    return t->stock != NULL;
}

static void stock_free(struct zcache *cache, struct zcache_tenant *t)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_TENANT);

    if (t->stock != NULL) {
        mem->free(mem->ctx, t->stock, zc_stock_size(t->stock));
    }
}

static void record_free(struct zcache *cache, struct zcache_tenant *t)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_TENANT);

    lists_free(cache, t);
    zc_ghost_fini(&t->ghost, mem);
    stat_free(cache, t);
    stock_free(cache, t);
    mem->free(mem->ctx, t, record_bytes(cache));
}

static struct zcache_tenant *record_alloc(struct zcache *cache)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_TENANT);
    struct zcache_tenant *t = mem->alloc(mem->ctx, record_bytes(cache));

    if (t == NULL) {
        return NULL;
    }
    if (!stock_alloc(cache, t) || !lists_alloc(cache, t)) {
        lists_free(cache, t);
        stock_free(cache, t);
        mem->free(mem->ctx, t, record_bytes(cache));
        return NULL;
    }
    t->tag = ZC_TAG_TENANT;
    t->cache = cache;
    zc_list_init(&t->free);
    zc_ghost_init(&t->ghost);
    return t;
}

/* A slot for a new record.  0; -ENOSPC; -ENOMEM. */
static int slot_add_locked(struct zcache *cache, struct zcache_tenant *t)
{
    struct zc_tenants *ts = cache->tenants;
    uint32_t slot = atomic_load(&ts->n_slots);
    struct zcache_tenant **chunk;

    if (slot >= TABLE_CHUNK * TABLE_CHUNKS) {
        return -ENOSPC;
    }
    chunk = atomic_load(&ts->chunk[slot / TABLE_CHUNK]);
    if (chunk == NULL) {
        const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_TENANT);

        chunk = mem->alloc(mem->ctx, TABLE_CHUNK * sizeof(*chunk));
        if (chunk == NULL) {
            return -ENOMEM;
        }
        atomic_store_explicit(&ts->chunk[slot / TABLE_CHUNK], chunk, memory_order_release);
    }
    t->slot = slot;
    chunk[slot % TABLE_CHUNK] = t;
    atomic_store_explicit(&ts->n_slots, slot + 1, memory_order_release);
    return 0;
}

/* A record that can be filled: one closed long ago, or a new one. */
static int record_get(struct zcache *cache, struct zcache_tenant **out)
{
    struct zc_tenants *ts = cache->tenants;
    struct zcache_tenant *t = NULL;
    int rc = 0;

    zc_lock_acquire(&ts->lock);
    if (ts->n_closed > KEEP_CLOSED) {
        t = ZC_CONTAINER_OF(zc_list_next(&ts->closed), struct zcache_tenant, free);
        zc_list_del(&t->free);
        ts->n_closed--;
    }
    zc_lock_release(&ts->lock);
    if (t == NULL) {
        t = record_alloc(cache);
        if (t == NULL) {
            return -ENOMEM;
        }
        zc_lock_acquire(&ts->lock);
        rc = slot_add_locked(cache, t);
        zc_lock_release(&ts->lock);
        if (rc != 0) {
            record_free(cache, t);
            return rc;
        }
    }
    *out = t;
    return 0;
}

static void record_put(struct zcache *cache, struct zcache_tenant *t)
{
    struct zc_tenants *ts = cache->tenants;

    stat_free(cache, t);
    zc_ghost_forget(&t->ghost, zc_core_mem(cache, ZC_MEM_TENANT));
    zc_lock_acquire(&ts->lock);
    zc_list_push_back(&ts->closed, &t->free);
    ts->n_closed++;
    zc_lock_release(&ts->lock);
}

static int stat_alloc(struct zcache_tenant *t)
{
    const struct zc_mem *mem = zc_core_mem(t->cache, ZC_MEM_TENANT);

    t->stat = mem->alloc(mem->ctx, zc_stat_bytes(t->cache->topo.n_cpus));
    if (t->stat == NULL) {
        return -ENOMEM;
    }
    zc_stat_init(t->stat, t->cache->topo.n_cpus);
    return 0;
}

/* ---- stores -------------------------------------------------------------------------------- */

static int store_attach(struct zcache_tenant *t, const struct zcache_store *cb)
{
    const struct zc_mem *mem = zc_core_mem(t->cache, ZC_MEM_TENANT);
    struct zc_store *s;

    t->owns_store = false;
    t->store = t->parent != NULL ? t->parent->store : NULL;
    if (cb == NULL) {
        return 0;
    }
    s = mem->alloc(mem->ctx, sizeof(*s));
    if (s == NULL) {
        return -ENOMEM;
    }
    s->cb = *cb;
    zc_lock_init(&s->lock, ZC_RANK_leaf);
    zc_cond_init(&s->cond);
    t->store = s;
    t->owns_store = true;
    return 0;
}

static void store_free(struct zcache_tenant *t)
{
    const struct zc_mem *mem = zc_core_mem(t->cache, ZC_MEM_TENANT);
    struct zc_store *s = t->store;

    t->store = NULL;
    if (!t->owns_store) {
        return;
    }
    t->owns_store = false;
    zc_cond_fini(&s->cond);
    zc_lock_fini(&s->lock);
    mem->free(mem->ctx, s, sizeof(*s));
}

static void store_detach(struct zcache_tenant *t)
{
    if (t->owns_store && t->store->cb.detach != NULL) {
        zc_lock_assert_none();
        t->store->cb.detach(t->store->cb.ctx);
    }
    store_free(t);
}

/* ---- open ---------------------------------------------------------------------------------- */

static void record_fill(struct zcache_tenant *t,
                        struct zcache_tenant *parent,
                        const struct zcache_tenant_options *opts)
{
    t->parent = parent;
    t->depth = parent != NULL ? parent->depth + 1 : 0;
    (void)memset(t->name, 0, sizeof(t->name));
    (void)memcpy(t->name, opts->name, strlen(opts->name));
    t->ctx = opts->ctx;
    t->node = opts->node;
    t->account = parent != NULL ? &t->own : &t->cache->account;
    if (parent != NULL) {
        zc_quota_init(&t->own, parent->account, opts->limits.limit_bytes);
    }
    zc_quota_use_stock(t->account, &t->cache->stocks, t->stock,
                       parent != NULL ? STOCK_MARK
                                      : ZC_MIN(t->cache->opt.background_percent, STOCK_MARK));
    zc_list_init(&t->children);
    zc_list_init(&t->sibling);
    zc_list_init(&t->named);
    atomic_store(&t->reserve_bytes, opts->limits.reserve_bytes);
    atomic_store(&t->weight, opts->limits.weight);
    atomic_store(&t->writeback, (uint32_t)opts->limits.writeback);
    atomic_store(&t->wal_horizon, 0);
    atomic_store(&t->parity, 0);
    atomic_store(&t->flushing, 0);
    atomic_store(&t->unbarriered, 0);
    atomic_store(&t->error, 0);
    atomic_store(&t->failures, 0);
    atomic_store(&t->retry_ns, 0);
    atomic_store(&t->cursor, UINT32_MAX);
    atomic_store(&t->raw_surplus, 0);
    for (int tier = 0; tier < ZCACHE_TIERS; tier++) {
        zc_worth_init(&t->worth[tier]);
    }
    zc_share_init(&t->share);
    (void)memset(&t->learn, 0, sizeof(t->learn));
    for (unsigned i = 0; i < t->cache->topo.n_nodes; i++) {
        zc_lru_use_probation(t->lru[i],
                             t->cache->opt.policy == ZCACHE_POLICY_LRU ? NULL : &t->ghost);
    }
}

static struct zc_list *name_bucket(struct zc_tenants *ts, const struct zcache_tenant *t)
{
    struct zcache_key key = {zc_checksum(t->name, strlen(t->name)), t->parent->slot};

    return &ts->names[zc_index_hash(0, key) % NAME_BUCKETS];
}

static bool name_taken_locked(struct zc_tenants *ts, const struct zcache_tenant *t)
{
    struct zc_list *bucket = name_bucket(ts, t);
    struct zc_list *it;

    ZC_LIST_FOR_EACH (it, bucket) {
        const struct zcache_tenant *other = ZC_CONTAINER_OF(it, struct zcache_tenant, named);

        if (other->parent == t->parent && strcmp(other->name, t->name) == 0) {
            return true;
        }
    }
    return false;
}

/* Into the tree, if the parent is still open and the name is free. */
static int link_tenant(struct zcache_tenant *t)
{
    struct zc_tenants *ts = t->cache->tenants;
    struct zcache_tenant *parent = t->parent;
    int rc = 0;

    zc_lock_acquire(&ts->lock);
    if (parent != NULL && atomic_load(&parent->state) != ZC_TENANT_OPEN) {
        rc = -ESHUTDOWN;
    } else if (parent != NULL && name_taken_locked(ts, t)) {
        rc = -EEXIST;
    } else {
        t->id = (uint64_t)ts->next_generation++ << 20 | t->slot;
        if (parent != NULL) {
            t->forward_id = parent->id;
            zc_list_push_back(&parent->children, &t->sibling);
            zc_list_push_back(name_bucket(ts, t), &t->named);
        }
        ts->n_open++;
        atomic_store(&t->state, ZC_TENANT_OPEN);
    }
    zc_lock_release(&ts->lock);
    return rc;
}

int zc_tenant_open(struct zcache *cache,
                   struct zcache_tenant *parent,
                   const struct zcache_tenant_options *opts,
                   struct zcache_tenant **out)
{
    struct zcache_tenant *t;
    int rc;

    if (parent != NULL && parent->depth >= ZCACHE_TENANT_DEPTH_MAX) {
        return -ENOSPC;
    }
    rc = record_get(cache, &t);
    if (rc != 0) {
        return rc;
    }
    record_fill(t, parent, opts);
    rc = stat_alloc(t);
    rc = rc != 0 ? rc : store_attach(t, opts->store);
    if (rc == 0) {
        rc = link_tenant(t);
    }
    if (rc != 0) {
        store_free(t);
        record_put(cache, t);
        return rc;
    }
    *out = t;
    return 0;
}

/* ---- close --------------------------------------------------------------------------------- */

int zc_tenant_begin_close(struct zcache_tenant *t)
{
    struct zc_tenants *ts = t->cache->tenants;
    int rc = 0;

    zc_lock_acquire(&ts->lock);
    if (!zc_list_empty(&t->children)) {
        rc = -EBUSY;
    } else if (atomic_load(&t->state) != ZC_TENANT_OPEN) {
        rc = -ESHUTDOWN;
    } else {
        atomic_store(&t->state, ZC_TENANT_CLOSING);
    }
    zc_lock_release(&ts->lock);
    return rc;
}

void zc_tenant_cancel_close(struct zcache_tenant *t)
{
    atomic_store(&t->state, ZC_TENANT_OPEN);
}

/* To the parent, which takes them as they are if it has none: no memory is asked for. */
static void hist_hand_over(struct zcache_tenant *t)
{
    const struct zc_mem *mem = zc_core_mem(t->cache, ZC_MEM_TENANT);
    struct zc_hist *hist = atomic_exchange(&t->hist, NULL);
    struct zc_hist *into = NULL;

    if (hist == NULL || atomic_compare_exchange_strong(&t->parent->hist, &into, hist)) {
        return;
    }
    for (int k = 0; k < ZCACHE_LATENCIES; k++) {
        zc_hist_fold(&into[k], &hist[k]);
    }
    mem->free(mem->ctx, hist, ZCACHE_LATENCIES * sizeof(*hist));
}

static void give_up_dictionary(struct zcache_tenant *t)
{
    struct zc_dict *dict = atomic_exchange(&t->learn.dict, NULL);

    if (dict != NULL) {
        zc_stat_add(t->stat, ZC_C_dict_retired, 1);
        if (zc_dict_give_up(dict)) {
            zc_core_dict_over(t->cache);
        }
    }
}

void zc_tenant_finish_close(struct zcache_tenant *t)
{
    struct zc_tenants *ts = t->cache->tenants;

    ZC_ASSERT(zc_quota_charge(t->account) == 0 && atomic_load(&t->n_pages) == 0);
    give_up_dictionary(t);
    zc_stat_fold(t->parent->stat, t->stat);
    hist_hand_over(t);
    zc_lock_acquire(&ts->lock);
    zc_list_del(&t->sibling);
    zc_list_del(&t->named);
    ts->n_open--;
    zc_lock_release(&ts->lock);
    store_detach(t); /* still CLOSING: calls from within get -ESHUTDOWN */
    atomic_store(&t->state, ZC_TENANT_CLOSED);
    record_put(t->cache, t);
}

int zc_tenant_wait_idle(struct zcache_tenant *t, uint64_t deadline_ns)
{
    uint64_t seq = zc_progress_begin(t->cache, ZC_FOR_ANY);
    int rc = 0;

    while (atomic_load(&t->ops) != 0 && rc == 0) {
        ZC_SYNC_POINT("tenant.found_busy", ((struct zcache_key){t->slot, 0}));
        if (!zc_progress_wait(t->cache, ZC_FOR_ANY, &seq, deadline_ns)) {
            rc = atomic_load(&t->ops) == 0 ? 0 : -ETIMEDOUT;
        }
    }
    zc_progress_end(t->cache, ZC_FOR_ANY);
    return rc;
}

/* ---- calls --------------------------------------------------------------------------------- */

void zc_tenant_hold(struct zcache_tenant *t)
{
    atomic_fetch_add(&t->ops, 1);
}

void zc_tenant_leave(struct zcache_tenant *t)
{
    uint64_t before = atomic_fetch_sub(&t->ops, 1);

    ZC_ASSERT(before != 0);
    /* Who closes has set one of these before it looked at the count. */
    if (atomic_load(&t->state) != ZC_TENANT_OPEN || atomic_load(&t->cache->closing) != 0) {
        zc_progress_signal(t->cache);
    }
}

int zc_tenant_enter(struct zcache_tenant *t)
{
    atomic_fetch_add(&t->ops, 1);
    if (ZC_LIKELY(atomic_load(&t->state) == ZC_TENANT_OPEN)) {
        return 0;
    }
    zc_tenant_leave(t);
    return -ESHUTDOWN;
}

/* ---- look-up ------------------------------------------------------------------------------- */

bool zc_tenant_within(const struct zcache_tenant *t, const struct zcache_tenant *top)
{
    while (t != NULL && t->depth > top->depth) {
        t = t->parent;
    }
    return t == top;
}

struct zcache_tenant *zc_tenant_next(struct zcache_tenant *top, uint32_t *cursor)
{
    struct zcache *cache = top->cache;
    uint32_t n = atomic_load_explicit(&cache->tenants->n_slots, memory_order_acquire);

    for (uint32_t slot = *cursor + 1; slot < n; slot++) {
        struct zcache_tenant *t = zc_tenant_at(cache, slot);

        /* Entered first: only then do its parent and its depth stay as they are. */
        if (!zc_tenant_usable(t) || zc_tenant_enter(t) != 0) {
            continue;
        }
        if (zc_tenant_within(t, top)) {
            *cursor = slot;
            return t;
        }
        zc_tenant_leave(t);
    }
    return NULL;
}

int zc_tenant_find(struct zcache *cache, uint64_t id, struct zcache_tenant **out)
{
    struct zc_tenants *ts = cache->tenants;
    int rc = -ENOENT;

    zc_lock_acquire(&ts->lock);
    while ((id & ZC_OWNER_SLOT) < atomic_load(&ts->n_slots)) {
        struct zcache_tenant *t = zc_tenant_at(cache, (uint32_t)(id & ZC_OWNER_SLOT));

        if (t->id != id) {
            break;
        }
        if (atomic_load(&t->state) != ZC_TENANT_CLOSED) {
            *out = t;
            rc = 0;
            break;
        }
        id = t->forward_id;
    }
    zc_lock_release(&ts->lock);
    return rc;
}

bool zc_tenant_writes(const struct zcache_tenant *t, bool insist)
{
    if (t->store == NULL || t->store->cb.write == NULL) {
        return false;
    }
    if (!insist && atomic_load_explicit(&t->retry_ns, memory_order_relaxed) > zc_plat_now_ns()) {
        return false;
    }
    for (; t != NULL; t = t->parent) {
        if (atomic_load_explicit(&t->writeback, memory_order_relaxed) != ZCACHE_WRITEBACK_ON) {
            return false;
        }
    }
    return true;
}

/* ---- statistics ---------------------------------------------------------------------------- */

struct zc_hist *zc_tenant_hist(struct zcache_tenant *t, enum zcache_latency_kind kind)
{
    const struct zc_mem *mem = zc_core_mem(t->cache, ZC_MEM_TENANT);
    struct zc_hist *hist = atomic_load_explicit(&t->hist, memory_order_acquire);
    struct zc_hist *fresh;

    if (hist != NULL) {
        return &hist[kind];
    }
    fresh = mem->alloc(mem->ctx, ZCACHE_LATENCIES * sizeof(*fresh));
    if (fresh == NULL) {
        return NULL;
    }
    if (!atomic_compare_exchange_strong(&t->hist, &hist, fresh)) {
        mem->free(mem->ctx, fresh, ZCACHE_LATENCIES * sizeof(*fresh));
        return &hist[kind];
    }
    return &fresh[kind];
}

bool zc_tenant_past(const struct zcache_tenant *t, uint32_t percent)
{
    for (const struct zc_account *a = t->account; a != NULL; a = a->parent) {
        uint64_t limit = zc_quota_limit(a);

        if (limit != ZCACHE_UNLIMITED && zc_quota_charge(a) > zc_mul_div(limit, percent, 100)) {
            return true;
        }
    }
    return false;
}

bool zc_tenant_past_start(const struct zcache_tenant *t)
{
    uint32_t percent = t->cache->opt.start_percent;

    return percent < 100 && zc_tenant_past(t, percent);
}

bool zc_tenant_backs_off(struct zcache_tenant *top)
{
    uint32_t cursor = UINT32_MAX;
    struct zcache_tenant *t;
    bool found = false;

    while (!found && (t = zc_tenant_next(top, &cursor)) != NULL) {
        found = atomic_load(&t->retry_ns) > zc_plat_now_ns() && zc_tenant_dirty(t) > 0;
        zc_tenant_leave(t);
    }
    return found;
}

uint64_t zc_tenant_spare(const struct zcache_tenant *t)
{
    uint64_t spare = UINT64_MAX;

    for (; t != NULL; t = t->parent) {
        uint64_t reserve = atomic_load(&t->reserve_bytes);
        uint64_t used = reserve > 0 ? zc_quota_used(t->account) : zc_quota_charge(t->account);

        spare = ZC_MIN(spare, zc_sub_sat(used, reserve));
    }
    return spare;
}

void zc_tenant_view(struct zcache_tenant *t, struct zc_lru_view *out)
{
    *out = (struct zc_lru_view){0};
    for (unsigned node = 0; node < t->cache->topo.n_nodes; node++) {
        struct zc_lru_view view;

        zc_lru_view(t->lru[node], &view);
        for (int i = 0; i < ZCACHE_TIERS; i++) {
            out->tier[i].pages += view.tier[i].pages;
            out->tier[i].raw_bytes += view.tier[i].raw_bytes;
            out->tier[i].stored_bytes += view.tier[i].stored_bytes;
            out->tier[i].allocated_bytes += view.tier[i].allocated_bytes;
        }
        for (unsigned i = 0; i < ZC_LISTS; i++) {
            out->pages[i] += view.pages[i];
        }
        out->isolated += view.isolated;
    }
}

void zc_tenant_sums(struct zcache_tenant *t, struct zc_tier_sum out[ZCACHE_TIERS])
{
    struct zc_lru_view view;

    zc_tenant_view(t, &view);
    for (int i = 0; i < ZCACHE_TIERS; i++) {
        out[i] = view.tier[i];
    }
}

void zc_tenant_note_error(struct zcache_tenant *t, int error)
{
    for (; t != NULL; t = t->parent) {
        atomic_store(&t->error, error);
    }
}

/* ---- lifetime of the table ----------------------------------------------------------------- */

int zc_tenants_create(struct zcache *cache)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_TENANT);
    struct zc_tenants *ts = mem->alloc(mem->ctx, sizeof(*ts));

    if (ts == NULL) {
        return -ENOMEM;
    }
    zc_lock_init(&ts->lock, ZC_RANK_tenant);
    zc_list_init(&ts->closed);
    for (unsigned i = 0; i < NAME_BUCKETS; i++) {
        zc_list_init(&ts->names[i]);
    }
    cache->tenants = ts;
    return 0;
}

uint32_t zc_tenants_slots(const struct zcache *cache)
{
    return atomic_load_explicit(&cache->tenants->n_slots, memory_order_acquire);
}

bool zc_tenants_idle(struct zcache *cache)
{
    uint32_t n = atomic_load(&cache->tenants->n_slots);

    for (uint32_t slot = 0; slot < n; slot++) {
        if (atomic_load(&zc_tenant_at(cache, slot)->ops) != 0) {
            return false;
        }
    }
    return true;
}

void zc_tenants_detach(struct zcache *cache)
{
    uint32_t n = atomic_load(&cache->tenants->n_slots);

    /* A child may have a lower slot than its parent: go by depth. */
    for (uint32_t depth = ZCACHE_TENANT_DEPTH_MAX + 1; depth-- > 0;) {
        for (uint32_t slot = 0; slot < n; slot++) {
            struct zcache_tenant *t = zc_tenant_at(cache, slot);

            if (atomic_load(&t->state) != ZC_TENANT_CLOSED && t->depth == depth) {
                atomic_store(&t->state, ZC_TENANT_CLOSED);
                store_detach(t);
            }
        }
    }
}

static void table_free(struct zcache *cache)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_TENANT);
    struct zc_tenants *ts = cache->tenants;

    for (uint32_t i = 0; i < TABLE_CHUNKS; i++) {
        struct zcache_tenant **chunk = atomic_load(&ts->chunk[i]);

        if (chunk != NULL) {
            mem->free(mem->ctx, chunk, TABLE_CHUNK * sizeof(struct zcache_tenant *));
        }
    }
    zc_lock_fini(&ts->lock);
    mem->free(mem->ctx, ts, sizeof(*ts));
    cache->tenants = NULL;
}

void zc_tenants_destroy(struct zcache *cache)
{
    uint32_t n = atomic_load(&cache->tenants->n_slots);

    zc_tenants_detach(cache);
    zc_quota_call_in(&cache->account);
    cache->account.stock = NULL; /* its memory is the root's record's */
    for (uint32_t slot = 0; slot < n; slot++) {
        record_free(cache, zc_tenant_at(cache, slot));
    }
    table_free(cache);
}
