/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * quota_stock.c - reserved bytes that an account keeps for the puts to come, a part for each CPU.
 *
 *     account "b"   stock   CPU 0: 96 KiB   CPU 1: none   ...       up to 16 parts, a line each
 *
 * A put takes what it needs from the part of its CPU, and what is freed goes back there, so that
 * CPUs that put pages of one tenant, or of one cache, do not share the lines of the accounts.  The
 * accounts are written when a part is empty (ZC_STOCK_TAKE more are reserved for it) or full (as many
 * are refunded): once in some tens of puts.
 *
 * A part is open or not.  It is opened by the 16th put that finds it closed, if the stocks below each
 * level may keep as much altogether (SHARE of the limit; the oldest stock gives way), and if the
 * charge is far enough below the level's mark.  It is closed when it cannot be filled without passing
 * the mark, and when it is called in: by whoever is about to be refused, to shrink, to close a tenant
 * or to verify.  So near its limit a tenant has no stock, and a small one never has.
 *
 * Locks: that of the stocks, for opening and closing; a part's bytes change by compare-and-swap.
 *
 * Invariants: what a part keeps is on the charge of all its account's levels; it keeps nothing unless
 * it is open, and at most ZC_STOCK_MAX; a level's stock_max is ZC_STOCK_MAX for each open part below
 * it, and is raised before they take anything, and lowered after they have given it back.  So who
 * is refused, and then finds stock_max 0, was refused by what is in use.
 *
 * Not taken: a stock per thread, as the kernel's memory controller has one per CPU that only this CPU
 * touches: what idle threads keep must be had without them, threads come and go, and their number
 * bounds nothing.
 */
#include "quota.h"

#include "check.h"
#include "mathx.h"
#include "sync_point.h"

#define LOOKS_MAX   8u
#define SHARE       32u                  /* of a limit may be in stocks, */
#define SHARE_BYTES (UINT64_C(64) << 20) /* and no more than this */

struct part {
    _Alignas(ZC_CACHE_LINE) _Atomic uint64_t word; /* 0: closed; else the bytes it keeps, and 1 */
    _Atomic uint32_t missed;                       /* puts that found it closed */
};

struct zc_stock {
    struct zc_account *account;
    struct zc_list link; /* under the lock */
    unsigned n_open;     /* under the lock */
    unsigned mask;       /* parts - 1; set once */
    struct part part[];
};

void zc_stocks_init(struct zc_stocks *stocks)
{
    zc_lock_init(&stocks->lock, ZC_RANK_leaf);
    zc_list_init(&stocks->open);
}

void zc_stocks_fini(struct zc_stocks *stocks)
{
    ZC_DEBUG_ASSERT(zc_list_empty(&stocks->open));
    zc_lock_fini(&stocks->lock);
}

size_t zc_stock_bytes(unsigned n_cpus)
{
    return sizeof(struct zc_stock) + zc_plat_stripes(n_cpus) * sizeof(struct part);
}

void zc_stock_init(struct zc_stock *stock, unsigned n_cpus)
{
    stock->mask = zc_plat_stripes(n_cpus) - 1;
}

size_t zc_stock_size(const struct zc_stock *stock)
{
    return zc_stock_bytes(stock->mask + 1);
}

void zc_quota_use_stock(struct zc_account *account,
                        struct zc_stocks *stocks,
                        struct zc_stock *stock,
                        uint32_t mark_percent)
{
    ZC_ASSERT(stock->n_open == 0);
    stock->account = account;
    account->mark_percent = mark_percent;
    account->stocks = stocks;
    account->stock = stock;
}

/* ---- one part ------------------------------------------------------------------------------ */

static struct part *part_of(struct zc_stock *stock)
{
    return &stock->part[zc_plat_cpu() & stock->mask];
}

/* Bytes that it keeps, of its word. */
static uint64_t kept(uint64_t word)
{
    return word != 0 ? word - 1 : 0;
}

static bool part_take(struct part *part, uint64_t bytes)
{
    uint64_t word = atomic_load_explicit(&part->word, memory_order_acquire);

    while (word > bytes) {
        if (atomic_compare_exchange_weak_explicit(&part->word, &word, word - bytes,
                                                  memory_order_seq_cst, memory_order_acquire)) {
            return true;
        }
    }
    return false;
}

/* Return: what it does not keep: all of it if it is closed, and rather more if it is full. */
static uint64_t part_add(struct part *part, uint64_t bytes)
{
    uint64_t word = atomic_load_explicit(&part->word, memory_order_acquire);

    while (word != 0) {
        uint64_t sum = kept(word) + bytes;
        uint64_t over = sum > ZC_STOCK_MAX ? ZC_STOCK_TAKE : 0;

        if (atomic_compare_exchange_weak_explicit(&part->word, &word, sum - over + 1,
                                                  memory_order_seq_cst, memory_order_acquire)) {
            return over;
        }
    }
    return bytes;
}

/* ---- open, close --------------------------------------------------------------------------- */

static bool is_below(const struct zc_account *account, const struct zc_account *level)
{
    while (account != NULL && account != level) {
        account = account->parent;
    }
    return account != NULL;
}

static uint64_t mark(const struct zc_account *level)
{
    return zc_mul_div(zc_quota_limit(level), level->mark_percent, 100);
}

static uint64_t share(const struct zc_account *level)
{
    return ZC_MIN(zc_quota_limit(level) / SHARE, SHARE_BYTES);
}

/* Whether the charge of each level stays below its mark, by its share if @clearly. */
static bool is_far(const struct zc_account *account, uint64_t bytes, bool clearly)
{
    for (; account != NULL; account = account->parent) {
        uint64_t top = zc_sub_sat(mark(account), clearly ? share(account) : 0);

        if (zc_add_sat(zc_quota_charge(account), bytes) > top) {
            return false;
        }
    }
    return true;
}

/* The level nearest to @account whose stocks may not keep more; NULL. */
static struct zc_account *no_share_locked(struct zc_account *account)
{
    for (; account != NULL; account = account->parent) {
        if (atomic_load_explicit(&account->stock_max, memory_order_relaxed) + ZC_STOCK_MAX >
            share(account)) {
            break;
        }
    }
    return account;
}

static void close_locked(struct zc_stock *stock, struct part *part)
{
    uint64_t word = atomic_exchange(&part->word, 0);

    if (word == 0) {
        return;
    }
    zc_quota_refund_levels(stock->account, kept(word));
    for (struct zc_account *a = stock->account; a != NULL; a = a->parent) {
        atomic_fetch_sub(&a->stock_max, ZC_STOCK_MAX);
    }
    if (--stock->n_open == 0) {
        zc_list_del(&stock->link);
    }
}

static void call_in_locked(struct zc_stock *stock)
{
    for (unsigned i = 0; i <= stock->mask; i++) {
        close_locked(stock, &stock->part[i]);
    }
}

/* Has the oldest stock below @level, of another account, give way. */
static void supersede_locked(struct zc_account *level, const struct zc_stock *by)
{
    struct zc_list *it;

    ZC_LIST_FOR_EACH (it, &level->stocks->open) {
        struct zc_stock *stock = ZC_CONTAINER_OF(it, struct zc_stock, link);

        if (stock != by && is_below(stock->account, level)) {
            call_in_locked(stock);
            return;
        }
    }
}

static void open_locked(struct zc_stock *stock, struct part *part)
{
    struct zc_account *full = no_share_locked(stock->account);

    if (full != NULL && share(full) >= ZC_STOCK_MAX) {
        supersede_locked(full, stock);
        full = no_share_locked(stock->account);
    }
    if (full != NULL) {
        return;
    }
    for (struct zc_account *a = stock->account; a != NULL; a = a->parent) {
        atomic_fetch_add(&a->stock_max, ZC_STOCK_MAX);
    }
    if (stock->n_open++ == 0) {
        zc_list_push_back(&stock->account->stocks->open, &stock->link);
    }
    atomic_store(&part->word, 1);
}

ZC_COLD static void open_part(struct zc_stock *stock, struct part *part)
{
    struct zc_stocks *stocks = stock->account->stocks;

    zc_lock_acquire(&stocks->lock);
    if (atomic_load(&part->word) == 0 && is_far(stock->account, ZC_STOCK_MAX, true)) {
        open_locked(stock, part);
    }
    zc_lock_release(&stocks->lock);
}

static void close_part(struct zc_stock *stock, struct part *part)
{
    struct zc_stocks *stocks = stock->account->stocks;

    zc_lock_acquire(&stocks->lock);
    close_locked(stock, part);
    zc_lock_release(&stocks->lock);
}

/* ---- take, give ---------------------------------------------------------------------------- */

/* Reserves @bytes, and something for the stock.  Return: false if there is too little room for that. */
ZC_COLD static bool take_more(struct zc_stock *stock, struct part *part, uint64_t bytes)
{
    struct zc_account *account = stock->account;

    if (!is_far(account, bytes + ZC_STOCK_TAKE, false) ||
        zc_quota_reserve_levels(account, bytes + ZC_STOCK_TAKE) != NULL) {
        close_part(stock, part);
        return false;
    }
    ZC_SYNC_POINT("stock.reserved", ((struct zcache_key){0, 0}));
    /* It may have been closed meanwhile, or filled by another thread. */
    zc_quota_refund_levels(account, part_add(part, ZC_STOCK_TAKE));
    return true;
}

struct zc_account *zc_quota_take(struct zc_account *account, uint64_t bytes)
{
    struct zc_stock *stock = account->stock;

    if (ZC_LIKELY(stock != NULL && bytes <= ZC_STOCK_TAKE)) {
        struct part *part = part_of(stock);

        if (ZC_LIKELY(part_take(part, bytes))) {
            return NULL;
        }
        if (atomic_load_explicit(&part->word, memory_order_relaxed) != 0) {
            if (take_more(stock, part, bytes)) {
                return NULL;
            }
        } else if (atomic_fetch_add_explicit(&part->missed, 1, memory_order_relaxed) %
                       ZC_STOCK_WAIT ==
                   ZC_STOCK_WAIT - 1) {
            open_part(stock, part);
        }
    }
    return zc_quota_reserve(account, bytes, ZC_QUOTA_PUT);
}

uint64_t zc_stock_give(struct zc_account *account, uint64_t bytes)
{
    if (account->stock == NULL || bytes > ZC_STOCK_TAKE) {
        return bytes;
    }
    return part_add(part_of(account->stock), bytes);
}

/* ---- all of them --------------------------------------------------------------------------- */

void zc_quota_call_in(struct zc_account *level)
{
    struct zc_list *it;
    struct zc_list *next;

    if (level->stocks == NULL || atomic_load(&level->stock_max) == 0) {
        return;
    }
    zc_lock_acquire(&level->stocks->lock);
    for (it = zc_list_next(&level->stocks->open); it != &level->stocks->open; it = next) {
        struct zc_stock *stock = ZC_CONTAINER_OF(it, struct zc_stock, link);

        next = zc_list_next(it);
        if (is_below(stock->account, level)) {
            call_in_locked(stock);
        }
    }
    zc_lock_release(&level->stocks->lock);
}

uint64_t zc_quota_stock(struct zc_account *level)
{
    uint64_t sum = 0;
    struct zc_list *it;

    if (level->stocks == NULL || atomic_load(&level->stock_max) == 0) {
        return 0;
    }
    zc_lock_acquire(&level->stocks->lock);
    ZC_LIST_FOR_EACH (it, &level->stocks->open) {
        const struct zc_stock *stock = ZC_CONTAINER_OF(it, struct zc_stock, link);

        for (unsigned i = 0; i <= stock->mask && is_below(stock->account, level); i++) {
            sum += kept(atomic_load_explicit(&stock->part[i].word, memory_order_relaxed));
        }
    }
    zc_lock_release(&level->stocks->lock);
    return sum;
}

uint64_t zc_quota_used(struct zc_account *level)
{
    uint64_t stock = zc_quota_stock(level);
    uint64_t before = stock + 1;
    uint64_t charge = 0;

    /* A stock that is called in between the two looks would count as used, or be taken off twice. */
    for (unsigned i = 0; i < LOOKS_MAX && stock != before; i++) {
        before = stock;
        charge = zc_quota_charge(level);
        stock = zc_quota_stock(level);
    }
    return zc_sub_sat(charge, stock);
}

uint64_t zc_quota_used_hint(const struct zc_account *level)
{
    return zc_sub_sat(zc_quota_charge(level),
                      atomic_load_explicit(&level->stock_max, memory_order_relaxed) / 2);
}
