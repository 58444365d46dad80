/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * plat: this machine, and machines that are not here.
 *
 * The functions of libnuma that the topology is read with are defined here too, so the linker takes
 * these: they describe the machine of the running test, or ask libnuma where there is none.
 */
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <numa.h>
#include <numaif.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "assertion.h"
#include "mathx.h"
#include "plat.h"

/* ---------------------------------------------------------------------------------------------- */
/* Machines. */

#define FAKE_NODES 24

/* struct machine - a system as libnuma would tell of it; the node of CPU c is c / cpus_per_node. */
struct machine {
    bool without_numa;
    int n_nodes;
    int cpus_per_node;
    bool without_memory[FAKE_NODES];
    bool forbidden[FAKE_NODES];
    int distance[FAKE_NODES][FAKE_NODES];
};

static const struct machine *machine; /* NULL: the real one */

/* libnuma's own function of that name.  ISO C has no cast from what dlsym() returns. */
#define REAL(name)                                                                                 \
    __extension__({                                                                                \
        void *found_ = dlsym(RTLD_NEXT, #name);                                                    \
        __typeof__(&(name)) function_;                                                             \
        memcpy(&function_, &found_, sizeof(function_));                                            \
        function_;                                                                                 \
    })

int numa_available(void)
{
    if (machine == NULL) {
        return REAL(numa_available)();
    }
    return machine->without_numa ? -1 : 0;
}

int numa_max_node(void)
{
    return machine == NULL ? REAL(numa_max_node)() : machine->n_nodes - 1;
}

int numa_num_possible_cpus(void)
{
    return machine == NULL ? REAL(numa_num_possible_cpus)()
                           : machine->n_nodes * machine->cpus_per_node;
}

long long numa_node_size64(int node, long long *freep)
{
    if (machine == NULL) {
        return REAL(numa_node_size64)(node, freep);
    }
    return machine->without_memory[node] ? 0 : 1LL << 30;
}

int numa_node_of_cpu(int cpu)
{
    return machine == NULL ? REAL(numa_node_of_cpu)(cpu) : cpu / machine->cpus_per_node;
}

int numa_distance(int node1, int node2)
{
    return machine == NULL ? REAL(numa_distance)(node1, node2) : machine->distance[node1][node2];
}

int numa_bitmask_isbitset(const struct bitmask *mask, unsigned node)
{
    if (machine == NULL) {
        return REAL(numa_bitmask_isbitset)(mask, node);
    }
    return mask == numa_all_nodes_ptr && !machine->forbidden[node];
}

/* A ring: the further round, the more distant. */
static void machine_init(struct machine *m, int n_nodes, int cpus_per_node)
{
    *m = (struct machine){.n_nodes = n_nodes, .cpus_per_node = cpus_per_node};
    for (int a = 0; a < n_nodes; a++) {
        for (int b = 0; b < n_nodes; b++) {
            int steps = a < b ? b - a : a - b;

            m->distance[a][b] = 10 + 5 * ZC_MIN(steps, n_nodes - steps);
        }
    }
}

static void topology_of(const struct machine *m, struct zc_topology *out)
{
    memset(out, 0xee, sizeof(*out));
    machine = m;
    zc_plat_topology(out);
    machine = NULL;
}

/* What the header promises of any machine. */
static void expect_sound(const struct zc_topology *t)
{
    assert_in_range(t->n_nodes, 1, ZC_NODES_MAX);
    assert_in_range(t->n_cpus, 1, ZC_CPUS_MAX);
    for (unsigned node = 0; node < t->n_nodes; node++) {
        unsigned seen = 0;

        assert_int_equal(t->order[node][0], node);
        for (unsigned i = 0; i < t->n_nodes; i++) {
            assert_in_range(t->order[node][i], 0, t->n_nodes - 1);
            seen |= 1u << t->order[node][i];
        }
        assert_int_equal(seen, (1u << t->n_nodes) - 1);
        assert_true(node == 0 || t->sys_node[node] > t->sys_node[node - 1]);
    }
    for (unsigned cpu = 0; cpu < ZC_CPUS_MAX; cpu++) {
        assert_in_range(t->cpu_node[cpu], 0, t->n_nodes - 1);
    }
}

static void this_machine_is_sound(void **state)
{
    struct zc_topology t;

    (void)state;
    topology_of(NULL, &t);
    expect_sound(&t);
    assert_int_equal(t.n_cpus, ZC_MIN(sysconf(_SC_NPROCESSORS_CONF), ZC_CPUS_MAX));
    if (REAL(numa_available)() >= 0) {
        int sys_node = REAL(numa_node_of_cpu)(sched_getcpu());

        assert_true(t.sys_node[0] >= 0);
        assert_true(t.n_nodes > 1 || sys_node == t.sys_node[0] ||
                    REAL(numa_node_size64)(sys_node, NULL) == 0);
    }
}

static void without_numa_there_is_one_node(void **state)
{
    struct machine m = {.without_numa = true};
    struct zc_topology t;

    (void)state;
    topology_of(&m, &t);
    expect_sound(&t);
    assert_int_equal(t.n_nodes, 1);
    assert_int_equal(t.sys_node[0], -1);
    assert_int_equal(t.n_sys, 1);
    assert_int_equal(t.of_sys[0], 0);
}

static void nodes_are_ordered_by_distance(void **state)
{
    static const uint8_t order[4][4] = {{0, 1, 3, 2}, {1, 0, 2, 3}, {2, 1, 3, 0}, {3, 0, 2, 1}};
    struct zc_topology t;
    struct machine m;

    (void)state;
    machine_init(&m, 4, 2);
    topology_of(&m, &t);
    expect_sound(&t);
    assert_int_equal(t.n_nodes, 4);
    for (unsigned node = 0; node < 4; node++) {
        assert_int_equal(t.sys_node[node], node);
        assert_memory_equal(t.order[node], order[node], sizeof(order[node]));
    }
    for (unsigned cpu = 0; cpu < 8; cpu++) {
        assert_int_equal(t.cpu_node[cpu], cpu / 2);
    }
}

static void a_node_is_its_own_nearest(void **state)
{
    struct zc_topology t;
    struct machine m;

    (void)state;
    machine_init(&m, 3, 1);
    m.distance[2][0] = 5; /* firmware has been seen to say such things */
    topology_of(&m, &t);
    expect_sound(&t);
    assert_int_equal(t.order[2][1], 0);
    assert_int_equal(t.of_sys[2], 2);
    assert_int_equal(t.cpu_node[2], 2);
}

static void memoryless_and_forbidden_nodes_are_left_out(void **state)
{
    static const uint8_t cpu_node[6] = {0, 0, 0, 1, 1, 0};
    struct zc_topology t;
    struct machine m;

    (void)state;
    machine_init(&m, 6, 1);
    m.without_memory[1] = true;
    m.without_memory[2] = true;
    m.forbidden[4] = true;
    m.forbidden[5] = true;
    m.distance[2][3] = 99;
    topology_of(&m, &t);
    expect_sound(&t);
    assert_int_equal(t.n_nodes, 2);
    assert_int_equal(t.sys_node[0], 0);
    assert_int_equal(t.sys_node[1], 3);
    assert_memory_equal(t.cpu_node, cpu_node, sizeof(cpu_node));
    assert_int_equal(t.n_sys, 6);
    assert_memory_equal(t.of_sys, cpu_node, sizeof(cpu_node)); /* one CPU each */
}

static void no_allowed_node_is_as_no_numa(void **state)
{
    struct zc_topology t;
    struct machine m;

    (void)state;
    machine_init(&m, 2, 1);
    m.forbidden[0] = true;
    m.without_memory[1] = true;
    topology_of(&m, &t);
    expect_sound(&t);
    assert_int_equal(t.n_nodes, 1);
    assert_int_equal(t.sys_node[0], -1);
}

static void unknown_distances_are_equal(void **state)
{
    static const uint8_t order[3] = {1, 0, 2};
    struct zc_topology t;
    struct machine m;

    (void)state;
    machine_init(&m, 3, 1);
    memset(m.distance, 0, sizeof(m.distance));
    topology_of(&m, &t);
    expect_sound(&t);
    assert_memory_equal(t.order[1], order, sizeof(order));
    assert_int_equal(t.cpu_node[2], 2);
}

static void large_machines_are_cut(void **state)
{
    struct zc_topology t;
    struct machine m;

    (void)state;
    machine_init(&m, FAKE_NODES, 64); /* 1,536 CPUs */
    topology_of(&m, &t);
    expect_sound(&t);
    assert_int_equal(t.n_nodes, ZC_NODES_MAX);
    assert_int_equal(t.cpu_node[960], 15);
}

/* ---------------------------------------------------------------------------------------------- */
/* CPU and clock. */

static void the_cpu_is_the_one_we_are_on(void **state)
{
    cpu_set_t all;

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
    for (unsigned cpu = 0; cpu < ZC_CPUS_MAX && cpu < CPU_SETSIZE; cpu++) {
        cpu_set_t one;

        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        if (CPU_ISSET(cpu, &all)) {
            assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
            assert_int_equal(zc_plat_cpu(), cpu);
        }
    }
    assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
}

static uint64_t system_ns(void)
{
    struct timespec now;

    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static void the_clock_is_the_monotonic_one(void **state)
{
    uint64_t before = system_ns();
    uint64_t now = zc_plat_now_ns();

    (void)state;
    assert_in_range(now, before, system_ns());
}

static void the_clock_does_not_go_back(void **state)
{
    uint64_t first = zc_plat_now_ns();
    uint64_t last = first;

    (void)state;
    do {
        uint64_t now = zc_plat_now_ns();

        assert_true(now >= last);
        last = now;
    } while (last < first + 1000000);
}

static void a_thread_s_cpu_time_grows_with_its_work(void **state)
{
    uint64_t first = zc_plat_thread_cpu_ns();
    uint64_t wall = zc_plat_now_ns();

    (void)state;
    while (zc_plat_thread_cpu_ns() < first + 1000000) {
    }
    assert_true(zc_plat_now_ns() - wall >= 900000); /* the clocks may differ a little in pace */
}

static void deadlines_lie_ahead_and_saturate(void **state)
{
    uint64_t before = zc_plat_now_ns();
    uint64_t deadline = zc_plat_deadline_ns(1500);
    uint64_t after = zc_plat_now_ns();

    (void)state;
    assert_in_range(deadline, before + UINT64_C(1500000000), after + UINT64_C(1500000000));
    assert_true(zc_plat_deadline_ns(0) >= after);
    assert_true(zc_plat_deadline_ns(UINT64_MAX) == UINT64_MAX);
    assert_true(zc_plat_deadline_ns(UINT64_MAX / 1000000) == UINT64_MAX);
}

/* ---------------------------------------------------------------------------------------------- */
/* Memory. */

/* Pages of address space that this process has mapped. */
static size_t mapped_pages(void)
{
    FILE *statm = fopen("/proc/self/statm", "r");
    size_t pages = 0;

    assert_non_null(statm);
    assert_int_equal(fscanf(statm, "%zu", &pages), 1);
    assert_int_equal(fclose(statm), 0);
    return pages;
}

static bool all_zero(const char *ptr, size_t size)
{
    return ptr[0] == 0 && memcmp(ptr, ptr + 1, size - 1) == 0;
}

static void a_mapping_is_aligned_zero_and_no_larger(void **state)
{
    size_t page = zc_plat_page_size();

    (void)state;
    (void)mapped_pages(); /* stdio has its buffer now */
    for (size_t align = page; align <= (size_t)64 << 20; align *= 2) {
        size_t before = mapped_pages();
        char *ptr = zc_plat_map(3 * page, align, -1);

        assert_non_null(ptr);
        assert_int_equal((uintptr_t)ptr % align, 0);
        assert_true(all_zero(ptr, 3 * page));
        memset(ptr, 0x55, 3 * page);
        assert_int_equal(mapped_pages(), before + 3);
        zc_plat_unmap(ptr, 3 * page);
        assert_int_equal(mapped_pages(), before);
    }
}

static void part_of_a_mapping_can_go(void **state)
{
    size_t page = zc_plat_page_size();
    char *ptr = zc_plat_map(4 * page, page, -1);
    size_t before = mapped_pages();

    (void)state;
    assert_non_null(ptr);
    zc_plat_unmap(ptr + page, page);
    assert_int_equal(mapped_pages(), before - 1);
    ptr[0] = 1;
    ptr[2 * page] = 1;
    zc_plat_unmap(ptr, page);
    zc_plat_unmap(ptr + 2 * page, 2 * page);
}

static void too_much_is_refused(void **state)
{
    size_t page = zc_plat_page_size();

    (void)state;
    assert_null(zc_plat_map((size_t)1 << 62, page, -1));
    assert_null(zc_plat_map(SIZE_MAX - page + 1, (size_t)2 << 20, -1));
}

static bool is_resident(char *page_ptr)
{
    unsigned char resident = 0;

    assert_int_equal(mincore(page_ptr, zc_plat_page_size(), &resident), 0);
    return (resident & 1) != 0;
}

static void nothing_is_committed_before_it_is_touched(void **state)
{
    size_t page = zc_plat_page_size();
    char *ptr = zc_plat_map(4 * page, page, -1);

    (void)state;
    assert_false(is_resident(ptr + page));
    zc_plat_unmap(ptr, 4 * page);
}

static void discarded_pages_are_zero_and_gone(void **state)
{
    size_t page = zc_plat_page_size();
    char *ptr = zc_plat_map(4 * page, page, -1);

    (void)state;
    memset(ptr, 0x55, 4 * page);
    zc_plat_discard(ptr + page, 2 * page);
    assert_true(is_resident(ptr));
    assert_false(is_resident(ptr + page));
    assert_false(is_resident(ptr + 2 * page));
    assert_true(is_resident(ptr + 3 * page));
    assert_true(all_zero(ptr + page, 2 * page));
    assert_int_equal(ptr[page - 1], 0x55);
    assert_int_equal(ptr[3 * page], 0x55);
    zc_plat_unmap(ptr, 4 * page);
}

static void locked_pages_are_zero_after_a_discard(void **state)
{
    size_t page = zc_plat_page_size();
    char *ptr = zc_plat_map(page, page, -1);

    (void)state;
    memset(ptr, 0x55, page);
    if (mlock(ptr, page) == 0) {
        zc_plat_discard(ptr, page);
        assert_true(all_zero(ptr, page));
    }
    zc_plat_unmap(ptr, page);
}

/* The policy of the page at @ptr, and whether its nodes are @sys_node alone. */
static int policy_of(void *ptr, int sys_node, bool *alone_out)
{
    unsigned long mask[16] = {0};
    unsigned long expected[16] = {0};
    int policy = -1;

    if (get_mempolicy(&policy, mask, sizeof(mask) * 8, ptr, MPOL_F_ADDR) != 0) {
        assert_int_equal(errno, ENOSYS);
        skip();
    }
    expected[sys_node / 64] = 1UL << sys_node % 64;
    *alone_out = memcmp(mask, expected, sizeof(mask)) == 0;
    return policy;
}

/* The flags of the mapping that begins at @at, as in /proc/self/smaps. */
static bool mapping_has_flag(const void *at, const char *flag)
{
    char line[256];
    char start[32];
    bool inside = false;
    bool found = false;
    FILE *file = fopen("/proc/self/smaps", "re");

    assert_non_null(file);
    (void)snprintf(start, sizeof(start), "%" PRIxPTR "-", (uintptr_t)at);
    while (!found && fgets(line, sizeof(line), file) != NULL) {
        inside = inside || strncmp(line, start, strlen(start)) == 0;
        if (inside && strncmp(line, "VmFlags:", 8) == 0) {
            found = strstr(line, flag) != NULL;
            break;
        }
    }
    (void)fclose(file);
    return found;
}

/* What is resident is what was touched, wherever the system's setting is "always". */
static void a_mapping_is_not_in_huge_pages(void **state)
{
    const size_t size = (size_t)2 << 20;
    void *ptr;

    (void)state;
    if (access("/sys/kernel/mm/transparent_hugepage", F_OK) != 0) {
        skip();
    }
    ptr = zc_plat_map(size, size, -1);
    assert_non_null(ptr);
    assert_true(mapping_has_flag(ptr, " nh"));
    zc_plat_unmap(ptr, size);
}

static void a_mapping_prefers_its_node(void **state)
{
    size_t page = zc_plat_page_size();
    struct zc_topology t;
    char *bound;
    char *unbound;
    bool alone;

    (void)state;
    zc_plat_topology(&t);
    if (t.sys_node[0] < 0) {
        skip();
    }
    for (unsigned node = 0; node < t.n_nodes; node++) {
        bound = zc_plat_map(2 * page, (size_t)2 << 20, t.sys_node[node]);
        assert_int_equal(policy_of(bound + page, t.sys_node[node], &alone), MPOL_PREFERRED);
        assert_true(alone);
        zc_plat_unmap(bound, 2 * page);
    }
    unbound = zc_plat_map(page, page, -1);
    assert_int_equal(policy_of(unbound, 0, &alone), MPOL_DEFAULT);
    zc_plat_unmap(unbound, page);
}

static void a_node_that_is_not_there_does_no_harm(void **state)
{
    static const int nodes[] = {63, 1023, 1024, 1 << 30};
    size_t page = zc_plat_page_size();

    (void)state;
    for (size_t i = 0; i < ZC_ARRAY_SIZE(nodes); i++) {
        char *ptr = zc_plat_map(page, page, nodes[i]);

        assert_non_null(ptr);
        ptr[0] = 1;
        zc_plat_unmap(ptr, page);
    }
}

/* ---------------------------------------------------------------------------------------------- */
/* Processes and threads. */

/* The exit status of a child that returns what @fn does. */
static int in_a_child(int (*fn)(const volatile uint32_t *), const volatile uint32_t *guard)
{
    pid_t child = fork();
    int status = -1;

    if (child == 0) {
        _exit(fn(guard));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int read_guard(const volatile uint32_t *guard)
{
    return (int)*guard;
}

static int read_guard_in_grandchild(const volatile uint32_t *guard)
{
    return in_a_child(read_guard, guard);
}

static void the_guard_is_one_here_and_zero_in_children(void **state)
{
    const volatile uint32_t *guard = NULL;

    (void)state;
    assert_int_equal(zc_plat_fork_guard_create(&guard), 0);
    assert_int_equal(*guard, 1);
    assert_int_equal(in_a_child(read_guard, guard), 0);
    assert_int_equal(in_a_child(read_guard_in_grandchild, guard), 0);
    assert_int_equal(*guard, 1);
    zc_plat_fork_guard_destroy(&guard);
    assert_null(guard);
    zc_plat_fork_guard_destroy(&guard);
}

struct thread_view {
    const char *name;
    char shown[16];
    sigset_t blocked;
};

static void *look_around(void *arg)
{
    struct thread_view *view = arg;

    zc_plat_thread_setup(view->name);
    (void)pthread_getname_np(pthread_self(), view->shown, sizeof(view->shown));
    (void)pthread_sigmask(SIG_BLOCK, NULL, &view->blocked);
    return NULL;
}

static void view_from_thread(struct thread_view *view)
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, look_around, view), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void a_background_thread_gets_no_signals(void **state)
{
    struct thread_view view = {.name = "zcache"};
    sigset_t here;

    (void)state;
    view_from_thread(&view);
    assert_int_equal(sigismember(&view.blocked, SIGTERM), 1);
    assert_int_equal(sigismember(&view.blocked, SIGUSR1), 1);
    assert_int_equal(sigismember(&view.blocked, SIGCHLD), 1);
    assert_int_equal(sigismember(&view.blocked, SIGRTMIN), 1);
    assert_int_equal(sigismember(&view.blocked, SIGSEGV), 0);
    assert_int_equal(sigismember(&view.blocked, SIGBUS), 0);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &here), 0);
    assert_int_equal(sigismember(&here, SIGTERM), 0);
}

static void a_background_thread_has_a_name(void **state)
{
    struct thread_view brief = {.name = "zcache-shrink"};
    struct thread_view lengthy = {.name = "zcache-shrinker-of-node-0"};

    (void)state;
    view_from_thread(&brief);
    assert_string_equal(brief.shown, "zcache-shrink");
    view_from_thread(&lengthy);
    assert_string_equal(lengthy.shown, "zcache-shrinker");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(this_machine_is_sound),
        cmocka_unit_test(without_numa_there_is_one_node),
        cmocka_unit_test(nodes_are_ordered_by_distance),
        cmocka_unit_test(a_node_is_its_own_nearest),
        cmocka_unit_test(memoryless_and_forbidden_nodes_are_left_out),
        cmocka_unit_test(no_allowed_node_is_as_no_numa),
        cmocka_unit_test(unknown_distances_are_equal),
        cmocka_unit_test(large_machines_are_cut),
        cmocka_unit_test(the_cpu_is_the_one_we_are_on),
        cmocka_unit_test(the_clock_is_the_monotonic_one),
        cmocka_unit_test(the_clock_does_not_go_back),
        cmocka_unit_test(a_thread_s_cpu_time_grows_with_its_work),
        cmocka_unit_test(deadlines_lie_ahead_and_saturate),
        cmocka_unit_test(a_mapping_is_aligned_zero_and_no_larger),
        cmocka_unit_test(part_of_a_mapping_can_go),
        cmocka_unit_test(too_much_is_refused),
        cmocka_unit_test(nothing_is_committed_before_it_is_touched),
        cmocka_unit_test(discarded_pages_are_zero_and_gone),
        cmocka_unit_test(locked_pages_are_zero_after_a_discard),
        cmocka_unit_test(a_mapping_is_not_in_huge_pages),
        cmocka_unit_test(a_mapping_prefers_its_node),
        cmocka_unit_test(a_node_that_is_not_there_does_no_harm),
        cmocka_unit_test(the_guard_is_one_here_and_zero_in_children),
        cmocka_unit_test(a_background_thread_gets_no_signals),
        cmocka_unit_test(a_background_thread_has_a_name),
    };

    return cmocka_run_group_tests_name("plat", tests, NULL, NULL);
}
