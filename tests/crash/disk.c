/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE 1 /* NOLINT(bugprone-reserved-identifier) */
#include "disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    UNDO_MAX = 65536
};

#define OLD_BYTES ((size_t)256 << 20)

/* NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): the linker's */
ssize_t __real_pwritev(int fd, const struct iovec *iov, int n, off_t offset);
int __real_fdatasync(int fd);
int __real_ftruncate(int fd, off_t len);
int __real_fallocate(int fd, int mode, off_t offset, off_t len);
ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int n, off_t offset);
int __wrap_fdatasync(int fd);
int __wrap_fsync(int fd);
int __wrap_syncfs(int fd);
int __wrap_ftruncate(int fd, off_t len);
int __wrap_fallocate(int fd, int mode, off_t offset, off_t len);

/* NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming) */

/* A change that the disk may not have yet. */
struct undo {
    ino_t file;
    off_t offset;
    size_t len;
    size_t old; /* where in the old bytes */
    bool whole; /* all of it is undone or nothing */
    bool on_disk;
};

/* Shared by the processes. Members are written by one thread at a time, under the lock. */
struct disk {
    unsigned kill_at;
    enum disk_moment moment;
    bool lying;
    struct rng rng;
    atomic_uint calls;
    atomic_uint n_undo; /* the records before it are complete */
    size_t old_used;
    struct undo undo[UNDO_MAX];
    unsigned char old[OLD_BYTES];
};

static struct disk *the_disk;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* ---- what can be undone --------------------------------------------------------------------------- */

static ino_t inode_of(int fd)
{
    struct stat st;

    REQUIRE_EQUAL(fstat(fd, &st), 0);
    return st.st_ino;
}

/* Before a change: keep what is there. */
static void remember(int fd, off_t offset, size_t len, bool whole)
{
    struct disk *d = the_disk;
    const unsigned n = atomic_load(&d->n_undo);
    unsigned char *old = d->old + d->old_used;

    REQUIRE(n < UNDO_MAX && len <= OLD_BYTES - d->old_used);
    const ssize_t got = pread(fd, old, len, offset);
    REQUIRE(got >= 0);
    memset(old + got, 0, len - (size_t)got);
    d->undo[n] = (struct undo){
        .file = inode_of(fd), .offset = offset, .len = len, .old = d->old_used, .whole = whole};
    d->old_used += len;
    atomic_store(&d->n_undo, n + 1);
}

/* All changes of @file, or of any if it is 0, are on the disk, or each with a chance of one in two. */
static void settle(ino_t file, bool half)
{
    struct disk *d = the_disk;
    const unsigned n = atomic_load(&d->n_undo);
    bool open = false;

    for (unsigned i = 0; i < n; i++) {
        if ((file == 0 || d->undo[i].file == file) && !(half && rng_below(&d->rng, 2) == 0)) {
            d->undo[i].on_disk = true;
        }
        open |= !d->undo[i].on_disk;
    }
    if (!open) {
        atomic_store(&d->n_undo, 0);
        d->old_used = 0;
    }
}

static off_t end_of_sector(off_t offset)
{
    return (offset / (off_t)DISK_SECTOR + 1) * (off_t)DISK_SECTOR;
}

static void put_back(int fd, const struct undo *u, off_t from, off_t to)
{
    const unsigned char *old = the_disk->old + u->old + (size_t)(from - u->offset);

    REQUIRE_EQUAL(pwrite(fd, old, (size_t)(to - from), from), to - from);
}

static void undo_some(int fd, const struct undo *u, struct rng *rng)
{
    const off_t end = u->offset + (off_t)u->len;
    const uint64_t fate = rng_below(rng, 3);

    if (fate == 0) {
        return;
    }
    if (fate == 1 || u->whole) {
        put_back(fd, u, u->offset, end);
        return;
    }
    for (off_t at = u->offset, next; at < end; at = next) {
        next = end_of_sector(at) < end ? end_of_sector(at) : end;
        if (rng_below(rng, 2) == 0) {
            put_back(fd, u, at, next);
        }
    }
}

static int open_inode(const char *dir, ino_t file)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int fd = -1;

    REQUIRE(d != NULL);
    while (fd < 0 && (e = readdir(d)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        if (e->d_ino == file) {
            fd = openat(dirfd(d), e->d_name, O_RDWR | O_CLOEXEC);
        }
    }
    REQUIRE_EQUAL(closedir(d), 0);
    REQUIRE(fd >= 0);
    return fd;
}

/* Newest first: so each sector gets any of the contents it had since the sync. */
void disk_cut_power(struct disk *disk, const char *dir, struct rng *rng)
{
    for (unsigned i = atomic_load(&disk->n_undo); i-- > 0;) {
        const struct undo *u = &disk->undo[i];
        if (!u->on_disk) {
            const int fd = open_inode(dir, u->file);
            undo_some(fd, u, rng);
            REQUIRE_EQUAL(close(fd), 0);
        }
    }
    disk_settle(disk);
}

/* ---- the calls ------------------------------------------------------------------------------------ */

_Noreturn static void die(void)
{
    (void)kill(getpid(), SIGKILL);
    for (;;) {
        (void)pause();
    }
}

static bool its_time(enum disk_moment moment, unsigned call)
{
    return call == the_disk->kill_at && the_disk->moment == moment;
}

static unsigned begin_call(void)
{
    pthread_mutex_lock(&lock);
    const unsigned call = atomic_fetch_add(&the_disk->calls, 1) + 1;
    if (its_time(DISK_BEFORE, call)) {
        die();
    }
    return call;
}

static void end_call(unsigned call)
{
    if (its_time(DISK_AFTER, call)) {
        die();
    }
    pthread_mutex_unlock(&lock);
}

static size_t length_of(const struct iovec *iov, int n)
{
    size_t len = 0;

    for (int i = 0; i < n; i++) {
        len += iov[i].iov_len;
    }
    return len;
}

/* Some sectors from the front, and the end. */
_Noreturn static void write_some_and_die(int fd, const struct iovec *iov, int n, off_t offset)
{
    const size_t len = length_of(iov, n);
    const off_t end = offset + (off_t)len;
    unsigned char *bytes = malloc(len + 1);
    size_t at = 0;

    REQUIRE(bytes != NULL);
    for (int i = 0; i < n; i++) {
        memcpy(bytes + at, iov[i].iov_base, iov[i].iov_len);
        at += iov[i].iov_len;
    }
    off_t stop = offset;
    for (uint64_t left = rng_below(&the_disk->rng, len / DISK_SECTOR + 1); left > 0; left--) {
        stop = end_of_sector(stop);
    }
    stop = stop < end ? stop : end;
    (void)!pwrite(fd, bytes, (size_t)(stop - offset), offset);
    die();
}

ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
    const unsigned call = begin_call();

    remember(fd, offset, length_of(iov, n), false);
    if (its_time(DISK_AMID, call)) {
        write_some_and_die(fd, iov, n, offset);
    }
    const ssize_t done = __real_pwritev(fd, iov, n, offset);
    end_call(call);
    return done;
}

static int sync_file(ino_t file)
{
    const unsigned call = begin_call();

    if (its_time(DISK_AMID, call)) {
        settle(file, true);
        die();
    }
    if (!the_disk->lying) {
        settle(file, false);
    }
    end_call(call);
    return 0;
}

int __wrap_fdatasync(int fd)
{
    return sync_file(inode_of(fd));
}

int __wrap_fsync(int fd)
{
    return sync_file(inode_of(fd));
}

int __wrap_syncfs(int fd)
{
    (void)fd;
    return sync_file(0);
}

int __wrap_ftruncate(int fd, off_t len)
{
    struct stat st;
    const unsigned call = begin_call();

    REQUIRE_EQUAL(fstat(fd, &st), 0);
    if (st.st_size > len) {
        remember(fd, len, (size_t)(st.st_size - len), true);
    }
    const int rc = __real_ftruncate(fd, len);
    end_call(call);
    return rc;
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t len)
{
    const unsigned call = begin_call();

    remember(fd, offset, (size_t)len, true);
    const int rc = __real_fallocate(fd, mode, offset, len);
    end_call(call);
    return rc;
}

/* ---- life ----------------------------------------------------------------------------------------- */

struct disk *disk_new(void)
{
    struct disk *d = mmap(NULL, sizeof(*d), PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    REQUIRE(d != MAP_FAILED && the_disk == NULL);
    the_disk = d;
    return d;
}

void disk_free(struct disk *disk)
{
    the_disk = NULL;
    REQUIRE_EQUAL(munmap(disk, sizeof(*disk)), 0);
}

void disk_arm(struct disk *disk, unsigned kill_at, enum disk_moment moment, uint64_t seed)
{
    disk->kill_at = kill_at;
    disk->moment = moment;
    disk->rng.state = seed;
    atomic_store(&disk->calls, 0);
}

void disk_settle(struct disk *disk)
{
    disk->old_used = 0;
    atomic_store(&disk->n_undo, 0);
}

void disk_set_lying(struct disk *disk, bool lying)
{
    disk->lying = lying;
}

unsigned disk_calls(const struct disk *disk)
{
    return atomic_load(&disk->calls);
}
