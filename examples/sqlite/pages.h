/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pages of one database file, in a tenant of the cache.
 *
 * A page that is cached has the bytes that the file has, as far as this process changed it: a write goes
 * to the file and then to the cache, a miss reads the file and puts what it read, and both do so during
 * the page's turn, a lock. A hit takes no turn.
 *
 * What other processes change is not seen here. Whoever learns of it calls pages_forget(): the object
 * number of the keys is a generation, which it counts up, so that all pages are gone at once, and what
 * is put late by a thread that has not noticed is put where nobody looks.
 */
#ifndef ZCACHEVFS_PAGES_H
#define ZCACHEVFS_PAGES_H

#include <pthread.h>
#include <stdatomic.h>

#include <sqlite3.h>
#include <zcache/zcache.h>

#define PAGES_TURNS 64 /* pages that can be read from the file, or written, at one time */

struct pages {
    struct zcache_tenant *tenant;
    atomic_uint page_bytes; /* 0: not known, nothing is cached */
    atomic_ullong generation;
    atomic_ullong end; /* no page from this number on was put in this generation */
    atomic_ullong n_file_reads;
    atomic_ullong n_forgotten; /* how often */
    pthread_mutex_t turn[PAGES_TURNS];
};

/* 0, or a negative errno as of zcache_tenant_open(). */
int pages_init(struct pages *pages, struct zcache *cache, const char *name);
void pages_fini(struct pages *pages);

/*
 * As the methods of a file with these names, over that of @file. pages_read() may only be called while
 * no other process can have changed what is cached.
 */
int pages_read(struct pages *pages, sqlite3_file *file, void *buf, int len, sqlite3_int64 offset);
int pages_write(struct pages *pages,
                sqlite3_file *file,
                const void *buf,
                int len,
                sqlite3_int64 offset);
int pages_truncate(struct pages *pages, sqlite3_file *file, sqlite3_int64 size);

/* Nothing is cached any more, and pages have this size from now on. */
void pages_forget(struct pages *pages, unsigned page_bytes);

#endif /* ZCACHEVFS_PAGES_H */
