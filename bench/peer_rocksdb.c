/* SPDX-License-Identifier: BSD-2-Clause */
/* RocksDB's caches as peers. */
#include "peer_rocksdb.h"
#include "peer.h"

#include <stdio.h>

static void *open_kind(enum rocksdb_kind kind, const struct peer_config *config, char *reason)
{
    const struct corpus *corpus = config->corpus;
    const uint64_t capacity = config->capacity_bytes != 0
                                  ? config->capacity_bytes
                                  : (64u << 20) + 3 * (uint64_t)corpus_bytes(corpus);
    struct rocksdb_cache *cache = rocksdb_cache_open(kind, capacity, corpus->page_bytes);

    if (cache == NULL) {
        (void)snprintf(reason, PEER_REASON_BYTES, "no memory");
    }
    return cache;
}

static void *open_csc(const struct peer_config *config, char *reason)
{
    return open_kind(config->codec == BARE_ZSTD ? ROCKSDB_CSC_ZSTD : ROCKSDB_CSC_LZ4, config,
                     reason);
}

static void *open_lru(const struct peer_config *config, char *reason)
{
    return open_kind(ROCKSDB_LRU, config, reason);
}

static void *open_hcc(const struct peer_config *config, char *reason)
{
    return open_kind(ROCKSDB_HCC, config, reason);
}

static void close_cache(void *peer)
{
    rocksdb_cache_close(peer);
}

static int put(void *peer, uint64_t key, const void *data, bool fresh, struct scratch *scratch)
{
    (void)scratch;
    return rocksdb_cache_put(peer, key, data, fresh);
}

static int get(void *peer, uint64_t key, void *buf, struct scratch *scratch)
{
    (void)scratch;
    return rocksdb_cache_get(peer, key, buf);
}

static int erase(void *peer, uint64_t key)
{
    return rocksdb_cache_remove(peer, key);
}

static int touch(void *peer, uint64_t key)
{
    return rocksdb_cache_touch(peer, key);
}

static int resize(void *peer, uint64_t capacity_bytes)
{
    return rocksdb_cache_resize(peer, capacity_bytes);
}

static uint64_t usage(void *peer)
{
    return rocksdb_cache_usage(peer);
}

const struct peer_ops peer_rocksdb_csc_ops = {.open = open_csc,
                                              .close = close_cache,
                                              .put = put,
                                              .get = get,
                                              .remove = erase,
                                              .touch = touch,
                                              .resize = resize,
                                              .detail = true};
const struct peer_ops peer_rocksdb_lru_ops = {.open = open_lru,
                                              .close = close_cache,
                                              .put = put,
                                              .get = get,
                                              .remove = erase,
                                              .touch = touch,
                                              .resize = resize,
                                              .usage = usage};
const struct peer_ops peer_rocksdb_hcc_ops = {.open = open_hcc,
                                              .close = close_cache,
                                              .put = put,
                                              .get = get,
                                              .remove = erase,
                                              .touch = touch,
                                              .resize = resize,
                                              .usage = usage};
