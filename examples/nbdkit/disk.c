/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A request is cut at the blocks' borders:
 *
 *     |  block  |  block  |  block  |  block  |
 *          [====|=========|=========|===]
 *          part    whole     whole   part
 *
 * A whole block is put as it is.  Of a part the block is read, changed and put, and no other write of
 * that block may come between; so every write takes the block's lock, one of a few hundred.  A read
 * takes none.
 *
 * In memory only, a page is dirty for ever and no store could take it: zcache never drops it, and
 * refuses what finds no room.  ZCACHE_KEEP_OLD: then the block's old content stays.
 */
#include "disk.h"
#include "backing.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define STRIPES   256u /* more than the server has threads */
#define READ_MANY 64u  /* blocks that are read at one time */
#define FLUSH_MS  3600000u

struct disk {
    uint64_t size_bytes;
    size_t block_bytes;
    struct zcache_tenant *tenant;
    struct backing *backing; /* NULL: memory only */
    pthread_mutex_t stripes[STRIPES];
};

/* A request's piece in one block. */
struct piece {
    uint64_t block;
    size_t from; /* in the block */
    size_t len;
};

static struct piece first_piece(const struct disk *d, uint64_t offset, uint64_t len)
{
    struct piece p = {.block = offset / d->block_bytes, .from = (size_t)(offset % d->block_bytes)};

    p.len = d->block_bytes - p.from;
    if (p.len > len) {
        p.len = (size_t)len;
    }
    return p;
}

static bool is_whole(const struct disk *d, const struct piece *p)
{
    return p->len == d->block_bytes;
}

static struct zcache_key key_of(uint64_t block)
{
    return (struct zcache_key){.object = 0, .page = block};
}

static pthread_mutex_t *stripe_of(struct disk *d, uint64_t block)
{
    return &d->stripes[block % STRIPES];
}

/* ---- reads ----------------------------------------------------------------------------------- */

/* One block; zero if there is none. */
static int read_block(struct disk *d, uint64_t block, char *buf)
{
    size_t len;
    int rc = zcache_get(d->tenant, key_of(block), buf, d->block_bytes, &len, 0);

    if (rc == ZCACHE_MISS) {
        memset(buf, 0, d->block_bytes);
        return 0;
    }
    return rc;
}

/* Whole blocks, in one call, so that those of a file that are missing are read together. */
static int read_blocks(struct disk *d, uint64_t block, size_t n, char *buf)
{
    struct zcache_page pages[READ_MANY];
    int rc;

    for (size_t i = 0; i < n; i++) {
        pages[i] = (struct zcache_page){
            .key = key_of(block + i), .buf = buf + i * d->block_bytes, .cap = d->block_bytes};
    }
    rc = zcache_get_many(d->tenant, pages, n, 0);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        if (pages[i].status == ZCACHE_MISS) {
            memset(pages[i].buf, 0, d->block_bytes);
        }
    }
    return rc;
}

static int read_part(struct disk *d, const struct piece *p, char *buf)
{
    char *block = malloc(d->block_bytes);
    int rc;

    if (block == NULL) {
        return -ENOMEM;
    }
    rc = read_block(d, p->block, block);
    if (rc == 0) {
        memcpy(buf, block + p->from, p->len);
    }
    free(block);
    return rc;
}

int disk_read(struct disk *d, void *buf, size_t len, uint64_t offset)
{
    char *to = buf;
    int rc = 0;

    while (rc == 0 && len > 0) {
        const struct piece p = first_piece(d, offset, len);
        size_t done = p.len;

        if (!is_whole(d, &p)) {
            rc = read_part(d, &p, to);
        } else {
            size_t n = len / d->block_bytes;

            n = n < READ_MANY ? n : READ_MANY;
            rc = n > 1 ? read_blocks(d, p.block, n, to) : read_block(d, p.block, to);
            done = n * d->block_bytes;
        }
        to += done;
        offset += done;
        len -= done;
    }
    return rc;
}

/* ---- writes ---------------------------------------------------------------------------------- */

static int put_block_locked(struct disk *d, uint64_t block, const void *data)
{
    int rc =
        zcache_put(d->tenant, key_of(block), data, d->block_bytes, ZCACHE_DIRTY | ZCACHE_KEEP_OLD);

    return rc == -EDQUOT ? -ENOSPC : rc;
}

/* @data: p->len bytes, or NULL for zeros. */
static int put_part_locked(struct disk *d, const struct piece *p, const char *data)
{
    char *block = malloc(d->block_bytes);
    int rc;

    if (block == NULL) {
        return -ENOMEM;
    }
    rc = read_block(d, p->block, block);
    if (rc == 0 && data != NULL) {
        memcpy(block + p->from, data, p->len);
    } else if (rc == 0) {
        memset(block + p->from, 0, p->len);
    }
    rc = rc == 0 ? put_block_locked(d, p->block, block) : rc;
    free(block);
    return rc;
}

int disk_write(struct disk *d, const void *data, size_t len, uint64_t offset)
{
    const char *from = data;
    int rc = 0;

    while (rc == 0 && len > 0) {
        const struct piece p = first_piece(d, offset, len);

        pthread_mutex_lock(stripe_of(d, p.block));
        rc = is_whole(d, &p) ? put_block_locked(d, p.block, from) : put_part_locked(d, &p, from);
        pthread_mutex_unlock(stripe_of(d, p.block));
        from += p.len;
        offset += p.len;
        len -= p.len;
    }
    return rc;
}

/* A block that is absent is zero; with a file the store's discard makes a hole there. */
static int zero_block_locked(struct disk *d, const struct piece *p, bool keep)
{
    int rc;

    if (keep || !is_whole(d, p)) {
        return put_part_locked(d, p, NULL);
    }
    rc = zcache_delete(d->tenant, key_of(p->block), 0);
    return rc == ZCACHE_MISS ? 0 : rc;
}

int disk_zero(struct disk *d, uint64_t len, uint64_t offset, bool keep)
{
    int rc = 0;

    while (rc == 0 && len > 0) {
        const struct piece p = first_piece(d, offset, len);

        pthread_mutex_lock(stripe_of(d, p.block));
        rc = zero_block_locked(d, &p, keep && d->backing != NULL);
        pthread_mutex_unlock(stripe_of(d, p.block));
        offset += p.len;
        len -= p.len;
    }
    return rc;
}

/* ---- the rest -------------------------------------------------------------------------------- */

bool disk_has_file(const struct disk *d)
{
    return d->backing != NULL;
}

int disk_flush(struct disk *d)
{
    return d->backing != NULL ? zcache_flush(d->tenant, FLUSH_MS) : 0;
}

static bool is_cached(struct disk *d, uint64_t block)
{
    return zcache_get(d->tenant, key_of(block), NULL, 0, NULL, ZCACHE_PEEK | ZCACHE_NO_LOAD) == 0;
}

bool disk_extent(struct disk *d, uint64_t offset, uint64_t end, uint64_t *end_out)
{
    uint64_t block = offset / d->block_bytes;
    const bool cached = is_cached(d, block);
    bool hole = !cached;
    uint64_t to;

    do {
        to = ++block * d->block_bytes;
    } while (to < end && is_cached(d, block) == cached);
    to = to < end ? to : end;
    if (!cached && d->backing != NULL) {
        hole = backing_extent(d->backing, offset, to, &to);
    }
    *end_out = to;
    return hole;
}

/* What a tenant may be called, and no hidden file nor one elsewhere. */
static bool is_name(const char *name)
{
    return name[0] != '\0' && name[0] != '.' && strlen(name) <= ZCACHE_TENANT_NAME_MAX &&
           name[strspn(
               name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")] == '\0';
}

static int open_file(struct disk *d, const struct disk_options *o, const char *name)
{
    struct stat st;
    char path[4096];
    int len = snprintf(path, sizeof path, "%s", o->path);

    if (stat(o->path, &st) == 0 && S_ISDIR(st.st_mode)) {
        len = snprintf(path, sizeof path, "%s/%s", o->path, name);
    }
    if (len < 0 || (size_t)len >= sizeof path) {
        return -ENAMETOOLONG;
    }
    return backing_open(path, o->size_bytes, o->block_bytes, &d->backing);
}

static int open_tenant(struct disk *d,
                       struct zcache_tenant *parent,
                       const struct disk_options *o,
                       const char *name)
{
    struct zcache_tenant_options t = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_store store = ZCACHE_STORE_INIT;

    if (d->backing != NULL) {
        store = backing_store(d->backing);
        t.store = &store;
    }
    t.name = name;
    t.limits.limit_bytes = o->limit_bytes;
    return zcache_tenant_open(parent, &t, &d->tenant);
}

int disk_open(struct zcache_tenant *parent,
              const struct disk_options *options,
              const char *name,
              struct disk **out)
{
    struct disk *d;
    int rc = 0;

    if (!is_name(name)) {
        return -EINVAL;
    }
    d = calloc(1, sizeof *d);
    if (d == NULL) {
        return -ENOMEM;
    }
    d->size_bytes = options->size_bytes;
    d->block_bytes = options->block_bytes;
    for (size_t i = 0; i < STRIPES; i++) {
        pthread_mutex_init(&d->stripes[i], NULL);
    }
    if (options->path != NULL) {
        rc = open_file(d, options, name);
    }
    if (rc == 0) {
        rc = open_tenant(d, parent, options, name);
    }
    if (rc != 0) {
        (void)disk_close(d);
        return rc;
    }
    *out = d;
    return 0;
}

int disk_close(struct disk *d)
{
    int rc = 0;

    if (d->backing != NULL) {
        rc = disk_flush(d);
    }
    if (zcache_tenant_close(d->tenant, ZCACHE_CLOSE_DISCARD) != 0) {
        return -EBUSY; /* it is in use: leave it alone */
    }
    backing_close(d->backing);
    for (size_t i = 0; i < STRIPES; i++) {
        pthread_mutex_destroy(&d->stripes[i]);
    }
    free(d);
    return rc;
}
