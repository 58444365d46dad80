/* SPDX-License-Identifier: BSD-2-Clause */
#include "peer.h"
#include "fail.h"
#include "progress.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const peer_names[PEERS] = {
    [PEER_MEMCPY] = "memcpy",           [PEER_BARE] = "bare",
    [PEER_ROCKSDB_CSC] = "rocksdb-csc", [PEER_ROCKSDB_LRU] = "rocksdb-lru",
    [PEER_ROCKSDB_HCC] = "rocksdb-hcc", [PEER_ZRAM] = "zram",
    [PEER_NBDKIT] = "nbdkit-zstd",
};

/* NULL: not a cache, or not compiled in. */
static const struct peer_ops *const all_ops[PEERS] = {
#if BENCH_ROCKSDB
    [PEER_ROCKSDB_CSC] = &peer_rocksdb_csc_ops,
    [PEER_ROCKSDB_LRU] = &peer_rocksdb_lru_ops,
    [PEER_ROCKSDB_HCC] = &peer_rocksdb_hcc_ops,
#endif
#if BENCH_NBD
    [PEER_NBDKIT] = &peer_nbdkit_ops,
#endif
    [PEER_ZRAM] = &peer_zram_ops,
};

const char *peer_names_text(void)
{
    static char text[128];
    size_t used = 0;

    for (unsigned i = 0; i < PEERS; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i == 0 ? "" : ", ",
                                 peer_names[i]);
    }
    return text;
}

int peer_find(const char *name)
{
    for (int i = 0; i < PEERS; i++) {
        if (strcmp(peer_names[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

struct peer *peer_open(const struct peer_config *config, char *reason)
{
    const struct peer_ops *ops = all_ops[config->id];
    struct peer *peer;
    void *ctx;

    if (ops == NULL) {
        (void)snprintf(reason, PEER_REASON_BYTES, "%s",
                       config->id == PEER_NBDKIT ? BENCH_NBD_MISSING : BENCH_ROCKSDB_MISSING);
        return NULL;
    }
    ctx = ops->open(config, reason);
    if (ctx == NULL) {
        return NULL;
    }
    peer = must_alloc(sizeof *peer);
    *peer = (struct peer){.id = config->id,
                          .ops = ops,
                          .ctx = ctx,
                          .corpus = config->corpus,
                          .detail = ops->detail ? bare_codec_text(config->codec) : NULL};
    return peer;
}

void peer_close(struct peer *peer)
{
    if (peer != NULL) {
        peer->ops->close(peer->ctx);
        free(peer);
    }
}

/* ---------------------------------------------------------------------------------------------
 * Subjects.
 */

static void op_begin(void *ctx, struct scratch *scratch)
{
    const struct peer *p = ctx;

    if (p->ops->thread_begin != NULL) {
        p->ops->thread_begin(p->ctx, scratch);
    }
}

static void op_end(void *ctx, struct scratch *scratch)
{
    const struct peer *p = ctx;

    if (p->ops->thread_end != NULL) {
        p->ops->thread_end(p->ctx, scratch);
    }
}

static int found(int rc)
{
    return rc == PEER_MISS ? -ENOENT : rc;
}

static int op_get(void *ctx, uint32_t page, struct scratch *scratch)
{
    const struct peer *p = ctx;

    return found(p->ops->get(p->ctx, page, scratch->page, scratch));
}

static int op_touch(void *ctx, uint32_t page, struct scratch *scratch)
{
    const struct peer *p = ctx;

    (void)scratch;
    return found(p->ops->touch(p->ctx, page));
}

static int op_put(void *ctx, uint32_t page, struct scratch *scratch)
{
    const struct peer *p = ctx;

    return p->ops->put(p->ctx, page, corpus_page(p->corpus, page), false, scratch);
}

static struct subject subject_of(struct peer *peer)
{
    return (struct subject){.name = peer_names[peer->id],
                            .detail = peer->detail,
                            .ctx = peer,
                            .thread_begin = op_begin,
                            .thread_end = op_end};
}

struct subject peer_getter(struct peer *peer)
{
    struct subject s = subject_of(peer);

    s.op = op_get;
    return s;
}

struct subject peer_toucher(struct peer *peer)
{
    struct subject s = subject_of(peer);

    s.op = op_touch;
    return s;
}

struct subject peer_putter(struct peer *peer)
{
    struct subject s = subject_of(peer);

    s.op = op_put;
    return s;
}

/* ---------------------------------------------------------------------------------------------
 * Filling.
 */

static bool fill(struct peer *peer, struct scratch *scratch, char *reason)
{
    const struct corpus *corpus = peer->corpus;

    for (size_t i = 0; i < corpus->pages; i++) {
        const int rc = peer->ops->put(peer->ctx, i, corpus_page(corpus, i), true, scratch);

        if (rc != 0) {
            (void)snprintf(reason, PEER_REASON_BYTES, "cannot put page %zu: %s", i, error_text(rc));
            return false;
        }
    }
    for (size_t i = 0; i < corpus->pages; i++) {
        const int rc = peer->ops->get(peer->ctx, i, scratch->page, scratch);

        if (rc != 0 || memcmp(scratch->page, corpus_page(corpus, i), corpus->page_bytes) != 0) {
            (void)snprintf(reason, PEER_REASON_BYTES, "page %zu %s", i,
                           rc == PEER_MISS ? "did not stay"
                           : rc != 0       ? error_text(rc)
                                           : "came back with other bytes");
            return false;
        }
    }
    return true;
}

bool peer_fill(struct peer *peer, char *reason)
{
    struct scratch scratch = {.page = must_alloc_aligned(peer->corpus->page_bytes)};
    bool ok;

    progress_show("filling %s", peer_names[peer->id]);
    op_begin(peer, &scratch);
    ok = fill(peer, &scratch, reason);
    op_end(peer, &scratch);
    progress_clear();
    free(scratch.page);
    return ok;
}
