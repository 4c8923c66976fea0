/* Streams of lines: a watch is a GET whose answer does not end. */

#include <stdlib.h>
#include <string.h>

#include "api/http_client_priv.h"
#include "base/obj.h"

#define HC_LINE_DEFAULT (16U << 20)

void hc_lines_free(struct http_lines *l)
{
    buf_done(&l->line);
    buf_done(&l->error_body);
    free(l);
}

bool hc_lines_headers(struct http_lines *l, const struct http_msg *msg)
{
    struct http_client *c = l->op.client;

    l->status = msg->status;
    l->last_ms = uv_now(c->loop);
    hc_kick(c); /* from now on the timer watches for silence */
    if (l->status != 200) {
        return true;
    }
    hc_endpoint_answered(c, l->op.ep);
    if (l->cbs.on_open != NULL) {
        l->cbs.on_open(l->data);
    }
    return true;
}

/* Append up to a line's end; true when there was one. */
static bool hc_lines_cut(struct http_lines *l, const uint8_t **p, size_t *len)
{
    const uint8_t *end = memchr(*p, '\n', *len);
    size_t n = end == NULL ? *len : (size_t)(end - *p);

    buf_add(&l->line, *p, n);
    n += end != NULL;
    *p += n;
    *len -= n;
    return end != NULL;
}

void hc_lines_data(struct hc_conn *conn, const uint8_t *p, size_t len)
{
    struct http_lines *l;
    struct err err;

    if (conn->op == NULL) {
        return; /* closed from a callback */
    }
    l = conn->op->lines;
    l->last_ms = uv_now(conn->client->loop);
    if (l->status != 200) {
        buf_add(&l->error_body, p, len);
        return;
    }
    while (len > 0 && conn->op != NULL) {
        bool whole = hc_lines_cut(l, &p, &len);

        if (l->line.overflow) {
            (void)err_set(&err, ERR_TOO_LARGE, "a line of the stream is longer than %zu bytes",
                          l->max_line);
            hc_op_unbind(&l->op);
            hc_op_fail(&l->op, &err);
            hc_conn_drop(conn);
            return;
        }
        if (whole) {
            struct buf line = l->line;

            l->line = (struct buf){ .max = l->max_line };
            l->cbs.on_line(l->data, buf_cstr(&line), line.len);
            if (conn->op != NULL && line.cap <= HTTP_MAX_HEADER_BYTES) {
                buf_clear(&line);
                l->line = line; /* use its memory again */
            } else {
                buf_done(&line);
            }
        }
    }
}

struct http_lines *http_lines_open(struct http_client *c, const struct http_lines_args *args,
                                   const struct http_lines_cbs *cbs, void *data)
{
    struct http_call_args a = { .method = "GET",
                                .target = args->target,
                                .timeout_ms = args->timeout_ms };
    struct http_lines *l;

    OBJ_CHECK(c, HC_MAGIC);
    CHECK(!c->closing);
    CHECK(cbs->on_line != NULL);
    CHECK(cbs->on_end != NULL);
    l = OBJ_NEW(struct http_lines);
    l->op.lines = l;
    l->cbs = *cbs;
    l->data = data;
    l->max_line = args->max_line != 0 ? args->max_line : HC_LINE_DEFAULT;
    l->silence_ms = args->silence_ms;
    buf_init(&l->line, l->max_line);
    buf_init(&l->error_body, HC_ERROR_BODY_MAX);
    hc_op_init(&l->op, c, &a);
    return l;
}

void http_lines_close(struct http_lines *l)
{
    OBJ_CHECK(&l->op, HC_OP_MAGIC);
    hc_op_free(&l->op);
}

void http_lines_pause(struct http_lines *l, bool paused)
{
    OBJ_CHECK(&l->op, HC_OP_MAGIC);
    l->paused = paused;
    l->last_ms = uv_now(l->op.client->loop);
    if (l->op.conn != NULL && l->op.conn->open) {
        stream_pause(l->op.conn->stream, paused);
    }
    hc_kick(l->op.client);
}

bool http_lines_away(const struct http_lines *l)
{
    OBJ_CHECK(&l->op, HC_OP_MAGIC);
    return l->op.ep != 0 && hc_home_again(l->op.client);
}

void hc_lines_answered(struct http_lines *l, struct http_msg *msg)
{
    struct http_lines_cbs cbs = l->cbs;
    void *data = l->data;
    struct buf body = l->error_body;
    struct http_reply reply = { .status = msg->status,
                                .headers = msg->headers,
                                .body = (const uint8_t *)buf_cstr(&body),
                                .len = body.len };

    memset(&l->error_body, 0, sizeof(l->error_body));
    hc_op_free(&l->op);
    cbs.on_end(data, NULL, reply.status == 200 ? NULL : &reply);
    buf_done(&body);
}
