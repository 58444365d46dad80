/* SPDX-License-Identifier: BSD-2-Clause */
/*
 *     PRAGMA zcache_stats            what the cache has of the database and did for it, as JSON
 *     PRAGMA zcache_quota            the most that the database may use of the cache
 *     PRAGMA zcache_quota = '64M'    change it: bytes, with K, M, G; or 'unlimited'
 */
#ifndef ZCACHEVFS_PRAGMAS_H
#define ZCACHEVFS_PRAGMAS_H

#include "pages.h"

/*
 * Run one of these; @arg is that of SQLITE_FCNTL_PRAGMA: the answer or error, the name, and the value.
 * SQLITE_NOTFOUND: it is none of them.
 */
int pragmas_run(struct pages *pages, char **arg);

#endif /* ZCACHEVFS_PRAGMAS_H */
