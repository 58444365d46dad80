/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pressure_read: which cgroup counts, what its files say, how long tasks stalled; and that what is not
 * there, cannot be read or is nonsense is told apart from "no pressure".
 */
#include "assertion.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "mathx.h"
#include "pressure_read.h"
#include "unit/fake_files.h"

#define S      UINT64_C(1000000000)
#define STALLS "some avg10=0.00 avg60=0.00 avg300=0.00 total=%d\nfull avg10=0.00 total=7\n"

static struct zc_pressure_eyes eyes;

/* A process in /a/b; a has a limit of 1000 bytes, b a higher one. */
static void setup(void)
{
    fake_files_clear();
    (void)memset(&eyes, 0, sizeof(eyes));
    fake_file("/proc/self/cgroup", "0::/a/b\n");
    fake_file(CG "/cgroup.controllers", "memory\n");
    fake_file(CG "/a/cgroup.controllers", "memory\n");
    fake_file(CG "/a/memory.high", "1000\n");
    fake_file(CG "/a/memory.max", "max\n");
    fake_file(CG "/a/memory.current", "900\n");
    fake_file(CG "/a/memory.stat", "anon 1\nfile 2\ninactive_file 100\nactive_file 3\n");
    fake_file(CG "/a/b/cgroup.controllers", "\n");
    fake_file(CG "/a/b/memory.high", "max\n");
    fake_file(CG "/a/b/memory.max", "1500\n");
    fake_file(CG "/a/b/memory.current", "600\n");
    fake_file(CG "/a/b/memory.stat", "inactive_file 0\n");
}

static struct zc_pressure_look look_at(unsigned what, uint64_t now_ns)
{
    struct zc_pressure_look look;

    (void)memset(&look, 0xee, sizeof(look));
    zc_pressure_read(&eyes, what, now_ns, &look);
    return look;
}

static void expect_limits(uint64_t usage, uint64_t limit)
{
    const struct zc_pressure_look look = look_at(ZC_PRESSURE_LIMITS, S);

    assert_false(look.blind);
    assert_int_equal(look.limit_bytes, limit);
    assert_int_equal(look.usage_bytes, usage);
    assert_int_equal(look.stall_permille, 0);
}

static void expect_blind(void)
{
    assert_true(look_at(ZC_PRESSURE_LIMITS, S).blind);
}

/* ---- limits --------------------------------------------------------------------------------------- */

static void the_cgroup_nearest_to_its_limit_counts(void **state)
{
    (void)state;
    setup();
    expect_limits(800, 1000);
    fake_file(CG "/a/b/memory.current", "1300\n");
    expect_limits(1300, 1500);
    fake_file(CG "/a/b/memory.high", "1400\n"); /* the lower of the two */
    expect_limits(1300, 1400);
}

static void without_limits_there_is_no_pressure(void **state)
{
    (void)state;
    setup();
    fake_file(CG "/a/memory.high", "max\n");
    fake_file(CG "/a/b/memory.max", "max\n");
    expect_limits(0, 0);
    fake_file(CG "/a/memory.high", NULL); /* no controller there */
    fake_file(CG "/a/memory.max", NULL);
    expect_limits(0, 0);
}

static void a_limit_of_nothing_is_one(void **state)
{
    (void)state;
    setup();
    fake_file(CG "/a/memory.high", "0\n");
    expect_limits(800, 1);
}

static void the_process_may_be_moved(void **state)
{
    (void)state;
    setup();
    expect_limits(800, 1000);
    fake_file("/proc/self/cgroup", "0::/c\n");
    fake_file(CG "/c/cgroup.controllers", "\n");
    fake_file(CG "/c/memory.max", "4000\n");
    fake_file(CG "/c/memory.current", "5\n");
    fake_file(CG "/c/memory.stat", "inactive_file 9\n"); /* counted at different moments */
    expect_limits(0, 4000);
}

static void version_2_may_be_beside_version_1(void **state)
{
    (void)state;
    setup();
    fake_file(CG "/cgroup.controllers", NULL);
    expect_blind();
    fake_file("/proc/self/cgroup", "4:memory:/x\n1:name=systemd:/\n0::/a\n");
    fake_file(CG "/unified/cgroup.controllers", "\n");
    fake_file(CG "/unified/a/cgroup.controllers", "\n");
    expect_blind(); /* the memory controller is with version 1 */
    fake_file(CG "/unified/a/memory.max", "70\n");
    fake_file(CG "/unified/a/memory.current", "60\n");
    fake_file(CG "/unified/a/memory.stat", "inactive_file 1\n");
    expect_limits(59, 70);
}

/* In a container the path is that outside, and the files are mounted from some folder on its way. */
static void a_path_from_outside_is_shortened(void **state)
{
    (void)state;
    setup();
    fake_file("/proc/self/cgroup", "0::/kube/pod7/a\n");
    expect_limits(800, 1000);
    fake_file("/proc/self/cgroup", "0::/kube/pod7/nowhere\n");
    fake_file(CG "/memory.max", "50\n");
    fake_file(CG "/memory.current", "40\n");
    fake_file(CG "/memory.stat", "inactive_file 0\n");
    expect_limits(40, 50);
    fake_file("/proc/self/cgroup", "0::/../other\n");
    expect_blind();
}

static void the_root_has_no_limits(void **state)
{
    (void)state;
    setup();
    fake_file("/proc/self/cgroup", "0::/\n");
    expect_blind(); /* nothing that could be followed */
    assert_string_equal(eyes.folder, CG);
}

static void nonsense_and_errors_are_not_quiet(void **state)
{
    static const char *const bad[] = {"",     "\n",    "x\n",  "-5\n",   "12x\n",
                                      "maxi", "1 2\n", " 7\n", "0x10\n", "99999999999999999999\n"};
    static const char *const files[] = {CG "/a/memory.high", CG "/a/memory.max",
                                        CG "/a/memory.current"};

    (void)state;
    for (size_t f = 0; f < ZC_ARRAY_SIZE(files); f++) {
        for (size_t i = 0; i < ZC_ARRAY_SIZE(bad); i++) {
            setup();
            fake_file(files[f], bad[i]);
            expect_blind();
            /* What else there is can be seen. */
            assert_int_equal(look_at(ZC_PRESSURE_LIMITS, S).limit_bytes, 1500);
        }
        setup();
        fake_file_error(files[f], -EIO);
        expect_blind();
    }
    setup();
    fake_file(CG "/a/memory.stat", "file 2\n");
    expect_blind();
    fake_file(CG "/a/memory.stat", "inactive_file\n");
    expect_blind();
    fake_file(CG "/a/memory.stat", NULL);
    expect_blind();
    setup();
    fake_file("/proc/self/cgroup", NULL);
    expect_blind();
    fake_file("/proc/self/cgroup", "");
    expect_blind();
    fake_file("/proc/self/cgroup", "0::nowhere\n");
    expect_blind();
}

static void a_path_without_end_is_refused(void **state)
{
    char path[ZC_PRESSURE_TEXT] = "0::/";

    (void)state;
    setup();
    for (size_t i = 4; i < sizeof(path) - 1; i++) {
        path[i] = i % 3 == 0 ? '/' : 'x';
    }
    path[sizeof(path) - 1] = '\0';
    fake_file("/proc/self/cgroup", path);
    expect_blind();
    path[4 + ZC_PRESSURE_PATH - 2] = '\n'; /* the longest that is taken: shortened to the root */
    fake_file("/proc/self/cgroup", path);
    expect_blind();
    assert_string_equal(eyes.folder, CG);
}

/* ---- stalls --------------------------------------------------------------------------------------- */

static void stalled(const char *path, int total_us)
{
    char text[200];

    (void)snprintf(text, sizeof(text), STALLS, total_us);
    fake_file(path, text);
}

static uint32_t share_at(uint64_t now_ns)
{
    const struct zc_pressure_look look = look_at(ZC_PRESSURE_STALLS, now_ns);

    assert_false(look.blind);
    assert_int_equal(look.limit_bytes, 0);
    return look.stall_permille;
}

static void stalls_are_a_share_of_the_time_between_looks(void **state)
{
    (void)state;
    setup();
    stalled(CG "/a/b/memory.pressure", 5000000);
    assert_int_equal(share_at(100 * S), 0); /* since when? */
    assert_int_equal(share_at(101 * S), 0);
    stalled(CG "/a/b/memory.pressure", 5250000);
    assert_int_equal(share_at(102 * S), 250);
    assert_int_equal(share_at(103 * S), 0);
    stalled(CG "/a/b/memory.pressure", 9000000); /* more than there was time */
    assert_int_equal(share_at(104 * S), 1000);
    stalled(CG "/a/b/memory.pressure", 1); /* backwards */
    assert_int_equal(share_at(105 * S), 0);
    assert_int_equal(share_at(105 * S), 0); /* no time passed */
}

static void where_the_cgroup_has_none_the_system_s_count(void **state)
{
    (void)state;
    setup();
    stalled("/proc/pressure/memory", 1000000);
    assert_int_equal(share_at(100 * S), 0);
    stalled("/proc/pressure/memory", 1100000);
    assert_int_equal(share_at(101 * S), 100);
    assert_string_equal(eyes.stall_file, "/proc/pressure/memory");
    stalled(CG "/a/b/memory.pressure", 9000000); /* another file: it begins anew */
    assert_int_equal(share_at(102 * S), 0);
    stalled(CG "/a/b/memory.pressure", 9010000);
    assert_int_equal(share_at(103 * S), 10);
    fake_files_clear(); /* no cgroups either */
    stalled("/proc/pressure/memory", 2000000);
    assert_int_equal(share_at(104 * S), 0);
    stalled("/proc/pressure/memory", 2500000);
    assert_int_equal(share_at(105 * S), 500);
}

static void stalls_that_cannot_be_told_are_not_quiet(void **state)
{
    static const char *const bad[] = {"",
                                      "some\n",
                                      "some avg10=0.00\n",
                                      "some total=\n",
                                      "some total=x\n",
                                      "full total=3\n",
                                      "some avg10=1.00\nfull total=3\n"};

    (void)state;
    setup();
    assert_true(look_at(ZC_PRESSURE_STALLS, S).blind);
    for (size_t i = 0; i < ZC_ARRAY_SIZE(bad); i++) {
        fake_file(CG "/a/b/memory.pressure", bad[i]);
        assert_true(look_at(ZC_PRESSURE_STALLS, S).blind);
        assert_int_equal(look_at(ZC_PRESSURE_STALLS, S).stall_permille, 0);
    }
    fake_file_error(CG "/a/b/memory.pressure", -EOPNOTSUPP); /* PSI is turned off */
    assert_true(look_at(ZC_PRESSURE_STALLS, S).blind);
    assert_false(look_at(ZC_PRESSURE_LIMITS, S).blind);
    assert_true(look_at(ZC_PRESSURE_LIMITS | ZC_PRESSURE_STALLS, S).blind);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cgroup_nearest_to_its_limit_counts),
        cmocka_unit_test(without_limits_there_is_no_pressure),
        cmocka_unit_test(a_limit_of_nothing_is_one),
        cmocka_unit_test(the_process_may_be_moved),
        cmocka_unit_test(version_2_may_be_beside_version_1),
        cmocka_unit_test(a_path_from_outside_is_shortened),
        cmocka_unit_test(the_root_has_no_limits),
        cmocka_unit_test(nonsense_and_errors_are_not_quiet),
        cmocka_unit_test(a_path_without_end_is_refused),
        cmocka_unit_test(stalls_are_a_share_of_the_time_between_looks),
        cmocka_unit_test(where_the_cgroup_has_none_the_system_s_count),
        cmocka_unit_test(stalls_that_cannot_be_told_are_not_quiet),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
