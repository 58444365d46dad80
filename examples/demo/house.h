/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The cache under demonstration and who lives in it:
 *
 *     root             the whole cache
 *      `- everyone     90 % of it
 *          |- greedy   50 %: wants the whole file, several times what fits
 *          |- ordinary 30 %: half of the file
 *          `- small    10 %, most of it reserved: a twenty-fourth of the file, which fits
 */
#ifndef DEMO_HOUSE_H
#define DEMO_HOUSE_H

#include "content.h"
#include "options.h"
#include "zipf.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <zcache/zcache.h>

#define MEMBERS 3

/* The version a page has: between two rewrites the two agree; during one the new one is started. */
struct page_state {
    _Atomic uint32_t started;
    _Atomic uint32_t done;
    _Atomic uint32_t past_cache; /* the last version that the cache refused */
};

/* A tenant and its data. */
struct member {
    const char *name;
    unsigned limit_percent;   /* of the cache's capacity */
    unsigned reserve_percent; /* of the cache's capacity */
    unsigned traffic_percent; /* of all operations */
    uint32_t number;
    uint64_t first; /* its first page in the file */
    uint64_t n_pages;
    struct page_state *states;
    struct zipf popularity;
    struct zcache_tenant *tenant;
};

struct house {
    struct source source;
    char dir[256];
    bool dir_is_temporary;
    struct file_store *files;
    uint64_t capacity_bytes;
    struct zcache *cache;
    struct zcache_tenant *everyone;
    struct member member[MEMBERS];
};

/* Open all of it.  Return: 0; 1 after a message.  Release with house_fini() in both cases. */
int house_open(struct house *h, const struct demo_options *opts);

/* Write everything and close the cache, then the store.  Return: 0; 1 after a problem was noted. */
int house_close(struct house *h);

/* Open the store again, without a cache.  Return: 0; 1 after a problem was noted. */
int house_reopen_files(struct house *h);

/* Release the rest, and remove the temporary directory. */
void house_fini(struct house *h);

#endif /* DEMO_HOUSE_H */
