/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each thing that threads can do against each other thing, over each kind of store, for a short time: a
 * cell is named "take-shrink-slow". Afterwards everything is counted again, and nothing may be lost.
 *
 * usage: test_stress_matrix [--seconds-per-cell S] [--cell NAME] [--seed N] [--help]
 */
#include "matrix_actions.h"
#include "matrix_model.h"

#include <errno.h>
#include <inttypes.h>
#include <popt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    THREADS = 4, /* two for each of the two */
    CELLS = MATRIX_ACTIONS * (MATRIX_ACTIONS + 1) / 2 * MATRIX_MODES,
};

#define CAPACITY (4 * MIB)

static const char *const mode_names[MATRIX_MODES] = {"ok", "failing", "slow", "reentrant"};

static double seconds = 0.1;
static const char *only; /* a cell, or the beginning of a name; NULL: all */
static uint64_t seed = 20263;

static char cell_name[64];
static unsigned n_done;
static atomic_bool stop;

/* ---- what is running ------------------------------------------------------------------------------ */

static void show_progress(void)
{
    if (isatty(STDERR_FILENO)) {
        (void)fprintf(stderr, "\r\033[K%u of %u: %s", n_done, (unsigned)CELLS, cell_name);
        (void)fflush(stderr);
    }
}

static void end_progress(void)
{
    if (isatty(STDERR_FILENO)) {
        (void)fputs("\r\033[K", stderr);
    }
}

/* Another thread found something wrong: where. */
static void name_the_cell(int sig)
{
    static const char text[] = "in the cell ";

    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    (void)!write(STDERR_FILENO, cell_name, strlen(cell_name));
    (void)!write(STDERR_FILENO, "\n", 1);
    (void)signal(sig, SIG_DFL);
    (void)raise(sig);
}

/* ---- a cell --------------------------------------------------------------------------------------- */

static void open_cell(enum matrix_mode mode, uint64_t cell_seed)
{
    char options[160];

    memset(&cell, 0, sizeof(cell));
    model_reset();
    cell.mode = mode;
    cell.store = matrix_store_new(mode, cell_seed);
    matrix_store_on_call(cell.store, matrix_reenter);
    const struct zcache_store callbacks = matrix_store_callbacks(cell.store);
    (void)snprintf(options, sizeof(options),
                   "page_max=4096,start_percent=30,low_percent=50,background_percent=60,"
                   "inflight_pages=64,batch_pages=8,max_stall_ms=%u",
                   mode == MATRIX_FAILING || mode == MATRIX_REENTRANT ? 200u * TEST_SLOWDOWN
                                                                      : 20000u * TEST_SLOWDOWN);
    cell.cache = open_cache(CAPACITY, &callbacks, options);
    matrix_store_attach(cell.store, cell.cache);
    cell.root = zcache_root(cell.cache);
    cell.shared = open_tenant(cell.root, "shared", 1 * MIB);
    cell.ballast = open_tenant(cell.root, "ballast", ZCACHE_UNLIMITED);
    matrix_store_watch(cell.store, zcache_tenant_id(cell.shared), MATRIX_OBJECT);
    matrix_fill();
}

struct job {
    const struct matrix_action *action;
    struct matrix_worker worker;
};

static void *repeat(void *arg)
{
    struct job *job = arg;

    while (!atomic_load(&stop)) {
        job->action->run(&job->worker);
        job->worker.n++;
    }
    return NULL;
}

static void run_threads(const struct matrix_action *a,
                        const struct matrix_action *b,
                        uint64_t first)
{
    pthread_t threads[THREADS];
    struct job jobs[THREADS];

    atomic_store(&stop, false);
    for (unsigned i = 0; i < THREADS; i++) {
        jobs[i] = (struct job){i % 2 == 0 ? a : b, {.index = i, .rng = {first + i}}};
        REQUIRE_EQUAL(pthread_create(&threads[i], NULL, repeat, &jobs[i]), 0);
    }
    const uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    while (now_ns() < end) {
        (void)pause_before(end);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < THREADS; i++) {
        REQUIRE_EQUAL(pthread_join(threads[i], NULL), 0);
    }
}

static void check_counts(void)
{
    const struct zcache_stats stats = stats_of(cell.root);

    check_identities(&stats);
    REQUIRE_EQUAL(puts_of(&stats), atomic_load(&cell.puts));
    REQUIRE_EQUAL(gets_of(&stats), atomic_load(&cell.gets));
    REQUIRE_EQUAL(pins_of(&stats), atomic_load(&cell.pins));
    REQUIRE_EQUAL(deletes_of(&stats), atomic_load(&cell.deletes));
    REQUIRE_EQUAL(stats.count.corrupt, 0);
    REQUIRE_EQUAL(stats.cache.pins, 0);
    REQUIRE(stats.gauge.peak_charge_bytes <= CAPACITY);
}

/* The last puts are in the cache or in the store, and after a flush in the store. */
static void check_content(void)
{
    uint64_t versions[MODEL_KEYS];

    for (unsigned key = 0; key < MODEL_KEYS; key++) {
        versions[key] = matrix_get(key, 0);
    }
    if (zcache_flush(cell.root, 0) != 0) { /* what failed before is reported once */
        REQUIRE_EQUAL(cell.mode, MATRIX_FAILING);
        REQUIRE_EQUAL(zcache_flush(cell.root, 0), 0);
    }
    REQUIRE_EQUAL(stats_of(cell.root).gauge.dirty_pages, 0);
    for (unsigned key = 0; key < MODEL_KEYS; key++) {
        REQUIRE_EQUAL(matrix_store_version(cell.store, zcache_tenant_id(cell.shared),
                                           key_of(MATRIX_OBJECT, key)),
                      versions[key]);
    }
}

static void close_cell(void)
{
    matrix_store_settle(cell.store);
    verify_cache(cell.cache);
    check_counts();
    check_content();
    close_cache(cell.cache);
    matrix_store_free(cell.store);
}

static bool wanted(const char *name)
{
    return only == NULL || strncmp(name, only, strlen(only)) == 0;
}

static void run_cell(unsigned a, unsigned b, enum matrix_mode mode)
{
    const uint64_t cell_seed =
        seed * 100000 + ((uint64_t)a * MATRIX_ACTIONS + b) * MATRIX_MODES + mode;

    (void)snprintf(cell_name, sizeof(cell_name), "%s-%s-%s", matrix_actions[a].name,
                   matrix_actions[b].name, mode_names[mode]);
    if (!wanted(cell_name)) {
        return;
    }
    show_progress();
    open_cell(mode, cell_seed);
    run_threads(&matrix_actions[a], &matrix_actions[b], cell_seed * THREADS);
    close_cell();
    n_done++;
}

static void run_cells(enum matrix_mode mode)
{
    for (unsigned a = 0; a < MATRIX_ACTIONS; a++) {
        for (unsigned b = a; b < MATRIX_ACTIONS; b++) {
            run_cell(a, b, mode);
        }
    }
    end_progress();
}

static void over_a_store_that_works(void **state)
{
    (void)state;
    run_cells(MATRIX_OK);
}

static void over_a_store_that_fails(void **state)
{
    (void)state;
    run_cells(MATRIX_FAILING);
}

static void over_a_slow_store(void **state)
{
    (void)state;
    run_cells(MATRIX_SLOW);
}

static void over_a_store_that_calls_back(void **state)
{
    (void)state;
    run_cells(MATRIX_REENTRANT);
}

/* ---- options -------------------------------------------------------------------------------------- */

_Noreturn static void wrong_option(const char *program, const char *what)
{
    (void)fprintf(stderr, "%s: %s\nTry '%s --help'.\n", program, what, program);
    exit(2); /* NOLINT(concurrency-mt-unsafe): no other thread is there yet */
}

static void read_options(int argc, const char **argv)
{
    char *name = NULL;
    long long first_seed = (long long)seed;
    const struct poptOption table[] = {
        {"seconds-per-cell", 't', POPT_ARG_DOUBLE, &seconds, 0, "default: 0.1", "S"},
        {"cell", 'c', POPT_ARG_STRING, &name, 0,
         "only this cell, such as take-shrink-slow, or all that begin with it", "NAME"},
        {"seed", 's', POPT_ARG_LONGLONG, &first_seed, 0, "of what is random (default: 20263)", "N"},
        POPT_AUTOHELP POPT_TABLEEND};
    poptContext con = poptGetContext(NULL, argc, argv, table, 0);
    const int rc = poptGetNextOpt(con);

    if (rc != -1) {
        wrong_option(argv[0], poptStrerror(rc));
    }
    if (poptPeekArg(con) != NULL) {
        wrong_option(argv[0], "there are only options");
    }
    if (!(seconds >= 0.001 && seconds <= 3600)) {
        wrong_option(argv[0], "--seconds-per-cell goes from 0.001 to 3600");
    }
    seed = (uint64_t)first_seed;
    only = name; /* until the end of the process */
    poptFreeContext(con);
}

int main(int argc, const char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(over_a_store_that_works),
        cmocka_unit_test(over_a_store_that_fails),
        cmocka_unit_test(over_a_slow_store),
        cmocka_unit_test(over_a_store_that_calls_back),
    };

    read_options(argc, argv);
    test_begin(0, NULL, seed);
    (void)signal(SIGABRT, name_the_cell);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (failed > 0) {
        print_error("the last cell was %s\n", cell_name);
    } else if (n_done == 0) {
        wrong_option(argv[0], "--cell names no cell");
    }
    print_message("%u cells\n", n_done);
    return failed;
}
