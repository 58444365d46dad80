/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * share.c - which part of a tenant's bytes is raw, which is fast.
 *
 *     newest                                                    oldest
 *     |  raw   |   fast   |            dense                     |  evicted, remembered
 *              |          |                                      |
 *              a page moves across a boundary: its hits are       with the bytes this saves, these pages
 *              decoded, or take longer to be                      would not have left: misses become hits
 *
 * An interval ends when a sixteenth of the pages has left.  Then each boundary is weighed at its margin:
 *
 *     cost     hits of a page there * (time of a hit below - time of one above)
 *     benefit  pages that its saved bytes hold * hits of a page that is about to leave
 *              * (time of a miss - time of a hit in the densest tier)
 *
 * and the share above it becomes smaller or larger by an eighth of itself where one is more than 5/4 of
 * the other, by a quarter where it is more than twice, and by a half where it is more than four times as
 * much.  Where they are about the same it stays, so that noise does not move it.
 *
 * Hits of a page at a boundary are the geometric mean of those on both sides, by form, of the last four
 * intervals or so: they fall steeply along the lists, and hot pages of the one side must not count for
 * its last page.  Some raw pages are hit hundreds of times while they go through the list; of these hits only
 * those count for which a page at its oldest end keeps its place, three for each way through it.  Beyond the
 * last boundary are the pages that left: of these as many are remembered as there are pages, at first as many
 * as left, so what came back of them is by page, too.
 *
 * The idea of giving memory to where the next bytes bring most is that of utility-based cache partitioning
 * (Qureshi and Patt, MICRO 2006); that hits of what is remembered beyond the end tell about it is ARC's
 * (Megiddo and Modha, FAST 2003).  Both count what one more page would bring; here pages differ in size
 * and hits in time.
 *
 * The time that compressing takes is not in it: it is the shrinker's, not the caller's.  Whether that is
 * well spent is decided in worth.c.
 *
 * Locks: none.  Whoever ends an interval does it alone, others pass by.
 *
 * Not taken: marks in the lists, at which hits could be counted (a hit would have to know where its page
 * lies); trying sizes and keeping what is better (hit ratios move by themselves more than a step moves them).
 */
#include "share.h"

#include "mathx.h"

#define INTERVAL_PART 16u /* of the pages */
#define INTERVAL_MIN  64u
#define STEP_PART     8u /* of a share */
#define CLEARLY_MORE  5u /* to CLEARLY_LESS */
#define CLEARLY_LESS  4u
#define KEEP_PARTS    4u  /* of the sums, all but one stay for the next interval */
#define FEW           16u /* pages do not tell how large a form is, nor how often it is hit */
#define PAGE_UNIT     (UINT64_C(1) << 20)
#define LOAD_PARTS    16u
#define LATE          16u /* what left comes back later, or is not known: no less than this part is taken */

/* Of a hit on a page of 4 KiB, where few were timed.  A time that is off by more than so many times is of a
 * CPU that others had, and would keep a tier empty, in which then nothing is timed any more. */
static const uint64_t usual_ns[ZCACHE_TIERS] = {700, 2500, 9000};

#define USUAL_BYTES 4096u
#define USUAL_TIMES 6u

void zc_share_init(struct zc_share *s)
{
    *s = (struct zc_share){0};
    atomic_store_explicit(&s->part[ZCACHE_TIER_RAW], ZC_SHARE_RAW, memory_order_relaxed);
    atomic_store_explicit(&s->part[ZCACHE_TIER_FAST], ZC_SHARE_FAST, memory_order_relaxed);
}

void zc_share_loaded(struct zc_share *s, uint64_t pages, uint64_t ns)
{
    uint64_t old = atomic_load_explicit(&s->load_ns, memory_order_relaxed);
    uint64_t one = ZC_MIN(ZC_MAX(ns / ZC_MAX(pages, 1), 1), UINT32_MAX);

    if (old != 0) {
        one = (old * (LOAD_PARTS - 1) + one + LOAD_PARTS - 1) / LOAD_PARTS;
    }
    atomic_store_explicit(&s->load_ns, (uint32_t)ZC_MIN(one, UINT32_MAX), memory_order_relaxed);
}

static bool take(struct zc_share *s)
{
    return atomic_exchange_explicit(&s->busy, 1, memory_order_acquire) == 0;
}

static void give(struct zc_share *s)
{
    atomic_store_explicit(&s->busy, 0, memory_order_release);
}

bool zc_share_due(struct zc_share *s, uint64_t evicted, uint64_t pages)
{
    bool due;

    if (!take(s)) {
        return false;
    }
    due = zc_sub_sat(evicted, s->evicted_before) >= ZC_MAX(pages / INTERVAL_PART, INTERVAL_MIN);
    give(s);
    return due;
}

/* ---- what was measured --------------------------------------------------------------------- */

/* Integer part of the square root. */
static uint64_t root_of(uint64_t x)
{
    uint64_t r = 0;

    for (uint64_t bit = UINT64_C(1) << 31; bit > 0; bit >>= 1) {
        if ((r + bit) * (r + bit) <= x) {
            r += bit;
        }
    }
    return r;
}

static uint64_t mean(uint64_t a, uint64_t b)
{
    return root_of(ZC_MIN(a, UINT32_MAX) * ZC_MIN(b, UINT32_MAX));
}

/* Hits of one page, in parts of 2^20; and sizes and times, of tiers that there are. */
struct measured {
    uint64_t hits[ZCACHE_TIERS];
    uint64_t gone; /* of a page that left, had it stayed */
    uint64_t size[ZCACHE_TIERS];
    uint64_t ns[ZCACHE_TIERS];
    enum zcache_tier last; /* the densest tier that exists */
};

static uint64_t size_of(const struct zc_share_look *l, enum zcache_tier tier)
{
    static const uint64_t usual_percent[ZCACHE_TIERS] = {100, 50, 33};
    uint64_t all = l->pages[0] + l->pages[1] + l->pages[2];

    if (l->pages[tier] >= FEW) {
        return l->bytes[tier] / l->pages[tier] + l->page_bytes;
    }
    return l->raw_bytes / ZC_MAX(all, 1) * usual_percent[tier] / 100 + l->page_bytes;
}

static uint64_t time_of(const struct zc_share_look *l, enum zcache_tier tier)
{
    uint64_t all = l->pages[0] + l->pages[1] + l->pages[2];
    uint64_t length = ZC_MAX(l->raw_bytes / ZC_MAX(all, 1), 1);
    uint64_t usual = ZC_MAX(zc_mul_div(usual_ns[tier], length, USUAL_BYTES), 100);

    return l->get_ns[tier] == 0
               ? usual
               : ZC_MIN(ZC_MAX(l->get_ns[tier], usual / USUAL_TIMES), usual * USUAL_TIMES);
}

static void measure(const struct zc_share *s, const struct zc_share_look *l, struct measured *m)
{
    uint64_t all = l->pages[0] + l->pages[1] + l->pages[2];
    uint64_t denser;

    m->last = ZCACHE_TIER_RAW;
    for (int t = ZCACHE_TIER_RAW; t < ZCACHE_TIERS; t++) {
        m->last = l->exists[t] ? (enum zcache_tier)t : m->last;
        m->size[t] = size_of(l, (enum zcache_tier)t);
        m->ns[t] = time_of(l, (enum zcache_tier)t);
        m->hits[t] = zc_mul_div(s->hits[t], PAGE_UNIT, ZC_MAX(l->pages[t], 1));
    }
    m->gone = zc_mul_div(s->returned, PAGE_UNIT, ZC_MAX(ZC_MIN(l->evicted, all), 1));
    if (!l->knows_returned) {
        m->gone = zc_mul_div(s->hits[0] + s->hits[1] + s->hits[2], PAGE_UNIT, ZC_MAX(all, 1)) / 4;
    }
    /* A tier with hardly any pages is as if the next denser one began there. */
    denser = m->gone;
    for (int t = ZCACHE_TIER_DENSE; t >= ZCACHE_TIER_RAW; t--) {
        if (l->pages[t] < FEW) {
            m->hits[t] = denser;
        }
        denser = m->hits[t];
    }
}

/* ---- the margin ---------------------------------------------------------------------------- */

static enum zcache_tier below(const struct zc_share_look *l, enum zcache_tier tier)
{
    for (int t = (int)tier + 1; t < ZCACHE_TIERS; t++) {
        if (l->exists[t]) {
            return (enum zcache_tier)t;
        }
    }
    return ZCACHE_TIERS;
}

/* What one page more below each boundary from @tier on costs: the tiers between keep their bytes. */
static uint64_t cost_of(const struct zc_share_look *l,
                        const struct measured *m,
                        enum zcache_tier tier)
{
    uint64_t cost = 0;
    enum zcache_tier next;

    while ((next = below(l, tier)) < ZCACHE_TIERS) {
        cost += mean(m->hits[tier], m->hits[next]) * zc_sub_sat(m->ns[next], m->ns[tier]);
        tier = next;
    }
    return cost;
}

static uint64_t benefit_of(const struct zc_share_look *l,
                           const struct measured *m,
                           enum zcache_tier tier)
{
    uint64_t saved = zc_sub_sat(m->size[tier], m->size[m->last]);
    uint64_t last = m->hits[m->last];
    uint64_t hits = ZC_MAX(mean(last, ZC_MAX(m->gone, last / LATE)), m->gone / 2);

    return zc_mul_div(hits * zc_sub_sat(l->miss_ns, m->ns[m->last]), saved, m->size[m->last]);
}

static uint32_t step(uint32_t part, uint64_t more, uint64_t less)
{
    return part / STEP_PART * (more / 4 > less ? 4 : more / 2 > less ? 2 : 1);
}

static void move(struct zc_share *s, enum zcache_tier tier, uint64_t cost, uint64_t benefit)
{
    uint32_t part = zc_share_part(s, tier);
    uint32_t most = ZC_SHARE_MAX;

    if (tier == ZCACHE_TIER_FAST) { /* of what raw leaves */
        most = (ZC_SHARE_ONE - zc_share_part(s, ZCACHE_TIER_RAW)) / STEP_PART * (STEP_PART - 1);
    }
    if (benefit / CLEARLY_MORE > cost / CLEARLY_LESS) {
        part -= step(part, benefit, cost);
    } else if (cost / CLEARLY_MORE > benefit / CLEARLY_LESS) {
        part += step(part, cost, benefit);
    }
    part = ZC_MAX(ZC_MIN(part, most), ZC_SHARE_MIN);
    atomic_store_explicit(&s->part[tier], part, memory_order_relaxed);
}

/* ---- the interval -------------------------------------------------------------------------- */

static void note(uint64_t *sum, uint64_t *before, uint64_t now)
{
    *sum = *sum - *sum / KEEP_PARTS + zc_sub_sat(now, *before);
    *before = now;
}

void zc_share_judge(struct zc_share *s, const struct zc_share_look *look)
{
    struct measured m;
    bool first;

    if (!take(s)) {
        return;
    }
    first = !s->begun;
    s->begun = true;
    s->evicted_before = look->evicted;
    for (int t = 0; t < ZCACHE_TIERS; t++) {
        note(&s->hits[t], &s->hits_before[t], look->hits[t]);
    }
    note(&s->returned, &s->returned_before, look->returned);
    if (first) { /* what is hit while nothing leaves is not to be compared with what comes back */
        s->hits[0] = s->hits[1] = s->hits[2] = s->returned = 0;
    } else {
        measure(s, look, &m);
        for (int t = ZCACHE_TIER_RAW; t < ZCACHE_TIER_DENSE; t++) {
            enum zcache_tier tier = (enum zcache_tier)t;

            if (look->exists[t] && below(look, tier) < ZCACHE_TIERS) {
                move(s, tier, cost_of(look, &m, tier), benefit_of(look, &m, tier));
            }
        }
    }
    give(s);
}
