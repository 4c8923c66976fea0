#include "api/console_conn.h"

#include <stdlib.h>
#include <string.h>

#include "base/obj.h"

#define CONSOLE_CONN_MAGIC 0x636f6e73U
#define TICK_MS 2000U

struct console_conn {
    unsigned magic;
    uv_loop_t *loop;
    struct stream *stream; /* NULL: closed */
    struct console_conn_cbs cbs;
    void *data;
    struct buf in;
    uv_timer_t timer;
    uv_idle_t turn; /* bytes that waited are looked at in the next turn */
    unsigned handles;
    uint64_t heard_ms, pinged_ms;
    size_t queued; /* unsent bytes when they were looked at last */
    uint64_t moved_ms;
    bool paused, full, reading, ended, closing;
    bool eof; /* told when what came before it has been read */
    struct err eof_err;
};

static void conn_free(struct console_conn *c)
{
    if (c->handles == 0 && c->stream == NULL) {
        buf_done(&c->in);
        c->magic = 0;
        free(c);
    }
}

static void on_handle_closed(uv_handle_t *h)
{
    struct console_conn *c;

    OBJ_FROM(c, h->data, CONSOLE_CONN_MAGIC);
    c->handles--;
    conn_free(c);
}

static void on_stream_closed(struct stream *s)
{
    struct console_conn *c;

    OBJ_FROM(c, stream_data(s), CONSOLE_CONN_MAGIC);
    c->stream = NULL;
    conn_free(c);
}

void console_conn_close(struct console_conn *c)
{
    OBJ_CHECK(c, CONSOLE_CONN_MAGIC);
    if (c->closing) {
        return;
    }
    c->closing = true;
    uv_close((uv_handle_t *)&c->timer, on_handle_closed);
    uv_close((uv_handle_t *)&c->turn, on_handle_closed);
    stream_close(c->stream, true); /* what was said before it broke the protocol is still heard */
}

static void conn_end(struct console_conn *c, const struct err *err)
{
    if (!c->ended && !c->closing) {
        c->ended = true;
        c->cbs.on_end(c->data, err);
    }
}

/* --- sending --- */

static bool send_bytes(struct console_conn *c, struct buf *b)
{
    struct err err;

    if (!c->ended && !c->closing) {
        /* A failed write is followed by the end of the stream. */
        (void)stream_write(c->stream, b->data, b->len, &err);
        c->full = stream_queued(c->stream) > CONSOLE_HIGH;
    }
    buf_done(b);
    return !c->full;
}

bool console_conn_send(struct console_conn *c, enum console_frame type, const void *p, size_t len)
{
    struct buf b = { 0 };

    OBJ_CHECK(c, CONSOLE_CONN_MAGIC);
    console_put(&b, type, p, len);
    return send_bytes(c, &b);
}

bool console_conn_send_open(struct console_conn *c, const struct console_open *o)
{
    struct buf b = { 0 };

    OBJ_CHECK(c, CONSOLE_CONN_MAGIC);
    console_put_open(&b, o);
    return send_bytes(c, &b);
}

void console_conn_refuse(struct console_conn *c, const struct err *err)
{
    struct buf b = { 0 };

    OBJ_CHECK(c, CONSOLE_CONN_MAGIC);
    console_put_end(&b, err);
    (void)send_bytes(c, &b);
    console_conn_close(c);
}

/* --- receiving --- */

static void conn_frame(struct console_conn *c, enum console_frame type, const uint8_t *p,
                       size_t len)
{
    if (type == CONSOLE_PING && !c->full) {
        (void)console_conn_send(c, CONSOLE_PONG, "", 0);
    } else if (type != CONSOLE_PING && type != CONSOLE_PONG) {
        c->cbs.on_frame(c->data, type, p, len);
    }
}

static void conn_read(struct console_conn *c)
{
    enum console_frame type = CONSOLE_DATA;
    const uint8_t *p = NULL;
    size_t at = 0, len = 0, used;
    struct err err;

    CHECK(!c->reading);
    c->reading = true;
    while (!c->paused && !c->ended && !c->closing) {
        if (console_get(c->in.data + at, c->in.len - at, &type, &p, &len, &used, &err) != 0) {
            conn_end(c, &err);
            break;
        }
        if (used == 0) {
            break;
        }
        at += used;
        conn_frame(c, type, p, len);
    }
    buf_consume(&c->in, at);
    c->reading = false;
    if (c->eof && !c->paused) {
        conn_end(c, &c->eof_err);
    }
}

static void on_data(struct stream *s, const uint8_t *data, size_t len)
{
    struct console_conn *c;

    OBJ_FROM(c, stream_data(s), CONSOLE_CONN_MAGIC);
    c->heard_ms = uv_now(c->loop);
    buf_add(&c->in, data, len);
    conn_read(c);
}

static void on_turn(uv_idle_t *h)
{
    struct console_conn *c;

    OBJ_FROM(c, h->data, CONSOLE_CONN_MAGIC);
    (void)uv_idle_stop(h);
    conn_read(c);
}

void console_conn_pause(struct console_conn *c, bool paused)
{
    OBJ_CHECK(c, CONSOLE_CONN_MAGIC);
    if (c->closing || c->paused == paused) {
        return;
    }
    c->paused = paused;
    stream_pause(c->stream, paused);
    if (!paused) {
        c->heard_ms = uv_now(c->loop);
        CHECK(uv_idle_start(&c->turn, on_turn) == 0);
    }
}

static void on_end(struct stream *s, const struct err *err)
{
    struct console_conn *c;

    OBJ_FROM(c, stream_data(s), CONSOLE_CONN_MAGIC);
    (void)err_set(&c->eof_err, ERR_UNREACHABLE, "%.300s",
                  err == NULL ? "the connection was closed" : err->msg);
    c->eof = true;
    if (!c->reading) {
        conn_read(c);
    }
}

static void on_drain(struct stream *s)
{
    struct console_conn *c;

    OBJ_FROM(c, stream_data(s), CONSOLE_CONN_MAGIC);
    if (c->full && !c->ended && !c->closing) {
        c->full = false;
        if (c->cbs.on_room != NULL) {
            c->cbs.on_room(c->data);
        }
    }
}

static void on_tick(uv_timer_t *t)
{
    struct console_conn *c;
    uint64_t now;
    size_t queued;
    struct err err;

    OBJ_FROM(c, t->data, CONSOLE_CONN_MAGIC);
    now = uv_now(c->loop);
    queued = stream_queued(c->stream);
    if (queued == 0 || queued < c->queued) {
        c->moved_ms = now;
    }
    c->queued = queued;
    /* Also when reading is paused: bytes for a peer that is gone come back as an error. */
    if (now - c->pinged_ms >= CONSOLE_PING_MS && queued == 0) {
        c->pinged_ms = now;
        (void)console_conn_send(c, CONSOLE_PING, "", 0);
    }
    if (now - c->moved_ms > CONSOLE_SILENCE_MS) {
        (void)err_set(&err, ERR_TIMEOUT, "the other end takes nothing any more");
        conn_end(c, &err);
    } else if (!c->paused && now - c->heard_ms > CONSOLE_SILENCE_MS) {
        (void)err_set(&err, ERR_TIMEOUT, "the other end has been silent for %u s",
                      CONSOLE_SILENCE_MS / 1000U);
        conn_end(c, &err);
    }
}

static const struct stream_cbs conn_cbs = {
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_closed = on_stream_closed,
};

struct console_conn *console_conn_new(uv_loop_t *loop, struct stream *s, const uint8_t *rest,
                                      size_t len, const struct console_conn_cbs *cbs, void *data)
{
    struct console_conn *c = OBJ_NEW(struct console_conn);

    c->magic = CONSOLE_CONN_MAGIC;
    c->loop = loop;
    c->stream = s;
    c->cbs = *cbs;
    c->data = data;
    c->heard_ms = c->pinged_ms = c->moved_ms = uv_now(loop);
    c->timer.data = c;
    c->turn.data = c;
    c->handles = 2;
    CHECK(uv_timer_init(loop, &c->timer) == 0);
    CHECK(uv_idle_init(loop, &c->turn) == 0);
    CHECK(uv_timer_start(&c->timer, on_tick, TICK_MS, TICK_MS) == 0);
    stream_set_data(s, c);
    stream_set_cbs(s, &conn_cbs);
    if (len > 0) {
        buf_add(&c->in, rest, len);
        CHECK(uv_idle_start(&c->turn, on_turn) == 0);
    }
    return c;
}

void console_conn_own(struct console_conn *c, const struct console_conn_cbs *cbs, void *data)
{
    OBJ_CHECK(c, CONSOLE_CONN_MAGIC);
    c->cbs = *cbs;
    c->data = data;
}

const struct stream *console_conn_stream(const struct console_conn *c)
{
    OBJ_CHECK(c, CONSOLE_CONN_MAGIC);
    return c->stream;
}
