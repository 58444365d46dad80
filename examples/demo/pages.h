/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Putting, rewriting, reading and checking one page.
 *
 * Any number of threads may read a page while one rewrites it.  What a read may return is
 * bounded by the page's state: at least the version that was done before the read began, at most
 * the one that was started before it ended.
 */
#ifndef DEMO_PAGES_H
#define DEMO_PAGES_H

#include "house.h"

#define PUT_BATCH 16u

/* Put version 0 of @n pages, at most PUT_BATCH, from @first on.  Return: how many were refused. */
unsigned pages_put_first(struct house *h, struct member *m, uint64_t first, unsigned n);

enum rewrite_result {
    REWRITE_DONE,
    REWRITE_REFUSED, /* done, but past the cache, which refused the page */
    REWRITE_BUSY     /* another thread is rewriting this page */
};

enum rewrite_result page_rewrite(struct house *h, struct member *m, uint64_t page);

/* Read through the cache and check.  @flags are zcache_get()'s. */
void page_read(struct house *h, struct member *m, uint64_t page, unsigned flags);

/* Read from the store's file and check. */
void page_read_file(struct house *h, struct member *m, uint64_t page);

#endif /* DEMO_PAGES_H */
