/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lru.c - the lists of one tenant on one node.
 *
 *               oldest                              newest
 *     new   raw    [ e ] ................. [ e ]  <- put, loaded
 *           fast   [ e ] ...... [ e ]             <- demoted from raw; evicted from its oldest end
 *     main  raw    [ e ] [ e ] [ e ] ..... [ e ]  <- from new after two uses; put again soon after an
 *                                                    eviction from new; promoted
 *           fast   [ e ] [ e ] ...... [ e ]       <- demoted from raw
 *           dense  [ e ] [ e ] [ e ]              <- demoted from fast; evicted from its oldest end
 *     scan  raw    [ e ] [ e ]                    <- put or loaded by a scan; evicted first
 *
 * This is S3-FIFO (Yang et al., FIFO Queues are All You Need for Cache Eviction, SOSP 2023) laid over
 * tiers: a page that is used once passes through probation, the new queue, which is small, and leaves
 * without having pushed anything out of the main one.  A use only counts up entry.referenced, to 3.  A
 * page at the oldest end of a main list that was used goes to its newest end for one of its uses.
 *
 * With plain LRU new pages go to the main queue, and there any number of uses is one second chance.
 *
 * Reclaim takes a batch off the oldest end under one lock hold (isolates it), works on it without the
 * lock, and puts back what stays.
 *
 * Locks: the list lock, below a shard lock.  One counter per list, changed only with the list.
 *
 * Invariants: an entry is LISTED on the list of its queue and tier, or ISOLATED with a reference of its
 * own, or LOADING (neither), or GONE; sum[] and pages[] count an entry by its where, listed or
 * isolated.
 *
 * Not taken: moving a page at each hit (a lock and three shared lines); rotating a batch in place
 * instead of isolating it (two reclaimers would hand the same page to the store).
 */
#include "lru.h"

#include "check.h"
#include "mathx.h"

#define HOLD_PAGES 512u /* pages looked at under one lock hold */
#define NEW_USES   2u   /* that take a page from probation to the main queue */

void zc_lru_init(struct zc_lru *lru)
{
    zc_lock_init(&lru->lock, ZC_RANK_list);
    lru->ghost = NULL;
    for (unsigned i = 0; i < ZC_LISTS; i++) {
        zc_list_init(&lru->list[i]);
        lru->n_listed[i] = lru->pages[i] = 0;
    }
    for (int t = 0; t < ZCACHE_TIERS; t++) {
        lru->sum[t] = (struct zc_tier_sum){0};
        lru->unshrunk[t] = (struct zc_tier_sum){0};
    }
    lru->n_isolated = 0;
    lru->full_eighths = lru->raw_spared = 0;
}

void zc_lru_use_probation(struct zc_lru *lru, const struct zc_ghost *ghost)
{
    lru->ghost = ghost;
    lru->full_eighths = 0;
}

void zc_lru_fini(struct zc_lru *lru)
{
    zc_lock_fini(&lru->lock);
}

static void where_set(struct zc_entry *e, unsigned clear, unsigned set)
{
    unsigned w = atomic_load_explicit(&e->where, memory_order_relaxed);

    atomic_store_explicit(&e->where, (uint8_t)((w & ~clear) | set), memory_order_relaxed);
}

static bool where_is(const struct zc_entry *e, unsigned bit)
{
    return (atomic_load_explicit(&e->where, memory_order_relaxed) & bit) != 0;
}

static void add(struct zc_tier_sum *sum, struct zc_sizes s)
{
    sum->pages++;
    sum->raw_bytes += s.raw;
    sum->stored_bytes += s.stored;
    sum->allocated_bytes += s.allocated;
}

static void sub(struct zc_tier_sum *sum, struct zc_sizes s)
{
    ZC_DEBUG_ASSERT(sum->pages > 0 && sum->allocated_bytes >= s.allocated);
    sum->pages--;
    sum->raw_bytes -= s.raw;
    sum->stored_bytes -= s.stored;
    sum->allocated_bytes -= s.allocated;
}

static unsigned list_of(const struct zc_entry *e)
{
    return zc_lru_list(zc_lru_queue(e), zc_entry_tier(e));
}

/* Both by the entry's where, as it is. */
static void count_in(struct zc_lru *lru, const struct zc_entry *e, struct zc_sizes s)
{
    enum zcache_tier tier = zc_entry_tier(e);

    add(&lru->sum[tier], s);
    if (s.raw_form) {
        add(&lru->unshrunk[tier], s);
    }
    lru->pages[list_of(e)]++;
}

static void count_out(struct zc_lru *lru, const struct zc_entry *e, struct zc_sizes s)
{
    enum zcache_tier tier = zc_entry_tier(e);

    sub(&lru->sum[tier], s);
    if (s.raw_form) {
        sub(&lru->unshrunk[tier], s);
    }
    ZC_DEBUG_ASSERT(lru->pages[list_of(e)] > 0);
    lru->pages[list_of(e)]--;
}

static void where_place(struct zc_entry *e, enum zc_queue queue, enum zcache_tier tier)
{
    static const unsigned bit[] = {
        [ZC_QUEUE_MAIN] = 0, [ZC_QUEUE_SCAN] = ZC_W_SCAN, [ZC_QUEUE_NEW] = ZC_W_NEW};

    where_set(e, ZC_W_TIER | ZC_W_SCAN | ZC_W_NEW, (unsigned)tier | bit[queue]);
}

static void link_locked(struct zc_lru *lru, struct zc_entry *e, bool newest)
{
    unsigned list = list_of(e);

    if (newest) {
        zc_list_push_back(&lru->list[list], &e->lru);
    } else {
        zc_list_push_front(&lru->list[list], &e->lru);
    }
    where_set(e, 0, ZC_W_LISTED);
    lru->n_listed[list]++;
}

static void unlink_locked(struct zc_lru *lru, struct zc_entry *e)
{
    zc_list_del(&e->lru);
    where_set(e, ZC_W_LISTED, 0);
    lru->n_listed[list_of(e)]--;
}

/*
 * Changes queue, tier and sizes; a listed page is relinked, an isolated one is linked when it is put
 * back.
 */
static void move_locked(struct zc_lru *lru,
                        struct zc_entry *e,
                        unsigned list,
                        struct zc_sizes old,
                        struct zc_sizes sizes,
                        bool newest)
{
    bool listed = where_is(e, ZC_W_LISTED);

    count_out(lru, e, old);
    if (listed) {
        unlink_locked(lru, e);
    }
    where_place(e, zc_lru_queue_of(list), zc_lru_tier_of(list));
    if (listed) {
        link_locked(lru, e, newest);
    }
    count_in(lru, e, sizes);
}

/* ---- probation ----------------------------------------------------------------------------- */

/*
 * A listed page to the newest end of the same tier's list in another queue.  Its sizes need not be known
 * for it, and cannot be looked at here: only the shard lock keeps the payload in place.
 */
static void change_queue_locked(struct zc_lru *lru, struct zc_entry *e, enum zc_queue queue)
{
    lru->pages[list_of(e)]--;
    unlink_locked(lru, e);
    where_place(e, queue, zc_entry_tier(e));
    link_locked(lru, e, true);
    lru->pages[list_of(e)]++;
}

/* As that, of a page that may be isolated: then it is linked there when it is put back. */
static void change_queue_of_any_locked(struct zc_lru *lru, struct zc_entry *e, enum zc_queue queue)
{
    if (where_is(e, ZC_W_LISTED)) {
        change_queue_locked(lru, e, queue);
        return;
    }
    lru->pages[list_of(e)]--;
    where_place(e, queue, zc_entry_tier(e));
    lru->pages[list_of(e)]++;
}

static uint64_t excess_of(const struct zc_lru *lru, const uint64_t pages[ZC_LISTS])
{
    uint64_t total = 0;
    uint64_t on_probation = 0;

    for (unsigned i = 0; i < ZC_LISTS; i++) {
        total += pages[i];
        on_probation += zc_lru_queue_of(i) == ZC_QUEUE_NEW ? pages[i] : 0;
    }
    if (lru->ghost == NULL || on_probation == 0) {
        return on_probation;
    }
    return zc_sub_sat(on_probation, zc_mul_div(total, zc_ghost_share(lru->ghost), ZC_GHOST_ONE));
}

uint64_t zc_lru_probation_excess(const struct zc_lru *lru, const struct zc_lru_view *view)
{
    return excess_of(lru, view->pages);
}

static uint64_t total_pages(const struct zc_lru *lru)
{
    uint64_t n = 0;

    for (int t = 0; t < ZCACHE_TIERS; t++) {
        n += lru->sum[t].pages;
    }
    return n;
}

static struct zc_entry *oldest_new_locked(const struct zc_lru *lru)
{
    for (int t = ZCACHE_TIER_DENSE; t >= ZCACHE_TIER_RAW; t--) {
        const struct zc_list *head = &lru->list[zc_lru_list(ZC_QUEUE_NEW, (enum zcache_tier)t)];

        if (!zc_list_empty(head)) {
            return ZC_CONTAINER_OF(zc_list_next(head), struct zc_entry, lru);
        }
    }
    return NULL;
}

/*
 * Whether there are more pages than when some had to leave, or none ever had to: then there is room for
 * them.  A sixteenth more, since their number goes up and down a little as it is.
 */
static bool has_room(const struct zc_lru *lru)
{
    return 8 * total_pages(lru) > lru->full_eighths + lru->full_eighths / 16;
}

/*
 * Pages leave many at a time, and come back one by one: what counts is how many there were at the
 * beginning of that.  If it begins at fewer now, each page that leaves takes an eighth off.
 */
static void note_full_locked(struct zc_lru *lru, unsigned n_leaving)
{
    lru->full_eighths = ZC_MAX(8 * total_pages(lru), zc_sub_sat(lru->full_eighths, n_leaving));
}

static void overflow_locked(struct zc_lru *lru)
{
    struct zc_entry *e;

    if (lru->ghost == NULL || !has_room(lru) || excess_of(lru, lru->pages) == 0) {
        return;
    }
    e = oldest_new_locked(lru);
    if (e != NULL) {
        change_queue_locked(lru, e, ZC_QUEUE_MAIN);
    }
}

/* ---- changes of one page ------------------------------------------------------------------- */

void zc_lru_insert(struct zc_lru *lru,
                   struct zc_entry *e,
                   enum zcache_tier tier,
                   struct zc_sizes sizes,
                   enum zc_queue queue,
                   bool room)
{
    zc_lock_acquire(&lru->lock);
    ZC_DEBUG_ASSERT(!where_is(e, ZC_W_LISTED | ZC_W_ISOLATED | ZC_W_GONE));
    where_place(e, queue, tier);
    count_in(lru, e, sizes);
    link_locked(lru, e, true);
    if (queue == ZC_QUEUE_NEW && room) {
        overflow_locked(lru);
    }
    zc_lock_release(&lru->lock);
}

void zc_lru_insert_oldest(struct zc_lru *lru,
                          struct zc_entry *e,
                          enum zcache_tier tier,
                          struct zc_sizes sizes,
                          enum zc_queue queue)
{
    zc_lock_acquire(&lru->lock);
    where_place(e, queue, tier);
    count_in(lru, e, sizes);
    link_locked(lru, e, false);
    zc_lock_release(&lru->lock);
}

static bool same_sizes(struct zc_sizes a, struct zc_sizes b)
{
    return a.raw == b.raw && a.stored == b.stored && a.allocated == b.allocated &&
           a.raw_form == b.raw_form;
}

/* Where a page belongs that was scanned before, now that it is used. */
static enum zc_queue queue_of_used(const struct zc_lru *lru)
{
    return lru->ghost != NULL ? ZC_QUEUE_NEW : ZC_QUEUE_MAIN;
}

void zc_lru_replace(struct zc_lru *lru,
                    struct zc_entry *e,
                    enum zcache_tier tier,
                    struct zc_sizes old,
                    struct zc_sizes sizes,
                    bool scan)
{
    enum zc_queue queue;

    /* The tier changes under the shard lock too, so it can be looked at here, and that a page is of a
     * scan can only come to an end meanwhile.  In place, and marked as used, is as good as newest, and
     * touches neither lock nor neighbours. */
    if (zc_entry_tier(e) == tier && same_sizes(old, sizes) &&
        (scan || zc_lru_queue(e) != ZC_QUEUE_SCAN)) {
        if (!scan) {
            (void)zc_entry_use(e, false);
        }
        return;
    }
    zc_lock_acquire(&lru->lock);
    queue = zc_lru_queue(e);
    if (scan) {
        move_locked(lru, e, zc_lru_list(queue, tier), old, sizes, false);
    } else {
        queue = queue == ZC_QUEUE_SCAN ? queue_of_used(lru) : queue;
        (void)zc_entry_use(e, false);
        move_locked(lru, e, zc_lru_list(queue, tier), old, sizes, true);
    }
    zc_lock_release(&lru->lock);
}

/* Through with probation after enough uses; a scanned page on which somebody decides otherwise begins it. */
static enum zc_queue queue_of_promoted(const struct zc_lru *lru, const struct zc_entry *e)
{
    switch (zc_lru_queue(e)) {
    case ZC_QUEUE_SCAN:
        return queue_of_used(lru);
    case ZC_QUEUE_NEW:
        return zc_entry_uses(e) >= NEW_USES ? ZC_QUEUE_MAIN : ZC_QUEUE_NEW;
    default:
        return ZC_QUEUE_MAIN;
    }
}

void zc_lru_retier(struct zc_lru *lru,
                   struct zc_entry *e,
                   enum zcache_tier tier,
                   struct zc_sizes old,
                   struct zc_sizes sizes)
{
    enum zc_queue queue;

    if (zc_entry_tier(e) == tier && same_sizes(old, sizes)) {
        return; /* it was only moved in memory */
    }
    zc_lock_acquire(&lru->lock);
    queue = zc_lru_queue(e);
    if (tier == ZCACHE_TIER_RAW) {
        queue = queue_of_promoted(lru, e);
        zc_entry_set_uses(e, 0);
    }
    move_locked(lru, e, zc_lru_list(queue, tier), old, sizes, true);
    zc_lock_release(&lru->lock);
}

void zc_lru_advise(struct zc_lru *lru, struct zc_entry *e, bool wanted)
{
    if (wanted) {
        (void)zc_entry_use(e, false);
        if (zc_lru_queue(e) != ZC_QUEUE_SCAN) {
            return; /* only the shard lock, which the caller has, lets it become spare */
        }
    }
    zc_lock_acquire(&lru->lock);
    if (!wanted) {
        zc_entry_set_uses(e, 0);
    }
    if (wanted != (zc_lru_queue(e) != ZC_QUEUE_SCAN)) {
        change_queue_of_any_locked(lru, e, wanted ? ZC_QUEUE_MAIN : ZC_QUEUE_SCAN);
    }
    zc_lock_release(&lru->lock);
}

/* References are taken under the list lock, or under the shard lock, which the caller has. */
static bool is_ours_locked(const struct zc_entry *e)
{
    return where_is(e, ZC_W_LISTED) && atomic_load_explicit(&e->refs, memory_order_acquire) == 1;
}

bool zc_lru_leave(struct zc_lru *lru, struct zc_entry *e, struct zc_sizes sizes)
{
    bool ours;

    zc_lock_acquire(&lru->lock);
    ours = is_ours_locked(e);
    if (ours) {
        count_out(lru, e, sizes);
        unlink_locked(lru, e);
        where_set(e, 0, ZC_W_GONE);
    }
    zc_lock_release(&lru->lock);
    return ours;
}

bool zc_lru_move_record(struct zc_lru *lru, struct zc_entry *e, struct zc_entry *fresh)
{
    bool ours;

    zc_lock_acquire(&lru->lock);
    ours = is_ours_locked(e);
    if (ours) {
        atomic_store_explicit(&fresh->where, atomic_load_explicit(&e->where, memory_order_relaxed),
                              memory_order_relaxed);
        zc_list_push_front(&e->lru, &fresh->lru); /* right behind it */
        zc_list_del(&e->lru);
        where_set(e, ZC_W_LISTED, ZC_W_GONE);
    }
    zc_lock_release(&lru->lock);
    return ours;
}

void zc_lru_remove(struct zc_lru *lru, struct zc_entry *e, struct zc_sizes sizes)
{
    zc_lock_acquire(&lru->lock);
    count_out(lru, e, sizes);
    if (where_is(e, ZC_W_LISTED)) {
        unlink_locked(lru, e);
    }
    where_set(e, 0, ZC_W_GONE);
    zc_lock_release(&lru->lock);
}

/* Whether the page stays, with a mark less, instead of going to the caller. */
static bool is_spared_locked(struct zc_lru *lru, struct zc_entry *e, unsigned mode)
{
    unsigned uses = zc_entry_uses(e);

    if (zc_lru_queue(e) == ZC_QUEUE_NEW && uses < NEW_USES) {
        if ((mode & ZC_ISOLATE_EVICT) != 0) {
            zc_entry_set_uses(e, 0); /* the next one will be seen */
        }
        return false;
    }
    if (uses == 0) {
        return false;
    }
    lru->raw_spared += zc_entry_tier(e) == ZCACHE_TIER_RAW ? 1 : 0;
    switch (zc_lru_queue(e)) {
    case ZC_QUEUE_NEW:
        zc_entry_set_uses(e, 0);
        change_queue_locked(lru, e, ZC_QUEUE_MAIN);
        break;
    case ZC_QUEUE_SCAN:
        zc_entry_set_uses(e, 0);
        change_queue_locked(lru, e, queue_of_used(lru));
        break;
    default:
        zc_entry_set_uses(e, lru->ghost != NULL ? uses - 1 : 0);
        zc_list_del(&e->lru);
        zc_list_push_back(&lru->list[list_of(e)], &e->lru);
        break;
    }
    return true;
}

static bool passes_by_locked(struct zc_lru *lru, struct zc_entry *e, unsigned mode)
{
    if ((mode & ZC_ISOLATE_DIRTY) != 0) {
        if (zc_entry_has(e, ZC_F_DIRTY)) {
            return false;
        }
        zc_list_del(&e->lru);
        zc_list_push_back(&lru->list[list_of(e)], &e->lru);
        return true;
    }
    return (mode & ZC_ISOLATE_CHANCE) != 0 && is_spared_locked(lru, e, mode);
}

unsigned zc_lru_isolate(struct zc_lru *lru,
                        unsigned list,
                        unsigned mode,
                        uint64_t *budget,
                        struct zc_entry **out,
                        unsigned max)
{
    struct zc_list *head = &lru->list[list];
    unsigned looked = 0;
    unsigned n = 0;

    zc_lock_acquire(&lru->lock);
    while (n < max && looked < HOLD_PAGES && (*budget) > 0) {
        struct zc_list *end =
            (mode & ZC_ISOLATE_NEWEST) != 0 ? zc_list_prev(head) : zc_list_next(head);
        struct zc_entry *e = ZC_CONTAINER_OF(end, struct zc_entry, lru);

        if (zc_list_empty(head)) {
            *budget = 0;
            break;
        }
        looked++;
        --*budget;
        if (passes_by_locked(lru, e, mode)) {
            continue;
        }
        /* On the list, so not yet removed: the index's reference is still there. */
        unlink_locked(lru, e);
        where_set(e, 0, ZC_W_ISOLATED);
        zc_entry_ref(e);
        lru->n_isolated++;
        out[n++] = e;
    }
    if ((mode & ZC_ISOLATE_EVICT) != 0) {
        note_full_locked(lru, n);
    }
    zc_lock_release(&lru->lock);
    return n;
}

void zc_lru_putback(struct zc_lru *lru, struct zc_entry *e, bool newest)
{
    zc_lock_acquire(&lru->lock);
    ZC_DEBUG_ASSERT(where_is(e, ZC_W_ISOLATED));
    where_set(e, ZC_W_ISOLATED, 0);
    lru->n_isolated--;
    if (!where_is(e, ZC_W_GONE)) {
        link_locked(lru, e, newest);
    }
    zc_lock_release(&lru->lock);
}

uint64_t zc_lru_length(struct zc_lru *lru, unsigned list)
{
    uint64_t n;

    zc_lock_acquire(&lru->lock);
    n = lru->n_listed[list];
    zc_lock_release(&lru->lock);
    return n;
}

void zc_lru_lengths(struct zc_lru *lru, uint64_t out[ZC_LISTS])
{
    zc_lock_acquire(&lru->lock);
    for (unsigned i = 0; i < ZC_LISTS; i++) {
        out[i] = lru->n_listed[i];
    }
    zc_lock_release(&lru->lock);
}

void zc_lru_view(struct zc_lru *lru, struct zc_lru_view *out)
{
    zc_lock_acquire(&lru->lock);
    for (int t = 0; t < ZCACHE_TIERS; t++) {
        out->tier[t] = lru->sum[t];
    }
    for (unsigned i = 0; i < ZC_LISTS; i++) {
        out->pages[i] = lru->pages[i];
    }
    out->isolated = lru->n_isolated;
    zc_lock_release(&lru->lock);
}

void zc_lru_sums(struct zc_lru *lru, struct zc_tier_sum out[ZCACHE_TIERS], uint64_t *isolated_out)
{
    zc_lock_acquire(&lru->lock);
    for (int t = 0; t < ZCACHE_TIERS; t++) {
        out[t] = lru->sum[t];
    }
    if (isolated_out != NULL) {
        *isolated_out = lru->n_isolated;
    }
    zc_lock_release(&lru->lock);
}

static void move_sum(struct zc_tier_sum *to, struct zc_tier_sum *from, const struct zc_tier_sum *x)
{
    to->pages += x->pages;
    to->raw_bytes += x->raw_bytes;
    to->stored_bytes += x->stored_bytes;
    to->allocated_bytes += x->allocated_bytes;
    from->pages -= x->pages;
    from->raw_bytes -= x->raw_bytes;
    from->stored_bytes -= x->stored_bytes;
    from->allocated_bytes -= x->allocated_bytes;
}

void zc_lru_forms(struct zc_lru *lru, struct zc_tier_sum out[ZCACHE_TIERS])
{
    zc_lock_acquire(&lru->lock);
    for (int t = 0; t < ZCACHE_TIERS; t++) {
        out[t] = lru->sum[t];
    }
    for (int t = ZCACHE_TIER_FAST; t < ZCACHE_TIERS; t++) {
        move_sum(&out[ZCACHE_TIER_RAW], &out[t], &lru->unshrunk[t]);
    }
    zc_lock_release(&lru->lock);
}

uint64_t zc_lru_raw_spared(struct zc_lru *lru)
{
    uint64_t n;

    zc_lock_acquire(&lru->lock);
    n = lru->raw_spared;
    zc_lock_release(&lru->lock);
    return n;
}

static const char *verify_list_locked(struct zc_lru *lru, unsigned list)
{
    const char *wrong = NULL;
    struct zc_list *it;
    uint64_t n = 0;

    ZC_LIST_FOR_EACH (it, &lru->list[list]) {
        struct zc_entry *e = ZC_CONTAINER_OF(it, struct zc_entry, lru);

        n++;
        if (list_of(e) != list || !where_is(e, ZC_W_LISTED) ||
            where_is(e, ZC_W_ISOLATED | ZC_W_GONE)) {
            wrong = "an entry is on the wrong list";
        }
    }
    return n != lru->n_listed[list] ? "a list's length is not its count" : wrong;
}

const char *zc_lru_verify(struct zc_lru *lru)
{
    const char *wrong = NULL;
    uint64_t listed = 0;
    uint64_t pages = 0;

    zc_lock_acquire(&lru->lock);
    for (unsigned i = 0; i < ZC_LISTS && wrong == NULL; i++) {
        wrong = verify_list_locked(lru, i);
        listed += lru->n_listed[i];
        pages += lru->pages[i];
        if (wrong == NULL && lru->pages[i] < lru->n_listed[i]) {
            wrong = "a list is longer than what belongs on it";
        }
    }
    if (wrong == NULL && (pages != total_pages(lru) || pages > listed + lru->n_isolated)) {
        wrong = "the lists' pages are not the tiers'";
    }
    zc_lock_release(&lru->lock);
    return wrong;
}
