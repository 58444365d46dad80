/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The backing store: callbacks through which dirty pages leave memory and missing ones come back.
 *
 * Life cycle, per cache or tenant that a store is attached to:
 *
 *     zcache_open() or zcache_tenant_open()         attach: the structure is copied
 *              |
 *              v
 *     read*  write*  discard*  (in any number, in parallel, from any thread)
 *              |
 *              v
 *     barrier  (zcache_flush() and FLUSH closes: after their writes completed)
 *              |
 *              v
 *     detach   (once, when nothing is in flight any more)
 *
 * Concurrency level.  The library calls @write, @read, @discard and @barrier from several threads
 * at once; a store that cannot bear that says ZCACHE_STORE_SERIAL and is called by one thread at
 * a time.  At most one write of a key is in flight, whatever the level; versions of a key arrive
 * in the order in which they were put.
 *
 * Synchronous or not.  A callback that returns 0 is done, and has set the status of each page (they
 * are preset to 0).  A negative errno means that every page failed with it.  ZCACHE_PENDING means
 * that zcache_done() will follow, exactly once, from any thread, possibly before the callback
 * itself returns.  The batch and the bytes it points to stay as they are until then.
 *
 * Re-entrancy.  No zcache lock is held during a callback: it may call zcache for any key.  What
 * would have to wait for the batch in hand returns -EDEADLK.  Calls made inside a callback do not
 * start write-back of their own.
 */
#ifndef ZCACHE_STORE_H
#define ZCACHE_STORE_H

#include <zcache/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/** enum zcache_store_flags - what the library may assume of a store. */
enum zcache_store_flags {
    ZCACHE_STORE_SERIAL = 1u << 0,     /* call it from one thread at a time */
    ZCACHE_STORE_SHARED_KEYS = 1u << 1 /* it addresses pages by key alone, whatever the tenant; so a
                                          clean page stays clean when it is reparented */
};

/** enum zcache_io_op - which callback a batch was made for. */
enum zcache_io_op {
    ZCACHE_IO_WRITE = 1,
    ZCACHE_IO_READ = 2,
    ZCACHE_IO_BARRIER = 3,
    ZCACHE_IO_DISCARD = 4
};

/**
 * struct zcache_io_page - one page of a batch.
 * @key:    which page.
 * @data:   write: @len bytes, immutable until completion; otherwise NULL.
 * @buf:    read: room for @cap bytes; otherwise NULL.
 * @len:    write: length in bytes; read: the store sets how many bytes it put at @buf (1 to @cap).
 * @cap:    read: room at @buf, the cache's page_max_bytes.
 * @tag:    write: the page's WAL tag, 0 if it has none.
 * @status: set by the store: 0, or a negative errno; read: ZCACHE_MISS if it has no such page.
 */
struct zcache_io_page {
    struct zcache_key key;
    const void *data;
    void *buf;
    size_t len;
    size_t cap;
    uint64_t tag;
    int status;
};

/**
 * struct zcache_io - one batch: pages of one tenant, sorted by key; those of one write share
 *                    key.object and key.page >> group_shift.
 * @op:          which callback it is for.
 * @tenant_id:   zcache_tenant_id() of the owner of the pages.
 * @tenant_name: its name, valid until completion.
 * @tenant_ctx:  the ctx of its options.
 * @pages:       @n_pages pages; none for a barrier.
 * @range:       discard: not 0 if pages[0].key and every later page of the same object are meant.
 * @token:       names the batch in zcache_done().
 */
struct zcache_io {
    enum zcache_io_op op;
    uint64_t tenant_id;
    const char *tenant_name;
    void *tenant_ctx;
    struct zcache_io_page *pages;
    size_t n_pages;
    int range;
    uint64_t token;
};

/**
 * struct zcache_store - the callbacks; fill with ZCACHE_STORE_INIT.  NULL callbacks are legal.
 * @struct_size: sizeof(struct zcache_store).
 * @flags:       enum zcache_store_flags.
 * @group_shift: pages whose numbers agree above this many bits are neighbours and are written
 *               together where possible: 4 means groups of 16; 0 to 16.
 * @ctx:         handed to every callback.
 *
 * Each callback is called by the library on the thread that needs it: a putting or getting
 * thread, or the shrinker.  No zcache lock is held, so it may call zcache on other keys.
 */
struct zcache_store {
    size_t struct_size;
    unsigned flags;
    unsigned group_shift;
    void *ctx;

    /**
     * @write: take the pages of @io so that a later read returns them.  Without it the tenant's
     * dirty pages cannot leave memory.
     *
     * Return: 0 done, status per page; negative errno, all failed; ZCACHE_PENDING.
     */
    int (*write)(void *ctx, struct zcache_io *io);

    /**
     * @read: fetch the pages of @io.  Without it a miss is a miss.
     *
     * Return: 0 done, status per page; negative errno, all failed; ZCACHE_PENDING.
     */
    int (*read)(void *ctx, struct zcache_io *io);

    /**
     * @barrier: make every write and discard completed before this call durable.  Without it a
     * flush ends with its last write.
     *
     * Return: 0 done; negative errno; ZCACHE_PENDING.
     */
    int (*barrier)(void *ctx, struct zcache_io *io);

    /**
     * @discard: forget the pages of @io: they were deleted or truncated.  Without it the caller
     * of zcache_delete() and zcache_truncate() removes them from the store itself.
     *
     * Return: 0 done, status per page; negative errno, all failed; ZCACHE_PENDING.
     */
    int (*discard)(void *ctx, struct zcache_io *io);

    /**
     * @detach: the last call: release @ctx.  It is called by zcache_close() or
     * zcache_tenant_close(); calls on what is being closed return -ESHUTDOWN inside it.
     */
    void (*detach)(void *ctx);
};

#define ZCACHE_STORE_INIT                                                                          \
    {                                                                                              \
        sizeof(struct zcache_store), 0, 4, NULL, NULL, NULL, NULL, NULL, NULL                      \
    }

/**
 * zcache_done() - complete a batch for which a callback returned ZCACHE_PENDING.
 * @cache:  the cache it came from.
 * @token:  io->token.
 * @status: 0: each page's status counts; negative errno: every page failed with it.
 *
 * The batch must not be touched afterwards.  A token that is unknown, or that was completed before,
 * is counted and reported through the log and changes nothing.
 *
 * Return: 0; -EINVAL @cache NULL or @status positive; -ENOENT the token names nothing in flight;
 * -ENOMEM called within another completion, from the log, on a thread there was no memory to register;
 * -ESHUTDOWN.
 * Threads: any thread, also inside a callback.
 * May block: no.   Calls back: the log.   Since: 0.1
 */
ZCACHE_API int zcache_done(struct zcache *cache, uint64_t token, int status) ZCACHE_MUST_CHECK;

#ifdef __cplusplus
}
#endif

#endif /* ZCACHE_STORE_H */
