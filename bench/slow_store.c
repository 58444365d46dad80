/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The batches in flight are a ring in the order of submission, which is the order of completion,
 * since all take the same time.
 */
#include "slow_store.h"
#include "fail.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#define SECOND_NS UINT64_C(1000000000)

struct flight {
    uint64_t token;
    uint64_t due_ns;
};

struct slow_store {
    struct zcache_store callbacks;
    uint64_t delay_ns;
    slow_store_done_fn *done;
    void *ctx;
    pthread_t thread;

    pthread_mutex_t lock;
    pthread_cond_t bell; /* of the thread: there is a batch, or the end */
    struct flight *ring;
    unsigned size;
    unsigned first;
    unsigned n;
    bool closing;
};

static uint64_t now_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

/* The first batch in flight, once it is due; false at the end. */
static bool next_due(struct slow_store *s, uint64_t *token_out)
{
    bool found = false;

    pthread_mutex_lock(&s->lock);
    while (!found && !(s->closing && s->n == 0)) {
        const struct flight *f = &s->ring[s->first];

        if (s->n == 0) {
            (void)pthread_cond_wait(&s->bell, &s->lock);
        } else if (f->due_ns > now_ns()) {
            const struct timespec due = {.tv_sec = (time_t)(f->due_ns / SECOND_NS),
                                         .tv_nsec = (long)(f->due_ns % SECOND_NS)};

            (void)pthread_cond_timedwait(&s->bell, &s->lock, &due);
        } else {
            *token_out = f->token;
            s->first = (s->first + 1) % s->size;
            s->n--;
            found = true;
        }
    }
    pthread_mutex_unlock(&s->lock);
    return found;
}

static void *timer_thread(void *arg)
{
    struct slow_store *s = arg;
    uint64_t token;

    (void)prctl(PR_SET_TIMERSLACK, 1UL); /* otherwise the system adds up to 50 us to each wait */
    while (next_due(s, &token)) {
        s->done(s->ctx, token);
    }
    return NULL;
}

void slow_store_submit(struct slow_store *s, uint64_t token)
{
    bool first;

    pthread_mutex_lock(&s->lock);
    if (s->n == s->size) {
        fail("the slow store got more than %u batches at one time", s->size);
    }
    s->ring[(s->first + s->n) % s->size] =
        (struct flight){.token = token, .due_ns = now_ns() + s->delay_ns};
    first = s->n++ == 0;
    pthread_mutex_unlock(&s->lock);
    if (first) {
        (void)pthread_cond_signal(&s->bell);
    }
}

static int write_callback(void *ctx, struct zcache_io *io)
{
    slow_store_submit(ctx, io->token);
    return ZCACHE_PENDING;
}

struct slow_store *slow_store_open(uint64_t delay_ns,
                                   unsigned batches,
                                   slow_store_done_fn *done,
                                   void *ctx)
{
    struct slow_store *s = must_alloc(sizeof *s);
    pthread_condattr_t attr;

    *s = (struct slow_store){.callbacks = ZCACHE_STORE_INIT,
                             .delay_ns = delay_ns,
                             .done = done,
                             .ctx = ctx,
                             .ring = must_alloc(batches * sizeof *s->ring),
                             .size = batches};
    s->callbacks.ctx = s;
    s->callbacks.write = write_callback;
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->bell, &attr);
    (void)pthread_condattr_destroy(&attr);
    if (pthread_create(&s->thread, NULL, timer_thread, s) != 0) {
        fail("cannot start a thread");
    }
    return s;
}

void slow_store_close(struct slow_store *s)
{
    pthread_mutex_lock(&s->lock);
    s->closing = true;
    pthread_mutex_unlock(&s->lock);
    (void)pthread_cond_signal(&s->bell);
    (void)pthread_join(s->thread, NULL);
    (void)pthread_cond_destroy(&s->bell);
    (void)pthread_mutex_destroy(&s->lock);
    free(s->ring);
    free(s);
}

const struct zcache_store *slow_store_callbacks(const struct slow_store *s)
{
    return &s->callbacks;
}
