/* SPDX-License-Identifier: BSD-2-Clause */
#include "options.h"

#include <popt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <zcache/zcache.h>

#define PAGE_BYTES_MIN 512
#define PAGES_MAX      (1 << 26)
#define THREADS_MAX    1024
#define REPEAT_MAX     1000
#define SECONDS_MAX    3600.0
#define SKEW_MAX       5.0

void options_wrong(const char *command, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)fprintf(stderr, "zcache-bench %s: ", command);
    (void)vfprintf(stderr, format, args);
    (void)fprintf(stderr, "\nTry 'zcache-bench %s --help'.\n", command);
    va_end(args);
    exit(2); /* NOLINT(concurrency-mt-unsafe): no other thread is there yet */
}

static int in_range(const char *command, const char *name, int value, int min, int max)
{
    if (value < min || value > max) {
        options_wrong(command, "--%s is %d; it goes from %d to %d", name, value, min, max);
    }
    return value;
}

static double in_real_range(const char *command,
                            const char *name,
                            double value,
                            double min,
                            double max)
{
    if (!(value >= min && value <= max)) {
        options_wrong(command, "--%s is %g; it goes from %g to %g", name, value, min, max);
    }
    return value;
}

void options_read(const char *command, int argc, const char **argv, struct bench_options *opts)
{
    char *corpus = NULL, *json = NULL;
    int page_bytes = 4096, pages = 0, threads = 1, repeat = 5;
    double seconds = 0.5, skew = 0;
    const struct poptOption table[] = {
        {"corpus", 'f', POPT_ARG_STRING, &corpus, 0,
         "file of pages, one after the other, such as a database", "FILE"},
        {"page-bytes", 'b', POPT_ARG_INT, &page_bytes, 0, "size of a page (default: 4096)", "N"},
        {"pages", 'n', POPT_ARG_INT, &pages, 0,
         "how many pages of the corpus (default: all, up to 16384)", "N"},
        {"threads", 't', POPT_ARG_INT, &threads, 0, "threads (default: 1)", "N"},
        {"repeat", 'r', POPT_ARG_INT, &repeat, 0, "measurements of each subject (default: 5)", "N"},
        {"seconds", 's', POPT_ARG_DOUBLE, &seconds, 0, "length of each of them (default: 0.5)",
         "S"},
        {"skew", 'z', POPT_ARG_DOUBLE, &skew, 0,
         "exponent of Zipf's law; 0 takes each page once, in random order (default: 0)", "X"},
        {"json", 'j', POPT_ARG_STRING, &json, 0, "add a line for each result to this file", "FILE"},
        POPT_AUTOHELP POPT_TABLEEND};
    char name[64];
    poptContext con;
    int rc;

    (void)snprintf(name, sizeof name, "zcache-bench %s", command);
    argv[0] = name; /* popt shows it in its help */
    con = poptGetContext(name, argc, argv, table, 0);
    poptSetOtherOptionHelp(con, "--corpus FILE [OPTION...]");
    rc = poptGetNextOpt(con);
    if (rc != -1) {
        options_wrong(command, "%s: %s", poptBadOption(con, POPT_BADOPTION_NOALIAS),
                      poptStrerror(rc));
    }
    if (poptPeekArg(con) != NULL) {
        options_wrong(command, "'%s' is not an option", poptPeekArg(con));
    }
    if (corpus == NULL) {
        options_wrong(command, "--corpus FILE is missing: any file of real pages will do; "
                               "examples/demo/make_db.py makes one");
    }
    *opts = (struct bench_options){
        .command = command,
        .corpus = corpus,
        .json = json,
        .page_bytes = (size_t)in_range(command, "page-bytes", page_bytes, PAGE_BYTES_MIN,
                                       (int)ZCACHE_PAGE_MAX_LIMIT),
        .pages = (size_t)in_range(command, "pages", pages, 0, PAGES_MAX),
        .threads = (unsigned)in_range(command, "threads", threads, 1, THREADS_MAX),
        .repeat = (unsigned)in_range(command, "repeat", repeat, 1, REPEAT_MAX),
        .seconds = in_real_range(command, "seconds", seconds, 0, SECONDS_MAX),
        .skew = in_real_range(command, "skew", skew, 0, SKEW_MAX),
    };
    poptFreeContext(con);
}

void options_free(struct bench_options *opts)
{
    free(opts->corpus);
    free(opts->json);
}
