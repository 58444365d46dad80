/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of examples/sqlite share: databases in a directory of their own, calls that must succeed,
 * and a look at every page that comes through the cache: it must be what the file has at that moment.
 */
#ifndef ZCACHE_TESTS_SQLITE_H
#define ZCACHE_TESTS_SQLITE_H

#include "api/support.h"

#include <sqlite3.h>
#include <zcachevfs.h>

#define PLAIN  "unix"
#define CACHED ZCACHEVFS_NAME

/* A new directory, and a path in it, valid until the next call. db_dir_remove() takes all with it. */
void db_dir_make(void);
void db_dir_remove(void);
const char *db_dir(void);
const char *db_path(const char *name);

/* Registers the VFS, not as the default; the opposite verifies the cache and closes it. */
void db_cache_open(uint64_t capacity_bytes);
void db_cache_close(void);

/* A connection that waits for others' locks, and keeps few pages itself. */
sqlite3 *db_open(const char *name, const char *vfs);
void db_close(sqlite3 *db);

/* SQL, formatted as by sqlite3_mprintf(). */
void db_exec(sqlite3 *db, const char *sql, ...);
int db_try(sqlite3 *db, const char *sql, ...);         /* its result code */
int64_t db_number(sqlite3 *db, const char *sql, ...);  /* of the first row, which there must be */
uint64_t db_digest(sqlite3 *db, const char *sql, ...); /* of all columns of all rows */
void db_check(sqlite3 *db);                            /* PRAGMA integrity_check */

/* A number of what PRAGMA zcache_stats shows. */
int64_t db_stat(sqlite3 *db, const char *name);

/* Run SQL and commands in SQLite's shell, another process with the plain VFS; its exit status. */
int db_shell(const char *name, const char *input);
void db_need_shell(void); /* skips the test without it */

/* Pages that came through the cache and were compared with the file, by this process. */
unsigned long long db_compared(void);

#endif /* ZCACHE_TESTS_SQLITE_H */
