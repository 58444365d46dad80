/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For fuzzers of single codecs: a registry whose instances an input's byte chooses from.
 */
#ifndef ZC_TESTS_FUZZ_CODECS_H
#define ZC_TESTS_FUZZ_CODECS_H

#include "codec.h"
#include "dict.h"
#include "fuzz.h"

#define CODECS_PAGE_MAX ((size_t)1 << 20)

struct codecs {
    struct zc_codecs *registry;
    struct zc_codec_set set; /* one thread's contexts, which live as long as the process */
    uint8_t id[8];
    unsigned n;
    struct zc_dict *dict; /* of zstd's instances */
};

/* The registry, made at the first call. */
struct codecs *codecs_get(void);

/* The instance that @choice means. */
uint8_t codecs_pick(const struct codecs *codecs, uint8_t choice);

/* Whether @choice means the instance with the dictionary, if it has any. */
bool codecs_with_dict(const struct codecs *codecs, uint8_t choice);

#endif /* ZC_TESTS_FUZZ_CODECS_H */
