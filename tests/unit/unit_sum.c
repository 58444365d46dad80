/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sum: both checksums see every kind of damage that is easy to think of, do not read or write beyond
 * what they are given, and copy what they sum up.
 *
 * Source and copy end where a page begins that nobody may touch; what lies before the copy is compared.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "assertion.h"
#include "codec.h"
#include "mathx.h"

#define ROOM    ((size_t)64 << 10)
#define MARK    0x5a
#define LEN_MAX 9000u

struct sum {
    const char *name;
    uint32_t (*sum)(const void *data, size_t len);
    uint32_t (*copy)(void *dst, const void *src, size_t len);
};

static const struct sum sums[] = {
    {"xxh3", zc_sum_xxh3, zc_sum_xxh3_copy},
    {"aes", zc_sum_aes, zc_sum_aes_copy},
};

struct fixture {
    unsigned char *src; /* both ROOM bytes, then a page without access */
    unsigned char *dst;
};

static unsigned char *guarded(void)
{
    unsigned char *ptr =
        mmap(NULL, ROOM + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(ptr, MAP_FAILED);
    assert_int_equal(mprotect(ptr + ROOM, 4096, PROT_NONE), 0);
    return ptr;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    uint64_t x = 88172645463325252;

    assert_non_null(f);
    f->src = guarded();
    f->dst = guarded();
    for (size_t i = 0; i < ROOM; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        f->src[i] = (unsigned char)(x >> 32);
    }
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    (void)munmap(f->src, ROOM + 4096);
    (void)munmap(f->dst, ROOM + 4096);
    free(f);
    return 0;
}

/* Those that the machine has, one after the other. */
static const struct sum *next(const struct sum *s)
{
    s = s == NULL ? sums : s + 1;
    return s == sums + ZC_ARRAY_SIZE(sums) || (s->sum == zc_sum_aes && !zc_sum_has_aes()) ? NULL
                                                                                          : s;
}

static size_t step(size_t len)
{
    return len < 600 ? 1 : 1 + len / 50;
}

/* ---------------------------------------------------------------------------------------------- */

static void the_library_uses_the_one_that_the_machine_has(void **state)
{
    struct fixture *f = *state;
    const struct sum *s = &sums[zc_sum_has_aes() ? 1 : 0];

    for (size_t len = 0; len < LEN_MAX; len += step(len)) {
        assert_int_equal(zc_checksum(f->src, len), s->sum(f->src, len));
        assert_int_equal(zc_checksum_copy(f->dst, f->src, len), s->sum(f->src, len));
    }
    /* Low halves of what xxh3's own documents and tools give. */
    assert_int_equal(zc_sum_xxh3("", 0), 0x38d394c2);
    assert_int_equal(zc_sum_xxh3("a", 1), 0x1e964e1f);
}

/* Wherever the bytes lie: it is of them alone. */
static void a_copy_is_exact_and_has_the_same_sum(void **state)
{
    struct fixture *f = *state;

    for (const struct sum *s = next(NULL); s != NULL; s = next(s)) {
        for (size_t len = 0; len < LEN_MAX; len += step(len)) {
            unsigned char *src = f->src + ROOM - len;
            unsigned char *dst = f->dst + ROOM - len;
            uint32_t sum = s->sum(src, len);

            memset(dst - 256, MARK, 256);
            assert_int_equal(s->copy(dst, src, len), sum);
            assert_memory_equal(dst, src, len);
            for (size_t i = 1; i <= 256; i++) {
                assert_int_equal(dst[-(ptrdiff_t)i], MARK);
            }
            memset(f->dst + len % 64, MARK, len + 256);
            assert_int_equal(s->copy(f->dst + len % 64, src, len), sum);
            assert_memory_equal(f->dst + len % 64, src, len);
            assert_int_equal(f->dst[len % 64 + len], MARK);
        }
    }
}

static void each_bit_counts(void **state)
{
    struct fixture *f = *state;

    for (const struct sum *s = next(NULL); s != NULL; s = next(s)) {
        for (size_t len = 1; len < 5000; len += len < 300 ? 1 : 1 + len / 3) {
            const uint32_t sum = s->sum(f->src, len);

            for (size_t i = 0; i < len; i += len < 300 ? 1 : 7) {
                f->src[i] ^= (unsigned char)(1u << (i + len) % 8);
                assert_int_not_equal(s->sum(f->src, len), sum);
                f->src[i] ^= (unsigned char)(1u << (i + len) % 8);
            }
        }
    }
}

static void the_length_counts(void **state)
{
    struct fixture *f = *state;

    for (const struct sum *s = next(NULL); s != NULL; s = next(s)) {
        uint32_t *seen = calloc(2000, sizeof(*seen));

        assert_non_null(seen);
        for (size_t len = 0; len < 2000; len++) {
            seen[len] = s->sum(f->dst, len); /* zeros */
            for (size_t i = 0; i < len; i++) {
                assert_int_not_equal(seen[len], seen[i]);
            }
        }
        free(seen);
    }
}

/* What memory does to pages as a whole: lines that are zero, of another page, or change places. */
static void moved_and_lost_lines_are_seen(void **state)
{
    struct fixture *f = *state;

    for (const struct sum *s = next(NULL); s != NULL; s = next(s)) {
        const uint32_t sum = s->sum(f->src, 4096);

        for (size_t unit = 8; unit <= 2048; unit *= 2) {
            for (size_t at = 0; at + 2 * unit <= 4096; at += unit) {
                memcpy(f->dst, f->src, 4096);
                memset(f->dst + at, 0, unit);
                assert_int_not_equal(s->sum(f->dst, 4096), sum);
                memcpy(f->dst + at, f->src + 8192 + at, unit);
                assert_int_not_equal(s->sum(f->dst, 4096), sum);
                memcpy(f->dst + at, f->src + at + unit, unit);
                memcpy(f->dst + at + unit, f->src + at, unit);
                assert_int_not_equal(s->sum(f->dst, 4096), sum);
            }
        }
        for (size_t shift = 1; shift <= 256; shift++) {
            assert_int_not_equal(s->sum(f->src + shift, 4096), sum);
        }
    }
}

static int compare(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a;
    const uint32_t y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

/*
 * Of 2^17 pages that differ a little, 2 pairs have the same sum if it is as good as random; 16 or more
 * would be once in 10^9 times.
 */
static void similar_pages_have_sums_like_random_numbers(void **state)
{
    const size_t n = (size_t)1 << 17;
    struct fixture *f = *state;
    uint32_t *all = calloc(n, sizeof(*all));

    assert_non_null(all);
    for (const struct sum *s = next(NULL); s != NULL; s = next(s)) {
        for (size_t word = 0; word < 512; word += 73) {
            size_t same = 0;

            memset(f->dst, 0, 512);
            for (uint32_t i = 0; i < n; i++) {
                memcpy(f->dst + word / 4 * 4, &i, sizeof(i));
                all[i] = s->sum(f->dst, 512);
            }
            qsort(all, n, sizeof(*all), compare);
            for (size_t i = 1; i < n; i++) {
                same += all[i] == all[i - 1] ? 1 : 0;
            }
            assert_in_range(same, 0, 15);
        }
    }
    free(all);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_library_uses_the_one_that_the_machine_has),
        TEST(a_copy_is_exact_and_has_the_same_sum),
        TEST(each_bit_counts),
        TEST(the_length_counts),
        TEST(moved_and_lost_lines_are_seen),
        TEST(similar_pages_have_sums_like_random_numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
