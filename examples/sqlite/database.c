/* SPDX-License-Identifier: BSD-2-Clause */
#include "database.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct database *databases;
static unsigned long long n_opened; /* makes names of tenants unique */

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Which file is it? @path named it before and after SQLite said that it names this one. */
static bool identify(sqlite3_file *file, const char *path, struct stat *st)
{
    struct stat after;
    int moved = 1;

    return stat(path, st) == 0 &&
           file->pMethods->xFileControl(file, SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
           moved == 0 && stat(path, &after) == 0 && same_file(st, &after);
}

/* The file's name, with a number: "orders.db" is the tenant "orders.db.7". */
static void name_tenant(const char *path, char *name, size_t cap)
{
    const char *slash = strrchr(path, '/');
    const int room = ZCACHE_TENANT_NAME_MAX - 21; /* a dot and a number */

    (void)snprintf(name, cap, "%.*s.%llu", room, slash == NULL ? path : slash + 1, n_opened++);
    for (char *c = name; *c != '\0'; c++) {
        if (!isalnum((unsigned char)*c) && strchr("._-", *c) == NULL) {
            *c = '_';
        }
    }
}

static struct database *find_locked(const struct stat *st)
{
    struct database *db = databases;

    while (db != NULL && (db->device != st->st_dev || db->inode != st->st_ino)) {
        db = db->next;
    }
    return db;
}

static struct database *add_locked(struct zcache *cache, const struct stat *st, const char *path)
{
    char name[ZCACHE_TENANT_NAME_MAX + 1];
    struct database *db = calloc(1, sizeof(*db));

    name_tenant(path, name, sizeof(name));
    if (db == NULL || pages_init(&db->pages, cache, name) != 0) {
        free(db);
        return NULL;
    }
    watch_init(&db->watch, &db->pages);
    db->device = st->st_dev;
    db->inode = st->st_ino;
    db->next = databases;
    databases = db;
    return db;
}

struct database *database_open(struct zcache *cache, sqlite3_file *file, const char *path)
{
    struct database *db;
    struct stat st;

    if (!identify(file, path, &st)) {
        return NULL;
    }
    (void)pthread_mutex_lock(&lock);
    db = find_locked(&st);
    if (db == NULL) {
        db = add_locked(cache, &st, path);
    }
    if (db != NULL) {
        db->n_connections++;
    }
    (void)pthread_mutex_unlock(&lock);
    return db;
}

void database_close(struct database *db)
{
    (void)pthread_mutex_lock(&lock);
    const bool last = --db->n_connections == 0;
    if (last) {
        struct database **at = &databases;
        while (*at != db) {
            at = &(*at)->next;
        }
        *at = db->next;
    }
    (void)pthread_mutex_unlock(&lock);

    if (last) {
        watch_fini(&db->watch);
        pages_fini(&db->pages);
        free(db);
    }
}

bool database_none(void)
{
    (void)pthread_mutex_lock(&lock);
    const bool none = databases == NULL;
    (void)pthread_mutex_unlock(&lock);
    return none;
}
