/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The life of one page's entry: what threads do to one key, in every order.
 *
 *     putter ----.                            .---- getter: hit, load
 *     putter ----|       idx -> E[] -> P[]    |---- pinner: pin, promote, load
 *     deleter ---|         the shard          |---- taker
 *     shrinker --|  isolate, claim, write,    |---- store: completes writes, reads, discards
 *                |  evict, demote             |
 *                `                            `---- compactor: moves records and payloads
 *
 *     state.pml      records, payloads, batches, epoch, progress; what must hold
 *     page.pml       the steps of a page: page.c, lru.c, remove.c
 *     put.pml        put.c; delete of remove.c
 *     writeback.pml  the shrinker: writeback.c, reclaim.c, tier.c
 *     get.pml        get.c, load.c
 *     compact.pml    compact.c
 *     store.pml      the store's own thread
 *
 * A step is what the code does under one hold of the shard lock or of a list lock, or one look at
 * what others change without a lock; its comment names the function.  What is done with the list
 * lock below the shard lock is one step with the rest: those who take the list lock alone, isolate
 * and putback, find a page either still listed or already gone.
 *
 * Memory is free as early as the code may free it: when no section is open any more that was open
 * at the retire.  It is handed out again first, at the same "address".  Whoever touches it while it
 * is free fails an assertion.
 *
 * Puts, deletes and failed puts are numbered in the order in which they take effect.  The number of
 * a put is the content of its payload, so that older and newer can be told everywhere.
 *
 * check_model runs it; docs/testing.md says what is left out and how to read a counterexample.
 *
 * Configurations.  PUTS_A, PUTS_B, DELETES, GETS, PINS, TAKES, MOVES: how many calls a thread
 * makes; without any there is no such thread.  What else may happen:
 *
 *     PUT_FAILS     a put finds no room            PUT_TIMES_OUT  and gives up its wait
 *     STORE_FAILS   a write fails, with or without effect; so do reads and discards
 *     CORRUPTION    a payload is found damaged     NO_DISCARD     a delete is with NOIO
 *     EVICTS        the shrinker evicts            DEMOTES        it makes pages smaller
 *     HARVESTS      it waits for its writes        NEIGHBOURS     it writes pages not isolated
 *     READ_THROUGH  a load finds no room
 *
 * BUG_...: a mistake that the model must notice.
 */
#ifndef PUTS_A
#define PUTS_A 0
#endif
#ifndef PUTS_B
#define PUTS_B 0
#endif
#ifndef DELETES
#define DELETES 0
#endif
#ifndef GETS
#define GETS 0
#endif
#ifndef PINS
#define PINS 0
#endif
#ifndef TAKES
#define TAKES 0
#endif
#ifndef MOVES
#define MOVES 0
#endif

#if DELETES && (GETS || PINS) && defined(STORE_FAILS)
#error a discard that fails leaves a deleted page to be loaded: check_kept() does not know that
#endif

#include "state.pml"
#include "page.pml"
#include "put.pml"
#include "writeback.pml"
#include "get.pml"
#include "compact.pml"
#include "store.pml"

init
{
    atomic {
#if PUTS_A
        run putter(T_A, PUTS_A);
#endif
#if PUTS_B
        run putter(T_B, PUTS_B);
#endif
#if DELETES
        run deleter(T_DEL, DELETES);
#endif
#if GETS
        run getter(T_GET, GETS);
#endif
#if PINS
        run pinner(T_PIN, PINS);
#endif
#if TAKES
        run taker(T_TAKE, TAKES);
#endif
#if MOVES
        run compactor(T_MOVE, MOVES);
#endif
        run shrinker();
        run store()
    }
}

#ifdef LIVENESS
/* Who waits for a page gets on, if the store completes every write, though it may fail each. */
ltl returns { <> (returned == LIVENESS) }
#endif
