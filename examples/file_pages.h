/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Part of file_store: the files in which pages lie at home, one per tenant and object.
 *
 * They are written in place, so that a crash may leave any part of what was written since the last
 * file_pages_sync(): only what the journal still has may be written here.
 *
 * Every function may be called by any thread at any time; who reads a page while it is written
 * gets -EBADMSG.  The results are 0, ZCACHE_MISS where it says so, or a negative errno.
 */
#ifndef FILE_PAGES_H
#define FILE_PAGES_H

#include <stddef.h>
#include <stdint.h>

#include <zcache/store.h>

struct file_pages;

#define FILE_PAGES_RUN 32 /* neighbours in one system call at most */

int file_pages_open(int dir_fd, size_t page_bytes, struct file_pages **out);
/* Syncs, too.  The result is the first failure of a sync. */
int file_pages_close(struct file_pages *pages);

/* What a page is recognised by, in the files and in the journal. */
uint64_t file_pages_checksum(struct zcache_key key, const void *data, size_t len);

/* -EFBIG: no file has a place for the page. */
int file_pages_can_hold(const struct file_pages *pages, struct zcache_key key);

/*
 * The following take a run: @n neighbours of one object, up to FILE_PAGES_RUN.
 * Read sets the status of each page; it is ZCACHE_MISS where there is none.  Write stores
 * @checksums with the pages, as they are.
 */
int file_pages_read(struct file_pages *pages,
                    const char *tenant,
                    struct zcache_io_page *run,
                    size_t n);
int file_pages_write(struct file_pages *pages,
                     const char *tenant,
                     const struct zcache_io_page *run,
                     const uint64_t *checksums,
                     size_t n);
int file_pages_discard(struct file_pages *pages,
                       const char *tenant,
                       struct zcache_key first,
                       size_t n);

/* Discard @first and every later page of its object.  All at once: a crash leaves all or none. */
int file_pages_cut(struct file_pages *pages, const char *tenant, struct zcache_key first);

/*
 * Make what was done before durable.
 *
 * After a failed fdatasync() Linux may have dropped the pages and report success the next time, so
 * that a retry proves nothing: the first failure is kept, and every later sync returns it.
 */
int file_pages_sync(struct file_pages *pages);

#endif /* FILE_PAGES_H */
