/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * list: random operations on two lists against two arrays that do the same slowly.
 */
#include <stdlib.h>
#include <string.h>

#include "assertion.h"
#include "list.h"
#include "mathx.h"

#define ITEMS  32
#define ROUNDS 20000

struct item {
    int before; /* so that the link is not the first member */
    struct zc_list link;
};

/* The slow list: items from front to back. */
struct row {
    struct item *at[ITEMS];
    unsigned n;
};

static void row_insert(struct row *row, unsigned where, struct item *item)
{
    memmove(&row->at[where + 1], &row->at[where], (row->n - where) * sizeof(struct item *));
    row->at[where] = item;
    row->n++;
}

static struct item *row_remove(struct row *row, unsigned where)
{
    struct item *item = row->at[where];

    row->n--;
    memmove(&row->at[where], &row->at[where + 1], (row->n - where) * sizeof(struct item *));
    return item;
}

static void row_splice_front(struct row *to, struct row *from)
{
    while (from->n > 0) {
        row_insert(to, 0, row_remove(from, from->n - 1));
    }
}

static void expect_equal(const struct zc_list *head, const struct row *row)
{
    struct zc_list *it;
    const struct zc_list *back = head;
    unsigned i = 0;

    ZC_LIST_FOR_EACH (it, head) {
        assert_true(i < row->n);
        assert_ptr_equal(ZC_CONTAINER_OF(it, struct item, link), row->at[i]);
        assert_ptr_equal(zc_list_prev(it), back);
        back = it;
        i++;
    }
    assert_int_equal(i, row->n);
    assert_ptr_equal(zc_list_prev(head), back);
    assert_int_equal(zc_list_empty(head), row->n == 0);
}

static void behaves_like_two_arrays(void **state)
{
    struct item items[ITEMS] = {{0}};
    struct row rows[2] = {{{NULL}, 0}};
    struct row spare = {{NULL}, 0};
    struct zc_list heads[2];
    unsigned seed = 1;

    (void)state;
    zc_list_init(&heads[0]);
    zc_list_init(&heads[1]);
    for (unsigned i = 0; i < ITEMS; i++) {
        row_insert(&spare, i, &items[i]);
    }
    for (int i = 0; i < ROUNDS; i++) {
        unsigned which = (unsigned)rand_r(&seed) % 2;
        struct row *row = &rows[which];
        struct zc_list *head = &heads[which];
        unsigned op = (unsigned)rand_r(&seed) % 16;

        if (op < 4 && spare.n > 0) {
            row_insert(row, row->n, row_remove(&spare, spare.n - 1));
            zc_list_push_back(head, &row->at[row->n - 1]->link);
        } else if (op < 8 && spare.n > 0) {
            row_insert(row, 0, row_remove(&spare, spare.n - 1));
            zc_list_push_front(head, &row->at[0]->link);
        } else if (op < 15 && row->n > 0) {
            struct item *item = row_remove(row, (unsigned)rand_r(&seed) % row->n);

            zc_list_del(&item->link);
            assert_true(zc_list_empty(&item->link));
            row_insert(&spare, spare.n, item);
        } else if (op == 15) {
            row_splice_front(row, &rows[!which]);
            zc_list_splice_front(head, &heads[!which]);
        }
        expect_equal(&heads[0], &rows[0]);
        expect_equal(&heads[1], &rows[1]);
    }
}

static void insert_between_keeps_the_order(void **state)
{
    struct item items[3];
    struct row row = {{&items[0], &items[1], &items[2]}, 3};
    struct zc_list head;

    (void)state;
    zc_list_init(&head);
    zc_list_push_back(&head, &items[0].link);
    zc_list_push_back(&head, &items[2].link);
    zc_list_insert_between(&items[1].link, &items[0].link, &items[2].link);
    expect_equal(&head, &row);
}

static void deleting_twice_changes_nothing(void **state)
{
    struct item items[2];
    struct row row = {{&items[1]}, 1};
    struct zc_list head;

    (void)state;
    zc_list_init(&head);
    zc_list_push_back(&head, &items[0].link);
    zc_list_push_back(&head, &items[1].link);
    zc_list_del(&items[0].link);
    zc_list_del(&items[0].link);
    expect_equal(&head, &row);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(behaves_like_two_arrays),
        cmocka_unit_test(insert_between_keeps_the_order),
        cmocka_unit_test(deleting_twice_changes_nothing),
    };

    return cmocka_run_group_tests_name("list", tests, NULL, NULL);
}
