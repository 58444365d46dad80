/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Dictionaries for the dense tier: samples of what is demoted, training in a thread of its own, and the choice by
 * what a dictionary gains on pages that it was not trained with.
 */
#ifndef ZC_TRAIN_H
#define ZC_TRAIN_H

#include <stdint.h>

#include "dict.h"
#include "tenant.h"

struct zc_train;

/**
 * zc_train_create() - cache->train, of a cache that may have dictionaries; it stays NULL for others.
 *
 * Return: 0; -ENOMEM.
 */
int zc_train_create(struct zcache *cache);

/** zc_train_stop() - end the thread, after the call to the codec that it is in. */
void zc_train_stop(struct zcache *cache);

/** zc_train_destroy() - after zc_train_stop(). */
void zc_train_destroy(struct zcache *cache);

/** zc_train_work() - the shrinker's part: start the thread when there is something to train, free dictionaries
 * that nobody refers to any more.  No lock, no section. */
void zc_train_work(struct zcache *cache, struct zc_thread *th);

/**
 * zc_train_yield() - somebody is about to be refused: give back the room of a sample that no training
 *                    has begun with, and what was saved up.  No lock, no section.
 *
 * Return: bytes that were given back.
 */
uint64_t zc_train_yield(struct zcache *cache);

/** zc_train_holds() - whether a training is under way, whose room comes back soon. */
bool zc_train_holds(struct zcache *cache);

/** zc_train_pause() - wait for a training under way and hold off the next; nests. */
void zc_train_pause(struct zcache *cache);
void zc_train_resume(struct zcache *cache);

/**
 * zc_train_dictionary() - what a page of @t is to be encoded with now, by instance @codec.
 *
 * Return: the dictionary with a reference, for the payload or for zc_train_unref(); NULL for none.
 */
struct zc_dict *zc_train_dictionary(struct zcache_tenant *t,
                                    struct zc_thread *th,
                                    uint8_t codec,
                                    size_t len);

/** zc_train_unref() - a reference that no payload took over. */
void zc_train_unref(struct zcache *cache, struct zc_dict *dict);

/**
 * zc_train_note() - a page of @t was encoded for the dense tier.
 * @page:   its @len bytes; copied if it becomes part of a sample.
 * @stored: bytes that the codec made of it.
 */
void zc_train_note(struct zcache_tenant *t, const void *page, size_t len, size_t stored);

#ifdef ZCACHE_TEST_HOOKS
/** zc_train_hurry() - no rest between trainings of this cache, for tests. */
void zc_train_hurry(struct zcache *cache);

/** zc_train_busy() - whether a sample waits for its training, or is in it. */
bool zc_train_busy(struct zcache *cache);
#endif

#endif /* ZC_TRAIN_H */
