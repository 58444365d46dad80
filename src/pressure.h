/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Follows the system's memory pressure: the bound of a cache goes down and up again with it.
 */
#ifndef ZC_PRESSURE_H
#define ZC_PRESSURE_H

#include "core.h"

/** zc_pressure_start() - a thread that looks, if the options ask for it.  Return: 0; -ENOMEM; -EAGAIN;
 *                        -EMFILE, -ENFILE. */
int zc_pressure_start(struct zcache *cache);

/** zc_pressure_stop() - wake it, and wait for the look it is at. */
void zc_pressure_stop(struct zcache *cache);

#endif /* ZC_PRESSURE_H */
