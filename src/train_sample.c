/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * train_sample.c - which pages a dictionary is trained with, and when it is time for another.
 *
 * Sample.  One at a time in a cache, of one learner: every page that is demoted until the room is full, then,
 * each time it is full, every second one is dropped and half as many are taken from then on.  So it is even
 * over all that was seen.  The first is over when three times its room has been seen, so that there is a
 * dictionary soon; each later one of a learner takes twice as long, up to 16 times: what comes together
 * is alike, and if the ratio fell the sample was taken of too little.  Whoever demotes copies the page,
 * 0.3 us for 4 KiB beside 20 us of compression, and passes by if another thread is at it.
 *
 * Locks: train.lock (leaf), tried only; not while room is made.
 */
#include "train_impl.h"

#include <string.h>

#define PAGE_MIN 256u /* shorter pages are in no sample */
#define WORSE    8u   /* a new sample when pages take this part more than expected */
#define UNIT     65536u
#define STALE_NS UINT64_C(1000000000)  /* a sample that did not grow for so long makes way */
#define DROP_NS  UINT64_C(10000000000) /* and for so long gives its room back */

void zc_train_free_sample(struct zc_train *train, struct zc_sample *s)
{
    const struct zc_mem *mem = zc_core_mem(train->cache, ZC_MEM_DICT);

    mem->free(mem->ctx, s->bytes, train->room + train->held_room);
    mem->free(mem->ctx, s->len, 2 * train->pages_max * sizeof(*s->len));
    *s = (struct zc_sample){0};
}

static uint64_t next_random(struct zc_train *train)
{
    train->random ^= train->random << 13;
    train->random ^= train->random >> 7;
    train->random ^= train->random << 17;
    return train->random;
}

/* Every second page goes, the first one too: at last there is none, however large they are. */
static void thin(struct zc_sample *s)
{
    size_t from = 0;
    size_t to = 0;
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++) {
        if (i % 2 == 1) {
            (void)memmove(s->bytes + to, s->bytes + from, s->len[i]);
            to += s->len[i];
            from += s->len[i];
            s->len[n++] = s->len[i];
        } else {
            from += s->len[i];
        }
    }
    s->n = n;
    s->used = to;
    s->shift++;
}

static void take_locked(struct zc_train *train, const void *page, size_t len)
    ZC_REQUIRES(train->lock)
{
    struct zc_sample *s = &train->sample;

    s->seen += len;
    if ((next_random(train) >> 32 & ((UINT64_C(1) << s->shift) - 1)) == 0) {
        while (s->n > 0 && (s->used + len > train->room || s->n == train->pages_max)) {
            thin(s);
        }
        (void)memcpy(s->bytes + s->used, page, len);
        s->len[s->n++] = len;
        s->used += len;
        s->grown_ns = zc_plat_now_ns();
    }
    if (s->seen >= s->target) {
        train->state = READY;
        atomic_store(&train->work, 1);
        zc_cond_broadcast(&train->cond);
    }
}

static void become_learner_locked(struct zc_train *train, struct zcache_tenant *t)
    ZC_REQUIRES(train->lock)
{
    struct zc_sample *s = &train->sample;

    *s = (struct zc_sample){.tenant = t,
                            .id = t->id,
                            .bytes = s->bytes,
                            .len = s->len,
                            .target = zc_train_window(train, &t->learn),
                            .grown_ns = zc_plat_now_ns()};
    train->state = COLLECTING;
}

/* Room for a sample.  False: not now. */
static bool make_room(struct zc_train *train)
{
    const struct zc_mem *mem = zc_core_mem(train->cache, ZC_MEM_DICT);
    char *bytes = mem->alloc(mem->ctx, train->room + train->held_room);
    size_t *len = mem->alloc(mem->ctx, 2 * train->pages_max * sizeof(*len));
    bool ok = bytes != NULL && len != NULL;

    zc_lock_acquire(&train->lock);
    ok = ok && train->sample.bytes == NULL && train->state == IDLE && !train->stop;
    if (ok) {
        train->sample.bytes = bytes;
        train->sample.len = len;
    }
    zc_lock_release(&train->lock);
    if (!ok) {
        mem->free(mem->ctx, bytes, train->room + train->held_room);
        mem->free(mem->ctx, len, 2 * train->pages_max * sizeof(*len));
    }
    return ok;
}

/* Whether @t is the learner, or becomes it. */
static bool is_learner_locked(struct zc_train *train, struct zcache_tenant *t)
    ZC_REQUIRES(train->lock)
{
    const struct zc_sample *s = &train->sample;

    if (train->state == COLLECTING && s->tenant == t && s->id == t->id) {
        return true;
    }
    if (train->state == IDLE ||
        (train->state == COLLECTING && zc_plat_now_ns() > s->grown_ns + STALE_NS)) {
        become_learner_locked(train, t);
        return true;
    }
    return false;
}

/* False: there is no room for a sample yet. */
static bool offer(struct zc_train *train, struct zcache_tenant *t, const void *page, size_t len)
{
    bool room = true;
    bool ready = false;

    if (!zc_lock_try(&train->lock)) {
        return true; /* another thread is at it: a page more or less */
    }
    room = train->state != IDLE || train->sample.bytes != NULL;
    if (room && is_learner_locked(train, t)) {
        take_locked(train, page, len);
        ready = train->state == READY;
    }
    zc_lock_release(&train->lock);
    if (ready) {
        zc_bell_ring(train->cache, ZC_BELL_DICT);
    }
    return room;
}

static void sample(struct zc_train *train, struct zcache_tenant *t, const void *page, size_t len)
{
    if (len < PAGE_MIN || len > train->room || offer(train, t, page, len)) {
        return;
    }
    if (!zc_core_may_save(train->cache)) {
        return;
    }
    if (!make_room(train)) {
        if (!zc_core_save_up(train->cache, zc_train_sample_bytes(train))) {
            return; /* the cache is full: with the next pages there will be room */
        }
        zc_stat_add(t->stat, ZC_C_dict_failures, 1);
        atomic_store(&t->learn.due_bytes,
                     atomic_load(&t->learn.seen_bytes) + train->window_bytes / SEEN_TIMES);
        return;
    }
    (void)offer(train, t, page, len);
}

/* Who learns from a page of @t; counts its bytes for all who did not learn enough by themselves. */
static struct zcache_tenant *learner_of(const struct zc_train *train,
                                        struct zcache_tenant *t,
                                        size_t len)
{
    for (;; t = t->parent) {
        uint64_t seen =
            atomic_fetch_add_explicit(&t->learn.seen_bytes, len, memory_order_relaxed) + len;

        if (t->parent == NULL || seen >= train->own_bytes ||
            atomic_load_explicit(&t->learn.dict, memory_order_relaxed) != NULL ||
            atomic_load_explicit(&t->learn.plain, memory_order_relaxed) != 0) {
            return t;
        }
    }
}

/* Threads may look at the same time; a window more or less makes no difference. */
static void look_at_ratio(const struct zc_train *train,
                          struct zc_learn *l,
                          size_t len,
                          size_t stored)
{
    uint64_t raw = atomic_fetch_add_explicit(&l->raw_bytes, len, memory_order_relaxed) + len;
    uint64_t expected = atomic_load_explicit(&l->expected, memory_order_relaxed);
    uint64_t all;

    all = atomic_fetch_add_explicit(&l->stored_bytes, stored, memory_order_relaxed) + stored;
    if (raw < zc_train_window(train, l)) {
        return;
    }
    atomic_store_explicit(&l->raw_bytes, 0, memory_order_relaxed);
    atomic_store_explicit(&l->stored_bytes, 0, memory_order_relaxed);
    if (expected != 0 && zc_mul_div(all, UNIT, raw) > expected + expected / WORSE &&
        atomic_load_explicit(&l->due_bytes, memory_order_relaxed) == NEVER) {
        atomic_store_explicit(&l->due_bytes,
                              atomic_load_explicit(&l->again_bytes, memory_order_relaxed),
                              memory_order_relaxed);
    }
}

void zc_train_note(struct zcache_tenant *t, const void *page, size_t len, size_t stored)
{
    struct zc_train *train = t->cache->train;
    struct zc_learn *l;

    if (train == NULL) {
        return;
    }
    t = learner_of(train, t, len);
    l = &t->learn;
    look_at_ratio(train, l, len, stored);
    if (atomic_load_explicit(&l->seen_bytes, memory_order_relaxed) >=
        atomic_load_explicit(&l->due_bytes, memory_order_relaxed)) {
        sample(train, t, page, len);
    }
}

void zc_train_drop_stale(struct zc_train *train)
{
    struct zc_sample s = {0};

    zc_lock_acquire(&train->lock);
    if (train->state == COLLECTING && zc_plat_now_ns() > train->sample.grown_ns + DROP_NS) {
        s = train->sample;
        train->sample = (struct zc_sample){0};
        train->state = IDLE;
    }
    zc_lock_release(&train->lock);
    zc_train_free_sample(train, &s);
}
