/* SPDX-License-Identifier: BSD-2-Clause */
#include "page.h"

#include <string.h>

/* First word: 8 bits of magic, 2 of look, 12 of key, 10 of length - 1, 32 of version. Second: the tag. */
#define MAGIC       UINT64_C(0xa5)
#define WORD        sizeof(uint64_t)
#define TEXT_PERIOD 8u

static uint64_t mix(uint64_t x)
{
    x ^= x >> 32;
    x *= UINT64_C(0xd6e8feb86659fd93);
    return x ^ x >> 32;
}

static uint64_t first_word(const struct model_page *page)
{
    return MAGIC << 56 | (uint64_t)page->look << 54 | (uint64_t)page->key << 42 |
           (uint64_t)(page->len - 1) << 32 | page->version;
}

/* Word @i of the page. */
static uint64_t word_at(const struct model_page *page, uint64_t first, size_t i)
{
    if (i == 0 || page->look == MODEL_SAME) {
        return first;
    }
    if (i == 1) {
        return page->tag;
    }
    return mix(first +
               (page->look == MODEL_TEXT ? i % TEXT_PERIOD : i) * UINT64_C(0x9e3779b97f4a7c15));
}

void model_page_make(void *buf, const struct model_page *page)
{
    const uint64_t first = first_word(page);
    unsigned char *at = buf;

    for (size_t i = 0; i * WORD < page->len; i++) {
        const uint64_t word = word_at(page, first, i);
        const size_t left = page->len - i * WORD;
        memcpy(at + i * WORD, &word, left < WORD ? left : WORD);
    }
}

bool model_page_read(const void *buf, size_t len, struct model_page *out)
{
    const unsigned char *at = buf;
    uint64_t head[2];

    if (len < MODEL_PAGE_MIN || len > MODEL_PAGE_MAX) {
        return false;
    }
    memcpy(head, at, sizeof(head));
    const unsigned look = (unsigned)(head[0] >> 54 & 0x3);
    *out = (struct model_page){.key = (uint32_t)(head[0] >> 42 & 0xfff),
                               .version = (uint32_t)head[0],
                               .len = (uint32_t)len,
                               .look = (enum model_look)look,
                               .tag = look == MODEL_SAME ? 0 : head[1]};
    if (look == 0 || head[0] != first_word(out)) {
        return false;
    }
    for (size_t i = 0; i * WORD < len; i++) {
        const uint64_t word = word_at(out, head[0], i);
        const size_t left = len - i * WORD;
        if (memcmp(at + i * WORD, &word, left < WORD ? left : WORD) != 0) {
            return false;
        }
    }
    return true;
}
