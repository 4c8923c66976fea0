#include "cmd/picketd/native.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "cmd/picketd/join.h"
#include "cmd/picketd/native_priv.h"
#include "cmd/picketd/v3.h"

#define TICK_MS 1000U

/* --- requests under way ------------------------------------------------------------------------
 */

static void conn_resume(struct native_conn *c);
static void on_turn(uv_idle_t *h);

void native_turn_soon(struct native *s)
{
    CHECK(uv_idle_start(&s->turn, on_turn) == 0);
}

struct native_work *native_work_new(struct native_conn *c, uint64_t id, size_t bytes)
{
    struct native_work *w = OBJ_NEW(struct native_work);

    w->magic = NATIVE_WORK_MAGIC;
    w->conn = c;
    w->node = c->server->node;
    w->id = id;
    w->bytes = bytes;
    LIST_INSERT_HEAD(&c->works, w, entry);
    c->n_works++;
    c->held += bytes;
    return w;
}

/* Out of the window. */
static void work_leave(struct native_work *w)
{
    struct native_conn *c = w->conn;

    LIST_REMOVE(w, entry);
    if (w->watching) {
        c->n_watches--;
        return;
    }
    CHECK(c->n_works > 0 && c->held >= w->bytes);
    c->n_works--;
    c->held -= w->bytes;
}

void native_work_done(struct native_work *w)
{
    struct native_conn *c = w->conn;

    OBJ_CHECK(w, NATIVE_WORK_MAGIC);
    CHECK(w->watch == NULL && w->http == NULL);
    arena_done(&w->arena);
    if (c != NULL) {
        work_leave(w);
        c->seen_ms = uv_now(w->node->loop);
        if (c->paused) {
            conn_resume(c);
        }
    }
    w->magic = 0;
    free(w);
}

bool native_work_watch(struct native_work *w)
{
    struct native_conn *c = w->conn;
    struct err err;

    if (c->n_watches >= NATIVE_WATCHES_MAX) {
        (void)err_set(&err, ERR_LIMIT, "a connection has at most %u watches", NATIVE_WATCHES_MAX);
        native_fail(w, &err);
        return false;
    }
    work_leave(w);
    w->watching = true;
    LIST_INSERT_HEAD(&c->watches, w, entry);
    c->n_watches++;
    return true;
}

/* --- sending -----------------------------------------------------------------------------------
 */

static void conn_drop(struct native_conn *c, const char *why);

void native_send(struct native_conn *c, const struct buf *frames)
{
    struct err err;

    if (!c->closing && stream_write(c->stream, frames->data, frames->len, &err) != 0) {
        conn_drop(c, err.msg);
    }
}

void native_say(struct native_work *w, struct native_ans *a)
{
    struct buf *out;

    if (w->conn == NULL) {
        return;
    }
    out = &w->conn->server->out;
    buf_clear(out);
    a->id = w->id;
    native_ans_encode(a, out);
    native_send(w->conn, out);
}

void native_answer(struct native_work *w, struct native_ans *a)
{
    native_say(w, a);
    native_work_done(w);
}

void native_fail(struct native_work *w, const struct err *err)
{
    if (w->conn != NULL) {
        struct buf *out = &w->conn->server->out;

        buf_clear(out);
        native_error_encode(w->id, err, out);
        native_send(w->conn, out);
    }
    native_work_done(w);
}

/* --- the end of a connection -------------------------------------------------------------------
 */

static void works_abandon(struct native_works *list)
{
    struct native_work *w;

    while ((w = LIST_FIRST(list)) != NULL) {
        struct http_req *http = w->http;

        w->http = NULL;
        native_watch_stop(w);
        if (http != NULL) {
            http_req_abort(http);
        }
        if (http != NULL || w->watching) {
            native_work_done(w);
            continue;
        }
        work_leave(w); /* its callback comes later and frees it */
        w->conn = NULL;
    }
}

static void conn_close(struct native_conn *c, bool flush)
{
    if (c->closing) {
        return;
    }
    c->closing = true;
    c->paused = false;
    stream_close(c->stream, flush);
    works_abandon(&c->works);
    works_abandon(&c->watches);
}

static void conn_drop(struct native_conn *c, const char *why)
{
    if (!c->closing) {
        lg_info("native", "peer=%s name=%s msg=\"dropped: %s\"", c->remote, c->peer.name, why);
        conn_close(c, false);
    }
}

static void on_closed(struct stream *st)
{
    struct native_conn *c;

    OBJ_FROM(c, stream_data(st), NATIVE_CONN_MAGIC);
    CHECK(LIST_EMPTY(&c->works) && LIST_EMPTY(&c->watches));
    LIST_REMOVE(c, link);
    c->server->n_conns--;
    buf_done(&c->in);
    c->magic = 0;
    free(c);
}

/* What came is not the protocol: say so and go. */
static void conn_refuse(struct native_conn *c, uint64_t id, const struct err *err)
{
    struct buf *out = &c->server->out;

    lg_info("native", "peer=%s name=%s msg=\"refused: %s\"", c->remote, c->peer.name, err->msg);
    buf_clear(out);
    native_error_encode(id, err, out);
    native_send(c, out);
    conn_close(c, true);
}

/* --- receiving ---------------------------------------------------------------------------------
 */

static bool conn_full(const struct native_conn *c)
{
    return c->n_works >= NATIVE_WINDOW_REQUESTS || c->held >= NATIVE_WINDOW_BYTES ||
           native_blocked(c);
}

static bool id_in_use(const struct native_conn *c, uint64_t id)
{
    const struct native_work *w;

    /* Only what stays long is looked at: two short requests under one id only confuse the client
     * that sent them. */
    LIST_FOREACH(w, &c->watches, entry)
    {
        if (w->id == id) {
            return true;
        }
    }
    return false;
}

static void conn_cancel(struct native_work *w, uint64_t id)
{
    struct native_ans end = { .kind = NATIVE_END };
    struct native_ans ok = { .kind = NATIVE_NUMBERS, .rev = store_rev(w->node->store) };
    struct native_work *x;
    struct http_req *http;
    struct err err;

    LIST_FOREACH(x, &w->conn->watches, entry)
    {
        if (x->id == id) {
            http = x->http;
            x->http = NULL;
            native_watch_stop(x);
            if (http != NULL) {
                http_req_abort(http);
            }
            native_answer(x, &end);
            native_answer(w, &ok);
            return;
        }
    }
    (void)err_set(&err, ERR_NOT_FOUND, "no watch has the id %llu", (unsigned long long)id);
    native_fail(w, &err);
}

static void conn_serve(struct native_conn *c, struct native_req *req, const void *frame, size_t len)
{
    struct native_work *w = native_work_new(c, req->id, len);
    struct err err;

    if (c->n_watches > 0 && id_in_use(c, req->id)) {
        (void)err_set(&err, ERR_BAD_REQUEST, "the id %llu is in use by a watch",
                      (unsigned long long)req->id);
        native_fail(w, &err);
    } else if (req->call == NATIVE_OBJECT) {
        native_object(w, req);
    } else if (v3_allowed(&c->peer, &err) != 0) {
        native_fail(w, &err);
    } else if (req->call == NATIVE_WATCH) {
        native_watch(w, req);
    } else if (req->call == NATIVE_CANCEL) {
        conn_cancel(w, req->number);
    } else {
        native_kv(w, req, frame, len);
    }
}

/* One frame; false when the connection is of no more use. */
static bool conn_frame(struct native_conn *c, const uint8_t *frame, size_t len)
{
    struct arena a = { 0 };
    struct native_req req;
    struct err err;
    int rc = native_req_decode(frame, len, &a, &req, &err);

    if (rc == 0) {
        conn_serve(c, &req, frame, len);
    } else if (rc == ERR_UNSUPPORTED && req.id != 0) {
        native_fail(native_work_new(c, req.id, 0), &err); /* a newer client: it may go on */
    } else {
        conn_refuse(c, req.id, &err);
    }
    arena_done(&a);
    return !c->closing;
}

/* Whole frames at the front of [p, len): returns how many bytes they were. */
static size_t conn_frames(struct native_conn *c, const uint8_t *p, size_t len)
{
    size_t used = 0, n = 0;
    struct err err;
    bool whole;

    while (!c->closing && !c->full) {
        if (native_frame(p + used, len - used, NATIVE_MAX_REQUEST, &n, &whole, &err) != 0) {
            conn_refuse(c, 0, &err);
            break;
        }
        if (!whole) {
            break;
        }
        if (!conn_frame(c, p + used + NATIVE_HEAD, n)) {
            break;
        }
        used += NATIVE_HEAD + n;
        c->full = conn_full(c);
    }
    return used;
}

static void conn_read(struct native_conn *c, const uint8_t *data, size_t len)
{
    size_t used;

    CHECK(!c->reading);
    c->reading = true;
    c->seen_ms = uv_now(c->server->node->loop);
    if (c->in.len > 0) {
        buf_add(&c->in, data, len);
        used = conn_frames(c, c->in.data, c->in.len);
        if (!c->closing) {
            buf_consume(&c->in, used);
        }
    } else {
        used = conn_frames(c, data, len);
        if (!c->closing) {
            buf_add(&c->in, data + used, len - used);
        }
    }
    c->reading = false;
    if (!c->closing && c->full && !c->paused) {
        c->paused = true;
        stream_pause(c->stream, true);
    }
    if (c->closing || c->in.len == 0) {
        buf_done(&c->in);
    }
}

/* There may be room again: go on in the next turn, from the top of the stack. */
static void conn_resume(struct native_conn *c)
{
    if (c->closing || !c->full) {
        return;
    }
    if (c->n_works > NATIVE_WINDOW_REQUESTS / 2 || c->held > NATIVE_WINDOW_BYTES / 2 ||
        native_blocked(c)) {
        return;
    }
    c->full = false;
    native_turn_soon(c->server);
}

static void on_data(struct stream *st, const uint8_t *data, size_t len)
{
    struct native_conn *c;

    OBJ_FROM(c, stream_data(st), NATIVE_CONN_MAGIC);
    if (!c->closing) {
        conn_read(c, data, len);
    }
}

static void on_end(struct stream *st, const struct err *err)
{
    struct native_conn *c;

    OBJ_FROM(c, stream_data(st), NATIVE_CONN_MAGIC);
    (void)err;
    conn_close(c, false);
}

static void on_drain(struct stream *st)
{
    struct native_conn *c;
    struct native_work *w, *next;

    OBJ_FROM(c, stream_data(st), NATIVE_CONN_MAGIC);
    for (w = LIST_FIRST(&c->watches); w != NULL && !c->closing; w = next) {
        next = LIST_NEXT(w, entry);
        if (w->watch != NULL) {
            native_watch_dirty(w);
        } else if (w->http != NULL) {
            http_req_drain(w->http);
        }
    }
    conn_resume(c);
}

static const struct stream_cbs native_cbs = {
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_closed = on_closed,
};

/* --- opening -----------------------------------------------------------------------------------
 */

static void conn_hello(struct native_conn *c)
{
    const char *name = c->server->node->opts.name;
    struct native_ans a = { .kind = NATIVE_HELLO,
                            .number = NATIVE_VERSION,
                            .number2 = NATIVE_WINDOW_REQUESTS,
                            .number3 = NATIVE_WINDOW_BYTES };

    a.text = (struct native_bytes){ (const uint8_t *)name, strlen(name) };
    buf_clear(&c->server->out);
    native_ans_encode(&a, &c->server->out);
    native_send(c, &c->server->out);
}

static void native_take(void *data, struct stream *st, const uint8_t *rest, size_t len)
{
    struct native *s = data;
    struct native_conn *c = OBJ_NEW(struct native_conn);

    c->magic = NATIVE_CONN_MAGIC;
    c->server = s;
    c->stream = st;
    c->peer = *stream_peer(st);
    (void)str_copy(c->remote, sizeof(c->remote), stream_remote(st));
    c->seen_ms = c->moved_ms = uv_now(s->node->loop);
    LIST_INSERT_HEAD(&s->conns, c, link);
    s->n_conns++;
    stream_set_data(st, c);
    stream_set_cbs(st, &native_cbs);
    conn_hello(c);
    if (len > 0 && !c->closing) {
        conn_read(c, rest, len);
    }
}

static int native_may(const struct native *s, const struct http_req *req, struct err *err)
{
    if (!str_eq(req->method, "GET")) {
        return err_set(err, ERR_METHOD, "%s needs GET", NATIVE_PATH);
    }
    if (req->peer.role[0] == 0 || str_eq(req->peer.role, JOIN_ROLE)) {
        return err_set(err, ERR_UNAUTHORIZED, "a client certificate of this cluster is needed");
    }
    if (s->n_conns >= NATIVE_CONNS_MAX) {
        return err_set(err, ERR_LIMIT, "there are %u connections of this kind already",
                       NATIVE_CONNS_MAX);
    }
    return 0;
}

void native_request(struct rest *r)
{
    struct native *s = r->node->native;
    struct err err;

    if (native_may(s, r->req, &err) != 0) {
        rest_err(r, &err);
        return;
    }
    if (!http_upgrade(r->req, NATIVE_PROTOCOL, native_take, s)) {
        (void)err_set(&err, ERR_BAD_REQUEST,
                      "%s speaks \"Upgrade: %s\" only, on a connection of its own", NATIVE_PATH,
                      NATIVE_PROTOCOL);
        rest_err(r, &err);
        return;
    }
    rest_free(r);
}

/* --- turns and time ----------------------------------------------------------------------------
 */

static void on_turn(uv_idle_t *h)
{
    struct native *s = h->data;
    struct native_conn *c, *next;

    (void)uv_idle_stop(h);
    native_watch_turn(s);
    for (c = LIST_FIRST(&s->conns); c != NULL; c = next) {
        next = LIST_NEXT(c, link); /* closing never frees at once */
        if (c->paused && !c->full && !c->closing) {
            c->paused = false;
            stream_pause(c->stream, false);
            conn_read(c, (const uint8_t *)"", 0);
        }
    }
}

static void conn_check(struct native_conn *c, uint64_t now)
{
    size_t queued = stream_queued(c->stream);

    if (queued == 0 || queued < c->queued) {
        c->moved_ms = now;
    }
    c->queued = queued;
    if (now - c->moved_ms > NATIVE_STUCK_MS) {
        conn_drop(c, "it takes nothing any more");
    } else if (c->n_works == 0 && c->n_watches == 0 && now - c->seen_ms > NATIVE_IDLE_MS) {
        conn_close(c, true);
    }
}

static void on_tick(uv_timer_t *t)
{
    struct native *s = t->data;
    bool marks = ++s->ticks % (NATIVE_MARK_MS / TICK_MS) == 0;
    uint64_t now = uv_now(s->node->loop);
    struct native_conn *c;
    struct native_work *w, *next;

    LIST_FOREACH(c, &s->conns, link)
    {
        if (!c->closing) {
            conn_check(c, now);
        }
        for (w = LIST_FIRST(&c->watches); marks && w != NULL; w = next) {
            next = LIST_NEXT(w, entry);
            native_watch_mark(w);
            next = c->closing ? NULL : next;
        }
    }
}

size_t native_conns(const struct native *s)
{
    return s->n_conns;
}

struct native *native_new(struct node *n)
{
    struct native *s = OBJ_NEW(struct native);

    s->node = n;
    LIST_INIT(&s->conns);
    TAILQ_INIT(&s->dirty);
    s->turn.data = s;
    s->timer.data = s;
    CHECK(uv_idle_init(n->loop, &s->turn) == 0);
    CHECK(uv_timer_init(n->loop, &s->timer) == 0);
    CHECK(uv_timer_start(&s->timer, on_tick, TICK_MS, TICK_MS) == 0);
    return s;
}
