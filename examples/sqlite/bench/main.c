/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zcachevfs-bench: many connections on one database, without the cache and with it, in the same memory.
 *
 *     plain       SQLite divides the memory among the caches of its connections
 *     shared      SQLite's shared-cache mode: the connections have one cache, with all of the memory
 *     zcachevfs   each connection keeps a little, and the cache has the rest
 *
 * All read the file with O_DIRECT, through the same system calls; how long a read takes at least can be
 * said, and several such times be measured in one run. Each side is a process of its own. They run in
 * turns, the others being stopped, so that what else the machine does meanwhile meets all; the medians of
 * the turns count.
 */
#include "direct_io.h"
#include "fail.h"
#include "load.h"
#include "orders.h"
#include "zcachevfs.h"

#include <popt.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    TURNS_MAX = 999,
    TIMES_MAX = 8,
};

static struct {
    char *path;
    char *cache;
    char *read_us;
    int mib, memory_mib, connections, own_kib, turns, turn_ms, warm_seconds;
    double skew;

    unsigned times_us[TIMES_MAX]; /* what read_us says */
    int n_times;
} options = {
    .mib = 500,
    .memory_mib = 256,
    .connections = 16,
    .own_kib = 512,
    .turns = 15,
    .turn_ms = 1000,
    .warm_seconds = 30,
    .skew = 0.9,
    .n_times = 1,
};

/* ---- one side ------------------------------------------------------------------------------------ */

struct measured {
    double queries_per_second;
    double reads_per_query; /* of the file */
    double cpu_us;          /* of a query */
};

enum kind {
    PLAIN,
    SHARED,
    CACHED,
    KINDS,
};

static const char *const names[KINDS] = {"plain", "shared", "zcachevfs"};

struct side {
    enum kind kind;
    pid_t pid;
    clockid_t cpu;

    struct shared {
        struct load_counters counters;
        atomic_ullong n_reads;
        atomic_uint read_us; /* how long a read takes at least */
    } * shared;
    struct measured turns[TIMES_MAX][TURNS_MAX];
};

static void open_cache(void)
{
    struct zcache_options cache = ZCACHE_OPTIONS_INIT;
    const int own = options.connections * options.own_kib / 1024;
    char why[200];

    must(own < options.memory_mib, "there is no memory left for the cache");
    cache.capacity_bytes = (uint64_t)(options.memory_mib - own) << 20;
    cache.full_policy = ZCACHE_FULL_REJECT;
    must(options.cache == NULL ||
             zcache_options_parse(&cache, options.cache, why, sizeof(why)) == 0,
         "the options of the cache");
    must(zcachevfs_register(&cache, "unix", false) == SQLITE_OK, "the cache cannot be opened");
}

static unsigned cache_kib(enum kind kind)
{
    const int all = options.memory_mib * 1024;

    return (unsigned)(kind == CACHED   ? options.own_kib
                      : kind == SHARED ? all
                                       : all / options.connections);
}

_Noreturn static void run_side(struct shared *shared, enum kind kind)
{
    const struct load load = {
        .path = options.path,
        .vfs = kind == CACHED ? ZCACHEVFS_NAME : "unix",
        .n_connections = (unsigned)options.connections,
        .cache_kib = cache_kib(kind),
        .shared_cache = kind == SHARED,
        .skew = options.skew,
    };

    must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0, "it would outlive its parent");
    /* A sleep ends when it should, and not some 50 us later. */
    must(prctl(PR_SET_TIMERSLACK, 1) == 0, "timer slack");
    direct_io_install(options.path, &shared->read_us, &shared->n_reads);
    if (kind == CACHED) {
        open_cache();
    }
    load_run(&load, &shared->counters);
}

static void pause_for(int milliseconds)
{
    const struct timespec time = {.tv_sec = milliseconds / 1000,
                                  .tv_nsec = (long)(milliseconds % 1000) * 1000000};

    (void)nanosleep(&time, NULL);
}

static void start(struct side *side, enum kind kind)
{
    side->kind = kind;
    side->shared = mmap(NULL, sizeof(*side->shared), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(side->shared != MAP_FAILED, "memory");
    side->pid = fork();
    must(side->pid >= 0, "a process");
    if (side->pid == 0) {
        run_side(side->shared, kind);
    }
    must(clock_getcpuclockid(side->pid, &side->cpu) == 0, "the process's clock");
    while (atomic_load(&side->shared->counters.n_queries) == 0) {
        must(waitpid(side->pid, NULL, WNOHANG) == 0, names[side->kind]);
        pause_for(10);
    }
    pause_for(options.warm_seconds * 1000);
    must(kill(side->pid, SIGSTOP) == 0, names[side->kind]);
}

static void finish(struct side *side)
{
    int status;

    (void)kill(side->pid, SIGKILL);
    must(waitpid(side->pid, &status, 0) == side->pid && WIFSIGNALED(status), names[side->kind]);
}

/* ---- turns --------------------------------------------------------------------------------------- */

static double seconds_of(clockid_t clock)
{
    struct timespec now;

    must(clock_gettime(clock, &now) == 0, "a clock");
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/*
 * Let the process run for a moment, until it has done something; it is stopped before and afterwards.
 */
static struct measured run_turn(struct side *side, unsigned read_us)
{
    const double n = (double)atomic_load(&side->shared->counters.n_queries);
    const double reads = (double)atomic_load(&side->shared->n_reads);
    const double cpu = seconds_of(side->cpu);
    const double begun = seconds_of(CLOCK_MONOTONIC);

    atomic_store(&side->shared->read_us, read_us);
    must(kill(side->pid, SIGCONT) == 0, names[side->kind]);
    do {
        pause_for(options.turn_ms);
        must(waitpid(side->pid, NULL, WNOHANG) == 0, names[side->kind]);
    } while (n == (double)atomic_load(&side->shared->counters.n_queries));
    must(kill(side->pid, SIGSTOP) == 0, names[side->kind]);
    const double took = seconds_of(CLOCK_MONOTONIC) - begun;
    const double queries = (double)atomic_load(&side->shared->counters.n_queries) - n;
    return (struct measured){
        .queries_per_second = queries / took,
        .reads_per_query = ((double)atomic_load(&side->shared->n_reads) - reads) / queries,
        .cpu_us = (seconds_of(side->cpu) - cpu) * 1e6 / queries,
    };
}

static int by_number(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(const struct measured *turns, size_t member)
{
    double all[TURNS_MAX];

    for (int i = 0; i < options.turns; i++) {
        all[i] = *(const double *)(const void *)((const char *)&turns[i] + member);
    }
    qsort(all, (size_t)options.turns, sizeof(*all), by_number);
    return all[options.turns / 2];
}

static struct measured medians(const struct measured *turns)
{
    return (struct measured){
        median(turns, offsetof(struct measured, queries_per_second)),
        median(turns, offsetof(struct measured, reads_per_query)),
        median(turns, offsetof(struct measured, cpu_us)),
    };
}

static void show(const struct side *sides, int time)
{
    const struct measured reference = medians(sides[PLAIN].turns[time]);

    for (int k = 0; k < KINDS; k++) {
        const struct measured m = medians(sides[k].turns[time]);

        printf("%8u %-10s %11.0f %8.2f %14.2f %13.1f %9.2f\n", options.times_us[time], names[k],
               m.queries_per_second, m.queries_per_second / reference.queries_per_second,
               m.reads_per_query, m.cpu_us, reference.cpu_us / m.cpu_us);
    }
}

static void measure(struct side *sides)
{
    for (int i = 0; i < options.turns; i++) {
        for (int t = 0; t < options.n_times; t++) {
            for (int k = 0; k < KINDS; k++) {
                struct side *side = &sides[(i + k) % KINDS];

                side->turns[t][i] = run_turn(side, options.times_us[t]);
            }
        }
    }
}

static int compare(void)
{
    static struct side sides[KINDS];
    unsigned long long wrong = 0;

    for (int k = 0; k < KINDS; k++) {
        start(&sides[k], k);
    }
    measure(sides);
    for (int k = 0; k < KINDS; k++) {
        finish(&sides[k]);
        wrong += atomic_load(&sides[k].shared->counters.n_wrong);
    }
    printf("%d connections, %d MiB of memory, skew %.2f, medians of %d turns of %d ms\n",
           options.connections, options.memory_mib, options.skew, options.turns, options.turn_ms);
    printf("%8s %-10s %11s %8s %14s %13s %9s\n", "read us", "side", "queries/s", "x plain",
           "reads/query", "CPU us/query", "x CPU");
    for (int t = 0; t < options.n_times; t++) {
        show(sides, t);
    }
    printf("%llu wrong rows\n", wrong);
    return wrong == 0 ? 0 : 1;
}

/* ---- the program --------------------------------------------------------------------------------- */

static void parse_times(const char *text)
{
    char *end;

    options.n_times = 0;
    do {
        must(options.n_times < TIMES_MAX, "too many times of a read");
        options.times_us[options.n_times++] = (unsigned)strtoul(text, &end, 10);
        must(end != text && (*end == ',' || *end == '\0'), "not a time of a read");
        text = end + 1;
    } while (*end == ',');
}

static void parse(int argc, const char **argv)
{
    const struct poptOption table[] = {
        {"db", 0, POPT_ARG_STRING, &options.path, 0, "database, made if missing", "FILE"},
        {"mib", 0, POPT_ARG_INT, &options.mib, 0, "its size when made, MiB", "N"},
        {"memory", 0, POPT_ARG_INT, &options.memory_mib, 0, "memory for caches in all, MiB", "N"},
        {"connections", 0, POPT_ARG_INT, &options.connections, 0, "connections", "N"},
        {"own", 0, POPT_ARG_INT, &options.own_kib, 0, "a connection's own beside zcache, KiB", "N"},
        {"turns", 0, POPT_ARG_INT, &options.turns, 0, "turns that are measured, of each", "N"},
        {"turn-ms", 0, POPT_ARG_INT, &options.turn_ms, 0, "milliseconds of one turn", "N"},
        {"warm", 0, POPT_ARG_INT, &options.warm_seconds, 0, "seconds before it, of each", "N"},
        {"read-us", 0, POPT_ARG_STRING, &options.read_us, 0, "least time of a read, us", "N[,N]"},
        {"skew", 0, POPT_ARG_DOUBLE, &options.skew, 0, "exponent of Zipf's law; 0: uniform", "S"},
        {"cache", 0, POPT_ARG_STRING, &options.cache, 0, "options of the cache", "TEXT"},
        POPT_AUTOHELP POPT_TABLEEND};
    poptContext context = poptGetContext("zcachevfs-bench", argc, argv, table, 0);
    const int rc = poptGetNextOpt(context);

    must(rc == -1 && poptPeekArg(context) == NULL, "bad options; see --help");
    poptFreeContext(context);
    must(options.turns > 0 && options.turns <= TURNS_MAX, "1 to 999 turns");
    must(options.turn_ms > 0, "a turn takes a millisecond at least");
    must(options.path != NULL, "--db says where the database is");
}

int main(int argc, const char **argv)
{
    char resolved[4096];

    parse(argc, argv);
    orders_make(options.path, (unsigned)options.mib);
    must(realpath(options.path, resolved) != NULL, options.path);
    free(options.path); /* popt gave it, and the other one */
    options.path = resolved;
    if (options.read_us != NULL) {
        parse_times(options.read_us);
    }
    const int rc = compare();
    free(options.cache);
    free(options.read_us);
    return rc;
}
