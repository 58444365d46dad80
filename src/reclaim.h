/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Gets bytes back from a tenant or a subtree, and reserves bytes by doing so where it must.
 */
#ifndef ZC_RECLAIM_H
#define ZC_RECLAIM_H

#include <stdbool.h>
#include <stdint.h>

#include "tenant.h"
#include "writeback.h"

enum zc_reclaim_mode {
    ZC_RECLAIM_FORCE = 1 << 0,       /* no second chance */
    ZC_RECLAIM_WRITE = 1 << 1,       /* dirty pages may be written */
    ZC_RECLAIM_DEMOTE_ONLY = 1 << 2, /* ahead of need: nothing is evicted */
    ZC_RECLAIM_RESERVES = 1 << 3,    /* leave tenants their reserve_bytes */
    ZC_RECLAIM_INSIST = 1 << 4,      /* write even to a store that is given a rest after errors */
    ZC_RECLAIM_STREAM = 1 << 5       /* for puts: a tier that is not worth its CPU is passed by */
};

/** struct zc_reclaim - one run of reclaim, by one thread. */
struct zc_reclaim {
    struct zcache *cache;
    struct zc_thread *thread;
    struct zcache_tenant *owner; /* whose limit it is for; NULL: the capacity's */
    unsigned mode;
    int node;             /* whose lists are looked at; -1: all */
    uint64_t deadline_ns; /* for a place among the writes in flight; 0: do not wait */
    struct zc_writes writes;
    uint64_t promised_bytes;         /* that writes handed over will free */
    struct zcache_shrink_result got; /* without what writes still holds */
    uint64_t seen_bytes;             /* charge of all pages in the tenants visited */
    uint64_t elsewhere;              /* pages there that others have isolated */
    uint64_t held_back;              /* dirty pages not written because the store failed just now */
    uint64_t tried;                  /* pages isolated */
    bool passed_by;                  /* a tier was not worth its CPU */
};

/** zc_reclaim_begin() - prepare a run. */
struct zc_reclaim zc_reclaim_begin(struct zcache *cache,
                                   struct zc_thread *th,
                                   struct zcache_tenant *owner,
                                   unsigned mode,
                                   uint64_t deadline_ns);

/** zc_reclaim_tenant() - about @want_bytes from one tenant.  Return: bytes freed. */
uint64_t zc_reclaim_tenant(struct zc_reclaim *r, struct zcache_tenant *t, uint64_t want_bytes);

/**
 * zc_reclaim_subtree() - about @want_bytes from @top and below: @first's own pages first (may be
 * NULL),
 *                        then round robin from where the last run stopped.
 */
uint64_t zc_reclaim_subtree(struct zc_reclaim *r,
                            struct zcache_tenant *top,
                            struct zcache_tenant *first,
                            uint64_t want_bytes);

/**
 * zc_reclaim_end() - wait for writes still out, until @deadline_ns; got is complete then.
 *
 * Return: bytes that these late ones freed.
 */
uint64_t zc_reclaim_end(struct zc_reclaim *r, uint64_t deadline_ns);

/**
 * zc_reclaim_reserve() - reserve @bytes for a page of @t, shrinking what is in the way.
 * @flags:       of the call: NOWAIT, NOIO.
 * @stall:       the call's patience.
 *
 * Not inside a section, no lock held.
 *
 * Return: 0; -EDQUOT a tenant's limit; -ENOSPC the capacity; -EBUSY NOWAIT and it would have to
 * wait.
 */
int zc_reclaim_reserve(struct zcache_tenant *t,
                       struct zc_thread *th,
                       uint64_t bytes,
                       unsigned flags,
                       struct zc_stall *stall);

/** zc_reclaim_shrink_node() - as below, of the pages on one node. */
void zc_reclaim_shrink_node(struct zcache_tenant *top,
                            struct zc_thread *th,
                            int node,
                            uint64_t want_bytes,
                            uint64_t deadline_ns,
                            struct zcache_shrink_result *out);

/** zc_reclaim_shrink() - zcache_shrink(): both passes, until @want_bytes or the deadline. */
void zc_reclaim_shrink(struct zcache_tenant *top,
                       struct zc_thread *th,
                       uint64_t want_bytes,
                       uint64_t deadline_ns,
                       struct zcache_shrink_result *out);

/**
 * zc_reclaim_metadata() - make room for metadata that was just refused, for example a codec's
 * context.
 *
 * Return: whether it is worth while to try again.
 */
bool zc_reclaim_metadata(struct zcache *cache, struct zc_thread *th, uint64_t deadline_ns);

/** zc_reclaim_surplus() - raw bytes of @t that demotion ahead of need would take. */
uint64_t zc_reclaim_surplus(struct zcache_tenant *t);

#endif /* ZC_RECLAIM_H */
