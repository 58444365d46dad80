/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Intrusive doubly linked list.  A head is a link that points to itself when empty; a link that is
 * on no list is either zeroed or points to itself.
 */
#ifndef ZC_LIST_H
#define ZC_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct zc_list {
    struct zc_list *prev;
    struct zc_list *next;
};

#define ZC_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline void zc_list_init(struct zc_list *l)
{
    l->prev = l;
    l->next = l;
}

static inline bool zc_list_empty(const struct zc_list *head)
{
    return head->next == head;
}

static inline void zc_list_insert_between(struct zc_list *l,
                                          struct zc_list *prev,
                                          struct zc_list *next)
{
    l->prev = prev;
    l->next = next;
    prev->next = l;
    next->prev = l;
}

/** zc_list_push_back() - append: the newest end of a recency list. */
static inline void zc_list_push_back(struct zc_list *head, struct zc_list *l)
{
    zc_list_insert_between(l, head->prev, head);
}

/** zc_list_push_front() - prepend: the oldest end of a recency list. */
static inline void zc_list_push_front(struct zc_list *head, struct zc_list *l)
{
    zc_list_insert_between(l, head, head->next);
}

static inline void zc_list_del(struct zc_list *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    zc_list_init(l);
}

/** zc_list_splice_front() - move all of @from before the first of @to; @from is empty afterwards.
 * */
static inline void zc_list_splice_front(struct zc_list *to, struct zc_list *from)
{
    if (zc_list_empty(from)) {
        return;
    }
    from->prev->next = to->next;
    to->next->prev = from->prev;
    to->next = from->next;
    from->next->prev = to;
    zc_list_init(from);
}

#define ZC_LIST_FOR_EACH(it, head) for ((it) = (head)->next; (it) != (head); (it) = (it)->next)

#endif /* ZC_LIST_H */
