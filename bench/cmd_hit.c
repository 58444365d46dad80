/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hit: what a hit costs in each tier, beside the bare work of the same tier's codec and beside
 * caches that keep pages in the same form.
 *
 *   get-raw    zcache_get() of raw pages      memcpy(); RocksDB's raw caches, look-up and copy
 *   get-fast   zcache_get() of lz4 pages      bare lz4; RocksDB's compressed cache, zram, with lz4
 *   get-dense  zcache_get() of zstd pages     bare zstd; the same with zstd; nbdkit
 *   pin        zcache_pin(), zcache_unpin()   memcpy(), which a pin saves; look-up and release
 */
#include "cases.h"
#include "command.h"

static void run(struct report *report, const struct corpus *corpus)
{
    static const struct hit_case *const cases[] = {&hit_get_raw, &hit_get_fast, &hit_get_dense,
                                                   &hit_pin};
    const struct number_list *threads = &report->opts->threads;

    report_time_columns(report);
    for (unsigned t = 0; t < threads->n; t++) {
        for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
            case_hit(report, corpus, cases[i], (unsigned)threads->at[t]);
        }
    }
}

const struct command command_hit = {
    .defaults = {.command = "hit",
                 .page_bytes = "4096",
                 .threads = "1",
                 .cases = "get-raw,get-fast,get-dense,pin",
                 .repeats = 5},
    .summary = "get in each tier, and pin",
    .run = run,
};
