/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One thread's state in one cache: epoch record, codec contexts, scratch memory, open callbacks.
 * Threads register themselves on first use and leave by thread exit.
 */
#ifndef ZC_THREAD_H
#define ZC_THREAD_H

#include <pthread.h>
#include <stdint.h>

#include "check.h"
#include "codec.h"
#include "epoch.h"
#include "list.h"
#include "lock.h"
#include "plat.h"

struct zc_batch; /* writeback.h */
struct zc_threads;

struct zc_thread {
    uint32_t tag;
    struct zc_threads *owner;
    struct zc_epoch_record *epoch;
    struct zc_codec_set codecs;
    struct zc_batch *callbacks; /* batches whose callbacks this thread is in, innermost first */
    void *scratch;              /* two pages' worth, made by zc_thread_scratch() */
    uint64_t meta_refused;      /* bytes of metadata that it was refused room for last; 0 none */
    bool pool_refused;          /* there was room, but the pools are at their bound */
    uint32_t sample;            /* calls until the next one that is timed */
    uint32_t puts;              /* so far */
    struct zc_list link;        /* under the registry's lock */
};

/** struct zc_threads - registry of one cache. */
struct zc_threads {
    pthread_key_t key;
    const struct zc_mem *mem;
    struct zc_epoch *epoch;
    struct zc_codecs *codecs;
    size_t scratch_bytes;
    struct zc_lock lock;
    struct zc_cond cond; /* the last of those that exit is gone */
    struct zc_list all;  /* under lock */
    unsigned n_exiting;  /* under lock: in no list any more, and their state not yet freed */
};

/** zc_threads_init() - @scratch_bytes is what zc_thread_scratch() gives.  Return: 0; -EAGAIN no
 * key. */
int zc_threads_init(struct zc_threads *threads,
                    const struct zc_mem *mem,
                    struct zc_epoch *epoch,
                    struct zc_codecs *codecs,
                    size_t scratch_bytes);

/** zc_threads_fini() - releases the state of all threads, living ones too; none is in a call. */
void zc_threads_fini(struct zc_threads *threads);

/** zc_thread_make() - a state that belongs to no thread: whoever needs one uses it in turn. */
struct zc_thread *zc_thread_make(struct zc_threads *threads);

/** zc_thread_register() - this thread's first call.  Return: its state; NULL without memory. */
struct zc_thread *zc_thread_register(struct zc_threads *threads);

/** zc_thread_get() - this thread's state; NULL if it had none and memory was refused. */
static inline struct zc_thread *zc_thread_get(struct zc_threads *threads)
{
    struct zc_thread *th = pthread_getspecific(threads->key);

    return ZC_LIKELY(th != NULL) ? th : zc_thread_register(threads);
}

/** zc_thread_known() - this thread's state if it has one. */
static inline struct zc_thread *zc_thread_known(const struct zc_threads *threads)
{
    return pthread_getspecific(threads->key);
}

/** zc_thread_sample() - now in ns if this call is to be timed, one of @every; else 0. */
static inline uint64_t zc_thread_sample(struct zc_thread *th, uint32_t every)
{
    if (ZC_LIKELY(th->sample != 0)) {
        th->sample--;
        return 0;
    }
    th->sample = every != 0 ? every - 1 : UINT32_MAX;
    return every != 0 ? zc_plat_now_ns() : 0;
}

/** zc_thread_scratch() - memory for one encode and one decode; NULL without memory. */
void *zc_thread_scratch(struct zc_thread *th);

#endif /* ZC_THREAD_H */
