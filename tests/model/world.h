/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the threads of the model test share: one cache with its tenants and their keys, the store, and
 * for each key the history of what was done to it.
 *
 *     root     a store that does everything
 *       tight      a low limit that changes all the time
 *       parent     the same; above the slots
 *         slot N     opened and closed by thread N: flushed, discarded, or its keys become the parent's
 *       off        reclaim does not write it back
 *       archive    a store that only takes writes
 *       bare       a store without callbacks: pages may go at any time
 *
 * The main store addresses pages by key alone, so that a slot's keys keep their value when its pages
 * become the parent's; every key has one place in the world, whoever owns it at the time.
 */
#ifndef ZCACHE_TESTS_MODEL_WORLD_H
#define ZCACHE_TESTS_MODEL_WORLD_H

#include "history.h"
#include "store.h"

#define MODEL_CAPACITY (6 * MIB)

enum {
    MODEL_THREADS_MAX = 16,
    MODEL_OBJECT_PAGES = 32,
    MODEL_SLOT_PAGES = 16,
    MODEL_STRANGERS = 4 /* threads of the library and the store that call the cache */
};

enum model_tenant_index {
    MODEL_TIGHT,
    MODEL_PARENT,
    MODEL_OFF,
    MODEL_ARCHIVE,
    MODEL_BARE,
    MODEL_SLOT
};

struct model_tenant {
    _Atomic(struct zcache_tenant *) handle; /* NULL: nobody may call now */
    atomic_uint users;                      /* calls under way, of a slot */
    atomic_uint_fast64_t horizon;
    atomic_uint_fast64_t tag; /* last one given out */
    uint32_t first_key;
    uint32_t n_keys;
    bool reads;
    bool bare;
    unsigned state; /* of a slot, its owner's: ops.c */
};

/* One call at a time of a key holds it alone, to move a page by hand; all others share it. */
struct model_key {
    struct zcache_key key;
    unsigned tenant;
    atomic_int users; /* negative: held alone */
    atomic_uint version;
    struct model_history history;
};

/* What one thread did since the last check. */
struct model_log {
    unsigned thread;
    bool known; /* to the cache */
    uint32_t n;
    uint32_t cap;
    struct model_event *events;
    uint32_t *next;                /* of the same key, + 1 */
    uint32_t head[MODEL_KEYS_MAX]; /* + 1 */
    /* never cleared */
    uint64_t calls; /* all of them, each page of a call for many counted */
    uint64_t puts;
    uint64_t gets;
    uint64_t pins;
    uint64_t unpins;
    uint64_t deletes;
    uint64_t failures; /* other than a miss */
    uint64_t timeouts;
    uint64_t by_hand;
    uint64_t closes;
    unsigned ways_peak; /* of the checks by this thread */
};

struct model_world {
    unsigned n_threads;
    struct zcache *cache;
    struct zcache_tenant *root;
    unsigned n_tenants;
    struct model_tenant tenants[MODEL_SLOT + MODEL_THREADS_MAX];
    uint32_t n_keys;
    struct model_key keys[MODEL_KEYS_MAX];
    struct model_store store;
    struct model_log logs[MODEL_THREADS_MAX + MODEL_STRANGERS];
    atomic_uint_fast64_t clock;
    /* Threads that are not the test's call the cache only during a round. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;
    unsigned inside;
    unsigned n_strangers;
    unsigned generation;
};

extern struct model_world world;

/* Which variant of cache and store: options follow from the number. */
void model_world_open(unsigned n_threads, uint64_t seed, unsigned variant);
void model_world_close(void);

/* The log of the calling thread; a stranger gets one. */
void model_log_use(struct model_log *log);
struct model_log *model_log_mine(void);
uint64_t model_now(void);
/* A call that began at @call has returned. */
void model_note(struct model_log *log,
                uint32_t key,
                enum model_op op,
                uint32_t version,
                uint64_t call);

void model_round_begin(void);
void model_round_end(void); /* strangers are outside from here on */
bool model_stranger_enter(void);
void model_stranger_leave(void);

/* Checks the histories of the keys @first, @first + @step, ...; the first bad one ends the process. */
void model_check(struct model_checker *checker, uint32_t first, uint32_t step);
/* Forgets what was checked. */
void model_logs_clear(void);

/* Outside rounds: limits are lifted, everything is written, and every value compared. */
void model_settle(void);

bool model_share(uint32_t key);
void model_unshare(uint32_t key);
bool model_alone(uint32_t key); /* instead of sharing it */
void model_not_alone(uint32_t key);

/* The handle through which a key is reached; NULL if there is none now. */
struct zcache_tenant *model_enter(unsigned tenant);
void model_leave(unsigned tenant);

#endif /* ZCACHE_TESTS_MODEL_WORLD_H */
