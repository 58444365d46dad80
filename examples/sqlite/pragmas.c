/* SPDX-License-Identifier: BSD-2-Clause */
#include "pragmas.h"

#include <errno.h>
#include <sqlite3ext.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <zcache/stats.h>

SQLITE_EXTENSION_INIT3

enum {
    DRAIN_MS = 1000 /* for a quota that is less than what is used */
};

static int fail(char **arg, const char *what)
{
    arg[0] = sqlite3_mprintf("%s: %s", arg[1], what);
    return SQLITE_ERROR;
}

static int answer(char **arg, char *text)
{
    arg[0] = text;
    return text == NULL ? SQLITE_NOMEM : SQLITE_OK;
}

static int show_stats(struct pages *pages, char **arg)
{
    struct zcache_stats s = ZCACHE_STATS_INIT;

    if (zcache_stats(pages->tenant, &s) != 0) {
        return fail(arg, "the cache is not usable here");
    }
    return answer(
        arg, sqlite3_mprintf(
                 "{\"hits\":%llu,\"misses\":%llu,\"file_reads\":%llu,\"forgotten\":%llu,"
                 "\"pages\":%llu,\"raw_pages\":%llu,\"fast_pages\":%llu,\"dense_pages\":%llu,"
                 "\"evictions\":%llu,\"bypassed\":%llu,\"charge_bytes\":%llu,\"quota_bytes\":%llu}",
                 s.count.get_hits_raw + s.count.get_hits_fast + s.count.get_hits_dense +
                     s.count.get_hits_same,
                 s.count.get_misses, atomic_load(&pages->n_file_reads),
                 atomic_load(&pages->n_forgotten), s.gauge.pages, s.tier[ZCACHE_TIER_RAW].pages,
                 s.tier[ZCACHE_TIER_FAST].pages, s.tier[ZCACHE_TIER_DENSE].pages,
                 s.tier[ZCACHE_TIER_RAW].evictions + s.tier[ZCACHE_TIER_FAST].evictions +
                     s.tier[ZCACHE_TIER_DENSE].evictions,
                 s.count.put_bypassed, s.gauge.charge_bytes, s.gauge.limit_bytes));
}

static int show_quota(struct pages *pages, char **arg)
{
    struct zcache_stats s = ZCACHE_STATS_INIT;

    if (zcache_stats(pages->tenant, &s) != 0) {
        return fail(arg, "the cache is not usable here");
    }
    return answer(arg, s.gauge.limit_bytes == ZCACHE_UNLIMITED
                           ? sqlite3_mprintf("unlimited")
                           : sqlite3_mprintf("%llu", s.gauge.limit_bytes));
}

/* "65536", "64K", "64M", "1G", "unlimited". */
static bool parse_bytes(const char *text, uint64_t *out)
{
    static const char units[] = "KMG";
    unsigned shift = 0;
    char *end;

    if (strcmp(text, "unlimited") == 0) {
        *out = ZCACHE_UNLIMITED;
        return true;
    }
    errno = 0;
    const unsigned long long n = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || errno != 0) {
        return false;
    }
    if (*end != '\0') {
        const char *unit = strchr(units, *end++);
        if (unit == NULL || *end != '\0') {
            return false;
        }
        shift = 10 * (unsigned)(unit - units + 1);
    }
    *out = (uint64_t)n << shift;
    return n <= UINT64_MAX >> shift;
}

static int set_quota(struct pages *pages, char **arg)
{
    struct zcache_limits limits = ZCACHE_LIMITS_INIT;

    if (!parse_bytes(arg[2], &limits.limit_bytes)) {
        return fail(arg, "bytes are wanted, as in '64M', or 'unlimited'");
    }
    if (zcache_tenant_set_limits(pages->tenant, &limits, DRAIN_MS, NULL) != 0) {
        return fail(arg, "the cache refuses it");
    }
    return show_quota(pages, arg);
}

int pragmas_run(struct pages *pages, char **arg)
{
    if (sqlite3_stricmp(arg[1], "zcache_stats") == 0) {
        return show_stats(pages, arg);
    }
    if (sqlite3_stricmp(arg[1], "zcache_quota") == 0) {
        return arg[2] == NULL ? show_quota(pages, arg) : set_quota(pages, arg);
    }
    return SQLITE_NOTFOUND;
}
