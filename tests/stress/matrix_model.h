/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a read may see of a key that several threads write, delete and read at once.
 *
 * Every call notes when it began and ended, on a clock that counts. What one call has certainly done
 * before another began holds: a version is stale if a put or delete that began after its put had ended
 * was over when the read began; a miss is wrong if no delete was under way or over since the last put
 * that was over by then. A put or delete that failed, and a take of a page that the store lacks, leave
 * the key open until the next put that begins after it is over: the store may have an older version.
 */
#ifndef ZCACHE_TESTS_MATRIX_MODEL_H
#define ZCACHE_TESTS_MATRIX_MODEL_H

#include "api/support.h"

#include <stdatomic.h>

enum {
    MODEL_KEYS = 32,
    MODEL_VERSIONS = 16384, /* of a key, remembered at one time */
    MODEL_THREADS = 32,
};

/* Of one change: a put, a delete, a take. */
struct model_change {
    unsigned key;
    uint64_t version; /* put: the version to put */
    uint64_t begin;
    uint64_t outer; /* the change that this one is inside of, in a callback of the store */
};

/* A read, and what was certain when it began. */
struct model_read {
    unsigned key;
    uint64_t put_begin;
    uint64_t certain;
};

void model_reset(void);

struct model_change model_begin(unsigned key, bool put);

enum model_end {
    MODEL_PUT,     /* the version is there */
    MODEL_REMOVED, /* no version is there */
    MODEL_OPEN,    /* some version is there, or none */
    MODEL_NOTHING, /* it changed nothing */
};

void model_finish(const struct model_change *change, enum model_end end);

struct model_read model_look(unsigned key);

/*
 * The read is over and found @version, 0 for a miss. @in_callback: it must not wait for changes of
 * others to end.
 */
void model_judge(const struct model_read *read, uint64_t version, bool in_callback);

/* May @later follow @earlier in the store? */
bool model_in_order(unsigned key, uint64_t earlier, uint64_t later);

/* Is it known which version is there, at rest? */
bool model_is_open(unsigned key);

#endif /* ZCACHE_TESTS_MATRIX_MODEL_H */
