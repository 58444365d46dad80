/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mathx: edges by hand, the rest against the obvious way to compute it.
 */
#include "assertion.h"
#include "mathx.h"

#define ROUNDS 100000

static uint64_t random_state = 1;

/* Knuth's MMIX generator; its low bits are weak, so the high ones come down. */
static uint64_t random_u64(void)
{
    random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return random_state ^ (random_state >> 33);
}

/* Of any magnitude: the number of significant bits is random as well. */
static uint64_t random_size(void)
{
    return random_u64() >> (random_u64() >> 58);
}

static void powers_of_two_are_recognised(void **state)
{
    (void)state;
    assert_false(zc_is_pow2(0));
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t x = UINT64_C(1) << bit;

        assert_true(zc_is_pow2(x));
        assert_int_equal(zc_is_pow2(x + 1), bit == 0);
        assert_int_equal(zc_is_pow2(x - 1), bit == 1);
    }
}

static void align_up_gives_the_next_multiple(void **state)
{
    (void)state;
    assert_int_equal(zc_align_up(0, 64), 0);
    assert_int_equal(zc_align_up(1, 64), 64);
    assert_int_equal(zc_align_up(64, 64), 64);
    assert_int_equal(zc_align_up(65, 64), 128);
    assert_int_equal(zc_align_up(77, 1), 77);
    assert_true(zc_align_up(UINT64_MAX - 4095, 4096) == UINT64_MAX - 4095);
}

static void log2_and_pow2_agree(void **state)
{
    (void)state;
    assert_int_equal(zc_pow2_ceil(1), 1);
    assert_true(zc_pow2_ceil(UINT64_C(1) << 63) == UINT64_C(1) << 63);
    for (unsigned bit = 0; bit < 63; bit++) {
        uint64_t x = UINT64_C(1) << bit;

        assert_int_equal(zc_log2_floor(x), bit);
        assert_int_equal(zc_log2_floor(2 * x - 1), bit);
        assert_true(zc_pow2_ceil(x) == x);
        assert_true(zc_pow2_ceil(x + 1) == 2 * x);
    }
    assert_int_equal(zc_log2_floor(UINT64_MAX), 63);
}

static void sums_stop_at_the_ends(void **state)
{
    (void)state;
    assert_true(zc_add_sat(1, 2) == 3);
    assert_true(zc_add_sat(UINT64_MAX - 1, 1) == UINT64_MAX);
    assert_true(zc_add_sat(UINT64_MAX, 1) == UINT64_MAX);
    assert_true(zc_add_sat(UINT64_MAX, UINT64_MAX) == UINT64_MAX);
    assert_true(zc_sub_sat(3, 2) == 1);
    assert_true(zc_sub_sat(2, 2) == 0);
    assert_true(zc_sub_sat(2, 3) == 0);
    assert_true(zc_sub_sat(0, UINT64_MAX) == 0);
}

static void mul_div_keeps_the_whole_product(void **state)
{
    (void)state;
    assert_true(zc_mul_div(7, 3, 2) == 10);
    assert_true(zc_mul_div(UINT64_MAX, UINT64_MAX, UINT64_MAX) == UINT64_MAX);
    assert_true(zc_mul_div(UINT64_MAX, 100, 200) == UINT64_MAX / 2);
    assert_true(zc_mul_div(UINT64_MAX, 2, 1) == UINT64_MAX);
    assert_true(zc_mul_div(0, UINT64_MAX, 1) == 0);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t a = random_size();
        uint64_t c = random_size() | 1;

        assert_true(zc_mul_div(a, c, c) == a);
        assert_true(zc_mul_div(a, 1, c) == a / c);
    }
}

static void mul_ok_notices_overflow(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t a = random_size();
        uint64_t b = random_size();
        uint64_t product = 0;
        bool fits = a == 0 || b <= UINT64_MAX / a;

        assert_int_equal(zc_mul_ok(a, b, &product), fits);
        assert_true(product == a * b);
    }
}

static void smaller_and_larger(void **state)
{
    int sizes[7];

    (void)state;
    assert_int_equal(ZC_MIN(1, 2), 1);
    assert_int_equal(ZC_MIN(2, 1), 1);
    assert_int_equal(ZC_MAX(1, 2), 2);
    assert_int_equal(ZC_MAX(2, 1), 2);
    assert_int_equal(ZC_ARRAY_SIZE(sizes), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(powers_of_two_are_recognised),
        cmocka_unit_test(align_up_gives_the_next_multiple),
        cmocka_unit_test(log2_and_pow2_agree),
        cmocka_unit_test(sums_stop_at_the_ends),
        cmocka_unit_test(mul_div_keeps_the_whole_product),
        cmocka_unit_test(mul_ok_notices_overflow),
        cmocka_unit_test(smaller_and_larger),
    };

    return cmocka_run_group_tests_name("mathx", tests, NULL, NULL);
}
