/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a page must be: every version of every page follows from the database file alone, so that
 * any of them can be checked at any time without a second copy of the data.
 *
 * Version 0 of a page is a page of the file.  Version v is another page of the file with a stamp
 * over its first bytes that says whose page it is, which one, and which version.
 */
#ifndef DEMO_CONTENT_H
#define DEMO_CONTENT_H

#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 4096u

struct source {
    const unsigned char *bytes;
    uint64_t n_pages;
};

/* Whose page: the first page of its tenant in the file, and the tenant's number. */
struct page_name {
    uint64_t first;
    uint64_t page;
    uint32_t owner;
};

/* Map the file.  Return: 0; -EINVAL its length is not a multiple of 4096, or is below 16 MiB. */
int source_open(const char *path, struct source *out);
void source_close(struct source *source);

/* Write version @version of the page to @buf, PAGE_BYTES long. */
void content_make(const struct source *source,
                  const struct page_name *name,
                  uint32_t version,
                  void *buf);

/*
 * Find out which version of the page these bytes are.
 *
 * Return: 0; -EBADMSG they are no version of this page.
 */
int content_version(const struct source *source,
                    const struct page_name *name,
                    const void *bytes,
                    size_t len,
                    uint32_t *version_out);

#endif /* DEMO_CONTENT_H */
