/* SPDX-License-Identifier: BSD-2-Clause */
#include "trace_build.h"
#include "fail.h"
#include "random.h"

#include <stdlib.h>
#include <string.h>

#define PAGES_MAX     (UINT32_C(1) << 30)
#define PAGES_FIRST   (UINT32_C(1) << 14)
#define REQUEST_FIRST ((size_t)1 << 16)

static void *grown(void *p, size_t bytes)
{
    void *q = realloc(p, bytes);

    if (q == NULL) {
        fail("no memory for %zu bytes", bytes);
    }
    return q;
}

static uint32_t *make_table(uint32_t slots)
{
    uint32_t *slot = must_alloc(slots * sizeof *slot);

    memset(slot, 0, slots * sizeof *slot);
    return slot;
}

void trace_build_begin(struct trace_build *b, size_t requests)
{
    *b = (struct trace_build){.trace = {.tenants = 1},
                              .slot = make_table(2 * PAGES_FIRST),
                              .mask = 2 * PAGES_FIRST - 1,
                              .request_max = requests != 0 ? requests : SIZE_MAX};
}

/* Where the page is, or a free slot for it. */
static uint32_t find(const struct trace_build *b, uint64_t id, uint16_t tenant)
{
    uint64_t state = id + ((uint64_t)tenant << 48);
    uint32_t at = (uint32_t)random_next(&state) & b->mask;

    while (b->slot[at] != 0 &&
           (b->trace.id[b->slot[at] - 1] != id || b->owner[b->slot[at] - 1] != tenant)) {
        at = (at + 1) & b->mask;
    }
    return at;
}

static void grow_pages(struct trace_build *b)
{
    b->page_room = b->page_room == 0 ? PAGES_FIRST : 2 * b->page_room;
    b->trace.id = grown(b->trace.id, b->page_room * sizeof *b->trace.id);
    b->owner = grown(b->owner, b->page_room * sizeof *b->owner);
    if (b->page_room == PAGES_FIRST) {
        return;
    }
    free(b->slot);
    b->slot = make_table(2 * b->page_room);
    b->mask = 2 * b->page_room - 1;
    for (uint32_t page = 0; page < b->trace.pages; page++) {
        b->slot[find(b, b->trace.id[page], b->owner[page])] = page + 1;
    }
}

static bool number_page(struct trace_build *b, uint64_t id, uint16_t tenant, uint32_t *page)
{
    uint32_t at = find(b, id, tenant);

    if (b->slot[at] != 0) {
        *page = b->slot[at] - 1;
        return true;
    }
    if (b->trace.pages == PAGES_MAX) {
        return false;
    }
    if (b->trace.pages == b->page_room) {
        grow_pages(b);
        at = find(b, id, tenant);
    }
    *page = b->trace.pages++;
    b->trace.id[*page] = id;
    b->trace.id_max = id > b->trace.id_max ? id : b->trace.id_max;
    b->owner[*page] = tenant;
    b->slot[at] = *page + 1;
    return true;
}

bool trace_build_add(struct trace_build *b, uint64_t id, uint16_t tenant, bool write)
{
    struct trace *t = &b->trace;
    struct trace_request r = {.tenant = tenant, .write = write};

    if (!number_page(b, id, r.tenant, &r.page)) {
        return false;
    }
    if (t->n == b->request_room) {
        b->request_room = t->n == 0 ? REQUEST_FIRST : 2 * t->n;
        t->request = grown(t->request, b->request_room * sizeof *t->request);
    }
    t->request[t->n++] = r;
    t->writes += write ? 1 : 0;
    t->tenants = r.tenant >= t->tenants ? r.tenant + UINT32_C(1) : t->tenants;
    return true;
}

void trace_build_end(struct trace_build *b, struct trace *out)
{
    free(b->owner);
    free(b->slot);
    if (out != NULL) {
        *out = b->trace;
    } else {
        trace_free(&b->trace);
    }
}
