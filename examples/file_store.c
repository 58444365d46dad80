/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A backing store in ordinary files: see file_store.h for how to use it.
 *
 * Format.  The pages of object 7 of the tenant "orders" are in "orders.0000000000000007.pages";
 * those of the root are in "@root.*", since no tenant can have that name.  A file is
 *
 *     | file header | slot of page 0 | slot of page 1 | ...
 *       4096 bytes    16 bytes of slot header, then page_bytes of page and zeros
 *
 * with holes where no page was written, and numbers in little-endian order.  A slot's header says
 * how long the page is and carries a checksum of the page and its key.  A header of zeros, as a
 * hole or the end of the file gives it, means that there is no such page.
 *
 * What a crash leaves.  A page that was written before the last barrier is there.  Of a write after
 * it there may be all, nothing or a part; a part is found by the checksum and reported as
 * -EBADMSG, never as data.  The store does not repair it: it writes in place, and a database gets
 * such a page back from its write-ahead log.
 *
 * Threads.  The lock guards the table of open files, a short list with the last used one in
 * front.  No page is read or written under it; opening a file, and syncing one that must make
 * room, is.  Range locks keep reads from seeing half of a write: a page may be read and written at
 * one time when it is deleted, or is written without the cache.
 *
 * Failed syncs.  After a failed fdatasync() Linux may have dropped the pages and report success the
 * next time, so that a retry proves nothing: the first failure is kept, and every later barrier
 * returns it.
 */
#define _GNU_SOURCE 1 /* NOLINT(bugprone-reserved-identifier) */
#include "file_store.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <xxhash.h>

#include <zcache/tenant.h>

#define FILE_HEADER_BYTES 4096
#define FILE_MAGIC        "zcpages1"
#define SLOT_MAGIC        0x7a637031u
#define PAGE_BYTES_MAX    (1u << 20)
#define OPEN_FILES_MAX    64 /* more only while more are in use at one moment */
#define RUN_PAGES         32 /* neighbours in one system call; keeps the callbacks' stack small */
#define RANGE_LOCKS       64
#define ROOT_NAME         "@root"

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

struct file_store {
    struct zcache_store callbacks;
    int dir_fd;
    size_t page_bytes;
    size_t slot_bytes;
    void *zeros; /* page_bytes of them, to fill slots of short pages */
    pthread_rwlock_t range_lock[RANGE_LOCKS];

    pthread_mutex_t lock;
    struct file_list files; /* last used first */
    unsigned n_files;
    uint64_t serial;
    int sync_error; /* the first one */
};

/* ---------------------------------------------------------------------------------------------
 * Whole transfers at an offset: system calls may do less than they were asked.
 */

static struct iovec bytes_to_write(const void *data, size_t len)
{
    union {
        const void *in;
        void *out;
    } base = {.in = data};

    return (struct iovec){.iov_base = base.out, .iov_len = len};
}

static void skip_done(struct iovec **iov, int *n, size_t done)
{
    while (*n > 0 && done >= (*iov)->iov_len) {
        done -= (*iov)->iov_len;
        ++*iov;
        --*n;
    }
    if (*n > 0) {
        (*iov)->iov_base = (char *)(*iov)->iov_base + done;
        (*iov)->iov_len -= done;
    }
}

static int write_all(int fd, struct iovec *iov, int n, off_t offset)
{
    while (n > 0) {
        ssize_t done = pwritev(fd, iov, n, offset);

        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return done < 0 ? -errno : -EIO;
        }
        offset += done;
        skip_done(&iov, &n, (size_t)done);
    }
    return 0;
}

/* Fewer bytes than asked for mean that the file ends there. */
static int read_all(int fd, struct iovec *iov, int n, off_t offset, size_t *got_out)
{
    size_t got = 0;

    while (n > 0) {
        ssize_t done = preadv(fd, iov, n, offset);

        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return -errno;
        }
        if (done == 0) {
            break;
        }
        got += (size_t)done;
        offset += done;
        skip_done(&iov, &n, (size_t)done);
    }
    *got_out = got;
    return 0;
}

/* ---------------------------------------------------------------------------------------------
 * The format.
 */

/* Where the slot of @page begins; the slots of a run that starts there are in range too. */
static int slot_offset(const struct file_store *s, uint64_t page, off_t *offset_out)
{
    if (page >= INT64_MAX / s->slot_bytes - FILE_HEADER_BYTES - RUN_PAGES) {
        return -EFBIG;
    }
    *offset_out = (off_t)(FILE_HEADER_BYTES + page * s->slot_bytes);
    return 0;
}

static uint64_t page_checksum(struct zcache_key key, const void *data, size_t len)
{
    return XXH3_64bits_withSeed(data, len, key.object * 0x9e3779b97f4a7c15u + key.page);
}

static struct slot_header make_slot_header(const struct zcache_io_page *page)
{
    return (struct slot_header){
        .magic = htole32(SLOT_MAGIC),
        .len = htole32((uint32_t)page->len),
        .checksum = htole64(page_checksum(page->key, page->data, page->len)),
    };
}

/* Judge a slot of which the file gave @available bytes; the others of @h are zero. */
static int check_slot(const struct file_store *s,
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
    if (le64toh(h->checksum) != page_checksum(page->key, page->buf, len)) {
        return -EBADMSG;
    }
    page->len = len;
    return 0;
}

/* The header is durable, and so is the file's name, before any page is written. */
static int write_file_header(const struct file_store *s, int fd)
{
    struct file_header h = {.magic = FILE_MAGIC, .page_bytes = htole32((uint32_t)s->page_bytes)};
    struct iovec iov = bytes_to_write(&h, sizeof h);
    int rc = write_all(fd, &iov, 1, 0);

    if (rc == 0 && (fsync(fd) != 0 || fsync(s->dir_fd) != 0)) {
        rc = -errno;
    }
    return rc;
}

/* -ENOENT: the file has no header, for a crash came while it was made: it is as good as missing. */
static int check_file_header(const struct file_store *s, int fd)
{
    static const struct file_header none;
    struct file_header h = none;
    struct iovec iov = {.iov_base = &h, .iov_len = sizeof h};
    size_t got;
    int rc = read_all(fd, &iov, 1, 0, &got);

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

static int open_fd(const struct file_store *s,
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

static void keep_first_error_locked(struct file_store *s, int rc)
{
    if (rc != 0 && s->sync_error == 0) {
        s->sync_error = rc;
    }
}

static void close_file_locked(struct file_store *s, struct page_file *file)
{
    if (file->synced != file->written && fdatasync(file->fd) != 0) {
        keep_first_error_locked(s, -errno);
    }
    (void)close(file->fd);
    TAILQ_REMOVE(&s->files, file, link);
    s->n_files--;
    free(file);
}

static void make_room_locked(struct file_store *s)
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

static struct page_file *find_file_locked(struct file_store *s, const char *tenant, uint64_t object)
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

static int add_file_locked(struct file_store *s,
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
static int acquire_file(struct file_store *s,
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

static void release_file(struct file_store *s, struct page_file *file, bool wrote)
{
    pthread_mutex_lock(&s->lock);
    file->users--;
    file->written += wrote;
    pthread_mutex_unlock(&s->lock);
}

/* ---------------------------------------------------------------------------------------------
 * Runs: neighbouring pages of one object, moved by one system call.
 */

/* A run does not cross a multiple of RUN_PAGES, so that it has one range lock. */
static size_t run_length(const struct zcache_io_page *pages, size_t n)
{
    const size_t max = RUN_PAGES - (size_t)(pages[0].key.page % RUN_PAGES);
    size_t i = 1;

    while (i < n && i < max && pages[i].key.object == pages[0].key.object &&
           pages[i].key.page == pages[0].key.page + i) {
        i++;
    }
    return i;
}

static pthread_rwlock_t *range_lock(struct file_store *s, struct zcache_key key)
{
    return &s->range_lock[(key.object * 31 + key.page / RUN_PAGES) % RANGE_LOCKS];
}

static int write_run(const struct file_store *s, int fd, struct zcache_io_page *pages, size_t n)
{
    struct slot_header headers[RUN_PAGES];
    struct iovec iov[RUN_PAGES * 3];
    int n_iov = 0;
    off_t offset;
    int rc = slot_offset(s, pages[0].key.page, &offset);

    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < n; i++) {
        if (pages[i].len == 0 || pages[i].len > s->page_bytes) {
            return -EINVAL;
        }
        headers[i] = make_slot_header(&pages[i]);
        iov[n_iov++] = bytes_to_write(&headers[i], sizeof headers[i]);
        iov[n_iov++] = bytes_to_write(pages[i].data, pages[i].len);
        if (pages[i].len < s->page_bytes) {
            iov[n_iov++] = bytes_to_write(s->zeros, s->page_bytes - pages[i].len);
        }
    }
    return write_all(fd, iov, n_iov, offset);
}

static int read_run(const struct file_store *s, int fd, struct zcache_io_page *pages, size_t n)
{
    struct slot_header headers[RUN_PAGES];
    struct iovec iov[RUN_PAGES * 2];
    size_t got = 0;
    off_t offset;
    int rc = slot_offset(s, pages[0].key.page, &offset);

    if (rc != 0) {
        return rc;
    }
    memset(headers, 0, sizeof headers);
    for (size_t i = 0; i < n; i++) {
        if (pages[i].cap < s->page_bytes) {
            return -EINVAL;
        }
        iov[2 * i] = (struct iovec){.iov_base = &headers[i], .iov_len = sizeof headers[i]};
        iov[2 * i + 1] = (struct iovec){.iov_base = pages[i].buf, .iov_len = s->page_bytes};
    }
    rc = read_all(fd, iov, 2 * (int)n, offset, &got);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        size_t before = i * s->slot_bytes;

        pages[i].status = check_slot(s, &headers[i], got > before ? got - before : 0, &pages[i]);
    }
    return rc;
}

/* Give the run's space back; where the file system cannot, overwrite its headers. */
static int discard_run(const struct file_store *s, int fd, struct zcache_io_page *pages, size_t n)
{
    static const struct slot_header none;
    off_t offset;
    int rc = slot_offset(s, pages[0].key.page, &offset);

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
        struct iovec iov = bytes_to_write(&none, sizeof none);

        rc = write_all(fd, &iov, 1, offset + (off_t)(i * s->slot_bytes));
    }
    return rc;
}

/* Cut the file off.  The pages may be in any range, so all of them are locked, in order. */
static int discard_from(struct file_store *s, int fd, uint64_t first_page)
{
    struct stat st;
    off_t offset;
    int rc;

    if (slot_offset(s, first_page, &offset) != 0) {
        return 0; /* no page can be there */
    }
    for (unsigned i = 0; i < RANGE_LOCKS; i++) {
        pthread_rwlock_wrlock(&s->range_lock[i]);
    }
    rc = fstat(fd, &st);
    if (rc == 0 && st.st_size > offset) {
        rc = ftruncate(fd, offset);
    }
    rc = rc == 0 ? 0 : -errno;
    for (unsigned i = 0; i < RANGE_LOCKS; i++) {
        pthread_rwlock_unlock(&s->range_lock[i]);
    }
    return rc;
}

/* ---------------------------------------------------------------------------------------------
 * The callbacks.
 */

static const char *tenant_of(const struct zcache_io *io)
{
    return io->tenant_id == 0 ? ROOT_NAME : io->tenant_name;
}

static int do_run(struct file_store *s,
                  enum zcache_io_op op,
                  struct page_file *file,
                  struct zcache_io_page *pages,
                  size_t n)
{
    pthread_rwlock_t *lock = range_lock(s, pages[0].key);
    int rc;

    if (op == ZCACHE_IO_READ) {
        pthread_rwlock_rdlock(lock);
        rc = read_run(s, file->fd, pages, n);
    } else {
        pthread_rwlock_wrlock(lock);
        rc = op == ZCACHE_IO_WRITE ? write_run(s, file->fd, pages, n)
                                   : discard_run(s, file->fd, pages, n);
    }
    pthread_rwlock_unlock(lock);
    return rc;
}

static void run_batch(struct file_store *s,
                      const char *tenant,
                      enum zcache_io_op op,
                      struct zcache_io_page *pages,
                      size_t n_pages)
{
    for (size_t i = 0, n; i < n_pages; i += n) {
        struct page_file *file;
        int rc;

        n = run_length(&pages[i], n_pages - i);
        rc = acquire_file(s, tenant, pages[i].key.object, op == ZCACHE_IO_WRITE, &file);
        if (rc == 0) {
            rc = do_run(s, op, file, &pages[i], n);
            release_file(s, file, op != ZCACHE_IO_READ);
        } else if (rc == -ENOENT && op != ZCACHE_IO_WRITE) {
            rc = op == ZCACHE_IO_READ ? ZCACHE_MISS : 0;
        }
        for (size_t k = i; k < i + n && rc != 0; k++) {
            pages[k].status = rc;
        }
    }
}

static int batch_callback(void *ctx, struct zcache_io *io)
{
    run_batch(ctx, tenant_of(io), io->op, io->pages, io->n_pages);
    return 0;
}

static int discard_callback(void *ctx, struct zcache_io *io)
{
    struct file_store *s = ctx;
    struct page_file *file;
    int rc;

    if (!io->range) {
        return batch_callback(ctx, io);
    }
    rc = acquire_file(s, tenant_of(io), io->pages[0].key.object, false, &file);
    if (rc != 0) {
        return rc == -ENOENT ? 0 : rc;
    }
    rc = discard_from(s, file->fd, io->pages[0].key.page);
    release_file(s, file, true);
    return rc;
}

/* The unsynced file with the lowest serial number in (@after, @last]. */
static struct page_file *next_unsynced_locked(struct file_store *s, uint64_t after, uint64_t last)
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

static void sync_file_locked(struct file_store *s, struct page_file *file)
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

/* Syncs every file that has unsynced writes, of all tenants: more than is asked, and simple. */
static int barrier_callback(void *ctx, struct zcache_io *io)
{
    struct file_store *s = ctx;
    struct page_file *file;
    uint64_t last, done = 0;
    int rc;

    (void)io;
    pthread_mutex_lock(&s->lock);
    last = s->serial;
    while ((file = next_unsynced_locked(s, done, last)) != NULL) {
        done = file->serial;
        sync_file_locked(s, file);
    }
    rc = s->sync_error;
    pthread_mutex_unlock(&s->lock);
    return rc;
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
    }
    if (rc != 0) {
        (void)close(fd);
        return rc;
    }
    *fd_out = fd;
    return 0;
}

int file_store_open(const char *dir, size_t page_bytes, struct file_store **out)
{
    struct file_store *s;
    int rc;

    if (page_bytes == 0 || page_bytes > PAGE_BYTES_MAX) {
        return -EINVAL;
    }
    s = calloc(1, sizeof *s);
    if (s == NULL || (s->zeros = calloc(1, page_bytes)) == NULL) {
        free(s);
        return -ENOMEM;
    }
    rc = open_dir(dir, &s->dir_fd);
    if (rc != 0) {
        free(s->zeros);
        free(s);
        return rc;
    }
    s->page_bytes = page_bytes;
    s->slot_bytes = sizeof(struct slot_header) + page_bytes;
    TAILQ_INIT(&s->files);
    pthread_mutex_init(&s->lock, NULL);
    for (unsigned i = 0; i < RANGE_LOCKS; i++) {
        pthread_rwlock_init(&s->range_lock[i], NULL);
    }
    s->callbacks = (struct zcache_store)ZCACHE_STORE_INIT;
    s->callbacks.ctx = s;
    s->callbacks.write = batch_callback;
    s->callbacks.read = batch_callback;
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

    run_batch(files, tenant != NULL ? tenant : ROOT_NAME, ZCACHE_IO_READ, &page, 1);
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

    run_batch(files, tenant != NULL ? tenant : ROOT_NAME, ZCACHE_IO_WRITE, &page, 1);
    return page.status;
}

int file_store_close(struct file_store *files)
{
    struct page_file *file, *next;
    int rc;

    if (files == NULL) {
        return 0;
    }
    for (file = TAILQ_FIRST(&files->files); file != NULL; file = next) {
        next = TAILQ_NEXT(file, link);
        close_file_locked(files, file);
    }
    rc = files->sync_error;
    (void)close(files->dir_fd);
    pthread_mutex_destroy(&files->lock);
    for (unsigned i = 0; i < RANGE_LOCKS; i++) {
        pthread_rwlock_destroy(&files->range_lock[i]);
    }
    free(files->zeros);
    free(files);
    return rc;
}
