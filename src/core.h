/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What one cache consists of, for the modules that work on it: memory and its accounting, epoch,
 * codecs, index, threads, log, and the word "progress" that waiting threads listen to.
 */
#ifndef ZC_CORE_H
#define ZC_CORE_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <zcache/zcache.h>

#include "check.h"
#include "codec.h"
#include "dict.h"
#include "entry.h"
#include "epoch.h"
#include "index.h"
#include "lock.h"
#include "plat.h"
#include "pool.h"
#include "quota.h"
#include "stat.h"
#include "thread.h"

struct zc_tenants;
struct zc_io;
struct zc_shrinker;
struct zc_pressure;
struct zc_train;

enum zc_cache_state {
    ZC_CACHE_OPEN = 0,
    ZC_CACHE_CLOSED = 1
};

/** enum zc_mem_kind - what charged metadata is for; one gauge each. */
enum zc_mem_kind {
    ZC_MEM_INDEX,
    ZC_MEM_TENANT,
    ZC_MEM_THREAD,
    ZC_MEM_IO,
    ZC_MEM_DICT,
    ZC_MEM_KINDS
};

struct zc_core_mem {
    struct zc_mem mem; /* what modules are given; its ctx is this structure */
    struct zcache *cache;
    _Atomic uint64_t bytes;
};

/** enum zc_wait_for - what is waited for: something was freed, completed or let go; room at the capacity. */
enum zc_wait_for {
    ZC_FOR_ANY,
    ZC_FOR_ROOM,
    ZC_WAITS
};

/** struct zc_progress - those who wait. */
struct zc_progress {
    struct zc_lock lock;
    struct zc_cond cond[ZC_WAITS];
    uint64_t seq[ZC_WAITS];   /* under lock: how often they were woken */
    _Atomic uint64_t waiters; /* ZC_FOR_ANY in the lower half, ZC_FOR_ROOM in the upper */
};

/** enum zc_bell_reason - why the shrinker is woken. */
enum zc_bell_reason {
    ZC_BELL_PRESSURE = 1 << 0, /* the charge passed the background mark */
    ZC_BELL_AHEAD = 1 << 1,    /* there are raw pages to compress ahead of need */
    ZC_BELL_URGENT = 1 << 2,   /* somebody waits for room at the capacity */
    ZC_BELL_DRAIN = 1 << 3,    /* a limit was lowered below its charge */
    ZC_BELL_COMPACT = 1 << 4,  /* slabs are sparse */
    ZC_BELL_STOP = 1 << 5,
    ZC_BELL_DICT = 1 << 6, /* a sample is ready, or a dictionary is over */
    ZC_BELL_HUGE = 1 << 7  /* chunks have got full, for which there are huge pages */
};

/** struct zc_bell - wakes the shrinker; rings are coalesced. */
struct zc_bell {
    struct zc_lock lock;
    struct zc_cond cond;
    _Atomic uint32_t rung;      /* reasons not yet taken; set under lock */
    _Atomic uint64_t quiet_ns;  /* no pressure rings before: the last round found nothing to do */
    _Atomic uint64_t fruitless; /* rounds that freed nothing although somebody waited */
    _Atomic uint64_t wakes;
    _Atomic uint64_t rounds;
    _Atomic uint32_t sleeping;
    _Atomic uint32_t working; /* the shrinker makes room, and will announce the end of it */
    _Atomic uint32_t urgent;  /* threads waiting at the capacity */
    _Atomic uint64_t wanted;  /* bytes that they wait for */
    _Atomic uint32_t refused; /* a put was, at the capacity, that may not wait */
};

#define ZC_LOG_EVENTS 32u

struct zc_log_window {
    _Atomic uint64_t start_ns;
    _Atomic uint32_t n;
};

struct zcache {
    uint32_t tag;
    /* set once */
    const volatile uint32_t *fork_guard; /* 0 in a fork()ed child */
    struct zcache_options opt;
    struct zc_topology topo;
    struct zc_pool *pool[ZC_NODES_MAX];
    struct zc_pool_bound bound; /* of all pools */
    struct zc_core_mem mem[ZC_MEM_KINDS];
    uint64_t prepaid_max;
    struct zc_epoch *epoch;
    struct zc_codecs *codecs;
    struct zc_dicts *dicts;
    struct zc_index *index;
    struct zc_threads threads;
    struct zc_tenants *tenants;
    struct zcache_tenant *root;
    struct zc_io *io;
    struct zc_shrinker *shrinker;
    struct zc_pressure *pressure; /* NULL: it follows none */
    struct zc_train *train;       /* NULL: no dictionaries */
    bool threads_up;              /* threads is initialised */
    struct zc_thread *spare;      /* in turn, of whoever set spare_busy */
    /* atomic */
    _Atomic int state;
    _Atomic int spare_busy;
    _Atomic int closing;                 /* a close is under way */
    _Atomic uint32_t completing;         /* threads inside a completion; a close waits for 0 */
    _Atomic uint8_t codec[ZCACHE_TIERS]; /* instance that a tier encodes with now */
    _Atomic uint64_t bad_completions;
    _Atomic int dicts_over; /* there are dictionaries that nobody refers to any more */
    _Atomic uint64_t entry_bytes;
    _Atomic uint64_t prepaid;         /* charged for metadata, not used yet */
    _Atomic uint64_t save_ns;         /* nothing is saved up for more before */
    _Atomic int compacting;           /* somebody is at it */
    _Atomic uint64_t compact_ns;      /* not before, however sparse the slabs are */
    _Atomic uint64_t compact_vain_ns; /* nor before this, even for who finds no memory */
    uint64_t compact_rest_ns; /* by who is at it: how long it is left at that which won little */
    struct zc_index_cursor compact_at; /* by who is at it: where the walk goes on */
    bool compact_walked;         /* by who is at it: through all pages, first copies may remain */
    uint64_t compact_promised;   /* by who is at it: of the walk under way; 0: none is */
    uint64_t compact_stayed;     /* by who is at it: of that, what serves again already */
    uint64_t compact_cpu_ns;     /* by who is at it: so far */
    _Atomic int huge_planned;    /* the same for huge pages */
    _Atomic int compact_planned; /* the shrinker will be at it by itself */
    _Atomic uint64_t capacity;   /* as the application set it; the root's limit may be less */
    _Atomic uint64_t pressure_limit; /* what memory pressure leaves of it; UINT64_MAX: all */
    _Atomic uint64_t pressure_lowered;
    _Atomic uint64_t pressure_raised;
    _Atomic uint64_t pressure_blind;
    _Atomic uint64_t pressure_bytes;
    struct zc_account account; /* the root's */
    struct zc_stocks stocks;   /* of all accounts */
    struct zc_progress progress;
    struct zc_bell bell;
    struct zc_lock admin;
    struct zc_log_window log_window[ZC_LOG_EVENTS];
};

/**
 * struct zc_stall - how long one call may still wait.  The clock is read when it first has to, so
 * that a call which does not wait does not pay for it.
 */
struct zc_stall {
    uint32_t max_ms;
    uint64_t deadline_ns; /* 0: it has not had to wait yet */
};

static inline struct zc_stall zc_stall_of(const struct zcache *cache)
{
    return (struct zc_stall){.max_ms = cache->opt.max_stall_ms};
}

static inline uint64_t zc_stall_deadline(struct zc_stall *stall)
{
    if (stall->deadline_ns == 0) {
        stall->deadline_ns = zc_plat_deadline_ns(stall->max_ms);
    }
    return stall->deadline_ns;
}

/**
 * zc_core_init() - memory, epoch, codecs, index and threads of @cache; opt and topo are set.
 *
 * Return: 0; -ENOMEM, -EAGAIN, -ENOTSUP, -EINVAL; zc_core_fini() accepts what was built by then.
 */
int zc_core_init(struct zcache *cache);
void zc_core_fini(struct zcache *cache);

/**
 * zc_core_bound() - have the pools keep no more resident than the capacity, 4 % and 6 MiB; again
 *                   after each change of the capacity.
 */
void zc_core_bound(struct zcache *cache);

/**
 * zc_core_apply_capacity() - have the root's limit be what the application set, or less if memory
 *                            pressure leaves less; after a change of either, under the admin lock.
 */
void zc_core_apply_capacity(struct zcache *cache);

/** zc_core_log() - a message through the user's callback, at most ten a second for one event. */
void zc_core_log(struct zcache *cache,
                 enum zcache_log_level level,
                 const char *event,
                 const char *format,
                 ...) __attribute__((format(printf, 4, 5)));

/** zc_core_mem() - charged metadata memory of a kind. */
static inline const struct zc_mem *zc_core_mem(struct zcache *cache, enum zc_mem_kind kind)
{
    return &cache->mem[kind].mem;
}

/**
 * zc_core_alloc_meta() - as that gives, but on @node, or the nearest that has some; freed through it.
 */
void *zc_core_alloc_meta(struct zcache *cache, enum zc_mem_kind kind, unsigned node, size_t size);

/**
 * zc_core_save_up() - put a little of what room there is aside, for metadata of @bytes.
 *
 * At the limit there never is room for much at a time, and puts are faster.  What is put aside is for
 * whatever metadata comes; half of the slack stays for reclaim.
 *
 * Return: whether there is enough now.
 */
bool zc_core_save_up(struct zcache *cache, uint64_t bytes);

/** zc_core_may_save() - whether nobody has been refused room for a while. */
bool zc_core_may_save(const struct zcache *cache);

/**
 * zc_core_give_saved() - give back what was saved up, since somebody is about to be refused, and save
 *                        nothing up for a while.  Return: bytes.
 */
uint64_t zc_core_give_saved(struct zcache *cache);

/** zc_core_take_saved() - take it, charged, to be given back by zc_quota_refund().  False: it is not there. */
bool zc_core_take_saved(struct zcache *cache, uint64_t bytes);

/** zc_core_thread() - the calling thread's state; NULL without memory. */
static inline struct zc_thread *zc_core_thread(struct zcache *cache)
{
    return zc_thread_get(&cache->threads);
}

/**
 * zc_core_thread_wait() - as above, of a cache that is full: waits for the shrinker, up to max_stall.
 * No lock held.
 */
struct zc_thread *zc_core_thread_wait(struct zcache *cache);

/**
 * zc_core_spare_take() - a state for a completion on a thread that has none and gets no memory for it.
 *
 * Waits for other such completions, which are short.  NULL if it takes too long: a completion within
 * one.
 */
struct zc_thread *zc_core_spare_take(struct zcache *cache);
void zc_core_spare_give(struct zcache *cache);

/** zc_core_alloc() - page memory of @size bytes, on @node or the nearest that has some. */
void *zc_core_alloc(struct zcache *cache, unsigned node, size_t size);

/** zc_core_release() - free page memory at once and refund @account: no reader can see it. */
void zc_core_release(struct zcache *cache, void *ptr, size_t size, struct zc_account *account);

/** zc_core_retire_payload() - release a payload through the epoch; pinned frames at their unpin. */
void zc_core_retire_payload(struct zc_thread *th, struct zc_payload *p, struct zc_account *account);

/** zc_core_retire_word() - as above for what an entry pointed to; nothing for a same-filled page.
 * */
void zc_core_retire_word(struct zc_thread *th, uint64_t word, struct zc_account *account);

/** zc_core_drop_dict() - a payload of dictionary @id is gone; for those freed without the epoch. */
void zc_core_drop_dict(struct zcache *cache, uint16_t id);

/** zc_core_dict_over() - nobody refers to a dictionary any more: the shrinker frees it. */
void zc_core_dict_over(struct zcache *cache);

/** zc_core_unref_entry() - let go of an entry; the last one retires it. */
void zc_core_unref_entry(struct zcache *cache,
                         struct zc_thread *th,
                         struct zc_entry *e,
                         struct zc_account *account);

/** zc_core_shard() - the shard of an entry. */
static inline struct zc_shard *zc_core_shard(struct zcache *cache,
                                             const struct zc_entry *e,
                                             uint64_t *hash_out)
{
    *hash_out = zc_index_hash(zc_entry_slot(e), e->key);
    return zc_index_shard(cache->index, *hash_out);
}

/** zc_core_is_sparse() - whether so much empty room beside @used_bytes is worth a compaction. */
static inline bool zc_core_is_sparse(const struct zcache *cache,
                                     uint64_t room_bytes,
                                     uint64_t used_bytes)
{
    const uint32_t percent = cache->opt.compact_percent;

    /* And half a slab for each class in use. */
    return percent < 100 && room_bytes > used_bytes / 100 * percent + (UINT64_C(2) << 20);
}

/** zc_core_look_at_slabs() - ring for compaction if the pools hold much more than is charged. */
void zc_core_look_at_slabs(struct zcache *cache);

/** zc_core_maintain() - free what this thread's limbo can; no lock, no section. */
static inline void zc_core_maintain(struct zcache *cache, struct zc_thread *th)
{
    if (zc_epoch_due(th->epoch)) {
        zc_epoch_poll(th->epoch);
        zc_core_look_at_slabs(cache);
    }
}

/** zc_bell_ring() - wake the shrinker; cheap if it was rung for that reason already. */
void zc_bell_ring(struct zcache *cache, enum zc_bell_reason reason);

/** zc_bell_want() - a thread waits for @bytes at the capacity, until it wants them no more. */
static inline void zc_bell_want(struct zcache *cache, uint64_t bytes)
{
    atomic_fetch_add(&cache->bell.wanted, bytes); /* who sees that somebody waits sees for what */
    atomic_fetch_add(&cache->bell.urgent, 1);
}

static inline void zc_bell_want_no_more(struct zcache *cache, uint64_t bytes)
{
    atomic_fetch_sub(&cache->bell.urgent, 1);
    atomic_fetch_sub(&cache->bell.wanted, bytes);
}

/** zc_progress_wake() - what zc_progress_signal() does when there are @waiters. */
ZC_COLD void zc_progress_wake(struct zcache *cache, uint64_t waiters);

/**
 * zc_progress_signal() - wake the waiters, if any; those for room at the capacity only when there is
 *                        some worth waking up for, or nobody at work to make more.  Neither kind is
 *                        woken because the other is there.
 */
static inline void zc_progress_signal(struct zcache *cache)
{
    /* Pairs with the waiter's increment: either it sees what we changed, or we see it; what changed
     * was changed by a sequentially consistent read-modify-write. */
    uint64_t waiters = atomic_load(&cache->progress.waiters);

    if (ZC_UNLIKELY(waiters != 0)) {
        zc_progress_wake(cache, waiters);
    }
}

/** zc_core_unpin() - drop a pin on a frame. */
static inline void zc_core_unpin(struct zcache *cache, struct zc_frame *frame)
{
    uint32_t before = atomic_fetch_sub(&frame->pins, 1);

    ZC_ASSERT((before & ~ZC_FRAME_RETIRED) != 0);
    if (ZC_UNLIKELY(before == (ZC_FRAME_RETIRED | 1))) {
        /* Retired and without pins: it is ours alone. */
        zc_core_release(cache, frame, zc_payload_size(&frame->head), frame->account);
    } else {
        zc_progress_signal(cache);
    }
}

/** zc_progress_announce() - wake all waiters, if any: the shrinker, at the end of a pass. */
void zc_progress_announce(struct zcache *cache);

/**
 * Waiting: begin, look whether what is wanted has come true, wait, look again, ..., end.  A signal
 * after the begin is not missed.
 */
uint64_t zc_progress_begin(struct zcache *cache, enum zc_wait_for what);
/** zc_progress_wait() - until a signal after @seq.  Return: false when @deadline_ns passed. */
bool zc_progress_wait(struct zcache *cache,
                      enum zc_wait_for what,
                      uint64_t *seq,
                      uint64_t deadline_ns);
void zc_progress_end(struct zcache *cache, enum zc_wait_for what);

/** zc_progress_pause() - for who looks again in any case: until the next signal, 5 ms or @deadline_ns. */
void zc_progress_pause(struct zcache *cache, uint64_t deadline_ns);

#endif /* ZC_CORE_H */
