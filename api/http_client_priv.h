#ifndef API_HTTP_CLIENT_PRIV_H
#define API_HTTP_CLIENT_PRIV_H

/* What http_client.c and http_client_conn.c share.  Nobody else includes it. */

#include <sys/queue.h>

#include "api/http_client.h"
#include "base/clock.h"

#define HC_MAGIC 0x477bc11eU
#define HC_OP_MAGIC 0x477bc0b5U
#define HC_CONN_MAGIC 0x477bcc01U

#define HC_ENDPOINTS_MAX 64
#define HC_ERROR_BODY_MAX (1U << 20) /* of an answer to a stream that is not 200 */

struct hc_conn;

enum hc_state {
    HC_WAITING, /* in client->waiting */
    HC_FAILED,  /* in client->failed, its error is to be delivered */
    HC_BOUND,   /* has a connection, being dialled or in use */
};

/* A request under way: a call, or a stream of lines when `lines` is set. */
struct hc_op {
    unsigned magic;
    struct http_client *client;
    struct http_lines *lines;
    struct http_call *call;
    enum hc_state state;
    struct arena arena; /* owns all texts below */
    const char *method;
    const char *target;
    struct http_header *headers;
    size_t n_headers;
    const void *body;
    size_t len;
    bool readonly;   /* GET or HEAD */
    bool repeatable; /* may be sent twice */
    bool sent;       /* on the current connection */
    bool maybe;      /* was sent, not answered, and is not readonly: it may have happened */
    bool restarted;  /* once on a fresh connection after a kept one turned out dead */
    size_t ep;       /* endpoint in use */
    size_t n_tried;  /* endpoints that failed in this round */
    uint64_t deadline_ms;
    uint64_t patient_until_ms;
    uint64_t not_before_ms;
    struct hc_conn *conn;
    struct err err; /* why the last attempt failed; code 0: none did */
    TAILQ_ENTRY(hc_op) all;
    TAILQ_ENTRY(hc_op) queue; /* waiting or failed */
};

TAILQ_HEAD(hc_ops, hc_op);

struct http_call {
    struct hc_op op;
    http_reply_cb *cb;
    void *data;
};

struct http_lines {
    struct hc_op op;
    struct http_lines_cbs cbs;
    void *data;
    struct buf line;
    struct buf error_body;
    size_t max_line;
    uint64_t silence_ms;
    uint64_t last_ms; /* when something came last */
    int status;       /* 0: no answer yet */
    bool paused;
};

struct hc_conn {
    unsigned magic;
    struct http_client *client;
    struct stream *stream;
    struct http_parser *parser;
    struct hc_op *op; /* NULL: idle */
    struct http_msg *msg;
    size_t ep;
    bool open;
    bool reused; /* it has answered before */
    bool got;    /* something came since the request was sent */
    bool closing;
    bool for_lines;
    uint64_t idle_ms; /* since when it is idle */
    LIST_ENTRY(hc_conn) link;
};

struct http_client {
    unsigned magic;
    uv_loop_t *loop;
    struct http_client_opts opts;
    char *endpoints[HC_ENDPOINTS_MAX];
    char *want_role;
    size_t cur;                  /* endpoint for new requests */
    uint64_t home_not_before_ms; /* endpoint 0 failed: leave it alone until then */
    uint64_t home_delay_ms;      /* how long, next time it does not answer at all */
    struct hc_ops all;
    struct hc_ops waiting;
    struct hc_ops failed;
    size_t n_ops;
    LIST_HEAD(, hc_conn) conns;
    size_t n_conns;
    struct prng prng;
    uv_timer_t timer;
    uv_idle_t idle;
    unsigned handles;
    bool closing;
    void (*on_closed)(void *ctx);
    void *closed_ctx;
};

/* http_client.c */
/* Fill in `op`, which copies everything into its arena, and let it wait for a connection. */
void hc_op_init(struct hc_op *op, struct http_client *c, const struct http_call_args *a);
/* Give back everything, with the call or the lines around it; nobody is told. */
void hc_op_free(struct hc_op *op);
void hc_kick(struct http_client *c);
void hc_maybe_free(struct http_client *c);
void hc_op_unbind(struct hc_op *op);
/* This endpoint did not do it: try the next one, or fail. */
void hc_op_hop(struct hc_op *op, const struct err *err);
/* Deliver an error later. */
void hc_op_fail(struct hc_op *op, const struct err *err);
/* The connection ended before the answer was complete. */
void hc_op_broken(struct hc_op *op, const struct hc_conn *conn, const struct err *err);
/* Deliver an answer; the message is freed. */
void hc_op_answered(struct hc_op *op, size_t ep, struct http_msg *msg);

/* http_client_home.c */
bool hc_home_again(const struct http_client *c);
/* Endpoint 0 refused, said 503 or broke; or it was silent for a whole timeout. */
void hc_home_failed(struct http_client *c, bool silent);
/* This endpoint serves: stay with it. */
void hc_endpoint_answered(struct http_client *c, size_t ep);

/* http_client_lines.c */
void hc_lines_free(struct http_lines *l);
/* The stream is over, or its answer was not 200: tell the owner. */
void hc_lines_answered(struct http_lines *l, struct http_msg *msg);
bool hc_lines_headers(struct http_lines *l, const struct http_msg *msg);
void hc_lines_data(struct hc_conn *conn, const uint8_t *p, size_t len);

/* http_client_conn.c */
int hc_endpoint_check(const char *endpoint, struct err *err) ERR_USED;
/* Dial op->ep for this op. */
int hc_conn_dial(struct hc_op *op, struct err *err) ERR_USED;
struct hc_conn *hc_conn_find_idle(struct http_client *c, size_t ep);
size_t hc_conn_count(const struct http_client *c, size_t ep); /* without streams */
void hc_conn_send(struct hc_conn *conn, struct hc_op *op);
void hc_conn_drop(struct hc_conn *conn);

#endif
