/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Part of file_store: the journal, to which every write goes first.
 *
 * One lap: records are appended until the journal is full; then the caller copies the newest version
 * of each page home, makes that durable, and starts the next lap at the beginning of the file.
 *
 * find, read and sync may be called by any thread at any time, except that nothing may be read
 * during file_journal_forget().  The other calls are for one thread at a time.  The results are 0
 * or a negative errno.
 */
#ifndef FILE_JOURNAL_H
#define FILE_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <zcache/store.h>
#include <zcache/tenant.h>

struct file_journal;

/* Where the journal has the newest version of a page. */
struct journal_place {
    off_t offset;
    size_t len; /* 0: the page was deleted */
    uint64_t checksum;
};

/* A page of which the journal has something. */
struct journal_entry {
    struct journal_entry *next;
    uint64_t object;
    uint64_t page;
    struct journal_place place; /* offset 0: nothing after all */
    char tenant[];
};

/* Opens the journal in the directory, or makes it, and finds out what is in it. */
int file_journal_open(int dir_fd, size_t page_bytes, struct file_journal **out);
void file_journal_close(struct file_journal *journal);

bool file_journal_find(struct file_journal *journal,
                       const char *tenant,
                       struct zcache_key key,
                       struct journal_place *place_out);

/* -EBADMSG: the bytes are damaged. */
int file_journal_read(const struct file_journal *journal,
                      const struct journal_place *place,
                      struct zcache_key key,
                      void *buf);

/*
 * Append @pages, without those that have a status, as one record: after a crash it is there as a
 * whole or not at all.  @deleted: no data, the pages are gone.
 */
int file_journal_append(struct file_journal *journal,
                        const char *tenant,
                        const struct zcache_io_page *pages,
                        size_t n_pages,
                        bool deleted);

/* The lap has come to its end: what it has should be copied home. */
bool file_journal_is_full(const struct file_journal *journal);

/* Nothing was appended in this lap. */
bool file_journal_is_empty(const struct file_journal *journal);

/* Has it anything of this object, from @first on? */
bool file_journal_has(const struct file_journal *journal,
                      const char *tenant,
                      struct zcache_key first);

/* Everything it has, sorted by tenant and key; NULL without memory.  To be freed. */
struct journal_entry **file_journal_list(const struct file_journal *journal, size_t *n_out);

/* Make what was appended before durable; the first failure is kept, as in file_pages_sync(). */
int file_journal_sync(struct file_journal *journal);

/*
 * Start the next lap: durable when it returns, after which a crash finds nothing of the lap before.
 * Until file_journal_forget() it is still found and read; in between nothing may be appended.
 */
int file_journal_next_lap(struct file_journal *journal);
void file_journal_forget(struct file_journal *journal);

#endif /* FILE_JOURNAL_H */
