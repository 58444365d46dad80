/* SPDX-License-Identifier: BSD-2-Clause */
#include "zipf.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

/* splitmix64 */
uint64_t random_next(struct random *r)
{
    uint64_t x = r->state += 0x9e3779b97f4a7c15u;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void shuffle(uint32_t *order, uint64_t n, uint64_t seed)
{
    struct random r = {seed};

    for (uint64_t i = 0; i < n; i++) {
        order[i] = (uint32_t)i;
    }
    for (uint64_t i = n; i > 1; i--) {
        uint64_t k = random_next(&r) % i;
        uint32_t other = order[k];

        order[k] = order[i - 1];
        order[i - 1] = other;
    }
}

int zipf_init(struct zipf *z, uint64_t n, double skew, uint64_t seed)
{
    double sum = 0;

    *z = (struct zipf){.n = n};
    z->cumulative = malloc(n * sizeof *z->cumulative);
    z->order = malloc(n * sizeof *z->order);
    if (z->cumulative == NULL || z->order == NULL) {
        zipf_fini(z);
        return -ENOMEM;
    }
    for (uint64_t i = 0; i < n; i++) {
        sum += pow((double)(i + 1), -skew);
        z->cumulative[i] = sum;
    }
    shuffle(z->order, n, seed);
    return 0;
}

void zipf_fini(struct zipf *z)
{
    free(z->cumulative);
    free(z->order);
    *z = (struct zipf){0};
}

uint64_t zipf_next(const struct zipf *z, struct random *r)
{
    const double at = (double)(random_next(r) >> 11) * 0x1p-53 * z->cumulative[z->n - 1];
    uint64_t low = 0, high = z->n - 1;

    while (low < high) {
        uint64_t middle = (low + high) / 2;

        if (z->cumulative[middle] > at) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return z->order[low];
}
