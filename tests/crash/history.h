/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What was done to each key, in memory that outlives the process that did it, and what a store may
 * therefore have after a crash.
 *
 * Each key has one thread that changes it. The changes of a key are numbered; the number of a put is
 * the version in its page. A flush that returned 0 covers every change that was done when it began.
 */
#ifndef ZCACHE_TESTS_HISTORY_H
#define ZCACHE_TESTS_HISTORY_H

#include "api/support.h"

#include <stdatomic.h>

enum {
    HISTORY_KEYS = 1024,
    HISTORY_CHANGES = 4096, /* of one key */
};

struct history_key {
    atomic_uint begun;     /* number of the last change that was begun */
    atomic_uint done;      /* and completed */
    atomic_uint covered;   /* and covered by a flush */
    unsigned base;         /* at this number... */
    unsigned base_version; /* ...the store had this; 0: no page */
    atomic_bool deleted[HISTORY_CHANGES + 1];
};

struct history {
    atomic_ullong puts, deletes, flushes;
    struct history_key keys[HISTORY_KEYS];
};

struct history *history_new(void);
void history_free(struct history *history);
void history_clear(struct history *history); /* nothing was done, and the store is empty */

/* By the thread of the key: the number of the change; the version to put. */
unsigned history_begin(struct history *history, unsigned key, bool deleted);
void history_done(struct history *history, unsigned key, unsigned number);

/* There is room for @n more changes of the key. */
bool history_has_room(const struct history *history, unsigned key);

/* What the keys [first, first + n) had done before a flush began; then, if it returned 0. */
void history_before_flush(const struct history *history,
                          unsigned first,
                          unsigned n,
                          unsigned *done);
void history_flushed(struct history *history, unsigned first, unsigned n, const unsigned *done);

/* May the store have this version of the key, 0 for none, after a crash? */
bool history_allows(const struct history *history, unsigned key, unsigned version);

/* It has: what comes now begins there. */
void history_rebase(struct history *history, unsigned key, unsigned version);

/* A sentence about the key. */
void history_describe(const struct history *history, unsigned key, char *text, size_t cap);

#endif /* ZCACHE_TESTS_HISTORY_H */
