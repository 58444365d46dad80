/* SPDX-License-Identifier: BSD-2-Clause */
#include "matrix_store.h"
#include "matrix_model.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    BUCKETS = 1024,
    FAIL_BATCH_PERCENT = 40,
    FAIL_PAGE_PERCENT = 20,
    SLOWEST_US = 2000,
};

struct record {
    struct record *next;
    uint64_t tenant_id;
    struct zcache_key key;
    uint64_t arrived; /* the version that came last */
    uint64_t version; /* 0: no page */
    bool in_flight;
    size_t len;
    unsigned char data[PAGE];
};

/* A batch that a slow store has not completed. */
struct job {
    struct job *next;
    struct zcache_io *io;
    uint64_t due_ns;
};

struct matrix_store {
    enum matrix_mode mode;
    uint64_t watched_tenant;
    uint64_t watched_object;
    void (*on_call)(const struct zcache_io *io);
    _Atomic(struct zcache *) cache;
    atomic_bool healed;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct rng rng;
    struct record *buckets[BUCKETS];
    struct job *jobs;
    unsigned completing;
    bool stopping;
    pthread_t thread;
};

static _Thread_local unsigned calls_here;

bool matrix_store_calls_here(void)
{
    return calls_here > 0;
}

/* ---- content, under the lock ---------------------------------------------------------------------- */

static struct record *record_of(struct matrix_store *s, uint64_t tenant_id, struct zcache_key key)
{
    struct rng hash = {tenant_id * 31 + key.object * 131071 + key.page};
    struct record **at = &s->buckets[rng_next(&hash) % BUCKETS];
    struct record *r = *at;

    while (r != NULL &&
           (r->tenant_id != tenant_id || r->key.object != key.object || r->key.page != key.page)) {
        r = r->next;
    }
    if (r == NULL) {
        r = calloc(1, sizeof(*r));
        REQUIRE(r != NULL);
        r->tenant_id = tenant_id;
        r->key = key;
        r->next = *at;
        *at = r;
    }
    return r;
}

static void arrive(struct matrix_store *s, const struct zcache_io *io)
{
    for (size_t i = 0; i < io->n_pages; i++) {
        const struct zcache_io_page *p = &io->pages[i];
        struct record *r = record_of(s, io->tenant_id, p->key);
        uint64_t version;

        REQUIRE(p->len <= PAGE && page_whole(p->data, p->len, p->key, &version));
        REQUIRE(!r->in_flight);
        if (io->tenant_id == s->watched_tenant && p->key.object == s->watched_object) {
            REQUIRE(r->arrived == 0 || model_in_order((unsigned)p->key.page, r->arrived, version));
        }
        r->in_flight = true;
        r->arrived = version;
    }
}

static void take_page(struct record *r, const struct zcache_io_page *p)
{
    uint64_t version;

    REQUIRE(page_whole(p->data, p->len, p->key, &version)); /* still */
    REQUIRE_EQUAL(version, r->arrived);
    memcpy(r->data, p->data, p->len);
    r->len = p->len;
    r->version = version;
}

static void give_page(const struct record *r, struct zcache_io_page *p)
{
    if (r->version == 0) {
        p->status = ZCACHE_MISS;
        return;
    }
    REQUIRE(r->len <= p->cap);
    memcpy(p->buf, r->data, r->len);
    p->len = r->len;
}

static void discard(struct record *r)
{
    REQUIRE(!r->in_flight);
    r->version = 0;
}

static void discard_range(struct matrix_store *s, uint64_t tenant_id, struct zcache_key first)
{
    for (unsigned i = 0; i < BUCKETS; i++) {
        for (struct record *r = s->buckets[i]; r != NULL; r = r->next) {
            if (r->tenant_id == tenant_id && r->key.object == first.object &&
                r->key.page >= first.page) {
                discard(r);
            }
        }
    }
}

static bool fails(struct matrix_store *s, unsigned percent)
{
    return s->mode == MATRIX_FAILING && !atomic_load(&s->healed) &&
           rng_below(&s->rng, 100) < percent;
}

/* The batch takes effect, or not; its result. */
static int apply_locked(struct matrix_store *s, struct zcache_io *io)
{
    const bool failed = fails(s, FAIL_BATCH_PERCENT);

    if (io->range && !failed) {
        discard_range(s, io->tenant_id, io->pages[0].key);
    }
    for (size_t i = 0; i < io->n_pages && !io->range; i++) {
        struct zcache_io_page *p = &io->pages[i];
        struct record *r = record_of(s, io->tenant_id, p->key);

        p->status = !failed && fails(s, FAIL_PAGE_PERCENT) ? -EIO : 0;
        if (io->op == ZCACHE_IO_WRITE) {
            REQUIRE(r->in_flight);
            r->in_flight = false;
        }
        if (failed || p->status != 0) {
            continue;
        }
        if (io->op == ZCACHE_IO_WRITE) {
            take_page(r, p);
        } else if (io->op == ZCACHE_IO_READ) {
            give_page(r, p);
        } else {
            discard(r);
        }
    }
    return failed ? -EIO : 0;
}

uint64_t matrix_store_version(struct matrix_store *s, uint64_t tenant_id, struct zcache_key key)
{
    pthread_mutex_lock(&s->lock);
    const uint64_t version = record_of(s, tenant_id, key)->version;
    pthread_mutex_unlock(&s->lock);
    return version;
}

/* ---- later ---------------------------------------------------------------------------------------- */

static void submit_locked(struct matrix_store *s, struct zcache_io *io)
{
    struct job *job = malloc(sizeof(*job));
    struct job **at = &s->jobs;

    REQUIRE(job != NULL);
    *job = (struct job){.io = io, .due_ns = now_ns() + rng_below(&s->rng, SLOWEST_US) * 1000};
    while (*at != NULL && (*at)->due_ns <= job->due_ns) {
        at = &(*at)->next;
    }
    job->next = *at;
    *at = job;
    pthread_cond_broadcast(&s->changed);
}

/* A thread's first call needs memory, and may have to wait until there is some. */
static void complete(struct matrix_store *s, uint64_t token, int status)
{
    const uint64_t deadline = deadline_in(20000);
    int rc;

    do {
        rc = zcache_done(atomic_load(&s->cache), token, status);
    } while (rc == -ENOMEM && pause_before(deadline));
    REQUIRE_EQUAL(rc, 0);
}

static void complete_first_locked(struct matrix_store *s)
{
    struct job *job = s->jobs;
    const uint64_t token = job->io->token;

    s->jobs = job->next;
    s->completing++;
    const int status = apply_locked(s, job->io);
    pthread_mutex_unlock(&s->lock);
    free(job);
    complete(s, token, status);
    pthread_mutex_lock(&s->lock);
    s->completing--;
    pthread_cond_broadcast(&s->changed);
}

static void *complete_when_due(void *ctx)
{
    struct matrix_store *s = ctx;

    pthread_mutex_lock(&s->lock);
    while (!s->stopping || s->jobs != NULL) {
        if (s->jobs == NULL) {
            pthread_cond_wait(&s->changed, &s->lock);
        } else if (s->jobs->due_ns <= now_ns()) {
            complete_first_locked(s);
        } else {
            const struct timespec due = {(time_t)(s->jobs->due_ns / 1000000000u),
                                         (long)(s->jobs->due_ns % 1000000000u)};
            (void)pthread_cond_timedwait(&s->changed, &s->lock, &due);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- the callbacks -------------------------------------------------------------------------------- */

static void call_back(struct matrix_store *s, const struct zcache_io *io)
{
    if (s->mode == MATRIX_REENTRANT && calls_here == 1 && !atomic_load(&s->healed)) {
        s->on_call(io);
    }
}

static int run(void *ctx, struct zcache_io *io)
{
    struct matrix_store *s = ctx;
    int rc = ZCACHE_PENDING;

    calls_here++;
    if (io->op == ZCACHE_IO_WRITE) {
        pthread_mutex_lock(&s->lock);
        arrive(s, io);
        pthread_mutex_unlock(&s->lock);
    }
    call_back(s, io);
    pthread_mutex_lock(&s->lock);
    if (s->mode == MATRIX_SLOW && !atomic_load(&s->healed)) {
        submit_locked(s, io);
    } else {
        rc = apply_locked(s, io);
    }
    pthread_mutex_unlock(&s->lock);
    if (rc != ZCACHE_PENDING) {
        call_back(s, io);
    }
    calls_here--;
    return rc;
}

/* ---- life ----------------------------------------------------------------------------------------- */

struct matrix_store *matrix_store_new(enum matrix_mode mode, uint64_t seed)
{
    struct matrix_store *s = calloc(1, sizeof(*s));
    pthread_condattr_t attr;

    REQUIRE(s != NULL);
    s->mode = mode;
    s->rng.state = seed;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attr);
    pthread_condattr_destroy(&attr);
    if (mode == MATRIX_SLOW) {
        REQUIRE_EQUAL(pthread_create(&s->thread, NULL, complete_when_due, s), 0);
    }
    return s;
}

void matrix_store_free(struct matrix_store *s)
{
    if (s->mode == MATRIX_SLOW) {
        pthread_mutex_lock(&s->lock);
        s->stopping = true;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    for (unsigned i = 0; i < BUCKETS; i++) {
        while (s->buckets[i] != NULL) {
            struct record *r = s->buckets[i];
            s->buckets[i] = r->next;
            free(r);
        }
    }
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

struct zcache_store matrix_store_callbacks(struct matrix_store *s)
{
    struct zcache_store callbacks = ZCACHE_STORE_INIT;

    callbacks.ctx = s;
    callbacks.write = run;
    callbacks.read = run;
    callbacks.barrier = run;
    callbacks.discard = run;
    return callbacks;
}

void matrix_store_attach(struct matrix_store *s, struct zcache *cache)
{
    atomic_store(&s->cache, cache);
}

void matrix_store_watch(struct matrix_store *s, uint64_t tenant_id, uint64_t object)
{
    s->watched_tenant = tenant_id;
    s->watched_object = object;
}

void matrix_store_on_call(struct matrix_store *s, void (*call)(const struct zcache_io *io))
{
    s->on_call = call;
}

void matrix_store_settle(struct matrix_store *s)
{
    atomic_store(&s->healed, true);
    pthread_mutex_lock(&s->lock);
    while (s->jobs != NULL || s->completing > 0) {
        pthread_cond_wait(&s->changed, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
}
