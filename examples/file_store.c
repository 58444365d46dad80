/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A backing store in ordinary files: see file_store.h for how to use it.
 *
 *     write, discard --> journal (file_journal.c) --> the pages' files (file_pages.c)
 *                        append, in order             when a lap of the journal is full, and at close
 *
 *     read  <-- the journal if it has the page, otherwise its file
 *     barrier  syncs the journal
 *
 * What a crash leaves.  No page is torn.  A page's file is overwritten only with what the journal
 * has durably, from where file_store_open() does it again; and a record of the journal counts as a
 * whole or not at all.  What was written or deleted before the last barrier is as it was then; of
 * what came after it, the batches up to some point are there, in their order.  It is assumed that a
 * power cut does not damage what the disk is not writing, and that sectors of 512 bytes are written
 * as a whole.
 *
 * Each open makes durable what it finds, since a process that died may have left it to the kernel.  It
 * starts a lap, also where it finds no record: behind one that is not whole there may be others that
 * are, and one written in its place must not bring them back.
 *
 * Cost.  Each page is written twice, the first time in one piece with its batch, the second time in
 * the order of the files, with its neighbours, and once only if it changed several times in one lap.
 * A write that finds the lap full pays for all of that, sync included, and the others wait for it;
 * reads and barriers go on.  The journal takes 64 MiB and the index in memory up to some 8 MB.  The
 * second write and its sync could be left to a thread and a second journal.
 *
 * Order.  The write lock is taken first and held while something is written or discarded.  Readers
 * hold the reading lock for as long as they look at the journal and at the files; the writer takes
 * it to wait for those who may have looked for a page before it came to the journal, and while it
 * forgets what was copied.
 */
#define _GNU_SOURCE 1 /* NOLINT(bugprone-reserved-identifier) */
#include "file_store.h"
#include "file_journal.h"
#include "file_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zcache/tenant.h>

#define PAGE_BYTES_MAX (1u << 20)
#define COPY_BYTES     (1u << 20) /* copied home at one time, at least one page */
#define ROOT_NAME      "@root"    /* no tenant can have that name */

struct file_store {
    struct zcache_store callbacks;
    int dir_fd;
    size_t page_bytes;
    struct file_pages *pages;
    struct file_journal *journal;
    pthread_mutex_t write_lock;
    pthread_rwlock_t read_lock;
};

/* ---------------------------------------------------------------------------------------------
 * From the journal to the files.
 */

/* Room for a run of pages. */
struct copy {
    size_t max_pages;
    unsigned char *bytes;
    struct zcache_io_page pages[FILE_PAGES_RUN];
    uint64_t checksums[FILE_PAGES_RUN];
};

static size_t run_of_entries(struct journal_entry *const *e, size_t n, size_t max)
{
    const size_t most = n < max ? n : max;
    size_t i = 1;

    while (i < most && e[i]->object == e[0]->object && e[i]->page == e[0]->page + i &&
           (e[i]->place.len == 0) == (e[0]->place.len == 0) &&
           strcmp(e[i]->tenant, e[0]->tenant) == 0) {
        i++;
    }
    return i;
}

/* Damaged bytes go home too, with the checksum that tells. */
static int copy_run(struct file_store *s,
                    struct copy *copy,
                    struct journal_entry *const *e,
                    size_t n)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < n; i++) {
        const struct zcache_key key = {.object = e[i]->object, .page = e[i]->page};
        unsigned char *bytes = copy->bytes + i * s->page_bytes;

        rc = file_journal_read(s->journal, &e[i]->place, key, bytes);
        rc = rc == -EBADMSG ? 0 : rc;
        copy->pages[i] = (struct zcache_io_page){.key = key, .data = bytes, .len = e[i]->place.len};
        copy->checksums[i] = e[i]->place.checksum;
    }
    if (rc == 0) {
        rc = file_pages_write(s->pages, e[0]->tenant, copy->pages, copy->checksums, n);
    }
    return rc;
}

static int copy_all(struct file_store *s, struct copy *copy, struct journal_entry **e, size_t n)
{
    int rc = 0;

    for (size_t i = 0, run; rc == 0 && i < n; i += run) {
        const struct zcache_key first = {.object = e[i]->object, .page = e[i]->page};

        run = run_of_entries(&e[i], n - i, copy->max_pages);
        rc = e[i]->place.len == 0 ? file_pages_discard(s->pages, e[i]->tenant, first, run)
                                  : copy_run(s, copy, &e[i], run);
    }
    return rc;
}

static int copy_home_locked(struct file_store *s)
{
    struct copy copy = {.max_pages = COPY_BYTES / s->page_bytes};
    struct journal_entry **list;
    size_t n;
    int rc;

    if (copy.max_pages > FILE_PAGES_RUN) {
        copy.max_pages = FILE_PAGES_RUN;
    }
    copy.bytes = malloc(copy.max_pages * s->page_bytes);
    list = file_journal_list(s->journal, &n);
    rc = copy.bytes == NULL || list == NULL ? -ENOMEM : copy_all(s, &copy, list, n);
    free(list);
    free(copy.bytes);
    return rc;
}

static void wait_for_readers(struct file_store *s)
{
    pthread_rwlock_wrlock(&s->read_lock);
    pthread_rwlock_unlock(&s->read_lock);
}

/* Copy home what the journal has, and start its next lap. */
static int end_lap_locked(struct file_store *s)
{
    int rc = file_journal_sync(s->journal);

    if (rc != 0) {
        return rc;
    }
    wait_for_readers(s); /* those who come now find in the journal what is overwritten at home */
    rc = copy_home_locked(s);
    if (rc == 0) {
        rc = file_pages_sync(s->pages);
    }
    if (rc == 0) {
        rc = file_journal_next_lap(s->journal);
    }
    if (rc == 0) {
        pthread_rwlock_wrlock(&s->read_lock);
        file_journal_forget(s->journal);
        pthread_rwlock_unlock(&s->read_lock);
    }
    return rc;
}

/* ---------------------------------------------------------------------------------------------
 * The operations.
 */

static void fail_all(struct zcache_io_page *pages, size_t n, int rc)
{
    for (size_t i = 0; rc != 0 && i < n; i++) {
        pages[i].status = rc;
    }
}

static int judge_page(const struct file_store *s, const struct zcache_io_page *page, bool deleted)
{
    if (!deleted && (page->len == 0 || page->len > s->page_bytes)) {
        return -EINVAL;
    }
    return file_pages_can_hold(s->pages, page->key);
}

static void write_pages(struct file_store *s,
                        const char *tenant,
                        struct zcache_io_page *pages,
                        size_t n,
                        bool deleted)
{
    size_t good = 0;
    int rc = 0;

    for (size_t i = 0; i < n; i++) {
        pages[i].status = judge_page(s, &pages[i], deleted);
        good += pages[i].status == 0;
    }
    if (good == 0) {
        return;
    }
    pthread_mutex_lock(&s->write_lock);
    if (file_journal_is_full(s->journal)) {
        rc = end_lap_locked(s);
    }
    if (rc == 0) {
        rc = file_journal_append(s->journal, tenant, pages, n, deleted);
    }
    pthread_mutex_unlock(&s->write_lock);
    for (size_t i = 0; rc != 0 && i < n; i++) {
        pages[i].status = pages[i].status == 0 ? rc : pages[i].status;
    }
}

static void read_from_journal(const struct file_store *s,
                              const struct journal_place *place,
                              struct zcache_io_page *page)
{
    if (place->len == 0) {
        page->status = ZCACHE_MISS;
        return;
    }
    page->status = file_journal_read(s->journal, place, page->key, page->buf);
    if (page->status == 0) {
        page->len = place->len;
    }
}

/* Neighbours from the front of @pages that the journal does not have; 0 if it has the first. */
static size_t run_at_home(const struct file_store *s,
                          const char *tenant,
                          const struct zcache_io_page *pages,
                          size_t n,
                          struct journal_place *place_out)
{
    size_t i = 0;

    while (i < n && i < FILE_PAGES_RUN && pages[i].key.object == pages[0].key.object &&
           pages[i].key.page == pages[0].key.page + i &&
           !file_journal_find(s->journal, tenant, pages[i].key, place_out)) {
        i++;
    }
    return i;
}

static void read_pages(struct file_store *s,
                       const char *tenant,
                       struct zcache_io_page *pages,
                       size_t n_pages)
{
    pthread_rwlock_rdlock(&s->read_lock);
    for (size_t i = 0; i < n_pages;) {
        struct journal_place place;
        const size_t n = run_at_home(s, tenant, &pages[i], n_pages - i, &place);

        if (n == 0) {
            read_from_journal(s, &place, &pages[i]);
            i++;
        } else {
            fail_all(&pages[i], n, file_pages_read(s->pages, tenant, &pages[i], n));
            i += n;
        }
    }
    pthread_rwlock_unlock(&s->read_lock);
}

/* What the journal has of the object goes home first, so that it cannot come back from there. */
static int discard_from(struct file_store *s, const char *tenant, struct zcache_key first)
{
    int rc = 0;

    pthread_mutex_lock(&s->write_lock);
    if (file_journal_has(s->journal, tenant, first)) {
        rc = end_lap_locked(s);
    }
    if (rc == 0) {
        pthread_rwlock_wrlock(&s->read_lock);
        rc = file_pages_cut(s->pages, tenant, first);
        pthread_rwlock_unlock(&s->read_lock);
    }
    pthread_mutex_unlock(&s->write_lock);
    return rc;
}

/* ---------------------------------------------------------------------------------------------
 * The callbacks.
 */

static const char *tenant_of(const struct zcache_io *io)
{
    return io->tenant_id == 0 ? ROOT_NAME : io->tenant_name;
}

static int write_callback(void *ctx, struct zcache_io *io)
{
    write_pages(ctx, tenant_of(io), io->pages, io->n_pages, false);
    return 0;
}

/* The cache gives room for a page of its page_max_bytes, which must not be less than the store's. */
static int read_callback(void *ctx, struct zcache_io *io)
{
    struct file_store *s = ctx;

    if (io->pages[0].cap < s->page_bytes) {
        return -EINVAL;
    }
    read_pages(s, tenant_of(io), io->pages, io->n_pages);
    return 0;
}

static int discard_callback(void *ctx, struct zcache_io *io)
{
    if (io->range) {
        return discard_from(ctx, tenant_of(io), io->pages[0].key);
    }
    write_pages(ctx, tenant_of(io), io->pages, io->n_pages, true);
    return 0;
}

/*
 * Syncs what was written for any tenant: more than is asked, and simple.  The files have something to
 * be synced only after they were cut.
 */
static int barrier_callback(void *ctx, struct zcache_io *io)
{
    struct file_store *s = ctx;
    int rc = file_journal_sync(s->journal);

    (void)io;
    return rc == 0 ? file_pages_sync(s->pages) : rc;
}

/* ---------------------------------------------------------------------------------------------
 * What the application calls.
 */

/* A new directory is durable when its parent is. */
static int sync_parent(int dir_fd)
{
    int rc, fd = openat(dir_fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) {
        return -errno;
    }
    rc = fsync(fd) == 0 ? 0 : -errno;
    (void)close(fd);
    return rc;
}

static int open_dir(const char *dir, int *fd_out)
{
    const bool made = mkdir(dir, 0777) == 0;
    int fd, rc = 0;

    if (!made && errno != EEXIST) {
        return -errno;
    }
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return -errno;
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        rc = errno == EWOULDBLOCK ? -EBUSY : -errno;
    } else if (made) {
        rc = sync_parent(fd);
    } else {
        rc = syncfs(fd) == 0 ? 0 : -errno; /* what a process that died left to the kernel */
    }
    if (rc != 0) {
        (void)close(fd);
        return rc;
    }
    *fd_out = fd;
    return 0;
}

/* A writer must not wait for ever where readers follow each other closely. */
static void init_locks(struct file_store *s)
{
    pthread_rwlockattr_t attr;

    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&s->read_lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    pthread_mutex_init(&s->write_lock, NULL);
}

/* Release everything; @s may be half made. */
static int release(struct file_store *s)
{
    int rc = 0;

    if (s->journal != NULL) {
        file_journal_close(s->journal);
    }
    if (s->pages != NULL) {
        rc = file_pages_close(s->pages);
    }
    if (s->dir_fd >= 0) {
        (void)close(s->dir_fd);
    }
    pthread_rwlock_destroy(&s->read_lock);
    pthread_mutex_destroy(&s->write_lock);
    free(s);
    return rc;
}

static int open_parts(struct file_store *s, const char *dir)
{
    int rc = open_dir(dir, &s->dir_fd);

    if (rc == 0) {
        rc = file_pages_open(s->dir_fd, s->page_bytes, &s->pages);
    }
    if (rc == 0) {
        rc = file_journal_open(s->dir_fd, s->page_bytes, &s->journal);
    }
    if (rc == 0) {
        rc = end_lap_locked(s); /* its records, if a process did not come to close the store */
    }
    return rc;
}

int file_store_open(const char *dir, size_t page_bytes, struct file_store **out)
{
    struct file_store *s;
    int rc;

    if (page_bytes == 0 || page_bytes > PAGE_BYTES_MAX) {
        return -EINVAL;
    }
    s = calloc(1, sizeof *s);
    if (s == NULL) {
        return -ENOMEM;
    }
    s->dir_fd = -1;
    s->page_bytes = page_bytes;
    init_locks(s);
    rc = open_parts(s, dir);
    if (rc != 0) {
        (void)release(s);
        return rc;
    }
    s->callbacks = (struct zcache_store)ZCACHE_STORE_INIT;
    s->callbacks.ctx = s;
    s->callbacks.write = write_callback;
    s->callbacks.read = read_callback;
    s->callbacks.discard = discard_callback;
    s->callbacks.barrier = barrier_callback;
    *out = s;
    return 0;
}

const struct zcache_store *file_store_callbacks(const struct file_store *files)
{
    return &files->callbacks;
}

int file_store_read(struct file_store *files,
                    const char *tenant,
                    struct zcache_key key,
                    void *buf,
                    size_t cap,
                    size_t *len_out)
{
    struct zcache_io_page page = {.key = key, .buf = buf, .cap = cap};

    if (cap < files->page_bytes) {
        return -EINVAL;
    }
    read_pages(files, tenant != NULL ? tenant : ROOT_NAME, &page, 1);
    if (page.status == 0) {
        *len_out = page.len;
    }
    return page.status;
}

int file_store_write(struct file_store *files,
                     const char *tenant,
                     struct zcache_key key,
                     const void *data,
                     size_t len)
{
    struct zcache_io_page page = {.key = key, .data = data, .len = len};

    write_pages(files, tenant != NULL ? tenant : ROOT_NAME, &page, 1, false);
    return page.status;
}

int file_store_close(struct file_store *files)
{
    int rc, closed;

    if (files == NULL) {
        return 0;
    }
    rc = file_journal_is_empty(files->journal) ? file_pages_sync(files->pages)
                                               : end_lap_locked(files);
    closed = release(files);
    return rc != 0 ? rc : closed;
}
