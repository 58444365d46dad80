/* SPDX-License-Identifier: BSD-2-Clause */
/* compact.c: payloads and records move to other memory. */

#if MOVES
/* zc_page_move_record_locked(): who looks at the old record finds what was there when it moved. */
inline move_record(x)
{
    E[x].ver = E[idx].ver;
    E[x].pl = E[idx].pl;
    E[x].state = E[idx].state;
    E[x].dirty = E[idx].dirty;
    E[x].waited = E[idx].waited;
    E[x].corrupt = E[idx].corrupt;
    E[x].listed = true;
    x_ = idx;
    idx = x;
    E[x_].listed = false;
    E[x_].gone = true;
    E[x_].refs = 0;
    entry_retire(x_)
}

#ifdef BUG_MOVED_FROM_UNDER_OTHERS
#define held_by_others(x) false
#else
#define held_by_others(x) (!E[x].listed || E[x].refs != 1)
#endif

proctype compactor(byte me; byte todo)
{
    byte w = NONE;
    byte new = NONE;

    do
    :: todo > 0 && idx != NONE && E[idx].state == LIVE -> /* move_payload() */
        atomic { /* movable_locked(), in a section */
            todo--;
            if
            :: idx != NONE && E[idx].state == LIVE && !pinned(E[idx].pl) ->
                section_enter(me);
                w = E[idx].pl;
                payload_new(new, P[w].raw)
            :: else
            fi
        }
        if
        :: new != NONE ->
            atomic { /* copy_and_swap(), swap_in() */
                touch_payload(w);
                P[new].content = P[w].content;
                if
                :: idx != NONE && E[idx].state == LIVE && E[idx].pl == w && !pinned(w) ->
                    reform(idx, new);
                    check_kept()
                :: else -> payload_free(new)
                fi;
                new = NONE
            }
        :: else
        fi;
        atomic {
            w = NONE;
            section_exit(me)
        }
    :: todo > 0 && idx != NONE && E[idx].state == LIVE -> /* move_record() */
        atomic {
            todo--;
            entry_new(new)
        }
        atomic { /* under the shard lock, and the list lock below it */
            if
            :: new == NONE
            :: new != NONE && idx != NONE && E[idx].state == LIVE && !held_by_others(idx) ->
                move_record(new);
                check_kept()
            :: else -> entry_free(new)
            fi;
            new = NONE
        }
    :: todo = 0;
        break
    od
}
#endif
