/* SPDX-License-Identifier: BSD-2-Clause */
#include "options.h"
#include "fail.h"
#include "peer.h"
#include "suggest.h"

#include <ctype.h>
#include <errno.h>
#include <popt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zcache/tenant.h>
#include <zcache/zcache.h>

#define PAGE_BYTES_MIN 512
#define PAGES_MAX      (1 << 26)
#define THREADS_MAX    1024
#define TENANTS_MAX    100000
#define REPEATS_MAX    100
#define SECONDS_MAX    3600.0
#define SKEW_MAX       5.0

/* What popt reads the options into. */
struct raw_options {
    char **corpora;
    char *json;
    char *report_dir;
    char *work_dir;
    char *page_bytes;
    char *threads;
    char *tenants;
    char *peers;
    char *cases;
    int pages;
    char *keys;
    int repeats;
    double seconds;
    double skew;
};

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

/* ---------------------------------------------------------------------------------------------
 * Values and what is legal.
 */

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

struct number_list options_list(const char *command,
                                const char *name,
                                const char *text,
                                size_t min,
                                size_t max)
{
    struct number_list list = {0};

    for (const char *p = text;; p++) {
        char *end;
        unsigned long value;

        errno = 0;
        value = strtoul(p, &end, 10);
        if (!isdigit((unsigned char)*p) || errno != 0 || (*end != ',' && *end != '\0')) {
            options_wrong(command, "--%s is '%s'; it takes a number, or several as in 1,2,4", name,
                          text);
        }
        if (value < min || value > max) {
            options_wrong(command, "--%s has %lu; it goes from %zu to %zu", name, value, min, max);
        }
        if (list.n == LIST_MAX) {
            options_wrong(command, "--%s has more than %d numbers", name, LIST_MAX);
        }
        list.at[list.n++] = value;
        if (*end == '\0') {
            return list;
        }
        p = end;
    }
}

static unsigned read_peers(const char *command, char *text)
{
    unsigned peers = 0;
    char *rest = text;
    char *name;

    if (strcmp(text, "all") == 0) {
        return PEERS_ALL;
    }
    if (strcmp(text, "none") == 0) {
        return 0;
    }
    while ((name = strsep(&rest, ",")) != NULL) {
        const int id = peer_find(name);

        if (id < 0) {
            const char *near = suggest(name, peer_names, PEERS);

            options_wrong(command, "there is no peer '%s'%s%s%s; the peers are %s, and all or none",
                          name, near != NULL ? ", perhaps '" : "", near != NULL ? near : "",
                          near != NULL ? "'" : "", peer_names_text());
        }
        peers |= 1u << id;
    }
    return peers;
}

/* ---------------------------------------------------------------------------------------------
 * The command line.
 */

void options_refuse(const char *command,
                    const struct poptOption *table,
                    poptContext con,
                    const char **argv,
                    int rc)
{
    const char *option = poptBadOption(con, POPT_BADOPTION_NOALIAS);
    const char *names[32], *near;
    size_t n = 0;

    for (const struct poptOption *o = table; o->longName != NULL && n < 32; o++) {
        if (o->argInfo != POPT_ARG_INCLUDE_TABLE) {
            names[n++] = o->longName;
        }
    }
    near = rc == POPT_ERROR_BADOPT ? suggest(option + strspn(option, "-"), names, n) : NULL;
    if (near != NULL) {
        options_wrong(command, "%s: %s; perhaps --%s", option, poptStrerror(rc), near);
    }
    if (*option != '-') { /* a value that was given apart from its option */
        for (size_t i = 1; argv[i] != NULL; i++) {
            if (strcmp(argv[i], option) == 0) {
                options_wrong(command, "%s %s: %s", argv[i - 1], option, poptStrerror(rc));
            }
        }
    }
    options_wrong(command, "%s: %s", option, poptStrerror(rc));
}

static void parse(const struct option_defaults *defaults,
                  int argc,
                  const char **argv,
                  struct raw_options *raw)
{
    const struct poptOption common[] = {
        {"corpus", 'f', POPT_ARG_ARGV, &raw->corpora, 0,
         "file of pages, one after the other, such as a database; may be given more than once",
         "FILE"},
        {"page-size", 'b', POPT_ARG_STRING, &raw->page_bytes, 0,
         "bytes of a page; a list runs all of them", "N[,N...]"},
        {"pages", 'n', POPT_ARG_INT, &raw->pages, 0,
         "how many pages of the corpus (default: all, up to 64 MiB)", "N"},
        {"threads", 't', POPT_ARG_STRING, &raw->threads, 0, "threads; a list runs all of them",
         "N[,N...]"},
        {"skew", 'z', POPT_ARG_DOUBLE, &raw->skew, 0,
         "exponent of Zipf's law; 0 takes each page once, in random order (default: 0)", "X"},
        {"repeats", 'r', POPT_ARG_INT | POPT_ARGFLAG_SHOW_DEFAULT, &raw->repeats, 0,
         "measurements of each subject", "N"},
        {"seconds", 's', POPT_ARG_DOUBLE | POPT_ARGFLAG_SHOW_DEFAULT, &raw->seconds, 0,
         "length of each of them at least", "S"},
        {"peer", 'p', POPT_ARG_STRING, &raw->peers, 0,
         "what to measure beside zcache: names, all or none (default: all)", "NAME[,NAME...]"},
        {"json", 'j', POPT_ARG_STRING, &raw->json, 0, "add a line for each result to this file",
         "FILE"},
        {"report", 'o', POPT_ARG_STRING, &raw->report_dir, 0,
         "write a page of plots to this directory: of all lines of --json, or of this run", "DIR"},
        {"work-dir", 'd', POPT_ARG_STRING, &raw->work_dir, 0,
         "where files are written for a while (default: /tmp)", "DIR"},
        {"tenants", 'T', POPT_ARG_STRING, &raw->tenants, 0,
         "tenants among whom the pages are divided; a list runs all of them", "N[,N...]"},
        {"case", 'c', POPT_ARG_STRING, &raw->cases, 0,
         "cases to run: one, or several as in get-raw,pin (default: all)", "NAME[,NAME...]"},
        {"keys", 'k', POPT_ARG_STRING, &raw->keys, 0,
         "hold so many pages, those of the corpus again and again, under a limit that fits them; "
         "grow runs all of a list (default of churn: put four times what the limit, half of the "
         "corpus, holds)",
         "N[,N...]"},
        POPT_TABLEEND};
    struct poptOption table[sizeof common / sizeof common[0] + 1];
    const struct poptOption help[] = {POPT_AUTOHELP POPT_TABLEEND};
    size_t n = 0;
    char name[64];
    poptContext con;
    int rc;

    for (const struct poptOption *o = common; o->longName != NULL; o++) {
        if ((o->arg != &raw->tenants || defaults->tenants != NULL) &&
            (o->arg != &raw->cases || defaults->cases != NULL) &&
            (o->arg != &raw->keys || defaults->keys != NULL)) {
            table[n++] = *o;
        }
    }
    table[n++] = help[0];
    table[n] = help[1];
    (void)snprintf(name, sizeof name, "zcache-bench %s", defaults->command);
    argv[0] = name; /* popt shows it in its help */
    con = poptGetContext(name, argc, argv, table, 0);
    poptSetOtherOptionHelp(con, "--corpus FILE [OPTION...]");
    rc = poptGetNextOpt(con);
    if (rc != -1) {
        options_refuse(defaults->command, table, con, argv, rc);
    }
    if (poptPeekArg(con) != NULL) {
        options_wrong(defaults->command, "'%s' is not an option", poptPeekArg(con));
    }
    poptFreeContext(con);
}

/* Whether a list such as "a,b" has a name. */
static bool has_name(const char *list, const char *name, size_t len)
{
    while (list != NULL) {
        const size_t n = strcspn(list, ",");

        if (n == len && memcmp(list, name, n) == 0) {
            return true;
        }
        list = list[n] == ',' ? list + n + 1 : NULL;
    }
    return false;
}

static void check_cases(const char *command, const char *cases, const char *given)
{
    while (given != NULL) {
        const size_t n = strcspn(given, ",");

        if (!has_name(cases, given, n)) {
            options_wrong(command, "there is no case '%.*s'; there are %s", (int)n, given, cases);
        }
        given = given[n] == ',' ? given + n + 1 : NULL;
    }
}

bool options_want_case(const struct bench_options *opts, const char *name)
{
    return opts->cases == NULL || has_name(opts->cases, name, strlen(name));
}

static const char *or_else(const char *text, const char *other)
{
    return text != NULL ? text : other;
}

static struct number_list read_keys(const char *command, const char *text)
{
    return *text != '\0' ? options_list(command, "keys", text, 1, PAGES_MAX)
                         : (struct number_list){0};
}

void options_read(const struct option_defaults *defaults,
                  int argc,
                  const char **argv,
                  struct bench_options *opts)
{
    const char *command = defaults->command;
    struct raw_options raw = {.repeats = defaults->repeats, .seconds = 0.5};

    parse(defaults, argc, argv, &raw);
    if (raw.corpora == NULL) {
        options_wrong(command, "--corpus FILE is missing: any file of real pages will do; "
                               "scripts/demo makes build/demo/packages.db");
    }
    check_cases(command, defaults->cases, raw.cases);
    *opts = (struct bench_options){
        .command = command,
        .cases = raw.cases,
        .corpora = raw.corpora,
        .corpus = raw.corpora[0],
        .order = defaults->order,
        .json = raw.json,
        .report_dir = raw.report_dir,
        .work_dir = raw.work_dir,
        .page_bytes = options_list(
            command, "page-size", or_else(raw.page_bytes, defaults->page_bytes),
            defaults->page_min != 0 ? defaults->page_min : PAGE_BYTES_MIN, ZCACHE_PAGE_MAX_LIMIT),
        .threads = options_list(command, "threads", or_else(raw.threads, defaults->threads), 1,
                                THREADS_MAX),
        .tenants =
            options_list(command, "tenants", or_else(raw.tenants, or_else(defaults->tenants, "1")),
                         1, TENANTS_MAX),
        .pages = (size_t)in_range(command, "pages", raw.pages, 0, PAGES_MAX),
        .keys = read_keys(command, or_else(raw.keys, or_else(defaults->keys, ""))),
        .repeats = (unsigned)in_range(command, "repeats", raw.repeats, 1, REPEATS_MAX),
        .seconds = in_real_range(command, "seconds", raw.seconds, 0, SECONDS_MAX),
        .skew = in_real_range(command, "skew", raw.skew, 0, SKEW_MAX),
        .peers = raw.peers != NULL ? read_peers(command, raw.peers) : PEERS_ALL,
    };
    free(raw.page_bytes);
    free(raw.threads);
    free(raw.tenants);
    free(raw.keys);
    free(raw.peers);
}

void options_free(struct bench_options *opts)
{
    for (char **c = opts->corpora; *c != NULL; c++) {
        free(*c);
    }
    free(opts->corpora);
    free(opts->json);
    free(opts->report_dir);
    free(opts->work_dir);
    free(opts->cases);
}
