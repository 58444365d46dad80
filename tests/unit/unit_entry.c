/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * entry: the states and what leads from one to the next, and that every length, fill, size and owner
 * survives being packed into a few bits.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "api/support.h"
#include "assertion.h"
#include "entry.h"
#include "pool.h"

static uint64_t seed;

static struct zc_entry entry_new(void)
{
    struct zc_entry e;

    memset(&e, 0xa5, sizeof(e));
    zc_entry_init(&e, 3, 1, key_of(7, 9));
    return e;
}

/* ---------------------------------------------------------------------------------------------- */
/* The record. */

static void a_fresh_entry_is_loading_and_the_indexs(void **state)
{
    struct zc_entry e;

    (void)state;
    memset(&e, 0xa5, sizeof(e));
    zc_entry_init(&e, 3, 1, key_of(7, 9));
    assert_int_equal(zc_entry_state(&e), ZC_LOADING);
    assert_false(zc_entry_resident(&e));
    assert_int_equal(atomic_load(&e.refs), 1);
    assert_int_equal(zc_entry_flags(&e), 0);
    assert_int_equal(atomic_load(&e.where), 0);
    assert_int_equal(atomic_load(&e.payload), 0);
    assert_int_equal(atomic_load(&e.referenced), 0);
    assert_int_equal(e.version, 0);
    assert_int_equal(zc_entry_tag(&e), 0);
    assert_null(zc_link_load(&e.link, memory_order_relaxed));
    assert_true(zc_list_empty(&e.lru));
    assert_true(e.key.object == 7 && e.key.page == 9);
}

struct owner {
    uint32_t slot;
    unsigned node;
};

static void init_for(void *arg)
{
    const struct owner *owner = arg;
    struct zc_entry e;

    zc_entry_init(&e, owner->slot, owner->node, key_of(1, 1));
    REQUIRE_EQUAL(zc_entry_slot(&e), owner->slot);
    REQUIRE_EQUAL(zc_entry_node(&e), owner->node);
}

static void every_owner_fits_and_no_other(void **state)
{
    struct owner too_high_slot = {ZC_OWNER_SLOT + 1, 0};
    struct owner too_high_node = {0, ZC_NODES_MAX};

    (void)state;
    for (unsigned node = 0; node < ZC_NODES_MAX; node++) {
        for (uint32_t slot = 1; slot <= ZC_OWNER_SLOT; slot = slot * 2 + 1) {
            init_for(&(struct owner){slot - 1, node});
            init_for(&(struct owner){slot, node});
        }
    }
    assert_non_null(assertion_of(init_for, &too_high_slot));
    assert_non_null(assertion_of(init_for, &too_high_node));
}

/* ---------------------------------------------------------------------------------------------- */
/* States. */

#define STATES 4

static const bool legal[STATES][STATES] = {
    [ZC_LOADING] = {[ZC_LIVE] = true, [ZC_DEAD] = true},
    [ZC_LIVE] = {[ZC_WRITING] = true, [ZC_DEAD] = true},
    [ZC_WRITING] = {[ZC_LIVE] = true},
};

#define OTHER_FLAGS                                                                                \
    (ZC_F_DIRTY | ZC_F_PARITY | ZC_F_INCOMPRESSIBLE | ZC_F_NO_FAST | ZC_F_NO_DENSE | ZC_F_WAITED | \
     ZC_F_CORRUPT | ZC_F_REPARENTED)

struct transition {
    struct zc_entry e;
    enum zc_state to;
};

static void become(void *arg)
{
    struct transition *t = arg;

    zc_entry_become(&t->e, t->to);
}

static struct zc_entry entry_in(enum zc_state state, unsigned flags)
{
    struct zc_entry e = entry_new();

    zc_entry_set_flags(&e, (unsigned)state | flags);
    return e;
}

static void legal_transitions_work_and_keep_the_flags(void **state)
{
    static const unsigned flag_sets[] = {0, ZC_F_DIRTY, ZC_F_REPARENTED, OTHER_FLAGS};

    (void)state;
    for (int from = 0; from < STATES; from++) {
        for (int to = 0; to < STATES; to++) {
            for (size_t i = 0; legal[from][to] && i < sizeof(flag_sets) / sizeof(unsigned); i++) {
                struct zc_entry e = entry_in((enum zc_state)from, flag_sets[i]);

                zc_entry_become(&e, (enum zc_state)to);
                assert_int_equal(zc_entry_state(&e), to);
                assert_int_equal(zc_entry_flags(&e), flag_sets[i] | (unsigned)to);
                assert_int_equal(atomic_load(&e.refs), 1);
            }
        }
    }
}

static void illegal_transitions_stop(void **state)
{
    int n_illegal = 0;

    (void)state;
    for (int from = 0; from < STATES; from++) {
        for (int to = 0; to < STATES; to++) {
            struct transition t = {entry_in((enum zc_state)from, 0), (enum zc_state)to};

            if (legal[from][to]) {
                continue;
            }
            assert_non_null(assertion_of(become, &t));
            assert_int_equal(zc_entry_state(&t.e), from);
            n_illegal++;
        }
    }
    assert_int_equal(n_illegal, 11);
}

static void resident_is_live_or_writing(void **state)
{
    (void)state;
    for (int s = 0; s < STATES; s++) {
        struct zc_entry e = entry_in((enum zc_state)s, OTHER_FLAGS);

        assert_true(zc_entry_resident(&e) == (s == ZC_LIVE || s == ZC_WRITING));
    }
}

static void flags_change_alone(void **state)
{
    (void)state;
    for (int s = 0; s < STATES; s++) {
        for (unsigned flag = ZC_F_DIRTY; flag <= ZC_F_REPARENTED; flag <<= 1) {
            struct zc_entry e = entry_in((enum zc_state)s, 0);

            zc_entry_set(&e, flag);
            assert_true(zc_entry_has(&e, flag));
            assert_false(zc_entry_has(&e, OTHER_FLAGS & ~flag));
            assert_int_equal(zc_entry_state(&e), s);
            zc_entry_set(&e, OTHER_FLAGS);
            zc_entry_clear(&e, flag);
            assert_false(zc_entry_has(&e, flag));
            assert_int_equal(zc_entry_flags(&e), (OTHER_FLAGS & ~flag) | (unsigned)s);
        }
    }
}

#ifdef ZCACHE_DEBUG
static void set_state_bit(void *arg)
{
    zc_entry_set(arg, ZC_LIVE | ZC_F_DIRTY);
}

static void clear_state_bit(void *arg)
{
    zc_entry_clear(arg, ZC_DEAD);
}
#endif

static void flags_do_not_change_the_state(void **state)
{
    (void)state;
#ifdef ZCACHE_DEBUG
    struct zc_entry e = entry_in(ZC_LIVE, 0);

    assert_non_null(assertion_of(set_state_bit, &e));
    assert_non_null(assertion_of(clear_state_bit, &e));
    assert_int_equal(zc_entry_flags(&e), ZC_LIVE);
#else
    skip();
#endif
}

static void the_tier_ignores_the_rest_of_where(void **state)
{
    struct zc_entry e = entry_new();

    (void)state;
    for (unsigned tier = 0; tier < ZCACHE_TIERS; tier++) {
        atomic_store(&e.where,
                     (uint8_t)(tier | ZC_W_LISTED | ZC_W_ISOLATED | ZC_W_GONE | ZC_W_SCAN));
        assert_int_equal(zc_entry_tier(&e), tier);
        atomic_store(&e.where, (uint8_t)tier);
        assert_int_equal(zc_entry_tier(&e), tier);
    }
}

/* ---------------------------------------------------------------------------------------------- */
/* References. */

static void unref_entry(void *e)
{
    (void)zc_entry_unref(e);
}

static void only_the_last_reference_is_the_last(void **state)
{
    struct zc_entry e = entry_new();

    (void)state;
    zc_entry_ref(&e);
    zc_entry_ref(&e);
    assert_false(zc_entry_unref(&e));
    assert_false(zc_entry_unref(&e));
    assert_true(zc_entry_unref(&e));
    assert_non_null(assertion_of(unref_entry, &e));
}

#define HOLDERS 4
#define HOLDS   20000u

struct holder {
    struct zc_entry *e;
    int n_last;
};

static void *hold_main(void *arg)
{
    struct holder *h = arg;

    for (unsigned i = 0; i < HOLDS / TEST_SLOWDOWN; i++) {
        zc_entry_ref(h->e);
        h->n_last += zc_entry_unref(h->e);
    }
    h->n_last += zc_entry_unref(h->e);
    return NULL;
}

static void one_thread_lets_go_last(void **state)
{
    struct holder holders[HOLDERS];
    struct zc_entry e = entry_new();
    pthread_t threads[HOLDERS];
    int n_last = 0;

    (void)state;
    for (int i = 0; i < HOLDERS; i++) {
        zc_entry_ref(&e);
    }
    n_last += zc_entry_unref(&e);
    for (int i = 0; i < HOLDERS; i++) {
        holders[i] = (struct holder){&e, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, hold_main, &holders[i]), 0);
    }
    for (int i = 0; i < HOLDERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        n_last += holders[i].n_last;
    }
    assert_int_equal(n_last, 1);
    assert_int_equal(atomic_load(&e.refs), 0);
}

/* ---------------------------------------------------------------------------------------------- */
/* Payloads. */

static void check_meta(uint32_t raw, uint32_t stored, unsigned codec)
{
    const uint64_t dictionary = UINT64_C(0xffff) << 48;
    struct zc_payload p = {.meta = zc_payload_meta(raw, stored, (uint8_t)codec)};

    assert_true((p.meta & dictionary) == 0);
    for (int i = 0; i < 2; i++) {
        if (zc_payload_raw_len(&p) != raw || zc_payload_stored_len(&p) != stored ||
            zc_payload_codec(&p) != codec || zc_payload_is_raw(&p) != (codec == 0)) {
            fail_msg("raw %u stored %u codec %u", raw, stored, codec);
        }
        p.meta |= dictionary;
    }
}

static void every_length_fits_into_meta(void **state)
{
    const uint32_t max = (uint32_t)MIB;

    (void)state;
    for (uint32_t len = 1; len <= max; len++) {
        check_meta(len, max + 1 - len, len & 0xff);
    }
    for (unsigned codec = 0; codec < 256; codec++) {
        check_meta(1, 1, codec);
        check_meta(1, max, codec);
        check_meta(max, 1, codec);
        check_meta(max, max, codec);
    }
}

static const uint32_t lengths[] = {1,    2,    63,   64,   65,    2047,    2048,
                                   2049, 4095, 4096, 4097, 65536, 1048575, 1048576};
#define N_LENGTHS (sizeof(lengths) / sizeof(lengths[0]))

static void check_layout(struct zc_pool *pool, uint32_t raw, uint32_t stored, uint8_t codec)
{
    const size_t head = zc_payload_head(stored, codec);
    struct zc_payload *p = zc_pool_alloc(pool, head + stored);
    struct zc_sizes sizes;

    assert_non_null(p);
    p->meta = zc_payload_meta(raw, stored, codec);
    assert_true(head >= (codec == 0 ? sizeof(struct zc_frame) : sizeof(struct zc_payload)));
    assert_int_equal(zc_payload_size(p), head + stored);
    assert_ptr_equal(zc_payload_data(p), (char *)p + head);
    if (codec == 0 && stored >= ZC_FRAME_ALIGNED) {
        assert_int_equal((uintptr_t)zc_payload_data(p) % ZC_CACHE_LINE, 0);
    }
    memset(zc_payload_data(p), 1, stored);
    assert_false(zc_word_is_same(zc_word_of(p)));
    assert_ptr_equal(zc_word_payload(zc_word_of(p)), p);

    sizes = zc_word_sizes(zc_word_of(p));
    assert_int_equal(sizes.raw, raw);
    assert_int_equal(sizes.stored, head + stored);
    assert_int_equal(sizes.allocated, zc_pool_round(head + stored));
    assert_true(sizes.allocated >= sizes.stored);
    assert_true(sizes.raw_form == (codec == 0));
    zc_pool_free(p, head + stored);
}

/* In memory of the pool, whose alignment that of large frames relies on. */
static void sizes_are_those_of_the_memory(void **state)
{
    struct zc_pool *pool;

    (void)state;
    assert_int_equal(zc_pool_create(0, -1, &pool), 0);
    for (size_t i = 0; i < N_LENGTHS; i++) {
        check_layout(pool, lengths[i], lengths[i], 0);
        check_layout(pool, lengths[i], lengths[N_LENGTHS - 1 - i], 1);
        check_layout(pool, lengths[i], lengths[i], 255);
    }
    for (uint32_t len = 1; len <= 65536; len += 61) {
        check_layout(pool, len, len, 0);
    }
    zc_pool_destroy(&pool);
}

static void a_head_is_as_small_as_it_can_be(void **state)
{
    (void)state;
    assert_int_equal(zc_payload_head(1, 1), sizeof(struct zc_payload));
    assert_int_equal(zc_payload_head((uint32_t)MIB, 255), sizeof(struct zc_payload));
    assert_int_equal(zc_payload_head(1, 0), sizeof(struct zc_frame));
    assert_int_equal(zc_payload_head(ZC_FRAME_ALIGNED - 1, 0), sizeof(struct zc_frame));
    assert_int_equal(zc_payload_head(ZC_FRAME_ALIGNED, 0), ZC_CACHE_LINE);
    assert_int_equal(zc_payload_head((uint32_t)MIB, 0), ZC_CACHE_LINE);
}

static void nothing_and_same_filled_take_no_memory(void **state)
{
    struct zc_sizes sizes = zc_word_sizes(0);

    (void)state;
    assert_false(zc_word_is_same(0));
    assert_int_equal(sizes.raw + sizes.stored + sizes.allocated, 0);
    assert_false(sizes.raw_form);
    for (size_t i = 0; i < N_LENGTHS; i++) {
        sizes = zc_word_sizes(zc_word_same(lengths[i], UINT64_MAX));
        assert_int_equal(sizes.raw, lengths[i]);
        assert_int_equal(sizes.stored + sizes.allocated, 0);
        assert_false(sizes.raw_form);
    }
}

static void pinned_is_a_raw_frame_with_a_pin(void **state)
{
    struct zc_frame frame = {.head.meta = zc_payload_meta(64, 64, 0)};
    const uint64_t word = zc_word_of(&frame.head);

    (void)state;
    assert_ptr_equal(zc_payload_frame(&frame.head), &frame);
    assert_false(zc_word_pinned(word));
    atomic_store(&frame.pins, 1);
    assert_true(zc_word_pinned(word));
    atomic_store(&frame.pins, ZC_FRAME_RETIRED - 1);
    assert_true(zc_word_pinned(word));
    atomic_store(&frame.pins, ZC_FRAME_RETIRED | 1);
    assert_true(zc_word_pinned(word));
    atomic_store(&frame.pins, ZC_FRAME_RETIRED);
    assert_false(zc_word_pinned(word));

    /* In a compressed payload the same bytes are data. */
    atomic_store(&frame.pins, 1);
    frame.head.meta = zc_payload_meta(64, 8, 1);
    assert_false(zc_word_pinned(word));
    assert_false(zc_word_pinned(0));
    assert_false(zc_word_pinned(zc_word_same(4096, 0)));
}

#ifdef ZCACHE_DEBUG
static void frame_of(void *p)
{
    (void)zc_payload_frame(p);
}
#endif

static void a_compressed_payload_is_no_frame(void **state)
{
    (void)state;
#ifdef ZCACHE_DEBUG
    struct zc_frame frame = {.head.meta = zc_payload_meta(64, 8, 1)};

    assert_non_null(assertion_of(frame_of, &frame.head));
#else
    skip();
#endif
}

/* ---------------------------------------------------------------------------------------------- */
/* Same-filled pages. */

static void a_same_filled_page_has_every_length(void **state)
{
    struct rng rng = {seed};

    (void)state;
    for (uint32_t len = 1; len <= MIB; len++) {
        const uint64_t fill = len % 2 == 0 ? 0 : rng_next(&rng);
        const uint64_t word = zc_word_same(len, fill);

        if (!zc_word_is_same(word) || zc_word_same_len(word) != len ||
            word != zc_word_same(len, fill)) {
            fail_msg("length %u", len);
        }
    }
}

/* The word tells which fill belongs to it, so every bit of fill and length must count. */
static void each_bit_of_the_fill_changes_the_word(void **state)
{
    const uint64_t hash_mask = ~UINT64_C(0x1fffff);
    struct rng rng = {seed};

    (void)state;
    for (int round = 0; round < 200; round++) {
        const uint32_t len = 1 + (uint32_t)rng_below(&rng, MIB);
        const uint64_t fill = round == 0 ? 0 : rng_next(&rng);
        const uint64_t hash = zc_word_same(len, fill) & hash_mask;

        for (int bit = 0; bit < 64; bit++) {
            assert_true((zc_word_same(len, fill ^ UINT64_C(1) << bit) & hash_mask) != hash);
        }
        for (int bit = 0; bit < 20; bit++) {
            const uint32_t other = (len - 1) ^ 1u << bit;

            assert_true((zc_word_same(other + 1, fill) & hash_mask) != hash);
        }
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fresh_entry_is_loading_and_the_indexs),
        cmocka_unit_test(every_owner_fits_and_no_other),
        cmocka_unit_test(legal_transitions_work_and_keep_the_flags),
        cmocka_unit_test(illegal_transitions_stop),
        cmocka_unit_test(resident_is_live_or_writing),
        cmocka_unit_test(flags_change_alone),
        cmocka_unit_test(flags_do_not_change_the_state),
        cmocka_unit_test(the_tier_ignores_the_rest_of_where),
        cmocka_unit_test(only_the_last_reference_is_the_last),
        cmocka_unit_test(one_thread_lets_go_last),
        cmocka_unit_test(every_length_fits_into_meta),
        cmocka_unit_test(a_head_is_as_small_as_it_can_be),
        cmocka_unit_test(sizes_are_those_of_the_memory),
        cmocka_unit_test(nothing_and_same_filled_take_no_memory),
        cmocka_unit_test(pinned_is_a_raw_frame_with_a_pin),
        cmocka_unit_test(a_compressed_payload_is_no_frame),
        cmocka_unit_test(a_same_filled_page_has_every_length),
        cmocka_unit_test(each_bit_of_the_fill_changes_the_word),
    };

    seed = test_begin(argc, argv, 7);
    return cmocka_run_group_tests_name("entry", tests, NULL, NULL);
}
