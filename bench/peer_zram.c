/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel's zram: a block device of its own is added, used through O_DIRECT, and removed at the
 * end, also if the program is interrupted.  Needs root and a kernel with zram.
 */
#include "fail.h"
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_BYTES 4096
#define CONTROL     "/sys/class/zram-control/"

struct zram {
    char number[12];
    int fd;
    size_t page_bytes;
};

/* The device to remove, for the handlers below; -1: none. */
static volatile sig_atomic_t open_fd = -1;
static int reset_fd = -1, remove_fd = -1;
static char remove_number[12];

/* ---------------------------------------------------------------------------------------------
 * Small files of the kernel.
 */

static int write_text(const char *path, const char *text)
{
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0) {
        return -errno;
    }
    n = write(fd, text, strlen(text));
    n = n < 0 ? -errno : 0;
    (void)close(fd);
    return (int)n;
}

static int read_text(const char *path, char *out, size_t cap)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0) {
        return -errno;
    }
    n = read(fd, out, cap - 1);
    n = n < 0 ? -errno : n;
    (void)close(fd);
    if (n < 0) {
        return (int)n;
    }
    out[n] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return 0;
}

static const char *attribute(const struct zram *z, const char *name, char path[64])
{
    (void)snprintf(path, 64, "/sys/block/zram%s/%s", z->number, name);
    return path;
}

/* ---------------------------------------------------------------------------------------------
 * The device.
 */

/* May be called by a signal handler: system calls only. */
static void remove_device(void)
{
    if (open_fd >= 0) {
        (void)close(open_fd);
        open_fd = -1;
        if (write(reset_fd, "1", 1) == 1) {
            (void)!write(remove_fd, remove_number, strlen(remove_number));
        }
        (void)close(reset_fd);
        (void)close(remove_fd);
    }
}

static void on_signal(int number)
{
    remove_device();
    (void)raise(number); /* the default action, since SA_RESETHAND */
}

static void remove_at_end(void)
{
    static bool done;
    const struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

    if (!done) {
        done = true;
        (void)atexit(remove_device);
        (void)sigaction(SIGINT, &action, NULL);
        (void)sigaction(SIGTERM, &action, NULL);
        (void)sigaction(SIGHUP, &action, NULL);
    }
}

static int set_up(struct zram *z, enum bare_codec codec, uint64_t bytes, char *reason)
{
    const char *name = codec == BARE_ZSTD ? "zstd" : "lz4";
    char path[64], text[32];
    int rc;

    rc = write_text(attribute(z, "comp_algorithm", path), name);
    if (rc != 0) {
        (void)snprintf(reason, PEER_REASON_BYTES, "this kernel's zram has no %s", name);
        return rc;
    }
    (void)snprintf(text, sizeof text, "%" PRIu64, bytes);
    rc = write_text(attribute(z, "disksize", path), text);
    if (rc == 0) {
        (void)snprintf(path, sizeof path, "/dev/zram%s", z->number);
        z->fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
        rc = z->fd >= 0 ? 0 : -errno;
    }
    if (rc != 0) {
        (void)snprintf(reason, PEER_REASON_BYTES, "%s: %s", path, error_text(rc));
    }
    return rc;
}

static void *open_zram(const struct peer_config *config, char *reason)
{
    const uint64_t keys = config->keys != 0 ? config->keys : config->corpus->pages;
    struct zram *z = must_alloc(sizeof *z);
    char path[64];
    int rc;

    *z = (struct zram){.fd = -1, .page_bytes = config->corpus->page_bytes};
    if (z->page_bytes % BLOCK_BYTES != 0) {
        (void)snprintf(reason, PEER_REASON_BYTES, "its blocks are of %d bytes", BLOCK_BYTES);
        free(z);
        return NULL;
    }
    rc = open_fd >= 0 ? -EBUSY : read_text(CONTROL "hot_add", z->number, sizeof z->number);
    if (rc != 0) {
        (void)snprintf(reason, PEER_REASON_BYTES, "%shot_add: %s%s", CONTROL, error_text(rc),
                       rc == -ENOENT    ? " (modprobe zram)"
                       : geteuid() != 0 ? " (only root may)"
                                        : "");
        free(z);
        return NULL;
    }
    rc = set_up(z, config->codec, keys * z->page_bytes, reason);
    if (rc != 0) {
        (void)write_text(CONTROL "hot_remove", z->number);
        free(z);
        return NULL;
    }
    reset_fd = open(attribute(z, "reset", path), O_WRONLY | O_CLOEXEC);
    remove_fd = open(CONTROL "hot_remove", O_WRONLY | O_CLOEXEC);
    (void)snprintf(remove_number, sizeof remove_number, "%s", z->number);
    open_fd = z->fd;
    remove_at_end();
    return z;
}

static void close_zram(void *peer)
{
    remove_device();
    free(peer);
}

static int whole(const struct zram *z, ssize_t n)
{
    return n == (ssize_t)z->page_bytes ? 0 : n < 0 ? -errno : -EIO;
}

static int put(void *peer, uint64_t key, const void *data, bool fresh, struct scratch *scratch)
{
    const struct zram *z = peer;

    (void)fresh;
    (void)scratch;
    return whole(z, pwrite(z->fd, data, z->page_bytes, (off_t)(key * z->page_bytes)));
}

static int get(void *peer, uint64_t key, void *buf, struct scratch *scratch)
{
    const struct zram *z = peer;

    (void)scratch;
    return whole(z, pread(z->fd, buf, z->page_bytes, (off_t)(key * z->page_bytes)));
}

/* Pages in use, of 4096 bytes, times that; the kernel's bookkeeping of them included. */
static uint64_t usage(void *peer)
{
    const struct zram *z = peer;
    char path[64], text[256], *at = text;
    uint64_t value = 0;

    if (read_text(attribute(z, "mm_stat", path), text, sizeof text) != 0) {
        return 0;
    }
    for (unsigned i = 0; i < 3; i++) { /* orig_data_size compr_data_size mem_used_total */
        value = strtoull(at, &at, 10);
    }
    return value;
}

const struct peer_ops peer_zram_ops = {.open = open_zram,
                                       .close = close_zram,
                                       .put = put,
                                       .get = get,
                                       .usage = usage,
                                       .detail = true};
