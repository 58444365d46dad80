/* SPDX-License-Identifier: BSD-2-Clause */
#include "mem_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 16384u

struct mem_record {
    struct mem_record *next;
    uint64_t tenant_id; /* 0 where keys are shared */
    struct zcache_key key;
    void *data; /* NULL: no such page */
    size_t len;
    uint64_t version;   /* of data, 0 if it does not say */
    uint64_t durable;   /* version that a barrier followed */
    uint64_t arrived;   /* highest version of any write */
    uint64_t forbidden; /* no write up to this version may come */
    bool in_flight;
};

struct mem_job {
    struct mem_job *next;
    struct zcache_io *io;
    void **copies; /* what a write's pages held when it was submitted */
};

_Thread_local unsigned mem_store_calls_here;

/* ---- records, under the lock ------------------------------------------------------------------ */

static struct mem_record *record_of(struct mem_store *store,
                                    uint64_t tenant_id,
                                    struct zcache_key key)
{
    if ((store->flags & ZCACHE_STORE_SHARED_KEYS) != 0) {
        tenant_id = 0;
    }
    struct rng hash = {tenant_id * 31 + key.object * 131071 + key.page};
    struct mem_record **at = &store->buckets[rng_next(&hash) % BUCKETS];

    for (struct mem_record *record = *at; record != NULL; record = record->next) {
        if (record->tenant_id == tenant_id && record->key.object == key.object &&
            record->key.page == key.page) {
            return record;
        }
    }
    struct mem_record *record = calloc(1, sizeof(*record));
    REQUIRE(record != NULL);
    record->tenant_id = tenant_id;
    record->key = key;
    record->next = *at;
    *at = record;
    return record;
}

/* Version of a page that names itself, which must then be the page of @key; otherwise 0. */
static uint64_t version_of(const void *data, size_t len, struct zcache_key key)
{
    struct zcache_key named;
    uint64_t version;

    if (!page_named(data, len, &named, &version)) {
        return 0;
    }
    REQUIRE(named.object == key.object && named.page == key.page);
    return version;
}

static void record_set(struct mem_record *record, const void *data, size_t len)
{
    void *copy = NULL;

    if (data != NULL) {
        copy = malloc(len);
        REQUIRE(copy != NULL);
        memcpy(copy, data, len);
    }
    free(record->data);
    record->data = copy;
    record->len = len;
    record->version = copy != NULL ? version_of(copy, len, record->key) : 0;
}

/* ---- what every batch must look like ------------------------------------------------------------ */

static int key_order(struct zcache_key a, struct zcache_key b)
{
    if (a.object != b.object) {
        return a.object < b.object ? -1 : 1;
    }
    return a.page < b.page ? -1 : a.page > b.page;
}

static void check_batch(const struct mem_store *store, const struct zcache_io *io)
{
    REQUIRE(io->op >= ZCACHE_IO_WRITE && io->op <= ZCACHE_IO_DISCARD);
    REQUIRE(io->tenant_name != NULL);
    REQUIRE(io->tenant_id != UINT64_MAX);
    if (io->op == ZCACHE_IO_BARRIER) {
        REQUIRE(io->n_pages == 0);
        return;
    }
    REQUIRE(io->n_pages > 0 && io->pages != NULL);
    REQUIRE(!io->range || (io->op == ZCACHE_IO_DISCARD && io->n_pages == 1));
    if (io->op != ZCACHE_IO_DISCARD) {
        REQUIRE(io->n_pages <= store->batch_pages);
    }

    const unsigned shift = store->group_shift;
    for (size_t i = 0; i < io->n_pages; i++) {
        const struct zcache_io_page *page = &io->pages[i];
        REQUIRE_EQUAL(page->status, 0);
        if (i > 0) {
            REQUIRE(key_order(page[-1].key, page->key) < 0);
        }
        if (io->op == ZCACHE_IO_WRITE) {
            REQUIRE(page->data != NULL && page->buf == NULL && page->len > 0);
            REQUIRE(page->key.object == io->pages[0].key.object);
            REQUIRE(page->key.page >> shift == io->pages[0].key.page >> shift);
        } else if (io->op == ZCACHE_IO_READ) {
            REQUIRE(page->data == NULL && page->buf != NULL && page->cap > 0);
        } else {
            REQUIRE(page->data == NULL && page->buf == NULL);
        }
    }
}

/* ---- the operations ---------------------------------------------------------------------------- */

/* Under the lock. */
static void arrive_write(struct mem_store *store, struct zcache_io *io)
{
    for (size_t i = 0; i < io->n_pages; i++) {
        const struct zcache_io_page *page = &io->pages[i];
        struct mem_record *record = record_of(store, io->tenant_id, page->key);
        const uint64_t version = version_of(page->data, page->len, page->key);

        REQUIRE(!record->in_flight);
        REQUIRE(version >= record->arrived);
        REQUIRE(version == 0 || version > record->forbidden);
        record->in_flight = true;
        record->arrived = version;
    }
}

static void drop_range(struct mem_store *store, uint64_t tenant_id, struct zcache_key first)
{
    if ((store->flags & ZCACHE_STORE_SHARED_KEYS) != 0) {
        tenant_id = 0;
    }
    for (unsigned i = 0; i < BUCKETS; i++) {
        for (struct mem_record *record = store->buckets[i]; record != NULL; record = record->next) {
            if (record->tenant_id == tenant_id && record->key.object == first.object &&
                record->key.page >= first.page) {
                REQUIRE(!record->in_flight);
                record_set(record, NULL, 0);
                record->durable = 0;
            }
        }
    }
}

static void make_durable(struct mem_store *store)
{
    for (unsigned i = 0; i < BUCKETS; i++) {
        for (struct mem_record *record = store->buckets[i]; record != NULL; record = record->next) {
            record->durable = record->version;
        }
    }
}

static void apply_page(struct mem_store *store,
                       const struct zcache_io *io,
                       struct zcache_io_page *page)
{
    struct mem_record *record = record_of(store, io->tenant_id, page->key);

    if (io->op == ZCACHE_IO_WRITE) {
        record_set(record, page->data, page->len);
    } else if (io->op == ZCACHE_IO_DISCARD) {
        REQUIRE(!record->in_flight);
        record_set(record, NULL, 0);
        record->durable = 0;
    } else if (record->data == NULL) {
        page->status = ZCACHE_MISS;
    } else {
        REQUIRE(record->len <= page->cap);
        memcpy(page->buf, record->data, record->len);
        page->len = record->len;
    }
}

/* Let the batch take effect; its result.  Takes the lock. */
static int apply(struct mem_store *store, struct zcache_io *io)
{
    int left = atomic_load(&store->fail_batches[io->op]);
    while (left > 0 &&
           !atomic_compare_exchange_weak(&store->fail_batches[io->op], &left, left - 1)) {
        ;
    }

    pthread_mutex_lock(&store->lock);
    if (left <= 0 && io->op == ZCACHE_IO_BARRIER) {
        make_durable(store);
    } else if (left <= 0 && io->range) {
        drop_range(store, io->tenant_id, io->pages[0].key);
    }
    for (size_t i = 0; i < io->n_pages; i++) {
        struct zcache_io_page *page = &io->pages[i];
        if (left <= 0 && !io->range) {
            if (store->page_status != NULL) {
                page->status = store->page_status(store, io, page);
            }
            if (page->status == 0) {
                apply_page(store, io, page);
            }
        }
        if (io->op == ZCACHE_IO_WRITE) {
            record_of(store, io->tenant_id, page->key)->in_flight = false;
        }
    }
    pthread_mutex_unlock(&store->lock);
    return left > 0 ? atomic_load(&store->fail_status) : 0;
}

/* Under the lock. */
static void pass_gate(struct mem_store *store, enum zcache_io_op op)
{
    store->waiting[op]++;
    pthread_cond_broadcast(&store->changed);
    while (store->permits[op] == 0) {
        pthread_cond_wait(&store->changed, &store->lock);
    }
    if (store->permits[op] > 0) {
        store->permits[op]--;
    }
    store->waiting[op]--;
}

static void finish(struct mem_store *store, struct zcache_io *io)
{
    const uint64_t token = io->token;
    const int status = apply(store, io);
    REQUIRE_EQUAL(zcache_done(atomic_load(&store->cache), token, status), 0);
}

/* ---- completion by another thread ------------------------------------------------------------- */

static void **copy_pages(const struct zcache_io *io)
{
    void **copies = calloc(io->n_pages, sizeof(*copies));
    REQUIRE(copies != NULL);
    for (size_t i = 0; i < io->n_pages; i++) {
        copies[i] = malloc(io->pages[i].len);
        REQUIRE(copies[i] != NULL);
        memcpy(copies[i], io->pages[i].data, io->pages[i].len);
    }
    return copies;
}

static void check_copies(const struct zcache_io *io, void **copies)
{
    for (size_t i = 0; i < io->n_pages; i++) {
        REQUIRE(memcmp(copies[i], io->pages[i].data, io->pages[i].len) == 0);
        free(copies[i]);
    }
    free(copies);
}

static int submit(struct mem_store *store, struct zcache_io *io)
{
    struct mem_job *job = calloc(1, sizeof(*job));
    REQUIRE(job != NULL);
    job->io = io;
    if (io->op == ZCACHE_IO_WRITE) {
        job->copies = copy_pages(io);
    }

    pthread_mutex_lock(&store->lock);
    struct mem_job **end = &store->jobs;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = job;
    store->waiting[io->op]++;
    pthread_cond_broadcast(&store->changed);
    pthread_mutex_unlock(&store->lock);
    return ZCACHE_PENDING;
}

/* The first job whose gate is open; under the lock. */
static struct mem_job *next_job(struct mem_store *store)
{
    for (struct mem_job **at = &store->jobs; *at != NULL; at = &(*at)->next) {
        struct mem_job *job = *at;
        const enum zcache_io_op op = job->io->op;
        if (store->permits[op] == 0) {
            continue;
        }
        if (store->permits[op] > 0) {
            store->permits[op]--;
        }
        store->waiting[op]--;
        *at = job->next;
        return job;
    }
    return NULL;
}

static void *complete_jobs(void *ctx)
{
    struct mem_store *store = ctx;

    pthread_mutex_lock(&store->lock);
    for (;;) {
        struct mem_job *job = next_job(store);
        if (job == NULL) {
            if (store->stopping) {
                break;
            }
            pthread_cond_wait(&store->changed, &store->lock);
            continue;
        }
        pthread_mutex_unlock(&store->lock);
        if (job->copies != NULL) {
            check_copies(job->io, job->copies);
        }
        finish(store, job->io);
        free(job);
        pthread_mutex_lock(&store->lock);
    }
    REQUIRE(store->jobs == NULL);
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

/* ---- the callbacks ----------------------------------------------------------------------------- */

static void raise_to(atomic_uint *peak, unsigned value)
{
    unsigned seen = atomic_load(peak);
    while (seen < value && !atomic_compare_exchange_weak(peak, &seen, value)) {
        ;
    }
}

static int run_batch(struct mem_store *store, struct zcache_io *io)
{
    atomic_fetch_add(&store->batches[io->op], 1);
    atomic_fetch_add(&store->pages[io->op], (unsigned)io->n_pages);
    if (io->op == ZCACHE_IO_WRITE) {
        raise_to(&store->largest_write, (unsigned)io->n_pages);
    }

    if (store->hook != NULL) {
        const int rc = store->hook(store, io);
        if (rc != 0) {
            return rc;
        }
    }
    pthread_mutex_lock(&store->lock);
    if (io->op == ZCACHE_IO_WRITE) {
        arrive_write(store, io);
    }
    if (store->mode != MEM_STORE_THREAD) {
        pass_gate(store, io->op);
    }
    pthread_mutex_unlock(&store->lock);

    if (store->mode == MEM_STORE_SYNC) {
        const int rc = apply(store, io);
        if (store->after != NULL) {
            store->after(store, io);
        }
        return rc;
    }
    if (store->mode == MEM_STORE_THREAD) {
        return submit(store, io);
    }
    finish(store, io);
    return ZCACHE_PENDING;
}

static int run(struct mem_store *store, struct zcache_io *io, enum zcache_io_op op)
{
    mem_store_calls_here++;
    REQUIRE(atomic_load(&store->detached) == 0);
    REQUIRE(io->op == op);
    check_batch(store, io);
    const unsigned running = atomic_fetch_add(&store->running, 1) + 1;
    raise_to(&store->running_peak, running);
    if ((store->flags & ZCACHE_STORE_SERIAL) != 0) {
        REQUIRE(running == 1);
    }
    const int rc = run_batch(store, io);
    atomic_fetch_sub(&store->running, 1);
    return rc;
}

static int run_write(void *ctx, struct zcache_io *io)
{
    return run(ctx, io, ZCACHE_IO_WRITE);
}

static int run_read(void *ctx, struct zcache_io *io)
{
    return run(ctx, io, ZCACHE_IO_READ);
}

static int run_barrier(void *ctx, struct zcache_io *io)
{
    return run(ctx, io, ZCACHE_IO_BARRIER);
}

static int run_discard(void *ctx, struct zcache_io *io)
{
    return run(ctx, io, ZCACHE_IO_DISCARD);
}

static void run_detach(void *ctx)
{
    struct mem_store *store = ctx;

    REQUIRE_EQUAL(atomic_load(&store->running), 0);
    REQUIRE_EQUAL(atomic_fetch_add(&store->detached, 1), 0);
    pthread_mutex_lock(&store->lock);
    REQUIRE(store->jobs == NULL);
    pthread_mutex_unlock(&store->lock);
}

/* ---- life -------------------------------------------------------------------------------------- */

struct mem_store *mem_store_new(enum mem_store_mode mode)
{
    struct mem_store *store = calloc(1, sizeof(*store));

    REQUIRE(store != NULL);
    store->mode = mode;
    store->group_shift = 4;
    store->batch_pages = 32;
    atomic_init(&store->fail_status, -EIO);
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->changed, NULL);
    for (unsigned i = 0; i < MEM_STORE_OPS; i++) {
        store->permits[i] = -1;
    }
    store->buckets = calloc(BUCKETS, sizeof(struct mem_record *));
    REQUIRE(store->buckets != NULL);
    if (mode == MEM_STORE_THREAD) {
        REQUIRE_EQUAL(pthread_create(&store->thread, NULL, complete_jobs, store), 0);
        store->has_thread = true;
    }
    return store;
}

void mem_store_free(struct mem_store *store)
{
    REQUIRE_EQUAL(atomic_load(&store->detached), 1);
    if (store->has_thread) {
        pthread_mutex_lock(&store->lock);
        store->stopping = true;
        pthread_cond_broadcast(&store->changed);
        pthread_mutex_unlock(&store->lock);
        pthread_join(store->thread, NULL);
    }
    for (unsigned i = 0; i < BUCKETS; i++) {
        while (store->buckets[i] != NULL) {
            struct mem_record *record = store->buckets[i];
            store->buckets[i] = record->next;
            free(record->data);
            free(record);
        }
    }
    free(store->buckets);
    pthread_cond_destroy(&store->changed);
    pthread_mutex_destroy(&store->lock);
    free(store);
}

struct zcache_store mem_store_callbacks(struct mem_store *store, unsigned which)
{
    struct zcache_store callbacks = ZCACHE_STORE_INIT;

    callbacks.flags = store->flags;
    callbacks.group_shift = store->group_shift;
    callbacks.ctx = store;
    callbacks.write = (which & MEM_STORE_WRITES) != 0 ? run_write : NULL;
    callbacks.read = (which & MEM_STORE_READS) != 0 ? run_read : NULL;
    callbacks.barrier = (which & MEM_STORE_BARRIERS) != 0 ? run_barrier : NULL;
    callbacks.discard = (which & MEM_STORE_DISCARDS) != 0 ? run_discard : NULL;
    callbacks.detach = run_detach;
    return callbacks;
}

struct zcache *open_stored(uint64_t capacity, struct mem_store *store, const char *text)
{
    const struct zcache_store callbacks = mem_store_callbacks(store, MEM_STORE_ALL);
    struct zcache *cache = open_cache(capacity, &callbacks, text);

    atomic_store(&store->cache, cache);
    return cache;
}

/* ---- gates ------------------------------------------------------------------------------------- */

static void set_permits(struct mem_store *store, enum zcache_io_op op, long permits)
{
    pthread_mutex_lock(&store->lock);
    store->permits[op] = permits;
    pthread_cond_broadcast(&store->changed);
    pthread_mutex_unlock(&store->lock);
}

void mem_store_hold(struct mem_store *store, enum zcache_io_op op)
{
    set_permits(store, op, 0);
}

void mem_store_open(struct mem_store *store, enum zcache_io_op op)
{
    set_permits(store, op, -1);
}

void mem_store_step(struct mem_store *store, enum zcache_io_op op, unsigned n)
{
    set_permits(store, op, n);
}

unsigned mem_store_held(struct mem_store *store, enum zcache_io_op op)
{
    pthread_mutex_lock(&store->lock);
    const unsigned waiting = store->permits[op] == 0 ? store->waiting[op] : 0;
    pthread_mutex_unlock(&store->lock);
    return waiting;
}

/* ---- content ----------------------------------------------------------------------------------- */

void mem_store_put(struct mem_store *store,
                   uint64_t tenant_id,
                   struct zcache_key key,
                   const void *data,
                   size_t len)
{
    pthread_mutex_lock(&store->lock);
    struct mem_record *record = record_of(store, tenant_id, key);
    REQUIRE(!record->in_flight);
    record_set(record, data, len);
    if (record->version > record->arrived) {
        record->arrived = record->version;
    }
    pthread_mutex_unlock(&store->lock);
}

void mem_store_put_page(struct mem_store *store,
                        uint64_t tenant_id,
                        struct zcache_key key,
                        uint64_t version,
                        enum fill fill)
{
    unsigned char page[PAGE];

    page_make(page, sizeof(page), key, version, fill);
    mem_store_put(store, tenant_id, key, page, sizeof(page));
}

void mem_store_remove(struct mem_store *store, uint64_t tenant_id, struct zcache_key key)
{
    pthread_mutex_lock(&store->lock);
    struct mem_record *record = record_of(store, tenant_id, key);
    REQUIRE(!record->in_flight);
    record_set(record, NULL, 0);
    pthread_mutex_unlock(&store->lock);
}

size_t mem_store_get(struct mem_store *store,
                     uint64_t tenant_id,
                     struct zcache_key key,
                     void *buf,
                     size_t cap)
{
    pthread_mutex_lock(&store->lock);
    const struct mem_record *record = record_of(store, tenant_id, key);
    const size_t len = record->data != NULL ? record->len : 0;
    if (buf != NULL && len > 0) {
        REQUIRE(len <= cap);
        memcpy(buf, record->data, len);
    }
    pthread_mutex_unlock(&store->lock);
    return len;
}

uint64_t mem_store_version(struct mem_store *store, uint64_t tenant_id, struct zcache_key key)
{
    pthread_mutex_lock(&store->lock);
    const struct mem_record *record = record_of(store, tenant_id, key);
    uint64_t version = 0;
    if (record->data != NULL) {
        REQUIRE(page_whole(record->data, record->len, key, &version));
    }
    pthread_mutex_unlock(&store->lock);
    return version;
}

uint64_t mem_store_durable(struct mem_store *store, uint64_t tenant_id, struct zcache_key key)
{
    pthread_mutex_lock(&store->lock);
    const uint64_t durable = record_of(store, tenant_id, key)->durable;
    pthread_mutex_unlock(&store->lock);
    return durable;
}

void mem_store_forbid(struct mem_store *store,
                      uint64_t tenant_id,
                      struct zcache_key key,
                      uint64_t version)
{
    pthread_mutex_lock(&store->lock);
    struct mem_record *record = record_of(store, tenant_id, key);
    REQUIRE(!record->in_flight || record->arrived > version);
    record->forbidden = version;
    pthread_mutex_unlock(&store->lock);
}

bool mem_store_in_flight(struct mem_store *store, uint64_t tenant_id, struct zcache_key key)
{
    pthread_mutex_lock(&store->lock);
    const bool in_flight = record_of(store, tenant_id, key)->in_flight;
    pthread_mutex_unlock(&store->lock);
    return in_flight;
}
