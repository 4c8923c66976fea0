/* Snapshots: a restored replica is the same in everything that can be asked, and stays so. */

#include "store_random.h"

#include <pthread.h>
#include <stdlib.h>

/* --- bytes -------------------------------------------------------------------------------------
 */

struct tape {
    struct buf b;
    size_t pos;
    size_t fail_at; /* 0: never */
};

static int tape_put(void *ctx, const void *data, size_t len, struct err *err)
{
    struct tape *t = ctx;

    if (t->fail_at != 0 && t->b.len + len > t->fail_at) {
        return err_set(err, ERR_SYS, "disk full");
    }
    buf_add(&t->b, data, len);
    return 0;
}

static int tape_get(void *ctx, void *data, size_t len, struct err *err)
{
    struct tape *t = ctx;

    if (t->b.len - t->pos < len) {
        return err_set(err, ERR_CORRUPT, "file ends at byte %zu", t->b.len);
    }
    if (len > 0) {
        memcpy(data, t->b.data + t->pos, len);
    }
    t->pos += len;
    return 0;
}

static void snapshot(struct store *s, struct tape *t)
{
    struct store_snap *p = store_snap_begin(s);
    struct err err;

    assert_int_equal(store_snap_write(p, tape_put, t, &err), 0);
    store_snap_end(p);
}

static void restore(struct store *s, struct tape *t)
{
    struct err err = { 0 };

    t->pos = 0;
    if (store_restore(s, tape_get, t, &err) != 0) {
        fail_msg("restore: %s", err.msg);
    }
    assert_int_equal(t->pos, t->b.len);
}

/* --- sameness ----------------------------------------------------------------------------------
 */

struct walk {
    struct store *other;
    uint64_t rev;
    size_t n;
};

static bool same_kv(void *ctx, const struct kv *v)
{
    struct walk *w = ctx;
    const struct kv *o = store_get(w->other, v->bytes, v->klen, w->rev);

    assert_non_null(o);
    assert_int_equal(o->create_rev, v->create_rev);
    assert_int_equal(o->mod_rev, v->mod_rev);
    assert_int_equal(o->version, v->version);
    assert_int_equal(o->lease, v->lease);
    assert_int_equal(o->sub, v->sub);
    assert_int_equal(o->vlen, v->vlen);
    assert_memory_equal(kv_value(o), kv_value(v), v->vlen);
    w->n++;
    return true;
}

static bool count_kv(void *ctx, const struct kv *v)
{
    (void)v;
    ++*(size_t *)ctx;
    return true;
}

static void assert_same_at(struct store *a, struct store *b, uint64_t rev)
{
    struct walk w = { .other = b, .rev = rev };
    size_t n = 0;

    store_range(a, "", 0, NULL, 0, rev, same_kv, &w);
    store_range(b, "", 0, NULL, 0, rev, count_kv, &n);
    assert_int_equal(n, w.n);
}

static void assert_same(struct store *a, struct store *b, struct prng *p)
{
    uint64_t from = store_compact_rev(a) > 0 ? store_compact_rev(a) : 1;

    assert_int_equal(store_hash(a), store_hash(b));
    assert_int_equal(store_rev(a), store_rev(b));
    assert_int_equal(store_compact_rev(a), store_compact_rev(b));
    assert_int_equal(store_index(a), store_index(b));
    assert_int_equal(store_wall_ms(a), store_wall_ms(b));
    assert_int_equal(store_bytes(a), store_bytes(b));
    assert_int_equal(store_count(a), store_count(b));
    assert_same_at(a, b, 0);
    if (store_rev(a) >= from) {
        assert_same_at(a, b, from);
        assert_same_at(a, b, from + prng_below(p, store_rev(a) - from + 1));
    }
}

/* The same events for a watch from the beginning of the window. */
static void assert_same_events(struct store *a, struct store *b)
{
    struct store_watch *wa, *wb;
    struct kv_event ea, eb;
    struct err err;
    int rc;

    wa = store_watch_new(a, "", 0, NULL, 0, store_compact_rev(a) + 1, NULL, NULL);
    wb = store_watch_new(b, "", 0, NULL, 0, store_compact_rev(b) + 1, NULL, NULL);
    do {
        rc = store_watch_next(wa, &ea, &err);
        assert_int_equal(store_watch_next(wb, &eb, &err), rc);
        if (rc == 1) {
            assert_int_equal(ea.type, eb.type);
            assert_int_equal(ea.rev, eb.rev);
            assert_int_equal(ea.klen, eb.klen);
            assert_memory_equal(ea.key, eb.key, ea.klen);
            assert_true((ea.prev == NULL) == (eb.prev == NULL));
        }
    } while (rc == 1);
    store_watch_free(wa);
    store_watch_free(wb);
}

/* --- the property ------------------------------------------------------------------------------
 */

/* Give a random command to all stores; all must answer alike, byte for byte. */
static void step(struct prng *p, struct store **s, size_t n)
{
    static uint64_t session, seq;
    struct buf cmd = { 0 };
    struct buf first = { 0 };
    struct cmd c = rnd_cmd(p);
    struct cmd_answer ans;
    struct err err;

    if (c.op == CMD_SESSION_OPEN) {
        seq = 0;
    } else if (rnd(p, 2) == 0) {
        c.session = rnd(p, 20) == 0 ? session - 1 : session;
        c.seq = rnd(p, 5) == 0 ? seq : ++seq;
        c.ack = rnd(p, 3) == 0 && seq > 3 ? seq - 3 : 1;
    }
    assert_int_equal(cmd_encode(&c, &cmd, &err), 0);
    fx.index++;
    fx.ms += rnd(p, 50);
    for (size_t i = 0; i < n; i++) {
        struct buf out = { 0 };

        store_apply(s[i], fx.index, fx.term, fx.ms, cmd.data, cmd.len, i == 0 ? &first : &out);
        if (i > 0) {
            assert_int_equal(out.len, first.len);
            assert_memory_equal(out.data, first.data, first.len);
        }
        buf_done(&out);
    }
    assert_int_equal(cmd_answer_decode(first.data, first.len, &fx.a, &ans, &err), 0);
    if (c.op == CMD_SESSION_OPEN && ans.code == 0) {
        session = ans.values[0];
    }
    buf_done(&cmd);
    buf_done(&first);
    arena_done(&fx.a);
}

static void a_restored_replica_goes_on_alike(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        struct store_limits limits = { .history_count = seed % 3 == 0 ? 50 : 0 };
        struct store *s[2];
        struct prng p;

        (void)fx_teardown(NULL);
        (void)fx_setup_limits(&limits);
        prng_init(&p, seed * 1000003);
        rnd_world(false);
        s[0] = fx.s;
        s[1] = NULL;
        for (int i = 0; i < 1200; i++) {
            step(&p, s, s[1] == NULL ? 1 : 2);
            if (s[1] != NULL) {
                assert_int_equal(store_hash(s[0]), store_hash(s[1]));
            }
            if (prng_below(&p, 150) == 0) {
                struct store_snap *pin;
                struct tape t = { 0 };
                struct err err;

                if (s[1] == NULL) {
                    s[1] = store_new(NULL); /* its limits come with the snapshot */
                }
                /* the first store moves on while the snapshot is pinned, then the second one
                 * repeats it */
                pin = store_snap_begin(s[0]);
                assert_int_equal(store_snap_write(pin, tape_put, &t, &err), 0);
                store_snap_end(pin);
                restore(s[1], &t);
                buf_done(&t.b);
                assert_same(s[0], s[1], &p);
                assert_same_events(s[0], s[1]);
            }
        }
        if (s[1] != NULL) {
            assert_same(s[0], s[1], &p);
        }
        store_free(s[1]);
    }
}

/* --- a pinned state ----------------------------------------------------------------------------
 */

struct writer {
    struct store_snap *snap;
    struct tape tape;
    int rc;
};

static void *write_it(void *ctx)
{
    struct writer *w = ctx;
    struct err err;

    w->rc = store_snap_write(w->snap, tape_put, &w->tape, &err);
    return NULL;
}

/* Written on another thread, while the store goes on (the thread sanitizer looks on in its own
 * run). */
static void the_writer_sees_the_moment_of_the_pin(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct store_limits limits = { .history_count = 300 };
        struct writer w[2] = { 0 };
        pthread_t thread[2];
        uint64_t hash[2], rev[2];
        struct prng p;

        (void)fx_teardown(NULL);
        (void)fx_setup_limits(&limits);
        prng_init(&p, seed);
        rnd_world(false);
        for (int i = 0; i < 800; i++) {
            step(&p, &fx.s, 1);
        }
        for (int k = 0; k < 2; k++) {
            hash[k] = store_hash(fx.s);
            rev[k] = store_rev(fx.s);
            w[k].snap = store_snap_begin(fx.s);
            assert_int_equal(pthread_create(&thread[k], NULL, write_it, &w[k]), 0);
            for (int i = 0; i < 600; i++) {
                step(&p, &fx.s, 1);
            }
        }
        for (int k = 0; k < 2; k++) {
            struct store *other = store_new(NULL);

            assert_int_equal(pthread_join(thread[k], NULL), 0);
            store_snap_end(w[k].snap);
            assert_int_equal(w[k].rc, 0);
            restore(other, &w[k].tape);
            assert_int_equal(store_hash(other), hash[k]);
            assert_int_equal(store_rev(other), rev[k]);
            store_free(other);
            buf_done(&w[k].tape.b);
        }
    }
}

/* --- damage ------------------------------------------------------------------------------------
 */

static void small_store(void)
{
    struct cmd c = { .op = CMD_SESSION_OPEN, .actor = as_raw(), .text = "client" };

    OK(fx_apply(&c));
    c = (struct cmd){ .op = CMD_COMPACT, .actor = as_raw(), .session = fx_value(), .seq = 1 };
    c.ack = 1;
    OK(fx_acquire("n1", fx_s_host("n1").incarnation, "virtualmachines/vm1"));
    c.number = store_rev(fx.s) - 2;
    OK(fx_apply(&c));
    OK(fx_put("k/a", "1"));
    OK(fx_put("k/a", "2"));
    OK(fx_del("k/a"));
}

/* Any damage is noticed, and leaves the store that was to be replaced as it was. */
static void damage_is_noticed(void **state)
{
    struct store *victim = store_new(NULL);
    struct tape t = { 0 };
    struct err err;
    uint64_t hash;

    (void)state;
    small_store();
    snapshot(fx.s, &t);
    restore(victim, &t);
    hash = store_hash(victim);
    assert_int_equal(hash, store_hash(fx.s));
    for (size_t i = 0; i < t.b.len; i++) {
        for (int bit = 0; bit < 8; bit += 3) {
            t.b.data[i] ^= (uint8_t)(1U << bit);
            t.pos = 0;
            assert_int_equal(store_restore(victim, tape_get, &t, &err), ERR_CORRUPT);
            assert_int_equal(store_hash(victim), hash);
            t.b.data[i] ^= (uint8_t)(1U << bit);
        }
    }
    for (size_t len = 0; len < t.b.len; len++) {
        struct tape cut = t;

        cut.b.len = len;
        cut.pos = 0;
        assert_int_equal(store_restore(victim, tape_get, &cut, &err), ERR_CORRUPT);
    }
    restore(victim, &t);
    buf_done(&t.b);
    store_free(victim);
}

/* Even when the checksums were made to fit. */
static void forgeries_are_noticed_or_consistent(void **state)
{
    struct store *victim = store_new(NULL);
    struct tape t = { 0 };
    struct prng p;
    struct err err;
    size_t noticed = 0;
    size_t len;

    (void)state;
    small_store();
    snapshot(fx.s, &t);
    prng_init(&p, 9);
    len = rd_u32(&(struct rd){ .p = t.b.data, .len = 4 });
    assert_int_equal(len + 16, t.b.len); /* one block and the end */
    for (int i = 0; i < 20000; i++) {
        size_t at = 8 + (size_t)prng_below(&p, len);
        uint8_t old = t.b.data[at];
        uint32_t crc;
        int rc;

        t.b.data[at] = (uint8_t)prng_u64(&p);
        crc = crc32c(0, t.b.data + 8, len);
        for (int k = 0; k < 4; k++) {
            t.b.data[4 + k] = (uint8_t)(crc >> (8 * k));
        }
        t.pos = 0;
        rc = store_restore(victim, tape_get, &t, &err);
        assert_true(rc == 0 || rc == ERR_CORRUPT);
        noticed += rc != 0;
        /* index and term are nobody's hash: the log's owner checks them */
        t.b.data[at] = old;
    }
    assert_true(noticed > 19000);
    buf_done(&t.b);
    store_free(victim);
}

static void a_full_disk_is_reported(void **state)
{
    struct store_snap *p;
    struct tape t = { .fail_at = 100 };
    struct err err;

    (void)state;
    small_store();
    p = store_snap_begin(fx.s);
    assert_int_equal(store_snap_write(p, tape_put, &t, &err), ERR_SYS);
    store_snap_end(p);
    buf_done(&t.b);
}

/* A leader's snapshot arrives while the own one is being written. */
static void restoring_while_pinned(void **state)
{
    struct store *other = store_new(NULL);
    struct tape from_leader = { 0 };
    struct writer w[2] = { 0 };
    uint64_t hash[2];
    pthread_t thread;
    struct prng p;

    (void)state;
    prng_init(&p, 5);
    small_store();
    for (int i = 0; i < 300; i++) {
        step(&p, &fx.s, 1);
    }
    snapshot(fx.s, &from_leader);
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 200; i++) {
            step(&p, &fx.s, 1);
        }
        hash[k] = store_hash(fx.s);
        w[k].snap = store_snap_begin(fx.s);
    }
    assert_int_equal(pthread_create(&thread, NULL, write_it, &w[0]), 0);
    restore(fx.s, &from_leader);
    for (int i = 0; i < 200; i++) {
        step(&p, &fx.s, 1);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    store_snap_end(w[0].snap);
    (void)write_it(&w[1]);
    store_snap_end(w[1].snap);
    for (int k = 0; k < 2; k++) {
        restore(other, &w[k].tape);
        assert_int_equal(store_hash(other), hash[k]);
        buf_done(&w[k].tape.b);
    }
    store_free(other);
    buf_done(&from_leader.b);
}

/* --- sizes -------------------------------------------------------------------------------------
 */

static void an_empty_store(void **state)
{
    struct store *other = store_new(NULL);
    struct tape t = { 0 };

    (void)state;
    snapshot(fx.s, &t);
    restore(other, &t);
    assert_int_equal(store_hash(other), store_hash(fx.s));
    assert_int_equal(store_count(other), 0);
    buf_done(&t.b);
    store_free(other);
}

static void values_larger_than_a_block(void **state)
{
    struct store *other = store_new(NULL);
    char *value = mem_alloc(1500001);
    struct tape t = { 0 };
    struct prng p;

    (void)state;
    prng_init(&p, 3);
    memset(value, 'x', 1500000);
    for (int i = 0; i < 5; i++) {
        value[i] = 'y';
        OK(fx_put(arena_printf(&fx.a, "k/%d", i), value));
    }
    snapshot(fx.s, &t);
    restore(other, &t);
    assert_same(fx.s, other, &p);
    buf_done(&t.b);
    store_free(other);
    free(value);
}

static int woken;
static void wake(void *ctx)
{
    (void)ctx;
    woken++;
}

static void watches_must_list_again(void **state)
{
    struct store_watch *armed = store_watch_new(fx.s, "k/", 2, NULL, 0, 0, wake, NULL);
    struct store_watch *behind;
    struct tape t = { 0 };
    struct kv_event e;
    struct err err;

    (void)state;
    woken = 0;
    small_store();
    behind = store_watch_new(fx.s, "k/", 2, NULL, 0, store_compact_rev(fx.s) + 1, NULL, NULL);
    assert_int_equal(store_watch_next(armed, &e, &err), 1);
    while (store_watch_next(armed, &e, &err) == 1) {
    }
    assert_int_equal(woken, 1);
    snapshot(fx.s, &t);
    restore(fx.s, &t);
    assert_int_equal(woken, 2);
    assert_int_equal(store_watch_next(armed, &e, &err), ERR_COMPACTED);
    assert_int_equal(store_watch_next(behind, &e, &err), ERR_COMPACTED);
    store_watch_free(armed);
    store_watch_free(behind);
    buf_done(&t.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TEST(a_restored_replica_goes_on_alike),
        FX_TEST(the_writer_sees_the_moment_of_the_pin),
        FX_CLUSTER_TEST(damage_is_noticed),
        FX_CLUSTER_TEST(forgeries_are_noticed_or_consistent),
        FX_CLUSTER_TEST(a_full_disk_is_reported),
        FX_CLUSTER_TEST(restoring_while_pinned),
        FX_TEST(an_empty_store),
        FX_TEST(values_larger_than_a_block),
        FX_CLUSTER_TEST(watches_must_list_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
