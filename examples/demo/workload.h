/* SPDX-License-Identifier: BSD-2-Clause */
/* The threads that fill the cache, and then read and rewrite pages. */
#ifndef DEMO_WORKLOAD_H
#define DEMO_WORKLOAD_H

#include "house.h"

#include <pthread.h>

/* What one thread did so far. */
struct worker {
    _Alignas(64) pthread_t thread;
    struct workload *all;
    unsigned number;
    _Atomic uint64_t reads;
    _Atomic uint64_t writes;
    _Atomic uint64_t refused; /* writes that went past the cache, which had no room in time */
};

struct workload {
    struct house *house;
    unsigned n_workers;
    struct worker *worker;
    _Atomic bool stop;
    _Atomic unsigned running;
};

struct workload_totals {
    uint64_t reads;
    uint64_t writes;
    uint64_t refused;
};

/* Return: 0; a negative errno.  Release with workload_fini(). */
int workload_init(struct workload *w, struct house *house, unsigned n_workers);
void workload_fini(struct workload *w);

/* Let all threads put their part of every tenant's pages, or read and rewrite until the stop. */
int workload_start_fill(struct workload *w);
int workload_start_traffic(struct workload *w);

bool workload_running(const struct workload *w);
void workload_stop(struct workload *w);
void workload_join(struct workload *w);

struct workload_totals workload_totals(const struct workload *w);

#endif /* DEMO_WORKLOAD_H */
