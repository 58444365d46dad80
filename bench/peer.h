/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What zcache is measured beside.  "memcpy" and "bare" are loops of the program itself (bare.h);
 * the others are caches, and look alike here: pages go in and come back under a number.
 *
 *   rocksdb-csc   RocksDB's CompressedSecondaryCache, lz4 or zstd
 *   rocksdb-lru   RocksDB's LRUCache, over pages of malloc()
 *   rocksdb-hcc   RocksDB's HyperClockCache, the same
 *   zram          the kernel's compressed block device, through O_DIRECT
 *   nbdkit-zstd   nbdkit's memory plugin with allocator=zstd, over a local socket
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include "bare.h"
#include "corpus.h"
#include "measure.h"

#include <stdint.h>

enum peer_id {
    PEER_MEMCPY,
    PEER_BARE,
    PEER_ROCKSDB_CSC,
    PEER_ROCKSDB_LRU,
    PEER_ROCKSDB_HCC,
    PEER_ZRAM,
    PEER_NBDKIT,
    PEERS
};

#define PEERS_ALL ((1u << PEERS) - 1)

extern const char *const peer_names[PEERS];

/* All of them, with commas. */
const char *peer_names_text(void);

/* The id of a name; -1 if there is none. */
int peer_find(const char *name);

struct peer_config {
    enum peer_id id;
    const struct corpus *corpus;
    enum bare_codec codec;   /* for those that have the choice: BARE_LZ4 or BARE_ZSTD */
    uint64_t capacity_bytes; /* 0: room for the whole corpus */
    uint64_t keys;           /* keys are below it; 0: one for each page of the corpus */
};

#define PEER_MISS         1
#define PEER_REASON_BYTES 160

/* What a kind of cache does; results are 0, PEER_MISS or a negative errno. */
struct peer_ops {
    /* NULL, and the reason in words, if it cannot be had here. */
    void *(*open)(const struct peer_config *config, char *reason);
    void (*close)(void *peer);
    /* @fresh: the key is not cached. */
    int (*put)(void *peer, uint64_t key, const void *data, bool fresh, struct scratch *scratch);
    int (*get)(void *peer, uint64_t key, void *buf, struct scratch *scratch);
    int (*remove)(void *peer, uint64_t key); /* NULL: cannot */
    int (*touch)(void *peer, uint64_t key);  /* find it, read a byte, let go; NULL: cannot */
    int (*resize)(void *peer, uint64_t capacity_bytes); /* NULL: cannot */
    uint64_t (*usage)(void *peer); /* bytes it says it uses; NULL: it does not say */
    void (*thread_begin)(void *peer, struct scratch *scratch); /* may be NULL */
    void (*thread_end)(void *peer, struct scratch *scratch);   /* may be NULL */
    bool detail;                                               /* tell its codec */
};

/* An open cache. */
struct peer {
    enum peer_id id;
    const struct peer_ops *ops;
    void *ctx;
    const struct corpus *corpus;
    const char *detail;
};

/* NULL, and the reason, which is PEER_REASON_BYTES long, if it cannot be had here. */
struct peer *peer_open(const struct peer_config *config, char *reason);
void peer_close(struct peer *peer);

/*
 * Put every page of the corpus under its index, and read all of them back.
 *
 * Return: false, and the reason, if it did not keep them.
 */
bool peer_fill(struct peer *peer, char *reason);

/* Each operation gets a page into the scratch page, touches one, or puts one that is there. */
struct subject peer_getter(struct peer *peer);
struct subject peer_toucher(struct peer *peer);
struct subject peer_putter(struct peer *peer);

/* The kinds. */
extern const struct peer_ops peer_rocksdb_csc_ops;
extern const struct peer_ops peer_rocksdb_lru_ops;
extern const struct peer_ops peer_rocksdb_hcc_ops;
extern const struct peer_ops peer_zram_ops;
extern const struct peer_ops peer_nbdkit_ops;

#endif /* BENCH_PEER_H */
