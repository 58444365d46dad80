/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * page: state, list, gauges and charge of a page change together in every step, and whoever waits for
 * a page is told.
 */
#include <errno.h>
#include <string.h>

#include "batch.h"
#include "inside.h"
#include "tier.h"

#define KEY   key_of(1, 0)
#define OTHER key_of(1, 1)

struct fixture {
    struct zcache *cache;
    struct zcache_tenant *t;
    struct zc_thread *th;
    struct zc_where w;
    uint64_t empty; /* charge without pages */
};

static void setup(struct fixture *f)
{
    f->cache = open_cache(16 * MIB, NULL, NULL);
    f->t = open_tenant(zcache_root(f->cache), "t", 4 * MIB);
    f->th = thread_of(f->cache);
    f->w = where_of(f->t, KEY);
    f->empty = settled_charge(f->t);
}

static void teardown(struct fixture *f)
{
    /* Not drop_cache(): its identities count puts, and these pages came without. */
    verify_cache(f->cache);
    assert_int_equal(zcache_close(f->cache, ZCACHE_DISCARD), 0);
}

static void lock_page(struct fixture *f) ZC_ACQUIRES(f->w.shard->lock)
{
    zc_epoch_stock(f->th->epoch, 8);
    zc_lock_acquire(&f->w.shard->lock);
}

static void unlock_page(struct fixture *f) ZC_RELEASES(f->w.shard->lock)
{
    zc_lock_release(&f->w.shard->lock);
}

static struct zc_entry *new_entry(struct fixture *f, struct zcache_key key)
{
    struct zc_entry *e;

    REQUIRE(zc_quota_reserve(f->t->account, zc_pool_round(sizeof(*e)), ZC_QUOTA_PUT) == NULL);
    e = zc_page_new_entry(f->cache, f->t, 0, key);
    REQUIRE(e != NULL);
    return e;
}

static struct zc_version new_version(struct fixture *f, uint64_t version, unsigned flags)
{
    struct zc_version v = {.flags = flags, .tag = version, .tier = ZCACHE_TIER_RAW};
    struct zc_payload *p;

    REQUIRE(zc_quota_reserve(f->t->account, zc_page_bytes(PAGE, 0), ZC_QUOTA_PUT) == NULL);
    p = zc_page_new_payload(f->cache, 0, f->t->account, PAGE, PAGE, ZC_CODEC_NONE);
    REQUIRE(p != NULL);
    page_make(zc_payload_data(p), PAGE, KEY, version, FILL_TEXT);
    zc_page_seal(p);
    v.word = zc_word_of(p);
    return v;
}

static struct zc_version same_version(uint64_t fill)
{
    return (struct zc_version){.word = zc_word_same(PAGE, fill), .fill = fill};
}

/* A page of KEY, made step by step. */
static struct zc_entry *make_page(struct fixture *f, const struct zc_version *v)
{
    struct zc_entry *e = new_entry(f, KEY);

    lock_page(f);
    zc_page_insert_locked(&f->w, e);
    zc_page_publish_locked(&f->w, e, v);
    unlock_page(f);
    return e;
}

static void publish(struct fixture *f, struct zc_entry *e, struct zc_version v)
{
    lock_page(f);
    zc_page_publish_locked(&f->w, e, &v);
    unlock_page(f);
}

static void unlink_page(struct fixture *f, struct zc_entry *e)
{
    lock_page(f);
    zc_page_unlink_locked(&f->w, e);
    unlock_page(f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Publish, unlink. */

static void a_page_comes_and_goes(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    struct zc_entry *e = new_entry(&f, KEY);
    lock_page(&f);
    zc_page_insert_locked(&f.w, e);
    unlock_page(&f);
    assert_int_equal(zc_entry_state(e), ZC_LOADING);
    assert_int_equal(atomic_load(&f.t->n_pages), 1);
    assert_int_equal(stats_of(f.t).gauge.pages, 0); /* on no list yet */
    verify_cache(f.cache);
    publish(&f, e, new_version(&f, 1, 0));
    assert_int_equal(zc_entry_state(e), ZC_LIVE);
    assert_int_equal(e->version, 1);
    assert_int_equal(stats_of(f.t).gauge.pages, 1);
    assert_int_equal(get_page(f.t, KEY, 0), 1);
    verify_cache(f.cache);
    zc_entry_ref(e); /* as a reclaimer */
    unlink_page(&f, e);
    assert_int_equal(zc_entry_state(e), ZC_DEAD);
    assert_null(entry_of(f.t, KEY));
    assert_int_equal(atomic_load(&f.t->n_pages), 0);
    assert_int_equal(stats_of(f.t).gauge.pages, 0);
    assert_int_equal(settled_charge(f.t), f.empty + zc_pool_round(sizeof(*e)));
    zc_core_unref_entry(f.cache, f.th, e, f.t->account);
    assert_int_equal(settled_charge(f.t), f.empty);
    teardown(&f);
}

static void a_placeholder_can_leave(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    struct zc_entry *e = new_entry(&f, KEY);
    lock_page(&f);
    zc_page_insert_locked(&f.w, e);
    zc_page_unlink_locked(&f.w, e);
    unlock_page(&f);
    assert_int_equal(atomic_load(&f.t->n_pages), 0);
    assert_int_equal(settled_charge(f.t), f.empty);
    teardown(&f);
}

static void a_new_version_forgets_the_old_one(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    struct zc_version first = new_version(&f, 1, ZC_F_INCOMPRESSIBLE | ZC_F_DIRTY);
    struct zc_entry *e = make_page(&f, &first);
    const uint64_t with = settled_charge(f.t);
    assert_int_equal(zc_entry_tag(e), 1);
    assert_int_equal(atomic_load(&f.t->n_incompressible), 1);
    set_flags(f.t, KEY, ZC_F_NO_FAST | ZC_F_CORRUPT);
    publish(&f, e, new_version(&f, 2, 0));
    assert_int_equal(e->version, 2);
    assert_int_equal(zc_word_payload(word_of(f.t, KEY))->version, 2);
    assert_false(zc_entry_has(e, ZC_F_NO_FAST | ZC_F_CORRUPT | ZC_F_INCOMPRESSIBLE | ZC_F_DIRTY));
    assert_int_equal(atomic_load(&f.t->n_incompressible), 0);
    assert_int_equal(dirty_of(f.t, 0), 0);
    assert_int_equal(settled_charge(f.t), with);
    assert_int_equal(get_page(f.t, KEY, 0), 2);
    publish(&f, e, same_version(7));
    assert_int_equal(atomic_load(&f.t->n_same), 1);
    assert_int_equal(settled_charge(f.t), f.empty + zc_pool_round(sizeof(*e)));
    publish(&f, e, new_version(&f, 3, 0));
    assert_int_equal(atomic_load(&f.t->n_same), 0);
    assert_int_equal(get_page(f.t, KEY, 0), 3);
    teardown(&f);
}

static void records_and_payloads_may_be_refused(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    fail_after(1);
    assert_null(zc_page_new_entry(f.cache, f.t, 0, KEY));
    assert_int_equal(atomic_load(&f.cache->entry_bytes), 0);
    fail_after(1);
    assert_null(zc_page_new_payload(f.cache, 0, f.t->account, PAGE, PAGE, 0));
    fail_after(0);
    zc_page_free_entry(f.cache, NULL);
    zc_page_free_payload(NULL);
    struct zc_entry *e = zc_page_new_entry(f.cache, f.t, 0, KEY);
    zc_page_free_entry(f.cache, e);
    assert_int_equal(atomic_load(&f.cache->entry_bytes), 0);
    assert_int_equal(zc_quota_used(f.t->account), f.empty); /* reservations are the caller's */
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Dirty and clean. */

static void dirty_pages_are_counted_by_flush(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    struct zc_version v = new_version(&f, 1, ZC_F_DIRTY);
    struct zc_entry *e = make_page(&f, &v);
    assert_int_equal(dirty_of(f.t, 0), 1);
    atomic_store(&f.t->parity, 1);
    lock_page(&f);
    zc_page_dirty_locked(&f.w, e); /* anew: the store lacks it since the first time */
    unlock_page(&f);
    assert_int_equal(dirty_of(f.t, 0), 1);
    assert_int_equal(dirty_of(f.t, 1), 0);
    assert_false(zc_entry_has(e, ZC_F_PARITY));
    lock_page(&f);
    zc_page_still_dirty_locked(&f.w, e, 1); /* a write that was claimed at parity 1 is over */
    unlock_page(&f);
    assert_int_equal(dirty_of(f.t, 0), 0);
    assert_int_equal(dirty_of(f.t, 1), 1);
    assert_true(zc_entry_has(e, ZC_F_PARITY));
    verify_cache(f.cache);
    lock_page(&f);
    zc_page_still_dirty_locked(&f.w, e, 0);
    unlock_page(&f);
    assert_int_equal(dirty_of(f.t, 0), 1);
    assert_int_equal(dirty_of(f.t, 1), 0);
    assert_false(zc_entry_has(e, ZC_F_PARITY));
    lock_page(&f);
    zc_page_clean_locked(&f.w, e);
    zc_page_clean_locked(&f.w, e);
    unlock_page(&f);
    assert_int_equal(dirty_of(f.t, 0) | dirty_of(f.t, 1), 0);
    assert_false(zc_entry_has(e, ZC_F_PARITY | ZC_F_DIRTY));
    assert_int_equal(zc_entry_tag(e), 0);
    lock_page(&f);
    zc_page_still_dirty_locked(&f.w, e, 1); /* put clean meanwhile: it is not dirty */
    unlock_page(&f);
    assert_int_equal(dirty_of(f.t, 0) | dirty_of(f.t, 1), 0);
    lock_page(&f);
    zc_page_dirty_locked(&f.w, e);
    assert_true(zc_entry_has(e, ZC_F_PARITY));
    zc_page_unlink_locked(&f.w, e);
    unlock_page(&f);
    assert_int_equal(dirty_of(f.t, 0) | dirty_of(f.t, 1), 0);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Reform, release, adopt. */

static void another_form_is_the_same_version(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    struct zc_version v = new_version(&f, 1, ZC_F_DIRTY);
    struct zc_entry *e = make_page(&f, &v);
    const uint64_t with = settled_charge(f.t);
    lock_page(&f); /* only the tier */
    zc_page_reform_locked(&f.w, e, v.word, 0, ZCACHE_TIER_FAST, ZC_F_NO_FAST);
    unlock_page(&f);
    assert_int_equal(atomic_load(&f.t->n_incompressible), 1);
    assert_int_equal(zc_entry_tier(e), ZCACHE_TIER_FAST);
    assert_int_equal(settled_charge(f.t), with);
    verify_cache(f.cache);
    struct zc_version form = new_version(&f, 1, 0);
    lock_page(&f);
    zc_page_reform_locked(&f.w, e, form.word, 0, ZCACHE_TIER_RAW, 0);
    unlock_page(&f);
    assert_int_equal(e->version, 1);
    assert_int_equal(zc_word_payload(form.word)->version, 1);
    assert_int_equal(zc_entry_tag(e), 1);
    assert_int_equal(dirty_of(f.t, 0), 1);
    assert_int_equal(settled_charge(f.t), with); /* the old one is gone */
    verify_cache(f.cache);
    teardown(&f);
}

static void reform_placeholder(void *arg)
{
    struct fixture *f = arg;
    struct zc_entry e;

    zc_entry_init(&e, f->t->slot, 0, KEY);
    zc_page_reform_locked(&f->w, &e, zc_word_same(PAGE, 0), 0, ZCACHE_TIER_FAST, 0);
}

static void only_resident_pages_have_forms(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    assert_non_null(assertion_of(reform_placeholder, &f));
    teardown(&f);
}

static void a_payload_changes_hands(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    struct zc_version v = new_version(&f, 1, ZC_F_DIRTY);
    struct zc_entry *e = make_page(&f, &v);
    assert_int_equal(put_page(f.t, OTHER, 1, FILL_TEXT, 0), 0);
    const uint64_t with = settled_charge(f.t);
    struct zc_entry *heir = new_entry(&f, KEY);
    v.flags |= ZC_F_INCOMPRESSIBLE;
    lock_page(&f);
    zc_page_release_locked(&f.w, e);
    zc_page_adopt_locked(&f.w, heir, &v);
    unlock_page(&f);
    assert_ptr_equal(entry_of(f.t, KEY), heir);
    assert_true(word_of(f.t, KEY) == v.word);
    assert_int_equal(settled_charge(f.t), with);
    assert_int_equal(dirty_of(f.t, 0), 1);
    assert_int_equal(atomic_load(&f.t->n_incompressible), 1);
    assert_int_equal(zc_entry_tag(heir), 1);
    assert_int_equal(get_page(f.t, KEY, 0), 1);
    struct zc_lru *lru = lru_of(f.t, heir);
    assert_ptr_equal(zc_list_next(&lru->list[ZCACHE_TIER_RAW]), &heir->lru); /* the oldest */
    verify_cache(f.cache);
    teardown(&f);
}

static void an_isolated_page_comes_back_unless_it_is_gone(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    struct zc_version v = new_version(&f, 1, 0);
    (void)make_page(&f, &v);
    struct zc_entry *e = isolate(f.t, KEY);
    zc_page_putback(f.cache, f.th, e, true);
    assert_int_equal(lru_of(f.t, e)->n_listed[ZCACHE_TIER_RAW], 1);
    e = isolate(f.t, KEY);
    struct zc_lru *lru = lru_of(f.t, e);
    unlink_page(&f, e);
    assert_int_equal(lru->n_isolated, 1);
    zc_page_putback(f.cache, f.th, e, true);
    assert_int_equal(lru->n_isolated, 0);
    assert_int_equal(lru->n_listed[ZCACHE_TIER_RAW], 0);
    assert_int_equal(settled_charge(f.t), f.empty);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Waiting. */

struct waiter {
    struct fixture *f;
    _Atomic int rc;
};

static void *wait_for_page(void *arg)
{
    struct waiter *waiter = arg;
    struct fixture *f = waiter->f;
    struct zc_where w = where_of(f->t, KEY);
    struct zc_entry *e;
    int rc;

    zc_epoch_stock(w.thread->epoch, 4);
    zc_lock_acquire(&w.shard->lock);
    e = zc_shard_find_locked(w.shard, w.hash, f->t->slot, KEY);
    rc = zc_page_wait_locked(&w, e, false, deadline_in(20000));
    zc_lock_release(&w.shard->lock);
    atomic_store(&waiter->rc, rc);
    return NULL;
}

static bool waited_for(struct fixture *f, const struct zc_entry *e)
{
    bool waited;

    lock_page(f);
    waited = zc_entry_has(e, ZC_F_WAITED);
    unlock_page(f);
    return waited;
}

static void whoever_waits_is_told(void **state)
{
    struct waiter waiter[2];
    pthread_t thread[2];
    struct fixture f;

    (void)state;
    setup(&f);
    struct zc_version v = new_version(&f, 1, ZC_F_DIRTY);
    struct zc_entry *e = make_page(&f, &v);
    for (int round = 0; round < 2; round++) {
        lock_page(&f);
        zc_entry_become(e, ZC_WRITING);
        unlock_page(&f);
        for (int i = 0; i < 2; i++) {
            waiter[i].f = &f;
            atomic_store(&waiter[i].rc, 1);
            start(&thread[i], wait_for_page, &waiter[i]);
        }
        WAIT_UNTIL(atomic_load(&e->refs) == 3 && waited_for(&f, e), 10000);
        lock_page(&f);
        zc_entry_become(e, ZC_LIVE);
        zc_page_wake_locked(&f.w, e);
        if (round == 1) {
            zc_page_unlink_locked(&f.w, e);
        }
        unlock_page(&f);
        for (int i = 0; i < 2; i++) {
            join(thread[i]);
            assert_int_equal(atomic_load(&waiter[i].rc), 0);
        }
        if (round == 0) {
            assert_false(zc_entry_has(e, ZC_F_WAITED));
            assert_int_equal(atomic_load(&e->refs), 1);
        }
    }
    assert_int_equal(stats_of(f.t).count.stalls, 4);
    assert_int_equal(settled_charge(f.t), f.empty);
    teardown(&f);
}

/* One gives up, and takes the mark away that the other would be told by. */
static void who_gives_up_leaves_the_others_waiting(void **state)
{
    struct fixture f;
    struct waiter waiter = {.f = &f, .rc = 1};
    pthread_t thread;

    (void)state;
    setup(&f);
    struct zc_version v = new_version(&f, 1, ZC_F_DIRTY);
    struct zc_entry *e = make_page(&f, &v);
    lock_page(&f);
    zc_entry_become(e, ZC_WRITING);
    unlock_page(&f);
    start(&thread, wait_for_page, &waiter);
    WAIT_UNTIL(waited_for(&f, e), 10000);
    lock_page(&f);
    assert_int_equal(zc_page_wait_locked(&f.w, e, false, PAST), -ETIMEDOUT);
    zc_entry_become(e, ZC_LIVE);
    zc_page_wake_locked(&f.w, e);
    unlock_page(&f);
    WAIT_UNTIL(atomic_load(&waiter.rc) == 0, 10000); /* before its own time is up */
    join(thread);
    assert_false(zc_entry_has(e, ZC_F_WAITED));
    assert_int_equal(atomic_load(&e->refs), 1);
    teardown(&f);
}

static void not_everybody_may_wait(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    struct zc_version v = new_version(&f, 1, ZC_F_DIRTY);
    struct zc_entry *e = make_page(&f, &v);
    struct zcache_io_page io_page = {.key = KEY};
    struct zc_batch own = {.tenant = f.t, .io = {.n_pages = 1}, .io_page = &io_page};

    lock_page(&f);
    zc_entry_become(e, ZC_WRITING);
    assert_int_equal(zc_page_wait_locked(&f.w, e, true, UINT64_MAX), -EBUSY);
    assert_int_equal(zc_page_wait_locked(&f.w, e, false, PAST), -ETIMEDOUT);
    assert_false(zc_entry_has(e, ZC_F_WAITED));
    f.th->callbacks = &own;
    assert_int_equal(zc_page_wait_locked(&f.w, e, false, UINT64_MAX), -EDEADLK);
    atomic_store(&own.done, true); /* completed inside its callback: no longer its own */
    assert_int_equal(zc_page_wait_locked(&f.w, e, true, UINT64_MAX), -EBUSY);
    f.th->callbacks = NULL;
    zc_entry_become(e, ZC_LIVE);
    unlock_page(&f);
    assert_int_equal(atomic_load(&e->refs), 1);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Decoding. */

static int decode(struct fixture *f, struct zc_entry *e, uint64_t word, void *buf)
{
    int rc;

    zc_epoch_enter(f->th->epoch);
    rc = zc_page_decode(f->cache, f->th, e, word, buf);
    zc_epoch_exit(f->th->epoch);
    return rc;
}

static void damage_is_seen_when_decoding(void **state)
{
    static const uint64_t fill = UINT64_C(0x0102030405060708);
    unsigned char buf[PAGE];
    struct zcache_pin pin;
    uint64_t version;
    struct fixture f;

    (void)state;
    setup(&f);
    struct zc_version v = new_version(&f, 4, 0);
    struct zc_entry *e = make_page(&f, &v);
    assert_int_equal(decode(&f, e, v.word, buf), 0);
    assert_true(page_whole(buf, PAGE, KEY, &version) && version == 4);
    damage(f.t, KEY);
    assert_int_equal(decode(&f, e, v.word, buf), -EBADMSG);
    damage(f.t, KEY);

    struct zc_version same = same_version(fill);
    publish(&f, e, same);
    assert_int_equal(decode(&f, e, same.word, buf), 0);
    assert_memory_equal(buf + PAGE - sizeof(fill), &fill, sizeof(fill));
    assert_true(zc_page_same_intact(&f.w, e));
    /* A reader that still has the older word sees that the fill is not that word's. */
    publish(&f, e, same_version(fill + 1));
    assert_int_equal(decode(&f, e, same.word, buf), -EAGAIN);
    assert_true(zc_page_same_intact(&f.w, e));
    /* A record that is damaged gives the same answer, but is not intact. */
    atomic_store(&e->tag_or_fill, fill);
    assert_int_equal(decode(&f, e, word_of(f.t, KEY), buf), -EAGAIN);
    assert_false(zc_page_same_intact(&f.w, e));
    assert_int_equal(zcache_get(f.t, KEY, buf, PAGE, NULL, 0), -EBADMSG);
    assert_int_equal(zcache_pin(f.t, KEY, 0, &pin), -EBADMSG);
    atomic_store(&e->tag_or_fill, fill + 1);
    teardown(&f);
}

static void who_would_be_one_too_many_does_not_wait(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    struct zc_version v = new_version(&f, 1, ZC_F_DIRTY);
    struct zc_entry *e = make_page(&f, &v);
    lock_page(&f);
    zc_entry_become(e, ZC_WRITING);
    atomic_fetch_add(&e->refs, ZC_REFS_MAX - 1);
    assert_int_equal(zc_page_wait_locked(&f.w, e, false, UINT64_MAX), -ETIMEDOUT);
    assert_int_equal(atomic_load(&e->refs), ZC_REFS_MAX);
    atomic_fetch_sub(&e->refs, ZC_REFS_MAX - 1);
    zc_entry_become(e, ZC_LIVE);
    unlock_page(&f);
    teardown(&f);
}

/* A tag and a fill share a place; a page of zeros needs none for its fill. */
static void a_tag_is_never_a_fill(void **state)
{
    unsigned char buf[PAGE];
    struct fixture f;

    (void)state;
    setup(&f);
    struct zc_version v = new_version(&f, 4, ZC_F_DIRTY);
    struct zc_entry *e = make_page(&f, &v);
    assert_int_equal(zc_entry_tag(e), 4);
    publish(&f, e, same_version(77));
    assert_int_equal(zc_entry_tag(e), 0);
    struct zc_version zeros = same_version(0);
    zeros.tag = 99;
    zeros.flags = ZC_F_DIRTY;
    publish(&f, e, zeros);
    assert_int_equal(zc_entry_tag(e), 99);
    assert_int_equal(decode(&f, e, zeros.word, buf), 0);
    assert_true(buf[0] == 0 && memcmp(buf, buf + 1, PAGE - 1) == 0);
    assert_true(zc_page_same_intact(&f.w, e));
    publish(&f, e, same_version(78));
    assert_int_equal(zc_entry_tag(e), 0);
    v = new_version(&f, 0, 0);
    publish(&f, e, v);
    assert_int_equal(zc_entry_tag(e), 0);
    /* A page whose form changes keeps its tag, and a fill does not become one. */
    publish(&f, e, same_version(79));
    v = new_version(&f, 0, 0);
    lock_page(&f);
    zc_page_reform_locked(&f.w, e, v.word, 0, ZCACHE_TIER_RAW, 0);
    unlock_page(&f);
    assert_int_equal(zc_entry_tag(e), 0);
    teardown(&f);
}

/* So a page that has both is kept as other pages are, with either. */
static void a_page_of_one_word_keeps_its_tag(void **state)
{
    unsigned char page[PAGE], buf[PAGE];
    struct zcache_page p = {.key = KEY, .data = page, .len = PAGE, .tag = 9};
    struct fixture f;

    (void)state;
    setup(&f);
    for (int fill = 0; fill < 2; fill++) {
        memset(page, fill, PAGE);
        assert_int_equal(zcache_put_many(f.t, &p, 1, 0), 0);
        assert_int_equal(zc_entry_tag(entry_of(f.t, KEY)), 9);
        assert_int_equal(zc_word_is_same(word_of(f.t, KEY)), fill == 0);
        assert_int_equal(zcache_get(f.t, KEY, buf, PAGE, NULL, 0), 0);
        assert_memory_equal(buf, page, PAGE);
        verify_cache(f.cache);
    }
    teardown(&f);
}

/* A pin is the last look at the bytes before their reader has them. */
static void a_damaged_frame_is_not_pinned(void **state)
{
    struct zcache_pin pin = {0};
    struct zcache_stats stats;
    uint64_t freed;
    struct fixture f;

    (void)state;
    setup(&f);
    struct zc_version v = new_version(&f, 4, 0);
    (void)make_page(&f, &v);
    damage(f.t, KEY);
    assert_int_equal(zcache_pin(f.t, KEY, 0, &pin), -EBADMSG);
    assert_null(pin.frame);
    damage(f.t, KEY);
    zc_word_payload(v.word)->meta++; /* one byte more than there is */
    assert_int_equal(zcache_pin(f.t, KEY, 0, &pin), -EBADMSG);
    zc_word_payload(v.word)->meta--;
    assert_false(zc_word_pinned(v.word));
    /* Of another form too: room for what its head claims is not even asked for. */
    assert_int_equal(put_page(f.t, OTHER, 1, FILL_TEXT, 0), 0);
    struct zc_entry *e = isolate(f.t, OTHER);
    assert_int_equal(zc_tier_demote(f.cache, f.th, e, ZCACHE_TIER_FAST, &freed), ZC_TIER_MOVED);
    zc_page_putback(f.cache, f.th, e, true);
    zc_word_payload(word_of(f.t, OTHER))->meta += 0x80000;
    assert_int_equal(zcache_pin(f.t, OTHER, 0, &pin), -EBADMSG);
    zc_word_payload(word_of(f.t, OTHER))->meta -= 0x80000;
    stats = stats_of(f.t);
    assert_int_equal(stats.count.corrupt, 3);
    assert_int_equal(stats.count.pin_errors, 3);
    assert_int_equal(stats.count.quota_hits, 0);
    assert_int_equal(zcache_pin(f.t, KEY, 0, &pin), 0);
    assert_int_equal(pin.len, PAGE);
    zcache_unpin(&pin);
    /* The bytes were looked at once; a get looks each time. */
    unsigned char buf[PAGE];
    damage(f.t, KEY);
    assert_int_equal(zcache_pin(f.t, KEY, 0, &pin), 0);
    zcache_unpin(&pin);
    assert_int_equal(zcache_get(f.t, KEY, buf, sizeof(buf), NULL, 0), -EBADMSG);
    damage(f.t, KEY);
    zc_word_payload(v.word)->meta++;
    assert_int_equal(zcache_pin(f.t, KEY, 0, &pin), -EBADMSG);
    zc_word_payload(v.word)->meta--;
    teardown(&f);
}

/* The checksum is of the bytes, so the head is looked at by itself: its lengths bound every copy. */
static void a_head_that_no_page_has_is_damage(void **state)
{
    static const struct {
        uint32_t raw_len;
        uint32_t stored_len;
        const char *codec;
        int rc; /* of decoding bytes that are those of a page of PAGE bytes */
    } heads[] = {
        {PAGE, PAGE, "none", 0},
        {PAGE + 1, PAGE, "none", -EBADMSG},
        {PAGE - 1, PAGE, "none", -EBADMSG},
        {1, PAGE, "none", -EBADMSG},
        {65536, PAGE, "none", -EBADMSG},
        {65537, PAGE, "none", -EBADMSG},
        {1 << 20, PAGE, "none", -EBADMSG},
        {PAGE, 0, "lz4", 0},
        {PAGE + 1, 0, "lz4", -EBADMSG},
        {65537, 0, "lz4", -EBADMSG},
        {1 << 20, 0, "zstd:3", -EBADMSG},
        {1, 0, "zstd:3", -EBADMSG},
    };

    union {
        struct zc_payload head;
        unsigned char room[ZC_CACHE_LINE + 2 * PAGE];
    } u;

    unsigned char page[PAGE];
    unsigned char buf[65536];
    struct fixture f;

    (void)state;
    setup(&f);
    page_make(page, PAGE, KEY, 1, FILL_TEXT);
    for (size_t i = 0; i < ZC_ARRAY_SIZE(heads); i++) {
        uint32_t stored = heads[i].stored_len;
        unsigned char encoded[PAGE];
        uint8_t codec;

        assert_int_equal(zc_codecs_instance(f.cache->codecs, heads[i].codec, &codec), 0);
        if (codec != ZC_CODEC_NONE) {
            stored = (uint32_t)zc_codec_encode(f.cache->codecs, &f.th->codecs, codec, encoded,
                                               sizeof(encoded), page, PAGE);
            assert_true(stored > 0);
        }
        u.head.meta = zc_payload_meta(heads[i].raw_len, stored, codec);
        (void)memcpy(zc_payload_data(&u.head), codec != ZC_CODEC_NONE ? encoded : page, stored);
        zc_page_seal(&u.head);
        assert_int_equal(decode(&f, NULL, zc_word_of(&u.head), buf), heads[i].rc);
        assert_true(heads[i].rc != 0 || zc_page_intact(f.cache, &u.head));
        if (codec == ZC_CODEC_NONE || heads[i].raw_len > 65536 || heads[i].raw_len < stored) {
            assert_int_equal(zc_page_intact(f.cache, &u.head), heads[i].rc == 0);
        }
    }
    teardown(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_comes_and_goes),
        cmocka_unit_test(a_placeholder_can_leave),
        cmocka_unit_test(a_new_version_forgets_the_old_one),
        cmocka_unit_test(records_and_payloads_may_be_refused),
        cmocka_unit_test(dirty_pages_are_counted_by_flush),
        cmocka_unit_test(another_form_is_the_same_version),
        cmocka_unit_test(only_resident_pages_have_forms),
        cmocka_unit_test(a_payload_changes_hands),
        cmocka_unit_test(an_isolated_page_comes_back_unless_it_is_gone),
        cmocka_unit_test(whoever_waits_is_told),
        cmocka_unit_test(who_gives_up_leaves_the_others_waiting),
        cmocka_unit_test(not_everybody_may_wait),
        cmocka_unit_test(damage_is_seen_when_decoding),
        cmocka_unit_test(a_tag_is_never_a_fill),
        cmocka_unit_test(a_page_of_one_word_keeps_its_tag),
        cmocka_unit_test(who_would_be_one_too_many_does_not_wait),
        cmocka_unit_test(a_damaged_frame_is_not_pinned),
        cmocka_unit_test(a_head_that_no_page_has_is_damage),
    };

    (void)test_begin(argc, argv, 0);
    return cmocka_run_group_tests_name("page", tests, NULL, NULL);
}
