/* SPDX-License-Identifier: BSD-2-Clause */
#include "store.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define STORE_THREAD 99u /* in histories */
#define DEPTH_MAX    2u  /* of callbacks within callbacks that call the cache */

static _Thread_local struct rng own_rng;
static _Thread_local bool seeded;
static _Thread_local unsigned depth;

/* ---- random choices -------------------------------------------------------------------------------- */

void model_store_seed(uint64_t seed)
{
    own_rng.state = seed;
    seeded = true;
}

struct rng *model_store_rng(struct model_store *store)
{
    if (!seeded) {
        model_store_seed(store->seed * 1000003 + atomic_fetch_add(&store->strangers, 1));
    }
    return &own_rng;
}

unsigned model_store_depth(void)
{
    return depth;
}

static bool chance(struct rng *rng, unsigned of_1024)
{
    return rng_below(rng, 1024) < of_1024;
}

/* What will become of a batch. */
static struct model_job draw(struct model_store *store, struct zcache_io *io)
{
    static const int errors[] = {[ZCACHE_IO_WRITE] = MODEL_WRITE_ERROR,
                                 [ZCACHE_IO_READ] = MODEL_READ_ERROR,
                                 [ZCACHE_IO_BARRIER] = MODEL_BARRIER_ERROR,
                                 [ZCACHE_IO_DISCARD] = MODEL_DISCARD_ERROR};
    const struct model_script *script = atomic_load(&store->script);
    struct rng *rng = model_store_rng(store);
    struct model_job job = {.io = io};

    if (chance(rng, script->fail_batch)) {
        job.status = errors[io->op];
        job.fails = UINT64_MAX;
        job.refuses = rng_below(rng, 2) == 0 ? UINT64_MAX : rng_next(rng);
        atomic_fetch_add(&store->failed_batches, 1);
        return job;
    }
    for (size_t i = 0; i < io->n_pages; i++) {
        if (chance(rng, script->fail_page)) {
            job.fails |= UINT64_C(1) << i;
            job.refuses |= rng_below(rng, 2) << i;
        }
    }
    for (size_t i = 0; i < io->n_pages; i++) {
        if ((job.fails >> i & 1) != 0) {
            io->pages[i].status = errors[io->op];
        }
    }
    return job;
}

/* ---- the content ----------------------------------------------------------------------------------- */

/* Under the key's lock. */
static void note(struct model_store *store,
                 struct model_stored *at,
                 enum model_op op,
                 uint32_t version)
{
    if (store->event != NULL) {
        store->event((uint32_t)(at - store->stored), op, version);
        return;
    }
    if (at->n_log == at->cap_log) {
        at->cap_log = at->cap_log == 0 ? 16 : at->cap_log * 2;
        at->log = realloc(at->log, at->cap_log * sizeof(*at->log));
        REQUIRE(at->log != NULL);
    }
    const uint64_t now = atomic_fetch_add(store->clock, 1);
    at->log[at->n_log++] = (struct model_event){
        .call = now, .ret = now, .op = (uint16_t)op, .version = version, .thread = STORE_THREAD};
}

static struct model_stored *lock_key(struct model_store *store, uint32_t key)
{
    struct model_stored *at = &store->stored[key];

    REQUIRE(key < store->n_keys);
    pthread_mutex_lock(&at->lock);
    return at;
}

/* A write comes: whole, the page it says it is, at most one of a key, not past the horizon. */
static void arrive(struct model_store *store, struct zcache_io *io)
{
    for (size_t i = 0; i < io->n_pages; i++) {
        const struct zcache_io_page *page = &io->pages[i];
        const uint32_t key = store->find(page->key);
        struct model_page named;

        REQUIRE(model_page_read(page->data, page->len, &named));
        REQUIRE_EQUAL(named.key, key);
        REQUIRE_EQUAL(named.tag, page->tag);
        REQUIRE(store->may_write(io->tenant_ctx, page->tag));
        struct model_stored *at = lock_key(store, key);
        REQUIRE_EQUAL(at->flying, 0);
        at->flying = named.version;
        note(store, at, MODEL_ARRIVED, named.version);
        pthread_mutex_unlock(&at->lock);
    }
}

static void write_page(struct model_store *store, struct zcache_io_page *page)
{
    struct model_stored *at = lock_key(store, store->find(page->key));
    struct model_page named;

    REQUIRE(model_page_read(page->data, page->len, &named)); /* still as it came */
    REQUIRE_EQUAL(named.version, at->flying);
    at->page = named;
    note(store, at, MODEL_STORED, named.version);
    pthread_mutex_unlock(&at->lock);
}

static void read_page(struct model_store *store, struct zcache_io_page *page)
{
    const struct model_page found = model_store_get(store, store->find(page->key));

    if (found.version == 0) {
        page->status = ZCACHE_MISS;
        return;
    }
    REQUIRE(page->cap >= found.len);
    model_page_make(page->buf, &found);
    page->len = found.len;
}

static void forget(struct model_store *store, uint32_t key)
{
    struct model_stored *at = lock_key(store, key);

    REQUIRE_EQUAL(at->flying, 0);
    at->page = (struct model_page){0};
    note(store, at, MODEL_STORED, 0);
    pthread_mutex_unlock(&at->lock);
}

static void discard(struct model_store *store, const struct zcache_io *io, struct zcache_key key)
{
    const uint32_t first = store->find(key);

    forget(store, first);
    if (io->range == 0) {
        return;
    }
    for (key.page++; store->find(key) != UINT32_MAX; key.page++) {
        forget(store, store->find(key));
    }
}

static void take_effect(struct model_store *store, struct model_job *job)
{
    struct zcache_io *io = job->io;

    job->done = true;
    for (size_t i = 0; i < io->n_pages; i++) {
        struct zcache_io_page *page = &io->pages[i];
        if ((job->refuses >> i & 1) != 0 ||
            (io->op == ZCACHE_IO_READ && (job->fails >> i & 1) != 0)) {
            continue;
        }
        if (io->op == ZCACHE_IO_WRITE) {
            write_page(store, page);
        } else if (io->op == ZCACHE_IO_READ) {
            read_page(store, page);
        } else {
            discard(store, io, page->key);
        }
    }
}

/* The last that happens to a batch before the library hears of it. */
static void land(struct model_store *store, struct model_job *job)
{
    struct zcache_io *io = job->io;

    if (!job->done) {
        take_effect(store, job);
    }
    for (size_t i = 0; i < io->n_pages && io->op == ZCACHE_IO_WRITE; i++) {
        struct model_stored *at = lock_key(store, store->find(io->pages[i].key));
        const bool failed = (job->fails >> i & 1) != 0;
        note(store, at, failed ? MODEL_REFUSED : MODEL_WRITTEN, at->flying);
        at->flying = 0;
        pthread_mutex_unlock(&at->lock);
    }
}

/* ---- completion ------------------------------------------------------------------------------------ */

static void complete(struct model_store *store, struct model_job *job)
{
    const uint64_t token = job->io->token;
    const int status = job->status;
    int rc;

    land(store, job);
    do {
        rc = zcache_done(atomic_load(&store->cache), token, status);
    } while (rc == -ENOMEM); /* this thread's first call, and the cache is full: it says, again */
    REQUIRE_EQUAL(rc, 0);
}

/* Under the lock, which is dropped meanwhile. */
static void complete_some(struct model_store *store)
{
    const uint64_t pick = rng_below(model_store_rng(store), store->n_jobs);
    struct model_job job = store->jobs[pick];

    store->jobs[pick] = store->jobs[--store->n_jobs];
    store->completing++;
    pthread_mutex_unlock(&store->lock);
    complete(store, &job);
    pthread_mutex_lock(&store->lock);
    store->completing--;
    pthread_cond_broadcast(&store->changed);
}

static void dawdle(struct rng *rng)
{
    for (uint64_t n = 1 + rng_below(rng, 8); n > 0; n--) {
        sched_yield();
    }
}

static void *complete_jobs(void *ctx)
{
    struct model_store *store = ctx;
    struct rng *rng = model_store_rng(store);

    pthread_mutex_lock(&store->lock);
    while (!store->stopping || store->n_jobs > 0) {
        if (store->n_jobs == 0) {
            pthread_cond_wait(&store->changed, &store->lock);
            continue;
        }
        if (chance(rng, 256)) {
            pthread_mutex_unlock(&store->lock);
            dawdle(rng);
            if (store->nested != NULL && chance(rng, atomic_load(&store->script)->call)) {
                store->nested();
            }
            pthread_mutex_lock(&store->lock);
            continue;
        }
        complete_some(store);
    }
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

void model_store_help(struct model_store *store)
{
    pthread_mutex_lock(&store->lock);
    if (store->n_jobs > 0) {
        complete_some(store);
    }
    pthread_mutex_unlock(&store->lock);
}

void model_store_drain(struct model_store *store)
{
    pthread_mutex_lock(&store->lock);
    while (store->n_jobs + store->completing > 0) {
        pthread_cond_wait(&store->changed, &store->lock);
    }
    pthread_mutex_unlock(&store->lock);
}

/* Whether there was room. */
static bool submit(struct model_store *store, const struct model_job *job)
{
    pthread_mutex_lock(&store->lock);
    const bool room = store->n_jobs < MODEL_JOBS;
    if (room) {
        store->jobs[store->n_jobs++] = *job;
        pthread_cond_broadcast(&store->changed);
    }
    pthread_mutex_unlock(&store->lock);
    return room;
}

/* ---- the callbacks --------------------------------------------------------------------------------- */

static void check_batch(const struct model_store *store, const struct zcache_io *io)
{
    REQUIRE(io->tenant_name != NULL && io->tenant_id != UINT64_MAX);
    REQUIRE((io->n_pages == 0) == (io->op == ZCACHE_IO_BARRIER));
    REQUIRE(io->n_pages <= store->batch_pages && io->n_pages <= MODEL_FATES);
    for (size_t i = 0; i < io->n_pages; i++) {
        const struct zcache_key key = io->pages[i].key;
        REQUIRE_EQUAL(io->pages[i].status, 0);
        if (i > 0) {
            const struct zcache_key before = io->pages[i - 1].key;
            REQUIRE(before.object < key.object ||
                    (before.object == key.object && before.page < key.page));
        }
        if (io->op == ZCACHE_IO_WRITE) {
            REQUIRE(key.object == io->pages[0].key.object);
            REQUIRE(key.page >> store->group_shift == io->pages[0].key.page >> store->group_shift);
        }
    }
}

static void call_back(struct model_store *store)
{
    const struct model_script *script = atomic_load(&store->script);

    if (store->nested != NULL && depth <= DEPTH_MAX &&
        chance(model_store_rng(store), script->call)) {
        atomic_fetch_add(&store->calls, 1);
        store->nested();
    }
}

static int run(struct model_store *store, struct zcache_io *io)
{
    const struct model_script *script = atomic_load(&store->script);
    struct rng *rng = model_store_rng(store);

    if (io->op == ZCACHE_IO_WRITE) {
        arrive(store, io);
    }
    struct model_job job = draw(store, io);
    call_back(store);
    if (chance(rng, script->slow)) {
        dawdle(rng);
    }
    if (chance(rng, 512)) {
        take_effect(store, &job);
        call_back(store);
    }
    const uint64_t how = rng_below(rng, 1024);
    if (how < script->queued && submit(store, &job)) {
        atomic_fetch_add(&store->queued_batches, 1);
        call_back(store); /* it may be completed by now, and the callback still runs */
        return ZCACHE_PENDING;
    }
    if (how >= script->queued && how < script->queued + script->early) {
        complete(store, &job);
        call_back(store);
        return ZCACHE_PENDING;
    }
    land(store, &job);
    return job.status;
}

static int enter(void *ctx, struct zcache_io *io, enum zcache_io_op op)
{
    struct model_port *port = ctx;
    struct model_store *store = port->store;

    REQUIRE_EQUAL(io->op, op);
    REQUIRE_EQUAL(atomic_load(&store->detached), 0);
    check_batch(store, io);
    const unsigned running = atomic_fetch_add(&port->running, 1);
    REQUIRE(running == 0 || (port->flags & ZCACHE_STORE_SERIAL) == 0);
    atomic_fetch_add(&store->batches, 1);
    depth++;
    const int rc = run(store, io);
    depth--;
    atomic_fetch_sub(&port->running, 1);
    return rc;
}

static int run_write(void *ctx, struct zcache_io *io)
{
    return enter(ctx, io, ZCACHE_IO_WRITE);
}

static int run_read(void *ctx, struct zcache_io *io)
{
    return enter(ctx, io, ZCACHE_IO_READ);
}

static int run_barrier(void *ctx, struct zcache_io *io)
{
    return enter(ctx, io, ZCACHE_IO_BARRIER);
}

static int run_discard(void *ctx, struct zcache_io *io)
{
    return enter(ctx, io, ZCACHE_IO_DISCARD);
}

static void run_detach(void *ctx)
{
    struct model_port *port = ctx;

    REQUIRE_EQUAL(atomic_load(&port->running), 0);
    atomic_fetch_add(&port->store->detached, 1);
}

struct zcache_store model_store_callbacks(struct model_store *store, unsigned which, unsigned flags)
{
    struct zcache_store callbacks = ZCACHE_STORE_INIT;

    REQUIRE(store->n_ports < MODEL_PORTS);
    struct model_port *port = &store->ports[store->n_ports++];
    port->store = store;
    port->flags = flags;
    callbacks.flags = flags;
    callbacks.group_shift = store->group_shift;
    callbacks.ctx = port;
    callbacks.write = (which & MODEL_STORE_WRITES) != 0 ? run_write : NULL;
    callbacks.read = (which & MODEL_STORE_READS) != 0 ? run_read : NULL;
    callbacks.barrier = (which & MODEL_STORE_BARRIERS) != 0 ? run_barrier : NULL;
    callbacks.discard = (which & MODEL_STORE_DISCARDS) != 0 ? run_discard : NULL;
    callbacks.detach = run_detach;
    return callbacks;
}

/* ---- directly -------------------------------------------------------------------------------------- */

void model_store_put(struct model_store *store, const struct model_page *page)
{
    struct model_stored *at = lock_key(store, page->key);

    REQUIRE_EQUAL(at->flying, 0);
    at->page = *page;
    note(store, at, MODEL_STORED, page->version);
    pthread_mutex_unlock(&at->lock);
}

struct model_page model_store_get(struct model_store *store, uint32_t key)
{
    struct model_stored *at = lock_key(store, key);
    const struct model_page page = at->page;

    pthread_mutex_unlock(&at->lock);
    return page;
}

size_t model_store_take_log(struct model_store *store, uint32_t key, struct model_event **out)
{
    struct model_stored *at = lock_key(store, key);
    const size_t n = at->n_log;

    *out = n > 0 ? at->log : NULL;
    if (n > 0) {
        at->log = NULL;
        at->n_log = at->cap_log = 0;
    }
    pthread_mutex_unlock(&at->lock);
    return n;
}

/* ---- life ------------------------------------------------------------------------------------------ */

void model_store_init(struct model_store *store)
{
    store->stored = calloc(store->n_keys, sizeof(*store->stored));
    REQUIRE(store->stored != NULL);
    for (uint32_t i = 0; i < store->n_keys; i++) {
        pthread_mutex_init(&store->stored[i].lock, NULL);
    }
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->changed, NULL);
    REQUIRE_EQUAL(pthread_create(&store->thread, NULL, complete_jobs, store), 0);
}

void model_store_fini(struct model_store *store)
{
    REQUIRE_EQUAL(atomic_load(&store->detached), store->n_ports);
    pthread_mutex_lock(&store->lock);
    store->stopping = true;
    pthread_cond_broadcast(&store->changed);
    pthread_mutex_unlock(&store->lock);
    pthread_join(store->thread, NULL);
    for (uint32_t i = 0; i < store->n_keys; i++) {
        pthread_mutex_destroy(&store->stored[i].lock);
        free(store->stored[i].log);
    }
    free(store->stored);
    pthread_mutex_destroy(&store->lock);
    pthread_cond_destroy(&store->changed);
}
