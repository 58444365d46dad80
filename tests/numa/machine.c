/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine as the kernel tells of it, not libnuma, which the library asks.
 */
#include "numa/machine.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SYS_NODE "/sys/devices/system/node/"

struct machine machine;

/* ---- nodes ---------------------------------------------------------------------------------------- */

/* "0-3,8" to a set; false if there is no such file or it is empty. */
static bool read_set(const char *path, cpu_set_t *set)
{
    char text[512];
    FILE *file = fopen(path, "re");

    CPU_ZERO(set);
    if (file == NULL) {
        return false;
    }
    const bool got = fgets(text, sizeof(text), file) != NULL;
    (void)fclose(file);
    for (char *at = text; got && *at >= '0' && *at <= '9';) {
        unsigned long first = strtoul(at, &at, 10);
        unsigned long last = first;
        if (*at == '-') {
            last = strtoul(at + 1, &at, 10);
        }
        for (; first <= last && first < CPU_SETSIZE; first++) {
            CPU_SET((int)first, set);
        }
        at += *at == ',';
    }
    return CPU_COUNT(set) > 0;
}

void machine_find(void)
{
    cpu_set_t with_memory;
    char path[64];

    (void)read_set(SYS_NODE "has_memory", &with_memory);
    for (int id = 0; id < CPU_SETSIZE; id++) {
        struct node node = {.id = id};

        (void)snprintf(path, sizeof(path), SYS_NODE "node%d/cpulist", id);
        if (!read_set(path, &node.cpus)) {
            continue;
        }
        if (CPU_ISSET(id, &with_memory) && machine.n_nodes < NODES_MAX) {
            machine.node[machine.n_nodes++] = node;
        } else if (!CPU_ISSET(id, &with_memory) && machine.n_barren < NODES_MAX) {
            machine.barren[machine.n_barren++] = node;
        }
    }
    if (machine.n_nodes < 2) {
        test_skip("this machine has fewer than two NUMA nodes with memory and processors");
    }
}

void run_on(const struct node *node)
{
    REQUIRE_EQUAL(sched_setaffinity(0, sizeof(node->cpus), &node->cpus), 0);
}

void run_anywhere(void)
{
    cpu_set_t all;

    CPU_ZERO(&all);
    for (unsigned n = 0; n < machine.n_nodes; n++) {
        CPU_OR(&all, &all, &machine.node[n].cpus);
    }
    REQUIRE_EQUAL(sched_setaffinity(0, sizeof(all), &all), 0);
}

int nearest_to(int id)
{
    char path[64];
    char text[512];
    int best = -1;
    unsigned long least = 0;

    (void)snprintf(path, sizeof(path), SYS_NODE "node%d/distance", id);
    FILE *file = fopen(path, "re");
    REQUIRE(file != NULL && fgets(text, sizeof(text), file) != NULL);
    (void)fclose(file);
    char *at = text;
    for (int other = 0; *at >= '0' && *at <= '9'; other++) {
        const unsigned long distance = strtoul(at, &at, 10);
        bool has_memory = false;

        for (unsigned n = 0; n < machine.n_nodes; n++) {
            has_memory = has_memory || machine.node[n].id == other;
        }
        if (other != id && has_memory && (best < 0 || distance < least)) {
            best = other;
            least = distance;
        }
        at += *at == ' ';
    }
    REQUIRE(best >= 0);
    return best;
}

/* ---- memory --------------------------------------------------------------------------------------- */

int node_of(const void *at)
{
    const uintptr_t mask = ~(uintptr_t)(sysconf(_SC_PAGESIZE) - 1);
    void *page = (void *)((uintptr_t)at & mask);
    int status = -1;

    REQUIRE_EQUAL(syscall(SYS_move_pages, 0, 1UL, &page, NULL, &status, 0), 0);
    return status;
}

uint64_t process_bytes_on(int id)
{
    char line[1024];
    char field[16];
    uint64_t pages = 0;
    FILE *file = fopen("/proc/self/numa_maps", "re");

    REQUIRE(file != NULL);
    (void)snprintf(field, sizeof(field), " N%d=", id);
    while (fgets(line, sizeof(line), file) != NULL) {
        const char *at = strstr(line, field);
        pages += at == NULL ? 0 : strtoull(at + strlen(field), NULL, 10);
    }
    (void)fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* ---- pages ---------------------------------------------------------------------------------------- */

void put_n(struct zcache_tenant *tenant, uint64_t object, uint64_t version, enum fill fill)
{
    for (uint64_t i = 0; i < N; i++) {
        REQUIRE_EQUAL(put_page(tenant, key_of(object, i), version, fill, 0), 0);
    }
}

/* Whether all of it lies there: from its first byte to its last. */
static bool lies_on(const void *at, size_t size, int id)
{
    return node_of(at) == id && node_of((const char *)at + size - 1) == id;
}

static bool page_is_at(struct zcache_tenant *tenant, struct zcache_key key, int id)
{
    const struct zc_entry *e = entry_of(tenant, key);
    const struct zc_lru *lru;
    uint64_t word;

    REQUIRE(e != NULL);
    lru = lru_of(tenant, e);
    word = word_of(tenant, key);
    return lies_on(e, sizeof(*e), id) && lies_on(lru, sizeof(*lru), id) &&
           lies_on(zc_word_payload(word), zc_payload_size(zc_word_payload(word)), id);
}

unsigned pages_at(struct zcache_tenant *tenant, uint64_t object, int id)
{
    unsigned found = 0;

    for (uint64_t i = 0; i < N; i++) {
        found += page_is_at(tenant, key_of(object, i), id) ? 1 : 0;
    }
    return found;
}

struct zcache_tenant *open_bound(struct zcache *cache, const char *name, int id)
{
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_tenant *tenant = NULL;

    opts.name = name;
    opts.node = id;
    REQUIRE_EQUAL(zcache_tenant_open(zcache_root(cache), &opts, &tenant), 0);
    return tenant;
}
