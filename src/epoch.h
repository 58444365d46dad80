/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Readers' sections and deferred frees, over Concurrency Kit's ck_epoch.
 *
 * Readers call zc_epoch_enter()/zc_epoch_exit() around every access to shared memory that they hold
 * no reference to.  Whoever unlinks such memory retires it; it is freed by its function once every
 * section that could see it has ended.  Retired memory waits in a few limbo shards, each
 * with a ck record of its own under a leaf lock, so that any thread can free what any other
 * retired: an idle thread keeps nothing back.
 *
 * Retiring cannot fail: zc_epoch_stock() secures the records first, before anything is published.
 */
#ifndef ZC_EPOCH_H
#define ZC_EPOCH_H

#include <ck_epoch.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plat.h"

struct zc_epoch;
struct zc_retire_node;

/** struct zc_node_stack - retire nodes: epoch_node.h. */
struct zc_node_stack {
    struct zc_retire_node *top;
    unsigned n;
};

/** zc_retire_fn - frees retired memory; runs without locks, on any thread, outside sections. */
typedef void zc_retire_fn(void *ctx, void *ptr, size_t bytes, void *arg);

/** zc_expect_fn - @ptr is freed soon: have the CPU read what is read for it; first with @step 0, then 1. */
typedef void zc_expect_fn(const void *ptr, unsigned step);

/** struct zc_epoch_record - a thread's part; one thread at a time uses it. */
struct zc_epoch_record {
    struct ck_epoch_record ck; /* owner thread only */

    /* set once */
    struct zc_epoch *epoch;
    unsigned limbo;               /* limbo shard it retires to */
    struct zc_epoch_record *next; /* of all records */

    struct zc_node_stack stock;        /* owner thread only: nodes for retires to come */
    uint64_t vain;                     /* owner thread only: retired when a poll freed nothing, */
    uint64_t vain_bytes;               /* and how much */
    struct zc_epoch_record *next_idle; /* under the registry's lock: of those without a thread */
};

/**
 * zc_epoch_create() - for one cache.
 * @mem:   for records; its alloc may refuse at any time.
 * @fn:    frees what is retired.
 * @ctx:   its context.
 * @limbo_bytes: a shard polls for a grace period when its retired bytes pass this.
 *
 * Return: 0; -ENOMEM.
 */
int zc_epoch_create(const struct zc_mem *mem,
                    zc_retire_fn *fn,
                    void *ctx,
                    size_t limbo_bytes,
                    struct zc_epoch **out);

/** zc_epoch_expect_with() - before the first retire. */
void zc_epoch_expect_with(struct zc_epoch *epoch, zc_expect_fn *expect);

/** zc_epoch_destroy() - frees everything retired; no thread is in a section or uses a record. */
void zc_epoch_destroy(struct zc_epoch **epoch);

/** zc_epoch_register() - a record for a thread, with stock for 64 retires.  Return: 0; -ENOMEM. */
int zc_epoch_register(struct zc_epoch *epoch, struct zc_epoch_record **out);

/** zc_epoch_unregister() - the thread leaves; the record is kept for the next one. */
void zc_epoch_unregister(struct zc_epoch_record **record);

/** zc_epoch_enter() - begin a section; sections nest. */
static inline void zc_epoch_enter(struct zc_epoch_record *record)
{
    ck_epoch_begin(&record->ck, NULL);
}

static inline void zc_epoch_exit(struct zc_epoch_record *record)
{
    (void)ck_epoch_end(&record->ck, NULL);
}

/** zc_epoch_inside() - whether this thread is in a section. */
static inline bool zc_epoch_inside(const struct zc_epoch_record *record)
{
    return record->ck.active != 0;
}

/**
 * zc_epoch_stock() - make sure that @n retires (at most 64) will not need memory.
 *
 * Takes records that were given back, then new ones, then waits for a grace period; not inside a
 * section, and with no lock held.
 */
void zc_epoch_stock(struct zc_epoch_record *record, unsigned n);

/**
 * zc_epoch_retire() - free @ptr through the epoch's function once no reader can see it.
 * @bytes: counted as retired until then.
 * @arg:   handed to the function.
 *
 * Legal under locks up to shard and list, and inside a section: frees nothing itself.
 */
void zc_epoch_retire(struct zc_epoch_record *record, void *ptr, size_t bytes, void *arg);

/** zc_epoch_poll() - free what can be freed now in this record's shard; no lock held, no section.
 * */
void zc_epoch_poll(struct zc_epoch_record *record);

/** zc_epoch_due() - whether this record's shard has so much retired that a poll is worth it. */
bool zc_epoch_due(const struct zc_epoch_record *record);

/**
 * zc_epoch_drain() - free all retired before the call, in all shards, waiting for its grace period;
 *                    where nothing was retired it waits for nobody.
 */
void zc_epoch_drain(struct zc_epoch_record *record);

/** zc_epoch_drain_until() - the same, as far as it gets by then.  Return: whether all was freed. */
bool zc_epoch_drain_until(struct zc_epoch_record *record, uint64_t deadline_ns);

/**
 * zc_epoch_wait() - until every section that was running at the call has ended, whether anything was
 *                   retired or not; not inside a section, no lock held.
 */
void zc_epoch_wait(struct zc_epoch_record *record);

/** zc_epoch_retired_bytes() - Σ bytes retired and not yet freed. */
uint64_t zc_epoch_retired_bytes(const struct zc_epoch *epoch);

#endif /* ZC_EPOCH_H */
