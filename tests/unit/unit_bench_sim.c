/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Simulated caches (bench/sim.h): LRU against the obvious way to do it, S3-FIFO request by request
 * against its description.
 */
#include "../../bench/sim.h"

#include "support.h"

#include <stdlib.h>
#include <string.h>

#define PAGES    200u
#define REQUESTS 20000u

static uint64_t random_next(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

/* Skewed: small numbers come often. */
static uint32_t random_page(uint64_t *x)
{
    return (uint32_t)(random_next(x) % (1 + random_next(x) % PAGES));
}

/* An array, the page used last at its end. */
struct plain {
    uint32_t page[PAGES];
    uint32_t n;
};

static bool plain_use(struct plain *p, uint32_t capacity, uint32_t page)
{
    uint32_t at = 0;
    bool hit;

    while (at < p->n && p->page[at] != page) {
        at++;
    }
    hit = at < p->n;
    if (!hit && p->n == capacity) {
        at = 0;
    }
    if (at < p->n) {
        memmove(p->page + at, p->page + at + 1, (p->n - at - 1) * sizeof p->page[0]);
        p->n--;
    }
    p->page[p->n++] = page;
    return hit;
}

static void lru_is_the_obvious_one(void **state)
{
    static const uint32_t capacities[] = {1, 2, 3, 20, 199, 200};

    (void)state;
    for (size_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++) {
        void *sim = sim_lru_ops.open(capacities[i], PAGES);
        struct plain plain = {.n = 0};
        uint64_t x = 1 + i;

        for (unsigned k = 0; k < REQUESTS; k++) {
            const uint32_t page = random_page(&x);

            assert_int_equal(sim_lru_ops.use(sim, page), plain_use(&plain, capacities[i], page));
        }
        sim_lru_ops.close(sim);
    }
}

/* Each request with whether it hits. */
struct step {
    uint32_t page;
    bool hit;
};

static void follow(const struct sim_ops *ops,
                   uint32_t capacity,
                   const struct step *step,
                   unsigned n)
{
    void *sim = ops->open(capacity, PAGES);

    for (unsigned i = 0; i < n; i++) {
        if (ops->use(sim, step[i].page) != step[i].hit) {
            fail_msg("request %u of page %u: not %s", i, step[i].page,
                     step[i].hit ? "hit" : "miss");
        }
    }
    ops->close(sim);
}

#define FOLLOW(ops, capacity, step) follow(ops, capacity, step, sizeof(step) / sizeof(step)[0])

/* Used twice in small: main keeps it while others come and go. */
static void s3fifo_promotes_what_is_used_twice(void **state)
{
    static const struct step once[] = {{0, false}, {0, true},   {1, false}, {2, false}, {3, false},
                                       {4, false}, {5, false},  {6, false}, {7, false}, {8, false},
                                       {9, false}, {10, false}, {0, false}};
    static const struct step twice[] = {{0, false},  {0, true},   {0, true},   {1, false},
                                        {2, false},  {3, false},  {4, false},  {5, false},
                                        {6, false},  {7, false},  {8, false},  {9, false},
                                        {10, false}, {11, false}, {12, false}, {0, true}};

    (void)state;
    FOLLOW(&sim_s3fifo_ops, 10, once);
    FOLLOW(&sim_s3fifo_ops, 10, twice);
}

/* A page that comes back soon after it left goes to main, where a stream does not reach it. */
static void s3fifo_remembers_what_left(void **state)
{
    struct step step[64] = {{0, false}};
    unsigned n = 1;

    (void)state;
    for (uint32_t page = 1; page <= 10; page++) {
        step[n++] = (struct step){page, false}; /* the last one puts 0 out */
    }
    step[n++] = (struct step){0, false}; /* known from ghost */
    for (uint32_t page = 20; page < 45; page++) {
        step[n++] = (struct step){page, false};
    }
    step[n++] = (struct step){0, true};
    follow(&sim_s3fifo_ops, 10, step, n);
}

/* Ghost has room for nine of ten: who left before these is new again. */
static void s3fifo_forgets_after_a_while(void **state)
{
    struct step step[64] = {{0, false}};
    unsigned n = 1;

    (void)state;
    for (uint32_t page = 1; page <= 19; page++) {
        step[n++] = (struct step){page, false}; /* 0 to 9 left; ghost has 1 to 9 */
    }
    step[n++] = (struct step){0, false};
    for (uint32_t page = 30; page < 40; page++) {
        step[n++] = (struct step){page, false};
    }
    step[n++] = (struct step){0, false};
    follow(&sim_s3fifo_ops, 10, step, n);
}

/* Whatever comes: never more hits than requests of pages that were there before, and all pages fit. */
static void everything_hits_where_everything_fits(void **state)
{
    static const struct sim_ops *const ops[] = {&sim_lru_ops, &sim_s3fifo_ops};

    (void)state;
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        void *sim = ops[i]->open(PAGES, PAGES);
        bool seen[PAGES] = {false};
        uint64_t x = 7;

        for (unsigned k = 0; k < REQUESTS; k++) {
            const uint32_t page = random_page(&x);

            assert_int_equal(ops[i]->use(sim, page), seen[page]);
            seen[page] = true;
        }
        ops[i]->close(sim);
    }
}

/* The smallest caches, where some of the queues have no room at all. */
static void tiny_caches_work(void **state)
{
    (void)state;
    for (uint32_t capacity = 1; capacity < 25; capacity++) {
        void *sim = sim_s3fifo_ops.open(capacity, PAGES);
        unsigned hits = 0;
        uint64_t x = 3;

        for (unsigned k = 0; k < REQUESTS; k++) {
            const uint32_t page = random_page(&x);

            hits += sim_s3fifo_ops.use(sim, page) ? 1 : 0;
            assert_true(sim_s3fifo_ops.use(sim, page)); /* what was just used is there */
        }
        assert_true(hits > 0);
        sim_s3fifo_ops.close(sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lru_is_the_obvious_one),
        cmocka_unit_test(s3fifo_promotes_what_is_used_twice),
        cmocka_unit_test(s3fifo_remembers_what_left),
        cmocka_unit_test(s3fifo_forgets_after_a_while),
        cmocka_unit_test(everything_hits_where_everything_fits),
        cmocka_unit_test(tiny_caches_work),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
