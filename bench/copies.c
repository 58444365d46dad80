/* SPDX-License-Identifier: BSD-2-Clause */
#include "copies.h"
#include "fail.h"

#include <string.h>
#include <sys/mman.h>

void copies_make(struct copies *c, const struct corpus *corpus)
{
    const size_t bytes = corpus_bytes(corpus);

    c->corpus = corpus;
    c->bytes = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (c->bytes == MAP_FAILED) {
        fail("no memory for %zu bytes", bytes);
    }
}

void copies_free(struct copies *c)
{
    (void)munmap(c->bytes, corpus_bytes(c->corpus));
}

void copies_renew(void *ctx)
{
    struct copies *c = ctx;

    copies_free(c);
    copies_make(c, c->corpus);
}

int copies_op(void *ctx, uint32_t page, struct scratch *scratch)
{
    const struct copies *c = ctx;
    const size_t page_bytes = c->corpus->page_bytes;

    (void)scratch;
    memcpy(c->bytes + page * page_bytes, corpus_page(c->corpus, page), page_bytes);
    return 0;
}
