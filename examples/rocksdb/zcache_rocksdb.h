/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zcache as the secondary cache of RocksDB: blocks that leave a database's block cache are kept
 * compressed, and come back without a read of the file.
 *
 *     zcache_rocksdb::options o;
 *     o.cache = "capacity=1G";
 *     o.tenant = "users";
 *
 *     rocksdb::LRUCacheOptions lru;
 *     lru.capacity = 256 << 20;
 *     rocksdb::Status s = zcache_rocksdb::open_secondary_cache(o, &lru.secondary_cache);
 *     table_options.block_cache = rocksdb::NewLRUCache(lru);
 *
 * All databases of a process share one cache, each as a tenant of its own.  By name, where a program
 * takes the name of a secondary cache:
 *
 *     id=zcache;cache=capacity=1G,dense=zstd:3;tenant=users;limit=512M
 *
 * For RocksDB 7.8 and 7.9.  Its interface for secondary caches changes with 8.0.
 */
#ifndef ZCACHE_ROCKSDB_H
#define ZCACHE_ROCKSDB_H

#include <cstdint>
#include <memory>
#include <string>

#include <rocksdb/env.h>
#include <rocksdb/secondary_cache.h>
#include <rocksdb/status.h>

#include <zcache/zcache.h>

namespace zcache_rocksdb
{

/**
 * struct options - a database's part of the process's cache.
 * @cache:   options of the cache, for zcache_options_parse(): "capacity=1G,dense=zstd:3".  The first
 *           secondary cache of the process opens it, so it must say the capacity; later ones say
 *           the same or nothing.  When the last is gone the cache is closed.  What it does not say
 *           is as suits a cache below another one: "raw_percent=2,fast_percent=0,dense=zstd:1,
 *           background_percent=98,low_percent=96,full=help".
 * @tenant:  name of the database's tenant, unique among those open; "" makes one up.
 * @limit:   hard limit of the database in bytes; the capacity if there is none.
 * @reserve: bytes that other databases cannot take from it.
 * @weight:  its share of the capacity against others', 1 to 10000.
 * @log:     receives what the cache reports, if this one opens it; null for nothing.
 *
 * By name all but @log can be set.
 */
struct options {
    std::string cache;
    std::string tenant;
    uint64_t limit = ZCACHE_UNLIMITED;
    uint64_t reserve = 0;
    uint32_t weight = 100;
    std::shared_ptr<rocksdb::Logger> log;
};

/**
 * open_secondary_cache() - a secondary cache for the block cache of one database.
 * @options: borrowed for the call.
 * @out:     receives it on success, untouched otherwise.
 *
 * Return: OK; InvalidArgument with what is wrong; MemoryLimit no memory, or no room for the tenant.
 * Threads: any.
 */
rocksdb::Status open_secondary_cache(const options &options,
                                     std::shared_ptr<rocksdb::SecondaryCache> *out);

/**
 * register_secondary_cache() - make it known to RocksDB under the name "zcache".
 *
 * It is registered when the shared library is loaded; who links the code statically calls this.
 *
 * Threads: any; a second call does nothing.
 */
void register_secondary_cache();

/**
 * tenant_of() - the tenant behind a secondary cache, for zcache_stats() and zcache_shrink().
 *
 * Return: the tenant, valid as long as @cache; null if @cache is of another kind.
 */
zcache_tenant *tenant_of(rocksdb::SecondaryCache *cache);

/**
 * cache_of() - the process's cache, for zcache_metrics_write().
 *
 * Return: the cache, valid as long as @cache; null if @cache is of another kind.
 */
zcache *cache_of(rocksdb::SecondaryCache *cache);

} /* namespace zcache_rocksdb */

#endif /* ZCACHE_ROCKSDB_H */
