/* SPDX-License-Identifier: BSD-2-Clause */
/* RocksDB's caches, as far as the benchmarks use them, for C.  See peer_rocksdb.cc. */
#ifndef BENCH_PEER_ROCKSDB_H
#define BENCH_PEER_ROCKSDB_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum rocksdb_kind {
    ROCKSDB_CSC_LZ4,
    ROCKSDB_CSC_ZSTD,
    ROCKSDB_LRU,
    ROCKSDB_HCC
};

struct rocksdb_cache;

/* NULL without memory. */
struct rocksdb_cache *rocksdb_cache_open(enum rocksdb_kind kind,
                                         uint64_t capacity_bytes,
                                         size_t page_bytes);
void rocksdb_cache_close(struct rocksdb_cache *cache);

/* Results: 0, 1 for a miss, or a negative errno.  Pages are page_bytes long. */
int rocksdb_cache_put(struct rocksdb_cache *cache, uint64_t key, const void *data, int fresh);
int rocksdb_cache_get(struct rocksdb_cache *cache, uint64_t key, void *buf);
int rocksdb_cache_touch(struct rocksdb_cache *cache, uint64_t key);
int rocksdb_cache_remove(struct rocksdb_cache *cache, uint64_t key);
int rocksdb_cache_resize(struct rocksdb_cache *cache, uint64_t capacity_bytes);

/* Bytes that it says it uses, metadata included; 0 if it does not say. */
uint64_t rocksdb_cache_usage(struct rocksdb_cache *cache);

#ifdef __cplusplus
}
#endif

#endif /* BENCH_PEER_ROCKSDB_H */
