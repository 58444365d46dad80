/* SPDX-License-Identifier: BSD-2-Clause */
/* get.c, load.c */

#if GETS || PINS
/* ---- completion of a read ------------------------------------------------------------------ */

#ifdef BUG_LOAD_REPLACES_PUT
#define LOAD_COUNTS(x) (E[x].state == LOADING || E[x].state == LIVE)
#else
#define LOAD_COUNTS(x) (E[x].state == LOADING)
#endif

/* The store reads; zc_batch_complete(), build_version() */
inline answer_read(r)
{
    R[r].state = FINISHING;
    if
    :: R[r].status = (store_has == 0 -> MISS : OK)
#ifdef STORE_FAILS
    :: R[r].status = FAILED
#endif
    fi;
    R[r].content = store_has;
    if
    :: R[r].e != NONE && R[r].status == OK ->
        payload_new(rpl, true);
        if
        :: rpl == NONE /* delivered to its caller only */
        :: else -> P[rpl].content = R[r].content
        fi
    :: else
    fi
}

/* finish_page() */
inline finish_read(r)
{
    if
    :: R[r].e != NONE ->
        atomic { /* settle_locked() */
            touch_entry(R[r].e);
            if
            :: !LOAD_COUNTS(R[r].e) -> R[r].status = AGAIN
            :: LOAD_COUNTS(R[r].e) && rpl != NONE ->
                publish(R[r].e, rpl, false);
                check_kept();
                rpl = NONE
            :: LOAD_COUNTS(R[r].e) && rpl == NONE ->
                E[R[r].e].result = (R[r].status == OK -> AGAIN : R[r].status);
                unlink(R[r].e)
            fi;
            if
            :: rpl != NONE ->
                payload_free(rpl);
                rpl = NONE
            :: else
            fi
        }
        atomic { unref(R[r].e) }
    :: else
    fi;
    atomic {
        R[r].state = DONE;
        progress_signal()
    }
}

/* ---- load ---------------------------------------------------------------------------------- */

/* zc_load_pages() of one page; rc: OK with the content in got, MISS, AGAIN, FAILED */
inline load_page(me, r)
{
    atomic { /* add_page(), add_placeholder() */
        entry_new(fresh);
        if
        :: fresh == NONE -> rc = FAILED
#ifdef READ_THROUGH
#ifdef BUG_DELETED_READ_THROUGH
        :: fresh != NONE -> /* no room to keep it */
#else
        :: fresh != NONE && !announced -> /* no room to keep it; check_discard() */
#endif
            entry_free(fresh);
            fresh = NONE;
            rc = OK
#endif
        :: fresh != NONE && idx == NONE && !announced ->
            E[fresh].refs++;
            idx = fresh;
            rc = OK
        :: fresh != NONE && idx != NONE && E[idx].state == LOADING ->
            we = idx; /* wait_for_other() */
            E[we].refs++;
            wait_begin(me)
        :: fresh != NONE && idx != NONE && E[idx].state != LOADING -> rc = AGAIN
        :: fresh != NONE && idx == NONE && announced -> rc = AGAIN
        fi;
        if
        :: fresh != NONE && idx != fresh ->
            entry_free(fresh);
            fresh = NONE
        :: else
        fi;
        if
        :: rc == OK -> /* zc_batch_call() */
            R[r].state = CALLED;
            R[r].e = fresh;
            fresh = NONE
        :: else
        fi
    }
    if
    :: we != NONE ->
        do
        :: atomic { we != NONE && (awake & me) ->
            x_ = we;
            wait_goes_on(me, LOADING);
            if
            :: we == NONE ->
                rc = (E[x_].result == OK -> AGAIN : E[x_].result);
                unref(x_)
            :: else
            fi }
        :: we == NONE -> break
        od
    :: we == NONE && rc == OK ->
        wait_progress(me, R[r].state == DONE);
        atomic { /* deliver() */
            rc = R[r].status;
            got = R[r].content;
            R[r].state = FREE;
            R[r].e = 0;
            R[r].content = 0;
            R[r].status = 0
        }
    :: we == NONE && rc == AGAIN -> !announced /* looks again and again until it is over */
    :: we == NONE && rc == FAILED
    fi
}

/* What a get may return. */
inline check_seen(r)
{
    if
    :: rc == OK ->
        assert(got >= floor[r]);
        done_order = max(done_order, got)
    :: rc == MISS -> assert(last_del >= floor[r])
    :: rc == FAILED
    fi
}

/* ---- get and pin --------------------------------------------------------------------------- */

/* The look-up of a hit, in a section: rc is MISS, or the payload is in w. */
inline look()
{
    atomic { /* zc_index_find() */
        section_enter(me);
        e = idx;
        rc = (e == NONE -> MISS : OK)
    }
    if
    :: e != NONE ->
        atomic { /* the payload word */
            touch_entry(e);
            w = E[e].pl;
            e = NONE;
            rc = (w == NONE -> MISS : OK)
        }
    :: else
    fi
}
#endif

#if GETS
proctype getter(byte me; byte todo)
{
    byte e = NONE;
    byte w = NONE;
    byte we = NONE;
    byte fresh = NONE;
    byte got;
    byte rc;

    do
    :: todo > 0 ->
        atomic {
            todo--;
            floor[0] = done_order;
            rc = AGAIN
        }
        do
        :: rc == AGAIN ->
            look();
            atomic { /* zc_page_decode(), end of the section */
                if
                :: rc == OK ->
                    touch_payload(w);
                    got = P[w].content;
                    w = NONE
                :: else
                fi;
                section_exit(me)
            }
            if
            :: rc == MISS -> load_page(me, 0)
            :: else
            fi
        :: else -> break
        od;
        atomic { /* it returns */
            check_seen(0);
            got = 0;
            floor[0] = 0;
            rc = 0
        }
    :: else -> break
    od
}
#endif

#if PINS
proctype pinner(byte me; byte todo)
{
    byte e = NONE;
    byte w = NONE;
    byte we = NONE;
    byte fresh = NONE;
    byte new = NONE;
    byte got;
    byte rc;

    do
    :: todo > 0 ->
        atomic {
            todo--;
            floor[1] = done_order;
            rc = AGAIN
        }
        do
        :: rc == AGAIN ->
            look();
            atomic { /* try_pin(), end of the section */
                if
                :: rc == OK && P[w].raw ->
                    touch_payload(w);
                    P[w].pins++;
                    got = P[w].content
                :: rc == OK && !P[w].raw -> /* must be made raw */
                    touch_payload(w);
                    rc = AGAIN
                :: else
                fi;
                section_exit(me)
            }
            if
            :: rc == MISS ->
                load_page(me, 1);
                rc = (rc == OK -> AGAIN : rc) /* pin it now */
#ifdef DEMOTES
            :: rc == AGAIN -> /* zc_tier_promote() */
                atomic { /* find_form(), in a section */
                    section_enter(me);
                    if
                    :: idx != NONE && E[idx].pl == w -> payload_new(new, true)
                    :: else
                    fi
                }
                atomic { /* zc_page_decode(), swap_in_frame() */
                    if
                    :: new != NONE ->
                        touch_payload(w);
                        P[new].content = P[w].content;
                        if
                        :: idx != NONE && resident(idx) && E[idx].pl == w ->
                            reform(idx, new);
                            check_kept()
                        :: else -> payload_free(new)
                        fi;
                        new = NONE
                    :: else
                    fi;
                    section_exit(me);
                    w = NONE
                }
#endif
            :: else
            fi
        :: else -> break
        od;
        atomic { check_seen(1) } /* it returns */
        atomic { /* zc_unpin() */
            if
            :: rc == OK ->
                touch_payload(w);
                assert(P[w].content == got);
                unpin(w)
            :: else
            fi;
            w = NONE;
            got = 0;
            floor[1] = 0;
            rc = 0
        }
    :: else -> break
    od
}
#endif

/* ---- take ---------------------------------------------------------------------------------- */

#if TAKES
#ifdef BUG_TAKEN_BY_VERSION_ALONE
#define TAKEN_IS(x) (E[x].ver == ver && E[x].pl == w)
#else
#define TAKEN_IS(x) (E[x].ver == ver && x == held)
#endif

proctype taker(byte me; byte todo)
{
    byte e = NONE;
    byte w = NONE;
    byte we = NONE;
    byte held = NONE;
    byte ver;
    byte got;
    byte rc;

    do
    :: todo > 0 ->
        atomic {
            todo--;
            rc = AGAIN
        }
        do
        :: rc == AGAIN ->
            atomic { /* note_version() */
                if
                :: idx != NONE && resident(idx) ->
                    ver = E[idx].ver;
                    held = idx;
#ifndef BUG_TAKEN_BY_VERSION_ALONE
                    E[held].refs++;
#endif
                    skip
                :: else -> rc = MISS
                fi
            }
            if
            :: held != NONE ->
                atomic { /* zc_index_find(), in a section */
                    section_enter(me);
                    e = idx
                }
                atomic { /* the payload word */
                    if
                    :: e != NONE ->
                        touch_entry(e);
                        w = E[e].pl;
                        e = NONE
                    :: else
                    fi
                }
                atomic { /* zc_page_decode(), end of the section */
                    if
                    :: w != NONE ->
                        touch_payload(w);
                        got = P[w].content
                    :: else -> rc = MISS
                    fi;
                    section_exit(me)
                }
                atomic { /* unlink_taken() */
                    if
                    :: rc == MISS
                    :: rc == AGAIN && idx != NONE && E[idx].state == WRITING ->
                        we = idx;
                        wait_begin(me)
                    :: rc == AGAIN && idx != NONE && E[idx].state == LIVE && TAKEN_IS(idx) ->
                        assert(P[E[idx].pl].content == got);
                        if
                        :: E[idx].dirty -> /* ZCACHE_UNWRITTEN: now it is the caller's */
                            order++;
                            last_del = order;
                            reg = 0
                        :: else
                        fi;
                        unlink(idx);
                        rc = OK
                    :: else
                    fi
                }
                do
                :: atomic { we != NONE && (awake & me) -> wait_goes_on(me, WRITING) }
                :: we == NONE -> break
                od;
                atomic {
#ifndef BUG_TAKEN_BY_VERSION_ALONE
                    unref(held);
#endif
                    held = NONE;
                    w = NONE;
                    ver = 0;
                    got = 0
                }
            :: else
            fi
        :: else -> break
        od;
        rc = 0
    :: else -> break
    od
}
#endif
