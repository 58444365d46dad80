/* SPDX-License-Identifier: BSD-2-Clause */
#include "load.h"

#include "direct_io.h"
#include "fail.h"
#include "orders.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

enum phase {
    WARM,
    MEASURED,
    OVER
};

struct run {
    const struct load *load;
    int64_t n_orders;
    atomic_int phase;
    atomic_ullong n_queries, n_wrong;
};

struct connection {
    struct run *run;
    uint64_t random;
    sqlite3 *db;
    sqlite3_stmt *by_id, *by_customer, *change;
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
    const double n = (double)c->run->n_orders;
    const double rest = 1 - c->run->load->skew;
    const double u = uniform(c);
    const double x =
        fabs(rest) < 1e-6 ? pow(n + 1, u) : pow(u * (pow(n + 1, rest) - 1) + 1, 1 / rest);

    return x < n ? (int64_t)x - 1 : c->run->n_orders - 1;
}

/* Neighbours in rank are far apart in the file. */
static int64_t an_order(struct connection *c)
{
    return (int64_t)((uint64_t)rank(c) * UINT64_C(2654435761) % (uint64_t)c->run->n_orders) + 1;
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
            atomic_fetch_add(&c->run->n_wrong, 1);
        }
    }
    must(rc == SQLITE_DONE && sqlite3_reset(statement) == SQLITE_OK, sqlite3_sql(statement));
}

static void query(struct connection *c)
{
    const uint64_t draw = (orders_random(&c->random) >> 11) % 100;

    if (draw < c->run->load->write_percent) {
        run_statement(c, c->change, an_order(c), 0);
    } else if (draw % 10 == 9) {
        run_statement(c, c->by_customer, an_order(c) % 200000, 1);
    } else {
        run_statement(c, c->by_id, an_order(c), 0);
    }
}

static void *work(void *arg)
{
    struct connection *c = arg;
    unsigned long long n = 0;

    while (atomic_load(&c->run->phase) != OVER) {
        query(c);
        n += atomic_load_explicit(&c->run->phase, memory_order_relaxed) == MEASURED;
    }
    atomic_fetch_add(&c->run->n_queries, n);
    return NULL;
}

/* ---- a run --------------------------------------------------------------------------------------- */

static void connect_to(struct connection *c, struct run *run, unsigned number)
{
    const struct load *load = run->load;
    char pragmas[160];

    c->run = run;
    c->random = 88172645463325252u + number * UINT64_C(2862933555777941757);
    must(sqlite3_open_v2(load->path, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX,
                         load->vfs) == SQLITE_OK,
         load->path);
    (void)snprintf(pragmas, sizeof(pragmas), "PRAGMA cache_size = -%u; PRAGMA synchronous = NORMAL",
                   load->cache_kib);
    (void)sqlite3_busy_timeout(c->db, 60000);
    must(sqlite3_exec(c->db, pragmas, NULL, NULL, NULL) == SQLITE_OK, pragmas);
    c->by_id = prepare(c->db, "SELECT * FROM orders WHERE id = ?");
    c->by_customer =
        prepare(c->db, "SELECT * FROM orders WHERE customer = ? ORDER BY id DESC LIMIT 10");
    c->change = prepare(c->db, "UPDATE orders SET total = total + 1 WHERE id = ?");
    run->n_orders = orders_count(c->db);
}

static void disconnect(struct connection *c)
{
    (void)sqlite3_finalize(c->by_id);
    (void)sqlite3_finalize(c->by_customer);
    (void)sqlite3_finalize(c->change);
    must(sqlite3_close(c->db) == SQLITE_OK, "close");
}

static double seconds_now(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t resident_kib(void)
{
    unsigned long long total = 0;
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    must(f != NULL && fscanf(f, "%llu %llu", &total, &pages) == 2, /* NOLINT(cert-err34-c) */
         "/proc/self/statm");
    (void)fclose(f);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
}

static void measure(struct run *run, struct load_result *out)
{
    (void)sleep(run->load->warm_seconds);
    const unsigned long long reads = direct_io_reads();
    const double begun = seconds_now();
    atomic_store(&run->phase, MEASURED);
    (void)sleep(run->load->seconds);
    atomic_store(&run->phase, OVER);
    out->queries_per_second = 1 / (seconds_now() - begun);
    out->reads_per_query = (double)(direct_io_reads() - reads);
    out->resident_kib = resident_kib();
}

void load_run(const struct load *load, struct load_result *out)
{
    struct connection *all = calloc(load->n_connections, sizeof(*all));
    struct run run = {.load = load};

    must(all != NULL, "memory");
    for (unsigned i = 0; i < load->n_connections; i++) {
        connect_to(&all[i], &run, i);
    }
    for (unsigned i = 0; i < load->n_connections; i++) {
        must(pthread_create(&all[i].thread, NULL, work, &all[i]) == 0, "a thread");
    }
    measure(&run, out);
    for (unsigned i = 0; i < load->n_connections; i++) {
        must(pthread_join(all[i].thread, NULL) == 0, "a thread");
        disconnect(&all[i]);
    }
    free(all);
    const double n = (double)atomic_load(&run.n_queries);
    out->queries_per_second *= n;
    out->reads_per_query /= n > 0 ? n : 1;
    out->wrong = atomic_load(&run.n_wrong);
}
