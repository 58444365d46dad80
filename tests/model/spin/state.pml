/* SPDX-License-Identifier: BSD-2-Clause */
/* What the code has, and what must hold: entry.h, core.c, epoch.c, batch.h. */

#define NONE 255

/* enum zc_state */
#define LOADING 0
#define LIVE    1
#define WRITING 2
#define DEAD    3

/* Results. */
#define OK       0
#define MISS     1
#define AGAIN    2
#define FAILED   3
#define TIMEDOUT 4

/* Memory. */
#define FREE    0
#define USED    1
#define RETIRED 2

/* enum zc_batch_state; DONE: its maker has not seen it yet */
#define FILLING   1
#define CALLED    2
#define FINISHING 3
#define DONE      4

/* Threads, one bit each. */
#define T_A    1
#define T_B    2
#define T_DEL  4
#define T_SHR  8
#define T_GET  16
#define T_PIN  32
#define T_TAKE 64
#define T_MOVE 128

#ifndef NE
#define NE 3 /* records there is memory for; a put that gets none fails */
#endif
#define NP 4 /* payloads */
#define NB 2

/* struct zc_entry */
typedef Entry {
    byte mem;
    byte state;
    byte ver;
    byte pl;     /* payload word */
    byte refs;
    byte result; /* fill: result of a load that brought nothing to keep */
    byte guard;  /* sections that were open when it was retired */
    bool dirty;
    bool waited;
    bool corrupt;
    bool listed;
    bool isolated;
    bool gone
};

/* struct zc_payload, struct zc_frame */
typedef Payload {
    byte mem;
    byte content;
    byte pins;
    byte guard;
    bool raw;
    bool last_frees /* ZC_FRAME_RETIRED */
};

/* struct zc_batch of a write */
typedef Batch {
    byte state;
    byte e;
    byte ver;
    byte pin;     /* payload whose bytes the store is given in place; NONE: a copy */
    byte content; /* of these bytes */
    bool isolated;
    bool held /* its maker waits */
};

/* struct zc_batch of a read */
typedef Read {
    byte state;
    byte e;       /* placeholder; NONE: read through */
    byte content; /* what the store had */
    byte status
};

byte idx = NONE; /* the index: the key's record */
Entry E[NE];
Payload P[NP];
Batch B[NB];
#if GETS || PINS
Read R[2];
#endif
bool announced; /* zc_batch_discarding() */
byte discard;   /* the discard's batch */
byte inside;    /* threads in a section */
byte asleep;    /* threads in zc_cond_wait() on the shard's condition */
byte awake;     /* threads it has woken */
byte listening; /* zc_progress: threads counted in */
byte signalled; /* ... for whom the sequence number has moved */

/* ---- what must hold ------------------------------------------------------------------------ */

byte order = 1;      /* number of the last put, delete, failed put that took effect */
byte reg = 1;        /* what the page is: number of its put; 0 none */
byte done_order = 1; /* the newest that calls which have returned have put, deleted or seen */
byte last_del;       /* number of the last delete that took effect */
byte store_has = 1;  /* content of the store; 0 none */
byte store_high = 1; /* nothing older may arrive there any more */
byte writes_out;     /* writes in the store's hands */
byte returned;       /* putters and deleters that are through */

#if GETS || PINS
byte floor[2];       /* what a get or pin under way may not fall below */
#endif

hidden byte i_; /* counters and copies within a step */
hidden byte w_;
hidden byte x_;

#define max(a, b)   ((a) > (b) -> (a) : (b))
#define resident(x) (E[x].state == LIVE || E[x].state == WRITING)
#define pinned(w)   (P[w].raw && P[w].pins > 0) /* zc_word_pinned() */

/* Nobody may look at what is free. */
inline touch_entry(x)
{
    assert(E[x].mem != FREE)
}

inline touch_payload(w)
{
    assert(P[w].mem != FREE)
}

/* Nothing is lost: what was put last is in the cache, or in the store if it is called clean. */
inline check_kept()
{
    if
    :: idx != NONE && resident(idx) ->
        assert(P[E[idx].pl].content == reg);
        assert(E[idx].dirty || store_has == reg)
    :: else ->
        assert(reg == 0 || store_has == reg)
    fi
}

/* Nothing up to @ord is on its way to the store, and nothing may come any more. */
inline check_over(ord)
{
    assert(B[0].state != CALLED || B[0].content > ord);
    assert(B[1].state != CALLED || B[1].content > ord);
    store_high = max(store_high, ord)
}

/* A failed put has removed a page that may be loaded again. */
#if GETS || PINS
#define LOADED(x) (!E[x].dirty && P[E[x].pl].content == store_has)
#define min(a, b) ((a) < (b) -> (a) : (b))
inline drop_to_store()
{
    if
    :: me == T_DEL
    :: else ->
        reg = store_has;
        done_order = min(done_order, reg);
        floor[0] = min(floor[0], reg);
        floor[1] = min(floor[1], reg)
    fi
}
#else
#define LOADED(x) false
inline drop_to_store()
{
    skip
}
#endif

/* ---- memory -------------------------------------------------------------------------------- */

inline payload_new(w, is_raw)
{
    w = 0;
    do
    :: w < NP && P[w].mem != FREE -> w++
    :: else -> break
    od;
    if
    :: w == NP -> w = NONE
    :: else ->
        P[w].mem = USED;
        P[w].raw = is_raw
    fi
}

inline payload_free(w)
{
    P[w].mem = FREE;
    P[w].content = 0;
    P[w].pins = 0;
    P[w].guard = 0;
    P[w].raw = false;
    P[w].last_frees = false
}

/* free_retired(): the grace period is over */
inline payload_grace(w)
{
    if
#ifndef BUG_PINS_IGNORED
    :: P[w].pins > 0 -> P[w].last_frees = true
#endif
    :: else -> payload_free(w)
    fi
}

/* zc_core_retire_word() */
inline payload_retire(w)
{
    assert(P[w].mem == USED);
    P[w].mem = RETIRED;
#ifndef BUG_FREED_EARLY
    P[w].guard = inside;
#endif
    if
    :: P[w].guard == 0 -> payload_grace(w)
    :: else
    fi
}

/* zc_core_unpin() */
inline unpin(w)
{
    touch_payload(w);
    assert(P[w].pins > 0);
    P[w].pins--;
    if
    :: P[w].pins == 0 && P[w].last_frees -> payload_free(w)
    :: else
    fi
}

inline entry_new(x)
{
    x = 0;
    do
    :: x < NE && E[x].mem != FREE -> x++
    :: else -> break
    od;
    if
    :: x == NE -> x = NONE
    :: else ->
        E[x].mem = USED;
        E[x].state = LOADING;
        E[x].pl = NONE;
        E[x].refs = 1
    fi
}

inline entry_free(x)
{
    E[x].mem = FREE;
    E[x].state = 0;
    E[x].ver = 0;
    E[x].pl = 0;
    E[x].refs = 0;
    E[x].result = 0;
    E[x].guard = 0;
    E[x].dirty = false;
    E[x].waited = false;
    E[x].corrupt = false;
    E[x].listed = false;
    E[x].isolated = false;
    E[x].gone = false
}

inline entry_retire(x)
{
    E[x].mem = RETIRED;
#ifndef BUG_FREED_EARLY
    E[x].guard = inside;
#endif
    if
    :: E[x].guard == 0 -> entry_free(x)
    :: else
    fi
}

/* zc_core_unref_entry() */
inline unref(x)
{
    touch_entry(x);
    assert(E[x].refs > 0);
    E[x].refs--;
    if
    :: E[x].refs == 0 ->
        assert(E[x].mem == USED && E[x].state == DEAD && idx != x && !E[x].listed);
        entry_retire(x)
    :: else
    fi
}

/* zc_epoch_enter() */
#define section_enter(me) inside = inside | me

/* zc_epoch_exit(), and the frees that it was the last to hold up */
inline section_exit(me)
{
    inside = inside & ~me;
    i_ = 0;
    do
    :: i_ < NP ->
        if
        :: P[i_].guard & me ->
            P[i_].guard = P[i_].guard & ~me;
            if
            :: P[i_].guard == 0 -> payload_grace(i_)
            :: else
            fi
        :: else
        fi;
        i_++
    :: else -> break
    od;
    i_ = 0;
    do
    :: i_ < NE ->
        if
        :: E[i_].guard & me ->
            E[i_].guard = E[i_].guard & ~me;
            if
            :: E[i_].guard == 0 -> entry_free(i_)
            :: else
            fi
        :: else
        fi;
        i_++
    :: else -> break
    od
}

/* ---- progress ------------------------------------------------------------------------------ */

/* zc_progress_signal() */
#define progress_signal() signalled = signalled | listening

/* zc_batch_wait(): count in and note the sequence number, look, wait, look again. */
inline wait_progress(me, over)
{
    atomic {
        listening = listening | me;
        signalled = signalled & ~me
    }
    do
    :: atomic { over ->
        listening = listening & ~me;
        signalled = signalled & ~me;
        break }
    :: atomic { !(over) && (signalled & me) -> signalled = signalled & ~me }
    od
}
