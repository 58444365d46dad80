/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A backing store over io_uring: see uring_store.h for how to use it.
 *
 *     callback --> request: its pages as runs of neighbours, one operation each --> ring (uring_ring.c)
 *     the last operation to end, on the ring's thread --> zcache_done()
 *
 * Bytes.  Buffered writes are made from the cache's memory, which stays as it is until completion.
 * O_DIRECT wants aligned memory: a run is copied into a buffer of its own on the way.
 *
 * Order.  zcache has one write of a page under way at a time, and calls the barrier for writes that
 * are complete.
 */
#define _GNU_SOURCE 1 /* NOLINT(bugprone-reserved-identifier) */
#include "uring_store.h"
#include "uring_files.h"
#include "uring_ring.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <zcache/zcache.h>

#define PAGE_BYTES_MAX (1u << 20)
#define ALIGNMENT      4096u
#define ROOT_NAME      "@root" /* no tenant can have that name */

struct uring_store {
    struct zcache_store callbacks;
    struct zcache *cache; /* set once, before it calls */
    size_t page_bytes;
    bool direct;
    struct files *files;
    struct ring *ring;
};

/* One operation, on neighbouring pages. */
struct run {
    struct ring_op op;
    struct request *request;
    struct file *file;
    struct zcache_io_page *pages;
    size_t n_pages;
    void *copy; /* aligned; NULL where the pages' own memory is used */
    struct iovec copy_iov;
};

/* What one callback was asked for. */
struct request {
    struct uring_store *store;
    struct zcache_io_page *pages;
    uint64_t token;
    _Atomic size_t left; /* runs under way, and one while they are submitted */
    size_t n_runs;
    struct run *runs;
    struct iovec *iov; /* one for each page */
};

/* ---------------------------------------------------------------------------------------------
 * Requests.
 */

static struct request *make_request(struct uring_store *s, const struct zcache_io *io)
{
    const size_t page_cost = sizeof(struct run) + sizeof(struct iovec);
    struct request *r = calloc(1, sizeof *r + io->n_pages * page_cost);

    if (r != NULL) {
        r->store = s;
        r->pages = io->pages;
        r->token = io->token;
        r->left = 1;
        r->runs = (struct run *)(void *)(r + 1);
        r->iov = (struct iovec *)(void *)(r->runs + io->n_pages);
    }
    return r;
}

static void free_request(struct request *r)
{
    for (size_t i = 0; i < r->n_runs; i++) {
        free(r->runs[i].copy);
    }
    free(r);
}

/* The last one out tells zcache. */
static void let_go(struct request *r)
{
    if (atomic_fetch_sub(&r->left, 1) == 1) {
        struct zcache *cache = r->store->cache;
        const uint64_t token = r->token;
        int rc;

        free_request(r);
        rc = zcache_done(cache, token, 0);
        (void)rc; /* it is ours, and comes once */
    }
}

/* Start what was collected, if anything. */
static int submit(struct request *r)
{
    const size_t n = r->n_runs;

    atomic_fetch_add(&r->left, n);
    for (size_t i = 0; i < n; i++) {
        ring_add(r->store->ring, &r->runs[i].op);
    }
    ring_push(r->store->ring);
    let_go(r);
    return ZCACHE_PENDING;
}

/* ---------------------------------------------------------------------------------------------
 * Runs of pages.
 */

static bool has_place(const struct uring_store *s, struct zcache_key key)
{
    return key.page < INT64_MAX / s->page_bytes - 1;
}

static void fail_run(struct run *run, int rc)
{
    for (size_t i = 0; i < run->n_pages; i++) {
        run->pages[i].status = rc;
    }
}

static void written(struct ring_op *op)
{
    struct run *run = (struct run *)(void *)op;

    if (op->result < 0) {
        fail_run(run, (int)op->result);
    }
    files_touch(run->request->store->files, run->file);
    let_go(run->request);
}

/* A page that the file's end cuts off is not there. */
static void was_read(struct ring_op *op)
{
    struct run *run = (struct run *)(void *)op;
    const size_t page_bytes = run->request->store->page_bytes;
    const size_t got = op->result < 0 ? 0 : (size_t)op->result;

    for (size_t i = 0; i < run->n_pages; i++) {
        struct zcache_io_page *page = &run->pages[i];

        if (op->result < 0) {
            page->status = (int)op->result;
        } else if (got < (i + 1) * page_bytes) {
            page->status = ZCACHE_MISS;
        } else {
            page->len = page_bytes;
            if (run->copy != NULL) {
                memcpy(page->buf, (char *)run->copy + i * page_bytes, page_bytes);
            }
        }
    }
    let_go(run->request);
}

static size_t count_neighbours(const struct zcache_io_page *pages, size_t n)
{
    size_t i = 1;

    while (i < n && pages[i].key.object == pages[0].key.object &&
           pages[i].key.page == pages[0].key.page + i && pages[i].status == 0) {
        i++;
    }
    return i;
}

static struct iovec page_memory(const struct zcache_io_page *page, size_t page_bytes)
{
    union {
        const void *in;
        void *out;
    } base = {.in = page->data != NULL ? page->data : page->buf};

    return (struct iovec){.iov_base = base.out, .iov_len = page_bytes};
}

/* Where a run's bytes are: in the pages' memory, or in an aligned copy. */
static int give_memory(struct uring_store *s, struct run *run)
{
    struct iovec *iov = run->op.iov;

    if (!s->direct) {
        for (size_t i = 0; i < run->n_pages; i++) {
            iov[i] = page_memory(&run->pages[i], s->page_bytes);
        }
        run->op.n_iov = (unsigned)run->n_pages;
        return 0;
    }
    run->copy = aligned_alloc(ALIGNMENT, run->op.len);
    if (run->copy == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0; run->op.kind == RING_WRITE && i < run->n_pages; i++) {
        memcpy((char *)run->copy + i * s->page_bytes, run->pages[i].data, s->page_bytes);
    }
    run->copy_iov = (struct iovec){.iov_base = run->copy, .iov_len = run->op.len};
    run->op.iov = &run->copy_iov;
    run->op.n_iov = 1;
    return 0;
}

/* Collect a run; its pages get the error if there is one, and then nothing is collected. */
static void add_run(struct request *r,
                    enum ring_kind kind,
                    const char *tenant,
                    struct zcache_io_page *pages,
                    size_t n)
{
    struct uring_store *s = r->store;
    struct run *run = &r->runs[r->n_runs];
    int rc;

    *run = (struct run){.request = r, .pages = pages, .n_pages = n};
    rc = files_get(s->files, tenant, pages[0].key.object, kind == RING_WRITE, &run->file);
    if (rc == 0) {
        run->op = (struct ring_op){
            .kind = kind,
            .fd = run->file->fd,
            .offset = (off_t)(pages[0].key.page * s->page_bytes),
            .iov = &r->iov[pages - r->pages],
            .len = n * s->page_bytes,
            .done = kind == RING_READ ? was_read : written,
        };
        rc = kind == RING_PUNCH ? 0 : give_memory(s, run);
    }
    if (rc != 0) {
        fail_run(run, rc != -ENOENT ? rc : kind == RING_READ ? ZCACHE_MISS : 0);
        return;
    }
    r->n_runs++;
}

static const char *tenant_of(const struct zcache_io *io)
{
    return io->tenant_id == 0 ? ROOT_NAME : io->tenant_name;
}

static int start_runs(struct uring_store *s, struct zcache_io *io, enum ring_kind kind)
{
    struct request *r = make_request(s, io);

    if (r == NULL) {
        return -ENOMEM;
    }
    for (size_t i = 0, n; i < io->n_pages; i += n) {
        n = 1;
        if (io->pages[i].status == 0) {
            n = count_neighbours(&io->pages[i], io->n_pages - i);
            add_run(r, kind, tenant_of(io), &io->pages[i], n);
        }
    }
    return submit(r);
}

/* ---------------------------------------------------------------------------------------------
 * The callbacks.
 */

static int write_callback(void *ctx, struct zcache_io *io)
{
    struct uring_store *s = ctx;

    for (size_t i = 0; i < io->n_pages; i++) {
        if (io->pages[i].len != s->page_bytes) {
            io->pages[i].status = -EINVAL;
        } else if (!has_place(s, io->pages[i].key)) {
            io->pages[i].status = -EFBIG;
        }
    }
    return start_runs(s, io, RING_WRITE);
}

static int read_callback(void *ctx, struct zcache_io *io)
{
    struct uring_store *s = ctx;

    for (size_t i = 0; i < io->n_pages; i++) {
        if (io->pages[i].cap < s->page_bytes) {
            io->pages[i].status = -EINVAL;
        } else if (!has_place(s, io->pages[i].key)) {
            io->pages[i].status = ZCACHE_MISS;
        }
    }
    return start_runs(s, io, RING_READ);
}

/* A range is cut off at once; the file's new end is under the next barrier. */
static int cut(struct uring_store *s, const char *tenant, struct zcache_key first)
{
    struct file *file;
    const off_t end = (off_t)(first.page * s->page_bytes);
    off_t now;
    int rc;

    if (!has_place(s, first)) {
        return 0;
    }
    rc = files_get(s->files, tenant, first.object, false, &file);
    if (rc != 0) {
        return rc == -ENOENT ? 0 : rc;
    }
    now = lseek(file->fd, 0, SEEK_END);
    rc = now < 0 || (now > end && ftruncate(file->fd, end) != 0) ? -errno : 0;
    files_touch(s->files, file);
    return rc;
}

static int discard_callback(void *ctx, struct zcache_io *io)
{
    struct uring_store *s = ctx;

    if (io->range) {
        return cut(s, tenant_of(io), io->pages[0].key);
    }
    return has_place(s, io->pages[0].key) ? start_runs(s, io, RING_PUNCH) : 0;
}

/*
 * Syncs what was written for any tenant: more than is asked, and simple.  It waits here, since who
 * flushes waits for it anyway.
 */
static int barrier_callback(void *ctx, struct zcache_io *io)
{
    struct uring_store *s = ctx;

    (void)io;
    return files_sync(s->files);
}

/* ---------------------------------------------------------------------------------------------
 * What the application calls.
 */

int uring_store_open(const char *dir, size_t page_bytes, unsigned flags, struct uring_store **out)
{
    const bool direct = (flags & URING_STORE_DIRECT) != 0;
    struct uring_store *s;
    int rc;

    if (page_bytes == 0 || page_bytes > PAGE_BYTES_MAX ||
        (flags & ~(unsigned)URING_STORE_DIRECT) != 0 || (direct && page_bytes % ALIGNMENT != 0)) {
        return -EINVAL;
    }
    s = calloc(1, sizeof *s);
    if (s == NULL) {
        return -ENOMEM;
    }
    s->page_bytes = page_bytes;
    s->direct = direct;
    rc = files_open(dir, direct, &s->files);
    if (rc == 0) {
        rc = ring_open(&s->ring);
        if (rc != 0) {
            (void)files_close(s->files);
        }
    }
    if (rc != 0) {
        free(s);
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

const struct zcache_store *uring_store_callbacks(const struct uring_store *files)
{
    return &files->callbacks;
}

void uring_store_attach(struct uring_store *files, struct zcache *cache)
{
    files->cache = cache;
}

int uring_store_close(struct uring_store *files)
{
    int rc;

    if (files == NULL) {
        return 0;
    }
    ring_close(files->ring);
    rc = files_close(files->files);
    free(files);
    return rc;
}
