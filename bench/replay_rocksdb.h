/* SPDX-License-Identifier: BSD-2-Clause */
/* A trace through RocksDB's caches, divided in several ways: each way is a split. */
#ifndef BENCH_REPLAY_ROCKSDB_H
#define BENCH_REPLAY_ROCKSDB_H

#include "replay.h"

struct replay_split {
    unsigned raw_percent; /* of the bytes; the rest is compressed */
    bool zstd;            /* otherwise lz4 */
};

/* NULL: it can be measured; otherwise why not. */
const char *replay_rocksdb_missing(void);

void replay_rocksdb(const struct trace *trace,
                    const struct replay_pages *pages,
                    uint64_t bytes,
                    const struct replay_split *split,
                    struct replay_result *out);

#endif /* BENCH_REPLAY_ROCKSDB_H */
