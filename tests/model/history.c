/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The search keeps the set of all ways in which the history so far can have happened, and goes through
 * the instants in order:
 *
 *     a call begins    it gets a place among the pending; nothing else, but reads that are possible at
 *                      once take effect at once, which loses no way, as they change nothing
 *     a call returns   ways in which it took effect stay; in the others, pending calls take effect in
 *                      every possible order until it does
 *     the store        pending calls may take effect before it, in every order, or after it
 *
 * Two ways that differ only in which older versions may have been claimed are one: either's claims are
 * possible. The number of ways is small, as few calls on one key overlap.
 */
#include "history.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct model_point {
    uint64_t at;
    const struct model_event *event;
    bool is_return;
};

/* Beyond this many ways the search would take too long; no test comes near. */
#define WAYS_MAX 65536u

static _Noreturn void give_up(const char *why)
{
    (void)fprintf(stderr, "model history: %s\n", why);
    abort();
}

static void *grown(void *old, size_t bytes)
{
    void *more = realloc(old, bytes);
    if (more == NULL) {
        give_up("out of memory");
    }
    return more;
}

/* ---- claims -------------------------------------------------------------------------------------- */

/* Versions that were held and then replaced may be in flight, until they are seen to arrive or not. */
static bool claim_add(struct model_way *way, uint32_t version)
{
    unsigned at = 0;

    if (way->any_claim) {
        return false;
    }
    while (at < way->n_claims && way->claim[at] < version) {
        at++;
    }
    if (at < way->n_claims && way->claim[at] == version) {
        return false;
    }
    if (way->n_claims == MODEL_CLAIMS) {
        way->any_claim = true;
        way->n_claims = 0;
        memset(way->claim, 0, sizeof(way->claim));
        return true;
    }
    memmove(&way->claim[at + 1], &way->claim[at], (way->n_claims - at) * sizeof(way->claim[0]));
    way->claim[at] = version;
    way->n_claims++;
    return true;
}

static void claims_clear(struct model_way *way)
{
    way->any_claim = false;
    way->n_claims = 0;
    memset(way->claim, 0, sizeof(way->claim));
}

static bool claims_merge(struct model_way *into, const struct model_way *from)
{
    bool more = false;

    if (from->any_claim && !into->any_claim) {
        claims_clear(into);
        into->any_claim = true;
        return true;
    }
    for (unsigned i = 0; i < from->n_claims; i++) {
        more = claim_add(into, from->claim[i]) || more;
    }
    return more;
}

static bool claimable(const struct model_way *way, uint32_t version)
{
    if (way->any_claim || (way->held == version && !way->loose)) {
        return true;
    }
    for (unsigned i = 0; i < way->n_claims; i++) {
        if (way->claim[i] == version) {
            return true;
        }
    }
    return false;
}

/* ---- the state machine --------------------------------------------------------------------------- */

static bool nothing_held(const struct model_way *way)
{
    return way->held == 0 || way->loose;
}

static void let_go(struct model_way *way)
{
    way->held = 0;
    way->loose = false;
}

static void hold(struct model_way *way, uint32_t version, bool loose)
{
    if (way->flying == 0 && way->held != 0 && !way->loose) {
        (void)claim_add(way, way->held);
    }
    way->held = version;
    way->loose = loose;
}

static bool drop(struct model_way *way, bool possible)
{
    if (!possible || way->flying != 0) {
        return false;
    }
    let_go(way);
    claims_clear(way);
    return true;
}

static bool empty(struct model_way *way, bool possible)
{
    if (!drop(way, possible)) {
        return false;
    }
    way->emptied = true;
    return true;
}

static bool get(struct model_way *way, uint32_t version, uint32_t stored)
{
    if (way->held == version) {
        return true;
    }
    if (!nothing_held(way) || stored != version) {
        return false;
    }
    let_go(way);
    return true;
}

static bool absent(struct model_way *way)
{
    if (!nothing_held(way)) {
        return false;
    }
    let_go(way);
    return true;
}

static bool take(struct model_way *way, uint32_t version, uint32_t stored)
{
    const bool here = way->loose && way->held == version;

    return drop(way, here || (nothing_held(way) && stored == version));
}

/* Let a call take effect now.  False: it cannot. */
static bool apply(struct model_way *way, const struct model_event *event, uint32_t in_store)
{
    const uint32_t version = event->version;
    const uint32_t stored = way->emptied ? 0 : in_store;

    switch ((enum model_op)event->op) {
    case MODEL_PUT:
        hold(way, version, false);
        return true;
    case MODEL_PUT_ABSENT:
        if (!nothing_held(way)) {
            return false;
        }
        hold(way, version, false);
        return true;
    case MODEL_PUT_CLEAN:
        hold(way, version, true);
        return true;
    case MODEL_DROP:
    case MODEL_DROP_MAYBE:
        return drop(way, true);
    case MODEL_DROP_ABSENT:
        return drop(way, nothing_held(way));
    case MODEL_REMOVE:
        return empty(way, true);
    case MODEL_REMOVE_ABSENT:
        return empty(way, nothing_held(way));
    case MODEL_TAKE:
        return take(way, version, stored);
    case MODEL_TAKE_UNWRITTEN:
        return drop(way, way->held == version && !way->loose);
    case MODEL_GET:
        return get(way, version, stored);
    case MODEL_MISS:
        return stored == 0 && absent(way);
    case MODEL_ABSENT:
        return absent(way);
    case MODEL_PRESENT:
        return way->held != 0 || stored != 0;
    case MODEL_FLUSHED:
        return nothing_held(way);
    default:
        return false;
    }
}

/* Calls that change nothing where they are possible, unless the held version is loose. */
static bool reads_only(const struct model_event *event)
{
    switch ((enum model_op)event->op) {
    case MODEL_GET:
    case MODEL_MISS:
    case MODEL_ABSENT:
    case MODEL_PRESENT:
    case MODEL_FLUSHED:
        return true;
    default:
        return false;
    }
}

/* ---- sets of ways -------------------------------------------------------------------------------- */

/* Reads that are possible take effect. */
static void settle_reads(const struct model_checker *c, struct model_way *way)
{
    for (unsigned place = 0; place < MODEL_PENDING_MAX; place++) {
        const uint32_t bit = UINT32_C(1) << place;
        const struct model_event *event;

        if (bit > c->used) {
            break;
        }
        event = c->pending[place];
        if ((c->used & bit) == 0 || (way->done & bit) != 0 || !reads_only(event)) {
            continue;
        }
        struct model_way after = *way;
        if (apply(&after, event, c->stored) && after.held == way->held) {
            way->done |= bit;
        }
    }
}

static bool same_but_claims(const struct model_way *a, const struct model_way *b)
{
    return a->held == b->held && a->flying == b->flying && a->done == b->done &&
           a->loose == b->loose && a->emptied == b->emptied;
}

/* Whether that changed the set. */
static bool add_way(struct model_checker *c, const struct model_way *way)
{
    for (unsigned i = 0; i < c->n; i++) {
        if (same_but_claims(&c->ways[i], way)) {
            return claims_merge(&c->ways[i], way);
        }
    }
    if (c->n == WAYS_MAX) {
        give_up("too many ways");
    }
    if (c->n == c->cap) {
        c->cap = c->cap == 0 ? 64 : c->cap * 2;
        c->ways = grown(c->ways, c->cap * sizeof(*c->ways));
    }
    c->ways[c->n++] = *way;
    c->ways_peak = c->n > c->ways_peak ? c->n : c->ways_peak;
    return true;
}

/* Adds all ways in which pending calls take effect now; from ways that have @until, nothing follows. */
static void expand(struct model_checker *c, uint32_t until)
{
    bool changed = c->used != 0;

    while (changed) {
        changed = false;
        for (unsigned i = 0; i < c->n; i++) {
            if ((c->ways[i].done & until) != 0) {
                continue;
            }
            for (unsigned place = 0; place < MODEL_PENDING_MAX; place++) {
                const uint32_t bit = UINT32_C(1) << place;
                struct model_way way = c->ways[i];

                if (bit > c->used) {
                    break;
                }
                if ((c->used & bit) == 0 || (way.done & bit) != 0 ||
                    !apply(&way, c->pending[place], c->stored)) {
                    continue;
                }
                way.done |= bit;
                settle_reads(c, &way);
                changed = add_way(c, &way) || changed;
            }
        }
    }
}

/* Refills the set from the ways that @keep wants, which may change them. */
static bool filter(struct model_checker *c,
                   bool (*keep)(struct model_checker *c, struct model_way *way, uint32_t arg),
                   uint32_t arg)
{
    const unsigned n = c->n;

    if (c->spare_cap < n) {
        c->spare_cap = c->cap;
        c->spare = grown(c->spare, c->spare_cap * sizeof(*c->spare));
    }
    memcpy(c->spare, c->ways, n * sizeof(*c->ways));
    c->n = 0;
    for (unsigned i = 0; i < n; i++) {
        struct model_way way = c->spare[i];
        if (keep(c, &way, arg)) {
            settle_reads(c, &way);
            (void)add_way(c, &way);
        }
    }
    return c->n > 0;
}

static bool keep_stored(struct model_checker *c, struct model_way *way, uint32_t unused)
{
    (void)c;
    (void)unused;
    way->emptied = false; /* what the store has now came, or went, after the delete */
    return true;
}

static bool keep_done(struct model_checker *c, struct model_way *way, uint32_t bit)
{
    (void)c;
    const bool done = (way->done & bit) != 0;
    way->done &= ~bit;
    return done;
}

static bool keep_any(struct model_checker *c, struct model_way *way, uint32_t bit)
{
    (void)c;
    way->done &= ~bit;
    return true;
}

static bool keep_claimed(struct model_checker *c, struct model_way *way, uint32_t version)
{
    (void)c;
    if (way->flying != 0 || !claimable(way, version)) {
        return false;
    }
    way->flying = version;
    claims_clear(way);
    return true;
}

static bool keep_flying(struct model_checker *c, struct model_way *way, uint32_t version)
{
    (void)c;
    const bool was = way->flying == version;
    way->flying = 0;
    return was;
}

static bool keep_written(struct model_checker *c, struct model_way *way, uint32_t version)
{
    if (way->held == version && !way->loose) {
        let_go(way);
    }
    return keep_flying(c, way, version);
}

/* ---- steps ---------------------------------------------------------------------------------------- */

static bool begin(struct model_checker *c, const struct model_event *event)
{
    unsigned place = 0;

    while (place < MODEL_PENDING_MAX && (c->used & UINT32_C(1) << place) != 0) {
        place++;
    }
    if (place == MODEL_PENDING_MAX) {
        give_up("too many calls at one time");
    }
    c->used |= UINT32_C(1) << place;
    c->pending[place] = event;
    if (reads_only(event)) {
        for (unsigned i = 0; i < c->n; i++) {
            settle_reads(c, &c->ways[i]);
        }
    }
    return true;
}

static bool finish(struct model_checker *c, const struct model_event *event)
{
    unsigned place = 0;

    while (c->pending[place] != event || (c->used & UINT32_C(1) << place) == 0) {
        place++;
    }
    const uint32_t bit = UINT32_C(1) << place;
    expand(c, bit);
    c->used &= ~bit;
    return filter(c, event->op == MODEL_DROP_MAYBE ? keep_any : keep_done, bit);
}

static bool step(struct model_checker *c, const struct model_point *point)
{
    const struct model_event *event = point->event;

    switch ((enum model_op)event->op) {
    case MODEL_ARRIVED:
        expand(c, 0);
        return filter(c, keep_claimed, event->version);
    case MODEL_STORED:
        expand(c, 0);
        c->stored = event->version;
        return filter(c, keep_stored, 0);
    case MODEL_WRITTEN:
        return filter(c, keep_written, event->version);
    case MODEL_REFUSED:
        return filter(c, keep_flying, event->version);
    default:
        return point->is_return ? finish(c, event) : begin(c, event);
    }
}

/* ---- histories ------------------------------------------------------------------------------------ */

void model_history_init(struct model_history *history)
{
    *history = (struct model_history){.n = 1, .cap = 1};
    history->ways = grown(NULL, sizeof(*history->ways));
    history->ways[0] = (struct model_way){0};
}

void model_history_fini(struct model_history *history)
{
    free(history->ways);
    *history = (struct model_history){0};
}

void model_checker_fini(struct model_checker *checker)
{
    free(checker->ways);
    free(checker->spare);
    free(checker->points);
    *checker = (struct model_checker){0};
}

static int compare_points(const void *a, const void *b)
{
    const uint64_t x = ((const struct model_point *)a)->at;
    const uint64_t y = ((const struct model_point *)b)->at;

    return x < y ? -1 : x > y;
}

static void sort_points(struct model_checker *c, const struct model_event *events, size_t n)
{
    if (c->points_cap < 2 * n) {
        c->points_cap = 4 * n;
        c->points = grown(c->points, c->points_cap * sizeof(*c->points));
    }
    c->n_points = 0;
    for (size_t i = 0; i < n; i++) {
        const struct model_event *event = &events[i];
        c->points[c->n_points++] = (struct model_point){event->call, event, false};
        if (event->ret != event->call) {
            c->points[c->n_points++] = (struct model_point){event->ret, event, true};
        }
    }
    if (c->n_points > 0) {
        qsort(c->points, c->n_points, sizeof(c->points[0]), compare_points);
    }
}

bool model_history_run(struct model_checker *checker,
                       struct model_history *history,
                       const struct model_event *events,
                       size_t n,
                       const struct model_event **bad_out)
{
    struct model_checker *c = checker;

    sort_points(c, events, n);
    c->n = 0;
    c->used = 0;
    c->stored = history->stored;
    for (unsigned i = 0; i < history->n; i++) {
        (void)add_way(c, &history->ways[i]);
    }
    for (size_t i = 0; i < c->n_points; i++) {
        if (!step(c, &c->points[i])) {
            *bad_out = c->points[i].event;
            return false;
        }
    }
    if (c->used != 0) {
        give_up("a call has not returned");
    }
    if (history->cap < c->n) {
        history->cap = c->n;
        history->ways = grown(history->ways, history->cap * sizeof(*history->ways));
    }
    memcpy(history->ways, c->ways, c->n * sizeof(*c->ways));
    history->n = c->n;
    history->stored = c->stored;
    return true;
}

bool model_history_value(const struct model_history *history, uint32_t *value_out)
{
    for (unsigned i = 0; i < history->n; i++) {
        const struct model_way *way = &history->ways[i];
        const uint32_t stored = way->emptied ? 0 : history->stored;
        const uint32_t value = way->held != 0 ? way->held : stored;

        if (way->loose || (i > 0 && value != *value_out)) {
            return false;
        }
        *value_out = value;
    }
    return true;
}

/* ---- printing ------------------------------------------------------------------------------------- */

static const char *name_of(unsigned op)
{
    static const char *const names[] = {
        [MODEL_PUT] = "put",
        [MODEL_PUT_ABSENT] = "put if absent",
        [MODEL_PUT_CLEAN] = "put clean",
        [MODEL_DROP] = "drop",
        [MODEL_DROP_ABSENT] = "drop, not cached",
        [MODEL_DROP_MAYBE] = "drop, maybe",
        [MODEL_REMOVE] = "remove",
        [MODEL_REMOVE_ABSENT] = "remove, not cached",
        [MODEL_TAKE] = "take",
        [MODEL_TAKE_UNWRITTEN] = "take, unwritten",
        [MODEL_GET] = "get",
        [MODEL_MISS] = "miss",
        [MODEL_ABSENT] = "not cached",
        [MODEL_PRESENT] = "present",
        [MODEL_FLUSHED] = "flushed",
        [MODEL_ARRIVED] = "store: write arrives",
        [MODEL_STORED] = "store: has",
        [MODEL_WRITTEN] = "store: write done",
        [MODEL_REFUSED] = "store: write refused",
    };

    return op < sizeof(names) / sizeof(names[0]) ? names[op] : "?";
}

static int compare_calls(const void *a, const void *b)
{
    const uint64_t x = ((const struct model_event *)a)->call;
    const uint64_t y = ((const struct model_event *)b)->call;

    return x < y ? -1 : x > y;
}

void model_history_print(FILE *to,
                         const struct model_history *history,
                         const struct model_event *events,
                         size_t n,
                         const struct model_event *bad)
{
    struct model_event *sorted = grown(NULL, (n + 1) * sizeof(*sorted));
    const uint64_t bad_call = bad != NULL ? bad->call : UINT64_MAX;

    (void)fprintf(to, "before: stored %" PRIu32 "\n", history->stored);
    for (unsigned i = 0; i < history->n; i++) {
        const struct model_way *way = &history->ways[i];
        (void)fprintf(to, "    or: held %" PRIu32 "%s, claimed", way->held,
                      way->loose     ? " (loose)"
                      : way->emptied ? " (emptied)"
                                     : "");
        for (unsigned k = 0; k < way->n_claims; k++) {
            (void)fprintf(to, " %" PRIu32, way->claim[k]);
        }
        (void)fprintf(to, "%s, flying %" PRIu32 "\n", way->any_claim ? " any" : "", way->flying);
    }
    memcpy(sorted, events, n * sizeof(*sorted));
    qsort(sorted, n, sizeof(*sorted), compare_calls);
    for (size_t i = 0; i < n; i++) {
        const struct model_event *event = &sorted[i];
        (void)fprintf(to, "%s %8" PRIu64 " .. %8" PRIu64 "  thread %2u  %-20s %" PRIu32 "\n",
                      event->call == bad_call ? "=>" : "  ", event->call, event->ret, event->thread,
                      name_of(event->op), event->version);
    }
    free(sorted);
}
