/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The store fails at the Nth call of one of its callbacks, for every N until the scenario passes without,
 * and in every way: the whole batch, one page, a result that means nothing, a length that cannot be, too
 * early, twice, or long after its caller gave up.
 *
 * Afterwards nothing is lost: each page that was put and not deleted is read with its last content, and the
 * store has it after the close.  A failed write is reported by the next flush of the tenant, once.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "mathx.h"
#include "scenario.h"

#define PAGES   60u
#define LIMIT   (128 * KIB)
#define STALL   10000u
#define PATIENT "page_max=16K,batch_pages=8"
#define HASTY   PATIENT ",max_stall_ms=40"

enum way {
    WHOLE,         /* -EIO, and nothing happened */
    APPLIED,       /* -EIO, although it happened */
    LAST_PAGE,     /* one page's status is -EIO */
    NONSENSE,      /* a positive result */
    PAGE_NONSENSE, /* a positive status */
    NO_LENGTH,     /* reads: 0 bytes */
    LONG_LENGTH,   /* reads: more than there is room for */
    EARLY,         /* completed with an error inside the callback */
    TWICE,         /* completed inside the callback, which then returns as well */
    LATE,          /* completed when its caller has given up */
    WAYS
};

static const char *const way_names[WAYS] = {"whole",         "applied",   "last_page",   "nonsense",
                                            "page_nonsense", "no_length", "long_length", "early",
                                            "twice",         "late"};

static const char *const op_names[] = {[ZCACHE_IO_WRITE] = "write",
                                       [ZCACHE_IO_READ] = "read",
                                       [ZCACHE_IO_BARRIER] = "barrier",
                                       [ZCACHE_IO_DISCARD] = "discard"};

/* One callback that fails; the script of a run. */
static struct {
    enum zcache_io_op op;
    enum way way;
    unsigned nth;
    bool lasting; /* all calls from the Nth on, until the store is mended */
    struct zcache_store inner;
    /* what has happened */
    unsigned calls;
    bool failed;          /* at that call */
    bool page_fails;      /* in it now */
    struct zcache_io *io; /* to be completed late */
    bool owed_t;          /* a flush of t, or of the root, has to report a failure */
    bool owed_root;
    unsigned bad_completions;
} script;

static struct fault *f; /* the run */

/* ---- the store --------------------------------------------------------------------------------- */

static int inner_call(struct zcache_io *io)
{
    switch (io->op) {
    case ZCACHE_IO_WRITE:
        return script.inner.write(script.inner.ctx, io);
    case ZCACHE_IO_READ:
        return script.inner.read(script.inner.ctx, io);
    case ZCACHE_IO_BARRIER:
        return script.inner.barrier(script.inner.ctx, io);
    case ZCACHE_IO_DISCARD:
        return script.inner.discard(script.inner.ctx, io);
    }
    return -EINVAL;
}

static int page_status(struct mem_store *store,
                       const struct zcache_io *io,
                       const struct zcache_io_page *page)
{
    (void)store;
    if (!script.page_fails || page != &io->pages[io->n_pages - 1]) {
        return 0;
    }
    return script.way == PAGE_NONSENSE ? 42 : -EIO;
}

static void owe(const struct zcache_io *io)
{
    script.owed_root = io->op == ZCACHE_IO_WRITE || io->op == ZCACHE_IO_BARRIER;
    script.owed_t = script.owed_root && io->tenant_id == f->t.id;
}

static int break_down(struct zcache_io *io)
{
    int rc = 0;

    script.failed = true;
    if (script.way != TWICE && script.way != LATE) {
        owe(io);
    }
    switch (script.way) {
    case WHOLE:
        return -EIO;
    case APPLIED:
        REQUIRE_EQUAL(inner_call(io), 0);
        return -EIO;
    case NONSENSE:
        return 77;
    case LAST_PAGE:
    case PAGE_NONSENSE:
        script.page_fails = true;
        rc = inner_call(io);
        script.page_fails = false;
        return rc;
    case NO_LENGTH:
    case LONG_LENGTH:
        rc = inner_call(io);
        io->pages[io->n_pages - 1].len =
            script.way == NO_LENGTH ? 0 : io->pages[io->n_pages - 1].cap + 1;
        return rc;
    case EARLY:
        REQUIRE_EQUAL(zcache_done(f->cache, io->token, -EIO), 0);
        return ZCACHE_PENDING;
    case TWICE:
        rc = inner_call(io);
        REQUIRE_EQUAL(zcache_done(f->cache, io->token, rc), 0);
        script.bad_completions = 1;
        return rc;
    case LATE:
        script.io = io;
        return ZCACHE_PENDING;
    case WAYS:
        break;
    }
    return -EINVAL;
}

static int call(void *ctx, struct zcache_io *io)
{
    (void)ctx;
    if (io->op == script.op && script.nth != 0 &&
        (++script.calls == script.nth || (script.lasting && script.calls > script.nth))) {
        return break_down(io);
    }
    return inner_call(io);
}

static void detach(void *ctx)
{
    (void)ctx;
    script.inner.detach(script.inner.ctx);
}

static void attach(struct fault *run, struct zcache_store *callbacks)
{
    run->store->page_status = page_status;
    run->store->batch_pages = 8;
    script.inner = *callbacks;
    callbacks->write = call;
    callbacks->read = call;
    callbacks->barrier = call;
    callbacks->discard = call;
    callbacks->detach = detach;
}

/* After every call: who waited has given up, or did not wait. */
static void complete_late(void)
{
    struct zcache_io *io = script.io;

    if (io != NULL) {
        const uint64_t token = io->token;

        script.io = NULL;
        REQUIRE_EQUAL(zcache_done(f->cache, token, inner_call(io)), 0);
    }
}

/* ---- calls ------------------------------------------------------------------------------------- */

/* While the store is broken for good there is no second try. */
static bool is_broken(void)
{
    return script.lasting && script.failed;
}

/* The code of a call that met the failure: the store's error, or that it took too long. */
static bool is_failure(int rc)
{
    return script.failed && rc == (script.way == LATE ? -ETIMEDOUT : -EIO);
}

static void put(struct fault_owner *o, unsigned page, size_t len, int fill)
{
    const int rc = fault_put(f, o, page, len, fill, 0);

    complete_late();
    /* What fails once is tried again behind the caller's back. */
    REQUIRE(rc == 0 || ((script.way == LATE || script.lasting) && script.failed &&
                        (rc == -EDQUOT || rc == -EBUSY)));
}

/* Once more succeeds: the failure left things as they were. */
static void get(struct fault_owner *o, unsigned page, unsigned flags)
{
    int rc = fault_get(f, o, page, flags);

    complete_late();
    if (is_broken() && (is_failure(rc) || (rc == -EDQUOT && (flags & ZCACHE_TAKE) != 0))) {
        return;
    }
    if (is_failure(rc)) {
        rc = fault_get(f, o, page, flags);
    }
    REQUIRE(rc == (o->page[page].version != 0 || (flags & ZCACHE_TAKE) != 0 ? 0 : ZCACHE_MISS) ||
            (rc == ZCACHE_UNWRITTEN && (flags & ZCACHE_TAKE) != 0));
}

static void pin(struct fault_owner *o, unsigned page)
{
    int rc = fault_pin(f, o, page, 0);

    complete_late();
    if (is_failure(rc) && !is_broken()) {
        rc = fault_pin(f, o, page, 0);
    }
    REQUIRE(rc == 0 || (is_broken() && (is_failure(rc) || rc == -EDQUOT)));
    zcache_unpin(&f->pin);
}

static void delete_it(struct fault_owner *o, unsigned page)
{
    int rc = fault_delete(f, o, page, 0);

    complete_late();
    if (is_failure(rc)) { /* gone here, perhaps not there */
        rc = fault_delete(f, o, page, 0);
    }
    REQUIRE(rc == 0 || rc == ZCACHE_MISS);
}

static void truncate(struct fault_owner *o, unsigned first)
{
    int rc = fault_truncate(f, o, first);

    complete_late();
    if (is_failure(rc)) {
        rc = fault_truncate(f, o, first);
    }
    REQUIRE_EQUAL(rc, 0);
}

static void expect_durable(const struct fault_owner *o)
{
    for (unsigned i = 0; i < FAULT_PAGES; i++) {
        if (o->page[i].version != 0 && o->page[i].fill != FILL_SAME) {
            REQUIRE_EQUAL(mem_store_durable(f->store, o->id, fault_key(i)), o->page[i].version);
        }
    }
}

/* A failed write or barrier is reported once to the tenant and to each above it. */
static void flush(struct fault_owner *o)
{
    bool *owed = o == &f->t ? &script.owed_t : &script.owed_root;
    int rc = zcache_flush(o->t, 0);
    const bool late = script.io != NULL;

    complete_late();
    if (is_broken()) {
        REQUIRE(rc == 0 || rc == -EIO);
        return;
    }
    REQUIRE_EQUAL(rc, *owed ? -EIO : late ? -ETIMEDOUT : 0);
    *owed = false;
    if (rc != 0) {
        rc = zcache_flush(o->t, 0);
    }
    complete_late();
    REQUIRE_EQUAL(rc, 0);
    REQUIRE_EQUAL(stats_of(o->t).gauge.dirty_pages, 0);
    expect_durable(o);
}

static void shrink(struct fault_owner *o, uint64_t bytes)
{
    struct zcache_shrink_result result;
    const int rc = zcache_shrink(o->t, bytes, script.way == LATE ? 40 : STALL, &result);

    complete_late();
    REQUIRE(rc == 0 || (rc == -EAGAIN && script.failed));
}

static void get_many(struct fault_owner *o, unsigned first)
{
    static unsigned char bytes[16][FAULT_LEN];
    static unsigned char expected[FAULT_LEN];
    struct zcache_page pages[16];

    for (unsigned i = 0; i < 16; i++) {
        pages[i] = (struct zcache_page){
            .key = fault_key(first + i), .buf = bytes[i], .cap = FAULT_LEN, .status = 12345};
    }
    o->gets += 16;
    const int rc = zcache_get_many(o->t, pages, 16, 0);
    complete_late();
    REQUIRE(rc == 0 || is_failure(rc));
    for (unsigned i = 0; i < 16; i++) {
        const struct fault_page what = o->page[first + i];

        if (is_failure(pages[i].status)) {
            continue;
        }
        REQUIRE_EQUAL(pages[i].status, what.version != 0 ? 0 : ZCACHE_MISS);
        if (what.version != 0) {
            fault_content(expected, first + i, what);
            REQUIRE_EQUAL(pages[i].len, what.len);
            REQUIRE(memcmp(bytes[i], expected, what.len) == 0);
        }
    }
}

/* ---- the scenario ------------------------------------------------------------------------------ */

static void work(void)
{
    struct fault_owner *t = &f->t;
    struct fault_owner *root = &f->root;

    for (unsigned i = 0; i < PAGES; i++) { /* more than fits: reclaim writes and evicts */
        put(t, i, PAGE, i % 8 == 7 ? FILL_SAME : FILL_RANDOM);
    }
    flush(t);
    get_many(t, 0);
    for (unsigned i = 0; i < 12; i++) {
        put(t, i, i % 2 == 0 ? PAGE : 2 * PAGE, FILL_TEXT);
    }
    shrink(t, 48 * KIB);
    for (unsigned i = 0; i < 24; i += 3) {
        get(t, i, 0);
    }
    delete_it(t, 4);
    delete_it(t, 30); /* not cached any more */
    get(t, 4, 0);
    put(t, 4, PAGE, FILL_HALF);
    flush(t);
    pin(t, 20);
    get(t, 21, ZCACHE_TAKE);
    truncate(t, 48);
    get(t, 50, 0);
    for (unsigned i = 0; i < 8; i++) {
        put(root, i, PAGE, FILL_HALF);
        put(t, i, PAGE, FILL_HALF);
    }
    flush(root);
    flush(t);
    for (unsigned i = 2; i < 6; i++) {
        put(root, i, PAGE, FILL_HALF);
        put(t, i, PAGE, FILL_HALF);
    }
}

/* The store works again: what failed before is reported once, and then everything is written. */
static void mend(void)
{
    struct fault_owner *const owners[] = {&f->t, &f->root};

    script.nth = 0;
    for (size_t i = 0; i < ZC_ARRAY_SIZE(owners); i++) {
        const int rc = zcache_flush(owners[i]->t, 0);

        REQUIRE(rc == 0 || rc == -EIO);
        REQUIRE_EQUAL(zcache_flush(owners[i]->t, 0), 0);
        REQUIRE_EQUAL(stats_of(owners[i]->t).gauge.dirty_pages, 0);
        expect_durable(owners[i]);
    }
}

/* What is not the child's any more is the parent's. */
static void take_over(void)
{
    for (unsigned i = 0; i < FAULT_PAGES; i++) {
        if (fault_cached(&f->root, i) && f->root.page[i].version == 0) {
            f->root.page[i] = f->t.page[i];
            f->t.page[i].version = 0;
            f->t.page[i].len = 0; /* the store may have a copy under the child's id */
        }
    }
}

/* By the way: REPARENT has the collisions of the last puts to write. */
static void close_tenant(enum zcache_close_mode mode)
{
    int rc = zcache_tenant_close(f->t.t, mode);
    const bool late = script.io != NULL;

    complete_late();
    if (rc != 0) {
        REQUIRE(is_failure(rc) && (late || script.way != LATE));
        if (mode == ZCACHE_CLOSE_REPARENT) {
            take_over();
        }
        fault_check(f);
        rc = zcache_tenant_close(f->t.t, mode);
    }
    REQUIRE_EQUAL(rc, 0);
    if (mode == ZCACHE_CLOSE_REPARENT) {
        take_over();
    }
    fault_closed(f);
}

static void close_all(void)
{
    int rc = zcache_close(f->cache, ZCACHE_FLUSH);

    complete_late();
    if (rc != 0) {
        REQUIRE(is_failure(rc));
        rc = zcache_close(f->cache, ZCACHE_FLUSH);
    }
    REQUIRE_EQUAL(rc, 0);
    f->cache = NULL;
}

static void check(void)
{
    const uint64_t bad = atomic_exchange(&f->cache->bad_completions, 0);

    REQUIRE_EQUAL(bad, script.bad_completions);
    script.bad_completions = 0;
    script.nth = 0; /* what the check reads does not fail */
    fault_check(f);
}

static bool run(enum zcache_io_op op, enum way way, unsigned nth, bool lasting)
{
    static const struct fault_case patient = {.options = PATIENT,
                                              .capacity = 4 * MIB,
                                              .limit = LIMIT,
                                              .store = MEM_STORE_ALL,
                                              .attach = attach};
    static const struct fault_case hasty = {.options = HASTY,
                                            .capacity = 4 * MIB,
                                            .limit = LIMIT,
                                            .store = MEM_STORE_ALL,
                                            .attach = attach};

    memset(&script, 0, sizeof(script));
    fault_at("%s.%s, call %u%s", op_names[op], way_names[way], nth, lasting ? " and after" : "");
    script.lasting = lasting;
    script.op = op;
    script.way = way;
    script.nth = nth;
    f = fault_begin(way == LATE || lasting ? &hasty : &patient);
    work();
    if (lasting) {
        mend();
    }
    if (script.failed) {
        check();
    }
    close_tenant(nth % 2 == 0 ? ZCACHE_CLOSE_FLUSH : ZCACHE_CLOSE_REPARENT);
    if (script.failed) {
        check();
    }
    close_all();
    fault_end(f);
    return script.failed;
}

static bool applies(enum zcache_io_op op, enum way way)
{
    if (way == NO_LENGTH || way == LONG_LENGTH) {
        return op == ZCACHE_IO_READ;
    }
    return op != ZCACHE_IO_BARRIER || (way != LAST_PAGE && way != PAGE_NONSENSE);
}

static void fails_at_any_call(enum zcache_io_op op)
{
    for (int way = 0; way < WAYS; way++) {
        unsigned n = 1;

        if (!applies(op, (enum way)way)) {
            continue;
        }
        while (run(op, (enum way)way, n, false)) {
            n++;
        }
        REQUIRE(n > 3);
        print_message("%s.%s: %u calls failed\n", op_names[op], way_names[way], n - 1);
    }
}

/* The store is broken from the Nth call on, and mended at the end. */
static void is_broken_from_any_call(enum zcache_io_op op)
{
    unsigned n = 1;

    while (run(op, WHOLE, n, true)) {
        n++;
    }
    REQUIRE(n > 3);
    print_message("%s: broken from %u calls on\n", op_names[op], n - 1);
}

static void a_broken_store_loses_nothing(void)
{
    is_broken_from_any_call(ZCACHE_IO_WRITE);
    is_broken_from_any_call(ZCACHE_IO_READ);
    is_broken_from_any_call(ZCACHE_IO_BARRIER);
}

static void writes_fail(void)
{
    fails_at_any_call(ZCACHE_IO_WRITE);
}

static void reads_fail(void)
{
    fails_at_any_call(ZCACHE_IO_READ);
}

static void barriers_fail(void)
{
    fails_at_any_call(ZCACHE_IO_BARRIER);
}

static void discards_fail(void)
{
    fails_at_any_call(ZCACHE_IO_DISCARD);
}

static const struct fault_case cases[] = {
    {.name = "store.write", .test = writes_fail},
    {.name = "store.read", .test = reads_fail},
    {.name = "store.barrier", .test = barriers_fail},
    {.name = "store.discard", .test = discards_fail},
    {.name = "store.broken", .test = a_broken_store_loses_nothing},
};

int main(int argc, char **argv)
{
    return fault_main(argc, argv, cases, ZC_ARRAY_SIZE(cases));
}
