/* SPDX-License-Identifier: BSD-2-Clause */
#include "watch.h"

#include <string.h>

enum { /* in the header of the file */
    PAGE_SIZE_AT = 16,
    WRITE_FORMAT_AT = 18,
    READ_FORMAT_AT = 19,
    FORMAT_WAL = 2,
};

static const unsigned read_marks = (1u << (WAL_READ_LAST + 1)) - (1u << WAL_READ_0);

void watch_init(struct watch *watch, struct pages *pages)
{
    memset(watch, 0, sizeof(*watch));
    watch->pages = pages;
    atomic_init(&watch->mode, WATCH_UNKNOWN);
    (void)pthread_mutex_init(&watch->lock, NULL);
}

void watch_fini(struct watch *watch)
{
    (void)pthread_mutex_destroy(&watch->lock);
}

/* ---- the header of the file ------------------------------------------------------------------- */

static unsigned page_bytes_of(const unsigned char *header)
{
    const unsigned n = (unsigned)header[PAGE_SIZE_AT - HEADER_AT] << 8 |
                       (unsigned)header[PAGE_SIZE_AT - HEADER_AT + 1];

    return n == 1 ? 65536 : n;
}

static enum watch_mode mode_of(const unsigned char *header)
{
    return header[WRITE_FORMAT_AT - HEADER_AT] == FORMAT_WAL ||
                   header[READ_FORMAT_AT - HEADER_AT] == FORMAT_WAL
               ? WATCH_WAL
               : WATCH_ROLLBACK;
}

static void set_header_locked(struct watch *watch, const unsigned char *header)
{
    memcpy(watch->header, header, HEADER_BYTES);
    atomic_store(&watch->mode, mode_of(header));
}

/* The first of the process has locked the file. */
static void look_at_header_locked(struct watch *watch, sqlite3_file *file)
{
    unsigned char now[HEADER_BYTES];

    watch->position_known = false;
    if (file->pMethods->xRead(file, now, HEADER_BYTES, HEADER_AT) != SQLITE_OK) {
        atomic_store(&watch->mode, WATCH_UNKNOWN);
        pages_forget(watch->pages, 0);
    } else if (atomic_load(&watch->mode) != WATCH_ROLLBACK ||
               memcmp(now, watch->header, HEADER_BYTES) != 0) {
        set_header_locked(watch, now);
        pages_forget(watch->pages, page_bytes_of(now));
    }
}

bool watch_read_version(struct watch *watch,
                        const struct view *view,
                        void *buf,
                        int len,
                        sqlite3_int64 offset)
{
    if (offset != VERSION_AT || len != VERSION_BYTES || view->level < SQLITE_LOCK_SHARED) {
        return false;
    }
    (void)pthread_mutex_lock(&watch->lock);
    const bool known = atomic_load(&watch->mode) == WATCH_ROLLBACK;
    if (known) {
        memcpy(buf, watch->header + VERSION_AT - HEADER_AT, VERSION_BYTES);
    }
    (void)pthread_mutex_unlock(&watch->lock);
    return known;
}

/* Nobody can say what the header is. */
static void lose_header(struct watch *watch)
{
    (void)pthread_mutex_lock(&watch->lock);
    atomic_store(&watch->mode, WATCH_UNKNOWN);
    pages_forget(watch->pages, 0);
    (void)pthread_mutex_unlock(&watch->lock);
}

static void change_header(struct watch *watch, const unsigned char *header)
{
    (void)pthread_mutex_lock(&watch->lock);
    set_header_locked(watch, header);
    if (page_bytes_of(header) != atomic_load(&watch->pages->page_bytes)) {
        pages_forget(watch->pages, page_bytes_of(header));
    }
    (void)pthread_mutex_unlock(&watch->lock);
}

void watch_wrote(struct watch *watch, bool success, const void *buf, int len, sqlite3_int64 offset)
{
    if (offset >= HEADER_AT + HEADER_BYTES) {
        return;
    }
    if (success && offset == 0 && len >= HEADER_AT + HEADER_BYTES) {
        change_header(watch, (const unsigned char *)buf + HEADER_AT);
    } else {
        lose_header(watch);
    }
}

void watch_truncated(struct watch *watch, sqlite3_int64 size)
{
    if (size < HEADER_AT + HEADER_BYTES) {
        lose_header(watch);
    }
}

/* ---- locks on the file ------------------------------------------------------------------------ */

void watch_locked(struct watch *watch, struct view *view, sqlite3_file *file, int level)
{
    (void)pthread_mutex_lock(&watch->lock);
    if (view->level == SQLITE_LOCK_NONE && level > SQLITE_LOCK_NONE && watch->n_locked++ == 0) {
        look_at_header_locked(watch, file);
    }
    if (level == SQLITE_LOCK_EXCLUSIVE && atomic_load(&watch->mode) == WATCH_WAL) {
        watch->position_known = false;
        pages_forget(watch->pages, atomic_load(&watch->pages->page_bytes));
    }
    (void)pthread_mutex_unlock(&watch->lock);
    view->level = level;
}

void watch_unlocking(struct watch *watch, struct view *view, int level)
{
    (void)pthread_mutex_lock(&watch->lock);
    if (view->level == SQLITE_LOCK_EXCLUSIVE && level < SQLITE_LOCK_EXCLUSIVE) {
        watch->position_known = false; /* it may have made a checkpoint without the WAL-index */
    }
    if (view->level > SQLITE_LOCK_NONE && level == SQLITE_LOCK_NONE) {
        watch->n_locked--;
    }
    (void)pthread_mutex_unlock(&watch->lock);
    view->level = level < view->level ? level : view->level;
}

/* ---- the WAL-index ---------------------------------------------------------------------------- */

/* Is what is cached as the position says? It is afterwards, unless there is no position. */
static bool look_at_position_locked(struct watch *watch, const struct view *view)
{
    struct wal_position now;

    if (!wal_position_read(view->wal_index, &now)) {
        watch->position_known = false;
        return false;
    }
    if (!watch->position_known ||
        (watch->n_guards == 0 && !wal_position_equal(&now, &watch->position))) {
        pages_forget(watch->pages, atomic_load(&watch->pages->page_bytes));
    }
    watch->position = now;
    watch->position_known = true;
    return true;
}

static bool look_at_position(struct watch *watch, const struct view *view)
{
    (void)pthread_mutex_lock(&watch->lock);
    const bool known = look_at_position_locked(watch, view);
    (void)pthread_mutex_unlock(&watch->lock);
    return known;
}

static bool should_guard(const struct view *view)
{
    return (view->shm_exclusive & 1u << WAL_CHECKPOINT) != 0 ||
           (view->shm_shared & 1u << WAL_READ_0) != 0;
}

static void start_to_guard(struct watch *watch, struct view *view)
{
    (void)pthread_mutex_lock(&watch->lock);
    if (look_at_position_locked(watch, view)) {
        view->guards = true;
        watch->n_guards++;
    }
    (void)pthread_mutex_unlock(&watch->lock);
}

static void cease_to_guard(struct watch *watch, struct view *view)
{
    (void)pthread_mutex_lock(&watch->lock);
    (void)look_at_position_locked(watch, view);
    view->guards = false;
    watch->n_guards--;
    (void)pthread_mutex_unlock(&watch->lock);
}

static unsigned bits_of(int first, int n)
{
    return ((1u << n) - 1) << first;
}

void watch_shm_locked(struct watch *watch, struct view *view, int first, int n, int flags)
{
    const unsigned bits = bits_of(first, n);

    if ((flags & SQLITE_SHM_EXCLUSIVE) != 0) {
        view->shm_exclusive |= bits;
    } else {
        view->shm_shared |= bits;
        if ((bits & read_marks) != 0) {
            view->trusted = false;
        }
    }
    if (should_guard(view) && !view->guards) {
        start_to_guard(watch, view);
    }
}

void watch_shm_unlocking(struct watch *watch, struct view *view, int first, int n)
{
    view->shm_shared &= ~bits_of(first, n);
    view->shm_exclusive &= ~bits_of(first, n);
    if (view->guards && !should_guard(view)) {
        cease_to_guard(watch, view);
    }
}

void watch_shm_unmapping(struct watch *watch, struct view *view)
{
    watch_shm_unlocking(watch, view, 0, WAL_READ_LAST + 1);
    view->wal_index = NULL;
}

bool watch_trusts(struct watch *watch, struct view *view)
{
    switch (atomic_load(&watch->mode)) {
    case WATCH_ROLLBACK:
        return view->level >= SQLITE_LOCK_SHARED;
    case WATCH_WAL:
        if (view->level == SQLITE_LOCK_EXCLUSIVE) {
            return true;
        }
        if ((view->shm_shared & read_marks) != 0 && !view->trusted) {
            view->trusted = look_at_position(watch, view);
        }
        return (view->shm_shared & read_marks) != 0 && view->trusted;
    default:
        return false;
    }
}
