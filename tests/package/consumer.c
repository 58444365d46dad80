/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A user of the installed library: stores pages, reads them back, and looks whether the C library's
 * malloc is still the one it calls.  "consumer own" skips that look: the program has another malloc.
 * Compiles as C11 and as C++11.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <zcache/codec.h>
#include <zcache/stats.h>
#include <zcache/store.h>
#include <zcache/tenant.h>
#include <zcache/zcache.h>

#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGES      200
#define PAGE_BYTES 8192

static int fail(const char *what, int result)
{
    printf("consumer: %s: %d\n", what, result);
    return 1;
}

static void fill(unsigned char *page, unsigned number)
{
    for (unsigned i = 0; i < PAGE_BYTES; i++) {
        page[i] = (unsigned char)(i / 64 * number);
    }
}

static int use_cache(void)
{
    static unsigned char page[PAGE_BYTES];
    static unsigned char seen[PAGE_BYTES];
    struct zcache_options options = ZCACHE_OPTIONS_INIT;
    struct zcache *cache = NULL;
    struct zcache_tenant *root;
    size_t len = 0;
    int result;

    options.capacity_bytes = (uint64_t)64 << 20;
    result = zcache_open(&options, &cache);
    if (result != 0) {
        return fail("open", result);
    }
    root = zcache_root(cache);
    for (unsigned i = 0; i < PAGES; i++) {
        struct zcache_key key = {1, i};
        fill(page, i);
        result = zcache_put(root, key, page, sizeof(page), ZCACHE_CLEAN);
        if (result != 0) {
            return fail("put", result);
        }
    }
    for (unsigned i = 0; i < PAGES; i++) {
        struct zcache_key key = {1, i};
        fill(page, i);
        result = zcache_get(root, key, seen, sizeof(seen), &len, 0);
        if (result != 0 || len != sizeof(page) || memcmp(page, seen, len) != 0) {
            return fail("get", result);
        }
    }
    result = zcache_close(cache, ZCACHE_DISCARD);
    return result == 0 ? 0 : fail("close", result);
}

static int check_malloc(void)
{
    static const char *const names[] = {"malloc", "free",           "calloc",       "realloc",
                                        "strdup", "posix_memalign", "aligned_alloc"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        Dl_info info;
        void *function = dlsym(RTLD_DEFAULT, names[i]);
        if (function == NULL || dladdr(function, &info) == 0) {
            return fail(names[i], -1);
        }
        if (strstr(info.dli_fname, "libc.so") == NULL) {
            printf("consumer: %s comes from %s\n", names[i], info.dli_fname);
            return 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    bool own_malloc = argc > 1 && strcmp(argv[1], "own") == 0;
    char *text = strdup("allocated by the C library, freed by the program");
    void *early = malloc(100000);

    if (use_cache() != 0) {
        return 1;
    }
    free(text);
    free(early);
    if (!own_malloc && check_malloc() != 0) {
        return 1;
    }
    puts("consumer: ok");
    return 0;
}
