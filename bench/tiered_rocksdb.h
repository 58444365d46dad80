/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RocksDB's LRUCache over its CompressedSecondaryCache, as RocksDB 7.8 puts them together, for C.
 * Pages enter the first; what it evicts goes to the second, which takes a page the second time.
 */
#ifndef BENCH_TIERED_ROCKSDB_H
#define BENCH_TIERED_ROCKSDB_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tiered_rocksdb;

struct tiered_rocksdb_config {
    uint64_t raw_bytes;        /* of the LRUCache */
    uint64_t compressed_bytes; /* of the CompressedSecondaryCache */
    size_t page_bytes;
    int zstd; /* otherwise lz4 */
};

/* NULL without memory. */
struct tiered_rocksdb *tiered_rocksdb_open(const struct tiered_rocksdb_config *config);
void tiered_rocksdb_close(struct tiered_rocksdb *cache);

/*
 * Get a page into @buf, or insert @data.
 *
 * Return: 0 it was there; 1 a miss, it was inserted; a negative errno.
 */
int tiered_rocksdb_use(struct tiered_rocksdb *t,
                       uint64_t object,
                       uint64_t page,
                       const void *data,
                       void *buf);

#ifdef __cplusplus
}
#endif

#endif /* BENCH_TIERED_ROCKSDB_H */
