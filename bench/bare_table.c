/* SPDX-License-Identifier: BSD-2-Clause */
#include "bare_table.h"
#include "fail.h"
#include "random.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CELLS      8u
#define LOAD       5u  /* records to a line, on average, at most */
#define TAG_SHIFT  48u /* addresses of user space have no bit set from here on */
#define HUGE_BYTES ((size_t)2 << 20)

struct line {
    _Alignas(64) uint64_t cell[CELLS]; /* 0: free */
};

struct record {
    uint64_t key;
    unsigned char page[];
};

struct bare_table {
    struct line *line;
    size_t n_lines;
    unsigned char *records;
    size_t record_bytes;
    size_t n_records;
    size_t room;
    size_t page_bytes;
};

static void *map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED) {
        fail("no memory for %zu bytes", bytes);
    }
    (void)madvise(p, bytes, MADV_HUGEPAGE); /* as far as the system does it */
    return p;
}

static size_t rounded(size_t bytes)
{
    return (bytes + HUGE_BYTES - 1) / HUGE_BYTES * HUGE_BYTES;
}

static size_t lines_bytes(const struct bare_table *t)
{
    return rounded(t->n_lines * sizeof *t->line);
}

static size_t records_bytes(const struct bare_table *t)
{
    return rounded(t->room * t->record_bytes);
}

struct bare_table *bare_table_open(size_t keys, size_t page_bytes)
{
    struct bare_table *t = must_alloc(sizeof *t);

    *t = (struct bare_table){.n_lines = keys / LOAD + 1,
                             .record_bytes = (sizeof(struct record) + page_bytes + 15) / 16 * 16,
                             .room = keys,
                             .page_bytes = page_bytes};
    t->line = map(lines_bytes(t));
    t->records = map(records_bytes(t));
    return t;
}

void bare_table_close(struct bare_table *t)
{
    (void)munmap(t->line, lines_bytes(t));
    (void)munmap(t->records, records_bytes(t));
    free(t);
}

static uint64_t hash_of(uint64_t key)
{
    uint64_t state = key;

    return random_next(&state);
}

static struct record *record_of(uint64_t cell)
{
    return (struct record *)(uintptr_t)(cell & ((UINT64_C(1) << TAG_SHIFT) - 1));
}

/* The cell of a key; a free one where the key would be; NULL: the table is full. */
static uint64_t *find(const struct bare_table *t, uint64_t key)
{
    const uint64_t hash = hash_of(key);
    const uint64_t tag = hash >> TAG_SHIFT;
    size_t at = (size_t)((hash & UINT32_MAX) * t->n_lines >> 32);

    for (size_t n = 0; n < t->n_lines; n++) {
        struct line *line = &t->line[at];

        for (unsigned i = 0; i < CELLS; i++) {
            const uint64_t cell = line->cell[i];

            if (cell == 0 || (cell >> TAG_SHIFT == tag && record_of(cell)->key == key)) {
                return &line->cell[i];
            }
        }
        at = at + 1 < t->n_lines ? at + 1 : 0;
    }
    return NULL;
}

static struct record *add(struct bare_table *t, uint64_t *cell, uint64_t key)
{
    struct record *r;

    if (cell == NULL || t->n_records == t->room) {
        return NULL;
    }
    r = (struct record *)(void *)(t->records + t->n_records++ * t->record_bytes);
    r->key = key;
    *cell = hash_of(key) >> TAG_SHIFT << TAG_SHIFT | (uint64_t)(uintptr_t)r;
    return r;
}

int bare_table_put(struct bare_table *t, uint64_t key, const void *page)
{
    uint64_t *cell = find(t, key);
    struct record *r = cell != NULL && *cell != 0 ? record_of(*cell) : add(t, cell, key);

    if (r == NULL) {
        return 1;
    }
    memcpy(r->page, page, t->page_bytes);
    return 0;
}

int bare_table_get(const struct bare_table *t, uint64_t key, void *page)
{
    const uint64_t *cell = find(t, key);

    if (cell == NULL || *cell == 0) {
        return 1;
    }
    memcpy(page, record_of(*cell)->page, t->page_bytes);
    return 0;
}
