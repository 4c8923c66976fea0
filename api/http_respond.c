/* Answers: heads, bodies, chunks. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "api/http_priv.h"
#include "base/clock.h"
#include "base/obj.h"

#define HTTP_EXTRA_HEADERS 32

struct http_sreq *http_sreq_of(struct http_req *req)
{
    struct http_sreq *r = (struct http_sreq *)(void *)req;

    _Static_assert(offsetof(struct http_sreq, pub) == 0, "the public part comes first");
    CHECK(req != NULL);
    CHECK(req->magic == HTTP_REQ_MAGIC);
    return r;
}

/* IMF-fixdate (RFC 9110 section 5.6.7), without the locale's names. */
static void http_date(char *dst, size_t size)
{
    static const char days[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t now = (time_t)(clock_wall_ms() / 1000);
    struct tm tm;

    CHECK(gmtime_r(&now, &tm) != NULL);
    (void)snprintf(dst, size, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT", days + tm.tm_wday * 3,
                   tm.tm_mday, months + tm.tm_mon * 3, tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
                   tm.tm_sec);
}

struct http_head {
    struct http_header items[HTTP_EXTRA_HEADERS + 8];
    size_t n;
    char date[64];
};

static void http_head_add(struct http_head *h, const char *name, const char *value)
{
    CHECK(h->n < ARRAY_LEN(h->items));
    h->items[h->n].name = name;
    h->items[h->n].value = value;
    h->n++;
}

static void http_send_head(struct http_conn *c, struct http_head *h, int status,
                           const char *content_type, const struct http_header *headers,
                           size_t n_headers, bool last)
{
    struct buf b = { 0 };

    CHECK(n_headers <= HTTP_EXTRA_HEADERS);
    http_date(h->date, sizeof(h->date));
    http_head_add(h, "Date", h->date);
    if (content_type != NULL) {
        http_head_add(h, "Content-Type", content_type);
    }
    http_head_add(h, "Connection", last ? "close" : "keep-alive");
    for (size_t i = 0; i < n_headers; i++) {
        http_head_add(h, headers[i].name, headers[i].value);
    }
    http_encode_response(&b, status, h->items, h->n);
    (void)http_conn_write(c, b.data, b.len);
    buf_done(&b);
}

void http_send_response(struct http_conn *c, int status, const char *content_type, const void *body,
                        size_t len, const struct http_header *headers, size_t n_headers, bool head,
                        bool last)
{
    bool bodyless = status == 204 || status == 304; /* RFC 9110 section 6.4.1 */
    struct http_head h = { .n = 0 };
    char length[32];

    (void)snprintf(length, sizeof(length), "%zu", len);
    if (!bodyless) {
        http_head_add(&h, "Content-Length", length);
    }
    http_send_head(c, &h, status, bodyless ? NULL : content_type, headers, n_headers, last);
    if (!bodyless && !head && len > 0) {
        (void)http_conn_write(c, body, len);
    }
}

static void http_sink_respond(struct http_sreq *r, int status, const void *body, size_t len,
                              const struct http_header *headers, size_t n)
{
    const struct http_headers all = { .items = (struct http_header *)(uintptr_t)headers,
                                      .count = n };
    const struct http_sink *sink = r->sink;
    void *ctx = r->sink_ctx;

    sink->respond(ctx, status, http_header_get(&all, HTTP_ERROR_HEADER), body, len);
    http_sreq_free(r);
}

void http_respond(struct http_req *req, int status, const char *content_type, const void *body,
                  size_t len, const struct http_header *headers, size_t n_headers)
{
    struct http_sreq *r = http_sreq_of(req);

    CHECK(!req->streaming);
    if (r->sink != NULL) {
        http_sink_respond(r, status, body, len, headers, n_headers);
        return;
    }
    if (req->conn != NULL) {
        http_send_response(req->conn, status, content_type, body, len, headers, n_headers, r->head,
                           req->conn->last);
    }
    http_conn_answered(r);
}

static int http_json_out(const char *data, size_t len, void *ctx)
{
    buf_add(ctx, data, len);
    return 0;
}

void http_respond_json(struct http_req *req, int status, const json_t *obj)
{
    struct buf b = { 0 };

    CHECK(json_dump_callback(obj, http_json_out, &b, JSON_COMPACT | JSON_ENCODE_ANY) == 0);
    buf_add_byte(&b, '\n');
    http_respond(req, status, "application/json", b.data, b.len, NULL, 0);
    buf_done(&b);
}

void http_respond_err(struct http_req *req, const struct err *err)
{
    const struct http_header code = { HTTP_ERROR_HEADER, err_name(err->code) };
    struct buf b = { 0 };

    http_status_json(&b, err);
    http_respond(req, err_http(err->code), "application/json", b.data, b.len, &code, 1);
    buf_done(&b);
}

/* --- streams --- */

void http_stream_begin(struct http_req *req, int status, const char *content_type,
                       const struct http_header *headers, size_t n_headers)
{
    struct http_sreq *r = http_sreq_of(req);
    struct http_head h = { .n = 0 };

    CHECK(!req->streaming);
    req->streaming = true;
    if (r->sink != NULL) {
        r->sink->begin(r->sink_ctx, status);
        return;
    }
    if (req->conn == NULL) {
        return;
    }
    r->chunked = !r->pub.msg->http10;
    if (r->chunked) {
        http_head_add(&h, "Transfer-Encoding", "chunked");
    } else {
        req->conn->last = true; /* the end of the connection is the end of the answer */
    }
    http_send_head(req->conn, &h, status, content_type, headers, n_headers, req->conn->last);
}

bool http_stream_write(struct http_req *req, const void *data, size_t len)
{
    struct http_sreq *r = http_sreq_of(req);
    struct http_conn *c = req->conn;
    char size[32];
    int n;

    CHECK(req->streaming);
    if (r->sink != NULL) {
        r->over = !r->sink->write(r->sink_ctx, data, len);
        return !r->over;
    }
    if (c == NULL || c->doomed) {
        return false;
    }
    if (r->head || len == 0) {
        return true;
    }
    if (r->chunked) {
        n = snprintf(size, sizeof(size), "%zx\r\n", len);
        (void)http_conn_write(c, size, (size_t)n);
    }
    (void)http_conn_write(c, data, len);
    if (r->chunked) {
        (void)http_conn_write(c, "\r\n", 2);
    }
    if (stream_queued(c->stream) > c->server->opts.high_mark * HTTP_STREAM_HARD) {
        c->doomed = true; /* the handler does not listen to us */
        http_conn_kick(c);
    }
    r->over = stream_queued(c->stream) >= c->server->opts.high_mark;
    return !r->over && !c->doomed;
}

void http_stream_end(struct http_req *req)
{
    struct http_sreq *r = http_sreq_of(req);

    CHECK(req->streaming);
    if (r->sink != NULL) {
        r->sink->end(r->sink_ctx);
        http_sreq_free(r);
        return;
    }
    if (req->conn != NULL && r->chunked && !r->head) {
        (void)http_conn_write(req->conn, "0\r\n\r\n", 5);
    }
    http_conn_answered(r);
}
