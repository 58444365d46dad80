/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * uring_store: a backing store for zcache that writes and reads files through io_uring, past the
 * system's page cache if asked to.  Writes and reads do not wait: they return ZCACHE_PENDING, and
 * a thread of the store completes what the kernel has done.
 *
 * Meant to be copied into a program and changed there: uring_*.c and uring_*.h.  It needs the public
 * headers of zcache, Linux 5.6 and liburing.
 *
 *     uring_store_open("pages.d", 4096, URING_STORE_DIRECT, &files);
 *     options.page_max_bytes = 4096;
 *     options.store = uring_store_callbacks(files);
 *     zcache_open(&options, &cache);
 *     uring_store_attach(files, cache);
 *     ...
 *     zcache_close(cache, ZCACHE_FLUSH);
 *     uring_store_close(files);
 *
 * For databases, which have pages of one size, with checksums of their own and a log: page i of an
 * object is at i * page_bytes of the object's file, and nothing else is in there.  What that means:
 *
 * - Every page is @page_bytes long; another length gets -EINVAL.
 * - A page past the end of its file is a miss.  A page before it that was never written, or that was
 *   discarded, reads as zeros.
 * - Writes are in place: a power cut may leave a page torn that was not yet under a barrier, unless
 *   the disk writes page_bytes as a whole.  file_store.h has a store that needs no log.
 *
 * There is one file for each tenant, by its name, and object; all stay open.  All functions return 0
 * or a negative errno.
 */
#ifndef URING_STORE_H
#define URING_STORE_H

#include <zcache/store.h>

struct uring_store;

enum uring_store_flags {
    URING_STORE_DIRECT = 1u << 0 /* O_DIRECT: nothing stays in the system's page cache */
};

/*
 * Open the store in the directory @dir, which is made if need be.  @page_bytes is the size of all
 * pages, and with URING_STORE_DIRECT a multiple of 4096.
 *
 * -EINVAL: a bad @page_bytes or flag, or a file system without O_DIRECT.  -ENOSYS, -EPERM: no io_uring.
 */
int uring_store_open(const char *dir, size_t page_bytes, unsigned flags, struct uring_store **out);

/* The callbacks to give to zcache, for one cache and any of its tenants. */
const struct zcache_store *uring_store_callbacks(const struct uring_store *files);

/* Say whose the callbacks are: after zcache_open() and before the first put or get. */
void uring_store_attach(struct uring_store *files, struct zcache *cache);

/*
 * Make everything durable and release the store, after the cache was closed; NULL does nothing.
 * The result is the first failure of a sync.
 */
int uring_store_close(struct uring_store *files);

#endif /* URING_STORE_H */
