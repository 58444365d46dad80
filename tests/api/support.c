/* SPDX-License-Identifier: BSD-2-Clause */
#include "support.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static pthread_t main_thread;
static bool main_thread_known;

/* ---- checks ---------------------------------------------------------------------------------- */

_Noreturn void require_failed(const char *cond, const char *file, int line)
{
    if (main_thread_known && pthread_equal(pthread_self(), main_thread)) {
        print_error("%s\n", cond);
        _fail(file, line);
    }
    (void)fprintf(stderr, "%s:%d: failed on another thread: %s\n", file, line, cond);
    abort();
}

void require_equal(int64_t a, int64_t b, const char *text, const char *file, int line)
{
    if (a == b) {
        return;
    }
    char message[512];
    (void)snprintf(message, sizeof(message), "%s: %" PRId64 " against %" PRId64, text, a, b);
    require_failed(message, file, line);
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t deadline_in(unsigned ms)
{
    return now_ns() + ms * MS_IN_NS * TEST_SLOWDOWN;
}

bool pause_before(uint64_t deadline_ns)
{
    const struct timespec pause = {0, 500000};
    nanosleep(&pause, NULL);
    return now_ns() < deadline_ns;
}

uint64_t test_begin(int argc, char **argv, uint64_t seed)
{
    main_thread = pthread_self();
    main_thread_known = true;
    for (int i = argc - 1; i > 0; i--) {
        if (argv[i][0] >= '0' && argv[i][0] <= '9') {
            seed = strtoull(argv[i], NULL, 0);
        } else {
            cmocka_set_test_filter(argv[i]);
        }
    }
    (void)printf("seed %" PRIu64 "\n", seed);
    (void)fflush(stdout);
    return seed;
}

_Noreturn void test_skip(const char *why)
{
    (void)printf("skipped: %s\n", why);
    (void)fflush(stdout);
    _exit(77);
}

/* ---- random numbers ----------------------------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t rng_next(struct rng *rng)
{
    rng->state += UINT64_C(0x9e3779b97f4a7c15);
    return mix(rng->state);
}

uint64_t rng_below(struct rng *rng, uint64_t n)
{
    return rng_next(rng) % n;
}

/* ---- pages ---------------------------------------------------------------------------------- */

struct page_header {
    uint64_t magic;
    struct zcache_key key;
    uint64_t version;
    uint32_t len;
    uint32_t fill;
};

_Static_assert(sizeof(struct page_header) == PAGE_HEADER, "the header is packed by nature");

#define PAGE_MAGIC UINT64_C(0x7061676520746573)

struct zcache_key key_of(uint64_t object, uint64_t page)
{
    const struct zcache_key key = {object, page};
    return key;
}

static void fill_words(unsigned char *at, size_t len, struct rng *rng)
{
    while (len > 0) {
        const uint64_t word = rng_next(rng);
        const size_t n = len < sizeof(word) ? len : sizeof(word);
        memcpy(at, &word, n);
        at += n;
        len -= n;
    }
}

static void fill_half(unsigned char *at, size_t len, struct rng *rng)
{
    for (bool random = true; len > 0; random = !random) {
        const size_t n = len < 64 ? len : 64;
        if (random) {
            fill_words(at, n, rng);
        } else {
            memset(at, 0, n);
        }
        at += n;
        len -= n;
    }
}

static void fill_text(unsigned char *at, size_t len, struct rng *rng)
{
    static const char *const words[] = {"transaction ", "committed ", "relation ", "checkpoint ",
                                        "tuple ",       "visible ",   "snapshot ", "index ",
                                        "buffer ",      "segment ",   "vacuum ",   "horizon ",
                                        "0000000000 ",  "null ",      "page ",     "lsn "};
    while (len > 0) {
        const char *word = words[rng_below(rng, sizeof(words) / sizeof(words[0]))];
        const size_t full = strlen(word);
        const size_t n = len < full ? len : full;
        memcpy(at, word, n);
        at += n;
        len -= n;
    }
}

void page_make(void *buf, size_t len, struct zcache_key key, uint64_t version, enum fill fill)
{
    unsigned char *at = buf;
    struct rng rng = {mix(key.object) ^ mix(key.page + 1) ^ mix(version + 2) ^ len};

    if (len >= PAGE_HEADER) {
        const struct page_header header = {PAGE_MAGIC, key, version, (uint32_t)len, (uint32_t)fill};
        memcpy(at, &header, sizeof(header));
        at += sizeof(header);
        len -= sizeof(header);
    }
    if (fill == FILL_TEXT) {
        fill_text(at, len, &rng);
    } else if (fill == FILL_HALF) {
        fill_half(at, len, &rng);
    } else {
        fill_words(at, len, &rng);
    }
}

bool page_named(const void *buf, size_t len, struct zcache_key *key_out, uint64_t *version_out)
{
    struct page_header header;

    if (len < sizeof(header)) {
        return false;
    }
    memcpy(&header, buf, sizeof(header));
    if (header.magic != PAGE_MAGIC) {
        return false;
    }
    *key_out = header.key;
    *version_out = header.version;
    return true;
}

bool page_whole(const void *buf, size_t len, struct zcache_key key, uint64_t *version_out)
{
    struct page_header header;

    if (len < sizeof(header)) {
        return false;
    }
    memcpy(&header, buf, sizeof(header));
    if (header.magic != PAGE_MAGIC || header.key.object != key.object ||
        header.key.page != key.page || header.len != len || header.fill > FILL_RANDOM) {
        return false;
    }

    void *expected = malloc(len);
    REQUIRE(expected != NULL);
    page_make(expected, len, key, header.version, (enum fill)header.fill);
    const bool same = memcmp(buf, expected, len) == 0;
    free(expected);
    *version_out = header.version;
    return same;
}

/* ---- log ------------------------------------------------------------------------------------ */

#define LOG_LINES 256

static struct {
    pthread_mutex_t lock;
    unsigned n;

    struct {
        char event[64];
        char text[256];
    } line[LOG_LINES];
} kept = {.lock = PTHREAD_MUTEX_INITIALIZER};

void log_keep(void *ctx, enum zcache_log_level level, const char *event, const char *text)
{
    (void)ctx;
    REQUIRE(level <= ZCACHE_LOG_INFO);
    REQUIRE(event != NULL && event[0] != '\0');
    REQUIRE(text != NULL && text[0] != '\0' && strchr(text, '\n') == NULL);
    pthread_mutex_lock(&kept.lock);
    if (kept.n < LOG_LINES) {
        (void)snprintf(kept.line[kept.n].event, sizeof(kept.line[0].event), "%s", event);
        (void)snprintf(kept.line[kept.n].text, sizeof(kept.line[0].text), "%s", text);
        kept.n++;
    }
    pthread_mutex_unlock(&kept.lock);
}

static unsigned count_lines(const char *event, size_t len)
{
    unsigned found = 0;
    pthread_mutex_lock(&kept.lock);
    for (unsigned i = 0; i < kept.n; i++) {
        found += strncmp(kept.line[i].event, event, len) == 0;
    }
    pthread_mutex_unlock(&kept.lock);
    return found;
}

unsigned log_count(const char *event)
{
    return count_lines(event, strlen(event) + 1);
}

unsigned log_count_prefix(const char *prefix)
{
    return count_lines(prefix, strlen(prefix));
}

void log_clear(void)
{
    pthread_mutex_lock(&kept.lock);
    kept.n = 0;
    pthread_mutex_unlock(&kept.lock);
}

void log_print(void)
{
    pthread_mutex_lock(&kept.lock);
    for (unsigned i = 0; i < kept.n; i++) {
        print_error("log: %s: %s\n", kept.line[i].event, kept.line[i].text);
    }
    pthread_mutex_unlock(&kept.lock);
}

/* ---- caches --------------------------------------------------------------------------------- */

struct zcache *open_cache(uint64_t capacity, const struct zcache_store *store, const char *text)
{
    struct zcache_options opts = ZCACHE_OPTIONS_INIT;
    struct zcache *cache = NULL;
    char error[200] = "";

    log_clear();
    opts.capacity_bytes = capacity;
    opts.store = store;
    opts.log = log_keep;
    if (text != NULL && zcache_options_parse(&opts, text, error, sizeof(error)) != 0) {
        fail_msg("options \"%s\": %s", text, error);
    }
    const int rc = zcache_open(&opts, &cache);
    if (rc != 0) {
        log_print();
    }
    assert_int_equal(rc, 0);
    assert_non_null(cache);
    assert_non_null(zcache_root(cache));
    return cache;
}

void verify_cache(struct zcache *cache)
{
    const uint64_t deadline = deadline_in(20000);
    int rc;

    do {
        rc = zcache_verify(cache);
    } while (rc == -EAGAIN && pause_before(deadline));
    if (rc != 0) {
        log_print();
    }
    assert_int_equal(rc, 0);
}

static void end_cache(struct zcache *cache, unsigned flags)
{
    verify_cache(cache);
    const struct zcache_stats stats = stats_of(zcache_root(cache));
    check_identities(&stats);
    const int rc = zcache_close(cache, flags);
    if (rc != 0) {
        log_print();
    }
    assert_int_equal(rc, 0);
}

void close_cache(struct zcache *cache)
{
    end_cache(cache, ZCACHE_FLUSH);
}

void drop_cache(struct zcache *cache)
{
    end_cache(cache, ZCACHE_DISCARD);
}

struct zcache_tenant *open_tenant(struct zcache_tenant *parent, const char *name, uint64_t limit)
{
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_tenant *tenant = NULL;

    opts.name = name;
    opts.limits.limit_bytes = limit;
    REQUIRE_EQUAL(zcache_tenant_open(parent, &opts, &tenant), 0);
    REQUIRE(tenant != NULL);
    return tenant;
}

int set_limit(struct zcache_tenant *tenant, uint64_t limit_bytes, unsigned timeout_ms)
{
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;

    limits.limit_bytes = limit_bytes;
    return zcache_tenant_set_limits(tenant, &limits, timeout_ms, NULL);
}

/* ---- short calls ------------------------------------------------------------------------------- */

int put_page(struct zcache_tenant *tenant,
             struct zcache_key key,
             uint64_t version,
             enum fill fill,
             unsigned flags)
{
    unsigned char page[PAGE];

    page_make(page, sizeof(page), key, version, fill);
    return zcache_put(tenant, key, page, sizeof(page), flags);
}

uint64_t get_page(struct zcache_tenant *tenant, struct zcache_key key, unsigned flags)
{
    unsigned char page[PAGE];
    uint64_t version = 0;
    size_t len = 0;

    const int rc = zcache_get(tenant, key, page, sizeof(page), &len, flags);
    if (rc == ZCACHE_MISS) {
        return 0;
    }
    if (!((flags & ZCACHE_TAKE) != 0 && rc == ZCACHE_UNWRITTEN)) {
        REQUIRE_EQUAL(rc, 0);
    }
    REQUIRE_EQUAL(len, sizeof(page));
    REQUIRE(page_whole(page, len, key, &version));
    return version;
}

bool is_cached(struct zcache_tenant *tenant, struct zcache_key key)
{
    const int rc = zcache_get(tenant, key, NULL, 0, NULL, ZCACHE_PEEK | ZCACHE_NO_LOAD);

    REQUIRE(rc == 0 || rc == ZCACHE_MISS);
    return rc == 0;
}

struct zcache_stats stats_of(struct zcache_tenant *tenant)
{
    struct zcache_stats stats = ZCACHE_STATS_INIT;

    REQUIRE_EQUAL(zcache_stats(tenant, &stats), 0);
    return stats;
}

uint64_t charge_of(struct zcache_tenant *tenant)
{
    return stats_of(tenant).gauge.charge_bytes;
}

uint64_t evictions_of(const struct zcache_stats *stats)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < ZCACHE_TIERS; i++) {
        sum += stats->tier[i].evictions;
    }
    return sum;
}

uint64_t gets_of(const struct zcache_stats *stats)
{
    return stats->count.get_hits_raw + stats->count.get_hits_fast + stats->count.get_hits_dense +
           stats->count.get_hits_same + stats->count.get_loads + stats->count.get_misses +
           stats->count.get_errors;
}

uint64_t pins_of(const struct zcache_stats *stats)
{
    return stats->count.pin_hits + stats->count.pin_loads + stats->count.pin_misses +
           stats->count.pin_errors;
}

uint64_t puts_of(const struct zcache_stats *stats)
{
    return stats->count.put_inserts + stats->count.put_replaces + stats->count.put_exists +
           stats->count.put_bypassed + stats->count.put_quota_rejects +
           stats->count.put_capacity_rejects + stats->count.put_errors;
}

uint64_t deletes_of(const struct zcache_stats *stats)
{
    return stats->count.delete_hits + stats->count.delete_misses + stats->count.delete_errors;
}

void check_identities(const struct zcache_stats *stats)
{
    uint64_t tier_pages = 0;
    uint64_t node_pages = 0;

    for (unsigned i = 0; i < ZCACHE_TIERS; i++) {
        const struct zcache_tier_stats *tier = &stats->tier[i];
        tier_pages += tier->pages;
        REQUIRE(tier->stored_bytes <= tier->allocated_bytes);
        REQUIRE(tier->pages > 0 ||
                tier->raw_bytes + tier->stored_bytes + tier->allocated_bytes == 0);
    }
    REQUIRE(stats->n_nodes >= 1 && stats->n_nodes <= ZCACHE_NODES_MAX);
    for (unsigned i = 0; i < ZCACHE_NODES_MAX; i++) {
        node_pages += stats->node[i].pages;
        REQUIRE(i < stats->n_nodes || stats->node[i].pages == 0);
    }
    REQUIRE_EQUAL(tier_pages, stats->gauge.pages);
    REQUIRE_EQUAL(node_pages, stats->gauge.pages);
    REQUIRE(stats->gauge.dirty_pages <= stats->gauge.pages);
    REQUIRE(stats->gauge.same_pages <= stats->gauge.pages);
    REQUIRE(stats->gauge.charge_bytes <= stats->gauge.peak_charge_bytes);

    /* A load that was overtaken may or may not have been read before. */
    const uint64_t in = stats->count.put_inserts + stats->count.reparented +
                        stats->count.loaded_pages - stats->count.load_through;
    const uint64_t out = stats->count.delete_hits + stats->count.truncated + stats->count.takes +
                         stats->count.dropped + stats->count.handed_over + evictions_of(stats) +
                         stats->gauge.pages;
    if (stats->count.load_cancelled == 0) {
        REQUIRE_EQUAL(in, out);
    }
    REQUIRE(out <= in && in <= out + stats->count.load_cancelled);
    REQUIRE(stats->count.unpins <= stats->count.pin_hits + stats->count.pin_loads);
}
