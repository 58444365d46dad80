/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Compaction: pages move out of the emptiest slabs, which then go back to the system.
 */
#ifndef ZC_COMPACT_H
#define ZC_COMPACT_H

#include <stdbool.h>
#include <stdint.h>

#include "core.h"

/**
 * zc_compact() - move what can be moved until nothing is left to win, or the deadline.
 *
 * @freed_out:   bytes given back to the system meanwhile.
 *
 * Not inside a section, no lock held.
 *
 * Return: 0; -EBUSY somebody is at it.
 */
int zc_compact(struct zcache *cache,
               struct zc_thread *th,
               uint64_t deadline_ns,
               uint64_t *freed_out);

/** zc_compact_when() - the time from which it pays; 0: slabs are not so sparse. */
uint64_t zc_compact_when(struct zcache *cache);

/**
 * zc_compact_for_demotions() - compact if that is why pages cannot get smaller: the pools are at their bound.
 *
 * Pages that get smaller leave holes behind, in slabs that nothing of their new size can use: to win these
 * back is what makes the room.
 *
 * Return: whether there is room now.
 */
bool zc_compact_for_demotions(struct zcache *cache, struct zc_thread *th);

/**
 * zc_compact_make_room() - an allocation failed: compact, or wait for who does.
 * @flags: of the call: NOWAIT.
 *
 * Return: whether it is worth while to try again.
 */
bool zc_compact_make_room(struct zcache *cache,
                          struct zc_thread *th,
                          unsigned flags,
                          struct zc_stall *stall);

#endif /* ZC_COMPACT_H */
