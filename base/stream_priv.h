#ifndef BASE_STREAM_PRIV_H
#define BASE_STREAM_PRIV_H

/* What stream.c, stream_listen.c and tls*.c share.  Nobody else includes it. */

#include <openssl/ssl.h>
#include <sys/queue.h>
#include <sys/types.h>
#include <time.h>
#include <uv.h>

#include "base/buf.h"
#include "base/stream.h"

#define STREAM_MAGIC 0x5712ea3dU
#define LISTENER_MAGIC 0x115732e1U
#define TLS_CTX_MAGIC 0x715c0e4dU

#define STREAM_READ_MAX (64U << 10)
#define STREAM_RECORD (16U << 10) /* RFC 8446 section 5.1 */

/* Process-wide TLS material. */
struct tls_ctx {
    unsigned magic;
    int refs;
    SSL_CTX *ssl;
    char cluster[40]; /* what peers must carry; empty: anything */
    /* From files: looked at again now and then when a connection is made (tls_ctx_refresh). */
    char *cert_file, *key_file, *ca_file; /* NULL: from texts */
    struct timespec mtime;                /* of cert_file */
    ino_t inode;
    uint64_t looked_ms;
};

/* Take a renewed certificate into use; what is there stays when that fails. */
void tls_ctx_refresh(struct tls_ctx *t);

/* One TLS connection over memory: no sockets in here. */
struct tls_conn {
    struct tls_ctx *ctx; /* NULL: plain */
    SSL *ssl;
    BIO *in;  /* ciphertext from the peer; owned by ssl */
    BIO *out; /* ciphertext for the peer; owned by ssl */
    char want_role[64];
    char want_name[128];
    char refusal[ERR_MSG_MAX]; /* why the peer's certificate was refused, empty if it was not */
};

int tls_conn_init(struct tls_conn *t, struct tls_ctx *ctx, bool server, const char *want_role,
                  const char *want_name, struct err *err) ERR_USED;
void tls_conn_done(struct tls_conn *t);
void tls_conn_feed(struct tls_conn *t, const void *data, size_t len);
/* Go on with the handshake; *ret_done when it is over. */
int tls_conn_handshake(struct tls_conn *t, bool *ret_done, struct err *err) ERR_USED;
/* *ret_len 0 and *ret_eof false: more ciphertext is needed. */
int tls_conn_read(struct tls_conn *t, void *dst, size_t cap, size_t *ret_len, bool *ret_eof,
                  struct err *err) ERR_USED;
int tls_conn_write(struct tls_conn *t, const void *data, size_t len, struct err *err) ERR_USED;
void tls_conn_take(struct tls_conn *t, struct buf *wire); /* move ciphertext out */
void tls_conn_shutdown(struct tls_conn *t);               /* queue a close_notify */
/* Read role, name and cluster; ERR_UNAUTHORIZED when they do not fit. */
int tls_peer_from_cert(X509 *cert, struct stream_peer *ret, struct err *err) ERR_USED;
/* One line from OpenSSL's error queue, which is emptied. */
void tls_error_text(char *dst, size_t size);

enum stream_state {
    STREAM_CONNECTING, /* waiting for the TCP or unix connection */
    STREAM_HANDSHAKE,
    STREAM_OPEN,
    STREAM_ENDED,    /* broken: on_end was called, waiting for stream_close */
    STREAM_FLUSHING, /* stream_close(flush) while bytes are queued */
    STREAM_LINGERING,
    STREAM_CLOSED, /* handles are being closed */
};

union stream_handle {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
};

struct stream {
    unsigned magic;
    enum stream_state state;
    uv_loop_t *loop;
    union stream_handle u;
    uv_timer_t timer; /* connect deadline, later flush and linger */
    uv_idle_t idle;   /* work put off until the loop turns: flush, deferred reads */
    uv_connect_t connect_req;
    uv_write_t write_req;
    uv_shutdown_t shutdown_req;
    unsigned handles; /* not yet closed */
    bool is_pipe;
    bool paused;
    bool writing;   /* write_req is in use; its bytes are in flight */
    bool eof;       /* the peer's end was seen */
    bool above_low; /* on_drain is due once the queue falls */
    struct tls_conn tls;
    struct buf pend;   /* plain bytes not yet encrypted or given to libuv */
    size_t pend_off;   /* of which so many are done */
    struct buf wire;   /* ciphertext not yet given to libuv */
    struct buf flight; /* owned by write_req */
    size_t max_queue;
    size_t low_mark;
    size_t flush_seen; /* queue length at the last flush check */
    struct stream_cbs cbs;
    void *data;
    struct stream_peer peer;
    char remote[128];
    struct listener *listener; /* while an accepted stream is in its handshake */
    LIST_ENTRY(stream) link;
};

struct listener {
    unsigned magic;
    uv_loop_t *loop;
    union stream_handle u;
    bool is_pipe;
    bool closing;
    struct stream_opts opts;
    char *want_role;
    char *want_name;
    void (*on_accept)(struct listener *l, struct stream *s);
    void *data;
    char address[128];
    LIST_HEAD(, stream) handshakes;
    size_t n_handshakes;
    uint64_t complained_ms; /* when a refused peer was logged last */
    size_t n_quiet;         /* refused since then without a line */
};

/* A parsed address. */
struct stream_addr {
    bool is_pipe;
    struct sockaddr_storage ss;
    const char *path; /* into the text */
};

int stream_addr_parse(const char *text, struct stream_addr *ret, struct err *err) ERR_USED;
void stream_addr_print(const struct sockaddr *sa, char *dst, size_t size);

/* stream.c: have the idle handle flush and read in the next turn of the loop. */
void stream_kick(struct stream *s);
/* It cannot be used any more: tell the owner once. */
void stream_broke(struct stream *s, const struct err *err);
void stream_close_now(struct stream *s);
/* The linger of an orderly end is over, or a flush makes no progress. */
void stream_timer_cb(uv_timer_t *h);
/* stream_write.c: send what can be sent now; only from callbacks of libuv. */
void stream_flush(struct stream *s);

/* A stream without handles' activity yet: allocated, handles initialised. */
struct stream *stream_alloc(uv_loop_t *loop, bool is_pipe, const struct stream_opts *opts);
/* An accepted stream: begin the handshake or, if plain, hand it over. */
void stream_start_accepted(struct stream *s, uint64_t deadline_ms);
void stream_tcp_tune(struct stream *s, unsigned user_timeout_ms);
/* Called by stream.c when an accepted stream is through or failed (err). */
void listener_handshake_done(struct stream *s, const struct err *err);

#endif
