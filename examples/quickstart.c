/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The smallest useful program: a cache of 64 MiB whose pages end up in files.
 *
 *     cc quickstart.c file_*.c $(pkg-config --cflags --libs zcache libxxhash) -o quickstart
 */
#include "file_store.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <zcache/stats.h>
#include <zcache/zcache.h>

static void must(int rc, const char *what)
{
    if (rc != 0) {
        errno = -rc;
        perror(what);
        abort();
    }
}

int main(void)
{
    struct file_store *files;
    must(file_store_open("quickstart.d", 4096, &files), "open quickstart.d");

    struct zcache_options options = ZCACHE_OPTIONS_INIT;
    options.capacity_bytes = 64u << 20;
    options.page_max_bytes = 4096;
    options.store = file_store_callbacks(files);

    struct zcache *cache;
    must(zcache_open(&options, &cache), "open the cache");

    struct zcache_key key = {.object = 1, .page = 42};
    char page[4096] = "hello from page 42";
    must(zcache_put(zcache_root(cache), key, page, sizeof page, 0), "put");

    char back[4096];
    size_t len;
    must(zcache_get(zcache_root(cache), key, back, sizeof back, &len, 0), "get");

    struct zcache_stats stats = {.struct_size = sizeof stats};
    must(zcache_stats(zcache_root(cache), &stats), "stats");
    printf("%s: %zu bytes; %" PRIu64 " of %" PRIu64 " bytes in use\n", back, len,
           stats.gauge.charge_bytes, stats.gauge.limit_bytes);

    must(zcache_close(cache, ZCACHE_FLUSH), "write everything and close"); /* or none: stays open */
    must(file_store_close(files), "close quickstart.d");
    return 0;
}
