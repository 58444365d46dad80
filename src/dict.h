/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dictionaries of one cache: a table from the 16-bit number that a payload records to what decodes it,
 * with references counted by payload.
 *
 * A dictionary is in use while its owner encodes with it, then retired: it decodes what was encoded and
 * takes nothing new.  It leaves the table when it is retired and its last reference is gone, and its
 * memory goes a grace period later (zc_dicts_reap).
 */
#ifndef ZC_DICT_H
#define ZC_DICT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "codec.h"
#include "epoch.h"

#define ZC_DICTS_MAX  256u /* at one time in one cache */
#define ZC_DICT_SUM   4u   /* bytes behind a block: checksum of the page */
#define ZC_DICT_NO_ID 0u   /* of a payload without a dictionary */

struct zc_dicts;
struct zc_dict;

/** struct zc_dict_place - a row of the table. */
struct zc_dict_place {
    _Atomic uint64_t refs;    /* payloads, encodes under way, and the owner; 0 for good */
    _Atomic uint32_t id;      /* ZC_DICT_NO_ID: free */
    _Atomic uint32_t leaving; /* the owner gave it up */
    _Atomic(struct zc_dict *)
        dict; /* release, after it is complete; acquire; NULL: free or going */
};

struct zc_dict {
    /* set once */
    struct zc_dicts *dicts;
    void *content;
    size_t len;
    uint32_t sum; /* checksum of the content */
    const struct zc_codec_dict_impl *impl;
    void *decoder;
    struct zc_dict_place *place; /* NULL until zc_dict_publish() */
    uint16_t id;
    /* atomic */
    _Atomic(void *) encoder[ZC_CODEC_INSTANCES_MAX]; /* made at first use; release, acquire */
    /* whoever reaps it */
    struct zc_dict *next_over;
};

/** zc_dicts_create() - @mem is for dictionaries and all that belongs to them.  Return: 0; -ENOMEM. */
int zc_dicts_create(const struct zc_mem *mem, struct zc_codecs *codecs, struct zc_dicts **out);

/** zc_dicts_destroy() - with all dictionaries; nobody uses one. */
void zc_dicts_destroy(struct zc_dicts **dicts);

/**
 * zc_dict_make() - prepare a dictionary for the codec of instance @codec, which must have dictionaries.
 * @content: copied.
 *
 * Nobody sees it before zc_dict_publish().
 *
 * Return: the dictionary; NULL without memory, or if the codec cannot use @content.
 */
struct zc_dict *zc_dict_make(struct zc_dicts *dicts,
                             uint8_t codec,
                             const void *content,
                             size_t len);

/** zc_dict_discard() - free one that was not published. */
void zc_dict_discard(struct zc_dict *dict);

/** zc_dict_publish() - give it a number and one reference, its owner's.  Return: 0; -ENOSPC all numbers are in use. */
int zc_dict_publish(struct zc_dict *dict);

/**
 * zc_dict_give_up() - its owner will not encode with it any more, and drops the owner's reference.
 *
 * Return: true if that was the last reference: zc_dicts_reap() has work.
 */
bool zc_dict_give_up(struct zc_dict *dict);

/** zc_dict_try_ref() - one reference more; false if it is on its way out.  Inside a section. */
bool zc_dict_try_ref(struct zc_dict *dict);

/** zc_dict_unref() - Return: true if zc_dicts_reap() has work. */
bool zc_dict_unref(struct zc_dict *dict);

/** zc_dicts_ref(), zc_dicts_unref() - by the number in a payload; nothing if there is none such. */
void zc_dicts_ref(struct zc_dicts *dicts, uint16_t id);
bool zc_dicts_unref(struct zc_dicts *dicts, uint16_t id);

/** zc_dicts_find() - by number; inside a section, which keeps it.  NULL if there is none such. */
struct zc_dict *zc_dicts_find(const struct zc_dicts *dicts, uint16_t id);

/**
 * zc_dicts_reap() - free the dictionaries that nobody refers to; waits for a grace period if there are
 * any.  No lock held, no section.
 *
 * Return: how many.
 */
unsigned zc_dicts_reap(struct zc_dicts *dicts, struct zc_epoch_record *record);

/** zc_dicts_count() - how many have a number. */
unsigned zc_dicts_count(const struct zc_dicts *dicts);

/** zc_dicts_walk() - calls @fn with each; inside a section.  Return: the first result that is not 0. */
int zc_dicts_walk(const struct zc_dicts *dicts,
                  int (*fn)(void *ctx, struct zc_dict *dict),
                  void *ctx);

/** zc_dict_intact() - whether its content is what it was made of. */
bool zc_dict_intact(const struct zc_dict *dict);

/** zc_dict_usable() - whether pages of @len can be encoded by instance @codec with @dict. */
bool zc_dict_usable(const struct zc_dict *dict, uint8_t codec, size_t len);

/**
 * zc_dict_encode() - as zc_codec_encode(); zc_dict_usable(), and the caller has a reference.
 *
 * The first encode at a level prepares the dictionary for it.
 */
size_t zc_dict_encode(struct zc_dict *dict,
                      struct zc_codec_set *set,
                      uint8_t codec,
                      void *dst,
                      size_t cap,
                      const void *src,
                      size_t len);

/**
 * zc_dict_decode() - as zc_codec_decode(); the page is compared with the checksum that it had, so that a
 * damaged dictionary, or another than the right one, is found.
 *
 * Return: 0; -EBADMSG; -ENOMEM.
 */
int zc_dict_decode(const struct zc_dict *dict,
                   struct zc_codec_set *set,
                   uint8_t codec,
                   void *dst,
                   size_t len,
                   const void *src,
                   size_t stored);

#endif /* ZC_DICT_H */
