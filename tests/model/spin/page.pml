/* SPDX-License-Identifier: BSD-2-Clause */
/* The steps of a page, under its shard lock: entry.c, page.c, lru.c, zc_remove_key(). */

/* zc_cond_broadcast() on the shard's condition */
inline broadcast()
{
    awake = awake | asleep;
    asleep = 0
}

/* zc_page_wake_locked() */
inline wake(x)
{
    if
    :: E[x].waited -> broadcast()
    :: else
    fi
}

/* zc_entry_become() with its table of what is legal */
inline become(x, to)
{
#ifdef BUG_NO_TABLE
    E[x].state = (E[x].state == DEAD -> DEAD : to)
#else
    assert((E[x].state == LOADING && (to == LIVE || to == DEAD)) ||
           (E[x].state == LIVE && (to == WRITING || to == DEAD)) ||
           (E[x].state == WRITING && to == LIVE));
    E[x].state = to
#endif
}

/* zc_page_publish_locked() */
inline publish(x, w, is_dirty)
{
    w_ = E[x].pl;
    E[x].ver++;
    E[x].corrupt = false;
    E[x].pl = w;
    E[x].dirty = is_dirty;
    if
    :: E[x].state == LOADING ->
        become(x, LIVE);
        E[x].listed = true;
        wake(x)
    :: else -> payload_retire(w_)
    fi
}

/* zc_page_reform_locked() */
inline reform(x, w)
{
    assert(resident(x));
    w_ = E[x].pl;
    E[x].pl = w;
    payload_retire(w_)
}

/* zc_page_unlink_locked() */
inline unlink(x)
{
    assert(idx == x);
    x_ = x;
    idx = NONE;
    w_ = E[x_].pl;
    if
    :: resident(x_) ->
        E[x_].dirty = false;
        E[x_].listed = false;
        E[x_].gone = true
    :: else
    fi;
    become(x_, DEAD);
    E[x_].pl = NONE;
    wake(x_);
    unref(x_);
    if
    :: w_ != NONE -> payload_retire(w_)
    :: else
    fi
}

/* zc_lru_putback() */
inline putback(x)
{
    touch_entry(x);
    assert(E[x].isolated);
    E[x].isolated = false;
    if
#ifdef BUG_GONE_IS_LISTED
    :: true -> E[x].listed = true
#else
    :: !E[x].gone -> E[x].listed = true
#endif
    :: else
    fi
}

/* ---- zc_page_wait_locked() ----------------------------------------------------------------- */

/* Until it drops the lock, on the entry we. */
inline wait_begin(me)
{
    E[we].refs++;
    E[we].waited = true;
    asleep = asleep | me
}

/* It has the lock again: we is NONE if the entry has left @state. */
inline wait_goes_on(me, wstate)
{
    awake = awake & ~me;
    touch_entry(we);
    if
    :: E[we].state == wstate ->
        E[we].waited = true;
        asleep = asleep | me
    :: else -> wait_end()
    fi
}

inline wait_end()
{
    E[we].waited = false;
#ifndef BUG_OTHERS_NOT_TOLD
    broadcast(); /* whoever still waits marks it again */
#endif
    unref(we);
    we = NONE
}

/* ---- zc_remove_key() ----------------------------------------------------------------------- */

/* One look, under the shard lock. */
inline remove_look(me)
{
    if
    :: idx == NONE -> rc = MISS
#ifndef BUG_WRITE_NOT_WAITED_FOR
    :: idx != NONE && E[idx].state == WRITING ->
        we = idx;
        wait_begin(me)
#endif
    :: else ->
        rc = (E[idx].state == LOADING -> MISS : OK);
        unlink(idx)
    fi;
    if
    :: rc != AGAIN ->
        order++;
        ord = order;
        reg = 0;
        drop_to_store()
    :: else
    fi
}

/* The result is in rc, its number in ord. */
inline remove_key(me, may_time_out)
{
    rc = AGAIN;
    do
    :: atomic { rc == AGAIN && we == NONE -> remove_look(me) }
    :: atomic { we != NONE && (awake & me) ->
        wait_goes_on(me, WRITING);
#ifndef BUG_LOCK_DROPPED_AFTER_WAIT
        if
        :: we == NONE -> remove_look(me)
        :: else
        fi
#endif
        }
#ifdef PUT_TIMES_OUT
    :: atomic { may_time_out && we != NONE && (asleep & me) ->
        asleep = asleep & ~me;
        rc = (E[we].state == WRITING -> TIMEDOUT : AGAIN);
        wait_end() }
#endif
    :: rc != AGAIN -> break
    od
}
