#include "api/upgrade.h"

#include <stdlib.h>
#include <string.h>

#include "api/client.h"
#include "base/buf.h"
#include "base/obj.h"
#include "base/str.h"

#define UPGRADE_MAGIC 0x75706772U
#define UPGRADE_MS 5000U
#define ANSWER_MAX (64U << 10)

struct upgrade {
    unsigned magic;
    struct upgrade_cbs cbs;
    void *data;
    char *target, *protocol;
    char address[128];
    struct stream *stream;      /* NULL: closed, or given away */
    struct buf in;              /* the answer's head, while it is not known what it is */
    struct http_parser *parser; /* of an answer that is a refusal */
    uv_timer_t timer;
    bool over, timer_gone;
};

static void upgrade_free(struct upgrade *u)
{
    if (u->stream != NULL || !u->timer_gone) {
        return;
    }
    http_parser_free(u->parser);
    buf_done(&u->in);
    free(u->target);
    free(u->protocol);
    u->magic = 0;
    free(u);
}

static void on_timer_closed(uv_handle_t *h)
{
    struct upgrade *u;

    OBJ_FROM(u, h->data, UPGRADE_MAGIC);
    u->timer_gone = true;
    upgrade_free(u);
}

static void on_closed(struct stream *s)
{
    struct upgrade *u;

    OBJ_FROM(u, stream_data(s), UPGRADE_MAGIC);
    u->stream = NULL;
    upgrade_free(u);
}

/* False when it was over before. */
static bool finish(struct upgrade *u)
{
    if (u->over) {
        return false;
    }
    u->over = true;
    uv_close((uv_handle_t *)&u->timer, on_timer_closed);
    return true;
}

static void fail(struct upgrade *u, const struct err *err)
{
    if (finish(u)) {
        if (u->stream != NULL) {
            stream_close(u->stream, false);
        }
        u->cbs.on_fail(u->data, err);
    }
}

void upgrade_cancel(struct upgrade *u)
{
    OBJ_CHECK(u, UPGRADE_MAGIC);
    if (finish(u) && u->stream != NULL) {
        stream_close(u->stream, false);
    }
}

static void on_timer(uv_timer_t *t)
{
    struct upgrade *u;
    struct err err;

    OBJ_FROM(u, t->data, UPGRADE_MAGIC);
    (void)err_set(&err, ERR_TIMEOUT, "%s did not agree on %s in time", u->address, u->protocol);
    fail(u, &err);
}

/* --- the answer --------------------------------------------------------------------------------
 */

static void on_refusal(void *data, struct http_msg *m)
{
    struct http_reply reply = { .status = m->status, .headers = m->headers };
    struct upgrade *u = data;
    struct err err;

    reply.body = (const uint8_t *)buf_cstr(&m->body);
    reply.len = m->body.len;
    if (m->status < 400) {
        (void)err_set(&err, ERR_UNSUPPORTED, "%s answered HTTP %d to the offer of %s", u->address,
                      m->status, u->protocol);
    } else {
        (void)api_error_from_reply(&reply, &err);
    }
    http_msg_free(m);
    fail(u, &err);
}

static const struct http_parser_cbs refusal_cbs = { .on_message = on_refusal };

static void agreed(struct upgrade *u, size_t head)
{
    struct stream *s = u->stream;
    struct buf in = u->in;

    u->stream = NULL;
    u->in = (struct buf){ 0 };
    (void)finish(u);
    u->cbs.on_open(u->data, s, in.data + head, in.len - head);
    buf_done(&in);
}

static int refused(struct upgrade *u, const uint8_t *p, size_t len, struct err *err)
{
    size_t used;

    while (!u->over && len > 0) {
        if (http_parser_feed(u->parser, p, len, &used, err) != 0) {
            return err->code;
        }
        p += used;
        len -= used;
    }
    return 0;
}

static int answer(struct upgrade *u, struct err *err)
{
    const char *text = buf_cstr(&u->in);
    const char *end = strstr(text, "\r\n\r\n");

    if (end == NULL) {
        return u->in.len < ANSWER_MAX
                   ? 0
                   : err_set(err, ERR_UNSUPPORTED, "%s does not speak HTTP", u->address);
    }
    if (str_starts(text, "HTTP/1.1 101 ")) {
        agreed(u, (size_t)(end + 4 - text));
        return 0;
    }
    u->parser = http_parser_new(HTTP_RESPONSES, ANSWER_MAX, &refusal_cbs, u);
    return refused(u, u->in.data, u->in.len, err);
}

static void on_data(struct stream *s, const uint8_t *data, size_t len)
{
    struct upgrade *u;
    struct err err;
    int rc;

    OBJ_FROM(u, stream_data(s), UPGRADE_MAGIC);
    if (u->over) {
        return;
    }
    if (u->parser != NULL) {
        rc = refused(u, data, len, &err);
    } else {
        buf_add(&u->in, data, len);
        rc = answer(u, &err);
    }
    if (rc != 0) {
        fail(u, &err);
    }
}

static void on_end(struct stream *s, const struct err *err)
{
    struct upgrade *u;
    struct err e;

    OBJ_FROM(u, stream_data(s), UPGRADE_MAGIC);
    (void)err_set(&e, ERR_UNREACHABLE, "%s: %.300s", u->address,
                  err == NULL ? "it closed the connection without an answer" : err->msg);
    fail(u, &e);
}

static void on_open(struct stream *s, const struct err *err)
{
    struct http_header headers[] = { { "Host", "picket" },
                                     { "Connection", "Upgrade" },
                                     { "Upgrade", NULL } };
    struct upgrade *u;
    struct buf b = { 0 };
    struct err e;

    OBJ_FROM(u, stream_data(s), UPGRADE_MAGIC);
    if (err != NULL) {
        fail(u, err);
        return;
    }
    headers[2].value = u->protocol;
    http_encode_request(&b, "GET", u->target, headers, ARRAY_LEN(headers));
    if (stream_write(s, b.data, b.len, &e) != 0) {
        fail(u, &e);
    }
    buf_done(&b);
}

static const struct stream_cbs upgrade_cbs = {
    .on_open = on_open,
    .on_data = on_data,
    .on_end = on_end,
    .on_closed = on_closed,
};

int upgrade_open(uv_loop_t *loop, const struct upgrade_opts *opts, const struct upgrade_cbs *cbs,
                 void *data, struct upgrade **ret, struct err *err)
{
    uint64_t ms = opts->timeout_ms == 0 ? UPGRADE_MS : opts->timeout_ms;
    struct stream_opts so = {
        .tls = opts->tls, .want_role = opts->want_role, .connect_ms = ms, .low_mark = opts->low_mark
    };
    struct upgrade *u = OBJ_NEW(struct upgrade);

    so.tls = str_starts(opts->address, "unix:") ? NULL : so.tls;
    so.want_role = so.tls == NULL ? NULL : so.want_role;
    u->magic = UPGRADE_MAGIC;
    u->cbs = *cbs;
    u->data = data;
    if (stream_connect(loop, opts->address, &so, &upgrade_cbs, u, &u->stream, err) != 0) {
        free(u);
        return err->code;
    }
    (void)str_copy(u->address, sizeof(u->address), opts->address);
    u->target = mem_strdup(opts->target);
    u->protocol = mem_strdup(opts->protocol);
    u->timer.data = u;
    CHECK(uv_timer_init(loop, &u->timer) == 0);
    CHECK(uv_timer_start(&u->timer, on_timer, ms, 0) == 0);
    *ret = u;
    return 0;
}
