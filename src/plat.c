/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linux: pages, CPUs, NUMA nodes, clock, memory, files of the kernel.
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
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <numa.h>
#include <numaif.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "fault.h"
#include "mathx.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1; younger than some C libraries */
#endif

#define NS_PER_S          UINT64_C(1000000000)
#define NS_PER_MS         UINT64_C(1000000)
#define STRIPES_MAX       16u
#define THREAD_NAME_BYTES 16 /* with the terminating zero; longer names are refused */

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
    int max = ZC_MIN(numa_max_node(), ZC_SYS_NODES_MAX - 1);

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

    for (unsigned i = 0; i < topology->n_nodes; i++) {
        if (topology->sys_node[i] == sys_node) {
            return (uint8_t)i; /* itself, whatever the firmware says */
        }
        if (distance_between(sys_node, topology->sys_node[i]) <
            distance_between(sys_node, topology->sys_node[best])) {
            best = i;
        }
    }
    return (uint8_t)best;
}

static void place_sys_nodes(struct zc_topology *out)
{
    int max = ZC_MIN(numa_max_node(), ZC_SYS_NODES_MAX - 1);

    out->n_sys = (unsigned)max + 1;
    for (int sys_node = 0; sys_node <= max; sys_node++) {
        out->of_sys[sys_node] = nearest_node(out, sys_node);
    }
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
        out->n_sys = 1;
        return;
    }
    place_sys_nodes(out);
    place_cpus(out);
    for (unsigned node = 0; node < out->n_nodes; node++) {
        order_from(out, node);
    }
}

unsigned zc_plat_stripes(unsigned n_cpus)
{
    return (unsigned)zc_pow2_ceil(ZC_MIN(n_cpus, STRIPES_MAX));
}

unsigned zc_plat_ask_cpu(void)
{
    int cpu = sched_getcpu();

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
        /* One touched page would commit 2 MiB, and pages that were dropped would come back when the
         * kernel collapses what is left.  Fails where there are no huge pages: as well. */
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

    unsigned long mask[ZC_SYS_NODES_MAX / WORD_BITS] = {0};

    if (sys_node < 0 || sys_node >= ZC_SYS_NODES_MAX) {
        return;
    }
    mask[sys_node / WORD_BITS] = 1UL << (sys_node % WORD_BITS);
    /* The kernel looks at one bit less than it is told.  Where it refuses, pages come from
     * anywhere. */
    (void)mbind(ptr, size, MPOL_PREFERRED, mask, ZC_SYS_NODES_MAX + 1, 0);
}

bool zc_plat_allows_huge(void)
{
    char text[64];

    return zc_plat_read_file("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof(text)) >
               0 &&
           strstr(text, "[never]") == NULL;
}

enum zc_plat_huge zc_plat_make_huge(void *ptr, size_t size)
{
    int rc = madvise(ptr, size, MADV_HUGEPAGE);
    int error = 0;

    if (rc == 0) {
        rc = madvise(ptr, size, MADV_COLLAPSE);
        error = errno;
        /* The page stays, but the kernel makes no more of them by itself.  It can only be refused what
         * the first call was, a division of the mapping, which is there by now. */
        (void)madvise(ptr, size, MADV_NOHUGEPAGE);
    }
    if (rc == 0) {
        return ZC_PLAT_HUGE_MADE;
    }
    return error == EINVAL ? ZC_PLAT_HUGE_NEVER : ZC_PLAT_HUGE_REFUSED;
}

void zc_plat_split(void *ptr)
{
    /* Advice about a part of a huge page has the kernel split it; of the pages of this one the least
     * harmful says that it is not needed soon.  Where it cannot, what is discarded comes back later. */
    (void)madvise(ptr, zc_plat_page_size(), MADV_COLD);
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
/* Files of the system, and what it tells by itself. */

int zc_plat_read_file(const char *path, char *buf, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t got;

    if (fd < 0) {
        return -errno;
    }
    do {
        got = read(fd, buf + len, cap - 1 - len);
        len += got > 0 ? (size_t)got : 0;
    } while (len < cap - 1 && (got > 0 || (got < 0 && errno == EINTR)));
    got = ZC_FAULT(file) ? -EIO : got < 0 ? -errno : 0;
    (void)close(fd);
    buf[len] = '\0';
    return got < 0 ? (int)got : (int)len;
}

int zc_plat_watch_init(struct zc_plat_watch *watch)
{
    watch->stall = -1;
    watch->wake = -1;
    if (ZC_FAULT(watch)) {
        return -EMFILE;
    }
    watch->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (watch->wake < 0) {
        return errno == EMFILE || errno == ENFILE ? -errno : -ENOMEM;
    }
    return 0;
}

static void drop_stall(struct zc_plat_watch *watch)
{
    if (watch->stall >= 0) {
        (void)close(watch->stall);
        watch->stall = -1;
    }
}

void zc_plat_watch_fini(struct zc_plat_watch *watch)
{
    drop_stall(watch);
    if (watch->wake >= 0) {
        (void)close(watch->wake);
        watch->wake = -1;
    }
}

/* Whether it is one of the kernel's: to write to another file would be a mistake. */
static bool is_kernels(int fd)
{
    struct statfs fs;

    return fstatfs(fd, &fs) == 0 &&
           (fs.f_type == CGROUP2_SUPER_MAGIC || fs.f_type == PROC_SUPER_MAGIC);
}

int zc_plat_watch_stalls(struct zc_plat_watch *watch,
                         const char *path,
                         uint32_t stall_us,
                         uint32_t window_us)
{
    char text[64];
    int len = snprintf(text, sizeof(text), "some %" PRIu32 " %" PRIu32, stall_us, window_us);
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
    int rc = 0;

    drop_stall(watch);
    if (fd < 0) {
        return -errno;
    }
    if (!is_kernels(fd)) {
        rc = -ENOTSUP;
    } else if (write(fd, text, (size_t)len + 1) < 0) {
        rc = -errno;
    }
    if (rc != 0) {
        (void)close(fd);
        return rc;
    }
    watch->stall = fd;
    return 0;
}

void zc_plat_watch_wake(struct zc_plat_watch *watch)
{
    const uint64_t one = 1;

    /* It can fail only if it was written 2^64 - 2 times and not read: it is awake then. */
    if (write(watch->wake, &one, sizeof(one)) < 0) {
        ZC_ASSERT(errno == EAGAIN);
    }
}

static struct timespec time_until(uint64_t deadline_ns)
{
    uint64_t ns = zc_sub_sat(deadline_ns, zc_plat_now_ns());

    return (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
}

unsigned zc_plat_watch_wait(struct zc_plat_watch *watch, uint64_t deadline_ns)
{
    struct pollfd fds[] = {{.fd = watch->wake, .events = POLLIN},
                           {.fd = watch->stall, .events = POLLPRI}};
    struct timespec left = time_until(deadline_ns);
    unsigned happened = 0;
    uint64_t count;

    if (ppoll(fds, ZC_ARRAY_SIZE(fds), &left, NULL) <= 0) {
        return 0; /* the time is up, or a signal: the caller looks at the clock */
    }
    if (fds[0].revents != 0 && read(watch->wake, &count, sizeof(count)) > 0) {
        happened |= ZC_WATCH_WOKEN;
    }
    if ((fds[1].revents & POLLERR) != 0) {
        drop_stall(watch); /* its cgroup is gone */
    } else if ((fds[1].revents & POLLPRI) != 0) {
        happened |= ZC_WATCH_STALLED;
    }
    return happened;
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
