/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Statistics: one table of counters and gauges, from which the structures below, the metric names
 * of zcache_metrics_write() and the table in docs/operations.md are made.
 *
 * A row is X(name, kind, unit, help).  Counters only grow; gauges are what there is now.  Three
 * sizes are always kept apart: raw (as the caller sees it), stored (after the codec, with its
 * header) and allocated (what the pool gives for it).
 */
#ifndef ZCACHE_STATS_H
#define ZCACHE_STATS_H

#include <zcache/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Counters of a tenant.  Every get, pin, put and delete of one page ends in exactly one of its
 * group. */
#define ZCACHE_COUNTERS(X)                                                                         \
    X(get_hits_raw, counter, pages, "gets served from raw bytes")                                  \
    X(get_hits_fast, counter, pages, "gets decoded from the fast codec")                           \
    X(get_hits_dense, counter, pages, "gets decoded from the dense codec")                         \
    X(get_hits_same, counter, pages, "gets of same-filled pages")                                  \
    X(get_loads, counter, pages, "gets that missed and were loaded from the store")                \
    X(get_misses, counter, pages, "gets that found nothing")                                       \
    X(get_errors, counter, pages, "gets that failed")                                              \
    X(pin_hits, counter, pages, "pins of cached pages")                                            \
    X(pin_loads, counter, pages, "pins that missed and were loaded from the store")                \
    X(pin_misses, counter, pages, "pins that found nothing")                                       \
    X(pin_errors, counter, pages, "pins that failed")                                              \
    X(unpins, counter, pages, "pins released")                                                     \
    X(put_inserts, counter, pages, "puts of keys that were not cached")                            \
    X(put_replaces, counter, pages, "puts that replaced a version")                                \
    X(put_exists, counter, pages, "puts with IF_ABSENT of keys that were cached")                  \
    X(put_bypassed, counter, pages, "puts with BEST_EFFORT that were passed by")                   \
    X(put_quota_rejects, counter, pages, "puts refused because of a tenant's limit")               \
    X(put_capacity_rejects, counter, pages, "puts refused because of the cache's capacity")        \
    X(put_errors, counter, pages, "puts that failed otherwise")                                    \
    X(delete_hits, counter, pages, "deletes of cached pages")                                      \
    X(delete_misses, counter, pages, "deletes of pages that were not cached")                      \
    X(delete_errors, counter, pages, "deletes that failed")                                        \
    X(truncated, counter, pages, "pages removed by truncate")                                      \
    X(takes, counter, pages, "pages removed by TAKE")                                              \
    X(takes_unwritten, counter, pages, "of these, dirty ones")                                     \
    X(dropped, counter, pages, "pages dropped by a failed put or a DISCARD close")                 \
    X(reparented, counter, pages, "pages taken over from closed children")                         \
    X(handed_over, counter, pages, "pages given to the parent by closes, counted for the child")   \
    X(quota_hits, counter, events, "reservations that met this tenant's limit")                    \
    X(sync_shrinks, counter, events, "synchronous shrinks of this tenant's subtree")               \
    X(sync_forced, counter, events, "of these, ones that needed the forced pass")                  \
    X(ghost_hits, counter, pages,                                                                  \
      "new pages that had been evicted not long before, and were known")                           \
    X(foreign_evictions, counter, pages, "pages evicted outside the subtree whose limit was hit")  \
    X(shrinker_freed, counter, events, "visits of the shrinker that freed bytes")                  \
    X(shrinker_skips, counter, events, "visits of the shrinker without a candidate")               \
    X(shrinker_failures, counter, events, "visits of the shrinker that tried and freed nothing")   \
    X(shrinker_bytes, counter, bytes, "charge freed by the shrinker")                              \
    X(helper_demotions, counter, pages, "pages demoted by putting threads")                        \
    X(stalls, counter, events, "waits for room, a write or a load")                                \
    X(stall_ns, counter, nanoseconds, "time spent in them")                                        \
    X(written_pages, counter, pages, "pages the store took")                                       \
    X(written_bytes, counter, bytes, "raw bytes of them")                                          \
    X(write_batches, counter, events, "write callbacks")                                           \
    X(write_errors, counter, pages, "pages whose write failed; they stayed")                       \
    X(write_superseded, counter, pages, "writes that ended when a newer version was there")        \
    X(loaded_pages, counter, pages, "pages read from the store")                                   \
    X(loaded_bytes, counter, bytes, "raw bytes of them")                                           \
    X(load_through, counter, pages, "of these, delivered without being kept, for lack of room")    \
    X(load_batches, counter, events, "read callbacks")                                             \
    X(load_waits, counter, pages, "misses that waited for another thread's load")                  \
    X(load_cancelled, counter, pages, "loads overtaken by a put, delete or truncate")              \
    X(load_errors, counter, pages, "pages whose load failed")                                      \
    X(discarded_pages, counter, pages, "pages and ranges given to the discard callback")           \
    X(corrupt, counter, events, "payloads found damaged")                                          \
    X(compact_moves, counter, objects, "payloads and records moved to win back sparse memory")     \
    X(dict_trainings, counter, events, "dictionaries trained and compared")                        \
    X(dict_kept, counter, events, "of these, kept")                                                \
    X(dict_refused, counter, events, "of these, refused because they gained too little")           \
    X(dict_failures, counter, events, "samples and trainings given up, for lack of room or data")  \
    X(dict_retired, counter, events, "dictionaries that encode nothing new any more")              \
    X(dense_dict_raw_bytes, counter, bytes, "raw bytes of pages made dense with a dictionary")     \
    X(dense_dict_bytes, counter, bytes, "what the codec made of them")                             \
    X(dense_plain_raw_bytes, counter, bytes, "raw bytes of pages made dense without a dictionary") \
    X(dense_plain_bytes, counter, bytes, "what the codec made of them")

/* Counters of a tenant and tier. */
#define ZCACHE_TIER_COUNTERS(X)                                                                    \
    X(demotions, counter, pages, "pages demoted into this tier")                                   \
    X(demote_rejects, counter, pages, "pages that did not get small enough for this tier")         \
    X(promotions, counter, pages, "pages promoted out of this tier to raw")                        \
    X(evictions, counter, pages, "pages evicted from this tier")

/* Gauges of a tenant, tier and node. */
#define ZCACHE_TIER_GAUGES(X)                                                                      \
    X(pages, gauge, pages, "pages of this tier or node")                                           \
    X(raw_bytes, gauge, bytes, "their length as the caller sees it")                               \
    X(stored_bytes, gauge, bytes, "their payloads, headers included")                              \
    X(allocated_bytes, gauge, bytes, "what the pool gives for these payloads")

/* Gauges of a tenant. */
#define ZCACHE_GAUGES(X)                                                                           \
    X(charge_bytes, gauge, bytes, "allocated bytes on the account of the tenant's subtree")        \
    X(stock_bytes, gauge, bytes,                                                                   \
      "reserved for puts to come, until it is called in; beside the charge")                       \
    X(peak_charge_bytes, gauge, bytes, "highest charge so far, stock included")                    \
    X(limit_bytes, gauge, bytes, "hard limit")                                                     \
    X(reserve_bytes, gauge, bytes, "charge that the shrinker leaves")                              \
    X(pages, gauge, pages, "pages cached")                                                         \
    X(dirty_pages, gauge, pages, "pages the store does not have")                                  \
    X(writing_pages, gauge, pages, "pages in the store's hands")                                   \
    X(same_pages, gauge, pages, "same-filled pages")                                               \
    X(incompressible_pages, gauge, pages, "pages known not to shrink")                             \
    X(probation_pages, gauge, pages, "pages that are new and not yet used enough to stay")         \
    X(tenants, gauge, tenants, "open tenants in the subtree, itself included")                     \
    X(raw_share_permille, gauge, permille, "of its own pages' bytes, how much may be raw now")     \
    X(fast_share_permille, gauge, permille, "of these, how much may be in the fast tier now")      \
    X(miss_cost_ns, gauge, nanoseconds, "what a miss is taken to cost, for these shares")

/* Gauges of the whole cache, filled for the root only. */
#define ZCACHE_CACHE_GAUGES(X)                                                                     \
    X(capacity_bytes, gauge, bytes, "bound of all charged memory")                                 \
    X(resident_bytes, gauge, bytes, "memory the pools hold from the system")                       \
    X(huge_bytes, gauge, bytes, "part of it in the system's huge pages")                           \
    X(entry_bytes, gauge, bytes, "records of pages")                                               \
    X(index_bytes, gauge, bytes, "index")                                                          \
    X(tenant_bytes, gauge, bytes, "records of tenants")                                            \
    X(thread_bytes, gauge, bytes, "threads' contexts and buffers, records of batches")             \
    X(dict_bytes, gauge, bytes, "dictionaries in all their forms, samples and training")           \
    X(dictionaries, gauge, dictionaries, "dictionaries that encode or decode")                     \
    X(io_bytes, gauge, bytes, "bytes of pages in the store's hands")                               \
    X(retired_bytes, gauge, bytes, "replaced memory that readers may still see")                   \
    X(pins, gauge, pins, "pins held by callers")                                                   \
    X(shrinker_wakes, counter, events, "times the shrinker was woken")                             \
    X(shrinker_rounds, counter, events, "passes of the shrinker over the tenants")                 \
    X(shrinker_sleeping, gauge, flag, "1 while the shrinker sleeps")                               \
    X(bad_completions, counter, events, "zcache_done() calls that named nothing in flight")        \
    X(effective_capacity_bytes, gauge, bytes,                                                      \
      "bound that holds now; below the capacity under memory pressure")                            \
    X(pressure_lowered, counter, events, "times memory pressure lowered it")                       \
    X(pressure_raised, counter, events, "times it was raised again")                               \
    X(pressure_blind, counter, events, "looks at the system's files that did not tell enough")     \
    X(pressure_bytes, counter, bytes, "charge that the shrinker freed because it was lowered")

#define ZCACHE_STAT_FIELD_(name, kind, unit, help) uint64_t name;

/** struct zcache_tier_stats - one tier of a tenant's subtree. */
struct zcache_tier_stats {
    ZCACHE_TIER_GAUGES(ZCACHE_STAT_FIELD_)
    ZCACHE_TIER_COUNTERS(ZCACHE_STAT_FIELD_)
};

/**
 * struct zcache_node_stats - one NUMA node, under the system's number: pages put there, their payloads'
 *                            allocated bytes.  A node without memory has none.
 */
struct zcache_node_stats {
    ZCACHE_TIER_GAUGES(ZCACHE_STAT_FIELD_)
};

#define ZCACHE_NODES_MAX 16 /* NUMA nodes a cache tells apart; higher ones count as the last */

/** enum zcache_latency_kind - what is timed, by sampling (options: latency_sample). */
enum zcache_latency_kind {
    ZCACHE_LATENCY_GET_RAW = 0,   /* gets from raw bytes, same-filled ones included */
    ZCACHE_LATENCY_GET_FAST = 1,  /* gets decoded from the fast codec */
    ZCACHE_LATENCY_GET_DENSE = 2, /* gets decoded from the dense codec */
    ZCACHE_LATENCY_PUT = 3,
    ZCACHE_LATENCY_STALL = 4, /* every wait of a put, load or pin for room, not only sampled ones */
    ZCACHE_LATENCY_WRITE = 5, /* every write batch, from callback to completion */
    ZCACHE_LATENCIES = 6
};

/** struct zcache_latency - a histogram's summary; quantiles are upper bounds of their bucket,
 * within
 *                          one eighth. */
struct zcache_latency {
    uint64_t count;
    uint64_t sum_ns;
    uint64_t p50_ns;
    uint64_t p99_ns;
    uint64_t p999_ns;
    uint64_t max_ns;
};

/** struct zcache_stats - everything zcache_stats() reports; fill with ZCACHE_STATS_INIT. */
struct zcache_stats {
    size_t struct_size;

    struct {
        ZCACHE_COUNTERS(ZCACHE_STAT_FIELD_)
    } count;

    struct {
        ZCACHE_GAUGES(ZCACHE_STAT_FIELD_)
    } gauge;

    struct {
        ZCACHE_CACHE_GAUGES(ZCACHE_STAT_FIELD_)
    } cache;
    struct zcache_tier_stats tier[ZCACHE_TIERS];
    uint64_t n_nodes;
    struct zcache_node_stats node[ZCACHE_NODES_MAX];
    struct zcache_latency latency[ZCACHE_LATENCIES];
};

#ifdef __cplusplus
#define ZCACHE_STATS_INIT                                                                          \
    {                                                                                              \
        sizeof(struct zcache_stats), {}, {}, {}, {}, 0, {},                                        \
        {                                                                                          \
        }                                                                                          \
    }
#else
#define ZCACHE_STATS_INIT                                                                          \
    {                                                                                              \
        sizeof(struct zcache_stats), {0}, {0}, {0}, {{0}}, 0, {{0}},                               \
        {                                                                                          \
            {                                                                                      \
                0                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
#endif

#ifdef __cplusplus
}
#endif

#endif /* ZCACHE_STATS_H */
