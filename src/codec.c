/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The registry of codecs and of the instances made from them.
 *
 *      known codecs                        instances (a payload stores the number)
 *      +--------+                          0   none      raw bytes
 *      | lz4    | <----------------------  1   lz4:1
 *      | zstd   | <----------------------  2   zstd:3
 *      | custom | <---------+------------  3   zstd:19
 *      +--------+           +------------  4   mine:2
 *
 * Both tables only grow, and an element never changes once it is in: whoever was given a number can
 * use it without a lock for as long as the cache lives.  A thread's contexts are in its struct
 * zc_codec_set, one slot an instance, filled at first use.
 *
 * Locks: one leaf lock around additions.  Readers load the number of instances (acquire), which is
 * stored (release) after the element.  No lock is held while a codec runs.
 *
 * Invariants: instance numbers are dense; codec and level determine the instance; names are unique.
 *
 * Not done: dropping unused instances.  A payload of any age may name one, and a count per
 * payload would cost every put what a table of 17 saves never.
 */
#include "codec.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "lock.h"
#include "mathx.h"

#define NAME_MAX_BYTES 15

/* A custom codec in the built-in ones' clothes. */
struct custom {
    struct zc_codec_impl impl;
    struct zcache_codec codec;
};

struct instance {
    const struct zc_codec_impl *impl;
    const struct zcache_codec *custom; /* NULL for built-in ones */
    int level;
};

struct zc_codecs {
    uint32_t tag;
    struct zc_mem mem; /* set once */
    struct zc_lock lock;
    unsigned n_custom;                                /* under lock */
    struct custom custom[ZC_CODEC_CUSTOM_MAX];        /* under lock, then constant */
    struct instance instance[ZC_CODEC_INSTANCES_MAX]; /* as custom; 0 stays unused */
    atomic_uint n_instances; /* release after an element is complete; acquire by readers */
};

static const struct zc_codec_impl *const built_in[] = {&zc_codec_lz4, &zc_codec_zstd};

/* ---------------------------------------------------------------------------------------------- */
/* Custom codecs. */

static void *custom_context_create(const struct zc_mem *mem,
                                   int level,
                                   const struct zcache_codec *custom)
{
    (void)mem;
    return custom->context_create(level);
}

static void custom_context_destroy(const struct zc_mem *mem,
                                   void *context,
                                   const struct zcache_codec *custom)
{
    (void)mem;
    custom->context_destroy(context);
}

static size_t custom_encode(void *context,
                            int level,
                            void *dst,
                            size_t cap,
                            const void *src,
                            size_t len,
                            const struct zcache_codec *custom)
{
    size_t n = custom->encode(context, dst, cap, src, len);

    (void)level;
    return ZC_UNEXPECTED(n > cap) ? 0 : n;
}

static int custom_decode(void *context,
                         void *dst,
                         size_t len,
                         const void *src,
                         size_t stored,
                         const struct zcache_codec *custom)
{
    return custom->decode(context, dst, len, src, stored) == 0 ? 0 : -EBADMSG;
}

static bool name_is_valid(const char *name)
{
    size_t len;

    if (name == NULL) {
        return false;
    }
    len = strnlen(name, NAME_MAX_BYTES + 1);
    return len > 0 && len <= NAME_MAX_BYTES &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == len;
}

static bool custom_is_valid(const struct zcache_codec *c)
{
    return name_is_valid(c->name) && c->level_min <= c->level_default &&
           c->level_default <= c->level_max && c->encode != NULL && c->decode != NULL &&
           (c->context_create == NULL) == (c->context_destroy == NULL);
}

static void custom_wrap(struct custom *slot, const struct zcache_codec *c)
{
    const bool has_context = c->context_create != NULL;

    slot->codec = *c;
    slot->impl = (struct zc_codec_impl){
        .name = c->name,
        .level_min = c->level_min,
        .level_max = c->level_max,
        .level_default = c->level_default,
        .context_create = has_context ? custom_context_create : NULL,
        .context_destroy = has_context ? custom_context_destroy : NULL,
        .encode = custom_encode,
        .decode = custom_decode,
        .decode_needs_context = has_context,
    };
}

/* ---------------------------------------------------------------------------------------------- */
/* The registry. */

int zc_codecs_create(const struct zc_mem *mem, struct zc_codecs **out)
{
    struct zc_codecs *codecs = mem->alloc(mem->ctx, sizeof(*codecs));

    if (codecs == NULL) {
        return -ENOMEM;
    }
    codecs->mem = *mem;
    zc_lock_init(&codecs->lock, ZC_RANK_leaf);
    atomic_init(&codecs->n_instances, 1);
    codecs->tag = ZC_TAG_CODECS;
    *out = codecs;
    return 0;
}

void zc_codecs_destroy(struct zc_codecs **codecs)
{
    struct zc_codecs *c = *codecs;
    struct zc_mem mem;

    *codecs = NULL;
    if (c == NULL) {
        return;
    }
    ZC_ASSERT(c->tag == ZC_TAG_CODECS);
    c->tag = 0;
    zc_lock_fini(&c->lock);
    mem = c->mem;
    mem.free(mem.ctx, c, sizeof(*c));
}

/* The codec whose name is the @len bytes at @name, and its custom part in @custom_out. */
static const struct zc_codec_impl *find_locked(const struct zc_codecs *codecs,
                                               const char *name,
                                               size_t len,
                                               const struct zcache_codec **custom_out)
    ZC_REQUIRES(codecs->lock)
{
    *custom_out = NULL;
    for (size_t i = 0; i < ZC_ARRAY_SIZE(built_in); i++) {
        if (strlen(built_in[i]->name) == len && memcmp(built_in[i]->name, name, len) == 0) {
            return built_in[i];
        }
    }
    for (unsigned i = 0; i < codecs->n_custom; i++) {
        const struct custom *custom = &codecs->custom[i];

        if (strlen(custom->impl.name) == len && memcmp(custom->impl.name, name, len) == 0) {
            *custom_out = &custom->codec;
            return &custom->impl;
        }
    }
    return NULL;
}

int zc_codecs_register(struct zc_codecs *codecs, const struct zcache_codec *custom)
{
    const struct zcache_codec *other;
    int rc = 0;

    ZC_ASSERT(codecs->tag == ZC_TAG_CODECS);
    if (!custom_is_valid(custom)) {
        return -EINVAL;
    }
    zc_lock_acquire(&codecs->lock);
    if (strcmp(custom->name, "none") == 0 ||
        find_locked(codecs, custom->name, strlen(custom->name), &other) != NULL) {
        rc = -EEXIST;
    } else if (codecs->n_custom == ZC_CODEC_CUSTOM_MAX) {
        rc = -ENOSPC;
    } else {
        custom_wrap(&codecs->custom[codecs->n_custom++], custom);
    }
    zc_lock_release(&codecs->lock);
    return rc;
}

/* ---------------------------------------------------------------------------------------------- */
/* Instances. */

/* A level: optional minus, digits, nothing else. */
static int parse_level(const char *text, int *level_out)
{
    const char *digits = text[0] == '-' ? text + 1 : text;
    const size_t n = strspn(digits, "0123456789");

    if (n == 0 || n > 9 || digits[n] != '\0') { /* nine digits always fit an int */
        return -EINVAL;
    }
    *level_out = (int)strtol(text, NULL, 10);
    return 0;
}

/* The number of codec and level, appended if they are new. */
static int instance_locked(struct zc_codecs *codecs, const struct instance *wanted, uint8_t *id_out)
    ZC_REQUIRES(codecs->lock)
{
    const unsigned n = atomic_load_explicit(&codecs->n_instances, memory_order_relaxed);

    for (unsigned i = 1; i < n; i++) {
        if (codecs->instance[i].impl == wanted->impl &&
            codecs->instance[i].level == wanted->level) {
            *id_out = (uint8_t)i;
            return 0;
        }
    }
    if (n == ZC_CODEC_INSTANCES_MAX) {
        return -ENOSPC;
    }
    codecs->instance[n] = *wanted;
    atomic_store_explicit(&codecs->n_instances, n + 1, memory_order_release);
    *id_out = (uint8_t)n;
    return 0;
}

int zc_codecs_instance(struct zc_codecs *codecs, const char *text, uint8_t *id_out)
{
    const size_t name_len = strcspn(text, ":");
    struct instance wanted = {NULL, NULL, 0};
    int rc = 0;

    ZC_ASSERT(codecs->tag == ZC_TAG_CODECS);
    if (strcmp(text, "none") == 0) {
        *id_out = ZC_CODEC_NONE;
        return 0;
    }
    if (name_len == 0 || strncmp(text, "none:", 5) == 0) {
        return -EINVAL;
    }

    zc_lock_acquire(&codecs->lock);
    wanted.impl = find_locked(codecs, text, name_len, &wanted.custom);
    if (wanted.impl == NULL) {
        rc = -ENOTSUP;
        goto out;
    }
    wanted.level = wanted.impl->level_default;
    if (text[name_len] == ':') {
        rc = parse_level(text + name_len + 1, &wanted.level);
    }
    if (rc == 0 &&
        (wanted.level < wanted.impl->level_min || wanted.level > wanted.impl->level_max)) {
        rc = -EINVAL;
    }
    if (rc == 0) {
        rc = instance_locked(codecs, &wanted, id_out);
    }
out:
    zc_lock_release(&codecs->lock);
    return rc;
}

/* The instance with number @id, NULL if there is none. */
static const struct instance *instance_at(const struct zc_codecs *codecs, uint8_t id)
{
    ZC_DEBUG_ASSERT(codecs->tag == ZC_TAG_CODECS);
    if (id == ZC_CODEC_NONE ||
        id >= atomic_load_explicit(&codecs->n_instances, memory_order_acquire)) {
        return NULL;
    }
    return &codecs->instance[id];
}

void zc_codecs_describe(const struct zc_codecs *codecs, uint8_t id, char *buf, size_t cap)
{
    const struct instance *instance = instance_at(codecs, id);

    if (instance == NULL) {
        (void)snprintf(buf, cap, "%s", id == ZC_CODEC_NONE ? "none" : "unknown");
    } else {
        (void)snprintf(buf, cap, "%s:%d", instance->impl->name, instance->level);
    }
}

/* ---------------------------------------------------------------------------------------------- */
/* Encoding and decoding. */

/* The thread's context for an instance, made at first use.  Return: false without memory. */
static bool context_ready(const struct zc_codecs *codecs, struct zc_codec_set *set, uint8_t id)
{
    const struct instance *instance = &codecs->instance[id];

    if (set->context[id] == NULL && instance->impl->context_create != NULL) {
        set->context[id] =
            instance->impl->context_create(&codecs->mem, instance->level, instance->custom);
        return set->context[id] != NULL;
    }
    return true;
}

size_t zc_codec_encode(struct zc_codecs *codecs,
                       struct zc_codec_set *set,
                       uint8_t id,
                       void *dst,
                       size_t cap,
                       const void *src,
                       size_t len)
{
    const struct instance *instance = instance_at(codecs, id);

    ZC_ASSERT(instance != NULL);
    zc_lock_assert_none();
    if (!context_ready(codecs, set, id)) {
        return ZC_CODEC_NO_MEMORY;
    }
    return instance->impl->encode(set->context[id], instance->level, dst, cap, src, len,
                                  instance->custom);
}

int zc_codec_decode(struct zc_codecs *codecs,
                    struct zc_codec_set *set,
                    uint8_t id,
                    void *dst,
                    size_t len,
                    const void *src,
                    size_t stored)
{
    const struct instance *instance = instance_at(codecs, id);

    if (instance == NULL) {
        return -EBADMSG; /* the number comes from the payload, which may be damaged */
    }
    zc_lock_assert_none();
    if (instance->impl->decode_needs_context && !context_ready(codecs, set, id)) {
        return -ENOMEM;
    }
    return instance->impl->decode(set->context[id], dst, len, src, stored, instance->custom);
}

/* ---------------------------------------------------------------------------------------------- */
/* Dictionaries. */

const struct zc_codec_dict_impl *zc_codec_dicts(const struct zc_codecs *codecs, uint8_t id)
{
    const struct instance *instance = instance_at(codecs, id);

    return instance == NULL ? NULL : instance->impl->dict;
}

int zc_codec_level(const struct zc_codecs *codecs, uint8_t id)
{
    const struct instance *instance = instance_at(codecs, id);

    ZC_ASSERT(instance != NULL);
    return instance->level;
}

size_t zc_codec_encode_with(struct zc_codecs *codecs,
                            struct zc_codec_set *set,
                            uint8_t id,
                            const void *encoder,
                            void *dst,
                            size_t cap,
                            const void *src,
                            size_t len)
{
    const struct instance *instance = instance_at(codecs, id);

    ZC_ASSERT(instance != NULL && instance->impl->dict != NULL);
    zc_lock_assert_none();
    if (!context_ready(codecs, set, id)) {
        return ZC_CODEC_NO_MEMORY;
    }
    return instance->impl->dict->encode(set->context[id], encoder, dst, cap, src, len);
}

int zc_codec_decode_with(struct zc_codecs *codecs,
                         struct zc_codec_set *set,
                         uint8_t id,
                         const void *decoder,
                         void *dst,
                         size_t len,
                         const void *src,
                         size_t stored)
{
    const struct instance *instance = instance_at(codecs, id);

    if (instance == NULL || instance->impl->dict == NULL) {
        return -EBADMSG; /* the number comes from the payload, which may be damaged */
    }
    zc_lock_assert_none();
    if (!context_ready(codecs, set, id)) {
        return -ENOMEM;
    }
    return instance->impl->dict->decode(set->context[id], decoder, dst, len, src, stored);
}

void zc_codec_set_fini(struct zc_codecs *codecs, struct zc_codec_set *set)
{
    for (unsigned i = 1; i < ZC_CODEC_INSTANCES_MAX; i++) {
        const struct instance *instance = &codecs->instance[i];

        if (set->context[i] != NULL) {
            instance->impl->context_destroy(&codecs->mem, set->context[i], instance->custom);
            set->context[i] = NULL;
        }
    }
}
