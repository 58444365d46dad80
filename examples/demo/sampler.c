/* SPDX-License-Identifier: BSD-2-Clause */
#include "sampler.h"
#include "problem.h"

#include <inttypes.h>
#include <time.h>

#include <zcache/stats.h>

#define PERIOD_NS 1000000

static void sample(struct account *a)
{
    struct zcache_stats stats = {.struct_size = sizeof stats};
    uint64_t charge;

    if (zcache_stats(a->tenant, &stats) != 0) {
        problem("%s: no statistics", a->name);
        return;
    }
    charge = stats.gauge.charge_bytes;
    if (charge > a->peak_bytes) {
        a->peak_bytes = charge;
    }
    if (charge > stats.gauge.limit_bytes) {
        a->passed++;
        problem("%s: charge %" PRIu64 " bytes, limit %" PRIu64, a->name, charge,
                stats.gauge.limit_bytes);
    }
}

static void *work(void *arg)
{
    struct sampler *s = arg;
    struct timespec next, now;

    (void)clock_gettime(CLOCK_MONOTONIC, &next);
    while (!atomic_load(&s->stop)) {
        for (unsigned i = 0; i < ACCOUNTS; i++) {
            sample(&s->account[i]);
        }
        s->samples++;
        next.tv_nsec += PERIOD_NS;
        if (next.tv_nsec >= 1000000000) {
            next.tv_nsec -= 1000000000;
            next.tv_sec++;
        }
        (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
        (void)clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec > next.tv_sec) {
            next = now; /* it was kept from running: do not make up for what it missed */
        }
    }
    return NULL;
}

int sampler_start(struct sampler *s, const struct house *h)
{
    *s = (struct sampler){0};
    for (unsigned i = 0; i < MEMBERS; i++) {
        s->account[i].name = h->member[i].name;
        s->account[i].tenant = h->member[i].tenant;
    }
    s->account[MEMBERS] = (struct account){.name = "everyone", .tenant = h->everyone};
    s->account[MEMBERS + 1] = (struct account){.name = "cache", .tenant = zcache_root(h->cache)};
    return -pthread_create(&s->thread, NULL, work, s);
}

void sampler_stop(struct sampler *s)
{
    atomic_store(&s->stop, true);
    (void)pthread_join(s->thread, NULL);
}
