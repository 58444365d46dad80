/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Caches of so many pages, simulated: no bytes, no metadata, one page is one page.  They are what
 * the hit ratios of real caches are held against.
 */
#ifndef BENCH_SIM_H
#define BENCH_SIM_H

#include <stdbool.h>
#include <stdint.h>

struct sim_ops {
    const char *name;
    /* A cache of @capacity > 0 pages; their numbers are below @pages. */
    void *(*open)(uint32_t capacity, uint32_t pages);
    void (*close)(void *sim);
    /* Look the page up, and insert it if it was not there.  Return: whether it was. */
    bool (*use)(void *sim, uint32_t page);
};

extern const struct sim_ops sim_lru_ops;
extern const struct sim_ops sim_s3fifo_ops;

#endif /* BENCH_SIM_H */
