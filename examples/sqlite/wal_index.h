/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How far the write-ahead log of a database has been copied into its file.
 *
 * In WAL mode nothing but a checkpoint changes the database file, and each that ends says so in the
 * WAL-index, the memory that all processes share: the number of frames it has copied moves, or the log
 * starts anew and has another salt. The place of these words is documented at sqlite.org/walformat.html,
 * and the index begins with the version of that layout.
 */
#ifndef ZCACHEVFS_WAL_INDEX_H
#define ZCACHEVFS_WAL_INDEX_H

#include <stdbool.h>
#include <stdint.h>

struct wal_position {
    uint32_t salt[2];    /* of this log; a log that starts anew has others */
    uint32_t backfilled; /* frames of it that are in the database file */
};

/* The locks of the WAL-index, by the offset that xShmLock gets. */
enum {
    WAL_CHECKPOINT = 1,
    WAL_READ_0 =
        3, /* the reader takes all pages from the file, which nobody may change meanwhile */
    WAL_READ_LAST = 7,
};

/*
 * Read the position from the first region of a WAL-index, as SQLite has mapped it. False if there is
 * none, or not of the layout that is known here.
 */
bool wal_position_read(volatile void *index, struct wal_position *out);

bool wal_position_equal(const struct wal_position *a, const struct wal_position *b);

#endif /* ZCACHEVFS_WAL_INDEX_H */
