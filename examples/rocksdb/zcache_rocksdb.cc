/* SPDX-License-Identifier: BSD-2-Clause */
/*
 *     database --- block cache (LRUCache) --- secondary_cache --- tenant "users"   |
 *                                                                                  | one zcache
 *     database --- block cache (LRUCache) --- secondary_cache --- tenant "orders"  |
 *
 * A block that leaves the block cache is put, raw: the shrinker's thread compresses it later, not
 * the reader whose block took its place.  It is put only when it comes the second time; the first
 * time leaves a note of two bytes.
 *
 * A block that goes back to the block cache stays as well, as long as there is room: spare, so that
 * it leaves before all others.  Most come here again, and need not be compressed again then, which
 * would cost more than all the reads do.
 *
 * Every block can be read from its file again.  So nothing here is an error to RocksDB: what finds
 * no room is passed by, and what is damaged is dropped and not found.
 *
 * RocksDB is not written for exceptions that pass through it, so none leaves.
 */
#include "zcache_rocksdb.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <unordered_map>
#include <vector>

#include <rocksdb/utilities/object_registry.h>
#include <rocksdb/utilities/options_type.h>
#include <rocksdb/version.h>

#if ROCKSDB_MAJOR != 7 || ROCKSDB_MINOR < 8
#error "zcache_rocksdb.cc is for RocksDB 7.8 and 7.9"
#endif

using rocksdb::Cache;
using rocksdb::ConfigOptions;
using rocksdb::OptionType;
using rocksdb::OptionTypeInfo;
using rocksdb::SecondaryCache;
using rocksdb::SecondaryCacheResultHandle;
using rocksdb::Slice;
using rocksdb::Status;

namespace zcache_rocksdb
{
namespace
{

constexpr unsigned drain_ms = 1000; /* how long a smaller capacity is waited for */

/*
 * What is used most lies uncompressed in the block caches above, so nearly nothing does here, and a
 * block is made dense at once, by the shrinker.  A level above 1 gains less than a dictionary does,
 * and costs more.
 */
constexpr const char *default_options = "raw_percent=2,fast_percent=0,dense=zstd:1,full=help,"
                                        "background_percent=98,low_percent=96";

Status status_of(int rc, const std::string &what)
{
    const std::string text = what + ": " + std::generic_category().message(-rc);

    return rc == -ENOMEM || rc == -ENOSPC ? Status::MemoryLimit(text)
                                          : Status::InvalidArgument(text);
}

/* ---- blocks that came once -------------------------------------------------------------------- */

/*
 * A note for each block: a part of its hash that does not say where it is.  Four share a place, a
 * word, the newest first, and the fifth pushes the oldest out.  There are some times as many notes as
 * the cache can have blocks.
 */
class notes
{
  public:
    /* They take 1/256 of the cache's memory. */
    static uint64_t bytes_for(uint64_t capacity_bytes)
    {
        uint64_t bytes = 4096;

        while (bytes * 2 <= capacity_bytes / 256) {
            bytes *= 2;
        }
        return bytes;
    }

    explicit notes(uint64_t bytes) : n(bytes / sizeof(place)), places(new place[n]())
    {
    }

    /* Is there a note of it?  There is one from now on. */
    bool test_and_set(const zcache_key &key)
    {
        const uint64_t h = hash(key);
        const uint64_t note = h >> (64 - note_bits);
        place &there = places[h & (n - 1)];
        const uint64_t old = there.load(std::memory_order_relaxed);

        for (unsigned shift = 0; shift < 64; shift += note_bits) {
            if ((old >> shift & note_mask) == note) {
                return true;
            }
        }
        /* What another thread notes at the same moment may be lost. */
        there.store(old << note_bits | note, std::memory_order_relaxed);
        return false;
    }

  private:
    using place = std::atomic<uint64_t>;

    static constexpr unsigned note_bits = 16;
    static constexpr uint64_t note_mask = (1U << note_bits) - 1;

    static uint64_t hash(const zcache_key &key)
    {
        uint64_t h = key.object * UINT64_C(0x9E3779B97F4A7C15) ^ key.page;

        h = (h ^ h >> 32) * UINT64_C(0xD6E8FEB86659FD93);
        h = (h ^ h >> 32) * UINT64_C(0xD6E8FEB86659FD93);
        return h ^ h >> 32;
    }

    uint64_t n; /* a power of two */
    std::unique_ptr<place[]> places;
};

/* ---- the process's cache --------------------------------------------------------------------- */

struct shared_cache {
    zcache *cache = nullptr;
    std::string text; /* its options */
    uint32_t page_max_bytes = 0;
    std::shared_ptr<rocksdb::Logger> log;
    std::unique_ptr<notes> came_once;

    std::mutex lock;
    std::string last_message;

    shared_cache() = default;
    shared_cache(const shared_cache &) = delete;
    shared_cache &operator=(const shared_cache &) = delete;

    ~shared_cache()
    {
        /* Without a store, pins and dirty pages there is nothing that it could wait for. */
        const int rc = zcache_close(cache, ZCACHE_DISCARD);
        (void)rc;
    }
};

void take_message(void *ctx, zcache_log_level level, const char *event, const char *text)
try {
    auto *shared = static_cast<shared_cache *>(ctx);
    const std::lock_guard<std::mutex> guard(shared->lock);

    shared->last_message = text;
    if (shared->log != nullptr) {
        rocksdb::Log(level == ZCACHE_LOG_ERROR  ? rocksdb::ERROR_LEVEL
                     : level == ZCACHE_LOG_WARN ? rocksdb::WARN_LEVEL
                                                : rocksdb::INFO_LEVEL,
                     shared->log, "zcache: %s: %s", event, text);
    }

} catch (const std::exception &) {
    /* A message that there is no memory for is lost. */
}

/* The notes are part of the capacity, unless it is too small already. */
void open_notes(zcache_options *options, shared_cache *shared)
{
    const uint64_t bytes = notes::bytes_for(options->capacity_bytes);

    shared->came_once = std::make_unique<notes>(bytes);
    if (options->capacity_bytes >= ZCACHE_CAPACITY_MIN + bytes) {
        options->capacity_bytes -= bytes;
    }
}

Status open_shared(const options &o, std::shared_ptr<shared_cache> *out)
{
    auto shared = std::make_shared<shared_cache>();
    zcache_options options = ZCACHE_OPTIONS_INIT;
    char error[256];
    int rc;

    if (zcache_options_parse(&options, default_options, error, sizeof error) != 0 ||
        zcache_options_parse(&options, o.cache.c_str(), error, sizeof error) != 0) {
        return Status::InvalidArgument("zcache: option cache", error);
    }
    options.log = take_message;
    options.log_ctx = shared.get();
    shared->text = o.cache;
    shared->page_max_bytes = options.page_max_bytes;
    shared->log = o.log;
    open_notes(&options, shared.get());
    rc = zcache_open(&options, &shared->cache);
    if (rc != 0) {
        return status_of(rc, "zcache: cannot open \"" + o.cache + "\": " + shared->last_message);
    }
    *out = std::move(shared);
    return Status::OK();
}

/* The cache that is open, if that is what @o asks for, or a new one. */
Status join_shared(const options &o, std::shared_ptr<shared_cache> *out)
{
    static std::mutex lock;
    static std::weak_ptr<shared_cache> open;
    const std::lock_guard<std::mutex> guard(lock);
    Status s;

    *out = open.lock();
    if (*out == nullptr) {
        s = open_shared(o, out);
        open = *out;
    } else if (!o.cache.empty() && o.cache != (*out)->text) {
        s = Status::InvalidArgument("zcache: this process has a cache with other options",
                                    (*out)->text);
    }
    return s;
}

/* ---- one database's part of it --------------------------------------------------------------- */

const std::unordered_map<std::string, OptionTypeInfo> &option_types()
{
    static const std::unordered_map<std::string, OptionTypeInfo> types = {
        {"cache", {offsetof(options, cache), OptionType::kString}},
        {"tenant", {offsetof(options, tenant), OptionType::kString}},
        {"limit", {offsetof(options, limit), OptionType::kUInt64T}},
        {"reserve", {offsetof(options, reserve), OptionType::kUInt64T}},
        {"weight", {offsetof(options, weight), OptionType::kUInt32T}}};

    return types;
}

std::string next_name()
{
    static std::atomic<uint64_t> last{0};

    return "db-" + std::to_string(++last);
}

/* Room for a block of this thread's, uncompressed. */
char *block_buffer(size_t bytes)
{
    static thread_local std::vector<char> buffer;

    if (buffer.size() < bytes) {
        buffer.resize(bytes);
    }
    return buffer.data();
}

/* A block that was found: a lookup here never waits, so the handle is ready from the start. */
class found_block final : public SecondaryCacheResultHandle
{
  public:
    void *value = nullptr;
    size_t charge = 0;

    bool IsReady() override
    {
        return true;
    }

    void Wait() override
    {
    }

    void *Value() override
    {
        return value;
    }

    size_t Size() override
    {
        return charge;
    }
};

class secondary_cache final : public SecondaryCache
{
  public:
    explicit secondary_cache(const options &o) : opts(o)
    {
        RegisterOptions(kClassName(), &opts, &option_types());
    }

    ~secondary_cache() override
    {
        const int rc = zcache_tenant_close(owner, ZCACHE_CLOSE_DISCARD);
        (void)rc; /* as for the cache */
    }

    static const char *kClassName() /* NOLINT(readability-identifier-naming): RocksDB's name */
    {
        return "zcache";
    }

    const char *Name() const override
    {
        return kClassName();
    }

    Status PrepareOptions(const ConfigOptions &config) override;

    Status Insert(const Slice &key, void *value, const Cache::CacheItemHelper *helper) override;

    std::unique_ptr<SecondaryCacheResultHandle> Lookup(const Slice &key,
                                                       const Cache::CreateCallback &create,
                                                       bool wait,
                                                       bool advise_erase,
                                                       bool &is_in_sec_cache) override;

    bool SupportForceErase() const override
    {
        return true;
    }

    void Erase(const Slice &key) override;

    void WaitAll(std::vector<SecondaryCacheResultHandle *>) override
    {
    }

    Status SetCapacity(size_t capacity) override;
    Status GetCapacity(size_t &capacity) override;
    std::string GetPrintableOptions() const override;

    zcache_tenant *tenant() const
    {
        return owner;
    }

    zcache *cache() const
    {
        return owner != nullptr ? shared->cache : nullptr;
    }

  private:
    options opts;
    std::shared_ptr<shared_cache> shared;

    mutable std::mutex lock;        /* around changes of the limits */
    zcache_tenant *owner = nullptr; /* null until it is prepared: nothing is found then */

    /* RocksDB's keys of blocks have 16 bytes, and so have zcache's. */
    bool usable(const Slice &key) const
    {
        return owner != nullptr && key.size() == sizeof(zcache_key);
    }

    static zcache_key key_of(const Slice &key)
    {
        zcache_key k;

        memcpy(&k, key.data(), sizeof k);
        return k;
    }

    zcache_limits limits() const;

    Status open_tenant();
    Status set_limits_locked();
};

zcache_limits secondary_cache::limits() const
{
    zcache_limits l = ZCACHE_LIMITS_INIT;

    l.limit_bytes = opts.limit;
    l.reserve_bytes = std::min(opts.reserve, opts.limit);
    l.weight = opts.weight;
    return l;
}

Status secondary_cache::open_tenant()
{
    zcache_tenant_options t = ZCACHE_TENANT_OPTIONS_INIT;
    int rc;

    if (opts.tenant.empty()) {
        opts.tenant = next_name();
    }
    t.name = opts.tenant.c_str();
    t.limits = limits();
    rc = zcache_tenant_open(zcache_root(shared->cache), &t, &owner);
    return rc == 0 ? Status::OK() : status_of(rc, "zcache: tenant \"" + opts.tenant + "\"");
}

Status secondary_cache::set_limits_locked()
{
    const zcache_limits l = limits();
    const int rc = zcache_tenant_set_limits(owner, &l, drain_ms, nullptr);

    return rc == 0 ? Status::OK() : status_of(rc, "zcache: limits");
}

/* RocksDB calls this when options were set, and before the first block comes. */
Status secondary_cache::PrepareOptions(const ConfigOptions &config)
try {
    const std::lock_guard<std::mutex> guard(lock);
    Status s = SecondaryCache::PrepareOptions(config);

    if (s.ok() && owner != nullptr) {
        return set_limits_locked();
    }
    if (s.ok()) {
        s = join_shared(opts, &shared);
    }
    return s.ok() ? open_tenant() : s;

} catch (const std::bad_alloc &) {
    return Status::MemoryLimit("zcache: no memory");
}

Status secondary_cache::Insert(const Slice &key, void *value, const Cache::CacheItemHelper *helper)
try {
    const size_t bytes = helper->size_cb(value);

    if (!usable(key) || bytes == 0 || bytes > shared->page_max_bytes) {
        return Status::OK();
    }
    /* What is there is this block: a key names the same bytes for ever. */
    if (zcache_advise(owner, key_of(key), ZCACHE_WANTED) == 0 ||
        !shared->came_once->test_and_set(key_of(key))) {
        return Status::OK();
    }
    char *buffer = block_buffer(bytes);
    const Status s = helper->saveto_cb(value, 0, bytes, buffer);
    if (s.ok()) {
        const int rc =
            zcache_put(owner, key_of(key), buffer, bytes, ZCACHE_CLEAN | ZCACHE_BEST_EFFORT);
        (void)rc; /* counted by the cache; the block is in its file */
    }
    return s;

} catch (...) {
    return Status::OK(); /* it was not kept */
}

std::unique_ptr<SecondaryCacheResultHandle> secondary_cache::Lookup(
    const Slice &key,
    const Cache::CreateCallback &create,
    bool /* wait */,
    bool advise_erase,
    bool &is_in_sec_cache)
try {
    size_t bytes = 0;

    is_in_sec_cache = false;
    if (!usable(key)) {
        return nullptr;
    }
    auto block = std::make_unique<found_block>();
    char *buffer = block_buffer(shared->page_max_bytes);
    const int rc =
        zcache_get(owner, key_of(key), buffer, shared->page_max_bytes, &bytes, ZCACHE_KEEP_TIER);
    if (rc == ZCACHE_MISS) {
        return nullptr;
    }
    if (rc != 0 || !create(buffer, bytes, &block->value, &block->charge).ok()) {
        Erase(key);
        return nullptr;
    }
    /* What is spare may leave before it comes back, and is put then: the block cache must tell us. */
    is_in_sec_cache = !advise_erase;
    if (advise_erase && zcache_advise(owner, key_of(key), ZCACHE_SPARE) == 0) {
        (void)shared->came_once->test_and_set(key_of(key));
    }
    return block;

} catch (...) {
    is_in_sec_cache = false;
    return nullptr;
}

void secondary_cache::Erase(const Slice &key)
{
    if (usable(key)) {
        const int rc = zcache_delete(owner, key_of(key), 0);
        (void)rc; /* a miss is as good, and no write can be in flight */
    }
}

Status secondary_cache::SetCapacity(size_t capacity)
try {
    const std::lock_guard<std::mutex> guard(lock);

    opts.limit = capacity;
    return owner != nullptr ? set_limits_locked() : Status::OK();

} catch (const std::bad_alloc &) {
    return Status::MemoryLimit("zcache: no memory");
}

Status secondary_cache::GetCapacity(size_t &capacity)
{
    const std::lock_guard<std::mutex> guard(lock);

    capacity = opts.limit;
    return Status::OK();
}

std::string secondary_cache::GetPrintableOptions() const
try {
    const std::lock_guard<std::mutex> guard(lock);

    return "    zcache : " + (shared != nullptr ? shared->text : opts.cache) +
           "\n    zcache_tenant : " + opts.tenant + "\n";

} catch (const std::bad_alloc &) {
    return "";
}

SecondaryCache *make_by_name(const std::string &,
                             std::unique_ptr<SecondaryCache> *guard,
                             std::string *)
{
    guard->reset(new secondary_cache(options()));
    return guard->get();
}

/* So that loading the library is all it takes, also with LD_PRELOAD. */
const bool registered = (register_secondary_cache(), true);

} /* namespace */

rocksdb::Status open_secondary_cache(const options &options, std::shared_ptr<SecondaryCache> *out)
try {
    auto cache = std::make_shared<secondary_cache>(options);
    const Status s = cache->PrepareOptions(ConfigOptions());

    if (s.ok()) {
        *out = std::move(cache);
    }
    return s;

} catch (const std::bad_alloc &) {
    return Status::MemoryLimit("zcache: no memory");
}

void register_secondary_cache()
{
    static std::once_flag once;

    std::call_once(once, [] {
        rocksdb::ObjectLibrary::Default()->AddFactory<SecondaryCache>(secondary_cache::kClassName(),
                                                                      make_by_name);
    });
}

zcache_tenant *tenant_of(SecondaryCache *cache)
{
    auto *ours = cache != nullptr ? cache->CheckedCast<secondary_cache>() : nullptr;

    return ours != nullptr ? ours->tenant() : nullptr;
}

zcache *cache_of(SecondaryCache *cache)
{
    auto *ours = cache != nullptr ? cache->CheckedCast<secondary_cache>() : nullptr;

    return ours != nullptr ? ours->cache() : nullptr;
}

} /* namespace zcache_rocksdb */
