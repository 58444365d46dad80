/* SPDX-License-Identifier: BSD-2-Clause */
/* zc_put(), zc_delete() */

/*
 * What holds when a failed put returns; then its caller writes the page himself.  With loads he
 * does not, because he would have to keep readers away: from the removal on the page is what the
 * store has.
 */
inline failed_put_returns()
{
    assert(idx == NONE || E[idx].pl == NONE || P[E[idx].pl].content > ord || LOADED(idx));
    check_over(ord);
#if !(GETS || PINS)
    if
    :: order == ord && !announced ->
        store_has = ord;
        reg = ord
    :: else /* somebody has put or deleted the page meanwhile: callers must agree */
    fi;
#endif
    check_kept()
}

proctype putter(byte me; byte todo)
{
    byte pl = NONE;
    byte fresh = NONE;
    byte we = NONE;
    byte ord;
    byte rc;

    do
    :: todo > 0 ->
        atomic { /* cached(), prepare(), prepare_entry() */
            todo--;
            rc = AGAIN;
            if
            :: payload_new(pl, true)
#ifdef PUT_FAILS
            :: true /* no room */
#endif
            fi;
            if
            :: pl == NONE -> rc = FAILED
            :: pl != NONE && !(idx != NONE && resident(idx)) ->
                entry_new(fresh);
                rc = (fresh == NONE -> FAILED : AGAIN)
            :: else
            fi
        }
        do
        :: atomic { rc == AGAIN && (idx != NONE || fresh != NONE) -> /* try_publish() */
            if
            :: idx == NONE ->
                idx = fresh;
                fresh = NONE
            :: else
            fi;
            order++;
            ord = order;
            reg = ord;
            P[pl].content = ord;
            publish(idx, pl, true);
            check_kept();
            pl = NONE;
            rc = OK }
        :: atomic { rc == AGAIN && idx == NONE && fresh == NONE -> /* prepare_entry() after all */
            entry_new(fresh);
            rc = (fresh == NONE -> FAILED : AGAIN) }
        :: atomic { rc != AGAIN -> /* drop_unused() */
            if
            :: pl != NONE ->
                payload_free(pl);
                pl = NONE
            :: else
            fi;
            if
            :: fresh != NONE ->
                entry_free(fresh);
                fresh = NONE
            :: else
            fi;
            break }
        od;
        if
        :: rc == FAILED -> /* fail() */
#ifdef BUG_FAILED_PUT_LEAVES_OLDER
            atomic {
                order++;
                ord = order;
                reg = 0
            }
#else
            remove_key(me, true);
#endif
            atomic {
                if
                :: rc == TIMEDOUT /* -EBUSY: the older version is as it was */
                :: else -> failed_put_returns()
                fi;
                rc = FAILED
            }
        :: else
        fi;
        atomic { /* it returns */
            if
            :: rc == OK -> done_order = max(done_order, ord)
            :: else
            fi;
            ord = 0;
            rc = 0
        }
    :: else -> break
    od;
    returned++
}

/* ---- delete -------------------------------------------------------------------------------- */

#if DELETES
byte discard_ord; /* number of the delete that calls discard */

inline discard_effect()
{
    assert(store_has < discard_ord); /* a newer version is not taken away */
    store_has = 0;
    store_high = max(store_high, discard_ord)
}

proctype deleter(byte me; byte todo)
{
    byte we = NONE;
    byte ord;
    byte rc;
    bool quiet; /* NOIO: the caller removes the page from the store */

    do
    :: todo > 0 ->
        atomic { /* zc_batch_discard_begin() */
            todo--;
#ifdef NO_DISCARD
            if
            :: quiet = false
            :: quiet = true
            fi;
#endif
#ifndef BUG_DISCARD_NOT_ANNOUNCED
            announced = !quiet
#endif
        }
        remove_key(me, false);
        if
        :: quiet -> last_del = ord
        :: else -> /* zc_batch_discard_end() */
            atomic {
                last_del = ord;
                discard_ord = ord;
                discard = CALLED
            }
            wait_progress(me, discard == DONE || discard == FAILED)
        fi;
        atomic { /* it returns */
            if
            :: discard == FAILED /* an error: only gone from the cache */
            :: else ->
                check_over(ord);
                assert(quiet || store_has == 0 || store_has > ord);
                done_order = max(done_order, ord);
                if
                :: quiet && store_has < ord -> store_has = 0
                :: else
                fi
            fi;
            check_kept();
            discard = 0;
            discard_ord = 0;
            quiet = false;
            ord = 0;
            rc = 0
        }
    :: else -> break
    od;
    returned++
}
#endif
