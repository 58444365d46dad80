/* SPDX-License-Identifier: BSD-2-Clause */
#include "options.h"

#include <popt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zcache/zcache.h>

#define CAPACITY_BYTES_MIN (4u << 20)
#define SECONDS_MAX        86400
#define THREADS_MAX        256

__attribute__((noreturn, format(printf, 1, 2))) static void wrong(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)fputs("zcache-demo: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputs("\nTry 'zcache-demo --help'.\n", stderr);
    va_end(args);
    exit(2); /* NOLINT(concurrency-mt-unsafe): no other thread is there yet */
}

static unsigned checked_count(const char *name, int value, int max)
{
    if (value < 1 || value > max) {
        wrong("--%s is %d; it goes from 1 to %d", name, value, max);
    }
    return (unsigned)value;
}

/* The library reads sizes with K, M, G and says what is wrong with one. */
static uint64_t checked_capacity(const char *text)
{
    struct zcache_options parsed = ZCACHE_OPTIONS_INIT;
    char assignment[64];
    char why[160] = "not a size";

    if (strchr(text, ',') != NULL || strlen(text) > 32) {
        wrong("--capacity '%s': not a size", text);
    }
    (void)snprintf(assignment, sizeof assignment, "capacity=%s", text);
    if (zcache_options_parse(&parsed, assignment, why, sizeof why) != 0) {
        wrong("--capacity '%s': %s", text, why);
    }
    if (parsed.capacity_bytes < CAPACITY_BYTES_MIN) {
        wrong("--capacity '%s': the demo needs at least 4M", text);
    }
    return parsed.capacity_bytes;
}

void options_read(int argc, const char **argv, struct demo_options *opts)
{
    char *db = NULL, *dir = NULL, *capacity = NULL;
    int seconds = 20, threads = 4;
    const struct poptOption table[] = {
        {"db", 'f', POPT_ARG_STRING, &db, 0, "file of 4 KiB pages, as make_db.py makes it", "FILE"},
        {"capacity", 'c', POPT_ARG_STRING, &capacity, 0,
         "size of the cache, such as 16M (default: a quarter of the file)", "SIZE"},
        {"seconds", 's', POPT_ARG_INT, &seconds, 0, "how long to run (default: 20)", "N"},
        {"threads", 't', POPT_ARG_INT, &threads, 0, "working threads (default: 4)", "N"},
        {"dir", 'd', POPT_ARG_STRING, &dir, 0,
         "keep the store's files here (default: a temporary directory)", "DIR"},
        POPT_AUTOHELP POPT_TABLEEND};
    poptContext con = poptGetContext("zcache-demo", argc, argv, table, 0);
    int rc = poptGetNextOpt(con);

    if (rc != -1) {
        wrong("%s: %s", poptBadOption(con, POPT_BADOPTION_NOALIAS), poptStrerror(rc));
    }
    if (poptPeekArg(con) != NULL) {
        wrong("'%s' is not an option", poptPeekArg(con));
    }
    if (db == NULL) {
        wrong("--db FILE is missing; examples/demo/make_db.py FILE makes one");
    }
    opts->db = db;
    opts->dir = dir;
    opts->capacity_bytes = capacity != NULL ? checked_capacity(capacity) : 0;
    opts->seconds = checked_count("seconds", seconds, SECONDS_MAX);
    opts->threads = checked_count("threads", threads, THREADS_MAX);
    free(capacity);
    poptFreeContext(con);
}

void options_free(struct demo_options *opts)
{
    free(opts->db);
    free(opts->dir);
}
