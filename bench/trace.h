/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Traces of requests for pages, whole in memory.
 *
 *   zt      records of 16 bytes, little-endian: page u64, time u32, operation u8 (0 read, 1 write),
 *           zero u8, tenant u16
 *   oracle  libCacheSim's oracleGeneral, records of 24 bytes: time u32, object u64, size u32,
 *           request of its next use i64
 *   csv     lines of text; which column is what says a header line or --columns
 *
 * Each of them may be compressed with zstd.  A page is one object, whatever size the trace gives it;
 * the same number of two tenants is two pages.  Pages get small numbers in the order of their first request, so that who replays can keep arrays.
 */
#ifndef BENCH_TRACE_H
#define BENCH_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum trace_format {
    TRACE_FORMAT_BY_NAME,
    TRACE_FORMAT_ZT,
    TRACE_FORMAT_ORACLE,
    TRACE_FORMAT_CSV,
    TRACE_FORMATS
};

extern const char *const trace_format_names[TRACE_FORMATS];

struct trace_request {
    uint32_t page; /* its small number */
    uint16_t tenant;
    bool write;
};

struct trace {
    struct trace_request *request;
    size_t n;
    uint64_t *id; /* of each page, as the trace has it */
    uint32_t pages;
    uint32_t tenants; /* requests' tenants are below it */
    uint64_t writes;
    uint64_t id_max;
};

struct trace_options {
    enum trace_format format;
    const char *columns; /* of csv: see trace_csv.h; NULL for a header line */
    size_t requests;     /* the first so many; 0: all */
};

#define TRACE_ERROR_BYTES 256

/*
 * Read the trace at @path.
 *
 * Return: false, and what is wrong in one sentence at @error, which is TRACE_ERROR_BYTES long.
 */
bool trace_read(const char *path, const struct trace_options *opts, struct trace *out, char *error);
void trace_free(struct trace *trace);

#endif /* BENCH_TRACE_H */
