/* The raw key space over the native protocol.  Its keys are k/<bytes>, and nothing else can be read
 * or written through it (as /v3, see v3.h). */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/native_priv.h"
#include "cmd/picketd/rawlease.h"

#define TTL_MAX_S UINT64_C(9000000000) /* as etcd's */

/* --- keys --------------------------------------------------------------------------------------
 */

struct bytes native_key(struct arena *a, struct native_bytes b)
{
    uint8_t *p = arena_alloc(a, b.n + 2);

    p[0] = 'k';
    p[1] = '/';
    if (b.n > 0) {
        memcpy(p + 2, b.p, b.n);
    }
    return (struct bytes){ .p = p, .n = b.n + 2 };
}

struct bytes native_range_end(struct arena *a, struct native_bytes end)
{
    if (end.p == NULL) {
        return (struct bytes){ 0 };
    }
    return end.n == 0 ? (struct bytes){ .p = (const uint8_t *)"k0", .n = 2 } : native_key(a, end);
}

static struct native_bytes key_out(const void *p, size_t n)
{
    CHECK(n >= 2);
    return (struct native_bytes){ .p = (const uint8_t *)p + 2, .n = n - 2 };
}

struct native_kv native_kv_of(const struct kv *v)
{
    return (struct native_kv){ .key = key_out(kv_key(v), v->klen),
                               .value = { .p = kv_value(v), .n = v->vlen },
                               .create_rev = v->create_rev,
                               .mod_rev = v->mod_rev,
                               .version = v->version,
                               .lease = v->lease };
}

/* --- writes ------------------------------------------------------------------------------------
 */

static struct actor raw_actor(const struct native_work *w)
{
    return (struct actor){ .role = ACTOR_RAW, .name = w->conn->peer.name };
}

static enum native_op_kind kind_out(enum txn_kind kind)
{
    switch (kind) {
    case TXN_PUT:
        return NATIVE_OP_PUT;
    case TXN_DELETE:
        return NATIVE_OP_DELETE;
    case TXN_GET:
        return NATIVE_OP_GET;
    }
    CHECK_UNREACHABLE();
}

static void result_out(struct arena *a, const struct txn_answer *ans, struct native_result *ret)
{
    *ret = (struct native_result){ .kind = kind_out(ans->kind),
                                   .count = ans->count,
                                   .kvs = ARENA_ARRAY(a, struct native_kv, ans->n_kvs + 1),
                                   .n_kvs = ans->n_kvs };
    for (size_t i = 0; i < ans->n_kvs; i++) {
        const struct txn_kv *kv = &ans->kvs[i];

        ret->kvs[i] = (struct native_kv){ .key = key_out(kv->key.p, kv->key.n),
                                          .value = { .p = kv->value.p, .n = kv->value.n },
                                          .create_rev = kv->create_rev,
                                          .mod_rev = kv->mod_rev,
                                          .version = kv->version,
                                          .lease = kv->lease };
    }
}

static void txn_done(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct native_work *w = data;
    struct native_ans out = { .kind = NATIVE_RESULT };
    struct arena a = { 0 };

    if (err != NULL) {
        native_fail(w, err);
        return;
    }
    out.rev = ans->rev;
    out.succeeded = ans->succeeded;
    out.n_ops = ans->n_answers;
    out.ops = ARENA_ARRAY(&a, struct native_result, ans->n_answers + 1);
    for (size_t i = 0; i < ans->n_answers; i++) {
        result_out(&a, &ans->answers[i], &out.ops[i]);
    }
    native_answer(w, &out);
    arena_done(&a);
}

static struct bytes value_in(struct native_bytes b)
{
    return (struct bytes){ .p = b.p == NULL ? (const uint8_t *)"" : b.p, .n = b.n };
}

static void op_in(struct arena *a, const struct native_op *o, struct txn_op *ret)
{
    static const enum txn_kind kinds[] = {
        [NATIVE_OP_PUT] = TXN_PUT, [NATIVE_OP_DELETE] = TXN_DELETE, [NATIVE_OP_GET] = TXN_GET
    };

    *ret = (struct txn_op){ .kind = kinds[o->kind],
                            .key = native_key(a, o->key),
                            .end = native_range_end(a, o->end),
                            .lease = o->lease,
                            .limit = o->limit,
                            .prev_kv = (o->flags & NATIVE_PREV) != 0,
                            .keep_value = (o->flags & NATIVE_KEEP_VALUE) != 0,
                            .keep_lease = (o->flags & NATIVE_KEEP_LEASE) != 0,
                            .count_only = (o->flags & NATIVE_COUNT_ONLY) != 0,
                            .keys_only = (o->flags & NATIVE_KEYS_ONLY) != 0 };
    if (o->kind == NATIVE_OP_PUT && !ret->keep_value) {
        ret->value = value_in(o->value);
    }
}

static struct txn_op *ops_in(struct arena *a, const struct native_op *ops, size_t n)
{
    struct txn_op *ret = ARENA_ARRAY(a, struct txn_op, n + 1);

    for (size_t i = 0; i < n; i++) {
        op_in(a, &ops[i], &ret[i]);
    }
    return ret;
}

static struct txn_cmp *cmps_in(struct arena *a, const struct native_req *req)
{
    struct txn_cmp *ret = ARENA_ARRAY(a, struct txn_cmp, req->n_cmps + 1);

    _Static_assert((int)CMP_VALUE == (int)NATIVE_CMP_VALUE, "one numbering of compares");
    for (size_t i = 0; i < req->n_cmps; i++) {
        const struct native_cmp *c = &req->cmps[i];

        ret[i] = (struct txn_cmp){ .target = (enum cmp_target)c->target,
                                   .result = (enum cmp_result)c->result,
                                   .key = native_key(a, c->key),
                                   .end = native_range_end(a, c->end),
                                   .number = c->number };
        if (c->target == NATIVE_CMP_VALUE) {
            ret[i].value = value_in(c->value);
        }
    }
    return ret;
}

/* Under the client's own session it is tried once, and the client repeats it; else under this
 * member's, which repeats it until the outcome is known. */
static void kv_submit(struct native_work *w, const struct native_req *req, struct cmd *c,
                      node_cb *cb)
{
    c->session = req->session;
    c->seq = req->seq;
    c->ack = req->ack;
    node_submit(w->node, c, req->session == 0, cb, w);
}

static void kv_txn(struct native_work *w, const struct native_req *req)
{
    struct cmd c = { .op = CMD_TXN, .actor = raw_actor(w) };
    struct arena a = { 0 };

    c.txn.cmp = cmps_in(&a, req);
    c.txn.n_cmp = req->n_cmps;
    c.txn.then_ops = ops_in(&a, req->then, req->n_then);
    c.txn.n_then = req->n_then;
    c.txn.else_ops = ops_in(&a, req->other, req->n_other);
    c.txn.n_else = req->n_other;
    kv_submit(w, req, &c, txn_done);
    arena_done(&a);
}

/* --- reads -------------------------------------------------------------------------------------
 */

struct range {
    struct arena a;
    const struct native_op *op;
    struct native_kv *kvs;
    size_t n, cap, bytes;
    uint64_t count;
    bool too_large;
};

static bool range_visit(void *ctx, const struct kv *v)
{
    struct range *g = ctx;
    struct native_kv *kv;

    g->count++;
    if ((g->op->flags & NATIVE_COUNT_ONLY) != 0) {
        return true;
    }
    if (g->op->limit != 0 && g->n == g->op->limit) {
        return false;
    }
    if (g->n == g->cap) {
        g->cap = g->cap == 0 ? 16 : g->cap * 2;
        g->kvs = mem_realloc(g->kvs, g->cap * sizeof(*g->kvs));
    }
    kv = &g->kvs[g->n++];
    *kv = native_kv_of(v);
    if ((g->op->flags & NATIVE_KEYS_ONLY) != 0) {
        kv->value = (struct native_bytes){ 0 };
    }
    g->bytes += kv->key.n + kv->value.n;
    g->too_large = g->bytes > CMD_MAX_ANSWER;
    return !g->too_large;
}

static int range_revision(const struct store *s, uint64_t rev, struct err *err)
{
    if (rev != 0 && rev < store_compact_rev(s)) {
        return err_set(err, ERR_COMPACTED, "revision %llu has been compacted, the oldest is %llu",
                       (unsigned long long)rev, (unsigned long long)store_compact_rev(s));
    }
    if (rev > store_rev(s)) {
        return err_set(err, ERR_COMPACTED, "revision %llu is in the future, the newest is %llu",
                       (unsigned long long)rev, (unsigned long long)store_rev(s));
    }
    return 0;
}

static int range_collect(struct native_work *w, struct range *g, struct err *err)
{
    const struct store *s = w->node->store;
    uint64_t rev = w->req.number;
    struct bytes key = native_key(&g->a, g->op->key);
    struct bytes end = native_range_end(&g->a, g->op->end);

    if (range_revision(s, rev, err) != 0) {
        return err->code;
    }
    if (end.p == NULL) {
        const struct kv *v = store_get(s, key.p, key.n, rev);

        if (v != NULL) {
            (void)range_visit(g, v);
        }
    } else {
        store_range(s, key.p, key.n, end.p, end.n, rev, range_visit, g);
    }
    if (g->too_large) {
        return err_set(err, ERR_TOO_LARGE,
                       "the answer would be larger than %u bytes: read it in parts, by limit",
                       CMD_MAX_ANSWER);
    }
    return 0;
}

static void range_go(struct native_work *w)
{
    struct range g = { .op = &w->req.then[0] };
    struct native_ans out = { .kind = NATIVE_RESULT, .succeeded = true, .n_ops = 1 };
    struct native_result res = { .kind = NATIVE_OP_GET };
    struct err err;

    if (range_collect(w, &g, &err) != 0) {
        native_fail(w, &err);
    } else {
        res.count = g.count;
        res.kvs = g.kvs;
        res.n_kvs = g.n;
        out.rev = store_rev(w->node->store);
        out.ops = &res;
        native_answer(w, &out);
    }
    free(g.kvs);
    arena_done(&g.a);
}

static void range_read(void *data, const struct err *err)
{
    struct native_work *w = data;

    if (err != NULL) {
        native_fail(w, err);
    } else if (w->conn == NULL) {
        native_work_done(w);
    } else {
        range_go(w);
    }
}

/* The request is read again from a copy that lives as long as the work. */
static void kv_range(struct native_work *w, const void *frame, size_t len)
{
    uint8_t *copy = arena_alloc(&w->arena, len);
    struct err err;

    memcpy(copy, frame, len);
    CHECK(native_req_decode(copy, len, &w->arena, &w->req, &err) == 0);
    if ((w->req.then[0].flags & NATIVE_SERIALIZABLE) != 0) {
        range_go(w);
    } else {
        node_read(w->node, range_read, w);
    }
}

static void kv_status(struct native_work *w)
{
    const struct node *n = w->node;
    struct native_ans out = { .kind = NATIVE_NODE, .rev = store_rev(n->store) };

    out.text = (struct native_bytes){ (const uint8_t *)n->opts.name, strlen(n->opts.name) };
    out.node = (struct native_node){ .id = n->id,
                                     .leader = rep_leader(n->rep),
                                     .term = rep_term(n->rep),
                                     .committed = rep_committed(n->rep),
                                     .applied = rep_applied(n->rep),
                                     .compact_rev = store_compact_rev(n->store),
                                     .bytes = store_bytes(n->store),
                                     .count = store_count(n->store) };
    native_answer(w, &out);
}

/* --- compaction and leases ---------------------------------------------------------------------
 */

static void numbers_done(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct native_work *w = data;
    struct native_ans out = { .kind = NATIVE_NUMBERS };

    if (err != NULL) {
        native_fail(w, err);
        return;
    }
    out.rev = ans->rev;
    if (w->ttl != 0 && ans->n_values > 0) {
        out.number = ans->values[0];
        out.number2 = w->ttl;
    }
    native_answer(w, &out);
}

static void kv_compact(struct native_work *w, const struct native_req *req)
{
    struct cmd c = { .op = CMD_COMPACT, .actor = raw_actor(w), .number = req->number };
    struct err err;

    if (range_revision(w->node->store, req->number, &err) != 0) {
        native_fail(w, &err);
    } else {
        kv_submit(w, req, &c, numbers_done);
    }
}

static void kv_lease(struct native_work *w, const struct native_req *req)
{
    struct cmd c = { .op = CMD_LEASE, .actor = raw_actor(w), .number = req->number };
    struct err err;

    if (req->call == NATIVE_GRANT) {
        if (req->number2 == 0 || req->number2 > TTL_MAX_S) {
            (void)err_set(&err, ERR_INVALID, "ttl: 1 to %llu seconds are possible",
                          (unsigned long long)TTL_MAX_S);
            native_fail(w, &err);
            return;
        }
        w->ttl = c.number2 = req->number2;
    }
    kv_submit(w, req, &c, numbers_done);
}

static void ask_done(struct rep_req *call, const struct err *err, const uint8_t *data, size_t len)
{
    struct native_work *w = CONTAINER_OF(call, struct native_work, call);
    struct native_ans out = { .kind = NATIVE_NUMBERS, .rev = store_rev(w->node->store) };
    struct rd rd = rd_make(data, len);
    struct err e;

    if (err != NULL) {
        native_fail(w, err);
        return;
    }
    out.number = rd_u64(&rd);
    out.number2 = rd_u64(&rd);
    if (rd.bad || out.number == 0) {
        (void)err_set(&e, ERR_NOT_FOUND, "lease %llu does not exist or has ended",
                      (unsigned long long)w->lease);
        native_fail(w, &e);
        return;
    }
    native_answer(w, &out);
}

static void kv_ask(struct native_work *w, uint64_t lease, bool keep)
{
    w->lease = lease;
    raw_lease_ask(w->node, lease, keep, &w->call, ask_done);
}

/* --- sessions of clients -----------------------------------------------------------------------
 *
 * A certificate has NATIVE_SESSIONS of them, so that nobody's clients can push those of others, or
 * the members' own, out of the store's table. */

static void kv_session(struct native_work *w, uint64_t slot)
{
    struct cmd c = { .op = CMD_SESSION_OPEN, .actor = raw_actor(w) };
    char owner[253];

    (void)snprintf(owner, sizeof(owner), "%s/%s/%" PRIu64, w->conn->peer.role, w->conn->peer.name,
                   slot);
    c.text = owner;
    w->ttl = STORE_SESSION_WINDOW;
    node_submit(w->node, &c, true, numbers_done, w);
}

/* 0; ERR_DENIED: it is somebody else's; ERR_STALE: it is not known here. */
static int session_check(const struct native_work *w, uint64_t session, struct err *err)
{
    const char *owner = store_session_owner(w->node->store, session);
    char mine[253];

    (void)snprintf(mine, sizeof(mine), "%s/%s/", w->conn->peer.role, w->conn->peer.name);
    if (owner == NULL) {
        return err_set(err, ERR_STALE,
                       "session %" PRIu64 " is unknown or closed; nothing was executed now: find "
                       "out what became of the command, then open a new session",
                       session);
    }
    return str_starts(owner, mine)
               ? 0
               : err_set(err, ERR_DENIED, "session %" PRIu64 " is not of this certificate",
                         session);
}

static void kv_go(struct native_work *w, const struct native_req *req, const void *frame,
                  size_t len);

static void once_read(void *data, const struct err *err)
{
    struct native_work *w = data;
    struct err e;

    if (err != NULL) {
        native_fail(w, err);
    } else if (w->conn == NULL) {
        native_work_done(w);
    } else if (session_check(w, w->req.session, &e) != 0) {
        native_fail(w, &e);
    } else {
        kv_go(w, &w->req, NULL, 0);
    }
}

/* This member may not have applied the opening of the session yet. */
static void kv_once(struct native_work *w, const struct native_req *req, const void *frame,
                    size_t len)
{
    struct err err;
    int rc = session_check(w, req->session, &err);
    uint8_t *copy;

    if (rc == 0) {
        kv_go(w, req, frame, len);
    } else if (rc == ERR_STALE) {
        copy = arena_alloc(&w->arena, len);
        memcpy(copy, frame, len);
        CHECK(native_req_decode(copy, len, &w->arena, &w->req, &err) == 0);
        node_read(w->node, once_read, w);
    } else {
        native_fail(w, &err);
    }
}

void native_kv(struct native_work *w, const struct native_req *req, const void *frame, size_t len)
{
    if (req->session != 0) {
        kv_once(w, req, frame, len);
    } else {
        kv_go(w, req, frame, len);
    }
}

static void kv_go(struct native_work *w, const struct native_req *req, const void *frame,
                  size_t len)
{
    switch (req->call) {
    case NATIVE_RANGE:
        kv_range(w, frame, len);
        return;
    case NATIVE_PUT:
    case NATIVE_DELETE:
    case NATIVE_TXN:
        kv_txn(w, req);
        return;
    case NATIVE_GRANT:
    case NATIVE_REVOKE:
        kv_lease(w, req);
        return;
    case NATIVE_KEEPALIVE:
    case NATIVE_TTL:
        kv_ask(w, req->number, req->call == NATIVE_KEEPALIVE);
        return;
    case NATIVE_COMPACT:
        kv_compact(w, req);
        return;
    case NATIVE_STATUS:
        kv_status(w);
        return;
    case NATIVE_SESSION:
        kv_session(w, req->number);
        return;
    case NATIVE_WATCH:
    case NATIVE_CANCEL:
    case NATIVE_OBJECT:
    case NATIVE_ONCE:
        break;
    }
    CHECK_UNREACHABLE();
}
