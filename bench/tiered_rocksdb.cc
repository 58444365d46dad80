/* SPDX-License-Identifier: BSD-2-Clause */
#include "tiered_rocksdb.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#include <rocksdb/cache.h>
#include <rocksdb/secondary_cache.h>

using rocksdb::Cache;
using rocksdb::Slice;
using rocksdb::Status;

struct tiered_rocksdb {
    size_t page_bytes;
    std::shared_ptr<Cache> cache;
};

namespace
{

/* A cached page: its bytes follow. */
struct value {
    size_t len;
};

struct key16 {
    uint64_t object;
    uint64_t page;
};

value *new_value(const void *data, size_t len)
{
    auto *v = static_cast<value *>(malloc(sizeof(value) + len));

    if (v != nullptr) {
        v->len = len;
        memcpy(v + 1, data, len);
    }
    return v;
}

size_t value_size(void *object)
{
    return static_cast<const value *>(object)->len;
}

Status value_save(void *object, size_t offset, size_t length, void *out)
{
    memcpy(out, reinterpret_cast<const char *>(static_cast<const value *>(object) + 1) + offset,
           length);
    return Status::OK();
}

void value_delete(const Slice &, void *object)
{
    free(object);
}

/* Of what comes back from the compressed cache. */
Status value_create(const void *data, size_t len, void **object, size_t *charge)
{
    *object = new_value(data, len);
    *charge = len;
    return *object != nullptr ? Status::OK() : Status::MemoryLimit();
}

const Cache::CacheItemHelper helper(value_size, value_save, value_delete);

int insert(tiered_rocksdb *t, const Slice &key, const void *data)
{
    value *v = new_value(data, t->page_bytes);
    Status s;

    if (v == nullptr) {
        return -ENOMEM;
    }
    s = t->cache->Insert(key, v, &helper, t->page_bytes);
    return s.ok() ? 1 : s.IsMemoryLimit() ? -ENOSPC : -EIO;
}

} /* namespace */

tiered_rocksdb *tiered_rocksdb_open(const tiered_rocksdb_config *config)
try {
    auto t = std::make_unique<tiered_rocksdb>();
    rocksdb::CompressedSecondaryCacheOptions compressed;
    rocksdb::LRUCacheOptions raw;

    compressed.capacity = config->compressed_bytes;
    compressed.compression_type = config->zstd != 0 ? rocksdb::kZSTD : rocksdb::kLZ4Compression;
    raw.capacity = config->raw_bytes;
    if (config->compressed_bytes != 0) {
        raw.secondary_cache = rocksdb::NewCompressedSecondaryCache(compressed);
    }
    t->page_bytes = config->page_bytes;
    t->cache = rocksdb::NewLRUCache(raw);
    return t->cache != nullptr ? t.release() : nullptr;

} catch (const std::bad_alloc &) {
    return nullptr;
}

void tiered_rocksdb_close(tiered_rocksdb *cache)
{
    delete cache;
}

int tiered_rocksdb_use(tiered_rocksdb *t,
                       uint64_t object,
                       uint64_t page,
                       const void *data,
                       void *buf)
try {
    static const Cache::CreateCallback create = value_create;
    const key16 k = {object, page};
    const Slice key(reinterpret_cast<const char *>(&k), sizeof k);
    Cache::Handle *handle = t->cache->Lookup(key, &helper, create, Cache::Priority::LOW, true);

    if (handle == nullptr) {
        return insert(t, key, data);
    }
    memcpy(buf, static_cast<const value *>(t->cache->Value(handle)) + 1, t->page_bytes);
    t->cache->Release(handle);
    return 0;

} catch (const std::bad_alloc &) {
    return -ENOMEM;
}
