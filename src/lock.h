/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Locks with ranks, and conditions with monotonic deadlines.  Debug builds keep a per-thread record
 * of the ranks held and stop on a wrong order, naming both; test builds count the locks that a
 * thread takes (zc_lock_count), which is how tests prove that a path takes none.
 */
#ifndef ZC_LOCK_H
#define ZC_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(__clang__)
#define ZC_CAPABILITY(x)   __attribute__((capability(x)))
#define ZC_ACQUIRES(x)     __attribute__((acquire_capability(x)))
#define ZC_RELEASES(x)     __attribute__((release_capability(x)))
#define ZC_TRY_ACQUIRES(x) __attribute__((try_acquire_capability(true, x)))
#define ZC_REQUIRES(x)     __attribute__((requires_capability(x)))
#define ZC_NO_ANALYSIS     __attribute__((no_thread_safety_analysis))
#else
#define ZC_CAPABILITY(x)
#define ZC_ACQUIRES(x)
#define ZC_RELEASES(x)
#define ZC_TRY_ACQUIRES(x)
#define ZC_REQUIRES(x)
#define ZC_NO_ANALYSIS
#endif

enum zc_rank {
#define ZC_LOCK_RANK(name, guards, example) ZC_RANK_##name,
#include "lock_order.def"
#undef ZC_LOCK_RANK
    ZC_RANKS
};

struct ZC_CAPABILITY("mutex") zc_lock {
    pthread_mutex_t mutex;
#ifdef ZCACHE_DEBUG
    enum zc_rank rank;
#endif
};

/** struct zc_cond - condition on the monotonic clock. */
struct zc_cond {
    pthread_cond_t cond;
};

void zc_lock_init(struct zc_lock *lock, enum zc_rank rank);
void zc_lock_fini(struct zc_lock *lock);
void zc_lock_acquire(struct zc_lock *lock) ZC_ACQUIRES(*lock);

/** zc_lock_try() - take it if that needs no waiting; in any order, therefore. */
bool zc_lock_try(struct zc_lock *lock) ZC_TRY_ACQUIRES(*lock);
void zc_lock_release(struct zc_lock *lock) ZC_RELEASES(*lock);

/** zc_lock_acquire_pair() - two locks of one rank, by address; the same lock once. */
void zc_lock_acquire_pair(struct zc_lock *a, struct zc_lock *b);
void zc_lock_release_pair(struct zc_lock *a, struct zc_lock *b);

/** zc_lock_assert_none() - debug builds: stop if this thread holds any rank; before every callback.
 * */
void zc_lock_assert_none(void);

/** zc_lock_assert_held() - debug builds: stop unless this thread holds a lock of @lock's rank. */
void zc_lock_assert_held(const struct zc_lock *lock);

/** zc_lock_count() - test builds: locks this thread has taken so far, all ranks; else 0. */
uint64_t zc_lock_count(void);

void zc_cond_init(struct zc_cond *cond);
void zc_cond_fini(struct zc_cond *cond);
void zc_cond_broadcast(struct zc_cond *cond);

/**
 * zc_cond_wait() - wait until @deadline_ns (UINT64_MAX: for ever), with no other lock held.
 *
 * May return without a broadcast.  Return: false when the deadline passed.
 */
bool zc_cond_wait(struct zc_cond *cond, struct zc_lock *lock, uint64_t deadline_ns)
    ZC_REQUIRES(*lock);

#endif /* ZC_LOCK_H */
