/* SPDX-License-Identifier: BSD-2-Clause */
/* The page that was not used for longest leaves. */
#include "fail.h"
#include "sim.h"
#include "sim_queue.h"

#include <stdlib.h>
#include <string.h>

struct lru {
    uint32_t capacity;
    struct sim_queue queue;
    struct sim_link *link;
    bool *cached;
};

static void *lru_open(uint32_t capacity, uint32_t pages)
{
    struct lru *lru = must_alloc(sizeof *lru);

    *lru = (struct lru){.capacity = capacity,
                        .queue = SIM_QUEUE_INIT,
                        .link = must_alloc(pages * sizeof *lru->link),
                        .cached = must_alloc(pages)};
    memset(lru->cached, 0, pages);
    return lru;
}

static void lru_close(void *sim)
{
    struct lru *lru = sim;

    free(lru->link);
    free(lru->cached);
    free(lru);
}

static bool lru_use(void *sim, uint32_t page)
{
    struct lru *lru = sim;
    const bool hit = lru->cached[page];

    if (hit) {
        sim_queue_remove(&lru->queue, lru->link, page);
    } else if (lru->queue.n == lru->capacity) {
        lru->cached[sim_queue_pop(&lru->queue, lru->link)] = false;
    }
    sim_queue_push(&lru->queue, lru->link, page);
    lru->cached[page] = true;
    return hit;
}

const struct sim_ops sim_lru_ops = {.name = "sim-lru",
                                    .open = lru_open,
                                    .close = lru_close,
                                    .use = lru_use};
