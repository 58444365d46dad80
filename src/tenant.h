/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Named owners of pages: account, limits, weight, store, lists, statistics; opening and the life of
 * their records.  Closing, which moves pages, is in close.h.
 */
#ifndef ZC_TENANT_H
#define ZC_TENANT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <zcache/store.h>
#include <zcache/tenant.h>

#include "core.h"
#include "ghost.h"
#include "lru.h"
#include "share.h"
#include "worth.h"

enum zc_tenant_state {
    ZC_TENANT_CLOSED = 0,
    ZC_TENANT_OPEN = 1,
    ZC_TENANT_CLOSING = 2
};

/** struct zc_store - a store as attached to a tenant; descendants without one of their own use it.
 * */
struct zc_store {
    struct zcache_store cb; /* copied; set once */
    struct zc_lock lock;    /* leaf: turnstile of a serial store */
    struct zc_cond cond;
    bool busy; /* under lock */
};

/** struct zc_learn - what a tenant has learnt about its pages: train.h. */
struct zc_learn {
    _Atomic(struct zc_dict *) dict; /* of its own; release, acquire; NULL: its parent's */
    _Atomic uint32_t plain;         /* neither */
    _Atomic uint32_t refused;       /* trainings in a row that gained too little */
    _Atomic uint32_t spread;        /* a sample is taken of 2^spread times as much as the first */
    _Atomic uint64_t seen_bytes;    /* raw bytes encoded for the dense tier */
    _Atomic uint64_t
        due_bytes; /* of them: when to take a sample; UINT64_MAX: when the ratio falls */
    _Atomic uint64_t again_bytes; /* of them: not before, even then */
    _Atomic uint64_t raw_bytes;   /* encoded since the ratio was looked at */
    _Atomic uint64_t stored_bytes;
    _Atomic uint64_t expected; /* stored bytes of 65536 raw ones; 0: nothing known */
};

struct zcache_tenant {
    uint32_t tag;
    _Atomic uint32_t state;
    /* set by open, stable until the record is used again */
    struct zcache *cache;
    struct zcache_tenant *parent; /* NULL for the root */
    uint64_t id;
    uint32_t slot;
    uint32_t depth;
    char name[ZCACHE_TENANT_NAME_MAX + 1];
    void *ctx;
    int node; /* bound to, or -1 */
    struct zc_account *account;
    struct zc_store *store; /* own or inherited; NULL */
    bool owns_store;
    struct zc_stat *stat;
    /* under the tenant lock */
    struct zc_list children;
    struct zc_list sibling;
    struct zc_list named; /* in the table of names */
    /* the shrinker's thread only */
    uint64_t rivals; /* Σ weights among which its share is divided: active children, own pages */
    /* under the tenant lock */
    struct zc_list free; /* on the list of closed records */
    uint64_t forward_id; /* closed: the parent's id */
    /* atomic */
    struct zc_account own;  /* account of all but the root */
    struct zc_stock *stock; /* of its account; set once */
    _Atomic uint64_t reserve_bytes;
    _Atomic uint32_t weight;
    _Atomic uint32_t writeback;
    _Atomic uint64_t ops;         /* slow calls, batches and reclaimers inside; close waits for 0 */
    _Atomic uint64_t wal_horizon; /* highest durable tag */
    _Atomic uint64_t n_pages;     /* in the index, LOADING included */
    _Atomic uint64_t n_dirty[2];  /* by flush parity */
    _Atomic uint64_t n_writing;
    _Atomic uint64_t n_same;
    _Atomic uint64_t n_incompressible;
    _Atomic uint32_t parity;      /* that pages dirtied now get */
    _Atomic uint32_t flushing;    /* one flush at a time */
    _Atomic uint32_t unbarriered; /* written since the last barrier that succeeded */
    _Atomic int error;            /* of writes since the last flush; reported once */
    _Atomic uint32_t failures;    /* writes failed in a row */
    _Atomic uint64_t retry_ns;    /* no write-back before */
    _Atomic uint64_t relieved;    /* synchronous shrinks of the subtree that freed something */
    _Atomic uint32_t cursor;      /* slot after which a sweep of the subtree goes on */
    _Atomic uint64_t raw_surplus; /* asked of the shrinker: raw pages to demote ahead of need */
    struct zc_worth worth[ZCACHE_TIERS];
    struct zc_share share;
    struct zc_learn learn;
    _Atomic(struct zc_hist *) hist; /* ZCACHE_LATENCIES, made at the first sample */
    struct zc_ghost ghost;          /* of all nodes; not used with plain LRU */
    struct zc_lru *lru[];           /* one per node, lying there; set once */
};

struct zc_tenants;

int zc_tenants_create(struct zcache *cache);
/** zc_tenants_slots() - records there are; zc_tenant_at() takes any number below. */
uint32_t zc_tenants_slots(const struct zcache *cache);
/** zc_tenants_idle() - whether no call, batch or reclaimer is inside any tenant. */
bool zc_tenants_idle(struct zcache *cache);
/** zc_tenants_detach() - close all records, deepest first, and detach their stores. */
void zc_tenants_detach(struct zcache *cache);
/** zc_tenants_destroy() - detaches what is left, frees all records. */
void zc_tenants_destroy(struct zcache *cache);

/** zc_tenant_open() - the checked part of zcache_tenant_open(); the root has @parent NULL. */
int zc_tenant_open(struct zcache *cache,
                   struct zcache_tenant *parent,
                   const struct zcache_tenant_options *opts,
                   struct zcache_tenant **out);

/** zc_tenant_begin_close() - OPEN to CLOSING.  Return: 0; -EBUSY children; -ESHUTDOWN. */
int zc_tenant_begin_close(struct zcache_tenant *t);
void zc_tenant_cancel_close(struct zcache_tenant *t);
/** zc_tenant_finish_close() - unlink an empty tenant, keep its counters, detach, free its record.
 * */
void zc_tenant_finish_close(struct zcache_tenant *t);

/** zc_tenant_wait_idle() - CLOSING: until no call, batch or reclaimer is inside.  0; -ETIMEDOUT. */
int zc_tenant_wait_idle(struct zcache_tenant *t, uint64_t deadline_ns);

/** zc_tenant_enter() - begin a slow call on an open tenant.  Return: 0; -ESHUTDOWN. */
int zc_tenant_enter(struct zcache_tenant *t);
/** zc_tenant_hold() - as enter, whatever the state: for batches of a tenant that is closing. */
void zc_tenant_hold(struct zcache_tenant *t);
void zc_tenant_leave(struct zcache_tenant *t);

/** zc_tenant_usable() - inside an epoch section or a call: whether @t is open. */
static inline bool zc_tenant_usable(const struct zcache_tenant *t)
{
    return atomic_load_explicit(&t->state, memory_order_acquire) == ZC_TENANT_OPEN;
}

/** zc_tenant_at() - the record of a slot in use; entries name their owner by it. */
struct zcache_tenant *zc_tenant_at(struct zcache *cache, uint32_t slot);

static inline struct zcache_tenant *zc_tenant_of(struct zcache *cache, const struct zc_entry *e)
{
    return zc_tenant_at(cache, zc_entry_slot(e));
}

static inline struct zc_lru *zc_tenant_lru(struct zcache *cache, const struct zc_entry *e)
{
    return zc_tenant_of(cache, e)->lru[zc_entry_node(e)];
}

/** zc_tenant_find() - by id; forwards from closed to the nearest open ancestor.  0; -ENOENT. */
int zc_tenant_find(struct zcache *cache, uint64_t id, struct zcache_tenant **out);

/** zc_tenant_within() - whether @t is @top or below it. */
bool zc_tenant_within(const struct zcache_tenant *t, const struct zcache_tenant *top);

/**
 * zc_tenant_next() - the next open tenant of a subtree in the order of slots, entered.
 * @top:    root of the subtree.
 * @cursor: slot to go on after; set to the one found; start with UINT32_MAX.
 *
 * Return: the tenant, to be left with zc_tenant_leave(); NULL at the end of the order.
 */
struct zcache_tenant *zc_tenant_next(struct zcache_tenant *top, uint32_t *cursor);

/** zc_tenant_of_account() - the tenant whose account it is; the root for the cache's. */
static inline struct zcache_tenant *zc_tenant_of_account(struct zcache *cache,
                                                         struct zc_account *account)
{
    return account == &cache->account ? cache->root
                                      : ZC_CONTAINER_OF(account, struct zcache_tenant, own);
}

/** zc_tenant_writes() - whether reclaim may write its dirty pages; @insist: even during a back-off.
 * */
bool zc_tenant_writes(const struct zcache_tenant *t, bool insist);

static inline uint64_t zc_tenant_dirty(const struct zcache_tenant *t)
{
    return atomic_load_explicit(&t->n_dirty[0], memory_order_relaxed) +
           atomic_load_explicit(&t->n_dirty[1], memory_order_relaxed);
}

/** zc_tenant_hist() - the histogram of a kind, made if need be; NULL without memory. */
struct zc_hist *zc_tenant_hist(struct zcache_tenant *t, enum zcache_latency_kind kind);

/** zc_tenant_past() - whether it, or what it lies in, is full to more than @percent of the limit. */
bool zc_tenant_past(const struct zcache_tenant *t, uint32_t percent);

/** zc_tenant_past_start() - whether it, or what it lies in, is so full that compressing ahead pays. */
bool zc_tenant_past_start(const struct zcache_tenant *t);

/** zc_tenant_backs_off() - whether dirty pages in the subtree wait for a store to be tried again. */
bool zc_tenant_backs_off(struct zcache_tenant *top);

/** zc_tenant_spare() - charge that can go before the reserve of @t or of an ancestor is touched. */
uint64_t zc_tenant_spare(const struct zcache_tenant *t);

/** zc_tenant_sums() - gauges of all nodes together. */
void zc_tenant_sums(struct zcache_tenant *t, struct zc_tier_sum out[ZCACHE_TIERS]);

/** zc_tenant_view() - as zc_lru_view(), of all nodes together. */
void zc_tenant_view(struct zcache_tenant *t, struct zc_lru_view *out);

/** zc_tenant_note_error() - remember a failed write for the next flush of @t and its ancestors. */
void zc_tenant_note_error(struct zcache_tenant *t, int error);

#endif /* ZC_TENANT_H */
