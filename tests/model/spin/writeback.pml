/* SPDX-License-Identifier: BSD-2-Clause */
/* The shrinker: writeback.c, reclaim.c, tier.c. */

/* ---- completion of a write ----------------------------------------------------------------- */

/* The bytes arrive. */
inline write_effect(b)
{
    if
    :: B[b].pin != NONE ->
        touch_payload(B[b].pin);
        assert(P[B[b].pin].content == B[b].content)
    :: else
    fi;
    assert(B[b].content >= store_high);
    store_has = B[b].content;
    store_high = store_has
}

/* The store takes or refuses them; zc_batch_complete() up to the pin in finish_page(). */
inline answer_write(b)
{
    assert(B[b].state == CALLED);
    if
    :: true -> write_effect(b)
#ifdef STORE_FAILS
    :: failed = true
    :: failed = true;
        write_effect(b)
#endif
    fi;
    B[b].state = FINISHING;
    writes_out--;
    if
    :: B[b].pin != NONE ->
        unpin(B[b].pin);
        B[b].pin = NONE
    :: else
    fi
}

/* evict_written_locked() */
inline evict_written(b)
{
    if
    :: true /* used meanwhile */
#ifdef BUG_NEWER_EVICTED
    :: !E[B[b].e].waited && !pinned(E[B[b].e].pl) ->
#else
    :: !E[B[b].e].dirty && !E[B[b].e].waited && !pinned(E[B[b].e].pl) ->
#endif
        unlink(B[b].e);
        check_kept()
    fi
}

/* finish_page() from there on */
inline finish_write(b)
{
    atomic { /* under the shard lock */
        touch_entry(B[b].e);
        become(B[b].e, LIVE);
        if
        :: failed
#ifndef BUG_CLEAN_WITHOUT_VERSION_CHECK
        :: !failed && E[B[b].e].ver != B[b].ver /* a newer one came */
        :: !failed && E[B[b].e].ver == B[b].ver -> E[B[b].e].dirty = false
#else
        :: !failed -> E[B[b].e].dirty = false
#endif
        fi;
        check_kept();
#ifndef BUG_NOBODY_WOKEN
        wake(B[b].e);
#endif
#ifdef EVICTS
        if
        :: B[b].isolated && !failed -> evict_written(b)
        :: else
        fi
#endif
    }
    if
    :: B[b].isolated -> atomic { putback(B[b].e) }
    :: else
    fi;
    atomic {
        if
        :: B[b].isolated -> unref(B[b].e) /* the reclaimer's */
        :: else
        fi;
        unref(B[b].e);
        B[b].state = (B[b].held -> DONE : FREE);
        B[b].e = 0;
        B[b].ver = 0;
        B[b].pin = 0;
        B[b].content = 0;
        B[b].isolated = false;
        failed = false;
        progress_signal()
    }
}

/* ---- claim --------------------------------------------------------------------------------- */

/* claimable_locked() */
#ifdef BUG_CLAIMED_WITHOUT_LIVE
#define CLAIM_STATE(x) resident(x)
#else
#define CLAIM_STATE(x) (E[x].state == LIVE)
#endif
#ifdef BUG_CLAIMED_WHILE_WAITED
#define CLAIM_WAITED(x) true
#else
#define CLAIM_WAITED(x) !E[x].waited
#endif
#define claimable(x)                                                                               \
    (CLAIM_STATE(x) && E[x].dirty && CLAIM_WAITED(x) && !E[x].corrupt && !announced)

/* zc_batch_make() and claim() of the page that has the key now */
inline claim()
{
    b = (B[0].state == FREE -> 0 : (B[1].state == FREE -> 1 : NONE));
    if
    :: b != NONE && idx != NONE && claimable(idx) ->
        section_enter(T_SHR);
        become(idx, WRITING);
#ifndef BUG_BATCH_WITHOUT_REFERENCE
        E[idx].refs++;
#endif
        B[b].state = FILLING;
        B[b].e = idx;
        B[b].ver = E[idx].ver;
        B[b].pin = NONE;
        w = E[idx].pl
    :: else -> b = NONE
    fi
}

/* fetch_bytes(), without a lock, and the end of the section */
inline fetch_bytes()
{
    touch_payload(w);
    B[b].content = P[w].content;
    if
    :: P[w].raw ->
        P[w].pins++;
        B[b].pin = w
    :: else /* decoded into a copy */
    fi;
    w = NONE;
    section_exit(T_SHR)
}

#ifdef CORRUPTION
/* fetch_bytes() has found them damaged, or there was no buffer. */
inline unclaim()
{
    become(B[b].e, LIVE);
    if
#ifdef BUG_NEWER_CALLED_DAMAGED
    :: true ->
#else
    :: E[B[b].e].ver == B[b].ver ->
#endif
        assert(P[E[B[b].e].pl].content == B[b].content); /* which nobody has called damaged */
        E[B[b].e].corrupt = true
    :: true
    fi;
    wake(B[b].e)
}
#endif

/* zc_batch_call() */
inline call_write()
{
    B[b].state = CALLED;
    assert(writes_out == 0); /* one write of a key at a time */
    writes_out++
}

/* ---- the thread ---------------------------------------------------------------------------- */

/* What it does with a page that it has isolated. */
#define EVICT  0
#define WRITE  1
#define DEMOTE 2
#define KEEP   3 /* gives it back */

#ifdef EVICTS
#define evictable(x)                                                                               \
    (E[x].state == LIVE && !E[x].waited && !E[x].dirty && !pinned(E[x].pl))
#else
#define evictable(x) false
#endif
#ifdef DEMOTES
#define demotable(x)                                                                               \
    (E[x].state == LIVE && !E[x].corrupt && !pinned(E[x].pl) && P[E[x].pl].raw)
#else
#define demotable(x) false
#endif

/*
 * It takes a page only if there is something to do at that moment, so that it comes to rest and a
 * thread that waits in vain is seen to be stuck.
 */
#define useful(x) (claimable(x) || evictable(x) || demotable(x))

#ifdef NEIGHBOURS
#define NEIGHBOUR (e == NONE && idx != NONE && claimable(idx))
#else
#define NEIGHBOUR false
#endif

proctype shrinker()
{
    byte e = NONE;  /* isolated */
    byte b = NONE;  /* batch that it fills */
    byte w = NONE;  /* payload that it looks at */
    byte pl = NONE; /* new form */
    byte ver;
    byte content;
    byte todo;

end_idle:
    do
    :: atomic { e == NONE && idx != NONE && E[idx].listed && useful(idx) -> /* zc_lru_isolate() */
        e = idx;
        touch_entry(e);
        E[e].listed = false;
        E[e].isolated = true;
        E[e].refs++;
        if
        :: todo = WRITE
#ifdef EVICTS
        :: todo = EVICT
#endif
#ifdef DEMOTES
        :: todo = DEMOTE
#endif
        fi }

    :: atomic { e != NONE && todo == EVICT -> /* evict_one() */
        touch_entry(e);
        if
        :: evictable(e) ->
            unlink(e);
            check_kept()
        :: else /* what is dirty is written first: as if that had been the choice */
        fi;
        todo = KEEP }

    :: (e != NONE && todo == WRITE) || NEIGHBOUR -> /* write_group(), add_neighbours() */
        atomic {
            todo = (e == NONE -> 0 : KEEP);
            claim()
        }
        if
        :: b == NONE
#ifdef CORRUPTION
        :: b != NONE ->
            atomic {
                touch_payload(w);
                B[b].content = P[w].content;
                w = NONE;
                section_exit(T_SHR)
            }
            atomic { unclaim() }
            atomic {
                unref(B[b].e);
                B[b].state = FREE;
                B[b].e = 0;
                B[b].ver = 0;
                B[b].pin = 0;
                B[b].content = 0;
                b = NONE
            }
#endif
        :: b != NONE ->
            atomic { fetch_bytes() }
            if
            :: B[b].e == e ->
                atomic {
                    B[b].isolated = true;
                    e = NONE;
                    todo = 0
                }
            :: else /* a neighbour, or the key has a new record */
            fi;
#ifdef HARVESTS
            atomic {
                B[b].held = true;
                call_write()
            }
            wait_progress(T_SHR, B[b].state == DONE); /* zc_writeback_harvest() */
            atomic {
                B[b].held = false;
                B[b].state = FREE;
                b = NONE
            }
#else
            atomic { /* its maker lets go at once */
                call_write();
                b = NONE
            }
#endif
        fi

#ifdef DEMOTES
    :: e != NONE && todo == DEMOTE -> /* zc_tier_demote() */
        atomic { /* note_form() */
            todo = KEEP;
            touch_entry(e);
            if
            :: demotable(e) ->
                section_enter(T_SHR);
                w = E[e].pl;
                ver = E[e].ver
            :: else
            fi
        }
        if
        :: w == NONE
        :: else ->
            atomic { /* zc_page_decode(), end of the section; build() */
                touch_payload(w);
                content = P[w].content;
                section_exit(T_SHR);
                payload_new(pl, false)
            }
            atomic { /* swap_form() */
                if
                :: pl == NONE /* no room */
#ifndef BUG_SWAPPED_WITHOUT_LOOKING
                :: pl != NONE && E[e].state == LIVE && E[e].ver == ver && E[e].pl == w &&
                   !pinned(w) ->
#else
                :: pl != NONE && E[e].state == LIVE ->
#endif
                    P[pl].content = content;
                    reform(e, pl);
                    check_kept()
                :: else -> payload_free(pl)
                fi;
                pl = NONE;
                w = NONE;
                ver = 0;
                content = 0
            }
        fi
#endif

    :: e != NONE && todo == KEEP -> /* zc_page_putback() */
        atomic { putback(e) }
        atomic {
            unref(e);
            e = NONE;
            todo = 0
        }
    od
}
