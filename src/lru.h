/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Recency lists of one tenant on one node: a list per tier, oldest first, and the gauges of what is
 * in each tier.
 *
 * A tier's list holds the pages of that age.  A page that its codec cannot make smaller moves along
 * the lists like every other, with its old payload, so that it leaves in its turn.
 */
#ifndef ZC_LRU_H
#define ZC_LRU_H

#include <stdbool.h>
#include <stdint.h>

#include "entry.h"
#include "lock.h"

/** struct zc_tier_sum - what is in a tier, isolated pages included. */
struct zc_tier_sum {
    uint64_t pages;
    uint64_t raw_bytes;
    uint64_t stored_bytes;
    uint64_t allocated_bytes;
};

struct zc_lru {
    struct zc_lock lock;
    /* under lock */
    struct zc_list list[ZCACHE_TIERS];
    uint64_t n_listed[ZCACHE_TIERS];
    uint64_t n_isolated;
    struct zc_tier_sum sum[ZCACHE_TIERS];
    struct zc_tier_sum unshrunk[ZCACHE_TIERS]; /* the part of it that is still raw */
};

void zc_lru_init(struct zc_lru *lru);
void zc_lru_fini(struct zc_lru *lru);

/* The following take the list lock themselves; the caller holds the entry's shard lock. */

/** zc_lru_insert() - a new page, as the newest of @tier (oldest if @scan). */
void zc_lru_insert(struct zc_lru *lru,
                   struct zc_entry *e,
                   enum zcache_tier tier,
                   struct zc_sizes sizes,
                   bool scan);

/** zc_lru_insert_oldest() - a page taken over from a child: older than all of @tier. */
void zc_lru_insert_oldest(struct zc_lru *lru,
                          struct zc_entry *e,
                          enum zcache_tier tier,
                          struct zc_sizes sizes);

/**
 * zc_lru_replace() - a new version: newest of @tier, or oldest if @scan; one of the same sizes
 * stays in its
 *                    place and counts as used.
 */
void zc_lru_replace(struct zc_lru *lru,
                    struct zc_entry *e,
                    enum zcache_tier tier,
                    struct zc_sizes old,
                    struct zc_sizes sizes,
                    bool scan);

/** zc_lru_retier() - the page has another form now; its place in the list follows at putback. */
void zc_lru_retier(struct zc_lru *lru,
                   struct zc_entry *e,
                   enum zcache_tier tier,
                   struct zc_sizes old,
                   struct zc_sizes sizes);

/**
 * zc_lru_move_record() - @fresh, a copy of @e, takes its place in the list.
 *
 * Return: false if somebody else holds @e, or has it isolated: nothing changed.
 */
bool zc_lru_move_record(struct zc_lru *lru, struct zc_entry *e, struct zc_entry *fresh);

/**
 * zc_lru_leave() - @e leaves this node's lists, because a copy of it goes to another node's.
 *
 * Return: false if somebody else holds @e, or has it isolated: nothing changed.
 */
bool zc_lru_leave(struct zc_lru *lru, struct zc_entry *e, struct zc_sizes sizes);

/** zc_lru_remove() - the page leaves for good; whoever has it isolated will see it is gone. */
void zc_lru_remove(struct zc_lru *lru, struct zc_entry *e, struct zc_sizes sizes);

/* The following are for reclaim: no lock held. */

enum zc_isolate {
    ZC_ISOLATE_CHANCE = 1 << 0, /* a referenced page loses the mark and becomes the newest */
    ZC_ISOLATE_DIRTY = 1 << 1,  /* dirty pages only, for a flush; others become the newest */
    ZC_ISOLATE_NEWEST = 1 << 2  /* from the newest end, for a move to another tenant */
};

/**
 * zc_lru_isolate() - take pages off the oldest end of a tier, each with a reference.
 * @budget: pages to look at; lowered by what was looked at, so that a caller who starts with the
 *          list's length and calls until it is 0 sees each page once; 0 when the list is empty.
 *
 * Return: how many are in @out, at most @max; may be 0 with budget left, since one call looks at a
 * bounded number of pages.
 */
unsigned zc_lru_isolate(struct zc_lru *lru,
                        enum zcache_tier tier,
                        unsigned mode,
                        uint64_t *budget,
                        struct zc_entry **out,
                        unsigned max);

/** zc_lru_putback() - give back an isolated page; the caller keeps its reference. */
void zc_lru_putback(struct zc_lru *lru, struct zc_entry *e, bool newest);

/** zc_lru_is_scan() - whether the page came by a scan and belongs to the oldest end. */
static inline bool zc_lru_is_scan(const struct zc_entry *e)
{
    return (atomic_load_explicit(&e->where, memory_order_relaxed) & ZC_W_SCAN) != 0;
}

/** zc_lru_length() - pages listed in @tier now. */
uint64_t zc_lru_length(struct zc_lru *lru, enum zcache_tier tier);

/** zc_lru_sums() - a snapshot of the gauges; isolated pages to @isolated_out, may be NULL. */
void zc_lru_sums(struct zc_lru *lru, struct zc_tier_sum out[ZCACHE_TIERS], uint64_t *isolated_out);

/** zc_lru_forms() - the gauges by the form of the bytes instead: raw is raw on whichever list. */
void zc_lru_forms(struct zc_lru *lru, struct zc_tier_sum out[ZCACHE_TIERS]);

/** zc_lru_verify() - list lengths against counts.  Return: NULL; or what is wrong. */
const char *zc_lru_verify(struct zc_lru *lru);

#endif /* ZC_LRU_H */
