#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/xen_move_priv.h"

/* The connections of moves: the source calls, the target listens. */

#define RETRY_MS 500U
#define CONNECT_MS 10000U
#define DEAD_MS 30000U /* a peer that acknowledges nothing for so long is gone */
#define AGENT_ROLE "picket:agents"

/* --- connecting --------------------------------------------------------------------------------
 */

static void on_open(struct stream *s, const struct err *err);
static void on_data(struct stream *s, const uint8_t *data, size_t len);
static void on_end(struct stream *s, const struct err *err);
static void on_drain(struct stream *s);
static void on_stream_closed(struct stream *s);

void xen_move_connect(struct xen_move *v)
{
    static const struct stream_cbs cbs = { .on_open = on_open,
                                           .on_data = on_data,
                                           .on_end = on_end,
                                           .on_drain = on_drain,
                                           .on_closed = on_stream_closed };
    struct stream_opts o = { .tls = v->m->tls,
                             .want_role = v->m->tls == NULL ? NULL : AGENT_ROLE,
                             .want_name = v->m->tls == NULL ? NULL : v->peer,
                             .connect_ms = CONNECT_MS,
                             .user_timeout_ms = DEAD_MS };
    struct err err;

    xen_frames_done(&v->frames);
    v->frames = (struct xen_frames){ 0 };
    if (stream_connect(&v->m->loop, v->address, &o, &cbs, v, &v->s, &err) != 0) {
        v->s = NULL;
        xen_move_fail(v, &err);
        return;
    }
    v->open++;
}

static void on_retry(uv_timer_t *t)
{
    xen_move_connect(t->data);
}

static void try_again(struct xen_move *v, const struct err *err)
{
    struct err e = *err;

    xen_move_disconnect(v, false);
    if (clock_now_ms() + RETRY_MS > v->until_ms) {
        (void)err_wrap(&e, "%s does not take the guest", v->peer);
        xen_move_fail(v, &e);
        return;
    }
    CHECK(uv_timer_start(&v->timer, on_retry, RETRY_MS, 0) == 0);
}

static void on_open(struct stream *s, const struct err *err)
{
    struct xen_move *v;
    struct buf b = { 0 };
    struct err e;

    OBJ_FROM(v, stream_data(s), MOVE_MAGIC);
    if (v->s != s) {
        return; /* given up meanwhile */
    }
    if (err != NULL) {
        v->s = NULL; /* it closes itself */
        try_again(v, err);
        return;
    }
    xen_hello_put(&b, &v->hello);
    if (stream_write(s, b.data, b.len, &e) != 0) {
        try_again(v, &e);
    }
    buf_done(&b);
}

static void on_data(struct stream *s, const uint8_t *data, size_t len)
{
    struct xen_move *v;
    struct err err;

    OBJ_FROM(v, stream_data(s), MOVE_MAGIC);
    if (v->s != s || xen_frames_feed(&v->frames, data, len, xen_move_frame, v, &err) == 0) {
        return;
    }
    if (v->send && v->state == XEN_MOVE_WAIT && err.code == ERR_DRIVER) {
        try_again(v, &err); /* the target does not wait for it yet */
    } else {
        xen_move_fail(v, &err);
    }
}

static void on_end(struct stream *s, const struct err *err)
{
    struct xen_move *v;
    struct err e;

    OBJ_FROM(v, stream_data(s), MOVE_MAGIC);
    if (v->s != s) {
        return;
    }
    (void)err_set(&e, ERR_UNREACHABLE, "the connection with %s broke: %s", v->peer,
                  err == NULL ? "closed by the other side" : err->msg);
    if (v->send && v->state == XEN_MOVE_WAIT) {
        try_again(v, &e);
    } else {
        xen_move_fail(v, &e);
    }
}

static void on_drain(struct stream *s)
{
    struct xen_move *v;

    OBJ_FROM(v, stream_data(s), MOVE_MAGIC);
    if (v->send) {
        xen_move_read_more(v);
    }
}

static void on_stream_closed(struct stream *s)
{
    struct xen_move *v;

    OBJ_FROM(v, stream_data(s), MOVE_MAGIC);
    xen_move_closed(v);
}

/* --- being connected to ------------------------------------------------------------------------
 */

/* A connection of which we do not know yet which move it is for. */
struct caller {
    TAILQ_ENTRY(caller) link;
    struct stream *s;
    struct xen_mover *m;
    struct xen_frames frames;
    bool taken;
};

static struct xen_move *expected(struct xen_mover *m, const struct xen_hello *h, const char *peer)
{
    struct xen_move *v;

    uv_mutex_lock(&m->lock);
    TAILQ_FOREACH (v, &m->moves, link) {
        if (!v->send && !v->over && v->s == NULL && v->state == XEN_MOVE_WAIT &&
            str_eq(v->hello.migration, h->migration) && str_eq(v->hello.vm, h->vm) &&
            str_eq(v->hello.uid, h->uid) && (m->tls == NULL || str_eq(v->peer, peer))) {
            break;
        }
    }
    uv_mutex_unlock(&m->lock);
    return v;
}

static void refuse(struct stream *s, const char *why)
{
    struct buf b = { 0 };
    struct err err;

    xen_result_put(&b, false, why);
    (void)stream_write(s, b.data, b.len, &err);
    buf_done(&b);
    stream_close(s, true);
}

struct greeting {
    struct caller *c;
    struct stream *s;
    struct xen_move *v;
};

static int on_greeting(void *ctx, enum xen_frame type, const uint8_t *data, size_t len,
                       struct err *err)
{
    struct greeting *g = ctx;
    struct xen_hello h;
    int rc;

    if (type != XEN_FRAME_HELLO || g->v != NULL) { /* the source waits for our OK */
        return err_set(err, ERR_CORRUPT, "a frame of type %d is not expected now", (int)type);
    }
    rc = xen_hello_get(data, len, &h, err);
    if (rc != 0) {
        return rc;
    }
    g->v = expected(g->c->m, &h, stream_peer(g->s)->name);
    if (g->v == NULL) {
        return err_set(err, ERR_NOT_FOUND, "%s is not waited for here", h.vm);
    }
    return 0;
}

static void on_caller_closed(struct stream *s)
{
    struct caller *c = stream_data(s);

    TAILQ_REMOVE(&c->m->callers, c, link);
    xen_frames_done(&c->frames);
    free(c);
}

static void on_caller_end(struct stream *s, const struct err *err)
{
    (void)err;
    stream_close(s, false);
}

/* The stream becomes the move's. */
static void adopt(struct xen_move *v, struct stream *s, struct caller *c)
{
    static const struct stream_cbs cbs = {
        .on_data = on_data, .on_end = on_end, .on_drain = on_drain, .on_closed = on_stream_closed
    };
    struct err err;

    v->s = s;
    v->open++;
    v->frames = c->frames;
    TAILQ_REMOVE(&c->m->callers, c, link);
    free(c);
    stream_set_data(s, v);
    stream_set_cbs(s, &cbs);
    (void)uv_timer_stop(&v->timer);
    xen_move_open_pipe(v);
    if (xen_move_send(v, XEN_FRAME_OK, NULL, 0, &err) != 0) {
        xen_move_fail(v, &err);
        return;
    }
    xen_move_state_set(v, XEN_MOVE_READY);
}

static void on_caller_data(struct stream *s, const uint8_t *data, size_t len)
{
    struct caller *c = stream_data(s);
    struct greeting g = { .c = c, .s = s };
    struct err err;

    if (c->taken) {
        return;
    }
    if (xen_frames_feed(&c->frames, data, len, on_greeting, &g, &err) != 0) {
        c->taken = true; /* answered: what else it says is not heard */
        lg_info("move", "peer=%s address=%s err=\"%s\"", stream_peer(s)->name, stream_remote(s),
                err.msg);
        refuse(s, err.msg);
    } else if (g.v != NULL) {
        adopt(g.v, s, c);
    }
}

static void on_accept(struct listener *l, struct stream *s)
{
    static const struct stream_cbs cbs = { .on_data = on_caller_data,
                                           .on_end = on_caller_end,
                                           .on_closed = on_caller_closed };
    struct caller *c = OBJ_NEW(struct caller);

    c->m = listener_data(l);
    c->s = s;
    TAILQ_INSERT_TAIL(&c->m->callers, c, link);
    stream_set_data(s, c);
    stream_set_cbs(s, &cbs);
}

int xen_move_listen(struct xen_mover *m, const char *address, struct err *err)
{
    struct stream_opts o = { .tls = m->tls,
                             .want_role = m->tls == NULL ? NULL : AGENT_ROLE,
                             .connect_ms = CONNECT_MS,
                             .user_timeout_ms = DEAD_MS };
    int rc;

    if (m->listener != NULL && str_eq(m->listening, address)) {
        return 0;
    }
    if (m->listener != NULL) {
        listener_close(m->listener);
        m->listener = NULL;
    }
    free(m->listening);
    m->listening = mem_strdup(address);
    rc = listener_open(&m->loop, address, &o, on_accept, m, &m->listener, err);
    if (rc != 0) {
        m->listener = NULL;
    }
    return rc;
}

void xen_move_stop_listening(struct xen_mover *m)
{
    struct caller *c;

    if (m->listener != NULL) {
        listener_close(m->listener);
        m->listener = NULL;
    }
    TAILQ_FOREACH (c, &m->callers, link) {
        stream_close(c->s, false);
    }
}
