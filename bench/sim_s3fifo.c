/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * S3-FIFO (Yang and others, SOSP 2023): three queues in the order of arrival.
 *
 *     new page --> small, 10 % --> used again: main, 90 % --> used meanwhile: main again
 *                       \-> not: ghost (numbers only)  \-> not: gone
 *     page whose number is in ghost --> main
 *
 * Until something was evicted the first pages fill small, then main.
 */
#include "fail.h"
#include "sim.h"
#include "sim_queue.h"

#include <stdlib.h>
#include <string.h>

#define USES_TO_MAIN 2 /* in small, after the first */
#define USES_MAX     3 /* that count in main */

enum place {
    NOWHERE,
    SMALL,
    MAIN,
    GHOST,
    PLACES
};

struct s3fifo {
    uint32_t room[PLACES];
    struct sim_queue queue[PLACES];
    struct sim_link *link;
    unsigned char *place;
    unsigned char *uses;
    uint32_t capacity;
};

static void *s3fifo_open(uint32_t capacity, uint32_t pages)
{
    struct s3fifo *s = must_alloc(sizeof *s);

    *s = (struct s3fifo){
        .room =
            {[MAIN] = capacity - capacity / 10, [GHOST] = (uint32_t)((uint64_t)capacity * 9 / 10)},
        .queue = {SIM_QUEUE_INIT, SIM_QUEUE_INIT, SIM_QUEUE_INIT, SIM_QUEUE_INIT},
        .link = must_alloc(pages * sizeof *s->link),
        .place = must_alloc(pages),
        .uses = must_alloc(pages),
        .capacity = capacity,
    };
    memset(s->place, NOWHERE, pages);
    memset(s->uses, 0, pages);
    return s;
}

static void s3fifo_close(void *sim)
{
    struct s3fifo *s = sim;

    free(s->link);
    free(s->place);
    free(s->uses);
    free(s);
}

static uint32_t pop(struct s3fifo *s, enum place from)
{
    const uint32_t page = sim_queue_pop(&s->queue[from], s->link);

    s->place[page] = NOWHERE;
    return page;
}

static void push(struct s3fifo *s, enum place to, uint32_t page, unsigned uses)
{
    sim_queue_push(&s->queue[to], s->link, page);
    s->place[page] = (unsigned char)to;
    s->uses[page] = (unsigned char)uses;
}

static void remember(struct s3fifo *s, uint32_t page)
{
    if (s->room[GHOST] == 0) {
        return;
    }
    if (s->queue[GHOST].n == s->room[GHOST]) {
        (void)pop(s, GHOST);
    }
    push(s, GHOST, page, 0);
}

/* One page out of small, if one of it goes. */
static bool evict_small(struct s3fifo *s)
{
    while (s->queue[SMALL].n > 0) {
        const uint32_t page = pop(s, SMALL);

        if (s->uses[page] < USES_TO_MAIN) {
            remember(s, page);
            return true;
        }
        push(s, MAIN, page, 0);
    }
    return false;
}

static void evict_main(struct s3fifo *s)
{
    for (;;) {
        const uint32_t page = pop(s, MAIN);
        const unsigned uses = s->uses[page];

        if (uses == 0) {
            return;
        }
        push(s, MAIN, page, (uses < USES_MAX ? uses : USES_MAX) - 1);
    }
}

static void evict(struct s3fifo *s)
{
    if (s->queue[MAIN].n > s->room[MAIN] || !evict_small(s)) {
        evict_main(s);
    }
}

static bool s3fifo_use(void *sim, uint32_t page)
{
    struct s3fifo *s = sim;
    const enum place place = s->place[page];

    if (place == SMALL || place == MAIN) {
        s->uses[page] += s->uses[page] < UINT8_MAX ? 1 : 0;
        return true;
    }
    if (place == GHOST) {
        sim_queue_remove(&s->queue[GHOST], s->link, page);
        s->place[page] = NOWHERE;
    }
    while (s->queue[SMALL].n + s->queue[MAIN].n >= s->capacity) {
        evict(s);
    }
    push(s, place == GHOST ? MAIN : SMALL, page, 0);
    return false;
}

const struct sim_ops sim_s3fifo_ops = {.name = "sim-s3fifo",
                                       .open = s3fifo_open,
                                       .close = s3fifo_close,
                                       .use = s3fifo_use};
