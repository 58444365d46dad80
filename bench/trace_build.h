/* SPDX-License-Identifier: BSD-2-Clause */
/* A trace that grows by one request at a time; a hash table numbers its pages. */
#ifndef BENCH_TRACE_BUILD_H
#define BENCH_TRACE_BUILD_H

#include "trace.h"

struct trace_build {
    struct trace trace;
    size_t request_room;
    size_t request_max;
    uint32_t page_room;
    uint16_t *owner; /* tenant of each page */
    uint32_t *slot;  /* of the table: number of a page + 1; 0: free */
    uint32_t mask;
};

/* @requests at most; 0: all. */
void trace_build_begin(struct trace_build *b, size_t requests);

/* Whether it has as many as it may. */
static inline bool trace_build_full(const struct trace_build *b)
{
    return b->trace.n == b->request_max;
}

/* It must not be full.  False: there are too many pages. */
bool trace_build_add(struct trace_build *b, uint64_t id, uint16_t tenant, bool write);

/* Give the trace to the caller, or throw it away if @out is NULL. */
void trace_build_end(struct trace_build *b, struct trace *out);

#endif /* BENCH_TRACE_BUILD_H */
