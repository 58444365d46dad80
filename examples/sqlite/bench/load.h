/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Connections, each on a thread, look orders up for a while: nine of ten queries want an order by its id,
 * one the ten latest of a customer. Some orders are wanted more than others: by Zipf's law, and those
 * lie anywhere in the file.
 */
#ifndef ZCACHEVFS_BENCH_LOAD_H
#define ZCACHEVFS_BENCH_LOAD_H

#include <stdint.h>

struct load {
    const char *path;
    const char *vfs;
    unsigned n_connections;
    unsigned cache_kib; /* of each connection: PRAGMA cache_size */
    unsigned warm_seconds;
    unsigned seconds;
    double skew;            /* exponent of Zipf's law; 0: each order is wanted as often */
    unsigned write_percent; /* queries that change an order instead, each a transaction */
};

struct load_result {
    double queries_per_second;
    double reads_per_query; /* of the file */
    uint64_t resident_kib;  /* of the process, at the end */
    uint64_t wrong;         /* orders that were not what was asked for */
};

void load_run(const struct load *load, struct load_result *out);

#endif /* ZCACHEVFS_BENCH_LOAD_H */
