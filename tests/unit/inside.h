/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For tests that open a cache and then work on its insides: entries by key, isolated pages, memory that
 * is refused, a full account, and a cache that must be sound afterwards.
 */
#ifndef ZC_TESTS_INSIDE_H
#define ZC_TESTS_INSIDE_H

#include "assertion.h"
#include "core.h"
#include "fault.h"
#include "mathx.h"
#include "mem_store.h"
#include "page.h"
#include "shrinker.h"
#include "tenant.h"

#define PLAIN "fast=none,dense=none" /* pages stay raw */

#define PAST  UINT64_C(1) /* a deadline that is over: look, but do not wait */

static inline struct zc_thread *thread_of(struct zcache *cache)
{
    struct zc_thread *th = zc_core_thread(cache);

    REQUIRE(th != NULL);
    return th;
}

static inline struct zc_where where_of(struct zcache_tenant *t, struct zcache_key key)
{
    return zc_page_where(t, thread_of(t->cache), key);
}

/* The record of a key; NULL if there is none. */
static inline struct zc_entry *entry_of(struct zcache_tenant *t, struct zcache_key key)
{
    struct zc_where w = where_of(t, key);
    struct zc_entry *e;

    zc_lock_acquire(&w.shard->lock);
    e = zc_shard_find_locked(w.shard, w.hash, t->slot, key);
    zc_lock_release(&w.shard->lock);
    return e;
}

static inline uint64_t word_of(struct zcache_tenant *t, struct zcache_key key)
{
    return atomic_load(&entry_of(t, key)->payload);
}

static inline struct zc_lru *lru_of(struct zcache_tenant *t, const struct zc_entry *e)
{
    return t->lru[zc_entry_node(e)];
}

/* Takes the page of @key off its list, and leaves the order of the others. */
static inline struct zc_entry *isolate(struct zcache_tenant *t, struct zcache_key key)
{
    struct zc_entry *want = entry_of(t, key);
    struct zc_entry *out[64];
    uint64_t budget = ZC_ARRAY_SIZE(out);
    bool found = false;
    unsigned n;

    REQUIRE(want != NULL);
    n = zc_lru_isolate(lru_of(t, want), zc_lru_list(zc_lru_queue(want), zc_entry_tier(want)), 0,
                       &budget, out, ZC_ARRAY_SIZE(out));
    while (n-- > 0) {
        if (out[n] == want) {
            found = true;
        } else {
            zc_page_putback(t->cache, thread_of(t->cache), out[n], false);
        }
    }
    REQUIRE(found);
    return want;
}

/* Nobody is in a call with the tenant; the shrinker looks in at times. */
static inline void expect_idle(const struct zcache_tenant *t)
{
    zc_shrinker_pause(t->cache);
    assert_int_equal(atomic_load(&t->ops), 0);
    zc_shrinker_resume(t->cache);
}

/* On all lists. */
static inline uint64_t listed_pages(struct zcache_tenant *t)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < t->cache->topo.n_nodes * ZC_LISTS; i++) {
        n += zc_lru_length(t->lru[i / ZC_LISTS], i % ZC_LISTS);
    }
    return n;
}

static inline void set_flags(struct zcache_tenant *t, struct zcache_key key, unsigned flags)
{
    struct zc_where w = where_of(t, key);

    zc_lock_acquire(&w.shard->lock);
    zc_entry_set(zc_shard_find_locked(w.shard, w.hash, t->slot, key), flags);
    zc_lock_release(&w.shard->lock);
}

static inline void clear_flags(struct zcache_tenant *t, struct zcache_key key, unsigned flags)
{
    struct zc_where w = where_of(t, key);

    zc_lock_acquire(&w.shard->lock);
    zc_entry_clear(zc_shard_find_locked(w.shard, w.hash, t->slot, key), flags);
    zc_lock_release(&w.shard->lock);
}

/* Changes one stored byte; a second call changes it back. */
static inline void damage(struct zcache_tenant *t, struct zcache_key key)
{
    unsigned char *data = zc_payload_data(zc_word_payload(word_of(t, key)));

    data[7] ^= 0x10;
}

static inline void reference(struct zcache_tenant *t, struct zcache_key key)
{
    atomic_store(&entry_of(t, key)->referenced, 1);
}

static inline void drain(struct zcache *cache)
{
    zc_epoch_drain(thread_of(cache)->epoch);
}

/* The charge of an account with nothing on its way back. */
static inline uint64_t settled_charge(struct zcache_tenant *t)
{
    drain(t->cache);
    return zc_quota_used(t->account);
}

/* Uses up an account for everybody; what was reserved, for give_back(). */
static inline uint64_t use_up(struct zc_account *account)
{
    uint64_t left;

    zc_quota_call_in(account);
    left = zc_quota_limit(account) - zc_quota_charge(account);
    REQUIRE(zc_quota_reserve(account, left, ZC_QUOTA_RECLAIM) == NULL);
    return left;
}

static inline void give_back(struct zc_account *account, uint64_t bytes)
{
    zc_quota_refund(account, bytes);
}

/* The @n th allocation from now on is refused, once; 0 for none. */
static inline void fail_after(uint64_t n)
{
#ifdef ZCACHE_TEST_HOOKS
    zc_fault_arm(
        &(struct zc_fault_plan){.nth = n, .whose = ZC_FAULT_ALL, .sites = 1u << ZC_FAULT_object});
#else
    (void)n;
    skip();
#endif
}

static inline uint64_t dirty_of(const struct zcache_tenant *t, unsigned parity)
{
    return atomic_load(&t->n_dirty[parity]);
}

static inline void start(pthread_t *thread, void *(*fn)(void *), void *arg)
{
    REQUIRE(pthread_create(thread, NULL, fn, arg) == 0);
}

static inline void join(pthread_t thread)
{
    REQUIRE(pthread_join(thread, NULL) == 0);
}

#endif /* ZC_TESTS_INSIDE_H */
