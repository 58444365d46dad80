/* SPDX-License-Identifier: BSD-2-Clause */
#include "order.h"
#include "fail.h"
#include "random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void shuffle(uint32_t *page, size_t n, uint64_t *state)
{
    for (size_t i = n; i > 1; i--) {
        size_t k = (size_t)(random_next(state) % i);
        uint32_t other = page[k];

        page[k] = page[i - 1];
        page[i - 1] = other;
    }
}

/* The first index whose cumulative weight is above @at. */
static size_t find(const double *cumulative, size_t n, double at)
{
    size_t low = 0, high = n - 1;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (cumulative[middle] > at) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* Replace the shuffled pages by draws from them: the k-th in proportion to 1 / k^skew. */
static void draw_skewed(struct order *order, double skew, uint64_t *state)
{
    double *cumulative = must_alloc(order->n * sizeof *cumulative);
    uint32_t *drawn = must_alloc(order->n * sizeof *drawn);
    double sum = 0;

    for (size_t k = 0; k < order->n; k++) {
        sum += pow((double)(k + 1), -skew);
        cumulative[k] = sum;
    }
    for (size_t i = 0; i < order->n; i++) {
        double at = (double)(random_next(state) >> 11) * 0x1p-53 * sum;

        drawn[i] = order->page[find(cumulative, order->n, at)];
    }
    free(cumulative);
    free(order->page);
    order->page = drawn;
}

void order_make(struct order *out, const uint32_t *pages, size_t n, double skew)
{
    uint64_t state = 1;

    out->n = n;
    out->page = must_alloc(n * sizeof *out->page);
    memcpy(out->page, pages, n * sizeof *out->page);
    shuffle(out->page, n, &state);
    if (skew > 0) {
        draw_skewed(out, skew, &state);
    }
}

void order_make_all(struct order *out, size_t n, double skew)
{
    uint32_t *pages = must_alloc(n * sizeof *pages);

    for (size_t i = 0; i < n; i++) {
        pages[i] = (uint32_t)i;
    }
    order_make(out, pages, n, skew);
    free(pages);
}

void order_free(struct order *order)
{
    free(order->page);
    *order = (struct order){0};
}
