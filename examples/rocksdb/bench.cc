/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a secondary cache gains: random reads of one database by Zipf's law, at equal memory,
 *
 *     none         all of it for the block cache
 *     compressed   the block cache, and RocksDB's CompressedSecondaryCache with lz4
 *     zcache       the block cache, and zcache
 *
 * The rows are pieces of a file, in its order.  Files are read past the system's page cache, which
 * would be a cache that nobody counts.  Each subject gets the same reads, on a database that it
 * opens itself, after as many reads to warm up; they take turns, and medians are reported.  Every
 * value is compared with the file.
 */
#include "zcache_rocksdb.h"

#include <getopt.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <rocksdb/db.h>
#include <rocksdb/file_system.h>
#include <rocksdb/perf_context.h>
#include <rocksdb/table.h>
#include <zcache/stats.h>

namespace
{

struct config {
    std::string corpus;
    std::string directory = "/tmp/zcache-rocksdb-bench";
    std::string options = "page_max=16K,raw_percent=10,fast=zstd:1,fast_percent=100,dense=none,"
                          "background_percent=98,low_percent=96";
    uint64_t primary = 16 << 20;
    uint64_t secondary = 16 << 20;
    uint64_t data = 64 << 20; /* bytes of rows */
    uint64_t row = 400;
    uint64_t reads = 20000; /* of a thread in a turn */
    uint64_t warm_up = 20;  /* turns */
    uint64_t rounds = 20;   /* turns that are measured */
    uint64_t threads = 1;
    uint64_t delay_us = 0; /* of each read of a file, besides what the device takes */
    double skew = 0.99;
};

[[noreturn]] void fail(const std::string &what)
{
    (void)fprintf(stderr, "bench: %s\n", what.c_str());
    exit(1); /* NOLINT(concurrency-mt-unsafe) */
}

void must(const rocksdb::Status &s, const char *what)
{
    if (!s.ok()) {
        fail(std::string(what) + ": " + s.ToString());
    }
}

/* ---- rows ------------------------------------------------------------------------------------ */

class rows
{
  public:
    explicit rows(const config &c) : row_bytes(c.row), n(c.data / c.row)
    {
        std::ifstream file(c.corpus, std::ios::binary);

        text.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
        if (text.size() < row_bytes) {
            fail("cannot read " + c.corpus);
        }
    }

    uint64_t count() const
    {
        return n;
    }

    static std::string key(uint64_t i)
    {
        char text[24];

        (void)snprintf(text, sizeof text, "row%012llu", static_cast<unsigned long long>(i));
        return text;
    }

    rocksdb::Slice value(uint64_t i) const
    {
        return {text.data() + i % (text.size() / row_bytes) * row_bytes, row_bytes};
    }

  private:
    uint64_t row_bytes;
    uint64_t n;
    std::string text;
};

/* Row numbers; the k-th most popular comes with a probability in proportion to 1 / k^skew. */
class zipf
{
  public:
    zipf(uint64_t n, double skew) : cumulative(n), order(n)
    {
        std::mt19937_64 random(1);
        double sum = 0;

        for (uint64_t i = 0; i < n; i++) {
            sum += std::pow(static_cast<double>(i + 1), -skew);
            cumulative[i] = sum;
            order[i] = static_cast<uint32_t>(i);
        }
        std::shuffle(order.begin(), order.end(), random);
    }

    uint64_t next(std::mt19937_64 &random) const
    {
        std::uniform_real_distribution<double> even(0, cumulative.back());
        const auto at = std::upper_bound(cumulative.begin(), cumulative.end() - 1, even(random));

        return order[static_cast<size_t>(at - cumulative.begin())];
    }

  private:
    std::vector<double> cumulative;
    std::vector<uint32_t> order;
};

/* ---- the database ---------------------------------------------------------------------------- */

void make_database(const config &c, const rows &rows)
{
    rocksdb::Options options;
    rocksdb::DB *db = nullptr;
    rocksdb::WriteOptions write;

    must(rocksdb::DestroyDB(c.directory, options), "remove the old database");
    options.create_if_missing = true;
    must(rocksdb::DB::Open(options, c.directory, &db), "make the database");
    write.disableWAL = true;
    for (uint64_t i = 0; i < rows.count(); i++) {
        must(db->Put(write, rows::key(i), rows.value(i)), "put");
    }
    must(db->CompactRange({}, nullptr, nullptr), "compact");
    must(db->Close(), "close");
    delete db;
}

/*
 * A slower device: each read of a file takes so much longer.  A volume over a network takes half a
 * millisecond where a local SSD takes 50 us.
 */
class slow_file final : public rocksdb::FSRandomAccessFileOwnerWrapper
{
  public:
    slow_file(std::unique_ptr<rocksdb::FSRandomAccessFile> &&file, uint64_t us)
        : FSRandomAccessFileOwnerWrapper(std::move(file)), delay_us(us)
    {
    }

    rocksdb::IOStatus Read(uint64_t offset,
                           size_t n,
                           const rocksdb::IOOptions &options,
                           rocksdb::Slice *result,
                           char *scratch,
                           rocksdb::IODebugContext *debug) const override
    {
        std::this_thread::sleep_for(std::chrono::microseconds(delay_us));
        return FSRandomAccessFileOwnerWrapper::Read(offset, n, options, result, scratch, debug);
    }

  private:
    uint64_t delay_us;
};

class slow_files final : public rocksdb::FileSystemWrapper
{
  public:
    explicit slow_files(uint64_t us)
        : FileSystemWrapper(rocksdb::FileSystem::Default()), delay_us(us)
    {
    }

    const char *Name() const override
    {
        return "slow_files";
    }

    rocksdb::IOStatus NewRandomAccessFile(const std::string &name,
                                          const rocksdb::FileOptions &options,
                                          std::unique_ptr<rocksdb::FSRandomAccessFile> *result,
                                          rocksdb::IODebugContext *debug) override
    {
        rocksdb::IOStatus s = FileSystemWrapper::NewRandomAccessFile(name, options, result, debug);

        if (s.ok()) {
            *result = std::make_unique<slow_file>(std::move(*result), delay_us);
        }
        return s;
    }

  private:
    uint64_t delay_us;
};

/* Opens the database, with a cache of its own. */
class subject
{
  public:
    subject(const char *name, const config &c, std::shared_ptr<rocksdb::SecondaryCache> secondary)
        : title(name), cache(std::move(secondary))
    {
        rocksdb::LRUCacheOptions lru;
        rocksdb::BlockBasedTableOptions table;
        rocksdb::Options options;
        rocksdb::DB *db = nullptr;

        lru.secondary_cache = cache;
        lru.capacity = cache != nullptr ? c.primary : c.primary + c.secondary;
        table.block_cache = rocksdb::NewLRUCache(lru);
        options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
        options.use_direct_reads = true;
        if (c.delay_us > 0) {
            env = rocksdb::NewCompositeEnv(std::make_shared<slow_files>(c.delay_us));
            options.env = env.get();
        }
        must(rocksdb::DB::OpenForReadOnly(options, c.directory, &db), "open");
        base.reset(db);
    }

    const char *name() const
    {
        return title;
    }

    rocksdb::DB *db() const
    {
        return base.get();
    }

    rocksdb::SecondaryCache *secondary() const
    {
        return cache.get();
    }

  private:
    const char *title;
    std::shared_ptr<rocksdb::SecondaryCache> cache;
    std::unique_ptr<rocksdb::Env> env;
    std::unique_ptr<rocksdb::DB> base;
};

std::shared_ptr<rocksdb::SecondaryCache> make_compressed(const config &c)
{
    rocksdb::CompressedSecondaryCacheOptions options;

    options.capacity = c.secondary;
    return rocksdb::NewCompressedSecondaryCache(options);
}

std::shared_ptr<rocksdb::SecondaryCache> make_zcache(const config &c)
{
    zcache_rocksdb::options options;
    std::shared_ptr<rocksdb::SecondaryCache> cache;

    options.cache = "capacity=" + std::to_string(c.secondary);
    options.cache += c.options.empty() ? "" : "," + c.options;
    must(zcache_rocksdb::open_secondary_cache(options, &cache), "zcache");
    return cache;
}

/* ---- measuring ------------------------------------------------------------------------------- */

/* One turn of a subject, or one thread's part of it. */
struct turn {
    double reads;
    double block_reads;
    double seconds;
    double cpu_seconds; /* of the whole process */
};

/* Reads as many rows as said; how many blocks were read from files for that. */
uint64_t read_rows(rocksdb::DB *db,
                   uint64_t reads,
                   const rows &rows,
                   const zipf &zipf,
                   uint64_t seed)
{
    std::mt19937_64 random(seed);
    rocksdb::PinnableSlice value;

    rocksdb::SetPerfLevel(rocksdb::PerfLevel::kEnableCount);
    rocksdb::get_perf_context()->Reset();
    for (uint64_t i = 0; i < reads; i++) {
        const uint64_t row = zipf.next(random);

        must(db->Get({}, db->DefaultColumnFamily(), rows::key(row), &value), "get");
        if (value != rows.value(row)) {
            fail("row " + std::to_string(row) + " is not what was put");
        }
        value.Reset();
    }
    return rocksdb::get_perf_context()->block_read_count;
}

double cpu_seconds()
{
    rusage used{};

    (void)getrusage(RUSAGE_SELF, &used);
    return static_cast<double>(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           1e-6 * static_cast<double>(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

/* Resident memory of the process. */
double resident_mib()
{
    std::ifstream statm("/proc/self/statm");
    uint64_t all = 0, resident = 0;

    statm >> all >> resident;
    return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

turn take_turn(const subject &s, const config &c, const rows &rows, const zipf &zipf, uint64_t seed)
{
    const auto begun = std::chrono::steady_clock::now();
    const double cpu_begun = cpu_seconds();
    std::vector<std::thread> threads;
    std::atomic<uint64_t> block_reads{0};
    turn t{};

    for (uint64_t i = 0; i < c.threads; i++) {
        threads.emplace_back(
            [&, i] { block_reads += read_rows(s.db(), c.reads, rows, zipf, seed + i); });
    }
    for (std::thread &thread : threads) {
        thread.join();
    }
    t.reads = static_cast<double>(c.reads * c.threads);
    t.block_reads = static_cast<double>(block_reads);
    t.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    t.cpu_seconds = cpu_seconds() - cpu_begun;
    return t;
}

template <typename F> double median(const std::vector<turn> &turns, F value)
{
    std::vector<double> values;

    for (const turn &t : turns) {
        values.push_back(value(t));
    }
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

double bytes_held(const subject &s)
{
    struct zcache_stats stats = ZCACHE_STATS_INIT;
    double sum = 0;

    if (zcache_stats(zcache_rocksdb::tenant_of(s.secondary()), &stats) == 0) {
        for (const zcache_tier_stats &tier : stats.tier) {
            sum += static_cast<double>(tier.raw_bytes);
        }
    }
    return sum;
}

void report(const subject &s,
            const std::vector<turn> &turns,
            const std::vector<turn> &reference,
            double mib)
{
    std::vector<double> ratios;

    for (size_t i = 0; i < turns.size(); i++) {
        ratios.push_back(reference[i].seconds / turns[i].seconds);
    }
    std::sort(ratios.begin(), ratios.end());
    (void)printf("%-12s %10.0f %14.2f %12.2f %% %13.1f %10.0f\n", s.name(),
                 median(turns, [](const turn &t) { return t.reads / t.seconds; }),
                 ratios[ratios.size() / 2],
                 median(turns, [](const turn &t) { return 100 * t.block_reads / t.reads; }),
                 median(turns, [](const turn &t) { return 1e6 * t.cpu_seconds / t.reads; }), mib);
}

void compare(const config &c)
{
    const rows rows(c);
    const zipf zipf(rows.count(), c.skew);

    make_database(c, rows);

    const subject subjects[] = {
        {"none", c, nullptr}, {"compressed", c, make_compressed(c)}, {"zcache", c, make_zcache(c)}};
    constexpr size_t n_subjects = std::size(subjects);
    std::vector<turn> turns[n_subjects];
    double grown[n_subjects];

    for (size_t i = 0; i < n_subjects; i++) {
        const double before = resident_mib();

        for (uint64_t r = 0; r < c.warm_up; r++) {
            (void)take_turn(subjects[i], c, rows, zipf, 1000000 + r * c.threads);
        }
        grown[i] = resident_mib() - before;
    }
    for (uint64_t r = 0; r < c.rounds; r++) {
        for (size_t i = 0; i < n_subjects; i++) {
            const size_t next = (r + i) % n_subjects;

            turns[next].push_back(take_turn(subjects[next], c, rows, zipf, r * c.threads));
        }
    }
    (void)printf("%llu rows of %llu bytes, Zipf %.2f, threads: %llu; caches of %llu + %llu KiB\n",
                 static_cast<unsigned long long>(rows.count()),
                 static_cast<unsigned long long>(c.row), c.skew,
                 static_cast<unsigned long long>(c.threads),
                 static_cast<unsigned long long>(c.primary >> 10),
                 static_cast<unsigned long long>(c.secondary >> 10));
    (void)printf("%-12s %10s %14s %14s %13s %10s\n", "secondary", "reads/s", "x compressed",
                 "block reads", "CPU us/read", "MiB grown");
    for (size_t i = 0; i < n_subjects; i++) {
        report(subjects[i], turns[i], turns[1], grown[i]);
    }
    (void)printf("zcache held %.1f MiB of blocks\n", bytes_held(subjects[2]) / (1 << 20));
}

/* ---- options --------------------------------------------------------------------------------- */

uint64_t number(const char *text)
{
    char *end;
    uint64_t n = strtoull(text, &end, 10);

    n <<= *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
    end += *end == 'K' || *end == 'M' || *end == 'G';
    if (end == text || *end != '\0' || n == 0) {
        fail(std::string("not a number: ") + text);
    }
    return n;
}

const option long_options[] = {
    {"corpus", required_argument, nullptr, 'c'},   {"db", required_argument, nullptr, 'd'},
    {"primary", required_argument, nullptr, 'p'},  {"secondary", required_argument, nullptr, 's'},
    {"data", required_argument, nullptr, 'w'},     {"row", required_argument, nullptr, 'b'},
    {"reads", required_argument, nullptr, 'n'},    {"threads", required_argument, nullptr, 't'},
    {"rounds", required_argument, nullptr, 'r'},   {"skew", required_argument, nullptr, 'k'},
    {"delay-us", required_argument, nullptr, 'y'}, {"warm-up", required_argument, nullptr, 'u'},
    {"options", required_argument, nullptr, 'o'},  {nullptr, 0, nullptr, 0},
};

config parse(int argc, char **argv)
{
    config c;
    int one;

    /* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread yet */
    while ((one = getopt_long(argc, argv, "", long_options, nullptr)) != -1) {
        switch (one) {
        case 'c':
            c.corpus = optarg;
            break;
        case 'd':
            c.directory = optarg;
            break;
        case 'o':
            c.options = optarg;
            break;
        case 'p':
            c.primary = number(optarg);
            break;
        case 's':
            c.secondary = number(optarg);
            break;
        case 'w':
            c.data = number(optarg);
            break;
        case 'b':
            c.row = number(optarg);
            break;
        case 'y':
            c.delay_us = number(optarg);
            break;
        case 'n':
            c.reads = number(optarg);
            break;
        case 't':
            c.threads = number(optarg);
            break;
        case 'r':
            c.rounds = number(optarg);
            break;
        case 'u':
            c.warm_up = number(optarg);
            break;
        case 'k':
            c.skew = strtod(optarg, nullptr);
            break;
        default:
            exit(2); /* NOLINT(concurrency-mt-unsafe) */
        }
    }
    if (c.corpus.empty()) {
        fail("--corpus FILE is missing: a file of real data, as 'apt-cache dumpavail' prints");
    }
    return c;
}

} /* namespace */

int main(int argc, char **argv)
{
    compare(parse(argc, argv));
    return 0;
}
