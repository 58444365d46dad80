/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the threads of the stress matrix do, over and over, to one small key space.
 */
#ifndef ZCACHE_TESTS_MATRIX_ACTIONS_H
#define ZCACHE_TESTS_MATRIX_ACTIONS_H

#include "matrix_store.h"

#include <stdatomic.h>

enum {
    MATRIX_ACTIONS = 12,
    MATRIX_OBJECT = 1, /* of the keys that the model knows */
};

struct matrix_worker {
    unsigned index;
    uint64_t n; /* rounds so far */
    struct rng rng;
};

struct matrix_action {
    const char *name;
    void (*run)(struct matrix_worker *me);
};

extern const struct matrix_action matrix_actions[MATRIX_ACTIONS];

/* The cell's cache and who lives in it. */
struct matrix_cell {
    enum matrix_mode mode;
    struct matrix_store *store;
    struct zcache *cache;
    struct zcache_tenant *root;
    struct zcache_tenant *shared;  /* has the keys of the model */
    struct zcache_tenant *ballast; /* clean pages that make the cache full */
    /* Comes and goes; others may use it at any time, and find it gone. */
    _Atomic(struct zcache_tenant *) child;

    /* Calls that were counted by the library, too. */
    atomic_uint_fast64_t puts, gets, pins, deletes;
    atomic_uint_fast64_t refused;  /* puts */
    atomic_uint_fast64_t deadlock; /* -EDEADLK in callbacks */
};

extern struct matrix_cell cell;

/* One put of each key. */
void matrix_fill(void);

/* What a re-entrant store calls. */
void matrix_reenter(const struct zcache_io *io);

/* A get of a key of the model, judged; the version, 0 for a miss. */
uint64_t matrix_get(unsigned key, unsigned flags);

#endif /* ZCACHE_TESTS_MATRIX_ACTIONS_H */
