/* SPDX-License-Identifier: BSD-2-Clause */
#include "suggest.h"

#include <stdbool.h>
#include <string.h>

#define LENGTH_MAX 31

static unsigned least(unsigned a, unsigned b, unsigned c)
{
    const unsigned ab = a < b ? a : b;

    return ab < c ? ab : c;
}

/* Letters to insert, drop or replace (Levenshtein). */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[LENGTH_MAX + 1];
    const size_t na = strlen(a), nb = strlen(b);

    if (na > LENGTH_MAX || nb > LENGTH_MAX) {
        return LENGTH_MAX;
    }
    for (size_t k = 0; k <= nb; k++) {
        row[k] = (unsigned)k;
    }
    for (size_t i = 1; i <= na; i++) {
        unsigned corner = row[0];

        row[0] = (unsigned)i;
        for (size_t k = 1; k <= nb; k++) {
            const unsigned above = row[k];

            row[k] = least(above + 1, row[k - 1] + 1, corner + (a[i - 1] != b[k - 1]));
            corner = above;
        }
    }
    return row[nb];
}

static bool begins_alike(const char *a, const char *b)
{
    const size_t na = strlen(a), nb = strlen(b);
    const size_t n = na < nb ? na : nb;

    return n >= 2 && strncmp(a, b, n) == 0;
}

const char *suggest(const char *wrong, const char *const *names, size_t n)
{
    const char *best = NULL;
    unsigned best_distance = LENGTH_MAX;

    for (size_t i = 0; i < n; i++) {
        unsigned d = distance(wrong, names[i]);

        if (begins_alike(wrong, names[i])) {
            d = 1;
        }
        if (d < best_distance && d <= strlen(names[i]) / 2) {
            best = names[i];
            best_distance = d;
        }
    }
    return best;
}
