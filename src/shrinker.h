/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The background thread: marks, round robin, work ahead of need.
 */
#ifndef ZC_SHRINKER_H
#define ZC_SHRINKER_H

#include "core.h"

/** zc_shrinker_start() - one thread for the cache.  Return: 0; -ENOMEM; -EAGAIN. */
int zc_shrinker_start(struct zcache *cache);

/** zc_shrinker_stop() - end it, after the visit it is at. */
void zc_shrinker_stop(struct zcache *cache);

/** zc_shrinker_pause() - wait for the round under way and hold off the next; nests. */
void zc_shrinker_pause(struct zcache *cache);
void zc_shrinker_resume(struct zcache *cache);

#endif /* ZC_SHRINKER_H */
