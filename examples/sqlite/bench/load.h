/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Connections, each on a thread, look orders up, for as long as the process lives: nine of ten queries want an order by its id,
 * one the ten latest of a customer. Some orders are wanted more than others: by Zipf's law, and those
 * lie anywhere in the file.
 */
#ifndef ZCACHEVFS_BENCH_LOAD_H
#define ZCACHEVFS_BENCH_LOAD_H

#include <stdatomic.h>
#include <stdbool.h>

struct load {
    const char *path;
    const char *vfs;
    unsigned n_connections;
    unsigned cache_kib; /* of each connection, or of all if they share it: PRAGMA cache_size */
    bool shared_cache;  /* one cache of SQLite's for all connections */
    double skew;        /* exponent of Zipf's law; 0: each order is wanted as often */
};

/* What a process under load has done so far, in memory that another one looks at. */
struct load_counters {
    atomic_ullong n_queries;
    atomic_ullong n_wrong; /* orders that were not what was asked for */
};

/* Never returns. */
_Noreturn void load_run(const struct load *load, struct load_counters *counters);

#endif /* ZCACHEVFS_BENCH_LOAD_H */
