/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The checksum of a stored form, and a copy that computes it on the way.
 *
 * Checksums stay in the process, so each machine may have its own.  Where the CPU encrypts 32 bytes at
 * a time (VAES: Intel since 2019, AMD since 2020) it is made of rounds of AES; elsewhere it is xxh3.
 *
 * AES.  Four accumulators of two blocks each take 128 bytes a turn: a round over the accumulator, whose
 * last step adds the data.
 *
 *      data   | 32 | 32 | 32 | 32 | 32 | 32 | 32 | 32 |  ...  |  the last 128, whatever overlaps  |
 *      acc      a    b    c    d    a    b    c    d             a        b        c        d
 *
 * A round is a permutation of the accumulator, so damage within 32 bytes leaves it different for good.
 * At the end the accumulators are put together by rounds, and three more spread every byte over the 32
 * bits that are kept.  What has below 128 bytes is filled up with zeros; the length is in the
 * accumulators' first values.
 *
 * Measured (AMD EPYC 9004, ns, in cache unless it says otherwise)
 *      bytes                                         600   2048    4096   4096 from memory
 *      memcpy                                                        50        690
 *      zc_checksum      xxh3, AVX-512                 15     45      87
 *                       AES                            5     15      29
 *      zc_checksum_copy xxh3 (memcpy, then the copy)                140        860
 *                       AES                                          52        700
 *
 * So a copy with AES costs what a copy costs: there are few enough instructions for a byte that the
 * CPU looks as far ahead as memcpy() does.  xxh3 has three times as many; made in one pass with the copy it
 * is slower from memory than after it.
 *
 * xxh3 is the shared library's, with its run-time choice among SSE2, AVX2 and AVX-512; its static
 * archive lacks the choice, hence the weak reference.  Not taken: CRC32C, 180 ns for 4096 bytes.
 */
#include <stdatomic.h>
#include <string.h>

#include "check.h"
#include "codec.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

#define XXH_DISPATCH_DISABLE_REPLACE
#pragma weak XXH3_64bits_dispatch
#include <xxh_x86dispatch.h>
#else
#include <xxhash.h>
#endif

/* ---- xxh3 ---------------------------------------------------------------------------------- */

uint32_t zc_sum_xxh3(const void *data, size_t len)
{
#if defined(__x86_64__)
    if (XXH3_64bits_dispatch != NULL) {
        return (uint32_t)XXH3_64bits_dispatch(data, len);
    }
#endif
    return (uint32_t)XXH3_64bits(data, len);
}

/* The copy is read, not the source: it is in the CPU's cache by then. */
uint32_t zc_sum_xxh3_copy(void *dst, const void *src, size_t len)
{
    (void)memcpy(dst, src, len);
    return zc_sum_xxh3(dst, len);
}

/* ---- AES ----------------------------------------------------------------------------------- */

#if defined(__x86_64__)

#define TURN     128u
#define WITH_AES __attribute__((target("aes,avx2,vaes")))

struct acc {
    __m256i a;
    __m256i b;
    __m256i c;
    __m256i d;
};

/* Digits of pi, so that no two blocks begin alike. */
WITH_AES static ZC_HOT struct acc acc_begin(size_t len)
{
    const __m256i n = _mm256_set1_epi64x((long long)len);

    return (struct acc){
        .a = _mm256_xor_si256(n, _mm256_setr_epi64x(0x243f6a8885a308d3, 0x13198a2e03707344,
                                                    0x24093822299f31d0, 0x082efa98ec4e6c89)),
        .b = _mm256_xor_si256(n, _mm256_setr_epi64x(0x452821e638d01377, 0x3e5466cf34e90c6c,
                                                    0x40ac29b7c97c50dd, 0x3f84d5b5b5470917)),
        .c = _mm256_xor_si256(n, _mm256_setr_epi64x(0x1216d5d98979fb1b, 0x51310ba698dfb5ac,
                                                    0x2ffd72dbd01adfb7, 0x38e1afed6a267e96)),
        .d = _mm256_xor_si256(n, _mm256_setr_epi64x(0x3a7c9045f12c7f99, 0x24a19947b3916cf7,
                                                    0x0801f2e2858efc16, 0x636920d871574e69))};
}

/* 128 bytes; to @dst as well, if there is one. */
WITH_AES static ZC_HOT void acc_take(struct acc *acc, const unsigned char *src, unsigned char *dst)
{
    const __m256i *from = (const __m256i *)(const void *)src;
    const __m256i a = _mm256_loadu_si256(from);
    const __m256i b = _mm256_loadu_si256(from + 1);
    const __m256i c = _mm256_loadu_si256(from + 2);
    const __m256i d = _mm256_loadu_si256(from + 3);

    if (dst != NULL) {
        __m256i *to = (__m256i *)(void *)dst;

        _mm256_storeu_si256(to, a);
        _mm256_storeu_si256(to + 1, b);
        _mm256_storeu_si256(to + 2, c);
        _mm256_storeu_si256(to + 3, d);
    }
    acc->a = _mm256_aesenc_epi128(acc->a, a);
    acc->b = _mm256_aesenc_epi128(acc->b, b);
    acc->c = _mm256_aesenc_epi128(acc->c, c);
    acc->d = _mm256_aesenc_epi128(acc->d, d);
}

WITH_AES static ZC_HOT uint32_t acc_end(const struct acc *acc)
{
    const __m256i ab = _mm256_aesenc_epi128(acc->a, acc->b);
    const __m256i cd = _mm256_aesenc_epi128(acc->c, acc->d);
    const __m256i all = _mm256_aesenc_epi128(ab, cd);
    const __m128i low = _mm256_castsi256_si128(all);
    const __m128i high = _mm256_extracti128_si256(all, 1);
    __m128i x = _mm_aesenc_si128(low, high);

    x = _mm_aesenc_si128(x, high);
    x = _mm_aesenc_si128(x, low);
    x = _mm_aesenc_si128(x, high);
    return (uint32_t)_mm_cvtsi128_si32(x);
}

/* The sum of @len bytes, and a copy to @dst if there is one. */
WITH_AES static ZC_HOT uint32_t aes_pass(unsigned char *dst, const unsigned char *src, size_t len)
{
    const bool copy = dst != NULL;
    struct acc acc = acc_begin(len);
    size_t pos = 0;

    if (len < TURN) {
        unsigned char block[TURN] = {0};

        (void)memcpy(block, src, len);
        if (copy) {
            (void)memcpy(dst, block, len);
        }
        acc_take(&acc, block, NULL);
        return acc_end(&acc);
    }
    for (; len - pos >= TURN; pos += TURN) {
        acc_take(&acc, src + pos, copy ? dst + pos : NULL);
    }
    if (pos != len) {
        pos = len - TURN;
        acc_take(&acc, src + pos, copy ? dst + pos : NULL);
    }
    return acc_end(&acc);
}

WITH_AES uint32_t zc_sum_aes(const void *data, size_t len)
{
    return aes_pass(NULL, data, len);
}

WITH_AES uint32_t zc_sum_aes_copy(void *dst, const void *src, size_t len)
{
    return aes_pass(dst, src, len);
}

static bool look_for_aes(void)
{
    unsigned eax;
    unsigned ebx;
    unsigned ecx;
    unsigned edx;

    /* The compiler's own test includes whether the system keeps the registers. */
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("aes") &&
           __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_VAES) != 0;
}

bool zc_sum_has_aes(void)
{
    /* What the CPU can do: the same whoever finds out, and for good. */
    static atomic_int known; /* 0 not yet, 1 it cannot, 2 it can */
    int state = atomic_load_explicit(&known, memory_order_relaxed);

    if (state == 0) {
        state = look_for_aes() ? 2 : 1;
        atomic_store_explicit(&known, state, memory_order_relaxed);
    }
    return state == 2;
}

#else

bool zc_sum_has_aes(void)
{
    return false;
}

uint32_t zc_sum_aes(const void *data, size_t len)
{
    return zc_sum_xxh3(data, len);
}

uint32_t zc_sum_aes_copy(void *dst, const void *src, size_t len)
{
    return zc_sum_xxh3_copy(dst, src, len);
}

#endif

/* -------------------------------------------------------------------------------------------- */

uint32_t zc_checksum(const void *data, size_t len)
{
    return zc_sum_has_aes() ? zc_sum_aes(data, len) : zc_sum_xxh3(data, len);
}

uint32_t zc_checksum_copy(void *dst, const void *src, size_t len)
{
    return zc_sum_has_aes() ? zc_sum_aes_copy(dst, src, len) : zc_sum_xxh3_copy(dst, src, len);
}
