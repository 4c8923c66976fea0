#ifndef API_HTTP_SERVER_H
#define API_HTTP_SERVER_H

/* An HTTP/1.1 server on a libuv loop, with or without TLS, on TCP and unix sockets.
 *
 * One request at a time on a connection: pipelined requests wait and are answered in order.  Every
 * limit has a default; what breaks one gets a Kubernetes Status as JSON and loses its connection.
 *
 * Ownership: the handler owns its request until it ends it, with exactly one http_respond* or
 * http_stream_end, now or later, also when the client has gone in the meantime (on_abort) and also
 * after http_server_close: it is then only freed.  Nothing of a request is valid after its end.
 * All calls and callbacks on the loop's thread.
 */

#include <jansson.h>
#include <uv.h>

#include "api/http_codec.h"
#include "base/stream.h"

struct http_server;
struct http_conn;

struct http_req {
    const char *method; /* "GET", upper case */
    const char *path;   /* decoded, without the query, begins with '/' */
    const char *target; /* path and query as they were sent */
    const uint8_t *body;
    size_t len; /* a NUL follows the body and is not counted */
    struct http_headers headers;
    struct stream_peer peer;    /* who asks, from the verified certificate */
    char remote[64];            /* printable address */
    struct http_server *server; /* NULL once the server was closed */

    /* For the handler. */
    void *data;
    /* The client went away before the end.  Called at most once, never after http_server_close and
     * never from within a call of this header.  The handler may end the request in it. */
    void (*on_abort)(struct http_req *req);
    /* A stream that was over the high mark is below the low mark again. */
    void (*on_drain)(struct http_req *req);

    /* Private to http_server.c. */
    unsigned magic;
    struct http_conn *conn;
    struct http_msg *msg;
    bool streaming;
};

/* The decoded value of a query parameter: NULL when absent, "" when it has no value. */
const char *http_req_query(const struct http_req *req, const char *name);
/* The value of a header (case does not matter), or NULL. */
const char *http_req_header(const struct http_req *req, const char *name);
/* Has the client gone already? */
bool http_req_aborted(const struct http_req *req);

struct http_server_opts {
    void (*on_request)(void *ctx, struct http_req *req);
    void *ctx;
    size_t max_body;       /* bytes of one request body; 0: 16 MiB */
    size_t max_body_total; /* of all that are being received or answered; 0: 256 MiB */
    size_t max_conns;      /* 0: 1024; more are closed at once and logged */
    size_t high_mark;      /* unsent bytes from which http_stream_write says stop; 0: 1 MiB */
    uint64_t idle_ms;      /* a connection without a request; 0: 120 s */
    uint64_t request_ms;   /* from the first byte of a request to its last; 0: 30 s */
    uint64_t send_ms;      /* a client that takes nothing while bytes wait; 0: 60 s */
};

int http_server_new(uv_loop_t *loop, const struct http_server_opts *opts, struct http_server **ret,
                    struct err *err) ERR_USED;
/* Listen on one address more: "IP:PORT" or "unix:PATH"; `tls` NULL for plain (unix sockets always
 * are).  *ret_address (may be NULL) is what was bound, valid until http_server_close. */
int http_server_listen(struct http_server *s, const char *address, struct tls_ctx *tls,
                       const char **ret_address, struct err *err) ERR_USED;
/* Close all listeners and connections; requests that were not ended stay with their handlers.
 * on_closed (may be NULL) comes when the last handle is gone; no other callback comes any more. */
void http_server_close(struct http_server *s, void (*on_closed)(void *ctx), void *ctx);
size_t http_server_conns(const struct http_server *s);

/* Answer and end.  The body is copied; `headers` may be NULL when n is 0.  For HEAD the body only
 * gives Content-Length. */
void http_respond(struct http_req *req, int status, const char *content_type, const void *body,
                  size_t len, const struct http_header *headers, size_t n_headers);
/* The same with compact JSON (the object stays the caller's). */
void http_respond_json(struct http_req *req, int status, const json_t *obj);
/* The same with the Kubernetes Status of an error; the HTTP status is err_http(err->code), and
 * HTTP_ERROR_HEADER names the code. */
void http_respond_err(struct http_req *req, const struct err *err);

/* Take up the client's offer to speak another protocol on this connection: answers 101 with
 * `protocol` and ends the request.  Only from within on_request.  As soon as that returns, take is
 * called with the connection, which is the callee's from then on (new callbacks and data), and with
 * the bytes that came behind the request.  It no longer counts among the server's connections.
 * False when the request has no `Upgrade: protocol`: nothing was done. */
typedef void http_take_fn(void *data, struct stream *s, const uint8_t *rest, size_t len);
bool http_upgrade(struct http_req *req, const char *protocol, http_take_fn *take, void *data);

/* A request that did not come over HTTP: the same handlers answer it, into a sink.  The callbacks
 * come from within http_respond* and http_stream_*; none after http_req_abort. */
struct http_sink {
    /* The whole answer, and the end.  `error` is the value of HTTP_ERROR_HEADER or NULL. */
    void (*respond)(void *ctx, int status, const char *error, const void *body, size_t len);
    void (*begin)(void *ctx, int status);
    /* What http_stream_write returns. */
    bool (*write)(void *ctx, const void *data, size_t len);
    void (*end)(void *ctx);
};
/* Everything is copied.  Give the result to the function that is on_request elsewhere.  NULL with
 * ERR_BAD_REQUEST when the target is malformed. */
struct http_req *http_req_make(const struct http_sink *sink, void *ctx, const char *method,
                               const char *target, const struct http_header *headers,
                               size_t n_headers, const void *body, size_t len,
                               const struct stream_peer *peer, const char *remote, struct err *err);
/* The one who asked is gone. */
void http_req_abort(struct http_req *req);
/* There is room again after write said false. */
void http_req_drain(struct http_req *req);

/* Start a chunked answer. */
void http_stream_begin(struct http_req *req, int status, const char *content_type,
                       const struct http_header *headers, size_t n_headers);
/* Queue a piece (copied).  False: wait for on_drain before the next one (this piece is queued all
 * the same), or the client is gone.  Beyond 64 times the high mark the client is dropped. */
bool http_stream_write(struct http_req *req, const void *data, size_t len);
/* End the answer and the request. */
void http_stream_end(struct http_req *req);

#endif
