/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk of bytes over pages of one tenant: block n is the page {0, n}, and one that is absent is zero.
 *
 * All functions are for any thread, in parallel.  Requests that overlap and run at the same time come
 * in some order, block by block.  A request that fails may have been carried out in part; what it did
 * not get to is as it was.
 */
#ifndef ZCACHE_NBD_DISK_H
#define ZCACHE_NBD_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <zcache/zcache.h>

/**
 * struct disk_options - what disks have in common.
 * @size_bytes:  size of each.
 * @block_bytes: length of a block: the unit that is compressed.
 * @limit_bytes: hard limit of each in memory; ZCACHE_UNLIMITED leaves it to the cache.
 * @path:        a file, or a directory for a file per disk; NULL keeps disks in memory only.
 */
struct disk_options {
    uint64_t size_bytes;
    size_t block_bytes;
    uint64_t limit_bytes;
    const char *path;
};

struct disk;

/**
 * disk_open() - make the disk called @name, which is that of its tenant, and of its file where there
 *               is a directory for it.
 * @parent: tenant above it; it must outlive the disk.
 *
 * Return: 0; -EINVAL the name is no name of a tenant, or begins with a dot; the system's error.
 */
int disk_open(struct zcache_tenant *parent,
              const struct disk_options *options,
              const char *name,
              struct disk **out);

/**
 * disk_close() - write what is not in the file yet, and release the disk.
 *
 * What is in memory only is gone.
 *
 * Return: 0; a negative errno if something could not be written: it is lost.
 */
int disk_close(struct disk *d);

/** disk_has_file() - is there a file below it, so that a flush means something? */
bool disk_has_file(const struct disk *d);

/** disk_read() - Return: 0; -EIO, -EBADMSG and what the file says. */
int disk_read(struct disk *d, void *buf, size_t len, uint64_t offset);

/** disk_write() - Return: 0; -ENOSPC no room for it; -EIO and what the file says. */
int disk_write(struct disk *d, const void *data, size_t len, uint64_t offset);

/** disk_zero() - @keep: the file's blocks stay allocated.  Return: as disk_write(). */
int disk_zero(struct disk *d, uint64_t len, uint64_t offset, bool keep);

/** disk_flush() - Return: 0 all that was written before is on disk; a negative errno. */
int disk_flush(struct disk *d);

/**
 * disk_extent() - does the disk have a hole at @offset, and how far does that go?
 * @end:     look no further.
 * @end_out: receives where it ends.
 */
bool disk_extent(struct disk *d, uint64_t offset, uint64_t end, uint64_t *end_out);

#endif /* ZCACHE_NBD_DISK_H */
