#include "cmd/picketd/v3.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"
#include "base/version.h"
#include "cmd/picketd/request.h"
#include "cmd/picketd/upkeep.h"

/* --- errors ------------------------------------------------------------------------------------
 */

/* gRPC's codes (google/rpc/code.proto) and the HTTP status that the gateway gives them. */
struct v3_code {
    int code; /* ours */
    int grpc;
    int http;
};

static const struct v3_code v3_codes[] = {
    { ERR_BAD_REQUEST, 3, 400 },     { ERR_INVALID, 3, 400 },      { ERR_TIMEOUT, 4, 504 },
    { ERR_UNKNOWN_OUTCOME, 4, 504 }, { ERR_NOT_FOUND, 5, 404 },    { ERR_EXISTS, 9, 412 },
    { ERR_DENIED, 7, 403 },          { ERR_LIMIT, 8, 429 },        { ERR_COMPACTED, 11, 400 },
    { ERR_NO_QUORUM, 14, 503 },      { ERR_NOT_LEADER, 14, 503 },  { ERR_UNAUTHORIZED, 16, 401 },
    { ERR_TOO_LARGE, 3, 400 },       { ERR_UNSUPPORTED, 12, 501 },
};

/* etcd's words for what the state machine says in its own: programs look for them. */
static void v3_translate(const struct err *err, struct err *ret)
{
    bool lease = strstr(err->msg, "lease ") != NULL && strstr(err->msg, " exist") != NULL;

    *ret = *err;
    if (err->code == ERR_NOT_FOUND && lease) {
        (void)err_set(ret, ERR_NOT_FOUND, "etcdserver: requested lease not found");
    } else if (err->code == ERR_NOT_FOUND && str_starts(err->msg, "put that keeps")) {
        (void)err_set(ret, ERR_BAD_REQUEST, "etcdserver: key not found");
    } else if (err->code == ERR_EXISTS && lease) {
        (void)err_set(ret, ERR_EXISTS, "etcdserver: lease already exists");
    }
}

void v3_err(struct rest *r, const struct err *ours)
{
    struct v3_code c = { ours->code, 2, 500 };
    struct err err;

    v3_translate(ours, &err);
    for (size_t i = 0; i < ARRAY_LEN(v3_codes); i++) {
        if (v3_codes[i].code == err.code) {
            c = v3_codes[i];
        }
    }
    rest_json(r, c.http,
              json_pack("{s:s, s:i, s:s}", "error", err.msg, "code", c.grpc, "message", err.msg));
}

/* --- range -------------------------------------------------------------------------------------
 */

struct range {
    struct arena a;
    const struct kv **found;
    size_t n, cap;
    uint64_t min_mod, max_mod, min_create, max_create;
};

static bool range_visit(void *ctx, const struct kv *v)
{
    struct range *g = ctx;

    if ((g->min_mod != 0 && v->mod_rev < g->min_mod) ||
        (g->max_mod != 0 && v->mod_rev > g->max_mod) ||
        (g->min_create != 0 && v->create_rev < g->min_create) ||
        (g->max_create != 0 && v->create_rev > g->max_create)) {
        return true;
    }
    if (g->n == g->cap) {
        g->cap = g->cap == 0 ? 64 : g->cap * 2;
        g->found = mem_realloc(g->found, g->cap * sizeof(const struct kv *));
    }
    g->found[g->n++] = v;
    return true;
}

enum sort_target { SORT_KEY, SORT_VERSION, SORT_CREATE, SORT_MOD, SORT_VALUE };

static int compare_u64(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int compare_kv(const struct kv *a, const struct kv *b, enum sort_target target)
{
    size_t n = a->vlen < b->vlen ? a->vlen : b->vlen;
    int r;

    switch (target) {
    case SORT_KEY:
        n = a->klen < b->klen ? a->klen : b->klen;
        r = memcmp(kv_key(a), kv_key(b), n);
        return r != 0 ? r : compare_u64(a->klen, b->klen);
    case SORT_VERSION:
        return compare_u64(a->version, b->version);
    case SORT_CREATE:
        return compare_u64(a->create_rev, b->create_rev);
    case SORT_MOD:
        return compare_u64(a->mod_rev, b->mod_rev);
    case SORT_VALUE:
        r = memcmp(kv_value(a), kv_value(b), n);
        return r != 0 ? r : compare_u64(a->vlen, b->vlen);
    }
    CHECK_UNREACHABLE();
}

struct sort_by {
    enum sort_target target;
    bool descend;
};

static int compare_r(const void *pa, const void *pb, void *ctx)
{
    const struct kv *const *a = pa;
    const struct kv *const *b = pb;
    const struct sort_by *s = ctx;
    int r = compare_kv(*a, *b, s->target);

    return s->descend ? -r : r;
}

static int range_sort(const json_t *body, struct range *g, struct err *err)
{
    static const char *const orders[] = { "NONE", "ASCEND", "DESCEND", NULL };
    static const char *const targets[] = { "KEY", "VERSION", "CREATE", "MOD", "VALUE", NULL };
    unsigned order, target;
    struct sort_by by;

    if (v3_enum(body, "sort_order", orders, &order, err) != 0 ||
        v3_enum(body, "sort_target", targets, &target, err) != 0) {
        return err->code;
    }
    by = (struct sort_by){ .target = (enum sort_target)target, .descend = order == 2 };
    if (g->n > 1 && (order != 0 || target != 0)) {
        qsort_r(g->found, g->n, sizeof(const struct kv *), compare_r, &by);
    }
    return 0;
}

static int range_revision(const struct rest *r, uint64_t *rev, struct err *err)
{
    if (v3_u64(r->body, "revision", rev, err) != 0) {
        return err->code;
    }
    if (*rev != 0 && *rev < store_compact_rev(r->node->store)) {
        return err_set(err, ERR_COMPACTED,
                       "etcdserver: mvcc: required revision has been compacted");
    }
    if (*rev > store_rev(r->node->store)) {
        return err_set(err, ERR_COMPACTED,
                       "etcdserver: mvcc: required revision is a future revision");
    }
    return 0;
}

static int range_collect(struct rest *r, struct range *g, struct txn_op *op, struct err *err)
{
    struct store *s = r->node->store;
    uint64_t rev;

    if (range_revision(r, &rev, err) != 0 || v3_range_decode(r->body, &g->a, op, err) != 0 ||
        v3_u64(r->body, "min_mod_revision", &g->min_mod, err) != 0 ||
        v3_u64(r->body, "max_mod_revision", &g->max_mod, err) != 0 ||
        v3_u64(r->body, "min_create_revision", &g->min_create, err) != 0 ||
        v3_u64(r->body, "max_create_revision", &g->max_create, err) != 0) {
        return err->code;
    }
    if (op->end.p == NULL) {
        const struct kv *v = store_get(s, op->key.p, op->key.n, rev);

        if (v != NULL) {
            (void)range_visit(g, v);
        }
    } else {
        store_range(s, op->key.p, op->key.n, op->end.p, op->end.n, rev, range_visit, g);
    }
    return range_sort(r->body, g, err);
}

static void range_go(struct rest *r)
{
    struct range g = { 0 };
    struct txn_op op;
    struct err err;
    json_t *out, *kvs;
    size_t n;

    if (range_collect(r, &g, &op, &err) != 0) {
        v3_err(r, &err);
        goto done;
    }
    out = json_pack("{s:o}", "header", v3_header(r->node, store_rev(r->node->store)));
    n = op.limit != 0 && op.limit < g.n ? op.limit : g.n;
    if (n > 0 && !op.count_only) {
        kvs = json_array();
        for (size_t i = 0; i < n; i++) {
            const struct kv *v = g.found[i];

            (void)json_array_append_new(kvs, v3_kv(kv_key(v), v->klen, kv_value(v),
                                                   op.keys_only ? 0 : v->vlen, v->create_rev,
                                                   v->mod_rev, v->version, v->lease));
        }
        (void)json_object_set_new(out, "kvs", kvs);
    }
    if (n < g.n && !op.count_only) {
        (void)json_object_set_new(out, "more", json_true());
    }
    v3_set_u64(out, "count", g.n);
    rest_json(r, 200, out);
done:
    free(g.found);
    arena_done(&g.a);
}

static void v3_read_done(void *data, const struct err *err)
{
    struct rest *r = data;

    if (err != NULL) {
        v3_err(r, err);
    } else {
        range_go(r);
    }
}

static void v3_range_request(struct rest *r)
{
    if (v3_bool(r->body, "serializable")) {
        range_go(r);
    } else {
        node_read(r->node, v3_read_done, r);
    }
}

/* --- writes ------------------------------------------------------------------------------------
 */

static struct actor raw_actor(const struct rest *r)
{
    return (struct actor){ .role = ACTOR_RAW, .name = r->req->peer.name };
}

static void single_done(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct rest *r = data;
    json_t *out;

    if (err != NULL) {
        v3_err(r, err);
        return;
    }
    out = ans->n_answers > 0 ? v3_answer(&ans->answers[0]) : json_object();
    (void)json_object_set_new(out, "header", v3_header(r->node, ans->rev));
    rest_json(r, 200, out);
}

/* Does this operation make the transaction's revision? */
static bool txn_wrote(const struct txn_answer *a)
{
    return a->kind == TXN_PUT || (a->kind == TXN_DELETE && a->count > 0);
}

/* In each answer the revision as it was when that operation was done. */
static json_t *txn_responses(const struct cmd_answer *ans)
{
    static const char *const names[] = { [TXN_PUT] = "response_put",
                                         [TXN_DELETE] = "response_delete_range",
                                         [TXN_GET] = "response_range" };
    uint64_t rev = ans->rev;
    json_t *list = json_array();

    for (size_t i = 0; i < ans->n_answers; i++) {
        if (txn_wrote(&ans->answers[i])) {
            rev = ans->rev - 1;
        }
    }
    for (size_t i = 0; i < ans->n_answers; i++) {
        json_t *one = v3_answer(&ans->answers[i]);

        rev = txn_wrote(&ans->answers[i]) ? ans->rev : rev;
        (void)json_object_set_new(one, "header", json_object());
        v3_set_u64(json_object_get(one, "header"), "revision", rev);
        (void)json_array_append_new(list, json_pack("{s:o}", names[ans->answers[i].kind], one));
    }
    return list;
}

static void txn_done(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct rest *r = data;
    json_t *out;

    if (err != NULL) {
        v3_err(r, err);
        return;
    }
    out = json_pack("{s:o}", "header", v3_header(r->node, ans->rev));
    if (ans->succeeded) {
        (void)json_object_set_new(out, "succeeded", json_true());
    }
    if (ans->n_answers > 0) {
        (void)json_object_set_new(out, "responses", txn_responses(ans));
    }
    rest_json(r, 200, out);
}

typedef int decode_fn(const json_t *, struct arena *, struct txn_op *, struct err *);

/* The compare of a request's record may have failed: then it was executed before. */
static void once_done(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct rest *r = data;
    struct err again = { 0 };
    uint64_t rev = err != NULL || ans->succeeded ? 0 : request_raw_again(r, &again);
    json_t *out;

    if (again.code != 0) {
        v3_err(r, &again);
    } else if (rev != 0) {
        out = json_pack("{s:o}", "header", v3_header(r->node, rev));
        rest_json(r, 200, out);
    } else {
        single_done(data, err, ans);
    }
}

static void submit_one(struct rest *r, decode_fn *decode)
{
    struct cmd c = { .op = CMD_TXN, .actor = raw_actor(r) };
    struct arena a = { 0 };
    struct txn_op ops[2];
    struct txn_cmp cmp;
    struct err err;

    if (decode(r->body, &a, &ops[0], &err) != 0) {
        v3_err(r, &err);
    } else {
        c.txn.then_ops = ops;
        c.txn.n_then = 1;
        if (request_guard(r, NULL, 0, &a, &cmp, &ops[1])) {
            c.txn.cmp = &cmp;
            c.txn.n_cmp = 1;
            c.txn.n_then = 2;
        }
        node_submit(r->node, &c, true, c.txn.n_cmp > 0 ? once_done : single_done, r);
    }
    arena_done(&a);
}

static void v3_put(struct rest *r)
{
    submit_one(r, v3_put_decode);
}

static void v3_delete(struct rest *r)
{
    submit_one(r, v3_delete_decode);
}

static void v3_txn(struct rest *r)
{
    struct cmd c = { .op = CMD_TXN, .actor = raw_actor(r) };
    struct arena a = { 0 };
    struct err err;

    if (v3_txn_decode(r->body, &a, &c.txn, &err) != 0) {
        v3_err(r, &err);
    } else {
        node_submit(r->node, &c, true, txn_done, r);
    }
    arena_done(&a);
}

static void v3_compact(struct rest *r)
{
    struct cmd c = { .op = CMD_COMPACT, .actor = raw_actor(r) };
    struct err err = { 0 };

    if (v3_u64(r->body, "revision", &c.number, &err) == 0) {
        if (c.number > store_rev(r->node->store)) {
            (void)err_set(&err, ERR_COMPACTED,
                          "etcdserver: mvcc: required revision is a future revision");
        } else if (c.number < store_compact_rev(r->node->store)) {
            (void)err_set(&err, ERR_COMPACTED,
                          "etcdserver: mvcc: required revision has been compacted");
        }
    }
    if (err.code != 0) {
        v3_err(r, &err);
    } else {
        node_submit(r->node, &c, true, single_done, r);
    }
}

/* --- maintenance -------------------------------------------------------------------------------
 */

static json_t *alarms_json(const struct node *n)
{
    json_t *list = json_array(), *one;
    struct upkeep_view v;

    upkeep_view(n, &v);
    if (v.nospace || v.raw_nospace) {
        one = json_pack("{s:s}", "alarm", "NOSPACE");
        v3_set_u64(one, "memberID", n->id);
        (void)json_array_append_new(list, one);
    }
    return list;
}

static void alarm_answer(struct rest *r)
{
    json_t *out = json_pack("{s:o}", "header", v3_header(r->node, store_rev(r->node->store)));
    json_t *list = alarms_json(r->node);

    if (json_array_size(list) > 0) {
        (void)json_object_set(out, "alarms", list);
    }
    json_decref(list);
    rest_json(r, 200, out);
}

static void alarm_done(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct rest *r = data;

    (void)ans;
    if (err != NULL) {
        v3_err(r, err);
    } else {
        alarm_answer(r);
    }
}

static void ignore(void *data, const struct err *err, const struct cmd_answer *ans)
{
    (void)data;
    (void)err;
    (void)ans;
}

/* Ours has two kinds, of which etcd's clients know one.  The leader switches them on again when
 * there is still no room. */
static void alarm_set(struct rest *r, bool on)
{
    bool admin = str_eq(r->req->peer.role, "picket:admins");
    struct cmd c = { .op = CMD_ALARM, .text = "raw-nospace", .number = 0 };

    c.actor = (struct actor){ .role = admin ? ACTOR_ADMIN : ACTOR_RAW, .name = r->req->peer.name };
    if (!on) {
        node_submit(r->node, &c, true, ignore, NULL);
    }
    c.text = "NOSPACE";
    c.number = on;
    node_submit(r->node, &c, true, alarm_done, r);
}

static void v3_alarm(struct rest *r)
{
    static const char *const actions[] = { "GET", "ACTIVATE", "DEACTIVATE", NULL };
    static const char *const kinds[] = { "NONE", "NOSPACE", "CORRUPT", NULL };
    unsigned action, kind;
    struct err err;

    if (v3_enum(r->body, "action", actions, &action, &err) != 0 ||
        v3_enum(r->body, "alarm", kinds, &kind, &err) != 0) {
        v3_err(r, &err);
    } else if (action == 0) {
        alarm_answer(r);
    } else if (action == 1 && kind != 1) {
        (void)err_set(&err, ERR_INVALID, "alarm: only NOSPACE can be activated");
        v3_err(r, &err);
    } else {
        alarm_set(r, action == 1);
    }
}

static void v3_status(struct rest *r)
{
    const struct node *n = r->node;
    struct upkeep_view v;
    json_t *out = json_pack("{s:o, s:s}", "header", v3_header(n, store_rev(n->store)), "version",
                            "3.4.0+picket-" PICKET_VERSION);

    v3_set_u64(out, "dbSize", store_bytes(n->store));
    v3_set_u64(out, "dbSizeInUse", store_bytes(n->store));
    v3_set_u64(out, "leader", rep_leader(n->rep));
    v3_set_u64(out, "raftIndex", rep_committed(n->rep));
    v3_set_u64(out, "raftAppliedIndex", rep_applied(n->rep));
    v3_set_u64(out, "raftTerm", rep_term(n->rep));
    upkeep_view(n, &v);
    if (v.nospace || v.raw_nospace) {
        (void)json_object_set_new(out, "errors",
                                  json_pack("[s]", "etcdserver: mvcc: database space exceeded"));
    }
    rest_json(r, 200, out);
}

/* --- routing -----------------------------------------------------------------------------------
 */

int v3_allowed(const struct stream_peer *peer, struct err *err)
{
    static const char *const roles[] = { "picket:admins", "picket:operators", "picket:raw" };

    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        if (str_eq(peer->role, roles[i])) {
            return 0;
        }
    }
    return err_set(err, peer->role[0] == 0 ? ERR_UNAUTHORIZED : ERR_DENIED,
                   "the raw key space is for picket:admins, picket:operators and picket:raw");
}

void v3_request(struct rest *r, const char *path)
{
    static const struct {
        const char *path;
        void (*go)(struct rest *r);
    } routes[] = { { "kv/range", v3_range_request },  { "kv/put", v3_put },
                   { "kv/deleterange", v3_delete },   { "kv/txn", v3_txn },
                   { "kv/compaction", v3_compact },   { "maintenance/status", v3_status },
                   { "maintenance/alarm", v3_alarm }, { "watch", v3_watch_request } };
    struct err err;

    if (v3_allowed(&r->req->peer, &err) != 0) {
        v3_err(r, &err);
        return;
    }
    if (!str_eq(r->req->method, "POST")) {
        (void)err_set(&err, ERR_UNSUPPORTED, "Method Not Allowed");
        v3_err(r, &err);
        return;
    }
    if (!rest_body(r)) {
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (str_eq(path, routes[i].path)) {
            routes[i].go(r);
            return;
        }
    }
    v3_lease(r, path);
}
