/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Is what happened to one key what a register would have done?
 *
 * A history is the calls on one key, each with the instants before and after it and its outcome, and
 * what the store saw of the key. It is accepted if every call can be given one instant inside its
 * interval at which it took effect, so that together they make sense to the state machine below: the
 * history is linearizable. The search is complete, so a history is rejected only if there is no way.
 *
 * State of a key, as the headers promise it:
 *
 *     stored   what the store has; follows from the store's own events, which have exact instants
 *     held     a version that only the cache has, or none: then the key's value is what the store has
 *     loose    the held version came by a put with CLEAN, or has no store: it may vanish at any time
 *     flying   a version that write-back has claimed, from before it reaches the store to its completion
 *     emptied  a delete has taken effect that will discard what the store still has: that is no value
 *              any more
 *
 *     call (outcome)                      possible when                       afterwards
 *     PUT                                 always                              held
 *     PUT_ABSENT (IF_ABSENT, done)        nothing held                        held
 *     PUT_CLEAN                           always                              held, loose
 *     DROP (failed put, delete that does  nothing flying                      nothing held
 *         not discard)
 *     DROP_ABSENT (delete: not cached)    nothing held, nothing flying        -
 *     REMOVE, REMOVE_ABSENT (delete that  as DROP, DROP_ABSENT                nothing held, emptied
 *         discards)
 *     DROP_MAYBE (delete: timed out)      as DROP, or without effect
 *     TAKE, TAKE_UNWRITTEN                the stored; the held version;
 *                                         nothing flying                      nothing held
 *     GET                                 that is the value                   -
 *     MISS                                there is no value                   -
 *     ABSENT (miss without load)          nothing held                        -
 *     PRESENT (IF_ABSENT: exists)         there is a value                    -
 *     FLUSHED                             nothing held                        -
 *
 *     the store: ARRIVED (held some time since the last completion, and not dropped since) makes flying
 *     certain, STORED sets what is stored and ends emptied, WRITTEN and REFUSED end flying; WRITTEN ends held, if that is
 *     the version.
 *
 * Versions of one key are unique. The state is carried from one part of a history to the next.
 */
#ifndef ZCACHE_TESTS_MODEL_HISTORY_H
#define ZCACHE_TESTS_MODEL_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum model_op {
    MODEL_PUT,
    MODEL_PUT_ABSENT,
    MODEL_PUT_CLEAN,
    MODEL_DROP,
    MODEL_DROP_ABSENT,
    MODEL_DROP_MAYBE,
    MODEL_REMOVE,
    MODEL_REMOVE_ABSENT,
    MODEL_TAKE,
    MODEL_TAKE_UNWRITTEN,
    MODEL_GET,
    MODEL_MISS,
    MODEL_ABSENT,
    MODEL_PRESENT,
    MODEL_FLUSHED,
    /* of the store, each at one instant */
    MODEL_ARRIVED,
    MODEL_STORED, /* version 0: removed */
    MODEL_WRITTEN,
    MODEL_REFUSED
};

/* One call, or one event of the store: then @ret is @call. All instants of a history are different. */
struct model_event {
    uint64_t call;
    uint64_t ret;
    uint32_t version;
    uint16_t op; /* enum model_op */
    uint16_t thread;
};

enum {
    MODEL_CLAIMS = 6,
    MODEL_PENDING_MAX = 32
};

/* One way in which the history so far can have happened. */
struct model_way {
    uint32_t held;
    uint32_t flying;
    uint32_t done; /* pending calls that took effect: bits of their places */
    bool loose;
    bool emptied;
    bool any_claim; /* there were more than fit */
    uint8_t n_claims;
    uint32_t claim[MODEL_CLAIMS]; /* versions held before, which may be claimed: ascending */
};

/* A key between two parts of its history. */
struct model_history {
    uint32_t stored;
    unsigned n;
    unsigned cap;
    struct model_way *ways;
};

/* Room to work in, one for each thread that checks. */
struct model_checker {
    unsigned cap;
    unsigned n;
    struct model_way *ways;
    unsigned spare_cap;
    unsigned n_spare;
    struct model_way *spare;
    size_t n_points;
    size_t points_cap;
    struct model_point *points;
    const struct model_event *pending[MODEL_PENDING_MAX];
    uint32_t used; /* places in pending */
    uint32_t stored;
    unsigned ways_peak;
};

void model_history_init(struct model_history *history);
void model_history_fini(struct model_history *history);
void model_checker_fini(struct model_checker *checker); /* one that is all zero needs no init */

/*
 * Go on with @n events, in any order; calls must have returned. False: no way is left, and *@bad_out is
 * the event at which the last one ended; the history is then as it was.
 */
bool model_history_run(struct model_checker *checker,
                       struct model_history *history,
                       const struct model_event *events,
                       size_t n,
                       const struct model_event **bad_out);

/* The value, if every way agrees on it. */
bool model_history_value(const struct model_history *history, uint32_t *value_out);

void model_history_print(FILE *to,
                         const struct model_history *history,
                         const struct model_event *events,
                         size_t n,
                         const struct model_event *bad);

#endif /* ZCACHE_TESTS_MODEL_HISTORY_H */
