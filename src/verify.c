/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * verify.c - recount of pages, bytes, lists, charges and checksums against the gauges.
 *
 * The shrinker is held off and limbo drained, so that without other calls everything stands still.
 * The recount walks the index once; if any counter moved meanwhile, other calls were going on, and
 * it starts again, a few times.
 *
 * What must agree:
 *     entries in the index           = Σ of the tenants' page counts, and of their lists' sums
 *     sizes by payload, per tenant, node, tier = the lists' sums
 *     pages per tenant, node, queue, tier      = the lists' counts
 *     remembered pages                         = their count
 *     dirty, same-filled, incompressible per tenant = the tenant's counts
 *     a tenant's charge              = its pages + its children's charges (+ replaced frames that
 *                                      are pinned, + what the store has in hand)
 *     references of a dictionary     = its payloads (+ its owner), and its content its checksum
 *     list lengths, pool, checksum of every payload
 *
 * Locks: shard locks one at a time for the walk; list locks one at a time.
 */
#include "verify.h"

#include <errno.h>
#include <string.h>

#include "batch.h"
#include "mathx.h"
#include "page.h"
#include "reclaim.h"
#include "report.h"
#include "shrinker.h"
#include "train.h"

#define ATTEMPTS 8

/* What the walk counts for a tenant. */
struct count {
    struct zc_tier_sum sum[ZC_NODES_MAX][ZCACHE_TIERS];
    uint64_t by_list[ZC_NODES_MAX][ZC_LISTS];
    uint64_t pages;
    uint64_t loading;
    uint64_t dirty;
    uint64_t writing;
    uint64_t same;
    uint64_t incompressible;
    uint64_t charge; /* of its own pages */
};

struct recount {
    struct zcache *cache;
    struct zc_thread *thread;
    struct count **by_slot; /* for slots that have pages */
    uint32_t n_slots;
    uint64_t entries;
    uint64_t dict_refs[ZC_DICTS_MAX]; /* by place */
    const char *wrong;
    struct zcache_key key; /* where */
    int rc;
};

/* ---- counting ------------------------------------------------------------------------------ */

static struct count *count_of(struct recount *r, uint32_t slot)
{
    const struct zc_mem *mem = zc_core_mem(r->cache, ZC_MEM_THREAD);

    if (slot >= r->n_slots) {
        return NULL;
    }
    if (r->by_slot[slot] == NULL) {
        r->by_slot[slot] = mem->alloc(mem->ctx, sizeof(struct count));
    }
    return r->by_slot[slot];
}

static int complain(struct recount *r, int rc, const char *what, struct zcache_key key)
{
    r->rc = rc;
    r->wrong = what;
    r->key = key;
    return rc;
}

static int check_bytes(struct recount *r, struct zc_entry *e, uint64_t word)
{
    const struct zc_payload *p = zc_word_payload(word);

    if (zc_word_is_same(word)) {
        return zc_word_same(zc_word_same_len(word), zc_entry_fill(e, word)) == word
                   ? 0
                   : complain(r, -EBADMSG, "a same-filled page's record is damaged", e->key);
    }
    if (zc_payload_dict(p) != ZC_DICT_NO_ID &&
        zc_dicts_find(r->cache->dicts, zc_payload_dict(p)) == NULL) {
        return complain(r, -EBADMSG, "a payload's dictionary is not there", e->key);
    }
    r->dict_refs[zc_payload_dict(p) % ZC_DICTS_MAX] += zc_payload_dict(p) != ZC_DICT_NO_ID;
    if (!zc_page_intact(r->cache, p)) {
        return complain(r, -EBADMSG, "a payload does not match its checksum or its head", e->key);
    }
    return 0;
}

static void count_resident(struct count *c, const struct zc_entry *e, uint64_t word)
{
    struct zc_tier_sum *sum = &c->sum[zc_entry_node(e)][zc_entry_tier(e)];
    struct zc_sizes s = zc_word_sizes(word);

    c->by_list[zc_entry_node(e)][zc_lru_list(zc_lru_queue(e), zc_entry_tier(e))]++;
    sum->pages++;
    sum->raw_bytes += s.raw;
    sum->stored_bytes += s.stored;
    sum->allocated_bytes += s.allocated;
    c->dirty += zc_entry_has(e, ZC_F_DIRTY) ? 1 : 0;
    c->writing += zc_entry_state(e) == ZC_WRITING ? 1 : 0;
    c->same += zc_word_is_same(word) ? 1 : 0;
    c->incompressible +=
        zc_entry_has(e, ZC_F_INCOMPRESSIBLE | ZC_F_NO_FAST | ZC_F_NO_DENSE) ? 1 : 0;
    c->charge += s.allocated;
}

static int count_entry(void *ctx, struct zc_entry *e)
{
    struct recount *r = ctx;
    struct count *c = count_of(r, zc_entry_slot(e));
    uint64_t word = atomic_load_explicit(&e->payload, memory_order_relaxed);

    if (c == NULL) {
        return complain(r, -ENOMEM, "no memory to count in", e->key);
    }
    r->entries++;
    c->pages++;
    c->charge += zc_pool_round(sizeof(*e));
    if (zc_entry_state(e) == ZC_LOADING) {
        c->loading++;
        return word == 0 ? 0 : complain(r, -EUCLEAN, "a loading page has bytes", e->key);
    }
    if (!zc_entry_resident(e) || word == 0) {
        return complain(r, -EUCLEAN, "a page in the index is dead or empty", e->key);
    }
    if ((atomic_load(&e->where) & ZC_W_GONE) != 0 ||
        (atomic_load(&e->where) & (ZC_W_LISTED | ZC_W_ISOLATED)) == 0) {
        return complain(r, -EUCLEAN, "a page is on no list", e->key);
    }
    count_resident(c, e, word);
    return check_bytes(r, e, word);
}

/* ---- comparing ----------------------------------------------------------------------------- */

static const char *compare_lists(struct zcache_tenant *t, const struct count *c)
{
    for (unsigned node = 0; node < t->cache->topo.n_nodes; node++) {
        const char *wrong = zc_lru_verify(t->lru[node]);
        struct zc_lru_view view;

        if (wrong != NULL) {
            return wrong;
        }
        zc_lru_view(t->lru[node], &view);
        if (memcmp(view.tier, c->sum[node], sizeof(view.tier)) != 0) {
            return "the sums of a tenant's lists differ from its pages";
        }
        if (memcmp(view.pages, c->by_list[node], sizeof(view.pages)) != 0) {
            return "a queue's number of pages is not what the index has";
        }
    }
    return zc_ghost_verify(&t->ghost);
}

static uint64_t children_charge(struct recount *r, const struct zcache_tenant *parent)
{
    uint64_t sum = 0;

    for (uint32_t slot = 0; slot < r->n_slots; slot++) {
        struct zcache_tenant *t = zc_tenant_at(r->cache, slot);

        if (t->parent == parent && t != parent && atomic_load(&t->state) != ZC_TENANT_CLOSED) {
            sum += zc_quota_charge(t->account);
        }
    }
    return sum;
}

static const char *compare_charge(struct recount *r, struct zcache_tenant *t, const struct count *c)
{
    uint64_t charge = zc_quota_charge(t->account);
    uint64_t own = c->charge + children_charge(r, t);

    if (charge < own) {
        return "a tenant's charge is less than its pages";
    }
    /*
     * Frames that were replaced while pinned, by a caller or by a write, stay charged, and so does
     * what a load has reserved; the root carries the metadata.
     */
    if (t->parent != NULL && charge > own && zc_io_bytes(r->cache) == 0) {
        struct zcache_stats stats = ZCACHE_STATS_INIT;

        zc_report_subtree(r->cache->root, &stats);
        return stats.cache.pins > 0 ? NULL : "a tenant's charge is more than its pages";
    }
    return NULL;
}

static const char *compare_tenant(struct recount *r, struct zcache_tenant *t)
{
    static const struct count none;
    const struct count *c = r->by_slot[t->slot] != NULL ? r->by_slot[t->slot] : &none;
    const char *wrong = compare_lists(t, c);

    if (wrong != NULL) {
        return wrong;
    }
    if (atomic_load(&t->n_pages) != c->pages) {
        return "a tenant's number of pages is not what the index has";
    }
    if (zc_tenant_dirty(t) != c->dirty || atomic_load(&t->n_writing) != c->writing) {
        return "a tenant's number of dirty or writing pages is off";
    }
    if (atomic_load(&t->n_same) != c->same ||
        atomic_load(&t->n_incompressible) != c->incompressible) {
        return "a tenant's number of same-filled or incompressible pages is off";
    }
    return compare_charge(r, t, c);
}

/* Nobody encodes now, so what refers to it are its payloads, and its owner. */
static int compare_dictionary(void *ctx, struct zc_dict *dict)
{
    struct recount *r = ctx;
    uint64_t refs =
        r->dict_refs[dict->id % ZC_DICTS_MAX] + (atomic_load(&dict->place->leaving) == 0);

    if (!zc_dict_intact(dict)) {
        r->wrong = "a dictionary is damaged";
    } else if (atomic_load(&dict->place->refs) != refs) {
        r->wrong = "a dictionary's references are not its payloads and its owner";
    }
    return r->wrong != NULL;
}

static const char *compare_all(struct recount *r)
{
    for (uint32_t slot = 0; slot < r->n_slots; slot++) {
        struct zcache_tenant *t = zc_tenant_at(r->cache, slot);
        const char *wrong = NULL;

        if (atomic_load(&t->state) != ZC_TENANT_CLOSED) {
            wrong = compare_tenant(r, t);
        } else if (r->by_slot[slot] != NULL) {
            wrong = "a closed tenant has pages";
        }
        if (wrong != NULL) {
            return wrong;
        }
    }
    if (zc_index_entries(r->cache->index) != r->entries) {
        return "the index's count is not the number of its entries";
    }
    if (zc_dicts_walk(r->cache->dicts, compare_dictionary, r) != 0) {
        return r->wrong;
    }
    for (unsigned i = 0; i < r->cache->topo.n_nodes; i++) {
        const char *wrong = zc_pool_verify(r->cache->pool[i]);

        if (wrong != NULL) {
            return wrong;
        }
    }
    return NULL;
}

/* ---- attempts ------------------------------------------------------------------------------ */

/* Changes whenever anybody did anything that is counted. */
static uint64_t activity(struct zcache *cache)
{
    uint32_t cursor = UINT32_MAX;
    struct zcache_tenant *t;
    uint64_t sum = 0;

    while ((t = zc_tenant_next(cache->root, &cursor)) != NULL) {
        sum += zc_stat_sum(t->stat) + t->id;
        zc_tenant_leave(t);
    }
    return sum;
}

static void recount_fini(struct recount *r)
{
    const struct zc_mem *mem = zc_core_mem(r->cache, ZC_MEM_THREAD);

    for (uint32_t slot = 0; r->by_slot != NULL && slot < r->n_slots; slot++) {
        mem->free(mem->ctx, r->by_slot[slot], sizeof(struct count));
    }
    mem->free(mem->ctx, r->by_slot, r->n_slots * sizeof(struct count *));
}

/* Memory was refused for one count: room is made for all, or each attempt would get just a little further. */
static void ask_for_all(struct recount *r)
{
    uint64_t bytes = r->n_slots * sizeof(struct count *);

    if (r->thread->meta_refused == 0) {
        return; /* it was not for want of charge */
    }
    for (uint32_t slot = 0; slot < r->n_slots; slot++) {
        if (atomic_load(&zc_tenant_at(r->cache, slot)->n_pages) > 0) {
            bytes += sizeof(struct count);
        }
    }
    r->thread->meta_refused = ZC_MAX(r->thread->meta_refused, bytes);
}

/* 0; the finding; -EAGAIN: something moved. */
static int attempt(struct recount *r)
{
    const struct zc_mem *mem = zc_core_mem(r->cache, ZC_MEM_THREAD);
    struct zc_index_cursor cursor = {0, 0};
    uint64_t before;

    zc_epoch_drain(r->thread->epoch);
    zc_quota_call_in(&r->cache->account);
    before = activity(r->cache);
    r->n_slots = zc_tenants_slots(r->cache);
    r->by_slot = mem->alloc(mem->ctx, r->n_slots * sizeof(struct count *));
    if (r->by_slot == NULL) {
        return -ENOMEM;
    }
    if (zc_index_walk(r->cache->index, &cursor, count_entry, r) == 0) {
        r->wrong = compare_all(r);
        r->rc = r->wrong != NULL ? -EUCLEAN : 0;
    }
    return activity(r->cache) != before || zc_epoch_retired_bytes(r->cache->epoch) != 0 ? -EAGAIN
                                                                                        : r->rc;
}

int zc_verify(struct zcache *cache, struct zc_thread *th)
{
    uint64_t deadline = zc_plat_deadline_ns(cache->opt.max_stall_ms);
    bool again = true;
    int rc = -EAGAIN;

    zc_train_pause(cache);
    zc_shrinker_pause(cache);
    for (int i = 0; i < ATTEMPTS && again; i++) {
        struct recount r = {.cache = cache, .thread = th};

        rc = attempt(&r);
        if (rc == -ENOMEM) {
            ask_for_all(&r);
        }
        recount_fini(&r);
        again = rc == -EAGAIN || (rc == -ENOMEM && zc_reclaim_metadata(cache, th, deadline));
        if (!again && rc != 0 && r.wrong != NULL) {
            zc_core_log(cache, ZCACHE_LOG_ERROR, "verify", "%s (object %llu, page %llu)", r.wrong,
                        (unsigned long long)r.key.object, (unsigned long long)r.key.page);
        }
    }
    zc_shrinker_resume(cache);
    zc_train_resume(cache);
    return rc;
}
