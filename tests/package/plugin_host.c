/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * usage: plugin_host LIBRARY
 *
 * Loads the library as a plug-in and uses it on a thread that outlives the plug-in: its exit runs
 * the library's thread-exit handlers after dlclose().  Exit status 3: it cannot be loaded.
 */
#include <zcache/zcache.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static int (*cache_open)(const struct zcache_options *, struct zcache **);
static int (*cache_close)(struct zcache *, unsigned);
static struct zcache_tenant *(*cache_root)(struct zcache *);
static int (*cache_put)(struct zcache_tenant *, struct zcache_key, const void *, size_t, unsigned);
static int (
    *cache_get)(struct zcache_tenant *, struct zcache_key, void *, size_t, size_t *, unsigned);

static void *library;

/* ISO C has no conversion from void * to a function; POSIX has, in this form. */
static int bind_function(const char *name, void *function)
{
    void *symbol = dlsym(library, name);

    memcpy(function, &symbol, sizeof(symbol));
    return symbol == NULL ? -1 : 0;
}

static int use_cache(void)
{
    struct zcache_options options = ZCACHE_OPTIONS_INIT;
    struct zcache_key key = {7, 11};
    struct zcache *cache = NULL;
    char page[4096] = "a page";
    char seen[sizeof(page)];
    int result;

    options.capacity_bytes = (uint64_t)32 << 20;
    if (cache_open(&options, &cache) != 0) {
        return 1;
    }
    result = cache_put(cache_root(cache), key, page, sizeof(page), ZCACHE_CLEAN) != 0 ||
             cache_get(cache_root(cache), key, seen, sizeof(seen), NULL, 0) != 0 ||
             memcmp(page, seen, sizeof(page)) != 0;
    return cache_close(cache, ZCACHE_DISCARD) != 0 || result;
}

static pthread_barrier_t used;
static pthread_barrier_t unloaded;
static int thread_result;

static void *user_thread(void *unused)
{
    (void)unused;
    thread_result = use_cache();
    pthread_barrier_wait(&used);
    pthread_barrier_wait(&unloaded);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t thread;

    library = argc == 2 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    if (library == NULL) {
        printf("plugin_host: %s\n", argc == 2 ? dlerror() : "no library given");
        return 3;
    }
    if (bind_function("zcache_open", &cache_open) != 0 ||
        bind_function("zcache_close", &cache_close) != 0 ||
        bind_function("zcache_root", &cache_root) != 0 ||
        bind_function("zcache_put", &cache_put) != 0 ||
        bind_function("zcache_get", &cache_get) != 0) {
        puts("plugin_host: a function is missing");
        return 1;
    }
    pthread_barrier_init(&used, NULL, 2);
    pthread_barrier_init(&unloaded, NULL, 2);
    if (pthread_create(&thread, NULL, user_thread, NULL) != 0) {
        return 1;
    }
    pthread_barrier_wait(&used);
    if (use_cache() != 0 || thread_result != 0) {
        puts("plugin_host: the cache does not work");
        return 1;
    }
    dlclose(library);
    pthread_barrier_wait(&unloaded);
    pthread_join(thread, NULL);
    puts("plugin_host: ok");
    return 0;
}
