/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How much a page is wanted, as its owner says: zcache_advise().
 */
#ifndef ZC_ADVISE_H
#define ZC_ADVISE_H

#include "page.h"

/** zc_advise() - the call; the tenant is entered.  Return: 0; ZCACHE_MISS. */
int zc_advise(struct zcache_tenant *t,
              struct zc_thread *th,
              struct zcache_key key,
              enum zcache_advice advice);

#endif /* ZC_ADVISE_H */
