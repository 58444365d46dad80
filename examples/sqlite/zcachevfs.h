/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zcachevfs: a VFS for SQLite that keeps the pages of all databases, and of all connections of the
 * process, in one compressed cache. README.md says what it does and promises.
 *
 * A program that loads it as an extension needs nothing of this. One that has it linked in says:
 *
 *     struct zcache_options options = ZCACHE_OPTIONS_INIT;
 *     options.capacity_bytes = 256 << 20;
 *     zcachevfs_register(&options, NULL, true);
 */
#ifndef ZCACHEVFS_H
#define ZCACHEVFS_H

#include <stdbool.h>

#include <zcache/zcache.h>

#define ZCACHEVFS_NAME "zcachevfs"

/*
 * Open a cache, and register the VFS above the one that is named @base (NULL: SQLite's default). With
 * @make_default, databases use it from now on that do not name another.
 *
 * An SQLite result: SQLITE_MISUSE if it is registered, or the options are wrong; SQLITE_NOTFOUND no
 * @base; SQLITE_NOMEM.
 */
int zcachevfs_register(const struct zcache_options *options, const char *base, bool make_default);

/* The opposite. SQLITE_BUSY: databases are open. */
int zcachevfs_unregister(void);

/* The cache, for zcache_stats() and zcache_metrics_write(); NULL if the VFS is not registered. */
struct zcache *zcachevfs_cache(void);

#endif /* ZCACHEVFS_H */
