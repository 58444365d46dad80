/* SPDX-License-Identifier: BSD-2-Clause */
/* Plots as SVG elements inside a page.  Texts are escaped here. */
#ifndef BENCH_SVG_H
#define BENCH_SVG_H

#include <stdbool.h>
#include <stdio.h>

struct bar {
    char label[64];
    double value;
    double low; /* whiskers; NaN for none */
    double high;
    bool ours;
};

#define LINE_POINTS_MAX 8

struct line {
    char label[64];
    double x[LINE_POINTS_MAX];
    double y[LINE_POINTS_MAX];
    unsigned n;
    bool ours;
};

void svg_bars(FILE *to, const char *title, const struct bar *bar, unsigned n);
void svg_lines(FILE *to,
               const char *title,
               const char *x_title,
               const struct line *line,
               unsigned n);

/* Write text so that HTML shows it as it is. */
void svg_text(FILE *to, const char *text);

#endif /* BENCH_SVG_H */
