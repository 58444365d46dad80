/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Learns from SQLite's own locks whether another process has changed a database file, and has the pages
 * forgotten that were cached before. Another process is whoever does not come through this VFS, also a
 * connection of this process that was opened with another one.
 *
 * With a rollback journal, the file changes under an exclusive lock, and each change counts up a number
 * in the file's header. So whoever is the first of this process to lock the file looks at the header;
 * as long as some connection of the process has a lock, the file stays as the process made it.
 *
 *     nobody has a lock --- xLock(SHARED): header as it was?  yes: keep   no: forget ---> trusted
 *
 * In WAL mode locks last as long as connections, and the file changes by checkpoints, whoever makes them.
 * Readers do not mind, since they find in the log what a checkpoint copies while they read: what they
 * take from the file does not change until they end. So each looks at the WAL-index after it has begun:
 *
 *     xShmLock(reader's mark), first xRead: position as it was?  yes: keep   no: forget ---> trusted
 *
 * It looks at its first read and not before: SQLite chooses which frames to take from the file between
 * the two, and a checkpoint may end just then.
 *
 * The position moves by this process's own doing as well, which must not cost the cache. A connection
 * that holds the checkpoint lock, or reader's mark 0, keeps other processes from writing the file: it
 * guards it. While there is a guard, each move of the position is ours.
 *
 * What is read without a lock (before SQLite has one, or with nolock=1) comes from the file. When a file
 * in WAL mode is locked for the first time, or exclusively, everything is forgotten: nobody watched the
 * WAL-index until then, or nobody will.
 */
#ifndef ZCACHEVFS_WATCH_H
#define ZCACHEVFS_WATCH_H

#include "pages.h"
#include "wal_index.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum {
    HEADER_AT = 16, /* of the file's header: the size of pages, the journal mode, ... */
    HEADER_BYTES = 24,
    VERSION_AT = 24, /* ... and what SQLite itself compares to see whether the file has changed */
    VERSION_BYTES = 16,
};

enum watch_mode {
    WATCH_UNKNOWN, /* there is no header, or it could not be read: nothing is trusted */
    WATCH_ROLLBACK,
    WATCH_WAL,
};

/* One for each database file. */
struct watch {
    struct pages *pages;
    atomic_int mode;
    pthread_mutex_t lock; /* of what follows */
    unsigned n_locked;    /* connections that have a lock on the file */
    unsigned n_guards;
    unsigned char header[HEADER_BYTES]; /* unless the mode is unknown */
    bool position_known;
    struct wal_position position; /* of the file when the cache was right */
};

/* One for each connection; used by one thread at a time, as SQLite does it. */
struct view {
    int level;                          /* SQLITE_LOCK_... on the file */
    unsigned shm_shared, shm_exclusive; /* bits: locks of the WAL-index */
    volatile void *wal_index;
    bool trusted; /* it looked at the position since it has a reader's mark */
    bool guards;
};

void watch_init(struct watch *watch, struct pages *pages);
void watch_fini(struct watch *watch);

/* May this connection take what is cached for what the file has? */
bool watch_trusts(struct watch *watch, struct view *view);

/* The connection reads the bytes by which SQLite sees changes: they are known, or false. */
bool watch_read_version(struct watch *watch,
                        const struct view *view,
                        void *buf,
                        int len,
                        sqlite3_int64 offset);

/* The connection wrote to the file, or tried to; truncated it, or tried to. */
void watch_wrote(struct watch *watch, bool success, const void *buf, int len, sqlite3_int64 offset);
void watch_truncated(struct watch *watch, sqlite3_int64 size);

/* It got a lock. */
void watch_locked(struct watch *watch, struct view *view, sqlite3_file *file, int level);
void watch_shm_locked(struct watch *watch, struct view *view, int first, int n, int flags);

/* It is about to give one up. */
void watch_unlocking(struct watch *watch, struct view *view, int level);
void watch_shm_unlocking(struct watch *watch, struct view *view, int first, int n);
void watch_shm_unmapping(struct watch *watch, struct view *view);

#endif /* ZCACHEVFS_WATCH_H */
