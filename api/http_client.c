/* Requests: which endpoint, when again, and what may be said about a failure. */

#include "api/http_client_priv.h"

#include <stdlib.h>
#include <string.h>

#include "base/obj.h"
#include "base/str.h"

#define HC_TIMEOUT_MS 30000
#define HC_CALLS_DEFAULT 4096
#define HC_CONNS_DEFAULT 8
#define HC_IDLE_MS 55000 /* less than the server's idle_ms, so that it is we who close */
#define HC_PAUSE_MS 100  /* between rounds, up to three times that */
#define HC_MISSES 64     /* waiting requests looked at without finding room for one */

static void hc_idle_cb(uv_idle_t *h);

void hc_kick(struct http_client *c)
{
    if (!c->closing) {
        CHECK(uv_idle_start(&c->idle, hc_idle_cb) == 0);
    }
}

/* --- one request --- */

void hc_op_init(struct hc_op *op, struct http_client *c, const struct http_call_args *a)
{
    uint64_t now;

    uv_update_time(c->loop); /* a program may have been busy since the loop turned last */
    now = uv_now(c->loop);
    op->magic = HC_OP_MAGIC;
    op->client = c;
    op->method = arena_strdup(&op->arena, a->method);
    op->target = arena_strdup(&op->arena, a->target);
    op->headers = ARENA_ARRAY(&op->arena, struct http_header, a->n_headers + 1);
    if (a->content_type != NULL) {
        op->headers[op->n_headers].name = "Content-Type";
        op->headers[op->n_headers++].value = arena_strdup(&op->arena, a->content_type);
    }
    for (size_t i = 0; i < a->n_headers; i++) {
        op->headers[op->n_headers].name = arena_strdup(&op->arena, a->headers[i].name);
        op->headers[op->n_headers++].value = arena_strdup(&op->arena, a->headers[i].value);
    }
    if (a->len > 0) {
        void *body = arena_alloc(&op->arena, a->len);

        memcpy(body, a->body, a->len);
        op->body = body;
        op->len = a->len;
    }
    op->readonly = str_eq(a->method, "GET") || str_eq(a->method, "HEAD");
    op->repeatable = op->readonly || a->repeatable;
    op->deadline_ms = now + (a->timeout_ms != 0 ? a->timeout_ms : HC_TIMEOUT_MS);
    op->patient_until_ms = a->patience_ms != 0 ? now + a->patience_ms : 0;
    if (hc_home_again(c)) {
        c->cur = 0;
    }
    op->ep = c->cur;
    op->state = HC_WAITING;
    TAILQ_INSERT_TAIL(&c->all, op, all);
    TAILQ_INSERT_TAIL(&c->waiting, op, queue);
    c->n_ops++;
    hc_kick(c);
}

/* Take it out of whatever queue it is in. */
static void hc_op_dequeue(struct hc_op *op)
{
    if (op->state == HC_WAITING) {
        TAILQ_REMOVE(&op->client->waiting, op, queue);
    } else if (op->state == HC_FAILED) {
        TAILQ_REMOVE(&op->client->failed, op, queue);
    }
    op->state = HC_BOUND;
}

void hc_op_unbind(struct hc_op *op)
{
    if (op->conn != NULL) {
        op->conn->op = NULL;
        op->conn = NULL;
    }
}

static void hc_op_wait(struct hc_op *op)
{
    hc_op_dequeue(op);
    op->state = HC_WAITING;
    op->sent = false;
    TAILQ_INSERT_TAIL(&op->client->waiting, op, queue);
    hc_kick(op->client);
}

void hc_op_free(struct hc_op *op)
{
    OBJ_CHECK(op, HC_OP_MAGIC);
    hc_op_dequeue(op);
    if (op->conn != NULL) {
        hc_conn_drop(op->conn); /* its answer could not be told from the next one's */
    }
    TAILQ_REMOVE(&op->client->all, op, all);
    CHECK(op->client->n_ops > 0);
    op->client->n_ops--;
    arena_done(&op->arena);
    op->magic = 0;
    if (op->lines != NULL) {
        hc_lines_free(op->lines);
    } else {
        free(op->call);
    }
}

void hc_op_fail(struct hc_op *op, const struct err *err)
{
    struct err mine = *err;

    if (op->maybe && mine.code != ERR_UNKNOWN_OUTCOME) {
        (void)err_set(&mine, ERR_UNKNOWN_OUTCOME, "%s", err->msg);
        (void)err_wrap(&mine, "the request was sent but not answered");
    }
    op->err = mine;
    hc_op_dequeue(op);
    op->state = HC_FAILED;
    TAILQ_INSERT_TAIL(&op->client->failed, op, queue);
    hc_kick(op->client);
}

/* Is another endpoint, or another round, left?  Then take it. */
static bool hc_op_next(struct hc_op *op)
{
    struct http_client *c = op->client;
    uint64_t now = uv_now(c->loop);
    size_t next = (op->ep + 1) % c->opts.n_endpoints;

    op->n_tried++;
    if (op->ep == 0) {
        hc_home_failed(c, false);
    }
    if (c->cur == op->ep) {
        c->cur = next;
    }
    op->ep = next;
    if (op->n_tried < c->opts.n_endpoints) {
        hc_op_wait(op);
        return true;
    }
    if (now < op->patient_until_ms && now < op->deadline_ms) {
        op->n_tried = 0;
        op->not_before_ms = now + HC_PAUSE_MS + prng_below(&c->prng, 2 * HC_PAUSE_MS);
        hc_op_wait(op);
        return true;
    }
    return false;
}

void hc_op_hop(struct hc_op *op, const struct err *err)
{
    op->err = *err;
    if (!hc_op_next(op)) {
        hc_op_fail(op, err);
    }
}

void hc_op_broken(struct hc_op *op, const struct hc_conn *conn, const struct err *err)
{
    struct err mine = *err;
    bool stale = conn->reused && !conn->got;

    hc_op_unbind(op);
    if (op->lines != NULL && op->lines->status != 0) {
        hc_op_fail(op, &mine); /* lines were delivered: the owner decides */
    } else if (!op->sent || mine.code == ERR_UNAUTHORIZED) {
        hc_op_hop(op, &mine); /* the server never looked at it */
    } else if (op->repeatable && stale && !op->restarted) {
        op->restarted = true; /* the server closed a kept connection: not its fault */
        op->maybe = op->maybe || !op->readonly;
        hc_op_wait(op);
    } else {
        op->maybe = op->maybe || !op->readonly;
        if (op->repeatable) {
            hc_op_hop(op, &mine);
        } else {
            hc_op_fail(op, &mine);
        }
    }
}

static void hc_deliver_error(struct hc_op *op)
{
    struct err err = op->err;
    struct http_lines_cbs lines_cbs = { 0 };
    http_reply_cb *cb = NULL;
    void *data;

    if (op->lines != NULL) {
        lines_cbs = op->lines->cbs;
        data = op->lines->data;
    } else {
        cb = op->call->cb;
        data = op->call->data;
    }
    hc_op_free(op);
    if (cb != NULL) {
        cb(data, &err, NULL);
    } else {
        CHECK(lines_cbs.on_end != NULL);
        lines_cbs.on_end(data, &err, NULL);
    }
}

static void hc_deliver_reply(struct hc_op *op, struct http_msg *msg)
{
    http_reply_cb *cb = op->call->cb;
    void *data = op->call->data;
    struct http_reply reply = { .status = msg->status,
                                .headers = msg->headers,
                                .body = (const uint8_t *)buf_cstr(&msg->body),
                                .len = msg->body.len };

    hc_op_free(op);
    cb(data, NULL, &reply);
}

void hc_op_answered(struct hc_op *op, size_t ep, struct http_msg *msg)
{
    struct err err;

    CHECK(op->conn == NULL);
    if (msg->status == 503) {
        (void)err_set(&err, ERR_NO_QUORUM, "%s answered 503", op->client->endpoints[ep]);
        if (op->lines != NULL) {
            op->lines->status = 0;
        }
        if (hc_op_next(op)) {
            op->err = err;
            if (op->lines != NULL) {
                buf_clear(&op->lines->error_body);
            }
            goto out;
        }
        if (op->maybe) { /* "not executed" is true of this attempt only */
            hc_op_fail(op, &err);
            goto out;
        }
    } else {
        hc_endpoint_answered(op->client, ep);
    }
    if (op->lines != NULL) {
        hc_lines_answered(op->lines, msg);
    } else {
        hc_deliver_reply(op, msg);
    }
out:
    http_msg_free(msg);
}

/* --- calls --- */

struct http_call *http_call(struct http_client *c, const struct http_call_args *args,
                            http_reply_cb *cb, void *data)
{
    struct http_call *call;
    struct err err;

    OBJ_CHECK(c, HC_MAGIC);
    CHECK(!c->closing);
    CHECK(cb != NULL);
    call = OBJ_NEW(struct http_call);
    call->op.call = call;
    call->cb = cb;
    call->data = data;
    hc_op_init(&call->op, c, args);
    if (c->n_ops > c->opts.max_calls) {
        (void)err_set(&err, ERR_LIMIT, "%zu calls are under way already", c->n_ops - 1);
        hc_op_fail(&call->op, &err);
    }
    return call;
}

void http_call_cancel(struct http_call *call)
{
    OBJ_CHECK(&call->op, HC_OP_MAGIC);
    hc_op_free(&call->op);
}

void *http_call_data(const struct http_call *call)
{
    OBJ_CHECK(&call->op, HC_OP_MAGIC);
    return call->data;
}

/* --- the client --- */

/* Find a connection for a waiting request; false: there is no room now. */
static bool hc_assign(struct http_client *c, struct hc_op *op)
{
    struct hc_conn *conn;
    struct err err;

    if (op->n_tried == 0) {
        op->ep = c->cur;
    }
    conn = op->lines != NULL || op->restarted ? NULL : hc_conn_find_idle(c, op->ep);
    if (conn != NULL) {
        hc_op_dequeue(op);
        hc_conn_send(conn, op);
        return true;
    }
    if (op->lines == NULL && hc_conn_count(c, op->ep) >= c->opts.max_conns) {
        return false;
    }
    hc_op_dequeue(op);
    if (hc_conn_dial(op, &err) != 0) {
        hc_op_hop(op, &err);
    }
    return true;
}

static void hc_assign_all(struct http_client *c)
{
    uint64_t now = uv_now(c->loop);
    struct hc_op *op, *next;
    size_t budget = c->n_ops;
    unsigned misses = 0;

    for (op = TAILQ_FIRST(&c->waiting); op != NULL && budget > 0 && misses < HC_MISSES; op = next) {
        next = TAILQ_NEXT(op, queue);
        budget--;
        if (op->not_before_ms <= now && !hc_assign(c, op)) {
            misses++;
        }
    }
}

/* When must the timer look at this request? */
static uint64_t hc_op_due(const struct hc_op *op)
{
    const struct http_lines *l = op->lines;

    if (l != NULL && l->status == 200) {
        return l->silence_ms == 0 || l->paused ? UINT64_MAX : l->last_ms + l->silence_ms;
    }
    if (op->state == HC_WAITING && op->not_before_ms > uv_now(op->client->loop) &&
        op->not_before_ms < op->deadline_ms) {
        return op->not_before_ms;
    }
    return op->deadline_ms;
}

static void hc_timer_cb(uv_timer_t *h);

static void hc_arm(struct http_client *c)
{
    uint64_t now = uv_now(c->loop);
    uint64_t due = UINT64_MAX;
    const struct hc_conn *conn;
    const struct hc_op *op;

    TAILQ_FOREACH (op, &c->all, all) {
        uint64_t t = hc_op_due(op);

        due = t < due ? t : due;
    }
    LIST_FOREACH(conn, &c->conns, link)
    {
        if (conn->open && conn->op == NULL && conn->idle_ms + HC_IDLE_MS < due) {
            due = conn->idle_ms + HC_IDLE_MS;
        }
    }
    if (due == UINT64_MAX) {
        (void)uv_timer_stop(&c->timer);
    } else {
        CHECK(uv_timer_start(&c->timer, hc_timer_cb, due > now ? due - now : 1, 0) == 0);
    }
}

/* Its time is over. */
static void hc_op_expire(struct hc_op *op)
{
    const char *endpoint = op->client->endpoints[op->ep];
    struct hc_conn *conn = op->conn;
    struct err last = op->err;
    struct err err;

    if (op->state == HC_FAILED) {
        return;
    }
    if (op->lines != NULL && op->lines->status == 200) {
        (void)err_set(&err, ERR_TIMEOUT, "%s has sent nothing for %llu ms", endpoint,
                      (unsigned long long)op->lines->silence_ms);
    } else if (last.code != 0) {
        (void)err_set(&err, ERR_TIMEOUT, "no answer in time; before: %s", last.msg);
    } else {
        (void)err_set(&err, ERR_TIMEOUT, "no answer in time from %s", endpoint);
    }
    op->maybe = op->maybe || (op->sent && !op->readonly);
    hc_op_unbind(op);
    hc_op_fail(op, &err);
    if (conn != NULL) {
        http_client_avoid(op->client, endpoint); /* it may hang: others shall not wait for it too */
        hc_conn_drop(conn);
    }
}

static void hc_timer_cb(uv_timer_t *h)
{
    struct hc_conn *conn, *next_conn;
    struct hc_op *op, *next;
    struct http_client *c;
    uint64_t now;

    OBJ_FROM(c, h->data, HC_MAGIC);
    now = uv_now(c->loop);
    for (op = TAILQ_FIRST(&c->all); op != NULL; op = next) {
        next = TAILQ_NEXT(op, all);
        if (hc_op_due(op) <= now) {
            hc_op_expire(op);
        }
    }
    for (conn = LIST_FIRST(&c->conns); conn != NULL; conn = next_conn) {
        next_conn = LIST_NEXT(conn, link);
        if (conn->open && conn->op == NULL && conn->idle_ms + HC_IDLE_MS <= now) {
            hc_conn_drop(conn);
        }
    }
    hc_kick(c);
}

static void hc_idle_cb(uv_idle_t *h)
{
    struct http_client *c;
    struct hc_op *op;
    size_t budget;

    OBJ_FROM(c, h->data, HC_MAGIC);
    (void)uv_idle_stop(h);
    hc_assign_all(c);
    /* Callbacks last; what they start waits for the next turn. */
    for (budget = c->n_ops; budget > 0 && !c->closing; budget--) {
        op = TAILQ_FIRST(&c->failed);
        if (op == NULL) {
            break;
        }
        hc_deliver_error(op);
    }
    if (c->closing) {
        return;
    }
    if (!TAILQ_EMPTY(&c->failed)) {
        hc_kick(c);
    }
    hc_arm(c);
}

static void hc_free(struct http_client *c)
{
    void (*on_closed)(void *ctx) = c->on_closed;
    void *ctx = c->closed_ctx;

    for (size_t i = 0; i < c->opts.n_endpoints; i++) {
        free(c->endpoints[i]);
    }
    free(c->want_role);
    tls_ctx_unref(c->opts.tls);
    c->magic = 0;
    free(c);
    if (on_closed != NULL) {
        on_closed(ctx);
    }
}

void hc_maybe_free(struct http_client *c)
{
    if (c->closing && c->handles == 0 && c->n_conns == 0) {
        hc_free(c);
    }
}

static int hc_copy_opts(struct http_client *c, const struct http_client_opts *opts, struct err *err)
{
    int rc;

    if (opts->n_endpoints == 0 || opts->n_endpoints > HC_ENDPOINTS_MAX) {
        return err_set(err, ERR_INVALID, "a client needs 1 to %d endpoints, not %zu",
                       HC_ENDPOINTS_MAX, opts->n_endpoints);
    }
    for (size_t i = 0; i < opts->n_endpoints; i++) {
        rc = hc_endpoint_check(opts->endpoints[i], err);
        if (rc != 0) {
            return rc;
        }
    }
    c->opts = *opts;
    c->opts.endpoints = NULL;
    c->opts.want_role = NULL;
    for (size_t i = 0; i < opts->n_endpoints; i++) {
        c->endpoints[i] = mem_strdup(opts->endpoints[i]);
    }
    c->want_role = mem_strdup(opts->want_role);
    c->opts.max_calls = opts->max_calls != 0 ? opts->max_calls : HC_CALLS_DEFAULT;
    c->opts.max_conns = opts->max_conns != 0 ? opts->max_conns : HC_CONNS_DEFAULT;
    c->opts.tls = opts->tls == NULL ? NULL : tls_ctx_ref(opts->tls);
    return 0;
}

int http_client_new(uv_loop_t *loop, const struct http_client_opts *opts, struct http_client **ret,
                    struct err *err)
{
    struct http_client *c = OBJ_NEW(struct http_client);
    uint64_t seed;
    int rc;

    rc = hc_copy_opts(c, opts, err);
    if (rc != 0) {
        free(c);
        return rc;
    }
    c->magic = HC_MAGIC;
    c->loop = loop;
    clock_random(&seed, sizeof(seed));
    prng_init(&c->prng, seed);
    TAILQ_INIT(&c->all);
    TAILQ_INIT(&c->waiting);
    TAILQ_INIT(&c->failed);
    LIST_INIT(&c->conns);
    CHECK(uv_timer_init(loop, &c->timer) == 0);
    CHECK(uv_idle_init(loop, &c->idle) == 0);
    c->timer.data = c;
    c->idle.data = c;
    c->handles = 2;
    *ret = c;
    return 0;
}

static void hc_handle_closed_cb(uv_handle_t *h)
{
    struct http_client *c;

    OBJ_FROM(c, h->data, HC_MAGIC);
    c->handles--;
    hc_maybe_free(c);
}

void http_client_close(struct http_client *c, void (*on_closed)(void *ctx), void *ctx)
{
    struct hc_conn *conn;

    OBJ_CHECK(c, HC_MAGIC);
    CHECK(!c->closing);
    c->closing = true;
    c->on_closed = on_closed;
    c->closed_ctx = ctx;
    while (!TAILQ_EMPTY(&c->all)) {
        hc_op_free(TAILQ_FIRST(&c->all));
    }
    LIST_FOREACH(conn, &c->conns, link)
    {
        hc_conn_drop(conn);
    }
    uv_close((uv_handle_t *)&c->timer, hc_handle_closed_cb);
    uv_close((uv_handle_t *)&c->idle, hc_handle_closed_cb);
}
