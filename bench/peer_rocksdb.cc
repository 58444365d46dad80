/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RocksDB's caches, used as RocksDB 7.8 does: its interface for caches changed in 8.0.
 *
 * The raw caches hold pages that were copied to memory of malloc(), as a table reader would give
 * them.  Keys are 16 bytes long, which HyperClockCache insists on.
 *
 * The compressed cache takes a page the second time only: the first insertion of a key leaves a
 * mark.  So a page with a new key is inserted twice; the first one costs little.
 */
#include "peer_rocksdb.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include <rocksdb/cache.h>
#include <rocksdb/secondary_cache.h>

using rocksdb::Cache;
using rocksdb::SecondaryCache;
using rocksdb::Slice;
using rocksdb::Status;

struct rocksdb_cache {
    size_t page_bytes;
    std::shared_ptr<Cache> raw; /* one of the two */
    std::shared_ptr<SecondaryCache> compressed;
};

namespace
{

struct key16 {
    uint64_t object;
    uint64_t page;
};

key16 key_of(uint64_t page)
{
    return {1, page};
}

Slice slice_of(const key16 &key)
{
    return Slice(reinterpret_cast<const char *>(&key), sizeof key);
}

/* What the compressed cache is given to insert. */
struct source {
    const void *data;
    size_t len;
};

size_t source_size(void *object)
{
    return static_cast<const source *>(object)->len;
}

Status source_save(void *object, size_t offset, size_t length, void *out)
{
    memcpy(out, static_cast<const char *>(static_cast<const source *>(object)->data) + offset,
           length);
    return Status::OK();
}

void source_delete(const Slice &, void *)
{
}

void page_delete(const Slice &, void *page)
{
    free(page);
}

int errno_of(const Status &s)
{
    return s.ok() ? 0 : s.IsMemoryLimit() ? -ENOSPC : -EIO;
}

int put_compressed(rocksdb_cache *cache, const Slice &key, const void *data, bool fresh)
{
    static const Cache::CacheItemHelper helper(source_size, source_save, source_delete);
    source page = {data, cache->page_bytes};
    Status s = cache->compressed->Insert(key, &page, &helper);

    if (s.ok() && fresh) {
        s = cache->compressed->Insert(key, &page, &helper);
    }
    return errno_of(s);
}

int put_raw(rocksdb_cache *cache, const Slice &key, const void *data)
{
    void *page = malloc(cache->page_bytes);

    if (page == nullptr) {
        return -ENOMEM;
    }
    memcpy(page, data, cache->page_bytes);
    return errno_of(cache->raw->Insert(key, page, cache->page_bytes, page_delete));
}

/* The decompressed page goes to @buf; a null @buf only asks. */
int get_compressed(rocksdb_cache *cache, const Slice &key, void *buf)
{
    bool stays = false;
    auto create = [buf](const void *data, size_t len, void **object, size_t *charge) {
        if (buf != nullptr) {
            memcpy(buf, data, len);
        }
        *object = const_cast<void *>(data);
        *charge = len;
        return Status::OK();
    };
    auto found = cache->compressed->Lookup(key, create, true, false, stays);

    return found != nullptr && found->Value() != nullptr ? 0 : 1;
}

int get_raw(rocksdb_cache *cache, const Slice &key, void *buf, size_t len)
{
    Cache::Handle *handle = cache->raw->Lookup(key);

    if (handle == nullptr) {
        return 1;
    }
    memcpy(buf, cache->raw->Value(handle), len);
    cache->raw->Release(handle);
    return 0;
}

void make(rocksdb_cache *cache, rocksdb_kind kind, uint64_t capacity)
{
    if (kind == ROCKSDB_LRU) {
        rocksdb::LRUCacheOptions options;

        options.capacity = capacity;
        cache->raw = rocksdb::NewLRUCache(options);
    } else if (kind == ROCKSDB_HCC) {
        cache->raw = rocksdb::HyperClockCacheOptions(capacity, cache->page_bytes).MakeSharedCache();
    } else {
        rocksdb::CompressedSecondaryCacheOptions options;

        options.capacity = capacity;
        options.compression_type =
            kind == ROCKSDB_CSC_ZSTD ? rocksdb::kZSTD : rocksdb::kLZ4Compression;
        cache->compressed = rocksdb::NewCompressedSecondaryCache(options);
    }
}

} /* namespace */

rocksdb_cache *rocksdb_cache_open(rocksdb_kind kind, uint64_t capacity_bytes, size_t page_bytes)
try {
    auto cache = std::make_unique<rocksdb_cache>();

    cache->page_bytes = page_bytes;
    make(cache.get(), kind, capacity_bytes);
    return cache->raw != nullptr || cache->compressed != nullptr ? cache.release() : nullptr;

} catch (const std::bad_alloc &) {
    return nullptr;
}

void rocksdb_cache_close(rocksdb_cache *cache)
{
    delete cache;
}

int rocksdb_cache_put(rocksdb_cache *cache, uint64_t key, const void *data, int fresh)
try {
    const key16 k = key_of(key);

    return cache->raw != nullptr ? put_raw(cache, slice_of(k), data)
                                 : put_compressed(cache, slice_of(k), data, fresh != 0);

} catch (const std::bad_alloc &) {
    return -ENOMEM;
}

int rocksdb_cache_get(rocksdb_cache *cache, uint64_t key, void *buf)
try {
    const key16 k = key_of(key);

    return cache->raw != nullptr ? get_raw(cache, slice_of(k), buf, cache->page_bytes)
                                 : get_compressed(cache, slice_of(k), buf);

} catch (const std::bad_alloc &) {
    return -ENOMEM;
}

int rocksdb_cache_touch(rocksdb_cache *cache, uint64_t key)
try {
    const key16 k = key_of(key);
    volatile char byte;

    if (cache->raw == nullptr) {
        return get_compressed(cache, slice_of(k), nullptr);
    }
    Cache::Handle *handle = cache->raw->Lookup(slice_of(k));
    if (handle == nullptr) {
        return 1;
    }
    byte = *static_cast<const char *>(cache->raw->Value(handle));
    (void)byte;
    cache->raw->Release(handle);
    return 0;

} catch (const std::bad_alloc &) {
    return -ENOMEM;
}

int rocksdb_cache_remove(rocksdb_cache *cache, uint64_t key)
try {
    const key16 k = key_of(key);

    if (cache->raw != nullptr) {
        cache->raw->Erase(slice_of(k));
    } else {
        cache->compressed->Erase(slice_of(k));
    }
    return 0;

} catch (const std::bad_alloc &) {
    return -ENOMEM;
}

int rocksdb_cache_resize(rocksdb_cache *cache, uint64_t capacity_bytes)
try {
    if (cache->raw != nullptr) {
        cache->raw->SetCapacity(capacity_bytes);
        return 0;
    }
    return errno_of(cache->compressed->SetCapacity(capacity_bytes));

} catch (const std::bad_alloc &) {
    return -ENOMEM;
}

uint64_t rocksdb_cache_usage(rocksdb_cache *cache)
{
    return cache->raw != nullptr ? cache->raw->GetUsage() : 0;
}
