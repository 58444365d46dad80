/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Byte accounts in a tree.  An account's charge includes those of its children.  Room is reserved
 * on every level from an account to the root before it is used, so no charge passes its limit at
 * any instant; what turns out not to be needed is refunded.
 *
 * The top of each limit, its slack, is kept for reclaim: moving a page to a denser tier needs
 * room for the new form before the old one can go.
 *
 * An account may have a stock: bytes that are reserved on all its levels already and wait for the
 * next put on the same CPU.  They count as used, and are called in before anybody is refused.
 */
#ifndef ZC_QUOTA_H
#define ZC_QUOTA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "list.h"
#include "lock.h"
#include "plat.h"

struct zc_stock;

/** struct zc_stocks - the stocks of all accounts of one tree. */
struct zc_stocks {
    struct zc_lock lock; /* leaf */
    struct zc_list open; /* under lock: those that keep something, oldest first */
};

struct zc_account {
    struct zc_account *parent; /* set while no charge is on it; NULL for the root */
    /* set by zc_quota_use_stock(), before anybody puts */
    struct zc_stock *stock; /* NULL: none */
    struct zc_stocks *stocks;
    uint32_t mark_percent; /* of the limit: no stock is taken above it */
    _Atomic uint64_t
        stock_max; /* what the stocks of the subtree may keep; changes under their lock */
    _Alignas(ZC_CACHE_LINE) _Atomic uint64_t charge;
    _Atomic uint64_t limit;
    _Atomic uint64_t peak;
};

enum zc_quota_who {
    ZC_QUOTA_PUT,    /* stays below the slack */
    ZC_QUOTA_RECLAIM /* may use it */
};

/** zc_quota_init() - an account without a stock. */
void zc_quota_init(struct zc_account *account, struct zc_account *parent, uint64_t limit);

/** zc_quota_slack() - bytes at the top of a limit that only reclaim may use. */
uint64_t zc_quota_slack(uint64_t limit);

/**
 * zc_quota_reserve() - charge @bytes to @account and all its ancestors, or to none.  Stocks below the
 *                      level that has no room are called in first; no leaf lock is held.
 *
 * Return: NULL; or the level nearest to @account that has no room.
 */
struct zc_account *zc_quota_reserve(struct zc_account *account,
                                    uint64_t bytes,
                                    enum zc_quota_who who);

/** zc_quota_take() - as zc_quota_reserve() of a put, from the account's stock if that has as much. */
struct zc_account *zc_quota_take(struct zc_account *account, uint64_t bytes);

/** zc_quota_refund() - take @bytes off @account and all its ancestors, or put them into its stock. */
void zc_quota_refund(struct zc_account *account, uint64_t bytes);

/** zc_quota_move() - hand @bytes of @child's charge to its parent: only the child's falls. */
void zc_quota_move(struct zc_account *child, uint64_t bytes);

/** zc_quota_fits() - whether there is room now, without calling stocks in; a hint, writes nothing. */
bool zc_quota_fits(const struct zc_account *account, uint64_t bytes, enum zc_quota_who who);

/** zc_quota_has_room() - whether a reserve would succeed now: as it, calls stocks in if need be. */
bool zc_quota_has_room(struct zc_account *account, uint64_t bytes, enum zc_quota_who who);

static inline uint64_t zc_quota_charge(const struct zc_account *account)
{
    return atomic_load_explicit(&account->charge, memory_order_acquire);
}

static inline uint64_t zc_quota_limit(const struct zc_account *account)
{
    return atomic_load_explicit(&account->limit, memory_order_relaxed);
}

/** zc_quota_ops() - test builds: how often this thread wrote to an account's level; else 0. */
uint64_t zc_quota_ops(void);

/* ---- levels, without stocks: for quota_stock.c --------------------------------------------- */

struct zc_account *zc_quota_reserve_levels(struct zc_account *account, uint64_t bytes);
void zc_quota_refund_levels(struct zc_account *account, uint64_t bytes);

/* ---- stocks: quota_stock.c ----------------------------------------------------------------- */

#define ZC_STOCK_TAKE (UINT64_C(128) << 10) /* that a CPU's stock is filled with at a time */
#define ZC_STOCK_MAX  (UINT64_C(256) << 10) /* that it may keep */
#define ZC_STOCK_WAIT 16u                   /* puts on a CPU before it gets one */

void zc_stocks_init(struct zc_stocks *stocks);
void zc_stocks_fini(struct zc_stocks *stocks);

/** zc_stock_bytes() - memory for the stock of one account on a machine with @n_cpus. */
size_t zc_stock_bytes(unsigned n_cpus);
/** zc_stock_init() - @stock: as many zeroed bytes. */
void zc_stock_init(struct zc_stock *stock, unsigned n_cpus);
/** zc_stock_size() - how many they were. */
size_t zc_stock_size(const struct zc_stock *stock);

/**
 * zc_quota_use_stock() - have an account keep a stock.
 * @stock:        stays as long as anybody may refund.
 * @mark_percent: of the limit: nothing is taken for the stock above it.
 */
void zc_quota_use_stock(struct zc_account *account,
                        struct zc_stocks *stocks,
                        struct zc_stock *stock,
                        uint32_t mark_percent);

/** zc_quota_call_in() - refund what the stocks of @level and those below it keep.  No leaf lock held. */
void zc_quota_call_in(struct zc_account *level);

/** zc_quota_stock() - bytes that the stocks of @level and those below it keep; takes their lock. */
uint64_t zc_quota_stock(struct zc_account *level);

/** zc_quota_used() - the charge without what stocks keep; takes their lock if there are any. */
uint64_t zc_quota_used(struct zc_account *level);

/** zc_quota_used_hint() - about as much, from two loads. */
uint64_t zc_quota_used_hint(const struct zc_account *level);

/** zc_stock_give() - keep what was refunded.  Return: bytes that are to be refunded to the levels. */
uint64_t zc_stock_give(struct zc_account *account, uint64_t bytes);

#endif /* ZC_QUOTA_H */
