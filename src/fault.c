/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which request is refused: a count that falls with each one that the plan is about.
 *
 *     left      n ... 2      1        0
 *     request   granted      refused  granted, or refused if the plan is lasting
 *
 * No locks: every member is atomic by itself.  A thread that asks while a plan is replaced may be
 * counted by either.
 */
#include "fault.h"

#ifdef ZCACHE_TEST_HOOKS
#include <stdatomic.h>
#include <stddef.h>

static struct {
    _Atomic uint64_t left; /* requests until one is refused; 0 none */
    _Atomic uint64_t n_requests;
    _Atomic uint64_t n_refused;
    _Atomic bool lasting; /* the refused one was the first of all */
    _Atomic int whose;
    _Atomic uint32_t sites;
    const void *_Atomic armed_by; /* address of that thread's mark */
} plan;

static _Atomic uint64_t refused_at[ZC_FAULT_N_SITES];
static _Atomic int64_t held;
static _Thread_local char mark; /* its address names the thread */

void zc_fault_arm(const struct zc_fault_plan *p)
{
    (void)zc_fault_disarm();
    atomic_store(&plan.n_refused, 0);
    atomic_store(&plan.n_requests, 0);
    atomic_store(&plan.lasting, p->lasting);
    atomic_store(&plan.whose, (int)p->whose);
    atomic_store(&plan.sites, p->sites != 0 ? p->sites : UINT32_MAX);
    atomic_store(&plan.armed_by, &mark);
    atomic_store(&plan.left, p->nth);
}

uint64_t zc_fault_disarm(void)
{
    atomic_store(&plan.left, 0);
    return atomic_load(&plan.n_refused);
}

static bool is_about(enum zc_fault_site site)
{
    const bool mine = atomic_load(&plan.armed_by) == &mark;
    const int whose = atomic_load(&plan.whose);

    return (atomic_load(&plan.sites) >> site & 1) != 0 &&
           (whose == ZC_FAULT_ALL || (whose == ZC_FAULT_MINE) == mine);
}

bool zc_fault_hit(enum zc_fault_site site)
{
    uint64_t left = atomic_load(&plan.left);

    if (left == 0 || !is_about(site)) {
        return false;
    }
    atomic_fetch_add(&plan.n_requests, 1);
    /* A lasting plan stays at 1. */
    while (left > 0 && !(left == 1 && atomic_load(&plan.lasting)) &&
           !atomic_compare_exchange_weak(&plan.left, &left, left - 1)) {
    }
    if (left != 1) {
        return false;
    }
    atomic_fetch_add(&plan.n_refused, 1);
    atomic_fetch_add(&refused_at[site], 1);
    return true;
}

uint64_t zc_fault_requests(void)
{
    return atomic_load(&plan.n_requests);
}

uint64_t zc_fault_refused(enum zc_fault_site site)
{
    return atomic_load(&refused_at[site]);
}

const char *zc_fault_name(enum zc_fault_site site)
{
#define NAME(site, what) #site,
    static const char *const names[] = {ZC_FAULT_SITES(NAME)};
#undef NAME

    return names[site];
}

void zc_fault_hold(int64_t bytes)
{
    atomic_fetch_add(&held, bytes);
}

int64_t zc_fault_held(void)
{
    return atomic_load(&held);
}
#else
typedef int zc_fault_none; /* a translation unit is not empty */
#endif
