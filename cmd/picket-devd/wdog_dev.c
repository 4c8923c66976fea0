/* The hardware watchdog of a dev host (protocol: fence/wdog.h).
 *
 * A unix SOCK_SEQPACKET socket that picket-watchdog opens instead of /dev/watchdog.  Once armed it
 * stays armed: losing the connection does not disarm.  When W passes without a feed the host is
 * reset: its process group is killed and starts again with a new boot id.
 */

#include "cmd/picket-devd/dev.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "fence/wdog.h"

#define WDOG_DEV_CONNS 4
#define RESET_MS 1000
#define WDOG_DEVD_MAGIC 0x57444f47U

struct wdog_conn {
    uv_poll_t poll;
    int fd;
    bool used;
    struct wdog_dev *w;
};

struct wdog_dev {
    unsigned magic;
    struct dev_host *host;
    int fd;
    uv_poll_t listen;
    uv_timer_t timer;
    struct wdog_conn conns[WDOG_DEV_CONNS];
    bool armed;
    uint32_t timeout_ms;
    uint64_t fed_ms;
    uint64_t resets;
    unsigned handles;
    bool closing;
};

static void expired(uv_timer_t *timer);

static void plan_expiry(struct wdog_dev *w)
{
    uint64_t now = clock_now_ms();
    uint64_t due = w->fed_ms + w->timeout_ms;

    if (!w->armed) {
        (void)uv_timer_stop(&w->timer);
        return;
    }
    uv_update_time(w->host->dev->loop);
    (void)uv_timer_start(&w->timer, expired, due > now ? due - now : 0, 0);
}

static void handle_closed(uv_handle_t *handle)
{
    struct wdog_dev *w;

    OBJ_FROM(w, handle->data, WDOG_DEVD_MAGIC);
    if (--w->handles == 0) {
        w->magic = 0;
        free(w);
    }
}

static void conn_freed(uv_handle_t *handle)
{
    struct wdog_conn *c = CONTAINER_OF(handle, struct wdog_conn, poll);

    (void)close(c->fd);
    c->used = false;
    handle_closed(handle);
}

static void conn_close(struct wdog_conn *c)
{
    if (!uv_is_closing((uv_handle_t *)&c->poll)) {
        uv_close((uv_handle_t *)&c->poll, conn_freed);
    }
}

static void arm(struct wdog_conn *c, const struct wdog_dev_msg *m)
{
    struct wdog_dev *w = c->w;
    struct wdog_dev_msg reply = { .magic = WDOG_DEV_MAGIC, .op = WDOG_DEV_ARM };

    if (m->timeout_ms >= WDOG_TIMEOUT_MIN_MS && m->timeout_ms <= WDOG_TIMEOUT_MAX_MS) {
        w->timeout_ms = m->timeout_ms;
    } else if (!w->armed) {
        lg_warn("watchdog", "host=%s timeout_ms=%u msg=\"refused: out of range\"", w->host->name,
                m->timeout_ms);
        conn_close(c);
        return;
    }
    lg_info("watchdog", "host=%s timeout_ms=%u msg=\"armed\"", w->host->name, w->timeout_ms);
    w->armed = true;
    w->fed_ms = clock_now_ms();
    reply.timeout_ms = w->timeout_ms;
    if (send(c->fd, &reply, sizeof(reply), MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof(reply)) {
        conn_close(c);
    }
}

static void message(struct wdog_conn *c, const void *data, size_t len)
{
    struct wdog_dev *w = c->w;
    struct wdog_dev_msg m;

    if (!wdog_dev_check(data, len, &m)) {
        lg_warn("watchdog", "host=%s len=%zu msg=\"malformed message\"", w->host->name, len);
        conn_close(c);
        return;
    }
    if (w->host->power != DEV_ON) {
        return; /* a last word of a host that is being killed */
    }
    switch ((enum wdog_dev_op)m.op) {
    case WDOG_DEV_ARM:
        arm(c, &m);
        break;
    case WDOG_DEV_FEED:
        w->fed_ms = clock_now_ms();
        break;
    case WDOG_DEV_DISARM:
        lg_info("watchdog", "host=%s msg=\"disarmed\"", w->host->name);
        w->armed = false;
        break;
    }
    plan_expiry(w);
}

/* Read what is there. */
static void drain(struct wdog_conn *c)
{
    uint8_t data[64];

    while (!uv_is_closing((uv_handle_t *)&c->poll)) {
        ssize_t n = recv(c->fd, data, sizeof(data), MSG_DONTWAIT);

        if (n > 0) {
            message(c, data, (size_t)n);
        } else if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        } else {
            conn_close(c);
        }
    }
}

static void conn_ready(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    drain(CONTAINER_OF(poll, struct wdog_conn, poll));
}

static void expired(uv_timer_t *timer)
{
    struct wdog_dev *w;

    OBJ_FROM(w, timer->data, WDOG_DEVD_MAGIC);
    /* This loop may be late itself: a feed that is waiting in a socket counts. */
    for (size_t i = 0; i < WDOG_DEV_CONNS; i++) {
        if (w->conns[i].used) {
            drain(&w->conns[i]);
        }
    }
    if (!w->armed || clock_now_ms() - w->fed_ms < w->timeout_ms) {
        plan_expiry(w);
        return;
    }
    w->resets++;
    w->armed = false;
    lg_warn("watchdog", "host=%s timeout_ms=%u since_feed_ms=%" PRIu64 " msg=\"resets the host\"",
            w->host->name, w->timeout_ms, clock_now_ms() - w->fed_ms);
    host_kill(w->host, "watchdog reset", RESET_MS);
}

static void accept_ready(uv_poll_t *poll, int status, int events)
{
    struct wdog_dev *w = CONTAINER_OF(poll, struct wdog_dev, listen);
    int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)status;
    (void)events;
    for (size_t i = 0; fd >= 0 && i < WDOG_DEV_CONNS; i++) {
        struct wdog_conn *c = &w->conns[i];

        if (!c->used) {
            c->used = true;
            c->fd = fd;
            c->w = w;
            CHECK(uv_poll_init(w->host->dev->loop, &c->poll, fd) == 0);
            c->poll.data = w;
            w->handles++;
            CHECK(uv_poll_start(&c->poll, UV_READABLE, conn_ready) == 0);
            return;
        }
    }
    if (fd >= 0) {
        lg_warn("watchdog", "host=%s msg=\"more than %d connections\"", w->host->name,
                WDOG_DEV_CONNS);
        (void)close(fd);
    }
}

static int listen_on(struct dev_host *h, int *ret_fd, struct err *err)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    char path[DEV_PATH_MAX];
    int fd;

    host_path(h, path, "watchdog.sock");
    if (!str_copy(sun.sun_path, sizeof(sun.sun_path), path)) {
        return err_set(err, ERR_INVALID, "socket name is too long: %s", path);
    }
    (void)unlink(path);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&sun, sizeof(sun)) != 0 || listen(fd, 8) != 0) {
        int rc = err_native(err, ERR_SYS, "errno", errno, "watchdog socket %s", path);

        if (fd >= 0) {
            (void)close(fd);
        }
        return rc;
    }
    *ret_fd = fd;
    return 0;
}

int wdog_dev_open(struct dev_host *h, struct err *err)
{
    struct wdog_dev *w;
    int fd = -1;
    int rc = listen_on(h, &fd, err);

    if (rc != 0) {
        return rc;
    }
    w = OBJ_NEW(struct wdog_dev);
    w->magic = WDOG_DEVD_MAGIC;
    w->host = h;
    w->fd = fd;
    w->handles = 2;
    CHECK(uv_poll_init(h->dev->loop, &w->listen, fd) == 0);
    CHECK(uv_timer_init(h->dev->loop, &w->timer) == 0);
    w->listen.data = w;
    w->timer.data = w;
    CHECK(uv_poll_start(&w->listen, UV_READABLE, accept_ready) == 0);
    h->wdog = w;
    return 0;
}

void wdog_dev_reset(struct dev_host *h)
{
    if (h->wdog != NULL) {
        h->wdog->armed = false;
        plan_expiry(h->wdog);
    }
}

static void listen_freed(uv_handle_t *handle)
{
    struct wdog_dev *w = CONTAINER_OF((uv_poll_t *)handle, struct wdog_dev, listen);

    (void)close(w->fd);
    handle_closed(handle);
}

void wdog_dev_close(struct dev_host *h)
{
    struct wdog_dev *w = h->wdog;

    if (w == NULL) {
        return;
    }
    h->wdog = NULL;
    for (size_t i = 0; i < WDOG_DEV_CONNS; i++) {
        if (w->conns[i].used) {
            conn_close(&w->conns[i]);
        }
    }
    uv_close((uv_handle_t *)&w->timer, handle_closed);
    uv_close((uv_handle_t *)&w->listen, listen_freed);
}

json_t *wdog_dev_status(const struct dev_host *h)
{
    const struct wdog_dev *w = h->wdog;

    if (w == NULL) {
        return json_null();
    }
    return json_pack("{s:b, s:I, s:I, s:I}", "armed", w->armed, "timeoutMs",
                     (json_int_t)w->timeout_ms, "sinceFeedMs",
                     (json_int_t)(w->armed ? clock_now_ms() - w->fed_ms : 0), "resets",
                     (json_int_t)w->resets);
}
