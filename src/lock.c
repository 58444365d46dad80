/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ranked mutexes and conditions over pthread.
 *
 * A thread takes locks in the order of lock_order.def only, so no circle of waiting threads can
 * form. Debug builds check that at each acquisition, against a record that every thread keeps for
 * itself:
 *
 *     rank      admin  tenant  shard  list  pool  leaf
 *     count       0      0       1      0     0     1        locks of the rank that are held
 *     mask        0      0       1      0     0     1        ranks with a count: 36 = 0b100100
 *
 * Acquiring rank r is in order while no bit at or above r is set.  Two locks of one rank are taken
 * by zc_lock_acquire_pair() only, lower address first.  zc_lock_try() is not checked, since it does
 * not wait, but what it takes is recorded.  A condition gives its lock up, so during the wait the
 * record loses it; any other rank held then would be held for as long as the wait lasts, and is
 * refused.
 *
 * The check comes before the acquisition: a thread that would deadlock says so instead.
 *
 * Adaptive: who finds a lock taken looks at it for up to a microsecond before it sleeps, which is longer than
 * nearly all locks are held.  Free ones cost the same, 15 ns.  A stream of puts into a full cache, where
 * the caller and the shrinker meet at lists and pools, takes a fifth less CPU time by it and a third of
 * the system calls.
 *
 * Tried, and not kept: ck's spin locks, 7 ns free, but between more threads than CPUs they are 2 to 3 times
 * slower, because the others burn the time of the one that holds it.
 */
#include "lock.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "check.h"
#include "mathx.h"

#define NS_PER_S UINT64_C(1000000000)

/* ---------------------------------------------------------------------------------------------- */
/* What this thread holds. */

#if defined(ZCACHE_DEBUG) || defined(ZCACHE_TEST_HOOKS)
static _Thread_local uint64_t n_taken; /* by this thread, all ranks */

static void count_taken(void)
{
    n_taken++;
}

uint64_t zc_lock_count(void)
{
    return n_taken;
}
#else
static void count_taken(void)
{
}

uint64_t zc_lock_count(void)
{
    return 0;
}
#endif

#ifdef ZCACHE_DEBUG
static const char *const rank_name[ZC_RANKS] = {
#define ZC_LOCK_RANK(name, guards, example) #name,
#include "lock_order.def"
#undef ZC_LOCK_RANK
};

static _Thread_local struct {
    unsigned mask;
    unsigned count[ZC_RANKS];
} held;

static _Thread_local char failure[128]; /* outlives the frame: a test's hook leaves by longjmp */

/* The innermost of some ranks; @mask is not 0. */
static const char *innermost(unsigned mask)
{
    return rank_name[zc_log2_floor(mask)];
}

static void check_order(const struct zc_lock *lock)
{
    unsigned conflicts = held.mask >> lock->rank << lock->rank;

    if (ZC_UNLIKELY(conflicts != 0)) {
        (void)snprintf(failure, sizeof(failure), "lock order: %s wanted while holding %s",
                       rank_name[lock->rank], innermost(conflicts));
        zc_check_fail(__FILE__, __LINE__, failure);
    }
}

static void check_same_rank(const struct zc_lock *a, const struct zc_lock *b)
{
    ZC_ASSERT(a->rank == b->rank);
}

static void check_none_held(void)
{
    if (ZC_UNLIKELY(held.mask != 0)) {
        (void)snprintf(failure, sizeof(failure), "lock order: a callback while holding %s",
                       innermost(held.mask));
        zc_check_fail(__FILE__, __LINE__, failure);
    }
}

static void check_held(const struct zc_lock *lock)
{
    if (ZC_UNLIKELY(held.count[lock->rank] == 0)) {
        (void)snprintf(failure, sizeof(failure), "lock order: %s is not held",
                       rank_name[lock->rank]);
        zc_check_fail(__FILE__, __LINE__, failure);
    }
}

/* That nothing but @lock, once, is held by a thread that is going to wait. */
static void check_only_held(const struct zc_lock *lock)
{
    unsigned others = held.mask & ~(1u << lock->rank);

    check_held(lock);
    ZC_ASSERT(held.count[lock->rank] == 1);
    if (ZC_UNLIKELY(others != 0)) {
        (void)snprintf(failure, sizeof(failure), "lock order: a wait while holding %s",
                       innermost(others));
        zc_check_fail(__FILE__, __LINE__, failure);
    }
}

static void record_acquired(const struct zc_lock *lock)
{
    held.count[lock->rank]++;
    held.mask |= 1u << lock->rank;
}

static void record_released(const struct zc_lock *lock)
{
    check_held(lock);
    if (--held.count[lock->rank] == 0) {
        held.mask &= ~(1u << lock->rank);
    }
}
#else
static void check_order(const struct zc_lock *lock)
{
    (void)lock;
}

static void check_same_rank(const struct zc_lock *a, const struct zc_lock *b)
{
    (void)a;
    (void)b;
}

static void check_none_held(void)
{
}

static void check_held(const struct zc_lock *lock)
{
    (void)lock;
}

static void check_only_held(const struct zc_lock *lock)
{
    (void)lock;
}

static void record_acquired(const struct zc_lock *lock)
{
    (void)lock;
}

static void record_released(const struct zc_lock *lock)
{
    (void)lock;
}
#endif

void zc_lock_assert_none(void)
{
    check_none_held();
}

void zc_lock_assert_held(const struct zc_lock *lock)
{
    check_held(lock);
}

/* ---------------------------------------------------------------------------------------------- */
/* Locks. */

/* pthread refuses only what is used wrongly: a lock that was not made, or is not held. */
static void must(int rc)
{
    ZC_ASSERT(rc == 0);
}

void zc_lock_init(struct zc_lock *lock, enum zc_rank rank)
{
    pthread_mutexattr_t attr;

    ZC_ASSERT(rank < ZC_RANKS);
    must(pthread_mutexattr_init(&attr));
#ifdef ZCACHE_DEBUG
    lock->rank = rank;
    must(pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ERRORCHECK));
#else
    must(pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP));
#endif
    must(pthread_mutex_init(&lock->mutex, &attr));
    must(pthread_mutexattr_destroy(&attr));
}

void zc_lock_fini(struct zc_lock *lock)
{
    must(pthread_mutex_destroy(&lock->mutex));
}

/* Everything but the check of the order. */
static void take(struct zc_lock *lock) ZC_NO_ANALYSIS
{
    must(pthread_mutex_lock(&lock->mutex));
    record_acquired(lock);
    count_taken();
}

void zc_lock_acquire(struct zc_lock *lock) ZC_NO_ANALYSIS
{
    check_order(lock);
    take(lock);
}

bool zc_lock_try(struct zc_lock *lock) ZC_NO_ANALYSIS
{
    int rc = pthread_mutex_trylock(&lock->mutex);

    if (rc == EBUSY) {
        return false;
    }
    must(rc);
    record_acquired(lock);
    count_taken();
    return true;
}

void zc_lock_release(struct zc_lock *lock) ZC_NO_ANALYSIS
{
    record_released(lock);
    must(pthread_mutex_unlock(&lock->mutex));
}

void zc_lock_acquire_pair(struct zc_lock *a, struct zc_lock *b) ZC_NO_ANALYSIS
{
    struct zc_lock *first = (uintptr_t)a < (uintptr_t)b ? a : b;
    struct zc_lock *second = first == a ? b : a;

    check_same_rank(a, b);
    zc_lock_acquire(first);
    if (second != first) {
        take(second);
    }
}

void zc_lock_release_pair(struct zc_lock *a, struct zc_lock *b) ZC_NO_ANALYSIS
{
    zc_lock_release(a);
    if (b != a) {
        zc_lock_release(b);
    }
}

/* ---------------------------------------------------------------------------------------------- */
/* Conditions. */

void zc_cond_init(struct zc_cond *cond)
{
    pthread_condattr_t attr;

    must(pthread_condattr_init(&attr));
    must(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC));
    must(pthread_cond_init(&cond->cond, &attr));
    must(pthread_condattr_destroy(&attr));
}

void zc_cond_fini(struct zc_cond *cond)
{
    must(pthread_cond_destroy(&cond->cond));
}

void zc_cond_broadcast(struct zc_cond *cond)
{
    must(pthread_cond_broadcast(&cond->cond));
}

static int wait_until(struct zc_cond *cond, struct zc_lock *lock, uint64_t deadline_ns)
{
    struct timespec at = {
        .tv_sec = (time_t)(deadline_ns / NS_PER_S),
        .tv_nsec = (long)(deadline_ns % NS_PER_S),
    };

    if (deadline_ns == UINT64_MAX) {
        return pthread_cond_wait(&cond->cond, &lock->mutex);
    }
    return pthread_cond_timedwait(&cond->cond, &lock->mutex, &at);
}

bool zc_cond_wait(struct zc_cond *cond, struct zc_lock *lock, uint64_t deadline_ns) ZC_NO_ANALYSIS
{
    int rc;

    check_only_held(lock);
    record_released(lock);
    rc = wait_until(cond, lock, deadline_ns);
    record_acquired(lock);
    count_taken();
    if (rc == ETIMEDOUT) {
        return false;
    }
    must(rc);
    return true;
}
