/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One cache put through its paces in a process of its own, so that its resident memory is not
 * mixed with anybody else's, and its malloc() can be chosen.
 */
#ifndef BENCH_CHURN_H
#define BENCH_CHURN_H

#include "bare.h"
#include "peer.h"

enum churn_phase {
    CHURN_FRESH,   /* filled once */
    CHURN_CHURNED, /* after three rounds that replaced every page by one of another size */
    CHURN_SHRUNK,  /* after its limit was halved */
    CHURN_PHASES
};

/* What everybody gets to do. */
struct churn_plan {
    const struct corpus *corpus;
    const struct bare *sizes; /* the corpus by bare lz4 */
    uint32_t *by_size;        /* pages, from small to large by lz4 */
    uint64_t limit_bytes;
    uint64_t keys;
    bool fits; /* the limit has room for all: zcache keeps them in lz4 then, as the peers do */
};

/* Numbers are NaN where they do not apply. */
struct churn_sample {
    double pages;
    double stored_bytes;    /* of the pages held: zcache's payloads, else as data_bytes */
    double data_bytes;      /* of the pages held, as bare lz4 makes them, or does not shrink them */
    double resident_bytes;  /* by which the process, or the kernel, grew */
    double allocated_bytes; /* what zcache's pools give for them */
    double charge_bytes;    /* what zcache counts in all */
    double pool_bytes;      /* what it says is resident in its pools */
    double metadata_bytes_per_page;
    double peak_over_limit_bytes;        /* of resident memory */
    double peak_charge_over_limit_bytes; /* of what zcache counts */
    double limit_bytes;
    double ns_per_op; /* put or delete */
};

struct churn_samples {
    struct churn_sample phase[CHURN_PHASES];
    unsigned n;    /* phases that it could do */
    bool jemalloc; /* the process's malloc() is jemalloc */
};

/*
 * Run this program again with the same arguments as a child process, which is to do the @member'th of
 * its subjects for pages of @page_bytes.
 * @preload: with jemalloc as the process's malloc(), if there is one.
 *
 * Return: false, and the reason, which is PEER_REASON_BYTES long, if it cannot be had here.
 */
bool churn_run(const char *name,
               unsigned member,
               size_t page_bytes,
               bool preload,
               struct churn_samples *out,
               char *reason);

/* Whether this is such a child: what to do, and where to write. */
struct churn_order {
    unsigned member;
    size_t page_bytes;
    int fd;
};

bool churn_ordered(struct churn_order *out);

/* In the child: do it, tell the parent, end. */
__attribute__((noreturn)) void churn_obey(const struct churn_order *order,
                                          const struct churn_plan *plan,
                                          const struct peer_config *peer);

/* In the child: all phases. */
bool churn_child(const struct churn_plan *plan,
                 const struct peer_config *peer,
                 struct churn_samples *out,
                 char *reason);

#endif /* BENCH_CHURN_H */
