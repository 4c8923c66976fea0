/* Requests that leave HTTP, and requests that never were HTTP. */

#include <string.h>
#include <strings.h>

#include "api/http_priv.h"
#include "base/obj.h"
#include "base/str.h"

/* Is `protocol` one of those that the client offers? */
static bool http_offers(const struct http_req *req, const char *protocol)
{
    const char *p = http_req_header(req, "upgrade");
    size_t n = strlen(protocol);

    while (p != NULL && *p != 0) {
        p += strspn(p, " \t,");
        if (strncasecmp(p, protocol, n) == 0 && strchr(" \t,", p[n]) != NULL) {
            return true; /* strchr finds the NUL too */
        }
        p += strcspn(p, ",");
    }
    return false;
}

bool http_upgrade(struct http_req *req, const char *protocol, http_take_fn *take, void *data)
{
    const struct http_header headers[] = { { "Upgrade", protocol }, { "Connection", "Upgrade" } };
    struct http_sreq *r = http_sreq_of(req);
    struct http_conn *c = req->conn;
    struct buf b = { 0 };

    CHECK(!req->streaming);
    if (r->sink != NULL || c == NULL || r->pub.msg->http10 || !http_offers(req, protocol)) {
        return false;
    }
    CHECK(c->parsing);
    http_encode_response(&b, 101, headers, ARRAY_LEN(headers));
    (void)http_conn_write(c, b.data, b.len);
    buf_done(&b);
    c->take = take;
    c->take_data = data;
    c->req = NULL;
    http_sreq_free(r);
    return true;
}

struct http_req *http_req_make(const struct http_sink *sink, void *ctx, const char *method,
                               const char *target, const struct http_header *headers,
                               size_t n_headers, const void *body, size_t len,
                               const struct stream_peer *peer, const char *remote, struct err *err)
{
    struct http_msg *m = OBJ_NEW(struct http_msg);
    struct http_sreq *r;

    if (http_target_decode(m, target, err) != 0) {
        http_msg_free(m);
        return NULL;
    }
    m->method = arena_strdup(&m->arena, method);
    m->target = arena_strdup(&m->arena, target);
    m->headers.items = mem_alloc((n_headers + 1) * sizeof(*m->headers.items));
    m->headers.count = n_headers;
    for (size_t i = 0; i < n_headers; i++) {
        m->headers.items[i].name = arena_strdup(&m->arena, headers[i].name);
        m->headers.items[i].value = arena_strdup(&m->arena, headers[i].value);
    }
    buf_add(&m->body, body, len);
    r = OBJ_NEW(struct http_sreq);
    r->sink = sink;
    r->sink_ctx = ctx;
    r->pub.magic = HTTP_REQ_MAGIC;
    r->pub.method = m->method;
    r->pub.target = m->target;
    r->pub.path = m->path;
    r->pub.body = (const uint8_t *)buf_cstr(&m->body);
    r->pub.len = m->body.len;
    r->pub.headers = m->headers;
    r->pub.peer = *peer;
    (void)str_copy(r->pub.remote, sizeof(r->pub.remote), remote);
    r->pub.msg = m;
    r->head = str_eq(method, "HEAD");
    return &r->pub;
}

void http_req_abort(struct http_req *req)
{
    struct http_sreq *r = http_sreq_of(req);

    CHECK(r->sink != NULL);
    r->sink = NULL;
    r->sink_ctx = NULL;
    if (req->on_abort != NULL) {
        req->on_abort(req);
    }
}

void http_req_drain(struct http_req *req)
{
    struct http_sreq *r = http_sreq_of(req);

    CHECK(r->sink != NULL);
    if (r->over) {
        r->over = false;
        if (req->on_drain != NULL) {
            req->on_drain(req);
        }
    }
}
