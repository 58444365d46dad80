/* SPDX-License-Identifier: BSD-2-Clause */
#define _GNU_SOURCE 1 /* NOLINT(bugprone-reserved-identifier) */
#include "history.h"

#include <stdio.h>
#include <sys/mman.h>

struct history *history_new(void)
{
    struct history *h = mmap(NULL, sizeof(*h), PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    REQUIRE(h != MAP_FAILED);
    return h;
}

void history_free(struct history *h)
{
    REQUIRE_EQUAL(munmap(h, sizeof(*h)), 0);
}

void history_clear(struct history *h)
{
    for (unsigned k = 0; k < HISTORY_KEYS; k++) {
        struct history_key *key = &h->keys[k];
        key->base = 0;
        key->base_version = 0;
        atomic_store(&key->begun, 0);
        atomic_store(&key->done, 0);
        atomic_store(&key->covered, 0);
    }
}

bool history_has_room(const struct history *h, unsigned key)
{
    return atomic_load(&h->keys[key].begun) < HISTORY_CHANGES;
}

unsigned history_begin(struct history *h, unsigned key, bool deleted)
{
    struct history_key *k = &h->keys[key];
    const unsigned number = atomic_load(&k->begun) + 1;

    REQUIRE(number <= HISTORY_CHANGES);
    atomic_store(&k->deleted[number], deleted);
    atomic_store(&k->begun, number);
    return number;
}

void history_done(struct history *h, unsigned key, unsigned number)
{
    struct history_key *k = &h->keys[key];

    atomic_store(&k->done, number);
    atomic_fetch_add(atomic_load(&k->deleted[number]) ? &h->deletes : &h->puts, 1);
}

void history_before_flush(const struct history *h, unsigned first, unsigned n, unsigned *done)
{
    for (unsigned i = 0; i < n; i++) {
        done[i] = atomic_load(&h->keys[first + i].done);
    }
}

void history_flushed(struct history *h, unsigned first, unsigned n, const unsigned *done)
{
    for (unsigned i = 0; i < n; i++) {
        struct history_key *k = &h->keys[first + i];
        unsigned seen = atomic_load(&k->covered);
        while (seen < done[i] && !atomic_compare_exchange_weak(&k->covered, &seen, done[i])) {
            ;
        }
    }
    atomic_fetch_add(&h->flushes, 1);
}

/* Was there a state without the page from the covered change on? */
static bool may_be_missing(const struct history_key *k)
{
    const unsigned covered = atomic_load(&k->covered);

    if (covered <= k->base && k->base_version == 0) {
        return true;
    }
    for (unsigned n = covered > k->base ? covered : k->base + 1; n <= atomic_load(&k->begun); n++) {
        if (atomic_load(&k->deleted[n])) {
            return true;
        }
    }
    return false;
}

bool history_allows(const struct history *h, unsigned key, unsigned version)
{
    const struct history_key *k = &h->keys[key];
    const unsigned covered = atomic_load(&k->covered);

    if (version == 0) {
        return may_be_missing(k);
    }
    if (version <= k->base) {
        return covered <= k->base && version == k->base_version;
    }
    return version >= covered && version <= atomic_load(&k->begun) &&
           !atomic_load(&k->deleted[version]);
}

void history_rebase(struct history *h, unsigned key, unsigned version)
{
    struct history_key *k = &h->keys[key];

    k->base = atomic_load(&k->begun);
    k->base_version = version;
    atomic_store(&k->done, k->base);
    atomic_store(&k->covered, k->base);
}

void history_describe(const struct history *h, unsigned key, char *text, size_t cap)
{
    const struct history_key *k = &h->keys[key];

    (void)snprintf(text, cap, "changes begun %u, done %u, covered %u%s; version %u at number %u",
                   atomic_load(&k->begun), atomic_load(&k->done), atomic_load(&k->covered),
                   atomic_load(&k->deleted[atomic_load(&k->covered)]) ? " (a delete)" : "",
                   k->base_version, k->base);
}
