/* SPDX-License-Identifier: BSD-2-Clause */
#include "replay_rocksdb.h"
#include "clock.h"
#include "fail.h"
#include "progress.h"
#include "tiered_rocksdb.h"

#include <stdlib.h>
#include <string.h>

#define COMPARE_EVERY  64u
#define PROGRESS_EVERY ((size_t)1 << 16)

#if BENCH_ROCKSDB

const char *replay_rocksdb_missing(void)
{
    return NULL;
}

void replay_rocksdb(const struct trace *trace,
                    const struct replay_pages *pages,
                    uint64_t bytes,
                    const struct replay_split *split,
                    struct replay_result *out)
{
    const uint64_t raw = bytes * split->raw_percent / 100;
    const struct tiered_rocksdb_config config = {.raw_bytes = raw,
                                                 .compressed_bytes = bytes - raw,
                                                 .page_bytes = pages->page_bytes,
                                                 .zstd = split->zstd ? 1 : 0};
    struct tiered_rocksdb *cache = tiered_rocksdb_open(&config);
    unsigned char *buf = must_alloc_aligned(pages->page_bytes);
    const double begin = clock_seconds(), cpu_begin = clock_cpu_seconds();

    if (cache == NULL) {
        fail("rocksdb: no memory");
    }
    *out = (struct replay_result){0};
    for (size_t i = 0; i < trace->n; i++) {
        const struct trace_request *q = &trace->request[i];
        const unsigned char *page = replay_page(pages, q->page);
        const int rc = tiered_rocksdb_use(cache, q->tenant, trace->id[q->page], page, buf);

        if (rc < 0) {
            fail("rocksdb: %s", error_text(rc));
        }
        out->hits += rc == 0 ? 1 : 0;
        if (rc == 0 && i % COMPARE_EVERY == 0 && memcmp(buf, page, pages->page_bytes) != 0) {
            fail("rocksdb: a page came back with other bytes");
        }
        if (i % PROGRESS_EVERY == 0) {
            progress_show("rocksdb, %u%% raw, %s: %zu of %zu requests", split->raw_percent,
                          split->zstd ? "zstd" : "lz4", i, trace->n);
        }
    }
    out->seconds = clock_seconds() - begin;
    out->cpu_seconds = clock_cpu_seconds() - cpu_begin;
    free(buf);
    tiered_rocksdb_close(cache);
}

#else

const char *replay_rocksdb_missing(void)
{
    return BENCH_ROCKSDB_MISSING;
}

void replay_rocksdb(const struct trace *trace,
                    const struct replay_pages *pages,
                    uint64_t bytes,
                    const struct replay_split *split,
                    struct replay_result *out)
{
    (void)trace;
    (void)pages;
    (void)bytes;
    (void)split;
    (void)out;
    fail("rocksdb: %s", BENCH_ROCKSDB_MISSING);
}

#endif
