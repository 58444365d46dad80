/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hard bound under attack: whatever sizes come and go, the charge stays within the limit, and what the
 * process grows by stays within 5 % and 8 MiB of it, at every sample of a thread that does nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mem_store.h"

#define CAPACITY (64 * MIB)

/* A sanitizer's shadow and quarantine are resident too: there only the cache's own gauge is judged. */
#if TEST_SLOWDOWN > 1
#define PROCESS_IS_JUDGED false
#else
#define PROCESS_IS_JUDGED true
#endif

static uint64_t process_resident(void)
{
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    char *end;

    REQUIRE(n > 0);
    (void)close(fd);
    text[n] = '\0';
    (void)strtoull(text, &end, 10);
    return strtoull(end, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

struct watcher {
    struct zcache_tenant *root;
    uint64_t before;
    _Atomic uint64_t allowed; /* capacity that counts now */
    atomic_bool stop;
    pthread_t thread;
    uint64_t samples;
    int64_t worst; /* bytes over what is allowed; negative: below */
    uint64_t worst_charge;
};

static void *watch(void *arg)
{
    struct watcher *w = arg;

    w->worst = INT64_MIN;
    while (!atomic_load(&w->stop)) {
        const uint64_t allowed = atomic_load(&w->allowed);
        const struct zcache_stats stats = stats_of(w->root);
        const uint64_t now =
            PROCESS_IS_JUDGED ? process_resident() - w->before : stats.cache.resident_bytes;
        const int64_t over = (int64_t)now - (int64_t)(allowed + allowed / 20 + 8 * MIB);

        w->worst = over > w->worst ? over : w->worst;
        if (stats.gauge.charge_bytes + stats.gauge.stock_bytes > w->worst_charge) {
            w->worst_charge = stats.gauge.charge_bytes + stats.gauge.stock_bytes;
        }
        w->samples++;
    }
    return NULL;
}

static void watch_begin(struct watcher *w, struct zcache_tenant *root, uint64_t before)
{
    *w = (struct watcher){.root = root, .before = before, .allowed = CAPACITY};
    REQUIRE_EQUAL(pthread_create(&w->thread, NULL, watch, w), 0);
}

static void watch_end(struct watcher *w, const char *attack)
{
    atomic_store(&w->stop, true);
    pthread_join(w->thread, NULL);
    print_message(
        "%s: %llu samples; %lld KiB below the bound at worst; charge at most %llu of %llu\n",
        attack, (unsigned long long)w->samples, (long long)(-w->worst / (int64_t)KIB),
        (unsigned long long)w->worst_charge, (unsigned long long)CAPACITY);
    assert_true(w->worst <= 0);
    assert_true(w->worst_charge <= CAPACITY);
}

static void put_sized(struct zcache_tenant *t, uint64_t object, uint64_t i, size_t len)
{
    static unsigned char buf[64 * KIB];

    page_make(buf, len, key_of(object, i), 1, FILL_RANDOM);
    REQUIRE_EQUAL(zcache_put(t, key_of(object, i), buf, len, ZCACHE_CLEAN), 0);
}

/* All small, then all large, then in between, over and over. */
static void sizes_that_change(void **state)
{
    static const size_t sizes[] = {200, 4096, 900, 17000, 60, 2500, 64000, 1500};
    const uint64_t before = process_resident();
    struct zcache *cache = open_cache(CAPACITY, NULL, "fast=none,dense=none");
    struct watcher w;

    (void)state;
    watch_begin(&w, zcache_root(cache), before);
    for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        const uint64_t n = 5 * CAPACITY / 4 / (sizes[s] + 100) / TEST_SLOWDOWN;
        for (uint64_t i = 0; i < n; i++) {
            put_sized(zcache_root(cache), s, i, sizes[s]);
        }
    }
    watch_end(&w, "sizes that change");
    close_cache(cache);
}

/* Each slab is left half empty, and pages of another size come. */
static void deletes_that_leave_holes(void **state)
{
    const uint64_t before = process_resident();
    struct zcache *cache = open_cache(CAPACITY, NULL, "fast=none,dense=none");
    struct zcache_tenant *root = zcache_root(cache);
    struct rng rng = {7};
    struct watcher w;

    (void)state;
    watch_begin(&w, root, before);
    for (unsigned round = 0; round < 6; round++) {
        const size_t len = 300 + 613 * round;
        const uint64_t n = CAPACITY * 9 / 10 / (len + 100) / TEST_SLOWDOWN;
        for (uint64_t i = 0; i < n; i++) {
            put_sized(root, round, i, len);
        }
        for (uint64_t i = 0; i < n; i++) {
            if (rng_below(&rng, 2) == 0) {
                REQUIRE(zcache_delete(root, key_of(round, i), 0) >= 0);
            }
        }
    }
    watch_end(&w, "deletes that leave holes");
    close_cache(cache);
}

static void a_large_tenant_that_closes(void **state)
{
    const uint64_t before = process_resident();
    struct zcache *cache = open_cache(CAPACITY, NULL, "fast=none,dense=none");
    struct zcache_tenant *root = zcache_root(cache);
    struct watcher w;

    (void)state;
    watch_begin(&w, root, before);
    for (unsigned round = 0; round < 3; round++) {
        struct zcache_tenant *large = open_tenant(root, "large", ZCACHE_UNLIMITED);
        for (uint64_t i = 0; i < CAPACITY / 2 / 4200 / TEST_SLOWDOWN; i++) {
            put_sized(large, 1, i, 4096);
            if (i % 8 == 0) {
                put_sized(root, 1, i, 1000);
            }
        }
        const uint64_t held = charge_of(large);
        const uint64_t resident = stats_of(root).cache.resident_bytes;
        assert_int_equal(zcache_tenant_close(large, ZCACHE_CLOSE_DISCARD), 0);
        WAIT_UNTIL(stats_of(root).cache.resident_bytes <= resident - held * 9 / 10, 1000);
    }
    watch_end(&w, "a large tenant that closes");
    close_cache(cache);
}

static void capacity_lowered_live(void **state)
{
    const uint64_t before = process_resident();
    struct zcache *cache = open_cache(CAPACITY, NULL, "fast=none,dense=none");
    struct zcache_tenant *root = zcache_root(cache);
    struct watcher w;

    (void)state;
    watch_begin(&w, root, before);
    for (uint64_t i = 0; i < CAPACITY / 2000; i++) {
        put_sized(root, 1, i, 600 + i % 7 * 400);
    }
    for (uint64_t capacity = CAPACITY; capacity >= CAPACITY / 4; capacity -= CAPACITY / 8) {
        const uint64_t bound = capacity + capacity / 20 + 8 * MIB;

        assert_int_equal(set_limit(root, capacity, 10000), 0);
        WAIT_UNTIL(stats_of(root).cache.resident_bytes <= bound, 10000);
        WAIT_UNTIL(charge_of(root) <= capacity, 10000);
        atomic_store(&w.allowed, capacity);
        for (uint64_t i = 0; i < 2000 / TEST_SLOWDOWN; i++) {
            put_sized(root, capacity, i, 3000);
        }
    }
    watch_end(&w, "capacity lowered live");
    close_cache(cache);
}

static void a_store_that_stalls(void **state)
{
    const uint64_t before = process_resident();
    struct mem_store *store = mem_store_new(MEM_STORE_THREAD);
    struct zcache *cache = open_stored(CAPACITY, store, "max_stall_ms=50");
    struct zcache_tenant *root = zcache_root(cache);
    uint64_t refused = 0;
    struct watcher w;

    (void)state;
    /* The store's own copies are resident too: it is stopped before it makes any. */
    mem_store_hold(store, ZCACHE_IO_WRITE);
    watch_begin(&w, root, before);
    for (uint64_t i = 0; refused < 20; i++) {
        int rc = put_page(root, key_of(1, i), 1, FILL_RANDOM, 0);

        REQUIRE(rc == 0 || rc == -ENOSPC || rc == -EBUSY);
        refused += rc != 0 ? 1 : 0;
    }
    watch_end(&w, "a store that stalls");
    mem_store_open(store, ZCACHE_IO_WRITE);
    assert_int_equal(zcache_flush(root, 60000), 0);
    close_cache(cache);
    mem_store_free(store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_that_change),          cmocka_unit_test(deletes_that_leave_holes),
        cmocka_unit_test(a_large_tenant_that_closes), cmocka_unit_test(capacity_lowered_live),
        cmocka_unit_test(a_store_that_stalls),
    };

    (void)test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("bound", tests, NULL, NULL);
}
