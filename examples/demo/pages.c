/* SPDX-License-Identifier: BSD-2-Clause */
#include "pages.h"
#include "problem.h"

#include "../file_store.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>

#define OBJECT_PAGES 8192 /* a tenant's data are objects of 32 MiB */
#define WHY_BYTES    80

static struct zcache_key key_of(uint64_t page)
{
    return (struct zcache_key){.object = 1 + page / OBJECT_PAGES, .page = page % OBJECT_PAGES};
}

static struct page_name name_of(const struct member *m, uint64_t page)
{
    return (struct page_name){.first = m->first, .page = page, .owner = m->number};
}

/*
 * The cache had no room for a page in time.  It has kept no version of it, nor will it write one:
 * so the page is written here.  Only then can a read that missed meanwhile, and loaded the old
 * version from the store, be undone.
 */
static void write_past_cache(struct house *h, struct member *m, uint64_t page, const void *bytes)
{
    int rc = file_store_write(h->files, m->name, key_of(page), bytes, PAGE_BYTES);

    if (rc == 0) {
        rc = zcache_delete(m->tenant, key_of(page), ZCACHE_NOIO);
    }
    if (rc < 0) {
        problem("%s page %" PRIu64 ": cannot write it past the cache: %s", m->name, page,
                problem_text(rc));
    }
}

/* Return: 1 if the page went past the cache, otherwise 0. */
static unsigned settle_put(struct house *h,
                           struct member *m,
                           uint64_t page,
                           const void *bytes,
                           int rc)
{
    switch (rc) {
    case 0:
        return 0;
    case -EDQUOT:
    case -ENOSPC:
    case -ENOMEM:
        write_past_cache(h, m, page, bytes);
        return 1;
    default:
        problem("%s page %" PRIu64 ": put: %s", m->name, page, problem_text(rc));
        return 0;
    }
}

unsigned pages_put_first(struct house *h, struct member *m, uint64_t first, unsigned n)
{
    unsigned char bytes[PUT_BATCH][PAGE_BYTES];
    struct zcache_page batch[PUT_BATCH] = {0};
    unsigned refused = 0;
    int rc;

    for (unsigned i = 0; i < n; i++) {
        const struct page_name name = name_of(m, first + i);

        content_make(&h->source, &name, 0, bytes[i]);
        batch[i].key = key_of(first + i);
        batch[i].data = bytes[i];
        batch[i].len = PAGE_BYTES;
    }
    rc = zcache_put_many(m->tenant, batch, n, 0);
    if (rc == -EINVAL || rc == -ESHUTDOWN) {
        problem("%s: put_many: %s", m->name, problem_text(rc)); /* no status was set */
        return 0;
    }
    for (unsigned i = 0; i < n; i++) {
        refused += settle_put(h, m, first + i, bytes[i], batch[i].status);
    }
    return refused;
}

enum rewrite_result page_rewrite(struct house *h, struct member *m, uint64_t page)
{
    struct page_state *state = &m->states[page];
    const struct page_name name = name_of(m, page);
    uint32_t version = atomic_load(&state->done);
    unsigned char bytes[PAGE_BYTES];
    enum rewrite_result result = REWRITE_DONE;
    int rc;

    if (!atomic_compare_exchange_strong(&state->started, &version, version + 1)) {
        return REWRITE_BUSY;
    }
    content_make(&h->source, &name, version + 1, bytes);
    rc = zcache_put(m->tenant, key_of(page), bytes, sizeof bytes, 0);
    if (settle_put(h, m, page, bytes, rc) != 0) {
        atomic_store(&state->past_cache, version + 1);
        result = REWRITE_REFUSED;
    }
    atomic_store(&state->done, version + 1);
    return result;
}

enum check_result {
    CHECK_RIGHT,
    CHECK_TOO_OLD,
    CHECK_WRONG
};

/* Whether the bytes are a version from @oldest to @newest.  Says in @why what is wrong. */
static enum check_result check(const struct house *h,
                               const struct member *m,
                               uint64_t page,
                               const void *bytes,
                               size_t len,
                               uint32_t oldest,
                               uint32_t newest,
                               char why[WHY_BYTES])
{
    const struct page_name name = name_of(m, page);
    uint32_t version;

    if (content_version(&h->source, &name, bytes, len, &version) != 0) {
        (void)snprintf(why, WHY_BYTES, "%zu bytes that are no version of it", len);
        return CHECK_WRONG;
    }
    if (version >= oldest && version <= newest) {
        return CHECK_RIGHT;
    }
    (void)snprintf(why, WHY_BYTES, "version %" PRIu32 " instead of %" PRIu32 " to %" PRIu32,
                   version, oldest, newest);
    return version < oldest ? CHECK_TOO_OLD : CHECK_WRONG;
}

/*
 * A refused put takes the page out of the cache, the last version with it; until the rewriting
 * thread has written the new one, the store's older one is what a read finds.  Wait for the rewrite
 * that was under way during a read, and say whether that happened.
 */
static bool rewritten_past_cache(struct page_state *state, uint32_t oldest, uint32_t newest)
{
    while (atomic_load(&state->done) < newest) {
        (void)sched_yield();
    }
    return atomic_load(&state->past_cache) > oldest;
}

/* Return: whether to read again. */
static bool read_once(struct house *h, struct member *m, uint64_t page, unsigned flags)
{
    struct page_state *state = &m->states[page];
    const uint32_t oldest = atomic_load(&state->done);
    unsigned char bytes[PAGE_BYTES];
    char why[WHY_BYTES];
    enum check_result result;
    uint32_t newest;
    size_t len;
    int rc = zcache_get(m->tenant, key_of(page), bytes, sizeof bytes, &len, flags);

    if (rc != 0) {
        problem("%s page %" PRIu64 ": get: %s", m->name, page, problem_text(rc));
        return false;
    }
    newest = atomic_load(&state->started);
    result = check(h, m, page, bytes, len, oldest, newest, why);
    if (result == CHECK_TOO_OLD && newest != oldest &&
        rewritten_past_cache(state, oldest, newest)) {
        return true;
    }
    if (result != CHECK_RIGHT) {
        problem("%s page %" PRIu64 ": %s", m->name, page, why);
    }
    return false;
}

void page_read(struct house *h, struct member *m, uint64_t page, unsigned flags)
{
    while (read_once(h, m, page, flags)) {
    }
}

void page_read_file(struct house *h, struct member *m, uint64_t page)
{
    const uint32_t version = atomic_load(&m->states[page].done);
    unsigned char bytes[PAGE_BYTES];
    char why[WHY_BYTES];
    size_t len;
    int rc = file_store_read(h->files, m->name, key_of(page), bytes, sizeof bytes, &len);

    if (rc != 0) {
        problem("%s page %" PRIu64 ": in the store: %s", m->name, page, problem_text(rc));
    } else if (check(h, m, page, bytes, len, version, version, why) != CHECK_RIGHT) {
        problem("%s page %" PRIu64 ": in the store: %s", m->name, page, why);
    }
}
