/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Format of the file "@journal":
 *
 *     | header    | record | record | ... | of the lap before, or nothing
 *       512 bytes
 *
 *     record:  | head     | n_pages * what page this is | bytes of page 0 | of page 1 | ...
 *                96 bytes   32 bytes each
 *
 * with numbers in little-endian order.  The header and every record have the number of their lap,
 * and checksums cover everything, with a record's own offset.  The journal ends before the first
 * record that is not whole: it is the one that a crash interrupted, or it is of an earlier lap.
 *
 * The file is not made shorter between laps, so that an append overwrites blocks that it has
 * already: to make it durable the file system need not write anything of its own.
 *
 * The index, a table of what page is where in the journal, is in memory only.  The lock guards it;
 * nobody reads or writes the file under it.
 */
#define _GNU_SOURCE 1 /* NOLINT(bugprone-reserved-identifier) */
#include "file_journal.h"
#include "file_io.h"
#include "file_pages.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define JOURNAL_NAME  "@journal"
#define JOURNAL_MAGIC "zcjourn1"
#define HEADER_BYTES  512
#ifndef FILE_JOURNAL_LAP_BYTES
#define FILE_JOURNAL_LAP_BYTES (64 << 20)
#endif
#define LAP_PAGES    65536 /* bounds the index where pages are small */
#define RECORD_PAGES 4096  /* more than a batch has */
#define BUCKETS      16384
#define NAME_BYTES   (ZCACHE_TENANT_NAME_MAX + 1)

struct journal_header {
    char magic[8];
    uint64_t lap;
    uint64_t page_bytes;
    uint64_t checksum; /* of the members above */
};

struct record_head {
    uint64_t checksum; /* of the rest of the head, of the array after it, and of the offset */
    uint64_t lap;
    uint64_t n_pages;
    uint64_t reserved;
    char tenant[NAME_BYTES];
};

struct record_page {
    uint64_t object;
    uint64_t page;
    uint64_t len; /* 0: deleted */
    uint64_t checksum;
};

struct record {
    struct record_head head;
    struct record_page pages[];
};

struct file_journal {
    int fd;
    size_t page_bytes;

    /* One thread at a time. */
    uint64_t lap;
    off_t end;

    pthread_mutex_t sync_lock; /* around all of a sync, taken before @lock */
    pthread_mutex_t lock;
    struct journal_entry *buckets[BUCKETS];
    size_t n_entries;
    uint64_t appended; /* records since the journal was opened */
    uint64_t synced;   /* how many of them are known to be on disk */
    int sync_error;
};

/* ---------------------------------------------------------------------------------------------
 * The index.
 */

static size_t bucket_of(const char *tenant, struct zcache_key key)
{
    const uint64_t seed = XXH3_64bits(tenant, strlen(tenant));

    return XXH3_64bits_withSeed(&key, sizeof key, seed) % BUCKETS;
}

static struct journal_entry *find_entry_locked(const struct file_journal *j,
                                               const char *tenant,
                                               struct zcache_key key)
{
    struct journal_entry *e = j->buckets[bucket_of(tenant, key)];

    while (e != NULL &&
           (e->object != key.object || e->page != key.page || strcmp(e->tenant, tenant) != 0)) {
        e = e->next;
    }
    return e;
}

static int make_entry_locked(struct file_journal *j, const char *tenant, struct zcache_key key)
{
    const size_t name_bytes = strlen(tenant) + 1;
    struct journal_entry **bucket = &j->buckets[bucket_of(tenant, key)];
    struct journal_entry *e;

    if (find_entry_locked(j, tenant, key) != NULL) {
        return 0;
    }
    e = malloc(sizeof *e + name_bytes);
    if (e == NULL) {
        return -ENOMEM;
    }
    *e = (struct journal_entry){.next = *bucket, .object = key.object, .page = key.page};
    memcpy(e->tenant, tenant, name_bytes);
    *bucket = e;
    j->n_entries++;
    return 0;
}

static struct zcache_key key_of(const struct record_page *p)
{
    return (struct zcache_key){.object = le64toh(p->object), .page = le64toh(p->page)};
}

/* So that noting the record in the index cannot fail. */
static int make_entries(struct file_journal *j, const struct record *r)
{
    int rc = 0;

    pthread_mutex_lock(&j->lock);
    for (size_t i = 0; rc == 0 && i < le64toh(r->head.n_pages); i++) {
        rc = make_entry_locked(j, r->head.tenant, key_of(&r->pages[i]));
    }
    pthread_mutex_unlock(&j->lock);
    return rc;
}

static void note_in_index(struct file_journal *j, const struct record *r, off_t data)
{
    pthread_mutex_lock(&j->lock);
    for (size_t i = 0; i < le64toh(r->head.n_pages); i++) {
        const struct record_page *p = &r->pages[i];
        const struct journal_place place = {
            .offset = data, .len = le64toh(p->len), .checksum = le64toh(p->checksum)};

        find_entry_locked(j, r->head.tenant, key_of(p))->place = place;
        data += (off_t)place.len;
    }
    j->appended++;
    pthread_mutex_unlock(&j->lock);
}

bool file_journal_find(struct file_journal *j,
                       const char *tenant,
                       struct zcache_key key,
                       struct journal_place *place_out)
{
    const struct journal_entry *e;
    bool found;

    pthread_mutex_lock(&j->lock);
    e = find_entry_locked(j, tenant, key);
    found = e != NULL && e->place.offset != 0;
    if (found) {
        *place_out = e->place;
    }
    pthread_mutex_unlock(&j->lock);
    return found;
}

/* Only the thread that appends changes the index, so it may look without the lock. */
bool file_journal_has(const struct file_journal *j, const char *tenant, struct zcache_key first)
{
    for (size_t i = 0; i < BUCKETS; i++) {
        for (const struct journal_entry *e = j->buckets[i]; e != NULL; e = e->next) {
            if (e->object == first.object && e->page >= first.page &&
                strcmp(e->tenant, tenant) == 0) {
                return true;
            }
        }
    }
    return false;
}

static int compare_entries(const void *a, const void *b)
{
    const struct journal_entry *x = *(struct journal_entry *const *)a;
    const struct journal_entry *y = *(struct journal_entry *const *)b;
    const int names = strcmp(x->tenant, y->tenant);

    if (names != 0) {
        return names;
    }
    if (x->object != y->object) {
        return x->object < y->object ? -1 : 1;
    }
    return x->page < y->page ? -1 : x->page > y->page;
}

struct journal_entry **file_journal_list(const struct file_journal *j, size_t *n_out)
{
    struct journal_entry **list = calloc(j->n_entries + 1, sizeof *list);
    size_t n = 0;

    for (size_t i = 0; list != NULL && i < BUCKETS; i++) {
        for (struct journal_entry *e = j->buckets[i]; e != NULL; e = e->next) {
            if (e->place.offset != 0) {
                list[n++] = e;
            }
        }
    }
    if (list != NULL) {
        qsort(list, n, sizeof(struct journal_entry *), compare_entries);
    }
    *n_out = n;
    return list;
}

void file_journal_forget(struct file_journal *j)
{
    pthread_mutex_lock(&j->lock);
    for (size_t i = 0; i < BUCKETS; i++) {
        while (j->buckets[i] != NULL) {
            struct journal_entry *e = j->buckets[i];

            j->buckets[i] = e->next;
            free(e);
        }
    }
    j->n_entries = 0;
    pthread_mutex_unlock(&j->lock);
}

/* ---------------------------------------------------------------------------------------------
 * Records.
 */

static size_t record_bytes(uint64_t n_pages)
{
    return sizeof(struct record) + n_pages * sizeof(struct record_page);
}

static uint64_t record_checksum(const struct record *r, off_t offset)
{
    const size_t skip = sizeof r->head.checksum;

    return XXH3_64bits_withSeed((const char *)r + skip,
                                record_bytes(le64toh(r->head.n_pages)) - skip, (uint64_t)offset);
}

static int make_record(const struct file_journal *j,
                       const char *tenant,
                       const struct zcache_io_page *pages,
                       size_t n_pages,
                       bool deleted,
                       struct record **out)
{
    const size_t name_bytes = strlen(tenant) + 1;
    struct record *r;
    uint64_t n = 0;

    if (name_bytes > NAME_BYTES || strchr(tenant, '/') != NULL || n_pages > RECORD_PAGES) {
        return -EINVAL;
    }
    r = calloc(1, record_bytes(n_pages));
    if (r == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; i < n_pages; i++) {
        const struct zcache_io_page *p = &pages[i];

        if (p->status == 0) {
            r->pages[n++] = (struct record_page){
                .object = htole64(p->key.object),
                .page = htole64(p->key.page),
                .len = deleted ? 0 : htole64(p->len),
                .checksum = deleted ? 0 : htole64(file_pages_checksum(p->key, p->data, p->len)),
            };
        }
    }
    r->head.lap = htole64(j->lap);
    r->head.n_pages = htole64(n);
    memcpy(r->head.tenant, tenant, name_bytes);
    r->head.checksum = htole64(record_checksum(r, j->end));
    *out = r;
    return 0;
}

/* Write the record and the pages' bytes; the length of it all, or a negative errno. */
static off_t write_record(const struct file_journal *j,
                          const struct record *r,
                          const struct zcache_io_page *pages,
                          size_t n_pages,
                          bool deleted)
{
    struct iovec *iov = calloc(n_pages + 1, sizeof *iov);
    const size_t head_bytes = record_bytes(le64toh(r->head.n_pages));
    size_t n_iov = 0;
    off_t len = (off_t)head_bytes;
    int rc;

    if (iov == NULL) {
        return -ENOMEM;
    }
    iov[n_iov++] = file_io_bytes(r, head_bytes);
    for (size_t i = 0; i < n_pages && !deleted; i++) {
        if (pages[i].status == 0) {
            iov[n_iov++] = file_io_bytes(pages[i].data, pages[i].len);
            len += (off_t)pages[i].len;
        }
    }
    rc = file_io_write(j->fd, iov, n_iov, j->end);
    free(iov);
    return rc == 0 ? len : rc;
}

int file_journal_append(struct file_journal *j,
                        const char *tenant,
                        const struct zcache_io_page *pages,
                        size_t n_pages,
                        bool deleted)
{
    struct record *r;
    off_t len = 0;
    int rc = make_record(j, tenant, pages, n_pages, deleted, &r);

    if (rc != 0) {
        return rc;
    }
    rc = make_entries(j, r);
    if (rc == 0) {
        len = write_record(j, r, pages, n_pages, deleted);
        rc = len < 0 ? (int)len : 0;
    }
    if (rc == 0) {
        note_in_index(j, r, j->end + (off_t)record_bytes(le64toh(r->head.n_pages)));
        j->end += len;
    }
    free(r);
    return rc;
}

bool file_journal_is_full(const struct file_journal *j)
{
    return j->end >= FILE_JOURNAL_LAP_BYTES || j->n_entries >= LAP_PAGES;
}

bool file_journal_is_empty(const struct file_journal *j)
{
    return j->end == HEADER_BYTES;
}

static int read_exactly(const struct file_journal *j, void *buf, size_t len, off_t offset)
{
    struct iovec iov = {.iov_base = buf, .iov_len = len};
    size_t got;
    int rc = file_io_read(j->fd, &iov, 1, offset, &got);

    return rc == 0 && got < len ? -EBADMSG : rc;
}

int file_journal_read(const struct file_journal *j,
                      const struct journal_place *place,
                      struct zcache_key key,
                      void *buf)
{
    int rc = read_exactly(j, buf, place->len, place->offset);

    if (rc == 0 && file_pages_checksum(key, buf, place->len) != place->checksum) {
        rc = -EBADMSG;
    }
    return rc;
}

/* ---------------------------------------------------------------------------------------------
 * After a crash.
 */

/* Read what is before the pages' bytes.  -EBADMSG: no record of this lap begins there. */
static int read_record(const struct file_journal *j, struct record **out)
{
    struct record *r;
    struct record_head head;
    uint64_t n;
    int rc = read_exactly(j, &head, sizeof head, j->end);

    n = le64toh(head.n_pages);
    if (rc != 0 || le64toh(head.lap) != j->lap || n > RECORD_PAGES) {
        return rc != 0 ? rc : -EBADMSG;
    }
    r = malloc(record_bytes(n));
    if (r == NULL) {
        return -ENOMEM;
    }
    rc = read_exactly(j, r, record_bytes(n), j->end);
    if (rc == 0 &&
        (le64toh(r->head.n_pages) != n || le64toh(r->head.checksum) != record_checksum(r, j->end) ||
         memchr(r->head.tenant, '\0', NAME_BYTES) == NULL)) {
        rc = -EBADMSG;
    }
    if (rc != 0) {
        free(r);
        return rc;
    }
    *out = r;
    return 0;
}

/* Are the bytes of all its pages there?  Then how many. */
static int check_data(const struct file_journal *j,
                      const struct record *r,
                      off_t data,
                      void *page,
                      off_t *len_out)
{
    int rc = 0;

    *len_out = 0;
    for (size_t i = 0; rc == 0 && i < le64toh(r->head.n_pages); i++) {
        const struct record_page *p = &r->pages[i];
        const struct journal_place place = {
            .offset = data + *len_out, .len = le64toh(p->len), .checksum = le64toh(p->checksum)};

        if (place.len > j->page_bytes) {
            rc = -EBADMSG;
        } else if (place.len > 0) {
            rc = file_journal_read(j, &place, key_of(p), page);
        }
        *len_out += (off_t)place.len;
    }
    return rc;
}

/* -EBADMSG: the journal ends here. */
static int replay_record(struct file_journal *j, void *page)
{
    struct record *r;
    off_t data, len;
    int rc = read_record(j, &r);

    if (rc != 0) {
        return rc;
    }
    data = j->end + (off_t)record_bytes(le64toh(r->head.n_pages));
    rc = check_data(j, r, data, page, &len);
    if (rc == 0) {
        rc = make_entries(j, r);
    }
    if (rc == 0) {
        note_in_index(j, r, data);
        j->end = data + len;
    }
    free(r);
    return rc;
}

static int replay(struct file_journal *j)
{
    void *page = malloc(j->page_bytes);
    int rc = page == NULL ? -ENOMEM : 0;

    while (rc == 0) {
        rc = replay_record(j, page);
    }
    free(page);
    return rc == -EBADMSG ? 0 : rc;
}

/* ---------------------------------------------------------------------------------------------
 * Laps, and the life of it all.
 */

static uint64_t header_checksum(const struct journal_header *h)
{
    return XXH3_64bits(h, offsetof(struct journal_header, checksum));
}

/* Shorter than a sector of a disk, which is written as a whole or not at all. */
static int write_header(const struct file_journal *j, uint64_t lap)
{
    struct journal_header h = {
        .magic = JOURNAL_MAGIC, .lap = htole64(lap), .page_bytes = htole64(j->page_bytes)};
    struct iovec iov = file_io_bytes(&h, sizeof h);

    h.checksum = htole64(header_checksum(&h));
    return file_io_write(j->fd, &iov, 1, 0);
}

/* -ENOENT: it has none, since a crash came while the journal was made. */
static int read_header(struct file_journal *j)
{
    static const struct journal_header none;
    struct journal_header h = none;
    struct iovec iov = {.iov_base = &h, .iov_len = sizeof h};
    size_t got;
    int rc = file_io_read(j->fd, &iov, 1, 0, &got);

    if (rc != 0) {
        return rc;
    }
    if (memcmp(&h, &none, sizeof h) == 0) {
        return -ENOENT;
    }
    if (memcmp(h.magic, JOURNAL_MAGIC, sizeof h.magic) != 0 ||
        le64toh(h.checksum) != header_checksum(&h)) {
        return -EBADMSG;
    }
    j->lap = le64toh(h.lap);
    return le64toh(h.page_bytes) == j->page_bytes ? 0 : -EINVAL;
}

/* The new journal and its name are durable before anything relies on them. */
static int begin_first_lap(struct file_journal *j, int dir_fd)
{
    int rc = write_header(j, 1);

    if (rc == 0 && (fsync(j->fd) != 0 || fsync(dir_fd) != 0)) {
        rc = -errno;
    }
    j->lap = 1;
    return rc;
}

static int sync_locked(struct file_journal *j)
{
    const uint64_t appended = j->appended;
    int rc;

    pthread_mutex_unlock(&j->lock);
    rc = fdatasync(j->fd) == 0 ? 0 : -errno;
    pthread_mutex_lock(&j->lock);
    if (rc != 0 && j->sync_error == 0) {
        j->sync_error = rc;
    }
    if (rc == 0) {
        j->synced = appended;
    }
    return j->sync_error;
}

int file_journal_sync(struct file_journal *j)
{
    int rc;

    pthread_mutex_lock(&j->sync_lock);
    pthread_mutex_lock(&j->lock);
    rc = j->sync_error;
    if (rc == 0 && j->synced != j->appended) {
        rc = sync_locked(j);
    }
    pthread_mutex_unlock(&j->lock);
    pthread_mutex_unlock(&j->sync_lock);
    return rc;
}

int file_journal_next_lap(struct file_journal *j)
{
    int rc = write_header(j, j->lap + 1);

    pthread_mutex_lock(&j->sync_lock);
    pthread_mutex_lock(&j->lock);
    if (rc != 0 && j->sync_error == 0) {
        j->sync_error =
            rc; /* nobody knows which lap the disk has, so nothing is durable any more */
    }
    rc = sync_locked(j);
    pthread_mutex_unlock(&j->lock);
    pthread_mutex_unlock(&j->sync_lock);
    if (rc == 0) {
        j->lap++;
        j->end = HEADER_BYTES;
    }
    return rc;
}

int file_journal_open(int dir_fd, size_t page_bytes, struct file_journal **out)
{
    struct file_journal *j = calloc(1, sizeof *j);
    int rc;

    if (j == NULL) {
        return -ENOMEM;
    }
    j->page_bytes = page_bytes;
    j->end = HEADER_BYTES;
    j->fd = openat(dir_fd, JOURNAL_NAME, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (j->fd < 0) {
        rc = -errno;
        free(j);
        return rc;
    }
    pthread_mutex_init(&j->sync_lock, NULL);
    pthread_mutex_init(&j->lock, NULL);
    rc = read_header(j);
    if (rc == -ENOENT) {
        rc = begin_first_lap(j, dir_fd);
    } else if (rc == 0) {
        rc = replay(j);
    }
    if (rc != 0) {
        file_journal_close(j);
        return rc;
    }
    *out = j;
    return 0;
}

void file_journal_close(struct file_journal *j)
{
    file_journal_forget(j);
    (void)close(j->fd);
    pthread_mutex_destroy(&j->lock);
    pthread_mutex_destroy(&j->sync_lock);
    free(j);
}
