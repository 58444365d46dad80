/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * file_store: a backing store for zcache that keeps pages in ordinary files.
 *
 * Meant to be copied into a program and changed there: file_*.c and file_*.h.  It needs the public
 * headers of zcache, Linux and libxxhash.
 *
 *     file_store_open("pages.d", 4096, &files);
 *     options.page_max_bytes = 4096;
 *     options.store = file_store_callbacks(files);
 *     zcache_open(&options, &cache);
 *     ...
 *     zcache_close(cache, ZCACHE_FLUSH);
 *     file_store_close(files);
 *
 * A crash or a power cut tears no page: what was written or deleted before the last barrier is as it
 * was then, and of what came after it there may be all or nothing.  The next open repairs the files.
 *
 * There is one file per tenant and object.  A tenant's files are found by the tenant's NAME, so
 * that a program finds its pages again when it runs the next time.  zcache's names are unique
 * among siblings only: where tenants below different parents share a name, give each parent a
 * file store of its own, in a directory of its own.
 *
 * All functions return 0, ZCACHE_MISS where it says so, or a negative errno.  All but
 * file_store_close() may be called by any thread at any time.
 */
#ifndef FILE_STORE_H
#define FILE_STORE_H

#include <zcache/store.h>

struct file_store;

/*
 * Open the store in the directory @dir, which is made if need be.  @page_bytes is the cache's
 * page_max_bytes: the longest page, and the space that every page takes in a file.
 *
 * -EBUSY: a process, perhaps this one, has a store open there.  -EINVAL: a bad @page_bytes, or not
 * the one that the store was made with.  -EBADMSG: its journal is damaged.
 */
int file_store_open(const char *dir, size_t page_bytes, struct file_store **out);

/*
 * The callbacks to give to zcache, valid until file_store_close().  They may serve several
 * tenants.  Closing the cache does not close the store.
 */
const struct zcache_store *file_store_callbacks(const struct file_store *files);

/*
 * Read one page without the cache.  @tenant is the tenant's name, NULL for the root; @cap is at
 * least the page_bytes of the store.
 *
 * ZCACHE_MISS: no such page.  -EBADMSG: the page is damaged.
 */
int file_store_read(struct file_store *files,
                    const char *tenant,
                    struct zcache_key key,
                    void *buf,
                    size_t cap,
                    size_t *len_out);

/*
 * Write one page without the cache, as is to be done with one that zcache_put() refused.  It is
 * durable after the next barrier, that is zcache_flush(), or file_store_close().
 */
int file_store_write(struct file_store *files,
                     const char *tenant,
                     struct zcache_key key,
                     const void *data,
                     size_t len);

/*
 * Make everything durable and release the store; NULL does nothing.  The store is gone even if
 * the result is an error, which says that some write may not have reached the disk.
 */
int file_store_close(struct file_store *files);

#endif /* FILE_STORE_H */
