/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Retire nodes go round:
 *
 *          mem <------- surplus ------+
 *           |                         |
 *           v        take             |      give
 *     +------------+ ----> stock of a thread ----> limbo ----> free nodes
 *     | free nodes | <-----------------------------------------------+
 *     +------------+
 *
 * A retire must not need memory, since what it retires has been unlinked already.  So a thread
 * stocks nodes before it begins, and where mem refuses, there are still enough of them: for each
 * registered thread there is a full stock's worth of nodes somewhere.  No thread holds more than a
 * full stock, so when all others hold theirs, one stock's worth is left, if only in limbo; a grace
 * period brings it home.  The promise is made when a thread registers, which is when it can fail.
 *
 * Lock: the supply's, a leaf, never held while mem is called.
 *
 * Invariants
 *   - n_nodes >= n_stocks * ZC_NODES_STOCK, except for what zc_nodes_promise() is about to add;
 *   nodes
 *     are given to mem only while n_nodes is above that;
 *   - at rest all nodes are in stocks, in limbo or free.
 *
 * Tried, and not kept
 *   - free nodes per limbo shard: a thread that finds its shard's list empty has to search the
 *     others'.  One list is enough: a thread comes here once in 64 retires, and once in a poll;
 *   - blocks of nodes: a block is returnable only when all of its nodes are free, which after a
 *   burst
 *     keeps nearly all of them; and a node fills a cache line, so a block saves little.
 */
#include "epoch_node.h"

#include <errno.h>

#include "check.h"
#include "mathx.h"

/* Free nodes kept beyond the promise, 16 KiB: what the shards hold when polls become due. */
#define FREE_MAX 256u

static uint64_t promised_nodes_locked(const struct zc_nodes *nodes) ZC_REQUIRES(nodes->lock)
{
    zc_lock_assert_held(&nodes->lock);
    return nodes->n_stocks * ZC_NODES_STOCK;
}

static struct zc_retire_node *node_new(struct zc_nodes *nodes)
{
    return nodes->mem.alloc(nodes->mem.ctx, sizeof(struct zc_retire_node));
}

/* Of nodes that are not counted any more. */
static void free_all(struct zc_nodes *nodes, struct zc_node_stack *stack)
{
    while (stack->n > 0) {
        nodes->mem.free(nodes->mem.ctx, zc_node_pop(stack), sizeof(struct zc_retire_node));
    }
}

void zc_nodes_init(struct zc_nodes *nodes, const struct zc_mem *mem)
{
    nodes->mem = *mem;
    nodes->free = (struct zc_node_stack){NULL, 0};
    nodes->n_nodes = 0;
    nodes->n_stocks = 0;
    zc_lock_init(&nodes->lock, ZC_RANK_leaf);
}

void zc_nodes_fini(struct zc_nodes *nodes)
{
    ZC_ASSERT(nodes->n_nodes == nodes->free.n);
    free_all(nodes, &nodes->free);
    zc_lock_fini(&nodes->lock);
}

/* How many nodes the newest promise lacks; they are counted at once, and then have to be made. */
static unsigned promise_one_more(struct zc_nodes *nodes)
{
    uint64_t n_missing;

    zc_lock_acquire(&nodes->lock);
    nodes->n_stocks++;
    n_missing = zc_sub_sat(promised_nodes_locked(nodes), nodes->n_nodes);
    nodes->n_nodes += n_missing;
    zc_lock_release(&nodes->lock);
    return (unsigned)n_missing;
}

static void count_less(struct zc_nodes *nodes, unsigned n_nodes, unsigned n_stocks)
{
    zc_lock_acquire(&nodes->lock);
    nodes->n_nodes -= n_nodes;
    nodes->n_stocks -= n_stocks;
    zc_lock_release(&nodes->lock);
}

int zc_nodes_promise(struct zc_nodes *nodes, struct zc_node_stack *stock)
{
    unsigned n_missing = promise_one_more(nodes);

    ZC_ASSERT(n_missing <= ZC_NODES_STOCK);
    for (; n_missing > 0; n_missing--) {
        struct zc_retire_node *node = node_new(nodes);

        if (node == NULL) {
            count_less(nodes, n_missing, 1);
            zc_nodes_give(nodes, stock);
            return -ENOMEM;
        }
        zc_node_push(stock, node);
    }
    return 0;
}

void zc_nodes_release(struct zc_nodes *nodes)
{
    count_less(nodes, 0, 1);
}

static void take_free(struct zc_nodes *nodes, struct zc_node_stack *stock)
{
    zc_lock_acquire(&nodes->lock);
    while (nodes->free.n > 0 && stock->n < ZC_NODES_STOCK) {
        zc_node_push(stock, zc_node_pop(&nodes->free));
    }
    zc_lock_release(&nodes->lock);
}

static void take_new(struct zc_nodes *nodes, struct zc_node_stack *stock, unsigned n)
{
    unsigned n_made = 0;

    while (stock->n < n) {
        struct zc_retire_node *node = node_new(nodes);

        if (node == NULL) {
            break;
        }
        zc_node_push(stock, node);
        n_made++;
    }
    zc_lock_acquire(&nodes->lock);
    nodes->n_nodes += n_made;
    zc_lock_release(&nodes->lock);
}

bool zc_nodes_take(struct zc_nodes *nodes, struct zc_node_stack *stock, unsigned n)
{
    ZC_ASSERT(n <= ZC_NODES_STOCK);
    take_free(nodes, stock);
    if (stock->n < n) {
        take_new(nodes, stock, n);
    }
    return stock->n >= n;
}

void zc_nodes_give(struct zc_nodes *nodes, struct zc_node_stack *stack)
{
    struct zc_node_stack surplus = {NULL, 0};

    zc_lock_acquire(&nodes->lock);
    while (stack->n > 0) {
        struct zc_retire_node *node = zc_node_pop(stack);

        if (nodes->free.n < FREE_MAX || nodes->n_nodes <= promised_nodes_locked(nodes)) {
            zc_node_push(&nodes->free, node);
        } else {
            zc_node_push(&surplus, node);
            nodes->n_nodes--;
        }
    }
    zc_lock_release(&nodes->lock);
    free_all(nodes, &surplus);
}
