/* Commands and answers as bytes: what goes in comes out, and nothing else gets through. */

#include "store_any.h"

#include <stdlib.h>

#include "store/mpk.h"

/* --- round trip ------------- */

static void commands_round_trip(void **state)
{
    (void)state;
    prng_init(&rng, 7);
    for (int i = 0; i < 3000; i++) {
        struct cmd c = any_cmd();
        struct buf b = { 0 };
        struct buf again = { 0 };
        struct err err = { 0 };
        struct cmd back;

        if (cmd_encode(&c, &b, &err) != 0) {
            fail_msg("%s", err.msg);
        }
        assert_int_equal(cmd_decode(b.data, b.len, &fx.a, &back, &err), 0);
        eq_cmd(&c, &back);
        assert_int_equal(cmd_encode(&back, &again, &err), 0);
        assert_int_equal(again.len, b.len);
        assert_memory_equal(again.data, b.data, b.len);
        buf_done(&b);
        buf_done(&again);
        arena_done(&fx.a);
    }
}

/* --- limits ------------------------------------------------------------------------------------
 */

static int encode(const struct cmd *c, struct err *err)
{
    struct buf b = { 0 };
    int rc;

    buf_add_str(&b, "before");
    rc = cmd_encode(c, &b, err);
    if (rc != 0) {
        assert_int_equal(b.len, 6); /* nothing half-written */
    }
    buf_done(&b);
    return rc;
}

static void limits_hold_on_both_sides(void **state)
{
    char *big = mem_alloc(CMD_MAX_VALUE + 2);
    struct txn_op op = { .kind = TXN_PUT, .key = bytes_str("k/a"), .value = bytes_str("") };
    struct cmd c = { .op = CMD_TXN, .actor = as_raw() };
    struct err err = { 0 };

    (void)state;
    memset(big, 'x', CMD_MAX_VALUE + 1);
    c.txn.then_ops = &op;
    c.txn.n_then = 1;
    assert_int_equal(encode(&c, &err), 0);
    op.value = (struct bytes){ (uint8_t *)big, CMD_MAX_VALUE };
    assert_int_equal(encode(&c, &err), 0);
    op.value.n++;
    assert_int_equal(encode(&c, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "op.value"));
    op.value = bytes_str("");
    op.key = (struct bytes){ (uint8_t *)big, CMD_MAX_KEY };
    assert_int_equal(encode(&c, &err), 0);
    op.key.n++;
    assert_int_equal(encode(&c, &err), ERR_INVALID);
    op.key.n = 0;
    assert_int_equal(encode(&c, &err), ERR_INVALID);
    op.key.p = NULL;
    assert_int_equal(encode(&c, &err), ERR_INVALID);
    free(big);
}

static void too_many_ops_or_bytes(void **state)
{
    static struct txn_op ops[CMD_MAX_TXN_OPS + 1];
    char *big = mem_alloc(1U << 20);
    struct cmd c = { .op = CMD_TXN, .actor = as_raw() };
    struct err err = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        ops[i] = (struct txn_op){ .kind = TXN_DELETE, .key = bytes_str("k/a") };
    }
    c.txn.then_ops = ops;
    c.txn.n_then = CMD_MAX_TXN_OPS;
    assert_int_equal(encode(&c, &err), 0);
    c.txn.n_then++;
    assert_int_equal(encode(&c, &err), ERR_INVALID);
    c.txn.n_then = 3;
    for (int i = 0; i < 3; i++) {
        ops[i].kind = TXN_PUT;
        ops[i].value = (struct bytes){ (uint8_t *)big, 1U << 20 };
    }
    assert_int_equal(encode(&c, &err), ERR_TOO_LARGE);
    free(big);
}

static void strings_are_utf8_without_nul(void **state)
{
    static const char *const BAD[] = { "\xff",         "\xc3",
                                       "a\x80",        "\xed\xa0\x80",
                                       "\xc0\xaf",     "\xf4\x90\x80\x80",
                                       "\xe0\x80\xaf", "\xf0\x8f\xbf\xbf" };
    struct cmd c = { .op = CMD_SESSION_OPEN, .actor = as_raw() };
    struct err err = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(BAD); i++) {
        c.text = BAD[i];
        assert_int_equal(encode(&c, &err), ERR_INVALID);
    }
    c.text = "\xf0\x9f\x92\xa9 \xc3\xa4 \xef\xbf\xbd";
    assert_int_equal(encode(&c, &err), 0);
    assert_false(mpk_utf8_ok("a\0b", 3));
}

/* --- answers -----------------------------------------------------------------------------------
 */

static void eq_answer(const struct cmd_answer *a, const struct cmd_answer *b)
{
    assert_int_equal(a->code, b->code);
    eq_str(a->msg, b->msg);
    assert_int_equal(a->rev, b->rev);
    assert_int_equal(a->n_values, b->n_values);
    for (size_t i = 0; i < a->n_values; i++) {
        assert_int_equal(a->values[i], b->values[i]);
    }
    assert_int_equal(a->succeeded, b->succeeded);
    assert_int_equal(a->n_answers, b->n_answers);
    for (size_t i = 0; i < a->n_answers; i++) {
        assert_int_equal(a->answers[i].kind, b->answers[i].kind);
        assert_int_equal(a->answers[i].count, b->answers[i].count);
        assert_int_equal(a->answers[i].n_kvs, b->answers[i].n_kvs);
        for (size_t j = 0; j < a->answers[i].n_kvs; j++) {
            const struct txn_kv *x = &a->answers[i].kvs[j];
            const struct txn_kv *y = &b->answers[i].kvs[j];

            eq_bytes(x->key, y->key);
            eq_bytes(x->value, y->value);
            assert_int_equal(x->create_rev, y->create_rev);
            assert_int_equal(x->mod_rev, y->mod_rev);
            assert_int_equal(x->version, y->version);
            assert_int_equal(x->lease, y->lease);
        }
    }
}

static struct cmd_answer any_answer(void)
{
    struct cmd_answer r = { .code = -(int)prng_below(&rng, 24), .msg = any_str(true) };

    r.rev = any_u64();
    r.n_values = (size_t)prng_below(&rng, 5);
    r.values = ARENA_ARRAY(&fx.a, uint64_t, r.n_values);
    for (size_t i = 0; i < r.n_values; i++) {
        r.values[i] = any_u64();
    }
    r.succeeded = any_bool();
    r.n_answers = (size_t)prng_below(&rng, 4);
    r.answers = ARENA_ARRAY(&fx.a, struct txn_answer, r.n_answers);
    for (size_t i = 0; i < r.n_answers; i++) {
        struct txn_answer *t = &r.answers[i];

        t->kind = (enum txn_kind)prng_below(&rng, 3);
        t->count = any_u64();
        t->n_kvs = (size_t)prng_below(&rng, 20);
        t->kvs = ARENA_ARRAY(&fx.a, struct txn_kv, t->n_kvs);
        for (size_t j = 0; j < t->n_kvs; j++) {
            t->kvs[j] = (struct txn_kv){ any_bytes(1, 100), any_bytes(0, 1000), any_u64(),
                                         any_u64(),         any_u64(),          any_u64() };
        }
    }
    return r;
}

static void answers_round_trip(void **state)
{
    (void)state;
    prng_init(&rng, 17);
    for (int i = 0; i < 2000; i++) {
        struct cmd_answer r = any_answer();
        struct cmd_answer back;
        struct buf b = { 0 };
        struct err err;

        assert_int_equal(cmd_answer_encode(&r, &b, &err), 0);
        assert_int_equal(cmd_answer_decode(b.data, b.len, &fx.a, &back, &err), 0);
        eq_answer(&r, &back);
        assert_int_equal(cmd_answer_decode(b.data, b.len - 1, &fx.a, &back, &err), ERR_INVALID);
        buf_done(&b);
        arena_done(&fx.a);
    }
}

static void an_answer_that_does_not_fit(void **state)
{
    struct cmd_answer r = { .msg = "a message of some length" };
    struct buf b;
    struct err err;

    (void)state;
    buf_init(&b, 10);
    assert_int_equal(cmd_answer_encode(&r, &b, &err), ERR_TOO_LARGE);
    buf_done(&b);
}

/* --- object values -----------------------------------------------------------------------------
 */

static void object_values(void **state)
{
    struct buf b = { 0 };
    const char *json;
    uint64_t gen;
    uint32_t flags;
    struct err err;
    size_t n;

    (void)state;
    objval_encode(42, OBJVAL_DELETING, "{}", 2, &b);
    assert_int_equal(b.len, OBJVAL_HEADER + 2);
    assert_int_equal(objval_decode(b.data, b.len, &gen, &flags, &json, &n, &err), 0);
    assert_int_equal(gen, 42);
    assert_int_equal(flags, OBJVAL_DELETING);
    assert_int_equal(n, 2);
    assert_memory_equal(json, "{}", 2);
    assert_int_equal(objval_decode(b.data, OBJVAL_HEADER, &gen, &flags, &json, &n, &err), 0);
    assert_int_equal(objval_decode(b.data, OBJVAL_HEADER - 1, &gen, &flags, &json, &n, &err),
                     ERR_CORRUPT);
    b.data[0] ^= 1;
    assert_int_equal(objval_decode(b.data, b.len, &gen, &flags, &json, &n, &err), ERR_CORRUPT);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FX_TEST(commands_round_trip),   FX_TEST(limits_hold_on_both_sides),
        FX_TEST(too_many_ops_or_bytes), FX_TEST(strings_are_utf8_without_nul),
        FX_TEST(answers_round_trip),    FX_TEST(an_answer_that_does_not_fit),
        FX_TEST(object_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
