/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * index: it holds exactly what was inserted and not removed, however far it has grown, and a lookup
 * without a lock never misses a key that is there all the time.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "api/support.h"
#include "assertion.h"
#include "epoch.h"
#include "index.h"
#include "mathx.h"

#define ALIVE UINT64_C(0x6c6976696e676f6e)
#define GONE  UINT64_C(0x676f6e65676f6e65)

static uint64_t seed;

/* ---------------------------------------------------------------------------------------------- */
/* An index over memory that can refuse. */

struct fixture {
    struct zc_mem mem;
    struct zc_index *index;
    _Atomic long mem_bytes;
    _Atomic long mem_left; /* allocations until it refuses */
};

static void *mem_alloc(void *ctx, size_t size)
{
    struct fixture *f = ctx;
    void *ptr;

    if (atomic_fetch_sub(&f->mem_left, 1) <= 0) {
        atomic_store(&f->mem_left, 0);
        return NULL;
    }
    ptr = aligned_alloc(ZC_CACHE_LINE, zc_align_up(size, ZC_CACHE_LINE));
    REQUIRE(ptr != NULL);
    memset(ptr, 0, size);
    atomic_fetch_add(&f->mem_bytes, (long)size);
    return ptr;
}

static void mem_free(void *ctx, void *ptr, size_t size)
{
    struct fixture *f = ctx;

    atomic_fetch_sub(&f->mem_bytes, (long)size);
    free(ptr);
}

static void setup_mem(struct fixture *f)
{
    memset(f, 0, sizeof(*f));
    f->mem = (struct zc_mem){mem_alloc, mem_free, f};
    f->mem_left = 1 << 30;
}

static void setup(struct fixture *f, uint64_t max_entries)
{
    setup_mem(f);
    assert_int_equal(zc_index_create(&f->mem, max_entries, &f->index), 0);
    assert_int_equal(zc_index_entries(f->index), 0);
}

static int free_entry(void *ctx, struct zc_entry *e)
{
    long *n = ctx;

    if (n != NULL) {
        ++*n;
    }
    zc_entry_set_tag(e, GONE);
    free(e);
    return 0;
}

static void teardown(struct fixture *f)
{
    assert_int_equal(zc_index_bytes(f->index), f->mem_bytes);
    zc_index_clear(f->index, free_entry, NULL);
    assert_int_equal(zc_index_entries(f->index), 0);
    zc_index_destroy(&f->index);
    assert_null(f->index);
    assert_int_equal(f->mem_bytes, 0);
}

static struct zc_entry *find(struct fixture *f, uint32_t slot, struct zcache_key key)
{
    return zc_index_find(f->index, zc_index_hash(slot, key), slot, key);
}

static struct zc_entry *insert_locked(struct fixture *f,
                                      struct zc_shard *shard,
                                      uint32_t slot,
                                      struct zcache_key key) ZC_REQUIRES(shard->lock)
{
    const uint64_t hash = zc_index_hash(slot, key);
    struct zc_entry *e = malloc(sizeof(*e));

    REQUIRE(e != NULL);
    zc_entry_init(e, slot, 1, key);
    zc_entry_set_tag(e, ALIVE);
    REQUIRE(zc_shard_find_locked(shard, hash, slot, key) == NULL);
    zc_shard_insert_locked(f->index, shard, hash, e);
    REQUIRE(zc_shard_find_locked(shard, hash, slot, key) == e);
    return e;
}

static struct zc_entry *insert(struct fixture *f, uint32_t slot, struct zcache_key key)
{
    struct zc_shard *shard = zc_index_shard(f->index, zc_index_hash(slot, key));
    struct zc_entry *e;

    zc_lock_acquire(&shard->lock);
    e = insert_locked(f, shard, slot, key);
    zc_lock_release(&shard->lock);
    return e;
}

/* Takes it out of the index; the memory is the caller's. */
static struct zc_entry *unlink_entry(struct fixture *f, uint32_t slot, struct zcache_key key)
{
    const uint64_t hash = zc_index_hash(slot, key);
    struct zc_shard *shard = zc_index_shard(f->index, hash);
    struct zc_entry *e;

    zc_lock_acquire(&shard->lock);
    e = zc_shard_find_locked(shard, hash, slot, key);
    REQUIRE(e != NULL);
    zc_shard_remove_locked(shard, hash, e);
    REQUIRE(zc_shard_find_locked(shard, hash, slot, key) == NULL);
    zc_lock_release(&shard->lock);
    return e;
}

static void insert_range(struct fixture *f, uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++) {
        (void)insert(f, 0, key_of(1, i));
    }
}

static void expect_range(struct fixture *f, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        struct zc_entry *e = find(f, 0, key_of(1, i));

        if (e == NULL || e->key.object != 1 || e->key.page != i) {
            fail_msg("key %lu is not there", (unsigned long)i);
        }
    }
    assert_null(find(f, 0, key_of(1, n)));
    assert_int_equal(zc_index_entries(f->index), n);
}

/* The shards that the keys of insert_range() are in; the index does not show them. */
static uint64_t buckets_of(struct fixture *f, uint64_t n_keys)
{
    struct zc_shard *shard;
    struct zc_shard *first = NULL;
    struct zc_shard *last = NULL;
    uint64_t n = 0;

    for (uint64_t i = 0; i < n_keys; i++) {
        shard = zc_index_shard(f->index, zc_index_hash(0, key_of(1, i)));
        first = first == NULL || shard < first ? shard : first;
        last = last == NULL || shard > last ? shard : last;
    }
    for (shard = first; shard != NULL && shard <= last; shard++) {
        n += atomic_load(&shard->n_buckets);
    }
    return n;
}

/* ---------------------------------------------------------------------------------------------- */
/* One thread. */

static void keys_differ_in_every_part(void **state)
{
    const struct zcache_key key = {5, 6};
    struct fixture f;

    (void)state;
    setup(&f, 1000);
    assert_null(find(&f, 0, key));
    (void)insert(&f, 0, key);
    assert_null(find(&f, 1, key));
    assert_null(find(&f, ZC_OWNER_SLOT, key));
    assert_null(find(&f, 0, key_of(6, 5)));
    assert_null(find(&f, 0, key_of(5, 5)));
    assert_null(find(&f, 0, key_of(5 | UINT64_C(1) << 63, 6)));
    assert_null(find(&f, 0, key_of(5, 6 | UINT64_C(1) << 63)));
    (void)insert(&f, 1, key);
    (void)insert(&f, ZC_OWNER_SLOT, key);
    assert_int_equal(zc_entry_slot(find(&f, 0, key)), 0);
    assert_int_equal(zc_entry_slot(find(&f, 1, key)), 1);
    assert_int_equal(zc_entry_slot(find(&f, ZC_OWNER_SLOT, key)), ZC_OWNER_SLOT);
    assert_int_equal(zc_index_entries(f.index), 3);
    teardown(&f);
}

/* Chains are compared by key, not by hash: here all entries share one. */
static void equal_hashes_are_told_apart(void **state)
{
    const uint64_t hash = UINT64_C(0x0123456789abcdef);
    struct zc_entry entries[20];
    struct zc_shard *shard;
    struct fixture f;

    (void)state;
    setup(&f, 1000);
    shard = zc_index_shard(f.index, hash);
    zc_lock_acquire(&shard->lock);
    for (unsigned i = 0; i < 20; i++) {
        zc_entry_init(&entries[i], i % 2, 0, key_of(1, i / 2));
        zc_shard_insert_locked(f.index, shard, hash, &entries[i]);
    }
    for (unsigned i = 0; i < 20; i += 3) { /* head, middle and tail of the chain */
        zc_shard_remove_locked(shard, hash, &entries[19 - i]);
    }
    zc_lock_release(&shard->lock);
    for (unsigned i = 0; i < 20; i++) {
        assert_ptr_equal(zc_index_find(f.index, hash, i % 2, key_of(1, i / 2)),
                         (19 - i) % 3 == 0 ? NULL : &entries[i]);
    }
    zc_lock_acquire(&shard->lock);
    for (unsigned i = 0; i < 20; i++) {
        if ((19 - i) % 3 != 0) {
            zc_shard_remove_locked(shard, hash, &entries[i]);
        }
    }
    zc_lock_release(&shard->lock);
    teardown(&f);
}

#define MODEL_KEYS  3000
#define MODEL_STEPS 60000

static void random_operations_do_what_a_model_does(void **state)
{
    static struct zc_entry *model[MODEL_KEYS];
    struct rng rng = {seed};
    uint64_t n_present = 0;
    struct fixture f;

    (void)state;
    setup(&f, MODEL_KEYS / 2);
    memset(model, 0, sizeof(model));
    for (unsigned step = 0; step < MODEL_STEPS / TEST_SLOWDOWN; step++) {
        const uint64_t i = rng_below(&rng, MODEL_KEYS);
        const uint32_t slot = i % 3 == 0 ? ZC_OWNER_SLOT : (uint32_t)(i % 3);
        const struct zcache_key key = key_of(i % 7, i);

        assert_ptr_equal(find(&f, slot, key), model[i]);
        if (model[i] == NULL) {
            model[i] = insert(&f, slot, key);
            n_present++;
        } else if (rng_below(&rng, 3) == 0) {
            assert_ptr_equal(unlink_entry(&f, slot, key), model[i]);
            free(model[i]);
            model[i] = NULL;
            n_present--;
        }
        assert_ptr_equal(find(&f, slot, key), model[i]);
    }
    assert_int_equal(zc_index_entries(f.index), n_present);
    teardown(&f);
}

static void remove_absent(void *arg)
{
    struct zc_entry e;
    struct fixture *f = arg;
    const uint64_t hash = zc_index_hash(0, key_of(9, 9));

    zc_entry_init(&e, 0, 0, key_of(9, 9));
    zc_shard_remove_locked(zc_index_shard(f->index, hash), hash, &e);
}

static void destroy_full(void *arg)
{
    struct fixture *f = arg;

    zc_index_destroy(&f->index);
}

static void misuse_is_stopped(void **state)
{
    struct zc_shard *shard;
    struct fixture f;

    (void)state;
    setup(&f, 1000);
    shard = zc_index_shard(f.index, zc_index_hash(0, key_of(9, 9)));
    zc_lock_acquire(&shard->lock);
    assert_non_null(assertion_of(remove_absent, &f));
    zc_lock_release(&shard->lock);
    insert_range(&f, 0, 100);
    assert_non_null(assertion_of(destroy_full, &f));
    assert_non_null(f.index);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Growth and memory. */

static void it_grows_with_its_entries(void **state)
{
    const uint64_t n = 200000 / TEST_SLOWDOWN;
    uint64_t bytes_before;
    struct fixture f;

    (void)state;
    setup(&f, n + n / 8); /* no shard has so many more than its part */
    bytes_before = zc_index_bytes(f.index);
    insert_range(&f, 0, n);
    expect_range(&f, n);
    assert_true(buckets_of(&f, n) >= n / ZC_BUCKET_LOAD);
    assert_true(buckets_of(&f, n) > UINT64_C(8) * ZC_SEGMENT_BUCKETS);
    assert_true(zc_index_bytes(f.index) > bytes_before);
    assert_true(zc_index_bytes(f.index) < n * 12 + 64 * sizeof(struct zc_segment));
    teardown(&f);
}

static void beyond_its_bound_only_chains_get_longer(void **state)
{
    const uint64_t n = 20000;
    uint64_t bytes_before;
    uint64_t n_buckets;
    struct fixture f;

    (void)state;
    setup(&f, 16);
    insert_range(&f, 0, 10000);
    bytes_before = zc_index_bytes(f.index);
    n_buckets = buckets_of(&f, 10000);
    assert_true(n_buckets <= UINT64_C(4) * ZC_SEGMENT_BUCKETS);
    insert_range(&f, 10000, n);
    assert_int_equal(zc_index_bytes(f.index), bytes_before);
    assert_int_equal(buckets_of(&f, n), n_buckets);
    expect_range(&f, n);
    teardown(&f);
}

static void refused_memory_only_makes_chains_longer(void **state)
{
    const uint64_t n = 20000;
    uint64_t n_buckets;
    struct fixture f;

    (void)state;
    setup(&f, 2 * n);
    f.mem_left = 0;
    insert_range(&f, 0, n);
    n_buckets = buckets_of(&f, n);
    assert_true(n_buckets < n / 12);
    expect_range(&f, n);
    f.mem_left = 1 << 30;
    insert_range(&f, n, 2 * n);
    assert_true(buckets_of(&f, 2 * n) > 2 * n_buckets);
    expect_range(&f, 2 * n);
    teardown(&f);
}

static void every_refused_create_leaves_nothing(void **state)
{
    long allowed = 0;
    int rc;

    (void)state;
    do {
        struct fixture f;

        setup_mem(&f);
        f.mem_left = allowed++;
        rc = zc_index_create(&f.mem, 1000, &f.index);
        if (rc == 0) {
            zc_index_destroy(&f.index);
        } else {
            assert_int_equal(rc, -ENOMEM);
            assert_null(f.index);
        }
        zc_index_destroy(&f.index); /* NULL does nothing */
        assert_int_equal(f.mem_bytes, 0);
    } while (rc != 0);
    assert_true(allowed > 4);
}

static void any_bound_makes_an_index(void **state)
{
    static const uint64_t bounds[] = {0, 1, 4095, 4096, 65535, 65536, 262144, 262145, 1 << 26};

    (void)state;
    for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
        struct fixture f;

        setup(&f, bounds[i]);
        insert_range(&f, 0, 2000);
        expect_range(&f, 2000);
        teardown(&f);
    }
}

static void clear_gives_back_each_entry_once(void **state)
{
    struct fixture f;
    long n_freed = 0;

    (void)state;
    setup(&f, 5000);
    insert_range(&f, 0, 5000);
    zc_index_clear(f.index, free_entry, &n_freed);
    assert_int_equal(n_freed, 5000);
    expect_range(&f, 0);
    insert_range(&f, 0, 100);
    expect_range(&f, 100);
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Walking. */

struct walk {
    unsigned seen[40000];
    long n_seen;
    long stop_at;
};

static int note_entry(void *ctx, struct zc_entry *e)
{
    struct walk *w = ctx;

    w->seen[e->key.page]++;
    return ++w->n_seen == w->stop_at ? -EINTR : 0;
}

static void a_walk_sees_everything_once(void **state)
{
    static struct walk w;
    struct zc_index_cursor cursor = {0};
    struct fixture f;

    (void)state;
    memset(&w, 0, sizeof(w));
    setup(&f, 10000);
    assert_int_equal(zc_index_walk(f.index, &cursor, note_entry, &w), 0);
    assert_int_equal(w.n_seen, 0);
    cursor = (struct zc_index_cursor){0};
    insert_range(&f, 0, 10000);
    assert_int_equal(zc_index_walk(f.index, &cursor, note_entry, &w), 0);
    assert_int_equal(w.n_seen, 10000);
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(w.seen[i], 1);
    }
    /* The cursor is at the end, and stays there. */
    assert_int_equal(zc_index_walk(f.index, &cursor, note_entry, &w), 0);
    assert_int_equal(w.n_seen, 10000);
    teardown(&f);
}

/* It stops in the middle of buckets and goes on after the index has grown, until it is through. */
static void a_walk_goes_on_after_growth(void **state)
{
    static struct walk w;
    struct zc_index_cursor cursor = {0};
    uint64_t n = 2000;
    unsigned n_stops = 0;
    struct fixture f;

    (void)state;
    memset(&w, 0, sizeof(w));
    setup(&f, 40000);
    insert_range(&f, 0, n);
    for (;;) {
        w.stop_at = w.n_seen + 100;
        if (zc_index_walk(f.index, &cursor, note_entry, &w) == 0) {
            break;
        }
        n_stops++;
        insert_range(&f, n, ZC_MIN(n + 500, 40000));
        n = ZC_MIN(n + 500, 40000);
    }
    assert_true(n_stops > 20);
    assert_true(n > 10000);
    for (int i = 0; i < 2000; i++) {
        assert_true(w.seen[i] >= 1);
    }
    teardown(&f);
}

/* ---------------------------------------------------------------------------------------------- */
/* Lookups while it grows. */

#define WRITERS    2
#define READERS    2
#define ROUNDS     5
#define KEYS_EACH  8000u /* of a writer, for good */
#define CHURN_EACH 8u    /* of a writer, that come and go */

/* The life of a key that comes and goes: a count whose low bits say where in the cycle it is. */
enum {
    ABSENT = 0,
    COMING = 1,
    PRESENT = 2,
    GOING = 3
};

struct crowd {
    struct fixture f;
    struct zc_epoch *epoch;
    _Atomic uint64_t n_there[WRITERS]; /* keys below it are there for good */
    _Atomic uint64_t life[WRITERS][CHURN_EACH];
    _Atomic bool stop;
    _Atomic long n_missed;
    _Atomic long n_ghosts;
    _Atomic long n_dead;
    _Atomic long n_looks;
};

struct member {
    struct crowd *c;
    struct zc_epoch_record *record;
    unsigned number;
};

static void free_retired(void *ctx, void *ptr, size_t bytes, void *arg)
{
    (void)ctx;
    (void)bytes;
    (void)arg;
    (void)free_entry(NULL, ptr);
}

static void churn(const struct member *w, unsigned i)
{
    struct crowd *c = w->c;
    _Atomic uint64_t *life = &c->life[w->number][i];
    const struct zcache_key key = key_of(100 + w->number, i);
    const uint64_t now = atomic_load(life);

    zc_epoch_stock(w->record, 1);
    atomic_store(life, now + 1);
    if ((now & 3) == ABSENT) {
        (void)insert(&c->f, 0, key);
    } else {
        struct zc_entry *e = unlink_entry(&c->f, 0, key);

        zc_epoch_retire(w->record, e, sizeof(*e), NULL);
    }
    atomic_store(life, now + 2);
    if (zc_epoch_due(w->record)) {
        zc_epoch_poll(w->record);
    }
}

static void *writer_main(void *arg)
{
    const struct member *w = arg;
    struct crowd *c = w->c;

    for (unsigned i = 0; i < KEYS_EACH / TEST_SLOWDOWN; i++) {
        (void)insert(&c->f, 0, key_of(w->number, i));
        atomic_store(&c->n_there[w->number], i + 1);
        if (i % 4 == 0) {
            churn(w, i / 4 % CHURN_EACH);
        }
    }
    return NULL;
}

/* In a section. */
static void look_up(struct crowd *c, struct rng *rng)
{
    const unsigned writer = (unsigned)rng_below(rng, WRITERS);
    const uint64_t n = atomic_load(&c->n_there[writer]);
    const unsigned i = (unsigned)rng_below(rng, CHURN_EACH);
    struct zc_entry *e;
    uint64_t life;

    if (n > 0) {
        e = find(&c->f, 0, key_of(writer, rng_below(rng, n)));
        atomic_fetch_add(e == NULL ? &c->n_missed : &c->n_looks, 1);
    }
    life = atomic_load(&c->life[writer][i]);
    e = find(&c->f, 0, key_of(100 + writer, i));
    if (e != NULL && zc_entry_tag(e) != ALIVE) {
        atomic_fetch_add(&c->n_dead, 1);
    }
    if (atomic_load(&c->life[writer][i]) == life) {
        if ((life & 3) == PRESENT && e == NULL) {
            atomic_fetch_add(&c->n_missed, 1);
        } else if ((life & 3) == ABSENT && e != NULL) {
            atomic_fetch_add(&c->n_ghosts, 1);
        }
    }
}

static void *reader_main(void *arg)
{
    const struct member *r = arg;
    struct rng rng = {seed + r->number};

    while (!atomic_load(&r->c->stop)) {
        zc_epoch_enter(r->record);
        for (int i = 0; i < 20; i++) {
            look_up(r->c, &rng);
        }
        zc_epoch_exit(r->record);
    }
    return NULL;
}

static void join_crowd(struct crowd *c, struct member *m, unsigned number, pthread_t *thread)
{
    *m = (struct member){.c = c, .number = number};
    assert_int_equal(zc_epoch_register(c->epoch, &m->record), 0);
    assert_int_equal(pthread_create(thread, NULL, number < WRITERS ? writer_main : reader_main, m),
                     0);
}

static void run_crowd(struct crowd *c)
{
    struct member members[WRITERS + READERS];
    pthread_t threads[WRITERS + READERS];

    for (unsigned i = WRITERS + READERS; i-- > 0;) {
        join_crowd(c, &members[i], i, &threads[i]);
    }
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    atomic_store(&c->stop, true);
    for (int i = WRITERS; i < WRITERS + READERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
}

static void lookups_are_right_while_it_grows(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        static struct crowd c;

        memset(&c, 0, sizeof(c));
        setup(&c.f, UINT64_C(1) * WRITERS * KEYS_EACH);
        assert_int_equal(zc_epoch_create(&c.f.mem, free_retired, NULL, 4096, &c.epoch), 0);
        run_crowd(&c);
        assert_int_equal(c.n_missed, 0);
        assert_int_equal(c.n_ghosts, 0);
        assert_int_equal(c.n_dead, 0);
        zc_epoch_destroy(&c.epoch);
        teardown(&c.f);
    }
}

/*
 * A split is so short that a lookup rarely meets one.  Here a thread makes a shard look as it does in
 * the middle of one, so that a lookup that finds nothing must not believe it.  As who splits it has the lock.
 */
struct mid_split {
    struct fixture f;
    struct zc_shard *shard;
    _Atomic bool looking;
    _Atomic bool done;
};

static void *look_for_late(void *arg)
{
    struct mid_split *s = arg;
    struct zc_entry *e;

    atomic_store(&s->looking, true);
    e = find(&s->f, 0, key_of(1, 1));
    atomic_store(&s->done, true);
    return e;
}

static void a_lookup_outlasts_a_split(void **state)
{
    struct mid_split s;
    pthread_t thread;
    void *found;

    (void)state;
    memset(&s, 0, sizeof(s));
    setup(&s.f, 1000);
    s.shard = zc_index_shard(s.f.index, zc_index_hash(0, key_of(1, 1)));
    zc_lock_acquire(&s.shard->lock);
    atomic_fetch_add(&s.shard->moves, 1);
    assert_int_equal(pthread_create(&thread, NULL, look_for_late, &s), 0);
    while (!atomic_load(&s.looking)) {
        (void)sched_yield();
    }
    for (int i = 0; i < 300; i++) {
        (void)sched_yield();
    }
    assert_false(s.done);
    (void)insert_locked(&s.f, s.shard, 0, key_of(1, 1));
    atomic_fetch_add(&s.shard->moves, 1);
    zc_lock_release(&s.shard->lock);
    assert_int_equal(pthread_join(thread, &found), 0);
    assert_non_null(found);
    teardown(&s.f);
}

/*
 * A lookup of a thread that the system prefers to the one that splits would wait without end for a number to
 * get even.  With the lock it need not be: nobody splits then.
 */
static void a_lookup_does_not_spin_for_ever(void **state)
{
    struct fixture f;
    struct zc_shard *shard;
    struct zc_entry *e;

    (void)state;
    setup(&f, 1000);
    shard = zc_index_shard(f.index, zc_index_hash(0, key_of(1, 1)));
    atomic_fetch_add(&shard->moves, 1);
    assert_null(find(&f, 0, key_of(1, 1)));
    e = insert(&f, 0, key_of(1, 1));
    assert_ptr_equal(find(&f, 0, key_of(1, 1)), e);
    atomic_fetch_add(&shard->moves, 1);
    teardown(&f);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_differ_in_every_part),
        cmocka_unit_test(equal_hashes_are_told_apart),
        cmocka_unit_test(random_operations_do_what_a_model_does),
        cmocka_unit_test(misuse_is_stopped),
        cmocka_unit_test(it_grows_with_its_entries),
        cmocka_unit_test(beyond_its_bound_only_chains_get_longer),
        cmocka_unit_test(refused_memory_only_makes_chains_longer),
        cmocka_unit_test(every_refused_create_leaves_nothing),
        cmocka_unit_test(any_bound_makes_an_index),
        cmocka_unit_test(clear_gives_back_each_entry_once),
        cmocka_unit_test(a_walk_sees_everything_once),
        cmocka_unit_test(a_walk_goes_on_after_growth),
        cmocka_unit_test(lookups_are_right_while_it_grows),
        cmocka_unit_test(a_lookup_outlasts_a_split),
        cmocka_unit_test(a_lookup_does_not_spin_for_ever),
    };

    seed = test_begin(argc, argv, 7);
    return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
