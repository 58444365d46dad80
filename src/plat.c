/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linux: pages, CPUs, NUMA nodes, clock, memory.
 *
 * Nodes are renumbered, because the system's numbers may have gaps, may name nodes without memory
 * and may name nodes that this process's cpuset forbids:
 *
 *     system   node 0      node 1         node 2      node 3
 *              memory      CPUs only      memory      not allowed
 *                 |            |             |            |
 *     ours     node 0  <--- nearest      node 1 <--- nearest       sys_node[] = { 0, 2 }
 *
 * No locks.  Everything here is a system call or a function of the topology, which a cache reads
 * once.
 *
 * Tried, and not kept:
 *   - numa_tonode_memory() for binding: it obeys a process-wide setting of libnuma;
 *   - MPOL_BIND: a full node ends the process, where MPOL_PREFERRED falls back to the nearest;
 *   - comparing getpid() to notice a fork: a system call each time, where the guard is one load;
 *   - asking the kernel for the node of the CPU at each call: the table gives the same answer, and
 *     the nearest node with memory for CPUs that have none.
 */
#include "plat.h"

#include <errno.h>
#include <numa.h>
#include <numaif.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "fault.h"
#include "mathx.h"

#define NS_PER_S          UINT64_C(1000000000)
#define NS_PER_MS         UINT64_C(1000000)
#define SYS_NODES_MAX     1024 /* the kernel's own bound */
#define THREAD_NAME_BYTES 16   /* with the terminating zero; longer names are refused */

/* Distances as firmware reports them, for where it does not. */
#define DISTANCE_SELF  10
#define DISTANCE_OTHER 20

/* ---------------------------------------------------------------------------------------------- */
/* Topology. */

/* Between two system nodes; libnuma says 0 where the system does not tell. */
static int distance_between(int a, int b)
{
    int distance = numa_distance(a, b);

    if (distance > 0) {
        return distance;
    }
    return a == b ? DISTANCE_SELF : DISTANCE_OTHER;
}

static bool node_is_usable(int sys_node)
{
    return numa_bitmask_isbitset(numa_all_nodes_ptr, (unsigned)sys_node) &&
           numa_node_size64(sys_node, NULL) > 0;
}

static void find_nodes(struct zc_topology *out)
{
    int max = ZC_MIN(numa_max_node(), SYS_NODES_MAX - 1);

    for (int sys_node = 0; sys_node <= max && out->n_nodes < ZC_NODES_MAX; sys_node++) {
        if (node_is_usable(sys_node)) {
            out->sys_node[out->n_nodes++] = sys_node;
        }
    }
}

/* Our node that is nearest to a system node, which need not be one of ours. */
static uint8_t nearest_node(const struct zc_topology *topology, int sys_node)
{
    unsigned best = 0;

    for (unsigned i = 1; i < topology->n_nodes; i++) {
        if (distance_between(sys_node, topology->sys_node[i]) <
            distance_between(sys_node, topology->sys_node[best])) {
            best = i;
        }
    }
    return (uint8_t)best;
}

static void place_cpus(struct zc_topology *out)
{
    int n_possible = ZC_MIN(numa_num_possible_cpus(), ZC_CPUS_MAX);

    for (int cpu = 0; cpu < n_possible; cpu++) {
        int sys_node = numa_node_of_cpu(cpu);

        out->cpu_node[cpu] = sys_node >= 0 ? nearest_node(out, sys_node) : 0;
    }
}

/* Insertion sort of at most ZC_NODES_MAX nodes by distance; equals stay in the order of numbers. */
static void order_from(struct zc_topology *out, unsigned from)
{
    uint8_t *order = out->order[from];
    int here = out->sys_node[from];

    order[0] = (uint8_t)from; /* itself leads whatever the firmware says */
    for (unsigned n = 1, node = 0; node < out->n_nodes; node++) {
        unsigned at = n;

        if (node == from) {
            continue;
        }
        while (at > 1 && distance_between(here, out->sys_node[order[at - 1]]) >
                             distance_between(here, out->sys_node[node])) {
            order[at] = order[at - 1];
            at--;
        }
        order[at] = (uint8_t)node;
        n++;
    }
}

void zc_plat_topology(struct zc_topology *out)
{
    long n_cpus = sysconf(_SC_NPROCESSORS_CONF);

    *out = (struct zc_topology){.n_cpus = (unsigned)ZC_MIN(ZC_MAX(n_cpus, 1), ZC_CPUS_MAX)};
    if (numa_available() >= 0) {
        find_nodes(out);
    }
    if (out->n_nodes == 0) {
        /* No NUMA in this kernel, or a container that hides it: one node, nothing to bind to. */
        out->n_nodes = 1;
        out->sys_node[0] = -1;
        return;
    }
    place_cpus(out);
    for (unsigned node = 0; node < out->n_nodes; node++) {
        order_from(out, node);
    }
}

unsigned zc_plat_cpu(void)
{
    int cpu = sched_getcpu(); /* a load from the thread's rseq area since glibc 2.35 */

    return cpu >= 0 ? (unsigned)cpu % ZC_CPUS_MAX : 0;
}

/* ---------------------------------------------------------------------------------------------- */
/* Clock. */

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    int rc = clock_gettime(clock, &now);

    ZC_ASSERT(rc == 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t zc_plat_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t zc_plat_thread_cpu_ns(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t zc_plat_deadline_ns(uint64_t ms)
{
    uint64_t ns;

    return zc_mul_ok(ms, NS_PER_MS, &ns) ? zc_add_sat(zc_plat_now_ns(), ns) : UINT64_MAX;
}

/* ---------------------------------------------------------------------------------------------- */
/* Memory. */

size_t zc_plat_page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

static void *map_pages(size_t size)
{
    void *ptr;

    if (ZC_FAULT(map)) {
        return NULL;
    }
    ptr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
               0);
    if (ptr == MAP_FAILED) {
        return NULL;
    }
    ZC_FAULT_HOLD((int64_t)size);
    return ptr;
}

/*
 * Maps @align - page more than asked for, which contains an aligned piece of @size, and gives the
 * rest back:    | head |        size        | tail |
 */
static void *map_aligned(size_t size, size_t align)
{
    size_t slack = align - zc_plat_page_size();
    char *start;
    size_t head;

    if (size > SIZE_MAX - slack) {
        return NULL;
    }
    start = map_pages(size + slack);
    if (start == NULL) {
        return NULL;
    }
    head = (size_t)(zc_align_up((uintptr_t)start, align) - (uintptr_t)start);
    if (head > 0) {
        zc_plat_unmap(start, head);
    }
    if (slack > head) {
        zc_plat_unmap(start + head + size, slack - head);
    }
    return start + head;
}

void *zc_plat_map(size_t size, size_t align, int sys_node)
{
    size_t page = zc_plat_page_size();
    void *ptr;

    ZC_ASSERT(size > 0 && size % page == 0);
    ZC_ASSERT(zc_is_pow2(align) && align >= page);
    ptr = map_aligned(size, align);
    if (ptr != NULL) {
        /* A huge page would make memory resident that nobody touched, and nobody counts. */
        (void)madvise(ptr, size, MADV_NOHUGEPAGE);
        zc_plat_bind(ptr, size, sys_node);
    }
    return ptr;
}

void zc_plat_unmap(void *ptr, size_t size)
{
    int rc = munmap(ptr, size);

    ZC_FAULT_HOLD(-(int64_t)size);
    /* Only the process's limit of mappings can refuse it; the pages then stay, as memory lost. */
    if (ZC_UNEXPECTED(rc != 0)) {
        zc_plat_discard(ptr, size);
    }
}

void zc_plat_bind(void *ptr, size_t size, int sys_node)
{
    enum {
        WORD_BITS = 8 * sizeof(unsigned long)
    };

    unsigned long mask[SYS_NODES_MAX / WORD_BITS] = {0};

    if (sys_node < 0 || sys_node >= SYS_NODES_MAX) {
        return;
    }
    mask[sys_node / WORD_BITS] = 1UL << (sys_node % WORD_BITS);
    /* The kernel looks at one bit less than it is told.  Where it refuses, pages come from
     * anywhere. */
    (void)mbind(ptr, size, MPOL_PREFERRED, mask, SYS_NODES_MAX + 1, 0);
}

void zc_plat_discard(void *ptr, size_t size)
{
    int rc = madvise(ptr, size, MADV_DONTNEED);

    /* Fails for locked pages (mlockall of the application): their promise is to read as zero. */
    if (ZC_UNEXPECTED(rc != 0)) {
        memset(ptr, 0, size);
    }
}

/* ---------------------------------------------------------------------------------------------- */
/* Processes and threads. */

int zc_plat_fork_guard_create(const volatile uint32_t **out)
{
    size_t page = zc_plat_page_size();
    uint32_t *word = map_pages(page);

    if (word == NULL) {
        return -ENOMEM;
    }
    if (ZC_FAULT(wipe) || madvise(word, page, MADV_WIPEONFORK) != 0) {
        zc_plat_unmap(word, page);
        return -ENOMEM;
    }
    *word = 1;
    *out = word;
    return 0;
}

void zc_plat_fork_guard_destroy(const volatile uint32_t **guard)
{
    if (*guard != NULL) {
        zc_plat_unmap((void *)(uintptr_t)*guard, zc_plat_page_size());
        *guard = NULL;
    }
}

/* Signals that a thread's own fault raises: blocked, they kill without the application's handler.
 * */
static void keep_faults(sigset_t *set)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};

    for (size_t i = 0; i < ZC_ARRAY_SIZE(faults); i++) {
        (void)sigdelset(set, faults[i]);
    }
}

void zc_plat_thread_setup(const char *name)
{
    char cut[THREAD_NAME_BYTES];
    sigset_t set;
    int rc;

    (void)sigfillset(&set);
    keep_faults(&set);
    rc = pthread_sigmask(SIG_BLOCK, &set, NULL);
    ZC_ASSERT(rc == 0);

    (void)snprintf(cut, sizeof(cut), "%s", name);
    (void)pthread_setname_np(pthread_self(), cut); /* for debuggers and top only */
}
