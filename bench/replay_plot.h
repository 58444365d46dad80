/* SPDX-License-Identifier: BSD-2-Clause */
/* Plots of hit ratio over cache size, drawn by gnuplot. */
#ifndef BENCH_REPLAY_PLOT_H
#define BENCH_REPLAY_PLOT_H

#include <jansson.h>
#include <stdbool.h>

/* Whether there is a gnuplot in PATH. */
bool replay_plot_possible(void);

/* One plot for each trace and kind of size in @rows, into an SVG file.  Ends the program if it fails. */
void replay_plot(const char *path, const json_t *rows);

#endif /* BENCH_REPLAY_PLOT_H */
