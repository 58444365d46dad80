/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random operations on the world. Which one, on which keys, with which flags and content follows from
 * the seed alone; its outcome must be one that the headers allow there, and goes into the history.
 */
#ifndef ZCACHE_TESTS_MODEL_OPS_H
#define ZCACHE_TESTS_MODEL_OPS_H

#include "world.h"

/* The next operation of thread @thread; all its choices follow from @seed. */
void model_operation(struct model_log *log, uint64_t seed);

/* What a store callback, or another thread of the store, does with the cache meanwhile. */
void model_nested(void);

/* Between rounds: sets the capacity so that about @bytes are left for pages; 0 lifts it. */
void model_set_capacity(uint64_t bytes);

#endif /* ZCACHE_TESTS_MODEL_OPS_H */
