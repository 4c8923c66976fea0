/* Connections: from bytes to requests, one at a time, within limits.
 *
 * A connection is in one of these: receiving (req NULL), answering (req set, further bytes wait in
 * `in`), closing.  User code runs only from libuv's callbacks (stream callbacks, the idle handle,
 * the sweep), never from within a call of the public interface.
 */

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/http_priv.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"

#define HTTP_PIPELINE_MAX (64U << 10) /* bytes kept behind the request that is being answered */

/* --- the end of connections --- */

static void http_conn_hold(struct http_conn *c, size_t bytes)
{
    CHECK(c->server->body_total >= c->held);
    c->server->body_total += bytes - c->held;
    c->held = bytes;
}

void http_conn_close(struct http_conn *c, bool flush)
{
    c->closing = true;
    buf_done(&c->in);
    http_conn_hold(c, 0);
    stream_close(c->stream, flush);
}

void http_conn_abort(struct http_conn *c)
{
    struct http_sreq *r = c->req;

    c->req = NULL;
    http_conn_close(c, false);
    if (r == NULL) {
        return;
    }
    r->pub.conn = NULL;
    if (r->pub.on_abort != NULL) {
        r->pub.on_abort(&r->pub);
    }
}

/* Forget the connection; its stream is not touched. */
static void http_conn_free(struct http_conn *c)
{
    struct http_server *s = c->server;

    CHECK(c->req == NULL);
    if (c->kicked) {
        TAILQ_REMOVE(&s->kicks, c, kick);
    }
    LIST_REMOVE(c, link);
    http_parser_free(c->parser);
    http_msg_free(c->msg);
    buf_done(&c->in);
    c->magic = 0;
    free(c);
    CHECK(s->n_conns > 0);
    s->n_conns--;
    if (s->full && s->n_conns < s->opts.max_conns) {
        s->full = false;
    }
}

static void http_conn_closed_cb(struct stream *st)
{
    struct http_conn *c;
    struct http_server *s;

    OBJ_FROM(c, stream_data(st), HTTP_CONN_MAGIC);
    s = c->server;
    http_conn_free(c);
    http_server_maybe_free(s);
}

/* --- writing --- */

bool http_conn_write(struct http_conn *c, const void *data, size_t len)
{
    struct err err;

    if (stream_write(c->stream, data, len, &err) != 0) {
        if (!c->doomed && err.code == ERR_LIMIT) {
            lg_warn("http", "peer=%s msg=\"answer dropped: %s\"", stream_remote(c->stream),
                    err.msg);
        }
        c->doomed = true;
        http_conn_kick(c);
        return false;
    }
    c->written += len;
    return true;
}

void http_conn_kick(struct http_conn *c)
{
    struct http_server *s = c->server;

    if (c->kicked || s->closing) {
        return;
    }
    c->kicked = true;
    TAILQ_INSERT_TAIL(&s->kicks, c, kick);
    CHECK(uv_idle_start(&s->idle, http_idle_cb) == 0);
}

void http_conn_answered(struct http_sreq *r)
{
    struct http_conn *c = r->pub.conn;

    http_sreq_free(r);
    if (c == NULL) {
        return;
    }
    c->req = NULL;
    c->since_ms = uv_now(c->server->loop);
    if (c->last && !c->doomed) {
        http_conn_close(c, true);
    } else if (!c->parsing || c->doomed) {
        http_conn_kick(c);
    }
}

/* --- reading --- */

/* The request cannot be served: say so and close. */
static void http_conn_refuse(struct http_conn *c, const struct err *err)
{
    struct buf b = { 0 };

    http_status_json(&b, err);
    http_send_response(c, err_http(err->code), "application/json", b.data, b.len, NULL, 0, false,
                       true);
    buf_done(&b);
    http_conn_close(c, true);
}

static bool http_parser_headers_cb(void *data, const struct http_msg *msg)
{
    const char *expect = http_header_get(&msg->headers, "Expect");
    struct http_conn *c;

    OBJ_FROM(c, data, HTTP_CONN_MAGIC);
    if (expect == NULL || msg->http10) {
        return true;
    }
    if (strcasecmp(expect, "100-continue") != 0) {
        (void)err_set(&c->refusal, ERR_BAD_REQUEST, "Expect: only 100-continue is known");
        return false;
    }
    return http_conn_write(c, "HTTP/1.1 100 Continue\r\n\r\n", 25);
}

static void http_parser_message_cb(void *data, struct http_msg *msg)
{
    struct http_conn *c;

    OBJ_FROM(c, data, HTTP_CONN_MAGIC);
    CHECK(c->msg == NULL);
    c->msg = msg;
}

const struct http_parser_cbs http_conn_parser_cbs = {
    .on_headers = http_parser_headers_cb,
    .on_message = http_parser_message_cb,
};

/* Hand a whole request to the handler. */
static void http_conn_dispatch(struct http_conn *c)
{
    struct http_server *s = c->server;
    struct http_sreq *r = OBJ_NEW(struct http_sreq);
    struct http_msg *m = c->msg;

    c->msg = NULL;
    r->pub.magic = HTTP_REQ_MAGIC;
    r->pub.method = m->method;
    r->pub.path = m->path;
    r->pub.target = m->target;
    r->pub.body = (const uint8_t *)buf_cstr(&m->body);
    r->pub.len = m->body.len;
    r->pub.headers = m->headers;
    r->pub.peer = *stream_peer(c->stream);
    (void)str_copy(r->pub.remote, sizeof(r->pub.remote), stream_remote(c->stream));
    r->pub.server = s;
    r->pub.conn = c;
    r->pub.msg = m;
    r->head = str_eq(m->method, "HEAD");
    r->held = c->held;
    c->held = 0;
    LIST_INSERT_HEAD(&s->reqs, r, link);
    c->req = r;
    c->last = c->last || !m->keep_alive;
    s->opts.on_request(s->opts.ctx, &r->pub);
}

/* Feed the parser once.  *ret_used bytes are gone; 0 or an error to answer with. */
static int http_conn_feed(struct http_conn *c, const uint8_t *data, size_t len, size_t *ret_used,
                          struct err *err)
{
    size_t held;
    int rc;

    if (http_parser_idle(c->parser)) {
        c->since_ms = uv_now(c->server->loop);
    }
    rc = http_parser_feed(c->parser, data, len, ret_used, err);
    if (rc == ERR_CANCELED && c->refusal.code != 0) {
        *err = c->refusal;
        rc = err->code;
    }
    if (rc != 0) {
        return rc;
    }
    held = c->msg != NULL ? c->msg->body.len : http_parser_held(c->parser);
    http_conn_hold(c, held);
    if (held > 0 && c->server->body_total > c->server->opts.max_body_total) {
        return err_set(err, ERR_LIMIT, "the server holds %zu bytes of requests, which is its limit",
                       c->server->body_total);
    }
    return 0;
}

/* The connection speaks another protocol from now on. */
static void http_conn_give(struct http_conn *c, const uint8_t *rest, size_t len)
{
    struct http_server *s = c->server;
    struct stream *st = c->stream;
    http_take_fn *take = c->take;
    void *data = c->take_data;

    http_conn_hold(c, 0);
    http_conn_free(c);
    take(data, st, rest, len);
    http_server_maybe_free(s);
}

void http_conn_parse(struct http_conn *c, const uint8_t *data, size_t len)
{
    struct http_server *s = c->server;
    struct err err;
    size_t used;

    CHECK(!c->parsing);
    c->parsing = true;
    while (len > 0 && c->req == NULL && !c->closing && !c->doomed) {
        if (http_conn_feed(c, data, len, &used, &err) != 0) {
            http_conn_refuse(c, &err);
            break;
        }
        data += used;
        len -= used;
        if (c->msg != NULL) {
            http_conn_dispatch(c);
            if (s->closing) {
                c->parsing = false;
                return; /* the handler closed the server */
            }
            if (c->take != NULL && !c->doomed) {
                http_conn_give(c, data, len);
                return;
            }
        }
    }
    c->parsing = false;
    if (c->closing || c->doomed) {
        return;
    }
    if (len > 0) {
        buf_add(&c->in, data, len);
    } else if (c->eof && c->req == NULL) {
        http_conn_close(c, true); /* all that came before the end was answered */
    }
}

static void http_conn_data_cb(struct stream *st, const uint8_t *data, size_t len)
{
    struct http_conn *c;

    OBJ_FROM(c, stream_data(st), HTTP_CONN_MAGIC);
    if (c->closing || c->doomed) {
        return;
    }
    if (c->req == NULL && c->in.len == 0) {
        http_conn_parse(c, data, len);
        return;
    }
    buf_add(&c->in, data, len);
    if (c->in.len < HTTP_PIPELINE_MAX) {
        return;
    }
    if (c->req != NULL && c->req->pub.streaming) {
        http_conn_abort(c); /* nobody has so much to say during a watch */
    } else {
        stream_pause(st, true);
    }
}

static void http_conn_end_cb(struct stream *st, const struct err *err)
{
    struct http_conn *c;

    OBJ_FROM(c, stream_data(st), HTTP_CONN_MAGIC);
    if (c->closing) {
        return;
    }
    if (err != NULL || (c->req != NULL && c->req->pub.streaming)) {
        http_conn_abort(c);
    } else if (c->req == NULL && c->in.len == 0) {
        http_conn_close(c, true);
    } else {
        c->eof = true; /* it may only have closed its side: answer first */
    }
}

static void http_conn_drain_cb(struct stream *st)
{
    struct http_conn *c;

    OBJ_FROM(c, stream_data(st), HTTP_CONN_MAGIC);
    if (c->req != NULL && c->req->over) {
        c->req->over = false;
        if (c->req->pub.on_drain != NULL) {
            c->req->pub.on_drain(&c->req->pub);
        }
    }
}

const struct stream_cbs http_conn_cbs = {
    .on_data = http_conn_data_cb,
    .on_end = http_conn_end_cb,
    .on_drain = http_conn_drain_cb,
    .on_closed = http_conn_closed_cb,
};

/* --- time --- */

static bool http_conn_stuck(struct http_conn *c, uint64_t now)
{
    size_t queued = stream_queued(c->stream);
    uint64_t sent = c->written > queued ? c->written - queued : 0; /* TLS adds some bytes */

    if (queued == 0 || sent > c->sent_seen) {
        c->sent_seen = sent;
        c->moved_ms = now;
    }
    return now - c->moved_ms > c->server->opts.send_ms;
}

void http_conn_check(struct http_conn *c, uint64_t now)
{
    const struct http_server_opts *o = &c->server->opts;
    struct err err;

    if (c->closing) {
        return;
    }
    if (http_conn_stuck(c, now)) {
        lg_info("http", "peer=%s msg=\"dropped: it takes nothing any more\"",
                stream_remote(c->stream));
        http_conn_abort(c);
    } else if (c->req == NULL && !http_parser_idle(c->parser) &&
               now - c->since_ms > o->request_ms) {
        (void)err_set(&err, ERR_BAD_REQUEST, "the request did not arrive in full within its time");
        http_conn_refuse(c, &err);
    } else if (c->req == NULL && http_parser_idle(c->parser) && now - c->since_ms > o->idle_ms) {
        http_conn_close(c, true);
    }
}
