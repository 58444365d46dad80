/* SPDX-License-Identifier: BSD-2-Clause */
/* The child process and the pipe through which its samples come. */
#include "churn.h"
#include "fail.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Small enough for one write() to a pipe. */
struct message {
    struct churn_samples samples;
    char reason[PEER_REASON_BYTES];
    bool done;
};

__attribute__((noreturn)) static void run_child(int fd,
                                                const struct churn_plan *plan,
                                                const struct peer_config *peer)
{
    struct message m = {0};

    m.done = churn_child(plan, peer, &m.samples, m.reason);
    _exit(write(fd, &m, sizeof m) == (ssize_t)sizeof m ? 0 : 1);
}

bool churn_run(const struct churn_plan *plan,
               const struct peer_config *peer,
               struct churn_samples *out,
               char *reason)
{
    const char *name = peer != NULL ? peer_names[peer->id] : "zcache";
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
        run_child(fds[1], plan, peer);
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
