/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nbdkit with examples/nbdkit, and clients that know what they wrote: requests of any offset and length
 * in parallel, a disk that does not fit into its cache, disks that must not see each other, and a server
 * that is killed.
 *
 *     test_examples_nbdkit PLUGIN [LIBRARY]    LIBRARY is loaded into the server first
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <libnbd.h>

#include "support.h"

#define PASSED_FD 3 /* the first one of systemd's protocol of passing sockets */
#define ARGS_MAX  12
#define BLOCK     4096u

static const char *plugin, *library;
static char dir[] = "/tmp/zcache-nbdkit.XXXXXX";

/* ---- the server ------------------------------------------------------------------------------ */

struct server {
    pid_t pid;
    struct sockaddr_un address;
};

/* It is started with the listening socket in its hands, so there is nothing to wait for. */
static int listen_at(struct server *s)
{
    static unsigned n;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    s->address.sun_family = AF_UNIX;
    (void)snprintf(s->address.sun_path, sizeof s->address.sun_path, "%s/%u", dir, n++);
    REQUIRE(fd >= 0);
    REQUIRE(bind(fd, (struct sockaddr *)&s->address, sizeof s->address) == 0);
    REQUIRE(listen(fd, SOMAXCONN) == 0);
    return fd;
}

/* NOLINTBEGIN(concurrency-mt-unsafe): a child's own environment */
_Noreturn static void run_nbdkit(int fd, const char *const *parameters)
{
    const char *args[ARGS_MAX] = {"nbdkit", "--foreground", "--exit-with-parent", "--threads=4",
                                  plugin};
    char pid[32];

    for (size_t i = 5; *parameters != NULL; i++) {
        args[i] = *parameters++;
    }
    (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
    (void)setenv("LISTEN_PID", pid, 1);
    (void)setenv("LISTEN_FDS", "1", 1);
    if (library != NULL) { /* a sanitizer's; nbdkit itself leaks a little when it is stopped */
        (void)setenv("LD_PRELOAD", library, 1);
        (void)setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
    }
    if ((fd == PASSED_FD ? fcntl(fd, F_SETFD, 0) : dup2(fd, PASSED_FD)) >= 0) {
        union {
            const char **in;
            char **out;
        } argv = {args};

        (void)execvp("nbdkit", argv.out);
    }
    _exit(127);
}

/* NOLINTEND(concurrency-mt-unsafe) */

static struct server start(const char *const *parameters)
{
    struct server s = {0};
    const int fd = listen_at(&s);

    s.pid = fork();
    REQUIRE(s.pid >= 0);
    if (s.pid == 0) {
        run_nbdkit(fd, parameters);
    }
    (void)close(fd);
    return s;
}

#define START(...) start((const char *const[]){__VA_ARGS__, NULL})

/* It must have ended well, unless it was killed. */
static void stop(struct server *s, int signal)
{
    int status;

    REQUIRE(kill(s->pid, signal) == 0);
    REQUIRE(waitpid(s->pid, &status, 0) == s->pid);
    REQUIRE(signal == SIGKILL || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    (void)unlink(s->address.sun_path);
}

/* NULL: refused. */
static struct nbd_handle *connect_to(const struct server *s, const char *export)
{
    struct nbd_handle *nbd = nbd_create();

    REQUIRE(nbd != NULL);
    REQUIRE(nbd_set_export_name(nbd, export) == 0);
    if (nbd_connect_unix(nbd, s->address.sun_path) == 0) {
        return nbd;
    }
    nbd_close(nbd);
    return NULL;
}

static void leave(struct nbd_handle *nbd)
{
    REQUIRE(nbd_shutdown(nbd, 0) == 0);
    nbd_close(nbd);
}

static void must(int rc)
{
    if (rc != 0) {
        (void)fprintf(stderr, "%s\n", nbd_get_error());
    }
    REQUIRE(rc == 0);
}

/* ---- requests of any offset and length ------------------------------------------------------- */

#define DISK    ((size_t)4 << 20)
#define STRIPE  1000u /* of bytes: several share a block */
#define CLIENTS 3u

struct client {
    const struct server *server;
    unsigned index;
    unsigned requests;
    uint64_t random;
    unsigned char *shadow; /* of the disk; each client's stripes are its own */
};

static uint64_t next(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void one_request(struct client *c, struct nbd_handle *nbd)
{
    const size_t stripes = DISK / STRIPE / CLIENTS;
    const size_t at = (next(&c->random) % stripes * CLIENTS + c->index) * STRIPE;
    const size_t from = at + next(&c->random) % STRIPE;
    const size_t len = 1 + next(&c->random) % (at + STRIPE - from);
    unsigned char room[STRIPE];

    switch (next(&c->random) % 8) {
    case 0:
        must(nbd_zero(nbd, len, from, 0));
        memset(c->shadow + from, 0, len);
        break;
    case 1:
        must(nbd_trim(nbd, len, from, 0));
        memset(c->shadow + from, 0, len);
        break;
    case 2:
    case 3:
    case 4:
        must(nbd_pread(nbd, room, len, from, 0));
        REQUIRE(memcmp(room, c->shadow + from, len) == 0);
        break;
    default:
        memset(c->shadow + from, (int)next(&c->random), len);
        must(nbd_pwrite(nbd, c->shadow + from, len, from, 0));
        break;
    }
}

static void *work(void *arg)
{
    struct client *c = arg;
    struct nbd_handle *nbd = connect_to(c->server, "");

    REQUIRE(nbd != NULL);
    for (unsigned i = 0; i < c->requests; i++) {
        one_request(c, nbd);
    }
    leave(nbd);
    return NULL;
}

static void work_in_parallel(const struct server *s, unsigned char *shadow)
{
    struct client clients[CLIENTS];
    pthread_t threads[CLIENTS];

    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = (struct client){.server = s,
                                     .index = i,
                                     .requests = 4000 / TEST_SLOWDOWN,
                                     .random = i,
                                     .shadow = shadow};
        REQUIRE(pthread_create(&threads[i], NULL, work, &clients[i]) == 0);
    }
    for (unsigned i = 0; i < CLIENTS; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void expect_disk(const struct server *s, const char *export, const unsigned char *shadow)
{
    struct nbd_handle *nbd = connect_to(s, export);
    unsigned char *room = malloc(DISK);

    REQUIRE(nbd != NULL && room != NULL);
    must(nbd_pread(nbd, room, DISK, 0, 0));
    REQUIRE(memcmp(room, shadow, DISK) == 0);
    free(room);
    leave(nbd);
}

static void neighbours_in_a_block_do_not_hurt_each_other(void **state)
{
    unsigned char *shadow = calloc(1, DISK);
    char file[64];

    (void)state;
    REQUIRE(shadow != NULL);
    struct server s = START("size=4M", "cache=capacity=16M,raw_percent=5", "block=4096");
    work_in_parallel(&s, shadow);
    expect_disk(&s, "", shadow);
    stop(&s, SIGTERM);

    /* The same through a cache that is smaller than the disk, and once more from the file. */
    memset(shadow, 0, DISK);
    (void)snprintf(file, sizeof file, "file=%s/parts", dir);
    s = START("size=4M", "cache=capacity=2M,dense=none", "block=16384", file);
    work_in_parallel(&s, shadow);
    expect_disk(&s, "", shadow);
    stop(&s, SIGTERM);
    s = START("size=4M", "cache=capacity=2M,dense=none", "block=16384", file);
    expect_disk(&s, "", shadow);
    stop(&s, SIGTERM);
    free(shadow);
}

/* ---- blocks that say what they are ----------------------------------------------------------- */

struct block {
    uint64_t number;
    uint64_t version;
    uint64_t noise[BLOCK / 8 - 2];
};

static void make_block(struct block *b, uint64_t number, uint64_t version)
{
    uint64_t random = number << 32 | version;

    b->number = number;
    b->version = version;
    for (size_t i = 0; i < sizeof b->noise / sizeof b->noise[0]; i++) {
        b->noise[i] = next(&random);
    }
}

/* 0: it is all zero. */
static uint64_t version_of(const struct block *b, uint64_t number)
{
    static const struct block zero;
    struct block right;

    if (memcmp(b, &zero, sizeof zero) == 0) {
        return 0;
    }
    make_block(&right, number, b->version);
    REQUIRE(memcmp(b, &right, sizeof right) == 0);
    return b->version;
}

static uint64_t read_version(struct nbd_handle *nbd, uint64_t number)
{
    struct block b;

    must(nbd_pread(nbd, &b, BLOCK, number * BLOCK, 0));
    return version_of(&b, number);
}

/* ---- a disk that does not fit ---------------------------------------------------------------- */

#define BIG 1024u /* blocks, of a disk of 4 MiB */

/* 0, or ENOSPC. */
static int write_version(struct nbd_handle *nbd, uint64_t number, uint64_t version)
{
    struct block b;

    make_block(&b, number, version);
    if (nbd_pwrite(nbd, &b, BLOCK, number * BLOCK, 0) == 0) {
        return 0;
    }
    REQUIRE_EQUAL(nbd_get_errno(), ENOSPC);
    return ENOSPC;
}

static void a_full_disk_refuses_and_keeps(void **state)
{
    static uint64_t version[BIG];
    struct server s = START("size=4M", "cache=capacity=16M", "limit=2M");
    struct nbd_handle *nbd = connect_to(&s, "");
    unsigned refused = 0, again = 0;
    uint64_t random = 7;

    (void)state;
    REQUIRE(nbd != NULL);
    for (uint64_t i = 0; i < BIG; i++) {
        version[i] = write_version(nbd, i, 1) == 0;
        refused += version[i] == 0;
    }
    REQUIRE(refused > BIG / 4 && refused < BIG);
    for (uint64_t v = 2; v < 500; v++) {
        const uint64_t i = next(&random) % BIG;
        const bool done = write_version(nbd, i, v) == 0;

        again += !done;
        version[i] = done ? v : version[i];
        REQUIRE_EQUAL(read_version(nbd, i), version[i]);
    }
    REQUIRE(again > 0);
    for (uint64_t i = 0; i < BIG; i++) {
        REQUIRE_EQUAL(read_version(nbd, i), version[i]);
    }
    /* What is trimmed is room. */
    must(nbd_trim(nbd, (uint64_t)BIG / 2 * BLOCK, 0, 0));
    for (uint64_t i = 0; i < 100; i++) {
        REQUIRE(write_version(nbd, i, 5000) == 0);
        version[i] = 5000;
    }
    for (uint64_t i = 0; i < BIG; i++) {
        REQUIRE_EQUAL(read_version(nbd, i), i >= 100 && i < BIG / 2 ? 0 : version[i]);
    }
    leave(nbd);
    stop(&s, SIGTERM);
}

/* ---- exports --------------------------------------------------------------------------------- */

static void exports_are_disks_of_their_own(void **state)
{
    struct server s = START("size=4M", "cache=capacity=16M");
    struct nbd_handle *one = connect_to(&s, "one"), *two = connect_to(&s, "two");
    struct nbd_handle *again;

    (void)state;
    REQUIRE(one != NULL && two != NULL);
    REQUIRE(write_version(one, 7, 1) == 0);
    REQUIRE(write_version(two, 7, 2) == 0);
    REQUIRE_EQUAL(read_version(one, 7), 1);
    REQUIRE_EQUAL(read_version(two, 7), 2);
    REQUIRE_EQUAL(read_version(two, 8), 0);
    leave(one);
    again = connect_to(&s, "one"); /* it lives as long as the server */
    REQUIRE(again != NULL);
    REQUIRE_EQUAL(read_version(again, 7), 1);
    leave(again);
    leave(two);
    REQUIRE(connect_to(&s, "../two") == NULL);
    REQUIRE(connect_to(&s, ".two") == NULL);
    REQUIRE(connect_to(&s, "a b") == NULL);
    stop(&s, SIGTERM);
}

/* ---- a server that is killed ----------------------------------------------------------------- */

#define SMALL   1024u /* blocks, of a disk of 4 MiB */
#define WRITERS 2u

struct writer {
    const struct server *server;
    unsigned index;
    uint64_t random;
    atomic_uint *writes_left; /* when they are used up the server is killed */
    uint64_t tried[SMALL];    /* last version that was sent */
    uint64_t durable[SMALL];  /* last one that was flushed, or written with FUA */
};

static void flush(struct writer *w, struct nbd_handle *nbd)
{
    uint64_t done[SMALL];

    memcpy(done, w->tried, sizeof done);
    if (nbd_flush(nbd, 0) == 0) {
        memcpy(w->durable, done, sizeof done);
    }
}

/* Until the server is gone.  Each writer has every other block. */
static void *write_until_killed(void *arg)
{
    struct writer *w = arg;
    struct nbd_handle *nbd = connect_to(w->server, "");
    struct block b;

    REQUIRE(nbd != NULL);
    for (uint64_t version = 1; !nbd_aio_is_dead(nbd); version++) {
        const uint64_t i = next(&w->random) % (SMALL / WRITERS) * WRITERS + w->index;
        const bool fua = next(&w->random) % 64 == 0;

        make_block(&b, i, version);
        w->tried[i] = version;
        if (nbd_pwrite(nbd, &b, BLOCK, i * BLOCK, fua ? LIBNBD_CMD_FLAG_FUA : 0) != 0) {
            break;
        }
        if (fua) {
            w->durable[i] = version;
        }
        if (next(&w->random) % 256 == 0) {
            flush(w, nbd);
        }
        if (atomic_fetch_sub(w->writes_left, 1) == 1) {
            REQUIRE(kill(w->server->pid, SIGKILL) == 0);
        }
    }
    nbd_close(nbd);
    return NULL;
}

/* A file has one server at a time. */
static void expect_refused(const char *file)
{
    struct server s = START("size=4M", "cache=capacity=3M", file);

    REQUIRE(connect_to(&s, "") == NULL);
    stop(&s, SIGTERM);
}

static void what_was_flushed_survives_a_kill(void **state)
{
    static struct writer writers[WRITERS];
    char file[64];
    uint64_t seed = 1, found = 0;

    (void)state;
    (void)snprintf(file, sizeof file, "file=%s/killed", dir);
    for (unsigned round = 0; round < 4; round++) {
        struct server s = START("size=4M", "cache=capacity=3M", file);
        atomic_uint writes_left = 500 + (unsigned)(next(&seed) % (6000 / TEST_SLOWDOWN));
        pthread_t threads[WRITERS];
        struct nbd_handle *nbd;

        for (unsigned i = 0; i < WRITERS; i++) {
            writers[i] = (struct writer){
                .server = &s, .index = i, .random = next(&seed), .writes_left = &writes_left};
            REQUIRE(pthread_create(&threads[i], NULL, write_until_killed, &writers[i]) == 0);
        }
        for (unsigned i = 0; i < WRITERS; i++) {
            pthread_join(threads[i], NULL);
        }
        stop(&s, SIGKILL);

        s = START("size=4M", "cache=capacity=3M", file);
        nbd = connect_to(&s, "");
        REQUIRE(nbd != NULL);
        expect_refused(file);
        for (uint64_t i = 0; i < SMALL; i++) {
            const struct writer *w = &writers[i % WRITERS];
            const uint64_t version = read_version(nbd, i);

            REQUIRE(version >= w->durable[i] && version <= w->tried[i]);
            found += w->durable[i] > 0;
        }
        /* The next round begins with nothing. */
        must(nbd_zero(nbd, (uint64_t)SMALL * BLOCK, 0, 0));
        leave(nbd);
        stop(&s, SIGTERM);
    }
    REQUIRE(found > 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(neighbours_in_a_block_do_not_hurt_each_other),
        cmocka_unit_test(a_full_disk_refuses_and_keeps),
        cmocka_unit_test(exports_are_disks_of_their_own),
        cmocka_unit_test(what_was_flushed_survives_a_kill),
    };
    char command[128];
    int rc;

    if (argc < 2) {
        (void)fprintf(stderr, "usage: test_examples_nbdkit PLUGIN [LIBRARY]\n");
        return 2;
    }
    plugin = argv[1];
    library = argc > 2 ? argv[2] : NULL;
    if (mkdtemp(dir) == NULL) {
        perror(dir);
        return 1;
    }
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    (void)snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command) == 0 ? rc : 1; /* NOLINT(concurrency-mt-unsafe) */
}
