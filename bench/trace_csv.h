/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lines of text with columns.  Which is which is said by names in the first line, or by options as
 * libCacheSim takes them:
 *
 *   obj-id-col=N           required; columns count from 1
 *   op-col=N               read or write: words, or 0 and 1; read without it
 *   tenant-col=N           a number up to 65535; 0 without it
 *   delimiter=C            one character, or "\t"; a comma without it
 *   has-header=true|false  whether the first line is left out; found out without it
 *   obj-id-is-num=true|false  whether ids are numbers; found out for each without it
 *
 * time-col and obj-size-col are taken and not used.  An id that is no number gets one by a hash.
 */
#ifndef BENCH_TRACE_CSV_H
#define BENCH_TRACE_CSV_H

#include "trace_build.h"
#include "trace_source.h"

/* False: what is wrong is at @error. */
bool trace_csv_read(struct trace_source *from,
                    const char *columns,
                    struct trace_build *b,
                    char *error);

#endif /* BENCH_TRACE_CSV_H */
