/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * worth.c - is a tier worth what it costs?
 *
 *     interval of at least 50 ms, in which 64 pages or more left
 *     |----------------------------------------------|
 *     left   pages that left the cache
 *     fed    pages that were compressed for the tier
 *     need   left * cost of one / length             share of a CPU that feeding all would take
 *     use    hits in the tier / fed
 *
 *     need > percent and use < 1/16          the next ones pass by, all but so few batches that these take
 *                                            no more than percent, of 16 one at most
 *     need <= percent / 2, or use >= 1/16    they are fed again
 *
 * A cache that fills takes all: nothing leaves it yet.  So does one where so few pages leave that there
 * is no verdict for a second.
 *
 * Those that are fed all the same keep the measure of use alive: when the tier begins to be hit, that is
 * seen within an interval.  They stay in it for longer than they would otherwise, so the doubt is in
 * favour of feeding.
 *
 * No locks.  One of those who find the interval over ends it; what is counted meanwhile is counted in
 * one of both.
 */
#include "worth.h"

#include "mathx.h"

#define INTERVAL_NS UINT64_C(50000000)
#define HOLDS_NS    UINT64_C(1000000000)
#define PAGES_MIN   64u
#define USE_SHARE   16u /* a hit for so many compressed pages is use enough */
#define ASK_EVERY   16u
#define ASK_RARELY  1024u
#define COST_PARTS  8u /* of the average that a new measurement makes up */

static uint64_t read(const _Atomic uint64_t *v)
{
    return atomic_load_explicit(v, memory_order_relaxed);
}

static void write(_Atomic uint64_t *v, uint64_t n)
{
    atomic_store_explicit(v, n, memory_order_relaxed);
}

void zc_worth_init(struct zc_worth *w)
{
    write(&w->since_ns, 0);
    write(&w->left, 0);
    write(&w->fed, 0);
    write(&w->hits_before, 0);
    atomic_store_explicit(&w->cost_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&w->passing, 0, memory_order_relaxed);
    atomic_store_explicit(&w->asked, 0, memory_order_relaxed);
    atomic_store_explicit(&w->every, ASK_EVERY, memory_order_relaxed);
}

bool zc_worth_ask(struct zc_worth *w, uint64_t now_ns)
{
    if (atomic_load_explicit(&w->passing, memory_order_relaxed) == 0 ||
        now_ns > zc_add_sat(read(&w->since_ns), HOLDS_NS)) {
        return true;
    }
    return atomic_fetch_add_explicit(&w->asked, 1, memory_order_relaxed) %
               atomic_load_explicit(&w->every, memory_order_relaxed) ==
           0;
}

void zc_worth_fed(struct zc_worth *w, unsigned pages, uint64_t cpu_ns)
{
    uint64_t old = atomic_load_explicit(&w->cost_ns, memory_order_relaxed);
    uint64_t one = ZC_MIN(cpu_ns / ZC_MAX(pages, 1), UINT32_MAX);

    if (old != 0) {
        one = (old * (COST_PARTS - 1) + one) / COST_PARTS;
    }
    atomic_store_explicit(&w->cost_ns, (uint32_t)one, memory_order_relaxed);
    atomic_fetch_add_explicit(&w->fed, pages, memory_order_relaxed);
}

void zc_worth_left(struct zc_worth *w, uint64_t pages)
{
    atomic_fetch_add_explicit(&w->left, pages, memory_order_relaxed);
}

bool zc_worth_due(const struct zc_worth *w, uint64_t now_ns)
{
    uint64_t since = read(&w->since_ns);

    return since == 0 || (now_ns > since + INTERVAL_NS && read(&w->left) >= PAGES_MIN);
}

void zc_worth_judge(struct zc_worth *w, uint64_t now_ns, uint64_t hits, uint32_t percent)
{
    uint64_t since = read(&w->since_ns);
    uint64_t left;
    uint64_t fed;
    uint64_t used;
    uint64_t need;
    bool passing = atomic_load_explicit(&w->passing, memory_order_relaxed) != 0;

    if (!atomic_compare_exchange_strong(&w->since_ns, &since, now_ns)) {
        return; /* another thread is at it */
    }
    left = atomic_exchange_explicit(&w->left, 0, memory_order_relaxed);
    fed = atomic_exchange_explicit(&w->fed, 0, memory_order_relaxed);
    used = zc_sub_sat(hits, read(&w->hits_before));
    write(&w->hits_before, hits);
    if (since == 0 || now_ns <= since) {
        return;
    }
    need = zc_mul_div(left, 100u * (uint64_t)atomic_load(&w->cost_ns), now_ns - since);
    passing = percent < 100 && used * USE_SHARE < ZC_MAX(fed, 1) &&
              need > (passing ? percent / 2 : percent);
    need = ZC_MIN(ZC_MAX(need / ZC_MAX(percent, 1), ASK_EVERY), ASK_RARELY);
    atomic_store_explicit(&w->every, (uint32_t)need, memory_order_relaxed);
    atomic_store_explicit(&w->passing, passing ? 1 : 0, memory_order_relaxed);
}
