/* SPDX-License-Identifier: BSD-2-Clause */
#include "matrix_model.h"

#include <sched.h>
#include <string.h>

struct span {
    atomic_uint_fast64_t begin;
    atomic_uint_fast64_t end; /* 0: not yet, or it failed */
};

static struct key {
    atomic_uint_fast64_t started;      /* versions handed out */
    atomic_uint_fast64_t put_begin;    /* latest begin of a put that is over */
    atomic_uint_fast64_t remove_begin; /* the same of a delete */
    atomic_uint_fast64_t remove_end;
    atomic_uint_fast64_t open_end; /* latest end of a change that left the key open */
    atomic_uint removing;
    struct span put[MODEL_VERSIONS];
} keys[MODEL_KEYS];

static atomic_uint_fast64_t the_time;
static atomic_uint n_threads;
static atomic_uint_fast64_t under_way[MODEL_THREADS]; /* each thread's change: when it began */
static atomic_uint generation;

static _Thread_local unsigned my_number;
static _Thread_local unsigned my_generation;

static unsigned me(void)
{
    const unsigned now = atomic_load(&generation);

    if (my_generation != now) {
        my_generation = now;
        my_number = atomic_fetch_add(&n_threads, 1);
        REQUIRE(my_number < MODEL_THREADS);
    }
    return my_number;
}

static uint64_t tick(void)
{
    return atomic_fetch_add(&the_time, 1) + 1;
}

static void raise_to(atomic_uint_fast64_t *at, uint64_t value)
{
    uint64_t seen = atomic_load(at);

    while (seen < value && !atomic_compare_exchange_weak(at, &seen, value)) {
        ;
    }
}

void model_reset(void)
{
    for (unsigned i = 0; i < MODEL_KEYS; i++) {
        struct key *k = &keys[i];
        atomic_store(&k->started, 0);
        atomic_store(&k->put_begin, 0);
        atomic_store(&k->remove_begin, 0);
        atomic_store(&k->remove_end, 0);
        atomic_store(&k->open_end, 0);
        atomic_store(&k->removing, 0);
    }
    atomic_store(&the_time, 0);
    atomic_store(&n_threads, 0);
    atomic_fetch_add(&generation, 1);
}

/* ---- changes -------------------------------------------------------------------------------------- */

static struct span *span_of(unsigned key, uint64_t version)
{
    return &keys[key].put[version % MODEL_VERSIONS];
}

struct model_change model_begin(unsigned key, bool put)
{
    struct key *k = &keys[key];
    struct model_change change = {.key = key, .outer = atomic_load(&under_way[me()])};

    if (put) {
        change.version = atomic_fetch_add(&k->started, 1) + 1;
        atomic_store(&span_of(key, change.version)->end, 0);
    } else {
        atomic_fetch_add(&k->removing, 1);
    }
    change.begin = tick();
    if (put) {
        atomic_store(&span_of(key, change.version)->begin, change.begin);
    }
    atomic_store(&under_way[me()], change.begin);
    return change;
}

void model_finish(const struct model_change *change, enum model_end end)
{
    struct key *k = &keys[change->key];
    const uint64_t now = tick();

    switch (end) {
    case MODEL_PUT:
        atomic_store(&span_of(change->key, change->version)->end, now);
        raise_to(&k->put_begin, change->begin);
        break;
    case MODEL_REMOVED:
        raise_to(&k->remove_end, now);
        raise_to(&k->remove_begin, change->begin);
        break;
    case MODEL_OPEN:
        raise_to(&k->open_end, now);
        break;
    case MODEL_NOTHING:
        break;
    }
    if (change->version == 0) {
        atomic_fetch_sub(&k->removing, 1);
    }
    atomic_store(&under_way[me()], change->outer);
}

/* ---- reads ---------------------------------------------------------------------------------------- */

struct model_read model_look(unsigned key)
{
    struct key *k = &keys[key];
    struct model_read read = {.key = key};
    const uint64_t removed = atomic_load(&k->remove_begin);

    read.put_begin = atomic_load(&k->put_begin);
    read.certain = read.put_begin > removed ? read.put_begin : removed;
    return read;
}

static bool allowed(const struct model_read *read, uint64_t version)
{
    struct key *k = &keys[read->key];

    if (version == 0) {
        return read->put_begin == 0 || atomic_load(&k->removing) > 0 ||
               atomic_load(&k->remove_end) >= read->put_begin ||
               atomic_load(&k->open_end) >= read->put_begin;
    }
    REQUIRE(version <= atomic_load(&k->started));
    const uint64_t end = atomic_load(&span_of(read->key, version)->end);
    const bool forgotten = version + MODEL_VERSIONS <= atomic_load(&k->started);
    return (!forgotten && (end == 0 || end >= read->certain)) ||
           atomic_load(&k->open_end) >= read->certain;
}

/* Until each change that is under way is over: one of them may be about to fail. */
static void wait_for_changes(void)
{
    const uint64_t deadline = deadline_in(60000);

    for (unsigned i = 0; i < MODEL_THREADS; i++) {
        const uint64_t begin = atomic_load(&under_way[i]);
        while (i != me() && begin != 0 && atomic_load(&under_way[i]) == begin) {
            REQUIRE(now_ns() < deadline);
            (void)sched_yield();
        }
    }
}

static bool others_are_at_it(void)
{
    for (unsigned i = 0; i < MODEL_THREADS; i++) {
        if (atomic_load(&under_way[i]) != 0) {
            return true;
        }
    }
    return false;
}

void model_judge(const struct model_read *read, uint64_t version, bool in_callback)
{
    if (allowed(read, version)) {
        return;
    }
    if (in_callback || atomic_load(&under_way[me()]) != 0) {
        REQUIRE(others_are_at_it());
        return;
    }
    wait_for_changes();
    REQUIRE(allowed(read, version));
}

bool model_in_order(unsigned key, uint64_t earlier, uint64_t later)
{
    const uint64_t begin = atomic_load(&span_of(key, earlier)->begin);
    const uint64_t end = atomic_load(&span_of(key, later)->end);

    return earlier + MODEL_VERSIONS <= atomic_load(&keys[key].started) ||
           later + MODEL_VERSIONS <= atomic_load(&keys[key].started) || end == 0 || end > begin;
}

bool model_is_open(unsigned key)
{
    struct key *k = &keys[key];
    const struct model_read now = model_look(key);

    return atomic_load(&k->open_end) >= now.certain;
}
