/* Clients: each does one thing after the other, at a node of its choice, and remembers what it was
 * told. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "tests/storesim/sim.h"
#include "tests/storesim/wgl.h"

#define RAW(name_) ((struct actor){ ACTOR_RAW, (name_), 0 })

struct sim_client clients[SIM_CLIENTS];
unsigned n_clients;

unsigned pick_node(void)
{
    for (unsigned tries = 0; tries < 20; tries++) {
        unsigned i = (unsigned)rnd(SIM_NODES);

        if (node_used(i) && !nodes[i].gone && rep_of(i) != NULL &&
            !(opt.witness && i + 1 == opt.voters) &&
            (!nemesis_healing() || rep_leader(rep_of(i)) != 0)) { /* not one that was removed */
            return i;
        }
    }
    return SIM_NODES;
}

void answer_of(const struct sim_op *op, struct arena *a, struct cmd_answer *ret)
{
    struct err err;

    REQUIRE(op->answer != NULL);
    REQUIRE(cmd_answer_decode(op->answer, op->answer_len, a, ret, &err) == 0);
}

static struct bytes text(const char *s)
{
    return (struct bytes){ (const uint8_t *)s, strlen(s) };
}

static void client_done(struct sim_op *op)
{
    struct sim_client *c = &clients[op->client];

    c->op = NULL;
    c->next_at = now() + rnd(opt.op_every + 1);
    c->answered += op->state == ST_OK || op->state == ST_REFUSED;
    if (op->state != ST_OK && op->state != ST_REFUSED) {
        c->node = SIM_NODES; /* look for another one */
        if (op->session != 0 && op->maybe) {
            c->stuck = op;
        }
    }
}

static struct sim_op *begin(struct sim_client *c, enum sim_kind kind)
{
    struct sim_op *op = op_new(c->i, c->node, kind);

    op->done = client_done;
    c->op = op;
    return op;
}

/* Under the client's session when it has one. */
static void give(struct sim_client *c, struct sim_op *op, struct cmd *cmd)
{
    if (c->session != 0) {
        cmd->session = c->session;
        cmd->seq = ++c->next_seq;
        cmd->ack = cmd->seq; /* one after the other */
    }
    op_submit(op, cmd);
}

void command(struct sim_client *c, struct cmd *cmd)
{
    struct sim_op *op = begin(c, OP_COMMAND);

    story("c%u op %" PRIu64 " at %s: command %d", c->i, op->id, node_name(op->node), (int)cmd->op);
    give(c, op, cmd);
}

/* --- registers: one key each, for the linearizability checker ----------------------------------
 */

static struct sim_op *begin_register(struct sim_client *c, enum sim_kind kind)
{
    struct sim_op *op = begin(c, kind);

    op->reg = (int)rnd(opt.registers);
    (void)snprintf(op->key_text, sizeof(op->key_text), "k/r%d", op->reg);
    op->key = text(op->key_text);
    return op;
}

static void do_register_write(struct sim_client *c)
{
    struct sim_op *op = begin_register(c, OP_COMMAND);
    struct txn_op put = { .kind = TXN_PUT, .key = op->key };
    struct cmd cmd = { .op = CMD_TXN, .actor = RAW("writer") };
    char value[32];

    (void)snprintf(value, sizeof(value), "v%" PRIu64, op->id);
    put.value = text(value);
    put.prev_kv = chance(20);
    op->wgl = WGL_WRITE;
    op->value = op->id;
    if (chance(10)) {
        put = (struct txn_op){ .kind = TXN_DELETE, .key = op->key };
        op->value = 0;
    }
    cmd.txn.then_ops = &put;
    cmd.txn.n_then = 1;
    story("c%u op %" PRIu64 " at %s: k/r%d = %" PRIu64, c->i, op->id, node_name(op->node), op->reg,
          op->value);
    give(c, op, &cmd);
}

/* What was read last, or something that was written some time. */
static uint64_t guess(int reg)
{
    uint64_t v = 0;
    char key[16];
    const struct m_event *e;

    (void)snprintf(key, sizeof(key), "k/r%d", reg);
    e = model_get(&model, text(key), 0);
    if (e != NULL && e->value.n > 1) {
        v = strtoull((const char *)e->value.p + 1, NULL, 10);
    }
    return chance(25) && v > 0 ? 1 + rnd(v) : v;
}

static void cas_done(struct sim_op *op)
{
    struct arena a = { 0 };
    struct cmd_answer ans;

    if (op->state == ST_OK) {
        answer_of(op, &a, &ans);
        op->held = ans.succeeded;
        arena_done(&a);
    }
    client_done(op);
}

static void do_register_cas(struct sim_client *c)
{
    struct sim_op *op = begin_register(c, OP_COMMAND);
    struct txn_op put = { .kind = TXN_PUT, .key = op->key };
    struct txn_op get = { .kind = TXN_GET, .key = op->key };
    struct txn_cmp cmp = { .target = CMP_VALUE, .result = CMP_EQUAL, .key = op->key };
    struct cmd cmd = { .op = CMD_TXN, .actor = RAW("cas") };
    char value[32], expect[32];

    op->expect = guess(op->reg);
    (void)snprintf(value, sizeof(value), "v%" PRIu64, op->id);
    (void)snprintf(expect, sizeof(expect), "v%" PRIu64, op->expect);
    put.value = text(value);
    cmp.value = text(expect);
    if (op->expect == 0) {
        cmp.target = CMP_VERSION;
    }
    op->wgl = WGL_CAS;
    op->value = op->id;
    op->done = cas_done;
    cmd.txn = (struct cmd_txn){ &cmp, 1, &put, 1, &get, 1 };
    story("c%u op %" PRIu64 " at %s: k/r%d from %" PRIu64 " to %" PRIu64, c->i, op->id,
          node_name(op->node), op->reg, op->expect, op->value);
    give(c, op, &cmd);
}

static void do_register_read(struct sim_client *c)
{
    struct sim_op *op = begin_register(c, OP_READ);

    op->wgl = WGL_READ;
    story("c%u op %" PRIu64 " at %s: read k/r%d", c->i, op->id, node_name(op->node), op->reg);
    op_read(op, true);
}

/* --- many keys: transactions, ranges, reads of the past ----------------------------------------
 */

static void some_key(char *dst, size_t size)
{
    (void)snprintf(dst, size, "k/g%c%u", (char)('a' + rnd(4)), (unsigned)rnd(6));
}

static void some_range(char *key, char *end, size_t size)
{
    char c = (char)('a' + rnd(4));

    (void)snprintf(key, size, "k/g%c", c);
    (void)snprintf(end, size, "k/g%c", (char)(c + 1 + (char)rnd(3)));
}

static void do_range(struct sim_client *c)
{
    struct sim_op *op = begin(c, OP_READ);
    const struct store *s = nodes[c->node].store;
    uint64_t low = store_compact_rev(s) + 1, high = store_rev(s);
    uint64_t what = rnd(3);

    some_range(op->key_text, op->end_text, sizeof(op->key_text));
    if (chance(20)) { /* all there is */
        (void)snprintf(op->key_text, sizeof(op->key_text), "k/");
        (void)snprintf(op->end_text, sizeof(op->end_text), "k0");
    }
    op->key = text(op->key_text);
    op->end = text(op->end_text);
    story("c%u op %" PRIu64 " at %s: range %s..%s, %s", c->i, op->id, node_name(op->node),
          op->key_text, op->end_text,
          what == 0   ? "linearizable"
          : what == 1 ? "serializable"
                      : "old");
    if (what == 2 && low <= high) {
        op_old_read(op, low + rnd(high - low + 1));
    } else {
        op_read(op, what == 0);
    }
}

struct txn_maker {
    struct arena a;
    uint64_t id;
    unsigned n;
};

static struct bytes make_key(struct txn_maker *m, bool end)
{
    char *key = arena_alloc(&m->a, 24), *last = arena_alloc(&m->a, 24);

    if (end) {
        some_range(key, last, 24);
        return text(last);
    }
    some_key(key, 24);
    return text(key);
}

static struct txn_op make_op(struct txn_maker *m)
{
    struct txn_op op = { .key = make_key(m, false) };
    uint64_t what = rnd(10);

    op.prev_kv = chance(30);
    if (what < 5) {
        op.kind = TXN_PUT;
        op.value = text(arena_printf(&m->a, "v%" PRIu64 ".%u%.*s", m->id, m->n++, (int)rnd(90),
                                     "........................................"
                                     ".................................................."));
        op.keep_lease = chance(5);
        if (chance(5)) {
            op.keep_value = true;
            op.value = (struct bytes){ 0 };
        }
        return op;
    }
    op.kind = what < 7 ? TXN_DELETE : TXN_GET;
    if (chance(30)) {
        op.end = make_key(m, true);
    }
    if (op.kind == TXN_GET) {
        op.prev_kv = false;
        op.limit = chance(30) ? 1 + rnd(3) : 0;
        op.count_only = chance(10);
        op.keys_only = chance(10);
    }
    return op;
}

static struct txn_cmp make_cmp(struct txn_maker *m)
{
    struct txn_cmp c = { .key = make_key(m, false) };
    const struct m_event *e = model_get(&model, c.key, 0);

    c.target = (enum cmp_target)rnd(5);
    c.result = chance(60) ? CMP_EQUAL : (enum cmp_result)rnd(4);
    if (chance(15)) {
        c.end = make_key(m, true);
    }
    if (c.target == CMP_VALUE) {
        c.value = e != NULL && chance(70) ? e->value : text("v1");
    } else if (e != NULL) {
        c.number = c.target == CMP_VERSION  ? e->version
                   : c.target == CMP_CREATE ? e->create_rev
                   : c.target == CMP_MOD    ? e->rev
                                            : e->lease;
        c.number += chance(20);
    }
    return c;
}

static void do_txn(struct sim_client *c)
{
    struct sim_op *op = begin(c, OP_COMMAND);
    struct cmd cmd = { .op = CMD_TXN, .actor = RAW("txn") };
    struct txn_maker m = { .id = op->id };
    struct txn_cmp cmps[3];
    struct txn_op then_ops[5], else_ops[3];

    cmd.txn = (struct cmd_txn){ cmps, rnd(4), then_ops, 1 + rnd(5), else_ops, rnd(4) };
    for (size_t i = 0; i < cmd.txn.n_cmp; i++) {
        cmps[i] = make_cmp(&m);
    }
    for (size_t i = 0; i < cmd.txn.n_then; i++) {
        then_ops[i] = make_op(&m);
    }
    for (size_t i = 0; i < cmd.txn.n_else; i++) {
        else_ops[i] = make_op(&m);
    }
    story("c%u op %" PRIu64 " at %s: transaction, %zu compares, %zu then, %zu else", c->i, op->id,
          node_name(op->node), cmd.txn.n_cmp, cmd.txn.n_then, cmd.txn.n_else);
    give(c, op, &cmd);
    arena_done(&m.a);
}

static void do_compact(struct sim_client *c)
{
    struct cmd cmd = { .op = CMD_COMPACT, .actor = RAW("compactor") };
    uint64_t low = model.compact_rev, high = model.rev;

    cmd.number = low + rnd(high - low + 3);
    command(c, &cmd);
}

void client_kv(struct sim_client *c)
{
    uint64_t what = rnd(100);

    if (what < 22) {
        do_register_write(c);
    } else if (what < 37) {
        do_register_cas(c);
    } else if (what < 57) {
        do_register_read(c);
    } else if (what < 77) {
        do_txn(c);
    } else if (what < 98) {
        do_range(c);
    } else {
        do_compact(c);
    }
}

/* --- sessions ----------------------------------------------------------------------------------
 */

static void session_done(struct sim_op *op)
{
    struct sim_client *c = &clients[op->client];
    struct arena a = { 0 };
    struct cmd_answer ans;

    client_done(op);
    if (op->state == ST_OK) {
        answer_of(op, &a, &ans);
        REQUIRE(ans.n_values == 1);
        c->session = ans.values[0];
        c->next_seq = 0;
        arena_done(&a);
    }
}

/* Opened again under the same name now and then: the older one is closed, with whatever is still on
 * its way in it. */
static void open_session(struct sim_client *c)
{
    struct cmd cmd = { .op = CMD_SESSION_OPEN, .actor = RAW("s") };
    struct sim_op *op = begin(c, OP_COMMAND);
    char owner[32];

    (void)snprintf(owner, sizeof(owner), "client-%u", c->i);
    cmd.text = owner;
    op->done = session_done;
    c->session = 0;
    c->stuck = NULL;
    story("c%u op %" PRIu64 " at %s: session", c->i, op->id, node_name(op->node));
    op_submit(op, &cmd);
}

static void client_session(struct sim_client *c)
{
    if (c->stuck != NULL && !chance(2)) {
        c->op = c->stuck;
        c->stuck = NULL;
        op_again(c->op, c->node);
    } else if (c->session == 0 || c->stuck != NULL || chance(1)) {
        open_session(c);
    } else {
        client_kv(c);
    }
}

/* --- all of them -------------------------------------------------------------------------------
 */

static void client_step(struct sim_client *c)
{
    if (c->node == SIM_NODES || rep_of(c->node) == NULL || nodes[c->node].gone || chance(3)) {
        c->node = pick_node();
    }
    if (c->node == SIM_NODES) {
        c->next_at = now() + 100;
        return;
    }
    switch (c->kind) {
    case CL_KV:
        client_kv(c);
        break;
    case CL_SESSION:
        client_session(c);
        break;
    case CL_LEASE:
        client_lease(c);
        break;
    case CL_SAFETY:
        client_safety(c);
        break;
    }
    if (c->op == NULL && c->next_at <= now()) { /* nothing to do now */
        c->next_at = now() + 1 + rnd(opt.op_every + 1);
    }
}

void clients_step(void)
{
    for (unsigned i = 0; i < n_clients; i++) {
        if (clients[i].op == NULL && clients[i].next_at <= now()) {
            client_step(&clients[i]);
        }
    }
}

static void add(unsigned n, enum client_kind kind)
{
    for (unsigned i = 0; i < n; i++) {
        REQUIRE(n_clients < SIM_CLIENTS);
        clients[n_clients] = (struct sim_client){ .i = n_clients, .kind = kind, .node = SIM_NODES };
        clients[n_clients++].next_at = 500 + rnd(500);
    }
}

void clients_setup(void)
{
    add(opt.kv, CL_KV);
    add(opt.sessions, CL_SESSION);
    add(opt.leasers, CL_LEASE);
    add(opt.safety, CL_SAFETY);
}

void clients_teardown(void)
{
    ops_done();
}
