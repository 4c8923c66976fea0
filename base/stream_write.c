/* The way out of a stream: queue, encrypt, send, and the orderly end. */

#include <stdlib.h>

#include "base/obj.h"
#include "base/stream_priv.h"

#define STREAM_LINGER_MS 1000
#define STREAM_ENCRYPT (256U << 10) /* at most so much ciphertext ahead of the socket */
#define STREAM_KEEP (256U << 10)    /* buffers above this size are given back when empty */

static void stream_buf_reset(struct buf *b)
{
    if (b->cap > STREAM_KEEP) {
        buf_done(b);
    } else {
        buf_clear(b);
    }
}

static void stream_buf_swap(struct buf *a, struct buf *b)
{
    struct buf t = *a;

    *a = *b;
    *b = t;
}

/* Encrypt a bounded part of what waits. */
static int stream_encrypt(struct stream *s, struct err *err)
{
    int rc;

    while (s->pend_off < s->pend.len && s->wire.len < STREAM_ENCRYPT) {
        size_t n = s->pend.len - s->pend_off;

        n = n > STREAM_RECORD ? STREAM_RECORD : n;
        rc = tls_conn_write(&s->tls, s->pend.data + s->pend_off, n, err);
        if (rc != 0) {
            return rc;
        }
        s->pend_off += n;
        tls_conn_take(&s->tls, &s->wire);
    }
    if (s->pend_off == s->pend.len) {
        stream_buf_reset(&s->pend);
        s->pend_off = 0;
    } else if (s->pend_off >= s->pend.len - s->pend_off) {
        buf_consume(&s->pend, s->pend_off); /* moves no more than it drops */
        s->pend_off = 0;
    }
    return 0;
}

/* Put the next bytes for the socket into s->flight. */
static int stream_fill_flight(struct stream *s, struct err *err)
{
    int rc;

    CHECK(s->flight.len == 0);
    if (s->tls.ctx == NULL) {
        stream_buf_swap(&s->pend, &s->flight);
        return 0;
    }
    tls_conn_take(&s->tls, &s->wire);
    if (s->state == STREAM_OPEN || s->state == STREAM_FLUSHING) {
        rc = stream_encrypt(s, err);
        if (rc != 0) {
            return rc;
        }
    }
    stream_buf_swap(&s->wire, &s->flight);
    return 0;
}

static void stream_write_cb(uv_write_t *req, int status)
{
    struct stream *s = CONTAINER_OF(req, struct stream, write_req);
    struct err err;

    OBJ_CHECK(s, STREAM_MAGIC);
    s->writing = false;
    stream_buf_reset(&s->flight);
    if (s->state == STREAM_CLOSED) {
        return;
    }
    if (status < 0) {
        (void)err_native(&err, ERR_UNREACHABLE, "uv", status, "write to %s: %s", s->remote,
                         uv_strerror(status));
        stream_broke(s, &err);
        return;
    }
    stream_flush(s);
}

static int stream_send_flight(struct stream *s, struct err *err)
{
    uv_buf_t b = uv_buf_init((char *)s->flight.data, (unsigned)s->flight.len);
    int r = uv_try_write(&s->u.stream, &b, 1);

    if (r == UV_EAGAIN) {
        r = 0;
    }
    if (r >= 0 && (size_t)r == s->flight.len) {
        stream_buf_reset(&s->flight);
        return 0;
    }
    if (r >= 0) {
        b.base += r;
        b.len -= (size_t)r;
        r = uv_write(&s->write_req, &s->u.stream, &b, 1, stream_write_cb);
        s->writing = r == 0;
    }
    if (r < 0) {
        buf_clear(&s->flight);
        return err_native(err, ERR_UNREACHABLE, "uv", r, "write to %s: %s", s->remote,
                          uv_strerror(r));
    }
    return 0;
}

/* Everything is out: tell the peer, and give it a moment to read before the socket goes (a close
 * with unread input makes the kernel send a reset, which can destroy our last bytes). */
static void stream_shutdown(struct stream *s)
{
    if (s->tls.ctx != NULL) {
        tls_conn_shutdown(&s->tls);
    }
    s->state = STREAM_LINGERING;
    stream_flush(s);
    if (s->state != STREAM_LINGERING) {
        return;
    }
    if (s->eof || uv_shutdown(&s->shutdown_req, &s->u.stream, NULL) != 0) {
        stream_close_now(s);
        return;
    }
    CHECK(uv_timer_start(&s->timer, stream_timer_cb, STREAM_LINGER_MS, 0) == 0);
}

void stream_flush(struct stream *s)
{
    struct err err;
    int rc;

    if (s->state == STREAM_CONNECTING || s->state == STREAM_ENDED || s->state == STREAM_CLOSED) {
        return;
    }
    while (!s->writing) {
        rc = stream_fill_flight(s, &err);
        if (rc == 0 && s->flight.len == 0) {
            break;
        }
        rc = rc != 0 ? rc : stream_send_flight(s, &err);
        if (rc != 0) {
            stream_broke(s, &err);
            return;
        }
    }
    if (s->state == STREAM_FLUSHING && stream_queued(s) == 0) {
        stream_shutdown(s);
    } else if (s->state == STREAM_OPEN && s->above_low && stream_queued(s) <= s->low_mark) {
        s->above_low = false;
        if (s->cbs.on_drain != NULL) {
            s->cbs.on_drain(s);
        }
    }
}

int stream_write(struct stream *s, const void *data, size_t len, struct err *err)
{
    size_t queued;

    OBJ_CHECK(s, STREAM_MAGIC);
    if (s->state > STREAM_OPEN) {
        return err_set(err, ERR_CANCELED, "write to %s: the connection is closed", s->remote);
    }
    queued = stream_queued(s);
    if (len > s->max_queue || queued > s->max_queue - len) {
        return err_set(err, ERR_LIMIT, "write to %s: %zu bytes are waiting already", s->remote,
                       queued);
    }
    buf_add(&s->pend, data, len);
    if (queued + len > s->low_mark) {
        s->above_low = true;
    }
    if (s->state == STREAM_OPEN && !s->writing) {
        stream_kick(s);
    }
    return 0;
}

size_t stream_queued(const struct stream *s)
{
    OBJ_CHECK(s, STREAM_MAGIC);
    return s->pend.len - s->pend_off + s->wire.len +
           (s->writing ? uv_stream_get_write_queue_size(&s->u.stream) : 0);
}
