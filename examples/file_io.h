/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Part of file_store: whole transfers at an offset, where system calls may do less than they were
 * asked.  The results are 0 or a negative errno.
 */
#ifndef FILE_IO_H
#define FILE_IO_H

#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct iovec file_io_bytes(const void *data, size_t len);

/* Both change @iov. */
int file_io_write(int fd, struct iovec *iov, size_t n, off_t offset);
/* Fewer bytes than asked for mean that the file ends there. */
int file_io_read(int fd, struct iovec *iov, size_t n, off_t offset, size_t *got_out);

#endif /* FILE_IO_H */
