/* SPDX-License-Identifier: BSD-2-Clause */
#include "trace.h"
#include "trace_build.h"
#include "trace_csv.h"
#include "trace_source.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ZT_BYTES     16u
#define ORACLE_BYTES 24u
#define BATCH        4096u

const char *const trace_format_names[TRACE_FORMATS] = {"by-name", "zt", "oracle", "csv"};

static uint64_t little(const unsigned char *p, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = bytes; i > 0; i--) {
        value = value << 8 | p[i - 1];
    }
    return value;
}

static bool add_zt(struct trace_build *b, const unsigned char *record, char *error)
{
    const unsigned char op = record[12];

    if (op > 1 || record[13] != 0) {
        (void)snprintf(error, TRACE_ERROR_BYTES,
                       "record %zu has operation %u and %u after it; 0 or 1, and 0, are legal",
                       b->trace.n, op, record[13]);
        return false;
    }
    return trace_build_add(b, little(record, 8), (uint16_t)little(record + 14, 2), op == 1);
}

static bool add_oracle(struct trace_build *b, const unsigned char *record, char *error)
{
    (void)error;
    return trace_build_add(b, little(record + 4, 8), 0, false);
}

static bool read_records(struct trace_source *from,
                         size_t bytes,
                         bool (*add)(struct trace_build *b, const unsigned char *, char *error),
                         struct trace_build *b,
                         char *error)
{
    unsigned char *buf = malloc(BATCH * bytes);
    size_t n = buf != NULL ? trace_source_read(from, buf, BATCH * bytes) : 0;

    while (error[0] == '\0' && n > 0) {
        for (size_t at = 0; error[0] == '\0' && at + bytes <= n && !trace_build_full(b);
             at += bytes) {
            if (!add(b, buf + at, error) && error[0] == '\0') {
                (void)snprintf(error, TRACE_ERROR_BYTES, "too many pages");
            }
        }
        if (error[0] == '\0' && n % bytes != 0 && !trace_build_full(b)) {
            (void)snprintf(error, TRACE_ERROR_BYTES,
                           "it ends %zu bytes into record %zu of %zu bytes", n % bytes, b->trace.n,
                           bytes);
        }
        n = error[0] == '\0' && !trace_build_full(b) ? trace_source_read(from, buf, BATCH * bytes)
                                                     : 0;
    }
    free(buf);
    return error[0] == '\0';
}

static bool ends_with(const char *name, size_t len, const char *end)
{
    const size_t n = strlen(end);

    return len >= n && strncmp(name + len - n, end, n) == 0;
}

static enum trace_format format_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    size_t len = strlen(name);

    len -= ends_with(name, len, ".zst") ? 4 : 0;
    if (ends_with(name, len, ".zt")) {
        return TRACE_FORMAT_ZT;
    }
    if (ends_with(name, len, ".csv") || ends_with(name, len, ".txt")) {
        return TRACE_FORMAT_CSV;
    }
    if (strstr(name, "oracleGeneral") != NULL || ends_with(name, len, ".oracle")) {
        return TRACE_FORMAT_ORACLE;
    }
    return TRACE_FORMAT_BY_NAME;
}

static bool read_format(enum trace_format format,
                        struct trace_source *from,
                        const struct trace_options *opts,
                        struct trace_build *b,
                        char *error)
{
    switch (format) {
    case TRACE_FORMAT_ZT:
        return read_records(from, ZT_BYTES, add_zt, b, error);
    case TRACE_FORMAT_ORACLE:
        return read_records(from, ORACLE_BYTES, add_oracle, b, error);
    default:
        return trace_csv_read(from, opts->columns, b, error);
    }
}

bool trace_read(const char *path, const struct trace_options *opts, struct trace *out, char *error)
{
    const enum trace_format format =
        opts->format != TRACE_FORMAT_BY_NAME ? opts->format : format_of(path);
    struct trace_source from;
    struct trace_build b;
    bool done;

    if (format == TRACE_FORMAT_BY_NAME) {
        (void)snprintf(error, TRACE_ERROR_BYTES,
                       "its name does not tell its format (.zt, .csv, .oracleGeneral, each with or "
                       "without .zst); say it with --format");
        return false;
    }
    if (!trace_source_open(&from, path, error)) {
        return false;
    }
    trace_build_begin(&b, opts->requests);
    done = read_format(format, &from, opts, &b, error);
    trace_source_close(&from);
    if (done && b.trace.n == 0) {
        (void)snprintf(error, TRACE_ERROR_BYTES, "it has no requests");
        done = false;
    }
    trace_build_end(&b, done ? out : NULL);
    return done;
}

void trace_free(struct trace *trace)
{
    free(trace->request);
    free(trace->id);
    *trace = (struct trace){0};
}
