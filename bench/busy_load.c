/* SPDX-License-Identifier: BSD-2-Clause */
#include "busy_load.h"
#include "fail.h"

#include <stdlib.h>
#include <time.h>

static void put_next(struct busy_load *load, unsigned char *buf)
{
    const uint64_t n = atomic_fetch_add_explicit(&load->next, 1, memory_order_relaxed);
    const struct zcache_key key = {.object = 1, .page = n};
    const size_t len = load->corpus->page_bytes;

    if (load->looks) {
        const int rc = zcache_get(load->tenant, key, buf, len, NULL, 0);

        if (rc != ZCACHE_MISS) {
            fail("a new key was found: %s", error_text(rc));
        }
    }
    must(zcache_put(load->tenant, key, corpus_page(load->corpus, n % load->corpus->pages), len,
                    load->flags),
         "put a page of the load");
}

static void *run(void *arg)
{
    struct busy_load *load = arg;
    unsigned char *buf = must_alloc(load->corpus->page_bytes);

    while (!atomic_load_explicit(&load->stop, memory_order_relaxed)) {
        put_next(load, buf);
    }
    free(buf);
    return NULL;
}

void busy_load_begin(struct busy_load *load, uint64_t pages)
{
    const uint64_t until = busy_load_pages(load) + pages;
    const struct timespec pause = {.tv_nsec = 1000000};

    if (load->runs) {
        return;
    }
    atomic_store(&load->stop, false);
    for (unsigned i = 0; i < load->n_threads; i++) {
        if (pthread_create(&load->thread[i], NULL, run, load) != 0) {
            fail("cannot start %u threads", load->n_threads);
        }
    }
    load->runs = true;
    while (busy_load_pages(load) < until) {
        (void)nanosleep(&pause, NULL);
    }
}

void busy_load_end(struct busy_load *load)
{
    if (!load->runs) {
        return;
    }
    atomic_store(&load->stop, true);
    for (unsigned i = 0; i < load->n_threads; i++) {
        (void)pthread_join(load->thread[i], NULL);
    }
    load->runs = false;
}
