/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The database files that the process has open, one record for each, however many connections it has.
 */
#ifndef ZCACHEVFS_DATABASE_H
#define ZCACHEVFS_DATABASE_H

#include "pages.h"
#include "watch.h"

#include <sys/types.h>

struct database {
    dev_t device;
    ino_t inode;
    unsigned n_connections;
    struct database *next;
    struct pages pages;
    struct watch watch;
};

/*
 * The record of the file that was just opened as @file by the name @path; NULL if it is not to be
 * cached: @path names another file by now, or there is no room for a tenant.
 *
 * The file itself is not opened here, and must not be: when a process closes a file it loses all of its
 * locks on it, those of other connections as well.
 */
struct database *database_open(struct zcache *cache, sqlite3_file *file, const char *path);

/* The last connection takes the pages along: nobody watches the file any more. */
void database_close(struct database *db);

/* No file is open. */
bool database_none(void);

#endif /* ZCACHEVFS_DATABASE_H */
