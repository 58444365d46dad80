/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Alignment, powers of two, overflow-checked sums.
 */
#ifndef ZC_MATHX_H
#define ZC_MATHX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZC_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

#define ZC_MIN(a, b)     ((a) < (b) ? (a) : (b))
#define ZC_MAX(a, b)     ((a) > (b) ? (a) : (b))

static inline bool zc_is_pow2(uint64_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}

/** zc_align_up() - the next multiple of @align, a power of two; the caller rules out overflow. */
static inline uint64_t zc_align_up(uint64_t x, uint64_t align)
{
    return (x + align - 1) & ~(align - 1);
}

/** zc_log2_floor() - position of the highest set bit; @x is not 0. */
static inline unsigned zc_log2_floor(uint64_t x)
{
    return 63u - (unsigned)__builtin_clzll(x);
}

/** zc_pow2_ceil() - the smallest power of two that is not below @x; @x from 1 to 2^63. */
static inline uint64_t zc_pow2_ceil(uint64_t x)
{
    return x <= 1 ? 1 : UINT64_C(1) << (zc_log2_floor(x - 1) + 1);
}

/** zc_add_sat() - sum, UINT64_MAX where it would overflow. */
static inline uint64_t zc_add_sat(uint64_t a, uint64_t b)
{
    uint64_t sum;

    return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

/** zc_sub_sat() - difference, 0 where it would be negative. */
static inline uint64_t zc_sub_sat(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/** zc_mul_div() - a * b / c without overflow of the product; @c is not 0. */
static inline uint64_t zc_mul_div(uint64_t a, uint64_t b, uint64_t c)
{
    __extension__ typedef unsigned __int128 wide;
    wide r = (wide)a * b / c;

    return r > UINT64_MAX ? UINT64_MAX : (uint64_t)r;
}

/** zc_mul_ok() - whether a * b fits; the product goes to @out. */
static inline bool zc_mul_ok(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

#endif /* ZC_MATHX_H */
