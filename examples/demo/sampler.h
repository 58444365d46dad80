/* SPDX-License-Identifier: BSD-2-Clause */
/* A thread that compares every account's charge with its limit, about a thousand times a second. */
#ifndef DEMO_SAMPLER_H
#define DEMO_SAMPLER_H

#include "house.h"

#include <pthread.h>

#define ACCOUNTS (MEMBERS + 2) /* the tenants, the one above them, the root */

struct account {
    const char *name;
    struct zcache_tenant *tenant;
    uint64_t peak_bytes; /* highest charge sampled */
    uint64_t passed;     /* samples in which the limit was passed */
};

struct sampler {
    pthread_t thread;
    _Atomic bool stop;
    struct account account[ACCOUNTS];
    uint64_t samples;
};

/* Return: 0; a negative errno. */
int sampler_start(struct sampler *s, const struct house *h);

/* Ends the thread; peak_bytes, passed and samples may be read then. */
void sampler_stop(struct sampler *s);

#endif /* DEMO_SAMPLER_H */
