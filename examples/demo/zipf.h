/* SPDX-License-Identifier: BSD-2-Clause */
/* Random numbers, evenly spread and skewed: a few pages are wanted often, most of them seldom. */
#ifndef DEMO_ZIPF_H
#define DEMO_ZIPF_H

#include <stdint.h>

/* A generator of one thread; any state will do. */
struct random {
    uint64_t state;
};

uint64_t random_next(struct random *r);

/* The k-th most popular of @n numbers comes with a probability in proportion to 1 / k^skew. */
struct zipf {
    uint64_t n;
    double *cumulative;
    uint32_t *order; /* which number is the k-th most popular */
};

/* Return: 0; -ENOMEM. */
int zipf_init(struct zipf *z, uint64_t n, double skew, uint64_t seed);
void zipf_fini(struct zipf *z);
uint64_t zipf_next(const struct zipf *z, struct random *r);

#endif /* DEMO_ZIPF_H */
