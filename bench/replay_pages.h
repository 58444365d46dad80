/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The content of a trace's pages: those of a corpus, all of its file.  Page i of a trace is page i of
 * the corpus if that has as many; otherwise a hash of i chooses.  Without a corpus it is noise.
 */
#ifndef BENCH_REPLAY_PAGES_H
#define BENCH_REPLAY_PAGES_H

#include "trace.h"

struct replay_pages {
    unsigned char *bytes; /* mapped from the file, or allocated */
    size_t mapped_bytes;  /* 0: allocated */
    size_t page_bytes;
    uint64_t pages;
    uint32_t *content; /* of each page of the trace */
    bool by_number;    /* page i is page i */
};

/* Ends the program with a message if the corpus cannot be read; @corpus NULL for noise. */
void replay_pages_open(struct replay_pages *p,
                       const char *corpus,
                       size_t page_bytes,
                       const struct trace *trace);
void replay_pages_close(struct replay_pages *p);

static inline const unsigned char *replay_page(const struct replay_pages *p, uint32_t page)
{
    return p->bytes + (size_t)p->content[page] * p->page_bytes;
}

#endif /* BENCH_REPLAY_PAGES_H */
