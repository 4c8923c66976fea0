#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "reconciler/xen_move_priv.h"

#define PATIENCE_MS 60000U
#define AHEAD_MAX (4U << 20) /* bytes that may wait on either side */

struct guest_write {
    uv_write_t req;
    struct xen_move *v;
    size_t len;
    uint8_t data[];
};

/* --- states ------------------------------------------------------------------------------------
 */

void xen_move_state_set(struct xen_move *v, enum xen_move_state st)
{
    uv_mutex_lock(&v->m->lock);
    v->state = st;
    uv_mutex_unlock(&v->m->lock);
    v->m->notify(v->m->ctx);
}

void xen_move_disconnect(struct xen_move *v, bool flush)
{
    if (v->s != NULL) {
        stream_close(v->s, flush);
        v->s = NULL;
    }
}

static void close_pipe(struct xen_move *v);

void xen_move_fail(struct xen_move *v, const struct err *err)
{
    bool first;

    uv_mutex_lock(&v->m->lock);
    first = v->state != XEN_MOVE_FAILED && v->state != XEN_MOVE_DONE;
    if (first) {
        v->err = *err;
    }
    uv_mutex_unlock(&v->m->lock);
    if (!first) {
        return;
    }
    lg_warn("move", "vm=%s peer=%s err=\"%s\"", v->hello.vm, v->peer, err->msg);
    xen_move_disconnect(v, false);
    close_pipe(v); /* libxl sees the end of its stream, and fails */
    if (!uv_is_closing((uv_handle_t *)&v->timer)) {
        (void)uv_timer_stop(&v->timer);
    }
    xen_move_state_set(v, XEN_MOVE_FAILED);
}

/* --- the pipe to libxl -------------------------------------------------------------------------
 */

void xen_move_closed(struct xen_move *v)
{
    if (--v->open > 0 || !v->over) {
        return;
    }
    xen_frames_done(&v->frames);
    free(v->peer);
    free(v->address);
    v->magic = 0;
    free(v);
}

static void on_handle_closed(uv_handle_t *h)
{
    xen_move_closed(h->data);
}

static void close_pipe(struct xen_move *v)
{
    if (v->pipe_open) {
        v->pipe_open = false;
        uv_close((uv_handle_t *)&v->pipe, on_handle_closed);
    } else if (v->our_fd >= 0) {
        (void)close(v->our_fd);
    }
    v->our_fd = -1;
}

void xen_move_open_pipe(struct xen_move *v)
{
    CHECK(!v->pipe_open && v->our_fd >= 0);
    CHECK(uv_pipe_init(&v->m->loop, &v->pipe, 0) == 0);
    v->pipe.data = v;
    v->open++;
    CHECK(uv_pipe_open(&v->pipe, v->our_fd) == 0);
    v->our_fd = -1;
    v->pipe_open = true;
}

int xen_move_send(struct xen_move *v, enum xen_frame type, const void *data, size_t len,
                  struct err *err)
{
    struct buf b = { 0 };
    int rc;

    xen_frame_put(&b, type, data, len);
    rc = stream_write(v->s, b.data, b.len, err);
    buf_done(&b);
    return rc;
}

/* --- sending -----------------------------------------------------------------------------------
 */

/* Under a limit in small pieces, so that it is kept. */
static uint64_t next_read(const struct xen_move *v)
{
    uint64_t n = v->allowed < 1024 ? 1024 : v->allowed;

    return v->bandwidth == 0 || n > sizeof(v->chunk) ? sizeof(v->chunk) : n;
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *buf)
{
    struct xen_move *v = h->data;

    (void)suggested;
    *buf = uv_buf_init((char *)v->chunk, (unsigned)next_read(v));
}

static void hold(struct xen_move *v)
{
    v->reading = false;
    (void)uv_read_stop((uv_stream_t *)&v->pipe);
}

static void on_guest_data(uv_stream_t *p, ssize_t n, const uv_buf_t *buf)
{
    struct xen_move *v = p->data;
    struct err err;
    int rc = 0;

    if (n == 0 || v->s == NULL) {
        return;
    }
    if (n < 0) {
        hold(v);
        v->ended = true;
        rc = n == UV_EOF ? xen_move_send(v, XEN_FRAME_END, NULL, 0, &err)
                         : err_native(&err, ERR_DRIVER, "uv", (int)n, "read what libxl sends");
    } else {
        rc = xen_move_send(v, XEN_FRAME_DATA, buf->base, (size_t)n, &err);
        v->allowed -= (uint64_t)n < v->allowed ? (uint64_t)n : v->allowed;
    }
    if (rc != 0) {
        xen_move_fail(v, &err);
    } else if (n > 0 &&
               (stream_queued(v->s) > AHEAD_MAX || (v->bandwidth > 0 && v->allowed == 0))) {
        hold(v);
        xen_move_read_more(v);
    }
}

static void on_refill(uv_timer_t *t)
{
    xen_move_read_more(t->data);
}

/* A bucket of a tenth of a second's bytes. */
static bool may_send(struct xen_move *v)
{
    uint64_t now = clock_now_ms(), most = v->bandwidth / 10 + 1;

    if (v->bandwidth == 0) {
        return true;
    }
    v->allowed += v->bandwidth * (now - v->fill_ms) / 1000;
    v->allowed = v->allowed > most ? most : v->allowed;
    if (v->allowed < most / 2) {
        CHECK(uv_timer_start(&v->timer, on_refill, 50, 0) == 0);
        if (v->bandwidth * (now - v->fill_ms) / 1000 > 0) {
            v->fill_ms = now;
        }
        return false;
    }
    v->fill_ms = now;
    return true;
}

void xen_move_read_more(struct xen_move *v)
{
    if (!v->pipe_open || v->reading || v->ended || v->s == NULL ||
        stream_queued(v->s) > AHEAD_MAX || !may_send(v)) {
        return;
    }
    v->reading = true;
    CHECK(uv_read_start((uv_stream_t *)&v->pipe, on_alloc, on_guest_data) == 0);
}

/* --- receiving ---------------------------------------------------------------------------------
 */

static void shut_pipe(struct xen_move *v)
{
    if (v->ended && v->ahead == 0 && v->pipe_open && !v->pipe_shut) {
        v->pipe_shut = true;
        close_pipe(v);
    }
}

static void on_guest_written(uv_write_t *req, int status)
{
    struct guest_write *w = CONTAINER_OF(req, struct guest_write, req);
    struct xen_move *v = w->v;
    struct err err;

    v->ahead -= w->len;
    free(w);
    if (status < 0) {
        if (status != UV_ECANCELED) {
            (void)err_native(&err, ERR_DRIVER, "uv", status, "hand the stream to libxl");
            xen_move_fail(v, &err);
        }
        return;
    }
    if (v->s != NULL && v->ahead < AHEAD_MAX / 2) {
        stream_pause(v->s, false);
    }
    shut_pipe(v);
}

static void to_guest(struct xen_move *v, const uint8_t *data, size_t len)
{
    struct guest_write *w;
    uv_buf_t b;

    if (!v->pipe_open || len == 0) {
        return; /* libxl gave up: its result follows */
    }
    w = mem_alloc(sizeof(*w) + len);
    w->v = v;
    w->len = len;
    memcpy(w->data, data, len);
    v->ahead += len;
    b = uv_buf_init((char *)w->data, (unsigned)len);
    CHECK(uv_write(&w->req, (uv_stream_t *)&v->pipe, &b, 1, on_guest_written) == 0);
    if (v->ahead > AHEAD_MAX) {
        stream_pause(v->s, true);
    }
}

/* --- frames ------------------------------------------------------------------------------------
 */

static int unexpected(enum xen_frame type, struct err *err)
{
    return err_set(err, ERR_CORRUPT, "a frame of type %d is not expected now", (int)type);
}

/* At the source. */
static int on_source_frame(struct xen_move *v, enum xen_frame type, const uint8_t *data, size_t len,
                           struct err *err)
{
    int rc;

    if (type == XEN_FRAME_OK && v->state == XEN_MOVE_WAIT) {
        (void)uv_timer_stop(&v->timer);
        xen_move_open_pipe(v);
        v->fill_ms = clock_now_ms();
        xen_move_state_set(v, XEN_MOVE_READY);
        xen_move_read_more(v);
        return 0;
    }
    if (type != XEN_FRAME_RESULT) {
        return unexpected(type, err);
    }
    rc = xen_result_get(data, len, err);
    if (rc != 0) {
        return rc;
    }
    if (!v->ended) {
        return unexpected(type, err);
    }
    xen_move_disconnect(v, false);
    close_pipe(v);
    xen_move_state_set(v, XEN_MOVE_DONE);
    return 0;
}

static int on_target_frame(struct xen_move *v, enum xen_frame type, const uint8_t *data, size_t len,
                           struct err *err)
{
    if (type == XEN_FRAME_DATA && !v->ended) {
        to_guest(v, data, len);
        return 0;
    }
    if (type == XEN_FRAME_END && !v->ended) {
        v->ended = true;
        shut_pipe(v);
        return 0;
    }
    return unexpected(type, err);
}

int xen_move_frame(void *ctx, enum xen_frame type, const uint8_t *data, size_t len, struct err *err)
{
    struct xen_move *v = ctx;

    return v->send ? on_source_frame(v, type, data, len, err)
                   : on_target_frame(v, type, data, len, err);
}

/* --- orders ------------------------------------------------------------------------------------
 */

static void on_patience(uv_timer_t *t)
{
    struct xen_move *v = t->data;
    struct err err;

    (void)err_set(&err, ERR_TIMEOUT, "%s did not come with the guest", v->peer);
    xen_move_fail(v, &err);
}

static void begin(struct xen_move *v)
{
    struct err err;

    CHECK(uv_timer_init(&v->m->loop, &v->timer) == 0);
    v->timer.data = v;
    v->open++;
    v->until_ms = clock_now_ms() + v->m->patience_ms;
    if (v->send) {
        xen_move_connect(v);
        return;
    }
    if (xen_move_listen(v->m, v->address, &err) != 0) {
        xen_move_fail(v, &err);
        return;
    }
    CHECK(uv_timer_start(&v->timer, on_patience, v->m->patience_ms, 0) == 0);
}

static void finish(struct xen_move *v)
{
    struct buf b = { 0 };
    struct err err;
    int rc;

    if (v->s == NULL) {
        return; /* broken: the other side knows as much as it can */
    }
    xen_result_put(&b, v->result_ok, v->result);
    rc = stream_write(v->s, b.data, b.len, &err);
    buf_done(&b);
    if (rc != 0) {
        xen_move_fail(v, &err);
        return;
    }
    xen_move_disconnect(v, true);
    close_pipe(v);
    xen_move_state_set(v, XEN_MOVE_DONE);
}

static void end(struct xen_move *v)
{
    v->over = true;
    uv_mutex_lock(&v->m->lock);
    TAILQ_REMOVE(&v->m->moves, v, link);
    uv_mutex_unlock(&v->m->lock);
    xen_move_disconnect(v, false);
    close_pipe(v);
    uv_close((uv_handle_t *)&v->timer, on_handle_closed);
}

static void follow(struct xen_move *v)
{
    unsigned orders;

    uv_mutex_lock(&v->m->lock);
    orders = v->orders;
    v->orders = 0;
    uv_mutex_unlock(&v->m->lock);
    if ((orders & ORDER_BEGIN) != 0) {
        begin(v);
    }
    if ((orders & ORDER_FINISH) != 0) {
        finish(v);
    }
    if ((orders & ORDER_END) != 0) {
        end(v);
    }
}

static void on_async(uv_async_t *a)
{
    struct xen_mover *m = a->data;
    struct xen_move *v, *next;
    bool stop;

    uv_mutex_lock(&m->lock);
    stop = m->stop;
    v = TAILQ_FIRST(&m->moves);
    uv_mutex_unlock(&m->lock);
    for (; v != NULL; v = next) {
        uv_mutex_lock(&m->lock);
        next = TAILQ_NEXT(v, link);
        uv_mutex_unlock(&m->lock);
        follow(v);
    }
    if (stop && !uv_is_closing((uv_handle_t *)a)) {
        xen_move_stop_listening(m);
        uv_close((uv_handle_t *)a, NULL);
    }
}

/* --- the other thread's side -------------------------------------------------------------------
 */

/* After ORDER_END `v` is the loop's: it may be freed as soon as the lock is. */
static void order(struct xen_move *v, enum order o)
{
    struct xen_mover *m = v->m;

    uv_mutex_lock(&m->lock);
    v->orders |= (unsigned)o;
    uv_mutex_unlock(&m->lock);
    (void)uv_async_send(&m->async);
}

struct xen_move *xen_move_begin(struct xen_mover *m, const struct xen_move_req *req, int *ret_fd)
{
    struct xen_move *v = OBJ_NEW(struct xen_move);
    int pair[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    v->magic = MOVE_MAGIC;
    v->m = m;
    v->send = req->send;
    v->bandwidth = req->bandwidth;
    v->peer = mem_strdup(req->peer);
    v->address = mem_strdup(req->address);
    (void)str_copy(v->hello.vm, sizeof(v->hello.vm), req->vm);
    (void)str_copy(v->hello.uid, sizeof(v->hello.uid), req->uid);
    (void)str_copy(v->hello.migration, sizeof(v->hello.migration), req->migration);
    v->libxl_fd = pair[0];
    v->our_fd = pair[1];
    *ret_fd = pair[0];
    uv_mutex_lock(&m->lock);
    TAILQ_INSERT_TAIL(&m->moves, v, link);
    uv_mutex_unlock(&m->lock);
    order(v, ORDER_BEGIN);
    return v;
}

enum xen_move_state xen_move_look(struct xen_move *v, struct err *err)
{
    enum xen_move_state st;

    OBJ_CHECK(v, MOVE_MAGIC);
    uv_mutex_lock(&v->m->lock);
    st = v->state;
    *err = v->err;
    uv_mutex_unlock(&v->m->lock);
    return st;
}

void xen_move_eof(struct xen_move *v)
{
    OBJ_CHECK(v, MOVE_MAGIC);
    (void)close(v->libxl_fd);
    v->libxl_fd = -1;
}

void xen_move_finish(struct xen_move *v, bool ok, const char *message)
{
    OBJ_CHECK(v, MOVE_MAGIC);
    uv_mutex_lock(&v->m->lock);
    v->result_ok = ok;
    (void)str_copy(v->result, sizeof(v->result), message);
    uv_mutex_unlock(&v->m->lock);
    order(v, ORDER_FINISH);
}

void xen_move_end(struct xen_move *v)
{
    OBJ_CHECK(v, MOVE_MAGIC);
    if (v->libxl_fd >= 0) {
        (void)close(v->libxl_fd);
        v->libxl_fd = -1;
    }
    order(v, ORDER_END);
}

static void run(void *arg)
{
    struct xen_mover *m;

    OBJ_FROM(m, arg, MOVER_MAGIC);
    (void)uv_run(&m->loop, UV_RUN_DEFAULT);
}

int xen_mover_new(const struct xen_mover_opts *opts, struct xen_mover **ret, struct err *err)
{
    struct xen_mover *m = OBJ_NEW(struct xen_mover);
    int rc;

    if (opts->tls_cert != NULL) {
        rc = tls_ctx_load(opts->tls_cert, opts->tls_key, opts->tls_ca, NULL, &m->tls, err);
        if (rc != 0) {
            free(m);
            return rc;
        }
    }
    m->magic = MOVER_MAGIC;
    m->notify = opts->notify;
    m->ctx = opts->ctx;
    m->patience_ms = opts->patience_ms == 0 ? PATIENCE_MS : opts->patience_ms;
    TAILQ_INIT(&m->moves);
    TAILQ_INIT(&m->callers);
    CHECK(uv_mutex_init(&m->lock) == 0);
    CHECK(uv_loop_init(&m->loop) == 0);
    CHECK(uv_async_init(&m->loop, &m->async, on_async) == 0);
    m->async.data = m;
    CHECK(uv_thread_create(&m->thread, run, m) == 0);
    *ret = m;
    return 0;
}

void xen_mover_free(struct xen_mover *m)
{
    OBJ_CHECK(m, MOVER_MAGIC);
    uv_mutex_lock(&m->lock);
    m->stop = true;
    uv_mutex_unlock(&m->lock);
    (void)uv_async_send(&m->async);
    CHECK(uv_thread_join(&m->thread) == 0);
    CHECK(TAILQ_EMPTY(&m->moves));
    CHECK(uv_loop_close(&m->loop) == 0);
    tls_ctx_unref(m->tls);
    uv_mutex_destroy(&m->lock);
    free(m->listening);
    m->magic = 0;
    free(m);
}
