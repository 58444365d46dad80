/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A script forces an interleaving: it stops threads of the library at sync points (src/sync_point.h),
 * lets others run meanwhile, and then lets the stopped ones go on.
 *
 *     script_hold("writeback.claimed", key);      the next thread to get there with that key stops
 *     script_start(&other, flush_it, tenant);     run something on a thread of its own
 *     script_await("writeback.claimed");          until somebody stands there
 *     ... what must happen in between ...
 *     script_release("writeback.claimed");
 *     script_join(&other);
 *
 * Nothing sleeps: a step begins when the one before it has happened.  A step that does not happen within
 * a minute (more where the build is slow) ends the test, with the points reached so far.
 */
#ifndef ZCACHE_TESTS_SCRIPT_H
#define ZCACHE_TESTS_SCRIPT_H

#include "support.h"

#include <pthread.h>
#include <stdatomic.h>

struct script_thread {
    pthread_t id;
    void (*fn)(void *arg);
    void *arg;
    _Atomic bool done;
};

/* Between begin and end the script listens; end requires that nobody is held any more. */
void script_begin(void);
void script_end(void);

/* The next thread that reaches @point with @key stops there until released.  One hold for a point. */
void script_hold(const char *point, struct zcache_key key);
void script_hold_any(const char *point); /* whatever the key */
/* Until a thread stands at @point, which is held. */
void script_await(const char *point);
/* Whether one does now. */
bool script_stands(const char *point);
/* Lets it go on, and takes the hold away. */
void script_release(const char *point);

/* How often @point was reached, by any thread with any key, since the begin. */
unsigned script_reached(const char *point);
/* Until that many. */
void script_await_reached(const char *point, unsigned n);

void script_start(struct script_thread *thread, void (*fn)(void *arg), void *arg);
bool script_running(const struct script_thread *thread);
void script_join(struct script_thread *thread);

#endif /* ZCACHE_TESTS_SCRIPT_H */
