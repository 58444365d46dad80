/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Replaying a trace through one cache.  Every request looks its page up, and a miss inserts it, as
 * libCacheSim does it; one object is one page.  See cmd_replay.c for what is compared.
 */
#ifndef BENCH_REPLAY_H
#define BENCH_REPLAY_H

#include "replay_pages.h"
#include "sim.h"
#include "trace.h"

#include <zcache/types.h>

/* What a request that writes does. */
enum replay_writes {
    REPLAY_WRITES_CLEAN, /* put the page, clean: as in a cache that writes through */
    REPLAY_WRITES_DIRTY, /* put it dirty; a store that forgets everything takes it later */
    REPLAY_WRITES_GET,   /* the same as one that reads */
    REPLAY_WRITES
};

extern const char *const replay_writes_names[REPLAY_WRITES];

/* How large the cache is, in pages or in bytes; the other is 0. */
struct replay_size {
    uint32_t pages;
    uint64_t bytes;
};

struct replay_result {
    uint64_t hits;
    double seconds;
    double cpu_seconds; /* of all threads */
    double mean_pages;  /* resident, over the second half of the run */
    uint64_t peak_pages;
    double mean_bytes; /* charged, over the second half */

    /* Of zcache only. */
    uint64_t tier_hits[ZCACHE_TIERS]; /* of gets */
    uint64_t same_hits;
    uint64_t put_hits; /* of requests that write */
    uint64_t evictions;
    uint64_t rejects; /* pages there was no room for */
    double tier_ns[ZCACHE_TIERS];
    double put_ns;
    double stall_ns;
    uint64_t limit_bytes;
    uint64_t resident_bytes; /* of its pools at the end */
};

void replay_sim(const struct sim_ops *ops,
                const struct trace *trace,
                uint32_t capacity,
                struct replay_result *out);

struct replay_zcache {
    const struct trace *trace;
    const struct replay_pages *pages;
    struct replay_size size;
    const char *policy; /* for the option of that name; NULL: not given */
    const char *text;   /* more options; NULL for none */
    enum replay_writes writes;
    bool tenants;      /* each volume of the trace is a tenant */
    bool tenant_limit; /* size.bytes limits a tenant in a larger cache, not the cache itself */
};

void replay_zcache(const struct replay_zcache *config, struct replay_result *out);

/* Whether zcache takes the policy and the text; if not, @error says why. */
bool replay_zcache_check(const char *policy, const char *text, char *error, size_t error_cap);

#endif /* BENCH_REPLAY_H */
