/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A database of orders: rows of some 400 bytes, made of words, names, numbers, times and keys, and an
 * index over customers.
 */
#ifndef ZCACHEVFS_BENCH_ORDERS_H
#define ZCACHEVFS_BENCH_ORDERS_H

#include <sqlite3.h>
#include <stdint.h>

/* xorshift64*: enough for content and choice. */
static inline uint64_t orders_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

/* Make it at @path, of about @mib MiB, unless it is there. */
void orders_make(const char *path, unsigned mib);

/* How many there are; their ids are 1 to that. */
int64_t orders_count(sqlite3 *db);

#endif /* ZCACHEVFS_BENCH_ORDERS_H */
