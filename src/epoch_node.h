/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Supply of retire nodes, for epoch.c only: what makes that a retire cannot fail.
 */
#ifndef ZC_EPOCH_NODE_H
#define ZC_EPOCH_NODE_H

#include <ck_epoch.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "epoch.h"
#include "lock.h"
#include "plat.h"

#define ZC_NODES_STOCK 64u /* a full stock: retires that one call may need at most */

/** struct zc_retire_node - one retired piece of memory, until its function has run. */
struct zc_retire_node {
    struct ck_epoch_entry entry; /* ck's, while in limbo */
    struct zc_retire_node *next; /* of a stack, otherwise */
    void *ptr;
    size_t bytes;
    void *arg;
    uint64_t era; /* of its limbo shard, when it was retired */
};

/** struct zc_nodes - one epoch's supply. */
struct zc_nodes {
    /* set once */
    struct zc_mem mem;

    struct zc_lock lock; /* leaf */
    /* under lock */
    struct zc_node_stack free;
    uint64_t n_nodes;  /* there are, wherever they are */
    uint64_t n_stocks; /* promised */
};

static inline void zc_node_push(struct zc_node_stack *stack, struct zc_retire_node *node)
{
    node->next = stack->top;
    stack->top = node;
    stack->n++;
}

/** zc_node_pop() - the top; the stack is not empty. */
static inline struct zc_retire_node *zc_node_pop(struct zc_node_stack *stack)
{
    struct zc_retire_node *node = stack->top;

    stack->top = node->next;
    stack->n--;
    return node;
}

void zc_nodes_init(struct zc_nodes *nodes, const struct zc_mem *mem);

/** zc_nodes_fini() - every node has been given back. */
void zc_nodes_fini(struct zc_nodes *nodes);

/**
 * zc_nodes_promise() - see to it that one more thread can have a full stock whenever it waits for
 * it.
 * @stock: gets the nodes that had to be made for that.
 *
 * Return: 0; -ENOMEM, no promise then.
 */
int zc_nodes_promise(struct zc_nodes *nodes, struct zc_node_stack *stock);

/** zc_nodes_release() - take one promise back. */
void zc_nodes_release(struct zc_nodes *nodes);

/** zc_nodes_take() - fill @stock with free nodes, or from mem up to @n.  Return: has it @n now? */
bool zc_nodes_take(struct zc_nodes *nodes, struct zc_node_stack *stock, unsigned n);

/** zc_nodes_give() - take all of @stack back. */
void zc_nodes_give(struct zc_nodes *nodes, struct zc_node_stack *stack);

#endif /* ZC_EPOCH_NODE_H */
