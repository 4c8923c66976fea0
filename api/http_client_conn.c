/* The client's connections: dial, send one request, take one answer, be kept or dropped. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/http_client_priv.h"
#include "base/addrmap.h"
#include "base/obj.h"
#include "base/str.h"

#define HC_QUEUE_MAX (128U << 20)
#define HC_BODY_DEFAULT (64U << 20)

/* Split "HOST:PORT" or "[v6]:PORT". */
static int hc_endpoint_split(const char *endpoint, char *host, size_t size, uint16_t *ret_port,
                             struct err *err)
{
    const char *colon = strrchr(endpoint, ':');
    size_t len = colon == NULL ? 0 : (size_t)(colon - endpoint);
    uint64_t port;

    if (len == 0 || len >= size || !str_parse_u64(colon + 1, &port) || port == 0 ||
        port > UINT16_MAX) {
        return err_set(err, ERR_INVALID,
                       "endpoint \"%.200s\": write HOST:PORT, [IPv6]:PORT or unix:PATH", endpoint);
    }
    memcpy(host, endpoint, len);
    host[len] = '\0';
    if (host[0] == '[' && host[len - 1] == ']') {
        memmove(host, host + 1, len - 2);
        host[len - 2] = '\0';
    }
    *ret_port = (uint16_t)port;
    return 0;
}

int hc_endpoint_check(const char *endpoint, struct err *err)
{
    char host[256];
    uint16_t port;

    if (str_starts(endpoint, "unix:")) {
        return 0; /* stream_connect says what is wrong with the path */
    }
    return hc_endpoint_split(endpoint, host, sizeof(host), &port, err);
}

int http_endpoint_resolve(const char *endpoint, char *dst, size_t size, struct err *err)
{
    char host[256];
    uint16_t port;
    int rc;

    if (str_starts(endpoint, "unix:")) {
        return str_copy(dst, size, endpoint)
                   ? 0
                   : err_set(err, ERR_INVALID, "endpoint \"%.200s\" is too long", endpoint);
    }
    rc = hc_endpoint_split(endpoint, host, sizeof(host), &port, err);
    return rc != 0 ? rc : addr_resolve(host, port, ADDR_TCP, dst, size, err);
}

/* --- the parser's callbacks --- */

static void hc_message_cb(void *data, struct http_msg *msg)
{
    struct hc_conn *conn;

    OBJ_FROM(conn, data, HC_CONN_MAGIC);
    CHECK(conn->msg == NULL);
    conn->msg = msg;
}

static bool hc_lines_headers_cb(void *data, const struct http_msg *msg)
{
    struct hc_conn *conn;

    OBJ_FROM(conn, data, HC_CONN_MAGIC);
    return conn->op == NULL || hc_lines_headers(conn->op->lines, msg);
}

static void hc_lines_body_cb(void *data, const uint8_t *p, size_t len)
{
    struct hc_conn *conn;

    OBJ_FROM(conn, data, HC_CONN_MAGIC);
    hc_lines_data(conn, p, len);
}

static const struct http_parser_cbs hc_call_parser_cbs = { .on_message = hc_message_cb };
static const struct http_parser_cbs hc_lines_parser_cbs = { .on_headers = hc_lines_headers_cb,
                                                            .on_body = hc_lines_body_cb,
                                                            .on_message = hc_message_cb };

/* --- life --- */

void hc_conn_drop(struct hc_conn *conn)
{
    if (conn->closing) {
        return;
    }
    conn->closing = true;
    if (conn->op != NULL) {
        conn->op->conn = NULL;
        conn->op = NULL;
    }
    stream_close(conn->stream, false);
}

static void hc_conn_closed_cb(struct stream *st)
{
    struct http_client *c;
    struct hc_conn *conn;

    OBJ_FROM(conn, stream_data(st), HC_CONN_MAGIC);
    c = conn->client;
    CHECK(conn->op == NULL);
    LIST_REMOVE(conn, link);
    http_parser_free(conn->parser);
    http_msg_free(conn->msg);
    conn->magic = 0;
    free(conn);
    CHECK(c->n_conns > 0);
    c->n_conns--;
    if (c->closing) {
        hc_maybe_free(c);
    } else {
        hc_kick(c); /* there may be room for another one */
    }
}

/* The answer is complete: keep the connection if both sides want to. */
static void hc_conn_release(struct hc_conn *conn, bool keep)
{
    if (!keep || conn->for_lines) {
        hc_conn_drop(conn);
        return;
    }
    conn->op = NULL;
    conn->reused = true;
    conn->idle_ms = uv_now(conn->client->loop);
    hc_kick(conn->client);
}

/* A whole answer is there. */
static void hc_conn_answer(struct hc_conn *conn, bool keep)
{
    struct http_msg *msg = conn->msg;
    struct hc_op *op = conn->op;

    conn->msg = NULL;
    keep = keep && msg->keep_alive;
    if (op == NULL) {
        http_msg_free(msg);
        hc_conn_drop(conn); /* an answer that nobody asked for */
        return;
    }
    op->conn = NULL;
    conn->op = NULL;
    hc_conn_release(conn, keep);
    hc_op_answered(op, conn->ep, msg);
}

/* What came is no HTTP, or too much of it. */
static void hc_conn_bad_answer(struct hc_conn *conn, struct err *err)
{
    struct hc_op *op = conn->op;

    (void)err_wrap(err, "answer of %s", conn->client->endpoints[conn->ep]);
    if (op != NULL && err->code == ERR_TOO_LARGE) {
        hc_op_unbind(op);
        hc_op_fail(op, err);
    } else if (op != NULL) {
        err->code = ERR_UNREACHABLE; /* there is no server of ours */
        hc_op_broken(op, conn, err);
    }
    hc_conn_drop(conn);
}

static void hc_conn_data_cb(struct stream *st, const uint8_t *data, size_t len)
{
    struct hc_conn *conn;
    struct err err;
    size_t used = 0;

    OBJ_FROM(conn, stream_data(st), HC_CONN_MAGIC);
    if (conn->op == NULL) {
        hc_conn_drop(conn);
        return;
    }
    conn->got = true;
    while (len > 0 && !conn->closing && conn->msg == NULL) {
        if (http_parser_feed(conn->parser, data, len, &used, &err) != 0) {
            hc_conn_bad_answer(conn, &err);
            return;
        }
        data += used;
        len -= used;
    }
    if (conn->msg != NULL && !conn->closing) {
        hc_conn_answer(conn, len == 0);
    }
}

static void hc_conn_end_cb(struct stream *st, const struct err *err)
{
    struct err mine;
    struct hc_conn *conn;
    struct hc_op *op;

    OBJ_FROM(conn, stream_data(st), HC_CONN_MAGIC);
    if (conn->op != NULL && err == NULL && http_parser_finish(conn->parser, &mine) == 0 &&
        conn->msg != NULL) {
        hc_conn_answer(conn, false);
        return;
    }
    op = conn->op;
    if (op != NULL) {
        if (err != NULL) {
            mine = *err;
        } else {
            (void)err_set(&mine, ERR_UNREACHABLE, "%s closed the connection without an answer",
                          conn->client->endpoints[conn->ep]);
        }
        hc_op_broken(op, conn, &mine);
    }
    hc_conn_drop(conn);
}

static void hc_conn_open_cb(struct stream *st, const struct err *err)
{
    struct hc_conn *conn;
    struct hc_op *op;

    OBJ_FROM(conn, stream_data(st), HC_CONN_MAGIC);
    op = conn->op;
    if (err == NULL) {
        conn->open = true;
        if (op != NULL) {
            hc_conn_send(conn, op);
        }
        return;
    }
    if (op != NULL) {
        hc_op_unbind(op);
        hc_op_hop(op, err);
    }
    conn->closing = true; /* the stream closes itself */
}

static const struct stream_cbs hc_conn_cbs = {
    .on_open = hc_conn_open_cb,
    .on_data = hc_conn_data_cb,
    .on_end = hc_conn_end_cb,
    .on_closed = hc_conn_closed_cb,
};

int hc_conn_dial(struct hc_op *op, struct err *err)
{
    struct http_client *c = op->client;
    const char *endpoint = c->endpoints[op->ep];
    struct stream_opts opts = { .want_role = c->want_role,
                                .connect_ms = c->opts.connect_ms,
                                .max_queue = HC_QUEUE_MAX };
    struct hc_conn *conn;
    char address[512];
    int rc;

    opts.tls = str_starts(endpoint, "unix:") ? NULL : c->opts.tls;
    rc = http_endpoint_resolve(endpoint, address, sizeof(address), err);
    if (rc != 0) {
        return rc;
    }
    conn = OBJ_NEW(struct hc_conn);
    conn->magic = HC_CONN_MAGIC;
    rc = stream_connect(c->loop, address, &opts, &hc_conn_cbs, conn, &conn->stream, err);
    if (rc != 0) {
        free(conn);
        return rc;
    }
    conn->client = c;
    conn->ep = op->ep;
    conn->for_lines = op->lines != NULL;
    conn->parser =
        http_parser_new(HTTP_RESPONSES, c->opts.max_body != 0 ? c->opts.max_body : HC_BODY_DEFAULT,
                        conn->for_lines ? &hc_lines_parser_cbs : &hc_call_parser_cbs, conn);
    conn->op = op;
    op->conn = conn;
    LIST_INSERT_HEAD(&c->conns, conn, link);
    c->n_conns++;
    return 0;
}

struct hc_conn *hc_conn_find_idle(struct http_client *c, size_t ep)
{
    struct hc_conn *conn;

    LIST_FOREACH(conn, &c->conns, link)
    {
        if (conn->ep == ep && conn->open && conn->op == NULL && !conn->closing &&
            !conn->for_lines) {
            return conn;
        }
    }
    return NULL;
}

size_t hc_conn_count(const struct http_client *c, size_t ep)
{
    const struct hc_conn *conn;
    size_t n = 0;

    LIST_FOREACH(conn, &c->conns, link)
    {
        n += conn->ep == ep && !conn->for_lines && !conn->closing;
    }
    return n;
}

/* --- sending --- */

static void hc_encode(struct buf *b, const struct hc_op *op, const char *endpoint)
{
    struct http_header *h = mem_alloc((op->n_headers + 3) * sizeof(*h));
    char length[32];
    size_t n = 0;

    (void)snprintf(length, sizeof(length), "%zu", op->len);
    h[n++] = (struct http_header){ "Host", str_starts(endpoint, "unix:") ? "localhost" : endpoint };
    h[n++] = (struct http_header){ "User-Agent", "picket" };
    if (op->len > 0 || !op->readonly) {
        h[n++] = (struct http_header){ "Content-Length", length };
    }
    for (size_t i = 0; i < op->n_headers; i++) {
        h[n++] = op->headers[i];
    }
    http_encode_request(b, op->method, op->target, h, n);
    free(h);
}

void hc_conn_send(struct hc_conn *conn, struct hc_op *op)
{
    struct buf b = { 0 };
    struct err err;
    int rc;

    CHECK(conn->open);
    conn->op = op;
    conn->got = false;
    op->conn = conn;
    http_parser_expect_head(conn->parser, str_eq(op->method, "HEAD"));
    hc_encode(&b, op, conn->client->endpoints[conn->ep]);
    rc = stream_write(conn->stream, b.data, b.len, &err);
    if (rc == 0 && op->len > 0) {
        rc = stream_write(conn->stream, op->body, op->len, &err);
    }
    buf_done(&b);
    if (rc != 0) {
        hc_op_unbind(op);
        hc_op_fail(op, &err);
        hc_conn_drop(conn);
        return;
    }
    op->sent = true;
}
