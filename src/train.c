/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * train.c - learns dictionaries from the pages that go to the dense tier: here are the record of it all, what pages
 * are encoded with, and the thread.  Samples are in train_sample.c, training and choice in train_choose.c.
 *
 *      demotions --note--> learner --sample--> READY --thread--> train, compare, keep or refuse
 *                             ^                                             |
 *                             `-------------- ratio fell <--- dictionary <--'
 *
 * Who learns.  A tenant learns for itself once so many bytes of it were demoted that a dictionary of its own
 * may pay; before that its pages count for its parent.  So small tenants share what the nearest larger
 * ancestor has learnt from all of them.  A tenant encodes with its own dictionary, or with that of the
 * nearest ancestor that has one.
 *
 * Training is one call of the codec's library which cannot be divided: 70 ms of CPU for 112 KiB of dictionary.  So it has a
 * thread, started by the shrinker when the first sample is ready, and rests after it for 19 times the
 * CPU time it took.
 *
 * Memory.  Sample, dictionaries and prepared forms are metadata of the cache, charged to the root.  So is
 * what the library takes from the system for itself, by an estimate that is above it.  If there is no
 * room for any of it, the training is given up, and tried again when more was demoted.  So it is when
 * somebody is about to be refused at the capacity: sample and what was saved up give way, and a training
 * under way is waited for.  Dictionaries and their forms stay below a sixteenth of the capacity; a sample
 * is at most a thirty-second of it, and the library takes 1.5 MiB and up to a sixty-fourth while it trains.
 *
 * Locks: train.lock (leaf).
 */
#include "train_impl.h"

#include <errno.h>

#include "fault.h"

#define CAPACITY_MIN   (UINT64_C(8) << 20) /* in a smaller cache it would take more than it saves */
#define CAPACITY_SHARE 512u                /* of the capacity is the largest dictionary */
#define BYTES_MIN      (UINT64_C(16) << 10) /* a smaller dictionary is not worth it */
#define SAMPLE_TIMES   24u                  /* bytes of a sample, of the dictionary's */
#define SAMPLE_SHARE   32u                  /* of the capacity, at most */
#define OWN_TIMES      4u                   /* of that: when a tenant learns for itself */
#define PAGE_USUAL     1024u                /* most pages in a sample: its room by this */
#define ACCURACY_MAX   20u
#define ACCURACY_MIN   16u
#define SCRATCH_SHARE  64u
#define REST_TIMES     19u /* the CPU time of a training */

/* ---- lifetime --------------------------------------------------------------------------------------- */

static unsigned accuracy_for(uint64_t capacity)
{
    unsigned accuracy = ACCURACY_MAX;

    while (accuracy > ACCURACY_MIN && (UINT64_C(6) << accuracy) > capacity / SCRATCH_SHARE) {
        accuracy--;
    }
    return accuracy;
}

int zc_train_create(struct zcache *cache)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_DICT);
    uint64_t capacity = cache->opt.capacity_bytes;
    uint64_t bytes = ZC_MIN(cache->opt.dictionary_bytes, capacity / CAPACITY_SHARE);
    struct zc_train *train;

    if (capacity < CAPACITY_MIN || bytes < BYTES_MIN) {
        return 0;
    }
    train = mem->alloc(mem->ctx, sizeof(*train));
    if (train == NULL) {
        return -ENOMEM;
    }
    train->cache = cache;
    train->dict_bytes = bytes;
    train->room = ZC_MIN(bytes * SAMPLE_TIMES, capacity / SAMPLE_SHARE);
    train->room = ZC_MAX(train->room, (size_t)cache->opt.page_max_bytes);
    train->held_room = train->room / (HELD_OUT - 2);
    train->pages_max = train->room / PAGE_USUAL;
    train->window_bytes = train->room * SEEN_TIMES;
    train->own_bytes = train->window_bytes * OWN_TIMES;
    train->accuracy = accuracy_for(capacity);
    train->rest_times = REST_TIMES;
    train->random = UINT64_C(0x9e3779b97f4a7c15);
    zc_lock_init(&train->lock, ZC_RANK_leaf);
    zc_cond_init(&train->cond);
    cache->train = train;
    return 0;
}

void zc_train_stop(struct zcache *cache)
{
    struct zc_train *train = cache->train;
    bool started;

    if (train == NULL) {
        return;
    }
    zc_lock_acquire(&train->lock);
    train->stop = true;
    atomic_store(&train->stopping, 1);
    started = train->started;
    train->started = false;
    zc_cond_broadcast(&train->cond);
    zc_lock_release(&train->lock);
    if (started) {
        (void)pthread_join(train->id, NULL);
    }
}

void zc_train_destroy(struct zcache *cache)
{
    const struct zc_mem *mem = zc_core_mem(cache, ZC_MEM_DICT);
    struct zc_train *train = cache->train;

    if (train == NULL) {
        return;
    }
    zc_train_free_sample(train, &train->sample);
    zc_cond_fini(&train->cond);
    zc_lock_fini(&train->lock);
    cache->train = NULL;
    mem->free(mem->ctx, train, sizeof(*train));
}

#ifdef ZCACHE_TEST_HOOKS
void zc_train_hurry(struct zcache *cache)
{
    cache->train->rest_times = 0;
}

bool zc_train_busy(struct zcache *cache)
{
    struct zc_train *train = cache->train;
    bool busy;

    zc_lock_acquire(&train->lock);
    busy = train->state == READY || train->state == TRAINING;
    zc_lock_release(&train->lock);
    return busy;
}
#endif

/* ---- room ------------------------------------------------------------------------------------------- */

uint64_t zc_train_yield(struct zcache *cache)
{
    struct zc_train *train = cache->train;
    uint64_t bytes = zc_core_give_saved(cache);
    struct zc_sample s = {0};
    bool had_learner;

    if (train == NULL) {
        return bytes;
    }
    zc_lock_acquire(&train->lock);
    had_learner = train->state == COLLECTING || train->state == READY;
    if (train->state != TRAINING) {
        s = train->sample;
        train->sample = (struct zc_sample){0};
        train->state = IDLE;
    }
    zc_lock_release(&train->lock);
    if (had_learner) {
        zc_train_give_up(train, &s);
    }
    bytes += s.bytes != NULL ? zc_train_sample_bytes(train) : 0;
    zc_train_free_sample(train, &s);
    zc_progress_signal(cache);
    return bytes;
}

bool zc_train_holds(struct zcache *cache)
{
    struct zc_train *train = cache->train;
    bool holds;

    if (train == NULL) {
        return false;
    }
    zc_lock_acquire(&train->lock);
    holds = train->state == TRAINING;
    zc_lock_release(&train->lock);
    return holds;
}

void zc_train_pause(struct zcache *cache)
{
    struct zc_train *train = cache->train;

    if (train == NULL) {
        return;
    }
    zc_lock_acquire(&train->lock);
    train->pauses++;
    while (train->running) {
        (void)zc_cond_wait(&train->cond, &train->lock, UINT64_MAX);
    }
    zc_lock_release(&train->lock);
}

void zc_train_resume(struct zcache *cache)
{
    struct zc_train *train = cache->train;

    if (train == NULL) {
        return;
    }
    zc_lock_acquire(&train->lock);
    train->pauses--;
    zc_cond_broadcast(&train->cond);
    zc_lock_release(&train->lock);
}

/* ---- encoding --------------------------------------------------------------------------------------- */

/* The dictionary that @t encodes with; in a section. */
static struct zc_dict *current(struct zcache_tenant *t)
{
    for (; t != NULL; t = t->parent) {
        struct zc_dict *dict = atomic_load_explicit(&t->learn.dict, memory_order_acquire);

        if (dict != NULL) {
            return dict;
        }
        if (atomic_load_explicit(&t->learn.plain, memory_order_relaxed) != 0) {
            return NULL;
        }
    }
    return NULL;
}

struct zc_dict *zc_train_dictionary(struct zcache_tenant *t,
                                    struct zc_thread *th,
                                    uint8_t codec,
                                    size_t len)
{
    struct zc_dict *dict;

    if (t->cache->train == NULL) {
        return NULL;
    }
    zc_epoch_enter(th->epoch);
    dict = current(t);
    if (dict != NULL && (!zc_dict_usable(dict, codec, len) || !zc_dict_try_ref(dict))) {
        dict = NULL;
    }
    zc_epoch_exit(th->epoch);
    return dict;
}

void zc_train_unref(struct zcache *cache, struct zc_dict *dict)
{
    if (dict != NULL && zc_dict_unref(dict)) {
        zc_core_dict_over(cache);
    }
}

/* ---- thread ----------------------------------------------------------------------------------------- */

static bool may_train_locked(const struct zc_train *train, uint64_t *deadline_out)
    ZC_REQUIRES(train->lock)
{
    *deadline_out = UINT64_MAX;
    if (train->state != READY || train->pauses > 0) {
        return false;
    }
    *deadline_out = train->rest_ns;
    return zc_plat_now_ns() >= train->rest_ns;
}

/* Until there is something to do.  False: to stop. */
static bool wait_for_sample(struct zc_train *train)
{
    uint64_t deadline;
    bool go;

    zc_lock_acquire(&train->lock);
    while (!train->stop && !may_train_locked(train, &deadline)) {
        (void)zc_cond_wait(&train->cond, &train->lock, deadline);
    }
    go = !train->stop;
    if (go) {
        train->state = TRAINING;
        train->running = true;
    }
    zc_lock_release(&train->lock);
    return go;
}

static void end_training(struct zc_train *train, uint64_t cpu_ns)
{
    struct zc_sample s;

    zc_lock_acquire(&train->lock);
    s = train->sample;
    train->sample = (struct zc_sample){0};
    zc_lock_release(&train->lock);
    zc_train_free_sample(train, &s);
    zc_lock_acquire(&train->lock);
    train->state = IDLE;
    train->running = false;
    train->rest_ns = zc_plat_now_ns() + cpu_ns * train->rest_times;
    zc_cond_broadcast(&train->cond);
    zc_lock_release(&train->lock);
}

static void *train_main(void *arg)
{
    struct zc_train *train = arg;

    zc_plat_thread_setup("zcache-train");
    while (wait_for_sample(train)) {
        struct zc_thread *th = zc_core_thread(train->cache);
        uint64_t cpu_ns = zc_plat_thread_cpu_ns();

        zc_train_once(train, th);
        end_training(train, zc_plat_thread_cpu_ns() - cpu_ns);
    }
    return NULL;
}

static void start(struct zc_train *train)
{
    bool wanted;

    zc_lock_acquire(&train->lock);
    wanted = train->state == READY && !train->started && !train->stop;
    zc_lock_release(&train->lock);
    if (!wanted) {
        return;
    }
    if (ZC_FAULT(thread) || pthread_create(&train->id, NULL, train_main, train) != 0) {
        atomic_store(&train->work, 1); /* the sample waits for the next round */
        return;
    }
    zc_lock_acquire(&train->lock);
    train->started = true;
    zc_lock_release(&train->lock);
}

void zc_train_work(struct zcache *cache, struct zc_thread *th)
{
    if (cache->train == NULL) {
        return;
    }
    if (atomic_exchange(&cache->train->work, 0) != 0) {
        start(cache->train);
    }
    zc_train_drop_stale(cache->train);
    if (atomic_exchange(&cache->dicts_over, 0) != 0) {
        (void)zc_dicts_reap(cache->dicts, th->epoch);
    }
}
