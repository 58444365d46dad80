/* SPDX-License-Identifier: BSD-2-Clause */
#include "matrix_actions.h"
#include "matrix_model.h"

#include <zcache/codec.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    HOT = 4,          /* keys that replace() takes */
    BALLAST = 1024,   /* keys */
    CHILD_OBJECT = 2, /* that everybody uses */
    OWN_OBJECT = 100, /* the closer's own: this plus its index */
    OWN_KEYS = 6,
};

struct matrix_cell cell;

static struct zcache_key key_at(unsigned key)
{
    return key_of(MATRIX_OBJECT, key);
}

static unsigned any_key(struct matrix_worker *me)
{
    return (unsigned)rng_below(&me->rng, MODEL_KEYS);
}

static void count(atomic_uint_fast64_t *calls, int rc)
{
    if (rc != -EINVAL && rc != -ESHUTDOWN) {
        atomic_fetch_add(calls, 1);
    }
}

/*
 * A store that fails may be the reason why something could not be done. So may a store that calls back:
 * inside it nothing is written to make room, and two callbacks that wait for each other's pages do so
 * for the longest stall, as does who waits for them.
 */
static bool excused(int rc)
{
    if (rc == -EDEADLK && matrix_store_calls_here()) {
        atomic_fetch_add(&cell.deadlock, 1);
        return true;
    }
    if (rc == -ENOMEM && matrix_store_calls_here()) {
        return true; /* no room is made there for a thread's first decode */
    }
    if (cell.mode == MATRIX_FAILING && rc == -EIO) {
        return true;
    }
    return (cell.mode == MATRIX_FAILING || cell.mode == MATRIX_REENTRANT) &&
           (rc == -EDQUOT || rc == -ENOSPC || rc == -ETIMEDOUT || rc == -EBUSY);
}

/* Done or excused; prints what is not. */
#define REQUIRE_EXCUSED(rc) ((rc) == 0 || excused(rc) ? (void)0 : REQUIRE_EQUAL(rc, 0))

/* ---- puts ----------------------------------------------------------------------------------------- */

static int put_key(struct rng *rng, unsigned key, unsigned flags)
{
    const size_t len =
        rng_below(rng, 3) > 0 ? PAGE : PAGE_HEADER + rng_below(rng, PAGE - PAGE_HEADER);
    const struct model_change change = model_begin(key, true);
    unsigned char page[PAGE];

    page_make(page, len, key_at(key), change.version, (enum fill)rng_below(rng, 3));
    const int rc = zcache_put(cell.shared, key_at(key), page, len, flags);
    count(&cell.puts, rc);
    if (rc == 0) {
        model_finish(&change, MODEL_PUT);
    } else if (rc == ZCACHE_EXISTS || rc == -EBUSY || rc == -EDEADLK) {
        REQUIRE(rc == ZCACHE_EXISTS ? (flags & ZCACHE_IF_ABSENT) != 0 : excused(rc));
        model_finish(&change, MODEL_NOTHING);
    } else {
        REQUIRE_EXCUSED(rc);
        model_finish(&change, MODEL_OPEN); /* it is the caller's to write now */
        atomic_fetch_add(&cell.refused, 1);
    }
    return rc;
}

void matrix_fill(void)
{
    struct rng rng = {1};

    for (unsigned key = 0; key < MODEL_KEYS; key++) {
        (void)put_key(&rng, key, 0);
    }
}

static void put(struct matrix_worker *me)
{
    static const unsigned kinds[] = {0, 0, 0, ZCACHE_SCAN, ZCACHE_INCOMPRESSIBLE, ZCACHE_IF_ABSENT};

    (void)put_key(&me->rng, any_key(me), kinds[rng_below(&me->rng, 6)]);
}

static void replace(struct matrix_worker *me)
{
    (void)put_key(&me->rng, (unsigned)rng_below(&me->rng, HOT), 0);
}

/* ---- gets ----------------------------------------------------------------------------------------- */

uint64_t matrix_get(unsigned key, unsigned flags)
{
    const struct model_read read = model_look(key);
    unsigned char page[PAGE];
    uint64_t version = 0;
    size_t len = 0;

    const int rc = zcache_get(cell.shared, key_at(key), page, PAGE, &len, flags);
    count(&cell.gets, rc);
    if (rc < 0) {
        REQUIRE_EXCUSED(rc); /* so is -EBUSY in callbacks, which do not wait */
        return 0;
    }
    REQUIRE(rc == 0 || rc == ZCACHE_MISS);
    if (rc == 0) {
        REQUIRE(page_whole(page, len, key_at(key), &version) && version > 0);
    }
    if (rc == 0 || (flags & ZCACHE_NO_LOAD) == 0) {
        model_judge(&read, version, matrix_store_calls_here());
    }
    return version;
}

static void get_several(struct matrix_worker *me)
{
    enum {
        N = 6
    };

    const unsigned first = (unsigned)rng_below(&me->rng, MODEL_KEYS - N);
    unsigned char room[N][PAGE];
    struct zcache_page pages[N];
    struct model_read read[N];

    for (unsigned i = 0; i < N; i++) {
        pages[i] = (struct zcache_page){.key = key_at(first + i), .buf = room[i], .cap = PAGE};
        read[i] = model_look(first + i);
    }
    (void)!zcache_get_many(cell.shared, pages, N, 0);
    for (unsigned i = 0; i < N; i++) {
        uint64_t version = 0;
        count(&cell.gets, pages[i].status);
        if (pages[i].status < 0) {
            REQUIRE_EXCUSED(pages[i].status);
            continue;
        }
        if (pages[i].status == 0) {
            REQUIRE(page_whole(room[i], pages[i].len, pages[i].key, &version) && version > 0);
        } else {
            REQUIRE_EQUAL(pages[i].status, ZCACHE_MISS);
        }
        model_judge(&read[i], version, false);
    }
}

/* Only whole pages are asked of the child: it may be gone, or be another one. */
static void get_of_child(struct matrix_worker *me)
{
    struct zcache_tenant *child = atomic_load(&cell.child);
    const struct zcache_key key = key_of(CHILD_OBJECT, rng_below(&me->rng, 8));
    unsigned char page[PAGE];
    uint64_t version;
    size_t len = 0;

    if (child == NULL) {
        return;
    }
    int rc = zcache_get(child, key, page, PAGE, &len, 0);
    count(&cell.gets, rc);
    if (rc == 0) {
        REQUIRE(page_whole(page, len, key, &version));
    } else {
        REQUIRE(rc == ZCACHE_MISS || rc == -ESHUTDOWN || rc == -EINVAL || excused(rc));
    }
    rc = put_page(child, key, me->n + 1, FILL_HALF, 0);
    count(&cell.puts, rc);
    REQUIRE(rc == 0 || rc == -ESHUTDOWN || rc == -EINVAL || excused(rc));
}

static void get(struct matrix_worker *me)
{
    static const unsigned kinds[] = {0, 0, ZCACHE_PEEK, ZCACHE_SCAN, ZCACHE_NO_LOAD};
    const uint64_t draw = rng_below(&me->rng, 16);

    if (draw == 0) {
        get_several(me);
    } else if (draw < 4) {
        get_of_child(me);
    } else {
        (void)matrix_get(any_key(me), kinds[rng_below(&me->rng, 5)]);
    }
}

static void pin(struct matrix_worker *me)
{
    const unsigned key = any_key(me);
    const struct model_read read = model_look(key);
    uint64_t version = 0, again = 0;
    struct zcache_pin held;

    const int rc = zcache_pin(cell.shared, key_at(key), 0, &held);
    count(&cell.pins, rc);
    if (rc < 0) {
        REQUIRE_EXCUSED(rc);
        return;
    }
    if (rc == 0) {
        REQUIRE(page_whole(held.data, held.len, key_at(key), &version) && version > 0);
    } else {
        REQUIRE_EQUAL(rc, ZCACHE_MISS);
    }
    model_judge(&read, version, false);
    if (rc == 0) {
        (void)matrix_get(any_key(me), 0);
        REQUIRE(page_whole(held.data, held.len, key_at(key), &again) && again == version);
        zcache_unpin(&held);
    }
}

/* What the store lacks is the taker's: it is put again, after it may have been seen as missing. */
static void take(struct matrix_worker *me)
{
    const unsigned key = any_key(me);
    const struct model_read read = model_look(key);
    const struct model_change change = model_begin(key, false);
    unsigned char page[PAGE];
    uint64_t version = 0;
    size_t len = 0;

    const int rc = zcache_get(cell.shared, key_at(key), page, PAGE, &len, ZCACHE_TAKE);
    count(&cell.gets, rc);
    if (rc == 0 || rc == ZCACHE_UNWRITTEN) {
        REQUIRE(page_whole(page, len, key_at(key), &version) && version > 0);
    }
    model_finish(&change, rc == ZCACHE_UNWRITTEN ? MODEL_OPEN : MODEL_NOTHING);
    if (rc < 0) {
        REQUIRE_EXCUSED(rc);
        return;
    }
    model_judge(&read, version, false);
    if (rc == ZCACHE_UNWRITTEN) {
        (void)put_key(&me->rng, key, 0);
    }
}

/* ---- deletes -------------------------------------------------------------------------------------- */

static enum model_end removed(int rc)
{
    if (rc < 0) {
        REQUIRE_EXCUSED(rc);
        return MODEL_OPEN;
    }
    return MODEL_REMOVED;
}

static int delete_key(unsigned key, unsigned flags)
{
    const struct model_change change = model_begin(key, false);
    const int rc = zcache_delete(cell.shared, key_at(key), flags);

    count(&cell.deletes, rc);
    if (rc == -EBUSY) {
        REQUIRE((flags & ZCACHE_NOWAIT) != 0 || excused(rc));
        model_finish(&change, MODEL_NOTHING);
    } else {
        model_finish(&change, removed(rc));
    }
    return rc;
}

static void delete (struct matrix_worker *me)
{
    const unsigned key = any_key(me);

    (void)delete_key(key, rng_below(&me->rng, 4) == 0 ? ZCACHE_NOWAIT : 0);
    if (rng_below(&me->rng, 2) == 0) {
        (void)put_key(&me->rng, key, 0);
    }
}

static void truncate(struct matrix_worker *me)
{
    const unsigned first = (unsigned)rng_below(&me->rng, MODEL_KEYS);
    struct model_change changes[MODEL_KEYS];

    for (unsigned key = first; key < MODEL_KEYS; key++) {
        changes[key] = model_begin(key, false);
    }
    const int rc = zcache_truncate(cell.shared, MATRIX_OBJECT, first);
    for (unsigned key = MODEL_KEYS; key-- > first;) { /* they are nested */
        model_finish(&changes[key], removed(rc));
    }
    for (unsigned i = 0; i < 4; i++) {
        (void)put_key(&me->rng, any_key(me), 0);
    }
}

/* ---- the rest ------------------------------------------------------------------------------------- */

static void shrink(struct matrix_worker *me)
{
    struct zcache_shrink_result result;
    struct zcache_tenant *tenant = rng_below(&me->rng, 4) == 0 ? cell.root : cell.shared;
    const int rc = zcache_shrink(tenant, 1 + rng_below(&me->rng, 128 * KIB),
                                 (unsigned)rng_below(&me->rng, 3), &result);

    REQUIRE(rc == 0 || rc == -EAGAIN);
    if (rng_below(&me->rng, 8) == 0) {
        const int flushed = zcache_flush(cell.shared, 0);
        REQUIRE(flushed == 0 || excused(flushed));
    }
}

/* Clean pages, until the marks are passed: the shrinker takes from everybody. */
static void shrinker(struct matrix_worker *me)
{
    const struct zcache_key key = key_of(me->index, rng_below(&me->rng, BALLAST));
    const int rc =
        put_page(cell.ballast, key, 1, FILL_RANDOM, ZCACHE_CLEAN | ZCACHE_INCOMPRESSIBLE);

    count(&cell.puts, rc);
    REQUIRE_EXCUSED(rc);
}

static void limit(struct matrix_worker *me)
{
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;

    limits.limit_bytes = 160 * KIB + rng_below(&me->rng, 512 * KIB);
    limits.weight = 1 + (unsigned)rng_below(&me->rng, 1000);
    limits.reserve_bytes = rng_below(&me->rng, 64 * KIB);
    REQUIRE_EQUAL(
        zcache_tenant_set_limits(cell.shared, &limits, (unsigned)rng_below(&me->rng, 3), NULL), 0);
    if (rng_below(&me->rng, 2) == 0) {
        (void)put_key(&me->rng, any_key(me), 0);
    }
}

static void check_what_is_left(uint64_t id, uint64_t object, enum zcache_close_mode mode)
{
    for (uint64_t k = 0; k < OWN_KEYS; k++) {
        uint64_t version = matrix_store_version(cell.store, id, key_of(object, k));
        if (mode == ZCACHE_CLOSE_REPARENT && version == 0) {
            /* The parent's now; otherwise written before, to the tenant's own place. */
            unsigned char page[PAGE];
            size_t len = 0;
            const int rc = zcache_get(cell.shared, key_of(object, k), page, PAGE, &len, 0);
            count(&cell.gets, rc);
            if (excused(rc)) {
                continue;
            }
            REQUIRE_EQUAL(rc, 0);
            REQUIRE(page_whole(page, len, key_of(object, k), &version));
        }
        if (mode != ZCACHE_CLOSE_DISCARD) {
            REQUIRE_EQUAL(version, k + 1);
        }
    }
}

/* A tenant below the shared one, from open to close. */
static void close_one(struct matrix_worker *me)
{
    const uint64_t object = OWN_OBJECT + me->index + 16 * me->n;
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    enum zcache_close_mode mode = (enum zcache_close_mode)rng_below(&me->rng, 3);
    struct zcache_tenant *tenant = NULL;
    char name[24];
    bool whole = true;

    (void)snprintf(name, sizeof(name), "child-%u", me->index);
    opts.name = name;
    int rc = zcache_tenant_open(cell.shared, &opts, &tenant);
    if (rc != 0) {
        REQUIRE_EXCUSED(rc);
        return;
    }
    const uint64_t id = zcache_tenant_id(tenant);
    atomic_store(&cell.child, tenant);
    for (uint64_t k = 0; k < OWN_KEYS; k++) {
        rc = put_page(tenant, key_of(object, k), k + 1, FILL_HALF, 0);
        count(&cell.puts, rc);
        REQUIRE_EXCUSED(rc);
        whole = whole && rc == 0;
    }
    rc = zcache_tenant_close(tenant, mode);
    if (rc != 0) {
        if (mode != ZCACHE_CLOSE_REPARENT ||
            rc != -EDQUOT) { /* no room for the move below the limit */
            REQUIRE_EXCUSED(rc);
        }
        while ((rc = zcache_tenant_close(tenant, ZCACHE_CLOSE_DISCARD)) != 0) {
            REQUIRE_EXCUSED(rc);
        }
        whole = false;
    }
    struct zcache_tenant *mine = tenant;
    (void)atomic_compare_exchange_strong(&cell.child, &mine, NULL);
    if (whole) {
        check_what_is_left(id, object, mode);
    }
    if (mode == ZCACHE_CLOSE_REPARENT) {
        rc = zcache_truncate(cell.shared, object, 0);
        REQUIRE_EXCUSED(rc);
    }
}

static void codec(struct matrix_worker *me)
{
    static const char *const names[] = {"lz4", "zstd:1", "zstd:3", "lz4:9"};
    const enum zcache_tier tier =
        rng_below(&me->rng, 2) == 0 ? ZCACHE_TIER_FAST : ZCACHE_TIER_DENSE;
    struct zcache_shrink_result result;

    REQUIRE_EQUAL(zcache_codec_select(cell.cache, tier, names[rng_below(&me->rng, 4)]), 0);
    (void)!zcache_shrink(cell.shared, 16 * KIB, 0, &result); /* so that something is encoded */
}

const struct matrix_action matrix_actions[MATRIX_ACTIONS] = {
    {"put", put},           {"replace", replace}, {"get", get},           {"pin", pin},
    {"take", take},         {"delete", delete},   {"truncate", truncate}, {"shrink", shrink},
    {"shrinker", shrinker}, {"limit", limit},     {"close", close_one},   {"codec", codec},
};

/* ---- a store that calls back ---------------------------------------------------------------------- */

/* What would wait for this very callback. */
static void must_deadlock(const struct zcache_io *io)
{
    REQUIRE_EQUAL(zcache_flush(cell.shared, 0), -EDEADLK);
    REQUIRE_EQUAL(zcache_tenant_close(cell.ballast, ZCACHE_CLOSE_DISCARD), -EDEADLK);
    REQUIRE_EQUAL(zcache_close(cell.cache, ZCACHE_DISCARD), -EDEADLK);
    atomic_fetch_add(&cell.deadlock, 3);
    (void)io;
}

static void call_for(unsigned key, struct rng *rng)
{
    /* Seldom in a way that may wait for another callback. */
    const unsigned flags = rng_below(rng, 64) == 0 ? 0 : ZCACHE_NOWAIT;
    struct zcache_shrink_result result;
    struct zcache_pin held;

    switch (rng_below(rng, 6)) {
    case 0:
        (void)put_key(rng, key, flags);
        break;
    case 1:
        (void)delete_key(key, flags);
        break;
    case 2: {
        const int rc = zcache_shrink(cell.shared, 64 * KIB, 2, &result);
        REQUIRE(rc == 0 || rc == -EAGAIN);
        break;
    }
    case 3: {
        const int rc = zcache_pin(cell.shared, key_at(key), flags, &held);
        count(&cell.pins, rc);
        if (rc != ZCACHE_MISS) {
            REQUIRE_EXCUSED(rc);
        }
        if (rc == 0) {
            zcache_unpin(&held);
        }
        break;
    }
    default:
        (void)matrix_get(key, flags);
        break;
    }
}

void matrix_reenter(const struct zcache_io *io)
{
    static atomic_uint_fast64_t calls;
    struct rng rng = {atomic_fetch_add(&calls, 1)};
    const bool ours = io->n_pages > 0 && io->pages[0].key.object == MATRIX_OBJECT &&
                      io->tenant_id == zcache_tenant_id(cell.shared);

    (void)stats_of(cell.root);
    if (rng_below(&rng, 4) == 0) {
        must_deadlock(io);
    }
    call_for((unsigned)rng_below(&rng, MODEL_KEYS), &rng);
    if (ours && !io->range) {
        call_for((unsigned)io->pages[rng_below(&rng, io->n_pages)].key.page, &rng);
    }
    if (ours && io->op == ZCACHE_IO_WRITE && rng_below(&rng, 4) == 0) {
        const unsigned key = (unsigned)io->pages[0].key.page;
        REQUIRE_EQUAL(delete_key(key, 0), -EDEADLK);
    }
}
