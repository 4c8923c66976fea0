#ifndef API_HTTP_CLIENT_H
#define API_HTTP_CLIENT_H

/* An HTTP/1.1 client on a libuv loop for one service behind several endpoints.
 *
 * It stays with the endpoint that answered last and goes on to the next one when connecting fails,
 * when the answer is 503 (by contract: "not executed, ask another", ERR_NOT_LEADER and
 * ERR_NO_QUORUM) or, for requests that may be repeated, when the connection breaks.  A request that
 * may not be repeated and was sent without an answer ends in ERR_UNKNOWN_OUTCOME.
 * Connections are kept and used again.  No callback runs before the call that started it has
 * returned, and none after a cancel or http_client_close.  All on the loop's thread.
 */

#include <uv.h>

#include "api/http_codec.h"
#include "base/stream.h"

struct http_client;
struct http_call;
struct http_lines;

struct http_client_opts {
    const char *const *endpoints; /* "HOST:PORT" (through addr_resolve), "[v6]:PORT", "unix:PATH" */
    size_t n_endpoints;
    struct tls_ctx *tls;   /* NULL: plain; unix sockets always are */
    const char *want_role; /* role in the server's certificate; NULL: any */
    uint64_t connect_ms;   /* connect and handshake; 0: 5 s */
    size_t max_body;       /* of an answer; 0: 64 MiB */
    size_t max_conns;      /* to one endpoint, streams not counted; 0: 8 */
    uint64_t home_ms;      /* so long after its last failure the first endpoint is preferred again
                              (up to 60 s when it did not answer at all); 0: never, it stays with
                              the one that answered last */
    size_t max_calls;      /* waiting or under way; 0: 4096; more give ERR_LIMIT */
};

int http_client_new(uv_loop_t *loop, const struct http_client_opts *opts, struct http_client **ret,
                    struct err *err) ERR_USED;
/* Everything that is under way ends without a callback.  on_closed (may be NULL) comes when the
 * last handle is gone. */
void http_client_close(struct http_client *c, void (*on_closed)(void *ctx), void *ctx);
/* What stream_connect wants, from an endpoint: through the address map (base/addrmap.h). */
int http_endpoint_resolve(const char *endpoint, char *dst, size_t size, struct err *err) ERR_USED;
/* The endpoint that is used now; never NULL. */
const char *http_client_endpoint(const struct http_client *c);
/* connect_ms from the next connection on. */
void http_client_connect_ms(struct http_client *c, uint64_t ms);
/* Begin with the next endpoint from now on, if it is still `endpoint` that is used: for a caller
 * who found out by himself that an endpoint is of no use (it is silent, or behind). */
void http_client_avoid(struct http_client *c, const char *endpoint);

struct http_reply {
    int status;
    struct http_headers headers;
    const uint8_t *body; /* a NUL follows and is not counted */
    size_t len;
};

/* Either err or reply is NULL; a reply of any status is a reply.  Both only during the call.
 * ERR_UNREACHABLE: no endpoint could be reached; ERR_TIMEOUT: the deadline passed and the request
 * did not happen; ERR_UNKNOWN_OUTCOME: it may have; ERR_LIMIT: too many calls; ERR_TOO_LARGE. */
typedef void http_reply_cb(void *data, const struct err *err, const struct http_reply *reply);

struct http_call_args {
    const char *method;
    const char *target;       /* path and query, escaped */
    const char *content_type; /* NULL: none */
    const void *body;         /* copied */
    size_t len;
    const struct http_header *headers; /* more headers, copied */
    size_t n_headers;
    uint64_t timeout_ms; /* for everything together; 0: 30 s */
    bool repeatable;     /* may be sent twice (GET and HEAD always may) */
    /* Go round the endpoints again, with short pauses, for that long after all of them failed or
     * said 503 (an election takes a moment); 0: one round. */
    uint64_t patience_ms;
};

/* Never NULL: failures come through the callback.  The handle is valid until the callback. */
struct http_call *http_call(struct http_client *c, const struct http_call_args *args,
                            http_reply_cb *cb, void *data);
void http_call_cancel(struct http_call *call);
void *http_call_data(const struct http_call *call); /* as given to http_call */

struct http_lines_cbs {
    /* Answered with 200.  May be NULL. */
    void (*on_open)(void *data);
    /* One line without its end, NUL-terminated; only during the call. */
    void (*on_line)(void *data, const char *line, size_t len);
    /* The stream is over and the handle gone: err NULL when the server ended it.  When it answered
     * with something else than 200, reply has that answer, else reply is NULL. */
    void (*on_end)(void *data, const struct err *err, const struct http_reply *reply);
};

struct http_lines_args {
    const char *target;
    uint64_t timeout_ms; /* until the answer's headers; 0: 30 s */
    uint64_t silence_ms; /* ERR_TIMEOUT when nothing comes for that long; 0: never */
    size_t max_line;     /* 0: 16 MiB; a longer line ends the stream with ERR_TOO_LARGE */
};

/* GET a stream of lines over a connection of its own (a watch).  Tries each endpoint once. */
struct http_lines *http_lines_open(struct http_client *c, const struct http_lines_args *args,
                                   const struct http_lines_cbs *cbs, void *data);
void http_lines_close(struct http_lines *l); /* no callback comes any more */
/* Stop reading, or go on (back-pressure to the server); silence is not judged meanwhile.  Lines
 * that have arrived already still come. */
void http_lines_pause(struct http_lines *l, bool paused);
/* Does the stream come from another endpoint than the first one, which may be tried again
 * (home_ms)? */
bool http_lines_away(const struct http_lines *l);

#endif
