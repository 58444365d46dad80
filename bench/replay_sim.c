/* SPDX-License-Identifier: BSD-2-Clause */
#include "clock.h"
#include "replay.h"

void replay_sim(const struct sim_ops *ops,
                const struct trace *trace,
                uint32_t capacity,
                struct replay_result *out)
{
    void *sim = ops->open(capacity, trace->pages);
    const double begin = clock_seconds(), cpu_begin = clock_cpu_seconds();

    *out = (struct replay_result){0};
    for (size_t i = 0; i < trace->n; i++) {
        out->hits += ops->use(sim, trace->request[i].page) ? 1 : 0;
    }
    out->seconds = clock_seconds() - begin;
    out->cpu_seconds = clock_cpu_seconds() - cpu_begin;
    ops->close(sim);
}
