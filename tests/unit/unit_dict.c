/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dict: pages come back by their own dictionary and by no other; numbers, references, and the end of a
 * dictionary that nobody refers to any more.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "assertion.h"
#include "dict.h"
#include "mathx.h"
#include "plat.h"
#include "records.h"

#define SAMPLES  200u
#define CAP      ((size_t)16384)
#define ACCURACY 16u

/* ---------------------------------------------------------------------------------------------- */
/* Memory that is counted and may be refused. */

static atomic_long n_held;
static atomic_long n_until_refusal; /* 0: never */

static void *take(void *ctx, size_t size)
{
    size_t room = zc_align_up(size, ZC_CACHE_LINE);
    void *ptr;

    (void)ctx;
    if (atomic_load(&n_until_refusal) > 0 && atomic_fetch_sub(&n_until_refusal, 1) == 1) {
        return NULL;
    }
    ptr = aligned_alloc(ZC_CACHE_LINE, room);
    REQUIRE(ptr != NULL);
    atomic_fetch_add(&n_held, (long)size);
    return memset(ptr, 0, room);
}

static void give(void *ctx, void *ptr, size_t size)
{
    (void)ctx;
    if (ptr != NULL) {
        memset(ptr, 0xdd, size);
        atomic_fetch_sub(&n_held, (long)size);
        free(ptr);
    }
}

static const struct zc_mem mem = {take, give, NULL};

static void free_nothing(void *ctx, void *ptr, size_t bytes, void *arg)
{
    (void)ctx;
    (void)ptr;
    (void)bytes;
    (void)arg;
}

/* ---------------------------------------------------------------------------------------------- */

struct fixture {
    struct zc_codecs *codecs;
    struct zc_codec_set set;
    struct zc_dicts *dicts;
    struct zc_epoch *epoch;
    struct zc_epoch_record *record;
    uint8_t zstd;
    uint8_t lz4;
};

static void setup(struct fixture *f)
{
    *f = (struct fixture){0};
    assert_int_equal(zc_codecs_create(&mem, &f->codecs), 0);
    assert_int_equal(zc_codecs_instance(f->codecs, "zstd:3", &f->zstd), 0);
    assert_int_equal(zc_codecs_instance(f->codecs, "lz4", &f->lz4), 0);
    assert_int_equal(zc_dicts_create(&mem, f->codecs, &f->dicts), 0);
    assert_int_equal(zc_epoch_create(&mem, free_nothing, NULL, 65536, &f->epoch), 0);
    assert_int_equal(zc_epoch_register(f->epoch, &f->record), 0);
}

static void teardown(struct fixture *f)
{
    zc_epoch_unregister(&f->record);
    zc_epoch_destroy(&f->epoch);
    zc_dicts_destroy(&f->dicts);
    assert_null(f->dicts);
    zc_codec_set_fini(f->codecs, &f->set);
    zc_codecs_destroy(&f->codecs);
    assert_int_equal(atomic_load(&n_held), 0);
}

static size_t train(struct fixture *f, unsigned kind, void *out)
{
    static char samples[SAMPLES][PAGE];
    size_t sizes[SAMPLES];
    size_t n;

    for (unsigned i = 0; i < SAMPLES; i++) {
        records_make(samples[i], PAGE, kind, i);
        sizes[i] = PAGE;
    }
    n = zc_codec_dicts(f->codecs, f->zstd)->train(3, out, CAP, samples, sizes, SAMPLES, ACCURACY);
    assert_in_range(n, 1, CAP);
    return n;
}

/* A dictionary for pages of a kind, with a number. */
static struct zc_dict *make(struct fixture *f, unsigned kind)
{
    char content[CAP];
    size_t n = train(f, kind, content);
    struct zc_dict *dict = zc_dict_make(f->dicts, f->zstd, content, n);

    assert_non_null(dict);
    assert_int_equal(zc_dict_publish(dict), 0);
    return dict;
}

/* ---------------------------------------------------------------------------------------------- */
/* Pages. */

static void a_page_comes_back_and_is_smaller(void **state)
{
    struct fixture f;
    char page[PAGE];
    char stored[PAGE];
    char back[PAGE];

    (void)state;
    setup(&f);
    struct zc_dict *dict = make(&f, 1);
    assert_true(zc_dict_intact(dict));
    records_make(page, PAGE, 1, 5000); /* not one of the samples */
    const size_t plain = zc_codec_encode(f.codecs, &f.set, f.zstd, stored, PAGE, page, PAGE);
    const size_t n = zc_dict_encode(dict, &f.set, f.zstd, stored, PAGE, page, PAGE);
    assert_in_range(n, 1, plain * 95 / 100);
    assert_int_equal(zc_dict_decode(dict, &f.set, f.zstd, back, PAGE, stored, n), 0);
    assert_memory_equal(back, page, PAGE);
    /* Exactly its room is enough, and nothing is written beyond one that is not. */
    memset(back, 0x5a, sizeof(back));
    assert_int_equal(zc_dict_encode(dict, &f.set, f.zstd, back, n - 200, page, PAGE), 0);
    assert_int_equal(back[n - 200], 0x5a);
    assert_int_equal(zc_dict_encode(dict, &f.set, f.zstd, back, ZC_DICT_SUM, page, PAGE), 0);
    /* The plain format is as good as before, with the same contexts. */
    assert_int_equal(zc_codec_encode(f.codecs, &f.set, f.zstd, stored, PAGE, page, PAGE), plain);
    assert_int_equal(zc_codec_decode(f.codecs, &f.set, f.zstd, back, PAGE, stored, plain), 0);
    assert_memory_equal(back, page, PAGE);
    teardown(&f);
}

/* What a block begins with (RFC 8878, 3.1.1.3.1.1): how its literals are stored. */
enum literals {
    RAW,
    RLE,
    HUFFMAN,
    TREELESS
};

/* Half of the page one long match, half noise of @values different bytes. */
static void half_noise(char *page, unsigned values)
{
    uint32_t x = 2463534242u + values;

    memset(page, 0, PAGE);
    for (size_t i = 0; i < PAGE / 2; i++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        page[i] = (char)((x >> 8) % values);
    }
}

static unsigned literals_of(struct fixture *f, struct zc_dict *dict, uint8_t codec, unsigned values)
{
    char page[PAGE];
    char stored[PAGE];
    char back[PAGE];

    half_noise(page, values);
    const size_t n = zc_dict_encode(dict, &f->set, codec, stored, PAGE, page, PAGE);
    assert_in_range(n, 1, PAGE - 1);
    assert_int_equal(zc_dict_decode(dict, &f->set, codec, back, PAGE, stored, n), 0);
    assert_memory_equal(back, page, PAGE);
    return stored[0] & 3;
}

/* A code that saves a quarter of the noise is worth it; one that saves next to nothing is not. */
static void literals_are_coded_where_that_saves_enough(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    struct zc_dict *dict = make(&f, 1);
    for (unsigned i = 0; i < 3; i++) { /* the contexts are as good as before */
        assert_int_equal(literals_of(&f, dict, f.zstd, 256), RAW);
        assert_in_range(literals_of(&f, dict, f.zstd, 64), HUFFMAN, TREELESS);
        assert_in_range(literals_of(&f, dict, f.zstd, 16), HUFFMAN, TREELESS);
    }
    teardown(&f);
}

/*
 * How many of some pages have their literals as they are although codes would make them shorter.  With
 * room for the block, but not for the head that it has at first, a page gets codes.
 */
static unsigned longer_than_with_codes(struct fixture *f, struct zc_dict *dict, uint8_t codec)
{
    char page[PAGE];
    char stored[PAGE];
    char back[PAGE];
    unsigned longer = 0;

    for (unsigned i = 1; i <= 200; i++) {
        half_noise(page, 257 - i);
        const size_t n = zc_dict_encode(dict, &f->set, codec, stored, PAGE, page, PAGE);
        assert_in_range(n, 1, PAGE - 5);
        const bool raw = (stored[0] & 3) == RAW;
        const size_t coded = zc_dict_encode(dict, &f->set, codec, stored, n + 4, page, PAGE);
        if (coded == 0) { /* zstd wants some room to spare */
            continue;
        }
        assert_in_range(n, coded, coded + coded / 16);
        assert_true(n == coded || raw);
        assert_int_equal(zc_dict_decode(dict, &f->set, codec, back, PAGE, stored, coded), 0);
        assert_memory_equal(back, page, PAGE);
        longer += n > coded ? 1 : 0;
    }
    return longer;
}

static void quick_literals_cost_a_sixteenth_at_most(void **state)
{
    struct fixture f;
    uint8_t small;

    (void)state;
    setup(&f);
    struct zc_dict *dict = make(&f, 1);
    assert_int_equal(zc_codecs_instance(f.codecs, "zstd:6", &small), 0);
    assert_in_range(longer_than_with_codes(&f, dict, f.zstd), 1, 200);
    assert_int_equal(longer_than_with_codes(&f, dict, small), 0);
    teardown(&f);
}

static void every_length_comes_back(void **state)
{
    struct fixture f;
    static char page[200000];
    static char stored[sizeof(page) * 2];
    static char back[sizeof(page)];
    static const size_t lengths[] = {1, 2, 7, 64, 255, 1000, 4095, 4097, 16384, 131072};

    (void)state;
    setup(&f);
    struct zc_dict *dict = make(&f, 1);
    records_make(page, sizeof(page), 1, 77);
    for (unsigned i = 0; i < ZC_ARRAY_SIZE(lengths); i++) {
        const size_t len = lengths[i];
        const size_t n = zc_dict_encode(dict, &f.set, f.zstd, stored, sizeof(stored), page, len);

        assert_true(zc_dict_usable(dict, f.zstd, len));
        if (n == 0) {
            assert_in_range(len, 1, 7); /* a few bytes do not get smaller, in whatever room */
            continue;
        }
        assert_int_equal(zc_dict_decode(dict, &f.set, f.zstd, back, len, stored, n), 0);
        assert_memory_equal(back, page, len);
        assert_int_equal(
            zc_dict_decode(dict, &f.set, f.zstd, back, len == 1 ? 2 : len - 1, stored, n),
            -EBADMSG);
    }
    assert_false(zc_dict_usable(dict, f.zstd, 131073)); /* more than one block */
    assert_int_equal(zc_dict_decode(dict, &f.set, f.zstd, back, 131073, stored, 100), -EBADMSG);
    teardown(&f);
}

static void damage_anywhere_is_damage(void **state)
{
    struct fixture f;
    char page[PAGE];
    char stored[PAGE];
    char back[PAGE];

    (void)state;
    setup(&f);
    struct zc_dict *dict = make(&f, 1);
    struct zc_dict *other = make(&f, 1); /* the same content under another number */
    struct zc_dict *foreign = make(&f, 2);
    records_make(page, PAGE, 1, 5000);
    const size_t n = zc_dict_encode(dict, &f.set, f.zstd, stored, PAGE, page, PAGE);
    for (size_t i = 0; i < n; i++) {
        stored[i] ^= 0x20;
        assert_int_equal(zc_dict_decode(dict, &f.set, f.zstd, back, PAGE, stored, n), -EBADMSG);
        stored[i] ^= 0x20;
    }
    assert_int_equal(zc_dict_decode(dict, &f.set, f.zstd, back, PAGE, stored, n - 1), -EBADMSG);
    assert_int_equal(zc_dict_decode(dict, &f.set, f.zstd, back, PAGE, stored, ZC_DICT_SUM),
                     -EBADMSG);
    assert_int_equal(zc_dict_decode(dict, &f.set, f.lz4, back, PAGE, stored, n), -EBADMSG);
    assert_int_equal(zc_dict_decode(foreign, &f.set, f.zstd, back, PAGE, stored, n), -EBADMSG);
    assert_int_equal(zc_dict_decode(other, &f.set, f.zstd, back, PAGE, stored, n), 0);
    /* A byte of the dictionary that the page refers to: found by the page's own checksum only. */
    unsigned found = 0;
    for (size_t i = 0; i < dict->len; i++) {
        ((char *)dict->content)[i] ^= 1;
        assert_false(zc_dict_intact(dict));
        const int rc = zc_dict_decode(dict, &f.set, f.zstd, back, PAGE, stored, n);
        assert_true(rc == -EBADMSG || (rc == 0 && memcmp(back, page, PAGE) == 0));
        found += rc != 0;
        ((char *)dict->content)[i] ^= 1;
    }
    assert_in_range(found, 100, PAGE);
    teardown(&f);
}

static void a_level_is_prepared_at_its_first_use(void **state)
{
    struct fixture f;
    char page[PAGE];
    char stored[PAGE];
    char back[PAGE];
    uint8_t other;

    (void)state;
    setup(&f);
    struct zc_dict *dict = make(&f, 1);
    assert_int_equal(zc_codecs_instance(f.codecs, "zstd:9", &other), 0);
    assert_null(atomic_load(&dict->encoder[other]));
    records_make(page, PAGE, 1, 5000);
    atomic_store(&n_until_refusal, 1);
    assert_true(zc_dict_encode(dict, &f.set, other, stored, PAGE, page, PAGE) ==
                ZC_CODEC_NO_MEMORY);
    atomic_store(&n_until_refusal, 0);
    const size_t n = zc_dict_encode(dict, &f.set, other, stored, PAGE, page, PAGE);
    assert_in_range(n, 1, PAGE / 2);
    void *encoder = atomic_load(&dict->encoder[other]);
    assert_non_null(encoder);
    assert_true(zc_dict_encode(dict, &f.set, other, stored, PAGE, page, PAGE) == n);
    assert_ptr_equal(atomic_load(&dict->encoder[other]), encoder);
    assert_int_equal(zc_dict_decode(dict, &f.set, other, back, PAGE, stored, n), 0);
    assert_memory_equal(back, page, PAGE);
    assert_false(zc_dict_usable(dict, f.lz4, PAGE));
    assert_null(zc_codec_dicts(f.codecs, f.lz4));
    assert_null(zc_codec_dicts(f.codecs, 0));
    assert_null(zc_codec_dicts(f.codecs, 200));
    teardown(&f);
}

static void without_memory_there_is_none(void **state)
{
    struct fixture f;
    char content[CAP];
    struct zc_dict *dict = NULL;

    (void)state;
    setup(&f);
    const size_t n = train(&f, 1, content);
    const long before = atomic_load(&n_held);
    unsigned refusals = 0;
    while (dict == NULL) {
        atomic_store(&n_until_refusal, (long)refusals + 1);
        dict = zc_dict_make(f.dicts, f.zstd, content, n);
        if (dict == NULL) {
            assert_int_equal(atomic_load(&n_held), before);
            refusals++;
        }
    }
    atomic_store(&n_until_refusal, 0);
    assert_in_range(refusals, 4, 20);
    zc_dict_discard(dict);
    zc_dict_discard(NULL);
    assert_int_equal(atomic_load(&n_held), before);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Numbers and references. */

/* Without the cost of training. */
static struct zc_dict *make_small(struct fixture *f)
{
    static char content[CAP];
    static size_t n;
    struct zc_dict *dict;

    if (n == 0) {
        n = train(f, 1, content);
    }
    dict = zc_dict_make(f->dicts, f->zstd, content, n);
    assert_non_null(dict);
    return dict;
}

static void it_goes_with_its_last_reference(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    const long before = atomic_load(&n_held);
    struct zc_dict *dict = make_small(&f);
    assert_int_equal(zc_dict_publish(dict), 0);
    const uint16_t id = dict->id;
    assert_int_not_equal(id, ZC_DICT_NO_ID);
    assert_ptr_equal(zc_dicts_find(f.dicts, id), dict);
    assert_true(zc_dict_try_ref(dict));
    zc_dicts_ref(f.dicts, id);
    assert_int_equal(atomic_load(&dict->place->refs), 3);
    assert_int_equal(zc_dicts_reap(f.dicts, f.record), 0);
    assert_false(zc_dict_give_up(dict)); /* two payloads have it still */
    assert_int_equal(zc_dicts_reap(f.dicts, f.record), 0);
    assert_ptr_equal(zc_dicts_find(f.dicts, id), dict);
    assert_false(zc_dicts_unref(f.dicts, id));
    assert_true(zc_dict_unref(dict)); /* the last */
    assert_false(zc_dict_try_ref(dict));
    zc_dicts_ref(f.dicts, id);
    assert_false(zc_dicts_unref(f.dicts, id)); /* 0 is for good */
    assert_int_equal(zc_dicts_count(f.dicts), 1);
    assert_int_equal(zc_dicts_reap(f.dicts, f.record), 1);
    assert_int_equal(zc_dicts_count(f.dicts), 0);
    assert_null(zc_dicts_find(f.dicts, id));
    assert_false(zc_dicts_unref(f.dicts, id));
    assert_int_equal(atomic_load(&n_held), before);
    teardown(&f);
}

static void an_owner_keeps_it_whatever_the_count(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    struct zc_dict *dict = make_small(&f);
    assert_int_equal(zc_dict_publish(dict), 0);
    assert_true(zc_dicts_unref(f.dicts, dict->id)); /* a damaged head's */
    assert_int_equal(zc_dicts_reap(f.dicts, f.record), 0);
    assert_ptr_equal(zc_dicts_find(f.dicts, dict->id), dict);
    assert_false(zc_dict_give_up(dict));
    assert_int_equal(zc_dicts_reap(f.dicts, f.record), 1);
    teardown(&f);
}

static void a_number_comes_back_in_another_generation(void **state)
{
    struct fixture f;
    bool seen[65536] = {false};

    (void)state;
    setup(&f);
    for (unsigned i = 0; i < 255; i++) {
        struct zc_dict *dict = make_small(&f);

        assert_int_equal(zc_dict_publish(dict), 0);
        assert_int_not_equal(dict->id, ZC_DICT_NO_ID);
        assert_false(seen[dict->id]);
        seen[dict->id] = true;
        (void)zc_dict_give_up(dict);
        assert_int_equal(zc_dicts_reap(f.dicts, f.record), 1);
    }
    teardown(&f);
}

static int count_one(void *ctx, struct zc_dict *dict)
{
    unsigned *n = ctx;

    (void)dict;
    return ++*n == 200;
}

static void numbers_run_out(void **state)
{
    struct fixture f;
    struct zc_dict *first = NULL;
    unsigned n = 0;

    (void)state;
    setup(&f);
    for (unsigned i = 0; i < ZC_DICTS_MAX; i++) {
        struct zc_dict *dict = make_small(&f);

        first = first == NULL ? dict : first;
        assert_int_equal(zc_dict_publish(dict), 0);
    }
    struct zc_dict *more = make_small(&f);
    assert_int_equal(zc_dict_publish(more), -ENOSPC);
    assert_int_equal(zc_dicts_count(f.dicts), ZC_DICTS_MAX);
    assert_int_equal(zc_dicts_walk(f.dicts, count_one, &n), 1);
    assert_int_equal(n, 200);
    const uint16_t id = first->id;
    assert_true(zc_dict_give_up(first));
    assert_int_equal(zc_dict_publish(more), -ENOSPC); /* its place is not free yet */
    assert_int_equal(zc_dicts_reap(f.dicts, f.record), 1);
    assert_int_equal(zc_dict_publish(more), 0);
    assert_int_equal(more->id % ZC_DICTS_MAX, id % ZC_DICTS_MAX);
    assert_int_not_equal(more->id, id);
    assert_null(zc_dicts_find(f.dicts, id)); /* a payload with the old number is damaged */
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Readers. */

static void *reap(void *arg)
{
    struct fixture *f = arg;
    struct zc_epoch_record *record;

    REQUIRE_EQUAL(zc_epoch_register(f->epoch, &record), 0);
    REQUIRE_EQUAL(zc_dicts_reap(f->dicts, record), 1);
    zc_epoch_unregister(&record);
    return NULL;
}

static void a_reader_that_found_it_may_finish(void **state)
{
    struct fixture f;
    pthread_t reaper;

    (void)state;
    setup(&f);
    struct zc_dict *dict = make_small(&f);
    assert_int_equal(zc_dict_publish(dict), 0);
    zc_epoch_enter(f.record);
    assert_ptr_equal(zc_dicts_find(f.dicts, dict->id), dict);
    struct zc_dict_place *place = dict->place;
    assert_true(zc_dict_give_up(dict));
    const long before = atomic_load(&n_held);
    assert_int_equal(pthread_create(&reaper, NULL, reap, &f), 0);
    WAIT_UNTIL(atomic_load(&place->dict) == NULL, 5000);
    /* It is out of the table, and must not go while we look at it. */
    const uint64_t until = deadline_in(20);
    while (pause_before(until)) {
        REQUIRE(atomic_load(&n_held) >= before);
        REQUIRE(zc_dict_intact(dict));
    }
    assert_int_not_equal(atomic_load(&place->id), ZC_DICT_NO_ID); /* nor its place be another's */
    zc_epoch_exit(f.record);
    assert_int_equal(pthread_join(reaper, NULL), 0);
    assert_int_equal(atomic_load(&place->id), ZC_DICT_NO_ID);
    teardown(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_page_comes_back_and_is_smaller),
        cmocka_unit_test(literals_are_coded_where_that_saves_enough),
        cmocka_unit_test(quick_literals_cost_a_sixteenth_at_most),
        cmocka_unit_test(every_length_comes_back),
        cmocka_unit_test(damage_anywhere_is_damage),
        cmocka_unit_test(a_level_is_prepared_at_its_first_use),
        cmocka_unit_test(without_memory_there_is_none),
        cmocka_unit_test(it_goes_with_its_last_reference),
        cmocka_unit_test(an_owner_keeps_it_whatever_the_count),
        cmocka_unit_test(a_number_comes_back_in_another_generation),
        cmocka_unit_test(numbers_run_out),
        cmocka_unit_test(a_reader_that_found_it_may_finish),
    };

    (void)test_begin(argc, argv, 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
