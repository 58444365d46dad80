/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The power is cut, or the process is killed, while a cache writes to the file store of the examples.
 * A process works with several tenants and threads and dies at some call to the disk, or at some
 * moment; another opens the store again, and looks at each page.
 *
 * usage: test_crash_file_store [--kills N] [--seed N] [--help]
 */
#define _GNU_SOURCE 1 /* NOLINT(bugprone-reserved-identifier) */
#include "disk.h"
#include "history.h"

#include "../../examples/file_store.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <popt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    TENANTS = 3, /* the first is the root */
    THREADS = 3,
    PAGES = 96, /* of an object; each thread has one in each tenant */
    KEYS = TENANTS * THREADS * PAGES,
    OPERATIONS = 900, /* of a thread */
    CHAIN = 8,        /* crashes of one store */
    KILLS_AT_LEAST = 8,
};

static const char *const names[TENANTS] = {NULL, "orders", "stock"};

static unsigned n_kills = 64;
static uint64_t seed = 20262;

static struct disk *disk;
static struct history *history;
static char dir[] = "/tmp/zcache-crash.XXXXXX";

/* What the process that looks at the store found, for the supervisor. */
static struct findings {
    unsigned wrong;
    char text[300]; /* about the first */
    unsigned version[KEYS];
} * findings;

/* How a process comes to its end. */
struct fate {
    unsigned kill_at; /* call to the disk; 0: none */
    enum disk_moment moment;
    unsigned kill_after; /* operations, by another process; 0: not */
    bool power;          /* not only the process, the power too */
    uint64_t seed;
};

static unsigned kills_done;

/* ---- the keys ------------------------------------------------------------------------------------- */

static unsigned key_number(unsigned t, unsigned thread, unsigned page)
{
    return (t * THREADS + thread) * PAGES + page;
}

static struct zcache_key key_at(unsigned number)
{
    return key_of(1 + number / PAGES % THREADS, number % PAGES);
}

static unsigned tenant_at(unsigned number)
{
    return number / PAGES / THREADS;
}

/* ---- the process that works ----------------------------------------------------------------------- */

struct worker {
    unsigned index;
    struct rng rng;
};

static struct zcache *cache;
static struct zcache_tenant *tenants[TENANTS];

static void put_one(struct worker *me, unsigned t, unsigned page)
{
    const unsigned key = key_number(t, me->index, page);
    unsigned char bytes[PAGE];
    const size_t len =
        rng_below(&me->rng, 4) > 0 ? PAGE : PAGE_HEADER + rng_below(&me->rng, PAGE - PAGE_HEADER);

    const unsigned version = history_begin(history, key, false);
    page_make(bytes, len, key_at(key), version, (enum fill)rng_below(&me->rng, 3));
    REQUIRE_EQUAL(zcache_put(tenants[t], key_at(key), bytes, len, 0), 0);
    history_done(history, key, version);
}

static void put_some(struct worker *me)
{
    const unsigned t = (unsigned)rng_below(&me->rng, TENANTS);
    const unsigned n = rng_below(&me->rng, 4) == 0 ? 8 : 1;
    const unsigned first = (unsigned)rng_below(&me->rng, PAGES - n + 1);

    for (unsigned i = 0; i < n; i++) {
        put_one(me, t, first + i);
    }
}

static void get_one(struct worker *me)
{
    const unsigned key = key_number((unsigned)rng_below(&me->rng, TENANTS), me->index,
                                    (unsigned)rng_below(&me->rng, PAGES));
    unsigned char bytes[PAGE];
    uint64_t version = 0;
    size_t len;

    const int rc = zcache_get(tenants[tenant_at(key)], key_at(key), bytes, PAGE, &len, 0);
    const struct history_key *k = &history->keys[key];
    const unsigned now = atomic_load(&k->begun);
    unsigned expected = atomic_load(&k->deleted[now]) ? 0 : now;
    if (now == k->base) {
        expected = k->base_version;
    }
    if (rc != ZCACHE_MISS) {
        REQUIRE_EQUAL(rc, 0);
        REQUIRE(page_whole(bytes, len, key_at(key), &version));
    }
    REQUIRE_EQUAL(version, expected);
}

static void delete_one(struct worker *me)
{
    const unsigned key = key_number((unsigned)rng_below(&me->rng, TENANTS), me->index,
                                    (unsigned)rng_below(&me->rng, PAGES));

    const unsigned number = history_begin(history, key, true);
    const int rc = zcache_delete(tenants[tenant_at(key)], key_at(key), 0);
    REQUIRE(rc == 0 || rc == ZCACHE_MISS);
    history_done(history, key, number);
}

static void truncate_some(struct worker *me)
{
    const unsigned t = (unsigned)rng_below(&me->rng, TENANTS);
    const unsigned first = (unsigned)rng_below(&me->rng, PAGES);
    const unsigned from = key_number(t, me->index, first);
    unsigned numbers[PAGES];

    for (unsigned i = 0; i < PAGES - first; i++) {
        numbers[i] = history_begin(history, from + i, true);
    }
    REQUIRE_EQUAL(zcache_truncate(tenants[t], key_at(from).object, first), 0);
    for (unsigned i = 0; i < PAGES - first; i++) {
        history_done(history, from + i, numbers[i]);
    }
}

static void flush_one(struct worker *me)
{
    const unsigned t = (unsigned)rng_below(&me->rng, TENANTS);
    const unsigned first = t == 0 ? 0 : key_number(t, 0, 0);
    const unsigned n = t == 0 ? KEYS : THREADS * PAGES;
    unsigned done[KEYS];

    history_before_flush(history, first, n, done);
    REQUIRE_EQUAL(zcache_flush(tenants[t], 0), 0);
    history_flushed(history, first, n, done);
}

static void *work(void *arg)
{
    struct worker *me = arg;

    for (unsigned i = 0; i < OPERATIONS / TEST_SLOWDOWN; i++) {
        const uint64_t draw = rng_below(&me->rng, 100);
        if (draw < 60) {
            put_some(me);
        } else if (draw < 85) {
            get_one(me);
        } else if (draw < 94) {
            delete_one(me);
        } else if (draw < 99) {
            flush_one(me);
        } else {
            truncate_some(me);
        }
    }
    return NULL;
}

static struct file_store *open_all(void)
{
    struct file_store *files = NULL;

    REQUIRE_EQUAL(file_store_open(dir, PAGE, &files), 0);
    cache = open_cache(2 * MIB, file_store_callbacks(files), "page_max=4096");
    tenants[0] = zcache_root(cache);
    tenants[1] = open_tenant(tenants[0], names[1], 512 * KIB);
    tenants[2] = open_tenant(tenants[0], names[2], ZCACHE_UNLIMITED);
    return files;
}

static void close_all(struct file_store *files)
{
    REQUIRE_EQUAL(zcache_close(cache, ZCACHE_FLUSH), 0);
    REQUIRE_EQUAL(file_store_close(files), 0);
}

static void close_as_a_flush(struct file_store *files)
{
    unsigned done[KEYS];

    history_before_flush(history, 0, KEYS, done);
    close_all(files);
    history_flushed(history, 0, KEYS, done);
}

_Noreturn static void run_worker(uint64_t run_seed)
{
    struct file_store *files = open_all();
    struct worker workers[THREADS];
    pthread_t threads[THREADS];

    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){i, {run_seed * THREADS + i}};
        REQUIRE_EQUAL(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        REQUIRE_EQUAL(pthread_join(threads[i], NULL), 0);
    }
    if (run_seed % 2 == 0) {
        close_as_a_flush(files);
    }
    _exit(0); /* an end without a close is a crash as well */
}

/* ---- the process that looks ----------------------------------------------------------------------- */

static void found_wrong(unsigned key, const char *what, long value)
{
    char about[160];

    if (findings->wrong++ == 0) {
        history_describe(history, key, about, sizeof(about));
        (void)snprintf(
            findings->text, sizeof(findings->text),
            "page %u of object %" PRIu64 " of %s: %s %ld; %s", key % PAGES, key_at(key).object,
            key < THREADS * PAGES ? "the root" : names[tenant_at(key)], what, value, about);
    }
}

static void look_at(struct file_store *files, unsigned key)
{
    unsigned char bytes[PAGE];
    uint64_t version = 0;
    size_t len;

    const int rc = file_store_read(files, names[tenant_at(key)], key_at(key), bytes, PAGE, &len);
    if (rc != 0 && rc != ZCACHE_MISS) {
        found_wrong(key, "error", rc);
    } else if (rc == 0 && !page_whole(bytes, len, key_at(key), &version)) {
        found_wrong(key, "not a page, of bytes", (long)len);
    } else if (!history_allows(history, key, (unsigned)version)) {
        found_wrong(key, "version", (long)version);
    }
    findings->version[key] = (unsigned)version;
}

_Noreturn static void run_observer(bool close_after)
{
    struct file_store *files;

    findings->wrong = 0;
    const int rc = file_store_open(dir, PAGE, &files);
    if (rc != 0) {
        found_wrong(0, "the store does not open: error", rc);
        _exit(0);
    }
    for (unsigned key = 0; key < KEYS; key++) {
        look_at(files, key);
    }
    if (findings->wrong == 0 && close_after) {
        REQUIRE_EQUAL(file_store_close(files), 0);
        files = open_all();
        for (unsigned key = 0; key < KEYS; key++) {
            REQUIRE_EQUAL(is_cached(tenants[tenant_at(key)], key_at(key)), false);
            unsigned char bytes[PAGE];
            size_t len = 0;
            uint64_t version = 0;
            const int got = zcache_get(tenants[tenant_at(key)], key_at(key), bytes, PAGE, &len, 0);
            REQUIRE(got == 0 ? page_whole(bytes, len, key_at(key), &version) : got == ZCACHE_MISS);
            REQUIRE_EQUAL(version, findings->version[key]);
        }
        close_all(files);
    }
    _exit(0);
}

/* ---- single steps, without a cache ------------------------------------------------------------------ */

enum {
    FIRST,  /* page that takes the first record of a lap */
    SECOND, /* and the second */
};

static struct file_store *open_store(void)
{
    struct file_store *files = NULL;

    REQUIRE_EQUAL(file_store_open(dir, PAGE, &files), 0);
    return files;
}

static void write_page(struct file_store *files, unsigned page, unsigned version)
{
    unsigned char bytes[PAGE];

    page_make(bytes, PAGE, key_of(1, page), version, (enum fill)0);
    REQUIRE_EQUAL(file_store_write(files, NULL, key_of(1, page), bytes, PAGE), 0);
}

static unsigned read_page(struct file_store *files, unsigned page)
{
    unsigned char bytes[PAGE];
    uint64_t version = 0;
    size_t len;

    REQUIRE_EQUAL(file_store_read(files, NULL, key_of(1, page), bytes, PAGE, &len), 0);
    REQUIRE(page_whole(bytes, len, key_of(1, page), &version));
    return (unsigned)version;
}

static void begin_with_one_page(uint64_t run_seed)
{
    struct file_store *files = open_store();

    (void)run_seed;
    write_page(files, SECOND, 1);
    REQUIRE_EQUAL(file_store_close(files), 0);
}

static void write_two_pages(uint64_t run_seed)
{
    struct file_store *files = open_store();

    (void)run_seed;
    write_page(files, FIRST, 1);
    write_page(files, SECOND, 2);
}

static void write_the_first_again(uint64_t run_seed)
{
    struct file_store *files = open_store();

    (void)run_seed;
    findings->version[0] = read_page(files, SECOND);
    write_page(files, FIRST, 2);
}

static void read_the_second(uint64_t run_seed)
{
    (void)run_seed;
    findings->version[1] = read_page(open_store(), SECOND);
}

/* ---- the supervisor ------------------------------------------------------------------------------- */

static unsigned long long changes(void)
{
    return atomic_load(&history->puts) + atomic_load(&history->deletes);
}

/* Its wait status. */
static int wait_for(pid_t child, const struct fate *fate)
{
    const unsigned long long stop = changes() + fate->kill_after;
    const uint64_t deadline = deadline_in(20000);
    int status;

    if (fate->kill_after > 0) {
        pid_t ended;
        while ((ended = waitpid(child, &status, WNOHANG)) == 0 && changes() < stop) {
            REQUIRE(pause_before(deadline));
        }
        if (ended == child) {
            return status;
        }
        REQUIRE_EQUAL(kill(child, SIGKILL), 0);
    }
    REQUIRE_EQUAL(waitpid(child, &status, 0), child);
    return status;
}

/* Run @child in a process of its own until its fate; was it killed? */
static bool run_child(void (*child)(uint64_t), const struct fate *fate)
{
    struct rng rng = {fate->seed + 1};

    disk_arm(disk, fate->kill_at, fate->moment, fate->seed);
    (void)fflush(NULL);
    const pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        child(fate->seed);
        _exit(0);
    }
    const int status = wait_for(pid, fate);
    const bool killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (!killed && !(WIFEXITED(status) && WEXITSTATUS(status) == 0)) {
        fail_msg("the process ended with status 0x%x", (unsigned)status);
    }
    if (fate->power) {
        disk_cut_power(disk, dir, &rng);
    }
    kills_done += killed;
    return killed;
}

static void observe(uint64_t run_seed)
{
    run_observer(run_seed % 4 < 3);
}

/* Open the store, as often as the fate wants it, and look at every page; what is wrong. */
static unsigned look(const struct fate *fate)
{
    const struct fate quiet = {.seed = fate->seed};

    (void)run_child(observe, fate); /* it may be killed while it repairs the files */
    (void)run_child(observe, &quiet);
    if (findings->wrong == 0) {
        for (unsigned key = 0; key < KEYS; key++) {
            history_rebase(history, key, findings->version[key]);
        }
    }
    return findings->wrong;
}

static void must_be_right(const struct fate *fate)
{
    const struct fate repair = {.kill_at =
                                    fate->seed % 3 == 0 ? 1 + (unsigned)(fate->seed / 3 % 20) : 0,
                                .moment = (enum disk_moment)(fate->seed / 64 % DISK_MOMENTS),
                                .power = fate->power,
                                .seed = fate->seed + 7};

    if (look(&repair) > 0) {
        fail_msg("%u pages are wrong after call %u (moment %d, %u changes), %s, seed %" PRIu64
                 ": %s",
                 findings->wrong, fate->kill_at, (int)fate->moment, fate->kill_after,
                 fate->power ? "the power was cut" : "the process was killed", fate->seed,
                 findings->text);
    }
}

static void empty_dir(void)
{
    DIR *d = opendir(dir);
    struct dirent *e;

    REQUIRE(d != NULL);
    while ((e = readdir(d)) != NULL) { /* NOLINT(concurrency-mt-unsafe): the stream is ours */
        if (e->d_name[0] != '.') {
            REQUIRE_EQUAL(unlinkat(dirfd(d), e->d_name, 0), 0);
        }
    }
    REQUIRE_EQUAL(closedir(d), 0);
    disk_settle(disk);
    history_clear(history);
}

/* A store that is new; the process dies at the first call, the second, and so on. */
static void killed_at_one_call_after_the_other(void **state)
{
    const unsigned n = n_kills / 2;

    (void)state;
    for (unsigned i = 0; i < n; i++) {
        const struct fate fate = {.kill_at = i / 2 + 1,
                                  .moment = (enum disk_moment)((i / 2 + i) % DISK_MOMENTS),
                                  .power = i % 2 == 1,
                                  .seed = seed + i};
        empty_dir();
        (void)run_child(run_worker, &fate);
        must_be_right(&fate);
    }
}

/* A store that lives through several crashes. */
static void killed_at_calls_at_random(void **state)
{
    struct rng rng = {seed};
    unsigned calls = 400;

    (void)state;
    for (unsigned i = 0; i < n_kills / 2; i++) {
        const struct fate fate = {.kill_at = 1 + (unsigned)rng_below(&rng, calls),
                                  .moment = (enum disk_moment)rng_below(&rng, DISK_MOMENTS),
                                  .power = rng_below(&rng, 2) == 0,
                                  .seed = rng_next(&rng)};
        if (i % CHAIN == 0) {
            empty_dir();
        }
        if (!run_child(run_worker, &fate)) {
            calls = calls / 2 + 1; /* it did not come so far */
        }
        must_be_right(&fate);
    }
}

static void killed_at_any_moment(void **state)
{
    struct rng rng = {seed + 1};

    (void)state;
    for (unsigned i = 0; i < n_kills / 2; i++) {
        const struct fate fate = {.kill_after = 1 + (unsigned)rng_below(&rng, 1000 / TEST_SLOWDOWN),
                                  .power = rng_below(&rng, 2) == 0,
                                  .seed = rng_next(&rng)};
        if (i % CHAIN == 0) {
            empty_dir();
        }
        (void)run_child(run_worker, &fate);
        must_be_right(&fate);
    }
}

/*
 * The power cut takes the first record of a lap and leaves the second. Another first record is written
 * in its place: the second, which was not there meanwhile, stays away.
 */
static void what_was_lost_stays_lost(void **state)
{
    unsigned lost = 0;

    (void)state;
    for (unsigned i = 0; i < 32; i++) {
        const struct fate quiet = {.seed = seed + i};
        const struct fate power = {.power = true, .seed = seed + i};
        empty_dir();
        (void)run_child(begin_with_one_page, &quiet);
        (void)run_child(write_two_pages, &power);
        (void)run_child(write_the_first_again, &quiet);
        (void)run_child(read_the_second, &quiet);
        assert_int_equal(findings->version[1], findings->version[0]);
        lost += findings->version[0] == 1;
    }
    assert_in_range(lost, 1, 31);
}

/* The test would notice: a disk that only says that it synced loses what was flushed. */
static void a_lying_disk_is_noticed(void **state)
{
    unsigned wrong = 0;

    (void)state;
    disk_set_lying(disk, true);
    for (unsigned i = 0; i < 20 && wrong == 0; i++) {
        const struct fate fate = {.kill_at = 60 + i, .power = true, .seed = seed + i};
        const struct fate repair = {.seed = seed};
        empty_dir();
        (void)run_child(run_worker, &fate);
        wrong = look(&repair);
    }
    disk_set_lying(disk, false);
    assert_true(wrong > 0);
}

static void enough_was_killed(void **state)
{
    (void)state;
    print_message("%u kills; %llu puts, %llu deletes, %llu flushes\n", kills_done,
                  atomic_load(&history->puts), atomic_load(&history->deletes),
                  atomic_load(&history->flushes));
    assert_true(kills_done >= n_kills);
    assert_true(atomic_load(&history->flushes) > 0 && atomic_load(&history->deletes) > 0);
}

/* ---- options -------------------------------------------------------------------------------------- */

static void read_options(int argc, const char **argv)
{
    int kills = (int)n_kills;
    long long first_seed = (long long)seed;
    const struct poptOption table[] = {
        {"kills", 'k', POPT_ARG_INT, &kills, 0, "how many processes are killed (default: 64)", "N"},
        {"seed", 's', POPT_ARG_LONGLONG, &first_seed, 0, "of what is random (default: 20262)", "N"},
        POPT_AUTOHELP POPT_TABLEEND};
    poptContext con = poptGetContext(NULL, argc, argv, table, 0);
    const int rc = poptGetNextOpt(con);

    if (rc != -1 || poptPeekArg(con) != NULL || kills < KILLS_AT_LEAST) {
        (void)fprintf(stderr, "%s: %s\nTry '%s --help'.\n", argv[0],
                      rc < -1                    ? poptStrerror(rc)
                      : poptPeekArg(con) != NULL ? "there are only options"
                                                 : "--kills is too small",
                      argv[0]);
        exit(2); /* NOLINT(concurrency-mt-unsafe): no other thread is there yet */
    }
    n_kills = (unsigned)kills;
    seed = (uint64_t)first_seed;
    poptFreeContext(con);
}

int main(int argc, const char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_one_call_after_the_other),
        cmocka_unit_test(killed_at_calls_at_random),
        cmocka_unit_test(killed_at_any_moment),
        cmocka_unit_test(what_was_lost_stays_lost),
        cmocka_unit_test(enough_was_killed),
        cmocka_unit_test(a_lying_disk_is_noticed),
    };

    read_options(argc, argv);
    test_begin(0, NULL, seed);
    disk = disk_new();
    history = history_new();
    findings =
        mmap(NULL, sizeof(*findings), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(findings != MAP_FAILED && mkdtemp(dir) != NULL);
    const int failed = cmocka_run_group_tests(tests, NULL, NULL);
    empty_dir();
    REQUIRE_EQUAL(rmdir(dir), 0);
    history_free(history);
    disk_free(disk);
    return failed;
}
