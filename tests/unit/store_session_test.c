/* Exactly once. */

#include "store_fixture.h"

#include <stdlib.h>

static uint64_t open_session(struct actor actor, const char *owner)
{
    struct cmd c = { .op = CMD_SESSION_OPEN, .actor = actor, .text = owner };

    OK(fx_apply(&c));
    return fx_value();
}

static int put_in(uint64_t session, uint64_t seq, uint64_t ack, const char *key)
{
    struct txn_op op = { .kind = TXN_PUT, .key = bytes_str(key), .value = bytes_str("v") };
    struct cmd c = { .op = CMD_TXN, .actor = as_raw() };

    c.session = session;
    c.seq = seq;
    c.ack = ack;
    c.txn.then_ops = &op;
    c.txn.n_then = 1;
    return fx_apply(&c);
}

static uint64_t version(const char *key)
{
    const struct kv *v = store_get_str(fx.s, key);

    return v == NULL ? 0 : v->version;
}

/* fx_apply checks that the answer's revision is the present one: go around it for old answers. */
static struct cmd_answer again(uint64_t session, uint64_t seq, uint64_t ack, const char *key)
{
    struct txn_op op = { .kind = TXN_PUT, .key = bytes_str(key), .value = bytes_str("v") };
    struct cmd c = { .op = CMD_TXN, .actor = as_raw() };
    struct cmd_answer ans = { 0 };
    struct buf b = { 0 };
    struct buf out = { 0 };
    struct err err;

    c.session = session;
    c.seq = seq;
    c.ack = ack;
    c.txn.then_ops = &op;
    c.txn.n_then = 1;
    assert_int_equal(cmd_encode(&c, &b, &err), 0);
    store_apply(fx.s, ++fx.index, fx.term, fx.ms, b.data, b.len, &out);
    assert_int_equal(cmd_answer_decode(out.data, out.len, &fx.a, &ans, &err), 0);
    buf_done(&b);
    buf_done(&out);
    return ans;
}

static void a_repetition_gets_the_first_answer(void **state)
{
    uint64_t s = open_session(as_raw(), "client");
    struct cmd_answer ans;

    (void)state;
    OK(put_in(s, 1, 1, "k/a"));
    OK(put_in(s, 2, 1, "k/b"));
    ans = again(s, 1, 1, "k/a");
    assert_int_equal(ans.code, 0);
    assert_int_equal(ans.rev, 1); /* of then, not of now */
    assert_int_equal(version("k/a"), 1);
    assert_int_equal(store_rev(fx.s), 2);
}

static void a_refusal_is_repeated_too(void **state)
{
    uint64_t s = open_session(as_raw(), "client");

    (void)state;
    WANT(ERR_DENIED, put_in(s, 1, 1, "s/x"));
    assert_int_equal(again(s, 1, 1, "k/a").code, ERR_DENIED); /* the seq is the command */
    assert_int_equal(version("k/a"), 0);
}

static void any_order_within_the_window(void **state)
{
    uint64_t s = open_session(as_raw(), "client");

    (void)state;
    OK(put_in(s, 3, 1, "k/c"));
    OK(put_in(s, 1, 1, "k/a"));
    OK(put_in(s, 2, 1, "k/b"));
    assert_int_equal(again(s, 3, 1, "k/c").rev, 1);
    assert_int_equal(version("k/c"), 1);
    assert_int_equal(version("k/b"), 1);
}

static void what_was_acknowledged_is_stale(void **state)
{
    uint64_t s = open_session(as_raw(), "client");

    (void)state;
    OK(put_in(s, 1, 1, "k/a"));
    OK(put_in(s, 2, 2, "k/b"));
    WANT(ERR_STALE, put_in(s, 1, 1, "k/a"));
    SAYS("acknowledged");
    assert_int_equal(version("k/a"), 1);
    assert_int_equal(again(s, 2, 2, "k/b").code, 0);
}

static void the_window_is_bounded(void **state)
{
    uint64_t s = open_session(as_raw(), "client");

    (void)state;
    for (uint64_t seq = 1; seq <= 1024; seq++) {
        OK(put_in(s, seq, 1, "k/a"));
    }
    WANT(ERR_LIMIT, put_in(s, 1025, 1, "k/a"));
    assert_int_equal(version("k/a"), 1024);
    OK(put_in(s, 1025, 2, "k/a")); /* the refusal was not an execution */
    assert_int_equal(version("k/a"), 1025);
    assert_int_equal(again(s, 1024, 2, "k/a").code, 0);
    assert_int_equal(version("k/a"), 1025);
}

static void an_unknown_session_executes_nothing(void **state)
{
    (void)state;
    WANT(ERR_STALE, put_in(4711, 1, 1, "k/a"));
    SAYS("unknown");
    assert_int_equal(version("k/a"), 0);
}

static void bad_numbers(void **state)
{
    uint64_t s = open_session(as_raw(), "client");

    (void)state;
    WANT(ERR_INVALID, put_in(s, 0, 0, "k/a"));
    WANT(ERR_INVALID, put_in(s, 1, 2, "k/a"));
    OK(put_in(s, 1, 0, "k/a"));
}

static void a_new_session_closes_the_owners_old_one(void **state)
{
    uint64_t s1 = open_session(as_raw(), "client");
    uint64_t other = open_session(as_raw(), "other");
    uint64_t s2 = open_session(as_raw(), "client");

    (void)state;
    assert_true(s2 > s1);
    WANT(ERR_STALE, put_in(s1, 1, 1, "k/a"));
    OK(put_in(s2, 1, 1, "k/a"));
    OK(put_in(other, 1, 1, "k/b"));
}

/* A raw client that calls itself n1 does not close the session of the picketd of n1. */
static void owners_are_told_apart_by_role(void **state)
{
    uint64_t s1 = open_session(as_executor("n1"), "n1");
    uint64_t s2 = open_session(as_raw(), "n1");

    (void)state;
    OK(put_in(s1, 1, 1, "k/a"));
    OK(put_in(s2, 1, 1, "k/a"));
}

static void owners_have_names(void **state)
{
    struct cmd c = { .op = CMD_SESSION_OPEN, .actor = as_raw() };

    (void)state;
    WANT(ERR_INVALID, fx_apply(&c));
    c.text = "";
    WANT(ERR_INVALID, fx_apply(&c));
}

static void without_a_session_everything_happens_each_time(void **state)
{
    (void)state;
    OK(put_in(0, 1, 1, "k/a"));
    OK(put_in(0, 1, 1, "k/a"));
    assert_int_equal(version("k/a"), 2);
}

/* The epoch and the actor are judged at the execution, not at the repetition. */
static void a_repetition_in_a_later_term(void **state)
{
    struct cmd c = fx_safety(CMD_LOST, as_controller(), 0);
    uint64_t s;

    (void)state;
    s = open_session(as_controller(), "leader");
    c.safety.incarnation = fx_s_host("n1").incarnation;
    c.session = s;
    c.seq = 1;
    c.ack = 1;
    OK(fx_apply(&c));
    fx.term++;
    OK(fx_apply(&c));
    STATE(c.safety.incarnation, "Lost");
    c.seq = 2;
    WANT(ERR_STALE, fx_apply(&c)); /* decided in the earlier term, arrives in this one */
}

/* A long answer is not kept word by word, but it is not executed twice either. */
static void a_long_answer(void **state)
{
    uint64_t s = open_session(as_raw(), "client");
    char *big = mem_alloc(100001);
    struct txn_op ops[] = {
        { .kind = TXN_PUT, .key = bytes_str("k/n"), .value = bytes_str("1") },
        { .kind = TXN_GET, .key = bytes_str("k/big") },
    };
    struct cmd c = { .op = CMD_TXN, .actor = as_raw() };

    (void)state;
    memset(big, 'x', 100000);
    OK(fx_put("k/big", big));
    c.session = s;
    c.seq = 1;
    c.ack = 1;
    c.txn.then_ops = ops;
    c.txn.n_then = 2;
    OK(fx_apply(&c));
    assert_int_equal(fx.ans.answers[1].kvs[0].value.n, 100000);
    WANT(ERR_TOO_LARGE, fx_apply(&c));
    SAYS("executed once");
    assert_true(fx.ans.succeeded);
    assert_int_equal(version("k/n"), 1);
    free(big);
}

static void the_number_of_sessions_is_bounded(void **state)
{
    uint64_t first = open_session(as_raw(), "first");
    uint64_t last = 0;

    (void)state;
    for (int i = 0; i < 4096; i++) {
        last = open_session(as_raw(), arena_printf(&fx.a, "c%d", i));
        arena_done(&fx.a);
    }
    WANT(ERR_STALE, put_in(first, 1, 1, "k/a"));
    OK(put_in(last, 1, 1, "k/a"));
}

/* The hash covers the table: replicas that would answer a repetition differently differ in it. */
static void the_table_is_part_of_the_hash(void **state)
{
    uint64_t a, b;
    uint64_t s;

    (void)state;
    a = store_hash(fx.s);
    s = open_session(as_raw(), "x");
    b = store_hash(fx.s);
    assert_true(a != b);
    fx.ms -= 14; /* the wall clock is part of it as well: hold it */
    WANT(ERR_DENIED, put_in(s, 1, 1, "s/x"));
    a = store_hash(fx.s);
    assert_true(a != b);
    fx.ms -= 7;
    WANT(ERR_DENIED, put_in(s, 2, 2, "s/x"));
    assert_true(store_hash(fx.s) != a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TEST(a_repetition_gets_the_first_answer),
        FX_TEST(a_refusal_is_repeated_too),
        FX_TEST(any_order_within_the_window),
        FX_TEST(what_was_acknowledged_is_stale),
        FX_TEST(the_window_is_bounded),
        FX_TEST(an_unknown_session_executes_nothing),
        FX_TEST(bad_numbers),
        FX_TEST(a_new_session_closes_the_owners_old_one),
        FX_TEST(owners_are_told_apart_by_role),
        FX_TEST(owners_have_names),
        FX_TEST(without_a_session_everything_happens_each_time),
        FX_CLUSTER_TEST(a_repetition_in_a_later_term),
        FX_TEST(a_long_answer),
        FX_TEST(the_number_of_sessions_is_bounded),
        FX_TEST(the_table_is_part_of_the_hash),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
