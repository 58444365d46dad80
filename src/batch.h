/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Batches in the store's hands: the only place that calls the user's callbacks.
 *
 * A batch is made, filled by its module (writeback, load, or a plain barrier or discard), called
 * once, and completed once: by the callback's return value, or by zcache_done() on any thread.  Its
 * module's finish function then runs.  Whoever made it may wait for that and read the pages'
 * results.
 */
#ifndef ZC_BATCH_H
#define ZC_BATCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <zcache/store.h>

#include "core.h"
#include "tenant.h"

enum zc_batch_state {
    ZC_BATCH_FREE,
    ZC_BATCH_FILLING,  /* its maker's only */
    ZC_BATCH_CALLED,   /* handed to the store: may be completed */
    ZC_BATCH_FINISHING /* completed once; a second completion is refused */
};

/** struct zc_batch_page - the library's side of a page in a batch. */
struct zc_batch_page {
    struct zc_entry *entry;    /* a reference is held */
    uint32_t version;          /* that is being written */
    uint32_t parity;           /* the tenant's when it was claimed: which flush it satisfies */
    bool isolated;             /* to be put back on its list at completion, */
    bool evict;                /* unless it is clean then and may go */
    struct zc_frame *pin;      /* raw bytes are given to the store in place */
    void *copy;                /* or a decoded copy, */
    size_t copy_bytes;         /* of this size */
    struct zcache_page *owner; /* load: the caller's page, for the maker only */
    bool scan;                 /* load: by a scan */
    bool keep_raw;             /* load: of a page that is to stay raw */
    bool keep;                 /* load: fail rather than deliver without caching */
};

struct zc_batch;
typedef void zc_batch_finish_fn(struct zc_batch *batch, struct zc_thread *th);

struct zc_batch {
    struct zcache_io io; /* what the store sees */
    struct zcache *cache;
    struct zcache_tenant *tenant; /* held */
    struct zc_store *store;
    zc_batch_finish_fn *finish;
    struct zc_batch *outer;   /* callbacks this thread was in before: thread.h */
    struct zc_list announced; /* a discard's, on the table's list */
    uint64_t discard_number;  /* in the order of the announcements */
    uint32_t slot;
    bool has_turn;         /* in a serial store; maker only */
    _Atomic uint32_t refs; /* maker, completion, the call itself */
    _Atomic bool done;
    uint64_t start_ns;
    uint64_t payload; /* bytes in the store's hands */
    /* results, set by finish */
    uint32_t n_ok;
    uint32_t n_failed;
    uint32_t n_evicted;
    uint64_t freed_bytes;
    int error;                  /* the first */
    struct zc_batch_page *page; /* as many as io.pages has room for */
    struct zcache_io_page *io_page;
};

int zc_io_create(struct zcache *cache);
void zc_io_destroy(struct zcache *cache);

/** zc_io_bytes() - bytes of pages in the store's hands: copies, frames held in place, read buffers.
 * */
uint64_t zc_io_bytes(const struct zcache *cache);

/**
 * zc_batch_make() - an empty batch of @t, held by the caller.
 * @op:          what for; writes count against inflight_pages.
 * @deadline_ns: how long to wait for a free one; 0 not at all.
 *
 * Return: 0; -EBUSY none is free; -ETIMEDOUT; -ENOMEM.
 */
int zc_batch_make(struct zcache_tenant *t,
                  enum zcache_io_op op,
                  zc_batch_finish_fn *finish,
                  uint64_t deadline_ns,
                  struct zc_batch **out);

/** zc_batch_room() - pages that a write batch may carry now, within batch_pages and inflight. */
unsigned zc_batch_room(struct zcache *cache);

/**
 * zc_batch_buffer() - memory for a page's copy, from the budget for copies in flight.
 *
 * Return: 0; -EAGAIN the budget is out; -ENOMEM.
 */
int zc_batch_buffer(struct zcache *cache, size_t size, void **out);
void zc_batch_buffer_free(struct zcache *cache, void *buf, size_t size);

/**
 * zc_batch_turn() - wait for the batch's turn in a serial store, before it is filled.
 * @deadline_ns: 0 not at all.
 *
 * For writes: a page that is claimed for a batch whose turn does not come would count as failed.
 * The caller must not wait for anything else until the batch is called or dropped.
 *
 * Return: whether it is the batch's turn.
 */
bool zc_batch_turn(struct zc_batch *batch, uint64_t deadline_ns);

/** zc_batch_call() - hand a filled batch to the store; no lock held, no section. */
void zc_batch_call(struct zc_batch *batch, struct zc_thread *th);

/** zc_batch_wait() - until the batch is finished; not if the deadline is 0.  Return: 0; -EBUSY; -ETIMEDOUT. */
int zc_batch_wait(struct zc_batch *batch, uint64_t deadline_ns);

/** zc_batch_drop() - the maker lets go; a batch that was never called is free at once. */
void zc_batch_drop(struct zc_batch *batch);

/** zc_batch_complete() - zcache_done(): 0; -ENOENT. */
int zc_batch_complete(struct zcache *cache, struct zc_thread *th, uint64_t token, int status);

/** zc_batch_own() - whether this thread is in the callback of a batch with that page. */
bool zc_batch_own(const struct zc_thread *th, uint32_t slot, struct zcache_key key);

/** zc_batch_in_callback() - whether this thread is in a callback of this cache. */
bool zc_batch_in_callback(const struct zc_thread *th);

/** zc_batch_serial_self() - whether calling @store would wait for this thread's own callback. */
bool zc_batch_serial_self(const struct zc_thread *th, const struct zc_store *store);

/**
 * zc_batch_discard_begin() - announce that a page, or a range, is about to be discarded.
 *
 * Until the end no write and no load of these keys is started, so that the discard can neither
 * remove a newer version from the store nor be overtaken by a read of the old one.  First announce,
 * then remove from the cache, then end with @call.
 *
 * Return: 0; -EBUSY, -ETIMEDOUT, -ENOMEM, -EDEADLK.
 */
int zc_batch_discard_begin(struct zcache_tenant *t,
                           struct zc_thread *th,
                           struct zcache_key key,
                           bool range,
                           uint64_t deadline_ns,
                           struct zc_batch **out);
/** zc_batch_discard_end() - call the store if @call; withdrawn at completion.  Return: 0; its error. */
int zc_batch_discard_end(struct zc_batch *batch,
                         struct zc_thread *th,
                         bool call,
                         uint64_t deadline_ns);
/** zc_batch_discarding() - whether that key is announced. */
bool zc_batch_discarding(struct zcache_tenant *t, struct zcache_key key);

/** zc_batch_discards() - how many are announced now, in the whole cache. */
uint32_t zc_batch_discards(const struct zcache *cache);

/** zc_batch_wait_discards() - until what is announced now for @t is over.  Return: 0; -ETIMEDOUT. */
int zc_batch_wait_discards(struct zcache_tenant *t, uint64_t deadline_ns);

/**
 * zc_batch_barrier() - make, call and wait for a barrier.
 * @error_out: the store's error, if it is that what went wrong.
 *
 * Return: 0; the store's error; -EBUSY, -ETIMEDOUT, -ENOMEM, -EDEADLK.
 */
int zc_batch_barrier(struct zcache_tenant *t,
                     struct zc_thread *th,
                     uint64_t deadline_ns,
                     int *error_out);

#endif /* ZC_BATCH_H */
