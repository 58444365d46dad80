/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A backing store in memory for tests. It does what its script says (answers at once, from another
 * thread, early, late, with errors) and checks on every call what a store may rely on: batches are
 * sorted and of one group, one write of a key is in flight, versions arrive in put order, bytes do
 * not change until completion, nothing comes after a delete or after detach.
 *
 * A broken promise ends the test process, with the line of the check.
 */
#ifndef ZCACHE_TESTS_MEM_STORE_H
#define ZCACHE_TESTS_MEM_STORE_H

#include "support.h"

#include <pthread.h>
#include <stdatomic.h>

#define MEM_STORE_OPS 5 /* indexed by enum zcache_io_op */

enum mem_store_mode {
    MEM_STORE_SYNC,   /* done when the callback returns */
    MEM_STORE_THREAD, /* ZCACHE_PENDING, completed by a thread of the store */
    MEM_STORE_EARLY,  /* zcache_done() inside the callback, which then returns ZCACHE_PENDING */
};

struct mem_store {
    /* Script: set before the store is attached. */
    enum mem_store_mode mode;
    unsigned flags;       /* enum zcache_store_flags */
    unsigned group_shift; /* default 4 */
    unsigned batch_pages; /* the cache's, default 32 */
    void *script_ctx;     /* for the functions below */
    /* First thing in every callback, no lock held; a result other than 0 becomes the batch's. */
    int (*hook)(struct mem_store *store, const struct zcache_io *io);
    /* Where the mode is MEM_STORE_SYNC: last thing in every callback, after it took effect. */
    void (*after)(struct mem_store *store, const struct zcache_io *io);
    /* Status of one page; NULL or 0: as it should be. */
    int (*page_status)(struct mem_store *store,
                       const struct zcache_io *io,
                       const struct zcache_io_page *page);

    /* Script: may be changed at any time. */
    atomic_int fail_batches[MEM_STORE_OPS]; /* so many next batches fail as a whole */
    atomic_int fail_status;                 /* with this, default -EIO */
    _Atomic(struct zcache *) cache;         /* for zcache_done(); set after zcache_open() */

    /* Observed. */
    atomic_uint batches[MEM_STORE_OPS];
    atomic_uint pages[MEM_STORE_OPS];
    atomic_uint running; /* callbacks that have not returned */
    atomic_uint running_peak;
    atomic_uint detached;
    atomic_uint largest_write; /* pages */

    /* The store's own. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    long permits[MEM_STORE_OPS]; /* -1: open */
    unsigned waiting[MEM_STORE_OPS];
    struct mem_record **buckets;
    struct mem_job *jobs;
    bool stopping;
    bool has_thread;
    pthread_t thread;
};

/* How many store callbacks this thread has run in its life. */
extern _Thread_local unsigned mem_store_calls_here;

struct mem_store *mem_store_new(enum mem_store_mode mode);
void mem_store_free(struct mem_store *store); /* after detach */

enum {
    MEM_STORE_WRITES = 1,
    MEM_STORE_READS = 2,
    MEM_STORE_BARRIERS = 4,
    MEM_STORE_DISCARDS = 8,
    MEM_STORE_ALL = 15,
};

/* The callbacks to attach, some of MEM_STORE_*. */
struct zcache_store mem_store_callbacks(struct mem_store *store, unsigned which);

/* open_cache() with all callbacks of @store, which is told the cache. */
struct zcache *open_stored(uint64_t capacity, struct mem_store *store, const char *text);

/*
 * Batches of @op stop before they take effect, until they are let through: all from now on
 * (open), or so many (step).  mem_store_held() counts those that stand there.
 */
void mem_store_hold(struct mem_store *store, enum zcache_io_op op);
void mem_store_step(struct mem_store *store, enum zcache_io_op op, unsigned n);
void mem_store_open(struct mem_store *store, enum zcache_io_op op);
unsigned mem_store_held(struct mem_store *store, enum zcache_io_op op);

/* Directly to the content, as a caller that writes or deletes a page itself. */
void mem_store_put(struct mem_store *store,
                   uint64_t tenant_id,
                   struct zcache_key key,
                   const void *data,
                   size_t len);
void mem_store_put_page(struct mem_store *store,
                        uint64_t tenant_id,
                        struct zcache_key key,
                        uint64_t version,
                        enum fill fill);
void mem_store_remove(struct mem_store *store, uint64_t tenant_id, struct zcache_key key);

/* Length of the page there, copied to @buf if that is not NULL; 0 if there is none. */
size_t mem_store_get(struct mem_store *store,
                     uint64_t tenant_id,
                     struct zcache_key key,
                     void *buf,
                     size_t cap);
/* Its version; 0 if there is none. */
uint64_t mem_store_version(struct mem_store *store, uint64_t tenant_id, struct zcache_key key);
/* The same of what a barrier has made durable. */
uint64_t mem_store_durable(struct mem_store *store, uint64_t tenant_id, struct zcache_key key);

/* From now on no write of @key up to @version may arrive, nor be in flight. */
void mem_store_forbid(struct mem_store *store,
                      uint64_t tenant_id,
                      struct zcache_key key,
                      uint64_t version);

bool mem_store_in_flight(struct mem_store *store, uint64_t tenant_id, struct zcache_key key);

#endif /* ZCACHE_TESTS_MEM_STORE_H */
