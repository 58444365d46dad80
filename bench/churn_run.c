/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The child process and the pipe through which its samples come.
 *
 * The child is this program, executed anew: so nothing of the parent's memory is in its count, and the
 * dynamic linker can give it another malloc().  It learns what to do from a variable of the environment.
 */
#include "churn.h"
#include "fail.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define ORDER    "ZCACHE_BENCH_CHURN"
#define ARGS_MAX 64

/* Small enough for one write() to a pipe. */
struct message {
    struct churn_samples samples;
    char reason[PEER_REASON_BYTES];
    bool done;
};

bool churn_ordered(struct churn_order *out)
{
    const char *text = getenv(ORDER); /* NOLINT(concurrency-mt-unsafe): one thread */

    return text != NULL && sscanf(text, "%u,%zu,%d", &out->member, &out->page_bytes, &out->fd) ==
                               3; /* NOLINT(cert-err34-c): our own text */
}

void churn_obey(const struct churn_order *order,
                const struct churn_plan *plan,
                const struct peer_config *peer)
{
    struct message m = {0};

    m.done = churn_child(plan, peer, &m.samples, m.reason);
    m.samples.jemalloc = dlsym(RTLD_DEFAULT, "mallctl") != NULL;
    _exit(write(order->fd, &m, sizeof m) == (ssize_t)sizeof m ? 0 : 1);
}

/* The program's own arguments, one after the other. */
static void read_arguments(char *text, size_t size, char **argv)
{
    const int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
    unsigned argc = 0;

    if (n <= 0 || n == (ssize_t)size - 1) {
        fail("/proc/self/cmdline: %s", n < 0 ? error_text(-errno) : "too long");
    }
    text[n] = '\0';
    for (char *at = text; at < text + n && argc < ARGS_MAX; at += strlen(at) + 1) {
        argv[argc++] = at;
    }
    argv[argc] = NULL;
    (void)close(fd);
}

__attribute__((noreturn)) static void become_child(const struct churn_order *order, bool preload)
{
    static char text[1 << 16];
    static char *argv[ARGS_MAX + 1];
    char what[64];
    const int null = open("/dev/null", O_WRONLY);

    read_arguments(text, sizeof text, argv);
    (void)snprintf(what, sizeof what, "%u,%zu,%d", order->member, order->page_bytes, order->fd);
    /* NOLINTBEGIN(concurrency-mt-unsafe): one thread */
    if (null < 0 || dup2(null, STDOUT_FILENO) < 0 || setenv(ORDER, what, 1) != 0 ||
        (preload && access(BENCH_JEMALLOC, R_OK) == 0 &&
         setenv("LD_PRELOAD", BENCH_JEMALLOC, 1) != 0)) {
        fail("no child process: %s", error_text(-errno));
    }
    /* NOLINTEND(concurrency-mt-unsafe) */
    (void)execv("/proc/self/exe", argv);
    fail("/proc/self/exe: %s", error_text(-errno));
}

bool churn_run(const char *name,
               unsigned member,
               size_t page_bytes,
               bool preload,
               struct churn_samples *out,
               char *reason)
{
    struct message m;
    ssize_t n;
    int fds[2], status;
    pid_t pid;

    (void)fflush(NULL);
    if (pipe(fds) != 0 || (pid = fork()) < 0) {
        fail("no child process: %s", error_text(-errno));
    }
    if (pid == 0) {
        (void)close(fds[0]);
        become_child(&(struct churn_order){member, page_bytes, fds[1]}, preload);
    }
    (void)close(fds[1]);
    do {
        n = read(fds[0], &m, sizeof m);
    } while (n < 0 && errno == EINTR);
    (void)close(fds[0]);
    if (waitpid(pid, &status, 0) != pid || status != 0 || n != (ssize_t)sizeof m) {
        fail("%s: its process failed", name);
    }
    *out = m.samples;
    memcpy(reason, m.reason, sizeof m.reason);
    return m.done;
}
