/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Real databases over examples/rocksdb.  A value tells its key and version and is compared whenever
 * it is read, by RocksDB's own checksums too; caches are so small that blocks come and go all the
 * time.
 */
#include "zcache_rocksdb.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <rocksdb/convenience.h>
#include <rocksdb/db.h>
#include <rocksdb/table.h>
#include <zcache/stats.h>

#define CHECK(condition) check((condition), #condition, __LINE__)

using rocksdb::SecondaryCache;
using rocksdb::Slice;
using rocksdb::Status;

namespace
{

void check(bool good, const char *what, int line)
{
    if (!good) {
        (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, line, what);
        abort();
    }
}

void must(const Status &s)
{
    if (!s.ok()) {
        (void)fprintf(stderr, "%s\n", s.ToString().c_str());
        abort();
    }
}

std::string temporary(const char *name)
{
    const char *base = getenv("TMPDIR"); /* NOLINT(concurrency-mt-unsafe): there is one thread */

    return std::string(base != nullptr ? base : "/tmp") + "/zcache-rocksdb-" +
           std::to_string(getpid()) + "-" + name;
}

/* ---- a database whose values say what they are ----------------------------------------------- */

class database
{
  public:
    database(const char *name, const zcache_rocksdb::options &o, uint64_t primary)
        : path(temporary(name))
    {
        rocksdb::LRUCacheOptions cache;
        rocksdb::BlockBasedTableOptions table;
        rocksdb::DB *db = nullptr;

        must(zcache_rocksdb::open_secondary_cache(o, &sec));
        cache.capacity = primary;
        cache.num_shard_bits = 1;
        cache.secondary_cache = sec;
        table.block_cache = rocksdb::NewLRUCache(cache);
        table.cache_index_and_filter_blocks = true;
        opts.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
        opts.create_if_missing = true;
        opts.write_buffer_size = 1 << 20;
        opts.use_direct_reads = true;
        must(rocksdb::DB::Open(opts, path, &db));
        base.reset(db);
    }

    database(const database &) = delete;
    database &operator=(const database &) = delete;

    ~database()
    {
        must(base->Close());
        base.reset();
        must(rocksdb::DestroyDB(path, opts));
    }

    static std::string key(uint64_t i)
    {
        char text[24];

        (void)snprintf(text, sizeof text, "%016llu", static_cast<unsigned long long>(i));
        return text;
    }

    /* 100 to 500 bytes that repeat themselves now and then. */
    static std::string value(uint64_t i, uint64_t version)
    {
        std::string text = key(i) + " version " + std::to_string(version) + " ";
        uint64_t x = i * 0x9e3779b97f4a7c15u + version;

        while (text.size() < 100 + i % 400) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            text += (x >> 60) < 8 ? "the same " : std::to_string(x >> 33) + " ";
        }
        return text;
    }

    void put(uint64_t i, uint64_t version)
    {
        must(base->Put({}, key(i), value(i, version)));
    }

    /* The version of the row; every byte is compared. */
    uint64_t get(uint64_t i)
    {
        rocksdb::ReadOptions read;
        std::string text;

        read.verify_checksums = true;
        must(base->Get(read, key(i), &text));
        return version_of(i, text);
    }

    static uint64_t version_of(uint64_t i, const std::string &text)
    {
        const uint64_t version =
            strtoull(text.c_str() + key(i).size() + strlen(" version "), nullptr, 10);

        CHECK(text == value(i, version));
        return version;
    }

    void fill(uint64_t n)
    {
        for (uint64_t i = 0; i < n; i++) {
            put(i, 0);
        }
        must(base->Flush({}));
    }

    /* All rows are there, as they are read one after the other, and RocksDB agrees. */
    void walk(uint64_t n)
    {
        std::unique_ptr<rocksdb::Iterator> it(base->NewIterator({}));
        uint64_t i = 0;

        for (it->SeekToFirst(); it->Valid(); it->Next(), i++) {
            CHECK(it->key() == key(i));
            (void)version_of(i, it->value().ToString());
        }
        must(it->status());
        CHECK(i == n);
        must(base->VerifyChecksum());
    }

    void compact()
    {
        must(base->CompactRange({}, nullptr, nullptr));
    }

    struct zcache_stats stats() const
    {
        struct zcache_stats s = ZCACHE_STATS_INIT;

        CHECK(zcache_stats(zcache_rocksdb::tenant_of(sec.get()), &s) == 0);
        return s;
    }

    rocksdb::DB *db()
    {
        return base.get();
    }

    SecondaryCache *secondary()
    {
        return sec.get();
    }

  private:
    std::string path;
    rocksdb::Options opts;
    std::shared_ptr<SecondaryCache> sec;
    std::unique_ptr<rocksdb::DB> base;
};

zcache_rocksdb::options tenant_options(const char *cache, const char *tenant)
{
    zcache_rocksdb::options o;

    o.cache = cache;
    o.tenant = tenant;
    return o;
}

uint64_t hits(const struct zcache_stats &s)
{
    return s.count.get_hits_raw + s.count.get_hits_fast + s.count.get_hits_dense;
}

/* ---- tests ----------------------------------------------------------------------------------- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr uint64_t row_count = 8000;
#else
constexpr uint64_t row_count = 30000;
#endif

/* Two databases, each with threads that read while one writes; every value has to be right, and never
 * older than one seen before. */
void read_and_write(database *db, uint64_t seed)
{
    std::vector<std::atomic<uint64_t>> written(row_count);
    std::atomic<bool> done{false};
    std::vector<std::thread> readers;

    for (uint64_t t = 0; t < 2; t++) {
        readers.emplace_back([&, t] {
            uint64_t x = seed + t;

            while (!done) {
                x = x * 6364136223846793005u + 1442695040888963407u;
                /* Most reads are of the first rows. */
                const uint64_t i = (x >> 33) % ((x >> 20) % row_count + 1);
                const uint64_t before = written[i];

                CHECK(db->get(i) >= before);
            }
        });
    }
    for (uint64_t n = 0; n < row_count; n++) {
        const uint64_t i = n * 7919 % row_count;

        db->put(i, n);
        written[i] = n;
    }
    db->compact();
    done = true;
    for (std::thread &t : readers) {
        t.join();
    }
    for (uint64_t i = 0; i < row_count; i++) {
        CHECK(db->get(i) == written[i]);
    }
}

void test_databases_share_a_cache()
{
    const char *cache = "capacity=6M,page_max=32K,raw_percent=10,fast_percent=30";
    auto users = std::make_unique<database>("users", tenant_options(cache, "users"), 512 << 10);
    zcache_rocksdb::options o = tenant_options("", "orders");

    o.limit = 2 << 20;
    database orders("orders", o, 512 << 10);
    users->fill(row_count);
    orders.fill(row_count);
    users->walk(row_count);
    orders.walk(row_count);

    std::thread other([&] { read_and_write(users.get(), 1); });
    read_and_write(&orders, 2);
    other.join();
    users->walk(row_count);
    orders.walk(row_count);

    for (database *db : {users.get(), &orders}) {
        const struct zcache_stats s = db->stats();

        CHECK(hits(s) > 0);
        CHECK(s.tier[ZCACHE_TIER_FAST].demotions > 0);
        CHECK(s.count.get_errors == 0 && s.count.corrupt == 0 && s.count.foreign_evictions == 0);
    }
    CHECK(orders.stats().gauge.peak_charge_bytes <= o.limit);
    CHECK(zcache_rocksdb::cache_of(users->secondary()) ==
          zcache_rocksdb::cache_of(orders.secondary()));
    CHECK(zcache_verify(zcache_rocksdb::cache_of(orders.secondary())) == 0);

    users.reset();
    for (uint64_t i = 0; i < row_count; i++) {
        (void)orders.get(i);
    }
}

/* A block that goes back to the block cache and comes again, many times, is put once. */
void test_blocks_are_put_once()
{
    constexpr uint64_t n = 2000; /* more than the block cache holds, less than the two */
    database db("once", tenant_options("capacity=8M,page_max=32K", ""), 256 << 10);
    struct zcache_stats s;

    db.fill(n);
    for (int round = 0; round < 6; round++) {
        for (uint64_t i = 0; i < n; i++) {
            (void)db.get(i);
        }
    }
    s = db.stats();
    CHECK(s.gauge.pages > n / 20 && s.count.put_inserts + s.count.put_replaces == s.gauge.pages);
    CHECK(hits(s) > 2 * s.gauge.pages);
    /* No block was read from the file more than twice: when it was met first, and on the way in. */
    CHECK(s.count.get_misses < 3 * s.gauge.pages);
}

void test_by_name()
{
    std::shared_ptr<SecondaryCache> one, two, bad;
    size_t capacity = 0;

    must(SecondaryCache::CreateFromString(
        {}, "id=zcache;cache=capacity=4M,page_max=32K;tenant=one;limit=2M", &one));
    CHECK(strcmp(one->Name(), "zcache") == 0);
    CHECK(zcache_rocksdb::tenant_of(one.get()) != nullptr);
    must(one->GetCapacity(capacity));
    CHECK(capacity == 2 << 20);

    must(SecondaryCache::CreateFromString({}, "id=zcache;tenant=two", &two));
    CHECK(zcache_rocksdb::cache_of(one.get()) == zcache_rocksdb::cache_of(two.get()));
    CHECK(zcache_rocksdb::tenant_of(one.get()) != zcache_rocksdb::tenant_of(two.get()));

    CHECK(SecondaryCache::CreateFromString({}, "id=zcache;cache=capacity=5M", &bad)
              .IsInvalidArgument());
    CHECK(SecondaryCache::CreateFromString({}, "id=zcache;tenant=two", &bad).IsInvalidArgument());
    CHECK(SecondaryCache::CreateFromString({}, "id=zcache;tenant=a b", &bad).IsInvalidArgument());
    CHECK(!SecondaryCache::CreateFromString({}, "id=zcache;colour=red", &bad).ok());
    bad.reset();
    one.reset();
    two.reset();
    CHECK(SecondaryCache::CreateFromString({}, "id=zcache;cache=capacity=1K", &bad)
              .IsInvalidArgument());
    CHECK(
        SecondaryCache::CreateFromString({}, "id=zcache;cache=speed=11", &bad).IsInvalidArgument());
    CHECK(SecondaryCache::CreateFromString({}, "id=zcache", &bad).IsInvalidArgument());
    CHECK(zcache_rocksdb::tenant_of(bad.get()) == nullptr);
    CHECK(zcache_rocksdb::tenant_of(rocksdb::NewCompressedSecondaryCache(1 << 20).get()) ==
          nullptr);
}

/* Pages that the cache's own thread has in hand at that moment go when it is done with them. */
void expect_charge_below(const database &db, uint64_t bytes)
{
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);

    while (db.stats().gauge.charge_bytes > bytes) {
        CHECK(std::chrono::steady_clock::now() < deadline);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

void test_capacity_changes()
{
    database db("capacity", tenant_options("capacity=8M,page_max=32K", ""), 256 << 10);
    size_t capacity;

    db.fill(row_count);
    db.walk(row_count);
    db.walk(row_count);
    CHECK(db.stats().gauge.charge_bytes > 1 << 20);
    must(db.secondary()->SetCapacity(1 << 20));
    must(db.secondary()->GetCapacity(capacity));
    CHECK(capacity == 1 << 20);
    expect_charge_below(db, 1 << 20);
    db.walk(row_count);
    CHECK(db.stats().gauge.charge_bytes <= 1 << 20);
    must(db.secondary()->SetCapacity(0));
    expect_charge_below(db, 0);
    db.walk(row_count);
    CHECK(db.stats().gauge.pages == 0);
}

/* ---- called as RocksDB would not ------------------------------------------------------------- */

size_t text_size(void *value)
{
    return static_cast<std::string *>(value)->size();
}

Status text_save(void *value, size_t offset, size_t length, void *out)
{
    memcpy(out, static_cast<std::string *>(value)->data() + offset, length);
    return Status::OK();
}

Status refuse_to_save(void *, size_t, size_t, void *)
{
    return Status::Corruption("on purpose");
}

Status throw_on_save(void *, size_t, size_t, void *)
{
    throw std::runtime_error("on purpose");
}

void keep(const Slice &, void *)
{
}

Status make_text(const void *data, size_t size, void **out, size_t *charge)
{
    *out = new std::string(static_cast<const char *>(data), size);
    *charge = size;
    return Status::OK();
}

Status refuse_to_make(const void *, size_t, void **, size_t *)
{
    return Status::MemoryLimit("on purpose");
}

Status throw_on_make(const void *, size_t, void **, size_t *)
{
    throw std::runtime_error("on purpose");
}

void insert_twice(SecondaryCache *cache, const Slice &key, std::string value)
{
    static const rocksdb::Cache::CacheItemHelper helper(text_size, text_save, keep);

    must(cache->Insert(key, &value, &helper)); /* leaves a mark */
    must(cache->Insert(key, &value, &helper));
}

bool look_up(SecondaryCache *cache, const Slice &key, const std::string &value, bool erase)
{
    bool stays = !erase;
    const auto found = cache->Lookup(key, make_text, true, erase, stays);

    if (found == nullptr) {
        CHECK(!stays);
        return false;
    }
    CHECK(stays == !erase && found->IsReady() && found->Size() == value.size());
    const std::unique_ptr<std::string> text(static_cast<std::string *>(found->Value()));
    CHECK(*text == value);
    return true;
}

std::string numbered_key(uint64_t i)
{
    std::string key(16, 'k');

    memcpy(&key[0], &i, sizeof i);
    return key;
}

std::string numbered_text(uint64_t i)
{
    std::string text(4000, 't');

    memcpy(&text[0], &i, sizeof i);
    return text;
}

/* One that went back leaves before others, and is put again when it comes, though it left long ago. */
void test_blocks_that_went_back_leave_first()
{
    constexpr uint64_t n = 1000;
    const rocksdb::Cache::CacheItemHelper helper(text_size, text_save, keep);
    std::shared_ptr<SecondaryCache> cache;
    std::string value;
    uint64_t n_went = 0, n_stayed = 0;

    must(zcache_rocksdb::open_secondary_cache(
        tenant_options("capacity=8M,page_max=32K,dense=none,fast=none", ""), &cache));
    zcache_tenant *tenant = zcache_rocksdb::tenant_of(cache.get());
    for (uint64_t i = 0; i < n; i++) {
        value = numbered_text(i);
        insert_twice(cache.get(), numbered_key(i), value);
    }
    for (uint64_t i = n; i < 200 * n; i++) { /* the notes of these take all places */
        must(cache->Insert(numbered_key(i), &value, &helper));
    }
    for (uint64_t i = 0; i < n; i++) {
        CHECK(look_up(cache.get(), numbered_key(i), numbered_text(i), i % 2 == 0));
    }
    CHECK(zcache_shrink(tenant, n / 4 * 4096, 10000, nullptr) == 0);
    for (uint64_t i = 0; i < n; i++) {
        const bool there = look_up(cache.get(), numbered_key(i), numbered_text(i), false);

        CHECK(there || i % 2 == 0);
        n_went += i % 2 == 0 && !there ? 1 : 0;
        n_stayed += there ? 1 : 0;
    }
    CHECK(n_went > n / 5 && n_stayed > n / 2);
    for (uint64_t i = 0; i < n; i++) {
        value = numbered_text(i);
        must(cache->Insert(numbered_key(i), &value, &helper));
        CHECK(look_up(cache.get(), numbered_key(i), value, false));
    }
}

void test_odd_calls()
{
    const std::string text(5000, 'x'), key(16, 'k'), other(16, 'o');
    const rocksdb::Cache::CacheItemHelper good(text_size, text_save, keep);
    const rocksdb::Cache::CacheItemHelper refuses(text_size, refuse_to_save, keep);
    const rocksdb::Cache::CacheItemHelper throws(text_size, throw_on_save, keep);
    std::shared_ptr<SecondaryCache> cache;
    std::string value = text;
    bool stays = true;

    must(zcache_rocksdb::open_secondary_cache(tenant_options("capacity=4M,page_max=32K", ""),
                                              &cache));
    insert_twice(cache.get(), key, text);
    CHECK(look_up(cache.get(), key, text, false));
    CHECK(look_up(cache.get(), key, text, true));
    CHECK(look_up(cache.get(), key, text, false)); /* there is room */
    must(cache->Insert(key, &value, &good));
    CHECK(look_up(cache.get(), key, text, true));
    cache->Erase(key);
    CHECK(!look_up(cache.get(), key, text, false));

    /* Refused and thrown, into the cache and out of it. */
    must(cache->Insert(other, &value, &good));
    CHECK(cache->Insert(other, &value, &refuses).IsCorruption());
    must(cache->Insert(other, &value, &throws)); /* it was noted, but never put */
    CHECK(!look_up(cache.get(), other, text, false));
    insert_twice(cache.get(), key, text);
    CHECK(cache->Lookup(key, throw_on_make, true, false, stays) == nullptr && !stays);
    CHECK(look_up(cache.get(), key, text, false));
    CHECK(cache->Lookup(key, refuse_to_make, true, false, stays) == nullptr && !stays);
    CHECK(!look_up(cache.get(), key, text, false));

    /* Keys and blocks that are not for it. */
    insert_twice(cache.get(), "short", text);
    CHECK(!look_up(cache.get(), "short", text, false));
    insert_twice(cache.get(), key, std::string(40000, 'y'));
    CHECK(!look_up(cache.get(), key, std::string(40000, 'y'), false));
    insert_twice(cache.get(), other, "");
    CHECK(!look_up(cache.get(), other, "", false));
}

} /* namespace */

int main()
{
    test_odd_calls();
    test_by_name();
    test_blocks_are_put_once();
    test_blocks_that_went_back_leave_first();
    test_capacity_changes();
    test_databases_share_a_cache();
    (void)printf("ok\n");
    return 0;
}
