#ifndef API_HTTP_PRIV_H
#define API_HTTP_PRIV_H

/* What http_server.c and http_respond.c share.  Nobody else includes it. */

#include <sys/queue.h>

#include "api/http_server.h"

#define HTTP_SERVER_MAGIC 0x477b5e24U
#define HTTP_CONN_MAGIC 0x477bc033U
#define HTTP_REQ_MAGIC 0x477b4e90U

#define HTTP_SERVER_LISTENERS 16
#define HTTP_RESPONSE_MAX (256U << 20) /* unsent bytes of one connection */
#define HTTP_STREAM_HARD 64            /* times the high mark */

/* A request with what only the server looks at. */
struct http_sreq {
    struct http_req pub; /* first: see http_sreq_of */
    LIST_ENTRY(http_sreq) link;
    size_t held;                  /* bytes that count in body_total */
    bool head;                    /* HEAD: no body goes out */
    bool chunked;                 /* else the end of the connection ends a stream */
    bool over;                    /* a write said stop; on_drain is due */
    const struct http_sink *sink; /* set: there is no connection */
    void *sink_ctx;
};

struct http_conn {
    unsigned magic;
    struct http_server *server;
    struct stream *stream;
    struct http_parser *parser;
    struct buf in;         /* bytes behind the request that is being answered */
    struct http_sreq *req; /* being answered */
    struct http_msg *msg;  /* parsed, about to become req */
    struct err refusal;    /* why on_headers refused; code 0: it did not */
    http_take_fn *take;    /* the connection is given away when the handler has returned */
    void *take_data;
    bool parsing; /* inside http_conn_parse */
    bool last;    /* close when the request was answered */
    bool eof;     /* the client sends no more */
    bool closing;
    bool doomed;        /* to be aborted from the idle handle */
    bool kicked;        /* in server->kicks */
    uint64_t since_ms;  /* start of the request, or of the idleness */
    size_t held;        /* bytes of the body being received that count in body_total */
    uint64_t written;   /* bytes given to the stream so far */
    uint64_t sent_seen; /* of which had left at the last look */
    uint64_t moved_ms;  /* when they last moved */
    LIST_ENTRY(http_conn) link;
    TAILQ_ENTRY(http_conn) kick;
};

struct http_server {
    unsigned magic;
    uv_loop_t *loop;
    struct http_server_opts opts;
    struct listener *listeners[HTTP_SERVER_LISTENERS];
    size_t n_listeners;
    LIST_HEAD(, http_conn) conns;
    LIST_HEAD(, http_sreq) reqs;
    TAILQ_HEAD(, http_conn) kicks;
    size_t n_conns;
    size_t body_total;
    bool full; /* max_conns was logged */
    bool closing;
    uv_timer_t sweep;
    uv_idle_t idle;
    unsigned handles;
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

/* http_server.c */
void http_server_maybe_free(struct http_server *s);
void http_idle_cb(uv_idle_t *h);
/* http_conn.c */
extern const struct stream_cbs http_conn_cbs;
extern const struct http_parser_cbs http_conn_parser_cbs;
void http_conn_close(struct http_conn *c, bool flush);
/* The client is gone, or must go: whoever answers is told. */
void http_conn_abort(struct http_conn *c);
/* Feed bytes until a request is there that has to be answered first. */
void http_conn_parse(struct http_conn *c, const uint8_t *data, size_t len);
void http_conn_check(struct http_conn *c, uint64_t now); /* its time limits */
bool http_conn_write(struct http_conn *c, const void *data, size_t len);
/* The request was answered in full: free it and go on with the connection. */
void http_conn_answered(struct http_sreq *r);
void http_conn_kick(struct http_conn *c);
void http_sreq_free(struct http_sreq *r);

/* http_respond.c: the private form of a request. */
struct http_sreq *http_sreq_of(struct http_req *req);
/* Write an answer without ending anything. */
void http_send_response(struct http_conn *c, int status, const char *content_type, const void *body,
                        size_t len, const struct http_header *headers, size_t n_headers, bool head,
                        bool last);

#endif
