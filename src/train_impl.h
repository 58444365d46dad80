/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of train share.
 */
#ifndef ZC_TRAIN_IMPL_H
#define ZC_TRAIN_IMPL_H

#include "mathx.h"
#include "train.h"

#define SEEN_TIMES 3u /* bytes seen for a sample, of its bytes */
#define HELD_OUT   8u /* one page of so many */
#define NEVER      UINT64_MAX

enum zc_train_state {
    IDLE,       /* no sample */
    COLLECTING, /* of one learner */
    READY,      /* for the thread */
    TRAINING    /* the thread has it */
};

struct zc_sample {
    struct zcache_tenant *tenant;
    uint64_t id; /* the tenant's: its record may be another's by now */
    char *bytes; /* room for train->room and train->held_room */
    size_t *len; /* of each page; room for twice as many */
    size_t n;
    size_t used;
    uint64_t seen;
    uint64_t target; /* bytes to see */
    unsigned shift;  /* one page of 2^shift is taken */
    uint64_t grown_ns;
};

struct zc_train {
    struct zcache *cache;
    /* set once */
    size_t dict_bytes;
    size_t room; /* bytes of a sample */
    size_t held_room;
    size_t pages_max;
    uint64_t window_bytes;
    uint64_t own_bytes;
    unsigned accuracy;
    unsigned rest_times;
    struct zc_lock lock;
    struct zc_cond cond;
    /* under lock */
    enum zc_train_state state;
    struct zc_sample sample;
    uint64_t random;
    unsigned pauses;
    bool running;
    bool stop;
    bool started;
    uint64_t rest_ns; /* no training before */
    /* the shrinker, and who stops it */
    pthread_t id;
    /* atomic */
    _Atomic uint32_t stopping; /* as stop, to be read without the lock */
    _Atomic uint32_t work; /* the shrinker is to look: a sample is ready and there is no thread */
};

/** zc_train_window() - bytes that a sample of a learner is taken of, and its ratio looked at over. */
static inline uint64_t zc_train_window(const struct zc_train *train, const struct zc_learn *l)
{
    return train->window_bytes << atomic_load_explicit(&l->spread, memory_order_relaxed);
}

/** zc_train_sample_bytes() - room that a sample takes. */
static inline uint64_t zc_train_sample_bytes(const struct zc_train *train)
{
    return train->room + train->held_room + 2 * train->pages_max * sizeof(size_t);
}

/* train_sample.c */
void zc_train_free_sample(struct zc_train *train, struct zc_sample *s);
/** zc_train_drop_stale() - give back the room of a sample that has not grown for long. */
void zc_train_drop_stale(struct zc_train *train);

/* train_choose.c */
/** zc_train_give_up() - a sample without a training: its learner takes another later. */
void zc_train_give_up(const struct zc_train *train, const struct zc_sample *s);
/** zc_train_once() - train with the sample, compare, and decide; @th may be NULL: there was no memory for it. */
void zc_train_once(struct zc_train *train, struct zc_thread *th);

#endif /* ZC_TRAIN_IMPL_H */
