/* Commands and answers as bytes: what goes in comes out, and nothing else gets through. */

#include "store_fixture.h"

#include <stdlib.h>

#include "store/mpk.h"

/* --- equality, field by field ------------------------------------------------------------------
 */

static void eq_bytes(struct bytes a, struct bytes b)
{
    assert_true((a.p == NULL) == (b.p == NULL));
    assert_int_equal(a.n, b.n);
    if (a.n > 0) {
        assert_memory_equal(a.p, b.p, a.n);
    }
}

static void eq_str(const char *a, const char *b)
{
    assert_true(str_eq(a, b));
}

static void eq_terms(const struct terms *a, const struct terms *b)
{
    assert_int_equal(a->lease_ms, b->lease_ms);
    assert_int_equal(a->watchdog_ms, b->watchdog_ms);
    assert_int_equal(a->feed_ms, b->feed_ms);
    assert_int_equal(a->on_quorum_loss, b->on_quorum_loss);
    assert_int_equal(a->wd, b->wd);
    assert_int_equal(a->nowayout, b->nowayout);
    assert_int_equal(a->guarded, b->guarded);
}

static void eq_ops(const struct txn_op *a, size_t na, const struct txn_op *b, size_t nb)
{
    assert_int_equal(na, nb);
    for (size_t i = 0; i < na; i++) {
        assert_int_equal(a[i].kind, b[i].kind);
        eq_bytes(a[i].key, b[i].key);
        eq_bytes(a[i].end, b[i].end);
        eq_bytes(a[i].value, b[i].value);
        assert_int_equal(a[i].lease, b[i].lease);
        assert_int_equal(a[i].prev_kv, b[i].prev_kv);
        assert_int_equal(a[i].keep_value, b[i].keep_value);
        assert_int_equal(a[i].keep_lease, b[i].keep_lease);
        assert_int_equal(a[i].count_only, b[i].count_only);
        assert_int_equal(a[i].keys_only, b[i].keys_only);
        assert_int_equal(a[i].limit, b[i].limit);
    }
}

static void eq_txn(const struct cmd_txn *a, const struct cmd_txn *b)
{
    assert_int_equal(a->n_cmp, b->n_cmp);
    for (size_t i = 0; i < a->n_cmp; i++) {
        assert_int_equal(a->cmp[i].target, b->cmp[i].target);
        assert_int_equal(a->cmp[i].result, b->cmp[i].result);
        assert_int_equal(a->cmp[i].number, b->cmp[i].number);
        eq_bytes(a->cmp[i].key, b->cmp[i].key);
        eq_bytes(a->cmp[i].end, b->cmp[i].end);
        eq_bytes(a->cmp[i].value, b->cmp[i].value);
    }
    eq_ops(a->then_ops, a->n_then, b->then_ops, b->n_then);
    eq_ops(a->else_ops, a->n_else, b->else_ops, b->n_else);
}

static void eq_safety(const struct cmd_safety *a, const struct cmd_safety *b)
{
    assert_int_equal(a->incarnation, b->incarnation);
    assert_int_equal(a->fencing, b->fencing);
    assert_int_equal(a->attempt, b->attempt);
    assert_int_equal(a->elapsed_ms, b->elapsed_ms);
    assert_int_equal(a->proof, b->proof);
    eq_str(a->host, b->host);
    eq_str(a->reason, b->reason);
    assert_int_equal(a->host_generation, b->host_generation);
    assert_int_equal(a->n_levels, b->n_levels);
    for (size_t i = 0; i < a->n_levels; i++) {
        assert_int_equal(a->levels[i].n_devices, b->levels[i].n_devices);
        for (size_t j = 0; j < a->levels[i].n_devices; j++) {
            eq_str(a->levels[i].devices[j].name, b->levels[i].devices[j].name);
            eq_str(a->levels[i].devices[j].type, b->levels[i].devices[j].type);
            assert_int_equal(a->levels[i].devices[j].generation,
                             b->levels[i].devices[j].generation);
            assert_int_equal(a->levels[i].devices[j].provides, b->levels[i].devices[j].provides);
            assert_int_equal(b->levels[i].devices[j].create_rev, 0); /* the store's business */
        }
    }
    assert_int_equal(a->by_user, b->by_user);
    assert_int_equal(a->level, b->level);
    eq_str(a->executor, b->executor);
    eq_str(a->device, b->device);
    assert_int_equal(a->result, b->result);
    eq_str(a->detail, b->detail);
    assert_int_equal(a->offer, b->offer);
    eq_terms(&a->terms, &b->terms);
    assert_int_equal(a->complete, b->complete);
    assert_int_equal(a->life_sign, b->life_sign);
    assert_int_equal(a->n_locks, b->n_locks);
    for (size_t i = 0; i < a->n_locks; i++) {
        eq_str(a->locks[i].lock, b->locks[i].lock);
        eq_str(a->locks[i].uid, b->locks[i].uid);
        assert_int_equal(a->locks[i].token, b->locks[i].token);
    }
}

static void eq_register(const struct cmd_register *a, const struct cmd_register *b)
{
    eq_str(a->host, b->host);
    eq_str(a->host_uid, b->host_uid);
    eq_str(a->boot_id, b->boot_id);
    eq_str(a->hardware_id, b->hardware_id);
    assert_int_equal(a->expected, b->expected);
    eq_str(a->nonce, b->nonce);
    eq_terms(&a->terms, &b->terms);
}

static void eq_cmd(const struct cmd *a, const struct cmd *b)
{
    assert_int_equal(a->op, b->op);
    assert_int_equal(a->session, b->session);
    assert_int_equal(a->seq, b->seq);
    assert_int_equal(a->ack, b->ack);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->actor.role, b->actor.role);
    eq_str(a->actor.name, b->actor.name);
    assert_int_equal(a->actor.term, b->actor.term);
    eq_txn(&a->txn, &b->txn);
    eq_register(&a->reg, &b->reg);
    eq_safety(&a->safety, &b->safety);
    eq_str(a->text, b->text);
    assert_int_equal(a->number, b->number);
    assert_int_equal(a->number2, b->number2);
    assert_int_equal(a->n_names, b->n_names);
    for (size_t i = 0; i < a->n_names; i++) {
        eq_str(a->names[i], b->names[i]);
    }
}

/* --- random commands: any field may have any value ---------------------------------------------
 */

static struct prng rng;

static uint64_t any_u64(void)
{
    return prng_u64(&rng) >> prng_below(&rng, 64);
}

static bool any_bool(void)
{
    return prng_below(&rng, 2) == 1;
}

static const char *any_str(bool may_be_null)
{
    static const char *const SOME[] = { "", "n1", "virtualmachines/vm1", "\xc3\xa4\xe2\x82\xac",
                                        "a string of more than thirty-one bytes in length" };
    size_t i = (size_t)prng_below(&rng, ARRAY_LEN(SOME) + (may_be_null ? 1 : 0));

    if (i == ARRAY_LEN(SOME)) {
        return NULL;
    }
    if (prng_below(&rng, 20) == 0) {
        size_t n = (size_t)prng_below(&rng, 4000);
        char *s = arena_alloc(&fx.a, n + 1);

        memset(s, 'z', n);
        return s;
    }
    return SOME[i];
}

static struct bytes any_bytes(size_t min, size_t max)
{
    struct bytes b;
    uint8_t *p;

    b.n = min + (size_t)(any_u64() % (max - min + 1));
    p = arena_alloc(&fx.a, b.n + 1);
    for (size_t i = 0; i < b.n; i++) {
        p[i] = (uint8_t)(i * 7 + b.n);
    }
    b.p = p;
    return b;
}

static struct terms any_terms(void)
{
    return (struct terms){
        .lease_ms = (uint32_t)any_u64(),
        .watchdog_ms = (uint32_t)any_u64(),
        .feed_ms = (uint32_t)any_u64(),
        .on_quorum_loss = (enum quorum_loss)prng_below(&rng, 2),
        .wd = (enum wd_kind)prng_below(&rng, 5),
        .nowayout = any_bool(),
        .guarded = any_bool(),
    };
}

static struct txn_op any_op(void)
{
    struct txn_op o = { .kind = (enum txn_kind)prng_below(&rng, 3), .key = any_bytes(1, 300) };

    o.lease = any_u64();
    o.limit = any_u64();
    o.prev_kv = any_bool();
    o.keep_lease = any_bool();
    o.keep_value = any_bool();
    o.count_only = any_bool();
    o.keys_only = any_bool();
    if (o.kind == TXN_PUT && !o.keep_value) {
        o.value = any_bytes(0, 70000);
    } else if (o.kind != TXN_PUT && any_bool()) {
        o.end = any_bytes(0, 300);
    }
    return o;
}

static void any_txn(struct cmd_txn *t)
{
    t->n_cmp = (size_t)prng_below(&rng, 20);
    t->n_then = (size_t)prng_below(&rng, 20);
    t->n_else = (size_t)prng_below(&rng, 3);
    t->cmp = ARENA_ARRAY(&fx.a, struct txn_cmp, t->n_cmp);
    t->then_ops = ARENA_ARRAY(&fx.a, struct txn_op, t->n_then);
    t->else_ops = ARENA_ARRAY(&fx.a, struct txn_op, t->n_else);
    for (size_t i = 0; i < t->n_cmp; i++) {
        t->cmp[i] = (struct txn_cmp){
            .target = (enum cmp_target)prng_below(&rng, 5),
            .result = (enum cmp_result)prng_below(&rng, 4),
            .key = any_bytes(1, 50),
            .value = any_bytes(0, 50),
            .number = any_u64(),
        };
    }
    for (size_t i = 0; i < t->n_then; i++) {
        t->then_ops[i] = any_op();
    }
    for (size_t i = 0; i < t->n_else; i++) {
        t->else_ops[i] = any_op();
    }
}

static void any_levels(struct cmd_safety *f)
{
    f->n_levels = (size_t)prng_below(&rng, 4);
    f->levels = ARENA_ARRAY(&fx.a, struct cmd_fence_level, f->n_levels);
    for (size_t i = 0; i < f->n_levels; i++) {
        struct cmd_fence_level *lv = &f->levels[i];

        lv->n_devices = 1 + (size_t)prng_below(&rng, 3);
        lv->devices = ARENA_ARRAY(&fx.a, struct cmd_fence_device, lv->n_devices);
        for (size_t j = 0; j < lv->n_devices; j++) {
            lv->devices[j].name = any_str(false);
            lv->devices[j].type = any_str(false);
            lv->devices[j].generation = any_u64();
            lv->devices[j].provides = (enum proof_class)prng_below(&rng, 4);
        }
    }
}

static void any_safety(struct cmd_safety *f)
{
    f->incarnation = any_u64();
    f->fencing = any_u64();
    f->attempt = any_u64();
    f->elapsed_ms = any_u64();
    f->proof = (enum proof_kind)prng_below(&rng, 6);
    f->host = any_str(true);
    f->reason = any_str(true);
    f->host_generation = any_u64();
    any_levels(f);
    f->by_user = any_bool();
    f->level = (uint32_t)any_u64();
    f->executor = any_str(true);
    f->device = any_str(true);
    f->result = (enum fence_result)prng_below(&rng, 3);
    f->detail = any_str(true);
    f->offer = any_bool();
    f->terms = any_terms();
    f->complete = any_bool();
    f->life_sign = any_bool();
    f->n_locks = (size_t)prng_below(&rng, 30);
    f->locks = ARENA_ARRAY(&fx.a, struct cmd_lock_ref, f->n_locks);
    for (size_t i = 0; i < f->n_locks; i++) {
        f->locks[i] = (struct cmd_lock_ref){ any_str(false), any_str(true), any_u64() };
    }
}

static void any_args(struct cmd *c)
{
    if (c->op == CMD_TXN) {
        any_txn(&c->txn);
    } else if (c->op == CMD_REGISTER) {
        c->reg = (struct cmd_register){ any_str(true), any_str(true), any_str(true), any_str(true),
                                        any_u64(),     any_str(true), any_terms() };
    } else if (c->op < CMD_INIT || c->op == CMD_INIT || c->op == CMD_ALARM || c->op == CMD_LEASE ||
               c->op == CMD_RECOVER) {
        c->text = any_str(true);
        c->number = any_u64();
        c->number2 = any_u64();
        c->n_names = (size_t)prng_below(&rng, 4);
        c->names = ARENA_ARRAY(&fx.a, const char *, c->n_names);
        for (size_t i = 0; i < c->n_names; i++) {
            c->names[i] = any_str(false);
        }
    } else {
        any_safety(&c->safety);
    }
}

static struct cmd any_cmd(void)
{
    struct cmd c = { .op = CMD_NONE };

    do {
        c.op = (enum cmd_op)(1 + prng_below(&rng, CMD_OP_MAX));
    } while (c.op > CMD_FEATURE && c.op < CMD_INIT);
    c.session = any_u64();
    c.seq = any_u64();
    c.ack = any_u64();
    c.epoch = any_u64();
    c.actor.role = (enum actor_role)prng_below(&rng, 8);
    c.actor.name = any_str(true);
    c.actor.term = any_u64();
    any_args(&c);
    return c;
}

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

/* --- hostile bytes -----------------------------------------------------------------------------
 */

/* Any bytes give a command or ERR_INVALID; the sanitizers look on. */
static void any_bytes_are_survived(void **state)
{
    (void)state;
    prng_init(&rng, 11);
    for (int i = 0; i < 400; i++) {
        struct cmd c = any_cmd();
        struct buf b = { 0 };
        struct cmd back;
        struct err err;

        assert_int_equal(cmd_encode(&c, &b, &err), 0);
        for (int k = 0; k < 60; k++) {
            uint8_t *copy = mem_dup(b.data, b.len);
            size_t len = b.len;
            int rc;

            for (uint64_t n = prng_below(&rng, 4); n > 0; n--) {
                copy[prng_below(&rng, len < 200 ? len : 200)] = (uint8_t)prng_u64(&rng);
            }
            if (prng_below(&rng, 3) == 0) {
                len = (size_t)prng_below(&rng, len);
            }
            rc = cmd_decode(copy, len, &fx.a, &back, &err);
            assert_true(rc == 0 || rc == ERR_INVALID);
            free(copy);
        }
        buf_done(&b);
        arena_done(&fx.a);
    }
}

static void every_truncation_is_an_error(void **state)
{
    (void)state;
    prng_init(&rng, 13);
    for (int i = 0; i < 200; i++) {
        struct cmd c = any_cmd();
        struct buf b = { 0 };
        struct cmd back;
        struct err err;

        assert_int_equal(cmd_encode(&c, &b, &err), 0);
        for (size_t len = 0; len < b.len; len += 1 + len / 50) {
            assert_int_equal(cmd_decode(b.data, len, &fx.a, &back, &err), ERR_INVALID);
            arena_done(&fx.a);
        }
        buf_add_byte(&b, 0xc0);
        assert_int_equal(cmd_decode(b.data, b.len, &fx.a, &back, &err), ERR_INVALID);
        assert_non_null(strstr(err.msg, "too many"));
        buf_done(&b);
        arena_done(&fx.a);
    }
}

/* A count that promises more than there is must not be believed. */
static void a_lying_count_allocates_nothing(void **state)
{
    static const uint8_t LIE[] = { 0x97, 1,    0,    0,    0,    0,    0x93, 7,   0xc0,
                                   0,    0x93, 0x90, 0xdd, 0xff, 0xff, 0xff, 0xff };
    struct cmd c;
    struct err err;

    (void)state;
    assert_int_equal(cmd_decode(LIE, sizeof(LIE), &fx.a, &c, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "txn.then"));
    assert_true(fx.a.total < 4096);
}

static void deep_nesting_is_passed_over_without_recursion(void **state)
{
    size_t n = 1000000;
    uint8_t *p = mem_alloc(n);
    struct mpk m = mpk_make(p, n, &fx.a);
    struct err err;

    (void)state;
    memset(p, 0x91, n - 1); /* [[[[...nil]]]] */
    p[n - 1] = 0xc0;
    mpk_skip(&m, 1, "deep");
    assert_int_equal(mpk_end(&m, ERR_INVALID, "deep", &err), 0);
    free(p);
}

/* An undecodable entry gives an answer and changes nothing, on every replica alike. */
static void an_undecodable_command_is_answered(void **state)
{
    (void)state;
    OK(fx_put("k/a", "1"));
    WANT(ERR_INVALID, fx_apply_raw(fx.s, "\x97garbage", 8, fx.term));
    WANT(ERR_INVALID, fx_apply_raw(fx.s, "", 0, fx.term));
    assert_int_equal(store_rev(fx.s), 1);
    assert_int_equal(store_index(fx.s), 3);
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
        FX_TEST(commands_round_trip),
        FX_TEST(limits_hold_on_both_sides),
        FX_TEST(too_many_ops_or_bytes),
        FX_TEST(strings_are_utf8_without_nul),
        FX_TEST(any_bytes_are_survived),
        FX_TEST(every_truncation_is_an_error),
        FX_TEST(a_lying_count_allocates_nothing),
        FX_TEST(deep_nesting_is_passed_over_without_recursion),
        FX_TEST(an_undecodable_command_is_answered),
        FX_TEST(answers_round_trip),
        FX_TEST(an_answer_that_does_not_fit),
        FX_TEST(object_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
