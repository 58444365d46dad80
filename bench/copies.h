/* SPDX-License-Identifier: BSD-2-Clause */
/* A buffer as large as all pages, into which they are copied: what a put is compared with. */
#ifndef BENCH_COPIES_H
#define BENCH_COPIES_H

#include "corpus.h"
#include "measure.h"

struct copies {
    unsigned char *bytes;
    const struct corpus *corpus;
};

void copies_make(struct copies *c, const struct corpus *corpus);
void copies_free(struct copies *c);

/* A subject's pass_begin: new memory from the system. */
void copies_renew(void *ctx);

/* A subject's op: copies the page to its place. */
int copies_op(void *ctx, uint32_t page, struct scratch *scratch);

#endif /* BENCH_COPIES_H */
