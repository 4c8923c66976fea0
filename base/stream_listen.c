#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "base/stream_priv.h"

#define LISTENER_BACKLOG 1024
#define LISTENER_HANDSHAKES 256 /* at a time */
#define LISTENER_LOG_MS 1000    /* at most one line about refused peers in that time */

static void listener_complain(struct listener *l, const char *who, const char *why)
{
    uint64_t now = clock_now_ms();

    if (l->complained_ms != 0 && now - l->complained_ms < LISTENER_LOG_MS) {
        l->n_quiet++;
        return;
    }
    lg_warn("stream", "address=%s peer=%s quiet=%zu msg=\"connection refused: %s\"", l->address,
            who, l->n_quiet, why);
    l->complained_ms = now;
    l->n_quiet = 0;
}

void listener_handshake_done(struct stream *s, const struct err *err)
{
    struct listener *l = s->listener;

    OBJ_CHECK(l, LISTENER_MAGIC);
    LIST_REMOVE(s, link);
    CHECK(l->n_handshakes > 0);
    l->n_handshakes--;
    s->listener = NULL;
    if (err != NULL) {
        listener_complain(l, s->remote, err->msg);
        return;
    }
    l->on_accept(l, s);
    /* on_accept may have closed the listener: do not look at it any more. */
    if (s->state == STREAM_OPEN) {
        CHECK(s->cbs.on_data != NULL);
    }
}

static int listener_take(struct listener *l, struct stream *s, struct err *err)
{
    struct sockaddr_storage ss;
    int len = sizeof(ss);
    int r = uv_accept(&l->u.stream, &s->u.stream);

    if (r != 0) {
        return err_native(err, ERR_SYS, "uv", r, "accept: %s", uv_strerror(r));
    }
    if (s->is_pipe) {
        (void)str_copy(s->remote, sizeof(s->remote), l->address);
    } else {
        stream_tcp_tune(s, l->opts.user_timeout_ms);
        if (uv_tcp_getpeername(&s->u.tcp, (struct sockaddr *)&ss, &len) == 0) {
            stream_addr_print((struct sockaddr *)&ss, s->remote, sizeof(s->remote));
        }
    }
    if (l->n_handshakes >= LISTENER_HANDSHAKES) {
        return err_set(err, ERR_LIMIT, "%d handshakes are under way", LISTENER_HANDSHAKES);
    }
    if (l->opts.tls != NULL) {
        return tls_conn_init(&s->tls, l->opts.tls, true, l->want_role, l->want_name, err);
    }
    return 0;
}

static void listener_connection_cb(uv_stream_t *h, int status)
{
    struct listener *l;
    struct stream *s;
    struct err err;

    OBJ_FROM(l, h->data, LISTENER_MAGIC);
    if (status < 0) {
        listener_complain(l, "-", uv_strerror(status));
        return;
    }
    s = stream_alloc(l->loop, l->is_pipe, &l->opts);
    if (listener_take(l, s, &err) != 0) {
        listener_complain(l, s->remote, err.msg);
        stream_close(s, false);
        return;
    }
    s->listener = l;
    LIST_INSERT_HEAD(&l->handshakes, s, link);
    l->n_handshakes++;
    stream_start_accepted(s, l->opts.connect_ms);
}

/* A socket file that nobody answers on is left over from a process that was killed. */
static int listener_remove_stale(const char *path, struct err *err)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    struct stat st;
    int fd, r, e;

    if (lstat(path, &st) != 0) {
        return 0; /* bind will say what is wrong, if anything */
    }
    if (!S_ISSOCK(st.st_mode)) {
        return err_set(err, ERR_EXISTS, "unix:%s: there is a file of that name; remove it", path);
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return err_native(err, ERR_SYS, "errno", errno, "socket");
    }
    (void)str_copy(un.sun_path, sizeof(un.sun_path), path);
    r = connect(fd, (struct sockaddr *)&un, sizeof(un));
    e = errno;
    (void)close(fd);
    if (r != 0 && e == ECONNREFUSED) {
        if (unlink(path) == 0 || errno == ENOENT) {
            return 0;
        }
        return err_native(err, ERR_SYS, "errno", errno, "remove the stale socket %s", path);
    }
    return err_set(err, ERR_EXISTS, "unix:%s: another process listens there", path);
}

static int listener_bind_pipe(struct listener *l, const char *path, struct err *err)
{
    int rc, r;

    rc = listener_remove_stale(path, err);
    if (rc != 0) {
        return rc;
    }
    r = uv_pipe_bind(&l->u.pipe, path);
    if (r != 0) {
        return err_native(err, r == UV_EADDRINUSE ? ERR_EXISTS : ERR_SYS, "uv", r,
                          "bind unix:%s: %s", path, uv_strerror(r));
    }
    (void)snprintf(l->address, sizeof(l->address), "unix:%s", path);
    return 0;
}

static int listener_bind_tcp(struct listener *l, const char *address,
                             const struct stream_addr *addr, struct err *err)
{
    struct sockaddr_storage ss;
    int len = sizeof(ss);
    int r = uv_tcp_bind(&l->u.tcp, (const struct sockaddr *)&addr->ss, 0);

    r = r != 0 ? r : uv_tcp_getsockname(&l->u.tcp, (struct sockaddr *)&ss, &len);
    if (r != 0) {
        return err_native(err, r == UV_EADDRINUSE ? ERR_EXISTS : ERR_SYS, "uv", r, "bind %s: %s",
                          address, uv_strerror(r));
    }
    stream_addr_print((struct sockaddr *)&ss, l->address, sizeof(l->address));
    return 0;
}

static int listener_start(struct listener *l, const char *address, const struct stream_addr *addr,
                          struct err *err)
{
    int rc, r;

    rc = l->is_pipe ? listener_bind_pipe(l, addr->path, err)
                    : listener_bind_tcp(l, address, addr, err);
    if (rc != 0) {
        return rc;
    }
    r = uv_listen(&l->u.stream, LISTENER_BACKLOG, listener_connection_cb);
    if (r != 0) {
        return err_native(err, r == UV_EADDRINUSE ? ERR_EXISTS : ERR_SYS, "uv", r, "listen %s: %s",
                          address, uv_strerror(r));
    }
    return 0;
}

int listener_open(uv_loop_t *loop, const char *address, const struct stream_opts *opts,
                  void (*on_accept)(struct listener *l, struct stream *s), void *data,
                  struct listener **ret, struct err *err)
{
    struct stream_addr addr;
    struct listener *l;
    int rc;

    CHECK(on_accept != NULL);
    rc = stream_addr_parse(address, &addr, err);
    if (rc != 0) {
        return rc;
    }
    l = OBJ_NEW(struct listener);
    l->magic = LISTENER_MAGIC;
    l->loop = loop;
    l->is_pipe = addr.is_pipe;
    l->opts = *opts;
    l->want_role = mem_strdup(opts->want_role);
    l->want_name = mem_strdup(opts->want_name);
    l->on_accept = on_accept;
    l->data = data;
    LIST_INIT(&l->handshakes);
    if (opts->tls != NULL) {
        l->opts.tls = tls_ctx_ref(opts->tls);
    }
    if (l->is_pipe) {
        CHECK(uv_pipe_init(loop, &l->u.pipe, 0) == 0);
    } else {
        CHECK(uv_tcp_init(loop, &l->u.tcp) == 0);
    }
    l->u.handle.data = l;
    rc = listener_start(l, address, &addr, err);
    if (rc != 0) {
        listener_close(l);
        return rc;
    }
    *ret = l;
    return 0;
}

static void listener_closed_cb(uv_handle_t *h)
{
    struct listener *l;

    OBJ_FROM(l, h->data, LISTENER_MAGIC);
    tls_ctx_unref(l->opts.tls);
    free(l->want_role);
    free(l->want_name);
    l->magic = 0;
    free(l);
}

void listener_close(struct listener *l)
{
    struct stream *s;

    OBJ_CHECK(l, LISTENER_MAGIC);
    CHECK(!l->closing);
    l->closing = true;
    while ((s = LIST_FIRST(&l->handshakes)) != NULL) {
        LIST_REMOVE(s, link);
        s->listener = NULL;
        stream_close(s, false);
    }
    uv_close(&l->u.handle, listener_closed_cb);
}

void *listener_data(const struct listener *l)
{
    OBJ_CHECK(l, LISTENER_MAGIC);
    return l->data;
}

const char *listener_address(const struct listener *l)
{
    OBJ_CHECK(l, LISTENER_MAGIC);
    return l->address;
}
