/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Byte accounts in a tree.  An account's charge includes those of its children.  Room is reserved
 * on every level from an account to the root before it is used, so no charge passes its limit at
 * any instant; what turns out not to be needed is refunded.
 *
 * The top of each limit, its slack, is kept for reclaim: moving a page to a denser tier needs
 * room for the new form before the old one can go.
 */
#ifndef ZC_QUOTA_H
#define ZC_QUOTA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "plat.h"

struct zc_account {
    struct zc_account *parent; /* set while no charge is on it; NULL for the root */
    _Alignas(ZC_CACHE_LINE) _Atomic uint64_t charge;
    _Atomic uint64_t limit;
    _Atomic uint64_t peak;
};

enum zc_quota_who {
    ZC_QUOTA_PUT,    /* stays below the slack */
    ZC_QUOTA_RECLAIM /* may use it */
};

void zc_quota_init(struct zc_account *account, struct zc_account *parent, uint64_t limit);

/** zc_quota_slack() - bytes at the top of a limit that only reclaim may use. */
uint64_t zc_quota_slack(uint64_t limit);

/**
 * zc_quota_reserve() - charge @bytes to @account and all its ancestors, or to none.
 *
 * Return: NULL; or the level nearest to @account that has no room.
 */
struct zc_account *zc_quota_reserve(struct zc_account *account,
                                    uint64_t bytes,
                                    enum zc_quota_who who);

/** zc_quota_refund() - take @bytes off @account and all its ancestors. */
void zc_quota_refund(struct zc_account *account, uint64_t bytes);

/** zc_quota_move() - hand @bytes of @child's charge to its parent: only the child's falls. */
void zc_quota_move(struct zc_account *child, uint64_t bytes);

/** zc_quota_fits() - whether a reserve would succeed now; a hint, writes nothing. */
bool zc_quota_fits(const struct zc_account *account, uint64_t bytes, enum zc_quota_who who);

static inline uint64_t zc_quota_charge(const struct zc_account *account)
{
    return atomic_load_explicit(&account->charge, memory_order_relaxed);
}

static inline uint64_t zc_quota_limit(const struct zc_account *account)
{
    return atomic_load_explicit(&account->limit, memory_order_relaxed);
}

#endif /* ZC_QUOTA_H */
