/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE 1 /* NOLINT(bugprone-reserved-identifier) */
#include "sqlite.h"

#include <pages.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char dir[64];
static atomic_ullong n_compared;

/* ---- each page is what the file has ------------------------------------------------------------- */

/* NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): the linker's */
int __real_pages_read(struct pages *pages,
                      sqlite3_file *file,
                      void *buf,
                      int len,
                      sqlite3_int64 at);
int __wrap_pages_read(struct pages *pages,
                      sqlite3_file *file,
                      void *buf,
                      int len,
                      sqlite3_int64 at);

/* NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming) */

int __wrap_pages_read(struct pages *pages, sqlite3_file *file, void *buf, int len, sqlite3_int64 at)
{
    const int rc = __real_pages_read(pages, file, buf, len, at);

    if (rc == SQLITE_OK) {
        void *now = malloc((size_t)len);
        REQUIRE(now != NULL);
        REQUIRE_EQUAL(file->pMethods->xRead(file, now, len, at), SQLITE_OK);
        if (memcmp(buf, now, (size_t)len) != 0) {
            (void)fprintf(stderr, "page %lld of %d bytes is not what the file has\n", at / len + 1,
                          len);
            REQUIRE(!"the cache is stale");
        }
        free(now);
        atomic_fetch_add(&n_compared, 1);
    }
    return rc;
}

unsigned long long db_compared(void)
{
    return atomic_load(&n_compared);
}

/* ---- files -------------------------------------------------------------------------------------- */

void db_dir_make(void)
{
    (void)snprintf(dir, sizeof(dir), "/tmp/zcache-sqlite.XXXXXX");
    REQUIRE(mkdtemp(dir) != NULL);
}

void db_dir_remove(void)
{
    DIR *d = opendir(dir);
    struct dirent *e;

    REQUIRE(d != NULL);
    while ((e = readdir(d)) != NULL) { /* NOLINT(concurrency-mt-unsafe): the stream is ours */
        if (e->d_name[0] != '.') {
            REQUIRE_EQUAL(unlinkat(dirfd(d), e->d_name, 0), 0);
        }
    }
    REQUIRE_EQUAL(closedir(d), 0);
    REQUIRE_EQUAL(rmdir(dir), 0);
}

const char *db_dir(void)
{
    return dir;
}

const char *db_path(const char *name)
{
    static _Thread_local char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

/* ---- the cache ---------------------------------------------------------------------------------- */

void db_cache_open(uint64_t capacity_bytes)
{
    struct zcache_options options = ZCACHE_OPTIONS_INIT;

    options.capacity_bytes = capacity_bytes;
    options.full_policy = ZCACHE_FULL_HELP;
    REQUIRE_EQUAL(zcachevfs_register(&options, PLAIN, false), SQLITE_OK);
}

void db_cache_close(void)
{
    verify_cache(zcachevfs_cache());
    REQUIRE_EQUAL(zcachevfs_unregister(), SQLITE_OK);
}

/* ---- connections -------------------------------------------------------------------------------- */

static void must(sqlite3 *db, int rc, const char *what)
{
    if (rc != SQLITE_OK) {
        (void)fprintf(stderr, "%s: %s (%d)\n", what, sqlite3_errmsg(db),
                      sqlite3_extended_errcode(db));
        REQUIRE_EQUAL(rc, SQLITE_OK);
    }
}

sqlite3 *db_open(const char *name, const char *vfs)
{
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    sqlite3 *db = NULL;
    const int rc = sqlite3_open_v2(db_path(name), &db, flags, vfs);

    must(db, rc, name);
    must(db, sqlite3_busy_timeout(db, 60000), "busy_timeout");
    db_exec(db, "PRAGMA cache_size = 12; PRAGMA synchronous = OFF");
    return db;
}

void db_close(sqlite3 *db)
{
    must(db, sqlite3_close(db), "close");
}

static int run(sqlite3 *db, const char *sql, va_list args)
{
    char *text = sqlite3_vmprintf(sql, args);

    REQUIRE(text != NULL);
    const int rc = sqlite3_exec(db, text, NULL, NULL, NULL);
    sqlite3_free(text);
    return rc;
}

void db_exec(sqlite3 *db, const char *sql, ...)
{
    va_list args;

    va_start(args, sql);
    must(db, run(db, sql, args), sql);
    va_end(args);
}

int db_try(sqlite3 *db, const char *sql, ...)
{
    va_list args;

    va_start(args, sql);
    const int rc = run(db, sql, args);
    va_end(args);
    return rc;
}

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql, va_list args)
{
    char *text = sqlite3_vmprintf(sql, args);
    sqlite3_stmt *statement;

    REQUIRE(text != NULL);
    must(db, sqlite3_prepare_v2(db, text, -1, &statement, NULL), text);
    sqlite3_free(text);
    return statement;
}

int64_t db_number(sqlite3 *db, const char *sql, ...)
{
    va_list args;

    va_start(args, sql);
    sqlite3_stmt *statement = prepare(db, sql, args);
    va_end(args);
    if (sqlite3_step(statement) != SQLITE_ROW) {
        must(db, sqlite3_errcode(db), sql);
    }
    const int64_t number = sqlite3_column_int64(statement, 0);
    must(db, sqlite3_finalize(statement), sql);
    return number;
}

static uint64_t mix(uint64_t digest, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        digest = (digest ^ ((const unsigned char *)bytes)[i]) * UINT64_C(0x100000001b3);
    }
    return digest;
}

uint64_t db_digest(sqlite3 *db, const char *sql, ...)
{
    uint64_t digest = UINT64_C(0xcbf29ce484222325);
    va_list args;
    int rc;

    va_start(args, sql);
    sqlite3_stmt *statement = prepare(db, sql, args);
    va_end(args);
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        for (int i = 0; i < sqlite3_column_count(statement); i++) {
            const void *bytes = sqlite3_column_blob(statement, i);
            const int len = sqlite3_column_bytes(statement, i);
            digest = mix(digest, &len, sizeof(len));
            digest = mix(digest, bytes, (size_t)len);
        }
    }
    REQUIRE_EQUAL(rc, SQLITE_DONE);
    must(db, sqlite3_finalize(statement), sql);
    return digest;
}

void db_check(sqlite3 *db)
{
    sqlite3_stmt *statement;

    must(db, sqlite3_prepare_v2(db, "PRAGMA integrity_check", -1, &statement, NULL), "check");
    REQUIRE_EQUAL(sqlite3_step(statement), SQLITE_ROW);
    const char *text = (const char *)sqlite3_column_text(statement, 0);
    if (strcmp(text, "ok") != 0) {
        (void)fprintf(stderr, "integrity_check: %s\n", text);
        REQUIRE(!"the database is sound");
    }
    must(db, sqlite3_finalize(statement), "check");
}

int64_t db_stat(sqlite3 *db, const char *name)
{
    sqlite3_stmt *statement;
    char wanted[64];

    must(db, sqlite3_prepare_v2(db, "PRAGMA zcache_stats", -1, &statement, NULL), "stats");
    REQUIRE_EQUAL(sqlite3_step(statement), SQLITE_ROW);
    (void)snprintf(wanted, sizeof(wanted), "\"%s\":", name);
    const char *at = strstr((const char *)sqlite3_column_text(statement, 0), wanted);
    REQUIRE(at != NULL);
    const int64_t number = strtoll(at + strlen(wanted), NULL, 10);
    must(db, sqlite3_finalize(statement), "stats");
    return number;
}

/* ---- another process ---------------------------------------------------------------------------- */

int db_shell(const char *name, const char *input)
{
    char path[128];
    int pipe_ends[2];
    int status;

    (void)snprintf(path, sizeof(path), "%s", db_path(name));
    REQUIRE_EQUAL(pipe2(pipe_ends, O_CLOEXEC), 0);
    const pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        (void)dup2(pipe_ends[0], STDIN_FILENO);
        (void)dup2(null, STDOUT_FILENO);
        execlp("sqlite3", "sqlite3", "-batch", "-bail", "-init", "/dev/null", path, (char *)NULL);
        _exit(127);
    }
    REQUIRE_EQUAL(close(pipe_ends[0]), 0);
    REQUIRE_EQUAL(write(pipe_ends[1], input, strlen(input)), strlen(input));
    REQUIRE_EQUAL(close(pipe_ends[1]), 0);
    REQUIRE_EQUAL(waitpid(pid, &status, 0), pid);
    return status;
}

void db_need_shell(void)
{
    /* NOLINTNEXTLINE(concurrency-mt-unsafe,cert-env33-c): there are no threads yet */
    const int status = system("sqlite3 -version >/dev/null 2>&1");

    if (status != 0) {
        test_skip("sqlite3, SQLite's shell, is missing");
    }
}
