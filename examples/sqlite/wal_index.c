/* SPDX-License-Identifier: BSD-2-Clause */
#include "wal_index.h"

#include <stdatomic.h>
#include <stddef.h>

#define LAYOUT 3007000u

enum { /* as indices of 32-bit words, in the byte order of the machine */
    WORD_LAYOUT = 0,
    WORD_SALT = 8,
    WORD_BACKFILLED = 24,
    BYTE_IS_INIT = 12,
    TRIES = 1000,
};

static uint32_t word_at(volatile void *index, size_t at)
{
    return atomic_load((volatile _Atomic uint32_t *)index + at);
}

static bool is_known(volatile void *index)
{
    return index != NULL && word_at(index, WORD_LAYOUT) == LAYOUT &&
           atomic_load((volatile _Atomic unsigned char *)index + BYTE_IS_INIT) != 0;
}

static bool salt_is(volatile void *index, const uint32_t *salt)
{
    return word_at(index, WORD_SALT) == salt[0] && word_at(index, WORD_SALT + 1) == salt[1];
}

/* A salt never comes back: with the same one before and after, the number between belongs to it. */
bool wal_position_read(volatile void *index, struct wal_position *out)
{
    for (int i = 0; i < TRIES && is_known(index); i++) {
        out->salt[0] = word_at(index, WORD_SALT);
        out->salt[1] = word_at(index, WORD_SALT + 1);
        out->backfilled = word_at(index, WORD_BACKFILLED);
        if (salt_is(index, out->salt)) {
            return true;
        }
    }
    return false;
}

bool wal_position_equal(const struct wal_position *a, const struct wal_position *b)
{
    return a->salt[0] == b->salt[0] && a->salt[1] == b->salt[1] && a->backfilled == b->backfilled;
}
