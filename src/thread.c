/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * thread.c - registry of the threads that use a cache.
 *
 * A pthread key per cache leads to the calling thread's state; its destructor runs at thread exit.
 * There is no process-wide table.  A thread that calls the cache from a destructor of its own,
 * after ours ran, simply registers again, and the key's destructor runs once more.
 *
 * Locks: the registry's leaf lock, for the list of states; taken at a thread's first and last call.  The end of
 * the registry waits for threads that are on their way out: they free memory of the cache.
 *
 * Limits: a process has PTHREAD_KEYS_MAX keys (1024), so that is the bound of caches open at one
 * time.
 */
#include "thread.h"

#include <errno.h>

#include "fault.h"

static void release(struct zc_thread *th)
{
    struct zc_threads *threads = th->owner;

    zc_codec_set_fini(threads->codecs, &th->codecs);
    if (th->scratch != NULL) {
        threads->mem->free(threads->mem->ctx, th->scratch, threads->scratch_bytes);
    }
    if (th->epoch != NULL) {
        zc_epoch_unregister(&th->epoch);
    }
    th->tag = 0;
    threads->mem->free(threads->mem->ctx, th, sizeof(*th));
}

static void at_thread_exit(void *arg)
{
    struct zc_thread *th = arg;
    struct zc_threads *threads = th->owner;

    ZC_ASSERT(th->tag == ZC_TAG_THREAD);
    zc_lock_acquire(&threads->lock);
    zc_list_del(&th->link);
    threads->n_exiting++;
    zc_lock_release(&threads->lock);
    release(th);
    zc_lock_acquire(&threads->lock);
    if (--threads->n_exiting == 0) {
        zc_cond_broadcast(&threads->cond);
    }
    zc_lock_release(&threads->lock); /* the last access: now the cache may go */
}

int zc_threads_init(struct zc_threads *threads,
                    const struct zc_mem *mem,
                    struct zc_epoch *epoch,
                    struct zc_codecs *codecs,
                    size_t scratch_bytes)
{
    threads->mem = mem;
    threads->epoch = epoch;
    threads->codecs = codecs;
    threads->scratch_bytes = scratch_bytes;
    zc_list_init(&threads->all);
    if (ZC_FAULT(key) || pthread_key_create(&threads->key, at_thread_exit) != 0) {
        return -EAGAIN;
    }
    zc_lock_init(&threads->lock, ZC_RANK_leaf);
    zc_cond_init(&threads->cond);
    threads->n_exiting = 0;
    return 0;
}

void zc_threads_fini(struct zc_threads *threads)
{
    (void)pthread_key_delete(threads->key);
    zc_lock_acquire(&threads->lock);
    while (threads->n_exiting > 0) { /* they are freeing what belongs to the cache */
        (void)zc_cond_wait(&threads->cond, &threads->lock, UINT64_MAX);
    }
    zc_lock_release(&threads->lock);
    while (!zc_list_empty(&threads->all)) {
        struct zc_thread *th = ZC_CONTAINER_OF(zc_list_next(&threads->all), struct zc_thread, link);

        zc_list_del(&th->link);
        release(th);
    }
    zc_cond_fini(&threads->cond);
    zc_lock_fini(&threads->lock);
}

static struct zc_thread *make(struct zc_threads *threads)
{
    struct zc_thread *th = threads->mem->alloc(threads->mem->ctx, sizeof(*th));

    if (th == NULL) {
        return NULL;
    }
    th->tag = ZC_TAG_THREAD;
    th->owner = threads;
    if (zc_epoch_register(threads->epoch, &th->epoch) != 0) {
        release(th);
        return NULL;
    }
    return th;
}

static void list(struct zc_threads *threads, struct zc_thread *th)
{
    zc_lock_acquire(&threads->lock);
    zc_list_push_back(&threads->all, &th->link);
    zc_lock_release(&threads->lock);
}

struct zc_thread *zc_thread_make(struct zc_threads *threads)
{
    struct zc_thread *th = make(threads);

    if (th != NULL) {
        list(threads, th);
    }
    return th;
}

struct zc_thread *zc_thread_register(struct zc_threads *threads)
{
    struct zc_thread *th = make(threads);

    if (th == NULL) {
        return NULL;
    }
    if (ZC_FAULT(specific) || pthread_setspecific(threads->key, th) != 0) {
        release(th);
        return NULL;
    }
    list(threads, th);
    return th;
}

void *zc_thread_scratch(struct zc_thread *th)
{
    if (th->scratch == NULL) {
        th->scratch = th->owner->mem->alloc(th->owner->mem->ctx, th->owner->scratch_bytes);
    }
    return th->scratch;
}
