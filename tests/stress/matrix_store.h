/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The store of the stress matrix, in memory: it works, fails at random, is slow, or calls zcache from
 * its callbacks. It checks that one write of a key is in flight, that bytes do not change until
 * completion, and that no version comes after one that was certainly put after it (matrix_model.h).
 */
#ifndef ZCACHE_TESTS_MATRIX_STORE_H
#define ZCACHE_TESTS_MATRIX_STORE_H

#include "api/support.h"

enum matrix_mode {
    MATRIX_OK,
    MATRIX_FAILING,
    MATRIX_SLOW,      /* completes later, on a thread of its own */
    MATRIX_REENTRANT, /* calls back first */
    MATRIX_MODES,
};

struct matrix_store;

struct matrix_store *matrix_store_new(enum matrix_mode mode, uint64_t seed);
void matrix_store_free(struct matrix_store *store);
struct zcache_store matrix_store_callbacks(struct matrix_store *store);
void matrix_store_attach(struct matrix_store *store, struct zcache *cache);

/* Keys of this tenant and object are those of the model. */
void matrix_store_watch(struct matrix_store *store, uint64_t tenant_id, uint64_t object);

/* What a re-entrant store does in a callback, before and after it takes effect; not inside of itself. */
void matrix_store_on_call(struct matrix_store *store, void (*call)(const struct zcache_io *io));

/* From now on it works; what is in its hands is completed. */
void matrix_store_settle(struct matrix_store *store);

/* Version of the page there; 0: none. */
uint64_t matrix_store_version(struct matrix_store *store,
                              uint64_t tenant_id,
                              struct zcache_key key);

/* Is this thread in a callback? */
bool matrix_store_calls_here(void);

#endif /* ZCACHE_TESTS_MATRIX_STORE_H */
