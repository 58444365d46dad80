/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Intrusive doubly linked list.  A head is a link that points to itself when empty; a link that is
 * on no list is either zeroed or points to itself.
 *
 * An address of a process has 48 bits at most, so two of them are kept in 12 bytes.  Every page has a
 * link, and every slab.
 */
#ifndef ZC_LIST_H
#define ZC_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Read and written by the functions below only. */
struct zc_list {
    uint32_t prev_low;
    uint32_t next_low;
    uint16_t prev_high;
    uint16_t next_high;
};

_Static_assert(sizeof(struct zc_list) == 12, "two addresses of 48 bits");

#define ZC_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline struct zc_list *zc_list_next(const struct zc_list *l)
{
    return (struct zc_list *)((uintptr_t)l->next_high << 32 | l->next_low);
}

static inline struct zc_list *zc_list_prev(const struct zc_list *l)
{
    return (struct zc_list *)((uintptr_t)l->prev_high << 32 | l->prev_low);
}

static inline void zc_list_set_next(struct zc_list *l, const struct zc_list *next)
{
    l->next_low = (uint32_t)(uintptr_t)next;
    l->next_high = (uint16_t)((uintptr_t)next >> 32);
}

static inline void zc_list_set_prev(struct zc_list *l, const struct zc_list *prev)
{
    l->prev_low = (uint32_t)(uintptr_t)prev;
    l->prev_high = (uint16_t)((uintptr_t)prev >> 32);
}

static inline void zc_list_init(struct zc_list *l)
{
    zc_list_set_prev(l, l);
    zc_list_set_next(l, l);
}

static inline bool zc_list_empty(const struct zc_list *head)
{
    return zc_list_next(head) == head;
}

static inline void zc_list_insert_between(struct zc_list *l,
                                          struct zc_list *prev,
                                          struct zc_list *next)
{
    zc_list_set_prev(l, prev);
    zc_list_set_next(l, next);
    zc_list_set_next(prev, l);
    zc_list_set_prev(next, l);
}

/** zc_list_push_back() - append: the newest end of a recency list. */
static inline void zc_list_push_back(struct zc_list *head, struct zc_list *l)
{
    zc_list_insert_between(l, zc_list_prev(head), head);
}

/** zc_list_push_front() - prepend: the oldest end of a recency list. */
static inline void zc_list_push_front(struct zc_list *head, struct zc_list *l)
{
    zc_list_insert_between(l, head, zc_list_next(head));
}

static inline void zc_list_del(struct zc_list *l)
{
    struct zc_list *prev = zc_list_prev(l);
    struct zc_list *next = zc_list_next(l);

    zc_list_set_next(prev, next);
    zc_list_set_prev(next, prev);
    zc_list_init(l);
}

/** zc_list_splice_front() - move all of @from before the first of @to; @from is empty afterwards.
 * */
static inline void zc_list_splice_front(struct zc_list *to, struct zc_list *from)
{
    struct zc_list *oldest = zc_list_next(from);
    struct zc_list *newest = zc_list_prev(from);
    struct zc_list *behind = zc_list_next(to);

    if (zc_list_empty(from)) {
        return;
    }
    zc_list_set_next(newest, behind);
    zc_list_set_prev(behind, newest);
    zc_list_set_next(to, oldest);
    zc_list_set_prev(oldest, to);
    zc_list_init(from);
}

#define ZC_LIST_FOR_EACH(it, head)                                                                 \
    for ((it) = zc_list_next(head); (it) != (head); (it) = zc_list_next(it))

#endif /* ZC_LIST_H */
