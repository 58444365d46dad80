/* SPDX-License-Identifier: BSD-2-Clause */
/* Queues of page numbers that share one array of links: a page is in one of them at most. */
#ifndef BENCH_SIM_QUEUE_H
#define BENCH_SIM_QUEUE_H

#include <stdint.h>

#define SIM_NONE UINT32_MAX

struct sim_link {
    uint32_t older;
    uint32_t newer;
};

struct sim_queue {
    uint32_t oldest;
    uint32_t newest;
    uint32_t n;
};

#define SIM_QUEUE_INIT ((struct sim_queue){SIM_NONE, SIM_NONE, 0})

static inline void sim_queue_push(struct sim_queue *q, struct sim_link *link, uint32_t page)
{
    link[page] = (struct sim_link){.older = q->newest, .newer = SIM_NONE};
    if (q->newest != SIM_NONE) {
        link[q->newest].newer = page;
    } else {
        q->oldest = page;
    }
    q->newest = page;
    q->n++;
}

static inline void sim_queue_remove(struct sim_queue *q, struct sim_link *link, uint32_t page)
{
    const struct sim_link l = link[page];

    if (l.older != SIM_NONE) {
        link[l.older].newer = l.newer;
    } else {
        q->oldest = l.newer;
    }
    if (l.newer != SIM_NONE) {
        link[l.newer].older = l.older;
    } else {
        q->newest = l.older;
    }
    q->n--;
}

/* The queue must not be empty. */
static inline uint32_t sim_queue_pop(struct sim_queue *q, struct sim_link *link)
{
    const uint32_t page = q->oldest;

    sim_queue_remove(q, link, page);
    return page;
}

#endif /* BENCH_SIM_QUEUE_H */
