/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Submitters fill the submission queue under the lock and push it to the kernel; the thread alone
 * empties the completion queue, and goes on with what the kernel did in part.  An operation without an
 * op is the thread's end.
 */
#define _GNU_SOURCE 1 /* NOLINT(bugprone-reserved-identifier) */
#include "uring_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#define DEPTH 256u /* operations under way */

struct ring {
    struct io_uring uring;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t room;
    unsigned under_way;
};

/* ---------------------------------------------------------------------------------------------
 * To the kernel.
 */

/* By the kernel's threads: the submitter would copy the bytes of a buffered write itself. */
static void prepare(struct io_uring_sqe *sqe, struct ring_op *op)
{
    const __u64 offset = (__u64)op->offset;

    switch (op->kind) {
    case RING_WRITE:
        io_uring_prep_writev(sqe, op->fd, op->iov, op->n_iov, offset);
        break;
    case RING_READ:
        io_uring_prep_readv(sqe, op->fd, op->iov, op->n_iov, offset);
        break;
    case RING_PUNCH:
        io_uring_prep_fallocate(sqe, op->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, op->offset,
                                (off_t)op->len);
        break;
    }
    io_uring_sqe_set_flags(sqe, IOSQE_ASYNC);
    io_uring_sqe_set_data(sqe, op);
}

/* The kernel refuses for a moment only: when it is short of memory, or of room for completions. */
static void push_locked(struct ring *r)
{
    while (io_uring_sq_ready(&r->uring) > 0) {
        const int rc = io_uring_submit(&r->uring);

        if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY) {
            abort(); /* the ring itself is broken: what was handed over can neither go on nor end */
        }
    }
}

static void start_locked(struct ring *r, struct ring_op *op)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&r->uring);

    if (sqe == NULL) { /* full of what has not been pushed yet */
        push_locked(r);
        sqe = io_uring_get_sqe(&r->uring);
    }
    prepare(sqe, op);
}

void ring_add(struct ring *r, struct ring_op *op)
{
    pthread_mutex_lock(&r->lock);
    while (r->under_way >= DEPTH && !pthread_equal(pthread_self(), r->thread)) {
        push_locked(r);
        pthread_cond_wait(&r->room, &r->lock);
    }
    r->under_way++;
    start_locked(r, op);
    pthread_mutex_unlock(&r->lock);
}

void ring_push(struct ring *r)
{
    pthread_mutex_lock(&r->lock);
    push_locked(r);
    pthread_mutex_unlock(&r->lock);
}

/* ---------------------------------------------------------------------------------------------
 * From the kernel.
 */

static void skip(struct ring_op *op, size_t bytes)
{
    op->offset += (off_t)bytes;
    while (op->n_iov > 0 && bytes >= op->iov->iov_len) {
        bytes -= op->iov->iov_len;
        op->iov++;
        op->n_iov--;
    }
    if (op->n_iov > 0) {
        op->iov->iov_base = (char *)op->iov->iov_base + bytes;
        op->iov->iov_len -= bytes;
    }
}

/* Whether there is more to do: the kernel may do less than it was asked, or be interrupted. */
static bool goes_on(struct ring_op *op, int result)
{
    if (result == -EINTR || result == -EAGAIN) {
        return true;
    }
    if (result < 0) {
        op->result = result;
        return false;
    }
    op->result += result;
    if (op->kind == RING_WRITE && result == 0 && (size_t)op->result < op->len) {
        op->result = -EIO;
        return false;
    }
    if ((op->kind != RING_WRITE && op->kind != RING_READ) || result == 0 ||
        (size_t)op->result == op->len) {
        return false;
    }
    skip(op, (size_t)result);
    return true;
}

static void handle(struct ring *r, struct ring_op *op, int result)
{
    const bool more = goes_on(op, result);

    if (!more) {
        op->done(op);
    }
    pthread_mutex_lock(&r->lock);
    if (more) {
        start_locked(r, op);
        push_locked(r);
    } else if (--r->under_way < DEPTH) {
        pthread_cond_signal(&r->room);
    }
    pthread_mutex_unlock(&r->lock);
}

static void *ring_thread(void *arg)
{
    struct ring *r = arg;

    for (;;) {
        struct io_uring_cqe *cqe;
        struct ring_op *op;
        int result;

        if (io_uring_wait_cqe(&r->uring, &cqe) != 0) {
            continue; /* a signal */
        }
        op = io_uring_cqe_get_data(cqe);
        result = cqe->res;
        io_uring_cqe_seen(&r->uring, cqe);
        if (op == NULL) {
            return NULL; /* ring_close() */
        }
        pthread_mutex_lock(&r->lock); /* the submitter has let go of the op now */
        pthread_mutex_unlock(&r->lock);
        handle(r, op, result);
    }
}

/* ---------------------------------------------------------------------------------------------
 * Life.
 */

int ring_open(struct ring **out)
{
    struct ring *r = calloc(1, sizeof *r);
    int rc;

    if (r == NULL) {
        return -ENOMEM;
    }
    rc = io_uring_queue_init(DEPTH, &r->uring, 0);
    if (rc != 0) {
        free(r);
        return rc;
    }
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->room, NULL);
    rc = -pthread_create(&r->thread, NULL, ring_thread, r);
    if (rc != 0) {
        pthread_cond_destroy(&r->room);
        pthread_mutex_destroy(&r->lock);
        io_uring_queue_exit(&r->uring);
        free(r);
        return rc;
    }
    *out = r;
    return 0;
}

void ring_close(struct ring *r)
{
    struct io_uring_sqe *sqe;

    pthread_mutex_lock(&r->lock);
    sqe = io_uring_get_sqe(&r->uring); /* there is room: nothing is under way */
    io_uring_prep_nop(sqe);
    io_uring_sqe_set_data(sqe, NULL);
    push_locked(r);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    io_uring_queue_exit(&r->uring);
    pthread_cond_destroy(&r->room);
    pthread_mutex_destroy(&r->lock);
    free(r);
}
