/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What fuzz_calls knows about pages, tenants and the store, apart from the cache.
 *
 * Every put of an input has a number of its own, 1 to 255, which is the first byte of the page; so
 * any page's bytes say which put they must be of.  A record is what the store has of one page of
 * one tenant.
 */
#ifndef ZC_TESTS_FUZZ_CALLS_H
#define ZC_TESTS_FUZZ_CALLS_H

#include <pthread.h>

#include <zcache/codec.h>
#include <zcache/stats.h>
#include <zcache/store.h>
#include <zcache/zcache.h>

#include "fuzz.h"

#define KEYS        12u
#define VERSIONS    256u
#define TENANTS     24u /* that are opened in one input, the root included */
#define PAGE_MOST   ((size_t)65536)
#define PENDING_MAX 24u

/* ---- pages ------------------------------------------------------------------------------------- */

enum content {
    SAME,
    TEXT,
    HALF,
    NOISE,
    RUNS,
    CONTENTS
};

struct version {
    uint8_t key;
    uint8_t content;
    uint32_t len;
    uint64_t tag;
    uint32_t owners; /* bit per tenant that may write it */
    bool stored;     /* some store had it */
};

extern struct version versions[VERSIONS]; /* under the store's lock */

struct zcache_key key_of(unsigned key);
unsigned key_number(struct zcache_key key); /* KEYS if it is none of ours */
void version_fill(uint8_t version, unsigned char *buf);
/* The bytes are exactly that put's. */
bool version_is(uint8_t version, const void *bytes, size_t len);

/* ---- the store --------------------------------------------------------------------------------- */

enum how {
    WELL,
    FAIL_BATCH, /* with how_error() */
    FAIL_PAGES, /* every second one */
    LATER,      /* ZCACHE_PENDING; the input completes it */
    EARLY,      /* zcache_done() inside the callback */
    HOWS
};

enum callbacks {
    WRITES = 1,
    READS = 2,
    BARRIERS = 4,
    DISCARDS = 8,
    STORED = 15,
};

struct record {
    uint8_t version;   /* 0: nothing */
    uint8_t taken;     /* of the last write that succeeded, discarded since or not */
    uint8_t arrived;   /* of the last write that came */
    uint8_t forbidden; /* no write up to this version may come */
    uint8_t discards;  /* that are not over */
    bool writing;
    bool unsafe; /* written, and no barrier since */
};

/* What the store knows of a tenant. */
struct owner {
    uint64_t id;
    uint64_t horizon;
    struct record record[KEYS];
};

struct pending {
    struct zcache_io *io;
    uint64_t token;
    uint8_t version[64]; /* of a write's pages */
};

struct store {
    pthread_mutex_t lock;
    struct zcache *cache;
    enum how how[5]; /* by enum zcache_io_op */
    bool reenter;
    struct owner owner[TENANTS];
    unsigned n_owners;
    struct pending pending[PENDING_MAX];
    unsigned n_pending;
    unsigned attached;
    unsigned detached;
};

extern struct store store;

int store_error(enum zcache_io_op op); /* of a failed batch or page */

void store_reset(void);
/* Callbacks, some of enum callbacks. */
struct zcache_store store_attach(unsigned which, unsigned flags);
void store_complete(unsigned which, bool well); /* of those pending */
void store_complete_all(void);

/* Under no lock: */
struct record record_of(unsigned owner, unsigned key);
void record_put(unsigned owner, unsigned key, uint8_t version); /* as the application itself */
void record_forbid(unsigned owner, unsigned key, uint8_t version);
void record_begin_anew(unsigned owner, unsigned key); /* older versions may come by reparenting */
unsigned pending_count(void);

#endif /* ZC_TESTS_FUZZ_CALLS_H */
