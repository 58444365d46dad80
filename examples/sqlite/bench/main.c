/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zcachevfs-bench: many connections on one database, without the cache and with it, in the same memory.
 *
 * Plain SQLite divides the memory among the caches of its connections. With zcachevfs each connection
 * keeps a little, and the cache has the rest. In both cases the file is read with O_DIRECT, through the
 * same system calls. Each side is a process of its own. They run in turns, a second each, the other one
 * being stopped, so that what else the machine does meanwhile meets both; the median of the turns counts.
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
};

static struct {
    char *path;
    char *cache;
    int mib, memory_mib, connections, own_kib, turns, warm_seconds, read_us;
    double skew;
} options = {
    .mib = 500,
    .memory_mib = 256,
    .connections = 16,
    .own_kib = 512,
    .turns = 15,
    .warm_seconds = 30,
    .skew = 0.9,
};

/* ---- one side ------------------------------------------------------------------------------------ */

struct measured {
    double queries_per_second;
    double reads_per_query; /* of the file */
    double cpu_us;          /* of a query */
};

struct side {
    const char *name;
    pid_t pid;
    clockid_t cpu;

    struct shared {
        struct load_counters counters;
        atomic_ullong n_reads;
    } * shared;
    struct measured turns[TURNS_MAX];
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

_Noreturn static void run_side(struct shared *shared, bool cached)
{
    const int kib = cached ? options.own_kib : options.memory_mib * 1024 / options.connections;
    const struct load load = {
        .path = options.path,
        .vfs = cached ? ZCACHEVFS_NAME : "unix",
        .n_connections = (unsigned)options.connections,
        .cache_kib = (unsigned)kib,
        .skew = options.skew,
    };

    must(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0, "it would outlive its parent");
    direct_io_install(options.path, (unsigned)options.read_us, &shared->n_reads);
    if (cached) {
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

static void start(struct side *side, bool cached)
{
    side->name = cached ? "zcachevfs" : "plain";
    side->shared = mmap(NULL, sizeof(*side->shared), PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(side->shared != MAP_FAILED, "memory");
    side->pid = fork();
    must(side->pid >= 0, "a process");
    if (side->pid == 0) {
        run_side(side->shared, cached);
    }
    must(clock_getcpuclockid(side->pid, &side->cpu) == 0, "the process's clock");
    while (atomic_load(&side->shared->counters.n_queries) == 0) {
        must(waitpid(side->pid, NULL, WNOHANG) == 0, side->name);
        pause_for(10);
    }
    pause_for(options.warm_seconds * 1000);
    must(kill(side->pid, SIGSTOP) == 0, side->name);
}

static void finish(struct side *side)
{
    int status;

    (void)kill(side->pid, SIGKILL);
    must(waitpid(side->pid, &status, 0) == side->pid && WIFSIGNALED(status), side->name);
}

/* ---- turns --------------------------------------------------------------------------------------- */

static double seconds_of(clockid_t clock)
{
    struct timespec now;

    must(clock_gettime(clock, &now) == 0, "a clock");
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Let the process run for a second; it is stopped before and afterwards. */
static struct measured run_turn(struct side *side)
{
    const double n = (double)atomic_load(&side->shared->counters.n_queries);
    const double reads = (double)atomic_load(&side->shared->n_reads);
    const double cpu = seconds_of(side->cpu);
    const double begun = seconds_of(CLOCK_MONOTONIC);

    must(kill(side->pid, SIGCONT) == 0, side->name);
    pause_for(1000);
    must(kill(side->pid, SIGSTOP) == 0, side->name);
    const double took = seconds_of(CLOCK_MONOTONIC) - begun;
    const double queries = (double)atomic_load(&side->shared->counters.n_queries) - n;
    must(queries > 0, "nothing was done in a turn");
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

static double median(const struct side *side, size_t member)
{
    double all[TURNS_MAX];

    for (int i = 0; i < options.turns; i++) {
        all[i] = *(const double *)(const void *)((const char *)&side->turns[i] + member);
    }
    qsort(all, (size_t)options.turns, sizeof(*all), by_number);
    return all[options.turns / 2];
}

static struct measured medians(const struct side *side)
{
    return (struct measured){
        median(side, offsetof(struct measured, queries_per_second)),
        median(side, offsetof(struct measured, reads_per_query)),
        median(side, offsetof(struct measured, cpu_us)),
    };
}

static struct measured show(const struct side *side)
{
    const struct measured m = medians(side);

    printf("%-10s %9.0f queries/s %7.2f reads of the file and %6.1f us of CPU per query\n",
           side->name, m.queries_per_second, m.reads_per_query, m.cpu_us);
    return m;
}

static int compare(void)
{
    static struct side plain;
    static struct side cached;

    start(&plain, false);
    start(&cached, true);
    for (int i = 0; i < options.turns; i++) {
        plain.turns[i] = run_turn(&plain);
        cached.turns[i] = run_turn(&cached);
    }
    finish(&plain);
    finish(&cached);

    printf("%d connections, %d MiB of memory, skew %.2f, reads of %d us, medians of %d turns\n",
           options.connections, options.memory_mib, options.skew, options.read_us, options.turns);
    const struct measured a = show(&plain);
    const struct measured b = show(&cached);
    const unsigned long long wrong = atomic_load(&plain.shared->counters.n_wrong) +
                                     atomic_load(&cached.shared->counters.n_wrong);
    printf("ratio %.2f, of CPU %.2f; %llu wrong rows\n",
           b.queries_per_second / a.queries_per_second, a.cpu_us / b.cpu_us, wrong);
    return wrong == 0 ? 0 : 1;
}

/* ---- the program --------------------------------------------------------------------------------- */

static void parse(int argc, const char **argv)
{
    const struct poptOption table[] = {
        {"db", 0, POPT_ARG_STRING, &options.path, 0, "database, made if missing", "FILE"},
        {"mib", 0, POPT_ARG_INT, &options.mib, 0, "its size when made, MiB", "N"},
        {"memory", 0, POPT_ARG_INT, &options.memory_mib, 0, "memory for caches in all, MiB", "N"},
        {"connections", 0, POPT_ARG_INT, &options.connections, 0, "connections", "N"},
        {"own", 0, POPT_ARG_INT, &options.own_kib, 0, "a connection's own beside zcache, KiB", "N"},
        {"turns", 0, POPT_ARG_INT, &options.turns, 0, "seconds that are measured, of each", "N"},
        {"warm", 0, POPT_ARG_INT, &options.warm_seconds, 0, "seconds before it, of each", "N"},
        {"read-us", 0, POPT_ARG_INT, &options.read_us, 0, "least time of a read, us", "N"},
        {"skew", 0, POPT_ARG_DOUBLE, &options.skew, 0, "exponent of Zipf's law; 0: uniform", "S"},
        {"cache", 0, POPT_ARG_STRING, &options.cache, 0, "options of the cache", "TEXT"},
        POPT_AUTOHELP POPT_TABLEEND};
    poptContext context = poptGetContext("zcachevfs-bench", argc, argv, table, 0);
    const int rc = poptGetNextOpt(context);

    must(rc == -1 && poptPeekArg(context) == NULL, "bad options; see --help");
    poptFreeContext(context);
    must(options.turns > 0 && options.turns <= TURNS_MAX, "1 to 999 turns");
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
    const int rc = compare();
    free(options.cache);
    return rc;
}
