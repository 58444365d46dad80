/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * plat: files of the kernel, and what a thread sleeps on that looks at them.
 */
#include "api/support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fault.h"
#include "mathx.h"
#include "plat.h"

#define PSI_FILE "/proc/pressure/memory"

/* A file of ours that says so; to be unlinked. */
static void make_file(char path[32], const char *text)
{
    (void)snprintf(path, 32, "/tmp/zcache-plat.XXXXXX");
    const int fd = mkstemp(path);

    REQUIRE(fd >= 0);
    REQUIRE_EQUAL(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    REQUIRE_EQUAL(close(fd), 0);
}

static unsigned open_descriptors(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 1024; fd++) {
        n += fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
    }
    return n;
}

/* ---- files ---------------------------------------------------------------------------------------- */

static void a_file_is_read_as_far_as_there_is_room(void **state)
{
    char path[32];
    char buf[16];

    (void)state;
    make_file(path, "12345\n67");
    assert_int_equal(zc_plat_read_file(path, buf, sizeof(buf)), 8);
    assert_string_equal(buf, "12345\n67");
    assert_int_equal(zc_plat_read_file(path, buf, 9), 8);
    assert_int_equal(zc_plat_read_file(path, buf, 4), 3);
    assert_string_equal(buf, "123");
    assert_int_equal(zc_plat_read_file(path, buf, 1), 0);
    assert_string_equal(buf, "");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(zc_plat_read_file(path, buf, sizeof(buf)), -ENOENT);
    assert_int_equal(zc_plat_read_file("/", buf, sizeof(buf)), -EISDIR);
}

static void no_descriptor_stays_open(void **state)
{
    const unsigned before = open_descriptors();
    struct zc_plat_watch watch;
    char buf[16];

    (void)state;
    for (int i = 0; i < 10; i++) {
        (void)zc_plat_read_file("/proc/self/stat", buf, sizeof(buf));
        (void)zc_plat_read_file("/", buf, sizeof(buf));
        assert_int_equal(zc_plat_watch_init(&watch), 0);
        (void)zc_plat_watch_stalls(&watch, PSI_FILE, 100000, 2000000);
        (void)zc_plat_watch_stalls(&watch, PSI_FILE, 200000, 2000000);
        (void)zc_plat_watch_stalls(&watch, "/proc/self/stat", 100000, 2000000);
        zc_plat_watch_fini(&watch);
    }
    assert_int_equal(open_descriptors(), before);
}

#ifdef ZCACHE_TEST_HOOKS
static void a_read_can_be_made_to_fail(void **state)
{
    const struct zc_fault_plan plan = {
        .nth = 1, .whose = ZC_FAULT_MINE, .sites = 1u << ZC_FAULT_file};
    char buf[16];

    (void)state;
    zc_fault_arm(&plan);
    assert_int_equal(zc_plat_read_file("/proc/self/stat", buf, sizeof(buf)), -EIO);
    assert_int_equal(zc_fault_disarm(), 1);
    assert_true(zc_plat_read_file("/proc/self/stat", buf, sizeof(buf)) > 0);
}
#endif

/* ---- watching ------------------------------------------------------------------------------------- */

static void a_wait_ends_at_its_time(void **state)
{
    struct zc_plat_watch watch;

    (void)state;
    assert_int_equal(zc_plat_watch_init(&watch), 0);
    assert_int_equal(zc_plat_watch_wait(&watch, 1), 0); /* over already */
    const uint64_t then = zc_plat_now_ns() + 5 * MS_IN_NS;
    while (zc_plat_now_ns() < then) {
        assert_int_equal(zc_plat_watch_wait(&watch, then), 0);
    }
    zc_plat_watch_fini(&watch);
    zc_plat_watch_fini(&watch); /* twice does nothing */
}

static void a_wake_before_the_wait_is_not_missed(void **state)
{
    struct zc_plat_watch watch;

    (void)state;
    assert_int_equal(zc_plat_watch_init(&watch), 0);
    zc_plat_watch_wake(&watch);
    zc_plat_watch_wake(&watch);
    assert_int_equal(zc_plat_watch_wait(&watch, UINT64_MAX), ZC_WATCH_WOKEN);
    assert_int_equal(zc_plat_watch_wait(&watch, 1), 0); /* once for both */
    zc_plat_watch_fini(&watch);
}

static void *wake(void *arg)
{
    zc_plat_watch_wake(arg);
    return NULL;
}

static void another_thread_ends_the_wait(void **state)
{
    struct zc_plat_watch watch;

    (void)state;
    assert_int_equal(zc_plat_watch_init(&watch), 0);
    for (int i = 0; i < 50; i++) {
        pthread_t thread;

        REQUIRE(pthread_create(&thread, NULL, wake, &watch) == 0);
        assert_int_equal(zc_plat_watch_wait(&watch, UINT64_MAX), ZC_WATCH_WOKEN);
        REQUIRE(pthread_join(thread, NULL) == 0);
    }
    zc_plat_watch_fini(&watch);
}

/* A trigger is a text that is written: not to what is no file of the kernel's. */
static void only_the_kernel_s_files_are_written_to(void **state)
{
    struct zc_plat_watch watch;
    char path[32];
    char buf[16];

    (void)state;
    make_file(path, "some total=1\n");
    assert_int_equal(zc_plat_watch_init(&watch), 0);
    assert_int_equal(zc_plat_watch_stalls(&watch, path, 100000, 2000000), -ENOTSUP);
    assert_true(zc_plat_read_file(path, buf, sizeof(buf)) == 13);
    assert_string_equal(buf, "some total=1\n");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(zc_plat_watch_stalls(&watch, path, 100000, 2000000), -ENOENT);
    assert_int_equal(watch.stall, -1);
    zc_plat_watch_fini(&watch);
}

static void a_trigger_does_not_disturb_the_wait(void **state)
{
    struct zc_plat_watch watch;

    (void)state;
    assert_int_equal(zc_plat_watch_init(&watch), 0);
    if (zc_plat_watch_stalls(&watch, PSI_FILE, 2000000, 2000000) != 0) {
        zc_plat_watch_fini(&watch);
        skip(); /* no stall information here, or not for everybody */
    }
    assert_true(watch.stall >= 0);
    assert_int_equal(zc_plat_watch_wait(&watch, 1) & ZC_WATCH_WOKEN, 0);
    zc_plat_watch_wake(&watch);
    assert_true((zc_plat_watch_wait(&watch, UINT64_MAX) & ZC_WATCH_WOKEN) != 0);
    zc_plat_watch_fini(&watch);
    assert_int_equal(watch.stall, -1);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read_as_far_as_there_is_room),
        cmocka_unit_test(no_descriptor_stays_open),
#ifdef ZCACHE_TEST_HOOKS
        cmocka_unit_test(a_read_can_be_made_to_fail),
#endif
        cmocka_unit_test(a_wait_ends_at_its_time),
        cmocka_unit_test(a_wake_before_the_wait_is_not_missed),
        cmocka_unit_test(another_thread_ends_the_wait),
        cmocka_unit_test(only_the_kernel_s_files_are_written_to),
        cmocka_unit_test(a_trigger_does_not_disturb_the_wait),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
