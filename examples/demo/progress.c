/* SPDX-License-Identifier: BSD-2-Clause */
#include "progress.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include <zcache/stats.h>

#define TICK_NS            50000000
#define TERMINAL_SECONDS   0.25
#define ELSEWHERE_SECONDS  5.0
#define ERASE_REST_OF_LINE "\033[K"

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

void progress_catch_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};

    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

bool progress_interrupted(void)
{
    return interrupted != 0;
}

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double hit_percent(const struct zcache_stats *s)
{
    uint64_t hits = s->count.get_hits_raw + s->count.get_hits_fast + s->count.get_hits_dense +
                    s->count.get_hits_same;
    uint64_t all = hits + s->count.get_loads + s->count.get_misses;

    return all != 0 ? 100.0 * (double)hits / (double)all : 0;
}

static void print_charges(const struct house *h)
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        struct zcache_stats s = {.struct_size = sizeof s};

        if (zcache_stats(h->member[i].tenant, &s) == 0) {
            (void)printf("  %s %.1f of %.1f MiB", h->member[i].name,
                         (double)s.gauge.charge_bytes / 0x1p20,
                         (double)s.gauge.limit_bytes / 0x1p20);
        }
    }
}

static void print_line(const char *what, const struct workload *w, double seconds, double rate)
{
    struct zcache_stats s = {.struct_size = sizeof s};

    (void)printf("%s %4.1f s  %7.0f op/s", what, seconds, rate);
    if (zcache_stats(w->house->everyone, &s) == 0 && s.latency[ZCACHE_LATENCY_GET_RAW].count != 0) {
        (void)printf("  hits %5.1f %%", hit_percent(&s));
    }
    print_charges(w->house);
}

double progress_watch(const char *what, struct workload *w, unsigned seconds)
{
    const bool terminal = isatty(STDOUT_FILENO) != 0;
    const double every = terminal ? TERMINAL_SECONDS : ELSEWHERE_SECONDS;
    const double start = now();
    double shown = start;
    uint64_t ops_shown = 0;

    while (workload_running(w) && !interrupted && (seconds == 0 || now() - start < seconds)) {
        const struct timespec tick = {.tv_nsec = TICK_NS};
        double t;

        (void)nanosleep(&tick, NULL);
        t = now();
        if (t - shown >= every) {
            struct workload_totals totals = workload_totals(w);
            uint64_t ops = totals.reads + totals.writes;

            (void)fputs(terminal ? "\r" : "", stdout);
            print_line(what, w, t - start, (double)(ops - ops_shown) / (t - shown));
            (void)fputs(terminal ? ERASE_REST_OF_LINE : "\n", stdout);
            (void)fflush(stdout);
            ops_shown = ops;
            shown = t;
        }
    }
    if (terminal) {
        (void)fputs("\r" ERASE_REST_OF_LINE, stdout);
    }
    return now() - start;
}
