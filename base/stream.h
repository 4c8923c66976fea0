#ifndef BASE_STREAM_H
#define BASE_STREAM_H

/* Byte streams over TCP or unix sockets on a libuv loop, with mutual TLS where a context is given.
 *
 * TLS is OpenSSL with memory BIOs, TLS 1.3 only, both sides verified.  TCP_NODELAY is always set
 * and TCP_USER_TIMEOUT where asked, so that a dead peer does not wait for TCP's back-off. All calls
 * and callbacks on the loop's thread.  No callback runs before the call that started it has
 * returned.  After stream_close nothing but on_closed is called; the stream is freed right after
 * it.
 */

#include <uv.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct tls_ctx; /* certificate, key and trusted CA of one process; refcounted */
struct stream;
struct listener;

/* Who the other side is, from its verified certificate: O = role, CN = name (docs/architecture.md,
 * "Identity").  Without TLS both are empty. */
struct stream_peer {
    char role[64];
    char name[128];
    char cluster[40]; /* from the URI SAN "picket:CLUSTER-UUID", empty if there is none */
    bool local;       /* a unix socket; then uid and pid are the peer's (SO_PEERCRED) */
    uint32_t uid;
    int32_t pid;
};

/* Load PEM files.  When the certificate's file has been replaced, connections made from then on use
 * the new one (and the key and the CA that are there then).  `cluster` is the cluster id that peers
 * must carry in their URI SAN (NULL: any that the CA signed). */
int tls_ctx_load(const char *cert_file, const char *key_file, const char *ca_file,
                 const char *cluster, struct tls_ctx **ret, struct err *err) ERR_USED;
/* The same from PEM texts; `what` names them in messages (a file name). */
int tls_ctx_load_pem(const char *what, const char *cert, const char *key, const char *ca,
                     const char *cluster, struct tls_ctx **ret, struct err *err) ERR_USED;
struct tls_ctx *tls_ctx_ref(struct tls_ctx *t);
void tls_ctx_unref(struct tls_ctx *t); /* NULL is fine */

struct stream_cbs {
    /* Connected and, with TLS, verified; or not: then err is set and the stream is closed for you
     * (on_closed follows).  `want` of stream_connect was checked already. */
    void (*on_open)(struct stream *s, const struct err *err);
    /* Bytes arrived; consume all or keep what you need: they are gone after the call. */
    void (*on_data)(struct stream *s, const uint8_t *data, size_t len);
    /* The peer ended (err NULL) or the connection broke.  Call stream_close. */
    void (*on_end)(struct stream *s, const struct err *err);
    /* The queue of unsent bytes fell below the low mark again (may be NULL). */
    void (*on_drain)(struct stream *s);
    void (*on_closed)(struct stream *s);
};

struct stream_opts {
    struct tls_ctx *tls;      /* NULL: plain */
    const char *want_role;    /* refuse peers of another role (NULL: any) */
    const char *want_name;    /* and of another name (NULL: any); also the SNI */
    uint64_t connect_ms;      /* deadline for connect and handshake together */
    unsigned user_timeout_ms; /* TCP_USER_TIMEOUT, 0: leave it */
    size_t max_queue;         /* unsent bytes above which stream_write refuses; 0: 64 MiB */
    size_t low_mark;          /* on_drain when fewer are left again; 0: a quarter, at most 1 MiB */
};

/* `address` is "A.B.C.D:PORT", "[v6]:PORT" or "unix:PATH"; names are not resolved. */
int stream_connect(uv_loop_t *loop, const char *address, const struct stream_opts *opts,
                   const struct stream_cbs *cbs, void *data, struct stream **ret,
                   struct err *err) ERR_USED;

/* The copied bytes are sent in order.  ERR_LIMIT when the queue is full, ERR_CANCELED when closed.
 */
int stream_write(struct stream *s, const void *data, size_t len, struct err *err);
size_t stream_queued(const struct stream *s);
/* Send what is queued, then close; without `flush` close at once. */
void stream_close(struct stream *s, bool flush);
void stream_pause(struct stream *s, bool paused); /* stop or go on reading */
const struct stream_peer *stream_peer(const struct stream *s);
const char *stream_remote(const struct stream *s); /* printable address */
void *stream_data(const struct stream *s);
void stream_set_data(struct stream *s, void *data);
void stream_set_cbs(struct stream *s, const struct stream_cbs *cbs); /* for an accepted stream */

/* Accept connections.  on_accept gets streams that are open and verified; it must set callbacks and
 * data before it returns.  A peer that fails the handshake is logged with the reason and dropped.
 */
int listener_open(uv_loop_t *loop, const char *address, const struct stream_opts *opts,
                  void (*on_accept)(struct listener *l, struct stream *s), void *data,
                  struct listener **ret, struct err *err) ERR_USED;
void listener_close(struct listener *l);
void *listener_data(const struct listener *l);
/* The address really bound (for port 0). */
const char *listener_address(const struct listener *l);

#endif
