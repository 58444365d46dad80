/* SPDX-License-Identifier: BSD-2-Clause */
/* A page of plots: one HTML file that needs no other. */
#ifndef BENCH_PAGE_H
#define BENCH_PAGE_H

#include <jansson.h>

/*
 * Write @dir/index.html; the directory is made if need be.  It shows the rows of the file of JSON
 * lines @json, the last of those that measure the same, or @rows if @json is NULL.
 */
void page_write(const char *dir, const char *json, json_t *rows);

#endif /* BENCH_PAGE_H */
