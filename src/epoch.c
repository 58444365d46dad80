/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Deferred frees over ck_epoch.
 *
 *     thread's record                   limbo shard, one of four
 *     +-----------------+               +---------------------------------+
 *     | ck record:      |    retire     | ck record:                      |
 *     |   sections only |  ---------->  |   retired, by ck's epoch        |
 *     | stock of nodes  |  under lock   | pending[2], sums                |
 *     +-----------------+               +---------------------------------+
 *                                           | collect, under lock
 *                                           v
 *                                       a batch on the polling thread's stack: fn() for each
 *                                           | settle, under lock
 *                                           v
 *                                       nodes back to the supply: epoch_node.c
 *
 * ck wants a record's retired entries handled by one thread at a time.  So threads' own records are
 * used for sections only, and entries go to a record that belongs to the shard, under its lock; any
 * thread can then free what another retired, and a thread that sleeps or exits keeps nothing back.
 *
 * Retiring
 *   1. The caller has made the memory unreachable.
 *   2. A full fence.  ck_epoch_call() reads ck's epoch, and on x86 that load may pass the store
 *   that
 *      unlinked, which is still in the store buffer: the entry would wait for an epoch whose
 *      readers do not all see the unlink.  ck has no fence there (0.7.1).
 *   3. Under the shard's lock: ck_epoch_call(), and the sums.
 *
 * Freeing
 *   1. Under the shard's lock: ck hands over the entries whose grace period is over.
 *   2. Without the lock: fn() for each.
 *   3. Under the shard's lock: the sums.  Then the nodes go back.
 *
 * Draining waits for exactly what was retired before, although others go on retiring and may be in
 * the middle of step 2.  Each shard has an era, a count that only drains advance, and counts what
 * is pending of this era and of the one before (retired, and fn() has not returned).
 *   1. Wait until nothing of the era before is pending, then advance.
 *   2. Wait until nothing of the era left behind is pending, or somebody has advanced once more,
 *      which step 1 allowed for the same reason.
 *
 * Locks: each shard's and the registry's, leaf; one at a time, and none while mem or fn() is
 * called.
 *
 * Invariants
 *   - pending[] of a shard is zero for all eras but the current one and the one before.
 *   - Records stay registered with ck, which never lets go of their memory; one without a thread is
 *     outside of sections, and is the next thread's.
 *
 * Measured (2 CPUs, gcc -O2): enter and exit 12 ns; stock, retire and an even share of polling 55
 * ns.
 *
 * Tried, and not kept
 *   - retiring to the thread's own record: an idle thread keeps its retired memory for ever;
 *   - ck_epoch_barrier() for the drain: it frees under the lock, and only what its own record has;
 *   - counting frees for the drain: later memory may be freed before earlier, a count cannot tell;
 *   - ck_epoch_unregister() and ck_epoch_recycle() for records of exited threads: they write
 *   plainly
 *     what others read, and only save the scan a load.
 */
#include "epoch.h"

#include <ck_pr.h>
#include <ck_stack.h>
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "check.h"
#include "epoch_node.h"
#include "list.h"
#include "lock.h"
#include "plat.h"
#include "sync_point.h"

#define LIMBO_SHARDS 4u
#define AHEAD_NODES  6u
#define DUE_RETIRES  64u /* a poll is worth it from here on, however small the memory */
#define VAIN_RETIRES 4u  /* and after one that freed nothing, so many later, */
#define VAIN_PARTS   4u  /* or when this part of limbo_bytes more is retired */

/* A drain's pauses: a section usually ends within microseconds, unless its thread lost its CPU. */
#define BACK_OFF_YIELDS 64u /* then sleep */
#define BACK_OFF_NS     50000

struct limbo {
    /* under lock */
    _Alignas(ZC_CACHE_LINE) struct zc_lock lock;
    uint64_t era;
    uint64_t pending[2]; /* of era and the one before, at [era % 2] */

    /* atomic: written under lock, read by anyone; relaxed, they are hints and statistics */
    _Atomic uint64_t n_retired;
    _Atomic uint64_t retired_bytes;

    /* under lock, but for what ck's scan reads of every record, atomically */
    struct ck_epoch_record ck;
};

struct zc_epoch {
    uint32_t tag;

    /* ck's own, atomic: read by every section, changed once in a grace period */
    struct ck_epoch ck;

    /* set once */
    zc_retire_fn *fn;
    zc_expect_fn *expect; /* NULL: none */
    void *ctx;
    size_t limbo_bytes;
    struct zc_mem mem;

    struct zc_lock registry;
    /* under registry */
    struct zc_epoch_record *records; /* all there ever were */
    struct zc_epoch_record *idle;    /* those without a thread */
    unsigned next_limbo;

    struct zc_nodes nodes;
    struct limbo limbo[LIMBO_SHARDS];
};

/* ---------------------------------------------------------------------------------------------- */
/* Retiring and freeing. */

static uint64_t sum_read(const _Atomic uint64_t *sum)
{
    return atomic_load_explicit(sum, memory_order_relaxed);
}

/* Under the shard's lock, so no read-modify-write is needed. */
static void sum_add_locked(_Atomic uint64_t *sum, uint64_t n)
{
    atomic_store_explicit(sum, sum_read(sum) + n, memory_order_relaxed);
}

void zc_epoch_retire(struct zc_epoch_record *record, void *ptr, size_t bytes, void *arg)
{
    struct limbo *limbo = &record->epoch->limbo[record->limbo];
    struct zc_retire_node *node;

    ZC_ASSERT(record->stock.n > 0); /* or zc_epoch_stock() was forgotten */
    node = zc_node_pop(&record->stock);
    node->ptr = ptr;
    node->bytes = bytes;
    node->arg = arg;

    ck_pr_fence_memory(); /* 2. */

    zc_lock_acquire(&limbo->lock); /* 3. */
    node->era = limbo->era;
    limbo->pending[limbo->era % 2]++;
    sum_add_locked(&limbo->n_retired, 1);
    sum_add_locked(&limbo->retired_bytes, bytes);
    ck_epoch_call(&limbo->ck, &node->entry, NULL); /* entries are collected, never dispatched */
    zc_lock_release(&limbo->lock);
}

/* What one poll frees. */
struct batch {
    struct zc_node_stack nodes;
    uint64_t n[2]; /* by era % 2 */
    uint64_t bytes;
};

/* Freeing, step 1. */
static struct ck_stack_entry *collect(struct limbo *limbo)
{
    ck_stack_t done = CK_STACK_INITIALIZER;

    zc_lock_acquire(&limbo->lock);
    (void)ck_epoch_poll_deferred(&limbo->ck, &done);
    zc_lock_release(&limbo->lock);
    return CK_STACK_FIRST(&done);
}

static struct zc_retire_node *node_of(struct ck_stack_entry *entry)
{
    return ZC_CONTAINER_OF(entry, struct zc_retire_node, entry.stack_entry);
}

/*
 * Whoever frees is told some nodes before, twice: hundreds are freed in a row, and what the first one reads
 * for it has mostly left the CPU's cache since.
 */
struct ahead {
    struct ck_stack_entry *at;
    unsigned step;
};

static void look_ahead(const struct zc_epoch *epoch, struct ahead *ahead)
{
    if (ahead->at != NULL && epoch->expect != NULL && node_of(ahead->at)->ptr != NULL) {
        epoch->expect(node_of(ahead->at)->ptr, ahead->step);
    }
    ahead->at = ahead->at == NULL ? NULL : CK_STACK_NEXT(ahead->at);
}

/* Freeing, step 2. */
static void run(const struct zc_epoch *epoch, struct ck_stack_entry *done, struct batch *out)
{
    struct ahead far = {done, 0};
    struct ahead near = {done, 1};

    for (unsigned i = 0; i < 2 * AHEAD_NODES; i++) {
        look_ahead(epoch, &far);
        if (i >= AHEAD_NODES) {
            look_ahead(epoch, &near);
        }
    }
    while (done != NULL) {
        struct zc_retire_node *node = node_of(done);

        look_ahead(epoch, &far);
        look_ahead(epoch, &near);
        done = CK_STACK_NEXT(done);
        if (node->ptr != NULL) { /* else the mark of a zc_epoch_wait() */
            epoch->fn(epoch->ctx, node->ptr, node->bytes, node->arg);
        }
        out->n[node->era % 2]++;
        out->bytes += node->bytes;
        zc_node_push(&out->nodes, node);
    }
}

void zc_epoch_expect_with(struct zc_epoch *epoch, zc_expect_fn *expect)
{
    epoch->expect = expect;
}

/* Freeing, step 3. */
static void settle(struct limbo *limbo, const struct batch *batch)
{
    zc_lock_acquire(&limbo->lock);
    limbo->pending[0] -= batch->n[0];
    limbo->pending[1] -= batch->n[1];
    sum_add_locked(&limbo->n_retired, -(batch->n[0] + batch->n[1]));
    sum_add_locked(&limbo->retired_bytes, -batch->bytes);
    zc_lock_release(&limbo->lock);
}

/* Whether anything was freed. */
static bool poll_limbo(struct zc_epoch *epoch, struct limbo *limbo)
{
    struct batch batch = {{NULL, 0}, {0, 0}, 0};
    struct ck_stack_entry *done = collect(limbo);

    if (done == NULL) {
        return false;
    }
    run(epoch, done, &batch);
    settle(limbo, &batch);
    zc_nodes_give(&epoch->nodes, &batch.nodes);
    return true;
}

static void assert_may_free(const struct zc_epoch_record *record)
{
    ZC_ASSERT(!zc_epoch_inside(record));
    zc_lock_assert_none();
}

void zc_epoch_poll(struct zc_epoch_record *record)
{
    struct limbo *limbo = &record->epoch->limbo[record->limbo];

    uint64_t n = sum_read(&limbo->n_retired);
    uint64_t bytes = sum_read(&limbo->retired_bytes);

    assert_may_free(record);
    if (n == 0 || poll_limbo(record->epoch, limbo)) {
        n = 0;
        bytes = 0;
    }
    record->vain = n;
    record->vain_bytes = bytes;
}

bool zc_epoch_due(const struct zc_epoch_record *record)
{
    const struct limbo *limbo = &record->epoch->limbo[record->limbo];
    uint64_t n = sum_read(&limbo->n_retired);
    uint64_t bytes = sum_read(&limbo->retired_bytes);
    size_t limbo_bytes = record->epoch->limbo_bytes;

    if (n <= DUE_RETIRES && bytes <= limbo_bytes) {
        return false;
    }
    /* A reader that lost its CPU holds a grace period up: not a lock for each retire meanwhile. */
    return n < record->vain || n >= record->vain + VAIN_RETIRES ||
           bytes >= record->vain_bytes + limbo_bytes / VAIN_PARTS;
}

uint64_t zc_epoch_retired_bytes(const struct zc_epoch *epoch)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < LIMBO_SHARDS; i++) {
        bytes += sum_read(&epoch->limbo[i].retired_bytes);
    }
    return bytes;
}

/* ---------------------------------------------------------------------------------------------- */
/* Draining. */

static uint64_t era_now(struct limbo *limbo)
{
    uint64_t era;

    zc_lock_acquire(&limbo->lock);
    era = limbo->era;
    zc_lock_release(&limbo->lock);
    return era;
}

/* Advance the era past @era if that is possible now, and say whether all of it has been freed. */
static bool era_is_over(struct limbo *limbo, uint64_t era)
{
    bool over;

    zc_lock_acquire(&limbo->lock);
    if (limbo->era == era && limbo->pending[(era + 1) % 2] == 0) { /* 1. */
        limbo->era++;
    }
    /* 2. */
    over = limbo->era > era + 1 || (limbo->era == era + 1 && limbo->pending[era % 2] == 0);
    zc_lock_release(&limbo->lock);
    return over;
}

static void back_off(unsigned round)
{
    static const struct timespec pause = {.tv_nsec = BACK_OFF_NS};

    if (round < BACK_OFF_YIELDS) {
        (void)sched_yield();
    } else {
        (void)nanosleep(&pause, NULL);
    }
}

static bool drain_limbo(struct zc_epoch *epoch, struct limbo *limbo, uint64_t deadline_ns)
{
    uint64_t era = era_now(limbo);
    unsigned round = 0;

    while (!era_is_over(limbo, era)) {
        if (poll_limbo(epoch, limbo)) {
            round = 0;
        } else if (deadline_ns != UINT64_MAX && zc_plat_now_ns() >= deadline_ns) {
            return false;
        } else {
            ZC_SYNC_POINT("epoch.waits", ((struct zcache_key){0, 0}));
            back_off(round++);
        }
    }
    return true;
}

bool zc_epoch_drain_until(struct zc_epoch_record *record, uint64_t deadline_ns)
{
    bool all = true;

    assert_may_free(record);
    for (unsigned i = 0; i < LIMBO_SHARDS; i++) {
        all = drain_limbo(record->epoch, &record->epoch->limbo[i], deadline_ns) && all;
    }
    return all;
}

void zc_epoch_drain(struct zc_epoch_record *record)
{
    (void)zc_epoch_drain_until(record, UINT64_MAX);
}

/* A mark is retired like memory: when its turn to be freed has come, all sections have ended. */
void zc_epoch_wait(struct zc_epoch_record *record)
{
    zc_epoch_stock(record, 1);
    zc_epoch_retire(record, NULL, 0, NULL);
    (void)drain_limbo(record->epoch, &record->epoch->limbo[record->limbo], UINT64_MAX);
}

void zc_epoch_stock(struct zc_epoch_record *record, unsigned n)
{
    assert_may_free(record); /* even if it need not: so that a wrong caller is found at once */
    if (ZC_LIKELY(record->stock.n >= n)) {
        return;
    }
    while (!zc_nodes_take(&record->epoch->nodes, &record->stock, n)) {
        zc_epoch_drain(record); /* brings enough home: see epoch_node.c */
    }
}

/* ---------------------------------------------------------------------------------------------- */
/* Threads. */

static struct zc_epoch_record *record_reuse(struct zc_epoch *epoch)
{
    struct zc_epoch_record *record;

    zc_lock_acquire(&epoch->registry);
    record = epoch->idle;
    if (record != NULL) {
        epoch->idle = record->next_idle;
    }
    zc_lock_release(&epoch->registry);
    return record;
}

static struct zc_epoch_record *record_new(struct zc_epoch *epoch)
{
    struct zc_epoch_record *record = epoch->mem.alloc(epoch->mem.ctx, sizeof(*record));

    if (record == NULL) {
        return NULL;
    }
    record->epoch = epoch;
    zc_lock_acquire(&epoch->registry);
    record->limbo = epoch->next_limbo++ % LIMBO_SHARDS;
    record->next = epoch->records;
    epoch->records = record;
    zc_lock_release(&epoch->registry);
    ck_epoch_register(&epoch->ck, &record->ck, NULL);
    return record;
}

static void record_put(struct zc_epoch_record *record)
{
    struct zc_epoch *epoch = record->epoch;

    zc_lock_acquire(&epoch->registry);
    record->next_idle = epoch->idle;
    epoch->idle = record;
    zc_lock_release(&epoch->registry);
}

int zc_epoch_register(struct zc_epoch *epoch, struct zc_epoch_record **out)
{
    struct zc_epoch_record *record;
    int rc;

    ZC_ASSERT(epoch->tag == ZC_TAG_EPOCH);
    record = record_reuse(epoch);
    if (record == NULL) {
        record = record_new(epoch);
    }
    if (record == NULL) {
        return -ENOMEM;
    }
    rc = zc_nodes_promise(&epoch->nodes, &record->stock);
    if (rc != 0) {
        record_put(record);
        return rc;
    }
    zc_epoch_stock(record, ZC_NODES_STOCK);
    *out = record;
    return 0;
}

void zc_epoch_unregister(struct zc_epoch_record **record)
{
    struct zc_epoch *epoch = (*record)->epoch;

    ZC_ASSERT(!zc_epoch_inside(*record));
    zc_nodes_release(&epoch->nodes);
    zc_nodes_give(&epoch->nodes, &(*record)->stock);
    record_put(*record);
    *record = NULL;
}

/* ---------------------------------------------------------------------------------------------- */
/* Life. */

static void limbo_init(struct zc_epoch *epoch, struct limbo *limbo)
{
    zc_lock_init(&limbo->lock, ZC_RANK_leaf);
    ck_epoch_register(&epoch->ck, &limbo->ck, NULL);
}

static void limbo_fini(struct limbo *limbo)
{
    ZC_ASSERT(limbo->pending[0] == 0 && limbo->pending[1] == 0);
    zc_lock_fini(&limbo->lock);
}

int zc_epoch_create(const struct zc_mem *mem,
                    zc_retire_fn *fn,
                    void *ctx,
                    size_t limbo_bytes,
                    struct zc_epoch **out)
{
    struct zc_epoch *epoch = mem->alloc(mem->ctx, sizeof(*epoch));

    if (epoch == NULL) {
        return -ENOMEM;
    }
    epoch->tag = ZC_TAG_EPOCH;
    epoch->mem = *mem;
    epoch->fn = fn;
    epoch->ctx = ctx;
    epoch->limbo_bytes = limbo_bytes;
    zc_lock_init(&epoch->registry, ZC_RANK_leaf);
    zc_nodes_init(&epoch->nodes, mem);
    ck_epoch_init(&epoch->ck);
    for (unsigned i = 0; i < LIMBO_SHARDS; i++) {
        limbo_init(epoch, &epoch->limbo[i]);
    }
    *out = epoch;
    return 0;
}

static void free_records(struct zc_epoch *epoch)
{
    while (epoch->records != NULL) {
        struct zc_epoch_record *record = epoch->records;

        epoch->records = record->next;
        zc_nodes_give(&epoch->nodes, &record->stock);
        epoch->mem.free(epoch->mem.ctx, record, sizeof(*record));
    }
}

void zc_epoch_destroy(struct zc_epoch **epoch)
{
    struct zc_epoch *dying = *epoch;
    struct zc_mem mem = dying->mem;

    ZC_ASSERT(dying->tag == ZC_TAG_EPOCH);
    zc_lock_assert_none();
    for (unsigned i = 0; i < LIMBO_SHARDS; i++) {
        (void)poll_limbo(dying, &dying->limbo[i]); /* with no section anywhere it frees all */
        limbo_fini(&dying->limbo[i]);
    }
    free_records(dying);
    zc_nodes_fini(&dying->nodes);
    zc_lock_fini(&dying->registry);
    dying->tag = 0;
    mem.free(mem.ctx, dying, sizeof(*dying));
    *epoch = NULL;
}
