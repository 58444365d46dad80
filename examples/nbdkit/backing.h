/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file below a disk: block n of the disk lies at n * block_bytes.  Where the file has holes, or ends
 * early, the disk is zero.
 */
#ifndef ZCACHE_NBD_BACKING_H
#define ZCACHE_NBD_BACKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <zcache/store.h>

struct backing;

/**
 * backing_open() - open the file, or make it.
 * @path:        the file; no other process may write it meanwhile, which a lock ensures.
 * @size_bytes:  size of the disk; the file is made that long if it is shorter.
 * @block_bytes: length of a block.
 * @out:         receives it on success.
 *
 * Return: 0; -EBUSY another process has it open this way; the system's error.
 */
int backing_open(const char *path, uint64_t size_bytes, size_t block_bytes, struct backing **out);

/** backing_close() - the descriptor; what has to be durable was synced before. */
void backing_close(struct backing *b);

/** backing_store() - the callbacks for the disk's tenant; @b must outlive it. */
struct zcache_store backing_store(struct backing *b);

/**
 * backing_extent() - is what is at @offset a hole, and how far does that go?
 * @end_out: receives where it ends, at most at @end.
 */
bool backing_extent(const struct backing *b, uint64_t offset, uint64_t end, uint64_t *end_out);

#endif /* ZCACHE_NBD_BACKING_H */
