/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random work on a database through the cache, by several connections in turn, and the same on one in
 * memory: both have the same content all the time, whatever the journal mode, the size of pages, the
 * quota, and with checkpoints, vacuums and writes that fail in between.
 *
 * usage: test_examples_sqlite_work [SEED]
 */
#define _GNU_SOURCE 1 /* NOLINT(bugprone-reserved-identifier) */
#include "examples/sqlite.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    CONNECTIONS = 3,
    ROWS = 1500,
    STEPS = 200,
};

#define ALL_ROWS "SELECT id, n, body FROM t ORDER BY id"

static uint64_t seed = 71;

/* ---- the work ----------------------------------------------------------------------------------- */

struct work {
    struct rng rng;
    sqlite3 *db[CONNECTIONS];
    sqlite3 *model;
    unsigned current; /* the connection whose turn it is */
};

static void both(struct work *w, const char *sql)
{
    db_exec(w->db[w->current], "%s", sql);
    db_exec(w->model, "%s", sql);
}

static void make_body(struct rng *rng, char *body, size_t cap)
{
    const size_t len = rng_below(rng, 20) == 0 ? cap - 1 : 20 + rng_below(rng, 200);

    for (size_t i = 0; i < len; i++) {
        body[i] = (char)('a' + (i % 3 == 0 ? rng_below(rng, 26) : i % 26));
    }
    body[len] = '\0';
}

static void change_rows(struct work *w)
{
    char body[3000];
    char sql[3200];
    const unsigned id = (unsigned)rng_below(&w->rng, ROWS);

    switch (rng_below(&w->rng, 4)) {
    case 0:
    case 1:
        make_body(&w->rng, body, sizeof(body));
        (void)snprintf(sql, sizeof(sql), "REPLACE INTO t VALUES (%u, %u, '%s')", id,
                       (unsigned)rng_below(&w->rng, 1000), body);
        break;
    case 2:
        (void)snprintf(sql, sizeof(sql),
                       "UPDATE t SET n = n + 1, body = body || n WHERE id BETWEEN %u AND %u", id,
                       id + 40);
        break;
    default:
        (void)snprintf(sql, sizeof(sql), "DELETE FROM t WHERE id BETWEEN %u AND %u", id, id + 8);
    }
    both(w, sql);
}

static void change_much(struct work *w)
{
    both(w, "BEGIN");
    for (uint64_t n = 1 + rng_below(&w->rng, 12); n > 0; n--) {
        change_rows(w);
        if (rng_below(&w->rng, 8) == 0) {
            both(w, "SAVEPOINT s");
            change_rows(w);
            both(w, rng_below(&w->rng, 2) == 0 ? "ROLLBACK TO s" : "RELEASE s");
        }
    }
    both(w, rng_below(&w->rng, 3) == 0 ? "ROLLBACK" : "COMMIT");
}

static void read_rows(struct work *w)
{
    const unsigned id = (unsigned)rng_below(&w->rng, ROWS);
    static const char range[] = "SELECT * FROM t WHERE id BETWEEN %u AND %u ORDER BY id";
    static const char by_number[] = "SELECT count(*), sum(length(body)) FROM t WHERE n < %u";

    REQUIRE_EQUAL(db_digest(w->db[w->current], range, id, id + 100),
                  db_digest(w->model, range, id, id + 100));
    REQUIRE_EQUAL(db_digest(w->db[w->current], by_number, id), db_digest(w->model, by_number, id));
}

static void keep_house(struct work *w)
{
    static const char *const what[] = {
        "PRAGMA wal_checkpoint(PASSIVE)",
        "PRAGMA wal_checkpoint(RESTART)",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA incremental_vacuum(20)",
        "VACUUM",
        "PRAGMA zcache_quota = '300K'",
        "PRAGMA zcache_quota = 0",
        "PRAGMA zcache_quota = 'unlimited'",
        "PRAGMA shrink_memory",
        "REINDEX",
    };

    db_exec(w->db[w->current], "%s", what[rng_below(&w->rng, sizeof(what) / sizeof(*what))]);
}

static void step(struct work *w)
{
    const uint64_t draw = rng_below(&w->rng, 100);

    w->current = (unsigned)rng_below(&w->rng, CONNECTIONS);
    if (draw < 45) {
        read_rows(w);
    } else if (draw < 75) {
        change_rows(w);
    } else if (draw < 92) {
        change_much(w);
    } else {
        keep_house(w);
    }
}

static void compare_all(struct work *w)
{
    for (w->current = 0; w->current < CONNECTIONS; w->current++) {
        REQUIRE_EQUAL(db_digest(w->db[w->current], ALL_ROWS), db_digest(w->model, ALL_ROWS));
    }
    w->current = 0;
    db_check(w->db[0]);
}

static void close_others(struct work *w)
{
    for (unsigned i = 1; i < CONNECTIONS; i++) {
        db_close(w->db[i]);
    }
}

static void open_others(struct work *w)
{
    for (unsigned i = 1; i < CONNECTIONS; i++) {
        w->db[i] = db_open("t.db", CACHED);
    }
}

static void begin_work(struct work *w, const char *journal_mode, unsigned page_bytes)
{
    db_dir_make();
    db_cache_open(8 * MIB);
    *w = (struct work){.rng = {seed + page_bytes}};
    w->db[0] = db_open("t.db", CACHED);
    db_exec(w->db[0], "PRAGMA page_size = %u; PRAGMA auto_vacuum = 2; PRAGMA journal_mode = %s",
            page_bytes, journal_mode);
    open_others(w);
    REQUIRE_EQUAL(sqlite3_open(":memory:", &w->model), SQLITE_OK);
    both(w, "CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, body TEXT);"
            "CREATE INDEX t_n ON t (n, body)");
    both(w, "WITH RECURSIVE c (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 1500)"
            " INSERT INTO t SELECT i, i * 7919 % 1000, printf('%0300d', i) FROM c");
}

static void end_work(struct work *w)
{
    compare_all(w);
    REQUIRE(db_stat(w->db[0], "hits") > 0);
    for (unsigned i = 0; i < CONNECTIONS; i++) {
        db_close(w->db[i]);
    }
    db_cache_close();

    sqlite3 *plain = db_open("t.db", PLAIN);
    REQUIRE_EQUAL(db_digest(plain, ALL_ROWS), db_digest(w->model, ALL_ROWS));
    db_check(plain);
    db_close(plain);
    db_close(w->model);
    db_dir_remove();
}

static void work_in(const char *journal_mode, unsigned page_bytes)
{
    struct work w;

    begin_work(&w, journal_mode, page_bytes);
    for (unsigned i = 0; i < STEPS / TEST_SLOWDOWN; i++) {
        step(&w);
    }
    end_work(&w);
}

static void rollback_journal(void **state)
{
    (void)state;
    work_in("DELETE", 4096);
    work_in("TRUNCATE", 1024);
    work_in("PERSIST", 16384);
}

static void journal_in_memory(void **state)
{
    (void)state;
    work_in("MEMORY", 512);
}

static void write_ahead_log(void **state)
{
    (void)state;
    work_in("WAL", 4096);
    work_in("WAL", 65536);
}

/* ---- modes that change, pages of another size ---------------------------------------------------- */

static void everything_changes(void **state)
{
    static const char *const modes[] = {"WAL", "DELETE", "WAL", "TRUNCATE", "WAL", "MEMORY"};
    struct work w;

    (void)state;
    begin_work(&w, "DELETE", 4096);
    for (unsigned round = 0; round < 6; round++) {
        for (unsigned i = 0; i < STEPS / 10 / TEST_SLOWDOWN; i++) {
            step(&w);
        }
        compare_all(&w);
        close_others(&w); /* they would have the file locked, in WAL mode */
        db_exec(w.db[0], "PRAGMA journal_mode = DELETE; PRAGMA page_size = %u; VACUUM",
                1024u << round);
        open_others(&w);
        REQUIRE_EQUAL(db_digest(w.db[1], ALL_ROWS), db_digest(w.model, ALL_ROWS));
        REQUIRE_EQUAL(db_number(w.db[1], "PRAGMA page_size"), 1024 << round);
        db_exec(w.db[0], "PRAGMA journal_mode = %s", modes[round]);
        REQUIRE_EQUAL(db_digest(w.db[1], ALL_ROWS), db_digest(w.model, ALL_ROWS));
    }
    end_work(&w);
}

/* One connection has the file to itself; in WAL mode it does without the shared WAL-index then. */
static void exclusive_locking(void **state)
{
    (void)state;
    for (unsigned wal = 0; wal < 2; wal++) {
        struct work w;
        begin_work(&w, wal ? "WAL" : "DELETE", 4096);
        close_others(&w);
        w.db[1] = w.db[2] = w.db[0];
        db_exec(w.db[0], "PRAGMA locking_mode = EXCLUSIVE");
        for (unsigned i = 0; i < STEPS / TEST_SLOWDOWN; i++) {
            step(&w);
        }
        REQUIRE(db_stat(w.db[0], "hits") > 0);
        db_close(w.db[0]);
        w.db[0] = db_open("t.db", CACHED);
        open_others(&w);
        end_work(&w);
    }
}

/* ---- writes that fail ---------------------------------------------------------------------------- */

typedef ssize_t pwrite_fn(int fd, const void *buf, size_t len, off_t offset);

static pwrite_fn *real_pwrite;
static unsigned fail_in; /* writes; 0: none fails */

/* A part of it arrives, as on a disk that is full. */
static ssize_t failing_pwrite(int fd, const void *buf, size_t len, off_t offset)
{
    if (fail_in > 0 && --fail_in == 0) {
        (void)!real_pwrite(fd, buf, len / 2, offset);
        errno = EIO;
        return -1;
    }
    return real_pwrite(fd, buf, len, offset);
}

static void change_or_fail(struct work *w)
{
    fail_in = 1 + (unsigned)rng_below(&w->rng, 60);
    const int rc =
        db_try(w->db[w->current], "UPDATE t SET n = n + 1, body = body || n WHERE id < 99");
    fail_in = 0;
    if (rc == SQLITE_OK) {
        db_exec(w->model, "UPDATE t SET n = n + 1, body = body || n WHERE id < 99");
    } else {
        REQUIRE_EQUAL(rc, SQLITE_IOERR);
    }
    read_rows(w);
}

static void work_with_failures(const char *journal_mode)
{
    struct work w;

    begin_work(&w, journal_mode, 4096);
    for (unsigned i = 0; i < STEPS / 4 / TEST_SLOWDOWN; i++) {
        step(&w);
        change_or_fail(&w);
    }
    end_work(&w);
}

static void writes_fail(void **state)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(PLAIN);

    (void)state;
    real_pwrite = (pwrite_fn *)vfs->xGetSystemCall(vfs, "pwrite64");
    REQUIRE_EQUAL(vfs->xSetSystemCall(vfs, "pwrite64", (sqlite3_syscall_ptr)failing_pwrite), 0);
    work_with_failures("DELETE");
    work_with_failures("WAL");
    REQUIRE_EQUAL(vfs->xSetSystemCall(vfs, "pwrite64", (sqlite3_syscall_ptr)real_pwrite), 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rollback_journal),  cmocka_unit_test(journal_in_memory),
        cmocka_unit_test(write_ahead_log),   cmocka_unit_test(everything_changes),
        cmocka_unit_test(exclusive_locking), cmocka_unit_test(writes_fail),
    };

    seed = test_begin(argc, argv, seed);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    print_message("%llu pages were compared with the file\n", db_compared());
    return failed;
}
