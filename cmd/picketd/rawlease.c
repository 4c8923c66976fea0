#include "cmd/picketd/rawlease.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/leasebook_sm.h"
#include "cmd/picketd/v3.h"

#define TICK_MS 200U
#define PER_TICK_MAX 256U /* leases ended in one tick */

struct raw_leases {
    struct node *node;
    uint64_t term; /* 0: not leading */
    uv_timer_t timer;
    struct leasebook book;
};

/* --- the end -----------------------------------------------------------------------------------
 */

struct ending {
    struct raw_leases *l;
    uint64_t term;
    uint64_t id;
};

static void ended(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct ending *e = data;

    (void)ans;
    /* Not known to have happened: try again later; keep-alives stay refused. */
    if (err != NULL && e->l->term == e->term) {
        leasebook_not_ended(&e->l->book, e->id, clock_now_ms());
    }
    free(e);
}

static void lease_end(struct raw_leases *l, uint64_t id)
{
    struct cmd c = { .op = CMD_LEASE, .number = id, .number2 = 0 };
    struct ending *e = OBJ_NEW(struct ending);

    e->l = l;
    e->term = l->term;
    e->id = id;
    c.actor =
        (struct actor){ .role = ACTOR_CONTROLLER, .name = l->node->opts.name, .term = l->term };
    node_submit(l->node, &c, false, ended, e);
}

static void on_tick(uv_timer_t *t)
{
    struct raw_leases *l = t->data;
    uint64_t now = clock_now_ms();
    uint64_t due[PER_TICK_MAX];
    size_t n;

    leasebook_pull(&l->book, now);
    n = leasebook_due(&l->book, now, due, PER_TICK_MAX);
    for (size_t i = 0; i < n; i++) {
        lease_end(l, due[i]);
    }
}

void raw_leases_start(struct raw_leases *l, uint64_t term)
{
    l->term = term;
    leasebook_open(&l->book, l->node->store, clock_now_ms());
    CHECK(uv_timer_start(&l->timer, on_tick, TICK_MS, TICK_MS) == 0);
}

void raw_leases_stop(struct raw_leases *l)
{
    l->term = 0;
    (void)uv_timer_stop(&l->timer);
    leasebook_close(&l->book);
}

struct raw_leases *raw_leases_new(struct node *n)
{
    struct raw_leases *l = OBJ_NEW(struct raw_leases);

    l->node = n;
    l->timer.data = l;
    CHECK(uv_timer_init(n->loop, &l->timer) == 0);
    return l;
}

/* --- keep-alive and time to live ---------------------------------------------------------------
 */

struct ask {
    struct raw_leases *l;
    uint64_t call_id;
    uint64_t id;
    bool keep;
};

static void ask_answer(void *data, const struct err *err)
{
    struct ask *q = data;
    struct raw_leases *l = q->l;
    struct leasebook_left left = { 0 };
    struct buf b = { 0 };

    if (err != NULL) {
        rep_reply(l->node->rep, q->call_id, err, NULL, 0);
    } else {
        if (l->term != 0) {
            left = leasebook_ask(&l->book, q->id, q->keep, clock_now_ms());
        }
        buf_add_u64(&b, left.left_s);
        buf_add_u64(&b, left.ttl_s);
        rep_reply(l->node->rep, q->call_id, NULL, b.data, b.len);
    }
    buf_done(&b);
    free(q);
}

void raw_leases_call(struct raw_leases *l, const uint8_t *data, size_t len, uint64_t call_id)
{
    struct rd r = rd_make(data, len);
    struct ask *q = OBJ_NEW(struct ask);
    struct err err;

    q->l = l;
    q->call_id = call_id;
    q->keep = rd_u8(&r) != 0;
    q->id = rd_u64(&r);
    if (r.bad || l->term == 0 || !node_leads(l->node)) {
        (void)err_set(&err, r.bad ? ERR_BAD_REQUEST : ERR_NOT_LEADER, "%s does not lead",
                      l->node->opts.name);
        rep_reply(l->node->rep, call_id, &err, NULL, 0);
        free(q);
        return;
    }
    leasebook_pull(&l->book, clock_now_ms());
    node_read(l->node, ask_answer, q);
}

void raw_lease_ask(struct node *n, uint64_t id, bool keep, struct rep_req *req, rep_call_cb *cb)
{
    struct buf b = { 0 };

    buf_add_byte(&b, keep);
    buf_add_u64(&b, id);
    rep_call(n->rep, 0, NODE_CALL_RAW_LEASE, b.data, b.len, NODE_READ_MS, req, cb);
    buf_done(&b);
}

/* --- /v3/lease/... -----------------------------------------------------------------------------
 */

struct v3_ask {
    struct rep_req req; /* first */
    struct rest *r;
    uint64_t id;
    bool keep;
};

struct attached {
    uint64_t lease;
    json_t *keys;
};

static bool attached_visit(void *ctx, const struct kv *v)
{
    struct attached *at = ctx;

    if (v->lease == at->lease) {
        json_t *kv = v3_kv(kv_key(v), v->klen, NULL, 0, 0, 0, 0, 0);

        (void)json_array_append(at->keys, json_object_get(kv, "key"));
        json_decref(kv);
    }
    return true;
}

static void v3_ask_done(struct rep_req *req, const struct err *err, const uint8_t *data, size_t len)
{
    struct v3_ask *q = CONTAINER_OF(req, struct v3_ask, req);
    struct node *n = q->r->node;
    struct rd rd = rd_make(data, len);
    uint64_t left, granted;
    json_t *out;

    if (err != NULL) {
        v3_err(q->r, err);
        free(q);
        return;
    }
    left = rd_u64(&rd);
    granted = rd_u64(&rd);
    out = json_pack("{s:o}", "header", v3_header(n, store_rev(n->store)));
    v3_set_u64(out, "ID", q->id);
    if (q->keep) {
        v3_set_u64(out, "TTL", left);
        out = json_pack("{s:o}", "result", out);
    } else {
        (void)json_object_set_new(out, "TTL",
                                  left == 0 ? json_string("-1") : json_sprintf("%" PRIu64, left));
        v3_set_u64(out, "grantedTTL", granted);
        if (v3_bool(q->r->body, "keys")) {
            struct attached at = { .lease = q->id, .keys = json_array() };

            store_prefix(n->store, "k/", attached_visit, &at);
            (void)json_object_set_new(out, "keys", at.keys);
        }
    }
    rest_json(q->r, 200, out);
    free(q);
}

static void v3_lease_ask(struct rest *r, bool keep)
{
    struct v3_ask *q = OBJ_NEW(struct v3_ask);
    struct err err;

    q->r = r;
    q->keep = keep;
    if (v3_u64(r->body, "ID", &q->id, &err) != 0) {
        v3_err(r, &err);
        free(q);
        return;
    }
    raw_lease_ask(r->node, q->id, keep, &q->req, v3_ask_done);
}

static void v3_grant_done(void *data, const struct err *err, const struct cmd_answer *ans)
{
    struct rest *r = data;
    uint64_t ttl = 0;
    struct err e;
    json_t *out;

    if (err != NULL) {
        v3_err(r, err);
        return;
    }
    if (v3_u64(r->body, "TTL", &ttl, &e) != 0) {
        ttl = 0; /* was checked before */
    }
    out = json_pack("{s:o}", "header", v3_header(r->node, ans->rev));
    if (ans->n_values > 0) {
        v3_set_u64(out, "ID", ans->values[0]);
        v3_set_u64(out, "TTL", ttl);
    }
    rest_json(r, 200, out);
}

static void v3_lease_change(struct rest *r, bool grant)
{
    struct cmd c = { .op = CMD_LEASE };
    struct err err;

    c.actor = (struct actor){ .role = ACTOR_RAW, .name = r->req->peer.name };
    if (v3_u64(r->body, "ID", &c.number, &err) != 0 ||
        (grant && v3_u64(r->body, "TTL", &c.number2, &err) != 0)) {
        v3_err(r, &err);
        return;
    }
    if (grant && (c.number2 == 0 || c.number2 > 9000000000ULL)) {
        (void)err_set(&err, ERR_BAD_REQUEST, "TTL: 1 to 9000000000 seconds are possible");
        v3_err(r, &err);
        return;
    }
    node_submit(r->node, &c, true, v3_grant_done, r);
}

static bool list_visit(void *ctx, const struct kv *v)
{
    json_t *one = json_object();
    uint64_t id = 0;

    (void)str_parse_u64(kv_key(v) + strlen("s/lease/"), &id);
    v3_set_u64(one, "ID", id);
    (void)json_array_append_new(ctx, one);
    return true;
}

void v3_lease(struct rest *r, const char *path)
{
    struct err err;

    if (str_eq(path, "lease/grant")) {
        v3_lease_change(r, true);
    } else if (str_eq(path, "lease/revoke") || str_eq(path, "kv/lease/revoke")) {
        v3_lease_change(r, false);
    } else if (str_eq(path, "lease/keepalive")) {
        v3_lease_ask(r, true);
    } else if (str_eq(path, "lease/timetolive") || str_eq(path, "kv/lease/timetolive")) {
        v3_lease_ask(r, false);
    } else if (str_eq(path, "lease/leases") || str_eq(path, "kv/lease/leases")) {
        json_t *list = json_array();

        store_prefix(r->node->store, "s/lease/", list_visit, list);
        rest_json(r, 200,
                  json_pack("{s:o, s:o}", "header", v3_header(r->node, store_rev(r->node->store)),
                            "leases", list));
    } else {
        (void)err_set(&err, ERR_NOT_FOUND, "Not Found");
        v3_err(r, &err);
    }
}
