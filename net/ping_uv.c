#include "net/ping_uv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/obj.h"
#include "base/str.h"
#include "net/ping_codec.h"

#define PING_MAGIC 0x70696e67U

struct ping {
    unsigned magic;
    enum ping_how how;
    char address[80];
    struct sockaddr_storage to;
    socklen_t to_len;
    bool v6;
    bool ip_header; /* a raw socket: answers come with it */
    uint8_t cookie[PING_COOKIE];
    int fd;
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned handles;
    bool over;
    bool failed;
    struct err err;
    ping_cb *cb;
    void *data;
};

/* --- the end -----------------------------------------------------------------------------------
 */

static void on_closed(uv_handle_t *h)
{
    struct ping *p;

    OBJ_FROM(p, h->data, PING_MAGIC);
    if (--p->handles > 0) {
        return;
    }
    if (p->fd >= 0) {
        (void)close(p->fd);
    }
    p->cb(p->data, p->failed ? &p->err : NULL);
    p->magic = 0;
    free(p);
}

static void finish(struct ping *p)
{
    if (p->over) {
        return;
    }
    p->over = true;
    if (p->handles > 1) {
        uv_close((uv_handle_t *)&p->poll, on_closed);
    }
    uv_close((uv_handle_t *)&p->timer, on_closed);
}

static void fail(struct ping *p, int code, const char *why)
{
    if (!p->over) {
        p->failed = true;
        (void)err_set(&p->err, code, "%s: %s", p->address, why);
        finish(p);
    }
}

static void fail_errno(struct ping *p, int e, const char *what)
{
    bool no_way = e == ENETUNREACH || e == EHOSTUNREACH || e == EHOSTDOWN || e == ENETDOWN ||
                  e == ECONNREFUSED || e == ETIMEDOUT || e == EADDRNOTAVAIL;

    if (!p->over) {
        p->failed = true;
        (void)err_native(&p->err, no_way ? ERR_UNREACHABLE : ERR_SYS, "errno", e, "%s: %s",
                         p->address, what);
        finish(p);
    }
}

/* --- answers -----------------------------------------------------------------------------------
 */

static bool is_answer(const struct ping *p, const uint8_t *d, size_t n)
{
    if (p->how == PING_UDP) {
        return n == PING_COOKIE && memcmp(d, p->cookie, PING_COOKIE) == 0;
    }
    return ping_is_reply(p->v6, p->ip_header, d, n, p->cookie);
}

static void read_answers(struct ping *p)
{
    uint8_t d[512];

    for (;;) {
        ssize_t n = recv(p->fd, d, sizeof(d), 0);

        if (n < 0) {
            if (errno != EAGAIN && errno != EINTR) {
                fail_errno(p, errno, "no way there");
            }
            return;
        }
        if (is_answer(p, d, (size_t)n)) {
            finish(p);
            return;
        }
    }
}

static void connected(struct ping *p)
{
    int e = 0;
    socklen_t len = sizeof(e);

    if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &e, &len) != 0) {
        e = errno;
    }
    if (e == 0 || e == ECONNREFUSED) {
        finish(p);
    } else {
        fail_errno(p, e, "connect");
    }
}

static void on_poll(uv_poll_t *h, int status, int events)
{
    struct ping *p;

    (void)events;
    OBJ_FROM(p, h->data, PING_MAGIC);
    if (p->over) {
        return;
    }
    /* libuv calls every error of a socket UV_EBADF; the socket knows better. */
    if (p->how == PING_TCP) {
        connected(p);
    } else {
        read_answers(p);
    }
    if (status < 0) {
        fail(p, ERR_SYS, uv_strerror(status));
    }
}

static void on_timer(uv_timer_t *t)
{
    struct ping *p;

    OBJ_FROM(p, t->data, PING_MAGIC);
    fail(p, ERR_TIMEOUT, "no answer");
}

/* --- the question ------------------------------------------------------------------------------
 */

static bool parse(struct ping *p, const char *text)
{
    struct sockaddr_in *in = (struct sockaddr_in *)&p->to;
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&p->to;
    const char *colon = strrchr(text, ':');
    char host[64];
    uint64_t port;

    if (colon == NULL || (size_t)(colon - text) >= sizeof(host) ||
        !str_parse_u64(colon + 1, &port) || port > UINT16_MAX) {
        return false;
    }
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = '\0';
    p->v6 = host[0] == '[';
    if (p->v6) {
        host[strlen(host) - 1] = '\0';
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons((uint16_t)port);
        p->to_len = sizeof(*in6);
        return inet_pton(AF_INET6, host + 1, &in6->sin6_addr) == 1;
    }
    in->sin_family = AF_INET;
    in->sin_port = htons((uint16_t)port);
    p->to_len = sizeof(*in);
    return inet_pton(AF_INET, host, &in->sin_addr) == 1;
}

static int open_icmp(struct ping *p)
{
    int family = p->v6 ? AF_INET6 : AF_INET;
    int proto = p->v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP;
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, proto);

    if (fd < 0) { /* not in net.ipv4.ping_group_range: with CAP_NET_RAW there is another way */
        fd = socket(family, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, proto);
        p->ip_header = fd >= 0 && !p->v6;
    }
    return fd;
}

static int open_socket(struct ping *p)
{
    int family = p->v6 ? AF_INET6 : AF_INET;
    int flags = SOCK_NONBLOCK | SOCK_CLOEXEC;

    switch (p->how) {
    case PING_ICMP:
        return open_icmp(p);
    case PING_UDP:
        return socket(family, SOCK_DGRAM | flags, 0);
    case PING_TCP:
        return socket(family, SOCK_STREAM | flags, 0);
    }
    CHECK_UNREACHABLE();
}

static int ask(struct ping *p)
{
    uint8_t packet[PING_PACKET];
    uint16_t id;

    if (p->how == PING_TCP) {
        return 0;
    }
    if (p->how == PING_UDP) {
        return send(p->fd, p->cookie, PING_COOKIE, MSG_NOSIGNAL) < 0 ? errno : 0;
    }
    memcpy(&id, p->cookie, sizeof(id));
    ping_request(p->v6, id, 1, p->cookie, packet);
    return send(p->fd, packet, sizeof(packet), MSG_NOSIGNAL) < 0 ? errno : 0;
}

static void go(struct ping *p, uv_loop_t *loop)
{
    int e;

    p->fd = open_socket(p);
    if (p->fd < 0) {
        fail_errno(p, errno,
                   p->how == PING_ICMP ? "open an ICMP socket (CAP_NET_RAW is needed)" : "socket");
        return;
    }
    if (connect(p->fd, (const struct sockaddr *)&p->to, p->to_len) != 0 &&
        !(p->how == PING_TCP && (errno == EINPROGRESS || errno == ECONNREFUSED))) {
        fail_errno(p, errno, "no way there");
        return;
    }
    e = ask(p);
    if (e != 0) {
        fail_errno(p, e, "send");
        return;
    }
    CHECK(uv_poll_init(loop, &p->poll, p->fd) == 0);
    p->poll.data = p;
    p->handles++;
    CHECK(uv_poll_start(&p->poll, p->how == PING_TCP ? UV_WRITABLE : UV_READABLE, on_poll) == 0);
}

struct ping *ping_start(uv_loop_t *loop, enum ping_how how, const char *address,
                        uint64_t deadline_ms, ping_cb *cb, void *data)
{
    struct ping *p = OBJ_NEW(struct ping);
    uint64_t now = clock_now_ms();

    p->magic = PING_MAGIC;
    p->how = how;
    p->fd = -1;
    p->cb = cb;
    p->data = data;
    (void)str_copy(p->address, sizeof(p->address), address);
    clock_random(p->cookie, sizeof(p->cookie));
    uv_update_time(loop);
    CHECK(uv_timer_init(loop, &p->timer) == 0);
    p->timer.data = p;
    p->handles = 1;
    if (!parse(p, address)) {
        fail(p, ERR_INVALID, "not an address with a port");
        return p;
    }
    CHECK(uv_timer_start(&p->timer, on_timer, deadline_ms > now ? deadline_ms - now : 0, 0) == 0);
    go(p, loop);
    return p;
}

void ping_abort(struct ping *p)
{
    OBJ_CHECK(p, PING_MAGIC);
    fail(p, ERR_CANCELED, "no longer wanted");
}
