/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nbdkit's memory plugin with allocator=zstd, which compresses pieces of 32 KiB under one lock.
 * The server is started with a listening socket in its hands, so there is nothing to wait for, and
 * ends with this program.  Each thread has a connection of its own.
 */
#include "fail.h"
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libnbd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PASSED_FD 3 /* the first one of systemd's protocol of passing sockets */

struct nbdkit {
    char dir[64];
    struct sockaddr_un address;
    pid_t pid;
    size_t page_bytes;
};

/* ---------------------------------------------------------------------------------------------
 * The server.
 */

static int listen_at(struct nbdkit *n)
{
    int fd;

    (void)snprintf(n->dir, sizeof n->dir, "/tmp/zcache-bench.XXXXXX");
    if (mkdtemp(n->dir) == NULL) {
        return -errno;
    }
    n->address.sun_family = AF_UNIX;
    (void)snprintf(n->address.sun_path, sizeof n->address.sun_path, "%s/socket", n->dir);
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&n->address, sizeof n->address) != 0 ||
        listen(fd, SOMAXCONN) != 0) {
        const int rc = -errno;

        if (fd >= 0) {
            (void)close(fd);
        }
        (void)rmdir(n->dir);
        return rc;
    }
    return fd;
}

__attribute__((noreturn)) static void run_server(int fd, uint64_t bytes)
{
    char pid[32], size[48];

    (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
    (void)snprintf(size, sizeof size, "size=%" PRIu64, bytes);
    if ((fd == PASSED_FD ? fcntl(fd, F_SETFD, 0) : dup2(fd, PASSED_FD)) >= 0 &&
        setenv("LISTEN_PID", pid, 1) == 0 && /* NOLINT(concurrency-mt-unsafe): a child's own */
        setenv("LISTEN_FDS", "1", 1) == 0) { /* NOLINT(concurrency-mt-unsafe) */
        (void)execlp("nbdkit", "nbdkit", "--foreground", "--exit-with-parent", "memory", size,
                     "allocator=zstd", (char *)NULL);
    }
    _exit(127);
}

static struct nbd_handle *connect_to(const struct nbdkit *n)
{
    struct nbd_handle *nbd = nbd_create();

    if (nbd != NULL && nbd_connect_unix(nbd, n->address.sun_path) == 0) {
        return nbd;
    }
    nbd_close(nbd);
    return NULL;
}

static void close_nbdkit(void *peer)
{
    struct nbdkit *n = peer;

    (void)kill(n->pid, SIGTERM);
    (void)waitpid(n->pid, NULL, 0);
    (void)unlink(n->address.sun_path);
    (void)rmdir(n->dir);
    free(n);
}

static void *open_nbdkit(const struct peer_config *config, char *reason)
{
    const uint64_t keys = config->keys != 0 ? config->keys : config->corpus->pages;
    struct nbdkit *n = must_alloc(sizeof *n);
    struct nbd_handle *nbd;
    int fd;

    *n = (struct nbdkit){.page_bytes = config->corpus->page_bytes};
    fd = listen_at(n);
    if (fd < 0) {
        (void)snprintf(reason, PEER_REASON_BYTES, "no socket: %s", error_text(fd));
        free(n);
        return NULL;
    }
    n->pid = fork();
    if (n->pid == 0) {
        run_server(fd, keys * n->page_bytes);
    }
    (void)close(fd); /* the server's now; without one, connecting fails */
    nbd = n->pid > 0 ? connect_to(n) : NULL;
    if (nbd == NULL) {
        (void)snprintf(reason, PEER_REASON_BYTES,
                       "nbdkit does not start: is the package nbdkit installed?");
        if (n->pid > 0) {
            close_nbdkit(n);
        } else {
            free(n);
        }
        return NULL;
    }
    (void)nbd_shutdown(nbd, 0);
    nbd_close(nbd);
    return n;
}

/* ---------------------------------------------------------------------------------------------
 * Pages.
 */

static void thread_begin(void *peer, struct scratch *scratch)
{
    scratch->state = connect_to(peer);
    if (scratch->state == NULL) {
        fail("nbdkit-zstd: cannot connect: %s", nbd_get_error());
    }
}

static void thread_end(void *peer, struct scratch *scratch)
{
    (void)peer;
    (void)nbd_shutdown(scratch->state, 0);
    nbd_close(scratch->state);
}

static int result_of(int rc)
{
    return rc == 0 ? 0 : nbd_get_errno() != 0 ? -nbd_get_errno() : -EIO;
}

static int put(void *peer, uint64_t key, const void *data, bool fresh, struct scratch *scratch)
{
    const struct nbdkit *n = peer;

    (void)fresh;
    return result_of(nbd_pwrite(scratch->state, data, n->page_bytes, key * n->page_bytes, 0));
}

static int get(void *peer, uint64_t key, void *buf, struct scratch *scratch)
{
    const struct nbdkit *n = peer;

    return result_of(nbd_pread(scratch->state, buf, n->page_bytes, key * n->page_bytes, 0));
}

const struct peer_ops peer_nbdkit_ops = {.open = open_nbdkit,
                                         .close = close_nbdkit,
                                         .put = put,
                                         .get = get,
                                         .thread_begin = thread_begin,
                                         .thread_end = thread_end};
