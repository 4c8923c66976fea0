#ifndef TESTS_UNIT_STORE_ANY_H
#define TESTS_UNIT_STORE_ANY_H

/* Commands with any value in any field, and equality field by field, for the tests of the codecs.
 */

#include "store_fixture.h"

/* --- equality, field by field ------------------------------------------------------------------
 */

UNUSED static void eq_bytes(struct bytes a, struct bytes b)
{
    assert_true((a.p == NULL) == (b.p == NULL));
    assert_int_equal(a.n, b.n);
    if (a.n > 0) {
        assert_memory_equal(a.p, b.p, a.n);
    }
}

UNUSED static void eq_str(const char *a, const char *b)
{
    assert_true(str_eq(a, b));
}

UNUSED static void eq_terms(const struct terms *a, const struct terms *b)
{
    assert_int_equal(a->lease_ms, b->lease_ms);
    assert_int_equal(a->watchdog_ms, b->watchdog_ms);
    assert_int_equal(a->feed_ms, b->feed_ms);
    assert_int_equal(a->on_quorum_loss, b->on_quorum_loss);
    assert_int_equal(a->wd, b->wd);
    assert_int_equal(a->nowayout, b->nowayout);
    assert_int_equal(a->guarded, b->guarded);
}

UNUSED static void eq_ops(const struct txn_op *a, size_t na, const struct txn_op *b, size_t nb)
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

UNUSED static void eq_txn(const struct cmd_txn *a, const struct cmd_txn *b)
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

UNUSED static void eq_safety(const struct cmd_safety *a, const struct cmd_safety *b)
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

UNUSED static void eq_register(const struct cmd_register *a, const struct cmd_register *b)
{
    eq_str(a->host, b->host);
    eq_str(a->host_uid, b->host_uid);
    eq_str(a->boot_id, b->boot_id);
    eq_str(a->hardware_id, b->hardware_id);
    assert_int_equal(a->expected, b->expected);
    eq_str(a->nonce, b->nonce);
    eq_terms(&a->terms, &b->terms);
}

UNUSED static void eq_cmd(const struct cmd *a, const struct cmd *b)
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

static struct prng rng UNUSED;

UNUSED static uint64_t any_u64(void)
{
    return prng_u64(&rng) >> prng_below(&rng, 64);
}

UNUSED static bool any_bool(void)
{
    return prng_below(&rng, 2) == 1;
}

UNUSED static const char *any_str(bool may_be_null)
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

UNUSED static struct bytes any_bytes(size_t min, size_t max)
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

UNUSED static struct terms any_terms(void)
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

UNUSED static struct txn_op any_op(void)
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

UNUSED static void any_txn(struct cmd_txn *t)
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

UNUSED static void any_levels(struct cmd_safety *f)
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

UNUSED static void any_safety(struct cmd_safety *f)
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

UNUSED static void any_args(struct cmd *c)
{
    if (c->op == CMD_TXN) {
        any_txn(&c->txn);
    } else if (c->op == CMD_REGISTER) {
        c->reg = (struct cmd_register){ any_str(true), any_str(true), any_str(true), any_str(true),
                                        any_u64(),     any_str(true), any_terms() };
    } else if (c->op < CMD_INIT || c->op == CMD_INIT || c->op == CMD_ALARM || c->op == CMD_LEASE ||
               c->op == CMD_RECOVER || c->op == CMD_QUOTA) {
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

UNUSED static struct cmd any_cmd(void)
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

#endif
