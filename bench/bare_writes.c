/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE 1 /* NOLINT(bugprone-reserved-identifier) */
#include "bare_writes.h"
#include "fail.h"
#include "slow_store.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILE_HEADER_BYTES 4096
#define SLOT_HEADER_BYTES 16

/* ---------------------------------------------------------------------------------------------
 * The file.
 */

void bare_file_open(struct bare_file *f,
                    const struct corpus *corpus,
                    const char *path,
                    struct bare_way way)
{
    const int flags = O_RDWR | O_CREAT | O_CLOEXEC | (way.direct ? O_DIRECT : 0);

    *f = (struct bare_file){.corpus = corpus, .way = way, .fd = open(path, flags, 0600)};
    if (f->fd < 0) {
        fail("%s: %s", path, error_text(-errno));
    }
    if (way.direct && posix_memalign(&f->aligned, 4096, GROUP_PAGES * corpus->page_bytes) != 0) {
        fail("no memory");
    }
}

void bare_file_close(struct bare_file *f)
{
    free(f->aligned);
    (void)close(f->fd);
}

static struct iovec piece(const void *data, size_t len)
{
    union {
        const void *in;
        void *out;
    } base = {.in = data};

    return (struct iovec){.iov_base = base.out, .iov_len = len};
}

static void add_page(const struct bare_file *f, size_t page, struct iovec *iov, int *n)
{
    static const unsigned char header[SLOT_HEADER_BYTES];

    if (f->way.slots) {
        iov[(*n)++] = piece(header, sizeof header);
    }
    iov[(*n)++] = piece(corpus_page(f->corpus, page), f->corpus->page_bytes);
}

static void align(const struct bare_file *f, struct iovec *iov, int *n)
{
    char *to = f->aligned;

    for (int i = 0; i < *n; i++) {
        memcpy(to, iov[i].iov_base, iov[i].iov_len);
        to += iov[i].iov_len;
    }
    iov[0] = (struct iovec){.iov_base = f->aligned, .iov_len = (size_t)(to - (char *)f->aligned)};
    *n = 1;
}

static int write_group(const struct bare_file *f, size_t first)
{
    const size_t page_bytes = f->corpus->page_bytes;
    const size_t slot = page_bytes + (f->way.slots ? SLOT_HEADER_BYTES : 0);
    const size_t head = f->way.slots ? FILE_HEADER_BYTES : 0;
    struct iovec iov[2 * GROUP_PAGES];
    size_t end = first;
    int n = 0;
    ssize_t rc;

    for (; end < first + GROUP_PAGES && end < f->corpus->pages; end++) {
        add_page(f, end, iov, &n);
    }
    if (f->aligned != NULL) {
        align(f, iov, &n);
    }
    rc = pwritev(f->fd, iov, n, (off_t)(head + first * slot));
    if (rc < 0) {
        return -errno;
    }
    return (size_t)rc == (end - first) * slot ? 0 : -EIO;
}

int bare_file_pass(void *ctx)
{
    const struct bare_file *f = ctx;
    int rc = 0;

    for (size_t i = 0; i < f->corpus->pages && rc == 0; i += GROUP_PAGES) {
        rc = write_group(f, i);
    }
    if (rc == 0 && f->way.sync && fdatasync(f->fd) != 0) {
        rc = -errno;
    }
    return rc;
}

/* ---------------------------------------------------------------------------------------------
 * The pipeline.
 */

struct bare_pipeline {
    const struct corpus *corpus;
    struct slow_store *store;
    unsigned inflight_pages;

    pthread_mutex_t lock;
    pthread_cond_t room;
    unsigned in_flight; /* groups */
};

static void group_done(void *ctx, uint64_t token)
{
    struct bare_pipeline *p = ctx;

    (void)token;
    pthread_mutex_lock(&p->lock);
    p->in_flight--;
    pthread_mutex_unlock(&p->lock);
    (void)pthread_cond_signal(&p->room);
}

struct bare_pipeline *bare_pipeline_open(const struct corpus *corpus,
                                         uint64_t delay_ns,
                                         unsigned inflight_pages)
{
    struct bare_pipeline *p = must_alloc(sizeof *p);

    *p = (struct bare_pipeline){.corpus = corpus, .inflight_pages = inflight_pages};
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->room, NULL);
    p->store = slow_store_open(delay_ns, inflight_pages, group_done, p);
    return p;
}

void bare_pipeline_close(struct bare_pipeline *p)
{
    slow_store_close(p->store);
    (void)pthread_cond_destroy(&p->room);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
}

static void wait_below(struct bare_pipeline *p, unsigned groups, bool take)
{
    pthread_mutex_lock(&p->lock);
    while (p->in_flight >= groups) {
        (void)pthread_cond_wait(&p->room, &p->lock);
    }
    p->in_flight += take;
    pthread_mutex_unlock(&p->lock);
}

int bare_pipeline_pass(void *ctx)
{
    struct bare_pipeline *p = ctx;

    for (size_t i = 0; i < p->corpus->pages; i += GROUP_PAGES) {
        wait_below(p, p->inflight_pages / GROUP_PAGES, true);
        slow_store_submit(p->store, i);
    }
    wait_below(p, 1, false);
    return 0;
}
