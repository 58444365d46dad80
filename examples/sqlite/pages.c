/* SPDX-License-Identifier: BSD-2-Clause */
#include "pages.h"

#include <stdbool.h>

int pages_init(struct pages *pages, struct zcache *cache, const char *name)
{
    struct zcache_tenant_options options = ZCACHE_TENANT_OPTIONS_INIT;

    options.name = name;
    const int rc = zcache_tenant_open(zcache_root(cache), &options, &pages->tenant);
    if (rc != 0) {
        return rc;
    }
    atomic_init(&pages->page_bytes, 0);
    atomic_init(&pages->generation, 0);
    atomic_init(&pages->end, 0);
    atomic_init(&pages->n_file_reads, 0);
    atomic_init(&pages->n_forgotten, 0);
    for (int i = 0; i < PAGES_TURNS; i++) {
        (void)pthread_mutex_init(&pages->turn[i], NULL);
    }
    return 0;
}

void pages_fini(struct pages *pages)
{
    /* It has no dirty pages, no pins and no store to wait for; if it fails, memory is lost, not data. */
    (void)!zcache_tenant_close(pages->tenant, ZCACHE_CLOSE_DISCARD);
    for (int i = 0; i < PAGES_TURNS; i++) {
        (void)pthread_mutex_destroy(&pages->turn[i]);
    }
}

void pages_forget(struct pages *pages, unsigned page_bytes)
{
    const uint64_t old = atomic_fetch_add(&pages->generation, 1);

    atomic_store(&pages->page_bytes, page_bytes);
    if (atomic_exchange(&pages->end, 0) > 0) {
        atomic_fetch_add(&pages->n_forgotten, 1);
        (void)!zcache_truncate(pages->tenant, old, 0); /* gives back memory, no more */
    }
}

/* ---- one page -------------------------------------------------------------------------------- */

static bool is_page(struct pages *pages, int len, sqlite3_int64 offset)
{
    return len > 0 && (unsigned)len == atomic_load(&pages->page_bytes) && offset % len == 0;
}

static struct zcache_key key_of(struct pages *pages, int len, sqlite3_int64 offset)
{
    return (struct zcache_key){.object = atomic_load(&pages->generation),
                               .page = (uint64_t)(offset / len)};
}

static bool get(struct pages *pages, struct zcache_key key, void *buf, int len)
{
    size_t got = 0;

    return zcache_get(pages->tenant, key, buf, (size_t)len, &got, 0) == 0 && got == (size_t)len;
}

/* During the page's turn: the cache has not got the page. */
static void drop(struct pages *pages, struct zcache_key key)
{
    const int rc = zcache_delete(pages->tenant, key, 0);

    if (rc != 0 && rc != ZCACHE_MISS) {
        pages_forget(pages, atomic_load(&pages->page_bytes));
    }
}

/* During the page's turn: the cache has this version, or none. */
static void keep(struct pages *pages, struct zcache_key key, const void *buf, int len)
{
    unsigned long long end = atomic_load(&pages->end);

    while (end <= key.page && !atomic_compare_exchange_weak(&pages->end, &end, key.page + 1)) {
        ;
    }
    const int rc =
        zcache_put(pages->tenant, key, buf, (size_t)len, ZCACHE_CLEAN | ZCACHE_BEST_EFFORT);
    if (rc != 0 && rc != ZCACHE_BYPASSED) {
        drop(pages, key);
    }
}

static pthread_mutex_t *turn_of(struct pages *pages, uint64_t page)
{
    return &pages->turn[page % PAGES_TURNS];
}

/* Take the page's turn; was it somebody else's until now? */
static bool take_turn(pthread_mutex_t *turn)
{
    if (pthread_mutex_trylock(turn) == 0) {
        return false;
    }
    (void)pthread_mutex_lock(turn);
    return true;
}

/* ---- as a file ------------------------------------------------------------------------------- */

static int read_and_keep(struct pages *pages,
                         sqlite3_file *file,
                         void *buf,
                         int len,
                         sqlite3_int64 offset)
{
    pthread_mutex_t *turn = turn_of(pages, (uint64_t)(offset / len));
    const bool waited = take_turn(turn);
    const struct zcache_key key = key_of(pages, len, offset);
    int rc = SQLITE_OK;

    if (!waited || !get(pages, key, buf, len)) {
        rc = file->pMethods->xRead(file, buf, len, offset);
        atomic_fetch_add(&pages->n_file_reads, 1);
        if (rc == SQLITE_OK) {
            keep(pages, key, buf, len);
        }
    }
    (void)pthread_mutex_unlock(turn);
    return rc;
}

int pages_read(struct pages *pages, sqlite3_file *file, void *buf, int len, sqlite3_int64 offset)
{
    if (!is_page(pages, len, offset)) {
        return file->pMethods->xRead(file, buf, len, offset);
    }
    if (get(pages, key_of(pages, len, offset), buf, len)) {
        return SQLITE_OK;
    }
    return read_and_keep(pages, file, buf, len, offset);
}

int pages_write(struct pages *pages,
                sqlite3_file *file,
                const void *buf,
                int len,
                sqlite3_int64 offset)
{
    if (!is_page(pages, len,
                 offset)) { /* the size of pages changes, or somebody patches the file */
        const int rc = file->pMethods->xWrite(file, buf, len, offset);
        pages_forget(pages, atomic_load(&pages->page_bytes));
        return rc;
    }

    pthread_mutex_t *turn = turn_of(pages, (uint64_t)(offset / len));
    (void)pthread_mutex_lock(turn);
    const struct zcache_key key = key_of(pages, len, offset);
    const int rc = file->pMethods->xWrite(file, buf, len, offset);
    if (rc == SQLITE_OK) {
        keep(pages, key, buf, len);
    } else {
        drop(pages, key); /* the file may have a part of it */
    }
    (void)pthread_mutex_unlock(turn);
    return rc;
}

/* The end first: what is put from now on moves it up again. */
static uint64_t lower_end(struct pages *pages, uint64_t end)
{
    unsigned long long old = atomic_load(&pages->end);

    while (old > end && !atomic_compare_exchange_weak(&pages->end, &old, end)) {
        ;
    }
    return old;
}

int pages_truncate(struct pages *pages, sqlite3_file *file, sqlite3_int64 size)
{
    const int rc = file->pMethods->xTruncate(file, size);
    const unsigned page_bytes = atomic_load(&pages->page_bytes);

    if (page_bytes == 0) {
        return rc;
    }
    const uint64_t first = (uint64_t)size / page_bytes;
    const uint64_t end = lower_end(pages, first);
    for (uint64_t page = first; page < end; page++) {
        pthread_mutex_t *turn = turn_of(pages, page);
        (void)pthread_mutex_lock(turn);
        drop(pages, (struct zcache_key){atomic_load(&pages->generation), page});
        (void)pthread_mutex_unlock(turn);
    }
    return rc;
}
