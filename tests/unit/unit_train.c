/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * train: who learns from which pages, what is kept and what is refused, and what becomes of dictionaries
 * that are replaced, or whose tenant goes.
 *
 * A cache of 16 MiB has dictionaries of 32 KiB, samples of 512 KiB, of the 1.5 MiB (384 pages) that the
 * learner demotes first; a tenant below the root learns for itself after 6 MiB (1536 pages).
 */
#include <errno.h>
#include <string.h>
#include <zcache/codec.h>

#include "inside.h"
#include "records.h"
#include "tier.h"
#include "train.h"

#define CAPACITY (16 * MIB)
#define LEARN    384u  /* pages until a sample is full */
#define OWN      1536u /* until a tenant learns for itself */

/* The shrinker sleeps until it is rung for. */
#define QUIET "raw_percent=100,start_percent=100,fast=none"

struct fixture {
    struct zcache *cache;
    struct zcache_tenant *root;
    struct zc_thread *th;
};

static void hurry(struct zcache *cache)
{
#ifdef ZCACHE_TEST_HOOKS
    zc_train_hurry(cache);
#else
    (void)cache;
#endif
}

static void setup(struct fixture *f, const char *options)
{
    f->cache = open_cache(CAPACITY, NULL, options);
    f->root = zcache_root(f->cache);
    f->th = thread_of(f->cache);
    hurry(f->cache);
}

static void teardown(struct fixture *f)
{
    close_cache(f->cache);
}

static void demote_list(struct fixture *f, struct zc_lru *lru, unsigned list)
{
    uint64_t budget = zc_lru_length(lru, list);

    while (budget > 0) {
        struct zc_entry *page[1];
        uint64_t freed;

        if (zc_lru_isolate(lru, list, 0, &budget, page, 1) == 1) {
            REQUIRE(zc_tier_demote(f->cache, f->th, page[0], ZCACHE_TIER_DENSE, &freed) !=
                    ZC_TIER_NO_ROOM);
            zc_page_putback(f->cache, f->th, page[0], true);
        }
    }
}

/* Demotes all raw pages of @t. */
static void demote_all(struct fixture *f, struct zcache_tenant *t)
{
    for (unsigned node = 0; node < f->cache->topo.n_nodes; node++) {
        for (int queue = 0; queue < ZC_QUEUES; queue++) {
            demote_list(f, t->lru[node], zc_lru_list((enum zc_queue)queue, ZCACHE_TIER_RAW));
        }
    }
    zc_epoch_drain(f->th->epoch);
}

/* Puts and demotes the @n pages from @first on. */
static void demote_records(struct fixture *f,
                           struct zcache_tenant *t,
                           unsigned kind,
                           unsigned first,
                           unsigned n)
{
    for (unsigned i = 0; i < n; i += 64) {
        for (unsigned k = i; k < n && k < i + 64; k++) {
            REQUIRE_EQUAL(records_put(t, first + k, kind), 0);
        }
        demote_all(f, t);
    }
}

static void check_records(struct zcache_tenant *t, unsigned kind, unsigned first, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        records_check(t, first + i, kind);
    }
}

static void delete_pages(struct fixture *f, struct zcache_tenant *t, unsigned first, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        REQUIRE_EQUAL(zcache_delete(t, key_of(1, first + i), 0), 0);
    }
    zc_epoch_drain(f->th->epoch);
}

static uint64_t trainings(struct zcache_tenant *t)
{
    const struct zcache_stats s = stats_of(t);

    return s.count.dict_kept + s.count.dict_refused + s.count.dict_failures;
}

/* Waits for the end of the @n th training of @t's subtree. */
static void wait_trained(struct fixture *f, struct zcache_tenant *t, uint64_t n)
{
    WAIT_UNTIL(trainings(t) >= n, 20000);
    REQUIRE_EQUAL(trainings(t), n);
    zc_train_pause(f->cache); /* until its room is given back */
    zc_train_resume(f->cache);
}

static uint16_t dict_of(struct zcache_tenant *t, unsigned page)
{
    return zc_payload_dict(zc_word_payload(word_of(t, key_of(1, page))));
}

static struct zc_dict *own(const struct zcache_tenant *t)
{
    return atomic_load(&t->learn.dict);
}

/* ---------------------------------------------------------------------------------------------- */

static void what_gains_is_kept(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, QUIET);
    demote_records(&f, f.root, 1, 0, LEARN);
    wait_trained(&f, f.root, 1);
    struct zcache_stats s = stats_of(f.root);
    assert_int_equal(s.count.dict_kept, 1);
    assert_int_equal(s.count.dict_trainings, 1);
    assert_int_equal(s.cache.dictionaries, 1);
    assert_int_equal(s.count.dense_plain_raw_bytes, LEARN * PAGE);
    assert_int_equal(s.count.dense_dict_raw_bytes, 0);
    assert_int_equal(dict_of(f.root, 0), ZC_DICT_NO_ID);
    assert_non_null(own(f.root));
    assert_in_range(own(f.root)->len, 16384, 32768);
    assert_in_range(s.cache.dict_bytes, own(f.root)->len, 1 * MIB);
    assert_int_equal(atomic_load(&own(f.root)->place->refs), 1);
    demote_records(&f, f.root, 1, LEARN, 100);
    s = stats_of(f.root);
    assert_int_equal(s.count.dense_dict_raw_bytes, 100 * PAGE);
    assert_true(s.count.dense_dict_bytes * LEARN < s.count.dense_plain_bytes * 100 * 95 / 100);
    assert_int_equal(dict_of(f.root, LEARN), own(f.root)->id);
    assert_int_equal(atomic_load(&own(f.root)->place->refs), 101);
    verify_cache(f.cache);
    check_records(f.root, 1, 0, LEARN + 100);
    delete_pages(&f, f.root, 0, LEARN + 100);
    assert_int_equal(atomic_load(&own(f.root)->place->refs), 1);
    verify_cache(f.cache);
    teardown(&f);
}

/* Half of each page is noise, and the other half is nothing: there is nothing to learn. */
static void put_noise(struct zcache_tenant *t, unsigned page, unsigned len)
{
    struct rng rng = {page + 1};
    char buf[PAGE] = {0};

    for (unsigned i = 0; i < len; i++) {
        buf[i] = (char)rng_next(&rng);
    }
    REQUIRE_EQUAL(zcache_put(t, key_of(1, page), buf, sizeof(buf), ZCACHE_CLEAN), 0);
}

static void what_gains_too_little_is_refused(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, QUIET);
    for (unsigned i = 0; i < LEARN; i++) {
        put_noise(f.root, i, PAGE / 2);
    }
    demote_all(&f, f.root);
    wait_trained(&f, f.root, 1);
    struct zcache_stats s = stats_of(f.root);
    assert_int_equal(s.count.dict_refused, 1);
    assert_int_equal(s.cache.dictionaries, 0);
    assert_null(own(f.root));
    /* It costs nothing from then on but the module's own records, and is tried again, but not soon. */
    const uint64_t bytes = s.cache.dict_bytes;
    for (unsigned i = 0; i < LEARN; i++) {
        put_noise(f.root, LEARN + i, PAGE / 2);
    }
    demote_all(&f, f.root);
    assert_int_equal(stats_of(f.root).cache.dict_bytes, bytes);
    assert_in_range(bytes, 1, 16384);
    for (unsigned i = 0; i < 3 * LEARN; i++) {
        put_noise(f.root, 2 * LEARN + i, PAGE / 2);
        if (i % 64 == 63) {
            demote_all(&f, f.root);
        }
    }
    wait_trained(&f, f.root, 2);
    assert_int_equal(stats_of(f.root).count.dict_refused, 2);
    teardown(&f);
}

static void what_cannot_be_compressed_has_none(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, QUIET);
    for (unsigned i = 0; i < LEARN; i++) {
        put_noise(f.root, i, PAGE);
    }
    demote_all(&f, f.root);
    wait_trained(&f, f.root, 1);
    assert_int_equal(stats_of(f.root).count.dict_refused, 1);
    assert_int_equal(stats_of(f.root).tier[ZCACHE_TIER_DENSE].pages, 0);
    teardown(&f);
}

static void a_new_one_when_the_ratio_falls(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, QUIET);
    demote_records(&f, f.root, 1, 0, LEARN);
    wait_trained(&f, f.root, 1);
    const uint16_t first = own(f.root)->id;
    demote_records(&f, f.root, 1, LEARN, 2 * LEARN);
    assert_int_equal(trainings(f.root), 1); /* it fits */
    /* Other words: one window to see it, twice that of the first sample, and another one for the next. */
    demote_records(&f, f.root, 2, 10000, 4 * LEARN + 64);
    wait_trained(&f, f.root, 2);
    struct zcache_stats s = stats_of(f.root);
    assert_int_equal(s.count.dict_kept, 2);
    assert_int_equal(s.count.dict_retired, 1);
    assert_int_equal(s.cache.dictionaries, 2); /* the first one's pages are there */
    assert_int_not_equal(own(f.root)->id, first);
    demote_records(&f, f.root, 2, 20000, 64);
    assert_int_equal(dict_of(f.root, 20000), own(f.root)->id);
    verify_cache(f.cache);
    check_records(f.root, 1, 0, 3 * LEARN);
    check_records(f.root, 2, 10000, 4 * LEARN + 64);
    /* It goes with its last page, and nobody has to do anything for that. */
    delete_pages(&f, f.root, 0, 3 * LEARN - 1);
    assert_int_equal(dict_of(f.root, 3 * LEARN - 1), first);
    delete_pages(&f, f.root, 10000, 4 * LEARN + 64);
    assert_int_equal(stats_of(f.root).cache.dictionaries, 2);
    records_check(f.root, 3 * LEARN - 1, 1);
    delete_pages(&f, f.root, 3 * LEARN - 1, 1);
    WAIT_UNTIL(stats_of(f.root).cache.dictionaries == 1, 5000);
    assert_null(zc_dicts_find(f.cache->dicts, first));
    check_records(f.root, 2, 20000, 64);
    verify_cache(f.cache);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Tenants. */

static void small_tenants_share_their_parents(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, QUIET);
    struct zcache_tenant *a = open_tenant(f.root, "a", ZCACHE_UNLIMITED);
    struct zcache_tenant *b = open_tenant(f.root, "b", ZCACHE_UNLIMITED);
    struct zcache_tenant *c = open_tenant(b, "c", ZCACHE_UNLIMITED);
    for (unsigned i = 0; i < LEARN; i += 32) { /* none of them has demoted enough by itself */
        demote_records(&f, a, 1, i, 16);
        demote_records(&f, c, 1, i, 16);
    }
    wait_trained(&f, f.root, 1);
    assert_non_null(own(f.root));
    assert_null(own(a));
    assert_null(own(b));
    demote_records(&f, b, 1, 0, 16);
    demote_records(&f, c, 1, 1000, 16);
    assert_int_equal(dict_of(b, 0), own(f.root)->id);
    assert_int_equal(dict_of(c, 1000), own(f.root)->id);
    assert_int_equal(atomic_load(&own(f.root)->place->refs), 33);
    check_records(c, 1, 1000, 16);
    verify_cache(f.cache);
    teardown(&f);
}

/*
 * Demotes pages of another kind, from 30000 on, until @t has a dictionary of its own: a window to see that
 * what there is does not fit, and a sample, both of twice the first one's length as this is the second.
 */
static unsigned learn_own(struct fixture *f, struct zcache_tenant *t, unsigned kind)
{
    const uint64_t before = trainings(f->root);

    demote_records(f, t, kind, 30000, 5 * LEARN);
    WAIT_UNTIL(trainings(f->root) > before, 20000);
    wait_trained(f, f->root, before + 1);
    REQUIRE(own(t) != NULL);
    return 5 * LEARN;
}

static void a_large_tenant_learns_for_itself(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, QUIET);
    struct zcache_tenant *t = open_tenant(f.root, "t", ZCACHE_UNLIMITED);
    struct zcache_tenant *u = open_tenant(f.root, "u", ZCACHE_UNLIMITED);
    demote_records(&f, u, 1, 0, LEARN);
    wait_trained(&f, f.root, 1);
    demote_records(&f, t, 1, 0, OWN + LEARN); /* what the root has learnt is as good */
    wait_trained(&f, f.root, 2);
    assert_int_equal(stats_of(t).count.dict_refused, 1);
    assert_null(own(t));
    assert_int_equal(dict_of(t, OWN + LEARN - 1), own(f.root)->id);
    learn_own(&f, t, 2);
    demote_records(&f, t, 2, 50000, 16);
    assert_int_equal(dict_of(t, 50000), own(t)->id);
    assert_int_not_equal(own(t)->id, own(f.root)->id);
    demote_records(&f, u, 1, LEARN, 16);
    assert_int_equal(dict_of(u, LEARN), own(f.root)->id);
    verify_cache(f.cache);
    teardown(&f);
}

static void pages_keep_theirs_when_their_tenant_goes(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, QUIET);
    struct zcache_tenant *t = open_tenant(f.root, "t", ZCACHE_UNLIMITED);
    demote_records(&f, t, 1, 0, OWN + LEARN);
    wait_trained(&f, f.root, 2);
    delete_pages(&f, t, 0, OWN + LEARN);
    const unsigned n = learn_own(&f, t, 2);
    const uint16_t id = own(t)->id;
    demote_records(&f, t, 2, 50000, 8);
    assert_int_equal(dict_of(t, 50000), id);
    assert_int_equal(zcache_tenant_close(t, ZCACHE_CLOSE_REPARENT), 0);
    assert_int_equal(dict_of(f.root, 50000), id);
    assert_int_equal(stats_of(f.root).count.dict_retired, 1);
    check_records(f.root, 2, 50000, 8);
    verify_cache(f.cache);
    delete_pages(&f, f.root, 30000, n);
    records_check(f.root, 50007, 2);
    delete_pages(&f, f.root, 50000, 8);
    WAIT_UNTIL(zc_dicts_find(f.cache->dicts, id) == NULL, 5000);
    verify_cache(f.cache);
    teardown(&f);
}

static void a_tenant_that_goes_takes_its_own_along(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, QUIET);
    struct zcache_tenant *u = open_tenant(f.root, "u", ZCACHE_UNLIMITED);
    struct zcache_tenant *t = open_tenant(f.root, "t", ZCACHE_UNLIMITED);
    demote_records(&f, u, 1, 0, LEARN);
    wait_trained(&f, f.root, 1);
    demote_records(&f, t, 1, 0, OWN + LEARN);
    wait_trained(&f, f.root, 2);
    (void)learn_own(&f, t, 2);
    assert_int_equal(zcache_tenant_close(t, ZCACHE_CLOSE_DISCARD), 0);
    WAIT_UNTIL(stats_of(f.root).cache.dictionaries == 1, 5000);
    verify_cache(f.cache);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Where there are none. */

static void none_where_it_does_not_pay_or_was_turned_off(void **state)
{
    static const struct {
        uint64_t capacity;
        const char *options;
        bool possible;
    } cases[] = {
        {8 * MIB, "page_max=4K", true},       {8 * MIB - 1, "page_max=4K", false},
        {64 * MIB, "dictionary=0", false},    {64 * MIB, "dictionary=16383", false},
        {64 * MIB, "dictionary=16384", true}, {64 * MIB, NULL, true},
    };

    (void)state;
    for (unsigned i = 0; i < ZC_ARRAY_SIZE(cases); i++) {
        struct zcache *cache = open_cache(cases[i].capacity, NULL, cases[i].options);

        assert_int_equal(cache->train != NULL, cases[i].possible);
        close_cache(cache);
    }
}

static void a_codec_without_dictionaries_is_left_alone(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, QUIET ",dense=lz4");
    demote_records(&f, f.root, 1, 0, LEARN);
    wait_trained(&f, f.root, 1);
    assert_int_equal(stats_of(f.root).count.dict_failures, 1);
    assert_int_equal(stats_of(f.root).cache.dictionaries, 0);
    /* And one that is chosen later has them. */
    assert_int_equal(zcache_codec_select(f.cache, ZCACHE_TIER_DENSE, "zstd:1"), 0);
    demote_records(&f, f.root, 1, 10000, 2 * LEARN + 64);
    wait_trained(&f, f.root, 2);
    assert_int_equal(stats_of(f.root).count.dict_kept, 1);
    /* Another level of the codec goes on with the dictionary; another codec does without. */
    assert_int_equal(zcache_codec_select(f.cache, ZCACHE_TIER_DENSE, "zstd:5"), 0);
    demote_records(&f, f.root, 1, 20000, 8);
    assert_int_equal(dict_of(f.root, 20000), own(f.root)->id);
    assert_int_equal(zcache_codec_select(f.cache, ZCACHE_TIER_DENSE, "lz4"), 0);
    demote_records(&f, f.root, 1, 30000, 8);
    assert_int_equal(dict_of(f.root, 30000), ZC_DICT_NO_ID);
    check_records(f.root, 1, 20000, 8);
    check_records(f.root, 1, 30000, 8);
    verify_cache(f.cache);
    teardown(&f);
}

static void a_cache_closes_with_a_sample_half_full(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f, QUIET);
    demote_records(&f, f.root, 1, 0, LEARN / 2);
    assert_in_range(stats_of(f.root).cache.dict_bytes, 512 * KIB, 1 * MIB);
    assert_int_equal(trainings(f.root), 0);
    teardown(&f);
    setup(&f, QUIET);
    demote_records(&f, f.root, 1, 0, LEARN); /* perhaps in the middle of a training */
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Damage. */

static void damage_is_found_before_anybody_gets_the_page(void **state)
{
    struct fixture f;
    char buf[PAGE];
    size_t len;

    (void)state;
    setup(&f, QUIET);
    demote_records(&f, f.root, 1, 0, LEARN);
    wait_trained(&f, f.root, 1);
    demote_records(&f, f.root, 1, 10000, 8);
    struct zc_dict *dict = own(f.root);
    struct zc_payload *p = zc_word_payload(word_of(f.root, key_of(1, 10000)));
    const uint64_t meta = p->meta;

    /* Its number: of none, and of nobody's. */
    for (unsigned bit = 48; bit < 64; bit++) {
        p->meta = meta ^ UINT64_C(1) << bit;
        assert_int_equal(zcache_get(f.root, key_of(1, 10000), buf, PAGE, &len, 0), -EBADMSG);
        assert_int_equal(zcache_verify(f.cache), -EBADMSG);
    }
    p->meta = meta & UINT64_C(0xffffffffffff);
    assert_int_equal(zcache_get(f.root, key_of(1, 10000), buf, PAGE, &len, 0), -EBADMSG);
    p->meta = meta;
    verify_cache(f.cache);
    records_check(f.root, 10000, 1);
    /* The dictionary itself. */
    unsigned wrong = 0;
    for (size_t i = dict->len / 2; i < dict->len; i++) {
        ((char *)dict->content)[i] ^= 4;
    }
    for (unsigned i = 0; i < 8; i++) {
        wrong += zcache_get(f.root, key_of(1, 10000 + i), buf, PAGE, &len, 0) == -EBADMSG;
    }
    assert_int_equal(wrong, 8);
    assert_int_equal(zcache_verify(f.cache), -EUCLEAN);
    for (size_t i = dict->len / 2; i < dict->len; i++) {
        ((char *)dict->content)[i] ^= 4;
    }
    verify_cache(f.cache);
    check_records(f.root, 1, 10000, 8);
    /* A count that is off. */
    atomic_fetch_add(&dict->place->refs, 1);
    assert_int_equal(zcache_verify(f.cache), -EUCLEAN);
    atomic_fetch_sub(&dict->place->refs, 1);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* All at once. */

#define ROUNDS  (TEST_SLOWDOWN > 1 ? 2u : 4u)
#define PER     ((uint64_t)5 * LEARN) /* pages of a round, each of a kind of its own */
#define READERS 2u

struct readers {
    struct zcache_tenant *t;
    atomic_uint round;
    atomic_bool stop;
    atomic_uint hits;
};

static void *read_on(void *arg)
{
    struct readers *r = arg;
    struct rng rng = {(uintptr_t)&rng};

    while (!atomic_load(&r->stop)) {
        const unsigned round = atomic_load(&r->round) - (unsigned)rng_below(&rng, 2);
        const uint64_t page = (uint64_t)round * 10000u + rng_below(&rng, PER);
        char want[PAGE];
        char got[PAGE];
        size_t len;
        const int rc = zcache_get(r->t, key_of(1, page), got, PAGE, &len, ZCACHE_PEEK);

        REQUIRE(rc == 0 || rc == ZCACHE_MISS);
        if (rc == 0) {
            records_make(want, PAGE, round, page);
            REQUIRE(memcmp(got, want, PAGE) == 0);
            atomic_fetch_add(&r->hits, 1);
        }
    }
    return NULL;
}

/* Dictionaries come, are replaced and go with their pages, while others read these. */
static void readers_do_not_mind(void **state)
{
    struct readers r = {.stop = false};
    pthread_t reader[READERS];
    struct fixture f;

    (void)state;
    setup(&f, QUIET);
    r.t = f.root;
    atomic_store(&r.round, 1);
    for (unsigned i = 0; i < READERS; i++) {
        start(&reader[i], read_on, &r);
    }
    for (unsigned round = 1; round <= ROUNDS; round++) {
        atomic_store(&r.round, round);
        for (unsigned i = 0; i < (unsigned)PER; i += LEARN) {
            demote_records(&f, f.root, round, round * 10000 + i, LEARN);
            if (round > 1) {
                delete_pages(&f, f.root, (round - 1) * 10000 + i, LEARN);
            }
        }
    }
    WAIT_UNTIL(stats_of(f.root).count.dict_kept > 0 && atomic_load(&r.hits) > 0, 20000);
    atomic_store(&r.stop, true);
    for (unsigned i = 0; i < READERS; i++) {
        join(reader[i]);
    }
    verify_cache(f.cache);
    check_records(f.root, ROUNDS, ROUNDS * 10000, (unsigned)PER);
    teardown(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_gains_is_kept),
        cmocka_unit_test(what_gains_too_little_is_refused),
        cmocka_unit_test(what_cannot_be_compressed_has_none),
        cmocka_unit_test(a_new_one_when_the_ratio_falls),
        cmocka_unit_test(small_tenants_share_their_parents),
        cmocka_unit_test(a_large_tenant_learns_for_itself),
        cmocka_unit_test(pages_keep_theirs_when_their_tenant_goes),
        cmocka_unit_test(a_tenant_that_goes_takes_its_own_along),
        cmocka_unit_test(none_where_it_does_not_pay_or_was_turned_off),
        cmocka_unit_test(a_codec_without_dictionaries_is_left_alone),
        cmocka_unit_test(a_cache_closes_with_a_sample_half_full),
        cmocka_unit_test(damage_is_found_before_anybody_gets_the_page),
        cmocka_unit_test(readers_do_not_mind),
    };

    (void)test_begin(argc, argv, 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
