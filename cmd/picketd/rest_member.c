/* The API of membership, and the way to the leader. */

#include <stdlib.h>
#include <string.h>

#include "api/manifest.h"
#include "api/valid.h"
#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/auth.h"
#include "cmd/picketd/member.h"

#define ASK_MS 90000U     /* a promotion waits for a log to be sent */
#define ASK_AGAIN_MS 200U /* while leadership moves */
#define ASK_MOVES_MS 15000U
#define ASK_BUSY_MS 45000U /* while others change the members; a client waits for a minute */

struct ask {
    struct rep_req req;
    struct node *node;
    json_t *body;
    member_ask_cb *cb;
    void *data;
    uint64_t until_ms, busy_until_ms;
    uv_timer_t timer;
};

static void ask_send(struct ask *q);

static void ask_free(uv_handle_t *h)
{
    struct ask *q = h->data;

    json_decref(q->body);
    free(q);
}

static void ask_again(uv_timer_t *t)
{
    ask_send(t->data);
}

/* What certainly did not happen, and may go if it is asked again. */
static bool ask_anew(const struct ask *q, int code)
{
    if (code == ERR_CONFLICT) {
        return clock_now_ms() < q->busy_until_ms;
    }
    return (code == ERR_NOT_LEADER || code == ERR_NO_QUORUM) && clock_now_ms() < q->until_ms;
}

static void ask_done(struct rep_req *req, const struct err *err, const uint8_t *data, size_t len)
{
    struct ask *q = CONTAINER_OF(req, struct ask, req);
    json_t *answer = NULL;
    struct err e;

    if (err != NULL && ask_anew(q, err->code)) {
        CHECK(uv_timer_start(&q->timer, ask_again, ASK_AGAIN_MS, 0) == 0);
        return;
    }
    if (err == NULL && json_parse_strict((const char *)data, len, &answer, &e) != 0) {
        err = &e;
    }
    q->cb(q->data, err, answer);
    json_decref(answer);
    uv_close((uv_handle_t *)&q->timer, ask_free);
}

static void ask_send(struct ask *q)
{
    char *text = json_dumps(q->body, JSON_COMPACT);

    CHECK(text != NULL);
    rep_call(q->node->rep, 0, NODE_CALL_MEMBER, text, strlen(text), ASK_MS, &q->req, ask_done);
    free(text);
}

static void ask_begin(struct node *n, json_t *body, unsigned busy_ms, member_ask_cb *cb, void *data)
{
    struct ask *q = OBJ_NEW(struct ask);

    q->node = n;
    q->body = body;
    q->cb = cb;
    q->data = data;
    q->until_ms = clock_now_ms() + ASK_MOVES_MS;
    q->busy_until_ms = clock_now_ms() + busy_ms;
    q->timer.data = q;
    CHECK(uv_timer_init(n->loop, &q->timer) == 0);
    ask_send(q);
}

void member_ask(struct node *n, json_t *body, member_ask_cb *cb, void *data)
{
    ask_begin(n, body, 0, cb, data);
}

void member_ask_patient(struct node *n, json_t *body, member_ask_cb *cb, void *data)
{
    ask_begin(n, body, ASK_BUSY_MS, cb, data);
}

/* --- the API -----------------------------------------------------------------------------------
 */

static void answered(void *data, const struct err *err, json_t *answer)
{
    struct rest *r = data;

    if (err != NULL) {
        rest_err(r, err);
    } else {
        rest_json(r, 200, json_incref(answer));
    }
}

static int may(const struct rest *r, bool read, struct err *err)
{
    int rc =
        auth_object(&r->req->peer, kind_find("Cluster"), "", read ? AUTH_READ : AUTH_WRITE, err);

    if (rc == ERR_DENIED) {
        (void)err_set(err, ERR_DENIED, "%s \"%s\" may not %s the members of the cluster",
                      r->req->peer.role, r->req->peer.name, read ? "list" : "change");
    }
    return rc;
}

/* "/NAME" or "/NAME/OP" to its parts. */
static bool split(const char *path, char *name, size_t size, const char **ret_op)
{
    const char *slash = path[0] == '/' ? strchr(path + 1, '/') : NULL;
    size_t n = slash == NULL ? strlen(path + 1) : (size_t)(slash - path - 1);

    if (path[0] != '/' || n == 0 || n >= size) {
        return false;
    }
    memcpy(name, path + 1, n);
    name[n] = 0;
    *ret_op = slash == NULL ? "" : slash + 1;
    return true;
}

static void ask_op(struct rest *r, const char *op, const char *name)
{
    member_ask(r->node, json_pack("{s:s, s:s}", "op", op, "name", name), answered, r);
}

static void members_all(struct rest *r)
{
    struct err err;

    if (str_eq(r->req->method, "GET")) {
        ask_op(r, "list", "");
    } else if (!str_eq(r->req->method, "POST")) {
        (void)err_set(&err, ERR_METHOD, "members: GET or POST");
        rest_err(r, &err);
    } else if (rest_body(r)) {
        (void)json_object_set_new(r->body, "op", json_string("add"));
        member_ask(r->node, json_incref(r->body), answered, r);
    }
}

static void members_one(struct rest *r, const char *path)
{
    static const char *const ops[] = { "promote", "demote", "transfer" };
    const char *op = "";
    char name[64];
    struct err err;

    if (!split(path, name, sizeof(name), &op)) {
        (void)err_set(&err, ERR_NOT_FOUND, "members: %.200s is no path", r->req->path);
        rest_err(r, &err);
        return;
    }
    if (str_eq(r->req->method, "DELETE") && op[0] == 0) {
        ask_op(r, "remove", name);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        if (str_eq(r->req->method, "POST") && str_eq(op, ops[i])) {
            ask_op(r, op, name);
            return;
        }
    }
    (void)err_set(&err, ERR_METHOD,
                  "members: POST NAME/promote, NAME/demote, NAME/transfer or "
                  "DELETE NAME");
    rest_err(r, &err);
}

void rest_members(struct rest *r, const char *path)
{
    struct err err;

    if (may(r, str_eq(r->req->method, "GET"), &err) != 0) {
        rest_err(r, &err);
    } else if (path[0] == 0) {
        members_all(r);
    } else {
        members_one(r, path);
    }
}
