/* SPDX-License-Identifier: BSD-2-Clause */
#include "unit/fake_files.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "check.h"
#include "mathx.h"
#include "plat.h"

enum {
    FILES = 32,
    TEXT = 8192
};

static struct {
    char path[1200];
    char text[TEXT];
    int error; /* 0: it says text */
} files[FILES];

static unsigned n_files;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): the linker's */
int __wrap_zc_plat_read_file(const char *path, char *buf, size_t cap);
int __wrap_zc_plat_watch_stalls(struct zc_plat_watch *watch,
                                const char *path,
                                uint32_t stall_us,
                                uint32_t window_us);

/* NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming) */

/* The place of @path, or the next free one. */
static unsigned find(const char *path)
{
    unsigned i = 0;

    while (i < n_files && strcmp(files[i].path, path) != 0) {
        i++;
    }
    return i;
}

static void set(const char *path, const char *text, int error)
{
    unsigned i;

    (void)pthread_mutex_lock(&lock);
    i = find(path);
    ZC_ASSERT(i < FILES);
    n_files = ZC_MAX(n_files, i + 1);
    (void)snprintf(files[i].path, sizeof(files[i].path), "%s", path);
    (void)snprintf(files[i].text, sizeof(files[i].text), "%s", text == NULL ? "" : text);
    files[i].error = error;
    (void)pthread_mutex_unlock(&lock);
}

void fake_files_clear(void)
{
    (void)pthread_mutex_lock(&lock);
    n_files = 0;
    (void)pthread_mutex_unlock(&lock);
}

void fake_file(const char *path, const char *text)
{
    set(path, text, text == NULL ? -ENOENT : 0);
}

void fake_file_error(const char *path, int error)
{
    set(path, NULL, error);
}

int __wrap_zc_plat_read_file(const char *path, char *buf, size_t cap)
{
    int rc = -ENOENT;
    unsigned i;

    (void)pthread_mutex_lock(&lock);
    i = find(path);
    if (i < n_files) {
        rc = files[i].error;
    }
    if (rc == 0) {
        rc = (int)ZC_MIN(strlen(files[i].text), cap - 1);
        (void)snprintf(buf, cap, "%s", files[i].text);
    }
    (void)pthread_mutex_unlock(&lock);
    return rc;
}

int __wrap_zc_plat_watch_stalls(struct zc_plat_watch *watch,
                                const char *path,
                                uint32_t stall_us,
                                uint32_t window_us)
{
    (void)watch;
    (void)path;
    ZC_ASSERT(stall_us > 0 && stall_us <= window_us);
    return -EACCES;
}
