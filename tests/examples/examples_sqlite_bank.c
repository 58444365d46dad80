/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Processes and threads move money between accounts, through the cache and past it, while some are killed.
 * No money is lost or made, and nobody sees an older state than one that was committed before he began.
 *
 * The supervisor never opens the database: a process that has must not fork().
 *
 * usage: test_examples_sqlite_bank [SEED]
 */
#define _GNU_SOURCE 1 /* NOLINT(bugprone-reserved-identifier) */
#include "examples/sqlite.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    ACCOUNTS = 4000,
    START = 1000, /* on each */
    PROCESSES = 3,
    THREADS = 2, /* of a process */
    KILLS = 6,
    TRANSFERS = 1500, /* of all, between two kills */
};

static uint64_t seed = 5;

/* What outlives a process. */
static struct bank {
    atomic_llong committed; /* the number of a transfer whose commit has returned */
    atomic_ullong n_transfers, n_audits, n_compared, n_hits;
    atomic_bool closing;
} * bank;

struct clerk {
    sqlite3 *db;
    const char *vfs;
    struct rng rng;
    pthread_t thread;
};

/* ---- transactions --------------------------------------------------------------------------------- */

/* Another process may be repairing the file, which SQLite does not always wait for. */
static void begin(struct clerk *c, const char *sql)
{
    const uint64_t deadline = deadline_in(60000);
    int rc;

    while ((rc = db_try(c->db, "%s", sql)) == SQLITE_BUSY) {
        REQUIRE(pause_before(deadline));
    }
    REQUIRE_EQUAL(rc, SQLITE_OK);
}

static void note_commit(long long number)
{
    long long known = atomic_load(&bank->committed);

    while (known < number && !atomic_compare_exchange_weak(&bank->committed, &known, number)) {
        ;
    }
}

static void transfer(struct clerk *c)
{
    const int from = (int)rng_below(&c->rng, ACCOUNTS);
    const int to = (int)rng_below(&c->rng, ACCOUNTS);
    const int amount = (int)rng_below(&c->rng, 100);
    const long long known = atomic_load(&bank->committed);

    begin(c, "BEGIN IMMEDIATE");
    const long long number = db_number(c->db, "SELECT max(number) FROM transfers") + 1;
    REQUIRE(number > known);
    db_exec(c->db, "UPDATE accounts SET balance = balance - %d WHERE id = %d", amount, from);
    db_exec(c->db, "UPDATE accounts SET balance = balance + %d WHERE id = %d", amount, to);
    db_exec(c->db, "INSERT INTO transfers VALUES (%lld, %d, %d, %d)", number, from, to, amount);
    if (rng_below(&c->rng, 10) == 0) {
        db_exec(c->db, "ROLLBACK");
        return;
    }
    begin(c, "COMMIT");
    note_commit(number);
    atomic_fetch_add(&bank->n_transfers, 1);
}

static void audit(struct clerk *c)
{
    const long long known = atomic_load(&bank->committed);

    begin(c, "BEGIN");
    begin(c, "SELECT 1 FROM accounts LIMIT 1");
    const int64_t total = db_number(c->db, "SELECT sum(balance) FROM accounts");
    const int64_t number = db_number(c->db, "SELECT max(number) FROM transfers");
    db_exec(c->db, "COMMIT");
    REQUIRE_EQUAL(total, (int64_t)ACCOUNTS * START);
    REQUIRE(number >= known);
    atomic_fetch_add(&bank->n_audits, 1);
}

static void open_up(struct clerk *c)
{
    c->db = db_open("bank.db", c->vfs);
    db_exec(c->db, "PRAGMA wal_autocheckpoint = %d", (int)(20 + rng_below(&c->rng, 200)));
}

static void *work(void *arg)
{
    struct clerk *c = arg;

    open_up(c);
    while (!atomic_load(&bank->closing)) {
        const uint64_t draw = rng_below(&c->rng, 100);
        if (draw < 80) {
            transfer(c);
        } else if (draw < 96) {
            audit(c);
        } else if (draw < 98) {
            (void)db_try(c->db, "PRAGMA wal_checkpoint(%s)", draw == 96 ? "PASSIVE" : "TRUNCATE");
        } else {
            db_close(c->db);
            open_up(c);
        }
    }
    if (strcmp(c->vfs, CACHED) == 0) {
        atomic_fetch_add(&bank->n_hits, (unsigned long long)db_stat(c->db, "hits"));
    }
    db_close(c->db);
    return NULL;
}

/* ---- processes ------------------------------------------------------------------------------------ */

_Noreturn static void run_process(uint64_t run_seed, bool plain)
{
    struct clerk clerks[THREADS];

    db_cache_open(2 * MIB);
    for (unsigned i = 0; i < THREADS; i++) {
        clerks[i] = (struct clerk){.vfs = plain ? PLAIN : CACHED, .rng = {run_seed * 8 + i}};
        REQUIRE_EQUAL(pthread_create(&clerks[i].thread, NULL, work, &clerks[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        REQUIRE_EQUAL(pthread_join(clerks[i].thread, NULL), 0);
    }
    atomic_fetch_add(&bank->n_compared, db_compared());
    db_cache_close();
    _exit(0);
}

static pid_t start(void (*child)(uint64_t), uint64_t run_seed)
{
    (void)fflush(NULL);
    const pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        child(run_seed);
        _exit(0);
    }
    return pid;
}

static void with_the_cache(uint64_t run_seed)
{
    run_process(run_seed, false);
}

static void past_the_cache(uint64_t run_seed)
{
    run_process(run_seed, true);
}

static const char *journal_mode;

static void found(uint64_t run_seed)
{
    (void)run_seed;
    sqlite3 *db = db_open("bank.db", PLAIN);
    db_exec(db,
            "PRAGMA journal_mode = %s; CREATE TABLE transfers (number INTEGER PRIMARY KEY,"
            " source INTEGER, target INTEGER, amount INTEGER);"
            "CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER, about TEXT);"
            "WITH RECURSIVE c (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < %d)"
            " INSERT INTO accounts SELECT i, %d, printf('account %%080d', i) FROM c;"
            "INSERT INTO transfers VALUES (0, 0, 0, 0)",
            journal_mode, ACCOUNTS - 1, START);
    db_close(db);
}

/* Each transfer that was committed is there, and the balances are what the transfers say. */
static void look_through(uint64_t run_seed)
{
    (void)run_seed;
    db_cache_open(2 * MIB);
    sqlite3 *db = db_open("bank.db", CACHED);
    db_check(db);
    REQUIRE(db_number(db, "SELECT max(number) FROM transfers") >= atomic_load(&bank->committed));
    REQUIRE_EQUAL(db_number(db, "SELECT count(*) - max(number) FROM transfers"), 1);
    REQUIRE_EQUAL(db_number(db,
                            "SELECT count(*) FROM accounts a WHERE balance <> %d"
                            " + (SELECT ifnull(sum(amount), 0) FROM transfers WHERE target = a.id)"
                            " - (SELECT ifnull(sum(amount), 0) FROM transfers WHERE source = a.id)"
                            " AND id < 40",
                            START),
                  0);
    REQUIRE_EQUAL(db_number(db, "SELECT sum(balance) FROM accounts"), (int64_t)ACCOUNTS * START);
    db_close(db);
    db_cache_close();
}

static void must_end_well(pid_t pid)
{
    int status;

    REQUIRE_EQUAL(waitpid(pid, &status, 0), pid);
    REQUIRE_EQUAL(status, 0);
}

static void await_transfers(unsigned n)
{
    const unsigned long long target = atomic_load(&bank->n_transfers) + n;

    WAIT_UNTIL(atomic_load(&bank->n_transfers) >= target, 60000);
}

static void business(const char *mode)
{
    struct rng rng = {seed};
    pid_t pids[PROCESSES];

    db_dir_make();
    memset(bank, 0, sizeof(*bank));
    journal_mode = mode;
    must_end_well(start(found, 0));
    for (unsigned i = 0; i < PROCESSES; i++) {
        pids[i] = start(i == 0 ? past_the_cache : with_the_cache, seed + i);
    }
    for (unsigned i = 0; i < KILLS; i++) {
        const unsigned victim = (unsigned)rng_below(&rng, PROCESSES);
        int status;
        await_transfers((unsigned)rng_below(&rng, 2 * TRANSFERS / KILLS / TEST_SLOWDOWN));
        REQUIRE_EQUAL(kill(pids[victim], SIGKILL), 0);
        REQUIRE_EQUAL(waitpid(pids[victim], &status, 0), pids[victim]);
        REQUIRE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        pids[victim] = start(victim == 0 ? past_the_cache : with_the_cache, seed + 100 + i);
    }
    await_transfers(TRANSFERS / KILLS / TEST_SLOWDOWN);
    atomic_store(&bank->closing, true);
    for (unsigned i = 0; i < PROCESSES; i++) {
        must_end_well(pids[i]);
    }
    must_end_well(start(look_through, 0));
    REQUIRE(atomic_load(&bank->n_hits) > 0);
    print_message("%s: %llu transfers, %llu audits, %llu hits, %llu pages compared\n", mode,
                  atomic_load(&bank->n_transfers), atomic_load(&bank->n_audits),
                  atomic_load(&bank->n_hits), atomic_load(&bank->n_compared));
    db_dir_remove();
}

static void with_a_rollback_journal(void **state)
{
    (void)state;
    business("TRUNCATE");
}

static void with_a_write_ahead_log(void **state)
{
    (void)state;
    business("WAL");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_a_rollback_journal),
        cmocka_unit_test(with_a_write_ahead_log),
    };

    seed = test_begin(argc, argv, seed);
    bank = mmap(NULL, sizeof(*bank), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(bank != MAP_FAILED);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
