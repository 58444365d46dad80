/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * usage: tsan_selftest good|bad
 *
 * Does ThreadSanitizer understand Concurrency Kit as this build compiles it?  "good" is correct and
 * must not be reported: a counter under a spin lock, and a cell replaced and freed through an epoch.
 * "bad" frees the cell without the epoch and must be reported.
 */
#include <ck_epoch.h>
#include <ck_pr.h>
#include <ck_spinlock.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 20000

struct cell {
    unsigned value;
    ck_epoch_entry_t retired;
};

CK_EPOCH_CONTAINER(struct cell, retired, cell_of)

static ck_epoch_t epoch;
static ck_epoch_record_t records[2];
static ck_spinlock_t lock = CK_SPINLOCK_INITIALIZER;
static unsigned counter;
static struct cell *shared_cell;
static bool use_epoch;

static void destroy(ck_epoch_entry_t *entry)
{
    free(cell_of(entry));
}

static void count(void)
{
    ck_spinlock_lock(&lock);
    counter++;
    ck_spinlock_unlock(&lock);
}

static struct cell *cell_create(unsigned value)
{
    struct cell *cell = malloc(sizeof(*cell));

    if (cell == NULL) {
        abort();
    }
    cell->value = value;
    return cell;
}

static void *reader(void *sum)
{
    ck_epoch_register(&epoch, &records[0], NULL);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct cell *cell;
        ck_epoch_begin(&records[0], NULL);
        cell = ck_pr_load_ptr(&shared_cell);
        *(unsigned *)sum += cell->value;
        ck_epoch_end(&records[0], NULL);
        count();
    }
    return NULL;
}

static void *writer(void *unused)
{
    (void)unused;
    ck_epoch_register(&epoch, &records[1], NULL);
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct cell *old = ck_pr_fas_ptr(&shared_cell, cell_create(i));
        if (use_epoch) {
            ck_epoch_call(&records[1], &old->retired, destroy);
            ck_epoch_poll(&records[1]);
        } else {
            free(old);
        }
        count();
    }
    ck_epoch_barrier(&records[1]);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[2];
    unsigned sum = 0;

    use_epoch = argc != 2 || strcmp(argv[1], "bad") != 0;
    ck_epoch_init(&epoch);
    shared_cell = cell_create(0);
    if (pthread_create(&threads[0], NULL, reader, &sum) != 0 ||
        pthread_create(&threads[1], NULL, writer, NULL) != 0) {
        return 1;
    }
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    free(shared_cell);
    printf("tsan_selftest: %u steps, sum %u\n", counter, sum);
    return counter == 2 * ROUNDS ? 0 : 1;
}
