/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lists of one tenant's pages on one node, and the gauges of what is in each tier.
 *
 * There is a list per queue and tier, oldest first.  The queue says how well a page is known: the main
 * one, probation for pages that are new, and scan for those of one-time accesses.  With plain LRU no
 * page is on probation.
 *
 * A tier's list holds the pages of that age.  A page that its codec cannot make smaller moves along
 * the lists like every other, with its old payload, so that it leaves in its turn.
 */
#ifndef ZC_LRU_H
#define ZC_LRU_H

#include <stdbool.h>
#include <stdint.h>

#include "entry.h"
#include "ghost.h"
#include "lock.h"

/** struct zc_tier_sum - what is in a tier, isolated pages included. */
struct zc_tier_sum {
    uint64_t pages;
    uint64_t raw_bytes;
    uint64_t stored_bytes;
    uint64_t allocated_bytes;
};

enum zc_queue {
    ZC_QUEUE_MAIN = 0,
    ZC_QUEUE_SCAN = 1, /* came by a scan: leave before all others */
    ZC_QUEUE_NEW = 2,  /* on probation */
    ZC_QUEUES = 3
};

/* A list's number; those of the main queue have the number of their tier. */
#define ZC_LISTS (ZC_QUEUES * ZCACHE_TIERS)

static inline unsigned zc_lru_list(enum zc_queue queue, enum zcache_tier tier)
{
    return (unsigned)queue * ZCACHE_TIERS + (unsigned)tier;
}

static inline enum zc_queue zc_lru_queue_of(unsigned list)
{
    return (enum zc_queue)(list / ZCACHE_TIERS);
}

static inline enum zcache_tier zc_lru_tier_of(unsigned list)
{
    return (enum zcache_tier)(list % ZCACHE_TIERS);
}

/** struct zc_lru_view - a snapshot of the gauges. */
struct zc_lru_view {
    struct zc_tier_sum tier[ZCACHE_TIERS];
    uint64_t pages[ZC_LISTS]; /* that belong on a list, isolated ones included */
    uint64_t isolated;
};

struct zc_lru {
    struct zc_lock lock;
    /* set once, before the first page */
    const struct zc_ghost *ghost; /* says how many pages are on probation; NULL: plain LRU */
    /* under lock */
    struct zc_list list[ZC_LISTS];
    uint64_t n_listed[ZC_LISTS];
    uint64_t n_isolated;
    uint64_t pages[ZC_LISTS]; /* listed, or isolated and to be listed there */
    uint64_t full_eighths;    /* eighths of the pages that there are when some have to leave */
    uint64_t raw_spared;      /* uses for which pages stayed raw, so far */
    struct zc_tier_sum sum[ZCACHE_TIERS];
    struct zc_tier_sum unshrunk[ZCACHE_TIERS]; /* the part of it that is still raw */
};

void zc_lru_init(struct zc_lru *lru);
void zc_lru_fini(struct zc_lru *lru);

/** zc_lru_use_probation() - new pages will be on probation, as many as @ghost says. */
void zc_lru_use_probation(struct zc_lru *lru, const struct zc_ghost *ghost);

/* The following take the list lock themselves; the caller holds the entry's shard lock. */

/**
 * zc_lru_insert() - a new page, as the newest of its list.
 * @room: whether the accounts it is charged to are far from full.
 *
 * As long as there is room and nothing has to leave, probation that is full hands its oldest page to the
 * main queue for it: what came first is not worse than what comes later.
 */
void zc_lru_insert(struct zc_lru *lru,
                   struct zc_entry *e,
                   enum zcache_tier tier,
                   struct zc_sizes sizes,
                   enum zc_queue queue,
                   bool room);

/** zc_lru_insert_oldest() - a page taken over from a child: older than all of its list. */
void zc_lru_insert_oldest(struct zc_lru *lru,
                          struct zc_entry *e,
                          enum zcache_tier tier,
                          struct zc_sizes sizes,
                          enum zc_queue queue);

/**
 * zc_lru_replace() - a new version.
 *
 * It counts as a use.  One of the same sizes stays in its place; another becomes the newest of @tier, of
 * its queue or, where it came by a scan, of that of new pages.  By a scan: the page keeps queue and
 * age, and it does not count.
 */
void zc_lru_replace(struct zc_lru *lru,
                    struct zc_entry *e,
                    enum zcache_tier tier,
                    struct zc_sizes old,
                    struct zc_sizes sizes,
                    bool scan);

/**
 * zc_lru_retier() - the page has another form now; its place in the list follows at putback.
 *
 * One that becomes raw starts anew with its marks, and is through with probation if it was used enough.
 */
void zc_lru_retier(struct zc_lru *lru,
                   struct zc_entry *e,
                   enum zcache_tier tier,
                   struct zc_sizes old,
                   struct zc_sizes sizes);

/**
 * zc_lru_advise() - its owner wants the page, or can spare it.
 *
 * A spare page becomes the newest of its tier among those of scans, and loses its marks.  A wanted one
 * counts as used, and if it was spare it becomes the newest of its tier in the main queue.
 */
void zc_lru_advise(struct zc_lru *lru, struct zc_entry *e, bool wanted);

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
    ZC_ISOLATE_CHANCE = 1 << 0, /* a page in use loses a mark and becomes the newest; from probation
                                   it goes to the main queue, from a scan to probation */
    ZC_ISOLATE_DIRTY = 1 << 1,  /* dirty pages only, for a flush; others become the newest */
    ZC_ISOLATE_NEWEST = 1 << 2, /* from the newest end, for a move to another tenant */
    ZC_ISOLATE_EVICT = 1 << 3   /* they shall leave: with CHANCE, a mark is of a use since */
};

/**
 * zc_lru_isolate() - take pages off the oldest end of a list, each with a reference.
 * @list:   zc_lru_list(); a tier's number is its main list.
 * @budget: pages to look at; lowered by what was looked at, so that a caller who starts with the
 *          list's length and calls until it is 0 sees each page once; 0 when the list is empty.
 *
 * Return: how many are in @out, at most @max; may be 0 with budget left, since one call looks at a
 * bounded number of pages.
 */
unsigned zc_lru_isolate(struct zc_lru *lru,
                        unsigned list,
                        unsigned mode,
                        uint64_t *budget,
                        struct zc_entry **out,
                        unsigned max);

/** zc_lru_putback() - give back an isolated page; the caller keeps its reference. */
void zc_lru_putback(struct zc_lru *lru, struct zc_entry *e, bool newest);

/** zc_lru_queue() - the queue a page is in. */
static inline enum zc_queue zc_lru_queue(const struct zc_entry *e)
{
    unsigned w = atomic_load_explicit(&e->where, memory_order_relaxed);

    if ((w & ZC_W_SCAN) != 0) {
        return ZC_QUEUE_SCAN;
    }
    return (w & ZC_W_NEW) != 0 ? ZC_QUEUE_NEW : ZC_QUEUE_MAIN;
}

/** zc_lru_is_scan() - whether the page came by a scan. */
static inline bool zc_lru_is_scan(const struct zc_entry *e)
{
    return zc_lru_queue(e) == ZC_QUEUE_SCAN;
}

/** zc_lru_length() - pages listed in @list now. */
uint64_t zc_lru_length(struct zc_lru *lru, unsigned list);

/** zc_lru_lengths() - of all lists, at one instant. */
void zc_lru_lengths(struct zc_lru *lru, uint64_t out[ZC_LISTS]);

/** zc_lru_view() - a snapshot of the gauges. */
void zc_lru_view(struct zc_lru *lru, struct zc_lru_view *out);

/** zc_lru_queue_pages() - pages of a queue. */
static inline uint64_t zc_lru_queue_pages(const struct zc_lru_view *view, enum zc_queue queue)
{
    uint64_t n = 0;

    for (int tier = 0; tier < ZCACHE_TIERS; tier++) {
        n += view->pages[zc_lru_list(queue, (enum zcache_tier)tier)];
    }
    return n;
}

/** zc_lru_probation_excess() - pages on probation beyond their share of @view. */
uint64_t zc_lru_probation_excess(const struct zc_lru *lru, const struct zc_lru_view *view);

/** zc_lru_sums() - the tiers' gauges alone; isolated pages to @isolated_out, may be NULL. */
void zc_lru_sums(struct zc_lru *lru, struct zc_tier_sum out[ZCACHE_TIERS], uint64_t *isolated_out);

/** zc_lru_forms() - the gauges by the form of the bytes instead: raw is raw on whichever list. */
void zc_lru_forms(struct zc_lru *lru, struct zc_tier_sum out[ZCACHE_TIERS]);

/**
 * zc_lru_raw_spared() - how often so far a page at the oldest end of a raw list stayed there for a use.
 *
 * A page that is used again and again counts three times, at most, for each of its ways through the list.
 */
uint64_t zc_lru_raw_spared(struct zc_lru *lru);

/** zc_lru_verify() - list lengths against counts.  Return: NULL; or what is wrong. */
const char *zc_lru_verify(struct zc_lru *lru);

#endif /* ZC_LRU_H */
