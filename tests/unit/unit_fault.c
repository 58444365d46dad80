/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fault: which requests a plan refuses.
 */
#include <pthread.h>
#include <string.h>

#include "api/support.h"
#include "fault.h"

#ifdef ZCACHE_TEST_HOOKS
#define REQUESTS 8u

/* Which of the next requests at the site "object" are refused, the first in the lowest bit. */
static unsigned refusals(void)
{
    unsigned bits = 0;

    for (unsigned i = 0; i < REQUESTS; i++) {
        bits |= ZC_FAULT(object) ? 1u << i : 0u;
    }
    return bits;
}

static void *refusals_elsewhere(void *out)
{
    *(unsigned *)out = refusals();
    return NULL;
}

static unsigned on_another_thread(void)
{
    pthread_t thread;
    unsigned bits;

    assert_int_equal(pthread_create(&thread, NULL, refusals_elsewhere, &bits), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    return bits;
}

static void the_nth_request_is_refused(void **state)
{
    (void)state;
    assert_int_equal(refusals(), 0);
    for (unsigned n = 1; n <= REQUESTS + 1; n++) {
        const uint64_t before = zc_fault_refused(ZC_FAULT_object);
        const unsigned expected = n <= REQUESTS ? 1u << (n - 1) : 0;

        zc_fault_arm(&(struct zc_fault_plan){.nth = n});
        assert_int_equal(refusals(), expected);
        assert_int_equal(zc_fault_disarm(), expected != 0);
        assert_int_equal(zc_fault_refused(ZC_FAULT_object) - before, expected != 0);
        assert_int_equal(refusals(), 0);
    }
    zc_fault_arm(&(struct zc_fault_plan){.nth = 100});
    (void)refusals();
    assert_int_equal(zc_fault_requests(), REQUESTS);
    zc_fault_arm(&(struct zc_fault_plan){.nth = 0});
    assert_int_equal(refusals(), 0);
    assert_int_equal(zc_fault_disarm(), 0);
}

static void a_lasting_plan_refuses_all_that_follow(void **state)
{
    (void)state;
    zc_fault_arm(&(struct zc_fault_plan){.nth = 3, .lasting = true});
    assert_int_equal(refusals(), 0xfc);
    assert_int_equal(refusals(), 0xff);
    assert_int_equal(zc_fault_disarm(), 14);
    assert_int_equal(refusals(), 0);
}

static void a_plan_is_about_threads(void **state)
{
    (void)state;
    zc_fault_arm(&(struct zc_fault_plan){.nth = 1, .lasting = true, .whose = ZC_FAULT_MINE});
    assert_int_equal(on_another_thread(), 0);
    assert_int_equal(refusals(), 0xff);
    zc_fault_arm(&(struct zc_fault_plan){.nth = 1, .lasting = true, .whose = ZC_FAULT_OTHERS});
    assert_int_equal(on_another_thread(), 0xff);
    assert_int_equal(refusals(), 0);
    zc_fault_arm(&(struct zc_fault_plan){.nth = 1, .lasting = true, .whose = ZC_FAULT_ALL});
    assert_int_equal(on_another_thread(), 0xff);
    assert_int_equal(refusals(), 0xff);
    assert_int_equal(zc_fault_disarm(), 2 * REQUESTS);
}

static void a_plan_is_about_sites(void **state)
{
    (void)state;
    zc_fault_arm(&(struct zc_fault_plan){.nth = 2, .sites = 1u << ZC_FAULT_map});
    assert_int_equal(refusals(), 0); /* nor are they counted */
    assert_false(ZC_FAULT(map));
    assert_true(ZC_FAULT(map));
    assert_false(ZC_FAULT(map));
    assert_int_equal(zc_fault_disarm(), 1);
    assert_string_equal(zc_fault_name(ZC_FAULT_map), "map");
    assert_string_equal(zc_fault_name(ZC_FAULT_N_SITES - 1), "train");
}

static void what_is_held_is_summed_up(void **state)
{
    const int64_t before = zc_fault_held();

    (void)state;
    zc_fault_hold(100);
    zc_fault_hold(-30);
    assert_int_equal(zc_fault_held() - before, 70);
    zc_fault_hold(-70);
    assert_int_equal(zc_fault_held(), before);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nth_request_is_refused),
        cmocka_unit_test(a_lasting_plan_refuses_all_that_follow),
        cmocka_unit_test(a_plan_is_about_threads),
        cmocka_unit_test(a_plan_is_about_sites),
        cmocka_unit_test(what_is_held_is_summed_up),
    };

    test_begin(argc, argv, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
#else
int main(void)
{
    test_skip("built without ZCACHE_TEST_HOOKS");
}
#endif
