/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Another process changes the file: SQLite's shell, which knows nothing of the cache. Each test fills the
 * cache, has the other do something, and reads everything again.
 */
#define _GNU_SOURCE 1 /* NOLINT(bugprone-reserved-identifier) */
#include "examples/sqlite.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <watch.h>

#define ALL_ROWS "SELECT id, body FROM t ORDER BY id"

#define CHANGE   "UPDATE t SET body = replace(body, 'o', 'e') || id WHERE id & 2;"
#define REVERSE  "UPDATE t SET body = replace(body, 'e', 'o') || id WHERE id & 1;"

static struct world {
    sqlite3 *a, *b; /* of this process */
    sqlite3 *model;
} world;

static void fill(sqlite3 *db)
{
    db_exec(db, "CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT);"
                "WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 3000)"
                " INSERT INTO t SELECT i, printf('row %%0200d of some length', i * i) FROM c");
}

static void begin(const char *journal_mode)
{
    db_dir_make();
    db_cache_open(8 * MIB);
    world.a = db_open("t.db", CACHED);
    db_exec(world.a, "PRAGMA journal_mode = %s; PRAGMA wal_autocheckpoint = 0", journal_mode);
    fill(world.a);
    world.b = db_open("t.db", CACHED);
    REQUIRE_EQUAL(sqlite3_open(":memory:", &world.model), SQLITE_OK);
    fill(world.model);
    db_exec(world.a, "PRAGMA wal_checkpoint(TRUNCATE)");
}

static uint64_t expected(void)
{
    return db_digest(world.model, ALL_ROWS);
}

static void read_all(void)
{
    REQUIRE_EQUAL(db_digest(world.a, ALL_ROWS), expected());
    REQUIRE_EQUAL(db_digest(world.b, ALL_ROWS), expected());
}

/* Most of it is in the cache: otherwise there would be nothing to be stale. */
static void read_all_from_the_cache(void)
{
    read_all();
    const int64_t before = db_stat(world.a, "hits");
    read_all();
    REQUIRE(db_stat(world.a, "hits") - before > 100);
}

static void end(void)
{
    db_exec(world.a, "PRAGMA wal_checkpoint");
    read_all_from_the_cache();
    db_check(world.a);
    db_close(world.a);
    db_close(world.b);
    db_close(world.model);
    db_cache_close();
    db_dir_remove();
}

static void other(const char *sql)
{
    REQUIRE_EQUAL(db_shell("t.db", sql), 0);
}

/* The other commits and may do more; what both processes have is @sql later. */
static void other_changes(const char *sql, const char *more)
{
    char input[512];

    read_all();
    const int64_t forgotten = db_stat(world.a, "forgotten");
    (void)snprintf(input, sizeof(input), "PRAGMA wal_autocheckpoint = 0;\n%s\n%s\n", sql, more);
    other(input);
    db_exec(world.model, "%s", sql);
    read_all();
    REQUIRE(more[0] == '\0' || db_stat(world.a, "forgotten") > forgotten);
}

static void with_a_rollback_journal(void **state)
{
    static const char *const modes[] = {"DELETE", "TRUNCATE", "PERSIST"};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        begin(modes[i]);
        read_all_from_the_cache();
        other_changes(CHANGE, "SELECT 1;");
        read_all_from_the_cache();
        other_changes(REVERSE, "SELECT 1;");
        db_exec(world.b, CHANGE);
        db_exec(world.model, CHANGE);
        other_changes("DELETE FROM t WHERE id > 1000;", "VACUUM;");
        db_exec(world.a, REVERSE);
        db_exec(world.model, REVERSE);
        end();
    }
}

static void with_a_write_ahead_log(void **state)
{
    (void)state;
    begin("WAL");
    read_all_from_the_cache();
    other_changes(CHANGE, ""); /* it stays in the log */
    other_changes(REVERSE, "PRAGMA wal_checkpoint(PASSIVE);");
    read_all_from_the_cache();
    other_changes(CHANGE, "PRAGMA wal_checkpoint(RESTART);");
    read_all_from_the_cache();
    other_changes(REVERSE, "PRAGMA wal_checkpoint(TRUNCATE);");
    db_exec(world.b, CHANGE);
    db_exec(world.model, CHANGE);
    read_all();
    const int64_t forgotten = db_stat(world.a, "forgotten");
    other("PRAGMA wal_checkpoint;"); /* of what this process has committed */
    read_all();
    REQUIRE(db_stat(world.a, "forgotten") > forgotten);
    other_changes("DELETE FROM t WHERE id > 1000;", "VACUUM; PRAGMA wal_checkpoint(TRUNCATE);");
    end();
}

/* Its own checkpoints, and logs that start anew, cost this process nothing. */
static void own_checkpoints(void **state)
{
    static const char *const how[] = {"PASSIVE", "FULL", "RESTART", "TRUNCATE"};

    (void)state;
    begin("WAL");
    db_exec(world.b, "UPDATE t SET body = body || 'x' WHERE id = 1"); /* the log has a salt now */
    db_exec(world.model, "UPDATE t SET body = body || 'x' WHERE id = 1");
    read_all();
    const int64_t forgotten = db_stat(world.a, "forgotten");
    for (unsigned i = 0; i < 40; i++) {
        sqlite3 *writer = i % 2 == 0 ? world.a : world.b;
        db_exec(writer, i % 3 == 0 ? CHANGE : REVERSE);
        db_exec(world.model, i % 3 == 0 ? CHANGE : REVERSE);
        db_exec(i % 5 == 0 ? world.a : world.b, "PRAGMA wal_checkpoint(%s)", how[i % 4]);
        read_all();
    }
    REQUIRE_EQUAL(db_stat(world.a, "forgotten"), forgotten);
    end();
}

/* A transaction sees what it saw, though others copy newer pages into the file. */
static void a_reader_keeps_its_snapshot(void **state)
{
    (void)state;
    begin("WAL");
    db_exec(world.b, CHANGE); /* read from the log while there is one */
    db_exec(world.model, CHANGE);
    db_exec(world.a, "BEGIN");
    const uint64_t before = db_digest(world.a, ALL_ROWS);
    REQUIRE_EQUAL(before, expected());
    other("PRAGMA wal_checkpoint;\n" REVERSE "PRAGMA wal_checkpoint;\n");
    db_exec(world.model, REVERSE);
    REQUIRE_EQUAL(db_digest(world.b, ALL_ROWS), expected());
    REQUIRE_EQUAL(db_digest(world.a, ALL_ROWS), before);
    db_exec(world.a, "COMMIT");
    end();
}

/* ---- between two steps of a reader ---------------------------------------------------------------- */

static bool interrupt; /* the next reader, when it has got its mark */

/* NOLINTBEGIN(bugprone-reserved-identifier,readability-identifier-naming): the linker's */
void __real_watch_shm_locked(struct watch *watch, struct view *view, int first, int n, int flags);
void __wrap_watch_shm_locked(struct watch *watch, struct view *view, int first, int n, int flags);

/* NOLINTEND(bugprone-reserved-identifier,readability-identifier-naming) */

void __wrap_watch_shm_locked(struct watch *watch, struct view *view, int first, int n, int flags)
{
    __real_watch_shm_locked(watch, view, first, n, flags);
    if (interrupt && (flags & SQLITE_SHM_SHARED) != 0 && first > WAL_READ_0) {
        interrupt = false;
        other("PRAGMA wal_checkpoint;");
    }
}

/*
 * SQLite has the lock and does not know yet from where to read the log on: a checkpoint that ends now is
 * one that it takes pages from, out of the file. The cache has the pages from before.
 */
static void a_checkpoint_ends_before_the_first_read(void **state)
{
    (void)state;
    begin("WAL");
    db_exec(world.b, "UPDATE t SET body = body || 'x' WHERE id = 1"); /* the log has a salt now */
    db_exec(world.model, "UPDATE t SET body = body || 'x' WHERE id = 1");
    read_all_from_the_cache();
    other_changes(CHANGE, "");
    REQUIRE(db_stat(world.a, "pages") > 100);
    interrupt = true;
    read_all();
    REQUIRE(!interrupt);
    end();
}

/* ---- nobody watches ------------------------------------------------------------------------------- */

/* A connection without a lock keeps the pages, and meanwhile the file is changed in another mode. */
static void an_idle_connection(void **state)
{
    sqlite3 *idle;

    (void)state;
    for (unsigned wal = 0; wal < 2; wal++) {
        begin(wal ? "WAL" : "DELETE");
        read_all_from_the_cache();
        const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
        REQUIRE_EQUAL(sqlite3_open_v2(db_path("t.db"), &idle, flags, CACHED), SQLITE_OK);
        db_close(world.a);
        db_close(world.b);
        other("PRAGMA journal_mode = WAL;\n" CHANGE "\nPRAGMA wal_checkpoint;\n");
        db_exec(world.model, CHANGE);
        REQUIRE(wal || db_stat(idle, "pages") > 100);
        REQUIRE_EQUAL(db_digest(idle, ALL_ROWS), expected());
        world.a = db_open("t.db", CACHED);
        world.b = db_open("t.db", CACHED);
        db_close(idle);
        end();
    }
}

/*
 * To leave WAL mode a connection takes the file for itself, without a look at the WAL-index. What another
 * process has copied into the file before that is only to be seen in the file.
 */
static void alone_with_a_log_that_others_wrote(void **state)
{
    (void)state;
    begin("WAL");
    read_all_from_the_cache();
    db_close(world.b);
    other("CREATE TABLE more (n);\n" CHANGE "\nPRAGMA wal_checkpoint;\n");
    db_exec(world.model, CHANGE);
    REQUIRE(db_stat(world.a, "pages") > 100);
    db_exec(world.a, "PRAGMA journal_mode = DELETE");
    REQUIRE_EQUAL(db_digest(world.a, ALL_ROWS), expected());
    REQUIRE_EQUAL(db_number(world.a, "SELECT count(*) FROM more"), 0);
    world.b = db_open("t.db", CACHED);
    end();
}

/* A new file by the name of an old one, perhaps with its inode, is another database. */
static void the_file_is_replaced(void **state)
{
    (void)state;
    begin("DELETE");
    read_all_from_the_cache();
    db_close(world.a);
    db_close(world.b);
    REQUIRE_EQUAL(remove(db_path("t.db")), 0);
    other("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT);\n"
          "INSERT INTO t SELECT value, printf('%0500d', value) FROM generate_series(1, 500);\n");
    db_exec(world.model, "DELETE FROM t WHERE id > 500; UPDATE t SET body = printf('%%0500d', id)");
    world.a = db_open("t.db", CACHED);
    world.b = db_open("t.db", CACHED);
    end();
}

/* ---- the other is killed -------------------------------------------------------------------------- */

static void killed_amid(const char *sql)
{
    char input[512];

    read_all_from_the_cache();
    (void)snprintf(input, sizeof(input),
                   "PRAGMA cache_size = 4;\nPRAGMA wal_autocheckpoint = 0;\nBEGIN;\n%s\n"
                   ".shell kill -9 $PPID\n",
                   sql);
    const int status = db_shell("t.db", input);
    REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    read_all();
}

/* It leaves a journal behind, or a log without an end; the file has some of its pages. */
static void the_other_is_killed(void **state)
{
    (void)state;
    for (unsigned wal = 0; wal < 2; wal++) {
        begin(wal ? "WAL" : "TRUNCATE");
        killed_amid(CHANGE);
        killed_amid("DELETE FROM t WHERE id & 4; " REVERSE);
        killed_amid("INSERT INTO t SELECT id + 10000, body FROM t;");
        other_changes(CHANGE, wal ? "PRAGMA wal_checkpoint;" : "SELECT 1;");
        end();
    }
}

/* ---- the same process, with another VFS ------------------------------------------------------------ */

static void a_connection_past_the_cache(void **state)
{
    (void)state;
    for (unsigned wal = 0; wal < 2; wal++) {
        begin(wal ? "WAL" : "DELETE");
        sqlite3 *plain = db_open("t.db", PLAIN);
        for (unsigned i = 0; i < 10; i++) {
            read_all();
            db_exec(plain, i % 2 == 0 ? CHANGE : REVERSE);
            db_exec(world.model, i % 2 == 0 ? CHANGE : REVERSE);
            db_exec(plain, "PRAGMA wal_checkpoint(%s)", i % 3 == 0 ? "TRUNCATE" : "PASSIVE");
        }
        db_close(plain);
        end();
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_a_rollback_journal),
        cmocka_unit_test(with_a_write_ahead_log),
        cmocka_unit_test(own_checkpoints),
        cmocka_unit_test(a_reader_keeps_its_snapshot),
        cmocka_unit_test(a_checkpoint_ends_before_the_first_read),
        cmocka_unit_test(an_idle_connection),
        cmocka_unit_test(alone_with_a_log_that_others_wrote),
        cmocka_unit_test(the_file_is_replaced),
        cmocka_unit_test(the_other_is_killed),
        cmocka_unit_test(a_connection_past_the_cache),
    };

    (void)test_begin(argc, argv, 0);
    db_need_shell();
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    print_message("%llu pages were compared with the file\n", db_compared());
    return failed;
}
