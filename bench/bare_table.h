/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The subject "bare" of grow: the least that a look-up in memory takes.
 *
 *     hash of the key  -->  a line of eight cells with tag and address  -->  record: key and page, together
 *
 * Two reads that wait for each other, and the copy.  No locks, no count of uses, no versions, no checksums, no
 * tenants, nothing is ever removed; memory is in huge pages of the system where it gives them.  For one thread.
 */
#ifndef BENCH_BARE_TABLE_H
#define BENCH_BARE_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct bare_table;

/* Room for @keys pages of @page_bytes; ends the program without memory. */
struct bare_table *bare_table_open(size_t keys, size_t page_bytes);
void bare_table_close(struct bare_table *t);

/* 0; 1 if the key is not there; for a put of one that is not there and has no room: 1, too. */
int bare_table_put(struct bare_table *t, uint64_t key, const void *page);
int bare_table_get(const struct bare_table *t, uint64_t key, void *page);

#endif /* BENCH_BARE_TABLE_H */
