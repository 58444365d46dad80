/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * train_choose.c - one training: hold out, train, compare, keep or refuse.
 *
 * Choice.  One page of eight in the sample is held out.  On these the new dictionary is compared with none
 * and with the one in use.  It is kept if it saves 5 % of the bytes against both.  If the one in use saves less
 * than 1 % against none, none is used from then on.  What was chosen is expected to go on so: when as many pages as
 * the next sample is of take an eighth more than expected, a new sample is taken.  After a training that changed
 * nothing it takes twice as many pages as before until the next.
 *
 * Locks: none; the sample is the thread's while it trains.
 */
#include "train_impl.h"

#include <errno.h>
#include <string.h>

#include "fault.h"
#include "sync_point.h"

#define BYTES_MIN      (UINT64_C(4) << 10) /* that a dictionary is trained to at least */
#define ALL_SHARE      16u                 /* of the capacity is for dictionaries */
#define PREPARED_TIMES 8u                  /* a dictionary and its forms, of its bytes, at most */
#define PAGES_MIN      24u
#define GAIN_PERCENT   5u
#define KEEP_PERCENT   1u
#define REFUSED_MAX    10u
#define SPREAD_MAX     4u
#define UNIT           65536u
#define ROOM_MS        500u /* that a training waits for room in a cache that is full */
#define RETRY_MS       5u

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
    struct zc_sample *s;
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
static struct zcache_tenant *enter(const struct zc_sample *s)
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

static void later(const struct zc_train *train, struct zcache_tenant *t)
{
    atomic_store(&t->learn.due_bytes, atomic_load(&t->learn.seen_bytes) + train->window_bytes);
}

static void fail(const struct zc_train *train, struct zcache_tenant *t)
{
    zc_stat_add(t->stat, ZC_C_dict_failures, 1);
    later(train, t);
}

void zc_train_give_up(const struct zc_train *train, const struct zc_sample *s)
{
    struct zcache_tenant *t = enter(s);

    if (t != NULL) {
        fail(train, t);
        zc_tenant_leave(t);
    }
}

/* One page of eight goes behind the room; the others close up. */
static void hold_out(struct training *g)
{
    struct zc_sample *s = g->s;
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

/*
 * In a cache that is full it comes a little at a time.  @more is for what comes after it.  Whoever is about
 * to be refused goes first.
 */
static bool wait_for_room(struct zc_train *train, uint64_t bytes, uint64_t more)
{
    struct zcache *cache = train->cache;
    uint64_t deadline = zc_plat_deadline_ns(ROOM_MS);
    uint64_t seq;
    bool enough;

    if (zc_quota_reserve(&cache->account, bytes, ZC_QUOTA_PUT) == NULL) {
        return true;
    }
    seq = zc_progress_begin(cache, ZC_FOR_ROOM);
    ZC_SYNC_POINT("train.waits", ((struct zcache_key){0, 0}));
    while (!(enough = zc_core_save_up(cache, bytes + more)) && zc_plat_now_ns() < deadline &&
           zc_core_may_save(cache) && !stopping(train)) {
        (void)zc_progress_wait(cache, ZC_FOR_ROOM, &seq,
                               ZC_MIN(deadline, zc_plat_deadline_ns(RETRY_MS)));
    }
    zc_progress_end(cache, ZC_FOR_ROOM);
    return enough && zc_core_take_saved(cache, bytes);
}

/* Room for what the codec's library takes from the system.  0: refused. */
static uint64_t charge_scratch(const struct training *g, size_t cap)
{
    struct zcache *cache = g->train->cache;
    uint64_t bytes = g->impl->train_bytes(cap, g->n, g->train->accuracy);
    struct zc_core_mem *m = &cache->mem[ZC_MEM_DICT];

    if (atomic_load(&m->bytes) - zc_train_sample_bytes(g->train) + cap * PREPARED_TIMES >
            zc_quota_limit(&cache->account) / ALL_SHARE ||
        ZC_FAULT(room) || !wait_for_room(g->train, bytes, cap * PREPARED_TIMES)) {
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

    if (g->n < PAGES_MIN || cap < BYTES_MIN) {
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

    if (g->fresh != NULL && saves(o->fresh, ZC_MIN(o->plain, o->current), GAIN_PERCENT) &&
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
void zc_train_once(struct zc_train *train, struct zc_thread *th)
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
