/* SPDX-License-Identifier: BSD-2-Clause */
#include "resident.h"
#include "fail.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define EVERY_NS 5000000

static atomic_uint_fast64_t peak;

/* statm: size resident shared text lib data dt, in pages. */
uint64_t resident_bytes(void)
{
    const int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    char text[128];
    const ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    uint64_t resident, shared;
    char *at;

    if (n <= 0) {
        fail("/proc/self/statm: %s", error_text(-errno));
    }
    (void)close(fd);
    text[n] = '\0';
    (void)strtoull(text, &at, 10);
    resident = strtoull(at, &at, 10);
    shared = strtoull(at, &at, 10);
    return (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void look(void)
{
    const uint64_t now = resident_bytes();

    if (now > atomic_load(&peak)) {
        atomic_store(&peak, now);
    }
}

static void *watch_thread(void *arg)
{
    const struct timespec t = {.tv_nsec = EVERY_NS};

    (void)arg;
    for (;;) {
        look();
        (void)nanosleep(&t, NULL);
    }
    return NULL;
}

void resident_watch(void)
{
    pthread_t thread;

    look();
    if (pthread_create(&thread, NULL, watch_thread, NULL) != 0) {
        fail("cannot start a thread");
    }
    (void)pthread_detach(thread);
}

uint64_t resident_peak_bytes(void)
{
    return atomic_load(&peak);
}
