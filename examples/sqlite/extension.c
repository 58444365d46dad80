/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zcachevfs as an extension that SQLite loads. The environment variable ZCACHEVFS has the options of the
 * cache, as zcache_options_parse() takes them: ZCACHEVFS=capacity=1G,raw_percent=40.
 */
#include "zcachevfs.h"

#include <sqlite3ext.h>
#include <stdlib.h>

SQLITE_EXTENSION_INIT1

#define DEFAULT_CAPACITY ((uint64_t)64 << 20)

int sqlite3_zcachevfs_init(sqlite3 *db, char **error, const sqlite3_api_routines *api);

static int options_of_environment(struct zcache_options *options, char **error)
{
    const char *text = getenv("ZCACHEVFS"); /* NOLINT(concurrency-mt-unsafe): nobody sets it */
    char why[200];

    options->capacity_bytes = DEFAULT_CAPACITY;
    options->full_policy = ZCACHE_FULL_REJECT;
    if (text != NULL && zcache_options_parse(options, text, why, sizeof(why)) != 0) {
        *error = sqlite3_mprintf("ZCACHEVFS: %s", why);
        return SQLITE_ERROR;
    }
    return SQLITE_OK;
}

ZCACHE_API int sqlite3_zcachevfs_init(sqlite3 *db, char **error, const sqlite3_api_routines *api)
{
    struct zcache_options options = ZCACHE_OPTIONS_INIT;

    SQLITE_EXTENSION_INIT2(api);
    (void)db;
    if (sqlite3_vfs_find(ZCACHEVFS_NAME) != NULL) { /* another connection has loaded it */
        return SQLITE_OK_LOAD_PERMANENTLY;
    }
    int rc = options_of_environment(&options, error);
    if (rc == SQLITE_OK) {
        rc = zcachevfs_register(&options, NULL, true);
        if (rc != SQLITE_OK) {
            *error = sqlite3_mprintf("zcachevfs: the cache cannot be opened");
        }
    }
    return rc == SQLITE_OK ? SQLITE_OK_LOAD_PERMANENTLY : rc;
}
