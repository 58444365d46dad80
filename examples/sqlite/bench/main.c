/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zcachevfs-bench: many connections on one database, without the cache and with it, in the same memory.
 *
 * Plain SQLite divides the memory among the caches of its connections. With zcachevfs each connection
 * keeps a little, and the cache has the rest. In both cases the file is read and written with O_DIRECT,
 * through the same system calls. Each measurement is a process of its own, in turns; the medians count.
 */
#include "direct_io.h"
#include "fail.h"
#include "load.h"
#include "orders.h"
#include "zcachevfs.h"

#include <popt.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    ROUNDS_MAX = 99
};

static struct {
    char *path;
    int mib, memory_mib, connections, own_kib, rounds, seconds, warm_seconds, write_percent;
    double skew;
    char *cache;
} options = {
    .mib = 500,
    .memory_mib = 128,
    .connections = 16,
    .own_kib = 256,
    .rounds = 3,
    .seconds = 10,
    .warm_seconds = 20,
    .skew = 0.9,
};

/* ---- one side ------------------------------------------------------------------------------------ */

static struct load load_of(bool cached)
{
    const int kib = cached ? options.own_kib : options.memory_mib * 1024 / options.connections;

    return (struct load){
        .path = options.path,
        .vfs = cached ? ZCACHEVFS_NAME : "unix",
        .n_connections = (unsigned)options.connections,
        .cache_kib = (unsigned)kib,
        .warm_seconds = (unsigned)options.warm_seconds,
        .seconds = (unsigned)options.seconds,
        .skew = options.skew,
        .write_percent = (unsigned)options.write_percent,
    };
}

static void open_cache(void)
{
    struct zcache_options cache = ZCACHE_OPTIONS_INIT;
    const int own = options.connections * options.own_kib / 1024;
    char why[200];

    must(own < options.memory_mib, "there is no memory left for the cache");
    cache.capacity_bytes = (uint64_t)(options.memory_mib - own) << 20;
    cache.full_policy = ZCACHE_FULL_HELP;
    must(options.cache == NULL ||
             zcache_options_parse(&cache, options.cache, why, sizeof(why)) == 0,
         "the options of the cache");
    must(zcachevfs_register(&cache, "unix", false) == SQLITE_OK, "the cache cannot be opened");
}

static struct load_result run_side(bool cached)
{
    struct load_result result;
    int ends[2];
    int status;

    must(pipe(ends) == 0, "a pipe");
    const pid_t child = fork();
    must(child >= 0, "a process");
    if (child == 0) {
        const struct load load = load_of(cached);
        direct_io_install(options.path);
        if (cached) {
            open_cache();
        }
        load_run(&load, &result);
        must(write(ends[1], &result, sizeof(result)) == sizeof(result), "the result");
        _exit(0);
    }
    (void)close(ends[1]);
    must(read(ends[0], &result, sizeof(result)) == sizeof(result) &&
             waitpid(child, &status, 0) == child && status == 0,
         "a measurement failed");
    (void)close(ends[0]);
    return result;
}

/* ---- the comparison ------------------------------------------------------------------------------ */

static int by_speed(const void *a, const void *b)
{
    const double x = ((const struct load_result *)a)->queries_per_second;
    const double y = ((const struct load_result *)b)->queries_per_second;

    return (x > y) - (x < y);
}

static struct load_result median(struct load_result *results, int n)
{
    qsort(results, (size_t)n, sizeof(*results), by_speed);
    return results[n / 2];
}

static void show(const char *name, const struct load_result *r)
{
    printf("%-12s %10.0f queries/s %8.2f reads of the file per query %8.1f MiB resident\n", name,
           r->queries_per_second, r->reads_per_query, (double)r->resident_kib / 1024);
}

static int compare(void)
{
    struct load_result results[2][ROUNDS_MAX];
    uint64_t wrong = 0;

    for (int i = 0; i < options.rounds; i++) {
        for (int side = 0; side < 2; side++) {
            results[side][i] = run_side(side == 1);
            wrong += results[side][i].wrong;
            show(side == 1 ? "  zcachevfs" : "  plain", &results[side][i]);
        }
    }
    const struct load_result plain = median(results[0], options.rounds);
    const struct load_result cached = median(results[1], options.rounds);
    printf("%d connections, %d MiB of memory, skew %.2f, %d %% writes; medians of %d:\n",
           options.connections, options.memory_mib, options.skew, options.write_percent,
           options.rounds);
    show("plain", &plain);
    show("zcachevfs", &cached);
    printf("ratio %.2f; %llu wrong rows\n", cached.queries_per_second / plain.queries_per_second,
           (unsigned long long)wrong);
    return wrong == 0 ? 0 : 1;
}

static void parse(int argc, const char **argv)
{
    const struct poptOption table[] = {
        {"db", 0, POPT_ARG_STRING, &options.path, 0, "database, made if missing", "FILE"},
        {"mib", 0, POPT_ARG_INT, &options.mib, 0, "its size when made, MiB", "N"},
        {"memory", 0, POPT_ARG_INT, &options.memory_mib, 0, "memory for caches in all, MiB", "N"},
        {"connections", 0, POPT_ARG_INT, &options.connections, 0, "connections", "N"},
        {"own", 0, POPT_ARG_INT, &options.own_kib, 0, "a connection's own beside zcache, KiB", "N"},
        {"rounds", 0, POPT_ARG_INT, &options.rounds, 0, "measurements of each side", "N"},
        {"seconds", 0, POPT_ARG_INT, &options.seconds, 0, "of each measurement", "N"},
        {"warm", 0, POPT_ARG_INT, &options.warm_seconds, 0, "seconds before it", "N"},
        {"skew", 0, POPT_ARG_DOUBLE, &options.skew, 0, "exponent of Zipf's law; 0: uniform", "S"},
        {"writes", 0, POPT_ARG_INT, &options.write_percent, 0, "percent of changes", "N"},
        {"cache", 0, POPT_ARG_STRING, &options.cache, 0, "options of the cache", "TEXT"},
        POPT_AUTOHELP POPT_TABLEEND};
    poptContext context = poptGetContext("zcachevfs-bench", argc, argv, table, 0);
    const int rc = poptGetNextOpt(context);

    must(rc == -1 && poptPeekArg(context) == NULL, "bad options; see --help");
    poptFreeContext(context);
    must(options.rounds > 0 && options.rounds <= ROUNDS_MAX, "1 to 99 rounds");
    must(options.path != NULL, "--db says where the database is");
}

int main(int argc, const char **argv)
{
    char resolved[4096];

    parse(argc, argv);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    orders_make(options.path, (unsigned)options.mib);
    must(realpath(options.path, resolved) != NULL, options.path);
    options.path = resolved;
    return compare();
}
