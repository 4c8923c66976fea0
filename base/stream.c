/* One byte stream: connect or be accepted, handshake, read, write, close.
 *
 * Everything that could call back is put off to the idle handle or comes from libuv's own
 * callbacks, so that no call of the public interface re-enters its caller.  Writes of one turn of
 * the loop are collected and go out together, which makes one TLS record and one system call of
 * many small ones.
 */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <sys/socket.h>

#include "base/obj.h"
#include "base/str.h"
#include "base/stream_priv.h"

#define STREAM_QUEUE_DEFAULT (64U << 20)
#define STREAM_LOW_MAX (1U << 20)
#define STREAM_CONNECT_MS 5000
#define STREAM_FLUSH_MS 5000 /* without progress */

static _Thread_local uint8_t stream_read_buf[STREAM_READ_MAX];
static _Thread_local uint8_t stream_plain_buf[STREAM_RECORD];

static void stream_pump(struct stream *s);
static void stream_start_reading(struct stream *s);

/* --- life and death --- */

static void stream_idle_cb(uv_idle_t *h)
{
    struct stream *s;

    OBJ_FROM(s, h->data, STREAM_MAGIC);
    (void)uv_idle_stop(h);
    if (s->tls.ctx != NULL && s->state == STREAM_OPEN && !s->paused && !s->eof) {
        stream_pump(s);
    }
    stream_flush(s);
}

void stream_kick(struct stream *s)
{
    CHECK(uv_idle_start(&s->idle, stream_idle_cb) == 0);
}

/* libuv writes without MSG_NOSIGNAL, and a peer that resets must not end the process.  A program
 * that has its own handler keeps it. */
static void stream_ignore_sigpipe(void)
{
    struct sigaction sa;

    if (sigaction(SIGPIPE, NULL, &sa) == 0 && (sa.sa_flags & SA_SIGINFO) == 0 &&
        sa.sa_handler == SIG_DFL) {
        (void)signal(SIGPIPE, SIG_IGN);
    }
}

struct stream *stream_alloc(uv_loop_t *loop, bool is_pipe, const struct stream_opts *opts)
{
    struct stream *s = OBJ_NEW(struct stream);

    stream_ignore_sigpipe();
    s->magic = STREAM_MAGIC;
    s->loop = loop;
    s->is_pipe = is_pipe;
    s->state = STREAM_CONNECTING;
    s->max_queue = opts->max_queue != 0 ? opts->max_queue : STREAM_QUEUE_DEFAULT;
    s->low_mark = opts->low_mark != 0 ? opts->low_mark : s->max_queue / 4;
    if (opts->low_mark == 0 && s->low_mark > STREAM_LOW_MAX) {
        s->low_mark = STREAM_LOW_MAX;
    }
    if (is_pipe) {
        CHECK(uv_pipe_init(loop, &s->u.pipe, 0) == 0);
    } else {
        CHECK(uv_tcp_init(loop, &s->u.tcp) == 0);
    }
    CHECK(uv_timer_init(loop, &s->timer) == 0);
    CHECK(uv_idle_init(loop, &s->idle) == 0);
    s->u.handle.data = s;
    s->timer.data = s;
    s->idle.data = s;
    s->handles = 3;
    return s;
}

static void stream_handle_closed(uv_handle_t *h)
{
    struct stream *s;

    OBJ_FROM(s, h->data, STREAM_MAGIC);
    if (--s->handles > 0) {
        return;
    }
    if (s->cbs.on_closed != NULL) {
        s->cbs.on_closed(s);
    }
    tls_conn_done(&s->tls);
    buf_done(&s->pend);
    buf_done(&s->wire);
    buf_done(&s->flight);
    s->magic = 0;
    free(s);
}

void stream_close_now(struct stream *s)
{
    if (s->state == STREAM_CLOSED) {
        return;
    }
    CHECK(s->listener == NULL);
    s->state = STREAM_CLOSED;
    uv_close(&s->u.handle, stream_handle_closed);
    uv_close((uv_handle_t *)&s->timer, stream_handle_closed);
    uv_close((uv_handle_t *)&s->idle, stream_handle_closed);
}

/* Send what is queued, then say goodbye and linger (stream_shutdown). */
static void stream_begin_flush(struct stream *s)
{
    s->state = STREAM_FLUSHING;
    s->flush_seen = stream_queued(s);
    stream_start_reading(s); /* to notice the end; bytes are dropped */
    CHECK(uv_timer_start(&s->timer, stream_timer_cb, STREAM_FLUSH_MS, STREAM_FLUSH_MS) == 0);
    stream_kick(s);
}

void stream_broke(struct stream *s, const struct err *err)
{
    switch (s->state) {
    case STREAM_CONNECTING:
    case STREAM_HANDSHAKE:
        if (s->listener != NULL) {
            listener_handshake_done(s, err);
            stream_begin_flush(s); /* the peer shall read the alert that says why */
            return;
        }
        if (s->cbs.on_open != NULL) {
            s->cbs.on_open(s, err);
        }
        stream_close_now(s);
        return;
    case STREAM_OPEN:
        s->state = STREAM_ENDED;
        (void)uv_read_stop(&s->u.stream);
        if (!s->eof && s->cbs.on_end != NULL) {
            s->eof = true;
            s->cbs.on_end(s, err);
        }
        return;
    case STREAM_FLUSHING:
    case STREAM_LINGERING:
        stream_close_now(s);
        return;
    case STREAM_ENDED:
    case STREAM_CLOSED:
        return;
    }
    CHECK_UNREACHABLE();
}

void stream_timer_cb(uv_timer_t *h)
{
    struct stream *s;
    struct err err;

    OBJ_FROM(s, h->data, STREAM_MAGIC);
    if (s->state == STREAM_FLUSHING) {
        size_t left = stream_queued(s);

        if (left < s->flush_seen) {
            s->flush_seen = left;
            return; /* the peer takes it, slowly */
        }
        stream_close_now(s);
    } else if (s->state == STREAM_LINGERING) {
        stream_close_now(s);
    } else {
        (void)err_set(&err, ERR_UNREACHABLE, "%s %s: no answer in time",
                      s->state == STREAM_HANDSHAKE ? "TLS handshake with" : "connect", s->remote);
        stream_broke(s, &err);
    }
}

/* --- reading --- */

static void stream_peer_ended(struct stream *s, ssize_t status)
{
    struct err err;

    if (s->state == STREAM_LINGERING || (s->state == STREAM_FLUSHING && status != UV_EOF)) {
        stream_close_now(s);
    } else if (s->state == STREAM_FLUSHING) {
        s->eof = true;
        (void)uv_read_stop(&s->u.stream);
    } else if (status != UV_EOF) {
        (void)err_native(&err, ERR_UNREACHABLE, "uv", (int)status, "connection with %s broke: %s",
                         s->remote, uv_strerror((int)status));
        stream_broke(s, &err);
    } else if (s->state == STREAM_OPEN && s->tls.ctx == NULL) {
        s->eof = true;
        (void)uv_read_stop(&s->u.stream);
        if (s->cbs.on_end != NULL) {
            s->cbs.on_end(s, NULL);
        }
    } else {
        (void)err_set(&err, ERR_UNREACHABLE, "%s closed the connection %s", s->remote,
                      s->state == STREAM_OPEN ? "without saying so (TLS close_notify)"
                                              : "during the TLS handshake");
        stream_broke(s, &err);
    }
}

static void stream_read_cb(uv_stream_t *h, ssize_t n, const uv_buf_t *b)
{
    struct stream *s;

    OBJ_FROM(s, h->data, STREAM_MAGIC);
    if (n < 0) {
        stream_peer_ended(s, n);
    } else if (n > 0 && (s->state == STREAM_OPEN || s->state == STREAM_HANDSHAKE)) {
        if (s->tls.ctx != NULL) {
            tls_conn_feed(&s->tls, b->base, (size_t)n);
            stream_pump(s);
        } else if (s->cbs.on_data != NULL) {
            s->cbs.on_data(s, (const uint8_t *)b->base, (size_t)n);
        }
    }
}

static void stream_alloc_cb(uv_handle_t *h, size_t want, uv_buf_t *b)
{
    (void)h;
    (void)want;
    *b = uv_buf_init((char *)stream_read_buf, sizeof(stream_read_buf));
}

static void stream_start_reading(struct stream *s)
{
    if (!s->eof) {
        (void)uv_read_start(&s->u.stream, stream_alloc_cb, stream_read_cb);
    }
}

static void stream_become_open(struct stream *s)
{
    s->state = STREAM_OPEN;
    (void)uv_timer_stop(&s->timer);
    if (s->listener != NULL) {
        listener_handshake_done(s, NULL);
    } else if (s->cbs.on_open != NULL) {
        s->cbs.on_open(s, NULL);
    }
    if (s->state != STREAM_OPEN) {
        return;
    }
    stream_kick(s); /* what was written before, and what came with the last handshake message */
    if (s->paused) {
        (void)uv_read_stop(&s->u.stream);
    } else {
        stream_start_reading(s);
    }
}

static void stream_pump_handshake(struct stream *s)
{
    X509 *cert;
    struct err err;
    bool done;
    int rc;

    rc = tls_conn_handshake(&s->tls, &done, &err);
    tls_conn_take(&s->tls, &s->wire);
    stream_flush(s); /* the alert, when it failed */
    if (rc == 0 && !done) {
        return;
    }
    if (rc == 0) {
        cert = SSL_get1_peer_certificate(s->tls.ssl);
        CHECK(cert != NULL);
        rc = tls_peer_from_cert(cert, &s->peer, &err);
        X509_free(cert);
    }
    if (rc != 0) {
        (void)err_wrap(&err, "%s", s->remote);
        stream_broke(s, &err);
    } else if (s->state == STREAM_HANDSHAKE) {
        stream_become_open(s);
    }
}

/* Hand out what TLS has decrypted. */
static void stream_pump(struct stream *s)
{
    struct err err;
    bool eof = false;
    size_t n;

    if (s->state == STREAM_HANDSHAKE) {
        stream_pump_handshake(s);
        return;
    }
    while (s->state == STREAM_OPEN && !s->paused && !s->eof) {
        if (tls_conn_read(&s->tls, stream_plain_buf, sizeof(stream_plain_buf), &n, &eof, &err) !=
            0) {
            (void)err_wrap(&err, "%s", s->remote);
            stream_broke(s, &err);
            return;
        }
        if (eof) {
            s->eof = true;
            (void)uv_read_stop(&s->u.stream);
            if (s->cbs.on_end != NULL) {
                s->cbs.on_end(s, NULL);
            }
            return;
        }
        if (n == 0) {
            break;
        }
        if (s->cbs.on_data != NULL) {
            s->cbs.on_data(s, stream_plain_buf, n);
        }
    }
    if (s->state == STREAM_OPEN && BIO_pending(s->tls.out) > 0) {
        stream_kick(s); /* an answer of TLS itself, such as a key update */
    }
}

/* --- opening --- */

static void stream_peer_cred(struct stream *s)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);
    uv_os_fd_t fd;

    s->peer.local = true;
    s->peer.uid = UINT32_MAX;
    if (uv_fileno(&s->u.handle, &fd) == 0 &&
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0) {
        s->peer.uid = cred.uid;
        s->peer.pid = cred.pid;
    }
}

static void stream_begin(struct stream *s)
{
    if (s->is_pipe) {
        stream_peer_cred(s);
    }
    if (s->tls.ctx == NULL) {
        stream_become_open(s);
        return;
    }
    s->state = STREAM_HANDSHAKE;
    stream_start_reading(s);
    stream_pump(s);
}

void stream_start_accepted(struct stream *s, uint64_t deadline_ms)
{
    CHECK(uv_timer_start(&s->timer, stream_timer_cb,
                         deadline_ms != 0 ? deadline_ms : STREAM_CONNECT_MS, 0) == 0);
    stream_begin(s);
}

static void stream_connect_cb(uv_connect_t *req, int status)
{
    struct stream *s = CONTAINER_OF(req, struct stream, connect_req);
    struct err err;

    OBJ_CHECK(s, STREAM_MAGIC);
    if (s->state != STREAM_CONNECTING) {
        return;
    }
    if (status < 0) {
        (void)err_native(&err, ERR_UNREACHABLE, "uv", status, "connect %s: %s", s->remote,
                         uv_strerror(status));
        stream_broke(s, &err);
        return;
    }
    stream_begin(s);
}

static int stream_dial(struct stream *s, const struct stream_addr *addr,
                       const struct stream_opts *opts, struct err *err)
{
    int r;

    if (s->is_pipe) {
        uv_pipe_connect(&s->connect_req, &s->u.pipe, addr->path, stream_connect_cb);
    } else {
        r = uv_tcp_connect(&s->connect_req, &s->u.tcp, (const struct sockaddr *)&addr->ss,
                           stream_connect_cb);
        if (r != 0) {
            return err_native(err, ERR_UNREACHABLE, "uv", r, "connect %s: %s", s->remote,
                              uv_strerror(r));
        }
        stream_tcp_tune(s, opts->user_timeout_ms);
    }
    CHECK(uv_timer_start(&s->timer, stream_timer_cb,
                         opts->connect_ms != 0 ? opts->connect_ms : STREAM_CONNECT_MS, 0) == 0);
    return 0;
}

int stream_connect(uv_loop_t *loop, const char *address, const struct stream_opts *opts,
                   const struct stream_cbs *cbs, void *data, struct stream **ret, struct err *err)
{
    struct stream_addr addr;
    struct stream *s;
    int rc;

    rc = stream_addr_parse(address, &addr, err);
    if (rc != 0) {
        return rc;
    }
    s = stream_alloc(loop, addr.is_pipe, opts);
    (void)str_copy(s->remote, sizeof(s->remote), address);
    if (opts->tls != NULL) {
        rc = tls_conn_init(&s->tls, opts->tls, false, opts->want_role, opts->want_name, err);
    }
    rc = rc != 0 ? rc : stream_dial(s, &addr, opts, err);
    if (rc != 0) {
        stream_close_now(s); /* without callbacks: they are not set yet */
        return rc;
    }
    s->cbs = *cbs;
    s->data = data;
    *ret = s;
    return 0;
}

/* --- the rest of the interface --- */

void stream_close(struct stream *s, bool flush)
{
    OBJ_CHECK(s, STREAM_MAGIC);
    if (!flush || s->state < STREAM_OPEN || s->state == STREAM_ENDED) {
        if (s->listener == NULL) {
            stream_close_now(s);
        }
        return;
    }
    if (s->state != STREAM_OPEN) {
        return; /* under way */
    }
    stream_begin_flush(s);
}

void stream_pause(struct stream *s, bool paused)
{
    OBJ_CHECK(s, STREAM_MAGIC);
    if (s->paused == paused) {
        return;
    }
    s->paused = paused;
    if (s->state != STREAM_OPEN) {
        return;
    }
    if (paused) {
        (void)uv_read_stop(&s->u.stream);
        return;
    }
    stream_start_reading(s);
    if (s->tls.ctx != NULL) {
        stream_kick(s); /* what was decrypted or received before the pause */
    }
}

const struct stream_peer *stream_peer(const struct stream *s)
{
    OBJ_CHECK(s, STREAM_MAGIC);
    return &s->peer;
}

const char *stream_remote(const struct stream *s)
{
    OBJ_CHECK(s, STREAM_MAGIC);
    return s->remote;
}

void *stream_data(const struct stream *s)
{
    OBJ_CHECK(s, STREAM_MAGIC);
    return s->data;
}

void stream_set_data(struct stream *s, void *data)
{
    OBJ_CHECK(s, STREAM_MAGIC);
    s->data = data;
}

void stream_set_cbs(struct stream *s, const struct stream_cbs *cbs)
{
    OBJ_CHECK(s, STREAM_MAGIC);
    s->cbs = *cbs;
}
