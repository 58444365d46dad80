/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Format.  The pages of object 7 of the tenant "orders" are in "orders.0000000000000007.pages".  A
 * file is
 *
 *     | file header | slot of page 0 | slot of page 1 | ...
 *       4096 bytes    16 bytes of slot header, then page_bytes of page and zeros
 *
 * with holes where no page was written, and numbers in little-endian order.  A slot's header says
 * how long the page is and carries a checksum of the page and its key.  A header of zeros, as a
 * hole or the end of the file gives it, means that there is no such page.
 *
 * Threads.  The lock guards the table of open files, a short list with the last used one in
 * front.  No page is read or written under it; opening a file, and syncing one that must make
 * room, is.  One thread syncs at a time, and what others wanted synced is done when it is their
 * turn.
 */
#define _GNU_SOURCE 1 /* NOLINT(bugprone-reserved-identifier) */
#include "file_pages.h"
#include "file_io.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <zcache/tenant.h>

#define FILE_HEADER_BYTES 4096
#define FILE_MAGIC        "zcpages1"
#define SLOT_MAGIC        0x7a637031u
#define OPEN_FILES_MAX    64 /* more only while more are in use at one moment */

struct file_header {
    char magic[8];
    uint32_t page_bytes;
    uint32_t reserved;
};

struct slot_header {
    uint32_t magic;
    uint32_t len;
    uint64_t checksum;
};

struct page_file {
    TAILQ_ENTRY(page_file) link;
    uint64_t serial; /* counts opened files */
    uint64_t object;
    char tenant[ZCACHE_TENANT_NAME_MAX + 1];
    int fd;
    unsigned users;   /* threads between acquire_file() and release_file() */
    uint64_t written; /* writes so far */
    uint64_t synced;  /* how many of them are known to be on disk */
};

TAILQ_HEAD(file_list, page_file);

struct file_pages {
    int dir_fd;
    size_t page_bytes;
    size_t slot_bytes;
    void *zeros; /* page_bytes of them, to fill slots of short pages */

    pthread_mutex_t sync_lock; /* around all of a sync, taken first: Linux reports a failure once */
    pthread_mutex_t lock;
    struct file_list files; /* last used first */
    unsigned n_files;
    uint64_t serial;
    int sync_error; /* the first one */
};

/* ---------------------------------------------------------------------------------------------
 * The format.
 */

/* Where the slot of @page begins; the slots of a run that starts there are in range too. */
static int slot_offset(const struct file_pages *s, uint64_t page, off_t *offset_out)
{
    if (page >= INT64_MAX / s->slot_bytes - FILE_HEADER_BYTES - FILE_PAGES_RUN) {
        return -EFBIG;
    }
    *offset_out = (off_t)(FILE_HEADER_BYTES + page * s->slot_bytes);
    return 0;
}

int file_pages_can_hold(const struct file_pages *s, struct zcache_key key)
{
    off_t offset;

    return slot_offset(s, key.page, &offset);
}

uint64_t file_pages_checksum(struct zcache_key key, const void *data, size_t len)
{
    return XXH3_64bits_withSeed(data, len, key.object * 0x9e3779b97f4a7c15u + key.page);
}

/* Judge a slot of which the file gave @available bytes; the others of @h are zero. */
static int check_slot(const struct file_pages *s,
                      const struct slot_header *h,
                      size_t available,
                      struct zcache_io_page *page)
{
    const size_t len = le32toh(h->len);

    if (h->magic == 0 && h->len == 0 && h->checksum == 0) {
        return ZCACHE_MISS;
    }
    if (le32toh(h->magic) != SLOT_MAGIC || len == 0 || len > s->page_bytes ||
        available < sizeof *h + len) {
        return -EBADMSG;
    }
    if (le64toh(h->checksum) != file_pages_checksum(page->key, page->buf, len)) {
        return -EBADMSG;
    }
    page->len = len;
    return 0;
}

/* The header is durable, and so is the file's name, before any page is written. */
static int write_file_header(const struct file_pages *s, int fd)
{
    struct file_header h = {.magic = FILE_MAGIC, .page_bytes = htole32((uint32_t)s->page_bytes)};
    struct iovec iov = file_io_bytes(&h, sizeof h);
    int rc = file_io_write(fd, &iov, 1, 0);

    if (rc == 0 && (fsync(fd) != 0 || fsync(s->dir_fd) != 0)) {
        rc = -errno;
    }
    return rc;
}

/* -ENOENT: the file has no header, for a crash came while it was made: it is as good as missing. */
static int check_file_header(const struct file_pages *s, int fd)
{
    static const struct file_header none;
    struct file_header h = none;
    struct iovec iov = {.iov_base = &h, .iov_len = sizeof h};
    size_t got;
    int rc = file_io_read(fd, &iov, 1, 0, &got);

    if (rc != 0) {
        return rc;
    }
    if (memcmp(&h, &none, sizeof h) == 0) {
        return -ENOENT;
    }
    if (memcmp(h.magic, FILE_MAGIC, sizeof h.magic) != 0) {
        return -EBADMSG;
    }
    return le32toh(h.page_bytes) == s->page_bytes ? 0 : -EINVAL;
}

/* ---------------------------------------------------------------------------------------------
 * The table of open files.
 */

static int open_fd(const struct file_pages *s,
                   const char *tenant,
                   uint64_t object,
                   bool create,
                   int *fd_out)
{
    char name[ZCACHE_TENANT_NAME_MAX + sizeof ".0123456789abcdef.pages"];
    int fd, rc;

    if (strlen(tenant) > ZCACHE_TENANT_NAME_MAX || strchr(tenant, '/') != NULL) {
        return -EINVAL;
    }
    (void)snprintf(name, sizeof name, "%s.%016" PRIx64 ".pages", tenant, object);
    fd = openat(s->dir_fd, name, O_RDWR | O_CLOEXEC | (create ? O_CREAT : 0), 0666);
    if (fd < 0) {
        return -errno;
    }
    rc = check_file_header(s, fd);
    if (rc == -ENOENT && create) {
        rc = write_file_header(s, fd);
    }
    if (rc != 0) {
        (void)close(fd);
        return rc;
    }
    *fd_out = fd;
    return 0;
}

static void keep_first_error_locked(struct file_pages *s, int rc)
{
    if (rc != 0 && s->sync_error == 0) {
        s->sync_error = rc;
    }
}

static void close_file_locked(struct file_pages *s, struct page_file *file)
{
    if (file->synced != file->written && fdatasync(file->fd) != 0) {
        keep_first_error_locked(s, -errno);
    }
    (void)close(file->fd);
    TAILQ_REMOVE(&s->files, file, link);
    s->n_files--;
    free(file);
}

static void make_room_locked(struct file_pages *s)
{
    struct page_file *file = TAILQ_LAST(&s->files, file_list);

    while (file != NULL && s->n_files >= OPEN_FILES_MAX) {
        struct page_file *newer = TAILQ_PREV(file, file_list, link);

        if (file->users == 0) {
            close_file_locked(s, file);
        }
        file = newer;
    }
}

static struct page_file *find_file_locked(struct file_pages *s, const char *tenant, uint64_t object)
{
    struct page_file *file;

    TAILQ_FOREACH(file, &s->files, link)
    {
        if (file->object == object && strcmp(file->tenant, tenant) == 0) {
            TAILQ_REMOVE(&s->files, file, link);
            TAILQ_INSERT_HEAD(&s->files, file, link);
            return file;
        }
    }
    return NULL;
}

static int add_file_locked(struct file_pages *s,
                           const char *tenant,
                           uint64_t object,
                           bool create,
                           struct page_file **out)
{
    struct page_file *file;
    int rc;

    make_room_locked(s);
    file = calloc(1, sizeof *file);
    if (file == NULL) {
        return -ENOMEM;
    }
    rc = open_fd(s, tenant, object, create, &file->fd);
    if (rc != 0) {
        free(file);
        return rc;
    }
    (void)snprintf(file->tenant, sizeof file->tenant, "%s", tenant);
    file->object = object;
    file->serial = ++s->serial;
    TAILQ_INSERT_HEAD(&s->files, file, link);
    s->n_files++;
    *out = file;
    return 0;
}

/* -ENOENT: there is no such file, and it is not to be created. */
static int acquire_file(struct file_pages *s,
                        const char *tenant,
                        uint64_t object,
                        bool create,
                        struct page_file **out)
{
    struct page_file *file;
    int rc = 0;

    pthread_mutex_lock(&s->lock);
    file = find_file_locked(s, tenant, object);
    if (file == NULL) {
        rc = add_file_locked(s, tenant, object, create, &file);
    }
    if (rc == 0) {
        file->users++;
        *out = file;
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

static void release_file(struct file_pages *s, struct page_file *file, bool wrote)
{
    pthread_mutex_lock(&s->lock);
    file->users--;
    file->written += wrote;
    pthread_mutex_unlock(&s->lock);
}

/* ---------------------------------------------------------------------------------------------
 * Runs: neighbouring pages of one object, moved by one system call.
 */

static int write_run(const struct file_pages *s,
                     int fd,
                     const struct zcache_io_page *run,
                     const uint64_t *checksums,
                     size_t n)
{
    struct slot_header headers[FILE_PAGES_RUN];
    struct iovec iov[FILE_PAGES_RUN * 3];
    size_t n_iov = 0;
    off_t offset;
    int rc = slot_offset(s, run[0].key.page, &offset);

    for (size_t i = 0; rc == 0 && i < n; i++) {
        headers[i] = (struct slot_header){
            .magic = htole32(SLOT_MAGIC),
            .len = htole32((uint32_t)run[i].len),
            .checksum = htole64(checksums[i]),
        };
        iov[n_iov++] = file_io_bytes(&headers[i], sizeof headers[i]);
        iov[n_iov++] = file_io_bytes(run[i].data, run[i].len);
        if (run[i].len < s->page_bytes) {
            iov[n_iov++] = file_io_bytes(s->zeros, s->page_bytes - run[i].len);
        }
    }
    return rc == 0 ? file_io_write(fd, iov, n_iov, offset) : rc;
}

static int read_run(const struct file_pages *s, int fd, struct zcache_io_page *run, size_t n)
{
    struct slot_header headers[FILE_PAGES_RUN];
    struct iovec iov[FILE_PAGES_RUN * 2];
    size_t got = 0;
    off_t offset;
    int rc = slot_offset(s, run[0].key.page, &offset);

    if (rc != 0) {
        return rc;
    }
    memset(headers, 0, sizeof headers);
    for (size_t i = 0; i < n; i++) {
        iov[2 * i] = (struct iovec){.iov_base = &headers[i], .iov_len = sizeof headers[i]};
        iov[2 * i + 1] = (struct iovec){.iov_base = run[i].buf, .iov_len = s->page_bytes};
    }
    rc = file_io_read(fd, iov, 2 * n, offset, &got);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        size_t before = i * s->slot_bytes;

        run[i].status = check_slot(s, &headers[i], got > before ? got - before : 0, &run[i]);
    }
    return rc;
}

/* Give the run's space back; where the file system cannot, overwrite its headers. */
static int discard_run(const struct file_pages *s, int fd, struct zcache_key first, size_t n)
{
    static const struct slot_header none;
    off_t offset;
    int rc = slot_offset(s, first.page, &offset);

    if (rc != 0) {
        return rc;
    }
    do {
        rc = fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
                       (off_t)(n * s->slot_bytes));
    } while (rc != 0 && errno == EINTR);
    if (rc == 0 || errno != EOPNOTSUPP) {
        return rc == 0 ? 0 : -errno;
    }
    rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        struct iovec iov = file_io_bytes(&none, sizeof none);

        rc = file_io_write(fd, &iov, 1, offset + (off_t)(i * s->slot_bytes));
    }
    return rc;
}

int file_pages_read(struct file_pages *s, const char *tenant, struct zcache_io_page *run, size_t n)
{
    struct page_file *file;
    int rc = acquire_file(s, tenant, run[0].key.object, false, &file);

    if (rc == 0) {
        rc = read_run(s, file->fd, run, n);
        release_file(s, file, false);
    }
    for (size_t i = 0; rc != 0 && i < n; i++) {
        run[i].status = rc == -ENOENT ? ZCACHE_MISS : rc;
    }
    return rc == -ENOENT ? 0 : rc;
}

int file_pages_write(struct file_pages *s,
                     const char *tenant,
                     const struct zcache_io_page *run,
                     const uint64_t *checksums,
                     size_t n)
{
    struct page_file *file;
    int rc = acquire_file(s, tenant, run[0].key.object, true, &file);

    if (rc == 0) {
        rc = write_run(s, file->fd, run, checksums, n);
        release_file(s, file, true);
    }
    return rc;
}

int file_pages_discard(struct file_pages *s, const char *tenant, struct zcache_key first, size_t n)
{
    struct page_file *file;
    int rc = acquire_file(s, tenant, first.object, false, &file);

    if (rc == 0) {
        rc = discard_run(s, file->fd, first, n);
        release_file(s, file, true);
    }
    return rc == -ENOENT ? 0 : rc;
}

int file_pages_cut(struct file_pages *s, const char *tenant, struct zcache_key first)
{
    struct page_file *file;
    struct stat st;
    off_t offset;
    int rc;

    if (slot_offset(s, first.page, &offset) != 0) {
        return 0; /* no page can be there */
    }
    rc = acquire_file(s, tenant, first.object, false, &file);
    if (rc != 0) {
        return rc == -ENOENT ? 0 : rc;
    }
    rc = fstat(file->fd, &st);
    if (rc == 0 && st.st_size > offset) {
        rc = ftruncate(file->fd, offset);
    }
    rc = rc == 0 ? 0 : -errno;
    release_file(s, file, true);
    return rc;
}

/* ---------------------------------------------------------------------------------------------
 * Sync, and the life of it all.
 */

/* The unsynced file with the lowest serial number in (@after, @last]. */
static struct page_file *next_unsynced_locked(struct file_pages *s, uint64_t after, uint64_t last)
{
    struct page_file *file, *found = NULL;

    TAILQ_FOREACH(file, &s->files, link)
    {
        if (file->synced != file->written && file->serial > after && file->serial <= last &&
            (found == NULL || file->serial < found->serial)) {
            found = file;
        }
    }
    return found;
}

static void sync_file_locked(struct file_pages *s, struct page_file *file)
{
    const uint64_t written = file->written;
    int rc;

    file->users++;
    pthread_mutex_unlock(&s->lock);
    rc = fdatasync(file->fd) == 0 ? 0 : -errno;
    pthread_mutex_lock(&s->lock);
    file->users--;
    keep_first_error_locked(s, rc);
    if (rc == 0 && file->synced < written) {
        file->synced = written;
    }
}

int file_pages_sync(struct file_pages *s)
{
    struct page_file *file;
    uint64_t last, done = 0;
    int rc;

    pthread_mutex_lock(&s->sync_lock);
    pthread_mutex_lock(&s->lock);
    last = s->serial;
    while ((file = next_unsynced_locked(s, done, last)) != NULL) {
        done = file->serial;
        sync_file_locked(s, file);
    }
    rc = s->sync_error;
    pthread_mutex_unlock(&s->lock);
    pthread_mutex_unlock(&s->sync_lock);
    return rc;
}

int file_pages_open(int dir_fd, size_t page_bytes, struct file_pages **out)
{
    struct file_pages *s = calloc(1, sizeof *s);

    if (s == NULL || (s->zeros = calloc(1, page_bytes)) == NULL) {
        free(s);
        return -ENOMEM;
    }
    s->dir_fd = dir_fd;
    s->page_bytes = page_bytes;
    s->slot_bytes = sizeof(struct slot_header) + page_bytes;
    TAILQ_INIT(&s->files);
    pthread_mutex_init(&s->sync_lock, NULL);
    pthread_mutex_init(&s->lock, NULL);
    *out = s;
    return 0;
}

int file_pages_close(struct file_pages *s)
{
    struct page_file *file, *next;
    int rc;

    for (file = TAILQ_FIRST(&s->files); file != NULL; file = next) {
        next = TAILQ_NEXT(file, link);
        close_file_locked(s, file);
    }
    rc = s->sync_error;
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->sync_lock);
    free(s->zeros);
    free(s);
    return rc;
}
