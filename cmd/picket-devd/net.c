/* The network of a dev cluster: TCP relays between every two hosts, on every link, and from the
 * operator.
 *
 * A relay listens where host I believes host J to be and connects to where J really listens.
 * Bytes go through one buffer a direction: read, write, and only then read again, so that a slow
 * reader slows its writer down and nothing grows.
 *
 * What is cut, or belongs to a host without power, is frozen: nothing is read, new connections are
 * not accepted, nothing is closed.  When it is whole again, connections that were frozen are reset:
 * they are stale.  When power goes the freeze comes first, so that peers hear silence instead of
 * the resets that a kernel sends for killed processes.
 */

#include "cmd/picket-devd/dev.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"

#define RELAY_BUF (64U << 10)
#define RELAY_BACKLOG 64
#define RELAY_MAGIC 0x52454c41U
#define RCONN_MAGIC 0x52434f4eU

struct relay {
    unsigned magic;
    LIST_ENTRY(relay) link;
    struct dev *dev;
    uv_tcp_t tcp;
    int from, to, on_link;
    struct sockaddr_in target;
    bool pending; /* a connection waits that was not accepted, since the way is cut */
    bool answers; /* the gateway: accepts and holds, goes nowhere */
};

/* One direction of a connection: from its source to its sink. */
struct pipe_half {
    uv_tcp_t *source;
    uv_tcp_t *sink;
    uv_write_t write;
    uv_shutdown_t shutdown;
    char *data;
    bool writing;
    bool reading;
    bool frozen;
    bool eof; /* the source ended, and the sink was told */
};

struct rconn {
    unsigned magic;
    LIST_ENTRY(rconn) link;
    struct relay *relay;
    struct dev *dev;
    int from, to, on_link;
    uv_tcp_t client, server;
    uv_connect_t connect;
    struct pipe_half there, back;
    bool connected;
    bool stale; /* was frozen once: reset as soon as the way is free */
    bool closing;
    unsigned handles;
};

struct net {
    LIST_HEAD(, relay) relays;
    LIST_HEAD(, rconn) conns;
    struct udp_relay *pdu_ways[DEV_HOSTS_MAX];
    struct udp_relay *gateways[DEV_HOSTS_MAX];
};

bool net_blocked(struct dev *d, int from, int to, int link)
{
    const struct dev_host *a = dev_host_number(d, from);
    const struct dev_host *b = dev_host_number(d, to);

    if ((a != NULL && a->power != DEV_ON) || (b != NULL && b->power != DEV_ON)) {
        return true;
    }
    return cuts_blocked(&d->cuts, from, to, link);
}

/* ---- connections ---- */

static void conn_handle_closed(uv_handle_t *handle)
{
    struct rconn *c;

    OBJ_FROM(c, handle->data, RCONN_MAGIC);
    if (--c->handles == 0) {
        free(c->there.data);
        free(c->back.data);
        c->magic = 0;
        free(c);
    }
}

static void reset_handle(uv_tcp_t *tcp, bool reset)
{
    if (!reset || uv_tcp_close_reset(tcp, conn_handle_closed) != 0) {
        uv_close((uv_handle_t *)tcp, conn_handle_closed);
    }
}

static void conn_close(struct rconn *c, bool reset)
{
    if (c->closing) {
        return;
    }
    c->closing = true;
    LIST_REMOVE(c, link);
    reset_handle(&c->client, reset);
    reset_handle(&c->server, reset && c->connected);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf);

static struct pipe_half *half_of(struct rconn *c, const uv_stream_t *source)
{
    return (const uv_tcp_t *)source == &c->client ? &c->there : &c->back;
}

static void on_alloc(uv_handle_t *handle, size_t size, uv_buf_t *buf)
{
    struct rconn *c;
    struct pipe_half *h;

    (void)size;
    OBJ_FROM(c, handle->data, RCONN_MAGIC);
    h = half_of(c, (uv_stream_t *)handle);
    if (h->data == NULL) {
        h->data = mem_alloc(RELAY_BUF);
    }
    *buf = uv_buf_init(h->data, RELAY_BUF);
}

/* Read exactly when the direction is open and its buffer free. */
static void half_update(struct rconn *c, struct pipe_half *h)
{
    bool want = c->connected && !c->closing && !h->frozen && !h->writing && !h->eof;

    if (want == h->reading) {
        return;
    }
    h->reading = want;
    if (want) {
        if (uv_read_start((uv_stream_t *)h->source, on_alloc, on_read) != 0) {
            conn_close(c, true);
        }
    } else {
        (void)uv_read_stop((uv_stream_t *)h->source);
    }
}

static void on_shutdown(uv_shutdown_t *req, int status)
{
    struct rconn *c;

    OBJ_FROM(c, req->data, RCONN_MAGIC);
    if (c->closing || (status != 0 && c->stale)) {
        return; /* stale: nobody hears of it before the way is free again */
    }
    if (status != 0 || (c->there.eof && c->back.eof)) {
        conn_close(c, false);
    }
}

static void source_ended(struct rconn *c, struct pipe_half *h)
{
    h->eof = true;
    half_update(c, h);
    h->shutdown.data = c;
    if (uv_shutdown(&h->shutdown, (uv_stream_t *)h->sink, on_shutdown) != 0) {
        conn_close(c, true);
    }
}

static void on_written(uv_write_t *req, int status)
{
    struct rconn *c;
    struct pipe_half *h;

    OBJ_FROM(c, req->data, RCONN_MAGIC);
    h = CONTAINER_OF(req, struct pipe_half, write);
    h->writing = false;
    if (c->closing) {
        return;
    }
    if (status == 0) {
        half_update(c, h);
    } else if (!h->frozen && !c->stale) {
        conn_close(c, true);
    }
    /* A frozen connection shows no error: nobody hears that the other side is gone. */
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf)
{
    struct rconn *c;
    struct pipe_half *h;
    uv_buf_t out;

    OBJ_FROM(c, s->data, RCONN_MAGIC);
    h = half_of(c, s);
    if (n == 0 || c->closing) {
        return;
    }
    if (n == UV_EOF) {
        source_ended(c, h);
        return;
    }
    if (n < 0) {
        conn_close(c, true);
        return;
    }
    out = uv_buf_init(buf->base, (unsigned)n);
    h->writing = true;
    h->write.data = c;
    if (uv_write(&h->write, (uv_stream_t *)h->sink, &out, 1, on_written) != 0) {
        h->writing = false;
        conn_close(c, true);
        return;
    }
    half_update(c, h);
}

static void on_connect(uv_connect_t *req, int status)
{
    struct rconn *c;

    OBJ_FROM(c, req->data, RCONN_MAGIC);
    if (c->closing) {
        return;
    }
    if (status != 0) {
        if (!c->stale) {
            conn_close(c, true); /* the host is up and nobody listens: refused */
        }
        return;
    }
    c->connected = true;
    (void)uv_tcp_nodelay(&c->server, 1);
    half_update(c, &c->there);
    half_update(c, &c->back);
}

/* Freeze or thaw a connection as the network is now. */
static void conn_update(struct rconn *c)
{
    c->there.frozen = net_blocked(c->dev, c->from, c->to, c->on_link);
    c->back.frozen = net_blocked(c->dev, c->to, c->from, c->on_link);
    if (c->there.frozen || c->back.frozen) {
        c->stale = true;
    } else if (c->stale) {
        conn_close(c, true);
        return;
    }
    half_update(c, &c->there);
    half_update(c, &c->back);
}

static struct rconn *conn_new(struct relay *r)
{
    struct rconn *c = OBJ_NEW(struct rconn);

    c->magic = RCONN_MAGIC;
    c->relay = r;
    c->dev = r->dev;
    c->from = r->from;
    c->to = r->to;
    c->on_link = r->on_link;
    c->handles = 2;
    CHECK(uv_tcp_init(r->dev->loop, &c->client) == 0);
    CHECK(uv_tcp_init(r->dev->loop, &c->server) == 0);
    c->client.data = c;
    c->server.data = c;
    c->there = (struct pipe_half){ .source = &c->client, .sink = &c->server };
    c->back = (struct pipe_half){ .source = &c->server, .sink = &c->client };
    LIST_INSERT_HEAD(&r->dev->net->conns, c, link);
    return c;
}

/* ---- relays ---- */

/* Take the connection that waits.  `usable` false: it waited while the way was cut. */
static void relay_accept(struct relay *r, bool usable)
{
    struct rconn *c = conn_new(r);

    r->pending = false;
    if (uv_accept((uv_stream_t *)&r->tcp, (uv_stream_t *)&c->client) != 0) {
        conn_close(c, false);
        return;
    }
    if (!usable) {
        conn_close(c, true);
        return;
    }
    (void)uv_tcp_nodelay(&c->client, 1);
    if (r->answers) {
        conn_close(c, false); /* it answered: that is all that a gateway is asked for */
        return;
    }
    c->connect.data = c;
    if (uv_tcp_connect(&c->connect, &c->server, (const struct sockaddr *)&r->target, on_connect) !=
        0) {
        conn_close(c, true);
    }
}

static bool relay_cut(const struct relay *r)
{
    return net_blocked(r->dev, r->from, r->to, r->on_link) ||
           net_blocked(r->dev, r->to, r->from, r->on_link);
}

static void on_connection(uv_stream_t *server, int status)
{
    struct relay *r;

    OBJ_FROM(r, server->data, RELAY_MAGIC);
    if (status != 0) {
        lg_warn("net", "from=%d to=%d msg=\"accept: %s\"", r->from, r->to, uv_strerror(status));
        return;
    }
    if (relay_cut(r)) {
        r->pending = true; /* libuv accepts no more until this one is taken */
        return;
    }
    relay_accept(r, true);
}

void net_changed(struct dev *d)
{
    struct rconn *c, *next;
    struct relay *r;

    if (d->net == NULL) {
        return;
    }
    for (c = LIST_FIRST(&d->net->conns); c != NULL; c = next) {
        next = LIST_NEXT(c, link);
        conn_update(c);
    }
    LIST_FOREACH(r, &d->net->relays, link)
    {
        if (r->pending && !relay_cut(r)) {
            relay_accept(r, false);
        }
    }
}

static void set_addr(struct sockaddr_in *sin, const char *ip, unsigned port)
{
    *sin = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    CHECK(inet_pton(AF_INET, ip, &sin->sin_addr) == 1);
}

static int relay_open(struct dev *d, int from, int to, int link, unsigned port, struct err *err)
{
    struct relay *r = OBJ_NEW(struct relay);
    struct sockaddr_in at;
    char ip[32], target[32];
    int r_uv;

    r->magic = RELAY_MAGIC;
    r->dev = d;
    r->from = from;
    r->to = to;
    r->on_link = link;
    r->answers = to == END_GATEWAY;
    addrs_ip(from, to, link, ip);
    addrs_ip(to, to, 1, target);
    set_addr(&at, ip, port);
    set_addr(&r->target, target, port);
    CHECK(uv_tcp_init(d->loop, &r->tcp) == 0);
    r->tcp.data = r;
    LIST_INSERT_HEAD(&d->net->relays, r, link);
    r_uv = uv_tcp_bind(&r->tcp, (const struct sockaddr *)&at, 0);
    if (r_uv == 0) {
        r_uv = uv_listen((uv_stream_t *)&r->tcp, RELAY_BACKLOG, on_connection);
    }
    if (r_uv != 0) {
        return err_native(err, ERR_SYS, "uv", r_uv, "listen on %s:%u: %s", ip, port,
                          uv_strerror(r_uv));
    }
    return 0;
}

static int open_pair(struct dev *d, int from, int to, struct err *err)
{
    int rc = 0;

    for (int link = 1; rc == 0 && link <= DEV_LINKS; link++) {
        rc = relay_open(d, from, to, link, d->port, err);
        if (rc == 0) {
            rc = relay_open(d, from, to, link, d->port + 1U, err);
        }
    }
    return rc;
}

/* Every agent can send a guest to every other. */
static int open_migration(struct dev *d, int from, int to, struct err *err)
{
    int rc = 0;

    for (int link = 1; rc == 0 && link <= DEV_LINKS; link++) {
        rc = relay_open(d, from, to, link, d->port + ADDRS_MIGRATION, err);
    }
    return rc;
}

static int open_host(struct dev *d, const struct dev_host *h, struct err *err)
{
    char ip[32], pdu[32];
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < d->n_hosts; i++) {
        if (&d->hosts[i] != h) {
            rc = open_migration(d, h->number, d->hosts[i].number, err);
        }
    }
    for (size_t i = 0; rc == 0 && i < d->n_hosts; i++) {
        if (d->hosts[i].voter && &d->hosts[i] != h) {
            rc = open_pair(d, h->number, d->hosts[i].number, err);
        }
    }
    if (rc == 0 && h->voter) {
        rc = relay_open(d, END_OPERATOR, h->number, 1, d->port + 1U, err);
    }
    if (rc == 0) {
        rc = relay_open(d, h->number, END_GATEWAY, 1, d->port + 3U, err);
    }
    if (rc == 0) {
        addrs_ip(h->number, END_PDU, 1, ip);
        addrs_ip(END_PDU, END_PDU, 1, pdu);
        rc = udp_relay_open(d, h->number, ip, (uint16_t)(d->port + 2U), END_PDU, pdu,
                            (uint16_t)(d->port + 2U), &d->net->pdu_ways[h->number - 1], err);
    }
    if (rc == 0) {
        addrs_ip(h->number, END_GATEWAY, 1, ip);
        rc = udp_relay_open(d, h->number, ip, (uint16_t)(d->port + 3U), END_GATEWAY, NULL, 0,
                            &d->net->gateways[h->number - 1], err);
    }
    return rc;
}

int net_open(struct dev *d, struct err *err)
{
    int rc = 0;

    d->net = OBJ_NEW(struct net);
    for (size_t i = 0; rc == 0 && i < d->n_hosts; i++) {
        rc = open_host(d, &d->hosts[i], err);
    }
    return rc == 0 ? 0 : err_wrap(err, "network of the dev cluster");
}

static void relay_closed(uv_handle_t *handle)
{
    free(handle->data);
}

void net_close(struct dev *d)
{
    struct net *n = d->net;

    if (n == NULL) {
        return;
    }
    while (!LIST_EMPTY(&n->conns)) {
        conn_close(LIST_FIRST(&n->conns), true);
    }
    while (!LIST_EMPTY(&n->relays)) {
        struct relay *r = LIST_FIRST(&n->relays);

        LIST_REMOVE(r, link);
        uv_close((uv_handle_t *)&r->tcp, relay_closed);
    }
    for (size_t i = 0; i < DEV_HOSTS_MAX; i++) {
        udp_relay_close(n->pdu_ways[i]);
        udp_relay_close(n->gateways[i]);
    }
    d->net = NULL;
    free(n);
}

static bool can_bind(int type, const char *ip, unsigned port)
{
    struct sockaddr_in at;
    int one = 1;
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    bool ok;

    if (fd < 0) {
        return false;
    }
    set_addr(&at, ip, port);
    if (type == SOCK_STREAM) {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    }
    ok = bind(fd, (const struct sockaddr *)&at, sizeof(at)) == 0;
    (void)close(fd);
    return ok;
}

static bool port_free(struct dev *d, unsigned port)
{
    char ip[32];

    addrs_ip(END_PDU, END_PDU, 1, ip);
    if (!can_bind(SOCK_DGRAM, ip, port + 2)) {
        return false;
    }
    for (size_t i = 0; i < d->n_hosts; i++) {
        addrs_ip(d->hosts[i].number, d->hosts[i].number, 1, ip);
        if (!can_bind(SOCK_STREAM, ip, port) || !can_bind(SOCK_STREAM, ip, port + 1) ||
            !can_bind(SOCK_STREAM, ip, port + ADDRS_MIGRATION)) {
            return false;
        }
        addrs_ip(END_OPERATOR, d->hosts[i].number, 1, ip);
        if (!can_bind(SOCK_STREAM, ip, port + 1)) {
            return false;
        }
    }
    return true;
}

/* Below the ephemeral ports (32768 and up), in steps of 8; the start is random so that two
 * clusters that are made at the same moment rarely try the same. */
int net_choose_port(struct dev *d, struct err *err)
{
    uint32_t start;

    clock_random(&start, sizeof(start));
    for (unsigned i = 0; i < 1000; i++) {
        unsigned port = 20000U + ((start + i) % 1500U) * 8U;

        if (port_free(d, port)) {
            d->port = (uint16_t)port;
            return 0;
        }
    }
    return err_set(err, ERR_LIMIT, "no free ports between 20000 and 32000 on 127.64.0.0/16");
}

json_t *net_status(struct dev *d)
{
    json_t *list = json_array();

    for (size_t i = 0; i < d->cuts.n; i++) {
        const struct cut *c = &d->cuts.items[i];

        (void)json_array_append_new(
            list, json_pack("{s:s, s:s, s:s, s:i}", "host", dev_end_name(d, c->host), "from",
                            dev_end_name(d, c->with), "direction", cut_direction_name(c->direction),
                            "link", c->link));
    }
    return list;
}
