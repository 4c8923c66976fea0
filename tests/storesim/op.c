/* Operations of clients: what was asked, what was answered, what the log did with it. */

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "tests/storesim/sim.h"
#include "tests/storesim/wgl.h"

static struct sim_op **ops;
static size_t n_ops, cap_ops;
static uint64_t order;   /* of calls and returns */
static uint64_t max_rev; /* that any client has seen */
static struct {
    uint64_t session, seq;
    struct sim_op *op;
} * by_session;
static size_t n_by, cap_by;

void ops_reset(void)
{
    order = 0;
    max_rev = 0;
}

void ops_done(void)
{
    for (size_t i = 0; i < n_ops; i++) {
        buf_done(&ops[i]->cmd);
        free(ops[i]->answer);
        free(ops[i]->times);
        free(ops[i]);
    }
    free(ops);
    free(by_session);
}

size_t ops_count(void)
{
    return n_ops;
}

struct sim_op *op_at(size_t i)
{
    return ops[i];
}

uint64_t rev_seen(void)
{
    return max_rev;
}

struct sim_op *op_new(unsigned client, unsigned node, enum sim_kind kind)
{
    struct sim_op *op = OBJ_NEW(struct sim_op);

    if (n_ops == cap_ops) {
        cap_ops = cap_ops == 0 ? 1024 : cap_ops * 2;
        ops = mem_realloc(ops, cap_ops * sizeof(struct sim_op *));
    }
    ops[n_ops++] = op;
    op->id = n_ops;
    op->client = client;
    op->node = node;
    op->kind = kind;
    op->reg = -1;
    op->req.data = op;
    op->began = now();
    op->call = ++order;
    op->must_rev = max_rev;
    return op;
}

static void finish(struct sim_op *op, enum sim_state state, const struct err *err)
{
    op->state = state;
    op->ended = now();
    op->ret = ++order;
    if (err != NULL) {
        op->code = err->code;
    }
    story("c%u op %" PRIu64 " %s%s%s", op->client, op->id,
          state == ST_OK         ? "ok"
          : state == ST_REFUSED  ? "refused "
          : state == ST_NOT_DONE ? "not done "
                                 : "unknown ",
          op->code == 0 ? "" : err_name(op->code), err == NULL ? "" : err->msg);
    if (op->done != NULL) {
        op->done(op);
    }
}

/* --- commands ----------------------------------------------------------------------------------
 */

static void take_answer(struct sim_op *op, uint64_t index, const uint8_t *result, size_t len)
{
    struct arena a = { 0 };
    struct cmd_answer ans;
    struct err err;
    unsigned i;

    for (i = 0; i < op->applied && op->times[i].index != index; i++) {
    }
    if (i == op->applied) {
        FAIL("op %" PRIu64 " was acknowledged at %" PRIu64 ", where nobody has applied it", op->id,
             index);
    }
    if (op->times[i].crc != crc32c(0, result, len)) {
        FAIL("op %" PRIu64 " got another answer than entry %" PRIu64 " gives", op->id, index);
    }
    REQUIRE(nodes[op->node].applied >= index); /* the caller reads its own writes */
    REQUIRE(op->applied_at >= op->began);
    REQUIRE(cmd_answer_decode(result, len, &a, &ans, &err) == 0);
    op->code = ans.code;
    op->rev = ans.rev;
    max_rev = ans.rev > max_rev ? ans.rev : max_rev;
    arena_done(&a);
}

static void on_proposed(struct rep_req *req, const struct err *err, uint64_t index,
                        const uint8_t *result, size_t len)
{
    struct sim_op *op = req->data;

    REQUIRE(op->state == ST_PENDING);
    if (err == NULL) {
        take_answer(op, index, result, len);
        totals.acked += op->code == 0;
        totals.refused += op->code != 0;
        finish(op, op->code == 0 ? ST_OK : ST_REFUSED, NULL);
        return;
    }
    if (err->code == ERR_UNKNOWN_OUTCOME) {
        op->maybe = true;
    } else {
        REQUIRE(err->code == ERR_NO_QUORUM || err->code == ERR_LIMIT ||
                err->code == ERR_NOT_LEADER);
        if (!op->maybe && op->applied > 0) {
            FAIL("op %" PRIu64 " \"did not happen and will not\", but it has", op->id);
        }
    }
    totals.unknown += op->maybe;
    finish(op, op->maybe ? ST_UNKNOWN : ST_NOT_DONE, err);
}

static void propose(struct sim_op *op)
{
    op->state = ST_PENDING;
    rep_propose(rep_of(op->node), &op->req, op->cmd.data, op->cmd.len, 200 + rnd(3000),
                on_proposed);
    REQUIRE(op->state == ST_PENDING);
    if (chance(50)) {
        node_after(op->node);
    }
}

void op_submit(struct sim_op *op, struct cmd *c)
{
    struct err err;

    if (c->session == 0) {
        c->seq = op->id; /* without a session the store does not look at it: it marks the command */
    } else {
        if (n_by == cap_by) {
            cap_by = cap_by == 0 ? 256 : cap_by * 2;
            by_session = mem_realloc(by_session, cap_by * sizeof(*by_session));
        }
        by_session[n_by].session = c->session;
        by_session[n_by].seq = c->seq;
        by_session[n_by++].op = op;
    }
    op->session = c->session;
    op->seq = c->seq;
    if (cmd_encode(c, &op->cmd, &err) != 0) {
        FAIL("encode: %s", err.msg);
    }
    totals.commands++;
    propose(op);
}

void op_again(struct sim_op *op, unsigned node)
{
    REQUIRE(op->session != 0);
    op->node = node;
    totals.retried++;
    story("c%u op %" PRIu64 " again at %s", op->client, op->id, node_name(node));
    propose(op);
}

static struct sim_op *op_of(const struct cmd *c)
{
    if (c->session == 0) {
        REQUIRE(c->seq >= 1 && c->seq <= n_ops);
        return ops[c->seq - 1];
    }
    for (size_t i = n_by; i > 0; i--) {
        if (by_session[i - 1].session == c->session && by_session[i - 1].seq == c->seq) {
            return by_session[i - 1].op;
        }
    }
    FAIL("session %" PRIu64 " seq %" PRIu64 " is nobody's", c->session, c->seq);
}

void op_applied(const struct cmd *c, uint64_t index, const uint8_t *answer, size_t len)
{
    struct sim_op *op = op_of(c);

    if (op->session == 0 && op->applied > 0) {
        FAIL("op %" PRIu64 " was applied at %" PRIu64 " and again at %" PRIu64, op->id,
             op->times[0].index, index);
    }
    if (op->state == ST_NOT_DONE) {
        FAIL("op %" PRIu64 " \"did not happen and will not\", and is applied at %" PRIu64, op->id,
             index);
    }
    if (op->applied == 0) {
        op->applied_at = now();
        op->applied_ret = ++order;
        op->answer = mem_dup(answer, len);
        op->answer_len = len;
    }
    op->times = mem_realloc(op->times, (op->applied + 1) * sizeof(*op->times));
    op->times[op->applied].index = index;
    op->times[op->applied++].crc = crc32c(0, answer, len);
}

/* --- reads -------------------------------------------------------------------------------------
 */

struct reading {
    struct sim_op *op;
    uint64_t rev; /* of the model */
    size_t n;
    bool found;
    uint64_t value;
};

/* "v<number>": what registers hold. */
static uint64_t value_of(const struct kv *v)
{
    return v->vlen > 1 && kv_value(v)[0] == 'v' ? strtoull((const char *)kv_value(v) + 1, NULL, 10)
                                                : 0;
}

static bool read_visit(void *ctx, const struct kv *v)
{
    struct reading *r = ctx;
    const struct m_event *e = model_range(&model, r->op->key, r->op->end, r->rev, r->n++);
    struct m_event is = { .rev = v->mod_rev,
                          .key = { v->bytes, v->klen },
                          .value = { kv_value(v), v->vlen },
                          .create_rev = v->create_rev,
                          .version = v->version,
                          .lease = v->lease };

    if (e == NULL || !model_same(e, &is)) {
        FAIL("op %" PRIu64 " at %s: read %s of revision %" PRIu64 " at revision %" PRIu64
             ", where the model has %.*s of %" PRIu64,
             r->op->id, node_name(r->op->node), kv_key(v), v->mod_rev, r->rev,
             e == NULL ? 7 : (int)e->key.n, e == NULL ? "nothing" : (const char *)e->key.p,
             e == NULL ? 0 : e->rev);
    }
    r->found = true;
    r->value = value_of(v);
    return true;
}

static void read_now(struct sim_op *op, uint64_t rev)
{
    const struct store *s = nodes[op->node].store;
    struct reading r = { .op = op, .rev = rev == 0 ? store_rev(s) : rev };

    if (op->end.p == NULL) {
        const struct kv *v = store_get(s, op->key.p, op->key.n, rev);

        if (v != NULL) {
            (void)read_visit(&r, v);
        }
    } else {
        store_range(s, op->key.p, op->key.n, op->end.p, op->end.n, rev, read_visit, &r);
    }
    if (r.rev > 0 && model_range(&model, op->key, op->end, r.rev, r.n) != NULL) {
        FAIL("op %" PRIu64 " at %s: a read at revision %" PRIu64 " found %zu keys, there are more",
             op->id, node_name(op->node), r.rev, r.n);
    }
    op->rev = r.rev;
    op->value = r.found ? r.value : 0;
    op->held = r.found;
}

static void on_read(struct rep_req *req, const struct err *err)
{
    struct sim_op *op = req->data;

    REQUIRE(op->state == ST_PENDING);
    if (err != NULL) {
        REQUIRE(err->code == ERR_NO_QUORUM);
        finish(op, ST_NOT_DONE, err);
        return;
    }
    read_now(op, 0);
    if (op->rev < op->must_rev) {
        FAIL("op %" PRIu64 ": a linearizable read at %s saw revision %" PRIu64
             ", somebody had seen %" PRIu64 " before it began",
             op->id, node_name(op->node), op->rev, op->must_rev);
    }
    max_rev = op->rev > max_rev ? op->rev : max_rev;
    totals.reads++;
    finish(op, ST_OK, NULL);
}

void op_read(struct sim_op *op, bool linearizable)
{
    if (linearizable) {
        rep_read(rep_of(op->node), &op->req, 200 + rnd(3000), on_read);
        if (chance(50)) {
            node_after(op->node);
        }
        return;
    }
    op->reg = -1; /* it may be old */
    read_now(op, 0);
    totals.serializable++;
    finish(op, ST_OK, NULL);
}

void op_old_read(struct sim_op *op, uint64_t rev)
{
    op->reg = -1;
    read_now(op, rev);
    totals.old_reads++;
    finish(op, ST_OK, NULL);
}

/* --- leases: see lease.c for the other end ------------------------------------------------------
 */

static void on_kept(struct rep_req *req, const struct err *err, const uint8_t *data, size_t len)
{
    struct sim_op *op = req->data;

    REQUIRE(op->state == ST_PENDING);
    if (err != NULL) {
        finish(op, ST_UNKNOWN, err);
        return;
    }
    lease_kept(op, data, len);
    finish(op, ST_OK, NULL);
}

void op_keep(struct sim_op *op)
{
    struct buf b = { 0 };

    buf_add_byte(&b, 1);
    buf_add_u64(&b, op->lease);
    rep_call(rep_of(op->node), 0, 2, b.data, b.len, 1000 + rnd(2000), &op->req, on_kept);
    buf_done(&b);
    node_after(op->node);
}

/* --- the end -----------------------------------------------------------------------------------
 */

void ops_node_down(unsigned i)
{
    for (size_t k = 0; k < n_ops; k++) {
        struct sim_op *op = ops[k];

        if (op->state == ST_PENDING && op->node == i) {
            op->maybe = op->maybe || op->kind == OP_COMMAND;
            finish(op, op->kind == OP_READ ? ST_NOT_DONE : ST_UNKNOWN, NULL);
        }
    }
}

/* One register's history, as its clients saw it.  What never returned but is in the log returned at
 * the latest when it was applied; what is not in the log has not happened. */
static size_t history(int reg, struct wgl_op *dst, struct sim_op **of)
{
    size_t n = 0;

    for (size_t i = 0; i < n_ops; i++) {
        struct sim_op *op = ops[i];
        struct wgl_op x = { .kind = (enum wgl_kind)op->wgl,
                            .value = op->value,
                            .expect = op->expect,
                            .held = op->held,
                            .call = op->call,
                            .ret = op->ret };

        if (op->reg != reg || op->state == ST_NOT_DONE || op->state == ST_REFUSED ||
            (op->state != ST_OK && (op->kind == OP_READ || op->applied == 0))) {
            continue;
        }
        if (op->state != ST_OK) { /* its answer is in the log */
            struct arena a = { 0 };
            struct cmd_answer ans;

            answer_of(op, &a, &ans);
            x.held = ans.succeeded;
            x.ret = op->applied_ret;
            if (ans.code != 0) {
                arena_done(&a);
                continue;
            }
            arena_done(&a);
        }
        of[n] = op;
        dst[n++] = x;
    }
    return n;
}

static void check_registers(void)
{
    struct wgl_op *h = mem_alloc((n_ops + 1) * sizeof(*h));
    struct sim_op **of = mem_alloc((n_ops + 1) * sizeof(struct sim_op *));
    size_t bad;

    for (unsigned reg = 0; reg < opt.registers; reg++) {
        size_t n = history((int)reg, h, of);
        enum wgl_result r = wgl_check(h, n, 0, 20000000, &bad);

        totals.registers++;
        totals.register_ops += n;
        totals.register_long += r == WGL_TOO_LONG;
        if (r == WGL_BAD) {
            FAIL("register k/r%u: %zu operations are not linearizable, op %" PRIu64 " least of all",
                 reg, n, of[bad]->id);
        }
    }
    free(h);
    free(of);
}

void ops_end_checks(void)
{
    for (size_t i = 0; i < n_ops; i++) {
        const struct sim_op *op = ops[i];

        if (op->kind == OP_COMMAND && (op->state == ST_OK || op->state == ST_REFUSED)) {
            REQUIRE(op->applied > 0 && op->times[0].index <= machine_index());
        }
    }
    check_registers();
}
