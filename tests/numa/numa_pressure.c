/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A real cgroup: a cache in it that is filled beyond its memory.high gives memory back until the cgroup
 * is below, and grows again when the limit is raised; stalls alone bring it down as well.
 *
 * Each test runs in a child, which goes into a cgroup of its own before it opens the cache.
 */
#include "api/support.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ROOT     "/sys/fs/cgroup"
#define HIGH     (20 * MIB)
#define CAPACITY (32 * MIB)
#define OPTIONS  "fast=none,dense=none,start_percent=100,pressure_quiet_ms=500"

static char group[64];

/* ---- the cgroup ----------------------------------------------------------------------------------- */

static bool write_file(const char *folder, const char *name, const char *text)
{
    char path[256];

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    const bool ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    REQUIRE_EQUAL(close(fd), 0);
    return ok;
}

static bool read_file(const char *folder, const char *name, char *text, size_t cap)
{
    char path[256];

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return false;
    }
    const size_t len = fread(text, 1, cap - 1, file);
    (void)fclose(file);
    text[len] = '\0';
    return true;
}

static uint64_t usage(void)
{
    char text[64];

    REQUIRE(read_file(group, "memory.current", text, sizeof(text)));
    return strtoull(text, NULL, 10);
}

static void set_high(uint64_t bytes)
{
    char text[32];

    (void)snprintf(text, sizeof(text), "%" PRIu64, bytes);
    REQUIRE(write_file(group, "memory.high", text));
}

/* Why there is no cgroup to be had here; NULL: there is. */
static const char *make_group(void)
{
    char text[256];

    if (!read_file(ROOT, "cgroup.controllers", text, sizeof(text)) ||
        strstr(text, "memory") == NULL) {
        return "no cgroups of version 2 with the memory controller here";
    }
    if (!write_file(ROOT, "cgroup.subtree_control", "+memory")) {
        return "may not give the memory controller to a new cgroup";
    }
    (void)snprintf(group, sizeof(group), ROOT "/zcache-test.%d", (int)getpid());
    return mkdir(group, 0755) == 0 ? NULL : "may not make a cgroup";
}

/* ---- a child in it -------------------------------------------------------------------------------- */

static void in_group(void (*fn)(void))
{
    char pid[32];
    int status;
    const pid_t child = fork();

    assert_true(child >= 0);
    if (child == 0) {
        (void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
        if (!write_file(group, "cgroup.procs", pid)) {
            _exit(3);
        }
        fn();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* In a child, where a failed check is to end the process and not to return to cmocka. */
#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            (void)fprintf(stderr, "%s:%d: failed: %s\n", __FILE__, __LINE__, #cond);               \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

#define CHECK_UNTIL(cond, ms)                                                                      \
    do {                                                                                           \
        const uint64_t until_ = deadline_in(ms);                                                   \
        while (!(cond))                                                                            \
            CHECK(pause_before(until_));                                                           \
    } while (0)

static struct zcache *open_in_group(const char *pressure)
{
    struct zcache_options opts = ZCACHE_OPTIONS_INIT;
    char error[200] = "";

    CHECK(zcache_options_parse(&opts, OPTIONS, error, sizeof(error)) == 0);
    CHECK(zcache_options_parse(&opts, pressure, error, sizeof(error)) == 0);
    opts.capacity_bytes = CAPACITY;
    struct zcache *cache = NULL;
    CHECK(zcache_open(&opts, &cache) == 0);
    return cache;
}

/* Puts so many clean pages; 0, or what the first that failed says. */
static void fill(struct zcache *cache, uint64_t object, uint64_t bytes)
{
    static char page[16384];

    for (uint64_t i = 0; i < bytes / sizeof(page); i++) {
        page_make(page, sizeof(page), key_of(object, i), 1, FILL_RANDOM);
        CHECK(zcache_put(zcache_root(cache), key_of(object, i), page, sizeof(page), ZCACHE_CLEAN) ==
              0);
    }
}

static struct zcache_stats look(struct zcache *cache)
{
    struct zcache_stats stats = ZCACHE_STATS_INIT;

    CHECK(zcache_stats(zcache_root(cache), &stats) == 0);
    return stats;
}

static void give_and_grow(void)
{
    struct zcache *cache = open_in_group("pressure=cgroup");

    CHECK(look(cache).cache.effective_capacity_bytes == CAPACITY);
    fill(cache, 1, CAPACITY); /* half as much again as the cgroup may have */
    CHECK_UNTIL(usage() <= HIGH / 100 * 95, 60000);
    CHECK_UNTIL(look(cache).gauge.charge_bytes <= look(cache).cache.effective_capacity_bytes,
                60000);
    struct zcache_stats stats = look(cache);
    CHECK(stats.cache.effective_capacity_bytes < HIGH);
    CHECK(stats.cache.effective_capacity_bytes >= CAPACITY / 4);
    CHECK(stats.cache.capacity_bytes == CAPACITY);
    CHECK(stats.cache.pressure_lowered > 0);
    CHECK(stats.cache.pressure_bytes > 0);
    CHECK(stats.cache.pressure_blind == 0);

    /* It is at rest there, whatever is put. */
    fill(cache, 2, CAPACITY);
    CHECK_UNTIL(usage() <= HIGH / 100 * 95, 60000);
    CHECK(look(cache).cache.effective_capacity_bytes < HIGH);

    set_high(4 * CAPACITY);
    CHECK_UNTIL(look(cache).cache.effective_capacity_bytes == CAPACITY, 60000);
    fill(cache, 3, CAPACITY);
    stats = look(cache);
    CHECK(stats.cache.pressure_raised > 0);
    CHECK(stats.gauge.charge_bytes > HIGH);
    CHECK(usage() > HIGH);
    CHECK(zcache_verify(cache) == 0);
    CHECK(zcache_close(cache, ZCACHE_FLUSH) == 0);
}

/* The kernel throttles at memory.high, and a task that is throttled stalls. */
static void follow_stalls(void)
{
    struct zcache *cache = open_in_group("pressure=psi,pressure_floor_percent=10");

    fill(cache, 1, CAPACITY);
    CHECK_UNTIL(look(cache).cache.pressure_lowered > 0, 60000);
    /* Puts are what is throttled: as long as there are any, it goes on. */
    for (uint64_t object = 2; usage() > HIGH; object++) {
        CHECK(object < 200);
        fill(cache, object, MIB);
    }
    const struct zcache_stats stats = look(cache);
    CHECK(stats.cache.effective_capacity_bytes < CAPACITY);
    CHECK(stats.cache.effective_capacity_bytes >= CAPACITY / 10);
    CHECK(zcache_verify(cache) == 0);
    CHECK(zcache_close(cache, ZCACHE_FLUSH) == 0);
}

/* It is closed while the cgroup is at its limit and the cache gives back. */
static void close_amid(void)
{
    for (int i = 0; i < 3; i++) {
        struct zcache *cache = open_in_group("pressure=both");

        fill(cache, 1, HIGH);
        CHECK(zcache_close(cache, ZCACHE_DISCARD) == 0);
    }
}

static void a_cgroup_gets_memory_back_and_the_cache_grows_again(void **state)
{
    (void)state;
    set_high(HIGH);
    in_group(give_and_grow);
}

static void stalls_bring_it_below_the_limit(void **state)
{
    char text[256];

    (void)state;
    if (!read_file(group, "memory.pressure", text, sizeof(text))) {
        skip();
    }
    set_high(HIGH);
    in_group(follow_stalls);
}

static void a_close_under_pressure_returns(void **state)
{
    (void)state;
    set_high(HIGH);
    in_group(close_amid);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cgroup_gets_memory_back_and_the_cache_grows_again),
        cmocka_unit_test(stalls_bring_it_below_the_limit),
        cmocka_unit_test(a_close_under_pressure_returns),
    };

    test_begin(argc, argv, 0);
    const char *why = make_group();
    if (why != NULL) {
        test_skip(why);
    }
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)rmdir(group);
    return failed;
}
