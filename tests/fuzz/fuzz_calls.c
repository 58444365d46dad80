/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bytes as a sequence of calls on one small cache, checked against a plain record of what was put.
 *
 *     options | root's store | calls: one byte that chooses, then its arguments ...
 *
 * The calls come from one thread; the store (calls_store.c) and the pool fail as the input says.
 * Of each page of each tenant the model knows the last version put, and whether the store must get
 * it.  From that follows what every call may return:
 *
 *     a get brings the last version, or what the store has if the cache may have given it up
 *     a miss is legal only if nobody can have the page
 *     a dirty version is in the cache or in the store until the caller removes it
 *
 * Reclaim and the shrinker may evict and write at any time; the model asks the store's record after
 * the call what of that has happened.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calls.h"
#include "core.h"
#include "fault.h"
#include "mathx.h"

#define CALLS_MAX 192u
#define SLOTS     5u /* tenants open at one time, the root is 0 */
#define PINS      4u
#define MANY      4u
#define STALL_MS  1u
#define CLOSE_MS  20000u
#define ANYTHING  0xffu /* version that is not known until the next get */

struct page {
    uint8_t version; /* last put, 0: none is known to be cached */
    bool dirty;      /* the store must have it before it may leave */
};

struct tenant {
    struct zcache_tenant *handle; /* NULL: not open */
    struct tenant *parent;
    unsigned owner;     /* its number in the store */
    unsigned callbacks; /* effective ones */
    uint64_t limit;
    bool bounded; /* charge was within the limit since it was set */
    struct page page[KEYS];
};

struct pin {
    struct zcache_pin pin;
    uint8_t version;
};

struct world {
    struct input in;
    struct zcache *cache;
    struct tenant slot[SLOTS];
    struct pin pin[PINS];
    struct zcache_tenant *stale;         /* closed, and nobody was opened since */
    struct zcache_tenant *heir[TENANTS]; /* by number in the store: who answers for the id */
    uint64_t id[TENANTS];
    unsigned opened;
    uint8_t versions; /* used */
    uint32_t page_max;
    bool tight; /* the capacity itself may be short */
    bool may_lack_memory;
    bool has_runs;     /* the codec is registered */
    uint64_t began_ns; /* the call */
    char wrong[128];   /* as the last verify said */
};

static struct guarded page_room;
static struct guarded many_room[MANY];

/* ---- what is expected -------------------------------------------------------------------------- */

static struct tenant *pick_tenant(struct world *w)
{
    struct tenant *t = &w->slot[input_u8(&w->in) % SLOTS];

    return t->handle != NULL ? t : &w->slot[0];
}

static uint8_t in_store(const struct tenant *t, unsigned key)
{
    return record_of(t->owner, key).version;
}

/* What the store took need not stay. */
static void settle(struct tenant *t, unsigned key)
{
    struct page *p = &t->page[key];

    if (p->dirty && record_of(t->owner, key).taken == p->version) {
        p->dirty = false;
    }
}

static bool loads(const struct tenant *t, unsigned flags)
{
    return (t->callbacks & READS) != 0 && (flags & (ZCACHE_NO_LOAD | ZCACHE_NOIO)) == 0;
}

static bool store_may_fail(enum zcache_io_op op)
{
    return store.how[op] == FAIL_BATCH || store.how[op] == FAIL_PAGES;
}

static bool something_pends(void)
{
    return pending_count() > 0;
}

/* Whether this call may have waited as long as a call waits. */
static bool waited(const struct world *w)
{
    return zc_plat_now_ns() - w->began_ns >= STALL_MS * UINT64_C(1000000);
}

/* Codes that have nothing to do with the page. */
static bool may_refuse(const struct world *w, int rc, unsigned flags)
{
    switch (rc) {
    case -EBUSY:
        return (flags & ZCACHE_NOWAIT) != 0 || waited(w);
    case -ETIMEDOUT:
        return waited(w);
    case -ENOMEM:
        return w->may_lack_memory || w->tight;
    default:
        return false;
    }
}

/* ---- what came --------------------------------------------------------------------------------- */

/* The page is there and it is @version; or it is only known that it is there, and how long. */
static void found(struct tenant *t, unsigned key, const void *bytes, size_t len)
{
    struct page *p = &t->page[key];
    const uint8_t stored = in_store(t, key);
    uint8_t v;

    settle(t, key);
    if (bytes == NULL) {
        CHECK(p->version == ANYTHING || (p->version != 0 && versions[p->version].len == len) ||
              (!p->dirty && stored != 0 && versions[stored].len == len));
        return;
    }
    v = *(const uint8_t *)bytes;
    CHECK(version_is(v, bytes, len));
    CHECK_EQUAL(versions[v].key, key);
    if (p->version != ANYTHING && v != p->version) {
        /* Given up, and read from the store. */
        CHECK(!p->dirty);
        CHECK_EQUAL(v, stored);
        p->dirty = false;
    }
    p->version = v;
}

/* The page is not in the cache; with @asked nor in the store. */
static void missed(struct tenant *t, unsigned key, bool asked)
{
    struct page *p = &t->page[key];

    settle(t, key);
    CHECK(!p->dirty || p->version == ANYTHING);
    CHECK(!asked || in_store(t, key) == 0);
    *p = (struct page){0, false};
}

/* The caller removed it, or the put of version @last failed: neither it nor an older one is left. */
static void gone(struct tenant *t, unsigned key, uint8_t last)
{
    t->page[key] = (struct page){0, false};
    record_forbid(t->owner, key, last);
}

static size_t longest_expected(const struct tenant *t, unsigned key)
{
    const uint8_t v = t->page[key].version;
    const uint8_t s = in_store(t, key);

    return v == ANYTHING ? SIZE_MAX : ZC_MAX(versions[v].len, versions[s].len);
}

/* A look that changes nothing: whether the page is cached, and which. */
static void probe(struct world *w, struct tenant *t, unsigned key)
{
    const unsigned flags = ZCACHE_PEEK | ZCACHE_NO_LOAD | ZCACHE_NOIO;
    unsigned char *buf = guarded_tail(&page_room, w->page_max);
    size_t len = 0;
    int rc = zcache_get(t->handle, key_of(key), buf, w->page_max, &len, flags);

    if (rc == 0) {
        found(t, key, buf, len);
    } else if (rc == ZCACHE_MISS) {
        missed(t, key, false);
    } else {
        CHECK(may_refuse(w, rc, 0));
        t->page[key].version = ANYTHING;
    }
}

/* After a removal that failed: it is still there, or it is gone as it was meant to be. */
static void probe_removed(struct world *w, struct tenant *t, unsigned key)
{
    t->page[key].dirty = t->page[key].dirty && zcache_get(t->handle, key_of(key), NULL, 0, NULL,
                                                          ZCACHE_PEEK | ZCACHE_NO_LOAD) == 0;
    probe(w, t, key);
}

/* ---- put --------------------------------------------------------------------------------------- */

static const uint32_t lengths[] = {1,    2,    7,    8,    9,    63,   64,    100,
                                   1000, 2048, 2049, 4000, 4096, 9000, 40000, 65536};

/* A new version; 0 if the input has used up all. */
static uint8_t new_version(struct world *w, const struct tenant *t, unsigned key, uint64_t tag)
{
    const uint8_t form = input_u8(&w->in);
    uint8_t v;

    if (w->versions >= ANYTHING - 1) {
        return 0;
    }
    v = ++w->versions;
    (void)pthread_mutex_lock(&store.lock);
    versions[v] = (struct version){.key = (uint8_t)key,
                                   .content = (uint8_t)(form / 16 % CONTENTS),
                                   .len = ZC_MIN(lengths[form % 16], w->page_max),
                                   .tag = tag,
                                   .owners = UINT32_C(1) << t->owner};
    (void)pthread_mutex_unlock(&store.lock);
    return v;
}

/* Clean says that the store has this version: the application writes it there first. */
static unsigned put_flags(struct world *w, struct tenant *t, unsigned key, uint8_t v)
{
    static const unsigned all = ZCACHE_CLEAN | ZCACHE_DIRTY | ZCACHE_SCAN | ZCACHE_INCOMPRESSIBLE |
                                ZCACHE_NOWAIT | ZCACHE_NOIO | ZCACHE_BEST_EFFORT |
                                ZCACHE_IF_ABSENT | ZCACHE_KEEP_RAW;
    unsigned flags = input_u16(&w->in) & all;

    settle(t, key);
    if ((flags & ZCACHE_DIRTY) != 0) {
        flags &= ~(unsigned)ZCACHE_CLEAN;
    }
    if ((flags & ZCACHE_CLEAN) != 0 && (t->callbacks & STORED) != 0) {
        if (t->page[key].dirty || (flags & ZCACHE_IF_ABSENT) != 0 || something_pends()) {
            flags ^= ZCACHE_CLEAN | ZCACHE_DIRTY;
        } else {
            record_put(t->owner, key, v);
        }
    }
    return flags;
}

static bool becomes_dirty(const struct tenant *t, unsigned flags)
{
    return (flags & ZCACHE_DIRTY) != 0 ||
           ((flags & ZCACHE_CLEAN) == 0 && (t->callbacks & WRITES) != 0);
}

static void put_done(struct world *w,
                     struct tenant *t,
                     unsigned key,
                     uint8_t v,
                     unsigned flags,
                     int rc)
{
    struct page *p = &t->page[key];

    settle(t, key);
    switch (rc) {
    case 0:
        CHECK((flags & ZCACHE_IF_ABSENT) == 0 || !p->dirty || p->version == ANYTHING);
        *p = (struct page){v, becomes_dirty(t, flags)};
        return;
    case ZCACHE_EXISTS:
        CHECK((flags & ZCACHE_IF_ABSENT) != 0);
        CHECK(p->version != 0 || in_store(t, key) != 0);
        return;
    case ZCACHE_BYPASSED:
        CHECK((flags & ZCACHE_BEST_EFFORT) != 0);
        gone(t, key, v);
        return;
    case -EDQUOT:
        CHECK(t->parent != NULL && (flags & ZCACHE_BEST_EFFORT) == 0);
        gone(t, key, v);
        return;
    case -ENOSPC:
        CHECK(w->tight && (flags & ZCACHE_BEST_EFFORT) == 0);
        gone(t, key, v);
        return;
    case -ENOMEM:
        CHECK(may_refuse(w, rc, flags) && (flags & ZCACHE_BEST_EFFORT) == 0);
        gone(t, key, v);
        return;
    default: /* -EBUSY: as it was */
        CHECK_EQUAL(rc, -EBUSY);
        CHECK(may_refuse(w, rc, flags));
        return;
    }
}

static void call_put(struct world *w)
{
    struct tenant *t = pick_tenant(w);
    const unsigned key = input_u8(&w->in) % KEYS;
    const uint8_t v = new_version(w, t, key, 0);
    unsigned char *buf;
    unsigned flags;

    if (v == 0) {
        return;
    }
    flags = put_flags(w, t, key, v);
    buf = guarded_tail(&page_room, versions[v].len);
    version_fill(v, buf);
    put_done(w, t, key, v, flags, zcache_put(t->handle, key_of(key), buf, versions[v].len, flags));
}

static void call_put_many(struct world *w)
{
    struct tenant *t = pick_tenant(w);
    const unsigned n = input_u8(&w->in) % (MANY + 1);
    const uint64_t tag = input_u8(&w->in) % 8;
    struct zcache_page pages[MANY] = {0};
    uint8_t v[MANY];
    unsigned flags = 0;
    int first = 0;
    int rc;

    for (unsigned i = 0; i < n; i++) {
        const unsigned key = input_u8(&w->in) % KEYS;
        unsigned char *buf;

        v[i] = new_version(w, t, key, tag == 0 ? 0 : tag + i);
        if (v[i] == 0) {
            return;
        }
        buf = guarded_tail(&many_room[i], versions[v[i]].len);
        version_fill(v[i], buf);
        pages[i] = (struct zcache_page){.key = key_of(key),
                                        .data = buf,
                                        .len = versions[v[i]].len,
                                        .tag = versions[v[i]].tag,
                                        .status = 4711};
    }
    if (n > 0) {
        flags = (unsigned)(input_u16(&w->in) &
                           (ZCACHE_DIRTY | ZCACHE_SCAN | ZCACHE_INCOMPRESSIBLE | ZCACHE_NOWAIT |
                            ZCACHE_NOIO | ZCACHE_BEST_EFFORT | ZCACHE_IF_ABSENT | ZCACHE_KEEP_RAW));
    }
    rc = zcache_put_many(t->handle, pages, n, flags);
    for (unsigned i = 0; i < n; i++) {
        first = first == 0 && pages[i].status < 0 ? pages[i].status : first;
        put_done(w, t, versions[v[i]].key, v[i], flags, pages[i].status);
    }
    CHECK_EQUAL(rc, first);
}

/* ---- get --------------------------------------------------------------------------------------- */

#define LOOK_FLAGS                                                                                 \
    (ZCACHE_PEEK | ZCACHE_NO_LOAD | ZCACHE_SCAN | ZCACHE_KEEP_RAW | ZCACHE_NOWAIT | ZCACHE_NOIO)

/* A result that is neither the page nor a miss. */
static void get_refused(struct world *w,
                        const struct tenant *t,
                        unsigned key,
                        int rc,
                        size_t cap,
                        unsigned flags)
{
    const bool keeps = (flags & ZCACHE_TAKE) != 0;

    if (rc == -ENOBUFS) {
        CHECK(cap < longest_expected(t, key));
    } else if (rc == store_error(ZCACHE_IO_READ)) {
        CHECK(loads(t, flags) && store_may_fail(ZCACHE_IO_READ));
    } else if (rc == -EDQUOT || rc == -ENOSPC) {
        CHECK(keeps && (rc == -EDQUOT ? t->parent != NULL : w->tight));
    } else if (!may_refuse(w, rc, flags)) {
        CHECK_EQUAL(rc, 0);
    }
}

static void taken(struct world *w,
                  struct tenant *t,
                  unsigned key,
                  int rc,
                  const void *bytes,
                  size_t len)
{
    found(t, key, bytes, len);
    if (rc == ZCACHE_UNWRITTEN) {
        CHECK(t->page[key].dirty || t->page[key].version == ANYTHING);
    } else {
        CHECK(!t->page[key].dirty);
    }
    gone(t, key, w->versions);
}

static void got(struct world *w,
                struct tenant *t,
                unsigned key,
                int rc,
                const void *buf,
                size_t cap,
                size_t len,
                unsigned flags)
{
    if (rc == ZCACHE_UNWRITTEN || (rc == 0 && (flags & ZCACHE_TAKE) != 0)) {
        CHECK((flags & ZCACHE_TAKE) != 0);
        taken(w, t, key, rc, buf, len);
    } else if (rc == 0) {
        CHECK(buf == NULL || len <= cap);
        found(t, key, buf, len);
    } else if (rc == ZCACHE_MISS) {
        missed(t, key, loads(t, flags));
    } else {
        get_refused(w, t, key, rc, cap, flags);
    }
}

static size_t pick_cap(struct world *w, const struct tenant *t, unsigned key, uint8_t choice)
{
    const size_t expected = longest_expected(t, key);

    if (expected == 0 || expected > w->page_max || choice % 4 == 0) {
        return w->page_max;
    }
    return choice % 4 == 1 ? expected : choice % 4 == 2 ? expected - 1 : 0;
}

static void call_get(struct world *w)
{
    struct tenant *t = pick_tenant(w);
    const unsigned key = input_u8(&w->in) % KEYS;
    const size_t cap = pick_cap(w, t, key, input_u8(&w->in));
    unsigned char *buf = cap == 0 ? NULL : guarded_tail(&page_room, cap);
    unsigned flags = input_u8(&w->in);
    size_t len = 4711;
    int rc;

    flags = ((flags & 1) != 0 ? ZCACHE_TAKE : 0u) | (flags << 2 & LOOK_FLAGS) |
            ((flags & 64) != 0 ? ZCACHE_NOIO : 0u) | ((flags & 128) != 0 ? ZCACHE_NOWAIT : 0u);
    if (buf == NULL) {
        flags &= ~(unsigned)ZCACHE_TAKE;
    }
    rc = zcache_get(t->handle, key_of(key), buf, cap, &len, flags);
    CHECK(rc == 0 || rc == ZCACHE_UNWRITTEN || len == 4711);
    got(w, t, key, rc, buf, cap, len, flags);
}

static void call_get_many(struct world *w)
{
    struct tenant *t = pick_tenant(w);
    const unsigned n = input_u8(&w->in) % (MANY + 1);
    const uint8_t choice = input_u8(&w->in);
    const unsigned flags = (choice << 2 & LOOK_FLAGS) | ((choice & 1) != 0 ? ZCACHE_TAKE : 0u);
    struct zcache_page pages[MANY] = {0};
    int first = 0;
    int rc;

    for (unsigned i = 0; i < n; i++) {
        const unsigned key = input_u8(&w->in) % KEYS;
        const size_t cap = pick_cap(w, t, key, (flags & ZCACHE_TAKE) != 0 ? 0 : choice);

        pages[i] = (struct zcache_page){.key = key_of(key),
                                        .buf = cap == 0 ? NULL : guarded_tail(&many_room[i], cap),
                                        .cap = cap,
                                        .status = 4711};
    }
    rc = zcache_get_many(t->handle, pages, n, flags);
    for (unsigned i = 0; i < n; i++) {
        first = first == 0 && pages[i].status < 0 ? pages[i].status : first;
        got(w, t, key_number(pages[i].key), pages[i].status, pages[i].buf, pages[i].cap,
            pages[i].len, flags);
    }
    CHECK_EQUAL(rc, first);
}

/* ---- pin --------------------------------------------------------------------------------------- */

static void unpin(struct pin *pin)
{
    if (pin->version != 0) {
        CHECK(version_is(pin->version, pin->pin.data, pin->pin.len));
        zcache_unpin(&pin->pin);
        pin->version = 0;
    }
    CHECK(pin->pin.frame == NULL);
    zcache_unpin(&pin->pin);
}

static void call_pin(struct world *w)
{
    struct tenant *t = pick_tenant(w);
    const unsigned key = input_u8(&w->in) % KEYS;
    struct pin *pin = &w->pin[input_u8(&w->in) % PINS];
    const unsigned flags = (unsigned)input_u8(&w->in) << 2 & LOOK_FLAGS;
    int rc;

    unpin(pin);
    rc = zcache_pin(t->handle, key_of(key), flags, &pin->pin);
    if (rc == 0) {
        found(t, key, pin->pin.data, pin->pin.len);
        pin->version = t->page[key].version;
    } else if (rc == ZCACHE_MISS) {
        missed(t, key, loads(t, flags));
    } else {
        CHECK(rc != -ENOBUFS);
        get_refused(w, t, key, rc, w->page_max, flags | ZCACHE_TAKE);
    }
}

static void call_unpin(struct world *w)
{
    unpin(&w->pin[input_u8(&w->in) % PINS]);
}

/* ---- removal ----------------------------------------------------------------------------------- */

static bool removal_error(const struct world *w, const struct tenant *t, int rc, unsigned flags)
{
    return may_refuse(w, rc, flags) ||
           (rc == store_error(ZCACHE_IO_DISCARD) && (t->callbacks & DISCARDS) != 0 &&
            store_may_fail(ZCACHE_IO_DISCARD) && (flags & ZCACHE_NOIO) == 0);
}

static void call_delete(struct world *w)
{
    struct tenant *t = pick_tenant(w);
    const unsigned key = input_u8(&w->in) % KEYS;
    const unsigned flags = (unsigned)input_u8(&w->in) << 7 & (ZCACHE_NOWAIT | ZCACHE_NOIO);
    const bool pends = something_pends();
    int rc = zcache_delete(t->handle, key_of(key), flags);

    settle(t, key);
    if (rc < 0) {
        CHECK(removal_error(w, t, rc, flags));
        probe_removed(w, t, key);
        return;
    }
    CHECK(rc == 0 || rc == ZCACHE_MISS);
    CHECK(rc == 0 || !t->page[key].dirty || t->page[key].version == ANYTHING);
    CHECK(rc != 0 || t->page[key].version != 0 || in_store(t, key) != 0 ||
          (t->callbacks & DISCARDS) != 0);
    gone(t, key, w->versions);
    if ((t->callbacks & DISCARDS) != 0 && (flags & ZCACHE_NOIO) == 0 && !pends) {
        CHECK_EQUAL(in_store(t, key), 0);
    }
}

static void call_truncate(struct world *w)
{
    struct tenant *t = pick_tenant(w);
    const struct zcache_key first = key_of(input_u8(&w->in) % KEYS);
    int rc = zcache_truncate(t->handle, first.object, first.page);

    CHECK(rc == 0 || removal_error(w, t, rc, 0));
    for (unsigned key = 0; key < KEYS; key++) {
        if (key_of(key).object != first.object || key_of(key).page < first.page) {
            continue;
        }
        settle(t, key);
        if (rc != 0) {
            probe_removed(w, t, key);
        } else {
            gone(t, key, w->versions);
            CHECK((t->callbacks & DISCARDS) == 0 || in_store(t, key) == 0);
        }
    }
}

/* ---- flush, shrink, limits --------------------------------------------------------------------- */

static bool within(const struct tenant *t, const struct tenant *top)
{
    while (t != NULL && t != top) {
        t = t->parent;
    }
    return t == top;
}

/* Everything of the tenant is in its store, and a barrier came after it. */
static void check_flushed(struct tenant *t)
{
    for (unsigned key = 0; key < KEYS; key++) {
        settle(t, key);
        CHECK(!t->page[key].dirty || t->page[key].version == ANYTHING);
        CHECK(!record_of(t->owner, key).unsafe || (t->callbacks & BARRIERS) == 0);
    }
}

static bool flush_error(const struct world *w, int rc)
{
    return rc == -ETIMEDOUT || rc == -EAGAIN || rc == -ENOTSUP ||
           rc == store_error(ZCACHE_IO_WRITE) || rc == store_error(ZCACHE_IO_BARRIER) ||
           may_refuse(w, rc, 0);
}

static void call_flush(struct world *w)
{
    struct tenant *top = pick_tenant(w);
    int rc = zcache_flush(top->handle, 1 + input_u8(&w->in) % 2);

    CHECK(rc == 0 || flush_error(w, rc));
    for (unsigned i = 0; i < SLOTS && rc == 0; i++) {
        if (w->slot[i].handle != NULL && within(&w->slot[i], top)) {
            check_flushed(&w->slot[i]);
        }
    }
}

static void call_shrink(struct world *w)
{
    struct tenant *t = pick_tenant(w);
    const uint8_t choice = input_u8(&w->in);
    const uint64_t bytes = choice == 255 ? UINT64_MAX : (uint64_t)choice << 9;
    struct zcache_shrink_result result = {.remaining_bytes = 4711};
    int rc = zcache_shrink(t->handle, bytes, input_u8(&w->in) % 2, &result);

    CHECK(rc == 0 || rc == -EAGAIN);
    CHECK_EQUAL(rc == 0, result.freed_bytes >= bytes);
    CHECK_EQUAL(result.remaining_bytes,
                bytes > result.freed_bytes ? bytes - result.freed_bytes : 0);
}

static void call_limits(struct world *w)
{
    static const uint64_t limits[] = {0,      1,        4096,     20000,     65536,
                                      200000, 1u << 20, 2u << 20, 64u << 20, ZCACHE_UNLIMITED};
    struct tenant *t = pick_tenant(w);
    struct zcache_limits l = ZCACHE_LIMITS_INIT;
    struct zcache_shrink_result result = {0};
    const uint8_t choice = input_u8(&w->in);
    const uint8_t more = input_u8(&w->in);
    int rc;

    l.limit_bytes = limits[choice % ZC_ARRAY_SIZE(limits)];
    l.reserve_bytes = (more & 1) != 0 ? l.limit_bytes / 2 : 0;
    l.weight = 1 + more * 39u;
    l.writeback = (more & 2) != 0 ? ZCACHE_WRITEBACK_OFF : ZCACHE_WRITEBACK_ON;
    rc = zcache_tenant_set_limits(t->handle, &l, more / 4 % 2, &result);
    if (t->parent == NULL &&
        (l.limit_bytes < ZCACHE_CAPACITY_MIN || l.limit_bytes > w->cache->opt.capacity_bytes)) {
        CHECK_EQUAL(rc, -EINVAL);
        return;
    }
    CHECK_EQUAL(rc, 0);
    t->limit = l.limit_bytes;
    t->bounded = false;
    w->tight = w->tight || t->parent == NULL;
}

/* ---- tenants ----------------------------------------------------------------------------------- */

static struct tenant *free_slot(struct world *w)
{
    for (unsigned i = 1; i < SLOTS; i++) {
        if (w->slot[i].handle == NULL) {
            return &w->slot[i];
        }
    }
    return NULL;
}

static void note_tenant(struct world *w, struct tenant *t)
{
    (void)pthread_mutex_lock(&store.lock);
    t->owner = store.n_owners;
    store.owner[store.n_owners++].id = zcache_tenant_id(t->handle);
    (void)pthread_mutex_unlock(&store.lock);
    w->heir[t->owner] = t->handle;
    w->id[t->owner] = zcache_tenant_id(t->handle);
}

static unsigned pick_callbacks(uint8_t choice)
{
    static const unsigned sets[] = {STORED, WRITES, READS, WRITES | READS, STORED & ~DISCARDS, 0};

    return sets[choice % ZC_ARRAY_SIZE(sets)];
}

static void call_open(struct world *w)
{
    struct tenant *parent = pick_tenant(w);
    struct tenant *t = free_slot(w);
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    const uint8_t choice = input_u8(&w->in);
    const uint8_t limit = input_u8(&w->in);
    struct zcache_store callbacks;
    char name[8];
    int rc;

    if (t == NULL || store.n_owners == TENANTS) {
        return;
    }
    (void)snprintf(name, sizeof(name), "t%u", choice / 16u);
    opts.name = name;
    opts.ctx = &store;
    opts.limits.limit_bytes = limit == 0 ? ZCACHE_UNLIMITED : (uint64_t)limit << 11;
    if (choice % 8 < 6) {
        callbacks =
            store_attach(pick_callbacks(choice % 8), (choice & 8) != 0 ? ZCACHE_STORE_SERIAL : 0u);
        opts.store = &callbacks;
    }
    w->stale = NULL;
    rc = zcache_tenant_open(parent->handle, &opts, &t->handle);
    if (rc != 0) {
        CHECK(t->handle == NULL);
        CHECK(rc == -EEXIST || (rc == -ENOSPC && w->tight) || may_refuse(w, rc, 0));
        return;
    }
    store.attached += opts.store != NULL ? 1 : 0;
    t->parent = parent;
    t->callbacks = opts.store != NULL ? pick_callbacks(choice % 8) : parent->callbacks;
    t->limit = opts.limits.limit_bytes;
    t->bounded = true;
    memset(t->page, 0, sizeof(t->page));
    note_tenant(w, t);
}

/* Versions may come to the parent now that are older than its own. */
static void announce_reparent(const struct tenant *t)
{
    for (unsigned key = 0; key < KEYS; key++) {
        const uint8_t v = t->page[key].version;

        (void)pthread_mutex_lock(&store.lock);
        for (unsigned i = 1; i < VERSIONS; i++) {
            if (versions[i].key == key && (versions[i].owners >> t->owner & 1) != 0) {
                versions[i].owners |= UINT32_C(1) << t->parent->owner;
            }
        }
        (void)pthread_mutex_unlock(&store.lock);
        if (v != 0 || in_store(t, key) != 0) {
            record_begin_anew(t->parent->owner, key);
        }
    }
}

/* Who has the page now that the child's may have moved. */
static void resolve_reparent(struct world *w, struct tenant *t, unsigned key, bool closed)
{
    struct tenant *to = t->parent;
    struct page child = t->page[key];
    const struct page old = to->page[key];
    const uint8_t child_stored = in_store(t, key);
    unsigned char *buf = guarded_tail(&page_room, w->page_max);
    const unsigned flags = ZCACHE_PEEK | ZCACHE_NO_LOAD | ZCACHE_NOIO;
    const bool unknown = child.version == ANYTHING || old.version == ANYTHING;
    size_t len = 0;
    uint8_t v = 0;
    int rc;

    if (!closed) {
        const bool stayed = zcache_get(t->handle, key_of(key), NULL, 0, NULL, flags) != ZCACHE_MISS;

        if (stayed) {
            probe(w, t, key);
            return;
        }
        t->page[key] = (struct page){0, false};
    }
    rc = zcache_get(to->handle, key_of(key), buf, w->page_max, &len, flags);
    CHECK(rc == 0 || rc == ZCACHE_MISS || may_refuse(w, rc, 0));
    if (rc < 0 || (unknown && rc == ZCACHE_MISS)) {
        to->page[key].version = ANYTHING;
        return;
    }
    if (rc == 0) {
        v = buf[0];
        CHECK(version_is(v, buf, len));
        CHECK_EQUAL(versions[v].key, key);
    }
    if (v != 0 && (v == child.version || (!child.dirty && v == child_stored))) {
        to->page[key] = (struct page){v, child.dirty || (to->callbacks & WRITES) != 0};
        settle(to, key);
        return;
    }
    /* The child's was dropped for the parent's, or has gone its way through the stores. */
    CHECK(unknown || !child.dirty || child_stored == child.version ||
          in_store(to, key) == child.version);
    if (v != 0) {
        found(to, key, buf, len);
    } else if (in_store(to, key) == child.version && child.version != 0) {
        to->page[key] = (struct page){0, false};
    } else {
        missed(to, key, false);
    }
}

static void close_done(struct world *w, struct tenant *t, enum zcache_close_mode mode, int rc)
{
    for (unsigned key = 0; key < KEYS; key++) {
        if (mode == ZCACHE_CLOSE_REPARENT) {
            resolve_reparent(w, t, key, rc == 0);
        } else if (mode == ZCACHE_CLOSE_DISCARD && rc != 0) {
            probe_removed(w, t, key);
        }
    }
    if (mode == ZCACHE_CLOSE_FLUSH && rc == 0) {
        check_flushed(t);
    }
    if (rc != 0) {
        return;
    }
    for (unsigned i = 0; i < store.n_owners; i++) {
        if (w->heir[i] == t->handle) {
            w->heir[i] = t->parent->handle;
        }
    }
    w->stale = t->handle;
    t->handle = NULL;
}

static void call_close(struct world *w)
{
    struct tenant *t = pick_tenant(w);
    const enum zcache_close_mode mode = (enum zcache_close_mode)(input_u8(&w->in) % 3);
    bool has_children = false;
    int rc;

    for (unsigned i = 1; i < SLOTS; i++) {
        has_children = has_children || (w->slot[i].handle != NULL && w->slot[i].parent == t);
    }
    if (t->parent == NULL) {
        CHECK_EQUAL(zcache_tenant_close(t->handle, mode), -EINVAL);
        return;
    }
    if (has_children) {
        CHECK_EQUAL(zcache_tenant_close(t->handle, mode), -EBUSY);
        return;
    }
    for (unsigned key = 0; key < KEYS; key++) {
        settle(t, key);
        settle(t->parent, key);
    }
    if (mode == ZCACHE_CLOSE_REPARENT) {
        announce_reparent(t);
    }
    rc = zcache_tenant_close(t->handle, mode);
    CHECK(rc == 0 || rc == -EBUSY || rc == -EDQUOT || rc == -ENOSPC || flush_error(w, rc));
    close_done(w, t, mode, rc);
}

static void call_find(struct world *w)
{
    const unsigned which = input_u8(&w->in) % store.n_owners;
    struct zcache_tenant *t = NULL;

    CHECK_EQUAL(zcache_tenant_find(w->cache, w->id[which], &t), 0);
    CHECK(t == w->heir[which]);
    CHECK_EQUAL(zcache_tenant_find(w->cache, UINT64_MAX - which, &t), -ENOENT);
}

/* ---- codecs ------------------------------------------------------------------------------------ */

/* Runs: a count and a byte.  A context is what must come back, once for each that was made. */
static atomic_int contexts;

static void *make_context(int level)
{
    int *context = malloc(sizeof(*context));

    CHECK(context != NULL);
    *context = level;
    atomic_fetch_add(&contexts, 1);
    return context;
}

static void end_context(void *context)
{
    CHECK_EQUAL(*(int *)context, 0);
    free(context);
    atomic_fetch_sub(&contexts, 1);
}

static size_t encode_runs(void *ctx, void *dst, size_t cap, const void *src, size_t len)
{
    const unsigned char *in = src;
    unsigned char *out = dst;
    size_t n = 0;

    CHECK_EQUAL(*(int *)ctx, 0);
    for (size_t i = 0; i < len;) {
        size_t run = 1;

        while (i + run < len && run < 255 && in[i + run] == in[i]) {
            run++;
        }
        if (cap - n < 2) {
            return 0;
        }
        out[n++] = (unsigned char)run;
        out[n++] = in[i];
        i += run;
    }
    return n;
}

static int decode_runs(void *ctx, void *dst, size_t len, const void *src, size_t stored)
{
    const unsigned char *in = src;
    unsigned char *out = dst;
    size_t n = 0;

    CHECK_EQUAL(*(int *)ctx, 0);
    for (size_t i = 0; i + 1 < stored; i += 2) {
        if (in[i] > len - n) {
            return -EBADMSG;
        }
        memset(out + n, in[i + 1], in[i]);
        n += in[i];
    }
    return n == len && stored % 2 == 0 ? 0 : -EBADMSG;
}

static void register_runs(struct world *w)
{
    struct zcache_codec codec = ZCACHE_CODEC_INIT;
    int rc;

    codec.name = "runs";
    codec.context_create = make_context;
    codec.context_destroy = end_context;
    codec.encode = encode_runs;
    codec.decode = decode_runs;
    rc = zcache_codec_register(w->cache, &codec);
    CHECK_EQUAL(rc, w->has_runs ? -EEXIST : 0);
    w->has_runs = true;
}

static void call_codec(struct world *w)
{
    static const struct {
        const char *text;
        int rc;
    } texts[] = {
        {"lz4", 0},    {"zstd:1", 0},     {"zstd:3", 0},        {"none", 0},
        {"runs", 0},   {"zstd:-5", 0},    {"brotli", -ENOTSUP}, {"zstd:20", -EINVAL},
        {"", -EINVAL}, {"lz4:", -EINVAL}, {"runs:2", -EINVAL},  {":1", -EINVAL},
    };

    const uint8_t choice = input_u8(&w->in);
    const enum zcache_tier tier = (choice & 1) != 0 ? ZCACHE_TIER_DENSE : ZCACHE_TIER_FAST;
    const char *text = texts[choice / 2 % ZC_ARRAY_SIZE(texts)].text;
    int expected = texts[choice / 2 % ZC_ARRAY_SIZE(texts)].rc;
    char level[16];
    int rc;

    if (choice >= 0xf0) {
        register_runs(w);
        return;
    }
    if (choice >= 0xc0) { /* more pairs of codec and level than there may be */
        (void)snprintf(level, sizeof(level), "lz4:%u", 1u + choice % 32);
        text = level;
        expected = 0;
    } else if (strncmp(text, "runs", 4) == 0 && !w->has_runs) {
        expected = -ENOTSUP;
    }
    rc = zcache_codec_select(w->cache, tier, text);
    CHECK(rc == expected || (rc == -ENOSPC && expected == 0));
}

/* ---- statistics -------------------------------------------------------------------------------- */

static void check_bound(struct world *w, struct tenant *t)
{
    struct zcache_stats s = ZCACHE_STATS_INIT;

    CHECK_EQUAL(zcache_stats(t->handle, &s), 0);
    CHECK_EQUAL(s.gauge.limit_bytes, t->limit);
    t->bounded = t->bounded || s.gauge.charge_bytes <= t->limit;
    CHECK(!t->bounded || s.gauge.charge_bytes <= t->limit);
    CHECK(t->parent != NULL || s.gauge.peak_charge_bytes <= w->cache->opt.capacity_bytes);
    CHECK_EQUAL(s.count.corrupt, 0);
    CHECK_EQUAL(s.count.foreign_evictions, 0);
}

static void call_stats(struct world *w)
{
    check_bound(w, pick_tenant(w));
}

struct sink {
    size_t left;
    int rc;
};

static int sink(void *ctx, const char *data, size_t len)
{
    struct sink *s = ctx;

    CHECK(data != NULL && len > 0);
    if (len > s->left) {
        return s->rc;
    }
    s->left -= len;
    return 0;
}

static void call_metrics(struct world *w)
{
    const uint8_t choice = input_u8(&w->in);
    struct sink s = {choice < 128 ? SIZE_MAX : (size_t)choice * 64, -EPIPE};
    const struct sink all = s;
    int rc = zcache_metrics_write(w->cache, (enum zcache_metrics_format)(choice % 3), sink, &s);

    CHECK((rc == 0 && s.left < all.left) || (rc == -EPIPE && choice >= 128) ||
          (rc == -ENOMEM && may_refuse(w, rc, 0)));
}

/* Only the message that explains a failure. */
static void tell(void *ctx, enum zcache_log_level level, const char *event, const char *text)
{
    struct world *w = ctx;

    CHECK(level <= ZCACHE_LOG_INFO);
    if (strcmp(event, "verify") == 0) {
        (void)snprintf(w->wrong, sizeof(w->wrong), "%s", text);
    }
}

static void verify(struct world *w)
{
    int rc = zcache_verify(w->cache);

    if (rc != 0 && !may_refuse(w, rc, 0) && (rc != -EAGAIN || !something_pends())) {
        fuzz_failed(w->wrong, __FILE__, __LINE__);
    }
}

static void call_horizon(struct world *w)
{
    struct tenant *t = pick_tenant(w);
    const uint64_t tag = input_u8(&w->in) % 12;

    (void)pthread_mutex_lock(&store.lock);
    store.owner[t->owner].horizon = ZC_MAX(store.owner[t->owner].horizon, tag);
    (void)pthread_mutex_unlock(&store.lock);
    CHECK_EQUAL(zcache_set_wal_horizon(t->handle, tag), 0);
}

/* ---- trouble ----------------------------------------------------------------------------------- */

static void call_script(struct world *w)
{
    const uint8_t choice = input_u8(&w->in);
    const unsigned op = 1 + choice % 4;

    (void)pthread_mutex_lock(&store.lock);
    store.how[op] = (enum how)(choice / 4 % HOWS);
    store.reenter = choice >= 200;
    (void)pthread_mutex_unlock(&store.lock);
}

static void call_complete(struct world *w)
{
    const uint8_t choice = input_u8(&w->in);

    store_complete(choice / 2, (choice & 1) == 0);
}

/* The @n th allocation from now on is refused, once; 0 for none. */
static void refuse_memory(struct world *w, unsigned n)
{
#ifdef ZCACHE_TEST_HOOKS
    (void)w;
    zc_fault_arm(
        &(struct zc_fault_plan){.nth = n, .whose = ZC_FAULT_ALL, .sites = 1u << ZC_FAULT_object});
#else
    (void)w;
    (void)n;
#endif
}

static void call_lack_memory(struct world *w)
{
    w->may_lack_memory = true;
    refuse_memory(w, input_u8(&w->in) % 16);
}

/* Calls that are wrong change nothing. */
static void call_wrong(struct world *w)
{
    struct tenant *t = pick_tenant(w);
    const struct zcache_key key = key_of(input_u8(&w->in) % KEYS);
    struct zcache_page many[2] = {{.key = key, .data = "x", .len = 1, .status = 4711},
                                  {.key = key, .status = 4711}};
    unsigned char *buf = guarded_tail(&page_room, 1);
    struct zcache_pin pin = {0};

    CHECK_EQUAL(zcache_put(t->handle, key, buf, 0, 0), -EINVAL);
    CHECK_EQUAL(zcache_put(t->handle, key, buf, (size_t)w->page_max + 1, 0), -EINVAL);
    CHECK_EQUAL(zcache_put(t->handle, key, NULL, 1, 0), -EINVAL);
    CHECK_EQUAL(zcache_put(t->handle, key, buf, 1, ZCACHE_CLEAN | ZCACHE_DIRTY), -EINVAL);
    CHECK_EQUAL(zcache_put(t->handle, key, buf, 1, ZCACHE_PEEK), -EINVAL);
    CHECK_EQUAL(zcache_put_many(t->handle, many, 2, 0), -EINVAL);
    CHECK(many[0].status == 4711 && many[1].status == 4711);
    CHECK_EQUAL(zcache_get(t->handle, key, NULL, 1, NULL, 0), -EINVAL);
    CHECK_EQUAL(zcache_get(t->handle, key, NULL, 0, NULL, ZCACHE_TAKE), -EINVAL);
    CHECK_EQUAL(zcache_get(t->handle, key, buf, 1, NULL, ZCACHE_DIRTY), -EINVAL);
    CHECK_EQUAL(zcache_pin(t->handle, key, ZCACHE_TAKE, &pin), -EINVAL);
    CHECK_EQUAL(zcache_delete(t->handle, key, ZCACHE_PEEK), -EINVAL);
    CHECK_EQUAL(zcache_tenant_close(t->handle, (enum zcache_close_mode)3), -EINVAL);
    CHECK_EQUAL(zcache_done(w->cache, input_u64(&w->in) | UINT64_C(1) << 63, 0), -ENOENT);
    CHECK_EQUAL(zcache_done(w->cache, 0, 1), -EINVAL);
    if (w->stale != NULL) {
        CHECK_EQUAL(zcache_put(w->stale, key, buf, 1, 0), -EINVAL);
        CHECK_EQUAL(zcache_get(w->stale, key, buf, 1, NULL, 0), -EINVAL);
        CHECK_EQUAL(zcache_tenant_close(w->stale, ZCACHE_CLOSE_DISCARD), -EINVAL);
    }
}

/* ---- the whole --------------------------------------------------------------------------------- */

static void one_call(struct world *w)
{
    static void (*const calls[])(struct world *) = {
        call_put,    call_put,      call_put,         call_put_many, call_get,     call_get,
        call_get,    call_get_many, call_pin,         call_unpin,    call_delete,  call_truncate,
        call_flush,  call_shrink,   call_limits,      call_open,     call_close,   call_find,
        call_codec,  call_stats,    call_metrics,     verify,        call_horizon, call_script,
        call_script, call_complete, call_lack_memory, call_wrong,
    };

    w->began_ns = zc_plat_now_ns();
    calls[input_u8(&w->in) % ZC_ARRAY_SIZE(calls)](w);
}

static void open_world(struct world *w)
{
    static const char *const policies[] = {"wait", "help", "reject", "help"};
    const uint8_t options = input_u8(&w->in);
    const unsigned callbacks = pick_callbacks(input_u8(&w->in));
    struct zcache_store s = store_attach(callbacks, 0);
    struct zcache_options opts = ZCACHE_OPTIONS_INIT;
    char text[256];
    char error[128];

    store_reset();
    w->tight = (options & 4) != 0;
    w->page_max = w->tight ? PAGE_MOST : 4096;
    (void)snprintf(
        text, sizeof(text),
        "capacity=%s,page_max=%u,raw_percent=%u,fast_percent=%u,start_percent=%u,full=%s,"
        "max_stall_ms=%u,latency_sample=%u,inflight_pages=%u,batch_pages=%u",
        w->tight ? "1536K" : "4M", w->page_max, (options & 16) != 0 ? 0 : 25,
        (options & 32) != 0 ? 100 : 50, (options & 8) != 0 ? 100 : 10, policies[options & 3],
        STALL_MS, (options & 64) != 0 ? 1 : 64, (options & 128) != 0 ? 3 : 64,
        (options & 128) != 0 ? 2 : 32);
    CHECK_EQUAL(zcache_options_parse(&opts, text, error, sizeof(error)), 0);
    opts.store = &s;
    opts.log = tell;
    opts.log_ctx = w;
    CHECK_EQUAL(zcache_open(&opts, &w->cache), 0);
    store.cache = w->cache;
    store.attached = 1;
    w->slot[0].handle = zcache_root(w->cache);
    w->slot[0].callbacks = callbacks;
    w->slot[0].limit = opts.capacity_bytes;
    w->slot[0].bounded = true;
    note_tenant(w, &w->slot[0]);
    verify(w); /* registers the thread, before memory is refused */
}

static void check_all(struct world *w)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        struct tenant *t = &w->slot[i];

        for (unsigned key = 0; key < KEYS && t->handle != NULL; key++) {
            unsigned char *buf = guarded_tail(&page_room, w->page_max);
            size_t len = 0;
            int rc = zcache_get(t->handle, key_of(key), buf, w->page_max, &len, 0);

            got(w, t, key, rc, buf, w->page_max, len, 0);
        }
        if (t->handle != NULL) {
            check_bound(w, t);
        }
    }
}

/* -ETIMEDOUT: the shrinker is in the middle of something; the application calls again. */
static int close_cache(struct world *w, unsigned flags)
{
    const uint64_t deadline = zc_plat_deadline_ns(CLOSE_MS);
    int rc;

    do {
        rc = zcache_close(w->cache, flags);
    } while (rc == -ETIMEDOUT && zc_plat_now_ns() < deadline);
    return rc;
}

static void close_world(struct world *w, bool flush)
{
    int rc = flush ? close_cache(w, ZCACHE_FLUSH) : -EAGAIN;

    if (rc == 0) {
        for (unsigned i = 0; i < SLOTS; i++) {
            if (w->slot[i].handle != NULL) {
                check_flushed(&w->slot[i]);
            }
        }
    } else {
        CHECK(rc == -EAGAIN || rc == -ENOTSUP || rc == store_error(ZCACHE_IO_WRITE));
        CHECK_EQUAL(close_cache(w, ZCACHE_DISCARD), 0);
    }
    CHECK_EQUAL(store.detached, store.attached);
    CHECK_EQUAL(atomic_load(&contexts), 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w = {.in = {data, size}};
    unsigned calls = 0;

    if (page_room.start == NULL) {
        guarded_init(&page_room, PAGE_MOST);
        for (unsigned i = 0; i < MANY; i++) {
            guarded_init(&many_room[i], PAGE_MOST);
        }
    }
    open_world(&w);
    while (w.in.left > 0 && calls++ < CALLS_MAX) {
        one_call(&w);
    }
    refuse_memory(&w, 0);
    w.may_lack_memory = false;
    store_complete_all();
    for (unsigned i = 0; i < PINS; i++) {
        unpin(&w.pin[i]);
    }
    verify(&w);
    check_all(&w);
    close_world(&w, size % 2 == 0);
    return 0;
}
