/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Recounts everything.
 */
#ifndef ZC_VERIFY_H
#define ZC_VERIFY_H

#include "core.h"

/** zc_verify() - zcache_verify() with checked arguments. */
int zc_verify(struct zcache *cache, struct zc_thread *th);

#endif /* ZC_VERIFY_H */
