/* Links that speak etcd's JSON gateway: HTTP/1.1, one request at a time, kept alive. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/http_codec.h"
#include "base/obj.h"
#include "base/str.h"
#include "tests/bench/load.h"

struct json_conn {
    struct load_link *link;
    struct stream *stream;
    struct http_parser *parser;
    struct load_op *op; /* waits for an answer */
    struct buf line;    /* of a watch */
    bool over;
};

static void conn_over(struct json_conn *c, const char *why)
{
    struct load_op *op = c->op;
    struct err err;

    if (c->over) {
        return;
    }
    c->over = true;
    c->op = NULL;
    c->link->impl = NULL;
    stream_close(c->stream, false);
    load_link_lost(c->link);
    if (op != NULL) {
        (void)err_set(&err, ERR_UNKNOWN_OUTCOME, "%s", why);
        op->done(op, &err, NULL, 0, false);
    }
}

/* The text of the first member called `name`, between its quotes. */
static const char *member(const char *json, const char *name, size_t *ret_len)
{
    char quoted[64];
    const char *p;

    (void)snprintf(quoted, sizeof(quoted), "\"%s\":\"", name);
    p = strstr(json, quoted);
    if (p == NULL) {
        return NULL;
    }
    p += strlen(quoted);
    *ret_len = strcspn(p, "\"");
    return p;
}

static char *decoded(const char *json, size_t *ret_len)
{
    const char *p = member(json, "value", ret_len);
    size_t n = *ret_len;
    uint8_t *out;

    if (p == NULL) {
        return NULL;
    }
    out = mem_alloc(n + 1);
    if (!str_b64_decode(p, n, out, n + 1, ret_len)) {
        free(out);
        return NULL;
    }
    return (char *)out;
}

static void answer(struct json_conn *c, const struct http_msg *m, const char *body)
{
    struct load_op *op = c->op;
    struct err err;
    char *value = NULL;
    size_t n = 0;

    c->op = NULL;
    if (op == NULL) {
        conn_over(c, "an answer without a question");
        return;
    }
    if (m->status != 200) {
        (void)err_set(&err,
                      m->status == 503 || m->status == 429 ? ERR_NO_QUORUM : ERR_UNKNOWN_OUTCOME,
                      "HTTP %d: %.200s", m->status, body);
        op->done(op, &err, NULL, 0, false);
        return;
    }
    if (op->kind == LOAD_GET) {
        value = decoded(body, &n);
    }
    op->done(op, NULL, value, n,
             strstr(body, "\"succeeded\":true") != NULL || strstr(body, "\"deleted\":") != NULL);
    free(value);
}

static void on_message(void *data, struct http_msg *m)
{
    struct json_conn *c = data;

    answer(c, m, buf_cstr(&m->body));
    http_msg_free(m);
}

static void watch_line(struct json_conn *c, const char *line)
{
    const char *p = line;
    char *value;
    size_t n;

    c->link->watching = true;
    while ((p = strstr(p, "\"value\":\"")) != NULL) {
        value = decoded(p, &n);
        if (value != NULL) {
            c->link->on_event(c->link->event_data, value, n);
        }
        free(value);
        p += 9;
    }
}

static void on_body(void *data, const uint8_t *p, size_t len)
{
    struct json_conn *c = data;
    const char *text;
    char *end;

    buf_add(&c->line, p, len);
    for (;;) {
        text = buf_cstr(&c->line);
        end = strchr(text, '\n');
        if (end == NULL) {
            return;
        }
        *end = 0;
        watch_line(c, text);
        buf_consume(&c->line, (size_t)(end - text) + 1);
    }
}

static const struct http_parser_cbs call_cbs = { .on_message = on_message };
static const struct http_parser_cbs watch_cbs = { .on_message = on_message, .on_body = on_body };

static void send_json(struct json_conn *c, const char *path, struct buf *body)
{
    struct buf b = { 0 };
    struct err err;

    buf_printf(&b,
               "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
               "Content-Length: %zu\r\n\r\n",
               path, body->len);
    buf_add(&b, body->data, body->len);
    (void)stream_write(c->stream, b.data, b.len, &err);
    buf_done(&b);
    buf_done(body);
}

static void add_b64(struct buf *b, const char *name, const char *p, size_t n)
{
    char *text = mem_alloc(4 * ((n + 2) / 3) + 1);

    str_b64_encode(p, n, text);
    buf_printf(b, "\"%s\":\"%s\"", name, text);
    free(text);
}

void load_json_issue(struct load_link *l, struct load_op *op)
{
    struct json_conn *c = l->impl;
    struct buf b = { 0 };

    CHECK(c != NULL && c->op == NULL);
    c->op = op;
    buf_add_str(&b, "{");
    if (op->kind == LOAD_CAS) {
        buf_add_str(&b, "\"compare\":[{");
        add_b64(&b, "key", op->key, strlen(op->key));
        buf_add_str(&b, op->old != NULL ? ",\"target\":\"VALUE\"," : ",\"target\":\"VERSION\",");
        if (op->old != NULL) {
            add_b64(&b, "value", op->old, op->old_len);
        } else {
            buf_add_str(&b, "\"version\":\"0\"");
        }
        buf_add_str(&b, "}],\"success\":[{\"request_put\":{");
    }
    add_b64(&b, "key", op->key, strlen(op->key));
    if (op->kind == LOAD_PUT || op->kind == LOAD_CAS) {
        buf_add_str(&b, ",");
        add_b64(&b, "value", op->value, op->vlen);
    }
    buf_add_str(&b, op->kind == LOAD_CAS ? "}}]}" : "}");
    send_json(c,
              op->kind == LOAD_PUT   ? "/v3/kv/put"
              : op->kind == LOAD_GET ? "/v3/kv/range"
              : op->kind == LOAD_CAS ? "/v3/kv/txn"
                                     : "/v3/kv/deleterange",
              &b);
}

/* --- the connection --- */

static void on_open(struct stream *s, const struct err *err)
{
    struct json_conn *c = stream_data(s);
    struct buf b = { 0 };

    if (err != NULL) {
        conn_over(c, err->msg);
        return;
    }
    c->parser =
        http_parser_new(HTTP_RESPONSES, 0, c->link->watch_key == NULL ? &call_cbs : &watch_cbs, c);
    load_link_ready_now(c->link);
    if (c->link->watch_key != NULL) {
        buf_add_str(&b, "{\"create_request\":{");
        add_b64(&b, "key", c->link->watch_key, strlen(c->link->watch_key));
        buf_add_str(&b, "}}");
        send_json(c, "/v3/watch", &b);
    }
}

static void on_data(struct stream *s, const uint8_t *data, size_t len)
{
    struct json_conn *c = stream_data(s);
    struct err err;
    size_t used;

    while (len > 0 && !c->over) {
        if (http_parser_feed(c->parser, data, len, &used, &err) != 0) {
            conn_over(c, err.msg);
            return;
        }
        data += used;
        len -= used;
    }
}

static void on_end(struct stream *s, const struct err *err)
{
    conn_over(stream_data(s), err == NULL ? "the server closed the connection" : err->msg);
}

static void on_closed(struct stream *s)
{
    struct json_conn *c = stream_data(s);

    http_parser_free(c->parser);
    buf_done(&c->line);
    free(c);
}

void load_json_dial(struct load_link *l)
{
    static const struct stream_cbs cbs = {
        .on_open = on_open, .on_data = on_data, .on_end = on_end, .on_closed = on_closed
    };
    struct stream_opts o = { .tls = l->target.tls,
                             .want_role = l->target.tls == NULL ? NULL : l->target.role,
                             .connect_ms = 2000 };
    struct json_conn *c = OBJ_NEW(struct json_conn);
    struct err err;

    c->link = l;
    if (stream_connect(l->loop, l->address, &o, &cbs, c, &c->stream, &err) != 0) {
        free(c);
        load_link_lost(l);
        return;
    }
    l->impl = c;
}
