/* llhttp's callbacks gathered into whole messages, with limits.  Pure. */

#include "api/http_codec.h"

#include <llhttp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/obj.h"
#include "base/str.h"

#define HTTP_PARSER_MAGIC 0x477b9a25U
/* What is not body (lines, white space, chunk headers and extensions) may be this many times the
 * body and a fixed part more: one-byte chunks pass, endless white space does not. */
#define HTTP_OVERHEAD_FACTOR 8

struct http_parser {
    unsigned magic;
    llhttp_t ll;
    enum http_parser_kind kind;
    size_t max_body;
    const struct http_parser_cbs *cbs;
    void *data;
    struct http_msg *msg; /* being parsed, NULL between messages */
    struct buf target;
    struct buf field;
    struct buf value;
    size_t cap_headers;
    size_t head_bytes; /* names and values so far */
    size_t body_bytes;
    size_t overhead; /* bytes of this message that were not body */
    bool in_body;    /* the header section is complete: what follows is body or trailers */
    bool complete;   /* on_message_complete has come, the message is to be delivered */
    bool head;       /* the response belongs to a HEAD request */
    struct err err;  /* set by a callback that failed; code 0 when none */
};

static struct http_parser *http_parser_of(llhttp_t *ll)
{
    struct http_parser *p;

    OBJ_FROM(p, ll->data, HTTP_PARSER_MAGIC);
    return p;
}

#define HTTP_CB_FAIL(p, ...) ((void)err_set(&(p)->err, __VA_ARGS__), -1)

void http_msg_free(struct http_msg *m)
{
    if (m == NULL) {
        return;
    }
    map_done(&m->params);
    buf_done(&m->body);
    free(m->headers.items);
    arena_done(&m->arena);
    free(m);
}

/* --- llhttp's callbacks, in the order in which they come --- */

static int http_cb_begin(llhttp_t *ll)
{
    struct http_parser *p = http_parser_of(ll);

    CHECK(p->msg == NULL);
    p->msg = OBJ_NEW(struct http_msg);
    buf_init(&p->msg->body, p->max_body);
    buf_clear(&p->target);
    buf_clear(&p->field);
    buf_clear(&p->value);
    p->cap_headers = 0;
    p->head_bytes = 0;
    p->body_bytes = 0;
    p->in_body = false;
    return 0;
}

static int http_cb_url(llhttp_t *ll, const char *at, size_t len)
{
    struct http_parser *p = http_parser_of(ll);

    if (p->target.len + len > HTTP_MAX_TARGET) {
        return HTTP_CB_FAIL(p, ERR_TOO_LARGE, "the request target is longer than %u bytes",
                            HTTP_MAX_TARGET);
    }
    buf_add(&p->target, at, len);
    return 0;
}

static int http_cb_text(llhttp_t *ll, struct buf *b, const char *at, size_t len)
{
    struct http_parser *p = http_parser_of(ll);

    p->head_bytes += len;
    if (p->head_bytes > HTTP_MAX_HEADER_BYTES) {
        return HTTP_CB_FAIL(p, ERR_TOO_LARGE, "the headers are longer than %u bytes",
                            HTTP_MAX_HEADER_BYTES);
    }
    buf_add(b, at, len);
    return 0;
}

static int http_cb_field(llhttp_t *ll, const char *at, size_t len)
{
    return http_cb_text(ll, &http_parser_of(ll)->field, at, len);
}

static int http_cb_value(llhttp_t *ll, const char *at, size_t len)
{
    return http_cb_text(ll, &http_parser_of(ll)->value, at, len);
}

/* Without the white space behind it (llhttp skips what is in front). */
static size_t http_trimmed(const struct buf *b)
{
    size_t len = b->len;

    while (len > 0 && (b->data[len - 1] == ' ' || b->data[len - 1] == '\t')) {
        len--;
    }
    return len;
}

static int http_cb_value_complete(llhttp_t *ll)
{
    struct http_parser *p = http_parser_of(ll);
    struct http_headers *h = &p->msg->headers;
    size_t len = http_trimmed(&p->value);

    p->head_bytes += 4; /* ": " and the line's end */
    if (!p->in_body) {  /* trailers are dropped */
        if (h->count >= HTTP_MAX_HEADERS) {
            return HTTP_CB_FAIL(p, ERR_TOO_LARGE, "more than %d headers", HTTP_MAX_HEADERS);
        }
        if (h->count == p->cap_headers) {
            p->cap_headers = p->cap_headers == 0 ? 16 : p->cap_headers * 2;
            h->items = mem_realloc(h->items, p->cap_headers * sizeof(*h->items));
        }
        h->items[h->count].name = arena_strndup(&p->msg->arena, buf_cstr(&p->field), p->field.len);
        h->items[h->count].value = arena_strndup(&p->msg->arena, buf_cstr(&p->value), len);
        h->count++;
    }
    buf_clear(&p->field);
    buf_clear(&p->value);
    return 0;
}

static int http_check_host(struct http_parser *p)
{
    size_t n = 0;

    for (size_t i = 0; i < p->msg->headers.count; i++) {
        n += strcasecmp(p->msg->headers.items[i].name, "Host") == 0;
    }
    if (n > 1 || (n == 0 && !p->msg->http10)) {
        return HTTP_CB_FAIL(p, ERR_BAD_REQUEST,
                            "an HTTP/1.1 request has exactly one Host header, "
                            "this one has %zu",
                            n);
    }
    return 0;
}

static int http_check_head(struct http_parser *p)
{
    struct http_msg *m = p->msg;

    if (p->ll.http_major != 1) {
        return HTTP_CB_FAIL(p, ERR_BAD_REQUEST, "HTTP/%u.%u is not spoken here", p->ll.http_major,
                            p->ll.http_minor);
    }
    m->http10 = p->ll.http_minor == 0;
    if (m->http10 && (p->ll.flags & F_TRANSFER_ENCODING) != 0) {
        return HTTP_CB_FAIL(p, ERR_BAD_REQUEST, "Transfer-Encoding does not exist in HTTP/1.0");
    }
    if (p->kind == HTTP_RESPONSES) {
        m->status = p->ll.status_code;
        return 0;
    }
    m->method = llhttp_method_name((llhttp_method_t)p->ll.method);
    if (p->ll.method == HTTP_CONNECT) {
        return HTTP_CB_FAIL(p, ERR_BAD_REQUEST, "CONNECT: this is no proxy");
    }
    m->target = arena_strndup(&m->arena, buf_cstr(&p->target), p->target.len);
    if (http_target_decode(m, m->target, &p->err) != 0) {
        return -1;
    }
    return http_check_host(p);
}

static int http_cb_headers_complete(llhttp_t *ll)
{
    struct http_parser *p = http_parser_of(ll);

    p->in_body = true;
    if (http_check_head(p) != 0) {
        return -1;
    }
    ll->upgrade = 0; /* we never switch protocols, hence the message goes on as plain HTTP */
    if (p->cbs->on_body == NULL && (ll->flags & F_CONTENT_LENGTH) != 0 && !p->head &&
        ll->content_length > p->max_body) {
        return HTTP_CB_FAIL(p, ERR_TOO_LARGE, "the body is larger than %zu bytes", p->max_body);
    }
    if (p->cbs->on_headers != NULL && !(p->kind == HTTP_RESPONSES && p->msg->status < 200) &&
        !p->cbs->on_headers(p->data, p->msg)) {
        return HTTP_CB_FAIL(p, ERR_CANCELED, "the message was refused");
    }
    return p->kind == HTTP_RESPONSES && p->head && p->msg->status >= 200 ? 1 : 0;
}

static int http_cb_body(llhttp_t *ll, const char *at, size_t len)
{
    struct http_parser *p = http_parser_of(ll);

    p->body_bytes += len;
    if (p->cbs->on_body != NULL) {
        p->cbs->on_body(p->data, (const uint8_t *)at, len);
        return 0;
    }
    buf_add(&p->msg->body, at, len);
    if (p->msg->body.overflow) {
        return HTTP_CB_FAIL(p, ERR_TOO_LARGE, "the body is larger than %zu bytes", p->max_body);
    }
    return 0;
}

static int http_cb_complete(llhttp_t *ll)
{
    struct http_parser *p = http_parser_of(ll);

    p->msg->keep_alive = llhttp_should_keep_alive(ll) != 0;
    p->complete = true;
    ll->upgrade = 0; /* an offer that is not taken up is no end of HTTP (RFC 9110 section 7.8) */
    return HPE_PAUSED;
}

static const llhttp_settings_t http_settings = {
    .on_message_begin = http_cb_begin,
    .on_url = http_cb_url,
    .on_header_field = http_cb_field,
    .on_header_value = http_cb_value,
    .on_header_value_complete = http_cb_value_complete,
    .on_headers_complete = http_cb_headers_complete,
    .on_body = http_cb_body,
    .on_message_complete = http_cb_complete,
};

/* --- the parser --- */

struct http_parser *http_parser_new(enum http_parser_kind kind, size_t max_body,
                                    const struct http_parser_cbs *cbs, void *data)
{
    struct http_parser *p = OBJ_NEW(struct http_parser);

    CHECK(cbs->on_message != NULL);
    p->magic = HTTP_PARSER_MAGIC;
    p->kind = kind;
    p->max_body = max_body != 0 ? max_body : HTTP_MAX_BODY;
    p->cbs = cbs;
    p->data = data;
    llhttp_init(&p->ll, kind == HTTP_REQUESTS ? HTTP_REQUEST : HTTP_RESPONSE, &http_settings);
    p->ll.data = p;
    return p;
}

void http_parser_free(struct http_parser *p)
{
    if (p == NULL) {
        return;
    }
    OBJ_CHECK(p, HTTP_PARSER_MAGIC);
    http_msg_free(p->msg);
    buf_done(&p->target);
    buf_done(&p->field);
    buf_done(&p->value);
    p->magic = 0;
    free(p);
}

static int http_parser_failed(struct http_parser *p, llhttp_errno_t e, struct err *err)
{
    const char *reason = llhttp_get_error_reason(&p->ll);

    if (p->err.code != 0) {
        *err = p->err;
        return err->code;
    }
    if (e == HPE_PAUSED_H2_UPGRADE) {
        reason = "HTTP/2 is not spoken here";
    }
    return err_set(err, ERR_BAD_REQUEST, "malformed HTTP: %s",
                   reason != NULL && reason[0] != '\0' ? reason : llhttp_errno_name(e));
}

/* A whole message is there: hand it out, unless it is an interim response (RFC 9110 15.2). */
static void http_parser_deliver(struct http_parser *p)
{
    struct http_msg *m = p->msg;

    CHECK(m != NULL);
    p->msg = NULL;
    p->complete = false;
    p->overhead = 0;
    p->in_body = false;
    if (p->kind == HTTP_RESPONSES && m->status < 200) {
        http_msg_free(m);
        return;
    }
    p->cbs->on_message(p->data, m);
}

int http_parser_feed(struct http_parser *p, const uint8_t *data, size_t len, size_t *ret_used,
                     struct err *err)
{
    size_t body_before, used;
    llhttp_errno_t e;

    OBJ_CHECK(p, HTTP_PARSER_MAGIC);
    body_before = p->msg == NULL ? 0 : p->body_bytes;
    e = llhttp_execute(&p->ll, (const char *)data, len);
    if (e != HPE_OK && !(e == HPE_PAUSED && p->complete)) {
        return http_parser_failed(p, e, err);
    }
    used = e == HPE_OK ? len : (size_t)((const uint8_t *)llhttp_get_error_pos(&p->ll) - data);
    CHECK(used <= len);
    p->overhead += used;
    if (p->msg != NULL) {
        CHECK(p->body_bytes - body_before <= p->overhead);
        p->overhead -= p->body_bytes - body_before;
    }
    if (p->overhead > HTTP_MAX_HEADER_BYTES + HTTP_MAX_TARGET &&
        (p->msg == NULL || p->overhead / HTTP_OVERHEAD_FACTOR > p->body_bytes)) {
        return err_set(err, ERR_TOO_LARGE, "the message is mostly white space or chunk headers");
    }
    *ret_used = used;
    if (e == HPE_PAUSED) {
        llhttp_resume(&p->ll);
        http_parser_deliver(p);
    }
    return 0;
}

int http_parser_finish(struct http_parser *p, struct err *err)
{
    llhttp_errno_t e;

    OBJ_CHECK(p, HTTP_PARSER_MAGIC);
    e = llhttp_finish(&p->ll);
    if (p->complete) {
        http_parser_deliver(p);
        return 0;
    }
    if (e != HPE_OK || p->msg != NULL) {
        return err_set(err, ERR_BAD_REQUEST, "the connection ended within a message");
    }
    return 0;
}

void http_parser_expect_head(struct http_parser *p, bool head)
{
    OBJ_CHECK(p, HTTP_PARSER_MAGIC);
    p->head = head;
}

bool http_parser_idle(const struct http_parser *p)
{
    OBJ_CHECK(p, HTTP_PARSER_MAGIC);
    return p->msg == NULL;
}

size_t http_parser_held(const struct http_parser *p)
{
    OBJ_CHECK(p, HTTP_PARSER_MAGIC);
    return p->msg == NULL ? 0 : p->msg->body.len;
}
