/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * quota.c - byte accounts in a tree: reserve, refund, move.  What is kept for puts to come is
 * quota_stock.c.
 *
 *     root    charge 90 of 100      a reserve of 4 under "b" adds 4 to b, then to a, then to the
 *      `- a   charge 60 of  64      root; if the root is full, it takes the 4 off a and b again
 *          `- b   20 of  32
 *
 * Locks: none, but that of the stocks if a level has no room.  Each level is a compare-and-swap that
 * never stores a sum above the limit, so the bound holds at every instant, not only at rest.
 *
 * Invariants: charge <= limit, unless the limit was lowered below it; a parent's charge is at least
 * the sum of its children's.  A reserve that fails half-way leaves its part on the lower levels for
 * a moment: they look fuller than they are, never emptier.
 *
 * Not taken: fetch_add and roll back when the sum is too high, as it passes the limit for a moment;
 * one lock for the tree, as every put would meet there.
 */
#include "quota.h"

#include "check.h"
#include "mathx.h"

#define SLACK_SHARE 128u
#define SLACK_MAX   (UINT64_C(256) << 10)

/* ---- one level ----------------------------------------------------------------------------- */

#ifdef ZCACHE_TEST_HOOKS
static _Thread_local uint64_t n_written;

static void count_written(void)
{
    n_written++;
}

uint64_t zc_quota_ops(void)
{
    return n_written;
}
#else
static void count_written(void)
{
}

uint64_t zc_quota_ops(void)
{
    return 0;
}
#endif

void zc_quota_init(struct zc_account *account, struct zc_account *parent, uint64_t limit)
{
    account->parent = parent;
    account->stock = NULL;
    account->stocks = NULL;
    account->mark_percent = 0;
    atomic_store_explicit(&account->stock_max, 0, memory_order_relaxed);
    atomic_store_explicit(&account->charge, 0, memory_order_relaxed);
    atomic_store_explicit(&account->limit, limit, memory_order_relaxed);
    atomic_store_explicit(&account->peak, 0, memory_order_relaxed);
}

uint64_t zc_quota_slack(uint64_t limit)
{
    return ZC_MIN(limit / SLACK_SHARE, SLACK_MAX);
}

static uint64_t ceiling(const struct zc_account *account, enum zc_quota_who who)
{
    uint64_t limit = zc_quota_limit(account);

    return who == ZC_QUOTA_PUT ? limit - zc_quota_slack(limit) : limit;
}

static void raise_peak(struct zc_account *account, uint64_t charge)
{
    uint64_t peak = atomic_load_explicit(&account->peak, memory_order_relaxed);

    while (charge > peak) {
        if (atomic_compare_exchange_weak_explicit(&account->peak, &peak, charge,
                                                  memory_order_relaxed, memory_order_relaxed)) {
            return;
        }
    }
}

static void refund_level(struct zc_account *account, uint64_t bytes)
{
    uint64_t before = atomic_fetch_sub_explicit(&account->charge, bytes, memory_order_seq_cst);

    count_written();
    ZC_ASSERT(before >= bytes);
}

static bool reserve_level(struct zc_account *account, uint64_t bytes, enum zc_quota_who who)
{
    uint64_t charge = zc_quota_charge(account);

    do {
        uint64_t top = ceiling(account, who);

        if (bytes > top || charge > top - bytes) {
            return false;
        }
    } while (!atomic_compare_exchange_weak_explicit(&account->charge, &charge, charge + bytes,
                                                    memory_order_seq_cst, memory_order_acquire));
    count_written();
    /* A limit that was lowered meanwhile: either we see it here, or who lowered it sees our charge.
     * */
    if (ZC_UNLIKELY(charge + bytes > atomic_load(&account->limit))) {
        refund_level(account, bytes);
        return false;
    }
    raise_peak(account, charge + bytes);
    return true;
}

/* ---- all levels ---------------------------------------------------------------------------- */

/* What stocks below the level keep is had before it refuses, if @call_in. */
static bool reserve_or_call_in(struct zc_account *level,
                               uint64_t bytes,
                               enum zc_quota_who who,
                               bool call_in)
{
    if (ZC_LIKELY(reserve_level(level, bytes, who))) {
        return true;
    }
    if (!call_in || level->stocks == NULL) {
        return false;
    }
    zc_quota_call_in(level);
    return reserve_level(level, bytes, who); /* also if somebody else has just called them in */
}

static struct zc_account *reserve_all(struct zc_account *account,
                                      uint64_t bytes,
                                      enum zc_quota_who who,
                                      bool call_in)
{
    struct zc_account *level;
    struct zc_account *undo;

    for (level = account; level != NULL; level = level->parent) {
        if (!reserve_or_call_in(level, bytes, who, call_in)) {
            break;
        }
    }
    if (level != NULL) {
        for (undo = account; undo != level; undo = undo->parent) {
            refund_level(undo, bytes);
        }
    }
    return level;
}

struct zc_account *zc_quota_reserve_levels(struct zc_account *account, uint64_t bytes)
{
    return reserve_all(account, bytes, ZC_QUOTA_PUT, false);
}

struct zc_account *zc_quota_reserve(struct zc_account *account,
                                    uint64_t bytes,
                                    enum zc_quota_who who)
{
    return reserve_all(account, bytes, who, true);
}

void zc_quota_refund_levels(struct zc_account *account, uint64_t bytes)
{
    while (account != NULL && bytes > 0) {
        struct zc_account *parent = account->parent; /* with its last byte the account may go */

        refund_level(account, bytes);
        account = parent;
    }
}

void zc_quota_refund(struct zc_account *account, uint64_t bytes)
{
    zc_quota_refund_levels(account, zc_stock_give(account, bytes));
}

void zc_quota_move(struct zc_account *child, uint64_t bytes)
{
    ZC_ASSERT(child->parent != NULL);
    refund_level(child, bytes);
}

static bool level_fits(const struct zc_account *level, uint64_t bytes, enum zc_quota_who who)
{
    uint64_t top = ceiling(level, who);

    return bytes <= top && zc_quota_charge(level) <= top - bytes;
}

bool zc_quota_fits(const struct zc_account *account, uint64_t bytes, enum zc_quota_who who)
{
    while (account != NULL && level_fits(account, bytes, who)) {
        account = account->parent;
    }
    return account == NULL;
}

bool zc_quota_has_room(struct zc_account *account, uint64_t bytes, enum zc_quota_who who)
{
    for (; account != NULL; account = account->parent) {
        if (!level_fits(account, bytes, who)) {
            zc_quota_call_in(account);
            if (!level_fits(account, bytes, who)) {
                return false;
            }
        }
    }
    return true;
}
