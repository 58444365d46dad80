/* SPDX-License-Identifier: BSD-2-Clause */
/* In which order pages are used: the same for every subject. */
#ifndef BENCH_ORDER_H
#define BENCH_ORDER_H

#include <stddef.h>
#include <stdint.h>

struct order {
    uint32_t *page;
    size_t n;
};

/*
 * @n of the numbers at @pages: with @skew 0 each of them once, shuffled; otherwise drawn by Zipf's
 * law.  The same arguments give the same order.
 */
void order_make(struct order *out, const uint32_t *pages, size_t n, double skew);

/* The same of all pages from 0 to @n - 1. */
void order_make_all(struct order *out, size_t n, double skew);

void order_free(struct order *order);

#endif /* BENCH_ORDER_H */
