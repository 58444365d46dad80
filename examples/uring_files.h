/* SPDX-License-Identifier: BSD-2-Clause */
/* Part of uring_store: its files, by tenant and object, which stay open. */
#ifndef URING_FILES_H
#define URING_FILES_H

#include <stdbool.h>
#include <stdint.h>

struct files;

/* Set once, but for @unsynced and @next, which are under the table's lock. */
struct file {
    int fd;
    uint64_t object;
    char *tenant;
    bool unsynced;
    struct file *next;
};

int files_open(const char *dir, bool direct, struct files **out);
/* Syncs, too.  The result is the first failure of a sync. */
int files_close(struct files *files);

/* -ENOENT: there is no such file, and it is not to be created. */
int files_get(struct files *files,
              const char *tenant,
              uint64_t object,
              bool create,
              struct file **out);

/* Something was written to @file since its last sync. */
void files_touch(struct files *files, struct file *file);

/*
 * Sync what was touched before, with one thread at a time.
 *
 * After a failed fdatasync() Linux may have dropped the pages and report success the next time, so
 * that a retry proves nothing: the first failure is kept, and every later sync returns it.
 */
int files_sync(struct files *files);

#endif /* URING_FILES_H */
