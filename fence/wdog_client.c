#include "fence/wdog_client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"

int wdog_client_open(struct wdog_client *c, const char *path, struct err *err)
{
    struct sockaddr_un sun = { .sun_family = AF_UNIX };
    int rc;

    c->fd = -1;
    if (!str_copy(sun.sun_path, sizeof(sun.sun_path), path)) {
        return err_set(err, ERR_INVALID, "watchdog socket %s: the path is too long", path);
    }
    c->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) {
        return err_native(err, ERR_SYS, "errno", errno, "watchdog socket");
    }
    if (connect(c->fd, (struct sockaddr *)&sun, sizeof(sun)) != 0) {
        rc = err_native(err, ERR_UNREACHABLE, "errno", errno, "picket-watchdog at %s", path);
        wdog_client_close(c);
        return rc;
    }
    return 0;
}

void wdog_client_close(struct wdog_client *c)
{
    if (c->fd >= 0) {
        (void)close(c->fd);
    }
    c->fd = -1;
}

void wdog_client_prepare(struct wdog_client *c, struct wdog_request *rq, enum wdog_op op)
{
    *rq = (struct wdog_request){
        .magic = WDOG_MAGIC, .version = WDOG_VERSION, .op = (uint16_t)op, .seq = ++c->seq
    };
}

int wdog_client_send(struct wdog_client *c, const struct wdog_request *rq, struct err *err)
{
    ssize_t n;
    int rc;

    if (c->fd < 0) {
        return err_set(err, ERR_UNREACHABLE, "not connected to picket-watchdog");
    }
    n = send(c->fd, rq, sizeof(*rq), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n == (ssize_t)sizeof(*rq)) {
        return 0;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return err_set(err, ERR_LIMIT, "picket-watchdog does not take requests now");
    }
    rc = err_native(err, ERR_UNREACHABLE, "errno", errno, "send to picket-watchdog");
    wdog_client_close(c);
    return rc;
}

int wdog_client_recv(struct wdog_client *c, struct wdog_reply *ret, struct err *err)
{
    char data[sizeof(*ret) + 1];
    ssize_t n;
    int rc;

    if (c->fd < 0) {
        return err_set(err, ERR_UNREACHABLE, "not connected to picket-watchdog");
    }
    n = recv(c->fd, data, sizeof(data), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return err_set(err, ERR_TIMEOUT, "no reply of picket-watchdog yet");
    }
    if (n <= 0) {
        rc = err_native(err, ERR_UNREACHABLE, "errno", n == 0 ? ECONNRESET : errno,
                        "picket-watchdog is gone");
    } else if (!wdog_reply_check(data, (size_t)n, ret)) {
        rc = err_set(err, ERR_CORRUPT, "picket-watchdog sent something that is not a reply");
    } else {
        return 0;
    }
    wdog_client_close(c);
    return rc;
}

static int wait_reply(struct wdog_client *c, uint64_t seq, uint32_t timeout_ms,
                      struct wdog_reply *ret, struct err *err)
{
    uint64_t until_ms = clock_now_ms() + timeout_ms;
    int rc;

    for (;;) {
        struct pollfd pfd = { .fd = c->fd, .events = POLLIN };
        uint64_t now_ms = clock_now_ms();

        rc = wdog_client_recv(c, ret, err);
        if (rc == 0 && ret->seq == seq) {
            return 0;
        }
        if (rc == 0) {
            continue; /* of an earlier request that was given up */
        }
        if (rc != ERR_TIMEOUT || now_ms >= until_ms) {
            break;
        }
        (void)poll(&pfd, 1, (int)(until_ms - now_ms));
    }
    err->code = ERR_UNKNOWN_OUTCOME;
    return ERR_UNKNOWN_OUTCOME;
}

int wdog_client_call(struct wdog_client *c, struct wdog_request *rq, uint32_t timeout_ms,
                     struct wdog_reply *ret, struct err *err)
{
    int rc;

    CHECK(timeout_ms <= 60000);
    rc = wdog_client_send(c, rq, err);
    if (rc == 0) {
        rc = wait_reply(c, rq->seq, timeout_ms, ret, err);
    }
    if (rc == 0 && ret->code != WDOG_OK) {
        rc = err_set(err, ERR_REFUSED, "picket-watchdog: %s",
                     wdog_code_text((enum wdog_code)ret->code));
    }
    return rc;
}
