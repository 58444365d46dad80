/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A node whose memory is used up, by whomever: what is put there lies on the nearest that has some, and
 * what is put when there is room again lies at home.
 */
#include "numa/machine.h"

#include <numaif.h>
#include <sys/mman.h>

#define RAW "raw_percent=100,start_percent=100"

/*
 * Memory that prefers a node, piece after piece, until the kernel gives it from elsewhere: huge pages
 * first, which it finds at home when single ones come from elsewhere already, then single ones.
 */
static struct hog {
    char *piece[1024];
    unsigned n;
} hog;

enum {
    HUGE = 2 << 20,
    TRIES = 8,
    PIECES_ELSEWHERE = 3 /* in a row: the kernel frees a little when it gets tight */
};

static char *map_piece(int id, int advice)
{
    const unsigned long mask = 1UL << id;
    char *at = zc_plat_map(HUGE, HUGE, -1);

    REQUIRE(at != NULL);
    (void)madvise(at, HUGE, advice);
    REQUIRE_EQUAL(mbind(at, HUGE, MPOL_PREFERRED, &mask, 8 * sizeof(mask), 0), 0);
    for (size_t i = 0; i < HUGE; i += PAGE) {
        at[i] = 1;
    }
    return at;
}

static void hog_with(int id, int advice)
{
    unsigned elsewhere = 0;

    while (elsewhere < PIECES_ELSEWHERE) {
        REQUIRE(hog.n < ZC_ARRAY_SIZE(hog.piece));
        char *at = map_piece(id, advice);

        if (node_of(at) != id && node_of(at + HUGE - 1) != id) {
            zc_plat_unmap(at, HUGE);
            elsewhere++;
        } else {
            hog.piece[hog.n++] = at;
            elsewhere = 0;
        }
    }
}

static void hog_fill(int id)
{
    hog_with(id, MADV_HUGEPAGE);
    hog_with(id, MADV_NOHUGEPAGE);
}

static void hog_free(void)
{
    while (hog.n > 0) {
        zc_plat_unmap(hog.piece[--hog.n], HUGE);
    }
}

/* Pages [0, N) of @object whose bytes lie on that node. */
static unsigned bytes_on(struct zcache_tenant *t, uint64_t object, int id)
{
    unsigned found = 0;

    for (uint64_t i = 0; i < N; i++) {
        found += node_of(zc_word_payload(word_of(t, key_of(object, i)))) == id ? 1 : 0;
    }
    return found;
}

/* Fills what the pool holds at home already. */
static void fill_slabs(struct zcache_tenant *t)
{
    static uint64_t next;

    for (uint64_t i = 0; i < 4 * MIB / PAGE; i++) {
        REQUIRE_EQUAL(put_page(t, key_of(100, next++), 1, FILL_RANDOM, 0), 0);
    }
}

/*
 * Puts N pages while the node has no memory.  What the kernel has freed there is taken first; if it frees much
 * meanwhile, N others are put.  Return: how many lie at home; the others are on the nearest, none further away.
 */
static unsigned put_while_full(struct zcache_tenant *t, const struct node *node)
{
    static uint64_t object = 1000;
    const int nearest = nearest_to(node->id);
    unsigned home = N;

    for (unsigned i = 0; i < TRIES && home > N / 4; i++) {
        object++;
        hog_with(node->id, MADV_NOHUGEPAGE);
        put_n(t, object, 1, FILL_RANDOM);
        home = bytes_on(t, object, node->id);
        REQUIRE_EQUAL(home + bytes_on(t, object, nearest), N);
        for (uint64_t k = 0; k < N; k++) {
            REQUIRE_EQUAL(get_page(t, key_of(object, k), ZCACHE_PEEK), 1);
        }
    }
    return home;
}

static void a_full_node_falls_back_to_the_nearest(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, RAW);
    struct zcache_tenant *root = zcache_root(cache);
    const struct node *node = &machine.node[1];

    (void)state;
    run_on(node);
    fill_slabs(root);
    assert_true(put_while_full(root, node) <= N / 4);
    run_anywhere();
    close_cache(cache);
}

/* A tenant that is bound to it, and threads that put from anywhere. */
static void so_does_a_bound_tenant(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, RAW);
    const struct node *node = &machine.node[1];
    struct zcache_tenant *tenant = open_bound(cache, "bound", node->id);

    (void)state;
    fill_slabs(tenant);
    for (unsigned from = 0; from < machine.n_nodes; from++) {
        run_on(&machine.node[from]);
        assert_true(put_while_full(tenant, node) <= N / 4);
    }
    run_anywhere();
    close_cache(cache);
}

static void pages_lie_at_home_when_there_is_room_again(void **state)
{
    struct zcache *cache = open_cache(64 * MIB, NULL, RAW);
    struct zcache_tenant *root = zcache_root(cache);
    const struct node *node = &machine.node[1];

    (void)state;
    run_on(node);
    fill_slabs(root);
    assert_true(put_while_full(root, node) <= N / 4);
    hog_free();
    fill_slabs(root);
    put_n(root, 2, 1, FILL_RANDOM);
    assert_true(bytes_on(root, 2, node->id) >= N * 3 / 4);
    run_anywhere();
    close_cache(cache);
}

static int fill_the_node(void **state)
{
    (void)state;
    hog_fill(machine.node[1].id);
    return 0;
}

static int free_the_node(void **state)
{
    (void)state;
    hog_free();
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_node_falls_back_to_the_nearest),
        cmocka_unit_test(so_does_a_bound_tenant),
        cmocka_unit_test(pages_lie_at_home_when_there_is_room_again),
    };

    test_begin(argc, argv, 0);
    machine_find();
    return cmocka_run_group_tests(tests, fill_the_node, free_the_node);
}
