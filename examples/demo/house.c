/* SPDX-License-Identifier: BSD-2-Clause */
#include "house.h"
#include "problem.h"

#include "../file_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EVERYONE_PERCENT 90
#define SKEW             0.9

static int failed(const char *what, int rc)
{
    (void)fprintf(stderr, "zcache-demo: %s: %s\n", what, problem_text(rc));
    return 1;
}

static void describe_members(struct house *h)
{
    const uint64_t n = h->source.n_pages;

    h->member[0] = (struct member){
        .name = "greedy", .limit_percent = 50, .traffic_percent = 55, .first = 0, .n_pages = n};
    h->member[1] = (struct member){.name = "ordinary",
                                   .limit_percent = 30,
                                   .traffic_percent = 30,
                                   .first = n / 2,
                                   .n_pages = n / 2};
    h->member[2] = (struct member){.name = "small",
                                   .limit_percent = 10,
                                   .reserve_percent = 8,
                                   .traffic_percent = 15,
                                   .first = n / 3,
                                   .n_pages = n / 24};
}

static int allocate_member(struct member *m, uint32_t number)
{
    m->number = number;
    m->states = calloc(m->n_pages, sizeof *m->states);
    if (m->states == NULL) {
        return -ENOMEM;
    }
    return zipf_init(&m->popularity, m->n_pages, SKEW, number);
}

static int open_tenant(struct house *h,
                       struct zcache_tenant *parent,
                       const char *name,
                       unsigned limit_percent,
                       unsigned reserve_percent,
                       struct zcache_tenant **out)
{
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    int rc;

    opts.name = name;
    opts.limits.limit_bytes = h->capacity_bytes * limit_percent / 100;
    opts.limits.reserve_bytes = h->capacity_bytes * reserve_percent / 100;
    rc = zcache_tenant_open(parent, &opts, out);
    return rc != 0 ? failed(name, rc) : 0;
}

static int open_cache(struct house *h)
{
    struct zcache_options opts = ZCACHE_OPTIONS_INIT;
    int rc;

    opts.capacity_bytes = h->capacity_bytes;
    opts.page_max_bytes = PAGE_BYTES;
    opts.store = file_store_callbacks(h->files);
    opts.log = problem_log;
    rc = zcache_open(&opts, &h->cache);
    return rc != 0 ? failed("cannot open the cache", rc) : 0;
}

static int open_tenants(struct house *h)
{
    struct zcache_tenant *root = zcache_root(h->cache);

    if (open_tenant(h, root, "everyone", EVERYONE_PERCENT, 0, &h->everyone) != 0) {
        return 1;
    }
    for (uint32_t i = 0; i < MEMBERS; i++) {
        struct member *m = &h->member[i];

        if (allocate_member(m, i) != 0) {
            return failed(m->name, -ENOMEM);
        }
        if (open_tenant(h, h->everyone, m->name, m->limit_percent, m->reserve_percent,
                        &m->tenant) != 0) {
            return 1;
        }
    }
    return 0;
}

static int choose_dir(struct house *h, const struct demo_options *opts)
{
    const char *tmp = getenv("TMPDIR"); /* NOLINT(concurrency-mt-unsafe) */
    int n;

    if (opts->dir != NULL) {
        n = snprintf(h->dir, sizeof h->dir, "%s", opts->dir);
    } else {
        n = snprintf(h->dir, sizeof h->dir, "%s/zcache-demo.XXXXXX", tmp != NULL ? tmp : "/tmp");
    }
    if (n < 0 || (size_t)n >= sizeof h->dir) {
        return failed("the store's directory", -ENAMETOOLONG);
    }
    if (opts->dir == NULL) {
        if (mkdtemp(h->dir) == NULL) {
            return failed(h->dir, -errno);
        }
        h->dir_is_temporary = true;
    }
    return 0;
}

int house_open(struct house *h, const struct demo_options *opts)
{
    int rc;

    *h = (struct house){0};
    rc = source_open(opts->db, &h->source);
    if (rc == -EINVAL) {
        (void)fprintf(stderr, "zcache-demo: %s: not a file of 4 KiB pages of 16 MiB or more\n",
                      opts->db);
        return 1;
    }
    if (rc != 0) {
        return failed(opts->db, rc);
    }
    h->capacity_bytes =
        opts->capacity_bytes != 0 ? opts->capacity_bytes : h->source.n_pages * PAGE_BYTES / 4;
    describe_members(h);
    if (choose_dir(h, opts) != 0) {
        return 1;
    }
    rc = file_store_open(h->dir, PAGE_BYTES, &h->files);
    if (rc != 0) {
        return failed(h->dir, rc);
    }
    if (open_cache(h) != 0) {
        return 1;
    }
    return open_tenants(h);
}

int house_close(struct house *h)
{
    int rc = zcache_close(h->cache, ZCACHE_FLUSH);

    if (rc != 0) {
        problem("zcache_close: %s", problem_text(rc));
        return 1;
    }
    h->cache = NULL;
    rc = file_store_close(h->files);
    h->files = NULL;
    if (rc != 0) {
        problem("file_store_close: %s", problem_text(rc));
    }
    return rc != 0;
}

int house_reopen_files(struct house *h)
{
    int rc = file_store_open(h->dir, PAGE_BYTES, &h->files);

    if (rc != 0) {
        problem("file_store_open: %s", problem_text(rc));
    }
    return rc != 0;
}

static void remove_dir(const char *path)
{
    DIR *dir = opendir(path);

    struct dirent *e;

    if (dir == NULL) {
        return;
    }
    while ((e = readdir(dir)) != NULL) { /* NOLINT(concurrency-mt-unsafe): the stream is ours */
        if (e->d_name[0] != '.') {
            (void)unlinkat(dirfd(dir), e->d_name, 0);
        }
    }
    (void)closedir(dir);
    (void)rmdir(path);
}

void house_fini(struct house *h)
{
    if (h->cache != NULL && zcache_close(h->cache, ZCACHE_DISCARD) != 0) {
        return; /* still in use: leave all of it to the end of the program */
    }
    (void)file_store_close(h->files);
    for (unsigned i = 0; i < MEMBERS; i++) {
        zipf_fini(&h->member[i].popularity);
        free(h->member[i].states);
    }
    if (h->dir_is_temporary) {
        remove_dir(h->dir);
    }
    source_close(&h->source);
}
