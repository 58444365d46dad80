/* SPDX-License-Identifier: BSD-2-Clause */
#include "ops.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <zcache/codec.h>

enum {
    MANY_MAX = 6,
    PICK_HOT = 24 /* keys that get half of the operations */
};

#define UNTOUCHED INT_MIN /* a status that no call sets */

/* One operation under way. */
struct act {
    struct model_log *log;
    struct rng rng;
    bool nested;   /* in a callback, or on a thread of the store */
    bool callback; /* in a callback: what would wait for it is refused */
};

static const char *const slot_names[] = {
    "slot-0", "slot-1", "slot-2",  "slot-3",  "slot-4",  "slot-5",  "slot-6",  "slot-7",
    "slot-8", "slot-9", "slot-10", "slot-11", "slot-12", "slot-13", "slot-14", "slot-15"};

/* ---- choices --------------------------------------------------------------------------------------- */

static bool chance(struct act *act, unsigned of_1024)
{
    return rng_below(&act->rng, 1024) < of_1024;
}

/* A few keys are hot, so that calls on one key overlap. They lie all over the tenants. */
static uint32_t pick_key(struct act *act)
{
    const uint32_t key = (uint32_t)rng_below(&act->rng, world.n_keys);

    return chance(act, 512) ? key : key * 7919u % PICK_HOT * (world.n_keys / PICK_HOT);
}

static struct model_page pick_page(struct act *act, uint32_t key)
{
    struct model_page page = {.key = key};

    page.look = (enum model_look)(MODEL_TEXT + rng_below(&act->rng, MODEL_LOOKS - MODEL_TEXT));
    page.len = (uint32_t)(MODEL_PAGE_MIN + rng_below(&act->rng, 1001 - MODEL_PAGE_MIN));
    return page;
}

static void name_page(struct model_page *page)
{
    page->version = atomic_fetch_add(&world.keys[page->key].version, 1) + 1;
}

/* ---- what is allowed ------------------------------------------------------------------------------- */

/* The tenant was closing, or closed, when the call came: nothing happened. */
static bool refused(const struct act *act, unsigned tenant, int rc)
{
    (void)act;
    if (rc != -ESHUTDOWN && rc != -EINVAL) {
        return false;
    }
    REQUIRE(tenant >= MODEL_SLOT);
    return true;
}

/* Errors by which a call may end without effect. */
static void allow_error(struct act *act, int rc, unsigned flags, bool needs_room)
{
    act->log->failures++;
    if (rc == -EBUSY) {
        REQUIRE((flags & ZCACHE_NOWAIT) != 0);
    } else if (rc == -EDEADLK) {
        REQUIRE(act->callback);
    } else if (rc == -ETIMEDOUT) {
        act->log->timeouts += act->callback ? 0 : 1; /* there nobody waits: it is said at once */
    } else if (rc != -ENOMEM) {
        REQUIRE(needs_room);
        if (rc != -EDQUOT) {
            REQUIRE_EQUAL(rc, -ENOSPC);
        }
    }
}

/* ---- put ------------------------------------------------------------------------------------------- */

static unsigned put_flags(struct act *act, const struct model_tenant *tenant)
{
    static const unsigned kinds[] = {0,
                                     0,
                                     0,
                                     0,
                                     0,
                                     0,
                                     ZCACHE_DIRTY,
                                     ZCACHE_SCAN,
                                     ZCACHE_INCOMPRESSIBLE,
                                     ZCACHE_KEEP_RAW,
                                     ZCACHE_NOWAIT,
                                     ZCACHE_NOIO,
                                     ZCACHE_BEST_EFFORT,
                                     ZCACHE_NOWAIT | ZCACHE_NOIO,
                                     ZCACHE_BEST_EFFORT | ZCACHE_NOWAIT | ZCACHE_SCAN,
                                     ZCACHE_IF_ABSENT,
                                     ZCACHE_IF_ABSENT | ZCACHE_BEST_EFFORT};
    unsigned flags = kinds[rng_below(&act->rng, sizeof(kinds) / sizeof(kinds[0]))];

    if (chance(act, 12)) {
        flags = ZCACHE_CLEAN | (flags & ~(unsigned)(ZCACHE_DIRTY | ZCACHE_IF_ABSENT));
    }
    if (tenant->bare) {
        flags &= ~(unsigned)ZCACHE_DIRTY; /* it could never leave */
    }
    if (act->nested && (!act->callback || !chance(act, 128))) {
        flags |= ZCACHE_NOWAIT; /* room may need a batch that is this thread's to complete */
    }
    return flags;
}

/* The caller writes what the cache did not take, if nobody else is at the page. */
static void write_by_hand(struct act *act,
                          struct zcache_tenant *handle,
                          const struct model_page *page)
{
    const struct model_key *key = &world.keys[page->key];

    if (act->nested || !world.tenants[key->tenant].reads || !chance(act, 512) ||
        !model_alone(page->key)) {
        return;
    }
    /* Others may have put or loaded it meanwhile. */
    const uint64_t call = model_now();
    const int rc = zcache_delete(handle, key->key, ZCACHE_NOIO);
    if (!refused(act, key->tenant, rc)) {
        act->log->deletes++;
        if (rc >= 0) {
            model_note(act->log, page->key, rc == 0 ? MODEL_DROP : MODEL_DROP_ABSENT, 0, call);
            model_store_put(&world.store, page);
            act->log->by_hand++;
        } else {
            allow_error(act, rc, 0, false);
        }
    }
    model_not_alone(page->key);
}

static void judge_put(struct act *act,
                      struct zcache_tenant *handle,
                      const struct model_page *page,
                      unsigned flags,
                      int rc,
                      uint64_t call)
{
    const unsigned tenant = world.keys[page->key].tenant;
    const bool loose = world.tenants[tenant].bare || (flags & ZCACHE_CLEAN) != 0;
    const bool if_absent = (flags & ZCACHE_IF_ABSENT) != 0;

    if (refused(act, tenant, rc)) {
        return;
    }
    act->log->puts++;
    if (rc == 0) {
        model_note(act->log, page->key,
                   loose       ? MODEL_PUT_CLEAN
                   : if_absent ? MODEL_PUT_ABSENT
                               : MODEL_PUT,
                   page->version, call);
    } else if (rc == ZCACHE_EXISTS) {
        REQUIRE(if_absent);
        model_note(act->log, page->key, MODEL_PRESENT, 0, call);
    } else if (rc == ZCACHE_BYPASSED) {
        REQUIRE((flags & ZCACHE_BEST_EFFORT) != 0);
        model_note(act->log, page->key, MODEL_DROP, 0, call);
        write_by_hand(act, handle, page);
    } else if (rc == -EBUSY && (flags & ZCACHE_NOWAIT) == 0) {
        act->log->timeouts++; /* a write of the older version takes for ever: it is as it was */
    } else if (rc == -EBUSY || rc == -EDEADLK) {
        allow_error(act, rc, flags, false);
    } else {
        REQUIRE((flags & ZCACHE_BEST_EFFORT) == 0 && rc != -ETIMEDOUT);
        allow_error(act, rc, flags, true);
        model_note(act->log, page->key, MODEL_DROP, 0, call);
        write_by_hand(act, handle, page);
    }
}

static void put_one(struct act *act)
{
    const uint32_t key = pick_key(act);
    const unsigned tenant = world.keys[key].tenant;
    const unsigned flags = put_flags(act, &world.tenants[tenant]);
    struct model_page page = pick_page(act, key);
    unsigned char data[MODEL_PAGE_MAX];

    act->log->calls++;
    if (!model_share(key)) {
        return;
    }
    struct zcache_tenant *handle = model_enter(tenant);
    if (handle != NULL) {
        name_page(&page);
        model_page_make(data, &page);
        const uint64_t call = model_now();
        const int rc = zcache_put(handle, world.keys[key].key, data, page.len, flags);
        judge_put(act, handle, &page, flags, rc, call);
        model_leave(tenant);
    }
    model_unshare(key);
}

/* Keys of one tenant, shared; some may be the same.  How many. */
static unsigned pick_keys(struct act *act, uint32_t *keys, unsigned *tenant_out)
{
    const uint32_t first = pick_key(act);
    const struct model_tenant *tenant = &world.tenants[world.keys[first].tenant];
    const unsigned want = 2 + (unsigned)rng_below(&act->rng, MANY_MAX - 1);
    unsigned n = 0;

    *tenant_out = world.keys[first].tenant;
    for (unsigned i = 0; i < want; i++) {
        const uint32_t key =
            i == 0 ? first
            : chance(act, 700)
                ? tenant->first_key + (first - tenant->first_key + i) % tenant->n_keys
                : tenant->first_key + (uint32_t)rng_below(&act->rng, tenant->n_keys);
        act->log->calls++;
        if (model_share(key)) {
            keys[n++] = key;
        }
    }
    return n;
}

static void put_many(struct act *act)
{
    unsigned char data[MANY_MAX][MODEL_PAGE_MAX];
    struct zcache_page pages[MANY_MAX];
    struct model_page names[MANY_MAX];
    uint32_t keys[MANY_MAX];
    unsigned tenant;
    const unsigned n = pick_keys(act, keys, &tenant);
    struct model_tenant *owner = &world.tenants[tenant];
    const unsigned flags = put_flags(act, owner);
    const bool tagged = tenant <= MODEL_PARENT && chance(act, 256);
    struct zcache_tenant *handle = n > 0 ? model_enter(tenant) : NULL;

    for (unsigned i = 0; i < n && handle != NULL; i++) {
        names[i] = pick_page(act, keys[i]);
        if (tagged && names[i].look != MODEL_SAME) {
            names[i].tag = atomic_fetch_add(&owner->tag, 1) + 1;
        }
        name_page(&names[i]);
        model_page_make(data[i], &names[i]);
        pages[i] = (struct zcache_page){.key = world.keys[keys[i]].key,
                                        .data = data[i],
                                        .len = names[i].len,
                                        .tag = names[i].tag};
    }
    if (handle != NULL) {
        const uint64_t call = model_now();
        const int rc = zcache_put_many(handle, pages, n, flags);
        if (!refused(act, tenant, rc)) {
            int first = 0;
            for (unsigned i = 0; i < n; i++) {
                judge_put(act, handle, &names[i], flags, pages[i].status, call);
                first = first == 0 && pages[i].status < 0 ? pages[i].status : first;
            }
            REQUIRE_EQUAL(rc, first);
        }
        model_leave(tenant);
    }
    for (unsigned i = 0; i < n; i++) {
        model_unshare(keys[i]);
    }
}

/* ---- get ------------------------------------------------------------------------------------------- */

static unsigned get_flags(struct act *act)
{
    static const unsigned kinds[] = {0,
                                     0,
                                     0,
                                     0,
                                     ZCACHE_PEEK,
                                     ZCACHE_SCAN,
                                     ZCACHE_NO_LOAD,
                                     ZCACHE_NOWAIT,
                                     ZCACHE_NOIO,
                                     ZCACHE_NOWAIT | ZCACHE_PEEK};
    unsigned flags = kinds[rng_below(&act->rng, sizeof(kinds) / sizeof(kinds[0]))];

    if (act->nested && !chance(act, 128)) {
        flags |= ZCACHE_NOWAIT;
    }
    if (act->nested && !act->callback) {
        flags |= ZCACHE_NO_LOAD | ZCACHE_NOWAIT; /* a load may be this thread's to complete */
    }
    return flags;
}

static void judge_get(struct act *act,
                      uint32_t key,
                      const void *buf,
                      size_t cap,
                      size_t len,
                      unsigned flags,
                      int rc,
                      uint64_t call)
{
    const unsigned tenant = world.keys[key].tenant;
    const bool loads = world.tenants[tenant].reads && (flags & (ZCACHE_NO_LOAD | ZCACHE_NOIO)) == 0;
    const bool take = (flags & ZCACHE_TAKE) != 0;
    struct model_page page;

    if (rc == 0 || rc == ZCACHE_UNWRITTEN) {
        REQUIRE(rc == 0 || take);
        if (buf == NULL) {
            REQUIRE(len >= MODEL_PAGE_MIN && len <= MODEL_PAGE_MAX);
            model_note(act->log, key, MODEL_PRESENT, 0, call);
            return;
        }
        REQUIRE(len <= cap && model_page_read(buf, len, &page) && page.key == key);
        model_note(act->log, key,
                   rc == ZCACHE_UNWRITTEN ? MODEL_TAKE_UNWRITTEN
                   : take                 ? MODEL_TAKE
                                          : MODEL_GET,
                   page.version, call);
    } else if (rc == ZCACHE_MISS) {
        model_note(act->log, key, loads ? MODEL_MISS : MODEL_ABSENT, 0, call);
    } else if (rc == -ENOBUFS) {
        REQUIRE(buf != NULL && cap < MODEL_PAGE_MAX);
        model_note(act->log, key, MODEL_PRESENT, 0, call);
    } else if (rc == MODEL_READ_ERROR) {
        REQUIRE(loads);
        act->log->failures++;
        model_note(act->log, key, MODEL_ABSENT, 0, call);
    } else {
        allow_error(act, rc, flags, loads);
    }
}

static void get_one(struct act *act)
{
    const uint32_t key = pick_key(act);
    const unsigned tenant = world.keys[key].tenant;
    const bool take = chance(act, 80);
    const unsigned flags = get_flags(act) | (take ? (unsigned)ZCACHE_TAKE : 0u);
    const bool look_only = !take && chance(act, 48);
    size_t cap = chance(act, 48) ? 300 : MODEL_PAGE_MAX;
    unsigned char room[MODEL_PAGE_MAX];
    size_t len = 0;

    act->log->calls++;
    if (!model_share(key)) {
        return;
    }
    struct zcache_tenant *handle = model_enter(tenant);
    if (handle != NULL) {
        void *buf = look_only ? NULL : room;
        cap = look_only ? 0 : cap;
        const uint64_t call = model_now();
        const int rc = zcache_get(handle, world.keys[key].key, buf, cap, &len, flags);
        if (!refused(act, tenant, rc)) {
            act->log->gets++;
            judge_get(act, key, buf, cap, len, flags, rc, call);
            struct model_page page;
            if (rc == ZCACHE_UNWRITTEN && model_page_read(room, len, &page)) {
                write_by_hand(act, handle, &page);
            }
        }
        model_leave(tenant);
    }
    model_unshare(key);
}

static void get_many(struct act *act)
{
    unsigned char room[MANY_MAX][MODEL_PAGE_MAX];
    struct zcache_page pages[MANY_MAX];
    uint32_t keys[MANY_MAX];
    unsigned tenant;
    const unsigned n = pick_keys(act, keys, &tenant);
    const unsigned flags = get_flags(act) | (chance(act, 32) ? (unsigned)ZCACHE_TAKE : 0u);
    struct zcache_tenant *handle = n > 0 ? model_enter(tenant) : NULL;

    if (handle != NULL) {
        for (unsigned i = 0; i < n; i++) {
            pages[i] = (struct zcache_page){.key = world.keys[keys[i]].key,
                                            .buf = room[i],
                                            .cap = MODEL_PAGE_MAX,
                                            .status = UNTOUCHED};
        }
        const uint64_t call = model_now();
        const int rc = zcache_get_many(handle, pages, n, flags);
        if (pages[0].status == UNTOUCHED) {
            REQUIRE(refused(act, tenant, rc));
        } else {
            int first = 0;
            for (unsigned i = 0; i < n; i++) {
                first = first == 0 && pages[i].status < 0 ? pages[i].status : first;
                if (refused(act, tenant, pages[i].status)) {
                    continue;
                }
                act->log->gets++;
                judge_get(act, keys[i], room[i], MODEL_PAGE_MAX, pages[i].len, flags,
                          pages[i].status, call);
            }
            REQUIRE_EQUAL(rc, first);
        }
        model_leave(tenant);
    }
    for (unsigned i = 0; i < n; i++) {
        model_unshare(keys[i]);
    }
}

static void pin_one(struct act *act)
{
    const uint32_t key = pick_key(act);
    const unsigned tenant = world.keys[key].tenant;
    const unsigned flags = get_flags(act);
    const bool hold = !act->nested && chance(act, 256);
    struct zcache_pin pin = {0};

    act->log->calls++;
    if (!model_share(key)) {
        return;
    }
    struct zcache_tenant *handle = model_enter(tenant);
    if (handle != NULL) {
        const uint64_t call = model_now();
        const int rc = zcache_pin(handle, world.keys[key].key, flags, &pin);
        if (!refused(act, tenant, rc)) {
            act->log->pins++;
            if (rc < 0 && rc != MODEL_READ_ERROR) {
                allow_error(act, rc, flags, true);
            } else {
                judge_get(act, key, pin.data, MODEL_PAGE_MAX, pin.len, flags, rc, call);
            }
        }
        model_leave(tenant);
    }
    model_unshare(key);
    if (pin.data != NULL) {
        struct model_page page;
        struct model_page again;
        REQUIRE(model_page_read(pin.data, pin.len, &page));
        if (hold) { /* another page comes and goes meanwhile */
            put_one(act);
            get_one(act);
            REQUIRE(model_page_read(pin.data, pin.len, &again) && again.version == page.version);
        }
        zcache_unpin(&pin);
        act->log->unpins++;
    }
}

/* ---- delete ---------------------------------------------------------------------------------------- */

static void delete_one(struct act *act)
{
    static const unsigned kinds[] = {
        0, 0, 0, ZCACHE_NOWAIT, ZCACHE_NOIO, ZCACHE_NOIO | ZCACHE_NOWAIT};
    const uint32_t key = pick_key(act);
    const unsigned tenant = world.keys[key].tenant;
    unsigned flags = kinds[rng_below(&act->rng, sizeof(kinds) / sizeof(kinds[0]))];

    if (act->nested) {
        flags |= act->callback ? (unsigned)ZCACHE_NOWAIT : (unsigned)ZCACHE_NOWAIT | ZCACHE_NOIO;
    }
    act->log->calls++;
    if (!model_share(key)) {
        return;
    }
    struct zcache_tenant *handle = model_enter(tenant);
    if (handle != NULL) {
        const uint64_t call = model_now();
        const int rc = zcache_delete(handle, world.keys[key].key, flags);
        if (!refused(act, tenant, rc)) {
            act->log->deletes++;
            if (rc == 0 || rc == ZCACHE_MISS) {
                const bool discards = world.tenants[tenant].reads && (flags & ZCACHE_NOIO) == 0;
                const enum model_op hit = discards ? MODEL_REMOVE : MODEL_DROP;
                const enum model_op miss = discards ? MODEL_REMOVE_ABSENT : MODEL_DROP_ABSENT;
                model_note(act->log, key, rc == 0 ? hit : miss, 0, call);
            } else if (rc == MODEL_DISCARD_ERROR) {
                REQUIRE((flags & ZCACHE_NOIO) == 0);
                act->log->failures++;
                model_note(act->log, key, MODEL_DROP, 0, call);
            } else {
                allow_error(act, rc, flags, false);
                if (rc == -ETIMEDOUT) {
                    model_note(act->log, key, MODEL_DROP_MAYBE, 0, call);
                }
            }
        }
        model_leave(tenant);
    }
    model_unshare(key);
}

static void truncate_some(struct act *act)
{
    const uint32_t pick = pick_key(act);
    const unsigned tenant = world.keys[pick].tenant;
    const uint64_t object = world.keys[pick].key.object;
    const uint32_t pages = tenant >= MODEL_SLOT ? MODEL_SLOT_PAGES : MODEL_OBJECT_PAGES;
    const uint32_t base = pick - (uint32_t)world.keys[pick].key.page;
    const uint32_t first = pages - 1 - (uint32_t)rng_below(&act->rng, pages / 4);
    uint32_t shared = base + first;
    bool all = true;

    act->log->calls++;
    while (all && shared < base + pages) {
        all = model_share(shared);
        shared += all ? 1 : 0;
    }
    struct zcache_tenant *handle = all ? model_enter(tenant) : NULL;
    if (handle != NULL) {
        const uint64_t call = model_now();
        const int rc = zcache_truncate(handle, object, first);
        if (!refused(act, tenant, rc)) {
            const bool sure = rc == 0 || rc == MODEL_DISCARD_ERROR;
            const bool removed = rc == 0 && world.tenants[tenant].reads;
            if (rc < 0 && !sure) {
                allow_error(act, rc, 0, false);
            }
            for (uint32_t key = base + first; key < base + pages; key++) {
                model_note(act->log, key,
                           removed ? MODEL_REMOVE
                           : sure  ? MODEL_DROP
                                   : MODEL_DROP_MAYBE,
                           0, call);
            }
        }
        model_leave(tenant);
    }
    while (shared > base + first) {
        model_unshare(--shared);
    }
}

/* ---- what changes no value ------------------------------------------------------------------------- */

static struct zcache_tenant *pick_tenant(struct act *act, unsigned *tenant_out)
{
    *tenant_out = (unsigned)rng_below(&act->rng, world.n_tenants);
    return model_enter(*tenant_out);
}

static void shrink_some(struct act *act)
{
    unsigned tenant;
    const uint64_t bytes = rng_below(&act->rng, 16 * KIB);
    const unsigned ms = (unsigned)rng_below(&act->rng, 3);
    struct zcache_shrink_result result;
    struct zcache_tenant *handle = pick_tenant(act, &tenant);

    act->log->calls++;
    if (handle != NULL) {
        const int rc = zcache_shrink(handle, bytes, ms, &result);
        if (!refused(act, tenant, rc)) {
            REQUIRE_EQUAL(rc, result.freed_bytes >= bytes ? 0 : -EAGAIN);
        }
        model_leave(tenant);
    }
}

static void change_limits(struct act *act)
{
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;
    const unsigned tenant = (unsigned)rng_below(&act->rng, MODEL_SLOT);
    const unsigned ms = (unsigned)rng_below(&act->rng, 3);

    limits.limit_bytes = 16 * KIB + rng_below(&act->rng, tenant == MODEL_OFF ? 24 * KIB : 64 * KIB);
    limits.reserve_bytes = rng_below(&act->rng, 2) * 8 * KIB;
    limits.weight = 1 + (unsigned)rng_below(&act->rng, 1000);
    limits.writeback = tenant == MODEL_OFF ? ZCACHE_WRITEBACK_OFF : ZCACHE_WRITEBACK_ON;
    act->log->calls++;
    REQUIRE_EQUAL(
        zcache_tenant_set_limits(atomic_load(&world.tenants[tenant].handle), &limits, ms, NULL), 0);
}

static void flush_some(struct act *act)
{
    unsigned tenant;
    const unsigned ms = 1 + (unsigned)rng_below(&act->rng, 50);
    struct zcache_tenant *handle = pick_tenant(act, &tenant);

    act->log->calls++;
    if (handle != NULL) {
        const int rc = zcache_flush(handle, ms);
        if (!refused(act, tenant, rc)) {
            REQUIRE(rc == 0 || rc == MODEL_WRITE_ERROR || rc == MODEL_BARRIER_ERROR ||
                    rc == -EAGAIN || rc == -ETIMEDOUT || rc == -ENOMEM);
        }
        model_leave(tenant);
    }
}

static void move_horizon(struct act *act)
{
    const unsigned tenant = rng_below(&act->rng, 2) == 0 ? MODEL_TIGHT : MODEL_PARENT;
    struct model_tenant *t = &world.tenants[tenant];
    const uint64_t last = atomic_load(&t->tag);
    const uint64_t back = rng_below(&act->rng, 4);
    const uint64_t horizon = last > back ? last - back : 0;
    uint64_t seen = atomic_load(&t->horizon);

    act->log->calls++;
    while (seen < horizon && !atomic_compare_exchange_weak(&t->horizon, &seen, horizon)) {
        ;
    }
    REQUIRE_EQUAL(zcache_set_wal_horizon(atomic_load(&t->handle), horizon), 0);
}

static void select_codec(struct act *act)
{
    static const struct {
        enum zcache_tier tier;
        const char *text;
    } choices[] = {
        {ZCACHE_TIER_FAST, "lz4"},     {ZCACHE_TIER_FAST, "lz4"},     {ZCACHE_TIER_FAST, "zstd:1"},
        {ZCACHE_TIER_FAST, "none"},    {ZCACHE_TIER_DENSE, "zstd:1"}, {ZCACHE_TIER_DENSE, "zstd:3"},
        {ZCACHE_TIER_DENSE, "zstd:3"}, {ZCACHE_TIER_DENSE, "none"},
    };

    const uint64_t i = rng_below(&act->rng, sizeof(choices) / sizeof(choices[0]));

    act->log->calls++;
    REQUIRE_EQUAL(zcache_codec_select(world.cache, choices[i].tier, choices[i].text), 0);
}

static void help_store(struct act *act)
{
    act->log->calls++;
    model_store_help(&world.store);
}

/* ---- slots ----------------------------------------------------------------------------------------- */

/*
 * One step of the life of a slot, by the thread whose it is:
 *
 *     SHUT -> CHILD -> flush, discard -> SHUT
 *                   -> LEAVING -> ADOPTED -> HANDED_BACK -> SHUT
 *
 * A close by flush or discard goes on while others call. Before the pages change their owner nobody is
 * inside: a reparenting that fails leaves some with the one and some with the other.
 */
enum slot_state {
    SHUT,
    CHILD,
    LEAVING,
    ADOPTED,
    HANDED_BACK
};

/* The handle while nobody else has it. */
static struct zcache_tenant *kept[MODEL_THREADS_MAX];

static void note_all(struct act *act, const struct model_tenant *t, enum model_op op, uint64_t call)
{
    for (uint32_t key = t->first_key; key < t->first_key + t->n_keys; key++) {
        model_note(act->log, key, op, 0, call);
    }
}

static void slot_open(struct act *act, struct model_tenant *t, unsigned index)
{
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_tenant *handle = NULL;

    opts.name = slot_names[index];
    opts.ctx = t;
    opts.limits.limit_bytes = rng_below(&act->rng, 2) == 0 ? ZCACHE_UNLIMITED : 8 * KIB;
    const int rc =
        zcache_tenant_open(atomic_load(&world.tenants[MODEL_PARENT].handle), &opts, &handle);
    if (rc != 0) {
        REQUIRE(rc == -ENOMEM || rc == -ENOSPC);
        act->log->failures++;
        return;
    }
    t->state = CHILD;
    atomic_store(&t->handle, handle);
}

/* What a close may fail with. */
static void allow_close_error(struct act *act, int rc, enum zcache_close_mode mode)
{
    act->log->failures++;
    if (rc == -ETIMEDOUT) {
        act->log->timeouts++;
    } else if (rc == -EDQUOT || rc == -ENOSPC || rc == -EBUSY) {
        REQUIRE_EQUAL(mode, ZCACHE_CLOSE_REPARENT);
    } else {
        REQUIRE(mode != ZCACHE_CLOSE_DISCARD);
        REQUIRE(rc == MODEL_WRITE_ERROR || rc == MODEL_BARRIER_ERROR || rc == -ENOMEM);
    }
}

static void slot_close(struct act *act, struct model_tenant *t)
{
    struct zcache_tenant *handle = atomic_load(&t->handle);
    const enum zcache_close_mode mode =
        rng_below(&act->rng, 2) == 0 ? ZCACHE_CLOSE_FLUSH : ZCACHE_CLOSE_DISCARD;
    const uint64_t call = model_now();
    const int rc = zcache_tenant_close(handle, mode);

    if (rc == 0) {
        atomic_store(&t->handle, NULL);
        t->state = SHUT;
        act->log->closes++;
    } else {
        allow_close_error(act, rc, mode);
    }
    if (mode == ZCACHE_CLOSE_DISCARD) {
        note_all(act, t, rc == 0 ? MODEL_DROP : MODEL_DROP_MAYBE, call);
    } else if (rc == 0) {
        note_all(act, t, MODEL_FLUSHED, call);
    }
}

static void slot_reparent(struct act *act, struct model_tenant *t, unsigned index)
{
    const int rc = zcache_tenant_close(kept[index], ZCACHE_CLOSE_REPARENT);

    if (rc != 0) {
        allow_close_error(act, rc, ZCACHE_CLOSE_REPARENT);
        return;
    }
    kept[index] = NULL;
    t->state = ADOPTED;
    atomic_store(&t->handle, atomic_load(&world.tenants[MODEL_PARENT].handle));
    act->log->closes++;
}

/* The parent forgets the pages; what was not written is lost, as with any delete. */
static void slot_hand_back(struct act *act, struct model_tenant *t)
{
    struct zcache_tenant *parent = atomic_load(&world.tenants[MODEL_PARENT].handle);

    for (uint32_t key = t->first_key; key < t->first_key + t->n_keys; key++) {
        const uint64_t call = model_now();
        const int rc = zcache_delete(parent, world.keys[key].key, ZCACHE_NOIO);
        act->log->deletes++;
        if (rc < 0) {
            allow_error(act, rc, 0, false);
            return;
        }
        model_note(act->log, key, rc == 0 ? MODEL_DROP : MODEL_DROP_ABSENT, 0, call);
    }
    t->state = SHUT;
}

static void slot_step(struct act *act)
{
    const unsigned index = act->log->thread;
    struct model_tenant *t = &world.tenants[MODEL_SLOT + index];
    const bool idle = atomic_load(&t->users) == 0;

    act->log->calls++;
    switch ((enum slot_state)t->state) {
    case SHUT:
        if (idle) {
            slot_open(act, t, index);
        }
        break;
    case CHILD:
        if (chance(act, 512)) {
            slot_close(act, t);
        } else {
            kept[index] = atomic_exchange(&t->handle, NULL);
            t->state = LEAVING;
        }
        break;
    case LEAVING:
        if (idle) {
            slot_reparent(act, t, index);
        }
        break;
    case ADOPTED:
        atomic_store(&t->handle, NULL);
        t->state = HANDED_BACK;
        break;
    case HANDED_BACK:
        if (idle) {
            slot_hand_back(act, t);
        }
        break;
    }
}

/* ---- all ------------------------------------------------------------------------------------------- */

static const struct {
    unsigned share;
    void (*run)(struct act *act);
} operations[] = {
    {9000, get_one},     {5200, put_one},   {1200, delete_one},  {900, pin_one},
    {700, get_many},     {700, put_many},   {40, truncate_some}, {40, shrink_some},
    {12, change_limits}, {10, flush_some},  {40, move_horizon},  {8, select_codec},
    {60, slot_step},     {200, help_store},
};

void model_operation(struct model_log *log, uint64_t seed)
{
    struct act act = {.log = log, .rng = {seed}};
    unsigned shares = 0;
    unsigned i = 0;

    for (size_t k = 0; k < sizeof(operations) / sizeof(operations[0]); k++) {
        shares += operations[k].share;
    }
    for (uint64_t at = rng_below(&act.rng, shares); at >= operations[i].share; i++) {
        at -= operations[i].share;
    }
    operations[i].run(&act);
}

void model_nested(void)
{
    static void (*const choices[])(struct act * act) = {get_one, get_one,  put_one, delete_one,
                                                        pin_one, get_many, put_many};
    struct act act = {.nested = true, .callback = model_store_depth() > 0};

    if (!model_stranger_enter()) {
        return;
    }
    act.log = model_log_mine();
    if (!act.log->known) {
        /* A thread's first call may find no memory to register it; that is no outcome of a page. */
        const int rc = zcache_shrink(world.root, 0, 0, NULL);
        REQUIRE(rc == 0 || rc == -ENOMEM);
        act.log->known = rc == 0;
    }
    if (!act.log->known) {
        model_stranger_leave();
        return;
    }
    act.rng.state = rng_next(model_store_rng(&world.store));
    choices[rng_below(&act.rng, sizeof(choices) / sizeof(choices[0]))](&act);
    model_stranger_leave();
}

void model_set_capacity(uint64_t bytes)
{
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;
    const struct zcache_stats stats = stats_of(world.root);
    uint64_t pages = 0;

    for (unsigned i = 0; i < ZCACHE_TIERS; i++) {
        pages += stats.tier[i].allocated_bytes;
    }
    pages += stats.cache.entry_bytes;
    limits.limit_bytes = MODEL_CAPACITY;
    if (bytes > 0) {
        const uint64_t other =
            stats.gauge.charge_bytes > pages ? stats.gauge.charge_bytes - pages : 0;
        limits.limit_bytes = other + bytes;
    }
    if (limits.limit_bytes < ZCACHE_CAPACITY_MIN) {
        limits.limit_bytes = ZCACHE_CAPACITY_MIN;
    }
    REQUIRE_EQUAL(zcache_tenant_set_limits(world.root, &limits, 0, NULL), 0);
}
