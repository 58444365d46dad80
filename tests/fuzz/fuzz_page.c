/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A page with an arbitrary payload in a live cache: head and bytes are the input's, the checksum is
 * right or not.
 *
 *     mode | codec instance | raw length - 1, 3 bytes | stored bytes ...
 *
 * The page is published as the library publishes one, between two honest dirty pages of the same
 * group.  Then everything is done to it that a page goes through: get, pin, take, shrink, flush,
 * verify, replacement.  What a decoder alone makes of the bytes decides what must come out: that
 * page, or -EBADMSG, never a miss.  A damaged dirty page never reaches the store, keeps nobody else
 * from it, and stays until it is put anew.
 */
#include <errno.h>
#include <string.h>

#include <zcache/stats.h>
#include <zcache/store.h>

#include "core.h"
#include "fuzz.h"
#include "mathx.h"
#include "page.h"
#include "tenant.h"

#define PAGE_MAX 8192u
#define LONGEST  ((size_t)1 << 20) /* that a head can claim */
#define KEYS     3u
#define HOSTILE  1u /* page number; 0 and 2 are honest */
#define HONEST   ((size_t)700)

enum mode {
    DIRTY = 1,          /* the store lacks the page */
    SAME_FILLED = 2,    /* no payload: a word, and a fill that need not belong to it */
    WRONG_CHECKSUM = 4, /* also: wrong hash in the word */
    FAST = 8,           /* on the list of the fast tier */
    DENSE = 16,         /* of the dense one */
    DELETE = 32,        /* ends with a delete, not a put */
    REPARENT = 64,      /* the tenant is closed with the page in it */
};

struct store {
    unsigned char page[KEYS][LONGEST];
    size_t len[KEYS];
};

/* One input's cache. */
struct world {
    struct zcache *cache;
    struct zcache_tenant *tenant;
    struct zc_thread *thread;
    unsigned mode;
    uint32_t raw_len;
    bool bad;                      /* what checksum, head and decoder say */
    bool checks;                   /* whether checksum and head do */
    const unsigned char *expected; /* its bytes if it is good */
};

static struct store store;
static struct guarded decoded;
static struct guarded got;

static struct zcache_key key_of(unsigned page)
{
    return (struct zcache_key){7, page};
}

/* ---- the store --------------------------------------------------------------------------------- */

static int take_pages(void *ctx, struct zcache_io *io)
{
    (void)ctx;
    for (size_t i = 0; i < io->n_pages; i++) {
        const struct zcache_io_page *p = &io->pages[i];

        CHECK(p->key.object == 7 && p->key.page < KEYS);
        CHECK(p->len >= 1 && p->len <= PAGE_MAX);
        memcpy(store.page[p->key.page], p->data, p->len);
        store.len[p->key.page] = p->len;
    }
    return 0;
}

static void honest_page(unsigned char *buf, unsigned page)
{
    for (size_t i = 0; i < HONEST; i++) {
        buf[i] = (unsigned char)("an honest page "[i % 15] + page);
    }
}

static bool is_honest(const unsigned char *bytes, size_t len, unsigned page)
{
    unsigned char want[HONEST];

    honest_page(want, page);
    return len == HONEST && memcmp(bytes, want, HONEST) == 0;
}

/* ---- the world --------------------------------------------------------------------------------- */

static void open_world(struct world *w)
{
    static const char text[] = "capacity=1M,page_max=8K,max_stall_ms=2000,start_percent=100,"
                               "latency_sample=1,fast=lz4,dense=zstd:1";
    struct zcache_store callbacks = ZCACHE_STORE_INIT;
    struct zcache_tenant_options opts = ZCACHE_TENANT_OPTIONS_INIT;
    struct zcache_options options = ZCACHE_OPTIONS_INIT;
    char error[128];

    memset(store.len, 0, sizeof(store.len));
    callbacks.write = take_pages;
    CHECK_EQUAL(zcache_options_parse(&options, text, error, sizeof(error)), 0);
    options.store = &callbacks;
    CHECK_EQUAL(zcache_open(&options, &w->cache), 0);
    opts.name = "t";
    CHECK_EQUAL(zcache_tenant_open(zcache_root(w->cache), &opts, &w->tenant), 0);
    w->thread = zc_core_thread(w->cache);
    CHECK(w->thread != NULL);
}

static void put_honest(struct world *w, unsigned page)
{
    unsigned char buf[HONEST];

    honest_page(buf, page);
    CHECK_EQUAL(zcache_put(w->tenant, key_of(page), buf, sizeof(buf), ZCACHE_DIRTY), 0);
}

static enum zcache_tier tier_of(unsigned mode)
{
    return (mode & DENSE) != 0  ? ZCACHE_TIER_DENSE
           : (mode & FAST) != 0 ? ZCACHE_TIER_FAST
                                : ZCACHE_TIER_RAW;
}

/* The payload of the input, with a head that says what the input wants. */
static uint64_t make_payload(struct world *w, struct input *in, uint8_t codec)
{
    const uint32_t stored = (uint32_t)ZC_MIN(in->left, PAGE_MAX);
    struct zc_account *account = w->tenant->account;
    struct zc_payload *p;

    CHECK(zc_quota_reserve(account, zc_page_bytes(stored, codec), ZC_QUOTA_PUT) == NULL);
    p = zc_page_new_payload(w->cache, 0, account, w->raw_len, stored, codec);
    CHECK(p != NULL);
    memcpy(zc_payload_data(p), in->at, stored);
    zc_page_seal(p);
    p->checksum ^= (w->mode & WRONG_CHECKSUM) != 0 ? 1 : 0;
    return zc_word_of(p);
}

static struct zc_version make_version(struct world *w, struct input *in, uint8_t codec)
{
    struct zc_version v = {.flags = (w->mode & DIRTY) != 0 ? ZC_F_DIRTY : 0,
                           .tier = tier_of(w->mode)};

    if ((w->mode & SAME_FILLED) != 0) {
        v.fill = input_u64(in);
        v.word = zc_word_same(w->raw_len, v.fill);
        v.word ^= (w->mode & WRONG_CHECKSUM) != 0 ? UINT64_C(1) << (21 + codec % 43) : 0;
    } else {
        v.word = make_payload(w, in, codec);
    }
    return v;
}

static void publish(struct world *w, const struct zc_version *v)
{
    const struct zcache_key key = key_of(HOSTILE);
    struct zc_where where = zc_page_where(w->tenant, w->thread, key);
    struct zc_entry *e;

    CHECK(zc_quota_reserve(w->tenant->account, zc_pool_round(sizeof(*e)), ZC_QUOTA_PUT) == NULL);
    e = zc_page_new_entry(w->cache, w->tenant, 0, key);
    CHECK(e != NULL);
    zc_epoch_stock(w->thread->epoch, 4);
    zc_lock_acquire(&where.shard->lock);
    zc_page_insert_locked(&where, e);
    zc_page_publish_locked(&where, e, v);
    zc_lock_release(&where.shard->lock);
}

/* What the payload is, found without the cache. */
static void judge(struct world *w, struct input *in, uint8_t codec)
{
    unsigned char *out = guarded_tail(&decoded, w->raw_len);
    const size_t stored = ZC_MIN(in->left, PAGE_MAX);

    w->expected = out;
    w->checks = (w->mode & WRONG_CHECKSUM) == 0;
    if ((w->mode & SAME_FILLED) == 0) {
        w->checks = w->checks && w->raw_len <= PAGE_MAX &&
                    (codec == ZC_CODEC_NONE ? stored == w->raw_len : stored <= w->raw_len);
    }
    w->bad = !w->checks;
    if (w->bad) {
        return;
    }
    if ((w->mode & SAME_FILLED) != 0) {
        struct input copy = *in;

        zc_same_fill(out, w->raw_len, input_u64(&copy));
    } else if (codec == ZC_CODEC_NONE) {
        memcpy(out, in->at, stored);
    } else {
        w->bad = zc_codec_decode(w->cache->codecs, &w->thread->codecs, codec, out, w->raw_len,
                                 in->at, stored) != 0;
    }
}

/* ---- what is done to it ------------------------------------------------------------------------ */

static void check_got(const struct world *w, int rc, size_t len, const unsigned char *bytes)
{
    CHECK_EQUAL(rc, w->bad ? -EBADMSG : 0);
    if (!w->bad) {
        CHECK_EQUAL(len, w->raw_len);
        CHECK(memcmp(bytes, w->expected, len) == 0);
    }
}

static void get_it(struct world *w, unsigned flags)
{
    unsigned char *buf = guarded_tail(&got, w->raw_len);
    struct zcache_page page = {.key = key_of(HOSTILE), .buf = buf, .cap = w->raw_len};
    size_t len = 4711;
    int rc = zcache_get(w->tenant, key_of(HOSTILE), buf, w->raw_len, &len, flags);

    check_got(w, rc, len, buf);
    CHECK(rc == 0 || len == 4711);
    CHECK_EQUAL(zcache_get_many(w->tenant, &page, 1, flags), rc);
    check_got(w, page.status, page.len, buf);
    if (w->raw_len > 1) {
        CHECK_EQUAL(zcache_get(w->tenant, key_of(HOSTILE), buf, w->raw_len - 1, &len, flags),
                    -ENOBUFS);
    }
    CHECK_EQUAL(zcache_get(w->tenant, key_of(HOSTILE), NULL, 0, &len, flags), 0);
    CHECK_EQUAL(len, w->raw_len);
}

static void pin_it(struct world *w)
{
    struct zcache_pin pin = {0};
    int rc = zcache_pin(w->tenant, key_of(HOSTILE), ZCACHE_PEEK, &pin);

    check_got(w, rc, pin.len, pin.data);
    zcache_unpin(&pin);
}

/* Whether it is still there; a clean one may be evicted. */
static bool is_there(struct world *w)
{
    int rc = zcache_get(w->tenant, key_of(HOSTILE), NULL, 0, NULL, ZCACHE_PEEK);

    CHECK(rc == 0 || rc == ZCACHE_MISS);
    return rc == 0;
}

static void shrink_it(struct world *w)
{
    struct zcache_shrink_result result;
    const struct zcache_key other = key_of(2);
    unsigned char buf[HONEST];

    CHECK_EQUAL(zcache_shrink(w->tenant, UINT64_MAX, 1000, &result), -EAGAIN);
    CHECK(is_honest(store.page[0], store.len[0], 0));
    CHECK(is_honest(store.page[2], store.len[2], 2));
    CHECK_EQUAL(zcache_get(w->tenant, other, buf, sizeof(buf), NULL, 0), ZCACHE_MISS);
    if ((w->mode & DIRTY) != 0 && w->bad) {
        CHECK(is_there(w));
        CHECK_EQUAL(store.len[HOSTILE], 0);
        CHECK(result.dirty_pages + result.busy_pages >= 1);
    } else {
        CHECK(!is_there(w));
    }
}

static void flush_it(struct world *w)
{
    const bool stuck = w->bad && (w->mode & DIRTY) != 0;

    CHECK_EQUAL(zcache_flush(w->tenant, 1000), stuck ? -EBADMSG : 0);
    CHECK(is_honest(store.page[0], store.len[0], 0));
    CHECK(is_honest(store.page[2], store.len[2], 2));
    if ((w->mode & DIRTY) == 0 || stuck) {
        CHECK_EQUAL(store.len[HOSTILE], 0);
    } else {
        CHECK_EQUAL(store.len[HOSTILE], w->raw_len);
        CHECK(memcmp(store.page[HOSTILE], w->expected, w->raw_len) == 0);
    }
}

static void verify_it(struct world *w)
{
    CHECK_EQUAL(zcache_verify(w->cache), is_there(w) && !w->checks ? -EBADMSG : 0);
}

static void take_it(struct world *w)
{
    unsigned char *buf = guarded_tail(&got, w->raw_len);
    size_t len = 0;
    int rc = zcache_get(w->tenant, key_of(HOSTILE), buf, w->raw_len, &len, ZCACHE_TAKE);

    if (rc == ZCACHE_UNWRITTEN) {
        CHECK((w->mode & DIRTY) != 0 && store.len[HOSTILE] == 0);
        rc = 0;
    }
    check_got(w, rc, len, buf);
}

/* A new version, or none, and the cache is as good as new. */
static void replace_it(struct world *w)
{
    if ((w->mode & DELETE) != 0) {
        const bool there = is_there(w);

        CHECK_EQUAL(zcache_delete(w->tenant, key_of(HOSTILE), 0), there ? 0 : ZCACHE_MISS);
    } else {
        put_honest(w, HOSTILE);
    }
    CHECK_EQUAL(zcache_flush(w->tenant, 1000), 0);
    CHECK_EQUAL(zcache_verify(w->cache), 0);
    if ((w->mode & DELETE) == 0) {
        CHECK(is_honest(store.page[HOSTILE], store.len[HOSTILE], HOSTILE));
    }
}

/* The root takes it over: damaged it was, damaged it is. */
static void reparent_it(struct world *w)
{
    CHECK_EQUAL(zcache_tenant_close(w->tenant, ZCACHE_CLOSE_REPARENT), 0);
    w->tenant = zcache_root(w->cache);
    get_it(w, ZCACHE_PEEK);
    CHECK_EQUAL(zcache_flush(w->tenant, 1000), w->bad ? -EBADMSG : 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    struct world w = {.mode = input_u8(&in)};
    const uint8_t codec = input_u8(&in) % 4; /* none, lz4, zstd, one that nobody made */
    struct zc_version v;

    w.raw_len = input_u24(&in) % ((w.mode & SAME_FILLED) != 0 ? PAGE_MAX : LONGEST) + 1;
    if (in.left == 0) {
        return 0;
    }
    if (decoded.start == NULL) {
        guarded_init(&decoded, LONGEST);
        guarded_init(&got, LONGEST);
    }
    open_world(&w);
    judge(&w, &in, codec);
    put_honest(&w, 0);
    put_honest(&w, 2);
    v = make_version(&w, &in, codec);
    publish(&w, &v);

    get_it(&w, ZCACHE_PEEK);
    get_it(&w, 0); /* the second hit of a compressed page promotes it */
    get_it(&w, 0);
    pin_it(&w);
    verify_it(&w);
    if ((w.mode & REPARENT) != 0) {
        reparent_it(&w);
    } else if ((w.mode & DELETE) != 0) {
        flush_it(&w);
        shrink_it(&w);
    } else {
        shrink_it(&w);
        flush_it(&w);
    }
    if (is_there(&w)) {
        get_it(&w, ZCACHE_PEEK);
        take_it(&w);
        verify_it(&w);
    }
    replace_it(&w);
    CHECK_EQUAL(zcache_close(w.cache, ZCACHE_DISCARD), 0);
    return 0;
}
