#include "raft/peer.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addrmap.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/obj.h"
#include "base/str.h"
#include "raft/frame_codec.h"
#include "raft/hello_codec.h"

#define NET_MAGIC 0x504e4554u
#define DIAL_MIN_MS 50u
#define DIAL_MAX_MS 500u
#define REFUSED_MS 2000u
#define STRANGERS_MAX 16u /* links from peers that are no members (yet) */
#define QUEUE_MAX (32u << 20)
#define ROLE "picket:voters"

struct link {
    struct peer_net *net; /* NULL: closed, waiting for the stream to go */
    struct stream *stream;
    struct node *node; /* NULL: accepted, no hello yet */
    bool dialed;       /* by us */
    bool up;
    struct buf in;
    uint64_t boot;
    uint64_t last_in_ms, last_out_ms;
    struct link *next; /* of the net */
};

struct node {
    uint64_t id;
    char name[64];
    char address[128];
    bool member;
    struct link *link; /* that is up */
    struct link *dial; /* on its way */
    uint64_t down_since_ms;
    uint64_t dial_at_ms;
    unsigned delay_ms;
    bool complained; /* about the present trouble */
    struct node *next;
};

struct peer_net {
    unsigned magic;
    struct peer_opts opts;
    struct hello self;
    struct listener *listener;
    struct node *nodes;
    struct link *links;
    struct prng prng;
    struct buf out;
};

static const struct stream_cbs link_cbs;

/* --- nodes --- */

static struct node *node_find(const struct peer_net *n, uint64_t id)
{
    struct node *o = n->nodes;

    while (o != NULL && o->id != id) {
        o = o->next;
    }
    return o;
}

static struct node *node_make(struct peer_net *n, uint64_t id)
{
    struct node *o = node_find(n, id);

    if (o == NULL) {
        o = OBJ_NEW(struct node);
        o->id = id;
        o->delay_ms = DIAL_MIN_MS;
        o->down_since_ms = clock_now_ms();
        o->next = n->nodes;
        n->nodes = o;
    }
    return o;
}

static void node_retry(struct peer_net *n, struct node *o, uint64_t least_ms)
{
    uint64_t delay = o->delay_ms > least_ms ? o->delay_ms : least_ms;

    o->dial_at_ms = clock_now_ms() + delay / 2 + prng_below(&n->prng, delay / 2 + 1);
    o->delay_ms = o->delay_ms * 2 > DIAL_MAX_MS ? DIAL_MAX_MS : o->delay_ms * 2;
}

static void node_complain(struct node *o, const char *what, const char *why)
{
    if (!o->complained) {
        lg_warn("peer", "peer=%s id=%" PRIu64 " address=%s msg=\"%s\" err=\"%s\"", o->name, o->id,
                o->address, what, why);
    }
    o->complained = true;
}

/* --- links --- */

static struct link *link_new(struct peer_net *n, struct node *o, bool dialed)
{
    struct link *l = OBJ_NEW(struct link);

    l->net = n;
    l->node = o;
    l->dialed = dialed;
    l->last_in_ms = l->last_out_ms = clock_now_ms();
    l->next = n->links;
    n->links = l;
    return l;
}

/* Take it out of everything; the memory goes with the stream. */
static void link_detach(struct link *l)
{
    struct peer_net *n = l->net;
    struct node *o = l->node;
    bool was_up = l->up;

    if (n == NULL) {
        return;
    }
    for (struct link **p = &n->links; *p != NULL; p = &(*p)->next) {
        if (*p == l) {
            *p = l->next;
            break;
        }
    }
    l->net = NULL;
    l->up = false;
    if (o == NULL) {
        return;
    }
    o->dial = o->dial == l ? NULL : o->dial;
    if (o->link == l) {
        o->link = NULL;
        o->down_since_ms = clock_now_ms();
        node_retry(n, o, 0);
    }
    l->node = NULL;
    if (was_up) {
        n->opts.on_down(n->opts.ctx, o->id);
    }
}

static void link_close(struct link *l, bool flush)
{
    link_detach(l);
    if (l->stream != NULL) {
        stream_close(l->stream, flush);
    }
}

static void link_refuse(struct link *l, const char *why)
{
    struct buf b = { 0 };
    struct err err;

    refuse_frame(&b, why);
    (void)stream_write(l->stream, b.data, b.len, &err);
    buf_done(&b);
    link_close(l, true);
}

static bool link_write(struct link *l, const void *data, size_t len)
{
    struct err err;

    if (stream_write(l->stream, data, len, &err) != 0) {
        return false;
    }
    l->last_out_ms = clock_now_ms();
    return true;
}

static void link_hello(struct link *l, uint64_t to)
{
    struct peer_net *n = l->net;
    struct hello h = n->self;

    h.to = to;
    buf_clear(&n->out);
    hello_frame(&n->out, &h);
    (void)link_write(l, n->out.data, n->out.len);
}

/* Of two links with one peer, does the new one win? */
static bool link_wins(const struct peer_net *n, const struct link *l, const struct link *old)
{
    bool by_lower = l->dialed ? n->self.from < l->node->id : l->node->id < n->self.from;

    return l->boot != old->boot || l->dialed == old->dialed || by_lower;
}

static void link_is_up(struct link *l)
{
    struct peer_net *n = l->net;
    struct node *o = l->node;

    o->dial = o->dial == l ? NULL : o->dial;
    if (o->link != NULL && !link_wins(n, l, o->link)) {
        link_close(l, false);
        return;
    }
    if (o->link != NULL) {
        link_close(o->link, false);
    }
    o->link = l;
    o->delay_ms = DIAL_MIN_MS;
    o->complained = false;
    l->up = true;
    lg_info("peer", "peer=%s id=%" PRIu64 " msg=\"linked\"", o->name, o->id);
    n->opts.on_up(n->opts.ctx, o->id);
}

static size_t net_strangers(const struct peer_net *n)
{
    size_t count = 0;

    for (const struct node *o = n->nodes; o != NULL; o = o->next) {
        count += !o->member;
    }
    return count;
}

static void link_got_hello(struct link *l, const struct frame *f)
{
    struct peer_net *n = l->net;
    const struct stream_peer *cert = stream_peer(l->stream);
    struct node *known;
    struct hello h;
    struct err err;

    if (!hello_decode(f->data, f->len, &h)) {
        link_refuse(l, "malformed hello");
        return;
    }
    known = node_find(n, h.from);
    if (hello_check(&h, &n->self, known != NULL && known->member ? known->name : NULL,
                    n->opts.tls == NULL ? NULL : cert->name, &err) != 0) {
        lg_warn("peer", "remote=%s name=%s msg=\"peer refused\" err=\"%s\"",
                stream_remote(l->stream), h.name, err.msg);
        if (l->node != NULL) {
            node_retry(n, l->node, REFUSED_MS);
        }
        link_refuse(l, err.msg);
        return;
    }
    if (l->dialed && l->node->id != h.from) {
        link_refuse(l, "another member answered than was dialed");
        return;
    }
    if (known == NULL && net_strangers(n) >= STRANGERS_MAX) {
        link_refuse(l, "too many peers that are no members");
        return;
    }
    l->boot = h.boot;
    if (!l->dialed) {
        l->node = node_make(n, h.from);
        if (!l->node->member) {
            (void)str_copy(l->node->name, sizeof(l->node->name), h.name);
        }
        link_hello(l, h.from);
    }
    link_is_up(l);
}

static void link_refused(struct link *l, const struct frame *f)
{
    char why[256];

    (void)snprintf(why, sizeof(why), "%.*s", (int)(f->len > 200 ? 200 : f->len),
                   (const char *)f->data);
    if (l->node != NULL) {
        node_complain(l->node, "the peer refuses this node", why);
        node_retry(l->net, l->node, REFUSED_MS);
    }
    link_close(l, false);
}

static void link_frame(struct link *l, const struct frame *f)
{
    struct peer_net *n = l->net;

    if (!l->up) {
        if (f->kind == FRAME_HELLO) {
            link_got_hello(l, f);
        } else if (f->kind == FRAME_REFUSE) {
            link_refused(l, f);
        } else {
            link_refuse(l, "no hello");
        }
        return;
    }
    switch (f->kind) {
    case FRAME_PING:
        break;
    case FRAME_REFUSE:
        link_refused(l, f);
        break;
    default:
        n->opts.on_frame(n->opts.ctx, l->node->id, f->kind, f->data, f->len);
        break;
    }
}

/* All whole frames of the bytes; returns how many bytes they were. */
static size_t link_frames(struct link *l, const uint8_t *data, size_t len)
{
    size_t pos = 0, used;
    struct frame f;
    struct err err;

    while (l->net != NULL) {
        if (frame_next(data + pos, len - pos, &f, &used, &err) != 0) {
            lg_warn("peer", "remote=%s msg=\"link dropped\" err=\"%s\"", stream_remote(l->stream),
                    err.msg);
            link_close(l, false);
            return len;
        }
        if (used == 0) {
            return pos;
        }
        pos += used;
        link_frame(l, &f);
    }
    return len;
}

/* --- the stream's callbacks --- */

static void link_on_open(struct stream *s, const struct err *err)
{
    struct link *l = stream_data(s);

    if (l->net == NULL) {
        return;
    }
    if (err != NULL) {
        node_complain(l->node, "cannot connect", err->msg);
        node_retry(l->net, l->node, 0);
        link_detach(l);
        return;
    }
    l->last_in_ms = clock_now_ms();
    link_hello(l, l->node->id);
}

static void link_on_data(struct stream *s, const uint8_t *data, size_t len)
{
    struct link *l = stream_data(s);
    size_t used;

    if (l->net == NULL) {
        return;
    }
    l->last_in_ms = clock_now_ms();
    if (l->in.len > 0) {
        buf_add(&l->in, data, len);
        used = link_frames(l, l->in.data, l->in.len);
        if (l->net != NULL) {
            buf_consume(&l->in, used);
        }
        return;
    }
    used = link_frames(l, data, len);
    if (l->net != NULL && used < len) {
        buf_add(&l->in, data + used, len - used);
    }
}

static void link_on_end(struct stream *s, const struct err *err)
{
    struct link *l = stream_data(s);

    if (l->net != NULL && l->up) {
        lg_info("peer", "peer=%s id=%" PRIu64 " msg=\"link ended\" err=\"%s\"", l->node->name,
                l->node->id, err == NULL ? "closed by the peer" : err->msg);
    } else if (l->net != NULL && l->node != NULL) {
        node_complain(l->node, "the peer ended the connection", err == NULL ? "closed" : err->msg);
        node_retry(l->net, l->node, 0);
    }
    link_close(l, false);
}

static void link_on_closed(struct stream *s)
{
    struct link *l = stream_data(s);

    link_detach(l);
    buf_done(&l->in);
    free(l);
}

static const struct stream_cbs link_cbs = {
    .on_open = link_on_open,
    .on_data = link_on_data,
    .on_end = link_on_end,
    .on_closed = link_on_closed,
};

static void net_on_accept(struct listener *listener, struct stream *s)
{
    struct peer_net *n = listener_data(listener);
    struct link *l = link_new(n, NULL, false);

    l->stream = s;
    stream_set_cbs(s, &link_cbs);
    stream_set_data(s, l);
}

/* --- dialing --- */

static struct stream_opts net_stream_opts(const struct peer_net *n, const char *name)
{
    uint64_t patience = 2ULL * n->opts.election_ms;

    return (struct stream_opts){
        .tls = n->opts.tls,
        .want_role = n->opts.tls == NULL ? NULL : ROLE,
        .want_name = n->opts.tls == NULL ? NULL : name,
        .connect_ms = patience < 2000 ? 2000 : patience,
        .user_timeout_ms = (unsigned)patience,
        .max_queue = QUEUE_MAX,
    };
}

static int dial_resolve(const struct node *o, char *dst, size_t size, struct err *err)
{
    const char *colon = strrchr(o->address, ':');
    char host[128];
    uint64_t port;

    if (colon == NULL || !str_parse_u64(colon + 1, &port) || port == 0 || port > 65535) {
        return err_set(err, ERR_INVALID, "address %s is not HOST:PORT", o->address);
    }
    (void)snprintf(host, sizeof(host), "%.*s", (int)(colon - o->address), o->address);
    if (host[0] == '[') {
        memmove(host, host + 1, strlen(host));
        host[strcspn(host, "]")] = 0;
    }
    return addr_resolve(host, (uint16_t)port, ADDR_TCP, dst, size, err);
}

static void node_dial(struct peer_net *n, struct node *o)
{
    struct stream_opts opts = net_stream_opts(n, o->name);
    char address[160];
    struct err err;
    struct link *l;
    int rc;

    rc = dial_resolve(o, address, sizeof(address), &err);
    if (rc == 0) {
        l = link_new(n, o, true);
        rc = stream_connect(n->opts.loop, address, &opts, &link_cbs, l, &l->stream, &err);
        if (rc == 0) {
            o->dial = l;
            return;
        }
        link_detach(l);
        free(l);
    }
    node_complain(o, "cannot connect", err.msg);
    node_retry(n, o, 0);
}

static bool node_should_dial(const struct peer_net *n, const struct node *o, uint64_t now)
{
    if (!o->member || o->id == n->self.from || o->link != NULL || o->dial != NULL ||
        now < o->dial_at_ms) {
        return false;
    }
    return n->self.from < o->id || now - o->down_since_ms >= 2ULL * n->opts.election_ms;
}

static void link_tick(struct link *l, uint64_t now)
{
    struct peer_net *n = l->net;
    uint64_t patience = 2ULL * n->opts.election_ms;

    if (!l->up) {
        patience = patience < 2000 ? 2000 : patience; /* connecting, or hello is due */
        if (now - l->last_in_ms >= 2 * patience) {
            link_close(l, false);
        }
        return;
    }
    if (now - l->last_in_ms >= patience) {
        lg_warn("peer", "peer=%s id=%" PRIu64 " silent_ms=%" PRIu64 " msg=\"silent, link dropped\"",
                l->node->name, l->node->id, now - l->last_in_ms);
        link_close(l, false);
        return;
    }
    if (now - l->last_out_ms >= n->opts.heartbeat_ms) {
        buf_clear(&n->out);
        frame_end(&n->out, frame_begin(&n->out, FRAME_PING));
        (void)link_write(l, n->out.data, n->out.len);
    }
}

/* Forget nodes that are no members and have no link. */
static void net_sweep(struct peer_net *n)
{
    struct node **p = &n->nodes;

    while (*p != NULL) {
        struct node *o = *p;

        if (o->member || o->link != NULL || o->dial != NULL) {
            p = &o->next;
            continue;
        }
        *p = o->next;
        free(o);
    }
}

void peer_net_tick(struct peer_net *n)
{
    uint64_t now = clock_now_ms();

    OBJ_CHECK(n, NET_MAGIC);
    for (struct link *l = n->links, *next; l != NULL; l = next) {
        next = l->next;
        link_tick(l, now);
    }
    for (struct node *o = n->nodes; o != NULL; o = o->next) {
        if (node_should_dial(n, o, now)) {
            node_dial(n, o);
        }
    }
    net_sweep(n);
}

/* --- the rest --- */

void peer_net_members(struct peer_net *n, const struct rep_peer_info *peers, size_t count)
{
    OBJ_CHECK(n, NET_MAGIC);
    for (struct node *o = n->nodes; o != NULL; o = o->next) {
        o->member = false;
    }
    for (size_t i = 0; i < count; i++) {
        struct node *o = node_make(n, peers[i].id);

        o->member = true;
        if (!str_eq(o->address, peers[i].address)) {
            o->dial_at_ms = 0;
        }
        (void)str_copy(o->name, sizeof(o->name), peers[i].name);
        (void)str_copy(o->address, sizeof(o->address), peers[i].address);
    }
}

bool peer_net_send(struct peer_net *n, uint64_t id, const void *frame, size_t len)
{
    struct node *o = node_find(n, id);

    return o != NULL && o->link != NULL && link_write(o->link, frame, len);
}

bool peer_net_up(const struct peer_net *n, uint64_t id)
{
    const struct node *o = node_find(n, id);

    return o != NULL && o->link != NULL;
}

size_t peer_net_queued(const struct peer_net *n, uint64_t id)
{
    const struct node *o = node_find(n, id);

    return o == NULL || o->link == NULL ? 0 : stream_queued(o->link->stream);
}

const char *peer_net_address(const struct peer_net *n)
{
    return listener_address(n->listener);
}

int peer_net_open(const struct peer_opts *opts, struct peer_net **ret, struct err *err)
{
    struct peer_net *n = OBJ_NEW(struct peer_net);
    struct stream_opts sopts;
    int rc;

    n->magic = NET_MAGIC;
    n->opts = *opts;
    n->opts.listen = n->opts.name = n->opts.cluster = NULL; /* copied below */
    n->self = (struct hello){ .version = HELLO_VERSION, .from = opts->id };
    clock_random(&n->self.boot, sizeof(n->self.boot));
    prng_init(&n->prng, n->self.boot);
    if (!str_copy(n->self.name, sizeof(n->self.name), opts->name) ||
        !str_copy(n->self.cluster, sizeof(n->self.cluster), opts->cluster)) {
        free(n);
        return err_set(err, ERR_INVALID, "name or cluster id is too long (63 characters)");
    }
    sopts = net_stream_opts(n, NULL);
    rc = listener_open(opts->loop, opts->listen, &sopts, net_on_accept, n, &n->listener, err);
    if (rc != 0) {
        free(n);
        return err_wrap(err, "listen for peers");
    }
    *ret = n;
    return 0;
}

void peer_net_close(struct peer_net *n)
{
    if (n == NULL) {
        return;
    }
    OBJ_CHECK(n, NET_MAGIC);
    n->opts.on_down = NULL;
    listener_close(n->listener);
    while (n->links != NULL) {
        struct link *l = n->links;

        l->up = false;
        link_close(l, false);
    }
    while (n->nodes != NULL) {
        struct node *o = n->nodes;

        n->nodes = o->next;
        free(o);
    }
    buf_done(&n->out);
    n->magic = 0;
    free(n);
}
