/* SPDX-License-Identifier: BSD-2-Clause */
#include "load.h"

#include "fail.h"
#include "orders.h"

#include <math.h>
#include <pthread.h>

struct connection {
    const struct load *load;
    struct load_counters *counters;
    int64_t n_orders;
    uint64_t random;
    sqlite3 *db;
    sqlite3_stmt *by_id, *by_customer;
    pthread_t thread;
};

/* ---- which order --------------------------------------------------------------------------------- */

static double uniform(struct connection *c)
{
    return (double)(orders_random(&c->random) >> 11) / (double)(UINT64_C(1) << 53);
}

/* A rank by Zipf's law, from the inverse of its continuous form. */
static int64_t rank(struct connection *c)
{
    const double n = (double)c->n_orders;
    const double rest = 1 - c->load->skew;
    const double u = uniform(c);
    const double x =
        fabs(rest) < 1e-6 ? pow(n + 1, u) : pow(u * (pow(n + 1, rest) - 1) + 1, 1 / rest);

    return x < n ? (int64_t)x - 1 : c->n_orders - 1;
}

/* Neighbours in rank are far apart in the file. */
static int64_t an_order(struct connection *c)
{
    return (int64_t)((uint64_t)rank(c) * UINT64_C(2654435761) % (uint64_t)c->n_orders) + 1;
}

/* ---- queries ------------------------------------------------------------------------------------- */

static sqlite3_stmt *prepare(sqlite3 *db, const char *sql)
{
    sqlite3_stmt *statement;

    must(sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK, sql);
    return statement;
}

static void run_statement(struct connection *c, sqlite3_stmt *statement, int64_t wanted, int column)
{
    int rc;

    sqlite3_bind_int64(statement, 1, wanted);
    while ((rc = sqlite3_step(statement)) == SQLITE_ROW) {
        if (sqlite3_column_int64(statement, column) != wanted) {
            atomic_fetch_add(&c->counters->n_wrong, 1);
        }
    }
    must(rc == SQLITE_DONE && sqlite3_reset(statement) == SQLITE_OK, sqlite3_sql(statement));
}

static void query(struct connection *c)
{
    if ((orders_random(&c->random) >> 11) % 10 == 9) {
        run_statement(c, c->by_customer, an_order(c) % 200000, 1);
    } else {
        run_statement(c, c->by_id, an_order(c), 0);
    }
    atomic_fetch_add_explicit(&c->counters->n_queries, 1, memory_order_relaxed);
}

_Noreturn static void *work(void *arg)
{
    for (;;) {
        query(arg);
    }
}

/* ---- the process --------------------------------------------------------------------------------- */

static void connect_to(struct connection *c, const struct load *load, unsigned number)
{
    const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX |
                      (load->shared_cache ? SQLITE_OPEN_SHAREDCACHE : 0);
    char pragma[90];

    c->load = load;
    c->random = 88172645463325252u + number * UINT64_C(2862933555777941757);
    must(sqlite3_open_v2(load->path, &c->db, flags, load->vfs) == SQLITE_OK, load->path);
    /* The second one saves those that share a cache the locks of tables. */
    (void)snprintf(pragma, sizeof(pragma), "PRAGMA cache_size = -%u; PRAGMA read_uncommitted = 1",
                   load->cache_kib);
    must(sqlite3_exec(c->db, pragma, NULL, NULL, NULL) == SQLITE_OK, pragma);
    c->by_id = prepare(c->db, "SELECT * FROM orders WHERE id = ?");
    c->by_customer =
        prepare(c->db, "SELECT * FROM orders WHERE customer = ? ORDER BY id DESC LIMIT 10");
    c->n_orders = orders_count(c->db);
}

void load_run(const struct load *load, struct load_counters *counters)
{
    struct connection *all = calloc(load->n_connections, sizeof(*all));

    must(all != NULL, "memory");
    for (unsigned i = 0; i < load->n_connections; i++) {
        all[i].counters = counters;
        connect_to(&all[i], load, i);
    }
    for (unsigned i = 1; i < load->n_connections; i++) {
        must(pthread_create(&all[i].thread, NULL, work, &all[i]) == 0, "a thread");
    }
    (void)work(&all[0]);
    abort();
}
