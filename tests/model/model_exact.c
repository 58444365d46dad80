/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random operations by one thread, over a store that completes at once or inside the callback, fails and
 * calls back, against a plain map: every result is checked exactly where the map determines it.
 *
 * The map knows for each key the version that only the cache has, if any; what the store has, the store
 * knows. Whether a page is cached besides follows from neither, so it is asked first, by a look that
 * changes nothing. The background thread has nothing to do here: the capacity is far away, nothing is
 * compressed ahead, and no limit is set below a charge. So a seed determines all that happens, but for
 * how long a tenant is left alone after a failed write.
 *
 * usage: test_model_exact [operations [seed]]
 */
#include "store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <zcache/codec.h>

enum {
    MAIN,
    ARCHIVE, /* its store only takes writes */
    BARE,    /* has none: pages may go at any time */
    SLOT,    /* comes and goes below MAIN */
    TENANTS,
    PAGES = 32,
    MAIN_OBJECTS = 3,
    KEYS = (MAIN_OBJECTS + SLOT) * PAGES,
    MANY = 5,
    PHASE = 1000 /* operations with one script */
};

/* What the map says of a key. */
struct ref {
    struct model_page held; /* version 0: none */
    bool loose;             /* clean: may go unwritten */
    uint32_t version;       /* last one given out */
    bool touched;           /* by the operation under way: none of a callback's business */
    uint64_t put_during;    /* the operation during which a callback put it last */
};

static uint64_t operations = 250000 / TEST_SLOWDOWN;
static uint64_t seed = 20261;

static struct {
    struct zcache *cache;
    struct zcache_tenant
        *tenant[TENANTS]; /* SLOT: NULL, a child, or MAIN, which adopted its pages */
    struct ref refs[KEYS];
    struct model_store store;
    atomic_uint_fast64_t clock;
    struct rng rng;
    uint64_t tag;
    uint64_t horizon;
    uint64_t limit;
    bool fails;          /* the script of this phase */
    bool failed;         /* a write, since the last flush that reported it */
    uint64_t refusals;   /* writes refused, ever */
    uint64_t now;        /* number of the operation under way, from 1 */
    uint64_t nested_put; /* the last one during which a callback put a page */
    uint64_t puts, gets, pins, unpins, deletes;
    uint64_t put_failures; /* of puts that took an older version along */
    uint64_t exact, loose; /* results that were, and were not, determined */
} m;

/* ---- keys ------------------------------------------------------------------------------------------ */

static unsigned tenant_of(uint32_t key)
{
    const uint32_t object = key / PAGES;
    return object < MAIN_OBJECTS ? MAIN : ARCHIVE + (object - MAIN_OBJECTS);
}

static struct zcache_key name_of(uint32_t key)
{
    return key_of(key / PAGES, key % PAGES);
}

static uint32_t find_key(struct zcache_key key)
{
    return key.object < KEYS / PAGES && key.page < PAGES ? (uint32_t)(key.object * PAGES + key.page)
                                                         : UINT32_MAX;
}

static bool reads(uint32_t key)
{
    return tenant_of(key) == MAIN || tenant_of(key) == SLOT;
}

static struct zcache_tenant *handle_of(uint32_t key)
{
    return m.tenant[tenant_of(key)];
}

static uint64_t below(uint64_t n)
{
    return rng_below(&m.rng, n);
}

/* A key that can be reached now. */
static uint32_t pick_key(void)
{
    uint32_t key;

    do {
        key = (uint32_t)(below(2) == 0 ? below(KEYS) : below(8) * 13);
    } while (handle_of(key) == NULL);
    return key;
}

/* The page a get finds. */
static struct model_page value_of(uint32_t key)
{
    return m.refs[key].held.version != 0 ? m.refs[key].held : model_store_get(&m.store, key);
}

static bool dirty(uint32_t key)
{
    return m.refs[key].held.version != 0 && !m.refs[key].loose;
}

static void let_go(uint32_t key)
{
    m.refs[key].held = (struct model_page){0};
    m.refs[key].loose = false;
}

/* Exactly this result. */
static void expect(int rc, int expected)
{
    m.exact++;
    REQUIRE_EQUAL(rc, expected);
}

/* Whether the cache has it. A page that the store lacks must be there; a clean one that is gone, is. */
static bool cached(uint32_t key)
{
    size_t len = 0;
    const int rc =
        zcache_get(handle_of(key), name_of(key), NULL, 0, &len, ZCACHE_PEEK | ZCACHE_NO_LOAD);

    m.gets++;
    REQUIRE(rc == 0 || rc == ZCACHE_MISS);
    REQUIRE(rc == 0 || !dirty(key));
    if (rc != 0) {
        let_go(key);
    } else {
        REQUIRE_EQUAL(len, value_of(key).len);
    }
    return rc == 0;
}

/* ---- what the store sees --------------------------------------------------------------------------- */

static void store_event(uint32_t key, enum model_op op, uint32_t version)
{
    struct ref *ref = &m.refs[key];

    switch (op) {
    case MODEL_ARRIVED: /* what is written is what is held, now */
        REQUIRE(dirty(key));
        REQUIRE_EQUAL(ref->held.version, version);
        break;
    case MODEL_WRITTEN: /* or a callback has put a newer one meanwhile */
        if (ref->held.version == version) {
            let_go(key);
        }
        break;
    case MODEL_REFUSED:
        m.failed = true;
        m.refusals++;
        break;
    default:
        break;
    }
}

static bool may_write(void *tenant_ctx, uint64_t tag)
{
    (void)tenant_ctx;
    return tag <= m.horizon;
}

/* ---- put ------------------------------------------------------------------------------------------- */

static struct model_page new_page(uint32_t key)
{
    return (struct model_page){.key = key,
                               .version = ++m.refs[key].version,
                               .len = (uint32_t)(MODEL_PAGE_MIN + below(985)),
                               .look = (enum model_look)(MODEL_TEXT + below(3))};
}

static unsigned put_flags(uint32_t key)
{
    static const unsigned kinds[] = {0,
                                     0,
                                     0,
                                     0,
                                     ZCACHE_DIRTY,
                                     ZCACHE_CLEAN,
                                     ZCACHE_SCAN,
                                     ZCACHE_INCOMPRESSIBLE,
                                     ZCACHE_KEEP_RAW,
                                     ZCACHE_NOWAIT,
                                     ZCACHE_NOIO,
                                     ZCACHE_BEST_EFFORT,
                                     ZCACHE_BEST_EFFORT | ZCACHE_NOIO,
                                     ZCACHE_IF_ABSENT,
                                     ZCACHE_IF_ABSENT | ZCACHE_BEST_EFFORT};
    const unsigned flags = kinds[below(sizeof(kinds) / sizeof(kinds[0]))];

    return tenant_of(key) == BARE ? flags & ~(unsigned)ZCACHE_DIRTY : flags;
}

/* Room for the largest page and its record at every limit on its way: then nothing refuses it. */
static bool has_room(uint32_t key)
{
    const struct zcache_stats stats = stats_of(handle_of(key));
    const struct zcache_stats above = stats_of(m.tenant[MAIN]);

    return stats.gauge.charge_bytes + 4 * KIB < stats.gauge.limit_bytes &&
           (tenant_of(key) != SLOT || above.gauge.charge_bytes + 4 * KIB < above.gauge.limit_bytes);
}

static void judge_put(const struct model_page *page, unsigned flags, bool there, bool sure, int rc)
{
    const uint32_t key = page->key;

    m.puts++;
    if ((flags & ZCACHE_IF_ABSENT) != 0 && there) {
        expect(rc, ZCACHE_EXISTS);
        return;
    }
    if (sure) {
        expect(rc, 0);
    } else {
        m.loose++;
    }
    if (rc == 0) {
        m.refs[key].held = *page;
        m.refs[key].loose = tenant_of(key) == BARE || (flags & ZCACHE_CLEAN) != 0;
        REQUIRE(cached(key));
    } else if (rc == -EBUSY) {
        REQUIRE((flags & ZCACHE_NOWAIT) != 0);
    } else if (rc == -EDEADLK) {
        REQUIRE(model_store_depth() > 0);
    } else {
        REQUIRE_EQUAL(rc, (flags & ZCACHE_BEST_EFFORT) != 0 ? ZCACHE_BYPASSED : -EDQUOT);
        let_go(key);
        REQUIRE(!cached(key));
        m.put_failures += there ? 1 : 0;
    }
}

static void put_one(void)
{
    const uint32_t key = pick_key();
    const unsigned flags = put_flags(key);
    const struct model_page page = new_page(key);
    unsigned char data[MODEL_PAGE_MAX];

    m.refs[key].touched = true;
    const bool there = cached(key);
    /* A page that repeats a word and takes the place of another needs nothing. */
    const bool sure = has_room(key) || (page.look == MODEL_SAME && there);
    model_page_make(data, &page);
    judge_put(&page, flags, there, sure,
              zcache_put(handle_of(key), name_of(key), data, page.len, flags));
    m.refs[key].touched = false;
}

/* Different keys of MAIN, with tags or without. */
static void put_many(void)
{
    const uint32_t first = (uint32_t)below((uint64_t)MAIN_OBJECTS * PAGES - MANY);
    const bool tagged = below(2) == 0;
    const unsigned flags = put_flags(first) & ~(unsigned)ZCACHE_IF_ABSENT;
    unsigned char data[MANY][MODEL_PAGE_MAX];
    struct model_page names[MANY];
    struct zcache_page pages[MANY];
    int worst = 0;

    for (uint32_t i = 0; i < MANY; i++) {
        names[i] = new_page(first + i);
        if (tagged && names[i].look != MODEL_SAME) {
            names[i].tag = ++m.tag;
        }
        model_page_make(data[i], &names[i]);
        pages[i] = (struct zcache_page){
            .key = name_of(first + i), .data = data[i], .len = names[i].len, .tag = names[i].tag};
        /* A later one's room may need an earlier one written: each is held from its turn on. */
        m.refs[first + i].touched = true;
        const int rc = zcache_put_many(m.tenant[MAIN], &pages[i], 1, flags);
        REQUIRE_EQUAL(rc, pages[i].status < 0 ? pages[i].status : 0);
        judge_put(&names[i], flags, false, false, pages[i].status);
        m.refs[first + i].touched = false;
        worst = worst == 0 && rc < 0 ? rc : worst;
    }
}

/* ---- get ------------------------------------------------------------------------------------------- */

static unsigned get_flags(void)
{
    static const unsigned kinds[] = {
        0, 0, 0, ZCACHE_PEEK, ZCACHE_SCAN, ZCACHE_NO_LOAD, ZCACHE_NOIO, ZCACHE_NOWAIT};
    return kinds[below(sizeof(kinds) / sizeof(kinds[0]))];
}

/* @needs_room: the call fails rather than go without. */
static void judge_get(uint32_t key,
                      const void *buf,
                      size_t cap,
                      size_t len,
                      unsigned flags,
                      bool there,
                      const struct model_page *value,
                      bool unwritten,
                      bool needs_room,
                      int rc)
{
    const bool may_load = reads(key) && (flags & (ZCACHE_NO_LOAD | ZCACHE_NOIO)) == 0;
    const bool loads = may_load && !there;
    const bool take = (flags & ZCACHE_TAKE) != 0;
    struct model_page found;

    if (loads && rc == MODEL_READ_ERROR) {
        REQUIRE(m.fails);
        m.loose++;
        return;
    }
    if (loads && rc == -EBUSY) { /* no room at once, and it must not wait to learn whether ever */
        REQUIRE((flags & ZCACHE_NOWAIT) != 0);
        m.loose++;
        return;
    }
    if (needs_room && (loads || !take) && (rc == -EDQUOT || rc == -EBUSY)) {
        REQUIRE(rc == -EDQUOT || (flags & ZCACHE_NOWAIT) != 0);
        m.loose++;
        return;
    }
    if (there && needs_room && !take && !may_load && rc == ZCACHE_MISS) {
        REQUIRE(!cached(key)); /* the page itself went, to make room for its raw form */
        m.loose++;
        return;
    }
    if (there && needs_room && !take && may_load && m.refs[key].loose && rc == ZCACHE_MISS) {
        REQUIRE(!cached(key)); /* the same, and put as clean although the store has nothing */
        m.loose++;
        return;
    }
    if ((!there && !loads) || value->version == 0) {
        expect(rc, ZCACHE_MISS);
        return;
    }
    if (value->len > cap) {
        expect(rc, -ENOBUFS);
        return;
    }
    expect(rc, take && unwritten ? ZCACHE_UNWRITTEN : 0);
    REQUIRE(model_page_read(buf, len, &found));
    REQUIRE_EQUAL(found.key, key);
    if (there && needs_room && !take && may_load && m.refs[key].loose &&
        found.version != value->version) {
        /* It went, and was loaded; but it had been called clean, and the store has an older one. */
        REQUIRE_EQUAL(found.version, model_store_get(&m.store, key).version);
        let_go(key);
        m.loose++;
        return;
    }
    REQUIRE_EQUAL(found.version, value->version);
    REQUIRE_EQUAL(len, value->len);
    if (take) {
        let_go(key);
        REQUIRE(!cached(key));
    }
}

static void get_one(void)
{
    const uint32_t key = pick_key();
    const bool take = below(10) == 0;
    const unsigned flags = get_flags() | (take ? (unsigned)ZCACHE_TAKE : 0u);
    const size_t cap = below(12) == 0 ? 400 : MODEL_PAGE_MAX;
    unsigned char room[MODEL_PAGE_MAX];
    size_t len = 0;

    m.refs[key].touched = true;
    const bool there = cached(key);
    const struct model_page value = value_of(key);
    const bool unwritten = dirty(key);
    const int rc = zcache_get(handle_of(key), name_of(key), room, cap, &len, flags);
    m.gets++;
    judge_get(key, room, cap, len, flags, there, &value, unwritten, take, rc);
    m.refs[key].touched = false;
}

static void get_many(void)
{
    const uint32_t first = (uint32_t)below((uint64_t)MAIN_OBJECTS * PAGES - MANY);
    const unsigned flags = get_flags();
    unsigned char room[MANY][MODEL_PAGE_MAX];
    struct model_page values[MANY];
    struct zcache_page pages[MANY];
    bool there[MANY];
    int worst = 0;

    for (uint32_t i = 0; i < MANY; i++) {
        const uint32_t key = first + (i == MANY - 1 ? 0 : i); /* one comes twice */
        m.refs[key].touched = true;
        there[i] = cached(key);
        values[i] = value_of(key);
        pages[i] = (struct zcache_page){.key = name_of(key), .buf = room[i], .cap = MODEL_PAGE_MAX};
    }
    const int rc = zcache_get_many(m.tenant[MAIN], pages, MANY, flags);
    m.gets += MANY;
    for (uint32_t i = 0; i < MANY; i++) {
        const uint32_t key = find_key(pages[i].key);
        judge_get(key, room[i], MODEL_PAGE_MAX, pages[i].len, flags, there[i], &values[i], false,
                  false, pages[i].status);
        worst = worst == 0 && pages[i].status < 0 ? pages[i].status : worst;
        m.refs[key].touched = false;
    }
    REQUIRE_EQUAL(rc, worst);
}

static void pin_one(void)
{
    const uint32_t key = pick_key();
    const unsigned flags = get_flags();
    struct zcache_pin pin = {0};

    m.refs[key].touched = true;
    const bool there = cached(key);
    const struct model_page value = value_of(key);
    const int rc = zcache_pin(handle_of(key), name_of(key), flags, &pin);
    m.pins++;
    judge_get(key, pin.data, MODEL_PAGE_MAX, pin.len, flags, there, &value, false, true, rc);
    m.refs[key].touched = false;
    if (pin.data != NULL) {
        struct model_page first;
        struct model_page found;
        REQUIRE(model_page_read(pin.data, pin.len, &first));
        for (uint64_t n = below(4); n > 0; n--) {
            put_one();
            REQUIRE(model_page_read(pin.data, pin.len, &found));
            REQUIRE_EQUAL(found.version, first.version);
        }
        zcache_unpin(&pin);
        m.unpins++;
    }
}

/* ---- delete ---------------------------------------------------------------------------------------- */

static void delete_one(void)
{
    static const unsigned kinds[] = {0, 0, ZCACHE_NOWAIT, ZCACHE_NOIO};
    const uint32_t key = pick_key();
    const unsigned flags = kinds[below(4)];
    const bool discards = reads(key) && (flags & ZCACHE_NOIO) == 0;

    m.refs[key].touched = true;
    const bool there = cached(key);
    const uint32_t before = model_store_get(&m.store, key).version;
    const int rc = zcache_delete(handle_of(key), name_of(key), flags);
    m.deletes++;
    if (discards && rc == MODEL_DISCARD_ERROR) {
        REQUIRE(m.fails);
        m.loose++;
    } else {
        expect(rc, there ? 0 : ZCACHE_MISS);
        REQUIRE_EQUAL(model_store_get(&m.store, key).version, discards ? 0 : before);
    }
    let_go(key);
    REQUIRE(!cached(key));
    m.refs[key].touched = false;
}

static void truncate_some(void)
{
    const uint32_t base = pick_key() / PAGES * PAGES;
    const uint32_t first = base + PAGES - 1 - (uint32_t)below(PAGES / 2);

    for (uint32_t key = first; key < base + PAGES; key++) {
        m.refs[key].touched = true;
    }
    const int rc = zcache_truncate(handle_of(base), base / PAGES, first - base);
    if (reads(base) && rc == MODEL_DISCARD_ERROR) {
        REQUIRE(m.fails);
        m.loose++;
    } else {
        expect(rc, 0);
    }
    for (uint32_t key = first; key < base + PAGES; key++) {
        let_go(key);
        REQUIRE(!cached(key));
        REQUIRE(rc != 0 || !reads(base) || model_store_get(&m.store, key).version == 0);
        m.refs[key].touched = false;
    }
}

/* ---- the rest -------------------------------------------------------------------------------------- */

/* Whether a page waits for the log; and whether another does not. */
static bool blocked(void)
{
    for (uint32_t key = 0; key < KEYS; key++) {
        if (dirty(key) && m.refs[key].held.tag > m.horizon) {
            return true;
        }
    }
    return false;
}

static void flush_all(void)
{
    const bool reported = m.failed;
    const bool waits = blocked();

    m.failed = false;
    const int rc = zcache_flush(zcache_root(m.cache), 0);
    if (reported || m.fails || m.nested_put == m.now) {
        REQUIRE(rc == 0 || rc == -EAGAIN || rc == MODEL_WRITE_ERROR || rc == MODEL_BARRIER_ERROR);
        m.loose++;
    } else {
        expect(rc, waits ? -EAGAIN : 0);
    }
    /* The horizon's pages in one tenant may hide an error of another. */
    for (uint32_t key = 0; key < KEYS && (rc == 0 || (rc == -EAGAIN && !m.fails)); key++) {
        const struct ref *ref = &m.refs[key];
        REQUIRE(!dirty(key) || (rc == -EAGAIN && ref->held.tag > m.horizon) ||
                ref->put_during == m.now);
    }
}

static void shrink_some(void)
{
    static const unsigned which[] = {MAIN, ARCHIVE, BARE};
    const uint64_t bytes = below(8 * KIB);
    struct zcache_shrink_result result;
    const int rc = zcache_shrink(m.tenant[which[below(3)]], bytes, 100, &result);

    expect(rc, result.freed_bytes >= bytes ? 0 : -EAGAIN);
}

/*
 * Never below the charge: what would be left is the background thread's. While reclaim may not write,
 * dirty pages fill the room, and puts fail.
 */
static void change_limit(void)
{
    static const unsigned which[] = {MAIN, MAIN, ARCHIVE, BARE};
    struct zcache_tenant *tenant = m.tenant[which[below(4)]];
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;
    const uint64_t wish = 12 * KIB + below(32 * KIB);
    const uint64_t charge = charge_of(tenant);

    limits.limit_bytes = wish > charge ? wish : charge;
    limits.writeback = below(4) == 0 ? ZCACHE_WRITEBACK_OFF : ZCACHE_WRITEBACK_ON;
    expect(zcache_tenant_set_limits(tenant, &limits, 0, NULL), 0);
}

static void move_horizon(void)
{
    const uint64_t back = below(3);

    m.horizon = m.tag > back && m.tag - back > m.horizon ? m.tag - back : m.horizon;
    expect(zcache_set_wal_horizon(m.tenant[MAIN], m.horizon), 0);
}

static void select_codec(void)
{
    static const char *const fast[] = {"lz4", "zstd:1", "none"};
    static const char *const dense[] = {"zstd:3", "zstd:1", "none"};
    const bool which = below(2) == 0;
    const uint64_t i = below(3);

    expect(zcache_codec_select(m.cache, which ? ZCACHE_TIER_FAST : ZCACHE_TIER_DENSE,
                               which ? fast[i] : dense[i]),
           0);
}

/* ---- the slot -------------------------------------------------------------------------------------- */

static void slot_open(void)
{
    struct zcache_tenant *child = NULL;
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;

    opts.name = "slot";
    const int rc = zcache_tenant_open(m.tenant[MAIN], &opts, &child);
    expect(rc, 0);
    m.tenant[SLOT] = child;
}

/* What the parent has adopted goes back to the store, as far as it was written. */
static void slot_hand_back(void)
{
    for (uint32_t key = KEYS - PAGES; key < KEYS; key++) {
        const bool there = cached(key);
        expect(zcache_delete(m.tenant[MAIN], name_of(key), ZCACHE_NOIO), there ? 0 : ZCACHE_MISS);
        m.deletes++;
        let_go(key);
    }
    m.tenant[SLOT] = NULL;
}

static void slot_close(void)
{
    const enum zcache_close_mode mode = (enum zcache_close_mode)below(3);
    int rc;

    rc = zcache_tenant_close(m.tenant[SLOT], mode);
    /* A record for each page must fit at the parent; until it does, some pages are with the one. */
    while (mode == ZCACHE_CLOSE_REPARENT && rc == -EDQUOT) {
        expect(set_limit(m.tenant[MAIN], stats_of(m.tenant[MAIN]).gauge.limit_bytes + 4 * KIB, 0),
               0);
        rc = zcache_tenant_close(m.tenant[SLOT], mode);
        m.loose++;
    }
    if (mode == ZCACHE_CLOSE_FLUSH && m.fails && rc != 0) {
        REQUIRE(rc == MODEL_WRITE_ERROR || rc == MODEL_BARRIER_ERROR);
        m.failed = true; /* also of a barrier: the next flush above it is told */
        m.loose++;
        return;
    }
    expect(rc, 0);
    m.tenant[SLOT] = mode == ZCACHE_CLOSE_REPARENT ? m.tenant[MAIN] : NULL;
    for (uint32_t key = KEYS - PAGES; key < KEYS; key++) {
        REQUIRE(mode != ZCACHE_CLOSE_FLUSH || !dirty(key));
        if (mode != ZCACHE_CLOSE_REPARENT) {
            let_go(key);
        } else {
            (void)cached(key);
        }
    }
}

static void slot_step(void)
{
    if (m.tenant[SLOT] == NULL) {
        slot_open();
    } else if (m.tenant[SLOT] == m.tenant[MAIN]) {
        slot_hand_back();
    } else {
        slot_close();
    }
}

/* ---- from callbacks -------------------------------------------------------------------------------- */

/* Another key than those of the operation under way, and without I/O. */
static void nested(void)
{
    const uint32_t key = pick_key();
    unsigned char room[MODEL_PAGE_MAX];
    size_t len = 0;

    if (m.refs[key].touched || tenant_of(key) == SLOT) {
        return;
    }
    m.refs[key].touched = true;
    const bool there = cached(key);
    const struct model_page value = value_of(key);
    if (below(2) == 0) {
        const int rc =
            zcache_get(handle_of(key), name_of(key), room, sizeof(room), &len, ZCACHE_NO_LOAD);
        m.gets++;
        judge_get(key, room, sizeof(room), len, ZCACHE_NO_LOAD, there, &value, false, false, rc);
    } else {
        const struct model_page page = new_page(key);
        model_page_make(room, &page);
        m.refs[key].put_during = m.nested_put = m.now;
        judge_put(&page, ZCACHE_NOWAIT, there, false,
                  zcache_put(handle_of(key), name_of(key), room, page.len, ZCACHE_NOWAIT));
    }
    m.refs[key].touched = false;
}

/* ---- all ------------------------------------------------------------------------------------------- */

static const struct {
    unsigned share;
    void (*run)(void);
} choices[] = {
    {400, get_one},     {300, put_one},     {60, delete_one}, {60, pin_one},     {30, get_many},
    {20, put_many},     {4, truncate_some}, {4, shrink_some}, {4, change_limit}, {2, flush_all},
    {10, move_horizon}, {2, select_codec},  {4, slot_step},
};

static void one_operation(uint64_t i)
{
    unsigned shares = 0;
    unsigned k = 0;

    m.rng.state = seed * UINT64_C(0x9e3779b97f4a7c15) + i;
    m.rng.state = rng_next(&m.rng);
    for (size_t j = 0; j < sizeof(choices) / sizeof(choices[0]); j++) {
        shares += choices[j].share;
    }
    for (uint64_t at = below(shares); at >= choices[k].share; k++) {
        at -= choices[k].share;
    }
    choices[k].run();
}

static const struct model_script calm = {.early = 256, .call = 40};
static const struct model_script failing = {.early = 256,
                                            .call = 40,
                                            .fail_batch = 6,
                                            .fail_page = 6};

static void set_phase(uint64_t i)
{
    m.fails = i / PHASE % 12 == 5;
    atomic_store(&m.store.script, m.fails ? &failing : &calm);
}

/* A tenant whose write failed is left alone for a while; a write that succeeds ends that. */
static void end_back_off(void)
{
    for (unsigned i = 0; i < 2; i++) {
        const int rc = zcache_flush(zcache_root(m.cache), 0);
        REQUIRE(rc == 0 || rc == -EAGAIN || i == 0);
    }
    m.failed = false;
}

static void compare_all(void)
{
    for (uint32_t key = 0; key < KEYS; key++) {
        unsigned char room[MODEL_PAGE_MAX];
        size_t len = 0;
        if (handle_of(key) == NULL) {
            continue;
        }
        const bool there = cached(key);
        const struct model_page value = value_of(key);
        const int rc = zcache_get(handle_of(key), name_of(key), room, sizeof(room), &len, 0);
        m.gets++;
        judge_get(key, room, sizeof(room), len, 0, there, &value, false, false, rc);
    }
}

static void open_all(void)
{
    static const unsigned which[] = {MODEL_STORE_ALL, MODEL_STORE_WRITES, 0};
    static const char *const names[] = {"main", "archive", "bare"};

    m.store.n_keys = KEYS;
    m.store.find = find_key;
    m.store.may_write = may_write;
    m.store.nested = nested;
    m.store.event = store_event;
    m.store.clock = &m.clock;
    m.store.seed = seed;
    m.store.group_shift = 3;
    m.store.batch_pages = 16;
    atomic_store(&m.store.script, &calm);
    model_store_init(&m.store);
    model_store_seed(seed);
    m.cache = open_cache(16 * MIB, NULL, "page_max=1K,start_percent=100,batch_pages=16");
    atomic_store(&m.store.cache, m.cache);
    for (unsigned t = MAIN; t <= BARE; t++) {
        struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
        const struct zcache_store callbacks =
            model_store_callbacks(&m.store, which[t], ZCACHE_STORE_SHARED_KEYS);
        opts.name = names[t];
        opts.store = &callbacks;
        opts.limits.limit_bytes = 32 * KIB;
        assert_int_equal(zcache_tenant_open(zcache_root(m.cache), &opts, &m.tenant[t]), 0);
    }
}

static void check_end(void)
{
    static const struct model_script quiet = {0};

    atomic_store(&m.store.script, &quiet);
    m.fails = false;
    m.horizon = m.tag;
    assert_int_equal(zcache_set_wal_horizon(m.tenant[MAIN], m.horizon), 0);
    end_back_off();
    flush_all();
    compare_all();
    const struct zcache_stats stats = stats_of(zcache_root(m.cache));
    assert_int_equal(stats.gauge.dirty_pages, 0);
    assert_int_equal(puts_of(&stats), m.puts);
    assert_int_equal(gets_of(&stats), m.gets);
    assert_int_equal(pins_of(&stats), m.pins);
    assert_int_equal(deletes_of(&stats), m.deletes);
    assert_int_equal(stats.count.unpins, m.unpins);
    assert_int_equal(stats.cache.shrinker_rounds, 0);
    assert_int_equal(stats.count.corrupt, 0);
    assert_true(m.put_failures > 0 || operations < 10000);
}

static void every_result_is_the_maps(void **state)
{
    (void)state;
    open_all();
    for (uint64_t i = 0; i < operations; i++) {
        const uint64_t refusals = m.refusals;
        m.now = i + 1;
        set_phase(i);
        one_operation(i);
        if (m.refusals != refusals) {
            atomic_store(&m.store.script, &calm);
            end_back_off();
        }
        if (i % (16 * (uint64_t)PHASE) == 0) {
            verify_cache(m.cache);
        }
    }
    check_end();
    (void)printf("%" PRIu64 " puts, %" PRIu64 " gets, %" PRIu64 " pins, %" PRIu64
                 " deletes; %" PRIu64 " results were determined, %" PRIu64 " were not; %" PRIu64
                 " writes were refused, %" PRIu64 " puts failed where an older version was\n",
                 m.puts, m.gets, m.pins, m.deletes, m.exact, m.loose, m.refusals, m.put_failures);
    close_cache(m.cache);
    model_store_fini(&m.store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_result_is_the_maps),
    };

    if (argc > 1) {
        operations = strtoull(argv[1], NULL, 0);
    }
    if (argc > 2) {
        seed = strtoull(argv[2], NULL, 0);
    }
    test_begin(0, NULL, seed);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
