/* SPDX-License-Identifier: BSD-2-Clause */
/* The bytes of a file, decompressed if they are zstd's. */
#ifndef BENCH_TRACE_SOURCE_H
#define BENCH_TRACE_SOURCE_H

#include "trace.h"

#include <stdio.h>
#include <zstd.h>

struct trace_source {
    FILE *file;
    ZSTD_DStream *zstd; /* NULL: the bytes are as they are */
    ZSTD_inBuffer in;
    unsigned char *buf; /* of compressed bytes */
    size_t pending;     /* what zstd expects yet; 0 between frames */
    bool drained;       /* zstd has put out all that it could make of its input */
    char *error;        /* TRACE_ERROR_BYTES; "" while all is well */
};

bool trace_source_open(struct trace_source *s, const char *path, char *error);
void trace_source_close(struct trace_source *s);

/* Up to @len bytes; fewer only at the end or after an error, which is at @s->error then. */
size_t trace_source_read(struct trace_source *s, void *out, size_t len);

#endif /* BENCH_TRACE_SOURCE_H */
