/* SPDX-License-Identifier: BSD-2-Clause */
#include "script.h"

#include <stdio.h>
#include <string.h>

#include "sync_point.h"

#define POINTS  64u
#define WAIT_MS 60000u

struct point {
    const char *name;
    unsigned reached;
    bool hold;
    bool any_key;
    struct zcache_key key;
    bool stands;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct point points[POINTS];
    unsigned n;
} script = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static struct point *point_locked(const char *name)
{
    for (unsigned i = 0; i < script.n; i++) {
        if (strcmp(script.points[i].name, name) == 0) {
            return &script.points[i];
        }
    }
    REQUIRE(script.n < POINTS);
    script.points[script.n] = (struct point){.name = name};
    return &script.points[script.n++];
}

static void print_points_locked(void)
{
    for (unsigned i = 0; i < script.n; i++) {
        const struct point *p = &script.points[i];

        (void)fprintf(stderr, "  %s: reached %u times%s%s\n", p->name, p->reached,
                      p->hold ? ", held" : "", p->stands ? ", somebody stands there" : "");
    }
}

/* Until *flag or *count is as wanted; the lock is held. */
#define AWAIT_LOCKED(cond, what)                                                                   \
    do {                                                                                           \
        const uint64_t deadline_ = deadline_in(WAIT_MS);                                           \
        while (!(cond)) {                                                                          \
            pthread_mutex_unlock(&script.lock);                                                    \
            const bool in_time_ = pause_before(deadline_);                                         \
            pthread_mutex_lock(&script.lock);                                                      \
            if (!in_time_ && !(cond)) {                                                            \
                print_points_locked();                                                             \
                require_failed(what, __FILE__, __LINE__);                                          \
            }                                                                                      \
        }                                                                                          \
    } while (0)

static void reach(void *ctx, const char *name, struct zcache_key key)
{
    (void)ctx;
    pthread_mutex_lock(&script.lock);
    struct point *p = point_locked(name);
    p->reached++;
    if (p->hold && !p->stands &&
        (p->any_key || (p->key.object == key.object && p->key.page == key.page))) {
        p->stands = true;
        while (p->hold) {
            pthread_cond_wait(&script.changed, &script.lock);
        }
        p->stands = false;
    }
    pthread_mutex_unlock(&script.lock);
}

void script_begin(void)
{
    script.n = 0;
    zc_sync_point_listen(reach, NULL);
}

void script_end(void)
{
    zc_sync_point_listen(NULL, NULL);
    pthread_mutex_lock(&script.lock);
    for (unsigned i = 0; i < script.n; i++) {
        REQUIRE(!script.points[i].hold && !script.points[i].stands);
    }
    pthread_mutex_unlock(&script.lock);
}

static void hold(const char *name, bool any, struct zcache_key key)
{
    pthread_mutex_lock(&script.lock);
    struct point *p = point_locked(name);
    REQUIRE(!p->hold && !p->stands);
    p->hold = true;
    p->any_key = any;
    p->key = key;
    pthread_mutex_unlock(&script.lock);
}

void script_hold(const char *point, struct zcache_key key)
{
    hold(point, false, key);
}

void script_hold_any(const char *point)
{
    hold(point, true, (struct zcache_key){0, 0});
}

void script_await(const char *point)
{
    pthread_mutex_lock(&script.lock);
    const struct point *p = point_locked(point);
    AWAIT_LOCKED(p->stands, point);
    pthread_mutex_unlock(&script.lock);
}

bool script_stands(const char *point)
{
    pthread_mutex_lock(&script.lock);
    const bool stands = point_locked(point)->stands;
    pthread_mutex_unlock(&script.lock);
    return stands;
}

void script_release(const char *point)
{
    pthread_mutex_lock(&script.lock);
    struct point *p = point_locked(point);
    REQUIRE(p->hold);
    p->hold = false;
    pthread_cond_broadcast(&script.changed);
    AWAIT_LOCKED(!p->stands, point);
    pthread_mutex_unlock(&script.lock);
}

unsigned script_reached(const char *point)
{
    pthread_mutex_lock(&script.lock);
    const unsigned n = point_locked(point)->reached;
    pthread_mutex_unlock(&script.lock);
    return n;
}

void script_await_reached(const char *point, unsigned n)
{
    pthread_mutex_lock(&script.lock);
    const struct point *p = point_locked(point);
    AWAIT_LOCKED(p->reached >= n, point);
    pthread_mutex_unlock(&script.lock);
}

static void *thread_main(void *arg)
{
    struct script_thread *thread = arg;

    thread->fn(thread->arg);
    atomic_store(&thread->done, true);
    return NULL;
}

void script_start(struct script_thread *thread, void (*fn)(void *arg), void *arg)
{
    *thread = (struct script_thread){.fn = fn, .arg = arg};
    REQUIRE_EQUAL(pthread_create(&thread->id, NULL, thread_main, thread), 0);
}

bool script_running(const struct script_thread *thread)
{
    return !atomic_load(&thread->done);
}

void script_join(struct script_thread *thread)
{
    REQUIRE_EQUAL(pthread_join(thread->id, NULL), 0);
}
