/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nbdkit-zcache-plugin: disks in compressed memory, one for each export name, all of them tenants of
 * one cache.  See README.md.
 *
 * A disk is made when its export is opened first, and lives until the server ends.  nbdkit calls from
 * many threads at one time (PARALLEL), and forks before it serves: the cache, which has a thread of
 * its own, is made after that.
 */
#include "disk.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define THREAD_MODEL   NBDKIT_THREAD_MODEL_PARALLEL
#define DEFAULT_EXPORT "default"
#define BLOCK_MIN      512
#define REQUEST_MAX    (64u << 20)
#define THREADS        64 /* that memory is kept for; nbdkit has 16 for each connection */
#define THREAD_BYTES   (128u << 10)
#define THREAD_BLOCKS  20u
#define EXTENTS_MAX    (UINT64_C(1) << 30) /* bytes that one request for extents looks at */

struct export
{
    struct export *next;
    struct disk *disk;
    char name[];
};

static struct zcache_options cache_options = ZCACHE_OPTIONS_INIT;
static struct disk_options disk_options = {.block_bytes = 4096, .limit_bytes = ZCACHE_UNLIMITED};
static char *file_path, *metrics_path;

static struct zcache *cache;
static struct zcache_tenant *disks; /* above all of them */
static pthread_mutex_t exports_lock = PTHREAD_MUTEX_INITIALIZER;
static struct export *exports;

/* ---- configuration --------------------------------------------------------------------------- */

static int parse_size(const char *value, uint64_t *out)
{
    const int64_t size = nbdkit_parse_size(value);

    if (size <= 0) {
        nbdkit_error("not a size: %s", value);
        return -1;
    }
    *out = (uint64_t)size;
    return 0;
}

static int parse_block(const char *value)
{
    uint64_t size;

    if (parse_size(value, &size) != 0) {
        return -1;
    }
    if (size < BLOCK_MIN || size > ZCACHE_PAGE_MAX_LIMIT || (size & (size - 1)) != 0) {
        nbdkit_error("block: a power of two from %d to %u, please", BLOCK_MIN,
                     ZCACHE_PAGE_MAX_LIMIT);
        return -1;
    }
    disk_options.block_bytes = size;
    return 0;
}

static int parse_path(const char *value, char **out)
{
    free(*out);
    *out = nbdkit_absolute_path(value); /* nbdkit changes the directory when it goes to work */
    return *out != NULL ? 0 : -1;
}

static int configure(const char *key, const char *value)
{
    char error[256];

    if (strcmp(key, "size") == 0) {
        return parse_size(value, &disk_options.size_bytes);
    }
    if (strcmp(key, "block") == 0) {
        return parse_block(value);
    }
    if (strcmp(key, "limit") == 0) {
        return parse_size(value, &disk_options.limit_bytes);
    }
    if (strcmp(key, "file") == 0) {
        return parse_path(value, &file_path);
    }
    if (strcmp(key, "metrics") == 0) {
        return parse_path(value, &metrics_path);
    }
    if (strcmp(key, "cache") != 0) {
        nbdkit_error("unknown parameter: %s", key);
        return -1;
    }
    if (zcache_options_parse(&cache_options, value, error, sizeof error) != 0) {
        nbdkit_error("cache: %s", error);
        return -1;
    }
    return 0;
}

static int check_configuration(void)
{
    if (disk_options.size_bytes == 0 || cache_options.capacity_bytes == 0) {
        nbdkit_error("size=SIZE and cache=capacity=SIZE are needed");
        return -1;
    }
    return 0;
}

#define CONFIG_HELP                                                                                \
    "size=SIZE       (required) Size of each disk.\n"                                              \
    "cache=OPTIONS   (required) Of the cache, such as capacity=1G,dense=zstd:3.\n"                 \
    "block=SIZE      Unit that is compressed, default 4096.\n"                                     \
    "limit=SIZE      Memory that one disk may take.\n"                                             \
    "file=PATH       Write the disk back to this file; in a directory each disk has its own.\n"    \
    "metrics=PATH    Write statistics there when the server ends."

/* ---- the server's life ----------------------------------------------------------------------- */

static void take_message(void *ctx,
                         enum zcache_log_level level,
                         const char *event,
                         const char *text)
{
    (void)ctx;
    if (level == ZCACHE_LOG_INFO) {
        nbdkit_debug("%s: %s", event, text);
    } else {
        nbdkit_error("%s: %s", event, text);
    }
}

/*
 * What all disks together may take.  A thread that decodes needs memory, which comes from the cache too:
 * disks that are full must leave it that, or nobody could read them.
 */
static uint64_t disks_limit(void)
{
    const uint64_t capacity = cache_options.capacity_bytes;
    const uint64_t threads = THREADS * (THREAD_BYTES + THREAD_BLOCKS * disk_options.block_bytes);

    return capacity - (threads < capacity / 4 ? threads : capacity / 4);
}

/* After the fork: a cache has a thread. */
static int open_cache(void)
{
    struct zcache_tenant_options t = ZCACHE_TENANT_OPTIONS_INIT;
    int rc;

    disk_options.path = file_path;
    cache_options.page_max_bytes = (uint32_t)disk_options.block_bytes;
    cache_options.log = take_message;
    rc = zcache_open(&cache_options, &cache);
    if (rc == 0) {
        t.name = "disks";
        t.limits.limit_bytes = disks_limit();
        rc = zcache_tenant_open(zcache_root(cache), &t, &disks);
    }
    if (rc != 0) {
        nbdkit_error("cannot open the cache: %s", strerrordesc_np(-rc));
    }
    return rc == 0 ? 0 : -1;
}

static int write_piece(void *file, const char *data, size_t len)
{
    return fwrite(data, 1, len, file) == len ? 0 : -EIO;
}

static void write_metrics(void)
{
    FILE *file = fopen(metrics_path, "we");
    int rc = -errno;

    if (file != NULL) {
        rc = zcache_metrics_write(cache, ZCACHE_METRICS_PROMETHEUS, write_piece, file);
        if (fclose(file) != 0 && rc == 0) {
            rc = -errno;
        }
    }
    if (rc != 0) {
        nbdkit_error("cannot write %s: %s", metrics_path, strerrordesc_np(-rc));
    }
}

static void close_cache(void)
{
    if (metrics_path != NULL && cache != NULL) {
        write_metrics();
    }
    while (exports != NULL) {
        struct export *e = exports;
        int rc = disk_close(e->disk);

        if (rc != 0) {
            nbdkit_error("%s: not everything could be written: %s", e->name, strerrordesc_np(-rc));
        }
        exports = e->next;
        free(e);
    }
    if (zcache_close(cache, ZCACHE_DISCARD) != 0) {
        nbdkit_error("the cache is in use and stays");
    }
    cache = NULL;
}

static void unload(void)
{
    free(file_path);
    free(metrics_path);
}

static void dump(void)
{
    (void)printf("zcache_version=%s\n", zcache_version());
}

/* ---- exports --------------------------------------------------------------------------------- */

static struct export *find_export_locked(const char *name)
{
    struct export *e = exports;

    while (e != NULL && strcmp(e->name, name) != 0) {
        e = e->next;
    }
    return e;
}

static struct export *make_export_locked(const char *name)
{
    struct export *e = calloc(1, sizeof *e + strlen(name) + 1);
    int rc = -ENOMEM;

    if (e != NULL) {
        memcpy(e->name, name, strlen(name) + 1);
        rc = disk_open(disks, &disk_options, name, &e->disk);
    }
    if (rc != 0) {
        nbdkit_error("cannot open the disk '%s': %s", name, strerrordesc_np(-rc));
        nbdkit_set_error(-rc);
        free(e);
        return NULL;
    }
    e->next = exports;
    exports = e;
    return e;
}

static void *open_export(int readonly)
{
    const char *name = nbdkit_export_name();
    struct export *e;

    (void)readonly;
    if (name == NULL) {
        return NULL;
    }
    name = name[0] != '\0' ? name : DEFAULT_EXPORT;
    pthread_mutex_lock(&exports_lock);
    e = find_export_locked(name);
    if (e == NULL) {
        e = make_export_locked(name);
    }
    pthread_mutex_unlock(&exports_lock);
    return e != NULL ? e->disk : NULL;
}

static int64_t get_size(void *disk)
{
    (void)disk;
    return (int64_t)disk_options.size_bytes;
}

static int get_block_size(void *disk, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
    (void)disk;
    *minimum = 1;
    *preferred = (uint32_t)disk_options.block_bytes;
    *maximum = REQUEST_MAX;
    return 0;
}

static int yes(void *disk)
{
    (void)disk;
    return 1;
}

static int no(void *disk)
{
    (void)disk;
    return 0;
}

/* Without a file there is nothing that could be made durable: every write is as good as it gets. */
static int can_fua(void *disk)
{
    return disk_has_file(disk) ? NBDKIT_FUA_EMULATE : NBDKIT_FUA_NATIVE;
}

static int can_cache(void *disk)
{
    return disk_has_file(disk) ? NBDKIT_CACHE_EMULATE : NBDKIT_CACHE_NONE;
}

/* ---- requests -------------------------------------------------------------------------------- */

static int answer(int rc)
{
    if (rc == 0) {
        return 0;
    }
    if (rc != -ENOSPC) {
        nbdkit_error("request failed: %s", strerrordesc_np(-rc));
    }
    nbdkit_set_error(rc == -ENOSPC || rc == -ENOMEM || rc == -ESHUTDOWN ? -rc : EIO);
    return -1;
}

static int answer_read(void *disk, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
    (void)flags;
    return answer(disk_read(disk, buf, count, offset));
}

static int answer_write(void *disk,
                        const void *buf,
                        uint32_t count,
                        uint64_t offset,
                        uint32_t flags)
{
    (void)flags; /* FUA: see can_fua() */
    return answer(disk_write(disk, buf, count, offset));
}

static int answer_trim(void *disk, uint32_t count, uint64_t offset, uint32_t flags)
{
    (void)flags;
    return answer(disk_zero(disk, count, offset, false));
}

static int answer_zero(void *disk, uint32_t count, uint64_t offset, uint32_t flags)
{
    return answer(disk_zero(disk, count, offset, (flags & NBDKIT_FLAG_MAY_TRIM) == 0));
}

static int answer_flush(void *disk, uint32_t flags)
{
    (void)flags;
    return answer(disk_flush(disk));
}

static int answer_extents(void *disk,
                          uint32_t count,
                          uint64_t offset,
                          uint32_t flags,
                          struct nbdkit_extents *extents)
{
    uint64_t end = offset + (count < EXTENTS_MAX ? count : EXTENTS_MAX);

    do {
        uint64_t next;
        const bool hole = disk_extent(disk, offset, end, &next);

        if (nbdkit_add_extent(extents, offset, next - offset,
                              hole ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0) != 0) {
            return -1;
        }
        offset = next;
    } while (offset < end && (flags & NBDKIT_FLAG_REQ_ONE) == 0);
    return 0;
}

static struct nbdkit_plugin plugin = {
    .name = "zcache",
    .longname = "compressed memory with tenants and write-back",
    .description = "RAM disks that are compressed, one for each export, optionally over files",
    .unload = unload,
    .config = configure,
    .config_complete = check_configuration,
    .config_help = CONFIG_HELP,
    .after_fork = open_cache,
    .cleanup = close_cache,
    .dump_plugin = dump,
    .open = open_export,
    .get_size = get_size,
    .block_size = get_block_size,
    .can_write = yes,
    .can_flush = yes,
    .can_trim = yes,
    .can_zero = yes,
    .can_fast_zero = yes,
    .can_extents = yes,
    .can_multi_conn = yes,
    .is_rotational = no,
    .can_fua = can_fua,
    .can_cache = can_cache,
    .pread = answer_read,
    .pwrite = answer_write,
    .trim = answer_trim,
    .zero = answer_zero,
    .flush = answer_flush,
    .extents = answer_extents,
};

struct nbdkit_plugin *plugin_init(void); /* which the macro defines */

NBDKIT_REGISTER_PLUGIN(plugin)
