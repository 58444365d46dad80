/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Arbitrary text for zcache_options_parse().
 *
 *     room for the message, 2 bytes | text ...
 *
 * A text that is refused changes nothing and is explained by one terminated sentence within the
 * room.  One that is taken means the same when it is given item by item, and makes a cache that
 * works or is refused with a reason through the log.
 */
#include <errno.h>
#include <string.h>

#include <zcache/zcache.h>

#include "fuzz.h"
#include "mathx.h"

#define TEXT_MAX     ((size_t)4096)
#define ROOM_MAX     600u
#define CAPACITY_MAX (UINT64_C(1) << 30) /* of caches that are opened: tables grow with it */
#define STALL_MAX    100u

static struct guarded texts;
static struct guarded errors;

/* ---- parsing ----------------------------------------------------------------------------------- */

static bool is_sentence(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text < ' ' || *text > '~') {
            return false;
        }
    }
    return true;
}

/* Without what lies between the members. */
static bool same_options(const struct zcache_options *a, const struct zcache_options *b)
{
    return memcmp(a, b, offsetof(struct zcache_options, dense_codec) + sizeof(a->dense_codec)) ==
               0 &&
           a->store == b->store && a->log == b->log && a->log_ctx == b->log_ctx;
}

static int parse(struct zcache_options *opts, const char *text, size_t room)
{
    const struct zcache_options before = *opts;
    unsigned char *error = guarded_tail(&errors, room);
    int rc;

    guarded_paint(&errors, error, room);
    memset(error, '#', room);
    rc = zcache_options_parse(opts, text, (char *)error, room);
    guarded_check(&errors, error, room);
    if (rc == 0) {
        CHECK(room == 0 || error[0] == '#');
        return 0;
    }
    CHECK_EQUAL(rc, -EINVAL);
    CHECK(same_options(opts, &before));
    if (room > 0) {
        CHECK(memchr(error, '\0', room) != NULL);
        CHECK(is_sentence((char *)error));
        CHECK(room == 1 || error[0] != '\0');
    }
    CHECK_EQUAL(zcache_options_parse(opts, text, NULL, 0), rc);
    return rc;
}

/* The items of a text one after another. */
static int parse_items(struct zcache_options *opts, const char *text)
{
    char item[TEXT_MAX + 1];
    int rc = 0;

    for (;;) {
        const size_t len = strcspn(text, ",");

        memcpy(item, text, len);
        item[len] = '\0';
        rc = len > 0 ? zcache_options_parse(opts, item, NULL, 0) : -EINVAL;
        if (rc != 0 || text[len] == '\0') {
            return rc;
        }
        text += len + 1;
    }
}

/* ---- opening ----------------------------------------------------------------------------------- */

static unsigned reasons;

static void count_reason(void *ctx,
                         enum zcache_log_level level,
                         const char *event,
                         const char *text)
{
    (void)ctx;
    CHECK(level == ZCACHE_LOG_ERROR);
    CHECK(strncmp(event, "option.", 7) == 0);
    CHECK(text[0] != '\0' && is_sentence(text));
    reasons++;
}

static void use(struct zcache *cache, const struct zcache_options *opts)
{
    const struct zcache_key key = {1, 2};
    unsigned char page[512];
    unsigned char back[sizeof(page)];
    const size_t len = ZC_MIN(sizeof(page), opts->page_max_bytes);
    size_t got = 0;
    int rc;

    for (size_t i = 0; i < len; i++) {
        page[i] = (unsigned char)(i / 3);
    }
    rc = zcache_put(zcache_root(cache), key, page, len, ZCACHE_DIRTY); /* it cannot leave */
    CHECK(rc == 0 || rc == -ENOSPC || rc == -ENOMEM);
    if (rc == 0) {
        CHECK_EQUAL(zcache_get(zcache_root(cache), key, back, len, &got, 0), 0);
        CHECK(got == len && memcmp(page, back, len) == 0);
    }
    CHECK_EQUAL(zcache_verify(cache), 0);
}

static void open_and_use(struct zcache_options *opts)
{
    struct zcache *cache = NULL;
    int rc;

    opts->capacity_bytes = ZC_MIN(opts->capacity_bytes, CAPACITY_MAX);
    opts->max_stall_ms = ZC_MIN(opts->max_stall_ms, STALL_MAX);
    opts->log = count_reason;
    reasons = 0;
    rc = zcache_open(opts, &cache);
    if (rc == 0) {
        CHECK_EQUAL(reasons, 0);
        use(cache, opts);
        CHECK_EQUAL(zcache_close(cache, ZCACHE_DISCARD), 0);
        return;
    }
    CHECK(cache == NULL);
    CHECK(rc == -EINVAL || rc == -ENOTSUP || rc == -ENOMEM);
    CHECK(rc == -ENOMEM || reasons > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct zcache_options opts = ZCACHE_OPTIONS_INIT;
    struct zcache_options other = ZCACHE_OPTIONS_INIT;
    struct input in = {data, size};
    const size_t room = input_u16(&in) % ROOM_MAX;
    const size_t len = strnlen((const char *)in.at, ZC_MIN(in.left, TEXT_MAX));
    unsigned char *text;

    if (texts.start == NULL) {
        guarded_init(&texts, TEXT_MAX + 1);
        guarded_init(&errors, ROOM_MAX);
    }
    text = guarded_tail(&texts, len + 1);
    memcpy(text, in.at, len);
    text[len] = '\0';
    if (parse(&opts, (char *)text, room) == 0) {
        if (len > 0) {
            CHECK_EQUAL(parse_items(&other, (char *)text), 0);
        }
        CHECK(same_options(&opts, &other));
        open_and_use(&opts);
    } else {
        CHECK_EQUAL(parse_items(&other, (char *)text), -EINVAL);
    }
    return 0;
}
