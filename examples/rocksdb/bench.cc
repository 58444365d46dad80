/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a secondary cache gains: random reads of one database by Zipf's law, at equal memory,
 *
 *     none              all of it for the block cache
 *     compressed        the block cache, and RocksDB's CompressedSecondaryCache with lz4
 *     compressed-zstd   the same with zstd
 *     zcache            the block cache, and zcache
 *
 * The rows are pieces of a file, in its order.  Files are read past the system's page cache, which
 * would be a cache that nobody counts; how long a read takes at least can be said, and several
 * such times be measured in one run.  Each subject gets the same reads, on a database that it
 * opens itself, after as many reads to warm up; they take turns, and medians are reported.  Every
 * value is compared with the file.
 */
#include "zcache_rocksdb.h"

#include <getopt.h>
#include <sys/prctl.h>
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
    std::string options = "page_max=16K"; /* of zcache, besides the capacity */
    uint64_t data = 64 << 20;             /* bytes of rows; no more than the corpus has */
    uint64_t primary = 0;                 /* 0: a quarter of the rows */
    uint64_t secondary = 0;               /* 0: half as much again */
    uint64_t row = 400;
    uint64_t reads = 20000; /* of a thread in a turn */
    uint64_t warm_up = 20;  /* turns */
    uint64_t rounds = 15;   /* turns that are measured, for each time that a read takes */
    uint64_t threads = 1;
    std::vector<uint64_t> read_us = {0}; /* least time of a read of a file */
    double skew = 0.99;
    bool json = false;
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
    explicit rows(const config &c) : row_bytes(c.row)
    {
        std::ifstream file(c.corpus, std::ios::binary);

        text.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
        n = std::min(c.data, text.size()) / row_bytes;
        if (n == 0) {
            fail("cannot read " + c.corpus);
        }
    }

    uint64_t bytes() const
    {
        return n * row_bytes;
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
        return {text.data() + i * row_bytes, row_bytes};
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
 * A slower device: a read takes so long at least.  A local SSD takes 100 us, a volume over a network
 * half a millisecond.
 */
using clock_type = std::chrono::steady_clock;

std::atomic<uint64_t> least_read_us{0};

class slow_file final : public rocksdb::FSRandomAccessFileOwnerWrapper
{
  public:
    explicit slow_file(std::unique_ptr<rocksdb::FSRandomAccessFile> &&file)
        : FSRandomAccessFileOwnerWrapper(std::move(file))
    {
    }

    rocksdb::IOStatus Read(uint64_t offset,
                           size_t n,
                           const rocksdb::IOOptions &options,
                           rocksdb::Slice *result,
                           char *scratch,
                           rocksdb::IODebugContext *debug) const override
    {
        const std::chrono::microseconds least(least_read_us);
        const auto end = clock_type::now() + least;
        rocksdb::IOStatus s =
            FSRandomAccessFileOwnerWrapper::Read(offset, n, options, result, scratch, debug);

        if (least.count() > 0) {
            std::this_thread::sleep_until(end);
        }
        return s;
    }
};

class slow_files final : public rocksdb::FileSystemWrapper
{
  public:
    slow_files() : FileSystemWrapper(rocksdb::FileSystem::Default())
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
            *result = std::make_unique<slow_file>(std::move(*result));
        }
        return s;
    }
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
        env = rocksdb::NewCompositeEnv(std::make_shared<slow_files>());
        options.env = env.get();
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

std::shared_ptr<rocksdb::SecondaryCache> make_compressed(const config &c,
                                                         rocksdb::CompressionType type)
{
    rocksdb::CompressedSecondaryCacheOptions options;

    options.capacity = c.secondary;
    options.compression_type = type;
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

double median(std::vector<double> values)
{
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

template <typename F> double median(const std::vector<turn> &turns, F value)
{
    std::vector<double> values;

    values.reserve(turns.size());
    for (const turn &t : turns) {
        values.push_back(value(t));
    }
    return median(std::move(values));
}

/* What zcache holds, uncompressed. */
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

/* One line of the report: a subject where reads take so long. */
struct result {
    const char *name;
    uint64_t read_us;
    double reads_per_s;
    double ratio; /* of the turns beside each other, to the reference's */
    double block_read_percent;
    double cpu_us;
};

result summary(const char *name,
               uint64_t read_us,
               const std::vector<turn> &turns,
               const std::vector<turn> &reference)
{
    std::vector<double> ratios;

    for (size_t i = 0; i < turns.size(); i++) {
        ratios.push_back(reference[i].seconds / turns[i].seconds);
    }
    return {name,
            read_us,
            median(turns, [](const turn &t) { return t.reads / t.seconds; }),
            median(std::move(ratios)),
            median(turns, [](const turn &t) { return 100 * t.block_reads / t.reads; }),
            median(turns, [](const turn &t) { return 1e6 * t.cpu_seconds / t.reads; })};
}

struct report {
    std::vector<result> results;
    std::vector<std::pair<const char *, double>> grown_mib; /* of the process, by a subject */
    double held_mib;
};

void print_table(const config &c, const rows &rows, const report &r)
{
    (void)printf("%llu rows of %llu bytes, Zipf %.2f, threads: %llu; caches of %llu + %llu KiB\n",
                 static_cast<unsigned long long>(rows.count()),
                 static_cast<unsigned long long>(c.row), c.skew,
                 static_cast<unsigned long long>(c.threads),
                 static_cast<unsigned long long>(c.primary >> 10),
                 static_cast<unsigned long long>(c.secondary >> 10));
    (void)printf("%8s %-16s %10s %13s %13s %12s\n", "read us", "secondary", "reads/s",
                 "x compressed", "block reads", "CPU us/read");
    for (const result &one : r.results) {
        (void)printf("%8llu %-16s %10.0f %13.2f %11.2f %% %12.1f\n",
                     static_cast<unsigned long long>(one.read_us), one.name, one.reads_per_s,
                     one.ratio, one.block_read_percent, one.cpu_us);
    }
    (void)printf("memory that each took:");
    for (const auto &grown : r.grown_mib) {
        (void)printf(" %s %.0f MiB", grown.first, grown.second);
    }
    (void)printf("; zcache held %.1f MiB of blocks\n", r.held_mib);
}

void print_json(const config &c, const rows &rows, const report &r)
{
    const char *comma = "";

    (void)printf("{\"rows\": %llu, \"row_bytes\": %llu, \"skew\": %.2f, \"threads\": %llu, "
                 "\"primary_bytes\": %llu, \"secondary_bytes\": %llu, \"held_mib\": %.2f, "
                 "\"grown_mib\": {",
                 static_cast<unsigned long long>(rows.count()),
                 static_cast<unsigned long long>(c.row), c.skew,
                 static_cast<unsigned long long>(c.threads),
                 static_cast<unsigned long long>(c.primary),
                 static_cast<unsigned long long>(c.secondary), r.held_mib);
    for (const auto &grown : r.grown_mib) {
        (void)printf("%s\"%s\": %.2f", comma, grown.first, grown.second);
        comma = ", ";
    }
    (void)printf("}, \"results\": [");
    comma = "";
    for (const result &one : r.results) {
        (void)printf("%s\n{\"secondary\": \"%s\", \"read_us\": %llu, \"reads_per_s\": %.1f, "
                     "\"x_compressed\": %.3f, \"block_read_percent\": %.3f, \"cpu_us\": %.3f}",
                     comma, one.name, static_cast<unsigned long long>(one.read_us), one.reads_per_s,
                     one.ratio, one.block_read_percent, one.cpu_us);
        comma = ",";
    }
    (void)printf("]}\n");
}

void compare(config c)
{
    const rows rows(c);
    const zipf zipf(rows.count(), c.skew);

    c.primary = c.primary != 0 ? c.primary : rows.bytes() / 4;
    c.secondary = c.secondary != 0 ? c.secondary : c.primary / 2 * 3;
    make_database(c, rows);

    const subject subjects[] = {
        {"none", c, nullptr},
        {"compressed", c, make_compressed(c, rocksdb::kLZ4Compression)},
        {"compressed-zstd", c, make_compressed(c, rocksdb::kZSTD)},
        {"zcache", c, make_zcache(c)},
    };
    constexpr size_t n_subjects = std::size(subjects);
    const size_t reference = 1;
    std::vector<std::vector<turn>> turns(n_subjects * c.read_us.size());
    report report{};

    for (const subject &s : subjects) {
        const double before = resident_mib();

        for (uint64_t r = 0; r < c.warm_up; r++) {
            (void)take_turn(s, c, rows, zipf, 1000000 + r * c.threads);
        }
        report.grown_mib.emplace_back(s.name(), resident_mib() - before);
    }
    for (uint64_t r = 0; r < c.rounds; r++) {
        for (size_t t = 0; t < c.read_us.size(); t++) {
            least_read_us = c.read_us[t];
            for (size_t i = 0; i < n_subjects; i++) {
                const size_t next = (r + i) % n_subjects;

                turns[t * n_subjects + next].push_back(take_turn(
                    subjects[next], c, rows, zipf, (r * c.read_us.size() + t) * c.threads));
            }
        }
    }
    for (size_t t = 0; t < c.read_us.size(); t++) {
        for (size_t i = 0; i < n_subjects; i++) {
            report.results.push_back(summary(subjects[i].name(), c.read_us[t],
                                             turns[t * n_subjects + i],
                                             turns[t * n_subjects + reference]));
        }
    }
    report.held_mib = bytes_held(subjects[n_subjects - 1]) / (1 << 20);
    (c.json ? print_json : print_table)(c, rows, report);
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

std::vector<uint64_t> times(const std::string &text)
{
    std::vector<uint64_t> all;
    size_t at = 0;

    while (at <= text.size()) {
        const size_t end = std::min(text.find(',', at), text.size());
        const std::string one = text.substr(at, end - at);

        all.push_back(one == "0" ? 0 : number(one.c_str()));
        at = end + 1;
    }
    return all;
}

const option long_options[] = {
    {"corpus", required_argument, nullptr, 'c'},
    {"db", required_argument, nullptr, 'd'},
    {"primary", required_argument, nullptr, 'p'},
    {"secondary", required_argument, nullptr, 's'},
    {"data", required_argument, nullptr, 'w'},
    {"row", required_argument, nullptr, 'b'},
    {"reads", required_argument, nullptr, 'n'},
    {"threads", required_argument, nullptr, 't'},
    {"rounds", required_argument, nullptr, 'r'},
    {"skew", required_argument, nullptr, 'k'},
    {"read-us", required_argument, nullptr, 'y'},
    {"warm-up", required_argument, nullptr, 'u'},
    {"options", required_argument, nullptr, 'o'},
    {"json", no_argument, nullptr, 'j'},
    {nullptr, 0, nullptr, 0},
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
            c.read_us = times(optarg);
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
        case 'j':
            c.json = true;
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
    /* A sleep ends when it should, and not some 50 us later; threads inherit that. */
    if (prctl(PR_SET_TIMERSLACK, 1) != 0) {
        fail("timer slack");
    }
    compare(parse(argc, argv));
    return 0;
}
