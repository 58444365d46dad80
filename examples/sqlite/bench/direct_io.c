/* SPDX-License-Identifier: BSD-2-Clause */
#include "direct_io.h"

#include "fail.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    BLOCK = 4096,
    ROOM = 128 * 1024,
    FILES = 1024,
};

static const char *direct_path;
static atomic_bool is_direct[FILES]; /* by descriptor */
static atomic_ullong *n_reads;
static atomic_uint *least_read_us;

static char *aligned_room(void)
{
    static _Thread_local char *room;

    if (room == NULL) {
        room = aligned_alloc(BLOCK, ROOM);
        must(room != NULL, "memory");
    }
    return room;
}

static bool goes_direct(int fd)
{
    return fd >= 0 && fd < FILES && atomic_load(&is_direct[fd]);
}

static int open_file(const char *path, int flags, int mode)
{
    const bool direct = strcmp(path, direct_path) == 0;
    const int fd = open(path, direct ? flags | O_DIRECT : flags, mode);

    if (fd >= 0 && fd < FILES) {
        atomic_store(&is_direct[fd], direct);
    }
    return fd;
}

/* The device's part of a read, and what is missing to a slower one's. */
static ssize_t read_blocks(int fd, void *buf, size_t len, off_t offset)
{
    const unsigned least_us = atomic_load_explicit(least_read_us, memory_order_relaxed);
    struct timespec end;

    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_nsec += (long)least_us * 1000;
    end.tv_sec += end.tv_nsec / 1000000000;
    end.tv_nsec %= 1000000000;
    const ssize_t got = pread(fd, buf, len, offset);
    if (least_us > 0) {
        (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL);
    }
    return got;
}

static ssize_t read_file(int fd, void *buf, size_t len, off_t offset)
{
    if (!goes_direct(fd)) {
        return pread(fd, buf, len, offset);
    }

    const off_t first = offset / BLOCK * BLOCK;
    const size_t skip = (size_t)(offset - first);
    const size_t whole = (skip + len + BLOCK - 1) / BLOCK * BLOCK;
    must(whole <= ROOM, "room for a read");
    atomic_fetch_add(n_reads, 1);
    const ssize_t got = read_blocks(fd, aligned_room(), whole, first);
    if (got < 0 || (size_t)got <= skip) {
        return got < 0 ? got : 0;
    }
    const size_t have = (size_t)got - skip < len ? (size_t)got - skip : len;
    memcpy(buf, aligned_room() + skip, have);
    return (ssize_t)have;
}

static ssize_t write_file(int fd, const void *buf, size_t len, off_t offset)
{
    if (!goes_direct(fd)) {
        return pwrite(fd, buf, len, offset);
    }
    must(len % BLOCK == 0 && offset % BLOCK == 0 && len <= ROOM, "whole pages in a write");
    memcpy(aligned_room(), buf, len);
    return pwrite(fd, aligned_room(), len, offset);
}

void direct_io_install(const char *path, atomic_uint *read_us, atomic_ullong *reads)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find("unix");

    direct_path = path;
    n_reads = reads;
    least_read_us = read_us;
    must(vfs != NULL && vfs->iVersion >= 3, "SQLite's VFS \"unix\"");
    must(vfs->xSetSystemCall(vfs, "open", (sqlite3_syscall_ptr)open_file) == SQLITE_OK, "open");
    must(vfs->xSetSystemCall(vfs, "pread64", (sqlite3_syscall_ptr)read_file) == SQLITE_OK, "pread");
    must(vfs->xSetSystemCall(vfs, "pwrite64", (sqlite3_syscall_ptr)write_file) == SQLITE_OK,
         "pwrite");
}
