/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The store's own thread: every callback returns ZCACHE_PENDING, and this thread completes the
 * batch, at once or any time later.
 */
proctype store()
{
    byte b = NONE;
    byte rpl = NONE;
    bool failed;

end_idle:
    do
    :: atomic { B[0].state == CALLED ->
        b = 0;
        answer_write(b);
        goto finish }
    :: atomic { B[1].state == CALLED ->
        b = 1;
        answer_write(b);
        goto finish }
#if DELETES
    :: atomic { discard == CALLED ->
        if
        :: discard_effect()
#ifdef STORE_FAILS
        :: failed = true
#endif
        fi;
        discard = FINISHING }
        atomic { /* finish_discard() */
            announced = false;
            discard = (failed -> FAILED : DONE);
            failed = false;
            progress_signal()
        }
#endif
#if GETS
    :: atomic { R[0].state == CALLED -> answer_read(0) }
        finish_read(0)
#endif
#if PINS
    :: atomic { R[1].state == CALLED -> answer_read(1) }
        finish_read(1)
#endif
    od;

finish:
    finish_write(b);
    b = NONE;
    goto end_idle
}
