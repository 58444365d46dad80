/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dict.c - dictionaries and the table of their numbers.
 *
 *      payload head                 table                        dictionary
 *      +---------------+            +-----+                      +---------------------------------+
 *      | ... | 16 bits | ---------> | 0   |          +---------> | content, decoder                |
 *      +---------------+            | 1   | ---------+           | an encoder for each level used  |
 *         8 bits place              | ... |                      +---------------------------------+
 *         8 bits generation         +-----+
 *                                    refs: payloads, encodes under way, owner
 *
 * A stored page:   | block as zstd makes it with the dictionary | checksum of the page, 4 bytes |
 *
 * The checksum in a payload's head is of the stored bytes and the number; what they mean depends on the dictionary.
 * So a page carries a second one, of itself: a damaged dictionary, or a number that leads to another, is
 * found by it and by nothing else.  Decoding looks at the second one only.
 *
 * Life.  Making, publishing and giving up is done by one thread at a time (train.c).  References are
 * counted up where a payload is made, from one that exists: the owner's, an encoder's, or, for a copy, that
 * of the payload it is made of.  They are counted down where its memory is freed, after its grace
 * period.  A hit counts nothing: the payload that it found in its section keeps the dictionary.  0 is
 * for good.  Someone with a damaged number may look at any dictionary without a reference, and someone
 * may have read the owner's pointer; so a dictionary is taken out of the table first, and freed a
 * grace period later, when no section can have seen it.  Then its place is free, in the next generation.
 *
 * Locks: a leaf lock around changes of the table.  Nothing else is done under it.
 *
 * Damage.  Heads are not covered by a checksum.  A number that is not in the table is damage for who decodes,
 * and nothing for who counts; a count that is 0 stays 0; and an owner's dictionary stays until it was given up,
 * whatever its count is.
 *
 * Not taken: counting references in a cell for each CPU, so that threads which demote share no line: a
 * demotion costs 20 us, the line below 0.1.
 */
#include "dict.h"

#include <errno.h>
#include <string.h>

#include "check.h"
#include "lock.h"

#define GENERATION_SHIFT 8u
#define GENERATION_MAX   255u

_Static_assert(ZC_DICTS_MAX == 1u << GENERATION_SHIFT, "places fill their bits");

struct zc_dicts {
    uint32_t tag;
    /* set once */
    struct zc_mem mem;
    struct zc_codecs *codecs;
    struct zc_lock lock;
    /* under lock */
    uint8_t generation[ZC_DICTS_MAX];
    /* atomic */
    _Atomic uint32_t count;
    struct zc_dict_place place[ZC_DICTS_MAX]; /* changed under lock, but for the counts */
};

int zc_dicts_create(const struct zc_mem *mem, struct zc_codecs *codecs, struct zc_dicts **out)
{
    struct zc_dicts *dicts = mem->alloc(mem->ctx, sizeof(*dicts));

    if (dicts == NULL) {
        return -ENOMEM;
    }
    dicts->mem = *mem;
    dicts->codecs = codecs;
    zc_lock_init(&dicts->lock, ZC_RANK_leaf);
    dicts->tag = ZC_TAG_DICTS;
    *out = dicts;
    return 0;
}

void zc_dicts_destroy(struct zc_dicts **dicts)
{
    struct zc_dicts *d = *dicts;
    struct zc_mem mem;

    *dicts = NULL;
    if (d == NULL) {
        return;
    }
    ZC_ASSERT(d->tag == ZC_TAG_DICTS);
    for (unsigned i = 0; i < ZC_DICTS_MAX; i++) {
        zc_dict_discard(atomic_load_explicit(&d->place[i].dict, memory_order_acquire));
    }
    zc_lock_fini(&d->lock);
    d->tag = 0;
    mem = d->mem;
    mem.free(mem.ctx, d, sizeof(*d));
}

/* ---- one dictionary ------------------------------------------------------------------------------- */

static void *make_encoder(struct zc_dict *dict, uint8_t codec)
{
    return dict->impl->encoder_create(&dict->dicts->mem, zc_codec_level(dict->dicts->codecs, codec),
                                      dict->content, dict->len);
}

struct zc_dict *zc_dict_make(struct zc_dicts *dicts, uint8_t codec, const void *content, size_t len)
{
    struct zc_dict *dict = dicts->mem.alloc(dicts->mem.ctx, sizeof(*dict));

    ZC_ASSERT(dicts->tag == ZC_TAG_DICTS);
    if (dict == NULL) {
        return NULL;
    }
    dict->dicts = dicts;
    dict->len = len;
    dict->impl = zc_codec_dicts(dicts->codecs, codec);
    ZC_ASSERT(dict->impl != NULL);
    dict->content = dicts->mem.alloc(dicts->mem.ctx, len);
    if (dict->content != NULL) {
        (void)memcpy(dict->content, content, len);
        dict->sum = zc_checksum(content, len);
        dict->decoder = dict->impl->decoder_create(&dicts->mem, dict->content, len);
    }
    if (dict->decoder != NULL) {
        atomic_store(&dict->encoder[codec], make_encoder(dict, codec));
    }
    if (atomic_load(&dict->encoder[codec]) == NULL) {
        zc_dict_discard(dict);
        return NULL;
    }
    return dict;
}

void zc_dict_discard(struct zc_dict *dict)
{
    const struct zc_mem *mem;

    if (dict == NULL) {
        return;
    }
    mem = &dict->dicts->mem;
    for (unsigned i = 0; i < ZC_CODEC_INSTANCES_MAX; i++) {
        dict->impl->encoder_destroy(atomic_load_explicit(&dict->encoder[i], memory_order_acquire));
    }
    dict->impl->decoder_destroy(dict->decoder);
    mem->free(mem->ctx, dict->content, dict->len);
    mem->free(mem->ctx, dict, sizeof(*dict));
}

/* A place for @dict, under the next number that it did not have yet; never ZC_DICT_NO_ID. */
static void occupy_locked(struct zc_dicts *dicts, unsigned i, struct zc_dict *dict)
    ZC_REQUIRES(dicts->lock)
{
    struct zc_dict_place *place = &dicts->place[i];

    dicts->generation[i] = (uint8_t)(dicts->generation[i] % GENERATION_MAX + 1);
    dict->id = (uint16_t)(i | (unsigned)dicts->generation[i] << GENERATION_SHIFT);
    dict->place = place;
    atomic_store(&place->leaving, 0);
    atomic_store(&place->refs, 1);
    atomic_store(&place->id, dict->id);
    atomic_store_explicit(&place->dict, dict, memory_order_release);
    atomic_fetch_add(&dicts->count, 1);
}

int zc_dict_publish(struct zc_dict *dict)
{
    struct zc_dicts *dicts = dict->dicts;
    int rc = -ENOSPC;

    zc_lock_acquire(&dicts->lock);
    for (unsigned i = 0; i < ZC_DICTS_MAX && rc != 0; i++) {
        if (atomic_load(&dicts->place[i].id) == ZC_DICT_NO_ID) {
            occupy_locked(dicts, i, dict);
            rc = 0;
        }
    }
    zc_lock_release(&dicts->lock);
    return rc;
}

/* ---- references ----------------------------------------------------------------------------------- */

static bool add_ref(struct zc_dict_place *place)
{
    uint64_t refs = atomic_load_explicit(&place->refs, memory_order_relaxed);

    while (refs != 0) {
        if (atomic_compare_exchange_weak(&place->refs, &refs, refs + 1)) {
            return true;
        }
    }
    return false;
}

/* Whether that was the last one, and nobody will come back. */
static bool drop_ref(struct zc_dict_place *place)
{
    uint64_t refs = atomic_load_explicit(&place->refs, memory_order_relaxed);

    while (refs != 0 && !atomic_compare_exchange_weak(&place->refs, &refs, refs - 1)) {
    }
    return refs == 1;
}

static struct zc_dict_place *place_of(struct zc_dicts *dicts, uint16_t id)
{
    struct zc_dict_place *place = &dicts->place[id % ZC_DICTS_MAX];

    return id != ZC_DICT_NO_ID && atomic_load(&place->id) == id ? place : NULL;
}

bool zc_dict_try_ref(struct zc_dict *dict)
{
    return add_ref(dict->place);
}

bool zc_dict_unref(struct zc_dict *dict)
{
    return drop_ref(dict->place);
}

bool zc_dict_give_up(struct zc_dict *dict)
{
    atomic_store(&dict->place->leaving, 1);
    return drop_ref(dict->place);
}

void zc_dicts_ref(struct zc_dicts *dicts, uint16_t id)
{
    struct zc_dict_place *place = place_of(dicts, id);

    if (place != NULL) {
        (void)add_ref(place);
    }
}

bool zc_dicts_unref(struct zc_dicts *dicts, uint16_t id)
{
    struct zc_dict_place *place = place_of(dicts, id);

    return place != NULL && drop_ref(place);
}

struct zc_dict *zc_dicts_find(const struct zc_dicts *dicts, uint16_t id)
{
    struct zc_dict *dict =
        atomic_load_explicit(&dicts->place[id % ZC_DICTS_MAX].dict, memory_order_acquire);

    return dict != NULL && dict->id == id ? dict : NULL;
}

/* ---- the end -------------------------------------------------------------------------------------- */

/* Takes those that are over out of the table; their places stay theirs. */
static struct zc_dict *take_over(struct zc_dicts *dicts)
{
    struct zc_dict *over = NULL;

    zc_lock_acquire(&dicts->lock);
    for (unsigned i = 0; i < ZC_DICTS_MAX; i++) {
        struct zc_dict_place *place = &dicts->place[i];
        struct zc_dict *dict = atomic_load_explicit(&place->dict, memory_order_relaxed);

        if (dict != NULL && atomic_load(&place->leaving) != 0 && atomic_load(&place->refs) == 0) {
            atomic_store(&place->dict, NULL);
            atomic_fetch_sub(&dicts->count, 1);
            dict->next_over = over;
            over = dict;
        }
    }
    zc_lock_release(&dicts->lock);
    return over;
}

unsigned zc_dicts_reap(struct zc_dicts *dicts, struct zc_epoch_record *record)
{
    struct zc_dict *over = take_over(dicts);
    unsigned n = 0;

    if (over != NULL) {
        zc_epoch_wait(record);
    }
    while (over != NULL) {
        struct zc_dict *dict = over;

        over = dict->next_over;
        atomic_store(&dict->place->id, ZC_DICT_NO_ID);
        zc_dict_discard(dict);
        n++;
    }
    return n;
}

unsigned zc_dicts_count(const struct zc_dicts *dicts)
{
    return atomic_load_explicit(&dicts->count, memory_order_relaxed);
}

int zc_dicts_walk(const struct zc_dicts *dicts,
                  int (*fn)(void *ctx, struct zc_dict *dict),
                  void *ctx)
{
    int rc = 0;

    for (unsigned i = 0; i < ZC_DICTS_MAX && rc == 0; i++) {
        struct zc_dict *dict = atomic_load_explicit(&dicts->place[i].dict, memory_order_acquire);

        rc = dict != NULL ? fn(ctx, dict) : 0;
    }
    return rc;
}

bool zc_dict_intact(const struct zc_dict *dict)
{
    return zc_checksum(dict->content, dict->len) == dict->sum;
}

/* ---- pages ---------------------------------------------------------------------------------------- */

bool zc_dict_usable(const struct zc_dict *dict, uint8_t codec, size_t len)
{
    return zc_codec_dicts(dict->dicts->codecs, codec) == dict->impl && len <= dict->impl->page_max;
}

/* Two threads may make the same encoder at a time: the second one's goes. */
static void *encoder_for(struct zc_dict *dict, uint8_t codec)
{
    void *encoder = atomic_load_explicit(&dict->encoder[codec], memory_order_acquire);
    void *made;

    if (encoder != NULL) {
        return encoder;
    }
    made = make_encoder(dict, codec);
    if (made == NULL || atomic_compare_exchange_strong(&dict->encoder[codec], &encoder, made)) {
        return made;
    }
    dict->impl->encoder_destroy(made);
    return encoder;
}

size_t zc_dict_encode(struct zc_dict *dict,
                      struct zc_codec_set *set,
                      uint8_t codec,
                      void *dst,
                      size_t cap,
                      const void *src,
                      size_t len)
{
    void *encoder = encoder_for(dict, codec);
    uint32_t sum;
    size_t n;

    if (encoder == NULL) {
        return ZC_CODEC_NO_MEMORY;
    }
    if (cap <= ZC_DICT_SUM) {
        return 0;
    }
    n = zc_codec_encode_with(dict->dicts->codecs, set, codec, encoder, dst, cap - ZC_DICT_SUM, src,
                             len);
    if (n == 0 || n == ZC_CODEC_NO_MEMORY) {
        return n;
    }
    sum = zc_checksum(src, len);
    (void)memcpy((char *)dst + n, &sum, sizeof(sum));
    return n + ZC_DICT_SUM;
}

int zc_dict_decode(const struct zc_dict *dict,
                   struct zc_codec_set *set,
                   uint8_t codec,
                   void *dst,
                   size_t len,
                   const void *src,
                   size_t stored)
{
    uint32_t sum;
    int rc;

    if (stored <= ZC_DICT_SUM || !zc_dict_usable(dict, codec, len)) {
        return -EBADMSG;
    }
    stored -= ZC_DICT_SUM;
    rc =
        zc_codec_decode_with(dict->dicts->codecs, set, codec, dict->decoder, dst, len, src, stored);
    if (rc != 0) {
        return rc;
    }
    (void)memcpy(&sum, (const char *)src + stored, sizeof(sum));
    return zc_checksum(dst, len) == sum ? 0 : -EBADMSG;
}
