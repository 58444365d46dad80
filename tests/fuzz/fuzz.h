/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the fuzzers share: checks that end the process, an input that is consumed from its front, and
 * memory with a page on either side that nobody may touch.  The guards matter although there is
 * AddressSanitizer: it does not see what liblz4 and libzstd read and write.
 */
#ifndef ZC_TESTS_FUZZ_H
#define ZC_TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(cond) ((cond) ? (void)0 : fuzz_failed(#cond, __FILE__, __LINE__))

_Noreturn void fuzz_failed(const char *cond, const char *file, int line);

/* CHECK_EQUAL(a, b) prints both numbers. */
#define CHECK_EQUAL(a, b) fuzz_equal((int64_t)(a), (int64_t)(b), #a " == " #b, __FILE__, __LINE__)

void fuzz_equal(int64_t a, int64_t b, const char *text, const char *file, int line);

/* ---- input ------------------------------------------------------------------------------------- */

/* Once it is used up, every number is 0. */
struct input {
    const uint8_t *at;
    size_t left;
};

uint8_t input_u8(struct input *in);
uint32_t input_u16(struct input *in);
uint32_t input_u24(struct input *in);
uint64_t input_u64(struct input *in);

/* ---- memory ------------------------------------------------------------------------------------ */

/* Readable and writable bytes between two pages without access. */
struct guarded {
    unsigned char *start;
    size_t size;
};

void guarded_init(struct guarded *g, size_t room);

/* @len bytes that begin where the first guard ends. */
unsigned char *guarded_head(const struct guarded *g, size_t len);
/* @len bytes that end where the second guard begins. */
unsigned char *guarded_tail(const struct guarded *g, size_t len);

/* Fill everything but the @len bytes at @at, of those at most 64 on either side. */
void guarded_paint(const struct guarded *g, const unsigned char *at, size_t len);
/* They are as they were painted. */
void guarded_check(const struct guarded *g, const unsigned char *at, size_t len);

#endif /* ZC_TESTS_FUZZ_H */
