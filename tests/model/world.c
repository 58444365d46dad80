/* SPDX-License-Identifier: BSD-2-Clause */
#include "world.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct model_world world;

static _Thread_local struct model_log *my_log;
static _Thread_local unsigned my_generation;

/* ---- keys ------------------------------------------------------------------------------------------ */

#define SLOT_OBJECT 1000u

static const struct {
    const char *name;
    unsigned objects;
} fixed[MODEL_SLOT] = {
    [MODEL_TIGHT] = {"tight", 4},     [MODEL_PARENT] = {"parent", 4}, [MODEL_OFF] = {"off", 1},
    [MODEL_ARCHIVE] = {"archive", 2}, [MODEL_BARE] = {"bare", 2},
};

static void add_keys(unsigned tenant, uint64_t object, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct model_key *key = &world.keys[world.n_keys++];
        key->key = key_of(object, i);
        key->tenant = tenant;
        atomic_init(&key->users, 0);
        atomic_init(&key->version, 0);
        model_history_init(&key->history);
    }
    world.tenants[tenant].n_keys += n;
}

static void make_keys(void)
{
    for (unsigned t = 0; t < world.n_tenants; t++) {
        world.tenants[t].first_key = world.n_keys;
        if (t < MODEL_SLOT) {
            for (unsigned i = 0; i < fixed[t].objects; i++) {
                add_keys(t, t * 100 + i, MODEL_OBJECT_PAGES);
            }
        } else {
            add_keys(t, SLOT_OBJECT + t - MODEL_SLOT, MODEL_SLOT_PAGES);
        }
    }
}

static uint32_t find_key(struct zcache_key key)
{
    const bool slot = key.object >= SLOT_OBJECT;
    const uint64_t t = slot ? MODEL_SLOT + key.object - SLOT_OBJECT : key.object / 100;

    if (key.page >= (slot ? MODEL_SLOT_PAGES : MODEL_OBJECT_PAGES)) {
        return UINT32_MAX;
    }
    REQUIRE(t < world.n_tenants);
    return world.tenants[t].first_key +
           (uint32_t)((slot ? 0 : key.object % 100 * MODEL_OBJECT_PAGES) + key.page);
}

static bool may_write(void *tenant_ctx, uint64_t tag)
{
    const struct model_tenant *tenant = tenant_ctx;

    return tenant != NULL && tag <= atomic_load(&tenant->horizon);
}

bool model_share(uint32_t key)
{
    if (atomic_fetch_add(&world.keys[key].users, 1) >= 0) {
        return true;
    }
    atomic_fetch_sub(&world.keys[key].users, 1);
    return false;
}

void model_unshare(uint32_t key)
{
    atomic_fetch_sub(&world.keys[key].users, 1);
}

bool model_alone(uint32_t key)
{
    int only = 1;

    return atomic_compare_exchange_strong(&world.keys[key].users, &only, 1 - (1 << 20));
}

void model_not_alone(uint32_t key)
{
    atomic_fetch_add(&world.keys[key].users, 1 << 20);
}

struct zcache_tenant *model_enter(unsigned tenant)
{
    struct model_tenant *t = &world.tenants[tenant];

    if (tenant >= MODEL_SLOT) {
        atomic_fetch_add(&t->users, 1);
    }
    struct zcache_tenant *handle = atomic_load(&t->handle);
    if (handle == NULL) {
        model_leave(tenant);
    }
    return handle;
}

void model_leave(unsigned tenant)
{
    if (tenant >= MODEL_SLOT) {
        atomic_fetch_sub(&world.tenants[tenant].users, 1);
    }
}

/* ---- logs ------------------------------------------------------------------------------------------ */

uint64_t model_now(void)
{
    return atomic_fetch_add(&world.clock, 1);
}

void model_log_use(struct model_log *log)
{
    my_log = log;
    my_generation = world.generation;
}

struct model_log *model_log_mine(void)
{
    if (my_log == NULL || my_generation != world.generation) {
        pthread_mutex_lock(&world.lock);
        REQUIRE(world.n_strangers < MODEL_STRANGERS);
        model_log_use(&world.logs[world.n_threads + world.n_strangers++]);
        pthread_mutex_unlock(&world.lock);
    }
    return my_log;
}

void model_note(struct model_log *log,
                uint32_t key,
                enum model_op op,
                uint32_t version,
                uint64_t call)
{
    const uint64_t ret = model_now();

    if (log->n == log->cap) {
        log->cap = log->cap == 0 ? 1024 : log->cap * 2;
        log->events = realloc(log->events, log->cap * sizeof(*log->events));
        log->next = realloc(log->next, log->cap * sizeof(*log->next));
        REQUIRE(log->events != NULL && log->next != NULL);
    }
    log->events[log->n] = (struct model_event){.call = call,
                                               .ret = ret,
                                               .version = version,
                                               .op = (uint16_t)op,
                                               .thread = (uint16_t)log->thread};
    log->next[log->n] = log->head[key];
    log->head[key] = ++log->n;
}

void model_logs_clear(void)
{
    for (unsigned i = 0; i < world.n_threads + MODEL_STRANGERS; i++) {
        world.logs[i].n = 0;
        memset(world.logs[i].head, 0, sizeof(world.logs[i].head));
    }
}

/* ---- rounds ---------------------------------------------------------------------------------------- */

void model_round_begin(void)
{
    pthread_mutex_lock(&world.lock);
    world.open = true;
    pthread_mutex_unlock(&world.lock);
}

void model_round_end(void)
{
    pthread_mutex_lock(&world.lock);
    world.open = false;
    while (world.inside > 0) {
        pthread_cond_wait(&world.changed, &world.lock);
    }
    pthread_mutex_unlock(&world.lock);
}

bool model_stranger_enter(void)
{
    pthread_mutex_lock(&world.lock);
    const bool open = world.open;
    world.inside += open ? 1 : 0;
    pthread_mutex_unlock(&world.lock);
    return open;
}

void model_stranger_leave(void)
{
    pthread_mutex_lock(&world.lock);
    world.inside--;
    pthread_cond_broadcast(&world.changed);
    pthread_mutex_unlock(&world.lock);
}

/* ---- the check ------------------------------------------------------------------------------------- */

static _Noreturn void bad_history(uint32_t key,
                                  const struct model_event *events,
                                  size_t n,
                                  const struct model_event *bad)
{
    static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;

    pthread_mutex_lock(&once); /* for ever: one is enough */
    (void)fprintf(stderr, "key %" PRIu32 " of tenant %u: object %" PRIu64 ", page %" PRIu64 "\n",
                  key, world.keys[key].tenant, world.keys[key].key.object,
                  world.keys[key].key.page);
    model_history_print(stderr, &world.keys[key].history, events, n, bad);
    require_failed("no register behaves like that", __FILE__, __LINE__);
}

static size_t gather(uint32_t key, struct model_event **events, size_t *cap)
{
    struct model_event *stored;
    const size_t n_stored = model_store_take_log(&world.store, key, &stored);
    size_t n = 0;

    for (unsigned i = 0; i < world.n_threads + MODEL_STRANGERS; i++) {
        const struct model_log *log = &world.logs[i];
        for (uint32_t at = log->head[key]; at != 0; at = log->next[at - 1]) {
            n++;
        }
    }
    if (*cap < n + n_stored) {
        *cap = 2 * (n + n_stored);
        *events = realloc(*events, *cap * sizeof(**events));
        REQUIRE(*events != NULL);
    }
    n = 0;
    for (unsigned i = 0; i < world.n_threads + MODEL_STRANGERS; i++) {
        const struct model_log *log = &world.logs[i];
        for (uint32_t at = log->head[key]; at != 0; at = log->next[at - 1]) {
            (*events)[n++] = log->events[at - 1];
        }
    }
    if (n_stored > 0) {
        memcpy(*events + n, stored, n_stored * sizeof(*stored));
        free(stored);
    }
    return n + n_stored;
}

void model_check(struct model_checker *checker, uint32_t first, uint32_t step)
{
    size_t cap = 256;
    struct model_event *events = calloc(cap, sizeof(*events));

    REQUIRE(events != NULL);
    for (uint32_t key = first; key < world.n_keys; key += step) {
        const struct model_event *bad = NULL;
        const size_t n = gather(key, &events, &cap);
        if (n > 0 && !model_history_run(checker, &world.keys[key].history, events, n, &bad)) {
            bad_history(key, events, n, bad);
        }
    }
    free(events);
}

/* ---- settle ---------------------------------------------------------------------------------------- */

static const struct model_script calm = {0};

static void lift_limits(void)
{
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;

    limits.limit_bytes = MODEL_CAPACITY;
    REQUIRE_EQUAL(zcache_tenant_set_limits(world.root, &limits, 0, NULL), 0);
    for (unsigned t = 0; t < world.n_tenants; t++) {
        struct model_tenant *tenant = &world.tenants[t];
        struct zcache_tenant *handle = atomic_load(&tenant->handle);
        const uint64_t last = atomic_load(&tenant->tag);

        atomic_store(&tenant->horizon, last);
        if (handle == NULL || (t >= MODEL_SLOT && handle == world.tenants[MODEL_PARENT].handle)) {
            continue;
        }
        limits.limit_bytes = ZCACHE_UNLIMITED;
        limits.writeback = t == MODEL_OFF ? ZCACHE_WRITEBACK_OFF : ZCACHE_WRITEBACK_ON;
        REQUIRE_EQUAL(zcache_tenant_set_limits(handle, &limits, 0, NULL), 0);
        if (last > 0) {
            REQUIRE_EQUAL(zcache_set_wal_horizon(handle, last), 0);
        }
    }
}

/* Errors of writes before now are reported once; after that nothing is left to report. */
static void flush_all(void)
{
    const int first = zcache_flush(world.root, 0);

    REQUIRE(first == 0 || first == MODEL_WRITE_ERROR || first == MODEL_BARRIER_ERROR);
    if (first != 0) {
        REQUIRE_EQUAL(zcache_flush(world.root, 0), 0);
    }
}

/* Every key that can be reached, through the cache and in the store. */
static void compare_values(void)
{
    unsigned char room[MODEL_PAGE_MAX];

    for (uint32_t key = 0; key < world.n_keys; key++) {
        const struct model_key *k = &world.keys[key];
        const struct model_tenant *tenant = &world.tenants[k->tenant];
        struct zcache_tenant *handle = atomic_load(&tenant->handle);
        uint32_t value = 0;
        size_t len = 0;

        if (handle == NULL || tenant->bare || !tenant->reads ||
            !model_history_value(&k->history, &value)) {
            continue;
        }
        const struct model_page stored = model_store_get(&world.store, key);
        struct model_page found = {0};
        const uint64_t call = model_now();
        const int rc = zcache_get(handle, k->key, room, sizeof(room), &len, 0);
        world.logs[0].gets++;
        if (rc != ZCACHE_MISS) {
            REQUIRE_EQUAL(rc, 0);
            REQUIRE(model_page_read(room, len, &found) && found.key == key);
        }
        REQUIRE_EQUAL(found.version, value);
        REQUIRE_EQUAL(stored.version, value);
        model_note(&world.logs[0], key, rc == 0 ? MODEL_GET : MODEL_MISS, value, call);
    }
}

void model_settle(void)
{
    struct model_checker checker = {0};
    const struct model_script *script = atomic_load(&world.store.script);

    atomic_store(&world.store.script, &calm);
    model_store_drain(&world.store);
    lift_limits();
    for (unsigned pass = 0; pass < 2; pass++) {
        const uint64_t call = model_now();
        flush_all();
        for (uint32_t key = 0; key < world.n_keys; key++) {
            model_note(&world.logs[0], key, MODEL_FLUSHED, 0, call);
        }
    }
    model_check(&checker, 0, 1);
    model_logs_clear();
    compare_values();
    model_check(&checker, 0, 1);
    model_logs_clear();
    model_checker_fini(&checker);
    verify_cache(world.cache);
    const struct zcache_stats stats = stats_of(world.root);
    check_identities(&stats);
    REQUIRE_EQUAL(stats.gauge.dirty_pages, 0);
    REQUIRE_EQUAL(stats.count.corrupt, 0);
    atomic_store(&world.store.script, script);
}

/* ---- open and close -------------------------------------------------------------------------------- */

static struct zcache_tenant *open_fixed(unsigned t)
{
    static const unsigned which[MODEL_SLOT] = {
        [MODEL_ARCHIVE] = MODEL_STORE_WRITES, [MODEL_BARE] = 0};
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_store own = ZCACHE_STORE_INIT;
    struct model_tenant *tenant = &world.tenants[t];
    struct zcache_tenant *handle = NULL;

    opts.name = fixed[t].name;
    if (t == MODEL_ARCHIVE || t == MODEL_BARE) {
        own = model_store_callbacks(&world.store, which[t], ZCACHE_STORE_SHARED_KEYS);
        opts.store = &own;
    }
    opts.ctx = tenant;
    opts.limits.writeback = t == MODEL_OFF ? ZCACHE_WRITEBACK_OFF : ZCACHE_WRITEBACK_ON;
    opts.limits.limit_bytes = t == MODEL_OFF ? 16 * KIB : t == MODEL_ARCHIVE ? 24 * KIB : 64 * KIB;
    tenant->reads = t != MODEL_ARCHIVE && t != MODEL_BARE;
    tenant->bare = t == MODEL_BARE;
    REQUIRE_EQUAL(zcache_tenant_open(world.root, &opts, &handle), 0);
    return handle;
}

void model_world_open(unsigned n_threads, uint64_t seed, unsigned variant)
{
    static const char *const variants[] = {
        "batch_pages=16",
        "raw_percent=0,full=help,batch_pages=8,inflight_pages=16",
        "raw_percent=60,fast_percent=100,full=reject,batch_pages=16",
        "raw_percent=5,fast_percent=10,start_percent=100,batch_pages=16",
    };
    char options[128];
    const unsigned generation = world.generation;

    memset(&world, 0, sizeof(world));
    world.generation = generation + 1;
    world.n_threads = n_threads;
    world.n_tenants = MODEL_SLOT + n_threads;
    pthread_mutex_init(&world.lock, NULL);
    pthread_cond_init(&world.changed, NULL);
    for (unsigned i = 0; i < n_threads + MODEL_STRANGERS; i++) {
        world.logs[i].thread = i;
    }
    make_keys();

    struct model_store *store = &world.store;
    store->n_keys = world.n_keys;
    store->find = find_key;
    store->may_write = may_write;
    store->clock = &world.clock;
    store->seed = seed;
    store->group_shift = 3;
    store->batch_pages = variant % 4 == 1 ? 8 : 16;
    atomic_store(&store->script, &calm);
    model_store_init(store);

    const struct zcache_store callbacks =
        model_store_callbacks(store, MODEL_STORE_ALL,
                              (unsigned)ZCACHE_STORE_SHARED_KEYS |
                                  (variant % 8 == 5 ? (unsigned)ZCACHE_STORE_SERIAL : 0u));
    (void)snprintf(options, sizeof(options), "page_max=1K,max_stall_ms=2000,%s",
                   variants[variant % 4]);
    world.cache = open_cache(MODEL_CAPACITY, &callbacks, options);
    atomic_store(&store->cache, world.cache);
    world.root = zcache_root(world.cache);
    for (unsigned t = 0; t < MODEL_SLOT; t++) {
        atomic_store(&world.tenants[t].handle, open_fixed(t));
    }
    for (unsigned t = MODEL_SLOT; t < world.n_tenants; t++) {
        world.tenants[t].reads = true;
    }
}

void model_world_close(void)
{
    close_cache(world.cache);
    model_store_fini(&world.store);
    for (uint32_t i = 0; i < world.n_keys; i++) {
        model_history_fini(&world.keys[i].history);
    }
    for (unsigned i = 0; i < world.n_threads + MODEL_STRANGERS; i++) {
        free(world.logs[i].events);
        free(world.logs[i].next);
    }
    pthread_mutex_destroy(&world.lock);
    pthread_cond_destroy(&world.changed);
}
