/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that move between nodes while they work, and nodes that are shrunk meanwhile: nothing is
 * lost, nothing old comes back, and everything adds up at the end.
 */
#include "numa/machine.h"

#include <errno.h>
#include <pthread.h>

enum {
    THREADS = 4,
    KEYS = 300,   /* of each thread */
    SHARED = 100, /* object of the keys that all threads put */
    STEPS = 3000 / TEST_SLOWDOWN,
    STAY = 16 /* steps on a node */
};

struct mover {
    struct zcache *cache;
    struct zcache_tenant *tenant;
    struct mem_store *store;
    uint64_t object;
    struct rng rng;
    uint64_t last[KEYS]; /* version put last; 0: deleted or never put */
    uint64_t next;
};

static const struct node *any_node(struct rng *rng)
{
    const uint64_t n = rng_below(rng, machine.n_nodes + machine.n_barren);

    return n < machine.n_nodes ? &machine.node[n] : &machine.barren[n - machine.n_nodes];
}

/* A page of its own: what it finds is what it put, from the cache or from the store. */
static void own_step(struct mover *m)
{
    const uint64_t i = rng_below(&m->rng, KEYS);
    const struct zcache_key key = key_of(m->object, i);
    struct zcache_pin pin;
    uint64_t version;

    switch (rng_below(&m->rng, 8)) {
    case 0:
        REQUIRE(zcache_delete(m->tenant, key, 0) >= 0);
        m->last[i] = 0;
        break;
    case 1:
        if (zcache_pin(m->tenant, key, 0, &pin) == 0) {
            REQUIRE(page_whole(pin.data, pin.len, key, &version) && version == m->last[i]);
            zcache_unpin(&pin);
        } else {
            REQUIRE_EQUAL(m->last[i], 0);
        }
        break;
    case 2:
    case 3:
        REQUIRE_EQUAL(get_page(m->tenant, key, 0), m->last[i]);
        break;
    default:
        m->last[i] = ++m->next;
        REQUIRE_EQUAL(put_page(m->tenant, key, m->last[i], (enum fill)rng_below(&m->rng, 3), 0), 0);
        break;
    }
}

/* A page of all: whole, whosever it is. Clean, as a store wants versions in order. */
static void shared_step(struct mover *m)
{
    const struct zcache_key key = key_of(SHARED, rng_below(&m->rng, KEYS));

    if (rng_below(&m->rng, 2) == 0) {
        REQUIRE_EQUAL(put_page(m->tenant, key, ++m->next, FILL_HALF, ZCACHE_CLEAN), 0);
    } else {
        (void)get_page(m->tenant, key, 0);
    }
}

static void *move_about(void *arg)
{
    struct mover *m = arg;

    for (unsigned step = 0; step < STEPS; step++) {
        if (step % STAY == 0) {
            run_on(any_node(&m->rng));
        }
        if (rng_below(&m->rng, 4) == 0) {
            shared_step(m);
        } else {
            own_step(m);
        }
        if (step % 512 == 0) {
            const int id = machine.node[rng_below(&m->rng, machine.n_nodes)].id;
            const int rc = zcache_shrink_node(m->tenant, id, 64 * KIB, 1000, NULL);
            REQUIRE(rc == 0 || rc == -EAGAIN);
        }
    }
    return NULL;
}

/* Every page is on the lists of the node on which its record lies. */
static uint64_t check_homes(struct zcache_tenant *t, uint64_t object)
{
    uint64_t cached = 0;

    for (uint64_t i = 0; i < KEYS; i++) {
        const struct zc_entry *e = entry_of(t, key_of(object, i));

        if (e != NULL) {
            assert_int_equal(zc_entry_node(e), zc_pool_node(e));
            cached++;
        }
    }
    return cached;
}

static void threads_that_move_do_no_harm(void **state)
{
    static struct mover movers[THREADS];
    struct mem_store *store = mem_store_new(MEM_STORE_SYNC);
    struct zcache *cache = open_stored(8 * MIB, store, NULL);
    struct zcache_tenant *root = zcache_root(cache);
    pthread_t thread[THREADS];
    uint64_t cached;

    (void)state;
    for (unsigned i = 0; i < THREADS; i++) {
        movers[i] = (struct mover){.cache = cache,
                                   .tenant = root,
                                   .store = store,
                                   .object = 1 + i,
                                   .rng = {.state = 7 + i},
                                   .next = 0};
        start(&thread[i], move_about, &movers[i]);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        join(thread[i]);
    }
    verify_cache(cache);
    assert_int_equal(zcache_flush(root, 60000), 0);
    cached = check_homes(root, SHARED);
    for (unsigned t = 0; t < THREADS; t++) {
        cached += check_homes(root, movers[t].object);
        for (uint64_t i = 0; i < KEYS; i++) {
            const struct zcache_key key = key_of(movers[t].object, i);

            assert_int_equal(get_page(root, key, 0), movers[t].last[i]);
            assert_int_equal(mem_store_durable(store, 0, key), movers[t].last[i]);
        }
    }
    const struct zcache_stats stats = stats_of(root);
    check_identities(&stats);
    assert_true(cached > 0);
    close_cache(cache);
    mem_store_free(store);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_that_move_do_no_harm),
    };

    test_begin(argc, argv, 0);
    machine_find();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
