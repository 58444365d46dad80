/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Scenarios in which the system refuses the Nth request of the library, for N = 1, 2, ... until the scenario
 * passes without a refusal, each N twice: that request alone, and all from that one on.
 *
 *     prepare()   a new cache, a tenant "t", and what the scenario needs
 *     arm
 *     act()       the calls under test; with a refusal they may return the codes of may[]
 *     disarm
 *     check       verify, identities, every call counted once, every byte of charge explained, every page
 *                 that was put and not deleted readable with its last content
 *     act()       again if it failed: now it must succeed; check
 *     close       then the store has what was dirty, and nothing is held from the system any more
 *
 * The calls of prepare() and act() go through fault_put() and its like, which keep the model of what must
 * be readable.
 */
#ifndef ZCACHE_TESTS_SCENARIO_H
#define ZCACHE_TESTS_SCENARIO_H

#include "unit/inside.h"

#define FAULT_PAGES 320u
#define FAULT_LEN   16384u /* of the longest page of the model */

#define FILL_SAME   3 /* beside enum fill: one byte, repeated */

/* What must be read of a page. */
struct fault_page {
    uint64_t version; /* 0: there is no such page */
    size_t len;
    int fill;
};

/* A tenant, the model of its object 1, and the calls made with it. */
struct fault_owner {
    struct zcache_tenant *t; /* NULL: not open */
    uint64_t id;
    struct fault_page page[FAULT_PAGES];
    uint64_t puts;
    uint64_t gets;
    uint64_t pins;
    uint64_t deletes;
};

struct fault {
    const struct fault_case *c;
    struct mem_store *store; /* NULL where the case has none */
    struct zcache *cache;
    struct fault_owner root;
    struct fault_owner t;
    uint64_t version;     /* of the newest put */
    uint64_t unexplained; /* charge of the root that is neither pages nor metadata */
    bool refused;         /* act() had a request refused */
    struct zcache_pin pin;
};

struct fault_case {
    const char *name;
    const char *options; /* of the cache, beside those that let the shrinker sleep; or NULL */
    uint64_t capacity;   /* 0: 4 MiB */
    uint64_t limit;      /* of t; 0: none */
    unsigned store;      /* MEM_STORE_*; 0: no store */
    bool elsewhere;      /* act() runs on a thread that never called the cache */
    bool restless;       /* the shrinker works too, and is refused memory as well */
    bool alone;          /* each request is refused alone only: with all of them it would wait */
    /* May put callbacks of its own before those of the store. */
    void (*attach)(struct fault *f, struct zcache_store *callbacks);
    void (*prepare)(struct fault *f);
    int (*act)(struct fault *f);
    void (*after)(struct fault *f, int rc); /* after each act(), disarmed */
    void (*test)(void);                     /* a test of its own shape instead */
    int may[6];                             /* what act() may return if it fails; ends with 0 */
};

/* The cases as cmocka's tests, with their names. */
int fault_main(int argc, char **argv, const struct fault_case *cases, size_t n);

/*
 * The loop by itself: @once does everything between arming, which is its job, and the last close. It
 * returns how many requests were refused.  With @alone each N is tried once only.
 */
void fault_each(const char *name,
                bool alone,
                uint64_t (*once)(void *ctx, const struct zc_fault_plan *plan),
                void *ctx);

/* What every scenario begins and ends with; the end closes the cache if that is left to it. */
struct fault *fault_begin(const struct fault_case *c);
void fault_end(struct fault *f);

struct zcache_key fault_key(unsigned page);

/* Content of a page of the model. */
void fault_content(void *buf, unsigned page, struct fault_page what);

/*
 * Calls that keep the model.  A put that failed leaves no older version: that is checked at once, and
 * then the caller writes the page himself, if there is a store.  A get's bytes are compared.
 */
int fault_put(struct fault *f,
              struct fault_owner *o,
              unsigned page,
              size_t len,
              int fill,
              unsigned flags);
int fault_get(struct fault *f, struct fault_owner *o, unsigned page, unsigned flags);
int fault_delete(struct fault *f, struct fault_owner *o, unsigned page, unsigned flags);
int fault_truncate(struct fault *f, struct fault_owner *o, unsigned first_page);
/* Fills f->pin, and compares its bytes. */
int fault_pin(struct fault *f, struct fault_owner *o, unsigned page, unsigned flags);

/* As a put that was told of its result @rc. */
void fault_put_ended(struct fault *f,
                     struct fault_owner *o,
                     unsigned page,
                     struct fault_page what,
                     int rc);

/* Puts pages 0 to @n - 1, and must succeed. */
void fault_fill(struct fault *f,
                struct fault_owner *o,
                unsigned n,
                size_t len,
                int fill,
                unsigned flags);

/* A page of the store that the cache has not: put there directly. */
void fault_store(struct fault *f, struct fault_owner *o, unsigned page, size_t len, int fill);

/* Moves a page down to @tier. */
void fault_demote(struct fault_owner *o, unsigned page, enum zcache_tier tier);

/* Whether the index has the page; takes no memory. */
bool fault_cached(const struct fault_owner *o, unsigned page);

/* t was closed: its calls are the parent's now, and its pages only in the store, if anywhere. */
void fault_closed(struct fault *f);

/* Everything at rest that must hold of a cache. */
void fault_check(struct fault *f);
/* The store has every page of the model, as a flush leaves it. */
void fault_check_stored(struct fault *f, const struct fault_owner *o);

/* Where a test with a loop of its own has come to, for the case that it fails. */
void fault_at(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Runs @fn on a thread of its own, to its end. */
void fault_elsewhere(void (*fn)(void *arg), void *arg);

#endif /* ZCACHE_TESTS_SCENARIO_H */
