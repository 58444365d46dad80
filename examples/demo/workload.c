/* SPDX-License-Identifier: BSD-2-Clause */
#include "workload.h"
#include "pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REWRITE_PERCENT 20

static void count(_Atomic uint64_t *counter, uint64_t n)
{
    (void)atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

/* Thread k of n fills the k-th n-th of each tenant. */
static void fill_part(struct worker *me, struct member *m)
{
    const uint64_t end = m->n_pages * (me->number + 1) / me->all->n_workers;
    uint64_t page = m->n_pages * me->number / me->all->n_workers;

    while (page < end && !atomic_load(&me->all->stop)) {
        unsigned n = end - page < PUT_BATCH ? (unsigned)(end - page) : PUT_BATCH;

        count(&me->refused, pages_put_first(me->all->house, m, page, n));
        count(&me->writes, n);
        page += n;
    }
}

static void *fill(void *arg)
{
    struct worker *me = arg;

    for (unsigned i = 0; i < MEMBERS; i++) {
        fill_part(me, &me->all->house->member[i]);
    }
    (void)atomic_fetch_sub(&me->all->running, 1);
    return NULL;
}

static struct member *pick_member(struct house *h, struct random *r)
{
    unsigned at = (unsigned)(random_next(r) % 100);
    unsigned i = 0;

    while (i + 1 < MEMBERS && at >= h->member[i].traffic_percent) {
        at -= h->member[i].traffic_percent;
        i++;
    }
    return &h->member[i];
}

static void rewrite_one(struct worker *me, struct member *m, uint64_t page)
{
    enum rewrite_result result = page_rewrite(me->all->house, m, page);

    count(&me->writes, result != REWRITE_BUSY);
    count(&me->refused, result == REWRITE_REFUSED);
}

static void *traffic(void *arg)
{
    struct worker *me = arg;
    struct random random = {me->number};

    while (!atomic_load_explicit(&me->all->stop, memory_order_relaxed)) {
        struct member *m = pick_member(me->all->house, &random);
        uint64_t page = zipf_next(&m->popularity, &random);

        if (random_next(&random) % 100 < REWRITE_PERCENT) {
            rewrite_one(me, m, page);
        } else {
            page_read(me->all->house, m, page, 0);
            count(&me->reads, 1);
        }
    }
    (void)atomic_fetch_sub(&me->all->running, 1);
    return NULL;
}

int workload_init(struct workload *w, struct house *house, unsigned n_workers)
{
    *w = (struct workload){.house = house};
    w->worker = aligned_alloc(_Alignof(struct worker), n_workers * sizeof *w->worker);
    if (w->worker == NULL) {
        return -ENOMEM;
    }
    memset(w->worker, 0, n_workers * sizeof *w->worker);
    w->n_workers = n_workers;
    for (unsigned i = 0; i < n_workers; i++) {
        w->worker[i].all = w;
        w->worker[i].number = i;
    }
    return 0;
}

void workload_fini(struct workload *w)
{
    free(w->worker);
    w->worker = NULL;
}

static int start(struct workload *w, void *(*work)(void *))
{
    atomic_store(&w->running, w->n_workers);
    for (unsigned i = 0; i < w->n_workers; i++) {
        int rc = pthread_create(&w->worker[i].thread, NULL, work, &w->worker[i]);

        if (rc != 0) {
            atomic_store(&w->stop, true);
            for (unsigned k = 0; k < i; k++) {
                (void)pthread_join(w->worker[k].thread, NULL);
            }
            return -rc;
        }
    }
    return 0;
}

int workload_start_fill(struct workload *w)
{
    return start(w, fill);
}

int workload_start_traffic(struct workload *w)
{
    for (unsigned i = 0; i < w->n_workers; i++) {
        atomic_store(&w->worker[i].reads, 0);
        atomic_store(&w->worker[i].writes, 0);
    }
    return start(w, traffic);
}

bool workload_running(const struct workload *w)
{
    return atomic_load(&w->running) != 0;
}

void workload_stop(struct workload *w)
{
    atomic_store(&w->stop, true);
}

void workload_join(struct workload *w)
{
    for (unsigned i = 0; i < w->n_workers; i++) {
        (void)pthread_join(w->worker[i].thread, NULL);
    }
}

struct workload_totals workload_totals(const struct workload *w)
{
    struct workload_totals total = {0, 0, 0};

    for (unsigned i = 0; i < w->n_workers; i++) {
        total.reads += atomic_load_explicit(&w->worker[i].reads, memory_order_relaxed);
        total.writes += atomic_load_explicit(&w->worker[i].writes, memory_order_relaxed);
        total.refused += atomic_load_explicit(&w->worker[i].refused, memory_order_relaxed);
    }
    return total;
}
