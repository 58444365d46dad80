/* SPDX-License-Identifier: BSD-2-Clause */
/* The table is the C library's balanced tree, under a lock; files are never taken out of it. */
#define _GNU_SOURCE 1 /* NOLINT(bugprone-reserved-identifier) */
#include "uring_files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zcache/tenant.h>

struct files {
    int dir_fd;
    int open_flags;
    pthread_mutex_t sync_lock; /* around all of a sync, taken first: Linux reports a failure once */
    int sync_error;
    pthread_mutex_t lock;
    /* under lock */
    void *tree;
    struct file *first;
    struct file **last;
};

static int compare_files(const void *a, const void *b)
{
    const struct file *x = a;
    const struct file *y = b;

    if (x->object != y->object) {
        return x->object < y->object ? -1 : 1;
    }
    return strcmp(x->tenant, y->tenant);
}

/* The name of a new file is durable before anything is in it. */
static int open_fd(const struct files *s, const struct file *f, bool create, int *fd_out)
{
    char name[ZCACHE_TENANT_NAME_MAX + sizeof ".0123456789abcdef"];
    int rc = 0;

    if (strlen(f->tenant) > ZCACHE_TENANT_NAME_MAX || strchr(f->tenant, '/') != NULL) {
        return -EINVAL;
    }
    (void)snprintf(name, sizeof name, "%s.%016" PRIx64, f->tenant, f->object);
    *fd_out = openat(s->dir_fd, name, s->open_flags);
    if (*fd_out >= 0 || errno != ENOENT || !create) {
        return *fd_out >= 0 ? 0 : -errno;
    }
    *fd_out = openat(s->dir_fd, name, s->open_flags | O_CREAT, 0666);
    if (*fd_out < 0) {
        return -errno;
    }
    if (fsync(s->dir_fd) != 0) {
        rc = -errno;
        (void)close(*fd_out);
    }
    return rc;
}

static struct file *make_file(const char *tenant, uint64_t object)
{
    struct file *f = calloc(1, sizeof *f);

    if (f == NULL) {
        return NULL;
    }
    f->object = object;
    f->tenant = strdup(tenant);
    if (f->tenant == NULL) {
        free(f);
        return NULL;
    }
    return f;
}

static void free_file(struct file *f)
{
    free(f->tenant);
    free(f);
}

static int add_locked(struct files *s,
                      const char *tenant,
                      uint64_t object,
                      bool create,
                      struct file **out)
{
    struct file *f = make_file(tenant, object);
    int rc = f == NULL ? -ENOMEM : open_fd(s, f, create, &f->fd);

    if (rc == 0 && tsearch(f, &s->tree, compare_files) == NULL) {
        (void)close(f->fd);
        rc = -ENOMEM;
    }
    if (rc != 0) {
        if (f != NULL) {
            free_file(f);
        }
        return rc;
    }
    *s->last = f;
    s->last = &f->next;
    *out = f;
    return 0;
}

int files_get(struct files *s, const char *tenant, uint64_t object, bool create, struct file **out)
{
    union {
        const char *in;
        char *out;
    } name = {.in = tenant};
    const struct file wanted = {.object = object, .tenant = name.out};
    struct file *const *found;
    int rc = 0;

    pthread_mutex_lock(&s->lock);
    found = tfind(&wanted, &s->tree, compare_files);
    if (found != NULL) {
        *out = *found;
    } else {
        rc = add_locked(s, tenant, object, create, out);
    }
    pthread_mutex_unlock(&s->lock);
    return rc;
}

void files_touch(struct files *s, struct file *file)
{
    pthread_mutex_lock(&s->lock);
    file->unsynced = true;
    pthread_mutex_unlock(&s->lock);
}

/* The next one after @before, or the first, that is to be synced; from now on it is not. */
static struct file *next_unsynced(struct files *s, const struct file *before)
{
    struct file *f;

    pthread_mutex_lock(&s->lock);
    f = before == NULL ? s->first : before->next;
    while (f != NULL && !f->unsynced) {
        f = f->next;
    }
    if (f != NULL) {
        f->unsynced = false;
    }
    pthread_mutex_unlock(&s->lock);
    return f;
}

int files_sync(struct files *s)
{
    struct file *f = NULL;
    int rc;

    pthread_mutex_lock(&s->sync_lock);
    while ((f = next_unsynced(s, f)) != NULL) {
        if (fdatasync(f->fd) != 0 && s->sync_error == 0) {
            s->sync_error = -errno;
        }
    }
    rc = s->sync_error;
    pthread_mutex_unlock(&s->sync_lock);
    return rc;
}

int files_open(const char *dir, bool direct, struct files **out)
{
    struct files *s;

    if (mkdir(dir, 0777) != 0 && errno != EEXIST) {
        return -errno;
    }
    s = calloc(1, sizeof *s);
    if (s == NULL) {
        return -ENOMEM;
    }
    s->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->dir_fd < 0) {
        free(s);
        return -errno;
    }
    s->open_flags = O_RDWR | O_CLOEXEC | (direct ? O_DIRECT : 0);
    s->last = &s->first;
    pthread_mutex_init(&s->sync_lock, NULL);
    pthread_mutex_init(&s->lock, NULL);
    *out = s;
    return 0;
}

static void keep(void *node)
{
    (void)node; /* the files go by their list */
}

int files_close(struct files *s)
{
    const int rc = files_sync(s);

    for (struct file *f = s->first, *next; f != NULL; f = next) {
        next = f->next;
        (void)close(f->fd);
        free_file(f);
    }
    tdestroy(s->tree, keep);
    (void)close(s->dir_fd);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->sync_lock);
    free(s);
    return rc;
}
