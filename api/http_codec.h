#ifndef API_HTTP_CODEC_H
#define API_HTTP_CODEC_H

/* HTTP/1.1 messages: bytes in, whole requests or response parts out (RFC 9110, RFC 9112).
 *
 * The grammar is llhttp's (docs/decisions/0001-http-parser.md), strict; what is added here are the
 * limits, the decoding of the target, and the joining of pieces.  Pure: no sockets, no clock.
 * One parser a connection, one thread at a time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/map.h"

#define HTTP_MAX_TARGET (16U << 10)
#define HTTP_MAX_HEADER_BYTES (64U << 10)
#define HTTP_MAX_HEADERS 100
#define HTTP_MAX_BODY (16U << 20)

/* Carries the name of the err_code ("ERR_STALE") of a failed answer: several codes share one
 * Kubernetes reason, and our own clients want to tell them apart. */
#define HTTP_ERROR_HEADER "X-Picket-Error"

struct http_header {
    const char *name;
    const char *value;
};

struct http_headers {
    struct http_header *items; /* in the order of arrival */
    size_t count;
};

/* The first header of that name (case does not matter), or NULL. */
const char *http_header_get(const struct http_headers *h, const char *name);

/* One message as it was parsed.  All memory is the message's; http_msg_free gives it back. */
struct http_msg {
    struct arena arena;
    struct http_headers headers;
    struct buf body;
    bool keep_alive; /* the sender allows another message on this connection */
    bool http10;
    /* Requests only. */
    const char *method; /* static, upper case */
    const char *target; /* as it was sent */
    const char *path;   /* decoded, without the query; begins with '/' */
    const char *query;  /* as it was sent, without the '?', "" when there is none */
    struct map params;  /* decoded query: name -> char * in the arena; the first of a name wins */
    /* Responses only. */
    int status;
};

void http_msg_free(struct http_msg *m); /* NULL is fine */

/* Split and decode a request target into m->path, m->query and m->params.
 * ERR_BAD_REQUEST: not an absolute path, a broken escape, an encoded NUL, too many parameters. */
int http_target_decode(struct http_msg *m, const char *target, struct err *err) ERR_USED;
/* Is it UTF-8 (RFC 3629) without NUL?  Everything that goes into JSON must be. */
bool http_is_utf8(const char *s, size_t len);
/* Append `s` with everything but unreserved characters (RFC 3986) written as %XX. */
void http_escape(struct buf *b, const char *s);

enum http_parser_kind { HTTP_REQUESTS, HTTP_RESPONSES };

struct http_parser_cbs {
    /* The header section is complete (msg belongs to the parser still).  Return false to refuse
     * the message: http_parser_feed then fails with ERR_CANCELED. */
    bool (*on_headers)(void *data, const struct http_msg *msg);
    /* A piece of the body.  NULL: collect it in msg->body, up to max_body. */
    void (*on_body)(void *data, const uint8_t *p, size_t len);
    /* A whole message; the callee owns it.  The parser stops behind it (see http_parser_feed). */
    void (*on_message)(void *data, struct http_msg *msg);
};

struct http_parser;

/* `max_body` in bytes, 0 for HTTP_MAX_BODY.  `cbs` must outlive the parser. */
struct http_parser *http_parser_new(enum http_parser_kind kind, size_t max_body,
                                    const struct http_parser_cbs *cbs, void *data);
void http_parser_free(struct http_parser *p); /* NULL is fine; not from a callback */

/* Parse up to the end of the next message; *ret_used bytes were consumed.  After a whole message it
 * returns with the rest unread, so that the caller can answer before it goes on.
 * ERR_BAD_REQUEST: not HTTP; ERR_TOO_LARGE: a limit; ERR_CANCELED: on_headers refused.  After an
 * error the parser is of no more use. */
int http_parser_feed(struct http_parser *p, const uint8_t *data, size_t len, size_t *ret_used,
                     struct err *err) ERR_USED;
/* The peer closed its side: completes a response that ends with the connection.
 * ERR_BAD_REQUEST when a message was cut. */
int http_parser_finish(struct http_parser *p, struct err *err) ERR_USED;
/* The response to come has no body, since the request was HEAD. */
void http_parser_expect_head(struct http_parser *p, bool head);
/* Is it between two messages? */
bool http_parser_idle(const struct http_parser *p);
/* Bytes of the body collected so far. */
size_t http_parser_held(const struct http_parser *p);

/* The reason phrase of a status (RFC 9110 section 15), "Unknown" for others. */
const char *http_status_text(int status);

/* Append a status line and headers, up to and with the empty line.  Header values with control
 * characters are cut at the first of them (nobody can inject a header through a message). */
void http_encode_response(struct buf *b, int status, const struct http_header *headers, size_t n);
void http_encode_request(struct buf *b, const char *method, const char *target,
                         const struct http_header *headers, size_t n);

/* A Kubernetes Status object for an error, as JSON: {"kind":"Status", ..., "code":422}. */
void http_status_json(struct buf *b, const struct err *err);

#endif
