/* SPDX-License-Identifier: BSD-2-Clause */
/* One line on the terminal that says what is going on; nothing if there is no terminal. */
#ifndef BENCH_PROGRESS_H
#define BENCH_PROGRESS_H

__attribute__((format(printf, 1, 2))) void progress_show(const char *format, ...);
void progress_clear(void);

#endif /* BENCH_PROGRESS_H */
