/* SPDX-License-Identifier: BSD-2-Clause */
#include "fuzz.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mathx.h"
#include "plat.h"

#define PAINT   0xa7
#define PAINTED ((size_t)64)

_Noreturn void fuzz_failed(const char *cond, const char *file, int line)
{
    (void)fprintf(stderr, "%s:%d: failed: %s\n", file, line, cond);
    abort();
}

void fuzz_equal(int64_t a, int64_t b, const char *text, const char *file, int line)
{
    if (a != b) {
        (void)fprintf(stderr, "%s:%d: failed: %s: %" PRId64 " against %" PRId64 "\n", file, line,
                      text, a, b);
        abort();
    }
}

/* ---- input ------------------------------------------------------------------------------------- */

uint8_t input_u8(struct input *in)
{
    if (in->left == 0) {
        return 0;
    }
    in->left--;
    return *in->at++;
}

static uint64_t number(struct input *in, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes; i++) {
        value |= (uint64_t)input_u8(in) << (8 * i);
    }
    return value;
}

uint32_t input_u16(struct input *in)
{
    return (uint32_t)number(in, 2);
}

uint32_t input_u24(struct input *in)
{
    return (uint32_t)number(in, 3);
}

uint64_t input_u64(struct input *in)
{
    return number(in, 8);
}

/* ---- memory ------------------------------------------------------------------------------------ */

void guarded_init(struct guarded *g, size_t room)
{
    const size_t page = zc_plat_page_size();
    unsigned char *map;

    g->size = zc_align_up(room, page);
    map = mmap(NULL, g->size + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(map != MAP_FAILED);
    g->start = map + page;
    CHECK_EQUAL(mprotect(g->start, g->size, PROT_READ | PROT_WRITE), 0);
}

unsigned char *guarded_head(const struct guarded *g, size_t len)
{
    CHECK(len <= g->size);
    return g->start;
}

unsigned char *guarded_tail(const struct guarded *g, size_t len)
{
    CHECK(len <= g->size);
    return g->start + g->size - len;
}

static size_t below(const struct guarded *g, const unsigned char *at)
{
    return ZC_MIN((size_t)(at - g->start), PAINTED);
}

static size_t above(const struct guarded *g, const unsigned char *at, size_t len)
{
    return ZC_MIN(g->size - (size_t)(at - g->start) - len, PAINTED);
}

void guarded_paint(const struct guarded *g, const unsigned char *at, size_t len)
{
    unsigned char *p = g->start + (at - g->start);

    memset(p - below(g, at), PAINT, below(g, at));
    memset(p + len, PAINT, above(g, at, len));
}

void guarded_check(const struct guarded *g, const unsigned char *at, size_t len)
{
    for (size_t i = 1; i <= below(g, at); i++) {
        CHECK_EQUAL(at[-(ptrdiff_t)i], PAINT);
    }
    for (size_t i = 0; i < above(g, at, len); i++) {
        CHECK_EQUAL(at[len + i], PAINT);
    }
}
