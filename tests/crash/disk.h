/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk whose power can be cut. It stands between a store and its files: the test is linked with
 * --wrap for pwritev, fdatasync, fsync, syncfs, ftruncate and fallocate, so that the calls arrive here.
 *
 * The files have at once what is written. What the disk need not have yet is remembered with what was
 * there before, until a sync of the file, by whatever process; disk_cut_power() puts some of that back,
 * sector by sector and at random. A sync does nothing else, so that it takes no time.
 *
 *     supervisor           worker (a child process)       supervisor
 *     disk_arm()           writes, syncs, and dies         disk_cut_power()
 *                          at the call it was told
 *
 * Truncation and holes are undone as a whole or not at all, as file systems do it. A new name in the
 * directory is there from the start.
 */
#ifndef ZCACHE_TESTS_DISK_H
#define ZCACHE_TESTS_DISK_H

#include "api/support.h"

#define DISK_SECTOR 512u

enum disk_moment {
    DISK_BEFORE, /* the process dies before the call does anything */
    DISK_AMID,   /* after some sectors of a write, or when some of what is synced is synced */
    DISK_AFTER,
    DISK_MOMENTS,
};

struct disk;

/* One for the process and its later children. */
struct disk *disk_new(void);
void disk_free(struct disk *disk);

/* The process that writes is killed at its @kill_at th call from now on; 0: never. */
void disk_arm(struct disk *disk, unsigned kill_at, enum disk_moment moment, uint64_t seed);

/* Everything is on the disk now. */
void disk_settle(struct disk *disk);

/* A disk that says that a sync is done and forgets about it. */
void disk_set_lying(struct disk *disk, bool lying);

/* Calls since disk_arm(). */
unsigned disk_calls(const struct disk *disk);

/* Take from the files in @dir a random part of what was not synced; the writer is dead. */
void disk_cut_power(struct disk *disk, const char *dir, struct rng *rng);

#endif /* ZCACHE_TESTS_DISK_H */
