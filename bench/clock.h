/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline double clock_read(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Seconds that passed, and seconds of CPU that all threads of the process took. */
static inline double clock_seconds(void)
{
    return clock_read(CLOCK_MONOTONIC);
}

static inline double clock_cpu_seconds(void)
{
    return clock_read(CLOCK_PROCESS_CPUTIME_ID);
}

#endif /* BENCH_CLOCK_H */
