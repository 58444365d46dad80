/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What reports on a cache, without memory: the report, or an error and nothing changed.  And zcache_done()
 * by a thread that the cache does not know.
 */
#include <errno.h>
#include <string.h>

#include "mathx.h"
#include "scenario.h"

#define STORE MEM_STORE_ALL

static void some_tenants(struct fault *f)
{
    fault_fill(f, &f->t, 10, PAGE, FILL_TEXT, 0);
    fault_fill(f, &f->root, 10, PAGE, FILL_SAME, 0);
    for (unsigned i = 0; i < 4; i++) {
        const char name[2] = {(char)('a' + i), '\0'};

        struct zcache_tenant *t = open_tenant(f->t.t, name, MIB);
        f->t.puts++;
        REQUIRE_EQUAL(put_page(t, key_of(2, 0), 1, FILL_TEXT, 0), 0);
    }
}

/* ---- metrics ----------------------------------------------------------------------------------- */

struct text {
    size_t len;
    unsigned pieces;
    unsigned fails_at; /* piece; 0: none */
};

static int take_piece(void *ctx, const char *data, size_t len)
{
    struct text *text = ctx;

    REQUIRE(len > 0 && memchr(data, '\0', len) == NULL);
    text->len += len;
    text->pieces++;
    REQUIRE(text->fails_at == 0 || text->pieces <= text->fails_at);
    return text->pieces == text->fails_at ? -EPIPE : 0;
}

static int metrics(struct fault *f, enum zcache_metrics_format format)
{
    struct text text = {0, 0, 0};
    const int rc = zcache_metrics_write(f->cache, format, take_piece, &text);

    REQUIRE_EQUAL(rc == 0, text.len > 0);
    return rc;
}

static int prometheus(struct fault *f)
{
    return metrics(f, ZCACHE_METRICS_PROMETHEUS);
}

static int openmetrics(struct fault *f)
{
    return metrics(f, ZCACHE_METRICS_OPENMETRICS);
}

static int json(struct fault *f)
{
    return metrics(f, ZCACHE_METRICS_JSON);
}

/* The receiver fails at its Nth piece, for every N until it gets all. */
static void a_receiver_that_fails_ends_the_text(void)
{
    struct zcache *cache = open_cache(16 * MIB, NULL, NULL);

    for (unsigned i = 0; i < 4; i++) {
        const char name[2] = {(char)('a' + i), '\0'};

        REQUIRE_EQUAL(
            put_page(open_tenant(zcache_root(cache), name, MIB), key_of(2, 0), 1, FILL_TEXT, 0), 0);
    }
    for (int format = 0; format < 3; format++) {
        struct text text = {0, 0, 0};
        unsigned n = 0;
        int rc = -EPIPE;

        while (rc != 0) {
            text = (struct text){0, 0, ++n};
            rc = zcache_metrics_write(cache, (enum zcache_metrics_format)format, take_piece, &text);
            REQUIRE(rc == 0 || (rc == -EPIPE && text.pieces == n));
            verify_cache(cache);
        }
        REQUIRE(n > 2 && text.pieces == n - 1);
        print_message("format %d: %u pieces failed\n", format, n - 1);
    }
    close_cache(cache);
}

/* ---- verify ------------------------------------------------------------------------------------ */

static int verify(struct fault *f)
{
    log_clear();
    const int rc = zcache_verify(f->cache);
    REQUIRE(rc == 0 || rc == -ENOMEM);
    return rc;
}

/* ---- zcache_done() ------------------------------------------------------------------------------- */

/* A store whose one write stays pending until somebody completes it. */
static struct {
    _Atomic uint64_t token;
    struct zcache_tenant *t;
    pthread_t flusher;
    int rc;
} pending;

static int write_later(void *ctx, struct zcache_io *io)
{
    (void)ctx;
    REQUIRE_EQUAL(io->n_pages, 1);
    atomic_store(&pending.token, io->token);
    return ZCACHE_PENDING;
}

static void *flush_it(void *arg)
{
    (void)arg;
    pending.rc = zcache_flush(pending.t, 0);
    return NULL;
}

static void a_write_in_flight(struct fault *f)
{
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_store store = ZCACHE_STORE_INIT;

    store.write = write_later;
    opts.name = "w";
    opts.store = &store;
    atomic_store(&pending.token, 0);
    pending.rc = -1;
    REQUIRE_EQUAL(zcache_tenant_open(f->t.t, &opts, &pending.t), 0);
    f->t.puts++;
    REQUIRE_EQUAL(put_page(pending.t, key_of(2, 0), 1, FILL_TEXT, 0), 0);
    start(&pending.flusher, flush_it, NULL);
    WAIT_UNTIL(atomic_load(&pending.token) != 0, 10000);
}

/* Refused, the batch is where it was, nobody complains of a completion, and the call can be made again. */
static int done(struct fault *f)
{
    int rc = zcache_done(f->cache, atomic_load(&pending.token), 0);

    if (rc == -ENOMEM) {
        REQUIRE(zc_fault_disarm() > 0);
        REQUIRE_EQUAL(stats_of(f->root.t).cache.bad_completions, 0);
        REQUIRE_EQUAL(stats_of(pending.t).gauge.writing_pages, 1);
        rc = zcache_done(f->cache, atomic_load(&pending.token), 0);
    }
    REQUIRE_EQUAL(rc, 0);
    return rc;
}

static void is_completed(struct fault *f, int rc)
{
    join(pending.flusher);
    REQUIRE_EQUAL(rc, 0);
    REQUIRE_EQUAL(pending.rc, 0);
    REQUIRE_EQUAL(stats_of(pending.t).gauge.dirty_pages, 0);
    REQUIRE_EQUAL(stats_of(pending.t).count.written_pages, 1);
    REQUIRE_EQUAL(zcache_done(f->cache, atomic_load(&pending.token), 0), -ENOENT);
    REQUIRE_EQUAL(atomic_exchange(&f->cache->bad_completions, 0), 1);
}

static const struct fault_case cases[] = {
    {.name = "metrics.prometheus",
     .store = STORE,
     .prepare = some_tenants,
     .act = prometheus,
     .may = {-ENOMEM}},
    {.name = "metrics.openmetrics",
     .store = STORE,
     .prepare = some_tenants,
     .act = openmetrics,
     .may = {-ENOMEM}},
    {.name = "metrics.json",
     .store = STORE,
     .prepare = some_tenants,
     .act = json,
     .may = {-ENOMEM}},
    {.name = "metrics.receiver", .test = a_receiver_that_fails_ends_the_text},
    {.name = "verify", .store = STORE, .prepare = some_tenants, .act = verify, .may = {-ENOMEM}},
    {.name = "done.by_a_stranger",
     .elsewhere = true,
     .prepare = a_write_in_flight,
     .act = done,
     .after = is_completed},
};

int main(int argc, char **argv)
{
    return fault_main(argc, argv, cases, ZC_ARRAY_SIZE(cases));
}
