/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests on several NUMA nodes share: the machine's nodes, threads that go from one to another,
 * where memory lies, and pages by the hundred.
 */
#ifndef ZC_TESTS_NUMA_MACHINE_H
#define ZC_TESTS_NUMA_MACHINE_H

#include <sched.h>

#include "unit/inside.h"

enum {
    NODES_MAX = 8,
    N = 200 / TEST_SLOWDOWN /* pages that tests put on a node */
};

struct node {
    int id; /* the system's number */
    cpu_set_t cpus;
};

struct machine {
    unsigned n_nodes; /* with memory and processors */
    struct node node[NODES_MAX];
    unsigned n_barren; /* with processors and no memory */
    struct node barren[NODES_MAX];
};

extern struct machine machine;

/* To be called in main() after test_begin(): finds the nodes, skips where there are fewer than two. */
void machine_find(void);

/* From now on the calling thread runs on that node; anywhere. */
void run_on(const struct node *node);
void run_anywhere(void);

/* The node, by the system's number, on which that byte lies. */
int node_of(const void *at);

/* The node with memory that is nearest to a system node, itself left out. */
int nearest_to(int id);

/* Bytes of this process's memory that lie on a node. */
uint64_t process_bytes_on(int id);

/* Puts the pages [0, N) of @object; each must succeed. */
void put_n(struct zcache_tenant *tenant, uint64_t object, uint64_t version, enum fill fill);

/* How many pages [0, N) of @object have record, list and bytes on that node and nowhere else. */
unsigned pages_at(struct zcache_tenant *tenant, uint64_t object, int id);

struct zcache_tenant *open_bound(struct zcache *cache, const char *name, int id);

#endif /* ZC_TESTS_NUMA_MACHINE_H */
