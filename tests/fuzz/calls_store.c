/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The store of fuzz_calls: it does well, fails, answers late or early as the input says, and holds
 * the library to what it promises a store.
 */
#include "calls.h"

#include <errno.h>
#include <string.h>

#include "mathx.h"

struct version versions[VERSIONS];
struct store store = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- pages ------------------------------------------------------------------------------------- */

struct zcache_key key_of(unsigned key)
{
    return (struct zcache_key){1 + key % 2, (uint64_t)(key / 2) * 3};
}

unsigned key_number(struct zcache_key key)
{
    for (unsigned i = 0; i < KEYS; i++) {
        if (key_of(i).object == key.object && key_of(i).page == key.page) {
            return i;
        }
    }
    return KEYS;
}

/* Of each content a long stretch, from which every version takes another piece. */
static const unsigned char *stretch(uint8_t content)
{
    static unsigned char all[CONTENTS][PAGE_MOST + (size_t)8 * VERSIONS];
    uint32_t x = 1;

    if (all[TEXT][0] == 0) {
        for (size_t i = 0; i < sizeof(all[0]); i++) {
            x = x * 1664525u + 1013904223u;
            all[TEXT][i] = (unsigned char)("pages of text are repetitive "[i % 29]);
            all[NOISE][i] = (unsigned char)(x >> 24);
            all[HALF][i] = i / 64 % 2 == 0 ? 0 : all[NOISE][i];
            all[RUNS][i] = all[NOISE][i / 64];
        }
    }
    return all[content];
}

void version_fill(uint8_t version, unsigned char *buf)
{
    const struct version *v = &versions[version];

    if (v->content == SAME) {
        memset(buf, version, v->len);
    } else {
        memcpy(buf, stretch(v->content) + (size_t)8 * version, v->len);
    }
    buf[0] = version;
}

bool version_is(uint8_t version, const void *bytes, size_t len)
{
    const struct version *v = &versions[version];
    const unsigned char *p = bytes;

    if (version == 0 || v->len != len || p[0] != version) {
        return false;
    }
    if (v->content == SAME) {
        return memcmp(p, p + 1, len - 1) == 0;
    }
    return memcmp(p + 1, stretch(v->content) + (size_t)8 * version + 1, len - 1) == 0;
}

/* ---- records, under the lock ------------------------------------------------------------------- */

static unsigned owner_of(uint64_t tenant_id)
{
    for (unsigned i = 0; i < store.n_owners; i++) {
        if (store.owner[i].id == tenant_id) {
            return i;
        }
    }
    return TENANTS;
}

static struct record *find(const struct zcache_io *io, const struct zcache_io_page *page)
{
    const unsigned owner = owner_of(io->tenant_id);
    const unsigned key = key_number(page->key);

    CHECK(owner < TENANTS && key < KEYS);
    return &store.owner[owner].record[key];
}

/* ---- what a batch must be ---------------------------------------------------------------------- */

static bool in_order(struct zcache_key a, struct zcache_key b)
{
    return a.object < b.object || (a.object == b.object && a.page < b.page);
}

static void check_batch(const struct zcache_io *io, enum zcache_io_op op)
{
    CHECK(io->op == op);
    CHECK(owner_of(io->tenant_id) < store.n_owners);
    CHECK(io->tenant_ctx == (owner_of(io->tenant_id) == 0 ? NULL : &store));
    CHECK(io->tenant_name != NULL && io->tenant_name[0] != '\0');
    CHECK((io->n_pages == 0) == (op == ZCACHE_IO_BARRIER));
    for (size_t i = 0; i < io->n_pages; i++) {
        CHECK_EQUAL(io->pages[i].status, 0);
        CHECK(i == 0 || in_order(io->pages[i - 1].key, io->pages[i].key));
    }
}

static void arrive_write(const struct zcache_io *io, const struct zcache_io_page *page)
{
    const uint8_t v = *(const uint8_t *)page->data;
    const unsigned owner = owner_of(io->tenant_id);
    struct record *r = find(io, page);

    CHECK(page->key.object == io->pages[0].key.object);
    CHECK(page->key.page >> 4 == io->pages[0].key.page >> 4);
    CHECK(version_is(v, page->data, page->len));
    CHECK_EQUAL(versions[v].key, key_number(page->key));
    CHECK((versions[v].owners >> owner & 1) != 0);
    CHECK(page->tag == versions[v].tag || (page->tag == 0 && versions[v].stored));
    CHECK(page->tag <= store.owner[owner].horizon);
    CHECK(!r->writing);
    CHECK_EQUAL(r->discards, 0);
    CHECK(v >= r->arrived);
    CHECK(v > r->forbidden);
    r->arrived = v;
    r->writing = true;
}

static void arrive(const struct zcache_io *io)
{
    for (size_t i = 0; i < io->n_pages; i++) {
        struct record *r;

        if (io->op == ZCACHE_IO_DISCARD && io->range != 0) {
            return;
        }
        r = find(io, &io->pages[i]);
        if (io->op == ZCACHE_IO_WRITE) {
            arrive_write(io, &io->pages[i]);
        } else if (io->op == ZCACHE_IO_READ) {
            CHECK(!r->writing && r->discards == 0);
        } else {
            CHECK(!r->writing);
        }
    }
}

/* Every record that a discard means. */
static void each_discarded(const struct zcache_io *io, void (*act)(struct record *))
{
    const struct zcache_key first = io->pages[0].key;
    struct owner *owner = &store.owner[owner_of(io->tenant_id)];

    for (unsigned k = 0; k < KEYS; k++) {
        const struct zcache_key key = key_of(k);

        if (key.object == first.object &&
            (io->range != 0 ? key.page >= first.page : key.page == first.page)) {
            act(&owner->record[k]);
        }
    }
}

static void begin_discard(struct record *r)
{
    r->discards++;
}

static void end_discard(struct record *r)
{
    CHECK(r->discards > 0);
    r->discards--;
}

static void discard(struct record *r)
{
    CHECK(!r->writing);
    r->version = 0;
    r->unsafe = false;
}

/* ---- taking effect ----------------------------------------------------------------------------- */

static void apply_page(const struct zcache_io *io, struct zcache_io_page *page)
{
    struct record *r = find(io, page);

    if (io->op == ZCACHE_IO_WRITE) {
        r->version = r->taken = *(const uint8_t *)page->data;
        r->unsafe = true;
        versions[r->version].stored = true;
    } else if (r->version == 0) {
        page->status = ZCACHE_MISS;
    } else {
        CHECK(versions[r->version].len <= page->cap);
        version_fill(r->version, page->buf);
        page->len = versions[r->version].len;
    }
}

static void apply_barrier(const struct zcache_io *io)
{
    struct owner *owner = &store.owner[owner_of(io->tenant_id)];

    for (unsigned k = 0; k < KEYS; k++) {
        owner->record[k].unsafe = false;
    }
}

int store_error(enum zcache_io_op op)
{
    static const int errors[] = {0, -EIO, -ENXIO, -EREMOTEIO, -ENOSPC};

    return errors[op];
}

/* The batch's result. */
static int apply(struct zcache_io *io, enum how how)
{
    const bool fails = how == FAIL_BATCH;

    if (!fails && io->op == ZCACHE_IO_BARRIER) {
        apply_barrier(io);
    }
    if (!fails && io->op == ZCACHE_IO_DISCARD) {
        if (how == FAIL_PAGES) {
            io->pages[0].status = store_error(io->op);
        } else {
            each_discarded(io, discard);
        }
    }
    for (size_t i = 0; i < io->n_pages; i++) {
        struct zcache_io_page *page = &io->pages[i];

        if (io->op == ZCACHE_IO_DISCARD) {
            break;
        }
        if (!fails && how == FAIL_PAGES && i % 2 == 0) {
            page->status = store_error(io->op);
        } else if (!fails) {
            apply_page(io, page);
        }
        if (io->op == ZCACHE_IO_WRITE) {
            find(io, page)->writing = false;
        }
    }
    if (io->op == ZCACHE_IO_DISCARD) {
        each_discarded(io, end_discard);
    }
    return fails ? store_error(io->op) : 0;
}

/* ---- callbacks --------------------------------------------------------------------------------- */

static bool keep_for_later(struct zcache_io *io)
{
    struct pending *p = &store.pending[store.n_pending];

    if (store.n_pending == PENDING_MAX) {
        return false;
    }
    store.n_pending++;
    p->io = io;
    p->token = io->token;
    for (size_t i = 0; io->op == ZCACHE_IO_WRITE && i < io->n_pages; i++) {
        CHECK(i < sizeof(p->version));
        p->version[i] = *(const uint8_t *)io->pages[i].data;
    }
    return true;
}

/* What would wait for the batch in hand says so. */
static void call_back(const struct zcache_io *io)
{
    struct zcache_tenant *root = zcache_root(store.cache);
    struct zcache_stats stats = ZCACHE_STATS_INIT;
    struct zcache_tenant *owner = NULL;

    if (root == NULL) {
        return;
    }
    CHECK_EQUAL(zcache_flush(root, 1), -EDEADLK);
    CHECK_EQUAL(zcache_close(store.cache, ZCACHE_DISCARD), -EDEADLK);
    CHECK_EQUAL(zcache_verify(store.cache), -EDEADLK);
    CHECK_EQUAL(zcache_stats(root, &stats), 0);
    if (io->op == ZCACHE_IO_WRITE && zcache_tenant_find(store.cache, io->tenant_id, &owner) == 0 &&
        zcache_tenant_id(owner) == io->tenant_id) {
        CHECK_EQUAL(zcache_delete(owner, io->pages[0].key, ZCACHE_NOIO), -EDEADLK);
    }
}

static int run(struct zcache_io *io, enum zcache_io_op op)
{
    enum how how;
    bool reenter;
    int rc;

    (void)pthread_mutex_lock(&store.lock);
    check_batch(io, op);
    arrive(io);
    if (op == ZCACHE_IO_DISCARD) {
        each_discarded(io, begin_discard);
    }
    how = store.how[op];
    reenter = store.reenter && op != ZCACHE_IO_READ;
    (void)pthread_mutex_unlock(&store.lock);
    if (reenter) {
        call_back(io);
    }
    (void)pthread_mutex_lock(&store.lock);
    if (how == LATER && keep_for_later(io)) {
        rc = ZCACHE_PENDING;
    } else {
        rc = apply(io, how);
    }
    (void)pthread_mutex_unlock(&store.lock);
    if (how == EARLY) {
        CHECK_EQUAL(zcache_done(store.cache, io->token, rc), 0);
        rc = ZCACHE_PENDING;
    }
    return rc;
}

static int run_write(void *ctx, struct zcache_io *io)
{
    CHECK(ctx == &store);
    return run(io, ZCACHE_IO_WRITE);
}

static int run_read(void *ctx, struct zcache_io *io)
{
    CHECK(ctx == &store);
    return run(io, ZCACHE_IO_READ);
}

static int run_barrier(void *ctx, struct zcache_io *io)
{
    CHECK(ctx == &store);
    return run(io, ZCACHE_IO_BARRIER);
}

static int run_discard(void *ctx, struct zcache_io *io)
{
    CHECK(ctx == &store);
    return run(io, ZCACHE_IO_DISCARD);
}

static void run_detach(void *ctx)
{
    CHECK(ctx == &store);
    store.detached++;
}

struct zcache_store store_attach(unsigned which, unsigned flags)
{
    struct zcache_store callbacks = ZCACHE_STORE_INIT;

    callbacks.flags = flags;
    callbacks.ctx = &store;
    callbacks.write = (which & WRITES) != 0 ? run_write : NULL;
    callbacks.read = (which & READS) != 0 ? run_read : NULL;
    callbacks.barrier = (which & BARRIERS) != 0 ? run_barrier : NULL;
    callbacks.discard = (which & DISCARDS) != 0 ? run_discard : NULL;
    callbacks.detach = run_detach;
    return callbacks;
}

/* ---- completion -------------------------------------------------------------------------------- */

void store_complete(unsigned which, bool well)
{
    struct pending p;
    int status;

    (void)pthread_mutex_lock(&store.lock);
    if (store.n_pending == 0) {
        (void)pthread_mutex_unlock(&store.lock);
        return;
    }
    which %= store.n_pending;
    p = store.pending[which];
    store.pending[which] = store.pending[--store.n_pending];
    CHECK(p.io->token == p.token);
    for (size_t i = 0; p.io->op == ZCACHE_IO_WRITE && i < p.io->n_pages; i++) {
        CHECK(version_is(p.version[i], p.io->pages[i].data, p.io->pages[i].len));
    }
    status = apply(p.io, well ? WELL : FAIL_BATCH);
    (void)pthread_mutex_unlock(&store.lock);
    CHECK_EQUAL(zcache_done(store.cache, p.token, status), 0);
    CHECK_EQUAL(zcache_done(store.cache, p.token, status), -ENOENT);
}

void store_complete_all(void)
{
    (void)pthread_mutex_lock(&store.lock);
    for (unsigned op = 0; op < ZC_ARRAY_SIZE(store.how); op++) {
        store.how[op] = WELL;
    }
    store.reenter = false;
    (void)pthread_mutex_unlock(&store.lock);
    while (pending_count() > 0) {
        store_complete(0, true);
    }
}

/* ---- for the caller ---------------------------------------------------------------------------- */

void store_reset(void)
{
    memset(versions, 0, sizeof(versions));
    memset(store.owner, 0, sizeof(store.owner));
    memset(store.how, 0, sizeof(store.how));
    store.n_owners = store.n_pending = store.attached = store.detached = 0;
    store.reenter = false;
    store.cache = NULL;
}

struct record record_of(unsigned owner, unsigned key)
{
    struct record r;

    (void)pthread_mutex_lock(&store.lock);
    r = store.owner[owner].record[key];
    (void)pthread_mutex_unlock(&store.lock);
    return r;
}

void record_put(unsigned owner, unsigned key, uint8_t version)
{
    (void)pthread_mutex_lock(&store.lock);
    store.owner[owner].record[key].version = version;
    store.owner[owner].record[key].taken = version;
    versions[version].stored = true;
    (void)pthread_mutex_unlock(&store.lock);
}

void record_forbid(unsigned owner, unsigned key, uint8_t version)
{
    (void)pthread_mutex_lock(&store.lock);
    CHECK(!store.owner[owner].record[key].writing);
    store.owner[owner].record[key].forbidden = version;
    (void)pthread_mutex_unlock(&store.lock);
}

void record_begin_anew(unsigned owner, unsigned key)
{
    (void)pthread_mutex_lock(&store.lock);
    store.owner[owner].record[key].arrived = 0;
    store.owner[owner].record[key].forbidden = 0;
    (void)pthread_mutex_unlock(&store.lock);
}

unsigned pending_count(void)
{
    unsigned n;

    (void)pthread_mutex_lock(&store.lock);
    n = store.n_pending;
    (void)pthread_mutex_unlock(&store.lock);
    return n;
}
