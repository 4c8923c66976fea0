/* The server: its listeners, its connections as a whole, its limits. */

#include <stdlib.h>
#include <string.h>

#include "api/http_priv.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"

#define HTTP_CONNS_DEFAULT 1024
#define HTTP_BODY_TOTAL_DEFAULT (256U << 20)
#define HTTP_HIGH_DEFAULT (1U << 20)
#define HTTP_IDLE_MS 120000
#define HTTP_REQUEST_MS 30000
#define HTTP_SEND_MS 60000
#define HTTP_SWEEP_MS 1000

const char *http_req_query(const struct http_req *req, const char *name)
{
    CHECK(req->magic == HTTP_REQ_MAGIC);
    return map_get(&req->msg->params, name);
}

const char *http_req_header(const struct http_req *req, const char *name)
{
    CHECK(req->magic == HTTP_REQ_MAGIC);
    return http_header_get(&req->headers, name);
}

bool http_req_aborted(const struct http_req *req)
{
    const struct http_sreq *r = http_sreq_of((struct http_req *)(uintptr_t)req);

    return req->conn == NULL && r->sink == NULL;
}

void http_sreq_free(struct http_sreq *r)
{
    if (r->pub.server != NULL) {
        CHECK(r->pub.server->body_total >= r->held);
        r->pub.server->body_total -= r->held;
        LIST_REMOVE(r, link);
    }
    http_msg_free(r->pub.msg);
    r->pub.magic = 0;
    free(r);
}

static void http_server_free(struct http_server *s)
{
    void (*on_closed)(void *ctx) = s->on_closed;
    void *ctx = s->closed_ctx;

    s->magic = 0;
    free(s);
    if (on_closed != NULL) {
        on_closed(ctx);
    }
}

void http_server_maybe_free(struct http_server *s)
{
    if (s->closing && s->handles == 0 && s->n_conns == 0) {
        http_server_free(s);
    }
}

static void http_accept_cb(struct listener *l, struct stream *st)
{
    struct http_server *s;
    struct http_conn *c;

    OBJ_FROM(s, listener_data(l), HTTP_SERVER_MAGIC);
    if (s->n_conns >= s->opts.max_conns) {
        if (!s->full) {
            lg_warn("http",
                    "peer=%s limit=%zu msg=\"too many connections; further ones are closed "
                    "until there are fewer\"",
                    stream_remote(st), s->opts.max_conns);
        }
        s->full = true;
        stream_close(st, false);
        return;
    }
    c = OBJ_NEW(struct http_conn);
    c->magic = HTTP_CONN_MAGIC;
    c->server = s;
    c->stream = st;
    c->parser = http_parser_new(HTTP_REQUESTS, s->opts.max_body, &http_conn_parser_cbs, c);
    c->since_ms = uv_now(s->loop);
    c->moved_ms = c->since_ms;
    LIST_INSERT_HEAD(&s->conns, c, link);
    s->n_conns++;
    stream_set_data(st, c);
    stream_set_cbs(st, &http_conn_cbs);
}

void http_idle_cb(uv_idle_t *h)
{
    struct http_server *s;
    struct http_conn *c;
    struct buf in;

    OBJ_FROM(s, h->data, HTTP_SERVER_MAGIC);
    (void)uv_idle_stop(h);
    /* Only those that are there now: a connection that kicks again waits for the next turn. */
    for (size_t n = s->n_conns; n > 0 && (c = TAILQ_FIRST(&s->kicks)) != NULL; n--) {
        TAILQ_REMOVE(&s->kicks, c, kick);
        c->kicked = false;
        if (c->doomed && !c->closing) {
            http_conn_abort(c);
        } else if (!c->closing && c->req == NULL) {
            in = c->in;
            c->in = (struct buf){ 0 };
            stream_pause(c->stream, false);
            http_conn_parse(c, in.data, in.len);
            buf_done(&in);
        }
        if (s->closing) {
            return;
        }
    }
    if (!TAILQ_EMPTY(&s->kicks)) {
        CHECK(uv_idle_start(&s->idle, http_idle_cb) == 0);
    }
}

static void http_sweep_cb(uv_timer_t *h)
{
    struct http_server *s;
    struct http_conn *c, *next;
    uint64_t now;

    OBJ_FROM(s, h->data, HTTP_SERVER_MAGIC);
    now = uv_now(s->loop);
    /* Closing is never immediate, so only the current connection can change in a step. */
    for (c = LIST_FIRST(&s->conns); c != NULL && !s->closing; c = next) {
        next = LIST_NEXT(c, link);
        http_conn_check(c, now);
    }
}

static void http_server_defaults(struct http_server_opts *o)
{
    o->max_body = o->max_body != 0 ? o->max_body : HTTP_MAX_BODY;
    o->max_body_total = o->max_body_total != 0 ? o->max_body_total : HTTP_BODY_TOTAL_DEFAULT;
    o->max_conns = o->max_conns != 0 ? o->max_conns : HTTP_CONNS_DEFAULT;
    o->high_mark = o->high_mark != 0 ? o->high_mark : HTTP_HIGH_DEFAULT;
    o->idle_ms = o->idle_ms != 0 ? o->idle_ms : HTTP_IDLE_MS;
    o->request_ms = o->request_ms != 0 ? o->request_ms : HTTP_REQUEST_MS;
    o->send_ms = o->send_ms != 0 ? o->send_ms : HTTP_SEND_MS;
}

int http_server_new(uv_loop_t *loop, const struct http_server_opts *opts, struct http_server **ret,
                    struct err *err)
{
    struct http_server *s = OBJ_NEW(struct http_server);
    uint64_t sweep = HTTP_SWEEP_MS;

    CHECK(opts->on_request != NULL);
    CHECK(err != NULL);
    s->magic = HTTP_SERVER_MAGIC;
    s->loop = loop;
    s->opts = *opts;
    http_server_defaults(&s->opts);
    sweep = s->opts.idle_ms / 4 < sweep ? s->opts.idle_ms / 4 : sweep;
    sweep = s->opts.request_ms / 4 < sweep ? s->opts.request_ms / 4 : sweep;
    sweep = s->opts.send_ms / 4 < sweep ? s->opts.send_ms / 4 : sweep;
    LIST_INIT(&s->conns);
    LIST_INIT(&s->reqs);
    TAILQ_INIT(&s->kicks);
    CHECK(uv_timer_init(loop, &s->sweep) == 0);
    CHECK(uv_idle_init(loop, &s->idle) == 0);
    s->sweep.data = s;
    s->idle.data = s;
    s->handles = 2;
    sweep = sweep < 10 ? 10 : sweep;
    CHECK(uv_timer_start(&s->sweep, http_sweep_cb, sweep, sweep) == 0);
    *ret = s;
    return 0;
}

int http_server_listen(struct http_server *s, const char *address, struct tls_ctx *tls,
                       const char **ret_address, struct err *err)
{
    struct stream_opts opts = { .tls = str_starts(address, "unix:") ? NULL : tls,
                                .max_queue = HTTP_RESPONSE_MAX,
                                .low_mark = s->opts.high_mark / 4 + 1 };
    int rc;

    OBJ_CHECK(s, HTTP_SERVER_MAGIC);
    CHECK(!s->closing);
    if (s->n_listeners == HTTP_SERVER_LISTENERS) {
        return err_set(err, ERR_LIMIT, "listen %s: a server has at most %d addresses", address,
                       HTTP_SERVER_LISTENERS);
    }
    rc = listener_open(s->loop, address, &opts, http_accept_cb, s, &s->listeners[s->n_listeners],
                       err);
    if (rc != 0) {
        return rc;
    }
    if (ret_address != NULL) {
        *ret_address = listener_address(s->listeners[s->n_listeners]);
    }
    s->n_listeners++;
    return 0;
}

static void http_idle_closed_cb(uv_handle_t *h)
{
    struct http_server *s;

    OBJ_FROM(s, h->data, HTTP_SERVER_MAGIC);
    s->handles--;
    http_server_maybe_free(s);
}

/* One turn later than the listeners' handles, so that these are gone before on_closed. */
static void http_sweep_closed_cb(uv_handle_t *h)
{
    struct http_server *s;

    OBJ_FROM(s, h->data, HTTP_SERVER_MAGIC);
    s->handles--;
    uv_close((uv_handle_t *)&s->idle, http_idle_closed_cb);
}

void http_server_close(struct http_server *s, void (*on_closed)(void *ctx), void *ctx)
{
    struct http_sreq *r;
    struct http_conn *c;

    OBJ_CHECK(s, HTTP_SERVER_MAGIC);
    CHECK(!s->closing);
    s->closing = true;
    s->on_closed = on_closed;
    s->closed_ctx = ctx;
    for (size_t i = 0; i < s->n_listeners; i++) {
        listener_close(s->listeners[i]);
    }
    LIST_FOREACH(c, &s->conns, link)
    {
        bool flush = c->req == NULL;

        c->req = NULL;
        http_conn_close(c, flush);
    }
    while ((r = LIST_FIRST(&s->reqs)) != NULL) {
        LIST_REMOVE(r, link);
        r->pub.server = NULL;
        r->pub.conn = NULL;
    }
    uv_close((uv_handle_t *)&s->sweep, http_sweep_closed_cb);
}

size_t http_server_conns(const struct http_server *s)
{
    OBJ_CHECK(s, HTTP_SERVER_MAGIC);
    return s->n_conns;
}
