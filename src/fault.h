/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fault points: every place where the system may refuse the library something, so that a test can
 * have the Nth request refused, for every N.  They exist in the library that tests link
 * (ZCACHE_TEST_HOOKS); elsewhere nothing is left of them.
 *
 * A point stands in the condition that asks whether the system refused:
 *
 *     if (ZC_FAULT(key) || pthread_key_create(&threads->key, at_thread_exit) != 0) {
 *
 * One plan for the process: a test drives one scenario at a time.
 */
#ifndef ZC_FAULT_H
#define ZC_FAULT_H

#ifdef ZCACHE_TEST_HOOKS
#include <stdbool.h>
#include <stdint.h>

/* Rows are X(site, what is refused there). */
#define ZC_FAULT_SITES(X)                                                                          \
    X(record, "the cache's own record")                                                            \
    X(map, "mappings: pools, chunks, large metadata, the fork guard")                              \
    X(wipe, "the kernel's promise to clear the fork guard in children")                            \
    X(arena, "jemalloc arenas")                                                                    \
    X(chunk, "chunks of pools")                                                                    \
    X(object, "page memory, small metadata and copies, from the pools")                            \
    X(room, "room on the root's account for metadata")                                             \
    X(key, "the key of a cache's threads")                                                         \
    X(specific, "the value of that key")                                                           \
    X(thread, "threads of the library's own")                                                      \
    X(watch, "what the thread sleeps on that looks at them")                                       \
    X(codec, "contexts of a codec that a test registers")                                          \
    X(train, "what a codec's library takes to train a dictionary")                                 \
    X(file, "files of the system that tell of memory pressure")

#define ZC_FAULT_ENUM_(site, what) ZC_FAULT_##site,

enum zc_fault_site {
    ZC_FAULT_SITES(ZC_FAULT_ENUM_) ZC_FAULT_N_SITES
};

/** enum zc_fault_whose - on which threads requests are refused. */
enum zc_fault_whose {
    ZC_FAULT_MINE,   /* the one that arms */
    ZC_FAULT_OTHERS, /* all others */
    ZC_FAULT_ALL
};

/**
 * struct zc_fault_plan - which requests are to be refused.
 * @nth:     the Nth from now on, counting from 1; 0 none.
 * @lasting: and all after it.
 * @whose:   of which threads.
 * @sites:   at which sites, 1 << enum zc_fault_site; 0 means all.
 */
struct zc_fault_plan {
    uint64_t nth;
    bool lasting;
    enum zc_fault_whose whose;
    uint32_t sites;
};

/** zc_fault_arm() - from now on, in place of any earlier plan. */
void zc_fault_arm(const struct zc_fault_plan *plan);

/** zc_fault_disarm() - refuse nothing.  Return: how many requests the plan refused. */
uint64_t zc_fault_disarm(void);

/** zc_fault_requests() - how many the last plan was about, up to the last one it could refuse. */
uint64_t zc_fault_requests(void);

/** zc_fault_refused() - requests refused at a site since the process began. */
uint64_t zc_fault_refused(enum zc_fault_site site);

/** zc_fault_name() - of a site. */
const char *zc_fault_name(enum zc_fault_site site);

/** zc_fault_hold() - @bytes more (or less) are held from the system. */
void zc_fault_hold(int64_t bytes);

/** zc_fault_held() - bytes that all caches of the process hold from the system. */
int64_t zc_fault_held(void);

/** zc_fault_hit() - what ZC_FAULT() does: whether this request is refused. */
bool zc_fault_hit(enum zc_fault_site site);

#define ZC_FAULT(site)     zc_fault_hit(ZC_FAULT_##site)
#define ZC_FAULT_HOLD(num) zc_fault_hold(num)
#else
#define ZC_FAULT(site)     0
#define ZC_FAULT_HOLD(num) ((void)0)
#endif

#endif /* ZC_FAULT_H */
