/* SPDX-License-Identifier: BSD-2-Clause */
#include "replay_options.h"
#include "fail.h"
#include "suggest.h"

#include <ctype.h>
#include <errno.h>
#include <popt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zcache/zcache.h>

#define COMMAND      "replay"
#define SIZES        "1%,10%"
#define SPLITS       "2,10,30,60"
#define PAGE_DEFAULT 4096
#define PAGE_MIN     512

struct raw_options {
    char *pages;
    char *bytes;
    char *cache;
    char *corpus;
    char *policy;
    char *format;
    char *writes;
    char *peer;
    char *limit;
    char *splits;
    int requests;
    int page_bytes;
    int tenants;
};

static char *copy_of(const char *text)
{
    char *copy = must_alloc(strlen(text) + 1);

    memcpy(copy, text, strlen(text) + 1);
    return copy;
}

/* ---------------------------------------------------------------------------------------------
 * Sizes.
 */

/* The unit at *@p, which moves beyond it; 1 if there is none. */
static uint64_t unit_of(char **p)
{
    static const char units[] = "KMGT";
    const char *unit = **p != '\0' ? strchr(units, toupper((unsigned char)**p)) : NULL;

    *p += unit != NULL;
    return unit != NULL ? UINT64_C(1) << 10 * (unit - units + 1) : 1;
}

static void read_wanted(const char *name, const char *text, bool bytes, struct replay_wanted *out)
{
    char *end;
    double value;

    errno = 0;
    value = strtod(text, &end);
    *out = (struct replay_wanted){0};
    (void)snprintf(out->text, sizeof out->text, "%s", text);
    if (isdigit((unsigned char)*text) && errno == 0 && value > 0) {
        if (strcmp(end, "%") == 0 && value <= 100) {
            out->percent = value;
            return;
        }
        value *= bytes ? (double)unit_of(&end) : 1;
        if (*end == '\0' && value >= 1 && value < 1e18 &&
            (bytes || value == (double)(uint64_t)value)) {
            out->number = (uint64_t)value;
            return;
        }
    }
    options_wrong(COMMAND,
                  "--%s has '%s'; it takes %s, or parts of the distinct pages as in 1%%,10%%", name,
                  text, bytes ? "bytes as in 64M" : "numbers of pages");
}

static void read_sizes(const char *name,
                       const char *text,
                       bool bytes,
                       struct replay_wanted_list *out)
{
    char *copy = copy_of(text);
    char *rest = copy;
    char *item;

    while ((item = strsep(&rest, ",")) != NULL) {
        if (out->n == REPLAY_SIZES_MAX) {
            options_wrong(COMMAND, "--%s has more than %d sizes", name, REPLAY_SIZES_MAX);
        }
        read_wanted(name, item, bytes, &out->at[out->n++]);
    }
    free(copy);
}

static void read_all_sizes(const struct raw_options *raw, struct replay_options *opts)
{
    const char *both = raw->cache != NULL ? raw->cache : SIZES;
    bool corpora = true;

    for (unsigned i = 0; i < opts->inputs; i++) {
        corpora = corpora && opts->input[i].corpus != NULL;
    }
    if (raw->cache != NULL && (raw->pages != NULL || raw->bytes != NULL)) {
        options_wrong(COMMAND, "--cache stands for --pages and --bytes; it goes with neither");
    }
    if (raw->bytes != NULL && !corpora) {
        options_wrong(COMMAND, "--bytes needs real pages: --corpus FILE, or TRACE@FILE");
    }
    if (raw->pages != NULL || raw->bytes == NULL) {
        read_sizes(raw->pages != NULL ? "pages" : "cache", raw->pages != NULL ? raw->pages : both,
                   false, &opts->pages);
    }
    if (raw->bytes != NULL || (raw->pages == NULL && corpora)) {
        read_sizes(raw->bytes != NULL ? "bytes" : "cache", raw->bytes != NULL ? raw->bytes : both,
                   true, &opts->bytes);
    }
    for (unsigned i = 0; raw->cache != NULL && corpora && i < opts->bytes.n; i++) {
        if (opts->bytes.at[i].percent == 0) {
            options_wrong(COMMAND,
                          "--cache has '%s'; it takes parts of the distinct pages as in "
                          "1%%,10%%",
                          opts->bytes.at[i].text);
        }
    }
}

/* ---------------------------------------------------------------------------------------------
 * Names.
 */

static unsigned one_of(const char *option,
                       const char *text,
                       const char *const *names,
                       unsigned n,
                       const char *all)
{
    const char *near;

    for (unsigned i = 0; i < n; i++) {
        if (strcmp(text, names[i]) == 0) {
            return i;
        }
    }
    near = suggest(text, names, n);
    options_wrong(COMMAND, "--%s is '%s'%s%s%s; it is one of %s", option, text,
                  near != NULL ? ", perhaps '" : "", near != NULL ? near : "",
                  near != NULL ? "'" : "", all);
}

static void read_policies(char *text, struct replay_options *opts)
{
    char *rest = text;
    char *name;
    char error[256];

    if (text == NULL) {
        opts->policies = 1;
        return;
    }
    while ((name = strsep(&rest, ",")) != NULL) {
        const bool given = strcmp(name, "default") != 0;

        if (opts->policies == REPLAY_POLICIES_MAX) {
            options_wrong(COMMAND, "--policy has more than %d names", REPLAY_POLICIES_MAX);
        }
        if (given && !replay_zcache_check(name, NULL, error, sizeof error)) {
            options_wrong(COMMAND,
                          "zcache %s does not take policy=%s: %s; 'default' gives no policy",
                          zcache_version(), name, error);
        }
        opts->policy[opts->policies++] = given ? copy_of(name) : NULL;
    }
}

static void read_input(const char *arg, const char *corpus, struct replay_options *opts)
{
    const char *at = strrchr(arg, '@');
    struct replay_input *in = &opts->input[opts->inputs];

    if (opts->inputs == REPLAY_TRACES_MAX) {
        options_wrong(COMMAND, "there are more than %d traces", REPLAY_TRACES_MAX);
    }
    in->trace = copy_of(arg);
    if (at != NULL && at[1] != '\0') {
        in->trace[at - arg] = '\0';
        in->corpus = copy_of(at + 1);
    } else {
        in->corpus = corpus != NULL ? copy_of(corpus) : NULL;
    }
    opts->inputs++;
}

static void read_rest(const struct raw_options *raw, struct replay_options *opts)
{
    static const char *const limits[] = {"capacity", "tenant"};
    static const char *const peers[] = {"all", "none"};
    char error[256];

    if (raw->format != NULL) {
        opts->trace.format =
            (enum trace_format)(1 + one_of("format", raw->format, trace_format_names + 1,
                                           TRACE_FORMATS - 1, "zt, oracle, csv"));
    }
    if (raw->writes != NULL) {
        opts->writes = (enum replay_writes)one_of("writes", raw->writes, replay_writes_names,
                                                  REPLAY_WRITES, "clean, dirty, get");
    }
    opts->tenant_limit =
        raw->limit != NULL && one_of("limit", raw->limit, limits, 2, "capacity, tenant") == 1;
    opts->peers = raw->peer == NULL || one_of("peer", raw->peer, peers, 2, "all, none") == 0;
    opts->tenants = raw->tenants != 0;
    if (raw->page_bytes < PAGE_MIN || raw->page_bytes > (int)ZCACHE_PAGE_MAX_LIMIT) {
        options_wrong(COMMAND, "--page-size is %d; it goes from %d to %u", raw->page_bytes,
                      PAGE_MIN, ZCACHE_PAGE_MAX_LIMIT);
    }
    opts->page_bytes = (size_t)raw->page_bytes & ~(size_t)7;
    if (raw->requests < 0) {
        options_wrong(COMMAND, "--requests is %d; it is how many, or 0 for all", raw->requests);
    }
    opts->trace.requests = (size_t)raw->requests;
    opts->splits =
        options_list(COMMAND, "splits", raw->splits != NULL ? raw->splits : SPLITS, 1, 100);
    read_policies(raw->policy, opts);
    if (opts->text != NULL && !replay_zcache_check(NULL, opts->text, error, sizeof error)) {
        options_wrong(COMMAND, "--options '%s': %s", opts->text, error);
    }
}

/* ---------------------------------------------------------------------------------------------
 * The command line.
 */

void replay_options_read(int argc, const char **argv, struct replay_options *opts)
{
    struct raw_options raw = {.page_bytes = PAGE_DEFAULT};
    const struct poptOption table[] = {
        {"pages", 'n', POPT_ARG_STRING, &raw.pages, 0,
         "caches of so many pages, or parts of the distinct ones: nothing is compressed",
         "N|P%[,...]"},
        {"bytes", 'b', POPT_ARG_STRING, &raw.bytes, 0,
         "caches of so many bytes, or parts of the distinct pages' bytes: pages are those of the "
         "corpus",
         "N|P%[,...]"},
        {"cache", 'c', POPT_ARG_STRING, &raw.cache, 0,
         "both, or without a corpus --pages only (default: " SIZES ")", "P%[,...]"},
        {"corpus", 'f', POPT_ARG_STRING, &raw.corpus, 0,
         "file of pages, for traces that name none of their own as in TRACE@FILE", "FILE"},
        {"page-size", 0, POPT_ARG_INT | POPT_ARGFLAG_SHOW_DEFAULT, &raw.page_bytes, 0,
         "bytes of a page", "N"},
        {"policy", 'P', POPT_ARG_STRING, &raw.policy, 0,
         "eviction policies of zcache to compare; 'default' gives none", "NAME[,NAME...]"},
        {"options", 0, POPT_ARG_STRING, &opts->text, 0, "more options of zcache, name=value",
         "TEXT"},
        {"limit", 0, POPT_ARG_STRING, &raw.limit, 0,
         "what --bytes limits: the cache with all its metadata, or a tenant of a larger one "
         "(default: capacity)",
         "capacity|tenant"},
        {"tenants", 'T', POPT_ARG_NONE, &raw.tenants, 0,
         "each volume of the trace is a tenant, below one limit", NULL},
        {"writes", 'w', POPT_ARG_STRING, &raw.writes, 0,
         "what a request that writes does: put the page clean or dirty, or get it (default: clean)",
         "clean|dirty|get"},
        {"format", 0, POPT_ARG_STRING, &raw.format, 0,
         "format of the traces (default: by their names)", "zt|oracle|csv"},
        {"columns", 0, POPT_ARG_STRING, &opts->columns, 0,
         "columns of a csv trace, as in obj-id-col=2,op-col=3,tenant-col=4,delimiter=;", "TEXT"},
        {"peer", 'p', POPT_ARG_STRING, &raw.peer, 0,
         "whether to measure RocksDB's caches too (default: all)", "all|none"},
        {"splits", 0, POPT_ARG_STRING, &raw.splits, 0,
         "per cent of the bytes that RocksDB's caches keep raw; the best is reported "
         "(default: " SPLITS ")",
         "N[,N...]"},
        {"requests", 0, POPT_ARG_INT, &raw.requests, 0,
         "of each trace the first so many (default: all)", "N"},
        {"json", 'j', POPT_ARG_STRING, &opts->bench.json, 0,
         "add a line for each result to this file", "FILE"},
        {"plot", 'o', POPT_ARG_STRING, &opts->plot, 0,
         "draw hit ratio over cache size with gnuplot", "FILE.svg"},
        POPT_AUTOHELP POPT_TABLEEND};
    const char *arg;
    poptContext con;
    int rc;

    *opts = (struct replay_options){.bench = {.command = COMMAND}};
    argv[0] = "zcache-bench " COMMAND;
    con = poptGetContext(argv[0], argc, argv, table, 0);
    poptSetOtherOptionHelp(con, "TRACE[@CORPUS]... [OPTION...]");
    rc = poptGetNextOpt(con);
    if (rc != -1) {
        options_refuse(COMMAND, table, con, argv, rc);
    }
    while ((arg = poptGetArg(con)) != NULL) {
        read_input(arg, raw.corpus, opts);
    }
    poptFreeContext(con);
    if (opts->inputs == 0) {
        options_wrong(COMMAND, "TRACE is missing: a file of requests in one of the formats zt, "
                               "oracleGeneral or csv");
    }
    opts->trace.columns = opts->columns;
    read_rest(&raw, opts);
    read_all_sizes(&raw, opts);
    free(raw.pages);
    free(raw.bytes);
    free(raw.cache);
    free(raw.corpus);
    free(raw.policy);
    free(raw.format);
    free(raw.writes);
    free(raw.peer);
    free(raw.limit);
    free(raw.splits);
}

void replay_options_free(struct replay_options *opts)
{
    for (unsigned i = 0; i < opts->inputs; i++) {
        free(opts->input[i].trace);
        free(opts->input[i].corpus);
    }
    for (unsigned i = 0; i < opts->policies; i++) {
        free(opts->policy[i]);
    }
    free(opts->text);
    free(opts->plot);
    free(opts->columns);
    free(opts->bench.json);
}
