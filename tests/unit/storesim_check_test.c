/* The checkers of the store simulator, shown histories that are wrong: each must be found.  And
 * ones that look odd and are right. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/obj.h"
#include "store/store_priv.h"
#include "tests/storesim/lockcheck.h"
#include "tests/storesim/model.h"
#include "tests/storesim/wgl.h"

#define NEVER UINT64_MAX

/* --- registers --- */

static enum wgl_result check(const struct wgl_op *ops, size_t n)
{
    size_t bad;

    return wgl_check(ops, n, 0, 100000, &bad);
}
#define CHECK_OPS(want, ...)                                                                       \
    do {                                                                                           \
        const struct wgl_op ops_[] = { __VA_ARGS__ };                                              \
        assert_int_equal(check(ops_, ARRAY_LEN(ops_)), want);                                      \
    } while (0)
#define W(v, c, r)                                                                                 \
    {                                                                                              \
        .kind = WGL_WRITE, .value = (v), .call = (c), .ret = (r)                                   \
    }
#define R(v, c, r)                                                                                 \
    {                                                                                              \
        .kind = WGL_READ, .value = (v), .call = (c), .ret = (r)                                    \
    }
#define CAS(e, v, h, c, r)                                                                         \
    {                                                                                              \
        .kind = WGL_CAS, .expect = (e), .value = (v), .held = (h), .call = (c), .ret = (r)         \
    }

static void registers_that_are_right(void **state)
{
    (void)state;
    CHECK_OPS(WGL_OK, W(1, 1, 2), R(1, 3, 4));
    CHECK_OPS(WGL_OK, W(1, 1, 10), R(0, 2, 3), R(1, 4, 5));    /* seen before it returns */
    CHECK_OPS(WGL_OK, W(1, 1, NEVER), R(0, 2, 3));             /* perhaps it never happened */
    CHECK_OPS(WGL_OK, W(1, 1, NEVER), R(0, 2, 3), R(1, 8, 9)); /* or late */
    CHECK_OPS(WGL_OK, W(1, 1, 2), W(2, 3, 8), W(3, 4, 7), R(2, 9, 10));
    CHECK_OPS(WGL_OK, W(1, 1, 2), CAS(1, 2, true, 3, 6), CAS(1, 3, false, 4, 5), R(2, 7, 8));
    CHECK_OPS(WGL_OK, W(1, 1, 2), W(0, 3, 4), R(0, 5, 6));
    CHECK_OPS(WGL_OK, W(1, 1, 2), CAS(1, 2, false, 3, NEVER), R(1, 4, 5), R(2, 6, 7));
}

static void registers_that_are_wrong(void **state)
{
    (void)state;
    CHECK_OPS(WGL_BAD, W(1, 1, 2), R(0, 3, 4));              /* a stale read */
    CHECK_OPS(WGL_BAD, W(1, 1, 2), W(2, 3, 4), R(1, 5, 6));  /* a lost write */
    CHECK_OPS(WGL_BAD, W(1, 1, 10), R(1, 2, 3), R(0, 4, 5)); /* backwards */
    CHECK_OPS(WGL_BAD, R(7, 1, 2));                          /* out of nowhere */
    CHECK_OPS(WGL_BAD, W(1, 5, 6), R(1, 1, 2));              /* from the future */
    CHECK_OPS(WGL_BAD, W(1, 1, 2), CAS(1, 2, true, 3, 6), CAS(1, 3, true, 4, 7)); /* both won */
    CHECK_OPS(WGL_BAD, W(1, 1, 2), CAS(1, 2, false, 3, 4)); /* refused for nothing */
    CHECK_OPS(WGL_BAD, W(1, 1, 2), CAS(2, 3, true, 3, 4));
    /* two readers who see two writes in different order */
    CHECK_OPS(WGL_BAD, W(1, 1, 20), W(2, 2, 21), R(1, 3, 4), R(2, 5, 6), R(1, 7, 8));
    CHECK_OPS(WGL_BAD, W(1, 1, NEVER), R(1, 2, 3), R(0, 4, 5)); /* unknown, seen, gone again */
}

/* Random histories of a real register are right; with one read changed to what it cannot have seen,
 * wrong. */
static void random_registers(void **state)
{
    struct wgl_op ops[120];
    struct prng p;

    (void)state;
    prng_init(&p, 1);
    for (unsigned round = 0; round < 200; round++) {
        uint64_t value = 0, at = 1;
        size_t n = 20 + prng_below(&p, 100), last_read = 0;

        for (size_t i = 0; i < n;
             i++) { /* each takes effect at 10 * i; it began and ended around */
            struct wgl_op *o = &ops[i];
            uint64_t early = prng_below(&p, 45), late = prng_below(&p, 45);

            at = 1000 + 10 * i;
            *o = (struct wgl_op){ .kind = (enum wgl_kind)prng_below(&p, 3) };
            o->call = at - early;
            o->ret = at + late;
            o->call = o->call * 1000 + i;
            o->ret = o->ret * 1000 + 500 + i;
            o->value = i + 1;
            o->expect = prng_below(&p, 2) == 0 ? value : prng_below(&p, i + 1);
            o->held = o->expect == value;
            if (o->kind == WGL_READ) {
                o->value = value;
                last_read = i + 1;
            } else if (o->kind == WGL_WRITE || o->held) {
                value = o->value;
            }
        }
        assert_int_equal(check(ops, n), WGL_OK);
        if (last_read > 0) {
            ops[last_read - 1].value = 5000;
            assert_int_equal(check(ops, n), WGL_BAD);
        }
    }
}

/* --- the model --- */

struct fx {
    struct store *s;
    struct store_watch *w;
    struct model m;
    struct buf cmd, answer;
    struct m_event events[16];
    struct m_seen seen;
    uint64_t index;
};
static struct fx fx;

static int setup(void **state)
{
    (void)state;
    fx = (struct fx){ 0 };
    fx.s = store_new(NULL);
    fx.w = store_watch_new(fx.s, "", 0, NULL, 0, 1, NULL, NULL);
    model_init(&fx.m, 262144);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    store_watch_free(fx.w);
    store_free(fx.s);
    model_done(&fx.m);
    buf_done(&fx.cmd);
    buf_done(&fx.answer);
    return 0;
}

/* Let the store execute it, and put what can be seen of that into fx.seen. */
static void execute(const struct cmd *c)
{
    struct kv_event ev;
    struct err err;
    size_t before = store_bytes(fx.s);

    buf_clear(&fx.cmd);
    buf_clear(&fx.answer);
    assert_int_equal(cmd_encode(c, &fx.cmd, &err), 0);
    store_apply(fx.s, ++fx.index, 1, 1000, fx.cmd.data, fx.cmd.len, &fx.answer);
    fx.seen = (struct m_seen){ .term = 1,
                               .cmd = fx.cmd.data,
                               .cmd_len = fx.cmd.len,
                               .answer = fx.answer.data,
                               .answer_len = fx.answer.len,
                               .events = fx.events,
                               .compact_rev = store_compact_rev(fx.s),
                               .bytes_before = before,
                               .quota = 1U << 30 };
    while (store_watch_next(fx.w, &ev, &err) == 1) {
        struct m_event *e = &fx.events[fx.seen.n_events++];

        *e = (struct m_event){ .rev = ev.rev, .del = ev.type == KV_DELETE };
        e->key = (struct bytes){ ev.key, ev.klen };
        e->value = (struct bytes){ (const uint8_t *)"", 0 };
        if (ev.kv != NULL) {
            e->value = (struct bytes){ kv_value(ev.kv), ev.kv->vlen };
            e->create_rev = ev.kv->create_rev;
            e->version = ev.kv->version;
            e->lease = ev.kv->lease;
        }
    }
}

static struct bytes text(const char *s)
{
    return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

static int put(const char *key, const char *value, uint64_t session, uint64_t seq)
{
    struct txn_op op = { .kind = TXN_PUT, .key = text(key), .value = text(value) };
    struct cmd c = { .op = CMD_TXN, .actor = { ACTOR_RAW, "t", 0 } };
    struct err err;

    c.session = session;
    c.seq = seq;
    c.ack = session == 0 ? 0 : 1;
    c.txn.then_ops = &op;
    c.txn.n_then = 1;
    execute(&c);
    return model_apply(&fx.m, &fx.seen, &err);
}

static void the_model_agrees(void **state)
{
    (void)state;
    assert_int_equal(put("k/a", "1", 0, 1), 0);
    assert_int_equal(put("k/b", "2", 0, 2), 0);
    assert_int_equal(put("k/a", "3", 0, 3), 0);
    assert_int_equal(fx.m.rev, 3);
    assert_int_equal(model_get(&fx.m, text("k/a"), 1)->value.p[0], '1');
    assert_int_equal(model_get(&fx.m, text("k/a"), 0)->version, 2);
    assert_null(model_get(&fx.m, text("k/b"), 1));
    assert_int_equal(model_next(&fx.m, 1, text("k/a"), (struct bytes){ 0 }), 2);
    assert_int_equal(model_after(&fx.m, 2), 2);
}

/* The store is made to have done something else: told so by changed evidence. */
static void the_model_finds(void **state)
{
    struct txn_op op = { .kind = TXN_PUT, .key = text("k/a"), .value = text("1") };
    struct cmd c = { .op = CMD_TXN, .actor = { ACTOR_RAW, "t", 0 }, .seq = 1 };
    struct m_event good;
    struct err err;

    (void)state;
    assert_int_equal(put("k/z", "0", 0, 1), 0);
    c.txn.then_ops = &op;
    c.txn.n_then = 1;
    execute(&c);
    good = fx.events[0];
    for (unsigned what = 0; what < 8; what++) {
        struct model copy;
        struct m_seen seen = fx.seen;
        struct m_event ev = good;

        model_init(&copy, 262144);
        copy.rev = fx.m.rev;
        seen.events = &ev;
        ev.rev += what == 0;
        ev.value = what == 1 ? text("2") : ev.value;
        ev.version += what == 2;
        ev.lease += what == 3;
        ev.key = what == 4 ? text("k/b") : ev.key;
        seen.n_events -= what == 5;    /* nothing changed, and said to have */
        seen.answer_len -= what == 6;  /* not the whole answer */
        seen.compact_rev += what == 7; /* compacted without a reason */
        assert_int_equal(model_apply(&copy, &seen, &err), ERR_CONFLICT);
        model_done(&copy);
    }
    assert_int_equal(model_apply(&fx.m, &fx.seen, &err), 0);
}

static void the_model_finds_a_second_execution(void **state)
{
    struct cmd c = { .op = CMD_SESSION_OPEN, .actor = { ACTOR_RAW, "t", 0 }, .text = "t" };
    struct err err;

    (void)state;
    execute(&c);
    assert_int_equal(model_apply(&fx.m, &fx.seen, &err), 0);
    assert_int_equal(put("k/a", "1", 1, 1), 0);
    assert_int_equal(put("k/a", "1", 1, 1), 0); /* came again, answered as before */
    assert_int_equal(store_rev(fx.s), 1);
    /* A store that forgets the session would execute it once more: */
    assert_int_equal(put("k/a", "1", 0, 9), 0);
    c = (struct cmd){ .op = CMD_TXN, .actor = { ACTOR_RAW, "t", 0 }, .session = 1, .seq = 1 };
    c.ack = 1;
    execute(&c);
    fx.events[0] = (struct m_event){
        .rev = 3, .key = text("k/a"), .value = text("1"), .create_rev = 1, .version = 3
    };
    fx.seen.n_events = 1;
    assert_int_equal(model_apply(&fx.m, &fx.seen, &err), ERR_CONFLICT);
    assert_non_null(strstr(err.msg, "came again"));
}

/* --- locks --- */

struct step {
    enum cmd_op op;
    uint64_t inc; /* who asks */
    const char *host;
    const char *key; /* the record that changed */
    /* of a lock; or state of the incarnation `owner` */
    uint64_t owner, owner_token, peer, peer_token;
    enum inc_state state;
    uint64_t ref_token;
    bool wrong;
};

static void add_lock(struct buf *b, const struct step *s);
static void add_inc(struct buf *b, const struct step *s);

static void run_steps(const struct step *steps, size_t n)
{
    struct lockcheck l = { 0 };

    for (size_t i = 0; i < n; i++) {
        const struct step *s = &steps[i];
        struct cmd_lock_ref ref = { .lock = "vms/a", .token = s->ref_token };
        struct cmd c = { .op = s->op, .actor = { ACTOR_AGENT, s->host, 0 } };
        struct cmd_answer ans = { 0 };
        struct m_event e = { .rev = i + 1, .key = text(s->key), .version = 1 };
        struct buf b = { 0 };
        struct err err;
        int rc;

        c.safety.incarnation = s->inc;
        c.safety.proof = PROOF_WATCHDOG;
        c.safety.locks = &ref;
        c.safety.n_locks = 1;
        e.del = s->owner == 0 && s->peer == 0;
        if (s->state != 0) {
            add_inc(&b, s);
        } else if (!e.del) {
            add_lock(&b, s);
        }
        e.value = (struct bytes){ b.data, b.len };
        rc = lockcheck_apply(&l, &c, &ans, &e, 1, &err);
        if ((rc != 0) != s->wrong) {
            fail_msg("step %zu: %s", i, rc == 0 ? "was let through" : err.msg);
        }
        buf_done(&b);
    }
    lockcheck_done(&l);
}
#define STEPS(...)                                                                                 \
    do {                                                                                           \
        const struct step steps_[] = { __VA_ARGS__ };                                              \
        run_steps(steps_, ARRAY_LEN(steps_));                                                      \
    } while (0)
#define LOCK "s/lock/vms/a"
#define INC(n_, host_, state_, op_, ...)                                                           \
    {                                                                                              \
        .op = (op_), .inc = (n_), .host = (host_), .key = "s/inc/" #n_, .owner = (n_),             \
        .state = (state_), __VA_ARGS__                                                             \
    }
#define TWO INC(1, "h1", INC_LIVE, CMD_REGISTER), INC(2, "h2", INC_LIVE, CMD_REGISTER)
#define HELD                                                                                       \
    {                                                                                              \
        CMD_ACQUIRE, 1, "h1", LOCK, 1, 10, 0, 0, 0, 0, false                                       \
    }

static void locks_that_are_right(void **state)
{
    (void)state;
    STEPS(TWO, HELD, { CMD_RELEASE, 1, "h1", LOCK, 0, 0, 0, 0, 0, 10, false },
          { CMD_ACQUIRE, 2, "h2", LOCK, 2, 11, 0, 0, 0, 0, false });
    STEPS(TWO, HELD, { CMD_ACQUIRE, 1, "h1", LOCK, 1, 12, 0, 0, 0, 0, false });
    STEPS(TWO, HELD, { CMD_MIG_JOIN, 2, "h2", LOCK, 1, 10, 2, 11, 0, 0, false },
          { CMD_MIG_COMMIT, 1, "h1", LOCK, 2, 11, 1, 10, 0, 10, false },
          { CMD_RELEASE, 1, "h1", LOCK, 2, 11, 0, 0, 0, 10, false });
}

static void locks_that_are_wrong(void **state)
{
    (void)state;
    /* taken from a Live holder */
    STEPS(TWO, HELD, { CMD_ACQUIRE, 2, "h2", LOCK, 2, 11, 0, 0, 0, 0, true });
    /* released by somebody else, or by an old token */
    STEPS(TWO, HELD, { CMD_RELEASE, 2, "h2", LOCK, 0, 0, 0, 0, 0, 10, true });
    STEPS(TWO, HELD, { CMD_RELEASE, 1, "h1", LOCK, 0, 0, 0, 0, 0, 9, true });
    /* by a proof that did not end the incarnation */
    STEPS(TWO, HELD, { CMD_PROOF, 1, "h1", LOCK, 0, 0, 0, 0, 0, 0, true });
    /* tokens that do not grow */
    STEPS(TWO, HELD, { CMD_RELEASE, 1, "h1", LOCK, 0, 0, 0, 0, 0, 10, false },
          { CMD_ACQUIRE, 2, "h2", LOCK, 2, 10, 0, 0, 0, 0, true });
    /* acquired while a peer is left in it */
    STEPS(TWO, HELD, { CMD_MIG_JOIN, 2, "h2", LOCK, 1, 10, 2, 11, 0, 0, false },
          { CMD_RELEASE, 1, "h1", LOCK, 0, 0, 2, 11, 0, 10, false },
          { CMD_ACQUIRE, 1, "h1", LOCK, 1, 12, 2, 11, 0, 0, true });
    /* a commit by the target */
    STEPS(TWO, HELD, { CMD_MIG_JOIN, 2, "h2", LOCK, 1, 10, 2, 11, 0, 0, false },
          { CMD_MIG_COMMIT, 2, "h2", LOCK, 2, 11, 1, 10, 0, 10, true });
    /* a Lost host takes more */
    STEPS(TWO, INC(1, "h1", INC_LOST, CMD_LOST),
          { CMD_ACQUIRE, 1, "h1", LOCK, 1, 10, 0, 0, 0, 0, true });
}

static void incarnations(void **state)
{
    (void)state;
    STEPS(TWO, INC(1, "h1", INC_LOST, CMD_LOST), INC(1, "h1", INC_FENCING, CMD_FENCE_OPEN),
          INC(1, "h1", INC_FENCED, CMD_PROOF), INC(1, "h1", INC_LIVE, CMD_REPRIEVE, .wrong = true));
    STEPS(TWO, INC(1, "h1", INC_FENCED, CMD_PROOF, .wrong = true)); /* from Live */
    STEPS(TWO, INC(1, "h1", INC_LOST, CMD_LOST), INC(1, "h1", INC_LIVE, CMD_TERMS, .wrong = true));
    STEPS(INC(2, "h2", INC_LIVE, CMD_REGISTER),
          INC(1, "h1", INC_LIVE, CMD_REGISTER, .wrong = true));
    STEPS(INC(1, "h1", INC_LIVE, CMD_LOST, .wrong = true)); /* nobody registered */
    /* fenced, and a lock is left */
    STEPS(TWO, HELD, INC(1, "h1", INC_LOST, CMD_LOST),
          INC(1, "h1", INC_FENCED, CMD_PROOF, .wrong = true));
}

/* The records, by the store's own encoders, which want a command around them. */
static void encode(struct buf *b, const char *key, void (*fn)(struct ap *x, const struct step *s),
                   const struct step *s)
{
    struct store *st = store_new(NULL);
    struct arena a = { 0 };
    struct cmd_answer ans = { 0 };
    struct cmd c = { .op = CMD_ACQUIRE };
    struct err err;
    struct ap x = { .s = st, .c = &c, .a = &a, .term = 1, .ans = &ans, .err = &err };
    const struct kv *v;

    fn(&x, s);
    v = store_get_str(st, key);
    assert_non_null(v);
    buf_add(b, kv_value(v), v->vlen);
    st_finish(st);
    store_free(st);
    arena_done(&a);
}

static struct s_lock_slot slot(uint64_t inc, uint64_t token)
{
    return (struct s_lock_slot){ .incarnation = inc, .host = "", .token = token, .reason = "" };
}

static void put_lock(struct ap *x, const struct step *s)
{
    struct s_lock l = { .lock = "vms/a",
                        .uid = "u",
                        .owner = slot(s->owner, s->owner_token),
                        .peer = slot(s->peer, s->peer_token) };

    s_lock_put(x, &l);
}

static void put_inc(struct ap *x, const struct step *s)
{
    struct s_inc i = { .number = s->owner,
                       .host = s->host,
                       .host_uid = "u",
                       .boot_id = "b",
                       .hardware_id = "h",
                       .state = s->state,
                       .reason = "",
                       .nonce = "" };

    s_inc_put(x, &i);
}

static void add_lock(struct buf *b, const struct step *s)
{
    encode(b, LOCK, put_lock, s);
}

static void add_inc(struct buf *b, const struct step *s)
{
    char key[64];

    (void)snprintf(key, sizeof(key), "s/inc/%020llu", (unsigned long long)s->owner);
    encode(b, key, put_inc, s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(registers_that_are_right),
        cmocka_unit_test(registers_that_are_wrong),
        cmocka_unit_test(random_registers),
        cmocka_unit_test_setup_teardown(the_model_agrees, setup, teardown),
        cmocka_unit_test_setup_teardown(the_model_finds, setup, teardown),
        cmocka_unit_test_setup_teardown(the_model_finds_a_second_execution, setup, teardown),
        cmocka_unit_test(locks_that_are_right),
        cmocka_unit_test(locks_that_are_wrong),
        cmocka_unit_test(incarnations),
    };

    return cmocka_run_group_tests_name("storesim_check", tests, NULL, NULL);
}
