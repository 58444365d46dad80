/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The process is killed, or the power is cut, while it commits through the cache. The database is sound
 * afterwards, has every transaction whose commit had returned, and at most the one after it, whole.
 *
 * The disk below SQLite is that of tests/crash: what was written and not synced it may lose.
 *
 * usage: test_examples_sqlite_crash [--kills N] [--seed N] [--help]
 */
#define _GNU_SOURCE 1 /* NOLINT(bugprone-reserved-identifier) */
#include "crash/disk.h"
#include "examples/sqlite.h"

#include <inttypes.h>
#include <popt.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    ROWS = 600,
    ROWS_CHANGED = 12, /* by a transaction */
    TRANSACTIONS_MAX = 100000,
    TRANSACTIONS = 60, /* of a process that is not killed before */
    CONNECTIONS = 2,
};

static unsigned n_kills = 40; /* of each test */
static uint64_t seed = 903;
static struct disk *disk;
static const char *journal_mode;

/* What outlives a process. */
static struct record {
    atomic_uint committed; /* number of the last transaction whose commit returned */
    atomic_uint begun;
    unsigned found; /* by the process that looked */
    bool sound;
} * record;

/* ---- SQLite's disk -------------------------------------------------------------------------------- */

/* The library's calls come here instead of to libc, and go on to the disk. */
/* NOLINTBEGIN(bugprone-reserved-identifier,readability-*): their names are the system's */
ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int n, off_t offset);
int __wrap_fdatasync(int fd);
int __wrap_ftruncate(int fd, off_t len);
ssize_t pwrite64(int fd, const void *buf, size_t len, off_t offset);
int ftruncate64(int fd, off_t len);
int fdatasync(int fd);

ssize_t pwrite64(int fd, const void *buf, size_t len, off_t offset)
{
    union {
        const void *in;
        void *out;
    } base = {.in = buf};
    const struct iovec iov = {base.out, len};

    return __wrap_pwritev(fd, &iov, 1, offset);
}

int ftruncate64(int fd, off_t len)
{
    return __wrap_ftruncate(fd, len);
}

int fdatasync(int fd)
{
    return __wrap_fdatasync(fd);
}

/* NOLINTEND(bugprone-reserved-identifier,readability-*) */

/* ---- transactions ---------------------------------------------------------------------------------- */

/* Which rows the transaction @number changes follows from the number. */
static unsigned row_of(unsigned number, unsigned i)
{
    struct rng rng = {(uint64_t)number * ROWS_CHANGED + i};

    return (unsigned)rng_below(&rng, ROWS);
}

static void commit_one(sqlite3 *db, unsigned number)
{
    atomic_store(&record->begun, number);
    db_exec(db, "BEGIN");
    for (unsigned i = 0; i < ROWS_CHANGED; i++) {
        db_exec(db, "UPDATE t SET number = %u, body = printf('%%0400d', %u) WHERE id = %u", number,
                number, row_of(number, i));
    }
    db_exec(db, "UPDATE last SET number = %u", number);
    db_exec(db, "COMMIT");
    atomic_store(&record->committed, number);
}

static sqlite3 *open_durable(void)
{
    sqlite3 *db = db_open("t.db", CACHED);

    db_exec(db,
            "PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY;"
            "PRAGMA journal_mode = %s; PRAGMA wal_autocheckpoint = 30",
            journal_mode);
    return db;
}

/* ---- processes ------------------------------------------------------------------------------------- */

static void create(void)
{
    sqlite3 *db = open_durable();

    db_exec(db,
            "CREATE TABLE t (id INTEGER PRIMARY KEY, number INTEGER, body TEXT);"
            "CREATE TABLE last (number INTEGER); INSERT INTO last VALUES (0);"
            "WITH RECURSIVE c (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < %d)"
            " INSERT INTO t SELECT i, 0, printf('%%0400d', 0) FROM c",
            ROWS - 1);
    db_close(db);
}

static void work(void)
{
    sqlite3 *db[CONNECTIONS];

    for (unsigned i = 0; i < CONNECTIONS; i++) {
        db[i] = open_durable();
    }
    const unsigned first = (unsigned)db_number(db[0], "SELECT number FROM last") + 1;
    REQUIRE(first + TRANSACTIONS < TRANSACTIONS_MAX);
    for (unsigned n = first; n < first + TRANSACTIONS; n++) {
        commit_one(db[n % CONNECTIONS], n);
        REQUIRE_EQUAL(db_number(db[(n + 1) % CONNECTIONS], "SELECT number FROM last"), n);
    }
    REQUIRE(db_stat(db[0], "hits") > 0);
    _exit(0); /* without a close, which is a crash as well */
}

/* The number of the last transaction, if the database is exactly what it left; or -1. */
static int64_t state_of(sqlite3 *db)
{
    static unsigned number[ROWS];
    const unsigned last = (unsigned)db_number(db, "SELECT number FROM last");

    memset(number, 0, sizeof(number));
    for (unsigned n = 1; n <= last; n++) {
        for (unsigned i = 0; i < ROWS_CHANGED; i++) {
            number[row_of(n, i)] = n;
        }
    }
    for (unsigned id = 0; id < ROWS; id++) {
        if (db_number(db,
                      "SELECT number = %u AND body = printf('%%0400d', %u) FROM t WHERE id = %u",
                      number[id], number[id], id) != 1) {
            return -1;
        }
    }
    return last;
}

static bool is_sound(sqlite3 *db)
{
    return db_number(db, "SELECT count(*) FROM pragma_integrity_check"
                         " WHERE integrity_check <> 'ok'") == 0;
}

/* What a power cut has spoilt may show itself as an error, too. */
static void look(void)
{
    sqlite3 *db = db_open("t.db", CACHED);

    record->sound = false;
    if (db_try(db, "SELECT count(*) FROM t; SELECT * FROM last; PRAGMA quick_check") != SQLITE_OK ||
        !is_sound(db)) {
        return;
    }
    const int64_t state = state_of(db);
    record->sound = state >= 0;
    record->found = (unsigned)state;
    db_close(db);
}

/* ---- the supervisor -------------------------------------------------------------------------------- */

struct fate {
    unsigned kill_at; /* call to the disk; 0: none */
    enum disk_moment moment;
    bool power; /* is cut as well */
    uint64_t seed;
};

/* Run @child in a process of its own until its fate; was it killed? */
static bool run_child(void (*child)(void), const struct fate *fate)
{
    int status;

    disk_settle(disk); /* SQLite does not sync what it finds after another process died */
    disk_arm(disk, fate->kill_at, fate->moment, fate->seed);
    (void)fflush(NULL);
    const pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        db_cache_open(2 * MIB);
        child();
        _exit(0);
    }
    REQUIRE_EQUAL(waitpid(pid, &status, 0), pid);
    const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    REQUIRE(killed || status == 0);
    if (fate->power) {
        struct rng rng = {fate->seed + 1};
        disk_cut_power(disk, db_dir(), &rng);
    }
    return killed;
}

/* Open the database twice, and be killed at the first time; whether it is as it should be. */
static bool is_right(uint64_t fate_seed)
{
    const struct fate repair = {.kill_at =
                                    fate_seed % 2 == 0 ? 1 + (unsigned)(fate_seed / 2 % 12) : 0,
                                .moment = (enum disk_moment)(fate_seed / 32 % DISK_MOMENTS),
                                .seed = fate_seed};
    const struct fate quiet = {.seed = fate_seed};

    (void)run_child(look, &repair);
    (void)run_child(look, &quiet);
    return record->sound && record->found >= atomic_load(&record->committed) &&
           record->found <= atomic_load(&record->begun);
}

static void begin(const char *mode)
{
    const struct fate quiet = {.seed = seed};

    db_dir_make();
    journal_mode = mode;
    memset(record, 0, sizeof(*record));
    (void)run_child(create, &quiet);
}

static void crash_in(const char *mode)
{
    struct rng rng = {seed};
    unsigned killed = 0;

    begin(mode);
    for (unsigned i = 0; i < n_kills / TEST_SLOWDOWN; i++) {
        const struct fate fate = {.kill_at = 1 + (unsigned)rng_below(&rng, 500),
                                  .moment = (enum disk_moment)rng_below(&rng, DISK_MOMENTS),
                                  .power = rng_below(&rng, 3) > 0,
                                  .seed = rng_next(&rng) >> 1};
        killed += run_child(work, &fate);
        if (!is_right(fate.seed)) {
            fail_msg("%s, after call %u (moment %d), %s, seed %" PRIu64
                     ": %s, transaction %u; %u had committed",
                     mode, fate.kill_at, (int)fate.moment, fate.power ? "power was cut" : "killed",
                     fate.seed, record->sound ? "sound" : "damaged", record->found,
                     atomic_load(&record->committed));
        }
        atomic_store(&record->committed, record->found);
    }
    print_message("%s: killed %u times, %u transactions\n", mode, killed,
                  atomic_load(&record->committed));
    REQUIRE(killed > n_kills / TEST_SLOWDOWN / 2);
    db_dir_remove();
}

static void with_a_rollback_journal(void **state)
{
    (void)state;
    crash_in("TRUNCATE");
}

static void with_a_write_ahead_log(void **state)
{
    (void)state;
    crash_in("WAL");
}

/* The test would notice: a disk that only says that it synced loses what was committed. */
static void a_lying_disk_is_noticed(void **state)
{
    struct rng rng = {seed};
    bool noticed = false;

    (void)state;
    disk_set_lying(disk, true);
    for (unsigned i = 0; i < 20 && !noticed; i++) {
        const struct fate fate = {.kill_at = 100 + (unsigned)rng_below(&rng, 100),
                                  .moment = DISK_AFTER,
                                  .power = true,
                                  .seed = rng_next(&rng) | 1};
        begin("TRUNCATE");
        (void)run_child(work, &fate);
        noticed = !is_right(fate.seed >> 1);
        db_dir_remove();
    }
    disk_set_lying(disk, false);
    REQUIRE(noticed);
}

static void parse(int argc, const char **argv)
{
    const struct poptOption table[] = {
        {"kills", 0, POPT_ARG_INT, &n_kills, 0, "crashes in each journal mode", "N"},
        {"seed", 0, POPT_ARG_LONGLONG, &seed, 0, "seed", "N"},
        POPT_AUTOHELP POPT_TABLEEND};
    poptContext context = poptGetContext("test_examples_sqlite_crash", argc, argv, table, 0);

    REQUIRE_EQUAL(poptGetNextOpt(context), -1);
    poptFreeContext(context);
}

int main(int argc, const char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_a_rollback_journal),
        cmocka_unit_test(with_a_write_ahead_log),
        cmocka_unit_test(a_lying_disk_is_noticed),
    };

    parse(argc, argv);
    (void)test_begin(0, NULL, seed);
    disk = disk_new();
    record = mmap(NULL, sizeof(*record), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(record != MAP_FAILED);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    disk_free(disk);
    return failed;
}
