/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * train.c - learns dictionaries from the pages that go to the dense tier.
 *
 *      demotions --note--> learner --sample--> READY --thread--> train, compare, keep or refuse
 *                             ^                                             |
 *                             `-------------- ratio fell <--- dictionary <--'
 *
 * Who learns.  A tenant learns for itself once so many bytes of it were demoted that a dictionary of its own
 * may pay; before that its pages count for its parent.  So small tenants share what the nearest larger
 * ancestor has learnt from all of them.  A tenant encodes with its own dictionary, or with that of the
 * nearest ancestor that has one.
 *
 * Sample.  One at a time in a cache, of one learner: every page that is demoted until the room is full, then,
 * each time it is full, every second one is dropped and half as many are taken from then on.  So it is even
 * over all that was seen.  The first is over when three times its room has been seen, so that there is a
 * dictionary soon; each later one of a learner takes twice as long, up to 16 times: what comes together
 * is alike, and if the ratio fell the sample was taken of too little.  Whoever demotes copies the page,
 * 0.3 us for 4 KiB beside 20 us of compression, and passes by if another thread is at it.
 *
 * Training is one call of the codec's library which cannot be divided: 70 ms of CPU for 112 KiB of dictionary.  So it has a
 * thread, started by the shrinker when the first sample is ready, and rests after it for 19 times the
 * CPU time it took.
 *
 * Choice.  One page of eight in the sample is held out.  On these the new dictionary is compared with none
 * and with the one in use.  It is kept if it saves 5 % of the bytes against both.  If the one in use saves less
 * than 1 % against none, none is used from then on.  What was chosen is expected to go on so: when as many pages as
 * the next sample is of take an eighth more than expected, a new sample is taken.  After a training that changed
 * nothing it takes twice as many pages as before until the next.
 *
 * Memory.  Sample, dictionaries and prepared forms are metadata of the cache, charged to the root.  So is
 * what the library takes from the system for itself, by an estimate that is above it.  If there is no room for any of it, the
 * training is given up, and tried again when more was demoted.  Dictionaries and their forms stay below a sixteenth of
 * the capacity; a sample is at most a thirty-second of it, and the library takes 1.5 MiB and up to a
 * sixty-fourth while it trains.
 *
 * Locks: train.lock (leaf).
 */
#include "train.h"

#include <errno.h>
#include <string.h>

#include "fault.h"
#include "mathx.h"
#include "sync_point.h"

#define CAPACITY_SHARE 512u                 /* of the capacity is the largest dictionary */
#define BYTES_MIN      (UINT64_C(16) << 10) /* a smaller dictionary is not worth it */
#define ALL_SHARE      16u                  /* of the capacity is for dictionaries */
#define PREPARED_TIMES 8u                   /* a dictionary and its forms, of its bytes, at most */
#define SAMPLE_TIMES   24u                  /* bytes of a sample, of the dictionary's */
#define SAMPLE_SHARE   32u                  /* of the capacity, at most */
#define SEEN_TIMES     3u                   /* bytes seen for a sample, of its bytes */
#define OWN_TIMES      4u                   /* of that: when a tenant learns for itself */
#define PAGE_MIN       256u                 /* shorter pages are in no sample */
#define PAGE_USUAL     1024u                /* most pages in a sample: its room by this */
#define PAGES_MIN      24u
#define HELD_OUT       8u /* one page of so many */
#define ACCURACY_MAX   20u
#define ACCURACY_MIN   16u
#define SCRATCH_SHARE  64u
#define GAIN_PERCENT   5u
#define KEEP_PERCENT   1u
#define WORSE          8u  /* a new sample when pages take this part more than expected */
#define REST_TIMES     19u /* the CPU time of a training */
#define REFUSED_MAX    10u
#define SPREAD_MAX     4u
#define STALE_NS       UINT64_C(1000000000)  /* a sample that did not grow for so long makes way */
#define DROP_NS        UINT64_C(10000000000) /* and for so long gives its room back */
#define NEVER          UINT64_MAX
#define UNIT           65536u

enum state {
    IDLE,       /* no sample */
    COLLECTING, /* of one learner */
    READY,      /* for the thread */
    TRAINING    /* the thread has it */
};

struct sample {
    struct zcache_tenant *tenant;
    uint64_t id; /* the tenant's: its record may be another's by now */
    char *bytes; /* room for train->room and train->held_room */
    size_t *len; /* of each page; room for twice as many */
    size_t n;
    size_t used;
    uint64_t seen;
    uint64_t target; /* bytes to see */
    unsigned shift;  /* one page of 2^shift is taken */
    uint64_t grown_ns;
};

struct zc_train {
    struct zcache *cache;
    /* set once */
    size_t dict_bytes;
    size_t room; /* bytes of a sample */
    size_t held_room;
    size_t pages_max;
    uint64_t window_bytes;
    uint64_t own_bytes;
    unsigned accuracy;
    unsigned rest_times;
    struct zc_lock lock;
    struct zc_cond cond;
    /* under lock */
    enum state state;
    struct sample sample;
    uint64_t random;
    unsigned pauses;
    bool running;
    bool stop;
    bool started;
    uint64_t rest_ns; /* no training before */
    /* the shrinker, and who stops it */
    pthread_t id;
    /* atomic */
    _Atomic uint32_t stopping; /* as stop, to be read without the lock */
    _Atomic uint32_t work; /* the shrinker is to look: a sample is ready and there is no thread */
};

/* ---- lifetime --------------------------------------------------------------------------------------- */

static unsigned accuracy_for(uint64_t capacity)
{
    unsigned accuracy = ACCURACY_MAX;

    while (accuracy > ACCURACY_MIN && (UINT64_C(6) << accuracy) > capacity / SCRATCH_SHARE) {
        accuracy--;
    }
    return accuracy;
}

int zc_train_create(struct zcache *cache)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_DICT);
    uint64_t capacity = cache->opt.capacity_bytes;
    uint64_t bytes = ZC_MIN(cache->opt.dictionary_bytes, capacity / CAPACITY_SHARE);
    struct zc_train *train;

    if (bytes < BYTES_MIN) {
        return 0;
    }
    train = mem->alloc(mem->ctx, sizeof(*train));
    if (train == NULL) {
        return -ENOMEM;
    }
    train->cache = cache;
    train->dict_bytes = bytes;
    train->room = ZC_MIN(bytes * SAMPLE_TIMES, capacity / SAMPLE_SHARE);
    train->room = ZC_MAX(train->room, (size_t)cache->opt.page_max_bytes);
    train->held_room = train->room / (HELD_OUT - 2);
    train->pages_max = train->room / PAGE_USUAL;
    train->window_bytes = train->room * SEEN_TIMES;
    train->own_bytes = train->window_bytes * OWN_TIMES;
    train->accuracy = accuracy_for(capacity);
    train->rest_times = REST_TIMES;
    train->random = UINT64_C(0x9e3779b97f4a7c15);
    zc_lock_init(&train->lock, ZC_RANK_leaf);
    zc_cond_init(&train->cond);
    cache->train = train;
    return 0;
}

static void free_sample(struct zc_train *train, struct sample *s)
{
    const struct zc_mem *mem = zc_core_mem(train->cache, ZC_MEM_DICT);

    mem->free(mem->ctx, s->bytes, train->room + train->held_room);
    mem->free(mem->ctx, s->len, 2 * train->pages_max * sizeof(*s->len));
    *s = (struct sample){0};
}

void zc_train_stop(struct zcache *cache)
{
    struct zc_train *train = cache->train;
    bool started;

    if (train == NULL) {
        return;
    }
    zc_lock_acquire(&train->lock);
    train->stop = true;
    atomic_store(&train->stopping, 1);
    started = train->started;
    train->started = false;
    zc_cond_broadcast(&train->cond);
    zc_lock_release(&train->lock);
    if (started) {
        (void)pthread_join(train->id, NULL);
    }
}

void zc_train_destroy(struct zcache *cache)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_DICT);
    struct zc_train *train = cache->train;

    if (train == NULL) {
        return;
    }
    free_sample(train, &train->sample);
    zc_cond_fini(&train->cond);
    zc_lock_fini(&train->lock);
    cache->train = NULL;
    mem->free(mem->ctx, train, sizeof(*train));
}

#ifdef ZCACHE_TEST_HOOKS
void zc_train_hurry(struct zcache *cache)
{
    cache->train->rest_times = 0;
}

bool zc_train_busy(struct zcache *cache)
{
    struct zc_train *train = cache->train;
    bool busy;

    zc_lock_acquire(&train->lock);
    busy = train->state == READY || train->state == TRAINING;
    zc_lock_release(&train->lock);
    return busy;
}
#endif

void zc_train_pause(struct zcache *cache)
{
    struct zc_train *train = cache->train;

    if (train == NULL) {
        return;
    }
    zc_lock_acquire(&train->lock);
    train->pauses++;
    while (train->running) {
        (void)zc_cond_wait(&train->cond, &train->lock, UINT64_MAX);
    }
    zc_lock_release(&train->lock);
}

void zc_train_resume(struct zcache *cache)
{
    struct zc_train *train = cache->train;

    if (train == NULL) {
        return;
    }
    zc_lock_acquire(&train->lock);
    train->pauses--;
    zc_cond_broadcast(&train->cond);
    zc_lock_release(&train->lock);
}

/* ---- encoding --------------------------------------------------------------------------------------- */

/* The dictionary that @t encodes with; in a section. */
static struct zc_dict *current(struct zcache_tenant *t)
{
    for (; t != NULL; t = t->parent) {
        struct zc_dict *dict = atomic_load_explicit(&t->learn.dict, memory_order_acquire);

        if (dict != NULL) {
            return dict;
        }
        if (atomic_load_explicit(&t->learn.plain, memory_order_relaxed) != 0) {
            return NULL;
        }
    }
    return NULL;
}

struct zc_dict *zc_train_dictionary(struct zcache_tenant *t,
                                    struct zc_thread *th,
                                    uint8_t codec,
                                    size_t len)
{
    struct zc_dict *dict;

    if (t->cache->train == NULL) {
        return NULL;
    }
    zc_epoch_enter(th->epoch);
    dict = current(t);
    if (dict != NULL && (!zc_dict_usable(dict, codec, len) || !zc_dict_try_ref(dict))) {
        dict = NULL;
    }
    zc_epoch_exit(th->epoch);
    return dict;
}

void zc_train_unref(struct zcache *cache, struct zc_dict *dict)
{
    if (dict != NULL && zc_dict_unref(dict)) {
        zc_core_dict_over(cache);
    }
}

/* ---- sampling --------------------------------------------------------------------------------------- */

static uint64_t next_random(struct zc_train *train)
{
    train->random ^= train->random << 13;
    train->random ^= train->random >> 7;
    train->random ^= train->random << 17;
    return train->random;
}

/* Every second page goes. */
static void thin(struct sample *s)
{
    size_t from = 0;
    size_t to = 0;
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++) {
        if (i % 2 == 0) {
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
    struct sample *s = &train->sample;

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

/* Bytes that a sample of a learner is taken of, and that its ratio is looked at over. */
static uint64_t window_of(const struct zc_train *train, const struct zc_learn *l)
{
    return train->window_bytes << atomic_load_explicit(&l->spread, memory_order_relaxed);
}

static void become_learner_locked(struct zc_train *train, struct zcache_tenant *t)
    ZC_REQUIRES(train->lock)
{
    struct sample *s = &train->sample;

    *s = (struct sample){.tenant = t,
                         .id = t->id,
                         .bytes = s->bytes,
                         .len = s->len,
                         .target = window_of(train, &t->learn),
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
    const struct sample *s = &train->sample;

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
    if (!make_room(train)) {
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
    if (raw < window_of(train, l)) {
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

/* ---- training --------------------------------------------------------------------------------------- */

/* Bytes of the held-out pages, encoded in three ways. */
struct outcome {
    uint64_t raw;
    uint64_t plain;
    uint64_t current;
    uint64_t fresh;
};

struct training {
    struct zc_train *train;
    struct zc_thread *th;
    struct sample *s;
    uint8_t codec;
    size_t n;         /* pages to train with */
    const char *held; /* the others, one after the other */
    const size_t *held_len;
    size_t n_held;
    const struct zc_codec_dict_impl *impl;
    struct zc_dict *current; /* referenced; NULL */
    struct zc_dict *fresh;
};

static bool stopping(const struct zc_train *train)
{
    return atomic_load_explicit(&train->stopping, memory_order_relaxed) != 0;
}

/* The tenant of the sample, entered; NULL if it is gone. */
static struct zcache_tenant *enter(const struct sample *s)
{
    if (zc_tenant_enter(s->tenant) != 0) {
        return NULL;
    }
    if (s->tenant->id != s->id) {
        zc_tenant_leave(s->tenant);
        return NULL;
    }
    return s->tenant;
}

/* One page of eight goes behind the room; the others close up. */
static void hold_out(struct training *g)
{
    struct sample *s = g->s;
    char *held = s->bytes + g->train->room;
    size_t *held_len = s->len + g->train->pages_max;
    size_t held_used = 0;
    size_t used = 0;
    size_t from = 0;

    for (size_t i = 0; i < s->n; i++) {
        size_t len = s->len[i];

        if (i % HELD_OUT == HELD_OUT - 1 && held_used + len <= g->train->held_room) {
            (void)memcpy(held + held_used, s->bytes + from, len);
            held_used += len;
            held_len[g->n_held++] = len;
        } else {
            (void)memmove(s->bytes + used, s->bytes + from, len);
            used += len;
            s->len[g->n++] = len;
        }
        from += len;
    }
    s->used = used;
    g->held = held;
    g->held_len = held_len;
}

static uint64_t sample_bytes(const struct zc_train *train)
{
    return train->room + train->held_room + 2 * train->pages_max * sizeof(size_t);
}

/* Room for what the codec's library takes from the system.  0: refused. */
static uint64_t charge_scratch(const struct training *g, size_t cap)
{
    struct zcache *cache = g->train->cache;
    uint64_t bytes = g->impl->train_bytes(cap, g->n, g->train->accuracy);
    struct zc_core_mem *m = &cache->mem[ZC_MEM_DICT];

    if (atomic_load(&m->bytes) - sample_bytes(g->train) + cap * PREPARED_TIMES >
            zc_quota_limit(&cache->account) / ALL_SHARE ||
        ZC_FAULT(room) || zc_quota_reserve(&cache->account, bytes, ZC_QUOTA_PUT) != NULL) {
        return 0;
    }
    atomic_fetch_add_explicit(&m->bytes, bytes, memory_order_relaxed);
    return bytes;
}

static void refund_scratch(struct zcache *cache, uint64_t bytes)
{
    atomic_fetch_sub_explicit(&cache->mem[ZC_MEM_DICT].bytes, bytes, memory_order_relaxed);
    zc_quota_refund(&cache->account, bytes);
    zc_progress_signal(cache);
}

/* The new dictionary; none if nothing can be learnt from these pages.  0; -ENOMEM. */
static int make_dictionary(struct training *g)
{
    struct zcache *cache = g->train->cache;
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_DICT);
    size_t cap = ZC_MIN(g->train->dict_bytes, g->s->used / 4);
    uint64_t scratch;
    void *content;
    size_t len = ZC_CODEC_NO_MEMORY;

    if (g->n < PAGES_MIN || cap < BYTES_MIN / 4) {
        return 0;
    }
    scratch = charge_scratch(g, cap);
    if (scratch == 0) {
        return -ENOMEM;
    }
    content = mem->alloc(mem->ctx, cap);
    if (content != NULL && !ZC_FAULT(train)) {
        len = g->impl->train(zc_codec_level(cache->codecs, g->codec), content, cap, g->s->bytes,
                             g->s->len, g->n, g->train->accuracy);
    }
    refund_scratch(cache, scratch);
    if (len > 0 && len != ZC_CODEC_NO_MEMORY) {
        g->fresh = zc_dict_make(cache->dicts, g->codec, content, len);
    }
    mem->free(mem->ctx, content, cap);
    return g->fresh != NULL || len == 0 ? 0 : -ENOMEM;
}

/* Bytes that a page takes in the dense tier; as it is where that does not help.  0: no memory. */
static size_t dense_bytes(const struct training *g,
                          struct zc_dict *dict,
                          const void *page,
                          size_t len)
{
    struct zcache *cache = g->train->cache;
    void *room = zc_thread_scratch(g->th);
    size_t n;

    if (room == NULL) {
        return 0;
    }
    n = dict == NULL
            ? zc_codec_encode(cache->codecs, &g->th->codecs, g->codec, room, len, page, len)
            : zc_dict_encode(dict, &g->th->codecs, g->codec, room, len, page, len);
    if (n == ZC_CODEC_NO_MEMORY) {
        return 0;
    }
    return n == 0 ? len : n;
}

static int compare(const struct training *g, struct outcome *out)
{
    const char *page = g->held;

    for (size_t i = 0; i < g->n_held; i++) {
        size_t len = g->held_len[i];
        size_t plain = dense_bytes(g, NULL, page, len);
        size_t old = g->current != NULL ? dense_bytes(g, g->current, page, len) : plain;
        size_t fresh = g->fresh != NULL ? dense_bytes(g, g->fresh, page, len) : plain;

        if (plain == 0 || old == 0 || fresh == 0 || stopping(g->train)) {
            return -ENOMEM;
        }
        out->raw += len;
        out->plain += plain;
        out->current += old;
        out->fresh += fresh;
        page += len;
    }
    return 0;
}

static bool saves(uint64_t bytes, uint64_t than, unsigned percent)
{
    return zc_mul_div(bytes, 100, 100 - percent) <= than;
}

static void replace(struct zcache_tenant *t, struct zc_dict *dict)
{
    struct zc_dict *old = atomic_exchange(&t->learn.dict, dict);

    if (old != NULL) {
        zc_stat_add(t->stat, ZC_C_dict_retired, 1);
        if (zc_dict_give_up(old)) {
            zc_core_dict_over(t->cache);
        }
    }
}

/* What @t encodes with from now on.  Return: bytes of the held-out pages with it. */
static uint64_t choose(struct zcache_tenant *t, struct training *g, const struct outcome *o)
{
    struct zc_learn *l = &t->learn;

    if (saves(o->fresh, ZC_MIN(o->plain, o->current), GAIN_PERCENT) &&
        zc_dict_publish(g->fresh) == 0) {
        replace(t, g->fresh);
        atomic_store(&l->plain, 0);
        atomic_store(&l->refused, 0);
        zc_stat_add(t->stat, ZC_C_dict_kept, 1);
        g->fresh = NULL;
        return o->fresh;
    }
    zc_stat_add(t->stat, ZC_C_dict_refused, 1);
    atomic_store(&l->refused, ZC_MIN(atomic_load(&l->refused) + 1, REFUSED_MAX));
    if (g->current != NULL && saves(o->current, o->plain, KEEP_PERCENT)) {
        return o->current;
    }
    atomic_store(&l->plain, 1);
    replace(t, NULL);
    return o->plain;
}

/* When the next sample is taken: without a dictionary some time, with one when it fits no more. */
static void plan(const struct zc_train *train,
                 struct zcache_tenant *t,
                 uint64_t bytes,
                 uint64_t raw)
{
    struct zc_learn *l = &t->learn;
    uint64_t again =
        atomic_load(&l->seen_bytes) + (train->window_bytes << atomic_load(&l->refused));

    atomic_store(&l->spread, ZC_MIN(atomic_load(&l->spread) + 1, SPREAD_MAX));
    atomic_store(&l->raw_bytes, 0);
    atomic_store(&l->stored_bytes, 0);
    atomic_store(&l->again_bytes, again);
    atomic_store(&l->expected, ZC_MAX(zc_mul_div(bytes, UNIT, ZC_MAX(raw, 1)), 1));
    atomic_store(&l->due_bytes, atomic_load(&l->plain) != 0 ? again : NEVER);
}

static void later(const struct zc_train *train, struct zcache_tenant *t)
{
    atomic_store(&t->learn.due_bytes, atomic_load(&t->learn.seen_bytes) + train->window_bytes);
}

static void fail(const struct zc_train *train, struct zcache_tenant *t)
{
    zc_stat_add(t->stat, ZC_C_dict_failures, 1);
    later(train, t);
}

static void conclude(struct zcache_tenant *t, struct training *g, const struct outcome *o, int rc)
{
    if (rc == 0) {
        uint64_t bytes = choose(t, g, o);

        zc_stat_add(t->stat, ZC_C_dict_trainings, 1);
        plan(g->train, t, bytes, o->raw);
        zc_core_log(
            t->cache, ZCACHE_LOG_INFO, "dictionary",
            "tenant %s: of %llu bytes, %llu without a dictionary, %llu with the one in use, "
            "%llu with a new one",
            t->name, (unsigned long long)o->raw, (unsigned long long)o->plain,
            (unsigned long long)o->current, (unsigned long long)o->fresh);
    } else {
        fail(g->train, t);
    }
}

static void begin(struct training *g, struct zcache_tenant *t)
{
    struct zcache *cache = g->train->cache;

    g->codec = atomic_load(&cache->codec[ZCACHE_TIER_DENSE]);
    g->impl = zc_codec_dicts(cache->codecs, g->codec);
    if (g->impl != NULL) {
        g->current = zc_train_dictionary(t, g->th, g->codec, 1);
    }
}

/* The tenant is entered at the beginning and at the end only: its close does not wait for a training. */
static void train_once(struct zc_train *train, struct zc_thread *th)
{
    struct training g = {.train = train, .th = th, .s = &train->sample};
    struct outcome o = {0, 0, 0, 0};
    struct zcache_tenant *t = enter(g.s);
    int rc;

    if (t == NULL) {
        return;
    }
    if (th == NULL) {
        fail(train, t);
        zc_tenant_leave(t);
        return;
    }
    begin(&g, t);
    zc_tenant_leave(t);
    hold_out(&g);
    rc = g.impl != NULL ? make_dictionary(&g) : -ENOTSUP;
    ZC_SYNC_POINT("train.made", ((struct zcache_key){g.s->tenant->slot, 0}));
    if (rc == 0) {
        rc = compare(&g, &o);
    }
    t = enter(g.s);
    if (t != NULL) {
        conclude(t, &g, &o, rc);
        zc_tenant_leave(t);
    }
    zc_dict_discard(g.fresh);
    zc_train_unref(train->cache, g.current);
}

/* ---- thread ----------------------------------------------------------------------------------------- */

static bool may_train_locked(const struct zc_train *train, uint64_t *deadline_out)
    ZC_REQUIRES(train->lock)
{
    *deadline_out = UINT64_MAX;
    if (train->state != READY || train->pauses > 0) {
        return false;
    }
    *deadline_out = train->rest_ns;
    return zc_plat_now_ns() >= train->rest_ns;
}

/* Until there is something to do.  False: to stop. */
static bool wait_for_sample(struct zc_train *train)
{
    uint64_t deadline;
    bool go;

    zc_lock_acquire(&train->lock);
    while (!train->stop && !may_train_locked(train, &deadline)) {
        (void)zc_cond_wait(&train->cond, &train->lock, deadline);
    }
    go = !train->stop;
    if (go) {
        train->state = TRAINING;
        train->running = true;
    }
    zc_lock_release(&train->lock);
    return go;
}

static void end_training(struct zc_train *train, uint64_t cpu_ns)
{
    struct sample s;

    zc_lock_acquire(&train->lock);
    s = train->sample;
    train->sample = (struct sample){0};
    zc_lock_release(&train->lock);
    free_sample(train, &s);
    zc_lock_acquire(&train->lock);
    train->state = IDLE;
    train->running = false;
    train->rest_ns = zc_plat_now_ns() + cpu_ns * train->rest_times;
    zc_cond_broadcast(&train->cond);
    zc_lock_release(&train->lock);
}

static void *train_main(void *arg)
{
    struct zc_train *train = arg;

    zc_plat_thread_setup("zcache-train");
    while (wait_for_sample(train)) {
        struct zc_thread *th = zc_core_thread(train->cache);
        uint64_t cpu_ns = zc_plat_thread_cpu_ns();

        train_once(train, th);
        end_training(train, zc_plat_thread_cpu_ns() - cpu_ns);
    }
    return NULL;
}

static void start(struct zc_train *train)
{
    bool wanted;

    zc_lock_acquire(&train->lock);
    wanted = train->state == READY && !train->started && !train->stop;
    zc_lock_release(&train->lock);
    if (!wanted) {
        return;
    }
    if (ZC_FAULT(thread) || pthread_create(&train->id, NULL, train_main, train) != 0) {
        atomic_store(&train->work, 1); /* the sample waits for the next round */
        return;
    }
    zc_lock_acquire(&train->lock);
    train->started = true;
    zc_lock_release(&train->lock);
}

/* The room of a sample that has not grown for long. */
static void drop_stale(struct zc_train *train)
{
    struct sample s = {0};

    zc_lock_acquire(&train->lock);
    if (train->state == COLLECTING && zc_plat_now_ns() > train->sample.grown_ns + DROP_NS) {
        s = train->sample;
        train->sample = (struct sample){0};
        train->state = IDLE;
    }
    zc_lock_release(&train->lock);
    free_sample(train, &s);
}

void zc_train_work(struct zcache *cache, struct zc_thread *th)
{
    if (cache->train == NULL) {
        return;
    }
    if (atomic_exchange(&cache->train->work, 0) != 0) {
        start(cache->train);
    }
    drop_stale(cache->train);
    if (atomic_exchange(&cache->dicts_over, 0) != 0) {
        (void)zc_dicts_reap(cache->dicts, th->epoch);
    }
}
