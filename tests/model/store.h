/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The store of the model tests. It keeps for each key which page it has, not the bytes, since these
 * follow from the page's name. A script of probabilities says what it does to each batch:
 *
 *     fails it, or single pages, with or without having done what was asked
 *     answers at once; completes it inside the callback; lets another thread complete it, in any order
 *     takes effect early, when the batch comes, or late, just before it completes
 *     takes its time; calls the cache meanwhile
 *
 * All choices of one thread follow from its seed. Every callback is checked for what a store may rely
 * on, and every event of a key is kept for the check of its history (history.h).
 */
#ifndef ZCACHE_TESTS_MODEL_STORE_H
#define ZCACHE_TESTS_MODEL_STORE_H

#include "history.h"
#include "page.h"

#include "api/support.h"

#include <pthread.h>
#include <stdatomic.h>

/* Errors that no library makes up, one for each callback. */
#define MODEL_WRITE_ERROR   (-EIO)
#define MODEL_READ_ERROR    (-ENXIO)
#define MODEL_BARRIER_ERROR (-EREMOTEIO)
#define MODEL_DISCARD_ERROR (-EROFS)

/* Probabilities in 1024ths. */
struct model_script {
    unsigned fail_batch;
    unsigned fail_page;
    unsigned queued;
    unsigned early;
    unsigned slow;
    unsigned call;
};

struct model_stored {
    pthread_mutex_t lock;
    struct model_page page; /* version 0: none */
    uint32_t flying;
    uint32_t n_log;
    uint32_t cap_log;
    struct model_event *log;
};

enum {
    MODEL_PORTS = 4,
    MODEL_JOBS = 64,
    MODEL_FATES = 64 /* pages in a batch at most */
};

struct model_job {
    struct zcache_io *io;
    int status;       /* of the whole batch */
    uint64_t fails;   /* bits of the pages that fail, */
    uint64_t refuses; /* and of those that do not take effect */
    bool done;        /* has taken effect */
};

/* One attachment: what is serial, is serial for itself. */
struct model_port {
    struct model_store *store;
    unsigned flags;
    atomic_uint running;
};

struct model_store {
    /* set before it is attached */
    uint32_t n_keys;
    uint32_t (*find)(struct zcache_key key);
    bool (*may_write)(void *tenant_ctx, uint64_t tag);
    void (*nested)(void); /* calls the cache from within a callback */
    void (*event)(uint32_t key, enum model_op op, uint32_t version); /* instead of keeping them */
    atomic_uint_fast64_t *clock;
    uint64_t seed;
    unsigned group_shift;
    unsigned batch_pages;
    /* may be changed at any time */
    _Atomic(const struct model_script *) script;
    _Atomic(struct zcache *) cache;
    /* its own */
    struct model_stored *stored;
    struct model_port ports[MODEL_PORTS];
    unsigned n_ports;
    atomic_uint detached;
    atomic_uint strangers; /* threads that the test did not seed */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct model_job jobs[MODEL_JOBS];
    unsigned n_jobs;
    unsigned completing;
    bool stopping;
    pthread_t thread;
    /* what it did */
    atomic_ullong batches;
    atomic_ullong failed_batches;
    atomic_ullong queued_batches;
    atomic_ullong calls;
};

/* Call with all that is set before; starts the thread that completes batches. */
void model_store_init(struct model_store *store);
void model_store_fini(struct model_store *store); /* after every detach */

enum {
    MODEL_STORE_WRITES = 1,
    MODEL_STORE_READS = 2,
    MODEL_STORE_BARRIERS = 4,
    MODEL_STORE_DISCARDS = 8,
    MODEL_STORE_ALL = 15
};

/* The callbacks to attach once, some of MODEL_STORE_*; @flags: enum zcache_store_flags. */
struct zcache_store model_store_callbacks(struct model_store *store,
                                          unsigned which,
                                          unsigned flags);

/* The calling thread's choices follow from @seed. */
void model_store_seed(uint64_t seed);
/* The calling thread's random numbers for what happens inside callbacks. */
struct rng *model_store_rng(struct model_store *store);
/* Callbacks that this thread is in. */
unsigned model_store_depth(void);

/* Complete one of the batches that wait for it, if there is one. */
void model_store_help(struct model_store *store);
/* Wait until no batch is in the store's hands, but for those of which a callback is running. */
void model_store_drain(struct model_store *store);

/* As a caller that writes the page itself. */
void model_store_put(struct model_store *store, const struct model_page *page);
struct model_page model_store_get(struct model_store *store, uint32_t key);

/* Takes the events of a key that were not taken yet; the caller frees them. */
size_t model_store_take_log(struct model_store *store, uint32_t key, struct model_event **out);

#endif /* ZCACHE_TESTS_MODEL_STORE_H */
