/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * batch.c - the table of batches, calls to the store, completion.
 *
 *     make -> FILLING -> call -> CALLED -> complete -> FINISHING -> finish() -> done -> FREE
 *                                   ^          ^
 *                     callback returns         zcache_done() from any thread, even earlier
 *
 * A token is the slot in the table and a sequence number; a completion is obeyed only if the slot's
 * batch has that token and is CALLED, so a second or a foreign one changes nothing.
 *
 * References: the maker, the completion, and the call itself (the callback may still be running
 * when another thread completes the batch).  The last one frees it for the next user.
 *
 * Memory: batches are made at first use and kept.  WRITE_KEPT of them exist from the start and only
 * writes may use them, so that a full cache can always write a page back.  Copies of pages come
 * from a budget that was charged at open.
 *
 * Locks: the table's leaf lock.  Nothing is held when a callback or finish() runs.
 */
#include "batch.h"

#include <errno.h>

#include "mathx.h"
#include "sync_point.h"

#define SLOTS      256u
#define WRITE_KEPT 2u
#define COPY_SHARE 32u /* of the capacity, at most, for copies in flight */

struct zc_io {
    struct zc_lock lock;
    /* under lock */
    struct zc_batch *batch[SLOTS];
    uint8_t state[SLOTS];
    uint64_t sequence;
    struct zc_list discards; /* announced */
    uint64_t n_announced;    /* so far */
    /* atomic */
    _Atomic uint32_t n_discards;
    _Atomic uint32_t write_pages; /* in the store's hands */
    _Atomic uint64_t bytes;       /* of pages in the store's hands */
    _Atomic uint64_t copy_left;
    uint64_t copy_max; /* set once */
};

/* ---- making -------------------------------------------------------------------------------- */

static size_t batch_bytes(const struct zcache *cache)
{
    return sizeof(struct zc_batch) +
           cache->opt.batch_pages * (sizeof(struct zc_batch_page) + sizeof(struct zcache_io_page));
}

static struct zc_batch *batch_alloc(struct zcache *cache)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_IO);
    struct zc_batch *b = mem->alloc(mem->ctx, batch_bytes(cache));

    if (b != NULL) {
        b->cache = cache;
        b->page = (struct zc_batch_page *)(void *)(b + 1);
        b->io_page = (struct zcache_io_page *)(void *)(b->page + cache->opt.batch_pages);
    }
    return b;
}

/* A free slot, preferably one whose batch exists; SLOTS if there is none. */
static uint32_t slot_take(struct zc_io *io, bool is_write)
{
    uint32_t found = SLOTS;

    zc_lock_acquire(&io->lock);
    for (uint32_t i = is_write ? 0 : WRITE_KEPT; i < SLOTS; i++) {
        if (io->state[i] == ZC_BATCH_FREE && (io->batch[i] != NULL || found == SLOTS)) {
            found = i;
            if (io->batch[i] != NULL) {
                break;
            }
        }
    }
    if (found != SLOTS) {
        io->state[found] = ZC_BATCH_FILLING;
    }
    zc_lock_release(&io->lock);
    return found;
}

static void slot_give(struct zcache *cache, uint32_t slot)
{
    zc_lock_acquire(&cache->io->lock);
    cache->io->state[slot] = ZC_BATCH_FREE;
    zc_lock_release(&cache->io->lock);
    zc_progress_signal(cache);
}

static int slot_wait(struct zcache *cache, bool is_write, uint64_t deadline_ns, uint32_t *out)
{
    uint64_t seq;
    int rc = 0;

    *out = slot_take(cache->io, is_write);
    if (*out != SLOTS || deadline_ns == 0) {
        return *out != SLOTS ? 0 : -EBUSY;
    }
    seq = zc_progress_begin(cache, ZC_FOR_ANY);
    while ((*out = slot_take(cache->io, is_write)) == SLOTS && rc == 0) {
        rc = zc_progress_wait(cache, ZC_FOR_ANY, &seq, deadline_ns) ? 0 : -ETIMEDOUT;
    }
    zc_progress_end(cache, ZC_FOR_ANY);
    return rc;
}

int zc_batch_make(struct zcache_tenant *t,
                  enum zcache_io_op op,
                  zc_batch_finish_fn *finish,
                  uint64_t deadline_ns,
                  struct zc_batch **out)
{
    struct zcache *cache = t->cache;
    struct zc_batch *b;
    uint32_t slot;
    int rc = slot_wait(cache, op == ZCACHE_IO_WRITE, deadline_ns, &slot);

    if (rc != 0) {
        return rc;
    }
    b = cache->io->batch[slot];
    if (b == NULL) {
        b = batch_alloc(cache);
        if (b == NULL) {
            slot_give(cache, slot);
            return -ENOMEM;
        }
        cache->io->batch[slot] = b; /* ours alone while FILLING */
    }
    b->io = (struct zcache_io){.op = op,
                               .tenant_id = t->id,
                               .tenant_name = t->name,
                               .tenant_ctx = t->ctx,
                               .pages = b->io_page};
    b->tenant = t;
    b->store = t->store;
    b->finish = finish;
    b->slot = slot;
    b->has_turn = false;
    b->n_ok = b->n_failed = b->n_evicted = 0;
    b->freed_bytes = 0;
    b->error = 0;
    atomic_store(&b->done, false);
    atomic_store(&b->refs, 1);
    zc_tenant_hold(t);
    *out = b;
    return 0;
}

static void batch_unref(struct zc_batch *b)
{
    if (atomic_fetch_sub(&b->refs, 1) == 1) {
        struct zcache *cache = b->cache;
        uint32_t slot = b->slot;

        for (size_t i = 0; i < b->io.n_pages; i++) {
            if (b->page[i].copy != NULL) { /* a read's buffers, kept for its maker */
                zc_batch_buffer_free(cache, b->page[i].copy, b->page[i].copy_bytes);
            }
        }
        zc_tenant_leave(b->tenant);
        ZC_SYNC_POINT("batch.left", ((struct zcache_key){0, 0}));
        slot_give(cache, slot);
    }
}

unsigned zc_batch_room(struct zcache *cache)
{
    uint32_t used = atomic_load(&cache->io->write_pages);

    return used >= cache->opt.inflight_pages
               ? 0
               : ZC_MIN(cache->opt.inflight_pages - used, cache->opt.batch_pages);
}

/* ---- copies -------------------------------------------------------------------------------- */

int zc_batch_buffer(struct zcache *cache, size_t size, void **out)
{
    size_t bytes = zc_pool_round(size);
    uint64_t left = atomic_load(&cache->io->copy_left);
    void *buf;

    do {
        if (left < bytes) {
            return -EAGAIN;
        }
    } while (!atomic_compare_exchange_weak(&cache->io->copy_left, &left, left - bytes));
    buf = zc_core_alloc(cache, cache->topo.cpu_node[zc_plat_cpu()], size);
    if (buf == NULL) {
        atomic_fetch_add(&cache->io->copy_left, bytes);
        return -ENOMEM;
    }
    *out = buf;
    return 0;
}

void zc_batch_buffer_free(struct zcache *cache, void *buf, size_t size)
{
    zc_pool_free(buf, size);
    atomic_fetch_add(&cache->io->copy_left, zc_pool_round(size));
    zc_progress_signal(cache);
}

/* ---- calling ------------------------------------------------------------------------------- */

/* One thread at a time into a serial store.  False: its turn did not come in time. */
static bool turnstile_enter(struct zc_store *s, uint64_t deadline_ns)
{
    bool in_time = deadline_ns != 0;

    if ((s->cb.flags & ZCACHE_STORE_SERIAL) == 0) {
        return true;
    }
    zc_lock_acquire(&s->lock);
    while (s->busy && in_time) {
        in_time = zc_cond_wait(&s->cond, &s->lock, deadline_ns);
    }
    in_time = !s->busy;
    s->busy = true; /* either way somebody is inside */
    zc_lock_release(&s->lock);
    return in_time;
}

static void turnstile_leave(struct zc_store *s)
{
    if ((s->cb.flags & ZCACHE_STORE_SERIAL) == 0) {
        return;
    }
    zc_lock_acquire(&s->lock);
    s->busy = false;
    zc_cond_broadcast(&s->cond);
    zc_lock_release(&s->lock);
}

bool zc_batch_turn(struct zc_batch *batch, uint64_t deadline_ns)
{
    zc_lock_assert_none();
    batch->has_turn = turnstile_enter(batch->store, deadline_ns);
    return batch->has_turn;
}

static void give_turn(struct zc_batch *b)
{
    if (b->has_turn) {
        b->has_turn = false;
        turnstile_leave(b->store);
    }
}

void zc_batch_drop(struct zc_batch *batch)
{
    give_turn(batch);
    batch_unref(batch);
}

static int call_store(struct zc_batch *b)
{
    const struct zcache_store *cb = &b->store->cb;

    switch (b->io.op) {
    case ZCACHE_IO_WRITE:
        return cb->write(cb->ctx, &b->io);
    case ZCACHE_IO_READ:
        return cb->read(cb->ctx, &b->io);
    case ZCACHE_IO_BARRIER:
        return cb->barrier(cb->ctx, &b->io);
    case ZCACHE_IO_DISCARD:
        return cb->discard(cb->ctx, &b->io);
    }
    return -EINVAL;
}

/* Bytes that the store is given or gives. */
static uint64_t batch_payload(struct zc_batch *b)
{
    b->payload = 0;
    for (size_t i = 0; i < b->io.n_pages; i++) {
        b->payload += b->io.op == ZCACHE_IO_WRITE ? b->io_page[i].len : b->io_page[i].cap;
    }
    return b->payload;
}

uint64_t zc_io_bytes(const struct zcache *cache)
{
    return atomic_load(&cache->io->bytes);
}

/* From FILLING to CALLED: from now on the token completes it. */
static uint64_t publish(struct zc_batch *b)
{
    struct zc_io *io = b->cache->io;
    uint64_t token;

    if (b->io.op == ZCACHE_IO_WRITE) {
        atomic_fetch_add(&io->write_pages, (uint32_t)b->io.n_pages);
    }
    atomic_fetch_add(&io->bytes, batch_payload(b));
    b->start_ns = zc_plat_now_ns();
    zc_lock_acquire(&io->lock);
    token = ++io->sequence << 16 | b->slot;
    b->io.token = token;
    io->state[b->slot] = ZC_BATCH_CALLED;
    zc_lock_release(&io->lock);
    return token;
}

void zc_batch_call(struct zc_batch *batch, struct zc_thread *th)
{
    struct zcache *cache = batch->cache;
    int rc = -ETIMEDOUT;
    uint64_t token;

    ZC_DEBUG_ASSERT(!zc_epoch_inside(th->epoch));
    zc_lock_assert_none();
    atomic_fetch_add(&batch->refs, 2); /* the completion's, and ours while we are in here */
    if (!batch->has_turn) {
        (void)zc_batch_turn(batch, zc_plat_deadline_ns(cache->opt.max_stall_ms));
    }
    token = publish(batch);
    if (batch->has_turn) {
        batch->outer = th->callbacks;
        th->callbacks = batch;
        rc = call_store(batch);
        th->callbacks = batch->outer;
        give_turn(batch);
    }
    if (rc > 0 && rc != ZCACHE_PENDING) {
        zc_core_log(cache, ZCACHE_LOG_ERROR, "store.result",
                    "a store callback returned %d, which means nothing; taken as -EIO", rc);
        rc = -EIO;
    }
    if (rc != ZCACHE_PENDING) {
        /* -ENOENT: it called zcache_done() as well; that was counted, and the first one holds. */
        (void)zc_batch_complete(cache, th, token, rc);
    }
    batch_unref(batch);
}

/* ---- completion ---------------------------------------------------------------------------- */

static struct zc_batch *claim_completion(struct zcache *cache, uint64_t token)
{
    struct zc_io *io = cache->io;
    uint32_t slot = (uint32_t)(token & 0xffff);
    struct zc_batch *b = NULL;

    if (slot >= SLOTS) {
        return NULL;
    }
    zc_lock_acquire(&io->lock);
    if (io->state[slot] == ZC_BATCH_CALLED && io->batch[slot]->io.token == token) {
        b = io->batch[slot];
        io->state[slot] = ZC_BATCH_FINISHING;
    }
    zc_lock_release(&io->lock);
    return b;
}

static void settle_status(struct zc_batch *b, int status)
{
    for (size_t i = 0; i < b->io.n_pages; i++) {
        struct zcache_io_page *p = &b->io_page[i];
        bool miss_ok = b->io.op == ZCACHE_IO_READ && p->status == ZCACHE_MISS;

        if (status < 0) {
            p->status = status;
        } else if (p->status > 0 && !miss_ok) {
            p->status = -EIO;
        }
    }
    if (status < 0) {
        b->error = status;
    }
}

int zc_batch_complete(struct zcache *cache, struct zc_thread *th, uint64_t token, int status)
{
    struct zc_batch *b = claim_completion(cache, token);

    if (b == NULL) {
        atomic_fetch_add(&cache->bad_completions, 1);
        zc_core_log(cache, ZCACHE_LOG_ERROR, "store.completion",
                    "a completion names no batch in flight; it was completed before, or never was");
        return -ENOENT;
    }
    settle_status(b, status);
    if (b->io.op == ZCACHE_IO_WRITE) {
        atomic_fetch_sub(&cache->io->write_pages, (uint32_t)b->io.n_pages);
    }
    if (b->finish != NULL) {
        b->finish(b, th);
    }
    atomic_fetch_sub(&cache->io->bytes, b->payload); /* now it is counted: see zc_verify() */
    atomic_store(&b->done, true);
    zc_progress_signal(cache);
    ZC_SYNC_POINT("batch.finished", b->io_page[0].key);
    batch_unref(b);
    return 0;
}

int zc_batch_wait(struct zc_batch *batch, uint64_t deadline_ns)
{
    struct zcache *cache = batch->cache;
    bool in_time = true;
    uint64_t seq;

    if (atomic_load(&batch->done)) {
        return 0;
    }
    if (deadline_ns == 0) {
        return -EBUSY;
    }
    seq = zc_progress_begin(cache, ZC_FOR_ANY);
    while (!atomic_load(&batch->done) && in_time) {
        in_time = zc_progress_wait(cache, ZC_FOR_ANY, &seq, deadline_ns);
    }
    zc_progress_end(cache, ZC_FOR_ANY);
    return atomic_load(&batch->done) ? 0 : -ETIMEDOUT;
}

/* ---- who am I ------------------------------------------------------------------------------ */

bool zc_batch_own(const struct zc_thread *th, uint32_t slot, struct zcache_key key)
{
    for (const struct zc_batch *b = th->callbacks; b != NULL; b = b->outer) {
        if (atomic_load(&b->done) || b->tenant->slot != slot) {
            continue;
        }
        for (size_t i = 0; i < b->io.n_pages; i++) {
            if (b->io_page[i].key.object == key.object && b->io_page[i].key.page == key.page) {
                return true;
            }
        }
    }
    return false;
}

bool zc_batch_in_callback(const struct zc_thread *th)
{
    return th->callbacks != NULL;
}

bool zc_batch_serial_self(const struct zc_thread *th, const struct zc_store *store)
{
    if (store == NULL || (store->cb.flags & ZCACHE_STORE_SERIAL) == 0) {
        return false;
    }
    for (const struct zc_batch *b = th->callbacks; b != NULL; b = b->outer) {
        if (b->store == store) {
            return true;
        }
    }
    return false;
}

/* ---- barrier ------------------------------------------------------------------------------- */

int zc_batch_barrier(struct zcache_tenant *t,
                     struct zc_thread *th,
                     uint64_t deadline_ns,
                     int *error_out)
{
    struct zc_batch *b;
    int rc;

    if (zc_batch_serial_self(th, t->store)) {
        return -EDEADLK;
    }
    rc = zc_batch_make(t, ZCACHE_IO_BARRIER, NULL, deadline_ns, &b);
    if (rc != 0) {
        return rc;
    }
    zc_batch_call(b, th);
    rc = zc_batch_wait(b, deadline_ns);
    if (rc == 0) {
        rc = *error_out = b->error;
    }
    zc_batch_drop(b);
    return rc;
}

/* ---- discard ------------------------------------------------------------------------------- */

static void withdraw(struct zc_batch *b)
{
    struct zc_io *io = b->cache->io;

    atomic_fetch_sub(&io->n_discards, 1);
    zc_lock_acquire(&io->lock);
    zc_list_del(&b->announced);
    zc_lock_release(&io->lock);
    zc_progress_signal(b->cache);
}

/* Only when the store is through with it, however long its caller waited. */
static void finish_discard(struct zc_batch *b, struct zc_thread *th)
{
    (void)th;
    atomic_store(&b->tenant->unbarriered, 1); /* before a flush can take it for over */
    withdraw(b);
}

int zc_batch_discard_begin(struct zcache_tenant *t,
                           struct zc_thread *th,
                           struct zcache_key key,
                           bool range,
                           uint64_t deadline_ns,
                           struct zc_batch **out)
{
    struct zc_io *io = t->cache->io;
    struct zc_batch *b;
    int rc;

    if (zc_batch_serial_self(th, t->store)) {
        return -EDEADLK;
    }
    rc = zc_batch_make(t, ZCACHE_IO_DISCARD, finish_discard, deadline_ns, &b);
    if (rc != 0) {
        return rc;
    }
    b->io_page[0] = (struct zcache_io_page){.key = key};
    b->page[0] = (struct zc_batch_page){0};
    b->io.n_pages = 1;
    b->io.range = range;
    zc_lock_acquire(&io->lock);
    b->discard_number = ++io->n_announced;
    zc_list_push_back(&io->discards, &b->announced);
    zc_lock_release(&io->lock);
    atomic_fetch_add(&io->n_discards, 1);
    *out = b;
    return 0;
}

int zc_batch_discard_end(struct zc_batch *batch,
                         struct zc_thread *th,
                         bool call,
                         uint64_t deadline_ns)
{
    int rc = 0;

    if (call) {
        zc_stat_add(batch->tenant->stat, ZC_C_discarded_pages, 1);
        zc_batch_call(batch, th);
        rc = zc_batch_wait(batch, deadline_ns);
        if (rc == 0) {
            rc = batch->error != 0 ? batch->error : batch->io_page[0].status;
        }
    } else {
        withdraw(batch);
    }
    zc_batch_drop(batch);
    return rc;
}

static bool names(const struct zc_batch *b, const struct zcache_tenant *t, struct zcache_key key)
{
    struct zcache_key first = b->io_page[0].key;

    return b->tenant == t && first.object == key.object &&
           (b->io.range != 0 ? key.page >= first.page : key.page == first.page);
}

bool zc_batch_discarding(struct zcache_tenant *t, struct zcache_key key)
{
    struct zc_io *io = t->cache->io;
    struct zc_list *it;
    bool found = false;

    if (ZC_LIKELY(atomic_load(&io->n_discards) == 0)) {
        return false;
    }
    zc_lock_acquire(&io->lock);
    ZC_LIST_FOR_EACH (it, &io->discards) {
        found = found || names(ZC_CONTAINER_OF(it, struct zc_batch, announced), t, key);
    }
    zc_lock_release(&io->lock);
    return found;
}

uint32_t zc_batch_discards(const struct zcache *cache)
{
    return atomic_load(&cache->io->n_discards);
}

static bool discards_left(struct zcache_tenant *t, uint64_t last)
{
    struct zc_io *io = t->cache->io;
    struct zc_list *it;
    bool found = false;

    zc_lock_acquire(&io->lock);
    ZC_LIST_FOR_EACH (it, &io->discards) {
        const struct zc_batch *b = ZC_CONTAINER_OF(it, struct zc_batch, announced);

        found = found || (b->tenant == t && b->discard_number <= last);
    }
    zc_lock_release(&io->lock);
    return found;
}

int zc_batch_wait_discards(struct zcache_tenant *t, uint64_t deadline_ns)
{
    struct zc_io *io = t->cache->io;
    bool in_time = true;
    uint64_t last;
    uint64_t seq;

    if (ZC_LIKELY(zc_batch_discards(t->cache) == 0)) {
        return 0;
    }
    seq = zc_progress_begin(t->cache, ZC_FOR_ANY);
    zc_lock_acquire(&io->lock);
    last = io->n_announced;
    zc_lock_release(&io->lock);
    while (discards_left(t, last) && in_time) {
        ZC_SYNC_POINT("batch.discards_left", ((struct zcache_key){t->slot, 0}));
        in_time = zc_progress_wait(t->cache, ZC_FOR_ANY, &seq, deadline_ns);
    }
    zc_progress_end(t->cache, ZC_FOR_ANY);
    return in_time || !discards_left(t, last) ? 0 : -ETIMEDOUT;
}

/* ---- lifetime ------------------------------------------------------------------------------ */

int zc_io_create(struct zcache *cache)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_IO);
    uint64_t page = zc_pool_round(cache->opt.page_max_bytes);
    uint64_t most = cache->opt.inflight_pages * page;
    struct zc_io *io = mem->alloc(mem->ctx, sizeof(*io));

    if (io == NULL) {
        return -ENOMEM;
    }
    zc_lock_init(&io->lock, ZC_RANK_leaf);
    zc_list_init(&io->discards);
    cache->io = io;
    io->copy_max = ZC_MIN(most, ZC_MAX(cache->opt.capacity_bytes / COPY_SHARE, page));
    if (zc_quota_reserve(&cache->account, io->copy_max, ZC_QUOTA_RECLAIM) != NULL) {
        io->copy_max = 0;
        return -ENOMEM;
    }
    atomic_store(&io->copy_left, io->copy_max);
    for (uint32_t i = 0; i < WRITE_KEPT; i++) {
        io->batch[i] = batch_alloc(cache);
        if (io->batch[i] == NULL) {
            return -ENOMEM;
        }
    }
    return 0;
}

void zc_io_destroy(struct zcache *cache)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_IO);
    struct zc_io *io = cache->io;

    if (io == NULL) {
        return;
    }
    for (uint32_t i = 0; i < SLOTS; i++) {
        ZC_ASSERT(io->state[i] == ZC_BATCH_FREE);
        if (io->batch[i] != NULL) {
            mem->free(mem->ctx, io->batch[i], batch_bytes(cache));
        }
    }
    ZC_ASSERT(atomic_load(&io->copy_left) == io->copy_max);
    zc_quota_refund(&cache->account, io->copy_max);
    zc_lock_fini(&io->lock);
    mem->free(mem->ctx, io, sizeof(*io));
    cache->io = NULL;
}
