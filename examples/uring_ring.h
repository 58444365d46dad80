/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Part of uring_store: operations on files that the kernel does meanwhile, and a thread that hears
 * of it.
 */
#ifndef URING_RING_H
#define URING_RING_H

#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct ring;

enum ring_kind {
    RING_WRITE,
    RING_READ,
    RING_PUNCH /* the range becomes a hole */
};

/*
 * struct ring_op - one operation.
 * @iov:    write, read: where the bytes are; changed on the way.
 * @len:    bytes of the range.
 * @result: bytes transferred, fewer only at the end of a file; or a negative errno.
 * @done:   called on the ring's thread; may release the op.
 */
struct ring_op {
    enum ring_kind kind;
    int fd;
    off_t offset;
    struct iovec *iov;
    unsigned n_iov;
    size_t len;
    ssize_t result;
    void (*done)(struct ring_op *op);
};

int ring_open(struct ring **out);
/* Nothing may be under way. */
void ring_close(struct ring *ring);

/*
 * Add an operation, by any thread; waits while too many are under way, but not on the ring's own
 * thread.  It starts with the next push at the latest, and ends in done().
 */
void ring_add(struct ring *ring, struct ring_op *op);
void ring_push(struct ring *ring);

#endif /* URING_RING_H */
