/* SPDX-License-Identifier: BSD-2-Clause */
#include "orders.h"

#include "fail.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    ROW_BYTES = 385, /* in the file, with its part of the index */
    NOTE_BYTES = 300,
};

static const char *const words[] = {
    "deliver", "before",  "noon",     "call",     "the",      "customer",  "first",    "fragile",
    "leave",   "at",      "door",     "invoice",  "follows",  "partial",   "shipment", "agreed",
    "return",  "of",      "goods",    "within",   "days",     "express",   "is",       "required",
    "gift",    "wrapped", "no",       "later",    "than",     "stated",    "address",  "changed",
    "contact", "office",  "hours",    "only",     "discount", "applied",   "twice",    "checked",
    "by",      "manager", "see",      "mail",     "attached", "warehouse", "north",    "south",
    "pallet",  "damaged", "repacked", "priority", "standard", "weekly",
};
static const char *const names[] = {"Abel", "Baker",  "Carter", "Dietz", "Eriksen", "Fischer",
                                    "Gray", "Hansen", "Ibarra", "Jones", "Keller",  "Lindt",
                                    "Moss", "Nakata", "Olsen",  "Price", "Quinn",   "Rossi"};
static const char *const states[] = {"open", "packed", "shipped", "delivered", "returned"};

static uint64_t below(uint64_t *random, uint64_t n)
{
    return (orders_random(random) >> 11) % n;
}

static void make_note(uint64_t *random, char *note)
{
    size_t len = 0;

    while (len < NOTE_BYTES - 12) {
        const char *word = words[below(random, sizeof(words) / sizeof(*words))];
        len += (size_t)snprintf(note + len, NOTE_BYTES - len, "%s ", word);
    }
}

static void bind_row(sqlite3_stmt *insert, int64_t id, uint64_t *random)
{
    char name[64];
    char key[40];
    char note[NOTE_BYTES];

    (void)snprintf(name, sizeof(name), "%s-%s %u", names[below(random, 18)],
                   names[below(random, 18)], (unsigned)below(random, 1000));
    (void)snprintf(key, sizeof(key), "%016llx", (unsigned long long)orders_random(random));
    make_note(random, note);
    sqlite3_bind_int64(insert, 1, id);
    sqlite3_bind_int64(insert, 2, (sqlite3_int64)below(random, 200000));
    sqlite3_bind_text(insert, 3, name, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(insert, 4, states[below(random, 5)], -1, SQLITE_STATIC);
    sqlite3_bind_int64(insert, 5, 1700000000 + id * 7 + (sqlite3_int64)below(random, 7));
    sqlite3_bind_double(insert, 6, (double)below(random, 1000000) / 100);
    sqlite3_bind_text(insert, 7, key, -1, SQLITE_TRANSIENT);
    sqlite3_bind_text(insert, 8, note, -1, SQLITE_TRANSIENT);
}

static void execute(sqlite3 *db, const char *sql)
{
    must(sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK, sql);
}

static void fill(sqlite3 *db, int64_t n)
{
    uint64_t random = 20260217;
    sqlite3_stmt *insert;

    execute(db, "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA page_size = 4096;"
                "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, name TEXT,"
                " state TEXT, placed INTEGER, total REAL, key TEXT, note TEXT); BEGIN");
    must(sqlite3_prepare_v2(db, "INSERT INTO orders VALUES (?,?,?,?,?,?,?,?)", -1, &insert, NULL) ==
             SQLITE_OK,
         "INSERT");
    for (int64_t id = 1; id <= n; id++) {
        bind_row(insert, id, &random);
        must(sqlite3_step(insert) == SQLITE_DONE && sqlite3_reset(insert) == SQLITE_OK, "INSERT");
    }
    (void)sqlite3_finalize(insert);
    execute(db, "COMMIT; CREATE INDEX by_customer ON orders (customer); PRAGMA journal_mode = WAL");
}

void orders_make(const char *path, unsigned mib)
{
    char unfinished[512];
    struct stat st;
    sqlite3 *db;

    if (stat(path, &st) == 0) {
        return;
    }
    printf("making %s, %u MiB\n", path, mib);
    (void)snprintf(unfinished, sizeof(unfinished), "%s.new", path);
    (void)unlink(unfinished);
    must(sqlite3_open_v2(unfinished, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, "unix") ==
             SQLITE_OK,
         unfinished);
    fill(db, (int64_t)mib * 1024 * 1024 / ROW_BYTES);
    must(sqlite3_close(db) == SQLITE_OK && rename(unfinished, path) == 0, path);
}

int64_t orders_count(sqlite3 *db)
{
    sqlite3_stmt *max;

    must(sqlite3_prepare_v2(db, "SELECT max(id) FROM orders", -1, &max, NULL) == SQLITE_OK &&
             sqlite3_step(max) == SQLITE_ROW,
         "the orders");
    const int64_t n = sqlite3_column_int64(max, 0);
    (void)sqlite3_finalize(max);
    return n;
}
