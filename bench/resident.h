/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory of this process that is resident and not of a file, and its peak. */
#ifndef BENCH_RESIDENT_H
#define BENCH_RESIDENT_H

#include <stdint.h>

uint64_t resident_bytes(void);

/* A thread that looks every few milliseconds, for the rest of the process. */
void resident_watch(void);

/* The highest seen since the watch began. */
uint64_t resident_peak_bytes(void);

#endif /* BENCH_RESIDENT_H */
