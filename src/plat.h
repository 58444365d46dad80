/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The system: page size, CPUs, NUMA nodes, clock, memory, files of the kernel.  plat.c is the only file that knows which
 * system it runs on.
 */
#ifndef ZC_PLAT_H
#define ZC_PLAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__has_include)
#if __has_include(<sys/rseq.h>)
#include <sys/rseq.h>
#define ZC_PLAT_RSEQ 1
#endif
#endif

#define ZC_NODES_MAX     16
#define ZC_SYS_NODES_MAX 1024 /* the kernel's own bound */
#define ZC_CPUS_MAX      1024
#define ZC_CACHE_LINE    64

/**
 * struct zc_mem - where a lower module gets memory that its owner accounts for.
 * @alloc: zeroed memory of @size bytes, aligned to 64; NULL if refused.
 * @free:  give it back with the same size.
 */
struct zc_mem {
    void *(*alloc)(void *ctx, size_t size);
    void (*free)(void *ctx, void *ptr, size_t size);
    void *ctx;
};

/**
 * struct zc_topology - NUMA nodes, renumbered 0 to n_nodes - 1, those with memory only.
 * @n_cpus:    CPUs configured, at most ZC_CPUS_MAX.
 * @n_nodes:   nodes with memory, at least 1, at most ZC_NODES_MAX.
 * @sys_node:  the system's number of each of our nodes.
 * @n_sys:     the system's numbers are below that, at most ZC_SYS_NODES_MAX.
 * @of_sys:    our node of each of the system's: itself, or the nearest with memory.
 * @cpu_node:  our node of each CPU: its own, or the nearest with memory.
 * @order:     for each node all nodes, nearest first, itself leading.
 */
struct zc_topology {
    unsigned n_cpus;
    unsigned n_nodes;
    int sys_node[ZC_NODES_MAX];
    unsigned n_sys;
    uint8_t of_sys[ZC_SYS_NODES_MAX];
    uint8_t cpu_node[ZC_CPUS_MAX];
    uint8_t order[ZC_NODES_MAX][ZC_NODES_MAX];
};

/** zc_plat_topology() - read the topology through libnuma; one node where there is none. */
void zc_plat_topology(struct zc_topology *out);

/**
 * zc_plat_stripes() - parts of what each CPU has for itself: a power of two, at most 16, which more CPUs
 *                     share.
 */
unsigned zc_plat_stripes(unsigned n_cpus);

/** zc_plat_ask_cpu() - as zc_plat_cpu(), by a call of the C library. */
unsigned zc_plat_ask_cpu(void);

/** zc_plat_cpu() - the CPU this thread runs on now, below ZC_CPUS_MAX; costs a ns. */
static inline unsigned zc_plat_cpu(void)
{
#ifdef ZC_PLAT_RSEQ
    /* The kernel keeps it up to date in the thread's area for restartable sequences, if it has one. */
    int cpu;

    if (__builtin_expect(__rseq_size != 0, 1)) {
        __asm__ volatile("movl %%fs:(%1), %0"
                         : "=r"(cpu)
                         : "r"(__rseq_offset + (ptrdiff_t)offsetof(struct rseq, cpu_id)));
        if (__builtin_expect(cpu >= 0, 1)) {
            return (unsigned)cpu % ZC_CPUS_MAX;
        }
    }
#endif
    return zc_plat_ask_cpu();
}

/** zc_plat_page_size() - the system's page size in bytes. */
size_t zc_plat_page_size(void);

/** zc_plat_now_ns() - monotonic clock. */
uint64_t zc_plat_now_ns(void);

/** zc_plat_thread_cpu_ns() - CPU time that the calling thread has used. */
uint64_t zc_plat_thread_cpu_ns(void);

/** zc_plat_deadline_ns() - now + @ms, saturating. */
uint64_t zc_plat_deadline_ns(uint64_t ms);

/**
 * zc_plat_map() - anonymous zeroed memory, nothing committed yet, never in huge pages.
 * @size:     bytes, a multiple of the page size.
 * @align:    power of two, at least the page size.
 * @sys_node: system NUMA node to prefer (it falls back to the nearest), or -1.
 *
 * Return: the memory; NULL.
 */
void *zc_plat_map(size_t size, size_t align, int sys_node);

/** zc_plat_unmap() - give a mapping, or whole pages of one, back. */
void zc_plat_unmap(void *ptr, size_t size);

/** zc_plat_bind() - prefer @sys_node for a mapping's pages; -1 does nothing. Errors are ignored. */
void zc_plat_bind(void *ptr, size_t size, int sys_node);

enum zc_plat_huge {
    ZC_PLAT_HUGE_MADE,
    ZC_PLAT_HUGE_REFUSED, /* perhaps another time: there is none free, or it may be no more than it is */
    ZC_PLAT_HUGE_NEVER /* not on this system */
};

/** zc_plat_allows_huge() - whether the system's setting lets a process ask for huge pages. */
bool zc_plat_allows_huge(void);

/**
 * zc_plat_make_huge() - copy what a piece of a mapping holds to a huge page, and map that.
 * @ptr, @size: as a huge page of the system.
 *
 * It is resident as a whole then.  Others may use it meanwhile.
 */
enum zc_plat_huge zc_plat_make_huge(void *ptr, size_t size);

/**
 * zc_plat_split() - make small pages of the huge page that has the small one at @ptr.
 *
 * Before a part of it is discarded: or that would stay with the process until the system runs short.
 */
void zc_plat_split(void *ptr);

/** zc_plat_discard() - drop the content of whole pages; they read as zero and take no memory. */
void zc_plat_discard(void *ptr, size_t size);

/**
 * zc_plat_read_file() - what a file of the system says, as a string.
 * @cap: room at @buf; what does not fit is left out.
 *
 * Return: its length, below @cap; a negative errno.
 */
int zc_plat_read_file(const char *path, char *buf, size_t cap);

/** struct zc_plat_watch - what a thread sleeps on that looks at the system now and then. */
struct zc_plat_watch {
    int wake;  /* an event of our own */
    int stall; /* a trigger of the kernel's, or -1 */
};

enum zc_plat_watch_event {
    ZC_WATCH_WOKEN = 1 << 0,
    ZC_WATCH_STALLED = 1 << 1 /* tasks stalled as long as was asked for */
};

/** zc_plat_watch_init() - Return: 0; -EMFILE, -ENFILE, -ENOMEM. */
int zc_plat_watch_init(struct zc_plat_watch *watch);
void zc_plat_watch_fini(struct zc_plat_watch *watch);

/**
 * zc_plat_watch_stalls() - be told when some task stalled @stall_us within @window_us.
 * @path: a pressure file of the kernel; an earlier one is let go in any case.
 *
 * Return: 0; a negative errno: one has to look for oneself.
 */
int zc_plat_watch_stalls(struct zc_plat_watch *watch,
                         const char *path,
                         uint32_t stall_us,
                         uint32_t window_us);

/** zc_plat_watch_wake() - end the wait of the thread that is in it, or its next; any thread. */
void zc_plat_watch_wake(struct zc_plat_watch *watch);

/** zc_plat_watch_wait() - until something happens, or @deadline_ns.  Return: what happened. */
unsigned zc_plat_watch_wait(struct zc_plat_watch *watch, uint64_t deadline_ns);

/**
 * zc_plat_fork_guard_create() - a word that is 1 in this process and reads 0 in every fork()ed
 * child.
 *
 * Return: 0 and the word in @out; -ENOMEM.
 */
int zc_plat_fork_guard_create(const volatile uint32_t **out);
void zc_plat_fork_guard_destroy(const volatile uint32_t **guard);

/**
 * zc_plat_thread_setup() - first call of a background thread.
 * @name: shown by debuggers and top, cut after 15 characters.
 *
 * Blocks all signals but those that the thread's own faults raise: the application's are not ours.
 */
void zc_plat_thread_setup(const char *name);

#endif /* ZC_PLAT_H */
